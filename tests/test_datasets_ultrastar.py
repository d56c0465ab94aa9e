"""UltraStar songs: times, words, relative beats, duets, encodings, audio."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures.datasets.annotations import Segment
from stemfeatures.datasets.opening import open_dataset
from stemfeatures.datasets.ultrastar import parse_ultrastar
from stemfeatures.errors import CatalogError

# 15 / 150 = 0.1 s a beat
HEADER = "#TITLE:Song\n#ARTIST:Café\n#LANGUAGE:English\n#MP3:song.wav\n#BPM:150\n#GAP:1500\n"
NOTES = """: 0 4 7 Hel
* 4 4 9 lo
: 8 2 -3  wor
: 10 6 0 ~
: 16 2 0 ld!
- 20
F 24 4 0 you
: 30 5 12  there
E
: 99 1 0 after the end
"""
SONG = HEADER + NOTES


def labels(segments: tuple[Segment, ...]) -> list[str]:
    return [segment.label for segment in segments]


def test_notes_words_and_lines_have_the_times_of_their_beats() -> None:
    known = parse_ultrastar(SONG).annotations
    notes = known.notes["vocals"]
    np.testing.assert_allclose(notes.start_s, [1.5, 1.9, 2.3, 2.5, 3.1, 4.5])
    np.testing.assert_allclose(notes.end_s, [1.9, 2.3, 2.5, 3.1, 3.3, 5.0])
    np.testing.assert_array_equal(notes.midi, [67, 69, 57, 60, 60, 72])  # the freestyle note has no pitch
    assert labels(known.lyrics.words) == ["Hello", "world!", "you", "there"]
    np.testing.assert_allclose([w[:2] for w in known.lyrics.words], [[1.5, 2.3], [2.3, 3.3], [3.9, 4.3], [4.5, 5.0]])
    assert labels(known.lyrics.lines) == ["Hello world!", "you there"]
    np.testing.assert_allclose([line[:2] for line in known.lyrics.lines], [[1.5, 3.3], [3.9, 5.0]])
    assert known.lyrics.language == "English"


def test_a_trailing_blank_ends_a_word_as_well() -> None:
    known = parse_ultrastar(HEADER + ": 0 1 0 one \n: 1 1 0 two\n: 2 1 0 fold \n: 3 1 0 three\n").annotations
    assert labels(known.lyrics.words) == ["one", "twofold", "three"]


@pytest.mark.parametrize("bpm", ["300,5", "300.5"])
def test_decimals_with_comma_or_point(bpm: str) -> None:
    song = f"#TITLE:a\n#BPM:{bpm}\n#GAP:1000,5\n: 10 2 0 a\n"
    np.testing.assert_allclose(parse_ultrastar(song).annotations.notes["vocals"].start_s, [1.0005 + 10 * 15 / 300.5])


def test_relative_songs_count_from_their_line_breaks() -> None:
    absolute = parse_ultrastar(HEADER + ": 0 2 0 a\n- 4\n: 6 2 0 b\n- 9\n: 11 3 0 c\nE\n")
    relative = parse_ultrastar(HEADER + "#RELATIVE:yes\n: 0 2 0 a\n- 4 5\n: 1 2 0 b\n- 4 4\n: 2 3 0 c\nE\n")
    single = parse_ultrastar(HEADER + "#RELATIVE:YES\n: 0 2 0 a\n- 5\n: 1 2 0 b\n- 4\n: 2 3 0 c\nE\n")
    start_s = absolute.annotations.notes["vocals"].start_s
    for song in (relative, single):
        np.testing.assert_allclose(song.annotations.notes["vocals"].start_s, start_s)
        assert song.annotations.lyrics.lines == absolute.annotations.lyrics.lines


def test_tempo_changes_hold_from_their_beat_on() -> None:
    notes = parse_ultrastar(HEADER + ": 0 1 0 a\nB 10 300\n: 10 4 0 b\n: 20 2 0 c\n").annotations.notes["vocals"]
    np.testing.assert_allclose(notes.start_s, [1.5, 2.5, 3.0])
    np.testing.assert_allclose(notes.end_s, [1.6, 2.7, 3.1])


@pytest.mark.parametrize(("first", "second"), [("P1", "P2"), ("P 1", "P 2")])
def test_duets_keep_their_voices_apart(first: str, second: str) -> None:
    song = parse_ultrastar(
        f"{HEADER}{first}\n: 0 2 0 you\n- 3\n: 8 2 0 both\n{second}\n: 4 2 5 me\n- 6\n: 8 2 7 both\nE\n"
    )
    notes = song.annotations.notes["vocals"]
    assert song.voices == (0, 1)
    np.testing.assert_allclose(notes.start_s, [1.5, 1.9, 2.3, 2.3])
    np.testing.assert_array_equal(notes.voice, [0, 1, 0, 1])
    # a line that both sing at the same time is one line
    assert labels(song.annotations.lyrics.lines) == ["you", "me", "both"]


def test_both_voices_at_once() -> None:
    song = parse_ultrastar(f"{HEADER}P3\n: 0 2 0 we\nE\n")
    np.testing.assert_array_equal(song.annotations.notes["vocals"].voice, [0, 1])
    assert labels(song.annotations.lyrics.words) == ["we"]


@pytest.mark.parametrize(
    ("encoding", "stated"), [("utf-8", ""), ("utf-8-sig", ""), ("cp1252", ""), ("cp1250", "#ENCODING:CP1250\n")]
)
def test_encodings(encoding: str, stated: str) -> None:
    song = f"#TITLE:Grün\n{stated}#ARTIST:Béla\n#BPM:150\n: 0 1 0 schön\n".encode(encoding)
    parsed = parse_ultrastar(song)
    assert parsed.header["ARTIST"] == "Béla"
    assert parsed.header["TITLE"] == "Grün"
    assert labels(parsed.annotations.lyrics.words) == ["schön"]


@pytest.mark.parametrize(
    ("song", "message"),
    [
        (HEADER + ": 0 x 7 a\n", "line 7.*not a note"),
        (HEADER + "? 0 1 7 a\n", "line 7.*not a note"),
        ("#TITLE:a\n: 0 1 0 a\n", "line 2.*#BPM"),
        ("#BPM:0\n: 0 1 0 a\n", "tempo of 0"),
        ("#BPM:fast\n: 0 1 0 a\n", "fast"),
        (HEADER + "P0\n: 0 1 0 a\n", "count from 1"),
        (HEADER + "- 4\nE\n", "no notes"),
    ],
)
def test_what_cannot_be_read_is_named(song: str, message: str) -> None:
    with pytest.raises(CatalogError, match=rf"song\.txt.*{message}"):
        parse_ultrastar(song, source="song.txt")


def test_a_folder_of_songs_with_audio_and_stems(tmp_path: Path) -> None:
    folder = tmp_path / "songs" / "Café - Song"
    folder.mkdir(parents=True)
    audio = {"song.wav": 0.5, "v.wav": 0.2, "i.wav": 0.3}
    for name, level in audio.items():
        soundfile.write(folder / name, np.full((800, 2), level), 8000, subtype="FLOAT")
    (folder / "song.txt").write_bytes(SONG.replace("#BPM", "#VOCALS:v.wav\n#INSTRUMENTAL:i.wav\n#BPM").encode("cp1252"))
    (folder / "readme.txt").write_text("#not a song\n")
    (tmp_path / "songs" / "license.txt").write_text("free\n")
    (tmp_path / "songs" / "folder.txt").mkdir()
    [track] = dataset = open_dataset("ultrastar", tmp_path / "songs")
    assert dataset.name == "ultrastar"
    assert (track.name, track.artist, track.split) == ("Café - Song/song", "Café", None)
    assert track.tasks == {"separation", "notes", "lyrics"}
    truth = track.load()
    assert truth.sample_rate == 8000
    assert set(truth.stems) == {"vocals", "accompaniment"}
    np.testing.assert_allclose(truth.mixture, 0.5)
    np.testing.assert_allclose(truth.stems["accompaniment"], 0.3)
    assert len(truth.annotations.notes["vocals"].midi) == 6
    with pytest.raises(KeyError):
        track.audio("drums")


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    for name in ("songs/a", "elsewhere/b", "elsewhere/.trash"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "song.txt").write_text(SONG)
    (tmp_path / "songs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "songs")
    assert [track.name for track in open_dataset("ultrastar", tmp_path / "songs")] == ["a/song", "link/b/song"]


def test_a_song_without_its_audio_still_has_its_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(SONG)
    [track] = open_dataset("ultrastar", tmp_path)
    assert track.tasks == {"notes", "lyrics"}
    with pytest.raises(CatalogError, match=r"a\.txt.*not there"):
        track.audio()


def test_no_songs(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no UltraStar song"):
        open_dataset("ultrastar", tmp_path)
