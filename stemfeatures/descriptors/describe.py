"""All descriptors of a track, from its frames."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..constants import MIXTURE
from ..frames import TrackFrames
from .activity import active_rows
from .embedding import embedding
from .event_tables import describe_events
from .f0 import f0_contours
from .half_frames import with_half_frames
from .inputs import DescriptorInputs
from .onsets import row_onsets
from .registry import describe_rows
from .rhythm import row_bars
from .types import Events, F0Contour, TrackDescription


def describe(frames: TrackFrames, *, requested: Iterable[str] = ()) -> TrackDescription:
    """Descriptors of one track, from its frames alone.

    Parameters
    ----------
    frames : TrackFrames
        All of ``STEM_ROWS`` must be there, with at least one frame. Values are finite; bounds are those of
        :mod:`stemfeatures.frames`.
    requested : iterable of str
        Tables of events to compute although they are made on request only; other names are of no account.

    Returns
    -------
    TrackDescription
        Every row holds every field of :func:`~.registry.descriptor_fields`; None where it cannot be measured, with the
        reason in a ``*_status``. The result depends on the frames only and is the same on every run.

    Raises
    ------
    ValueError
        When a row is missing, there is no frame, or a row has another number of frames.
    """
    inputs = DescriptorInputs(frames)
    active, bars = inputs.get(active_rows), inputs.get(row_bars)[MIXTURE]
    vectors = {row: embedding(frames.stems[row]) for row in frames.rows if active[row].any()}
    return TrackDescription(
        stems=describe_rows(inputs),
        contours=_contours(inputs),
        events=Events(
            beats_s=bars.track.beats_s if bars else np.zeros(0),
            beat_positions=bars.positions if bars else np.zeros(0, dtype=np.int64),
            onsets_s={row: onsets_s for row, (onsets_s, _) in inputs.get(row_onsets).items()},
        ),
        embeddings={row: vector for row, vector in vectors.items() if vector is not None},
        tables=describe_events(inputs, requested),
    )


def _contours(inputs: DescriptorInputs) -> dict[str, F0Contour]:
    """F0 of the pitched stems, at twice the rate of the frames where it is known between them."""
    found = {}
    for stem, (contour, _) in inputs.get(f0_contours).items():
        between_hz = inputs.frames.pitch[stem].between_hz
        found[stem] = contour if between_hz is None else with_half_frames(contour, between_hz.astype(np.float64))
    return found
