"""What the network of notes says of a stem of several voices, which arrives in blocks.

It costs more than all else that is measured of that stem, so it is done on request only.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from .._util.devices import is_cpu
from ..constants import HOP_LENGTH, N_NOTES
from ..models import checkpoints
from ..models.fusion import fused
from ..models.notes import DEVIATION, LEVEL_FRAMES, NoteNet, note_features
from ..spectra.thirds import LONG_WINDOW, N_SEMITONES, N_THIRDS, thirds

#: The network of the separated accompaniment, made by ``python -m stemfeatures.training.notes``.
WEIGHTS = "other-v1"
#: Frames at a time.
_CHUNK = 1024
_LEVEL_REACH = LEVEL_FRAMES // 2


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
    network = NoteNet.load(note_weights())
    return fused(network, in_place=True) if is_cpu(device) else network.to(device)


class NoteMeter:
    """Onsets, activity and deviation of each pitch of a signal at 22,050 Hz that arrives in blocks.

    Parameters
    ----------
    device : str
        Torch device.
    network : NoteNet, optional
        Instead of the one that ships.
    """

    def __init__(self, device: str, network: NoteNet | None = None) -> None:
        self.device, self._network = device, network or note_network(device)
        self._signal = [np.zeros(LONG_WINDOW // 2, np.float32)]
        self._n_waiting = LONG_WINDOW // 2
        #: Magnitudes of frames that are still context of others, and of those that are not done.
        self._magnitudes = (np.zeros((0, N_THIRDS), np.float32), np.zeros((0, N_SEMITONES), np.float32))
        self._first, self._n_done = 0, 0
        self._found: list[np.ndarray] = []

    def push_signal(self, signal: np.ndarray) -> None:
        """Take further (n,) samples; sample 0 is the centre of frame 0."""
        self._signal.append(np.asarray(signal, dtype=np.float32))
        self._n_waiting += len(signal)
        ready = (self._n_waiting - LONG_WINDOW) // HOP_LENGTH + 1
        if ready >= _CHUNK:
            self._transform(ready)
            self._run(self._first + len(self._magnitudes[0]) - self._context)

    def take(self) -> np.ndarray:
        """(3, N_NOTES, n) float32 of the frames that are done and were not taken before, see :meth:`finish`."""
        found, self._found = self._found, []
        return np.concatenate(found, axis=2) if found else np.zeros((3, N_NOTES, 0), np.float32)

    def finish(self, n_frames: int) -> np.ndarray:
        """What is left.

        Parameters
        ----------
        n_frames : int
            Of the track; where its waveform ends it is silent.

        Returns
        -------
        np.ndarray
            (3, N_NOTES, n) float32 of each frame that was not taken before: probabilities that a note of the pitch
            begins, and sounds, in 0..1, and semitones between the two.
        """
        missing = n_frames - self._first - len(self._magnitudes[0])
        if missing > 0:
            self._signal.append(
                np.zeros(max(0, (missing - 1) * HOP_LENGTH + LONG_WINDOW - self._n_waiting), np.float32)
            )
            self._transform(missing)
        self._run(n_frames)
        return self.take()

    @property
    def _context(self) -> int:
        """Frames after a frame that decide about it."""
        return _LEVEL_REACH + self._network.reach

    def _transform(self, count: int) -> None:
        signal = np.concatenate(self._signal)
        found = thirds(signal, count)
        self._magnitudes = (
            np.concatenate([self._magnitudes[0], found[0]]),
            np.concatenate([self._magnitudes[1], found[1]]),
        )
        rest = signal[count * HOP_LENGTH :].copy()
        self._signal, self._n_waiting = [rest], len(rest)

    @torch.inference_mode()
    def _run(self, stop: int) -> None:
        """Frames up to ``stop``."""
        while self._n_done < stop:
            until = min(stop, self._n_done + _CHUNK)
            # Levels are known where all frames around are; the network is asked with its own reach beyond the frames.
            low = max(self._n_done - self._network.reach, 0)
            start, end = max(low - _LEVEL_REACH, self._first), until + self._context
            part = slice(start - self._first, end - self._first)
            features = note_features(self._magnitudes[0][part], self._magnitudes[1][part])
            features = features[low - start : until + self._network.reach - start]
            found = self._network(torch.from_numpy(features)[None].to(self.device))[0]
            found = torch.cat([torch.sigmoid(found[:DEVIATION]), found[DEVIATION:]])
            done = found[:, self._n_done - low : until - low].transpose(1, 2)
            self._found.append(done.contiguous().cpu().numpy())
            self._n_done = until
        keep = max(self._n_done - self._context, self._first)
        self._magnitudes = (
            self._magnitudes[0][keep - self._first :].copy(),
            self._magnitudes[1][keep - self._first :].copy(),
        )
        self._first = keep
