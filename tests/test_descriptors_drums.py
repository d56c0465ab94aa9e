"""Drum strokes by kind, and what is said of them, on beats and strokes whose answer is known."""

import json
import re

import numpy as np
import pytest
from frames_helper import SR, pulses, stem_frames, track_frames

from stemfeatures.descriptors import describe, drums
from stemfeatures.descriptors.beats import BeatTrack
from stemfeatures.descriptors.drums import STROKES, find_strokes, stroke_features, stroke_model
from stemfeatures.descriptors.grooves import coincidence, describe_strokes, swing_ratio, syncopation
from stemfeatures.descriptors.metre import Bars
from stemfeatures.generator.song import VERSION
from stemfeatures.models.checkpoints import DEFAULT_MODEL
from stemfeatures.training import strokes
from stemfeatures.training.rhythm import fit_log_linear
from stemfeatures.training.strokes import fit_strokes, matched, stroke_example, strokes_by_kind

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
    played = _strokes(kick=_at(0, 8, 10), snare=_at(4, 12), hat=_at(0, 2, 4, 6, 8, 10, 12, 14))
    values = describe_strokes(played, _bars(), _at(0, 8), 17.0)
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
    """Drums with known strokes: a low burst, a burst of noise, a click of high noise, and the same noise that rings."""
    rng = np.random.default_rng(seed)
    y = 1e-5 * rng.standard_normal(seconds * SR)
    n = np.arange(int(1.5 * SR)) / SR
    high = np.diff(np.diff(rng.standard_normal(len(n) + 2))) * 0.3
    sounds = {
        36: np.sin(2 * np.pi * (50 * n + 3 * (1 - np.exp(-40 * n)))) * np.exp(-12 * n),
        38: rng.standard_normal(len(n)) * np.exp(-18 * n) + np.sin(2 * np.pi * 190 * n) * np.exp(-20 * n),
        42: high * np.exp(-60 * n),
        49: high * np.exp(-2.5 * n),
    }
    times, keys = [], []
    for step, time in enumerate(np.arange(0.3, seconds - 0.5, 0.25)):
        crash = step % 16 == (0, 4, 8)[seed % 3]
        played = {36: step % 8 in (0, 5), 38: step % 8 in (2, 6), 42: not crash, 49: crash}
        for key in (key for key, plays in played.items() if plays):
            gain = rng.uniform(0.2, 0.35)
            part = y[int(time * SR) :][: len(n)]
            part += gain * sounds[key][: len(part)]
            times.append(time)
            keys.append(key)
    every = np.unique(times)
    return track_frames({"drums": y}, onset=pulses(every, 1 + len(y) // 512)), strokes_by_kind(times, keys)


@pytest.fixture(scope="module")
def fitted():
    """A model of four kits, and how it judged the halves that were left out."""
    return fit_strokes([stroke_example(*_kit(seed), seed) for seed in range(4)])


def test_a_fitted_model_finds_strokes_of_songs_it_has_not_seen(fitted):
    model, _ = fitted
    frames, true = _kit(5)
    heard = find_strokes(frames.stems["drums"].mel, frames.onset, np.ones(frames.n_frames, bool), model)
    for kind in ("kick", "snare", "hat", "cymbal"):
        found = heard[kind][0]
        assert 2 * matched(true[kind], found) / (len(found) + len(true[kind])) > 0.95, kind


def test_songs_are_judged_by_models_that_have_not_seen_them(fitted):
    counts = fitted[1]
    for kind in ("kick", "snare", "hat", "cymbal"):
        hits, found, true = counts[kind]
        assert true == sum(len(_kit(seed)[1][kind]) for seed in range(4))
        assert 2 * hits / (found + true) > 0.8, kind
    # Nothing is found of what nobody plays.
    assert counts["tom"].tolist() == [0, 0, 0]


def test_what_rings_is_told_by_the_level_between_strokes():
    """A cymbal and a hi-hat that are one noise: the attack does not tell them, the level behind it does."""
    frames, true = _kit(0)
    features = stroke_features(frames.stems["drums"].mel, frames.onset)
    at = {kind: np.rint(true[kind] * SR / 512).astype(int) for kind in ("hat", "cymbal")}
    # Behind 130 features of the attack: eight high groups in four stretches, the highest last.
    later = [features[at[kind]][:, 130 + 8 * stretch + 7].mean() for kind in at for stretch in range(4)]
    hat, cymbal = np.array(later[:4]), np.array(later[4:])
    # 1.5 decades of power, as e^(-5 t) falls in 0.3 to 0.9 s, above the noise before; the click leaves nothing.
    assert (hat[1:] < 0.5).all()
    assert (cymbal - hat > 1.0).all()


def test_features_do_not_depend_on_where_blocks_end(monkeypatch):
    frames, _ = _kit(1)
    mel, onset = frames.stems["drums"].mel, frames.onset
    whole = stroke_features(mel, onset)
    monkeypatch.setattr("stemfeatures.descriptors.values.BLOCK_FRAMES", 100)
    assert np.array_equal(stroke_features(mel, onset), whole)


def test_the_command_writes_what_the_analysis_reads(tmp_path, monkeypatch, capsys):
    strokes.main(["--songs", "4", "--duration", "8", "--seed", "786000", "-o", str(tmp_path)])
    assert re.search(r"kick +[1-9]\d* strokes: F 0\.\d{3}, precision", capsys.readouterr().out)
    stored = json.loads((tmp_path / "stroke_weights.json").read_text())
    assert stored["made_of"] == {
        "songs": 4, "seed": 786000, "duration_s": 8.0, "model": DEFAULT_MODEL, "generator": VERSION, "bank": None,
        "grooves": None,
    }  # fmt: skip
    assert all(round(value, 3) == value for value in (*stored["mean"], *stored["spread"]))
    monkeypatch.setattr(drums, "files", lambda _: tmp_path)
    model = stroke_model.__wrapped__()
    assert model.probability(np.zeros((3, len(model.mean)))).shape == (3, 5)
    assert ((model.threshold >= 0.1) & (model.threshold <= 0.7)).all()


def test_one_song_is_too_few(tmp_path, capsys):
    with pytest.raises(SystemExit):
        strokes.main(["--songs", "0", "-o", str(tmp_path)])
    assert "0 songs: fewer than two of them have drums" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_rows():
    frames, _ = _kit(3)
    rows = describe(frames).stems
    assert rows["drums"]["strokes_status"] == "ok"
    assert rows["drums"]["stroke_kick_rate"] > 0.5
    assert rows["mixture"]["strokes_status"] == "not_applicable"
    silent = describe(track_frames({"other": 0.1 * np.sin(np.arange(SR * 4) / 20)})).stems
    assert silent["drums"]["strokes_status"] == "absent"
    assert silent["drums"]["stroke_kick_rate"] is None


def test_the_table_of_strokes_is_made_on_request():
    frames, true = _kit(3)
    assert "strokes" not in describe(frames).tables
    described = describe(frames, requested=("strokes",))
    table, rates = described.tables["strokes"], described.stems["drums"]
    times, kinds = table["time_s"], np.array(table["kind"])
    assert (np.diff(times) >= 0).all()
    for kind in STROKES:
        assert (kinds == kind).sum() == round(rates[f"stroke_{kind}_rate"] * frames.duration_s)
    assert matched(true["kick"], times[kinds == "kick"]) == len(true["kick"])
    threshold = stroke_model().threshold[STROKES.index("kick")]
    assert (table["confidence"][kinds == "kick"] > threshold).all()
    assert table["confidence"].max() <= 1
    nothing = describe(track_frames({"other": 0.1 * np.sin(np.arange(SR * 4) / 20)}), requested=("strokes",))
    assert len(nothing.tables["strokes"]["time_s"]) == len(nothing.tables["strokes"]["kind"]) == 0


def _swept(high_hz, low_hz, fall_s, last_s, click):
    """A kick of a drum machine: a sine that falls from one pitch to another, and a click."""
    t = np.arange(round(0.45 * SR)) / SR
    phase = 2 * np.pi * np.cumsum(low_hz + (high_hz - low_hz) * np.exp(-t / fall_s)) / SR
    sound = np.sin(phase) * np.exp(-t / last_s) + click * np.random.default_rng(0).standard_normal(len(t)) * np.exp(
        -t / 0.002
    )
    return 0.7 * sound * np.minimum(t / 0.001, 1) * np.minimum((t[-1] - t) / 0.02, 1)


def _noise(last_s, tone_hz=None):
    """A hi-hat, or with a tone a snare."""
    t = np.arange(round(6 * last_s * SR)) / SR
    noise = np.random.default_rng(1).standard_normal(len(t))
    if tone_hz is None:
        return 0.2 * np.diff(noise, prepend=0) * np.exp(-t / last_s)
    return 0.25 * noise * np.exp(-t / last_s) + 0.35 * np.sin(2 * np.pi * tone_hz * t) * np.exp(-t / 0.06)


@pytest.mark.parametrize(
    "kick",
    [(90, 48, 0.02, 0.35, 0.05), (120, 55, 0.015, 0.12, 0.1), (250, 52, 0.03, 0.14, 0.3), (220, 52, 0.03, 0.14, 0.0)],
    ids=["808, long", "808, short", "909", "909 without its click"],
)
def test_kicks_of_drum_machines_are_heard(kick):
    y = np.zeros(round(9 * SR))
    played = {"kick": _at(0, 6, 10)[:12], "snare": _at(4, 12)[:8], "hat": _at(0, 2, 4, 6, 8, 10, 12, 14)[:32]}
    sounds = {"kick": _swept(*kick), "snare": _noise(0.07, 190), "hat": _noise(0.02)}
    for kind, times in played.items():
        for start in np.rint(times * SR).astype(int):
            part = y[start : start + len(sounds[kind])]
            part += sounds[kind][: len(part)]
    mel = stem_frames(y).mel
    onset = pulses(np.unique(np.concatenate(list(played.values()))), mel.shape[1])
    found = find_strokes(mel, onset, np.ones(mel.shape[1], bool))
    for kind in ("kick", "snare"):
        times = found[kind][0]
        hits = matched(played[kind], times)
        assert 2 * hits / (len(times) + len(played[kind])) > 0.9, kind


def test_bursts_of_noise_are_no_kicks():
    y = np.zeros(round(9 * SR))
    for start in np.rint(BEATS[:16] * SR).astype(int):
        y[start : start + 1000] += (
            0.4 * np.random.default_rng(start).standard_normal(1000) * np.exp(-np.arange(1000) / 200)
        )
    mel = stem_frames(y).mel
    found = find_strokes(mel, pulses(BEATS[:16], mel.shape[1]), np.ones(mel.shape[1], bool))
    assert matched(BEATS[:16], found["hat"][0]) >= 14
    assert len(found["kick"][0]) <= 4
