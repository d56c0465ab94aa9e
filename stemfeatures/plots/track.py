"""The picture of a track: mel spectrograms of the stems, and what was found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, STEM_ROWS, STEMS
from .axes import STEM_COLOURS, new_figure, show_mel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..descriptors.types import TrackDescription
    from ..frames import TrackFrames

#: Frames of a spectrogram are joined to so many columns at most: more than a picture has pixels.
_COLUMNS = 2400
_SECTION_COLOURS = ("#8dd3c7", "#ffffb3", "#bebada", "#fb8072", "#80b1d3", "#fdb462", "#b3de69", "#fccde5")


def plot_track(
    description: TrackDescription,
    frames: TrackFrames | None = None,
    *,
    title: str = "",
    start_s: float = 0.0,
    end_s: float | None = None,
    words: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Draw what is known of one track over its time.

    Parameters
    ----------
    description : TrackDescription
        Contours, events and tables of events; what it lacks is left out.
    frames : TrackFrames, optional
        Spectra of the stems. Without them F0 and events are drawn on empty axes.
    title : str, optional
        Over the picture.
    start_s, end_s : float, optional
        The part that is drawn, in seconds; the whole track by default.
    words : sequence of mapping, optional
        Words with ``word``, ``start`` and ``end``, as ``stemfeatures align`` writes them to JSON.

    Returns
    -------
    matplotlib.figure.Figure
        For ``savefig``; it belongs to no window.

    Raises
    ------
    ImportError
        matplotlib is missing (extra ``report``).
    ValueError
        Nothing lies between ``start_s`` and ``end_s``.
    """
    whole_s = _duration(description, frames)
    end_s = min(whole_s, whole_s if end_s is None else end_s)
    if not 0 <= start_s < end_s:
        raise ValueError(f"nothing to draw from {start_s:g} s to {end_s:g} s: the track has {whole_s:.2f} s")
    names = [row for row in STEM_ROWS if row in description.contours] if frames is None else list(frames.rows)
    lanes = _lanes(description, words)
    heights = [0.32 * len(lanes)] * bool(lanes) + [1.4] * len(names) + [0.9]
    figure = new_figure(float(np.clip(4 + 0.12 * (end_s - start_s), 11, 30)), 0.9 + sum(heights))
    axes = list(np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)))
    if lanes:
        _draw_lanes(axes.pop(0), lanes, start_s, end_s)
    for name, ax in zip(names, axes):
        _draw_stem(ax, name, description, frames, start_s, end_s)
    _draw_presence(axes[-1], description, frames)
    axes[-1].set(xlim=(start_s, end_s), xlabel="time in s")
    figure.suptitle(title, fontsize=11)
    return figure


def _duration(description: TrackDescription, frames: TrackFrames | None) -> float:
    if frames is not None:
        return frames.duration_s
    ends = [float(c.times_s[-1]) for c in description.contours.values() if len(c.times_s)]
    ends += [float(t[-1]) for t in (description.events.beats_s, *description.events.onsets_s.values()) if len(t)]
    ends += [float(max(t["end_s"])) for t in _tables(description).values() if "end_s" in t and len(t["end_s"])]
    return max(ends, default=0.0)


def _tables(description: TrackDescription) -> Mapping[str, Mapping[str, Sequence[Any]]]:
    return getattr(description, "tables", None) or {}


def _lanes(
    description: TrackDescription, words: Sequence[Mapping[str, Any]]
) -> dict[str, list[tuple[float, float, str]]]:
    """Labelled stretches by lane, from the top."""
    lanes: dict[str, list[tuple[float, float, str]]] = {}
    for name in ("sections", "chords"):
        table = _tables(description).get(name)
        if table and len(table.get("start_s", ())):
            labels = table.get("label") or table.get("chord") or [""] * len(table["start_s"])
            lanes[name] = [(float(a), float(b), str(c)) for a, b, c in zip(table["start_s"], table["end_s"], labels)]
    if timed := [w for w in words if w.get("start") is not None]:
        lanes["words"] = [(float(w["start"]), float(w.get("end") or w["start"]), str(w["word"])) for w in timed]
    return lanes


def _draw_lanes(ax: Axes, lanes: dict[str, list[tuple[float, float, str]]], start_s: float, end_s: float) -> None:
    labels: dict[str, int] = {}
    for y, (lane, stretches) in enumerate(lanes.items()):
        for a, b, label in stretches:
            if b <= start_s or a >= end_s:
                continue
            colour = _SECTION_COLOURS[labels.setdefault(f"{lane} {label}", len(labels)) % len(_SECTION_COLOURS)]
            face = "none" if lane == "words" else colour
            ax.add_patch(_box(a, y - 0.45, b - a, 0.9, face))
            room = (b - a) / (end_s - start_s) * ax.bbox.width / ax.figure.dpi * 12
            if label and len(label) <= max(room, 3):
                left = max(a, start_s)
                ax.text(left, y, f" {label}", va="center", ha="left", fontsize=7, clip_on=True)
    ax.set(ylim=(len(lanes) - 0.5, -0.5), yticks=range(len(lanes)), yticklabels=list(lanes))
    _bare(ax)


def _box(x: float, y: float, width: float, height: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=colour, edgecolor="0.4", linewidth=0.4)


def _draw_stem(
    ax: Axes, name: str, description: TrackDescription, frames: TrackFrames | None, start_s: float, end_s: float
) -> None:
    if frames is not None:
        first, stop = (int(t * ANALYSIS_SAMPLE_RATE / HOP_LENGTH) for t in (start_s, end_s))
        stop = max(stop, first + 2)
        mel = frames.stems[name].mel[:, first:stop]
        joined = max(1, -(-mel.shape[1] // _COLUMNS))
        mel = np.maximum.reduceat(mel, np.arange(0, mel.shape[1], joined), axis=1)
        loudest = float(frames.stems["mixture"].mel[:, first:stop].max())
        show_mel(ax, mel, start_s, joined * HOP_LENGTH, loudest)
        if name == "bass":  # what is above says little of it
            ax.set_ylim(0, 2000)
    else:
        ax.set(yscale="log", ylim=(40, 2000))
    if (contour := description.contours.get(name)) is not None:
        for width, colour in ((2.6, "black"), (1.3, "cyan")):  # light on dark and on bright ground
            ax.plot(contour.times_s, contour.f0_hz, color=colour, linewidth=width, solid_capstyle="round")
    for time in description.events.onsets_s.get(name, ()) if name != "mixture" else ():
        ax.axvline(time, ymin=0.0, ymax=0.06, color="white" if frames is not None else "0.3", linewidth=0.8)
    if name == "mixture" or frames is None:
        _draw_beats(ax, description, "white" if frames is not None else "0.5")
    ax.set_ylabel(name, fontsize=9)
    ax.yaxis.label.set_color(STEM_COLOURS.get(name, "black"))
    ax.set_xlabel("")


def _draw_beats(ax: Axes, description: TrackDescription, colour: str) -> None:
    """Bars as whole lines with their numbers, beats as short ones."""
    events = description.events
    bar = 0
    every = max(1, int(np.sum(events.beat_positions == 1)) // 40)
    for time, position in zip(events.beats_s, events.beat_positions):
        if position != 1:
            ax.axvline(time, ymin=0.9, color=colour, linewidth=0.6)
            continue
        bar += 1
        ax.axvline(time, color=colour, linewidth=0.7, alpha=0.7)
        if bar % every == 0 or bar == 1:
            ax.annotate(
                str(bar), (time, 0.985), xycoords=("data", "axes fraction"), fontsize=6.5, color=colour, va="top",
                xytext=(2, 0), textcoords="offset points", annotation_clip=True,
            )  # fmt: skip


def _draw_presence(ax: Axes, description: TrackDescription, frames: TrackFrames | None) -> None:
    """When each stem sounds: stretches, or the network's probability where there are no stretches."""
    segments = _tables(description).get("active_segments")
    for y, stem in enumerate(STEMS):
        colour = STEM_COLOURS[stem]
        if segments:
            for of, a, b in zip(segments["stem"], segments["start_s"], segments["end_s"]):
                if of == stem:
                    ax.barh(y, b - a, left=a, height=0.7, color=colour)
        elif frames is not None and frames.presence is not None:
            shown = 0.8 * frames.presence[y]
            ax.fill_between(frames.times_s, y + 0.4 - shown, y + 0.4, color=colour, linewidth=0)
    ax.set(ylim=(len(STEMS) - 0.5, -0.5), yticks=range(len(STEMS)), yticklabels=STEMS)
    ax.set_ylabel("sounds", fontsize=9)
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.tick_params(axis="y", length=0, labelsize=8)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
