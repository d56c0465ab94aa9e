"""``stemfeatures merge``: rows of other features directories in one."""

from __future__ import annotations

import argparse
from typing import Any

from stemfeatures._util.urls import place_of

from ._exit import DONE
from ._options import add_dataset, add_verb
from ._text import count, echo, visible


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "merge",
        run,
        "take the tables of other features directories into one",
        description="Takes the committed rows of other features directories into DIR, which is made if there is none: "
        "for a catalogue that several runs have extracted in parts, each into a directory of its own. The others stay "
        "as they are; their files are linked, or copied where that is not possible. No track may be in two of them.",
        examples=("stemfeatures merge features part-1 part-2", "stemfeatures merge s3://bucket/features part-1"),
    )
    add_dataset(parser)
    parser.add_argument("others", nargs="+", type=place_of, metavar="OTHER", help="features directories")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.tables.adopt import adopt

    for taken in adopt(args.dataset, args.others):
        if not args.quiet:
            what = f"{count(taken.tracks, 'track')}, {count(taken.errors, 'error')}"
            echo(f"{visible(str(taken.source))}: {what}")
    return DONE
