"""Draws the pictures of docs/quality.md: what is in which estimate, stems beside their estimates, the curve of a run.

    stemfeatures evaluate leakage SONGS --references none -o leakage.parquet
    python docs/draw_quality.py --leakage leakage.parquet --song SONGS/NAME --log runs/NAME/log.csv

Each option gives one picture in docs/images (``--out`` for elsewhere): leakage.png, stems.png, training.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("agg")
import matplotlib.pyplot as plt
from PIL import Image

from stemfeatures.constants import ANALYSIS_SAMPLE_RATE as SR
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.evaluation.leakage import BANDS, SHARES, pair_name, pair_of
from stemfeatures.models.checkpoints import DEFAULT_MODEL

#: Quietest level that is drawn, in dB below the loudest of the mixture.
_FLOOR_DB = -70.0
_COLOURS = 96
#: Steps that the smooth line of a curve is the mean of.
_SMOOTH_STEPS = 500


def leak_matrices(scores: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Mean shares of true stems in estimates, from the table of ``evaluate leakage``.

    Parameters
    ----------
    scores : pandas.DataFrame
        One row a track, pair of stems and estimator; those of one estimator are wanted.

    Returns
    -------
    stems : list of str
        In the order of the rows.
    shares : numpy.ndarray
        ``(bands, estimates, stems)``, 0..1.
    """
    rows = scores[(scores["task"] == "leakage") & (scores["status"] == "ok")]
    stems = list(dict.fromkeys(pair_of(name)[1] for name in rows["stem"]))
    means = rows.groupby("stem")[list(SHARES)].mean()
    return stems, np.array([[[means.loc[pair_name(s, e), share] for s in stems] for e in stems] for share in SHARES])


def draw_leakage(scores: pd.DataFrame, out: Path) -> None:
    stems, shares = leak_matrices(scores)
    figure, axes = plt.subplots(2, 4, figsize=(11, 6.2), layout="constrained")
    for axis, band, matrix in zip(axes.flat, BANDS, 100 * shares):
        axis.imshow(matrix, cmap="Blues", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if value > 55 else "black"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=9)
        axis.set_title("all bands" if band == "all" else band, fontsize=10)
        axis.set_xticks(range(len(stems)), stems, rotation=45)
        axis.set_yticks(range(len(stems)), stems)
    axes[0, 0].set_ylabel("estimate")
    axes[1, 0].set_ylabel("estimate")
    axes[1, 3].axis("off")
    songs = scores.loc[scores["task"] == "leakage", ["dataset", "track"]].drop_duplicates()
    text = f"% of the energy of\nthe true stem (across)\nthat is in the estimate (down)\n\n{len(songs)} songs"
    axes[1, 3].text(0, 0.5, text, va="center")
    _save(figure, out / "leakage.png")


def spectrogram_db(y: np.ndarray) -> np.ndarray:
    """(128 mel bands, frames) in dB of a mono signal at ``SR``."""
    import librosa

    return librosa.power_to_db(
        librosa.feature.melspectrogram(y=y, sr=SR, n_mels=128, fmax=SR / 2), ref=1.0, top_db=None
    )


def draw_stems(song: Path, model: str, start_s: float, seconds: float, out: Path) -> None:
    from stemfeatures.audio import resample, to_mono
    from stemfeatures.separation import open_separator

    truth = find_tracks(song.parent, stage="draw")
    track = next(track for track in truth if track.name == song.name)
    loaded = track.load()
    first, last = (int(t * loaded.sample_rate) for t in (start_s, start_s + seconds))
    y = loaded.mixture[:, first:last]
    estimates = open_separator(model).separate_array(y, loaded.sample_rate)
    stems = [stem for stem in loaded.stems if stem in estimates]
    figure, axes = plt.subplots(len(stems), 2, figsize=(11, 2.1 * len(stems)), layout="constrained", squeeze=False)
    top = spectrogram_db(resample(to_mono(y), loaded.sample_rate, SR)).max()
    for row, stem in zip(axes, stems):
        for axis, name, signal in zip(row, ("true", "estimated"), (loaded.stems[stem][:, first:last], estimates[stem])):
            level = spectrogram_db(resample(to_mono(signal), loaded.sample_rate, SR)) - top
            extent = (start_s, start_s + seconds, 0, len(level))
            axis.imshow(level, origin="lower", aspect="auto", vmin=_FLOOR_DB, vmax=0, extent=extent)
            axis.set_title(f"{stem}, {name}", fontsize=9)
            axis.set_yticks([])
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    _save(figure, out / "stems.png")


def smoothed(values: pd.Series, steps: pd.Series) -> pd.Series:
    """Mean over the last ``_SMOOTH_STEPS`` steps up to each row."""
    every = max(1, int(np.median(np.diff(steps)))) if len(steps) > 1 else 1
    return values.rolling(max(1, _SMOOTH_STEPS // every), min_periods=1).mean()


def draw_training(log: Path, out: Path) -> None:
    table = pd.read_csv(log).drop_duplicates("step", keep="last").sort_values("step")
    figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
    axis.plot(table["step"], table["loss"], linewidth=0.6, alpha=0.5, label="loss")
    axis.plot(table["step"], smoothed(table["loss"], table["step"]), label=f"mean of the last {_SMOOTH_STEPS} steps")
    axis.set_xlabel("step")
    axis.set_ylabel("loss")
    axis.legend(frameon=False)
    _save(figure, out / "training.png")


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=80)
    plt.close(figure)
    with Image.open(path) as picture:  # a palette makes a third of it
        small = picture.convert("RGB").quantize(_COLOURS)
    small.save(path, optimize=True)
    print(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--leakage", type=Path, metavar="FILE", help="Parquet file of `evaluate leakage -o`, of one model"
    )
    parser.add_argument("--song", type=Path, metavar="DIR", help="song folder with mixture and stems")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="for --song (default: %(default)s)")
    parser.add_argument(
        "--start", type=float, default=15.0, metavar="S", help="of the part drawn (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S", help="its length (default: %(default)s)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="log.csv of a run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images", metavar="DIR")
    args = parser.parse_args(argv)
    if args.leakage:
        draw_leakage(pd.read_parquet(args.leakage), args.out)
    if args.song:
        draw_stems(args.song, args.model, args.start, args.seconds, args.out)
    if args.log:
        draw_training(args.log, args.out)


if __name__ == "__main__":
    main()
