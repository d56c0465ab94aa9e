"""Learning to separate one target: data, networks, objectives, the command, and what the checkpoints drop into."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from networks import TINY, tiny_checkpoint

from pipelines import cli
from stemfeatures.audio import load, write
from stemfeatures.errors import CatalogError, DatasetError, ModelError, TrainingError
from stemfeatures.evaluation import CheckpointEstimator, evaluate
from stemfeatures.models import checkpoints
from stemfeatures.models.joint import JointNet
from stemfeatures.models.unet2018 import SAMPLE_RATE, Critic, UNet2018, UNet2018Config
from stemfeatures.separation import open_separator
from stemfeatures.training import loop
from stemfeatures.training.card import seconds_trained
from stemfeatures.training.config import TrainConfig, load_config
from stemfeatures.training.data.draws import Draws
from stemfeatures.training.data.excerpts import ExcerptSettings, RecordingExcerpts
from stemfeatures.training.data.recording_sources import find_pairs, find_recordings, rest_of
from stemfeatures.training.data.recording_store import RecordingStore, build_recording_store
from stemfeatures.training.journal import LOG, Journal, read_validations
from stemfeatures.training.objectives import critics
from stemfeatures.training.objectives.critics import AdversarialObjective
from stemfeatures.training.objectives.find import find_objective
from stemfeatures.training.objectives.supervised import SupervisedObjective
from stemfeatures.training.objectives.target_networks import build_network
from stemfeatures.training.preparation import find_recipe
from stemfeatures.training.preparation.development import require_apart
from stemfeatures.training.training_data import Examples, TrainingData
from stemfeatures.training.validation import Validation, validate

SECONDS, RATE = 3.0, 16_000
MODEL = {"width": 2, "depth": 1}
CONFIG = TrainConfig(
    name="tiny", objective="adversarial", network="unet2018", target="vocals", steps=4, batch_size=2, n_frames=16,
    warmup=1, learning_rate=1e-3, ema=0.0, log_every=1, save_every=2, model=MODEL,
    settings={"critic_updates": 2, "critic_width": 2},
)  # fmt: skip
SUPERVISED = replace(CONFIG, objective="supervised", settings={})


def _tone(hertz: float, seconds: float = SECONDS, level: float = 0.2, rate: int = RATE) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def _song(folder: Path, number: int, target: str = "vocals") -> None:
    folder.mkdir(parents=True)
    sung = _tone(900 + 40 * number)
    sung[: int(SECONDS * RATE / 2)] = 0  # silent half of the time
    parts = {target: sung, "bass": _tone(150 + 10 * number), "drums": _tone(300 + 10 * number, level=0.1)}
    for name, y in {**parts, "mixture": sum(parts.values())}.items():
        write(folder / f"{name}.wav", y[None], RATE)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """``pairs`` (3 songs), ``mixtures``, ``solos``, ``accompaniments`` (2 each), ``development`` (1 song)."""
    root = tmp_path_factory.mktemp("data")
    for number in range(3):
        _song(root / "pairs" / f"song{number}", number)
    _song(root / "development" / "other", 5)
    for number in range(2):
        for kind, y in (
            ("mixtures", _tone(950 + number) + _tone(170 + number)),
            ("solos", _tone(960 + number, level=0.9)),
            ("accompaniments", _tone(180 + number)),
        ):
            (root / kind).mkdir(exist_ok=True)
            write(root / kind / f"{number}.wav", y[None], RATE)
    return root


def _build(data: Path, out: Path, **options) -> RecordingStore:
    kinds = {kind: find_recordings([data / kind], kind, "vocals") for kind in ("mixtures", "solos", "accompaniments")}
    values = {"target": "vocals", "sample_rate": SAMPLE_RATE, "pairs": find_pairs(data / "pairs", "vocals")}
    return build_recording_store(out, **values | {"unpaired": kinds} | options)


@pytest.fixture(scope="module")
def store(data, tmp_path_factory) -> RecordingStore:
    return _build(data, tmp_path_factory.mktemp("store"))


def _batch(store: RecordingStore, config: TrainConfig, number: int = 0) -> dict[str, torch.Tensor]:
    first = number * config.batch_size
    examples = Examples(TrainingData(recordings=store), config, first, first + config.batch_size)
    return torch.utils.data.default_collate([examples[i] for i in range(config.batch_size)])


# ------------------------------------------------------------------------------------------------ networks


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("output", ["direct", "mask"])
def test_the_unet_gives_what_it_says_and_sees_its_context(depth, output):
    torch.manual_seed(0)
    net = UNet2018(UNet2018Config(width=2, depth=depth, output=output)).eval()
    n = net.given(16)
    assert n >= 16
    mixture = torch.rand(1, 257, n + 2 * net.context, requires_grad=True)
    given = net(mixture)
    assert given.shape == (1, 2, 257, n)
    assert float(given.detach().min()) >= 0
    if output == "mask":
        middle = mixture[..., net.context : net.context + n]
        assert torch.allclose(torch.expm1(given).sum(dim=1), torch.expm1(middle), atol=1e-5)
    with pytest.raises(ValueError, match="do not fit"):
        net(torch.rand(1, 257, n + 2 * net.context + 1))


def test_frames_of_the_unet_are_those_of_its_input():
    """A patch moved by one pooling step gives the same, moved: no frame is displaced, none sees beyond the context."""
    torch.manual_seed(0)
    net = UNet2018(UNet2018Config(width=2, depth=2)).eval()
    n, step = net.given(16), 4
    long = torch.rand(1, 257, net.given(16) + 2 * net.context + step)
    size = n + 2 * net.context
    with torch.no_grad():
        here, there = net(long[..., :size]), net(long[..., step : step + size])
    assert torch.allclose(here[..., step:], there[..., :-step], atol=1e-5)


def test_unet_of_the_paper():
    net = UNet2018(UNet2018Config())
    assert (net.given(64), net.context) == (66, 46)
    assert [conv.out_channels for conv in net.down] == [16, 32, 64, 128, 256]
    assert Critic(257, 66)(torch.zeros(2, 257, 66)).shape == (2,)


def test_critics_refuse_what_they_cannot_see():
    for sides in ((0, 66), (257, 0), (257, -1)):
        with pytest.raises(ValueError, match="bins, frames and width must be at least 1"):
            Critic(*sides)
    critic = Critic(256, 64, width=2)
    assert critic(torch.zeros(2, 257, 66)).shape == (2,)
    for sides in ((255, 66), (257, 63)):
        with pytest.raises(ValueError, match="is smaller than what the critic sees: 256 and 64"):
            critic(torch.zeros(2, *sides))


def test_critics_of_the_paper():
    """4x4 convolutions to 16 by 4, then along frequency alone; the constant and the frames at the ends are not seen."""
    config = load_config(find_recipe("adversarial-2018"))
    critic = AdversarialObjective(replace(config, batch_size=1), "cpu").critics[0]
    convolutions = [layer for layer in critic.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32, 64, 128, 256, 256, 256]
    assert [layer.kernel_size for layer in convolutions] == [(4, 4)] * 4 + [(4, 2)] * 2
    assert [layer.in_features for layer in critic.layers if isinstance(layer, torch.nn.Linear)] == [256 * 4 * 4]
    patch = torch.rand(1, 257, 66, requires_grad=True)
    critic(patch).sum().backward()
    seen = (patch.grad[0] != 0).nonzero()
    assert (seen.amin(dim=0).tolist(), seen.amax(dim=0).tolist()) == ([1, 1], [256, 64])


@pytest.mark.parametrize("values", [{"output": "both"}, {"width": 0}, {"target": "accompaniment"}])
def test_networks_that_make_no_sense(values):
    with pytest.raises(ValueError, match=r"output|width|target"):
        UNet2018Config(**values)


# ------------------------------------------------------------------------------------------------ objective


class Linear(torch.nn.Module):
    """D(x) = slope * mean over frames and bins: the norm of its gradient is known."""

    def __init__(self, slope: float, size: tuple[int, int]) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(slope))
        self.root = float(np.sqrt(size[0] * size[1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.slope * x.sum(dim=(1, 2)) / self.root


@pytest.mark.parametrize(("slope", "penalty"), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (-3.0, 4.0), (3.0, 4.0)])
def test_the_penalty_is_one_sided(slope, penalty):
    critic = Linear(slope, (4, 5))
    found = critics.gradient_penalty(critic, torch.rand(3, 4, 5), torch.rand(3, 4, 5), torch.rand(3, 1, 1))
    assert float(found.detach()) == pytest.approx(penalty, abs=1e-5)
    found.backward()  # it can be learned from
    assert torch.isfinite(critic.slope.grad)


def test_critics_and_separator_pull_in_opposite_directions():
    """A step of a critic sets real above estimates; a step of the separator then raises its estimates' score."""
    critic, real, fake = Linear(0.0, (4, 5)), torch.full((2, 4, 5), 2.0), torch.ones(2, 4, 5)
    (-critics.wasserstein(critic, real, fake)).backward()
    assert float(critic.slope.grad) < 0  # descending raises the slope, and with it D(real) - D(fake)
    with torch.no_grad():
        critic.slope -= 0.1 * critic.slope.grad
    assert float(critics.wasserstein(critic, real, fake).detach()) > 0
    estimates = torch.ones(2, 2, 4, 5, requires_grad=True)
    critics.adversarial_loss(torch.nn.ModuleList([critic, critic]), estimates).backward()
    assert float(estimates.grad.max()) < 0  # descending moves estimates to where real sources are


def test_additivity_is_in_linear_magnitude():
    sources = torch.rand(1, 2, 3, 4)
    assert float(critics.additivity_loss(sources.sum(dim=1), torch.log1p(sources))) < 1e-10
    assert float(critics.additivity_loss(sources.sum(dim=1) + 2, torch.log1p(sources))) == pytest.approx(4)


def test_weights_of_zero_reproduce_the_supervised_run(store):
    plain = SupervisedObjective(SUPERVISED, "cpu")
    settings = {**CONFIG.settings, "alpha": 0.0, "beta": 0.0}
    critical = AdversarialObjective(replace(CONFIG, settings=settings), "cpu")
    weighted = AdversarialObjective(CONFIG, "cpu")
    for number in range(3):
        first = plain.step(_batch(store, SUPERVISED, number))
        second = critical.step(_batch(store, replace(CONFIG, settings=settings), number))
        weighted.step(_batch(store, CONFIG, number))
        assert first["loss"] == second["loss"]
    for (name, a), b in zip(plain.exported.state_dict().items(), critical.exported.state_dict().values()):
        assert torch.equal(a, b), name
    pairs = zip(plain.exported.parameters(), weighted.exported.parameters())
    assert not all(torch.equal(a, b) for a, b in pairs)  # and weights that are not zero do something


def test_critics_learn_to_tell_and_only_they_change(store):
    config = replace(CONFIG, settings={**CONFIG.settings, "critic_rate": 1e-2})
    objective = AdversarialObjective(config, "cpu")
    before = [p.clone() for p in objective.network.parameters()]
    batch = _batch(store, config)
    sources = torch.stack([batch["solos"][:, 0], batch["accompaniments"][:, 0]], dim=1)
    told = [objective._update_critics(batch["mixtures"][:, 0], sources, 0) for _ in range(25)]
    assert told[-1]["distance_target"] > told[0]["distance_target"]
    assert all(torch.equal(a, b) for a, b in zip(before, objective.network.parameters()))


@pytest.mark.parametrize("start", ["continue", "afresh"])
def test_critics_come_in_after_supervised_learning(store, start):
    config = replace(CONFIG, settings={**CONFIG.settings, "pretrain": 2, "start": start})
    objective = AdversarialObjective(config, "cpu")
    first = [p.clone() for p in objective.network.parameters()]
    terms = [objective.step(_batch(store, config, number)) for number in range(2)]
    assert all("adversarial" not in some for some in terms)
    learned = [p.clone() for p in objective.network.parameters()]
    assert objective.advance(None)
    wanted = learned if start == "continue" else first
    assert all(torch.equal(a, b) for a, b in zip(wanted, objective.network.parameters()))
    assert "adversarial" in objective.step(_batch(store, config, 2))
    assert objective.phase_began == 2
    assert not objective.advance(None)


def test_pretraining_that_has_its_steps_goes_on_from_the_best_network(store, tmp_path, monkeypatch):
    config = replace(CONFIG, steps=5, validate_every=2, settings={**CONFIG.settings, "pretrain": 4})
    scores, looked, given = iter([2.0, 1.0, 3.0]), [], []

    def look(net) -> Validation:
        looked.append([p.clone() for p in net.parameters()])
        return Validation(next(scores), {"separation": 0.0, "f0": 0.0, "beats": 0.0})

    advance = AdversarialObjective.advance
    monkeypatch.setattr(
        AdversarialObjective, "advance",
        lambda self, best: advance(self, best) and not given.append([p.clone() for p in self.network.parameters()]),
    )  # fmt: skip
    assert loop.train(config, TrainingData(recordings=store), tmp_path, workers=0, validate=look).phase_began == 4
    assert all(torch.equal(a, b) for a, b in zip(given[0], looked[0], strict=True))


def test_without_weights_critics_change_nothing(store, tmp_path):
    """alpha = beta = 0 is the supervised run bit for bit, whenever the critics come in."""
    nothing = {**CONFIG.settings, "alpha": 0.0, "beta": 0.0, "pretrain": 2}
    runs = [
        loop.train(replace(config, ema=0.5), TrainingData(recordings=store), tmp_path / config.objective, workers=0)
        for config in (SUPERVISED, replace(CONFIG, settings=nothing))
    ]
    for network in ("network", "exported"):
        one, other = (getattr(run, network) for run in runs)
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("settings", [{"pretrain": 0}, {"pretrain": 2}])
def test_a_run_goes_on_bit_for_bit(store, tmp_path, settings):
    config = replace(CONFIG, ema=0.5, settings={**CONFIG.settings, **settings})
    data = TrainingData(recordings=store)
    straight = loop.train(config, data, tmp_path / "a", workers=0)
    for _ in range(4):
        pieces = loop.train(config, data, tmp_path / "b", workers=0, max_minutes=0.0)
    assert straight.steps_done == pieces.steps_done == 4
    one, other = straight.state_dict(), pieces.state_dict()
    assert one.keys() >= {"net", "average", "critics", "critic_optimizer", "optimizer"}
    for key in ("net", "average", "critics"):
        assert all(torch.equal(a, b) for a, b in zip(one[key].values(), other[key].values())), key
    rows = [(tmp_path / name / "log.csv").read_text().splitlines() for name in "ab"]
    assert rows[0][0] == "step,learning_rate,minutes," + ",".join(AdversarialObjective.terms)
    assert [row.split(",")[3:] for row in rows[0]] == [row.split(",")[3:] for row in rows[1]]


def test_patience_ends_supervised_learning_then_the_run(store, tmp_path):
    config = replace(CONFIG, steps=20, validate_every=1, patience=2, settings={**CONFIG.settings, "pretrain": 15})
    scores = iter([2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 9.0])

    def look(net) -> Validation:
        return Validation(next(scores), {"separation": 0.0, "f0": 0.0, "beats": 0.0})

    objective = loop.train(config, TrainingData(recordings=store), tmp_path, workers=0, validate=look)
    assert (objective.phase_began, objective.steps_done) == (3, 6)


def test_a_few_songs_can_be_learned(store):
    """The direction of learning."""
    config = replace(
        SUPERVISED,
        steps=100,
        batch_size=4,
        learning_rate=1e-2,
        decay=0.2,
        model={"width": 4, "depth": 2, "output": "mask"},
    )
    objective = SupervisedObjective(config, "cpu")
    batch = _batch(store, config)
    history = [objective.step(batch)["loss"] for _ in range(40)]
    assert np.mean(history[-5:]) < 0.7 * np.mean(history[:5])


# ------------------------------------------------------------------------------------------------ initial checkpoints


def test_a_recipe_begins_with_a_checkpoint(tmp_path):
    torch.manual_seed(7)
    wanted = UNet2018Config(**MODEL)
    first = checkpoints.save(UNet2018(wanted), tmp_path / "first.safetensors", {})
    begun = SupervisedObjective(replace(SUPERVISED, initial=str(first.path), ema=0.9), "cpu")
    for net in (begun.network.net, begun.exported):
        expected = checkpoints.load_network(first).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())
    with pytest.raises(ModelError, match=r"first\.safetensors: .*not the recipe's|not the recipe's.*first"):
        SupervisedObjective(replace(SUPERVISED, initial=str(first.path), model={"width": 3, "depth": 1}), "cpu")
    joint = tiny_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="'joint' is not 'unet2018'"):
        SupervisedObjective(replace(SUPERVISED, initial=str(joint)), "cpu")


def test_the_joint_separator_learns_and_stays_a_joint_checkpoint(data, tmp_path):
    path = tiny_checkpoint(tmp_path)
    config = replace(CONFIG, network="joint", model={}, initial=str(path), n_frames=32, steps=2)
    sample_rate = build_network(config, "cpu").grid.sample_rate
    pairs = build_recording_store(
        tmp_path / "p", target="vocals", sample_rate=8_000, pairs=find_pairs(data / "pairs", "vocals")
    )
    with pytest.raises(DatasetError, match="wants 'vocals' at 22050 Hz"):
        TrainingData(recordings=pairs).open(config)
    rng = np.random.default_rng(0)
    objective = AdversarialObjective(config, "cpu")
    before = {name: value.clone() for name, value in objective.exported.state_dict().items()}
    n = objective.network.n_samples
    assert sample_rate == 22_050
    batch = {"pairs": (2, 1, 2, n), "mixtures": (2, 3, n), "solos": (2, 2, n), "accompaniments": (2, 2, n)}
    tensors = {
        name: torch.from_numpy(0.1 * rng.standard_normal(size).astype(np.float32)) for name, size in batch.items()
    }
    objective.step(tensors)
    after = objective.exported.state_dict()
    changed = {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"separator"}
    saved = checkpoints.save(objective.exported, tmp_path / "out.safetensors", {})
    assert isinstance(checkpoints.load(saved), JointNet)
    assert checkpoints.stems_of(saved) == ("vocals", "drums", "bass", "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": ""}, "needs a target"),
        ({"settings": {"alfa": 1}}, "unknown settings in the recipe: alfa"),
        ({"settings": {"start": "twice"}}, "unknown start 'twice'"),
        ({"excerpts": {"gain": [0.0, 1.0]}}, "gain"),
        ({"settings": {"critic_patch": [256]}}, "number of bins and one of frames"),
        ({"settings": {"critic_patch": [256.0, 64.0]}}, r"number of bins and one of frames, not \[256.0, 64.0\]"),
        ({"settings": {"critic_patch": 256}}, "number of bins and one of frames, not 256"),
        ({"settings": {"critic_patch": [True, 8]}}, "number of bins and one of frames"),
        ({"settings": {"critic_patch": [300, 8]}}, "the network gives 257 bins by 16 frames"),
        ({"model": {"channels": 3}}, "unknown keys of the model: channels"),
        ({"network": "joint", "model": {}}, "initial"),
        ({"network": "joint", "model": {}, "target": "guitar"}, "not 'guitar'"),
    ],
)
def test_recipes_that_cannot_work(store, tmp_path, changes, message):
    with pytest.raises(ModelError, match=message):
        loop.train(replace(CONFIG, **changes), TrainingData(recordings=store), tmp_path, workers=0)


# ------------------------------------------------------------------------------------------------ data


def test_a_store_holds_target_and_rest(store):
    pair = store.recordings["pairs"][0]
    target, rest = store.samples(pair, 0, round(SECONDS * SAMPLE_RATE))
    assert np.abs(target[:SAMPLE_RATE]).max() < 1e-3 < np.abs(target[2 * SAMPLE_RATE :]).max()
    assert pair.levels == pytest.approx((0.2 / np.sqrt(2), np.hypot(0.2, 0.1) / np.sqrt(2)), rel=0.02)
    assert set(pair.active[0][:10]) == {"0"}
    assert set(pair.active[1]) == {"1"}
    assert np.sqrt(np.mean(rest**2)) == pytest.approx(pair.levels[1], rel=0.02)
    assert {kind: len(some) for kind, some in store.recordings.items()} == {
        "pairs": 3, "mixtures": 2, "solos": 2, "accompaniments": 2
    }  # fmt: skip


def test_stems_of_any_name_and_an_accompaniment_is_not_counted_twice(tmp_path):
    _song(tmp_path / "set" / "a", 1, target="guitar")
    [track] = find_pairs(tmp_path / "set", "guitar")
    assert rest_of(track, "guitar") == ("bass", "drums")
    write(tmp_path / "set" / "a" / "accompaniment.wav", _tone(100)[None], RATE)
    assert rest_of(track, "guitar") == ("bass", "drums")
    for name in ("bass", "drums"):
        (tmp_path / "set" / "a" / f"{name}.wav").unlink()
    assert rest_of(track, "guitar") == ("accompaniment",)
    with pytest.raises(DatasetError, match=r"none of 1 songs has the stem 'banjo'"):
        find_pairs(tmp_path / "set", "banjo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no audio files"):
        find_recordings([tmp_path / "empty"], "solos", "guitar")


def test_songs_to_validate_with_need_no_mixture_and_no_stems_of_one_shape(tmp_path):
    """The sum is the mixture then, an accompaniment beside its stems is not in it twice."""
    song = tmp_path / "set" / "a"
    _song(song, 1, target="guitar")
    guitar, bass, drums = (load(song / f"{name}.wav")[0].reshape(-1) for name in ("guitar", "bass", "drums"))
    (song / "mixture.wav").unlink()
    write(song / "accompaniment.wav", (bass + drums)[None], RATE)
    write(song / "drums.wav", np.stack([drums, drums])[:, :-20], RATE)
    [track] = find_pairs(tmp_path / "set", "guitar")
    assert not track.has_mixture
    truth = track.load()
    assert truth.mixture.shape == (1, guitar.shape[-1] - 20)
    assert np.allclose(truth.mixture[0], (guitar + bass + drums)[:-20], atol=1e-4)
    assert set(truth.stems) == {"accompaniment", "bass", "drums", "guitar"}
    net = UNet2018(UNet2018Config(target="guitar", output="mask", **MODEL))
    assert np.isfinite(validate(net, [track]).score)
    for name in ("bass", "drums", "accompaniment"):
        (song / f"{name}.wav").unlink()
    with pytest.raises(CatalogError, match="neither a mixture nor stems to sum"):
        track.load()


def test_what_would_give_parts_away_is_left_out_by_name(data, tmp_path, caplog):
    """Songs whose stems are not all of the mixture, rates below the network's, silence, broken files."""
    for number, name in enumerate(("good", "lacking")):
        _song(tmp_path / "pairs" / name, number)
    (tmp_path / "pairs" / "lacking" / "bass.wav").unlink()
    solos = tmp_path / "solos"
    solos.mkdir()
    write(solos / "good.wav", _tone(900)[None], RATE)
    write(solos / "low.wav", _tone(900, rate=4_000)[None], 4_000)
    write(solos / "silent.wav", np.zeros((1, RATE), np.float32), RATE)
    (solos / "broken.wav").write_bytes(b"RIFF")
    kinds = {"solos": find_recordings([solos], "solos", "vocals")}
    found = _build(data, tmp_path / "s", pairs=find_pairs(tmp_path / "pairs", "vocals"), unpaired=kinds)
    assert [pair.name for pair in found.recordings["pairs"]] == ["good"]
    assert [solo.name for solo in found.recordings["solos"]] == ["good.wav"]
    for words in ("lacking", "do not sum to its mixture", "low.wav", "4000 Hz", "silent.wav", "broken.wav"):
        assert words in caplog.text
    with pytest.raises(DatasetError, match="none of the solos can be used"):
        _build(data, tmp_path / "t", unpaired={"solos": [solos / "silent.wav"]})
    with pytest.raises(DatasetError, match="another target or rate"):
        _build(data, tmp_path / "s", target="bass")


def test_levels_of_what_is_unpaired_are_those_of_the_pairs(store):
    """Solos are recorded 13 dB louder here; a critic must not know them by that."""
    draws, n = Draws(pairs=0, solos=60), SAMPLE_RATE
    alike = ExcerptSettings(gain=(1.0, 1.0))
    cases = ((alike, 0.2), (replace(alike, level=False), 0.9), (replace(alike, gain=(0.5, 0.5)), 0.1))
    for settings, peak in cases:
        solos = RecordingExcerpts(store, draws, n_samples=n, seed=0, settings=settings).example(0)["solos"]
        sounding = [np.abs(y).max() for y in solos if y.any()]
        assert np.median(sounding) == pytest.approx(peak, rel=0.1)


def test_solos_are_as_often_silent_as_the_target(store):
    draws, n = Draws(pairs=200, solos=200), SAMPLE_RATE // 2
    for wanted in (True, False):
        maker = RecordingExcerpts(store, draws, n_samples=n, seed=0, settings=ExcerptSettings(silence=wanted))
        example = maker.example(0)
        shares = [
            np.mean([np.abs(y).max() < 1e-3 for y in some]) for some in (example["pairs"][:, 0], example["solos"])
        ]
        assert 0.3 < shares[0] < 0.55
        assert (abs(shares[0] - shares[1]) < 0.12) == wanted


def test_random_gain_is_for_what_is_unpaired_alone(store):
    excerpts = {}
    for gain in ((1.0, 1.0), (0.2, 1.2)):
        draws = Draws(pairs=1, mixtures=20)
        source = RecordingExcerpts(store, draws, n_samples=4_000, seed=0, settings=ExcerptSettings(gain=gain))
        excerpts[gain] = source.example(3)
    plain, gained = excerpts.values()
    assert np.array_equal(plain["pairs"], gained["pairs"])
    ratios = [np.abs(b).max() / np.abs(a).max() for a, b in zip(plain["mixtures"], gained["mixtures"])]
    assert min(ratios) >= 0.2 - 1e-6
    assert max(ratios) <= 1.2 + 1e-6
    assert np.ptp(ratios) > 0.4


def test_excerpts_depend_on_seed_kind_draw_and_number_alone(store):
    few = RecordingExcerpts(store, Draws(pairs=1, solos=1), n_samples=2_000, seed=1)
    many = RecordingExcerpts(store, Draws(pairs=2, mixtures=3, solos=2), n_samples=2_000, seed=1)
    many.example(0)
    a, b = few.example(5), many.example(5)
    assert np.array_equal(a["pairs"][0], b["pairs"][0])
    assert np.array_equal(a["solos"][0], b["solos"][0])
    assert not np.array_equal(b["pairs"][0], b["pairs"][1])
    assert not np.array_equal(few.example(6)["pairs"], a["pairs"])
    with pytest.raises(DatasetError, match="no solos"):
        RecordingExcerpts(store.select([0]), Draws(solos=1), n_samples=9, seed=0)


def test_pairs_can_be_taken_apart(store):
    some = store.select([0], unpaired=[1, 2])
    mixture, solo, rest = (some.recordings[kind][0] for kind in ("mixtures", "solos", "accompaniments"))
    whole = store.samples(store.recordings["pairs"][1], 5_000, 9_000)
    assert np.array_equal(some.samples(mixture, 5_000, 9_000).sum(axis=0), whole.sum(axis=0))
    assert np.array_equal(some.samples(solo, 5_000, 9_000)[0], whole[0])
    assert np.array_equal(some.samples(rest, 5_000, 9_000)[0], whole[1])
    assert mixture.active[0] == "1" * len(mixture.active[0])


# ------------------------------------------------------------------------------------------------ command and use


def _recipe(path: Path, **changes) -> Path:
    values = {"name": "tiny", "objective": "adversarial", "network": "unet2018", "steps": 2, "batch_size": 1,
              "n_frames": 16, "warmup": 1, "log_every": 1, "validate_every": 1, **changes}  # fmt: skip
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    settings = ["[settings]", "critic_updates = 1", "critic_width = 2"] if values["objective"] == "adversarial" else []
    lines += ["[model]", "width = 2", "depth = 1", *settings, "[licences]", 'pairs = "CC0-1.0"']
    path.write_text("\n".join(lines) + "\n")
    return path


def _argv(data: Path, recipe: Path, run: Path, *kinds: str) -> list[str]:
    given = [str(x) for kind in kinds for x in (f"--{kind}", data / kind)]
    common = ["--recipe", recipe, "--run-dir", run, "--target", "vocals", "--workers", "0", "--device", "cpu"]
    return ["train", *map(str, common), *given]


ALL = ("pairs", "mixtures", "solos", "accompaniments")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    argv = _argv(data, _recipe(root / "r.toml"), root / "run", *ALL)
    assert cli.main([*argv, "--quiet", "--validate", str(data / "development")]) == 0
    return root / "run" / "tiny-vocals.safetensors"


def test_the_command_writes_a_checkpoint_that_says_what_it_learned_from(trained, data, capsys):
    checkpoint = checkpoints.resolve(trained)
    card = checkpoint.card
    assert checkpoints.stems_of(checkpoint) == ("vocals", "accompaniment")
    assert card["architecture"] == "unet2018"
    sources = {entry["source"]: entry for entry in card["data"]}
    assert set(sources) == set(ALL)
    assert (sources["pairs"]["songs"], sources["pairs"]["licence"]) == (3, "CC0-1.0")
    assert (sources["solos"]["recordings"], sources["solos"]["licence"]) == (2, "not stated")
    assert sources["solos"]["minutes"] == round(2 * SECONDS / 60, 2)
    assert card["training"]["chosen_on"]["songs"] == "development"
    root = trained.parents[1]
    argv = _argv(data, root / "r.toml", root / "run")  # goes on without being told the data again
    assert cli.main([*argv, "--steps", "3"]) == 0
    assert "separate -o stems" in capsys.readouterr().out


def test_the_card_lists_what_the_initial_checkpoint_learned_from(trained, data, tmp_path):
    recipe = _recipe(tmp_path / "r.toml", initial=str(trained), objective="supervised")
    assert cli.main([*_argv(data, recipe, tmp_path / "run", "pairs"), "--quiet"]) == 0
    card = checkpoints.resolve(tmp_path / "run" / "tiny-vocals.safetensors").card
    through = {entry["source"]: entry.get("through") for entry in card["data"]}
    name = "tiny-vocals"
    assert through == {"pairs": None, "mixtures": name, "solos": name, "accompaniments": name}


@pytest.mark.parametrize(
    ("kinds", "more", "message"),
    [
        (("pairs", "mixtures"), [], "needs solos (recordings of the target alone); accompaniments"),
        (ALL, ["--objective", "supervised"], "is for the objective adversarial, not supervised"),
        (ALL, ["--songs", "x"], "takes no songs"),
        (ALL, ["--target", "banjo"], "has the stem 'banjo'"),
        (ALL, ["--solos", "nowhere"], "nowhere: no such file or folder"),
        (ALL, ["--validate", "PAIRS"], "3 tracks of the development songs"),
    ],
)
def test_the_command_says_what_is_wrong(data, tmp_path, capsys, kinds, more, message):
    more = [str(data / "pairs") if word == "PAIRS" else word for word in more]
    argv = [*_argv(data, _recipe(tmp_path / "r.toml"), tmp_path / "run", *kinds), *more]
    assert cli.main(argv) != 0
    assert message in capsys.readouterr().err


def test_weights_that_no_critic_has_seen_say_so(data, tmp_path, capsys):
    recipe = _recipe(tmp_path / "r.toml", steps=4)
    recipe.write_text(recipe.read_text().replace("critic_width = 2", "critic_width = 2\npretrain = 2"))
    argv = _argv(data, recipe, tmp_path / "run", *ALL)
    assert cli.main([*argv, "--steps", "2"]) != 0
    assert "the critics would never begin: supervised learning before (pretrain) has 2 of 2" in capsys.readouterr().err
    assert cli.main([*argv, "--max-minutes", "1e-9"]) == 0
    assert "no critic has had a say" in capsys.readouterr().out
    card = checkpoints.resolve(tmp_path / "run" / "tiny-vocals.safetensors").card
    assert (card["training"]["steps"], card["training"]["phase"]) == (1, "supervised")
    assert "supervised phase alone" in card["description"]
    assert cli.main(argv) == 0
    assert "no critic" not in capsys.readouterr().out
    card = checkpoints.resolve(tmp_path / "run" / "tiny-vocals.safetensors").card
    assert (card["training"]["steps"], card["training"]["phase"]) == (4, "adversarial")


def test_development_mixtures_are_found_among_the_unpaired(data, tmp_path, capsys):
    (tmp_path / "copy.wav").write_bytes((data / "development" / "other" / "mixture.wav").read_bytes())
    argv = _argv(data, _recipe(tmp_path / "r.toml"), tmp_path / "run", *ALL)
    argv += ["--mixtures", str(tmp_path / "copy.wav"), "--validate", str(data / "development")]
    assert cli.main(argv) == 2
    assert "1 track of the development songs" in capsys.readouterr().err


def test_copies_of_pairs_are_no_development_songs(data, tmp_path, capsys):
    """Under another name, and with another stem: what was heard in training is known by its file."""
    shutil.copytree(data / "pairs" / "song1", tmp_path / "copied" / "renamed")
    _song(tmp_path / "remixed" / "new", 7)
    shutil.copy(data / "pairs" / "song2" / "bass.wav", tmp_path / "remixed" / "new" / "bass.wav")
    argv = ["train", "--objective", "supervised", "--target", "vocals", "--pairs", data / "pairs", "--workers", "0"]
    argv += ["--steps", "1", "--device", "cpu", "--run-dir", tmp_path / "run"]
    for folder, name in (("copied", "renamed"), ("remixed", "new")):
        assert cli.main([str(a) for a in [*argv, "--validate", tmp_path / folder]]) == 2
        message = f"1 track of the development songs {tmp_path / folder} would also be trained on, such as "
        assert f"{message}{folder}/{name}" in capsys.readouterr().err


def test_silence_is_no_copy(data, tmp_path):
    """Stems that are silent throughout are the same file in many songs."""
    for name, number in (("one", 1), ("two", 2)):
        _song(tmp_path / "set" / name, number)
        write(tmp_path / "set" / name / "other.wav", np.zeros((1, int(SECONDS * RATE)), np.float32), RATE)
    one, two = find_pairs(tmp_path / "set", "vocals")
    store = build_recording_store(tmp_path / "store", target="vocals", sample_rate=SAMPLE_RATE, pairs=[one])
    [pair] = store.recordings["pairs"]
    assert len(pair.digests) == 4  # mixture, vocals, bass, drums
    require_apart("set", [two], [], pair.digests)
    with pytest.raises(TrainingError, match="1 track of the development songs set would also be trained on"):
        require_apart("set", [one], [], pair.digests)


def test_a_pair_is_decoded_again_when_any_of_its_stems_changes(tmp_path):
    _song(tmp_path / "set" / "one", 1)
    values = {"target": "vocals", "sample_rate": SAMPLE_RATE}

    def rest() -> float:
        store = build_recording_store(tmp_path / "store", **values, pairs=find_pairs(tmp_path / "set", "vocals"))
        return store.recordings["pairs"][0].levels[1]

    before = rest()
    (tmp_path / "set" / "one" / "mixture.wav").unlink()
    write(tmp_path / "set" / "one" / "bass.wav", _tone(160, level=0.8)[None], RATE)
    assert rest() > 2 * before


def test_a_run_keeps_to_its_development_songs(data, tmp_path, capsys):
    for name, number in (("more", 8), ("yet_more", 9)):
        _song(tmp_path / "others" / name, number)
    recipe = _recipe(tmp_path / "r.toml", objective="supervised")
    argv = _argv(data, recipe, tmp_path / "run", "pairs")
    assert cli.main([*argv, "--validate", str(tmp_path / "others"), "--steps", "1"]) == 0
    for more in (["--validate", str(data / "development")],
                 ["--validate", str(tmp_path / "others"), "--validate-limit", "1"]):  # fmt: skip
        assert cli.main([*argv, *more, "--steps", "2"]) == 2
        assert "has scores of other development songs (others, 2 songs)" in capsys.readouterr().err
    assert cli.main([*argv, "--steps", "2"]) == 0  # the best step is still one of those
    card = json.loads((tmp_path / "run" / "tiny-vocals.json").read_text())
    assert card["training"]["chosen_on"]["songs"] == "others"
    assert card["training"]["chosen_on"]["step"] == 1


@pytest.mark.parametrize("damage", ["cut", "other network"])
def test_a_state_that_cannot_be_gone_on_from_says_so(store, tmp_path, damage):
    data = TrainingData(recordings=store)
    loop.train(replace(SUPERVISED, steps=1), data, tmp_path, workers=0)
    config = SUPERVISED
    if damage == "cut":
        (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:2000])
    else:
        config = replace(SUPERVISED, model={"width": 3, "depth": 1})
    with pytest.raises(TrainingError, match=r"last\.pt: the run cannot go on from this state"):
        loop.train(config, data, tmp_path, workers=0)


def test_a_journal_that_was_cut_off(tmp_path):
    (tmp_path / "validation.csv").write_text("step,score,separation,f0,beats\n1,2.5,2.5,nan,nan\n2,\n")
    with pytest.raises(TrainingError, match=r"validation\.csv: line 3: not a step and its score"):
        read_validations(tmp_path)
    (tmp_path / "log.csv").write_text("step,learning_rate,minutes,loss\n1,0.1,2.0,1\n2,0.1\n3,0.1,3.0,1\n")
    assert seconds_trained(tmp_path / "log.csv") == 180


def test_a_journal_goes_on_behind_a_line_that_was_cut_off(tmp_path):
    """A crash or a full disk ends a file anywhere: half a number looks like a number."""
    journal = Journal(tmp_path, 0, terms=("loss",))
    for step in (1, 2):
        journal.losses(step, 0.1, 1.5 * step, {"loss": 1.0})
    log = tmp_path / LOG
    whole = log.read_bytes()
    looks = b"step,score,separation,f0,beats\r\n10,2.5000,2.5000,nan,nan\r\n"
    for lost in (1, 2, 5, 8, len(whole) - 5, len(whole) - 1):
        log.write_bytes(whole[:-lost])
        journal.losses(3, 0.1, 4.5, {"loss": 1.0})
        kept = whole[:-lost].rpartition(b"\n")[0].splitlines()
        head = whole.splitlines()[:1]
        assert log.read_bytes().splitlines() == [*(kept or head), b"3,0.1,4.50,1.00000"]
    log.write_bytes(whole + b"3,0.1,1")
    assert seconds_trained(log) == 180
    journal.close()
    for cut in (b"20", b"20,", b"20,9", b"20,9.5,9.5", b"20,9.5000,9.5000,nan,nan\r"):
        (tmp_path / "validation.csv").write_bytes(looks + cut)
        assert read_validations(tmp_path) == [(10, 2.5)]


def test_a_run_does_not_forget_what_it_has_learned_from(data, tmp_path, capsys):
    shutil.copytree(data / "pairs", tmp_path / "pairs")
    argv = _argv(tmp_path, _recipe(tmp_path / "r.toml", objective="supervised"), tmp_path / "run", "pairs")
    assert cli.main([*argv, "--steps", "1"]) == 0
    shutil.move(tmp_path / "pairs" / "song1", tmp_path / "song1")
    assert cli.main([*argv, "--steps", "2"]) == 2
    message = "the run has learned from 1 recording that is not given now, such as pairs/song1 (pairs)"
    assert message in capsys.readouterr().err
    without = [word for word in argv if word not in ("--pairs", str(tmp_path / "pairs"))]
    assert cli.main([*without, "--steps", "2"]) == 0
    card = checkpoints.resolve(tmp_path / "run" / "tiny-vocals.safetensors").card
    assert (card["data"][0]["songs"], card["training"]["steps"]) == (3, 2)
    _song(tmp_path / "pairs" / "song9", 9)
    shutil.move(tmp_path / "song1", tmp_path / "pairs" / "song1")
    assert cli.main([*argv, "--steps", "3"]) == 0  # more may come
    assert checkpoints.resolve(tmp_path / "run" / "tiny-vocals.safetensors").card["data"][0]["songs"] == 4


def test_factorgan_needs_pairs_of_two_songs(data, tmp_path, capsys):
    argv = ["train", "--objective", "factorgan", "--workers", "0", "--device", "cpu", "--run-dir", tmp_path / "run"]
    argv += [word for kind in ALL[1:] for word in (f"--{kind}", data / kind)]
    assert cli.main([str(a) for a in [*argv, "--pairs", data / "pairs" / "song0"]]) == 2
    assert "the objective factorgan needs pairs of 2 songs at least" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("objective", "changes", "idle"),
    [
        ("supervised", {"precision": "bfloat16"}, "precision"),
        ("adversarial", {"weight_decay": 0.01, "songs": 0.5}, "songs, weight_decay"),
        ("gan", {"clip": 1.0, "model": MODEL | {"output": "mask"}}, "clip"),
    ],
)
def test_keys_that_would_be_passed_over_are_errors(objective, changes, idle):
    config = replace(CONFIG, objective=objective, settings={}, **changes)
    with pytest.raises(ModelError, match=f"the objective '{objective}' has no use for {idle}"):
        find_objective(objective).check(config)


def test_supervised_takes_pairs_alone(data, tmp_path, capsys):
    recipe = _recipe(tmp_path / "r.toml", objective="supervised")
    assert cli.main(_argv(data, recipe, tmp_path / "run", *ALL)) == 2
    assert "learns nothing from mixtures, solos, accompaniments" in capsys.readouterr().err
    assert cli.main(["train", "--objective", "joint", "--pairs", "x", "--run-dir", str(tmp_path / "j")]) == 2
    assert "joint takes no pairs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["supervised-small", "adversarial-small", "adversarial-2018"])
def test_shipped_recipes_work(name):
    from stemfeatures.training.config import load_config
    from stemfeatures.training.objectives.find import find_objective
    from stemfeatures.training.preparation import find_recipe

    config = load_config(find_recipe(name))
    find_objective(config.objective).check(config)
    assert build_network(config, "cpu").n_frames >= 64


@pytest.mark.parametrize(("rate", "channels", "n"), [(8_192, 1, 30_000), (22_050, 2, 40_000), (8_192, 1, 1)])
def test_masks_separate_signals_of_any_kind_into_what_sums_to_them(tmp_path, rate, channels, n):
    torch.manual_seed(0)
    net = UNet2018(UNet2018Config(target="drums", output="mask", **MODEL))
    separator = open_separator(checkpoints.save(net, tmp_path / "m.safetensors", {}).path)
    y = np.stack([_tone(500 + 100 * k, n / rate + 1, rate=rate)[:n] for k in range(channels)])
    stems = separator.separate_array(y, rate)
    assert set(stems) == {"drums", "accompaniment"}
    assert all(part.shape == y.shape and np.isfinite(part).all() for part in stems.values())
    inside = slice(n // 10, n - n // 10) if n > 1 else slice(None)
    assert np.abs(sum(stems.values()) - y)[:, inside].max() < 0.01


def test_streams_and_whole_signals_are_separated_alike(trained):
    separator = open_separator(trained)
    y = _tone(900, 6.0)[None]
    blocks = [y[:, i : i + 7_001] for i in range(0, y.shape[1], 7_001)]
    whole = separator.separate_array(y, RATE)["vocals"]
    parts = np.concatenate([part["vocals"] for part in separator.stream(blocks, RATE, 1)], axis=1)
    assert np.allclose(whole, parts, atol=1e-5)


def test_the_checkpoint_drops_into_separate_and_evaluate(trained, data, tmp_path, capsys):
    mixture = data / "development" / "other" / "mixture.wav"
    assert cli.main(["separate", str(mixture), "-o", str(tmp_path), "--model", str(trained), "--device", "cpu"]) == 0
    assert {p.name for p in (tmp_path / "mixture").iterdir()} == {"vocals.wav", "accompaniment.wav"}
    table = evaluate("separation", data / "development", CheckpointEstimator(str(trained))).table.set_index("stem")
    assert table.loc["vocals", "status"] == "ok"
    assert np.isfinite(table.loc["vocals", "sdr_db"])
    assert cli.main(["separate", str(mixture), "-o", str(tmp_path), "--model", str(trained), "--stems", "drums"]) == 2
    assert "there are: vocals, accompaniment" in capsys.readouterr().err


def test_checkpoints_are_scored_on_their_accompaniment_too(tmp_path, capsys):
    """Songs of four stems know the sum of the others; those of vocals and accompaniment nothing of the drums."""
    for name, stems in {"four": ("vocals", "drums", "bass", "other"), "two": ("vocals", "accompaniment")}.items():
        parts = {stem: _tone(200 + 150 * i) for i, stem in enumerate(stems)}
        (tmp_path / name / "song").mkdir(parents=True)
        for stem, y in {**parts, "mixture": sum(parts.values())}.items():
            write(tmp_path / name / "song" / f"{stem}.wav", y[None], RATE)
    net = UNet2018(UNet2018Config(target="drums", output="mask", **MODEL))
    path = checkpoints.save(net, tmp_path / "d.safetensors", {}).path
    argv = ["evaluate", "separation", str(tmp_path / "four"), "-m", str(path), "--references", "none"]
    argv += ["--device", "cpu"]
    assert cli.main([*argv, "--json"]) == 0
    rows = {row["stem"]: row for row in json.loads(capsys.readouterr().out)["tracks"]}
    assert {stem for stem, row in rows.items() if row["status"] == "ok"} == {"drums", "accompaniment"}
    assert np.isfinite(rows["accompaniment"]["sdr_db"])
    assert cli.main(argv) == 0
    assert "accompaniment" in capsys.readouterr().out
    both = (rows["drums"]["sdr_db"] + rows["accompaniment"]["sdr_db"]) / 2
    assert validate(net, tmp_path / "four").score == pytest.approx(both, abs=1e-3)
    argv[2] = str(tmp_path / "two")
    assert cli.main(argv) != 0
    assert "offers none" in capsys.readouterr().err


def test_the_checkpoint_analyses_with_the_joint_network(tmp_path, monkeypatch):
    """Mask replaced, the others scaled; provenance of both."""
    from stemfeatures.analysis import Analyser

    joint = tiny_checkpoint(tmp_path, name="base")
    base = checkpoints.resolve(joint)
    resolve = checkpoints.resolve
    monkeypatch.setattr(checkpoints, "DEFAULT_MODEL", str(joint))
    monkeypatch.setattr(checkpoints, "resolve", lambda model=str(joint): resolve(model))
    torch.manual_seed(0)
    net = UNet2018(UNet2018Config(target="vocals", output="mask", **MODEL))
    with torch.no_grad():
        net.out.weight.zero_()
        net.out.bias.fill_(-20.0)  # nothing is vocals
    path = checkpoints.save(net, tmp_path / "none.safetensors", {}).path
    y = _tone(600) + _tone(220)
    plain, replaced = (Analyser(model).from_audio(y, RATE).frames for model in (joint, path))
    assert replaced.model == "none+base"
    assert replaced.model_sha256 == f"{checkpoints.resolve(path).sha256}+{base.sha256}"
    assert float(plain.stems["vocals"].energy.max()) > 1e-6
    assert float(replaced.stems["vocals"].energy.max()) < 1e-8
    total = sum(float(np.mean(replaced.stems[s].energy)) for s in ("drums", "bass", "other"))
    assert total > float(np.mean(plain.stems["other"].energy))
    # A target beside the four is a row of its own, and leaves them as they are.
    net = UNet2018(UNet2018Config(target="guitar", output="mask", **MODEL))
    with torch.no_grad():
        net.out.weight.zero_()
        net.out.bias.fill_(20.0)  # everything is guitar
    guitar = checkpoints.save(net, tmp_path / "g.safetensors", {}).path
    further = Analyser(guitar).from_audio(y, RATE)
    assert further.frames.rows == ("mixture", "vocals", "drums", "bass", "other", "guitar")
    np.testing.assert_array_equal(further.frames.stems["vocals"].energy, plain.stems["vocals"].energy)
    mixture, everything = (further.frames.stems[s].energy.mean() for s in ("mixture", "guitar"))
    assert everything == pytest.approx(mixture, rel=0.05)
    assert further.stems["guitar"]["loudness_status"] == "ok"


def test_given_masks_leave_the_others_their_proportions():
    torch.manual_seed(0)
    net = JointNet(TINY).eval()
    magnitude, known = torch.rand(1, 1024, 20), torch.rand(1, 1024, 20)
    with torch.no_grad():
        plain, given = net(magnitude).masks, net(magnitude, {"drums": known}).masks
    assert torch.allclose(given.sum(dim=1), torch.ones(1, 1024, 20), atol=1e-5)
    assert torch.equal(given[:, 1], known)
    assert torch.allclose(given[:, 0] * plain[:, 2], given[:, 2] * plain[:, 0], atol=1e-5)


def test_the_checkpoint_extracts_and_the_tables_name_both(trained, data, tmp_path):
    import pyarrow.dataset as ds

    (tmp_path / "catalog.csv").write_text(f"track_id,path\none,{data / 'development' / 'other' / 'mixture.wav'}\n")
    argv = ["extract", str(tmp_path / "catalog.csv"), "-o", str(tmp_path / "out"), "--model", str(trained)]
    assert cli.main([*argv, "--device", "cpu", "--jobs", "1", "--quiet"]) == 0
    digest = f"{checkpoints.resolve(trained).sha256}+{checkpoints.resolve().sha256}"
    [name] = {f for f in map(str, (tmp_path / "out").rglob("*.parquet")) if "embeddings" in f}
    row = ds.dataset(name).to_table().to_pylist()[0]
    assert (row["model"], row["model_sha256"]) == (f"{trained.stem}+{checkpoints.DEFAULT_MODEL}", digest)


# ------------------------------------------------------------------------------------------------ experiment


def test_the_experiment_compares_methods_and_goes_on(tmp_path, monkeypatch, capsys):
    """Equal data and steps; the direction that is stable at this size: more steps of learning beat fewer."""
    from experiments.gans import few_pairs as runs
    from stemfeatures.datasets.opening import find_tracks
    from stemfeatures.training.data.song_store import build_song_store

    for number in range(5):
        _song(tmp_path / "songs" / f"artist{number} - song", number)
        write(tmp_path / "songs" / f"artist{number} - song" / "other.wav", np.zeros((1, int(SECONDS * RATE))), RATE)
    store = build_song_store(find_tracks(tmp_path / "songs"), tmp_path / "store")
    for number in range(5, 8):
        _song(tmp_path / "real" / f"artist{number} - song", number)
    monkeypatch.setitem(
        runs.METHODS, "adversarial", runs.Method("adversarial", {"critic_width": 2, "critic_updates": 1}, pretrain=0.5)
    )

    def argv(out: str, steps: int, *more: str) -> list[str]:
        sizes = ["--pairs", "2", "--seeds", "1", "--steps", str(steps), "--batch-size", "2", "--frames", "16"]
        given = ["--songs", str(store), "--out", str(tmp_path / out), "--real", str(tmp_path / "real"), "--quiet"]
        methods = ["--methods", "supervised", "adversarial"]
        return [*given, *sizes, "--width", "4", "--depth", "2", "--learning-rate", "0.01", *methods, *more]

    assert runs.main(argv("long", 30, "--real", str(tmp_path / "songs"))) == 2
    assert "songs would also be trained on" in capsys.readouterr().err
    assert runs.main(argv("long", 30, "--max-minutes", "0")) == 0
    assert "goes on" in capsys.readouterr().err
    assert runs.main(argv("long", 30)) == 0
    shown = capsys.readouterr().out
    assert "| 2 |" in shown
    assert "held_out" in shown
    before = (tmp_path / "long" / "adversarial-p002-s0" / "last.pt").stat().st_mtime_ns
    assert runs.main(argv("long", 30)) == 0
    assert (tmp_path / "long" / "adversarial-p002-s0" / "last.pt").stat().st_mtime_ns == before
    assert runs.main(argv("long", 31)) == 2
    assert "another recipe" in capsys.readouterr().err
    assert runs.main(argv("short", 1)) == 0
    scores = {
        name: pd.read_csv(tmp_path / name / "scores.csv").groupby("method")["sdr_db"].mean()
        for name in ("long", "short")
    }
    assert (scores["long"] > scores["short"]).all()
    assert set(scores["long"].index) == {"supervised", "adversarial"}
    capsys.readouterr()
    settings = ["--settings", "alpha=0.5", "pretrain=0", "--first-seed", "7"]
    assert runs.main(argv("tuned", 2, "--tune", *settings)) == 2
    assert "1 held-out songs leave none to tune with" in capsys.readouterr().err
    assert runs.main(argv("tuned", 2, "--tune", *settings, "--held-out", "0.4", "--limit", "1")) == 0
    tuned = pd.read_csv(tmp_path / "tuned" / "scores.csv")
    assert set(tuned["songs"]) == {"development"}  # neither real ones nor those of the tables
    assert set(tuned["seed"]) == {7}
    assert runs.main(argv("plain", 2, "--held-out", "0.4", "--limit", "1")) == 0
    plain = pd.read_csv(tmp_path / "plain" / "scores.csv")
    assert not set(tuned["track"]) & set(plain.loc[plain["songs"] == "held_out", "track"])
    run = json.loads((tmp_path / "tuned" / "adversarial-p002-s7" / "run.json").read_text())
    assert (run["recipe"]["settings"]["alpha"], run["recipe"]["settings"]["pretrain"]) == (0.5, 0)
    for wrong in ("alpha", "rounds=1"):  # not a number; of no method that is asked for
        with pytest.raises(SystemExit):
            runs.main(argv("plain", 2, "--settings", wrong))
    assert "--settings rounds: none of the methods knows it; known: alpha" in capsys.readouterr().err


def test_margins_of_the_oracle_by_term(tmp_path, capsys):
    """Of finished runs that have discriminators of sources, on songs that they have not seen as pairs."""
    from experiments.gans import few_pairs as runs
    from experiments.gans import oracle_margins

    for number in range(4):
        _song(tmp_path / "songs" / f"artist{number} - song", number)
        write(tmp_path / "songs" / f"artist{number} - song" / "other.wav", np.zeros((1, int(SECONDS * RATE))), RATE)
    out = tmp_path / "out"
    argv = ["--songs", str(tmp_path / "songs"), "--out", str(out), "--pairs", "2", "--seeds", "1", "--steps", "2"]
    argv += ["--batch-size", "2", "--frames", "16", "--width", "2", "--depth", "2", "--quiet"]
    assert oracle_margins.main(["--out", str(tmp_path)]) == 2
    assert "0 stores of recordings" in capsys.readouterr().err
    assert runs.main([*argv, "--methods", "supervised", "gan", "factorgan", "factorgan-no-cp"]) == 0
    capsys.readouterr()
    assert oracle_margins.main(["--out", str(out), "-n", "4"]) == 0
    assert "| factorgan-no-cp | 2 |" in capsys.readouterr().out
    table = pd.read_csv(out / "oracle_margins.csv").set_index("method")
    assert set(table.index) == {"factorgan", "factorgan-no-cp", "gan"}
    terms = ["d(target)", "d(accompaniment)", "d_P(sources)", "-d_Q(sources)"]
    assert np.isfinite(table.loc["factorgan", terms].astype(float)).all()
    assert np.isnan(table.loc["factorgan-no-cp", "d_P(sources)"])
    assert np.isfinite(table.loc["gan", "d(sources)"])
    same = table.loc[["gan", "factorgan-no-cp"]]
    assert (same["prefer the oracle"] == same["without d_P"]).all()
    assert table["prefer the oracle"].between(0, 1).all()


def test_more_pairs_contain_fewer_and_are_never_scored(store):
    from experiments.gans.few_pairs import pairs_of

    few, others = pairs_of(store, range(3), 1, 4)
    more, _ = pairs_of(store, range(3), 2, 4)
    assert more[:1] == few
    assert sorted(few + others) == [0, 1, 2]
    with pytest.raises(DatasetError, match="4 pairs of 3"):
        pairs_of(store, range(3), 4, 0)
