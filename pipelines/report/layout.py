"""Where tracks lie on the map: embeddings of a stem in two dimensions."""

from __future__ import annotations

import numpy as np

#: t-SNE lays out so many tracks; more of them go where their nearest neighbours among these lie.
LAID_OUT = 2000
#: Of its steps, half of the usual ones: neighbours are kept as well (trustworthiness 0.997), in half of the time.
_STEPS = 500
_DIMENSIONS = 30
_NEIGHBOURS = 5


def two_dimensions(vectors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Lay vectors out on a plane, those near each other by cosine distance near each other.

    Parameters
    ----------
    vectors : (n, n_dims) ndarray
        Embeddings.
    seed : int, optional
        Of the choice of the tracks that t-SNE lays out.

    Returns
    -------
    (n, 2) ndarray of float32
        Positions in -1..1. t-SNE (van der Maaten and Hinton 2008) of principal components; of more than
        :data:`LAID_OUT` vectors a random sample, and the others at the mean of their nearest in it.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.neighbors import NearestNeighbors

    n = len(vectors)
    if n < 3:
        return np.linspace(-0.5, 0.5, 2 * n, dtype=np.float32).reshape(n, 2)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    reduced = PCA(min(_DIMENSIONS, n - 1, unit.shape[1]), random_state=seed).fit_transform(unit)
    chosen = np.arange(n)
    if n > LAID_OUT:
        chosen = np.sort(np.random.default_rng(seed).choice(n, LAID_OUT, replace=False))
    perplexity = max(1.0, min(30.0, (len(chosen) - 1) / 3))
    init = "pca" if reduced.shape[1] > 1 else "random"
    tsne = TSNE(2, init=init, perplexity=perplexity, max_iter=_STEPS, random_state=seed)
    placed = np.zeros((n, 2))
    placed[chosen] = tsne.fit_transform(reduced[chosen])
    others = np.setdiff1d(np.arange(n), chosen)
    if len(others):
        nearest = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(reduced[chosen])
        placed[others] = placed[chosen[nearest.kneighbors(reduced[others], return_distance=False)]].mean(axis=1)
    placed -= (placed.max(axis=0) + placed.min(axis=0)) / 2
    return (placed / max(float(np.abs(placed).max()), 1e-12)).astype(np.float32)
