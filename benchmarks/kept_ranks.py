"""Which descriptors of a stem keep their rank through separation? On generated songs, by correlation.

    python benchmarks/kept_ranks.py [FIELD ...] [--songs 12] [--seconds 16] [--seed 96000]

Generates songs of all styles in turn (needs the train extra), and analyses each mixture twice: with the stems that the
network separates, and with the true ones. Prints, by field and stem, Spearman's correlation over the songs in which
both have a value, and how many these are. The default, ``dissonance``, is the mean of that of active frames, also where
rows have none, as it cannot be trusted.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch
from scipy.stats import spearmanr

from stemfeatures.analysis import Analyser, TrackAnalysis
from stemfeatures.constants import STEMS
from stemfeatures.descriptors.activity import active_rows
from stemfeatures.descriptors.dissonance import active_dissonance
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.song import generate_song

#: Fewest songs that have a rank.
FEWEST = 4


def value_of(analysis: TrackAnalysis, stem: str, field: str) -> float | None:
    """Of a row, or the mean dissonance of its active frames."""
    if field != "dissonance":
        return analysis.stems[stem][field]
    active = DescriptorInputs(analysis.frames).get(active_rows)[stem]
    rough = active_dissonance(analysis.frames.stems[stem], active)
    return float(rough.mean()) if rough is not None and len(rough) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fields", nargs="*", metavar="FIELD", default=["dissonance"])
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=16.0, help="length of the songs")
    parser.add_argument("--seed", type=int, default=96_000, help="number of the first song")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    analyser = Analyser()
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {(f, s): [] for f in args.fields for s in STEMS}
    for k in range(args.songs):
        style = DRAWN_STYLES[(5 * k) % len(DRAWN_STYLES)]
        song = generate_song(args.seed + k, duration_s=args.seconds, style=style)
        rate = song.truth.sample_rate
        found, true = (analyser.from_audio(song.mixture, rate, stems=stems) for stems in (None, song.stems))
        for (field, stem), values in pairs.items():
            one, other = value_of(found, stem, field), value_of(true, stem, field)
            if one is not None and other is not None:
                values.append((one, other))
    for (field, stem), values in pairs.items():
        rank = f"{spearmanr(*np.transpose(values))[0]:.2f}" if len(values) >= FEWEST else "-"
        print(f"{field:<28}{stem:<10}{rank:>6} ({len(values)})")


if __name__ == "__main__":
    main()
