"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from stemfeatures._util.words import did_you_mean

from ._exit import USAGE, UsageError

if TYPE_CHECKING:
    from stemfeatures.audio import AudioLimits

Run = Callable[[argparse.Namespace], int]


#: What ``extract`` and ``validate`` take.
CATALOG_HELP = (
    "manifest (CSV, TSV, Parquet, Feather, JSON lines), a folder, a glob in quotes, or audio files. A manifest names "
    "the files in its column path, source_uri, uri, file or filepath, or in one that is called alike, such as "
    "file_name or audio_path (relative to the manifest); text is UTF-8 or UTF-16, as it is or compressed (.gz, .bz2, "
    ".xz, .zst, .zip). A folder of Parquet or CSV files, without audio, is one manifest. Two rows with one file or "
    "one track_id are refused. Without a column track_id, the id of a track is its path relative to the manifest, the"
    " folder, or the part of the glob before its first wildcard; for a list of files, its absolute path. Of folders, "
    "files with suffixes of audio are taken. All of these may lie in a store (s3://, gs://, az://), manifests and "
    "files also at http(s)://. Links to folders are followed, each folder once"
)

DATASET_HELP = "features directory, also in a store: s3://, gs:// or az://BUCKET/DIR"

_EXAMPLES = "examples:\n"


class _Formatter(argparse.HelpFormatter):
    """Wraps everything but the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLES) else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """Complains in one line, and takes options before, between and after the arguments.

    Attributes
    ----------
    examples : tuple of str
        Command lines that show how the verb is used.
    """

    examples: tuple[str, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        given = sys.argv[1:] if args is None else list(args)
        verbs = next((a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction)), None)
        if verbs is not None:
            verb = next((text for text in given if not text.startswith("-")), None)
            if verb is not None and verb not in verbs:
                self.error(f"no such verb: {verb!r}{did_you_mean(verb, verbs)}")
            return super().parse_known_args(given, namespace)
        # Options first, then all else. ``parse_intermixed_args`` forgets a ``--`` between the two.
        cut = given.index("--") if "--" in given else len(given)
        self._refuse_unknown_options(given[:cut])
        arguments = [a for a in self._actions if not a.option_strings]
        with _set_aside(arguments, nargs=argparse.SUPPRESS, default=argparse.SUPPRESS):
            namespace, rest = super().parse_known_args(given[:cut], namespace)
        if unknown := [text for text in rest if self._parse_optional(text) is not None]:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        options = [*(a for a in self._actions if a.option_strings), *self._mutually_exclusive_groups]
        with _set_aside(options, required=False):
            left = [*rest, *given[cut + 1 :]]
            return super().parse_known_args(["--", *left] if left else [], namespace)

    def _refuse_unknown_options(self, given: Sequence[str]) -> None:
        """Before argparse asks for what is missing: a misspelt option is the better thing to say."""
        for text in given:
            name = text.partition("=")[0]
            if name.startswith("--") and name not in self._option_string_actions:
                self.error(f"unrecognized arguments: {text}{did_you_mean(name, self._option_string_actions)}")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """argparse names the function that refuses a value; what it says is what a user needs."""
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            if isinstance(error.__context__, ValueError | TypeError):
                raise argparse.ArgumentError(action, str(error.__context__)) from None
            raise

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"stemfeatures: error: {message} (see {self.prog} --help)\n")


@contextmanager
def _set_aside(owners: Sequence[Any], **attributes: Any) -> Iterator[None]:
    """Attributes of actions of argparse, for a while: it parses all kinds of arguments at once otherwise."""
    before = [{name: getattr(owner, name) for name in attributes} for owner in owners]
    try:
        for owner in owners:
            vars(owner).update(attributes)
        yield
    finally:
        for owner, values in zip(owners, before):
            vars(owner).update(values)


def add_verb(verbs: Any, name: str, run: Run, help: str, *, description: str, examples: Sequence[str]) -> Parser:
    """A parser for one verb, with ``-q`` and ``-v``."""
    parser: Parser = verbs.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}. {description}",
        epilog=_EXAMPLES + "\n".join(f"  {line}" for line in examples),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.examples = tuple(examples)
    parser.set_defaults(run=run)
    talk = parser.add_argument_group("messages")
    talk.add_argument("-q", "--quiet", action="store_true", help="no progress, no summary; errors only")
    talk.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="say more on standard error; twice for details and tracebacks",
    )
    return parser


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Where the tables are."""
    from stemfeatures._util.urls import place_of

    parser.add_argument("dataset", type=place_of, metavar="DIR", help=DATASET_HELP)


def add_model(parser: argparse.ArgumentParser) -> None:
    from stemfeatures.models.checkpoints import DEFAULT_MODEL

    parser.add_argument(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="checkpoint by name (see stemfeatures models) or path of a .safetensors file (default: %(default)s)",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    from stemfeatures.models.precision import AUTO, PRECISIONS

    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=AUTO,
        help="in which the network computes on a CPU: bfloat16 is faster on processors with instructions for it, and "
        "moves values by less than an MP3 does (docs/precision.md); auto is bfloat16 on these (default: %(default)s)",
    )


def add_separator(parser: argparse.ArgumentParser) -> None:
    from stemfeatures.separation.tools import separator_names

    parser.add_argument(
        "--separator",
        metavar="NAME",
        help=f"separate with {', '.join(f'{name}[:MODEL]' for name in separator_names())} or a function "
        "PACKAGE.MODULE:FUNCTION instead of the checkpoint (docs/your-own-stems.md)",
    )


def add_stems(parser: argparse.ArgumentParser, layout: str) -> None:
    """Where stems come from, if not from the checkpoint."""
    add_separator(parser)
    parser.add_argument(
        "--stems-from",
        type=Path,
        metavar="DIR",
        help=f"read stems that are there already: DIR/{layout}/<stem>.<suffix of audio>",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d",
        "--device",
        default="auto",
        help="torch device: cpu, cuda, cuda:1 ... (default: cuda where there is one, else cpu)",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """What an audio file may be; the same for all commands."""
    limits = parser.add_argument_group("limits", "what an audio file may be; one that is more fails")
    limits.add_argument("--max-duration", type=positive, metavar="SECONDS", help="length (default: 6 hours)")
    limits.add_argument("--max-channels", type=whole(1), metavar="N", help="channels (default: 64)")
    limits.add_argument(
        "--max-cpu-per-mb",
        type=positive,
        metavar="SECONDS",
        help="CPU time of decoding for each megabyte of the file, besides one minute (default: 20)",
    )


def limits_of(args: argparse.Namespace) -> AudioLimits:
    """What :func:`add_limits` has asked for."""
    from stemfeatures.audio import AudioLimits

    asked = {
        "max_duration_s": args.max_duration,
        "max_channels": args.max_channels,
        "max_cpu_s_per_mb": args.max_cpu_per_mb,
    }
    return AudioLimits(**{name: value for name, value in asked.items() if value is not None})


def add_cache_size(parser: argparse.ArgumentParser) -> None:
    """How much audio of stores may be on this machine."""
    parser.add_argument(
        "--cache-size",
        type=size_in_bytes,
        metavar="SIZE",
        help="of audio in a store: what each process keeps on this machine besides what is in work, and the largest "
        "file that it takes, such as 500MB or 20GB (default: 8 GiB)",
    )


def size_in_bytes(text: str) -> int:
    """argparse type: bytes, with or without a unit of 1000 or 1024 (MB, GiB)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500MB or 20GiB")
    power = " kmgt".index(found[2].lower() or " ")
    return round(float(found[1]) * (1024 if found[3] else 1000) ** power)


def whole(minimum: int) -> Callable[[str], int]:
    """argparse type: a whole number of at least ``minimum``."""

    def parse(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, not {text!r}")
        return int(text)

    return parse


def positive(text: str) -> float:
    """argparse type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return value


def chance(text: str) -> float:
    """argparse type: a probability, 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, not {text!r}")
    return value


def comma_list(text: str) -> tuple[str, ...]:
    """argparse type: ``a,b`` as ``("a", "b")``, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise argparse.ArgumentTypeError("expected names with commas between them")
    return names


def choose_device(name: str) -> str:
    """The device to compute on; UsageError when there is no such device here."""
    if name == "auto":
        from stemfeatures._util.devices import best_device

        return best_device()
    if name == "cpu":
        return name
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used: {reason}") from error
    return name
