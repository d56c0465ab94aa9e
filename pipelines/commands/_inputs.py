"""Audio files that a command is given, as files, folders, globs or manifests, and where what it makes of each goes."""

from __future__ import annotations

import argparse
import errno
import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stemfeatures._util.urls import SCHEMES, Place, Url, is_remote, redacted, scheme_of
from stemfeatures.errors import StemfeaturesError

from ._exit import UsageError
from ._progress import ProgressLine
from ._text import size

INPUT_HELP = (
    "audio file, folder of such, glob in quotes, or manifest, also in a store: s3://, gs://, az://, http(s):// (see "
    "stemfeatures extract --help)"
)


@dataclass(frozen=True)
class Input:
    """One audio file.

    Attributes
    ----------
    path : Path or Url
        As it was given, or as the folder or manifest has it.
    name : str
        Where it lies below what was given, without its suffix where that tells it apart from the others:
        ``albums/song``. Forward slashes; neither absolute nor leading upwards.
    """

    path: Place
    name: str


def read_inputs(given: Sequence[str]) -> list[Input]:
    """The files behind ``given``, each once, in order.

    Names mirror the folders below the one folder, glob or manifest that was given, or else below the deepest folder
    that holds everything. Raises CatalogError where a folder, glob or manifest has no audio, UsageError where rows of
    a manifest name no file, or where two files would have one name.
    """
    from ..catalog.read import is_table

    roots: list[str] = []
    paths: dict[str, Place] = {}  # by absolute path, or address
    for text in given:
        if (scheme := scheme_of(text)) and not is_remote(text) and not os.path.exists(text):
            raise UsageError(f"{redacted(text)}: cannot open {scheme}:// addresses; mount or download the files")
        path = Path(text)
        if not (is_remote(text) or os.path.isdir(path) or _is_glob(text) or is_table(path)):
            absolute = os.path.normpath(os.path.abspath(path))
            paths.setdefault(absolute, path)
            roots.append(os.path.dirname(absolute))
            continue
        from ..catalog import read_catalog

        catalog = read_catalog(text)
        for i, found in enumerate(catalog.frame["path"].tolist()):
            if found is None:
                raise UsageError(f"{redacted(text)}: {catalog.row_name(i)} names no file")
            paths.setdefault(found, Url(found) if is_remote(found) else _shown(found))
        roots.append(_as_path(catalog.root or text) if catalog.root else os.path.dirname(_as_path(text)))
    names = _names({key: _as_path(key) for key in paths}, os.path.commonpath(roots))
    first: dict[str, str] = {}
    for key, name in names.items():
        if (other := first.setdefault(name, key)) != key:
            raise UsageError(f"{paths[other]} and {paths[key]} have one name: {name}")
    return [Input(paths[key], name) for key, name in names.items()]


@contextmanager
def at_hand(one: Input, cache_bytes: int | None, progress: ProgressLine) -> Iterator[Path]:
    """The audio as a file of this machine: that of a store is brought here, as ``progress`` tells. Errors speak of the
    input.

    ``cache_bytes``: see ``--cache-size``; None for its default.
    """
    if not isinstance(one.path, Url):
        yield one.path
        return
    from ..catalog.remote import CACHE_BYTES
    from ..extraction.fetch import audio_cache, named_as

    cache, address = audio_cache(CACHE_BYTES if cache_bytes is None else cache_bytes), one.path.address
    note = f"fetching {one.path.name}"

    def tell(done: int, total: int) -> None:
        progress.within(0.0, note=f"{note}, {size(done)}{f' of {size(total)}' if total else ''}")

    progress.within(0.0, note=note)
    fetched = cache.fetch(address, on_open=lambda state: None, abandoned=lambda: False, on_bytes=tell)
    try:
        yield fetched.path
    except StemfeaturesError as error:
        raise named_as(error, fetched.path, address) from error
    finally:
        cache.release(fetched)


def _is_glob(text: str) -> bool:
    return glob.has_magic(text) and not os.path.exists(text)


def _as_path(text: str) -> str:
    """An absolute path; of an address one that has the same parts, for names: ``/s3/bucket/a.wav``."""
    if not is_remote(text):
        return os.path.abspath(text)
    scheme, rest = redacted(text).split("://", 1)
    scheme = scheme.lower()
    if SCHEMES[scheme] == "http":
        rest = rest.partition("?")[0]
    return os.path.normpath(f"/{scheme}/{rest}")


def _shown(path: str) -> Path:
    """Relative to where we are, if it lies below."""
    here = os.getcwd().rstrip(os.sep) + os.sep
    return Path(path.removeprefix(here))


def _names(paths: Mapping[str, str], root: str) -> dict[str, str]:
    """A name for each absolute path; the suffix stays where two files of a folder differ in nothing else."""
    whole = {key: _below(path, root) for key, path in paths.items()}
    short = {key: _without_suffix(name) for key, name in whole.items()}
    times: dict[str, int] = {}
    for name in (*short.values(), *(name for key, name in whole.items() if name != short[key])):
        times[name] = times.get(name, 0) + 1
    return {key: name if times[name] == 1 else whole[key] for key, name in short.items()}


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


def require_folder(output: Path | None, option: str) -> None:
    """Say at once that a file cannot be written where it shall go.

    UsageError when there is no such folder, or a folder of that name; PermissionError where nothing may be written.
    """
    if output is None:
        return
    folder = output.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{option}: no such folder: {output.parent}")
    if output.is_dir():
        raise UsageError(f"{option}: {output} is a folder, not a file")
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output))


def spare_inputs(inputs: Iterable[Place], outputs: Iterable[Path]) -> None:
    """UsageError when an output would take the place of an input, which nothing may ask for."""
    # Not ``Path.resolve``, which raises for a link that leads to itself.
    read = {os.path.realpath(path): path for path in inputs if isinstance(path, Path)}
    for output in outputs:
        if path := read.get(os.path.realpath(output)):
            raise UsageError(f"{output} would overwrite the input {path}; choose another output")
