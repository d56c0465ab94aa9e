"""What the page on a features directory tells, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from stemfeatures.constants import MIXTURE, STEM_ROWS

if TYPE_CHECKING:
    import pandas as pd

    from stemfeatures.tables.reader import Features

#: Descriptors whose distributions are shown, and by which tracks are outliers.
MAIN = (
    "activity_ratio",
    "loudness_integrated_lufs",
    "loudness_relative_lu",
    "tempo_bpm",
    "onset_rate",
    "f0_median_hz",
    "f0_range_semitones",
    "tuning_cents",
    "chords_changes_rate",
    "spectral_centroid_mean_hz",
    "dynamic_complexity",
    "true_peak_dbtp",
)
#: A track further from the median than so many robust standard deviations (1.48 MAD, and no less than what the 5th and
#: the 95th percentile say) is an outlier.
OUTLYING = 5.0
_MOST_OUTLIERS = 30
_BINS = 24


@dataclass(frozen=True)
class Histogram:
    """The distribution of a descriptor in one row of stems.

    Attributes
    ----------
    descriptor, unit, stem : str
        Of what.
    counts : list of int
        By bin, of equal width from ``low`` to ``high``; what lies outside counts in the first or last.
    low, high, median : float
        1st and 99th percentile over all stems, and the median of this one.
    n, n_null : int
        Tracks with and without a value.
    """

    descriptor: str
    unit: str
    stem: str
    counts: list[int]
    low: float
    high: float
    median: float
    n: int
    n_null: int


@dataclass(frozen=True)
class Outlier:
    """A value far from those of the other tracks; ``deviations`` are robust standard deviations from the median."""

    track_id: str
    stem: str
    descriptor: str
    unit: str
    value: float
    median: float
    deviations: float


@dataclass
class RunFacts:
    """All that the page on a features directory shows, besides the map.

    Attributes
    ----------
    state : dict
        As ``stemfeatures status --json`` gives it.
    histograms : list of Histogram
        By descriptor, then stem.
    nulls : list of tuple
        ``(descriptors, stem, status, tracks)``: why values are null.
    outliers : list of Outlier
        The furthest first, one a track.
    duplicates : list of list of str
        Ids of tracks with the same bytes.
    """

    state: dict[str, Any]
    histograms: list[Histogram] = field(default_factory=list)
    nulls: list[tuple[str, str, str, int]] = field(default_factory=list)
    outliers: list[Outlier] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)


def run_facts(features: Features, state: dict[str, Any]) -> RunFacts:
    """Look at all tracks of a features directory.

    Parameters
    ----------
    features : Features
        The directory.
    state : dict
        What ``stemfeatures status`` knows of it.

    Returns
    -------
    RunFacts
        Lists are empty where there is no such table.
    """
    facts = RunFacts(state)
    if "tracks" in features.tables:
        digests = features.to_pandas("tracks", ["track_id", "audio_sha256"]).dropna()
        groups = digests.groupby("audio_sha256")["track_id"].apply(list)
        facts.duplicates = sorted(ids for ids in groups if len(ids) > 1)
    if "stems" not in features.tables:
        return facts
    known = {f.name: f for f in features.fields("stems")}
    names = [name for name in MAIN if name in known]
    statuses = [f.name for f in known.values() if f.name.endswith("_status")]
    stems = features.to_pandas("stems", ["track_id", "stem", *names, *statuses])
    for name in names:
        facts.histograms += _histograms(stems, name, known[name].unit)
    facts.outliers = _outliers(stems, {name: known[name].unit for name in names})
    for status in statuses:
        counted = stems.groupby(["stem", status], observed=True).size()
        facts.nulls += [
            (status.removesuffix("_status"), str(stem), str(value), int(n))
            for (stem, value), n in counted.items()
            if value not in ("ok", "not_applicable")
        ]
    facts.nulls.sort(key=lambda row: (-row[3], row[0], STEM_ROWS.index(row[1])))
    return facts


def _histograms(stems: pd.DataFrame, name: str, unit: str) -> list[Histogram]:
    values = stems[name].to_numpy(dtype=np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    low, high = (float(v) for v in np.percentile(finite, [1, 99]))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    found = []
    for stem in STEM_ROWS:
        own = values[(stems["stem"] == stem).to_numpy()]
        measured = own[np.isfinite(own)]
        if len(measured):
            counts, _ = np.histogram(np.clip(measured, low, high), bins=_BINS, range=(low, high))
            median, n = float(np.median(measured)), len(measured)
            found.append(Histogram(name, unit, stem, counts.tolist(), low, high, median, n, len(own) - n))
    return found


def _outliers(stems: pd.DataFrame, units: dict[str, str]) -> list[Outlier]:
    worst: dict[str, Outlier] = {}
    for stem in STEM_ROWS:
        rows = stems[stems["stem"] == stem]
        ids = rows["track_id"].tolist()
        for name, unit in units.items():
            values = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
            if np.isfinite(values).sum() < 8:  # too few to say what is usual
                continue
            median = float(np.nanmedian(values))
            # Of values that nearly all tracks share the median deviation is next to nothing; then the ends decide.
            p05, p95 = np.nanpercentile(values, [5, 95])
            spread = max(1.4826 * float(np.nanmedian(np.abs(values - median))), float(p95 - p05) / 3.29)
            if spread <= 0:
                continue
            far = np.abs(values - median) / spread
            for i in np.flatnonzero(far > OUTLYING):
                found = Outlier(ids[i], stem, name, unit, float(values[i]), median, float(far[i]))
                if (before := worst.get(ids[i])) is None or before.deviations < found.deviations:
                    worst[ids[i]] = found
    return sorted(worst.values(), key=lambda o: -o.deviations)[:_MOST_OUTLIERS]


def map_values(features: Features, track_ids: list[str]) -> dict[str, list[Any]]:
    """What the map can be coloured by, a value a track: tempo, key, loudness and status.

    Parameters
    ----------
    features : Features
        The directory.
    track_ids : list of str
        Tracks, in the order of the values.

    Returns
    -------
    dict of list
        Numbers (NaN for null) or text, by name.
    """
    columns = ["tempo_bpm", "key", "loudness_integrated_lufs", "onset_rate", "spectral_centroid_mean_hz"]
    mixture = features.to_pandas("stems", ["track_id", *columns], [("stem", "==", MIXTURE)]).set_index("track_id")
    mixture = mixture.reindex(track_ids)
    status = features.to_pandas("tracks", ["track_id", "status"]).set_index("track_id").reindex(track_ids)["status"]
    found: dict[str, list[Any]] = {name: mixture[name].astype("float64").tolist() for name in columns if name != "key"}
    for name, column in (("key", mixture["key"]), ("status", status)):
        found[name] = [value if isinstance(value, str) else "" for value in column.astype(object).tolist()]
    return found
