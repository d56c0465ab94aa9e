"""Onsets of every row on one footing: where the spectrum of a stem gains what was not there before.

Five things make an onset, each judged relative to the stem's own spectrum, so that neither its level nor that of the
track matters:

* the flux: bands that rise (SuperFlux: Böck and Widmer, DAFx 2013), each relative to its own loud frames (adaptive
  whitening: Stowell and Plumbley, ICMC 2007), so that a hi-hat counts beside a kick, and pitch classes that rise;
* bins that rise between the partials (:mod:`stemfeatures.frames.bin_rise`), where instruments play that are no drums:
  a beginning widens a spectrum, vibrato and the swelling of a tone hardly. This goes before the flux there, which must
  rise a little, too, and more to be an onset by itself;
* new harmony: the pitch classes after a moment differ from those before it, as in a slow legato of strings, whose flux
  is no more than that of their vibrato;
* there, too, a level that falls and comes back: wind instruments play a note again without any attack;
* for a stem with a contour, a new note on it; where drums play, the network's activation of strokes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter, minimum_filter1d, uniform_filter1d

from .._util.large_arrays import release
from ..constants import FRAME_RATE, MIXTURE
from ..fields import DURATION, LOG1P, Field, log, status_field
from .activity import active_rows
from .f0 import cents, f0_contours, notes
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .types import F0Contour
from .values import (
    OK,
    PICKED_FRAMES,
    SILENT,
    TOO_SHORT,
    band_percentiles,
    blocks,
    loud_level,
    mean,
    median,
    number,
    parabolic_offset,
    std,
    windows,
)

#: Shortest signal whose onsets are counted.
MIN_ONSET_DURATION_S = 0.5
#: Onsets of one stem lie at least this many frames apart (70 ms), peaks rule this many to either side.
MIN_DISTANCE = 3
#: Frames to either side of the local mean or median that an onset must exceed (0.3 s), and by how much.
BASELINE_HALF_WIDTH = 13
#: Frames before the end in which nothing begins: the window reaches past the end, and the cut is no stroke.
END_FRAMES = 5
FLUX_THRESHOLD = 0.03
FLUX_RATIO = 1.3
VOICE_THRESHOLD = 0.05
VOICE_RATIO = 2.0
ACTIVATION_THRESHOLD = 0.25
HARMONY_THRESHOLD = 0.12
#: Rise of single bins that makes an onset, and what the flux must be within two frames of it: where the sample of an
#: instrument is looped, bins rise and nothing is heard.
BIN_THRESHOLD, BIN_FLUX = 0.03, 0.02
#: Where they rose by this share of it in the frame before already, they began between the two.
BIN_SHARE = 0.4
#: A level that is so many dB lower than within so many frames (0.19 s) before and behind has come back: more than
#: tremolo of a depth of a half does, and less than beats of pure tones do.
#: It is no onset of its own within this time of another. So many dB below the loud frames is a pause.
RETURN_DB, RETURN_FRAMES, RETURN_APART_S = 10.0, 8, 0.13
PAUSE_DB = 35.0
#: Flux that makes an onset beside them, by itself: of slow attacks, which widen no spectrum; and the time within which
#: both tell of one beginning.
CLEAR_FLUX, SAME_BEGINNING_S = 0.05, 0.12
#: Distance in frames over which bands and pitch classes rise (half a window and a little more).
BAND_LAG, CHROMA_LAG = 2, 3
#: Log compression (25 dB below the loud frames counts half) and how far below the loudest band, in dB, a band may be
#: and still be judged by its own loud frames.
COMPRESSION = 300.0
WHITENING_DB = 40.0
#: Frames of one cycle of vibrato.
VIBRATO = 9
#: Weight of the pitch classes beside the bands, and how many of the 36 bins of chroma a note may take.
CHROMA_WEIGHT = 0.2
CHROMA_BINS = 6
#: Frames before and after a moment whose chroma is compared; new harmony is noticed so late.
HARMONY_SPAN = 4
HARMONY_DELAY_S = 0.04
#: A flux peak has risen to this share of it so many frames back at most.
RISE = 0.5
LONGEST_RISE = 6
#: A stroke is heard this long after its flux is half way up, where that took ``STROKE_RISE_S``; a slower attack began
#: earlier, by ``SLOW_ATTACK`` times the excess. Measured on SoundFont notes from drums to flutes.
STROKE_DELAY_S = 0.014
STROKE_RISE_S = 0.022
SLOW_ATTACK = 3.0
EARLIEST_S = -0.04
#: Strokes closer than this are one; harmony changes this long around an attack; a note's flux and its pitch change
#: within this time.
SAME_STROKE_S = 0.05
SAME_HARMONY_S = 0.1
SAME_NOTE_S = 0.15
#: A new note is at least this far from the one before, or follows a rest of this many frames.
NEW_NOTE_CENTS = 80.0
NEW_NOTE_REST = 4

#: Rows in which strokes of the drums are heard, and those whose onsets are not told by single bins.
STROKE_ROWS = (MIXTURE, "drums")
BAND_ROWS = ("vocals", "drums", "bass")

#: Frames before and behind a peak between which a sound that stops dead has gone, how far the power falls there, in dB,
#: and the share of the flux, or of the fall, by which bands may have risen meanwhile.
CUT = 3
CUT_DB = 10.0
CUT_GAIN = 0.1
#: A voice that falls so far, in dB, and rises again within this many frames (0.14 s) began once, not twice: a consonant
#: that ends a word, or the cut of a note, and the vowel that follows.
REST_DB = 6.0
REST = 6

NO_ONSETS = "no_onsets"

_onset = partial(Field, type="float32", family="rhythm")
ONSET_FIELDS = (
    status_field(
        "rhythm_status", "ok | silent | absent | too_short | no_onsets", "onsets (0.5 s at least)", family="rhythm"
    ),
    _onset(
        "onset_count",
        type="int32",
        description="Rises of the spectrum and changes of harmony; in the mixture and the drums also strokes that the "
        "network hears, in vocals and bass also new notes of the F0 contour.",
        range=">= 0",
        scale=DURATION,
    ),
    _onset("onset_rate", description="Onsets a second of the whole track.", unit="1/s", range=">= 0", scale=LOG1P),
    _onset(
        "onset_strength_mean",
        description="Mean rise of the spectrum at the onsets.",
        range=">= 0",
        scale=LOG1P,
        feature="onset_strength",
        statistic="mean",
    ),
    _onset(
        "onset_strength_std",
        description="Standard deviation of the rise of the spectrum at the onsets.",
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

Onsets = tuple[np.ndarray, np.ndarray]


def onset_strength(mel: np.ndarray, chroma: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """Rise of the spectrum, whatever its colour and level.

    Parameters
    ----------
    mel : np.ndarray
        (n_mels, n_frames) power.
    chroma : np.ndarray
        (N_CHROMA, n_frames) power.
    own : np.ndarray, optional
        (n_mels,) :func:`own_levels` of the bands, if they are known.

    Returns
    -------
    (n_frames,) mean over bands of the rise of the log power over the largest of three neighbouring bands two frames
    before, which vibrato does not excite, each band relative to its own loud frames; and, at a fifth of the weight,
    the same of the six pitch class bins that rise most.
    """
    strength = np.zeros(mel.shape[1])
    own = own_levels(mel) if own is None else own
    if mel.shape[1] <= CHROMA_LAG or not own.any():
        return strength
    loud_class = loud_level(chroma)
    for part in windows(mel, chroma):
        strength[part] = _band_rise(mel, own, part.start, part.stop)
        if loud_class > 0:
            strength[part] += CHROMA_WEIGHT * _class_rise(chroma, loud_class, part.start, part.stop)
    return strength


def _band_rise(mel: np.ndarray, own: np.ndarray, start: int, end: int) -> np.ndarray:
    bands = _whitened(mel[:, max(start - BAND_LAG, 0) : end], own)
    before = largest_of_neighbours(bands[:, :-BAND_LAG])
    rise = np.maximum(bands[:, BAND_LAG:] - before, 0.0).mean(axis=0)
    # Before the first frame there was nothing: a sound that begins with the signal is an onset.
    return rise if start else np.concatenate([bands[:, :BAND_LAG].mean(axis=0), rise])


def largest_of_neighbours(bands: np.ndarray, *, circular: bool = False) -> np.ndarray:
    """Largest value of each band and the bands beside it.

    Parameters
    ----------
    bands : np.ndarray
        (n_bands, n_frames).
    circular : bool, default=False
        Whether the first band is beside the last.

    Returns
    -------
    (n_bands, n_frames) ndarray

    Examples
    --------
    >>> largest_of_neighbours(np.array([[1], [0], [0], [2]])).ravel().tolist()
    [1, 1, 2, 2]
    """
    largest = bands.copy()
    np.maximum(largest[1:], bands[:-1], out=largest[1:])
    np.maximum(largest[:-1], bands[1:], out=largest[:-1])
    if circular:
        np.maximum(largest[0], bands[-1], out=largest[0])
        np.maximum(largest[-1], bands[0], out=largest[-1])
    return largest


def _class_rise(chroma: np.ndarray, loud: float, start: int, end: int) -> np.ndarray:
    first = max(start - CHROMA_LAG - VIBRATO + 1, 0)
    classes = _compressed(np.asarray(chroma[:, first:end], dtype=np.float64) / loud)
    # A note that vibrato left a cycle ago is not new.
    recent = maximum_filter1d(classes, VIBRATO, axis=1, mode="constant", origin=(VIBRATO - 1) // 2)
    before = largest_of_neighbours(recent[:, :-CHROMA_LAG], circular=True)
    rise = np.maximum(classes[:, CHROMA_LAG:] - before, 0.0)
    most = np.partition(rise, -CHROMA_BINS, axis=0)[-CHROMA_BINS:].mean(axis=0)
    return np.concatenate([np.zeros(CHROMA_LAG), most])[start - first :]


def own_levels(mel: np.ndarray) -> np.ndarray:
    """(n_mels,) level of the loud frames of each band; all 0 for silence."""
    return np.asarray(np.maximum(band_percentiles(mel, 98), loud_level(mel) * 10 ** (-WHITENING_DB / 10)))


def _whitened(mel: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Log power of bands, each relative to its own loud frames: 0 for silence, about 1 for these."""
    return _compressed(np.asarray(mel, dtype=np.float64) / own[:, None])


def cut_offs(mel: np.ndarray, own: np.ndarray, strength: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(n,) bool: whether what is heard at given frames is that a sound stops dead, whose cut is heard as a click.

    Behind it there is less in all, or in bands on the whole, and no more in any, each beside its :func:`own_levels`.
    """
    last = mel.shape[1] - 1
    cut = np.zeros(len(frames), dtype=bool)
    for start, end in blocks(len(frames), PICKED_FRAMES):
        at = frames[start:end]
        after, next_after, before = (
            np.asarray(mel[:, np.clip(at + shift, 0, last)], dtype=np.float64) for shift in (CUT, CUT - 1, -CUT)
        )
        # The next sound may follow at once: the quieter of two frames behind the peak counts.
        change = np.minimum(_whitened(after, own), _whitened(next_after, own)) - _whitened(before, own)
        gain, loss = np.maximum(change, 0.0).mean(axis=0), np.maximum(-change, 0.0).mean(axis=0)
        falls = np.minimum(after.sum(axis=0), next_after.sum(axis=0)) < before.sum(axis=0) * 10 ** (-CUT_DB / 10)
        cut[start:end] = (falls | (loss > strength[at])) & (gain < CUT_GAIN * np.maximum(strength[at], loss))
        release(mel)
    return cut


def _cut(mel: np.ndarray, own: np.ndarray, strength: np.ndarray, onsets_s: np.ndarray) -> np.ndarray:
    """:func:`cut_offs` at given seconds."""
    return cut_offs(mel, own, strength, np.rint(onsets_s * FRAME_RATE).astype(int))


def ends_before_another(mel: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(n,) bool: whether at given frames, increasing, a sound ends, and the next of them follows within 0.14 s."""
    level = np.concatenate([np.asarray(mel[:, part], dtype=np.float64).sum(axis=0) for part in windows(mel)])
    last = len(level) - 1
    after = np.minimum(level[np.minimum(frames + 1, last)], level[np.minimum(frames + 2, last)])
    falls = after < level[np.maximum(frames - 2, 0)] * 10 ** (-REST_DB / 10)
    return np.asarray(falls & (np.diff(frames, append=last + REST + 1) <= REST))


def _compressed(relative: np.ndarray) -> np.ndarray:
    # In half the time of log1p, which differs where there is next to nothing.
    return np.log(1 + COMPRESSION * relative) / np.log1p(COMPRESSION)


def harmony_novelty(chroma: np.ndarray) -> np.ndarray:
    """(n_frames,) cosine distance, 0 to 1, of the root chroma of four frames from that of the four frames before."""
    n = chroma.shape[1]
    novelty, past = np.zeros(n), np.zeros((len(chroma), 1))
    for part in windows(chroma):
        start, end = part.start, part.stop
        first = max(start - HARMONY_SPAN, 0)
        root = np.sqrt(np.asarray(chroma[:, first : end + HARMONY_SPAN], dtype=np.float64))
        total = np.cumsum(np.concatenate([past, root], axis=1), axis=1)  # before frame `first`, and so on
        at = np.arange(start, end) - first
        after = total[:, np.minimum(at + HARMONY_SPAN, n - first)] - total[:, at]
        before = total[:, at] - total[:, np.maximum(at - HARMONY_SPAN, 0)]
        norm = np.linalg.norm(after, axis=0) * np.linalg.norm(before, axis=0)
        alike = (after * before).sum(axis=0) / np.where(norm > 0, norm, 1.0)
        novelty[start:end] = np.where(norm > 0, 1 - alike, 0.0)
        past = total[:, [max(end - HARMONY_SPAN, 0) - first]]
    return novelty


def pick_onsets(
    strength: np.ndarray, active: np.ndarray, *, threshold: float, ratio: float = 1.0, robust: bool = False
) -> Onsets:
    """Peaks of an onset strength.

    A peak is the largest value within 70 ms to either side, exceeds ``ratio`` times the mean (if ``robust`` the median)
    of 0.3 s to either side by ``threshold``, and lies in an active frame or just before one, 0.1 s from the end at
    least.

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
    highest = maximum_filter1d(x, 2 * MIN_DISTANCE + 1, mode="constant")
    window = 2 * BASELINE_HALF_WIDTH + 1
    baseline = median_filter(x, window, mode="mirror") if robust else uniform_filter1d(x, window, mode="mirror")
    sounding = active | np.r_[active[1:], False] | np.r_[active[2:], False, False]
    sounding[-END_FRAMES:] = False
    # Of equal neighbours the first is the peak.
    rising = np.r_[True, x[1:] > x[:-1]]
    peaks = np.flatnonzero((x >= highest) & rising & (x >= ratio * baseline + threshold) & sounding)
    times = (peaks + parabolic_offset(x, peaks)) / FRAME_RATE
    return np.maximum(times, 0.0), x[peaks]


def attack_times(strength: np.ndarray, onsets_s: np.ndarray) -> np.ndarray:
    """(n_onsets,) seconds at which the attacks began whose flux peaks at ``onsets_s``.

    The analysis window hears a stroke before it falls, a slow attack only when it is half over: how long the flux took
    from half its height to its peak tells the one from the other.
    """
    if not len(onsets_s):
        return np.zeros(0)
    peak = np.clip(np.rint(onsets_s * FRAME_RATE).astype(int), 0, len(strength) - 1)
    back = peak[:, None] - np.arange(LONGEST_RISE + 1)
    flux = np.where(back >= 0, strength[np.maximum(back, 0)], 0.0)
    half = RISE * flux[:, :1]
    # Frames back from the peak as long as the flux falls and is above the half.
    climbs = (flux[:, 1:] <= flux[:, :-1]) & (flux[:, 1:] > half)
    last = np.cumprod(climbs, axis=1).sum(axis=1)
    row = np.arange(len(peak))
    upper, lower = flux[row, last], flux[row, np.minimum(last + 1, LONGEST_RISE)]
    crosses = (lower <= half[:, 0]) & (upper > lower)
    part = np.where(crosses, (upper - half[:, 0]) / np.where(crosses, upper - lower, 1.0), 0.0)
    reached = (peak - last - part) / FRAME_RATE
    shift = STROKE_DELAY_S - SLOW_ATTACK * (onsets_s - reached - STROKE_RISE_S)
    return np.maximum(reached + np.clip(shift, EARLIEST_S, STROKE_DELAY_S), 0.0)


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


def join_onsets(first: np.ndarray, second: np.ndarray, apart_s: float) -> np.ndarray:
    """``first`` and those of ``second`` over ``apart_s`` from each of them, in seconds, sorted."""
    if not len(first):
        return np.sort(second)
    first = np.sort(first)
    place = np.searchsorted(first, second)
    gap = np.minimum(
        np.abs(second - first[np.maximum(place - 1, 0)]), np.abs(second - first[np.minimum(place, len(first) - 1)])
    )
    return np.sort(np.r_[first, second[gap > apart_s]])


def find_onsets(
    mel: np.ndarray,
    chroma: np.ndarray,
    active: np.ndarray,
    *,
    contour: F0Contour | None = None,
    activation: np.ndarray | None = None,
    drums: np.ndarray | None = None,
    rise: np.ndarray | None = None,
    voice: bool = False,
) -> Onsets:
    """Onsets of a stem or of the mixture.

    Parameters
    ----------
    mel, chroma : np.ndarray
        (n_mels, n_frames) and (N_CHROMA, n_frames) power of the row.
    active : np.ndarray
        (n_frames,) bool.
    contour : F0Contour, optional
        F0 of the stem, or None.
    activation : np.ndarray, optional
        (n_frames,) of strokes, from the network, for rows with drums, or None. It goes before the flux.
    drums : np.ndarray, optional
        (n_frames,) bool, where the drums play: elsewhere the click of a sound that stops dead, as that of a damper, is
        no stroke. Everywhere, if not given.
    rise : np.ndarray, optional
        (n_frames,) rise of single bins, which goes before the flux where the drums do not play; without ``drums``,
        everywhere.
    voice : bool, default=False
        Whether a note of the contour goes before a flux peak within 0.15 s, since a consonant and its vowel are
        one onset; else the peak does, which is the sharper.

    Returns
    -------
    onsets_s : (n_onsets,) float64 seconds, increasing.
    height : (n_onsets,) :func:`onset_strength` there.
    """
    own = own_levels(mel)
    strength = onset_strength(mel, chroma, own)
    found = _behind_cuts(mel, own, strength, active, voice)
    strokes = np.zeros(0)
    if activation is not None:
        strokes, _ = pick_onsets(activation, active, threshold=ACTIVATION_THRESHOLD)
        if drums is not None:
            played = drums[np.clip(np.rint(strokes * FRAME_RATE).astype(int), 0, len(drums) - 1)]
            strokes = strokes[played | ~_cut(mel, own, strength, strokes)]
    if rise is not None:
        quiet = np.ones(len(active), dtype=bool) if drums is None else ~drums
        clear = _behind_cuts(mel, own, strength, active, voice, threshold=CLEAR_FLUX)
        again = np.setdiff1d(join_onsets(strokes, returns(mel, active), RETURN_APART_S), strokes)
        alone = join_onsets(_by_bins(rise, strength, active), again, RETURN_APART_S)
        alone = join_onsets(alone, clear, SAME_BEGINNING_S)
        again = _where(again, quiet)
        found = np.sort(np.r_[_where(found, ~quiet), _where(alone, quiet)])
    if not voice:
        novelty = harmony_novelty(chroma)
        new, _ = pick_onsets(novelty, active, threshold=HARMONY_THRESHOLD, ratio=FLUX_RATIO, robust=True)
        found = join_onsets(found, np.maximum(new - HARMONY_DELAY_S, 0.0), SAME_HARMONY_S)
    found = found[~_cut(mel, own, strength, found)]
    if rise is not None:
        found = join_onsets(found, again, RETURN_APART_S)  # which may come so late that they look like cuts
    if voice:
        found = found[~ends_before_another(mel, np.rint(found * FRAME_RATE).astype(int))]
    found = join_onsets(strokes, found, SAME_STROKE_S)
    if contour is not None:
        begun = note_onsets(contour)
        found = join_onsets(begun, found, SAME_NOTE_S) if voice else join_onsets(found, begun, SAME_NOTE_S)
    frames = np.clip(np.rint(found * FRAME_RATE).astype(int), 0, max(len(strength) - 1, 0))
    around = maximum_filter1d(strength, 2 * MIN_DISTANCE + 1, mode="constant")
    return found, around[frames] if len(found) else np.zeros(0)


def _behind_cuts(
    mel: np.ndarray,
    own: np.ndarray,
    strength: np.ndarray,
    active: np.ndarray,
    voice: bool,
    threshold: float = FLUX_THRESHOLD,
) -> np.ndarray:
    """:func:`flux_onsets`; where a sound stops dead, what follows its click."""
    found = flux_onsets(strength, active, voice=voice, threshold=threshold)
    cut = _cut(mel, own, strength, found)
    if not cut.any():
        return found
    # A click hides the attack that follows it.
    heard = strength.copy()
    around = np.rint(found[cut] * FRAME_RATE).astype(int)[:, None] + np.arange(-1, 2)
    heard[np.clip(around, 0, len(heard) - 1)] = 0.0
    return flux_onsets(heard, active, voice=voice, threshold=threshold)


def _by_bins(rise: np.ndarray, strength: np.ndarray, active: np.ndarray) -> np.ndarray:
    """(n,) seconds at which bins begin to rise, and the flux a little."""
    told, _ = pick_onsets(rise, active, threshold=BIN_THRESHOLD, ratio=FLUX_RATIO, robust=True)
    near = maximum_filter1d(strength, 5, mode="constant")
    peak = np.rint(told * FRAME_RATE).astype(int)
    told, peak = (values[near[peak] >= BIN_FLUX] for values in (told, peak))
    earlier = rise[np.maximum(peak - 1, 0)] >= BIN_SHARE * rise[peak]
    return np.where(earlier, np.minimum(told, (peak - 0.5) / FRAME_RATE), told).clip(0)


def returns(mel: np.ndarray, active: np.ndarray) -> np.ndarray:
    """(n,) seconds at which the level of ``mel`` (n_mels, n_frames) is lowest between louder frames on either side."""
    level = np.concatenate([np.asarray(mel[:, part], dtype=np.float64).sum(axis=0) for part in windows(mel)])
    if not (active & (level > 0)).any():
        return np.zeros(0)
    loud = np.percentile(level[active], 90)
    level = np.maximum(level, loud * 10 ** (-PAUSE_DB / 10))  # in a pause it is lowest where it ends
    span, shift = RETURN_FRAMES + 1, RETURN_FRAMES // 2
    before, behind = (maximum_filter1d(level, span, mode="constant", origin=origin) for origin in (shift, -shift))
    lowest = (level <= minimum_filter1d(level, 2 * MIN_DISTANCE + 1)) & np.r_[level[:-1] < level[1:], False]
    comes_back = np.minimum(before, behind) >= level * 10 ** (RETURN_DB / 10)
    comes_back[-END_FRAMES - MIN_DISTANCE :] = False
    return np.flatnonzero(lowest & comes_back) / FRAME_RATE


def _where(times_s: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Those of (n,) seconds whose frame is one of (n_frames,) bool."""
    return times_s[frames[np.clip(np.rint(times_s * FRAME_RATE).astype(int), 0, len(frames) - 1)]]


def flux_onsets(
    strength: np.ndarray, active: np.ndarray, *, voice: bool = False, threshold: float = FLUX_THRESHOLD
) -> np.ndarray:
    """(n,) seconds at which the attacks began that are peaks of ``strength``, see :func:`pick_onsets`.

    With ``voice`` the stricter thresholds of a voice, whose strength is never low.
    """
    if voice:
        peaks, _ = pick_onsets(strength, active, threshold=VOICE_THRESHOLD, ratio=VOICE_RATIO)
    else:
        peaks, _ = pick_onsets(strength, active, threshold=threshold, ratio=FLUX_RATIO, robust=True)
    return attack_times(strength, peaks)


def describe_onsets(onsets_s: np.ndarray, height: np.ndarray, active: np.ndarray, duration_s: float) -> dict[str, Any]:
    """Onset fields of the family ``rhythm`` for one row."""
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


def row_onsets(inputs: DescriptorInputs) -> dict[str, Onsets]:
    """Onsets of every row, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{row: (onsets_s, height)}`` of :func:`find_onsets`.
    """
    frames, active = inputs.frames, inputs.get(active_rows)
    contours = {stem: contour for stem, (contour, _) in inputs.get(f0_contours).items()}
    return {
        row: find_onsets(
            frames.stems[row].mel,
            frames.stems[row].chroma,
            active[row],
            contour=contours.get(row),
            activation=frames.onset if row in STROKE_ROWS else None,
            drums=active["drums"] if row in STROKE_ROWS else None,
            rise=None if row in BAND_ROWS else frames.stems[row].bin_rise,
            voice=row == "vocals",
        )
        for row in frames.rows
    }


def _onsets(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    return describe_onsets(*inputs.get(row_onsets)[row], inputs.get(active_rows)[row], inputs.frames.duration_s)


register(Extractor("onsets", 30, ONSET_FIELDS, "rhythm_status", _onsets))
