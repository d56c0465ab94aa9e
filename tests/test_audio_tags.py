"""Tags of files that ffmpeg wrote, and of files whose tags are broken."""

from __future__ import annotations

import subprocess
import unicodedata
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from stemfeatures import audio
from stemfeatures.audio.tags import MAX_TEXT, Tags, read_tags, tags_of

STATED = {
    "title": "Río\x07 grande",
    "artist": "Å & B",
    "album": "Álbum",
    "genre": "Rock",
    "date": "2009-03-01",
}
GAINS = {"REPLAYGAIN_TRACK_GAIN": "-7.25 dB", "REPLAYGAIN_TRACK_PEAK": "0.98", "REPLAYGAIN_ALBUM_GAIN": "+1.5 dB"}


def _write(path: Path, codec: str, stated: dict[str, str]) -> Path:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "sine=440:d=0.5", "-c:a", codec]
    for name, value in stated.items():
        command += ["-metadata", f"{name}={value}"]
    subprocess.run([*command, str(path)], check=True)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "isrc"),
    [("a.mp3", "libmp3lame", "TSRC"), ("a.flac", "flac", "ISRC"), ("a.ogg", "libvorbis", "ISRC")],
)
def test_what_a_file_states(name: str, codec: str, isrc: str, tmp_path: Path) -> None:
    path = _write(tmp_path / name, codec, {**STATED, **GAINS, isrc: "us-rc1-76-07839", "lyrics": "la la"})
    assert read_tags(path) == Tags(
        title="Río grande",
        artist="Å & B",
        album="Álbum",
        genre="Rock",
        year=2009,
        isrc="USRC17607839",
        has_lyrics=True,
        track_gain_db=-7.25,
        album_gain_db=1.5,
        track_peak=0.98,
    )


def test_an_mp4_and_a_wave_file(tmp_path: Path) -> None:
    found = read_tags(_write(tmp_path / "a.m4a", "aac", {**STATED, "album_artist": "Various", "lyrics": "la"}))
    assert (found.title, found.album_artist, found.year, found.has_lyrics) == ("Río grande", "Various", 2009, True)
    found = read_tags(_write(tmp_path / "a.wav", "pcm_s16le", STATED))
    assert (found.title, found.artist, found.year, found.has_lyrics) == ("Río grande", "Å & B", 2009, False)


def test_several_artists(tmp_path: Path) -> None:
    """Frames of ID3v2.4, whose values are set apart by a zero each."""
    path = _write(tmp_path / "plain.mp3", "libmp3lame", {})
    texts = {"TPE1": "Ann\0Bob\0Ann", "TPE2": "Cy", "TCON": "Rock\0Pop", "TDOR": "1966"}
    body = b"".join(
        name.encode() + bytes([0, 0, 0, len(text) + 1, 0, 0, 3]) + text.encode() for name, text in texts.items()
    )
    tagged = b"ID3\x04\0\0" + bytes([0, 0, len(body) >> 7, len(body) & 127]) + body
    untagged = path.read_bytes()
    size = [b & 127 for b in untagged[6:10]]
    (tmp_path / "a.mp3").write_bytes(tagged + untagged[10 + (size[2] << 7 | size[3]) :])
    found = read_tags(tmp_path / "a.mp3")
    assert (found.artist, found.album_artist, found.genre, found.year) == ("Ann; Bob", "Cy", "Rock", 1966)
    commands = {"ARTIST": "Ann;Bob", "R128_TRACK_GAIN": "-256"}
    found = read_tags(_write(tmp_path / "a.opus", "libopus", commands))
    assert (found.artist, found.track_gain_db) == ("Ann;Bob", 4.0)


def test_no_tags_and_broken_ones(tmp_path: Path) -> None:
    audio.write(tmp_path / "plain.wav", np.zeros(100, np.float32), 8000)
    assert read_tags(tmp_path / "plain.wav") == Tags()
    assert read_tags(tmp_path / "none.mp3") == Tags()
    whole = _write(tmp_path / "a.mp3", "libmp3lame", STATED).read_bytes()
    rng = np.random.default_rng(0)
    for k in range(100):
        broken = bytearray(whole)
        for place in rng.integers(3, 300, 1 + k % 20):
            broken[place] = rng.integers(256)
        (tmp_path / "broken.mp3").write_bytes(broken[: rng.integers(4, len(broken))])
        found = read_tags(tmp_path / "broken.mp3")
        for text in (found.title, found.artist, found.album, found.genre):
            assert text is None or 0 < len(text) <= MAX_TEXT
            assert not any(unicodedata.category(c) in ("Cc", "Cs", "Cn") for c in text or "")


@pytest.mark.parametrize(
    ("given", "name", "wanted"),
    [
        ({"title": "x" * 10_000}, "title", "x" * MAX_TEXT),
        ({"title": "a\r\n\tb\x00\ud800c"}, "title", "a b c"),
        ({"title": "\x00 \x1f"}, "title", None),
        ({"year": "c. 1968/69"}, "year", 1968),
        ({"year": "20090301"}, "year", 2009),
        ({"year": "200903"}, "year", 2009),
        ({"year": "20091301"}, "year", None),
        ({"year": "20090332"}, "year", None),
        ({"year": "200903011"}, "year", None),
        ({"year": "", "tdor": "1966-05"}, "year", 1966),
        ({"year": "1999", "tdor": "1966"}, "year", 1999),
        ({"year": "0000"}, "year", None),
        ({"isrc": "USRC1760783"}, "isrc", None),
        ({"replaygain_track_gain": "nan dB"}, "track_gain_db", None),
        ({"replaygain_track_gain": "-600 dB"}, "track_gain_db", None),
        ({"replaygain_track_gain": "+3"}, "track_gain_db", 3.0),
        ({"replaygain_track_gain": "-6,50 dB"}, "track_gain_db", -6.5),
        ({"r128_track_gain": "-1280"}, "track_gain_db", 0.0),
        ({"r128_album_gain": "512"}, "album_gain_db", 7.0),
        ({"r128_album_gain": str(55 * 256)}, "album_gain_db", 60.0),
        ({"r128_album_gain": str(55 * 256 + 1)}, "album_gain_db", None),
        ({"r128_album_gain": str(-65 * 256)}, "album_gain_db", -60.0),
        ({"r128_track_gain": "512", "replaygain_track_gain": "1 dB"}, "track_gain_db", 1.0),
        ({"replaygain_track_peak": "-1"}, "track_peak", None),
        ({"lyrics": " \n"}, "has_lyrics", False),
    ],
)
def test_values(given: dict[str, object], name: str, wanted: object) -> None:
    assert getattr(tags_of(given), name) == wanted
