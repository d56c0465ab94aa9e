"""Catalogues in stores: manifests, folders and patterns at an address."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemfeatures._util import objects
from stemfeatures._util.urls import Url
from stemfeatures.audio.suffixes import AUDIO_SUFFIXES
from stemfeatures.errors import CatalogError

from .scratch import scratch_folder
from .types import printable
from .walk import COMPANIONS, table_names

#: Bytes of audio that a process keeps of what lies in stores, unless it is told otherwise.
CACHE_BYTES = 8 << 30
#: Listing a bucket of millions of objects takes minutes.
_LIST_LIMIT_S = 3600.0


@contextmanager
def _told(address: str) -> Iterator[None]:
    """CatalogError for what a store does not do."""
    try:
        yield
    except OSError as error:
        raise CatalogError(getattr(error, "what", str(error)), source=printable(address)) from error


@contextmanager
def brought(address: str) -> Iterator[Path]:
    """A manifest of a store as a file of this machine, or a folder of Parquet parts as a folder."""
    url = Url(address)
    with scratch_folder("stemfeatures-manifest-") as folder:
        target = folder / (Path(url.name).name or "manifest")
        with _told(address):
            if objects.info(url) is not None:
                _bring(url, target)
            elif not (names := files_below(address)):
                raise CatalogError("there is no such object", source=printable(address))
            else:
                for name in names:
                    part = target / name
                    part.parent.mkdir(parents=True, exist_ok=True)
                    _bring(url / name, part)
        yield target


def size_of(address: str) -> int | None:
    """Bytes of an object; None where there is none."""
    with _told(address):
        found = objects.info(Url(address))
    return None if found is None else found.size


def too_large(most: int) -> str:
    """What is wrong with an audio file of more bytes than that."""
    return f"larger than what is kept on this machine ({most:,} bytes; --cache-size)"


@contextmanager
def brought_audio(address: str, most: int = CACHE_BYTES) -> Iterator[tuple[str | None, tuple[str, str] | None]]:
    """An audio file of a store as one of this machine, or kind and message of what keeps it there."""
    url = Url(address)
    with scratch_folder("stemfeatures-audio-look-") as folder:
        target = folder / f"audio{Path(url.name).suffix}"
        try:
            _bring(url, target, most)
        except OSError as error:
            yield None, ("unreadable", f"{getattr(error, 'what', str(error))}: {printable(address)}")
        else:
            yield str(target), None


def _bring(url: Url, target: Path, most: int | None = None) -> None:
    """Write an object to a file; StoreError for one of more bytes than ``most``."""

    def require_small(size: int) -> None:
        if most is not None and size > most:
            raise objects.StoreError(too_large(most), url)

    with target.open("wb") as file:
        for block in objects.blocks(url, lambda entry: require_small(entry.size)):
            require_small(file.tell() + len(block))  # some stores do not say how large it is
            file.write(block)


def is_file(address: str) -> bool:
    """Whether there is an object at an address; CatalogError when the store does not tell."""
    with _told(address):
        return objects.info(Url(address)) is not None


def files_below(address: str) -> list[str]:
    """The objects below an address as paths relative to it, sorted; hidden ones left out."""
    url = Url(address)
    with _told(address):
        found = objects.call(url, lambda fs, path: [(path, name) for name in fs.find(path)], limit_s=_LIST_LIMIT_S)
    names = (name.removeprefix(path).lstrip("/") for path, name in found)
    return sorted(name for name in names if name and not any(part.startswith(".") for part in name.split("/")))


def is_manifest(names: list[str]) -> bool:
    """Whether there are tables and no audio among them."""
    suffixes = {os.path.splitext(name)[1].lower() for name in names}
    return not suffixes & AUDIO_SUFFIXES and bool(table_names(names))


def audio_below(address: str, names: list[str], passed_over: Counter[str]) -> Iterator[str]:
    """Addresses of the audio files among ``names``; what is neither audio nor known is counted by its suffix."""
    for name in names:
        suffix = os.path.splitext(name)[1].lower()
        if suffix in AUDIO_SUFFIXES:
            yield f"{Url(address).address}/{name}"
        elif suffix not in COMPANIONS:
            passed_over[suffix] += 1


def pattern_root(address: str) -> str:
    """The part of a pattern before its first wildcard."""
    parts = address.split("/")
    return "/".join(parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])


def matches(address: str) -> list[str]:
    """Addresses that match a pattern; without a suffix in it those with the suffix of an audio file."""
    url = Url(address)
    with _told(address):
        found = objects.call(url, lambda fs, path: fs.glob(path), limit_s=_LIST_LIMIT_S)
    chosen = bool(os.path.splitext(address.rpartition("/")[2])[1])
    names = sorted(str(name) for name in found)
    taken = [name for name in names if chosen or os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES]
    return [name if "://" in name else f"{url.scheme}://{name}" for name in taken]
