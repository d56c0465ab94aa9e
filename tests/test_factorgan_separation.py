"""FactorGAN and its baseline as training objectives: what the discriminators see, and that runs go on exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stemfeatures import training
from stemfeatures.errors import ModelError
from stemfeatures.models import checkpoints, unet2018
from stemfeatures.models.unet2018 import UNet2018
from stemfeatures.training.config import TrainConfig, load_config
from stemfeatures.training.data.draws import Draws
from stemfeatures.training.objectives import gan
from stemfeatures.training.objectives.find import find_objective
from stemfeatures.training.objectives.gan import ConvDiscriminator, FactorGANObjective, GanObjective

torch.set_num_threads(1)


def recipe(objective: str, **settings: object) -> TrainConfig:
    return TrainConfig(
        name="tiny", objective=objective, target="vocals", network="unet2018", batch_size=4, n_frames=8, steps=50,
        warmup=1, learning_rate=1e-3, model={"output": "mask", "width": 4, "depth": 2},
        settings={"width": 4, **settings},
    )  # fmt: skip


def batch_of(
    objective: type, config: TrainConfig, n_samples: int, *, seed: int = 0, n_songs: int = 4
) -> dict[str, Tensor]:
    """Targets are low tones, accompaniments high ones."""
    rng = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / 8192

    def tones(low: float, high: float, *shape: int) -> Tensor:
        f0 = low + (high - low) * torch.rand(*shape, 1, generator=rng)
        level = 0.05 + 0.2 * torch.rand(*shape, 1, generator=rng)
        return level * torch.sin(2 * torch.pi * f0 * time)

    draws: Draws = objective.draws(config)
    n = config.batch_size
    low, high = (100.0, 700.0), (1500.0, 3500.0)
    batch = {
        "pairs": torch.stack([tones(*low, n, draws.pairs), tones(*high, n, draws.pairs)], dim=2),
        "pair_songs": torch.randint(n_songs, (n, draws.pairs), generator=rng),
    }
    if draws.mixtures:
        batch["mixtures"] = tones(*low, n, draws.mixtures) + tones(*high, n, draws.mixtures)
        batch["mixture_songs"] = torch.randint(n_songs, (n, draws.mixtures), generator=rng)
        batch["solos"] = tones(*low, n, draws.solos)
        batch["accompaniments"] = tones(*high, n, draws.accompaniments)
    return batch


BOTH = pytest.mark.parametrize(("kind", "name"), [(FactorGANObjective, "factorgan"), (GanObjective, "gan")])


@BOTH
def test_every_draw_is_used_and_every_term_known(kind, name):
    config = recipe(name, rounds=2)
    kind.check(config)
    objective = kind(config, "cpu")
    before = [p.detach().clone() for p in objective.network.parameters()]
    terms = objective.step(batch_of(kind, config, objective.network.n_samples))
    assert set(terms) <= set(kind.terms) if name == "factorgan" else set(terms) == set(kind.terms)
    assert all(torch.isfinite(torch.tensor(list(terms.values()))))
    assert objective.steps_done == 1
    assert objective.learning_rate == config.learning_rate_at(0)
    assert any(not torch.equal(a, b) for a, b in zip(before, objective.network.parameters()))
    fewer = batch_of(kind, config, objective.network.n_samples)
    key = "mixtures" if name == "factorgan" else "pairs"
    fewer[key] = fewer[key][:, :-1]
    with pytest.raises((StopIteration, RuntimeError)):
        objective.step(fewer)


@BOTH
def test_the_generator_has_batch_norm_and_a_rate_of_its_own(kind, name, tmp_path):
    config = recipe(name, rounds=1, generator_rate=0.25)
    config.model["batch_norm"] = True
    objective = kind(config, "cpu")
    objective.step(batch_of(kind, config, objective.network.n_samples))
    rates = [o.param_groups[0]["lr"] for o in (objective.trainer.optimizer, objective.trainer.generator_optimizer)]
    assert rates == [config.learning_rate_at(0), 0.25 * config.learning_rate_at(0)]
    net = objective.exported.eval()
    assert isinstance(net, UNet2018)
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) == 3 * config.model["depth"] + 1
    saved = checkpoints.load_network(checkpoints.save(net, tmp_path / "net.safetensors", {}))
    mixture = torch.rand(2, unet2018.N_BINS, net.given(8) + 2 * net.context)
    with torch.no_grad():
        assert torch.allclose(saved(mixture), net(mixture), atol=1e-5)  # statistics of training travel with the weights
        assert torch.allclose(torch.expm1(net(mixture)).sum(1), torch.expm1(net.train()(mixture)).sum(1), atol=1e-5)
    with pytest.raises(ModelError, match="generator_rate must be positive"):
        kind.check(recipe(name, generator_rate=0.0))


@BOTH
def test_a_run_goes_on_exactly(kind, name, tmp_path):
    config = recipe(name, rounds=1)

    def run(stop: int | None) -> list[Tensor]:
        objective = kind(config, "cpu")
        for step in range(4):
            if step == stop:
                torch.save(objective.state_dict(), tmp_path / "last.pt")
                objective = kind(config, "cpu")
                objective.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True))
                torch.randn(7)  # nothing draws from torch's own stream
            objective.step(batch_of(kind, config, objective.network.n_samples, seed=step))
        return [
            *objective.network.parameters(),
            *objective.exported.parameters(),
            *objective.discriminator.parameters(),
        ]

    assert all(torch.equal(a, b) for a, b in zip(run(None), run(2)))


def test_real_and_generated_sources_come_from_one_front_end():
    """A real source and that of a mixture of nothing else differ by the mask alone: same level, frames and bins."""
    objective = FactorGANObjective(recipe("factorgan"), "cpu")
    y = torch.randn(2, objective.network.n_samples)
    real, made = objective._real(y), objective._generated(y)
    assert real.shape == made.values["target"].shape == made.values["accompaniment"].shape
    total = torch.expm1(made.values["target"]) + torch.expm1(made.values["accompaniment"])
    assert torch.allclose(total, torch.expm1(real), rtol=1e-4, atol=1e-4)
    silence = objective._generated(torch.zeros_like(y))
    assert float(objective._real(torch.zeros_like(y)).abs().max()) == 0.0
    assert all(not part.any() for part in silence.values.values())


def test_songs_are_known_of_what_is_generated():
    """Else two excerpts of one song could count as sources that do not belong together."""
    config = recipe("factorgan", rounds=1, paired_share=0.5)
    objective = FactorGANObjective(config, "cpu")
    batch = batch_of(FactorGANObjective, config, objective.network.n_samples)
    batch["mixtures"] = torch.zeros_like(batch["mixtures"])
    for objective.steps_done in range(5):
        _, generated = objective._sources(batch)
        for k in range(batch["mixtures"].shape[1]):
            joint = generated()
            is_pair = joint.values["target"].flatten(1).any(dim=1)
            songs = torch.where(is_pair, -1 - batch["pair_songs"][:, 0], batch["mixture_songs"][:, k])
            assert torch.equal(joint.labels, songs)
    alone = batch | {key: torch.zeros_like(batch[key]) for key in ("mixture_songs", "pair_songs")}
    terms = FactorGANObjective(recipe("factorgan", rounds=1, paired_share=0.0), "cpu").step(alone)
    assert "loss d_Q(sources)" not in terms
    assert "loss d(target)" in terms


def test_marginals_see_solos_and_a_share_of_the_pairs():
    config = recipe("factorgan", paired_share=0.25, rounds=1)
    objective = FactorGANObjective(config, "cpu")
    counts = {"target": 0, "accompaniment": 0, "mixture": 0}
    n, rounds = objective.network.n_samples, 60
    seen = []
    objective._generated = lambda mixture, labels: seen.append(mixture)  # type: ignore[method-assign,assignment]
    objective._real = lambda y: y[:, None]  # type: ignore[method-assign]
    batch = batch_of(FactorGANObjective, config, n)
    batch["pairs"] = torch.full_like(batch["pairs"], 1.0)
    config.excerpts["gain"] = (0.5, 1.5)
    gains = set()
    for key in ("mixtures", "solos", "accompaniments"):
        batch[key] = torch.zeros_like(batch[key])
    for objective.steps_done in range(rounds):
        real, generated = objective._sources(batch)
        for name in ("target", "accompaniment"):
            drawn = real[name]().values[name][:, 0, 0]
            counts[name] += int(drawn.count_nonzero())
            gains |= {float(x) for x in drawn if x}
        generated()
        counts["mixture"] += int(seen[-1][:, 0].count_nonzero())
        pair = real["sources"]().values
        assert torch.equal(pair["target"], pair["accompaniment"])  # one gain for both sources
    for count in counts.values():
        assert 0.12 < count / (rounds * config.batch_size) < 0.4
    assert 0.5 <= min(gains) < 0.8
    assert 1.2 < max(gains) <= 1.5


def test_the_baseline_sees_pairs_alone():
    config = recipe("gan", rounds=2)
    assert GanObjective.draws(config) == Draws(pairs=5)
    assert FactorGANObjective.draws(recipe("factorgan", rounds=2)) == Draws(2, 7, 2, 2, pair_songs=2)
    assert FactorGANObjective.draws(recipe("factorgan", dependency=False, paired_share=0.0)).pairs == 0


def test_shuffled_pairs_are_never_of_one_song(monkeypatch):
    config = recipe("factorgan", rounds=1)
    objective = FactorGANObjective(config, "cpu")
    n = objective.network.n_samples
    labels = []
    whole = gan.FactorGAN._dependency_loss

    def watched(self, net, group, joint, rng):
        if joint.labels is not None:
            labels.append(joint.labels)
        return whole(self, net, group, joint, rng)

    monkeypatch.setattr(gan.FactorGAN, "_dependency_loss", watched)
    for step in range(6):
        batch = batch_of(FactorGANObjective, config, n, seed=step, n_songs=2)
        terms = objective.step(batch)
        several = len(batch["pair_songs"][:, 0].unique()) > 1
        assert ("loss d_P(sources)" in terms) == several
    assert labels
    assert all(len(found.unique()) > 1 for found in labels)
    monkeypatch.setattr(gan, "_PATIENCE", 3)
    same = batch_of(FactorGANObjective, config, n, n_songs=1)
    objective.step(same)
    objective.step(same)
    with pytest.raises(ModelError, match="all pairs are of one song"):
        objective.step(same)


def test_recipes_that_cannot_work_are_refused():
    FactorGANObjective.check(recipe("factorgan"))
    for wrong, words in (
        (recipe("factorgan", alpha=1.0), "unknown settings in the recipe: alpha"),
        (recipe("factorgan", loss="W"), "unknown loss 'W'"),
        (recipe("factorgan", paired_share=2.0), "share from 0 to 1"),
        (recipe("factorgan", rounds=0), "start at 1"),
        (TrainConfig(objective="factorgan", network="unet2018", target="vocals"), 'model.output = "mask"'),
        (TrainConfig(objective="factorgan", network="unet2018", model={"output": "mask"}), "needs a target"),
    ):
        with pytest.raises(ModelError, match=words):
            FactorGANObjective.check(wrong)
    with pytest.raises(ModelError, match="unknown settings in the recipe: paired_share"):
        GanObjective.check(recipe("gan", paired_share=0.1))


def test_discriminators_take_patches_of_the_paper():
    net = ConvDiscriminator(2, 257, 128)
    assert net(torch.randn(2, 2, 257, 128)).shape == (2, 1)
    convolutions = [layer for layer in net.layers if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32, 64, 128, 256, 512, 1024]
    paper = ConvDiscriminator(2, 257, 128, levels=5)
    assert [layer.out_channels for layer in paper.layers if isinstance(layer, nn.Conv2d)] == [32, 64, 128, 256, 512]
    assert paper.layers[-1].in_features == 512 * 8 * 4  # they stop at a side of 4
    assert paper(torch.randn(2, 2, 257, 128)).shape == (2, 1)
    with pytest.raises(ModelError, match="too few"):
        ConvDiscriminator(1, 257, 31, levels=5)
    assert net.layers[-1].bias is None
    assert ConvDiscriminator(1, 512, 10, width=4)(torch.randn(3, 1, 512, 10)).shape == (3, 1)
    with pytest.raises(ModelError, match="too few"):
        ConvDiscriminator(1, 257, 3)
    a = torch.randn(1, 2, 257, 128)
    b = a.clone()
    b[:, :, 256] += 10.0
    assert torch.equal(net(a), net(b))  # the top bin is not seen


@pytest.mark.parametrize("name", ["factorgan-2020", "factorgan-small", "gan-small"])
def test_shipped_recipes_work(name):
    config = load_config(Path(training.__file__).parent / "recipes" / f"{name}.toml")
    kind = find_objective(config.objective)
    kind.check(config)
    smaller = replace(config, batch_size=2, n_frames=16, model=config.model | {"width": 2})
    objective = kind(replace(smaller, settings=config.settings | {"width": 2, "levels": 0}), "cpu")
    terms = objective.step(batch_of(kind, objective.config, objective.network.n_samples, n_songs=200))
    assert set(terms) == set(kind.terms)
