"""The embeddings as the HEAR benchmark asks for them: ``hear-validator stemfeatures.evaluation.hear``.

(Turian et al., "HEAR: Holistic evaluation of audio representations", PMLR 176, 2022.) The scene embedding is that of
the mixture in table ``embeddings``; a timestamp has the same two moments of the network's features, over the band, in
one cell of time. Sounds longer than a segment are cut into pieces with ``LEAD_S`` of the sound before and after each.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..analysis import Analyser
from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_BINS, N_FFT
from ..descriptors.activity import ROUNDING_DBFS
from ..errors import NonFiniteAudioError
from ..inference.front_end import FrontEnd
from ..inference.segments import SEGMENT, SegmentTrack
from ..models.checkpoints import DEFAULT_MODEL

#: What is heard before and after a piece of a long sound.
LEAD_S = 1.2


class _Cells(NamedTuple):
    """Weights (n_cells,), weighted sums and squares (n_cells, n_channels) of features over the band."""

    weight: Tensor
    sums: Tensor
    squares: Tensor


class HearModel(torch.nn.Module):
    """What :func:`load_model` gives.

    Parameters
    ----------
    model : str or Path
        Name of a checkpoint, or path to one.
    device : str
        Torch device.

    Attributes
    ----------
    sample_rate : int
        Hz of the sounds that it takes.
    scene_embedding_size, timestamp_embedding_size : int
        Length of the vectors.

    Raises
    ------
    ModelError
        When the checkpoint cannot be used.
    """

    def __init__(self, model: str | Path, device: str = "cpu") -> None:
        super().__init__()
        self.analyser = Analyser(model, device=device)
        self.sample_rate = ANALYSIS_SAMPLE_RATE
        size = 2 * self.cells(np.zeros(HOP_LENGTH, np.float32)).sums.shape[1]
        self.scene_embedding_size = self.timestamp_embedding_size = size

    @property
    def stride(self) -> int:
        """Frames of a cell."""
        return int(self.analyser.net.stride)

    def cells(self, y: np.ndarray) -> _Cells:
        """Features of a sound of any length, a cell of time each.

        Parameters
        ----------
        y : (n_samples,) ndarray of float32
            At ``sample_rate``.

        Returns
        -------
        _Cells
            Of consecutive cells from 0 on.
        """
        n_frames = 1 + len(y) // HOP_LENGTH
        if n_frames <= SEGMENT:
            return self._piece(y)
        lead = -(-int(LEAD_S * ANALYSIS_SAMPLE_RATE / HOP_LENGTH) // self.stride) * self.stride
        # A piece that does not end the sound has one frame more than it was cut for.
        core = (SEGMENT - 1 - 2 * lead) // self.stride * self.stride
        kept = []
        for start in range(0, n_frames, core):
            first, end = max(0, start - lead), min(start + core + lead, n_frames)
            piece = self._piece(y[first * HOP_LENGTH : end * HOP_LENGTH])
            skip = (start - first) // self.stride
            kept.append([values[skip : skip + core // self.stride] for values in piece])
        return _Cells(*(torch.cat(parts) for parts in zip(*kept)))

    @torch.inference_mode()
    def _piece(self, y: np.ndarray) -> _Cells:
        found: list[_Cells] = []

        def take(features: Tensor, power: Tensor, stride: int, first: int) -> None:
            _, bins, n_cells = features.shape
            padded = torch.nn.functional.pad(power.sum(dim=0), (0, n_cells * stride - power.shape[-1]))
            cell = padded.reshape(bins, n_cells, stride).mean(dim=2) / (N_BINS // bins)
            weight = cell.sqrt().sqrt().double()  # as the table's: a few loud cells shall not decide alone
            level = 2 * cell.mean(dim=0) * N_BINS / (N_FFT * 3 * N_FFT / 8)  # mean square, by the energy of the window
            weight = weight * (level > 10 ** (ROUNDING_DBFS / 10))
            flat = features.double()
            sums, squares = ((weight * flat**power).sum(dim=1).T for power in (1, 2))
            found.append(_Cells(weight.sum(dim=0), sums, squares))

        runner = self.analyser.new_runner()
        track = SegmentTrack(lambda frames: None, take, segment=SEGMENT)
        front_end = FrontEnd(ANALYSIS_SAMPLE_RATE, runner, track, device=self.analyser.device)
        front_end.push(y[None])
        front_end.finish()
        runner.flush()
        (cells,) = found
        return cells


def _vectors(cells: _Cells) -> Tensor:
    """(..., 2 * n_channels) float32 means and deviations, of unit length; zeros where nothing sounds."""
    weight = cells.weight[..., None].clamp_min(1e-12)
    mean = cells.sums / weight
    deviation = (cells.squares / weight - mean**2).clamp_min(0).sqrt()
    vector = torch.cat([mean, deviation], dim=-1) * (cells.weight[..., None] > 1e-9)
    return (vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-12)).float()


def load_model(model_file_path: str = "") -> HearModel:
    """Load a network.

    Parameters
    ----------
    model_file_path : str
        Name of a checkpoint or path to one; the default checkpoint if empty.

    Returns
    -------
    HearModel
        For the other two functions.

    Raises
    ------
    ModelError
        When the checkpoint cannot be used.
    """
    return HearModel(model_file_path or DEFAULT_MODEL)


def _sounds(audio: Tensor, model: HearModel) -> np.ndarray:
    """The samples, float32; what is no sound is refused."""
    if not isinstance(model, HearModel):
        raise TypeError(f"model must be what load_model gives, got a {type(model).__name__}")
    if not isinstance(audio, torch.Tensor):
        raise TypeError(f"audio must be a tensor, got a {type(audio).__name__}")
    if not audio.is_floating_point():
        raise TypeError(f"audio must be floating point at full scale 1, got {audio.dtype}")
    if audio.ndim != 2 or 0 in audio.shape:
        raise ValueError(f"audio must be (n_sounds, n_samples), at least one of each, got {tuple(audio.shape)}")
    if not audio.isfinite().all():
        raise NonFiniteAudioError("the samples hold NaN or infinity", stage="input")
    return audio.detach().cpu().float().numpy()


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Embeddings along sounds.

    Parameters
    ----------
    audio : (n_sounds, n_samples) Tensor
        At ``model.sample_rate``, full scale 1.
    model : HearModel
        What :func:`load_model` gave.

    Returns
    -------
    embeddings : (n_sounds, n_timestamps, timestamp_embedding_size) Tensor
        Of unit length, float32; zeros below -100 dBFS.
    timestamps : (n_sounds, n_timestamps) Tensor
        Centres of their cells in milliseconds.

    Raises
    ------
    TypeError
        When ``audio`` is no tensor of floating-point samples, or ``model`` none of :func:`load_model`.
    ValueError
        When it has other axes, no sounds or no samples.
    NonFiniteAudioError
        When NaN or infinity is among the samples.
    """
    vectors = torch.stack([_vectors(model.cells(y)) for y in _sounds(audio, model)])
    frames = model.stride * torch.arange(vectors.shape[1], dtype=torch.float64) + (model.stride - 1) / 2
    times = (frames * (1000 * HOP_LENGTH / ANALYSIS_SAMPLE_RATE)).float()
    return vectors, times.expand(len(vectors), -1)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One embedding a sound.

    Parameters
    ----------
    audio : (n_sounds, n_samples) Tensor
        At ``model.sample_rate``, full scale 1.
    model : HearModel
        What :func:`load_model` gave.

    Returns
    -------
    (n_sounds, scene_embedding_size) Tensor
        Of unit length, float32; zeros for silence.

    Raises
    ------
    TypeError
        When ``audio`` is no tensor of floating-point samples, or ``model`` none of :func:`load_model`.
    ValueError
        When it has other axes, no sounds or no samples.
    NonFiniteAudioError
        When NaN or infinity is among the samples.
    """
    sounds = [model.cells(y) for y in _sounds(audio, model)]
    return torch.stack([_vectors(_Cells(*(values.sum(dim=0) for values in cells))) for cells in sounds])
