"""Sound that is there is read, and what is lost is told: joined files, open sizes, damaged frames, missing bytes."""

from __future__ import annotations

import io
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures import audio
from stemfeatures.audio import chain, flac, riff
from stemfeatures.audio.deadline import within
from stemfeatures.audio.decoder import Decoder, DecoderTimeout, Refusal
from stemfeatures.audio.ffmpeg_decoder import ffmpeg_path
from stemfeatures.audio.mpeg import _count, inspect_mpeg
from stemfeatures.audio.source import Piece, find_marks

RATE = 44_100
FFMPEG = ffmpeg_path()
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="no ffmpeg on the PATH nor in imageio-ffmpeg")


def music(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise of low frequencies, multiples of 2^-15."""
    white = np.random.default_rng(seed).uniform(-0.3, 0.3, (2, round(seconds * RATE) + 15))
    total = np.cumsum(np.pad(white, ((0, 0), (1, 0))), axis=1)
    return np.round((total[:, 16:] - total[:, :-16]) / 4 * 32767).astype(np.float32) / 32768


def ffmpeg(*arguments: str | Path) -> bytes:
    assert FFMPEG is not None
    command = [FFMPEG, "-y", "-v", "error", "-nostdin", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def made(folder: Path, name: str, y: np.ndarray, *options: str) -> bytes:
    """A file of ``y``, by ffmpeg where there are options."""
    path = folder / f"made-{name}"
    if not options:
        soundfile.write(path, y.T, RATE, subtype="PCM_16")
        return path.read_bytes()
    soundfile.write(folder / "made.wav", y.T, RATE, subtype="PCM_16")
    ffmpeg("-i", folder / "made.wav", *options, path)
    return path.read_bytes()


def noise(n_bytes: int) -> bytes:
    return np.random.default_rng(1).bytes(n_bytes)


def damaged(data: bytes, at: int, n_bytes: int) -> bytes:
    return data[:at] + noise(n_bytes) + data[at + n_bytes :]


def read_all(path: Path, block_s: float = 0.3) -> tuple[np.ndarray, audio.AudioStream]:
    with audio.open_audio(path, block_s=block_s) as stream:
        blocks = list(stream)
    return np.concatenate(blocks, axis=1), stream


# -------------------------------------------------------------------------------------------------------- joined files


@pytest.mark.parametrize("between", [b"", b"ID3\x03\0\0\0\0\0\x05hello"])
@pytest.mark.parametrize("name", ["x.aiff", "x.wav", "x.flac"])
def test_joined_files_are_read_one_behind_the_other(tmp_path: Path, name: str, between: bytes) -> None:
    signals = [music(0.5), music(0.3, 1), music(1.5, 2)]
    path = tmp_path / name
    path.write_bytes(between.join(made(tmp_path, name, y) for y in signals))
    y, stream = read_all(path)
    np.testing.assert_array_equal(y, np.hstack(signals))
    assert (stream.status, stream.message, stream.info.decoder) == ("ok", "", "soundfile")
    path.write_bytes(path.read_bytes()[:-150_000])
    y, stream = read_all(path)
    assert stream.status == "truncated"
    np.testing.assert_array_equal(y[:, : round(0.8 * RATE)], np.hstack(signals[:2]))
    assert round(0.8 * RATE) < y.shape[1] < round(2.0 * RATE)


@pytest.mark.parametrize("n_bytes", [4, 40_000, 80_000])
@pytest.mark.parametrize("seconds", [0.3, 1.0])
@pytest.mark.parametrize("name", ["x.aiff", "x.wav"])
def test_a_file_that_was_cut_off_before_it_was_joined(tmp_path: Path, name: str, seconds: float, n_bytes: int) -> None:
    """Its header reaches into the file behind it, or to its end: nothing of that is lost, no header is played."""
    signals = [music(0.5), music(seconds, 1), music(0.4, 2)]
    first, *others = (made(tmp_path, name, y) for y in signals)
    path = tmp_path / name
    path.write_bytes(b"".join([first[:-n_bytes], *others]))
    y, stream = read_all(path)
    np.testing.assert_array_equal(y, np.hstack([signals[0][:, : -n_bytes // 4], *signals[1:]]))
    # An AIFF states how many samples it has: that one of them is missing is within the tolerance.
    assert stream.status == ("ok" if name == "x.aiff" and n_bytes == 4 else "truncated")
    path.write_bytes(first[:-n_bytes])
    y, stream = read_all(path)
    np.testing.assert_array_equal(y, signals[0][:, : -n_bytes // 4])


def wav(y: np.ndarray, size: int | None, riff_size: int | None) -> bytes:
    """A WAV whose header states these sizes; the right ones for None."""
    samples = (y.T * 32768).astype("<i2").tobytes()
    size = len(samples) if size is None else size
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE, 4 * RATE, 4, 16)
    riff_size = 36 + len(samples) if riff_size is None else riff_size
    return struct.pack("<4sI4s", b"RIFF", riff_size, b"WAVE") + fmt + struct.pack("<4sI", b"data", size) + samples


@pytest.mark.parametrize(("size", "riff_size"), [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0, 36), (0x7FFFF000, 0x7FFFF024)])
def test_joined_wavs_of_open_size_have_no_header_in_their_sound(tmp_path: Path, size: int, riff_size: int) -> None:
    signals = [music(0.5), music(0.3, 1), music(0.4, 2)]
    path = tmp_path / "x.wav"
    for sizes in [(size, riff_size)] * 3, [(size, riff_size), (None, None), (size, riff_size)]:
        path.write_bytes(b"".join(wav(y, *stated) for y, stated in zip(signals, sizes)))
        y, stream = read_all(path)
        np.testing.assert_array_equal(y, np.hstack(signals))
        assert (stream.status, stream.message) == ("ok", "")
    path.write_bytes(wav(signals[0], size, riff_size))
    np.testing.assert_array_equal(read_all(path)[0], signals[0])


@needs_ffmpeg
def test_joined_wavs_of_mp3_are_read_one_behind_the_other(tmp_path: Path) -> None:
    parts = [made(tmp_path, "x.wav", music(s, k), "-c:a", "libmp3lame") for k, s in enumerate((1.0, 0.5))]
    path = tmp_path / "x.wav"
    expected = []
    for part in parts:
        path.write_bytes(part)
        expected.append(audio.load(path)[0])
    path.write_bytes(b"".join(parts))
    y, stream = read_all(path)
    assert (stream.status, stream.info.codec) == ("ok", "mp3")
    np.testing.assert_allclose(y, np.hstack(expected), atol=1e-6)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a,,:b.flac", "file:x,start,1.flac", os.fsdecode(b"\xff.flac")])
@pytest.mark.parametrize("which", [0, 1])
def test_damage_in_one_of_joined_files_costs_that_place(tmp_path: Path, which: int, name: str) -> None:
    signals = [music(2.0), music(1.5, 1), music(0.5, 2)]
    parts = [made(tmp_path, "x.flac", y) for y in signals]
    parts[which] = damaged(parts[which], len(parts[which]) // 2, 3000)
    path = tmp_path / name
    path.write_bytes(b"".join(parts))
    y, stream = read_all(path)
    whole = np.hstack(signals)
    assert stream.status == "ok"  # less than half a second is lost
    assert stream.info.decoder == "soundfile+ffmpeg"
    assert f"part {which + 1} of 3: soundfile broke off" in stream.message
    assert "became silence" in stream.message
    assert y.shape == whole.shape
    wrong = np.flatnonzero(np.abs(y - whole).max(axis=0) > 1e-6)
    middle = sum(s.shape[1] for s in signals[:which]) + signals[which].shape[1] // 2
    assert np.abs(wrong - middle).max() < 4 * 4096


@needs_ffmpeg
@pytest.mark.parametrize("which", [0, 1])
def test_damage_at_the_beginning_of_one_of_joined_files_costs_that_place(tmp_path: Path, which: int) -> None:
    signals = [music(2.0), music(1.5, 1)]
    parts = [made(tmp_path, "x.flac", y) for y in signals]
    first_frame = parts[which].index(b"\xff\xf8", 42)
    parts[which] = damaged(parts[which], first_frame + 6, 2000)
    path = tmp_path / "x.flac"
    path.write_bytes(b"".join(parts))
    y, stream = read_all(path)
    assert stream.status == "ok"
    assert f"part {which + 1} of 2: soundfile broke off after 0.00 s" in stream.message
    assert y.shape[1] == pytest.approx(3.5 * RATE, abs=0.1 * RATE)
    np.testing.assert_array_equal(y[:, -RATE:], signals[1][:, -RATE:])
    end_of_first = y.shape[1] - signals[1].shape[1] if which == 0 else signals[0].shape[1]
    np.testing.assert_array_equal(y[:, end_of_first - RATE : end_of_first], signals[0][:, -RATE:])


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["libvorbis", "libopus"])
def test_missing_pages_in_one_of_joined_ogg_files_keep_the_time(tmp_path: Path, codec: str) -> None:
    first = made(tmp_path, "x.ogg", music(3.0), "-c:a", codec, "-page_duration", "100000")
    second = made(tmp_path, "x.ogg", music(1.0, 1), "-c:a", codec)
    starts = [k for k in range(len(first)) if first.startswith(b"OggS", k)]
    gone = first[: starts[12]] + first[starts[14] :]
    path = tmp_path / "x.ogg"
    lengths = []
    for data in (first + second, gone + second):
        path.write_bytes(data)
        y, stream = read_all(path)
        lengths.append(y.shape[1])
    assert stream.status == "ok"
    assert "part 1 of 2: pages behind Ogg page" in stream.message
    assert lengths[0] == pytest.approx(lengths[1], abs=0.05 * RATE)


def test_a_part_that_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    signals = [music(0.5), music(0.3, 1), music(0.4, 2)]
    parts = [bytearray(made(tmp_path, "x.aiff", y)) for y in signals]
    at = parts[1].index(b"COMM")
    parts[1][at : at + 26] = bytes(26)
    path = tmp_path / "x.aiff"
    path.write_bytes(b"".join(parts))
    y, stream = read_all(path)
    np.testing.assert_array_equal(y, np.hstack([signals[0], signals[2]]))
    assert stream.status == "truncated"
    assert "part 2 of 3 cannot be read (soundfile: " in stream.message


def test_parts_share_the_time_of_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(chain, "awake_s", lambda: now[0])
    limits = []

    def refuse(piece: Piece, left_s: float) -> Decoder:
        limits.append(left_s)
        now[0] += 3.0
        raise Refusal("no")

    starts = tuple(range(20))
    with pytest.raises(DecoderTimeout, match="no end within 10 s"):
        chain.ChainedDecoder(tmp_path / "x", starts, 20, 10.0, refuse)
    assert limits == [10.0, 7.0, 4.0, 1.0]
    with pytest.raises(Refusal, match=r"^part 1 of 20 cannot be read \(no\); .*; part 8 of 20 [^;]*; 12 more$"):
        chain.ChainedDecoder(tmp_path / "x", starts, 20, 100.0, refuse)


@pytest.mark.parametrize("kind", [b"RIFF", b"RF64", b"BW64"])
def test_a_mark_is_found_once_wherever_it_stands(kind: bytes) -> None:
    mark = kind + b"\xff\xff\n\xffWAVE"
    for start in (0, 5, *range((1 << 20) - 13, (1 << 20) + 2)):
        data = bytearray((1 << 20) + 100)
        data[start : start + 12] = mark
        assert list(find_marks(io.BytesIO(data), riff._MARK, 12)) == [start]
        assert list(find_marks(io.BytesIO(data), riff._MARK, 12, start)) == [start]
        assert list(find_marks(io.BytesIO(data), riff._MARK, 12, start + 1)) == []


def test_a_whole_flac_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the frames leave open: two files of one length, for instance, or an end that is not the stated one."""
    scanned = []
    search = flac.find_marks
    monkeypatch.setattr(flac, "find_marks", lambda *a: scanned.append(a) or search(*a))
    path = tmp_path / "x.flac"
    whole, other = (made(tmp_path, "x.flac", y) for y in (music(2.0), music(1.5, 1)))
    path.write_bytes(whole)
    assert flac.flac_links(path) == ()
    assert audio.probe(path).declared_duration_s == 2.0
    assert not scanned
    for data in (whole * 2, whole + other, other + whole):
        path.write_bytes(data)
        assert flac.flac_links(path) == (0, len(other if data.startswith(other) else whole))
    assert scanned


# ------------------------------------------------------------------------------------------------------- damaged frames


@needs_ffmpeg
@pytest.mark.parametrize("n_bytes", [1500, 16_000])
@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_an_mp3_of_a_wrong_count_that_is_damaged_is_read_to_its_end(tmp_path: Path, share: float, n_bytes: int) -> None:
    data = bytearray(made(tmp_path, "x.mp3", music(4.0), "-c:a", "libmp3lame", "-b:a", "128k"))
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    data[at : at + 4] = round(share * int.from_bytes(data[at : at + 4], "big")).to_bytes(4, "big")
    path = tmp_path / "x.mp3"
    path.write_bytes(damaged(bytes(data), len(data) // 2, n_bytes))
    lost_s = n_bytes * 8 / 128_000
    report = inspect_mpeg(path)
    assert report.recount is not None
    assert report.recount.n_samples is None
    assert report.lost_s == pytest.approx(lost_s, abs=0.06)  # two frames
    y, stream = read_all(path)
    assert y.shape[1] == pytest.approx((4.0 - lost_s) * RATE, abs=0.1 * RATE)
    assert stream.status == ("ok" if n_bytes == 1500 else "truncated")
    assert f"{report.lost_s:.2f} s of damaged frames are lost" in stream.message
    expected = music(4.0)[0, -RATE:]
    n = 1 << 18
    product = np.fft.irfft(np.fft.rfft(y[0], n) * np.conj(np.fft.rfft(expected, n)))
    late = int(np.argmax(product))  # what is behind the damage is there to its end
    end = y[0, late : late + RATE]
    assert np.corrcoef(end, expected[: len(end)])[0, 1] > 0.85
    assert len(end) > 0.9 * RATE


@needs_ffmpeg
@pytest.mark.parametrize("quality", [["-b:a", "128k"], ["-q:a", "5"]])
def test_what_an_mp3_without_header_loses_is_told(tmp_path: Path, quality: list[str]) -> None:
    data = made(
        tmp_path, "x.mp3", music(4.0), "-c:a", "libmp3lame", *quality, "-write_xing", "0", "-id3v2_version", "0"
    )
    path = tmp_path / "x.mp3"
    for tail in (b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(56), noise(3000), bytes(3000)):
        path.write_bytes(data + tail)
        assert inspect_mpeg(path).lost_s == 0.0
    y, stream = read_all(path)
    assert (stream.status, "are lost" in stream.message) == ("ok", False)
    n_bytes = len(data) // 4
    path.write_bytes(damaged(data, len(data) // 2, n_bytes))
    lost_s = n_bytes / len(data) * y.shape[1] / RATE
    assert inspect_mpeg(path).lost_s == pytest.approx(lost_s, abs=0.1)
    read, stream = read_all(path)
    assert stream.status == "truncated"
    assert "s of damaged frames are lost" in stream.message
    assert y.shape[1] - read.shape[1] == pytest.approx(lost_s * RATE, abs=0.15 * RATE)


@pytest.mark.parametrize("n_bytes", [1, 4095, 258_000, 258_047, 258_048, 262_144, 600_000])
@pytest.mark.parametrize("n_before", [3, 624, 625, 626])
def test_frames_behind_any_gap_are_counted(tmp_path: Path, n_before: int, n_bytes: int) -> None:
    """Also where it goes on behind what is read at once."""
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    path = tmp_path / "x.mp3"
    path.write_bytes(frame * n_before + bytes(n_bytes) + frame * 700)
    found = within(10.0, lambda: _count(path, 0))
    assert found[:2] == (n_before + 700, round(n_bytes / len(frame)))


@needs_ffmpeg
def test_tags_behind_a_frame_that_is_cut_off_are_no_damage(tmp_path: Path) -> None:
    first, second = (
        made(tmp_path, "x.mp3", music(s, k), "-c:a", "libmp3lame", "-b:a", "128k", "-id3v2_version", "0")
        for k, s in enumerate((2.0, 1.0))
    )
    tag = b"ID3\x03\0\0\0\x12\x4f\x40" + noise(300_000)[: 0x12 << 14 | 0x4F << 7 | 0x40]
    path = tmp_path / "x.mp3"
    for n_bytes in (0, 1, 200, 400):
        path.write_bytes(first[: len(first) - n_bytes] + tag + second)
        assert inspect_mpeg(path).lost_s == 0.0
        y, stream = read_all(path)
        assert stream.status == "ok"
        assert y.shape[1] == pytest.approx(3.0 * RATE, abs=0.15 * RATE)


# -------------------------------------------------------------------------------------------------------- missing bytes


@needs_ffmpeg
def test_an_avi_that_lacks_bytes_is_told_with_its_length(tmp_path: Path) -> None:
    data = made(tmp_path, "x.avi", music(3.0), "-c:a", "pcm_s16le")
    path = tmp_path / "x.avi"
    path.write_bytes(data)
    whole, stream = read_all(path)
    assert (stream.status, whole.shape[1]) == ("ok", 3 * RATE)
    for n_bytes in (1, len(data) - data.rindex(b"idx1") + 1, len(data) // 2):
        path.write_bytes(data[:-n_bytes])
        y, stream = read_all(path)
        assert stream.status == "truncated"
        assert stream.info.declared_duration_s == 3.0
        np.testing.assert_array_equal(y, whole[:, : y.shape[1]])
        lost = max(n_bytes - 2000, 0) // 4
        # Of a packet (4096 bytes) that is cut off ffmpeg 9 gives nothing, ffmpeg 5 what is there.
        assert y.shape[1] >= whole.shape[1] - lost - (1026 if lost else 2)
        assert ("s decoded of 3.00 s declared" in stream.message) == (y.shape[1] < whole.shape[1])


@needs_ffmpeg
@pytest.mark.parametrize(("name", "codec"), [("x.wma", "wmav2"), ("x.caf", "pcm_s16le"), ("x.avi", "libmp3lame")])
def test_half_a_file_is_told_with_the_length_of_its_header(tmp_path: Path, name: str, codec: str) -> None:
    data = made(tmp_path, name, music(4.0), "-c:a", codec)
    path = tmp_path / name
    path.write_bytes(data)
    whole, stream = read_all(path)
    assert stream.status == "ok"
    assert whole.shape[1] == pytest.approx(4.0 * RATE, abs=0.1 * RATE)
    path.write_bytes(data[: len(data) // 2])
    y, stream = read_all(path)
    assert stream.status == "truncated"
    assert stream.info.declared_duration_s == pytest.approx(4.0, abs=0.1)
    assert "the file has fewer bytes than its header states" in stream.message
    assert y.shape[1] == pytest.approx(2.0 * RATE, abs=0.1 * RATE)
    np.testing.assert_allclose(y[:, :RATE], whole[:, :RATE], atol=1e-5)


@needs_ffmpeg
def test_a_wma_whose_tags_were_shortened_is_whole(tmp_path: Path) -> None:
    """Taggers leave the size of the file that the header states as it was."""
    data = bytearray(made(tmp_path, "x.wma", music(2.0), "-c:a", "wmav2"))
    at = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")) + 40
    assert int.from_bytes(data[at : at + 8], "little") == len(data)
    data[at : at + 8] = (len(data) + 5000).to_bytes(8, "little")
    path = tmp_path / "x.wma"
    path.write_bytes(data)
    assert read_all(path)[1].status == "ok"
    path.write_bytes(data[:-2000])
    assert read_all(path)[1].status == "truncated"


def test_headers_that_state_nothing(tmp_path: Path) -> None:
    """Whatever is in them: no error, and no length that is none."""
    from stemfeatures.audio.stated import read_stated

    rng = np.random.default_rng(0)
    properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
    heads = {
        "asf": properties,
        "caf": b"caff\0\1\0\0desc" + bytes(7) + b"\x20",
        "avi": b"RIFF\0\1\0\0AVI strh" + bytes(4),
    }
    path = tmp_path / "x"
    for container, head in (
        ("caf", b"caff\0\1\0\0free\0\0\xff" + bytes(5)),  # a chunk of 2^48 bytes, larger than any file
        ("asf", bytes(16) + b"\xff" * 8 + properties + b"\1" * 84),
    ):
        path.write_bytes(head)
        assert read_stated(path, container) is None
    for container, head in heads.items():
        for n in (0, 4, 12, *rng.integers(12, 200, 100)):
            path.write_bytes((head + rng.bytes(200))[:n])
            found = read_stated(path, container)
            assert found is None or (found.n_bytes > 0 and (found.duration_s is None or found.duration_s > 0))
        assert read_stated(path, "mp3") is None
