"""From beat activations to beats and tempo.

Tempo candidates are peaks of a comb over the autocorrelation of the activation under a log-normal prior. Beats are the
best path of a semi-Markov model whose state is the period that led to a beat: the dynamic programming of Ellis ("Beat
tracking by dynamic programming", JNMR 2007) with the tempo as part of the state and the observation model of the bar
pointer (Böck, Krebs and Widmer, "Joint beat and downbeat tracking with recurrent neural networks", ISMIR 2016), so
that the tempo may change on the way. Which of the pulses are beats, and where bars begin, is for
:mod:`stemfeatures.descriptors.metre` to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._util.numba_cache import compiled_when_called
from ..constants import FRAME_RATE
from .values import parabolic_offset

MIN_BPM, MAX_BPM = 40.0, 220.0
#: Log-normal tempo prior: centre and standard deviation in octaves.
PRIOR_BPM, PRIOR_OCTAVES = 115.0, 0.9
#: Beats are looked for in signals of at least this length.
MIN_DURATION_S = 3.0
#: Activation below which a stretch of four beats or more is no rhythm.
BEAT_FLOOR = 0.1
#: Periodicity (comb over the normalised autocorrelation) below which an activation has no tempo.
PERIODICITY_FLOOR = 0.1
MIN_BEATS = 4
#: Evidence without which a path of beats is no rhythm: so many beats, and this share of them, reach ``CLEAR_BEAT``, and
#: the median beat exceeds the mean activation away from the beats by this factor (twice that for four beats: a few are
#: easily found in noise).
CLEAR_BEAT = 0.3
CLEAR_SHARE = 0.5
CONTRAST = 2.5
#: The first and the last beat reach this share of the median activation.
END_STRENGTH = 0.5

#: A beat is one frame in so many of its period (Böck 2016: 16); sets the activation that is worth a beat.
OBSERVATION_LAMBDA = 16.0
#: Cost of a tempo change by a factor e, squared; and weight of the tempogram in the path.
TEMPO_COST = 100.0
TEMPOGRAM_WEIGHT = 2.0


@dataclass
class BeatTrack:
    """Beats of one activation.

    Attributes
    ----------
    beats_s : np.ndarray
        (n_beats,) float64 seconds, increasing.
    strength : np.ndarray
        (n_beats,) activation at each beat, 0..1.
    tempo_bpm : tuple[tuple[float, float], ...], default=()
        ``((bpm, strength), ...)`` at most two, the first being that of the beats; strengths sum to 1 or less.
    """

    beats_s: np.ndarray
    strength: np.ndarray
    tempo_bpm: tuple[tuple[float, float], ...] = ()


def tempogram(activation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Periodicity of an activation by tempo.

    Returns
    -------
    bpm : (n,) a grid of 1 % steps from 40 to 220 bpm.
    periodicity : (n,) mean of the normalised autocorrelation at one to four beats, 0..1.
    salience : (n,) the same weighted by the tempo prior.
    """
    bpm = MIN_BPM * 1.01 ** np.arange(int(np.log(MAX_BPM / MIN_BPM) / np.log(1.01)) + 1)
    # A pulse is a frame or two wide: blurred, it still meets itself when the period falls between frames.
    blurred = np.convolve(activation, [0.25, 0.5, 0.25], "same")
    centred = blurred - blurred.mean()
    n = len(centred)
    spectrum = np.fft.rfft(centred, 2 * n)
    correlation = np.fft.irfft(np.square(np.abs(spectrum)))[:n]
    if correlation[0] <= 1e-12:
        return bpm, np.zeros(len(bpm)), np.zeros(len(bpm))
    correlation = correlation / correlation[0] * (n / np.arange(n, 0, -1))
    lag = 60 * FRAME_RATE / bpm
    # Lags over half the signal rest on too little overlap to say anything.
    comb = np.array(
        [np.interp(m * lag, np.arange(n), correlation, right=0.0) * (m * lag < n / 2) for m in (1, 2, 3, 4)]
    )
    weights = np.array([1, 1 / 2, 1 / 3, 1 / 4])[:, None] * (np.arange(1, 5)[:, None] * lag < n / 2)
    periodicity = np.maximum((comb * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-9), 0.0)
    prior = np.exp(-0.5 * np.square(np.log2(bpm / PRIOR_BPM) / PRIOR_OCTAVES))
    return bpm, periodicity, periodicity * prior


def track_beats(activation: np.ndarray) -> BeatTrack | None:
    """Beats of a (n_frames,) activation in 0..1, or None where there is no rhythm.

    No rhythm means: less than 3 s, no periodicity, fewer than four beats whose activation (median of nine neighbours)
    reaches 0.1, fewer than four or half of them above 0.3, a median beat below 2.5 times (5 times for four beats) the
    mean activation between the beats, or a tempo below 40 bpm. Weak stretches at either end and in the middle get no
    beats. Pulses faster than 220 bpm are taken two to a beat.
    """
    activation = np.clip(np.nan_to_num(np.asarray(activation, dtype=np.float64)), 0.0, 1.0)
    if len(activation) < MIN_DURATION_S * FRAME_RATE:
        return None
    bpm, periodicity, salience = tempogram(activation)
    if periodicity.max() < PERIODICITY_FLOOR:
        return None
    frames = _best_path(activation, bpm, salience)
    neighbours = np.lib.stride_tricks.sliding_window_view(np.pad(activation, 2), 5).max(axis=1)
    strength = neighbours[frames]
    half = min(4, (len(strength) - 1) // 2)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(strength, half, mode="edge"), 2 * half + 1)
    kept = np.median(windows, axis=1) >= BEAT_FLOOR
    # The path runs from end to end of the signal; beats before the first and after the last clear one are guesses.
    clear = np.flatnonzero(kept & (strength >= max(BEAT_FLOOR, END_STRENGTH * np.median(strength))))
    if not len(clear):
        return None
    kept[: clear[0]] = kept[clear[-1] + 1 :] = False
    frames, strength = frames[kept], strength[kept]
    if not _evident(activation, frames, strength):
        return None
    beats_s = _to_peak(activation, frames) / FRAME_RATE
    tempo = 60 / np.median(beat_periods(beats_s))
    if tempo > MAX_BPM:
        # The stronger half of the pulses.
        phase = int(strength[1::2].mean() > strength[::2].mean())
        beats_s, strength = beats_s[phase::2], strength[phase::2]
        tempo /= 2
    if tempo < MIN_BPM or len(beats_s) < MIN_BEATS:
        return None
    return BeatTrack(beats_s, strength, _tempi(beats_s, bpm, salience))


def _evident(activation: np.ndarray, frames: np.ndarray, strength: np.ndarray) -> bool:
    """Whether the activation stands out at the beats."""
    clear = strength >= CLEAR_BEAT
    if clear.sum() < MIN_BEATS or clear.mean() < CLEAR_SHARE:
        return False
    between = np.zeros(len(activation), dtype=bool)
    between[frames[0] : frames[-1] + 1] = True
    between[np.clip(frames[:, None] + np.arange(-3, 4), 0, len(activation) - 1)] = False
    needed = CONTRAST * (1 + MIN_BEATS / len(frames))
    return not between.any() or bool(np.median(strength) >= needed * activation[between].mean())


def _best_path(activation: np.ndarray, bpm: np.ndarray, salience: np.ndarray) -> np.ndarray:
    """Beat frames of the best path; state = (frame of a beat, period that led to it)."""
    n = len(activation)
    periods = np.arange(int(np.floor(60 * FRAME_RATE / MAX_BPM)), int(np.ceil(60 * FRAME_RATE / MIN_BPM)) + 1)
    clipped = np.clip(activation, 1e-3, 1 - 1e-3)
    # Log-likelihood ratio of "a beat is here" against "none is", per frame.
    reward = np.log(clipped) - np.log((1 - clipped) / (OBSERVATION_LAMBDA - 1))
    peak = max(float(salience.max()), 1e-9)
    fit = np.interp(60 * FRAME_RATE / periods, bpm, salience) / peak
    preference = TEMPOGRAM_WEIGHT * np.log(np.maximum(fit, 1e-2))
    change = TEMPO_COST * np.square(np.log(periods[:, None] / periods[None, :]))

    shortest, longest = periods[0], periods[-1]
    # Totals of the frames a longest period back. Those before the first are a start at any phase and tempo, at no cost.
    total = np.zeros((longest + shortest, len(periods)))
    back = np.empty((n, len(periods)), dtype=np.int8)
    # No beat reaches back less than the shortest period: so many frames are decided at once.
    for start in range(0, n, shortest):
        count = min(shortest, n - start)
        _decide(total, periods, change, preference, reward[start : start + count], back[start : start + count])
        total[:longest] = total[count : count + longest].copy()
    # The last beat lies within the last period; each period ends where it must, so the ends compete fairly.
    tail = total[max(longest - n, 0) : longest]
    age = np.arange(len(tail))[::-1, None]
    last = int(np.where(age < periods[None, :], tail, -np.inf).argmax())
    t, p = last // len(periods) + max(n - longest, 0), last % len(periods)
    path: list[int] = []
    while t >= 0:
        path.append(t)
        t, p = t - int(periods[p]), int(back[t, p])
    return np.array(path[::-1])


@compiled_when_called(fastmath={"nnan", "nsz"})  # so that maxima are found several numbers at a time
def _decide(
    total: np.ndarray, periods: np.ndarray, change: np.ndarray, preference: np.ndarray, reward: np.ndarray,
    back: np.ndarray,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Totals of as many frames as ``reward`` has, behind those of a longest period, and which period led to each."""
    longest, n_periods = periods[-1], len(periods)
    reach = np.empty(n_periods)
    for i in range(len(reward)):
        for p in range(n_periods):
            before, cost, best = total[longest + i - periods[p]], change[p], -np.inf
            for q in range(n_periods):
                reach[q] = before[q] - cost[q]
            for q in range(n_periods):
                best = max(best, reach[q])
            origin = 0
            while origin < n_periods - 1 and reach[origin] != best:
                origin += 1
            total[longest + i, p] = best + preference[p] + reward[i]
            back[i, p] = origin


def _to_peak(activation: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Move each frame to the activation peak within two frames, then between frames by a parabola."""
    offsets = np.arange(-2, 3)
    around = np.clip(frames[:, None] + offsets, 0, len(activation) - 1)
    # The nearer of equal peaks wins.
    best = around[np.arange(len(frames)), (activation[around] - 1e-6 * np.abs(offsets)).argmax(axis=1)]
    best = np.maximum.accumulate(best)
    return best + parabolic_offset(activation, best)


def tempo_of(beats_s: np.ndarray, activation: np.ndarray) -> tuple[tuple[float, float], ...]:
    """``((bpm, strength), ...)`` of beats in seconds, see :class:`BeatTrack`; (n_frames,) activation in 0..1."""
    bpm, _, salience = tempogram(np.asarray(activation, dtype=np.float64))
    return _tempi(beats_s, bpm, salience)


def _tempi(beats_s: np.ndarray, bpm: np.ndarray, salience: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Tempo of the beats and the best other tempo, with their shares of the tempogram's peaks."""
    first = 60 / np.median(beat_periods(beats_s))
    inner = salience[1:-1]
    peaks = 1 + np.flatnonzero((inner > 0) & (inner >= salience[:-2]) & (inner > salience[2:]))
    others = peaks[np.abs(np.log(bpm[peaks] / first)) > 0.08]
    own = float(salience[np.abs(np.log(bpm / first)) <= 0.08].max(initial=0.0))
    total = own + salience[others].sum()
    if total <= 0:
        return ((first, 0.0),)
    tempi = [(first, own / total)]
    if len(others):
        second = others[salience[others].argmax()]
        tempi.append(
            (float(bpm[second] * 1.01 ** parabolic_offset(salience, np.array([second]))[0]), salience[second] / total)
        )
    return tuple((float(t), float(s)) for t, s in tempi)


def beat_periods(beats_s: np.ndarray) -> np.ndarray:
    """Seconds per beat, each averaged over up to four intervals, which takes the frame grid's jitter out."""
    span = min(4, len(beats_s) - 1)
    return (beats_s[span:] - beats_s[:-span]) / span
