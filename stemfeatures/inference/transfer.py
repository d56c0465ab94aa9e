"""Arrays to the device and back, with few waits of one for the other; on a CPU nothing is copied."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def to_device(array: np.ndarray, device: str) -> Tensor:
    """An array on a device; what is at work there is not waited for."""
    tensor = torch.from_numpy(array)
    if not device.startswith("cuda"):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors of float32 as arrays of the same names and shapes, in one copy, as each waits for all work so far.

    Examples
    --------
    >>> to_host({"a": torch.ones(1, 2), "b": torch.zeros(1)})["a"].tolist()
    [[1.0, 1.0]]
    """
    if all(tensor.device.type == "cpu" for tensor in tensors.values()):
        return {name: tensor.numpy() for name, tensor in tensors.items()}
    return unpacked(torch.cat([tensor.reshape(-1) for tensor in tensors.values()]).cpu(), tensors)


def unpacked(flat: Tensor, shapes: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The arrays that stand one behind the other in ``flat``, by name, in the shapes of other tensors."""
    parts = flat.split([tensor.numel() for tensor in shapes.values()])
    return {name: part.reshape(shapes[name].shape).numpy() for name, part in zip(shapes, parts)}
