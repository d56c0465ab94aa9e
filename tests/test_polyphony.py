"""Notes of a stem of several voices: spectrum, network, meter, decoding, table."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import mir_eval
import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stemfeatures.analysis import Analyser
from stemfeatures.constants import FRAME_RATE, HOP_LENGTH, LOWEST_NOTE, N_NOTES
from stemfeatures.descriptors.polyphony import polyphonic_notes
from stemfeatures.descriptors.transcription import note_name
from stemfeatures.errors import ModelError
from stemfeatures.frames import further_voices
from stemfeatures.frames.further_voices import voice_weights
from stemfeatures.frames.polyphony import WEIGHTS, NoteMeter
from stemfeatures.models import checkpoints
from stemfeatures.models.notes import ACTIVE, ONSET, NoteConfig, NoteNet, note_features
from stemfeatures.spectra.thirds import (
    LONG_WINDOW,
    LOWEST_SEMITONE,
    N_SEMITONES,
    N_THIRDS,
    third_frequencies,
    thirds,
)
from stemfeatures.training import notes as training
from stemfeatures.training.data.heard_notes import _heard_from, note_targets, voice_targets
from stemfeatures.training.data.moved_spectra import equalised, moved

SR = 22_050


def struck(notes: list[tuple[float, float, float]], seconds: float) -> np.ndarray:
    """Tones of eight partials that decay: (start, end, MIDI pitch)."""
    y = np.zeros(round(SR * seconds))
    for start, end, midi in notes:
        t = np.arange(round((end - start) * SR)) / SR
        hz = 440 * 2 ** ((midi - 69) / 12)
        tone = sum(np.sin(2 * np.pi * k * hz * t) / k**1.3 for k in range(1, 9) if k * hz < SR / 2)
        fade = np.minimum(1, (end - start - t) / 0.02) * np.minimum(1, t / 0.004)
        y[round(start * SR) : round(start * SR) + len(t)] += 0.1 * tone * np.exp(-2.0 * t) * fade
    return y


def padded(y: np.ndarray) -> np.ndarray:
    return np.pad(y.astype(np.float32), (LONG_WINDOW // 2, LONG_WINDOW // 2 + HOP_LENGTH))


def tiny() -> NoteNet:
    torch.manual_seed(0)
    return NoteNet(NoteConfig(channels=6, context=2)).eval()


@pytest.mark.parametrize("midi", [52, 57, 69, 81, 100])
def test_a_sine_is_highest_in_its_bin(midi):
    hz = 440 * 2 ** ((midi - 69) / 12)
    assert third_frequencies()[3 * (midi - LOWEST_SEMITONE) + 1] == pytest.approx(hz)
    fine, coarse = thirds(padded(np.sin(2 * np.pi * hz * np.arange(SR) / SR)), 1 + SR // HOP_LENGTH)
    assert fine.shape == (44, 288)
    assert (fine[5:-5].argmax(axis=1) == 3 * (midi - LOWEST_SEMITONE) + 1).all()
    if midi > 60:  # below, the short window is wider than a semitone
        assert (coarse[5:-5].argmax(axis=1) == midi - LOWEST_SEMITONE).all()
    # 0.5 where a bin of the transform is hit, at least two thirds of it between two of them, less in a triangle above.
    assert 0.08 < fine[20].max() <= 0.51


def test_features_do_not_know_the_gain():
    y = struck([(0.1, 0.9, 60), (0.5, 1.4, 67)], 1.5)
    loud, soft = (note_features(*thirds(padded(gain * y), 1 + len(y) // HOP_LENGTH)) for gain in (1.0, 1e-3))
    np.testing.assert_allclose(loud, soft, atol=1e-3)
    assert loud.max() > 1
    assert not note_features(*thirds(padded(0 * y), 10)).any()


@pytest.mark.parametrize("seconds", [0.02, 1.0, 30.0])
def test_blocks_give_what_the_whole_gives(seconds):
    rng = np.random.default_rng(0)
    y = rng.standard_normal(round(seconds * SR)) * (1 + np.sin(np.arange(round(seconds * SR)) / SR))
    n = 1 + len(y) // HOP_LENGTH
    meter, parts = NoteMeter("cpu", tiny()), []
    for at in range(0, len(y), 40_000):
        meter.push_signal(y[at : at + 40_000])
        parts.append(meter.take())
    found = np.concatenate([*parts, meter.finish(n)], axis=2)
    features = torch.from_numpy(note_features(*thirds(padded(y), n)))
    with torch.no_grad():
        whole = tiny()(features[None])[0].transpose(1, 2)
    whole[:2] = torch.sigmoid(whole[:2])
    assert found.shape == (3, N_NOTES, n)
    np.testing.assert_allclose(found, whole.numpy(), atol=1e-5)


def test_notes_of_known_activations():
    onset, active, deviation = (np.zeros((60, 8)) for _ in range(3))
    onset[10:12, 1] = 0.9, 0.6  # a note whose beginning lies between two frames
    active[10:20, 1] = 0.9
    onset[15, 3], onset[29:31, 3] = 0.8, (0.3, 0.7)  # begins anew while it sounds, between two frames
    active[15:48, 3], deviation[15:48, 3] = 0.8, 0.2
    onset[40, 5] = 0.9  # does not sound
    active[50:, 6] = 0.9  # does not begin
    onset[52, 7], active[52:, 7] = 0.4, 0.9  # not sure
    found = polyphonic_notes(onset, active, deviation)
    np.testing.assert_array_equal(found.pitch, LOWEST_NOTE + np.array([1, 3, 3]))
    np.testing.assert_allclose(found.onset_s * FRAME_RATE, [10.25, 15, 29.86], atol=0.01)
    np.testing.assert_allclose(found.offset_s * FRAME_RATE, [20, 29.86, 48], atol=0.01)
    assert found.offset_s[1] == found.onset_s[2]  # notes of one pitch do not overlap
    np.testing.assert_allclose(found.cents, [0, 20, 20], atol=1e-6)
    np.testing.assert_allclose(found.confidence, [0.81, 0.64, 0.56])
    assert len(polyphonic_notes(np.zeros((5, 8)), active[:5], deviation[:5]).pitch) == 0
    lower = polyphonic_notes(onset, active, deviation, least_onset=0.3)
    assert set(lower.pitch) - set(found.pitch) == {LOWEST_NOTE + 7}


def test_the_network_that_ships_finds_struck_notes():
    chords = [(60, 64, 67), (57, 60, 65), (55, 59, 62, 71), (52, 60, 67), (64, 69), (48, 55, 76)]
    notes = [(0.2 + 0.5 * k, 0.65 + 0.5 * k, float(midi)) for k, chord in enumerate(chords) for midi in chord]
    y = struck(notes, 3.5)
    meter = NoteMeter("cpu")
    meter.push_signal(y)
    onset, active, deviation = meter.finish(1 + len(y) // HOP_LENGTH)
    found = polyphonic_notes(onset.T, active.T, deviation.T)
    spans = np.array([note[:2] for note in notes])
    hertz = [440 * 2 ** ((x - 69) / 12) for x in (np.array([n[2] for n in notes]), found.pitch + found.cents / 100)]
    precision, recall, _, _ = mir_eval.transcription.precision_recall_f1_overlap(
        spans, hertz[0], np.stack([found.onset_s, found.offset_s], axis=1), hertz[1], offset_ratio=None
    )
    assert precision > 0.7
    assert recall > 0.7
    silent = NoteMeter("cpu")
    silent.push_signal(np.zeros(SR))
    assert silent.finish(44)[ONSET].max() < 0.5


def test_the_table_is_made_on_request():
    chords = [(60, 64, 67), (57, 60, 65), (55, 59, 62), (52, 60, 67)]
    notes = [(0.2 + 0.5 * k, 0.65 + 0.5 * k, midi + 0.2) for k, chord in enumerate(chords) for midi in chord]
    y = struck(notes, 2.5)
    analyser = Analyser()
    assert "polyphonic_notes" not in analyser.from_audio(y, SR, stems={"other": y}).tables
    analyser.configure(requested=["polyphonic_notes"])
    table = analyser.from_audio(y, SR, stems={"other": y}).tables["polyphonic_notes"]
    assert set(table["stem"]) == {"other"}
    found = set(zip(table["pitch"].tolist(), np.rint(2 * (table["onset_s"] - 0.2)).astype(int).tolist()))
    assert len({(round(midi), round(2 * (start - 0.2))) for start, _, midi in notes} & found) >= 9
    right = np.isin(table["pitch"], [midi for chord in chords for midi in chord])
    assert np.median(table["cents"][right]) == pytest.approx(20, abs=12)
    np.testing.assert_allclose(
        table["frequency_hz"], 440 * 2 ** ((table["pitch"] - 69 + table["cents"] / 100) / 12), rtol=1e-6
    )
    assert note_name(100 * (int(table["pitch"][0]) - 69)) == table["name"][0]
    assert (table["offset_s"] > table["onset_s"]).all()


def test_what_is_no_network_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="no network of notes"):
        NoteNet.load(tmp_path / "x.safetensors")
    net = tiny()
    net.save(tmp_path / "y.safetensors", {"task": "notes"})
    features = torch.rand(1, 20, 384)
    with torch.inference_mode():
        np.testing.assert_allclose(NoteNet.load(tmp_path / "y.safetensors")(features), net(features), atol=0.02)
    assert json.loads((tmp_path / "y.json").read_text()) == {"task": "notes"}
    with safe_open(str(tmp_path / "y.safetensors"), "pt") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del weights["tell.weight"]
    save_file(weights, str(tmp_path / "z.safetensors"), metadata)
    with pytest.raises(ModelError, match=r"no network of notes: (?s:.*)tell\.weight"):
        NoteNet.load(tmp_path / "z.safetensors")


# -- training ---------------------------------------------------------------------------------------------------------


def test_targets():
    notes = np.array([[10 / FRAME_RATE, 20 / FRAME_RATE, 60.2], [12.5 / FRAME_RATE, 14 / FRAME_RATE, 20.0]])
    target = note_targets(notes, 4, 30)
    assert target.shape == (3, 30, N_NOTES)
    np.testing.assert_allclose(target[0, 4:9, 60 - LOWEST_NOTE], [0, 1 / 3, 1, 1 / 3, 0], atol=1e-6)
    assert np.flatnonzero(target[1, :, 60 - LOWEST_NOTE]).tolist() == list(range(6, 16))
    np.testing.assert_allclose(target[2, 6:16, 60 - LOWEST_NOTE], 0.2, atol=1e-6)
    assert target[1].sum() == 10  # the other lies below the pitches
    voices = np.full((2, 40), np.nan, np.float32)
    voices[0, 5:10], voices[1, 8:12] = 62.4, 67.0
    target = voice_targets(voices, 4, 30)
    assert target[1].sum(axis=1).tolist() == [0, 1, 1, 1, 2, 2, 1, 1, *[0] * 22]
    np.testing.assert_allclose(target[2, 1, 62 - LOWEST_NOTE], 0.4, atol=1e-5)


def test_features_move_with_the_pitch():
    y, up = (struck([(0.1, 1.4, midi)], 1.5) for midi in (60, 62))
    n = 1 + len(y) // HOP_LENGTH
    x, expected = (note_features(*thirds(padded(signal), n)) for signal in (y, up))
    shifted = moved(x, 6)
    sounding = slice(10, 50)
    apart = np.abs(shifted - expected)[sounding, 60:280].mean()
    assert apart < 0.4 * np.abs(x - expected)[sounding, 60:280].mean()


def test_spectra_beside_each_other_go_through_one_equaliser():
    sizes = (N_THIRDS, N_SEMITONES)
    x = np.full((2, sum(sizes)), 5.0, np.float32)
    x[1] = 0.0
    through = equalised(x, np.random.default_rng(1), sizes)
    assert not through[1].any()  # what is silent stays so
    fine, coarse = through[0, :N_THIRDS] - 5, through[0, N_THIRDS:] - 5
    assert 0.05 < fine.std() < 0.5
    every = np.linspace(0, 1, 50)
    at = [np.interp(every, np.linspace(0, 1, len(gain)), gain) for gain in (fine, coarse)]
    np.testing.assert_allclose(*at, atol=0.02)


def _song(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    notes = [(0.3 * k, 0.3 * k + 0.28, float(rng.integers(50, 80))) for k in range(16) for _ in range(2)]
    other = struck(notes, 5.0)
    folder.mkdir(parents=True)
    for name, y in (("other", other), ("mixture", other + 0.001 * rng.standard_normal(len(other)))):
        sf.write(folder / f"{name}.flac", y, SR)
    named = [dict(zip(("start_s", "end_s", "midi"), note)) for note in notes]
    (folder / "truth.json").write_text(json.dumps({"notes": {"other": named}, "f0": {"vocals": []}}))
    return folder


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(training, "BATCH_SIZE", 2)


def _refusal(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says that ends with 2, behind its name."""
    with pytest.raises(SystemExit) as stop:
        training.main(args)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].partition("error: ")[2]


@pytest.mark.usefixtures("small_batches")
def test_the_command_learns_chooses_scores_and_saves(tmp_path, monkeypatch, capsys):
    for k, name in enumerate(("songs", "unseen", "held_out")):
        _song(tmp_path / name / f"{k:08d}", k)
    out = tmp_path / "notes.safetensors"
    args = ["--songs", str(tmp_path / "songs"), "--unseen", str(tmp_path / "unseen"), "--licence", "Apache-2.0"]
    args += ["--held-out", str(tmp_path / "held_out"), "--steps", "2", "--channels", "6", "-o", str(out)]
    training.main([*args, "--cache", str(tmp_path / "heard")])
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["licence"] == "Apache-2.0"
    assert card["data"][0]["songs"] == 1
    assert card["training"]["thresholds"]["chosen_on"] == ["00000001"]
    assert card["metrics"]["notes"]["songs"] == ["00000002"]
    assert 0 <= card["metrics"]["notes"]["separated_f"] <= 1
    assert len(list((tmp_path / "heard").iterdir())) == 3
    assert NoteNet.load(out).config.channels == 6
    cached = [*args, "--cache", str(tmp_path / "heard")]
    twice = [*args[:-2], "--songs", str(tmp_path / "songs"), str(tmp_path / "songs"), *args[-2:]]
    capsys.readouterr()
    assert _refusal(twice, capsys).startswith(f"{tmp_path / 'songs'}: song 00000000 is also in")
    shutil.copytree(tmp_path / "songs/00000000", tmp_path / "copies/00000009")
    copied = [*args[:-2], "--songs", str(tmp_path / "songs"), str(tmp_path / "copies"), *args[-2:]]
    said = f"{tmp_path / 'copies'}: song 00000009 is also in {tmp_path / 'songs'}, as 00000000"
    assert _refusal(copied, capsys).startswith(said)
    (tmp_path / "unseen/00000001/truth.json").write_text(json.dumps({"notes": {}, "f0": {}}))
    assert "no song has notes of other" in _refusal(cached, capsys)
    monkeypatch.setattr(training, "N_FRAMES", 1000)
    assert "no song of 23.2 s" in _refusal(cached, capsys)


@pytest.mark.usefixtures("small_batches")
def test_it_learns_what_sounds():
    """Weights that learned one song know its notes; the thresholds become one half."""
    notes = [(0.3 * k, 0.3 * k + 0.28, 50.0 + 7 * k % 24) for k in range(16)]
    features = note_features(*thirds(padded(struck(notes, 5.0)), 216)).astype(np.float16)
    song = training.HeardNotes(features, features, np.array(notes), np.zeros((0, 216), np.float32), 5.0)
    torch.manual_seed(0)
    net = NoteNet(NoteConfig(channels=8, context=2, dilations=(1, 2)))
    losses: list[float] = []
    training.learn(net, [song], steps=25, on_step=lambda _, loss: losses.append(loss))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    before = training.outputs(net, features)
    training.shift(net, (0.8, 0.3))
    moved_by = training.outputs(net, features) - before
    np.testing.assert_allclose(moved_by[ONSET], -np.log(4), atol=1e-4)
    np.testing.assert_allclose(moved_by[ACTIVE], np.log(7 / 3), atol=1e-4)


def test_what_was_heard_is_kept_by_what_it_follows_from(tmp_path, monkeypatch):
    """Not by the name of a song: its content, and how features are made."""
    song = _song(tmp_path / "00000001", 1)
    keys = {_heard_from(song, "other")}
    assert keys == {_heard_from(song, "other")}
    with monkeypatch.context() as changed:
        changed.setattr("stemfeatures.models.notes.FLOOR", 0.004)
        keys.add(_heard_from(song, "other"))
    (song / "truth.json").write_text(json.dumps({"notes": {"other": []}, "f0": {"vocals": []}}))
    keys.add(_heard_from(song, "other"))
    sf.write(song / "other.flac", np.zeros(1000), SR)
    keys.add(_heard_from(song, "other"))
    assert len(keys) == 4


def test_other_weights_have_another_name() -> None:
    """Rows say by the name alone with which network of notes they were made."""
    digests = {"other-v1": "4129f4ef91555e5fa970453fcae5a557e99a99902c4a12ba5e86aa4262ca57a6"}
    file = checkpoints.WEIGHTS_DIR / "notes" / f"{WEIGHTS}.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digests[WEIGHTS]
    of_voices = {"vocals-v1": "0ea008db4c8e2fb0450d6c8c1c881ee4756adacca4e9a56f48e15b1d104c5d6c"}
    assert hashlib.sha256(voice_weights().read_bytes()).hexdigest() == of_voices[further_voices.WEIGHTS]
