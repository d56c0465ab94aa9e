"""Commands of the pages for users, pasted one after the other into a folder that has what they name: nothing fails."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from features_helper import write_features
from pasting import ROOT, blocks, run

from stemfeatures.audio import load, write

DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="docs are only in the checkout")

#: Commands that run nowhere without what is not there: a store, a cluster, weights from the network, development songs.
#: Each verb runs on what is there in a file of tests of its own.
ELSEWHERE = {
    "s3://": "test_stores.py",
    "--separator": "test_given_stems.py",
    "--stems-from": "test_given_stems.py",
    "evaluate lyrics eval/ultrastar": "test_evaluation_lyrics.py",
    "singalong catalog_samples/": "test_singalong_example.py",
    "--language": "test_lyrics_espeak.py",
    "--acoustics": "test_lyrics_ctc.py",
}


def commands(page: str) -> list[str]:
    """Its lines that begin with ``stemfeatures``, without those of :data:`ELSEWHERE`."""
    lines = [line for block in blocks((DOCS / page).read_text(encoding="utf-8"), "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("stemfeatures ") and not any(part in line for part in ELSEWHERE)]


def paste(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What every command of the page says."""
    monkeypatch.setenv("COLUMNS", "80")
    return {line: run(line, folder) for line in commands(page)}


def clip(source: str, path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    y, rate = load(ROOT / "catalog_samples" / source)
    write(path, y[:, : round(seconds * rate)], rate, format="flac")  # what it is called does not matter


def test_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip("Río.flac", tmp_path / "song.mp3", 10)
    clip("Río.flac", tmp_path / "music" / "albums" / "song.mp3", 10)
    clip("Vals, en mi menor.ogg", tmp_path / "music" / "vals.wav", 10)
    said = paste("start.md", tmp_path, monkeypatch)
    assert (tmp_path / "song.png").stat().st_size > 50_000
    assert (tmp_path / "report" / "index.html").exists()
    [similar] = [text for line, text in said.items() if " similar " in line]
    assert "vals.wav" in similar


def test_similarity_and_recommendation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ["albums/song.mp3", *(f"albums/{i}.mp3" for i in range(40))]
    years = [1980 + i % 40 for i in range(len(ids))]
    alike = {("mixture", ""): {"tempo_bpm": [120.0] * len(ids), "key": ["C:major"] * len(ids)}}
    write_features(tmp_path / "features", ids, metadata={"year": years}, overwrite=alike)
    rng = np.random.default_rng(0)
    pairs = [(user, track) for user in ("ana", *map(str, range(9))) for track in rng.choice(ids, 5, replace=False)]
    pd.DataFrame(pairs, columns=["user_id", "track_id"]).to_parquet(tmp_path / "listening.parquet")
    said = paste("similarity.md", tmp_path, monkeypatch)
    assert len(said) == 4
    assert (tmp_path / "bass-neighbours").exists()
    said = paste("recommendation.md", tmp_path, monkeypatch)
    assert "albums/" in said[next(line for line in said if "--user ana" in line)]
    assert pd.read_parquet(tmp_path / "recommendations.parquet")["user_id"].nunique() == 10


def test_every_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_features(tmp_path / "features", ["a", "b"])
    for part, sample in (("part-1", "Río.flac"), ("part-2", "Vals, en mi menor.ogg")):
        clip(sample, tmp_path / f"{part}.wav", 6)
        pd.DataFrame({"path": [f"{part}.wav"]}).to_parquet(tmp_path / f"{part}.parquet")
    (tmp_path / "music").mkdir()
    clip("Río.flac", tmp_path / "music" / "song.wav", 4)
    # Nobody collects here what is traced.
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert paste("every-night.md", tmp_path, monkeypatch)
    assert len(pd.read_parquet(tmp_path / "features" / "tracks")) == 5
    assert (tmp_path / "lake" / "stems").is_dir()


def test_singalong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pocketsphinx")
    (tmp_path / "music").mkdir()
    for path in (tmp_path / "song.mp3", tmp_path / "music" / "song.mp3"):
        clip("Río.flac", path, 60)
        shutil.copy(ROOT / "catalog_samples" / "Río.txt", path.with_suffix(".txt"))
    clip("Río.flac", tmp_path / "vocals.wav", 60)  # of which nobody can say that nothing else is in it
    said = paste("singalong.md", tmp_path, monkeypatch)
    assert {line.split()[1] for line in said} == {"singalong", "remix", "align", "extract"}
    for name in ("page/index.html", "softer.flac", "song.lrc", "words.json", "song.TextGrid", "features/lyrics"):
        assert (tmp_path / name).exists(), name


def test_the_front_page_says_what_the_readme_says() -> None:
    """Whose commands run in test_readme.py."""
    readme = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "sh")
    known = {" ".join(shlex.split(line, comments=True)) for block in readme for line in block.splitlines()}
    found = {" ".join(shlex.split(line, comments=True)) for line in commands("index.md")}
    assert found
    assert found <= known
