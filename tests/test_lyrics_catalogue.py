"""Lyrics of a catalogue: where they are found, what the tables say of them, and that a run writes them."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
from pathlib import Path

import grimp
import numpy as np
import pandas as pd
import pytest
import soundfile
from networks import tiny_checkpoint

pytest.importorskip("pocketsphinx", reason="needs the lyrics extra")

from pipelines import cli, extract_catalog
from stemfeatures._util import objects
from stemfeatures._util.objects import Entry
from stemfeatures.audio.ffmpeg_decoder import ffmpeg_path
from stemfeatures.descriptors.event_tables import event_tables
from stemfeatures.descriptors.types import Events, F0Contour, TrackDescription
from stemfeatures.lyrics import AlignedLine, AlignedPhone, AlignedWord, Alignment
from stemfeatures.lyrics.description import beat_offset, describe_lyrics
from stemfeatures.lyrics.settings import MEMORY_ALONE, PARTS, alignment_settings
from stemfeatures.lyrics.sources import FoundLyrics, find_lyrics
from stemfeatures.tables.reader import open_features

RATE = 22_050
HOP_S = 512 / RATE


def test_lyrics_are_found_where_they_are_first(tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    soundfile.write(tmp_path / "song.wav", np.zeros(4000), 8000)
    tags = ["-metadata", "lyrics=from the tags", "-c:a", "libmp3lame"]
    subprocess.run([ffmpeg_path() or "ffmpeg", "-v", "error", "-i", tmp_path / "song.wav", *tags, song], check=True)
    assert find_lyrics(tmp_path / "song.wav") is None
    assert find_lyrics(song) == FoundLyrics("from the tags", "tags")
    (tmp_path / "song.txt").write_bytes("beside, latín".encode("cp1252"))
    assert find_lyrics(song) == FoundLyrics("beside, latín", "txt")
    (tmp_path / "song.lrc").write_text("[00:01.00]in time")
    assert find_lyrics(song) == FoundLyrics("[00:01.00]in time", "lrc")
    assert find_lyrics(song, "as the catalogue says") == FoundLyrics("as the catalogue says", "catalog")
    assert find_lyrics(song, "song.txt") == FoundLyrics("beside, latín", "catalog")
    assert find_lyrics(song, "gone.txt") == FoundLyrics("[00:01.00]in time", "lrc")
    (tmp_path / "song.lrc").write_bytes(bytes(range(256)))  # no text
    (tmp_path / "song.txt").write_bytes(b"x" * 1_000_001)
    assert find_lyrics(song) == FoundLyrics("from the tags", "tags")
    (tmp_path / "song.lrc").write_text(" \n")
    assert find_lyrics(song) == FoundLyrics("from the tags", "tags")


def test_lyrics_here_of_audio_in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none of what is larger than its store says."""
    words = tmp_path / "words.txt"
    words.write_text("of this machine")
    stored = {"s3://bucket/songs/song.txt": b"beside", "s3://bucket/far.txt": b"of the store"}
    stored["https://host/long.txt"] = b"x" * 1_000_001
    there = {address: Entry(address.rpartition("/")[2], 0, 0.0) for address in stored}
    monkeypatch.setattr(objects, "info", lambda url: there.get(url.address))
    monkeypatch.setattr(objects, "read", lambda url: stored[url.address])
    song = "s3://bucket/songs/song.flac"
    assert find_lyrics(song, str(words)) == FoundLyrics("of this machine", "catalog")
    assert find_lyrics(song, "/far.txt") == FoundLyrics("of the store", "catalog")
    assert find_lyrics(song, str(tmp_path / "gone.txt")) == FoundLyrics("beside", "txt")
    assert find_lyrics(song, "https://host/long.txt") == FoundLyrics("beside", "txt")


def test_offsets_from_the_nearest_beat() -> None:
    beats = np.array([1.0, 1.5, 2.5])
    assert [beat_offset(t, beats) for t in (1.0, 1.125, 1.4, 2.25)] == pytest.approx([0, 0.25, -0.2, -0.25])
    assert beat_offset(0.9, beats) is None
    assert beat_offset(2.5, beats) is None
    assert beat_offset(1.0, np.zeros(0)) is None


def _word(text: str, index: int, line: int, start: float, end: float, vowel: float) -> AlignedWord:
    phones = (AlignedPhone("M", start, vowel), AlignedPhone("IY", vowel, end))
    return AlignedWord(text, index, line, start, end, 0.8, phones)


def _description(duration_s: float) -> TrackDescription:
    """A voice at A3 to 2 s, then half a second each of A4, C5 and A4; beats every half second."""
    times = np.arange(int(duration_s / HOP_S)) * HOP_S
    hz = np.select([times < 2, times < 2.5, times < 3, times < 3.5], [220, 440, 440 * 2 ** (3 / 12), 440], np.nan)
    contour = F0Contour(times, hz, np.ones(len(times), np.float32))
    beats = np.arange(0, duration_s, 0.5)
    return TrackDescription({}, {"vocals": contour}, Events(beats, np.ones(len(beats), int)), {})


def test_words_lines_and_songs_are_described() -> None:
    words = (
        _word("me", 0, 0, 0.4, 1.0, 0.5),  # vowel on the beat
        _word("we", 1, 0, 1.2, 1.9, 1.25),  # half a beat away
        _word("see", 2, 1, 2.0, 3.5, 2.05),  # three notes, a tenth of a beat late
    )
    again = (_word("me", 0, 0, 4.0, 4.5, 4.0),)
    alignment = Alignment(words, (AlignedLine("me we", 0.4, 1.9), AlignedLine("see", 2, 3.5)), again, "ok", 0.9, 6.0)
    tables = describe_lyrics(alignment, "lrc", _description(6.0))
    rows = {name: event_tables()[name].rows(columns) for name, columns in tables.items()}
    lyrics = rows["lyrics"]
    assert [(w["word"], w["line"], w["token"], w["n_notes"]) for w in lyrics] == [
        (0, 0, 0, 1), (1, 0, 1, 1), (2, 1, 2, 3), (3, 2, 0, 0),
    ]  # fmt: skip
    assert [w["beat_offset"] for w in lyrics] == pytest.approx([0, 0.5, 0.1, 0])
    assert [w["text"] for w in rows["lyric_text"]] == ["me", "we", "see", "me"]
    first, second, third = rows["lyric_lines"]
    assert [line["text_line"] for line in (first, second, third)] == [0, 1, 0]
    assert first["words_per_s"] == pytest.approx(2 / 1.5)
    assert first["f0_range_semitones"] == pytest.approx(0)
    assert second["f0_range_semitones"] == pytest.approx(3)
    assert (second["f0_low_hz"], second["notes_per_word"], second["on_beat_ratio"]) == (440, 3, 1)
    assert (first["notes_per_word"], third["notes_per_word"]) == (1, None)
    assert third["f0_low_hz"] is None
    (song,) = rows["lyric_songs"]
    assert (song["lyrics_status"], song["source"], song["n_words"]) == ("ok", "lrc", 4)
    assert song["words_per_s"] == pytest.approx(4 / 3.5)
    assert song["sung_ratio"] == pytest.approx((0.6 + 0.7 + 1.5 + 0.5) / 6)
    assert song["on_beat_ratio"] == pytest.approx(3 / 4)
    assert song["line_range_semitones"] == pytest.approx(1.5)


def test_a_song_without_fitting_lyrics_is_a_row_that_says_so() -> None:
    alignment = Alignment((AlignedWord("me", 0, 0),), (AlignedLine("me", None, None),), (), "no_fit", 0.1, 6.0)
    tables = describe_lyrics(alignment, "txt", _description(6.0))
    assert {name: len(next(iter(columns.values()), [])) for name, columns in tables.items()} == {
        "lyrics": 0, "lyric_text": 0, "lyric_lines": 0, "lyric_songs": 1,
    }  # fmt: skip
    assert tables["lyric_songs"] == {"lyrics_status": ["no_fit"], "source": ["txt"], "score": [0.1]}
    assert describe_lyrics(None, None, _description(6.0))["lyric_songs"]["lyrics_status"] == ["no_lyrics"]


def test_a_run_writes_the_tables_that_it_is_asked_for(tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
    for name in ("with", "without"):
        soundfile.write(audio / f"{name}.wav", noise, RATE)
    (audio / "with.txt").write_text("purple elephants discovering bicycles\n" * 4)
    model = str(tiny_checkpoint(tmp_path))
    run = ["extract", str(audio), "-q", "-m", model, "-d", "cpu", "-j", "1", "-o", str(tmp_path / "features")]
    assert cli.main([*run, "--tables", "stems"]) == 0
    assert "lyric_songs" not in open_features(tmp_path / "features").tables
    assert cli.main([*run, "--tables", "stems", "--lyrics"]) == 0
    features = open_features(tmp_path / "features")
    found = {name: features.events("lyric_songs", f"{name}.wav") for name in ("with", "without")}
    assert found["with"]["source"].tolist() == ["txt"]
    assert found["with"]["lyrics_status"].tolist()[0] in ("no_fit", "no_vocals")
    assert found["without"]["lyrics_status"].tolist() == ["no_lyrics"]
    assert "lyric_text" not in features.tables


def test_lyrics_that_were_aligned_otherwise_are_aligned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed constant of the alignment counts for runs that ask for lyrics, of tracks that have any."""
    songs = [tmp_path / "song.wav", tmp_path / "hummed.wav"]
    for seed, song in enumerate(songs):
        soundfile.write(song, np.random.default_rng(seed).normal(0, 0.1, 2 * RATE), RATE)
    songs[0].with_suffix(".txt").write_text("purple elephants\n")
    options = {"model": tiny_checkpoint(tmp_path), "device": "cpu", "jobs": 1}
    lyrics = {"tables": ["stems", "lyric_songs"], **options}
    assert extract_catalog(songs, tmp_path / "features", **lyrics).n_done == 2
    assert extract_catalog(songs, tmp_path / "features", **lyrics).n_skipped == 2
    monkeypatch.setattr("stemfeatures.lyrics.alignment.LAG_S", 0.06)
    assert extract_catalog(songs, tmp_path / "features", tables=["stems"], **options).n_skipped == 2
    again = extract_catalog(songs, tmp_path / "features", **lyrics)
    assert (again.n_done, again.n_skipped) == (1, 1)
    assert again.outdated == {"with lyrics that were aligned otherwise": 1}
    runs = open_features(tmp_path / "features").to_pandas("runs")
    lags = [json.loads(text)["alignment"]["constants"]["LAG_S"] for text in runs["config_json"]]
    assert sorted(lags) == [[0.05], [0.06]]


def test_lyrics_that_have_changed_are_aligned_again(tmp_path: Path) -> None:
    """An edited file, a file that is new or gone, another cell of the catalogue; and copies that have other lyrics."""
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
    for name in ("one", "copy", "same", "told"):
        soundfile.write(tmp_path / f"{name}.wav", noise, RATE)
    text = tmp_path / "one.txt"
    text.write_text("purple elephants\n")
    (tmp_path / "same.txt").write_text("purple elephants\n")
    options = {"model": tiny_checkpoint(tmp_path), "device": "cpu", "jobs": 1, "tables": ["lyric_songs"]}
    catalog = pd.DataFrame({"path": [str(tmp_path / f"{n}.wav") for n in ("one", "copy", "same", "told")]})
    catalog["track_id"] = ["one", "copy", "same", "told"]
    catalog["lyrics"] = [None, None, None, "discovering bicycles"]

    def extract() -> tuple[int, dict[str, int], dict[str, tuple[str | None, str | None]]]:
        summary = extract_catalog(catalog, tmp_path / "features", **options)
        features = open_features(tmp_path / "features")
        tracks = features.to_arrow("tracks", columns=["track_id", "lyrics_sha256"]).to_pylist()
        songs = features.to_arrow("lyric_songs", columns=["track_id", "source"]).to_pylist()
        assert len(tracks) == len(songs) == 4
        sources = {row["track_id"]: row["source"] for row in songs}
        return (
            summary.n_done,
            summary.outdated,
            {row["track_id"]: (sources[row["track_id"]], row["lyrics_sha256"]) for row in tracks},
        )

    def digest(words: str) -> str:
        return hashlib.sha256(words.encode()).hexdigest()

    elephants, bicycles = ("txt", digest("purple elephants\n")), ("catalog", digest("discovering bicycles"))
    first = {"one": elephants, "copy": (None, None), "same": elephants, "told": bicycles}
    assert extract() == (4, {}, first)
    assert extract() == (0, {}, first)
    text.write_text("purple elephants forever\n")
    later = {**first, "one": ("txt", digest("purple elephants forever\n"))}
    assert extract() == (1, {"with other lyrics": 1}, later)
    text.unlink()
    (tmp_path / "copy.lrc").write_text("[00:01.00]purple")
    catalog.loc[3, "lyrics"] = "discovering"
    last = {
        **later,
        "one": (None, None),
        "copy": ("lrc", digest("[00:01.00]purple")),
        "told": ("catalog", digest("discovering")),
    }
    assert extract() == (3, {"with other lyrics": 3}, last)
    assert extract() == (0, {}, last)


def test_what_an_alignment_depends_on_is_in_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = grimp.build_graph("stemfeatures", exclude_type_checking_imports=True, cache_dir=None)
    parts = {"stemfeatures.lyrics.alignment", "stemfeatures.lyrics.description"}
    used = parts.union(*(graph.find_upstream_modules(part) for part in parts))
    of_lyrics = {name for name in used if name.startswith("stemfeatures.lyrics.")}
    # Letters of a network that people have, and what programs say: no part of a run over a catalogue.
    others = {f"stemfeatures.lyrics.{name}" for name in ("ctc", "espeak", "formats")}
    assert of_lyrics - others == set(PARTS)
    before = alignment_settings()
    monkeypatch.setattr("stemfeatures.lyrics.observations.SCALE", 0.4)
    assert alignment_settings() != before
    monkeypatch.undo()
    # How much is held at a time is no reason to align anything again.
    for module in map(importlib.import_module, PARTS):
        for name in MEMORY_ALONE & vars(module).keys():
            monkeypatch.setattr(module, name, 2 * getattr(module, name))
    assert alignment_settings() == before
    assert MEMORY_ALONE.isdisjoint(before["constants"])
    monkeypatch.undo()
    monkeypatch.setattr("stemfeatures.lyrics.onsets.SHIPPED", Path(__file__))
    assert alignment_settings()["weights"] != before["weights"]
