"""Filters over the bins of a spectrum: mel, chroma, and the map of harmonics on a logarithmic axis.

The mel filters are librosa's to 2e-9. They are written here as importing ``librosa.filters`` takes as long as numpy and
torch together (it loads numba and scipy.signal), in every worker anew.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called
from ..constants import (
    ANALYSIS_SAMPLE_RATE,
    BARK_EDGES_HZ,
    N_BINS,
    N_CHROMA,
    N_FFT,
    N_MELS,
    N_PITCH_BINS,
    PITCH_BINS_PER_OCTAVE,
    PITCH_FMIN,
)


def mel_filters(*, n_mels: int = N_MELS) -> Tensor:
    """(n_mels, N_BINS) triangles on power, 0 Hz to 11,025 Hz, of unit area (Slaney 1998; librosa's default)."""
    return _mel_filters(n_mels)


@lru_cache(maxsize=8)
def _mel_filters(n_mels: int) -> Tensor:
    # Slaney's scale: linear below 1 kHz (15 mel), 27 steps to every factor of 6.4 above.
    step = np.log(6.4) / 27
    top = 15 + np.log(ANALYSIS_SAMPLE_RATE / 2 / 1000) / step
    mel = np.linspace(0, top, n_mels + 2)
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(step * (mel - 15)))
    low, centre, high = (edges[k : k + n_mels, None] for k in range(3))
    hertz = np.arange(N_BINS) * ANALYSIS_SAMPLE_RATE / N_FFT
    triangle = np.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre))
    return torch.from_numpy((np.maximum(triangle, 0) * 2 / (high - low)).astype(np.float32))


@lru_cache(maxsize=1)
def bark_filters() -> Tensor:
    """(23, N_BINS) 1 for the bins whose centre lies in a Bark band, 0 for others."""
    low, high = (np.array(edges)[:, None] for edges in (BARK_EDGES_HZ[:-1], BARK_EDGES_HZ[1:]))
    hertz = np.arange(N_BINS) * ANALYSIS_SAMPLE_RATE / N_FFT
    return torch.from_numpy(((hertz >= low) & (hertz < high)).astype(np.float32))


@lru_cache(maxsize=1)
def chroma_filters() -> Tensor:
    """(N_CHROMA, N_BINS) weights from power to thirds of a semitone; bin 0 is centred on C at A4 = 440 Hz.

    Every FFT bin is spread by a Gaussian as wide as itself, or a third of a semitone where that is wider, with unit
    sum, and weighted by a Gaussian over octaves (centre A5, width two octaves), as Ellis (2007) and librosa do.
    """
    hertz = np.arange(1, N_BINS + 1) * ANALYSIS_SAMPLE_RATE / N_FFT
    place = N_CHROMA * np.log2(hertz / 440.0) + 9 * N_CHROMA // 12
    # The bin at 0 Hz has no place on this axis; it counts as lying 1.5 octaves below the next.
    place = np.concatenate([[place[0] - 1.5 * N_CHROMA], place])
    width = np.maximum(np.diff(place), 1.0)
    place = place[:N_BINS]
    apart = place - np.arange(N_CHROMA)[:, None]
    distance = (apart + N_CHROMA / 2) % N_CHROMA - N_CHROMA / 2
    spread = np.exp(-0.5 * (2 * distance / width) ** 2)
    octave = np.exp(-0.5 * ((place / N_CHROMA - 1.75) / 2) ** 2)  # 1.75 octaves above C4 lies A5
    return torch.from_numpy((spread / spread.sum(axis=0) * octave).astype(np.float32))


class FilterBank:
    """Filters over the bins of spectra, most of which see few of them.

    On a CPU compiled code adds each bin to the filters that see it; elsewhere it is a product a range of bins, with the
    filters that see some of it.

    Parameters
    ----------
    filters : Tensor
        ``(n_filters, N_BINS)`` weights.

    Examples
    --------
    >>> FilterBank(mel_filters()).apply(torch.ones(2, 10, N_BINS)).shape
    torch.Size([2, 80, 10])
    """

    #: Ranges of bins: narrower ones have fewer zeros, and more products.
    EDGES = (0, 128, 256, 512, N_BINS)
    #: Share of a filter's largest weight below which compiled code takes a weight for zero: the tails of Gaussians.
    LEAST = 1e-7

    def __init__(self, filters: Tensor) -> None:
        self._n_filters = len(filters)
        self._parts: list[tuple[slice, Tensor, Tensor]] = []
        for low, high in zip(self.EDGES, self.EDGES[1:]):
            those = torch.nonzero((filters[:, low:high] != 0).any(dim=1))[:, 0]
            self._parts.append((slice(low, high), those, filters[those, low:high].contiguous()))
        values = filters.cpu().numpy()
        seen = np.abs(values) > self.LEAST * np.abs(values).max(axis=1, keepdims=True)
        by_bin, which = np.nonzero(seen.T)
        first = np.searchsorted(by_bin, np.arange(values.shape[1] + 1))
        self._sparse = first, which, np.ascontiguousarray(values[which, by_bin])

    def apply(self, spectra: Tensor) -> Tensor:
        """``(n, n_frames, N_BINS)`` spectra to ``(n, n_filters, n_frames)`` sums."""
        flat = spectra.reshape(-1, spectra.shape[-1])
        if is_compiled(flat):
            sums = flat.new_empty(self._n_filters, len(flat))
            _filter(flat.numpy(), *self._sparse, sums.numpy())
        else:
            sums = self._products(flat)
        return sums.view(self._n_filters, *spectra.shape[:-1]).transpose(0, 1)

    def _products(self, flat: Tensor) -> Tensor:
        """``(n_filters, n)`` sums of ``(n, N_BINS)`` spectra."""
        sums = flat.new_zeros(self._n_filters, len(flat))
        for bins, those, weights in self._parts:
            sums.index_add_(0, those, weights @ flat[:, bins].t())
        return sums


def pitch_frequencies() -> np.ndarray:
    """(N_PITCH_BINS,) centre frequencies in Hz of the pitch grid.

    >>> [round(float(f), 2) for f in pitch_frequencies()[[0, 60, 359]]]
    [32.7, 65.4, 2068.76]
    """
    return PITCH_FMIN * 2.0 ** (np.arange(N_PITCH_BINS) / PITCH_BINS_PER_OCTAVE)


class HarmonicMap(torch.nn.Module):
    """Linear-frequency spectrogram to log-frequency, one plane a harmonic.

    Plane ``h``, bin ``k`` reads the spectrogram at ``harmonics[h] * pitch_frequencies()[k]``: the value a tone at
    bin ``k`` has at that harmonic, so that all its partials line up at one place (the idea of the harmonic CQT,
    Bittner et al. 2017, here by interpolation of one STFT).

    Spectrograms ``(batch, N_BINS, n_frames)`` become ``(batch, n_harmonics, N_PITCH_BINS, n_frames)``, 0 beyond the
    band.

    Parameters
    ----------
    harmonics : tuple of float
        Factors of the frequency, one a plane.
    """

    #: Frames that compiled code maps at a time: channels of so many stay in the fastest cache.
    TOGETHER = 64

    low: Tensor
    high: Tensor
    weight_low: Tensor
    weight_high: Tensor

    def __init__(self, harmonics: tuple[float, ...]) -> None:
        super().__init__()
        self.harmonics = harmonics
        self._reach: dict[tuple[int, int], int] = {}
        self._maps: dict[tuple[tuple[int, int], int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        hertz = np.outer(harmonics, pitch_frequencies()).ravel()
        position = hertz * N_FFT / ANALYSIS_SAMPLE_RATE
        inside = position < N_BINS - 1
        low = np.where(inside, np.floor(position), 0).astype(np.int64)
        fraction = np.where(inside, position - low, 0.0)
        for name, value in (("low", low), ("high", np.minimum(low + 1, N_BINS - 1))):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        for name, value in (("weight_low", (1 - fraction) * inside), ("weight_high", fraction * inside)):
            self.register_buffer(name, torch.from_numpy(value.astype(np.float32))[:, None], persistent=False)

    def forward(self, spectrogram: Tensor, bins: tuple[int, int] = (0, N_PITCH_BINS)) -> Tensor:
        """The planes, or of each those from a bin of the pitch grid up to another one."""
        low, high, weight_low, weight_high = (
            self._of(of, bins).flatten() for of in (self.low, self.high, self.weight_low, self.weight_high)
        )
        planes = spectrogram.index_select(1, low) * weight_low[:, None]
        planes = torch.addcmul(planes, spectrogram.index_select(1, high), weight_high[:, None])
        return planes.reshape(spectrogram.shape[0], len(self.harmonics), -1, spectrogram.shape[-1])

    def reach(self, bins: tuple[int, int] = (0, N_PITCH_BINS)) -> int:
        """How many bins of the spectrogram, from the lowest on, the planes of these bins of the grid read."""
        if bins not in self._reach:
            self._reach[bins] = 1 + int(self._of(self.high, bins).max())
        return self._reach[bins]

    def folded(self, spectrogram: Tensor, bins: tuple[int, int], fold: int) -> Tensor:
        """:func:`folded` of the planes of a spectrogram, of which :meth:`reach` bins are enough.

        In inference on a CPU compiled code writes them once, with their channels last.
        """
        if not is_compiled(spectrogram):
            return folded(self(spectrogram, bins), fold)
        low, weight_low, weight_high = self._folded_map(bins, fold)
        found = spectrogram.new_empty(len(spectrogram), len(low), spectrogram.shape[2], low.shape[1])
        some = np.empty((low.shape[1], self.TOGETHER), np.float32)
        for source, planes in zip(spectrogram.contiguous().numpy(), found.numpy()):
            _map(source, low, weight_low, weight_high, some, planes)
        return found.permute(0, 3, 1, 2)

    def _folded_map(self, bins: tuple[int, int], fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower bin, its weight and that of the next, each ``(k / fold, n_harmonics * fold)``."""
        if (bins, fold) not in self._maps:
            parts = (
                self._of(part, bins).unflatten(1, (-1, fold)) for part in (self.low, self.weight_low, self.weight_high)
            )
            low, *weights = (part.permute(1, 0, 2).flatten(1).numpy() for part in parts)
            self._maps[bins, fold] = low, weights[0], weights[1]
        return self._maps[bins, fold]

    def _of(self, values: Tensor, bins: tuple[int, int]) -> Tensor:
        """``(n_harmonics, k)`` of a buffer, of some bins of the grid."""
        return values.reshape(len(self.harmonics), N_PITCH_BINS)[:, slice(*bins)]


def is_compiled(*tensors: Tensor) -> bool:
    """Whether compiled code may read tensors, instead of torch: float32 on a CPU, and no gradient is asked for."""
    plain = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors)
    return plain and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def folded(planes: Tensor, fold: int) -> Tensor:
    """Neighbouring bins as channels: ``(batch, n, bins, frames)`` to ``(batch, n * fold, bins / fold, frames)``."""
    return planes.unflatten(2, (-1, fold)).transpose(2, 3).flatten(1, 2)


#: Frames at a time, which stay in the cache of a processor with all their bins.
_TOGETHER = 64


@compiled_when_called(fastmath=True)
def _filter(
    spectra: np.ndarray, first: np.ndarray, which: np.ndarray, weights: np.ndarray, sums: np.ndarray
) -> None:  # pragma: no cover - compiled
    """``(n, n_bins)`` spectra to ``(n_filters, n)`` sums; bin ``k`` is seen by the filters ``which[first[k] :
    first[k + 1]]``."""
    n_frames, n_bins = spectra.shape
    frames, found = np.zeros((n_bins, _TOGETHER), np.float32), np.zeros((len(sums), _TOGETHER), np.float32)
    whole = n_bins - n_bins % 8
    for begin in range(0, n_frames, _TOGETHER):
        n = min(_TOGETHER, n_frames - begin)
        for low in range(0, whole, 8):
            for t in range(n):
                frame = spectra[begin + t]
                for k in range(low, low + 8):
                    frames[k, t] = frame[k]
        for k in range(whole, n_bins):
            for t in range(n):
                frames[k, t] = spectra[begin + t, k]
        for i in range(len(sums)):
            for t in range(_TOGETHER):
                found[i, t] = 0
        for k in range(n_bins):
            values = frames[k]
            for j in range(first[k], first[k + 1]):
                into, weight = found[which[j]], weights[j]
                for t in range(len(values)):
                    into[t] += weight * values[t]
        for i in range(len(sums)):
            for t in range(n):
                sums[i, begin + t] = found[i, t]


@compiled_when_called(fastmath=True)
def _map(
    spectra: np.ndarray, low: np.ndarray, weight_low: np.ndarray, weight_high: np.ndarray, some: np.ndarray,
    planes: np.ndarray,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """``(bins, n_frames)`` spectra to ``(steps, n_frames, channels)`` planes, by way of ``some``, ``(channels, k)``.

    The rest is ``(steps, channels)``.
    """
    n_frames, (channels, together) = spectra.shape[1], some.shape
    for step in range(len(low)):
        for first in range(0, n_frames, together):
            n = min(together, n_frames - first)
            for k in range(channels):
                place, a, b, into = low[step, k], weight_low[step, k], weight_high[step, k], some[k]
                below, above = spectra[place, first : first + n], spectra[place + 1, first : first + n]
                for t in range(n):
                    into[t] = below[t] * a + above[t] * b
            for t in range(n):
                frame = planes[step, first + t]
                for k in range(channels):
                    frame[k] = some[k, t]
