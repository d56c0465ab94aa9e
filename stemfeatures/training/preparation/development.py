"""Development songs: none of them may be learned from, and a run keeps to the ones it was first scored on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..._util.files import write_replace
from ...audio import file_sha256
from ...constants import MIXTURE
from ...datasets.multitrack import MultiTrack
from ...errors import TrainingError
from ..data.song_files import files_of, holds_any
from ..journal import read_validations

_NOTE = "development.json"


def require_apart(
    source: str | Path | None,
    development: Sequence[MultiTrack],
    names: Iterable[tuple[str, str]],
    digests: Iterable[str] = (),
    *,
    hint: str = "",
) -> None:
    """Check that no development song is learned from.

    Parameters
    ----------
    source : str or Path, optional
        Where the development songs are, for the message.
    development : sequence of MultiTrack
        They themselves.
    names : iterable of tuple
        ``(data set, name)`` of what is learned from.
    digests : iterable of str
        SHA-256 of the files of what is learned from.
    hint : str, optional
        What to do about it, for the message.

    Raises
    ------
    TrainingError
        One has the data set and name, or a file, of something that is learned from.
    """
    learned, files = set(names), frozenset(digests)
    both = [track for track in development if (track.dataset, track.name) in learned or holds_any(track, files)]
    if both:
        raise TrainingError(
            f"{len(both):,} track{'' if len(both) == 1 else 's'} of the development songs {source} would also be "
            f"trained on, such as {both[0].dataset}/{both[0].name}{hint}"
        )


def require_no_copies(
    source: str | Path | None, development: Sequence[MultiTrack], tracks: Sequence[MultiTrack]
) -> None:
    """Check before anything is decoded that no development song is among the tracks to be learned from.

    Parameters
    ----------
    source : str or Path, optional
        Where the development songs are, for the message.
    development : sequence of MultiTrack
        They themselves.
    tracks : sequence of MultiTrack
        What will be learned from. Of these only mixtures are read that are as large as one of a development song.

    Raises
    ------
    TrainingError
        One has the data set and name, or the mixture, of something that will be learned from.
    """
    if development:
        sizes = {path.stat().st_size for track in development for path in files_of(track, (MIXTURE,))}
        alike = [path for track in tracks for path in files_of(track, (MIXTURE,)) if path.stat().st_size in sizes]
        names = [(track.dataset, track.name) for track in tracks]
        require_apart(source, development, names, map(file_sha256, alike))


def keep_development(
    run_dir: Path, source: str | Path | None, development: Sequence[MultiTrack], *, limit: int | None = None
) -> str | None:
    """Note the songs that a run is scored on; one that has been scored goes on with the same.

    Parameters
    ----------
    run_dir : Path
        Directory of the run.
    source : str or Path, optional
        Where the songs are; None: they are not given this time.
    development : sequence of MultiTrack
        They themselves.
    limit : int, optional
        At most so many of a data set are looked at.

    Returns
    -------
    str or None
        What the folder of the songs is called that the run's scores are of.

    Raises
    ------
    TrainingError
        The run has scores of other songs, which do not compare.
    """
    path = run_dir / _NOTE
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    scored = bool(before) and bool(read_validations(run_dir))
    if source is None:
        return before["name"] if scored else None
    songs = sorted([track.dataset, track.name] for track in development)
    now = {"name": Path(source).name, "limit": limit, "songs": songs}
    if scored and (before["songs"], before["limit"]) != (songs, limit):
        raise TrainingError(
            f"has scores of other development songs ({_called(before)}), which do not compare with those of "
            f"{_called(now)}; go on with the same, or choose another run directory",
            source=str(run_dir),
        )
    run_dir.mkdir(parents=True, exist_ok=True)
    write_replace(path, json.dumps(now, indent=1).encode())
    return str(now["name"])


def _called(note: dict[str, Any]) -> str:
    n, limit = len(note["songs"]), note["limit"]
    return f"{note['name']}, {n:,} song{'' if n == 1 else 's'}" + (f", at most {limit} a data set" if limit else "")
