"""``stemfeatures remix``: a song with its stems louder or softer."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

from stemfeatures.constants import STEMS

from ._exit import DONE, UsageError
from ._inputs import add_overwrite, require_folder, require_free, spare_inputs
from ._options import add_device, add_model, add_verb, choose_device
from ._progress import ProgressLine
from ._text import echo, visible

#: What argparse is to take for a value instead of an option: -12, -12dB, -inf, and -12,5, of which it is told then.
_NUMBER = re.compile(r"^-([\d.,]|inf\b)", re.IGNORECASE)
#: Lowest ceiling of true peaks.
_LEAST_CEILING_DB = -60.0


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = add_verb(
        verbs,
        "remix",
        run,
        "write a song with its stems louder or softer",
        description="The result is the input plus what the gains change of its stems, with its sample rate, channels "
        "and exact length; at 0 dB it is the input. Nothing clips: flac gets the whole song at a lower level where it "
        "would not fit, or with --limit its peaks limited.",
        examples=(
            "stemfeatures remix song.mp3 --vocals -12dB -o singalong.flac",
            "stemfeatures remix song.mp3 --vocals off --drums +3dB --limit -o practice.flac",
            "stemfeatures remix song.wav --model guitar.safetensors --gain guitar=-6 -o softer.wav",
        ),
    )
    # argparse knows plain negative numbers alone; gains of -12dB would be options that do not exist.
    parser._negative_number_matcher = _NUMBER
    parser.add_argument("input", type=Path, metavar="INPUT", help="audio file")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="file to write, .flac or .wav")
    add_overwrite(parser)
    for stem in STEMS:
        parser.add_argument(f"--{stem}", type=decibels, metavar="DB", help=f"gain of the {stem} in dB; off silences")
    parser.add_argument(
        "--gain", type=_named, action="append", default=[], metavar="STEM=DB", help="gain of a stem of any name"
    )
    parser.add_argument(
        "--limit", type=_ceiling, nargs="?", const=-1.0, metavar="DBTP",
        help="limit true peaks instead of lowering the whole song (default ceiling: -1 dBTP)",
    )  # fmt: skip
    add_model(parser)
    add_device(parser)


def decibels(text: str) -> float:
    """argparse type: a gain such as ``-12``, ``+3dB`` or ``off``."""
    from stemfeatures.separation.remix import MOST_GAIN_DB

    number = text.strip().lower().removesuffix("db").strip().replace("\u2212", "-")
    try:
        value = -math.inf if number in ("off", "mute") else float(number)
    except ValueError:
        value = math.nan
    if math.isnan(value) or value == math.inf:
        raise argparse.ArgumentTypeError(f"expected a gain such as -12dB, +3 or off, not {text!r}")
    if value > MOST_GAIN_DB:
        raise argparse.ArgumentTypeError(f"expected a gain of at most {MOST_GAIN_DB:g} dB, not {text!r}")
    return value


def _ceiling(text: str) -> float:
    value = decibels(text)
    if not _LEAST_CEILING_DB <= value <= 0:
        raise argparse.ArgumentTypeError(f"expected a ceiling of {_LEAST_CEILING_DB:g} to 0 dBTP, not {text!r}")
    return value


def _named(text: str) -> tuple[str, float]:
    stem, separator, gain = text.partition("=")
    if not separator or not stem:
        raise argparse.ArgumentTypeError(f"expected STEM=DB, such as guitar=-6, not {text!r}")
    return stem, decibels(gain)


def run(args: argparse.Namespace) -> int:
    """Remix one file."""
    from stemfeatures.audio import probe
    from stemfeatures.audio.encode import SUBTYPES
    from stemfeatures.models import checkpoints
    from stemfeatures.separation import open_separator
    from stemfeatures.separation.remix import remix_file

    given = [(stem, gain) for stem in STEMS if (gain := getattr(args, stem)) is not None] + args.gain
    gains = dict(given)
    if not gains:
        raise UsageError("nothing to change: give a gain such as --vocals -12dB")
    if len(gains) < len(given):
        twice = next(stem for stem in gains if sum(stem == name for name, _ in given) > 1)
        raise UsageError(f"more than one gain of {twice}: give one")
    if args.out.suffix.lower().lstrip(".") not in SUBTYPES:
        raise UsageError(f"{args.out}: remixes are written as {' or '.join('.' + name for name in SUBTYPES)}")
    spare_inputs([args.input], [args.out])
    require_folder(args.out, "--out")
    require_free([args.out], overwrite=args.overwrite)
    if unknown := [stem for stem in gains if stem not in checkpoints.stems_of(args.model)]:
        raise UsageError(f"unknown stem {unknown[0]!r}; there are: {', '.join(checkpoints.stems_of(args.model))}")
    separator = open_separator(args.model, device=choose_device(args.device))
    total = math.ceil(probe(args.input).declared_duration_s or 0) or None
    with ProgressLine(total, label="remix", unit="second", quiet=args.quiet) as progress:
        done = remix_file(
            separator, args.input, args.out, gains, limit_db=args.limit,
            on_progress=lambda seconds: progress.advance_to(int(seconds)),
        )  # fmt: skip
        progress.advance_to(total or progress.done)
    if not args.quiet:
        told = [f"peaks limited by up to {done.limited_db:.1f} dB"] if done.limited_db > 0.05 else []
        told += [f"lowered by {done.lowered_db:.1f} dB, so that nothing clips"] if done.lowered_db > 0.005 else []
        told += [done.message] if done.message else []
        echo(visible(f"{done.path}{': ' if told else ''}{'; '.join(told)}"))
    return DONE
