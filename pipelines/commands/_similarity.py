"""Arguments of ``index`` and ``similar``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ._options import comma_list


def add_choice(group: argparse._ArgumentGroup, option: str, help: str) -> None:
    """An option that takes names with commas between them, and may be given several times."""
    dest = option.strip("-").replace("-", "_")
    metavar = "FAMILY" if dest == "family" else "STEM"
    group.add_argument(option, dest=f"{dest}_names", type=comma_list, action="append", metavar=metavar, help=help)


def add_weights(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--weight",
        dest="weights",
        type=_weight,
        action="append",
        default=[],
        metavar="NAME=X",
        help="multiply distances in a stem or family by X; 0 leaves it out; may be given several times",
    )


def add_index_dir(group: argparse._ActionsContainer) -> None:
    group.add_argument("--index-dir", type=Path, metavar="DIR", help="folder of the index (default: DIR/_index)")


def names(given: Iterable[tuple[str, ...]] | None) -> tuple[str, ...] | None:
    """What :func:`add_choice` has collected, each name once; None when it was not given."""
    return None if given is None else tuple(dict.fromkeys(name for some in given for name in some))


def _weight(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        weight = float(value)
    except ValueError:
        weight = -1.0
    if not name or not 0 <= weight < float("inf"):
        raise argparse.ArgumentTypeError(f"expected NAME=X with a number X from 0, such as timbre=0.5, not {text!r}")
    return name, weight
