"""The vocals of a song: who sings what, where and how loud, with the F0 of each voice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from . import console
from .composer import SHORTEST_SYLLABLE_S, Note, Score, Slot, melody, part_rng, pick, syllables_that_fit
from .track import F0_HOP_S, Track, add_at, note_truth

if TYPE_CHECKING:
    from .voice import Sung, VoiceBank, VoiceStyle


def _f0_on_grid(sung: Sung, out: np.ndarray) -> None:
    """Write the F0 of one delivery onto a grid of F0_HOP_S."""
    times, f0 = np.asarray(sung.f0_times_s), np.asarray(sung.f0_hz)
    first, last = int(np.ceil(max(times[0], 0.0) / F0_HOP_S)), min(int(times[-1] / F0_HOP_S), len(out) - 1)
    if last < first:
        return
    at = F0_HOP_S * np.arange(first, last + 1)
    right = np.clip(np.searchsorted(times, at), 1, len(times) - 1)
    left = right - 1
    part = np.clip((at - times[left]) / (times[right] - times[left]), 0, 1)
    both = (f0[left] > 0) & (f0[right] > 0)
    between = np.exp((1 - part) * np.log(np.maximum(f0[left], 1)) + part * np.log(np.maximum(f0[right], 1)))
    value = np.where(both, between, np.where(part < 0.5, f0[left], f0[right]))
    span = out[first : last + 1]
    out[first : last + 1] = np.where(value > 0, value, span)


@dataclass
class _Singer:
    """A voice in the mix: its sound and F0."""

    audio: np.ndarray
    f0: np.ndarray
    role: str
    singer: str
    pan: float
    level_db: float


def sing_score(
    score: Score, n: int, voices: VoiceBank | None, n_frames: int
) -> tuple[Track, list[np.ndarray], dict[str, list[dict[str, Any]]]]:
    track = Track.silent(n)
    lyrics: dict[str, list[dict[str, Any]]] = {"words": [], "lines": []}
    if not score.slots:
        track.choices = {"voices": []}
        return track, [], lyrics
    from .voice import VoiceBank, VoiceStyle

    bank = VoiceBank.default() if voices is None else voices
    rng = part_rng(score.seed, "singers")
    name = str(pick(rng, sorted(bank.singers)))
    style = VoiceStyle.draw(rng)
    low, high = bank.range_midi(name)
    lead = _Singer(np.zeros(n, np.float32), np.zeros(n_frames), "lead", name, 0.0, 0.0)
    singers = [lead]
    spoken = score.style.spoken > 0 and rng.random() < score.style.spoken
    backing = _draw_backing(score, bank, name, n, n_frames, rng)
    singers += [singer for singer, _, _, _ in backing]
    texts: dict[tuple[str, int], Any] = {}
    busy_until = 0.0
    for slot in score.slots:
        line_rng = part_rng(score.seed, "line", slot.section.first_bar, slot.turn)
        if slot.section.label != "chorus" and slot.turn and line_rng.random() < 0.08:
            continue  # the singer rests
        key = (slot.section.label if slot.section.label == "chorus" else str(slot.section.first_bar), slot.turn)
        if key not in texts:
            texts[key] = _line(bank, name, syllables_that_fit(score, slot), line_rng)
        line = texts[key]
        sung_notes, delivered = _deliver(
            score, slot, bank, name, line, style, (low, high), spoken, busy_until, line_rng
        )
        if delivered is None:
            continue
        busy_until = delivered.end_s
        add_at(lead.audio, np.asarray(delivered.audio, np.float32), delivered.start_s)
        _f0_on_grid(delivered, lead.f0)
        track.notes += [note_truth(note, score) for syllable in sung_notes for note in syllable]
        words = [(w, max(0.0, float(a)), float(b)) for w, a, b in delivered.words]
        lyrics["words"] += [{"word": w, "start_s": a, "end_s": b} for w, a, b in words]
        if words:
            lyrics["lines"].append({"text": line.text, "start_s": words[0][1], "end_s": words[-1][2]})
        for singer, voice_style, degrees, sections in backing:
            if slot.section.label in sections and sung_notes:
                _follow_lead(score, singer, voice_style, degrees, bank, line, sung_notes, line_rng)
    track.choices = {
        "spoken_verses": bool(spoken),
        "voice_style": {k: v for k, v in asdict(style).items() if isinstance(v, int | float)},
    }
    _mix_voices(track, singers, part_rng(score.seed, "vocal-mix"))
    used = [s for s in singers if np.any(s.f0) or np.any(s.audio)]
    track.choices["voices"] = [{"role": s.role, "singer": s.singer, "pan": s.pan, "level_db": s.level_db} for s in used]
    return track, [s.f0 for s in used], lyrics


_Backing = tuple[_Singer, "VoiceStyle", int, tuple[str, ...]]


def _draw_backing(
    score: Score, bank: VoiceBank, lead: str, n: int, n_frames: int, rng: np.random.Generator
) -> list[_Backing]:
    """Doubles (0 scale degrees away) and harmonies, and where they join in."""
    from .voice import VoiceStyle

    def singer(role: str, name: str, pan: float, level: float) -> _Singer:
        return _Singer(np.zeros(n, np.float32), np.zeros(n_frames), role, name, pan, level)

    out: list[_Backing] = []
    everywhere = ("chorus", "verse", "bridge")
    if rng.random() < 0.3:
        side, level = float(rng.uniform(0.2, 0.8)), float(rng.uniform(-10, -4))
        where: tuple[str, ...] = ("chorus",) if rng.random() < 0.7 else everywhere
        out.append((singer("double", lead, side, level), VoiceStyle.draw(rng), 0, where))
    if rng.random() < 0.35:
        degrees = int(rng.choice([2, 2, -2, 4, -3, 7]))
        name = lead if rng.random() < 0.5 else str(pick(rng, sorted(bank.singers)))
        where_else: tuple[str, ...] = ("chorus", "bridge") if rng.random() < 0.8 else everywhere
        side, level = float(rng.uniform(-0.8, -0.1)), float(rng.uniform(-10, -4))
        out.append((singer("harmony", name, side, level), VoiceStyle.draw(rng), degrees, where_else))
    return out


def _line(bank: VoiceBank, singer: str, most: int, rng: np.random.Generator) -> Any:
    """A line of lyrics of at most ``most`` syllables: as written, or put together from others' words."""
    fitting = [line for line in bank.lines(singer) if max(2, 0.35 * most) <= line.syllables <= most]
    if fitting and rng.random() < 0.6:
        return pick(rng, fitting)
    return bank.remix(singer, int(rng.integers(max(2, most // 2), max(3, most) + 1)), rng)


def _deliver(
    score: Score,
    slot: Slot,
    bank: VoiceBank,
    singer: str,
    line: Any,
    style: VoiceStyle,
    limits: tuple[float, float],
    spoken: bool,
    busy_until: float,
    rng: np.random.Generator,
) -> tuple[list[list[Note]], Sung | None]:
    """The lead's delivery of a line, sung or spoken; None where there is no room for it."""
    from .voice import SungNote, sing, speak

    if spoken and slot.section.label == "verse":
        start = max(score.grid.time(slot.bar, int(rng.integers(0, 3))), busy_until + 0.05)
        said = speak(bank, singer, line, start, style, rng)
        end = score.grid.time(slot.bar + slot.n_bars - 1, score.grid.steps) + 0.3
        return [], said if said.end_s < end + 1.0 else None
    notes = melody(score, slot, line.syllables, limits, rng)
    if notes[0][0].start_s < busy_until + 0.02:
        return [], None
    shortest = min(b[0].start_s - a[0].start_s for a, b in pairwise(notes)) if len(notes) > 1 else 1.0
    if shortest < 0.6 * SHORTEST_SYLLABLE_S:
        return [], None
    tuned = [[SungNote(m.start_s, m.end_s - m.start_s, m.midi + score.tuning / 100) for m in s] for s in notes]
    return notes, sing(bank, singer, line, tuned, style, rng)


def _follow_lead(
    score: Score,
    singer: _Singer,
    style: VoiceStyle,
    degrees: int,
    bank: VoiceBank,
    line: Any,
    notes: list[list[Note]],
    rng: np.random.Generator,
) -> None:
    """Sing what the lead sings, ``degrees`` of the scale away."""
    from .voice import SungNote, sing

    low, high = bank.range_midi(singer.singer)
    moved = [[_harmonised(score, m.midi, degrees) for m in syllable] for syllable in notes]
    flat = [m for syllable in moved for m in syllable]
    octave = -12 if max(flat) > high + 3 else 12 if min(flat) < low - 3 else 0
    late = float(rng.normal(0.012, 0.012))
    tuned = [
        [SungNote(max(0.0, m.start_s + late), m.end_s - m.start_s, p + octave + score.tuning / 100)
         for m, p in zip(syllable, pitches)]
        for syllable, pitches in zip(notes, moved)
    ]  # fmt: skip
    try:
        match = next((x for x in bank.lines(singer.singer) if x.text == line.text), line)
        sung = sing(bank, singer.singer, match, tuned, style, rng)
    except (ValueError, KeyError, IndexError):  # another singer need not know a remixed line
        return
    add_at(singer.audio, np.asarray(sung.audio, np.float32), sung.start_s)
    _f0_on_grid(sung, singer.f0)


def _harmonised(score: Score, midi: float, degrees: int) -> float:
    """The note ``degrees`` steps of the song's scale away; degree 0 is the note itself."""
    if degrees == 0:
        return midi
    ladder = [m for m in range(12, 116) if m % 12 in score.scale]
    nearest = min(range(len(ladder)), key=lambda i: (abs(ladder[i] - midi), ladder[i]))
    return float(ladder[nearest + degrees])


def _mix_voices(track: Track, singers: list[_Singer], rng: np.random.Generator) -> None:
    warmth, presence = float(rng.uniform(-6, -1)), float(rng.uniform(0, 4))
    tone: list[console.Band] = [
        ("low_cut", float(rng.uniform(80, 130)), 0.0, 0.7),
        ("peak", float(rng.uniform(220, 350)), warmth, 0.8),
        ("peak", float(rng.uniform(2500, 4500)), presence, 0.8),
        ("high_shelf", 9000.0, float(rng.uniform(0, 6)), 0.7),
    ]
    depth, drive, send = (
        float(rng.uniform(4, 12)),
        float(rng.choice([0.0, rng.uniform(2, 9)])),
        float(rng.uniform(0.08, 0.5)),
    )
    for singer in singers:
        if not np.any(singer.audio):
            continue
        y = console.compress(console.equalise(singer.audio, tone), rng, depth_db=depth, ratio=3.5)
        y = console.saturate(y, drive) if drive else y
        gain = console.from_db(-19 + singer.level_db) / max(console.active_rms(y), 1e-9)
        track.add(console.pan(y * np.float32(gain), singer.pan), send * (1.4 if singer.role != "lead" else 1.0))
    track.choices |= {"compression_db": depth, "drive_db": drive, "send": send}
