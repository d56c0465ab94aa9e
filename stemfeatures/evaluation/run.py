"""Run an estimator over a folder of tracks with truth, and put the scores in one table.

Notes
-----
* The estimator gets the channels of the mixture at the file's own rate and level, and is scored at that rate, over the
  full band, by what it answers: nothing is rescaled, shifted or trimmed to fit the truth.
* Separation is scored on the mono downmix (mean of the channels) of estimate and truth, or with ``channels="all"`` on
  the channels as they are, which is what museval and the MDX challenges do with stereo.
* Where the truth has ``accompaniment`` and the estimator has not, it is the sum of the stems other than vocals. The
  ``accompaniment`` of an estimator of one target is all but that target: where the truth is more stems than that, it is
  scored against the sum of the others, and not at all where the truth does not have the target.
* F0 and beats are scored against the lead vocals and the beats as annotated; where further annotated voices sound
  together with the lead, multi-F0 metrics are given beside the melody's, which count a right second voice as an error.

How scores are averaged and shown: :mod:`.result`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._util.pools import starmap
from ..datasets.multitrack import ACCOMPANIMENT, MultiTrack, TrackTruth, fill_unvoiced, rest_of
from ..datasets.opening import find_tracks
from ..errors import EvaluationError, ModelError
from .base import Estimator
from .beats import TRIM_S, beat_scores
from .f0 import f0_scores, pitch_by_speed
from .leakage import leakage_scores, pair_name
from .lyrics import lyrics_scores, reference_words, token_starts
from .multi_f0 import multi_f0_scores, sounding_together
from .presence import presence_scores, presence_truth
from .result import TASKS, EvaluationResult, in_order
from .separation import BSS_WINDOW_S, bss_eval, is_silent, level_db, sdr, si_sdr

#: What of a track holds the truth for a task: stems tell when they play.
TRUTH = {task: task for task in TASKS} | {"presence": "separation", "leakage": "separation"}
#: The tasks of ``all``. The others are asked for by name: lyrics need the extra ``lyrics``, leakage has long tables.
ALL_TASKS = tuple(task for task in TASKS if task not in ("lyrics", "leakage"))
#: What the channels of a track are to separation metrics.
CHANNELS = ("mono", "all")


class NotOfferedError(EvaluationError):
    """The estimator does none of what the tracks hold the truth for."""


def evaluate(
    task: str,
    dataset: str | Path | Sequence[MultiTrack],
    estimator: Estimator,
    *,
    limit: int | None = None,
    museval: bool = False,
    channels: str = "mono",
    trim_s: float = TRIM_S,
    jobs: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> EvaluationResult:
    """Score an estimator on every track that has the truth for the task.

    Parameters
    ----------
    task : str
        ``separation``, ``f0``, ``beats``, ``presence``, ``leakage``, ``lyrics`` or ``all`` (those that the data hold
        truth for, but neither leakage nor lyrics).
    dataset : str, Path or sequence of MultiTrack
        A folder, see :func:`stemfeatures.datasets.opening.find_tracks`, or tracks.
    estimator : Estimator
        What is scored; with several jobs it must pickle, and its class lie in a module, not in a notebook.
    limit : int, optional
        Take only the first tracks of each data set.
    museval : bool, optional
        Add BSS Eval v4 to separation: some 8 s of CPU time for a minute of four mono stems at 44.1 kHz.
    channels : str, optional
        ``mono`` scores the downmix of stems and estimates, ``all`` their channels as they are.
    trim_s : float, optional
        Seconds at the start in which beats are not scored.
    jobs : int, optional
        Processes to spread the tracks over; with several, a script must make the call under
        ``if __name__ == "__main__":``.
    progress : callable, optional
        Called as ``progress(done, total, track name)``.

    Returns
    -------
    EvaluationResult
        Scores by track, and what they depend on.

    Raises
    ------
    ValueError
        Unknown task or channels.
    CatalogError
        No tracks, or unreadable annotations.
    AudioError
        Unreadable audio.
    ModelError
        The checkpoint cannot be used.
    ImportError
        The extra ``evaluate`` is not installed.
    NotOfferedError
        The estimator offers none of the tasks.
    EvaluationError
        No track with the truth, or the estimator failed or returned something malformed; names the track. A score over
        fewer tracks than asked for is not comparable, so nothing is skipped on errors.
    """
    import pandas as pd

    if task not in (*TASKS, "all"):
        raise ValueError(f"unknown task {task!r}, expected one of {', '.join((*TASKS, 'all'))}")
    if channels not in CHANNELS:
        raise ValueError(f"channels must be one of {', '.join(CHANNELS)}, got {channels!r}")
    tasks = ALL_TASKS if task == "all" else (task,)
    by_path = isinstance(dataset, str | Path)
    source = str(dataset) if by_path else None
    tracks = _limited(find_tracks(dataset, stage="evaluate") if by_path else dataset, tasks, limit)  # type: ignore[arg-type]
    if not tracks:
        raise EvaluationError(f"no track here holds the truth for {task!r}", source=source)
    if prepare := getattr(estimator, "prepare", None):
        prepare()

    options = {"tasks": tasks, "estimator": estimator, "museval": museval, "channels": channels, "trim_s": trim_s}
    rows: list[dict[str, Any]] = []
    work = starmap(
        partial(evaluate_track, **options),  # type: ignore[arg-type]
        [(track,) for track in tracks],
        jobs=jobs,
        stage="evaluate",
        name=MultiTrack.source,
    )
    for done, (track, found) in enumerate(zip(tracks, work), 1):
        rows += found
        if progress is not None:
            progress(done, len(tracks), track.name)
    if all(row["status"] == "not_offered" for row in rows):
        raise NotOfferedError(f"{estimator.name} offers none of what these tracks hold the truth for", source=source)
    describe = getattr(estimator, "describe", dict)
    settings: dict[str, Any] = {
        "task": task,
        "limit": limit,
        "museval": museval,
        "bss_window_s": BSS_WINDOW_S,
        "channels": "mono downmix" if channels == "mono" else "all channels",
        "band": "full, at the rate of the files",
        "cent_tolerance": 50,
        "trim_s": trim_s,
        "estimators": {estimator.name: describe()},
    }
    return EvaluationResult(in_order(pd.DataFrame(rows)), settings)


def evaluate_track(
    track: MultiTrack,
    *,
    tasks: tuple[str, ...],
    estimator: Estimator,
    museval: bool = False,
    channels: str = "mono",
    trim_s: float = TRIM_S,
) -> list[dict[str, Any]]:
    """The table rows of one track. Raises as :func:`evaluate`."""
    truth = track.load()
    rows: list[dict[str, Any]] = []
    for task in tasks:
        if TRUTH[task] not in track.tasks:
            continue
        try:
            if task == "separation":
                view = _mono if channels == "mono" else _all
                found = _separation_rows(track, truth, estimator, museval=museval, view=view)
            elif task == "f0":
                found = [_f0_row(truth, _voices(track, truth), estimator)]
            elif task == "lyrics":
                found = [_lyrics_row(truth, track.lyrics_lead_s, estimator)]
            elif task == "beats":
                found = [_beats_row(truth, estimator, trim_s)]
            elif task == "leakage":
                found = _leakage_rows(truth, estimator)
            else:
                found = _presence_rows(truth, estimator)
        except EvaluationError as error:
            raise EvaluationError(error.message, source=f"{track.dataset}/{track.name}") from error
        except (ImportError, ModelError):  # not of this track
            raise
        except Exception as error:
            raise EvaluationError(
                f"{estimator.name} failed at {task}: {type(error).__name__}: {error}",
                source=f"{track.dataset}/{track.name}",
            ) from error
        keys = {"task": task, "estimator": estimator.name, "dataset": track.dataset, "track": track.name}
        keys["group"] = track.artist or track.name
        rows += [keys | row for row in found]
    return rows


def _separation_rows(
    track: MultiTrack,
    truth: TrackTruth,
    estimator: Estimator,
    *,
    museval: bool,
    view: Callable[[np.ndarray], np.ndarray],
) -> list[dict[str, Any]]:
    mixture = view(truth.mixture)
    references = {stem: view(signal) for stem, signal in truth.stems.items()}
    try:
        estimates = _separated(truth, estimator)
    except NotImplementedError:
        return [{"stem": stem, "status": "not_offered"} for stem in references]
    sum_snr = sdr(mixture, np.sum(list(references.values()), axis=0))
    if target := separated_target(estimates):
        if rest := rest_of(track, target) if target in references else ():
            references[ACCOMPANIMENT] = np.sum([references[stem] for stem in rest], axis=0)
        else:
            estimates = {target: estimates[target]}
    elif ACCOMPANIMENT in references and ACCOMPANIMENT not in estimates and len(estimates) > 1:
        estimates[ACCOMPANIMENT] = np.sum([y for stem, y in estimates.items() if stem != "vocals"], axis=0)
    estimates = {stem: view(estimates[stem]) for stem in references if stem in estimates}
    bss = bss_eval({s: references[s] for s in estimates}, estimates, truth.sample_rate) if museval else {}

    rows = []
    for stem, reference in references.items():
        row: dict[str, Any] = {"stem": stem, "status": "ok", "stems_sum_snr_db": sum_snr}
        rows.append(row)
        if is_silent(reference):
            row["status"] = "silent_reference"
            if stem in estimates:
                row["leakage_db"] = level_db(estimates[stem], mixture)
        elif stem not in estimates:
            row["status"] = "not_offered"
        else:
            estimate = estimates[stem]
            row["silent_estimate"] = is_silent(estimate)
            row["sdr_db"] = sdr(reference, estimate)
            row["si_sdr_db"] = si_sdr(reference, estimate)
            row["mixture_sdr_db"] = sdr(reference, mixture)
            row["nsdr_db"] = row["sdr_db"] - row["mixture_sdr_db"]
            if museval:
                row["bss_windows"] = len(bss[stem]["sdr"])
                row["bss_nan_windows"] = int(np.isnan(bss[stem]["sdr"]).sum())
                for name, values in bss[stem].items():
                    row[f"bss_{name}_db"] = float(np.nanmedian(values)) if np.any(~np.isnan(values)) else math.nan
    return rows


def _separated(truth: TrackTruth, estimator: Estimator) -> dict[str, np.ndarray]:
    """What the estimator answers, checked; NotImplementedError where it does not separate."""
    if getattr(estimator, "needs_truth", False):
        estimates = estimator.separate_with_truth(truth.mixture, truth.sample_rate, truth.stems)  # type: ignore[attr-defined]
    else:
        estimates = _method(estimator, "separate")(truth.mixture, truth.sample_rate)
    for stem, signal in estimates.items():
        if np.shape(signal) != truth.mixture.shape:
            raise EvaluationError(
                f"{estimator.name} returned {stem} as {np.shape(signal)}, the mixture is {truth.mixture.shape} "
                "(channels, samples)"
            )
        if not np.all(np.isfinite(signal)):
            raise EvaluationError(f"{estimator.name} returned {stem} with NaN or infinity")
    return dict(estimates)


def separated_target(estimates: Mapping[str, np.ndarray]) -> str | None:
    """The target of an estimator that gives one stem and its accompaniment; None for any other."""
    others = [stem for stem in estimates if stem != ACCOMPANIMENT]
    return others[0] if len(others) == 1 and ACCOMPANIMENT in estimates else None


def _leakage_rows(truth: TrackTruth, estimator: Estimator) -> list[dict[str, Any]]:
    stems = {stem: _mono(signal) for stem, signal in truth.stems.items()}
    try:
        estimates = {stem: _mono(signal) for stem, signal in _separated(truth, estimator).items()}
    except NotImplementedError:
        estimates = {}
    if separated_target(estimates) not in (None, *stems):  # its accompaniment is not the truth's
        del estimates[ACCOMPANIMENT]
    elif ACCOMPANIMENT in stems and ACCOMPANIMENT not in estimates and len(estimates) > 1:
        estimates[ACCOMPANIMENT] = np.sum([y for stem, y in estimates.items() if stem != "vocals"], axis=0)
    found = leakage_scores(stems, {s: y for s, y in estimates.items() if s in stems}, truth.sample_rate)
    rows: list[dict[str, Any]] = []
    for estimate in stems:
        for stem in stems:
            row = {"stem": pair_name(stem, estimate)}
            if estimate not in estimates:
                rows.append(row | {"status": "not_offered"})
            elif (estimate, stem) not in found:
                rows.append(row | {"status": "silent_reference"})
            else:
                rows.append(row | {"status": "ok"} | found[estimate, stem])
    return rows


def _f0_row(truth: TrackTruth, voices: list[np.ndarray], estimator: Estimator) -> dict[str, Any]:
    assert truth.f0 is not None
    times, f0_hz = truth.f0
    row: dict[str, Any] = {"stem": "vocals", "n_frames": len(times), "n_voiced": int((f0_hz > 0).sum())}
    row["n_overlap"] = sum(len(freqs) > 1 for freqs in voices)
    try:
        est_times, est_f0 = _method(estimator, "f0")(truth.mixture, truth.sample_rate)
    except NotImplementedError:
        return row | {"status": "not_offered"}
    row |= {"status": "ok"} | f0_scores(times, f0_hz, est_times, est_f0)
    row |= pitch_by_speed(times, f0_hz, est_times, est_f0)
    if row["n_overlap"]:
        several = est_times, [np.array([hz] if hz > 0 else []) for hz in np.nan_to_num(est_f0)]
        with suppress(NotImplementedError):
            if multi_f0 := getattr(estimator, "multi_f0", None):
                several = multi_f0(truth.mixture, truth.sample_rate)
        row |= multi_f0_scores(times, voices, *several)
    return row


def _voices(track: MultiTrack, truth: TrackTruth) -> list[np.ndarray]:
    """The pitches of all annotated vocal voices in each frame of the lead's annotation."""
    assert truth.f0 is not None
    seconds = truth.mixture.shape[1] / truth.sample_rate
    others = truth.annotations.f0.get("vocals", ())[1:]
    if not track.lists_unvoiced:
        others = [fill_unvoiced(*voice, seconds) for voice in others]  # type: ignore[assignment]
    return sounding_together(truth.f0[0], [truth.f0, *others])


def _beats_row(truth: TrackTruth, estimator: Estimator, trim_s: float) -> dict[str, Any]:
    assert truth.beats is not None
    row: dict[str, Any] = {"stem": "mixture", "n_reference_beats": int((truth.beats[0] >= trim_s).sum())}
    try:
        beats_s, positions = _method(estimator, "beats")(truth.mixture, truth.sample_rate)
    except NotImplementedError:
        return row | {"status": "not_offered"}
    row |= {"status": "ok", "n_estimated_beats": int((np.asarray(beats_s) >= trim_s).sum())}
    return row | beat_scores(*truth.beats, beats_s, positions, trim_s=trim_s)


def _presence_rows(truth: TrackTruth, estimator: Estimator) -> list[dict[str, Any]]:
    known = presence_truth(truth.stems, truth.sample_rate)
    try:
        times_s, found = _method(estimator, "presence")(truth.mixture, truth.sample_rate)
    except NotImplementedError:
        return [{"stem": stem, "status": "not_offered"} for stem in known]
    rows: list[dict[str, Any]] = []
    for stem, (plays, sure) in known.items():
        if stem not in found:
            rows.append({"stem": stem, "status": "not_offered"})
            continue
        counts = {"n_playing": int((plays & sure).sum()), "n_silent": int((~plays & sure).sum())}
        rows.append({"stem": stem, "status": "ok"} | counts | presence_scores(plays, sure, times_s, found[stem]))
    return rows


def _lyrics_row(truth: TrackTruth, lead_s: float, estimator: Estimator) -> dict[str, Any]:
    assert truth.annotations.lyrics is not None
    text, first, reference_s = reference_words(truth.annotations.lyrics)
    row: dict[str, Any] = {"stem": "vocals", "n_words": len(reference_s), "lead_s": lead_s}
    try:
        starts = token_starts(_method(estimator, "lyrics")(truth.mixture, truth.sample_rate, text))
    except NotImplementedError:
        return row | {"status": "not_offered"}
    if len(starts) != len(text.split()):
        raise EvaluationError(f"{estimator.name} returned {len(starts)} starts for {len(text.split())} tokens")
    return row | {"status": "ok"} | lyrics_scores(reference_s, starts[first], lead_s=lead_s)


def _method(estimator: Estimator, name: str) -> Callable[..., Any]:
    """A method that an estimator need not have; NotImplementedError where it has not. An AttributeError inside of it is
    an error of the estimator."""
    if not callable(method := getattr(estimator, name, None)):
        raise NotImplementedError(f"{estimator.name} has no {name}")
    return method


def _limited(tracks: Sequence[MultiTrack], tasks: tuple[str, ...], limit: int | None) -> list[MultiTrack]:
    """Tracks with the truth for any of the tasks; at most ``limit`` of a data set."""
    taken: list[MultiTrack] = []
    counts: dict[str, int] = {}
    for track in tracks:
        counts.setdefault(track.dataset, 0)
        if track.tasks & {TRUTH[task] for task in tasks} and (limit is None or counts[track.dataset] < limit):
            counts[track.dataset] += 1
            taken.append(track)
    return taken


def _mono(signal: np.ndarray) -> np.ndarray:
    return np.asarray(signal, np.float64).mean(axis=0)


def _all(signal: np.ndarray) -> np.ndarray:
    return np.asarray(signal, np.float64)
