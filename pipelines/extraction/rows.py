"""The rows of a track: of the tables where it was analysed, of ``errors`` where it was not."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stemfeatures.audio import Tags
from stemfeatures.errors import StemfeaturesError, printable_message
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import to_table
from stemfeatures.tables.rows import Provenance, TrackInfo, error_row, track_rows

from .file_state import FileState
from .lyrics import TrackLyrics
from .tasks import ShardTask, TrackTask

if TYPE_CHECKING:
    import pyarrow as pa

    from stemfeatures.analysis import TrackAnalysis

MAX_MESSAGE = 4000


def worker_name() -> str:
    """``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def analysed_rows(
    task: ShardTask,
    layout: DatasetLayout,
    track: TrackTask,
    result: TrackAnalysis,
    *,
    tags: Tags | None,
    state: FileState | None,
    lyrics: TrackLyrics | None,
) -> dict[str, pa.Table]:
    """The rows of one track by table, checked against the schema before any of them is kept."""
    info = TrackInfo(
        track_id=track.track_id,
        source_uri=track.source_uri,
        status=result.status,
        audio_sha256=result.sha256,
        source_size_bytes=state.size if state else None,
        source_modified_at=state.modified_at if state else None,
        decoded_duration_s=result.decoded_duration_s,
        sample_rate=result.sample_rate,
        channels=result.channels,
        polarity_inverted_ratio=result.polarity_inverted_ratio,
        dc_offset=result.dc_offset,
        tags=tags,
        metadata=track.metadata,
    )
    if (file := result.info) is not None:
        info.duration_s = file.declared_duration_s
        info.codec, info.bit_rate, info.lossless = file.codec, file.bit_rate, file.lossless
        info.decoder, info.decoder_version = file.decoder, file.decoder_version
        info.start_offset_s = file.start_offset_s
    provenance = replace(
        task.provenance, separator_sha256=result.separator_sha256, precision=result.precision
    )  # fmt: skip
    description = result.description
    if lyrics is not None:
        info.lyrics_sha256 = lyrics.sha256
        description = replace(description, tables={**description.tables, **lyrics.tables})
    rows = track_rows(info, description, provenance, tables=task.tables)
    return {table: to_table(layout, table, some) for table, some in rows.items()}


def failure_row(
    track: TrackTask,
    error: BaseException | str,
    provenance: Provenance,
    state: FileState | None = None,
    *,
    stage: str | None = None,
    error_type: str | None = None,
    attempt: int | None = None,
) -> dict[str, Any]:
    """The row of ``errors`` of one track; an error of no known stage happened in ``analyse``."""
    if stage is None and not isinstance(error, StemfeaturesError):
        stage = "analyse"
    if error_type is None and type(error) is StemfeaturesError and error.__cause__ is not None:
        error_type = type(error.__cause__).__name__  # a wrapper that only adds the stage
    row = error_row(
        track.track_id,
        track.source_uri,
        error,
        provenance,
        stage=stage,
        error_type=error_type,
        attempt=track.attempt if attempt is None else attempt,
        worker=worker_name(),
        source_size_bytes=state.size if state else None,
        source_modified_at=state.modified_at if state else None,
    )
    row["message"] = printable_message(row["message"])[:MAX_MESSAGE]
    return row
