"""From the Gaussians of speech half the way to those of separated singing.

One transform of the means, the same for all songs, as :mod:`.adaptation` finds one for each: the first alignment, which
that is found from, begins with it. :mod:`.train_singing` makes the shipped one from generated songs.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from .acoustic_model import AcousticModel
from .adaptation import moved

SHIPPED = Path(__file__).parent / "singing.json.gz"


def singing_model(model: AcousticModel) -> AcousticModel:
    """The model as it begins to look for sung words; silence and noises are as they were."""
    return moved(model, _shipped())


def _shipped() -> np.ndarray:
    with gzip.open(SHIPPED, "rt", encoding="ascii") as file:
        return np.array(json.load(file)["transform"])
