"""The command line ``stemfeatures``; each verb is a module of :mod:`pipelines.commands`.

Results go to standard output and nothing else does; progress, messages and logs go to standard error.
"""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from stemfeatures import __version__
from stemfeatures.errors import StemfeaturesError, printable_message

from .commands import verbs as find_verbs
from .commands._exit import EXIT_CODES, INTERRUPTED, STORAGE, UNEXPECTED, USAGE, UsageError, exit_code
from .commands._json_log import JsonHandler, write_event
from .commands._options import Parser
from .commands._progress import log_line
from .commands._streams import open_streams
from .commands._text import echo, visible

#: 128 + SIGPIPE: whoever read our output has left.
_READER_GONE = 141


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the help of the longest verb on its line: argparse measures verbs without their indentation."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += 2


def build_parser() -> Parser:
    """The parser with all verbs."""
    codes = "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
    parser = Parser(
        prog="stemfeatures",
        description="Music catalogues to typed Parquet feature tables, by source separation and F0.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"stemfeatures {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", parser_class=Parser)
    for name in find_verbs():
        import_module(f".commands.{name.replace('-', '_')}", __package__).add_parser(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (argparse itself exits on ``--help`` and bad arguments)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names need not be UTF-8, terminals need not be either
            stream.reconfigure(errors="backslashreplace")
    parser = build_parser()
    args = parser.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)  # for the records
    if args.verb is None:
        parser.print_help(sys.stderr)
        return USAGE
    as_json = bool(getattr(args, "json_logs", False))
    _set_up_logging(args.quiet, args.verbose, as_json=as_json)
    try:
        _require_a_folder()
        code = args.run(args)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _fail(USAGE, str(error), args.verbose, as_json=as_json)
    except StemfeaturesError as error:
        return _fail(exit_code(error), str(error), args.verbose, as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it closes
        return _READER_GONE
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        return _fail(USAGE, _path_trouble(error), args.verbose, as_json=as_json)
    except OSError as error:  # a full disk, a lost mount
        return _fail(STORAGE, _path_trouble(error), args.verbose, as_json=as_json)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, "interrupted", args.verbose, as_json=as_json)
    except Exception as error:
        if args.verbose < 2 and _is_of_dask(error):
            what = f"unexpected {type(error).__name__}: {error} (-v -v shows where)"
            return _fail(UNEXPECTED, what, 0, as_json=as_json)
        traceback.print_exc()
        return _fail(UNEXPECTED, f"unexpected {type(error).__name__}: {error}", 0, as_json=as_json)


def _require_a_folder() -> None:
    """UsageError when the folder of this process was deleted: libraries of PyTorch end a process there, without a word
    of why."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the folder that this was started in is gone: start it in another") from None


def _is_of_dask(error: Exception) -> bool:
    """Whether an error came through Dask, whose stacks say nothing to a user."""
    modules = {frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)}
    return any(name.partition(".")[0] in ("dask", "distributed", "tornado") for name in modules)


def _path_trouble(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _fail(code: int, message: str, verbose: int, *, as_json: bool = False) -> int:
    message = printable_message(message)
    if verbose >= 2:
        traceback.print_exc()
    if as_json:
        write_event("error", message=message, exit_code=code)
        return code
    echo(f"stemfeatures: error: {visible(' '.join(message.split()))}", stream=sys.stderr)
    return code


class _LogHandler(logging.Handler):
    """Standard error, without breaking a progress line."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log_line("\n".join(map(visible, printable_message(self.format(record)).split("\n"))))
        except Exception:
            self.handleError(record)


def _set_up_logging(quiet: bool, verbose: int, *, as_json: bool = False) -> None:
    handler: logging.Handler = JsonHandler() if as_json else _LogHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s" if verbose < 2 else logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.ERROR if quiet else logging.WARNING, handlers=[handler], force=True)
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    for name in ("stemfeatures", "pipelines"):
        logging.getLogger(name).setLevel(level)
    # Warnings of the libraries we use are for us, not for our users.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.ERROR)


def command() -> NoReturn:
    """:func:`main` as a program."""
    open_streams()
    try:
        code = main()
    except KeyboardInterrupt:  # before the verb had begun
        code = _fail(INTERRUPTED, "interrupted", 0)
    watch = sys.modules.get("pipelines.extraction.watch")
    if watch is not None and watch.any_abandoned():
        # A thread that hangs in a native library would bring the interpreter down when it ends.
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()  # what removes temporary folders
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
