"""Drum strokes by kind, and what is said of them, on beats and strokes whose answer is known."""

import numpy as np
import pytest
from frames_helper import SR, pulses, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.beats import BeatTrack
from stemfeatures.descriptors.drums import STROKES, find_strokes, stroke_model
from stemfeatures.descriptors.grooves import coincidence, describe_strokes, swing_ratio, syncopation
from stemfeatures.descriptors.metre import Bars
from stemfeatures.training.rhythm import Example, fit_log_linear, fit_strokes, matched, strokes_by_kind

BEATS = 0.5 + 0.5 * np.arange(33)


def _bars(meter=4):
    track = BeatTrack(BEATS, np.full(len(BEATS), 0.9), ((120.0, 1.0),))
    return Bars(track, np.arange(len(BEATS)) % meter + 1, meter, 4, 0.9, 0.9)


def _at(*steps):
    """Strokes on sixteenths of every bar of 4/4 at 120 bpm."""
    return np.sort(np.concatenate([0.5 + 2.0 * np.arange(8) + 0.125 * s for s in steps]))


def _strokes(**kinds):
    return {kind: kinds.get(kind, np.zeros(0)) for kind in STROKES}


def test_patterns_rates_and_coincidence():
    strokes = _strokes(kick=_at(0, 8, 10), snare=_at(4, 12), hat=_at(0, 2, 4, 6, 8, 10, 12, 14))
    values = describe_strokes(strokes, _bars(), _at(0, 8), 17.0)
    assert values["strokes_status"] == "ok"
    assert values["stroke_kick_pattern"] == "9000000090900000"
    assert values["stroke_snare_pattern"] == "0000900000009000"
    assert values["stroke_hat_pattern"] == "9090909090909090"
    assert values["stroke_tom_pattern"] == "0" * 16
    assert values["stroke_kick_rate"] == pytest.approx(24 / 17)
    assert values["kick_bass_coincidence"] == pytest.approx(2 / 3)
    assert values["swing_ratio"] == pytest.approx(1.0, abs=0.01)
    assert values["stroke_beat_offset_mean_s"] == pytest.approx(0.0, abs=1e-6)
    # A stroke in every other bar is half of them.
    half = describe_strokes(_strokes(kick=_at(0)[::2]), _bars(), np.zeros(0), 17.0)
    assert half["stroke_kick_pattern"][0] == "5"
    assert half["kick_bass_coincidence"] is None


def test_patterns_follow_the_metre():
    waltz = describe_strokes(_strokes(kick=BEATS[::3]), _bars(3), np.zeros(0), 17.0)
    assert waltz["stroke_kick_pattern"] == "9" + "0" * 11
    assert "syncopation" not in waltz
    assert "stroke_kick_pattern" not in describe_strokes(_strokes(kick=BEATS), None, np.zeros(0), 17.0)


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0])
def test_swing(ratio):
    off = BEATS + 0.5 * ratio / (1 + ratio)
    assert swing_ratio(np.sort(np.r_[BEATS, off]), BEATS) == pytest.approx(ratio, rel=0.01)
    assert swing_ratio(BEATS, BEATS) is None


def test_late_strokes():
    values = describe_strokes(_strokes(snare=BEATS[1:-1] + 0.015), _bars(), np.zeros(0), 17.0)
    assert values["stroke_beat_offset_mean_s"] == pytest.approx(0.015, abs=1e-6)
    assert values["stroke_beat_offset_std_s"] == pytest.approx(0.0, abs=1e-6)


def test_syncopation():
    straight, pushed = np.zeros(16, bool), np.zeros(16, bool)
    straight[[0, 4, 8, 12]] = True
    pushed[[0, 4, 7, 12]] = True  # the stroke of the third beat comes a sixteenth early
    assert syncopation(straight) == 0
    assert syncopation(pushed) == 3
    assert syncopation(np.zeros(16, bool)) == 0


def test_coincidence_window():
    assert coincidence(np.array([1.0, 2.0]), np.array([1.04, 2.06])) == 0.5


def test_matching_uses_each_stroke_once():
    assert matched(np.array([1.0, 1.02]), np.array([1.01])) == 1
    assert matched(np.array([1.0, 2.0]), np.array([1.04, 1.96])) == 2


def test_log_linear_model_separates_classes():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 3))
    label = (x[:, 0] + 0.5 * x[:, 1] > 0.3).astype(int)
    weights = fit_log_linear(x, np.eye(2)[label], np.ones(len(x)), 1.0)
    guess = (np.c_[x, np.ones(len(x))] @ weights.T).argmax(axis=1)
    assert (guess == label).mean() > 0.98
    ratio = (weights[1] - weights[0])[1] / (weights[1] - weights[0])[0]
    assert ratio == pytest.approx(0.5, abs=0.05)


def _kit(seed, seconds=16):
    """Drums with known strokes: a low burst, a burst of noise, a click of high noise."""
    rng = np.random.default_rng(seed)
    y = 1e-5 * rng.standard_normal(seconds * SR)
    n = np.arange(int(0.3 * SR)) / SR
    sounds = {
        36: np.sin(2 * np.pi * (50 * n + 3 * (1 - np.exp(-40 * n)))) * np.exp(-12 * n),
        38: rng.standard_normal(len(n)) * np.exp(-18 * n) + np.sin(2 * np.pi * 190 * n) * np.exp(-20 * n),
        42: np.diff(np.diff(rng.standard_normal(len(n) + 2))) * np.exp(-60 * n) * 0.3,
    }
    times, keys = [], []
    for step, time in enumerate(np.arange(0.3, seconds - 0.5, 0.25)):
        for key, plays in ((36, step % 8 in (0, 5)), (38, step % 8 in (2, 6)), (42, True)):
            if plays:
                gain = rng.uniform(0.2, 0.35)
                y[int(time * SR) :][: len(n)] += gain * sounds[key]
                times.append(time)
                keys.append(key)
    strokes = strokes_by_kind(times, keys)
    every = np.unique(times)
    frames = track_frames({"drums": y}, onset=pulses(every, 1 + len(y) // 512))
    return Example(frames, np.arange(0.3, seconds - 0.5, 0.5), np.zeros(0), 4, strokes)


def test_a_fitted_model_finds_strokes_of_songs_it_has_not_seen():
    model = fit_strokes([_kit(0), _kit(1)])
    seen = _kit(2)
    on = np.ones(seen.frames.n_frames, bool)
    strokes = find_strokes(seen.frames.stems["drums"].mel, seen.frames.onset, on, model)
    found = {kind: times_s for kind, (times_s, _) in strokes.items()}
    for kind in ("kick", "snare", "hat"):
        hits = matched(seen.strokes[kind], found[kind])
        assert 2 * hits / (len(found[kind]) + len(seen.strokes[kind])) > 0.95, kind


def test_rows():
    rows = describe(_kit(3).frames).stems
    assert rows["drums"]["strokes_status"] == "ok"
    assert rows["drums"]["stroke_kick_rate"] > 0.5
    assert rows["mixture"]["strokes_status"] == "not_applicable"
    silent = describe(track_frames({"other": 0.1 * np.sin(np.arange(SR * 4) / 20)})).stems
    assert silent["drums"]["strokes_status"] == "absent"
    assert silent["drums"]["stroke_kick_rate"] is None


def test_the_table_of_strokes_is_made_on_request():
    frames = _kit(3).frames
    assert "strokes" not in describe(frames).tables
    described = describe(frames, requested=("strokes",))
    table, rates = described.tables["strokes"], described.stems["drums"]
    times, kinds = table["time_s"], np.array(table["kind"])
    assert (np.diff(times) >= 0).all()
    for kind in STROKES:
        assert (kinds == kind).sum() == round(rates[f"stroke_{kind}_rate"] * frames.duration_s)
    kicks = times[kinds == "kick"]
    assert matched(_kit(3).strokes["kick"], kicks) == len(_kit(3).strokes["kick"])
    threshold = stroke_model().threshold[STROKES.index("kick")]
    assert (table["confidence"][kinds == "kick"] > threshold).all()
    assert table["confidence"].max() <= 1
    nothing = describe(track_frames({"other": 0.1 * np.sin(np.arange(SR * 4) / 20)}), requested=("strokes",))
    assert len(nothing.tables["strokes"]["time_s"]) == len(nothing.tables["strokes"]["kind"]) == 0
