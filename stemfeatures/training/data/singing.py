"""Sung lines from a bank of WORLD parameters, on random melodies, with exact F0.

The bank holds lines of lyrics as spectral envelopes, aperiodicities and phones with durations (Morise et al. 2016
describe WORLD). A line is sung by stretching its vowels, keeping its consonants, and imposing a melody with glides,
vibrato and jitter; :mod:`pyworld` synthesises it. Needs the ``train`` extra.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import HOP_LENGTH

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))


def random_melody(n_notes: int, centre: float, rng: np.random.Generator) -> np.ndarray:
    """MIDI pitches of a random walk on a random scale around ``centre``."""
    scale = np.array(_SCALES[rng.integers(len(_SCALES))])
    degrees = np.add.outer(12 * np.arange(-2, 3), scale).ravel() + rng.integers(12)
    grid = np.sort(degrees + 12 * np.round((centre - degrees.mean()) / 12))
    place = int(np.argmin(np.abs(grid - centre))) + int(rng.integers(-2, 3))
    steps = rng.choice(
        [-4, -3, -2, -1, 0, 1, 2, 3, 4], n_notes, p=[0.02, 0.05, 0.13, 0.22, 0.16, 0.22, 0.13, 0.05, 0.02]
    )
    home, notes = place, []
    for step in steps:
        place += int(step)
        if abs(place - home) > 5:
            place -= 2 * int(np.sign(place - home))
        notes.append(grid[np.clip(place, 0, len(grid) - 1)])
    return np.array(notes)


def melody_contour(times: np.ndarray, onsets: np.ndarray, notes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """MIDI pitch at ``times``: notes joined by sigmoid glides, with scoops, delayed vibrato, drift and jitter."""
    pitch = np.full(len(times), notes[0], float)
    glide = rng.uniform(0.03, 0.12)
    for k in range(1, len(notes)):
        pitch += (notes[k] - notes[k - 1]) / (1 + np.exp(-np.clip((times - onsets[k]) / (glide / 5), -30, 30)))
    rate, depth, delay = rng.uniform(4.5, 6.8), rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.35)
    ends = np.append(onsets[1:], times[-1])
    for start, end in zip(onsets, ends):
        inside = (times >= start) & (times < end)
        if rng.random() < 0.3:
            pitch -= inside * rng.uniform(0.3, 2.0) * np.exp(-np.maximum(times - start, 0) / rng.uniform(0.03, 0.09))
        if end - start > 0.3 and rng.random() < 0.6:
            swell = np.clip((times - start - delay) / 0.25, 0, 1) * np.clip((end - times) / 0.08, 0, 1) * inside
            pitch += swell * depth * np.sin(2 * np.pi * rate * (times - start))
    for width, size in ((160, 0.08), (9, 0.02)):
        noise = np.convolve(rng.standard_normal(len(times) + 2 * width), np.hanning(width), "same")[width:-width]
        pitch += size * noise / (noise.std() + 1e-9)
    return pitch


def sing_line(bank: dict, line: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sing one line: ``(samples at 22,050 Hz, f0 in Hz every HOP_LENGTH samples, 0 = unvoiced)``."""
    import pyworld
    import soxr

    rate, period = int(bank["sample_rate"]), float(bank["frame_period_s"])
    tokens = slice(*bank["token_start"][line : line + 2])
    frames = slice(*bank["line_start"][line : line + 2])
    classes = bank["token_class"][tokens]
    duration = bank["token_duration"][tokens] * float(bank["duration_unit_s"])
    begin = np.maximum(np.cumsum(duration) - duration - float(bank["lag_s"]), 0.0)
    nucleus = classes == "nu"
    stretched = duration.copy()
    tempo = rng.uniform(0.8, 2.2)
    stretched[nucleus] *= tempo * rng.choice([0.7, 1.0, 1.0, 1.6, 2.6], nucleus.sum())
    target = np.append(0.0, np.cumsum(stretched))
    times = np.arange(0.0, target[-1], period)
    source = np.interp(times, target, np.append(begin, begin[-1] + duration[-1])) / period

    envelope = bank["spectral_envelope"][frames].astype(float)
    aperiodicity = bank["aperiodicity"][frames].astype(float)
    natural = bank["f0"][frames].astype(float)
    source = np.clip(source, 0, len(natural) - 1.001)
    low, weight = source.astype(int), (source % 1)[:, None]
    voiced = natural[np.round(source).astype(int)] > 0
    in_vowel = nucleus[np.clip(np.searchsorted(target, times, "right") - 1, 0, len(classes) - 1)]
    envelope = envelope[low] * (1 - weight) + envelope[low + 1] * weight
    aperiodicity = aperiodicity[low] * (1 - weight) + aperiodicity[low + 1] * weight
    # D4C calls creaky frames fully aperiodic, which would turn to noise under an imposed F0.
    if in_vowel.any():
        ceiling = np.minimum(np.median(aperiodicity[in_vowel], axis=0) + 3.0, -0.5)
        aperiodicity[in_vowel] = np.minimum(aperiodicity[in_vowel], ceiling)

    centre = 69 + 12 * np.log2(np.median(natural[natural > 0]) / 440.0) + rng.uniform(-3.0, 9.0)
    onsets = target[:-1][nucleus]
    pitch = melody_contour(times, onsets, random_melody(len(onsets), centre, rng), rng)
    f0 = np.where(voiced, 440.0 * 2 ** ((pitch - 69) / 12), 0.0)

    n_fft = pyworld.get_cheaptrick_fft_size(rate, 71.0)
    spectrum = pyworld.decode_spectral_envelope(np.ascontiguousarray(envelope), rate, n_fft)
    noise = pyworld.decode_aperiodicity(np.ascontiguousarray(aperiodicity), rate, n_fft)
    bins = np.arange(spectrum.shape[1])
    formant = rng.uniform(0.88, 1.15)
    position = np.clip(bins / formant, 0, len(bins) - 1.001)
    left, fraction = position.astype(int), position % 1
    spectrum = spectrum[:, left] * (1 - fraction) + spectrum[:, left + 1] * fraction
    hertz = np.maximum(bins * rate / n_fft, 100.0)
    tilt = rng.uniform(-1.5, 2.5) * np.log2(hertz / 1000.0) + rng.uniform(0, 8) * np.exp(-(((hertz - 2900) / 500) ** 2))
    spectrum = spectrum * 10 ** (tilt / 10)
    y = pyworld.synthesize(f0, np.ascontiguousarray(spectrum), np.ascontiguousarray(noise), rate, period * 1000)
    y = soxr.resample(y, rate, SR).astype(np.float32)
    n_frames = 1 + len(y) // HOP_LENGTH
    nearest = np.clip(np.round(np.arange(n_frames) * HOP_LENGTH / SR / period).astype(int), 0, len(f0) - 1)
    return 0.5 * y / max(float(np.abs(y).max()), 1e-6), f0[nearest].astype(np.float32)


def sing_bank_file(path: str, root: str, renditions: int, seed: int) -> list:
    """Every line of one singer, ``renditions`` times; the melodies depend on the seed and the file name alone."""
    from .bank import Sound

    with np.load(path, allow_pickle=False) as stored:
        bank = dict(stored)
    name = str(Path(path).relative_to(root))
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    sounds = []
    for line in range(len(bank["lines"])):
        for take in range(renditions):
            y, f0 = sing_line(bank, line, rng)
            row: dict[str, Any] = {
                "path": name,
                "class": "vocals",
                "source": "singbank",
                "licence": "own",
                "kind": "phrase",
            }
            row |= {"role": f"{line:03d}-{take}", "song": "", "pitch_hz": float("nan"), "named_midi": -1}
            sounds.append(Sound(row | {"octave_known": False}, y, f0))
    return sounds
