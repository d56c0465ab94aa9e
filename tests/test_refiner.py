"""Masks that a network behind the priors refines in the low bins, and how it learns."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from networks import TINY, tiny_checkpoint

from stemfeatures.constants import HOP_LENGTH, N_BINS, STEMS
from stemfeatures.errors import ModelError
from stemfeatures.models import checkpoints, mask_factors
from stemfeatures.models.fusion import fused
from stemfeatures.models.joint import JointConfig, JointNet
from stemfeatures.models.refiner import LEAST_MASK, N_PLANES, N_REFINED_BINS, RefinerNet, seen
from stemfeatures.training import calibration
from stemfeatures.training.calibration import adjusted
from stemfeatures.training.config import TrainConfig
from stemfeatures.training.objectives import losses
from stemfeatures.training.objectives.joint import JointObjective

PRIORS = {"sharpness": 0.7, "harmonic_priors": (2.0, 1.0), "transient_prior": 0.2, "similarity_prior": 0.5}
WIDE = replace(TINY, presence_channels=8, refiner_width=32, **PRIORS)
LOW, HIGH = slice(N_REFINED_BINS), slice(N_REFINED_BINS, None)


@pytest.fixture
def magnitude():
    return torch.rand(2, N_BINS, 37, generator=torch.Generator().manual_seed(2)) + 0.1


def _net(config: JointConfig = WIDE, *, leaves: float = 0.0) -> JointNet:
    """With a refiner that changes masks by some ``leaves``."""
    torch.manual_seed(3)
    net = JointNet(config).eval()
    torch.nn.init.normal_(net.refiner.leave.weight, std=leaves)
    return net


def _without_refiner(net: JointNet) -> JointNet:
    plain = JointNet(replace(net.config, refiner_width=0)).eval()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("refiner.")})
    return plain


@torch.no_grad()
@pytest.mark.parametrize("config", [WIDE, replace(TINY, refiner_width=4)])
def test_a_refiner_that_has_not_learned_changes_nothing(config, magnitude):
    net = _net(config)
    found, before = net(magnitude), _without_refiner(net)(magnitude)
    for name in ("masks", "salience", "voicing", "rhythm"):
        torch.testing.assert_close(getattr(found, name), getattr(before, name), msg=name)


@torch.no_grad()
def test_masks_change_in_the_low_bins_alone_and_sum_to_one(magnitude):
    net = _net(leaves=0.3)
    found, before = net(magnitude), _without_refiner(net)(magnitude)
    assert (found.masks[:, :, LOW] - before.masks[:, :, LOW]).abs().max() > 0.05
    torch.testing.assert_close(found.masks[:, :, HIGH], before.masks[:, :, HIGH])
    torch.testing.assert_close(found.masks.sum(dim=1), torch.ones(2, N_BINS, 37))
    for name in ("salience", "voicing", "rhythm", "presence"):
        assert torch.equal(getattr(found, name), getattr(before, name)), name
    louder = net(100 * magnitude)
    torch.testing.assert_close(louder.masks, found.masks, atol=1e-4, rtol=1e-3)
    vocals = torch.rand(2, N_BINS, 37)
    given = net(magnitude, {"vocals": vocals}).masks
    torch.testing.assert_close(given[:, STEMS.index("vocals")], vocals)
    torch.testing.assert_close(given.sum(dim=1), torch.ones(2, N_BINS, 37))


@torch.no_grad()
def test_calibration_says_how_far_masks_are_refined(magnitude):
    net = _net(leaves=0.3)
    before, whole = (model(magnitude).masks[:, :, LOW] for model in (_without_refiner(net), net))
    half = adjusted(net, refinement=0.5)(magnitude).masks[:, :, LOW]
    expected = (before * whole).sqrt()
    torch.testing.assert_close(half, expected / expected.sum(dim=1, keepdim=True), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(adjusted(net, refinement=0.0)(magnitude).masks[:, :, LOW], before)
    torch.testing.assert_close(net(magnitude).masks[:, :, LOW], whole)  # is left as it was
    with pytest.raises(ValueError, match="refinement cannot be negative"):
        adjusted(net, refinement=-0.5)


@torch.no_grad()
def test_of_a_network_with_a_refiner_the_refinement_is_chosen_last(monkeypatch, tmp_path):
    """Scores are made up: best is 0.5 of what the refiner adds."""
    torch.manual_seed(3)
    net = JointNet(replace(TINY, refiner_width=4)).eval()
    torch.nn.init.normal_(net.refiner.leave.weight, std=1.0)
    weight = net.refiner.leave.weight.clone()

    class Result:
        def __init__(self, metric, value):
            self.rows = {"metric": [metric], "n": [1], "dataset": ["made"], "mean": [value]}

        def summary(self):
            return pd.DataFrame(self.rows)

    def scored(task, songs, estimator, *, limit):
        if task == "f0":
            return Result("overall_accuracy", 0.0)
        share = float((checkpoints.load(estimator.model).refiner.leave.weight / weight).median())
        return Result("sdr_db", -abs(share - 0.5))

    monkeypatch.setattr(calibration, "evaluate", scored)
    one = dict.fromkeys(("vocals_priors", "bass_priors", "transient_priors", "similarity_priors"), (0.0,))
    chosen, found = calibration.calibrate(
        net, tmp_path, sharpness=(1.0,), level_priors=(0.0,), voicing_offsets=(0.0,), refinements=(0.0, 0.5, 1.0),
        refined_bins=64, **one
    )  # fmt: skip
    assert found.refinement == 0.5
    assert found.refined_bins == chosen.config.refined_bins == 64
    assert found.sdr_db["refinement"] == {"0": -0.5, "0.5": 0.0, "1": -0.5}
    torch.testing.assert_close(chosen.refiner.leave.weight, 0.5 * weight)
    learned = {"sharpness": 0.45, "level_prior": 0.2, "harmonic_priors": (2.0, 1.0)}
    learned |= {"transient_prior": 0.3, "similarity_prior": 0.8}
    chosen, found = calibration.calibrate(adjusted(net, **learned), tmp_path, voicing_offsets=(0.0,))
    assert {name: getattr(chosen.config, name) for name in learned} == learned  # what it learned behind stays
    assert {name: len(scores) for name, scores in found.sdr_db.items()} == {
        "sharpness and level prior": 1, "harmonic priors": 1, "transient prior": 1, "similarity prior": 1,
        "refinement": len(calibration.REFINEMENTS), "low prior": 1,
    }  # fmt: skip


@torch.inference_mode()
def test_fewer_bins_are_refined_as_they_were_but_near_the_edge():
    torch.manual_seed(1)
    net = RefinerNet(8, 96).eval()
    torch.nn.init.normal_(net.leave.weight, std=0.1)
    torch.nn.init.normal_(net.place)
    planes = torch.randn(1, N_PLANES, 96, 16)
    few = net.of_lowest(64)
    expected, found = net(planes), few(planes[:, :, :64])
    assert found.shape == (1, 4, 64, 16)
    assert not few.training
    torch.testing.assert_close(found[:, :, :32], expected[:, :, :32])
    assert (found[:, :, 60:] - expected[:, :, 60:64]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="of 64 bins has none of 96"):
        few.of_lowest(96)
    for wrong in (0, 30, -4, N_BINS + 4):
        with pytest.raises(ValueError, match="multiple of 4 bins"):
            RefinerNet(8, wrong)


@torch.no_grad()
def test_bins_that_the_refiner_loses_keep_the_masks_of_before(tmp_path):
    torch.manual_seed(2)
    net = JointNet(replace(TINY, refiner_width=4)).eval()
    torch.nn.init.normal_(net.refiner.leave.weight, std=1.0)
    few = adjusted(net, refined_bins=32)
    assert few.config == replace(net.config, refined_bins=32)
    saved = checkpoints.save(few, tmp_path / "few.safetensors", {})
    magnitude = torch.rand(1, N_BINS, 24)
    found = checkpoints.load(saved)(magnitude).masks
    unrefined = JointNet(replace(net.config, refiner_width=0)).eval()
    unrefined.load_state_dict(net.state_dict(), strict=False)
    before = unrefined(magnitude).masks
    torch.testing.assert_close(found[:, :, 32:], before[:, :, 32:])
    assert (found[:, :, :32] - before[:, :, :32]).abs().max() > 0.1
    with pytest.raises(ValueError, match="without a refiner"):
        adjusted(unrefined, refined_bins=32)


@torch.inference_mode()
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_the_network_for_inference_refines_alike(dtype, near):
    torch.manual_seed(1)
    net = RefinerNet(32)
    torch.nn.init.normal_(net.leave.weight, std=0.1)
    planes = torch.randn(2, N_PLANES, N_REFINED_BINS, 16)
    found = fused(net, dtype=dtype)(planes)
    assert found.dtype == torch.float32
    expected = net(planes)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=near, rtol=near)


def test_what_is_seen():
    magnitude = torch.full((1, N_BINS, 4), 2.0)
    masks, read = torch.full((1, 4, N_BINS, 4), 0.25), torch.zeros(1, 4, N_BINS, 4)
    partials = torch.rand(1, 2, N_REFINED_BINS, 4)
    planes = seen(magnitude, masks, read, partials)
    assert planes.shape == (1, N_PLANES, N_REFINED_BINS, 4)
    values = planes[0, :, 7, 2].tolist()
    assert values[0] == pytest.approx(np.log1p(40) / 3 - 1)
    assert values[1:5] == pytest.approx([np.log(0.25) / 3 + 0.8] * 4)
    assert values[5:9] == pytest.approx([np.log(LEAST_MASK) / 3 + 0.8] * 4)
    torch.testing.assert_close(planes[:, 9:], partials)
    assert float(masks.max()) == 0.25  # is left as it was


def test_partials_are_those_of_the_pitch_and_as_sure():
    salience = torch.full((1, 2, 360, 4), -8.0)
    salience[0, :, 150] = 4.0
    voicing = torch.tensor([[[8.0, 8.0, -8.0, 8.0], [8.0] * 4]])
    presence = torch.full((1, 4, 4), 8.0)
    presence[0, STEMS.index("bass"), 1] = -8.0
    lines = mask_factors.partials(salience, voicing, presence, {"vocals": 200, "bass": 180})
    vocals, bass = lines["vocals"][0], lines["bass"][0]
    assert (vocals.shape, bass.shape) == ((200, 4), (180, 4))
    torch.testing.assert_close(vocals[:180, 0], bass[:, 0])
    assert vocals[:, 0].max() > 0.5
    assert vocals[:, 2].abs().max() < 0.01  # no pitch
    assert bass[:, 1].abs().max() < 0.01  # does not play
    lines = mask_factors.partials(salience, voicing, None, {"vocals": 0, "bass": 200})
    assert list(lines) == ["bass"]
    assert lines["bass"][0, :, 1].max() > 0.5


def test_the_loss_is_the_squared_error_against_that_before():
    """Two stems of known energy and error: half of the error is half of the loss, but for what was nearly right."""
    stems = torch.zeros(2, 4, 16 * HOP_LENGTH)
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(16 * HOP_LENGTH) / 22_050)
    stems[0, 0], stems[0, 2] = tone, 0.5 * tone
    spectra = losses.spectrograms(stems)
    masks = torch.zeros(2, 4, N_REFINED_BINS, 16)
    masks[:, 0] = 1.0
    energy = spectra[1][:, :, LOW].square().sum(dim=(2, 3))
    loss = losses.refinement_loss(masks, masks, spectra)
    # The vocals have half their amplitude too much, a quarter of their energy; all of the bass is missing.
    own, whole = losses.NEARLY
    errors = torch.tensor([0.25 * energy[0, 0], energy[0, 2]])
    unit = errors + own * energy[0, [0, 2]] + whole * energy[0].sum()
    assert float(loss) == pytest.approx(float((errors / unit).sum()) / 2, rel=1e-3)  # the silent one counts as none
    right = torch.zeros_like(masks)
    right[:, 0], right[:, 2] = 2 / 3, 1 / 3
    assert float(losses.refinement_loss(right, masks, spectra)) == pytest.approx(0.0, abs=1e-3)
    halved = 0.5 * (masks + right)
    assert float(losses.refinement_loss(halved, masks, spectra)) == pytest.approx(float(loss) / 4, rel=0.02)


@pytest.fixture
def first(tmp_path):
    """A checkpoint without a refiner, calibrated."""
    net = checkpoints.load(tiny_checkpoint(tmp_path))
    net.config = replace(net.config, **PRIORS)
    return checkpoints.save(net, tmp_path / "first.safetensors", {}).path


def test_it_learns_alone(first, tmp_path):
    """Tones that the masks give to the wrong stems come to the right ones; all else stays as it was."""
    times = torch.arange(64 * HOP_LENGTH) / 22_050
    stems = torch.stack([torch.sin(2 * torch.pi * hz * times) for hz in (330.0, 120.0, 60.0, 700.0)])[None]
    config = TrainConfig(
        model=TINY.to_dict() | {"refiner_width": 8}, n_frames=64, batch_size=1, songs=1.0, warmup=1, steps=60,
        decay=0.1, learning_rate=1e-2, ema=0.5, initial=str(first), learns=("refiner",),
    )  # fmt: skip
    objective = JointObjective(config, "cpu")
    batch = {"stems": stems}
    history = [objective.step(batch)["refinement"] for _ in range(60)]
    assert history[-1] < 0.2 * history[0]
    saved = checkpoints.save(objective.exported.eval(), tmp_path / "refined.safetensors", {})
    before, after = checkpoints.load(first), checkpoints.load(saved)
    assert after.config == replace(before.config, refiner_width=8)  # what was chosen for the masks still holds
    weights = after.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in before.state_dict().items())
    spectra = losses.spectrograms(stems)
    with torch.no_grad():
        found, was = (net(spectra[0]).masks[:, :, LOW] for net in (after, before))
    assert float(losses.refinement_loss(found, was, spectra)) < 0.3 * history[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learns": ("refiner",)}, "refiner_width is 0"),
        ({"model": {"refiner_width": 8}}, "a refiner learns alone"),
        ({"model": {"refiner_width": 8}, "learns": ("separator", "refiner")}, "a refiner learns alone"),
        ({"model": {"refiner_width": 8}, "learns": ("separator",), "initial": "joint-v6"}, "refiner_width = 0"),
        ({"model": {"refiner_width": 8}, "learns": ("refiner",)}, "of an initial checkpoint"),
        ({"model": {"refiner_width": 8, "refined_bins": 30}, "learns": ("refiner",)}, "multiple of 4 bins .* not 30"),
        ({"model": {"refiner_widht": 8}, "learns": ("refiner",)}, "refiner_widht"),
    ],
)
def test_it_does_not_learn_beside_others(settings, said):
    with pytest.raises(ModelError, match=said):
        JointObjective.check(TrainConfig(**settings))


@pytest.mark.parametrize("refined_bins", [N_REFINED_BINS, 64])
def test_a_separator_that_learns_on_leaves_the_refiner_behind(first, refined_bins):
    """It learned from the masks of before: a recipe without one goes on from a network that has one."""
    net = checkpoints.load(first)
    refined = JointNet(replace(net.config, refiner_width=4, refined_bins=refined_bins))
    refined.load_state_dict(net.state_dict(), strict=False)
    path = checkpoints.save(refined.eval(), first.with_name("refined.safetensors"), {}).path
    objective = JointObjective(TrainConfig(model=TINY.to_dict(), initial=str(path), learns=("separator",)), "cpu")
    assert objective.model.refiner is None
    found, expected = objective.model.state_dict(), net.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    other = TINY.to_dict() | {"recurrent": 12}
    with pytest.raises(ModelError, match="not the recipe's"):
        JointObjective(TrainConfig(model=other, initial=str(path), learns=("separator",)), "cpu")
