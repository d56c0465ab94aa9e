"""``stemfeatures separate``: stems as audio files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures.constants import STEMS

from ._exit import DONE, SOME_FAILED, UsageError, failure
from ._options import add_device, add_model, add_separator, add_verb, choose_device, comma_list
from ._progress import ProgressLine

if TYPE_CHECKING:
    from stemfeatures.separation import BaseSeparator

FORMATS = ("wav", "flac")


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "separate",
        run,
        "write the stems of audio files",
        description="Writes OUT_DIR/<input name without suffix>/<stem>.<format> with the sample rate, the channels and "
        "the exact length of the input. The four stems of a joint network sum to the input. Files of an earlier run "
        "are replaced.",
        examples=(
            "stemfeatures separate song.mp3 -o stems",
            "stemfeatures separate *.flac -o stems --stems vocals,drums --format flac",
            "stemfeatures separate song.mp3 -o stems --separator demucs:htdemucs_6s",
        ),
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="audio file")
    parser.add_argument("-o", "--out-dir", type=Path, required=True, metavar="OUT_DIR", help="folder to write to")
    parser.add_argument(
        "--stems",
        type=comma_list,
        metavar="A,B",
        help=f"stems to write, of {','.join(STEMS)}, of TARGET,accompaniment with a checkpoint for one target, or of "
        "those of the separator (default: all)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="wav",
        help="wav: 32-bit float, exact; flac: 24-bit, clips beyond full scale (default: %(default)s)",
    )
    add_model(parser)
    add_separator(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    device = choose_device(args.device)
    separator = None if args.separator is None else _external(args.separator, device)
    stems = _stems_of(args.model) if separator is None else separator.stems
    if unknown := [stem for stem in args.stems or () if stem not in stems]:
        raise UsageError(f"unknown stem {unknown[0]!r}; there are: {', '.join(stems)}")
    stems = args.stems or stems
    folders = plan(args.inputs, args.out_dir)
    _spare_inputs(args.inputs, [f / f"{s}.{args.format}" for f in folders.values() for s in stems])
    try:
        args.out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        blocked = next((p for p in (args.out_dir, *args.out_dir.parents) if p.is_file()), None)
        why = f"{blocked} is a file, not a folder" if blocked else error.strerror
        raise UsageError(f"cannot write to {args.out_dir}: {why}") from error

    from stemfeatures.separation import open_separator

    separator = separator or open_separator(args.model, device=device)
    written: list[Path] = []
    failed = 0
    with ProgressLine(len(folders), label="separate", unit="file", quiet=args.quiet) as progress:
        for path, folder in folders.items():
            try:
                paths = separator.separate_file(path, folder, stems=stems, format=args.format)
                written += paths.values()
            except Exception as error:  # whatever it is, the others go on
                failed += 1
                _drop_if_empty(folder)
                progress.say(failure(path, error))
            progress.update(note=f"{failed} failed" if failed else "")
    if not args.quiet:
        for path in written:
            print(path)
    if failed:
        print(f"stemfeatures: {failed} of {len(folders)} files failed", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def _stems_of(model: str) -> tuple[str, ...]:
    from stemfeatures.models import checkpoints

    return checkpoints.stems_of(model)


def _external(name: str, device: str) -> BaseSeparator:
    from stemfeatures.separation.external import open_external

    return open_external(name, device=device)


def plan(inputs: Iterable[Path], out_dir: Path) -> dict[Path, Path]:
    """Where the stems of each input go. UsageError when two inputs would go to one folder."""
    folders: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    for path in inputs:
        name = path.stem if path.stem.strip(".") else path.name  # "...wav" must not become ".."
        if not name.strip("."):
            raise UsageError(f"{path} is no audio file")
        folder = out_dir / name
        if folder in owners:
            raise UsageError(f"{owners[folder]} and {path} would both be written to {folder}; separate them one by one")
        owners[folder], folders[path] = path, folder
    return folders


def _spare_inputs(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    read = {path.resolve(): path for path in inputs}
    for output in outputs:
        if path := read.get(output.resolve()):
            raise UsageError(f"a stem would overwrite the input {path}; choose another --out-dir")


def _drop_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
