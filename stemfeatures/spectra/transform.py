"""Time-frequency representations, batched, in torch.

Conventions
-----------
* Signals are ``(..., n_samples)``, spectrograms ``(..., n_bins, n_frames)``.
* Frames are centred: frame ``k`` covers ``k * hop - n_fft / 2`` to ``k * hop + n_fft / 2``, zeros lie outside the
  signal, and there are ``1 + n_samples // hop`` of them.
* The window is a periodic Hann for analysis and synthesis. With hop = n_fft / 4 its squares add up to the constant
  1.5, so a mask that is smooth in time leaves no modulation at the frame rate. (On the 1024/768 grid of the 2017
  U-Net they swing between 0.04 and 1, and whatever a mask changes is amplified by up to 23 in power.)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..constants import (
    ANALYSIS_SAMPLE_RATE,
    HOP_LENGTH,
    N_BINS,
    N_CHROMA,
    N_FFT,
    N_MELS,
    N_PITCH_BINS,
    PITCH_BINS_PER_OCTAVE,
    PITCH_FMIN,
)


@lru_cache(maxsize=16)
def _hann(n_fft: int, device: str, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(n_fft, periodic=True, device=device, dtype=dtype)


def hann(n_fft: int, like: Tensor) -> Tensor:
    """Periodic Hann window on the device and in the precision of ``like``."""
    return _hann(n_fft, str(like.device), like.dtype)


def stft(y: Tensor, *, n_fft: int = N_FFT, hop_length: int = HOP_LENGTH) -> Tensor:
    """Complex spectrogram ``(..., n_fft // 2 + 1, n_frames)`` of real signals ``(..., n_samples)``.

    >>> stft(torch.zeros(2, 1000)).shape
    torch.Size([2, 1025, 2])
    """
    flat = y.reshape(-1, y.shape[-1])
    spectrum = torch.stft(
        flat, n_fft, hop_length, window=hann(n_fft, y), center=True, pad_mode="constant", return_complex=True
    )
    return spectrum.reshape(*y.shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, n_samples: int, *, n_fft: int = N_FFT, hop_length: int = HOP_LENGTH) -> Tensor:
    """Inverse of :func:`stft`: least-squares overlap-add, exact for untouched spectrograms.

    >>> y = torch.randn(3000, dtype=torch.float64)
    >>> bool((istft(stft(y), 3000) - y).abs().max() < 1e-12)
    True
    """
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    window = hann(n_fft, flat.real)
    frames = torch.fft.irfft(flat, n=n_fft, dim=-2) * window[:, None]
    count = frames.shape[-1]
    length = n_fft + hop_length * (count - 1)
    fold = {"output_size": (1, length), "kernel_size": (1, n_fft), "stride": (1, hop_length)}
    signal = torch.nn.functional.fold(frames, **fold)[:, 0, 0]
    squares = (window**2)[:, None].expand(-1, count)[None]
    weight = torch.nn.functional.fold(squares, **fold)[0, 0, 0]
    signal, weight = (x[..., n_fft // 2 :][..., :n_samples] for x in (signal, weight))
    signal = signal / weight.clamp_min(1e-9)
    if signal.shape[-1] < n_samples:
        signal = torch.nn.functional.pad(signal, (0, n_samples - signal.shape[-1]))
    return signal.reshape(*spectrum.shape[:-2], n_samples)


def rendering_grid(sample_rate: int) -> tuple[int, int]:
    """``(n_fft, hop_length)`` on which masks are applied at ``sample_rate``.

    The hop is the FFT-friendly length nearest to the analysis hop in seconds, and n_fft four times that. At 22,050
    and 44,100 Hz the grid coincides with the analysis grid frame by frame and bin by bin.

    >>> rendering_grid(22_050), rendering_grid(44_100), rendering_grid(48_000)
    ((2048, 512), (4096, 1024), (4500, 1125))
    """
    ideal = HOP_LENGTH * sample_rate / ANALYSIS_SAMPLE_RATE
    smooth = [2**a * 3**b * 5**c for a in range(14) for b in range(6) for c in range(5)]
    hop = min((h for h in smooth if h * 4 % 2 == 0), key=lambda h: (abs(h - ideal), h))
    return 4 * hop, hop


def extend_mask(mask: Tensor, frequencies: Tensor, *, band_hz: tuple[float, float] = (8_000.0, 11_000.0)) -> Tensor:
    """Masks ``(..., N_BINS, n_frames)`` read at ``frequencies`` in Hz: ``(..., n_frequencies, n_frames)``.

    Linear interpolation between analysis bins, so masks that sum to one still do. Above the analysis band
    (11,025 Hz) every bin takes the frame's mean mask over ``band_hz``.
    """
    position = frequencies.to(mask.device, mask.dtype) * (N_FFT / ANALYSIS_SAMPLE_RATE)
    low = position.floor().long().clamp(0, N_BINS - 1)
    high = (low + 1).clamp(max=N_BINS - 1)
    weight = (position - low).clamp(0, 1)[:, None]
    if bool((weight == 0).all()):
        inside = mask.index_select(-2, low)
    else:
        inside = mask.index_select(-2, low) * (1 - weight) + mask.index_select(-2, high) * weight
    above = frequencies >= ANALYSIS_SAMPLE_RATE / 2
    if bool(above.any()):
        first, last = (round(f * N_FFT / ANALYSIS_SAMPLE_RATE) for f in band_hz)
        mean = mask[..., first:last, :].mean(dim=-2, keepdim=True)
        inside = torch.where(above.to(mask.device)[:, None], mean, inside)
    return inside


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

    Shape
    -----
    ``(batch, N_BINS, n_frames) -> (batch, n_harmonics, N_PITCH_BINS, n_frames)``; 0 beyond the band.
    """

    low: Tensor
    high: Tensor
    weight_low: Tensor
    weight_high: Tensor

    def __init__(self, harmonics: tuple[float, ...]) -> None:
        super().__init__()
        self.harmonics = harmonics
        hertz = np.outer(harmonics, pitch_frequencies()).ravel()
        position = hertz * N_FFT / ANALYSIS_SAMPLE_RATE
        inside = position < N_BINS - 1
        low = np.where(inside, np.floor(position), 0).astype(np.int64)
        part = np.where(inside, position - low, 0.0)
        for name, value in (("low", low), ("high", np.minimum(low + 1, N_BINS - 1))):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        for name, value in (("weight_low", (1 - part) * inside), ("weight_high", part * inside)):
            self.register_buffer(name, torch.from_numpy(value.astype(np.float32))[:, None], persistent=False)

    def forward(self, spectrogram: Tensor) -> Tensor:
        planes = spectrogram.index_select(1, self.low) * self.weight_low
        planes = planes + spectrogram.index_select(1, self.high) * self.weight_high
        return planes.reshape(spectrogram.shape[0], len(self.harmonics), N_PITCH_BINS, spectrogram.shape[-1])
