"""Notes of lines that are known exactly, as events and as figures."""

from __future__ import annotations

import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.transcription import describe_notes, find_notes, note_name, split_notes, step_times


def _hz(midi):
    return 440 * 2 ** ((np.asarray(midi, float) - 69) / 12)


def _line(notes, seconds, stem="vocals", gain=1.0, decay=0.0):
    """Description of a line of (onset_s, offset_s, midi, amplitude): tones of four partials with their contour."""
    t = np.arange(round(seconds * SR)) / SR
    y, n = np.zeros(len(t)), n_frames_of(len(t))
    f0 = np.full(n, np.nan)
    times = np.arange(n) / FRAME_RATE
    for onset, offset, midi, amplitude in notes:
        a, b = round(onset * SR), round(offset * SR)
        fade = np.minimum(1, np.minimum(np.arange(b - a), np.arange(b - a)[::-1]) / 200) * np.exp(-decay * t[: b - a])
        y[a:b] += gain * amplitude * fade * sum(np.sin(2 * np.pi * _hz(midi) * h * t[: b - a]) / h for h in range(1, 5))
        f0[(times >= onset) & (times < offset)] = _hz(midi)
    return describe(track_frames({stem: y}, f0_hz={stem: f0}))


SCALE = [(0.5 + 0.5 * k, 0.95 + 0.5 * k, midi, 0.2) for k, midi in enumerate((60, 62, 64, 65, 67, 69, 71, 72))]


@pytest.mark.parametrize(("stem", "shift"), [("vocals", 0.0), ("bass", -24.25)])
def test_a_scale(stem, shift):
    found = _line([(a, b, midi + shift, g) for a, b, midi, g in SCALE], 5.0, stem)
    table = found.tables["notes"]
    assert list(table["stem"]) == [stem] * 8
    np.testing.assert_allclose(table["onset_s"], [a for a, *_ in SCALE], atol=0.035)
    np.testing.assert_allclose(table["offset_s"], [b for _, b, *_ in SCALE], atol=0.06)
    heard = np.array([midi for *_, midi, _ in SCALE]) + shift
    assert list(table["pitch"]) == np.rint(heard).astype(int).tolist()
    np.testing.assert_allclose(table["cents"], 100 * (heard - np.rint(heard)), atol=2)
    np.testing.assert_allclose(table["frequency_hz"], _hz(heard), rtol=1e-3)
    assert list(table["name"])[:3] == (["C4", "D4", "E4"] if stem == "vocals" else ["C2", "D2", "E2"])
    values = found.stems[stem]
    assert values["notes_status"] == "ok"
    assert values["note_count"] == 8
    assert values["note_interval_01_ratio"] == pytest.approx(2 / 7)
    assert values["note_interval_02_ratio"] == pytest.approx(5 / 7)
    assert values["note_ascending_ratio"] == 1
    assert values["note_phrase_length_median"] == 8
    assert values["note_phrase_duration_median_s"] == pytest.approx(3.95, abs=0.07)
    assert values["note_pitch_class_01_ratio"] == pytest.approx(2 / 8, abs=0.03)
    assert values["note_pitch_class_02_ratio"] == 0
    assert sum(values[f"note_pitch_class_{k:02d}_ratio"] for k in range(1, 13)) == pytest.approx(1)
    assert values["note_p95_name"] == ("C5" if stem == "vocals" else "B2")
    assert found.stems["other"]["notes_status"] == "not_applicable"


def test_an_onset_begins_another_note_of_the_same_pitch():
    repeated = [(0.5 + 0.4 * k, 0.9 + 0.4 * k, 57, 0.2) for k in range(6)]  # struck, so that they die away
    table = _line(repeated, 3.2, "bass", decay=8.0).tables["notes"]
    np.testing.assert_allclose(table["onset_s"], [a for a, *_ in repeated], atol=0.035)
    assert list(table["pitch"]) == [57] * 6
    steady = np.array([[10.0, 60.0, 0.0], [60.0, 90.0, 200.0]])
    cut = split_notes(steady, np.array([8, 12, 30, 31, 59, 75]) / FRAME_RATE)
    np.testing.assert_allclose(cut, [[10, 30, 0], [30, 60, 0], [60, 75, 200], [75, 90, 200]])


def test_velocity_follows_the_level_and_not_the_gain():
    notes = [(0.5, 1.0, 60, 0.2), (1.2, 1.7, 64, 0.05), (1.9, 2.4, 60, 0.2), (2.6, 3.1, 64, 0.1)]
    loud, soft = (_line(notes, 3.5, gain=gain) for gain in (1.0, 0.2))
    velocity = np.asarray(loud.tables["notes"]["velocity"], float)
    np.testing.assert_array_equal(velocity, soft.tables["notes"]["velocity"])
    # A level so many dB lower is a velocity lower by a fortieth of it as a power of ten.
    np.testing.assert_allclose(velocity / velocity[0], [1, 0.25**0.5, 1, 0.5**0.5], atol=0.04)


def test_phrases_end_with_a_rest_and_intervals_with_them():
    notes = [(0.5, 0.9, 60, 0.2), (1.0, 1.4, 62, 0.2), (2.5, 2.9, 72, 0.2), (3.0, 3.4, 71, 0.2), (3.5, 3.9, 67, 0.2)]
    values = _line(notes, 4.5).stems["vocals"]
    assert values["note_phrase_length_median"] == 2.5
    assert values["note_interval_10_ratio"] == 0
    assert [values[f"note_interval_{k:02d}_ratio"] for k in (1, 2, 4)] == pytest.approx([1 / 3] * 3)
    assert values["note_ascending_ratio"] == pytest.approx(1 / 3)


def test_glides_are_steps_that_take_time():
    n = 200
    pitch = np.full(n, 0.0)
    pitch[60:80] = np.linspace(0, 500, 20)  # half a second up
    pitch[80:] = 500
    pitch[140:] = 700  # at once
    found = find_notes(pitch, np.full(n, 0.9), np.zeros(0), np.full(n, 0.01))
    assert np.rint(found.cents).tolist() == [0, 500, 700]
    assert found.onset_s[1] - found.offset_s[0] > 0.1
    assert found.onset_s[2] - found.offset_s[1] < 0.05
    np.testing.assert_allclose(found.confidence, 0.9)


@pytest.mark.parametrize("semitones", [1, -1, 2, 5, 12])
@pytest.mark.parametrize("glide_s", [0.0, 0.05, 0.15, 0.3, 0.5])
def test_glides_take_the_time_that_the_pitch_takes(semitones, glide_s):
    far, n, rest = 100 * semitones, round(glide_s * FRAME_RATE), 60
    up, down = np.linspace(0, far, n + 2)[1:-1], np.linspace(far, 0, n + 2)[1:-1]
    pitch = np.concatenate([np.zeros(rest), up, np.full(rest, far), down, np.zeros(rest)]).astype(float)
    found = find_notes(pitch, np.full(len(pitch), 0.9), np.zeros(0), np.full(len(pitch), 0.01))
    assert np.rint(found.cents).tolist() == [0, far, 0]
    # From the last frame of one note to the first of the next is a frame more.
    np.testing.assert_allclose(step_times(pitch, found), (n + 1) / FRAME_RATE, atol=0.001)
    assert describe_notes(found, pitch)["note_glide_ratio"] == (1.0 if glide_s > 0.1 else 0.0)


def test_a_note_that_is_struck_again_is_no_glide():
    pitch, energy = np.zeros(160), np.full(160, 0.01)
    energy[74:80] = 1e-5
    found = find_notes(pitch, np.full(160, 0.9), np.array([80 / FRAME_RATE]), energy)
    assert step_times(pitch, found).tolist() == [0.0]
    assert describe_notes(found, pitch)["note_glide_ratio"] == 0.0
    # Nor does a pitch that is not there in between say how long it took.
    pitch[:60], pitch[60:100], pitch[100:] = 0.0, np.nan, 300.0
    found = find_notes(pitch, np.full(160, 0.9), np.zeros(0), np.full(160, 0.01))
    assert describe_notes(found, pitch)["note_glide_ratio"] is None


def test_share_of_glides():
    """A second of C4, half a second up to F4, a second of it, and G4 at once."""
    seconds = 4.0
    t, frames = np.arange(round(seconds * SR)) / SR, np.arange(n_frames_of(round(seconds * SR))) / FRAME_RATE
    knots = ([0.5, 1.5, 2.0, 3.0, 3.0001, 3.8], [60, 60, 65, 65, 67, 67])
    phase = 2 * np.pi * np.cumsum(_hz(np.interp(t, *knots))) / SR
    y = 0.2 * sum(np.sin(h * phase) / h for h in range(1, 5)) * ((t >= 0.5) & (t < 3.8))
    f0 = np.where((frames >= 0.5) & (frames < 3.8), _hz(np.interp(frames, *knots)), np.nan)
    found = describe(track_frames({"vocals": y}, f0_hz={"vocals": f0}))
    assert list(found.tables["notes"]["name"]) == ["C4", "F4", "G4"]
    values = found.stems["vocals"]
    assert values["note_glide_ratio"] == 0.5
    assert values["note_median_name"] in ("C4", "F4")
    assert values["note_phrase_length_median"] == 3


def test_where_there_are_no_notes():
    silent = describe(track_frames({"vocals": np.zeros(SR)}))
    assert silent.stems["vocals"]["notes_status"] == "silent"
    assert len(silent.tables["notes"]["onset_s"]) == 0
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * SR)
    values = describe(track_frames({"vocals": noise})).stems["vocals"]
    assert (values["notes_status"], values["note_count"], values["note_median_name"]) == ("no_notes", 0, None)


@pytest.mark.parametrize(("cents", "name"), [(0, "A4"), (49, "A4"), (51, "A#4"), (-901, "C4"), (-4800, "A0")])
def test_names(cents, name):
    assert note_name(cents) == name
