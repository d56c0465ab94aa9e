"""The network embedding of a row, pooled over the track or step by step, scaled to unit length."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ..frames import FeatureCells, StemFrames


def embedding(stem: StemFrames) -> np.ndarray | None:
    """(n_dims,) float32 of unit L2 norm, so that a dot product is the cosine similarity.

    None when the network gave none, or when it is all zero or not finite and so has no direction.
    """
    if stem.embedding is None:
        return None
    vector = np.asarray(stem.embedding, dtype=np.float64)
    norm = np.linalg.norm(vector)
    return (vector / norm).astype(np.float32) if np.isfinite(norm) and norm > 0 else None


def cell_shares(cells: FeatureCells, edges: np.ndarray) -> csr_array:
    """Which share of each cell lies in each step.

    Parameters
    ----------
    cells : FeatureCells
        Of a track.
    edges : (n_steps + 1,) ndarray
        Increasing edges of the steps, in frames; from 0 to the end of the track.

    Returns
    -------
    (n_steps, n_cells) csr_array
        Each column sums to 1: what of a cell lies before the first edge or behind the last does not count.
    """
    n_steps, n_cells = len(edges) - 1, len(cells.first)
    # A frame reaches half a frame to both sides of its centre.
    start = np.clip(cells.first - 0.5, edges[0], edges[-1])
    stop = np.clip(cells.first + cells.stride - 0.5, start, edges[-1])
    low = np.clip(np.searchsorted(edges, start, side="right") - 1, 0, n_steps - 1)
    high = np.maximum(np.searchsorted(edges, stop, side="left"), low + 1)
    count = high - low
    cell = np.repeat(np.arange(n_cells), count)
    step = np.arange(len(cell)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    inside = np.minimum(stop[cell], edges[step + 1]) - np.maximum(start[cell], edges[step])
    # A cell that begins with the end of the track is of the last step.
    share = np.where((stop - start)[cell] > 0, inside / np.maximum((stop - start)[cell], 1e-12), 1.0)
    return csr_array((share, (step, cell)), shape=(n_steps, n_cells))


def step_embeddings(cells: FeatureCells, row: int, edges: np.ndarray) -> np.ndarray:
    """Vectors of consecutive steps: the moments of the track's vector, of the cells in a step.

    Parameters
    ----------
    cells : FeatureCells
        Of a track.
    row : int
        Number of the row.
    edges : (n_steps + 1,) ndarray
        As for :func:`cell_shares`.

    Returns
    -------
    (n_steps, n_dims) ndarray of float32
        Of unit length; zeros where a step has no weight. The moments of all steps add up to those of the track.
    """
    shares = cell_shares(cells, edges)
    weight = (shares @ cells.weight[row].astype(np.float64))[:, None]
    known = weight > 0
    mean, square = (
        shares @ values[row].T.astype(np.float64) / np.where(known, weight, 1.0)
        for values in (cells.sums, cells.squares)
    )
    vectors = np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0.0))], axis=1)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(known & (norm > 0), vectors / np.where(norm > 0, norm, 1.0), 0.0).astype(np.float32)
