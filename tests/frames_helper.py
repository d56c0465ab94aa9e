"""True frames of given stem waveforms, computed with numpy, scipy and librosa: an oracle without any network."""

from __future__ import annotations

import librosa
import numpy as np
from scipy.signal import find_peaks, resample_poly, sosfilt

from stemfeatures.constants import (
    ANALYSIS_SAMPLE_RATE,
    BARK_EDGES_HZ,
    HOP_LENGTH,
    N_BINS,
    N_CHROMA,
    N_FFT,
    N_MELS,
    N_PITCH_CANDIDATES,
    PITCHED_STEMS,
    STEMS,
)
from stemfeatures.frames import PitchFrames, StemFrames, TrackFrames
from stemfeatures.spectra.k_weighting import k_weighting

SR = ANALYSIS_SAMPLE_RATE
FRAME_RATE = SR / HOP_LENGTH


def n_frames_of(n_samples: int) -> int:
    return 1 + n_samples // HOP_LENGTH


def _windows(y: np.ndarray) -> np.ndarray:
    """(n_frames, N_FFT) samples around each frame centre."""
    need = (n_frames_of(len(y)) - 1) * HOP_LENGTH + N_FFT
    padded = np.zeros(max(need, len(y) + N_FFT), dtype=np.float64)
    padded[N_FFT // 2 : N_FFT // 2 + len(y)] = y
    return np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_LENGTH][: n_frames_of(len(y))]


def _mean_square(y: np.ndarray) -> np.ndarray:
    weight = np.square(librosa.filters.get_window("hann", N_FFT))
    return np.square(_windows(y)) @ (weight / weight.sum())


def _dissonance(magnitude: np.ndarray) -> float:
    """Sum over pairs of the 32 highest peaks of (1024,) magnitudes (Sethares 1993), over that of their squares."""
    at = find_peaks(magnitude)[0]
    at = at[np.argsort(-magnitude[at])][:32]
    at = at[magnitude[at] > magnitude[at[:1]] * 10 ** (-50 / 20)]
    total, heights = 0.0, []
    for k in at:
        curve = np.polyfit([-1, 0, 1], np.log(np.maximum(magnitude[k - 1 : k + 2], 1e-20)), 2)
        top = np.clip(-curve[1] / 2 / curve[0], -0.5, 0.5)
        heights.append((k + top, np.exp(np.polyval(curve, top))))
    for i, (one, a) in enumerate(heights):
        for other, b in heights[:i]:
            band = 0.0207 * min(one, other) * SR / N_FFT + 18.96
            apart = 0.24 * abs(one - other) * SR / N_FFT / band
            total += a * b * (np.exp(-3.51 * apart) - np.exp(-5.75 * apart)) / 0.17976
    return total / max(sum(a * a for _, a in heights), 1e-20)


def _bin_rise(power: np.ndarray) -> np.ndarray:
    """(n_frames,) mean rise in bel over five neighbours a frame before, 50 dB below the loudest bin being nothing."""
    before = np.pad(power, ((0, 0), (1, 0)))[:, :-1]
    floor = np.maximum(1e-5 * np.maximum(power.max(axis=0), before.max(axis=0)), 1e-20)
    around = np.max([np.pad(before, ((2, 2), (0, 0)))[k : k + len(power)] for k in range(5)], axis=0)
    return np.maximum(np.log10((power + floor) / (around + floor)), 0).mean(axis=0)


def stem_frames(y: np.ndarray, *, embedding: np.ndarray | None = None) -> StemFrames:
    """All fields of StemFrames for a mono 22,050 Hz waveform of any length from one sample."""
    y = np.asarray(y, dtype=np.float64)
    spectrum = np.abs(np.fft.rfft(_windows(y) * librosa.filters.get_window("hann", N_FFT), axis=1)).T
    magnitude = spectrum[:N_BINS]
    power = np.square(magnitude)
    hz = np.arange(N_BINS) * SR / N_FFT
    total = magnitude.sum(axis=0)
    sounds = total > 0
    share = magnitude / np.where(sounds, total, 1.0)
    centroid = hz @ share
    bandwidth = np.sqrt((np.square(hz[:, None] - centroid) * share).sum(axis=0))
    rolloff = np.where(sounds, hz[(np.cumsum(share, axis=0) < 0.85).sum(axis=0).clip(0, N_BINS - 1)], 0.0)
    safe = np.maximum(power, 1e-20)
    flatness = np.where(sounds, np.exp(np.log(safe).mean(axis=0)) / safe.mean(axis=0), 0.0)
    mel = librosa.filters.mel(sr=SR, n_fft=N_FFT, n_mels=N_MELS) @ np.square(spectrum)
    chroma_basis = librosa.filters.chroma(sr=SR, n_fft=N_FFT, n_chroma=N_CHROMA, norm=1)[:, :N_BINS]
    up = np.abs(resample_poly(y, 4, 1)) if len(y) else np.zeros(0)
    n = n_frames_of(len(y))
    f32 = np.float32
    central = (hz[:, None] - centroid) / np.where(bandwidth > 1, bandwidth, np.inf)
    crosses = np.diff(y < 0, prepend=False).astype(np.float64)
    blocks = np.pad(np.abs(y), (0, n * HOP_LENGTH))[: n * HOP_LENGTH]
    edges = np.digitize(hz, BARK_EDGES_HZ[1:-1])
    return StemFrames(
        mel=mel.astype(f32),
        chroma=(chroma_basis @ power).astype(f32),
        contrast=librosa.feature.spectral_contrast(S=np.maximum(spectrum, 1e-10), sr=SR, n_fft=N_FFT).astype(f32),
        energy=_mean_square(y).astype(f32),
        k_power=_mean_square(sosfilt(k_weighting(SR), y)).astype(f32),
        peak=float(up.max(initial=0.0)),
        centroid_hz=centroid.astype(f32),
        bandwidth_hz=bandwidth.astype(f32),
        rolloff_hz=rolloff.astype(f32),
        flatness=flatness.astype(f32),
        embedding=embedding,
        bark=np.stack([power[edges == k].sum(axis=0) for k in range(len(BARK_EDGES_HZ) - 1)]).astype(f32),
        skewness=(central**3 * share).sum(axis=0).astype(f32),
        kurtosis=np.where(bandwidth > 1, (central**4 * share).sum(axis=0) - 3, 0).astype(f32),
        zero_crossing_rate=_windows(crosses).mean(axis=1).astype(f32),
        envelope=blocks.reshape(-1, 128).max(axis=1).astype(f32),
        dissonance=np.array([_dissonance(frame) for frame in magnitude.T[::8]], f32),
        bin_rise=_bin_rise(power[:512]).astype(f32),
    )


def pitch_frames(
    f0_hz: np.ndarray, *, rng: np.random.Generator | None = None, voicing: float = 0.95, distractor: float = 0.5
) -> PitchFrames:
    """Candidates around a true contour (NaN = unvoiced): the pitch itself, its octaves, and two random ones.

    With ``rng`` one frame in eight has a distractor an octave off with a higher salience than the truth.
    """
    f0 = np.asarray(f0_hz, dtype=np.float64)
    n = len(f0)
    rng = rng or np.random.default_rng(0)
    voiced = np.isfinite(f0)
    safe = np.where(voiced, f0, 100.0)
    hz = np.stack([safe, 2 * safe, safe / 2, *rng.uniform(60, 900, (2, n))], axis=1)
    salience = np.tile([0.8, distractor, distractor * 0.8, 0.2, 0.1], (n, 1))
    fooled = rng.random(n) < 0.125
    salience[fooled, 1] = 0.9
    salience[~voiced] *= 0.2
    order = np.argsort(-salience, axis=1)
    hz, salience = np.take_along_axis(hz, order, 1), np.take_along_axis(salience, order, 1)
    assert hz.shape == (n, N_PITCH_CANDIDATES)
    return PitchFrames(
        candidates_hz=hz.astype(np.float32),
        salience=salience.astype(np.float32),
        voicing=np.where(voiced, voicing, 0.05).astype(np.float32),
    )


def no_pitch(n_frames: int) -> PitchFrames:
    return PitchFrames(
        candidates_hz=np.full((n_frames, N_PITCH_CANDIDATES), np.nan, np.float32),
        salience=np.zeros((n_frames, N_PITCH_CANDIDATES), np.float32),
        voicing=np.zeros(n_frames, np.float32),
    )


def pulses(times_s: np.ndarray, n_frames: int, *, height: float | np.ndarray = 0.9, width: float = 0.7) -> np.ndarray:
    """(n_frames,) activation with a bell of ``width`` frames at each time."""
    at = np.asarray(times_s, dtype=np.float64)[:, None] * FRAME_RATE
    bells = np.broadcast_to(height, (len(at),))[:, None] * np.exp(-0.5 * ((np.arange(n_frames) - at) / width) ** 2)
    return bells.max(axis=0, initial=0.0).astype(np.float32)


def track_frames(
    stems: dict[str, np.ndarray],
    *,
    f0_hz: dict[str, np.ndarray] | None = None,
    pitch: dict[str, PitchFrames] | None = None,
    onset: np.ndarray | None = None,
    beat: np.ndarray | None = None,
    downbeat: np.ndarray | None = None,
    embedding: np.ndarray | None = None,
    **kwargs: object,
) -> TrackFrames:
    """TrackFrames of stem waveforms of equal length; stems not given are silent, the mixture is their sum."""
    n_samples = len(next(iter(stems.values())))
    n = n_frames_of(n_samples)
    waves = {name: np.asarray(stems.get(name, np.zeros(n_samples))) for name in STEMS}
    frames = {"mixture": stem_frames(np.sum(list(waves.values()), axis=0), embedding=embedding)}
    silence = stem_frames(np.zeros(n_samples))
    for name, y in waves.items():
        frames[name] = stem_frames(y, embedding=embedding) if y.any() else silence
    given = dict(pitch or {})
    given.update({name: pitch_frames(hz) for name, hz in (f0_hz or {}).items()})
    zeros = np.zeros(n, np.float32)
    return TrackFrames(
        n_samples=n_samples,
        stems=frames,
        pitch={name: given.get(name, no_pitch(n)) for name in PITCHED_STEMS},
        onset=zeros if onset is None else onset,
        beat=zeros if beat is None else beat,
        downbeat=zeros if downbeat is None else downbeat,
        **kwargs,  # type: ignore[arg-type]
    )
