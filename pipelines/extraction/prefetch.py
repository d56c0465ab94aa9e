"""The lane ahead of the network: decoding, loudness and the mono signal, in threads.

libsndfile, ffmpeg, filters and products of matrices leave the interpreter free meanwhile.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np

from stemfeatures import audio
from stemfeatures._util.clock import awake_s, get_within, slept_s
from stemfeatures._util.urls import is_remote
from stemfeatures.audio import AudioInfo, AudioLimits, AudioStream, Tags
from stemfeatures.errors import AudioError, CatalogError, DecodeError

from ..catalog import name_hint, printable
from ..catalog.remote import CACHE_BYTES
from . import threads
from .fetch import Abandoned, Fetched, audio_cache, named_as
from .file_state import FileState, remote_states
from .watch import Watched, abandon

if TYPE_CHECKING:
    from stemfeatures.analysis import Preparation

log = logging.getLogger(__name__)

#: Blocks of 10 s that wait for the network, of each track.
BLOCKS_AHEAD = 4
#: A track may take this long, and so many times its own length on top. Far beyond any sound file and machine.
TRACK_TIMEOUT_S = 600.0
TRACK_TIMEOUT_TIMES_LENGTH = 10.0

#: No audio of music has fewer bytes a second; what a header declares beyond that gives a track no more time.
_LEAST_BYTES_PER_S = 1000.0

#: A file may take this long to be opened: network drives are slow, and some hang for ever. Its digest is read before,
#: at this rate or faster.
OPEN_TIMEOUT_S = 120.0
_DIGEST_BYTES_PER_S = 5e6
#: The folder of a file may take this long to tell its size; and so many may not answer at all before a run gives up.
STAT_TIMEOUT_S = 20.0
_MOST_HANGING = 5
#: A process that was not awake for so long, and gave up a track, tries it once more.
_LONG_SLEEP_S = 5.0

_Key = TypeVar("_Key")
#: Makes, of a sample rate and a number of channels, what each block goes through in the thread that decodes it.
Prepare: TypeAlias = "Callable[[int, int], Preparation]"


class TrackTimeout(AudioError):
    """A track took longer than it may."""

    stage = "decode"


def file_states(paths: Sequence[str | None]) -> list[FileState | None]:
    """The state of each of many files; None also for one whose file system or store does not answer.

    Raises
    ------
    CatalogError
        When several of them do not answer.
    """
    away = [path for path in paths if path is not None and is_remote(path)]
    if away:
        known = remote_states(away)
        here = iter(_local_states([path for path in paths if path not in known]))
        return [known[path] if path in known else next(here) for path in paths]
    return _local_states(paths)


def _local_states(paths: Sequence[str | None]) -> list[FileState | None]:
    states: list[FileState | None] = []

    def look(watched: Watched) -> None:
        while (i := len(states)) < len(paths):
            path = paths[i]
            state = None if path is None else FileState.of(path)
            with watched.holding():
                states.append(state)
            watched.alive()

    hanging = 0
    while not Watched(look, patience_s=STAT_TIMEOUT_S).wait(_nothing, stop=lambda: False, stop_patience_s=0.0):
        path = printable(paths[len(states)] or "")
        log.warning("%s: its file system does not answer", path)
        states.append(None)
        hanging += 1
        if hanging == _MOST_HANGING:
            raise CatalogError(f"{hanging} files are where no file system answers, the last one: {path}")
    return states


def _nothing(message: object) -> None:
    """Told to nobody."""


def digest_limit_s(state: FileState) -> float:
    """Seconds that reading the digest of a file may take."""
    return OPEN_TIMEOUT_S + min(state.size / _DIGEST_BYTES_PER_S, TRACK_TIMEOUT_S)


class _FileVersion(NamedTuple):
    """Tells two contents of a path apart, also where size and time of change are made equal: ``changed_ns`` cannot be
    set."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: str) -> _FileVersion | None:
        try:
            s = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


class _Block(NamedTuple):
    samples: np.ndarray
    mono: np.ndarray | None


class PrefetchStream(AudioStream):
    """An :class:`~stemfeatures.audio.AudioStream` whose blocks another thread decodes ahead.

    A file of a store is brought to this machine first (:mod:`.fetch`).

    All that touches the file happens in that thread, as it may never come back: call :meth:`open` before use. Errors of
    opening are raised there, errors of decoding by the iteration, as without a thread. The digest is that of the bytes
    that were decoded: it is read first, and a file that is another one at the end is refused.

    Parameters
    ----------
    path : str
        The file, or its address.
    timeout_s : float, optional
        Limit in seconds, as far as this process is awake, for bringing and opening it, and from the first block asked
        for to the last; default a generous one that grows with the length. Also handed to the decoders.
    limits : AudioLimits
        What the file may be.
    cache_bytes : int, optional
        Of files of stores: no more are kept on this machine.
    prepare : callable, optional
        See :class:`~stemfeatures.analysis.PreparedStream`; blocks are not prepared without it.
    on_file : callable, optional
        Called in that thread with the path of the file on this machine, once it has been opened and before
        the first block.
    alive : callable, optional
        Called whenever the reader asks for a block or has got one.

    Attributes
    ----------
    preparation, mono : Preparation and np.ndarray, or None
        See :class:`~stemfeatures.analysis.PreparedStream`.
    file_state : FileState or None
        Of the file before it was opened; None where that is not known.
    digest : str or None
        SHA-256 of the file, once it has been read.
    tags : Tags or None
        What the file says of itself; known at its end.
    decode_s : float
        Seconds the thread has worked, with what prepares the blocks.
    began_ns, ended_ns : int
        When the thread began, and when it came to its end (0 before), in nanoseconds since 1970.
    wait_s : float
        Seconds the reader has waited for it.
    """

    def __init__(
        self,
        path: str,
        *,
        timeout_s: float | None = None,
        limits: AudioLimits | None = None,
        cache_bytes: int = CACHE_BYTES,
        prepare: Prepare | None = None,
        on_file: Callable[[str], None] | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.n_samples = 0
        self.status = None
        self.message = ""
        self.path, self.timeout_s = path, timeout_s
        self.file_state: FileState | None = None
        self.digest: str | None = None
        self.decode_s = self.wait_s = 0.0
        self.began_ns, self.ended_ns = time.time_ns(), 0
        self.preparation: Preparation | None = None
        self.mono: np.ndarray | None = None
        self._prepare, self._on_file = prepare, on_file
        self._limits, self._alive = limits or AudioLimits(), alive
        self._cache_bytes = cache_bytes
        self._away = is_remote(path)
        self._stream: AudioStream
        self.tags: Tags | None = None
        self._slept_s = slept_s()
        self._deadline: float | None = None
        self._closed = False
        self._cancelled = threading.Event()
        self._opened: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._blocks: queue.Queue[_Block | Exception | None] = queue.Queue(BLOCKS_AHEAD)
        self._thread = threading.Thread(target=self._work, daemon=True, name="decode")
        self._thread.start()

    # ------------------------------------------------------------------------------------------- the other thread

    def _work(self) -> None:
        try:
            self._bring_and_decode()
        finally:
            self.ended_ns = time.time_ns()

    def _bring_and_decode(self) -> None:
        if not self._away:
            self._decode(self.path)
            return
        cache = audio_cache(self._cache_bytes)
        try:
            fetched = cache.fetch(self.path, on_open=self._set_state, abandoned=self._cancelled.is_set)
        except Abandoned:
            return
        except Exception as error:
            self._opened.put(error)
            return
        try:
            self.file_state, self.digest = fetched.state, fetched.sha256
            self._decode(str(fetched.path), fetched)
        finally:
            cache.release(fetched)

    def _set_state(self, state: FileState) -> None:
        self.file_state = state

    def _decode(self, path: str, fetched: Fetched | None = None) -> None:
        """Decode a file of this machine; ``fetched`` is our own copy, which nobody changes."""
        started = time.perf_counter()
        is_open = False
        version = None
        try:
            if fetched is None:
                self.file_state, version = FileState.of(path), _FileVersion.of(path)
                with suppress(OSError, ValueError):  # open_audio says what is wrong with it
                    self.digest = audio.file_sha256(path)
            with audio.open_audio(path, timeout_s=self.timeout_s, **vars(self._limits)) as stream:
                self._stream = stream
                if self._prepare is not None:
                    self.preparation = self._prepare(stream.info.sample_rate, stream.info.channels)
                is_open = True
                self._opened.put(None)
                if self._on_file is not None:  # which may wait for a store: the file is open in time all the same
                    self._on_file(path)
                for block in stream:
                    mono = None if self.preparation is None else self.preparation.push(block)
                    self.decode_s += time.perf_counter() - started
                    if not self._put(_Block(block, mono)):
                        return
                    started = time.perf_counter()
                self.tags = audio.read_tags(path)
                if fetched is None:
                    self._require_same(version)
                self._end = stream.status, stream.message
            self.decode_s += time.perf_counter() - started
            self._put(None)
        except Exception as error:
            if fetched is not None and isinstance(error, AudioError):  # which speaks of the copy
                error = named_as(error, fetched.path, self.path)
            elif fetched is None and not is_open and isinstance(error, AudioError) and (hint := name_hint(path)):
                error = type(error)(error.message + hint, source=error.source)
            if is_open:
                self._put(error)
            else:
                self._opened.put(error)

    def _require_same(self, version: _FileVersion | None) -> None:
        """DecodeError when the file is not the one that was there before. A new link to it changes nothing."""
        if (now := _FileVersion.of(self.path)) == version:
            return
        same = now is not None and version is not None and now[2:4] == version[2:4]
        if not same or audio.file_sha256(self.path) != self.digest:
            raise DecodeError("the file changed while it was read", source=printable(self.path))

    def _put(self, item: _Block | Exception | None) -> bool:
        """Hand on unless the reader has gone."""
        while not self._cancelled.is_set():
            try:
                self._blocks.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    # ------------------------------------------------------------------------------------------------- the reader

    @property
    def info(self) -> AudioInfo:
        return self._stream.info

    @property
    def name(self) -> str:
        """The file as the catalogue calls it, not our copy of it."""
        return printable(self.path)

    @property
    def sha256(self) -> str:
        """The digest of the file."""
        if self.digest is None:
            raise DecodeError("its bytes could not be read", source=printable(self.path))
        return self.digest

    @property
    def was_asleep(self) -> bool:
        """Whether this process was stopped, or its machine asleep, since the stream was made."""
        return slept_s() - self._slept_s > _LONG_SLEEP_S

    def open(self) -> PrefetchStream:
        """Wait until the file is open.

        Raises
        ------
        AudioError
            What ``open_audio`` raises; TrackTimeout when it takes too long.
        """
        started = time.perf_counter()
        self._alive()
        limit = OPEN_TIMEOUT_S if self.timeout_s is None else self.timeout_s
        error: Exception | None
        try:
            try:
                error = get_within(self._opened, limit)
            except queue.Empty:
                if self.timeout_s is not None or self.digest is not None or self.file_state is None:
                    raise
                more = digest_limit_s(self.file_state) - OPEN_TIMEOUT_S
                limit += more
                error = get_within(self._opened, more)
        except queue.Empty:
            self.close()
            abandon(self._thread)
            error = self._too_late(limit)
        self.wait_s += time.perf_counter() - started
        self._alive()
        if error is None:
            return self
        raise error

    def _too_late(self, limit: float) -> TrackTimeout:
        if self._away and self.digest is None:
            what = f"gave up after {limit:g} s, the store has not given the file yet"
            return TrackTimeout(what, source=printable(self.path), stage="fetch")
        return TrackTimeout(f"gave up after {limit:g} s, the file is not open yet", source=printable(self.path))

    def __next__(self) -> np.ndarray:
        if self._closed:
            raise StopIteration
        self._alive()
        started, limit = awake_s(), self.limit_s
        if self._deadline is None:
            self._deadline = started + limit
        try:
            item = get_within(self._blocks, self._deadline - started)
            late = awake_s() > self._deadline
        except queue.Empty:
            item, late = None, True
        self.wait_s += awake_s() - started
        self._alive()
        if late:
            self.close()
            abandon(self._thread)
            raise TrackTimeout(
                f"gave up after {limit:g} s, {self.decoded_duration_s:.1f} s into the audio",
                source=printable(self.path),
            )
        if item is None:
            self.status, self.message = self._end
            self.close()
            raise StopIteration
        if isinstance(item, Exception):
            self.close()
            raise item
        self.n_samples += item.samples.shape[1]
        self.mono = item.mono
        threads.trimmer.count(item.samples.shape[1] / self.info.sample_rate)
        return item.samples

    @property
    def limit_s(self) -> float:
        """Seconds that decoding may take; of a file that is not open yet, whatever its length."""
        if self.timeout_s is not None:
            return self.timeout_s
        stream = getattr(self, "_stream", None)
        declared = 0.0 if stream is None else stream.info.declared_duration_s or 0.0
        size = 0 if self.file_state is None else self.file_state.size
        return TRACK_TIMEOUT_S + TRACK_TIMEOUT_TIMES_LENGTH * min(declared, size / _LEAST_BYTES_PER_S)

    def close(self) -> None:
        """Let the thread end. Harmless when called again."""
        self._closed = True
        self._cancelled.set()


def prefetched(
    items: Iterable[tuple[_Key, str]],
    *,
    ahead: int,
    timeout_s: float | None = None,
    limits: AudioLimits | None = None,
    cache_bytes: int = CACHE_BYTES,
    prepare: Prepare | None = None,
    on_file: Callable[[_Key, str], None] | None = None,
    alive: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[_Key, PrefetchStream]]:
    """Streams of files in order, the next ``ahead`` of which are being decoded already; not opened yet.

    Ends early when ``stop()`` says so. ``on_file`` is told the key, too.
    Every stream has its own thread, so a consumer may hold several at a time.
    """
    source = iter(items)
    started: deque[tuple[_Key, PrefetchStream]] = deque()
    try:
        while stop is None or not stop():
            while len(started) <= ahead and (item := next(source, None)) is not None:
                stream = PrefetchStream(
                    item[1],
                    timeout_s=timeout_s,
                    limits=limits,
                    cache_bytes=cache_bytes,
                    prepare=prepare,
                    on_file=None if on_file is None else partial(on_file, item[0]),
                    alive=alive,
                )
                started.append((item[0], stream))
            if not started:
                return
            yield started.popleft()
    finally:
        for _, stream in started:
            stream.close()
