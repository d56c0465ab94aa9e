"""Images of shapes and what is to be seen in each pixel: a small segmentation task made from nothing.

16x16 pixels: a dark ground, on it a smooth disc and a chequered bar, either of which may hide some of the other. How
bright ground and shapes are differs from image to image, so that texture and outline must tell disc and bar apart.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SIDE = 16
CLASSES = ("ground", "disc", "bar")


def draw_images(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """``n`` images (n, 1, SIDE, SIDE) in -1..1, and (n, 3, SIDE, SIDE) the class of every pixel, one-hot."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]

    def each(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1))

    disc = (y - each(3, 12)) ** 2 + (x - each(3, 12)) ** 2 < each(2.2, 4.2) ** 2
    angle = each(0, np.pi)
    dy, dx = y - each(3, 12), x - each(3, 12)
    along, across = dy * np.sin(angle) + dx * np.cos(angle), dy * np.cos(angle) - dx * np.sin(angle)
    bar = (np.abs(along) < each(4, 7)) & (np.abs(across) < each(1.2, 2.2))
    labels = np.where(disc, 1, 0)
    labels = np.where(bar & (~disc | (each(0, 1) < 0.5)), 2, labels)
    texture = np.where((x + y) % 2 == 0, 1.0, -1.0)
    ground = each(-0.9, -0.3)
    image = np.where(labels == 1, each(0.1, 0.7), np.where(labels == 2, each(0.1, 0.7) + 0.25 * texture, ground))
    image = (image + 0.08 * rng.standard_normal(image.shape)).clip(-1, 1)
    classes = labels[:, None] == np.arange(len(CLASSES))[:, None, None]
    return torch.from_numpy(image[:, None]).float(), torch.from_numpy(classes).float()


def score_masks(found: Tensor, true: Tensor) -> dict[str, float]:
    """``accuracy``: % of pixels whose nearest label is the true one (the paper's nearest colour); ``mse``: mean squared
    error."""
    accuracy = (found.argmax(dim=1) == true.argmax(dim=1)).float().mean()
    return {"accuracy": 100 * float(accuracy), "mse": float((found - true).square().mean())}
