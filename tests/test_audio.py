"""Decoding, resampling and writing: every format whole, cut off, lying and broken."""

from __future__ import annotations

import errno
import io
import os
import re
import resource
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile

from stemfeatures import audio
from stemfeatures._util.files import write_new, write_replace
from stemfeatures.audio import encode, ffmpeg_decoder, ogg, soundfile_decoder, streams
from stemfeatures.audio.flac import _frame_end, _StreamInfo, understated_length
from stemfeatures.audio.mpeg import _count, inspect_mpeg, skip_id3v2, unreliable_length
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH
from stemfeatures.errors import AudioError, DecodeError, EmptyAudioError, NonFiniteAudioError, StemfeaturesError

HOP_S = HOP_LENGTH / ANALYSIS_SAMPLE_RATE
FFMPEG = ffmpeg_decoder.ffmpeg_path()
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="no ffmpeg on the PATH nor in imageio-ffmpeg")

SAMPLE_RATE = 44_100
N_SAMPLES = 4 * SAMPLE_RATE + 123


def music(n: int = N_SAMPLES, sample_rate: int = SAMPLE_RATE, channels: int = 2) -> np.ndarray:
    """Noise bursts over tones: something that compresses, with one sharp peak of its cross-correlation."""
    rng = np.random.default_rng(7)
    t = np.arange(n) / sample_rate
    envelope = 0.3 * np.exp(-((4 * t) % 1) * 6)
    tones = [0.2 * np.sin(2 * np.pi * 220 * (k + 1) * t) for k in range(channels)]
    return np.stack([tone + envelope * rng.standard_normal(n) * 0.5 for tone in tones]).astype(np.float32)


def ffmpeg(*arguments: str | Path) -> None:
    assert FFMPEG is not None
    subprocess.run([FFMPEG, "-y", "-v", "error", "-nostdin", *map(str, arguments)], check=True, timeout=60)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the music in a format on first demand, by the file's name."""
    folder = tmp_path_factory.mktemp("sounds")
    y = music()
    source = folder / "source.wav"
    soundfile.write(source, y.T, SAMPLE_RATE, subtype="PCM_16")
    options = {
        "lame.mp3": ["-b:a", "128k"],
        "vbr.mp3": ["-q:a", "4"],
        "bare.mp3": ["-b:a", "128k", "-write_xing", "0"],
        "front.m4a": ["-movflags", "faststart"],
        "alac.m4a": ["-c:a", "alac"],
        "lavc.ogg": ["-c:a", "libvorbis"],
        "lavc.opus": ["-c:a", "libopus"],
        "flac.oga": ["-c:a", "flac"],
    }

    def make(name: str) -> Path:
        path = folder / name
        if path.exists():
            return path
        if name == "plain.opus":
            soundfile.write(path, audio.resample(y, SAMPLE_RATE, 48_000).T, 48_000, format="OGG", subtype="OPUS")
        elif name.startswith("plain."):
            soundfile.write(path, y.T, SAMPLE_RATE)
        else:
            if FFMPEG is None:
                pytest.skip("no ffmpeg to make the file with")
            ffmpeg("-i", source, *options.get(name, []), path)
        return path

    return make


@pytest.fixture
def only_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_DECODERS", (ffmpeg_decoder.FfmpegDecoder,))


def read_all(path: Path, **options: float) -> tuple[np.ndarray, audio.AudioStream]:
    with audio.open_audio(path, **options) as stream:
        blocks = list(stream)
    return np.concatenate(blocks, axis=1), stream


def cut(path: Path, into: Path, share: float = 0.5) -> Path:
    data = path.read_bytes()
    into.write_bytes(data[: int(len(data) * share)])
    return into


def lag(y: np.ndarray, reference: np.ndarray) -> int:
    """Samples by which ``y`` is late."""
    n = min(len(y), len(reference))
    size = 2 * n
    product = np.fft.rfft(y[:n], size) * np.conj(np.fft.rfft(reference[:n], size))
    return int((np.argmax(np.fft.irfft(product, size)) + n) % size - n)


#: The end of what ffmpeg says of its input.
DESCRIBED = "echo '[Parsed_ashowinfo_1 @ 0x1f] [info] n:0 pts:0 pts_time:0' >&2; echo 'Output #0' >&2"


def fake_ffmpeg(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    version = 'case "$1" in -version) echo "ffmpeg version 1.2.3-fake Copyright"; exit;; esac'
    program.write_text(f"#!/bin/sh\n{version}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


# ---------------------------------------------------------------------------------------------------- formats

LOSSLESS = ["plain.wav", "plain.flac", "plain.aiff", "alac.m4a", "flac.oga"]
FORMATS = {
    # name: (decoder, codec, container, lossless, sample rate)
    "plain.wav": ("soundfile", "pcm_s16", "wav", True, 44_100),
    "plain.flac": ("soundfile", "flac", "flac", True, 44_100),
    "plain.aiff": ("soundfile", "pcm_s16", "aiff", True, 44_100),
    "plain.ogg": ("soundfile", "vorbis", "ogg", False, 44_100),
    "plain.opus": ("soundfile", "opus", "ogg", False, 48_000),
    "plain.mp3": ("soundfile", "mp3", "mp3", False, 44_100),
    "lame.mp3": ("soundfile", "mp3", "mp3", False, 44_100),
    "vbr.mp3": ("soundfile", "mp3", "mp3", False, 44_100),
    "lavc.ogg": ("soundfile", "vorbis", "ogg", False, 44_100),
    "lavc.opus": ("soundfile", "opus", "ogg", False, 48_000),
    "bare.mp3": ("ffmpeg", "mp3", "mp3", False, 44_100),
    "front.m4a": ("ffmpeg", "aac", "mp4", False, 44_100),
    "back.m4a": ("ffmpeg", "aac", "mp4", False, 44_100),
    "alac.m4a": ("ffmpeg", "alac", "mp4", True, 44_100),
    "flac.oga": ("ffmpeg", "flac", "ogg", True, 44_100),
    "adts.aac": ("ffmpeg", "aac", "aac", False, 44_100),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_its_music(sounds: Callable[[str], Path], name: str) -> None:
    path = sounds(name)
    decoder, codec, container, lossless, sample_rate = FORMATS[name]
    y, stream = read_all(path, block_s=0.7)
    info = stream.info
    assert (info.decoder, info.codec, info.container, info.lossless) == (decoder, codec, container, lossless)
    assert (info.sample_rate, info.channels) == (sample_rate, 2)
    assert info.decoder_version not in ("", "unknown")
    assert stream.status == "ok", stream.message
    assert stream.n_samples == y.shape[1]
    assert stream.sha256 == audio.file_sha256(path)
    assert y.dtype == np.float32
    expected = audio.resample(music(), SAMPLE_RATE, sample_rate)
    if name in LOSSLESS:
        assert y.shape == expected.shape
        assert np.abs(y - expected).max() <= 2**-15
    else:
        # Without the encoder's note of its delay (bare.mp3, adts.aac) the delay stays in.
        noted = name not in ("bare.mp3", "adts.aac")
        assert abs(y.shape[1] - expected.shape[1]) <= (300 if noted else 4000)
        late = lag(y[0], expected[0])
        assert abs(late) <= (1 if noted else 2400)
        n = min(y.shape[1] - max(late, 0), expected.shape[1])
        assert np.corrcoef(y[1, max(late, 0) :][:n], expected[1, :n])[0, 1] > 0.9
    if info.declared_exact:
        assert info.declared_duration_s == pytest.approx(stream.decoded_duration_s, abs=0.05)
        assert info.bit_rate == pytest.approx(path.stat().st_size * 8 / stream.decoded_duration_s, rel=0.1)
    else:
        assert name in ("bare.mp3", "adts.aac")
        assert info.bit_rate is None


@pytest.mark.parametrize("name", FORMATS)
def test_probe_says_what_decoding_says(sounds: Callable[[str], Path], name: str) -> None:
    path = sounds(name)
    with audio.open_audio(path) as stream:
        assert audio.probe(path) == stream.info


@needs_ffmpeg
@pytest.mark.parametrize("name", ["plain.mp3", "lame.mp3", "vbr.mp3", "plain.flac", "plain.ogg", "lavc.opus"])
def test_the_decoders_agree(sounds: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = read_all(sounds(name))
    monkeypatch.setattr(streams, "_DECODERS", (ffmpeg_decoder.FfmpegDecoder,))
    second, stream = read_all(sounds(name))
    assert stream.info.decoder == "ffmpeg"
    assert abs(lag(second[0], first[0])) < HOP_S * stream.info.sample_rate
    assert abs(first.shape[1] - second.shape[1]) < HOP_S * stream.info.sample_rate
    if name == "plain.flac":
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["plain.flac", "plain.mp3", "front.m4a"])
def test_stream_and_load_agree_for_any_block(sounds: Callable[[str], Path], name: str) -> None:
    whole, rate = audio.load(sounds(name))
    for block_s in (0.013, 0.5, 1.0, 100.0):
        y, stream = read_all(sounds(name), block_s=block_s)
        assert stream.info.sample_rate == rate
        np.testing.assert_array_equal(y, whole)


def test_blocks_have_the_asked_length(sounds: Callable[[str], Path]) -> None:
    with audio.open_audio(sounds("plain.wav"), block_s=1.0) as stream:
        assert stream.status is None
        lengths = [block.shape for block in stream]
    assert lengths == [(2, 44_100)] * 4 + [(2, 123)]
    assert list(stream) == []


@pytest.mark.parametrize(("name", "suffix"), [("plain.mp3", ".wav"), ("plain.flac", ".mp3"), ("front.m4a", ".mp3")])
def test_the_suffix_does_not_matter(sounds: Callable[[str], Path], tmp_path: Path, name: str, suffix: str) -> None:
    wrong = tmp_path / f"wrong{suffix}"
    wrong.write_bytes(sounds(name).read_bytes())
    np.testing.assert_array_equal(audio.load(wrong)[0], audio.load(sounds(name))[0])


ODD_NAMES = [
    "-i.x",
    "a b'c\"d.x",
    "日本語 ünï.x",
    "50%_%03d.x",
    "pipe:1",
    "http:::x",
    "new\nline",
    "trailing. ",
    "#?&[0-9].x",
]


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["plain.flac", "front.m4a"])
@pytest.mark.parametrize("name", [*ODD_NAMES, os.fsdecode(b"not utf-8 \xff\xfe.x")])
def test_odd_names(
    sounds: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    try:
        (tmp_path / name).write_bytes(sounds(kind).read_bytes())
    except OSError:
        pytest.skip("the file system does not allow this name")
    monkeypatch.chdir(tmp_path)
    y, stream = read_all(Path(name))
    assert stream.status == "ok"
    np.testing.assert_array_equal(y, audio.load(sounds(kind))[0])
    (tmp_path / name).write_bytes(b"no audio")
    with pytest.raises(DecodeError) as caught:
        audio.load(name)
    str(caught.value).encode("utf-8")  # can be printed and stored


@pytest.mark.parametrize(
    ("name", "channels"),
    [*((name, channels) for name in ("x.wav", "x.flac") for channels in (1, 2, 3, 6)), ("x.m4a", 1), ("x.m4a", 6)],
)
def test_any_number_of_channels(tmp_path: Path, name: str, channels: int) -> None:
    y = music(8000, 8000, channels)
    source = tmp_path / "source.wav"
    soundfile.write(source, y.T, 8000, subtype="FLOAT")
    path = tmp_path / name
    if name == "x.m4a":
        if FFMPEG is None:
            pytest.skip("no ffmpeg")
        ffmpeg("-i", source, "-c:a", "alac", path)
    else:
        soundfile.write(path, y.T, 8000, subtype="PCM_16" if name == "x.flac" else "FLOAT")
    read, rate = audio.load(path)
    assert read.shape == y.shape
    assert rate == 8000
    assert audio.probe(path).channels == channels
    np.testing.assert_allclose(read, y, atol=2**-14)
    np.testing.assert_allclose(audio.load(path, mono=True)[0], y.mean(axis=0), atol=2**-14)


def test_to_mono() -> None:
    y = music(100, channels=6)
    np.testing.assert_allclose(audio.to_mono(y), y.mean(0), atol=1e-6)
    assert audio.to_mono(y).dtype == np.float32
    assert audio.to_mono(y[:1]).shape == (100,)
    assert audio.to_mono(y[0]) is y[0] or np.array_equal(audio.to_mono(y[0]), y[0])


# ------------------------------------------------------------------------------------- truncated and lying files


@pytest.mark.parametrize(
    "name",
    [
        *("plain.wav", "plain.aiff", "plain.flac", "plain.ogg", "plain.opus", "plain.mp3"),
        *("lame.mp3", "vbr.mp3", "lavc.ogg", "lavc.opus", "front.m4a", "flac.oga"),
    ],
)
def test_half_a_file_is_truncated(sounds: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    whole, rate = audio.load(sounds(name))
    half, stream = read_all(cut(sounds(name), tmp_path / name))
    assert stream.status == "truncated"
    assert "decoded" in stream.message
    assert 0.2 * whole.shape[1] < half.shape[1] < 0.75 * whole.shape[1]
    n = half.shape[1] - 2 * rate // 10
    assert abs(lag(half[0, :n], whole[0, :n])) < HOP_S * rate
    declared = stream.info.declared_duration_s
    if stream.info.container == "ogg":
        assert declared is None
    else:
        assert declared == pytest.approx(whole.shape[1] / rate, abs=0.05)


def test_load_warns_of_truncation(
    sounds: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio.load(sounds("plain.wav"))
    assert not caplog.records
    audio.load(cut(sounds("plain.wav"), tmp_path / "half.wav"))
    assert "half.wav: truncated" in caplog.text


@needs_ffmpeg
def test_m4a_without_its_index_has_both_decoders_words(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"half\.m4a: soundfile: .+; ffmpeg: .*moov atom not found"):
        audio.probe(cut(sounds("back.m4a"), tmp_path / "half.m4a"))


@needs_ffmpeg
def test_vbr_mp3_without_length_is_read_to_its_end(tmp_path: Path) -> None:
    """libsndfile stops where it expects the end from the low bit rate of the quiet beginning."""
    y = music(10 * SAMPLE_RATE)
    y[:, : 4 * SAMPLE_RATE] *= 1e-5
    source, path = tmp_path / "source.wav", tmp_path / "x.mp3"
    soundfile.write(source, y.T, SAMPLE_RATE)
    ffmpeg("-i", source, "-q:a", "4", "-write_xing", "0", path)
    with soundfile.SoundFile(path) as file:
        assert file.frames < 0.8 * y.shape[1]  # the trap is there
    read, stream = read_all(path)
    assert abs(read.shape[1] - y.shape[1]) < 4000
    assert stream.status == "ok"  # though ffmpeg expected another length as well
    assert not stream.info.declared_exact


@needs_ffmpeg
@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(56)])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 2.0, 1e6])
def test_an_mp3_that_states_a_wrong_number_of_frames_is_read_to_its_end(
    tmp_path: Path, share: float, tail: bytes
) -> None:
    y = music(5 * SAMPLE_RATE)
    source, path = tmp_path / "source.wav", tmp_path / "x.mp3"
    soundfile.write(source, y.T, SAMPLE_RATE)
    ffmpeg("-i", source, "-q:a", "6", path)
    data = bytearray(path.read_bytes())
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    n_frames = int.from_bytes(data[at : at + 4], "big")
    start = skip_id3v2(io.BytesIO(data))
    assert _count(path, start)[:2] == (n_frames + 1, 0)  # that of the header is none of music
    assert unreliable_length(path) is inspect_mpeg(path).recount is None
    reference = audio.load(path)[0]
    data[at : at + 4] = min(int(share * n_frames), 2**32 - 1).to_bytes(4, "big")
    path.write_bytes(data + tail)
    assert _count(path, start)[:2] == (n_frames + 1, 0)
    assert f"the file has {n_frames + 1}" in unreliable_length(path)
    read, stream = read_all(path)
    np.testing.assert_allclose(read, reference, atol=1e-5)  # nothing is lost where the header says that the end is
    assert stream.status == "ok", stream.message
    assert stream.info.declared_duration_s is None
    # Of what is cut off the header is all that tells.
    path.write_bytes(data[: len(data) // 2])
    assert inspect_mpeg(path).recount is None


def with_n_samples(path: Path, n_samples: int) -> Path:
    """A FLAC file whose header states another number of samples."""
    data = bytearray(path.read_bytes())
    packed = int.from_bytes(data[18:26], "big")
    data[18:26] = (packed >> 36 << 36 | n_samples).to_bytes(8, "big")
    path.write_bytes(data)
    return path


@needs_ffmpeg
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125), b"\xff\xf8\xff\xf9" * 1000])
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (12_345, 1), (48_000, 6), (96_000, 3)])
def test_flac_that_states_too_few_samples_is_read_to_its_end(
    tmp_path: Path, rate: int, channels: int, share: float, tail: bytes
) -> None:
    y = np.tile(music(4 * SAMPLE_RATE), (3, 1))[:channels]
    path = tmp_path / "x.flac"
    soundfile.write(path, y.T, rate, subtype="PCM_24")
    assert understated_length(path) is None
    with_n_samples(path, int(share * y.shape[1])).write_bytes(path.read_bytes() + tail)
    assert understated_length(path) == f"this FLAC file states {int(share * y.shape[1])} samples and has {y.shape[1]}"
    read, stream = read_all(path)
    np.testing.assert_allclose(read, y, atol=2**-23)
    assert stream.status == "ok", stream.message
    assert stream.info.declared_duration_s is None
    with_n_samples(path, 2 * y.shape[1])
    assert understated_length(path) is None
    assert read_all(path)[1].status == "truncated"


def test_headers_of_flac_frames() -> None:
    def header(*fields: int) -> bytes:
        crc = 0
        for byte in fields:  # RFC 9639, section 9.1.8, bit by bit
            for k in range(7, -1, -1):
                crc = (crc << 1 ^ (0x07 if (crc >> 7) ^ (byte >> k & 1) else 0)) & 0xFF
        return bytes([*fields, crc]) + bytes(16)

    info = _StreamInfo(largest_block=4096, sample_rate=44_100, channels=2, n_samples=1)
    end = _frame_end
    assert end(header(0xFF, 0xF8, 0xC9, 0x18, 0x05), info) == 6 * 4096
    assert end(header(0xFF, 0xF8, 0xC9, 0xA8, 0xC4, 0x80), info) == 257 * 4096
    assert end(header(0xFF, 0xF9, 0xC9, 0x18, 0xF0, 0x92, 0x80, 0x80), info) == 0x12000 + 4096  # a sample, not a frame
    assert end(header(0xFF, 0xF9, 0x69, 0x18, 0x07, 0x3F), info) == 7 + 64
    assert end(header(0xFF, 0xF9, 0x7D, 0x18, 0x07, 0x01, 0xFF, 0xAC, 0x44), info) == 7 + 512  # a rate of its own
    for bad in (
        header(0xFF, 0xF8, 0xC9, 0x18, 0x05)[:5] + bytes(12),  # checksum
        header(0xFF, 0xFA, 0xC9, 0x18, 0x05),  # a bit that is reserved
        header(0xFF, 0xF8, 0xCA, 0x18, 0x05),  # another rate
        header(0xFF, 0xF8, 0xC9, 0x28, 0x05),  # three channels
        header(0xFF, 0xF8, 0xD9, 0x18, 0x05),  # a block larger than the largest
        header(0xFF, 0xF8, 0xC9, 0x18, 0x85),  # a number that begins in its middle
        header(0xFF, 0xF8, 0xC9, 0x18, 0xC4, 0x05),  # one that breaks off
    ):
        assert end(bad, info) is None


@needs_ffmpeg
@pytest.mark.parametrize("name", ["lame.mp3", "lavc.ogg", "lavc.opus"])
def test_joined_files_are_read_to_their_end(sounds: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    twice = tmp_path / name
    other = {"lavc.ogg": "plain.ogg", "lavc.opus": "plain.opus"}.get(name, name)
    twice.write_bytes(sounds(name).read_bytes() + sounds(other).read_bytes())
    y, stream = read_all(twice)
    assert stream.status == "ok"
    assert abs(stream.decoded_duration_s - 2 * N_SAMPLES / SAMPLE_RATE) < 0.1
    second = audio.load(sounds(other))[0][0]
    late = lag(y[0, -len(second) :], second)  # the header of an MP3 in between may become a frame
    assert abs(late) < 0.1 * SAMPLE_RATE
    n = len(second) - abs(late)
    assert np.corrcoef(y[0, -len(second) :][max(late, 0) :][:n], second[max(-late, 0) :][:n])[0, 1] > 0.9


def test_a_chain_of_ogg_streams(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    """Each has tables of its own: decoded with those of the first, it would be noise."""
    parts = [sounds("plain.ogg"), tmp_path / "mono.ogg", sounds("lavc.ogg")]
    soundfile.write(parts[1], music(channels=1).T, SAMPLE_RATE)
    path = tmp_path / "x.ogg"
    path.write_bytes(parts[0].read_bytes() + parts[2].read_bytes() + parts[0].read_bytes())
    for block_s in (0.3, 100.0):
        y, stream = read_all(path, block_s=block_s)
        assert (stream.status, stream.info.decoder, stream.info.declared_duration_s) == ("ok", "soundfile", None)
        np.testing.assert_array_equal(y, np.hstack([audio.load(parts[k])[0] for k in (0, 2, 0)]))
    path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    y, stream = read_all(path)
    assert stream.status == "truncated"
    assert "part 2 of 2, 4.00 s, has 1 channels at 44100 Hz: it is not read" in stream.message
    np.testing.assert_array_equal(y, audio.load(parts[0])[0])
    data = parts[0].read_bytes() + parts[2].read_bytes()
    path.write_bytes(data[: -len(data) // 4])
    y, stream = read_all(path)
    assert 1.1 * N_SAMPLES < y.shape[1] < 1.7 * N_SAMPLES
    assert (stream.status, stream.info.decoder) == ("truncated", "soundfile")


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0), (0, 2, 1)])
def test_a_chain_of_flac_streams(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Also of one of unknown length, as programs write it into a pipe, and with tags between the streams."""
    parts, signals = [tmp_path / f"{k}.flac" for k in range(3)], [music()[:, : 20_000 * (k + 1)] for k in range(3)]
    for part, y in zip(parts, signals):
        soundfile.write(part, y.T, SAMPLE_RATE, subtype="PCM_24")
    with_n_samples(parts[2], 0)
    parts[1].write_bytes(b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128) + parts[1].read_bytes())
    path = tmp_path / "x.flac"
    path.write_bytes(b"".join(parts[k].read_bytes() for k in order))
    for block_s in (0.1, 100.0):
        read, stream = read_all(path, block_s=block_s)
        np.testing.assert_allclose(read, np.hstack([signals[k] for k in order]), atol=2**-23)
        assert (stream.status, stream.message, stream.info.declared_duration_s) == ("ok", "", None)


def test_tags_behind_the_streams_of_a_chain_of_flac_cost_nothing(tmp_path: Path) -> None:
    """Such as ID3v1, filling, and a large ID3v2 with a picture in it, all of which libsndfile takes for lost frames."""
    path, y = tmp_path / "x.flac", music()
    soundfile.write(path, y.T, SAMPLE_RATE, subtype="PCM_24")
    one = path.read_bytes()
    for tag in (b"TAG" + bytes(125), bytes(100), b"ID3\x03\x00\x00\x01\x00\x00\x00" + b"\xff\xf8" * (1 << 20)):
        path.write_bytes(one + tag + one + tag)
        for block_s in (0.1, 100.0):
            read, stream = read_all(path, block_s=block_s)
            np.testing.assert_allclose(read, np.hstack([y, y]), atol=2**-23)
            assert (stream.status, stream.message, stream.info.decoder) == ("ok", "", "soundfile")


def test_a_flac_stream_behind_another_that_differs(tmp_path: Path) -> None:
    path, other = tmp_path / "x.flac", tmp_path / "y.flac"
    soundfile.write(path, music().T, SAMPLE_RATE)
    soundfile.write(other, music(channels=1).T, SAMPLE_RATE)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    read, stream = read_all(path)
    assert read.shape == (2, N_SAMPLES)
    assert stream.status == "truncated"
    assert "part 2 of 2, 4.00 s, has 1 channels at 44100 Hz: it is not read" in stream.message


def wav(*chunks: tuple[bytes, bytes], channels: int = 2, rate: int = SAMPLE_RATE, kind: bytes = b"RIFF") -> bytes:
    """A WAV of 16 bits with chunks behind its format; a 64 bit one leaves all sizes open, as one from a pipe does."""
    fmt = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    body = b"WAVE" + (b"ds64" + struct.pack("<I28x", 28) if kind != b"RIFF" else b"") + b"fmt \x10\0\0\0" + fmt
    for name, data in chunks:
        is_open = name == b"data" and kind != b"RIFF"
        body += name + (0xFFFFFFFF if is_open else len(data)).to_bytes(4, "little") + data + bytes(len(data) & 1)
    return kind + (len(body) if kind == b"RIFF" else 0xFFFFFFFF).to_bytes(4, "little") + body


def test_all_chunks_of_samples_of_a_wav_are_read(tmp_path: Path) -> None:
    samples = (music() * 32767).astype("<i2")
    first, second = samples[:, :30_000].T.tobytes(), samples[:, 30_000:].T.tobytes()
    path = tmp_path / "x.wav"
    whole = [
        wav((b"data", first), (b"data", second)),
        wav((b"data", first), (b"LIST", b"INFOICMT\x03\0\0\0hi\0"), (b"data", second), (b"id3 ", b"ID3" + bytes(20))),
        wav((b"data", first)) + wav((b"JUNK", bytes(7)), (b"data", second)),
        wav((b"data", first)) + wav((b"data", second), kind=b"RF64"),
    ]
    for data in whole:
        path.write_bytes(data)
        read, stream = read_all(path, block_s=0.2)
        np.testing.assert_array_equal(read, samples / np.float32(32768))
        assert (stream.status, stream.message, stream.info.codec) == ("ok", "", "pcm_s16")
        assert stream.info.declared_duration_s == N_SAMPLES / SAMPLE_RATE
    path.write_bytes(whole[0][:-1001])
    read, stream = read_all(path)
    assert read.shape == (2, N_SAMPLES - 251)
    assert stream.status == "truncated"
    assert "the last samples of this WAV are cut off" in stream.message
    path.write_bytes(whole[0] + wav((b"data", first), rate=22_050))
    read, stream = read_all(path)
    np.testing.assert_array_equal(read, samples / np.float32(32768))
    assert stream.status == "truncated"
    assert "part 2 of 2, 1.36 s, has 2 channels at 22050 Hz: it is not read" in stream.message


@pytest.mark.parametrize("kind", [b"RF64", b"BW64"])
def test_wav_of_64_bits_from_a_pipe_is_whole(tmp_path: Path, kind: bytes) -> None:
    samples = (music() * 32767).astype("<i2")
    path = tmp_path / "x.wav"
    path.write_bytes(wav((b"LIST", bytes(26)), (b"data", samples.T.tobytes()), kind=kind))
    read, stream = read_all(path)
    np.testing.assert_array_equal(read, samples / np.float32(32768))
    assert (stream.status, stream.message, stream.info.decoder) == ("ok", "", "soundfile")


def test_mp3_with_tags_around_it(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    tagged = tmp_path / "x.mp3"
    picture = b"ID3\x03\x00\x00\x00\x05\x00\x00" + bytes(5 << 14)
    tagged.write_bytes(picture + sounds("lame.mp3").read_bytes() + b"TAG" + b" " * 125)
    y, stream = read_all(tagged)
    assert (stream.info.decoder, stream.status) == ("soundfile", "ok")
    np.testing.assert_array_equal(y, audio.load(sounds("lame.mp3"))[0])


@pytest.mark.parametrize("stated", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_of_unknown_length_is_whole(sounds: Callable[[str], Path], tmp_path: Path, stated: int) -> None:
    """What programs write that cannot go back to the header."""
    data = bytearray(sounds("plain.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", stated)
    path = tmp_path / "pipe.wav"
    path.write_bytes(data)
    y, stream = read_all(path)
    assert stream.status == "ok"
    np.testing.assert_array_equal(y, audio.load(sounds("plain.wav"))[0])


def test_missing_tags_behind_the_samples_are_no_truncation(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    data = bytearray(sounds("plain.wav").read_bytes())
    data[4:8] = struct.pack("<I", len(data) + 1_000_000)
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    assert read_all(path)[1].status == "ok"


def damage(path: Path, into: Path, at: float = 0.5, n_bytes: int = 2000) -> Path:
    data = bytearray(path.read_bytes())
    start = int(len(data) * at)
    data[start : start + n_bytes] = np.random.default_rng(0).bytes(n_bytes)
    into.write_bytes(data)
    return into


def test_damage_in_the_middle_is_truncation_without_ffmpeg(
    sounds: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg_decoder, "ffmpeg_path", lambda: None)
    y, stream = read_all(damage(sounds("plain.flac"), tmp_path / "x.flac"), block_s=1.0)
    assert (stream.status, stream.info.decoder) == ("truncated", "soundfile")
    assert "flac decoder" in stream.message
    assert "ffmpeg: not found on the PATH" in stream.message
    # All that libsndfile gave before it broke off is there, not only whole blocks.
    assert 0.4 * N_SAMPLES < y.shape[1] < 0.6 * N_SAMPLES
    np.testing.assert_array_equal(y, audio.load(sounds("plain.flac"))[0][:, : y.shape[1]])


@needs_ffmpeg
@pytest.mark.parametrize("block_s", [0.1, 1.0, 100.0])
def test_ffmpeg_goes_on_behind_damage(sounds: Callable[[str], Path], tmp_path: Path, block_s: float) -> None:
    path = damage(sounds("plain.flac"), tmp_path / "x.flac")
    whole = audio.load(sounds("plain.flac"))[0]
    with audio.open_audio(path, block_s=block_s) as stream:
        before = stream.info
        blocks = list(stream)
    y = np.concatenate(blocks, axis=1)
    assert {block.shape[1] for block in blocks[:-1]} <= {round(block_s * SAMPLE_RATE)}
    assert y.shape == whole.shape
    wrong = np.flatnonzero((y != whole).any(axis=0))
    assert 0 < len(wrong) < 0.3 * SAMPLE_RATE  # two frames, or three
    assert np.ptp(wrong) < 0.3 * SAMPLE_RATE  # in one place, and all in time behind it
    assert not y[:, wrong].any()
    assert stream.status == "ok"
    broke_off, silent = re.match(
        r"soundfile broke off after ([\d.]+) s .+, ffmpeg went on; ([\d.]+) s became", stream.message
    ).groups()
    assert 0 <= wrong[0] / SAMPLE_RATE - float(broke_off) < 0.2
    assert float(silent) == pytest.approx(len(wrong) / SAMPLE_RATE, abs=0.01)
    assert (before.decoder, stream.info.decoder) in [
        ("soundfile", "soundfile+ffmpeg"),
        ("soundfile+ffmpeg", "soundfile+ffmpeg"),  # where the first block reaches that far
    ]
    assert stream.info.decoder_version == "+".join(
        [soundfile_decoder.soundfile_version(), ffmpeg_decoder.ffmpeg_version(str(FFMPEG))]
    )
    assert audio.probe(path).decoder == "soundfile"


@needs_ffmpeg
def test_damage_in_many_places(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    path = sounds("plain.flac")
    for at in (0.2, 0.4, 0.6, 0.8):
        path = damage(path, tmp_path / "x.flac", at, 100)
    whole = audio.load(sounds("plain.flac"))[0]
    y, stream = read_all(path)
    assert stream.status == "ok"
    assert y.shape == whole.shape
    assert np.mean((y == whole).all(axis=0)) > 0.7
    np.testing.assert_array_equal(y[:, -20_000:], whole[:, -20_000:])


@needs_ffmpeg
@pytest.mark.parametrize("name", ["lame.mp3", "vbr.mp3"])
def test_damage_in_the_middle_of_an_mp3(sounds: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """Sometimes libsndfile finds its way behind the damage, sometimes it breaks off."""
    whole = audio.load(sounds(name))[0]
    decoders = set()
    for at in (0.3, 0.4, 0.5, 0.6, 0.7):
        y, stream = read_all(damage(sounds(name), tmp_path / name, at, 1000), block_s=0.5)
        assert stream.status == "ok"
        assert ("ffmpeg went on" in stream.message) == (stream.info.decoder == "soundfile+ffmpeg")
        decoders.add(stream.info.decoder)
        assert abs(y.shape[1] - whole.shape[1]) < 0.25 * SAMPLE_RATE
        n = int(0.9 * at * N_SAMPLES)
        np.testing.assert_allclose(y[:, :n], whole[:, :n], atol=1e-4)
        n = int(0.8 * (1 - at) * N_SAMPLES)  # behind the damage all is there, a few frames early or late
        rest, expected = y[0, -n:], whole[0, -n:]
        late = lag(rest, expected)
        assert abs(late) < 0.25 * SAMPLE_RATE
        rest, expected = rest[max(late, 0) : n + late], expected[max(-late, 0) : n - late]
        assert np.corrcoef(rest, expected)[0, 1] > 0.9
    assert "soundfile+ffmpeg" in decoders


@needs_ffmpeg
def test_damaged_and_cut_is_truncated(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    path = cut(damage(sounds("plain.flac"), tmp_path / "x.flac", 0.3), tmp_path / "y.flac", 0.7)
    whole = audio.load(sounds("plain.flac"))[0]
    y, stream = read_all(path)
    assert stream.status == "truncated"
    assert stream.info.decoder == "soundfile+ffmpeg"
    assert f"of {N_SAMPLES / SAMPLE_RATE:.2f} s declared" in stream.message
    assert "ffmpeg went on" in stream.message
    assert 0.6 * N_SAMPLES < y.shape[1] < 0.75 * N_SAMPLES
    n = y.shape[1] - 8192
    np.testing.assert_array_equal(y[:, n - 8192 : n], whole[:, n - 8192 : n])


@needs_ffmpeg
def test_truncated_where_ffmpeg_has_no_more(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    _, stream = read_all(cut(sounds("plain.wav"), tmp_path / "x.wav"))
    assert (stream.status, stream.info.decoder) == ("truncated", "soundfile")
    assert stream.message.endswith("ffmpeg: gives no more")


def damaged_noise(folder: Path) -> tuple[Path, np.ndarray]:
    """A FLAC with damage in the middle, and what it would be without. No part of it is like another."""
    whole = np.random.default_rng(3).uniform(-0.3, 0.3, (2, 3 * SAMPLE_RATE))
    soundfile.write(folder / "whole.flac", whole.T, SAMPLE_RATE)
    return damage(folder / "whole.flac", folder / "x.flac"), audio.load(folder / "whole.flac")[0]


def fake_continuation(monkeypatch: pytest.MonkeyPatch, folder: Path, y: np.ndarray, sample_rate: int) -> None:
    """An ffmpeg that gives ``y`` for any file."""
    data = folder / "continuation.au"
    soundfile.write(data, y.T, sample_rate, subtype="FLOAT", format="AU", endian="BIG")
    fake_ffmpeg(monkeypatch, folder, f"{DESCRIBED}; cat {data}")


@pytest.mark.parametrize("late", [0, 7, -7, 2304, -2304])
def test_the_continuation_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    """Also when the other decoder counts otherwise: what follows is what comes next."""
    path, whole = damaged_noise(tmp_path)
    other = np.pad(whole, ((0, 0), (max(late, 0), 0)))[:, max(-late, 0) :]
    fake_continuation(monkeypatch, tmp_path, other * 1.001, SAMPLE_RATE)
    y, stream = read_all(path, block_s=0.3)
    assert (stream.status, stream.info.decoder) == ("ok", "soundfile+ffmpeg")
    assert (f"{late:+d} samples away" in stream.message) == (late != 0)
    assert y.shape == whole.shape
    np.testing.assert_allclose(y, whole, atol=1e-3)


@pytest.mark.parametrize("kind", ["rate", "channels", "noise", "far", "louder", "short", "nothing", "hang"])
def test_a_continuation_that_does_not_fit_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path, whole = damaged_noise(tmp_path)
    noise = np.random.default_rng(5).uniform(-0.5, 0.5, whole.shape)
    other, rate, words = {
        "rate": (whole, 8000, "decodes 2 channels at 8000 Hz"),
        "channels": (whole[:1], SAMPLE_RATE, "decodes 1 channels at 44100 Hz"),
        "noise": (noise, SAMPLE_RATE, "what it gives does not fit"),
        "far": (np.pad(whole, ((0, 0), (30_000, 0))), SAMPLE_RATE, "what it gives does not fit"),
        "louder": (2 * whole, SAMPLE_RATE, "what it gives does not fit"),
        "short": (whole[:, :SAMPLE_RATE], SAMPLE_RATE, "gives no more"),
        "nothing": (whole[:, :0], SAMPLE_RATE, "gives no more"),
        "hang": (whole, SAMPLE_RATE, "no answer within 1 s, killed"),
    }[kind]
    fake_continuation(monkeypatch, tmp_path, other, rate)
    if kind == "hang":
        program = tmp_path / "bin" / "ffmpeg"
        program.write_text(program.read_text().replace("echo 'Output", f"echo $$ > {tmp_path}/pid; sleep 1000; echo '"))
    y, stream = read_all(path, block_s=1.0, **({"timeout_s": 1.0} if kind == "hang" else {}))
    assert (stream.status, stream.info.decoder) == ("truncated", "soundfile")
    assert "flac decoder" in stream.message
    assert f"ffmpeg: {words}" in stream.message
    assert 1.2 * SAMPLE_RATE < y.shape[1] < 1.8 * SAMPLE_RATE
    np.testing.assert_array_equal(y, whole[:, : y.shape[1]])
    if kind == "hang":
        assert gone(tmp_path / "pid")


def test_a_continuation_ends_where_the_file_declares_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = damaged_noise(tmp_path)
    fake_continuation(monkeypatch, tmp_path, np.pad(whole, ((0, 0), (0, 100_000))), SAMPLE_RATE)
    for block_s in (0.5, 1.0, 100.0):
        np.testing.assert_array_equal(read_all(path, block_s=block_s)[0], whole)


def test_a_continuation_of_silence(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    """There is nothing to compare."""
    if FFMPEG is None:
        pytest.skip("no ffmpeg")
    y = music()
    y[:, N_SAMPLES // 4 : -SAMPLE_RATE] = 0
    soundfile.write(tmp_path / "x.flac", y.T, SAMPLE_RATE)
    whole = audio.load(tmp_path / "x.flac")[0]
    size = (tmp_path / "x.flac").stat().st_size
    # In the silence, where frames are a few bytes long.
    read, stream = read_all(damage(tmp_path / "x.flac", tmp_path / "y.flac", 0.5 - 200 / size, 400))
    assert stream.status == "ok"
    assert read.shape == whole.shape
    np.testing.assert_array_equal(read[:, -20_000:], whole[:, -20_000:])


@needs_ffmpeg
def test_a_forgotten_continuation_leaves_nothing(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    path = damage(sounds("plain.flac"), tmp_path / "x.flac", 0.3)
    audio.load(path)
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        with audio.open_audio(path, block_s=0.5) as stream:
            while stream.info.decoder == "soundfile":
                next(stream)
        stream = audio.open_audio(path, block_s=2.0)
        next(stream)
        del stream
    deadline = time.monotonic() + 20
    while (len(os.listdir("/proc/self/fd")), threading.active_count()) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before


@needs_ffmpeg
def test_a_continuation_needs_little_memory(tmp_path: Path) -> None:
    sample_rate, n = 8000, 8000 * 600
    path = tmp_path / "x.flac"
    with soundfile.SoundFile(path, "w", sample_rate, 1) as file:
        for _ in range(600):
            file.write(music(8000, sample_rate, 1)[0])
    damage(path, path)
    tracemalloc.start()
    try:
        with audio.open_audio(path) as stream:
            for block in stream:
                assert block.shape[1] <= 80_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (stream.status, stream.n_samples) == ("ok", n)
    assert stream.info.decoder == "soundfile+ffmpeg"
    assert peak < 8 * 4 * 80_000 + 2_000_000  # the whole is 19.2 MB


def ogg_pages(path: Path) -> list[bytearray]:
    data, pages = path.read_bytes(), []
    while data:
        size = 27 + data[26] + sum(data[27 : 27 + data[26]])
        pages.append(bytearray(data[:size]))
        data = data[size:]
    return pages


def write_ogg(path: Path, pages: list[bytearray]) -> Path:
    for page in pages:
        page[22:26] = bytes(4)
        page[22:26] = struct.pack("<I", ogg.ogg_checksum(bytes(page)))
    path.write_bytes(b"".join(pages))
    return path


@pytest.mark.parametrize("name", ["plain.ogg", "plain.opus", "lavc.ogg", "lavc.opus", "flac.oga"])
def test_the_pages_of_whole_ogg_files(sounds: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    path = sounds(name)
    assert ogg.inspect_ogg(path) == ogg.OggReport()
    assert write_ogg(tmp_path / name, ogg_pages(path)).read_bytes() == path.read_bytes()  # checksums too
    junk = tmp_path / f"junk {name}"
    junk.write_bytes(path.read_bytes() + b"TAG" + b" " * 125)
    assert ogg.inspect_ogg(junk) == ogg.OggReport()
    twice = tmp_path / f"twice {name}"
    twice.write_bytes(2 * path.read_bytes())
    assert ogg.inspect_ogg(twice).joined


@pytest.mark.parametrize(
    ("toc", "samples"),
    [
        (b"\x00", 480),  # SILK, 10 ms
        (b"\x18", 2880),  # SILK, 60 ms
        (b"\x60", 480),  # hybrid, 10 ms
        (b"\x79", 1920),  # hybrid, 2 of 20 ms
        (b"\x80", 120),  # CELT, 2.5 ms
        (b"\xfc", 960),  # CELT, 20 ms, stereo
        (b"\xfe", 1920),  # 2 of 20 ms
        (b"\xff\x43", 2880),  # 3 of 20 ms, padded
        (b"\x1b\x02", 5760),  # 2 of 60 ms
    ],
)
def test_length_of_an_opus_packet(toc: bytes, samples: int) -> None:
    assert ogg._opus_packet_samples(toc) == samples


@needs_ffmpeg
@pytest.mark.parametrize("options", [["-frame_duration", "20"], ["-frame_duration", "2.5"], ["-b:a", "510k"]])
def test_opus_pages_that_end_before_their_packets(
    sounds: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """Where an encoder that rounds time stamps sets one page's end too late, libsndfile chokes on the next."""
    good = tmp_path / "good.opus"
    ffmpeg("-i", sounds("plain.wav"), "-c:a", "libopus", *options, "-page_duration", "500000", good)
    assert ogg.inspect_ogg(good) == ogg.OggReport()
    pages = ogg_pages(good)
    k = len(pages) // 2
    granule = struct.unpack_from("<q", pages[k], 6)[0]
    struct.pack_into("<q", pages[k], 6, granule + 488)
    path = write_ogg(tmp_path / "x.opus", pages)
    with pytest.raises(soundfile.LibsndfileError, match="malformed"):  # the trap is there
        soundfile.read(path)
    assert f"Ogg page {k + 1} ends at sample" in str(ogg.inspect_ogg(path).early)
    y, stream = read_all(path)
    assert (stream.status, stream.info.decoder) == ("ok", "ffmpeg")
    assert audio.probe(path) == stream.info
    whole = audio.load(good)[0]
    assert y.shape == whole.shape
    assert lag(y[0], whole[0]) == 0
    np.testing.assert_allclose(y, whole, atol=0.01)
    # Without the look at the pages: two decoders, one sound.
    monkeypatch.setattr(soundfile_decoder, "inspect_ogg", lambda path: ogg.OggReport())
    y, stream = read_all(path, block_s=1.0)
    assert (stream.status, stream.info.decoder) == ("ok", "soundfile+ffmpeg")
    assert "broke off after" in stream.message
    assert y.shape == whole.shape
    np.testing.assert_allclose(y, whole, atol=0.01)


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
@pytest.mark.parametrize("kind", ["missing", "broken"])
def test_lost_ogg_pages_become_silence(sounds: Callable[[str], Path], tmp_path: Path, codec: str, kind: str) -> None:
    """libsndfile would close up the rest and shift it."""
    good = tmp_path / "good.ogg"
    ffmpeg("-i", sounds("plain.wav"), "-c:a", codec, "-page_duration", "200000", good)
    pages = ogg_pages(good)
    k = len(pages) // 2
    if kind == "missing":
        path = write_ogg(tmp_path / "x.ogg", pages[:k] + pages[k + 1 :])
    else:
        pages[k][200] ^= 1
        path = tmp_path / "x.ogg"
        path.write_bytes(b"".join(pages))
    y, stream = read_all(path)
    assert (stream.status, stream.info.decoder) == ("ok", "ffmpeg")
    assert f"pages behind Ogg page {k - 1} are missing or damaged; 0." in stream.message
    assert "s became silence" in stream.message
    whole = audio.load(good)[0]
    assert y.shape == whole.shape
    right = (np.abs(y - whole) < 0.01).all(axis=0)
    assert 0.85 < right.mean() < 0.97  # 0.2 s of 4 s
    assert right[-SAMPLE_RATE:].all()


def test_a_damaged_header_does_not_eat_the_memory(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    data = bytearray(sounds("plain.wav").read_bytes())
    data[24:28] = struct.pack("<I", 453_028_932)  # the sample rate
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="soundfile: 2 channels at 453028932 Hz: a damaged header"):
        audio.load(path)
    whole = audio.load(sounds("plain.wav"))[0]
    np.testing.assert_array_equal(read_all(sounds("plain.wav"), block_s=1e6)[0], whole)


# -------------------------------------------------------------------------------------------- what is no audio


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    for name, words in {
        "absent.wav": "no such file",
        "": "is a directory",
        "empty.wav": r"empty \(0 bytes\)",
        "pipe.wav": "not a regular file",
    }.items():
        for function in (audio.probe, audio.load, audio.open_audio):
            with pytest.raises(DecodeError, match=words) as caught:
                function(tmp_path / name)
            assert caught.value.source == str(tmp_path / name)
            assert caught.value.stage == "decode"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(sounds: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(sounds("plain.wav").read_bytes())
    path.chmod(0)
    with pytest.raises(DecodeError, match="Permission denied"):
        audio.probe(path)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp3", "wav", "flac", "m4a", "ogg", "au", "raw", "vox", "txt"])
@pytest.mark.parametrize("kind", ["text", "noise", "zeros", "playlist", "picture", "program"])
def test_what_is_no_audio_is_refused_by_both(tmp_path: Path, suffix: str, kind: str) -> None:
    data = {
        "text": b"Once upon a midnight dreary\n" * 400,
        "noise": np.random.default_rng(1).bytes(50_000),
        "zeros": bytes(50_000),
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/hostname\n#EXT-X-ENDLIST\n",
        "picture": b"P6 64 64 255\n" + bytes(64 * 64 * 3),
        "program": Path(sys.executable).resolve().read_bytes()[:200_000],
    }[kind]
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=r"(?s)soundfile: \S.*; ffmpeg: \S"):
        audio.load(path)


def test_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros((0, 2)), 44_100)
    with pytest.raises(EmptyAudioError, match=r"x\.wav: no samples"):
        audio.load(path)


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.mp3"])
def test_one_sample(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, np.array([0.5]), 44_100)
    y, stream = read_all(path)
    assert y.shape == (1, 1)
    assert stream.status == "ok"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("decoders", [(soundfile_decoder.SoundfileDecoder,), (ffmpeg_decoder.FfmpegDecoder,)])
def test_a_sample_that_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, decoders: tuple
) -> None:
    if decoders == (ffmpeg_decoder.FfmpegDecoder,) and FFMPEG is None:
        pytest.skip("no ffmpeg")
    monkeypatch.setattr(streams, "_DECODERS", decoders)
    y = music(16_000, 8000)
    y[1, 12_000] = value
    path = tmp_path / "x.wav"
    soundfile.write(path, y.T, 8000, subtype="FLOAT")
    with pytest.raises(NonFiniteAudioError, match=rf"x\.wav: sample 12000 \(1\.500 s\) of channel 1 is {value}"):
        audio.load(path)
    with audio.open_audio(path, block_s=0.5) as stream:
        for _ in range(3):
            assert next(stream).shape == (2, 4000)
        with pytest.raises(NonFiniteAudioError, match="sample 12000"):
            next(stream)
        assert list(stream) == []


def test_without_ffmpeg_the_message_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sounds: Callable[[str], Path]
) -> None:
    m4a = sounds("front.m4a")
    monkeypatch.setattr(ffmpeg_decoder, "ffmpeg_path", lambda: None)
    with pytest.raises(DecodeError, match=r"soundfile: .*; ffmpeg: not found on the PATH"):
        audio.load(m4a)
    assert audio.load(sounds("plain.wav"))[1] == SAMPLE_RATE


def test_ffmpeg_of_the_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_ffmpeg(monkeypatch, tmp_path, "exit 1")
    assert audio.decoder_versions()["ffmpeg"] == "1.2.3-fake"
    assert audio.decoder_versions()["ffmpeg_path"] == str(tmp_path / "bin" / "ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    if FFMPEG is not None:
        assert audio.decoder_versions()["ffmpeg_path"] != str(tmp_path / "bin" / "ffmpeg")


def test_decoder_versions() -> None:
    versions = audio.decoder_versions()
    assert versions["libsndfile"] == soundfile.__libsndfile_version__
    assert set(versions) == {"soundfile", "libsndfile", "ffmpeg", "ffmpeg_path", "soxr"}


# ------------------------------------------------------------------------------------------- decoders that hang


def not_for_libsndfile(folder: Path) -> Path:
    path = folder / "x.m4a"
    path.write_bytes(b"something" * 100)
    return path


def gone(pid_file: Path) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(int(pid_file.read_text()), 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


AU_HEADER = r"printf '.snd\000\000\000\030\377\377\377\377\000\000\000\006\000\000\037\100\000\000\000\001'"


def test_hanging_ffmpeg_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    fake_ffmpeg(monkeypatch, tmp_path, f"echo $$ > {pid}; echo '[error] thinking' >&2; sleep 1000")
    with pytest.raises(DecodeError, match=r"soundfile: .*; ffmpeg: no answer within 0\.7 s, killed; thinking"):
        audio.probe(not_for_libsndfile(tmp_path), timeout_s=0.7)
    assert gone(pid)


def test_ffmpeg_that_hangs_in_the_middle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}; {DESCRIBED}; {AU_HEADER}; head -c 32000 /dev/zero; sleep 1000"
    fake_ffmpeg(monkeypatch, tmp_path, script)
    with audio.open_audio(not_for_libsndfile(tmp_path), block_s=1.0, timeout_s=3.0) as stream:
        assert stream.info.sample_rate == 8000
        assert next(stream).shape == (1, 8000)
        with pytest.raises(DecodeError, match=r"ffmpeg after 1\.0 s of audio: no answer within 3 s"):
            next(stream)
    assert gone(pid)


def test_a_closed_or_forgotten_stream_leaves_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}; {DESCRIBED}; {AU_HEADER}; exec cat /dev/zero"
    fake_ffmpeg(monkeypatch, tmp_path, script)
    path = not_for_libsndfile(tmp_path)
    with audio.open_audio(path) as stream:
        next(stream)
    assert gone(pid)
    assert list(stream) == []
    stream = audio.open_audio(path)
    next(stream)
    del stream
    assert gone(pid)


def test_ffmpeg_that_will_not_stop_talking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither pipe may fill up while the other is read."""
    talk = "yes '[error] words words words' | head -c 3000000 >&2; yes | tr -d '\\n' | head -c 300000 >&2"
    script = f"{talk}; {AU_HEADER}; {DESCRIBED}; {talk}; head -c 320000 /dev/zero; {talk}"
    fake_ffmpeg(monkeypatch, tmp_path, script)
    y, stream = read_all(not_for_libsndfile(tmp_path), block_s=1.0)
    assert y.shape == (1, 80_000)
    assert stream.status == "ok"
    assert stream.message == "words words words"


def test_ffmpeg_that_fails_in_the_middle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = f"{DESCRIBED}; {AU_HEADER}; head -c 32003 /dev/zero; echo '[x @ 0x1f] [error] oh' >&2; exit 1"
    fake_ffmpeg(monkeypatch, tmp_path, script)
    y, stream = read_all(not_for_libsndfile(tmp_path))
    assert y.shape == (1, 8000)
    assert (stream.status, stream.message) == ("truncated", "1.00 s decoded; oh")


def test_hanging_libsndfile_is_given_up(monkeypatch: pytest.MonkeyPatch, sounds: Callable[[str], Path]) -> None:
    release = threading.Event()
    read = soundfile_decoder._read_soundfile

    def hang(*arguments: object) -> object:
        release.wait(30)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(soundfile_decoder, "_read_soundfile", hang)
    try:
        if FFMPEG is not None:
            y, stream = read_all(sounds("plain.flac"), timeout_s=3.0)
            assert stream.info.decoder == "ffmpeg"
            assert y.shape == (2, N_SAMPLES)
        monkeypatch.setattr(streams, "_DECODERS", (soundfile_decoder.SoundfileDecoder,))
        with pytest.raises(DecodeError, match=r"plain\.flac: soundfile: no answer within 0\.2 s"):
            audio.load(sounds("plain.flac"), timeout_s=0.2)
    finally:
        release.set()


def test_libsndfile_that_hangs_in_the_middle(monkeypatch: pytest.MonkeyPatch, sounds: Callable[[str], Path]) -> None:
    release = threading.Event()
    read = soundfile_decoder._read_soundfile
    with audio.open_audio(sounds("plain.flac"), block_s=1.0, timeout_s=0.5) as stream:
        next(stream)
        monkeypatch.setattr(soundfile_decoder, "_read_soundfile", lambda *a: (release.wait(30), read(*a))[1])
        with pytest.raises(DecodeError, match=r"soundfile after 1\.0 s of audio: no answer within 0\.5 s"):
            next(stream)
        release.set()


def test_time_of_the_consumer_does_not_count(sounds: Callable[[str], Path]) -> None:
    with audio.open_audio(sounds("plain.flac"), block_s=0.5, timeout_s=1.0) as stream:
        for _ in stream:
            time.sleep(0.2)  # 1.8 s together
    assert stream.status == "ok"


def test_threads_and_descriptors_are_given_back(sounds: Callable[[str], Path]) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    path = sounds("plain.flac")
    audio.load(path)
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(20):
        audio.load(path)
        next(audio.open_audio(path, block_s=0.1))
        with pytest.raises(DecodeError):
            audio.load(__file__)
    deadline = time.monotonic() + 20
    while (len(os.listdir("/proc/self/fd")), threading.active_count()) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before


def test_options_that_make_no_sense(sounds: Callable[[str], Path]) -> None:
    for options in ({"block_s": 0.0}, {"timeout_s": 0.0}, {"timeout_s": -1.0}):
        with pytest.raises(ValueError, match="positive"):
            audio.open_audio(sounds("plain.wav"), **options)


# -------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("decoders", [(soundfile_decoder.SoundfileDecoder,), (ffmpeg_decoder.FfmpegDecoder,)])
def test_memory_does_not_grow_with_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoders: tuple) -> None:
    if decoders == (ffmpeg_decoder.FfmpegDecoder,) and FFMPEG is None:
        pytest.skip("no ffmpeg")
    monkeypatch.setattr(streams, "_DECODERS", decoders)
    sample_rate, minutes = 8000, 30
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(1), sample_rate, subtype="PCM_16")
    data = bytearray(path.read_bytes()[:-2])
    n_bytes = 2 * sample_rate * 60 * minutes
    data[4:8], data[-4:] = struct.pack("<I", len(data) - 8 + n_bytes), struct.pack("<I", n_bytes)
    path.write_bytes(data)
    os.truncate(path, len(data) + n_bytes)  # sparse
    block_bytes = 4 * sample_rate * 10
    n = 0
    tracemalloc.start()
    try:
        with audio.open_audio(path) as stream:
            for block in stream:
                n += block.shape[1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stream.status == "ok"
    assert n == stream.n_samples == sample_rate * 60 * minutes
    assert peak < 8 * block_bytes + 2_000_000  # the whole is 57.6 MB


def test_loading_needs_little_more_than_the_result(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros((48_000 * 120, 2), np.int16), 48_000)
    tracemalloc.start()
    try:
        y, _ = audio.load(path, sample_rate=8000, mono=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert y.shape == (8000 * 120,)
    assert peak < 2 * y.nbytes + 20_000_000  # all channels at the full rate are 46 MB


# ---------------------------------------------------------------------------------------------------- resampling

RATES = [(44_100, 22_050), (48_000, 22_050), (22_050, 44_100), (8000, 22_050), (96_000, 22_050), (44_100, 22_051)]


@pytest.mark.parametrize("rates", [*RATES, (22_050, 22_050)])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 1001, 30_000])
def test_streamed_resampling_equals_one_shot(rates: tuple[int, int], n: int) -> None:
    y = music(n, rates[0], 2)
    whole = audio.resample(y, *rates)
    assert whole.shape == (2, -(-n * rates[1] // rates[0]))
    assert whole.dtype == np.float32
    rng = np.random.default_rng(0)
    for sizes in (lambda: 1 if n < 2000 else 513, lambda: 4096, lambda: int(rng.integers(0, 900))):
        resampler = audio.StreamResampler(*rates)
        parts, at = [], 0
        while at < n or not parts:
            size = sizes()
            parts.append(resampler.process(y[:, at : at + size]))
            at += size
        parts.append(resampler.flush())
        streamed = np.concatenate(parts, axis=1)
        assert streamed.shape == whole.shape
        np.testing.assert_allclose(streamed, whole, atol=1e-6)


@pytest.mark.parametrize("rates", RATES)
def test_resampling_keeps_a_tone_in_place(rates: tuple[int, int]) -> None:
    seconds, hertz = 2.0, 1000.0

    def tone(rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)

    middle = slice(rates[1] // 4, -rates[1] // 4)
    np.testing.assert_allclose(audio.resample(tone(rates[0]), *rates)[middle], tone(rates[1])[middle], atol=1e-4)


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    t = np.arange(44_100) / 44_100
    y = audio.resample(np.sin(2 * np.pi * 15_000 * t), 44_100, 22_050)
    assert np.abs(y[2000:-2000]).max() < 1e-4


def test_resampling_any_shape() -> None:
    y = music(1000, channels=6).reshape(2, 3, 1000)
    out = audio.resample(y, 3, 2)
    assert out.shape == (2, 3, 667)
    np.testing.assert_allclose(out[1, 2], audio.resample(y[1, 2], 3, 2), atol=1e-6)
    assert audio.StreamResampler(3, 2).flush().shape == (0,)


def test_resampling_refuses_nonsense() -> None:
    for rate in (0, -1, 22_050.5):
        with pytest.raises(ValueError, match="sample rate"):
            audio.resample(music(10), 44_100, rate)  # type: ignore[arg-type]
    resampler = audio.StreamResampler(2, 1)
    resampler.process(music(10))
    with pytest.raises(ValueError, match="shape"):
        resampler.process(music(10)[0])


def test_load_resamples_and_mixes_as_the_functions_do(sounds: Callable[[str], Path]) -> None:
    y, rate = audio.load(sounds("plain.flac"))
    low, low_rate = audio.load(sounds("plain.flac"), sample_rate=22_050, mono=True)
    assert low_rate == 22_050
    np.testing.assert_allclose(low, audio.resample(audio.to_mono(y), rate, 22_050), atol=1e-6)


# ------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("name", "subtype", "step"),
    [("x.wav", None, 0), ("x.wav", "PCM_24", 2**-23), ("x.wav", "PCM_16", 2**-15), ("x.flac", None, 2**-23)],
)
def test_writing_and_reading_back(tmp_path: Path, channels: int, name: str, subtype: str | None, step: float) -> None:
    y = music(50_000, channels=channels)
    path = tmp_path / name
    with audio.AudioWriter(path, sample_rate=44_100, channels=channels, subtype=subtype) as writer:
        for at in range(0, 50_000, 7777):
            writer.write(y[:, at : at + 7777])
    assert writer.n_samples == 50_000
    assert writer.n_clipped == 0
    read, stream = read_all(path)
    assert stream.status == "ok"
    assert stream.info.sample_rate == 44_100
    assert read.shape == y.shape
    assert np.abs(read.astype(np.float64) - y).max() <= step / 2
    if step:  # what was read is written as it was
        audio.write(tmp_path / f"again-{name}", read, 44_100, subtype=subtype)
        np.testing.assert_array_equal(audio.load(tmp_path / f"again-{name}")[0], read)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({name, f"again-{name}"} if step else {name})


def test_wav_is_plain_wav_for_others(tmp_path: Path) -> None:
    y = music(1001)
    audio.write(tmp_path / "x.wav", y, 44_100)
    rate, read = scipy.io.wavfile.read(tmp_path / "x.wav")
    assert rate == 44_100
    np.testing.assert_array_equal(read.T, y)
    assert (tmp_path / "x.wav").read_bytes()[:4] == b"RIFF"
    assert soundfile.info(tmp_path / "x.wav").format in ("WAV", "WAVEX")
    if FFMPEG is not None:
        ffmpeg("-i", tmp_path / "x.wav", "-c:a", "pcm_f32le", tmp_path / "y.wav")
        np.testing.assert_array_equal(soundfile.read(tmp_path / "y.wav", dtype="float32")[0].T, y)


def test_beyond_4_gib_the_sizes_stay_64_bit(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros((10, 2)), 44_100, format="RF64", subtype="FLOAT")
    before = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(5 << 30)  # sparse
        encode._rf64_to_wav(file.fileno())
        file.seek(0)
        assert file.read(len(before)) == before
        file.truncate(len(before))
        encode._rf64_to_wav(file.fileno())
    assert path.read_bytes()[:4] == b"RIFF"
    assert soundfile.info(path).frames == 10


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
@pytest.mark.parametrize("n", [0, 1])
def test_writing_next_to_nothing(tmp_path: Path, name: str, n: int) -> None:
    audio.write(tmp_path / name, np.full((2, n), 0.5), 44_100)
    if n:
        assert audio.load(tmp_path / name)[0].tolist() == [[0.5], [0.5]]
    else:
        with pytest.raises(StemfeaturesError):
            audio.load(tmp_path / name)


def test_same_samples_same_bytes(tmp_path: Path) -> None:
    names = ("x.wav", "x.flac")
    for name in names:
        audio.write(tmp_path / name, music(1000), 44_100)
    first = [(tmp_path / name).read_bytes() for name in names]
    time.sleep(1.1)  # a stamp of the second would show
    for name in names:
        audio.write(tmp_path / name, music(1000), 44_100)
    assert [(tmp_path / name).read_bytes() for name in names] == first


def test_pcm_clips_and_counts(tmp_path: Path) -> None:
    y = np.array([[0.0, 1.0, 1.5, -1.0, -7.0, 0.25]])
    for name, step in (("x.flac", 2**-23), ("x.wav", 2**-15)):
        subtype = "PCM_16" if name == "x.wav" else None
        with audio.AudioWriter(tmp_path / name, sample_rate=8000, channels=1, subtype=subtype) as writer:
            writer.write(y)
        assert writer.n_clipped == 3
        assert audio.load(tmp_path / name)[0].tolist() == [[0.0, 1 - step, 1 - step, -1.0, -1.0, 0.25]]
    audio.write(tmp_path / "float.wav", y, 8000)
    np.testing.assert_array_equal(audio.load(tmp_path / "float.wav")[0], y.astype(np.float32))


def test_what_cannot_be_written_is_named_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by that of the temporary file, of which nothing is left."""
    with pytest.raises(FileNotFoundError) as raised:
        audio.AudioWriter(tmp_path / "no" / "x.flac", sample_rate=8000, channels=1)
    assert raised.value.filename == str(tmp_path / "no" / "x.flac")
    (tmp_path / "folder.flac").mkdir()
    with (
        pytest.raises(IsADirectoryError) as raised,
        audio.AudioWriter(tmp_path / "folder.flac", sample_rate=8000, channels=1),
    ):
        pass
    assert raised.value.filename == str(tmp_path / "folder.flac")
    with pytest.raises(IsADirectoryError) as raised:
        write_replace(tmp_path / "folder.flac", b"data")
    assert raised.value.filename == str(tmp_path / "folder.flac")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileNotFoundError) as raised:
        write_new(tmp_path / "no" / "x.json", b"data")
    assert raised.value.filename == str(tmp_path / "no" / "x.json")
    monkeypatch.setattr("os.fsync", full)
    for write in (write_replace, write_new):
        with pytest.raises(OSError, match="No space left") as raised:
            write(tmp_path / "x.json", b"data")
        assert raised.value.filename == str(tmp_path / "x.json")  # which the error of a descriptor does not tell
    assert [path.name for path in tmp_path.iterdir()] == ["folder.flac"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"the old one")

    def write_and_fail() -> None:
        with audio.AudioWriter(path, sample_rate=8000, channels=1) as writer:
            writer.write(np.zeros(8000))
            assert path.read_bytes() == b"the old one"
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        write_and_fail()
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]
    writer = audio.AudioWriter(path, sample_rate=8000, channels=1)
    writer.write(np.ones(3))
    writer.close()
    writer.close()
    assert audio.load(path)[0].shape == (1, 3)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
def test_full_disk(tmp_path: Path, name: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 200_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises((AudioError, OSError)):
            audio.write(tmp_path / name, noise, 44_100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_writing_nonsense(tmp_path: Path) -> None:
    y = music(100)
    for path, options in (("x.mp3", {}), ("x", {}), ("x.wav", {"subtype": "PCM_U8"}), ("x.flac", {"subtype": "FLOAT"})):
        with pytest.raises(ValueError, match=f"{path}: "):
            audio.write(tmp_path / path, y, 44_100, **options)
    with pytest.raises(AudioError, match=r"9 channels at 44100 Hz.*\[encode\]"):
        audio.write(tmp_path / "x.flac", np.zeros((9, 10)), 44_100)
    with pytest.raises(FileNotFoundError):
        audio.write(tmp_path / "absent" / "x.wav", y, 44_100)
    with pytest.raises(NonFiniteAudioError, match=r"x\.wav.*\[encode\]"):
        audio.write(tmp_path / "x.wav", np.array([0.0, np.nan]), 44_100)
    with (
        pytest.raises(ValueError, match="expected 1 channels"),
        audio.AudioWriter(tmp_path / "x.wav", sample_rate=44_100, channels=1) as writer,
    ):
        writer.write(y)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["日本語 ünï.wav", "-x.flac", "a" * 250 + ".wav"])
def test_writing_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    audio.write(name, np.full(10, 0.5), 8000)
    assert audio.load(name)[0].tolist() == [[0.5] * 10]


def test_written_stems_sum_to_the_mixture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mixture = music(20_000)
    shares = rng.dirichlet(np.ones(4), mixture.shape).astype(np.float32)
    for name, limit in (("{}.wav", -140), ("{}.flac", -120)):
        for k in range(4):
            audio.write(tmp_path / name.format(k), mixture * shares[..., k], 44_100)
        total = sum(audio.load(tmp_path / name.format(k))[0].astype(np.float64) for k in range(4))
        error = np.mean((total - mixture) ** 2) / np.mean(mixture.astype(np.float64) ** 2)
        assert 10 * np.log10(error) < limit


# ------------------------------------------------------------------------------------------------------ identity


def test_identity(tmp_path: Path, sounds: Callable[[str], Path]) -> None:
    path = sounds("plain.wav")
    copy = tmp_path / "other name.dat"
    copy.write_bytes(path.read_bytes())
    assert audio.audio_identity(path) == audio.audio_identity(str(copy)) == audio.file_sha256(path)
    empty = tmp_path / "empty"
    empty.touch()
    assert audio.file_sha256(empty) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    y = music(100)
    identities = {
        audio.audio_identity(y, 44_100),
        audio.audio_identity(y, 48_000),
        audio.audio_identity(y[:, ::-1], 44_100),
        audio.audio_identity(y.reshape(1, 200), 44_100),
        audio.audio_identity(path),
    }
    assert len(identities) == 5
    assert audio.audio_identity(np.asfortranarray(y.astype(np.float64)), 44_100) == audio.audio_identity(y, 44_100)
    with pytest.raises(ValueError, match="sample_rate"):
        audio.audio_identity(y)
