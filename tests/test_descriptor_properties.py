"""What must change, and what must not, when a whole track is transposed or begins later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, pulses, track_frames

from stemfeatures.constants import HOP_LENGTH
from stemfeatures.descriptors import describe
from stemfeatures.descriptors.pitch_classes import PITCH_CLASSES
from stemfeatures.descriptors.types import TrackDescription

SECONDS = 8.0
#: A chord of each two seconds (root and third), and the voice a third above its root.
CHORDS = ((0, 4), (9, 3), (5, 4), (7, 4))


def song(semitones: float = 0.0, rest_s: float = 0.0, gain_db: float = 0.0) -> TrackDescription:
    """C major at 120 bpm, transposed, after a rest, louder or softer."""
    n = int(SECONDS * SR)
    t = np.arange(n) / SR
    chord = np.minimum((t / 2).astype(int), 3)
    roots, thirds = (np.array(part)[chord] for part in zip(*CHORDS))

    def tone(midi: np.ndarray, partials: int) -> np.ndarray:
        phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi + semitones - 69) / 12)) / SR
        return np.asarray(0.05 * sum(np.sin(h * phase) / h for h in range(1, partials)))

    click = np.random.default_rng(0).standard_normal(n) * np.exp(-(t % 0.5) / 0.01) * 0.3
    stems = {
        "vocals": tone(60 + roots + thirds, 6) * (t % 1 < 0.8),
        "bass": tone(36 + roots, 4),
        "other": tone(60 + roots, 5) + tone(60 + roots + thirds, 5) + tone(67 + roots, 5),
        "drums": click,
    }
    rest = round(rest_s * FRAME_RATE)
    gain = 10 ** (gain_db / 20)
    stems = {stem: np.pad(gain * y, (rest * HOP_LENGTH, 0)) for stem, y in stems.items()}
    frames = n_frames_of(n) + rest
    at = np.clip((np.arange(frames) - rest) / FRAME_RATE, 0, SECONDS - 1e-6)
    step = (at / 2).astype(int)
    midi = np.array(CHORDS)[step]
    sings = (at % 1 < 0.8) & (np.arange(frames) >= rest)
    beats = np.arange(0, SECONDS, 0.5) + rest / FRAME_RATE + 0.01
    hertz = {
        "vocals": np.where(sings, 440 * 2 ** ((midi.sum(axis=1) + semitones - 9) / 12), np.nan),
        "bass": np.where(np.arange(frames) >= rest, 440 * 2 ** ((midi[:, 0] + semitones - 33) / 12), np.nan),
    }
    return describe(
        track_frames(
            stems,
            f0_hz=hertz,
            onset=pulses(beats, frames),
            beat=pulses(beats, frames),
            downbeat=pulses(beats[::4], frames),
        )
    )


@pytest.fixture(scope="module")
def plain() -> TrackDescription:
    return song()


def _key(name: str, semitones: int) -> str:
    root, _, scale = name.partition(":")
    return f"{PITCH_CLASSES[(PITCH_CLASSES.index(root) + semitones) % 12]}:{scale}"


def _same(a: dict[str, Any], b: dict[str, Any], names: list[str], rel: float = 0.01) -> None:
    for name in names:
        expected = a[name] if not isinstance(a[name], float) else pytest.approx(a[name], rel=rel, abs=1e-3)
        assert b[name] == expected, name


@pytest.mark.parametrize("semitones", [5, -2])
def test_transposition_moves_pitch_and_nothing_else(plain: TrackDescription, semitones: int) -> None:
    moved = song(semitones)
    factor = 2 ** (semitones / 12)
    for stem in ("vocals", "bass"):
        a, b = plain.stems[stem], moved.stems[stem]
        for name in ("f0_median_hz", "f0_mean_hz", "f0_p05_hz", "f0_p95_hz", "f0_min_hz", "f0_max_hz"):
            assert b[name] == pytest.approx(factor * a[name], rel=1e-3), (stem, name)
        _same(a, b, ["f0_std_cents", "f0_range_semitones", "f0_voiced_ratio", "f0_note_rate", "note_count"])
        _same(a, b, [f"note_interval_{k:02d}_ratio" for k in range(13)])
        for k in range(12):
            there = b[f"note_pitch_class_{(k + semitones) % 12 + 1:02d}_ratio"]
            assert there == pytest.approx(a[f"note_pitch_class_{k + 1:02d}_ratio"], abs=0.01)
        assert list(moved.tables["notes"]["pitch"]) == [p + semitones for p in plain.tables["notes"]["pitch"]]
    a, b = plain.stems["mixture"], moved.stems["mixture"]
    assert a["key"] == "C:major"
    assert b["key"] == _key("C:major", semitones)
    _same(a, b, ["key_mode", "tempo_bpm", "beat_count", "meter_numerator", "chord_count", "chord_rate_per_minute"])
    _same(a, b, ["chord_major_ratio", "chord_minor_ratio", "activity_ratio", "voice_instrumental"])
    for k in range(12):
        there = b[f"chroma_{(k + semitones) % 12 + 1:02d}_mean"]
        assert there == pytest.approx(a[f"chroma_{k + 1:02d}_mean"], abs=0.02)
    labels = [_key(label, semitones) for label in plain.tables["chords"]["label"]]
    assert list(moved.tables["chords"]["label"]) == labels
    assert list(moved.tables["keys"]["key"]) == [_key(key, semitones) for key in plain.tables["keys"]["key"]]
    np.testing.assert_allclose(moved.events.beats_s, plain.events.beats_s, atol=1e-6)
    _same(plain.stems["drums"], moved.stems["drums"], ["onset_count", "mfcc_02_mean", "spectral_centroid_mean_hz"])


def test_a_later_beginning_moves_times_and_nothing_else(plain: TrackDescription) -> None:
    """By a whole number of frames, so that every frame of the sound is the same."""
    later = song(rest_s=2.0)
    shift = round(2.0 * FRAME_RATE) / FRAME_RATE
    np.testing.assert_allclose(later.events.beats_s, plain.events.beats_s + shift, atol=0.02)
    assert later.events.beat_positions.tolist() == plain.events.beat_positions.tolist()
    a, b = plain.tables, later.tables
    np.testing.assert_allclose(b["notes"]["onset_s"], np.asarray(a["notes"]["onset_s"]) + shift, atol=0.03)
    assert list(b["notes"]["pitch"]) == list(a["notes"]["pitch"])
    sounding = [label for label in b["chords"]["label"] if label != "N"]
    assert sounding == list(a["chords"]["label"])
    for row, values in later.stems.items():
        before = plain.stems[row]
        assert values["activity_start_s"] == pytest.approx(before["activity_start_s"] + shift, abs=0.05), row
        assert values["activity_end_s"] == pytest.approx(before["activity_end_s"] + shift, abs=0.05), row
        assert values["active_duration_s"] == pytest.approx(before["active_duration_s"], abs=0.1)
        for name in ("loudness_integrated_lufs", "true_peak_dbtp", "crest_factor_db"):
            assert values[name] == pytest.approx(before[name], abs=0.3), (row, name)
        for name in ("spectral_centroid_median_hz", "mfcc_02_mean", "zero_crossing_rate_median", "bark_05_mean"):
            assert values[name] == pytest.approx(before[name], rel=0.05, abs=0.02), (row, name)
    _same(plain.stems["mixture"], later.stems["mixture"], ["key", "key_mode", "tempo_bpm", "meter_numerator"])
    for stem in ("vocals", "bass"):
        _same(plain.stems[stem], later.stems[stem], ["f0_mean_hz", "f0_p95_hz", "note_count", "f0_note_rate"], 0.02)


@pytest.mark.parametrize("gain_db", [-12.0, 6.0])
def test_gain_changes_no_event(plain: TrackDescription, gain_db: float) -> None:
    """Of no table; what it changes of the rows is tested in ``test_descriptors.py``."""
    gained = song(gain_db=gain_db)
    np.testing.assert_array_equal(gained.events.beats_s, plain.events.beats_s)
    for row, onsets_s in plain.events.onsets_s.items():
        np.testing.assert_allclose(gained.events.onsets_s[row], onsets_s, atol=1e-3, err_msg=row)
    for table, columns in plain.tables.items():
        for name, column in columns.items():
            if len(column) and isinstance(column[0], (float, np.floating)):
                np.testing.assert_allclose(gained.tables[table][name], column, atol=1e-3, err_msg=f"{table}.{name}")
            else:
                assert list(gained.tables[table][name]) == list(column), (table, name)
