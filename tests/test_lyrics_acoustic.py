"""The front end and the Gaussians, against pocketsphinx's own; adaptation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pocketsphinx = pytest.importorskip("pocketsphinx")

from stemfeatures.audio import load, resample
from stemfeatures.errors import ModelError
from stemfeatures.lyrics.acoustic_model import FILLERS, VOWELS, _exponentials, installed_model, read_acoustic_model
from stemfeatures.lyrics.adaptation import MIN_FRAMES, adapt
from stemfeatures.lyrics.cepstra import cepstra, streams
from stemfeatures.lyrics.observations import (
    DOUBTFUL,
    MUTED,
    UNVOICED_VOWEL,
    VOICED_PAUSE,
    FrameScores,
    Observations,
    PhoneScorer,
)

MODEL = installed_model() / "en-us"
VOCALS = Path(__file__).parent.parent / "catalog_samples/truth/morning-light/vocals.flac"


def _voice() -> np.ndarray:
    """Two seconds of singing at 16 kHz: 16-bit values as floats of full scale 1.0."""
    y, rate = load(VOCALS)
    y = resample(y.mean(axis=0)[: 3 * rate], rate, 16_000)[16_000:]
    return np.round(y / np.abs(y).max() * 0.5 * 32768) / 32768


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A signal, and the cepstra and senone scores that pocketsphinx logs of it."""
    folder = tmp_path_factory.mktemp("log")
    y = _voice()
    decoder = pocketsphinx.Decoder(
        lm=None, allphone=pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin"), compallsen=True, loglevel="FATAL",
        mfclogdir=str(folder), senlogdir=str(folder),
    )  # fmt: skip
    decoder.start_utt()
    decoder.process_raw((y * 32768).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    (mfc,), (sen,) = (list(Path(folder).glob(f"*.{end}")) for end in ("mfc", "sen"))
    found = np.frombuffer(mfc.read_bytes()[4:], ">f4").reshape(-1, 13)
    data = sen.read_bytes()
    body = np.frombuffer(data[data.index(b"endhdr\n") + 11 :], "<i2").reshape(len(found), -1)
    return y, found, body[:, 1:].astype(np.float64)


def test_cepstra_are_those_of_pocketsphinx(decoded):
    y, found, _ = decoded
    assert len(found) == 199
    np.testing.assert_allclose(cepstra(y), found, atol=1e-4)


def test_likelihoods_are_those_of_pocketsphinx(decoded):
    """Up to what it leaves out: it looks at the four nearest Gaussians of a codebook and rounds to 0.1 nat."""
    y, _, scores = decoded
    model = read_acoustic_model(MODEL)
    ours = -model.log_likelihoods(streams(cepstra(y)), np.arange(scores.shape[1])) / (1024 * np.log(1.0001))
    heard = np.abs(np.lib.stride_tricks.sliding_window_view(y, 410)[::160]).max(axis=1) > 0.02
    frames = np.flatnonzero(heard)
    alike = [np.corrcoef(ours[t], scores[t])[0, 1] for t in frames]
    assert len(frames) > 80
    assert np.median(alike) > 0.9
    # the senone that fits best there is among the best hundredth here
    rank = [(ours[t] < ours[t, scores[t].argmin()]).mean() for t in frames]
    assert np.median(rank) < 0.01


def test_likelihood_of_a_mixture_in_plain_arithmetic():
    model = read_acoustic_model(MODEL)
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((3, 5, 13)).astype(np.float32) * 5
    senone = 2000
    phone = model.codebook[senone]
    expected = np.zeros(5)
    for stream in range(3):
        mean, variance = model.means[phone, stream].astype(float), model.variances[phone, stream].astype(float)
        distance = ((frames[stream][:, None] - mean) ** 2 / variance + np.log(2 * np.pi * variance)).sum(axis=2)
        weight = np.exp(-0.1023949 * model.weights[stream][:, senone].astype(float))
        expected += np.log((weight * np.exp(-distance / 2)).sum(axis=1))
    np.testing.assert_allclose(model.log_likelihoods(frames, [senone])[:, 0], expected, rtol=2e-3)


def test_phones_in_context_have_their_own_states():
    model = read_acoustic_model(MODEL)
    plain = model.plain_senones[model.phones.index("AE")]
    cat = model.senones("AE", "K", "T", position="i")
    assert len(cat) == 3
    assert set(cat) != set(plain)
    assert {model.phones[p] for p in model.codebook[cat]} == {"AE"}
    assert not np.array_equal(cat, model.senones("AE", "B", "D", position="i"))
    assert model.senones("ZH", "ZH", "ZH", position="s").shape == (3,)  # no such context: something near it
    assert {"SIL", "+NSN+", "+SPN+"} == FILLERS
    with pytest.raises(KeyError):
        model.senones("XX")


def test_weights_and_stays_are_probabilities():
    model = read_acoustic_model(MODEL)
    for stream in range(3):
        np.testing.assert_allclose(model.mixture_weights(stream, np.arange(5126)).sum(axis=0), 1, atol=0.1)
    assert np.all((model.stay > 0.01) & (model.stay < 0.999))


def test_a_broken_model_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match=str(tmp_path)):
        read_acoustic_model(tmp_path)
    for path in MODEL.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:-5000] if path.name == "means" else path.read_bytes())
    with pytest.raises(ModelError, match="acoustic model"):
        read_acoustic_model(tmp_path)


def _drawn(model, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames drawn from senones of many phones."""
    rng = np.random.default_rng(seed)
    senones = rng.choice(5126, n)
    frames = np.empty((3, n, 13), np.float32)
    for stream in range(3):
        for k, senone in enumerate(senones):
            weight = model.mixture_weights(stream, np.array([senone]))[:, 0].astype(float)
            density = rng.choice(128, p=weight / weight.sum())
            phone = model.codebook[senone]
            spread = np.sqrt(model.variances[phone, stream, density])
            frames[stream, k] = model.means[phone, stream, density] + spread * rng.standard_normal(13)
    return frames, senones


def test_adaptation_finds_how_a_singer_differs():
    model = read_acoustic_model(MODEL)
    frames, senones = _drawn(model, 2000, seed=1)
    turn = (np.eye(13) + 0.1 * np.random.default_rng(2).standard_normal((13, 13))).astype(np.float32)
    moved = frames @ turn.T + np.arange(13, dtype=np.float32)
    adapted = adapt(model, moved, senones)
    rows = np.arange(len(senones))
    unseen, unseen_senones = _drawn(model, 400, seed=3)
    unseen = unseen @ turn.T + np.arange(13, dtype=np.float32)
    rows = np.arange(400)
    before = model.log_likelihoods(unseen, unseen_senones)[rows, rows].mean()
    after = adapted.log_likelihoods(unseen, unseen_senones)[rows, rows].mean()
    assert after > before + 5
    # the means moved as the frames did
    expected = model.means[:, 0] @ turn.T + np.arange(13)
    scale = np.sqrt(model.variances[:, 0])
    assert np.median(np.abs(adapted.means[:, 0] - expected) / scale) < 0.3
    assert np.median(np.abs(model.means[:, 0] - expected) / scale) > 0.6


def test_few_frames_do_not_adapt():
    model = read_acoustic_model(MODEL)
    few = np.zeros((3, MIN_FRAMES - 1, 13), np.float32)
    assert adapt(model, few, np.zeros(MIN_FRAMES - 1, int)) is model


def test_scores_that_are_not_kept_are_the_same():
    model = read_acoustic_model(installed_model() / "en-us")
    rng = np.random.default_rng(0)
    audible = rng.random(90) < 0.7
    n = int(audible.sum())
    streams = rng.normal(size=(3, n, 13)).astype(np.float32)
    observations = Observations(streams, audible, rng.random(n) < 0.5, doubtful=rng.random(n) < 0.3)
    senones = model.plain_senones[5:9].ravel()
    kept = FrameScores(model, observations, senones, stride=2)
    columns = np.tile(np.arange(13), 7)[:90]
    whole = kept.emissions(0, 90).at(columns)
    np.testing.assert_array_equal(whole[~audible & (columns > 0)], MUTED)
    np.testing.assert_array_equal(whole[~audible & (columns == 0)], 0)
    sound = np.repeat(PhoneScorer(model, senones)(observations, 0, n, stride=2), 2, axis=0)[:n]
    vowel = np.isin(model.codebook[senones], [model.phones.index(name) for name in VOWELS])
    sound[observations.voiced, 0] += VOICED_PAUSE
    sound[~observations.voiced, 1:] += np.where(vowel, UNVOICED_VOWEL, 0)
    sound[observations.doubtful, 1:] += DOUBTFUL
    np.testing.assert_allclose(whole[audible], sound[np.arange(n), columns[audible]], rtol=1e-5)
    lazy = FrameScores(model, observations, senones, stride=2, held_bytes=0)
    for first, stop in ((0, 1), (1, 38), (38, 39), (39, 90), (50, 50)):
        found = lazy.emissions(first, stop).at(columns[first:stop])
        np.testing.assert_allclose(found, whole[first:stop], rtol=1e-4, atol=1e-4)


def test_exponentials_are_near_enough():
    logs = np.linspace(-30, 0, 5000, dtype=np.float32).reshape(2, 2500).T + np.array([4.0, 0.0], np.float32)
    found, best = np.empty_like(logs), np.empty(2, np.float32)
    _exponentials(logs, best, found.view(np.int32))
    np.testing.assert_array_equal(best, logs.max(axis=0))
    np.testing.assert_allclose(found, np.exp(logs - best), rtol=0.004)
