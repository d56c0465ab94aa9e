"""Tonic and mode of loops, by scale, bass and chords."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.chords import Chords, chord_inputs
from stemfeatures.descriptors.harmony import key_evidence, track_key_evidence
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.descriptors.keys import EVIDENCE, MODES, SCALES, KeyEvidence, KeyModel, estimate_mode, key_features
from stemfeatures.descriptors.pitch_classes import PITCH_CLASSES
from stemfeatures.generator.compose.composer import compose
from stemfeatures.training import keys as training

#: Chords as semitones above the tonic and the third of the triad; the first chord and the bass make the tonic.
LOOPS = {
    "aeolian": ((0, 3), (8, 4), (3, 4), (10, 4)),  # i VI III VII, of the same chords as vi IV I V
    "mixolydian": ((0, 4), (10, 4), (5, 4), (0, 4)),
    "dorian": ((0, 3), (5, 4), (0, 3), (5, 4)),
    "ionian": ((0, 4), (7, 4), (9, 3), (5, 4)),
}
FUNCTIONAL = {"major": ((0, 4), (5, 4), (7, 4), (0, 4)), "minor": ((0, 3), (5, 3), (7, 4), (0, 3))}
CHORD_S = 0.5


def _tone(midi: float, n: int) -> np.ndarray:
    hz = 440 * 2 ** ((midi - 69) / 12)
    return 0.1 * sum(np.sin(2 * np.pi * hz * h * np.arange(n) / SR) / h for h in (1, 2, 3, 4))


def _mixture(loop, tonic: int, *, bass: bool = True, repeat: int = 3) -> dict:
    """The mixture's row for a loop of triads over its roots."""
    n = int(CHORD_S * SR)
    chords = [(48 + (tonic + root) % 12, third) for root, third in loop] * repeat
    stems = {"other": np.concatenate([sum(_tone(12 + r + step, n) for step in (0, t, 7)) for r, t in chords])}
    f0 = {}
    if bass:
        stems["bass"] = np.concatenate([2 * _tone(r - 12, n) for r, _ in chords])
        frame = np.arange(n_frames_of(len(stems["bass"]))) / FRAME_RATE / CHORD_S
        roots = np.array([r - 12 for r, _ in chords])[np.minimum(frame.astype(int), len(chords) - 1)]
        f0 = {"bass": 440 * 2 ** ((roots - 69) / 12)}
    return describe(track_frames(stems, f0_hz=f0)).stems["mixture"]


@pytest.mark.parametrize("tonic", [0, 4, 9])
@pytest.mark.parametrize("mode", LOOPS)
def test_loops_have_their_mode(mode, tonic):
    row = _mixture(LOOPS[mode], tonic)
    assert row["key_mode"] == mode
    assert row["key"] == f"{PITCH_CLASSES[tonic]}:{SCALES[mode]}"
    assert 0.2 < row["key_mode_confidence"] <= 1
    assert row["key_2"] != row["key"]
    assert row["key_clarity"] == pytest.approx(row["key_strength"] - row["key_2_strength"])


@pytest.mark.parametrize("bass", [True, False])
@pytest.mark.parametrize("scale", FUNCTIONAL)
def test_functional_keys(scale, bass):
    found = [_mixture(FUNCTIONAL[scale], tonic, bass=bass, repeat=2)["key"] for tonic in range(0, 12, 2)]
    assert found == [f"{PITCH_CLASSES[tonic]}:{scale}" for tonic in range(0, 12, 2)]


@pytest.mark.parametrize("off", [46, 54])
def test_chords_have_the_tuning_of_the_key(off):
    # A voice between two semitones, a guitar a little above or below it: two tunings would be a semitone apart.
    n = int(CHORD_S * SR)
    loop = [(48 + root, third) for root, third in LOOPS["aeolian"]] * 3
    stems = {"other": np.concatenate([sum(_tone(12 + r + s + off / 100, n) for s in (0, t, 7)) for r, t in loop])}
    stems["vocals"] = np.concatenate([_tone(24 + r + (100 - off) / 100, n) for r, _ in loop])
    inputs = DescriptorInputs(track_frames(stems))
    evidence = inputs.get(track_key_evidence)
    row = describe(inputs.frames).stems["mixture"]
    assert inputs.get(chord_inputs).tuning_cents == pytest.approx(row["tuning_cents"], abs=1e-4)
    # What sounds most is a tone of the chords that sound longest, wherever the semitone is said to be.
    assert evidence.chord_tones[evidence.profile.argmax()] > 0.15


def _chords(labels, seconds=1.0):
    start = seconds * np.arange(len(labels))
    return Chords(start, start + seconds, list(labels), np.ones(len(labels)), np.zeros(1), np.zeros(1, dtype=int))


def test_chords_are_evidence_by_their_time():
    classes, bass = np.full((12, 100), 1 / 12), np.zeros((12, 100))
    found = key_evidence(classes, bass, _chords(["N", "C:maj", "A:min7", "G:7", "G:7"]))
    roots = np.zeros(12)
    roots[[0, 9, 7]] = 0.25, 0.25, 0.5
    np.testing.assert_allclose(found.roots, roots)
    # C E G, A C E G, and G B D F twice: 15 tones.
    tones = np.zeros(12)
    np.add.at(tones, [0, 4, 7, 9, 0, 4, 7, 7, 11, 2, 5, 7, 11, 2, 5], 1 / 15)
    np.testing.assert_allclose(found.chord_tones, tones)
    assert (found.first_root.argmax(), found.last_root.argmax()) == (0, 7)
    part = key_evidence(classes, bass, _chords(["N", "C:maj", "A:min7", "G:7", "G:7"]), 1.5, 3.0)
    assert part.roots[[0, 9]] == pytest.approx([1 / 3, 2 / 3])
    assert (part.first_root.argmax(), part.last_root.argmax()) == (0, 9)


def test_fifths_have_no_third():
    # The fifth partial of the root sounds as a major third: a minor loop of power chords read as mixolydian.
    classes, bass = np.full((12, 100), 1 / 12), np.zeros((12, 100))
    found = key_evidence(classes, bass, _chords(["E:5", "B:5"]))
    tones = np.zeros(12)
    tones[[4, 11, 6]] = 0.25, 0.5, 0.25
    np.testing.assert_allclose(found.chord_tones, tones)
    nothing = key_evidence(classes, bass, _chords(["N"]))
    assert not any(x.any() for x in (nothing.chord_tones, nothing.roots, nothing.first_root, nothing.last_root))


def test_transposition_moves_the_evidence():
    rng = np.random.default_rng(0)
    x = {field.name: rng.random(12) for field in dataclasses.fields(KeyEvidence)}
    up = {name: np.roll(v, 5) for name, v in x.items()}
    features, moved = key_features(KeyEvidence(**x)), key_features(KeyEvidence(**up))
    assert features.shape == (12, len(MODES), len(EVIDENCE))
    np.testing.assert_allclose(np.roll(features, 5, axis=0), moved)
    tonic, mode, probability = estimate_mode(KeyEvidence(**x))
    assert estimate_mode(KeyEvidence(**up)) == ((tonic + 5) % 12, mode, pytest.approx(probability))


def test_a_stem_reads_no_bass_but_its_own():
    row = _mixture(LOOPS["aeolian"], 9)
    assert row["key"] == "A:minor"
    n = int(CHORD_S * SR)
    chords = np.concatenate([sum(_tone(60 + r + step, n) for step in (0, t, 7)) for r, t in LOOPS["aeolian"] * 2])
    alone = describe(track_frames({"other": chords})).stems["other"]
    with_bass = describe(
        track_frames({"other": chords, "bass": np.tile(_tone(40, n), 8)}, f0_hz={"bass": np.full(173, 82.4)})
    ).stems["other"]
    assert alone["key_mode"] is with_bass["key_mode"] is None
    assert {k: v for k, v in alone.items() if k.startswith(("key", "chroma"))} == {
        k: v for k, v in with_bass.items() if k.startswith(("key", "chroma"))
    }


def test_a_fitted_model_finds_tonics_and_modes(tmp_path, capsys):
    # Evidence as clear as that of a score: the scale, its tonic in the bass, and chords on the first, fourth and fifth.
    songs = []
    for k in range(36):
        mode, tonic = tuple(MODES)[k % 6], 5 * k % 12
        scale = np.isin(np.arange(12), MODES[mode]) + 0.5 * (np.arange(12) == 0)
        roots = np.bincount([0, 0, MODES[mode][3], MODES[mode][4]], minlength=12) / 4
        one = np.eye(12)[0]
        parts = [scale / scale.sum(), roots, one, one, scale / scale.sum(), roots, one, one]
        moved = [np.roll(x, tonic) for x in parts]
        songs.append(training.KeyExample(KeyEvidence(*moved), tonic, mode))
    made_of: dict[str, object] = {"songs": 36}
    training.write_model(songs, tmp_path, made_of)
    assert made_of == {"songs": 36}
    told = capsys.readouterr().out.splitlines()
    assert told == [f"{mode}: 6 songs; tonic, key, mode right: 6, 6, 6" for mode in MODES]
    stored = json.loads((tmp_path / "key_weights.json").read_text())
    assert stored["made_of"]["songs"] == 36
    model = KeyModel(np.array(stored["weights"]), np.array(stored["bias"]))
    assert all(all(training.right(model, song)) for song in songs)
    wrong = dataclasses.replace(songs[0], mode="lydian")
    assert training.right(model, wrong) == (True, True, False)


def test_generated_songs_are_heard(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "SHARES", {"ionian": 1, "aeolian": 1})
    training.main(["--songs", "2", "--seed", "650000", "--duration", "8", "-o", str(tmp_path)])
    assert "ionian: 1 songs" in capsys.readouterr().out
    assert (tmp_path / "key_weights.json").exists()


def test_too_few_songs_are_told(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        training.main(["--songs", "1", "-o", str(tmp_path)])  # a share of a song of each mode
    assert stopped.value.code == 2
    assert "0 of the 1 songs can be learned from: make more, by --songs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_songs_of_modes():
    found = training.songs_of_modes({"ionian": 2, "dorian": 1}, 650_000, 8.0)
    assert sorted(mode for _, _, mode in found) == ["dorian", "ionian", "ionian"]
    for k, tonic, mode in found:
        score = compose(k, duration_s=8.0)
        assert (score.tonic, training.NAMES.get(score.mode, score.mode)) == (tonic, mode)
        assert len(score.keys) == 1
