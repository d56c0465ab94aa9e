"""Instruments and drum kits that play the notes of a score, each from synthesis or from a bank of recorded notes.

All sounds are mono float32 at 44.1 kHz. A note sounds at exactly the pitch that is asked for.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import soxr

from ..compose.score import pick
from ..units import SR
from .note_bank import NoteBank, SampleEntry
from .synths import ROLES, SUSTAINED, KitSpec, SynthSpec, draw_kit, draw_synth, synth_hit, synth_note

#: Seconds to fall to 1/e after the end of a note.
_RELEASES = {
    "pad": 0.35, "strings": 0.18, "piano": 0.09, "vibraphone": 0.4, "mallet": 0.3, "organ": 0.025, "cello": 0.12,
}  # fmt: skip
RELEASE_S = 0.05
#: Longest note; players strike again before.
LONGEST_S = 4.0
LEVEL = 0.1
_ROUND_ROBINS = 3
#: What stands in where a kit lacks a role.
_INSTEAD = {
    "rim": "snare", "clap": "snare", "pedal_hat": "hat", "open_hat": "crash", "ride": "crash", "crash": "open_hat",
    "shaker": "hat", "tambourine": "shaker", "cowbell": "rim", "tom_high": "tom_mid", "tom_low": "tom_mid",
    "tom_mid": "tom_low", "hat": "open_hat",
}  # fmt: skip


class Tones(Protocol):
    """Where an instrument's sound comes from: a tone at ``hertz`` that lasts ``seconds`` or until it has died."""

    name: str

    def tone(self, hertz: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray: ...


class SynthTones:
    """Tones of a synthesised instrument, made once for each pitch, dynamic layer and round robin."""

    def __init__(self, family: str, spec: SynthSpec) -> None:
        self.name, self._spec = f"synth-{family}", spec
        self._made: dict[tuple, np.ndarray] = {}

    def tone(self, hertz: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
        layer = 0.35 if velocity < 0.5 else 0.65 if velocity < 0.8 else 0.95
        robin = int(rng.integers(_ROUND_ROBINS)) if self._spec.kind == "plucked" else 0
        length = next(s for s in (0.5, 1.0, 2.0, 3.0, LONGEST_S + 2.5) if s >= min(seconds, LONGEST_S + 2.5))
        key = (round(hertz, 4), layer, robin, length)
        if key not in self._made:
            self._made[key] = _levelled(synth_note(self._spec, hertz, length, layer, robin))
        return self._made[key]


class SampledTones:
    """Tones of a recorded instrument: the nearest sample, resampled to the exact pitch."""

    def __init__(self, bank: NoteBank, name: str) -> None:
        self.name, self._bank = name, bank
        self._entries = bank.entries(name)
        self._semitones = 12 * np.log2([e.hertz / 440.0 for e in self._entries])
        self._velocities = np.array([e.velocity for e in self._entries])
        self._made: dict[tuple[int, float], np.ndarray] = {}

    def tone(self, hertz: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
        distance = np.abs(self._semitones - 12 * np.log2(hertz / 440.0))
        cost = (
            np.maximum(distance - distance.min() - 1.0, 0) * 2
            + distance * 0.1
            + 3 * np.abs(self._velocities - velocity)
        )
        near = np.flatnonzero(cost <= cost.min() + 0.35)[:_ROUND_ROBINS]
        index = int(near[rng.integers(len(near))])
        key = (index, round(hertz, 4))
        if key not in self._made:
            entry = self._entries[index]
            rate = SR * hertz / entry.hertz
            y = self._bank.samples(self.name, entry)
            y = y if abs(rate - SR) < 1e-3 else soxr.resample(y, rate, SR, quality="MQ")
            self._made[key] = _levelled(y)
        return self._made[key]


def _levelled(y: np.ndarray) -> np.ndarray:
    """``y`` with an RMS of LEVEL over its first half second."""
    head = y[: SR // 2]
    return (y * (LEVEL / max(float(np.sqrt(np.mean(head**2))) if len(head) else 0.0, 1e-6))).astype(np.float32)


class Instrument:
    """Plays single notes.

    Attributes
    ----------
    name : str
        Where the sound comes from.
    family : str
        One of :data:`.synths.FAMILIES`.
    release_s : float
        Fall after a note's end, in seconds.
    """

    def __init__(self, family: str, tones: Tones) -> None:
        self.family, self.name, self._tones = family, tones.name, tones
        self.release_s = _RELEASES.get(family, RELEASE_S)

    def tone(self, hertz: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
        """(n,) float32: a tone that nobody stops, as loud whatever its dynamics; ``seconds`` long or until it died."""
        return self._tones.tone(hertz, seconds, velocity, rng)

    def note(self, hertz: float, duration_s: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
        """(n,) float32: ``duration_s`` of tone and its release; the attack is at sample 0."""
        tone = self.tone(hertz, duration_s + 5 * self.release_s, velocity, rng)
        hold = int(min(duration_s, LONGEST_S) * SR)
        y = tone[: hold + int(5 * self.release_s * SR)] * np.float32(velocity**1.4)
        if hold < len(y):
            y[hold:] *= np.exp(-np.arange(len(y) - hold, dtype=np.float32) / np.float32(self.release_s * SR))
        fade = min(len(y), 200)
        y[len(y) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        return y


def make_instrument(family: str, banks: NoteBank | None, rng: np.random.Generator) -> Instrument:
    """An instrument of ``family``: recorded where the bank has some (four times of five), else synthesised."""
    spec = draw_synth(family, rng)
    names = banks.by_family.get(family, []) if banks is not None else []
    if names and rng.random() < (0.8 if family not in ("synth_bass", "synth_lead", "pad") else 0.5):
        return Instrument(family, SampledTones(banks, str(pick(rng, names))))  # type: ignore[arg-type]
    return Instrument(family, SynthTones(family, spec))


class Kit:
    """A drum kit.

    Attributes
    ----------
    name : str
        Where its sounds come from.
    kick_hz : float | None
        What the kick drum is tuned to, None where it is as it came.
    """

    def __init__(self, name: str, spec: KitSpec, recorded: dict[str, tuple[NoteBank, str, list[SampleEntry]]]) -> None:
        self.name, self._spec, self._recorded = name, spec, recorded
        self._made: dict[tuple, np.ndarray] = {}
        self._tuning = 2 ** (spec.size / 3 / 12)
        self.kick_hz: float | None = None
        self._kick_ratio = 1.0

    def tune_kick(self, hertz: float) -> None:
        """Play the kick drum faster or slower, by at most a fifth, so that its tail sounds at ``hertz`` in some octave.

        One that has no tail stays as it is.
        """
        self._kick_ratio = 1.0
        self._made.clear()
        y = self.hit("kick", 0.9, np.random.default_rng(0))[int(0.03 * SR) : int(0.25 * SR)]
        power = np.abs(np.fft.rfft(y * np.hanning(len(y)), 1 << 16)) ** 2
        bins = np.fft.rfftfreq(1 << 16, 1 / SR)
        low = (bins > 30) & (bins < 140)
        own = float(bins[low][np.argmax(power[low])])
        if not 34 < own < 120:  # a click, or a box to knock on
            return
        ratio = hertz / own
        while ratio > 1.5:
            ratio /= 2
        while ratio < 0.67:
            ratio *= 2
        self._kick_ratio, self.kick_hz = ratio, own * ratio
        self._made.clear()

    def hit(self, role: str, velocity: float, rng: np.random.Generator) -> np.ndarray:
        """(n,) float32 of a stroke; the attack is at sample 0, the peak is ``velocity ** 1.3``."""
        for _ in range(3):
            if role in self._recorded or not self._recorded:
                break
            role = _INSTEAD.get(role, role)
        if role in self._recorded:
            y = self._sample(role, velocity, rng)
        else:
            layer = 0.3 if velocity < 0.4 else 0.6 if velocity < 0.75 else 0.95
            key = (role, layer, int(rng.integers(_ROUND_ROBINS)))
            if key not in self._made:
                y = synth_hit(self._spec, *key)
                self._made[key] = y if role != "kick" else soxr.resample(y, SR * self._kick_ratio, SR, quality="MQ")
            y = self._made[key]
        return y * np.float32(velocity**1.3)

    def _sample(self, role: str, velocity: float, rng: np.random.Generator) -> np.ndarray:
        bank, name, entries = self._recorded[role]
        cost = np.abs(np.array([e.velocity for e in entries]) - velocity)
        near = np.flatnonzero(cost <= cost.min() + 0.06)[:5]
        index = int(near[rng.integers(len(near))])
        key = (role, index)
        if key not in self._made:
            y = bank.samples(name, entries[index])[: int(2.6 * SR)]
            if role in ("kick", "snare", "tom_high", "tom_mid", "tom_low"):
                ratio = self._tuning * (self._kick_ratio if role == "kick" else 1.0)
                y = soxr.resample(y, SR * ratio, SR, quality="MQ")
            tail = min(len(y) // 3, int(0.3 * SR))  # recordings may be cut short
            y = y / max(float(np.abs(y).max(initial=0.0)), 1e-6)
            y[len(y) - tail :] *= np.linspace(1, 0, tail, dtype=np.float32) ** 2
            self._made[key] = y
        return self._made[key]


def make_kit(kind: str, bank: NoteBank | None, rng: np.random.Generator) -> Kit:
    """A kit, ``"acoustic"`` or ``"electronic"``: recorded where the bank has some, else synthesised.

    Recorded kits that lack strokes borrow them from others.
    """
    spec = draw_kit(kind == "electronic", rng)
    names = bank.by_family.get(f"{kind}_kit", []) if bank is not None else []
    if bank is None or not names or rng.random() < (0.12 if kind == "acoustic" else 0.4):
        return Kit(f"synth-{kind}", spec, {})
    roles: dict[str, tuple[NoteBank, str, list[SampleEntry]]] = {}
    order = [names[i] for i in rng.permutation(len(names))]
    for name in order:
        for role in ROLES:
            entries = [e for e in bank.entries(name) if e.role == role]
            if entries and role not in roles:
                roles[role] = (bank, name, entries)
        if {"kick", "snare", "hat", "crash"} <= roles.keys():
            break
    return Kit("+".join(sorted({name for _, name, _ in roles.values()})), spec, roles)


__all__ = ["LEVEL", "LONGEST_S", "SUSTAINED", "Instrument", "Kit", "NoteBank", "make_instrument", "make_kit"]
