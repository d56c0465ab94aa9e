"""Adaptation of the Gaussians to a singer: maximum likelihood linear regression of the means.

Leggetter and Woodland (Computer Speech and Language 9, 1995): one matrix and offset for all means of a stream, found
from frames whose senones are known, here from a first alignment. Speech becomes this singer, in this recording, as the
separator left it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .acoustic_model import FILLERS, AcousticModel

#: Fewest frames from which 14 by 13 figures a stream are estimated: 5 s.
MIN_FRAMES = 250
_RIDGE = 1e-6


def adapt(model: AcousticModel, streams: np.ndarray, senones: np.ndarray) -> AcousticModel:
    """The model with its means moved to fit some frames.

    Parameters
    ----------
    model : AcousticModel
        What to adapt.
    streams : np.ndarray
        (3, n_frames, 13) of :func:`.cepstra.streams`.
    senones : np.ndarray
        (n_frames,) senone of each frame.

    Returns
    -------
    AcousticModel
        Silence and noises stay as they are; all does where there are fewer than :data:`MIN_FRAMES` frames.
    """
    return model if len(senones) < MIN_FRAMES else moved(model, transforms(model, streams, senones))


def moved(model: AcousticModel, transform: np.ndarray) -> AcousticModel:
    """The model with its means ``transform[stream] @ (1, mean)``, those of silence and noises as they were.

    Parameters
    ----------
    model : AcousticModel
        What to move.
    transform : np.ndarray
        (3, 13, 14), of each stream the offset and the matrix.
    """
    means = model.means.copy()
    sung = [k for k, name in enumerate(model.phones) if name not in FILLERS]
    for stream in range(len(transform)):
        means[sung, stream] = model.means[sung, stream] @ transform[stream, :, 1:].T + transform[stream, :, 0]
    return replace(model, means=means.astype(np.float32))


def transforms(model: AcousticModel, streams: np.ndarray, senones: np.ndarray) -> np.ndarray:
    """What moves the means of a model so that it fits some frames best.

    Parameters
    ----------
    model, streams, senones : AcousticModel, np.ndarray, np.ndarray
        As of :func:`adapt`; at least a frame.

    Returns
    -------
    np.ndarray
        (3, 13, 14) of :func:`moved`.
    """
    order = np.argsort(model.codebook[senones], kind="stable")
    senones, streams = senones[order], streams[:, order]
    phones, first = np.unique(model.codebook[senones], return_index=True)
    stops = [*first[1:], len(senones)]
    found = []
    for stream in range(len(streams)):
        size = streams.shape[2]
        weights, targets = [], []
        for phone, start, stop in zip(phones, first, stops):
            frames = streams[stream, start:stop]
            share = model.responsibilities(frames, stream, senones[start:stop])
            precision = 1 / model.variances[phone, stream].astype(np.float64)
            weights.append(share.sum(axis=0, dtype=np.float64)[:, None] * precision)
            targets.append((share.T @ frames).astype(np.float64) * precision)
        mean = model.means[phones, stream].reshape(-1, size).astype(np.float64)
        extended = np.concatenate([np.ones((len(mean), 1)), mean], axis=1)
        # One product over all Gaussians of all phones instead of many small ones.
        pairs = (extended[:, :, None] * extended[:, None, :]).reshape(len(mean), -1)
        gram = (np.concatenate(weights).T @ pairs).reshape(size, size + 1, size + 1)
        target = np.concatenate(targets).T @ extended
        ridge = _RIDGE * np.trace(gram, axis1=1, axis2=2)[:, None, None] / (size + 1) * np.eye(size + 1)
        found.append(np.linalg.solve(gram + ridge, target[..., None])[..., 0])
    return np.stack(found)
