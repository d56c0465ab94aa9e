"""The layouts of joint separation and F0 compared: equal data, equal steps, several seeds.

For every seed all layouts (:mod:`experiments.layouts2019.networks`) learn from the very same batches, cut from songs of
which some artists are held out. Each is then scored by the package's evaluation on the held-out songs and on
real development songs, which no layout has seen. The voicing threshold of each run is chosen on further examples of the
songs that it learned from.

::

    <out>/songs/                    the store, where the songs were not one
    <out>/<layout>-seed<k>/         run.json, last.pt, log.csv, scores.parquet
    <out>/scores.parquet            a row a run, data set, task, track and stem
    <out>/table.csv, table.md       means over tracks, then mean and standard deviation over seeds

Called again, it goes on; runs that are not done yet are not in the tables.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.layouts2019.layout_tables import write_tables
from experiments.layouts2019.networks import LAYOUTS, LayoutConfig, LayoutNet, n_parameters
from experiments.layouts2019.runs import Batch, Plan, Run, SongExamples, train_together
from experiments.layouts2019.vocal_estimators import LayoutEstimator, best_several_threshold, best_threshold
from experiments.songs import HELD_OUT, digest, find_real, hold_out, open_songs
from stemfeatures._util.files import replacing
from stemfeatures._util.pools import starmap
from stemfeatures.constants import N_BINS, STEMS
from stemfeatures.datasets.multitrack import MultiTrack
from stemfeatures.errors import StemfeaturesError
from stemfeatures.evaluation.run import evaluate_track
from stemfeatures.models.precision import BFLOAT16, FLOAT32, PRECISIONS, mixed_precision
from stemfeatures.spectra.transform import stft
from stemfeatures.training.data.example import Example
from stemfeatures.training.data.song_store import SongStore, StoredTrack
from stemfeatures.training.objectives.losses import masked_bce

SCORES = "scores.parquet"
#: Of magnitudes: absolute or squared. Silence is the least absolute error wherever the voice is more often absent, or
#: softer than the rest, than not; the squared one has its minimum at the mean.
DISTANCES = ("l1", "l2")
#: Weight of the F0 loss, and of a bin that holds an F0 in it; as for the joint network.
F0_WEIGHT, F0_POSITIVE = 6.0, 8.0
#: Examples on which the voicing threshold is chosen.
N_CALIBRATION = 48


@dataclass(frozen=True)
class Experiment:
    """What is compared, on what.

    Attributes
    ----------
    songs : a store. held_out : share of the songs, by artist. real : folders of development songs. limit : tracks of a
        data set that are scored at most. widths : filters of all layouts, None for the comparable ones. precision : in
        what networks learn; they are scored in float32. distance : what separation learns by, of ``DISTANCES``.
    """

    songs: Path
    out: Path
    plan: Plan
    layouts: tuple[str, ...] = LAYOUTS
    held_out: float = 0.1
    real: tuple[str, ...] = ()
    limit: int | None = None
    widths: tuple[int, ...] | None = None
    device: str = "cpu"
    threads: int = 1
    precision: str = FLOAT32
    distance: str = DISTANCES[0]


def prepare_example(example: Example) -> dict[str, np.ndarray]:
    """What the layouts need of an example: sound and truth of the vocals, and the mixture."""
    return {
        "mixture": example.stems.sum(axis=0),
        "vocals": example.stems[STEMS.index("vocals")],
        "salience": example.salience[0],
        "known": example.voiced_known[0],
    }


def prepare_batch(batch: Batch) -> Batch:
    """Magnitudes (batch, N_BINS, n_frames) beside the labels."""
    frames = batch["salience"].shape[-1]
    spectra = stft(torch.stack([batch["mixture"], batch["vocals"]], dim=1))[..., :N_BINS, :frames].abs()
    return {
        "mixture": spectra[:, 0],
        "vocals": spectra[:, 1],
        "salience": batch["salience"].float(),
        "known": batch["known"],
    }


def losses(
    net: nn.Module, batch: Batch, precision: str = FLOAT32, distance: str = DISTANCES[0]
) -> dict[str, torch.Tensor]:
    """Distance of the masked magnitude relative to the mixture's mean, and cross-entropy of the salience."""
    device = batch["mixture"].device.type
    with torch.autocast(device, torch.bfloat16, enabled=mixed_precision(precision, device)):
        output = net(batch["mixture"]).float()
    terms = {}
    if output.mask is not None:
        level = batch["mixture"].mean(dim=(1, 2), keepdim=True).clamp_min(1e-7)
        error = (output.mask * batch["mixture"] - batch["vocals"]) / level
        # Squares are about ten times as large: one weight of F0 does for both.
        terms["separation"] = (error.abs() if distance == "l1" else 0.1 * error.square()).mean()
    if output.salience is not None:
        terms["f0"] = masked_bce(output.salience, batch["salience"], batch["known"][:, None], F0_POSITIVE)
    weights = {"separation": 1.0, "f0": F0_WEIGHT}
    return {**terms, "loss": torch.stack([weights[name] * term for name, term in terms.items()]).sum()}


def run_seed(experiment: Experiment, seed: int, max_minutes: float | None = None) -> bool:
    """Train and score all layouts with one seed; False when the time was up before training was done."""
    torch.set_num_threads(experiment.threads)
    plan = replace(experiment.plan, seed=seed)
    store = SongStore(experiment.songs)
    learned, held = hold_out(store.songs, experiment.held_out)
    songs = digest([store.songs[place] for place in learned])
    runs = []
    for layout in experiment.layouts:
        torch.manual_seed(seed)
        config = LayoutConfig(layout, experiment.widths)
        net = LayoutNet(config).to(experiment.device)
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        settings = {
            "layout": config.to_dict(),
            "parameters": n_parameters(net),
            "songs": songs,
            "n_songs": len(learned),
        }
        if mixed_precision(experiment.precision, experiment.device):
            settings["precision"] = BFLOAT16
        if experiment.distance != DISTANCES[0]:
            settings["distance"] = experiment.distance
        learning = partial(losses, precision=experiment.precision, distance=experiment.distance)
        run = Run(experiment.out / f"{layout}-seed{seed}", net, learning, plan)
        runs.append(run.open(settings, experiment.device))

    def show(step: int, means: dict[str, dict[str, float]]) -> None:
        words = (f"{name} " + " ".join(f"{k} {v:.4f}" for k, v in m.items()) for name, m in means.items())
        print(f"step {step:,} of {plan.steps:,}: {'; '.join(words)}", file=sys.stderr, flush=True)

    examples = partial(SongExamples, experiment.songs, learned, plan, prepare_example)
    every = min(50, max(10, plan.steps // 20))
    done = train_together(
        runs, examples, prepare_batch, device=experiment.device, max_minutes=max_minutes, log_every=every,
        save_every=max(1, min(100, plan.steps // 4)), on_log=show,
    )  # fmt: skip
    tracks: list[MultiTrack] = [StoredTrack(store, place, dataset=HELD_OUT) for place in held]
    tracks += find_real(experiment.real, [store.songs[place] for place in learned])
    for run in runs:
        if run.done:
            score(run, _first_of_each(tracks, experiment.limit), examples)
    return done


def score(run: Run, tracks: Sequence[MultiTrack], examples: Any) -> None:
    """Score a run on the tracks it was not scored on yet; ``scores.parquet`` of its folder receives a row a task and
    track of the package's evaluation, with layout, seed, steps, parameters, seconds and threshold.

    ``examples`` : ``(first, last)`` to examples of the songs that were learned from, for the voicing threshold.
    """
    import pandas as pd

    path = run.folder / SCORES
    before = pd.read_parquet(path) if path.is_file() else pd.DataFrame(columns=["dataset", "track"])
    scored = set(zip(before["dataset"], before["track"]))
    net = run.net.cpu().eval()
    assert isinstance(net, LayoutNet)
    todo = [track for track in tracks if (track.dataset, track.name) not in scored and track.tasks & set(net.tasks)]
    if not todo:
        return
    first = run.plan.steps * run.plan.batch_size
    threshold = several = float("nan")
    if "f0" in net.tasks:
        threshold, several = _thresholds(net, examples(first, first + N_CALIBRATION))
    estimator = LayoutEstimator(net, threshold=threshold, several_threshold=several, n_frames=run.plan.n_frames)
    about = {
        "layout": net.config.layout,
        "seed": run.plan.seed,
        "steps": run.step,
        "parameters": n_parameters(net),
        "seconds": run.seconds,
        "threshold": threshold,
    }
    rows = [row for track in todo for row in evaluate_track(track, tasks=net.tasks, estimator=estimator)]
    now = pd.DataFrame([about | row for row in rows if row["stem"] == "vocals"])
    table = pd.concat([before, now], ignore_index=True) if len(before) else now
    with replacing(path) as partial_path:
        table.to_parquet(partial_path, index=False)


@torch.inference_mode()
def _thresholds(net: LayoutNet, examples: Any) -> tuple[float, float]:
    found, target, known = [], [], []
    for i in range(len(examples)):
        batch = prepare_batch({name: value[None] for name, value in examples[i].items()})
        found.append(torch.sigmoid(net(batch["mixture"]).salience)[0].numpy())
        target.append(batch["salience"][0].numpy())
        known.append(batch["known"][0].numpy())
    return best_threshold(found, target, known), best_several_threshold(found, target, known)


def _first_of_each(tracks: Sequence[MultiTrack], limit: int | None) -> list[MultiTrack]:
    counts: dict[str, int] = {}
    taken = []
    for track in tracks:
        counts[track.dataset] = counts.get(track.dataset, 0) + 1
        if limit is None or counts[track.dataset] <= limit:
            taken.append(track)
    return taken


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.layouts2019.layouts2019", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("--songs", type=Path, required=True, help="a store of songs, or a folder of multitracks")
    add("--out", type=Path, required=True, help="folder of the experiment")
    add("--steps", type=int, required=True, help="steps of every run")
    add("--seeds", type=int, default=3, help="seeds 0 ... N - 1 (default: %(default)s)")
    add("--minutes-per-run", type=float, help="stop a seed's training after so long for each of its runs")
    add("--layouts", nargs="+", choices=LAYOUTS, default=LAYOUTS, metavar="NAME", help=f"of {', '.join(LAYOUTS)}")
    add("--real", action="append", default=[], metavar="DIR", help="development songs with truth; may be repeated")
    add("--held-out", type=float, default=0.1, help="share of the songs, by artist (default: %(default)s)")
    add("--limit", type=int, help="score at most so many tracks of a data set")
    add("--batch-size", type=int, default=Plan.batch_size)
    add("--n-frames", type=int, default=Plan.n_frames, help="frames of an example, a multiple of 64")
    add("--learning-rate", type=float, default=Plan.learning_rate)
    add("--precision", choices=PRECISIONS, default=FLOAT32, help="what networks learn in (default: %(default)s)")
    add("--distance", choices=DISTANCES, default=DISTANCES[0], help="what separation learns by (default: %(default)s)")
    add("--device", default="cpu")
    add("--jobs", type=int, default=1, help="seeds side by side (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of every job (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.steps < 1 or args.seeds < 1 or args.n_frames < 64 or args.n_frames % 64 or not 0 < args.held_out < 1:
        parser.error("--steps and --seeds start at 1, --n-frames is a multiple of 64, --held-out lies within 0 and 1")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return _run(args)
    except StemfeaturesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    store = open_songs(args.songs, args.out / "songs", jobs=args.jobs)
    plan = Plan(steps=args.steps, batch_size=args.batch_size, n_frames=args.n_frames, learning_rate=args.learning_rate)
    experiment = Experiment(
        store.path, args.out, plan, tuple(args.layouts), args.held_out, tuple(args.real), args.limit,
        device=args.device, threads=args.threads, precision=args.precision, distance=args.distance,
    )  # fmt: skip
    learned = hold_out(store.songs, experiment.held_out)[0]
    find_real(experiment.real, [store.songs[place] for place in learned])  # complain before the work, not after
    minutes = args.minutes_per_run * len(experiment.layouts) if args.minutes_per_run else None
    work = partial(run_seed, experiment, max_minutes=minutes)
    whole = True
    seeds = [(seed,) for seed in range(args.seeds)]
    for done in starmap(work, seeds, jobs=args.jobs, stage="experiment", name="seed {}".format):
        whole &= bool(done)
        write_tables(args.out, asdict(plan))
    table = args.out / "table.md"
    print(table.read_text() if table.is_file() else "no run is done yet")
    if not whole:
        print("the time was up: the same command goes on", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
