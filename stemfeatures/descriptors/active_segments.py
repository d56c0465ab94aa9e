"""When each row sounds, as events."""

from __future__ import annotations

import numpy as np

from ..constants import FRAME_RATE
from .activity import MAX_GAP_S, active_rows
from .event_tables import END, START, STEM, Columns, EventTable, register_events
from .inputs import DescriptorInputs
from .values import bridged, runs

FIELDS = (STEM, START, END)


def _segments(inputs: DescriptorInputs) -> Columns:
    active, duration_s = inputs.get(active_rows), inputs.frames.duration_s
    found = {row: bridged(runs(active[row]), MAX_GAP_S * FRAME_RATE) for row in active}
    frames = np.concatenate(list(found.values()))
    return {
        "stem": np.repeat(list(found), [len(segments) for segments in found.values()]).tolist(),
        "start_s": np.maximum((frames[:, 0] - 0.5) / FRAME_RATE, 0.0),
        "end_s": np.minimum((frames[:, 1] - 0.5) / FRAME_RATE, duration_s),
    }


register_events(
    EventTable(
        "active_segments",
        10,
        "One row per stretch in which a row of stems sounds, pauses under 0.5 s bridged; stems.n_active_segments "
        "counts them.",
        FIELDS,
        ("stem", "start_s"),
        compute=_segments,
    )
)
