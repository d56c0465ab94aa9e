"""Models that were fitted to generated songs, in files beside the modules that use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from .._util.files import write_replace


def logistic(score: np.ndarray) -> np.ndarray:
    """Probability 0..1 of a score of any shape, as of :math:`1 / (1 + e^{-x})`, which no score makes overflow."""
    return np.asarray(0.5 * (1 + np.tanh(score / 2)))


def stored_model(name: str, features: tuple[str, ...]) -> dict[str, Any]:
    """What a file of this package holds.

    Parameters
    ----------
    name : str
        Of the file.
    features : tuple of str
        Names that its weights must be for, in their order.

    Returns
    -------
    dict
        ``features``, ``weights`` and whatever else is stored.

    Raises
    ------
    ValueError
        The weights are for other features.
    """
    stored: dict[str, Any] = json.loads(files(__package__).joinpath(name).read_text())
    if tuple(stored["features"]) != features:
        raise ValueError(f"{name} is of the features {stored['features']}, expected {features}")
    return stored


def store_model(path: Path, stored: Mapping[str, Any]) -> None:
    """Write what :func:`stored_model` reads, in place of what is there.

    Parameters
    ----------
    path : Path
        File; its folder is made where there is none.
    stored : mapping
        ``features``, ``weights`` and whatever else, in the types of JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_replace(path, (json.dumps(stored, separators=(",", ":")) + "\n").encode())
