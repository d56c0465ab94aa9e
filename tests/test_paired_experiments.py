"""Pairs of digits and labelled images: scores, data, tables, going on; and a tiny run of each."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from experiments.gans import paired_digits, paired_images
from experiments.gans.digit_pairs import dependency_ratio, frechet_distance, load_digits, score_pairs, train_classifier
from experiments.gans.shape_images import draw_images, score_masks
from experiments.gans.stacked import StackedMlp

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def classifier(digits):
    return train_classifier(digits[0], steps=250)


def test_pairs_depend_as_said(digits):
    learned, held = digits
    assert len(learned.images) == 1200
    assert len(held.images) == 597
    assert not {row.numpy().tobytes() for row in learned.images} & {row.numpy().tobytes() for row in held.images}
    for dependence in (0.1, 0.9):
        _, labels = learned.pairs(20_000, dependence, seed=3)
        table = np.zeros((10, 10))
        np.add.at(table, tuple(labels.T.numpy()), 1 / len(labels))
        assert np.abs(table - learned.dependency(dependence)).max() < 0.01
        expected = dependence + (1 - dependence) / 10
        assert float((labels[:, 0] == labels[:, 1]).float().mean()) == pytest.approx(expected, abs=0.01)
    assert torch.equal(learned.pairs(5, 0.5, 1)[0], learned.pairs(5, 0.5, 1)[0])


def test_frechet_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((50_000, 3))
    b = 2 * rng.standard_normal((50_000, 3)) + [1.0, 0.0, 2.0]
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(5 + 3 * (2 - 1) ** 2, rel=0.03)


def test_scores_know_real_pairs_from_others(digits, classifier):
    learned, held = digits
    assert float((classifier(held.images).argmax(dim=1) == held.labels).float().mean()) > 0.93
    scores = {
        name: score_pairs(pairs, classifier, held, learned.dependency(0.9))
        for name, pairs in {
            "right": learned.pairs(4000, 0.9, 1)[0],
            "independent": learned.pairs(4000, 0.0, 1)[0],
            "noise": torch.rand(4000, 2, 64),
            "one": learned.pairs(1, 0.9, 1)[0].expand(4000, -1, -1),
        }.items()
    }
    assert scores["right"]["dependency"] < 0.3 * scores["independent"]["dependency"]
    assert scores["independent"]["fid"] == pytest.approx(scores["right"]["fid"], rel=0.5)
    assert min(scores["noise"]["fid"], scores["one"]["fid"]) > 10 * scores["right"]["fid"]
    assert scores["right"]["same"] == pytest.approx(0.91, abs=0.05)
    exact = dependency_ratio(np.full((10, 10), 0.01))
    assert np.allclose(exact, 1.0)


def test_stacked_networks_are_those_beside_each_other():
    torch.manual_seed(0)
    net = StackedMlp(3, (5, 7, 2), normalised=True).eval()
    x = torch.randn(4, 3, 5)
    alone = []
    for i in range(3):
        weights = [w[i] / torch.linalg.matrix_norm(w[i].detach(), 2) for w in net.weights]
        hidden = torch.nn.functional.leaky_relu(x[:, i] @ weights[0] + net.biases[0][i], 0.2)
        alone.append(hidden @ weights[1] + net.biases[1][i])
    assert torch.allclose(net(x), torch.stack(alone, dim=1), atol=0.02)
    net.train()
    for _ in range(30):
        net(x)
    assert torch.allclose(net.eval()(x), torch.stack(alone, dim=1), atol=1e-4)
    net(x)[:, 1].sum().backward()
    assert all(not p.grad[[0, 2]].any() and p.grad[1].any() for p in net.parameters())


def test_one_shuffle_fits_all_numbers_of_pairs(digits):
    """Rows of different labels hold different pairs of every run of the stack."""
    setting = paired_digits.Setting(dependences=(0.5,), seeds=(0, 1), batch_size=60)
    sources = paired_digits.Sources(digits[0], (10, 40), setting)
    joint = sources.pair()
    assert joint.values["first"].shape == joint.values["second"].shape == (60, 4, 64)
    assert sources.stack == [(10, 0.5, 0), (10, 0.5, 1), (40, 0.5, 0), (40, 0.5, 1)]
    pairs = torch.cat([joint.values["first"], joint.values["second"]], dim=2)
    same = (pairs[:, None] == pairs[None]).all(dim=-1)  # (row, row, stack)
    assert joint.labels is not None
    differ = joint.labels[:, None] != joint.labels
    assert not same[differ].any()
    assert same[~differ][:, :2].all()


def test_images_and_their_scores():
    images, labels = draw_images(300, 5)
    assert images.shape == (300, 1, 16, 16)
    assert labels.shape == (300, 3, 16, 16)
    assert torch.equal(labels.sum(dim=1), torch.ones(300, 16, 16))
    assert float(images.abs().max()) <= 1
    shares = labels.mean(dim=(0, 2, 3))
    assert ((shares > 0.05) & (shares < 0.9)).all()
    assert torch.equal(images, draw_images(300, 5)[0])
    assert score_masks(labels, labels) == {"accuracy": 100.0, "mse": 0.0}
    nothing = torch.zeros_like(labels)
    nothing[:, 0] = 1.0
    assert score_masks(nothing, labels)["accuracy"] == pytest.approx(100 * float(shares[0]), abs=1e-3)


TINY = {
    "digits": (paired_digits, ["--pairs", "10", "20", "--steps", "2", "--dependence", "0.9", "--seeds", "2"]),
    "images": (paired_images, ["--pairs", "5", "--steps", "2", "--seeds", "2"]),
}


@dataclass(frozen=True)
class FewScored(paired_digits.Setting):
    n_scored: int = 500


@pytest.mark.parametrize("name", TINY)
def test_an_experiment_goes_on_and_writes_its_tables(name, tmp_path, capsys, monkeypatch):
    module, arguments = TINY[name]
    if name == "digits":
        monkeypatch.setattr(module, "train_classifier", lambda digits: train_classifier(digits, steps=20))
        monkeypatch.setattr(module, "Setting", FewScored)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert module.main(["--out", str(straight), *arguments, "--quiet"]) == 0
    for _ in range(40):  # a step a call, as no time at all is left
        assert module.main(["--out", str(broken), *arguments, "--quiet", "--max-minutes", "0"]) == 0
        if (broken / "samples.png").is_file():
            break
    assert module.main(["--out", str(broken), *arguments]) == 0
    assert "the time was up" in capsys.readouterr().err
    with (straight / "scores.csv").open() as one, (broken / "scores.csv").open() as other:
        rows, again = list(csv.DictReader(one)), list(csv.DictReader(other))
    metrics = [metric.key for metric in module.METRICS]
    assert [[row[key] for key in metrics] for row in rows] == [[row[key] for key in metrics] for row in again]
    assert {row["method"] for row in rows} >= set(module.METHODS)
    assert all(math.isfinite(float(row[key])) for row in rows for key in metrics)
    text = (straight / "table.md").read_text()
    assert "±" in text
    assert "| FactorGAN |" in text
    assert (straight / "samples.png").stat().st_size > 1000
    assert module.main(["--out", str(straight), *arguments[:-1], "1"]) == (2 if name == "digits" else 0)
    assert module.main(["--out", str(straight), *arguments, "--learning-rate", "0.5"]) == 2
    assert "holds a run with another" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        module.main(["--out", str(straight), "--pairs", "1"])


def test_few_pairs_are_enough_where_single_digits_are_many(digits, classifier, tmp_path):
    """Of 10 pairs a GAN makes worse digits than FactorGAN: for each of five seeds by a factor of two or more at 300
    steps (Frechet distances 438 to 534 and 162 to 218)."""
    learned, held = digits
    setting = paired_digits.Setting(dependences=(0.9,), seeds=(0, 1), n_scored=500)
    found = {}
    for method in ("GAN", "FactorGAN"):
        (tmp_path / method).mkdir()
        run, sources = paired_digits.begin(method, learned, [10], setting, tmp_path / method)
        assert run.train(250)
        found[method] = [row["fid"] for row in paired_digits.score_run(run, sources, method, classifier, held)]
    assert max(found["FactorGAN"]) < min(found["GAN"])
