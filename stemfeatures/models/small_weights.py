"""Files of the weights of small networks: safetensors, rounded to 16 bits, with words beside the tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from torch import nn

from ..errors import ModelError

Net = TypeVar("Net", bound=nn.Module)


def save_weights(network: nn.Module, path: str | Path, about: Mapping[str, str]) -> None:
    """Write the weights of a network.

    Parameters
    ----------
    network : nn.Module
        Its weights are rounded to 16 bits in the file; counters of batches are left out.
    path : str or Path
        The ``.safetensors`` file.
    about : Mapping[str, str]
        Metadata of the file, from which the network can be built again.
    """
    from safetensors.torch import save_file

    tensors = {name: x.half().contiguous() for name, x in network.state_dict().items() if x.is_floating_point()}
    save_file(tensors, str(path), metadata=dict(about))


def load_weights(path: str | Path, what: str, build: Callable[[dict[str, str]], Net]) -> Net:
    """A network from a file that :func:`save_weights` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    what : str
        What it should be, for the error: ``network of notes``.
    build : Callable[[dict[str, str]], Net]
        Makes the network, with any weights, from the metadata.

    Returns
    -------
    Net
        For inference, in float32.

    Raises
    ------
    ModelError
        The file cannot be read, or is of something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            network = build(file.metadata())
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        counters = {name: x for name, x in network.state_dict().items() if not x.is_floating_point()}
        network.load_state_dict(counters | weights)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"no {what}: {error}", source=str(path), stage="model") from error
    return network.eval()
