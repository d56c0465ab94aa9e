"""Tuning, mean pitch classes, key and chord changes of every pitched row."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np

from ..constants import FRAME_RATE, MIXTURE, STEM_ROWS
from ..fields import LOG1P, NOT_A_COORDINATE, Field, Scale, status_field
from .activity import active_rows
from .chords import QUALITIES, Chords, chord_parts, track_chords
from .inputs import DescriptorInputs
from .keys import MODES, SCALES, KeyEvidence, estimate_mode
from .paths import advance_evenly, trace
from .pitch_classes import (
    PITCH_CLASSES,
    estimate_tuning,
    fold_chroma,
    mixture_amplitude,
    pitch_classes,
    row_chroma,
    track_tuning,
    unit_amplitude,
)
from .registry import Extractor, register
from .values import OK, SILENT, TOO_SHORT, number, windows

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

#: Seconds of the beginning and of the end whose bass speaks for the tonic.
BEGINNING_S, END_S = 0.6, 1.5

ATONAL = "atonal"
UNRESOLVED = "unresolved"
UNVOICED = "unvoiced"

#: Rows that have pitch classes, and those that have chords.
TONAL_ROWS = tuple(row for row in STEM_ROWS if row != "drums")
CHORD_ROWS = (MIXTURE, "other")

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


def key_evidence(
    classes: np.ndarray, bass: np.ndarray, chords: Chords, start_s: float = 0.0, end_s: float = np.inf
) -> KeyEvidence:
    """What speaks for a key.

    Parameters
    ----------
    classes : (12, n_frames) ndarray
        Pitch classes of all that sounds, tuning removed; frames sum to 1.
    bass : (12, n_frames) ndarray
        The same of the bass, of any sums; 0 where it does not play.
    chords : Chords
        Of the track.
    start_s, end_s : float
        Between which chords count.

    Returns
    -------
    KeyEvidence
        Of the frames together.
    """
    n = classes.shape[1]
    profile, low_profile = np.zeros(12), np.zeros(12)
    plays = np.zeros(n, dtype=bool)
    for part in windows(classes, bass):
        profile += classes[:, part].sum(axis=1)
        low_profile += _shares(bass[:, part]).sum(axis=1)
        plays[part] = bass[:, part].any(axis=0)
    low, sounding = (bass, np.flatnonzero(plays)) if plays.any() else (classes, np.arange(n))
    start, end = sounding[0], sounding[-1] + 1
    return KeyEvidence(
        profile / n,
        _shares(low_profile),
        _shares(_shares(low[:, start : start + round(BEGINNING_S * FRAME_RATE)]).sum(axis=1)),
        _shares(_shares(low[:, max(end - round(END_S * FRAME_RATE), 0) : end]).sum(axis=1)),
        *_chord_evidence(chords, start_s, end_s),
    )


def track_key_evidence(inputs: DescriptorInputs) -> KeyEvidence | None:
    """What speaks for the key of a track, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    KeyEvidence or None
        None where less than half a second has pitch classes.
    """
    chroma, (_, told) = inputs.get(row_chroma), inputs.get(mixture_amplitude)
    if told.sum() < MIN_ACTIVE_S * FRAME_RATE:
        return None
    classes, bass = pitch_classes(chroma[MIXTURE], told, inputs.get(track_tuning), chroma["bass"])
    return None if bass is None else key_evidence(classes, bass, inputs.get(track_chords))


def _chord_evidence(chords: Chords, start_s: float, end_s: float) -> tuple[np.ndarray, ...]:
    """Shares of time of the tones and the roots of the chords between two times; their first and last root."""
    tones, roots, ends = np.zeros(12), np.zeros(12), np.zeros((2, 12))
    seconds = np.minimum(chords.end_s, end_s) - np.maximum(chords.start_s, start_s)
    for k in np.flatnonzero(seconds > 0).tolist():
        name, quality, _ = chord_parts(chords.label[k])
        if name is None or quality is None:
            continue
        root = PITCH_CLASSES.index(name)
        tones[(root + np.array(QUALITIES[quality])) % 12] += seconds[k]
        roots[root] += seconds[k]
        if not ends.any():
            ends[0, root] = 1.0
        ends[1] = np.eye(12)[root]
    return _shares(tones), _shares(roots), *ends


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
    track: Chords | None = None,
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
        Power of the bass, which then has a say in the key, as have ``track``, beginning and end.
    track : Chords, optional
        Chords of the track; with ``bass``.
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
    evidence = None if low is None or track is None else key_evidence(classes, low, track)
    return {
        "harmony_status": OK,
        "tuning_cents": tuning,
        **{f"chroma_{k + 1:02d}_mean": number(p) for k, p in enumerate(profile)},
        "hpcp_entropy": number(entropy),
        **_key_fields(profile, evidence),
        "chords_changes_rate": number(chord_changes(classes) * FRAME_RATE / n) if chords else None,
    }


def _harmony(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    empty = UNVOICED if row == "bass" else UNRESOLVED
    active, chroma = inputs.get(active_rows), inputs.get(row_chroma)
    bass, track = (chroma["bass"], inputs.get(track_chords)) if row == MIXTURE else (None, None)
    chords = row in (*CHORD_ROWS, *inputs.frames.further)
    return describe_harmony(chroma[row], active[row], chords=chords, bass=bass, track=track, empty=empty)


register(Extractor("harmony", 60, FIELDS, "harmony_status", _harmony))
