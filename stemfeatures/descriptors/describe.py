"""All descriptors of a track, from its frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..constants import FRAME_RATE, MIXTURE, PITCHED_STEMS, STEM_ROWS
from ..frames import TrackFrames
from .activity import active_frames, audible_energy, describe_activity
from .beats import track_bars, track_beats
from .embedding import embedding
from .f0 import NAMES as F0_NAMES
from .f0 import decode_f0, describe_f0
from .harmony import NAMES as HARMONY_NAMES
from .harmony import UNRESOLVED, UNVOICED, contour_chroma, describe_harmony, resolved_frames
from .loudness import describe_loudness, integrated_loudness, step_powers
from .rhythm import ACTIVATION_THRESHOLD, describe_onsets, describe_tempo, onset_strength, pick_onsets, stem_onsets
from .timbre import describe_timbre
from .types import Events, F0Contour, TrackDescription
from .values import NOT_APPLICABLE, unmeasured

_DRUMS = "drums"


_BEAT_ROWS = (MIXTURE, _DRUMS)


_HARMONY_PARTS = ("vocals", "bass", "other")


#: The drums are heard as a rhythm for this many frames (1 s) after and before their last sounding frame.
_DRUMS_REACH = 43


#: They have a beat of their own when they sound within 70 ms of this share of the beats.
_DRUMS_SHARE = 1 / 3


def describe(frames: TrackFrames) -> TrackDescription:
    """Descriptors of one track, from its frames alone.

    Parameters
    ----------
    frames : all five rows must be there, with at least one frame. Values are finite; bounds are those of
        :mod:`stemfeatures.frames`.

    Returns
    -------
    TrackDescription
        Every row holds every descriptor field; None where it cannot be measured, with the reason in the family's
        ``*_status``. The result depends on the frames only and is the same on every run.

    Raises
    ------
    ValueError : when a row is missing, there is no frame, or a row has another number of frames.
    """
    _validate(frames)
    audible = {row: audible_energy(frames.stems[row]) for row in STEM_ROWS}
    active = {row: active_frames(audible[row], audible[MIXTURE]) for row in STEM_ROWS}
    contours, saliences = {}, {}
    for stem in PITCHED_STEMS:
        contours[stem], saliences[stem] = decode_f0(frames.pitch[stem], active[stem], frames.times_s)
    steps = step_powers(frames)
    mixture_lufs = integrated_loudness(steps[MIXTURE])

    rows: dict[str, dict[str, Any]] = {}
    onsets: dict[str, np.ndarray] = {}
    beats_s, beat_positions = np.zeros(0), np.zeros(0, dtype=np.int64)
    chroma = _chroma(frames, active, contours)
    for row in STEM_ROWS:
        stem_frames, on = frames.stems[row], active[row]
        values = describe_activity(frames, row, on)
        if row in contours:
            values.update(describe_f0(contours[row], saliences[row], on))
        else:
            values.update(unmeasured(F0_NAMES, "f0_status", NOT_APPLICABLE))

        if row in _BEAT_ROWS:
            onsets[row], height = pick_onsets(frames.onset, on, threshold=ACTIVATION_THRESHOLD)
        else:
            onsets[row], height = stem_onsets(
                onset_strength(stem_frames.mel), on, contours.get(row), voice=row == "vocals"
            )
        values.update(describe_onsets(onsets[row], height, on, frames.duration_s))
        if row in _BEAT_ROWS:
            heard = np.convolve(on, np.ones(2 * _DRUMS_REACH + 1), "full")[_DRUMS_REACH:-_DRUMS_REACH] > 0
            track = track_beats(np.where(heard, frames.beat, 0.0)) if on.any() else None
            if track and row == _DRUMS and _share_sounding(track.beats_s, on) < _DRUMS_SHARE:
                track = None
            positions, meter, confidence = (
                track_bars(track.beats_s, frames.downbeat) if track else (beat_positions, None, None)
            )
            if row == MIXTURE and track:
                beats_s, beat_positions = track.beats_s, positions
            values.update(describe_tempo(track, on, frames.duration_s, meter=meter, meter_confidence=confidence))
        else:
            values.update(describe_tempo(None, on, frames.duration_s, applicable=False))

        values.update(describe_timbre(stem_frames, on))
        values.update(
            describe_loudness(
                stem_frames,
                on,
                steps[row],
                mixture_lufs=mixture_lufs,
                true_peak=frames.true_peak if row == MIXTURE else None,
            )
        )
        if row == _DRUMS:
            values.update(unmeasured(HARMONY_NAMES, "harmony_status", NOT_APPLICABLE))
        else:
            empty = UNVOICED if row == "bass" else UNRESOLVED
            values.update(describe_harmony(chroma[row], on, chords=row in (MIXTURE, "other"), empty=empty))
        rows[row] = values

    vectors = {row: embedding(frames.stems[row]) for row in STEM_ROWS if active[row].any()}
    return TrackDescription(
        stems=rows,
        contours=contours,
        events=Events(beats_s, beat_positions, onsets),
        embeddings={row: vector for row, vector in vectors.items() if vector is not None},
    )


def _chroma(
    frames: TrackFrames, active: dict[str, np.ndarray], contours: dict[str, F0Contour]
) -> dict[str, np.ndarray]:
    """Chroma of the rows that have harmony; that of the mixture is the sum of its pitched parts where they sound."""
    chroma = {}
    for stem in ("vocals", "other"):
        own = frames.stems[stem]
        resolved = resolved_frames(own.mel)
        fallback = contour_chroma(contours[stem], own.energy) if stem in contours else 0.0
        chroma[stem] = np.where(resolved, np.asarray(own.chroma, dtype=np.float64), fallback)
    chroma["bass"] = contour_chroma(contours["bass"], frames.stems["bass"].energy)
    total = np.zeros_like(chroma["other"])
    for stem in _HARMONY_PARTS:
        power = np.where(active[stem], chroma[stem], 0.0)
        # A part's chroma counts with the energy of the part: the scale of the chroma filters drops out.
        sums = power.sum(axis=0)
        total += power / np.where(sums > 0, sums, 1.0) * frames.stems[stem].energy
    chroma[MIXTURE] = total
    return chroma


def _share_sounding(beats_s: np.ndarray, active: np.ndarray) -> float:
    near = np.convolve(active, np.ones(7), "same") > 0
    return float(near[np.clip(np.rint(beats_s * FRAME_RATE).astype(int), 0, len(near) - 1)].mean())


def _validate(frames: TrackFrames) -> None:
    missing = [row for row in STEM_ROWS if row not in frames.stems]
    missing += [f"pitch of {stem}" for stem in PITCHED_STEMS if stem not in frames.pitch]
    if missing:
        raise ValueError(f"frames lack {', '.join(missing)}")
    if frames.n_frames == 0:
        raise ValueError("frames hold no frame at all")
    for row in STEM_ROWS:
        if len(frames.stems[row].energy) != frames.n_frames:
            raise ValueError(f"{row} has {len(frames.stems[row].energy)} frames, the activations {frames.n_frames}")
