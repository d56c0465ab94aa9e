"""The data sets that :func:`~.opening.open_dataset` knows: each registers itself in the file that loads it."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

from ..errors import CatalogError
from .multitrack import MultiTrack

#: Entry points of this group, ``NAME = module:function``, name functions of other packages that register themselves.
ENTRY_POINTS = "stemfeatures.datasets"

Open = Callable[..., Sequence[MultiTrack]]
T = TypeVar("T", bound=Open)


@dataclass(frozen=True)
class Loader:
    """How a data set is opened.

    Attributes
    ----------
    name : str
        What users call it.
    open : callable
        ``open(root, **options)`` gives its tracks, perhaps none; ``open(root, variant, **options)`` with variants.
    recognised : bool
        Whether the layout can be told from its files: ``open(folder)`` gives no tracks where it is another one.
    has_variants : bool
        Whether it is asked for as ``name:variant``.
    """

    name: str
    open: Open
    recognised: bool = False
    has_variants: bool = False


_loaders: dict[str, Loader] = {}


def register_dataset(name: str, *, recognised: bool = False, has_variants: bool = False) -> Callable[[T], T]:
    """Decorate the function that opens a data set.

    Parameters
    ----------
    name : str
        What users call the data set; no colon.
    recognised : bool
        See :class:`Loader`.
    has_variants : bool
        See :class:`Loader`.

    Returns
    -------
    callable
        The decorator; it gives the function back unchanged.

    Raises
    ------
    ValueError
        There is a data set of that name already.
    """

    def register(function: T) -> T:
        if name in _loaders:
            raise ValueError(f"a data set called {name!r} is registered already")
        _loaders[name] = Loader(name, function, recognised, has_variants)
        return function

    return register


def loaders() -> dict[str, Loader]:
    """Every data set by its name, in the order of the names.

    Returns
    -------
    dict of str to Loader
        Those of this package and those that other packages add by an entry point.

    Raises
    ------
    CatalogError
        A package that adds a data set cannot be imported.
    """
    package = import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{__package__}.{module.name}")
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            raise CatalogError(f"cannot load the data set {point.name!r} ({point.value}): {error}") from error
    return dict(sorted(_loaders.items()))
