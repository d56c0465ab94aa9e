"""Data of the objective ``joint``: a bank of isolated sounds, and a store of songs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..._util.files import write_replace
from ...datasets.multitrack import MultiTrack
from ...datasets.opening import find_tracks
from ...errors import TrainingError
from ..config import TrainConfig
from ..data.bank import SoundBank
from ..data.build_bank import build_bank
from ..data.held_out import matches, read_patterns
from ..data.joining import Joining
from ..data.song_store import SongStore, build_song_store, is_song_store, stored_tracks
from ..training_data import TrainingData
from .development import require_apart, require_no_copies
from .sources import TrainingSources, Watch

_BANK_MARK = "sounds.parquet"
_HELD_OUT = "held_out.txt"
#: What a run learns from, so that it goes on with the same.
_LEARNED = "learned.json"
#: Held out of banks by default, where the package runs from a checkout.
SHIPPED_HELD_OUT = Path(__file__).parents[3] / "catalog_samples" / _HELD_OUT


def joint_data(
    config: TrainConfig, run_dir: Path, sources: TrainingSources, *, jobs: int, watch: Watch
) -> tuple[TrainingData, Sequence[MultiTrack], list[str]]:
    """Bank and songs as the recipe needs them, the development songs, and the patterns of what was held out."""
    if given := sources.recordings():
        raise TrainingError(f"the objective joint takes no {', '.join(given)}; its multitracks are songs")
    if sources.songs and not config.songs:
        raise TrainingError(f"recipe {config.name!r} takes no songs: its share of them, `songs`, is 0")
    # Whatever is wrong shows before the work, not after.
    development = find_tracks(sources.development, stage="train") if sources.development else []
    tracks = _tracks(sources, run_dir / "songs", development) if config.songs else []
    bank_dir, held_out = sources.bank or run_dir / "bank", []
    if config.songs < 1:
        held_out = _bank(sources, bank_dir, jobs=jobs, watch=watch)
    songs = _songs(sources, run_dir / "songs", tracks, development, jobs=jobs, watch=watch) if config.songs else None
    _require_same(run_dir, bank_dir if config.songs < 1 else None, songs)
    data = TrainingData(
        bank=bank_dir if config.songs < 1 else None,
        songs=songs,
        joining=Joining(run_dir / "songs.csv", songs) if songs is not None else None,
    )
    return data, development, held_out


def _bank(sources: TrainingSources, bank_dir: Path, *, jobs: int, watch: Watch) -> list[str]:
    """Build the bank if there is none; returns the patterns that were held out of it."""
    held_out = sources.held_out
    if held_out is None:
        held_out = SHIPPED_HELD_OUT if SHIPPED_HELD_OUT.is_file() else None
    elif not held_out.is_file():
        raise TrainingError("no such file", source=str(held_out))
    patterns = read_patterns(held_out)
    noted = bank_dir / _HELD_OUT
    if (bank_dir / _BANK_MARK).is_file():
        if used := [path for path in SoundBank(bank_dir).sounds["path"] if matches(path, patterns)]:
            raise TrainingError(
                f"the bank holds {_count(len(set(used)), 'file')} that shall be held out, such as {used[0]}; "
                "remove it, or choose another",
                source=str(bank_dir),
            )
        return sorted({*patterns, *(read_patterns(noted) if noted.is_file() else [])})
    if sources.sounds is None:
        raise TrainingError("no bank there, and no isolated sounds (data) to build one from", source=str(bank_dir))
    build_bank(sources.sounds, bank_dir, held_out=patterns, jobs=jobs, progress=partial(watch, "bank"))
    noted.write_text("".join(f"{pattern}\n" for pattern in patterns), encoding="utf-8")
    return sorted(patterns)


def _tracks(sources: TrainingSources, out_dir: Path, development: Sequence[MultiTrack]) -> list[MultiTrack]:
    """The multitracks that are to be decoded; none of a store, which is.

    TrainingError for development songs among them, as far as names and mixtures tell before the work.
    """
    tracks: list[MultiTrack] = []
    stores = [Path(spec) for spec in sources.songs if is_song_store(spec)]
    if len(sources.songs) != 1 or not stores:
        for spec in sources.songs:
            tracks += stored_tracks(spec) if is_song_store(spec) else find_tracks(spec, stage="train")
        stores += [out_dir] if is_song_store(out_dir) else []
    for store in stores:
        _require_apart(sources, development, store)
    require_no_copies(sources.development, development, tracks)
    return tracks


def _songs(
    sources: TrainingSources,
    out_dir: Path,
    tracks: Sequence[MultiTrack],
    development: Sequence[MultiTrack],
    *,
    jobs: int,
    watch: Watch,
) -> Path:
    """Decode the multitracks if that has not been done, and check that none of them is a development song."""
    if len(sources.songs) == 1 and is_song_store(sources.songs[0]):
        return Path(sources.songs[0])
    if sources.songs:
        build_song_store(tracks, out_dir, jobs=jobs, progress=partial(watch, "songs"))
    elif not out_dir.is_dir():
        raise TrainingError("no songs there, and none (songs) to decode", source=str(out_dir))
    _require_apart(sources, development, out_dir)
    return out_dir


def _require_apart(sources: TrainingSources, development: Sequence[MultiTrack], store: Path) -> None:
    if development:
        learned = SongStore(store).songs
        names = [(song.dataset, song.track) for song in learned]
        require_apart(sources.development, development, names, [digest for song in learned for digest in song.digests])


def _require_same(run_dir: Path, bank: Path | None, songs: Path | None) -> None:
    """TrainingError where a run goes on from another bank, or without songs that it began with: its card would not tell
    of those. More songs may come."""
    now: dict[str, Any] = {"sounds": None, "songs": []}
    if bank is not None:
        paths = "\n".join(sorted(set(SoundBank(bank).sounds["path"])))
        now["sounds"] = hashlib.sha256(paths.encode()).hexdigest()
    if songs is not None:
        now["songs"] = [[song.dataset, song.track] for song in SongStore(songs).songs]
    note = run_dir / _LEARNED
    if note.is_file() and (run_dir / "last.pt").is_file():
        before = json.loads(note.read_text(encoding="utf-8"))
        changed = now["songs"][: len(before["songs"])] != before["songs"]
        if changed or (before["sounds"] and now["sounds"] != before["sounds"]):
            what, where = ("songs", songs) if changed else ("isolated sounds", bank)
            raise TrainingError(
                f"the run has learned from other {what} than those in {where}; choose another run directory",
                source=str(run_dir),
            )
    run_dir.mkdir(parents=True, exist_ok=True)
    write_replace(note, json.dumps(now).encode())


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
