"""The separator that fits a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import ModelError
from ..models import checkpoints
from ..models.joint import JointNet
from ..models.network import Network, PatchNetwork
from .base import BaseSeparator
from .joint import Separator
from .patches import PatchSeparator

Made = TypeVar("Made", bound=Callable[..., BaseSeparator])

#: Separators by the class of network that they run, subclasses included.
_SEPARATORS: dict[type[Network], Callable[..., BaseSeparator]] = {
    JointNet: Separator,
    PatchNetwork: PatchSeparator,  # type: ignore[type-abstract]
}


def register_separator(network: type[Network]) -> Callable[[Made], Made]:
    """A class decorator: what separates with checkpoints of a network that is no :class:`PatchNetwork`.

    Parameters
    ----------
    network : type
        Class of the network; the decorated separator serves its subclasses too.

    Returns
    -------
    callable
        The decorator. What it decorates is called with a path of a checkpoint and the keywords ``device`` and
        ``batch_size``.
    """

    def register(separator: Made) -> Made:
        _SEPARATORS[network] = separator
        return separator

    return register


def open_separator(
    model: str | Path = checkpoints.DEFAULT_MODEL, *, device: str = "cpu", batch_size: int = 1
) -> BaseSeparator:
    """Open the separator that fits a checkpoint.

    Parameters
    ----------
    model : str or Path, optional
        Name of a checkpoint or path of one.
    device : str, optional
        Torch device.
    batch_size : int, optional
        Segments or patches a forward pass; with 1, results do not depend on the length of blocks to the last bit.

    Returns
    -------
    BaseSeparator
        :class:`~.joint.Separator` for a joint network, :class:`~.patches.PatchSeparator` for one of patches.

    Raises
    ------
    ModelError
        The checkpoint cannot be used, or there is no separator for its network.

    Examples
    --------
    >>> open_separator().stems
    ('vocals', 'drums', 'bass', 'other')
    """
    checkpoint = checkpoints.resolve(model)
    network = checkpoints.network_class(checkpoint)
    made = next((_SEPARATORS[base] for base in network.__mro__ if base in _SEPARATORS), None)
    if made is None:
        message = f"there is no separator for networks of the architecture {network.architecture!r}"
        raise ModelError(message, source=str(checkpoint.path))
    return made(checkpoint.path, device=device, batch_size=batch_size)
