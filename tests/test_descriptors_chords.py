"""Chords of synthesised progressions, as events and as figures."""

from __future__ import annotations

import mir_eval.chord
import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, pulses, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.chords import QUALITIES, ChordInputs, chord_grid, find_chords

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def _hz(midi):
    return 440 * 2 ** ((np.asarray(midi) - 69) / 12)


def _tone(midi, seconds):
    t = np.arange(round(seconds * SR)) / SR
    return 0.1 * sum(np.sin(2 * np.pi * _hz(midi) * h * t) / h for h in range(1, 7))


def _chord(root, quality, seconds):
    return sum(_tone(60 + root + t, seconds) for t in QUALITIES[quality])


def _song(progression, *, seconds=2.0, bass=None, shift=0.0, quiet_s=0.0):
    """A progression of (root, quality), a chord every ``seconds``, with beats of half a second and a bass line."""
    y = np.concatenate([_chord(root + shift, quality, seconds) for root, quality in progression])
    y = np.concatenate([y, np.zeros(round(quiet_s * SR))])
    n = n_frames_of(len(y))
    stems, f0 = {"other": y}, {}
    if bass is not None:
        low = np.concatenate([_tone(36 + note + shift, seconds) for note in bass])
        stems["bass"] = np.pad(low, (0, len(y) - len(low)))
        at = np.minimum((np.arange(n) / FRAME_RATE / seconds).astype(int), len(bass) - 1)
        f0["bass"] = _hz(36 + np.array(bass)[at] + shift)
    beats = np.arange(0.02, len(y) / SR, 0.5)
    return describe(
        track_frames(stems, f0_hz=f0, beat=pulses(beats, n), downbeat=pulses(beats[::4], n), onset=pulses(beats, n))
    )


def _scores(progression, table, seconds=2.0):
    edges = np.arange(len(progression) + 1) * seconds
    truth = [f"{PITCH_CLASSES[root % 12]}:{quality}" for root, quality in progression]
    reference = np.stack([edges[:-1], edges[1:]], axis=1)
    estimate, labels = mir_eval.util.adjust_intervals(
        np.stack([table["start_s"], table["end_s"]], axis=1), list(table["label"]), 0.0, edges[-1], "N", "N"
    )
    intervals, truth, labels = mir_eval.util.merge_labeled_intervals(reference, truth, estimate, labels)
    lengths = mir_eval.util.intervals_to_durations(intervals)
    compare = {"majmin": mir_eval.chord.majmin, "tetrads": mir_eval.chord.tetrads}
    return {name: mir_eval.chord.weighted_accuracy(f(truth, labels), lengths) for name, f in compare.items()}


MAJOR = [(0, "maj"), (9, "min"), (5, "maj"), (7, "maj")]
JAZZ = [(2, "min7"), (7, "7"), (0, "maj7"), (9, "min7"), (2, "min7")]


@pytest.mark.parametrize(("key", "shift"), [(0, 0.0), (1, 0.3), (6, -0.4), (10, 0.0)])
def test_triads_in_any_key_and_tuning(key, shift):
    progression = [((root + key) % 12, quality) for root, quality in MAJOR]
    found = _song(progression, shift=shift)
    scores = _scores(progression, found.tables["chords"])
    assert scores["majmin"] > 0.95
    assert scores["tetrads"] > 0.95
    values = found.stems["mixture"]
    assert values["chord_status"] == "ok"
    assert values["chord_count"] == 4
    assert values["chord_distinct_count"] == 4
    assert values["chord_rate_per_minute"] == pytest.approx(30, rel=0.05)
    assert values["chord_duration_median_s"] == pytest.approx(2.0, abs=0.1)
    assert values["chord_duration_median_beats"] == pytest.approx(4.0, abs=0.1)
    assert values["chord_minor_ratio"] == pytest.approx(0.25, abs=0.02)
    assert values["chord_major_ratio"] == pytest.approx(0.75, abs=0.02)
    assert values["chord_seventh_ratio"] == values["chord_inversion_ratio"] == 0
    assert values[f"chord_root_{key % 12 + 1:02d}_ratio"] == pytest.approx(0.25, abs=0.02)
    assert sum(values[f"chord_root_{k:02d}_ratio"] for k in range(1, 13)) == pytest.approx(1)
    assert values["chord_scale_change_count"] == 0


def test_sevenths_with_a_bass():
    found = _song(JAZZ, bass=[2, 7, 0, 9, 2])
    assert _scores(JAZZ, found.tables["chords"])["tetrads"] > 0.9
    assert found.stems["mixture"]["chord_seventh_ratio"] > 0.9


def test_the_bass_makes_an_inversion():
    found = _song(MAJOR, bass=[4, 9, 0, 7])
    table = found.tables["chords"]
    assert list(table["label"]) == ["C:maj/3", "A:min", "F:maj/5", "G:maj"]
    assert list(table["bass"]) == ["E", "A", "C", "G"]
    assert list(table["root"]) == ["C", "A", "F", "G"]
    assert list(table["quality"]) == ["maj", "min", "maj", "maj"]
    np.testing.assert_allclose(table["length_beats"], 4, atol=0.15)
    assert found.stems["mixture"]["chord_inversion_ratio"] == pytest.approx(1 / 2, abs=0.02)


def _heard(chords, root_level, leak):
    """Bars of (root, quality, bass) of eight half beats whose other stem has little of a root that the bass leaves, and
    much of the third partial of such a bass, as masks have them."""
    partials = np.bincount(np.rint(12 * np.log2(np.arange(1, 7))).astype(int) % 12, 0.5 ** np.arange(6), 12)
    sound, bass = np.zeros((2, len(chords), 12))
    for k, (root, quality, low) in enumerate(chords):
        for tone in QUALITIES[quality]:
            sound[k] += np.roll(partials, root + tone) * (root_level if tone == 0 and low != root else 1)
        sound[k, (low + 7) % 12] += leak * (low != root)
        bass[k, low] = 0.7
    steps = np.arange(8 * len(chords) + 1) * 0.25
    kinds = np.tile([0, 2, 1, 2, 1, 2, 1, 2], len(chords))
    return ChordInputs(steps, kinds, np.repeat(sound, 8, axis=0).T, np.repeat(bass, 8, axis=0).T, 0.0)


@pytest.mark.parametrize(("root_level", "leak"), [(1.0, 0.0), (0.4, 1.0)])
def test_a_third_in_the_bass_makes_no_minor_chord_of_its_own(root_level, leak):
    chords = [
        (0, "maj", 0),
        (7, "maj", 11),
        (9, "min", 9),
        (5, "maj", 5),
        (5, "maj", 9),
        (7, "maj", 7),
        (0, "maj", 4),
        (0, "maj", 0),
    ]
    found = find_chords(_heard(chords, root_level, leak))
    assert found.label == ["C:maj", "G:maj/3", "A:min", "F:maj", "F:maj/3", "G:maj", "C:maj/3", "C:maj"]


def test_minor_chords_on_the_third_stay_themselves():
    chords = [(7, "maj", 7), (11, "min", 11), (4, "min", 4), (0, "maj", 0), (9, "min", 9), (11, "min", 11)]
    found = find_chords(_heard(chords, 1.0, 0.0))
    assert found.label == ["G:maj", "B:min", "E:min", "C:maj", "A:min", "B:min"]


def test_a_bass_that_moves_on_with_the_bar_makes_another_chord():
    progression = [(0, "maj"), (0, "maj"), (5, "maj"), (5, "maj"), (9, "min"), (9, "min")]
    found = _song(progression, seconds=4.0, bass=[0, 4, 5, 9, 9, 9])
    table = found.tables["chords"]
    assert list(table["label"]) == ["C:maj", "C:maj/3", "F:maj", "F:maj/3", "A:min"]
    np.testing.assert_allclose(table["start_s"], [0, 4, 8, 12, 16], atol=0.15)
    np.testing.assert_array_equal(table["start_s"][1:], table["end_s"][:-1])
    assert found.stems["mixture"]["chord_distinct_count"] == 3
    assert found.stems["mixture"]["chord_inversion_ratio"] == pytest.approx(1 / 3, abs=0.03)
    # Within the bar a bass may go where it likes.
    within = _song(progression, seconds=2.0, bass=[0, 7, 5, 0, 9, 4]).tables["chords"]
    assert [label.split("/")[0] for label in within["label"]] == ["C:maj", "F:maj", "A:min"]


def test_chords_cover_the_track_and_silence_has_none():
    found = _song(MAJOR, quiet_s=4.0)
    table = found.tables["chords"]
    assert table["start_s"][0] == 0
    assert table["end_s"][-1] == pytest.approx(12.0, abs=0.05)
    np.testing.assert_array_equal(table["start_s"][1:], table["end_s"][:-1])
    assert table["label"][-1] == "N"
    assert table["root"][-1] is None
    assert found.stems["mixture"]["chord_none_ratio"] == pytest.approx(1 / 3, abs=0.045)  # half a second
    assert np.all((np.asarray(table["confidence"]) > 0) & (np.asarray(table["confidence"]) <= 1))


def test_a_change_of_key_changes_the_scale():
    up = [((root + 1) % 12, quality) for root, quality in MAJOR]
    found = _song(MAJOR * 2 + up * 2, seconds=1.0)
    assert found.stems["mixture"]["chord_scale_change_count"] == 1
    keys = found.tables["keys"]
    assert list(keys["key"]) == ["C:major", "C#:major"]
    assert list(keys["mode"]) == ["ionian", "ionian"]
    np.testing.assert_allclose(keys["start_s"], [0, 8], atol=0.3)
    np.testing.assert_allclose(keys["end_s"], [8, 16], atol=0.3)
    assert min(keys["confidence"]) > 0.5


@pytest.mark.parametrize(("shift", "key"), [(0, "A:minor"), (3, "C:minor")])
def test_one_scale_is_one_key(shift, key):
    """A minor loop has the notes of C major; it begins, ends and rests on its own tonic."""
    loop = [((root + shift) % 12, quality) for root, quality in [(9, "min"), (2, "min"), (4, "min"), (9, "min")]]
    found = _song(loop * 2, seconds=1.0, bass=[root for root, _ in loop * 2])
    keys = found.tables["keys"]
    assert list(keys["key"]) == [key]
    assert keys["mode"][0] == found.stems["mixture"]["key_mode"]
    assert keys["confidence"][0] == pytest.approx(found.stems["mixture"]["key_mode_confidence"], abs=1e-6)
    assert (keys["start_s"][0], keys["end_s"][0]) == (0.0, pytest.approx(8.0, abs=0.05))


def test_gain_changes_nothing():
    y = np.concatenate([_chord(root, quality, 1.0) for root, quality in MAJOR])
    loud, soft = (describe(track_frames({"other": gain * y})) for gain in (1.0, 0.25))
    assert list(loud.tables["chords"]["label"]) == list(soft.tables["chords"]["label"])
    np.testing.assert_allclose(loud.tables["chords"]["start_s"], soft.tables["chords"]["start_s"])


def test_where_there_are_no_chords():
    silent = describe(track_frames({"other": np.zeros(3 * SR)}))
    assert silent.stems["mixture"]["chord_status"] == "silent"
    assert len(silent.tables["chords"]["label"]) == len(silent.tables["keys"]["key"]) == 0
    short = describe(track_frames({"other": _chord(0, "maj", 0.5)}))
    assert short.stems["mixture"]["chord_status"] == "too_short"
    assert short.stems["mixture"]["chord_count"] is None
    noise = 0.1 * np.random.default_rng(0).standard_normal(6 * SR)
    drums = describe(track_frames({"drums": noise}))
    assert drums.stems["mixture"]["chord_status"] == "no_chords"
    assert list(drums.tables["chords"]["label"]) == ["N"]
    assert drums.stems["mixture"]["chord_none_ratio"] == 1
    assert drums.stems["other"]["chord_status"] == "not_applicable"


def test_the_grid_goes_on_where_beats_end():
    times, kinds = chord_grid(np.array([1.0, 1.5, 2.0, 2.5]), np.array([1, 2, 3, 4]), 4.0)
    np.testing.assert_allclose(times, np.arange(0, 4.01, 0.25))
    assert kinds[4] == 0  # the downbeat
    assert kinds[[2, 6, 8, 10, 12]].tolist() == [1] * 5
    assert (kinds[1::2] == 2)[1:-1].all()
    times, _ = chord_grid(None, None, 1.0)
    np.testing.assert_allclose(times, [0, 0.25, 0.5, 0.75, 1.0])
