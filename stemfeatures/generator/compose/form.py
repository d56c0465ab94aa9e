"""The form of a song: line-up, sections and who plays in them, metre, tempo, keys, where lines are sung."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .grooves import GrooveBank, Performance
from .harmony import harmony
from .score import Grid, Player, Score, Section, Slot, pick, seeded_rng
from .styles import METRES, STYLES, Style

#: Who is there at all, and how often. ``duo``: a voice and one instrument.
LINEUPS = {
    "full": 0.70, "instrumental": 0.14, "without_drums": 0.04, "without_bass": 0.04, "without_other": 0.02,
    "duo": 0.04, "a_cappella": 0.02,
}  # fmt: skip
#: How often a song has recorded drums where there is a bank of them.
GROOVES = 0.7
#: How often an instrument has a tune of its own: where the singer would be, and beside one.
TUNE = {"instrumental": 0.85, "full": 0.25, "without_drums": 0.25, "without_bass": 0.25}
#: Who plays tunes, the likelier the more often.
_TUNE_FAMILIES = (
    *4 * ("electric_guitar",), *2 * ("sax",), *2 * ("synth_lead",), "flute", "cello", "fiddle", "brass", "winds",
    "clean_guitar",
)  # fmt: skip
_SONG_FORM = ("intro", "verse", "chorus", "verse", "chorus", "bridge", "solo", "chorus", "outro")
#: Kinds of players that take no pick-up line.
STILL = ("pad", "oompah")


def draw_form(
    seed: int,
    duration_s: float | None,
    style_name: str | None,
    grooves: GrooveBank | None = None,
    rubato: float = 0.0,
    lineup: str | None = None,
) -> Score:
    """Everything but the notes."""
    rng = seeded_rng(seed, "form")
    style = STYLES[style_name] if style_name else _draw_style(rng)
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
    groove, groove_bar, swing = _groove(seed, style, tempo, swing, grooves)
    power = rng.random() < 0.4 * style.drive
    drawn = str(rng.choice(list(LINEUPS), p=list(LINEUPS.values())))
    lineup = lineup or drawn
    band = _band(lineup, style, rng)
    form = _changed(_sections(n_bars, [p.name for p in band], lineup, rng), tempo, style, rng)
    if groove is not None:  # nobody has recorded it at half the pace
        form = [replace(s, half_time=False) for s in form]
    pickup_kind, pickup = _pickup(form[0], beats_per_bar, [p.name for p in band if p.kind not in STILL], rng)
    beat_s = _beat_times(form, pickup, tempo, beats_per_bar, style, rng)
    if rubato:
        beat_s = _wandering(beat_s, rubato, seeded_rng(seed, "rubato"))
    grid = Grid(
        silence_s + beat_s,
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
        power=bool(power), players=band, kit=str(pick(rng, style.kits)),
        bass_family=str(pick(rng, style.bass_families)), bass_kind=str(pick(rng, style.bass)),
        groove=groove, groove_bar=groove_bar,
    )  # fmt: skip
    score.chords = harmony(score, seeded_rng(seed, "harmony"))
    for before, section in zip(sections, sections[1:]):  # everybody stops, then the chorus breaks in
        if section.label in ("chorus", "solo") and before.n_bars >= 2 and rng.random() < 0.22:
            beats = int(rng.integers(1, beats_per_bar + 1))
            start = grid.time(section.first_bar - 1, (beats_per_bar - beats) * steps_per_beat)
            score.stops.append((start, section.start_s))
    score.slots = slots_of(score, "vocals")
    return score


def _draw_style(rng: np.random.Generator) -> Style:
    names = sorted(STYLES)
    weights = np.array([STYLES[name].weight for name in names])
    return STYLES[str(rng.choice(names, p=weights / weights.sum()))]


def _groove(
    seed: int, style: Style, tempo: float, swing: float, grooves: GrooveBank | None
) -> tuple[Performance | None, int, float]:
    """The recorded drums of a song, their first bar, and the swing that the others take over from them."""
    rng = seeded_rng(seed, "groove")
    if grooves is None or rng.random() >= GROOVES:
        return None, 0, swing
    chosen = grooves.choose(style.name, style.metre, tempo, rng)
    if chosen is None:
        return None, 0, swing
    if chosen.swing is not None and style.swing_unit == 2:
        swing = chosen.swing if chosen.swing > 0.12 else 0.0
    return chosen, int(rng.integers(max(1, chosen.n_bars - 7))), swing


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
        factor = float(np.clip(factor, 40.0 / tempo, 190.0 / tempo))
        sections = [replace(s, tempo=factor) if first <= k < last else s for k, s in enumerate(sections)]
    return sections


def _pickup(first: Section, beats_per_bar: int, others: list[str], rng: np.random.Generator) -> tuple[str, int]:
    """How a song starts before its first bar, ``count_in``, ``fill``, ``line`` or nothing, and with how many beats."""
    kinds = ["count_in", "fill"] * ("drums" in first.players) + ["line"] * bool({"bass", *others} & first.players)
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


def _wandering(beat_s: np.ndarray, rubato: float, rng: np.random.Generator) -> np.ndarray:
    """Beats whose periods are stretched and shortened from phrase to phrase: their logarithms deviate by ``rubato``."""
    periods = np.diff(beat_s)
    reach = int(rng.integers(4, 12))  # beats over which the tempo swings
    walk = np.convolve(rng.standard_normal(len(periods) + 2 * reach), np.hanning(reach + 2)[1:-1], "same")
    walk = walk[reach : reach + len(periods)]
    factors = np.exp(rubato * np.clip(walk / (walk.std() + 1e-9), -2.0, 2.0))
    return np.concatenate([[0.0], np.cumsum(periods * factors)])


def _band(lineup: str, style: Style, rng: np.random.Generator) -> list[Player]:
    """Who is in the band besides drums, bass and singer."""
    if lineup in ("a_cappella", "without_other"):
        return []
    n_comp = int(rng.choice([1, 2, 3], p=[0.3, 0.45, 0.25])) if lineup != "duo" else 1
    families = list(dict.fromkeys(str(f) for f in rng.permutation(style.families)))[:n_comp]
    players: list[Player] = []
    for family in families:
        if family == "pad" or (family == "strings" and rng.random() < 0.7):
            kind = "pad"
        elif family in ("brass", "winds", "fiddle", "sax"):
            kind = str(pick(rng, ("riff", "pad", "stab")))
        else:
            kind = str(pick(rng, [k for k in style.comp if k != "power" or "guitar" in family]))
            kind = "power" if family == "electric_guitar" and rng.random() < 0.6 * style.drive else kind
        players.append(Player(f"{kind}-{family}-{len(players) + 1}", kind, family))
    if rng.random() < (0.8 if lineup == "instrumental" else 0.55) and lineup != "duo":
        leads = ("electric_guitar", "electric_guitar", "clean_guitar", "synth_lead", "winds", "sax", "brass", "strings",
                 "piano", "vibraphone")  # fmt: skip
        own = [f for f in (*style.families, *style.families) if f != "pad"]
        family = str(pick(rng, [*own, *leads]))
        family = "electric_guitar" if rng.random() < 0.5 * style.drive else family
        players.append(Player(f"lead-{family}-{len(players) + 1}", "lead", family))
    if rng.random() < TUNE.get(lineup, 0.0):
        family = str(pick(rng, _TUNE_FAMILIES))
        players.append(Player(f"tune-{family}-{len(players) + 1}", "tune", family))
    return players


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
    leads, tunes = ([n for n in others if n.startswith(kind)] for kind in ("lead", "tune"))
    comps = [n for n in others if n not in (*leads, *tunes)]
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
            layouts[label] = _layout(label, comps, leads, rng) | _tunes(label, tunes, "vocals" in silent, rng)
        players = set(layouts[label]) - silent
        if label == "verse" and sections and any(s.label == "verse" for s in sections):
            players |= {"drums", "bass"} - silent  # the second verse is fuller
        if not players - {"vocals"}:
            players |= set(comps[:1]) or ({"drums"} - silent)
        sections.append(Section(label, bar, length, frozenset(players)))
        bar += length
        place += 1
    if not any("vocals" in s.players for s in sections) and "vocals" not in silent:
        longest = max(range(len(sections)), key=lambda i: sections[i].n_bars)
        sections[longest] = replace(sections[longest], players=sections[longest].players | {"vocals"})
    return sections


def _layout(label: str, comps: list[str], leads: list[str], rng: np.random.Generator) -> frozenset[str]:
    """Who plays in sections called ``label``."""
    players = {"drums", "bass", *comps}
    drop = {"intro": 0.4, "verse": 0.15, "chorus": 0.03, "bridge": 0.4, "solo": 0.08, "outro": 0.25}[label]
    players -= {p for p in sorted(players) if rng.random() < drop}
    if label in ("verse", "chorus", "bridge"):
        players.add("vocals")
    if label in ("solo", "intro") or rng.random() < 0.3:
        players |= set(leads)
    if label == "chorus" and rng.random() < 0.03:
        players = {"vocals"} | ({"drums"} if rng.random() < 0.6 else set())
    if not players & set(comps) and label != "chorus" and rng.random() < 0.7:
        players |= set(comps[:1])
    return frozenset(players)


def _tunes(label: str, tunes: list[str], alone: bool, rng: np.random.Generator) -> frozenset[str]:
    """Those of ``tunes`` that sound in sections called ``label``: in the singer's place, or around him and beside."""
    if alone:
        chance = 0.95 if label in ("verse", "chorus", "bridge") else 0.4
    else:
        chance = {"verse": 0.12, "chorus": 0.35, "bridge": 0.35}.get(label, 0.6)
    return frozenset(tune for tune in tunes if rng.random() < chance)


def slots_of(score: Score, player: str) -> list[Slot]:
    """Where lines of ``player`` go: two bars each, four where the bars are short."""
    bar_s = score.grid.steps / score.grid.steps_per_beat * 60 / score.tempo
    span = 1 if bar_s > 4.5 else 2 if bar_s > 1.9 else 4
    slots = []
    for section in score.sections:
        if player in section.players:
            for turn, bar in enumerate(range(section.first_bar, section.first_bar + section.n_bars, span)):
                slots.append(Slot(section, turn, bar, min(span, section.first_bar + section.n_bars - bar)))
    return slots
