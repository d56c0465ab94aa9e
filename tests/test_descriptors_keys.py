"""Tonic and mode of loops, by scale, bass and chords."""

from __future__ import annotations

import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.harmony import PITCH_CLASSES, key_evidence
from stemfeatures.descriptors.keys import EVIDENCE, MODES, SCALES, KeyEvidence, estimate_mode, key_features
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


def test_fifths_without_a_third_are_no_triads():
    # The fifth partial of the root sounds as a major third: a minor loop of power chords read as mixolydian.
    n = 400
    for third, amplitude, told in ((4, 0.25, 0.0), (4, 0.8, 1.0), (3, 0.8, 1.0)):
        classes = np.full((12, n), 0.02)
        classes[[4, (4 + 7) % 12, (4 + third) % 12]] = np.array([[1.0], [0.7], [amplitude]])
        triads = key_evidence(classes / classes.sum(axis=0), np.zeros((12, n))).triads
        assert triads.sum() == pytest.approx(told)
        assert triads[4 + 12 * (third == 3)] == pytest.approx(told)


def test_transposition_moves_the_evidence():
    rng = np.random.default_rng(0)
    x = {name: rng.random(24 if name == "triads" else 12) for name in ("profile", "bass", "triads", "first", "last")}
    up = {name: np.roll(v.reshape(-1, 12), 5, axis=1).ravel() for name, v in x.items()}
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


def test_a_model_of_composed_songs_finds_their_tonics(tmp_path, capsys):
    training.main(["--songs", "24", "--seed", "1", "--duration", "20", "-o", str(tmp_path)])
    assert "tonic right in" in capsys.readouterr().out
    assert (tmp_path / "key_weights.json").exists()
    songs = training.composed_songs(24, 1, 20.0)
    right = training.accuracy(training.fit_keys(songs), songs)
    assert right["mode"] <= right["key"] <= right["tonic"]
    assert right["tonic"] > 0.8
