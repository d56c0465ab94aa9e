"""What changes whole examples before they are learned from: a lossy coder, polarity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import TINY

from stemfeatures.constants import ANALYSIS_SAMPLE_RATE as SR
from stemfeatures.constants import HOP_LENGTH, STEMS
from stemfeatures.training.config import TrainConfig
from stemfeatures.training.objectives import augmentation, losses
from stemfeatures.training.objectives.base import step_generator
from stemfeatures.training.objectives.joint import JointObjective


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def tones(*levels_db: tuple[float, float]) -> torch.Tensor:
    t = np.arange(2 * SR) / SR
    return torch.tensor(sum(10 ** (db / 20) * np.sin(2 * np.pi * hertz * t) for hertz, db in levels_db)).float()


def level_at(y: torch.Tensor, hertz: float) -> float:
    """Of a sine of that frequency, in dB of full scale."""
    middle = y[SR // 2 : SR // 2 + SR]
    turning = torch.exp(-2j * np.pi * hertz * torch.arange(SR) / SR)
    return float(20 * torch.log10(2 * (middle * turning).mean().abs() + 1e-6))


def test_polarity_leaves_every_spectrum_as_it_is():
    stems = noise(200, 4, 64)
    some = augmentation.inverted(stems, 0.25, torch.Generator().manual_seed(1))
    turned = (some == -stems).all(dim=-1)
    assert torch.equal(some[~turned], stems[~turned])
    assert float(turned.float().mean()) == pytest.approx(0.25, abs=0.05)
    assert torch.equal(some, augmentation.inverted(stems, 0.25, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("size", augmentation.FRAMES)
def test_a_coder_that_keeps_all_gives_back_what_it_got(size):
    y = noise(2, 5 * size + 77)
    coefficients = augmentation._mdct(y, size)
    torch.testing.assert_close(augmentation._inverse(coefficients, y.shape[-1]), y, atol=1e-5, rtol=0)
    # orthogonal: energy is the same on either side
    assert float(coefficients.square().sum()) == pytest.approx(float(y.square().sum()), rel=1e-4)


@pytest.mark.parametrize("size", augmentation.FRAMES)
@pytest.mark.parametrize("margin_db", [18.0, 25.0])
def test_noise_of_the_coder_lies_below_the_sound_by_its_margin(size, margin_db):
    """In white noise each band masks itself; above 1 kHz the margin shrinks."""
    stems = noise(4, 2 * SR)
    out = augmentation.code(stems, size, margin_db)
    wrong = torch.fft.rfft((out - stems).sum(dim=0)).abs().square()
    right = torch.fft.rfft(stems.sum(dim=0)).abs().square()
    hertz = torch.arange(len(right)) * (SR / 2 / (len(right) - 1))

    def ratio_db(low: float, high: float) -> float:
        inside = (hertz >= low) & (hertz < high)
        return float(10 * torch.log10(right[inside].sum() / wrong[inside].sum()))

    assert ratio_db(100, 900) == pytest.approx(margin_db, abs=1.0)
    assert ratio_db(4000, 8000) < margin_db - 8


def test_stems_sum_to_the_coded_mixture():
    stems = noise(4, SR) * torch.tensor([1.0, 0.3, 0.1, 0.01])[:, None]
    out = augmentation.code(stems, 512, 15.0)
    torch.testing.assert_close(
        out.sum(dim=0), augmentation.code(stems.sum(dim=0)[None], 512, 15.0)[0], atol=2e-4, rtol=0
    )
    assert float((out.sum(dim=0) - stems.sum(dim=0)).abs().max()) > 0.1


def test_what_is_masked_is_lost_from_its_stem():
    """A quiet tone a Bark above a loud one goes, one seven Bark below it stays, each in a stem of its own."""
    loud, near, far = tones((1000, 0)), tones((1170, -45)), tones((250, -45))
    out = augmentation.code(torch.stack([loud, near, far, torch.zeros_like(loud)]), 512, 25.0)
    assert level_at(out[0], 1000) == pytest.approx(0, abs=0.3)
    assert level_at(out[1], 1170) < -60
    assert level_at(out[2], 250) == pytest.approx(-45, abs=1.5)
    assert not out[3].any()


def test_some_examples_are_coded_and_the_others_left():
    stems = noise(24, 4, 4096)
    out = augmentation.coded(stems, 0.5, torch.Generator().manual_seed(3))
    changed = (out != stems).any(dim=-1).any(dim=-1)
    assert 6 < int(changed.sum()) < 18
    assert torch.equal(out[~changed], stems[~changed])
    assert torch.equal(out, augmentation.coded(stems, 0.5, torch.Generator().manual_seed(3)))


def test_the_joint_objective_learns_from_what_was_changed():
    """Its losses are those of stems that were turned and coded beforehand, with the random streams of the step."""
    settings = {"model": TINY.to_dict(), "learns": ("separator",), "songs": 1.0, "seed": 5}
    stems = 0.1 * noise(2, 4, 32 * HOP_LENGTH)
    changed = augmentation.inverted(stems, 0.5, step_generator(5, 0, 1))
    changed = augmentation.coded(changed, 1.0, step_generator(5, 0, 2))

    def loss(stems: torch.Tensor, **shares: float) -> float:
        terms = JointObjective(TrainConfig(**settings, **shares), "cpu")._losses({"stems": stems})
        return float(terms["separation"].detach())

    assert loss(stems, coded=1.0, inverted=0.5) == pytest.approx(loss(changed), rel=1e-5)
    assert loss(stems, coded=1.0, inverted=0.5, offset=1.0) != pytest.approx(loss(changed), rel=1e-4)
    assert loss(changed) != pytest.approx(loss(stems), rel=1e-4)
    deeper = augmentation.low_end(stems, 1.0, step_generator(5, 0, 5))
    assert loss(stems, low_end=1.0) == pytest.approx(loss(deeper), rel=1e-5)
    assert loss(stems, low_end=1.0) != pytest.approx(loss(stems), rel=1e-4)
    fallen = augmentation.quiet(stems, 1.0, step_generator(5, 0, 4))
    assert loss(stems, quiet=1.0) == pytest.approx(loss(fallen), rel=1e-5)


def test_one_stem_of_some_examples_falls_far_below_the_others():
    stems = noise(200, 4, 64)
    out = augmentation.quiet(stems, 0.4, torch.Generator().manual_seed(6))
    fall_db = -20 * torch.log10(out.norm(dim=-1) / stems.norm(dim=-1))
    fell = fall_db > 0.01
    assert int(fell.sum(dim=1).max()) == 1
    assert torch.equal(out[~fell], stems[~fell])
    assert float(fell.any(dim=1).float().mean()) == pytest.approx(0.4, abs=0.08)
    assert (fell.sum(dim=0) > 8).all()
    least_db, most_db = augmentation.FALL_DB
    assert least_db <= float(fall_db[fell].min()) < least_db + 2
    assert most_db - 2 < float(fall_db[fell].max()) <= most_db + 0.01
    assert torch.equal(out, augmentation.quiet(stems, 0.4, torch.Generator().manual_seed(6)))


def test_basses_and_drums_of_some_examples_gain_low_end_and_keep_their_energy():
    stems = noise(60, 4, 8192)
    stems[0, 2] = 0  # a bass that rests stays silent
    out = augmentation.low_end(stems, 0.5, torch.Generator().manual_seed(7))
    torch.testing.assert_close(out.norm(dim=-1), stems.norm(dim=-1), rtol=1e-4, atol=1e-6)
    assert torch.equal(out[:, [0, 3]], stems[:, [0, 3]])
    changed = (out != stems).any(dim=-1).any(dim=-1)
    assert 20 < int(changed.sum()) < 40
    assert torch.equal(out[~changed], stems[~changed])
    below = round(60 / (SR / 2) * 4097)

    def low(y: torch.Tensor) -> torch.Tensor:
        power = torch.fft.rfft(y).abs().square()
        return 10 * torch.log10(power[..., :below].sum(dim=-1) / power[..., below * 10 :].sum(dim=-1))

    for stem, most_db in augmentation.LOW_END_DB.items():
        k = STEMS.index(stem)
        rise_db = (low(out) - low(stems))[changed, k]
        rise_db = rise_db[torch.isfinite(rise_db)]
        assert 0 <= float(rise_db.min()) < 0.3 * most_db < 0.7 * most_db < float(rise_db.max()) <= most_db
    assert torch.equal(out, augmentation.low_end(stems, 0.5, torch.Generator().manual_seed(7)))
    assert torch.equal(stems, augmentation.low_end(stems, 0.0, torch.Generator().manual_seed(7)))


def test_an_offset_is_in_the_mixture_and_in_no_stem():
    stems = 0.1 * noise(3, 4, 16 * HOP_LENGTH)
    offset = torch.tensor([0.0, 0.05, -0.1])
    mixture, magnitude, aligned = losses.spectrograms(stems, offset)
    as_they_are = losses.spectrograms(stems)
    assert torch.equal(mixture[0], as_they_are[0][0])
    assert torch.equal(magnitude, as_they_are[1])
    # a fifth stem that is the offset alone, in the place of the fourth
    split = torch.stack([stems[:, 0] + stems[:, 1], stems[:, 2], stems[:, 3], torch.zeros_like(stems[:, 0])], dim=1)
    split[:, 3] += offset[:, None]
    expected = losses.spectrograms(split)
    torch.testing.assert_close(mixture, expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(aligned[:, 2:], expected[2][:, 1:3], atol=1e-3, rtol=1e-3)
    assert float(mixture[2, 0].mean()) > 10 * float(mixture[0, 0].mean())


def test_some_mixtures_have_an_offset_of_either_sign():
    found = augmentation.offsets(400, 0.25, torch.Generator().manual_seed(2))
    size = found[found != 0].abs()
    assert len(size) / 400 == pytest.approx(0.25, abs=0.06)
    assert augmentation.OFFSETS[0] <= float(size.min()) < 0.002
    assert 0.05 < float(size.max()) <= augmentation.OFFSETS[1]
    assert 0.3 < float((found > 0).sum() / len(size)) < 0.7


@pytest.mark.parametrize("name", ["coded", "quiet", "low_end", "inverted", "offset"])
def test_shares_are_shares(name):
    with pytest.raises(ValueError, match=f"{name} is a share"):
        TrainConfig(**{name: 1.5})
