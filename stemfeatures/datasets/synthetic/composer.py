"""Songs as symbols: form, harmony, melody and parts, all exact, nothing audible yet.

A :class:`Score` is a function of the seed and the wishes alone. Times are seconds from the start of the song.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from .styles import METRES, MODES, PROGRESSIONS, STYLES, Style

NOTE_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

#: Harte's shorthand by the semitones above the root.
QUALITIES = {
    (4, 7): "maj", (3, 7): "min", (3, 6): "dim", (4, 8): "aug", (5, 7): "sus4", (2, 7): "sus2", (7,): "5",
    (4, 7, 11): "maj7", (4, 7, 10): "7", (3, 7, 10): "min7", (3, 6, 10): "hdim7", (3, 7, 11): "minmaj7",
    (3, 6, 9): "dim7", (4, 8, 11): "aug(7)", (4, 8, 10): "aug(b7)",
}  # fmt: skip

#: General MIDI keys of the drum roles.
DRUM_KEYS = {
    "kick": 36, "snare": 38, "rim": 37, "clap": 39, "hat": 42, "pedal_hat": 44, "open_hat": 46, "ride": 51,
    "crash": 49, "tom_high": 50, "tom_mid": 47, "tom_low": 43, "shaker": 70, "tambourine": 54, "cowbell": 56,
}  # fmt: skip

BASS_LOW, BASS_HIGH = 26, 57
#: Kinds of parts that take no pick-up line.
_STILL = ("pad", "oompah")
_BACKBEAT = ("kick", "snare", "rim", "clap")
#: Who is there at all, and how often. ``duo``: a voice and one instrument.
LINEUPS = {
    "full": 0.79, "instrumental": 0.05, "without_drums": 0.04, "without_bass": 0.04, "without_other": 0.02,
    "duo": 0.04, "a_cappella": 0.02,
}  # fmt: skip
_SONG_FORM = ("intro", "verse", "chorus", "verse", "chorus", "bridge", "solo", "chorus", "outro")


def part_rng(seed: int, *names: str | int) -> np.random.Generator:
    """The random generator of one part of song ``seed``; parts do not disturb each other."""
    key = tuple(zlib.crc32(str(name).encode()) for name in names)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of ``options``."""
    return options[int(rng.integers(len(options)))]


@dataclass
class Note:
    """A pitched note. ``slide`` semitones are slid through at its start (from ``midi + slide``); ``fall`` at its end.
    ``ghost``: muted, all attack and no tone."""

    start_s: float
    end_s: float
    midi: float
    velocity: float
    slide: float = 0.0
    fall: float = 0.0
    ghost: bool = False


@dataclass
class Hit:
    """A drum stroke."""

    time_s: float
    role: str
    velocity: float


@dataclass(frozen=True)
class Chord:
    """A chord and where it sounds. ``pitch_classes``: root first."""

    start_s: float
    end_s: float
    bar: int
    step: int
    n_steps: int
    pitch_classes: tuple[int, ...]
    label: str
    tonic: int
    scale: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """A part of the form.

    ``parts``: who plays, of ``drums``, ``bass``, ``vocals`` and the names of other parts. ``transposition``: semitones
    from the song's key. ``tempo``: times the song's tempo. ``half_time``: drums at half the pace.
    """

    label: str
    first_bar: int
    n_bars: int
    parts: frozenset[str]
    start_s: float = 0.0
    end_s: float = 0.0
    transposition: int = 0
    tempo: float = 1.0
    half_time: bool = False

    @property
    def bars(self) -> range:
        return range(self.first_bar, self.first_bar + self.n_bars)


@dataclass
class Part:
    """One instrument of the stem ``other``."""

    name: str
    kind: str
    family: str
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class Slot:
    """Where a line of lyrics is sung; ``turn`` counts the lines of its section."""

    section: Section
    turn: int
    bar: int
    n_bars: int


@dataclass(frozen=True)
class Grid:
    """Metrical time. ``beat_s``: every beat and the end of the last one; ``pickup``: beats before bar 0, in bar -1."""

    beat_s: np.ndarray
    beats_per_bar: int
    steps_per_beat: int
    swing: float
    swing_unit: int
    pickup: int = 0

    @property
    def steps(self) -> int:
        """Steps a bar."""
        return self.beats_per_bar * self.steps_per_beat

    @property
    def n_bars(self) -> int:
        return (len(self.beat_s) - 1 - self.pickup) // self.beats_per_bar

    def time(self, bar: int, step: float = 0.0) -> float:
        """Seconds of a step; steps beyond the bar run on into the next ones, at most to the end."""
        beat, within = divmod(step, self.steps_per_beat)
        within = self._swung(within) / self.steps_per_beat
        index = max(0, self.pickup + bar * self.beats_per_bar + int(beat))
        if index >= len(self.beat_s) - 1:
            return float(self.beat_s[-1])
        return float(self.beat_s[index] + within * (self.beat_s[index + 1] - self.beat_s[index]))

    def _swung(self, within: float) -> float:
        if not self.swing or self.steps_per_beat != 4:
            return within
        unit = self.swing_unit
        whole, rest = divmod(within, 2 * unit)
        middle = unit * (1 + self.swing / 3)  # 4 / 3 of the unit: triplets
        rest = rest / unit * middle if rest <= unit else middle + (rest - unit) / unit * (2 * unit - middle)
        return whole * 2 * unit + rest


@dataclass
class Score:
    """A song before it is played.

    Attributes
    ----------
    tonic : pitch class of the first key. mode : see ``MODES``. tuning : cents of the whole song against A = 440 Hz.
    duration_s : of which the last ``lead_out_s`` are silence. lineup : one of ``LINEUPS``.
    chords : one after the other without gaps. stops : (start_s, end_s) where everybody but the singer pauses.
    slots : where lines are sung. pickup_kind : who plays before the first bar, see ``_pickup``.
    """

    seed: int
    style: Style
    tempo: float
    tonic: int
    mode: str
    tuning: float
    grid: Grid
    duration_s: float
    lead_out_s: float
    lineup: str
    pickup_kind: str
    sections: list[Section]
    chords: list[Chord]
    stops: list[tuple[float, float]]
    slots: list[Slot]
    power: bool
    drums: list[Hit] = field(default_factory=list)
    bass: list[Note] = field(default_factory=list)
    bass_family: str = ""
    bass_kind: str = ""
    kit: str = ""
    parts: list[Part] = field(default_factory=list)

    @property
    def keys(self) -> list[tuple[float, str]]:
        """``(time_s, "A:minor")`` where the key begins or changes."""
        keys: list[tuple[float, str]] = []
        for section in self.sections:
            key = f"{NOTE_NAMES[(self.tonic + section.transposition) % 12]}:{self.mode}"
            if not keys or keys[-1][1] != key:
                keys.append((section.start_s if keys else 0.0, key))
        return keys

    def section_of(self, bar: int) -> Section:
        return next(s for s in self.sections if bar in s.bars)

    def chords_of(self, bar: int) -> list[Chord]:
        return [c for c in self.chords if c.bar == bar]

    def chord_at(self, time_s: float) -> Chord:
        index = np.searchsorted(self._chord_starts, time_s + 1e-3) - 1
        return self.chords[int(np.clip(index, 0, len(self.chords) - 1))]

    def scale_at(self, time_s: float) -> tuple[int, ...]:
        """Pitch classes of the key, tonic first."""
        return self.chord_at(time_s).scale

    def tonic_at(self, time_s: float) -> int:
        """Pitch class of the tonic."""
        return self.chord_at(time_s).tonic

    @cached_property
    def _chord_starts(self) -> np.ndarray:
        return np.array([c.start_s for c in self.chords])


def compose(seed: int, *, duration_s: float | None = None, style: str | None = None) -> Score:
    """The score of song ``seed``.

    Parameters
    ----------
    duration_s : about how long, 8 s or more (whole bars are written); drawn from 60 to 150 s by default.
    style : one of ``STYLES``; drawn by default.
    """
    score = _frame(seed, duration_s, style)
    score.drums = _drums(score, part_rng(seed, "drums"))
    score.bass = _bass(score, part_rng(seed, "bass"))
    for part in score.parts:
        part.notes = _accompany(score, part, part_rng(seed, "other", part.name))
    for notes in (score.bass, *(p.notes for p in score.parts)):
        _respect_stops(score, notes)
    score.drums = [h for h in score.drums if not any(a - 0.02 <= h.time_s < b - 0.02 for a, b in score.stops)]
    return score


# -- form ---------------------------------------------------------------------------------------------------------


def _frame(seed: int, duration_s: float | None, style_name: str | None) -> Score:
    """Everything but the notes."""
    rng = part_rng(seed, "form")
    style = STYLES[style_name] if style_name else STYLES[str(pick(rng, sorted(STYLES)))]
    beats_per_bar, steps_per_beat = METRES[style.metre]
    tempo = float(rng.uniform(*style.tempo))
    if duration_s is None:
        duration_s = float(rng.uniform(60.0, 150.0))
    silence_s = float(rng.uniform(0.1, 1.2) if rng.random() < 0.9 else min(rng.uniform(1.2, 5.0), 0.1 * duration_s))
    tail_s = float(min(rng.uniform(1.5, 3.5), 0.15 * duration_s))
    lead_out_s = float(min(rng.uniform(0.5, 5.0), 0.1 * duration_s)) if rng.random() < 0.12 else 0.0
    n_bars = max(2, round((duration_s - silence_s - tail_s - lead_out_s) * tempo / 60.0 / beats_per_bar))
    mode = str(pick(rng, style.modes))
    swing = float(rng.uniform(*style.swing)) if rng.random() < 0.75 or style.swing[0] > 0 else 0.0
    power = rng.random() < 0.4 * style.drive
    lineup = str(rng.choice(list(LINEUPS), p=list(LINEUPS.values())))
    band = _band(lineup, style, rng)
    form = _changed(_sections(n_bars, [p.name for p in band], lineup, rng), tempo, style, rng)
    pickup_kind, pickup = _pickup(form[0], beats_per_bar, [p.name for p in band if p.kind not in _STILL], rng)
    grid = Grid(
        silence_s + _beat_times(form, pickup, tempo, beats_per_bar, style, rng),
        beats_per_bar, steps_per_beat, swing, style.swing_unit, pickup,
    )  # fmt: skip
    sections = [
        replace(s, start_s=grid.time(s.first_bar), end_s=grid.time(s.first_bar + s.n_bars - 1, grid.steps))
        for s in form
    ]
    score = Score(
        seed=seed, style=style, tempo=tempo, tonic=int(rng.integers(12)), mode=mode,
        tuning=float(rng.choice([0.0, rng.normal(0, 4), rng.uniform(-40, 40)], p=[0.5, 0.35, 0.15])),
        grid=grid, duration_s=float(grid.beat_s[-1]) + tail_s + lead_out_s, lead_out_s=lead_out_s, lineup=lineup,
        pickup_kind=pickup_kind, sections=sections, chords=[], stops=[], slots=[],
        power=bool(power), parts=band, kit=str(pick(rng, style.kits)),
        bass_family=str(pick(rng, style.bass_families)), bass_kind=str(pick(rng, style.bass)),
    )  # fmt: skip
    score.chords = _harmony(score, part_rng(seed, "harmony"))
    for before, section in zip(sections, sections[1:]):  # everybody stops, then the chorus breaks in
        if section.label in ("chorus", "solo") and before.n_bars >= 2 and rng.random() < 0.22:
            beats = int(rng.integers(1, beats_per_bar + 1))
            start = grid.time(section.first_bar - 1, (beats_per_bar - beats) * steps_per_beat)
            score.stops.append((start, section.start_s))
    score.slots = _slots(score)
    return score


def _changed(sections: list[Section], tempo: float, style: Style, rng: np.random.Generator) -> list[Section]:
    """The form with its changes of key and of tempo, and a bridge at half time."""
    choruses = [k for k, s in enumerate(sections) if s.label == "chorus" and k]
    if choruses and rng.random() < 0.25:  # up for the last chorus and what follows
        semitones = int(rng.choice([1, 2, 3], p=[0.5, 0.4, 0.1]))
        sections = [replace(s, transposition=semitones) if k >= choruses[-1] else s for k, s in enumerate(sections)]
    middle = [k for k, s in enumerate(sections[:-1]) if s.label in ("bridge", "solo") and k]
    if middle and rng.random() < 0.12:  # elsewhere and back
        k = int(pick(rng, middle))
        semitones = int(pick(rng, (-4, -3, 3, 5)))
        sections[k] = replace(sections[k], transposition=semitones)
    if middle and style.metre == "4/4" and rng.random() < 0.25:
        k = int(pick(rng, middle))
        sections[k] = replace(sections[k], half_time=True)
    if len(sections) > 1 and rng.random() < (0.14 if style.loose > 2 else 0.04):
        if middle and rng.random() < 0.5:
            first, last, factor = middle[0], middle[0] + 1, float(rng.uniform(0.78, 0.93))
        else:  # faster or slower from here on
            first, last = int(rng.integers(1, len(sections))), len(sections)
            factor = float(rng.choice([rng.uniform(1.03, 1.16), rng.uniform(0.86, 0.97)]))
        factor = float(np.clip(factor, 60.0 / tempo, 190.0 / tempo))
        sections = [replace(s, tempo=factor) if first <= k < last else s for k, s in enumerate(sections)]
    return sections


def _pickup(first: Section, beats_per_bar: int, others: list[str], rng: np.random.Generator) -> tuple[str, int]:
    """How a song starts before its first bar, ``count_in``, ``fill``, ``line`` or nothing, and with how many beats."""
    kinds = ["count_in", "fill"] * ("drums" in first.parts) + ["line"] * bool({"bass", *others} & first.parts)
    if not kinds or rng.random() > 0.18:
        return "", 0
    kind = str(pick(rng, kinds))
    return kind, beats_per_bar if kind == "count_in" else int(rng.integers(1, max(2, beats_per_bar)))


def _beat_times(
    sections: list[Section], pickup: int, tempo: float, beats_per_bar: int, style: Style, rng: np.random.Generator
) -> np.ndarray:
    """(n_beats + 1,) from 0 on: machine time or a tempo that wanders by a percent or two, the tempi of the sections,
    and now and then a ritardando over the last bars."""
    factors = np.repeat([s.tempo for s in sections], [s.n_bars * beats_per_bar for s in sections])
    periods = 60.0 / tempo / np.concatenate([np.full(pickup, factors[0]), factors])
    n_beats = len(periods)
    if style.loose > 2 and rng.random() < 0.55:
        walk = np.convolve(rng.standard_normal(n_beats + 30), np.hanning(16), "same")[15 : 15 + n_beats]
        periods *= 1 + rng.uniform(0.003, 0.014) * walk / (np.std(walk) + 1e-9)
    if style.loose > 2 and n_beats >= 16 and rng.random() < 0.25:
        slow = int(pick(rng, (1, 2))) * beats_per_bar
        periods[-slow:] *= np.linspace(1.0, rng.uniform(1.15, 1.6), slow + 1)[1:]
    return np.concatenate([[0.0], np.cumsum(periods)])


def _band(lineup: str, style: Style, rng: np.random.Generator) -> list[Part]:
    """Who is in the band besides drums, bass and singer."""
    if lineup in ("a_cappella", "without_other"):
        return []
    n_comp = int(rng.choice([1, 2, 3], p=[0.3, 0.45, 0.25])) if lineup != "duo" else 1
    families = list(dict.fromkeys(str(f) for f in rng.permutation(style.families)))[:n_comp]
    parts: list[Part] = []
    for family in families:
        if family == "pad" or (family == "strings" and rng.random() < 0.7):
            kind = "pad"
        elif family in ("brass", "winds", "fiddle"):
            kind = str(pick(rng, ("riff", "pad", "stab")))
        else:
            kind = str(pick(rng, [k for k in style.comp if k != "power" or "guitar" in family]))
            kind = "power" if family == "electric_guitar" and rng.random() < 0.6 * style.drive else kind
        parts.append(Part(f"{kind}-{family}-{len(parts) + 1}", kind, family))
    if rng.random() < (0.8 if lineup == "instrumental" else 0.55) and lineup != "duo":
        leads = ("electric_guitar", "clean_guitar", "synth_lead", "winds", "brass", "strings", "piano", "vibraphone")
        own = [f for f in (*style.families, *style.families) if f != "pad"]
        family = str(pick(rng, [*own, *leads]))
        parts.append(Part(f"lead-{family}-{len(parts) + 1}", "lead", family))
    return parts


def _sections(n_bars: int, others: list[str], lineup: str, rng: np.random.Generator) -> list[Section]:
    """The form, cut to the number of bars, and who plays where."""
    unit = 8 if n_bars >= 40 else 4 if n_bars >= 12 else 2
    if n_bars >= 4 * unit:
        order = list(_SONG_FORM)
        if rng.random() < 0.3:
            order.remove("intro")
        if rng.random() < 0.5:
            order.remove(str(pick(rng, ("bridge", "solo"))))
    else:  # an excerpt of a song
        order = list(_SONG_FORM)[int(rng.integers(1, 4)) - int(rng.random() < 0.4) :]
    silent = {
        "instrumental": {"vocals"}, "without_drums": {"drums"}, "without_bass": {"bass"},
        "duo": {"drums", "bass"}, "a_cappella": {"drums", "bass"},
    }.get(lineup, set())  # fmt: skip
    if lineup == "a_cappella":
        order = [label for label in order if label in ("verse", "chorus", "bridge")]
    comps = [n for n in others if not n.startswith("lead")]
    sections: list[Section] = []
    layouts: dict[str, frozenset[str]] = {}
    bar, place = 0, 0
    while bar < n_bars:
        label = order[place % len(order)]
        length = unit if label not in ("intro", "outro") else max(2, unit // 2)
        length = min(length, n_bars - bar)
        if n_bars - bar - length < max(2, unit // 2):  # no crumbs
            length = n_bars - bar
        if label not in layouts:
            layouts[label] = _layout(label, comps, [n for n in others if n.startswith("lead")], rng)
        parts = set(layouts[label]) - silent
        if label == "verse" and sections and any(s.label == "verse" for s in sections):
            parts |= {"drums", "bass"} - silent  # the second verse is fuller
        if not parts - {"vocals"}:
            parts |= set(comps[:1]) or ({"drums"} - silent)
        sections.append(Section(label, bar, length, frozenset(parts)))
        bar += length
        place += 1
    if not any("vocals" in s.parts for s in sections) and "vocals" not in silent:
        longest = max(range(len(sections)), key=lambda i: sections[i].n_bars)
        sections[longest] = replace(sections[longest], parts=sections[longest].parts | {"vocals"})
    return sections


def _layout(label: str, comps: list[str], leads: list[str], rng: np.random.Generator) -> frozenset[str]:
    """Who plays in sections called ``label``."""
    parts = {"drums", "bass", *comps}
    drop = {"intro": 0.4, "verse": 0.15, "chorus": 0.03, "bridge": 0.4, "solo": 0.08, "outro": 0.25}[label]
    parts -= {p for p in sorted(parts) if rng.random() < drop}
    if label in ("verse", "chorus", "bridge"):
        parts.add("vocals")
    if label in ("solo", "intro") or rng.random() < 0.3:
        parts |= set(leads)
    if label == "chorus" and rng.random() < 0.03:
        parts = {"vocals"} | ({"drums"} if rng.random() < 0.6 else set())
    if not parts & set(comps) and label != "chorus" and rng.random() < 0.7:
        parts |= set(comps[:1])
    return frozenset(parts)


def _slots(score: Score) -> list[Slot]:
    """Where lines go: two bars each, four where the bars are short."""
    bar_s = score.grid.steps / score.grid.steps_per_beat * 60 / score.tempo
    span = 1 if bar_s > 4.5 else 2 if bar_s > 1.9 else 4
    slots = []
    for section in score.sections:
        if "vocals" in section.parts:
            for turn, bar in enumerate(range(section.first_bar, section.first_bar + section.n_bars, span)):
                slots.append(Slot(section, turn, bar, min(span, section.first_bar + section.n_bars - bar)))
    return slots


# -- harmony ------------------------------------------------------------------------------------------------------


def _harmony(score: Score, rng: np.random.Generator) -> list[Chord]:
    grid, chords = score.grid, []
    steps = grid.steps
    sevenths = rng.random() < score.style.sevenths
    plans: dict[str, tuple[str, int]] = {}
    for section in score.sections:
        label = "verse" if section.label in ("intro", "outro") else section.label
        if label not in plans:
            options = PROGRESSIONS[score.mode]
            rate = int(rng.choice([1, 2], p=[0.8, 0.2])) if grid.beats_per_bar == 4 else 1  # chords a bar
            plans[label] = str(pick(rng, options)), rate
        progression, rate = plans[label]
        for k, bar in enumerate(section.bars):
            for half in range(rate):
                degree = int(progression[(k * rate + half) % len(progression)])
                step, n_steps = half * steps // rate, steps // rate
                classes = _chord_tones(score, degree, sevenths, rng)
                classes = tuple((p + section.transposition) % 12 for p in classes)
                start, end = grid.time(bar, step), grid.time(bar, step + n_steps)
                tonic = (score.tonic + section.transposition) % 12
                scale = tuple((tonic + s) % 12 for s in MODES[score.mode])
                chords.append(Chord(start, end, bar, step, n_steps, classes, chord_label(classes), tonic, scale))
    return chords


def _chord_tones(score: Score, degree: int, seventh: bool, rng: np.random.Generator) -> tuple[int, ...]:
    """Pitch classes in the song's first key, root first."""
    scale = [(score.tonic + s) % 12 for s in MODES[score.mode]]
    tones = [scale[(degree + 2 * i) % 7] for i in range(4 if seventh else 3)]
    if score.power:
        return tones[0], (tones[0] + 7) % 12
    if score.mode == "minor" and degree == 4 and rng.random() < 0.6:
        tones[1] = (score.tonic + 11) % 12  # the leading tone
    elif not seventh and rng.random() < 0.05 and (tones[0] + 5) % 12 in scale and (tones[0] + 7) % 12 in scale:
        tones[1] = (tones[0] + 5) % 12
    return tuple(tones)


def chord_label(pitch_classes: tuple[int, ...]) -> str:
    """Harte's label of pitch classes, root first."""
    root = pitch_classes[0]
    return f"{NOTE_NAMES[root]}:{QUALITIES[tuple((p - root) % 12 for p in pitch_classes[1:])]}"


# -- drums --------------------------------------------------------------------------------------------------------


def _drums(score: Score, rng: np.random.Generator) -> list[Hit]:
    grid, style = score.grid, score.style
    grooves: dict[str, dict[str, list[float]]] = {}
    late = {role: rng.normal(0, 0.4 * style.loose) / 1000 for role in DRUM_KEYS}
    hits: list[Hit] = []

    def strike(bar: int, step: float, role: str, velocity: float) -> None:
        time = grid.time(bar, step) + late[role] + rng.normal(0, 0.5 * style.loose) / 1000
        hits.append(Hit(max(time, 0.0), role, float(np.clip(velocity * rng.uniform(0.88, 1.08), 0.08, 1.0))))

    if score.pickup_kind in ("count_in", "fill"):
        first = grid.steps - grid.pickup * grid.steps_per_beat
        if score.pickup_kind == "fill":
            strike(-1, first, "snare", 0.8)
            _fill(strike, -1, first + 1, grid.steps, rng)
        else:
            sticks = str(pick(rng, ("rim", "pedal_hat", "hat", "cowbell")))
            for step in range(first, grid.steps, grid.steps_per_beat):
                strike(-1, step, sticks, 0.75)
    ghosts = rng.uniform(0, 0.06) if style.name not in ("four_to_the_floor", "punk") else 0.0
    for section in score.sections:
        if "drums" not in section.parts:
            continue
        if section.label not in grooves:
            chosen = style.grooves[int(rng.integers(len(style.grooves)))]
            grooves[section.label] = {r: _thinned(p, grid.steps, rng) for r, p in chosen.items()}
        groove = grooves[section.label]
        quiet = 0.8 if section.label in ("verse", "intro") else 1.0
        for k, bar in enumerate(section.bars):
            last = k == section.n_bars - 1
            fill = rng.random() < (0.75 if last else 0.06)
            length = int(pick(rng, (grid.steps_per_beat, grid.steps // 2))) if fill else 0
            for role, whole in groove.items():
                velocities = _half_time(whole, k % 2) if section.half_time and role in _BACKBEAT else whole
                for step, velocity in enumerate(velocities):
                    if velocity and not (step >= grid.steps - length and role != "kick"):
                        strike(bar, step, role, velocity * quiet)
            for step in range(grid.steps - length):
                if rng.random() < ghosts and not groove.get("snare", [0] * grid.steps)[step]:
                    strike(bar, step, "snare", 0.2)
            if fill:
                _fill(strike, bar, grid.steps - length, grid.steps, rng)
            if k == 0 and rng.random() < 0.8 and section.label != "intro":
                strike(bar, 0, "crash", 0.85)
    final = score.sections[-1]
    if "drums" in final.parts and rng.random() < 0.7:  # the last stroke
        for role in ("kick", "crash"):
            hits.append(Hit(float(grid.beat_s[-1]), role, 0.9))
    return sorted(hits, key=lambda h: (h.time_s, h.role))


def _half_time(velocities: list[float], odd: int) -> list[float]:
    """One of the two bars into which a pattern spreads when it is played at half the pace."""
    half = len(velocities) // 2
    spread = [0.0] * len(velocities)
    spread[::2] = velocities[odd * half : (odd + 1) * half]
    return spread


def _thinned(pattern: str, steps: int, rng: np.random.Generator) -> list[float]:
    """Velocities of a pattern; its weak strokes do not all come."""
    velocities = [0.0 if c == "." else int(c) / 10 for c in pattern]
    keep = rng.random(len(velocities))
    kept = [v if v >= 0.6 or keep[i] < 0.75 or i == 0 else 0.0 for i, v in enumerate(velocities)]
    return kept[:steps]


def _fill(
    strike: Callable[[int, float, str, float], None], bar: int, first: int, last: int, rng: np.random.Generator
) -> None:
    toms = ("snare", "tom_high", "tom_mid", "tom_low")
    density = rng.choice([1, 1, 2])
    place = int(rng.integers(0, 3))
    for step in range(first, last, density):
        if rng.random() < 0.85:
            strike(bar, step, toms[min(place, 3)], 0.55 + 0.4 * (step - first) / max(1, last - first))
        if rng.random() < 0.4:
            place += 1


# -- bass ---------------------------------------------------------------------------------------------------------


def _bass(score: Score, rng: np.random.Generator) -> list[Note]:
    grid, kind = score.grid, score.bass_kind
    low = int(rng.integers(28, 34)) if score.bass_family != "sub_bass" else int(rng.integers(26, 31))
    gate = float(rng.uniform(0.55, 0.98))
    slides = float(rng.choice([0.0, 0.05, 0.2], p=[0.35, 0.45, 0.2]))
    kicks: dict[int, list[int]] = {}
    notes: list[Note] = []
    if score.pickup_kind == "line" and "bass" in score.sections[0].parts:
        notes = _pickup_line(score, low + (score.chords[0].pitch_classes[0] - low) % 12, BASS_LOW, rng)
    for section in score.sections:
        if "bass" not in section.parts:
            continue
        figure = part_rng(score.seed, "bass-figure", section.label)
        variant = int(figure.integers(1 << 30))
        for bar in section.bars:
            for chord in score.chords_of(bar):
                following = score.chord_at(chord.end_s + 0.01)
                events = _bass_figure(score, chord, following, kind, low, np.random.default_rng(variant), rng, kicks)
                for step, length, midi, velocity, ghost in events:
                    midi = int(midi)
                    while midi > BASS_HIGH:
                        midi -= 12
                    while midi < BASS_LOW:
                        midi += 12
                    start = grid.time(bar, step) + rng.normal(0, 0.4 * score.style.loose) / 1000
                    end = grid.time(bar, step + length)
                    held = 0.07 if ghost else max(0.08, (end - start) * min(1.0, gate * rng.uniform(0.9, 1.1)))
                    slide = fall = 0.0
                    if rng.random() < slides and not ghost and held > 0.2:
                        if rng.random() < 0.7:
                            slide = float(pick(rng, (-5, -3, -2, -1, 2)))
                        else:
                            fall = float(rng.uniform(2, 7))
                    notes.append(Note(max(start, 0.0), start + held, midi, velocity, slide, fall, ghost))
    notes.sort(key=lambda n: n.start_s)
    for note, later in zip(notes, notes[1:]):  # one string at a time
        note.end_s = min(note.end_s, later.start_s - 0.004)
    return [n for n in notes if n.end_s - n.start_s > 0.045]


def _pickup_line(score: Score, target: int, lowest: int, rng: np.random.Generator) -> list[Note]:
    """Notes that lead up or down the scale into ``target`` on the first downbeat."""
    grid, scale = score.grid, score.chords[0].scale
    pace = 2 if grid.steps_per_beat == 4 and rng.random() < 0.6 else grid.steps_per_beat
    steps = range(grid.steps - grid.pickup * grid.steps_per_beat, grid.steps, pace)
    direction = -1 if target - 2 * len(steps) >= lowest and rng.random() < 0.6 else 1
    notes = []
    for k, step in enumerate(steps):
        start, end = grid.time(-1, step), grid.time(-1, step + pace)
        midi = nearest(target + direction * 1.8 * (len(steps) - k), scale)
        notes.append(Note(start, start + 0.9 * (end - start), midi, float(rng.uniform(0.7, 0.95))))
    return notes


_BassEvent = tuple[float, float, int, float, bool]


def _bass_figure(
    score: Score,
    chord: Chord,
    following: Chord,
    kind: str,
    low: int,
    figure: np.random.Generator,
    rng: np.random.Generator,
    kicks: dict[int, list[int]],
) -> list[_BassEvent]:
    """(step, length, midi, velocity, ghost) of one chord. ``figure`` repeats from bar to bar, ``rng`` does not."""
    beat, first, n = score.grid.steps_per_beat, chord.step, chord.n_steps
    eighth = 2
    root = low + (chord.pitch_classes[0] - low) % 12
    fifth = root + (chord.pitch_classes[-1 if len(chord.pitch_classes) < 3 else 2] - root) % 12
    target = low + (following.pitch_classes[0] - low) % 12
    tones = [root + (p - root) % 12 for p in chord.pitch_classes]

    def run(steps: list[int], midi: object, velocity: float = 0.85) -> list[_BassEvent]:
        ends = [*steps[1:], n]
        pitches = midi if isinstance(midi, list) else [midi] * len(steps)
        return [
            (first + s, e - s, p, velocity * rng.uniform(0.88, 1.1), False) for s, e, p in zip(steps, ends, pitches)
        ]

    if kind == "roots":
        steps = list(range(0, n, eighth))
        return run(steps, [root if rng.random() < 0.93 else fifth for _ in steps])
    if kind in ("long", "808"):
        if kind == "808":
            steps = sorted({0} | {int(s) for s in figure.choice(np.arange(2, n), min(2, n // 6), replace=False)})
            return run(steps, [root if figure.random() < 0.75 else root + 12 for _ in steps], 0.95)
        return run([0] if figure.random() < 0.6 or n <= beat else [0, n // 2], root)
    if kind == "octaves":
        steps = list(range(0, n, eighth))
        return run(steps, [root + 12 * (i % 2) for i in range(len(steps))])
    if kind == "offbeat":
        return [(first + s, eighth, root, 0.9, False) for s in range(eighth, n, beat)]
    if kind == "sixteenths":
        steps = list(range(0, n, 1))
        pitches = [root if figure.random() < 0.8 else root + int(pick(figure, (12, 7, 10))) for _ in steps]
        return run([s for s in steps if s % beat or beat != 4], [p for s, p in zip(steps, pitches) if s % beat])
    if kind == "root_fifth":
        steps = list(range(0, n, beat if score.grid.beats_per_bar != 4 else 2 * beat)) or [0]
        return run(
            steps, [root if i % 2 == 0 else (fifth if fifth - 12 < BASS_LOW else fifth - 12) for i in range(len(steps))]
        )
    if kind == "walk":
        steps = list(range(0, n, beat))
        pitches = [root] + [int(pick(rng, tones[1:])) for _ in steps[1:]]
        if len(pitches) > 1:
            pitches[-1] = target + int(pick(rng, (-1, 1, 2, -2)))
        return run(steps, pitches)
    if kind == "triplets":
        return run(list(range(0, n, 2)), root)
    if kind == "bossa":
        steps = [s for s in (0, 6, 8, 14) if s < n]
        return run(steps, [root, fifth, fifth, root][: len(steps)])
    if kind == "reggae":
        options = [(0, 3, 6, 10), (2, 4, 6, 8, 11), (0, 2, 6, 8, 12), (4, 6, 8, 12, 14)]
        steps = [s for s in pick(figure, options) if s < n] or [0]
        return run(steps, [int(pick(figure, [root, *tones])) for _ in steps], 0.95)
    if kind == "funk":
        events: list[_BassEvent] = []
        for step in range(n):
            chance = 1.0 if step == 0 else 0.28 if step % 2 else 0.4
            if figure.random() < chance:
                midi = root if step == 0 else int(pick(figure, (root, root, root + 12, fifth, root + 10)))
                ghost = step > 0 and figure.random() < 0.25
                length = 1 if ghost else int(pick(figure, (1, 1, 2, 3)))
                events.append(
                    (first + step, min(length, n - step), midi, 0.5 if ghost else rng.uniform(0.75, 1), ghost)
                )
        return events
    # "kick": with the kick drum of the first groove, and now and then between
    pattern = score.style.grooves[0].get("kick", "9")
    steps = sorted({0} | {s - first for s, c in enumerate(pattern) if c != "." and first <= s < first + n})
    steps += [s for s in range(eighth, n, eighth) if s not in steps and figure.random() < 0.15]
    steps.sort()
    return run(steps, [root if figure.random() < 0.8 else int(pick(figure, (fifth, root + 12))) for _ in steps])


# -- accompaniment ------------------------------------------------------------------------------------------------

#: Middle of the register by family.
_CENTRES = {"electric_guitar": 55, "pad": 62, "strings": 64, "mallet": 74, "vibraphone": 70, "synth_lead": 68}


def _accompany(score: Score, part: Part, rng: np.random.Generator) -> list[Note]:
    notes: list[Note] = []
    if score.pickup_kind == "line" and part.name in score.sections[0].parts and part.kind not in _STILL:
        centre = _CENTRES.get(part.family, 62) + (6 if part.kind == "lead" else 0)
        target = centre + (score.chords[0].pitch_classes[0] - centre) % 12
        notes = _pickup_line(score, target, 48, part_rng(score.seed, "pickup"))  # all in unison
    if part.kind in ("lead", "riff"):
        return notes + _lead(score, part, rng)
    grid, style, kind = score.grid, score.style, part.kind
    low = _CENTRES.get(part.family, 60) - 6 + int(rng.integers(-3, 4))
    spread = rng.uniform(0.008, 0.025) if "guitar" in part.family else rng.uniform(0.0, 0.006)
    gate = float(rng.uniform(0.5, 1.0))
    wide = bool(rng.random() < 0.5)
    for section in score.sections:
        if part.name not in section.parts:
            continue
        variant = int(part_rng(score.seed, "figure", part.name, section.label).integers(1 << 30))
        for bar in section.bars:
            for chord in score.chords_of(bar):
                figure = np.random.default_rng(variant)
                if kind == "power":
                    root = 40 + (chord.pitch_classes[0] - 40) % 12
                    voicing = [root, root + 7, root + 12]
                else:
                    voicing = sorted(low + (p - low) % 12 for p in chord.pitch_classes)
                    if wide:
                        voicing.append(voicing[0] + 12)
                for i, (step, length, strength) in enumerate(_rhythm(kind, grid, chord, figure)):
                    start = grid.time(bar, chord.step + step) + rng.normal(0, 0.5 * style.loose) / 1000
                    end = grid.time(bar, chord.step + min(step + length, chord.n_steps))
                    short = kind in ("stab", "skank", "comp", "strum16", "oompah")
                    held = (end - start) * (gate if kind != "pad" else 1.0)
                    held = min(held, 0.22) if short and kind != "comp" else held
                    chosen = voicing
                    if kind == "arpeggio":
                        order = figure_order(variant, len(voicing))
                        chosen = [voicing[order[i % len(order)]]]
                        held = max(held, end - start)
                    elif kind == "oompah":
                        chosen = voicing if step else []
                    downward = kind.startswith("strum") and i % 2 == 1
                    for j, midi in enumerate(reversed(chosen) if downward else chosen):
                        at = max(0.0, start + j * spread)
                        velocity = float(np.clip(strength * rng.uniform(0.85, 1.1), 0.15, 1.0))
                        notes.append(Note(at, max(at + held, at + 0.06), midi, velocity))
    return notes


def figure_order(variant: int, size: int) -> list[int]:
    """The order in which an arpeggio takes the tones of a chord: up, down, up and down, or a figure."""
    up = list(range(size))
    kinds = [up, up[::-1], up + up[-2:0:-1], [0, size - 1, *range(1, size)]]
    return kinds[variant % len(kinds)]


def _rhythm(kind: str, grid: Grid, chord: Chord, figure: np.random.Generator) -> list[tuple[int, int, float]]:
    """(step, length, strength) of one chord."""
    n, beat = chord.n_steps, grid.steps_per_beat
    if kind == "pad":
        return [(0, n, 0.75)]
    if kind == "block":
        every = int(pick(figure, (beat, 2 * beat, n)))
        return [(s, every, 0.8 if s else 0.9) for s in range(0, n, max(1, every))]
    if kind == "strum":
        return [(s, 2, 0.9 if s % beat == 0 else 0.65) for s in range(0, n, 2) if s == 0 or figure.random() < 0.7]
    if kind == "strum16":
        return [(s, 1, 0.85 if s % 4 == 0 else 0.55) for s in range(n) if s == 0 or figure.random() < 0.55]
    if kind == "arpeggio":
        every = int(pick(figure, (1, 2, 2))) if beat == 4 else 2
        return [(s, every + 1, 0.85 if s % beat == 0 else 0.65) for s in range(0, n, every)]
    if kind == "stab":
        return [(s, 1, 0.9) for s in range(n) if s % beat == beat // 2 or (s and figure.random() < 0.06)]
    if kind == "skank":
        return [(s, 2, 0.85) for s in range(beat, n, 2 * beat)] if n > beat else [(n // 2, 2, 0.85)]
    if kind == "oompah":
        return [(s, beat, 0.75) for s in range(beat, n, beat)]
    if kind == "power":
        if figure.random() < 0.4:
            return [(s, 2, 0.95 if s % beat == 0 else 0.75) for s in range(0, n, 2)]
        return [(s, 4, 0.95) for s in range(0, n, 2) if s == 0 or figure.random() < 0.35]
    # "comp": free syncopation
    steps = [s for s in range(0, n, 1) if figure.random() < (0.3 if s % 2 == 0 else 0.12)] or [0]
    return [(s, int(pick(figure, (1, 2, 3))), float(figure.uniform(0.55, 0.95))) for s in steps]


def _lead(score: Score, part: Part, rng: np.random.Generator) -> list[Note]:
    """A riff that comes back every bar, or a free line: everywhere in solos, elsewhere between the sung lines."""
    grid = score.grid
    centre = _CENTRES.get(part.family, 66) + int(rng.integers(-3, 6)) + (6 if part.kind == "lead" else 0)
    notes: list[Note] = []
    for section in score.sections:
        if part.name not in section.parts:
            continue
        variant = int(part_rng(score.seed, "figure", part.name, section.label).integers(1 << 30))
        for bar in section.bars:
            free = part.kind == "lead"
            figure = rng if free else np.random.default_rng(variant + (bar % 2))
            step = 0
            if free and section.label != "solo" and "vocals" in section.parts:
                if bar % 2 == 0:
                    continue
                step = grid.steps // 2
            place = centre
            while step < grid.steps:
                length = int(pick(figure, (1, 2, 2, 2, 4, 4, 6)))
                if figure.random() < (0.82 if section.label == "solo" or not free else 0.7):
                    place = int(
                        np.clip(place + pick(figure, (-4, -3, -2, -1, 0, 1, 2, 3, 4)), centre - 10, centre + 10)
                    )
                    chord = next(c for c in score.chords_of(bar) if c.step <= step < c.step + c.n_steps)
                    strong = step % grid.steps_per_beat == 0
                    midi = nearest(place, chord.pitch_classes if strong else _line_scale(chord))
                    start = grid.time(bar, step) + rng.normal(0, 0.5 * score.style.loose) / 1000
                    end = grid.time(bar, min(step + length, grid.steps))
                    slide = float(pick(rng, (-2, -1))) if rng.random() < 0.08 and end - start > 0.2 else 0.0
                    held = max(0.07, (end - start) * rng.uniform(0.75, 1.0))
                    notes.append(Note(max(start, 0.0), start + held, midi, rng.uniform(0.65, 1.0), slide))
                step += length
    return notes


def nearest(midi: float, pitch_classes: tuple[int, ...]) -> int:
    """The note of ``pitch_classes`` that is nearest to ``midi``; the upper one of two."""
    return min((round(midi) + d for d in range(6, -7, -1) if (round(midi) + d) % 12 in pitch_classes),
               key=lambda m: abs(m - midi))  # fmt: skip


def _line_scale(chord: Chord) -> tuple[int, ...]:
    """The key's scale without what would rub against the chord's altered tones."""
    foreign = [p for p in chord.pitch_classes if p not in chord.scale]
    return tuple(p for p in chord.scale if all((p - f) % 12 not in (1, 11) for f in foreign)) + tuple(foreign)


def _respect_stops(score: Score, notes: list[Note]) -> None:
    for start, end in score.stops:
        notes[:] = [n for n in notes if not start - 0.03 <= n.start_s < end - 0.03]
        for note in notes:
            if note.start_s < start < note.end_s:
                note.end_s = start
                note.fall = 0.0


# -- melody -------------------------------------------------------------------------------------------------------

#: No syllable is shorter.
SHORTEST_SYLLABLE_S = 0.13


def syllables_that_fit(score: Score, slot: Slot) -> int:
    """How many syllables a line in this slot can have at most."""
    seconds = score.grid.time(slot.bar + slot.n_bars - 1, score.grid.steps) - score.grid.time(slot.bar)
    return int(np.clip(0.8 * seconds / 0.21, 1, 14))


def melody(
    score: Score, slot: Slot, n_syllables: int, voice_range: tuple[float, float], rng: np.random.Generator
) -> list[list[Note]]:
    """Notes for every syllable of a line; more than one where the syllable is sung on several (melisma).

    Lines of a section share a figure: the first and third begin alike, choruses return as they were and lie higher.
    """
    grid = score.grid
    figure = part_rng(score.seed, "melody", slot.section.label, slot.turn % 2)
    starts = _syllable_steps(score, slot, n_syllables, figure, rng)
    late = np.append(0.012 + 0.008 * rng.standard_normal(n_syllables), 0.0)
    times = [grid.time(slot.bar, s) + float(delay) for s, delay in zip(starts, late)]
    low, high = voice_range
    span = high - low
    height = {"chorus": 0.62, "bridge": 0.55}.get(slot.section.label, 0.42)
    home = float(np.clip(low + span * height + slot.section.transposition, low + 2, high - 2))
    bottom, top = max(low, home - 8), min(high, home + 8)
    place = home + float(figure.integers(-3, 4))
    contour = figure.choice([-3, -2, -1, 0, 1, 2, 3, 5], len(starts), p=[0.05, 0.16, 0.25, 0.16, 0.2, 0.1, 0.06, 0.02])
    syllables: list[list[Note]] = []
    previous = None
    for k in range(n_syllables):
        step = starts[k]
        start, end = times[k], times[k + 1]
        place += contour[k] * 1.4
        if place > top or place < bottom:
            place = home + (home - place) * 0.2
        chord = score.chord_at(start)
        strong = step % grid.steps_per_beat == 0 or k == n_syllables - 1
        melody_scale = _line_scale(chord)
        midi = nearest(place, chord.pitch_classes if strong and figure.random() < 0.8 else melody_scale)
        while midi > high:
            midi -= 12
        while midi < low:
            midi += 12
        if previous is not None and abs(midi - previous) > 9:
            midi += 12 if previous > midi and midi + 12 <= high else -12 if midi - 12 >= low and previous < midi else 0
        previous = midi
        notes = [Note(start, end, midi, float(rng.uniform(0.75, 1.0)))]
        if end - start > 0.55 and rng.random() < 0.2:
            notes = _melisma(notes[0], melody_scale, (low, high), rng)
        syllables.append(notes)
    return syllables


def _melisma(note: Note, scale: tuple[int, ...], limits: tuple[float, float], rng: np.random.Generator) -> list[Note]:
    count = int(rng.integers(2, 4))
    cuts = np.concatenate([[0.0], np.sort(rng.uniform(0.25, 0.75, count - 1)), [1.0]])
    times = note.start_s + cuts * (note.end_s - note.start_s)
    if np.diff(times).min() < 0.12:
        times, count = np.array([note.start_s, 0.5 * (note.start_s + note.end_s), note.end_s]), 2
    notes, midi = [], note.midi
    for a, b in zip(times[:-1], times[1:]):
        notes.append(Note(float(a), float(b), midi, note.velocity))
        step = nearest(midi + float(pick(rng, (-2, 2))), scale)
        midi = step if limits[0] <= step <= limits[1] else midi
    return notes


def _syllable_steps(
    score: Score, slot: Slot, n: int, figure: np.random.Generator, rng: np.random.Generator
) -> list[float]:
    """(n + 1) steps from the start of the slot: where syllables begin, and where the last one ends."""
    grid = score.grid
    total = slot.n_bars * grid.steps
    step_s = (grid.time(slot.bar, grid.steps) - grid.time(slot.bar)) / grid.steps
    shortest = int(np.ceil(SHORTEST_SYLLABLE_S / step_s - 1e-6))
    lead = int(pick(figure, (0, 0, 1, 2, 2, grid.steps_per_beat)))
    rest = int(pick(figure, (2, grid.steps_per_beat, grid.steps_per_beat)))
    room = total - lead - rest
    if room < n * shortest:
        lead, rest = 0, 1
        room = total - rest
    if room < n * shortest:  # faster than the grid allows
        return list(np.linspace(0, room, n + 1))
    mean = room / n
    unit = 2 if mean >= 2.2 and shortest <= 2 else shortest
    weights = figure.choice([1, 1, 2, 3], n).astype(float)
    lengths = np.maximum(unit * weights, shortest)
    while lengths.sum() > room:
        longest = int(np.argmax(lengths))
        lengths[longest] -= 1
        if lengths.max() <= shortest:
            break
    spare = room - lengths.sum()
    lengths[-1] += min(spare, figure.integers(2, 9))
    spare = room - lengths.sum()
    if spare > n and rng.random() < 0.6:  # a slow line over a long slot: stretch evenly, on the eighths
        lengths += 2 * np.floor(spare / n / 2)
    return [float(s) for s in lead + np.concatenate([[0.0], np.cumsum(lengths)])]
