"""What the network of notes says of a stem of several voices, which arrives in blocks.

It costs more than all else that is measured of that stem, so it is done on request only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ..constants import N_NOTES
from ..models import checkpoints
from ..models.notes import DEVIATION, NoteNet, note_features
from ..spectra.thirds import thirds
from .spectrum_meter import SpectrumMeter

#: The network of the separated accompaniment, made by ``python -m stemfeatures.training.notes``.
WEIGHTS = "other-v1"


def note_weights() -> Path:
    """The file of the network that ships with the package."""
    return checkpoints.WEIGHTS_DIR / "notes" / f"{WEIGHTS}.safetensors"


@lru_cache(maxsize=4)
def note_network(device: str) -> NoteNet:
    """The network that ships with the package, on a device.

    Parameters
    ----------
    device : str
        Torch device.

    Returns
    -------
    NoteNet
        In evaluation mode; the same for whoever asks.

    Raises
    ------
    ModelError
        Its file is missing or damaged.
    """
    return NoteNet.load_for_inference(note_weights(), device)


class NoteMeter(SpectrumMeter):
    """Onsets, activity and deviation of each pitch of a signal at 22,050 Hz that arrives in blocks.

    What it tells, (3, N_NOTES, n), are probabilities that a note of the pitch begins, and sounds, in 0..1, and
    semitones between the two.

    Parameters
    ----------
    device : str
        Torch device.
    network : NoteNet, optional
        Instead of the one that ships.
    """

    def __init__(self, device: str, network: NoteNet | None = None) -> None:
        self.device, self._network = device, network or note_network(device)
        super().__init__(self._network.reach, (3, N_NOTES))

    def _measure(self, signal: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
        return thirds(signal, count)

    def _tell(self, magnitudes: Sequence[np.ndarray], part: slice, first: int) -> np.ndarray:
        features = note_features(*magnitudes)[part]
        found = self._network(torch.from_numpy(features)[None].to(self.device))[0]
        told: np.ndarray = torch.cat([torch.sigmoid(found[:DEVIATION]), found[DEVIATION:]]).cpu().numpy()
        return told.transpose(0, 2, 1)
