"""Parts that are given their name while they are read: who looked before finds them under both."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from .parts import is_staged, published


class _EitherName(FSSpecHandler):
    def open_input_file(self, path: str) -> pa.NativeFile:
        """Opens a hidden part under its name where it has it by now."""
        try:
            return super().open_input_file(path)
        except FileNotFoundError:
            if not is_staged(path):
                raise
            return super().open_input_file(published(path))

    open_input_stream = open_input_file


def either_name(filesystem: AbstractFileSystem | None) -> Any:
    """A file system of Arrow in which hidden parts are found under both of their names.

    Parameters
    ----------
    filesystem : fsspec.AbstractFileSystem or None
        Where they lie; None: on this machine.

    Returns
    -------
    pyarrow.fs.PyFileSystem
        The same, for reading.
    """
    return PyFileSystem(_EitherName(LocalFileSystem() if filesystem is None else filesystem))
