"""Where the stems stand between left and right: width, pan and correlation of the channels, over all and by band.

The channels of a stem are those of the file under the stem's mask. With the powers ``<LL>``, ``<RR>`` and the cross
power ``<LR>`` over its active frames:

* ``stereo_width`` is the share of the side ``(L - R) / 2`` in the power of mid and side,
  ``(<LL> + <RR> - 2 <LR>) / (2 (<LL> + <RR>))``: 0 for equal channels, 0.5 for independent ones and for a sound on
  one side only, 1 for channels that cancel;
* ``stereo_pan`` is ``(<RR> - <LL>) / (<RR> + <LL>)``: -1 left, 0 centre, 1 right; ``-cos(2 a)`` of a source that the
  law of constant power pans by the angle ``a``, 0 to 90 degrees;
* ``stereo_correlation`` is ``<LR> / sqrt(<LL> <RR>)``: 1 for channels equal but for their level, 0 for independent
  ones, -1 for opposite ones.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..fields import NOT_A_COORDINATE, Field, status_field
from ..frames.types import STEREO_BANDS, STEREO_EDGES_HZ, STEREO_STEP
from .activity import active_rows
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .values import OK, SILENT, TOO_SHORT, number

#: A band, or the softer channel, with less than this share of the power is what masks and arithmetic left over.
NEGLIGIBLE = 1e-6

MONO, MULTICHANNEL, UNKNOWN = "mono", "multichannel", "unknown"

#: A mono copy of a song is the same music: none of these is a coordinate.
_field = partial(Field, type="float32", family="stereo", since="1.1", scale=NOT_A_COORDINATE)
_WHERE = {"": "", **{
    f"_{band}": f" from {low:.0f} to {high:.0f} Hz"
    for band, low, high in zip(STEREO_BANDS, STEREO_EDGES_HZ, STEREO_EDGES_HZ[1:])
}}  # fmt: skip
FIELDS = (
    status_field(
        "stereo_status",
        "ok | silent | absent | too_short | mono | multichannel | unknown",
        "the place between two channels (too_short: none of the frames sounds that are measured, every fourth; "
        "unknown: the frames hold no channels)",
        family="stereo",
        since="1.1",
    ),
    *(
        field
        for suffix, where in _WHERE.items()
        for field in (
            _field(
                f"stereo_width{suffix}",
                description=f"Share of the side in the power of mid and side{where}: 0 for equal channels, 0.5 for "
                "independent ones or one side alone, 1 for channels that cancel.",
                range="0..1",
            ),
            _field(
                f"stereo_pan{suffix}",
                description=f"Power of the right channel less that of the left over their sum{where}: -1 is left.",
                range="-1..1",
            ),
            _field(
                f"stereo_correlation{suffix}",
                description=f"Correlation of left and right{where}; null where one is silent.",
                range="-1..1",
            ),
        )
    ),
)


def stereo_image(left: float, right: float, cross: float) -> dict[str, float | None]:
    """Width, pan and correlation.

    Parameters
    ----------
    left, right : float
        Power of the channels.
    cross : float
        Mean product of the channels.

    Returns
    -------
    dict
        ``width``, ``pan`` and ``correlation`` as the module defines them; None for silence, the correlation also where
        a channel has less than a millionth of the power.

    Examples
    --------
    >>> stereo_image(1.0, 1.0, 0.0)
    {'width': 0.5, 'pan': 0.0, 'correlation': 0.0}
    """
    total = left + right
    if total <= 0:
        return {"width": None, "pan": None, "correlation": None}
    heard = min(left, right) > NEGLIGIBLE * total
    return {
        "width": number(np.clip(0.5 - cross / total, 0, 1)),
        "pan": number((right - left) / total),
        "correlation": number(np.clip(cross / np.sqrt(left * right), -1, 1)) if heard else None,
    }


def _stereo(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    active = inputs.get(active_rows)[row]
    power, channels = inputs.frames.stems[row].channel_power, inputs.frames.channels
    if not active.any():
        return {"stereo_status": SILENT}
    if power is None:
        known = {None: UNKNOWN, 1: MONO, 2: UNKNOWN}
        return {"stereo_status": known.get(channels, MULTICHANNEL)}
    measured_frames = active[::STEREO_STEP]
    if not measured_frames.any():
        return {"stereo_status": TOO_SHORT}
    bands = power[..., measured_frames].sum(axis=-1, dtype=np.float64)
    total = bands.sum(axis=0)
    measured: dict[str, Any] = {"stereo_status": OK if total[:2].sum() > 0 else SILENT}
    for suffix, values in zip(_WHERE, (total, *bands)):
        if values[:2].sum() > NEGLIGIBLE * total[:2].sum():
            image = stereo_image(*values.tolist())
            measured |= {f"stereo_{name}{suffix}": value for name, value in image.items()}
    return measured


register(Extractor("stereo", 69, FIELDS, "stereo_status", _stereo))
