"""A picture of a song and its truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..constants import STEMS
from .song import Song
from .units import SR

_N_FFT, _HOP = 4096, 512
_STEM_COLOURS = {"vocals": "tab:orange", "drums": "tab:gray", "bass": "tab:blue", "other": "tab:green"}


def plot_song(song: Song, path: str | Path, *, start_s: float = 0.0, end_s: float | None = None) -> Path:
    """Write a PNG: F0, words, beats, chords and sections over the spectrogram, and the stems' levels below.

    Needs the ``report`` extra. Returns ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from scipy.signal import stft

    truth = song.truth
    end_s = min(song.duration_s, end_s if end_s is not None else song.duration_s)
    mono = song.mixture.mean(axis=0)[int(start_s * SR) : int(end_s * SR)]
    hertz, times, spectrum = stft(mono, SR, nperseg=_N_FFT, noverlap=_N_FFT - _HOP)
    level = 20 * np.log10(np.abs(spectrum) + 1e-7)
    width = float(np.clip((end_s - start_s) * 0.45, 10, 48))
    figure = Figure(figsize=(width, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    top, bottom = axes
    peak = level.max()
    top.pcolormesh(
        times + start_s, hertz[1:], level[1:], vmin=peak - 75, vmax=peak, cmap="magma", shading="auto", rasterized=True
    )
    top.set(yscale="log", ylim=(30, 12_000), ylabel="Hz", xlim=(start_s, end_s))
    for voice, track in enumerate(truth.f0["vocals"]):
        _contour(
            top, track, "cyan" if voice == 0 else "lightgreen", "vocals F0" if voice == 0 else f"voice {voice + 1} F0"
        )
    _contour(top, truth.f0["bass"], "deepskyblue", "bass F0")
    for track in truth.f0["other"]:
        _contour(top, track, "orange", f"{track.get('player') or track['part']} F0")
    for time, position in zip(truth.beats_s, truth.beat_positions):
        top.axvline(time, ymax=0.06 if position > 1 else 0.12, color="white", lw=0.8 if position > 1 else 1.6)
        bottom.axvline(time, color="0.85", lw=0.5 if position > 1 else 1.2, zorder=0)
    inside = [c for c in truth.chords if c["end_s"] > start_s and c["start_s"] < end_s]
    for k, chord in enumerate(inside):  # on two rows, for they may change fast
        place = max(chord["start_s"], start_s), (9600, 8100)[k % 2]
        top.text(*place, chord["label"], color="white", fontsize=7, clip_on=True)
    for k, word in enumerate(w for w in truth.lyrics["words"] if start_s <= w["start_s"] < end_s):
        top.text(word["start_s"], (3600, 4400, 5400)[k % 3], word["word"], color="yellow", fontsize=7, clip_on=True)
        top.plot([word["start_s"], word["end_s"]], [3300, 3300], color="yellow", lw=1.2)
    for section in truth.sections:
        if start_s <= section["start_s"] < end_s:
            bottom.axvline(section["start_s"], color="black", lw=1.5)
            bottom.text(section["start_s"], -7, f" {section['label']}", fontsize=8, va="top", clip_on=True)
    for change in truth.keys[1:]:
        if start_s <= change["time_s"] < end_s:
            top.axvline(change["time_s"], color="white", ls=":", lw=1)
            top.text(
                change["time_s"], 7600, f" {change['key']}", color="white", fontsize=8, weight="bold", clip_on=True
            )
    for stem in STEMS:
        y = song.stems[stem]
        frames = y[:, : y.shape[1] // 2205 * 2205].reshape(2, -1, 2205)
        db = 10 * np.log10(np.square(frames).mean(axis=(0, 2)) + 1e-10)
        bottom.plot(0.05 * np.arange(len(db)) + 0.025, db, color=_STEM_COLOURS[stem], lw=1, label=stem)
    bottom.set(ylim=(-70, 0), ylabel="dBFS", xlabel="s")
    bottom.legend(loc="lower right", ncols=4, fontsize=7)
    top.legend(loc="lower right", fontsize=7)
    top.set_title(f"seed {truth.seed}: {truth.choices['style']}, {truth.key}, {truth.choices['tempo_bpm']:.0f} BPM")
    figure.savefig(path, dpi=90)
    return Path(path)


def _contour(axis: object, track: dict, colour: str, label: str) -> None:
    f0 = np.where(np.asarray(track["f0_hz"]) > 0, track["f0_hz"], np.nan)
    axis.plot(track["times_s"], f0, color=colour, lw=1.3, label=label)  # type: ignore[attr-defined]
