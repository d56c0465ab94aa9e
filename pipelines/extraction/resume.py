"""What a dataset holds already, and so need not be done again.

A row of the catalogue is done when a live row of ``tracks`` has its ``track_id`` and the ``config_hash``,
``model_sha256`` and ``schema_version`` of this run, and its precision where one was asked for, the run that wrote it
also wrote the tables asked for now, and the audio is the same: equal size and time of change, or else equal bytes. If
lyrics are asked for, their text is the same as well, by its digest, and was aligned as this run would; a track that has
none has none. A file that is gone is done, too, whatever made its row: its features remain what they are.

Metadata do not count: they stay what they were when the track was extracted, and :attr:`Decision.metadata_changed`
says how many rows differ now. ``overwrite`` brings them up to date, as does joining the catalogue by ``track_id``.

What failed is tried again by default, with ``attempt`` one higher.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from stemfeatures._util.urls import Place, is_remote, joined
from stemfeatures.audio import file_sha256
from stemfeatures.audio.deadline import within
from stemfeatures.audio.decoder import DecoderTimeout
from stemfeatures.errors import CatalogError, DatasetError, SeparationError
from stemfeatures.fields import Field
from stemfeatures.models.precision import BFLOAT16, FLOAT32
from stemfeatures.tables.check import require_parts
from stemfeatures.tables.commits import Snapshot
from stemfeatures.tables.layout import DatasetLayout, infer_metadata, is_dataset, metadata_name
from stemfeatures.tables.reader import Features, live_rows
from stemfeatures.tables.schema import DEFAULT_TABLES, SCHEMA_VERSION

from ..catalog import Catalog, printable
from .lyrics import COLUMN, has_same_lyrics, have_same_lyrics
from .prefetch import FileState, digest_limit_s, file_states
from .provenance import digest

T = TypeVar("T")

_KEY = ("config_hash", "model_sha256", "schema_version")
_SOURCE = ("source_uri", "audio_sha256", "source_size_bytes", "source_modified_at")
#: Why a row of the same audio is extracted again that lacks nothing but its lyrics.
_OTHER_LYRICS, _OTHERWISE_ALIGNED = "with other lyrics", "with lyrics that were aligned otherwise"


@dataclass
class Decision:
    """What becomes of each row of a catalogue, as positions in it.

    Attributes
    ----------
    todo : list of int
        To be extracted.
    done : list of int
        To be skipped.
    known_failed : list of int
        Failed before, and not to be tried again.
    attempts : dict
        Tries so far, by ``track_id``; absent for the first.
    metadata_changed : int
        Rows of ``done`` whose metadata differ from what ``tracks`` holds.
    outdated : dict
        Number of rows of ``todo`` that were extracted before, from the same audio, by why they are extracted again.
    kept : int
        Rows of ``done`` that would be extracted again, were their files there.
    commit : int
        Number of the last commit of the dataset that was compared with; 0 where there is none.
    """

    todo: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    known_failed: list[int] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    metadata_changed: int = 0
    outdated: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    commit: int = 0


def existing_dataset(out_dir: Place) -> DatasetLayout | None:
    """The dataset in a directory; None when there is none yet. Raises DatasetError for one that cannot be read."""
    try:
        return DatasetLayout.open(out_dir) if is_dataset(out_dir) else None
    except OSError as error:
        raise DatasetError(f"cannot be read: {error}", source=str(out_dir)) from error


def metadata_fields(catalog: Catalog, layout: DatasetLayout | None) -> tuple[Field, ...]:
    """Fields for the catalogue's own columns, with the types the dataset gave them.

    Raises CatalogError when a column does not fit the type it has in the dataset, so that a run does not find out
    track by track.
    """
    try:
        fields = infer_metadata(catalog.frame[catalog.metadata_columns])
        known = {metadata_name(column): kind for column, kind in catalog.metadata_types.items()}
        fields = tuple(replace(f, type=known.get(f.name, f.type)) for f in fields)
    except DatasetError as error:
        raise CatalogError(error.message, source=catalog.origin) from error
    stored = {} if layout is None else {f.name: f.type for f in layout.metadata}
    fits = {"string": ("bool", "int64", "float64"), "float64": ("int64",)}
    for column, f in zip(catalog.metadata_columns, fields):
        of = stored.get(f.name, f.type)
        values = catalog.frame[column].dropna()
        whole = of == "int64" and f.type == "float64" and bool((values == values // 1).all())
        if f.type == of or f.type in fits.get(of, ()) or whole or not len(values):
            continue
        raise CatalogError(
            f"column {column!r} holds {f.type} values, but the dataset has stored it as {of} before; "
            "rename the column, or extract into a new directory",
            source=catalog.origin,
        )
    return fields


def decide(
    catalog: Catalog,
    layout: DatasetLayout | None,
    *,
    settings: Mapping[str, Any],
    tables: Iterable[str],
    precision: str | None = None,
    overwrite: bool = False,
    retry_failed: bool = True,
    stems_from: Path | None = None,
    alignment: Mapping[str, Any] | None = None,
) -> Decision:
    """Compare a catalogue with a dataset; see the module's docstring.

    Parameters
    ----------
    catalog : Catalog
        What is to be extracted.
    layout : DatasetLayout or None
        What holds results already; None when there is nothing yet.
    settings : mapping
        Of this run, see :func:`~.provenance.value_settings`.
    tables : iterable of str
        That this run writes.
    precision : str, optional
        Rows in another one are extracted again; None: those of any are done.
    overwrite : bool
        Extract everything.
    retry_failed : bool
        Try again what failed.
    stems_from : Path, optional
        Folder with the stems of each track; those that were made anew are extracted again.
    alignment : mapping, optional
        How this run aligns lyrics, see :func:`stemfeatures.lyrics.settings.alignment_settings`; None for one that asks
        for no table of them.

    Returns
    -------
    Decision
        What becomes of each row.

    Raises
    ------
    CatalogError
        When an id that was derived from a path stands for another file in the dataset.
    LostPartError
        When parts of the dataset are missing: what is done cannot be told.
    """
    if layout is None:
        return Decision(todo=list(range(len(catalog))))
    tables = tuple(tables)

    def compare(snapshot: Snapshot) -> Decision:
        return _compared(
            catalog, layout, snapshot, settings, tables, precision, overwrite, retry_failed, stems_from, alignment
        )

    return _read_whole(layout, compare)


def _compared(
    catalog: Catalog,
    layout: DatasetLayout,
    snapshot: Snapshot,
    settings: Mapping[str, Any],
    tables: Iterable[str],
    precision: str | None,
    overwrite: bool,
    retry_failed: bool,
    stems_from: Path | None,
    alignment: Mapping[str, Any] | None,
) -> Decision:
    """A catalogue beside the committed state of a dataset; see :func:`decide`."""
    meta = {c: metadata_name(c) for c in catalog.metadata_columns}
    known_meta = [n for n in meta.values() if n in {f.name for f in layout.metadata}]
    more = [] if stems_from is None else ["separator_sha256"]
    more += [] if alignment is None else ["lyrics_sha256"]
    ids = pa.array(catalog.frame["track_id"], pa.string())
    tracks = _rows(layout, snapshot, "tracks", [*_KEY, *_SOURCE, *more, "run_id", "precision", *known_meta], ids)
    errors = _rows(layout, snapshot, "errors", [*_KEY, *_SOURCE, "attempt"], ids)
    runs = {
        row["run_id"]: json.loads(row["config_json"] or "{}")
        for row in live_rows(layout, snapshot, "runs").to_table(columns=["run_id", "config_json"]).to_pylist()
    }
    decision = Decision(attempts={track_id: row["attempt"] for track_id, row in errors.items()}, commit=snapshot.commit)
    if overwrite:
        decision.todo = list(range(len(catalog)))
        return decision
    key = (digest(settings), settings["model_sha256"], SCHEMA_VERSION)

    def made_so(row: dict[str, Any]) -> bool:
        return _key(row) == key and precision in (None, row["precision"] or FLOAT32)

    wanted = set(tables)
    types = {f.name: f.type for f in layout.metadata}
    frame = catalog.frame
    columns = {name: frame[column].tolist() for column, name in meta.items() if name in types}
    paths = frame["path"].tolist()
    given = frame[COLUMN].map(plain).tolist() if COLUMN in frame else [None] * len(frame)
    names = frame["track_id"].tolist()
    # What is new here need not be looked at.
    states = file_states([path if name in tracks or name in errors else None for name, path in zip(names, paths)])
    may = [i for i, name in enumerate(names) if name in tracks and made_so(tracks[name]) and states[i]]
    away = _same_lyrics_in_stores(
        [(i, paths[i], given[i], tracks[names[i]]) for i in may if alignment is not None],
        lambda: _rows(layout, snapshot, "lyric_songs", ["source"], ids),
    )
    rows = zip(names, frame["source_uri"].tolist(), paths, states)
    places = _Places(catalog)
    for i, (track_id, uri, path, state) in enumerate(rows):
        if (row := tracks.get(track_id)) is not None:
            config = runs.get(row["run_id"], {})
            same = _is_same_audio(row, uri, path, state)
            places.compare(i, row, config, path, same=same)
            stems = stems_from is None or not made_so(row) or _has_same_stems(row, stems_from, uri)
            whole = same and stems and made_so(row) and wanted <= set(config.get("tables", DEFAULT_TABLES))
            lyrics = None
            if whole and alignment is not None:
                lyrics = _lyrics_changed(row, config, alignment, None if state is None else path, given[i], away.get(i))
            # Of a file that is not there an error in place of its features would be all that is left.
            if not (stale := not whole or lyrics is not None) or (path is not None and state is None):
                decision.done.append(i)
                decision.kept += stale
                decision.metadata_changed += any(
                    not _equal(values[i], row[name], types[name]) for name, values in columns.items()
                )
                continue
            if same:
                why = lyrics or (_outdated(row, config, key, settings, precision) if stems else "from other stems")
                decision.outdated[why] = decision.outdated.get(why, 0) + 1
        elif (
            not retry_failed
            and (row := errors.get(track_id)) is not None
            and (_key(row), _state(row), row["source_uri"]) == (key, state, uri)
        ):
            decision.known_failed.append(i)
            continue
        decision.todo.append(i)
    places.require_one_collection()
    return decision


def precisions_of(layout: DatasetLayout | None, settings: Mapping[str, Any]) -> set[str]:
    """In which precisions the tracks of a dataset were extracted that have these settings.

    Parameters
    ----------
    layout : DatasetLayout or None
        The dataset; None when there is nothing yet.
    settings : mapping
        See :func:`~.provenance.value_settings`.

    Returns
    -------
    set of str
        None, one or both of ``"float32"`` and ``"bfloat16"``.

    Raises
    ------
    LostPartError
        When parts of the dataset are missing.
    """
    if layout is None:
        return set()
    made_so = (pc.field("config_hash") == digest(settings)) & (pc.field("model_sha256") == settings["model_sha256"])

    def those_made_so(snapshot: Snapshot) -> set[str]:
        found: set[str] = set()
        for batch in live_rows(layout, snapshot, "tracks").to_batches(columns=["precision"], filter=made_so):
            found.update(precision or FLOAT32 for precision in pc.unique(batch["precision"]).to_pylist())
            if len(found) == len({FLOAT32, BFLOAT16}):
                break
        return found

    return _read_whole(layout, those_made_so)


def _read_whole(layout: DatasetLayout, read: Callable[[Snapshot], T]) -> T:
    """What a function reads of the committed state, all parts of which are there."""
    features = Features(layout)

    def read_now() -> T:
        require_parts(features.layout, features.snapshot)
        return read(features.snapshot)

    return features.read_again(read_now)


def stem_folder(root: Path, track_id: str, uri: str) -> Path:
    """The folder of a track's stems; where it ought to be, when there is none."""
    from stemfeatures.separation.given_stems import find_stem_folder, folder_of

    return find_stem_folder(root, track_id, uri) or folder_of(root, track_id)


def _has_same_stems(row: dict[str, Any], root: Path, uri: str) -> bool:
    """Whether the stems are those that the row was made from; stems that are gone are."""
    from stemfeatures.separation.given_stems import StemFolder, find_stem_folder

    folder = find_stem_folder(root, row["track_id"], uri)
    try:
        return folder is None or StemFolder(folder).sha256 == row["separator_sha256"]
    except (OSError, SeparationError):
        return False


def _same_lyrics_in_stores(
    rows: Iterable[tuple[int, str, Any, dict[str, Any]]], sources: Callable[[], dict[str, dict[str, Any]]]
) -> dict[int, bool]:
    """Of rows whose audio or lyrics lie in a store, by position, whether they have the lyrics that they had.

    ``sources`` gives the rows of table ``lyric_songs`` that are known, by track.
    """
    away = [row for row in rows if any(isinstance(place, str) and is_remote(place.strip()) for place in row[1:3])]
    found = sources() if any(row["lyrics_sha256"] is not None for *_, row in away) else {}
    known = [found.get(row["track_id"], {}).get("source") for *_, row in away]
    told = [(path, given, row["lyrics_sha256"], source) for (_, path, given, row), source in zip(away, known)]
    same = have_same_lyrics(told)
    return {i: has for (i, *_), has in zip(away, same)}


def _lyrics_changed(
    row: dict[str, Any],
    config: dict[str, Any],
    alignment: Mapping[str, Any],
    path: str | None,
    given: Any,
    same: bool | None,
) -> str | None:
    """Why the lyrics of a row have to be aligned again; None where not. A file without a path is gone; ``same`` is
    known of those in stores."""
    if same is None:
        same = path is None or has_same_lyrics(path, given, row["lyrics_sha256"])
    if not same:
        return _OTHER_LYRICS
    if row["lyrics_sha256"] is not None and config.get("alignment") != alignment:
        return _OTHERWISE_ALIGNED
    return None


def _outdated(
    row: dict[str, Any],
    config: dict[str, Any],
    key: tuple[str, ...],
    settings: Mapping[str, Any],
    precision: str | None,
) -> str:
    """Why a row of the same audio is extracted again."""
    if _key(row) == key:
        before = row["precision"] or FLOAT32
        if precision not in (None, before):
            return f"in {before} (now {precision})"
        return "without some of the tables that are wanted now"
    if row["schema_version"] != SCHEMA_VERSION:
        return f"under schema version {row['schema_version']} (now {SCHEMA_VERSION})"
    if row["model_sha256"] != settings["model_sha256"]:
        return f"with another checkpoint ({row['model_sha256'][:12]})"
    before = config.get("values", {})
    if before.get("analysis_version") != settings["analysis_version"]:
        return f"by analysis version {before.get('analysis_version', '?')} (now {settings['analysis_version']})"
    if before.get("separator") != settings.get("separator"):
        return f"with another separator ({(before.get('separator') or {}).get('separator', 'the checkpoint')})"
    if before.get("fields") != settings["fields"]:
        return "with other descriptors"
    if before.get("constants") == settings["constants"]:
        return f"with other weights ({_changed(before.get('weights', {}), settings['weights'])})"
    return f"with other constants ({_changed(before.get('constants', {}), settings['constants'])})"


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The names under which two mappings hold different things, the first of them."""
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    return f"{', '.join(names[:3])}{', ...' if names[3:] else ''}"


def _rows(
    layout: DatasetLayout, snapshot: Snapshot, table: str, columns: list[str], ids: pa.Array
) -> dict[str, dict[str, Any]]:
    """The live rows of some tracks; those of others are not held, and only their ids are read."""
    live = live_rows(layout, snapshot, table, keys=ids.to_pylist())
    found = live.to_table(columns=["track_id"], filter=pc.field("track_id").isin(ids))["track_id"].combine_chunks()
    if not len(found):  # as for a portion of what is new, which may lie between tracks of all portions before
        return {}
    live = live_rows(layout, snapshot, table, keys=found.to_pylist())
    rows = live.to_table(columns=["track_id", *columns], filter=pc.field("track_id").isin(found))
    return {row["track_id"]: row for row in rows.to_pylist()}


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in _KEY)


def _state(row: dict[str, Any]) -> FileState | None:
    if row["source_size_bytes"] is None:
        return None
    return FileState(row["source_size_bytes"], row["source_modified_at"])


def _is_same_audio(row: dict[str, Any], uri: str, path: str | None, state: FileState | None) -> bool:
    """Whether the file holds what it held; bytes are read only when it was touched, moved, or named anew, and those of
    a store not at all: they would come twice."""
    if path is None:
        return row["source_uri"] == uri
    if state is None:
        return True
    if state == _state(row) and row["source_uri"] == uri:
        return True
    if row["audio_sha256"] is None or state.size != row["source_size_bytes"] or is_remote(path):
        return False
    try:
        return within(digest_limit_s(state), lambda: file_sha256(path)) == row["audio_sha256"]
    except (OSError, DecoderTimeout):
        return False


class _Places:
    """Whether ids that were derived from paths stand for what they stood for.

    Two collections may derive one id for two files, and the second must not take the place of the first unseen. But a
    collection may also have moved, and some of its files have changed since: then most of its files are elsewhere, and
    the same as before.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._n_moved = 0
        self._others: list[tuple[int, str, str]] = []

    def compare(
        self, position: int, row: dict[str, Any], config: dict[str, Any], path: str | None, *, same: bool
    ) -> None:
        """Take a row of the catalogue, and the row of ``tracks`` with its id."""
        if self._catalog.has_ids or path is None:
            return
        before = _place_of_row(config.get("catalog_root") or "", row["source_uri"])
        if before == printable(path):
            return
        if same:
            self._n_moved += 1
        else:
            self._others.append((position, row["track_id"], before))

    def require_one_collection(self) -> None:
        """CatalogError when ids stand for other files, and not because the collection has moved."""
        if not self._others or self._n_moved > len(self._others):
            return
        position, track_id, before = self._others[0]
        raise CatalogError(
            f"{self._catalog.row_name(position)}: in the dataset, track id {track_id!r} stands for another file, "
            f"{before}; give the catalogue a track_id column, extract into another directory, or overwrite",
            source=self._catalog.origin,
        )


def _place_of_row(root: str, uri: str) -> str:
    """The path, or the address, of a row that an earlier run has made."""
    if is_remote(uri):
        return uri
    return joined(root, uri) if is_remote(root) else os.path.normpath(os.path.join(root, uri))


def _equal(value: Any, stored: Any, of: str) -> bool:
    """Whether a cell of the catalogue would be stored as what is stored."""
    if plain(value) is None or stored is None:
        return plain(value) is stored
    return str(value) == stored if of == "string" else bool(value == stored)


def plain(value: Any) -> Any:
    """A cell as None, bool, int, float or str: what travels to workers without pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, (bool, int, float, str)) else str(value)
