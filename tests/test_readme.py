"""README and recipes pasted into a sandbox, in order, at 80 columns: nothing fails."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pasting import ROOT, blocks, run

import stemfeatures
from stemfeatures.tables.query import query

pytest.importorskip("duckdb")
pytest.importorskip("matplotlib")

SONGS = {"albums/song.mp3": "Held Breath (息).mp3", "b/vals.ogg": "Vals, en mi menor.ogg", "c.flac": "Río.flac"}
pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="README is only in the checkout")


def section(title: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory) -> Path:
    """A folder with a catalogue of three songs, one of them beside it, and who listened to what."""
    folder = tmp_path_factory.mktemp("sandbox")
    for name, source in SONGS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "catalog_samples" / source, folder / name)
    shutil.copy(folder / "albums" / "song.mp3", folder / "song.mp3")
    (folder / "catalog.csv").write_text("path\n" + "\n".join(SONGS) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    pairs = [(f"u{u}", t) for u in range(12) for t in rng.choice(list(SONGS), 2, replace=False)]
    pd.DataFrame(pairs, columns=["user_id", "track_id"]).to_parquet(folder / "listening.parquet")
    return folder


@pytest.fixture(scope="module")
def pasted(sandbox: Path) -> dict[str, str]:
    """What each line of README said, from the first song to recommendations."""
    said: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        _paste(said, sandbox)
    return said


def _paste(said: dict[str, str], sandbox: Path) -> None:
    for title in ("A night's work", "Similar tracks, recommendations", "One track"):
        for block in blocks(section(title), "sh"):
            for line in block.splitlines():
                said[line] = run(line, sandbox)


def test_every_line_of_the_readme_runs(pasted: dict[str, str], sandbox: Path) -> None:
    verbs = {line.split()[1] for line in pasted}
    assert verbs >= {
        "validate",
        "extract",
        "status",
        "report",
        "compact",
        "similar",
        "recommend",
        "describe",
        "separate",
    }
    for line, text in pasted.items():
        if line.split()[1] in ("status", "similar", "describe", "extract"):
            assert all(len(shown) <= 80 for shown in text.splitlines()), line
    [new] = [text for line, text in pasted.items() if "not in the tables" in line]
    assert re.search(r"^1  albums/song.mp3 +0\.00 ", new, re.MULTILINE)  # which holds the same audio
    assert (sandbox / "song.png").stat().st_size > 50_000
    assert (sandbox / "report" / "index.html").exists()
    assert sorted(p.stem for p in (sandbox / "stems" / "song").glob("*.wav")) == ["bass", "drums", "other", "vocals"]
    ranks = pd.read_parquet(sandbox / "recommendations.parquet").groupby("user_id")["rank"].max()
    assert ranks.tolist() == [1] * 12  # each has heard two of the three


def test_snippets_of_the_readme_run(pasted: dict[str, str], sandbox: Path, monkeypatch) -> None:
    monkeypatch.chdir(sandbox)
    names: dict[str, Any] = {}
    for title in ("A night's work", "Similar tracks, recommendations", "One track"):
        for block in blocks(section(title), "python"):
            exec(compile(block, title, "exec"), names)
    assert names["wide"].shape[0] == 3
    assert names["vectors"].shape[0] == 3
    mixture = sum(names["stems"].values())
    np.testing.assert_allclose(mixture, names["y"], atol=1e-4)
    assert (sandbox / "track.png").exists()


def test_recipes_answer_their_questions(pasted: dict[str, str], sandbox: Path, monkeypatch) -> None:
    monkeypatch.chdir(sandbox)
    words = {"words": [{"word": "la", "start": 1.0, "end": 2.0}]}
    (sandbox / "words.json").write_text(json.dumps(words), encoding="utf-8")
    page = (ROOT / "docs" / "howto" / "recipes.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in blocks(page, "python"):
        exec(compile(block, "recipes.md", "exec"), names)
    features = stemfeatures.open_features("features")
    answers = [query(features, block).to_pylist() for block in blocks(page, "sql")]
    assert {row["track_id"] for row in answers[0]} == set(names["instrumental"])
    assert "b/vals.ogg" in names["waltzes"].index
    assert {row["track_id"] for row in answers[1]} == set(names["six_eight"].index)
    [progression] = [row["progression"] for row in answers[2] if row["track_id"] == names["song"]]
    assert progression.split() == names["progression"]
    assert len(names["progression"]) > 3
    most = max((row["times"] for row in answers[3] if row["track_id"] == names["song"]), default=0)
    assert len(names["chorus"]) == most
    assert all(60 < f0 < 1500 for _, f0 in names["melody"])
    assert (np.diff(names["bars"]) > 0.5).all()
    assert len(names["busy"]) == 3
    assert sorted(names["drum_width"].index) == ["b/vals.ogg", "c.flac"]  # the third is mono
    assert names["drum_width"].between(0, 1).all()
    assert names["drum_width"].is_monotonic_decreasing
    [widths] = [a for a, block in zip(answers, blocks(page, "sql")) if "stereo_width" in block]
    assert [row["track_id"] for row in widths] == names["drum_width"].index.tolist()
    assert names["words"] == [(1.0, "la")]
    assert answers[-1] == []
