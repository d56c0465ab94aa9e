"""The vocals of a song: who sings what, where and how loud, with the F0 of each voice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compose.composer import SHORTEST_SYLLABLE_S, Note, Score, Slot, melody, pick, seeded_rng, syllables_that_fit
from ..mix import console
from ..track import Track, note_truth
from .singers import Cast, Singer

if TYPE_CHECKING:
    from .recorded_role import RecordedRole
    from .recording_bank import RecordingBank
    from .voice import Sung, VoiceBank, VoiceStyle

#: How often an intro, solo or outro has a vocalise, a bridge nothing else, and another line is one.
_VOCALISE = {"sections": 0.3, "bridge": 0.25, "line": 0.03}
#: How often songs with full drive are growled in places; how often a lead is strained, without and through drive.
_GROWLS, _STRAINED = 0.3, (0.06, 0.3)


def sing_score(
    score: Score, n: int, voices: VoiceBank | None, n_frames: int, recordings: RecordingBank | None = None
) -> tuple[Track, list[np.ndarray], dict[str, list[dict[str, Any]]]]:
    """The vocals of a score: a track of ``n`` samples, (n_frames,) F0 of every voice, lead first, and the lyrics."""
    track = Track.silent(n)
    if not score.slots:
        track.choices = {"voices": []}
        return track, [], {"words": [], "lines": []}
    from .recorded_role import RecordedRole
    from .voice import VoiceBank, VoiceStyle
    from .wordless import add_choir, add_shouts

    bank = VoiceBank.default() if voices is None else voices
    rng = seeded_rng(score.seed, "singers")
    name = str(pick(rng, sorted(bank.singers)))
    style = VoiceStyle.draw(rng)
    cast = Cast(score, bank, n, n_frames)
    lead = cast.engage("lead", name)
    manners = _draw_manners(score, rng)
    if rng.random() < _STRAINED[0] + _STRAINED[1] * score.style.drive:
        style = style.strained(rng)
    wordless = rng.random() < _VOCALISE["bridge"]
    backing = _draw_backing(cast, name, rng)
    recorded = RecordedRole.draw(cast, recordings)
    performance = _Performance(cast, lead, name, style, manners, wordless, backing, recorded)
    for slot in score.slots:
        track.notes += performance.sing(slot)
    if recorded is None or not recorded.leads:
        track.notes += performance.vocalise_between()
    add_choir(cast)
    add_shouts(cast, recorded.singer if recorded is not None and recorded.leads else lead)
    if recorded is not None:
        recorded.interject(lead)
    track.notes.sort(key=lambda note: (note["start_s"], note["midi"]))
    for lines in cast.lyrics.values():
        lines.sort(key=lambda entry: entry["start_s"])
    track.choices = {
        "manners": manners,
        "voice_style": {k: v for k, v in asdict(style).items() if isinstance(v, int | float)},
        **cast.choices,
    }
    _mix_voices(track, cast.singers, seeded_rng(score.seed, "vocal-mix"))
    used = [s for s in cast.singers if s.sounds()]
    used.sort(key=lambda s: s.role != "lead")
    track.choices["voices"] = [
        {"role": s.role, "singer": s.name, "pan": s.pan, "level_db": s.level_db, "deliveries_s": sorted(s.deliveries)}
        for s in used
    ]
    return track, [s.f0 for s in used], cast.lyrics


_Backing = tuple[Singer, "VoiceStyle", int, tuple[str, ...]]


@dataclass
class _Performance:
    """How the lines of a song are sung: by the lead ``name``, by recordings, or as a vocalise; with backing voices."""

    cast: Cast
    lead: Singer
    name: str
    style: VoiceStyle
    manners: dict[str, str]
    wordless: bool
    backing: list[_Backing]
    recorded: RecordedRole | None
    _texts: dict[tuple[str, int], Any] = field(default_factory=dict)

    def sing(self, slot: Slot) -> list[dict[str, Any]]:
        """Sing the line of a slot, or rest; returns its notes."""
        score, label = self.cast.score, slot.section.label
        rng = seeded_rng(score.seed, "line", slot.section.first_bar, slot.turn)
        if label != "chorus" and slot.turn and rng.random() < 0.08:
            return []  # the singer rests
        key = (label if label == "chorus" else str(slot.section.first_bar), slot.turn)
        if self.recorded is not None and self.recorded.takes(slot):
            return self.recorded.sing(slot, key)
        if (self.wordless and label == "bridge") or rng.random() < _VOCALISE["line"]:
            return self._vocalise(slot, rng)
        if key not in self._texts:
            self._texts[key] = _line(self.cast.bank, self.name, syllables_that_fit(score, slot), rng)
        line = self._texts[key]
        manner = self.manners.get(label, "sung")
        sung_notes, delivered = _deliver(self.cast, self.lead, slot, line, self.style, manner, rng)
        if delivered is None:
            return []
        self.cast.breathe(self.lead, delivered, self.style, rng)
        self.lead.take(delivered)
        self.cast.write(line.text, delivered)
        for singer, voice_style, degrees, sections in self.backing:
            if label in sections and sung_notes:
                _follow_lead(self.cast, singer, voice_style, degrees, line, sung_notes, rng)
        return [note_truth(note, score) for syllable in sung_notes for note in syllable]

    def vocalise_between(self) -> list[dict[str, Any]]:
        """Sing without words in intros, solos and outros of some songs; returns the notes."""
        from .wordless import empty_slots

        rng = seeded_rng(self.cast.score.seed, "vocalises")
        notes: list[dict[str, Any]] = []
        slots = empty_slots(self.cast.score, ("intro", "solo", "outro")) if rng.random() < _VOCALISE["sections"] else []
        for slot in slots:
            if rng.random() < 0.7:
                notes += self._vocalise(slot, rng)
        return notes

    def _vocalise(self, slot: Slot, rng: np.random.Generator) -> list[dict[str, Any]]:
        from .wordless import vocalise

        sung_notes = vocalise(self.cast, self.lead, slot, self.style, rng) or []
        return [note_truth(note, self.cast.score) for syllable in sung_notes for note in syllable]


def _draw_manners(score: Score, rng: np.random.Generator) -> dict[str, str]:
    """How verses and choruses are delivered."""
    drive = score.style.drive
    manners = {
        "verse": "spoken" if score.style.spoken > 0 and rng.random() < score.style.spoken else "sung",
        "chorus": "shouted" if rng.random() < 0.2 * drive**2 else "sung",
    }
    if rng.random() < _GROWLS * drive**2:
        manners |= {str(label): "growled" for label in rng.permutation(["verse", "chorus"])[: rng.integers(1, 3)]}
    return manners


def _draw_backing(cast: Cast, lead: str, rng: np.random.Generator) -> list[_Backing]:
    """Doubles (0 scale degrees away) and harmonies, and where they join in."""
    from .voice import VoiceStyle

    out: list[_Backing] = []
    everywhere = ("chorus", "verse", "bridge")
    if rng.random() < 0.3 and cast.vacancies:
        side, level = float(rng.uniform(0.2, 0.8)), float(rng.uniform(-10, -4))
        where: tuple[str, ...] = ("chorus",) if rng.random() < 0.7 else everywhere
        out.append((cast.engage("double", lead, side, level), VoiceStyle.draw(rng), 0, where))
    if rng.random() < 0.35 and cast.vacancies:
        degrees = int(rng.choice([2, 2, -2, 4, -3, 7]))
        name = lead if rng.random() < 0.5 else str(pick(rng, sorted(cast.bank.singers)))
        where_else: tuple[str, ...] = ("chorus", "bridge") if rng.random() < 0.8 else everywhere
        side, level = float(rng.uniform(-0.8, -0.1)), float(rng.uniform(-10, -4))
        out.append((cast.engage("harmony", name, side, level), VoiceStyle.draw(rng), degrees, where_else))
    return out


def _line(bank: VoiceBank, singer: str, most: int, rng: np.random.Generator) -> Any:
    """A line of lyrics of at most ``most`` syllables: as written, or put together from others' words."""
    fitting = [line for line in bank.lines(singer) if max(2, 0.35 * most) <= line.syllables <= most]
    if fitting and rng.random() < 0.6:
        return pick(rng, fitting)
    return bank.remix(singer, int(rng.integers(max(2, most // 2), max(3, most) + 1)), rng)


def _deliver(
    cast: Cast,
    lead: Singer,
    slot: Slot,
    line: Any,
    style: VoiceStyle,
    manner: str,
    rng: np.random.Generator,
) -> tuple[list[list[Note]], Sung | None]:
    """The lead's delivery of a line: ``sung``, ``spoken``, ``shouted`` or ``growled``. None where there is no room."""
    from .voice import sing, speak
    from .wordless import tuned

    score, bank = cast.score, cast.bank
    if manner != "sung":
        style = style.growled(rng) if manner == "growled" else style
        start = max(score.grid.time(slot.bar, int(rng.integers(0, 3))), lead.free_from_s + 0.05)
        said = speak(bank, lead.name, line, start, style, rng, shout=manner in ("shouted", "growled"))
        end = score.grid.time(slot.bar + slot.n_bars - 1, score.grid.steps) + 0.3
        return [], said if said.end_s < end + 1.0 else None
    notes = melody(score, slot, line.syllables, bank.range_midi(lead.name), rng)
    if notes[0][0].start_s < lead.free_from_s + 0.02:
        return [], None
    shortest = min(b[0].start_s - a[0].start_s for a, b in pairwise(notes)) if len(notes) > 1 else 1.0
    if shortest < 0.6 * SHORTEST_SYLLABLE_S:
        return [], None
    return notes, sing(bank, lead.name, line, tuned(notes, score), style, rng)


def _follow_lead(
    cast: Cast,
    singer: Singer,
    style: VoiceStyle,
    degrees: int,
    line: Any,
    notes: list[list[Note]],
    rng: np.random.Generator,
) -> None:
    """Sing what the lead sings, ``degrees`` of the scale away; where the singer lacks the line, note that."""
    from .voice import SungNote, sing

    score, bank = cast.score, cast.bank
    low, high = bank.range_midi(singer.name)
    moved = [[_harmonised(score.scale_at(m.start_s), m.midi, degrees) for m in syllable] for syllable in notes]
    flat = [m for syllable in moved for m in syllable]
    octave = -12 if max(flat) > high + 3 else 12 if min(flat) < low - 3 else 0
    late = float(rng.normal(0.012, 0.012))
    sung_notes = [
        [SungNote(max(0.0, m.start_s + late), m.end_s - m.start_s, p + octave + score.tuning / 100)
         for m, p in zip(syllable, pitches)]
        for syllable, pitches in zip(notes, moved)
    ]  # fmt: skip
    try:
        match = next((x for x in bank.lines(singer.name) if x.text == line.text), line)
        sung = sing(bank, singer.name, match, sung_notes, style, rng)
    except (ValueError, KeyError, IndexError):  # another singer need not know a remixed line
        start_s = sung_notes[0][0].start_s
        cast.note("unsung", {"text": line.text, "role": singer.role, "singer": singer.name, "start_s": start_s})
        return
    singer.take(sung)


def _harmonised(scale: tuple[int, ...], midi: float, degrees: int) -> float:
    """The note ``degrees`` steps of the scale away; degree 0 is the note itself."""
    if degrees == 0:
        return midi
    ladder = [m for m in range(12, 116) if m % 12 in scale]
    nearest = min(range(len(ladder)), key=lambda i: (abs(ladder[i] - midi), ladder[i]))
    return float(ladder[nearest + degrees])


def _mix_voices(track: Track, singers: list[Singer], rng: np.random.Generator) -> None:
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
