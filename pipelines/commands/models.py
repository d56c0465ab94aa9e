"""``stemfeatures models``: the checkpoints, with licence, data and metrics from their cards."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from typing import Any

from ._exit import DONE
from ._options import add_verb
from ._text import columns, number, plain, size


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "models",
        run,
        "list the checkpoints with licence, training data and metrics",
        description="Of those that ship with the package, or of the files given.",
        examples=(
            "stemfeatures models",
            "stemfeatures models runs/mine/mine.safetensors --json",
        ),
    )
    parser.add_argument("checkpoints", nargs="*", metavar="NAME", help="name of a checkpoint or path of one")
    parser.add_argument("--json", action="store_true", help="one JSON object a checkpoint: name, path, sha256, card")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.models.registry import list_models, resolve

    checkpoints = [resolve(name) for name in args.checkpoints] if args.checkpoints else list_models()
    if not checkpoints:
        print("no checkpoints ship with this installation", file=sys.stderr)
    for checkpoint in checkpoints:
        if args.json:
            print(json.dumps(plain(vars(checkpoint)), ensure_ascii=False))
        else:
            print(as_text(checkpoint), end="\n\n")
    return DONE


def as_text(checkpoint: Any) -> str:
    """The card for a screen."""
    card = checkpoint.card
    lines = [
        checkpoint.name,
        *textwrap.wrap(str(card.get("description", "")), 100, initial_indent="  ", subsequent_indent="  "),
        f"  licence  {card.get('licence', 'not stated')}",
        f"  file     {checkpoint.path} ({size(checkpoint.path.stat().st_size)})",
        f"  sha256   {checkpoint.sha256}",
    ]
    if training := card.get("training"):
        steps = f"{training.get('steps', '?')} steps" if isinstance(training, dict) else ""
        command = training.get("command", "") if isinstance(training, dict) else str(training)
        lines.append(f"  trained  {', '.join(filter(None, (steps, command)))}")
    if data := card.get("data"):
        rows: list[tuple[str, ...]] = [("source", "licence", "minutes")]
        rows += [(d.get("source", "?"), d.get("licence", "?"), number(d.get("minutes"), ",.1f")) for d in data]
        lines += ["  data", columns(rows, align="<<>", indent="    ")]
    if metrics := metric_rows(card.get("metrics") or {}):
        rows = [("data set", "task", "stem", "metric", "mean", "median", "tracks"), *metrics]
        lines += ["  metrics", columns(rows, align="<<<<>>>", indent="    ")]
    else:
        lines.append("  metrics  not evaluated (see stemfeatures evaluate --update-card)")
    return "\n".join(lines)


def metric_rows(metrics: dict[str, Any]) -> list[tuple[str, ...]]:
    """``{data set: {task: {"stems": {stem: {metric: {"mean", "median", "n"}}}}}}`` as rows of text."""
    return [
        (dataset, task, stem, metric, number(v.get("mean"), ".3f"), number(v.get("median"), ".3f"), str(v.get("n", "")))
        for dataset, tasks in metrics.items()
        for task, result in tasks.items()
        for stem, values in result.get("stems", {}).items()
        for metric, v in values.items()
    ]
