"""The masks over both channels of a stereo signal: power of left and right, and what they share, per stem and band.

The network reads one channel and its masks say which cells of the spectrum are whose. A second pass of the same masks
over the spectra of left and right tells where each stem stands; no further network run, one frame of four.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called
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
    if spectra.device.type == "cpu" and spectra.dtype == torch.complex64:
        found = torch.empty(3, *spectra.shape[1:])
        _products(torch.view_as_real(spectra.contiguous()).reshape(2, -1).numpy(), found.view(3, -1).numpy())
        return found
    return _products_by_torch(spectra)


def _products_by_torch(spectra: Tensor) -> Tensor:
    real, imaginary = spectra.real, spectra.imag
    power = real * real + imaginary * imaginary
    return torch.cat([power, real[:1] * real[1:] + imaginary[:1] * imaginary[1:]])


@compiled_when_called(fastmath=True)
def _products(parts: np.ndarray, found: np.ndarray) -> None:  # pragma: no cover - compiled
    """:func:`channel_products` of real and imaginary parts by turns, ``(2, 2 n)``, into ``(3, n)``."""
    left, right = parts
    own, other, shared = found
    for i in range(len(own)):
        own[i] = left[2 * i] * left[2 * i] + left[2 * i + 1] * left[2 * i + 1]
    for i in range(len(own)):
        other[i] = right[2 * i] * right[2 * i] + right[2 * i + 1] * right[2 * i + 1]
    for i in range(len(own)):
        shared[i] = left[2 * i] * right[2 * i] + left[2 * i + 1] * right[2 * i + 1]


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
        """Take the masks (n_stems, k, N_BINS) of further frames, in order."""
        wanted = masks[:, -self._n_masks % STEREO_STEP :: STEREO_STEP]
        self._n_masks += masks.shape[1]
        self._masks.append(wanted.contiguous())
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
            self._products.append(channel_products(forward_frames(frames).transpose(-1, -2)[..., :N_BINS]))
            self._measure()

    def _measure(self) -> None:
        while self._products and self._masks:
            count = min(self._products[0].shape[1], self._masks[0].shape[1])
            products, masks = _split(self._products, count), _split(self._masks, count)
            if count:
                self._measured.append(self._sums(masks, products))
                self._n_measured += count

    def _sums(self, masks: Tensor, products: Tensor) -> Tensor:
        """``(1 + n_stems, n_bands, 3, k)`` of masks ``(n_stems, k, N_BINS)`` and products ``(3, k, N_BINS)``."""
        if masks.device.type == "cpu":
            found = products.new_empty(1 + len(masks), len(self._bands), *products.shape[:2])
            edges = np.array([self._bands[0].start, *(band.stop for band in self._bands)])
            _add_up(masks.numpy(), products.numpy(), edges, found.numpy())
            return found
        return _sums_by_torch(masks, products, self._bands)


def _sums_by_torch(masks: Tensor, products: Tensor, bands: tuple[slice, ...]) -> Tensor:
    cells = torch.cat([products[None], masks.square()[:, None] * products])
    return torch.stack([cells[..., band].sum(dim=-1) for band in bands], dim=1)


@compiled_when_called(fastmath=True)
def _add_up(
    masks: np.ndarray, products: np.ndarray, edges: np.ndarray, found: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Sums over the bins of each band, of the products and of them times the squares of each mask."""
    for band in range(found.shape[1]):
        inside = slice(edges[band], edges[band + 1])
        for part in range(len(products)):
            for t in range(products.shape[1]):
                values, whole = products[part, t, inside], np.float32(0)
                for k in range(len(values)):
                    whole += values[k]
                found[0, band, part, t] = whole
                for stem in range(len(masks)):
                    shares, own = masks[stem, t, inside], np.float32(0)
                    for k in range(len(values)):
                        own += shares[k] * shares[k] * values[k]
                    found[1 + stem, band, part, t] = own


def _split(waiting: list[Tensor], count: int) -> Tensor:
    """The first ``count`` frames of what waits."""
    first = waiting.pop(0)
    if first.shape[1] > count:
        waiting.insert(0, first[:, count:])
    return first[:, :count].contiguous()
