"""The file that says what a store of decoded recordings holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...errors import DatasetError

T = TypeVar("T")


def read_index(path: Path, *, version: int, what: str, parse: Callable[[dict[str, Any]], T]) -> T:
    """``parse`` of a store's index, a JSON file.

    Parameters
    ----------
    version : int
        The one that can be read.
    what : str
        What the store holds, in the plural, for messages.

    Raises
    ------
    DatasetError
        Not a store, of another version, or damaged; names the store's folder, with ``what`` as its stage.
    """
    folder = str(path.parent)
    try:
        index = json.loads(path.read_text())
        if index["version"] != version:
            message = f"{what} of version {index['version']}, expected {version}; remove them to decode them anew"
            raise DatasetError(message, source=folder, stage=what)
        return parse(index)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"not a store of {what} ({error})", source=folder, stage=what) from error
