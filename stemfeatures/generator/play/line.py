"""Melodic lines of one player: notes joined, bent, slid into and shaken as singers do, with their exact pitch.

A line is a row of strokes; a stroke is struck, bowed or blown once and carries one note or several. Its tone is played
at a speed that follows the pitch curve, so the curve is the F0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..compose.score import Note, pick
from ..mix.console import resampled
from ..sing.melody import F0_PERIOD_S, ease, smooth_noise
from ..track import F0_HOP_S, add_at
from ..units import SR, midi_to_hz
from .instruments import LONGEST_S, Instrument

#: No stroke is longer: strings die, bows turn, breath ends.
_LONGEST_STROKE_S = 3.4
#: Frames that are this far below the line's active level have no F0.
_INAUDIBLE_DB = -40.0


@dataclass(frozen=True)
class LineStyle:
    """How one player shapes lines. Pitch is in semitones; probabilities are 0 to 1.

    Attributes
    ----------
    technique : str
        One of ``TECHNIQUES``.
    legato : float
        Probability that a note joins the stroke before it.
    reach : int
        Widest interval at which it can.
    glide_s : tuple[float, float]
        Shortest and longest slide between joined notes.
    bend, slide, fall : float, default=0.0
        Probability that a stroke is bent up to its pitch, slid into, let fall at its end.
    vibrato : float, default=0.0
        Probability of vibrato on long notes.
    vibrato_hz, vibrato_extent, vibrato_delay_s : float
        As in ``VoiceStyle``.
    fretted : bool
        Whether vibrato only raises the pitch.
    tremor_db : float
        How much of the level trembles with the vibrato.
    drift, intonation : float, default=0.03
        Slow wandering and error of single strokes (standard deviations).
    swell_db : float, default=0.0
        How much softer strokes begin and end.
    feedback, pinched : float, default=0.0
        Probability that a long note ends in feedback, that a stroke is a pinched harmonic.
    """

    technique: str
    legato: float
    reach: int
    glide_s: tuple[float, float]
    bend: float = 0.0
    slide: float = 0.0
    fall: float = 0.0
    vibrato: float = 0.5
    vibrato_hz: float = 5.5
    vibrato_extent: float = 0.3
    vibrato_delay_s: float = 0.15
    fretted: bool = False
    tremor_db: float = 0.0
    drift: float = 0.03
    intonation: float = 0.03
    swell_db: float = 0.0
    feedback: float = 0.0
    pinched: float = 0.0

    @classmethod
    def draw(cls, family: str, rng: np.random.Generator) -> LineStyle:
        """A player of an instrument of ``family``."""
        technique = TECHNIQUES.get(family, "keyed")
        chance = rng.random
        extent = float(np.exp(rng.uniform(np.log(0.12), np.log(0.6))))
        style = cls(technique, legato=0.0, reach=0, glide_s=(0.02, 0.02), vibrato_hz=float(rng.uniform(4.6, 6.6)),
                    vibrato_extent=extent, vibrato_delay_s=float(rng.uniform(0.05, 0.3)))  # fmt: skip
        if technique == "fretted":
            return replace(style, legato=0.6 * chance(), reach=5, glide_s=(0.012, 0.16), bend=0.5 * chance(),
                           slide=0.3 * chance(), fall=0.25 * chance(), vibrato=0.4 + 0.6 * chance(), fretted=True,
                           feedback=0.5 * chance(), pinched=0.06 * chance())  # fmt: skip
        if technique == "bowed":
            return replace(style, legato=0.3 + 0.6 * chance(), reach=9, glide_s=(0.03, 0.18), slide=0.25 * chance(),
                           fall=0.1 * chance(), vibrato=0.5 + 0.5 * chance(), tremor_db=chance(),
                           swell_db=2 + 6 * chance())  # fmt: skip
        if technique == "blown":
            return replace(style, legato=0.3 + 0.5 * chance(), reach=12, glide_s=(0.012, 0.07), bend=0.3 * chance(),
                           fall=0.25 * chance(), vibrato=chance(), tremor_db=2.5 * chance(),
                           swell_db=1 + 6 * chance())  # fmt: skip
        if technique == "synthesised":
            slow = float(rng.uniform(0.03, 0.25))
            return replace(style, legato=chance(), reach=14, glide_s=(0.3 * slow, slow), bend=0.15 * chance(),
                           fall=0.1 * chance(), vibrato=chance(), drift=0.01, intonation=0.01,
                           swell_db=3 * chance())  # fmt: skip
        return replace(style, vibrato=0.0, drift=0.0, intonation=0.0)


#: How families take hold of their notes; those that are not listed are keyed or struck and cannot bend.
TECHNIQUES: Mapping[str, str] = {
    "electric_guitar": "fretted", "clean_guitar": "fretted", "jazz_guitar": "fretted", "acoustic_guitar": "fretted",
    "nylon_guitar": "fretted", "fiddle": "bowed", "cello": "bowed", "strings": "bowed", "sax": "blown",
    "flute": "blown", "winds": "blown", "brass": "blown", "synth_lead": "synthesised",
}  # fmt: skip


@dataclass
class Line:
    """A line as played.

    Attributes
    ----------
    audio : np.ndarray
        (n,) float32.
    f0_hz : np.ndarray
        (n_frames,) on the grid of F0_HOP_S, 0 between strokes.
    gestures : Counter[str]
        How many bends, slides ... there are.
    """

    audio: np.ndarray
    f0_hz: np.ndarray
    gestures: Counter[str]

    def mute_truth_where_silent(self, audible: np.ndarray) -> None:
        """Set the F0 to 0 where ``audible``, the line as it is heard, is ``_INAUDIBLE_DB`` below its active level."""
        hop = round(F0_HOP_S * SR)
        padded = np.pad(np.square(audible, dtype=np.float32), (hop // 2, 2 * hop))
        usable = len(padded) // hop
        power = padded[: usable * hop].reshape(usable, hop).mean(axis=1)[: len(self.f0_hz)]
        loud = power[self.f0_hz[: len(power)] > 0]
        if len(loud):
            threshold = np.percentile(loud, 80) * 10 ** (_INAUDIBLE_DB / 10)
            self.f0_hz[: len(power)][power < threshold] = 0.0


def play_line(
    notes: list[Note],
    instrument: Instrument,
    style: LineStyle,
    tuning_cents: float,
    n: int,
    n_frames: int,
    rng: np.random.Generator,
    *,
    feedback: bool = False,
) -> Line:
    """Play ``notes`` one at a time: a later note ends an earlier one.

    Parameters
    ----------
    notes : list of Note
        In any order.
    instrument : Instrument
        What they are played on.
    style : LineStyle
        How they are played.
    tuning_cents : float
        Added to all pitches.
    n : int
        Samples of the audio.
    n_frames : int
        Frames of the F0.
    rng : numpy.random.Generator
        Draws the gestures.
    feedback : bool
        Whether the amplifier is loud enough to feed back.

    Returns
    -------
    Line
        Its audio, F0 and gestures.
    """
    line = Line(np.zeros(n, np.float32), np.zeros(n_frames), Counter())
    for stroke in _strokes(notes, style, rng):
        start, end = stroke[0].start_s, stroke[-1].end_s
        times = np.arange(0.0, end - start + 5 * instrument.release_s + F0_PERIOD_S, F0_PERIOD_S)
        curve = _curve(stroke, times, style, rng, line.gestures) + tuning_cents / 100
        y = _voice(stroke, times, curve, instrument, style, rng, line.gestures)
        if feedback and end - start > 0.8 and rng.random() < style.feedback:
            y = y + _feedback(y, times, curve, end - start, rng)
            line.gestures["feedback"] += 1
        add_at(line.audio, y, start)
        first, last = int(np.ceil(start / F0_HOP_S)), min(int(end / F0_HOP_S), n_frames - 1)
        at = F0_HOP_S * np.arange(first, last + 1) - start
        line.f0_hz[first : last + 1] = 440.0 * 2 ** ((np.interp(at, times, curve) - 69) / 12)
    return line


def _strokes(notes: list[Note], style: LineStyle, rng: np.random.Generator) -> list[list[Note]]:
    """The notes of each stroke, in order of time, none beginning before the one before it has ended."""
    strokes: list[list[Note]] = []
    for note in sorted(notes, key=lambda m: (m.start_s, m.midi)):
        before = strokes[-1][-1] if strokes else None
        if before is not None and note.start_s - before.start_s < 0.03:
            continue  # a chord's other tones
        played = Note(note.start_s, note.end_s, note.midi, note.velocity, note.slide, note.fall)
        joined = False
        if before is not None:
            before.end_s = min(before.end_s, note.start_s)
            near = note.start_s - before.end_s < 0.09 and abs(note.midi - before.midi) <= style.reach
            joined = near and note.end_s - strokes[-1][0].start_s < _LONGEST_STROKE_S and rng.random() < style.legato
        if joined and before is not None:
            before.end_s = note.start_s
            strokes[-1].append(played)
        else:
            played.end_s = min(played.end_s, played.start_s + _LONGEST_STROKE_S)
            strokes.append([played])
    return strokes


def _curve(
    stroke: list[Note], times: np.ndarray, style: LineStyle, rng: np.random.Generator, gestures: Counter[str]
) -> np.ndarray:
    """MIDI pitch at ``times`` seconds after the stroke."""
    start = stroke[0].start_s
    pitch = np.full(len(times), float(stroke[0].midi)) + style.intonation * rng.standard_normal()
    first_s = stroke[0].end_s - start
    if stroke[0].slide:
        pitch += stroke[0].slide * (1 - ease(times / min(0.12, 0.4 * first_s)))
        gestures["slide"] += 1
    elif first_s > 0.16 and rng.random() < style.bend:  # bent strings; lipped notes of winds
        depth = float(rng.choice([1, 2, 3], p=[0.35, 0.55, 0.1])) if style.fretted else float(rng.uniform(0.3, 2.0))
        wait = float(rng.uniform(0.0, 0.3)) * first_s * float(rng.random() < 0.4)
        rise = min(float(rng.uniform(0.06, 0.26)), 0.5 * first_s)
        pitch -= depth * (1 - ease((times - wait) / rise))
        gestures["bend"] += 1
    elif first_s > 0.14 and rng.random() < style.slide:
        depth, length = float(pick(rng, (-5, -4, -3, -2, 2))), min(float(rng.uniform(0.05, 0.14)), 0.5 * first_s)
        pitch += depth * (1 - ease(times / length))
        gestures["slide"] += 1
    for before, note in zip(stroke, stroke[1:]):
        step, at = note.midi - before.midi, note.start_s - start
        length = _join_s(step, note, style, rng, gestures)
        pitch += step * ease((times - at) / length + 0.3)
    for note in stroke:
        if note.end_s - note.start_s > style.vibrato_delay_s + 0.22 and rng.random() < style.vibrato:
            pitch += _vibrato(times, note.start_s - start, note.end_s - start, style, rng)
            gestures["vibrato"] += 1
    last_s = stroke[-1].end_s - stroke[-1].start_s
    depth = stroke[-1].fall or (float(rng.uniform(1.5, 7.0)) if last_s > 0.3 and rng.random() < style.fall else 0.0)
    if depth:
        length = min(float(rng.uniform(0.1, 0.3)), 0.5 * last_s)
        pitch -= depth * np.clip((times - (stroke[-1].end_s - start)) / length + 1, 0, 1.3) ** 1.6
        gestures["fall"] += 1
    return pitch + style.drift * smooth_noise(len(times), 120, rng)


def _join_s(step: float, note: Note, style: LineStyle, rng: np.random.Generator, gestures: Counter[str]) -> float:
    """Seconds from one note of a stroke to the next."""
    short, long = style.glide_s
    if not style.fretted:
        gestures["glide"] += 1
        length = float(np.exp(rng.uniform(np.log(short), np.log(long))))
    elif 0 < abs(step) <= 2 and rng.random() < 0.3 + style.bend:  # up by the string, down as it is let go
        gestures["bend" if step > 0 else "release"] += 1
        length = float(rng.uniform(0.06, 0.2))
    elif rng.random() < 0.35:
        gestures["slide"] += 1
        length = float(rng.uniform(0.04, long))
    else:
        gestures["hammer"] += 1
        length = short
    return max(min(length, 0.6 * (note.end_s - note.start_s)), 0.01)


def _vibrato(times: np.ndarray, start: float, end: float, style: LineStyle, rng: np.random.Generator) -> np.ndarray:
    since = times - start - style.vibrato_delay_s * rng.uniform(0.6, 1.4)
    rate = style.vibrato_hz * rng.uniform(0.93, 1.07) * (1 + 0.04 * smooth_noise(len(times), 60, rng))
    phase = 2 * np.pi * np.cumsum(rate * (since > 0)) * F0_PERIOD_S
    swell = ease(since / rng.uniform(0.1, 0.4)) * np.clip((end - times) / 0.06, 0, 1)
    wave = 0.5 - 0.5 * np.cos(phase) if style.fretted else np.sin(phase)
    return style.vibrato_extent * rng.uniform(0.6, 1.4) * (2.0 if style.fretted else 1.0) * 0.7 * swell * wave


def _voice(
    stroke: list[Note],
    times: np.ndarray,
    curve: np.ndarray,
    instrument: Instrument,
    style: LineStyle,
    rng: np.random.Generator,
    gestures: Counter[str],
) -> np.ndarray:
    """(n,) float32: the stroke's tone along its pitch curve."""
    length_s = float(times[-1])
    reference = round(float(np.median(curve[: max(1, int((stroke[-1].end_s - stroke[0].start_s) / F0_PERIOD_S))])))
    speed = 2 ** ((curve - reference) / 12)
    needed_s = min(float(np.sum(speed)) * F0_PERIOD_S + 0.05, LONGEST_S + 2.0)
    tone = instrument.tone(midi_to_hz(reference), needed_s, stroke[0].velocity, rng)
    n = int(length_s * SR)
    t = np.arange(n) / SR
    y = resampled(tone, np.interp(t, times, speed))
    hold = int((stroke[-1].end_s - stroke[0].start_s) * SR)
    if hold < len(y):
        y[hold:] *= np.exp(-np.arange(len(y) - hold, dtype=np.float32) / np.float32(instrument.release_s * SR))
    if style.swell_db:
        place = np.clip(np.arange(len(y)) / max(hold, 1), 0, 1)
        y *= (10 ** (-style.swell_db / 20 * (1 - np.sin(np.pi * place) ** 0.7))).astype(np.float32)
    if style.tremor_db:
        wobble = curve - np.convolve(np.pad(curve, 30, mode="edge"), np.full(61, 1 / 61), "valid")
        y *= (10 ** (style.tremor_db / 20 * np.clip(np.interp(t[: len(y)], times, wobble) / 0.3, -1, 1))).astype(
            np.float32
        )
    if rng.random() < style.pinched:  # the thumb damps what does not have a node at it
        gestures["pinched"] += 1
        y = y - 0.85 * np.convolve(y, np.full(24, 1 / 24, np.float32), "same").astype(np.float32)
    fade = min(len(y), 200)
    y[len(y) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return y * np.float32(stroke[0].velocity ** 1.4)


def _feedback(
    y: np.ndarray, times: np.ndarray, curve: np.ndarray, held_s: float, rng: np.random.Generator
) -> np.ndarray:
    """(n,) float32: a harmonic of the string that the loudspeaker drives, growing while the string dies."""
    n = len(y)
    t = np.arange(n) / SR
    hertz = 440.0 * 2 ** ((np.interp(t, times, curve) - 69) / 12) * int(pick(rng, (2, 3, 3, 4)))
    onset = float(rng.uniform(0.25, 0.5)) * held_s
    swell = ease((t - onset) / float(rng.uniform(0.3, 0.8))) * np.clip((held_s - t) / 0.05, 0, 1)
    return (0.05 * float(rng.uniform(0.4, 1.2)) * swell * np.sin(2 * np.pi * np.cumsum(hertz) / SR)).astype(np.float32)
