"""Measures of spectra and samples, a value a frame."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..constants import (
    ANALYSIS_SAMPLE_RATE,
    HOP_LENGTH,
    N_BINS,
    N_CONTRAST,
    N_FFT,
    N_PITCH_CANDIDATES,
    PITCH_BINS_PER_OCTAVE,
    PITCH_FMIN,
)
from ..spectra.k_weighting import k_weighting
from ..spectra.oversampling import band_matrix
from .types import ENVELOPE_HOP

_OVERSAMPLING, _TAPS = 4, 24
#: Hops of a frame to either side of its centre.
_HALF_HOPS = N_FFT // HOP_LENGTH // 2
#: Variance in Hz squared under which a spectrum is one line, without any shape.
LEAST_VARIANCE = 1.0


def spectral_shape(magnitude: Tensor, power: Tensor) -> dict[str, Tensor]:
    """Centroid, bandwidth, rolloff (85 %) in Hz, flatness, skewness and excess kurtosis of ``(..., N_BINS, frames)``.

    ``power`` is the square of ``magnitude``; 0 for all-zero frames, skewness and kurtosis also where one bin has all.
    Fastest where the bins of a frame are neighbours in memory, as in the transpose of ``(..., frames, N_BINS)``.
    """
    hertz = _bin_frequencies(str(magnitude.device))
    along = magnitude.transpose(-1, -2)
    # All sums in one product; in float64, so that the moments of a narrow spectrum survive the subtraction.
    total, first, second, third, fourth = (along.double() @ _powers_of_hertz(str(magnitude.device))).unbind(dim=-1)
    sounds = total > 0
    total = total.clamp_min(1e-30)
    centroid, second, third, fourth = (moment / total for moment in (first, second, third, fourth))
    variance = (second - centroid**2).clamp_min(0)
    spread = variance.sqrt()
    wide = variance > LEAST_VARIANCE
    safe = torch.where(wide, variance, torch.ones_like(variance))
    skewness = (third - 3 * centroid * second + 2 * centroid**3) / safe**1.5
    kurtosis = (fourth - 4 * centroid * third + 6 * centroid**2 * second - 3 * centroid**4) / safe**2 - 3
    skewness, kurtosis = (torch.where(wide, v, torch.zeros_like(v)).float() for v in (skewness, kurtosis))
    below = torch.searchsorted(along.cumsum(dim=-1), 0.85 * total.float()[..., None])[..., 0].clamp(max=N_BINS - 1)
    powers = power.transpose(-1, -2)
    flatness = powers.clamp_min(1e-20).log_().mean(dim=-1).exp_() / powers.mean(dim=-1).clamp_min(1e-20)
    centroid, spread = centroid.float(), spread.float()
    shape = {"centroid_hz": centroid, "bandwidth_hz": spread, "rolloff_hz": hertz[below]}
    shape |= {"flatness": flatness.clamp_max(1), "skewness": skewness, "kurtosis": kurtosis}
    return {k: torch.where(sounds, v, torch.zeros_like(v)) for k, v in shape.items()}


def spectral_contrast(magnitude: Tensor) -> Tensor:
    """(..., N_CONTRAST, frames) peak over valley in dB of octave bands from 200 Hz (Jiang et al. 2002; as librosa).

    Fastest where the bins of a frame are neighbours in memory, as for :func:`spectral_shape`.
    """
    bands = []
    for band, count in _contrast_bands():
        along = magnitude[..., band, :].transpose(-1, -2)
        if count == 1:
            peak, valley = along.amax(dim=-1), along.amin(dim=-1)
        else:
            highest, lowest = _extremes(along, count)
            peak, valley = highest.mean(dim=-1), lowest.mean(dim=-1)
        # Below the peak by 80 dB (160 of power) a valley is rounding; silence has no contrast.
        valley = torch.maximum(valley, 1e-8 * peak).clamp_min(1e-30)
        bands.append(10 * (peak.clamp_min(1e-30) / valley).log10())
    return torch.stack(bands, dim=-2)


@lru_cache(maxsize=1)
def _contrast_bands() -> tuple[tuple[slice, int], ...]:
    """Bins of each octave, and how many of them are its peak and its valley."""
    edges = [0.0] + [200.0 * 2**i for i in range(N_CONTRAST)]
    hertz = np.arange(N_BINS) * ANALYSIS_SAMPLE_RATE / N_FFT
    bands = []
    for k in range(N_CONTRAST):
        inside = np.flatnonzero((hertz >= edges[k]) & (hertz <= edges[k + 1]))
        first, last = int(inside[0]), int(inside[-1])
        first = max(first - 1, 0) if k > 0 else first
        last = N_BINS - 1 if k == N_CONTRAST - 1 else last - 1
        bands.append((slice(first, last + 1), max(1, round(0.02 * len(inside)))))
    return tuple(bands)


def _extremes(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest and lowest values along the last axis, in any order."""
    if values.device.type != "cpu":
        return values.topk(count, sorted=False).values, values.topk(count, largest=False, sorted=False).values
    # NumPy sorts with vector instructions: a third of the time of two selections by torch.
    ordered = torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return ordered[..., -count:], ordered[..., :count]


def pitch_candidates(salience: Tensor) -> tuple[Tensor, Tensor]:
    """Highest local maxima along pitch of ``(N_PITCH_BINS, frames)``.

    Returns ``(hz, salience)``, each (frames, N_PITCH_CANDIDATES), highest first; NaN and 0 where there are fewer. The
    frequency is the salience-weighted mean of the two bins on either side (in log frequency).
    """
    padded = torch.nn.functional.pad(salience, (0, 0, 2, 2))
    centre = padded[2:-2]
    is_peak = (centre > padded[1:-3]) & (centre >= padded[3:-1]) & (centre > 0.01)
    values, index = torch.where(is_peak, centre, torch.zeros_like(centre)).topk(N_PITCH_CANDIDATES, dim=0)
    around = torch.stack([padded.gather(0, index + 2 + d) for d in range(-2, 3)])
    offset = torch.arange(-2.0, 3.0, device=salience.device)[:, None, None]
    place = index + (around * offset).sum(dim=0) / around.sum(dim=0).clamp_min(1e-9)
    hertz = PITCH_FMIN * 2.0 ** (place / PITCH_BINS_PER_OCTAVE)
    hertz = torch.where(values > 0, hertz, torch.full_like(hertz, float("nan")))
    return hertz.T, values.T


@lru_cache(maxsize=4)
def _bin_frequencies(device: str) -> Tensor:
    return torch.arange(N_BINS, device=device) * (ANALYSIS_SAMPLE_RATE / N_FFT)


@lru_cache(maxsize=4)
def _powers_of_hertz(device: str) -> Tensor:
    """(N_BINS, 5) float64, from the zeroth power on."""
    return torch.stack([_bin_frequencies(device).double() ** k for k in range(5)], dim=-1)


@lru_cache(maxsize=4)
def k_weights(device: str) -> Tensor:
    from scipy.signal import sosfreqz

    hertz = np.arange(N_BINS) * ANALYSIS_SAMPLE_RATE / N_FFT
    _, response = sosfreqz(k_weighting(ANALYSIS_SAMPLE_RATE), worN=hertz, fs=ANALYSIS_SAMPLE_RATE)
    return torch.from_numpy((np.abs(response) ** 2).astype(np.float32)).to(device)


def oversampling_phases() -> np.ndarray:
    """(4, taps) polyphase low-pass that interpolates three values between samples (BS.1770-4 Annex 2).

    Value ``i`` of phase ``p`` is ``sum(phases[p, t] * x[i + t])``; phase 0 is ``x[i + taps / 2 - 1]`` itself.
    """
    n = _TAPS * _OVERSAMPLING
    t = np.arange(n + 1) - n / 2
    taps = np.sinc(t / _OVERSAMPLING) * np.kaiser(n + 1, 8.0)
    return np.stack([taps[p : p + n : _OVERSAMPLING][::-1] for p in range(_OVERSAMPLING)])


@lru_cache(maxsize=4)
def _between(device: str) -> Tensor:
    return torch.from_numpy(band_matrix(oversampling_phases()[1:]).astype(np.float32)).to(device)


def oversampled_peaks(signal: Tensor) -> Tensor:
    """``(channels, n + taps - 1)`` samples to the largest absolute value of the four phases, ``(channels, n)``."""
    channels, n = signal.shape[0], signal.shape[-1] - _TAPS + 1
    matrix = _between(str(signal.device))
    width = matrix.shape[0]
    outputs = width - _TAPS + 1
    blocks = -(-n // outputs)
    padded = torch.nn.functional.pad(signal, (0, (blocks - 1) * outputs + width - signal.shape[-1]))
    found = (padded.unfold(-1, width, outputs) @ matrix).abs_()
    peaks = found.view(channels, blocks, -1, outputs).amax(dim=2).reshape(channels, -1)[:, :n]
    return torch.maximum(peaks, signal[:, _TAPS // 2 - 1 :][:, :n].abs())


class WaveMeter:
    """Zero crossings and envelope of the waveforms, per channel, in a stream.

    Parameters
    ----------
    channels : int
        Number of channels.
    device : str
        Torch device.
    """

    def __init__(self, channels: int, device: str) -> None:
        self._pending = torch.zeros(channels, 0, device=device)
        self._negative = torch.zeros(channels, 1, dtype=torch.bool, device=device)
        #: Crossings of each hop, from those before the next frame on.
        self._crossings = torch.zeros(channels, _HALF_HOPS, device=device)
        self._n_hops = 0
        self._envelope = torch.zeros(channels, 0, device=device)
        self._n_given = 0

    def push(self, signal: Tensor) -> None:
        """Take further samples (channels, n)."""
        self._pending = torch.cat([self._pending, signal], dim=-1)
        count = self._pending.shape[-1] // HOP_LENGTH
        if count == 0:
            return
        whole, self._pending = self._pending.split([count * HOP_LENGTH, self._pending.shape[-1] % HOP_LENGTH], dim=-1)
        negative = torch.cat([self._negative, whole < 0], dim=-1)
        self._negative = negative[:, -1:]
        crosses = negative[:, 1:] != negative[:, :-1]
        channels = whole.shape[0]
        # Sums of floats are several times faster than of truth values.
        hops = crosses.view(channels, count, HOP_LENGTH).float().sum(dim=-1)
        self._crossings = torch.cat([self._crossings, hops], dim=-1)
        self._n_hops += count
        blocks = whole.reshape(channels, -1, ENVELOPE_HOP)
        self._envelope = torch.cat([self._envelope, torch.maximum(blocks.amax(dim=-1), -blocks.amin(dim=-1))], dim=-1)

    def take(self) -> tuple[Tensor, Tensor]:
        """What is complete and was not taken before, as of :meth:`finish`."""
        rate, envelope = self._crossings[:, :0], self._envelope
        if self._crossings.shape[-1] >= 2 * _HALF_HOPS:
            rate = self._crossings.unfold(-1, 2 * _HALF_HOPS, 1).sum(dim=-1) / N_FFT
            self._crossings = self._crossings[:, 1 - 2 * _HALF_HOPS :]
        self._envelope = envelope[:, :0]
        self._n_given += envelope.shape[-1]
        return rate, envelope

    def finish(self, n_frames: int) -> tuple[Tensor, Tensor]:
        """What was measured and not taken.

        Parameters
        ----------
        n_frames : int
            Of the track.

        Returns
        -------
        zero_crossing_rate : Tensor
            (channels, n_frames) crossings a sample of the N_FFT samples around each frame centre, zeros outside.
        envelope : Tensor
            (channels, n_frames * HOP_LENGTH / ENVELOPE_HOP) largest absolute value of consecutive samples.
        """
        self.push(torch.zeros(self._pending.shape[0], HOP_LENGTH, device=self._pending.device))
        # Behind the hop of the last frame there is silence.
        missing = n_frames - self._n_hops
        hops = self._crossings[:, : self._crossings.shape[-1] + min(missing, 0)]
        self._crossings = torch.nn.functional.pad(hops, (0, max(missing, 0) + _HALF_HOPS - 1))
        missing = n_frames * HOP_LENGTH // ENVELOPE_HOP - self._n_given - self._envelope.shape[-1]
        self._envelope = torch.nn.functional.pad(self._envelope, (0, missing))
        return self.take()


class PeakMeter:
    """Largest oversampled absolute value in the hop around each frame centre, per channel, in a stream."""

    def __init__(self, channels: int, device: str) -> None:
        self._history = torch.zeros(channels, _TAPS // 2, device=device)
        self._pending = torch.zeros(channels, HOP_LENGTH // 2, device=device)
        self._n_given = 0

    def push(self, signal: Tensor) -> None:
        """Take further samples (channels, n)."""
        if signal.shape[-1] == 0:
            return
        extended = torch.cat([self._history, signal], dim=-1)
        keep = _TAPS - 1
        if extended.shape[-1] >= _TAPS:
            self._pending = torch.cat([self._pending, oversampled_peaks(extended)], dim=-1)
        self._history = extended[:, max(0, extended.shape[-1] - keep) :]

    def take(self) -> Tensor:
        """(channels, n) of the frames that are complete and were not taken before."""
        return self._take(self._pending.shape[-1] // HOP_LENGTH)

    def finish(self, n_frames: int) -> Tensor:
        """(channels, n) of the frames of ``n_frames`` that were not taken before."""
        self.push(torch.zeros(self._history.shape[0], _TAPS, device=self._history.device))
        count = n_frames - self._n_given
        need = max(0, count * HOP_LENGTH - self._pending.shape[-1])
        self._pending = torch.nn.functional.pad(self._pending, (0, need))
        return self._take(count)

    def _take(self, count: int) -> Tensor:
        hops, self._pending = self._pending[:, : count * HOP_LENGTH], self._pending[:, count * HOP_LENGTH :]
        self._n_given += count
        return hops.reshape(hops.shape[0], count, HOP_LENGTH).amax(dim=-1)
