"""Sharpness of masks and the voicing offset, written into the checkpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from networks import TINY

from stemfeatures.constants import STEMS
from stemfeatures.models import checkpoints
from stemfeatures.models.joint import CALIBRATED
from stemfeatures.models.level_prior import weighed
from stemfeatures.training import calibration, notes, phones, presence
from stemfeatures.training.calibration import adjusted, calibrate
from stemfeatures.training.config import TrainConfig
from stemfeatures.training.data import song_store
from stemfeatures.training.objectives.joint import JointObjective
from stemfeatures.training.objectives.target_networks import build_network


@pytest.fixture(scope="module")
def model(model):
    """The network of the fixture that all tests share."""
    return checkpoints.load(model)


@torch.no_grad()
def test_the_numbers_are_in_the_network_and_the_model_stays(model):
    magnitude = torch.rand(1, 1024, 32, generator=torch.Generator().manual_seed(0))
    before = model(magnitude)
    softer = adjusted(model, sharpness=0.5)(magnitude)
    for name in ("salience", "voicing", "rhythm"):
        assert torch.equal(getattr(softer, name), getattr(before, name))
    logits = before.masks.log()
    torch.testing.assert_close(softer.masks, torch.softmax(0.5 * logits, dim=1), atol=1e-5, rtol=1e-4)
    leaning = adjusted(model, sharpness=0.5, level_prior=0.4)(magnitude)
    torch.testing.assert_close(leaning.masks, weighed(softer.masks.clone(), magnitude, 0.4), atol=1e-5, rtol=1e-4)
    assert torch.equal(leaning.salience, before.salience)
    shifted = adjusted(model, voicing_offset=-1.0)(magnitude)
    torch.testing.assert_close(shifted.voicing[:, 0], before.voicing[:, 0] - 1)
    torch.testing.assert_close(shifted.voicing[:, 1], before.voicing[:, 1])
    torch.testing.assert_close(model(magnitude).masks, before.masks)
    with pytest.raises(ValueError, match="positive"):
        adjusted(model, sharpness=0.0)
    for negative in (
        {"level_prior": -0.1},
        {"similarity_prior": -0.1},
        {"low_prior": -0.1},
        {"harmonic_priors": (0.0, -0.1)},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(negative))} cannot be negative, but is -0.1"):
            adjusted(model, **negative)


def test_the_best_candidates_are_chosen_one_after_the_other(model, monkeypatch, tmp_path):
    """Scores are made up: SDR is best at the lowest sharpness and in the middle, and so is accuracy."""
    import pandas as pd

    bias = model.pitch[0].voicing[-1].bias

    class Result:
        def __init__(self, metric, value):
            self.metric, self.value = metric, value

        def summary(self):
            return pd.DataFrame({"metric": [self.metric], "n": [1], "dataset": ["made"], "mean": [self.value]})

    def scored(task, songs, estimator, *, limit):
        net = checkpoints.load(estimator.model)
        offset = float((net.pitch[0].voicing[-1].bias - bias).detach().mean())
        if task == "separation":  # of the network as it will be given out, whose masks lean by its voicing
            assert offset == pytest.approx(-0.4)
            config, harmonic = net.config, zip(net.config.harmonic_priors, (2.0, 1.0))
            apart = abs(config.level_prior - 0.2) + abs(config.transient_prior - 0.1)
            apart += abs(config.similarity_prior - 0.4) + abs(config.low_prior - 0.7)
            return Result("sdr_db", -config.sharpness - apart - sum(abs(a - b) for a, b in harmonic))
        return Result("overall_accuracy", -abs(offset + 0.4))

    monkeypatch.setattr(calibration, "evaluate", scored)
    told = []
    chosen, found = calibrate(
        adjusted(model, transient_prior=0.3, similarity_prior=0.2, low_prior=0.2), tmp_path,
        sharpness=(1.0, 0.5), level_priors=(0.0, 0.2, 0.6),
        vocals_priors=(0.0, 1.0, 2.0), bass_priors=(0.0, 1.0, 2.0), transient_priors=(0.0, 0.1),
        similarity_priors=(0.0, 0.4, 0.8), low_priors=(0.0, 0.7), voicing_offsets=(0.0, -0.4, -0.8),
        on_score=lambda *x: told.append(x),
    )  # fmt: skip
    assert (found.sharpness, found.level_prior, found.voicing_offset) == (0.5, 0.2, -0.4)
    assert (found.harmonic_priors, found.transient_prior, found.similarity_prior) == ((2.0, 1.0), 0.1, 0.4)
    assert found.low_prior == 0.7
    assert len(told) == 6 + 9 + 2 + 3 + 2 + 3
    assert found.sdr_db["sharpness and level prior"]["1 0.6"] == pytest.approx(-5.6)
    assert found.sdr_db["harmonic priors"]["0 1"] == pytest.approx(-3.7)
    assert found.sdr_db["transient prior"] == {"0": -1.7, "0.1": -1.6}
    assert found.sdr_db["similarity prior"] == {"0": -1.6, "0.4": -1.2, "0.8": -1.6}
    assert found.sdr_db["low prior"] == {"0": -1.2, "0.7": -0.5}
    assert [len(scores) for scores in found.sdr_db.values()] == [6, 9, 2, 3, 2]
    for name in CALIBRATED:
        value = getattr(found, name)
        assert getattr(chosen.config, name) == value, name
    torch.testing.assert_close(chosen.pitch[0].voicing[-1].bias, bias - 0.4)


@torch.no_grad()
def test_training_goes_on_from_a_calibrated_network(model, tmp_path):
    """The joint objective takes its weights, one that tells a target from the rest learns the masks as given out."""
    softer = adjusted(model, sharpness=0.5, level_prior=0.3, harmonic_priors=(2.0, 1.0), transient_prior=0.3)
    softer = adjusted(softer, similarity_prior=0.6)
    path = str(checkpoints.save(softer, tmp_path / "softer.safetensors", {}).path)
    begun = JointObjective(TrainConfig(model=TINY.to_dict(), initial=path), "cpu").exported
    assert begun.config == TINY
    assert all(torch.equal(a, b) for a, b in zip(begun.parameters(), model.parameters(), strict=True))
    target = build_network(TrainConfig(objective="supervised", network="joint", target="drums", initial=path), "cpu")
    magnitude = torch.rand(1, 1024, 32, generator=torch.Generator().manual_seed(0))
    mask = softer(magnitude).masks[0, STEMS.index("drums")]
    torch.testing.assert_close(target.separate(magnitude)[0, 0], torch.log1p(mask * magnitude[0]), atol=1e-5, rtol=1e-4)


def test_a_calibrated_checkpoint_keeps_what_is_not_given_anew(model, tmp_path, capsys, monkeypatch):
    own = adjusted(model, sharpness=0.6, level_prior=0.2, harmonic_priors=(2.0, 1.0), similarity_prior=0.4)
    path = checkpoints.save(own, tmp_path / "net.safetensors", {"training": {"calibration": {"sharpness": 0.6}}}).path

    class Result:
        def __init__(self, value, metric):
            self.value, self.metric = value, metric

        def summary(self):
            import pandas as pd

            return pd.DataFrame({"metric": [self.metric], "n": [1], "dataset": ["made"], "mean": [self.value]})

    def scored(task, songs, estimator, *, limit):  # the higher the better
        low = checkpoints.load(estimator.model).config.low_prior
        return Result(low, "sdr_db") if task == "separation" else Result(0.5, "overall_accuracy")

    monkeypatch.setattr(calibration, "evaluate", scored)
    uncalibrated = path.with_suffix(".uncalibrated.safetensors")
    uncalibrated.write_bytes(b"of the first time")
    before = path.read_bytes()
    calibration.main([str(path), str(tmp_path), "--again", "--low-priors", "0", "0.5", "0.9"])
    assert uncalibrated.read_bytes() == b"of the first time"
    assert path.with_suffix(".before.safetensors").read_bytes() == before
    assert "low prior 0.9, voicing offset 0: " in capsys.readouterr().out
    found = checkpoints.load(path)
    assert found.config == replace(own.config, low_prior=0.9)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), own.parameters(), strict=True))
    card = checkpoints.resolve(path).card["training"]["calibration"]
    assert (card["low_prior"], card["sharpness"], card["before"]) == (0.9, 0.6, {"sharpness": 0.6})


@pytest.mark.parametrize("through", [True, False])
def test_what_was_calibrated_is_not_once_more_but_what_has_it_from_another_is(
    through, model, tmp_path, capsys, monkeypatch
):
    calibration_card = {"sharpness": 0.6} | ({"through": "before"} if through else {})
    path = checkpoints.save(model, tmp_path / "net.safetensors", {"training": {"calibration": calibration_card}}).path
    chosen = (
        adjusted(model, sharpness=0.5, level_prior=0.2),
        calibration.Calibration(
            0.5, 0.2, (1.0, 2.0), 0.1, 0.4, 0.9, 0.7, 128, -0.3, {"transient prior": {"0.1": 4.0}}, {}
        ),
    )
    given = {}
    monkeypatch.setattr(calibration, "calibrate", lambda *_, **options: given.update(options) or chosen)
    words = [str(path), str(tmp_path), "--sharpness", "0.6", "0.5", "--level-priors", "0.2"]
    if not through:
        with pytest.raises(SystemExit, match="2"):
            calibration.main(words)
        assert "is calibrated already" in capsys.readouterr().err
        return
    calibration.main(words)
    told = "sharpness 0.5, level prior 0.2, harmonic priors 1 and 2, transient prior 0.1, similarity prior 0.4, "
    told += "refinement 0.7 of 128 bins, low prior 0.9, voicing offset -0.3: "
    assert told in capsys.readouterr().out
    assert (given["sharpness"], given["level_priors"]) == ([0.6, 0.5], [0.2])
    assert checkpoints.load(path).config.level_prior == 0.2
    card = checkpoints.resolve(path).card["training"]["calibration"]
    assert (card["chosen_on"], card["sharpness"], card["level_prior"]) == (tmp_path.name, 0.5, 0.2)
    assert card["before"] == {"sharpness": 0.6, "through": "before"}
    assert path.with_suffix(".uncalibrated.safetensors").is_file()


def test_a_checkpoint_of_the_package_is_not_replaced(tmp_path, capsys):
    shipped = checkpoints.resolve("joint-v0").path
    for given, said in (
        ("joint-v0", "is of the package, and would be replaced"),
        ("joint-v9", "unknown model 'joint-v9'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            calibration.main([given, str(tmp_path)])
        assert said in capsys.readouterr().err
    assert not shipped.with_suffix(".uncalibrated.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--refined-bins", "30"], "a network without a refiner refines no 30 bins"),
        (["--sharpness", "0.5", "0"], "sharpness must be positive, not 0"),
        (["--bass-priors", "0.5", "-1"], "harmonic_priors cannot be negative, but is -1"),
        (["--refinements", "-0.5"], "refinement cannot be negative, but is -0.5"),
    ],
)
def test_values_that_cannot_be_are_told_before_any_is_tried(words, said, model, tmp_path, capsys, monkeypatch):
    path = checkpoints.save(model, tmp_path / "net.safetensors", {}).path
    monkeypatch.setattr(calibration, "evaluate", lambda *_, **__: pytest.fail("is tried"))
    with pytest.raises(SystemExit, match="2"):
        calibration.main([str(path), str(tmp_path), *words])
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not path.with_suffix(".uncalibrated.safetensors").exists()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (song_store, ["STORE", "nowhere"]),
        (presence, ["--songs", "nowhere", "--unseen", "nowhere"]),
        (notes, ["--songs", "nowhere", "--unseen", "nowhere", "--held-out", "nowhere", "-o", "OUT"]),
        (phones, ["--songs", "nowhere", "-o", "OUT"]),
        (phones, ["--bank", "nowhere", "-o", "OUT"]),
    ],
)
def test_what_is_not_there_is_one_line(module, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        module.main(words)
    assert "nowhere" in capsys.readouterr().err.splitlines()[-1]
