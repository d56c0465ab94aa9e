"""Sections of a track: where the music becomes another, and which parts come again.

Bars (four beats where no bar is known, two seconds where no beat is) are described by harmony, bass, timbre and by who
plays how loudly. The graph of bars that are alike or neighbours gives each bar a place, and those of one section are
together there although its chords go round (spectral clustering: McFee and Ellis, "Analyzing song structure with
spectral clustering", ISMIR 2014). The path of these places is cut where the sum of three things is best: bars within a
section are together, those on either side of a cut differ (the novelty of Foote, ICME 2000, at two widths), and
sections have usual lengths. Sections whose bars follow each other alike have one letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.fft import dct
from scipy.linalg import eigh

from ..constants import FRAME_RATE, MIXTURE, STEMS
from ..fields import DURATION, LOG1P, Field, log, status_field
from ..frames import TrackFrames
from .activity import active_rows
from .chords import ChordInputs, chord_inputs
from .event_tables import END, START, Columns, EventTable, register_events
from .f0 import f0_contours
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .values import OK, SILENT, median, number, step_sums

#: Bars, or what stands for them, of the shortest signal that has sections.
MIN_BARS = 8
#: Length of a bar in seconds where there are no beats, and in beats where no bar is known.
BAR_S, BAR_BEATS = 2.0, 4
#: Weights of harmony, bass, timbre and of who plays.
HARMONY, BASS, TIMBRE, PLAYING = 1.0, 0.5, 0.7, 1.6
#: Coefficients of timbre beside the level; stems this far below their loud bars are as good as absent.
N_TIMBRE = 8
PLAYING_DB = 30.0
#: Dimensions of the place that the graph gives a bar.
N_DIMENSIONS = 5
#: Half widths in bars of the two novelties, and their weight against the cost of unlike bars.
WIDTHS = (2, 4)
NOVELTY = 1.0
#: Cost of a section, in mean deviations of a bar, and what lengths that are multiples of 8, 4 and 2 bars save.
SECTION_COST = 3.0
USUAL = {8: 1.5, 4: 1.0, 2: 0.4}
MIN_LENGTH, MAX_LENGTH = 2, 32
#: Distance of two sections, in mean deviations of a bar, below which they are the same part; what a transposition adds.
SAME = 1.0
TRANSPOSED = 0.2
#: A frame is sung where the voice has a pitch and is at most this far below its loud frames.
SUNG_DB = 20.0
#: Share of a section that is sung from which on it counts as sung, and the share below which it is instrumental.
SUNG, UNSUNG = 0.3, 0.12

#: Bars of which there is a graph at a time, half an hour.
WINDOW_BARS = 1024
#: [k, c] the pitch class that is class c, k semitones higher.
_TRANSPOSED = (np.arange(12) - np.arange(12)[:, None]) % 12

NO_SECTIONS = "no_sections"
NAMES = ("intro", "instrumental", "outro")


@dataclass
class BarFeatures:
    """Bars of a track.

    Attributes
    ----------
    times_s : np.ndarray
        (n_bars + 1,) edges of the bars, from 0 to the end.
    harmony, bass : np.ndarray
        (n_bars, 12) unit-length pitch classes of the sound, and of the bass, zeros where there are none.
    sound : np.ndarray
        (n_bars, n_dims) timbre and levels of the stems, weighted.
    sung : np.ndarray
        (n_bars,) share of the bar that is sung, 0..1.
    """

    times_s: np.ndarray
    harmony: np.ndarray
    bass: np.ndarray
    sound: np.ndarray
    sung: np.ndarray


@dataclass
class Sections:
    """Sections in the order of time, without gaps.

    Attributes
    ----------
    start_s, end_s : np.ndarray
        (n_sections,) seconds.
    label : list of str
        ``A``, ``B`` ... by the order in which parts first occur.
    name : list of str or None
        One of ``NAMES`` where the voice tells.
    sung : np.ndarray
        (n_sections,) share that is sung, 0..1.
    length_bars : np.ndarray
        (n_sections,) bars.
    novelty : np.ndarray
        (n_sections,) how much the bars before the section differ from its own, in mean deviations of a bar; 0 at the
        start.
    """

    start_s: np.ndarray
    end_s: np.ndarray
    label: list[str]
    name: list[str | None]
    sung: np.ndarray
    length_bars: np.ndarray
    novelty: np.ndarray


def bar_edges(steps: ChordInputs) -> np.ndarray:
    """(n_bars + 1,) seconds at which bars begin, and the end: downbeats, else every fourth beat, else every 2 s."""
    times, kinds, duration_s = steps.times_s[:-1], steps.kinds, steps.times_s[-1]
    beats = times[kinds < 2]
    if not (kinds == 2).any():
        starts = np.arange(0.0, duration_s, BAR_S)
    elif (kinds == 0).sum() >= 2:
        starts = times[kinds == 0]
        bar_s = float(np.median(np.diff(starts)))
        before = starts[0] - bar_s * np.arange(int(starts[0] / bar_s), 0, -1)
        gaps = [np.arange(a + bar_s, b - bar_s / 2, bar_s) for a, b in zip(starts, [*starts[1:], duration_s])]
        starts = np.sort(np.concatenate([before, starts, *gaps]))
    else:
        starts = beats[::BAR_BEATS]
    edges = np.unique(np.concatenate([[0.0], starts, [duration_s]]))
    # What is left at either end, and slips of the beat, are no bars of their own.
    length = np.diff(edges)
    kept = np.r_[True, length[1:] >= np.median(length) / 2, True]
    kept[1] &= length[0] >= np.median(length) / 2
    return np.asarray(edges[kept])


def bar_features(
    frames: TrackFrames, active: dict[str, np.ndarray], steps: ChordInputs, f0_hz: np.ndarray
) -> BarFeatures:
    """What each bar of a track sounds like; ``f0_hz`` of the voice is NaN where it has no pitch."""
    times_s = bar_edges(steps)
    first = np.minimum(np.ceil(times_s[:-1] * FRAME_RATE).astype(int), frames.n_frames - 1)
    length = np.maximum(np.diff(np.append(first, frames.n_frames)), 1)
    step = np.minimum(np.searchsorted(steps.times_s[:-1], times_s[:-1] - 1e-6), steps.sound.shape[1] - 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(step_sums(values, first) / length)

    sound = steps.sound / np.maximum(np.linalg.norm(steps.sound, axis=0), 1e-9)
    harmony, bass = (_unit(np.add.reduceat(values, step, axis=1).T) for values in (sound, steps.bass))
    mel = 10 * np.log10(np.maximum(mean(frames.stems[MIXTURE].mel), 1e-10))
    timbre = dct(mel, axis=0, norm="ortho")[1 : N_TIMBRE + 1].T / np.sqrt(len(mel)) / 10
    playing = []
    for stem in STEMS:
        level = 10 * np.log10(np.maximum(mean(np.where(active[stem], frames.stems[stem].energy, 0.0)), 1e-10))
        playing.append(np.clip(1 + (level - np.percentile(level, 95)) / PLAYING_DB, 0, 1) * active[stem].any())
    voiced, energy = np.isfinite(f0_hz), np.asarray(frames.stems["vocals"].energy, dtype=np.float64)
    loud = np.percentile(energy[voiced], 90) if voiced.any() else 0.0
    sung = voiced & (energy > loud * 10 ** (-SUNG_DB / 10))
    return BarFeatures(
        times_s, HARMONY * harmony, BASS * bass, np.concatenate([TIMBRE * timbre, PLAYING * np.array(playing).T], 1),
        mean(sung.astype(np.float64)),
    )  # fmt: skip


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def find_sections(bars: BarFeatures) -> Sections | None:
    """Sections of a track.

    Parameters
    ----------
    bars : BarFeatures
        Its bars.

    Returns
    -------
    Sections or None
        None for fewer than 8 bars, and where all bars are alike.
    """
    values = np.concatenate([bars.harmony, bars.bass, bars.sound], axis=1)
    n = len(values)
    deviation = float(np.square(values - values.mean(axis=0)).sum(axis=1).mean())
    if n < MIN_BARS or deviation < 1e-6:
        return None
    scale = np.sqrt(deviation)
    edges, novelty = _cut_windows(values / scale)
    labels = _group(_Parts(bars.harmony / scale, bars.bass / scale, bars.sound / scale, edges))
    sung = np.array([bars.sung[a:b].mean() for a, b in edges])
    return Sections(
        bars.times_s[edges[:, 0]], bars.times_s[edges[:, 1]], [_letter(k) for k in labels],
        name_sections(sung), sung, edges[:, 1] - edges[:, 0], novelty,
    )  # fmt: skip


def _cut_windows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n_sections, 2) first bar and end of each section, and the novelty of its first bar.

    The graph of all bars grows with the square of their number: of long tracks there is one for each window, which
    begins with the last section that the one before is sure of.
    """
    edges, heard = [], []
    start, first_novelty = 0, 0.0
    while True:
        some = values[start : start + WINDOW_BARS]
        places = _scaled(np.concatenate([_scaled(bar_places(some)), some], axis=1))
        novelty = bar_novelty(places)
        novelty[0] = first_novelty
        found = _cut(places, novelty)
        is_last = start + len(some) == len(values)
        if not is_last:
            found = found[found[:, 1] <= len(some) - 2 * MAX_LENGTH]
        edges.append(start + found)
        heard.append(novelty[found[:, 0]])
        if is_last:
            return np.concatenate(edges), np.concatenate(heard)
        first_novelty = float(novelty[found[-1, 1]])
        start += int(found[-1, 1])


def _scaled(values: np.ndarray) -> np.ndarray:
    """(n, n_dims) with a mean squared distance of 1 from the mean."""
    return np.asarray(values / np.sqrt(max(np.square(values - values.mean(axis=0)).sum(axis=1).mean(), 1e-12)))


def bar_places(values: np.ndarray) -> np.ndarray:
    """(n_bars, N_DIMENSIONS) unit-length rows of the lowest eigenvectors of the Laplacian of the graph of bars."""
    n = len(values)
    sums = np.square(values).sum(axis=1)
    distance = np.maximum(sums[:, None] + sums - 2 * values @ values.T, 0.0)
    place = np.arange(n)
    beside = np.abs(place[:, None] - place) < 2
    nearest = np.partition(np.where(beside, np.inf, distance), int(np.sqrt(n)), axis=1)[:, int(np.sqrt(n))]
    width = np.maximum(nearest, 1e-9)
    alike = np.exp(-distance / np.sqrt(np.outer(width, width)))
    alike *= (distance <= np.minimum(width[:, None], width)) & (place[:, None] != place)
    # What comes again does so bar after bar: a likeness counts with those before and after it.
    shifted = np.zeros_like(alike)
    shifted[1:, 1:] += alike[:-1, :-1]
    shifted[:-1, :-1] += alike[1:, 1:]
    alike = (alike + shifted) / 3
    alike *= alike > 0.5 * np.median(alike[alike > 0]) if (alike > 0).any() else 1.0
    step = np.square(np.diff(values, axis=0)).sum(axis=1)
    path = np.diag(np.exp(-step / max(step.mean(), 1e-9)), 1)
    path += path.T
    # The weight between likeness and neighbourhood that makes the degrees most equal (equation 5 of the paper).
    by_likeness, by_path = alike.sum(axis=1), path.sum(axis=1)
    both = by_likeness + by_path
    weight = (by_path @ both) / (both @ both)
    graph = weight * alike + (1 - weight) * path
    degree = np.sqrt(np.maximum(graph.sum(axis=1), 1e-12))
    vectors = eigh(-graph / np.outer(degree, degree), subset_by_index=(0, min(N_DIMENSIONS, n) - 1))[1]
    return _unit(vectors)


def bar_novelty(values: np.ndarray) -> np.ndarray:
    """(n_bars,) mean squared distance between the means of the bars before and after each bar line, over the widths."""
    n = len(values)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    place, total = np.arange(n), np.zeros(n)
    for width in WIDTHS:
        low, high = np.maximum(place - width, 0), np.minimum(place + width, n)
        before = (sums[place] - sums[low]) / np.maximum(place - low, 1)[:, None]
        after = (sums[high] - sums[place]) / (high - place)[:, None]
        total += np.where(place > 0, np.square(after - before).sum(axis=1), 0.0)
    return total / len(WIDTHS)


def _cut(values: np.ndarray, novelty: np.ndarray) -> np.ndarray:
    """(n_sections, 2) first bar and end of each section, by dynamic programming over its end."""
    n = len(values)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(values).sum(axis=1))])
    lengths = np.arange(n + 1)
    saving = np.max([np.where(lengths % k == 0, worth, 0.0) for k, worth in USUAL.items()], axis=0)
    best, back = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=int)
    best[0] = 0.0
    for end in range(1, n + 1):
        starts = np.arange(max(0, end - MAX_LENGTH), max(0, end - MIN_LENGTH) + 1)
        length = np.maximum(end - starts, 1)
        unlike = squares[end] - squares[starts] - np.square(sums[end] - sums[starts]).sum(axis=1) / length
        cost = best[starts] + unlike + SECTION_COST - saving[end - starts] - NOVELTY * novelty[starts]
        k = int(cost.argmin())
        best[end], back[end] = cost[k], starts[k]
    cuts = [n]
    while cuts[-1] > 0:
        cuts.append(int(back[cuts[-1]]))
    cuts.reverse()
    return np.stack([cuts[:-1], cuts[1:]], axis=1)


class _Parts:
    """Sections side by side, so that one is compared with all before it in a few matrix products.

    Parameters
    ----------
    harmony, bass, sound : np.ndarray
        (n_bars, n_dims) of the bars.
    edges : np.ndarray
        (n_sections, 2) first bar and end of each section.
    """

    def __init__(self, harmony: np.ndarray, bass: np.ndarray, sound: np.ndarray, edges: np.ndarray) -> None:
        self.length = edges[:, 1] - edges[:, 0]
        longest = int(self.length.max())
        place = edges[:, :1] + np.arange(longest)
        inside = (place < edges[:, 1:])[..., None]
        place = np.minimum(place, len(sound) - 1)
        #: (n_sections, longest, n_dims), zeros behind the end of a section.
        self.harmony, self.bass, self.sound = (np.where(inside, x[place], 0.0) for x in (harmony, bass, sound))
        squares = sum(np.square(x).sum(axis=2) for x in (self.harmony, self.bass, self.sound))
        self.squares = np.concatenate([np.zeros((len(edges), 1)), np.cumsum(squares, axis=1)], axis=1)
        # [12 c + d, k] is 1 where d is the pitch class c, k semitones higher.
        self.transpositions = (np.arange(12) == _TRANSPOSED.T[..., None]).swapaxes(1, 2).reshape(144, 12).astype(float)

    def distances(self, k: int) -> np.ndarray:
        """(k,) mean squared distances of section ``k`` to those before it, in whichever transposition is best.

        Bars are compared in their order, as many as the shorter section has.
        """
        n = np.minimum(self.length[:k], self.length[k])
        bars = slice(int(self.length[k]))
        same = self.squares[k, n] + self.squares[np.arange(k), n]
        same -= 2 * self.sound[:k, bars].reshape(k, -1) @ self.sound[k, bars].ravel()
        products = sum(np.matmul(x[k, bars].T, x[:k, bars]).reshape(k, 144) for x in (self.harmony, self.bass))
        distance = same[:, None] - 2 * products @ self.transpositions
        distance[:, 1:] += n[:, None] * TRANSPOSED
        return np.asarray(distance.min(axis=1) / n)


def _group(parts: _Parts) -> list[int]:
    """Number of the part that each section is, in the order of first occurrence; sections join the nearest part."""
    labels = np.zeros(len(parts.length), dtype=int)
    for k in range(1, len(labels)):
        means = np.bincount(labels[:k], parts.distances(k)) / np.bincount(labels[:k])
        nearest = int(means.argmin())
        labels[k] = nearest if means[nearest] < SAME else len(means)
    return [int(label) for label in labels]


def _letter(k: int) -> str:
    """A to Z, then AA, AB ..., after ZZ AAA."""
    return (_letter(k // 26 - 1) if k >= 26 else "") + chr(65 + k % 26)


def name_sections(sung: np.ndarray) -> list[str | None]:
    """Names that the voice tells: what is not sung before, amid and after what is.

    Parameters
    ----------
    sung : (n_sections,) ndarray
        Share of each section that is sung.

    Returns
    -------
    list of str or None
        ``intro``, ``instrumental`` or ``outro``; None for what is sung, and throughout music without a voice.
    """
    voiced = np.flatnonzero(sung >= SUNG)
    if not len(voiced):
        return [None] * len(sung)
    before, after = np.arange(len(sung)) < voiced[0], np.arange(len(sung)) > voiced[-1]
    names = np.where(before, "intro", np.where(after, "outro", "instrumental")).tolist()
    return [name if share < UNSUNG else None for name, share in zip(names, sung)]


def track_sections(inputs: DescriptorInputs) -> Sections | None:
    """Sections of the track, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    Sections or None
        See :func:`find_sections`.
    """
    active = inputs.get(active_rows)
    if not active[MIXTURE].any() or inputs.frames.duration_s < MIN_BARS * BAR_S / 4:
        return None
    voice = inputs.get(f0_contours)["vocals"][0]
    return find_sections(bar_features(inputs.frames, active, inputs.get(chord_inputs), voice.f0_hz))


_field = partial(Field, family="structure", rows=(MIXTURE,), since="1.1")
FIELDS = (
    status_field(
        "sections_status",
        "ok | silent | no_sections | not_applicable",
        "sections (8 bars at least)",
        family="structure",
        since="1.1",
    ),
    _field("section_count", "int16", "Sections of table sections.", "", ">= 1", scale=DURATION),
    _field("section_distinct_count", "int16", "Different parts among them.", "", ">= 1", scale=LOG1P),
    _field(
        "section_duration_median_s",
        "float32",
        "Median length of a section.",
        "s",
        "> 0",
        scale=log(1.0),
        feature="section_duration",
        statistic="median",
    ),
    _field("section_repetition_ratio", "float32", "Share of the track that is a part heard before.", "", "0..1"),
    _field("section_novelty_mean", "float32", "Mean novelty of the boundaries.", "", ">= 0", scale=LOG1P),
)
_event = partial(Field, since="1.1", family="structure")
EVENT_FIELDS = (
    START,
    END,
    _event("label", "category", "The part: A, B ... in the order of first occurrence; equal letters are one part."),
    _event(
        "name",
        "category",
        "Sections without a voice before, amid and after those that are sung; null for what is sung, and in music "
        "without a voice.",
        range=" | ".join(NAMES),
    ),
    _event("sung", "float32", "Share of the section in which the voice has a pitch and is near its level.", "", "0..1"),
    _event("length_bars", "int16", "Its length in bars, of four beats or 2 s where none are known.", "bars", ">= 1"),
    _event(
        "novelty",
        "float32",
        "How much the bars before it differ from its first, in mean squared deviations of a bar; 0 at the start.",
        "",
        ">= 0",
    ),
)


def _describe(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    if not inputs.get(active_rows)[row].any():
        return {"sections_status": SILENT}
    found = inputs.get(track_sections)
    if found is None:
        return {"sections_status": NO_SECTIONS}
    duration = found.end_s - found.start_s
    again = np.ones(len(duration), bool)
    again[np.unique(found.label, return_index=True)[1]] = False
    return {
        "sections_status": OK,
        "section_count": len(duration),
        "section_distinct_count": len(set(found.label)),
        "section_duration_median_s": median(duration),
        "section_repetition_ratio": number(duration[again].sum() / duration.sum()),
        "section_novelty_mean": number(found.novelty[1:].mean()) if len(duration) > 1 else None,
    }


def _events(inputs: DescriptorInputs) -> Columns:
    found = inputs.get(track_sections)
    return {f.name: [] if found is None else getattr(found, f.name) for f in EVENT_FIELDS}


register(Extractor("sections", 64, FIELDS, "sections_status", _describe))
register_events(
    EventTable(
        "sections",
        30,
        "One row per section of the track, without gaps from 0 to the end; none where it is too short or too even "
        "to be divided.",
        EVENT_FIELDS,
        ("start_s",),
        compute=_events,
    )
)
