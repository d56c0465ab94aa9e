"""``stemfeatures evaluate``: scores against the truth."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.files import replacing

from ._exit import DONE, UsageError
from ._inputs import add_overwrite, require_folder, require_free
from ._options import Parser, add_device, add_verb, choose_device, whole
from ._progress import ProgressLine
from ._text import echo, json_text, terminal_width

if TYPE_CHECKING:
    from stemfeatures.evaluation import BaseEstimator, EvaluationResult
    from stemfeatures.models.checkpoints import Checkpoint

TASKS = ("separation", "f0", "beats", "presence", "leakage", "lyrics", "all")


class _ListEstimators(argparse.Action):
    """Prints the estimators and ends, as ``--help`` does; they are imported for it, which each start would pay for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **options: Any) -> None:
        from stemfeatures.evaluation import estimator_classes

        rows = [("NAME", "OFFERS", "")]
        for name, found in estimator_classes().items():
            rows.append(
                (
                    name,
                    ", ".join(sorted(found.make().tasks)),
                    "" if found.installed() else f"not installed: {found.install}",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        echo("\n".join(f"{name:{widths[0]}}  {offers:{widths[1]}}  {how}".rstrip() for name, offers, how in rows))
        parser.exit()


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "evaluate",
        run,
        "score checkpoints, and what to compare them with, on tracks with known truth",
        description="Separation: SDR, SI-SDR and NSDR (and BSS Eval v4 with --museval) by stem. F0 of the vocals, "
        "beats, and starts of words: mir_eval. Leakage: how much of each true stem is in each estimate, by band. Mean, "
        "its 95 % confidence interval and median over tracks, each data set for itself; several models are also "
        "compared track by track. "
        "docs/evaluation.md tells the conventions.",
        examples=(
            "stemfeatures evaluate all eval/",
            "stemfeatures evaluate separation eval/musdb --model mixture",
            "stemfeatures evaluate f0 eval/ -m joint-v8 -m swift-f0 -m torchcrepe:tiny",
            "stemfeatures evaluate leakage eval/mdb",
            "stemfeatures evaluate lyrics eval/ultrastar",
            "stemfeatures evaluate all eval/ --model runs/mine/mine.safetensors --references all --update-card",
        ),
    )
    parser.add_argument(
        "task",
        choices=TASKS,
        metavar="TASK",
        help=f"{', '.join(TASKS)} (separation, F0, beats and presence, of these what the data hold truth for)",
    )
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="song folders with mixture and stems (beats.tsv, f0), a MIR-1K folder, or a folder of such data sets",
    )
    _add_estimators(parser)
    add_device(parser)
    parser.add_argument("-j", "--jobs", type=whole(1), default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument("--limit", type=whole(1), metavar="N", help="only the first N tracks of each data set")
    parser.add_argument("--museval", action="store_true", help="add BSS Eval v4 (SDR, ISR, SIR, SAR); slow")
    parser.add_argument(
        "--channels",
        choices=("mono", "all"),
        default="mono",
        help="score separation on the mono downmix, or on all channels as museval and the MDX challenges do "
        "(default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="settings, summary and scores by track as one JSON object")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the scores by track to a Parquet file")
    add_overwrite(parser)
    parser.add_argument("--update-card", action="store_true", help="keep the summary in the checkpoint's model card")


def _add_estimators(parser: Parser) -> None:
    from stemfeatures.models.checkpoints import DEFAULT_MODEL

    parser.add_argument(
        "-m",
        "--model",
        action="append",
        metavar="NAME",
        help="checkpoint by name or path, or a reference (mixture, irm, librosa ...) or tool that --list shows "
        f"(TOOL:WEIGHTS for others than its default). May be given several times (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--list",
        action=_ListEstimators,
        nargs=0,
        help="show references and tools: what they offer, how to install them",
    )
    parser.add_argument(
        "--references",
        choices=("none", "quick", "all"),
        help="show beside them: quick, the mixture, the ideal ratio mask and librosa's beats; all, every reference and "
        "every tool installed, which takes long (default: quick for checkpoints, else none)",
    )


def run(args: argparse.Namespace) -> int:
    from stemfeatures.models.checkpoints import DEFAULT_MODEL

    models = list(dict.fromkeys(args.model or [DEFAULT_MODEL]))
    checkpoints = _checkpoints(models)
    if args.update_card:
        if not checkpoints:
            raise UsageError(f"--update-card: {models[0]} is a reference, it has no model card")
        for checkpoint in checkpoints.values():
            if checkpoint.is_shipped:
                raise UsageError(
                    f"--update-card: {checkpoint.path} is of the package, whose cards stay as they are; copy it and "
                    "its card (.json), and name the copy with --model"
                )
        if args.limit is not None:
            raise UsageError("--update-card: a card tells of whole data sets, so not with --limit")
    require_folder(args.output, "--output")
    require_free([args.output] if args.output else [], overwrite=args.overwrite)
    references = args.references or ("quick" if checkpoints else "none")
    in_torch = references == "all" or any(_uses_torch(model) for model in models)
    device = choose_device(args.device) if in_torch else "cpu"

    from stemfeatures.evaluation import EvaluationResult

    try:
        asked = _estimators(models, args.task, device)
        beside = _estimators(_references(references, models, quiet=args.quiet), args.task, device, optional=True)
        results = [_evaluate(args, estimator, must=estimator in asked) for estimator in [*asked, *beside]]
    except ImportError as error:
        raise UsageError(str(error)) from error
    result = EvaluationResult.join([found for found in results if found is not None])
    if args.output is not None:
        with replacing(args.output) as partial:
            result.to_parquet(partial)
    values = result.to_dict()
    if args.json:
        echo(json_text(values))
    else:
        echo(_text(result, [estimator.name for estimator in asked]))
    if args.update_card:
        for model, checkpoint in checkpoints.items():
            _update_card(
                checkpoint, [row for row in values["summary"] if row["estimator"] == model], values["settings"]
            )
    return DONE


def _text(result: EvaluationResult, asked: list[str]) -> str:
    """The tables, and where several estimators were asked for how the others differ from the first."""
    from stemfeatures.evaluation import EvaluationResult

    width = terminal_width() if sys.stdout.isatty() else None
    first, *others = asked
    chosen = EvaluationResult(result.table[result.table["estimator"].isin(asked)])
    scored = chosen.table.loc[chosen.table["status"] == "ok", "estimator"]
    if not others or not {first, *others} <= set(scored):
        return result.to_text(width)
    differences = chosen.against(first).to_text(width)
    return f"{result.to_text(width)}\n\nDifferences to {first} on the same tracks\n{differences}"


def _estimator_class(model: str) -> type[BaseEstimator] | None:
    """The class of a reference or tool; None for a checkpoint."""
    from stemfeatures.evaluation import estimator_classes

    return estimator_classes().get(model.partition(":")[0])


def _uses_torch(model: str) -> bool:
    found = _estimator_class(model)
    return found is None or found.uses_torch


def _checkpoints(models: list[str]) -> dict[str, Checkpoint]:
    """Those of the models that are checkpoints. Raises ModelError for unknown names."""
    from stemfeatures.models import checkpoints as registry

    return {model: registry.resolve(model) for model in models if _estimator_class(model) is None}


def _references(which: str, models: list[str], *, quiet: bool) -> list[str]:
    from stemfeatures.evaluation import estimator_classes, missing_estimators

    if which == "all":
        missing = missing_estimators()
        if missing and not quiet:
            lines = [f"  {name}: {install}" for name, install in missing.items()]
            echo("\n".join(["not installed, so not compared with:", *lines]), stream=sys.stderr)
        names = [name for name in estimator_classes() if name not in missing]
    else:
        names = [name for name, found in estimator_classes().items() if found.quick and which == "quick"]
    return [name for name in names if name not in models]


def _estimators(names: list[str], task: str, device: str, *, optional: bool = False) -> list[BaseEstimator]:
    """Loaded before the first track is scored.

    What is ``optional`` is left out if it does not offer the task, or cannot be loaded, which is told.
    """
    from stemfeatures.errors import ModelError
    from stemfeatures.evaluation import get_estimator

    found = []
    for name in names:
        try:
            estimator = get_estimator(name, device=device)
            if task == "all" or ("separation" if task == "leakage" else task) in estimator.tasks:
                estimator.prepare()
                found.append(estimator)
            elif not optional:
                raise UsageError(f"{name} offers {' and '.join(sorted(estimator.tasks))}, not {task}")
        except (ImportError, ModelError) as error:
            if not optional:
                raise
            echo(f"not compared with {name}: {error}", stream=sys.stderr)
    return found


def _evaluate(args: argparse.Namespace, estimator: BaseEstimator, *, must: bool) -> EvaluationResult | None:
    """None if what need not offer anything offers none of the tasks."""
    from stemfeatures.evaluation import NotOfferedError, evaluate

    line: ProgressLine | None = None
    started = time.monotonic()

    def show(done: int, total: int, name: str) -> None:
        nonlocal line
        if line is None:
            label = f"evaluate {estimator.name}"
            line = ProgressLine(total, label=label, unit="track", quiet=args.quiet, started=started)
        line.advance_to(done, note=name)

    try:
        return evaluate(
            args.task,
            args.dataset,
            estimator,
            limit=args.limit,
            museval=args.museval,
            channels=args.channels,
            jobs=args.jobs,
            progress=show,
        )
    except NotOfferedError:
        if must:
            raise
        return None
    finally:
        if line is not None:
            line.close()


def _update_card(checkpoint: Checkpoint, summary: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    from stemfeatures.models import checkpoints as registry
    from stemfeatures.training.card import merge_metrics, metrics_of

    kept = {key: value for key, value in settings.items() if key not in ("estimators", "limit", "task")}
    try:
        registry.write_card(checkpoint.path, merge_metrics(checkpoint.card, metrics_of(summary, kept)))
    except OSError as error:
        raise UsageError(f"cannot write the model card {checkpoint.path.with_suffix('.json')}: {error}") from error
