"""Takes of generated singing whose phones are known, as a separator leaves them.

A voice bank has a few dozen lines: a network that heard those would know them by heart. So lines are put together from
runs of syllables of all lines, some with the consonants of another syllable before the vowel, and no text comes twice.
They are sung on random melodies by random deliveries, doubled, put in rooms, mixed with accompaniment, and separated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...audio import resample
from ...constants import ANALYSIS_SAMPLE_RATE
from ...generator.sing.phones import PhoneTimes
from ...generator.sing.voice import Sung, SungNote, VoiceStyle, sing
from ...generator.sing.voicebank import SAMPLE_RATE, Line, Piece, VoiceBank, stored_lines
from ...lyrics.vocals import Vocals
from .effects import colour, drive, rms
from .singing import random_melody

# ruff: noqa: RUF001 - these are letters of the phonetic alphabet
#: Phones of a voice bank in those of the pronouncing dictionary.
ARPABET = {
    "i": "IY", "ɪ": "IH", "ᵻ": "IH", "ɛ": "EH", "æ": "AE", "ʌ": "AH", "ə": "AH", "ᵊ": "AH", "ɜ": "ER", "ɑ": "AA",
    "ɔ": "AO", "ʊ": "UH", "u": "UW", "A": "EY", "I": "AY", "O": "OW", "W": "AW", "Y": "OY",
    "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɹ": "R", "w": "W", "j": "Y", "ɾ": "T",
    "b": "B", "d": "D", "ɡ": "G", "p": "P", "t": "T", "k": "K", "ʧ": "CH", "ʤ": "JH",
    "v": "V", "ð": "DH", "z": "Z", "ʒ": "ZH", "f": "F", "θ": "TH", "s": "S", "ʃ": "SH", "h": "HH",
}  # fmt: skip
#: Every so manieth line of a bank, in alphabetical order, is for validation alone.
HELD_OUT_LINES = 5
#: How many syllables of a stored line in a row are taken, and how likely.
_RUNS = (0.5, 0.25, 0.15, 0.1)
_OTHER_ONSET = 0.3
#: Medians, spreads (of logarithms) and bounds of the length of syllables in seconds; chance of one that is held, and
#: that a syllable has several notes.
_SYLLABLE_S, _SPREAD, _SHORTEST_S, _LONGEST_S = 0.28, 0.45, 0.11, 1.2
_HELD, _HELD_S, _MELISMA = 0.08, (1.0, 2.6), 0.12
_REST_S = (0.05, 1.6)
#: Voice over accompaniment in dB of RMS, and share of takes without any.
_BALANCE_DB, _ALONE = (-11.0, 6.0), 0.1
_DOUBLED, _HARMONY = 0.25, 0.15

Cut = tuple[int, int, int]


@dataclass(frozen=True)
class Take:
    """A stretch of singing.

    Attributes
    ----------
    vocals : Vocals
        As the separator gave them.
    phones : tuple[tuple[str, float, float], ...]
        Phone, start and end in seconds, of the leading voice.
    words : tuple[tuple[str, float, float], ...]
        The same of its words; of lines that are no text they are numbers.
    lines : tuple[str, ...]
        Text of each line.
    singer : str
        Who leads.
    """

    vocals: Vocals
    phones: tuple[tuple[str, float, float], ...]
    words: tuple[tuple[str, float, float], ...]
    lines: tuple[str, ...]
    singer: str


def lines_for(bank: VoiceBank, singer: str, *, held_out: bool) -> list[int]:
    """Indices of the stored lines for training, or of those held out."""
    n = len(stored_lines(bank, singer))
    return [k for k in range(n) if (k % HELD_OUT_LINES == HELD_OUT_LINES - 1) == held_out]


def syllables(phones: PhoneTimes) -> list[Cut]:
    """First phone, vowel and end of each syllable of a line.

    Consonants between two vowels of a word belong to the second, but for all before the last of several.
    """
    nuclei = np.flatnonzero(phones.nucleus)
    starts = [0]
    for before, after in pairwise(nuclei):
        between = range(before + 1, after)
        edge = next((k for k in between if phones.word[k] == phones.word[after] and phones.symbol[k] != " "), after)
        starts.append(int(edge if phones.word[before] != phones.word[after] else max(after - 1, before + 1)))
    return list(zip(starts, nuclei.tolist(), [*starts[1:], len(phones.symbol)]))


def recut(bank: VoiceBank, singer: str, n_syllables: int, lines: Sequence[int], rng: np.random.Generator) -> Line:
    """A line that nobody wrote: runs of syllables of stored lines, some with other consonants before their vowel.

    Parameters
    ----------
    bank : VoiceBank
        What is cut.
    singer : str
        Of the bank.
    n_syllables : int
        How many, at least 1.
    lines : Sequence[int]
        Stored lines that are cut.
    rng : np.random.Generator
        Draws them.

    Returns
    -------
    Line
        Whose words are runs, named by numbers.
    """
    stored = stored_lines(bank, singer)
    cuts = {k: syllables(stored[k].phones) for k in lines}
    pieces: list[Piece] = []
    run_of_syllable: list[int] = []
    left, run = n_syllables, 0
    while left:
        k = int(rng.choice(lines))
        first = int(rng.integers(len(cuts[k])))
        length = min(1 + int(rng.choice(len(_RUNS), p=_RUNS)), left, len(cuts[k]) - first)
        start, nucleus, _ = cuts[k][first]
        stop = cuts[k][first + length - 1][2]
        if rng.random() < _OTHER_ONSET:
            other = int(rng.choice(lines))
            a, b, _ = cuts[other][int(rng.integers(len(cuts[other])))]
            if b > a:
                pieces.append(Piece(other, a, b, run))
            start = nucleus
        pieces.append(Piece(k, start, stop, run))
        run_of_syllable += [run] * length
        left -= length
        # Words of the stored line go on counting within a run.
        run += 1 + int(stored[k].phones.word[start:stop].max() - stored[k].phones.word[start])
    words = tuple(str(k) for k in range(run))
    return Line(-1, " ".join(words), words, n_syllables, tuple(run_of_syllable), tuple(pieces))


def rewritten(bank: VoiceBank, singer: str, n_words: int, lines: Sequence[int], rng: np.random.Generator) -> Line:
    """A line of runs of one to four words of stored lines, so that its text is known; parameters as :func:`recut`."""
    stored = stored_lines(bank, singer)
    words: list[str] = []
    pieces: list[Piece] = []
    word_of_syllable: list[int] = []
    while len(words) < n_words:
        k = int(rng.choice(lines))
        text, phones = stored[k].text.split(), stored[k].phones
        first = int(rng.integers(len(text)))
        last = min(first + int(rng.integers(1, 5)), len(text), first + n_words - len(words)) - 1
        inside = np.flatnonzero((phones.word >= first) & (phones.word <= last))
        pieces.append(Piece(k, int(inside[0]), int(inside[-1]) + 1, len(words)))
        word_of_syllable += [len(words) + int(w) - first for w in phones.word[inside][phones.nucleus[inside]]]
        words += text[first : last + 1]
    n_syllables = len(word_of_syllable)
    return Line(-1, " ".join(words), tuple(words), n_syllables, tuple(word_of_syllable), tuple(pieces))


def draw_notes(n_syllables: int, range_midi: tuple[float, float], rng: np.random.Generator) -> list[list[SungNote]]:
    """Notes of each syllable of a line that begins at 0 s."""
    low, high = range_midi
    melody = random_melody(2 * n_syllables, rng.uniform(low + 3, high - 4), rng)
    tempo = np.exp(rng.normal(0, 0.25))
    notes: list[list[SungNote]] = []
    at, place = 0.0, 0
    for k in range(n_syllables):
        length = float(np.clip(_SYLLABLE_S * tempo * np.exp(rng.normal(0, _SPREAD)), _SHORTEST_S, _LONGEST_S))
        if rng.random() < _HELD or (k + 1 == n_syllables and rng.random() < 0.4):
            length = rng.uniform(*_HELD_S)
        parts = int(rng.integers(2, 4)) if length > 0.45 and rng.random() < _MELISMA else 1
        own = [
            SungNote(at + j * length / parts, length / parts, float(melody[min(place + j, len(melody) - 1)]))
            for j in range(parts)
        ]
        notes.append(own)
        place += parts
        at += length
        if rng.random() < 0.1:
            at += rng.uniform(0.05, 0.3)
    return notes


def _moved(notes: list[list[SungNote]], by_s: float, semitones: float = 0.0) -> list[list[SungNote]]:
    return [[SungNote(n.start_s + by_s, n.duration_s, n.midi + semitones) for n in own] for own in notes]


def sing_take(
    bank: VoiceBank,
    singer: str,
    choose: Callable[[np.random.Generator], Line],
    duration_s: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, list[tuple[Line, Sung]]]:
    """Lines one after the other.

    Parameters
    ----------
    bank : VoiceBank
        Who sings.
    singer : str
        Of the bank.
    choose : Callable[[np.random.Generator], Line]
        Gives the next line.
    duration_s : float
        Seconds of the take; the last line ends before.
    rng : np.random.Generator
        Draws melodies and deliveries.

    Returns
    -------
    signal : np.ndarray
        (n_samples,) float32 at 22,050 Hz.
    sung : list[tuple[Line, Sung]]
        What the leading voice sang.
    """
    style = VoiceStyle.draw(rng)
    if rng.random() < 0.2:
        style = style.strained(rng)
    y = np.zeros(int(duration_s * SAMPLE_RATE), np.float32)
    sung: list[tuple[Line, Sung]] = []
    at = rng.uniform(0.3, 1.5)
    while True:
        line = choose(rng)
        notes = _moved(draw_notes(line.syllables, bank.range_midi(singer), rng), at + 0.3)
        if notes[-1][-1].end_s > duration_s - 0.3:
            break
        lead = sing(bank, singer, line, notes, style, rng)
        voices = [(lead, 1.0)]
        if rng.random() < _DOUBLED:
            voices.append((sing(bank, singer, line, _moved(notes, rng.normal(0, 0.015)), style.double(rng), rng), 0.4))
        if rng.random() < _HARMONY:
            above = _moved(notes, rng.normal(0, 0.015), float(rng.choice([-5, -4, -3, 3, 4, 5])))
            voices.append((sing(bank, singer, line, above, VoiceStyle.draw(rng), rng), 0.35))
        for voice, gain in voices:
            first = int(voice.start_s * SAMPLE_RATE)
            part = voice.audio[max(-first, 0) : len(y) - first]
            y[max(first, 0) : max(first, 0) + len(part)] += gain * part
        sung.append((line, lead))
        at = lead.end_s + (rng.uniform(*_REST_S) if rng.random() < 0.8 else rng.uniform(2.0, 4.0))
    return resample(y, SAMPLE_RATE, ANALYSIS_SAMPLE_RATE), sung


def mix_take(y: np.ndarray, accompaniment: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A voice in a room, driven at times, with accompaniment at some level; 22,050 Hz, peak 0.9."""
    y = colour(y, rng, room=0.6, equaliser=0.6)
    if rng.random() < 0.2:
        y = drive(y, rng.uniform(0, 14))
    if accompaniment is not None and rng.random() >= _ALONE:
        start = int(rng.integers(max(1, len(accompaniment) - len(y) + 1)))
        part = np.resize(accompaniment[start:], len(y))
        level = rms(part)
        if level > 0:
            y = y + part * (rms(y) / level * 10 ** (-rng.uniform(*_BALANCE_DB) / 20))
    return (y * (0.9 / max(float(np.abs(y).max(initial=0.0)), 1e-9))).astype(np.float32)


def take_of(sung: Sequence[tuple[Line, Sung]], vocals: Vocals, singer: str) -> Take:
    """Phones and words of what was sung, in the phones of the dictionary."""
    phones = [(ARPABET[p], a, b) for _, one in sung for p, a, b in one.phones if p in ARPABET]
    words = [word for _, one in sung for word in one.words]
    return Take(vocals, tuple(phones), tuple(words), tuple(line.text for line, _ in sung), singer)
