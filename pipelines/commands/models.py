"""``stemfeatures models``: the checkpoints, with licence, data and metrics from their cards."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from stemfeatures._util.json import plain

from ._exit import DONE
from ._options import add_verb
from ._text import NOTHING, columns, count, echo, json_text, number, shortened, size, terminal_width, wrapped

#: Classes of sounds named for each source.
_SHOWN_CLASSES = 6


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "models",
        run,
        "list the checkpoints with licence, training data and metrics",
        description="Of those that ship with the package, or of the files given. Three lines each: what it is, what it "
        "was trained on, how good it is; --card shows all that its card holds.",
        examples=(
            "stemfeatures models",
            "stemfeatures models joint-v8 --card",
            "stemfeatures models runs/mine/mine.safetensors --json",
        ),
    )
    parser.add_argument("checkpoints", nargs="*", metavar="NAME", help="name of a checkpoint or path of one")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--card", action="store_true", help="everything: data and licences, commands, all metrics")
    form.add_argument("--json", action="store_true", help="one JSON object a checkpoint: name, path, sha256, card")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.models.checkpoints import list_models, resolve

    checkpoints = [resolve(name) for name in args.checkpoints] if args.checkpoints else list_models()
    if not checkpoints:
        echo("no checkpoints ship with this installation", stream=sys.stderr)
    for checkpoint in checkpoints:
        if args.json:
            echo(json_text(plain(vars(checkpoint))))
        else:
            echo(as_text(checkpoint) if args.card else in_short(checkpoint), end="\n\n")
    return DONE


def in_short(checkpoint: Any) -> str:
    """Name, size, licence and data; what it is; the first metrics: a line each, cut to the terminal."""
    card = checkpoint.card
    data = card.get("data") or []
    hours = sum(entry.get("minutes") or 0 for entry in data) / 60
    head = f"{checkpoint.name}  {size(checkpoint.path.stat().st_size)}, {card.get('licence', 'licence not stated')}"
    if data:
        head += f", trained on {hours:,.1f} h from {count(len(data), 'source')}"
    lines = [head]
    for line in (" ".join(str(card.get("description", "")).split()), _scores(card.get("metrics") or {})):
        lines.append("  " + shortened(line, terminal_width() - 2) if line else "")
    return "\n".join(filter(None, lines))


def _scores(metrics: dict[str, Any]) -> str:
    """``sdr_db: vocals 7.00, drums 2.38 ...``: the first measure of each task, on its first data set."""
    found: dict[str, str] = {}
    for tasks in metrics.values():
        for task, result in tasks.items():
            stems = result.get("stems") or {}
            measure = next((name for values in stems.values() for name in values), None)
            means = [f"{s} {number(v[measure].get('mean'), '.2f')}" for s, v in stems.items() if measure in v]
            if means:
                found.setdefault(task, f"{measure}: {', '.join(means)}")
    return "; ".join(found[task] for task in sorted(found, key=lambda t: t != "separation")) or "not evaluated"


def as_text(checkpoint: Any) -> str:
    """The card for a screen."""
    card = checkpoint.card
    lines = [
        checkpoint.name,
        *wrapped(str(card.get("description", "")), indent="  "),
        f"  licence  {card.get('licence', 'not stated')}",
        *_fact("file", f"{checkpoint.path} ({size(checkpoint.path.stat().st_size)})"),
        f"  sha256   {checkpoint.sha256}",
    ]
    if training := card.get("training"):
        steps = f"{training.get('steps', '?')} steps" if isinstance(training, dict) else ""
        command = training.get("command", "") if isinstance(training, dict) else str(training)
        lines += _fact("trained", ", ".join(filter(None, (steps, command))))
    if data := card.get("data"):
        rows = [("source", "licence", "files", "minutes", "classes"), *map(_source, data)]
        head, *drawn = columns(rows, align="<<>>", indent="    ").split("\n")
        hanging = " " * min(head.index("classes"), terminal_width() - 14)  # which the longest class needs
        lines += ["  data", head, *(part for line in drawn for part in wrapped(line, hanging=hanging))]
        for entry in data:
            if ingredients := entry.get("made_of"):
                sources = ", ".join(f"{name} ({licence})" for name, licence in ingredients.items())
                made = f"{entry['source']}: made of {sources}"
                lines += wrapped(made, indent="    ", hanging="      ")
    if tasks := metric_tables(card.get("metrics") or {}):
        lines.append("  metrics  mean/median over tracks")
        for title, table in tasks:
            lines += [
                *wrapped(title, indent="    ", hanging="      "),
                columns(table, align="<" + ">" * len(table[0]), indent="      "),
            ]
    else:
        lines.append("  metrics  not evaluated (see stemfeatures evaluate --update-card)")
    return "\n".join(lines)


def _fact(name: str, text: str) -> list[str]:
    return wrapped(f"  {name:<9}{text}", hanging=" " * 11)


def _source(entry: dict[str, Any]) -> tuple[str, ...]:
    classes = [str(name) for name in entry.get("classes") or ()]
    more = len(classes) - _SHOWN_CLASSES
    return (
        str(entry.get("source", "?")),
        str(entry.get("licence", "?")),
        number(entry.get("sounds", entry.get("songs", entry.get("recordings"))), ","),
        number(entry.get("minutes"), ",.1f"),
        ", ".join(classes[:_SHOWN_CLASSES]) + (f" and {more} more" if more > 0 else ""),
    )


def metric_tables(metrics: dict[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """``{data set: {task: {"stems": {stem: {metric: {"mean", "median", "n"}}}}}}`` as a title and a table a task.

    A table has a row a metric and a column a stem; the settings of the evaluation stand in the title.
    """
    made = []
    for dataset, tasks in metrics.items():
        for task, result in tasks.items():
            stems = result.get("stems") or {}
            names = list(dict.fromkeys(name for values in stems.values() for name in values))
            table: list[tuple[str, ...]] = [("metric", *stems)]
            table += [(name, *(_mean_median(values.get(name)) for values in stems.values())) for name in names]
            table.append(("tracks", *map(_tracks, stems.values())))
            settings = ", ".join(
                f"{k}={v}" for k, v in (result.get("settings") or {}).items() if v not in (None, False)
            )
            if names:
                made.append((f"{dataset}: {task}{f' ({settings})' if settings else ''}", table))
    return made


def _tracks(metrics: dict[str, Any]) -> str:
    """How many tracks the metrics of a stem were measured on, ``2-3`` where they differ."""
    counts = {v["n"] for v in metrics.values() if v.get("n") is not None}
    return "-".join(str(n) for n in sorted({min(counts), max(counts)})) if counts else NOTHING


def _mean_median(value: dict[str, Any] | None) -> str:
    return NOTHING if value is None else f"{number(value.get('mean'), '.2f')}/{number(value.get('median'), '.2f')}"
