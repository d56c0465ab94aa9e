"""Notes of the voice and of the bass, as events, and figures of the lines they make.

A note is a stretch of steady pitch of the F0 contour (:func:`.f0.notes`); an onset of the stem within it begins another
one of the same pitch. Notes begin at the onset beside them, where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from ..constants import FRAME_RATE, PITCHED_STEMS
from ..fields import DURATION, NOT_A_COORDINATE, Field, Scale, log, status_field
from .activity import active_rows
from .event_tables import STEM, Columns, EventTable, register_events
from .f0 import MIN_NOTE, cents, f0_contours, notes
from .inputs import DescriptorInputs
from .onsets import row_onsets
from .pitch_classes import PITCH_CLASSES
from .registry import Extractor, register
from .values import OK, SILENT, mean, median, number, std

#: An onset is the beginning of a note whose pitch is found this long before or after it.
ONSET_BEFORE_S, ONSET_AFTER_S = 0.10, 0.06
#: Level by which an onset within a steady pitch must rise to be another note, over so many frames before and after.
RISE_DB = 6.0
RISE_FRAMES = 5
#: A pitch is found this long after its beginning, where no onset tells.
PITCH_DELAY_S = 0.0
#: Frames of a note whose level is that of its attack (0.14 s).
ATTACK = 6
#: Rest after which a phrase begins.
PHRASE_REST_S = 0.5
#: Largest interval that the histogram has a place of its own for, in semitones.
MAX_INTERVAL = 12

NO_NOTES = "no_notes"


@dataclass
class Notes:
    """Notes of one stem, in the order of their onsets.

    Attributes
    ----------
    onset_s, offset_s : np.ndarray
        (n_notes,) seconds.
    cents : np.ndarray
        (n_notes,) median pitch above A4 = 440 Hz.
    velocity : np.ndarray
        (n_notes,) 1 to 127: 127 as loud as the loud notes of the stem, half as much is 12 dB below (the curve of
        General MIDI 2).
    confidence : np.ndarray
        (n_notes,) mean voicing times salience of its frames, 0..1.
    """

    onset_s: np.ndarray
    offset_s: np.ndarray
    cents: np.ndarray
    velocity: np.ndarray
    confidence: np.ndarray


def split_notes(steady: np.ndarray, onsets_s: np.ndarray) -> np.ndarray:
    """Cut notes at the onsets within them.

    Parameters
    ----------
    steady : (n_notes, 3) ndarray
        First frame, end frame and cents, as of :func:`.f0.notes`.
    onsets_s : (n_onsets,) ndarray
        Onsets of the stem in seconds.

    Returns
    -------
    (n, 3) ndarray
        The same form; no part is shorter than the shortest note.
    """
    at = onsets_s * FRAME_RATE
    of = np.searchsorted(steady[:, 0], at, side="right") - 1
    inside = (of >= 0) & (at >= steady[of, 0] + MIN_NOTE) & (at <= steady[of, 1] - MIN_NOTE) if len(steady) else of >= 0
    at, of = np.rint(at[inside]), of[inside]
    # Of onsets closer together than the shortest note the first counts.
    kept = np.r_[True, np.diff(at) >= MIN_NOTE] if len(at) else np.zeros(0, bool)
    at, of = at[kept], of[kept]
    first = np.concatenate([steady[:, 0], at])
    owner = np.concatenate([np.arange(len(steady)), of])
    order = np.argsort(first, kind="stable")
    first, owner = first[order], owner[order]
    end = np.minimum(np.append(first[1:], np.inf), steady[owner, 1])
    return np.stack([first, end, steady[owner, 2]], axis=1)


def rising(energy: np.ndarray, onsets_s: np.ndarray) -> np.ndarray:
    """(n_onsets,) bool: whether the level within 0.1 s after an onset exceeds that before it, so that it is struck."""
    loud = maximum_filter1d(np.asarray(energy, np.float64), RISE_FRAMES, mode="nearest")
    soft = minimum_filter1d(np.asarray(energy, np.float64), RISE_FRAMES, mode="nearest")
    at = np.rint(onsets_s * FRAME_RATE).astype(int)
    after = loud[np.clip(at + RISE_FRAMES // 2, 0, len(energy) - 1)]
    before = soft[np.clip(at - RISE_FRAMES // 2, 0, len(energy) - 1)]
    return np.asarray(after > before * 10 ** (RISE_DB / 10))


def find_notes(pitch_cents: np.ndarray, confidence: np.ndarray, onsets_s: np.ndarray, energy: np.ndarray) -> Notes:
    """Notes of a monophonic stem.

    Parameters
    ----------
    pitch_cents : (n_frames,) ndarray
        Its contour in cents above A4, NaN where unvoiced.
    confidence : (n_frames,) ndarray
        Voicing times salience, 0..1.
    onsets_s : (n_onsets,) ndarray
        Its onsets in seconds.
    energy : (n_frames,) ndarray
        Mean squares of its frames.

    Returns
    -------
    Notes
        In the order of their onsets; they do not overlap.
    """
    steady = split_notes(notes(pitch_cents), onsets_s[rising(energy, onsets_s)])
    first, end = steady[:, 0].astype(int), steady[:, 1].astype(int)
    onset_s = np.maximum(first / FRAME_RATE - PITCH_DELAY_S, 0.0)
    if len(onsets_s) and len(first):
        near = np.searchsorted(onsets_s, onset_s - ONSET_BEFORE_S)
        candidate = onsets_s[np.minimum(near, len(onsets_s) - 1)]
        close = (candidate >= onset_s - ONSET_BEFORE_S) & (candidate <= onset_s + ONSET_AFTER_S)
        onset_s = np.where(close, candidate, onset_s)
    onset_s = np.maximum.accumulate(onset_s)
    offset_s = np.maximum(end / FRAME_RATE, onset_s + 1 / FRAME_RATE)
    offset_s = np.minimum(offset_s, np.append(onset_s[1:], np.inf))
    kept = offset_s > onset_s
    level = _window(np.maximum, energy, first, np.minimum(first + ATTACK, end))
    sure = _window(np.add, confidence, first, end) / np.maximum(end - first, 1)
    return Notes(onset_s[kept], offset_s[kept], steady[kept, 2], _velocity(level[kept]), np.clip(sure[kept], 0, 1))


def _window(reduce: np.ufunc, values: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """``reduce`` of ``values`` from each ``first`` to its ``end``; these do not overlap."""
    if not len(first):
        return np.zeros(0)
    padded = np.append(np.asarray(values, np.float64), 0.0)
    return np.asarray(reduce.reduceat(padded, np.stack([first, end], axis=1).ravel())[::2])


def _velocity(level: np.ndarray) -> np.ndarray:
    """(n_notes,) 1 to 127 from mean squares; 127 is the 95th percentile (GM2: 40 dB a factor of ten)."""
    if not len(level):
        return np.zeros(0, dtype=np.int64)
    db = 10 * np.log10(np.maximum(level, 1e-20) / max(np.percentile(level, 95), 1e-20))
    return np.clip(np.rint(127 * 10 ** (db / 40)), 1, 127).astype(np.int64)


def note_name(cents_above_a4: float) -> str:
    """Scientific name of the nearest note of the tempered scale.

    Parameters
    ----------
    cents_above_a4 : float
        Pitch in cents above 440 Hz.

    Returns
    -------
    str
        With sharps.

    Examples
    --------
    >>> note_name(0), note_name(-900), note_name(-2130)
    ('A4', 'C4', 'C3')
    """
    key = 69 + round(cents_above_a4 / 100)
    return f"{PITCH_CLASSES[key % 12]}{key // 12 - 1}"


def stem_notes(inputs: DescriptorInputs) -> dict[str, Notes]:
    """Notes of the pitched stems, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{"vocals" | "bass": Notes}``.
    """
    found = {}
    for stem, (contour, salience) in inputs.get(f0_contours).items():
        pitch = _cents_of(contour.f0_hz)
        onsets_s = np.asarray(inputs.get(row_onsets)[stem][0])
        found[stem] = find_notes(pitch, contour.voicing * salience, onsets_s, inputs.frames.stems[stem].energy)
    return found


_field = partial(Field, type="float32", family="notes", rows=PITCHED_STEMS, since="1.1")
_ratio = partial(_field, range="0..1")
FIELDS = (
    status_field(
        "notes_status", "ok | silent | absent | no_notes | not_applicable", "notes", family="notes", since="1.1"
    ),
    _field("note_count", type="int32", description="Rows of table notes.", range=">= 0", scale=DURATION),
    *(
        _field(f"note_{which}_name", type="category", description=f"{what} of the notes by name, such as F#3.")
        for which, what in (("p05", "5th percentile"), ("median", "Median"), ("p95", "95th percentile"))
    ),
    *(
        _ratio(
            f"note_pitch_class_{k:02d}_ratio",
            description=f"Share of the time of notes whose pitch class is {name}.",
            scale=Scale("sqrt", vector="note_pitch_class"),
            feature="note_pitch_class",
            number=k,
        )
        for k, name in enumerate(PITCH_CLASSES, start=1)
    ),
    *(
        _ratio(
            f"note_interval_{k:02d}_ratio",
            description=f"Share of the steps between notes of one phrase that are {k} semitones, up or down"
            + (", or more." if k == MAX_INTERVAL else "."),
            scale=Scale("sqrt", vector="note_interval"),
            feature="note_interval",
            number=k + 1,
        )
        for k in range(MAX_INTERVAL + 1)
    ),
    _ratio("note_ascending_ratio", description="Share of the intervals other than 0 that go up."),
    _ratio(
        "note_glide_ratio",
        description="Share of the steps within unbroken voice whose pitch takes 0.1 s and more from note to note; null "
        "without any step.",
    ),
    _field(
        "note_phrase_duration_median_s",
        description="Median length of a phrase: notes without a rest of 0.5 s.",
        unit="s",
        range="> 0",
        scale=log(0.1),
        feature="note_phrase_duration",
        statistic="median",
    ),
    _field(
        "note_phrase_length_median",
        description="Median number of notes of a phrase.",
        unit="notes",
        range=">= 1",
        scale=log(1.0),
        feature="note_phrase_length",
        statistic="median",
    ),
    _field("note_velocity_std", description="Standard deviation of the velocities.", range=">= 0", statistic="std"),
    _ratio("note_confidence", description="Mean confidence of the notes.", scale=NOT_A_COORDINATE),
)
_event = partial(Field, since="1.1", family="notes")
EVENT_FIELDS = (
    STEM,
    _event("onset_s", "float64", "Where it begins.", "s", ">= 0", nullable=False),
    _event("offset_s", "float64", "Where it ends.", "s", ">= 0", nullable=False),
    _event("pitch", "int16", "Nearest MIDI note number, A4 = 69 = 440 Hz.", "", "0..127", nullable=False),
    _event("name", "category", "Its scientific name, such as F#3, with sharps."),
    _event("cents", "float32", "Deviation of the median pitch from it.", "cents", "-50..50"),
    _event("frequency_hz", "float32", "Median pitch.", "Hz", "> 0"),
    _event(
        "velocity",
        "int16",
        "Level of the attack: 127 as the loud notes of the stem (95th percentile), half for 12 dB less.",
        "",
        "1..127",
    ),
    _event("confidence", "float32", "Mean probability of the pitch times its salience.", "", "0..1"),
)
#: Least time from one note of a voiced stretch to the next that is a glide, and the shares of the way between which it
#: is measured: what comes before and after may be vibrato.
GLIDE_S = 0.1
LEFT, ARRIVED = 0.2, 0.8
#: Notes nearer than this are one pitch, to which nothing glides.
SAME_PITCH_CENTS = 50.0


def step_times(pitch_cents: np.ndarray, found: Notes) -> np.ndarray:
    """How long the pitch takes from each note to the next.

    Parameters
    ----------
    pitch_cents : (n_frames,) ndarray
        The contour in cents above A4, NaN where unvoiced.
    found : Notes
        Its notes.

    Returns
    -------
    (n_notes - 1,) ndarray
        Seconds from a fifth of the way to four fifths, over the middle three fifths that this is; 0 between notes of
        one pitch, NaN where the contour does not pass both.

    Notes
    -----
    A steady glide of a semitone leaves no frame without a note, as each note reaches 70 cents far: the contour tells
    how long it takes, not the time between the notes.
    """
    n_steps = len(found.cents) - 1
    if n_steps < 1:
        return np.zeros(0)
    middle = np.rint((found.onset_s + found.offset_s) / 2 * FRAME_RATE).astype(int)
    first = np.minimum(middle[:-1], len(pitch_cents) - 1)
    length = np.diff(np.append(first, max(int(middle[-1]), first[-1] + 1)))
    step = np.repeat(np.arange(n_steps), length)
    frame = first[0] + np.arange(len(step))
    far = np.abs(np.diff(found.cents)) >= SAME_PITCH_CENTS
    way = np.where(far, np.diff(found.cents), 1.0)
    there = (pitch_cents[np.minimum(frame, len(pitch_cents) - 1)] - found.cents[:-1][step]) / way[step]
    none = len(pitch_cents)
    arrives = np.full(n_steps, none)
    np.minimum.at(arrives, step, np.where(there >= ARRIVED, frame, none))
    leaves = np.full(n_steps, -1)
    np.maximum.at(leaves, step, np.where((there <= LEFT) & (frame < arrives[step]), frame, -1))
    passed = (leaves >= 0) & (arrives < none) & far
    start, end = (_crossing(pitch_cents, at, found.cents[:-1], way, share) for at, share in (
        (np.where(passed, leaves, 0), LEFT), (np.where(passed, arrives - 1, 0), ARRIVED)
    ))  # fmt: skip
    return np.where(passed, (end - start) / (ARRIVED - LEFT) / FRAME_RATE, np.where(far, np.nan, 0.0))


def _crossing(
    pitch_cents: np.ndarray, frame: np.ndarray, origin: np.ndarray, way: np.ndarray, share: float
) -> np.ndarray:
    """(n,) where between each frame and the next the pitch passes a share of the way."""
    here, after = ((pitch_cents[np.minimum(frame + k, len(pitch_cents) - 1)] - origin) / way for k in (0, 1))
    rises = after > here
    return frame + np.where(rises, np.clip((share - here) / np.where(rises, after - here, 1.0), 0.0, 1.0), 0.0)


def describe_notes(found: Notes, pitch_cents: np.ndarray) -> dict[str, Any]:
    """Fields of the family ``notes`` for one row, from its notes and its contour in cents above A4, NaN unvoiced."""
    if not len(found.onset_s):
        return {"notes_status": NO_NOTES, "note_count": 0}
    duration = found.offset_s - found.onset_s
    keys = np.rint(found.cents / 100).astype(int)
    rest = found.onset_s[1:] - found.offset_s[:-1]
    joined = rest < PHRASE_REST_S
    steps = np.diff(keys)[joined]
    first = np.flatnonzero(np.r_[True, ~joined])
    last = np.append(first[1:], len(keys)) - 1
    # Steps whose time between the notes is voiced throughout are sung in one go.
    frame = np.rint(np.stack([found.offset_s[:-1], found.onset_s[1:]]) * FRAME_RATE).astype(int)
    silent = np.concatenate([[0], np.cumsum(np.isnan(pitch_cents))])
    unbroken = silent[np.minimum(frame[1], len(pitch_cents))] == silent[np.minimum(frame[0], len(pitch_cents))]
    glides = step_times(pitch_cents, found) >= GLIDE_S
    classes = np.bincount((keys + 9) % 12, duration, 12) / duration.sum()
    intervals = np.bincount(np.minimum(np.abs(steps), MAX_INTERVAL), minlength=MAX_INTERVAL + 1)
    moved = steps[steps != 0]
    low, middle, high = np.percentile(found.cents, [5, 50, 95])
    return {
        "notes_status": OK,
        "note_count": len(keys),
        "note_p05_name": note_name(low),
        "note_median_name": note_name(middle),
        "note_p95_name": note_name(high),
        **{f"note_pitch_class_{k:02d}_ratio": number(share) for k, share in enumerate(classes, start=1)},
        **{
            f"note_interval_{k:02d}_ratio": number(count / len(steps)) if len(steps) else None
            for k, count in enumerate(intervals)
        },
        "note_ascending_ratio": number((moved > 0).mean()) if len(moved) else None,
        "note_glide_ratio": number(glides[unbroken].mean()) if unbroken.any() else None,
        "note_phrase_duration_median_s": median(found.offset_s[last] - found.onset_s[first]),
        "note_phrase_length_median": median(last - first + 1.0),
        "note_velocity_std": std(found.velocity),
        "note_confidence": mean(found.confidence),
    }


def _describe(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    if not inputs.get(active_rows)[row].any():
        return {"notes_status": SILENT}
    return describe_notes(inputs.get(stem_notes)[row], _cents_of(inputs.get(f0_contours)[row][0].f0_hz))


def _cents_of(f0_hz: np.ndarray) -> np.ndarray:
    """(n_frames,) cents above A4 of a contour in Hz, NaN where that is."""
    voiced = np.isfinite(f0_hz)
    pitch = np.full(len(voiced), np.nan)
    pitch[voiced] = cents(f0_hz[voiced])
    return pitch


def _events(inputs: DescriptorInputs) -> Columns:
    found = inputs.get(stem_notes)
    pitch = np.concatenate([some.cents for some in found.values()])
    keys = np.rint(pitch / 100).astype(int)
    return {
        "stem": np.repeat(list(found), [len(some.cents) for some in found.values()]).tolist(),
        **{
            name: np.concatenate([getattr(some, name) for some in found.values()])
            for name in ("onset_s", "offset_s", "velocity", "confidence")
        },
        "pitch": 69 + keys,
        "name": [note_name(cents) for cents in pitch],
        "cents": pitch - 100 * keys,
        "frequency_hz": 440 * 2 ** (pitch / 1200),
    }


register(Extractor("notes", 66, FIELDS, "notes_status", _describe))
register_events(
    EventTable(
        "notes",
        40,
        "One row per note of the voice and of the bass; those of one stem do not overlap.",
        EVENT_FIELDS,
        ("stem", "onset_s"),
        compute=_events,
    )
)
