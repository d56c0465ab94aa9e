"""Ogg pages: what is missing, cut off or joined, which libsndfile does not report and ffmpeg reports too late.

mutagen reads the tags and the length of such a file, not whether its pages follow each other.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from .source import Source, open_source

# RFC 3533: OggS, version, flags, granule position, serial number, sequence number, checksum, number of lacing values
_OGG_HEADER = struct.Struct("<4sBBqIIIB")
_OGG_CONTINUED, _OGG_FIRST, _OGG_LAST = 1, 2, 4
# Channels of Vorbis (Vorbis I, section 4.3.9) and of Opus of mapping family 1 (RFC 7845, section 5.1.1.2), in the order
# of WAVE, which all other decoders give: front left, front right, centre, low frequencies, back, side.
_WAVE_ORDERS = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class OggReport:
    """What the pages of an Ogg file show; each is None where there is nothing to report.

    Attributes
    ----------
    joined : str or None
        Why it is more than one stream; libsndfile reads the first one only.
    cut : str or None
        Why it is cut off. An Ogg file states no length: its decoders take the last page for the end.
    damaged : str or None
        Which pages are missing inside; libsndfile closes up the rest, so that all later times are wrong.
    early : str or None
        Which page ends before its packets do; there libsndfile breaks off, as RFC 7845 demands of the first page only.
        Encoders that round time stamps write such pages, and other decoders do not mind.
    links : tuple of int
        Where the streams begin that stand one behind the other, in bytes; empty where there is one stream, or where
        several are mixed page by page.
    channel_order : tuple of int
        Which channel of the stream takes each place of the order of WAVE, as libsndfile gives channels in the order of
        the stream; empty where that is the same, or where nothing says which channel is which.
    """

    joined: str | None = None
    cut: str | None = None
    damaged: str | None = None
    early: str | None = None
    links: tuple[int, ...] = ()
    channel_order: tuple[int, ...] = ()


def inspect_ogg(source: Source) -> OggReport:
    """Read an Ogg file page by page; an ``OggReport()`` for any other file."""
    joined = damaged = early = cut = None
    first: _OggPage | None = None
    last: _OggPage | None = None
    incomplete = False
    clock = _OpusClock()
    links = _Links()
    with open_source(source) as file:
        if file.read(4) != b"OggS":
            return OggReport()
        for page in _ogg_pages(file):
            incomplete = page is None
            if page is None:
                continue
            first = first or page
            links.add(page)
            if page.serial != first.serial or (page.flags & _OGG_FIRST and page is not first):
                joined = "this Ogg file holds more than one stream"
                if not (page.flags & _OGG_FIRST and links.starts):
                    continue
                first, last, clock = page, None, _OpusClock()
            whole = True
            if last is not None and page.sequence != last.sequence + 1:
                whole = False
                damaged = damaged or f"pages behind Ogg page {last.sequence} are missing or damaged"
            if first.body.startswith(b"OpusHead"):
                found = clock.early(page, whole)
                early = early or found
            last = page
    if incomplete or last is None:
        cut = "the last Ogg page is incomplete"
    elif not last.flags & _OGG_LAST:
        cut = "the last Ogg page does not end the stream"
    return OggReport(joined, cut, damaged, early, links.starts if joined else (), links.channel_order)


class _Links:
    """Where streams begin, as long as each begins behind the end of the one before (RFC 3533, section 4)."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._serial: int | None = None  # of the stream that has not ended
        self._sequential = True
        #: Of the first stream; see :class:`OggReport`.
        self.channel_order: tuple[int, ...] = ()

    @property
    def starts(self) -> tuple[int, ...]:
        """The positions; empty where streams are mixed."""
        return tuple(self._starts) if self._sequential else ()

    def add(self, page: _OggPage) -> None:
        """Take the next page."""
        if page.flags & _OGG_FIRST:
            self._sequential = self._sequential and self._serial is None
            self.channel_order = self.channel_order if self._starts else _channel_order(page.body)
            self._starts.append(page.at)
            self._serial = page.serial
        self._sequential = self._sequential and page.serial == self._serial
        if page.flags & _OGG_LAST:
            self._serial = None


def _channel_order(head: bytes) -> tuple[int, ...]:
    """The same of the first packet of a stream."""
    channels = 0
    if head.startswith(b"\x01vorbis") and len(head) > 11:
        channels = head[11]
    elif head.startswith(b"OpusHead") and len(head) > 18 and head[18] == 1:
        channels = head[9]
    return _WAVE_ORDERS.get(channels, ())


class _OggPage(NamedTuple):
    at: int
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes
    body: bytes


def _ogg_pages(file: BinaryIO) -> Iterator[_OggPage | None]:
    """The pages whose checksum is right, in order; None for one that the file ends in."""
    at = 0
    while True:
        file.seek(at)
        head = file.read(_OGG_HEADER.size)
        if head[:4] != b"OggS":
            if (at := _find(file, b"OggS", at + 1)) < 0:
                return
            continue
        lacing = file.read(head[-1]) if len(head) == _OGG_HEADER.size else b""
        body = file.read(sum(lacing))
        if len(head) < _OGG_HEADER.size or len(lacing) < head[-1] or len(body) < sum(lacing):
            yield None
        else:
            _, version, flags, granule, serial, sequence, checksum, _ = _OGG_HEADER.unpack(head)
            if version == 0 and checksum == ogg_checksum(head[:22] + bytes(4) + head[26:] + lacing + body):
                yield _OggPage(at, flags, granule, serial, sequence, lacing, body)
                at = file.tell()
                continue
        at += 1


def ogg_checksum(page: bytes) -> int:
    """The CRC-32 of RFC 3533 of a page whose checksum field is zero: zlib's, with all bits mirrored."""
    crc = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def _find(file: BinaryIO, mark: bytes, at: int) -> int:
    """Position of the next ``mark`` from ``at`` on, -1 if there is none."""
    file.seek(at)
    seen = b""
    while data := file.read(1 << 14):
        seen = seen[1 - len(mark) :] + data
        if (found := seen.find(mark)) >= 0:
            return file.tell() - len(seen) + found
    return -1


class _OpusClock:
    """Compares where the Opus pages say they end with the length of their packets (RFC 7845, section 4)."""

    def __init__(self) -> None:
        self._headers_left = 2
        self._granule: int | None = None
        self._toc = b""

    def early(self, page: _OggPage, whole: bool) -> str | None:
        """Say so where ``page`` ends before its packets do. ``whole``: it follows the page before without a gap."""
        toc = self._toc if page.flags & _OGG_CONTINUED and whole else b""
        samples, n_packets, self._toc = _opus_samples(page, toc)
        if self._headers_left > 0:
            self._headers_left -= n_packets
            return None
        if not n_packets:
            return None
        before, self._granule = self._granule, page.granule
        if before is None or not whole or before + samples <= page.granule or page.flags & _OGG_LAST:
            return None
        return f"Ogg page {page.sequence} ends at sample {page.granule}, its Opus packets at {before + samples}"


def _opus_samples(page: _OggPage, toc: bytes) -> tuple[int, int, bytes]:
    """Of a page: the samples at 48 kHz and the number of its packets, and the first two bytes of an unfinished one.

    ``toc`` : those bytes of the packet that the page before left unfinished.
    """
    samples = n_packets = at = 0
    for size in page.lacing:
        if len(toc) < 2:
            toc = (toc + page.body[at : at + size])[:2]
        at += size
        if size < 255:
            samples += _opus_packet_samples(toc)
            n_packets += 1
            toc = b""
    return samples, n_packets, toc


def _opus_packet_samples(toc: bytes) -> int:
    """Samples at 48 kHz of a packet by its first two bytes (RFC 6716, section 3.1)."""
    if not toc:
        return 0
    configuration, code = toc[0] >> 3, toc[0] & 3
    if configuration >= 16:  # CELT
        frame = 120 << (configuration & 3)
    elif configuration >= 12:  # hybrid
        frame = 480 << (configuration & 1)
    else:  # SILK
        frame = (480, 960, 1920, 2880)[configuration & 3]
    return frame * ((toc[1] & 63 if len(toc) > 1 else 0) if code == 3 else min(code, 1) + 1)
