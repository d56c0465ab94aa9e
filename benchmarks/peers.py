"""The whole job, decode to Parquet, beside a chain of other packages that gives a part of it, in the same run.

    python benchmarks/peers.py [FILE] [--seconds 60] [--repeat 2]

CPU seconds per minute of audio on one thread; each side has done one short file before, so that nothing is loaded or
compiled within. The chain separates with the cheapest of Open-Unmix (``umxhq``, no Wiener filter) and HTDemucs that
is installed, with random weights, which cost what trained ones do; then essentia's MusicExtractor describes mixture and
stems, and swift-f0, or without it librosa's pyin, follows voice and bass. What is not installed is left out and said.
Separators get stereo at 44.1 kHz, whatever the file has. Without a file it makes one of noise in pulses and a
voice-like tone.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from descriptors import cpu_s

from pipelines import extract_catalog
from stemfeatures import audio
from stemfeatures.constants import STEMS
from stemfeatures.evaluation.base import BaseEstimator
from stemfeatures.evaluation.registry import get_estimator

RATE = 44_100
Separate = Callable[[torch.Tensor], torch.Tensor]


def write_song(path: Path, seconds: float) -> Path:
    """Stereo: strokes twice a second under a tone with vibrato."""
    times = np.arange(round(RATE * seconds)) / RATE
    strokes = 0.1 * np.random.default_rng(0).standard_normal((2, len(times))) * np.exp(-25 * (times % 0.5))
    tone = sum(np.sin(k * (2 * np.pi * 220 * times + 0.5 * np.sin(2 * np.pi * 5 * times))) / k for k in range(1, 9))
    audio.write(path, (strokes + 0.1 * tone * (times % 4 < 3)).astype(np.float32), RATE)
    return path


def stereo(file: Path) -> np.ndarray:
    """(2, n_samples) float32 of a file at :data:`RATE`."""
    y, _ = audio.load(file, sample_rate=RATE)
    return np.asarray(np.stack([y[0], y[-1]]), dtype=np.float32)


def separator() -> tuple[str, Separate] | None:
    """Name, and ``(channels, n_samples)`` to ``(4, channels, n_samples)``, of the cheapest one that is installed."""
    torch.manual_seed(0)
    if find_spec("openunmix"):
        from openunmix.model import OpenUnmix
        from openunmix.model import Separator as Unmix

        nets = {stem: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487) for stem in STEMS}
        unmix = Unmix(nets, niter=0, sample_rate=RATE, nb_channels=2).eval()
        return "Open-Unmix", lambda y: unmix(y[None])[0]
    if find_spec("demucs"):
        from demucs.apply import apply_model
        from demucs.htdemucs import HTDemucs

        net = HTDemucs(sources=list(STEMS)).eval()
        return "HTDemucs", lambda y: apply_model(net, y[None], shifts=0, num_workers=0)[0]
    return None


def describe(files: list[Path]) -> None:
    """essentia's descriptors of each file."""
    import essentia.standard

    extractor = essentia.standard.MusicExtractor()
    for file in files:
        extractor(str(file))


def tracker() -> BaseEstimator:
    """Of F0: swift-f0, or pyin without it; ready to be used."""
    found = get_estimator("swift-f0" if find_spec("swift_f0") else "pyin")
    found.prepare()
    return found


def follow(files: list[Path], estimator: BaseEstimator) -> None:
    """F0 of each file."""
    for file in files:
        y, rate = audio.load(file)
        estimator.f0(np.asarray(y), rate)


def chain(song: Path, work: Path, repeat: int) -> dict[str, float]:
    """CPU seconds by what the packages do."""
    seconds: dict[str, float] = {}
    y = stereo(song)
    stems = np.stack([y] * len(STEMS))
    if (found := separator()) is not None:
        name, separate = found
        with torch.inference_mode():
            separate(torch.from_numpy(y[:, :RATE]))
            seconds[f"{name}, random weights"] = cpu_s(lambda: separate(torch.from_numpy(y)), repeat)
    # random weights give noise, which is described faster than music: the mixture stands for each stem
    files = [work / f"{stem}.wav" for stem in STEMS]
    for file, stem in zip(files, stems):
        audio.write(file, stem, RATE)
    if find_spec("essentia"):
        import essentia

        essentia.log.infoActive = essentia.log.warningActive = False
        describe([work / "short.wav"])
        seconds["essentia: MusicExtractor, five signals"] = cpu_s(lambda: describe([song, *files]), repeat)
    estimator = tracker()
    follow(files[:1], estimator)
    seconds[f"{estimator.name}, voice and bass"] = cpu_s(lambda: follow([files[0], files[2]], estimator), repeat)
    return seconds


def whole_job(song: Path, work: Path, repeat: int) -> float:
    """CPU seconds of our own run, all tables."""
    runs = iter(range(repeat + 1))

    def extract(path: Path) -> None:
        summary = extract_catalog([path], work / f"features-{next(runs)}", device="cpu", jobs=1)
        assert summary.n_done == 1, summary.errors

    extract(write_song(work / "short.wav", 2.0))
    return cpu_s(lambda: extract(song), repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the file that is made")
    parser.add_argument("--repeat", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        song = args.file or write_song(work / "song.wav", args.seconds)
        minutes = stereo(song).shape[1] / RATE / 60
        ours = whole_job(song, work, args.repeat)
        theirs = chain(song, work, args.repeat)
    print(f"{'CPU seconds per minute of audio, one thread':<56}")
    print(f"{'stemfeatures: decode to Parquet, all tables':<48}{ours / minutes:>8.2f}")
    for what, seconds in theirs.items():
        print(f"{what:<48}{seconds / minutes:>8.2f}")
    missing = [name for name in ("openunmix", "essentia", "swift_f0") if find_spec(name) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}")
    print(f"{'ratio of the whole job to the chain':<48}{ours / sum(theirs.values()):>8.2f}")


if __name__ == "__main__":
    main()
