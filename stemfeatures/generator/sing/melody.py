"""The pitch of a sung phrase: notes joined as voices join them.

A melody alone is a staircase. Voices slide between notes with a little overshoot, scoop into phrases, fall off their
ends, start vibrato late, drift and tremble, and dip at voiced consonants (Sundberg, *The Science of the Singing
Voice*, 1987; the control model of Saitou, Unoki & Akagi, *Speech Communication* 46, 2005, has the same parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .voice_style import VoiceStyle

#: Seconds between two values of an F0 curve.
F0_PERIOD_S = 0.005


@dataclass(frozen=True)
class SungNote:
    """A note of a melody; ``midi`` may be fractional (69 = 440 Hz)."""

    start_s: float
    duration_s: float
    midi: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


def smooth_noise(n: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) noise of unit variance with no detail shorter than about ``width`` values."""
    width = max(int(width), 2)
    window = np.hanning(width + 2)[1:-1]
    noise = np.convolve(rng.standard_normal(n + width - 1), window / np.sqrt(np.sum(window**2)), "valid")
    return noise[:n]


def ease(x: np.ndarray) -> np.ndarray:
    """From 0 at 0 to 1 at 1 without a corner; flat outside."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def pitch_contour(
    notes: Sequence[SungNote],
    times: np.ndarray,
    style: VoiceStyle,
    rng: np.random.Generator,
    *,
    legato: Sequence[bool] | None = None,
) -> np.ndarray:
    """MIDI pitch at ``times`` (seconds) of ``notes`` in order of time.

    ``legato[k]`` says that note ``k`` continues the vowel of the note before it (melisma): the slide is then centred on
    the note's start and heard whole. Elsewhere it ends soon after the vowel begins. Between rests pitch is defined but
    not meant to be heard.
    """
    legato = [False] * len(notes) if legato is None else list(legato)
    midi = np.array([note.midi for note in notes], float) + style.intonation * rng.standard_normal(len(notes))
    pitch = np.full(len(times), midi[0])
    for k in range(1, len(notes)):
        step = midi[k] - midi[k - 1]
        shorter = min(notes[k - 1].duration_s, notes[k].duration_s)
        glide = style.glide_s * rng.uniform(0.6, 1.5) * (1 + 0.04 * min(abs(step), 12))
        glide = max(min(glide, 0.5 * shorter), 0.01)
        centre = notes[k].start_s + glide * (0.0 if legato[k] else rng.uniform(-0.35, 0.1))
        pitch += step * ease((times - centre) / glide + 0.5)
        after = np.maximum(times - centre - glide / 2, 0.0)
        overshoot = style.overshoot * rng.uniform(0.0, 2.0) * np.clip(step, -5, 5)
        pitch += overshoot * np.sin(np.pi * np.clip(after / 0.09, 0, 1)) * (times < notes[k].end_s)
    for k, note in enumerate(notes):
        starts = k == 0 or note.start_s - notes[k - 1].end_s > 0.15
        ends = k == len(notes) - 1 or notes[k + 1].start_s - note.end_s > 0.15
        inside = times < note.end_s
        if not legato[k] and rng.random() < style.scoop * (1.5 if starts else 0.5):
            depth, decay = rng.uniform(0.3, 2.0) * style.scoop_depth, rng.uniform(0.025, 0.06)
            depth *= min(note.duration_s / 0.25, 1.0)
            since = times - note.start_s + 0.02
            rise = inside * np.exp(-np.maximum(since, 0.0) / decay) * ease(since / 0.02 + 1)
            pitch -= depth * rise
        if note.duration_s > style.vibrato_delay_s + 0.2 and rng.random() < style.vibrato:
            pitch += _vibrato(note, times, style, rng) * inside
        if ends and note.duration_s > 0.35 and rng.random() < style.fall:
            length = rng.uniform(0.1, 0.25)
            pitch -= (
                rng.uniform(0.5, 3.0)
                * np.clip((times - note.end_s) / length + 1, 0, 1.5) ** 1.6
                * (times < note.end_s + 0.5 * length)
            )
    pitch += style.drift * smooth_noise(len(times), 120, rng) + style.jitter * smooth_noise(len(times), 6, rng)
    return pitch + style.detune


def _vibrato(note: SungNote, times: np.ndarray, style: VoiceStyle, rng: np.random.Generator) -> np.ndarray:
    delay = min(style.vibrato_delay_s * rng.uniform(0.5, 1.5), 0.5 * note.duration_s)
    since = times - note.start_s - delay
    rate = style.vibrato_hz * rng.uniform(0.94, 1.06) * (1 + 0.04 * smooth_noise(len(times), 60, rng))
    phase = 2 * np.pi * np.cumsum(rate * (since > 0)) * F0_PERIOD_S
    swell = ease(since / rng.uniform(0.15, 0.5)) * np.clip((note.end_s - times) / 0.07, 0, 1)
    return style.vibrato_extent * rng.uniform(0.5, 1.4) * swell * np.sin(phase)
