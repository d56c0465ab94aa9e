"""Recorded voices in a song: phrases of a bank moved to the song's key, tuning, tempo and chords.

Either a phrase is sung as it was, transposed as a whole, or every note of it is moved to the nearest of the song's
scale (and of its chord where the note is long), as pitch correction does. Monotone recordings get a melody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.annotations import hz_to_midi
from ..compose.composer import Score, nearest, pick
from .recording_bank import RecordingBank, stretches
from .recordings import place_recording
from .voice import VOWEL_LEVEL_DB, Sung
from .voicebank import PERIOD_S, SAMPLE_RATE

#: Modes that minor phrases fit.
_MINOR = ("minor", "dorian", "phrygian")
#: Farthest that a note is moved, with its phrase and against it.
_FARTHEST, _CORRECTION = 9.0, 2.5
_SHORTEST_NOTE_S = 0.08


@dataclass(frozen=True)
class Voice:
    """How one recorded voice is used in a song.

    Attributes
    ----------
    phrases : tuple[int, ...]
        Numbers in the bank.
    tuned : bool
        Notes are corrected, else phrases are moved as a whole.
    resampled : bool
        Moved by resampling where that is possible, else by WORLD.
    """

    name: str
    phrases: tuple[int, ...]
    tuned: bool
    resampled: bool

    @classmethod
    def draw(cls, bank: RecordingBank, rng: np.random.Generator) -> Voice | None:
        """A voice of those with five sung phrases or more, keyed ones and those with much material first."""
        names = sorted(v for v, phrases in bank.by_voice.items() if len(phrases) >= 5)
        if not names:
            return None
        weights = np.zeros(len(names))
        for k, name in enumerate(names):
            phrases = [bank.phrases[i] for i in bank.by_voice[name]]
            keyed = np.mean([p.tonic is not None for p in phrases])
            weights[k] = np.sqrt(sum(p.duration_s for p in phrases)) * (0.4 + keyed)
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        return cls(name, tuple(bank.by_voice[name]), bool(rng.random() < 0.5), bool(rng.random() < 0.5))


@dataclass
class Delivery:
    """A placed phrase: its sound and what was done to it."""

    sung: Sung
    choice: dict[str, Any]


def notes_of(f0: np.ndarray) -> list[tuple[int, int, float]]:
    """``(first, last + 1, midi)`` of the notes of an F0 curve in steps of 5 ms: stretches of about one pitch."""
    found: list[tuple[int, int, float]] = []
    for a, b in stretches(f0 > 0):
        midi = hz_to_midi(f0[a:b])
        padded = np.pad(midi, 10, mode="edge")
        steady = np.median(np.lib.stride_tricks.sliding_window_view(padded, 21), axis=1)
        first, level = 0, steady[0]
        for k in range(1, len(steady)):
            if abs(steady[k] - level) > 0.8 and k - first > 8:
                found.append((a + first, a + k, float(np.median(midi[first:k]))))
                first, level = k, steady[k]
            level += 0.05 * (steady[k] - level)
        found.append((a + first, b, float(np.median(midi[first:]))))
    return [note for note in found if (note[1] - note[0]) * PERIOD_S >= _SHORTEST_NOTE_S]


def deliver(
    bank: RecordingBank,
    index: int,
    voice: Voice,
    score: Score,
    onset_s: float,
    rng: np.random.Generator,
    *,
    degrees: int = 0,
    detune: float = 0.0,
) -> Delivery:
    """Phrase ``index`` with its first voiced sound at ``onset_s``, in the song's key and tempo.

    ``degrees`` of the scale away for a harmony, ``detune`` semitones away for a double.
    """
    recording, f0 = bank.recording(index), bank.f0(index)
    phrase = bank.phrases[index]
    minor = score.mode in _MINOR
    semitones, stretch = recording.fit(tonic=score.tonic_at(onset_s), minor=minor, bpm=score.tempo)
    stretch = stretch if 0.72 <= stretch <= 1.4 else 1.0
    notes = notes_of(f0)
    voiced = np.flatnonzero(f0 > 0)
    first = voiced[0] * PERIOD_S if len(voiced) else 0.0
    at_s = onset_s + (np.arange(len(f0)) * PERIOD_S - first) * stretch
    tuning = score.tuning / 100 + detune
    if phrase.sung and notes:
        lengths = np.array([b - a for a, b, _ in notes], float)
        pitches = np.array([m for _, _, m in notes])
        turn = np.angle(np.sum(lengths * np.exp(2j * np.pi * pitches))) / (2 * np.pi)
        if phrase.tonic is None:
            semitones = _best_shift(notes, at_s, score, turn)
        shift = semitones - turn
        monotone = phrase.tonic is None and np.ptp(pitches) < 1.5 and len(f0) * PERIOD_S > 1.0
        if monotone:
            moved = _melody(f0, notes, at_s, score, shift, rng)
        elif voice.tuned or degrees or phrase.tonic is None:
            moved = _corrected(f0, notes, at_s, score, shift, degrees)
        else:
            moved = np.array(shift)
    else:
        moved = np.array(0.0)
        tuning = detune
    moved = np.clip(moved + tuning, -_FARTHEST - 3, _FARTHEST + 3)
    whole = moved.ndim == 0
    if voice.resampled and whole and abs(moved) <= 3.5 and abs(stretch - 2 ** (-moved / 12)) < 0.08 and not degrees:
        method, stretch = "resample", float(2 ** (-moved / 12))
        start = onset_s - first * stretch
        sung = place_recording(
            recording.samples, SAMPLE_RATE, f0=f0, start_s=start, semitones=float(moved), method="resample"
        )
    else:
        method = "world"
        start = onset_s - first * stretch
        sung = place_recording(
            recording.samples, SAMPLE_RATE, f0=f0, start_s=start, semitones=moved, stretch=stretch, method="world"
        )
    sung.audio = _levelled(sung)
    return Delivery(
        sung,
        {"path": phrase.path, "at_s": phrase.at_s, "start_s": max(sung.start_s, 0.0), "end_s": sung.end_s,
         "method": method, "stretch": stretch, "semitones": float(np.median(moved)), "tuned": not whole},
    )  # fmt: skip


def _best_shift(notes: list[tuple[int, int, float]], at_s: np.ndarray, score: Score, turn: float) -> float:
    """Of -4 to 4 semitones, the transposition that leaves the fewest notes outside the chords and the scale."""

    def cost(shift: int) -> float:
        wrong = 0.02 * abs(shift)
        for a, b, midi in notes:
            chord = score.chord_at(float(at_s[a]))
            pitch = round(midi - turn + shift)
            weight = (b - a) * PERIOD_S
            wrong += weight * (0 if pitch % 12 in chord.pitch_classes else 0.4 if pitch % 12 in chord.scale else 1.0)
        return wrong

    return float(min(range(-4, 5), key=cost))


def _corrected(
    f0: np.ndarray, notes: list[tuple[int, int, float]], at_s: np.ndarray, score: Score, shift: float, degrees: int
) -> np.ndarray:
    """Semitones for every frame that bring each note to the scale, ``degrees`` of it away."""
    moves = []
    for a, b, midi in notes:
        length = float(at_s[b - 1] - at_s[a])
        chord = score.chord_at(float(at_s[a]))
        tones = chord.pitch_classes if length > 0.4 and not degrees else chord.scale
        target = float(nearest(midi + shift, tones))
        move = target - midi
        if abs(move - shift) > _CORRECTION or (length < 0.12 and not degrees):
            move = shift
        if degrees:
            ladder = [m for m in range(12, 116) if m % 12 in chord.scale]
            at = min(range(len(ladder)), key=lambda i: (abs(ladder[i] - target), ladder[i]))
            move += ladder[at + degrees] - ladder[at]
        moves.append(move)
    return _joined(len(f0), notes, moves)


def _melody(
    f0: np.ndarray,
    notes: list[tuple[int, int, float]],
    at_s: np.ndarray,
    score: Score,
    shift: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Semitones for every frame that lead a monotone voice through the chords, with a new note at most every beat."""
    beats = score.grid.beat_s
    if rng.random() < 0.5:
        beats = np.sort(np.append(beats, beats[:-1] + np.diff(beats) / 2))
    cuts = np.searchsorted(at_s, beats)
    pieces: list[tuple[int, int, float]] = []
    for a, b, midi in notes:
        edges = [a, *(int(c) for c in cuts if a + 24 < c < b - 24), b]
        pieces += [(p, q, midi) for p, q in zip(edges, edges[1:])]
    moves, height = [], 0.0
    for a, _, midi in pieces:
        height = float(np.clip(height + pick(rng, (-4, -2, -2, -1, 0, 1, 2, 2, 4)), -6, 6))
        chord = score.chord_at(float(at_s[a]))
        tones = chord.pitch_classes if rng.random() < 0.6 else chord.scale
        moves.append(nearest(midi + shift + height, tones) - midi)
    return _joined(len(f0), pieces, moves)


def _joined(n: int, notes: list[tuple[int, int, float]], moves: list[float]) -> np.ndarray:
    """Moves of notes as a curve over ``n`` frames that glides from one to the next."""
    at = [edge for a, b, _ in notes for edge in (a, b - 1)]
    curve = np.interp(np.arange(n), at, np.repeat(np.clip(moves, -_FARTHEST, _FARTHEST), 2))
    window = np.hanning(13)[1:-1]
    return np.convolve(np.pad(curve, 5, mode="edge"), window / window.sum(), "valid")


def _levelled(sung: Sung) -> np.ndarray:
    """The sound with its voiced frames at the level of sung vowels, never beyond full scale."""
    hop = round(PERIOD_S * SAMPLE_RATE)
    y = sung.audio
    voiced = np.repeat(sung.f0_hz > 0, hop)[: len(y)]
    heard = y[: len(voiced)][voiced] if voiced.any() else y
    level = float(np.sqrt(np.mean(np.square(heard, dtype=np.float64)))) if len(heard) else 0.0
    gain = 10 ** (VOWEL_LEVEL_DB / 20) / max(level, 1e-6)
    return (y * min(gain, 0.98 / max(float(np.abs(y).max(initial=0.0)), 1e-9))).astype(np.float32)
