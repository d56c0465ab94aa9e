"""Series of signals whose level, activity and pitch classes are known step by step."""

from __future__ import annotations

import numpy as np
import pytest
from frames_helper import SR, track_frames

from stemfeatures.constants import STEM_ROWS
from stemfeatures.descriptors import describe


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
