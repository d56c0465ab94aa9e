"""Beat, downbeat and tempo metrics: mir_eval's, and the two tempo accuracies.

Notes
-----
Beats are increasing times in seconds. Beats of both sides before ``trim_s`` (5 s, mir_eval's and MIREX's convention)
are dropped first; on excerpts of half a minute that is a good part, so say which was used.
"""

from __future__ import annotations

import warnings

import numpy as np

TRIM_S = 5.0
#: Metrical levels that count as right for Acc2 (Gouyon et al., IEEE TASLP 2006).
TEMPO_FACTORS = (1.0, 2.0, 0.5, 3.0, 1 / 3)


def beats_tempo(beats_s: np.ndarray) -> float:
    """Tempo in beats a minute of a list of beats; NaN below two beats.

    From the mean of the intervals that lie within a quarter of their median: missing or extra beats do not
    count, and the frame grid of the beat times (23 ms is 4 % of a beat at 120 bpm) averages out.
    """
    if len(beats_s) < 2:
        return float("nan")
    intervals = np.diff(beats_s)
    median = np.median(intervals)
    return float(60 / intervals[np.abs(intervals - median) <= median / 4].mean())


def tempo_accuracy(
    reference_bpm: float, estimate_bpm: float, *, factors: tuple[float, ...] = (1.0,), tolerance: float = 0.04
) -> float:
    """1 if the estimate is within ``tolerance`` of the reference times any of ``factors``, else 0; NaN without one.

    ``factors=(1,)`` is Acc1, ``TEMPO_FACTORS`` Acc2. An estimate of NaN (no tempo found) is wrong.
    """
    if np.isnan(reference_bpm):
        return float("nan")
    targets = reference_bpm * np.array(factors)
    return float(np.any(np.abs(estimate_bpm - targets) <= tolerance * targets))


def beat_scores(
    ref_beats_s: np.ndarray,
    ref_positions: np.ndarray,
    est_beats_s: np.ndarray,
    est_positions: np.ndarray | None,
    *,
    trim_s: float = TRIM_S,
) -> dict[str, float]:
    """Scores of one track.

    ``beat_f_measure`` (±70 ms), ``cmlt``, ``amlt`` (continuity at the correct / any allowed metrical level, Davies et
    al. 2009), ``downbeat_f_measure`` over the beats at position 1 (NaN if either side has no positions),
    ``tempo_acc1``, ``tempo_acc2`` (4 %), each 0..1; ``reference_bpm`` and ``estimate_bpm``. All NaN but
    ``estimate_bpm`` when fewer than two reference beats remain.

    Raises ValueError if beats do not increase, are negative or not finite.
    """
    try:
        from mir_eval import beat
    except ImportError as error:
        raise ImportError("beat metrics need mir_eval: pip install 'stemfeatures[evaluate]'") from error

    ref, ref_downbeats = _trimmed(ref_beats_s, ref_positions, trim_s)
    est, est_downbeats = _trimmed(est_beats_s, est_positions, trim_s)
    ref_bpm, est_bpm = beats_tempo(ref), beats_tempo(est)
    scores = dict.fromkeys(("beat_f_measure", "cmlt", "amlt", "downbeat_f_measure"), float("nan"))
    with warnings.catch_warnings():  # empty estimates score 0; mir_eval says so each time
        warnings.simplefilter("ignore", UserWarning)
        if len(ref) >= 2:
            scores["beat_f_measure"] = beat.f_measure(ref, est)
            _, scores["cmlt"], _, scores["amlt"] = beat.continuity(ref, est)
            if ref_downbeats is not None and len(ref_downbeats) and est_downbeats is not None:
                scores["downbeat_f_measure"] = beat.f_measure(ref_downbeats, est_downbeats)
    scores |= {
        "tempo_acc1": tempo_accuracy(ref_bpm, est_bpm),
        "tempo_acc2": tempo_accuracy(ref_bpm, est_bpm, factors=TEMPO_FACTORS),
        "reference_bpm": ref_bpm,
        "estimate_bpm": est_bpm,
    }
    return {name: float(value) for name, value in scores.items()}


def _trimmed(beats_s: np.ndarray, positions: np.ndarray | None, trim_s: float) -> tuple[np.ndarray, np.ndarray | None]:
    """Beats and downbeats from ``trim_s`` on; downbeats are None where no position is known."""
    beats = np.asarray(beats_s, np.float64)
    if not np.all(np.isfinite(beats)) or np.any(beats < 0) or np.any(np.diff(beats) <= 0):
        raise ValueError("beats must be finite, not negative, and increase")
    if positions is None or (len(beats) and not np.any(positions)):
        return beats[beats >= trim_s], None
    if len(positions) != len(beats):
        raise ValueError(f"{len(positions)} positions for {len(beats)} beats")
    return beats[beats >= trim_s], beats[(beats >= trim_s) & (np.asarray(positions) == 1)]
