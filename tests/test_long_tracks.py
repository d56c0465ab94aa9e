"""Long tracks are described block by block: the same values, and no formula that takes memory for all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stemfeatures.constants import N_CHROMA, N_MELS
from stemfeatures.descriptors import f0, values
from stemfeatures.descriptors.drums import stroke_features
from stemfeatures.descriptors.f0 import decode_f0, vibrato
from stemfeatures.descriptors.onsets import cut_offs, ends_before_another, harmony_novelty, onset_strength, own_levels
from stemfeatures.descriptors.pitch_classes import resolved_frames
from stemfeatures.descriptors.timbre import mfcc, spectral_flux
from stemfeatures.frames import PitchFrames

N = 1500


def _power(n_bands: int, n_frames: int, seed: int) -> np.ndarray:
    """Bands that swell and fade, with silence at the beginning."""
    rng = np.random.default_rng(seed)
    swell = np.sin(np.linspace(0, 40, n_frames) + np.linspace(0, 6, n_bands)[:, None]) ** 8
    power = swell * rng.gamma(1.0, size=(n_bands, n_frames)) * 10 ** rng.uniform(-4, 0, size=(n_bands, 1))
    power[:, : n_frames // 30] = 0.0
    return power.astype(np.float32)


MEL, CHROMA = _power(N_MELS, N, 0), _power(N_CHROMA, N, 1)
ONSET = np.random.default_rng(2).uniform(size=N).astype(np.float32)
#: Sounds that stop dead behind these frames.
LAST = np.arange(59, N - 10, 100)
CUT = np.where(np.arange(N) % 100 < 60, MEL, 0.0).astype(np.float32)


def _pitch(n_frames: int = N) -> PitchFrames:
    rng = np.random.default_rng(3)
    hz = 220 * 2 ** (np.cumsum(rng.normal(scale=0.01, size=(n_frames, 1)), axis=0) + rng.integers(0, 2, (n_frames, 5)))
    hz *= 1 + 0.01 * np.sin(2 * np.pi * 6 * np.arange(n_frames) / 43)[:, None]
    salience = np.sort(rng.uniform(size=(n_frames, 5)), axis=1)[:, ::-1]
    return PitchFrames(hz.astype(np.float32), salience.astype(np.float32), np.full(n_frames, 0.8, np.float32))


def _contour() -> np.ndarray:
    contour, _ = decode_f0(_pitch(), np.ones(N, dtype=bool), np.arange(N) / 43)
    return contour.f0_hz


def _vibrato() -> np.ndarray:
    return np.array(vibrato(1200 * np.log2(_pitch().candidates_hz[:, 0].astype(np.float64) / 440)), dtype=np.float64)


COMPUTE: dict[str, Callable[[], Any]] = {
    "onset_strength": lambda: onset_strength(MEL, CHROMA),
    "cut_offs": lambda: cut_offs(CUT, own_levels(CUT), onset_strength(CUT, CHROMA), LAST),
    "ends_before_another": lambda: ends_before_another(MEL, np.arange(3, N, 5)),
    "harmony_novelty": lambda: harmony_novelty(CHROMA),
    "stroke_features": lambda: stroke_features(MEL, ONSET),
    "mfcc": lambda: mfcc(MEL),
    "spectral_flux": lambda: spectral_flux(MEL),
    "resolved_frames": lambda: resolved_frames(MEL),
    "decode_f0": _contour,
    "vibrato": _vibrato,
}


@pytest.mark.parametrize("name", COMPUTE)
def test_blocks_change_no_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = COMPUTE[name]
    whole = compute()
    assert np.any(whole)
    monkeypatch.setattr(values, "BLOCK_FRAMES", 97)
    monkeypatch.setattr(f0, "VIBRATO_BLOCK", 7)
    np.testing.assert_allclose(compute(), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 96, 97, 98, 1000])
def test_blocks_are_nearly_equal(n: int) -> None:
    found = list(values.blocks(n, 97))
    assert [i for start, end in found for i in range(start, end)] == list(range(n))
    lengths = [end - start for start, end in found]
    assert not lengths or max(lengths) <= min(97, min(lengths) + 1)
