"""Jitter, shimmer, harmonicity and formants against signals with a known answer and against Praat."""

from __future__ import annotations

import numpy as np
import parselmouth
import pytest
from frames_helper import SR, n_frames_of, pitch_frames, track_frames
from parselmouth.praat import call
from scipy.signal import lfilter, resample_poly

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.separation import CONSTANT_DB, SLOPE
from stemfeatures.descriptors.voice import FORMANT_FIELDS, PERTURBATION_FIELDS, QUALITY_FIELDS
from stemfeatures.frames.formants import formants
from stemfeatures.frames.harmonicity import harmonicity
from stemfeatures.frames.periods import HALF, perturbations, walk
from stemfeatures.frames.voice_meter import VoiceMeter

SECONDS = 3.0
OPEN = ((700, 80), (1200, 90), (2600, 120), (3500, 150), (4500, 200))
CLOSED = ((310, 60), (2000, 90), (2700, 120), (3500, 150), (4500, 200))
#: Praat's limits of a period, of a step between periods, and between amplitudes.
PRAAT = (0.0001, 0.02, 1.3)


def vowel(hz, *, jitter=0.0, shimmer=0.0, noise=0.0, vibrato=0.0, resonances=OPEN):
    """A pulse train through resonances, and the local jitter and shimmer of its pulses."""
    rng = np.random.default_rng(0)
    over, at, periods, heights = 8, 0.01, [], []
    pulses = np.zeros(int(SECONDS * SR * over))
    while at < SECONDS - 0.02:
        periods.append((1 + jitter * rng.uniform(-1, 1)) / (hz * 2 ** (vibrato / 1200 * np.sin(2 * np.pi * 5.5 * at))))
        heights.append(1 + shimmer * rng.uniform(-1, 1))
        pulses[round(at * SR * over)] += heights[-1]
        at += periods[-1]
    y = resample_poly(lfilter([1], [1, -0.98], lfilter([1], [1, -0.98], pulses)), 1, over)
    for frequency, width in resonances:
        radius = np.exp(-np.pi * width / SR)
        y = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * frequency / SR), radius**2], y)
    y = np.diff(y, prepend=0)
    y = 0.1 * y / np.sqrt(np.mean(np.square(y)))
    local = [np.abs(np.diff(x)).mean() / np.mean(x) for x in (periods, heights)]
    return y + 0.1 * noise * rng.standard_normal(len(y)), *local


def windows(y):
    centres = np.arange(10, len(y) // 512 - 10, 2) * 512
    return y[centres[:, None] + np.arange(-HALF, HALF)], centres / SR


def praat_perturbations(y, hz):
    sound = parselmouth.Sound(y, SR)
    points = call(sound, "To PointProcess (periodic, cc)", 0.6 * hz, 1.7 * hz)
    until = (0.3, SECONDS - 0.3)
    return np.array(
        [
            *(call(points, f"Get jitter ({kind})", *until, *PRAAT) for kind in ("local", "rap")),
            *(call([sound, points], f"Get shimmer ({kind})", *until, *PRAAT, 1.6) for kind in ("local", "apq3")),
        ]
    )


def praat_ratio_db(y, hz):
    theirs = call(parselmouth.Sound(y, SR), "To Harmonicity (ac)", 0.01, 0.7 * hz, 0.1, 4.5)
    return call(theirs, "Get mean", 0.3, SECONDS - 0.3)


@pytest.mark.parametrize("hz", [90.0, 200.0])
@pytest.mark.parametrize(("jitter", "shimmer"), [(0.01, 0.0), (0.0, 0.1), (0.03, 0.0), (0.01, 0.1)])
def test_jitter_and_shimmer_of_pulses(hz, jitter, shimmer):
    y, true_jitter, true_shimmer = vowel(hz, jitter=jitter, shimmer=shimmer)
    cut, _ = windows(y)
    found = np.mean(perturbations(cut, np.full(len(cut), SR / hz)), axis=0)
    assert found == pytest.approx(praat_perturbations(y, hz), rel=0.1, abs=0.006)
    assert found[:2] == pytest.approx(praat_perturbations(y, hz)[:2], rel=0.05, abs=2e-4)
    # At 200 Hz a resonance still sounds when the next pulse comes, which evens the periods out; so Praat has it.
    assert found[0] == pytest.approx(true_jitter, rel=0.05 if hz < 100 else 0.25, abs=4e-4)
    if shimmer:
        assert found[2] == pytest.approx(true_shimmer, rel=0.12)


def test_a_steady_vibrato_is_local_jitter_but_none_of_three_points():
    y, true_jitter, _ = vowel(200.0, vibrato=80.0)
    cut, _ = windows(y)
    local, rap, *_ = np.mean(perturbations(cut, np.full(len(cut), SR / 200)), axis=0)
    assert true_jitter > 0.005
    assert local == pytest.approx(true_jitter, rel=0.05)
    assert rap < 0.1 * local


def test_noise_has_no_periods():
    cut, _ = windows(np.random.default_rng(0).standard_normal(SR))
    assert np.isnan(perturbations(cut, np.full(len(cut), 100.0))[:, 0]).mean() > 0.9


def test_periods_that_grow_up_to_the_end_of_a_window_are_those_of_that_window():
    """The last ones reach further than those that the walk began with, but not into the window behind."""
    pulses = np.cumsum(np.append(1048, 22 + 1.5 * np.arange(60)))
    falling = np.exp(-np.square((np.arange(2 * HALF) - pulses[:, None]) / 4) / 2).sum(axis=0)
    behind = np.random.default_rng(0).normal(size=2 * HALF)
    period = np.full(2, 22.0)
    found = [walk(np.stack([falling, other]), period) for other in (np.zeros(2 * HALF), 9 * behind)]
    assert np.nanmax(found[0][0][0]) > 60
    for one, other in zip(*found):
        np.testing.assert_array_equal(one[0], other[0])


@pytest.mark.parametrize("hz", [90.0, 220.0, 500.0])
@pytest.mark.parametrize("db", [26.0, 10.0, 0.0])
def test_ratio_of_harmonics_to_noise(hz, db):
    y, *_ = vowel(hz, noise=10 ** (-db / 20))
    cut, _ = windows(y)
    found = np.mean(harmonicity(cut, np.full(len(cut), SR / hz * 1.02)), axis=0)
    assert found[0] == pytest.approx(db, abs=1.0)
    assert found[0] == pytest.approx(praat_ratio_db(y, hz), abs=1.0)


def test_cepstral_peak_falls_with_noise_and_not_with_level():
    peaks = []
    for noise in (0.0, 0.1, 1.0):
        cut, _ = windows(vowel(220.0, noise=noise)[0])
        loud, soft = (harmonicity(gain * cut, np.full(len(cut), SR / 220))[:, 1].mean() for gain in (1.0, 0.01))
        assert loud == pytest.approx(soft, abs=0.01)
        peaks.append(loud)
    assert peaks[0] > peaks[1] + 5 > peaks[2] + 8
    # As far as white noise reaches: there is a largest value within the reach of any period.
    cut, _ = windows(np.random.default_rng(0).standard_normal(SR))
    assert peaks[2] > harmonicity(cut, np.full(len(cut), 100.0))[:, 1].mean()


@pytest.mark.parametrize("hz", [110.0, 220.0, 330.0])
@pytest.mark.parametrize("resonances", [OPEN, CLOSED], ids=["open", "closed"])
def test_formants_of_a_vowel(hz, resonances):
    cut, times = windows(vowel(hz, resonances=resonances, noise=0.01)[0])
    found = np.median(formants(cut), axis=0)
    sound = parselmouth.Sound(vowel(hz, resonances=resonances, noise=0.01)[0], SR)
    theirs = call(sound, "To Formant (burg)", 0, 5, 5512, 0.025, 50)
    praat = [
        np.nanmedian([call(theirs, f"Get {what} at time", k, t, "hertz", "Linear") for t in times])
        for what in ("value", "bandwidth")
        for k in (1, 2, 3)
    ]
    assert found[:3] == pytest.approx(praat[:3], rel=0.01)
    assert found[3:] == pytest.approx(praat[3:], rel=0.1)
    # A prediction leans to the harmonics: what is between two of them is known to their distance.
    assert np.abs(found[:3] - [f for f, _ in resonances[:3]]).max() < 0.95 * hz


def measured(y, hz, *, block=None, voicing=0.9):
    meter, n = VoiceMeter(), n_frames_of(len(y))
    for start in range(0, n, 100):
        meter.push(np.full(min(100, n - start), hz), np.full(min(100, n - start), voicing))
    for start in range(0, len(y), block or len(y)):
        meter.push_signal(y[start : start + (block or len(y))])
    return meter.finish()


def test_blocks_do_not_matter():
    y = np.tile(vowel(220.0, jitter=0.01)[0], 15)
    once, often = measured(y, 220.0), measured(y, 220.0, block=4_096)
    for name in ("frame", "perturbations", "harmonicity_db", "formants_hz"):
        np.testing.assert_array_equal(getattr(once, name), getattr(often, name))
    assert len(once.frame) == -(-n_frames_of(len(y)) // 3)
    assert not len(measured(y[:SR], 220.0, voicing=0.3).frame)
    high = measured(y[:SR], 700.0)
    assert np.isnan(high.perturbations).all()
    assert np.isnan(high.formants_hz).all()


def described(y, hz, *, pitch=None, sdr_db=25.0):
    """Row of the vocals, whose masks promise about so much."""
    n = n_frames_of(len(y))
    f0 = {} if pitch else {"vocals": np.full(n, hz)}
    frames = track_frames({"vocals": y}, f0_hz=f0, pitch=pitch, voice=measured(y, hz))
    stem = frames.stems["vocals"]
    stem.mask_energy = stem.energy / (1 - 10 ** (-sdr_db / 10))
    return describe(frames).stems


def test_fields_of_a_voice_that_is_trusted():
    y, *_ = vowel(200.0, jitter=0.01, noise=0.05)
    rows = described(y, 200.0)
    row, praat = rows["vocals"], praat_perturbations(y, 200.0)
    assert row["voice_status"] == row["voice_quality_status"] == row["voice_perturbation_status"] == "ok"
    assert row["formant_01_median_hz"] == pytest.approx(700, rel=0.12)
    assert row["formant_03_median_hz"] == pytest.approx(2600, rel=0.05)
    assert row["jitter_local"] == pytest.approx(praat[0], rel=0.1)
    assert row["jitter_rap"] == pytest.approx(praat[1], rel=0.1)
    assert row["hnr_median_db"] == pytest.approx(praat_ratio_db(y, 200.0), abs=1.5)
    for other in ("mixture", "drums", "bass"):
        assert rows[other]["voice_status"] == "not_applicable"
        assert rows[other]["jitter_local"] is None


@pytest.mark.parametrize(
    ("sdr_db", "told"),
    [(5.0, ()), (9.0, ("quality",)), (13.0, ("quality", "formant")), (17.0, ("quality", "formant", "perturbation"))],
)
def test_what_separation_spoils_is_null(sdr_db, told):
    y, *_ = vowel(200.0, jitter=0.01)
    row = described(y, 200.0, sdr_db=(sdr_db - CONSTANT_DB) / SLOPE)["vocals"]
    assert row["voice_status"] == "ok"
    assert row["formant_01_median_hz"] == pytest.approx(700, rel=0.12)
    groups = {"quality": QUALITY_FIELDS, "formant": FORMANT_FIELDS, "perturbation": PERTURBATION_FIELDS}
    for name, fields in groups.items():
        assert row[f"voice_{name}_status"] == ("ok" if name in told else "poor_separation")
        assert all((row[field.name] is not None) == (name in told) for field in fields[1:])


def test_what_separation_leaves_has_its_value():
    y, *_ = vowel(200.0, jitter=0.01)
    row = described(y, 200.0, sdr_db=(12.0 - CONSTANT_DB) / SLOPE)["vocals"]
    assert row["hnr_median_db"] > 15
    assert row["formant_03_median_hz"] == pytest.approx(2600, rel=0.05)
    assert row["jitter_local"] is None


def test_status_of_what_cannot_be_told():
    y, *_ = vowel(200.0)
    short = described(y[: SR // 2], 200.0)["vocals"]
    assert short["voice_status"] == short["voice_quality_status"] == "too_few_frames"
    n = n_frames_of(len(y))
    # Periods of another pitch than the contour's are not the voice's.
    assert described(y, 200.0, pitch={"vocals": pitch_frames(np.full(n, 330.0))})["vocals"]["voice_status"] == (
        "too_few_frames"
    )
    without = describe(track_frames({"vocals": y}, f0_hz={"vocals": np.full(n, 200.0)})).stems
    assert without["vocals"]["voice_status"] == "unknown"
    assert without["bass"]["voice_status"] == "not_applicable"
    silent = describe(track_frames({"drums": y})).stems
    assert silent["vocals"]["voice_status"] == silent["vocals"]["voice_quality_status"] == "absent"
