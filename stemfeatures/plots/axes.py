"""What all pictures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEM_COLOURS = {"vocals": "#d95f02", "drums": "#666666", "bass": "#1f78b4", "other": "#1b9e77"}
#: Below the loudest cell, in dB, everything is black.
FLOOR_DB = 80.0


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches that belongs to no window; ImportError that names the extra without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'stemfeatures[report]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def show_mel(ax: Axes, mel: np.ndarray, start_s: float, hop_length: int, loudest: float) -> None:
    """A mel power spectrogram (n_mels, n_columns) of the analysis rate in dB under ``loudest``."""
    from librosa.display import specshow

    level = 10.0 * np.log10(np.maximum(mel, 1e-12) / max(loudest, 1e-12))
    times = start_s + np.arange(mel.shape[1]) * hop_length / ANALYSIS_SAMPLE_RATE
    specshow(
        level, ax=ax, x_coords=times, x_axis="time", y_axis="mel", sr=ANALYSIS_SAMPLE_RATE, hop_length=hop_length,
        fmax=ANALYSIS_SAMPLE_RATE / 2, vmin=-FLOOR_DB, vmax=0.0, cmap="magma", rasterized=True,
    )  # fmt: skip
    ax.tick_params(axis="y", labelsize=7)
