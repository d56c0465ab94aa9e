"""What separation leaves of the inharmonicity of voice and bass, by the ratio that the masks promise.

    python benchmarks/inharmonicity.py [--songs 8] [--seconds 16] [--seed 98000] [--softer 0 10 20]
        [--data FOLDER ...] [--every 1]

Generates songs (needs the train extra), and takes what multitrack songs lie in folders besides, so many seconds from
the middle of them. Each stem with a pitch is mixed with the others as they are and softer by so many dB, and separated.
The median inharmonicity of the separated stem is set beside that of the stem itself, in the frames whose pitch the F0
contour confirms. Prints, by the signal-to-distortion ratio that the masks promise, Spearman's correlation over the
mixtures, the median absolute difference, and the median true value.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from stemfeatures.analysis import Analyser
from stemfeatures.audio import resample, to_mono
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, PITCHED_STEMS
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.descriptors.inharmonicity import LEAST_FRAMES, confirmed, median_inharmonicity
from stemfeatures.descriptors.separation import calibrated_sdr_db
from stemfeatures.frames.inharmonicity import InharmonicityMeter
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.song import generate_song

EDGES_DB = (-20.0, 6.0, 9.0, 12.0, 15.0, 40.0)
#: Stems whose mean square is below this are not there.
AUDIBLE = 1e-6


def generated(n: int, seed: int, seconds: float) -> Iterator[dict[str, np.ndarray]]:
    """Stems at 22,050 Hz, mono, of generated songs of all styles in turn."""
    styles = DRAWN_STYLES
    for k in range(n):
        song = generate_song(seed + k, duration_s=seconds, style=styles[(5 * k) % len(styles)])
        yield {
            stem: resample(to_mono(y), song.truth.sample_rate, ANALYSIS_SAMPLE_RATE) for stem, y in song.stems.items()
        }


def recorded(folders: list[Path], every: int, seconds: float) -> Iterator[dict[str, np.ndarray]]:
    """The same from the middle of multitrack songs in folders."""
    for track in (track for folder in folders for track in find_tracks(folder)[::every]):
        stems = {}
        for stem in track.stem_names:
            y, rate = track.audio(stem)
            y = resample(to_mono(y), rate, ANALYSIS_SAMPLE_RATE)
            first = max(0, (len(y) - round(seconds * ANALYSIS_SAMPLE_RATE)) // 2)
            stems[stem] = y[first : len(y) - first]
        yield stems


def compare(stems: dict[str, np.ndarray], stem: str, softer_db: float, analyser: Analyser) -> tuple[float, ...] | None:
    """Promised ratio in dB, value of the separated and of the true stem; None where there are too few frames."""
    others = np.sum([y for name, y in stems.items() if name != stem], axis=0)
    analysis = analyser.from_audio(stems[stem] + others * 10 ** (-softer_db / 20), ANALYSIS_SAMPLE_RATE)
    pitch, f0_hz = analysis.frames.pitch[stem], analysis.contours[stem].on_frames().f0_hz
    meter = InharmonicityMeter()
    meter.push(pitch.candidates_hz[:, 0], pitch.voicing)
    meter.push_signal(stems[stem])
    true, sdr_db = meter.finish(), calibrated_sdr_db(analysis.frames.stems[stem])
    separated = (analysis.frames.tones or {}).get(stem)
    if separated is None or sdr_db is None:
        return None
    if min(np.count_nonzero(confirmed(tones, f0_hz)) for tones in (separated, true)) < LEAST_FRAMES:
        return None
    values = [median_inharmonicity(tones, f0_hz) for tones in (separated, true)]
    return None if None in values else (sdr_db, *(float(value or 0.0) for value in values))


def report(stem: str, found: list[tuple[float, ...]]) -> None:
    """Print a line a range of promised ratios."""
    ratio, ours, true = np.array(found).reshape(-1, 3).T
    for low, high in zip(EDGES_DB, EDGES_DB[1:]):
        band = (ratio >= low) & (ratio < high)
        text = f"{stem:<10}{low:>6.0f}..{high:.0f} dB ({band.sum()})"
        if band.sum() >= 4:
            apart = np.median(np.abs(ours - true)[band])
            text += f"  {spearmanr(ours[band], true[band])[0]:.2f}  {apart:.4f}  {np.median(true[band]):.4f}"
        print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=16.0, help="how much of each song")
    parser.add_argument("--seed", type=int, default=98_000, help="number of the first song")
    parser.add_argument("--softer", type=float, nargs="+", default=[0.0, 10.0, 20.0], help="dB")
    parser.add_argument("--data", type=Path, nargs="*", default=[], metavar="FOLDER", help="multitrack songs")
    parser.add_argument("--every", type=int, default=1, help="of so many of them one")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    analyser = Analyser()
    found: dict[str, list[tuple[float, ...]]] = {stem: [] for stem in PITCHED_STEMS}
    for songs in (generated(args.songs, args.seed, args.seconds), recorded(args.data, args.every, args.seconds)):
        for stems in songs:
            for stem in PITCHED_STEMS:
                if stem in stems and np.square(stems[stem]).mean() > AUDIBLE:
                    compared = [compare(stems, stem, softer, analyser) for softer in args.softer]
                    found[stem] += [values for values in compared if values is not None]
    for stem, values in found.items():
        report(stem, values)


if __name__ == "__main__":
    main()
