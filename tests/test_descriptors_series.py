"""Series of signals whose level, activity and pitch classes are known step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from frames_helper import SR, track_frames
from networks import tiny_checkpoint

from stemfeatures import audio
from stemfeatures.analysis import Analyser, UndescribedTrack
from stemfeatures.constants import STEM_ROWS
from stemfeatures.descriptors import describe
from stemfeatures.descriptors.embedding import cell_shares, step_embeddings
from stemfeatures.frames import FeatureCells


def test_level_activity_and_chroma_of_each_step() -> None:
    t = np.arange(3 * SR) / SR
    first, second = 0.1 * np.sin(2 * np.pi * 880 * t), 0.05 * np.sin(2 * np.pi * 1046.5 * t)
    tones = np.where(t < 1, first, np.where(t < 2, second, 0))
    frames = track_frames({"other": tones})
    assert "series" not in describe(frames).tables
    series = describe(frames, requested=("series",)).tables["series"]
    assert list(series["stem"]) == list(STEM_ROWS)
    row = STEM_ROWS.index("other")
    np.testing.assert_allclose(series["times_s"][row], np.arange(0, 3.01, 0.25))
    inside = [1, 2, 5, 6]  # steps that hear one tone alone
    # The mean square of a sine is half its squared amplitude; K-weighting at 880 and 1046 Hz is 0.5 and 0.8 dB.
    level = 10 * np.log10([0.005, 0.005, 0.00125, 0.00125]) - 0.691 + [0.5, 0.5, 0.8, 0.8]
    np.testing.assert_allclose(series["loudness_lufs"][row][inside], level, atol=0.2)
    assert series["loudness_lufs"][row][-2] == pytest.approx(-100.691)
    np.testing.assert_allclose(series["activity"][row][[0, 3, 6, 9, 11]], [1, 1, 1, 0, 0])
    chroma = series["chroma"][row].reshape(-1, 12)
    assert chroma[inside].argmax(axis=1).tolist() == [9, 9, 0, 0]
    assert (chroma[inside].max(axis=1) > 0.9).all()
    assert not chroma[10:].any()
    assert series["chroma"][STEM_ROWS.index("drums")] is None
    silent = STEM_ROWS.index("vocals")
    assert not np.any(series["activity"][silent])
    assert not np.any(series["chroma"][silent])
    assert series["embedding"] == [None] * len(STEM_ROWS)  # these frames come from no network


def _cells(first: list[int], features: np.ndarray, *, stride: int = 8) -> FeatureCells:
    """Of one row, each of weight 2, whose features have no deviation."""
    sums = 2 * features.T[None]
    weight = np.full((1, len(first)), 2.0, np.float32)
    return FeatureCells(stride, np.array(first, np.float32), weight, sums, sums * features.T[None])


def test_cells_count_in_the_steps_they_lie_in() -> None:
    # Cells of 8 frames from half a frame before their first; the last reaches beyond the end, and one begins there.
    cells = _cells([0, 8, 16, 24], np.ones((4, 1), np.float32))
    shares = cell_shares(cells, np.array([0.0, 7.5, 9.5, 20.0, 23.5])).toarray()
    np.testing.assert_allclose(shares, [[1, 0, 0, 0], [0, 0.25, 0, 0], [0, 0.75, 0.5625, 0], [0, 0, 0.4375, 1]])


def test_vectors_of_steps_are_those_of_their_cells() -> None:
    features = np.array([[1, 0], [1, 0], [0, 3], [3, 3]], np.float32)
    cells = _cells([0, 8, 16, 24], features)
    vectors = step_embeddings(cells, 0, np.array([0, 15.5, 23.5, 31.5, 40]))
    root = np.sqrt(0.5)
    np.testing.assert_allclose(vectors, [[1, 0, 0, 0], [0, 1, 0, 0], [root, root, 0, 0], [0, 0, 0, 0]], atol=1e-6)
    # Of half a cell of (1, 0) and one of (0, 3): means 1/3 and 2, squares 1/3 and 6.
    mixed = step_embeddings(cells, 0, np.array([11.5, 23.5]))[0]
    deviation = np.sqrt([1 / 3 - 1 / 9, 6 - 4])
    expected = np.array([1 / 3, 2, *deviation])
    assert len(mixed) == 4
    alone = _cells([8, 16], features[1:3])
    alone.weight[0, 0] = 1.0
    alone.sums[:, :, 0] /= 2
    alone.squares[:, :, 0] /= 2
    np.testing.assert_allclose(
        step_embeddings(alone, 0, np.array([0.0, 40.0]))[0], expected / np.linalg.norm(expected), rtol=1e-6
    )


@pytest.mark.parametrize("seconds", [3.0, 41.0])  # within a segment of the network, and over two
def test_embeddings_of_steps_add_up_to_that_of_the_track(tmp_path: Path, seconds: float) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * SR)) / SR
    y = (0.1 * np.sin(2 * np.pi * 220 * t) * (t % 0.5 < 0.3) + 0.02 * rng.standard_normal(len(t))).astype(np.float32)
    y[t < 1] = 0
    analyser = Analyser(tiny_checkpoint(tmp_path), requested=("series",))
    found = analyser.from_audio(y, SR)
    series, cells = found.tables["series"], found.frames.cells
    assert cells is not None
    whole = np.array([0.0, seconds * SR / 512])
    for place, row in enumerate(STEM_ROWS):
        if row not in found.embeddings:
            assert series["embedding"][place] is None
            continue
        np.testing.assert_allclose(step_embeddings(cells, place, whole)[0], found.embeddings[row], atol=2e-5)
        vectors = series["embedding"][place].reshape(len(series["times_s"][place]) - 1, -1)
        length = np.linalg.norm(vectors, axis=1)
        silent = series["times_s"][place][1:] < 0.9
        assert silent.any()
        np.testing.assert_array_equal(length[silent], 0)
        np.testing.assert_allclose(length[series["times_s"][place][:-1] > 1.1], 1, atol=1e-5)
    analyser.configure(requested=())
    assert analyser.from_audio(y, SR).frames.cells is None


def test_a_track_on_its_way_gets_the_tables_that_were_requested_when_it_began(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", 0.1 * np.sin(2 * np.pi * 220 * np.arange(2 * SR) / SR)[None], SR)
    analyser = Analyser(tiny_checkpoint(tmp_path), requested=("series",))
    ((_, track),) = analyser.undescribed([("x", tmp_path / "x.wav")])
    analyser.configure(requested=())
    assert isinstance(track, UndescribedTrack)
    assert "series" in track.describe().tables
