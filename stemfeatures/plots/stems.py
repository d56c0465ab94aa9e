"""The picture of separated files: a mel spectrogram a stem, on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..audio import open_audio
from ..audio.resampling import StreamResampler
from ..constants import ANALYSIS_SAMPLE_RATE, N_FFT
from .axes import STEM_COLOURS, new_figure, show_mel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_MELS = 128
#: Columns of the picture; each is one spectrum or the largest of several.
_COLUMNS = 2000


def plot_stems(paths: Mapping[str, str | Path], *, title: str = "") -> Figure:
    """Draw mel spectrograms of audio files that belong together, below 11,025 Hz.

    Parameters
    ----------
    paths : mapping of str to path
        Files by name of the stem.
    title : str, optional
        Over the picture.

    Returns
    -------
    matplotlib.figure.Figure
        For ``savefig``.

    Raises
    ------
    ImportError
        matplotlib is missing (extra ``report``).
    AudioError
        A file cannot be read.
    """
    mels = {name: _mel_of(Path(path)) for name, path in paths.items()}
    longest = max(seconds for _, seconds in mels.values())
    figure = new_figure(float(np.clip(4 + 0.12 * longest, 11, 30)), 0.8 + 1.6 * len(mels))
    axes = np.atleast_1d(figure.subplots(len(mels), 1, sharex=True))
    loudest = max(float(mel.max(initial=0.0)) for mel, _ in mels.values())
    for ax, (name, (mel, seconds)) in zip(axes, mels.items()):
        show_mel(ax, mel, 0.0, round(seconds * ANALYSIS_SAMPLE_RATE / max(mel.shape[1], 1)), loudest)
        ax.set(ylabel=name, xlabel="")
        ax.yaxis.label.set_color(STEM_COLOURS.get(name, "black"))
    axes[-1].set(xlim=(0, longest), xlabel="time in s")
    figure.suptitle(title, fontsize=11)
    return figure


def _mel_of(path: Path) -> tuple[np.ndarray, float]:
    """Mel power (n_mels, n_columns) of the mean of the channels, and the length in seconds; in blocks."""
    from librosa.filters import mel as mel_filters

    filters = mel_filters(sr=ANALYSIS_SAMPLE_RATE, n_fft=N_FFT, n_mels=_N_MELS, fmax=ANALYSIS_SAMPLE_RATE / 2)
    window = np.hanning(N_FFT).astype(np.float32)
    spectra: list[np.ndarray] = []
    rest = np.zeros(0, np.float32)
    n_samples = 0

    def analyse(y: np.ndarray) -> np.ndarray:
        n = max(0, 1 + (len(y) - N_FFT) // N_FFT)
        cells = y[: n * N_FFT].reshape(n, N_FFT) * window
        spectra.append((filters @ (np.abs(np.fft.rfft(cells)) ** 2).T).astype(np.float32))
        return y[n * N_FFT :]

    # Whoever has separated it has looked at its length.
    with open_audio(path, max_duration_s=math.inf) as source:
        resampler = StreamResampler(source.info.sample_rate, ANALYSIS_SAMPLE_RATE)
        for block in source:
            more = resampler.process(block.mean(axis=0))
            n_samples += len(more)
            rest = analyse(np.concatenate([rest, more.astype(np.float32)]))
        more = resampler.flush()
        n_samples += len(more)
        rest = np.concatenate([rest, more.astype(np.float32)])
    analyse(np.pad(rest, (0, N_FFT - len(rest) % N_FFT)))
    mel = np.concatenate(spectra, axis=1)
    joined = max(1, -(-mel.shape[1] // _COLUMNS))
    return np.maximum.reduceat(mel, np.arange(0, mel.shape[1], joined), axis=1), n_samples / ANALYSIS_SAMPLE_RATE
