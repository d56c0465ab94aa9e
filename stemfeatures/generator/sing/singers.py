"""The singers of a song while it is being made: what each has sung so far, and its F0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compose.composer import Score
from ..track import F0_HOP_S, add_at

if TYPE_CHECKING:
    from .voice import Sung, VoiceBank, VoiceStyle

#: No song has more voices.
MOST_VOICES = 4


@dataclass
class Singer:
    """A voice in the mix: its sound and F0. ``deliveries``: (start_s, end_s) of what it has sung."""

    audio: np.ndarray
    f0: np.ndarray
    role: str
    name: str
    pan: float
    level_db: float
    deliveries: list[tuple[float, float]] = field(default_factory=list)

    @property
    def free_from_s(self) -> float:
        """When its last line has ended."""
        return max((end for _, end in self.deliveries), default=0.0)

    def take(self, sung: Sung) -> None:
        """Put a delivery where it belongs."""
        add_at(self.audio, np.asarray(sung.audio, np.float32), sung.start_s)
        f0_on_grid(sung, self.f0)
        self.deliveries.append((max(sung.start_s, 0.0), sung.end_s))

    def sounds(self) -> bool:
        return bool(np.any(self.f0) or np.any(self.audio))


def f0_on_grid(sung: Sung, out: np.ndarray) -> None:
    """Write the F0 of one delivery onto a grid of F0_HOP_S."""
    times, f0 = np.asarray(sung.f0_times_s), np.asarray(sung.f0_hz)
    first, last = int(np.ceil(max(times[0], 0.0) / F0_HOP_S)), min(int(times[-1] / F0_HOP_S), len(out) - 1)
    if last < first:
        return
    at = F0_HOP_S * np.arange(first, last + 1)
    right = np.clip(np.searchsorted(times, at), 1, len(times) - 1)
    left = right - 1
    fraction = np.clip((at - times[left]) / (times[right] - times[left]), 0, 1)
    both = (f0[left] > 0) & (f0[right] > 0)
    between = np.exp((1 - fraction) * np.log(np.maximum(f0[left], 1)) + fraction * np.log(np.maximum(f0[right], 1)))
    value = np.where(both, between, np.where(fraction < 0.5, f0[left], f0[right]))
    span = out[first : last + 1]
    out[first : last + 1] = np.where(value > 0, value, span)


@dataclass
class Cast:
    """Everybody who sings in a song, and what there is to say about it."""

    score: Score
    bank: VoiceBank
    n: int
    n_frames: int
    singers: list[Singer] = field(default_factory=list)
    lyrics: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"words": [], "lines": []})
    choices: dict[str, Any] = field(default_factory=dict)

    def engage(self, role: str, name: str, pan: float = 0.0, level_db: float = 0.0) -> Singer:
        """A further singer, silent so far."""
        singer = Singer(np.zeros(self.n, np.float32), np.zeros(self.n_frames), role, name, pan, level_db)
        self.singers.append(singer)
        return singer

    @property
    def vacancies(self) -> int:
        """How many may join."""
        return max(0, MOST_VOICES - len(self.singers))

    def note(self, what: str, choice: Mapping[str, Any]) -> None:
        """Add to a list of the choices."""
        self.choices.setdefault(what, []).append(dict(choice))

    def write(self, text: str, sung: Sung) -> None:
        """Add a line of the lead to the lyrics."""
        words = [(w, max(0.0, float(a)), float(b)) for w, a, b in sung.words]
        self.lyrics["words"] += [{"word": w, "start_s": a, "end_s": b} for w, a, b in words]
        if words:
            self.lyrics["lines"].append({"text": text, "start_s": words[0][1], "end_s": words[-1][2]})

    def breathe(self, singer: Singer, before: Sung, style: VoiceStyle, rng: np.random.Generator) -> None:
        """Let a singer breathe in before a line, where there is time for it; some breathe more audibly than others."""
        from .voice import breath

        until = before.start_s + 0.01  # a delivery begins with some silence
        room = until - singer.free_from_s - 0.05
        length = float(min(rng.uniform(0.18, 0.5), room))
        if rng.random() >= style.breath or length < 0.15 or until - length < 0:
            return
        singer.take(breath(self.bank, singer.name, until, length, style, rng))
        self.note("breaths", {"role": singer.role, "start_s": until - length, "end_s": until})
