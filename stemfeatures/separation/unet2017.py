"""Vocals and accompaniment by the U-Net of 2017, on its own grid, for signals of any length, rate and channels.

Every channel is resampled to 8,192 Hz. Masks are estimated from the mean of the channels, in patches of 128 frames
that overlap by half, of which the middle is used (the paper does not say how its patches meet), and applied to every
channel with the mixture's phase. Each stem is what its own network estimates: the two need not sum to the mixture, and
nothing of it above 4,096 Hz is in either. Hop 768 of 1024 leaves masks with some amplitude modulation at the frame
rate of 10.7 Hz; that is the paper's choice and stays.
"""

from __future__ import annotations

from ..models import checkpoints
from ..models.unet2017 import UNet2017Pair
from .patches import LowRateSeparator, Patches


class Separator2017(LowRateSeparator):
    """Separates with a checkpoint of the 2017 U-Net, see the module's docstring and :class:`LowRateSeparator`."""

    load = staticmethod(checkpoints.load_unet2017)
    unet: UNet2017Pair

    def patches(self) -> Patches:
        return Patches(lambda magnitude: self.unet(magnitude[None])[0])
