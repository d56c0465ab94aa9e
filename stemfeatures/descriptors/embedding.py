"""The pooled network embedding of a row, scaled to unit length."""

from __future__ import annotations

import numpy as np

from ..frames import StemFrames


def embedding(stem: StemFrames) -> np.ndarray | None:
    """(n_dims,) float32 of unit L2 norm, so that a dot product is the cosine similarity.

    None when the network gave none, or when it is all zero or not finite and so has no direction.
    """
    if stem.embedding is None:
        return None
    vector = np.asarray(stem.embedding, dtype=np.float64)
    norm = np.linalg.norm(vector)
    return (vector / norm).astype(np.float32) if np.isfinite(norm) and norm > 0 else None
