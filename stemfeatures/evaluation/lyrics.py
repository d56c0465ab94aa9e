"""Lyrics alignment: the metrics of mir_eval, by song.

Notes
-----
* A word is scored by its start. Where the truth leaves it out (a word of the data set that is two tokens) the first
  token counts.
* Data sets may state by how much their times lead what is heard (:attr:`~stemfeatures.datasets.MultiTrack.
  lyrics_lead_s`: 75 ms for UltraStar, whose makers tap along); the reference is moved by that.
* A word that was given no time counts as wrong in ``within_0.1_s`` and ``within_0.3_s``, is left out of the errors, and
  stands half way between its neighbours in duration and perceptual score, which need a time of every word. Lyrics that
  were refused score 0 in all shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..datasets.annotations import Lyrics

TOLERANCES_S = (0.1, 0.3)


def lyrics_scores(reference_s: np.ndarray, estimate_s: np.ndarray, *, lead_s: float = 0.0) -> dict[str, float]:
    """Scores of one song.

    Parameters
    ----------
    reference_s : np.ndarray
        (n_words,) starts, not decreasing.
    estimate_s : np.ndarray
        (n_words,) starts; NaN for a word without a time.
    lead_s : float
        By how much the reference leads what is heard.

    Returns
    -------
    dict[str, float]
        ``absolute_error_mean_s``, ``absolute_error_median_s`` and ``error_median_s`` (signed) over the words that have
        a time; ``within_0.1_s``, ``within_0.3_s``, ``correct_duration`` (Fujihara et al. 2011) and ``perceptual``
        (Lizé Masclef et al. 2021), each 0..1; ``words_timed``, the share that has a time.

    Raises
    ------
    ValueError
        When lengths differ, or reference starts decrease.

    Examples
    --------
    >>> lyrics_scores(np.array([1.0, 2.0]), np.array([1.05, 2.5]))["within_0.3_s"]
    0.5
    """
    try:
        from mir_eval import alignment
    except ImportError as error:
        raise ImportError("lyrics metrics need mir_eval: pip install 'stemfeatures[evaluate]'") from error
    reference, estimate = np.asarray(reference_s, np.float64) + lead_s, np.asarray(estimate_s, np.float64)
    if reference.shape != estimate.shape or reference.ndim != 1 or not len(reference):
        raise ValueError(f"{reference.shape} reference starts and {estimate.shape} estimated ones")
    timed = np.isfinite(estimate)
    deviation = (estimate - reference)[timed]
    scores = {"words_timed": float(timed.mean())}
    for tolerance in TOLERANCES_S:
        scores[f"within_{tolerance:g}_s"] = float((np.abs(deviation) <= tolerance).sum() / len(reference))
    if not timed.any():
        nothing = dict.fromkeys(("absolute_error_mean_s", "absolute_error_median_s", "error_median_s"), math.nan)
        return scores | nothing | {"correct_duration": 0.0, "perceptual": 0.0}
    place = np.arange(len(estimate))
    filled = np.maximum.accumulate(np.interp(place, place[timed], estimate[timed]))
    median, mean = alignment.absolute_error(reference[timed], np.maximum.accumulate(estimate[timed]))
    whole = reference[-1] > reference[0]
    return scores | {
        "absolute_error_mean_s": float(mean),
        "absolute_error_median_s": float(median),
        "error_median_s": float(np.median(deviation)),
        "correct_duration": float(alignment.percentage_correct_segments(reference, filled)) if whole else math.nan,
        "perceptual": float(alignment.karaoke_perceptual_metric(reference, filled)),
    }


def reference_words(lyrics: Lyrics) -> tuple[str, np.ndarray, np.ndarray]:
    """The text of annotated lyrics, the token at which each word begins, and the start of each word.

    A new line begins where an annotated line does. Words without a letter or digit are left out of the last two.
    """
    starts = [line.start_s for line in lyrics.lines]
    lines: list[list[str]] = [[]]
    token, first, reference = 0, [], []
    for word in lyrics.words or lyrics.lines:
        while starts and word.start_s >= starts[0]:
            starts.pop(0)
            if lines[-1]:
                lines.append([])
        lines[-1].append(word.label)
        if any(c.isalnum() for c in word.label):
            first.append(token)
            reference.append(word.start_s)
        token += len(word.label.split())
    return "\n".join(" ".join(line) for line in lines), np.array(first, int), np.array(reference, float)


def token_starts(starts_s: Sequence[float | None]) -> np.ndarray:
    """Starts as an array, NaN for None."""
    return np.array([math.nan if start is None else start for start in starts_s], np.float64)
