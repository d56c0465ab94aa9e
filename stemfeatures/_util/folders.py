"""Folders below another one, links to folders among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def folders_below(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all below it that do not begin with a dot, each once: a link that leads back ends there.

    Parameters
    ----------
    root : Path
        A folder.

    Yields
    ------
    folder : Path
        In order, the one above first.
    names : list of str
        Of its files, in order.
    """
    seen: set[Path] = set()
    for name, below, files in os.walk(root, followlinks=True):
        folder = Path(name)
        below[:] = sorted(child for child in below if not child.startswith("."))
        if folder.resolve() in seen:
            below.clear()
            continue
        seen.add(folder.resolve())
        yield folder, sorted(files)
