"""CPU seconds per minute of audio, by stage, on one thread, and peak memory.

    python benchmarks/extraction.py [FILE ...] [--repeat 3] [--precision float32,bfloat16] [--alone]

Without files it takes the decodable tracks of catalog_samples/. Of several precisions of the network each has its turn
with every file. The last lines, unless ``--alone``, put the same audio through librosa
(mixture only: MFCC, spectral shape, chroma_cqt, beat_track and, apart, pyin), as a yardstick from the same run.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import contextlib
import resource
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import librosa
import numpy as np
import torch

from pipelines.extraction.threads import keeping_memory
from stemfeatures.analysis import Analyser
from stemfeatures.audio import StreamResampler, load, open_audio
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_BINS, N_FFT
from stemfeatures.descriptors import LoudnessMeter, describe
from stemfeatures.errors import AudioError
from stemfeatures.frames.builder import FrameBuilder
from stemfeatures.inference.segments import SegmentRunner, SegmentTrack
from stemfeatures.models import checkpoints
from stemfeatures.models.joint import JointNet
from stemfeatures.spectra.streaming import StreamFramer, forward_frames
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import write_part
from stemfeatures.tables.rows import Provenance, TrackInfo, track_rows

SAMPLES = Path(__file__).parent.parent / "catalog_samples"


class Stages:
    """Sums CPU time by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start


class TimedNet(torch.nn.Module):
    """Counts the network apart from what follows it."""

    def __init__(self, net: torch.nn.Module, stages: Stages) -> None:
        super().__init__()
        self.net, self.stages, self.stride = net, stages, net.stride

    def forward(self, magnitude: torch.Tensor, *args: object, **kwargs: object) -> object:
        assert magnitude.shape[1] == N_BINS
        with self.stages.measure("network"):
            return self.net(magnitude, *args, **kwargs)


def extract(path: Path, analyser: Analyser, rows: dict[str, list[dict[str, Any]]], stages: Stages) -> float:
    """One track through every stage but the last, which writes all rows; returns its minutes."""
    with open_audio(path) as stream:
        rate, channels = stream.info.sample_rate, stream.info.channels
        with stages.measure("decode"):
            blocks = list(stream)
    meter = LoudnessMeter(rate, channels)
    with stages.measure("loudness of the mixture"):
        for block in blocks:
            meter.update(block)
    builder = FrameBuilder(sample_rate=rate, channels=channels)
    track = SegmentTrack(builder.add, builder.add_features)
    runner = SegmentRunner(cast(JointNet, TimedNet(analyser.net, stages)))
    framer = StreamFramer(1, N_FFT, HOP_LENGTH)
    resampler = StreamResampler(rate, ANALYSIS_SAMPLE_RATE)
    with stages.measure("resample and STFT"):
        mono = [resampler.process(b.mean(axis=0)) for b in blocks] + [resampler.flush()]
        parts = [forward_frames(framer.push(torch.from_numpy(m)[None]))[0] for m in mono]
        parts.append(forward_frames(framer.finish())[0])
    with stages.measure("stereo, but for the masks"):
        for block in blocks:
            builder.push_channels(block)
        builder.finish_channels()
    before = stages.seconds["network"]
    with stages.measure("frames of five rows"), torch.inference_mode():
        for part in parts:
            if part.shape[1]:
                runner.add(track.push(part))
        runner.add(track.finish())
        runner.flush()
        frames = builder.finish(framer.n_samples)
    stages.seconds["frames of five rows"] -= stages.seconds["network"] - before
    frames.step_power, frames.true_peak = meter.step_power, meter.true_peak
    with stages.measure("descriptors"):
        description = describe(frames)
    with stages.measure("rows and Parquet"):
        provenance = Provenance("bench", "bench", analyser.checkpoint.name, analyser.checkpoint.sha256)
        for table, some in track_rows(TrackInfo(path.stem, str(path)), description, provenance).items():
            rows[table].extend(some)
    return sum(b.shape[1] for b in blocks) / rate / 60


def write(rows: dict[str, list[dict[str, Any]]], out_dir: Path, stages: Stages) -> None:
    """The rows of all tracks, as the shard that they are to `extract`."""
    with stages.measure("rows and Parquet"):
        layout = DatasetLayout.create(out_dir)
        for table, some in rows.items():
            write_part(layout, table, some, shard="bench")


def librosa_descriptors(y: np.ndarray, stages: Stages) -> None:
    """What librosa would compute of the mixture alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with stages.measure("librosa: MFCC, spectral shape, chroma_cqt, beat_track"):
            spectrum = np.abs(librosa.stft(y))
            mel = librosa.feature.melspectrogram(S=spectrum**2, sr=ANALYSIS_SAMPLE_RATE)
            librosa.feature.mfcc(S=librosa.power_to_db(mel))
            for name in ("spectral_centroid", "spectral_bandwidth", "spectral_contrast", "spectral_rolloff"):
                getattr(librosa.feature, name)(S=spectrum, sr=ANALYSIS_SAMPLE_RATE)
            librosa.feature.chroma_cqt(y=y, sr=ANALYSIS_SAMPLE_RATE)
            librosa.beat.beat_track(y=y, sr=ANALYSIS_SAMPLE_RATE)
        with stages.measure("librosa: pyin"):
            librosa.pyin(y, fmin=65, fmax=1047, sr=ANALYSIS_SAMPLE_RATE)


def show(title: str, runs: list[Stages], minutes: float) -> float:
    """Print a row a stage; returns the sum of their medians in CPU seconds a minute of audio."""
    print(title)
    total = 0.0
    for name in runs[0].seconds:
        values = [run.seconds[name] / minutes for run in runs]
        total += statistics.median(values)
        print(f"  {name:55s} {statistics.median(values):7.3f} ({min(values):.3f} to {max(values):.3f})")
    print(f"  {'all stages':55s} {total:7.3f}")
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--precision", default="float32", help="of the network, or several with commas between")
    parser.add_argument("--alone", action="store_true", help="without librosa")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with keeping_memory():  # as extract does
        measure(args)


def measure(args: argparse.Namespace) -> None:
    """All files through all stages, as often as was asked for."""
    files = args.files or sorted(p for p in SAMPLES.rglob("*") if p.suffix in {".wav", ".flac", ".mp3", ".ogg", ".m4a"})
    files = [p for p in files if "truth" not in p.parts]
    names = args.precision.split(",")
    model = args.model or checkpoints.DEFAULT_MODEL
    analysers = {name: Analyser(model, precision=name) for name in names}
    runs: dict[str, list[Stages]] = {name: [] for name in (*names, "librosa")}
    minutes = 0.0
    for attempt in range(args.repeat + 1):
        stages, minutes = {name: Stages() for name in runs}, 0.0
        rows: dict[str, dict[str, list[dict[str, Any]]]] = {name: defaultdict(list) for name in names}
        for path in files:
            try:
                for name in names:
                    length = extract(path, analysers[name], rows[name], stages[name])
            except AudioError:
                continue
            minutes += length
            y, _ = load(path, sample_rate=ANALYSIS_SAMPLE_RATE, mono=True)
            if len(y) > ANALYSIS_SAMPLE_RATE and not args.alone:
                librosa_descriptors(y, stages["librosa"])
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                write(rows[name], Path(folder) / "features", stages[name])
        if attempt:  # the first pass warms up caches and compiles
            for name, made in stages.items():
                runs[name].append(made)
    print(f"{minutes:.2f} minutes of audio, {args.repeat} runs; CPU seconds per minute of audio: median (min to max)")
    ours = {name: show(name, runs[name], minutes) for name in names}
    for name in names[1:]:
        print(f"ratio of {name} to {names[0]}: {ours[name] / ours[names[0]]:.2f}")
    if not args.alone:
        theirs = show("librosa, mixture alone", runs["librosa"], minutes)
        print(f"ratio of {names[0]} to that: {ours[names[0]] / theirs:.2f} with pyin")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
