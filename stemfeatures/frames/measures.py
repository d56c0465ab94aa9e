"""Measures of spectra and samples, a value a frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called
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
from ..spectra.oversampling import Interpolator
from ..spectra.planes import turned
from .types import ENVELOPE_HOP

_OVERSAMPLING, _TAPS = 4, 24
#: Hops of a frame to either side of its centre.
_HALF_HOPS = N_FFT // HOP_LENGTH // 2
#: Variance in Hz squared under which a spectrum is one line, without any shape.
LEAST_VARIANCE = 1.0
#: Bins whose moments are summed in single precision.
_CELL = 16
#: Above, resampling to ANALYSIS_SAMPLE_RATE lets the level fall to that of rounding, which is no valley of the music.
CONTRAST_MAX_HZ = 10_000.0


def spectral_shape(magnitude: Tensor, power: Tensor) -> dict[str, Tensor]:
    """Centroid, bandwidth, rolloff (85 %) in Hz, flatness, skewness and excess kurtosis of ``(..., N_BINS, frames)``.

    ``power`` is the square of ``magnitude``; 0 for all-zero frames, skewness and kurtosis also where one bin has all.
    Fastest where the bins of a frame are neighbours in memory, as in the transpose of ``(..., frames, N_BINS)``.
    """
    along = magnitude.transpose(-1, -2)
    if along.device.type != "cpu":
        return _shape_by_torch(along, power)
    shape = _shape(np.ascontiguousarray(along.reshape(-1, N_BINS).numpy()), ANALYSIS_SAMPLE_RATE / N_FFT)
    return _named(torch.from_numpy(shape).view(-1, *along.shape[:-1]).unbind())


def _named(shape: Sequence[Tensor]) -> dict[str, Tensor]:
    return dict(zip(("centroid_hz", "bandwidth_hz", "rolloff_hz", "flatness", "skewness", "kurtosis"), shape))


def _shape_by_torch(along: Tensor, power: Tensor) -> dict[str, Tensor]:
    local, moved = _cell_moments(str(along.device))
    cells = (along.reshape(*along.shape[:-1], -1, _CELL) @ local).double()
    # Moments of a cell are small numbers; together in float64, so that those of a narrow spectrum survive subtraction.
    total, first, second, third, fourth = (cells.flatten(-2) @ moved).unbind(dim=-1)
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
    floored = along.clamp_min(1e-10)
    # Half as many logarithms of products of two.
    pairs = floored[..., : N_BINS // 2].mul_(floored[..., N_BINS // 2 :]).log_()
    flatness = pairs.mean(dim=-1).exp_() / power.transpose(-1, -2).mean(dim=-1).clamp_min(1e-20)
    rolloff = _rolloff_bins(along, cells[..., 0], 0.85 * total) * (ANALYSIS_SAMPLE_RATE / N_FFT)
    shape = (centroid.float(), spread.float(), rolloff.float(), flatness.clamp_max(1), skewness, kurtosis)
    return _named([torch.where(sounds, v, torch.zeros_like(v)) for v in shape])


@compiled_when_called(fastmath=True)
def _shape(along: np.ndarray, bin_hz: float) -> np.ndarray:  # pragma: no cover - compiled
    """(6, n) what :func:`_named` names, of (n, n_bins) magnitudes."""
    n_bins = along.shape[1]
    found, cells = np.zeros((6, len(along)), np.float32), np.empty(n_bins // _CELL)
    for row in range(len(along)):
        x = along[row]
        total = first = second = third = fourth = power = 0.0
        for k in range(n_bins):
            value, place = float(x[k]), float(k)
            total += value
            first += value * place
            second += value * place * place
            third += value * place * place * place
            fourth += value * place * place * (place * place)
            power += value * value
        if total <= 0:
            continue
        logarithm = 0.0
        for cell in range(len(cells)):
            inside, product = 0.0, 1.0  # of 16 magnitudes from 1e-10 on, in range of double precision
            for i in range(_CELL):
                value = float(x[cell * _CELL + i])
                inside += value
                product *= max(value, 1e-10)
            cells[cell] = inside
            logarithm += np.log(product)
        centroid, second, third, fourth = first / total, second / total, third / total, fourth / total
        variance = max(second - centroid**2, 0.0)
        found[0, row], found[1, row] = bin_hz * centroid, bin_hz * np.sqrt(variance)
        cell, reached = 0, 0.0  # the first bin up to which the sum is 85 %
        while cell < len(cells) - 1 and reached + cells[cell] < 0.85 * total:
            reached += cells[cell]
            cell += 1
        rolloff = cell * _CELL
        reached += x[rolloff]
        while rolloff < cell * _CELL + _CELL - 1 and reached < 0.85 * total:
            rolloff += 1
            reached += x[rolloff]
        found[2, row] = bin_hz * rolloff
        found[3, row] = min(np.exp(2 * logarithm / n_bins) / max(power / n_bins, 1e-20), 1.0)
        if variance * bin_hz**2 > LEAST_VARIANCE:
            found[4, row] = (third - 3 * centroid * second + 2 * centroid**3) / variance**1.5
            moment = fourth - 4 * centroid * third + 6 * centroid**2 * second - 3 * centroid**4
            found[5, row] = moment / variance**2 - 3
    return found


def _rolloff_bins(along: Tensor, cells: Tensor, least: Tensor) -> Tensor:
    """First bin up to which the sum of ``(..., N_BINS)`` reaches a value, from the sums of cells of it."""
    sums = cells.cumsum(dim=-1)
    cell = (sums < least[..., None]).sum(dim=-1, keepdim=True).clamp_max(cells.shape[-1] - 1)
    inside = along.reshape(*cells.shape, _CELL).gather(-2, cell[..., None].expand(*cell.shape, _CELL))[..., 0, :]
    before = (sums - cells).gather(-1, cell)
    bins = (before + inside.double().cumsum(dim=-1) < least[..., None]).sum(dim=-1)
    return _CELL * cell[..., 0] + bins.clamp_max(_CELL - 1)


def spectral_contrast(magnitude: Tensor) -> Tensor:
    """(..., N_CONTRAST, frames) peak over valley in dB of octave bands from 200 Hz (Jiang et al. 2002; as librosa).

    The last band ends at :data:`CONTRAST_MAX_HZ`, where librosa's reaches to the Nyquist frequency.

    Fastest where the bins of a frame are neighbours in memory, as for :func:`spectral_shape`.
    """
    peaks, valleys = [], []
    for band, count in _contrast_bands():
        along = magnitude[..., band, :].transpose(-1, -2)
        if count == 1:
            peaks.append(along.amax(dim=-1))
            valleys.append(along.amin(dim=-1))
        else:
            highest, lowest = _extremes(along, count)
            peaks.append(highest.mean(dim=-1))
            valleys.append(lowest.mean(dim=-1))
    peak = torch.stack(peaks, dim=-2)
    # Below the peak by 80 dB (160 of power) a valley is rounding; silence has no contrast.
    valley = torch.maximum(torch.stack(valleys, dim=-2), 1e-8 * peak).clamp_min(1e-30)
    return 10 * (peak.clamp_min(1e-30) / valley).log10()


@lru_cache(maxsize=1)
def _contrast_bands() -> tuple[tuple[slice, int], ...]:
    """Bins of each octave, and how many of them are its peak and its valley."""
    edges = [0.0, *(200.0 * 2**i for i in range(N_CONTRAST - 1)), CONTRAST_MAX_HZ]
    hertz = np.arange(N_BINS) * ANALYSIS_SAMPLE_RATE / N_FFT
    bands = []
    for k in range(N_CONTRAST):
        inside = np.flatnonzero((hertz >= edges[k]) & (hertz <= edges[k + 1]))
        first, last = int(inside[0]), int(inside[-1])
        first = max(first - 1, 0) if k > 0 else first
        last = last if k == N_CONTRAST - 1 else last - 1
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
    if salience.device.type == "cpu":
        along = turned(salience[None])[0]
        found = along.new_zeros(2, len(along), N_PITCH_CANDIDATES)
        _candidates(torch.nn.functional.pad(along, (2, 2)).numpy(), *found.numpy())
        return found[0], found[1]
    return _candidates_by_torch(salience)


def _candidates_by_torch(salience: Tensor) -> tuple[Tensor, Tensor]:
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


@compiled_when_called()
def _candidates(padded: np.ndarray, hertz: np.ndarray, highest: np.ndarray) -> None:  # pragma: no cover - compiled
    """The same of (n, N_PITCH_BINS + 4) with two zeros at each end, into (n, N_PITCH_CANDIDATES) zeros."""
    count = highest.shape[1]
    bins = np.empty(count, np.int64)
    for row in range(len(padded)):
        x, values = padded[row], highest[row]
        for k in range(2, len(x) - 2):
            if x[k] > np.float32(0.01) and x[k] > x[k - 1] and x[k] >= x[k + 1] and x[k] > values[count - 1]:
                place = count - 1
                while place > 0 and x[k] > values[place - 1]:
                    values[place], bins[place] = values[place - 1], bins[place - 1]
                    place -= 1
                values[place], bins[place] = x[k], k
        for i in range(count):
            if values[i] > 0:
                weight = moment = 0.0
                for d in range(-2, 3):
                    weight += x[bins[i] + d]
                    moment += x[bins[i] + d] * d
                centre = bins[i] - 2 + moment / weight
                hertz[row, i] = PITCH_FMIN * 2.0 ** (centre / PITCH_BINS_PER_OCTAVE)
            else:
                hertz[row, i] = np.nan


@lru_cache(maxsize=4)
def _cell_moments(device: str) -> tuple[Tensor, Tensor]:
    """Powers 0 to 4 of the bins of a cell around its middle, and from those sums of all cells to moments in Hz.

    ``(_CELL, 5)`` float32 and ``(5 * N_BINS / _CELL, 5)`` float64.
    """
    powers = np.arange(5)
    local = (np.arange(_CELL)[:, None] - (_CELL - 1) / 2) ** powers
    middle = np.arange(N_BINS // _CELL) * _CELL + (_CELL - 1) / 2
    # (middle + x) ** k is the sum over j of comb(k, j) * middle ** (k - j) * x ** j.
    binomial = np.array([[comb(k, j) for k in powers] for j in powers], np.float64)
    apart = np.maximum(powers - powers[:, None], 0)
    moved = binomial * middle[:, None, None] ** apart * (ANALYSIS_SAMPLE_RATE / N_FFT) ** powers
    return torch.from_numpy(local.astype(np.float32)).to(device), torch.from_numpy(moved.reshape(-1, 5)).to(device)


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


@lru_cache(maxsize=1)
def _between() -> Interpolator:
    return Interpolator(oversampling_phases()[1:], np.float32)


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
        # Eight truth values at a time: those of a hop in one place of the words are fewer than a byte can count.
        words = crosses.view(torch.int64).view(channels, count, -1).sum(dim=-1)
        hops = words.view(torch.uint8).view(channels, count, 8).float().sum(dim=-1)
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
    """Largest absolute value of the four times oversampled waveforms, per channel, in a stream.

    Parameters
    ----------
    channels : int
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        self._history = np.zeros((channels, _TAPS // 2), np.float32)
        self._peaks = np.zeros(channels)

    def push(self, signal: np.ndarray) -> None:
        """Take further samples (channels, n)."""
        if signal.shape[1] == 0:
            return
        extended = np.concatenate([self._history, signal], axis=1)
        for k, row in enumerate(extended):
            sampled = max(float(self._peaks[k]), float(signal[k].max()), -float(signal[k].min()))
            self._peaks[k] = _between().largest(row[None], least=sampled)
        self._history = extended[:, max(0, extended.shape[1] - _TAPS + 1) :].copy()

    def finish(self) -> np.ndarray:
        """(channels,) of all samples; there are no more."""
        self.push(np.zeros((len(self._history), _TAPS), np.float32))
        return self._peaks
