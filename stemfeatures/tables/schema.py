"""Every column of every table, from which schemas, docs and ``stemfeatures schema`` come.

The descriptor columns of table ``stems`` and the tables of events are declared beside the code that computes them, see
:mod:`stemfeatures.descriptors.registry` and :mod:`stemfeatures.descriptors.event_tables`; all others are here.

``python -m stemfeatures.tables.schema > docs/tables.md`` renders the data dictionary.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from ..constants import PITCHED_STEMS, STEM_ROWS
from ..descriptors.event_tables import event_tables
from ..descriptors.registry import descriptor_fields
from ..errors import DatasetError
from ..fields import Field

if TYPE_CHECKING:
    import pandas as pd

#: Additive changes raise the minor number; a reader refuses another major number.
SCHEMA_VERSION = "1.1"

_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "uint8": pa.uint8(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    # Not an Arrow dictionary: its values would differ from part to part, which Dask refuses. Parquet encodes it anyhow.
    "category": pa.string(),
}


@dataclass(frozen=True)
class Table:
    """A table: its columns in order, and what identifies and orders a row.

    Attributes
    ----------
    name : str
        What it is called.
    description : str
        What one row is.
    fields : tuple of Field
        The columns, keys first.
    key : tuple of str
        The columns that identify a row.
    """

    name: str
    description: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(f.name for f in self.fields)


_TRACK_ID = Field("track_id", "string", "Identity of the track in the catalogue.", nullable=False, family="key")
_STEM = Field(
    "stem",
    "category",
    "The separated stem that the row is about, or the mixture. Further stems of a separator (guitar, piano) have rows "
    "of their names; they are part of other, and what is defined on other is defined on them.",
    range=" | ".join(STEM_ROWS),
    nullable=False,
    family="key",
)
_SCHEMA_VERSION = Field(
    "schema_version",
    "string",
    "Version of this data dictionary that the row was written with; rows of one major version can be compared.",
    nullable=False,
    family="provenance",
)
_RUN_ID = Field("run_id", "string", "Run that wrote the row; see table runs.", nullable=False, family="provenance")
_CONFIG_HASH = Field(
    "config_hash",
    "string",
    "Digest of every setting that can change a value, besides the alignment of lyrics (alignment in the run's "
    "config_json); rows with equal config_hash and model_sha256 are comparable.",
    nullable=False,
    family="provenance",
)
_MODEL_SHA256 = Field(
    "model_sha256", "string", "SHA-256 of the checkpoint file, hexadecimal.", nullable=False, family="provenance"
)
_separator = partial(Field, type="string", since="1.1", family="provenance")
PROVENANCE_FIELDS = (
    _SCHEMA_VERSION,
    _RUN_ID,
    _CONFIG_HASH,
    _MODEL_SHA256,
    _separator(
        "separator",
        description="What separated the stems, such as demucs:htdemucs; stems for those of --stems-from; null: the "
        "checkpoint.",
    ),
    _separator("separator_version", description="Version of the separator's package; null: the checkpoint separated."),
    _separator(
        "separator_sha256",
        description="SHA-256 of the separator's weights, or of names and BLAKE2b digests of the files of stems; "
        "null: the checkpoint separated.",
    ),
    Field(
        "precision",
        "category",
        "In which the network computed. Values move by less than those of an MP3, so config_hash does not tell; null: "
        "rows of earlier versions, see config_json of the run, and tracks that failed.",
        range="float32 | bfloat16",
        since="1.1",
        family="provenance",
    ),
)

_SOURCE_URI = Field(
    "source_uri",
    "string",
    "Where the audio was read from, as the catalogue states it.",
    nullable=False,
    family="source",
)
_AUDIO_SHA256 = Field(
    "audio_sha256",
    "string",
    "SHA-256 of the audio file's bytes, hexadecimal: the identity of the audio.",
    family="source",
)
_SOURCE_SIZE = Field(
    "source_size_bytes", "int64", "Size of the audio file when it was read.", "B", ">= 0", family="source"
)
_SOURCE_MODIFIED = Field(
    "source_modified_at", "timestamp", "Modification time of the audio file when it was read.", family="source"
)
_LYRICS_SHA256 = Field(
    "lyrics_sha256",
    "string",
    "SHA-256 of the text of the track's lyrics in UTF-8, hexadecimal; null where none were found, or asked for.",
    since="1.1",
    family="source",
)


def _tag(name: str, kind: str, description: str, unit: str = "", limits: str = "") -> Field:
    return Field(f"tag_{name}", kind, description, unit, limits, since="1.1", family="tags")


TRACK_STATUSES = ("ok", "truncated", "out_of_range", "silent", "too_short")
EVENT_KINDS = ("beat", "onset")

_DATA = (
    Table(
        "tracks",
        "One row per extracted track: the facts of its audio file, where it came from and how it was decoded.",
        (
            _TRACK_ID,
            _SOURCE_URI,
            _AUDIO_SHA256,
            _SOURCE_SIZE,
            _SOURCE_MODIFIED,
            _LYRICS_SHA256,
            Field(
                "status",
                "category",
                "ok; truncated (fewer samples decoded than the file declares); out_of_range (samples far beyond full "
                "scale: integers stored as floating point; no level can be trusted); silent (no stem is audible); "
                "too_short (shorter than the shortest analysis).",
                range=" | ".join(TRACK_STATUSES),
                nullable=False,
                family="audio",
            ),
            Field("duration_s", "float64", "Duration that the file's header declares.", "s", ">= 0", family="audio"),
            Field(
                "decoded_duration_s",
                "float64",
                "Duration of the samples that were decoded; all times in all tables count from its start.",
                "s",
                "> 0",
                family="audio",
            ),
            Field("sample_rate", "int32", "Sample rate of the file.", "Hz", "> 0", family="audio"),
            Field("channels", "int16", "Channels of the file.", "", ">= 1", family="audio"),
            Field("codec", "string", "Codec as the decoder names it.", family="audio"),
            Field("bit_rate", "int64", "Mean bit rate of the file.", "bit/s", "> 0", family="audio"),
            Field("lossless", "bool", "Whether the codec keeps every sample.", family="audio"),
            Field(
                "decoder", "string", "Decoder that read the file; decoders may differ in start offset.", family="audio"
            ),
            Field("decoder_version", "string", "Version of the decoder.", family="audio"),
            Field(
                "start_offset_s",
                "float64",
                "Time of the first decoded sample, from the start of the earliest stream of the file on; more than 0 "
                "where the sound of a film starts late.",
                "s",
                ">= 0",
                family="audio",
            ),
            Field(
                "polarity_inverted_ratio",
                "float32",
                "Share of the track in which a channel was inverted before the channels were averaged, since they are "
                "out of phase and would have cancelled; 0 for most files, 1 where a channel was wired the wrong way.",
                range="0..1",
                family="audio",
                since="1.1",
            ),
            Field(
                "dc_offset",
                "float32",
                "Largest absolute mean of a channel, full scale = 1; it is removed before the analysis.",
                range=">= 0",
                family="audio",
                since="1.1",
            ),
            _tag("title", "string", "Title that the file's own tags state."),
            _tag("artist", "string", "Artist in its tags; several with semicolons between."),
            _tag("album", "string", "Album in its tags."),
            _tag("album_artist", "string", "Artist of the album in its tags; several with semicolons between."),
            _tag("genre", "string", "First genre in its tags."),
            _tag(
                "year",
                "int16",
                "First year from 1400 to 2099 in the date of its tags, or in that of its release.",
                "",
                "1400..2099",
            ),
            _tag("isrc", "string", "International standard recording code in its tags, without hyphens."),
            _tag("has_lyrics", "bool", "Whether its tags hold lyrics; null where no tags were looked for."),
            _tag("track_gain_db", "float32", "ReplayGain (or R128 gain) of the track in its tags.", "dB", "-60..60"),
            _tag("album_gain_db", "float32", "ReplayGain (or R128 gain) of the album in its tags.", "dB", "-60..60"),
            _tag("track_peak", "float32", "Peak of the track in its tags, full scale = 1.", "", "0..100"),
            Field("extracted_at", "timestamp", "When the row was computed (UTC).", nullable=False, family="provenance"),
            *PROVENANCE_FIELDS,
        ),
        ("track_id",),
    ),
    Table(
        "stems",
        "One row per track and stem: the scalar descriptors of the separated stem, and of the mixture.",
        (_TRACK_ID, _STEM, *PROVENANCE_FIELDS),
        ("track_id", "stem"),
    ),
    Table(
        "contours",
        f"One row per track and pitched stem ({', '.join(PITCHED_STEMS)}): the F0 contour. Frame k is centred on "
        "t0_s + k * hop_s; f0_hz = 10 * 2 ** (f0_cents / 1200).",
        (
            _TRACK_ID,
            _STEM,
            Field("t0_s", "float64", "Time of the first frame.", "s", ">= 0", nullable=False, family="f0"),
            Field(
                "hop_s",
                "float64",
                "Time between frames: of vocals half of that of other series.",
                "s",
                "> 0",
                nullable=False,
                family="f0",
            ),
            Field(
                "f0_cents",
                "list<int16>",
                "F0 of each frame above 10 Hz; null where unvoiced.",
                "cents",
                nullable=False,
                family="f0",
            ),
            Field(
                "voicing",
                "list<uint8>",
                "Probability of a pitch in each frame, times 255.",
                "1/255",
                "0..255",
                nullable=False,
                family="f0",
            ),
            *PROVENANCE_FIELDS,
        ),
        ("track_id", "stem"),
    ),
    Table(
        "events",
        "One row per track, stem and kind of event: points in time. Beats are found on the mixture and the drums "
        "together and belong to stem mixture.",
        (
            _TRACK_ID,
            _STEM,
            Field("kind", "category", "Kind of event.", range=" | ".join(EVENT_KINDS), nullable=False, family="key"),
            Field("times_s", "list<float64>", "Increasing times of the events.", "s", ">= 0", False, family="rhythm"),
            Field(
                "positions",
                "list<int8>",
                "Place of each beat in its bar, counted from 1 (the downbeat); 0 = not known. Null for onsets.",
                range=">= 0",
                family="rhythm",
            ),
            *PROVENANCE_FIELDS,
        ),
        ("track_id", "stem", "kind"),
    ),
    Table(
        "embeddings",
        "One row per track and audible stem: the pooled embedding of the network. Vectors of one model_sha256 "
        "have one length and can be compared.",
        (
            _TRACK_ID,
            _STEM,
            Field("model", "string", "Name of the checkpoint.", nullable=False, family="provenance"),
            # Not of fixed size: a dataset may hold the vectors of several models, and its schema must not change.
            Field("vector", "list<float32>", "The embedding.", nullable=False, family="embedding"),
            *PROVENANCE_FIELDS,
        ),
        ("track_id", "stem"),
    ),
)
#: A row of a table of events has many neighbours: of its provenance it keeps what tells whether it counts.
_EVENTS = tuple(
    Table(table.name, table.description, (_TRACK_ID, *table.fields, _RUN_ID), ("track_id", *table.key))
    for table in event_tables().values()
)
_RECORDS = (
    Table(
        "errors",
        "One row per catalogue row that could not be extracted. A track stands either here or in tracks, never both.",
        (
            _TRACK_ID,
            _SOURCE_URI,
            Field(
                "stage",
                "string",
                "Step that failed (catalog, decode, separate, describe, tables, worker, ...).",
                nullable=False,
                family="error",
            ),
            Field("error_type", "string", "Class of the error.", nullable=False, family="error"),
            Field(
                "message", "string", "What was said, by every decoder that was asked.", nullable=False, family="error"
            ),
            Field("attempt", "int32", "How many times the track had been tried.", "", ">= 1", False, family="error"),
            Field("worker", "string", "Process or worker address on which it failed.", family="error"),
            _AUDIO_SHA256,
            _SOURCE_SIZE,
            _SOURCE_MODIFIED,
            Field("at", "timestamp", "When it failed (UTC).", nullable=False, family="error"),
            *PROVENANCE_FIELDS,
        ),
        ("track_id",),
    ),
    Table(
        "runs",
        "One row per run that wrote to this dataset.",
        (
            Field("run_id", "string", "Identity of the run.", nullable=False, family="key"),
            Field("started_at", "timestamp", "When the run began (UTC).", nullable=False, family="run"),
            Field("finished_at", "timestamp", "When the run ended (UTC); null if it never said so.", family="run"),
            Field(
                "status",
                "category",
                "running; finished; failed (ended by an exception); interrupted (stopped or killed).",
                range="running | finished | failed | interrupted",
                nullable=False,
                family="run",
            ),
            Field("n_tracks", "int64", "Tracks this run committed.", "", ">= 0", False, family="run"),
            Field("n_errors", "int64", "Tracks this run committed to errors.", "", ">= 0", False, family="run"),
            Field("n_skipped", "int64", "Catalogue rows that were already done.", "", ">= 0", family="run"),
            Field("audio_s", "float64", "Decoded audio of the committed tracks.", "s", ">= 0", family="run"),
            Field("config_json", "string", "Every setting of the run, JSON.", family="run"),
            Field("config_hash", "string", "Digest of the settings that can change a value.", family="run"),
            Field(
                "versions_json", "string", "Versions of Python, this library and its dependencies, JSON.", family="run"
            ),
            Field("model", "string", "Name of the checkpoint.", family="run"),
            Field("model_sha256", "string", "SHA-256 of the checkpoint file.", family="run"),
            Field("git_sha", "string", "Commit of the source, when it ran from a checkout.", family="run"),
            Field("host", "string", "Machine that committed.", family="run"),
            _SCHEMA_VERSION,
        ),
        ("run_id",),
    ),
)


class _Tables(Mapping[str, Table]):
    """Tables by name; ``stems`` has the descriptors that are registered when it is looked up."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._tables = {table.name: table for table in tables}
        self._descriptors: tuple[Field, ...] = ()
        self._stems = self._tables["stems"]

    def __getitem__(self, name: str) -> Table:
        return self._with_descriptors() if name == "stems" else self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def _with_descriptors(self) -> Table:
        descriptors = descriptor_fields()
        if self._descriptors is not descriptors:
            plain, n_keys = self._tables["stems"], len(self._tables["stems"].key)
            fields = (*plain.fields[:n_keys], *descriptors, *plain.fields[n_keys:])
            self._descriptors, self._stems = descriptors, dataclasses.replace(plain, fields=fields)
        return self._stems


TABLES: Mapping[str, Table] = _Tables((*_DATA, *_EVENTS, *_RECORDS))
#: Tables that hold what was extracted: a track's rows in all of them live and die together.
DATA_TABLES = tuple(table.name for table in (*_DATA, *_EVENTS))
#: Those that are written unless others are asked for.
DEFAULT_TABLES = tuple(
    name for name in DATA_TABLES if name not in event_tables() or not event_tables()[name].on_request
)


def get_table(name: str) -> Table:
    """The table of a name.

    Parameters
    ----------
    name : str
        One of ``TABLES``.

    Returns
    -------
    Table
        Its description.

    Raises
    ------
    DatasetError
        With the known names, when there is none.
    """
    try:
        return TABLES[name]
    except KeyError:
        raise DatasetError(f"unknown table {name!r}; there are: {', '.join(TABLES)}") from None


def find_fields(text: str) -> list[Table]:
    """Look columns up.

    Parameters
    ----------
    text : str
        Name of a table, of a column or of a family, else a part of a column's name, else words of its description,
        else words of name, family, description and stems, as ``vibrato vocals``; blanks are as good as underscores.
        Empty for all.

    Returns
    -------
    list of Table
        Tables with the columns that were found; none where nothing was.

    Examples
    --------
    >>> [field.name for field in find_fields("true peak")[0].fields]
    ['true_peak_dbtp']
    """
    text = text.strip().lower()
    if not text or text in TABLES:
        return [TABLES[text]] if text else list(TABLES.values())
    name, words = text.replace(" ", "_"), text.split()
    for fits in (
        lambda f: f.name == name,
        lambda f: f.family == text,
        lambda f: name in f.name,
        lambda f: all(word in f.description.lower() for word in words),
        lambda f: all(word in _told_of(f) for word in words),
    ):
        found = [replace(t, fields=tuple(filter(fits, t.fields))) for t in TABLES.values()]
        if some := [t for t in found if t.fields]:
            return some
    return []


def _told_of(f: Field) -> str:
    stems = f.rows or (STEM_ROWS if f.family else ())
    return " ".join((f.name, f.family, f.description, *stems)).lower()


def arrow_type(spec: str) -> pa.DataType:
    """The Arrow type of a field.

    Parameters
    ----------
    spec : str
        Type of a :class:`~stemfeatures.fields.Field`, such as ``float32``, ``list<int16>`` or
        ``fixed_list<float32, 64>``.

    Returns
    -------
    pyarrow.DataType
        The type.

    Raises
    ------
    DatasetError
        When there is no such type.
    """
    if spec in _SCALARS:
        return _SCALARS[spec]
    if m := re.fullmatch(r"list<(\w+)>", spec):
        return pa.list_(pa.field("element", arrow_type(m[1])))
    if m := re.fullmatch(r"fixed_list<(\w+),\s*(\d+)>", spec):
        return pa.list_(pa.field("element", arrow_type(m[1])), int(m[2]))
    raise DatasetError(f"unknown field type {spec!r}")


def schema_of(table: str, fields: Iterable[Field], *, describe: bool = True) -> pa.Schema:
    """Arrow schema of fields.

    Parameters
    ----------
    table : str
        Name of the table.
    fields : iterable of Field
        Its columns.
    describe : bool
        Add unit, description, range, since, family and rows (joined by ``|``) to the metadata of each field.

    Returns
    -------
    pyarrow.Schema
        Its metadata name the table and the schema version.
    """
    return pa.schema(
        [pa.field(f.name, arrow_type(f.type), f.nullable, _metadata(f) if describe else None) for f in fields],
        metadata={"stemfeatures.table": table, "stemfeatures.schema_version": SCHEMA_VERSION},
    )


def _metadata(f: Field) -> dict[str, str]:
    texts = {name: getattr(f, name) for name in ("unit", "description", "range", "since", "family")}
    return {**texts, "rows": "|".join(f.rows)}


def arrow_schema(table: str, *, describe: bool = True) -> pa.Schema:
    """Arrow schema of a table, without a dataset's own catalogue columns (see ``DatasetLayout.schema``).

    Parameters
    ----------
    table : str
        Name of the table.
    describe : bool
        As for :func:`schema_of`.

    Returns
    -------
    pyarrow.Schema
        All columns.

    Raises
    ------
    DatasetError
        When there is no such table.
    """
    return schema_of(table, get_table(table).fields, describe=describe)


def data_dictionary(tables: Iterable[str] | None = None) -> pd.DataFrame:
    """The data dictionary.

    Parameters
    ----------
    tables : iterable of str, optional
        Only these tables; all by default.

    Returns
    -------
    DataFrame
        One row per column: ``table, column, type, unit, range, nullable, since, family, rows, scale, description``.
        ``rows`` are the values of ``stem`` on which a column is defined, empty for all.

    Raises
    ------
    DatasetError
        When there is no such table.
    """
    import pandas as pd

    plain = ("type", "unit", "range", "nullable", "since", "family")
    return pd.DataFrame(
        [
            (name, f.name, *(getattr(f, c) for c in plain), ", ".join(f.rows), f.scale.kind, f.description)
            for name in (TABLES if tables is None else tables)
            for f in get_table(name).fields
        ],
        columns=["table", "column", *plain, "rows", "scale", "description"],
    )


def markdown(tables: Iterable[Table] | None = None) -> str:
    """The data dictionary as a Markdown page.

    Parameters
    ----------
    tables : iterable of Table, optional
        Only these; all by default.

    Returns
    -------
    str
        The page, ending in a newline.
    """
    cell = lambda text: text.replace("|", "\\|")  # noqa: E731
    lines = [
        "# Tables",
        "",
        "<!-- Generated by `python -m stemfeatures.tables.schema > docs/tables.md`; do not edit. -->",
        "",
        f"Schema version {SCHEMA_VERSION}. Null means that a value could not be measured: the column `*_status` before",
        "it says why, and where that is `ok`, the description of the value. Times are seconds from the",
        "first decoded sample. Columns of the catalogue travel through to `tracks` under the prefix `meta_`.",
        "Rows: the values of `stem` on which a descriptor is defined, where it is not on all.",
    ]
    for table in TABLES.values() if tables is None else tables:
        key = ", ".join(f"`{k}`" for k in table.key)
        lines += ["", f"## {table.name}", "", table.description, f"Key: {key}.", ""]
        of_rows = any(f.rows for f in table.fields)
        heads = ("column", "type", "unit", "range", "null", *(["rows"] if of_rows else []), "since", "description")
        lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for f in table.fields:
            null, rows = "yes" if f.nullable else "", [", ".join(f.rows)] if of_rows else []
            cells = (f"`{f.name}`", f.type, f.unit, cell(f.range), null, *rows, f.since, cell(f.description))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
