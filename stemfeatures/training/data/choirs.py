"""Mixtures in which several voices sing, with exact pitches, as the network of voices hears them.

What sounds is put together of generated songs: the accompaniment of one, and with it its own vocals, or lines of others
that have one singer each, or phrases of recorded singers. Lines of several singers differ in level, and some of them
sing in a part of the excerpt only. Instrumentals are among the excerpts, and single voices: most of what the network
hears later has no second one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import torch

from ...audio import resample
from ...constants import ANALYSIS_SAMPLE_RATE, FRAME_RATE, HOP_LENGTH, N_FFT, PITCHED_STEMS, STEMS
from ...errors import DatasetError
from ...frames.measures import pitch_candidates
from ...generator.sing.recording_bank import RecordingBank
from ...generator.sing.voicebank import PERIOD_S, SAMPLE_RATE
from ...inference.front_end import FrontEnd
from ...inference.segments import Frames, SegmentRunner, SegmentTrack
from ...models.joint import JointNet
from ...models.voices import candidate_planes, voice_features
from ...spectra.streaming import OverlapAdder
from ...spectra.thirds import LONG_WINDOW, thirds
from .heard_notes import true_voices

#: Length of an excerpt.
EXCERPT_S = 20.0
#: Shares of excerpts: instrumentals, and songs with their own vocals; the others have vocals put together.
INSTRUMENTAL, AS_IT_IS = 0.1, 0.35
#: How many lines are put together, and how likely each number is.
LINES, LINES_P = (1, 2, 3), (0.3, 0.5, 0.2)
#: Share of recorded lines; of further lines that sing in a part only; of excerpts without an accompaniment.
RECORDED, IN_PART, ALONE = 0.4, 0.3, 0.08
#: dB of the first line against the accompaniment, and of further ones against the first.
FIRST_DB, FURTHER_DB = (-6.0, 6.0), (-9.0, 2.0)
#: Seconds between phrases of a recorded line; the shortest phrase that is taken.
REST_S, SHORTEST_S = (0.05, 1.2), 0.7
#: Least voiced share of a line that is taken, of so many that are tried.
_LEAST_VOICED, _TRIED = 0.15, 6
_SAMPLES = round(EXCERPT_S * ANALYSIS_SAMPLE_RATE)
_FRAMES = 1 + _SAMPLES // HOP_LENGTH


@dataclass(frozen=True)
class Choir:
    """An excerpt as the network of voices hears it.

    Attributes
    ----------
    features : np.ndarray
        (n_frames, N_FEATURES) float16 of :func:`stemfeatures.models.voices.voice_features`.
    midi, salience : np.ndarray
        (n_frames, n_candidates) candidates of the pitch of the separated vocals.
    voicing : np.ndarray
        (n_frames,) probability of a pitch.
    voices : np.ndarray
        (n_voices, n_frames) true pitches (MIDI), NaN where a voice is silent.
    """

    features: np.ndarray
    midi: np.ndarray
    salience: np.ndarray
    voicing: np.ndarray
    voices: np.ndarray

    @property
    def planes(self) -> np.ndarray:
        """(N_PLANES, n_frames, N_SUNG) of the candidates."""
        return candidate_planes(self.midi, self.salience, self.voicing)


class _Song:
    """A folder of ``stemfeatures generate``, read as it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = soundfile.info(folder / "mixture.flac")
        self.rate, self.length = about.samplerate, about.duration

    @cached_property
    def truth(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "truth.json").read_text())
        return {"f0": found["f0"]}

    def voices(self, start_s: float) -> np.ndarray:
        """(n_voices, _FRAMES) MIDI from a second on."""
        first = round(start_s * FRAME_RATE)
        return true_voices(self.truth, first + _FRAMES)[:, first:]

    def signal(self, stems: Sequence[str], start_s: float) -> np.ndarray:
        """(_SAMPLES,) float32 sum of stems from a second on."""
        first, total = round(start_s * self.rate), np.zeros(0, np.float32)
        for stem in stems:
            stop = first + round(EXCERPT_S * self.rate)
            y, _ = soundfile.read(self.folder / f"{stem}.flac", start=first, stop=stop, always_2d=True, dtype="float32")
            total = y.mean(axis=1) + (total if len(total) else 0)
        return _of_length(resample(total, self.rate, ANALYSIS_SAMPLE_RATE))

    def anywhere(self, random: np.random.Generator) -> float:
        """Second at which an excerpt begins, on a frame."""
        return int(random.uniform(0, self.length - EXCERPT_S) * FRAME_RATE) / FRAME_RATE


class ChoirSource:
    """Draws excerpts.

    Parameters
    ----------
    songs, instrumentals : sequence of Path
        Folders of generated songs.
    recordings : Path, optional
        Bank of recorded phrases; generated singers alone without one.

    Raises
    ------
    DatasetError
        No song is long enough, or none has one singer alone.
    """

    def __init__(self, songs: Sequence[Path], instrumentals: Sequence[Path], recordings: Path | None = None) -> None:
        self._songs, self._instrumentals = _songs(songs), _songs(instrumentals)
        self._solos = [song for song in self._songs if len(song.voices(0.0)) == 1]
        if not self._solos:
            message = f"no song of {EXCERPT_S:g} s has one singer alone"
            raise DatasetError(message, source=str(songs[0]), stage="train")
        self._bank = None if recordings is None else RecordingBank(recordings)
        self._voices = [] if self._bank is None else sorted(self._bank.by_voice)

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """An excerpt.

        Parameters
        ----------
        random : np.random.Generator
            Decides all of it.

        Returns
        -------
        mixture : np.ndarray
            (n_samples,) at 22,050 Hz.
        voices : np.ndarray
            (n_voices, n_frames) MIDI, NaN where a voice is silent.
        """
        kind = random.random()
        instrumental = kind < INSTRUMENTAL and bool(self._instrumentals)
        pool = self._instrumentals if instrumental else self._songs
        song = pool[random.integers(len(pool))]
        start = song.anywhere(random)
        rest = song.signal([stem for stem in STEMS if stem != "vocals"], start)
        if instrumental or kind < INSTRUMENTAL + AS_IT_IS:
            vocals, voices = song.signal(["vocals"], start), song.voices(start)
        else:
            level = _level(rest) * 10 ** (random.uniform(*FIRST_DB) / 20)
            vocals, voices = self._together(random, max(level, 1e-3))
            rest = rest * (random.random() >= ALONE)
        mixture = rest + vocals
        return (mixture / max(float(np.abs(mixture).max()), 1e-6) * 0.7).astype(np.float32), voices

    def _together(self, random: np.random.Generator, level: float) -> tuple[np.ndarray, np.ndarray]:
        total, voices = np.zeros(_SAMPLES, np.float32), []
        for k in range(random.choice(LINES, p=LINES_P)):
            recorded = bool(self._voices) and random.random() < RECORDED
            y, midi = self._recorded(random) if recorded else self._generated(random)
            gain = level / max(_level(y), 1e-5) * (10 ** (random.uniform(*FURTHER_DB) / 20) if k else 1.0)
            if k and random.random() < IN_PART:
                edge, after = int(random.integers(_FRAMES)), random.random() < 0.5
                sings = (np.arange(_FRAMES) >= edge) == after
                y = y * ((np.arange(_SAMPLES) >= edge * HOP_LENGTH) == after)
                midi = np.where(sings, midi, np.nan)
            total += np.float32(gain) * y
            voices.append(midi)
        return total, np.array(voices, np.float32)

    def _generated(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples and MIDI of a line of a song with one singer."""
        for _ in range(_TRIED):
            song = self._solos[random.integers(len(self._solos))]
            start = song.anywhere(random)
            midi = song.voices(start)[0]
            if np.isfinite(midi).mean() >= _LEAST_VOICED:
                break
        return song.signal(["vocals"], start), midi

    def _recorded(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples and MIDI of phrases of one recorded singer, one after the other."""
        assert self._bank is not None
        y, hertz = np.zeros(_SAMPLES, np.float32), np.zeros(_FRAMES)
        phrases = self._bank.by_voice[self._voices[random.integers(len(self._voices))]]
        at = int(random.uniform(0, 3) * ANALYSIS_SAMPLE_RATE)
        while at < _SAMPLES - ANALYSIS_SAMPLE_RATE // 2:
            number = phrases[random.integers(len(phrases))]
            found = self._bank.recording(number).samples
            phrase = resample(np.asarray(found, np.float32), SAMPLE_RATE, ANALYSIS_SAMPLE_RATE)
            own = self._bank.f0(number)
            if len(phrase) >= SHORTEST_S * ANALYSIS_SAMPLE_RATE:
                part = slice(at, min(at + len(phrase), _SAMPLES))
                y[part] = phrase[: part.stop - at] * (0.1 / max(_level(phrase), 1e-6))
                frames = np.arange(-(-part.start // HOP_LENGTH), (part.stop - 1) // HOP_LENGTH + 1)
                seconds = frames * HOP_LENGTH / ANALYSIS_SAMPLE_RATE - at / ANALYSIS_SAMPLE_RATE
                hertz[frames] = own[np.clip(np.rint(seconds / PERIOD_S).astype(int), 0, len(own) - 1)]
            at += len(phrase) + int(random.uniform(*REST_S) * ANALYSIS_SAMPLE_RATE)
        return y, np.where(hertz > 0, 69 + 12 * np.log2(np.maximum(hertz, 1.0) / 440.0), np.nan)


def _songs(folders: Sequence[Path]) -> list[_Song]:
    found = [_Song(path.parent) for folder in folders for path in sorted(folder.glob("**/truth.json"))]
    return [song for song in found if song.length > EXCERPT_S + 1]


def _of_length(y: np.ndarray) -> np.ndarray:
    return np.pad(y, (0, max(0, _SAMPLES - len(y))))[:_SAMPLES].astype(np.float32)


def _level(y: np.ndarray) -> float:
    """Root of the mean square of what sounds."""
    sounds = y[np.abs(y) > 1e-4]
    return float(np.sqrt(np.mean(np.square(sounds, dtype=np.float64)))) if len(sounds) else 0.0


class _Hearing:
    """Collects of a track what the network of voices is told."""

    def __init__(self) -> None:
        self._adder = OverlapAdder(2, N_FFT, HOP_LENGTH)
        self._parts: list[torch.Tensor] = []
        self._pitch: list[list[np.ndarray]] = []

    def add(self, frames: Frames) -> None:
        """Take further frames, in order."""
        row, mask = PITCHED_STEMS.index("vocals"), frames.masks[STEMS.index("vocals")]
        vocals = frames.spectrum * torch.cat([mask, mask[-1:]])
        self._parts.append(self._adder.push(torch.stack([vocals, frames.spectrum])))
        hertz, salience = pitch_candidates(frames.salience[row])
        midi = 69 + 12 * np.log2(hertz.numpy().astype(np.float64) / 440.0)
        self._pitch.append([midi, salience.numpy(), frames.voicing[row].numpy()])

    def finish(self, n_samples: int, voices: np.ndarray) -> Choir:
        """The excerpt, of which the voices are known."""
        self._parts.append(self._adder.finish(n_samples))
        signals = torch.cat(self._parts, dim=1).numpy()
        midi, salience, voicing = (np.concatenate(part) for part in zip(*self._pitch))
        n = len(midi)
        (fine, coarse), (mixture, _) = (
            thirds(np.pad(y, (LONG_WINDOW // 2, LONG_WINDOW // 2 + HOP_LENGTH)), n) for y in signals
        )
        features = voice_features(fine, coarse, mixture).astype(np.float16)
        known = np.pad(voices, ((0, 0), (0, max(0, n - voices.shape[1]))), constant_values=np.nan)[:, :n]
        return Choir(features, midi, salience, voicing, known)


@torch.inference_mode()
def hear_choir(network: JointNet, mixture: np.ndarray, voices: np.ndarray) -> Choir:
    """What is heard of a mixture.

    Parameters
    ----------
    network : JointNet
        The separator.
    mixture : np.ndarray
        (n_samples,) at 22,050 Hz.
    voices : np.ndarray
        (n_voices, n_frames) true pitches (MIDI), NaN where a voice is silent.

    Returns
    -------
    Choir
        With these voices.
    """
    hearing, runner = _Hearing(), SegmentRunner(network)
    front_end = FrontEnd(ANALYSIS_SAMPLE_RATE, runner, SegmentTrack(hearing.add))
    front_end.push(mixture[None].astype(np.float32))
    front_end.finish()
    runner.flush()
    return hearing.finish(front_end.n_samples, voices)


def hear_choirs(source: ChoirSource, network: JointNet, n: int, seed: int) -> Iterator[Choir]:
    """Excerpts.

    Parameters
    ----------
    source : ChoirSource
        Where they are drawn from.
    network : JointNet
        The separator.
    n : int
        How many.
    seed : int
        Of what is drawn; those of a seed are the same whatever comes before.

    Yields
    ------
    Choir
        One after the other.
    """
    for k in range(n):
        yield hear_choir(network, *source.draw(np.random.default_rng([seed, k])))
