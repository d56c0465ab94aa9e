"""JamendoLyrics: both layouts of the repository, its odd names, and mismatches."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures.datasets.jamendolyrics import JamendoLyricsTrack
from stemfeatures.datasets.opening import open_dataset
from stemfeatures.errors import CatalogError

NAME = "Bébé_-_(Talk_to_me)_-_Artist."
HEAD = "URL,Filepath,Artist,Title,Genre,LicenseType,Language,LyricOverlap,Polyphonic,NonLexical\n"


def write(root: Path, *, metadata: bool = True) -> None:
    for folder in ("mp3", "lyrics", "annotations/words", "annotations/lines"):
        (root / folder).mkdir(parents=True)
    soundfile.write(root / "mp3" / f"{NAME}.mp3", np.zeros((4410, 2)), 44100, format="MP3")
    (root / "lyrics" / f"{NAME}.words.txt").write_text("no\nface\nis\nseen\n", encoding="utf-8")
    if metadata:
        row = f"https://x,{NAME}.mp3,ARTIST,Bébé,Pop,CC BY-NC-ND,French,false,true,false\n"
        (root / "JamendoLyrics.csv").write_text(HEAD + row, encoding="utf-8")
        (root / "annotations" / "words" / f"{NAME}.csv").write_text(
            "word_start,word_end,line_end\n0.5,1.25,nan\n1.25,1.5,1.6\n2.0,2.5,nan\n2.5,3.0,3.0\n"
        )


def song(root: Path) -> JamendoLyricsTrack:
    [track] = open_dataset("jamendolyrics", root)
    assert isinstance(track, JamendoLyricsTrack)
    return track


def test_words_and_lines(tmp_path: Path) -> None:
    write(tmp_path)
    track = song(tmp_path)
    assert (track.name, track.artist, track.language, track.licence) == (NAME, "ARTIST", "French", "CC BY-NC-ND")
    assert track.tasks == {"lyrics"}
    lyrics = track.annotations().lyrics
    assert lyrics.words == ((0.5, 1.25, "no"), (1.25, 1.5, "face"), (2.0, 2.5, "is"), (2.5, 3.0, "seen"))
    # without annotations/lines, the lines are those the words state
    assert lyrics.lines == ((0.5, 1.6, "no face"), (2.0, 3.0, "is seen"))
    (tmp_path / "annotations" / "lines" / f"{NAME}.csv").write_text(
        'start_time,end_time,lyrics_line\n0.5,1.5,"No, face"\n2.0,3.0,is seen\n'
    )
    assert track.annotations().lyrics.lines == ((0.5, 1.5, "No, face"), (2.0, 3.0, "is seen"))
    assert track.load().mixture.shape[0] == 2


def test_the_first_version_has_word_starts_only(tmp_path: Path) -> None:
    write(tmp_path, metadata=False)
    (tmp_path / "annotations" / f"{NAME}.wordonset.txt").write_text("0.5\n1.25\n2\n2.5\n")
    track = song(tmp_path)
    assert (track.artist, track.tasks) == ("Bébé", {"lyrics"})
    words = track.annotations().lyrics.words
    assert [word.start_s for word in words] == [0.5, 1.25, 2, 2.5]
    assert np.isnan([word.end_s for word in words]).all()
    assert track.annotations().lyrics.lines == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word_start,word_end,line_end\n0.5,1.25,nan\n", "1 times for the 4 words"),
        ("word_start,word_end\n" + "0,1\n" * 4, "line_end"),
        ("word_start,word_end,line_end\n" + "a,1,nan\n" * 4, "word_start"),
    ],
)
def test_malformed_words_are_named(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path)
    (tmp_path / "annotations" / "words" / f"{NAME}.csv").write_text(text)
    with pytest.raises(CatalogError, match=rf"words/B.*{message}"):
        song(tmp_path).annotations()


def test_missing_files_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "mp3" / f"{NAME}.mp3").unlink()
    with pytest.raises(CatalogError, match=r"mp3.*no such audio"):
        song(tmp_path).audio()
    (tmp_path / "lyrics" / f"{NAME}.words.txt").unlink()
    with pytest.raises(CatalogError, match=r"words\.txt.*no such list"):
        song(tmp_path).annotations()
    (tmp_path / "JamendoLyrics.csv").write_text(HEAD)
    with pytest.raises(CatalogError, match="no songs"):
        song(tmp_path)
