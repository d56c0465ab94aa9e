"""The data of ``stemfeatures train`` for objectives that tell one part from the rest."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._exit import UsageError
from ._progress import ProgressLine, watched
from ._text import count

if TYPE_CHECKING:
    from stemfeatures.datasets.multitrack import MultiTrack
    from stemfeatures.training.config import TrainConfig
    from stemfeatures.training.data.held_out import HeldOut
    from stemfeatures.training.examples import TrainingData

log = logging.getLogger(__name__)

#: Kinds of recordings that a target is learned from, and what they are.
KINDS = {
    "pairs": "multitracks: song folders with the target's stem and others, stores of songs, or NAME:DIR as --songs",
    "mixtures": "songs of which nothing else is known: audio files, folders of them, or multitracks for their mixtures",
    "solos": "recordings of the target alone: audio files, folders of them, or multitracks for the target's stems",
    "accompaniments": "songs without the target: audio files, folders of them, or multitracks for all other stems",
}
_HELD_OUT = "held_out.json"


def open_parts(
    args: argparse.Namespace, config: TrainConfig, run_dir: Path
) -> tuple[TrainingData, Sequence[MultiTrack], list[str]]:
    """What the recipe's objective draws from, decoded where that has not been done, the development songs, and the
    patterns of what was held out.

    Raises UsageError for what is missing, not wanted, or on both sides.
    """
    from stemfeatures.training.data.held_out import HeldOut, read_patterns
    from stemfeatures.training.data.part_sources import find_pairs
    from stemfeatures.training.data.part_store import PartStore, build_part_store
    from stemfeatures.training.examples import TrainingData
    from stemfeatures.training.objectives.find import find_objective
    from stemfeatures.training.objectives.target_networks import grid_of

    if joint := [f"--{name}" for name in ("data", "songs", "bank") if getattr(args, name)]:
        raise UsageError(f"the objective {config.objective} takes no {', '.join(joint)}; multitracks are --pairs")
    draws = find_objective(config.objective).draws(config)
    store_dir = run_dir / "parts"
    wanted = [kind for kind in KINDS if getattr(draws, kind)]
    given = [kind for kind in KINDS if getattr(args, kind)]
    if unused := [f"--{kind}" for kind in given if kind not in wanted]:
        raise UsageError(f"the objective {config.objective} learns nothing from {', '.join(unused)}")
    if args.held_out is not None and not args.held_out.is_file():
        raise UsageError(f"no such file: {args.held_out}")
    held_out = HeldOut(read_patterns(args.held_out))
    development = find_pairs(args.validate, config.target) if args.validate else []
    noted = store_dir / _HELD_OUT
    before = json.loads(noted.read_text()) if noted.is_file() else {"patterns": [], "matched": []}
    if not given and (store_dir / "parts.json").is_file():
        store, matched = PartStore(store_dir), before["matched"]
        if added := sorted(set(held_out.patterns) - set(before["patterns"])):
            raise UsageError(
                f"the recordings in {store_dir} were chosen without --held-out {added[0]}; say where they came from "
                f"(--{' --'.join(wanted)}), and another --run-dir if it has learned from them"
            )
    else:
        if missing := [f"--{kind} ({KINDS[kind].partition(':')[0]})" for kind in wanted if kind not in given]:
            raise UsageError(f"the objective {config.objective} needs {'; '.join(missing)}")
        found = {kind: _find(args, kind, config.target, held_out) for kind in given}
        matched = sorted(held_out.matched)
        if (run_dir / "last.pt").is_file() and (added := sorted(set(matched) - set(before["matched"]))):
            raise UsageError(f"{run_dir} has learned from what --held-out {added[0]} names; choose another --run-dir")
        if idle := [pattern for pattern in held_out.patterns if pattern not in matched]:
            log.warning("--held-out %s: no recording matches %s", args.held_out, ", ".join(map(repr, idle)))

        tracks = [getattr(source, "track", source) for some in found.values() for source in some]
        names = {(track.dataset, track.name) for track in tracks if not isinstance(track, Path)}
        _check_apart(args, development, names, set())  # before the work, as far as names tell

        def show(items: Iterable[Any], total: int) -> Iterable[Any]:
            return watched(items, ProgressLine(total, label="parts", unit="recording", quiet=args.quiet))

        store = build_part_store(
            store_dir,
            target=config.target,
            sample_rate=grid_of(config)[0],
            pairs=found.pop("pairs", []),
            unpaired=found,
            jobs=max(1, args.workers),
            progress=show,
        )
        noted.write_text(json.dumps({"patterns": held_out.patterns, "matched": matched}, indent=1) + "\n")
    recordings = [recording for kind in wanted for recording in store.recordings[kind]]
    names = {(recording.dataset, recording.name) for recording in recordings}
    _check_apart(args, development, names, {recording.sha256 for recording in recordings if recording.sha256})
    return TrainingData(parts=store), development, matched


def _find(args: argparse.Namespace, kind: str, target: str, held_out: HeldOut) -> list[Any]:
    """The recordings of a kind that are not held out; says what they are."""
    from stemfeatures.training.data.part_sources import find_pairs, find_recordings
    from stemfeatures.training.data.song_part import SongPart

    specs = getattr(args, kind)
    there: list[Any] = []
    if kind == "pairs":
        there += [track for spec in specs for track in find_pairs(spec, target)]
    else:
        there += find_recordings(specs, kind, target)
    kept = [source for source in there if not held_out(source, specs)]
    if not kept:
        raise UsageError(f"--held-out {args.held_out} holds out all {len(there)} recordings of --{kind}")
    if not args.quiet:
        songs = len(kept) if kind == "pairs" else sum(isinstance(source, SongPart) for source in kept)
        part = {"mixtures": "mixtures of ", "solos": f"{target} of ", "accompaniments": f"all but {target} of "}
        words = [part.get(kind, "") + count(songs, "song")] if songs else []
        words += [count(len(kept) - songs, "audio file")] if len(kept) > songs else []
        words += [f"{len(there) - len(kept)} held out"] if len(there) > len(kept) else []
        print(f"{kind}: {', '.join(words)}", file=sys.stderr)
    return kept


def _check_apart(
    args: argparse.Namespace, development: Sequence[MultiTrack], names: set[tuple[str, str]], digests: set[str]
) -> None:
    """Raise UsageError if development songs are among what is learned from, by data set and name or byte by byte."""
    from stemfeatures.audio import file_sha256

    both = []
    for track in development:
        files = {Path(track.source(stem)) for stem in ("mixture", *track.stem_names)}
        same = any(file_sha256(path) in digests for path in files if path.is_file()) if digests else False
        if same or (track.dataset, track.name) in names:
            both.append(f"{track.dataset}/{track.name}")
    if both:
        raise UsageError(
            f"{count(len(both), 'recording')} of --validate {args.validate} would also be trained on, "
            f"such as {both[0]}; --held-out keeps songs from that by name"
        )
