"""What the descriptors say of one track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(repr=False)
class F0Contour:
    """A monophonic F0 track.

    Attributes
    ----------
    times_s : (n_frames,) ndarray of float64
        Frame centres.
    f0_hz : (n_frames,) ndarray of float64
        NaN where unvoiced.
    voicing : (n_frames,) ndarray of float32
        Probability of a pitch, 0..1.
    """

    times_s: np.ndarray
    f0_hz: np.ndarray
    voicing: np.ndarray

    def __repr__(self) -> str:
        voiced = self.f0_hz[np.isfinite(self.f0_hz)]
        heard = f", {voiced.min():.0f} to {voiced.max():.0f} Hz" if len(voiced) else ""
        until = f" to {self.times_s[-1]:.2f} s" if len(self.times_s) else ""
        return f"<F0Contour: {len(self.f0_hz):,} frames{until}, {len(voiced):,} voiced{heard}>"


@dataclass(repr=False)
class Events:
    """Points in time, in seconds.

    Attributes
    ----------
    beats_s : (n_beats,) ndarray of float64
        Increasing.
    beat_positions : (n_beats,) ndarray of int
        1-indexed place in the bar; 1 is a downbeat, 0 = not known.
    onsets_s : dict
        ``{stem: (n_onsets,) float64}``.
    """

    beats_s: np.ndarray
    beat_positions: np.ndarray
    onsets_s: dict[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        onsets = ", ".join(f"{stem} {len(times):,}" for stem, times in self.onsets_s.items()) or "none"
        return f"<Events: {len(self.beats_s):,} beats; onsets: {onsets}>"


@dataclass
class TrackDescription:
    """Descriptors of one track.

    Attributes
    ----------
    stems : dict
        ``{stem row: {field name: value}}``; names are those of the ``stems`` table, a value that cannot be measured is
        None and the matching ``*_status`` field says why.
    contours : dict
        ``{"vocals" | "bass": F0Contour}``.
    events : Events
        Beats and onsets.
    embeddings : dict
        ``{stem row: (n_dims,) float32}``; silent stems are absent.
    tables : dict
        Events by name of table (:mod:`stemfeatures.descriptors.event_tables`), each as ``{column: values}``, an event a
        place: ``tables["chords"]["label"][0]``.
    """

    stems: dict[str, dict[str, Any]]
    contours: dict[str, F0Contour]
    events: Events
    embeddings: dict[str, np.ndarray]
    tables: dict[str, Mapping[str, Sequence[Any] | np.ndarray]] = field(default_factory=dict)
