"""Columns of a feature matrix that become coordinates together, and how they are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..fields import LINEAR, Scale
from .columns import CUSTOM, SEPARATOR, TRUST, family_of, scale_of, split_column, trust_column

#: Interquartile range, and range from the 5th to the 95th percentile, of a normal distribution of deviation 1.
_IQR_OF_NORMAL, _P90_OF_NORMAL = 1.3489795, 3.2897073
#: Where tempi that are known up to their octave come back: from here to twice as much.
_LOWEST_OF_OCTAVE = 80.0
#: Relative spread below which a column is constant but for rounding.
_TINY = 1e-6


@dataclass
class ColumnGroup:
    """One or more input columns that are turned into coordinates together.

    Attributes
    ----------
    block : tuple[str, str]
        ``(stem, family)``.
    inputs : list of int
        Columns of the matrix.
    strength : int
        Column that weighs the point, -1 for none.
    names : list of str
        Of the coordinates.
    scaling : Scale
        How columns become coordinates.
    centre : (n_coordinates,) ndarray or float
        Subtracted from the coordinates.
    scale : float
        What they are divided by then.
    trust : int
        Column with the signal-to-distortion ratio of the stem in dB, by which the scaled coordinates are weighed; -1
        for none.
    """

    block: tuple[str, str]
    inputs: list[int]
    strength: int
    names: list[str]
    scaling: Scale
    centre: np.ndarray | float = 0.0
    scale: float = 1.0
    trust: int = -1

    def coordinates(self, X: np.ndarray) -> np.ndarray:
        """(n_rows, n_coordinates) float64, NaN where anything needed is null."""
        values = X[:, self.inputs].astype(np.float64)
        how = self.scaling
        if how.kind == "log":
            values = np.log2(np.maximum(values, how.floor))
        elif how.kind == "log1p":
            values = np.log2(1 + np.maximum(values, 0))
        elif how.kind == "sqrt":
            values = np.sqrt(np.maximum(values, 0))
        elif how.kind == "circular":
            turns = np.log2(np.maximum(values, 1e-9)) if how.octaves else values / how.period
            values = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=1)
        elif how.kind == "direction":
            values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        elif how.kind == "sign":
            values = 2 * values - 1
        if self.strength >= 0:
            values *= np.clip(X[:, [self.strength]], 0, 1)
        return values

    def scaled(self, X: np.ndarray, clip: float | None) -> np.ndarray:
        return self.rescaled(self.coordinates(X), clip)

    def trusted(self, X: np.ndarray) -> np.ndarray | float:
        """(n_rows, 1) weights of the scaled coordinates, 0..1; 1 where nothing says how far the stem can be trusted.

        A value that is the true one and an error, whose variances are as r to 1, is likeliest r / (1 + r) of its
        distance from the mean away from it (the regression of the true value on the measured one, which is also the
        gain of a Wiener filter).
        """
        if self.trust < 0:
            return 1.0
        ratio = 10 ** (X[:, [self.trust]].astype(np.float64) / 10)
        return np.nan_to_num(ratio / (1 + ratio), nan=1.0)

    def rescaled(self, values: np.ndarray, clip: float | None) -> np.ndarray:
        values = (values - self.centre) / self.scale
        return values if clip is None else np.clip(values, -clip, clip)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """(n_rows, n_inputs) columns from scaled coordinates. A strength cannot be told from what it weighs and counts
        as 1; points on a circle come back as angles, a tempo in the octave from 80."""
        values = values * self.scale + self.centre
        how = self.scaling
        if how.kind == "log":
            return np.exp2(values)
        if how.kind == "log1p":
            return np.maximum(np.exp2(values) - 1, 0)
        if how.kind == "sqrt":
            return np.square(np.maximum(values, 0))
        if how.kind == "circular":
            half = values.shape[1] // 2
            turns = np.arctan2(values[:, half:], values[:, :half]) / (2 * np.pi)
            if how.octaves:
                lowest = np.log2(_LOWEST_OF_OCTAVE)
                return np.exp2(turns + np.ceil(lowest - turns))
            turns = np.where(turns > 0.5, turns - 1, turns)
            return turns * how.period
        if how.kind == "direction":
            return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        if how.kind == "sign":
            return (values + 1) / 2
        return values

    def missing(self, X: np.ndarray) -> np.ndarray:
        """(n_rows,) bool: rows for which there are no coordinates."""
        used = [*self.inputs, self.strength] if self.strength >= 0 else self.inputs
        return np.isnan(X[:, used]).any(axis=1)

    def power(self, X: np.ndarray, clip: float | None) -> float:
        """Mean sum of squares of the scaled and weighed coordinates of rows without null."""
        return float(np.mean(np.sum(np.square(self.scaled(X, clip) * self.trusted(X)), axis=1)))


@dataclass
class Indicator:
    """A coordinate that is ``height`` where ``groups`` are null, and 0 where they are not."""

    name: str
    block: tuple[str, str]
    groups: list[ColumnGroup]
    height: float

    def column(self, X: np.ndarray) -> np.ndarray:
        return self.height * np.mean([group.missing(X) for group in self.groups], axis=0)


def block_of(name: str) -> tuple[str, str]:
    """Stem and family of a matrix column."""
    stem, field = split_column(name)
    return stem, family_of(field)


def column_groups(names: list[str]) -> Iterator[ColumnGroup]:
    """The groups of a matrix with these columns."""
    place = {name: j for j, name in enumerate(names)}
    vectors: dict[tuple[str, str], ColumnGroup] = {}
    for j, name in enumerate(names):
        stem, field = split_column(name)
        block = block_of(name)
        how = scale_of(field) if block[1] != CUSTOM else LINEAR
        if how.kind == "duration" or field == TRUST:
            continue
        if how.vector and (vector := vectors.get((stem, how.vector))) is not None:
            vector.inputs.append(j)
            vector.names.append(name)
            continue
        strength = place.get(f"{stem}{SEPARATOR}{how.strength}" if stem else how.strength, -1)
        outputs = [f"{name}_cos", f"{name}_sin"] if how.kind == "circular" else [name]
        trust = place.get(trust_column(stem), -1) if stem else -1
        group = ColumnGroup(block, [j], strength if how.strength else -1, outputs, how, trust=trust)
        if how.vector:
            vectors[stem, how.vector] = group
            # Its other members follow, and are added to what is yielded at the end.
            continue
        yield group
    yield from vectors.values()


def fit_scale(group: ColumnGroup, values: np.ndarray) -> bool:
    """Centre and scale of the coordinates, from rows without null; False when there is nothing to scale."""
    if len(values) == 0:
        return False
    if group.scaling.vector or len(group.names) > 1:
        circle = group.scaling.kind == "circular"
        spread = float(np.sqrt(np.mean(np.var(values, axis=0))))
        group.centre = 0.0 if circle else values.mean(axis=0)
        group.scale = float(np.sqrt(np.mean(np.square(values - group.centre))))
        size = float(np.sqrt(np.mean(np.square(values))))
    else:
        least, low, middle, high, most = np.percentile(values, [5, 25, 50, 75, 95])
        spread, size = float(np.std(values)), float(np.max(np.abs(values)))
        group.centre = float(middle)
        # Where most tracks share one value, as vibrato_ratio 0, the quartiles say nothing; then wider ranges do.
        noise = _TINY * max(abs(low), abs(high))
        scales = ((high - low) / _IQR_OF_NORMAL, (most - least) / _P90_OF_NORMAL, spread)
        group.scale = float(next((scale for scale in scales if scale > noise), spread))
    return bool(np.isfinite(spread) and spread > _TINY * size)
