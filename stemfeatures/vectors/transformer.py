"""A scikit-learn transformer from feature matrices to vectors whose Euclidean distances mean something.

Notes
-----
Columns come in blocks, one a stem and family (see :mod:`.columns`). What happens to them:

1. *Coordinates.* Each column becomes one coordinate or, on a circle, two.
2. *Robust scaling.* Scalars: less the median, over the interquartile range (1.349 standard deviations of a normal
   distribution), limited to ``clip``. Vectors (pitch classes, embeddings): less the mean, over their common root mean
   square; points on circles are not centred.
3. *Nulls.* What cannot be measured becomes 0, the middle of what can, so it adds as little as possible to distances.
   With ``missing="distance"``, coordinates that are null together also get an indicator, high enough that a track
   without drums is as far from a track with drums as two random tracks with drums are from one another, and no
   distance at all from another one without.
4. *Whitening* (on demand) takes the correlations inside each block out (ZCA with Ledoit-Wolf shrinkage), so that
   distances in it are Mahalanobis distances. Coordinates keep their names.
5. *Balance.* Each block is scaled to a total variance of 1/2, times the square of its weights: two random tracks are
   1 apart (root mean square) in each block of weight 1, however many columns it has.
6. *Trust.* Where the matrix says how far a separated stem can be trusted (``<stem>__separation_sdr_db``, which is no
   coordinate), the coordinates of the stem are shrunk towards the middle: a signal-to-distortion ratio of ``r`` leaves
   ``r / (1 + r)`` of them. Blocks are balanced before that, so that a stem of which little can be trusted in most
   tracks has less of a voice.
7. *PCA* (on demand) of all of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from .blocks import ColumnGroup, Indicator, block_of, column_groups, fit_scale
from .columns import SEPARATOR, TRUST, split_column

#: Values that are worked on at a time; bounds the memory beside input and output.
_CHUNK_VALUES = 2**23


class UnusableFeatureWarning(UserWarning):
    """Columns that are null or constant in all tracks say nothing and were left out."""


class FeatureTransformer(TransformerMixin, BaseEstimator):
    """Item features ready for distances, clustering and networks; for frames of :func:`~.matrix.features_matrix`.

    Works for any DataFrame or array of numbers: columns that no table knows are scaled robustly, nothing else. Columns
    that are null or constant in all tracks are left out with an :class:`UnusableFeatureWarning`; those that only say
    how long a track is (``onset_count``) are left out always. The steps are told in the module's text.

    Parameters
    ----------
    weights : mapping, optional
        Factors of distances by stem, family or block (``{"drums": 2, "timbre": 0.5, "vocals__f0": 3}``; they multiply);
        0 leaves out.
    missing : str
        ``"distance"``: to lack something is a difference; ``"neutral"``: it is none.
    clip : float or None
        Scaled values are limited to so many standard deviations; None for no limit.
    whiten : bool
        Take the correlations inside each block out.
    n_components : int or float, optional
        Number of principal components of the result, or the share of the variance they keep if it is below 1; None for
        no PCA.

    Attributes
    ----------
    blocks_ : dict
        By ``(stem, family)`` the slice of the output columns; one block ``("", "pca")`` with PCA.
    columns_ : list of str
        The input column (of several, the first) that each output column comes from; ``""`` for principal
        components.
    mean_, variance_ : (n_out,) ndarray of float64
        Of the output columns on the data it was fitted to.
    unusable_ : list of str
        Input columns that were null or constant.
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Names of the input columns.

    Examples
    --------
    >>> from stemfeatures import features_matrix
    >>> X = features_matrix("features", stems=["bass", "drums"])
    >>> transformer = FeatureTransformer(weights={"timbre": 0.5}).set_output(transform="pandas")
    >>> vectors = transformer.fit_transform(X)
    >>> len(vectors), bool(vectors.isna().any().any())
    (24, False)
    """

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        missing: str = "distance",
        clip: float | None = 5.0,
        whiten: bool = False,
        n_components: int | float | None = None,
    ) -> None:
        self.weights = weights
        self.missing = missing
        self.clip = clip
        self.whiten = whiten
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> FeatureTransformer:
        """Learn the scales of columns.

        Parameters
        ----------
        X : array-like
            (n_tracks, n_columns), NaN for null.
        y : object, optional
            Ignored; what scikit-learn's pipelines pass.

        Returns
        -------
        FeatureTransformer
            The same object.

        Raises
        ------
        ValueError
            Fewer than two rows, infinities, unknown weights, or no column that varies.
        """
        self._check_parameters()
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan", ensure_min_samples=2)
        names = [str(n) for n in getattr(self, "feature_names_in_", [f"x{j}" for j in range(X.shape[1])])]
        factors = self._factors(names)
        groups, self.unusable_, nulls, powers = [], [], [], []
        for group in column_groups(names):
            if factors[group.block] == 0:
                continue
            missing = group.missing(X)
            values = group.coordinates(X)[~missing]
            if fit_scale(group, values):
                groups.append(group)
                nulls.append(missing)
                powers.append(group.power(X[~missing], self.clip) if missing.any() else 0.0)
            else:
                self.unusable_ += [names[j] for j in group.inputs]
        if not groups:
            raise ValueError(f"no column varies among the {X.shape[0]} samples: there is nothing to tell tracks apart")
        if self.unusable_:
            some = ", ".join(self.unusable_[:5]) + (", ..." if self.unusable_[5:] else "")
            message = f"columns that are null or constant in all tracks are left out ({len(self.unusable_)}): {some}"
            warnings.warn(message, UnusableFeatureWarning, stacklevel=2)
        self._layout(groups, self._indicators(groups, nulls, powers, names), names)
        self._fit_blocks(X, factors)
        return self

    def inverse_transform(self, X: Any) -> Any:
        """Turn vectors back into columns, as far as they hold them.

        Parameters
        ----------
        X : array-like
            (n_tracks, n_out) vectors, such as the centre of a cluster.

        Returns
        -------
        np.ndarray or DataFrame
            (n_tracks, n_columns) in the units of the tables, a DataFrame if it was fitted to one. NaN where the vector
            says that nothing was measured, and in columns that are not in vectors (left out, or only the strength of
            others). Trust counts as whole. Clipped values come back at the limit, a tempo in the octave from 80 bpm, a
            direction with length 1, ``key_minor`` the nearer to 0.5 the weaker the key; principal components bring
            back what they kept.
        """
        check_is_fitted(self)
        values = np.asarray(X, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.mean_):
            raise ValueError(f"expected vectors of {len(self.mean_)} numbers, not an array of shape {values.shape}")
        if self.n_components is not None:
            values = values @ self._pca_axes.T + self._pca_mean
        values = values @ np.linalg.pinv(self._mixing) if self._mixing.ndim == 2 else values / self._mixing
        out = np.full((len(values), self.n_features_in_), np.nan)
        for source, columns in self._steps:
            if not isinstance(source, Indicator):
                out[:, source.inputs] = source.inverse(values[:, columns])
        for source, columns in self._steps:
            if isinstance(source, Indicator):
                missing = values[:, columns.start] > source.height / 2
                for group in source.groups:
                    out[np.flatnonzero(missing)[:, None], group.inputs] = np.nan
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            return out
        import pandas as pd

        return pd.DataFrame(out, columns=names, index=getattr(X, "index", None))

    def transform(self, X: Any) -> np.ndarray:
        """Turn columns into vectors.

        Parameters
        ----------
        X : array-like
            (n_tracks, n_columns), NaN for null; the columns of :meth:`fit`. Those of a feature matrix
            (``<stem>__<field>``) are found by name, in any order, among others.

        Returns
        -------
        np.ndarray
            (n_tracks, n_out) vectors of the dtype of ``X``, without NaN.
        """
        check_is_fitted(self)
        names = list(getattr(self, "feature_names_in_", ()))
        # Of columns that only look like numbers of a matrix, scikit-learn's own rule holds: their order is theirs.
        if names and all(SEPARATOR in name for name in names) and set(names) <= set(getattr(X, "columns", ())):
            X = X[names]
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan", reset=False)
        out = np.empty((X.shape[0], len(self.mean_)), X.dtype)
        for rows, values in self._assembled(X):
            values = values @ self._mixing if self._mixing.ndim == 2 else values * self._mixing
            if self.n_components is not None:
                values = (values - self._pca_mean) @ self._pca_axes
            out[rows] = values
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the output columns.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the input columns, where ``X`` had none.

        Returns
        -------
        np.ndarray
            The input's names, with ``_cos`` and ``_sin`` on circles, ``missingindicator_...`` (of the first of the
            columns that are null together), or ``pca0`` and so on.
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features)
        return np.asarray(self._names_out, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # ------------------------------------------------------------------------------------------------- inside fit

    def _check_parameters(self) -> None:
        if self.missing not in ("distance", "neutral"):
            raise ValueError(f"missing must be 'distance' or 'neutral', not {self.missing!r}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be above 0 or None, not {self.clip!r}")
        if self.n_components is not None and not self.n_components > 0:
            raise ValueError(f"n_components must be above 0 or None, not {self.n_components!r}")

    def _factors(self, names: list[str]) -> dict[tuple[str, str], float]:
        """Weight of each block; ValueError for weights of what there is not."""
        blocks = list(dict.fromkeys(block_of(name) for name in names if split_column(name)[1] != TRUST))
        factors = dict.fromkeys(blocks, 1.0)
        for key, weight in (self.weights or {}).items():
            hit = [b for b in blocks if key in (*b, SEPARATOR.join(b))]
            if not hit or not weight >= 0:
                what = f"weight {weight!r} of {key!r} is not a number from 0" if hit else f"no columns of {key!r}"
                there = ", ".join(SEPARATOR.join(b) if b[0] else b[1] for b in blocks)
                raise ValueError(f"weights: {what}; there are: {there}")
            for block in hit:
                factors[block] *= weight
        return factors

    def _indicators(
        self, groups: list[ColumnGroup], nulls: list[np.ndarray], powers: list[float], names: list[str]
    ) -> list[Indicator]:
        """One for all groups of a block that are null in the same rows."""
        alike: dict[tuple[tuple[str, str], bytes], list[int]] = {}
        for i, (group, null) in enumerate(zip(groups, nulls)):
            if self.missing == "distance" and null.any():
                alike.setdefault((group.block, np.packbits(null).tobytes()), []).append(i)
        indicators = []
        for (block, _), members in alike.items():
            some = [groups[i] for i in members]
            power = sum(powers[i] for i in members)
            name = f"missingindicator_{names[some[0].inputs[0]]}"
            indicators.append(Indicator(name, block, some, float(np.sqrt(power))))
        return indicators

    def _layout(self, groups: list[ColumnGroup], indicators: list[Indicator], names: list[str]) -> None:
        """Output columns in order: block by block, its coordinates, then its indicators."""
        self._steps: list[tuple[ColumnGroup | Indicator, slice]] = []
        self.blocks_: dict[tuple[str, str], slice] = {}
        self._n_indicators: dict[tuple[str, str], int] = {}
        self._names_out: list[str] = []
        self.columns_: list[str] = []
        for block in dict.fromkeys(group.block for group in groups):
            start = len(self._names_out)
            for group in (g for g in groups if g.block == block):
                self._steps.append((group, slice(len(self._names_out), len(self._names_out) + len(group.names))))
                self._names_out += group.names
                sources = group.inputs if len(group.inputs) > 1 else group.inputs * len(group.names)
                self.columns_ += [names[j] for j in sources]
            for indicator in (i for i in indicators if i.block == block):
                self._steps.append((indicator, slice(len(self._names_out), len(self._names_out) + 1)))
                self._names_out.append(indicator.name)
                self.columns_.append(names[indicator.groups[0].inputs[0]])
            self.blocks_[block] = slice(start, len(self._names_out))
            self._n_indicators[block] = sum(i.block == block for i in indicators)

    def _assembled(self, X: np.ndarray, *, weighed: bool = True) -> Iterator[tuple[slice, np.ndarray]]:
        """Scaled coordinates without NaN, ``weighed`` by trust, float64, a bounded number of rows at a time."""
        width = self._steps[-1][1].stop
        step = max(1, _CHUNK_VALUES // max(width, X.shape[1]))
        for start in range(0, X.shape[0], step):
            rows = slice(start, min(start + step, X.shape[0]))
            values = np.empty((rows.stop - start, width))
            for source, columns in self._steps:
                if isinstance(source, Indicator):
                    values[:, columns.start] = source.column(X[rows])
                else:
                    scaled = source.scaled(X[rows], self.clip)
                    if weighed:
                        scaled *= source.trusted(X[rows])
                    scaled[source.missing(X[rows])] = 0.0
                    values[:, columns] = scaled
            yield rows, values

    def _fit_blocks(self, X: np.ndarray, factors: dict[tuple[str, str], float]) -> None:
        """Whitening, balance and PCA, from the covariances of the scaled coordinates."""
        wide = self.whiten or self.n_components is not None
        mean, scatter, shrinkage = self._moments(X, wide=wide, weighed=False)
        self._mixing = mixing = self._mixed(scatter, shrinkage, factors)
        if any(isinstance(source, ColumnGroup) and source.trust >= 0 for source, _ in self._steps):
            mean, scatter, _ = self._moments(X, wide=wide, weighed=True)
        if wide:
            mixer = mixing if self.whiten else np.diag(mixing)
            scatter = mixer @ scatter @ mixer
            mean = mean @ mixer
        else:
            scatter, mean = scatter * mixing**2, mean * mixing
        self.mean_, self.variance_ = mean, np.diag(scatter).copy() if wide else scatter
        if self.n_components is not None:
            self._fit_pca(scatter)

    def _measured(self) -> dict[tuple[str, str], slice]:
        """The columns of each block without its indicators."""
        return {b: slice(s.start, s.stop - self._n_indicators[b]) for b, s in self.blocks_.items()}

    def _moments(
        self, X: np.ndarray, *, wide: bool, weighed: bool
    ) -> tuple[np.ndarray, np.ndarray, dict[tuple[str, str], float]]:
        """Mean and covariances (variances alone unless ``wide``) of the scaled coordinates, and Ledoit and Wolf's
        shrinkage of each block where they are whitened."""
        width = len(self._names_out)
        mean, scatter, n = np.zeros(width), np.zeros((width, width) if wide else width), X.shape[0]
        shift: np.ndarray | None = None
        shrinkage: dict[tuple[str, str], float] = {}
        for _, values in self._assembled(X, weighed=weighed):
            if shift is None:
                shift = values.mean(axis=0)  # near the mean, so that the differences below lose no digits
                if self.whiten:
                    shrinkage = {b: ledoit_wolf_shrinkage(values[:, s]) for b, s in self._measured().items()}
            values = values - shift
            mean += values.sum(axis=0) / n
            scatter += (values.T @ values if wide else np.square(values).sum(axis=0)) / n
        scatter -= np.outer(mean, mean) if wide else np.square(mean)
        return mean + (0.0 if shift is None else shift), scatter, shrinkage

    def _mixed(
        self, scatter: np.ndarray, shrinkage: dict[tuple[str, str], float], factors: dict[tuple[str, str], float]
    ) -> np.ndarray:
        """What coordinates are multiplied by: a matrix that whitens, or a number each."""
        width = len(scatter)
        mixing = np.zeros((width, width)) if self.whiten else np.zeros(width)
        for block, s in self.blocks_.items():
            variance = np.diag(scatter)[s] if scatter.ndim == 2 else scatter[s]
            factor = factors[block] / np.sqrt(2 * variance.sum())
            if not self.whiten:
                mixing[s] = factor
                continue
            m = self._measured()[block]
            inner = _zca(scatter[m, m], shrinkage[block])
            # The total variance stays what it was, so that the indicators keep their height among the others.
            inner *= np.sqrt(np.trace(scatter[m, m]) / np.trace(inner @ scatter[m, m] @ inner))
            mixing[m, m], mixing[range(m.stop, s.stop), range(m.stop, s.stop)] = inner * factor, factor
        return mixing

    def _fit_pca(self, covariance: np.ndarray) -> None:
        variances, axes = np.linalg.eigh(covariance)
        variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
        shares = np.cumsum(variances) / variances.sum()
        most = int(np.count_nonzero(variances > variances[0] * 1e-12))
        assert self.n_components is not None
        wanted = int(self.n_components if self.n_components >= 1 else np.searchsorted(shares, self.n_components) + 1)
        keep = min(wanted, most)
        # An axis and its opposite are the same: the largest entry decides the sign.
        signs = np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(axes.shape[1])])
        self._pca_mean, self._pca_axes = self.mean_, (axes * signs)[:, :keep]
        self.explained_variance_ratio_ = variances[:keep] / variances.sum()
        self.mean_, self.variance_ = np.zeros(keep), variances[:keep]
        self._names_out, self.columns_ = [f"pca{k}" for k in range(keep)], [""] * keep
        self.blocks_ = {("", "pca"): slice(0, keep)}


def _zca(covariance: np.ndarray, shrinkage: float) -> np.ndarray:
    """Symmetric inverse square root of the shrunk covariance."""
    width = len(covariance)
    target = np.trace(covariance) / width
    shrunk = (1 - shrinkage) * covariance + (shrinkage + 1e-6) * target * np.eye(width)
    variances, axes = np.linalg.eigh(shrunk)
    return (axes / np.sqrt(variances)) @ axes.T
