"""Tuning, key and chord changes of synthesised chords."""

import librosa
import mir_eval.key
import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, no_pitch, pitch_frames, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.harmony import chord_changes, estimate_key
from stemfeatures.descriptors.pitch_classes import estimate_tuning, fold_chroma
from stemfeatures.descriptors.tonal_centroid import tonal_centroid

C_MAJOR = [(60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67)]
A_MINOR = [(57, 60, 64), (62, 65, 69), (64, 68, 71), (57, 60, 64)]


def _hz(midi):
    return 440 * 2 ** ((np.asarray(midi) - 69) / 12)


def _tone(midi, seconds):
    t = np.arange(int(seconds * SR)) / SR
    return 0.1 * sum(np.sin(2 * np.pi * _hz(midi) * h * t) / h for h in (1, 2, 3, 4))


def _chords(progression, *, shift=0.0, seconds=1.0, repeat=2):
    return np.concatenate([sum(_tone(note + shift, seconds) for note in chord) for chord in progression * repeat])


@pytest.mark.parametrize("cents", [-40, -30, 0, 20, 30, 45])
@pytest.mark.parametrize(("progression", "key"), [(C_MAJOR, "C:major"), (A_MINOR, "A:minor")])
def test_detuned_progressions(progression, key, cents):
    rows = describe(track_frames({"other": _chords(progression, shift=cents / 100)})).stems
    for row in ("other", "mixture"):
        values = rows[row]
        assert values["harmony_status"] == "ok"
        assert values["key"] == key
        assert values["key_strength"] > 0.75
        assert values["key_2"] != key
        assert values["key_clarity"] == pytest.approx(values["key_strength"] - values["key_2_strength"])
        assert values["tuning_cents"] == pytest.approx(cents, abs=4)
        chroma = [values[f"chroma_{k:02d}_mean"] for k in range(1, 13)]
        assert sum(chroma) == pytest.approx(1)
        assert 0 < values["hpcp_entropy"] < np.log2(12)


@pytest.mark.parametrize("semitones", range(1, 12))
def test_transposition_moves_the_key(semitones):
    names = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
    values = describe(track_frames({"other": _chords(C_MAJOR, shift=semitones - 5, seconds=0.4)})).stems["other"]
    expected = f"{names[(semitones - 5) % 12]}:major"
    assert values["key"] == expected
    assert mir_eval.key.weighted_score(*(k.replace(":", " ") for k in (expected, values["key"]))) == 1


def test_drums_do_not_change_the_key_of_the_mixture():
    rng = np.random.default_rng(0)
    chords = _chords(A_MINOR)
    drums = 0.3 * rng.standard_normal(len(chords))
    drums += 0.5 * np.sin(2 * np.pi * _hz(66) * np.arange(len(chords)) / SR)  # a tuned drum, F sharp
    rows = describe(track_frames({"other": chords, "drums": drums})).stems
    assert rows["mixture"]["key"] == rows["other"]["key"] == "A:minor"
    assert rows["drums"]["key"] is None


def test_bass_chroma_comes_from_its_contour():
    # A bass line on the notes of G major, each 8 Hz or less from its neighbours: beyond the STFT.
    line = np.array([31, 33, 35, 36, 38, 40, 42, 43, 38, 35, 31, 38]) + 0.2
    y = np.concatenate([_tone(note, 0.5) for note in line])
    n = n_frames_of(len(y))
    hz = _hz(line)[np.minimum((np.arange(n) / FRAME_RATE / 0.5).astype(int), len(line) - 1)]
    values = describe(track_frames({"bass": y}, f0_hz={"bass": hz})).stems
    assert values["bass"]["key"] == values["mixture"]["key"] == "G:major"
    assert values["bass"]["tuning_cents"] == pytest.approx(20, abs=3)
    assert values["bass"]["chords_changes_rate"] is None
    unvoiced = describe(track_frames({"bass": y}, pitch={"bass": no_pitch(n)})).stems["bass"]
    assert unvoiced["harmony_status"] == "unvoiced"
    assert unvoiced["key"] is None


def test_a_single_tone_lies_in_its_pitch_class():
    values = describe(track_frames({"vocals": 0.2 * np.sin(2 * np.pi * 440 * np.arange(3 * SR) / SR)})).stems["vocals"]
    assert max(range(1, 13), key=lambda k: values[f"chroma_{k:02d}_mean"]) == 10  # A, counted from C = 1


@pytest.mark.parametrize("hz", [82.4, 110.0, 220.0, 261.63, 349.2])
def test_a_low_pure_tone_says_nothing_of_pitch_classes(hz):
    y = 0.2 * np.sin(2 * np.pi * hz * np.arange(3 * SR) / SR)
    rows = describe(track_frames({"other": y})).stems
    for row in ("other", "mixture"):
        assert rows[row]["harmony_status"] == "unresolved"
        assert rows[row]["tuning_cents"] is None
        assert rows[row]["key"] is None
    # In the voice its F0 does.
    n = n_frames_of(len(y))
    rows = describe(track_frames({"vocals": y}, f0_hz={"vocals": np.full(n, hz)})).stems
    midi = 69 + 12 * np.log2(hz / 440)
    for row in ("vocals", "mixture"):
        assert rows[row]["harmony_status"] == "ok"
        assert rows[row]["tuning_cents"] == pytest.approx(100 * (midi - round(midi)), abs=3)
        assert rows[row][f"chroma_{round(midi) % 12 + 1:02d}_mean"] > 0.9


def test_a_low_tone_with_partials_is_in_tune():
    for midi in (45, 52, 57):
        values = describe(track_frames({"other": _tone(midi + 0.2, 2.0) + _tone(midi + 12.2, 2.0)})).stems["other"]
        assert values["harmony_status"] == "ok"
        assert max(range(12), key=lambda k: values[f"chroma_{k + 1:02d}_mean"]) == midi % 12


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_noise_has_no_key(exponent):
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(5 * SR))
    noise = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** exponent)
    rows = describe(track_frames({"other": 0.1 * noise / noise.std()})).stems
    for row in ("mixture", "other"):
        assert rows[row]["harmony_status"] == "atonal"
        assert rows[row]["key"] is None


def test_chord_changes():
    assert describe(track_frames({"other": _chords(C_MAJOR)})).stems["other"]["chords_changes_rate"] == pytest.approx(
        6 / 8,
        rel=0.05,  # C F G C C F G C: six changes in eight seconds
    )
    steady = describe(track_frames({"other": _chords([(60, 64, 67)] * 4)})).stems["other"]
    assert steady["chords_changes_rate"] == 0
    assert chord_changes(np.zeros((12, 50))) == 0


def test_tuning_and_folding_undo_a_shift():
    chroma = np.zeros((36, 1))
    chroma[[0, 12, 21]] = 1.0  # C, E and G exactly
    assert estimate_tuning(chroma) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(np.flatnonzero(fold_chroma(chroma, 0.0)[:, 0]), [0, 4, 7])
    raised = np.roll(chroma, 1, axis=0)
    assert estimate_tuning(raised) == pytest.approx(100 / 3)
    np.testing.assert_allclose(fold_chroma(raised, 100 / 3), fold_chroma(chroma, 0.0), atol=1e-9)
    assert estimate_tuning(np.ones((36, 1))) is None


def test_all_keys_are_ranked():
    keys = estimate_key(np.array([5, 2, 3.5, 2, 4.5, 4, 2, 4.5, 2, 3.5, 1.5, 4]))
    assert len({name for name, _ in keys}) == 24
    assert keys[0] == ("C:major", pytest.approx(1))
    assert (np.diff([strength for _, strength in keys]) <= 0).all()


def test_too_short_for_a_key():
    n = n_frames_of(int(0.3 * SR))
    y = _tone(60, 0.3)
    rows = describe(track_frames({"vocals": y}, pitch={"vocals": pitch_frames(np.full(n, 261.6))})).stems
    assert rows["vocals"]["harmony_status"] == "too_short"
    assert rows["vocals"]["key"] is None


def test_tonal_centroid_is_that_of_librosa():
    chroma = np.random.default_rng(0).random((12, 20))
    chroma /= chroma.sum(axis=0)
    np.testing.assert_allclose(tonal_centroid(chroma), librosa.feature.tonnetz(chroma=chroma), atol=1e-12)
    for row in ("other", "mixture"):
        values = describe(track_frames({"other": _chords(C_MAJOR, seconds=0.5, repeat=1)})).stems[row]
        shares = np.array([values[f"chroma_{k:02d}_mean"] for k in range(1, 13)])
        centroid = [values[f"tonal_centroid_{k}_mean"] for k in range(1, 7)]
        np.testing.assert_allclose(centroid, librosa.feature.tonnetz(chroma=shares[:, None])[:, 0], atol=1e-6)
    rows = describe(track_frames({"vocals": np.zeros(SR)})).stems
    assert (rows["vocals"]["tonal_centroid_status"], rows["vocals"]["tonal_centroid_1_mean"]) == ("silent", None)
    assert rows["drums"]["tonal_centroid_status"] == "not_applicable"
