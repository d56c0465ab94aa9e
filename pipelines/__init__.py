"""Dask jobs over the library, and the command line."""

from importlib import import_module
from typing import Any

#: Public names and the modules they come from, imported when first used.
_LAZY = {
    "extract_catalog": "extract",
    "read_catalog": "catalog",
    "validate_catalog": "catalog",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
