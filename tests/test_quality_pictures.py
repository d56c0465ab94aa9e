"""The script that draws the pictures of docs/quality.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from networks import tiny_checkpoint
from test_multitrack import tone, write_song

from stemfeatures.evaluation.leakage import LEVELS, SHARES, pair_name


@pytest.fixture(scope="module")
def draw():
    spec = importlib.util.spec_from_file_location(
        "draw_quality", Path(__file__).parents[1] / "docs" / "draw_quality.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scores() -> pd.DataFrame:
    """Two tracks: all of each stem in its estimate, and 10 % and 30 % of the drums in the vocals."""
    rows = []
    for track, leak in (("one", 0.1), ("two", 0.3)):
        for estimate in ("vocals", "drums"):
            for stem in ("vocals", "drums"):
                share = 1.0 if stem == estimate else leak * (estimate == "vocals")
                row = {"task": "leakage", "dataset": "made", "track": track, "status": "ok"}
                rows.append(row | {"stem": pair_name(stem, estimate)} | dict.fromkeys((*LEVELS, *SHARES), share))
    rows[0] |= {SHARES[3]: np.nan}  # nothing of it in that band
    return pd.DataFrame([*rows, {"task": "separation", "track": "one", "stem": "vocals", "status": "ok"}])


def test_matrices_are_means_over_tracks(draw):
    stems, shares = draw.leak_matrices(scores())
    assert stems == ["vocals", "drums"]
    assert shares.shape == (len(SHARES), 2, 2)
    np.testing.assert_allclose(shares[0], [[1.0, 0.2], [0.0, 1.0]])
    assert shares[3, 0, 0] == 1.0  # of the track that has it


def test_curves_are_smoothed_over_steps(draw):
    steps = pd.Series(range(100, 1001, 100))
    smooth = draw.smoothed(pd.Series(np.arange(10.0)), steps)
    assert smooth.tolist()[:2] == [0.0, 0.5]
    assert smooth.tolist()[-1] == 7.0  # of the last five


def test_all_pictures_are_drawn(draw, tmp_path):
    song = tmp_path / "songs" / "one"
    write_song(song, {"vocals": tone(440), "drums": tone(100)})
    scores().to_parquet(tmp_path / "leakage.parquet")
    (tmp_path / "log.csv").write_text("step,learning_rate,loss\n10,0.1,0.8\n20,0.1,0.7\n30,0.1,0.6\n")
    model = tiny_checkpoint(tmp_path)
    draw.main(
        ["--leakage", str(tmp_path / "leakage.parquet"), "--song", str(song), "--model",
         str(model), "--start", "0", "--seconds", "1", "--log", str(tmp_path / "log.csv"), "--out", str(tmp_path)]
    )  # fmt: skip
    for name in ("leakage", "stems", "training"):
        pixels = image.imread(tmp_path / f"{name}.png")
        assert pixels.shape[1] > 500
        assert pixels[..., :3].std() > 0.01
