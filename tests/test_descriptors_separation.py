"""What masks promise, where the answer follows from the mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from frames_helper import SR, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.separation import CONSTANT_DB, SLOPE, expected_sdr_db
from stemfeatures.frames.builder import FrameBuilder
from stemfeatures.inference.segments import Frames


@pytest.mark.parametrize(("mask", "sdr"), [(0.5, 3.01), (0.9, 10.0), (0.1, 0.458)])
def test_an_even_mask(mask: float, sdr: float) -> None:
    power = np.abs(np.random.default_rng(0).standard_normal(50))
    # Of m P expected, m (1 - m) P is open: 1 / (1 - m).
    assert expected_sdr_db(mask**2 * power, mask * power) == pytest.approx(sdr, abs=0.01)
    assert expected_sdr_db(np.zeros(5), np.zeros(5)) is None


def test_sure_masks_promise_more() -> None:
    frames = track_frames({"vocals": 0.1 * np.sin(2 * np.pi * 440 * np.arange(SR) / SR)})
    values = describe(frames).stems
    assert values["vocals"]["separation_status"] == "unknown"
    assert values["mixture"]["separation_status"] == "not_applicable"
    assert values["bass"]["separation_status"] == "absent"
    voice = frames.stems["vocals"]
    promised = []
    for mask in (0.6, 0.8, 0.95):
        voice.mask_energy = voice.energy / mask
        row = describe(frames).stems["vocals"]
        assert row["separation_status"] == "ok"
        assert row["separation_ambiguity"] == pytest.approx(1 - mask, rel=1e-4)
        promised.append(row["separation_sdr_db"])
    np.testing.assert_allclose(promised, SLOPE * -10 * np.log10([0.4, 0.2, 0.05]) + CONSTANT_DB, rtol=1e-4)


def test_frames_keep_what_the_mask_covers() -> None:
    """Under a mask of 0.25 a sixteenth of the mixture's energy is kept, and a quarter covered."""
    builder = FrameBuilder()
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.randn(1025, 6, generator=generator) + 1j * torch.randn(1025, 6, generator=generator)
    masks = torch.tensor([0.25, 0.25, 0.4, 0.1])[:, None, None].expand(4, 1024, 6)
    builder.add(Frames(0, spectrum, masks, torch.zeros(2, 360, 6), torch.zeros(2, 6), torch.zeros(3, 6)))
    frames = builder.finish(5 * 512)
    mixture = frames.stems["mixture"].energy
    np.testing.assert_allclose(frames.stems["vocals"].energy, mixture / 16, rtol=1e-5)
    np.testing.assert_allclose(frames.stems["vocals"].mask_energy, mixture / 4, rtol=1e-5)
    np.testing.assert_allclose(frames.stems["bass"].mask_energy, 0.4 * mixture, rtol=1e-5)
