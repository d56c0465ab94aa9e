"""``stemfeatures evaluate``: scores against the truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ._exit import DONE, UsageError
from ._options import add_device, add_verb, choose_device, whole
from ._progress import Progress

TASKS = ("separation", "f0", "beats", "all")
REFERENCES = ("mixture", "irm", "hpss", "pyin", "librosa")


def add_parser(verbs: Any) -> None:
    from stemfeatures.models.registry import DEFAULT_MODEL

    parser = add_verb(
        verbs,
        "evaluate",
        run,
        "score a checkpoint, or a reference, on tracks with known truth",
        description="Separation: SDR, SI-SDR and NSDR (and BSS Eval v4 with --museval) by stem. F0 of the vocals, and "
        "beats: mir_eval. Mean and median over tracks, each data set for itself.",
        examples=(
            "stemfeatures evaluate all eval/",
            "stemfeatures evaluate separation eval/musdb --model mixture",
            "stemfeatures evaluate all eval/ --model runs/mine/mine.safetensors --update-card",
        ),
    )
    parser.add_argument(
        "task", choices=TASKS, metavar="TASK", help=f"{', '.join(TASKS)} (what the data hold truth for)"
    )
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="song folders with mixture and stems (beats.tsv, f0), a MIR-1K folder, or a folder of such data sets",
    )
    parser.add_argument(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help=f"checkpoint by name or path, or a reference: {', '.join(REFERENCES)} (default: %(default)s)",
    )
    add_device(parser)
    parser.add_argument("-j", "--jobs", type=whole(1), default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument("--limit", type=whole(1), metavar="N", help="only the first N tracks of each data set")
    parser.add_argument("--museval", action="store_true", help="add BSS Eval v4 (SDR, ISR, SIR, SAR); slow")
    parser.add_argument("--json", action="store_true", help="settings, summary and scores by track as one JSON object")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the scores by track to a Parquet file")
    parser.add_argument("--update-card", action="store_true", help="keep the summary in the checkpoint's model card")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.models import registry

    checkpoint = None if args.model in REFERENCES else registry.resolve(args.model)
    if args.update_card:
        if checkpoint is None:
            raise UsageError(f"--update-card: {args.model} is a reference, it has no model card")
        if args.limit is not None:
            raise UsageError("--update-card: a card tells of whole data sets, so not with --limit")
    if args.output is not None and not args.output.absolute().parent.is_dir():
        raise UsageError(f"--output: no such folder: {args.output.parent}")
    device = "cpu" if checkpoint is None else choose_device(args.device)

    from stemfeatures.evaluation import evaluate, get_estimator

    line: Progress | None = None

    def show(done: int, total: int, name: str) -> None:
        nonlocal line
        if line is None:
            line = Progress(total, label="evaluate", unit="track", quiet=args.quiet)
        line.advance_to(done, note=name)

    try:
        result = evaluate(
            args.task,
            args.dataset,
            get_estimator(args.model, device=device),
            limit=args.limit,
            museval=args.museval,
            jobs=args.jobs,
            progress=show,
        )
    except ImportError as error:
        raise UsageError(str(error)) from error
    finally:
        if line is not None:
            line.close()
    if args.output is not None:
        result.to_parquet(args.output)
    values = result.to_dict()
    print(json.dumps(values, ensure_ascii=False, allow_nan=False) if args.json else result)
    if args.update_card and checkpoint is not None:
        from stemfeatures.training.card import merge_metrics, metrics_of

        settings = {k: v for k, v in values["settings"].items() if k not in ("estimator", "limit", "task")}
        try:
            registry.write_card(
                checkpoint.path, merge_metrics(checkpoint.card, metrics_of(values["summary"], settings))
            )
        except OSError as error:
            raise UsageError(f"cannot write the model card {checkpoint.path.with_suffix('.json')}: {error}") from error
    return DONE
