"""Real singing in generated songs: recordings moved to the song's key, tempo and place.

:func:`place_recording` changes pitch and length either with WORLD, which synthesises the F0 that it reports, or by
resampling, which leaves the sound as it is and reports what pYIN (Mauch & Dixon, ICASSP 2014) measured.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..._util.numba_cache import import_librosa
from ...errors import AudioError
from .voice import Sung
from .voicebank import PERIOD_S, SAMPLE_RATE, require_pyworld

_KEY = re.compile(r"(?<![A-Za-z])([A-Ga-g])(b|#|sharp|flat)?[- _]?(major|minor|maj|min|m)(?![a-z])", re.IGNORECASE)
_BPM = re.compile(r"(?<!\d)(\d{2,3})[- _]?bpm", re.IGNORECASE)
_TONIC = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


@dataclass(frozen=True)
class Recording:
    """A recorded phrase, mono. ``tonic`` (0 = C), ``minor`` and ``bpm`` are None where they are not known."""

    samples: np.ndarray
    sample_rate: int
    tonic: int | None = None
    minor: bool | None = None
    bpm: float | None = None

    @classmethod
    def read(cls, path: str | Path) -> Recording:
        """A file, with the key and tempo that its name tells (``…-Eb-Major-…``, ``…-125-BPM-…``)."""
        from ...audio import load

        samples, rate = load(path, mono=True)
        name = Path(path).stem
        key, bpm = _KEY.search(name), _BPM.search(name)
        tonic = minor = None
        if key:
            shift = {"b": -1, "flat": -1, "#": 1, "sharp": 1}.get((key[2] or "").lower(), 0)
            tonic, minor = (_TONIC[key[1].lower()] + shift) % 12, key[3].lower() in ("minor", "min", "m")
        return cls(np.asarray(samples, np.float32), rate, tonic, minor, float(bpm[1]) if bpm else None)

    def fit(self, *, tonic: int, minor: bool, bpm: float) -> tuple[float, float]:
        """``(semitones, stretch)`` that bring it into a key and tempo; half and double time count as in tempo.

        A minor phrase in a major song goes to the relative minor, and the other way round. Unknown key or tempo: no
        change.
        """
        semitones = 0
        if self.tonic is not None:
            relative = 0 if self.minor == minor else (-3 if self.minor else 3)
            semitones = (tonic + relative - self.tonic + 6) % 12 - 6
        stretch = 1.0
        if self.bpm is not None:
            ratios = [self.bpm * factor / bpm for factor in (0.5, 1.0, 2.0)]
            stretch = min(ratios, key=lambda ratio: abs(np.log(ratio)))
        return float(semitones), stretch


def measure_f0(y: np.ndarray, sample_rate: int, *, fmin: float = 65.0, fmax: float = 1100.0) -> np.ndarray:
    """F0 of a solo voice every 5 ms by pYIN, (1 + len // hop,) Hz, 0 = unvoiced or 45 dB below the loudest frames."""
    import soxr

    librosa = import_librosa()
    rate = 22_050
    low = soxr.resample(np.asarray(y, np.float32), sample_rate, rate)
    frame, hop = 2048, 256
    low = np.pad(low, (0, max(frame - len(low), 0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f0, voiced, _ = librosa.pyin(
            low, sr=rate, fmin=fmin, fmax=fmax, frame_length=frame, hop_length=hop, resolution=0.2
        )
    level = librosa.feature.rms(y=low, frame_length=frame, hop_length=hop)[0][: len(f0)]
    voiced = voiced & np.isfinite(f0) & (level > 0.0056 * max(np.percentile(level, 98), 1e-9))
    times = np.arange(1 + int(len(y) / sample_rate / PERIOD_S)) * PERIOD_S
    if not voiced.any():
        return np.zeros(len(times))
    at = np.arange(len(f0)) * hop / rate
    nearest = np.clip(np.round(times * rate / hop).astype(int), 0, len(f0) - 1)
    pitch = np.exp(np.interp(times, at[voiced], np.log(f0[voiced])))
    return np.where(voiced[nearest], pitch, 0.0)


def place_recording(
    y: np.ndarray,
    sample_rate: int,
    *,
    f0: np.ndarray | None = None,
    start_s: float = 0.0,
    semitones: float | np.ndarray = 0.0,
    stretch: float = 1.0,
    method: Literal["world", "resample"] = "world",
) -> Sung:
    """Put a recording of one voice into a song, transposed and stretched.

    Args:
        y: (n,) mono samples.
        sample_rate: of ``y``.
        f0: Hz every 5 ms from the first sample on, 0 = unvoiced; measured with :func:`measure_f0` if not given.
        start_s: where the first sample goes.
        semitones: transposition, -12 to 12; with ``world`` also one value for each value of ``f0``.
        stretch: factor on the length, 0.5 to 2.
        method: ``world`` keeps formants and synthesises exactly the F0 reported; ``resample`` keeps the sound and
            moves formants with the pitch (up to 4 semitones sounds natural), and its length follows the pitch unless
            ``stretch`` is 1 / 2 ** (semitones / 12), so ``stretch`` must be left at 1.

    Returns:
        The recording as :class:`Sung`, no words; its level is that of ``y``.

    Raises:
        ValueError: for values outside these ranges, more than one channel or an ``f0`` of the wrong length.
        AudioError: if ``y`` is empty or not finite.
    """
    y = np.asarray(y, np.float64)
    if y.ndim != 1:
        raise ValueError(f"one channel of samples expected, not shape {y.shape}")
    if not len(y) or not np.isfinite(y).all():
        raise AudioError("no samples, or some are not finite", stage="place_recording")
    semitones = np.asarray(semitones, float)
    if not np.all(np.abs(semitones) <= 12) or not 0.5 <= stretch <= 2:
        raise ValueError(f"semitones {semitones} outside -12 to 12 or stretch {stretch} outside 0.5 to 2")
    frames = 1 + int(len(y) / sample_rate / PERIOD_S)
    f0 = measure_f0(y, sample_rate) if f0 is None else np.asarray(f0, float)
    if abs(len(f0) - frames) > 2:
        raise ValueError(f"f0 has {len(f0)} frames of 5 ms, the recording {frames}")
    if semitones.ndim and (semitones.shape != f0.shape or method != "world"):
        raise ValueError("semitones that change need method 'world' and one value for each of f0")
    ratio = 2 ** (semitones / 12)
    if semitones.ndim:
        ratio = np.pad(ratio, (0, max(frames - len(f0), 0)), mode="edge")[:frames]
    f0 = np.pad(f0, (0, max(frames - len(f0), 0)))[:frames]
    if method == "resample":
        if stretch != 1.0:
            raise ValueError("method 'resample' changes the length with the pitch; leave stretch at 1")
        return _resampled(y, sample_rate, f0, float(ratio), start_s)
    if method != "world":
        raise ValueError(f"unknown method {method!r}; known: world, resample")
    return _resynthesised(y, sample_rate, f0, ratio, stretch, start_s)


def _resampled(y: np.ndarray, sample_rate: int, f0: np.ndarray, ratio: float, start_s: float) -> Sung:
    import soxr

    audio = soxr.resample(y.astype(np.float32), sample_rate * ratio, SAMPLE_RATE)
    n = 1 + int(len(audio) / SAMPLE_RATE / PERIOD_S)
    source = np.clip(np.round(np.arange(n) * ratio).astype(int), 0, len(f0) - 1)
    return Sung(audio.astype(np.float32), start_s, start_s + PERIOD_S * np.arange(n), ratio * f0[source])


def _resynthesised(
    y: np.ndarray, sample_rate: int, f0: np.ndarray, ratio: np.ndarray, stretch: float, start_s: float
) -> Sung:
    import soxr

    pyworld = require_pyworld()
    y = np.ascontiguousarray(soxr.resample(y, sample_rate, SAMPLE_RATE))
    times = np.arange(len(f0)) * PERIOD_S
    power = pyworld.cheaptrick(y, f0, times, SAMPLE_RATE, f0_floor=71.0)
    aperiodicity = pyworld.d4c(y, f0, times, SAMPLE_RATE)
    n = 1 + int((len(f0) - 1) * stretch)
    place = np.minimum(np.arange(n) / stretch, len(f0) - 1.001)
    low, fraction = place.astype(int), (place % 1)[:, None]
    nearest = np.round(place).astype(int)
    power = np.exp(np.log(power[low] + 1e-16) * (1 - fraction) + np.log(power[low + 1] + 1e-16) * fraction)
    aperiodicity = aperiodicity[low] * (1 - fraction) + aperiodicity[low + 1] * fraction
    both = (f0[low] > 0) & (f0[low + 1] > 0)
    pitch = np.where(both, f0[low] * (1 - fraction[:, 0]) + f0[low + 1] * fraction[:, 0], f0[nearest])
    pitch = pitch * (ratio[nearest] if ratio.ndim else ratio)
    audio = pyworld.synthesize(pitch, power, aperiodicity, SAMPLE_RATE, PERIOD_S * 1000)
    level = np.sqrt(np.mean(y**2)) / max(np.sqrt(np.mean(audio**2)), 1e-12) if np.any(y) else 0.0
    audio = audio * min(level, 0.98 / max(np.abs(audio).max(initial=0.0), 1e-9))
    return Sung(audio.astype(np.float32), start_s, start_s + PERIOD_S * np.arange(n), pitch)
