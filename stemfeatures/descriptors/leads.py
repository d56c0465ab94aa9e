"""Who is early and who is late: onsets of each stem beside those of the others and beside the beats.

Stems that strike together are never quite together. Of each pair of stems the onsets are taken that have one of the
other within 80 ms; the median of their difference is how far the one leads. What attacks of a kind are heard late by is
part of it: sung notes begin with a consonant.
"""

from __future__ import annotations

from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from ..constants import MIXTURE, STEMS
from ..fields import NOT_A_COORDINATE, Field, status_field
from .activity import active_rows
from .grooves import beat_offsets
from .inputs import DescriptorInputs
from .onsets import row_onsets
from .registry import Extractor, register
from .rhythm import row_bars
from .values import OK, SILENT, median, number

#: Onsets of two stems are together within this time; a median rests on this many at least.
TOGETHER_S = 0.08
MIN_TOGETHER = 8
#: A stem leads when it is earlier than all others by this much: half a frame.
LEAST_LEAD_S = 0.012

NO_ONSETS = "no_onsets"
TOGETHER = "together"
_lead = partial(Field, family="rhythm", since="1.1", scale=NOT_A_COORDINATE)
FIELDS = (
    status_field(
        "lead_status",
        f"ok | silent | absent | {NO_ONSETS} | not_applicable",
        "how early its onsets are (eight together with another stem's or a beat)",
        family="rhythm",
        since="1.1",
    ),
    _lead(
        "onset_beat_offset_median_s",
        "float32",
        "Median time from a beat to the onset on it (an eighth of a beat to either side); positive is late. Null for "
        "fewer than eight such onsets.",
        unit="s",
        rows=STEMS,
    ),
    _lead(
        "onset_lead_s",
        "float32",
        "How much earlier its onsets are than those of the other stems within 80 ms of them: mean over the stems of "
        "the median difference; positive is early. Null without eight of one stem.",
        unit="s",
        range="-0.08..0.08",
        rows=STEMS,
    ),
    _lead(
        "leading_stem",
        "category",
        "The stem whose onset_lead_s is largest; together where that is under 12 ms. Null for fewer than two stems.",
        range=" | ".join((*STEMS, TOGETHER)),
        rows=(MIXTURE,),
    ),
)


def paired_differences(first_s: np.ndarray, second_s: np.ndarray) -> np.ndarray:
    """(n,) how much later the second of two onsets is, where each is the other's nearest and within 80 ms."""
    if not len(first_s) or not len(second_s):
        return np.zeros(0)
    nearest = _nearest(first_s, second_s)
    mutual = _nearest(second_s, first_s)[nearest] == np.arange(len(first_s))
    difference = second_s[nearest] - first_s
    return np.asarray(difference[mutual & (np.abs(difference) <= TOGETHER_S)])


def _nearest(of_s: np.ndarray, among_s: np.ndarray) -> np.ndarray:
    """(n,) number of the nearest among increasing times."""
    after = np.clip(np.searchsorted(among_s, of_s), 1, max(len(among_s) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(among_s) - 1)
    return np.asarray(np.where(of_s - among_s[before] <= among_s[after] - of_s, before, after))


def stem_leads(inputs: DescriptorInputs) -> dict[str, float]:
    """How much earlier than the others each stem is, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{stem: seconds}``, without those that strike together with no other one.
    """
    onsets = inputs.get(row_onsets)
    leads: dict[str, list[float]] = {}
    for stem, other in permutations(STEMS, 2):
        differences = paired_differences(onsets[stem][0], onsets[other][0])
        if len(differences) >= MIN_TOGETHER:
            leads.setdefault(stem, []).append(float(np.median(differences)))
    return {stem: float(np.mean(values)) for stem, values in leads.items()}


def leading_stem(leads: dict[str, float]) -> str | None:
    """The stem that is earliest, ``together`` where none is by half a frame; None for fewer than two stems."""
    if len(leads) < 2:
        return None
    first = max(leads, key=lambda stem: leads[stem])
    return first if leads[first] >= LEAST_LEAD_S else TOGETHER


def _leads(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    leads, active = inputs.get(stem_leads), inputs.get(active_rows)
    if not active[row].any():
        return {"lead_status": SILENT}
    if row == MIXTURE:
        stem = leading_stem(leads)
        return {"lead_status": OK if stem else NO_ONSETS, "leading_stem": stem}
    bars = inputs.get(row_bars)[MIXTURE]
    offsets = beat_offsets(inputs.get(row_onsets)[row][0], bars.track.beats_s) if bars else np.zeros(0)
    offset = median(offsets) if len(offsets) >= MIN_TOGETHER else None
    lead = number(leads.get(row))
    return {
        "lead_status": NO_ONSETS if offset is None and lead is None else OK,
        "onset_beat_offset_median_s": offset,
        "onset_lead_s": lead,
    }


register(Extractor("leads", 39, FIELDS, "lead_status", _leads))
