"""The table of architectures: the networks that checkpoints and recipes can name.

A row is a name and a class, imported when it is asked for; grid, stems, configuration and tasks are attributes of the
class (:class:`~.network.Network`). Other packages add rows by entry points of the group ``stemfeatures.networks``
(name of the architecture = ``module:class``), scripts by :func:`register`.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, TypeVar

from ..errors import ModelError

if TYPE_CHECKING:
    from .network import Network

    Net = TypeVar("Net", bound=Network)

#: Entry points of other packages.
GROUP = "stemfeatures.networks"
#: Modules of this package and their classes.
_OURS = {
    "joint": ("joint", "JointNet"),
    "unet2017": ("unet2017", "UNet2017Pair"),
    "unet2018": ("unet2018", "UNet2018"),
    "unet2020": ("unet2020", "UNet2020"),
}
_registered: dict[str, type[Network]] = {}


def register(network: type[Net]) -> type[Net]:
    """Add a network to the table, for this process; a class decorator.

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
    if name in _OURS or _registered.get(name, network) is not network:
        raise ValueError(f"there is another network called {name!r}")
    _registered[name] = network
    return network


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
    return tuple(dict.fromkeys([*_OURS, *_registered, *sorted(metadata.entry_points(group=GROUP).names)]))


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
    if name in _OURS:
        module, cls = _OURS[name]
        return getattr(import_module(f".{module}", __package__), cls)
    if name in _registered:
        return _registered[name]
    for point in metadata.entry_points(group=GROUP, name=name):
        try:
            return point.load()
        except Exception as error:
            raise ModelError(f"cannot load the network {name!r} ({point.value}): {error}") from error
    raise ModelError(f"unknown network {name!r}; known: {', '.join(names())}")
