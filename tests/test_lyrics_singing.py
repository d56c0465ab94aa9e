"""From speech to singing: one transform of the Gaussians' means, learned by a command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")

from stemfeatures.audio import load, write
from stemfeatures.errors import DatasetError
from stemfeatures.lyrics.acoustic_model import FILLERS, installed_model, read_acoustic_model
from stemfeatures.lyrics.acoustics import PhoneAcoustics
from stemfeatures.lyrics.adaptation import moved, transforms
from stemfeatures.lyrics.alignment import Aligner
from stemfeatures.lyrics.singing import SHIPPED, singing_model
from stemfeatures.lyrics.train_singing import SHARE, SpeechAcoustics, learned, main

SAMPLES = Path(__file__).parent.parent / "catalog_samples"


def _speech():
    return read_acoustic_model(installed_model() / "en-us")


def _frames(model, n: int, offset: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(3, n, 13) streams that lie at Gaussians of senones, moved by an offset, and the senones."""
    rng = np.random.default_rng(seed)
    phones = [k for k, name in enumerate(model.phones) if name not in FILLERS]
    senones = rng.choice(model.plain_senones[phones].ravel(), n)
    place = [model.mixture_weights(0, senones[k : k + 1])[:, 0].argmax() for k in range(n)]
    streams = model.means[model.codebook[senones], :, place].transpose(1, 0, 2) + offset
    return streams.astype(np.float32), senones


def test_means_go_where_the_transform_sends_them() -> None:
    model = _speech()
    transform = np.stack([np.eye(13, 14, 1) for _ in range(3)])
    transform[1, :, 0] = np.arange(13)
    transform[2] *= 0.5
    found = moved(model, transform)
    sung = np.array([name not in FILLERS for name in model.phones])
    np.testing.assert_array_equal(found.means[~sung], model.means[~sung])
    np.testing.assert_allclose(found.means[sung, 0], model.means[sung, 0], rtol=1e-6)
    np.testing.assert_allclose(found.means[sung, 1], model.means[sung, 1] + np.arange(13), atol=1e-5)
    np.testing.assert_allclose(found.means[sung, 2], model.means[sung, 2] / 2, rtol=1e-6)


def test_half_of_the_way_is_learned() -> None:
    model = _speech()
    offset = np.linspace(-2, 2, 13)
    examples = [_frames(model, 3000, offset, seed) for seed in (0, 1)]
    found = learned(model, examples)
    joined = [np.concatenate(parts, axis=axis) for parts, axis in zip(zip(*examples), (1, 0))]
    whole = transforms(model, *joined)
    np.testing.assert_allclose(found, np.eye(13, 14, 1) + SHARE * (whole - np.eye(13, 14, 1)))
    unseen, senones = _frames(model, 500, offset, 2)
    names, rows = np.unique(senones, return_inverse=True)
    models = [model, moved(model, found), moved(model, whole)]
    fits = [some.log_likelihoods(unseen, names)[np.arange(500), rows].mean() for some in models]
    assert fits[0] + 0.5 < fits[1] < fits[2] - 0.1


def test_the_shipped_transform_is_what_acoustics_begin_with() -> None:
    with gzip.open(SHIPPED, "rt") as file:
        made = json.load(file)
    np.testing.assert_array_equal(PhoneAcoustics().units.means, moved(_speech(), np.array(made["transform"])).means)
    np.testing.assert_array_equal(singing_model(_speech()).variances, _speech().variances)


def test_a_transform_is_learned_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a song whose words are said to be where the Gaussians of speech find them: all but one are examples."""
    song = tmp_path / "song"
    song.mkdir()
    y, rate = load(SAMPLES / "Río.flac")
    write(song / "mixture.flac", y, rate)
    lines = [text for _, _, text in json.loads((SAMPLES / "truth" / "rio.json").read_text(encoding="utf-8"))["lyrics"]]
    found = Aligner(acoustics=SpeechAcoustics()).from_file(SAMPLES / "Río.flac", "\n".join(lines))
    words = [{"word": word.word, "start_s": word.start_s} for word in found.words]
    n_frames = []
    for away in (0.0, 9.0):
        words[0]["start_s"] = found.words[0].start_s + away
        lyrics = {"words": words, "lines": [{"text": line} for line in lines]}
        (song / "truth.json").write_text(json.dumps({"lyrics": lyrics}))
        output = tmp_path / "singing.json.gz"
        assert main([str(song), "-o", str(output)]) == 0
        with gzip.open(output, "rt") as file:
            made = json.load(file)
        n_frames.append(made["frames"])
    first = found.words[0]
    assert n_frames[0] - n_frames[1] == pytest.approx(100 * (first.end_s - first.start_s), abs=4)
    assert made["songs"] == 1
    assert np.array(made["transform"]).shape == (3, 13, 14)
    assert f"1 songs, {n_frames[1]} frames" in capsys.readouterr().out


def test_songs_without_words_teach_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DatasetError, match="missing"):
        main([str(tmp_path / "missing")])
    (tmp_path / "truth.json").write_text("{}")
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "0 frames" in capsys.readouterr().err
