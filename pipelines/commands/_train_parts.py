"""The data of ``stemfeatures train`` for objectives that tell one part from the rest."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._exit import UsageError
from ._progress import Progress, watched
from ._text import count

if TYPE_CHECKING:
    from stemfeatures.datasets.multitrack import MultiTrack
    from stemfeatures.training.config import TrainConfig
    from stemfeatures.training.examples import TrainingData
    from stemfeatures.training.part_store import PartStore

#: Kinds of recordings that a target is learned from, and what they are.
KINDS = {
    "pairs": "multitracks: song folders with the target's stem and others, or NAME:DIR as for --songs",
    "mixtures": "songs of which nothing else is known: audio files or folders of them",
    "solos": "recordings of the target alone",
    "accompaniments": "songs without the target",
}


def open_parts(
    args: argparse.Namespace, config: TrainConfig, run_dir: Path
) -> tuple[TrainingData, Sequence[MultiTrack]]:
    """What the recipe's objective draws from, decoded where that has not been done, and the development songs.

    Raises UsageError for what is missing, not wanted, or on both sides.
    """
    from stemfeatures.training.examples import TrainingData
    from stemfeatures.training.objective import find_objective
    from stemfeatures.training.part_sources import find_pairs, find_recordings
    from stemfeatures.training.part_store import PartStore, build_part_store
    from stemfeatures.training.target_networks import grid_of

    if joint := [f"--{name}" for name in ("data", "songs", "bank") if getattr(args, name)]:
        raise UsageError(f"the objective {config.objective} takes no {', '.join(joint)}; multitracks are --pairs")
    draws = find_objective(config.objective).draws(config)
    store_dir = run_dir / "parts"
    wanted = [kind for kind in KINDS if getattr(draws, kind)]
    given = [kind for kind in KINDS if getattr(args, kind)]
    if unused := [f"--{kind}" for kind in given if kind not in wanted]:
        raise UsageError(f"the objective {config.objective} learns nothing from {', '.join(unused)}")
    development = find_pairs(args.validate, config.target) if args.validate else []
    if not given and (store_dir / "parts.json").is_file():
        store = PartStore(store_dir)
    else:
        if missing := [f"--{kind} ({KINDS[kind].partition(':')[0]})" for kind in wanted if kind not in given]:
            raise UsageError(f"the objective {config.objective} needs {'; '.join(missing)}")

        def show(items: Iterable[Any], total: int) -> Iterable[Any]:
            return watched(items, Progress(total, label="parts", unit="recording", quiet=args.quiet))

        store = build_part_store(
            store_dir,
            target=config.target,
            sample_rate=grid_of(config)[0],
            pairs=[track for spec in args.pairs for track in find_pairs(spec, config.target)],
            unpaired={kind: find_recordings(getattr(args, kind)) for kind in given if kind != "pairs"},
            jobs=max(1, args.workers),
            progress=show,
        )
    if both := _on_both_sides(store, development):
        raise UsageError(
            f"{count(len(both), 'recording')} of --validate {args.validate} would also be trained on, such as {both[0]}"
        )
    return TrainingData(parts=store), development


def _on_both_sides(store: PartStore, development: Sequence[MultiTrack]) -> list[str]:
    """Development songs that are among the pairs by name, or among the others byte by byte."""
    from stemfeatures.audio import file_sha256

    paired = {(pair.dataset, pair.name) for pair in store.recordings["pairs"]}
    digests = {r.sha256 for some in store.recordings.values() for r in some if r.sha256}
    found = []
    for track in development:
        files = {Path(track.source(stem)) for stem in ("mixture", *track.stem_names)}
        same = any(file_sha256(path) in digests for path in files if path.is_file()) if digests else False
        if same or (track.dataset, track.name) in paired:
            found.append(f"{track.dataset}/{track.name}")
    return found
