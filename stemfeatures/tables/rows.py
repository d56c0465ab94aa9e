"""From what is known of a track to the rows of every table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, MIXTURE, STEM_ROWS
from ..descriptors.event_tables import event_tables
from ..errors import DatasetError, StemfeaturesError
from .layout import metadata_name
from .schema import DATA_TABLES, SCHEMA_VERSION, TRACK_STATUSES

if TYPE_CHECKING:
    from ..audio import Tags
    from ..descriptors.event_tables import Columns, EventTable
    from ..descriptors.types import F0Contour, TrackDescription

#: ``f0_cents`` counts from here, so that every audible F0 is a small positive number.
CENTS_REFERENCE_HZ = 10.0


@dataclass(frozen=True)
class Provenance:
    """What a row was made by: run, settings, checkpoint, the separator if it was another one, and the precision of the
    network."""

    run_id: str
    config_hash: str
    model: str
    model_sha256: str
    separator: str | None = None
    separator_version: str | None = None
    separator_sha256: str | None = None
    precision: str | None = None

    def columns(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            **{name: value for name, value in vars(self).items() if name != "model"},
        }


@dataclass
class TrackInfo:
    """The columns of ``tracks`` that are not provenance; see the data dictionary. ``metadata`` holds the catalogue's
    own columns under their catalogue names, ``tags`` what the file says of itself."""

    track_id: str
    source_uri: str
    status: str = "ok"
    audio_sha256: str | None = None
    source_size_bytes: int | None = None
    source_modified_at: datetime | None = None
    lyrics_sha256: str | None = None
    duration_s: float | None = None
    decoded_duration_s: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    codec: str | None = None
    bit_rate: int | None = None
    lossless: bool | None = None
    decoder: str | None = None
    decoder_version: str | None = None
    start_offset_s: float | None = None
    polarity_inverted_ratio: float | None = None
    dc_offset: float | None = None
    tags: Tags | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def track_rows(
    info: TrackInfo,
    description: TrackDescription | None,
    provenance: Provenance,
    *,
    tables: Iterable[str] = DATA_TABLES,
    extracted_at: datetime | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Rows of one track, ``{table: rows}``, for the chosen ``tables`` (``tracks`` always).

    ``stems`` gets one row for each of ``constants.STEM_ROWS`` and for each further stem; without a description (a track
    too short to analyse) only ``tracks`` gets a row. Raises DatasetError when the description does not fit the tables.
    """
    if info.status not in TRACK_STATUSES:
        raise DatasetError(
            f"track status {info.status!r} is none of {', '.join(TRACK_STATUSES)}", source=info.source_uri
        )
    columns = {k: v for k, v in vars(info).items() if k not in ("metadata", "tags")}
    columns |= {f"tag_{k}": v for k, v in vars(info.tags).items()} if info.tags else {}
    metadata = {metadata_name(k): v for k, v in info.metadata.items()}
    made = provenance.columns()
    rows: dict[str, list[dict[str, Any]]] = {
        "tracks": [{**columns, **metadata, "extracted_at": extracted_at or datetime.now(UTC), **made}]
    }
    if description is None:
        return rows
    key = {"track_id": info.track_id}
    wanted = set(tables)
    if "stems" in wanted:
        if missing := set(STEM_ROWS) - set(description.stems):
            raise DatasetError(f"stems missing: {', '.join(sorted(missing))}", source=info.source_uri)
        ordered = (*STEM_ROWS, *(stem for stem in description.stems if stem not in STEM_ROWS))
        rows["stems"] = [{**key, "stem": stem, **description.stems[stem], **made} for stem in ordered]
    if "contours" in wanted:
        rows["contours"] = [
            {**key, "stem": stem, **_contour_columns(contour, info.source_uri), **made}
            for stem, contour in description.contours.items()
        ]
    if "events" in wanted:
        events = description.events
        beats = {"times_s": np.asarray(events.beats_s, np.float64), "positions": np.asarray(events.beat_positions, int)}
        if len(beats["times_s"]) != len(beats["positions"]):
            raise DatasetError("beats_s and beat_positions differ in length", source=info.source_uri)
        rows["events"] = [
            {**key, "stem": MIXTURE, "kind": "beat", **beats, **made},
            *(
                {**key, "stem": stem, "kind": "onset", "times_s": np.asarray(times, np.float64), **made}
                for stem, times in events.onsets_s.items()
            ),
        ]
    if "embeddings" in wanted:
        rows["embeddings"] = [
            {**key, "stem": stem, "model": provenance.model, "vector": np.asarray(vector, np.float32), **made}
            for stem, vector in description.embeddings.items()
        ]
    for name, table in event_tables().items():
        if name in wanted and name in description.tables:
            rows[name] = _event_rows(table, description.tables[name], info, provenance)
    return {table: some for table, some in rows.items() if some}


def _event_rows(table: EventTable, columns: Columns, info: TrackInfo, provenance: Provenance) -> list[dict[str, Any]]:
    try:
        events = table.rows(columns)
    except ValueError as e:
        raise DatasetError(str(e), source=info.source_uri) from e
    return [{"track_id": info.track_id, **event, "run_id": provenance.run_id} for event in events]


def error_row(
    track_id: str,
    source_uri: str,
    error: BaseException | str,
    provenance: Provenance,
    *,
    stage: str | None = None,
    error_type: str | None = None,
    attempt: int = 1,
    worker: str | None = None,
    audio_sha256: str | None = None,
    source_size_bytes: int | None = None,
    source_modified_at: datetime | None = None,
    at: datetime | None = None,
) -> dict[str, Any]:
    """The row of ``errors`` for one failed track; stage and type are read from ``error`` unless given."""
    if isinstance(error, StemfeaturesError):
        message, stage = error.message, stage or error.stage
    else:
        message = str(error) or repr(error)
    return {
        "track_id": track_id,
        "source_uri": source_uri,
        "stage": stage or "unknown",
        "error_type": error_type or ("error" if isinstance(error, str) else type(error).__name__),
        "message": message,
        "attempt": attempt,
        "worker": worker,
        "audio_sha256": audio_sha256,
        "source_size_bytes": source_size_bytes,
        "source_modified_at": source_modified_at,
        "at": at or datetime.now(UTC),
        **provenance.columns(),
    }


def _contour_columns(contour: F0Contour, source: str) -> dict[str, Any]:
    times = np.asarray(contour.times_s, np.float64)
    if not len(times) == len(contour.f0_hz) == len(contour.voicing):
        raise DatasetError("contour: times_s, f0_hz and voicing differ in length", source=source)
    t0 = float(times[0]) if len(times) else 0.0
    hop = (times[-1] - t0) / (len(times) - 1) if len(times) > 1 else HOP_LENGTH / ANALYSIS_SAMPLE_RATE
    if len(times) and not np.allclose(times, t0 + hop * np.arange(len(times)), rtol=0, atol=1e-6):
        raise DatasetError("contour: the frames are not evenly spaced", source=source)
    return {
        "t0_s": t0,
        "hop_s": float(hop),
        "f0_cents": f0_to_cents(contour.f0_hz),
        "voicing": voicing_to_bytes(contour.voicing),
    }


def f0_to_cents(f0_hz: np.ndarray) -> pa.Array:
    """F0 in Hz, NaN where unvoiced, to int16 cents above 10 Hz, null where unvoiced (error at most half a cent).

    Raises DatasetError for zero, negative or infinite frequencies.
    """
    f0 = np.asarray(f0_hz, np.float64)
    voiced = ~np.isnan(f0)
    if not np.all(np.isfinite(f0[voiced]) & (f0[voiced] > 0)):
        raise DatasetError("f0_hz must be positive and finite, or NaN where unvoiced")
    cents = np.rint(1200 * np.log2(np.where(voiced, f0, CENTS_REFERENCE_HZ) / CENTS_REFERENCE_HZ)).astype(int)
    if np.any(np.abs(cents) > np.iinfo(np.int16).max):
        raise DatasetError("f0_hz beyond what a contour can hold")
    return pa.array(cents, pa.int16(), mask=~voiced)


def cents_to_f0(f0_cents: Any) -> np.ndarray:
    """The inverse: cents above 10 Hz with null, None or NaN where unvoiced, to (n_frames,) float64 Hz with NaN."""
    cents = pa.array(f0_cents, pa.float64(), from_pandas=True).to_numpy(zero_copy_only=False)
    return CENTS_REFERENCE_HZ * 2.0 ** (cents / 1200)


def voicing_to_bytes(voicing: np.ndarray) -> np.ndarray:
    """Probabilities 0..1 to uint8 0..255. Raises DatasetError outside of 0..1."""
    p = np.asarray(voicing, np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise DatasetError("voicing must lie in 0..1")
    return np.rint(p * 255).astype(np.uint8)


def bytes_to_voicing(voicing: Any) -> np.ndarray:
    """uint8 0..255 to (n_frames,) float32 probabilities."""
    return np.asarray(voicing, np.float32) / np.float32(255)
