"""Keys as events: a track passes into another key where its chords pass into another scale.

The chords tell where (:mod:`.chords`), what sounds between two changes tells which of the keys of that scale it is
(:mod:`.keys`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..constants import FRAME_RATE, MIXTURE
from ..fields import Field
from .chords import NO_CHORD, track_chords
from .event_tables import END, START, Columns, EventTable, register_events
from .harmony import MIN_ACTIVE_S, key_evidence
from .inputs import DescriptorInputs
from .keys import MODES, SCALES, KeyEvidence, estimate_mode
from .pitch_classes import PITCH_CLASSES, mixture_amplitude, pitch_classes, row_chroma, track_tuning

_event = partial(Field, since="1.1", family="harmony")
EVENT_FIELDS = (
    START,
    END,
    _event("key", "category", "Key such as G#:minor, with sharps; null where too little sounds."),
    _event("mode", "category", "Mode on its tonic.", range=" | ".join(MODES)),
    _event(
        "confidence",
        "float32",
        "Probability of tonic and mode among those of its scale; among all where the key does not change.",
        "",
        "0..1",
    ),
)


def _keys(inputs: DescriptorInputs) -> Columns:
    chords = inputs.get(track_chords)
    if all(label == NO_CHORD for label in chords.label):
        return {field.name: [] for field in EVENT_FIELDS}
    chroma, (_, told) = inputs.get(row_chroma), inputs.get(mixture_amplitude)
    tuning = inputs.get(track_tuning)
    end_s = np.append(chords.scale_start_s[1:], chords.end_s[-1])
    times_s = inputs.frames.times_s
    rows = []
    for start, end, scale in zip(chords.scale_start_s, end_s, chords.scale.tolist()):
        first, stop = np.searchsorted(times_s, [start, end])
        part = slice(int(first), int(stop))
        classes, bass = pitch_classes(chroma[MIXTURE][:, part], told[part], tuning, chroma["bass"][:, part])
        little = classes.shape[1] < MIN_ACTIVE_S * FRAME_RATE
        evidence = None if bass is None or little else key_evidence(classes, bass, chords, start, end)
        rows.append(_key(evidence, scale if len(end_s) > 1 else None))
    key, mode, confidence = zip(*rows)
    return {"start_s": chords.scale_start_s, "end_s": end_s, "key": key, "mode": mode, "confidence": confidence}


def _key(evidence: KeyEvidence | None, scale: int | None) -> tuple[Any, ...]:
    """Name, mode and confidence."""
    if evidence is None:
        return None, None, None
    tonic, mode, probability = estimate_mode(evidence, scale)
    return f"{PITCH_CLASSES[tonic]}:{SCALES[mode]}", mode, probability


register_events(
    EventTable(
        "keys",
        25,
        "One row per key of the track, without gaps from 0 to the end; a new one where the chords pass into another "
        "scale. None without chords.",
        EVENT_FIELDS,
        ("start_s",),
        compute=_keys,
    )
)
