"""The separator that fits a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ..models import checkpoints
from .joint import Separator
from .patches import LowRateSeparator
from .unet2017 import Separator2017
from .unet2018 import Separator2018
from .unet2020 import Separator2020


def open_separator(
    model: str | Path = checkpoints.DEFAULT_MODEL, *, device: str = "cpu", batch_size: int = 1
) -> Separator | LowRateSeparator:
    """The separator that fits a checkpoint: four stems of a joint one, two stems of a U-Net of 2017, 2018 or 2020.

    Raises
    ------
    ModelError
        When the checkpoint cannot be used.
    """
    checkpoint = checkpoints.resolve(model)
    architecture = checkpoints.architecture(checkpoint)
    if architecture == "unet2017":
        return Separator2017(checkpoint.path, device=device)
    if architecture == "unet2018":
        return Separator2018(checkpoint.path, device=device)
    if architecture == "unet2020":
        return Separator2020(checkpoint.path, device=device)
    return Separator(checkpoint.path, device=device, batch_size=batch_size)
