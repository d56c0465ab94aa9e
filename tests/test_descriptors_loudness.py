"""Loudness against pyloudnorm, the figures of BS.1770-4 and the test signals of EBU Tech 3341 and 3342."""

import numpy as np
import pytest
import scipy.signal
from frames_helper import SR, track_frames

from stemfeatures.descriptors import LoudnessMeter, describe
from stemfeatures.descriptors.loudness import (
    _filtered_power,
    channel_weights,
    dynamic_complexity,
    integrated_loudness,
    loudness_range,
)
from stemfeatures.spectra.k_weighting import k_weighting

pyloudnorm = pytest.importorskip("pyloudnorm")


def _meter(y, sample_rate, block=None):
    y = np.atleast_2d(y)
    meter = LoudnessMeter(sample_rate, len(y))
    for start in range(0, y.shape[1], block or max(1, y.shape[1])):
        meter.update(y[:, start : start + (block or y.shape[1])])
    return meter


def _stereo_sine(levels_and_seconds, sample_rate=48_000):
    envelope = np.concatenate([np.full(int(s * sample_rate), 10 ** (db / 20)) for db, s in levels_and_seconds])
    wave = envelope * np.sin(2 * np.pi * 1000 * np.arange(len(envelope)) / sample_rate)
    return np.stack([wave, wave])


def test_coefficients_listed_in_bs1770():
    listed = [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
    np.testing.assert_allclose(k_weighting(48_000), listed, atol=1e-8)


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_integrated_loudness_agrees_with_pyloudnorm(sample_rate, channels):
    rng = np.random.default_rng(sample_rate + channels)
    n = 8 * sample_rate
    y = 0.1 * rng.standard_normal((channels, n)) * np.interp(np.arange(n), [0, n / 3, n / 2, n], [1, 0.1, 0.6, 0.01])
    ours = integrated_loudness(_meter(y, sample_rate, 4321).step_power)
    assert ours == pytest.approx(pyloudnorm.Meter(sample_rate).integrated_loudness(y.T), abs=0.1)


def test_full_scale_sine_of_997_hz_in_one_channel_reads_minus_3_01():
    wave = np.sin(2 * np.pi * 997 * np.arange(48_000 * 2) / 48_000)
    loudness = integrated_loudness(_meter(np.stack([wave, 0 * wave]), 48_000).step_power)
    assert loudness == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [  # EBU Tech 3341, cases 1 to 4, shortened in proportion
        ([(-23, 10)], -23),
        ([(-33, 10)], -33),
        ([(-36, 5), (-23, 30), (-36, 5)], -23),
        ([(-72, 5), (-36, 5), (-23, 30), (-36, 5), (-72, 5)], -23),
    ],
)
def test_ebu_tech_3341(levels, expected):
    assert integrated_loudness(_meter(_stereo_sine(levels), 48_000).step_power) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [  # EBU Tech 3342, cases 1 to 4
        ([(-20, 20), (-30, 20)], 10),
        ([(-20, 20), (-15, 20)], 5),
        ([(-40, 20), (-20, 20)], 20),
        ([(-50, 20), (-35, 20), (-20, 20), (-35, 20), (-50, 20)], 15),
    ],
)
def test_ebu_tech_3342(levels, expected):
    assert loudness_range(_meter(_stereo_sine(levels, 8_000), 8_000).step_power) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("sample_rate", [11_025, 44_100, 96_000])
def test_blocks_do_not_matter(sample_rate):
    y = np.random.default_rng(0).standard_normal((2, sample_rate + 77))
    whole = _meter(y, sample_rate)
    for block in (1_000, 4_410, 70_001):
        cut = _meter(y, sample_rate, block)
        np.testing.assert_allclose(cut.step_power, whole.step_power, rtol=1e-10)
        assert cut.true_peak == pytest.approx(whole.true_peak, rel=1e-6)
    assert len(whole.step_power) == 10
    tiny = _meter(y[:, :300], sample_rate, 1)
    assert tiny.true_peak == pytest.approx(_meter(y[:, :300], sample_rate).true_peak, rel=1e-6)
    assert len(tiny.step_power) == 0
    assert LoudnessMeter(sample_rate, 2).true_peak == 0


def test_true_peak_between_the_samples():
    n = np.arange(48_000)
    # Samples of a sine of a quarter of the rate, 45 degrees off, reach 0.707; the wave reaches 1 (BS.1770-4, Annex 2).
    fade = np.minimum(1, np.minimum(n, n[::-1]) / 4_800)
    wave = fade * np.sin(np.pi / 2 * n + np.pi / 4)
    meter = _meter(wave, 48_000, 999)
    assert np.abs(wave).max() < 0.708
    assert 20 * np.log10(meter.true_peak) == pytest.approx(0, abs=0.1)
    last = np.zeros(100)
    last[-1] = 0.9
    assert _meter(last, 48_000).true_peak == pytest.approx(0.9, rel=1e-3)


def test_channel_weights():
    assert channel_weights(6).tolist() == [1, 1, 1, 0, 1.41, 1.41]
    assert channel_weights(3).tolist() == [1, 1, 1]
    noise = 0.1 * np.random.default_rng(0).standard_normal((5, 44_100))
    ours = integrated_loudness(_meter(noise, 44_100).step_power)
    assert ours == pytest.approx(pyloudnorm.Meter(44_100).integrated_loudness(noise.T), abs=0.1)


def test_what_a_meter_refuses():
    with pytest.raises(ValueError, match="0 channels"):
        LoudnessMeter(44_100, 0)
    with pytest.raises(ValueError, match="shape"):
        LoudnessMeter(44_100, 2).update(np.zeros((1, 10)))


@pytest.mark.parametrize("sample_rate", [1000, 2000, 3000, 3500, 8000])
def test_low_rates_have_a_loudness(sample_rate):
    # A sine of 200 Hz, where K-weighting does next to nothing: -3.01 dB of power, -0.69 by the definition, -6.02.
    y = 0.5 * np.sin(2 * np.pi * 200 * np.arange(5 * sample_rate) / sample_rate)
    meter = LoudnessMeter(sample_rate, 1)
    meter.update(y[None].astype(np.float32))
    assert integrated_loudness(meter.step_power) == pytest.approx(-9.98, abs=0.35)


def test_dynamic_complexity():
    assert dynamic_complexity(np.full(100, 0.01)) == pytest.approx(0, abs=1e-9)
    assert dynamic_complexity(np.zeros(100)) is None
    # Half at -20 dB, half at -40 dB: the emphasised mean is -20 - 20 * w / (1 + w) with w = 0.9 ** 20, so the two
    # distances add up to 20 dB and average 10.
    steps = np.repeat([0.01, 0.0001], 50)
    assert dynamic_complexity(steps) == pytest.approx(10, abs=1e-6)
    padded = np.concatenate([np.zeros(40), steps, np.zeros(40)])
    assert dynamic_complexity(padded) == pytest.approx(10, abs=1e-6)


class TestRows:
    n = 6 * SR
    rng = np.random.default_rng(5)
    drums = 0.1 * rng.standard_normal(n)
    other = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(n) / SR)

    def test_without_the_full_rate_signal(self):
        rows = describe(track_frames({"drums": self.drums, "other": self.other})).stems
        for row, wave in (("mixture", self.drums + self.other), ("drums", self.drums), ("other", self.other)):
            expected = pyloudnorm.Meter(SR).integrated_loudness(wave)
            assert rows[row]["loudness_integrated_lufs"] == pytest.approx(expected, abs=0.1)
        assert rows["mixture"]["loudness_relative_lu"] is None
        assert rows["other"]["crest_factor_db"] == pytest.approx(3.01, abs=0.1)
        assert rows["other"]["true_peak_dbtp"] == pytest.approx(-20, abs=0.2)
        assert rows["other"]["loudness_momentary_max_lufs"] == pytest.approx(-22.97, abs=0.2)
        assert rows["other"]["loudness_short_term_max_lufs"] == pytest.approx(-23, abs=0.2)

    def test_stems_stand_on_the_scale_of_the_full_rate_mixture(self):
        mixture = self.drums + self.other
        meter = _meter(np.stack([mixture, mixture]), SR)
        frames = track_frames(
            {"drums": self.drums, "other": self.other}, step_power=meter.step_power, true_peak=meter.true_peak
        )
        mono = describe(track_frames({"drums": self.drums, "other": self.other})).stems
        rows = describe(frames).stems
        for row in ("mixture", "drums", "other"):
            # Two equal channels hold twice the power of one.
            gain = rows[row]["loudness_integrated_lufs"] - mono[row]["loudness_integrated_lufs"]
            assert gain == pytest.approx(3.01, abs=0.1)
        for row in ("drums", "other"):
            assert rows[row]["loudness_relative_lu"] == pytest.approx(mono[row]["loudness_relative_lu"], abs=0.1)
        assert rows["mixture"]["true_peak_dbtp"] == pytest.approx(20 * np.log10(meter.true_peak))

    def test_too_short(self):
        rows = describe(track_frames({"other": self.other[: int(0.35 * SR)]})).stems
        assert rows["other"]["loudness_status"] == "too_short"
        assert rows["other"]["loudness_integrated_lufs"] is None
        # Peaks need no 0.4 s.
        assert rows["other"]["true_peak_dbtp"] == pytest.approx(-20, abs=0.2)
        assert rows["other"]["crest_factor_db"] == pytest.approx(3.01, abs=0.5)
        assert rows["mixture"]["true_peak_dbtp"] == pytest.approx(-20, abs=0.2)
        assert rows["drums"]["true_peak_dbtp"] is None
        rows = describe(track_frames({"other": self.other[: 2 * SR]})).stems
        assert rows["other"]["loudness_status"] == "ok"
        assert rows["other"]["loudness_range_lu"] is None

    def test_float_samples_over_full_scale(self):
        gain = 10 ** (30 / 20)
        rows = describe(track_frames({"other": self.other[: 2 * SR]})).stems
        loud = describe(track_frames({"other": gain * self.other[: 2 * SR]})).stems
        for name in ("loudness_integrated_lufs", "loudness_momentary_max_lufs", "true_peak_dbtp"):
            assert loud["mixture"][name] == pytest.approx(rows["mixture"][name] + 30, abs=1e-3)
        assert loud["mixture"]["loudness_integrated_lufs"] > 5
        assert loud["mixture"]["crest_factor_db"] == pytest.approx(rows["mixture"]["crest_factor_db"], abs=1e-3)


def test_filtered_power_is_that_of_scipys_filter():
    x = np.random.default_rng(3).normal(size=(5, 3000)).astype(np.float32)
    sos, weights, state = k_weighting(44_100), channel_weights(5), np.zeros((2, 5, 2))
    filtered = scipy.signal.sosfilt(sos, x.astype(np.float64), axis=1)
    power = [_filtered_power(part, sos, weights, state) for part in (x[:, :1].copy(), x[:, 1:].copy())]
    np.testing.assert_allclose(np.concatenate(power), weights @ np.square(filtered), rtol=1e-12)
