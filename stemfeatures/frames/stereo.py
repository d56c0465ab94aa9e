"""The masks over both channels of a stereo signal: power of left and right, and what they share, per stem and band.

The network reads one channel and its masks say which cells of the spectrum are whose. A second pass of the same masks
over the spectra of left and right tells where each stem stands; no further network run, one frame of four.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..audio import StreamResampler
from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_BINS, N_FFT
from ..inference.transfer import to_device
from ..spectra.streaming import StreamFramer, forward_frames
from .types import STEREO_EDGES_HZ, STEREO_STEP


def band_slices() -> tuple[slice, ...]:
    """Bins of each band.

    Returns
    -------
    tuple of slice
        One a band of ``STEREO_BANDS``; neighbours touch.

    Examples
    --------
    >>> band_slices()
    (slice(2, 24, None), slice(24, 372, None), slice(372, 1024, None))
    """
    edges = [min(int(np.ceil(hz * N_FFT / ANALYSIS_SAMPLE_RATE)), N_BINS) for hz in STEREO_EDGES_HZ]
    return tuple(slice(low, high) for low, high in zip(edges, edges[1:]))


def channel_products(spectra: Tensor) -> Tensor:
    """Power of both channels and their cross power.

    Parameters
    ----------
    spectra : Tensor
        (2, ...) complex, left and right.

    Returns
    -------
    Tensor
        (3, ...) ``|L|**2``, ``|R|**2`` and the real part of ``L`` times the conjugate of ``R``.
    """
    real, imaginary = spectra.real, spectra.imag
    power = real * real + imaginary * imaginary
    return torch.cat([power, real[:1] * real[1:] + imaginary[:1] * imaginary[1:]])


class StereoMeter:
    """Takes the channels of one track as they are decoded, and masks as they become known.

    Parameters
    ----------
    sample_rate : int
        Of the channels, in Hz.
    device : str
        Torch device.
    """

    def __init__(self, sample_rate: int, device: str) -> None:
        self.device = device
        self._resampler = StreamResampler(sample_rate, ANALYSIS_SAMPLE_RATE)
        self._framer = StreamFramer(2, N_FFT, STEREO_STEP * HOP_LENGTH, device=device)
        self._bands = band_slices()
        self._products: list[Tensor] = []
        self._masks: list[Tensor] = []
        self._n_masks = 0
        self._measured: list[Tensor] = []
        self._n_measured = 0

    def push(self, block: np.ndarray) -> None:
        """Take further samples (2, n) of left and right."""
        self._analyse(self._resampler.process(block))

    def finish_signal(self) -> None:
        """There are no more samples."""
        self._analyse(self._resampler.flush())
        self._keep(self._framer.finish())

    def add(self, masks: Tensor) -> None:
        """Take the masks (n_stems, N_BINS, k) of further frames, in order."""
        wanted = masks[..., -self._n_masks % STEREO_STEP :: STEREO_STEP]
        self._n_masks += masks.shape[-1]
        self._masks.append(wanted.square())
        self._measure()

    def take(self) -> np.ndarray:
        """What was measured and not taken before, as of :meth:`finish`."""
        measured, self._measured = self._measured, []
        if not measured:
            return np.zeros((1, len(self._bands), 3, 0), np.float32)
        return torch.cat(measured, dim=-1).cpu().numpy()

    def finish(self, n_frames: int) -> np.ndarray | None:
        """What was measured and not taken.

        Parameters
        ----------
        n_frames : int
            Of the track; as many masks were given.

        Returns
        -------
        np.ndarray or None
            (1 + n_stems, n_bands, 3, ceil(n_frames / STEREO_STEP)) float32, the :func:`channel_products` of the
            signal, then of each stem, summed over the bins of each band; None when not all frames have their samples.
        """
        self._measure()
        return self.take() if self._n_measured == -(-n_frames // STEREO_STEP) else None

    def _analyse(self, channels: np.ndarray) -> None:
        signal = to_device(np.ascontiguousarray(channels, dtype=np.float32), self.device)
        self._keep(self._framer.push(signal))

    def _keep(self, frames: Tensor) -> None:
        if frames.shape[1]:
            # The products are made along the bins, which are contiguous there, and turned once.
            spectra = forward_frames(frames).transpose(-1, -2)[..., :N_BINS]
            self._products.append(channel_products(spectra).transpose(-1, -2).contiguous())
            self._measure()

    def _measure(self) -> None:
        while self._products and self._masks:
            count = min(self._products[0].shape[-1], self._masks[0].shape[-1])
            products, masks = _split(self._products, count), _split(self._masks, count)
            if count:
                parts = [torch.cat([self._sums(part[None]), self._sums(masks * part)]) for part in products]
                self._measured.append(torch.stack(parts, dim=2))
                self._n_measured += count

    def _sums(self, cells: Tensor) -> Tensor:
        """(n, n_bands, k) of (n, N_BINS, k)."""
        return torch.stack([cells[:, band].sum(dim=1) for band in self._bands], dim=1)


def _split(waiting: list[Tensor], count: int) -> Tensor:
    """The first ``count`` frames of what waits."""
    first = waiting.pop(0)
    if first.shape[-1] > count:
        waiting.insert(0, first[..., count:])
    return first[..., :count]
