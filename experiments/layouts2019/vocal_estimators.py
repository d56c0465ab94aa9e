"""A network of :mod:`experiments.layouts2019.networks` as an estimator that the package's evaluation scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d
from torch import Tensor

from experiments.layouts2019.networks import LayoutNet
from stemfeatures.audio import resample, to_mono
from stemfeatures.constants import (
    ANALYSIS_SAMPLE_RATE,
    HOP_LENGTH,
    N_BINS,
    N_PITCH_BINS,
    PITCH_BINS_PER_OCTAVE,
    PITCH_FMIN,
)
from stemfeatures.evaluation.base import BaseEstimator
from stemfeatures.separation.patches import Patches
from stemfeatures.spectra.filters import pitch_frequencies
from stemfeatures.spectra.transform import istft, stft

#: Half a semitone, as in the melody metrics, in bins; and its place on the Gaussian bumps of the targets.
TOLERANCE_BINS = 2.5
_WITHIN = float(np.exp(-0.5 * TOLERANCE_BINS**2))
#: Bins either side of the strongest one that its frequency is read from.
_AROUND = 4


class LayoutEstimator(BaseEstimator):
    """Separates on the analysis grid with the mixture's phase: vocals end at 11,025 Hz, accompaniment is the rest of
    the mixture. The F0 of a frame is where the salience is largest, voiced from ``threshold`` on; several F0 are its
    peaks from ``several_threshold`` on."""

    def __init__(
        self, net: LayoutNet, *, threshold: float = 0.5, several_threshold: float = 0.5, n_frames: int = 128
    ) -> None:
        self.net, self.name, self.n_frames = net.eval(), net.config.layout, n_frames
        self.threshold, self.several_threshold = threshold, several_threshold
        self._last: tuple[np.ndarray, Tensor | None, Tensor | None] | None = None

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        mask = self._analyse(y, sample_rate)[0]
        if mask is None:
            raise NotImplementedError(f"{self.name} does not separate")
        signal = torch.from_numpy(resample(y, sample_rate, ANALYSIS_SAMPLE_RATE))
        spectrum = stft(signal)
        spectrum[..., :N_BINS, :] *= mask
        spectrum[..., N_BINS, :] *= mask[-1]
        low = resample(istft(spectrum, signal.shape[-1]).numpy(), ANALYSIS_SAMPLE_RATE, sample_rate)
        vocals = np.zeros_like(y, np.float32)
        n_samples = min(low.shape[-1], y.shape[-1])
        vocals[..., :n_samples] = low[..., :n_samples]
        return {"vocals": vocals, "accompaniment": (y - vocals).astype(np.float32)}

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        f0_hz, strength = strongest(self._salience(y, sample_rate))
        return _times_s(len(f0_hz)), np.where(strength >= self.threshold, f0_hz, -f0_hz)

    def multi_f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, list[np.ndarray]]:
        found = peaks(self._salience(y, sample_rate), self.several_threshold)
        frequencies = pitch_frequencies()
        return _times_s(found.shape[1]), [frequencies[frame] for frame in found.T]

    def _salience(self, y: np.ndarray, sample_rate: int) -> np.ndarray:
        """(N_PITCH_BINS, n_frames), 0..1."""
        salience = self._analyse(y, sample_rate)[1]
        if salience is None:
            raise NotImplementedError(f"{self.name} does not estimate F0")
        return torch.sigmoid(salience).numpy()

    @torch.inference_mode()
    def _analyse(self, y: np.ndarray, sample_rate: int) -> tuple[Tensor | None, Tensor | None]:
        """Mask (N_BINS, n_frames) and salience logits (N_PITCH_BINS, n_frames); once for both tasks of one array."""
        if self._last is None or self._last[0] is not y:
            mono = torch.from_numpy(resample(to_mono(y), sample_rate, ANALYSIS_SAMPLE_RATE))
            found = Patches(self._patch, n_frames=self.n_frames).all(stft(mono)[:N_BINS].abs())
            mask = found[:N_BINS] if "separation" in self.net.tasks else None
            salience = found[-N_PITCH_BINS:] if "f0" in self.net.tasks else None
            self._last = y, mask, salience
        return self._last[1:]

    def _patch(self, magnitude: Tensor) -> Tensor:
        output = self.net(magnitude)
        return torch.cat([plane for plane in (output.mask, output.salience) if plane is not None], dim=1)


def _times_s(n_frames: int) -> np.ndarray:
    return np.arange(n_frames) * (HOP_LENGTH / ANALYSIS_SAMPLE_RATE)


def peaks(salience: np.ndarray, threshold: float) -> np.ndarray:
    """Where ``(N_PITCH_BINS, n_frames)`` is largest within half a semitone and no less than ``threshold``."""
    highest = maximum_filter1d(salience, 2 * int(TOLERANCE_BINS) + 1, axis=0, mode="constant")
    return (salience >= highest) & (salience >= threshold)


def strongest(salience: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hz and strength (n_frames,) of the largest salience of every frame of ``(N_PITCH_BINS, n_frames)``.

    The frequency is the mean over the bins around it, weighted by salience.
    """
    best = salience.argmax(axis=0)
    frames = np.arange(salience.shape[1])
    around = np.clip(best + np.arange(-_AROUND, _AROUND + 1)[:, None], 0, len(salience) - 1)
    weight = salience[around, frames]
    place = (weight * around).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-12)
    return PITCH_FMIN * 2.0 ** (place / PITCH_BINS_PER_OCTAVE), salience[best, frames]


def best_threshold(salience: Iterable[np.ndarray], target: Iterable[np.ndarray], known: Iterable[np.ndarray]) -> float:
    """The voicing threshold with the best overall accuracy on examples; 0.5 if nothing is known of any.

    Parameters
    ----------
    salience, target : (N_PITCH_BINS, n_frames) an example, 0..1. known : (n_frames,), 1 where the target is.
    """
    strengths, right, voiced = [], [], []
    for found, true, sure in zip(salience, target, known, strict=True):
        keep = np.asarray(sure) > 0
        best = found.argmax(axis=0)
        strengths.append(found.max(axis=0)[keep])
        right.append((true[best, np.arange(len(best))] >= _WITHIN)[keep])
        voiced.append((true.max(axis=0) > 0.5)[keep])
    strength, hit, sung = (np.concatenate(parts) if parts else np.zeros(0) for parts in (strengths, right, voiced))
    if not len(strength):
        return 0.5
    thresholds = np.linspace(0.02, 0.98, 49)
    accuracy = [np.mean(np.where(strength >= t, hit.astype(bool) & sung.astype(bool), ~sung.astype(bool)))
                for t in thresholds]  # fmt: skip
    return float(thresholds[int(np.argmax(accuracy))])


def best_several_threshold(
    salience: Sequence[np.ndarray], target: Sequence[np.ndarray], known: Sequence[np.ndarray]
) -> float:
    """The threshold of peaks with the best accuracy (hits to the sum of hits, false alarms and misses) on examples, as
    they are for :func:`best_threshold`; 0.5 if nothing is known of any."""
    thresholds = np.linspace(0.02, 0.98, 49)
    hits, found, true = np.zeros(len(thresholds)), np.zeros(len(thresholds)), 0.0
    for estimated, wanted, sure in zip(salience, target, known, strict=True):
        keep = np.asarray(sure) > 0
        right = wanted[:, keep] >= _WITHIN
        true += peaks(wanted[:, keep], 0.5).sum()
        strength = np.where(peaks(estimated[:, keep], thresholds[0]), estimated[:, keep], 0.0)
        for i, threshold in enumerate(thresholds):
            above = strength >= threshold
            hits[i] += (above & right).sum()
            found[i] += above.sum()
    if not true:
        return 0.5
    # Two peaks at one pitch would both count as hits, but they are further apart than that.
    return float(thresholds[int(np.argmax(hits / np.maximum(found + true - hits, 1)))])
