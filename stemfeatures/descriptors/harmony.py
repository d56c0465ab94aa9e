"""Tuning, pitch classes, key and chord changes.

Chroma is summed per stem, never with the drums: the mixture's is that of vocals, bass and other. The bass enters by its
F0 contour, because below 180 Hz a semitone is narrower than one STFT bin (10.8 Hz) and spectral chroma guesses there.
Chroma of a pure tone below 430 Hz is up to half a semitone off, so a frame with nothing above that (a sine, a hum) says
nothing of pitch classes: the voice has its F0 there, other parts leave the frame out.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from .._util.large_arrays import allocate, release
from ..constants import FRAME_RATE, MIXTURE, N_CHROMA, STEM_ROWS
from ..fields import LOG1P, NOT_A_COORDINATE, Field, Scale, status_field
from .activity import active_rows
from .f0 import cents, f0_contours
from .inputs import DescriptorInputs
from .keys import MODES, SCALES, KeyEvidence, estimate_mode
from .mel_bands import band_power, mel_edges_hz
from .paths import advance_evenly, trace
from .registry import Extractor, register
from .values import OK, SILENT, TOO_SHORT, number, windows

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
#: Temperley, "What's key for key?", Music Perception 17(1), 1999: profiles on C, from the tonic up.
KEY_PROFILES = {
    "major": (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0),
    "minor": (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0),
}
#: Least sounding time whose chroma is described.
MIN_ACTIVE_S = 0.5
#: Coefficient of variation of the mean chroma below which it has no pitch classes to speak of (noise).
MIN_CONTRAST = 0.15
#: Chord decoding: how sharply frames decide, and the cost of a change.
CHORD_SHARPNESS = 10.0
CHORD_CHANGE_COST = 12.0

#: Where spectral chroma resolves pitch classes, and the share of a frame's power that must lie there.
RESOLVED_HZ = 430.0
RESOLVED_SHARE = 0.01

#: Seconds of the beginning and of the end whose bass speaks for the tonic, and over which chords are looked for.
BEGINNING_S, END_S, CHORD_S = 0.6, 1.5, 0.4
#: Amplitude of the third of a triad beside that of its root, at least: the fifth partial of the root is a major third.
LEAST_THIRD = 0.4

ATONAL = "atonal"
UNRESOLVED = "unresolved"
UNVOICED = "unvoiced"

#: Rows that have pitch classes, and those that have chords.
TONAL_ROWS = tuple(row for row in STEM_ROWS if row != "drums")
CHORD_ROWS = (MIXTURE, "other")
#: Stems whose pitch classes add up to those of the mixture.
TONAL_STEMS = ("vocals", "bass", "other")

_field = partial(Field, type="float32", family="harmony", rows=TONAL_ROWS)
FIELDS = (
    status_field(
        "harmony_status",
        "ok | silent | absent | too_short | unvoiced | unresolved | atonal | not_applicable",
        "harmony (0.5 s of sound at least; unresolved: nothing above 430 Hz, where spectra tell semitones apart)",
        family="harmony",
    ),
    _field(
        "tuning_cents",
        description="Deviation from A4 = 440 Hz.",
        unit="cents",
        range="-50..50",
        scale=Scale("circular", period=100.0),
    ),
    *(
        _field(
            f"chroma_{k:02d}_mean",
            description=f"Mean share of pitch class {name} in the amplitude, tuning removed; the twelve sum to 1.",
            range="0..1",
            scale=Scale("sqrt", vector="chroma"),
            feature="chroma",
            statistic="mean",
            number=k,
        )
        for k, name in enumerate(PITCH_CLASSES, start=1)
    ),
    _field(
        "hpcp_entropy",
        description="Mean Shannon entropy of a frame's twelve pitch classes.",
        unit="bit",
        range="0..3.585",
    ),
    _field(
        "key",
        type="category",
        description="Key such as G#:minor (sharps only). A stem's correlates best with Temperley's 1999 profiles; the "
        "mixture's is the tonic and the third of key_mode, read from vocals, bass and other.",
        scale=Scale("key", period=12.0, strength="key_strength"),
    ),
    _field("key_strength", description="Correlation with the profile of key.", range="-1..1"),
    _field(
        "key_2",
        type="category",
        description="Second best key.",
        scale=Scale("key", period=12.0, strength="key_2_strength"),
    ),
    _field("key_2_strength", description="Correlation with the profile of key_2.", range="-1..1"),
    _field(
        "key_clarity",
        description="key_strength less key_2_strength; on the mixture below 0 where bass and chords decide against the "
        "better correlation.",
        range="-2..2",
    ),
    _field(
        "key_mode",
        type="category",
        description="Mode on the tonic of key, weighing the scale, the bass, the chords, the beginning and the end.",
        range=" | ".join(MODES),
        rows=(MIXTURE,),
        since="1.1",
    ),
    _field(
        "key_mode_confidence",
        description="Probability of this tonic and mode among all.",
        range="0..1",
        rows=(MIXTURE,),
        since="1.1",
        scale=NOT_A_COORDINATE,
    ),
    _field(
        "chords_changes_rate",
        description="Changes of the decoded triad a second.",
        unit="1/s",
        range=">= 0",
        rows=CHORD_ROWS,
        scale=LOG1P,
    ),
)
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


def estimate_key(profile: np.ndarray) -> list[tuple[str, float]]:
    """All 24 keys as ``("G#:minor", correlation)``, best first, by correlation with Temperley's profiles."""
    names, templates = _key_templates()
    x = profile - profile.mean()
    correlations = templates @ x / np.linalg.norm(x)
    return sorted(zip(names, correlations.tolist()), key=lambda s: -s[1])


@lru_cache(maxsize=1)
def _key_templates() -> tuple[list[str], np.ndarray]:
    """Names of the keys and their profiles (24, 12), without mean and of unit length."""
    names = [f"{tonic}:{scale}" for scale in KEY_PROFILES for tonic in PITCH_CLASSES]
    profiles = np.array([np.roll(weights, tonic) for weights in KEY_PROFILES.values() for tonic in range(12)])
    profiles = profiles - profiles.mean(axis=1, keepdims=True)
    return names, profiles / np.linalg.norm(profiles, axis=1, keepdims=True)


def _chord_templates() -> np.ndarray:
    """(24, 12) unit-length triads, majors then minors."""
    triads = [np.isin(np.arange(12), notes).astype(float) for notes in ((0, 4, 7), (0, 3, 7))]
    return np.array([np.roll(t, root) for t in triads for root in range(12)]) / np.sqrt(3)


def chord_changes(chroma12: np.ndarray) -> int:
    """Number of changes between major and minor triads along (12, n_frames) chroma, by Viterbi decoding."""
    templates = CHORD_SHARPNESS * _chord_templates()
    total = np.zeros(24)
    back = np.empty((chroma12.shape[1], 24), dtype=np.int8)
    n = 0
    for part in windows(chroma12):
        norm = np.linalg.norm(chroma12[:, part], axis=0)
        scores = (chroma12[:, part][:, norm > 0] / norm[norm > 0]).T @ templates.T
        advance_evenly(total, scores, np.full(len(scores), CHORD_CHANGE_COST), back[n : n + len(scores)])
        n += len(scores)
    return int(np.count_nonzero(np.diff(trace(back[:n], int(total.argmax())))))


def key_evidence(classes: np.ndarray, bass: np.ndarray) -> KeyEvidence:
    """What speaks for a key.

    Parameters
    ----------
    classes : (12, n_frames) ndarray
        Pitch classes of all that sounds, tuning removed; frames sum to 1.
    bass : (12, n_frames) ndarray
        The same of the bass, of any sums; 0 where it does not play.

    Returns
    -------
    KeyEvidence
        Of the frames together.
    """
    reach, n = round(CHORD_S * FRAME_RATE), classes.shape[1]
    triads, profile, low_profile = np.zeros(24), np.zeros(12), np.zeros(12)
    plays = np.zeros(n, dtype=bool)
    for part in windows(classes, bass):
        first = max(part.start - reach, 0)
        smooth = uniform_filter1d(classes[:, first : part.stop + reach], reach, axis=1, mode="nearest")
        around = smooth[:, part.start - first : part.stop - first]
        likeliest = (_chord_templates() @ around).argmax(axis=0)
        # A fifth without a third is no triad, however much the partials of its root make it a major one.
        root, frame = likeliest % 12, np.arange(len(likeliest))
        third = (root + np.where(likeliest < 12, 4, 3)) % 12
        has_third = around[third, frame] > LEAST_THIRD * around[root, frame]
        triads += np.bincount(likeliest[has_third], minlength=24)
        profile += classes[:, part].sum(axis=1)
        low_profile += _shares(bass[:, part]).sum(axis=1)
        plays[part] = bass[:, part].any(axis=0)
    low, sounding = (bass, np.flatnonzero(plays)) if plays.any() else (classes, np.arange(n))
    start, end = sounding[0], sounding[-1] + 1
    return KeyEvidence(
        profile / n,
        _shares(low_profile),
        _shares(triads),
        _shares(_shares(low[:, start : start + round(BEGINNING_S * FRAME_RATE)]).sum(axis=1)),
        _shares(_shares(low[:, max(end - round(END_S * FRAME_RATE), 0) : end]).sum(axis=1)),
    )


def _shares(x: np.ndarray) -> np.ndarray:
    total = x.sum(axis=0)
    return x / np.where(total > 0, total, 1.0)


def _key_fields(profile: np.ndarray, evidence: KeyEvidence | None) -> dict[str, Any]:
    """Key by the evidence if there is any, else by the profile alone."""
    keys = estimate_key(profile)
    fields: dict[str, Any] = {}
    if evidence is not None:
        tonic, mode, probability = estimate_mode(evidence)
        name = f"{PITCH_CLASSES[tonic]}:{SCALES[mode]}"
        keys = sorted(keys, key=lambda key: key[0] != name)
        fields = {"key_mode": mode, "key_mode_confidence": number(probability)}
    (first, strength), (second, strength_2) = keys[:2]
    return {
        "key": first,
        "key_strength": number(strength),
        "key_2": second,
        "key_2_strength": number(strength_2),
        "key_clarity": number(strength - strength_2),
        **fields,
    }


def describe_harmony(
    chroma: np.ndarray,
    active: np.ndarray,
    *,
    chords: bool,
    bass: np.ndarray | None = None,
    empty: str = UNRESOLVED,
) -> dict[str, Any]:
    """Fields of the family ``harmony`` for one row; those that are not there are null.

    Parameters
    ----------
    chroma : (N_CHROMA, n_frames) ndarray
        Power of each third of a semitone.
    active : (n_frames,) ndarray of bool
        Frames in which the row sounds.
    chords : bool
        Whether chord changes make sense for the row.
    bass : (N_CHROMA, n_frames) ndarray, optional
        Power of the bass, which then has a say in the key, as have mode, chords, beginning and end.
    empty : str
        Status when too few active frames, of enough, have any chroma.
    """
    if not active.any():
        return {"harmony_status": SILENT}
    amplitude, told = unit_amplitude(chroma, active)
    n = int(told.sum())
    least = MIN_ACTIVE_S * FRAME_RATE
    if n < least:
        return {"harmony_status": TOO_SHORT if n > 0 and active.sum() < least else empty}
    tuning = estimate_tuning(amplitude)
    profile = fold_chroma(amplitude, tuning or 0.0)[:, 0] / n
    if profile.std() < MIN_CONTRAST * profile.mean():
        return {"harmony_status": ATONAL}
    classes, low = pitch_classes(chroma, told, tuning or 0.0, bass)
    entropy = 0.0
    for part in windows(classes):
        entropy -= float((classes[:, part] * np.log2(np.maximum(classes[:, part], 1e-12))).sum()) / n
    evidence = None if low is None else key_evidence(classes, low)
    return {
        "harmony_status": OK,
        "tuning_cents": tuning,
        **{f"chroma_{k + 1:02d}_mean": number(p) for k, p in enumerate(profile)},
        "hpcp_entropy": number(entropy),
        **_key_fields(profile, evidence),
        "chords_changes_rate": number(chord_changes(classes) * FRAME_RATE / n) if chords else None,
    }


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


def _harmony(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    empty = UNVOICED if row == "bass" else UNRESOLVED
    active, chroma = inputs.get(active_rows), inputs.get(row_chroma)
    bass = chroma["bass"] if row == MIXTURE else None
    chords = row in (*CHORD_ROWS, *inputs.frames.further)
    return describe_harmony(chroma[row], active[row], chords=chords, bass=bass, empty=empty)


register(Extractor("harmony", 60, FIELDS, "harmony_status", _harmony))
