"""The table of architectures: the networks that checkpoints and recipes can name.

A network registers itself in the file that defines it (:func:`register`); the files of this package are found by
themselves. Grid, stems, configuration and tasks are attributes of the class (:class:`~.network.Network`). Other
packages add networks by entry points of the group ``stemfeatures.networks`` (name of the architecture =
``module:class``), scripts by :func:`register` alone.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module, metadata
from typing import TYPE_CHECKING, TypeVar

from ..errors import ModelError

if TYPE_CHECKING:
    from .network import Network

    Net = TypeVar("Net", bound=Network)

#: Entry points of other packages.
GROUP = "stemfeatures.networks"
_registered: dict[str, type[Network]] = {}


def register(network: type[Net]) -> type[Net]:
    """Add a network to the table; a class decorator.

    Parameters
    ----------
    network : type
        Subclass of :class:`~.network.Network`.

    Returns
    -------
    type
        The same class.

    Raises
    ------
    ValueError
        The name of its architecture is taken by another class.
    """
    name = network.architecture
    if not network.__module__.startswith(f"{__package__}."):
        _import_ours()  # whose names are taken
    if _registered.setdefault(name, network) is not network:
        raise ValueError(f"there is another network called {name!r}")
    return network


def _import_ours() -> None:
    """Import the modules of this package, so that the networks in them are registered."""
    package = import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{__package__}.{module.name}")


def names() -> tuple[str, ...]:
    """Names of all architectures.

    Returns
    -------
    tuple of str
        Those of this package first.

    Examples
    --------
    >>> names()[:4]
    ('joint', 'unet2017', 'unet2018', 'unet2020')
    """
    _import_ours()
    ours = sorted(name for name, network in _registered.items() if network.__module__.startswith(f"{__package__}."))
    return tuple(dict.fromkeys([*ours, *_registered, *sorted(metadata.entry_points(group=GROUP).names)]))


def find(name: str) -> type[Network]:
    """The class of an architecture.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    type
        Subclass of :class:`~.network.Network`.

    Raises
    ------
    ModelError
        There is none of that name, or the package that it is of cannot be imported.

    Examples
    --------
    >>> find("unet2018").grid
    Grid(sample_rate=8192, n_fft=512, hop_length=256)
    """
    _import_ours()
    if name in _registered:
        return _registered[name]
    for point in metadata.entry_points(group=GROUP, name=name):
        try:
            return point.load()
        except Exception as error:
            raise ModelError(f"cannot load the network {name!r} ({point.value}): {error}") from error
    raise ModelError(f"unknown network {name!r}; known: {', '.join(names())}")
