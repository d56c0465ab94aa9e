"""The 2017 U-Net as a system: its front end, its training, its checkpoints, and what separates with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from networks import tiny_checkpoint
from tone_songs import tone_store

from experiments.layouts2019 import unet2017
from pipelines import cli
from stemfeatures.constants import STEMS
from stemfeatures.errors import ModelError
from stemfeatures.evaluation import get_estimator
from stemfeatures.models import checkpoints
from stemfeatures.models.unet2017 import HOP_LENGTH, N_FFT, SAMPLE_RATE, UNet2017Pair
from stemfeatures.models.unet2018 import UNet2018, UNet2018Config
from stemfeatures.separation import Separator, open_separator
from stemfeatures.separation.patches import Patches, PatchSeparator
from stemfeatures.training.data.example import label_example

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    return checkpoints.save(UNet2017Pair().eval(), folder / "old.safetensors", {"licence": "test"}).path


@pytest.fixture
def separator(checkpoint, monkeypatch) -> PatchSeparator:
    """Masks that are known: all of it to the vocals, a quarter to the accompaniment."""
    found = open_separator(checkpoint)
    assert isinstance(found, PatchSeparator)
    shares = torch.tensor([1.0, 0.25])[:, None, None]
    monkeypatch.setattr(found.net, "forward", lambda magnitude: shares * torch.ones_like(magnitude)[:, None])
    return found


def _tones(rate: int, channels: int, n: int) -> np.ndarray:
    t = np.arange(n) / rate
    return np.stack([np.sin(2 * np.pi * (440 + 100 * c) * t) for c in range(channels)]).astype(np.float32)


def test_pair_shares_nothing_and_gives_the_nyquist_bin_a_half():
    torch.manual_seed(0)
    pair = UNet2017Pair().eval()
    x = torch.rand(1, 513, 128)
    masks = pair(x)
    assert masks.shape == (1, 2, 513, 128)
    assert torch.equal(masks[:, :, 512], torch.full((1, 2, 128), 0.5))
    assert torch.allclose(masks, pair(1e-3 * x), atol=1e-4)
    masks[:, 0].sum().backward()
    assert not any(p.grad.any() for p in pair.nets["accompaniment"].parameters())
    assert all(layer[0].weight.grad.any() for layer in pair.nets["vocals"].encoder)


def test_patches_need_a_middle(tmp_path, monkeypatch):
    for border in (4, 5, -1):
        with pytest.raises(ValueError, match=f"patches of 8 frames have no middle between borders of {border} frames"):
            Patches(lambda y: y, n_frames=8, border=border)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        Patches(lambda y: y, n_frames=8, batch_size=0)
    path = checkpoints.save(UNet2017Pair(), tmp_path / "pair.safetensors", {}).path
    monkeypatch.setattr(UNet2017Pair, "patch", (128, 64))
    with pytest.raises(ModelError, match=r"pair\.safetensors: patches of 128 frames have no middle"):
        PatchSeparator(path)


def test_patches_join_without_a_seam():
    rng = np.random.default_rng(0)
    for n in (1, 31, 64, 96, 97, 300):
        x = torch.from_numpy(rng.standard_normal((3, n)))
        assert torch.equal(Patches(lambda y: 2 * y, n_frames=128).all(x), 2 * x)
        patches, parts, place = Patches(lambda y: 2 * y, n_frames=128), [], 0
        while place < n:
            step = int(rng.integers(1, 70))
            parts += patches.push(x[:, place : place + step])
            place += step
        assert torch.equal(torch.cat([*parts, *patches.finish()], dim=-1), 2 * x)
    seen: list[torch.Tensor] = []
    Patches(lambda y: seen.append(y.clone()) or y, n_frames=8).all(torch.arange(1.0, 11.0)[None])
    assert [y[0, 0].tolist() for y in seen[:3]] == [
        [0, 0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 8, 9, 10], [7, 8, 9, 10, 0, 0, 0, 0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "channels", "n"), [(44_100, 2, 300_001), (8_192, 1, 98_560), (48_000, 2, 5_000), (16_000, 1, 1)]
)
def test_known_masks_give_known_stems_of_the_length_of_the_input(separator, rate, channels, n):
    y = _tones(rate, channels, n)
    stems = separator.separate_array(y, rate)
    assert {s: x.shape for s, x in stems.items()} == {"vocals": y.shape, "accompaniment": y.shape}
    if n > 10_000:
        middle = slice(n // 8, -n // 8)
        assert np.abs(stems["vocals"] - y)[:, middle].max() < 1e-3
        assert np.abs(stems["accompaniment"] - 0.25 * y)[:, middle].max() < 1e-3


@pytest.mark.parametrize("rest", [0, 1, 300, 520, 614, 766, 767])
def test_the_end_is_the_signal_to_its_last_sample(separator, rest):
    """Where a signal ends between two frames its end is covered as well as its middle, or not at all."""
    y = _tones(8_192, 1, 20 * 768 + rest)
    stems = separator.separate_array(y, 8_192)
    assert np.abs(stems["vocals"] - y)[:, 768:].max() < 1e-4
    assert np.abs(stems["accompaniment"] - 0.25 * y)[:, 768:].max() < 1e-4


@pytest.mark.parametrize("net", [UNet2018(UNet2018Config(width=2, depth=1, output="mask")), UNet2017Pair()])
def test_masks_that_differ_from_frame_to_frame_leave_no_click_at_the_end(net, tmp_path, monkeypatch):
    """Under the flank of the last window alone, what a mask changes would be amplified without bound."""
    path = checkpoints.save(net, tmp_path / "net.safetensors", {"architecture": net.architecture}).path
    separator, rng = open_separator(str(path)), torch.Generator().manual_seed(0)
    assert isinstance(separator, PatchSeparator)
    monkeypatch.setattr(
        separator.net, "masks", lambda x: torch.rand(len(x), 2, *x.shape[1:], generator=rng), raising=False
    )
    hop, noise = net.grid.hop_length, np.random.default_rng(0)
    for rest in (hop // 2, int(0.7 * hop), hop - 6, hop - 1):
        y = 0.1 * noise.standard_normal((1, 20 * hop + rest)).astype(np.float32)
        for stem in separator.separate_array(y, net.grid.sample_rate).values():
            assert np.abs(stem[:, -hop:]).max() < 2 * np.abs(stem[:, :-hop]).max()


def test_blocks_do_not_matter_and_nothing_is_above_the_band(separator):
    rate = 22_050
    y = (0.1 * np.random.default_rng(0).standard_normal((1, 20 * rate))).astype(np.float32)
    whole = separator.separate_array(y, rate)
    cuts = np.sort(np.random.default_rng(1).integers(0, y.shape[1], 30))
    parts = list(separator.stream(np.split(y, cuts, axis=1), rate, 1))
    assert len(parts) > 2
    for stem, signal in whole.items():
        assert np.allclose(np.concatenate([part[stem] for part in parts], axis=1), signal, atol=1e-6)
    power = np.abs(np.fft.rfft(whole["vocals"][0])) ** 2
    hertz = np.fft.rfftfreq(y.shape[1], 1 / rate)
    assert power[hertz > SAMPLE_RATE / 2].sum() < 1e-3 * power.sum()
    assert list(separator.stream([], rate, 1)) == []


def test_examples_are_patches_of_the_papers_size():
    frames = unet2017.N_ANALYSIS_FRAMES
    stems = np.zeros((4, frames * 512), np.float32)
    t = np.arange(frames * 512) / 22_050
    stems[STEMS.index("vocals")], stems[STEMS.index("bass")] = np.sin(2 * np.pi * 800 * t), np.sin(2 * np.pi * 96 * t)
    example = label_example(stems, {"vocals": None, "bass": None})
    item = unet2017.prepare_example(example)
    assert item["sources"].shape == (2, 127 * HOP_LENGTH + N_FFT) == (2, 98_560)
    batch = unet2017.prepare_batch({"sources": torch.from_numpy(item["sources"])[None]})
    assert batch["mixture"].shape == (1, 513, 128)
    assert batch["sources"].shape == (1, 2, 513, 128)
    assert batch["sources"][0, :, :, 60].argmax(dim=1).tolist() == [100, 12]  # 8 Hz a bin


def test_training_makes_the_loss_smaller():
    torch.manual_seed(0)
    pair = UNet2017Pair()
    x = torch.rand(1, 2, 513, 128)
    batch = {"sources": x, "mixture": x.sum(dim=1)}
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3)
    history = []
    for _ in range(6):
        terms = unet2017.losses(pair, batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        history.append(float(terms["loss"].detach()))
    assert history[-1] < 0.9 * history[0]
    assert terms["loss"] == terms["vocals"] + terms["accompaniment"]


def test_the_command_trains_and_the_checkpoint_is_used_everywhere(tmp_path, capsys):
    store = tone_store(tmp_path / "store")
    out = tmp_path / "run"
    argv = ["--songs", str(store.path), "--out", str(out), "--steps", "2", "--batch-size", "1"]
    argv += ["--held-out", "0.3", "--licence", "CC0-1.0", "--data-licence", "tones=CC0-1.0"]
    assert unet2017.main([*argv, "--max-minutes", "1e-9"]) == 0
    assert "1 of 2 steps" in capsys.readouterr().out
    assert unet2017.main(argv) == 0
    path = out / "unet2017.safetensors"
    assert "2 of 2 steps" in capsys.readouterr().out
    card = checkpoints.resolve(path).card
    assert (card["architecture"], card["licence"], card["training"]["steps"]) == ("unet2017", "CC0-1.0", 2)
    assert [(d["source"], d["licence"], d["songs"] < 4) for d in card["data"]] == [("tones", "CC0-1.0", True)]
    assert unet2017.main([*argv, "--learning-rate", "1"]) == 2
    capsys.readouterr()

    song = tmp_path / "eval" / "song"
    song.mkdir(parents=True)
    tones = {stem: 0.1 * _tones(16_000, i + 1, 32_000)[-1] for i, stem in enumerate(STEMS)}
    for name, y in (tones | {"mixture": sum(tones.values())}).items():
        soundfile.write(song / f"{name}.wav", y, 16_000, subtype="FLOAT")
    assert cli.main(["separate", str(song / "mixture.wav"), "-o", str(tmp_path / "stems"), "-m", str(path)]) == 0
    written = sorted((tmp_path / "stems" / "mixture").iterdir())
    assert [f.name for f in written] == ["accompaniment.wav", "vocals.wav"]
    assert all(soundfile.info(f).frames == 32_000 for f in written)
    drums = ["separate", str(song / "mixture.wav"), "-o", str(tmp_path), "-m", str(path), "--stems", "drums"]
    assert cli.main(drums) == 2
    assert "there are: vocals, accompaniment" in capsys.readouterr().err
    argv = ["evaluate", "separation", str(tmp_path / "eval"), "-m", str(path), "--references", "none", "--json", "-q"]
    assert cli.main(argv) == 0
    rows = {row["stem"]: row["status"] for row in json.loads(capsys.readouterr().out)["tracks"]}
    assert rows["vocals"] == "ok"
    assert rows["drums"] == "not_offered"
    with pytest.raises(NotImplementedError, match="separates only"):
        get_estimator(str(path)).f0(np.zeros((1, 16_000), np.float32), 16_000)
    with pytest.raises(ModelError, match="separates vocals and accompaniment and can do nothing else"):
        checkpoints.load(path)


def test_each_kind_of_checkpoint_gets_its_separator(checkpoint, tmp_path):
    joint = tiny_checkpoint(tmp_path)
    assert checkpoints.network_class(joint).architecture == "joint"
    assert checkpoints.network_class(checkpoint) is UNet2017Pair
    found = open_separator(joint)
    assert type(found) is Separator
    assert found.stems == STEMS
    with pytest.raises(ModelError, match="'joint' is not 'unet2017'"):
        checkpoints.load_network(joint, UNet2017Pair)
    joint.write_bytes(b"nothing")
    joint.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match="cannot read the checkpoint"):
        open_separator(joint)
