"""A bank of sung and spoken phrases, cut once from a folder of recordings.

::

    <bank>/recordings.json    version, what was held out, the files with their CRC-32, and of every phrase: where it
                              lies, voice, key, tempo
    <bank>/audio.npy          int16 mono at 44.1 kHz, the phrases one after the other
    <bank>/f0.npy             float32, Hz every 5 ms of every phrase, 0 = unvoiced

Recordings are split at rests and F0 is measured by pYIN. Phrases without one clear voice (choirs in several parts,
whispers, noise, effects) are left out: one period after a voiced frame the wave must look the same.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..._util.files import replacing, write_replace
from ..._util.pools import starmap
from ...datasets.annotations import hz_to_midi
from ...errors import AudioError, DatasetError, WorkerError
from .recordings import Recording, measure_f0
from .voicebank import PERIOD_S, SAMPLE_RATE, is_held_out

logger = logging.getLogger(__name__)

VERSION = 1
INDEX = "recordings.json"
SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3", ".m4a", ".aif", ".aiff")
#: A rest is at least this long; phrases are within these lengths.
REST_S = 0.35
SHORTEST_S, LONGEST_S = 0.3, 12.0
_SILENT_DB = -45.0
#: Of voiced frames: their median and lower fifth of :func:`periodicity`, and how many may fit half the period as well.
_CLEAR, _CLEAR_LOW, _HALVES = 0.965, 0.75, 0.25
_LEAST_VOICED = 0.25


@dataclass(frozen=True)
class Phrase:
    """A phrase of a bank.

    Attributes
    ----------
    path : str
        Of the file, relative to the folder of recordings.
    at_s : float
        Where in the file it begins.
    voice : str
        What phrases of one singer share.
    sung : bool
        Held notes, not speech.
    tonic : int | None
        0 = C, minor, bpm : None where the file's name does not tell.
    """

    path: str
    at_s: float
    voice: str
    sung: bool
    tonic: int | None
    minor: bool | None
    bpm: float | None
    start: int
    length: int
    gain: float
    f0_start: int
    f0_length: int

    @property
    def duration_s(self) -> float:
        return self.length / SAMPLE_RATE


@dataclass
class _Cut:
    """A phrase on its way into the bank."""

    phrase: Phrase
    samples: np.ndarray
    f0: np.ndarray


def periodicity(y: np.ndarray, sample_rate: int, f0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the wave around every second voiced frame with itself one period, and half a period, later.

    ``y`` (n,), ``f0`` Hz every 5 ms; returns two arrays of -1..1. Near 1: one voice at that F0. Both near 1: an octave
    higher. Well below: noise, several voices, a wrong F0.
    """
    whole, half = [], []
    for k in np.flatnonzero(f0 > 0)[::2]:
        period = sample_rate / f0[k]
        reach = int(1.5 * period) + 64
        first = int(k * PERIOD_S * sample_rate) - reach - int(period / 2)
        if first < 0 or first + 2 * reach + int(1.02 * period) + 2 > len(y):
            continue
        here = y[first : first + 2 * reach]

        def best(lags: range) -> float:
            there = np.stack([y[first + lag : first + lag + 2 * reach] for lag in lags])  # noqa: B023 - used at once
            power = np.sqrt((here @ here) * np.einsum("ij,ij->i", there, there)) + 1e-12  # noqa: B023
            return float(np.max(there @ here / power))  # noqa: B023

        whole.append(best(range(int(0.985 * period), int(1.015 * period) + 2)))
        half.append(best(range(int(0.4925 * period), int(0.5075 * period) + 2)))
    return np.array(whole), np.array(half)


def is_clear(y: np.ndarray, sample_rate: int, f0: np.ndarray) -> bool:
    """Whether a phrase is one voice whose F0 was found."""
    if np.mean(f0 > 0) < _LEAST_VOICED:
        return False
    whole, half = periodicity(y, sample_rate, f0)
    if len(whole) < 10 or np.median(whole) < _CLEAR or np.percentile(whole, 20) < _CLEAR_LOW:
        return False
    return float(np.mean(half > 0.95 * whole)) < _HALVES


def is_sung(f0: np.ndarray) -> bool:
    """Whether pitch is held: most tenths of a second within voiced stretches stay within 0.7 semitones."""
    voiced, n = f0 > 0, 20
    midi = hz_to_midi(np.where(voiced, f0, 440.0))
    if len(f0) <= n:
        return False
    windows = np.lib.stride_tricks.sliding_window_view
    inside = windows(voiced, n).all(axis=1)
    return bool(inside.any() and np.mean(np.ptp(windows(midi, n)[inside], axis=1) < 0.7) > 0.65)


def split_at_rests(y: np.ndarray, sample_rate: int) -> list[tuple[int, int]]:
    """``(first, last + 1)`` samples of the phrases between rests, a little silence included."""
    hop = sample_rate // 100
    usable = len(y) // hop * hop
    level = np.sqrt(np.mean(np.square(y[:usable], dtype=np.float64).reshape(-1, hop), axis=1))
    if not len(level) or level.max() < 1e-4:
        return []
    loud = np.flatnonzero(level > 10 ** (_SILENT_DB / 20) * np.percentile(level, 98))
    parts = np.split(loud, np.flatnonzero(np.diff(loud) > REST_S * 100) + 1)
    spans = [span for part in parts for span in _shorter(int(part[0]), int(part[-1]) + 1, level)]
    margin = 3
    return [(max(a - margin, 0) * hop, min((b + margin) * hop, len(y))) for a, b in spans]


def _shorter(first: int, last: int, level: np.ndarray) -> list[tuple[int, int]]:
    """The span, cut at its quietest places until no piece is too long; none where it is too short."""
    if last - first < SHORTEST_S * 100:
        return []
    if last - first <= LONGEST_S * 100:
        return [(first, last)]
    a, b = first + (last - first) // 4, last - (last - first) // 4
    smooth = np.convolve(level[a:b], np.ones(9), "same")
    cut = a + int(np.argmin(smooth))
    return _shorter(first, cut, level) + _shorter(cut, last, level)


def _read(relative: str, voice: str, *, folder: Path) -> list[_Cut]:
    """The clear phrases of one file."""
    import soxr

    recording = Recording.read(folder / relative)
    y = np.asarray(recording.samples, np.float32)
    if recording.sample_rate != SAMPLE_RATE:
        y = soxr.resample(y, recording.sample_rate, SAMPLE_RATE)
    cuts = []
    for first, last in split_at_rests(y, SAMPLE_RATE):
        part = y[first:last].copy()
        fade = np.linspace(0, 1, 220, dtype=np.float32)
        part[:220] *= fade
        part[-220:] *= fade[::-1]
        f0 = smoothed(measure_f0(part, SAMPLE_RATE))
        low = soxr.resample(part, SAMPLE_RATE, 22_050)
        if not is_clear(low, 22_050, f0):
            continue
        phrase = Phrase(
            relative, round(first / SAMPLE_RATE, 3), voice, recording.tonic is not None or is_sung(f0),
            recording.tonic, recording.minor, recording.bpm, 0, len(part), 0.0, 0, len(f0),
        )  # fmt: skip
        cuts.append(_Cut(phrase, part, f0.astype(np.float32)))
    return cuts


def smoothed(f0: np.ndarray) -> np.ndarray:
    """``f0`` without the steps of pYIN's 20 cents, each voiced stretch by itself."""
    out = f0.copy()
    window = np.hanning(9)[1:-1]
    for a, b in stretches(f0 > 0):
        log = np.pad(np.log(f0[a:b]), 3, mode="edge")
        out[a:b] = np.exp(np.convolve(log, window / window.sum(), "valid"))
    return out


def stretches(mask: np.ndarray) -> list[tuple[int, int]]:
    """``(first, last + 1)`` of every run of True."""
    edge = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in zip(edge[::2], edge[1::2])]


def _voices(files: Sequence[str]) -> list[str]:
    """Whose voice each file is: its folder, and the first word of its name where many files there share it."""
    first = [
        (str(Path(f).parent), m[0].lower() if (m := re.match(r"[A-Za-z0-9]+?(?=[_\- ])", Path(f).name)) else "")
        for f in files
    ]
    shared = Counter(first)
    return ["/".join(p for p in key if p != ".") if shared[key] >= 8 and key[1] else key[0] for key in first]


def build_recording_bank(
    folder: str | Path,
    out_dir: str | Path,
    *,
    held_out: Iterable[str] = (),
    jobs: int = 1,
    progress: Callable[[Iterable, int], Iterable] | None = None,
) -> Path:
    """Cut the recordings under ``folder`` into phrases; returns ``out_dir``.

    Files that cannot be read are left out with a warning.

    Parameters
    ----------
    held_out : Iterable[str], default=()
        Glob patterns of paths that are never used.
    jobs : int, default=1
        Processes; with several, a script must make the call under ``if __name__ == "__main__":``.
    progress : Callable[[Iterable, int], Iterable], optional
        Goes between the files' phrases and their use, given how many files there are.

    Raises
    ------
    DatasetError
        No recordings, or no phrase of a clear single voice among them.
    """
    folder, out_dir, patterns = Path(folder), Path(out_dir), sorted(held_out)
    files = _files(folder, out_dir, patterns)
    if not files:
        raise DatasetError(f"no recordings ({', '.join(SUFFIXES)})", source=str(folder), stage="recordings")
    cuts: list[_Cut] = []
    read = partial(_read, folder=folder)
    found: Iterable = starmap(
        read, zip(files, _voices(list(files))), jobs=jobs, stage="recordings", catch=(AudioError, WorkerError)
    )
    for phrases_or_error, file in zip(progress(found, len(files)) if progress else found, files):
        if isinstance(phrases_or_error, Exception):
            logger.warning("left out: %s (%s)", file, phrases_or_error)
        else:
            cuts += phrases_or_error
    if not cuts:
        raise DatasetError("no phrase of one clear voice in these recordings", source=str(folder), stage="recordings")
    out_dir.mkdir(parents=True, exist_ok=True)
    phrases, pieces, start, f0_start = [], [], 0, 0
    for cut in cuts:
        gain = float(np.abs(cut.samples).max())
        pieces.append(np.round(cut.samples / gain * 32_000).astype(np.int16))
        phrases.append(asdict(replace(cut.phrase, start=start, f0_start=f0_start, gain=gain / 32_000)))
        start, f0_start = start + len(cut.samples), f0_start + len(cut.f0)
    audio = np.concatenate(pieces)
    for name, array in (("audio", audio), ("f0", np.concatenate([cut.f0 for cut in cuts]))):
        with replacing(out_dir / f"{name}.npy") as unfinished, unfinished.open("wb") as handle:
            np.save(handle, array)
    index = {
        "version": VERSION,
        "held_out": patterns,
        "files": files,
        "audio_crc": zlib.crc32(audio.tobytes()),
        "phrases": phrases,
    }
    write_replace(out_dir / INDEX, json.dumps(index, indent=0).encode())
    return out_dir


def _files(folder: Path, bank: Path, held_out: Iterable[str]) -> dict[str, int]:
    """CRC-32 of the recordings under ``folder``, but those in the bank; -1 of what cannot be read."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and bank not in p.parents)
    return {p.relative_to(folder).as_posix(): _checksum(p) for p in paths if not is_held_out(p, held_out)}


def _checksum(path: Path) -> int:
    try:
        return zlib.crc32(path.read_bytes())
    except OSError:
        return -1


class RecordingBank:
    """The phrases of a bank; audio stays on disk (memory-mapped).

    Attributes
    ----------
    phrases : list[Phrase]
        All of them.
    by_voice : dict[str, list[int]]
        Numbers of the sung ones by voice.
    spoken : list[int]
        Numbers of the others.
    held_out : list[str]
        The patterns it was made without.
    fingerprint : str
        Of what the bank holds.

    Raises
    ------
    DatasetError
        Not a bank, of another version, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            text = (self.path / INDEX).read_text(encoding="utf-8")
            index = json.loads(text)
            if index["version"] != VERSION:
                found = f"bank version {index['version']}, expected {VERSION}"
                raise DatasetError(found, source=str(path), stage="recordings")
            self.phrases = [Phrase(**p) for p in index["phrases"]]
            self.held_out: list[str] = index["held_out"]
            self._files: dict[str, int] | None = index.get("files")  # banks of before lack it
            audio, f0 = (np.load(self.path / f"{name}.npy", mmap_mode="r") for name in ("audio", "f0"))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"not a bank of recordings ({error})", source=str(path), stage="recordings") from error
        last = self.phrases[-1]
        if len(audio) != last.start + last.length or len(f0) != last.f0_start + last.f0_length:
            raise DatasetError("audio and index do not belong together", source=str(path), stage="recordings")
        self.fingerprint = f"{zlib.crc32(text.encode()):08x}"
        self.by_voice: dict[str, list[int]] = {}
        for k, phrase in enumerate(self.phrases):
            if phrase.sung:
                self.by_voice.setdefault(phrase.voice, []).append(k)
        self.spoken = [k for k, phrase in enumerate(self.phrases) if not phrase.sung]

    def check_source(self, folder: str | Path) -> None:
        """DatasetError naming a file of ``folder`` that was added, changed or removed since the bank was made of it."""
        there, known = _files(Path(folder), self.path, self.held_out), self._files
        if known is None:
            message = f"was made before banks knew their files: remove it, or choose it alone, without {folder}"
            raise DatasetError(message, source=str(self.path), stage="recordings")
        for file in sorted(there.keys() | known.keys()):
            if there.get(file) != known.get(file):
                what = "added" if file not in known else "removed" if file not in there else "changed"
                raise DatasetError(
                    f"{file} was {what} in {folder} after this bank was made of it; remove the bank to make it anew",
                    source=str(self.path),
                    stage="recordings",
                )

    def recording(self, index: int) -> Recording:
        """Phrase number ``index``."""
        phrase = self.phrases[index]
        audio = np.load(self.path / "audio.npy", mmap_mode="r")
        y = audio[phrase.start : phrase.start + phrase.length].astype(np.float32) * np.float32(phrase.gain)
        return Recording(y, SAMPLE_RATE, phrase.tonic, phrase.minor, phrase.bpm)

    def f0(self, index: int) -> np.ndarray:
        """Hz every 5 ms, 0 = unvoiced."""
        phrase = self.phrases[index]
        stored = np.load(self.path / "f0.npy", mmap_mode="r")
        return stored[phrase.f0_start : phrase.f0_start + phrase.f0_length].astype(float)
