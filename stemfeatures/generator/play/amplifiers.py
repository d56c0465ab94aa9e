"""Guitar and bass amplifiers: wave shapers, loudspeaker cabinets and a wah pedal.

A wave shaper makes harmonics without end; at 44.1 kHz those above 22 kHz fold back as tones that no amplifier makes.
Shapers therefore run at four times the sample rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import soxr

from ..compose.score import pick
from ..mix.console import BLOCK, Band, active_rms, block_peaks, equalise, from_db, ramps
from ..units import SR

OVERSAMPLING = 4
#: Gain in dB by which each kind drives its shaper, lowest and highest.
KINDS: Mapping[str, tuple[float, float]] = {
    "clean": (-14.0, -4.0), "crunch": (2.0, 14.0), "drive": (14.0, 26.0), "high_gain": (28.0, 42.0),
    "fuzz": (26.0, 40.0),
}  # fmt: skip
_WAH_LOW_HZ, _WAH_HIGH_HZ, _WAH_RESONATORS = 380.0, 2300.0, 9


@dataclass(frozen=True)
class Amplifier:
    """One amplifier and its cabinet.

    Attributes
    ----------
    kind : str
        One of ``KINDS``.
    gain_db : float
        Drive of the shaper over the signal's active level.
    low_cut_hz, mid_hz, mid_db : float
        What goes before the shaper.
    bias : float
        Asymmetry of the shaper (even harmonics).
    cabinet : tuple[Band, ...]
        The loudspeaker's band.
    reflection_s, reflection : float
        A second path to the microphone and its weight.
    """

    kind: str
    gain_db: float
    low_cut_hz: float
    mid_hz: float
    mid_db: float
    bias: float
    cabinet: tuple[Band, ...]
    reflection_s: float
    reflection: float

    @classmethod
    def draw(cls, kind: str, rng: np.random.Generator, *, bass: bool = False) -> Amplifier:
        """An amplifier of ``kind``; one for a ``bass`` drives what is above the fundamental, to be blended with it."""
        return cls(
            kind=kind,
            gain_db=float(rng.uniform(*KINDS[kind])),
            low_cut_hz=float(rng.uniform(90, 220) if bass else rng.uniform(70, 190)),
            mid_hz=float(rng.uniform(550, 1500)),
            mid_db=float(rng.uniform(-2, 8)),
            bias=float(rng.uniform(0.0, 0.3)),
            cabinet=_draw_cabinet(rng, bass=bass),
            reflection_s=float(rng.uniform(0.0002, 0.0013)),
            reflection=float(rng.uniform(-0.35, 0.35)),
        )

    def play(self, y: np.ndarray) -> np.ndarray:
        """(n,) float32: ``y`` through the amplifier, at the active level it had."""
        level = active_rms(y)
        if level == 0:
            return y
        tight = equalise(y, [("low_cut", self.low_cut_hz, 0.0, 0.7), ("peak", self.mid_hz, self.mid_db, 0.7)])
        if self.kind == "high_gain":
            tight = tight * _gate(tight)
        out = equalise(shape(tight * np.float32(0.3 / level), self.kind, self.gain_db, self.bias), self.cabinet)
        delay = round(self.reflection_s * SR)
        out[delay:] += np.float32(self.reflection) * out[: len(out) - delay].copy()
        return (out * np.float32(level / max(active_rms(out), 1e-9))).astype(np.float32)


def draw_kind(drive: float, rng: np.random.Generator) -> str:
    """A kind of amplifier for a style with this much ``drive``, 0 to 1."""
    weights = np.array([1.0 - drive, 0.6, 0.3 + drive, 0.1 + 0.9 * drive, 0.05 + 0.25 * drive])
    return str(rng.choice(list(KINDS), p=weights / weights.sum()))


def shape(y: np.ndarray, kind: str, gain_db: float, bias: float) -> np.ndarray:
    """(n,) float32: ``y`` through the wave shaper of ``kind``, free of folded harmonics and of DC."""
    fast = soxr.resample(y.astype(np.float32), SR, OVERSAMPLING * SR, quality="LQ")
    gain, rest = np.float32(from_db(gain_db)), np.float32(bias)
    if kind == "fuzz":  # two transistors: hard, and one side earlier than the other
        fast = np.clip(fast * gain, -0.45 - rest, 1.0)
    elif kind == "high_gain":  # two stages share the gain
        root = np.sqrt(gain)
        fast = np.tanh((np.tanh(fast * root + rest) - np.tanh(rest)) * root)
    else:
        fast = np.tanh(fast * gain + rest) - np.tanh(rest)
    slow = soxr.resample(fast.astype(np.float32), OVERSAMPLING * SR, SR, quality="LQ")[: len(y)]
    return equalise(np.pad(slow, (0, len(y) - len(slow))), [("low_cut", 20.0, 0.0, 0.7)])


def wah(y: np.ndarray, position: np.ndarray) -> np.ndarray:
    """(n,) float32: ``y`` through a resonance that a pedal moves.

    ``position`` (n,): 0 heel (380 Hz) to 1 toe (2.3 kHz). Neighbouring resonators are faded into one another, so that
    a moving pedal does not click. The active level is kept.
    """
    level = active_rms(y)
    if level == 0:
        return y
    centres = np.geomspace(_WAH_LOW_HZ, _WAH_HIGH_HZ, _WAH_RESONATORS)
    place = np.clip(position, 0.0, 1.0).astype(np.float32) * np.float32(_WAH_RESONATORS - 1)
    out = np.float32(0.12) * y
    for k, hertz in enumerate(centres):
        weight = np.maximum(1 - np.abs(place - np.float32(k)), 0)
        if np.any(weight):
            resonant = equalise(y, [("low_cut", float(hertz), 0.0, 2.2), ("high_cut", float(hertz), 0.0, 2.2)])
            out = out + resonant * weight
    return (out * np.float32(level / max(active_rms(out), 1e-9))).astype(np.float32)


def draw_pedal(n: int, beat_s: float, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """How the foot moves: ``rocked`` with the beat or ``wandering``; (n,) positions 0 to 1."""
    t = np.arange(n, dtype=np.float32) / np.float32(SR)
    if rng.random() < 0.6:
        rate = float(pick(rng, (0.5, 1.0, 1.0, 2.0))) / beat_s
        return "rocked", 0.5 - 0.5 * np.cos(np.float32(2 * np.pi * rate) * t + np.float32(rng.uniform(0, 6.28)))
    points = rng.uniform(0.0, 1.0, int(n / SR / 0.35) + 2)
    return "wandering", np.interp(t, 0.35 * np.arange(len(points)), points).astype(np.float32)


def _draw_cabinet(rng: np.random.Generator, *, bass: bool) -> tuple[Band, ...]:
    """The resonance of a box, the cone's break-up and its steep end."""
    top = float(rng.uniform(3000, 7000) if bass else rng.uniform(4000, 6500))
    return (
        ("low_cut", float(rng.uniform(30, 50) if bass else rng.uniform(70, 110)), 0.0, float(rng.uniform(0.7, 1.3))),
        ("peak", float(rng.uniform(55, 100) if bass else rng.uniform(100, 160)),
         float(rng.uniform(0, 2 if bass else 5)), 1.0),
        ("peak", float(rng.uniform(320, 600)), float(rng.uniform(-4 if bass else -7, 0)), 0.8),
        ("peak", float(rng.uniform(900, 1700)), float(rng.uniform(-3, 4)), 1.0),
        ("peak", float(rng.uniform(2000, 3900)), float(rng.uniform(1, 9)), float(rng.uniform(0.8, 1.8))),
        ("high_cut", top, 0.0, float(rng.uniform(0.8, 1.2))),
        ("high_cut", 1.15 * top, 0.0, 0.6),
    )  # fmt: skip


def _gate(y: np.ndarray, below_db: float = -48.0) -> np.ndarray:
    """(n,) gain of a noise gate: what is this far below the loudest stays silent, or the drive would lift it."""
    power = block_peaks(y, power=True)
    loud = 10 * np.log10(power / max(float(power.max(initial=0.0)), 1e-12) + 1e-12)
    opened = np.clip((loud - below_db) / 6.0 + 1.0, 0.0, 1.0)
    width = max(1, int(0.02 * SR / BLOCK))
    smooth = np.convolve(np.pad(opened, width, mode="edge"), np.full(2 * width + 1, 1 / (2 * width + 1)), "valid")
    return ramps(smooth, len(y))
