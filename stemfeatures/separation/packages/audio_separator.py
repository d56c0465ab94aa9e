"""The models of the package ``audio-separator`` (MDX, Roformer, VR ...), which reads and writes files."""

from __future__ import annotations

import logging
import re
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from ...audio import file_sha256, write
from ...audio import load as load_audio
from ..external import Tool, in_stereo

_RATE = 44_100
#: The package lowers each file above 0.9 of full scale by itself, which would change the proportions of the stems.
_PEAK = 0.25
_STEM = re.compile(r"_\(([^()]+)\)[^()]*$")


def load(model: str | None, *, device: str = "cpu") -> Tool:
    """Load a model of ``audio-separator``.

    Parameters
    ----------
    model : str or None
        File name of the model, as ``audio-separator --list_models`` shows it; None: the package's default.
    device : str, optional
        Not looked at: the package chooses.

    Returns
    -------
    Tool
        The separator.
    """
    from audio_separator.separator import Separator

    folder = tempfile.TemporaryDirectory(prefix="stemfeatures-")
    separator = Separator(log_level=logging.ERROR, output_dir=folder.name, output_format="WAV", use_soundfile=True)
    separator.load_model(model) if model else separator.load_model()
    weights = Path(separator.model_instance.model_path)

    def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
        with tempfile.TemporaryDirectory(dir=folder.name) as work:
            peak = float(np.abs(stereo).max()) or 1.0
            path = Path(work) / "mixture.wav"
            write(path, stereo * np.float32(_PEAK / peak), _RATE)
            found = {}
            for name in separator.separate(str(path)):
                file = Path(folder.name) / Path(name).name
                if stem := _STEM.search(file.stem):
                    y, rate = load_audio(file)
                    found[stem[1]] = _stereo(y, rate, stereo.shape[-1]) * np.float32(peak / _PEAK)
                file.unlink()
        return found

    def separate(y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        return in_stereo(y, sample_rate, _RATE, run)

    digest = file_sha256(weights) if weights.is_file() else ""
    return Tool(separate, (), metadata.version("audio-separator"), digest)


def _stereo(y: np.ndarray, rate: int, n_samples: int) -> np.ndarray:
    from ...audio import resample

    y = resample(np.atleast_2d(y), rate, _RATE)[:, :n_samples]
    y = np.repeat(y, 2, axis=0) if len(y) == 1 else y
    return np.pad(y, ((0, 0), (0, n_samples - y.shape[-1])))
