"""Recordings decoded once for learning to separate a target.

::

    <store>/recordings.json version, target, sample rate, and the recordings of every kind
    <store>/<kind>/*.npy    (rows, n_samples) int16 mono; rows of pairs: target and accompaniment; of the others: one
    <store>/<kind>/*.json   what is known of it

Everything goes through one resampler to one rate, whatever it was, so that nothing tells real sources from estimates
but their sound; recordings with a lower rate than that are left out, since their missing band would. Building goes on
where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.files import replacing, write_replace
from ..._util.pools import starmap
from ...audio import file_sha256, load, resample, to_mono
from ...constants import MIXTURE
from ...datasets.multitrack import MultiTrack
from ...errors import AudioError, CatalogError, DatasetError, WorkerError
from .effects import rms
from .recording_sources import SongFolder, read_stems, rest_of
from .song_files import song_digests
from .stem_sum import StemSum
from .store_index import read_index

logger = logging.getLogger(__name__)

VERSION = 1
KINDS = ("pairs", "mixtures", "solos", "accompaniments")
#: Rows of a pair that a recording of another kind would be.
_AS = {"mixtures": (0, 1), "solos": (0,), "accompaniments": (1,)}
_INDEX = "recordings.json"
#: Its name in stores that earlier versions made.
_EARLIER_INDEX = "parts.json"
_FULL = 32_000
#: Blocks in which it is noted where a recording sounds, in seconds; silent: below -45 dB of its level.
BLOCK_S = 0.125
_SILENT = 10 ** (-45 / 20)
#: Largest share of a mixture's energy that its stems may fail to explain.
_UNEXPLAINED = 0.25


@dataclass(frozen=True)
class Recording:
    """A recording of a store.

    Attributes
    ----------
    file : str
        Of the samples, in the store.
    rows : tuple[int, ...]
        Those whose sum it is; of a pair each is a source.
    dataset : str
        Data set, or folder, that it belongs to.
    name : str
        Of the song, or of the file.
    artist : str | None
        Where the data set states one.
    seconds : float
        Its length.
    scale : float
        Full scale per integer step.
    levels : tuple[float, ...]
        RMS where it sounds, of each row; 0 for silence.
    active : tuple[str, ...]
        Of each row, a 1 or 0 for every block: whether it sounds.
    sha256 : str, default=''
        Of the file it was decoded from, "" where that were several.
    files : tuple[str, ...], default=()
        SHA-256 of the files of a song that it was decoded from, of those that sound, and of the song's mixture.
    """

    file: str
    rows: tuple[int, ...]
    dataset: str
    name: str
    artist: str | None
    seconds: float
    scale: float
    levels: tuple[float, ...]
    active: tuple[str, ...]
    sha256: str = ""
    files: tuple[str, ...] = ()

    @property
    def digests(self) -> frozenset[str]:
        """All that is known of where it came from."""
        return frozenset((self.sha256, *self.files)) - {""}


def build_recording_store(
    out_dir: str | Path,
    *,
    target: str,
    sample_rate: int,
    pairs: Sequence[MultiTrack] = (),
    unpaired: Mapping[str, Sequence[Path | StemSum]] | None = None,
    jobs: int = 1,
    progress: Callable[[Iterable, int], Iterable] | None = None,
) -> RecordingStore:
    """Decode what a target is learned from. What cannot be read or used is left out with a warning.

    Parameters
    ----------
    pairs : Sequence[MultiTrack], default=()
        Multitracks with the target and others, see :func:`.recording_sources.find_pairs`.
    unpaired : Mapping[str, Sequence[Path | StemSum]], optional
        Recordings by kind: ``mixtures``, ``solos`` (the target alone), ``accompaniments``; see
        :func:`.recording_sources.find_recordings`.
    jobs : int, default=1
        Processes; with several, a script must make the call under ``if __name__ == "__main__":``.
    progress : Callable[[Iterable, int], Iterable], optional
        Goes between the recordings and their use, given how many there will be.

    Raises
    ------
    DatasetError
        Of a kind that was given nothing can be used; or the folder holds recordings for another target or rate.
    """
    out_dir = Path(out_dir)
    if is_recording_store(out_dir):
        before = RecordingStore(out_dir)
        if (before.target, before.sample_rate) != (target, sample_rate):
            message = "holds the recordings for another target or rate; remove it"
            raise DatasetError(message, source=str(out_dir), stage="recordings")
    work: list[tuple[str, MultiTrack | StemSum | Path]] = [("pairs", track) for track in pairs]
    work += [(kind, path) for kind, paths in (unpaired or {}).items() for path in paths]
    made: Iterable = starmap(
        partial(_store, out_dir=out_dir, target=target, sample_rate=sample_rate),
        work,
        jobs=jobs,
        stage="recordings",
        name=lambda _, source: _file_of(source, target),
        catch=(AudioError, CatalogError, WorkerError),
    )
    kinds: dict[str, list[Recording]] = {kind: [] for kind in KINDS}
    reasons: dict[str, Exception] = {}
    for (kind, _), recording in zip(work, progress(made, len(work)) if progress is not None else made):
        if isinstance(recording, Exception):
            logger.warning("left out of the %s: %s", kind, recording)
            reasons.setdefault(kind, recording)
        else:
            kinds[kind].append(recording)
    for kind in sorted({kind for kind, _ in work}):
        if not kinds[kind]:
            message = f"none of the {kind} can be used; the first of them: {reasons.get(kind, 'there is none')}"
            raise DatasetError(message, stage="recordings")
    index = {"version": VERSION, "target": target, "sample_rate": sample_rate}
    index |= {kind: [asdict(recording) for recording in found] for kind, found in kinds.items()}
    write_replace(out_dir / _INDEX, json.dumps(index, indent=1).encode())
    return RecordingStore(out_dir)


def _store(
    kind: str, source: MultiTrack | StemSum | Path, *, out_dir: Path, target: str, sample_rate: int
) -> Recording:
    name = _file_of(source, target)
    stamp = _stamp(name)
    track = source.track if isinstance(source, StemSum) else source
    identity = track.dataset + "/" + track.name if isinstance(track, MultiTrack) else ""
    if isinstance(track, MultiTrack):
        stems = source.stems if isinstance(source, StemSum) else (MIXTURE, *track.stem_names)
        identity += "".join(f"\n{stem} {_stamp(track.source(stem))}" for stem in stems)
    key = hashlib.sha256(f"{identity}\n{name}\n{stamp}\n{target}\n{sample_rate}".encode()).hexdigest()[:24]
    note = out_dir / kind / f"{key}.json"
    if note.is_file():
        return _recording(json.loads(note.read_text()))
    if isinstance(track, MultiTrack):
        sha256 = ""
        dataset, title, artist = track.dataset, track.name, track.artist
        if isinstance(source, StemSum):
            rows, sounding = _read_sum(source, sample_rate)
            sha256 = file_sha256(name) if len(source.stems) == 1 and Path(name).is_file() else ""
        else:
            rows, sounding = _read_pair(track, target, sample_rate)
        files = song_digests(track, sounding)
    else:
        samples, rate = load(track, mono=True)
        rows = _resampled(samples[None], rate, sample_rate, name)
        dataset, title, artist, sha256, files = track.parent.name, track.name, None, file_sha256(track), ()
    if not rows.any():
        raise CatalogError("nothing but silence", source=name, stage="recordings")
    scale = max(float(np.abs(rows).max()), 1e-6) / _FULL
    note.parent.mkdir(parents=True, exist_ok=True)
    with replacing(note.with_suffix(".npy")) as partial_file, partial_file.open("wb") as handle:
        np.save(handle, np.round(rows / scale).astype(np.int16))
    levels = tuple(rms(row) for row in rows)
    recording = Recording(
        f"{kind}/{key}.npy", tuple(range(len(rows))), dataset, title, artist, rows.shape[1] / sample_rate, scale,
        levels, tuple(_active(row, level, sample_rate) for row, level in zip(rows, levels)), sha256, files,
    )  # fmt: skip
    write_replace(note, json.dumps(asdict(recording)).encode())
    return recording


def _stamp(path: str) -> str:
    """Changes with the file; empty for what is no file of its own."""
    if not Path(path).is_file():
        return ""
    status = Path(path).stat()
    return f"{status.st_size}/{status.st_mtime_ns}"


def _file_of(source: MultiTrack | StemSum | Path, target: str) -> str:
    """What messages call a recording."""
    if isinstance(source, StemSum):
        return source.source
    return source.source(target) if isinstance(source, MultiTrack) else str(source)


def _read_sum(source: StemSum, sample_rate: int) -> tuple[np.ndarray, list[str]]:
    """(1, n_samples), and the stems that sound."""
    stems, rate = read_stems(source.track, source.stems)
    sounding = [name for name, stem in zip(source.stems, stems) if stem.any()]
    return _resampled(stems.sum(axis=0, keepdims=True), rate, sample_rate, source.source), sounding


def _read_pair(track: MultiTrack, target: str, sample_rate: int) -> tuple[np.ndarray, list[str]]:
    """(2, n_samples), the target and the sum of the others; their mixture is their sum, whatever the mix was. And the
    stems that sound."""
    names = (target, *rest_of(track, target))
    stems, rate = read_stems(track, names)
    found, rest, size = stems[0], stems[1:].sum(axis=0), stems.shape[1]
    published = not isinstance(track, SongFolder) or track.has_mixture
    try:
        mix = to_mono(track.audio(MIXTURE)[0])[:size] if published else None
    except (CatalogError, KeyError):
        mix = None
    if mix is not None and len(mix) and mix.any():
        both = (found + rest)[: len(mix)]
        explained = float(both @ mix) ** 2 / max(float(both @ both) * float(mix @ mix), 1e-30)
        if 1 - explained > _UNEXPLAINED:
            message = f"its stems do not sum to its mixture: {1 - explained:.0%} of the energy is in none of them"
            raise CatalogError(message, source=track.source(MIXTURE), stage="recordings")
    sounding = [name for name, stem in zip(names, stems) if stem.any()]
    return _resampled(np.stack([found, rest]), rate, sample_rate, track.source(target)), sounding


def _resampled(y: np.ndarray, rate: int, sample_rate: int, source: str) -> np.ndarray:
    if rate < sample_rate:
        message = f"its rate, {rate} Hz, is below {sample_rate} Hz: its missing band would tell it from the others"
        raise CatalogError(message, source=source, stage="recordings")
    return resample(y, rate, sample_rate)


def _active(y: np.ndarray, level: float, sample_rate: int) -> str:
    size = round(BLOCK_S * sample_rate)
    blocks = np.pad(y, (0, -len(y) % size)).reshape(-1, size).astype(float)
    loud = np.sqrt(np.mean(blocks**2, axis=1)) > max(_SILENT * level, 1e-7)
    return "".join("01"[int(x)] for x in loud)


def _recording(values: dict) -> Recording:
    return Recording(**values | {name: tuple(values.get(name, ())) for name in ("rows", "levels", "active", "files")})


def _contents(index: dict[str, Any]) -> tuple[str, int, dict[str, tuple[Recording, ...]]]:
    recordings = {kind: tuple(map(_recording, index[kind])) for kind in KINDS}
    return str(index["target"]), int(index["sample_rate"]), recordings


def is_recording_store(path: str | Path) -> bool:
    """Whether a folder is a finished store of recordings."""
    return any((Path(path) / name).is_file() for name in (_INDEX, _EARLIER_INDEX))


class RecordingStore:
    """Random access to a store; audio stays on disk (memory-mapped).

    Attributes
    ----------
    target : str
        What it was built for.
    sample_rate : int
        Of all recordings, in Hz.
    recordings : dict of str to tuple of Recording
        By kind, of :data:`KINDS`.

    Raises
    ------
    DatasetError
        Not a store, of another version, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        earlier = (self.path / _EARLIER_INDEX).is_file() and not (self.path / _INDEX).is_file()
        self.target, self.sample_rate, self.recordings = read_index(
            self.path / (_EARLIER_INDEX if earlier else _INDEX), version=VERSION, what="recordings", parse=_contents
        )

    def select(self, pairs: Iterable[int], *, unpaired: Iterable[int] = ()) -> RecordingStore:
        """The same store with these pairs alone (places in ``recordings["pairs"]``), and others taken apart: their
        mixtures, targets and accompaniments as recordings of which nothing else is known."""
        some = object.__new__(RecordingStore)
        some.path, some.target, some.sample_rate = self.path, self.target, self.sample_rate
        all_pairs, apart = self.recordings["pairs"], list(unpaired)
        some.recordings = {"pairs": tuple(all_pairs[place] for place in pairs)}
        some.recordings |= {
            kind: tuple(_alone(all_pairs[place], rows) for place in apart) for kind, rows in _AS.items()
        }
        # A song without the target has no solo of it.
        some.recordings["solos"] = tuple(r for r in some.recordings["solos"] if r.levels[0] > 0)
        return some

    def samples(self, recording: Recording, start: int, length: int) -> np.ndarray:
        """(rows, length) float32 from sample ``start`` on; zeros beyond the end."""
        audio = np.load(self.path / recording.file, mmap_mode="r")
        samples = audio[list(recording.rows), start : start + length].astype(np.float32) * np.float32(recording.scale)
        return np.pad(samples, ((0, 0), (0, length - samples.shape[1])))


def _alone(pair: Recording, rows: tuple[int, ...]) -> Recording:
    """What a recording of some rows of a pair would be. The level of a sum is that of uncorrelated sources."""
    level = float(np.sqrt(sum(pair.levels[row] ** 2 for row in rows)))
    active = "".join("01"["1" in blocks] for blocks in zip(*(pair.active[row] for row in rows)))
    return replace(pair, rows=rows, levels=(level,), active=(active,))
