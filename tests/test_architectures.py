"""A network is added in one place: then it is listed, saved, loaded, separates, is evaluated and trained."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stemfeatures import models
from stemfeatures.errors import ModelError
from stemfeatures.models import architectures, checkpoints
from stemfeatures.models.network import Grid, Network, NetworkConfig, TargetConfig, TargetNetwork
from stemfeatures.separation import BaseSeparator, open_separator, register_separator
from stemfeatures.training.config import TrainConfig
from stemfeatures.training.objectives.find import find_objective
from stemfeatures.training.objectives.target_networks import build_network, grid_of

RATE = 16_000
#: A network whose mask is a number that it learns, as another package would write it.
PACKAGE = """
from dataclasses import dataclass

import torch
from torch import nn

from stemfeatures.models.network import Grid, TargetConfig, TargetNetwork


@dataclass(frozen=True)
class ShareConfig(TargetConfig):
    share: float = 0.25


class ShareNet(TargetNetwork):
    architecture = "share"
    Config = ShareConfig
    grid = Grid(16_000, 512, 128)
    n_bins = 257
    patch = (64, 8)

    def __init__(self, config=None):
        super().__init__(config)
        self.logit = nn.Parameter(torch.logit(torch.tensor(self.config.share)))

    def forward(self, mixture):
        share = torch.sigmoid(self.logit)
        return torch.log1p(torch.stack([share, 1 - share])[:, None, None] * torch.expm1(mixture)[:, None])

    def masks(self, magnitude):
        share = torch.sigmoid(self.logit)
        return torch.stack([share, 1 - share])[:, None, None] * torch.ones_like(magnitude)[:, None]
"""


@pytest.fixture
def share_net(tmp_path, monkeypatch) -> type[TargetNetwork]:
    """An installed package with one entry point, and nothing else."""
    (tmp_path / "share_net.py").write_text(PACKAGE)
    info = tmp_path / "share_net-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: share-net\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[stemfeatures.networks]\nshare = share_net:ShareNet\nbroken = share_net:Nothing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("share_net").ShareNet
    sys.modules.pop("share_net")


def test_the_table_knows_our_networks():
    assert architectures.names() == ("joint", "unet2017", "unet2018", "unet2020")
    for name in architectures.names():
        network = architectures.find(name)
        assert network.architecture == name
        config = network.Config()
        assert network.Config.from_dict(config.to_dict()) == config
        assert network.stems_of(config)[0] == "vocals"
    assert architectures.find("unet2020").grid == Grid(22_050, 512, 256)


def test_an_installed_network_is_listed_saved_loaded_and_separates(share_net, tmp_path):
    assert architectures.names()[-2:] == ("broken", "share")
    saved = checkpoints.save(share_net(share_net.Config(target="drums")), tmp_path / "share.safetensors", {})
    assert checkpoints.network_class(saved) is share_net
    assert checkpoints.stems_of(saved) == ("drums", "accompaniment")
    assert checkpoints.load_network(saved).config == share_net.Config(target="drums", share=0.25)
    with pytest.raises(ModelError, match="'share' is not 'joint'; such a checkpoint separates drums and accompaniment"):
        checkpoints.load(saved)
    assert checkpoints.resolve_analysis(saved.path)[1] == saved
    y = np.sin(2 * np.pi * 440 * np.arange(30_000) / RATE)[None].astype(np.float32)
    for batch_size in (1, 3):
        separator = open_separator(saved.path, batch_size=batch_size)
        assert separator.band_hz == 8_000
        stems = separator.separate_array(y, RATE)
        assert np.abs(stems["drums"] - 0.25 * y).max() < 1e-5
        assert np.abs(stems["accompaniment"] - 0.75 * y).max() < 1e-5


def test_a_file_among_the_networks_registers_itself(tmp_path, monkeypatch):
    """One file is all there is to add."""
    name = "share_among_ours"
    source = PACKAGE.replace('"share"', f'"{name}"').replace("class ShareNet", "@register\nclass ShareNet")
    (tmp_path / f"{name}.py").write_text(f"from stemfeatures.models.architectures import register\n{source}")
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    monkeypatch.setattr(architectures, "_registered", dict(architectures._registered))
    assert architectures.names() == ("joint", name, "unet2017", "unet2018", "unet2020")
    network = architectures.find(name)
    assert network.__module__ == f"stemfeatures.models.{name}"
    saved = checkpoints.save(network(network.Config(target="drums")), tmp_path / "share.safetensors", {})
    y = np.sin(2 * np.pi * 440 * np.arange(30_000) / RATE)[None].astype(np.float32)
    assert np.abs(open_separator(saved.path).separate_array(y, RATE)["drums"] - 0.25 * y).max() < 1e-5
    config = TrainConfig(name="mine", objective="supervised", target="drums", network=name, model={"share": 0.5})
    find_objective("supervised").check(config)
    assert build_network(config, "cpu").net.config.share == 0.5
    sys.modules.pop(network.__module__)


def test_an_installed_network_is_trained_by_a_recipe(share_net):
    values = {"name": "share", "objective": "supervised", "target": "drums", "network": "share", "steps": 90,
              "batch_size": 2, "n_frames": 16, "ema": 0.0, "learning_rate": 0.1, "warmup": 1}  # fmt: skip
    config = TrainConfig(**values, model={"share": 0.5})
    kind = find_objective(config.objective)
    kind.check(config)
    rate, n_samples = grid_of(config)
    assert (rate, n_samples) == (16_000, 15 * 128 + 512)
    objective = kind(config, "cpu")
    tone = torch.sin(2 * np.pi * 500 * torch.arange(n_samples) / rate)
    # The target is a fifth of the mixture.
    batch = {"pairs": torch.stack([0.2 * tone, 0.8 * tone]).expand(2, 1, 2, n_samples)}
    for _ in range(config.steps):
        objective.step(batch)
    assert torch.sigmoid(objective.exported.logit).item() == pytest.approx(0.2, abs=0.02)
    with pytest.raises(ModelError, match="unknown keys of the model: width; known: share"):
        build_network(TrainConfig(**values, model={"width": 2}), "cpu")


def test_networks_that_are_not_there_or_cannot_be_loaded_are_named(share_net, tmp_path):
    with pytest.raises(ModelError, match=r"unknown network 'share2'; known: joint, .*unet2020, broken, share"):
        architectures.find("share2")
    with pytest.raises(ModelError, match=r"cannot load the network 'broken' \(share_net:Nothing\)"):
        architectures.find("broken")
    saved = checkpoints.save(share_net(), tmp_path / "share.safetensors", {})
    (tmp_path / "share_net-1.0.dist-info" / "entry_points.txt").write_text("")
    importlib.invalidate_caches()
    with pytest.raises(ModelError, match=r"share.safetensors: unknown network 'share'; known: joint"):
        open_separator(saved.path)
    config = TrainConfig(name="mine", objective="supervised", target="drums", network="unet2017")
    with pytest.raises(ModelError, match="mine: unknown network 'unet2017'; known: joint, unet2018, unet2020"):
        find_objective("supervised").check(config)
    with pytest.raises(ModelError, match="the joint objective trains the joint network, not 'unet2018'"):
        find_objective("joint").check(TrainConfig(network="unet2018"))


def test_another_kind_of_network_brings_its_separator(tmp_path, monkeypatch):
    monkeypatch.setattr(architectures, "_registered", dict(architectures._registered))

    @dataclass(frozen=True)
    class GainConfig(NetworkConfig):
        gains: tuple[float, ...] = (0.5, 0.3, 0.2)

    @architectures.register
    class Gains(Network):
        architecture, Config, grid = "gains", GainConfig, Grid(8_000, 256, 64)

        def __init__(self, config: GainConfig | None = None) -> None:
            super().__init__(config)
            self.gains = nn.Parameter(torch.tensor(self.config.gains))

        @classmethod
        def stems_of(cls, config: GainConfig) -> tuple[str, ...]:
            return ("vocals", "guitar", "piano")

    assert architectures.names()[-1] == "gains"
    assert architectures.register(Gains) is Gains
    path = checkpoints.save(Gains(), tmp_path / "gains.safetensors", {}).path
    with pytest.raises(ModelError, match="there is no separator for networks of the architecture 'gains'"):
        open_separator(path)

    @register_separator(Gains)
    class GainSeparator(BaseSeparator):
        def __init__(self, model, *, device: str, batch_size: int) -> None:
            self.net = checkpoints.load_network(model, Gains, device=device)
            self.stems = self.net.stems

        def stream(self, blocks, sample_rate, channels):
            gains = self.net.gains.tolist()
            yield from ({stem: gain * block for stem, gain in zip(self.stems, gains)} for block in blocks)

    y = np.random.default_rng(0).normal(size=(2, 50_000)).astype(np.float32)
    stems = open_separator(path).separate_array(y, RATE)
    np.testing.assert_allclose(stems["piano"], 0.2 * y, rtol=1e-6)
    with pytest.raises(ModelError, match="it separates vocals, guitar, piano, not a target and its accompaniment"):
        checkpoints.resolve_analysis(path)
    with pytest.raises(ValueError, match="there is another network called 'joint'"):
        architectures.register(type("Fake", (Gains,), {"architecture": "joint"}))
    with pytest.raises(ValueError, match="there is another network called 'gains'"):
        architectures.register(type("Fake", (Gains,), {}))


def test_a_target_must_be_a_part_of_the_mixture():
    for target in ("", "mixture", "accompaniment"):
        with pytest.raises(ValueError, match="the target must be a part of the mixture"):
            TargetConfig(target=target)


def test_checkpoints_that_do_not_fit_are_named(tmp_path):
    from safetensors.torch import save_file

    def write(**metadata: str) -> str:
        path = tmp_path / "odd.safetensors"
        save_file({"x": torch.zeros(1)}, str(path), metadata)
        return str(path)

    for metadata, message in (
        ({}, "odd.safetensors: unknown network ''"),
        ({"architecture": "unet2018"}, "the configuration of the network cannot be read: 'config'"),
        ({"architecture": "unet2018", "config": '{"wide": 1}'}, "cannot be read: .*wide"),
        ({"architecture": "unet2018", "config": '{"width": 0}'}, "width and depth must be at least 1"),
        ({"architecture": "unet2018", "config": "[]"}, "cannot be read"),
        ({"architecture": "unet2018", "config": '{"width": 1, "depth": 1}'}, "weights do not fit the network"),
    ):
        with pytest.raises(ModelError, match=message):
            open_separator(write(**metadata))
    with pytest.raises(TypeError, match="no architecture of checkpoints: Linear"):
        checkpoints.save(nn.Linear(1, 1), tmp_path / "linear.safetensors", {})


def test_estimates_add_up_where_a_network_says_so():
    for name, values in (("unet2018", {"output": "mask", "depth": 2}), ("unet2018", {"depth": 2}), ("unet2020", {})):
        network = architectures.find(name)
        config = network.Config(width=2, **values)
        context, n_frames = network.extent(config, 128 if name == "unet2020" else 20)
        torch.manual_seed(0)
        mixture = torch.log1p(torch.rand(1, network.n_bins, n_frames + 2 * context))
        with torch.no_grad():
            estimates: Tensor = network(config).eval().estimate(mixture)
        inside = torch.expm1(mixture)[..., context : context + n_frames]
        adds_up = torch.allclose(torch.expm1(estimates).sum(dim=1), inside, atol=1e-4)
        assert adds_up == network.is_additive(config)
