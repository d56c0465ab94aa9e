"""Pitch classes of stems and of the mixture: chroma with the tuning removed.

Chroma is summed per stem, never with the drums: the mixture's is that of vocals, bass and other. The bass enters by its
F0 contour, because below 180 Hz a semitone is narrower than one STFT bin (10.8 Hz) and spectral chroma guesses there.
Chroma of a pure tone below 430 Hz is up to half a semitone off, so a frame with nothing above that (a sine, a hum) says
nothing of pitch classes: the voice has its F0 there, other parts leave the frame out.
"""

from __future__ import annotations

import numpy as np

from .._util.large_arrays import allocate, release
from ..constants import MIXTURE, N_CHROMA
from .activity import active_rows
from .f0 import cents, f0_contours
from .inputs import DescriptorInputs
from .mel_bands import band_power, mel_edges_hz
from .values import number, windows

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
#: Where spectral chroma resolves pitch classes, and the share of a frame's power that must lie there.
RESOLVED_HZ = 430.0
RESOLVED_SHARE = 0.01
#: Stems whose pitch classes add up to those of the mixture.
TONAL_STEMS = ("vocals", "bass", "other")
_N_FINE = N_CHROMA // 12


def contour_chroma(f0_hz: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """(N_CHROMA, n_frames) chroma of a monophonic contour: each voiced frame's energy at its pitch, shared linearly
    between the two nearest thirds of a semitone."""
    chroma = np.zeros((N_CHROMA, len(f0_hz)))
    voiced = np.flatnonzero(np.isfinite(f0_hz))
    place = (cents(f0_hz[voiced]) / 100 + 9) * _N_FINE
    below = np.floor(place).astype(int)
    upper = place - below
    power = np.asarray(energy, dtype=np.float64)[voiced]
    chroma[below % N_CHROMA, voiced] += power * (1 - upper)
    chroma[(below + 1) % N_CHROMA, voiced] += power * upper
    return chroma


def resolved_frames(mel: np.ndarray) -> np.ndarray:
    """(n_frames,) bool: whether at least 1 % of the power of (n_mels, n_frames) mel power lies above 430 Hz."""
    hertz = mel_edges_hz(len(mel))
    resolved = np.zeros(mel.shape[1], dtype=bool)
    for part in windows(mel):
        power = band_power(mel[:, part])
        total = power.sum(axis=0)
        high = power[hertz[1:-1] >= RESOLVED_HZ].sum(axis=0)
        resolved[part] = (total > 0) & (high >= RESOLVED_SHARE * total)
    return resolved


def estimate_tuning(chroma: np.ndarray) -> float | None:
    """Deviation from A4 = 440 Hz in cents, -50 to 50, from the phase of the chroma within the semitone."""
    fold = chroma.reshape(12, _N_FINE, -1).sum(axis=(0, 2), dtype=np.float64)
    phase = (fold * np.exp(2j * np.pi * np.arange(_N_FINE) / _N_FINE)).sum()
    return number(np.angle(phase) / (2 * np.pi) * 100) if abs(phase) > 1e-9 * fold.sum() else None


def fold_chroma(chroma: np.ndarray, tuning_cents: float) -> np.ndarray:
    """(12, n_frames) pitch classes of a 36-bin chroma after moving it by ``-tuning_cents``."""
    shift = tuning_cents / 100 * _N_FINE
    whole = int(np.floor(shift))
    part = shift - whole
    moved = (1 - part) * np.roll(chroma, -whole, axis=0) + part * np.roll(chroma, -whole - 1, axis=0)
    centre = np.roll(moved, 1, axis=0).reshape(12, _N_FINE, -1)
    # Each class takes its centre bin and the thirds of a semitone around it.
    return centre.sum(axis=1)


def unit_amplitude(chroma: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes summed over the frames of a row, each with a sum of 1.

    Every frame counts, and a loud partial does not drown a chord.

    Parameters
    ----------
    chroma : (N_CHROMA, n_frames) ndarray
        Power of each third of a semitone.
    active : (n_frames,) ndarray of bool
        Frames in which the row sounds.

    Returns
    -------
    amplitude : (N_CHROMA, 1) ndarray
        Sums over these frames.
    told : (n_frames,) ndarray of bool
        Those of them that have any chroma.
    """
    sums, told = np.zeros((N_CHROMA, 1)), np.zeros(len(active), dtype=bool)
    for part in windows(chroma):
        amplitude = np.sqrt(np.asarray(chroma[:, part], dtype=np.float64))
        total = amplitude.sum(axis=0)
        told[part] = active[part] & (total > 0)
        sums += (amplitude[:, told[part]] / total[told[part]]).sum(axis=1, keepdims=True)
    return sums, told


def pitch_classes(
    chroma: np.ndarray, told: np.ndarray, tuning_cents: float, bass: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pitch classes of some frames.

    Parameters
    ----------
    chroma : (N_CHROMA, n_frames) ndarray
        Power of each third of a semitone.
    told : (n_frames,) ndarray of bool
        The frames; all have chroma.
    tuning_cents : float
        Deviation from 440 Hz that is removed.
    bass : (N_CHROMA, n_frames) ndarray, optional
        Power of the bass.

    Returns
    -------
    classes : (12, n) ndarray
        Amplitudes with a sum of 1.
    bass : (12, n) ndarray or None
        Power of the bass in these frames.
    """
    shape, place = (12, int(told.sum())), 0
    folded = allocate({"classes": shape} | ({} if bass is None else {"bass": shape}), dtype=np.float64)
    for part in windows(chroma, *([] if bass is None else [bass])):
        at = told[part]
        to = slice(place, place + int(at.sum()))
        amplitude = np.sqrt(np.asarray(chroma[:, part][:, at], dtype=np.float64))
        folded["classes"][:, to] = fold_chroma(amplitude / amplitude.sum(axis=0), tuning_cents)
        if bass is not None:
            folded["bass"][:, to] = fold_chroma(np.asarray(bass[:, part][:, at], dtype=np.float64), tuning_cents)
        place = to.stop
        release(*folded.values())
    return folded["classes"], folded.get("bass")


def row_chroma(inputs: DescriptorInputs) -> dict[str, np.ndarray]:
    """Chroma of the rows that have harmony, for :meth:`DescriptorInputs.get`.

    That of the mixture is the sum of its pitched stems where they sound.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{row: (N_CHROMA, n_frames) power}``, float32.
    """
    frames, active = inputs.frames, inputs.get(active_rows)
    contours = {stem: contour for stem, (contour, _) in inputs.get(f0_contours).items()}
    resolved = {stem: resolved_frames(frames.stems[stem].mel) for stem in ("vocals", "other", *frames.further)}
    chroma = allocate(dict.fromkeys((*resolved, "bass", MIXTURE), (N_CHROMA, frames.n_frames)))
    spectral = [frames.stems[stem].chroma for stem in resolved]
    for part in windows(chroma[MIXTURE], *spectral):
        for stem, known in resolved.items():
            own = frames.stems[stem]
            fallback = contour_chroma(contours[stem].f0_hz[part], own.energy[part]) if stem in contours else 0.0
            chroma[stem][:, part] = np.where(known[part], own.chroma[:, part], fallback)
        chroma["bass"][:, part] = contour_chroma(contours["bass"].f0_hz[part], frames.stems["bass"].energy[part])
        total = np.zeros((N_CHROMA, part.stop - part.start))
        for stem in TONAL_STEMS:
            power = np.where(active[stem][part], np.asarray(chroma[stem][:, part], dtype=np.float64), 0.0)
            # A stem's chroma counts with the energy of the stem: the scale of the chroma filters drops out.
            sums = power.sum(axis=0)
            total += power / np.where(sums > 0, sums, 1.0) * frames.stems[stem].energy[part]
        chroma[MIXTURE][:, part] = total
    return chroma


def mixture_amplitude(inputs: DescriptorInputs) -> tuple[np.ndarray, np.ndarray]:
    """:func:`unit_amplitude` of the mixture where it sounds, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    amplitude : (N_CHROMA, 1) ndarray
        Sums over the frames that have any chroma.
    told : (n_frames,) ndarray of bool
        These frames.
    """
    return unit_amplitude(inputs.get(row_chroma)[MIXTURE], inputs.get(active_rows)[MIXTURE])


def track_tuning(inputs: DescriptorInputs) -> float:
    """Tuning of the mixture, for :meth:`DescriptorInputs.get`.

    Chords and keys share it: a quarter of a tone off, two estimates may lie a semitone apart.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    float
        Deviation from 440 Hz in cents, -50 to 50; 0 where nothing tells.
    """
    amplitude, told = inputs.get(mixture_amplitude)
    return (estimate_tuning(amplitude) if told.any() else None) or 0.0
