"""Files of the weights of small networks: safetensors, rounded to 16 bits, with words beside the tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from torch import nn

from .._util.devices import is_cpu
from ..errors import ModelError
from .fusion import fused

Net = TypeVar("Net", bound=nn.Module)


class SmallNetwork(nn.Module):
    """A network that is kept in such a file, with its card beside it.

    A subclass sets :attr:`kind`, and says in :meth:`about` what :meth:`build` makes it from.
    """

    #: What it is called where a file holds something else.
    kind: ClassVar[str]

    def about(self) -> dict[str, str]:
        """Metadata of the file."""
        raise NotImplementedError

    @classmethod
    def build(cls, about: Mapping[str, str]) -> Self:
        """The network, with any weights, from what :meth:`about` said."""
        raise NotImplementedError

    def save(self, path: str | Path, card: Mapping[str, Any]) -> None:
        """Write weights, rounded to 16 bits, into a safetensors file, and the card beside it (``.json``)."""
        save_weights(self, path, self.about())
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        Path(path).with_suffix(".json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A network from a file that :meth:`save` wrote. Raises ModelError when it is none."""
        return load_weights(path, cls.kind, cls.build)

    @classmethod
    def load_for_inference(cls, path: str | Path, device: str) -> Self:
        """The same on a device, fused where that is a CPU. Raises ModelError when the file is none of these."""
        network = cls.load(path)
        return fused(network, in_place=True) if is_cpu(device) else network.to(device)


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of a network: data, licence, metrics. Raises ModelError when there is none."""
    try:
        return dict(json.loads(Path(path).with_suffix(".json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(f"no card beside it: {error}", source=str(path), stage="model") from error


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
