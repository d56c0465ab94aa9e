"""What separation leaves of formants, harmonicity, jitter and shimmer of singing, on clips of MIR-1K.

    python benchmarks/voice.py FOLDER [--every 1] [--softer 0 10 20] [--model NAME]

FOLDER holds clips of MIR-1K (voice and karaoke track on a channel each). Each is mixed with the karaoke track as it is
and softer by so many dB, and separated. The values of the separated voice are set beside those of the voice itself, in
frames whose pitch the F0 contour confirms. Prints, by the signal-to-distortion ratio that the masks promise, Spearman's
correlation over the clips and the median difference relative to the true value.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from stemfeatures.analysis import Analyser
from stemfeatures.audio import resample
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE
from stemfeatures.datasets.mir1k import Mir1kTrack, mir1k_tracks
from stemfeatures.descriptors.separation import calibrated_sdr_db
from stemfeatures.descriptors.voice import LEAST_FRAMES, confirmed, voice_medians
from stemfeatures.frames.voice_meter import VoiceMeter

Values = dict[str, float | None]
#: Ranges of the ratio; those between 9 and 15 dB overlap, as bounds are chosen there.
BANDS_DB = ((-20.0, 6.0), (6.0, 9.0), (9.0, 12.0), (10.0, 13.0), (11.0, 14.0), (12.0, 15.0), (15.0, 40.0))


def compare(track: Mir1kTrack, softer_db: float, analyser: Analyser) -> tuple[float, Values, Values] | None:
    """Promised ratio in dB, values of the separated and of the true voice; None for too few voiced frames."""
    (karaoke, rate), (vocals, _) = track.audio("accompaniment"), track.audio("vocals")
    analysis = analyser.from_audio(karaoke * 10 ** (-softer_db / 20) + vocals, rate)
    pitch, separated = analysis.frames.pitch["vocals"], analysis.frames.voice
    meter = VoiceMeter()
    meter.push(pitch.candidates_hz[:, 0], pitch.voicing)
    meter.push_signal(resample(vocals[0], rate, ANALYSIS_SAMPLE_RATE))
    true, sdr_db = meter.finish(), calibrated_sdr_db(analysis.frames.stems["vocals"])
    if separated is None or sdr_db is None:
        return None
    f0_hz = analysis.contours["vocals"].on_frames().f0_hz
    if min(np.count_nonzero(confirmed(voice, f0_hz)) for voice in (separated, true)) < LEAST_FRAMES:
        return None
    ours, theirs = (voice_medians(voice, confirmed(voice, f0_hz)) for voice in (separated, true))
    return sdr_db, ours, theirs


def report(found: list[tuple[float, Values, Values]]) -> None:
    """Print a line a field, a column a range of promised ratios."""
    ratio = np.array([sdr_db for sdr_db, _, _ in found])
    bands = [(ratio >= low) & (ratio < high) for low, high in BANDS_DB]
    heads = [f"{low:.0f}..{high:.0f} dB ({band.sum()})" for (low, high), band in zip(BANDS_DB, bands)]
    print(f"{'correlation, difference':<32}" + "".join(f"{head:>18}" for head in heads))
    for name in found[0][1] if found else ():
        pairs = np.array([[np.nan if v[name] is None else v[name] for v in row[1:]] for row in found], dtype=float)
        cells = []
        for band in bands:
            ours, true = pairs[band & np.isfinite(pairs).all(axis=1)].T
            if len(ours) < 4:
                cells.append("-")
                continue
            apart = np.median(np.abs(ours - true) / np.abs(true))
            cells.append(f"{spearmanr(ours, true)[0]:.2f} {apart:.0%}")
        print(f"{name:<32}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="of so many clips one")
    parser.add_argument("--softer", type=float, nargs="+", default=[0.0, 10.0, 20.0], help="dB")
    parser.add_argument("--model", default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    analyser = Analyser(args.model) if args.model else Analyser()
    tracks = mir1k_tracks(args.folder)[:: args.every]
    compared = [compare(track, softer, analyser) for softer in args.softer for track in tracks]
    report([values for values in compared if values is not None])


if __name__ == "__main__":
    main()
