"""What ``index``, ``similar`` and ``neighbours`` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ._options import comma_list, whole
from ._text import echo, visible


def add_question(parser: argparse.ArgumentParser) -> None:
    """What is compared, and how many neighbours there shall be."""
    how = parser.add_argument_group("what is compared")
    add_choice(how, "--stem", "stems that shall be similar, as --stem drums,bass (default: all of the index)")
    add_choice(how, "--not", "stems that shall be different; without --stem, all other separated stems are similar")
    add_choice(how, "--family", "families of descriptors to compare (default: all of the index)")
    add_weights(how)
    how.add_argument("-k", type=whole(1), default=10, metavar="N", help="neighbours of a track (default: %(default)s)")
    how.add_argument("--exact", action="store_true", help="look at all tracks even if the index has usearch graphs")


def question(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_question` has collected, as keyword arguments."""
    return {
        "stems": names(args.stem_names),
        "families": names(args.family_names),
        "unlike": names(args.not_names) or (),
        "weights": dict(args.weights),
        "k": args.k,
        "exact": args.exact,
    }


def tell_building(args: argparse.Namespace) -> Callable[[str], None]:
    """Says that the index is built, which may take a while, and why."""

    def tell(why: str) -> None:
        if not args.quiet:
            echo(f"stemfeatures: building the similarity index: {visible(why)} ...", stream=sys.stderr)

    return tell


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
