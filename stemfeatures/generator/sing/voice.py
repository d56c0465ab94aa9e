"""Singing and speaking voices with exact F0: the vocals of the generated songs.

:func:`sing` takes a line of a :class:`~.voicebank.VoiceBank` and the notes of each syllable, stretches the vowels,
keeps the consonants, imposes a pitch contour (:mod:`.melody`) and lets WORLD synthesise it, directly at 44.1 kHz. What
is synthesised is what :class:`Sung` says. Doubles and harmonies are further calls. Needs the ``train`` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...datasets.annotations import midi_to_hz
from .melody import F0_PERIOD_S, SungNote, pitch_contour, smooth_noise
from .phones import kind
from .voice_style import VoiceStyle
from .voicebank import HERTZ, PERIOD_S, SAMPLE_RATE, Line, Phones, VoiceBank, require_pyworld, to_aperiodicity

__all__ = ["Line", "Sung", "SungNote", "VoiceBank", "VoiceStyle", "breath", "sing", "speak"]

#: RMS of sung vowels at the singer's medium effort, in dBFS.
VOWEL_LEVEL_DB = -20.0
#: Frames below this level relative to the vowels are silent and carry no F0.
#: One decibel of power as a natural logarithm.
_DECIBEL = np.log(10) / 10
_INAUDIBLE_DB = -45.0
_MAX_CONSONANT_S = 0.15
#: Consonants leave the vowel at least this share of the time from one vowel to the next.
_MIN_VOWEL = 0.45


@dataclass
class Sung:
    """One voice's delivery. ``audio`` is mono at 44.1 kHz, its first sample at ``start_s`` of the song."""

    audio: np.ndarray
    start_s: float
    #: F0 every 5 ms, in the song's time; 0 = unvoiced or silent.
    f0_times_s: np.ndarray
    f0_hz: np.ndarray
    words: list[tuple[str, float, float]] = field(default_factory=list)
    phones: list[tuple[str, float, float]] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.audio) / SAMPLE_RATE


def sing(
    bank: VoiceBank,
    singer: str,
    line: Line,
    notes: Sequence[Sequence[SungNote]],
    style: VoiceStyle,
    rng: np.random.Generator,
) -> Sung:
    """Sing ``line``: syllable ``k`` on ``notes[k]``, several notes being a melisma on its vowel.

    The vowel of syllable ``k`` begins at ``notes[k][0].start_s``; the consonants before it come earlier. Notes may
    leave rests between them. Vowels lie around -20 dBFS RMS. ValueError if the notes do not fit the line: one
    non-empty list a syllable, in order of time, durations above zero.
    """
    _check(line, notes)
    phones = bank.phones(singer, line)
    begin, end = _time_phones(phones, notes, style)
    flat = [note for syllable in notes for note in syllable]
    legato = [j > 0 for syllable in notes for j in range(len(syllable))]
    times = _frame_times(begin, end)
    pitch = pitch_contour(flat, times, style, rng, legato=legato)
    low, high = bank.range_midi(singer)
    return _render(phones, line, begin, end, times, pitch, style, rng, medium_midi=(low + high) / 2)


def speak(
    bank: VoiceBank,
    singer: str,
    line: Line,
    start_s: float,
    style: VoiceStyle,
    rng: np.random.Generator,
    *,
    shout: bool = False,
) -> Sung:
    """Say ``line`` (or shout it) from ``start_s`` on, at natural timing and a falling, accented pitch."""
    phones = bank.phones(singer, line)
    length = phones.end_s - phones.begin_s
    vowel = phones.nucleus
    length = np.where(vowel, np.minimum(length, 0.16) * rng.uniform(0.75, 1.1), np.minimum(length, _MAX_CONSONANT_S))
    length = np.where(vowel & phones.stressed, 1.2 * length, length) * rng.uniform(0.85, 1.1) * (1.15 if shout else 1.0)
    length[np.array([s == " " for s in phones.symbol])] *= 0.5
    end = start_s + np.cumsum(length)
    begin = end - length
    times = _frame_times(begin, end)
    low, high = bank.range_midi(singer)
    base = rng.uniform(high - 7, high - 2) if shout else low + rng.uniform(-1.0, 3.5)
    fraction = (times - start_s) / max(end[-1] - start_s, 1e-3)
    pitch = base - (rng.uniform(1.5, 5.0) if not shout else rng.uniform(0.0, 4.0)) * fraction
    for k in np.flatnonzero(vowel):
        height = rng.uniform(1.0, 5.0) if phones.stressed[k] else rng.uniform(-1.0, 1.0)
        centre, width = 0.5 * (begin[k] + end[k]), 0.08 + 0.3 * (end[k] - begin[k])
        pitch = pitch + height * np.exp(-(((times - centre) / width) ** 2))
    pitch = pitch - rng.uniform(0.0, 4.0) * np.clip((times - end[-1]) / 0.25 + 1, 0, 1) ** 2
    pitch = pitch + 0.3 * smooth_noise(len(times), 30, rng) + 2 * style.jitter * smooth_noise(len(times), 5, rng)
    return _render(phones, line, begin, end, times, pitch, style, rng, medium_midi=base - 6 if shout else base + 3)


def _check(line: Line, notes: Sequence[Sequence[SungNote]]) -> None:
    if len(notes) != line.syllables:
        raise ValueError(f"{len(notes)} lists of notes for the {line.syllables} syllables of {line.text!r}")
    before = -np.inf
    for k, syllable in enumerate(notes):
        if not syllable:
            raise ValueError(f"syllable {k} of {line.text!r} has no note")
        for note in syllable:
            if not (note.duration_s > 0 and np.isfinite([note.start_s, note.duration_s, note.midi]).all()):
                raise ValueError(f"syllable {k} of {line.text!r}: a note needs finite values and a duration: {note}")
            if note.start_s < before - 1e-6:
                raise ValueError(f"syllable {k} of {line.text!r} starts before the note before it ends: {note}")
            before = note.end_s


def _frame_times(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Frames of 5 ms with some silence on both sides."""
    start = begin[0] - 0.03
    return start + F0_PERIOD_S * np.arange(int(np.ceil((end[-1] + 0.06 - start) / F0_PERIOD_S)))


def _time_phones(
    phones: Phones, notes: Sequence[Sequence[SungNote]], style: VoiceStyle
) -> tuple[np.ndarray, np.ndarray]:
    """Song times of every phone: vowels on their notes, consonants before and after at their own length."""
    natural = np.minimum(phones.end_s - phones.begin_s, _MAX_CONSONANT_S) * style.consonant_rate
    natural[[s == " " for s in phones.symbol]] = 0.0
    vowels = np.flatnonzero(phones.nucleus)
    begin, end = np.zeros(len(natural)), np.zeros(len(natural))
    onset = [syllable[0].start_s for syllable in notes]
    first = natural[: vowels[0]]
    end[: vowels[0]] = onset[0] - first[::-1].cumsum()[::-1] + first
    begin[: vowels[0]] = end[: vowels[0]] - first
    for k, vowel in enumerate(vowels):
        last = k + 1 == len(vowels)
        stop = len(natural) if last else vowels[k + 1]
        limit = notes[k][-1].end_s if last else onset[k + 1]
        between = np.arange(vowel + 1, stop)
        coda = _coda(phones, between) if not last else len(between)
        length = natural[between]
        rest = max(limit - notes[k][-1].end_s, 0.0)
        span = notes[k][-1].end_s - onset[k]
        before, after = length[:coda].sum(), length[coda:].sum()
        if last or rest > after:  # the syllable ends by itself, silence may follow
            spill = min(0.5 * before, 0.08) if last else min(0.5 * before, 0.08, rest - after)
            room = (1 - _MIN_VOWEL) * span + spill
            length[:coda] *= min(1.0, room / max(before, 1e-9))
            vowel_end = notes[k][-1].end_s + spill - length[:coda].sum()
        else:
            length *= min(1.0, (1 - _MIN_VOWEL) * (limit - onset[k]) / max(before + after, 1e-9))
            vowel_end = limit - length.sum()
        begin[vowel], end[vowel] = onset[k], vowel_end
        end[between[:coda]] = vowel_end + np.cumsum(length[:coda])
        end[between[coda:]] = limit - length[coda:][::-1].cumsum()[::-1] + length[coda:]
        begin[between] = end[between] - length
    return begin, end


def _coda(phones: Phones, between: np.ndarray) -> int:
    """How many of the consonants between two vowels belong to the first: up to the word's end, else all but one."""
    same = phones.word[between] == phones.word[between[0] - 1] if len(between) else np.zeros(0, bool)
    inside_word = len(between) and phones.word[between[-1] + 1] == phones.word[between[0] - 1] and same.all()
    if inside_word:
        return max(len(between) - 1, 0)
    return int(np.argmin(same)) if len(same) and not same.all() else len(between)


def _render(
    phones: Phones,
    line: Line,
    begin: np.ndarray,
    end: np.ndarray,
    times: np.ndarray,
    pitch: np.ndarray,
    style: VoiceStyle,
    rng: np.random.Generator,
    *,
    medium_midi: float,
) -> Sung:
    sounding = end - begin > 1e-6
    position, owner = _source_position(phones, begin, end, times, rng)
    inside = owner >= 0
    place = np.clip(position / PERIOD_S, 0, len(phones.voiced) - 1.001)
    log_power, aperiodicity_db = _spectra_at(phones, place)
    _smooth_joins(log_power, phones, begin, times)

    pitch = pitch + _microprosody(phones, begin, end, times, rng)
    f0 = np.clip(midi_to_hz(pitch), 45.0, 1800.0)
    vowel = inside & phones.nucleus[owner]
    held = vowel | np.isin(owner, [k for k, s in enumerate(phones.symbol) if kind(s) == "sonorant"])
    voiced = inside & (phones.voiced[np.round(place).astype(int)] | held)
    loud = vowel & voiced

    log_power = _shift_formants(log_power, style.formant)
    _open_vowels(log_power, f0, voiced)
    effort = np.clip((pitch - medium_midi) / 12, -1.5, 1.5)
    log_power += (_shade(effort, style) * _DECIBEL).astype(np.float32)
    gain_db = _gain_db(phones, begin, end, times, owner, style, rng) + style.effort * effort
    log_power += (gain_db * _DECIBEL).astype(np.float32)[:, None]

    power = np.exp(log_power.astype(np.float64))
    level = power[:, (HERTZ > 80) & (HERTZ < 6000)].sum(axis=1)
    reference = np.median(level[loud]) if np.any(loud) else level.max()
    power *= _de_esser(power, loud, held)[:, None]
    edge = _edges(inside)
    power *= edge[:, None] ** 2
    voiced &= level * edge**2 > reference * 10 ** (_INAUDIBLE_DB / 10)
    loud &= voiced
    f0 = np.where(voiced & (not style.growl), f0, 0.0)

    audio = _synthesise(f0, power, _breathy(to_aperiodicity(aperiodicity_db), style), rng)
    if style.growl:
        audio = _flutter(audio, rng)
    elif style.roughness > 0:
        audio = _roughen(audio, f0, style.roughness)
    audio = _level(audio, loud, effort * style.effort)
    words = [
        (word, float(begin[own].min()), float(end[own].max()))
        for k, word in enumerate(line.words)
        if np.any(own := (phones.word == k) & sounding)
    ]
    spoken = [
        (symbol, float(a), float(b))
        for symbol, a, b, s in zip(phones.symbol, begin, end, sounding)
        if s and symbol != " "
    ]
    return Sung(audio.astype(np.float32), float(times[0]), times, f0, words, spoken)


def _spectra_at(phones: Phones, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log power and aperiodicity in dB at fractional frames of the source."""
    low = place.astype(int)
    fraction = (place - low)[:, None].astype(np.float32)
    return (
        phones.log_power[low] * (1 - fraction) + phones.log_power[low + 1] * fraction,
        phones.aperiodicity_db[low] * (1 - fraction) + phones.aperiodicity_db[low + 1] * fraction,
    )


def _shade(effort: np.ndarray, style: VoiceStyle) -> np.ndarray:
    """(n_frames, n_bins) dB that the colour of a voice adds, brighter with more effort."""
    colour = style.tilt * np.log2(np.clip(HERTZ, 120.0, 8000.0) / 1000)
    colour += _opening(HERTZ)
    colour += style.singers_formant * np.exp(-(((HERTZ - 2900 * style.formant) / 500) ** 2))
    brighter = np.log2(np.clip(HERTZ, 300.0, 4000.0) / 1000) * style.effort * 0.4
    shade: np.ndarray = colour[None] + effort[:, None] * brighter[None]
    return shade


def _de_esser(power: np.ndarray, loud: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Factors that keep sibilants and bursts of a bright or closely squeezed delivery below the vowels."""
    total = power.sum(axis=1)
    usual = np.median(total[loud]) if np.any(loud) else total.max()
    factors: np.ndarray = np.minimum(1.0, np.where(held, 8.0, 0.6) * usual / np.maximum(total, 1e-20))
    return factors


def _breathy(ratio: np.ndarray, style: VoiceStyle) -> np.ndarray:
    if style.breathiness > 0:
        ratio = ratio + style.breathiness * (1 - ratio) * np.clip(HERTZ / 4000, 0, 1)
    return ratio


def _synthesise(f0: np.ndarray, power: np.ndarray, ratio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples of as many frames, by WORLD."""
    # Frames of silence in front shift WORLD's own noise, which otherwise is the same in every call.
    lead = int(rng.integers(1, 40))
    audio: np.ndarray = require_pyworld().synthesize(
        np.concatenate([np.zeros(lead), f0]),
        np.ascontiguousarray(np.concatenate([np.full((lead, len(HERTZ)), 1e-16), power + 1e-16])),
        np.ascontiguousarray(np.concatenate([np.ones((lead, len(HERTZ))), ratio])),
        SAMPLE_RATE,
        PERIOD_S * 1000,
    )
    first = round(lead * PERIOD_S * SAMPLE_RATE)
    return audio[first : first + int(len(f0) * PERIOD_S * SAMPLE_RATE)]


def _roughen(audio: np.ndarray, f0: np.ndarray, roughness: float) -> np.ndarray:
    """Weaken every other period; in unvoiced frames nothing changes."""
    at = np.arange(len(audio)) / (PERIOD_S * SAMPLE_RATE)
    frames = np.arange(len(f0))
    phase = 2 * np.pi * np.cumsum(np.interp(at, frames, f0)) / SAMPLE_RATE
    sounding = np.interp(at, frames, (f0 > 0).astype(float))
    return audio * (1 - roughness * sounding * (0.5 - 0.5 * np.cos(0.5 * phase)))


def _flutter(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise opened and closed 35 to 80 times a second, never twice alike, and driven."""
    n = len(audio)
    points = max(int(n / SAMPLE_RATE * 200), 2)
    rate = rng.uniform(35, 80) * np.exp(0.35 * smooth_noise(points, 3, rng))
    phase = 2 * np.pi * np.cumsum(np.interp(np.linspace(0, points - 1, n), np.arange(points), rate)) / SAMPLE_RATE
    pulsed = audio * (0.35 + 0.65 * (0.5 + 0.5 * np.cos(phase)) ** 2)
    return np.tanh(pulsed * 3.0 / max(4 * float(np.sqrt(np.mean(pulsed**2))), 1e-9))


def _source_position(
    phones: Phones, begin: np.ndarray, end: np.ndarray, times: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the bank's frames (seconds) every output frame comes from, and which phone owns it (-1 = silence)."""
    position, owner = np.zeros(len(times)), np.full(len(times), -1)
    for k, (a, b) in enumerate(zip(begin, end)):
        frames = slice(*np.searchsorted(times, [a - 1e-9, b - 1e-9]))
        if frames.stop <= frames.start:
            continue
        owner[frames] = k
        source, length = phones.begin_s[k], phones.end_s[k] - phones.begin_s[k]
        u = times[frames] - a
        if not phones.nucleus[k] or b - a <= length:
            position[frames] = source + u * length / (b - a)
            continue
        # The vowel's own start and end at their own pace; in between, slow travel through its steady part.
        hold = float(np.clip(phones.hold_s[k] - source, 0.15 * length, 0.85 * length))
        reach = min(0.012, 0.4 * hold, 0.4 * (length - hold))
        into, out_of = hold - reach, length - hold - reach
        position[frames] = source + np.interp(u, [0, into, b - a - out_of, b - a], [0, into, length - out_of, length])
        inner = np.clip(np.minimum(u - into, b - a - out_of - u) / 0.05, 0, 1)
        if len(u) > 20:
            position[frames] += 0.004 * inner * smooth_noise(len(u), 24, rng)
    return position, owner


def _smooth_joins(log_power: np.ndarray, phones: Phones, begin: np.ndarray, times: np.ndarray) -> None:
    """Blend the envelopes around the first phone of every piece, in place."""
    for k in np.flatnonzero(phones.joins)[1:]:
        at = int(np.searchsorted(times, begin[k]))
        a, b = max(at - 4, 0), min(at + 4, len(times) - 1)
        if b - a > 2:
            fraction = np.linspace(0, 1, b - a + 1, dtype=np.float32)[1:-1, None]
            bridge = log_power[a] * (1 - fraction) + log_power[b] * fraction
            log_power[a + 1 : b] = 0.5 * log_power[a + 1 : b] + 0.5 * bridge


def _microprosody(
    phones: Phones, begin: np.ndarray, end: np.ndarray, times: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Semitones: a dip in voiced obstruents, a slight rise after unvoiced ones."""
    shift = np.zeros(len(times))
    for k, symbol in enumerate(phones.symbol):
        sort = kind(symbol)
        if sort == "voiced" and end[k] > begin[k]:
            width = 0.5 * (end[k] - begin[k]) + 0.01
            shift -= rng.uniform(0.1, 0.6) * np.exp(-(((times - 0.5 * (begin[k] + end[k])) / width) ** 2))
        elif sort == "unvoiced":
            since = times - end[k]
            shift += rng.uniform(0.0, 0.35) * np.exp(-np.maximum(since, 0) / 0.03) * (since >= 0)
    return shift


def _shift_formants(log_power: np.ndarray, factor: float) -> np.ndarray:
    if factor == 1.0:
        return log_power
    place = np.clip(np.arange(len(HERTZ)) / factor, 0, len(HERTZ) - 1.001)
    low, fraction = place.astype(int), (place % 1).astype(np.float32)
    return log_power[:, low] * (1 - fraction) + log_power[:, low + 1] * fraction


def _opening(hertz: np.ndarray) -> np.ndarray:
    """dB between speech, of which the bank is made, and singing: less at the voice's base, more around 800 Hz."""
    octave = np.log2(np.maximum(hertz, 50.0))
    return np.interp(octave, np.log2([150, 300, 550, 800, 1300, 2000]), [-3.0, -3.5, 2.0, 3.5, 2.0, 0.0])


def _open_vowels(log_power: np.ndarray, f0: np.ndarray, voiced: np.ndarray) -> None:
    """Let the first formant follow a fundamental above it, as singers do by opening the mouth; in place."""
    bins = int(np.searchsorted(HERTZ, 2000))
    frames = np.flatnonzero(voiced & (f0 > 300))
    low = log_power[frames, 2:bins]
    crest = np.maximum.accumulate(low, axis=1)
    near = np.clip((1.3 * f0[frames, None] - HERTZ[None, 2:bins]) / (0.2 * f0[frames, None]), 0, 1)
    log_power[frames, 2:bins] = low + near.astype(np.float32) * (crest - low)


def _gain_db(
    phones: Phones,
    begin: np.ndarray,
    end: np.ndarray,
    times: np.ndarray,
    owner: np.ndarray,
    style: VoiceStyle,
    rng: np.random.Generator,
) -> np.ndarray:
    """Level of every frame: vowels evened out, weak sonorants lifted, a swell, a fading last note, shimmer."""
    per_phone = np.zeros(len(begin))
    for k, symbol in enumerate(phones.symbol):
        sort, level = kind(symbol), phones.level_db[k]
        if phones.nucleus[k]:
            per_phone[k] = np.clip(-0.75 * level, -9, 20)
        elif sort == "sonorant":
            per_phone[k] = np.clip(-7 - level, 0, 20)
    gain = np.where(owner >= 0, per_phone[owner], 0.0)
    window = np.hanning(13)[1:-1]
    gain = np.convolve(np.pad(gain, 5, mode="edge"), window / window.sum(), "valid")
    fraction = (times - begin[0]) / max(end[-1] - begin[0], 1e-3)
    gain += style.swell * rng.uniform(0.3, 1.2) * np.sin(np.pi * np.clip(fraction, 0, 1))
    fade = rng.uniform(0.05, 0.2)
    gain -= 9 * np.clip((times - end[-1]) / fade + 1, 0, 1) ** 2
    return gain + style.shimmer * smooth_noise(len(times), 8, rng)


def _edges(inside: np.ndarray) -> np.ndarray:
    """Amplitude 0 to 1 that opens and closes within 10 ms at the borders of silence, inside the sound."""
    window = np.hanning(7)[1:-1]
    eroded = np.convolve(np.pad(~inside, 1, constant_values=True), np.ones(3), "valid") == 0
    return np.convolve(np.pad(eroded.astype(float), 2), window / window.sum(), "valid") * inside


def _level(audio: np.ndarray, vowel: np.ndarray, effort_db: np.ndarray) -> np.ndarray:
    """Scale so that vowels lie at VOWEL_LEVEL_DB where the effort is medium; never beyond full scale."""
    hop = PERIOD_S * SAMPLE_RATE
    edge = np.round(np.arange(len(vowel) + 1) * hop).astype(int)
    energy = np.add.reduceat(np.append(audio, 0.0) ** 2, np.minimum(edge[:-1], len(audio)))
    if vowel.any():
        now = 10 * np.log10(np.mean(energy[vowel]) / hop + 1e-20) - np.mean(effort_db[vowel])
        audio = audio * 10 ** ((VOWEL_LEVEL_DB - now) / 20)
    return audio * min(1.0, 0.98 / max(float(np.abs(audio).max(initial=0.0)), 1e-9))


def breath(
    bank: VoiceBank, singer: str, end_s: float, duration_s: float, style: VoiceStyle, rng: np.random.Generator
) -> Sung:
    """Breathing in, done by ``end_s``: noise through the singer's open vowel, rising slowly and stopping fast."""
    pyworld = require_pyworld()
    vowel = bank.phones(singer, bank.vocalise(singer, "aah"))
    n = max(round(duration_s / PERIOD_S), 4)
    shape = vowel.log_power[int(vowel.hold_s[0] / PERIOD_S)].astype(np.float64)
    shape = _shift_formants(0.6 * shape[None].astype(np.float32), style.formant)[0]
    tilt = np.where(HERTZ < 500, 9 * np.log2(np.maximum(HERTZ, 40) / 500), 2.5 * np.log2(HERTZ.clip(500, 6000) / 500))
    fraction = (np.arange(n) + 0.5) / n
    rise = np.sin(0.5 * np.pi * np.clip(fraction / rng.uniform(0.5, 0.8), 0, 1)) ** 2
    rise *= np.clip((1 - fraction) / 0.12, 0, 1)
    colour = shape + tilt * np.log(10) / 10
    power = np.exp(colour - colour.max())[None] * (rise[:, None] * (1 + 0.2 * smooth_noise(n, 6, rng)[:, None])) ** 2
    lead = int(rng.integers(1, 40))
    audio = pyworld.synthesize(
        np.zeros(n + lead),
        np.concatenate([np.full((lead, len(HERTZ)), 1e-16), power + 1e-16]),
        np.ones((n + lead, len(HERTZ))),
        SAMPLE_RATE,
        PERIOD_S * 1000,
    )[round(lead * PERIOD_S * SAMPLE_RATE) :]
    audio = audio * 10 ** ((VOWEL_LEVEL_DB - rng.uniform(12, 24)) / 20) / max(np.sqrt(np.mean(audio**2)), 1e-9)
    start = end_s - n * PERIOD_S
    return Sung(
        audio.astype(np.float32), start, start + PERIOD_S * np.arange(n), np.zeros(n), [], [("breath", start, end_s)]
    )
