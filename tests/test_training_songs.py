"""Training on multitracks: the store, the examples cut from it, development songs, the journal."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from networks import TINY, tiny_checkpoint, tiny_recipe

from pipelines import cli
from stemfeatures.analysis import Analyser
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE as SR
from stemfeatures.constants import HOP_LENGTH, N_FFT, PITCH_BINS_PER_OCTAVE, PITCH_FMIN, STEMS
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.errors import DatasetError, ModelError
from stemfeatures.evaluation.presence import presence_truth
from stemfeatures.models import checkpoints
from stemfeatures.training import loop
from stemfeatures.training.calibration import LEVEL_PRIORS, SHARPNESS, adjusted
from stemfeatures.training.card import data_sources
from stemfeatures.training.config import TrainConfig, load_config
from stemfeatures.training.data import song_store
from stemfeatures.training.data.device_mixing import DeviceMixer, Excerpts
from stemfeatures.training.data.joining import Joining
from stemfeatures.training.data.song_store import SongStore, build_song_store
from stemfeatures.training.data.songs import OTHER_VOCALS, REMIX, SongMixer
from stemfeatures.training.journal import best_validation, looks_without_better
from stemfeatures.training.objectives import losses
from stemfeatures.training.objectives.joint import JointObjective
from stemfeatures.training.training_data import Shared, TrainingData
from stemfeatures.training.validation import Validation, validate

RATE, SECONDS, BPM = 44_100, 9.0, 120.0
HERTZ = {"vocals": 311.0, "bass": 65.0, "other": 523.0}


def _song(folder: Path, *, detune: float = 1.0, singing: tuple[float, float] = (2.0, 7.0)) -> Path:
    """A song whose parts are as simple as they can be told apart, with its truth."""
    folder.mkdir(parents=True)
    t = np.arange(int(SECONDS * RATE)) / RATE
    sung = (t >= singing[0]) & (t < singing[1])
    harmonics = {
        stem: sum(np.sin(2 * np.pi * k * hertz * detune * t) / k for k in range(1, 7)) for stem, hertz in HERTZ.items()
    }
    stems = {stem: 0.08 * y for stem, y in harmonics.items()}
    stems["vocals"] = stems["vocals"] * sung
    beats = np.arange(0.0, SECONDS, 60 / BPM)
    drums = np.zeros(len(t))
    seed = round(1000 * (detune - 1))  # other drums, or the song would be the same in part
    click = np.random.default_rng(seed).standard_normal(2000) * np.exp(-np.arange(2000) / 300)
    for beat in beats:
        start = round(beat * RATE)
        drums[start : start + 2000] += 0.2 * click[: len(drums) - start]
    stems["drums"] = drums
    for name, y in (stems | {"mixture": sum(stems.values())}).items():
        soundfile.write(folder / f"{name}.wav", np.stack([y, y], axis=1), RATE, subtype="FLOAT")
    times = np.arange(0.0, SECONDS, 0.01)
    voiced = (times >= singing[0]) & (times < singing[1])
    truth = {
        "f0": {
            "vocals": [{"times_s": times.tolist(), "f0_hz": (voiced * HERTZ["vocals"] * detune).tolist()}],
            "bass": {"times_s": times.tolist(), "f0_hz": [HERTZ["bass"] * detune] * len(times)},
        },
        "beats_s": beats.tolist(),
        "beat_positions": [1 + i % 4 for i in range(len(beats))],
        "onsets_s": {"drums": beats.tolist()},
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    return folder


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "songs"
    _song(folder / "one")
    _song(folder / "two", detune=2 ** (3 / 12), singing=(0.0, SECONDS))
    return folder


@pytest.fixture(scope="module")
def store(songs, tmp_path_factory) -> SongStore:
    return SongStore(build_song_store(find_tracks(songs), tmp_path_factory.mktemp("store")))


def _strength(y: np.ndarray, hertz: float) -> float:
    """How strong a sinusoid of ``hertz`` is in ``y``, 0..1 of its energy."""
    window = np.hanning(len(y))
    tone = np.exp(-2j * np.pi * hertz * np.arange(len(y)) / SR)
    return float(2 * abs(np.sum(window * y * tone)) ** 2 / (np.sum(window) * np.sum(window * y**2) + 1e-12))


def test_a_store_holds_the_stems_and_their_labels(store):
    assert [song.track for song in store.songs] == ["one", "two"]
    assert store.songs[0].known == ("bass_f0", "beats_s", "downbeats_s", "onsets_s", "vocals_f0")
    assert store.n_samples(0) == math.ceil(SECONDS * SR)
    for stem, hertz in HERTZ.items():
        assert _strength(store.stem(0, stem, 3 * SR, SR), hertz) > 0.5, stem
    assert not store.stem(0, "vocals", 0, SR).any()
    assert np.abs(store.stem(0, "other", 8 * SR, 2 * SR)[-SR // 2 :]).max() == 0  # beyond the end
    f0 = store.labels(0)["vocals_f0"]
    voiced = np.flatnonzero(f0[0]) * HOP_LENGTH / SR
    assert f0.shape == (1, 1 + store.n_samples(0) // HOP_LENGTH)
    assert (voiced[0], voiced[-1]) == (pytest.approx(2.0, abs=0.03), pytest.approx(7.0, abs=0.03))
    assert np.allclose(store.labels(0)["downbeats_s"], np.arange(0, SECONDS, 4 * 60 / BPM))


def test_a_store_is_built_on_where_it_was_left(songs, tmp_path):
    build_song_store(find_tracks(songs), tmp_path)
    made = (tmp_path / "00000.npy").stat().st_mtime_ns
    (tmp_path / "store.json").unlink()
    (tmp_path / "00001.json").unlink()
    build_song_store(find_tracks(songs), tmp_path)
    assert (tmp_path / "00000.npy").stat().st_mtime_ns == made
    assert len(SongStore(tmp_path).songs) == 2


def test_a_store_takes_more_songs(songs, tmp_path):
    """They come after those that are there, whose numbers and sounds stay."""
    _song(tmp_path / "later" / "a_new_one", detune=2 ** (1 / 12))
    store = SongStore(build_song_store(find_tracks(songs), tmp_path / "store"))
    before = [(song.number, song.track, store.stem(i, "bass", SR, 64)) for i, song in enumerate(store.songs)]
    song_store.main([str(tmp_path / "store"), str(songs), str(tmp_path / "later")])
    store = SongStore(tmp_path / "store")
    assert [(song.number, song.track) for song in store.songs] == [(0, "one"), (1, "two"), (2, "a_new_one")]
    for number, _, heard in before:
        np.testing.assert_array_equal(store.stem(number, "bass", SR, 64), heard)
    assert _strength(store.stem(2, "bass", 3 * SR, SR), HERTZ["bass"] * 2 ** (1 / 12)) > 0.5


def test_songs_join_a_run(songs, tmp_path):
    """Examples before the one that was noted stay what they were, later ones are also drawn from what is new."""
    build_song_store([track for track in find_tracks(songs) if track.name == "one"], tmp_path / "store")
    joining = Joining(tmp_path / "songs.csv", tmp_path / "store")
    assert (joining.look(0), joining.look(5)) == (1, None)
    mixer = SongMixer(SongStore(tmp_path / "store"), n_frames=32, seed=3, joining=joining)
    before = [mixer.example(index) for index in range(20)]
    build_song_store(find_tracks(songs), tmp_path / "store")
    assert Joining(tmp_path / "songs.csv", tmp_path / "store").look(10) == 2  # another process notes it
    assert [joining.songs(example) for example in (0, 9, 10, 99)] == [1, 1, 2, 2]
    fresh = SongMixer(SongStore(tmp_path / "store"), n_frames=32, seed=3, joining=joining)
    same = [np.array_equal(fresh.example(i).stems, before[i].stems) for i in range(20)]
    assert all(same[:10])
    assert not all(same[10:])
    np.testing.assert_array_equal(mixer.example(17).stems, fresh.example(17).stems)
    noted = tmp_path / "songs.csv"
    assert noted.read_text().splitlines() == ["example,songs", "0,1", "10,2"]
    noted.write_bytes(noted.read_bytes()[:-3])  # as a crash leaves it
    again = Joining(noted, tmp_path / "store")
    assert again.songs(99) == 1
    assert again.look(30) == 2
    assert noted.read_text().splitlines() == ["example,songs", "0,1", "30,2"]


def test_the_loop_notes_songs_that_join(songs, tmp_path):
    build_song_store([track for track in find_tracks(songs) if track.name == "one"], tmp_path / "store")
    config = TrainConfig(
        model=TINY.to_dict(), batch_size=1, n_frames=32, steps=3, warmup=1, songs=1.0, save_every=1, log_every=1
    )
    data = TrainingData(songs=tmp_path / "store", joining=Joining(tmp_path / "songs.csv", tmp_path / "store"))

    def more(step: int, losses: dict[str, float]) -> None:
        if step == 1:
            build_song_store(find_tracks(songs), tmp_path / "store")

    loop.train(config, data, tmp_path / "run", workers=0, on_log=more)
    assert (tmp_path / "songs.csv").read_text().splitlines() == ["example,songs", "0,1", "3,2"]


@pytest.mark.parametrize("name", ["separator", "pitch", "rhythm"])
def test_subnetworks_learn_by_themselves(store, tmp_path, name):
    """With running statistics nothing but the weights of the named subnetwork changes, and its loss falls."""
    first = tiny_checkpoint(tmp_path)
    config = TrainConfig(
        model=TINY.to_dict(), n_frames=32, batch_size=2, songs=1.0, warmup=1, learning_rate=5e-3, ema=0.0,
        initial=str(first), learns=(name,), norm="running",
    )  # fmt: skip
    JointObjective.check(config)
    source = TrainingData(songs=store.path).open(config)
    batch = torch.utils.data.default_collate([vars(source.example(i)) for i in range(2)])
    objective = JointObjective(config, "cpu")
    history = [objective.step(batch) for _ in range(8)]
    terms = {"separator": {"separation"}, "pitch": {"pitch", "voicing"}, "rhythm": {"rhythm"}}[name]
    assert history[0].keys() == terms | {"loss"}
    assert history[-1]["loss"] < history[0]["loss"]
    before = checkpoints.load(first).state_dict()
    state = objective.average.state_dict()
    changed = {key for key, value in state.items() if not torch.equal(value, before[key])}
    assert {key.split(".")[0] for key in changed} == {name}
    assert not any("running" in key or "num_batches" in key for key in changed)


def test_stems_are_held_to_what_a_teacher_makes_of_them(store, tmp_path):
    """With all stems kept a network that is its teacher has nothing to learn; with two it learns the other two."""
    first = tiny_checkpoint(tmp_path)
    settings = {
        "model": TINY.to_dict(), "n_frames": 32, "batch_size": 2, "songs": 1.0, "warmup": 1, "learning_rate": 2e-3,
        "ema": 0.0, "initial": str(first), "learns": ("separator",), "norm": "running",
    }  # fmt: skip
    source = TrainingData(songs=store.path).open(TrainConfig(**settings))
    batch = torch.utils.data.default_collate([vars(source.example(i)) for i in range(2)])
    spectra = losses.spectrograms(batch["stems"])
    plain = JointObjective(TrainConfig(**settings), "cpu")
    with torch.no_grad():
        before = plain.average.separate(spectra[0]).masks[..., :32]

    all_kept = JointObjective(TrainConfig(**settings, keeps=STEMS), "cpu")
    nothing, something = (float(one._losses(batch)["separation"].detach()) for one in (all_kept, plain))
    assert nothing < 0.1 * something  # a root keeps clear of 0

    def learned(objective: JointObjective) -> torch.Tensor:
        for _ in range(12):
            objective.step(batch)
        with torch.no_grad():
            return objective.average.separate(spectra[0]).masks[..., :32]

    def away(masks: torch.Tensor, from_: torch.Tensor) -> torch.Tensor:
        return ((masks * spectra[0][:, None] - from_).abs()).mean(dim=(0, 2, 3))

    kept, free = [STEMS.index(stem) for stem in ("drums", "bass")], [STEMS.index(stem) for stem in ("vocals", "other")]
    held, all_learned = learned(JointObjective(TrainConfig(**settings, keeps=("drums", "bass")), "cpu")), learned(plain)
    as_before = before * spectra[0][:, None]
    assert (away(held, as_before)[kept] < 0.5 * away(all_learned, as_before)[kept]).all()
    assert float(away(held, spectra[1])[free].sum()) < float(away(before, spectra[1])[free].sum())


def test_a_teacher_may_be_another_checkpoint(store, tmp_path):
    first, teacher = tiny_checkpoint(tmp_path), tiny_checkpoint(tmp_path, seed=1, name="teacher")
    config = TrainConfig(
        model=TINY.to_dict(),
        songs=1.0,
        initial=str(first),
        teacher=str(teacher),
        keeps=("bass",),
        learns=("separator",),
    )
    stems = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 4, 16 * HOP_LENGTH)).astype(np.float32))
    spectra = losses.spectrograms(stems)
    with torch.no_grad():
        masks = checkpoints.load(teacher).separate(spectra[0]).masks[..., :16]
    mixture, magnitude, aligned = losses.taught(spectra, masks, ("bass",))
    assert torch.equal(magnitude[:, [0, 1, 3]], spectra[1][:, [0, 1, 3]])
    torch.testing.assert_close(magnitude[:, 2], masks[:, 2] * mixture)
    torch.testing.assert_close(aligned[:, 2], masks[:, 2] * mixture**2)
    objective = JointObjective(config, "cpu")
    expected = losses.separation_loss(
        objective.model.separate(mixture).masks[..., :16], mixture, magnitude, aligned,
        complex_share=config.loss.complex_share,
    )  # fmt: skip
    assert float(objective._losses({"stems": stems})["separation"].detach()) == pytest.approx(
        float(expected.detach()), rel=1e-3
    )
    source = {"source": "elsewhere", "licence": "CC-BY-NC-4.0", "songs": 1, "minutes": 1000.0}
    checkpoints.write_card(teacher, {"data": [source]})
    first_of_all, *own = data_sources(TrainingData(songs=store.path), config)
    assert first_of_all == {"through": "teacher"} | source
    assert [entry.get("through") for entry in own] == [None] * len(own) != []


def test_presence_is_learned(songs, tmp_path):
    """A head that the initial checkpoint lacks says after some steps which stems play, here and in analyses."""
    calibrated = adjusted(checkpoints.load(tiny_checkpoint(tmp_path)), sharpness=0.7)
    first = checkpoints.save(calibrated, tmp_path / "first.safetensors", {}).path
    model = TINY.to_dict() | {"presence_channels": 8, "presence_layers": 3}
    config = TrainConfig(
        model=model, n_frames=64, batch_size=4, songs=1.0, warmup=1, steps=80, decay=0.1, learning_rate=1e-2, ema=0.5,
        initial=str(first), learns=("presence",),
    )  # fmt: skip
    store = build_song_store(find_tracks(songs), tmp_path / "store")
    source = TrainingData(songs=store).open(config)
    batch = torch.utils.data.default_collate([vars(source.example(i)) for i in range(4)])
    objective = JointObjective(config, "cpu")
    history = [objective.step(batch)["presence"] for _ in range(80)]
    assert history[-1] < 0.3 * history[0]
    saved = checkpoints.save(objective.exported.eval(), tmp_path / "with.safetensors", {})
    assert checkpoints.load(saved).config.sharpness == 0.7  # that of its masks, which have not changed
    truth, known = losses.presence_targets(batch["stems"])
    with torch.no_grad():
        said = checkpoints.load(saved)(losses.spectrograms(batch["stems"])[0]).presence > 0
    assert float(((said == truth.bool()) & known.bool()).sum() / known.sum()) > 0.9
    assert {0.0, 1.0} == set(truth[:, 0].unique().tolist())  # the vocals pause in one of them
    frames = Analyser(saved.path).from_audio(batch["stems"][0].sum(dim=0).numpy(), SR).frames
    assert frames.presence.shape == (4, frames.n_frames)
    assert 0 <= frames.presence.min() <= frames.presence.max() <= 1
    assert Analyser(first).from_audio(np.zeros(SR, np.float32), SR).frames.presence is None


def test_bands_are_limited_in_stems_and_mixture_alike(store):
    """Half of the examples end between 3.2 and 8 kHz; what is below stays, and equal random states limit equally."""
    stems = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 4, 8 * HOP_LENGTH)).astype(np.float32))
    whole = losses.spectrograms(stems)
    some = losses.band_limited(whole, 0.5, torch.Generator().manual_seed(1))
    ends = []
    for i in range(40):
        heard = [int((plane[i].flatten(0, -3).sum(dim=(0, -1)) if plane.ndim == 4 else plane[i].sum(dim=-1)).ne(0)
                     .nonzero().max()) for plane in some]  # fmt: skip
        assert len(set(heard)) == 1
        ends.append(heard[0])
        for before, after in zip(whole, some):
            torch.testing.assert_close(after[i, ..., : ends[-1] + 1, :], before[i, ..., : ends[-1] + 1, :])
    hertz = np.array(ends) * SR / N_FFT
    limited = hertz < hertz.max()
    assert 10 < limited.sum() < 30
    assert 3100 < hertz[limited].min() < 4500 < hertz[limited].max() <= 8000
    again = losses.band_limited(whole, 0.5, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(some, again))


def test_presence_targets_are_those_of_the_evaluation():
    rng = np.random.default_rng(1)
    gate = np.repeat(rng.random((4, 24)) < 0.6, SR // 4, axis=1)
    stems = (0.1 * gate * rng.standard_normal(gate.shape)).astype(np.float32)
    target, known = losses.presence_targets(torch.from_numpy(stems)[None])
    for row, stem in enumerate(STEMS):
        plays, sure = presence_truth({name: y[None] for name, y in zip(STEMS, stems)}, SR)[stem]
        inner = slice(12, -12)  # at the ends of an example a pause may go on
        np.testing.assert_array_equal(target[0, row].bool().numpy()[inner], plays[inner])
        np.testing.assert_array_equal(known[0, row].bool().numpy()[inner], sure[inner])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learns": ("presence",)}, "presence_channels is 0"),
        ({"mixing": "device", "songs": 1.0}, "makes no labels"),
        ({"learns": ("drums",)}, "unknown subnetworks to learn: drums"),
        ({"norm": "running"}, "the recipe names none"),
        ({"keeps": ("bas",), "initial": "joint-v2"}, "unknown stems to keep: bas"),
        ({"keeps": ("bass",)}, "holds stems to a teacher or initial checkpoint"),
        ({"keeps": ("bass",), "initial": "joint-v2", "learns": ("pitch",)}, "while the separator learns"),
        ({"teacher": "joint-v2"}, "no stems to keep"),
    ],
)  # fmt: skip
def test_parts_that_cannot_learn(settings, said):
    with pytest.raises(ModelError, match=said):
        JointObjective.check(TrainConfig(**settings))


def test_broken_songs_are_left_out_by_name(songs, tmp_path, caplog):
    _song(tmp_path / "set" / "good")
    _song(tmp_path / "set" / "bad")
    (tmp_path / "set" / "bad" / "drums.wav").write_bytes(b"RIFF")
    store = SongStore(build_song_store(find_tracks(tmp_path / "set"), tmp_path / "store"))
    assert [song.track for song in store.songs] == ["good"]
    assert "drums.wav" in caplog.text
    (tmp_path / "set" / "good" / "bass.wav").unlink()
    (tmp_path / "set" / "bad" / "bass.wav").unlink()
    with pytest.raises(DatasetError, match="none of 2 tracks has the stems vocals, drums, bass, other"):
        build_song_store(find_tracks(tmp_path / "set"), tmp_path / "none")
    with pytest.raises(DatasetError, match="not a store of songs"):
        SongStore(tmp_path / "none")


def test_labels_fit_the_sound_whatever_the_speed(store):
    """The F0 of an example is where its stem has energy, its onsets are where the drums set in."""
    mixer = SongMixer(store, n_frames=64, seed=1)
    pitches = onsets = speeds = 0
    for index in range(40):
        example = mixer.example(index)
        assert example.stems.shape == (4, 64 * HOP_LENGTH)
        for i, stem in enumerate(("vocals", "bass")):
            y = example.stems[STEMS.index(stem)]
            if example.voiced[i].all() and y.any():
                bin_ = int(np.argmax(example.salience[i].sum(axis=1)))
                near = PITCH_FMIN * 2 ** (np.arange(bin_ - 1, bin_ + 1.1, 0.1) / PITCH_BINS_PER_OCTAVE)
                middle = y[8 * HOP_LENGTH : -8 * HOP_LENGTH]
                octave = [PITCH_FMIN * 2 ** ((bin_ + shift) / PITCH_BINS_PER_OCTAVE) for shift in (-9, 9)]
                best = max(_strength(middle, hertz) for hertz in near)
                assert best > 3 * max(_strength(middle, hertz) for hertz in octave), (index, stem)
                speeds += abs(near.mean() / HERTZ[stem] - 1) > 0.01
                pitches += 1
        drums = np.abs(example.stems[STEMS.index("drums")])
        for frame in np.flatnonzero(example.rhythm[0] == 1):
            if 4 < frame < 60 and drums.any():
                after, before = (drums[(frame + at) * HOP_LENGTH :][: 2 * HOP_LENGTH].max() for at in (-1, -4))
                assert after > 3 * before, (index, frame)
                onsets += 1
        assert np.array_equal(example.rhythm[1] >= example.rhythm[2], np.ones(64, bool))
    assert pitches > 30
    assert onsets > 50
    assert speeds > 10


def test_song_examples_depend_on_seed_and_index_alone(store):
    a, b = (SongMixer(store, n_frames=32, seed=3) for _ in range(2))
    b.example(0)
    x, y = a.example(5), b.example(5)
    for name, value in vars(x).items():
        np.testing.assert_array_equal(value, getattr(y, name))
    assert not np.array_equal(a.example(6).stems, x.stems)


def test_remixes_take_their_beats_from_the_drums(songs, tmp_path, monkeypatch):
    _song(tmp_path / "set" / "a")
    _song(tmp_path / "set" / "b")
    truth = tmp_path / "set" / "b" / "truth.json"
    known = json.loads(truth.read_text())
    for key in ("beats_s", "beat_positions", "onsets_s"):
        del known[key]
    truth.write_text(json.dumps(known))
    store = SongStore(build_song_store(find_tracks(tmp_path / "set"), tmp_path / "store"))
    monkeypatch.setattr("stemfeatures.training.data.songs.REMIX", 1.0)
    mixer = SongMixer(store, n_frames=64, seed=0)
    places: list[dict] = []
    stem = mixer._stem
    monkeypatch.setattr(
        mixer, "_stem", lambda name, place, *rest: places[-1].update({name: place[0]}) or stem(name, place, *rest)
    )
    known_of, mixed = {0: set(), 1: set()}, 0
    for index in range(30):
        places.append({})
        example = mixer.example(index)
        if "drums" in places[-1]:
            known_of[places[-1]["drums"]].add(float(example.rhythm_known[1]))
        else:
            assert example.rhythm_known[1] == 0
        mixed += len(set(places[-1].values())) > 1
    assert known_of == {0: {1.0}, 1: {0.0}}
    assert mixed > 10


def test_sources_are_shared_as_the_recipe_says(store, tmp_path):
    class Constant:
        def __init__(self, value: int) -> None:
            self.value = value

        def example(self, index: int):
            return self.value

    draws = [Shared(Constant(1), Constant(0), 0.3, seed=1).example(i) for i in range(500)]
    assert np.mean(draws) == pytest.approx(0.3, abs=0.07)
    with pytest.raises(DatasetError, match="asks for songs"):
        TrainingData().open(TrainConfig(songs=1.0))
    with pytest.raises(DatasetError, match="asks for a bank"):
        TrainingData(songs=store.path).open(TrainConfig(songs=0.5))


@pytest.mark.parametrize(
    ("line", "said"),
    [("songs = 1.5", "share from 0 to 1"), ('precision = "half"', "unknown precision 'half'"),
     ('norm = "group"', "unknown norm 'group'"),
     ('mixing = "gpu"', "unknown mixing 'gpu'"),
     ("steps = 0", "steps must be at least 1"), ("n_frames = 'x'", "n_frames must be a whole number, not 'x'"),
     ("batch_size = 2.5", "batch_size must be a whole number"), ("steps = true", "steps must be a whole number"),
     ("learning_rate = -1", "learning_rate must be positive"), ("learning_rate = nan", "finite number"),
     ("decay = 2", "decay is a share"), ("ema = 1.0", "from 0 to below 1"), ("patience = -1", "cannot be negative"),
     ("steps = 3\ncycles = 4", "do not fit"), ("loss.pitch = -1", "loss.pitch cannot be negative"),
     ("loss.complex_share = 1.5", "share from 0 to 1"), ("loss = 3", "loss must be a table"),
     ("model = 3", "model must be a table")],
)  # fmt: skip
def test_recipes_that_make_no_sense(tmp_path, line, said):
    path = tmp_path / "r.toml"
    path.write_text(line + "\n")
    with pytest.raises(ModelError, match=said):
        load_config(path)


def test_mixed_precision_trains(store):
    config = TrainConfig(model=TINY.to_dict(), n_frames=32, batch_size=2, songs=1.0, precision="bfloat16", warmup=1)
    source = TrainingData(songs=store.path).open(config)
    batch = torch.utils.data.default_collate([vars(source.example(i)) for i in range(2)])
    state = JointObjective(config, "cpu")
    history = [state.step(batch)["loss"] for _ in range(12)]
    assert history[-1] < history[0]
    assert all(p.dtype == torch.float32 for p in state.model.parameters())


@pytest.mark.parametrize("told", [True, False])
def test_automatic_precision_is_what_the_processor_computes_in(store, monkeypatch, told):
    monkeypatch.setattr("stemfeatures.models.precision.computes_in_bfloat16", lambda: told)
    losses = {}
    for precision in ("auto", "float32", "bfloat16"):
        config = TrainConfig(
            model=TINY.to_dict(), n_frames=32, batch_size=2, songs=1.0, precision=precision, learns=("separator",)
        )
        source = TrainingData(songs=store.path).open(config)
        batch = torch.utils.data.default_collate([vars(source.example(i)) for i in range(2)])
        losses[precision] = JointObjective(config, "cpu").step(batch)["loss"]
    assert losses["auto"] == losses["bfloat16" if told else "float32"]
    assert losses["bfloat16"] != losses["float32"]


def test_validation_is_what_evaluate_says(songs, tmp_path):
    """The score is made of the figures of the package's own evaluation."""
    from stemfeatures.evaluation import evaluate, get_estimator

    path = tiny_checkpoint(tmp_path)
    found = validate(checkpoints.load(path), songs, limit=1)
    summary = evaluate("all", songs, get_estimator(str(path)), limit=1).summary().set_index(["task", "metric"])["mean"]
    sdr, oa, f = (
        summary["separation", "sdr_db"].mean(),
        summary["f0", "overall_accuracy"],
        summary["beats", "beat_f_measure"],
    )
    assert found.metrics == pytest.approx({"separation": sdr, "f0": oa, "beats": f})
    assert found.score == pytest.approx(sdr + 10 * (oa + f) / 2)


def test_the_best_step_is_kept_and_patience_ends_a_run(store, tmp_path):
    config = TrainConfig(
        model=TINY.to_dict(),
        batch_size=1,
        n_frames=32,
        steps=9,
        warmup=1,
        songs=1.0,
        validate_every=1,
        patience=2,
        ema=0.0,
    )
    scores = iter([1.0, 3.0, 2.0, 3.0, 9.0])
    seen: list[tuple[int, bool]] = []

    def look(model) -> Validation:
        return Validation(next(scores), {"separation": 0.0, "f0": math.nan, "beats": 0.5})

    data = TrainingData(songs=store.path)
    loop.train(
        config,
        data,
        tmp_path,
        workers=0,
        validate=look,
        max_minutes=0.0,
        on_validation=lambda *a: seen.append((a[0], a[2])),
    )
    first = checkpoints.load(tmp_path / "best.safetensors")
    state = loop.train(
        config, data, tmp_path, workers=0, validate=look, on_validation=lambda *a: seen.append((a[0], a[2]))
    )
    assert seen == [(1, True), (2, True), (3, False), (4, False)]
    assert state.steps_done == 4
    assert best_validation(tmp_path, 9) == (2, 3.0)
    assert best_validation(tmp_path, 1) == (1, 1.0)
    best = checkpoints.load(tmp_path / "best.safetensors")
    same = [torch.equal(a, b) for a, b in zip(best.parameters(), first.parameters())]
    assert not all(same)  # it was replaced by step 2
    same = [torch.equal(a, b) for a, b in zip(best.parameters(), state.average.parameters())]
    assert not all(same)  # and not by step 4
    lines = (tmp_path / "validation.csv").read_text().splitlines()
    assert lines[0] == "step,score,separation,f0,beats"
    assert lines[2] == "2,3.0000,0.0000,nan,0.5000"
    assert loop.train(config, data, tmp_path, workers=0, validate=look).steps_done == 4  # it is over
    assert next(scores) == 9.0  # and not looked at again


def test_patience_counts_within_a_phase(tmp_path):
    """One that begins afresh need not reach what the one before has reached within its first looks."""
    assert looks_without_better(tmp_path, 9) == 0
    (tmp_path / "validation.csv").write_text("step,score\n1,5.0\n2,1.0\n3,2.0\n4,2.0\n")
    assert looks_without_better(tmp_path, 4) == 3
    assert looks_without_better(tmp_path, 4, since=1) == 1  # after step 3, the first of equals
    assert looks_without_better(tmp_path, 3, since=1) == 0
    assert looks_without_better(tmp_path, 4, since=4) == 0


def test_curves_go_to_tensorboard(store, tmp_path):
    pytest.importorskip("tensorboard", reason="curves for TensorBoard need it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = TrainConfig(model=TINY.to_dict(), batch_size=1, n_frames=32, steps=2, warmup=1, songs=1.0, log_every=1)
    loop.train(config, TrainingData(songs=store.path), tmp_path, workers=0)
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in curves.Scalars("train/separation")] == [1, 2]


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tiny_recipe(tmp_path / "mini.toml", songs=1.0, validate_every=1)
    path.write_text(path.read_text() + '[licences]\nsongs = "CC0-1.0"\n[made_of.songs]\nsines = "own"\n')
    return path


@pytest.mark.parametrize("how", ["name", "copy", "store"])
def test_development_songs_are_refused_before_anything_is_decoded(songs, recipe, tmp_path, capsys, how):
    validate, given, run = tmp_path / "elsewhere", songs, tmp_path / "run"
    if how == "name":
        validate = songs
    else:
        shutil.copytree(songs / "two", validate / "renamed")
    if how == "store":
        given = build_song_store(find_tracks(songs), tmp_path / "store")
    argv = ["train", "--recipe", recipe, "--songs", given, "--run-dir", run, "--workers", "0", "--device", "cpu"]
    assert cli.main([str(a) for a in [*argv, "--validate", validate]]) == 2
    n = "2 tracks" if how == "name" else "1 track"
    assert f"{n} of the development songs {validate} would also be trained on" in capsys.readouterr().err
    assert not (run / "songs").exists()


def test_the_command_trains_on_songs_and_says_what_it_chose(songs, recipe, tmp_path, capsys):
    development = tmp_path / "development"
    _song(development / "three", detune=1.2)
    argv = [
        "train",
        "--recipe",
        recipe,
        "--songs",
        songs,
        "--run-dir",
        tmp_path / "run",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    assert cli.main([str(a) for a in [*argv, "--validate", development]]) == 0
    out, err = capsys.readouterr()
    assert "the best on the development songs" in out
    assert all(f"step {step}: score" in err for step in (1, 2))
    card = checkpoints.resolve(tmp_path / "run" / "mini.safetensors").card
    [source] = card["data"]
    assert (source["source"], source["licence"], source["songs"]) == ("songs", "CC0-1.0", 2)
    assert source["made_of"] == {"sines": "own"}
    assert (source["classes"], source["minutes"]) == (sorted(STEMS), round(2 * SECONDS / 60, 2))
    step, score = best_validation(tmp_path / "run", 2)
    assert card["training"]["chosen_on"] == {"songs": "development", "step": step, "score": score}
    assert cli.main([str(a) for a in [*argv, "--validate", songs]]) == 2
    assert "2 tracks of the development songs" in capsys.readouterr().err
    of_store = ["train", "--recipe", recipe, "--songs", tmp_path / "run" / "songs", "--run-dir", tmp_path / "again"]
    assert cli.main([str(a) for a in [*of_store, "--workers", "0", "--device", "cpu"]]) == 0
    assert not (tmp_path / "again" / "songs").exists()  # nothing is decoded twice
    card = checkpoints.resolve(tmp_path / "again" / "mini.safetensors").card
    assert card["data"][0]["made_of"] == {"sines": "own"}
    _song(tmp_path / "few" / "four", detune=1.1)
    few = ["train", "--recipe", recipe, "--songs", build_song_store(find_tracks(tmp_path / "few"), tmp_path / "store")]
    few += ["--run-dir", tmp_path / "again", "--workers", "0", "--device", "cpu"]
    assert cli.main([str(a) for a in few]) == 2  # nothing of the songs of before would be in the card
    assert "the run has learned from other songs than those in" in capsys.readouterr().err
    recipe.write_text(recipe.read_text().replace("songs = 1.0", "songs = 0.0"))
    assert cli.main([str(a) for a in [*argv, "--run-dir", tmp_path / "other"]]) == 2
    assert "takes no songs" in capsys.readouterr().err


def test_excerpts_on_a_device_are_the_songs(store):
    """At their own speed they are the stored samples; faster ones are what soxr makes of them."""
    mixer = DeviceMixer(store, batch_size=3, n_frames=32, seed=1, device="cpu")
    rate = torch.tensor([[1.0] * 4, [1.2] * 4, [0.85] * 4])
    song = torch.tensor([[0] * 4, [1] * 4, [0] * 4])
    start = torch.full((3, 4), 3 * SR // HOP_LENGTH * HOP_LENGTH)
    no = torch.zeros(3, 4, dtype=torch.bool)
    y = mixer.excerpts(Excerpts(song, start, rate, no, torch.zeros(3, 4), no)).numpy()
    n = 32 * HOP_LENGTH
    for row, stem in enumerate(STEMS):
        np.testing.assert_allclose(y[0, row], store.stem(0, stem, int(start[0, 0]), n), atol=1e-6)
        for example in (1, 2):
            speed = float(rate[example, 0])
            wanted = store.stem(int(song[example, 0]), stem, int(start[0, 0]), int(n * speed) + 200)
            wanted = soxr.resample(wanted, SR * speed, SR, quality="VHQ")[:n]
            inner = slice(200, n - 200)
            error = np.sum((y[example, row] - wanted)[inner] ** 2) / np.sum(wanted[inner] ** 2)
            assert error < (3e-2 if stem == "drums" else 1e-4), (stem, speed)  # clicks reach to half the rate
    drawn = Excerpts(song, start, rate, ~no, torch.full((3, 4), -6.0), no.clone())
    drawn.silent[:, 1] = True
    levelled = mixer.excerpts(drawn)
    assert not levelled[:, 1].any()
    assert float(levelled[0, 3].square().mean().sqrt()) == pytest.approx(0.05, rel=0.05)


def test_batches_on_a_device_depend_on_seed_and_number_alone(store):
    one, two = (DeviceMixer(store, batch_size=8, n_frames=32, seed=5, device="cpu") for _ in range(2))
    two.batch(0)
    stems = one.batch(7)["stems"]
    assert torch.equal(stems, two.batch(7)["stems"])
    assert not torch.equal(stems, one.batch(8)["stems"])
    assert stems.shape == (8, 4, 32 * HOP_LENGTH)
    torch.testing.assert_close(stems.sum(dim=1).abs().amax(dim=1), torch.full((8,), 0.5))
    drawn = [one.draw(torch.Generator().manual_seed(i)) for i in range(200)]
    foreign = torch.cat([d.foreign for d in drawn])
    assert float(foreign.all(dim=1).float().mean()) == pytest.approx(REMIX, abs=0.05)
    assert float((foreign[:, 0] & ~foreign[:, 1]).float().mean()) == pytest.approx(OTHER_VOCALS, abs=0.05)
    together = torch.cat([d.start for d in drawn])[~foreign.any(dim=1)]
    assert torch.equal(together, together[:, :1].expand(-1, 4))


def test_the_script_for_gpus_runs(songs, tmp_path):
    """With a tiny network, one song and seconds of training; a second call goes on."""
    pytest.importorskip("pyworld", reason="songs with singing need the train extra")
    recipe = tiny_recipe(
        tmp_path / "mini.toml", songs=1.0, mixing="device", learns=["separator"], steps=2, n_frames=32, batch_size=2
    )
    script = Path(__file__).parents[1] / "benchmarks" / "gpu_training.sh"
    for steps in (2, 3):
        recipe.write_text(recipe.read_text().replace("steps = 2", f"steps = {steps}"))
        done = subprocess.run(
            [script, tmp_path / "out", "5", "1", "8", "cpu", recipe], capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(script.parents[1])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"at step {steps}" in done.stdout
    card = checkpoints.resolve(tmp_path / "out" / "joint-gpu.safetensors").card
    assert card["training"]["steps"] == 3
    assert card["data"][0]["songs"] == 1


def test_the_script_for_cpus_runs(songs, tmp_path):
    """Two tiny recipes, of which the second goes on from the checkpoint of the first, and calibration."""
    settings = {"songs": 1.0, "n_frames": 32, "batch_size": 2}
    tiny_recipe(tmp_path / "first.toml", **settings, name="first", learns=["separator"])
    initial = "runs/first/first.safetensors"
    tiny_recipe(tmp_path / "second.toml", **settings, name="second", learns=["rhythm"], initial=initial, coded=1.0)
    (tmp_path / "development").mkdir()
    (tmp_path / "development" / "one").symlink_to(songs / "one")
    script = Path(__file__).parents[1] / "benchmarks" / "cpu_training.sh"
    folders = {"MULTITRACKS": str(songs), "CALIBRATION": str(tmp_path / "development")}
    recipes = [tmp_path / "first.toml", tmp_path / "second.toml"]
    done = subprocess.run(
        [script, tmp_path / "out", "1", "20", *recipes], capture_output=True, text=True, check=False,
        env=os.environ | folders | {"PYTHON": sys.executable, "PYTHONPATH": str(script.parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (
        checkpoints.resolve(tmp_path / "out" / "runs" / n / f"{n}.safetensors") for n in ("first", "second")
    )
    found = second.card["training"]["calibration"]
    assert found["chosen_on"] == "development"
    tried = {f"{s:g} {p:g}" for s in SHARPNESS for p in LEVEL_PRIORS}
    assert set(found["sdr_db"]["sharpness and level prior"]) == tried
    before, after = (checkpoints.load(of).state_dict() for of in (first, second))
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert all(name in same for name in before if name.startswith("separator."))
    assert not all(name in same for name in before if name.startswith("rhythm."))
