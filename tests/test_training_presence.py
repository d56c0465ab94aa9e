"""The presence head alone: it learns from what its fixed separator makes of examples, and its offsets are chosen."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from networks import TINY, tiny_checkpoint, tiny_recipe

from stemfeatures.constants import HOP_LENGTH, N_BINS, STEMS
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.errors import DatasetError, ModelError, TrainingError
from stemfeatures.models import checkpoints
from stemfeatures.models.joint import JointNet
from stemfeatures.spectra.transform import stft
from stemfeatures.training import presence as module
from stemfeatures.training.config import TrainConfig
from stemfeatures.training.data.song_store import build_song_store
from stemfeatures.training.interpolation import interpolate
from stemfeatures.training.presence import hear, train_presence
from stemfeatures.training.presence_offsets import main as renew_offsets
from stemfeatures.training.presence_offsets import presence_offsets, with_presence_offsets
from stemfeatures.training.training_data import TrainingData

SR, SECONDS = 22_050, 8.0


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tracks of noise bands, in which each stem rests for a quarter of the time."""
    folder = tmp_path_factory.mktemp("songs")
    rng = np.random.default_rng(0)
    t = np.arange(round(SR * SECONDS)) / SR
    for i in range(2):
        stems = {s: 0.1 * rng.standard_normal(len(t)) * np.sin(220 * 2**k * np.pi * t) for k, s in enumerate(STEMS)}
        for k, stem in enumerate(STEMS):
            stems[stem][(t >= 2 * k) & (t < 2 * k + 2)] = 0
        _write(folder / f"song{i}", stems)
    return folder


def _write(folder: Path, stems: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for name, y in [*stems.items(), ("mixture", np.sum(list(stems.values()), axis=0))]:
        sf.write(folder / f"{name}.wav", y, SR)


@pytest.fixture(scope="module")
def model() -> JointNet:
    torch.manual_seed(1)
    net = JointNet(replace(TINY, presence_channels=4, presence_layers=2)).eval()
    assert net.presence is not None
    with torch.no_grad():
        net.presence.head.weight.mul_(3.0)  # logits that differ
    return net


def test_each_stem_is_found_as_often_as_asked_for(songs: Path, model: JointNet) -> None:
    told: list[str] = []
    asked, less = (dict.fromkeys(STEMS, share) for share in (0.8, 0.4))
    moved = with_presence_offsets(model, presence_offsets(model, songs, recall=asked, on_song=told.append))
    assert told == ["song0", "song1"]
    assert presence_offsets(moved, songs, recall=asked) == pytest.approx(dict.fromkeys(STEMS, 0.0), abs=0.01)
    assert all(offset < -0.01 for offset in presence_offsets(moved, songs, recall=less).values())


@torch.no_grad()
def test_offsets_move_the_logits_of_their_stem_alone(model: JointNet) -> None:
    magnitude = torch.rand(1, 1024, 32, generator=torch.Generator().manual_seed(0))
    before, after = model(magnitude), with_presence_offsets(model, {"drums": -2.0})(magnitude)
    torch.testing.assert_close(after.presence[:, 1], before.presence[:, 1] - 2)
    assert torch.equal(after.presence[:, [0, 2, 3]], before.presence[:, [0, 2, 3]])
    assert torch.equal(after.masks, before.masks)


@torch.no_grad()
def test_what_is_heard_once_is_what_the_network_hears(model: JointNet) -> None:
    rng = np.random.default_rng(0)
    stems = 0.1 * rng.standard_normal((4, 70 * HOP_LENGTH)).astype(np.float32)
    stems[1, : 40 * HOP_LENGTH] = 0
    heard = hear(model, stems)
    n = 64  # whole frames of the bottleneck
    assert heard.levels.shape[1] == heard.plays.shape[1] == n
    assert heard.plays[[0, 2, 3]].all()
    assert (heard.plays[1] & heard.known[1]).tolist() == [False] * 40 + [True] * (n - 40)
    mixture = torch.from_numpy(stems[:, : n * HOP_LENGTH]).sum(dim=0)[None]
    expected = model.read_presence(model.separate(stft(mixture).abs()[:, :N_BINS, :n]))
    found = model.presence.read(*(torch.from_numpy(x[None]).float() for x in (heard.levels, heard.summary)))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)  # kept in half precision


def test_excerpts_are_padded_with_what_is_not_known(model: JointNet) -> None:
    heard = hear(model, 0.1 * np.random.default_rng(0).standard_normal((4, 32 * HOP_LENGTH)))
    cut = heard.cut(np.random.default_rng(0), 64)
    assert cut.levels.shape[1] == cut.known.shape[1] == 64
    assert cut.summary.shape[1] * 32 == heard.summary.shape[1] * 64
    assert cut.known[:, :32].any()
    assert not cut.known[:, 32:].any()


def test_a_run_learns_presence_alone(songs: Path, model: JointNet, tmp_path: Path) -> None:
    """On two songs whose stems differ, the head learns when which plays; everything else stays bit for bit."""
    store = build_song_store(find_tracks(songs), tmp_path / "store")
    initial = checkpoints.save(model, tmp_path / "initial.safetensors", {"licence": "test"}).path
    recipe = tiny_recipe(
        tmp_path / "mini.toml", learns=["presence"], songs=1.0, initial=str(initial), steps=60, batch_size=4,
        n_frames=128, learning_rate=0.01,
    )  # fmt: skip
    recipe.write_text(recipe.read_text().replace("presence_channels = 0", "presence_channels = 4"))
    out = tmp_path / "out.safetensors"
    unseen = tmp_path / "unseen"
    for track in find_tracks(songs):
        _write(unseen / track.name, {stem: 0.9 * track.audio(stem)[0][0] for stem in STEMS})
    module.main(["--recipe", str(recipe), "--songs", str(store), "--unseen", str(unseen), "-o", str(out)])
    learned = checkpoints.load(out)
    before, after = model.state_dict(), learned.state_dict()
    assert {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])} == {"presence"}
    card = checkpoints.resolve(out).card
    assert card["training"]["presence_offsets"]["chosen_on"] == "unseen"
    assert card["training"]["steps"] == 60
    assert card["data"][0]["songs"] == 2
    heard = [hear(model, np.stack([track.audio(stem)[0][0] for stem in STEMS])) for track in find_tracks(songs)]

    def error(net: JointNet) -> float:
        levels, summary = (torch.from_numpy(getattr(heard[0], x)[None]).float() for x in ("levels", "summary"))
        with torch.no_grad():
            wrong = (net.presence.read(levels, summary)[0] > 0).numpy() != heard[0].plays
        return float(wrong[heard[0].known].mean())

    assert error(learned) < 0.6 * error(model)
    half = copy.deepcopy(learned.presence)
    interpolate(half, model.presence, 0.25)
    for name, value in half.named_parameters():
        ends = (net.presence.get_parameter(name) for net in (learned, model))
        torch.testing.assert_close(value, sum(share * end for share, end in zip((0.25, 0.75), ends)))


def test_offsets_are_chosen_anew(
    songs: Path, model: JointNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the biases of the head change, and the card tells on what they were chosen."""
    before = checkpoints.save(model, tmp_path / "before.safetensors", {"licence": "test", "metrics": {"set": {}}}).path
    out = tmp_path / "out.safetensors"
    renew_offsets([str(before), str(songs), "--recall", "vocals=0.8", "-o", str(out)])
    expected = presence_offsets(model, songs, recall={"vocals": 0.8, "drums": 0.995, "bass": 0.995, "other": 0.99})
    old, new = (checkpoints.load(path).state_dict() for path in (before, out))
    assert {name for name, value in new.items() if not torch.equal(value, old[name])} == {"presence.head.bias"}
    moved = new["presence.head.bias"] - old["presence.head.bias"]
    np.testing.assert_allclose(moved.numpy(), [expected[stem] for stem in STEMS], rtol=1e-4, atol=1e-5)
    card = checkpoints.resolve(out).card
    assert card["metrics"] == {}
    kept = card["training"]["presence_offsets"]
    assert (kept["chosen_on"], kept["recall"]["vocals"]) == (songs.name, 0.8)
    assert kept["bass"] == pytest.approx(expected["bass"], abs=1e-4)
    assert f"sha256 {checkpoints.resolve(out).sha256}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        renew_offsets([str(before), str(songs), "--recall", "vocals=2", "-o", str(out)])
    assert "such as vocals=0.9: 'vocals=2'" in capsys.readouterr().err


def test_what_cannot_be_done_is_said(songs: Path, model: JointNet, tmp_path: Path) -> None:
    without = checkpoints.load(tiny_checkpoint(tmp_path))
    with pytest.raises(TrainingError, match="no presence"):
        presence_offsets(without, songs)
    with pytest.raises(ValueError, match="no presence"):
        with_presence_offsets(without, {})
    noise = np.random.default_rng(0).standard_normal(SR) * 0.1
    _write(tmp_path / "quiet" / "song", {stem: 0 * noise if stem == "bass" else noise for stem in STEMS})
    with pytest.raises(TrainingError, match="bass plays in none"):
        presence_offsets(model, tmp_path / "quiet")
    wrong = TrainConfig(learns=("rhythm",), initial="joint-v2")
    with pytest.raises(ModelError, match="presence alone"):
        train_presence(wrong, TrainingData(songs=songs), songs, tmp_path / "no.safetensors")
    both = TrainConfig(learns=("presence",), initial="joint-v2", songs=0.5)
    with pytest.raises(DatasetError, match="asks for songs"):
        train_presence(both, TrainingData(), songs, tmp_path / "no.safetensors")
    store = build_song_store(find_tracks(songs), tmp_path / "store")
    with pytest.raises(DatasetError, match="asks for a bank"):
        train_presence(both, TrainingData(songs=store), songs, tmp_path / "no.safetensors")
    alone = TrainConfig(learns=("presence",), initial="joint-v2", songs=1.0)
    with pytest.raises(TrainingError, match=r"2 tracks of the development songs .* would also be trained on"):
        train_presence(alone, TrainingData(songs=store), songs, tmp_path / "no.safetensors")
