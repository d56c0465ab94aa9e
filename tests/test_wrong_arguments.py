"""What callers get wrong: each error names the argument, what was given, and what may be."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stemfeatures import audio
from stemfeatures.audio import as_signal
from stemfeatures.descriptors.types import Events, TrackDescription
from stemfeatures.errors import DecodeError
from stemfeatures.models.checkpoints import resolve

Y = np.zeros((2, 2000), np.float32)


@pytest.mark.parametrize("sample_rate", [None, "44100", 22050.5, float("nan"), float("inf"), True, 44100j])
def test_rates_that_are_none(sample_rate: Any) -> None:
    with pytest.raises(TypeError, match="sample_rate must be a whole number of Hz, got "):
        as_signal(Y, sample_rate)
    assert as_signal(Y, 22_050.0).shape == as_signal(Y, np.int32(22_050)).shape == (2, 2000)


@pytest.mark.parametrize(
    ("samples", "got"),
    [
        ("song.mp3", "'song.mp3'; stemfeatures.audio.load reads files"),
        (Path("song.mp3"), "stemfeatures.audio.load reads files"),
        (None, "None"),
        ((Y, 22_050), "a tuple"),
        ([[0.0, 1.0], [0.0]], "a list"),
    ],
)
def test_samples_that_are_none(samples: Any, got: str) -> None:
    with pytest.raises(TypeError, match=r"samples must be an array, .*got ") as error:
        as_signal(samples, 22_050)
    assert got in str(error.value)


@pytest.mark.parametrize("path", [3, None, ["a.wav"], b"a.wav", 1.5])
def test_paths_that_are_none(path: Any) -> None:
    with pytest.raises(TypeError, match=r"path must be a str or path-like, got "):
        audio.load(path)
    with pytest.raises(DecodeError, match="the name of the file is empty"):
        audio.load("")
    if not isinstance(path, bytes):
        with pytest.raises(TypeError, match="model must be the name of a checkpoint or a path to one, got "):
            resolve(path)


def test_names_that_are_not_there() -> None:
    fields = {"tempo_bpm": 120.0, "tempo_status": "ok", "key": "C:maj", **{f"timbre_{k}": 0.0 for k in range(20)}}
    description = TrackDescription({"mixture": fields, "vocals": fields}, {}, Events(np.zeros(0), np.zeros(0, int)), {})
    for track in (description, pickle.loads(pickle.dumps(description))):
        with pytest.raises(KeyError, match="no row of stems 'voice'; there are: mixture, vocals"):
            track.stems["voice"]
        with pytest.raises(KeyError, match=r"no field 'tempo'; there are: tempo_bpm, tempo_status, \.\.\."):
            track.stems["mixture"]["tempo"]
        with pytest.raises(KeyError, match="no contour 'drums'"):
            track.contours["drums"]
        assert track.stems.get("voice") is None
        assert "voice" not in track.stems
        assert track.stems == {"mixture": fields, "vocals": fields}
        assert json.loads(json.dumps(track.stems)) == track.stems
