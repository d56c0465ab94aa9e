"""Temporary folders that the next run clears away where a run was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stemfeatures._util.system import lock_file, user_id

#: A file that is locked for as long as somebody works in the folder.
_LOCK = ".in-use"


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder in the temporary folder, deleted at the end of the block; those of processes that were killed go first.

    Parameters
    ----------
    prefix : str
        What the name begins with; folders of one prefix are one another's to clear away.

    Yields
    ------
    Path
        The folder.
    """
    _clear(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        # Locked before it has its name: who finds the name without a lock may delete the folder.
        with (folder / f"{_LOCK}.new").open("wb") as file:
            with suppress(OSError):  # a file system without locks: nobody clears the folder away
                lock_file(file)
                os.rename(file.name, folder / _LOCK)
            yield folder


def _clear(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != user_id():
                continue
            with (folder / _LOCK).open("rb") as file:
                lock_file(file, wait=False)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # somebody is at work in it, or has cleared it away just now
            continue
