"""Songs whose stems are at hand, as far as mixing their parts needs: where they sound, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from stemfeatures.audio import resample
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, STEMS
from stemfeatures.datasets.annotations import Annotations
from stemfeatures.datasets.multitrack import find_audio
from stemfeatures.datasets.stem_folders import TRUTH_FILE
from stemfeatures.datasets.truth_json import read_truth_json
from stemfeatures.errors import CatalogError
from stemfeatures.vectors.columns import encode_key

#: A mode's place on the circle of fifths less that of the major key on the same tonic.
_MODES = {"major": 0, "mixolydian": -1, "dorian": -2, "minor": -3, "phrygian": -4, "lydian": 1}
_MINOR = ("minor", "dorian", "phrygian")
_SHARPS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#"}
#: Audio is looked at in steps of this; one counts as sounding above this level below the loudest of its stem.
STEP_S, FLOOR_DB = 0.5, 30.0


@dataclass(frozen=True)
class StemSong:
    """A folder with stems.

    Attributes
    ----------
    folder : where ``vocals.flac`` and so on are (any usual suffix).
    duration_s : of its shortest stem.
    sounding : by stem, (n,) share of each ``STEP_S`` in which it sounds, 0 to 1; only the stems that are there.
    bpm, fifths, minor : tempo, key signature on the circle of fifths, minor third; None where nobody says.
    downbeats_s : where bars begin; every second where nobody says.
    """

    folder: Path
    duration_s: float
    sounding: dict[str, np.ndarray]
    downbeats_s: np.ndarray
    bpm: float | None = None
    fifths: float | None = None
    minor: bool | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    def coverage(self, stem: str, start_s: float, seconds: float) -> float:
        """Share of a window in which the stem sounds; 0 where it has none."""
        steps = self.sounding.get(stem, np.zeros(0))[round(start_s / STEP_S) : round((start_s + seconds) / STEP_S)]
        return float(steps.sum() / (seconds / STEP_S))

    def starts(self, seconds: float) -> np.ndarray:
        """The downbeats at which a window of so many seconds fits."""
        return self.downbeats_s[self.downbeats_s + seconds <= self.duration_s - 0.05]

    @property
    def annotations(self) -> Annotations:
        return read_truth_json(self.folder / TRUTH_FILE)


def read_song(folder: Path, *, stems: Sequence[str] = STEMS) -> StemSong:
    """Look at a folder with stems. Raises CatalogError when there are none, or its truth cannot be read."""
    paths = {stem: path for stem in stems if (path := find_audio(folder, stem)) is not None}
    if not paths:
        raise CatalogError(f"no stems; expected any of {', '.join(stems)} as audio files", source=str(folder))
    seconds = min(soundfile.info(path).duration for path in paths.values())
    every_second = np.arange(0.0, seconds)
    if not (folder / TRUTH_FILE).is_file():
        return StemSong(folder, seconds, {stem: _heard(path) for stem, path in paths.items()}, every_second)
    known = read_truth_json(folder / TRUTH_FILE)
    sounding = {stem: _played(known, stem, seconds) for stem in paths}
    downbeats = every_second
    if known.beats is not None:
        downbeats = known.beats.beats_s[known.beats.beat_positions == 1]
    fifths, minor = key_place(known.key)
    bpm = known.choices.get("tempo_bpm")
    return StemSong(folder, seconds, sounding, downbeats, None if bpm is None else float(bpm), fifths, minor)


def key_place(key: str | None) -> tuple[float | None, bool | None]:
    """Place of the key signature on the circle of fifths (C major and D dorian: 0), and whether the third is minor.

    >>> key_place("Bb:dorian")
    (8.0, True)
    """
    tonic, _, mode = (key or "").partition(":")
    place, _ = encode_key(f"{_SHARPS.get(tonic, tonic)}:major")
    if mode not in _MODES or np.isnan(place):
        return None, None
    return (place + _MODES[mode]) % 12, mode in _MINOR


def _played(known: Annotations, stem: str, seconds: float) -> np.ndarray:
    """What the notes say."""
    fine = np.zeros(int(seconds / 0.05) + 1)
    if (notes := known.notes.get(stem)) is not None:
        # A stroke rings a little: a drum's note has no length of its own.
        for start, end in zip(notes.start_s, np.maximum(notes.end_s, notes.start_s + 0.25)):
            fine[int(start / 0.05) : int(end / 0.05)] = 1
    return _means(fine, round(STEP_S / 0.05))


def _heard(path: Path) -> np.ndarray:
    """What the level says."""
    y, rate = soundfile.read(path, dtype="float32", always_2d=True)
    power = _means((y**2).mean(axis=1), round(STEP_S * rate))
    return (power > power.max() * 10 ** (-FLOOR_DB / 10)).astype(float) if power.max() > 1e-9 else np.zeros(len(power))


def _means(x: np.ndarray, step: int) -> np.ndarray:
    whole = len(x) // step
    return x[: whole * step].reshape(whole, step).mean(axis=1)


def read_excerpt(song: Path, stem: str, start_s: float, seconds: float, *, speed: float = 1.0) -> np.ndarray:
    """``seconds`` of a stem from ``start_s`` on: mono float32 at 22,050 Hz, played ``speed`` times as fast, as a tape
    would (pitch follows)."""
    path = find_audio(song, stem)
    if path is None:
        raise CatalogError(f"no {stem}", source=str(song))
    y, rate = _window(path, start_s, seconds * speed + 0.1)
    n = round(seconds * ANALYSIS_SAMPLE_RATE)
    y = resample(y, round(rate * speed), ANALYSIS_SAMPLE_RATE)[:n]
    return np.pad(y, (0, n - len(y)))


@lru_cache(maxsize=16)
def _window(path: Path, start_s: float, seconds: float) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(path) as file:
        file.seek(min(round(start_s * file.samplerate), file.frames))
        y = file.read(round(seconds * file.samplerate), dtype="float32", always_2d=True)
        return y.mean(axis=1), file.samplerate
