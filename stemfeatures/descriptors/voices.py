"""Voices beside the first one: stretches of F0 candidates of the vocals that a second or a third voice sings.

The contour of the vocals is one voice. The network keeps further candidates of each frame; those that follow each other
at nearly one pitch, away from the contour, make a stretch. A stretch may be a voice, a partial of the first one, or a
note of another stem that has bled into the vocals. A logistic model tells how likely the first of these is: from how
salient the stretch is, how long, how it moves by itself and against the contour, and how far it lies from the range of
the first voice. :mod:`stemfeatures.training.voices` fits it, and chooses the probability from which on a stretch
counts, to generated songs, with the network whose salience it reads.

Where they were asked for, the pitches that the network of voices hears (:mod:`stemfeatures.models.voices`) take the
place of the candidates, with a model of their own. How sure that network is of several voices in a frame counts, too,
so that a stretch may be a voice in a part of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from .._util.numba_cache import compiled_when_called
from ..constants import FRAME_RATE, MIXTURE, STEMS
from ..fields import NOT_A_COORDINATE, Field, status_field
from ..frames import PitchFrames
from .activity import active_rows
from .event_tables import END, START, STEM, Columns, EventTable, register_events
from .f0 import UNVOICED, cents, f0_contours
from .fitted import logistic, stored_model
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .transcription import note_name
from .values import OK, SILENT, mean, middle, runs, windows

VOCALS = "vocals"
#: Name of the table.
FURTHER_VOICES = "further_voices"
#: Models of candidates of the pitch, and of what the network of voices hears.
WEIGHTS, HEARD_WEIGHTS = "voice_weights.json", "heard_voice_weights.json"
#: Most voices of a frame, the first one included.
MOST_VOICES = 3

#: Semitones around the contour in which there is no other voice; those between candidates of successive frames, and
#: the frames between them, over which one follows the other at most; least salience of a candidate.
NEAR, STEP, GAP, LEAST_SALIENCE = 0.8, 0.6, 4, 0.03
#: Stretches that are followed at a time.
_OPEN = 24
#: A4 in cents above 10 Hz.
_A4_CENTS = 1200 * np.log2(44.0)
#: Least frames of a stretch that counts (0.2 s).
LEAST_FRAMES = 8
#: Least seconds in which several voices must sing in a track, for stretches that are none are there in any.
ENOUGH_S = 1.0
NONE_FOUND = "none_found"
#: Semitones by which a partial of one voice may miss the fundamental of another.
_PARTIAL = 0.7
#: Mean square and deviation in semitones that are added before a logarithm is taken.
_LEAST, _STILL = 1e-9, 0.05

#: What is averaged over the candidates of a stretch.
_AVERAGED = (
    "salience", "relative_salience", "octave_above", "octave_below", "twelfth_above", "two_octaves", "above",
    "presence", "pitch", "level",
)  # fmt: skip
FEATURES = ("length", "movement", "relative_movement", "distance", *_AVERAGED)
#: Added to probabilities before log-odds are taken.
_LEAST_P = 1e-3


@dataclass(frozen=True)
class Stretches:
    """Candidates that follow each other, in the order of their beginning.

    Attributes
    ----------
    frame, owner : np.ndarray
        (n,) int32 frame of each candidate that belongs to a stretch, increasing, and the number of the stretch.
    midi : np.ndarray
        (n,) float32 pitch of the candidate.
    features : np.ndarray
        (n_stretches, n_features) in the order of :data:`FEATURES`.
    first, end : np.ndarray
        (n_stretches,) first frame, and the one after the last.
    length : np.ndarray
        (n_stretches,) number of candidates.
    several : np.ndarray or None
        (n_frames,) log-odds that the network of voices gives that several sing; None where it was not asked.
    """

    frame: np.ndarray
    owner: np.ndarray
    midi: np.ndarray
    features: np.ndarray
    first: np.ndarray
    end: np.ndarray
    length: np.ndarray
    several: np.ndarray | None = None


@dataclass(frozen=True)
class VoiceModel:
    """Logistic model of a stretch.

    Attributes
    ----------
    weights : np.ndarray
        (n_features,) in the order of :data:`FEATURES`.
    bias : float
        Of the score.
    least : float
        Probability from which on a stretch counts.
    frame : tuple of float, optional
        What the log-odds of a stretch, those of several voices in a frame, and a constant count for in that frame.
    """

    weights: np.ndarray
    bias: float
    least: float
    frame: tuple[float, float, float] | None = None

    def probability(self, features: np.ndarray) -> np.ndarray:
        """That a stretch is a voice, 0..1, of ``(..., n_features)``."""
        return logistic(features @ self.weights + self.bias)

    def course(self, probability: float, several: np.ndarray | None, part: slice) -> np.ndarray:
        """(n,) probability in each frame of a stretch of that ``probability``."""
        if several is None or self.frame is None:
            return np.full(part.stop - part.start, probability)
        own, heard, bias = self.frame
        return logistic(own * float(log_odds(probability)) + heard * several[part] + bias)


@cache
def voice_model(*, heard: bool = False) -> VoiceModel:
    """The model that comes with the package, of candidates of the pitch or of what the network of voices heard."""
    stored = stored_model(HEARD_WEIGHTS if heard else WEIGHTS, FEATURES)
    frame: tuple[float, float, float] | None = None
    if heard:
        own, several, bias = map(float, stored["frame"])
        frame = own, several, bias
    return VoiceModel(np.array(stored["weights"]), float(stored["bias"]), float(stored["least"]), frame)


def log_odds(probability: float | np.ndarray) -> np.ndarray:
    """Of probabilities of any shape, within 6.9."""
    p = np.asarray(probability, np.float64)
    return np.asarray(np.log((p + _LEAST_P) / (1 - p + _LEAST_P)))


def to_midi(hertz: np.ndarray) -> np.ndarray:
    """MIDI note numbers with fractions, NaN where there is no frequency."""
    hertz = np.asarray(hertz, np.float64)
    return np.asarray(69 + cents(np.where(hertz > 0, hertz, np.nan)) / 100)


def to_hertz(midi: np.ndarray) -> np.ndarray:
    """Hz of MIDI note numbers, NaN where there is none."""
    return np.asarray(440 * 2 ** ((np.asarray(midi, np.float64) - 69) / 12))


@compiled_when_called()
def _follow(
    midi: np.ndarray, usable: np.ndarray, start: int, last: np.ndarray, seen: np.ndarray, number: np.ndarray, count: int
) -> tuple[np.ndarray, int]:  # pragma: no cover - compiled
    """Stretch of each candidate (n, k) of the frames from ``start`` on, -1 for none, and the number of stretches.

    What is open is told by pitch, frame and number of the last candidate of each, ``(_OPEN,)``, which are changed.
    """
    owner = np.full(midi.shape, -1, np.int64)
    for row in range(len(midi)):
        at = start + row
        for k in range(midi.shape[1]):
            if not usable[row, k]:
                continue
            best, nearest = -1, STEP
            for place in range(len(last)):
                if seen[place] < at and seen[place] >= at - GAP and abs(midi[row, k] - last[place]) < nearest:
                    best, nearest = place, abs(midi[row, k] - last[place])
            if best < 0:
                for place in range(len(last)):
                    if seen[place] < at - GAP:
                        best = place
                        break
                if best < 0:
                    continue
                number[best] = count
                count += 1
            last[best], seen[best] = midi[row, k], at
            owner[row, k] = number[best]
    return owner, count


def find_stretches(
    pitch: PitchFrames, f0_hz: np.ndarray, presence: np.ndarray | None, vocals: np.ndarray, mixture: np.ndarray, *,
    heard: bool = False,
) -> Stretches:  # fmt: skip
    """Stretches beside a contour, and what tells voices among them.

    Parameters
    ----------
    pitch : PitchFrames
        Candidates of the vocals.
    f0_hz : (n_frames,) ndarray
        Their contour, NaN where unvoiced; beside nothing there is nothing.
    presence : (n_frames,) ndarray or None
        Probability that the vocals sound.
    vocals, mixture : (n_frames,) ndarray
        Mean squares of the separated vocals and of the mixture.
    heard : bool, default=False
        The candidates are those of the network of voices, the ``voicing`` its probability of several.

    Returns
    -------
    Stretches
        Of any length and likelihood.
    """
    last, seen, number = np.zeros(_OPEN), np.full(_OPEN, -GAP - 1), np.zeros(_OPEN, np.int64)
    count, sums, parts = 0, _Sums(), []
    for part in windows(pitch.candidates_hz.T, pitch.salience.T):
        midi, salience = to_midi(pitch.candidates_hz[part]), np.asarray(pitch.salience[part], np.float64)
        interval = midi - to_midi(f0_hz[part])[:, None]
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(interval) & (np.abs(interval) > NEAR) & (salience >= LEAST_SALIENCE)
            sung = np.where(np.abs(interval) <= NEAR, salience, 0.0).max(axis=1, initial=LEAST_SALIENCE)
        owner, count = _follow(np.nan_to_num(midi), usable, part.start, last, seen, number, count)
        row, k = np.nonzero(owner >= 0)
        pitches, intervals = midi[row, k], interval[row, k]
        plays = np.ones(len(row)) if presence is None else np.asarray(presence[part], np.float64)[row]
        own, total = (np.asarray(x[part], np.float64)[row] + _LEAST for x in (vocals, mixture))

        def near(*semitones: float, intervals: np.ndarray = intervals) -> np.ndarray:
            return np.any([np.abs(intervals - x) < _PARTIAL for x in semitones], axis=0)

        values = (
            np.log(salience[row, k]), np.log(salience[row, k] / sung[row]), near(12), near(-12), near(19.02),
            near(24, -24), intervals > 0, plays, (pitches - 60) / 12, np.log(own / total),
        )  # fmt: skip
        parts.append((part.start + row, owner[row, k], pitches))
        sums.add(owner[row, k], part.start + row, pitches, intervals, values, count)
    frame, of, pitches = (np.concatenate(x) for x in zip(*parts)) if parts else (np.zeros(0),) * 3
    voiced = f0_hz[np.isfinite(f0_hz)]
    features, first, end, length = sums.finish(float(to_midi(np.median(voiced))) if len(voiced) else 0.0)
    several = log_odds(pitch.voicing) if heard else None
    return Stretches(
        frame.astype(np.int32), of.astype(np.int32), pitches.astype(np.float32), features, first, end, length, several
    )


class _Sums:
    """What is known of stretches whose candidates come in blocks."""

    def __init__(self) -> None:
        self._sums = np.zeros((5 + len(_AVERAGED), 0))
        self._first, self._end = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def add(
        self, owner: np.ndarray, frame: np.ndarray, midi: np.ndarray, interval: np.ndarray,
        averaged: Sequence[np.ndarray], count: int,
    ) -> None:  # fmt: skip
        """Take further candidates (n,), of ``count`` stretches by now."""
        more = count - self._sums.shape[1]
        self._sums = np.pad(self._sums, ((0, 0), (0, more)))
        self._first = np.append(self._first, np.full(more, np.iinfo(np.int64).max))
        self._end = np.append(self._end, np.zeros(more, np.int64))
        np.minimum.at(self._first, owner, frame)
        np.maximum.at(self._end, owner, frame + 1)
        x, y = midi - 60, interval
        for row, terms in zip(self._sums, (np.ones(len(owner)), x, x**2, y, y**2, *averaged)):
            row += np.bincount(owner, terms, minlength=count)

    def finish(self, contour_midi: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(n_stretches, n_features), and first frame, end and number of candidates of each stretch."""
        length = self._sums[0]
        _, x, xx, y, yy, *averaged = self._sums / np.maximum(length, 1)
        moves, against = (np.sqrt(np.maximum(square - a**2, 0.0)) for a, square in ((x, xx), (y, yy)))
        distance = np.abs(x + 60 - contour_midi) / 12
        own = (np.log(np.maximum(length, 1)), np.log(moves + _STILL), np.log(against + _STILL), distance)
        return np.stack([*own, *averaged], axis=1), self._first, self._end, length.astype(np.int64)


@dataclass(frozen=True)
class FurtherVoices:
    """What further voices sing, in the order of their beginning.

    Attributes
    ----------
    voice : np.ndarray
        (n,) 2 or 3; those of one number do not overlap.
    first, end : np.ndarray
        (n,) first frame, and the one after the last.
    midi : list of np.ndarray
        Of each the pitch of its frames, those between candidates interpolated.
    confidence : np.ndarray
        (n,) probability that it is a voice, 0..1.
    stretch : np.ndarray
        (n,) its number among the stretches that it was chosen from.
    """

    voice: np.ndarray
    first: np.ndarray
    end: np.ndarray
    midi: list[np.ndarray]
    confidence: np.ndarray
    stretch: np.ndarray

    def counts(self, voiced: np.ndarray) -> np.ndarray:
        """(n_frames,) number of voices, from the (n_frames,) bool of the frames in which the first one sings."""
        steps = np.zeros(len(voiced) + 1, np.int64)
        np.add.at(steps, self.first, 1)
        np.add.at(steps, self.end, -1)
        return np.where(voiced, 1 + np.cumsum(steps[:-1]), 0)

    def pitches(self, n_frames: int) -> np.ndarray:
        """(2, n_frames) MIDI pitch of the second and of the third voice, NaN where they do not sing."""
        found = np.full((MOST_VOICES - 1, n_frames), np.nan)
        for voice, first, end, midi in zip(self.voice, self.first, self.end, self.midi):
            found[voice - 2, first:end] = midi
        return found


def choose_voices(stretches: Stretches, model: VoiceModel) -> FurtherVoices:
    """The likely voices among stretches, at most two at a time, the likeliest first.

    Parameters
    ----------
    stretches : Stretches
        Of a track.
    model : VoiceModel
        What tells how likely they are.

    Returns
    -------
    FurtherVoices
        Those that the model's threshold lets through.
    """
    pieces = _pieces(stretches, model)
    taken = np.zeros((MOST_VOICES - 1, int(stretches.end.max(initial=0))), bool)
    voice = np.zeros(len(pieces), np.int64)
    for k in np.argsort([-piece.probability for piece in pieces], kind="stable"):
        part = slice(pieces[k].first, pieces[k].end)
        if free := [row for row in range(len(taken)) if not taken[row, part].any()]:
            taken[free[0], part] = True
            voice[k] = 2 + free[0]
    kept = [piece for piece, number in zip(pieces, voice) if number]
    order = np.argsort(stretches.owner, kind="stable")
    number = np.array([piece.stretch for piece in kept], np.int64)
    edges = np.searchsorted(stretches.owner[order], [number, number + 1])
    midi = []
    for piece, start, stop in zip(kept, *edges):
        own = order[start:stop]
        midi.append(np.interp(np.arange(piece.first, piece.end), stretches.frame[own], stretches.midi[own]))
    first, end = (np.array([getattr(piece, name) for piece in kept], np.int64) for name in ("first", "end"))
    confidence = np.array([piece.probability for piece in kept])
    return FurtherVoices(voice[voice > 0], first, end, midi, confidence, number)


class _Piece(NamedTuple):
    """Frames of a stretch in which it is likely a voice, and how likely."""

    stretch: int
    first: int
    end: int
    probability: float


def _pieces(stretches: Stretches, model: VoiceModel) -> list[_Piece]:
    """Pieces of stretches, in the order of their beginning, that the model's threshold lets through."""
    found = []
    probability = model.probability(stretches.features)
    for k in np.flatnonzero(stretches.length >= LEAST_FRAMES):
        first = int(stretches.first[k])
        course = model.course(float(probability[k]), stretches.several, slice(first, int(stretches.end[k])))
        for start, stop in runs(course >= model.least):
            if stop - start >= LEAST_FRAMES:
                found.append(_Piece(int(k), first + start, first + stop, float(course[start:stop].mean())))
    return sorted(found, key=lambda piece: (piece.first, piece.stretch))


def further_voices(inputs: DescriptorInputs) -> FurtherVoices:
    """Voices beside the first one, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    FurtherVoices
        Such as the model that comes with the package lets through.
    """
    if inputs.frames.voices is None:
        return inputs.get(voices_of_candidates)
    return choose_voices(track_stretches(inputs), voice_model(heard=True))


def voices_of_candidates(inputs: DescriptorInputs) -> FurtherVoices:
    """The same among the candidates of the pitch, whether the network of voices was asked or not.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    FurtherVoices
        What table ``stems`` is made of: its values do not depend on the tables that are asked for.
    """
    return choose_voices(_stretches_of(inputs, inputs.frames.pitch[VOCALS]), voice_model(heard=False))


def track_stretches(inputs: DescriptorInputs) -> Stretches:
    """:func:`find_stretches` of a track.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    Stretches
        Beside the contour of its vocals, of what the network of voices heard where it was asked.
    """
    heard = inputs.frames.voices
    return _stretches_of(inputs, inputs.frames.pitch[VOCALS] if heard is None else heard, heard=heard is not None)


def _stretches_of(inputs: DescriptorInputs, pitch: PitchFrames, *, heard: bool = False) -> Stretches:
    frames, contour = inputs.frames, inputs.get(f0_contours)[VOCALS][0]
    presence = None if frames.presence is None else frames.presence[STEMS.index(VOCALS)]
    energies = (frames.stems[row].energy for row in (VOCALS, MIXTURE))
    return find_stretches(pitch, contour.f0_hz, presence, *energies, heard=heard)


_field = partial(Field, type="float32", family="voices", rows=(VOCALS,), since="1.1", scale=NOT_A_COORDINATE)
FIELDS = (
    status_field(
        "voices_status",
        f"{OK} | {SILENT} | absent | {UNVOICED} | {NONE_FOUND} | not_applicable",
        f"how many voices sing at a time ({NONE_FOUND}: further ones for less than {ENOUGH_S:g} s, as one voice "
        "gives, too)",
        family="voices",
        since="1.1",
    ),
    _field(
        "voices_count_mean",
        description="Mean number of voices of the voiced frames, three at most. Such as are likely among the "
        "candidates of the pitch count: there may be more, and table further_voices has more of them.",
        range="1..3",
        statistic="mean",
    ),
    _field("voices_several_ratio", description="Share of the voiced frames in which two and more count.", range="0..1"),
    _field("voices_three_ratio", description="Share of the voiced frames in which three count.", range="0..1"),
    _field("voices_confidence", description="Mean confidence of the further voices, by their length.", range="0..1"),
)
_event = partial(Field, since="1.1", family="voices")
EVENT_FIELDS = (
    STEM,
    START,
    _event(
        "voice",
        "int8",
        "2 or 3: voices beside the contour, which is the first; the likelier is 2.",
        "",
        "2..3",
        nullable=False,
    ),
    END,
    _event("pitch", "int16", "MIDI note number nearest to the median pitch, A4 = 69 = 440 Hz.", "", "0..127"),
    _event("name", "category", "Its scientific name, such as F#3, with sharps."),
    _event("frequency_hz", "float32", "Median pitch.", "Hz", "> 0"),
    _event("confidence", "float32", "Probability that it is a voice.", "", "0..1"),
    _event(
        "f0_cents",
        "list<int16>",
        "F0 of each frame (512 / 22,050 s) from start_s on, above 10 Hz as in table contours.",
        "cents",
    ),
)


def _describe(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    if not inputs.get(active_rows)[row].any():
        return {"voices_status": SILENT}
    voiced = np.isfinite(inputs.get(f0_contours)[row][0].f0_hz)
    if not voiced.any():
        return {"voices_status": UNVOICED}
    found = inputs.get(voices_of_candidates)
    counts = found.counts(voiced)[voiced]
    length = found.end - found.first
    if (counts > 1).sum() < ENOUGH_S * FRAME_RATE:
        return {"voices_status": NONE_FOUND}
    return {
        "voices_status": OK,
        "voices_count_mean": mean(counts),
        "voices_several_ratio": mean(counts > 1),
        "voices_three_ratio": mean(counts > 2),
        "voices_confidence": float(found.confidence @ length / length.sum()),
    }


def _events(inputs: DescriptorInputs) -> Columns:
    found = inputs.get(further_voices)
    median = np.array([middle(pitch) for pitch in found.midi])
    return {
        "stem": [VOCALS] * len(median),
        "start_s": found.first / FRAME_RATE,
        "voice": found.voice,
        "end_s": found.end / FRAME_RATE,
        "pitch": np.rint(median).astype(int),
        "name": [note_name(100 * (pitch - 69)) for pitch in median],
        "frequency_hz": to_hertz(median),
        "confidence": found.confidence,
        "f0_cents": [np.rint(100 * (pitch - 69) + _A4_CENTS).astype(np.int16) for pitch in found.midi],
    }


register(Extractor("voices", 67, FIELDS, "voices_status", _describe))
register_events(
    EventTable(
        FURTHER_VOICES,
        42,
        "One row per stretch that a second or third voice sings beside the contour of the vocals, on request (extract "
        "--further-voices).",
        EVENT_FIELDS,
        ("stem", "start_s", "voice"),
        compute=_events,
        on_request=True,
    )
)
