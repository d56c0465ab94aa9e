"""Names of a package that are imported when first used, so that importing the package stays instant.

lazy_loader does the same; twenty lines keep the import of this package free of what only librosa brings along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: dict[str, Any], names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (its ``globals()``); ``names`` tells the module of each name."""
    name_of_package = package["__name__"]

    def get(name: str) -> Any:
        if name in names:
            return getattr(import_module(f".{names[name]}", name_of_package), name)
        raise AttributeError(f"module {name_of_package!r} has no attribute {name!r}")

    return get, lambda: sorted({*package, *names})
