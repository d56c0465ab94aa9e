"""Metrics of several voices at once: mir_eval's multipitch, where the annotated voices overlap.

A contour of one voice is no truth for a duet: whoever finds the second voice is punished by the melody metrics, and
whoever finds both cannot say so. These metrics compare the sets of pitches of each frame.

Notes
-----
Frequencies are ``(times_s, [array of Hz of each frame])``. A pitch is right within half a semitone of one of the
reference, each of which can be found once (bipartite matching). Two voices within half a semitone of each other are
one: at this tolerance nobody can tell them apart. The estimate is brought to the times of the reference by its nearest
frame; reference times further than one hop from any have no estimate, as in :mod:`.f0`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from .f0 import nearest_frame, resample_f0

#: Half a semitone, in octaves.
UNISON = 0.5 / 12


def sounding_together(times_s: np.ndarray, voices: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """The pitches in Hz that sound at each of ``times_s``, increasing, of voices on their own time axes.

    Unvoiced frames have none. Voices in unison count once (the first of them).
    """
    f0 = np.stack([resample_f0(times, f0_hz, times_s) for times, f0_hz in voices], axis=1)
    frames = []
    for row in f0:
        kept: list[float] = []
        for hz in row[row > 0]:
            if all(abs(np.log2(hz / other)) > UNISON for other in kept):
                kept.append(float(hz))
        frames.append(np.sort(np.array(kept, np.float64)))
    return frames


def multi_f0_scores(
    ref_times_s: np.ndarray, ref_freqs_hz: list[np.ndarray], est_times_s: np.ndarray, est_freqs_hz: list[np.ndarray]
) -> dict[str, float]:
    """Poliner and Ellis 2007, Bay et al. 2009; each 0..1 but the error score, which has no upper bound.

    ``multi_f0_precision, multi_f0_recall, multi_f0_accuracy`` over all frames of the track, ``multi_f0_error_score``
    (substitutions, misses and false alarms per reference pitch), ``multi_f0_chroma_accuracy`` (octaves forgiven), and
    ``multi_f0_overlap_recall``, the recall in the frames where two voices or more sound: one voice alone reaches a half
    there at most. NaN where there is nothing to divide by: precision without an estimate, all else without a reference.

    Raises ValueError if times do not increase, or an estimate is not within 20 to 5000 Hz.
    """
    try:
        from mir_eval import multipitch
    except ImportError as error:
        raise ImportError("multi-F0 metrics need mir_eval: pip install 'stemfeatures[evaluate]'") from error

    times = np.asarray(est_times_s, np.float64)
    if np.any(np.diff(times) <= 0) or len(times) != len(est_freqs_hz):
        raise ValueError("times must increase, and there must be one list of pitches for each")
    nothing = np.zeros(0)
    estimate = [nothing] * len(ref_times_s)
    if len(times):
        index, within = nearest_frame(times, ref_times_s)
        estimate = [np.asarray(est_freqs_hz[i], np.float64) if near else nothing for i, near in zip(index, within)]
    overlap = [len(freqs) > 1 for freqs in ref_freqs_hz]

    def only_overlap(frames: list[np.ndarray]) -> list[np.ndarray]:
        return [freqs if both else nothing for freqs, both in zip(frames, overlap)]

    with warnings.catch_warnings():  # "empty" is answered here by NaN
        warnings.simplefilter("ignore", UserWarning)
        precision, recall, accuracy, _, _, _, total, _, _, chroma_accuracy, *_ = multipitch.metrics(
            ref_times_s, ref_freqs_hz, ref_times_s, estimate
        )
        _, overlap_recall, *_ = multipitch.metrics(
            ref_times_s, only_overlap(ref_freqs_hz), ref_times_s, only_overlap(estimate)
        )
    nan = float("nan")
    any_reference, any_estimate = any(map(len, ref_freqs_hz)), any(map(len, estimate))
    scores = {
        "multi_f0_precision": precision if any_estimate else nan,
        "multi_f0_recall": recall if any_reference else nan,
        "multi_f0_accuracy": accuracy if any_reference else nan,
        "multi_f0_chroma_accuracy": chroma_accuracy if any_reference else nan,
        "multi_f0_error_score": total if any_reference else nan,
        "multi_f0_overlap_recall": overlap_recall if any(overlap) else nan,
    }
    return {name: float(value) for name, value in scores.items()}
