"""F0 decoding and its figures on contours with a known answer."""

import mir_eval.melody
import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, no_pitch, pitch_frames

from stemfeatures.descriptors.f0 import cents, decode_f0, describe_f0, notes, vibrato
from stemfeatures.descriptors.half_frames import with_half_frames
from stemfeatures.descriptors.types import F0Contour
from stemfeatures.descriptors.values import middle
from stemfeatures.frames import PitchFrames

N = n_frames_of(12 * SR)
T = np.arange(N) / FRAME_RATE
ACTIVE = np.ones(N, bool)
SCALE = np.array([0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5])


def _melody(rate=0.0, extent=0.0):
    """A note a second with vibrato; the last 0.4 s of every fourth second rests."""
    hz = 220 * 2 ** (SCALE[np.minimum(T.astype(int), 11)] / 12 + extent / 1200 * np.sin(2 * np.pi * rate * T))
    return np.where(T % 4 > 3.6, np.nan, hz)


def _scores(truth, contour):
    return mir_eval.melody.evaluate(T, np.nan_to_num(truth), T, np.nan_to_num(contour.f0_hz))


@pytest.mark.parametrize(("rate", "extent"), [(0, 0), (5.5, 50), (6.5, 90), (7.5, 120)])
def test_melody_with_stronger_octaves_in_one_frame_of_eight(rate, extent):
    truth = _melody(rate, extent)
    pitch = pitch_frames(truth)
    # The task is not solved by taking the highest salience.
    naive = np.where(np.isfinite(truth), pitch.candidates_hz[:, 0], 0)
    assert mir_eval.melody.evaluate(T, np.nan_to_num(truth), T, naive)["Raw Pitch Accuracy"] < 0.9
    contour, _ = decode_f0(pitch, ACTIVE, T)
    scores = _scores(truth, contour)
    assert scores["Overall Accuracy"] > 0.99
    assert scores["Voicing False Alarm"] < 0.01
    assert np.isnan(contour.f0_hz[T % 4 > 3.65]).all()


def test_glide_is_followed():
    truth = 110 * 2 ** (T / 6)
    contour, _ = decode_f0(pitch_frames(truth), ACTIVE, T)
    assert np.abs(cents(contour.f0_hz) - cents(truth)).max() < 1
    assert vibrato(cents(truth)) == (None, None, 0.0)


def test_a_leap_of_an_octave_that_lasts_is_kept():
    truth = np.where(T < 6, 220.0, 440.0)
    contour, _ = decode_f0(pitch_frames(truth), ACTIVE, T)
    assert _scores(truth, contour)["Raw Pitch Accuracy"] > 0.99


def test_no_pitch_in_inactive_frames_whatever_the_network_says():
    truth = np.full(N, 220.0)
    active = (T > 2) & (T < 5)
    contour, salience = decode_f0(pitch_frames(truth), active, T)
    assert np.isnan(contour.f0_hz[~active]).all()
    assert (contour.voicing[~active] == 0).all()
    assert (salience[~active] == 0).all()
    assert np.isfinite(contour.f0_hz[active]).all()


def test_single_voiced_frames_are_chatter():
    truth = np.full(N, np.nan)
    truth[::20] = 300.0
    contour, _ = decode_f0(pitch_frames(truth), ACTIVE, T)
    assert np.isnan(contour.f0_hz).all()


@pytest.mark.parametrize(("rate", "extent"), [(4.75, 30), (5.5, 50), (6.5, 90)])
def test_vibrato(rate, extent):
    wave = 6900 + extent * np.sin(2 * np.pi * rate * T + 0.4) + 40 * np.sin(2 * np.pi * 0.2 * T)
    found_rate, found_extent, share = vibrato(wave)
    assert found_rate == pytest.approx(rate, abs=0.15)
    assert found_extent == pytest.approx(extent, rel=0.05)
    assert share > 0.95


def _sung(rate, extent, share, noise=10.0):
    """A minute of notes of 0.4 to 2 s with glides of 0.12 s between them, some with vibrato after 0.3 s, and rests."""
    rng = np.random.default_rng(1)
    pitch, wave, vibrating = 0.0, [], 0
    while sum(map(len, wave)) < 60 * FRAME_RATE:
        x = np.arange(int(rng.uniform(0.4, 2.0) * FRAME_RATE)) / FRAME_RATE
        step = 100 * rng.choice([-4, -2, -1, 1, 2, 3, 5]) - 100 * (pitch > 600)
        note = pitch + step * np.clip(x / 0.12, 0, 1) + 100 * x + 15 * np.sin(2 * np.pi * 0.7 * x)
        if rng.random() < share:
            depth = np.clip((x - 0.2) / 0.2, 0, 1)
            note = note + extent * depth * np.sin(2 * np.pi * rate * x)
            vibrating += np.count_nonzero(depth > 0.5)
        pitch += step
        wave += [note + noise * rng.standard_normal(len(x)), np.full(rng.choice([0, 0, 12]), np.nan)]
    line = np.concatenate(wave)
    return line, vibrating / np.isfinite(line).sum()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
@pytest.mark.parametrize(("rate", "extent"), [(4.0, 60), (5.5, 30), (5.5, 150), (7.5, 60)])
def test_vibrato_of_some_notes_is_found(rate, extent, share):
    line, true_share = _sung(rate, extent, share)
    found_rate, found_extent, found_share = vibrato(line)
    assert found_rate == pytest.approx(rate, abs=0.1)
    assert found_extent == pytest.approx(extent, rel=0.15)
    assert 0.5 * true_share < found_share < 1.2 * true_share


@pytest.mark.parametrize("noise", [5.0, 30.0])
def test_glides_and_unsteady_notes_are_no_vibrato(noise):
    assert vibrato(_sung(5.5, 60, 0.0, noise)[0])[2] < 0.01


def test_no_vibrato_in_jitter_or_steady_tones():
    jitter = np.random.default_rng(0).normal(0, 30, N)
    assert vibrato(jitter)[2] < 0.1
    assert vibrato(np.zeros(N)) == (None, None, 0.0)
    assert vibrato(np.where(np.arange(N) % 20 < 15, 0.0, np.nan)) == (None, None, None)


@pytest.mark.parametrize(("rate", "extent"), [(0, 0), (5.5, 50), (6.5, 80)])
def test_notes_are_counted_through_vibrato(rate, extent):
    found = notes(cents(_melody(rate, extent)))
    assert len(found) == 12
    np.testing.assert_allclose(found[:, 2], SCALE * 100 - 1200, atol=40)


def test_figures_of_a_melody():
    truth = _melody()
    values = describe_f0(*decode_f0(pitch_frames(truth), ACTIVE, T), ACTIVE)
    voiced = truth[np.isfinite(truth)]
    assert values["f0_status"] == "ok"
    assert values["f0_median_hz"] == pytest.approx(np.median(voiced), rel=0.01)
    assert values["f0_mean_hz"] == pytest.approx(np.exp(np.log(voiced).mean()), rel=0.01)
    assert values["f0_min_hz"] == pytest.approx(220, rel=0.01)
    assert values["f0_max_hz"] == pytest.approx(440, rel=0.01)
    assert values["f0_range_semitones"] == pytest.approx(12, abs=0.1)
    assert values["f0_voiced_ratio"] == pytest.approx(0.9, abs=0.01)
    assert values["f0_std_cents"] == pytest.approx(cents(voiced).std(), rel=0.02)
    assert values["f0_interval_mean_cents"] == pytest.approx(np.abs(np.diff(SCALE)).mean() * 100, rel=0.05)
    assert values["f0_note_duration_median_s"] == pytest.approx(1.0, abs=0.1)
    assert 0.6 < values["f0_confidence"] < 0.8  # voicing 0.95 times salience 0.8
    assert values["vibrato_rate_hz"] is None


def test_status_tells_why_there_is_no_pitch():
    def status(pitch, active):
        return describe_f0(*decode_f0(pitch, active, np.arange(len(active)) / FRAME_RATE), active)

    assert status(no_pitch(N), ~ACTIVE)["f0_status"] == "silent"
    assert status(pitch_frames(np.full(3, 200.0)), np.ones(3, bool))["f0_status"] == "too_short"
    unvoiced = status(no_pitch(N), ACTIVE)
    assert unvoiced["f0_status"] == "unvoiced"
    assert unvoiced.get("f0_median_hz") is None
    assert unvoiced["f0_voiced_ratio"] == 0


def test_candidates_without_frequency_are_never_chosen():
    pitch = PitchFrames(
        candidates_hz=np.full((50, 5), np.nan, np.float32),
        salience=np.full((50, 5), 0.9, np.float32),
        voicing=np.ones(50, np.float32),
    )
    contour, salience = decode_f0(pitch, np.ones(50, bool), np.arange(50.0))
    assert np.isnan(contour.f0_hz).all()
    assert (salience == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_the_middle_is_the_median_to_the_last_bit(dtype):
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 101, 1000):
        values = (1000 * rng.standard_normal(n)).astype(dtype)
        assert middle(values) == np.median(values)
        if dtype != "int64":
            values[n // 2] = np.nan
            assert np.isnan(middle(values))
    assert middle(np.array([[3.0, 1.0], [2.0, 10.0]])) == 2.5


def test_the_contour_has_values_between_its_frames():
    """Of the waveform where they agree with both frames, their mean elsewhere, none where the voice does not sing."""
    nan = np.nan
    hz = np.array([nan, 200.0, 210.0, 200.0, 400.0, 410.0, nan, nan])
    voicing = np.array([0.7, 0.9, 0.9, 0.9, 0.9, 0.8, 0.1, 0.0], np.float32)
    contour = F0Contour(np.arange(8) / FRAME_RATE, hz, voicing)
    between = np.array([nan, 206.0, 300.0, nan, nan, 404.0, 404.0, nan])
    found = with_half_frames(contour, between)
    mean = np.sqrt(200.0 * 210.0)
    expected = [nan, 200.0, 200.0, 206.0, 210.0, mean, 200.0, 200.0, 400.0, np.sqrt(400 * 410), 410.0, *[nan] * 4]
    np.testing.assert_allclose(found.f0_hz, expected)
    np.testing.assert_allclose(np.diff(found.times_s), 0.5 / FRAME_RATE)
    np.testing.assert_allclose(found.voicing[1::2], (voicing[:-1] + voicing[1:]) / 2)
    assert found.rate == pytest.approx(2 * FRAME_RATE)
    assert contour.rate == pytest.approx(FRAME_RATE)
    for one, other in zip(vars(found.on_frames()).values(), vars(contour).values()):
        np.testing.assert_array_equal(one, other)
    for n in (0, 1):
        few = F0Contour(contour.times_s[:n], hz[:n], voicing[:n])
        assert len(with_half_frames(few, between[:n]).f0_hz) == n
        assert len(few.on_frames().f0_hz) == n
