"""Spleeter (Hennequin, Khlif, Voituret and Moussallam, JOSS 2020); needs TensorFlow."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import numpy as np

from ...audio import file_sha256
from ..external import Tool, in_stereo

DEFAULT = "4stems"
_RATE = 44_100


def load(model: str | None, *, device: str = "cpu") -> Tool:
    """Load Spleeter.

    Parameters
    ----------
    model : str or None
        ``2stems``, ``4stems`` or ``5stems``.
    device : str, optional
        Not looked at: TensorFlow chooses.

    Returns
    -------
    Tool
        The separator.
    """
    from spleeter.model.provider import ModelProvider
    from spleeter.separator import Separator

    name = (model or DEFAULT).removeprefix("spleeter:")
    separator = Separator(f"spleeter:{name}", multiprocess=False)
    folder = Path(ModelProvider.default().get(name.partition("-")[0]))

    def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
        return {stem: np.asarray(y).T for stem, y in separator.separate(stereo.T).items()}

    def separate(y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        return in_stereo(y, sample_rate, _RATE, run)

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256("".join(f"{p.relative_to(folder)} {file_sha256(p)}\n" for p in files).encode())
    return Tool(separate, (), metadata.version("spleeter"), digest.hexdigest())
