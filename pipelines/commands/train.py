"""``stemfeatures train``: a checkpoint from isolated recordings and multitracks."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._exit import DONE, UsageError
from ._options import add_device, add_verb, choose_device, positive, whole
from ._progress import ProgressLine, watched
from ._text import columns, count, duration
from ._train_parts import KINDS, open_parts

if TYPE_CHECKING:
    from stemfeatures.datasets.multitrack import MultiTrack
    from stemfeatures.training.config import TrainConfig
    from stemfeatures.training.examples import TrainingData

#: Recipe of an objective where none is named.
DEFAULT_RECIPES = {
    "joint": "joint-v0",
    "supervised": "supervised-small",
    "adversarial": "adversarial-small",
    "gan": "gan-small",
    "factorgan": "factorgan-small",
}
_BANK_MARK = "sounds.parquet"
_HELD_OUT = "held_out.txt"
_RECIPE = "recipe.json"
#: Keys of a recipe that may change when a run goes on.
_MAY_CHANGE = ("steps", "cycles", "save_every", "log_every", "validate_every", "patience", "licences", "made_of")


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "train",
        run,
        "train a checkpoint from isolated recordings and multitracks",
        description="Two kinds of training. The objective joint (the default) makes a checkpoint that does everything: "
        "decodes --data (isolated sounds) and --songs (multitracks) once, as the recipe needs them, makes "
        "training examples of them on the fly, and goes on where an earlier run in the same --run-dir stopped. At the "
        "end, or after --max-minutes, the averaged weights are exported with a model card: those of the last step, or "
        "with --validate those that were best on the development songs. The other objectives learn to tell one part, "
        "the --target, from the rest: supervised and gan from --pairs alone, adversarial and factorgan also from "
        "recordings that belong to no pair. Their checkpoints work with separate and evaluate, and with extract where "
        "the target is one of the four stems.",
        examples=(
            "stemfeatures train --data sounds --max-minutes 60",
            "stemfeatures train --recipe generated-v0 --songs songs --validate development_songs",
            "stemfeatures train --data sounds --recipe mine.toml --run-dir runs/mine --licence CC-BY-4.0",
            "stemfeatures train --objective supervised --target guitar --pairs multitracks",
            "stemfeatures train --objective adversarial --target vocals --pairs multitracks --mixtures songs "
            "--solos acappella --accompaniments instrumentals",
        ),
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with index.csv (path, class, source, licence, seconds)"
    )
    parser.add_argument(
        "--songs",
        action="append",
        default=[],
        metavar="DIR",
        help="multitracks: song folders, generated ones for example, NAME:DIR for the layouts of docs/datasets.md, or "
        "RUN_DIR/songs of another run; may be given several times",
    )
    parser.add_argument(
        "--objective", choices=tuple(DEFAULT_RECIPES), help="what is learned (default: that of --recipe, or joint)"
    )
    parser.add_argument("--target", metavar="NAME", help="part that is told from the rest: vocals, drums, guitar, ...")
    for kind, meaning in KINDS.items():
        parser.add_argument(
            f"--{kind}", action="append", default=[], metavar="DIR", help=f"{meaning}; may be given several times"
        )
    parser.add_argument(
        "--validate", type=Path, metavar="DIR", help="development songs with truth, looked at as the recipe says"
    )
    parser.add_argument(
        "--validate-limit", type=whole(1), metavar="N", help="at most so many tracks of a data set of --validate"
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="recipe by name or TOML file (default: joint-v0, or the small one of --objective)",
    )
    parser.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="folder for state, log and weights (default: runs/NAME)",
    )
    parser.add_argument("--bank", type=Path, metavar="DIR", help="folder of the bank (default: RUN_DIR/bank)")
    parser.add_argument(
        "--held-out",
        type=Path,
        metavar="FILE",
        help="patterns of what is never learned from, one a line: of files in --data, or names of songs and files in "
        "--pairs, --mixtures, --solos and --accompaniments (default for --data: "
        f"catalog_samples/{_HELD_OUT} of the checkout, where there is one)",
    )
    add_device(parser)
    parser.add_argument(
        "--workers", type=whole(0), default=1, metavar="N", help="processes that mix examples (default: %(default)s)"
    )
    parser.add_argument("--steps", type=whole(1), metavar="N", help="optimiser steps, instead of the recipe's")
    parser.add_argument("--max-minutes", type=positive, metavar="MINUTES", help="stop after so long; later goes on")
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="checkpoint to write (default: RUN_DIR/NAME.safetensors)"
    )
    parser.add_argument("--licence", metavar="ID", help="licence of the weights, for the card: Apache-2.0, ...")


def run(args: argparse.Namespace) -> int:
    device = choose_device(args.device)
    config = read_recipe(args)

    from stemfeatures.training.loop import train
    from stemfeatures.training.objectives.find import find_objective
    from stemfeatures.training.validation import Validation, validate

    name = f"{config.name}-{config.target}" if config.target else config.name
    run_dir = args.run_dir or Path("runs") / name
    export = args.export or run_dir / f"{name}.safetensors"
    if export.suffix != ".safetensors":
        raise UsageError(f"--export {export}: the file must end in .safetensors")
    _check_recipe(run_dir, config)
    objective_class = find_objective(config.objective)
    objective_class.check(config)
    held_out: list[str] = []
    development: Sequence[MultiTrack] = []
    if objective_class.draws(config) is None:
        data, development, held_out = _joint_data(args, config, run_dir)
    else:
        data, development, held_out = open_parts(args, config, run_dir)
    _write_json(run_dir / _RECIPE, config.to_dict())

    line: ProgressLine | None = None

    def show(step: int, losses: dict[str, float]) -> None:
        nonlocal line
        if line is None:
            line = ProgressLine(
                config.steps, label=f"train {config.name}", unit="step", quiet=args.quiet, done=_steps(run_dir)
            )
        line.advance_to(step, note=" ".join(f"{name} {value:.4f}" for name, value in losses.items()))

    def tell(step: int, validation: Validation, best: bool) -> None:
        if not args.quiet:
            values = " ".join(f"{task} {value:.3f}" for task, value in validation.metrics.items())
            print(f"step {step:,}: score {validation.score:.3f}{' (best)' * best}, {values}", file=sys.stderr)

    look = partial(validate, songs=development, device=device, limit=args.validate_limit) if args.validate else None
    try:
        objective = train(
            config, data, run_dir, device=device, workers=args.workers, max_minutes=args.max_minutes, validate=look,
            on_log=show, on_validation=tell,
        )  # fmt: skip
    except KeyboardInterrupt:
        print(f"the last state is in {run_dir}; the same command goes on from there", file=sys.stderr)
        raise
    finally:
        if line is not None:
            line.close()

    from stemfeatures.models import checkpoints
    from stemfeatures.training.card import NOT_STATED, build_card, seconds_trained
    from stemfeatures.training.journal import BEST, best_validation

    model, step, chosen_on = objective.exported, objective.steps_done, None
    if (best := best_validation(run_dir, objective.steps_done)) is not None:
        step, score = best
        model = checkpoints.load_network(run_dir / BEST)
        chosen_on = {"songs": args.validate.name if args.validate else None, "step": step, "score": score}
    seconds = seconds_trained(run_dir / "log.csv")
    card = build_card(
        model,
        config,
        data,
        steps=objective.steps_done,
        seconds=seconds,
        command=shlex.join(["stemfeatures", *getattr(args, "argv", [])]),
        device=device,
        held_out=held_out,
        chosen_on=chosen_on,
        licence=args.licence or NOT_STATED,
    )
    checkpoint = checkpoints.save(model, export, card)
    if not args.quiet:
        of = "" if objective.steps_done >= config.steps else f" of {config.steps:,}; the same command goes on"
        rows = [
            ("steps", f"{objective.steps_done:,}{of}"),
            *([("chosen", f"step {step:,}, the best on the development songs")] if chosen_on else []),
            ("time", duration(seconds)),
            ("checkpoint", str(checkpoint.path)),
            ("model card", str(checkpoint.path.with_suffix(".json"))),
            ("sha256", checkpoint.sha256),
        ]
        print(columns(rows))
        verb = "separate -o stems" if config.target else "describe"
        print(f"try it: stemfeatures {verb} --model {shlex.quote(str(checkpoint.path))} INPUT")
    return DONE


def read_recipe(args: argparse.Namespace) -> TrainConfig:
    """The recipe with what the command line says; UsageError where the two contradict."""
    from stemfeatures.training.config import load_config

    recipe = find_recipe(args.recipe or DEFAULT_RECIPES[args.objective or "joint"])
    config = load_config(recipe, steps=args.steps, target=args.target)
    if args.objective not in (None, config.objective):
        raise UsageError(f"recipe {config.name!r} is for the objective {config.objective}, not {args.objective}")
    return config


def _joint_data(
    args: argparse.Namespace, config: TrainConfig, run_dir: Path
) -> tuple[TrainingData, list[MultiTrack], list[str]]:
    from stemfeatures.datasets.opening import find_tracks
    from stemfeatures.training.data.joining import Joining
    from stemfeatures.training.examples import TrainingData

    if given := [f"--{kind}" for kind in KINDS if getattr(args, kind)]:
        raise UsageError(f"the objective joint takes no {', '.join(given)}; its multitracks are --songs")
    if args.songs and not config.songs:
        raise UsageError(f"recipe {config.name!r} takes no songs: its share of them, `songs`, is 0")
    # complain before the work, not after
    development = find_tracks(args.validate, stage="train") if args.validate else []
    bank_dir, held_out = args.bank or run_dir / "bank", []
    if config.songs < 1:
        held_out = _bank(args, bank_dir)
    songs = _songs(args, run_dir / "songs", development) if config.songs else None
    data = TrainingData(
        bank=bank_dir if config.songs < 1 else None,
        songs=songs,
        joining=Joining(run_dir / "songs.csv", songs) if songs is not None else None,
    )
    return data, development, held_out


def find_recipe(name: str) -> Path:
    """The TOML file of a recipe; UsageError with the known names otherwise."""
    import stemfeatures

    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise UsageError(f"no such recipe file: {name}")
        return Path(name)
    folder = Path(stemfeatures.__file__).parent / "training" / "recipes"
    known = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if name not in known:
        raise UsageError(f"unknown recipe {name!r}; known: {', '.join(known) or 'none'}, or a path to a .toml file")
    return known[name]


def _check_recipe(run_dir: Path, config: TrainConfig) -> None:
    """A run can only go on with the recipe it began with."""
    stored = run_dir / _RECIPE
    if not stored.is_file() or not (run_dir / "last.pt").is_file():
        return
    # What an older version did not know of had its default.
    defaults = json.loads(json.dumps(type(config)().to_dict()))
    before, now = defaults | json.loads(stored.read_text()), json.loads(json.dumps(config.to_dict()))
    if changed := [k for k in now if k not in _MAY_CHANGE and before[k] != now[k]]:
        raise UsageError(
            f"{run_dir} holds a run of another recipe ({', '.join(changed)} changed); choose another --run-dir"
        )


def _bank(args: argparse.Namespace, bank_dir: Path) -> list[str]:
    """Build the bank if there is none; returns the patterns that were held out of it."""
    import stemfeatures
    from stemfeatures.training.data.bank import SoundBank
    from stemfeatures.training.data.build_bank import build_bank
    from stemfeatures.training.data.held_out import matches, read_patterns

    held_out = args.held_out
    if held_out is None:
        shipped = Path(stemfeatures.__file__).parents[1] / "catalog_samples" / _HELD_OUT
        held_out = shipped if shipped.is_file() else None
    elif not held_out.is_file():
        raise UsageError(f"no such file: {held_out}")
    patterns = read_patterns(held_out)
    noted = bank_dir / _HELD_OUT
    if (bank_dir / _BANK_MARK).is_file():
        if used := [path for path in SoundBank(bank_dir).sounds["path"] if matches(path, patterns)]:
            raise UsageError(
                f"the bank {bank_dir} holds {count(len(set(used)), 'file')} that shall be held out, such as {used[0]}; "
                "remove it, or choose another --bank"
            )
        return sorted({*patterns, *(read_patterns(noted) if noted.is_file() else [])})
    if args.data is None:
        raise UsageError(f"no bank in {bank_dir}: --data is needed to build one")

    def show(items: Iterable[Any], total: int) -> Iterable[Any]:
        return watched(items, ProgressLine(total, label="bank", unit="recording", quiet=args.quiet))

    build_bank(args.data, bank_dir, held_out=patterns, jobs=max(1, args.workers), progress=show)
    noted.write_text("".join(f"{pattern}\n" for pattern in patterns), encoding="utf-8")
    return sorted(patterns)


def _songs(args: argparse.Namespace, out_dir: Path, development: list[MultiTrack]) -> Path:
    """Decode the multitracks if that has not been done, and see that none of them is looked at for validation."""
    from stemfeatures.datasets.opening import find_tracks
    from stemfeatures.training.data.song_store import SongStore, build_song_store, is_song_store, stored_tracks

    def show(items: Iterable[Any], total: int) -> Iterable[Any]:
        return watched(items, ProgressLine(total, label="songs", unit="song", quiet=args.quiet))

    if len(args.songs) == 1 and is_song_store(args.songs[0]):
        out_dir = Path(args.songs[0])
    elif args.songs:
        tracks: list[MultiTrack] = []
        for spec in args.songs:
            tracks += stored_tracks(spec) if is_song_store(spec) else find_tracks(spec, stage="train")
        build_song_store(tracks, out_dir, jobs=max(1, args.workers), progress=show)
    elif not out_dir.is_dir():
        raise UsageError(f"no songs in {out_dir}: --songs is needed")
    if development:
        learned = {(song.dataset, song.track) for song in SongStore(out_dir).songs}
        if both := [t for t in development if (t.dataset, t.name) in learned]:
            raise UsageError(
                f"{count(len(both), 'track')} of --validate {args.validate} would also be trained on, "
                f"such as {both[0].dataset}/{both[0].name}"
            )
    return out_dir


def _steps(run_dir: Path) -> int:
    """Steps that the log knows of before the one being logged: where this run began to count."""
    try:
        lines = (run_dir / "log.csv").read_text().splitlines()
    except OSError:
        return 0
    return int(lines[-2].split(",")[0]) if len(lines) > 2 else 0


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
