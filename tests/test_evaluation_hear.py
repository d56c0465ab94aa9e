"""HEAR's functions against table embeddings, and pieces of a long sound against the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import TINY

from stemfeatures.errors import NonFiniteAudioError
from stemfeatures.evaluation import hear
from stemfeatures.evaluation.hear import HearModel, get_scene_embeddings, get_timestamp_embeddings, load_model
from stemfeatures.models import checkpoints
from stemfeatures.models.joint import JointNet

SR = 22_050


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HearModel:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hear") / "tiny.safetensors"
    checkpoints.save(JointNet(TINY).eval(), path, {"licence": "test", "description": "random weights"})
    return load_model(str(path))


def _sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SR)) / SR
    tones = sum(np.sin(2 * np.pi * f * t + f) * (np.sin(0.7 * f * t) > 0) for f in rng.uniform(80, 3000, 6))
    return (0.05 * tones + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


def test_scenes_are_those_of_the_table(model: HearModel) -> None:
    sounds = np.stack([_sound(3.0), _sound(3.0, 1)])
    vectors = get_scene_embeddings(torch.from_numpy(sounds), model)
    assert vectors.shape == (2, model.scene_embedding_size)
    assert vectors.dtype == torch.float32
    for y, vector in zip(sounds, vectors):
        np.testing.assert_allclose(vector, model.analyser.from_audio(y, SR).embeddings["mixture"], atol=1e-4)


def test_timestamps(model: HearModel) -> None:
    y = np.concatenate([_sound(2.0), np.zeros(2 * SR, np.float32)])
    vectors, times = get_timestamp_embeddings(torch.from_numpy(y[None]), model)
    assert vectors.shape == (1, times.shape[1], model.timestamp_embedding_size)
    steps = np.diff(times[0].numpy())
    np.testing.assert_allclose(steps, 1000 * model.stride * 512 / SR, rtol=1e-4)
    assert times[0, 0] == pytest.approx((model.stride - 1) / 2 * 1000 * 512 / SR, rel=1e-4)
    length = vectors[0].norm(dim=1).numpy()
    np.testing.assert_allclose(length[times[0] < 1900], 1, atol=1e-5)
    np.testing.assert_allclose(length[times[0] > 2200], 0, atol=1e-5)


@pytest.mark.parametrize("segment", [256, 250])  # 5.9 s: a whole number of cells, and not
def test_pieces_of_a_long_sound_are_as_the_whole(
    model: HearModel, monkeypatch: pytest.MonkeyPatch, segment: int
) -> None:
    y = _sound(12.0)
    whole, times = get_timestamp_embeddings(torch.from_numpy(y[None]), model)
    monkeypatch.setattr(hear, "SEGMENT", segment)
    pieces, same = get_timestamp_embeddings(torch.from_numpy(y[None]), model)
    np.testing.assert_array_equal(times, same)
    cosine = (whole * pieces).sum(dim=-1).numpy()
    assert cosine.min() > 0.99


@pytest.mark.parametrize(
    ("audio", "error", "said"),
    [
        (np.zeros((1, SR), np.float32), TypeError, "audio must be a tensor, got a ndarray"),
        (torch.zeros(1, SR, dtype=torch.int16), TypeError, "floating point at full scale 1, got torch.int16"),
        (torch.zeros(SR), ValueError, r"audio must be \(n_sounds, n_samples\), at least one of each, got \(22050,\)"),
        (torch.zeros(1, 1, SR), ValueError, r"got \(1, 1, 22050\)"),
        (torch.zeros(0, SR), ValueError, r"got \(0, 22050\)"),
        (torch.zeros(1, 0), ValueError, r"got \(1, 0\)"),
        (torch.full((1, SR), torch.nan), NonFiniteAudioError, "the samples hold NaN or infinity"),
    ],
)
def test_what_is_no_sound(model: HearModel, audio: torch.Tensor, error: type[Exception], said: str) -> None:
    for embeddings in (get_scene_embeddings, get_timestamp_embeddings):
        with pytest.raises(error, match=said):
            embeddings(audio, model)
        with pytest.raises(TypeError, match="model must be what load_model gives, got a str"):
            embeddings(audio, "joint-v3")
