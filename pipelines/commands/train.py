"""``stemfeatures train``: a checkpoint from isolated recordings and multitracks."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures.training.objectives.find import OBJECTIVES
from stemfeatures.training.preparation.sources import RECORDING_KINDS

from ._exit import DONE, UsageError
from ._options import Parser, add_device, add_verb, choose_device, positive, whole
from ._progress import ProgressLine, watched
from ._text import columns, count, duration, echo, visible

if TYPE_CHECKING:
    from stemfeatures.training.config import TrainConfig
    from stemfeatures.training.objectives.base import Objective
    from stemfeatures.training.preparation.run import TrainingRun
    from stemfeatures.training.preparation.sources import FoundRecordings


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
        "with --validate those that were best on the development songs. The other objectives learn to separate one "
        "--target: supervised and gan from --pairs alone, adversarial and factorgan also from "
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
    _add_sources(parser)
    _add_run(parser)


def _add_sources(parser: Parser) -> None:
    """What is learned, and from what."""
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
        "--objective", choices=tuple(OBJECTIVES), help="what is learned (default: that of --recipe, or joint)"
    )
    parser.add_argument("--target", metavar="NAME", help="what is separated: vocals, drums, guitar, ...")
    for kind, meaning in RECORDING_KINDS.items():
        parser.add_argument(
            f"--{kind}", action="append", default=[], metavar="DIR", help=f"{meaning}; may be given several times"
        )
    parser.add_argument(
        "--validate", type=Path, metavar="DIR", help="development songs with truth, looked at as the recipe says"
    )
    parser.add_argument(
        "--validate-limit", type=whole(1), metavar="N", help="at most so many tracks of a data set of --validate"
    )


def _add_run(parser: Parser) -> None:
    """How a run goes, and what comes out of it."""
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
        "catalog_samples/held_out.txt of the checkout, where there is one)",
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

    from stemfeatures.training.preparation import TrainingSources, prepare_run, read_recipe

    config = read_recipe(args.recipe, objective=args.objective, steps=args.steps, target=args.target)
    name = f"{config.name}-{config.target}" if config.target else config.name
    run_dir = args.run_dir or Path("runs") / name
    export = args.export or run_dir / f"{name}.safetensors"
    if export.suffix != ".safetensors":
        raise UsageError(f"--export {export}: the file must end in .safetensors")

    def watch(what: str, items: Iterable[Any], total: int) -> Iterable[Any]:
        unit = "song" if what == "songs" else "recording"
        return watched(items, ProgressLine(total, label=what, unit=unit, quiet=args.quiet))

    def on_found(found: FoundRecordings) -> None:
        if not args.quiet:
            echo(found_text(found, config.target), stream=sys.stderr)

    sources = TrainingSources(
        sounds=args.data,
        bank=args.bank,
        songs=args.songs,
        held_out=args.held_out,
        development=args.validate,
        development_limit=args.validate_limit,
        **{kind: getattr(args, kind) for kind in RECORDING_KINDS},
    )
    prepared = prepare_run(config, run_dir, sources, jobs=max(1, args.workers), watch=watch, on_found=on_found)
    objective = _train(args, prepared, device)
    _export(args, prepared, objective, export, device)
    return DONE


def found_text(found: FoundRecordings, target: str) -> str:
    """``pairs: 3 songs, 1 held out``."""
    which = {"mixtures": "mixtures of ", "solos": f"{target} of ", "accompaniments": f"all but {target} of "}
    words = [which.get(found.kind, "") + count(found.n_songs, "song")] if found.n_songs else []
    words += [count(found.n_files, "audio file")] if found.n_files else []
    words += [f"{found.n_held_out} held out"] if found.n_held_out else []
    return f"{found.kind}: {', '.join(words)}"


def _train(args: argparse.Namespace, prepared: TrainingRun, device: str) -> Objective:
    """Take the steps, with a progress line and a line for each validation."""
    from stemfeatures.training.loop import train
    from stemfeatures.training.validation import Validation, validate

    config, run_dir = prepared.config, prepared.run_dir
    line: ProgressLine | None = None

    def show(step: int, losses: dict[str, float]) -> None:
        nonlocal line
        if line is None:
            line = ProgressLine(
                config.steps, label=f"train {config.name}", unit="step", quiet=args.quiet, done=_steps(run_dir)
            )
        line.advance_to(step, note=" ".join(f"{name} {value:.4f}" for name, value in losses.items()))

    def show_validation(step: int, validation: Validation, best: bool) -> None:
        if not args.quiet:
            values = " ".join(f"{task} {value:.3f}" for task, value in validation.metrics.items())
            echo(f"step {step:,}: score {validation.score:.3f}{' (best)' * best}, {values}", stream=sys.stderr)

    look = None
    if args.validate:
        look = partial(validate, songs=prepared.development, device=device, limit=args.validate_limit)
    try:
        return train(
            config, prepared.data, run_dir, device=device, workers=args.workers, max_minutes=args.max_minutes,
            validate=look, on_log=show, on_validation=show_validation,
        )  # fmt: skip
    except KeyboardInterrupt:
        every = f"the state is kept every {config.save_every:,} steps"
        said = f"{every}, the last is in {visible(str(run_dir))}; the same command goes on from there"
        echo(said if (run_dir / "last.pt").is_file() else f"{every}, and there is none yet", stream=sys.stderr)
        raise
    finally:
        if line is not None:
            line.close()


def _export(args: argparse.Namespace, prepared: TrainingRun, objective: Objective, export: Path, device: str) -> None:
    """Write the checkpoint with its card, and say so."""
    config, run_dir = prepared.config, prepared.run_dir

    from stemfeatures.models import checkpoints
    from stemfeatures.training.card import NOT_STATED, build_card, seconds_trained
    from stemfeatures.training.journal import BEST, best_validation

    model, step, chosen_on = objective.exported, objective.steps_done, None
    if (best := best_validation(run_dir, objective.steps_done)) is not None:
        step, score = best
        model = checkpoints.load_network(run_dir / BEST)
        chosen_on = {"songs": prepared.development_name, "step": step, "score": score}
    seconds, phase = seconds_trained(run_dir / "log.csv"), objective.phase_of(step)
    card = build_card(
        model,
        config,
        prepared.data,
        steps=objective.steps_done,
        seconds=seconds,
        command=shlex.join(["stemfeatures", *getattr(args, "argv", [])]),
        device=device,
        held_out=prepared.held_out,
        chosen_on=chosen_on,
        phase=phase,
        licence=args.licence or NOT_STATED,
    )
    checkpoint = checkpoints.save(model, export, card)
    if not args.quiet:
        why = _why(args, config, objective, run_dir)
        of = "" if objective.steps_done >= config.steps else f" of {config.steps:,}; {why}"
        rows = [
            ("steps", f"{objective.steps_done:,}{of}"),
            *([("chosen", f"step {step:,}, the best on the development songs")] if chosen_on else []),
            *([("phase", f"these weights are {phase}: no critic has had a say")] if phase == "supervised" else []),
            ("time", duration(seconds)),
            ("checkpoint", str(checkpoint.path)),
            ("model card", str(checkpoint.path.with_suffix(".json"))),
            ("sha256", checkpoint.sha256),
        ]
        echo(columns(rows))
        verb = "separate -o stems" if config.target else "describe"
        echo(f"try it: stemfeatures {verb} --model {shlex.quote(str(checkpoint.path))} INPUT")


def _why(args: argparse.Namespace, config: TrainConfig, objective: Objective, run_dir: Path) -> str:
    """Why a run has ended before its last step."""
    from stemfeatures.training.journal import looks_without_better

    looks = looks_without_better(run_dir, objective.steps_done, since=objective.phase_began)
    if args.validate and config.patience and looks >= config.patience:
        return f"no better score in {looks} looks"
    return "the same command goes on"


def _steps(run_dir: Path) -> int:
    """Steps that the log knows of before the one being logged: where this run began to count."""
    try:
        lines = (run_dir / "log.csv").read_text().splitlines()
    except OSError:
        return 0
    step = lines[-2].split(",")[0] if len(lines) > 2 else ""
    return int(step) if step.isdecimal() else 0
