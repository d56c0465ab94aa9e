"""The notebooks of docs/ run, on a small features directory, and are kept without outputs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recommendation_helper import write_features

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
pytestmark = pytest.mark.skipif(not PATHS, reason="docs/ is only in the checkout")


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """120 tracks; each of the second half has the bass of one of the first."""
    names = [f"{half}/{i:02d}.mp3" for half in ("song", "cover") for i in range(60)]
    return write_features(tmp_path_factory.mktemp("data") / "features", names, same_bass_after=60)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory) -> Path:
    """So many tracks that the tenth which nobody has listened to is longer than a list of ten.

    Of 12 unheard ones, as in 120 tracks, chance finds an NDCG of .46, which nothing can surpass by much; of 30 it finds
    .14.
    """
    names = [f"{i:03d}.mp3" for i in range(300)]
    return write_features(tmp_path_factory.mktemp("catalogue") / "features", names)


def run(name: str, features: Path, monkeypatch) -> str:
    """Execute a notebook in a process of its own; everything it printed or showed, as text."""
    monkeypatch.setenv("FEATURES", str(features))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("LISTENING", raising=False)
    monkeypatch.setenv("TRACK_ID", "song/07.mp3")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(features.parent))
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(str(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in outputs)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_notebooks_are_valid_and_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert "/home/" not in path.read_text("utf-8")


def test_query_tables(features, monkeypatch) -> None:
    pytest.importorskip("duckdb")
    said = run("query_tables", features, monkeypatch)
    assert re.search(r"\bdrums +120 +108\b", said)  # every tenth has none
    assert re.search(r"\bsha-1 +c1 +120\b", said)
    assert "onset_rate" in said


def test_similar_bass_lines_finds_the_cover(features, monkeypatch) -> None:
    said = run("similar_bass_lines", features, monkeypatch)
    table = said.split("song/07.mp3", 1)[1]
    assert re.search(r"(?:song|cover)/\d\d\.mp3", table)[0] == "cover/07.mp3"
    assert "gain" in said


def test_thirty_lines_train_a_recommender(catalogue, monkeypatch) -> None:
    notebook = nbformat.read(NOTEBOOKS / "train_a_recommender.ipynb", as_version=4)
    [cell] = [c for c in notebook.cells if "thirty-lines" in c.metadata.get("tags", ())]
    assert len(cell.source.splitlines()) <= 30
    said = run("train_a_recommender", catalogue, monkeypatch)
    assert "Known users, tracks nobody has listened to" in said
    cold = {
        name: float(value) for name, value in re.findall(r"^(vocals\+drums|bass|mixture) +([\d.]+)", said, re.MULTILINE)
    }
    assert cold["vocals+drums"] > 1.5 * max(cold["bass"], cold["mixture"])
