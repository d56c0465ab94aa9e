"""Notes of a stem of several voices, from what the network of notes says of each pitch and frame.

A note begins where the onset of a pitch has a maximum, if the pitch sounds in the frames that follow; it ends where the
pitch does not sound for two frames, or begins anew. The network costs more than all other descriptors of a stem, so the
table is made on request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from ..constants import FRAME_RATE, LOWEST_NOTE, N_NOTES
from .activity import active_rows
from .event_tables import STEM, Columns, EventTable, register_events
from .inputs import DescriptorInputs
from .note_onsets import APART, likely_onsets
from .transcription import EVENT_FIELDS, note_name

#: Name of the table.
POLYPHONIC_NOTES = "polyphonic_notes"

#: Least probability of an onset and, in the mean of the frames from it on, of sounding. Training moves the logits such
#: that these are the best thresholds on songs it did not learn from.
LEAST_ONSET, LEAST_ACTIVE = 0.5, 0.5
#: Frames from the onset on whose mean says whether the pitch sounds, and frames without it that end a note.
FOLLOWING, REST = 3, 2
#: Pitches that are looked at together: those of a long track lie in a file.
_TOGETHER = 8


@dataclass(frozen=True)
class PolyphonicNotes:
    """Notes that may sound together, in the order of their onsets.

    Attributes
    ----------
    onset_s, offset_s : np.ndarray
        (n_notes,) seconds.
    pitch : np.ndarray
        (n_notes,) nearest MIDI note number.
    cents : np.ndarray
        (n_notes,) deviation from it, -50 to 50.
    confidence : np.ndarray
        (n_notes,) probability of the onset times that of sounding, 0..1.
    """

    onset_s: np.ndarray
    offset_s: np.ndarray
    pitch: np.ndarray
    cents: np.ndarray
    confidence: np.ndarray


def polyphonic_notes(
    onset: np.ndarray,
    active: np.ndarray,
    deviation: np.ndarray,
    *,
    least_onset: float = LEAST_ONSET,
    least_active: float = LEAST_ACTIVE,
    lowest: int = 0,
) -> PolyphonicNotes:
    """Notes from the outputs of the network.

    Parameters
    ----------
    onset, active : np.ndarray
        (n_frames, n_pitches) probabilities that a note begins, and sounds, in 0..1.
    deviation : np.ndarray
        (n_frames, n_pitches) semitones from the pitch.
    least_onset, least_active : float, default=0.5
        Thresholds.
    lowest : int, default=0
        Number of the first of the pitches among those of the network.

    Returns
    -------
    PolyphonicNotes
        In the order of their onsets.
    """
    n_frames = len(onset)
    highest = maximum_filter1d(onset, 2 * APART + 1, axis=0, mode="constant")
    follows = sounding_from(active.T).T
    pitch, frame = np.nonzero(((onset == highest) & (onset >= least_onset) & (follows >= least_active)).T)
    if not len(frame):
        none = np.zeros(0)
        return PolyphonicNotes(none, none, none.astype(np.int64), none, none)
    # Two neighbours that are equal are one maximum.
    kept = np.r_[True, (np.diff(pitch) != 0) | (np.diff(frame) > APART)]
    pitch, frame = pitch[kept], frame[kept]
    end = _ends(active >= least_active, frame, pitch)
    again = np.append(np.diff(pitch) == 0, False)
    end = np.minimum(np.maximum(end, frame + 1), np.where(again, np.append(frame[1:], 0), n_frames))
    left, centre, right = (onset[np.clip(frame + step, 0, n_frames - 1), pitch] for step in (-1, 0, 1))
    curvature = left - 2 * centre + right
    offset = np.clip((left - right) / 2 / np.minimum(curvature, -1e-6), -0.5, 0.5)
    onset_s = np.maximum((frame + offset) / FRAME_RATE, 0.0)
    offset_s = np.maximum(end / FRAME_RATE, onset_s + 1 / FRAME_RATE)
    offset_s = np.where(again, np.minimum(offset_s, np.append(onset_s[1:], 0.0)), offset_s)
    sums = np.concatenate([np.zeros((1, onset.shape[1])), np.cumsum(deviation * active, axis=0, dtype=np.float64)])
    weights = np.concatenate([np.zeros((1, onset.shape[1])), np.cumsum(active, axis=0, dtype=np.float64)])
    total = np.maximum(weights[end, pitch] - weights[frame, pitch], 1e-9)
    semitones = (sums[end, pitch] - sums[frame, pitch]) / total
    order = np.lexsort((pitch, onset_s))
    return PolyphonicNotes(
        onset_s[order],
        offset_s[order],
        (LOWEST_NOTE + lowest + pitch)[order],
        (100 * np.clip(semitones, -0.5, 0.5))[order],
        (centre * np.minimum(total / (end - frame), 1.0))[order],
    )


def sounding_from(active: np.ndarray) -> np.ndarray:
    """(n_pitches, n_frames) mean of the probability that a pitch sounds, over three frames from each one on."""
    # A window that is moved by half its width.
    return np.asarray(uniform_filter1d(active, FOLLOWING, axis=1, origin=-(FOLLOWING // 2), mode="constant"))


def _ends(sounds: np.ndarray, frame: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """(n_notes,) first frame after each from which on its pitch does not sound for :data:`REST` frames."""
    silent = np.concatenate([~sounds, np.ones((REST, sounds.shape[1]), bool)])
    stops = np.asarray(sliding_window_view(silent, REST, axis=0).all(axis=-1))
    at = np.flatnonzero(stops.T.ravel())
    first = np.searchsorted(at, pitch * len(stops) + frame + 1)
    return np.asarray(at[np.minimum(first, len(at) - 1)] - pitch * len(stops))


def accompaniment_notes(inputs: DescriptorInputs) -> PolyphonicNotes | None:
    """Notes of ``other`` where it is active, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    PolyphonicNotes or None
        None where the network was not asked.
    """
    frames = inputs.frames.notes
    if frames is None:
        return None
    active = inputs.get(active_rows)["other"]
    onset = likely_onsets(frames.onset, frames.active)
    parts = []
    for first in range(0, N_NOTES, _TOGETHER):
        some = slice(first, first + _TOGETHER)
        found = polyphonic_notes(onset[some].T, frames.active[some].T, frames.deviation[some].T, lowest=first)
        near = np.clip(np.rint(found.onset_s * FRAME_RATE).astype(int), 0, len(active) - 1)
        parts.append([x[active[near]] for x in vars(found).values()])
    columns = [np.concatenate(values) for values in zip(*parts)]
    order = np.lexsort((columns[2], columns[0]))
    return PolyphonicNotes(*(x[order] for x in columns))


def _events(inputs: DescriptorInputs) -> Columns:
    found = inputs.get(accompaniment_notes)
    if found is None:
        return {f.name: [] for f in FIELDS}
    cents = 100 * (found.pitch - 69) + found.cents
    return {
        "stem": ["other"] * len(found.pitch),
        "onset_s": found.onset_s,
        "pitch": found.pitch,
        "offset_s": found.offset_s,
        "name": [note_name(100.0 * (pitch - 69)) for pitch in found.pitch],
        "cents": found.cents,
        "frequency_hz": 440 * 2 ** (cents / 1200),
        "confidence": found.confidence,
    }


_FIELDS = {f.name: f for f in EVENT_FIELDS}
FIELDS = (
    STEM,
    *(_FIELDS[name] for name in ("onset_s", "pitch", "offset_s", "name")),
    replace(_FIELDS["cents"], description="Mean deviation from it."),
    replace(_FIELDS["frequency_hz"], description="Mean pitch."),
    replace(_FIELDS["confidence"], description="Probability of the onset times that of sounding."),
)
register_events(
    EventTable(
        POLYPHONIC_NOTES,
        41,
        "One row per note of the accompaniment, on request (extract --polyphonic-notes); they may sound together.",
        FIELDS,
        ("stem", "onset_s", "pitch"),
        compute=_events,
        on_request=True,
    )
)
