"""Chords of a track, as events in Harte's syntax, and figures of its harmony.

The pitched stems give pitch classes, the bass line its own; both are averaged between beats and half beats and compared
with chords whose tones have partials, and the best path is taken: chords change on beats, and rarely. (Templates with
partials: Gómez, "Tonal description of polyphonic audio", INFORMS J. Computing 18(3), 2006; syntax: Harte et al.,
"Symbolic representation of musical chords", ISMIR 2005.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from .._util.large_arrays import release
from ..constants import FRAME_RATE, MIXTURE
from ..fields import DURATION, LOG1P, NOT_A_COORDINATE, Field, Scale, log, status_field
from .activity import active_rows
from .event_tables import END, START, Columns, EventTable, register_events
from .f0 import cents, f0_contours
from .inputs import DescriptorInputs
from .paths import advance_evenly, trace
from .pitch_classes import PITCH_CLASSES, fold_chroma, row_chroma, track_tuning
from .registry import Extractor, register
from .rhythm import row_bars
from .values import OK, SILENT, TOO_SHORT, blocks, mean, median, number, step_windows, windows

#: Harte's shorthands, and their tones in semitones above the root.
QUALITIES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "sus4": (0, 5, 7),
    "sus2": (0, 2, 7),
    "dim": (0, 3, 6),
    "5": (0, 7),
}
NO_CHORD = "N"
NO_CHORDS = "no_chords"
#: Degrees by semitones above the root, for the bass of an inversion.
DEGREES = ("1", "b2", "2", "b3", "3", "4", "b5", "5", "#5", "6", "b7", "7")

#: Shares of the time of chords that are described, and the qualities they count.
KINDS = {
    "major": ("maj", "7", "maj7"),
    "minor": ("min", "min7"),
    "seventh": ("7", "maj7", "min7"),
    "suspended": ("sus4", "sus2"),
    "diminished": ("dim",),
    "power": ("5",),
}
_field = partial(Field, type="float32", family="harmony", rows=(MIXTURE,), since="1.1")
_ratio = partial(_field, range="0..1")
FIELDS = (
    status_field(
        "chord_status",
        "ok | silent | too_short | no_chords | not_applicable",
        "chords (1 s at least)",
        family="harmony",
        since="1.1",
    ),
    _field("chord_count", type="int32", description="Chords of table chords but N.", range=">= 0", scale=DURATION),
    _field(
        "chord_distinct_count",
        type="int16",
        description="Different chords: roots and qualities.",
        range=">= 0",
        scale=LOG1P,
    ),
    _field(
        "chord_rate_per_minute",
        description="Chords a minute of the time that has chords: the harmonic rhythm.",
        unit="1/min",
        range=">= 0",
        scale=LOG1P,
    ),
    _field(
        "chord_duration_median_s",
        description="Median length of a chord.",
        unit="s",
        range="> 0",
        scale=log(0.1),
        feature="chord_duration",
        statistic="median",
    ),
    _field(
        "chord_duration_median_beats",
        description="Median length of a chord; null without beats.",
        unit="beats",
        range="> 0",
        scale=log(0.1),
        feature="chord_duration_beats",
        statistic="median",
    ),
    _field(
        "chord_scale_change_count",
        type="int16",
        description="Times that the chords pass into another major or natural minor scale.",
        range=">= 0",
        scale=LOG1P,
    ),
    _ratio("chord_confidence", description="Mean confidence of the chords.", scale=NOT_A_COORDINATE),
    _ratio("chord_none_ratio", description="Share of the track without a chord."),
    _ratio("chord_inversion_ratio", description="Share of the time of chords whose bass is not their root."),
    *(
        _ratio(f"chord_{kind}_ratio", description=f"Share of the time of chords that is {', '.join(qualities)}.")
        for kind, qualities in KINDS.items()
    ),
    *(
        _ratio(
            f"chord_root_{k:02d}_ratio",
            description=f"Share of the time of chords whose root is {name}.",
            scale=Scale("sqrt", vector="chord_root"),
            feature="chord_root",
            number=k,
        )
        for k, name in enumerate(PITCH_CLASSES, start=1)
    ),
)
_event = partial(Field, since="1.1", family="harmony")
_NAMES = " | ".join(PITCH_CLASSES)
EVENT_FIELDS = (
    START,
    END,
    _event("label", "category", "The chord in Harte's syntax, with sharps and its bass; N where there is none."),
    _event("root", "category", "Root; null for N.", range=_NAMES),
    _event("quality", "category", "Shorthand of its tones; null for N.", range=" | ".join(QUALITIES)),
    _event("bass", "category", "Lowest tone, the root unless the bass stays on another of the chord.", range=_NAMES),
    _event("length_beats", "float32", "Its length in beats; null without beats.", "beats", "> 0"),
    _event("confidence", "float32", "Probability of the chord against all others.", "", "0..1"),
)

#: Amplitude of a partial over that of the one below it, and how many count.
PARTIAL_DECAY = 0.72
N_PARTIALS = 6
#: Rewards in nats of the similarity to a chord and of the bass; cost of a change on a downbeat, a beat, off the beat.
SIMILARITY = 20.0
BASS = 6.0
CHANGE = (6.75, 9.5, 10.0)
#: What a quality must be better by than a triad.
RARITY = {"7": 1.2, "maj7": 1.2, "min7": 1.2, "sus4": 1.8, "sus2": 2.4, "dim": 1.8, "5": 1.5}
#: Similarity that the absence of a chord has.
NO_CHORD_SIMILARITY = 0.55
#: What a chord of the scale is worth, and the share of it for the dominant in minor; cost of another scale.
IN_SCALE = 1.2
BORROWED = 0.7
SCALE_CHANGE = 8.0
#: The same where changes are counted, so that one borrowed chord is none.
COUNTED_CHANGE = 10.0
#: What a step begins with that begins a bar.
DOWNBEAT = 0
#: Steps of the grid where there are no beats.
STEP_S = 0.25
#: A bass that stays on another tone of the chord for this share of its time makes an inversion.
INVERSION_SHARE = 0.6
#: A bass that plays its tone for this share of a bar or more moves the chord on.
BASS_OF_BAR = 1 / 3
#: Shortest signal whose chords are described.
MIN_CHORDS_S = 1.0

#: What each tone of a chord is to its bass, by semitones above the root, and all others: the root above all, but a
#: major third or a fifth in the bass makes it no other chord.
BASS_TONES, BASS_OF_TONE = {0: 1.0, 4: 0.73, 7: 0.65}, 0.35


@dataclass
class Chords:
    """Chords in the order of time, without gaps.

    Attributes
    ----------
    start_s, end_s : np.ndarray
        (n_chords,) seconds.
    label : list of str
        In Harte's syntax, with sharps; ``N`` where there is none.
    confidence : np.ndarray
        (n_chords,) probability of the chord against all others, 0..1.
    scale_start_s : np.ndarray
        (n_scales,) seconds at which the chords begin to be of a major or natural minor scale.
    scale : np.ndarray
        (n_scales,) tonic of each as a major scale, a pitch class from C.
    """

    start_s: np.ndarray
    end_s: np.ndarray
    label: list[str]
    confidence: np.ndarray
    scale_start_s: np.ndarray
    scale: np.ndarray

    @property
    def scale_changes(self) -> int:
        """How often the chords pass into another scale."""
        return max(len(self.scale) - 1, 0)


@dataclass
class ChordInputs:
    """What chords are found from, in steps of half a beat.

    Attributes
    ----------
    times_s : np.ndarray
        (n_steps + 1,) edges of the steps, from 0 to the end.
    kinds : np.ndarray
        (n_steps,) what a step begins with: 0 a downbeat, 1 a beat, 2 neither.
    sound : np.ndarray
        (12, n_steps) amplitude by pitch class, of the stems that have chords.
    bass : np.ndarray
        (12, n_steps) share of the step in which the bass has the pitch class, 0..1.
    tuning_cents : float
        Deviation from 440 Hz that was removed.
    """

    times_s: np.ndarray
    kinds: np.ndarray
    sound: np.ndarray
    bass: np.ndarray
    tuning_cents: float


@cache
def _templates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit-length chroma, bass weights (both (n_chords, 12), 12 roots a quality) and rarities (n_chords,)."""
    offsets = np.rint(12 * np.log2(np.arange(1, N_PARTIALS + 1))).astype(int)
    weights = PARTIAL_DECAY ** np.arange(N_PARTIALS)
    tone = np.bincount(offsets % 12, weights, 12)
    chroma, bass, rarity = [], [], []
    for quality, tones in QUALITIES.items():
        sound = np.sum([np.roll(tone, t) for t in tones], axis=0)
        low = np.full(12, 0.0)
        low[list(tones)] = [BASS_TONES.get(t, BASS_OF_TONE) for t in tones]
        for root in range(12):
            chroma.append(np.roll(sound / np.linalg.norm(sound), root))
            bass.append(np.roll(low, root))
            rarity.append(RARITY.get(quality, 0.0))
    return np.array(chroma), np.array(bass), np.array(rarity)


def chord_grid(beats_s: np.ndarray | None, positions: np.ndarray | None, duration_s: float) -> tuple[np.ndarray, ...]:
    """Where chords may change: times from 0 to the end, and the kind of each (0 downbeat, 1 beat, 2 off the beat)."""
    if beats_s is None or len(beats_s) < 2 or positions is None:
        inner = np.arange(STEP_S, duration_s, STEP_S)
        kinds = np.ones(len(inner), int)
    else:
        step = np.median(np.diff(beats_s))
        before = np.arange(beats_s[0] - step, -step, -step)[::-1]
        after = np.arange(beats_s[-1] + step, duration_s + step, step)
        beats = np.concatenate([before, beats_s, after])
        halves = (beats[1:] + beats[:-1]) / 2
        inner = np.concatenate([beats, halves])
        place = np.concatenate([np.zeros(len(before)), positions, np.zeros(len(after)), np.full(len(halves), -1)])
        kinds = np.where(place == 1, 0, np.where(place < 0, 2, 1))
        order = np.argsort(inner)
        inner, kinds = inner[order], kinds[order]
    inside = (inner > 1 / FRAME_RATE) & (inner < duration_s - 1 / FRAME_RATE)
    return np.concatenate([[0.0], inner[inside], [duration_s]]), np.concatenate([[1], kinds[inside]])


def find_chords(inputs: ChordInputs) -> Chords:
    """Chords of a track.

    Parameters
    ----------
    inputs : ChordInputs
        Pitch classes of the pitched stems, and the grid on which chords change.

    Returns
    -------
    Chords
        From 0 to the end; neighbours differ.
    """
    score = chord_scores(inputs.sound, inputs.bass)
    change = np.array(CHANGE)[inputs.kinds]
    # Most chords are of the scale that their neighbours are of: the scales of a first path have a say in the second.
    fit = _scale_fit()
    scale = _best_path(fit[:, _best_path(score, change)].T, np.full(len(score), SCALE_CHANGE))
    for start, end in blocks(len(score)):
        score[start:end] += IN_SCALE * fit[scale[start:end]]
    path = _best_path(score, change)
    first, labels = _with_bass(path, inputs)
    end = np.r_[first[1:], len(path)]
    state = path[first]
    means = np.add.reduceat(score, first, axis=0) / (end - first)[:, None]
    odds = np.exp(means - means.max(axis=1, keepdims=True))
    confidence = odds[np.arange(len(state)), state] / odds.sum(axis=1)
    scale = _best_path(fit[:, path].T, np.full(len(score), COUNTED_CHANGE))
    passes = np.flatnonzero(np.r_[True, scale[1:] != scale[:-1]])
    start_s, end_s = inputs.times_s[first], inputs.times_s[end]
    return Chords(start_s, end_s, labels, confidence, inputs.times_s[passes], scale[passes])


def chord_scores(sound: np.ndarray, bass: np.ndarray) -> np.ndarray:
    """(n_steps, n_chords + 1) scores in nats of (12, n_steps) pitch classes and bass; no chord comes last."""
    templates, low, rarity = _templates()
    scores = np.empty((sound.shape[1], len(templates) + 1))
    for part in windows(sound):
        size = np.linalg.norm(sound[:, part], axis=0)
        similar = templates @ (sound[:, part] / np.where(size > 0, size, 1.0))
        scores[part, :-1] = (SIMILARITY * similar + BASS * (low @ bass[:, part]) - rarity[:, None]).T
        scores[part, -1] = np.where(size > 0, SIMILARITY * NO_CHORD_SIMILARITY, SIMILARITY)
    return scores


@cache
def _scale_fit() -> np.ndarray:
    """(12, n_chords + 1) 1 for chords whose tones are all of the major scale on C, C# ...; of the dominant of its
    relative minor ``BORROWED``, of others 0."""
    fit = np.zeros((12, 12 * len(QUALITIES) + 1))
    for tonic in range(12):
        scale = {(tonic + s) % 12 for s in (0, 2, 4, 5, 7, 9, 11)}
        for k, (quality, tones) in enumerate(QUALITIES.items()):
            for root in range(12):
                inside = {(root + t) % 12 for t in tones} <= scale
                dominant = (root - tonic) % 12 == 4 and quality in ("maj", "7")
                fit[tonic, 12 * k + root] = 1.0 if inside else BORROWED if dominant else 0.0
    fit[:, -1] = 1.0
    return fit


def _best_path(score: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Best state of each step, when a change before step ``t`` costs ``change[t]``."""
    score = np.ascontiguousarray(score, dtype=np.float64)
    total, back = score[0].copy(), np.empty(score.shape, dtype=np.int16)
    advance_evenly(total, score[1:], change[1:], back[1:])
    return np.asarray(trace(back, int(total.argmax())))


def _with_bass(path: np.ndarray, inputs: ChordInputs) -> tuple[np.ndarray, list[str]]:
    """First steps (n_chords,) and labels of the chords of a path: one whose bass moves on with a bar is two."""
    changes = np.r_[True, path[1:] != path[:-1]]
    bars = np.flatnonzero(changes | (inputs.kinds == DOWNBEAT))
    # A bass that rests, or passes through, moves no chord on.
    bass = np.add.reduceat(inputs.bass, bars, axis=1)
    stays = bass.max(axis=0) >= BASS_OF_BAR * np.diff(bars, append=len(path))
    labels = np.array([_label(k, low * on) for k, low, on in zip(path[bars].tolist(), bass.T, stays)])
    first = bars[changes[bars] | np.r_[True, labels[1:] != labels[:-1]]]
    bass = np.add.reduceat(inputs.bass, first, axis=1)
    return first, [_label(k, low) for k, low in zip(path[first].tolist(), bass.T)]


def _label(state: int, bass: np.ndarray) -> str:
    """Harte's label of a state, with its bass where another tone of the chord than the root has it."""
    if state == 12 * len(QUALITIES):
        return NO_CHORD
    quality, root = list(QUALITIES)[state // 12], state % 12
    label = f"{PITCH_CLASSES[root]}:{quality}"
    lowest = int(bass.argmax())
    degree = (lowest - root) % 12
    if degree and degree in QUALITIES[quality] and bass[lowest] >= INVERSION_SHARE * bass.sum() > 0:
        label += f"/{DEGREES[degree]}"
    return label


def chord_inputs(inputs: DescriptorInputs) -> ChordInputs:
    """What chords are found from, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    ChordInputs
        Pitch classes of other and vocals, and of the bass line, between beats and half beats.
    """
    bars = inputs.get(row_bars)[MIXTURE]
    frames, contour = inputs.frames, inputs.get(f0_contours)["bass"][0]
    energy = {stem: frames.stems[stem].energy for stem in ("other", "vocals")}
    return step_chroma(
        inputs.get(row_chroma), inputs.get(active_rows), energy, contour.f0_hz, inputs.get(track_tuning),
        *chord_grid(bars.track.beats_s if bars else None, bars.positions if bars else None, frames.duration_s),
    )  # fmt: skip


def step_chroma(
    chroma: dict[str, np.ndarray],
    active: dict[str, np.ndarray],
    energy: dict[str, np.ndarray],
    bass_hz: np.ndarray,
    tuning: float,
    times_s: np.ndarray,
    kinds: np.ndarray,
) -> ChordInputs:
    """Pitch classes between the times of a grid, their tuning in cents removed."""
    n_frames = len(bass_hz)
    first = np.minimum(np.ceil(times_s[:-1] * FRAME_RATE).astype(int), n_frames - 1)

    def amplitude(part: slice) -> np.ndarray:
        # The voice sings what is of no chord, too: it speaks where nothing else does.
        other, voice = active["other"][part], active["vocals"][part]
        heard = np.sqrt(np.where(other, chroma["other"][:, part], np.where(voice, chroma["vocals"][:, part], 0.0)))
        loudness = np.sqrt(np.where(other, energy["other"][part], energy["vocals"][part]))
        sums = heard.sum(axis=0)
        release(chroma["other"])
        return np.asarray(heard / np.where(sums > 0, sums, 1.0) * loudness)

    length = np.diff(np.append(first, n_frames))
    sound, bass = [], np.empty((12, len(first)))
    for steps, part in step_windows(first, n_frames):
        at = first[steps] - part.start
        sound.append(np.add.reduceat(fold_chroma(amplitude(part), tuning), at, axis=1))
        voiced = np.flatnonzero(np.isfinite(bass_hz[part]))
        classes = np.zeros((12, part.stop - part.start))
        classes[np.rint((cents(bass_hz[part][voiced]) - tuning) / 100 + 9).astype(int) % 12, voiced] = 1.0
        bass[:, steps] = np.add.reduceat(classes, at, axis=1) / np.maximum(length[steps], 1)
    return ChordInputs(times_s, kinds, np.concatenate(sound, axis=1), bass, tuning)


def track_chords(inputs: DescriptorInputs) -> Chords:
    """Chords of the track, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    Chords
        See :func:`find_chords`; none of a track that is silent or too short.
    """
    if not inputs.get(active_rows)[MIXTURE].any() or inputs.frames.duration_s < MIN_CHORDS_S:
        nothing = np.zeros(0)
        return Chords(nothing, nothing, [], nothing, nothing, np.zeros(0, dtype=np.int64))
    return find_chords(inputs.get(chord_inputs))


def _lengths_in_beats(inputs: DescriptorInputs, chords: Chords) -> np.ndarray | None:
    """(n_chords,) beats that each chord lasts; None where there are no beats."""
    bars = inputs.get(row_bars)[MIXTURE]
    if bars is None or len(bars.track.beats_s) < 2:
        return None
    beats_s = bars.track.beats_s
    step = float(np.median(np.diff(beats_s)))
    places = np.arange(len(beats_s), dtype=np.float64)
    # On beyond the first and the last beat at the usual pace.
    known = np.concatenate([[beats_s[0] - 1e4 * step], beats_s, [beats_s[-1] + 1e4 * step]])
    places = np.concatenate([[-1e4], places, [places[-1] + 1e4]])
    return np.asarray(np.interp(chords.end_s, known, places) - np.interp(chords.start_s, known, places))


def chord_parts(label: str) -> tuple[str | None, str | None, str | None]:
    """Root, quality and bass of a label; None of each for no chord."""
    if label == NO_CHORD:
        return None, None, None
    root, _, rest = label.partition(":")
    quality, _, degree = rest.partition("/")
    bass = PITCH_CLASSES[(PITCH_CLASSES.index(root) + DEGREES.index(degree or "1")) % 12]
    return root, quality, bass


def _describe(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    if not inputs.get(active_rows)[row].any():
        return {"chord_status": SILENT}
    if inputs.frames.duration_s < MIN_CHORDS_S:
        return {"chord_status": TOO_SHORT}
    chords = inputs.get(track_chords)
    parts = np.array([chord_parts(label) for label in chords.label], dtype=object).reshape(-1, 3)
    duration = chords.end_s - chords.start_s
    sounds = np.array([root is not None for root in parts[:, 0]], dtype=bool)
    none = number(duration[~sounds].sum() / duration.sum())
    if not sounds.any():
        return {"chord_status": NO_CHORDS, "chord_none_ratio": none}
    parts, duration = parts[sounds], duration[sounds]
    total, minutes = duration.sum(), duration.sum() / 60
    beats = _lengths_in_beats(inputs, chords)
    inverted = parts[:, 2] != parts[:, 0]
    return {
        "chord_status": OK,
        "chord_count": len(duration),
        "chord_distinct_count": len({(root, quality) for root, quality, _ in parts}),
        "chord_rate_per_minute": number(len(duration) / minutes),
        "chord_duration_median_s": median(duration),
        "chord_duration_median_beats": None if beats is None else median(beats[sounds]),
        "chord_scale_change_count": chords.scale_changes,
        "chord_confidence": mean(chords.confidence[sounds]),
        "chord_none_ratio": none,
        "chord_inversion_ratio": number(duration[inverted].sum() / total),
        **{
            f"chord_{kind}_ratio": number(duration[np.isin(parts[:, 1].astype(str), qualities)].sum() / total)
            for kind, qualities in KINDS.items()
        },
        **{
            f"chord_root_{k:02d}_ratio": number(duration[parts[:, 0] == name].sum() / total)
            for k, name in enumerate(PITCH_CLASSES, start=1)
        },
    }


def _events(inputs: DescriptorInputs) -> Columns:
    chords = inputs.get(track_chords)
    beats = _lengths_in_beats(inputs, chords)
    parts = [chord_parts(label) for label in chords.label]
    return {
        "start_s": chords.start_s,
        "end_s": chords.end_s,
        "label": chords.label,
        **{name: [part[k] for part in parts] for k, name in enumerate(("root", "quality", "bass"))},
        "length_beats": [None] * len(parts) if beats is None else beats,
        "confidence": chords.confidence,
    }


register(Extractor("chords", 62, FIELDS, "chord_status", _describe))
register_events(
    EventTable(
        "chords",
        20,
        "One row per chord of the track, without gaps from 0 to the end. Chords begin on beats and half beats.",
        EVENT_FIELDS,
        ("start_s",),
        compute=_events,
    )
)
