"""Onsets of every row; tempo, beats and bars of the mixture and the drums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..constants import FRAME_RATE, MIXTURE, STEM_ROWS
from ..fields import DURATION, LOG1P, Field, Scale, log, status_field
from .activity import active_rows
from .beats import MIN_DURATION_S, BeatTrack, beat_periods, track_bars, track_beats
from .f0 import cents, f0_contours, notes
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .types import F0Contour
from .values import OK, SILENT, TOO_SHORT, mean, median, number, parabolic_offset, std

#: Shortest signal whose onsets are counted.
MIN_ONSET_DURATION_S = 0.5
#: Onsets of one stem lie at least this many frames apart (70 ms), peaks rule this many to either side.
MIN_DISTANCE = 3
#: Frames to either side of the local mean or median that an onset must exceed (0.3 s), and by how much.
BASELINE_HALF_WIDTH = 13
FLUX_THRESHOLD = 0.06
FLUX_RATIO = 3.0
VOICE_THRESHOLD = 0.08
VOICE_RATIO = 2.0
ACTIVATION_THRESHOLD = 0.25
#: Distance in frames over which the flux is taken (half a window), its log compression (20 dB below the loud frames
#: counts half), and the power of a band's level that is its weight.
LAG = 2
COMPRESSION = 1e2
BAND_WEIGHT = 0.5
#: A flux peak's onset is where the flux rose to this share of it, looked for so many frames back.
RISE = 0.5
LONGEST_RISE = 6
#: A new note is at least this far from the one before, or follows a rest of this many frames.
NEW_NOTE_CENTS = 80.0
NEW_NOTE_REST = 4
#: The flux and the pitch of one note change within this time.
SAME_NOTE_S = 0.15
#: A beat period within this fraction of the median counts as steady.
STEADY = 0.04

#: The drums are heard as a rhythm for this many frames (1 s) after and before their last sounding frame.
DRUMS_REACH = 43
#: They have a beat of their own when they sound within 70 ms of this share of the beats.
DRUMS_SHARE = 1 / 3

#: Rows whose onsets and beats are read off the network's activations.
BEAT_ROWS = (MIXTURE, "drums")

NO_ONSETS = "no_onsets"
NO_BEATS = "no_beats"

_onset = partial(Field, type="float32", family="rhythm")
ONSET_FIELDS = (
    status_field("rhythm_status", "ok | silent | too_short | no_onsets", "onsets (0.5 s at least)", family="rhythm"),
    _onset(
        "onset_count",
        type="int32",
        description="Peaks of the network's onset activation (mixture, drums) or of the spectral flux in the stem's "
        "own bands (vocals, bass, other); in vocals and bass also new notes of the F0 contour.",
        range=">= 0",
        scale=DURATION,
    ),
    _onset("onset_rate", description="Onsets a second of the whole track.", unit="1/s", range=">= 0", scale=LOG1P),
    _onset(
        "onset_strength_mean",
        description="Mean height of the onset peaks (activation or flux).",
        range=">= 0",
        scale=LOG1P,
        feature="onset_strength",
        statistic="mean",
    ),
    _onset(
        "onset_strength_std",
        description="Standard deviation of the height of the onset peaks.",
        range=">= 0",
        scale=LOG1P,
        feature="onset_strength",
        statistic="std",
    ),
    *(
        _onset(
            f"onset_interval_{statistic}_s",
            description=f"{text} time between successive onsets.",
            unit="s",
            range=limits,
            scale=log(0.01),
            feature="onset_interval",
            statistic=statistic,
        )
        for statistic, text, limits in (
            ("mean", "Mean", "> 0"),
            ("median", "Median", "> 0"),
            ("std", "Standard deviation of the", ">= 0"),
        )
    ),
)
_tempo = partial(Field, type="float32", family="rhythm", rows=BEAT_ROWS)
TEMPO_FIELDS = (
    status_field(
        "tempo_status",
        "ok | silent | too_short | no_beats | not_applicable",
        "tempo and beats (3 s at least)",
        family="rhythm",
    ),
    _tempo(
        "tempo_bpm",
        description="Tempo of the tracked beats; pulses over 220 bpm count half.",
        unit="bpm",
        range="40..220",
        scale=Scale("circular", octaves=True),
    ),
    _tempo("tempo_strength", description="Its share of the tempogram's peaks.", range="0..1"),
    _tempo(
        "tempo_2_bpm",
        description="Next best tempo, often an octave away.",
        unit="bpm",
        range="40..220",
        scale=Scale("circular", octaves=True, strength="tempo_2_strength"),
    ),
    _tempo(
        "tempo_2_strength",
        description="Its share of the tempogram's peaks; with tempo_strength 1 or less.",
        range="0..1",
    ),
    _tempo(
        "tempo_stability",
        description="Share of beats whose local tempo is within 4 % of the median.",
        range="0..1",
    ),
    _tempo("beat_count", type="int32", description="Tracked beats.", range=">= 0", scale=DURATION),
    _tempo(
        "beat_regularity",
        description="One less the relative deviation (1.48 MAD) of the inter-beat intervals.",
        range="0..1",
    ),
    _tempo("beat_strength", description="Mean beat activation on the beats.", range="0..1"),
    _tempo(
        "meter_numerator",
        type="int8",
        description="Beats a bar; null when downbeats do not stand out.",
        range="2..7",
    ),
    _tempo(
        "meter_confidence",
        description="Mean downbeat activation on the downbeats less that on the other beats.",
        range="0..1",
    ),
)


def onset_strength(mel: np.ndarray) -> np.ndarray:
    """Spectral flux that vibrato does not excite (SuperFlux: Böck and Widmer, DAFx 2013), on the bands of the stem.

    Parameters
    ----------
    mel : np.ndarray
        (n_mels, n_frames) power.

    Returns
    -------
    (n_frames,) weighted mean over bands of the rise of the log power over the largest of three neighbouring bands two
    frames before. A band's weight is the square root of its level, so that the handful of bands in which a bass sounds
    are not diluted by those in which it does not. Powers are taken relative to the loud frames of the signal, so that
    its level does not matter.
    """
    mel = np.asarray(mel, dtype=np.float64)
    strength = np.zeros(mel.shape[1])
    loudest = mel.max(axis=0)
    if mel.shape[1] <= LAG or not loudest.any():
        return strength
    reference = np.percentile(loudest[loudest > 0], 95)
    relative = mel / reference
    log_mel = np.log10(1 + COMPRESSION * relative)
    before = log_mel[:, :-LAG].copy()
    np.maximum(before[:-1], log_mel[1:, :-LAG], out=before[:-1])
    np.maximum(before[1:], log_mel[:-1, :-LAG], out=before[1:])
    total = relative.sum(axis=1)
    level = np.square(relative).sum(axis=1) / np.where(total > 0, total, 1.0)
    weight = level**BAND_WEIGHT
    strength[LAG:] = weight / weight.sum() @ np.maximum(log_mel[:, LAG:] - before, 0.0)
    return strength


def pick_onsets(
    strength: np.ndarray, active: np.ndarray, *, threshold: float, ratio: float = 1.0, robust: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of an onset strength.

    A peak is the largest value within 70 ms to either side, exceeds ``ratio`` times the mean (if ``robust`` the median)
    of 0.3 s to either side by ``threshold``, and lies in an active frame or just before one.

    Parameters
    ----------
    strength : np.ndarray
        (n_frames,) non-negative.
    active : np.ndarray
        (n_frames,) bool.
    threshold : float
        In units of ``strength``.
    ratio : float, default=1.0
        1 or more; noise and tremolo, whose strength is never low, need more than notes do.
    robust : bool, default=False
        Whether onsets may be dense, so that they would raise a mean.

    Returns
    -------
    onsets_s : (n_onsets,) float64 seconds, between frames by parabolic interpolation.
    height : (n_onsets,) strength at each onset.
    """
    x = np.nan_to_num(np.asarray(strength, dtype=np.float64))
    n = len(x)
    if n < 3:
        return np.zeros(0), np.zeros(0)
    width = 2 * MIN_DISTANCE + 1
    highest = np.lib.stride_tricks.sliding_window_view(np.pad(x, MIN_DISTANCE), width).max(axis=1)
    window = 2 * BASELINE_HALF_WIDTH + 1
    around = np.lib.stride_tricks.sliding_window_view(np.pad(x, BASELINE_HALF_WIDTH, constant_values=np.nan), window)
    baseline = (np.nanmedian if robust else np.nanmean)(around, axis=1)
    sounding = active | np.r_[active[1:], False] | np.r_[active[2:], False, False]
    # Of equal neighbours the first is the peak.
    rising = np.r_[True, x[1:] > x[:-1]]
    peaks = np.flatnonzero((x >= highest) & rising & (x >= ratio * baseline + threshold) & sounding)
    times = (peaks + parabolic_offset(x, peaks)) / FRAME_RATE
    return np.maximum(times, 0.0), x[peaks]


def rise_times(strength: np.ndarray, onsets_s: np.ndarray) -> np.ndarray:
    """(n_onsets,) seconds at which the flux reached half of the height of each peak.

    A slow attack, as of a bass, peaks up to 40 ms after the note began, a fast one at once. Half way up the two are
    10 to 20 ms late and as much early.
    """
    frames = np.rint(onsets_s * FRAME_RATE).astype(int)
    times = []
    for peak in np.clip(frames, 0, len(strength) - 1):
        half = RISE * strength[peak]
        at = int(peak)
        while at > max(0, peak - LONGEST_RISE) and half < strength[at - 1] <= strength[at]:
            at -= 1
        part = (strength[at] - half) / (strength[at] - strength[at - 1]) if at and strength[at - 1] <= half else 0.0
        times.append((at - part) / FRAME_RATE)
    return np.array(times)


def note_onsets(contour: F0Contour) -> np.ndarray:
    """(n,) seconds at which a steady note begins that lies over 80 cents from the one before or follows a rest."""
    voiced = np.isfinite(contour.f0_hz)
    pitch = np.full(len(voiced), np.nan)
    pitch[voiced] = cents(contour.f0_hz[voiced])
    found = notes(pitch)
    if not len(found):
        return np.zeros(0)
    new = np.r_[
        True,
        (found[1:, 0] - found[:-1, 1] > NEW_NOTE_REST) | (np.abs(np.diff(found[:, 2])) > NEW_NOTE_CENTS),
    ]
    return found[new, 0] / FRAME_RATE


def stem_onsets(
    strength: np.ndarray, active: np.ndarray, contour: F0Contour | None = None, *, voice: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Onsets of a stem: peaks of its flux, and where there is a contour also the new notes on it.

    Of a flux peak and a new note within 0.15 s one counts: with ``voice`` the note, since a consonant and its vowel are
    one onset; else the peak, which is the sharper.

    Parameters
    ----------
    strength : np.ndarray
        (n_frames,) of :func:`onset_strength`.
    active : np.ndarray
        (n_frames,) bool.
    contour : F0Contour, optional
        F0 of the stem, or None.

    Returns
    -------
    onsets_s : (n_onsets,) float64 seconds, increasing.
    height : (n_onsets,) ``strength`` there.
    """
    if voice:
        at, height = pick_onsets(strength, active, threshold=VOICE_THRESHOLD, ratio=VOICE_RATIO)
    else:
        at, height = pick_onsets(strength, active, threshold=FLUX_THRESHOLD, ratio=FLUX_RATIO, robust=True)
    peaks = rise_times(strength, at), height
    if contour is None or not len(strength):
        return peaks
    begun = note_onsets(contour)
    frames = np.clip(np.rint(begun * FRAME_RATE).astype(int), 0, len(strength) - 1)
    new = begun, np.asarray(strength, dtype=np.float64)[frames]
    first, second = (new, peaks) if voice else (peaks, new)
    apart = np.abs(second[0][:, None] - first[0]).min(axis=1, initial=np.inf) > SAME_NOTE_S
    times = np.concatenate([first[0], second[0][apart]])
    order = np.argsort(times, kind="stable")
    return times[order], np.concatenate([first[1], second[1][apart]])[order]


def describe_onsets(onsets_s: np.ndarray, height: np.ndarray, active: np.ndarray, duration_s: float) -> dict[str, Any]:
    """Onset fields of the family ``rhythm`` for one row; those that are not there are null."""
    if not active.any():
        return {"rhythm_status": SILENT}
    if duration_s < MIN_ONSET_DURATION_S:
        return {"rhythm_status": TOO_SHORT}
    counted = {"onset_count": len(onsets_s), "onset_rate": number(len(onsets_s) / duration_s)}
    if not len(onsets_s):
        return {"rhythm_status": NO_ONSETS, **counted}
    intervals = np.diff(onsets_s)
    return {
        "rhythm_status": OK,
        **counted,
        "onset_strength_mean": mean(height),
        "onset_strength_std": std(height),
        "onset_interval_mean_s": mean(intervals),
        "onset_interval_median_s": median(intervals),
        "onset_interval_std_s": std(intervals),
    }


def describe_tempo(
    track: BeatTrack | None,
    active: np.ndarray,
    duration_s: float,
    *,
    meter: int | None = None,
    meter_confidence: float | None = None,
) -> dict[str, Any]:
    """Tempo, beat and bar fields of the family ``rhythm`` for one row; those that are not there are null."""
    if not active.any():
        return {"tempo_status": SILENT}
    if duration_s < MIN_DURATION_S:
        return {"tempo_status": TOO_SHORT}
    if track is None:
        return {"tempo_status": NO_BEATS, "beat_count": 0}
    periods = beat_periods(track.beats_s)
    typical = np.median(periods)
    intervals = np.diff(track.beats_s)
    # Intervals over a stretch without rhythm are no beat periods.
    intervals = intervals[intervals < 1.8 * typical]
    second = track.tempo_bpm[1] if len(track.tempo_bpm) > 1 else (None, None)
    deviation = 1.4826 * np.median(np.abs(intervals - np.median(intervals))) if len(intervals) else None
    return {
        "tempo_status": OK,
        "tempo_bpm": track.tempo_bpm[0][0],
        "tempo_strength": track.tempo_bpm[0][1],
        "tempo_2_bpm": second[0],
        "tempo_2_strength": second[1],
        "tempo_stability": number((np.abs(periods / typical - 1) <= STEADY).mean()),
        "beat_count": len(track.beats_s),
        "beat_regularity": None if deviation is None else number(max(0.0, 1 - deviation / typical)),
        "beat_strength": mean(track.strength),
        "meter_numerator": meter,
        "meter_confidence": meter_confidence,
    }


def row_onsets(inputs: DescriptorInputs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Onsets of every row, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{row: (onsets_s, height)}`` of :func:`pick_onsets` or :func:`stem_onsets`.
    """
    frames, active = inputs.frames, inputs.get(active_rows)
    contours = {stem: contour for stem, (contour, _) in inputs.get(f0_contours).items()}
    onsets = {}
    for row in STEM_ROWS:
        if row in BEAT_ROWS:
            onsets[row] = pick_onsets(frames.onset, active[row], threshold=ACTIVATION_THRESHOLD)
        else:
            strength = onset_strength(frames.stems[row].mel)
            onsets[row] = stem_onsets(strength, active[row], contours.get(row), voice=row == "vocals")
    return onsets


@dataclass(frozen=True)
class RowBeats:
    """Beats and bars of one row.

    Attributes
    ----------
    track : BeatTrack or None
        None where there is no rhythm.
    positions : (n_beats,) int64 ndarray
        Place of each beat in its bar, see :func:`~.beats.track_bars`.
    meter : int or None
        Beats a bar.
    confidence : float or None
        Of the bar, 0..1.
    """

    track: BeatTrack | None
    positions: np.ndarray
    meter: int | None = None
    confidence: float | None = None


def row_beats(inputs: DescriptorInputs) -> dict[str, RowBeats]:
    """Beats of the rows that have them, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{row: RowBeats}`` for ``BEAT_ROWS``.
    """
    frames, active = inputs.frames, inputs.get(active_rows)
    beats = {}
    for row in BEAT_ROWS:
        on = active[row]
        heard = np.convolve(on, np.ones(2 * DRUMS_REACH + 1), "full")[DRUMS_REACH:-DRUMS_REACH] > 0
        track = track_beats(np.where(heard, frames.beat, 0.0)) if on.any() else None
        if track and row == "drums" and _share_sounding(track.beats_s, on) < DRUMS_SHARE:
            track = None
        if track is None:
            beats[row] = RowBeats(None, np.zeros(0, dtype=np.int64))
        else:
            beats[row] = RowBeats(track, *track_bars(track.beats_s, frames.downbeat))
    return beats


def _share_sounding(beats_s: np.ndarray, active: np.ndarray) -> float:
    near = np.convolve(active, np.ones(7), "same") > 0
    return float(near[np.clip(np.rint(beats_s * FRAME_RATE).astype(int), 0, len(near) - 1)].mean())


def _onsets(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    return describe_onsets(*inputs.get(row_onsets)[row], inputs.get(active_rows)[row], inputs.frames.duration_s)


def _beats(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    beats = inputs.get(row_beats)[row]
    return describe_tempo(
        beats.track,
        inputs.get(active_rows)[row],
        inputs.frames.duration_s,
        meter=beats.meter,
        meter_confidence=beats.confidence,
    )


register(Extractor("onsets", 30, ONSET_FIELDS, "rhythm_status", _onsets))
register(Extractor("tempo", 35, TEMPO_FIELDS, "tempo_status", _beats))
