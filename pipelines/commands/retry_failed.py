"""``stemfeatures retry-failed``: extract again what failed, and nothing else."""

from __future__ import annotations

import argparse
from typing import Any

from ._exit import DONE, INTERRUPTED, SOME_FAILED
from ._options import CATALOG_HELP, add_dataset, add_verb, choose_device, positive, whole
from ._text import echo
from .extract import ProgressOfExtraction, summary_text


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "retry-failed",
        run,
        "extract again the tracks that failed, and no others",
        description="Takes catalogue, checkpoint, tables, precision and limits of the last run, and of the catalogue "
        "the rows that are in table errors: after files were mended, or with more time for each. (extract tries them "
        "again, too, but looks at the whole catalogue.)",
        examples=(
            "stemfeatures retry-failed features",
            "stemfeatures retry-failed features catalog.csv --track-timeout 3600 -j 2",
        ),
    )
    add_dataset(parser)
    parser.add_argument("catalog", nargs="*", metavar="CATALOG", help=f"default: that of the last run. {CATALOG_HELP}")
    parser.add_argument(
        "-d",
        "--device",
        default="auto",
        help="torch device (default: every GPU there is, else cpu)",
    )
    parser.add_argument("-j", "--jobs", type=whole(1), metavar="N", help="worker processes (default: by the machine)")
    parser.add_argument(
        "--track-timeout",
        type=positive,
        metavar="SECONDS",
        help="give up on a track after so long (default: by its size)",
    )


def run(args: argparse.Namespace) -> int:
    if args.device != "auto":
        choose_device(args.device)
    from stemfeatures.tables.reader import open_features

    from ..extraction.extract import extract_catalog
    from ..extraction.retry import failed_rows, last_settings, repeated_options
    from ..extraction.summary import ExtractInterrupted

    features = open_features(args.dataset)
    given = args.catalog[0] if len(args.catalog) == 1 else (args.catalog or None)
    catalog = failed_rows(features, given)
    if not len(catalog):
        if not args.quiet:
            echo("nothing to do: no row of the catalogue is in table errors")
        return DONE
    line = ProgressOfExtraction(args.quiet)
    try:
        summary = extract_catalog(
            catalog,
            args.dataset,
            **repeated_options(last_settings(features)),
            device=args.device,
            jobs=args.jobs,
            track_timeout_s=args.track_timeout,
            on_duplicate="first",
            progress=line,
        )
    except ExtractInterrupted as stop:
        summary = stop.summary
    finally:
        line.close()
    if not args.quiet:
        echo(summary_text(summary))
    if summary.interrupted:
        return INTERRUPTED
    return SOME_FAILED if summary.n_failed else DONE
