"""The constants that modules declare, as plain values, and the files that lie beside them."""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Collection, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

#: What data are kept in; other files that lie in a package, as an editor or a patch leaves them, change no value.
_DATA = frozenset({".json", ".gz", ".npz", ".npy", ".safetensors", ".csv", ".txt", ".toml"})


def modules_of(names: Iterable[str]) -> list[ModuleType]:
    """Modules, and for a package all that is in it.

    Parameters
    ----------
    names : iterable of str
        Full names of modules and packages.

    Returns
    -------
    list of module
        Imported, each once.
    """
    modules: dict[str, ModuleType] = {}
    for name in names:
        module = modules[name] = importlib.import_module(name)
        for inner in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            modules[inner.name] = importlib.import_module(inner.name)
    return list(modules.values())


def constants_of(modules: Iterable[ModuleType], *, without: Collection[str] = ()) -> dict[str, list[Any]]:
    """What the modules declare in capitals, as far as it is made of numbers, strings and arrays.

    A constant that is imported elsewhere, or moves to another module, leaves the result as it is.

    Parameters
    ----------
    modules : iterable of module
        Where to look.
    without : collection of str
        Names of constants on which no value depends.

    Returns
    -------
    dict
        ``{name: [value, ...]}`` in the types of JSON, sorted; several values where modules use one name for
        several things.
    """
    found: dict[str, dict[str, Any]] = {}
    for module in modules:
        for name, value in vars(module).items():
            if name.isupper() and name != "TYPE_CHECKING" and name not in without:
                try:
                    plain = _plain(value)
                except TypeError:
                    continue
                found.setdefault(name, {})[json.dumps(plain, sort_keys=True)] = plain
    return {name: [values[text] for text in sorted(values)] for name, values in sorted(found.items())}


def data_files(modules: Iterable[ModuleType]) -> list[Path]:
    """Files that ship in packages beside their modules: weights, tables.

    Parameters
    ----------
    modules : iterable of module
        Of which those that are packages are looked into, without the packages in them.

    Returns
    -------
    list of Path
        Those of a kind that data are kept in, sorted.
    """
    folders = {Path(folder) for module in modules for folder in getattr(module, "__path__", ())}
    return sorted(path for folder in folders for path in folder.iterdir() if path.is_file() and _is_data(path))


def digests_of(paths: Iterable[Path]) -> dict[str, str]:
    """What files hold.

    Parameters
    ----------
    paths : iterable of Path
        With different names.

    Returns
    -------
    dict
        ``{name: SHA-256}``, 64 hex digits each, sorted; wherever the files lie.

    Raises
    ------
    ValueError
        Two of the files have the same name.
    """
    found: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: path.name):
        if path.name in found:
            raise ValueError(f"two files are called {path.name}")
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _is_data(path: Path) -> bool:
    return path.suffix in _DATA and not path.name.startswith(".")


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value), key=repr)
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    raise TypeError(f"{type(value).__name__} is no plain value")
