"""A stem while it is being made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .compose.score import Note, Score
from .units import SR

#: Grid of F0 truth.
F0_HOP_S = 0.01


@dataclass
class Track:
    """Dry sound, what it sends to the room and the echo, and its truth."""

    dry: np.ndarray
    send: np.ndarray
    notes: list[dict[str, Any]] = field(default_factory=list)
    choices: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def silent(cls, n: int) -> Track:
        return cls(np.zeros((2, n), np.float32), np.zeros(n, np.float32))

    def add(self, y: np.ndarray, send: float) -> None:
        self.dry += y
        self.send += np.float32(send * 0.5) * (y[0] + y[1])


def add_at(out: np.ndarray, y: np.ndarray, time_s: float) -> None:
    """Add mono or stereo ``y`` to ``out`` from ``time_s`` on; what sticks out is cut."""
    start = round(time_s * SR)
    y = y[..., max(0, -start) :]
    start = max(start, 0)
    length = min(y.shape[-1], out.shape[-1] - start)
    if length > 0:
        out[..., start : start + length] += y[..., :length]


def note_truth(note: Note, score: Score) -> dict[str, Any]:
    """A note as ``truth.json`` has it."""
    midi = note.midi + score.tuning / 100
    entry = {"start_s": note.start_s, "end_s": note.end_s, "midi": midi, "velocity": note.velocity}
    return entry | ({"technique": note.technique} if note.technique else {})
