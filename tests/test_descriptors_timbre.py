"""Timbre against librosa, and over active frames only."""

import librosa
import numpy as np
import pytest
from frames_helper import SR, stem_frames, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.timbre import DELTA_WIDTH, describe_timbre, mfcc


@pytest.fixture(scope="module")
def noise():
    n = 3 * SR
    return 0.1 * np.random.default_rng(0).standard_normal(n) * np.linspace(0.2, 1, n)


def test_mfcc_are_those_of_librosa(noise):
    ours = mfcc(stem_frames(noise).mel)
    mel = librosa.feature.melspectrogram(y=noise, sr=SR, n_fft=2048, hop_length=512, n_mels=80)
    theirs = librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=13)
    np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_statistics_over_all_frames(noise):
    stem = stem_frames(noise)
    values = describe_timbre(stem, np.ones(len(stem.energy), bool))
    coefficients = mfcc(stem.mel)
    delta = librosa.feature.delta(coefficients, width=DELTA_WIDTH)[:, DELTA_WIDTH // 2 : -(DELTA_WIDTH // 2)]
    for k in (0, 5, 12):
        assert values[f"mfcc_{k + 1:02d}_mean"] == pytest.approx(coefficients[k].mean())
        assert values[f"mfcc_{k + 1:02d}_std"] == pytest.approx(coefficients[k].std())
        assert values[f"mfcc_{k + 1:02d}_delta_std"] == pytest.approx(delta[k].std())
    assert values["spectral_centroid_median_hz"] == pytest.approx(np.median(stem.centroid_hz))
    assert values["spectral_rolloff_std_hz"] == pytest.approx(stem.rolloff_hz.std(), rel=1e-5)
    assert values["spectral_contrast_07_mean_db"] == pytest.approx(stem.contrast[6].mean(), rel=1e-5)


def test_silence_around_a_sound_does_not_change_its_timbre():
    # The sound alone, and the sound between two seconds of silence on either side.
    t = np.arange(4 * SR) / SR
    sound = 0.1 * sum(np.sin(2 * np.pi * 300 * h * t) / h for h in range(1, 12))
    padded = np.concatenate([np.zeros(2 * SR), sound, np.zeros(2 * SR)])
    alone, within = (describe(track_frames({"other": y})).stems["other"] for y in (sound, padded))
    for name in ("spectral_centroid_median_hz", "spectral_flatness_median", "mfcc_01_mean", "mfcc_02_mean"):
        assert within[name] == pytest.approx(alone[name], rel=0.05, abs=1e-3), name
    assert within["spectral_centroid_mean_hz"] == pytest.approx(alone["spectral_centroid_mean_hz"], rel=0.1)


def test_white_noise_is_flat_and_bright_and_a_tone_is_neither():
    t = np.arange(2 * SR) / SR
    tone = describe(track_frames({"other": 0.2 * np.sin(2 * np.pi * 500 * t)})).stems["other"]
    white = describe(track_frames({"other": 0.1 * np.random.default_rng(0).standard_normal(len(t))})).stems["other"]
    assert white["spectral_flatness_mean"] == pytest.approx(0.56, abs=0.02)  # exp(-Euler's constant): chi-square bins
    assert tone["spectral_flatness_median"] < 1e-4
    assert white["spectral_centroid_mean_hz"] == pytest.approx(SR / 4, rel=0.02)
    assert tone["spectral_centroid_median_hz"] == pytest.approx(500, rel=0.02)


def test_too_few_frames_for_a_statistic_give_none():
    stem = stem_frames(0.1 * np.random.default_rng(0).standard_normal(100))
    values = describe_timbre(stem, np.ones(1, bool))
    assert values["timbre_status"] == "ok"
    assert values["mfcc_01_mean"] is not None
    assert values["mfcc_01_std"] is None
    assert values["mfcc_01_delta_std"] is None
    assert describe_timbre(stem, np.zeros(1, bool))["timbre_status"] == "silent"
