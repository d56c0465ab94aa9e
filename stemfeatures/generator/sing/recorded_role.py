"""What recorded voices sing in a song: the lead, the lead of some sections, or ad-libs around a generated lead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..compose.composer import Slot, pick, seeded_rng
from ..track import F0_HOP_S
from .recorded_vocals import Delivery, Voice, deliver, notes_of
from .recording_bank import RecordingBank
from .singers import Cast, Singer

#: How often a recorded voice sings all lines, those of some sections, or ad-libs.
_LEADS, _FEATURED, _ADLIBS = 0.25, 0.10, 0.15
#: How often a recorded lead has a double or a harmony in choruses.
_BACKED = 0.3
#: A phrase may run this much over the end of its slot.
_OVERRUN_S = 0.4
_LONGEST_ADLIB_S = 3.0


@dataclass
class RecordedRole:
    """A recorded voice in a song.

    Attributes
    ----------
    labels : tuple[str, ...]
        Sections whose lines it sings; all of them where it leads.
    """

    cast: Cast
    bank: RecordingBank
    voice: Voice
    singer: Singer
    labels: tuple[str, ...]
    leads: bool
    backing: tuple[Singer, int, float] | None = None
    _lines: dict[Any, list[int]] = field(default_factory=dict)
    _unused: list[int] = field(default_factory=list)

    @classmethod
    def draw(cls, cast: Cast, bank: RecordingBank | None) -> RecordedRole | None:
        """Whether and how a song uses recordings."""
        if bank is None:
            return None
        rng = seeded_rng(cast.score.seed, "recordings")
        chance = rng.random()
        voice = Voice.draw(bank, rng)
        if voice is None or chance >= _LEADS + _FEATURED + _ADLIBS:
            return None
        leads = bool(chance < _LEADS)
        labels: tuple[str, ...] = ()
        if leads:
            cast.singers.clear()  # nobody else's voice is drawn out to the recording's rhythm
        elif not cast.vacancies:
            return None
        elif chance < _LEADS + _FEATURED:
            labels = ("chorus",) if rng.random() < 0.6 else ("verse", "bridge")
        pan, level = (0.0, 0.0) if leads or labels else (float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-8, -2)))
        role = "lead" if leads else "feature" if labels else "adlib"
        singer = cast.engage(role, voice.name, pan, level)
        recorded = cls(cast, bank, voice, singer, labels, leads)
        if (leads or labels) and rng.random() < _BACKED and cast.vacancies:
            harmony = int(pick(rng, (0, 0, 2, 2, -2)))
            backer = cast.engage(
                "harmony" if harmony else "double",
                voice.name,
                float(rng.uniform(-0.7, 0.7)),
                float(rng.uniform(-9, -4)),
            )
            recorded.backing = backer, harmony, float(rng.normal(0, 0.08))
        return recorded

    def takes(self, slot: Slot) -> bool:
        """Whether the lines of this slot are the recorded voice's."""
        return self.leads or slot.section.label in self.labels

    def sing(self, slot: Slot, key: Any) -> list[dict[str, float]]:
        """Fill a slot with phrases, the same ones where ``key`` is the same; their notes."""
        score = self.cast.score
        rng = seeded_rng(score.seed, "recorded-line", slot.section.first_bar, slot.turn)
        planned = iter(self._lines.get(key, ()))
        chosen: list[int] = []
        notes: list[dict[str, float]] = []
        end = score.grid.time(slot.bar + slot.n_bars - 1, score.grid.steps) + _OVERRUN_S
        step = int(pick(rng, (0, 0, 0, 2, score.grid.steps_per_beat)))
        while True:
            start = self._free_step(slot, step)
            if start is None:
                break
            onset = score.grid.time(slot.bar, start)
            index = next(planned, None)
            if index is None or not self._fits(index, end - onset):
                index = self._choose(end - onset, rng)
            if index is None:
                break
            chosen.append(index)
            done = deliver(self.bank, index, self.voice, score, onset, rng)
            self._take(self.singer, done)
            notes += _notes(done)
            if self.backing is not None and slot.section.label == "chorus":
                self._back(index, onset, rng)
            if rng.random() < 0.3:
                break
            step = start + score.grid.steps_per_beat
        self._lines.setdefault(key, chosen)
        return notes

    def _free_step(self, slot: Slot, step: int) -> int | None:
        """The first beat from ``step`` on at which the singer is free, None when the slot is over."""
        grid = self.cast.score.grid
        while step < slot.n_bars * grid.steps - 1:
            if grid.time(slot.bar, step) > self.singer.free_from_s + 0.08:
                return step
            step += max(1, grid.steps_per_beat // 2)
        return None

    def _fits(self, index: int, room_s: float) -> bool:
        return self.bank.phrases[index].duration_s * 1.1 < room_s

    def _choose(self, room_s: float, rng: np.random.Generator) -> int | None:
        """A phrase not sung lately that fits; long ones first."""
        if not self._unused:
            self._unused = list(self.voice.phrases)
        fitting = [k for k in self._unused if self._fits(k, room_s)]
        if not fitting:
            fitting = [k for k in self.voice.phrases if self._fits(k, room_s)]
        if not fitting:
            return None
        weights = np.array([self.bank.phrases[k].duration_s for k in fitting])
        index = fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))]
        if index in self._unused:
            self._unused.remove(index)
        return index

    def _back(self, index: int, onset: float, rng: np.random.Generator) -> None:
        assert self.backing is not None
        singer, degrees, detune = self.backing
        late = float(abs(rng.normal(0.018, 0.01)))
        done = deliver(self.bank, index, self.voice, self.cast.score, onset + late, rng, degrees=degrees, detune=detune)
        if done.sung.start_s > singer.free_from_s - 0.05:
            self._take(singer, done)

    def interject(self, lead: Singer) -> None:
        """Ad-libs in the lead's gaps, and now and then over it."""
        if self.leads or self.labels:
            return
        score = self.cast.score
        rng = seeded_rng(score.seed, "ad-libs")
        sung = [k for k in self.voice.phrases if self.bank.phrases[k].duration_s < _LONGEST_ADLIB_S]
        spoken = [k for k in self.bank.spoken if self.bank.phrases[k].duration_s < _LONGEST_ADLIB_S]
        pool = spoken if (rng.random() < 0.3 and spoken) or not sung else sung
        if not pool:
            return
        for section in score.sections:
            for bar in section.bars:
                beat = int(rng.integers(score.grid.beats_per_bar))
                onset = score.grid.time(bar, beat * score.grid.steps_per_beat)
                covered = bool(np.any(lead.f0[int(onset / F0_HOP_S) : int((onset + 0.7) / F0_HOP_S)]))
                if rng.random() < (0.12 if covered else 0.4) and onset > self.singer.free_from_s + 0.2:
                    index = int(pick(rng, pool))
                    if onset + self.bank.phrases[index].duration_s * 1.3 < score.duration_s:
                        self._take(self.singer, deliver(self.bank, index, self.voice, score, onset, rng))

    def _take(self, singer: Singer, done: Delivery) -> None:
        singer.take(done.sung)
        self.cast.note("recordings", {"role": singer.role, **done.choice})


def _notes(done: Delivery) -> list[dict[str, float]]:
    times = done.sung.f0_times_s
    return [
        {"start_s": float(max(times[a], 0.0)), "end_s": float(times[b - 1]), "midi": midi, "velocity": 0.8}
        for a, b, midi in notes_of(done.sung.f0_hz)
    ]
