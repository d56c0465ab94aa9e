"""``stemfeatures separate``: stems as audio files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures.constants import STEMS

from ._exit import DONE, SOME_FAILED, UsageError, failure
from ._inputs import INPUT_HELP, Input, add_overwrite, at_hand, read_inputs, require_free, spare_inputs
from ._options import (
    add_cache_size,
    add_device,
    add_limits,
    add_model,
    add_separator,
    add_verb,
    choose_device,
    comma_list,
    limits_of,
)
from ._progress import ProgressLine
from ._text import by_options, count, echo, visible

if TYPE_CHECKING:
    from stemfeatures.separation import BaseSeparator

FORMATS = ("wav", "flac")
PICTURE = "stems.png"


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "separate",
        run,
        "write the stems of audio files",
        description="Writes OUT_DIR/<path of the input below the folder, without suffix>/<stem>.<format> with the "
        "sample rate, the channels and the exact length of the input. The four stems of a joint network sum to the "
        "input. Stems that are there already are not touched, unless --overwrite or --skip-existing says so.",
        examples=(
            "stemfeatures separate song.mp3 -o stems",
            "stemfeatures separate music/ -o stems --skip-existing",
            "stemfeatures separate 'music/**/*.flac' -o stems --stems vocals,drums --format flac",
            "stemfeatures separate song.mp3 -o stems --separator demucs:htdemucs_6s",
        ),
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=INPUT_HELP)
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
    parser.add_argument(
        "--plot", action="store_true", help="draw the spectra of the stems beside them, as stems.png (extra report)"
    )
    again = parser.add_mutually_exclusive_group()
    add_overwrite(again)
    again.add_argument("--skip-existing", action="store_true", help="leave out inputs whose stems are all there")
    add_model(parser)
    add_separator(parser)
    add_device(parser)
    add_limits(parser)
    add_cache_size(parser)


def run(args: argparse.Namespace) -> int:
    device = choose_device(args.device)
    separator = None if args.separator is None else _external(args.separator, device)
    stems = _stems_of(args.model) if separator is None else separator.stems
    if unknown := [stem for stem in args.stems or () if stem not in stems]:
        raise UsageError(f"unknown stem {unknown[0]!r}; there are: {', '.join(stems)}")
    stems = args.stems or stems
    plan = {one: plan_stems(one, args.out_dir, stems, args.format) for one in read_inputs(args.inputs)}
    spare_inputs([one.path for one in plan], [path for paths in plan.values() for path in paths])
    _require_own_folders(args.out_dir, [paths[0].parent for paths in plan.values()])
    skipped = 0
    if args.skip_existing:
        left = {one: paths for one, paths in plan.items() if not all(path.exists() for path in paths)}
        plan, skipped = left, len(plan) - len(left)
    else:
        require_free([path for paths in plan.values() for path in paths], overwrite=args.overwrite)
    if args.plot and find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'stemfeatures[report]'")
    is_new = not args.out_dir.exists()
    _make_folder(args.out_dir)

    from stemfeatures.separation import open_separator

    separator = separator or open_separator(args.model, device=device)
    failed = _separate_all(args, separator, plan, stems)
    if failed and is_new:
        _drop_if_empty(args.out_dir, args.out_dir.parent)
    if skipped and not args.quiet:
        echo(f"stemfeatures: {count(skipped, 'file')} skipped: all stems are there", stream=sys.stderr)
    if failed:
        echo(f"stemfeatures: {failed} of {len(plan)} files failed", stream=sys.stderr)
    return SOME_FAILED if failed else DONE


def _stems_of(model: str) -> tuple[str, ...]:
    from stemfeatures.models import checkpoints

    return checkpoints.stems_of(model)


def _external(name: str, device: str) -> BaseSeparator:
    from stemfeatures.separation.external import open_external

    return open_external(name, device=device)


def _require_own_folders(out_dir: Path, folders: Iterable[Path]) -> None:
    """UsageError when a folder below ``out_dir`` leads to another place."""
    for folder in folders:
        for above in (folder, *folder.parents):
            if above == out_dir:
                break
            if above.is_symlink():
                raise UsageError(f"{above} is a link to another place; stems are written to folders of their own")


def _separate_all(
    args: argparse.Namespace, separator: BaseSeparator, plan: dict[Input, list[Path]], stems: Sequence[str]
) -> int:
    """Separate file by file; how many failed."""
    failed = 0
    with ProgressLine(len(plan), label="separate", unit="file", quiet=args.quiet) as progress:
        for one, paths in plan.items():
            folder = paths[0].parent
            try:
                with at_hand(one, args.cache_size, progress) as source:
                    separator.separate_file(
                        source,
                        folder,
                        stems=stems,
                        format=args.format,
                        limits=limits_of(args),
                        on_progress=progress.part_of(one.path.name),
                    )
                    if args.plot:
                        paths = [*paths, draw(source, paths, folder / PICTURE, title=one.path.name)]
                if not args.quiet:
                    with progress.paused():
                        echo("\n".join(visible(str(path)) for path in paths))
            except BrokenPipeError:  # nobody reads any more
                raise
            except Exception as error:  # whatever it is, the others go on
                failed += 1
                _drop_if_empty(folder, args.out_dir)
                progress.say(by_options(failure(one.path, error)))
            progress.update(note=f"{failed} failed" if failed else "")
    return failed


def draw(source: Path, paths: Sequence[Path], picture: Path, *, title: str) -> Path:
    """Write the picture of a mixture and its stems."""
    from stemfeatures.plots.stems import plot_stems

    files = {"mixture": source, **{path.stem: path for path in paths}}
    plot_stems(files, title=title).savefig(picture, dpi=110)
    return picture


def plan_stems(one: Input, out_dir: Path, stems: Sequence[str], format: str) -> list[Path]:
    """The files that are written for one input."""
    return [out_dir / one.name / f"{stem}.{format}" for stem in stems]


def _make_folder(out_dir: Path) -> None:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        blocked = next((p for p in (out_dir, *out_dir.parents) if p.is_file()), None)
        why = f"{blocked} is a file, not a folder" if blocked else error.strerror
        raise UsageError(f"cannot write to {out_dir}: {why}") from error


def _drop_if_empty(folder: Path, root: Path) -> None:
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
