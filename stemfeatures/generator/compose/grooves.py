"""Recorded drum performances as the drums of a song: who struck what, how hard and when, bar by bar.

For folders laid out as the Groove MIDI Dataset is (Gillick, Roberts, Engel, Eck & Bamman, "Learning to Groove with
Inverse Sequence Transformations", ICML 2019; CC BY 4.0): ``<drummer>/<session>/<n>_<style>_<bpm>_beat_<metre>.mid``,
played to a click that begins with a bar.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import DatasetError

__all__ = ["GrooveBank", "Performance"]

#: Roles of the keys of the Roland TD-11 on which the data set was played.
KEY_ROLES: Mapping[int, str] = {
    36: "kick", 38: "snare", 40: "snare", 37: "rim", 48: "tom_high", 50: "tom_high", 45: "tom_mid", 47: "tom_mid",
    43: "tom_low", 58: "tom_low", 46: "open_hat", 26: "open_hat", 42: "hat", 22: "hat", 44: "pedal_hat", 49: "crash",
    55: "crash", 57: "crash", 52: "crash", 51: "ride", 59: "ride", 53: "ride",
}  # fmt: skip
#: Styles of performances that suit ours, those listed first more often.
SUITABLE: Mapping[str, tuple[str, ...]] = {
    "pop": ("pop", "rock", "soul", "dance", "funk"), "rock": ("rock", "punk", "pop"),
    "ballad": ("soul", "rock", "pop", "blues", "gospel"), "slow_rock": ("rock", "blues", "soul"),
    "funk": ("funk", "soul", "neworleans", "afrobeat", "hiphop"), "reggae": ("reggae", "rock"),
    "hiphop": ("hiphop", "funk", "soul"), "four_to_the_floor": ("dance",), "swing": ("jazz", "blues"),
    "punk": ("punk", "rock"), "country": ("country", "rock", "blues"), "bossa": ("latin", "afrocuban", "jazz"),
}  # fmt: skip
#: Widest stretch of a performance's tempo.
_STRETCH = 1.22
_SHORTEST_BARS = 4
#: Styles whose bass drum need not mark the downbeat.
_FREE = frozenset(
    ("jazz", "latin", "afrocuban", "afrobeat", "neworleans", "reggae", "highlife", "middleeastern", "dance")
)
_NAME = re.compile(r"\d+_(?P<style>[a-z]+)[a-z0-9-]*_(?P<bpm>\d+)_beat_(?P<metre>\d+-\d+)\.mid$")


@dataclass(frozen=True)
class Performance:
    """One performance. Times are beats from the first downbeat; 6/8 has two beats a bar.

    Attributes
    ----------
    name : str
        Its path within the folder.
    style : str
        ``"rock"``, for example.
    bpm : float
        Beats a minute.
    metre : str
        ``"4/4"``, for example.
    beats_per_bar : int
        Beats a bar.
    times_beats : np.ndarray
        (n,) of hits, in order.
    roles : tuple[str, ...]
        (n,) names.
    velocities : np.ndarray
        (n,) 0 to 1.
    """

    name: str
    style: str
    bpm: float
    metre: str
    beats_per_bar: int
    times_beats: np.ndarray
    roles: tuple[str, ...]
    velocities: np.ndarray

    @property
    def n_bars(self) -> int:
        """Whole bars, the last one that was begun included."""
        return int(self.times_beats[-1] // self.beats_per_bar) + 1 if len(self.times_beats) else 0

    @cached_property
    def swing(self) -> float | None:
        """How late off-beat eighths come, 0 for even ones, 1 for triplets; None where there are too few to tell."""
        within = self.times_beats % 1.0
        off = within[(within > 0.42) & (within < 0.72)]
        if len(off) < 2 * self.n_bars or self.metre == "6/8":
            return None
        return float(np.clip(3 * (2 * np.median(off) - 1), 0.0, 1.0))

    @property
    def marks_bars(self) -> bool:
        """Whether the bass drum falls on downbeats and the snare does not, where the style asks for that."""
        if self.style in _FREE or self.beats_per_bar != 4:
            return True
        kick, snare = (self._by_beat(roles) for roles in (("kick",), ("snare", "rim")))
        return kick[0] >= 0.4 and kick[0] >= kick.max() - 0.15 and snare[0] <= 0.5 * max(snare.max(), 0.1)

    def _by_beat(self, roles: tuple[str, ...]) -> np.ndarray:
        """(beats_per_bar,) strokes a bar near each beat, ghost notes left out."""
        mine = np.array([role in roles for role in self.roles], bool) & (self.velocities > 0.4)
        times = self.times_beats[mine]
        on_beat = np.round(times[np.abs(times - np.round(times)) < 0.15]).astype(int) % self.beats_per_bar
        return np.bincount(on_beat, minlength=self.beats_per_bar) / max(self.n_bars, 1)

    def bars(self, first: int, n: int) -> list[tuple[float, str, float]]:
        """``(beat, role, velocity)`` of ``n`` bars from bar ``first`` on, again from the start where it is over.

        Beats count from the first of these bars; what anticipates it by less than a quarter of a beat is part of it.
        """
        length = self.n_bars * self.beats_per_bar
        start, wanted = first * self.beats_per_bar, n * self.beats_per_bar
        hits = []
        for turn in range(-1, (start + wanted) // length + 1):
            beats = self.times_beats + turn * length - start
            for k in np.flatnonzero((beats > -0.25) & (beats < wanted - 0.25)):
                hits.append((float(beats[k]), self.roles[k], float(self.velocities[k])))
        return sorted(hits)


class GrooveBank:
    """The performances of a folder; each is read when it is first chosen.

    Attributes
    ----------
    path : str | Path
        The folder.
    names : dict[str, tuple[str, float, str]]
        ``{path within the folder: (style, bpm, metre)}``, bpm in our beats.
    fingerprint
        Of what the folder holds.

    Raises
    ------
    DatasetError
        No performances there; later, a file that is not MIDI.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.names: dict[str, tuple[str, float, str]] = {}
        digest = 0
        for file in sorted(self.path.glob("**/*.mid")):
            if not (found := _NAME.match(file.name)):
                continue
            name, metre = file.relative_to(self.path).as_posix(), found["metre"].replace("-", "/")
            bpm = float(found["bpm"]) / (1.5 if metre == "6/8" else 1.0)
            self.names[name] = (found["style"], bpm, metre)
            digest = zlib.crc32(file.read_bytes(), zlib.crc32(name.encode(), digest))
        if not self.names:
            raise DatasetError("no files <n>_<style>_<bpm>_beat_<metre>.mid", source=str(path), stage="grooves")
        self.fingerprint = f"{digest:08x}"
        self._read: dict[str, Performance] = {}

    def choose(self, style: str, metre: str, tempo: float, rng: np.random.Generator) -> Performance | None:
        """A performance of this metre whose tempo and style suit, or None.

        In metres of which there are few, any style suits.
        """
        near = {
            name: kind
            for name, (kind, bpm, own) in self.names.items()
            if own == metre and 1 / _STRETCH <= bpm / tempo <= _STRETCH
        }
        suitable = SUITABLE.get(style, ())
        if metre == "4/4":
            near = {name: kind for name, kind in near.items() if kind in suitable}
        names = sorted(near)
        weights = np.array([1.0 / (1 + suitable.index(near[n])) if near[n] in suitable else 1.0 for n in names])
        while names:
            k = int(rng.choice(len(names), p=weights / weights.sum()))
            performance = self.performance(names.pop(k))
            weights = np.delete(weights, k)
            if performance.n_bars >= _SHORTEST_BARS and performance.marks_bars:
                return performance
        return None

    def performance(self, name: str) -> Performance:
        """One of ``names``."""
        if name not in self._read:
            self._read[name] = _read(self.path / name, name, *self.names[name])
        return self._read[name]


def _read(path: Path, name: str, style: str, bpm: float, metre: str) -> Performance:
    import mido

    try:
        midi = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise DatasetError(f"not a MIDI file ({error})", source=str(path), stage="grooves") from error
    numerator = int(metre.split("/")[0])
    quarters_per_beat, beats_per_bar = (1.5, numerator // 3) if metre == "6/8" else (1.0, numerator)
    hits = []
    for track in midi.tracks:
        ticks = 0
        for message in track:
            ticks += message.time
            if message.type == "note_on" and message.velocity and message.note in KEY_ROLES:
                beat = ticks / midi.ticks_per_beat / quarters_per_beat
                hits.append((beat, KEY_ROLES[message.note], message.velocity / 127))
    hits.sort()
    times, velocities = np.array([h[0] for h in hits]), np.array([h[2] for h in hits])
    return Performance(name, style, bpm, metre, beats_per_bar, times, tuple(h[1] for h in hits), velocities)
