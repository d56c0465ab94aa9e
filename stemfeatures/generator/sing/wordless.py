"""Singing without words, and shouting: vocalises of the lead, choirs behind it, shouted hooks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..compose.composer import Chord, Note, Score, Slot, melody, nearest, pick, seeded_rng
from .singers import Cast, Singer
from .voice import SungNote, VoiceStyle, sing, speak

_HELD = ("ooh", "aah", "oh")
_STRUCK = ("la", "na", "doo")
#: How often a song has a choir.
_CHOIR = 0.2
#: A choir breathes after about this long.
_CHOIR_LINE_S = 6.0
#: How often there are shouts, by style; elsewhere as in the last.
_SHOUTS = {"punk": 0.5, "hiphop": 0.4, "funk": 0.25, "rock": 0.2, "four_to_the_floor": 0.2, "": 0.08}


def vocalise(
    cast: Cast, singer: Singer, slot: Slot, style: VoiceStyle, rng: np.random.Generator
) -> list[list[Note]] | None:
    """A line of "ooh", "la la la" and the like by the lead in ``slot``; its notes, None where there is no room."""
    seconds = cast.score.grid.time(slot.bar + slot.n_bars - 1, cast.score.grid.steps) - cast.score.grid.time(slot.bar)
    held = rng.random() < 0.65
    word = str(pick(rng, _HELD if held else _STRUCK))
    count = int(np.clip(rng.integers(1, 5) if held else rng.integers(3, 9), 1, max(1, seconds / 0.3)))
    line = cast.bank.vocalise(singer.name, word, count)
    notes = melody(cast.score, slot, count, cast.bank.range_midi(singer.name), rng)
    if notes[0][0].start_s < singer.free_from_s + 0.05:
        return None
    sung = sing(cast.bank, singer.name, line, tuned(notes, cast.score), style, rng)
    cast.breathe(singer, sung, style, rng)
    singer.take(sung)
    cast.write(line.text, sung)
    cast.note("vocalises", {"text": line.text, "section": slot.section.label, "start_s": max(sung.start_s, 0.0)})
    return notes


def empty_slots(score: Score, labels: tuple[str, ...]) -> list[Slot]:
    """Places for lines in sections of these labels that have no singer, two bars each, four where bars are short."""
    bar_s = score.grid.steps / score.grid.steps_per_beat * 60 / score.tempo
    span = 2 if bar_s > 1.5 else 4
    return [
        Slot(section, turn, bar, min(span, section.first_bar + section.n_bars - bar))
        for section in score.sections
        if section.label in labels and "vocals" not in section.players
        for turn, bar in enumerate(range(section.first_bar, section.first_bar + section.n_bars, span))
    ]


def tuned(notes: list[list[Note]], score: Score) -> list[list[SungNote]]:
    """Notes of the score as they are sung, in the song's tuning."""
    return [[SungNote(m.start_s, m.end_s - m.start_s, m.midi + score.tuning / 100) for m in s] for s in notes]


def add_choir(cast: Cast) -> None:
    """Now and then two or three voices hold "ooh" or "aah" on the chords behind the lead."""
    score = cast.score
    rng = seeded_rng(score.seed, "choir")
    if rng.random() >= _CHOIR or not cast.vacancies:
        return
    labels = pick(rng, (("chorus",), ("chorus",), ("bridge", "outro"), ("intro", "bridge"), ("verse",)))
    word = str(pick(rng, ("ooh", "ooh", "aah", "aah", "oh")))
    names = [str(name) for name in rng.permutation(sorted(cast.bank.singers))]
    style, level = VoiceStyle.draw(rng), float(rng.uniform(-13, -6))
    for k in range(min(cast.vacancies, int(rng.integers(2, 4)))):
        singer = cast.engage("choir", names[k % len(names)], (0.7, -0.7, 0.2)[k], level)
        own = replace(style.double(rng), breath=0.3 * style.breath)
        place = float(np.mean(cast.bank.range_midi(singer.name))) + (2.0, -3.0, 6.0)[k]
        for section in score.sections:
            if section.label in labels:
                chords = [c for c in score.chords if c.bar in section.bars]
                for run in _breaths_apart(chords):
                    place = _hold(cast, singer, run, word, place, own, rng)
    cast.choices["choir"] = {"text": word, "sections": list(labels)}


def _breaths_apart(chords: list[Chord]) -> list[list[tuple[float, float, Chord]]]:
    """``(start_s, end_s, chord)`` of changes of chord, in runs of one breath each."""
    runs: list[list[tuple[float, float, Chord]]] = []
    for chord in chords:
        if runs and runs[-1][-1][2].pitch_classes == chord.pitch_classes and chord.start_s - runs[-1][0][0] < 4.0:
            runs[-1][-1] = (runs[-1][-1][0], chord.end_s, chord)
        elif runs and chord.end_s - runs[-1][0][0] < _CHOIR_LINE_S:
            runs[-1].append((chord.start_s, chord.end_s, chord))
        else:
            runs.append([(chord.start_s, chord.end_s, chord)])
    return runs


def _hold(
    cast: Cast,
    singer: Singer,
    run: list[tuple[float, float, Chord]],
    word: str,
    place: float,
    style: VoiceStyle,
    rng: np.random.Generator,
) -> float:
    """Sing one breath of a choir's voice, each chord's nearest tone; where it ended, MIDI."""
    low, high = cast.bank.range_midi(singer.name)
    late = float(rng.uniform(0.0, 0.04))
    notes = []
    for k, (start, end, chord) in enumerate(run):
        place = float(np.clip(place, low + 1, high - 2))
        place = float(nearest(place, chord.pitch_classes))
        stop = end if k + 1 < len(run) else end - min(0.35, 0.3 * (end - start))
        notes.append([SungNote(start + late, max(stop - start, 0.1), place + cast.score.tuning / 100)])
    line = cast.bank.vocalise(singer.name, word, len(notes))
    sung = sing(cast.bank, singer.name, line, notes, style, rng)
    if sung.start_s > singer.free_from_s - 0.1:
        cast.breathe(singer, sung, style, rng)
        singer.take(sung)
    return place


def add_shouts(cast: Cast, lead: Singer) -> None:
    """Shouted hooks, by one voice or two, where the lead leaves a gap in choruses, and before they break in."""
    score = cast.score
    rng = seeded_rng(score.seed, "shouts")
    if rng.random() >= _SHOUTS.get(score.style.name, _SHOUTS[""]) or not cast.vacancies:
        return
    names = [str(name) for name in rng.permutation(sorted(cast.bank.singers))]
    pans = (float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.8, 0.8)))
    gang = [
        cast.engage("shout", names[k % len(names)], pans[k], float(rng.uniform(-8, -3)))
        for k in range(min(cast.vacancies, int(rng.integers(1, 3))))
    ]
    style = VoiceStyle.draw(rng)
    short = [line for line in cast.bank.lines(gang[0].name) if line.syllables <= 4]
    hooks = [str(pick(rng, ("hey", "oh", "hey"))), str(pick(rng, [line.text for line in short] or ["hey"]))]
    places = [start for start, _ in score.stops]
    for slot in score.slots:
        if slot.section.label in ("chorus", "solo"):
            beat = int(rng.integers(0, score.grid.beats_per_bar))
            places += [
                score.grid.time(slot.bar),
                score.grid.time(slot.bar + slot.n_bars - 1, beat * score.grid.steps_per_beat),
            ]
    for at in sorted(places):
        text = hooks[int(rng.random() < 0.35)]
        if rng.random() < 0.45 or (_is_singing(lead, at - 0.1, at + 0.5) and rng.random() < 0.7):
            continue
        for singer in gang:
            known = {line.text: line for line in cast.bank.lines(singer.name)}
            line = (
                known[text]
                if text in known
                else cast.bank.vocalise(singer.name, "hey" if text not in ("hey", "oh") else text)
            )
            said = speak(
                cast.bank, singer.name, line, at + float(abs(rng.normal(0, 0.02))), style.double(rng), rng, shout=True
            )
            if said.start_s > singer.free_from_s and said.end_s < score.duration_s:
                singer.take(said)
                cast.note(
                    "shouts", {"text": line.text, "singer": singer.name, "start_s": said.start_s, "end_s": said.end_s}
                )


def _is_singing(singer: Singer, start_s: float, end_s: float) -> bool:
    first, last = max(0, int(100 * start_s)), max(0, int(100 * end_s))
    return bool(np.any(singer.f0[first:last]))
