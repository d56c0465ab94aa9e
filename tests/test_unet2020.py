"""The generator of FactorGAN: shapes and noise, training, and the checkpoint in separate, evaluate and extract."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from pipelines import cli
from stemfeatures.audio import write
from stemfeatures.errors import ModelError
from stemfeatures.evaluation import CheckpointEstimator, evaluate
from stemfeatures.models import checkpoints, unet2020
from stemfeatures.models.unet2020 import UNet2020, UNet2020Config
from stemfeatures.separation import open_separator
from stemfeatures.separation.patches import PatchSeparator
from stemfeatures.separation.target_masks import TargetMasks
from stemfeatures.spectra.transform import stft
from stemfeatures.training.config import TrainConfig, load_config
from stemfeatures.training.objectives.find import find_objective
from stemfeatures.training.objectives.target_networks import NetworkFrontEnd, build_network, grid_of
from stemfeatures.training.preparation import find_recipe

torch.set_num_threads(1)
RATE = unet2020.SAMPLE_RATE
TINY = {"width": 2, "depth": 2, "noise": 3}


def tiny(target: str = "vocals") -> UNet2020:
    torch.manual_seed(0)
    return UNet2020(UNet2020Config(target=target, n_frames=16, **TINY))


def test_parts_add_up_and_noise_is_heard():
    net = tiny().eval()
    mixture = torch.rand(3, 256, 16)
    with torch.no_grad():
        fixed, again = net(mixture), net(mixture)
        here, there = (net(mixture, noise) for noise in (torch.full((3, 3), -1.0), torch.full((3, 3), 1.0)))
    assert fixed.shape == (3, 2, 256, 16)
    assert torch.equal(fixed, again)
    assert torch.allclose(torch.expm1(fixed).sum(dim=1), torch.expm1(mixture), atol=1e-5)
    assert not torch.allclose(here, there, atol=1e-6)
    assert float(net.fixed.abs().max()) <= 1
    with pytest.raises(ValueError, match=r"patches of \(256, 16\) bins and frames, not \(256, 17\)"):
        net(torch.rand(1, 256, 17))


def test_the_network_of_the_paper():
    net = UNet2020()
    widths = [m.out_channels for block in net.down for m in block if isinstance(m, nn.Conv2d)]
    assert widths == [w for w in (32, 64, 128, 256, 256) for _ in range(2)]
    assert [block[0].out_channels for block in net.up] == [128, 64, 32, 32]
    assert net.planes.in_features == 50
    assert net.planes.out_features == 2 * 16 * 8  # two planes of the bottleneck
    assert (net.out.in_channels, net.out.out_channels) == (32, 1)


def test_upsampling_keeps_the_corners_unless_a_checkpoint_does_not_say_so():
    said = UNet2020Config(n_frames=16, **TINY)
    old = UNet2020Config.from_dict({k: v for k, v in said.to_dict().items() if k != "align_corners"})
    assert (said.align_corners, old.align_corners) == (True, False)
    assert UNet2020Config.from_dict(said.to_dict()) == said
    for config, kept in ((said, True), (old, False)):
        torch.manual_seed(0)
        net, seen = UNet2020(config).eval(), {}
        net.down[-1].register_forward_hook(lambda module, args, out, seen=seen: seen.update(bottom=out))
        net.up[0].register_forward_pre_hook(lambda module, args, seen=seen: seen.update(raised=args[0]))
        net(torch.rand(1, 256, 16))
        corners = seen["bottom"][..., ::63, ::3]
        raised = seen["raised"][:, 4:8]  # beside the encoder's four planes, before those of the noise
        assert raised.shape[-2:] == (128, 8)
        assert torch.allclose(raised[..., ::127, ::7], corners)  # of either kind
        step = raised[..., 0, 1] - raised[..., 0, 0]
        between = seen["bottom"][..., 0, 1] - seen["bottom"][..., 0, 0]
        assert torch.allclose(step, between * (3 / 7 if kept else 1 / 4), atol=1e-6)


def test_no_noise_is_a_network_as_well():
    net = UNet2020(UNet2020Config(width=2, depth=1, noise=0, n_frames=8)).eval()
    assert net(torch.rand(1, 256, 8)).shape == (1, 2, 256, 8)


@pytest.mark.parametrize(
    "values",
    [{"width": 0}, {"depth": 0}, {"noise": -1}, {"n_frames": 100}, {"depth": 9, "n_frames": 512}, {"target": ""}],
)
def test_networks_that_make_no_sense(values):
    with pytest.raises(ValueError, match=r"width|halved|target"):
        UNet2020Config(**values)


def recipe(objective: str = "factorgan", **values: object) -> TrainConfig:
    return TrainConfig(
        **{
            "name": "tiny", "objective": objective, "target": "vocals", "network": "unet2020", "batch_size": 3,
            "n_frames": 16, "steps": 8, "warmup": 1, "learning_rate": 1e-3, "model": TINY,
            "settings": {"width": 2, "rounds": 1} if objective == "factorgan" else {},
        } | values
    )  # fmt: skip


def test_the_recipe_of_the_paper():
    config = load_config(find_recipe("factorgan-2020"))
    find_objective(config.objective).check(config)
    network = build_network(config, "cpu")
    assert isinstance(network, NetworkFrontEnd)
    assert (network.n_bins, network.n_frames, network.context) == (256, 128, 0)
    assert grid_of(config) == (22_050, 127 * 256 + 512)
    assert (config.batch_size, config.learning_rate, config.steps) == (25, 1e-4, 200_000)


def noisy_batch(kind: type, config: TrainConfig, n_samples: int, step: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(step)
    draws, n = kind.draws(config), config.batch_size
    songs = torch.arange(n)[:, None]
    batch = {
        "mixture_songs": songs.expand(n, max(draws.mixtures, 1)),
        "pairs": 0.1 * torch.randn(n, draws.pairs, 2, n_samples, generator=rng),
        "pair_songs": songs.expand(n, draws.pairs),
    }
    for name in ("mixtures", "solos", "accompaniments"):
        if count := getattr(draws, name):
            batch[name] = 0.1 * torch.randn(n, count, n_samples, generator=rng)
    return batch


@pytest.mark.parametrize("objective", ["factorgan", "supervised"])
def test_noise_differs_from_draw_to_draw_and_runs_go_on_exactly(objective, tmp_path):
    config = recipe(objective)
    kind = find_objective(objective)

    def run(stop: int | None) -> list[torch.Tensor]:
        learner = kind(config, "cpu")
        for step in range(3):
            if step == stop:
                torch.save(learner.state_dict(), tmp_path / "last.pt")
                learner = kind(config, "cpu")
                learner.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True))
                torch.randn(7)  # nothing draws from torch's own stream
            learner.step(noisy_batch(kind, config, learner.network.n_samples, step))
        return list(learner.network.parameters())

    assert all(torch.equal(a, b) for a, b in zip(run(None), run(2)))
    network = build_network(config, "cpu")
    network.train(5)
    mixture = torch.rand(2, 256, 16)
    here, there = network.separate(mixture), network.separate(mixture)
    assert not torch.allclose(here, there, atol=1e-7)  # the critics of a step see several draws
    network.train(6)
    assert not torch.allclose(here, network.separate(mixture), atol=1e-7)


def test_training_goes_on_from_a_checkpoint_of_the_same_network(tmp_path):
    first = checkpoints.save(tiny(), tmp_path / "first.safetensors", {})
    network = build_network(recipe(initial=str(first.path)), "cpu")
    expected = checkpoints.load_network(first).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.net.state_dict().items())
    with pytest.raises(ModelError, match="its network is not the recipe's"):
        build_network(recipe(initial=str(first.path), n_frames=32), "cpu")
    with pytest.raises(ModelError, match="unknown keys of the model: n_frames; known: align_corners"):
        build_network(recipe(model={"n_frames": 16}), "cpu")
    with pytest.raises(ModelError, match="18 frames by 256 bins cannot be halved 2 times"):
        build_network(recipe(n_frames=18), "cpu")


@pytest.mark.parametrize(
    ("rate", "channels", "n"), [(22_050, 1, 60_000), (44_100, 2, 70_000), (8_000, 1, 9_000), (22_050, 1, 1)]
)
def test_parts_of_signals_of_any_kind_sum_to_them(tmp_path, rate, channels, n):
    separator = open_separator(checkpoints.save(tiny("drums"), tmp_path / "m.safetensors", {}).path)
    assert isinstance(separator, PatchSeparator)
    time = np.arange(n) / rate
    y = np.stack([0.2 * np.sin(2 * np.pi * (500 + 200 * k) * time) for k in range(channels)]).astype(np.float32)
    stems = separator.separate_array(y, rate)
    assert list(stems) == ["drums", "accompaniment"]
    assert all(part.shape == y.shape for part in stems.values())
    inside = slice(n // 10, n - n // 10) if n > 1 else slice(None)
    assert np.abs(sum(stems.values()) - y)[:, inside].max() < 0.01
    blocks = [y[:, i : i + 4_001] for i in range(0, n, 4_001)]
    streamed = np.concatenate([part["drums"] for part in separator.stream(blocks, rate, channels)], axis=1)
    assert np.allclose(stems["drums"], streamed, atol=1e-5)


def test_masks_for_the_analysis_reach_up_to_the_end_of_the_band(tmp_path):
    net = tiny()
    with torch.no_grad():
        net.out.weight.zero_()
        net.out.bias.fill_(float(torch.logit(torch.tensor(0.3))))  # three tenths of everything are vocals
    masks = TargetMasks(checkpoints.save(net, tmp_path / "m.safetensors", {}).path)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32))
    mask = masks(stft(noise))["vocals"]
    assert torch.allclose(mask[:, 5:-5], torch.tensor(0.3), atol=0.02)
    with pytest.raises(ModelError, match="not a target and its accompaniment"):
        TargetMasks(checkpoints.DEFAULT_MODEL)


def test_train_separate_evaluate(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for k in range(3):
        folder = tmp_path / ("pairs" if k < 2 else "development") / f"song{k}"
        folder.mkdir(parents=True)
        vocals = 0.3 * np.sin(2 * np.pi * 220 * (k + 1) * np.arange(3 * RATE) / RATE).astype(np.float32)
        other = rng.normal(0, 0.05, 3 * RATE).astype(np.float32)
        for name, y in {"vocals": vocals, "other": other, "mixture": vocals + other}.items():
            write(folder / f"{name}.wav", y[None], RATE)
    values = {"name": "tiny", "objective": "factorgan", "network": "unet2020", "steps": 2, "batch_size": 2,
              "n_frames": 16, "warmup": 1, "log_every": 1}  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    lines += ["[model]", *(f"{key} = {value}" for key, value in TINY.items())]
    lines += ["[settings]", "width = 2", "rounds = 1"]
    (tmp_path / "tiny.toml").write_text("\n".join(lines) + "\n")
    pairs = str(tmp_path / "pairs")
    argv = ["train", "--recipe", str(tmp_path / "tiny.toml"), "--target", "vocals", "--pairs", pairs]
    argv += ["--mixtures", pairs, "--solos", pairs, "--accompaniments", pairs, "--workers", "0", "--device", "cpu"]
    argv += ["--validate", str(tmp_path / "development"), "--run-dir", str(tmp_path / "run")]
    assert cli.main(argv) == 0
    checkpoint = next((tmp_path / "run").glob("*.safetensors"))
    assert checkpoints.stems_of(checkpoint) == ("vocals", "accompaniment")
    assert checkpoints.resolve(checkpoint).card["architecture"] == "unet2020"
    out = tmp_path / "stems"
    assert cli.main(["separate", str(folder / "vocals.wav"), "-o", str(out), "-m", str(checkpoint)]) == 0
    assert {p.name for p in (out / "vocals").iterdir()} == {"vocals.wav", "accompaniment.wav"}
    estimator = CheckpointEstimator(str(checkpoint))
    table = evaluate("separation", tmp_path / "development", estimator).table.set_index("stem")
    assert np.isfinite(table.loc["vocals", "sdr_db"])
    capsys.readouterr()
