"""What the start of a syllable looks like."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")

from stemfeatures.audio import load, write
from stemfeatures.lyrics.acoustic_model import (
    ONSET,
    VOWEL_FRAMES,
    VOWEL_STAY,
    installed_model,
    read_acoustic_model,
)
from stemfeatures.lyrics.cepstra import mel_power
from stemfeatures.lyrics.corridor import CoarseScores
from stemfeatures.lyrics.observations import LEAST_ONSET, ONSET_SCALE, FrameScores, Observations
from stemfeatures.lyrics.onsets import N_FEATURES, SHIPPED, onset_features, onset_scores
from stemfeatures.lyrics.train_onsets import fit, main


def _tones(starts_s: list[float], seconds: float) -> np.ndarray:
    """Harmonic tones at 16 kHz that begin at some times and fade out for 0.1 s before the next."""
    rng = np.random.default_rng(0)
    t = np.arange(int(16_000 * seconds)) / 16_000
    y = 1e-4 * rng.standard_normal(len(t))
    for k, (start, stop) in enumerate(zip(starts_s, [*starts_s[1:], seconds])):
        level = np.clip((t - start) / 0.01, 0, 1) * np.clip((stop - t) / 0.1, 0, 1)
        y += 0.05 * level * sum(np.sin(2 * np.pi * 200 * (1 + k / 6) * h * t) / h for h in range(1, 12))
    return y


def test_tones_begin_where_they_begin() -> None:
    starts = [0.5, 1.1, 1.6, 2.4]
    scores = onset_scores(mel_power(_tones(starts, 3.0)))
    times = np.arange(len(scores)) * 0.01 + 0.0128
    distance = np.abs(times[:, None] - starts).min(axis=1)
    held = (distance > 0.1) & (times > 0.6) & (distance < 0.3)
    for start in starts:
        assert scores[np.abs(times - start) < 0.025].max() > 1.0
    assert np.median(scores[held]) < -0.5


def test_scores_are_weights_times_features() -> None:
    with gzip.open(SHIPPED, "rt") as file:
        made = json.load(file)
    mel = mel_power(_tones([0.3, 0.8], 1.2))
    expected = onset_features(mel) @ np.array(made["weights"]) + made["offset"]
    assert len(made["weights"]) == N_FEATURES
    np.testing.assert_allclose(onset_scores(mel), expected, atol=1e-3)
    assert onset_scores(mel[:0]).shape == (0,)
    assert onset_scores(mel[:2]).shape == (2,)


def test_the_regression_finds_the_weights_that_made_the_examples() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((20_000, N_FEATURES)).astype(np.float32)
    true = np.zeros(N_FEATURES)
    true[:3] = 2.0, -1.0, 0.5
    starts = rng.random(len(x)) < 1 / (1 + np.exp(-(x @ true - 2)))
    weights, offset = fit([(x[:8_000], starts[:8_000]), (x[8_000:], starts[8_000:])])
    np.testing.assert_allclose(weights, true, atol=0.15)
    assert offset + np.log(starts.mean() / (1 - starts.mean())) == pytest.approx(-2, abs=0.15)


def test_weights_are_learned_by_a_command(tmp_path: Path) -> None:
    """From ten seconds of singing twice: what is held out is known, so it is told apart well."""
    truth = Path(__file__).parent.parent / "catalog_samples/truth/morning-light"
    y, rate = load(truth / "vocals.flac")
    y = y[:, 5 * rate : 15 * rate]
    times, hertz = np.loadtxt(truth / "vocals_f0.csv", delimiter=",", usecols=(0, 1)).T
    starts = times[1:][(hertz[1:] > 0) & (hertz[:-1] <= 0)]
    starts = starts[(starts > 5) & (starts < 15)] - 5
    assert len(starts) == 3
    for name in "ab":
        song = tmp_path / name
        song.mkdir()
        write(song / "mixture.flac", y, rate)
        (song / "truth.json").write_text(json.dumps({"notes": {"vocals": [{"start_s": s} for s in starts]}}))
    output = tmp_path / "onsets.json.gz"
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(output)]) == 0
    with gzip.open(output, "rt") as file:
        made = json.load(file)
    assert made["songs"] == 2
    assert made["area_under_roc"] > 0.7
    assert len(made["weights"]) == N_FEATURES


def test_vowels_begin_with_a_start_and_last() -> None:
    model = read_acoustic_model(installed_model() / "en-us")
    way = ("K", "AE", "T")
    assert [emitted for emitted, _, _ in model.states(way, 0)] == model.senones("K", after="AE", position="b").tolist()
    states = model.states(way, 1)
    assert states[0][0] == ONSET
    assert len(states) == 1 + 3 * VOWEL_FRAMES
    stays = [stay for _, stay, _ in states]
    lasting = [stay for stay in stays if stay > -1e20]
    assert len(lasting) == 3
    assert min(lasting) >= np.log(VOWEL_STAY) - 1e-9


def test_a_start_scores_by_its_own_column() -> None:
    model = read_acoustic_model(installed_model() / "en-us")
    rng = np.random.default_rng(0)
    n = 20
    streams = rng.normal(size=(3, n, 13)).astype(np.float32)
    onset = np.linspace(-5, 2, n).astype(np.float32)
    senones = np.array([3000, ONSET, 200])
    observed = Observations(streams, np.ones(n, bool), np.ones(n, bool), None, onset)
    seen = FrameScores(model, observed, senones, stride=2).emissions(0, n)
    expected = ONSET_SCALE * np.maximum(onset, LEAST_ONSET)
    np.testing.assert_allclose(seen.at(np.full(n, 2)), expected, rtol=1e-6)
    plain = FrameScores(model, observed, senones[[0, 2]], stride=2).emissions(0, n)
    for column, same in ((0, 0), (1, 1), (3, 2)):
        np.testing.assert_allclose(seen.at(np.full(n, column)), plain.at(np.full(n, same)), rtol=1e-6)
    coarse = CoarseScores(FrameScores(model, observed, senones, stride=2)).emissions(0, n // 4)
    np.testing.assert_allclose(coarse.at(np.full(n // 4, 2)), expected.reshape(-1, 4).max(axis=1), rtol=1e-6)
    first = seen.at(np.full(n, 1))[::4]
    np.testing.assert_allclose(coarse.at(np.full(n // 4, 1)), 4 * first, rtol=1e-5)
