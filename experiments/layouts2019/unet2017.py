"""The U-Net of 2017 trained on our songs, at its own front end, as a baseline.

As in the paper: mono 8,192 Hz, 1024/768, patches of 512 bins by 128 frames (12.0 s), a network for the vocals and one
for the accompaniment that share nothing, L1 between masked and true magnitudes, Adam. What the paper does not say, or
could not be confirmed, is ours: the rate (constant, then falling to zero), the batch, the number of steps, each patch
divided by its own maximum, and songs that are remixed on the fly.

The result is a checkpoint: ``stemfeatures separate`` and ``stemfeatures evaluate separation`` take it with ``--model``.
Called again, the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import logging
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import nn

from experiments.layouts2019.runs import Batch, Plan, Run, SongExamples, train_together
from experiments.songs import digest, hold_out, open_songs
from stemfeatures import __version__
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, STEMS
from stemfeatures.errors import StemfeaturesError
from stemfeatures.models import checkpoints
from stemfeatures.models.unet2017 import HOP_LENGTH as HOP_2017
from stemfeatures.models.unet2017 import N_BINS, N_FFT, N_FRAMES, SAMPLE_RATE, UNet2017Config, UNet2017Pair
from stemfeatures.spectra.transform import hann
from stemfeatures.training.card import song_sources
from stemfeatures.training.data.example import Example
from stemfeatures.training.data.song_store import SongStore

#: Samples of a patch at 8,192 Hz, and the frames of the analysis grid that cover it.
PATCH = (N_FRAMES - 1) * HOP_2017 + N_FFT
N_ANALYSIS_FRAMES = -(-PATCH * ANALYSIS_SAMPLE_RATE // (SAMPLE_RATE * HOP_LENGTH)) + 1


def prepare_example(example: Example) -> dict[str, np.ndarray]:
    """``sources`` (2, PATCH): vocals and accompaniment at 8,192 Hz."""
    vocals = example.stems[STEMS.index("vocals")]
    both = np.stack([vocals, example.stems.sum(axis=0) - vocals], axis=1)
    low = soxr.resample(both, ANALYSIS_SAMPLE_RATE, SAMPLE_RATE)
    return {"sources": np.ascontiguousarray(low[:PATCH].T, np.float32)}


def prepare_batch(batch: Batch) -> Batch:
    """``sources`` (batch, 2, 513, N_FRAMES) and ``mixture`` (batch, 513, N_FRAMES) magnitudes."""
    frames = batch["sources"].unfold(-1, N_FFT, HOP_2017)
    spectra = torch.fft.rfft(frames * hann(N_FFT, frames)).transpose(-1, -2)
    return {"sources": spectra.abs(), "mixture": spectra.sum(dim=1).abs()}


def losses(net: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """L1 on magnitudes scaled like the network's input, of each network for itself (times 100, to be read)."""
    top = batch["mixture"][:, :N_BINS].amax(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    masks = net(batch["mixture"])
    terms = {}
    for i, stem in enumerate(UNet2017Pair.stems_of(UNet2017Config())):
        error = (masks[:, i] * batch["mixture"] - batch["sources"][:, i]).abs() / top
        terms[stem] = 100 * error[:, :N_BINS].mean()
    return {**terms, "loss": torch.stack(list(terms.values())).sum()}


def export(run: Run, store: SongStore, path: Path, *, licences: dict[str, str], licence: str, command: str) -> Path:
    """Write the checkpoint and its card; returns the checkpoint."""
    net = run.net
    assert isinstance(net, UNet2017Pair)
    card: dict[str, Any] = {
        "description": "Separation of vocals and accompaniment up to 4,096 Hz: the U-Net of Jansson et al. (2017).",
        "licence": licence,
        "architecture": "unet2017",
        "parameters": sum(p.numel() for p in net.parameters()),
        "data": song_sources(store, licences),
        "held_out": [],
        "training": {
            "command": command,
            "recipe": asdict(run.plan),
            "steps": run.step,
            "seconds": round(run.seconds, 1),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "stemfeatures": __version__,
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in ("torch", "numpy", "soxr")},
            },
        },
        "metrics": {},
    }
    return checkpoints.save(net, path, card).path


def train(
    songs: SongStore, places: Sequence[int], out: Path, plan: Plan, *, max_minutes: float | None = None,
    device: str = "cpu", workers: int = 0, quiet: bool = False,
) -> Run:  # fmt: skip
    """Train both networks on these songs of a store, going on from ``out``.

    Raises
    ------
    ModelError : ``out`` holds a run of another plan or of other songs.
    """
    torch.manual_seed(plan.seed)
    net = UNet2017Pair().to(device)
    learned = digest([songs.songs[place] for place in places])
    run = Run(out, net, losses, plan).open({"architecture": "unet2017", "songs": [len(places), learned]}, device)

    def show(step: int, means: dict[str, dict[str, float]]) -> None:
        [terms] = means.values()
        words = " ".join(f"{name} {value:.4f}" for name, value in terms.items())
        print(
            f"step {step:,} of {plan.steps:,}: {words}, {run.seconds / step:.2f} s a step", file=sys.stderr, flush=True
        )

    examples = partial(SongExamples, songs.path, places, plan, prepare_example)
    train_together(
        [run], examples, prepare_batch, device=device, workers=workers, max_minutes=max_minutes, log_every=20,
        save_every=50, on_log=None if quiet else show,
    )  # fmt: skip
    return run


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.layouts2019.unet2017", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("--songs", type=Path, required=True, help="a store of songs, or a folder of multitracks")
    add("--out", type=Path, required=True, help="folder for state, log and weights")
    add("--steps", type=int, required=True)
    add("--max-minutes", type=float, help="stop after so long; the same command goes on")
    add("--held-out", type=float, default=0.0, help="share of the songs kept out, by artist, as in layouts2019")
    add("--batch-size", type=int, default=4)
    add("--learning-rate", type=float, default=1e-3)
    add("--seed", type=int, default=0)
    add("--device", default="cpu")
    add("--workers", type=int, default=0, help="processes that mix examples (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of the networks (default: %(default)s)")
    add("--licence", default="not stated", metavar="ID", help="licence of the weights, for the card")
    add("--data-licence", action="append", default=[], metavar="SOURCE=ID", help="licence of a data set, for the card")
    given = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(given)
    if args.steps < 1 or not 0 <= args.held_out < 1 or not all("=" in pair for pair in args.data_licence):
        parser.error("--steps starts at 1, --held-out lies within 0 and 1, --data-licence is SOURCE=ID")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(args.threads)
    plan = Plan(args.steps, args.batch_size, N_ANALYSIS_FRAMES, args.learning_rate, clip=None, seed=args.seed)
    try:
        store = open_songs(args.songs, args.out / "songs")
        places = hold_out(store.songs, args.held_out)[0] if args.held_out else list(range(len(store.songs)))
        run = train(store, places, args.out, plan, max_minutes=args.max_minutes, device=args.device,
                    workers=args.workers)  # fmt: skip
        path = export(
            run, store.select(places), args.out / "unet2017.safetensors", licence=args.licence,
            licences=dict(pair.split("=", 1) for pair in args.data_licence),
            command=shlex.join(["python", "-m", "experiments.layouts2019.unet2017", *given]),
        )  # fmt: skip
    except StemfeaturesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}: {run.step:,} of {plan.steps:,} steps in {run.seconds:.0f} s" + ("" if run.done else "; goes on"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
