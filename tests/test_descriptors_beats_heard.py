"""Danceability, beats by band and tempo, fills, who leads: against essentia, and signals whose answer is known."""

import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, pulses, stem_frames, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.beat_loudness import BANDS, band_ratios, describe_beat_loudness
from stemfeatures.descriptors.beats import BeatTrack
from stemfeatures.descriptors.danceability import danceability, fluctuation
from stemfeatures.descriptors.drums import STROKES
from stemfeatures.descriptors.fills import find_fills
from stemfeatures.descriptors.leads import leading_stem, paired_differences
from stemfeatures.descriptors.metre import Bars
from stemfeatures.descriptors.rhythm import bpm_histogram_peaks
from stemfeatures.generator.compose.composer import compose
from stemfeatures.generator.compose.score import DRUM_KEYS
from stemfeatures.training.strokes import strokes_by_kind


def _bars(beats_s, per_bar, denominator=4):
    track = BeatTrack(beats_s, np.full(len(beats_s), 0.9), ((120.0, 1.0),))
    return Bars(track, np.arange(len(beats_s)) % per_bar + 1, per_bar, denominator, 0.9, 0.9)


def _signals():
    """Signals whose level is noise, a slow swell, steps and a pulse."""
    rng, rate, seconds = np.random.default_rng(0), 44_100, 20
    t = np.arange(seconds * rate) / rate
    noise = rng.standard_normal(len(t))
    steps = np.repeat(rng.uniform(0.05, 0.5, 10 * seconds), rate // 10)
    level = {
        "noise": 0.1 * np.ones_like(t),
        "swell": 0.2 * (1 + np.sin(2 * np.pi * t / 6)),
        "steps": steps,
        "pulse": 0.3 * np.exp(-5 * (t * 100 / 60 % 1)),
    }
    return {name: (values * noise).astype(np.float32) for name, values in level.items()}


@pytest.mark.parametrize("name", ["noise", "swell", "steps", "pulse"])
def test_danceability_is_essentias(name):
    standard = pytest.importorskip("essentia.standard")
    y = _signals()[name]
    theirs = float(standard.Danceability()(y)[0])
    blocks = y.reshape(-1, 441).astype(np.float64).std(axis=1)
    # The algorithm alone, on essentia's own series; and on frames of 93 ms, which blur the shortest segments of noise.
    assert danceability(blocks, 100.0) == pytest.approx(theirs, rel=0.03)
    frames = stem_frames(y[::2])
    assert danceability(np.sqrt(frames.energy), FRAME_RATE) == pytest.approx(
        theirs, rel=0.12 if name == "noise" else 0.08
    )


def test_fluctuation_of_white_noise_and_of_a_trend():
    rng = np.random.default_rng(1)
    lengths = np.array([16, 64, 256])
    found = fluctuation(rng.standard_normal(20_000), lengths)
    # The integrated noise is a random walk, whose deviation from a trend grows as the root of the length.
    assert np.diff(np.log(found)) / np.diff(np.log(lengths)) == pytest.approx(0.5, abs=0.06)
    # A level of two halves integrates to straight lines: only segments across the corner deviate.
    assert fluctuation(np.repeat([0.0, 1.0], 500), lengths[:1])[0] < 0.2


def test_danceability_does_not_depend_on_gain_and_needs_time():
    y = np.repeat(np.random.default_rng(2).uniform(0.1, 1, 400), 5)
    assert danceability(0.01 * y, FRAME_RATE) == pytest.approx(danceability(y, FRAME_RATE))
    assert danceability(y[:300], FRAME_RATE) is None
    assert danceability(np.ones(2000), FRAME_RATE) is None


def test_peaks_of_the_histogram_are_essentias():
    standard = pytest.importorskip("essentia.standard")
    rng = np.random.default_rng(3)
    for bpm in (rng.normal(100, 2, 200), np.r_[np.full(30, 120.0), np.full(12, 60.0), np.full(3, 260.0)], [120.0]):
        intervals = (60 / np.asarray(bpm)).astype(np.float32)
        theirs = [float(v) for v in standard.BpmHistogramDescriptors()(intervals)[:6]]
        ours = np.array(bpm_histogram_peaks(intervals.astype(np.float64))).ravel()
        assert ours == pytest.approx(theirs[: len(ours)], abs=1e-5)
        assert not any(theirs[len(ours) :])
    assert bpm_histogram_peaks(np.array([0.1])) == []


def test_peaks_of_the_histogram_of_known_intervals():
    # 30 beats at 120 bpm with three at 123 beside them, twelve at 60, and two that are too fast to be beats.
    bpm = np.r_[np.full(30, 120.0), np.full(3, 123.0), np.full(12, 60.0), np.full(2, 300.0)]
    first, second = bpm_histogram_peaks(60 / bpm)
    assert first == pytest.approx((120, 30 / 45, 1 - 30 / 33))
    assert second == pytest.approx((60, 12 / 45, 0))


def test_bands_of_a_beat():
    t = np.arange(3 * SR) / SR
    beats = np.array([0.5, 1.0, 1.5, 2.0, 2.5])
    envelope = np.exp(-30 * ((t[:, None] - beats) % 10)).max(axis=1, initial=0) * (t > 0.45)
    for hz, band in ((82, 0), (250, 1), (1000, 2), (5000, 3), (9000, 4)):
        frames = stem_frames(0.5 * envelope * np.sin(2 * np.pi * hz * t))
        values = describe_beat_loudness(frames, beats)
        shares = [values[f"beat_loudness_ratio_{name}"] for name in BANDS]
        assert shares[band] > 0.9, hz
        assert sum(shares) == pytest.approx(1, abs=1e-6)
        assert values["beat_accent_db"] > 3
        # Half the amplitude: 6.02 dB less, and nothing else.
        quiet = describe_beat_loudness(stem_frames(0.25 * envelope * np.sin(2 * np.pi * hz * t)), beats)
        assert values["beat_loudness_mean_db"] - quiet["beat_loudness_mean_db"] == pytest.approx(6.02, abs=0.02)
        assert quiet["beat_loudness_std_db"] == pytest.approx(values["beat_loudness_std_db"], abs=1e-3)
    assert np.isnan(band_ratios(np.zeros((80, 2)))).all()


def test_bands_of_beats_agree_with_essentia():
    standard = pytest.importorskip("essentia.standard")
    rng = np.random.default_rng(4)
    beats = 0.5 + 0.5 * np.arange(12)
    t = np.arange(7 * 44_100) / 44_100
    since = np.where(t >= 0.5, (t - 0.5) % 0.5, np.inf)
    kick = np.exp(-15 * since) * np.sin(2 * np.pi * 60 * np.where(np.isfinite(since), since, 0))
    hat = 0.2 * np.exp(-60 * since) * rng.standard_normal(len(t))
    y = (0.4 * (kick + hat)).astype(np.float32)
    theirs = standard.BeatsLoudness(beats=beats.astype(np.float32))(y)[1].mean(axis=0)
    ours = describe_beat_loudness(stem_frames(np.convolve(y, np.ones(2) / 2, "same")[::2]), beats)
    for name, share in zip(BANDS, theirs, strict=True):
        assert ours[f"beat_loudness_ratio_{name}"] == pytest.approx(float(share), abs=0.1), name


@pytest.mark.parametrize("style", ["pop", "six_eight", "waltz", "soul_ballad"])
def test_fills_of_composed_drums(style):
    """In written grooves toms are played in fills and nowhere else."""
    found = true = hits = 0
    for seed in (53_001, 53_002, 53_003):
        score = compose(seed, duration_s=60, style=style)
        grid = score.grid
        beats = grid.beat_s[grid.pickup : -1]
        strokes = strokes_by_kind([h.time_s for h in score.drums], [DRUM_KEYS[h.role] for h in score.drums])
        if not score.drums:
            continue
        fills = find_fills(strokes, _bars(beats, grid.beats_per_bar, int(score.style.metre.split("/")[1])))
        downbeats = beats[:: grid.beats_per_bar]
        filled = set(np.searchsorted(downbeats, strokes["tom"][strokes["tom"] >= downbeats[0]] + 0.05))
        filled -= {len(downbeats)}  # the last bar has no downbeat behind it
        claimed = set(np.searchsorted(downbeats, fills.end_s - 0.01))
        found, true, hits = found + len(claimed), true + len(filled), hits + len(claimed & filled)
        assert (fills.end_s > fills.start_s).all()
        assert (fills.n_strokes >= 1).all()
    assert hits >= 0.7 * true
    assert hits >= 0.6 * found  # a fill may do without toms


def test_no_fill_in_a_groove_that_repeats():
    beats = 0.5 + 0.5 * np.arange(41)

    def at(*steps):
        return np.sort(np.concatenate([0.5 + 2.0 * np.arange(10) + 0.125 * s for s in steps]))

    strokes = dict.fromkeys(STROKES, np.zeros(0)) | {"kick": at(0, 8), "snare": at(4, 12), "hat": at(*range(0, 16, 2))}
    fills = find_fills(strokes, _bars(beats, 4))
    assert len(fills.start_s) == 0
    assert fills.n_bars == 10
    # Toms on the last two beats of the eighth bar, without hi-hat.
    start = 0.5 + 2.0 * 7 + 1.0
    strokes["tom"] = start + 0.125 * np.arange(8)
    strokes["hat"] = strokes["hat"][(strokes["hat"] < start - 0.01) | (strokes["hat"] > start + 0.95)]
    fills = find_fills(strokes, _bars(beats, 4))
    np.testing.assert_allclose(fills.start_s, [start])
    np.testing.assert_allclose(fills.end_s, [start + 1.0])
    assert (fills.length_beats.tolist(), fills.n_strokes.tolist()) == ([2], [8])
    assert find_fills(strokes, None).n_bars == 0


def test_row_and_table_of_fills(monkeypatch):
    """Ten bars of a groove, of which the eighth ends in a fill of two beats."""
    beats = 0.5 + 0.5 * np.arange(41)
    n = n_frames_of(22 * SR)
    frames = track_frames(
        {"drums": _plucks(beats, 2000, seconds=22)}, beat=pulses(beats, n), downbeat=pulses(beats[::4], n)
    )
    start = 0.5 + 2.0 * 7 + 1.0
    eighths = 0.5 + 0.25 * np.arange(80)
    strokes = dict.fromkeys(STROKES, np.zeros(0)) | {
        "kick": beats[::2],
        "snare": beats[1::2],
        "hat": eighths[(eighths < start - 0.01) | (eighths > start + 0.95)],
        "tom": start + 0.125 * np.arange(8),
    }
    monkeypatch.setattr("stemfeatures.descriptors.fills.drum_strokes", lambda _: strokes)
    found = describe(frames)
    row, table = found.stems["drums"], found.tables["fills"]
    assert row["fills_status"] == "ok"
    assert row["fill_bar_ratio"] == pytest.approx(1 / 10)
    assert row["fill_length_mean_beats"] == 2
    np.testing.assert_allclose(table["start_s"], [start], atol=0.03)
    np.testing.assert_allclose(table["end_s"], [start + 1.0], atol=0.03)
    assert (list(table["length_beats"]), list(table["n_strokes"])) == ([2], [8])


def test_pairs_of_onsets():
    drums = np.arange(1, 10, 0.5)
    late = paired_differences(drums, drums + 0.03)
    assert late == pytest.approx(np.full(len(drums), 0.03))
    assert paired_differences(drums + 0.03, drums) == pytest.approx(np.full(len(drums), -0.03))
    assert len(paired_differences(drums, drums + 0.2)) == 0
    # Of two onsets near one, the nearer is its partner.
    assert paired_differences(np.array([1.0]), np.array([0.95, 1.02])) == pytest.approx([0.02])
    assert len(paired_differences(drums, np.zeros(0))) == 0
    assert leading_stem({"bass": 0.02, "drums": -0.02}) == "bass"
    assert leading_stem({"bass": 0.004, "drums": -0.004}) == "together"
    assert leading_stem({"bass": 0.02}) is None


def _plucks(times_s, hz, seconds=14):
    y = np.zeros(seconds * SR)
    n = np.arange(int(0.25 * SR)) / SR
    for time in times_s:
        y[int(time * SR) :][: len(n)] += 0.3 * np.sin(2 * np.pi * hz * n) * np.exp(-12 * n)
    return y


def test_rows_of_a_track():
    beats = 0.5 + 0.5 * np.arange(26)
    n = n_frames_of(14 * SR)
    frames = track_frames(
        {"drums": _plucks(beats, 2000), "bass": _plucks(beats - 0.03, 90)},
        beat=pulses(beats, n),
        downbeat=pulses(beats[::4], n),
    )
    rows = describe(frames).stems
    assert rows["mixture"]["leading_stem"] == "bass"
    assert rows["bass"]["onset_lead_s"] == pytest.approx(0.03, abs=0.012)
    assert rows["drums"]["onset_lead_s"] == pytest.approx(-0.03, abs=0.012)
    assert rows["bass"]["onset_beat_offset_median_s"] == pytest.approx(-0.03, abs=0.0233)  # a frame
    assert rows["mixture"]["bpm_histogram_first_peak_bpm"] == pytest.approx(120, abs=1)
    assert rows["mixture"]["bpm_histogram_first_peak_weight"] > 0.5
    assert rows["drums"]["beat_loudness_ratio_400_3200hz"] > 0.9
    assert rows["mixture"]["danceability"] > 1
    assert rows["vocals"]["lead_status"] == "absent"
    assert rows["other"]["danceability_status"] == "not_applicable"
    assert rows["drums"]["fills_status"] in ("ok", "no_bars")
