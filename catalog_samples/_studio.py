"""Instruments, a singer and a mixing desk for :mod:`_songs`: everything here turns notes into stereo stems.

Signals are float32 at 44.1 kHz; a stem is ``(2, n_samples)``. All times are seconds from the start of the track.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import fftconvolve

from stemfeatures import audio
from stemfeatures.constants import STEMS
from stemfeatures.descriptors.loudness import LoudnessMeter, integrated_loudness
from stemfeatures.training.data.singing import melody_contour

SR = 44_100
F0_HOP_S = 0.01
_FRAME_S = 0.005  # of the voice bank
_PITCH_CLASS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_CHORD = {"": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10), "m7": (0, 3, 7, 10), "5": (0, 7)}


@dataclass
class Note:
    """A pitched note."""

    start: float
    duration: float
    midi: int
    velocity: float = 1.0


@dataclass
class Song:
    """A track in the making: dry stems are added with :meth:`add`, truth is noted down beside them.

    ``beats`` : (time, place in the bar); ``f0`` : Hz every ``F0_HOP_S`` of the voice, 0 = unvoiced, or None where it is
    not known; ``lyrics`` : (start, end, words).
    """

    duration: float
    tempo: float | None = None
    metre: int | None = None
    key: str | None = None
    stems: dict[str, np.ndarray] = field(default_factory=dict)
    bass: list[Note] = field(default_factory=list)
    lyrics: list[tuple[float, float, str]] = field(default_factory=list)
    f0: np.ndarray | None = None

    @property
    def n_samples(self) -> int:
        return round(self.duration * SR)

    @property
    def beat(self) -> float:
        assert self.tempo
        return 60.0 / self.tempo

    def at(self, bar: int, beat: float = 0.0) -> float:
        """Seconds of a beat, both counted from 0."""
        assert self.metre
        return (bar * self.metre + beat) * self.beat

    def beats(self) -> list[tuple[float, int]]:
        if self.tempo is None or self.metre is None:
            return []
        n = int(np.ceil(self.duration / self.beat - 1e-9))
        return [(k * self.beat, k % self.metre + 1) for k in range(n)]

    def add(self, stem: str, y: np.ndarray, *, level: float | None, pan: float = 0.0, room: float = -18.0) -> None:
        """Put a mono part (``n_samples`` long) on the stage.

        ``level`` in dB RMS (None: as it is), ``pan`` from -1 to 1, ``room`` in dB relative to the direct sound.
        """
        rng = np.random.default_rng([len(y), round(1000 * (pan + 2)), STEMS.index(stem)])
        if level is not None:
            y = y * np.float32(10 ** (level / 20) / max(_active_rms(y), 1e-9))
        n = round(0.4 * SR)
        tail = rng.standard_normal((2, n)) * np.exp(-6.9 * np.arange(n) / n)
        tail = uniform_filter1d(tail, 5, axis=1)  # darker than the direct sound
        tail *= 10 ** (room / 20) / np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
        tail[:, : round(0.008 * SR)] = 0.0
        wet = fftconvolve(y[None], tail, axes=1)[:, : len(y)]
        angle = (pan + 1) * np.pi / 4
        placed = np.sqrt(2) * np.outer([np.cos(angle), np.sin(angle)], y) + wet
        self.stems[stem] = self.stems.get(stem, np.zeros((2, self.n_samples))) + placed

    def master(self, loudness: float = -14.0, ceiling_db: float = -2.0) -> None:
        """Bring the mixture to a loudness in LUFS with its true peaks under a ceiling.

        One gain curve for all stems, so that they still sum to the mixture.
        """
        for _ in range(4):  # the limiter takes loudness away again
            mixture = self.mixture()
            gain = 10 ** ((loudness - measure(mixture)[0]) / 20)
            between = np.abs(audio.resample(mixture, SR, 4 * SR)).max(axis=0).reshape(-1, 4).max(axis=1)
            peak = gain * maximum_filter1d(between, round(0.006 * SR))
            limit = np.minimum(1.0, 10 ** (ceiling_db / 20) / np.maximum(peak, 1e-9))
            smooth = uniform_filter1d(limit, round(0.006 * SR))
            self.stems = {name: y * (gain * smooth) for name, y in self.stems.items()}
        edge = np.ones(self.n_samples)  # 5 ms in, 150 ms out
        edge[: round(0.005 * SR)] = np.linspace(0, 1, round(0.005 * SR))
        edge[-round(0.15 * SR) :] = np.linspace(1, 0, round(0.15 * SR))
        self.stems = {name: (y * edge).astype(np.float32) for name, y in self.stems.items()}

    def mixture(self) -> np.ndarray:
        return np.asarray(np.sum(list(self.stems.values()), axis=0), np.float32)


def measure(y: np.ndarray) -> tuple[float, float]:
    """Integrated loudness in LUFS and true peak in dB of ``(2, n)``."""
    meter = LoudnessMeter(SR, len(y))
    meter.update(np.asarray(y, np.float32))
    return integrated_loudness(meter.step_power) or -99.0, 20 * np.log10(max(meter.true_peak, 1e-9))


def _active_rms(y: np.ndarray) -> float:
    """RMS over the tenths of a second that are less than 30 dB below the loudest."""
    power = np.mean(np.square(y[: len(y) // 4410 * 4410].reshape(-1, 4410)), axis=1)
    return float(np.sqrt(power[power > 1e-3 * power.max()].mean())) if power.any() else 0.0


# ------------------------------------------------------------------------------------------------------- sources


class Sources:
    """The recordings, by their path in the training data; notes which were used."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.used = data_dir, set[str]()
        self._cache: dict[str, np.ndarray] = {}

    def path(self, name: str) -> Path:
        self.used.add(name)
        return self.data_dir / name

    def sound(self, name: str, rate: float = 1.0) -> np.ndarray:
        """A recording as mono at 44.1 kHz, played ``rate`` times as fast."""
        if name not in self._cache:
            self._cache[name] = audio.load(self.path(name), sample_rate=SR, mono=True)[0]
        y = self._cache[name]
        return y if rate == 1.0 else audio.resample(y, round(SR * rate), SR)

    def instrument(self, folder: str, pattern: str) -> dict[int, str]:
        """``{midi: path}`` of the notes whose file name matches; the name ends in the pitch (octave as in C4 = 60)."""
        notes = {}
        for path in sorted((self.data_dir / folder).glob("*.opus")):
            if m := re.fullmatch(pattern, path.stem):
                midi = _PITCH_CLASS[m["note"][0]] + ("s" in m["note"])
                octave = m.groupdict().get("octave")
                # The bass names no octaves: it is one octave from E1 up.
                midi = 12 * (int(octave) + 1) + midi if octave else 28 + (midi - 4) % 12
                notes[midi] = f"{folder}/{path.name}"
        return notes


def midi(name: str) -> int:
    """MIDI number of a note such as ``F#4``."""
    return 12 * (int(name[-1]) + 1) + _PITCH_CLASS[name[0]] + name.count("#")


def chord(name: str) -> tuple[int, ...]:
    """Pitch classes of a chord such as ``F#m7``, root first."""
    m = re.fullmatch(r"([A-G]#?)(m7|m|7|5|)", name)
    assert m
    return tuple((midi(m[1] + "0") + i) % 12 for i in _CHORD[m[2]])


def above(low: int, pitch_class: int) -> int:
    return low + (pitch_class - low) % 12


# ------------------------------------------------------------------------------------------------------- playing


def place(out: np.ndarray, y: np.ndarray, at: float) -> None:
    start = round(at * SR)
    if start < len(out):
        part = y[max(0, -start) : len(out) - start]
        out[max(0, start) : max(0, start) + len(part)] += part


def play(song: Song, sources: Sources, notes: list[Note], instrument: dict[int, str], release: float) -> np.ndarray:
    """Notes on the nearest recorded pitch, resampled by the rest of the way."""
    out = np.zeros(song.n_samples, np.float32)
    for note in notes:
        nearest = min(instrument, key=lambda m: (abs(m - note.midi), m))
        y = sources.sound(instrument[nearest], 2 ** ((note.midi - nearest) / 12))
        onset = int(np.argmax(np.abs(y) > 0.05 * np.abs(y).max()))
        y = y[max(0, onset - 200) : max(0, onset - 200) + round((note.duration + 5 * release) * SR)]
        y = y * np.float32(0.1 * note.velocity / max(_active_rms(y), 1e-9))
        t = np.arange(len(y)) / SR
        y = y * np.exp(-np.maximum(t - note.duration, 0) / release) * np.minimum((t[-1] - t) / 0.01, 1)
        place(out, y.astype(np.float32), note.start)
    return out


def strike(song: Song, sources: Sources, hits: list[tuple[float, str, float]], rng: np.random.Generator) -> np.ndarray:
    """``(time, file, velocity)``, each a little off the grid as a hand would be."""
    out = np.zeros(song.n_samples, np.float32)
    for time, name, velocity in hits:
        y = sources.sound(name)
        place(out, y * np.float32(velocity / np.abs(y).max()), max(0.0, time + rng.normal(0, 0.003)))
    return out


def loop(
    song: Song,
    sources: Sources,
    name: str,
    beats: float,
    *,
    begin: float = 0.0,
    end: float,
    length: float | None = None,
) -> np.ndarray:
    """A loop that lasts ``beats``, fitted to the song's tempo and repeated from ``begin`` to ``end``.

    ``length`` is the part of the recording in seconds that is those beats; None takes all of it but the 20 ms that
    the encoder padded.
    """
    y = sources.sound(name)
    length = len(y) / SR - 0.02 if length is None else length
    y = sources.sound(name, length / (beats * song.beat))[: round(beats * song.beat * SR)]
    fade = np.minimum(1, np.arange(len(y))[::-1] / 200)
    out = np.zeros(song.n_samples, np.float32)
    for at in np.arange(begin, end - 1e-6, beats * song.beat):
        place(out, (y * fade)[: round((end - at) * SR)], at)
    return out


# ------------------------------------------------------------------------------------------------------- singing


class Singer:
    """Sings lines of a voice bank on given notes; F0 is exact. See :mod:`stemfeatures.training.data.singing`."""

    def __init__(self, sources: Sources, name: str, *, seed: int) -> None:
        with np.load(sources.path(f"vocals/singbank/{name}.npz"), allow_pickle=False) as stored:
            self.bank = dict(stored)
        self.lines = [str(line) for line in self.bank["lines"]]
        self.rng = np.random.default_rng(seed)

    def sing(self, song: Song, out: np.ndarray, start: float, words: str, melody: str) -> None:
        """Add a line to ``out`` and to the truth. ``melody``: a note a syllable, ``F#4:1.5`` = pitch:beats."""
        import pyworld

        bank, line = self.bank, self.lines.index(words)
        tokens = slice(*bank["token_start"][line : line + 2])
        frames = slice(*bank["line_start"][line : line + 2])
        nucleus = bank["token_class"][tokens] == "nu"
        natural = bank["token_duration"][tokens] * float(bank["duration_unit_s"])
        begin = np.maximum(np.cumsum(natural) - natural - float(bank["lag_s"]), 0.0)
        notes = [(midi(n), float(b) * song.beat) for n, b in (item.split(":") for item in melody.split())]
        first, last = np.flatnonzero(nucleus)[[0, -1]]
        if len(notes) != nucleus.sum():
            raise ValueError(f"{words!r} has {nucleus.sum()} syllables, its melody {len(notes)} notes")
        # Vowels begin on their beats; the consonants before the next one take their time from the end of the vowel.
        stretched = natural.copy()
        index = np.flatnonzero(nucleus)
        for k, (_, length) in enumerate(notes):
            following = natural[index[k] + 1 : index[k + 1]] if k + 1 < len(index) else np.zeros(1)
            stretched[index[k]] = max(length - float(following.sum()), 0.06)
        target = np.append(0.0, np.cumsum(stretched))
        onsets = target[:-1][nucleus]
        origin = round((start - onsets[0]) / _FRAME_S) * _FRAME_S
        times = np.arange(0.0, target[-1], _FRAME_S)
        source = np.interp(times, target, np.append(begin, begin[-1] + natural[-1])) / _FRAME_S
        f0_natural = bank["f0"][frames]
        source = np.clip(source, 0, len(f0_natural) - 1.001)
        low, part = source.astype(int), (source % 1)[:, None]
        envelope, aperiodicity = (
            a[low] * (1 - part) + a[low + 1] * part
            for a in (bank[k][frames].astype(float) for k in ("spectral_envelope", "aperiodicity"))
        )
        vowel = nucleus[np.clip(np.searchsorted(target, times, "right") - 1, 0, len(nucleus) - 1)]
        aperiodicity[vowel] = np.minimum(
            aperiodicity[vowel], np.minimum(np.median(aperiodicity[vowel], axis=0) + 3, -0.5)
        )
        pitch = melody_contour(times, onsets, np.array([n for n, _ in notes], float), self.rng)
        voiced = (f0_natural[np.round(source).astype(int)] > 0) | vowel
        f0 = np.where(voiced, 440.0 * 2 ** ((pitch - 69) / 12), 0.0)
        rate = int(bank["sample_rate"])
        n_fft = pyworld.get_cheaptrick_fft_size(rate, 71.0)
        spectrum = pyworld.decode_spectral_envelope(np.ascontiguousarray(envelope), rate, n_fft)
        noise = pyworld.decode_aperiodicity(np.ascontiguousarray(aperiodicity), rate, n_fft)
        y = pyworld.synthesize(f0, spectrum, noise, rate, _FRAME_S * 1000)
        place(out, audio.resample(y.astype(np.float32), rate, SR), origin)
        if song.f0 is None:
            song.f0 = np.zeros(int(song.duration / F0_HOP_S) + 1)
        grid = np.arange(len(song.f0)) * F0_HOP_S
        frame = np.round((grid - origin) / _FRAME_S).astype(int)
        inside = (frame >= 0) & (frame < len(f0))
        song.f0[inside] = f0[frame[inside]]
        song.lyrics.append((origin + float(target[first]), origin + float(target[last + 1]), words))
