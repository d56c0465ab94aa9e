"""The level prior: masks lean towards the stems that take most of a band, and stay masks."""

import pytest
import torch

from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, N_BINS, N_FFT
from stemfeatures.models.level_prior import BAND_ENDS_HZ, FLOOR, _bands, weighed


@pytest.fixture
def masks():
    return torch.softmax(torch.randn(2, 4, N_BINS, 12, generator=torch.Generator().manual_seed(1)), dim=1)


@pytest.fixture
def magnitude():
    return torch.rand(2, N_BINS, 12, generator=torch.Generator().manual_seed(2))


def test_weights_are_powers_of_the_shares_of_energy_in_the_band_of_a_bin(masks, magnitude):
    found = weighed(masks.clone(), magnitude, 0.4)
    hertz = torch.arange(N_BINS) * ANALYSIS_SAMPLE_RATE / N_FFT
    first = (hertz >= 100) & (hertz < 150)
    energy = (masks * magnitude[:, None] ** 2)[:, :, first].sum(dim=(2, 3))
    weight = (energy / energy.sum(dim=1, keepdim=True) + FLOOR) ** 0.4
    expected = masks[:, :, first] * weight[:, :, None, None]
    torch.testing.assert_close(found[:, :, first], expected / expected.sum(dim=1, keepdim=True))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, N_BINS, 12))
    assert {100, 150} <= set(BAND_ENDS_HZ)


def test_level_and_silence_around_change_nothing_and_examples_are_apart(masks, magnitude):
    found = weighed(masks.clone(), magnitude, 0.4)
    torch.testing.assert_close(weighed(masks.clone(), 1e-3 * magnitude, 0.4), found)
    torch.testing.assert_close(weighed(masks[1:].clone(), magnitude[1:], 0.4), found[1:])
    pad = torch.nn.functional.pad
    longer = weighed(pad(masks, (0, 5), value=0.25), pad(magnitude, (0, 5)), 0.4)
    torch.testing.assert_close(longer[..., :12], found)


def test_silence_and_an_exponent_of_zero_leave_masks_as_they_are(masks, magnitude):
    torch.testing.assert_close(weighed(masks.clone(), torch.zeros_like(magnitude), 0.4), masks)
    torch.testing.assert_close(weighed(masks.clone(), magnitude, 0.0), masks)


def test_gradients_flow_and_the_masks_given_stay(masks, magnitude):
    _bands.cache_clear()
    with torch.inference_mode():  # leaves nothing that gradients cannot go through
        weighed(masks.clone(), magnitude, 0.4)
    leaf = masks.clone().requires_grad_()
    found = weighed(leaf, magnitude, 0.4)
    found[:, 0].sum().backward()
    assert torch.equal(leaf.detach(), masks)
    assert leaf.grad.abs().max() > 0
    with torch.no_grad():
        torch.testing.assert_close(weighed(masks.clone(), magnitude, 0.4), found.detach())
