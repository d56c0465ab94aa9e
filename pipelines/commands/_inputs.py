"""Audio files that a command is given, as files, folders, globs or manifests, and where what it makes of each goes."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stemfeatures._util.urls import is_remote, redacted

from ._exit import UsageError

INPUT_HELP = "audio file, folder of such, glob in quotes, or manifest (see stemfeatures extract --help)"


@dataclass(frozen=True)
class Input:
    """One audio file.

    Attributes
    ----------
    path : Path
        As it was given, or as the folder or manifest has it.
    name : str
        Where it lies below what was given, without its suffix where that tells it apart from the others:
        ``albums/song``. Forward slashes; neither absolute nor leading upwards.
    """

    path: Path
    name: str


def read_inputs(given: Sequence[str]) -> list[Input]:
    """The files behind ``given``, each once, in order.

    Names mirror the folders below the one folder, glob or manifest that was given, or else below the deepest folder
    that holds everything. Raises CatalogError where a folder, glob or manifest has no audio, UsageError where rows of
    a manifest name no local file.
    """
    from ..catalog.read import is_table

    roots: list[str] = []
    paths: dict[str, Path] = {}  # by absolute path
    for text in given:
        if is_remote(os.fspath(text)):
            raise UsageError(f"{redacted(os.fspath(text))}: only extract and validate read from stores")
        path = Path(text)
        if not (path.is_dir() or _is_glob(text) or is_table(path)):
            absolute = os.path.normpath(os.path.abspath(path))
            paths.setdefault(absolute, path)
            roots.append(os.path.dirname(absolute))
            continue
        from ..catalog import read_catalog

        catalog = read_catalog(text)
        for i, found in enumerate(catalog.frame["path"].tolist()):
            if found is None or is_remote(found):
                raise UsageError(f"{text}: {catalog.row_name(i)} names no file of this machine")
            paths.setdefault(found, _shown(found))
        roots.append(catalog.root or os.path.abspath(text))
    return [Input(paths[at], name) for at, name in _names(paths, os.path.commonpath(roots)).items()]


def _is_glob(text: str) -> bool:
    return glob.has_magic(text) and not os.path.exists(text)


def _shown(path: str) -> Path:
    """Relative to where we are, if it lies below."""
    here = os.getcwd().rstrip(os.sep) + os.sep
    return Path(path.removeprefix(here))


def _names(paths: Iterable[str], root: str) -> dict[str, str]:
    """A name for each absolute path; the suffix stays where two files of a folder differ in nothing else."""
    whole = {path: _below(path, root) for path in paths}
    short = {path: _without_suffix(name) for path, name in whole.items()}
    times: dict[str, int] = {}
    for name in (*short.values(), *(name for path, name in whole.items() if name != short[path])):
        times[name] = times.get(name, 0) + 1
    return {path: name if times[name] == 1 else whole[path] for path, name in short.items()}


def _below(path: str, root: str) -> str:
    prefix = root.rstrip(os.sep) + os.sep
    inside = path[len(prefix) :] if path.startswith(prefix) else path.lstrip(os.sep)
    return inside.replace(os.sep, "/")


def _without_suffix(name: str) -> str:
    folder, _, file = name.rpartition("/")
    stem = Path(file).stem
    kept = stem if stem.strip(".") else file  # "...wav" must not become ".."
    return f"{folder}/{kept}" if folder else kept


def plan_outputs(inputs: Sequence[Input], out: Path | None, suffixes: Sequence[str]) -> dict[Input, Path]:
    """A file for each input: ``out`` itself, if it has one of the suffixes, else files of the first one below it.

    UsageError when one file shall hold what is made of several inputs.
    """
    if out is None:
        return {}
    if out.suffix.lower() in suffixes and not out.is_dir():
        if len(inputs) > 1:
            raise UsageError(f"{out} is one file for {len(inputs):,} inputs; name a folder")
        return dict.fromkeys(inputs, out)
    if out.suffix and not out.is_dir():
        raise UsageError(f"{out}: {', '.join(suffixes)} can be written, or a folder without suffix named")
    return {one: out / f"{one.name}{suffixes[0]}" for one in inputs}


def add_overwrite(parser: argparse._ActionsContainer) -> None:
    """The one rule of all commands: what is there already is replaced only where that is asked for."""
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")


def require_free(outputs: Iterable[Path], *, overwrite: bool) -> None:
    """UsageError when one of the outputs is there already, unless it may be replaced."""
    there = [path for path in outputs if os.path.lexists(path)]
    if there and not overwrite:
        more = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
        raise UsageError(f"{there[0]}{more} exists already; --overwrite replaces it")


def spare_inputs(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """UsageError when an output would take the place of an input, which nothing may ask for."""
    read = {path.resolve(): path for path in inputs}
    for output in outputs:
        if path := read.get(output.resolve()):
            raise UsageError(f"{output} would overwrite the input {path}; choose another output")
