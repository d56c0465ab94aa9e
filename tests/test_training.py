"""The sound bank, the examples mixed from it, the losses and the loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import TINY

from stemfeatures.constants import ANALYSIS_SAMPLE_RATE as SR
from stemfeatures.constants import HOP_LENGTH, N_BINS, PITCH_FMIN, STEMS
from stemfeatures.datasets import sound_names
from stemfeatures.errors import DatasetError, ModelError
from stemfeatures.models.joint import JointConfig, JointNet
from stemfeatures.spectra.transform import stft
from stemfeatures.training import loop
from stemfeatures.training.config import TrainConfig, load_config
from stemfeatures.training.data import bank as banks
from stemfeatures.training.data import build_bank, held_out, patterns
from stemfeatures.training.data.example import salience_target
from stemfeatures.training.data.mixing import Mixer
from stemfeatures.training.objectives import losses
from stemfeatures.training.objectives.joint import JointObjective
from stemfeatures.training.training_data import Examples, TrainingData


def _tone(hertz: float, seconds: float, decay: float = 2.0) -> np.ndarray:
    t = np.arange(int(seconds * SR)) / SR
    y = sum(np.sin(2 * np.pi * h * hertz * t) / h for h in range(1, 6))
    return (0.3 * y * np.exp(-t / decay)).astype(np.float32)


def _row(path: str, kind: str, sound_class: str, **extra) -> dict:
    row = {"path": path, "class": sound_class, "source": "made", "licence": "CC0-1.0", "kind": kind, "role": ""}
    row |= {"song": "", "pitch_hz": float("nan"), "named_midi": -1, "octave_known": False}
    return row | extra


@pytest.fixture(scope="module")
def bank_dir(tmp_path_factory):
    """A little of everything a bank can hold."""
    rng = np.random.default_rng(0)
    sounds = []
    for kind, low in (("bass", 36), ("guitar", 52), ("keys", 52), ("other", 60)):
        for midi in range(low, low + 12, 2):
            hertz = 440 * 2 ** ((midi - 69) / 12)
            row = _row(f"notes/{kind}/made/note_c{midi // 12 - 1}_{midi}.wav", "note", kind)
            sounds.append(
                banks.Sound(row | {"pitch_hz": hertz, "named_midi": midi, "octave_known": True}, _tone(hertz, 2))
            )
    for role in ("kick", "snare", "hat", "open_hat", "crash", "ride", "tom", "perc"):
        y = (rng.standard_normal(SR // 4) * np.exp(-np.arange(SR // 4) / 900)).astype(np.float32)
        sounds.append(banks.Sound(_row(f"notes/drums/made/{role}.wav", "hit", "drums", role=role), 0.4 * y))
    for i in range(4):
        y = _tone(220.0 * (1 + i / 10), 1.5, decay=9)
        f0 = np.full(1 + len(y) // HOP_LENGTH, 220.0 * (1 + i / 10), np.float32)
        sounds.append(banks.Sound(_row(f"vocals/made/{i}.wav", "phrase", "vocals"), y, f0))
    for song in ("one", "two"):
        for sound_class in STEMS:
            y = _tone(150.0 if sound_class != "bass" else 60.0, 9, decay=50)
            f0 = np.full(1 + len(y) // HOP_LENGTH, 150.0, np.float32) if sound_class in ("vocals", "bass") else None
            row = _row(f"performances/{song}/{sound_class}.wav", "performance", sound_class, song=song)
            sounds.append(banks.Sound(row, y, f0))
    return build_bank.write_bank(sounds, tmp_path_factory.mktemp("bank"))


@pytest.mark.parametrize(
    ("name", "midi", "known"),
    [
        ("sustain_gb4_pp_rr3.opus", 66, True), ("CP80_Samples_027-Ds1-MP.opus", 27, True),
        ("samples_B5.opus", 83, True),
        ("samples_Fs7vL.opus", 102, True), ("samples_finger_As.opus", 70, False),
        ("Samples_acoustic_perc_3.opus", None, None),
    ],
)  # fmt: skip
def test_note_names(name, midi, known):
    assert sound_names.note_name_to_midi(name) == (None if midi is None else (midi, known))


def test_pyin_labels_are_right_and_say_where_they_are_not_sure():
    y = np.concatenate([np.zeros(SR, np.float32), _tone(196.0, 1.5, decay=9)])
    f0 = build_bank.pyin_f0(y, fmin=65, fmax=1000)
    assert len(f0) == 1 + len(y) // HOP_LENGTH
    assert np.all(f0[:38] == 0)
    middle = f0[60:100]
    known = middle[np.isfinite(middle)]
    assert len(known) > 30
    assert np.all(np.abs(1200 * np.log2(known / 196.0)) < 20)


def test_held_out_patterns_match_paths(tmp_path):
    listing = tmp_path / "held_out.txt"
    listing.write_text("# comment\nperformances/7-Francium/*\n\nvocals/x.wav  # why\n")
    patterns_ = held_out.read_patterns(listing)
    assert held_out.matches("performances/7-Francium/vocals.opus", patterns_)
    assert held_out.matches("vocals/x.wav", patterns_)
    assert not held_out.matches("performances/1-Hydrogen/vocals.opus", patterns_)


def test_bank_needs_an_index(tmp_path):
    with pytest.raises(DatasetError, match=r"index\.csv"):
        build_bank.build_bank(tmp_path, tmp_path / "bank")
    with pytest.raises(DatasetError, match="not a sound bank"):
        banks.SoundBank(tmp_path)


def test_octaves_of_notes_are_settled_per_source():
    rows = [
        _row(
            f"notes/bass/x/n_{m}.wav",
            "note",
            "bass",
            pitch_hz=440 * 2 ** ((m - 12 - 69) / 12),
            named_midi=m,
            octave_known=True,
        )
        for m in range(40, 50)
    ]
    rows[3]["pitch_hz"] *= 2  # an octave error of the measurement
    rows[5]["pitch_hz"] *= 2 ** (3 / 12)  # not the note that the name says
    settled = build_bank.settle_note_pitches(rows)
    midi = [69 + 12 * np.log2(r["pitch_hz"] / 440) for r in settled]
    assert midi[3] == pytest.approx(43 - 12)
    assert [r["keep"] for r in settled] == [i != 5 for i in range(10)]


def test_examples_depend_on_seed_and_index_alone(bank_dir):
    a, b = (Mixer(banks.SoundBank(bank_dir), n_frames=64, seed=3) for _ in range(2))
    b.example(0)
    x, y = a.example(5), b.example(5)
    for name, value in vars(x).items():
        np.testing.assert_array_equal(value, getattr(y, name))
    assert not np.array_equal(a.example(6).stems, x.stems)


def test_examples_hold_what_their_labels_say(bank_dir):
    mixer = Mixer(banks.SoundBank(bank_dir), n_frames=64, seed=0)
    voiced_seen = beats_seen = 0
    for index in range(30):
        example = mixer.example(index)
        assert example.stems.shape == (4, 64 * HOP_LENGTH)
        assert np.isfinite(example.stems).all()
        assert 0 <= float(example.salience.min()) <= float(example.salience.max()) <= 1
        assert np.array_equal(example.salience.max(axis=1) > 0.6, example.voiced > 0)
        if not example.stems[STEMS.index("vocals")].any():
            assert not example.voiced[0].any()
        voiced_seen += int(example.voiced[0].any())
        beats_seen += int(example.rhythm_known[1] and example.rhythm[1].any())
    assert voiced_seen > 10
    assert beats_seen > 10


def test_duets_have_the_pitches_of_both_singers_and_nothing_else_changes(bank_dir):
    alone, duets = (Mixer(banks.SoundBank(bank_dir), n_frames=64, seed=0, duets=share) for share in (0.0, 1.0))
    more = 0
    for index in range(12):
        one, two = alone.example(index), duets.example(index)
        assert np.all(two.salience[0] >= one.salience[0])
        if np.array_equal(two.salience[0], one.salience[0]):  # nobody sings, or both the same
            continue
        more += 1
        assert np.abs(two.stems[0] - one.stems[0]).max() > 1e-3
    assert more > 4


def test_rendered_bass_has_the_pitch_of_its_label(bank_dir):
    mixer = Mixer(banks.SoundBank(bank_dir), n_frames=128, seed=0)
    note = patterns.Note(0.3, 2.0, 40.4, 1.0)
    y, f0 = mixer.played([note], mixer.instruments["bass"][0], np.random.default_rng(0))
    hertz = 440 * 2 ** ((40.4 - 69) / 12)
    sounding = np.flatnonzero(f0)
    assert sounding[0] == pytest.approx(0.3 * SR / HOP_LENGTH, abs=1.5)
    assert np.allclose(f0[sounding], hertz, rtol=1e-5)
    measured = build_bank.pyin_f0(y, fmin=40, fmax=400, frame_length=4096)[40:80]
    measured = measured[np.nan_to_num(measured) > 0]
    assert len(measured) > 20
    assert np.all(np.abs(1200 * np.log2(measured / hertz)) < 30)


def test_salience_target_peaks_at_every_voice():
    f0 = np.full(4, PITCH_FMIN * 2 ** (100 / 60))
    other = np.array([0.0, np.nan, PITCH_FMIN * 2 ** (200.5 / 60), 0.0])
    target = salience_target([f0, other], 4)
    assert np.all(target[100] == pytest.approx(1.0))
    assert target[200, 2] == target[201, 2] == pytest.approx(np.exp(-0.125))
    assert target[200, 0] == 0


def test_patterns_have_exact_beats():
    rng = np.random.default_rng(1)
    for _ in range(20):
        context = patterns.draw_context(8.0, rng)
        times, places = context.beats()
        assert np.allclose(np.diff(times), 60 / context.tempo)
        assert np.all((np.diff(places) == 1) | (places[1:] == 1))
        onbeat = [h for h in patterns.drum_hits(context, rng) if h.role == "kick"]
        assert all(np.isfinite(h.time) for h in onbeat)


def test_separation_loss_knows_the_right_mask():
    stems = 0.1 * torch.randn(2, 4, 40 * HOP_LENGTH)
    mixture, sources, aligned = losses.spectrograms(stems)
    truth = sources / sources.sum(dim=1, keepdim=True)
    uniform = torch.full_like(truth, 0.25)
    for share in (0.0, 0.5, 1.0):
        args = (mixture, sources, aligned)
        assert losses.separation_loss(truth, *args, complex_share=share) < losses.separation_loss(
            uniform, *args, complex_share=share
        )
    alone = torch.zeros_like(stems)
    alone[:, 1] = stems[:, 1]
    spectra = losses.spectrograms(alone)
    mask = torch.zeros_like(truth)
    mask[:, 1] = 1
    assert float(losses.separation_loss(mask, *spectra, complex_share=0.0)) < 1e-4


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_separation_loss_has_the_slope_of_its_value(share, monkeypatch):
    """Against the complex spectrograms and automatic differentiation; in parts that do not divide the bins."""
    monkeypatch.setattr(losses, "_CHUNK", 100 * 6)
    stems = 0.1 * torch.randn(2, 4, 6 * HOP_LENGTH)
    complex_sources = stft(stems)[..., :N_BINS, :6]
    complex_mixture = complex_sources.sum(dim=1, keepdim=True)
    spectra = losses.spectrograms(stems)
    logits = torch.randn_like(spectra[1])
    slopes, values = [], []
    for written_out in (True, False):
        masks = torch.softmax(logits, dim=1).requires_grad_()
        if written_out:
            level = complex_mixture.abs().mean(dim=(1, 2, 3), keepdim=True)
            apart = (masks * complex_mixture.abs() - complex_sources.abs()).abs()
            square = torch.view_as_real(masks * complex_mixture - complex_sources).square().sum(dim=-1)
            distance = (1 - share) * apart + share * (square + 1e-4 * level**2).sqrt()
            value = (distance / level).sum(dim=1).mean()
        else:
            value = losses.separation_loss(masks, *spectra, complex_share=share)
        values.append(value.detach())
        slopes.append(torch.autograd.grad(3 * value, masks)[0])
    assert torch.allclose(*values, rtol=1e-5)
    assert torch.allclose(*slopes, rtol=1e-3, atol=2e-4 * float(slopes[0].abs().max()))


def test_losses_ignore_what_is_not_known():
    logits = torch.randn(1, 2, 5, requires_grad=True)
    known = torch.tensor([[[0.0] * 5, [1.0] * 5]])
    losses.masked_bce(logits, torch.ones(1, 2, 5), known, 3.0).backward()
    assert float(logits.grad[0, 0].abs().sum()) == 0
    assert float(logits.grad[0, 1].abs().min()) > 0
    nothing = losses.masked_bce(logits.detach(), torch.ones(1, 2, 5), torch.zeros(1, 2, 5), 3.0)
    assert float(nothing) == 0


def test_one_example_can_be_learned(bank_dir):
    """The loss of a fixed batch falls: every head learns."""
    config = TrainConfig(
        model=TINY.to_dict(), batch_size=2, n_frames=64, steps=40, warmup=5, learning_rate=5e-3, ema=0.5
    )
    data = Examples(TrainingData(bank=bank_dir), config, 0, 2)
    batch = torch.utils.data.default_collate([data[0], data[1]])
    state = JointObjective(config, "cpu")
    history = [state.step(batch) for _ in range(40)]
    for term in ("separation", "pitch", "voicing", "rhythm"):
        assert np.mean([h[term] for h in history[-5:]]) < 0.9 * np.mean([h[term] for h in history[:5]]), term


def test_training_goes_on_where_it_stopped(bank_dir, tmp_path):
    config = TrainConfig(model=TINY.to_dict(), batch_size=2, n_frames=32, steps=4, warmup=1, save_every=2, log_every=1)
    straight = loop.train(config, TrainingData(bank=bank_dir), tmp_path / "a", workers=0)
    loop.train(config, TrainingData(bank=bank_dir), tmp_path / "b", workers=0, max_minutes=0.0)
    state = loop.train(config, TrainingData(bank=bank_dir), tmp_path / "b", workers=0)
    assert straight.steps_done == state.steps_done == 4
    for a, b in zip(straight.model.parameters(), state.model.parameters()):
        assert torch.equal(a, b)
    lines = (tmp_path / "b" / "log.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == [1, 2, 3, 4]


def test_a_row_after_going_on_is_the_mean_of_the_steps_since(bank_dir, tmp_path):
    settings = {"model": TINY.to_dict(), "batch_size": 2, "n_frames": 32, "steps": 3, "warmup": 1, "save_every": 1}
    each, one_row = TrainConfig(**settings, log_every=1), TrainConfig(**settings, log_every=3)
    history: list[float] = []
    for run, config in (("a", each), ("b", one_row)):
        loop.train(config, TrainingData(bank=bank_dir), tmp_path / run, workers=0, max_minutes=0.0)  # one step
        loop.train(
            config, TrainingData(bank=bank_dir), tmp_path / run, workers=0,
            on_log=lambda _, means: history.append(means["separation"]),
        )  # fmt: skip
    second, third, row = history
    assert row == pytest.approx((second + third) / 2)


def test_recipes(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "x"\nsteps = 10\n[loss]\npitch = 2.0\n[model]\nchannels = [8, 8, 8, 8]\n')
    config = load_config(recipe, steps=20)
    assert (config.name, config.steps, config.loss.pitch) == ("x", 20, 2.0)
    assert config.learning_rate_at(0) < config.learning_rate
    assert config.learning_rate_at(19) <= config.learning_rate_at(10)
    twice = load_config(recipe, steps=40, cycles=2)
    assert [twice.learning_rate_at(step) for step in range(40)] == 2 * [config.learning_rate_at(s) for s in range(20)]
    recipe.write_text("stepz = 1\n")
    with pytest.raises(ModelError, match="stepz"):
        load_config(recipe)


def test_shipped_recipe_builds_its_network():
    from pathlib import Path

    from stemfeatures import training

    config = load_config(Path(training.__file__).parent / "recipes" / "joint-v0.toml")
    assert JointNet(JointConfig.from_dict(config.model)).feature_size > 0


def test_singing_has_the_pitch_it_says(tmp_path):
    pytest.importorskip("pyworld", reason="needs the train extra")
    from stemfeatures.training.data import singing

    rng = np.random.default_rng(0)
    frames = 200
    bank = {
        "sample_rate": 24_000, "frame_period_s": 0.005, "lag_s": 0.0, "duration_unit_s": 0.025,
        "line_start": np.array([0, frames]), "token_start": np.array([0, 4]), "lines": np.array(["la la"]),
        "token_class": np.array(["on", "nu", "on", "nu"]), "token_duration": np.array([4, 16, 4, 16]),
        "spectral_envelope": _coded_envelope(frames), "aperiodicity": np.full((frames, 3), -20.0, np.float32),
        "f0": np.full(frames, 200.0, np.float32),
    }  # fmt: skip
    y, f0 = singing.sing_line(bank, 0, rng)
    assert len(f0) == 1 + len(y) // HOP_LENGTH
    measured = build_bank.pyin_f0(y, fmin=60, fmax=1000)
    both = (np.nan_to_num(measured) > 0) & (f0 > 0)
    assert both.sum() > 20
    assert np.mean(np.abs(1200 * np.log2(measured[both] / f0[both])) < 50) > 0.95


def _coded_envelope(frames: int) -> np.ndarray:
    import pyworld

    n_fft = pyworld.get_cheaptrick_fft_size(24_000, 71.0)
    envelope = np.exp(-np.arange(n_fft // 2 + 1) / 150.0)[None].repeat(frames, axis=0) * 1e-3 + 1e-9
    return pyworld.code_spectral_envelope(np.ascontiguousarray(envelope), 24_000, 60)
