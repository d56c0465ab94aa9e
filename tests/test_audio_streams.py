"""Films, several streams, padding, playlists and limits: what a file holds besides the music."""

from __future__ import annotations

import math
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures import audio
from stemfeatures.audio.ffmpeg_decoder import _FORMATS, FfmpegDecoder, ffmpeg_path
from stemfeatures.audio.mp4 import Mp4Audio, mp4_audio
from stemfeatures.errors import DecodeError

SAMPLE_RATE = 44_100
N_SAMPLES = 2 * SAMPLE_RATE + 123


@pytest.fixture(params=["path", "wheel"])
def ffmpeg(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ffmpeg that files are made with and decoded by: that of the PATH, or the one of imageio-ffmpeg."""
    executable = ffmpeg_path()
    if request.param == "wheel":
        import imageio_ffmpeg

        executable = imageio_ffmpeg.get_ffmpeg_exe()
    assert executable is not None
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(executable)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return executable


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A noise, which ends at once."""
    path = tmp_path / "source.wav"
    soundfile.write(path, noise().T, SAMPLE_RATE, subtype="PCM_16")
    return path


def noise(n: int = N_SAMPLES) -> np.ndarray:
    """Of low frequencies, which lossy codecs keep."""
    white = np.random.default_rng(0).uniform(-0.3, 0.3, (2, n + 15)).astype(np.float64)
    total = np.cumsum(np.pad(white, ((0, 0), (1, 0))), axis=1)
    return ((total[:, 16:] - total[:, :-16]) / 4).astype(np.float32)


def run(executable: str, *arguments: str | Path) -> None:
    subprocess.run([executable, "-y", "-v", "error", "-nostdin", *map(str, arguments)], check=True, timeout=60)


def read_all(path: Path, **options: float) -> tuple[np.ndarray, audio.AudioStream]:
    with audio.open_audio(path, **options) as stream:
        blocks = list(stream)
    return np.concatenate(blocks, axis=1), stream


# ------------------------------------------------------------------------------------- delay and padding in MP4 files


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.m4a", ["-c:a", "aac"]),
        ("x.mov", ["-c:a", "aac"]),
        ("front.m4a", ["-c:a", "aac", "-movflags", "faststart"]),
        ("x.mp4", ["-c:a", "libmp3lame"]),
        ("alac.m4a", ["-c:a", "alac"]),
    ],
)
def test_padding_is_no_music(ffmpeg: str, source: Path, tmp_path: Path, name: str, options: list[str]) -> None:
    path = tmp_path / name
    run(ffmpeg, "-i", source, *options, path)
    for block_s in (0.05, 10.0):
        y, stream = read_all(path, block_s=block_s)
        # Some releases round the end to the milliseconds that others write.
        assert -SAMPLE_RATE // 1000 <= y.shape[1] - N_SAMPLES <= 0
        assert stream.status == "ok"
        assert stream.info.declared_duration_s == pytest.approx(N_SAMPLES / SAMPLE_RATE, abs=1e-9)
        assert stream.info.start_offset_s == 0.0
    # The music is there to its end, and begins where it began.
    assert np.corrcoef(y[0, -2000:], noise()[0, y.shape[1] - 2000 : y.shape[1]])[0, 1] > 0.8
    assert np.corrcoef(y[0, :2000], noise()[0, :2000])[0, 1] > 0.8


def test_a_cut_by_an_edit_list(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    """What phones write when the beginning of a film is cut away: the packets are all there."""
    run(ffmpeg, "-i", source, "-c:a", "aac", tmp_path / "x.m4a")
    data = bytearray((tmp_path / "x.m4a").read_bytes())
    at = data.index(b"elst") + 12
    movie = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    struct.pack_into(">II", data, at, movie, 1024 + SAMPLE_RATE // 2)  # one second from half a second on
    path = tmp_path / "cut.m4a"
    path.write_bytes(data)
    assert mp4_audio(path) == (Mp4Audio(SAMPLE_RATE, SAMPLE_RATE),)
    y, stream = read_all(path)
    assert stream.status == "ok"
    assert abs(y.shape[1] - SAMPLE_RATE) <= 1024  # the first packet may be cut, or not


def boxes_of(path: Path, **change: bytes) -> bytearray:
    data = bytearray(path.read_bytes())
    for name, by in change.items():
        at = data.index(name.encode())
        data[at : at + len(by)] = by
    return data


def with_itunsmpb(path: Path, into: Path, delay: int, padding: int, n_samples: int) -> Path:
    """The file without edit list, with the tag of Apple's encoders instead."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    data = boxes_of(path, edts=b"free")
    # Those encoders state the last packet whole.
    last = data.index(b"stts") + 8 + 8 * struct.unpack_from(">I", data, data.index(b"stts") + 8)[0]
    struct.pack_into(">I", data, last, 1024)
    struct.pack_into(">I", data, data.index(b"mdhd") + 20, delay + n_samples + padding)
    text = f" 00000000 {delay:08X} {padding:08X} {n_samples:016X} 00000000".encode()
    parts = box(b"mean", bytes(4) + b"com.apple.iTunes") + box(b"name", bytes(4) + b"iTunSMPB")
    parts += box(b"data", b"\0\0\0\1" + bytes(4) + text)
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    udta = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", box(b"----", parts))))
    at = data.index(b"moov") - 4
    size = struct.unpack_from(">I", data, at)[0]
    assert at + size == len(data)  # moov is last: nothing moves
    struct.pack_into(">I", data, at, size + len(udta))
    into.write_bytes(data + udta)
    return into


def test_itunsmpb(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    run(ffmpeg, "-i", source, "-c:a", "aac", tmp_path / "x.m4a")
    padding = -(1024 + N_SAMPLES) % 1024
    path = with_itunsmpb(tmp_path / "x.m4a", tmp_path / "y.m4a", 1024, padding, N_SAMPLES)
    assert mp4_audio(path) == (Mp4Audio(SAMPLE_RATE, N_SAMPLES),)
    y, stream = read_all(path)
    assert y.shape[1] == N_SAMPLES
    assert stream.status == "ok"
    assert np.corrcoef(y[0, :2000], noise()[0, :2000])[0, 1] > 0.8
    # A tag that does not fit its file, left by a program that cut it, is not believed.
    data = bytearray(path.read_bytes())
    at = data.index(b" 00000000 ")
    data[at + 28 : at + 44] = f"{10 * N_SAMPLES:016X}".encode()
    stale = tmp_path / "z.m4a"
    stale.write_bytes(data)
    assert mp4_audio(stale) == (Mp4Audio(SAMPLE_RATE, 1024 + N_SAMPLES + padding),)
    assert read_all(stale)[1].status == "ok"


def test_boxes_that_say_nothing(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    run(ffmpeg, "-i", source, "-c:a", "aac", tmp_path / "x.m4a")
    path = tmp_path / "y.m4a"
    whole = (tmp_path / "x.m4a").read_bytes()
    rng = np.random.default_rng(0)
    start = whole.index(b"moov") - 4
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(start, len(data), 4):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(start, len(data))] if rng.random() < 0.3 else data)
        for track in mp4_audio(path):
            assert track.duration is None or track.duration >= 0
    for data in (b"", b"RIFF1234WAVE", b"\0\0\0\0moov", b"\0\0\0\x08moov" * 3, b"\xff" * 64):
        path.write_bytes(data)
        assert mp4_audio(path) == ()
    run(ffmpeg, "-i", source, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", tmp_path / "fragments.mp4")
    assert [track.duration for track in mp4_audio(tmp_path / "fragments.mp4")] == [None]
    assert read_all(tmp_path / "fragments.mp4")[1].status == "ok"


@pytest.mark.parametrize("entry", [b"drms", b"enca", b"aavd"])
def test_encrypted_audio_is_told_from_damaged(ffmpeg: str, source: Path, tmp_path: Path, entry: bytes) -> None:
    """Whether ffmpeg makes noise of it or complains."""
    run(ffmpeg, "-i", source, "-c:a", "aac", tmp_path / "x.m4a")
    clear = (tmp_path / "x.m4a").read_bytes().replace(b"mp4a", entry, 1)
    at = clear.index(b"mdat")
    size = int.from_bytes(clear[at - 4 : at]) - 8
    noisy = clear[: at + 4] + np.random.default_rng(0).bytes(size) + clear[at + 4 + size :]
    for data in (clear, noisy):
        (tmp_path / "y.m4p").write_bytes(data)
        with pytest.raises(DecodeError, match=r"y\.m4p: .*ffmpeg: its audio is encrypted \(DRM\)"):
            audio.open_audio(tmp_path / "y.m4p")


def test_a_length_that_is_far_off_cuts_nothing(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    run(ffmpeg, "-i", source, "-c:a", "aac", tmp_path / "x.m4a")
    data = boxes_of(tmp_path / "x.m4a", edts=b"free")
    at = data.index(b"mdhd") + 20
    struct.pack_into(">I", data, at, SAMPLE_RATE)  # one second of two
    path = tmp_path / "y.m4a"
    path.write_bytes(data)
    assert mp4_audio(path) == (Mp4Audio(SAMPLE_RATE, SAMPLE_RATE),)
    assert read_all(path)[0].shape[1] > N_SAMPLES


# ------------------------------------------------------------------------------------------------ order of the channels


@pytest.mark.parametrize("layout", ["3.0", "quad", "5.0", "5.1", "6.1", "7.1"])
@pytest.mark.parametrize("name", ["x.ogg", "x.opus", "x.flac", "x.mka"])
def test_channels_come_in_the_order_of_wave(ffmpeg: str, tmp_path: Path, name: str, layout: str) -> None:
    """Vorbis and Opus put the centre between left and right, and the low frequencies last."""
    rate = 48_000
    t = np.arange(rate) / rate
    channels = 4 if layout == "quad" else sum(map(int, layout.split(".")))
    tones = 40.0 + 13 * np.arange(channels)  # that any channel may hold, that of the low frequencies too
    soundfile.write(tmp_path / "x.wav", 0.1 * np.sin(2 * np.pi * np.outer(t, tones)), rate, subtype="PCM_16")
    codecs = {"x.ogg": ["-c:a", "libvorbis"], "x.opus": ["-c:a", "libopus", "-b:a", "512k"]}
    path = tmp_path / name
    places = f"channelmap={'|'.join(map(str, range(channels)))}:{layout}"
    run(ffmpeg, "-i", tmp_path / "x.wav", "-af", places, *codecs.get(name, ["-c:a", "flac"]), path)
    y, _ = read_all(path)
    y = y[:, rate // 4 : 3 * rate // 4]
    levels = np.abs(y @ np.exp(-2j * np.pi * np.outer(t[: y.shape[1]], tones)))  # (channels, tones)
    if name != "x.opus" or layout not in ("5.0", "6.1"):  # which libopus is given in another order by ffmpeg
        np.testing.assert_array_equal(levels.argmax(axis=1), np.arange(channels))
    other = FfmpegDecoder(path, 60.0)
    np.testing.assert_allclose(other.read(rate).T[:, rate // 4 : 3 * rate // 4], y, atol=0.01)
    other.close()


def test_channels_without_places_keep_their_order(ffmpeg: str, tmp_path: Path) -> None:
    rate = 48_000
    y = np.outer(np.sin(2 * np.pi * 100 * np.arange(rate) / rate), 0.02 * 1.5 ** np.arange(6))
    soundfile.write(tmp_path / "x.wav", y, rate, subtype="PCM_16")
    run(ffmpeg, "-i", tmp_path / "x.wav", "-c:a", "libopus", "-mapping_family", "255", tmp_path / "x.opus")
    read, stream = read_all(tmp_path / "x.opus")
    assert stream.info.decoder == "soundfile"
    assert (np.diff(np.std(read, axis=1)) > 0).all()


# ---------------------------------------------------------------------------------------------------- several streams

FILM = ["-f", "lavfi", "-i", "color=c=black:s=64x64:r=10:d=4"]


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "x.mkv", "x.avi"])
def test_the_length_of_a_film_is_not_that_of_its_sound(ffmpeg: str, source: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    run(ffmpeg, *FILM, "-i", source, "-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", "-c:a", "aac", path)
    y, stream = read_all(path)
    assert (stream.status, stream.info.n_streams, stream.info.start_offset_s) == ("ok", 1, 0.0)
    assert abs(y.shape[1] - N_SAMPLES) < 2048
    if stream.info.declared_exact:
        assert stream.info.declared_duration_s == pytest.approx(N_SAMPLES / SAMPLE_RATE, abs=0.05)
    assert stream.info.declared_exact == (name != "x.avi")
    assert audio.probe(path) == stream.info


def test_an_avi_from_a_pipe_is_whole(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    """Its header states a length that was to be put right at the end."""
    path = tmp_path / "x.avi"
    command = [ffmpeg, "-v", "error", "-nostdin", "-i", source, "-f", "avi", "-c:a", "pcm_s16le", "pipe:1"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    y, stream = read_all(path)
    np.testing.assert_allclose(y, noise(), atol=1e-4)
    assert (stream.status, stream.message, stream.info.declared_exact) == ("ok", "", False)
    run(ffmpeg, "-i", source, "-c:a", "pcm_s16le", path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_all(path)[1].status == "truncated"


def test_a_film_that_is_cut_off_is_truncated(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    options = ["-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", "-c:a", "aac", "-movflags", "faststart"]
    run(ffmpeg, *FILM, "-i", source, *options, path)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3])
    stream = read_all(path)[1]
    assert stream.status == "truncated"
    assert f"of {N_SAMPLES / SAMPLE_RATE:.2f} s declared" in stream.message


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_sound_that_starts_late(ffmpeg: str, source: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    streams = ["-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", "-c:a", "aac"]
    run(ffmpeg, *FILM, "-itsoffset", "0.75", "-i", source, *streams, path)
    y, stream = read_all(path)
    assert stream.status == "ok"
    assert stream.info.start_offset_s == pytest.approx(0.75, abs=0.05)
    assert abs(y.shape[1] - N_SAMPLES) < 2048  # time zero is the first sample all the same
    assert audio.load(path)[0].shape == y.shape


def test_sound_alone_that_starts_late_is_whole(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    """Matroska states where the sound ends, not how long it is."""
    path = tmp_path / "x.mka"
    run(ffmpeg, "-itsoffset", "1.5", "-i", source, "-c:a", "flac", path)
    y, stream = read_all(path)
    assert stream.status == "ok", stream.message
    np.testing.assert_allclose(y, noise(), atol=2**-15)
    assert stream.info.declared_duration_s == pytest.approx(N_SAMPLES / SAMPLE_RATE, abs=0.01)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert read_all(path)[1].status == "truncated"


def test_the_default_stream_is_taken(
    ffmpeg: str, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.mka"
    silence = ["-f", "lavfi", "-i", "anullsrc=r=22050:cl=mono:d=2"]
    flags = ["-disposition:a:0", "0", "-disposition:a:1", "default"]
    run(ffmpeg, *silence, "-i", source, "-map", "0", "-map", "1", "-c:a", "pcm_s16le", *flags, path)
    y, stream = read_all(path)
    assert (stream.info.stream, stream.info.n_streams) == (1, 2)
    assert stream.status == "ok"
    assert stream.message == "audio stream 1 of 2, counted from 0, was decoded"
    assert "x.mka: 2 audio streams; number 1 is decoded, counted from 0" in caplog.text
    np.testing.assert_allclose(y, noise(), atol=2**-15)
    first, stream = read_all(path, stream=0)
    assert (stream.info.stream, stream.info.sample_rate) == (0, 22_050)
    assert not first.any()
    assert audio.probe(path, stream=0).sample_rate == 22_050
    np.testing.assert_array_equal(audio.load(path, stream=1)[0], y)
    with pytest.raises(DecodeError, match="the file has no audio stream 2"):
        audio.load(path, stream=2)
    with pytest.raises(DecodeError, match="soundfile: reads the first audio stream only"):
        audio.load(source, stream=1)
    np.testing.assert_array_equal(audio.load(source, stream=0)[0], audio.load(source)[0])
    with pytest.raises(ValueError, match="counted from 0"):
        audio.open_audio(source, stream=-1)


def test_a_cover_is_no_film(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.m4a"
    cover = ["-f", "lavfi", "-i", "color=c=red:s=64x64", "-frames:v", "1"]
    run(ffmpeg, *cover, tmp_path / "cover.jpg")
    options = ["-map", "0:a", "-map", "1:v", "-c:a", "aac", "-c:v", "mjpeg", "-disposition:v", "attached_pic"]
    run(ffmpeg, "-i", source, "-i", tmp_path / "cover.jpg", *options, path)
    y, stream = read_all(path)
    assert (stream.status, stream.message, stream.info.declared_exact) == ("ok", "", True)
    assert -SAMPLE_RATE // 1000 <= y.shape[1] - N_SAMPLES <= 0


# ------------------------------------------------------------------------------------------------------------- levels


def test_integers_as_floats_are_out_of_range(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, scale, status in (("int16", 32767.0, "out_of_range"), ("int8", 127.0, "out_of_range"), ("hot", 20, "ok")):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, noise().T / np.abs(noise()).max() * scale, SAMPLE_RATE, subtype="FLOAT")
        _, stream = read_all(path)
        assert stream.status == status
        assert stream.peak == pytest.approx(scale, rel=1e-3)
        assert ("times full scale" in stream.message) == (status != "ok")
    y = audio.load(tmp_path / "int16.wav")[0]
    assert np.abs(y).max() > 30_000  # nothing is rescaled
    assert "int16.wav: out_of_range: samples reach" in caplog.text
    data = (tmp_path / "int16.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    stream = read_all(tmp_path / "cut.wav")[1]
    assert stream.status == "out_of_range"
    assert "s declared" in stream.message


# ---------------------------------------------------------------------------------------------------- playlists, pipes

MPD = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"
profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet contentType="audio" mimeType="audio/mp4">
<Representation id="0" bandwidth="1000"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"""


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        *(("hls", suffix) for suffix in ("mp3", "m3u8", "wav")),
        ("hls absolute", "m3u8"),
        *(("concat", suffix) for suffix in ("mp3", "ffconcat")),
        *(("dash", suffix) for suffix in ("mp3", "mpd")),
        ("sdp", "sdp"),
        ("imf", "xml"),
    ],
)
def test_playlists_are_not_followed(ffmpeg: str, source: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    run(ffmpeg, "-i", source, "-c:a", "aac", tmp_path / "secret.ts")
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
    text = {
        "hls": hls.format("secret.ts"),
        "hls absolute": hls.format(tmp_path / "secret.ts"),
        "concat": "ffconcat version 1.0\nfile secret.ts\n",
        "dash": MPD.format("secret.ts"),
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
        "</CompositionPlaylist>",
    }[kind]
    folder = tmp_path / "list"
    folder.mkdir()
    for name in ("secret.ts", f"x.{suffix}"):
        shutil.copy(tmp_path / "secret.ts", folder / name)
    assert audio.load(folder / f"x.{suffix}")[0].shape[1] > N_SAMPLES  # the music itself would be read
    (folder / f"x.{suffix}").write_text(text)
    with pytest.raises(DecodeError):
        audio.load(folder / f"x.{suffix}", timeout_s=20.0)


def test_what_is_not_followed_is_said(ffmpeg: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_text("ffconcat version 1.0\nfile source.wav\n")
    with pytest.raises(DecodeError, match="ffmpeg: not a format that audio is read from; playlists are not followed"):
        audio.load(tmp_path / "x.mp3")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "link.mp3").symlink_to("pipe.mp3")
    device = Path("/dev/zero")
    started = time.monotonic()
    for path in (tmp_path / "pipe.mp3", tmp_path / "folder.wav", tmp_path / "link.mp3", device):
        for read in (audio.file_sha256, audio.audio_identity):
            with pytest.raises(OSError, match=r"is not a regular file|is a directory"):
                read(path)
        for read in (audio.probe, audio.load):
            with pytest.raises(DecodeError, match=r": is not a regular file|: is a directory"):
                read(path)
    assert time.monotonic() - started < 30


def test_a_file_system_that_hangs(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    from stemfeatures.audio import streams

    monkeypatch.setattr(streams, "open_regular", lambda path: time.sleep(30))
    started = time.monotonic()
    with pytest.raises(DecodeError, match=r"source\.wav: cannot be opened: no answer within 0\.3 s"):
        audio.open_audio(source, timeout_s=0.3)
    assert time.monotonic() - started < 10


# ------------------------------------------------------------------------------------------------------------- limits


def test_a_file_may_not_last_for_ever(tmp_path: Path, source: Path, ffmpeg: str) -> None:
    """Hours of silence are some hundred kilobytes of FLAC."""
    bomb = tmp_path / "bomb.flac"
    seconds = 25_000
    soundfile.write(bomb, np.zeros(1_000 * seconds, np.int16), 1_000, subtype="PCM_16")
    assert bomb.stat().st_size < 200_000
    with pytest.raises(DecodeError, match=r"bomb\.flac: declares 25000 s, longer than max_duration_s = 21600 s"):
        audio.load(bomb)
    assert audio.probe(bomb).declared_duration_s == seconds
    with audio.open_audio(bomb, max_duration_s=math.inf) as stream:
        assert next(stream).shape == (1, 10_000)
    # Where no length is declared, it is found out on the way.
    path = tmp_path / "x.mp3"
    run(ffmpeg, "-i", source, "-write_xing", "0", path)
    with audio.open_audio(path, block_s=0.5, max_duration_s=1.2) as stream:
        assert next(stream).shape[1] == next(stream).shape[1] == SAMPLE_RATE // 2
        with pytest.raises(DecodeError, match=r"x\.mp3: longer than max_duration_s = 1\.2 s"):
            next(stream)
        assert list(stream) == []
    with pytest.raises(DecodeError, match="max_duration_s = 1 s"):
        audio.load(source, max_duration_s=1.0)


def test_a_file_may_not_have_too_many_channels(source: Path) -> None:
    with pytest.raises(DecodeError, match=r"source\.wav: 2 channels, more than max_channels = 1"):
        audio.open_audio(source, max_channels=1)
    audio.open_audio(source, max_channels=2).close()
    for options in ({"max_channels": 0}, {"max_duration_s": 0.0}, {"max_duration_s": -1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            audio.open_audio(source, **options)


def test_every_format_of_the_list_is_one_of_ffmpeg(ffmpeg: str) -> None:
    """No name may be misspelt: each is known to one of the releases that are asked."""
    import imageio_ffmpeg

    known: set[str] = set()
    for executable in {ffmpeg, imageio_ffmpeg.get_ffmpeg_exe()}:
        listed = subprocess.run([executable, "-v", "error", "-demuxers"], capture_output=True, text=True, timeout=60)
        for line in listed.stdout.splitlines():
            if len(columns := line.split()) > 1:
                known.update(column for name in columns[1:3] for column in name.split(","))
    formats = set(_FORMATS.split())
    assert formats - known <= {"libgme", "libopenmpt", "lc3"}  # only where they are built in
    assert not {"hls", "dash", "concat", "imf", "sdp", "rtsp", "image2", "lavfi", "webm_dash_manifest"} & formats
