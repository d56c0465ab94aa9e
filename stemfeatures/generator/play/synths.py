"""Instruments made of nothing: synthesised notes and drum strokes, mono at 44.1 kHz.

Pitched notes are built a period at a time: a matrix of harmonic amplitudes by period becomes samples through one
inverse FFT a period (so filters, decays and vibrating strings are curves over time and harmonic), then the whole is
resampled to the exact pitch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soxr
from scipy.signal import butter, sosfilt

from ..units import SR

#: Amplitude of harmonics 1 ... H (columns) at times t (rows): f(t, h, hertz, velocity).
Timbre = Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]


def harmonic_tone(hertz: float, duration_s: float, velocity: float, timbre: Timbre, phases: np.ndarray) -> np.ndarray:
    """(n,) float32 of a tone at exactly ``hertz`` with the harmonics' amplitudes over time given by ``timbre``."""
    size = 2 * int(np.ceil(SR / hertz / 2)) + 2  # even, and a little more than a period: resampled downwards
    periods = int(np.ceil(duration_s * hertz)) + 2
    harmonics = np.arange(1, min(size // 2, int(0.47 * SR / hertz) + 1))
    amplitudes = timbre((np.arange(periods) / hertz)[:, None], harmonics[None], hertz, velocity)
    spectrum = np.zeros((periods, size // 2 + 1), np.complex64)
    spectrum[:, 1 : len(harmonics) + 1] = amplitudes * np.exp(1j * phases[: len(harmonics)]) * (size / 2)
    wave = np.fft.irfft(spectrum, size, axis=1)
    return _to_pitch(_smooth_joins(wave), size * hertz)


def _smooth_joins(wave: np.ndarray) -> np.ndarray:
    """Periods one after the other, each crossfaded into the next so that changing amplitudes do not click."""
    following = np.concatenate([wave[1:], wave[-1:]])
    ramp = np.arange(wave.shape[1], dtype=np.float32) / wave.shape[1]
    return (wave * (1 - ramp) + following * ramp).ravel()


def _to_pitch(wave: np.ndarray, rate: float) -> np.ndarray:
    return soxr.resample(wave.astype(np.float32), rate, SR, quality="HQ")


@dataclass(frozen=True)
class SynthSpec:
    """What one synthesised instrument is made of.

    ``kind`` names the model, ``a`` ... ``d`` (each 0..1) are its knobs; ``attack_s`` the rise; ``voices`` detuned
    copies ``detune`` cents apart.
    """

    kind: str
    a: float = 0.5
    b: float = 0.5
    c: float = 0.5
    d: float = 0.5
    attack_s: float = 0.003
    voices: int = 1
    detune: float = 0.0


def _plucked(spec: SynthSpec) -> Timbre:
    """A string: plucked at ``a`` of its length, damping ``b``, brightness ``c``, body ``d``."""
    point, damping, brightness = 0.06 + 0.34 * spec.a, 0.4 + 3.2 * spec.b, 1.6 - 1.1 * spec.c

    def timbre(t: np.ndarray, h: np.ndarray, hertz: float, velocity: float) -> np.ndarray:
        excitation = np.abs(np.sin(np.pi * h * point)) / h ** (brightness + 0.5 * (1 - velocity))
        body = (
            1
            + (0.3 + spec.d) * np.exp(-(((h * hertz - 190) / 90) ** 2))
            + 0.5 * np.exp(-(((h * hertz - 2600) / 900) ** 2))
        )
        rate = damping * (0.35 + 0.0011 * h * hertz) * (hertz / 220) ** 0.4
        return excitation * body * np.exp(-t * rate)

    return timbre


def _subtractive(spec: SynthSpec) -> Timbre:
    """Saw to square (``a``) through a low-pass with an envelope: cutoff ``b``, depth ``c``, resonance ``d``."""

    def timbre(t: np.ndarray, h: np.ndarray, hertz: float, velocity: float) -> np.ndarray:
        source = (1 - spec.a * (h % 2 == 0)) / h
        cutoff = 180 * 2 ** (5.2 * spec.b) * (1 + 6 * spec.c * velocity * np.exp(-t / (0.05 + 0.4 * spec.c)))
        ratio = h * hertz / cutoff
        gain = 1 / np.sqrt((1 - ratio**2) ** 2 + (ratio / (0.6 + 4 * spec.d)) ** 2)
        return source * gain

    return timbre


def _fm(spec: SynthSpec) -> Timbre:
    """Electric-piano-like: a few harmonics with decays of their own; tine ``a``, bark ``b``, decay ``c``."""
    tine = 6 + int(spec.a * 10)

    def timbre(t: np.ndarray, h: np.ndarray, hertz: float, velocity: float) -> np.ndarray:
        low = np.exp(-(h - 1) * (2.2 - 1.4 * spec.b * velocity)) * np.exp(
            -t * (0.4 + 1.5 * spec.c) * (1 + 0.5 * (h - 1))
        )
        high = 0.22 * velocity * np.exp(-((h - tine) ** 2)) * np.exp(-t * 9)
        return low + high

    return timbre


def _organ(spec: SynthSpec) -> Timbre:
    """Drawbars."""
    bars = {1: 0.8, 2: 0.3 + spec.a, 3: spec.b, 4: 0.6 * spec.c, 6: 0.5 * spec.d, 8: 0.5 * spec.a * spec.b}

    def timbre(t: np.ndarray, h: np.ndarray, hertz: float, velocity: float) -> np.ndarray:
        levels = sum(np.where(h == bar, level, 0.0) for bar, level in bars.items())
        return np.broadcast_to(levels + 0.02 / h, (len(t), h.shape[1]))

    return timbre


def _piano(spec: SynthSpec) -> Timbre:
    """Struck string: hammer hardness ``a``, sustain ``b``; upper harmonics die first, in two stages."""

    def timbre(t: np.ndarray, h: np.ndarray, hertz: float, velocity: float) -> np.ndarray:
        hammer = np.abs(np.sin(np.pi * h / 8.3)) + 0.15
        softness = (0.25 + 0.9 * (1 - velocity * (0.5 + 0.5 * spec.a))) * (hertz / 260) ** 0.5
        level = hammer * np.exp(-0.32 * softness * (h - 1)) / h**0.4
        rate = (0.5 + 1.3 * (1 - spec.b)) * (hertz / 220) ** 0.6 * (1 + 0.12 * h)
        return level * (0.7 * np.exp(-t * 3.2 * rate) + 0.3 * np.exp(-t * 0.7 * rate))

    return timbre


def _blown(spec: SynthSpec) -> Timbre:
    """Wind or bowed: formants over a saw or (``a``) hollow source that opens with the attack."""
    low, high = 350 + 700 * spec.b, 1100 + 1900 * spec.c

    def timbre(t: np.ndarray, h: np.ndarray, hertz: float, velocity: float) -> np.ndarray:
        source = (1 - spec.a * (h % 2 == 0)) / h
        f = h * hertz
        formants = 0.25 + np.exp(-(((f - low) / 300) ** 2)) + 0.8 * np.exp(-(((f - high) / 500) ** 2))
        opening = 1 - np.exp(-t / 0.04 / np.sqrt(h))
        return source * formants * opening * np.exp(-f / (1500 + 3500 * velocity * (0.4 + spec.d)))

    return timbre


def _mallet(spec: SynthSpec) -> Timbre:
    """A bar: the fundamental, a partial at four (``a``) or ten times, decays ``b``."""

    def timbre(t: np.ndarray, h: np.ndarray, hertz: float, velocity: float) -> np.ndarray:
        slow = np.where(h == 1, np.exp(-t * (0.6 + 5 * spec.b)), 0.0)
        fourth = np.where(h == 4, (0.2 + 0.4 * spec.a) * velocity * np.exp(-t * (4 + 8 * spec.b)), 0.0)
        tenth = np.where(h == 10, 0.2 * spec.c * velocity * np.exp(-t * 22), 0.0)
        return slow + fourth + tenth

    return timbre


def _sub(spec: SynthSpec) -> Timbre:
    """The tail of a bass drum, tuned: nearly a sine, decay ``b``."""

    def timbre(t: np.ndarray, h: np.ndarray, hertz: float, velocity: float) -> np.ndarray:
        return np.exp(-2.6 * (h - 1)) * np.exp(-t * (0.25 + 1.6 * spec.b))

    return timbre


_TIMBRES: dict[str, Callable[[SynthSpec], Timbre]] = {
    "plucked": _plucked, "subtractive": _subtractive, "fm": _fm, "organ": _organ, "piano": _piano, "blown": _blown,
    "mallet": _mallet, "sub": _sub,
}  # fmt: skip

#: How each family is made: model, ranges of the four knobs, ranges of attack (s), voices, cents of detuning.
_FAMILIES: dict[str, tuple[str, tuple[tuple[float, float], ...], tuple[float, float], tuple[int, ...], float]] = {
    "electric_bass": ("plucked", ((0.1, 0.7), (0.05, 0.4), (0.2, 0.9), (0.0, 0.6)), (0.002, 0.006), (1,), 0),
    "double_bass": ("plucked", ((0.3, 1.0), (0.4, 0.9), (0.0, 0.35), (0.5, 1.0)), (0.005, 0.012), (1,), 0),
    "synth_bass": ("subtractive", ((0.0, 0.95), (0.1, 0.55), (0.1, 1.0), (0.0, 0.8)), (0.002, 0.01), (1,), 0),
    "sub_bass": ("sub", ((0, 1), (0.0, 1.0), (0, 1), (0, 1)), (0.002, 0.008), (1,), 0),
    "electric_guitar": ("plucked", ((0.0, 0.6), (0.05, 0.3), (0.5, 1.0), (0.0, 0.3)), (0.001, 0.003), (1,), 0),
    "muted_guitar": ("plucked", ((0.0, 0.4), (0.9, 1.0), (0.3, 0.8), (0.0, 0.3)), (0.001, 0.003), (1,), 0),
    "clean_guitar": ("plucked", ((0.0, 0.7), (0.15, 0.5), (0.4, 1.0), (0.0, 0.5)), (0.001, 0.003), (1, 2), 6),
    "jazz_guitar": ("plucked", ((0.4, 1.0), (0.2, 0.5), (0.0, 0.3), (0.2, 0.6)), (0.002, 0.005), (1,), 0),
    "acoustic_guitar": ("plucked", ((0.1, 0.6), (0.3, 0.7), (0.6, 1.0), (0.5, 1.0)), (0.001, 0.003), (1, 2), 5),
    "nylon_guitar": ("plucked", ((0.3, 0.9), (0.4, 0.8), (0.1, 0.5), (0.6, 1.0)), (0.002, 0.005), (1,), 0),
    "clavinet": ("plucked", ((0.0, 0.15), (0.5, 0.9), (0.9, 1.0), (0.0, 0.2)), (0.001, 0.002), (1,), 0),
    "piano": ("piano", ((0.1, 1.0), (0.2, 0.9), (0, 1), (0, 1)), (0.001, 0.004), (2, 3), 2),
    "epiano": ("fm", ((0.0, 1.0), (0.0, 1.0), (0.1, 0.8), (0, 1)), (0.001, 0.005), (1, 2), 5),
    "organ": ("organ", ((0.0, 0.8), (0.0, 0.8), (0.0, 1.0), (0.0, 1.0)), (0.005, 0.02), (1, 2), 8),
    "accordion": ("blown", ((0.0, 0.3), (0.3, 0.9), (0.3, 0.9), (0.3, 0.9)), (0.02, 0.05), (2,), 12),
    "strings": ("blown", ((0.0, 0.1), (0.0, 0.5), (0.3, 1.0), (0.2, 0.8)), (0.06, 0.25), (3,), 14),
    "fiddle": ("blown", ((0.0, 0.1), (0.2, 0.7), (0.4, 1.0), (0.5, 1.0)), (0.03, 0.06), (1,), 0),
    "winds": ("blown", ((0.0, 0.95), (0.1, 0.9), (0.0, 0.8), (0.0, 0.6)), (0.03, 0.08), (1,), 0),
    "cello": ("blown", ((0.0, 0.1), (0.0, 0.4), (0.1, 0.7), (0.3, 0.8)), (0.04, 0.1), (1,), 0),
    "sax": ("blown", ((0.0, 0.5), (0.2, 0.9), (0.2, 0.8), (0.4, 1.0)), (0.02, 0.05), (1,), 0),
    "flute": ("blown", ((0.3, 0.9), (0.3, 0.9), (0.0, 0.4), (0.0, 0.25)), (0.03, 0.08), (1,), 0),
    "brass": ("blown", ((0.0, 0.1), (0.3, 1.0), (0.3, 0.8), (0.6, 1.0)), (0.02, 0.05), (1, 2), 10),
    "mallet": ("mallet", ((0.0, 1.0), (0.1, 0.9), (0.0, 1.0), (0, 1)), (0.001, 0.002), (1,), 0),
    "vibraphone": ("mallet", ((0.2, 0.8), (0.0, 0.2), (0.0, 0.4), (0, 1)), (0.001, 0.002), (1,), 0),
    "pad": ("subtractive", ((0.0, 0.6), (0.3, 0.7), (0.0, 0.2), (0.0, 0.3)), (0.1, 0.5), (3,), 16),
    "synth_lead": ("subtractive", ((0.0, 1.0), (0.4, 1.0), (0.0, 0.8), (0.0, 0.6)), (0.002, 0.02), (1, 2, 3), 12),
}  # fmt: skip

FAMILIES = tuple(_FAMILIES)
SUSTAINED = frozenset(
    ("organ", "accordion", "strings", "fiddle", "cello", "sax", "flute", "winds", "brass", "pad", "synth_lead",
     "synth_bass")
)  # fmt: skip


def draw_synth(family: str, rng: np.random.Generator) -> SynthSpec:
    """An instrument of ``family`` that nobody has heard before."""
    kind, knobs, attack, voices, detune = _FAMILIES[family]
    a, b, c, d = (float(rng.uniform(*knob)) for knob in knobs)
    count = int(voices[rng.integers(len(voices))])
    return SynthSpec(kind, a, b, c, d, float(rng.uniform(*attack)), count, float(rng.uniform(0.3, 1) * detune))


def synth_note(spec: SynthSpec, hertz: float, duration_s: float, velocity: float, seed: int) -> np.ndarray:
    """(n,) float32 of one note that lasts at least ``duration_s`` and rings on; its F0 is exactly ``hertz``."""
    rng = np.random.default_rng(seed)
    timbre = _TIMBRES[spec.kind](spec)
    phases = rng.uniform(0, 2 * np.pi, 1024) if spec.kind != "plucked" else rng.uniform(-0.6, 0.6, 1024)
    y = np.zeros(int(duration_s * SR), np.float32)
    for k in range(spec.voices):
        cents = (k - (spec.voices - 1) / 2) * spec.detune
        tone = harmonic_tone(hertz * 2 ** (cents / 1200), duration_s, velocity, timbre, np.roll(phases, 7 * k))
        n = min(len(y), len(tone))
        y[:n] += tone[:n]
    rise = int(spec.attack_s * SR)
    y[:rise] *= np.sin(0.5 * np.pi * np.arange(rise) / max(rise, 1)).astype(np.float32) ** 2
    if spec.kind in ("plucked", "piano"):  # finger, pick or hammer
        n = min(len(y), int(0.018 * SR))
        knock = rng.standard_normal(n) * np.exp(-np.arange(n) / (0.003 * SR))
        y[:n] += 0.08 * velocity * float(np.abs(y).max(initial=0)) * knock.astype(np.float32)
    return y


# -- drums --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KitSpec:
    """A synthesised kit. ``electronic`` kits are drum machines; ``size`` (semitones) tunes it; the rest is 0..1."""

    electronic: bool
    size: float
    damping: float
    brightness: float
    snappy: float
    click: float


def draw_kit(electronic: bool, rng: np.random.Generator) -> KitSpec:
    return KitSpec(electronic, float(rng.uniform(-4, 4)), *(float(v) for v in rng.random(4)))


def _band(noise: np.ndarray, low: float, high: float, order: int = 2) -> np.ndarray:
    return sosfilt(butter(order, [low, min(high, 0.48 * SR)], "bandpass", fs=SR, output="sos"), noise)


def _sweep(t: np.ndarray, start_hz: float, end_hz: float, fall_s: float) -> np.ndarray:
    """A sine whose frequency falls exponentially."""
    phase = end_hz * t + (start_hz - end_hz) * fall_s * (1 - np.exp(-t / fall_s))
    return np.sin(2 * np.pi * phase)


def _kick(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    base = (44 if kit.electronic else 58) * tune
    decay = (0.12 + 0.5 * (1 - kit.damping)) if kit.electronic else 0.09 + 0.12 * (1 - kit.damping)
    body = _sweep(t, base * (3 + 4 * kit.click), base, 0.012 + 0.02 * kit.snappy) * np.exp(-t / decay)
    beater = _band(noise, 1500, 3000 + 5000 * kit.brightness) * np.exp(-t / 0.004)
    return np.tanh(1.6 * body) + (0.2 + 0.9 * kit.click) * v * beater


def _snare(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    base = (175 if kit.electronic else 195) * tune
    decay = 0.05 + 0.09 * (1 - kit.damping)
    head = (
        _sweep(t, 1.5 * base, base, 0.01)
        + 0.6 * np.sin(2 * np.pi * 1.59 * base * t)
        + 0.3 * np.sin(2 * np.pi * 2.14 * base * t)
    )
    wires = _band(noise, 900, 5500 + 9000 * kit.brightness) * np.exp(-t / (0.05 + 0.14 * kit.snappy))
    return head * np.exp(-t / decay) + (0.7 + 0.7 * v) * wires


def _rim(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    modes = sum(a * np.sin(2 * np.pi * f * tune * t) for f, a in ((480, 0.5), (1130, 1.0), (1780, 0.8), (2900, 0.4)))
    return modes * np.exp(-t / 0.016) + 0.4 * _band(noise, 2000, 9000) * np.exp(-t / 0.003)


def _clap(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    gaps = (0.0, 0.009 + 0.003 * kit.snappy, 0.019 + 0.004 * kit.click)
    bursts = sum(np.where(t >= g, np.exp(-np.maximum(t - g, 0) / 0.004), 0.0) for g in gaps)
    tail = np.where(t >= 0.026, np.exp(-np.maximum(t - 0.026, 0) / (0.04 + 0.1 * (1 - kit.damping))), 0.0)
    return _band(noise, 800 * tune, 2500 + 5000 * kit.brightness) * (bursts + 0.7 * tail)


_METAL = (205.3, 304.4, 369.6, 522.7, 540.0, 800.0)


def _metal(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, decay: float, low: float) -> np.ndarray:
    """Cymbals: square waves that never agree and noise, high-passed."""
    scale = tune * (1.0 if kit.electronic else 1.7)
    squares = sum(np.sign(np.sin(2 * np.pi * f * scale * t)) for f in _METAL) / 6
    mixed = (0.75 if kit.electronic else 0.35) * squares + (0.35 if kit.electronic else 0.8) * noise
    return _band(mixed, low, 10_000 + 9_000 * kit.brightness) * np.exp(-t / decay)


def _hat(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    return _metal(kit, tune, t, noise, 0.02 + 0.04 * (1 - kit.damping) * (0.5 + v), 5500)


def _pedal_hat(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    return 0.7 * _metal(kit, 0.9 * tune, t, noise, 0.03, 4000) * np.minimum(t / 0.004, 1)


def _open_hat(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    return _metal(kit, tune, t, noise, 0.22 + 0.3 * (1 - kit.damping), 5000)


def _ride(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    ping = sum(np.sin(2 * np.pi * f * tune * t) for f in (2210, 3170, 4310, 5230, 6110)) * np.exp(-t / 0.25)
    return 0.25 * ping + 0.5 * _metal(kit, tune, t, noise, 0.6 + 0.6 * (1 - kit.damping), 4500)


def _crash(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    bloom = 1 - 0.6 * np.exp(-t / 0.02)
    return bloom * _metal(kit, 0.8 * tune, t, noise, 0.7 + 0.7 * (1 - kit.damping), 2200)


def _tom(hertz: float) -> Callable[..., np.ndarray]:
    def stroke(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
        decay = 0.12 + 0.2 * (1 - kit.damping)
        shell = _sweep(t, 1.4 * hertz * tune, hertz * tune, 0.03) + 0.3 * np.sin(2 * np.pi * 1.6 * hertz * tune * t)
        return shell * np.exp(-t / decay) + 0.3 * v * _band(noise, 1200, 6000) * np.exp(-t / 0.006)

    return stroke


def _shaker(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    return _band(noise, 4500 * tune, 12_000) * np.minimum(t / 0.012, 1) * np.exp(-np.maximum(t - 0.012, 0) / 0.022)


def _tambourine(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    jingles = sum(np.sin(2 * np.pi * f * tune * t) for f in (6210, 7350, 8420, 9760, 11_230))
    return (0.2 * jingles + _band(noise, 5000, 15_000)) * np.exp(-t / 0.07)


def _cowbell(kit: KitSpec, tune: float, t: np.ndarray, noise: np.ndarray, v: float) -> np.ndarray:
    squares = np.sign(np.sin(2 * np.pi * 540 * tune * t)) + np.sign(np.sin(2 * np.pi * 800 * tune * t))
    return _band(squares, 500, 4500) * (0.6 * np.exp(-t / 0.015) + 0.4 * np.exp(-t / 0.12))


_STROKES: dict[str, tuple[Callable[..., np.ndarray], float]] = {
    "kick": (_kick, 0.9), "snare": (_snare, 0.6), "rim": (_rim, 0.2), "clap": (_clap, 0.5), "hat": (_hat, 0.3),
    "pedal_hat": (_pedal_hat, 0.2), "open_hat": (_open_hat, 1.0), "ride": (_ride, 1.8), "crash": (_crash, 2.4),
    "tom_high": (_tom(165), 0.7), "tom_mid": (_tom(125), 0.8), "tom_low": (_tom(88), 1.0),
    "shaker": (_shaker, 0.2), "tambourine": (_tambourine, 0.4), "cowbell": (_cowbell, 0.5),
}  # fmt: skip

ROLES = tuple(_STROKES)


def synth_hit(kit: KitSpec, role: str, velocity: float, seed: int) -> np.ndarray:
    """(n,) float32 of one stroke with peak 1; seeds are round robins."""
    stroke, length_s = _STROKES[role]
    rng = np.random.default_rng(seed)
    t = np.arange(int(length_s * SR)) / SR
    tune = 2 ** ((kit.size + rng.normal(0, 0.06)) / 12)
    y = stroke(kit, tune, t, rng.standard_normal(len(t)), velocity)
    if velocity < 0.7 and role not in ("shaker", "kick"):  # soft strokes are dull
        y = sosfilt(butter(1, 2500 + 12_000 * velocity, fs=SR, output="sos"), y)
    fade = min(len(y), 600)
    y[len(y) - fade :] *= np.linspace(1, 0, fade)
    return (y / (np.abs(y).max() + 1e-9)).astype(np.float32)
