"""What a catalogue is, and what may be wrong with it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from stemfeatures._util.files import printable_name
from stemfeatures._util.urls import redacted
from stemfeatures.errors import CatalogError

if TYPE_CHECKING:
    import pandas as pd


CatalogSpec: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | pd.DataFrame | Catalog"


#: Columns that name the file, in order of preference.
PATH_COLUMNS = ("path", "source_uri", "uri", "file", "filepath")


ID_COLUMN = "track_id"


#: A metadata column that, where there is one, tells how long a track is without opening it.
DURATION_COLUMN = "duration_s"


@dataclass(frozen=True)
class Catalog:
    """The rows of a catalogue, as :func:`read_catalog` gives them; nothing has been opened yet.

    Attributes
    ----------
    frame : DataFrame
        One row a track: ``track_id``, ``source_uri`` (as the catalogue states it; printable), ``path`` (absolute, or an
        address; None where the row names neither), then the metadata columns.
    origin : str
        The manifest, folder, pattern or list it came from, for people.
    root : str or None
        Absolute folder, or address, that relative paths are relative to; None for lists of files.
    has_ids : bool
        Whether the catalogue states its own track ids.
    passed_over : dict
        Number of files in the folders that were not taken, by suffix (empty for none).
    first_row : int
        Rows of the manifest before these, where these are a portion.
    metadata_types : dict
        Types of columns that are known of the whole manifest: of a portion, a column may have no value at all.
    """

    frame: pd.DataFrame
    origin: str
    root: str | None = None
    has_ids: bool = False
    passed_over: dict[str, int] = field(default_factory=dict)
    first_row: int = 0
    metadata_types: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def metadata_columns(self) -> list[str]:
        """Names of the columns that travel to table ``tracks``."""
        return list(self.frame.columns[3:])

    def head(self, limit: int | None) -> Catalog:
        """The first rows.

        Parameters
        ----------
        limit : int or None
            How many; None for all.

        Returns
        -------
        Catalog
            Of those rows.
        """
        return self if limit is None else replace(self, frame=self.frame.head(limit))

    def without_rows(self, positions: Collection[int]) -> Catalog:
        """All rows but some.

        Parameters
        ----------
        positions : collection of int
            Of the rows that are left out.

        Returns
        -------
        Catalog
            The others.
        """
        if not len(positions):
            return self
        return replace(self, frame=self.frame.drop(self.frame.index[list(positions)]).reset_index(drop=True))

    def row_name(self, position: int) -> str:
        """How messages call a row: ``row 3 ('a/song.wav')``, counted from 1, header left out.

        Parameters
        ----------
        position : int
            Of the row, from 0.

        Returns
        -------
        str
            Its name.
        """
        row = self.frame.iloc[position]
        return f"row {self.first_row + position + 1} ({(row['source_uri'] or row['track_id'])!r})"

    def passed_over_text(self) -> str:
        """A sentence on the files of a folder that were not taken, and how to take them.

        Returns
        -------
        str
            Empty where there are none.
        """
        return passed_over_text(self.passed_over)

    def without_duplicates(self, how: str = "error") -> tuple[Catalog, int]:
        """The rows whose id and file are theirs alone.

        Parameters
        ----------
        how : str, optional
            What becomes of rows that share their id or their file: one of :data:`ON_DUPLICATE`. ``"error"`` raises,
            ``"first"`` keeps the first of them, ``"skip"`` leaves out all of them.

        Returns
        -------
        tuple of Catalog and int
            The catalogue, and how many rows were left out.

        Raises
        ------
        CatalogError
            There are such rows and ``how`` is ``"error"``; it names two. Or nothing is left.
        ValueError
            For any other ``how``.
        """
        if how not in ON_DUPLICATE:
            raise ValueError(f"on_duplicate must be one of {', '.join(ON_DUPLICATE)}, not {how!r}")
        clash = next(duplicates(self), None)
        if clash is None:
            return self, 0
        if how == "error":
            raise CatalogError(
                f"{clash.message}; stemfeatures validate lists all such rows, and --on-duplicate says what becomes of "
                "them",
                source=self.origin,
            )
        kept = self.frame
        for column in (ID_COLUMN, "path"):
            again = kept[column].duplicated(keep="first" if how == "first" else False) & kept[column].notna()
            kept = kept[~again]
        if not len(kept):
            raise CatalogError("every row shares its id or its file with another", source=self.origin)
        return replace(self, frame=kept.reset_index(drop=True)), len(self) - len(kept)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one row.

    Attributes
    ----------
    row : int
        Its number, counted from 1, header left out.
    track_id, path : str
        Its id, and the file as the catalogue states it.
    kind : str
        ``no_path``, ``unsupported_uri``, ``missing``, ``not_a_file``, ``zero_bytes``, ``unreadable``, ``truncated``,
        ``out_of_range``, ``duplicate_id``, ``duplicate_path`` or ``duplicate_content``.
    message : str
        A sentence.
    """

    row: int
    track_id: str
    path: str
    kind: str
    message: str


#: What may become of rows that share their id or their file.
ON_DUPLICATE = ("error", "first", "skip")


#: Problems that keep ``extract`` from starting.
FATAL_KINDS = frozenset({"duplicate_id", "duplicate_path"})


#: Problems of rows that are extracted all the same; the first two become the status of the track.
HARMLESS_KINDS = frozenset({"truncated", "out_of_range", "duplicate_content"})


@dataclass
class ValidationReport:
    """What :func:`validate_catalog` found.

    Attributes
    ----------
    origin, n_rows : str and int
        The catalogue, and its number of rows.
    problems : list of Problem
        In the order of the rows.
    n_probed : int
        Files that were opened and can be read.
    audio_s : float or None
        What they declare to last together, in seconds (after decoding: what was decoded); where nothing was probed, the
        sum of column ``duration_s``; None when neither is known.
    n_unknown_duration : int
        Rows without problem that ``audio_s`` does not count.
    passed_over : dict
        Number of files in the folders that were not taken, by suffix (empty for none).
    """

    origin: str
    n_rows: int
    problems: list[Problem] = field(default_factory=list)
    n_probed: int = 0
    audio_s: float | None = None
    n_unknown_duration: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no row has a problem."""
        return not self.problems

    @property
    def fatal(self) -> bool:
        """Whether ``extract`` would refuse the catalogue as a whole."""
        return any(p.kind in FATAL_KINDS for p in self.problems)

    def counts(self) -> dict[str, int]:
        """Number of problems by kind.

        Returns
        -------
        dict of int
            The kinds that occur.
        """
        kinds = [p.kind for p in self.problems]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


_MOST_SUFFIXES = 5


def passed_over_text(passed_over: dict[str, int]) -> str:
    """``passed over 3 files (.txt 2, without suffix 1) ...``; empty where there are none."""
    if not passed_over:
        return ""
    order = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{suffix or 'without suffix'} {n:,}" for suffix, n in order[:_MOST_SUFFIXES]]
    named += ["..."] if len(order) > _MOST_SUFFIXES else []
    n = sum(passed_over.values())
    return (
        f"passed over {n:,} file{'' if n == 1 else 's'} whose suffix is not one of audio ({', '.join(named)}); to "
        "take audio among them, name it: as a file, in a manifest, or by a pattern with the suffix such as '*.xyz'"
    )


def printable(text: str) -> str:
    """Text that can be stored as UTF-8, also when a file name's bytes are none; addresses without what lets others in.

    Parameters
    ----------
    text : str
        A name as the system gives it.

    Returns
    -------
    str
        The same, with bytes that are no UTF-8 escaped, and without users, passwords and signatures in addresses.
    """
    return redacted(printable_name(text))


def declared_durations(catalog: Catalog) -> list[float | None]:
    """Column ``duration_s`` of a catalogue.

    Parameters
    ----------
    catalog : Catalog
        The catalogue.

    Returns
    -------
    list of float or None
        Seconds by row; None where there is no usable number.
    """
    import pandas as pd

    if DURATION_COLUMN not in catalog.frame.columns:
        return [None] * len(catalog)
    values = pd.to_numeric(catalog.frame[DURATION_COLUMN], errors="coerce").astype("float64")
    return [v if 0 < v < float("inf") else None for v in values.tolist()]


def duplicates(catalog: Catalog) -> Iterator[Problem]:
    """A problem for every row that repeats the id or the file of an earlier one."""
    frame = catalog.frame
    for column, kind, what in ((ID_COLUMN, "duplicate_id", "track id"), ("path", "duplicate_path", "file")):
        values = frame[column]
        again = values.duplicated() & values.notna()
        if not again.any():
            continue
        first: dict[str, int] = {}
        for i, value in enumerate(values.tolist()):
            first.setdefault(value, i)
        for i in again.to_numpy().nonzero()[0].tolist():
            earlier = first[values.iloc[i]]
            message = f"{catalog.row_name(i)} and {catalog.row_name(earlier)} have the same {what}"
            if kind == "duplicate_id":
                message += f" {values.iloc[i]!r}"
            row = frame.iloc[i]
            yield Problem(i + 1, row[ID_COLUMN], row["source_uri"], kind, message)
