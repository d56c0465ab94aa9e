"""What the descriptors say of one track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._util.words import there_are
from ..constants import FRAME_RATE, MIXTURE


@dataclass(repr=False)
class F0Contour:
    """A monophonic F0 track.

    Attributes
    ----------
    times_s : (n,) ndarray of float64
        Evenly spaced: frame centres, and of the voice what is half way between them.
    f0_hz : (n,) ndarray of float64
        NaN where unvoiced.
    voicing : (n,) ndarray of float32
        Probability of a pitch, 0..1.
    """

    times_s: np.ndarray
    f0_hz: np.ndarray
    voicing: np.ndarray

    def __repr__(self) -> str:
        voiced = self.f0_hz[np.isfinite(self.f0_hz)]
        heard = f", {voiced.min():.0f} to {voiced.max():.0f} Hz" if len(voiced) else ""
        until = f" to {self.times_s[-1]:.2f} s" if len(self.times_s) else ""
        return f"<F0Contour: {len(self.f0_hz):,} times{until}, {len(voiced):,} voiced{heard}>"

    @property
    def rate(self) -> float:
        """Times a second."""
        return FRAME_RATE if len(self.times_s) < 2 else float(1 / (self.times_s[1] - self.times_s[0]))

    def on_frames(self) -> F0Contour:
        """The same at the centres of the frames alone, ``FRAME_RATE`` a second.

        Returns
        -------
        F0Contour
            Itself where it has no others.

        Examples
        --------
        >>> times_s = np.arange(5) / (2 * FRAME_RATE)
        >>> len(F0Contour(times_s, np.full(5, 220.0), np.ones(5, np.float32)).on_frames().f0_hz)
        3
        """
        every = max(1, round(self.rate / FRAME_RATE))
        return F0Contour(self.times_s[::every], self.f0_hz[::every], self.voicing[::every])


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


class Named(dict[str, Any]):
    """Values by name; an error about a name that is not there says which are.

    Parameters
    ----------
    what : str
        What is named, such as ``"stem"``.
    values : mapping
        The values.
    """

    def __init__(self, what: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.what = what

    def __missing__(self, name: Any) -> Any:
        raise KeyError(f"no {self.what} {name!r}{there_are(name, self)}")


@dataclass(repr=False)
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

    def __post_init__(self) -> None:
        self.stems = Named("row of stems", {row: Named("field", values) for row, values in self.stems.items()})
        self.contours = Named("contour", self.contours)
        self.embeddings = Named("embedding", self.embeddings)
        self.tables = Named("table", self.tables)

    def __repr__(self) -> str:
        mixture = self.stems.get(MIXTURE, {})
        facts = self._facts()
        for key, text in (("tempo_bpm", "{:.1f} bpm"), ("key", "{}"), ("loudness_integrated_lufs", "{:.1f} LUFS")):
            if mixture.get(key) is not None:
                facts.append(text.format(mixture[key]))
        played = [
            f"{stem} {values['activity_ratio']:.0%}"
            for stem, values in self.stems.items()
            if stem != MIXTURE and values.get("activity_ratio")
        ]
        n_onsets = sum(map(len, self.events.onsets_s.values()))
        lines = (
            f"<{type(self).__name__}{self._of()}{': ' if facts else ''}{', '.join(facts)}>",
            f"  stems[...]: {len(mixture)} fields each; sounding: {', '.join(played) or 'none'}",
            f"  events: {len(self.events.beats_s):,} beats, {n_onsets:,} onsets",
            f"  contours[...]: {', '.join(self.contours) or 'none'}",
            f"  embeddings[...]: {', '.join(self.embeddings) or 'none'}",
            f"  tables[...]: {', '.join(self.tables) or 'none'}",
        )
        return "\n".join(lines)

    def _of(self) -> str:
        """Whose it is, for people."""
        track_id = self.stems.get(MIXTURE, {}).get("track_id")
        return "" if track_id is None else f" of {track_id!r}"

    def _facts(self) -> list[str]:
        """What else the first line says."""
        return []
