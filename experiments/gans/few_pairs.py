"""Separation with few multitracks: what unpaired recordings add, by method and number of paired songs.

Songs are split by artist; some of those that are learned from stay paired, the others are taken apart into mixtures,
targets and accompaniments of which nothing else is known. A seed decides which songs are paired (more pairs contain
fewer), the first weights and all excerpts, so methods of one seed and number are compared pair by pair. Every method
has the same network, the same separator steps and the same data to draw from. Scores are those of the last step, on
held-out songs and on real ones: SDR of the target over the full band, whatever the network's rate is. Settings are
chosen with ``--tune``, which scores other songs, and a ``--first-seed`` that is in no table.

Called again, the command goes on where it was stopped, run by run and within a run.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments.gans.gan_runs import open_run, show_terms, store_scores
from experiments.songs import HELD_OUT, digest, find_real, hold_out, open_songs
from stemfeatures._util.files import write_replace
from stemfeatures.constants import STEMS
from stemfeatures.datasets.multitrack import MultiTrack
from stemfeatures.errors import DatasetError, StemfeaturesError
from stemfeatures.evaluation import CheckpointEstimator, evaluate
from stemfeatures.models import checkpoints
from stemfeatures.training.config import TrainConfig
from stemfeatures.training.data.recording_sources import rest_of
from stemfeatures.training.data.recording_store import RecordingStore, build_recording_store
from stemfeatures.training.data.song_store import StoredTrack
from stemfeatures.training.loop import train
from stemfeatures.training.objectives.find import find_objective
from stemfeatures.training.objectives.target_networks import grid_of
from stemfeatures.training.training_data import TrainingData

Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """How a run learns.

    Attributes
    ----------
    objective : its name. settings, model : overrides of the recipe's tables; ``pretrain`` : share of the steps that
        goes to supervised learning before, for objectives that have it.
    """

    objective: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    pretrain: float | None = None


#: What songs are called that settings are chosen with.
DEVELOPMENT = "development"
METHODS = {
    "supervised": Method("supervised"),
    # alpha and the critics' rate were chosen on songs and a seed that are in no table: docs/experiments/adversarial.md.
    "adversarial": Method(
        "adversarial", {"critic_width": 8, "critic_updates": 2, "critic_rate": 2e-4, "alpha": 0.003}, pretrain=0.6
    ),
    # Without batch norm and with a faster generator its ReLUs die and the target falls silent, see there as well.
    "gan": Method("gan", {"width": 8, "generator_rate": 0.3}, {"output": "mask", "batch_norm": True}),
    "factorgan": Method("factorgan", {"width": 8, "generator_rate": 0.3}, {"output": "mask", "batch_norm": True}),
    "factorgan-no-cp": Method(
        "factorgan", {"width": 8, "generator_rate": 0.3, "dependency": False}, {"output": "mask", "batch_norm": True}
    ),
}


def settings_of(method: Method) -> set[str]:
    """Names of the settings that a method's objective knows."""
    return {one.name for one in fields(find_objective(method.objective).Settings)}  # type: ignore[attr-defined]


def config_of(method: Method, target: str, args: argparse.Namespace, seed: int) -> TrainConfig:
    """The recipe of a run."""
    settings = dict(method.settings)
    if method.pretrain is not None:
        settings["pretrain"] = method.pretrain
    known = settings_of(method)
    settings |= {key: value for key, value in args.settings if key in known}
    if "pretrain" in settings:
        settings["pretrain"] = round(settings["pretrain"] * args.steps)
    clip = TrainConfig.clip if "clip" in find_objective(method.objective).unused else 1e3
    return TrainConfig(
        name=method.objective, objective=method.objective, target=target, network="unet2018", seed=seed,
        steps=args.steps, batch_size=args.batch_size, n_frames=args.frames, learning_rate=args.learning_rate,
        warmup=20, decay=0.4, clip=clip, ema=args.ema, save_every=100, log_every=20,
        model={"width": args.width, "depth": args.depth, "output": args.output} | dict(method.model),
        settings=settings,
    )  # fmt: skip


def pairs_of(store: RecordingStore, learned: Sequence[int], count: int, seed: int) -> tuple[list[int], list[int]]:
    """``(paired, the others)`` of a seed; the target sounds in all that are paired.

    Raises
    ------
    DatasetError : there are not so many.
    """
    order = np.random.default_rng([seed, 20]).permutation(np.asarray(learned))
    sounding = [int(place) for place in order if store.recordings["pairs"][place].levels[0] > 0]
    if count > len(sounding):
        raise DatasetError(f"{count} pairs of {len(sounding)} songs with the target", stage="experiment")
    paired = sounding[:count]
    return paired, [int(place) for place in order if place not in paired]


def run_once(
    args: argparse.Namespace, name: str, count: int, seed: int, store: RecordingStore,
    places: tuple[list[int], list[int]], tracks: Mapping[str, Sequence[MultiTrack]], stop_at: float,
) -> list[Row] | None:  # fmt: skip
    """Train and score one run, or read its scores; None when the time was up before."""
    config = config_of(METHODS[name], args.target, args, seed)
    paired, others = places
    folder = args.out / f"{name}-p{count:03d}-s{seed}"
    names = [store.recordings["pairs"][place].name for place in paired]
    scored = {kind: [track.name for track in some] for kind, some in tracks.items()}
    if (known := open_run(folder, {"recipe": config.to_dict(), "pairs": names, "scored": scored})) is not None:
        return known
    minutes = (stop_at - time.monotonic()) / 60
    if minutes <= 0:
        return None
    data = TrainingData(recordings=store.select(paired, unpaired=others))
    show = None if args.quiet else show_terms(folder.name, args.steps)
    used = time.process_time()
    objective = train(
        config, data, folder, device=args.device, workers=args.workers, max_minutes=minutes, on_log=show
    )  # fmt: skip
    trained = _spent(folder, time.process_time() - used)
    if objective.steps_done < config.steps:
        return None
    checkpoint = checkpoints.save(objective.exported, folder / f"{folder.name}.safetensors", {})
    used = time.process_time()
    scores = {kind: _scores(some, checkpoint.path, args) for kind, some in tracks.items()}
    seconds = time.process_time() - used
    rows = [
        {"method": name, "pairs": count, "seed": seed, "songs": kind, "track": track, **values,
         "train_s": round(trained, 1), "score_s": round(seconds, 1)}
        for kind, found in scores.items() for track, values in found.items()
    ]  # fmt: skip
    store_scores(folder, rows)
    return rows


def _spent(folder: Path, seconds: float) -> float:
    """Processor time of all sittings of a run."""
    note = folder / "seconds.json"
    total = seconds + (json.loads(note.read_text()) if note.is_file() else 0.0)
    write_replace(note, json.dumps(total).encode())
    return total


def _scores(tracks: Sequence[MultiTrack], checkpoint: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """SDR and its gain over the mixture's by track."""
    table = evaluate("separation", tracks, CheckpointEstimator(str(checkpoint), device=args.device)).table
    table = table[(table["stem"] == args.target) & (table["status"] == "ok")]
    return {row.track: {"sdr_db": float(row.sdr_db), "nsdr_db": float(row.nsdr_db)} for row in table.itertuples()}


def tables(out: Path, rows: Sequence[Row]) -> str:
    """Write ``scores.csv`` (a row a run and track), ``table.csv`` (a row a method, number of pairs and set of
    songs) and ``table.md``; returns the latter.

    A run's score is the mean over its tracks. Shown are mean and standard deviation (n - 1) over seeds, and the same of
    the differences to the supervised run of the same seed and pairs.
    """
    scores = pd.DataFrame(list(rows))
    scores.to_csv(out / "scores.csv", index=False)
    run = scores.groupby(["songs", "pairs", "method", "seed"], sort=False)[["sdr_db", "nsdr_db"]].mean().reset_index()
    plain = run[run["method"] == "supervised"].set_index(["songs", "pairs", "seed"])["sdr_db"]
    keys = pd.MultiIndex.from_frame(run[["songs", "pairs", "seed"]])
    run["gain_db"] = run["sdr_db"].to_numpy() - plain.reindex(keys).to_numpy()
    grouped = run.groupby(["songs", "pairs", "method"], sort=False)[["sdr_db", "nsdr_db", "gain_db"]]
    table = grouped.agg(["mean", "std", "count"])
    table.columns = [f"{key}_{what}" for key, what in table.columns]
    table.reset_index().to_csv(out / "table.csv", index=False)
    sections = []
    order = [name for name in METHODS if name in set(run["method"])]
    for songs, group in run.groupby("songs", sort=False):
        lines = ["| pairs | " + " | ".join(order) + " |", "| --: |" + " --: |" * len(order)]
        for pairs, some in group.groupby("pairs"):
            cells = []
            for name in order:
                one = some[some["method"] == name]
                gain = "" if name == "supervised" or one["gain_db"].isna().all() else f" ({_cell(one['gain_db'], '+')})"
                cells.append(_cell(one["sdr_db"]) + gain)
            lines.append(f"| {pairs} | " + " | ".join(cells) + " |")
        tracks = scores[scores["songs"] == songs]["track"].nunique()
        sections.append(f"**SDR in dB, {songs}** ({tracks} tracks; in brackets over supervised)\n\n" + "\n".join(lines))
    text = "\n\n".join(sections) + "\n"
    write_replace(out / "table.md", text.encode())
    return text


def _cell(values: pd.Series, sign: str = "") -> str:
    values = values.dropna()
    if not len(values):
        return ""
    return f"{values.mean():{sign}.2f}" + (f" ± {values.std():.2f}" if len(values) > 1 else "")


def experiment(args: argparse.Namespace) -> list[Row]:
    """All runs that the time is enough for; pairs and seeds outside, so that every method gets its turn early."""
    stop_at = time.monotonic() + 60 * args.max_minutes
    songs = open_songs(args.songs, args.out / "songs")
    learned, held = hold_out(songs.songs, args.held_out)
    sample_rate, _ = grid_of(config_of(METHODS["supervised"], args.target, args, 0))
    folder = args.out / f"recordings-{args.target}-{digest([songs.songs[place] for place in learned])}"
    tracks = [StoredTrack(songs, place, dataset=HELD_OUT) for place in learned]
    store = build_recording_store(folder, target=args.target, sample_rate=sample_rate, pairs=tracks)
    row = STEMS.index(args.target)
    sounding = [place for place in held if songs.songs[place].levels[row] > 0]
    kind, some_held = (DEVELOPMENT, sounding[args.limit :]) if args.tune else (HELD_OUT, sounding[: args.limit])
    if args.tune and not some_held:
        raise DatasetError(f"{len(sounding)} held-out songs leave none to tune with", stage="experiment")
    scored: dict[str, list[MultiTrack]] = {kind: [StoredTrack(songs, place, dataset=kind) for place in some_held]}
    for track in find_real([] if args.tune else args.real, [songs.songs[place] for place in learned]):
        if args.target in track.stem_names and rest_of(track, args.target):
            some = scored.setdefault(track.dataset, [])
            if len(some) < args.limit:
                some.append(track)
    rows: list[Row] = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for count in args.pairs:
            places = pairs_of(store, range(len(store.recordings["pairs"])), count, seed)
            for name in args.methods:
                found = run_once(args, name, count, seed, store, places, scored, stop_at)
                if found is None:
                    return rows
                rows += found
                tables(args.out, rows)
    return rows


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=NUMBER") from None


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gans.few_pairs", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--songs", type=Path, required=True, help="a store of songs, or a folder of multitracks")
    add("--out", type=Path, required=True, help="folder of the experiment")
    add("--target", default="vocals", choices=STEMS, help="what is told from the rest (default: %(default)s)")
    add("--pairs", type=int, nargs="+", default=[2, 5, 10, 20], metavar="N", help="numbers of paired songs")
    add("--seeds", type=int, default=3, help="so many seeds (default: %(default)s)")
    add("--first-seed", type=int, default=0, help="and those that follow it (default: %(default)s)")
    add("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="NAME", help="default: all")
    add("--real", nargs="*", default=[], metavar="DIR", help="real songs to score on, by data set")
    add("--tune", action="store_true", help="score the other held-out songs instead, to choose settings with")
    add(
        "--settings", type=_setting, nargs="+", default=[], metavar="KEY=VALUE",
        help="of those objectives that know the key; pretrain is a share of the steps",
    )  # fmt: skip
    add("--limit", type=int, default=10, help="tracks at most to score on, of each set (default: %(default)s)")
    add("--held-out", type=float, default=0.15, help="share of the songs kept out, by artist (default: %(default)s)")
    add("--steps", type=int, default=500, help="of every separator (default: %(default)s)")
    add("--batch-size", type=int, default=4)
    add("--frames", type=int, default=32, help="that the network gives at a time (default: %(default)s)")
    add("--width", type=int, default=8, help="of the network (default: %(default)s)")
    add("--depth", type=int, default=3, help="of the network (default: %(default)s)")
    add("--output", choices=("mask", "direct"), default="mask", help="of the network (default: %(default)s)")
    add("--learning-rate", type=float, default=1e-3)
    add(
        "--ema",
        type=float,
        default=0.0,
        help="decay of averaged weights, scored then (default: the last weights)",
    )
    add("--device", default="cpu")
    add("--workers", type=int, default=0, help="processes that cut excerpts (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of the networks (default: %(default)s)")
    add("--max-minutes", type=float, default=math.inf, help="stop after so long; the same command goes on")
    add("--quiet", action="store_true", help="show nothing while training")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if min(args.pairs) < 1 or min(args.seeds, args.steps, args.limit, args.batch_size) < 1:
        parser.error("--pairs, --seeds, --steps, --limit and --batch-size start at 1")
    known = {key for name in args.methods for key in settings_of(METHODS[name])}
    if unknown := [key for key, _ in args.settings if key not in known]:
        parser.error(f"--settings {unknown[0]}: none of the methods knows it; known: {', '.join(sorted(known))}")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(args.threads)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        rows = experiment(args)
    except (OSError, StemfeaturesError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if rows:
        print(tables(args.out, rows))
    if len({(row["method"], row["pairs"], row["seed"]) for row in rows}) < (
        len(set(args.methods)) * len(set(args.pairs)) * args.seeds
    ):
        print("the time was up: the same command goes on where runs are missing", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
