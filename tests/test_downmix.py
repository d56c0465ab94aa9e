"""Channels to the one signal that is analysed."""

from __future__ import annotations

import numpy as np
import pytest

from stemfeatures.inference.downmix import Downmix

RATE = 8_000
T = np.arange(7 * RATE) / RATE
MUSIC = (0.2 * np.sin(2 * np.pi * 110 * T) + 0.1 * np.sin(2 * np.pi * 1_250 * T)).astype(np.float32)
OTHER = (0.2 * np.sin(2 * np.pi * 170 * T)).astype(np.float32)


def mixed(channels: list[np.ndarray], cuts: list[int] | None = None) -> tuple[np.ndarray, Downmix]:
    downmix = Downmix(RATE)
    parts = [downmix.process(part) for part in np.split(np.stack(channels), cuts or [], axis=1)]
    return np.concatenate([*parts, downmix.flush()], axis=1)[0], downmix


def error(y: np.ndarray, expected: np.ndarray) -> float:
    """Relative to the expected, away from the beginning, where the high pass settles."""
    lead = RATE // 2
    return float(np.sqrt(np.mean((y - expected)[lead:] ** 2) / np.mean(expected[lead:] ** 2)))


# A high pass of 5 Hz turns the phase of 110 Hz by 3.7 degrees.
TURN = 0.065


@pytest.mark.parametrize(
    ("channels", "expected", "inverted"),
    [
        pytest.param([MUSIC], MUSIC, 0.0, id="mono"),
        pytest.param([MUSIC, 0.5 * MUSIC], 0.75 * MUSIC, 0.0, id="in phase"),
        pytest.param([MUSIC, OTHER], (MUSIC + OTHER) / 2, 0.0, id="unlike"),
        pytest.param([MUSIC, -MUSIC], MUSIC, 1.0, id="antiphase"),
        pytest.param([MUSIC, -0.9 * MUSIC], 0.95 * MUSIC, 1.0, id="nearly antiphase"),
        pytest.param([-0.9 * MUSIC, MUSIC], -0.95 * MUSIC, 1.0, id="nearly antiphase, right louder"),
        pytest.param([MUSIC, 0 * MUSIC], MUSIC / 2, 0.0, id="one silent"),
        pytest.param([MUSIC, -1e-5 * MUSIC], MUSIC / 2, 0.0, id="one next to silent"),
        pytest.param([MUSIC, MUSIC + 0.3], MUSIC, 0.0, id="offset of one"),
        pytest.param([MUSIC + 0.3, -MUSIC - 0.3], MUSIC, 1.0, id="antiphase with offset"),
        pytest.param(
            [MUSIC, MUSIC, MUSIC, 0 * MUSIC, OTHER, -OTHER], (MUSIC + 2 / 3 * OTHER) / 2, 1.0, id="5.1, sides antiphase"
        ),
        pytest.param([MUSIC, -MUSIC, MUSIC, 0 * MUSIC, 0 * MUSIC, 0 * MUSIC], MUSIC / 2, 1.0, id="5.1, right inverted"),
    ],
)
def test_channels_do_not_cancel(channels: list[np.ndarray], expected: np.ndarray, inverted: float) -> None:
    y, downmix = mixed(channels)
    assert len(y) == len(MUSIC)
    # The sign of the whole is free.
    assert min(error(y, expected), error(-y, expected)) < TURN
    assert downmix.n_inverted / downmix.n_samples == inverted


def test_offsets_are_removed_and_told() -> None:
    y, downmix = mixed([MUSIC, MUSIC + 0.3])
    assert downmix.offset == pytest.approx(0.3, abs=1e-4)
    assert abs(y[RATE // 2 :].mean()) < 1e-4
    assert np.abs(y).max() < 0.31
    assert mixed([MUSIC])[1].offset < 1e-4


def test_a_passage_out_of_phase_is_kept_and_what_follows_is_not_inverted() -> None:
    right = np.where(T < 4, -MUSIC, MUSIC)
    y, downmix = mixed([MUSIC, right])
    assert error(y, MUSIC) < 2 * TURN
    assert downmix.n_inverted == 4 * RATE


def test_the_result_does_not_depend_on_the_blocks() -> None:
    channels = [MUSIC + 0.1, np.where(T < 4, -MUSIC, MUSIC)]
    whole, one = mixed(channels)
    cut, other = mixed(channels, cuts=[1, 2, 700, 16_000, 16_001, 40_000])
    np.testing.assert_array_equal(whole, cut)
    assert (one.n_inverted, one.offset) == (other.n_inverted, pytest.approx(other.offset, abs=1e-9))


def test_one_sample_and_none() -> None:
    y, downmix = mixed([np.full(1, 0.5, np.float32)])
    assert y.tolist() == pytest.approx([0.0], abs=1e-9)
    assert downmix.offset == 0.5
    empty = Downmix(RATE)
    assert empty.flush().shape == (1, 0)
    assert empty.offset == 0.0


def test_stems_are_mixed_as_their_mixture() -> None:
    mixture, stem = np.stack([MUSIC + OTHER, -MUSIC - OTHER]), np.stack([MUSIC, -MUSIC])
    downmix = Downmix(RATE, 3)
    parts = [
        downmix.process(mixture[:, a:b], [stem[:, a:b], OTHER[None, a:b]]) for a, b in ((0, 30_000), (30_000, len(T)))
    ]
    y = np.concatenate([*parts, downmix.flush()], axis=1)
    assert y.shape == (3, len(T))
    assert error(y[1], MUSIC) < TURN
    assert error(y[2], OTHER) < TURN  # of one channel: it has no phase to turn
    np.testing.assert_allclose(y[0], y[1] + y[2], atol=1e-5)
