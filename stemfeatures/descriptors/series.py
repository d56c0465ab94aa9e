"""Values of every row beat by beat, for those who model the course of a track; a table on request."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..constants import FRAME_RATE
from ..fields import Field
from .activity import ROUNDING_DBFS, active_rows
from .chords import chord_inputs
from .embedding import embedding, step_embeddings
from .event_tables import STEM, Columns, EventTable, register_events
from .inputs import DescriptorInputs
from .loudness import to_lufs
from .pitch_classes import fold_chroma, row_chroma
from .values import step_sums, step_windows

#: Name of the table.
SERIES = "series"
#: Least power, as a level in dB.
FLOOR_DB = -100.0

_series = partial(Field, since="1.1", family="series", nullable=False)
FIELDS = (
    STEM,
    _series(
        "times_s",
        "list<float64>",
        "Increasing edges of the steps: beats, going on at their pace to 0 and to the end; 0.25 s where no beats are.",
        "s",
        ">= 0",
    ),
    _series(
        "loudness_lufs",
        "list<float32>",
        "K-weighted level of each step of the mono signal, not gated; -100.691 for silence. One less than the edges.",
        "LUFS",
    ),
    _series("activity", "list<float32>", "Share of each step in which the row sounds.", "", "0..1"),
    Field(
        "chroma",
        "list<float32>",
        "Twelve values a step, from C on, tuning removed: shares of the pitch classes in its amplitude, all 0 where "
        "there are none. Null on drums.",
        "",
        "0..1",
        since="1.1",
        family="series",
    ),
    Field(
        "embedding",
        "list<float32>",
        "The network's vector of each step (as table embeddings has it of the track), of unit length, one after the "
        "other; all 0 where the row is silent. Null where embeddings has no row.",
        "",
        "-1..1",
        since="1.1",
        family="series",
    ),
)


def step_means(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Means of (..., n_frames) from each frame of ``first`` to the next.

    Parameters
    ----------
    values : (..., n_frames) ndarray
        Values by frame.
    first : (n_steps,) ndarray of int
        Increasing.

    Returns
    -------
    (..., n_steps) ndarray
        A step without a frame of its own has that of its beginning.
    """
    length = np.diff(np.append(first, values.shape[-1]))
    return np.asarray(step_sums(values, first) / np.maximum(length, 1))


def _step_vectors(inputs: DescriptorInputs, row: str, edges_s: np.ndarray, first: np.ndarray) -> np.ndarray | None:
    """(n_steps * n_dims,) of a row, or None."""
    frames = inputs.frames
    if frames.cells is None or not inputs.get(active_rows)[row].any() or embedding(frames.stems[row]) is None:
        return None
    vectors = step_embeddings(frames.cells, frames.rows.index(row), edges_s * FRAME_RATE)
    level = step_means(np.asarray(frames.stems[row].energy, dtype=np.float64), first)
    return np.where(level[:, None] > 10 ** (ROUNDING_DBFS / 10), vectors, np.float32(0)).ravel()


def _all_series(inputs: DescriptorInputs) -> Columns:
    steps, frames = inputs.get(chord_inputs), inputs.frames
    on_beat = steps.kinds < 2
    edges = np.append(steps.times_s[:-1][on_beat], steps.times_s[-1])
    first = np.minimum(np.ceil(edges[:-1] * FRAME_RATE).astype(int), frames.n_frames - 1)
    active, chroma = inputs.get(active_rows), inputs.get(row_chroma)
    columns: dict[str, list[np.ndarray | None]] = {f.name: [] for f in FIELDS if f.name != "stem"}
    for row in frames.rows:
        columns["embedding"].append(_step_vectors(inputs, row, edges, first))
        power = step_means(np.asarray(frames.stems[row].k_power, dtype=np.float64), first)
        columns["times_s"].append(edges)
        columns["loudness_lufs"].append(to_lufs(np.maximum(power, 10 ** (FLOOR_DB / 10))))
        columns["activity"].append(step_means(active[row].astype(np.float64), first))
        if row in chroma:
            amplitude = np.concatenate(
                [
                    step_means(
                        fold_chroma(
                            np.sqrt(np.where(active[row][part], chroma[row][:, part], 0.0)), steps.tuning_cents
                        ),
                        first[some] - part.start,
                    )
                    for some, part in step_windows(first, frames.n_frames)
                ],
                axis=1,
            )
            shares = amplitude / np.maximum(amplitude.sum(axis=0), 1e-12)
            columns["chroma"].append(shares.T.ravel())
        else:
            columns["chroma"].append(None)
    return {"stem": list(frames.rows), **columns}


register_events(
    EventTable(
        SERIES,
        90,
        "One row per row of stems, on request (extract --series): its course, a value a beat.",
        FIELDS,
        ("stem",),
        compute=_all_series,
        on_request=True,
    )
)
