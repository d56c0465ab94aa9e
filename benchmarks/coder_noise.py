"""How far below the sound the noise of lossy codecs lies, band by band, and that of the coder in training beside it.

    python benchmarks/coder_noise.py [SONG] [--seconds 8]

SONG is a mixture, in stereo; default: one of the catalogue samples. Printed are dB of sound over noise on the analysis
grid: of MP3, Vorbis and AAC there and back at a quality of 0.1 and of 0.5, and of
:func:`stemfeatures.training.objectives.augmentation.code` at the ends and the middle of its margins.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from stemfeatures import audio
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE as SR
from stemfeatures.evaluation.leakage import BANDS, BANDS_HZ
from stemfeatures.generator.mix.codecs import CODECS, codec_round_trip
from stemfeatures.generator.units import SR as FULL_RATE
from stemfeatures.training.objectives.augmentation import FRAMES, MARGIN_DB, code

SAMPLE = Path(__file__).parents[1] / "catalog_samples" / "Río.flac"


def ratios_db(sound: np.ndarray, changed: np.ndarray) -> list[float]:
    """Sound over noise in each of ``BANDS_HZ``, of signals ``(n_samples,)`` at ``SR``."""
    right, wrong = (np.abs(np.fft.rfft(y)) ** 2 for y in (sound, changed - sound))
    band = np.searchsorted(BANDS_HZ, np.arange(len(right)) * (SR / len(sound)), side="right") - 1
    energies = [np.bincount(band, weights=power, minlength=len(BANDS_HZ)) for power in (right, wrong)]
    return list(10 * np.log10(energies[0] / np.maximum(energies[1], 1e-12)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--seconds", type=float, default=8.0, help="of it, from its middle (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    y, rate = audio.load(args.song)
    start = max(0, (y.shape[1] - int(args.seconds * rate)) // 2)
    y = audio.resample(y[:, start : start + int(args.seconds * rate)], rate, FULL_RATE)
    y = np.ascontiguousarray(np.broadcast_to(y, (2, y.shape[1])))
    sound = audio.resample(audio.to_mono(y), FULL_RATE, SR)
    print(f"{'dB':<22}" + "".join(f"{band:>16}" for band in BANDS[1:]))

    def show(name: str, changed: np.ndarray) -> None:
        print(f"{name:<22}" + "".join(f"{ratio:16.1f}" for ratio in ratios_db(sound, changed[: len(sound)])))

    for codec in CODECS:
        for quality in (0.1, 0.5):
            there_and_back = codec_round_trip(y, codec, quality)
            show(f"{codec}, quality {quality:g}", audio.resample(audio.to_mono(there_and_back), FULL_RATE, SR))
    for size in FRAMES:
        for margin_db in (MARGIN_DB[0], sum(MARGIN_DB) / 2, MARGIN_DB[1]):
            coded = code(torch.from_numpy(sound)[None], size, margin_db)[0].numpy()
            show(f"ours, {size}, margin {margin_db:g}", coded)


if __name__ == "__main__":
    main()
