"""The similarity index: vectors of all tracks beside the tables, and what they were made from.

It lies in ``<features>/_index``: ``index.json`` says what it holds and names the folder with the vectors. It is a
cache: delete it, or build it again (:mod:`.build`), at any time. It remembers the commit it was built from and can
tell whether the tables have changed since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from .._util.urls import Place, Url, place_of
from ..constants import MIXTURE
from ..errors import DatasetError
from ..tables.commits import commit_path
from ..tables.reader import Features
from ..tables.storage import read_json
from ..vectors.matrix import id_hint
from .neighbours import Neighbours, SimilarityError
from .search import Hits, Space, nearest, pair_distances, require_k
from .store import Block, VectorStore

if TYPE_CHECKING:
    from .ann import Shortlists

FOLDER = "_index"
FORMAT = 1
#: Tables that the vectors depend on.
_SOURCES = {"tracks", "stems", "embeddings"}


@dataclass(repr=False)
class SimilarityIndex:
    """Vectors of all tracks of a features directory; see :func:`~.build.build_index` and :func:`open_index`.

    Attributes
    ----------
    path : Path
        Folder of the index.
    track_ids : (n_tracks,) ndarray
        Sorted.
    audible : dict
        (n_tracks,) bool by stem, whether the stem sounds in the track.
    store : VectorStore
        The vectors.
    commit : int
        Of the features directory when it was built.
    made_from : dict
        ``model_sha256, config_hash, schema_version`` of the rows.
    options : dict
        What :func:`~.build.build_index` was given, by the names of its parameters.
    unusable : list of str
        Columns that were left out, null or constant in all tracks.
    ann : list of str
        Names of the usearch graphs, if it has any.
    visitor : str
        What its last row is called if that is no track of the tables (see :mod:`.visitors`); empty without.
    commit_digest : str
        Of the commit, see :func:`commit_digest`; empty of an index that an earlier release made.
    """

    path: Path
    track_ids: np.ndarray
    audible: dict[str, np.ndarray]
    store: VectorStore
    commit: int
    made_from: dict[str, str]
    options: dict[str, Any]
    unusable: list[str]
    ann: list[str] = field(default_factory=list)
    visitor: str = ""
    commit_digest: str = ""

    def __len__(self) -> int:
        return len(self.track_ids)

    def __repr__(self) -> str:
        width = sum(len(block.names) for block in self.store.blocks)
        return (
            f"<SimilarityIndex {str(self.path)!r}: {len(self):,} tracks, {width:,} coordinates, commit {self.commit}>\n"
            f"  stems: {', '.join(self.stems)}\n"
            f"  families: {', '.join(self.families)}"
        )

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(b.stem for b in self.store.blocks))

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(b.family for b in self.store.blocks))

    def row(self, track_id: str) -> int:
        """The row of a track; SimilarityError with similar ids when there is none."""
        if self.visitor and track_id == self.visitor:
            return len(self) - 1
        n = len(self) - bool(self.visitor)
        row = int(np.searchsorted(self.track_ids[:n], track_id))
        if row < n and self.track_ids[row] == track_id:
            return row
        hint = id_hint(track_id, self.track_ids[:n].tolist())
        raise SimilarityError(f"no such track: {track_id!r}{hint}", source=str(self.path))

    def space(
        self,
        stems: Iterable[str] | None = None,
        families: Iterable[str] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> Space:
        """The distance over the chosen stems and families, all by default, with ``weights`` by stem or family.

        Raises SimilarityError when the index lacks one of them, a weight is below 0, or nothing is left.
        """
        stems = self.stems if stems is None else self._have("stem", stems, self.stems)
        families = self.families if families is None else self._have("family", families, self.families)
        weights = dict(weights or {})
        self._have("stem or family", weights, (*self.stems, *self.families))
        for name, weight in weights.items():
            if not 0 <= weight < np.inf:
                raise SimilarityError(f"weight {weight!r} of {name!r} is not a number from 0", source=str(self.path))
        blocks = [b for b in self.store.blocks if b.stem in stems and b.family in families]
        factors = [weights.get(b.stem, 1.0) * weights.get(b.family, 1.0) for b in blocks]
        chosen = [(b, w) for b, w in zip(blocks, factors) if w > 0]
        if not chosen:
            raise SimilarityError(
                f"there is nothing to compare {', '.join(stems)} by: no {' or '.join(families)} with a weight above 0",
                source=str(self.path),
            )
        return Space(tuple(b for b, _ in chosen), tuple(w for _, w in chosen))

    def similar(
        self,
        track_id: str,
        *,
        stems: Iterable[str] | None = None,
        families: Iterable[str] | None = None,
        unlike: Iterable[str] = (),
        weights: Mapping[str, float] | None = None,
        k: int = 10,
        eligible: np.ndarray | None = None,
        exact: bool = False,
    ) -> Neighbours:
        """The ``k`` tracks nearest to a track.

        Parameters
        ----------
        track_id : str
            A track of the index.
        stems : iterable of str, optional
            What shall be similar: all stems of the index by default; with ``unlike``, all separated ones but those.
        families : iterable of str, optional
            By which descriptors; all of the index by default.
        unlike : iterable of str
            Stems that shall be different (in the same families, or if they have none of them, in all).
        weights : mapping, optional
            Factors of distances by stem or family.
        k : int
            Number of neighbours.
        eligible : (n_tracks,) ndarray of bool, optional
            Tracks that may be found (see :mod:`.filters`).
        exact : bool
            Look at all tracks even where there is a usearch index.

        Returns
        -------
        Neighbours
            Tracks in which the chosen stems sound (by default: in which any does).

        Raises
        ------
        SimilarityError
            Unknown track, stem or family; a chosen stem is silent in the track; nothing is eligible.
        ValueError
            ``k`` is below 1.
        """
        require_k(k)
        row = self.row(track_id)
        unlike = _names(unlike)
        near, opposite = self._spaces(stems, families, unlike, weights)
        chosen = tuple(dict.fromkeys(b.stem for b in near.blocks))
        self._require_sound(row, chosen if stems is not None else (), chosen)
        self._require_sound(row, unlike, unlike)
        allowed = self._sounding(chosen, explicit=stems is not None)
        if eligible is not None:
            allowed = allowed & eligible
        if not np.any(np.delete(allowed, row)):
            must = f" ({', '.join(chosen)} must sound in it)" if stems is not None else ""
            raise SimilarityError(f"no other track fulfils the conditions{must}", source=str(self.path))
        queries = np.array([row])
        hits = self._search(queries, near, opposite, k, allowed, exact)
        found = hits.rows[0][np.isfinite(hits.scores[0])]
        n, some = len(found), found[None, :]

        def apart(stem: str, space: Space) -> np.ndarray:
            pairs = [(b, w) for b, w in zip(space.blocks, space.weights) if b.stem == stem]
            alone = Space(tuple(b for b, _ in pairs), tuple(w for _, w in pairs))
            return pair_distances(self.store, queries, some, alone)[0]

        return Neighbours(
            track_id,
            self.track_ids[found].tolist(),
            hits.distances[0, :n],
            hits.scores[0, :n],
            {stem: apart(stem, near) for stem in chosen},
            {stem: apart(stem, opposite) for stem in dict.fromkeys(b.stem for b in opposite.blocks)}
            if opposite
            else {},
            near,
            opposite,
            found,
        )

    def search(
        self,
        rows: np.ndarray,
        *,
        stems: Iterable[str] | None = None,
        families: Iterable[str] | None = None,
        unlike: Iterable[str] = (),
        weights: Mapping[str, float] | None = None,
        k: int = 10,
        exact: bool = False,
    ) -> Hits:
        """The ``k`` nearest of many tracks at once, given by their rows (n_queries,); see :meth:`similar`.

        A track in which a chosen stem is silent (without a choice: all are) has no neighbours. ValueError for a ``k``
        below 1.
        """
        require_k(k)
        unlike = _names(unlike)
        near, opposite = self._spaces(stems, families, unlike, weights)
        chosen = tuple(dict.fromkeys(b.stem for b in near.blocks))
        allowed = self._sounding(chosen, explicit=stems is not None)
        rows = np.asarray(rows, np.int64)
        hits = Hits(*(np.full((len(rows), k), empty) for empty in (-1, np.inf, np.inf, np.nan)))
        asked = np.flatnonzero(allowed[rows] & self._sounding(unlike, explicit=True)[rows])
        if len(asked):
            found = self._search(rows[asked], near, opposite, k, allowed, exact)
            for name in Hits.__dataclass_fields__:
                values = getattr(found, name)
                getattr(hits, name)[asked, : values.shape[1]] = values
        return hits

    def staleness(self, features: Features) -> str:
        """Why the index no longer fits the tables; empty when it does."""
        if features.commit < self.commit:
            return f"it was built from commit {self.commit}, the directory is at {features.commit}: it is another one"
        if self.commit_digest:
            if not (digest := commit_digest(features, self.commit)):
                return f"commit {self.commit} of the directory, which it was built from, cannot be read any more"
            if self.commit_digest != digest:
                return f"it was built from commit {self.commit} of another directory"
        for number in range(self.commit + 1, features.commit + 1):
            if (entry := _commit(features, number)) is None:
                return f"it was built from commit {self.commit}, and commit {number} behind it cannot be read"
            added = {part["table"] for part in entry.get("add", ())}
            if entry.get("replaced") or (entry.get("kind") != "compact" and added & _SOURCES):
                n = features.read_again(lambda: features.dataset("tracks").count_rows())
                return (
                    f"it was built from commit {self.commit} with {len(self):,} tracks, the directory is at commit "
                    f"{features.commit} with {n:,}"
                )
        return ""

    def _search(
        self, rows: np.ndarray, near: Space, unlike: Space | None, k: int, allowed: np.ndarray, exact: bool
    ) -> Hits:
        if unlike is None and not exact and (shortlists := self._shortlists(near)) is not None:
            parts = [
                nearest(self.store, rows[i : i + 1], near, k, eligible=allowed, candidates=some)
                for i, some in enumerate(shortlists.candidates(self.store.take(rows, near.blocks), k))
            ]
            # A filter may leave too little of a shortlist: then all tracks are looked at.
            enough = min(k, int(np.count_nonzero(allowed)) - 1)
            if all(np.isfinite(p.scores).sum() >= enough for p in parts):
                return _stacked(parts, k)
        return nearest(self.store, rows, near, k, unlike=unlike, eligible=allowed)

    def _spaces(
        self,
        stems: Iterable[str] | None,
        families: Iterable[str] | None,
        unlike: tuple[str, ...],
        weights: Mapping[str, float] | None,
    ) -> tuple[Space, Space | None]:
        families = None if families is None else _names(families)
        if not unlike:
            return self.space(stems, families, weights), None
        self._have("stem", unlike, self.stems)
        if stems is None:
            stems = [s for s in self.stems if s not in (MIXTURE, *unlike)]
            if not stems:
                raise SimilarityError("nothing is left to be similar in; choose stems", source=str(self.path))
        stems = _names(stems)
        if both := [s for s in stems if s in unlike]:
            raise SimilarityError(f"{both[0]} cannot be similar and different at once", source=str(self.path))
        has = {b.family for b in self.store.blocks if b.stem in unlike}
        opposite = self.space(unlike, [f for f in families if f in has] or None if families else None, weights)
        return self.space(stems, families, weights), opposite

    def _have(self, what: str, names: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
        names = _names(names)
        if missing := [name for name in names if name not in known]:
            gone = [c for c in self.unusable if c.startswith(f"{missing[0]}__")]
            why = "; it is null or constant in all tracks" if gone else ""
            raise SimilarityError(
                f"the index has no {what} {missing[0]!r}{why}; there are: {', '.join(known)}", source=str(self.path)
            )
        return names

    def _require_sound(self, row: int, all_of: tuple[str, ...], any_of: tuple[str, ...]) -> None:
        silent = [stem for stem in any_of if not self.audible[stem][row]]
        if any_of and (len(silent) == len(any_of) or any(stem in all_of for stem in silent)):
            raise SimilarityError(
                f"{', '.join(silent)} cannot be heard in track {self.track_ids[row]!r}, so nothing is similar to it",
                source=str(self.path),
            )

    def _sounding(self, stems: tuple[str, ...], *, explicit: bool) -> np.ndarray:
        combine = np.logical_and if explicit else np.logical_or
        return combine.reduce([self.audible[s] for s in stems]) if stems else np.ones(len(self), bool)

    def _shortlists(self, near: Space) -> Shortlists | None:
        if not self.ann:
            return None
        from .ann import open_shortlists

        return open_shortlists(self.store, self.ann, near)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))


def _stacked(parts: Sequence[Hits], k: int) -> Hits:
    """Answers to single questions as one."""

    def padded(name: str, empty: float) -> np.ndarray:
        rows = [getattr(p, name)[0] for p in parts]
        return np.stack([np.pad(r, (0, k - len(r)), constant_values=empty) for r in rows])

    return Hits(padded("rows", -1), padded("scores", np.inf), padded("distances", np.inf), padded("unlikeness", np.nan))


def _commit(features: Features, number: int) -> dict[str, Any] | None:
    """What a commit says; None where it cannot be read, as checkpoints hold what old commits said."""
    try:
        entry = read_json(commit_path(features.layout, number))
    except (OSError, ValueError):
        return None
    return entry if isinstance(entry, dict) else None


def commit_digest(features: Features, number: int) -> str:
    """What tells a commit from the one with its number in another directory; empty where there is none to be read."""
    if (entry := _commit(features, number)) is None:
        return ""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def index_folder(features: Place, index_dir: str | Path | None) -> Path:
    """Where an index lies: on this machine. DatasetError when nobody says where, and the features are in a store."""
    if index_dir is not None:
        return Path(index_dir)
    if isinstance(features, Url):
        raise DatasetError(
            "the index of features in a store lies on this machine: give --index-dir", source=str(features)
        )
    return features / FOLDER


def open_index(features: str | Path | Features, *, index_dir: str | Path | None = None) -> SimilarityIndex:
    """The index of a features directory.

    Parameters
    ----------
    features : str or Path or Features
        The features directory.
    index_dir : str or Path, optional
        Where the index is; by default ``<features>/_index``.

    Returns
    -------
    SimilarityIndex
        The index, open.

    Raises
    ------
    DatasetError
        There is none, or it cannot be read.
    """
    path = features.path if isinstance(features, Features) else place_of(features)
    folder = index_folder(path, index_dir)
    file = folder / "index.json"
    if not file.is_file():
        raise DatasetError(
            f"there is no similarity index; make one with: stemfeatures index {path}", source=str(folder)
        )
    try:
        content = json.loads(file.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this release reads {FORMAT}")
        store = VectorStore(folder / content["folder"], content["n_tracks"], [Block(**b) for b in content["blocks"]])
        tracks = pq.read_table(store.folder / "tracks.parquet")
        if tracks.num_rows != store.n_rows:
            raise ValueError("tracks.parquet has another number of rows")
        return SimilarityIndex(
            folder,
            np.array(tracks["track_id"].to_pylist(), dtype=object),
            {stem: tracks[stem].to_numpy() for stem in tracks.column_names[1:]},
            store,
            content["commit"],
            content["made_from"],
            content["options"],
            content["unusable"],
            content["ann"],
            commit_digest=content.get("commit_digest", ""),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DatasetError(f"cannot read the index ({why}); build it again", source=str(file)) from error
