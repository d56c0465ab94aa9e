"""``stemfeatures singalong``: a page to sing along with a song."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from ._exit import DONE, SOME_FAILED, UsageError
from ._options import add_device, add_model, add_verb, choose_device
from ._progress import ProgressLine
from ._text import echo, visible
from .align import read_lyrics, summary


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = add_verb(
        verbs,
        "singalong",
        run,
        "write a page to sing along with a song",
        description="A folder whose index.html any browser opens from disk: a fader for each stem, words that light up "
        "as they are sung, lines that can be looped, the singer's pitch and that of the microphone against it. Without "
        "LYRICS there are no words. Words that do not fit the song are shown without times, and the exit code is 3. "
        "LYRICS need the lyrics extra. See docs/singalong.md.",
        examples=(
            "stemfeatures singalong song.mp3 song.txt -o page",
            "stemfeatures singalong song.flac -o page --title 'Our song' --artist 'The band'",
        ),
    )
    parser.add_argument("audio", type=Path, metavar="AUDIO", help="the song")
    parser.add_argument("lyrics", type=Path, nargs="?", metavar="LYRICS", help="its words: text, .lrc, captions or RTF")
    parser.add_argument(
        "-o", "--out-dir", type=Path, required=True, metavar="DIR",
        help="folder to make; one that is empty or holds such a page is replaced",
    )  # fmt: skip
    parser.add_argument(
        "--title", metavar="TEXT", help="title to be shown (default: as tagged, or the name of the file)"
    )
    parser.add_argument("--artist", metavar="TEXT", help="artist to be shown (default: as tagged)")
    add_model(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page of one song."""
    from stemfeatures.audio import probe
    from stemfeatures.singalong import write_page
    from stemfeatures.singalong.page import PageError

    text = None if args.lyrics is None else read_lyrics(args.lyrics)
    device = choose_device(args.device)
    try:
        total = math.ceil(probe(args.audio).declared_duration_s or 0) or None
        with ProgressLine(total, label="singalong", unit="second", quiet=args.quiet) as progress:
            page = write_page(
                args.audio, args.out_dir, text, title=args.title, artist=args.artist, model=args.model, device=device,
                on_progress=lambda seconds: progress.advance_to(int(seconds)),
            )  # fmt: skip
            progress.advance_to(total or progress.done)
    except (ImportError, PageError) as error:
        raise UsageError(str(error)) from error
    if not args.quiet:
        if page.message:
            echo(visible(f"{args.audio}: {page.message}"), stream=sys.stderr)
        if page.alignment is not None:
            echo(summary(visible(str(args.audio)), page.alignment), stream=sys.stderr)
        echo(visible(str(page.path)))
    return SOME_FAILED if page.alignment is not None and page.alignment.status != "ok" else DONE
