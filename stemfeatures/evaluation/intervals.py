"""How sure an average over tracks is, when tracks of one artist or singer are alike.

Clips of the same singer are no independent draws: 52 clips of three singers say what three singers do. The interval is
that of a mean with cluster-robust variance (Liang and Zeger, Biometrika 1986): deviations are summed within a group
before they are squared, and Student's t has one degree of freedom less than there are groups.
"""

from __future__ import annotations

import numpy as np

#: Share of the samples whose interval holds the mean of the population.
CONFIDENCE = 0.95


def half_width(values: np.ndarray, groups: np.ndarray) -> float:
    """Half the confidence interval of ``values.mean()``.

    Parameters
    ----------
    values : numpy.ndarray
        ``(n,)`` scores.
    groups : numpy.ndarray
        ``(n,)`` what each belongs to: names of artists, singers or songs.

    Returns
    -------
    float
        In the unit of the values; NaN with fewer than two groups, or where a value is not finite.
    """
    from scipy.stats import t

    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        return float("nan")
    _, member = np.unique(np.asarray(groups, str), return_inverse=True)
    count = int(member.max(initial=-1)) + 1
    if count < 2:
        return float("nan")
    sums = np.bincount(member, weights=values - values.mean(), minlength=count)
    variance = count / (count - 1) * float(np.square(sums).sum()) / len(values) ** 2
    return float(t.ppf(0.5 + CONFIDENCE / 2, count - 1) * np.sqrt(variance))
