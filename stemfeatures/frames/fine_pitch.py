"""F0 of the voice at a finer resolution: candidates of the network moved to the periods of the separated waveform.

The network reads frames of 93 ms, so of a voice that glides it tells where the pitch was on average, and on a grid of
20 cents. Around each of its candidates the normalised square difference (McLeod and Wyvill, ICMC 2005, eq. 9) of 23 ms
of the separated voice, and a period, is searched for a maximum. Where the candidates stand still only a clear one
counts, since what is left of other stems has periods too. The same is done half way from each frame to the next: from
one frame to the other a voice may move by a semitone and more.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_PITCH_CANDIDATES

#: Samples that are compared with those a period later.
WINDOW = 512
#: Lowest and highest pitch that is moved, in Hz (a shorter period is too few samples), and lowest of those for which
#: less of the waveform is looked at; how far it is moved, in cents, and the step in which it is searched.
LOWEST_HZ, HIGHER_HZ, HIGHEST_HZ = 56.0, 140.0, 1000.0
REACH_CENTS, STEP_CENTS = 150.0, 10.0
#: A pitch so many cents from the candidate needs half a unit more of similarity.
SPREAD_CENTS = 300.0
#: Least similarity, 0 to 1, where the pitch moves and where it stands still: over so many frames it stays within so
#: many cents.
MOVING, STEADY = 0.5, 0.9
STEADY_CENTS, STEADY_FRAMES = 40.0, 5
#: From one candidate to another it leaps rather than moves.
LEAP_CENTS = 500.0
#: Between frames whose pitches are farther apart a pitch leaps rather than moves, and nothing is looked for.
NEAR_CENTS = 200.0
#: Frames with a lower probability of a pitch are left as they are.
LEAST_VOICING = 0.2
_SPAN, _SHORT_SPAN = (
    WINDOW + int(np.ceil(ANALYSIS_SAMPLE_RATE / hz * 2 ** (REACH_CENTS / 1200))) + 3 for hz in (LOWEST_HZ, HIGHER_HZ)
)
_HALF = STEADY_FRAMES // 2
#: Frames at a time.
_CHUNK = 512


class FinePitch:
    """Moves the candidates of a voice that arrives in blocks; keeps what later frames need of the waveform.

    Examples
    --------
    >>> fine = FinePitch()
    >>> fine.push(np.full((20, 1), 221.5), np.ones(20))
    >>> fine.push_signal(np.sin(2 * np.pi * 220 * np.arange(22_050) / 22_050))
    >>> moved, between = fine.finish()
    >>> bool(abs(moved[5, 0] - 220) < 0.1), bool(abs(between[5] - 220) < 0.1)
    (True, True)
    """

    def __init__(self) -> None:
        self._signal = np.zeros(_SPAN // 2, np.float32)
        self._hz: list[np.ndarray] = []
        self._voicing: list[np.ndarray] = []
        self._n_waiting = 0
        self._context = np.zeros((0, 1))
        self._moved: list[tuple[np.ndarray, np.ndarray]] = []

    def push(self, candidates_hz: np.ndarray, voicing: np.ndarray) -> None:
        """Take candidates of further frames.

        Parameters
        ----------
        candidates_hz : np.ndarray
            (n_frames, n_candidates) Hz, the best first; NaN pads.
        voicing : np.ndarray
            (n_frames,) probability of a pitch.
        """
        self._hz.append(np.asarray(candidates_hz, dtype=np.float64))
        self._voicing.append(np.asarray(voicing))
        self._n_waiting += len(voicing)
        self._run(self._ready())

    def push_signal(self, signal: np.ndarray) -> None:
        """Take further (n,) samples of the voice; sample 0 is the centre of frame 0."""
        self._signal = np.concatenate([self._signal, np.asarray(signal, dtype=np.float32)])
        self._run(self._ready())

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """What is done and was not taken before.

        Returns
        -------
        moved : np.ndarray
            (n_frames, n_candidates) Hz.
        between : np.ndarray
            (n_frames,) Hz half way to the next frame; NaN where the best candidates of both are not near each other.
        """
        done, self._moved = self._moved, []
        moved = [part for part, _ in done] or [np.zeros((0, N_PITCH_CANDIDATES))]
        return np.concatenate(moved), np.concatenate([part for _, part in done] or [np.zeros(0)])

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of all frames that are left; where the waveform ends it is silent."""
        self._signal = np.pad(self._signal, (0, (self._n_waiting + 1) * HOP_LENGTH + _SPAN))
        self._run(self._n_waiting)
        return self.take()

    def _ready(self) -> int:
        """Frames whose waveform is there, and as many candidates after them as tell whether they stand still."""
        ready = min((len(self._signal) - _SPAN - HOP_LENGTH // 2) // HOP_LENGTH + 1, self._n_waiting - _HALF)
        return ready if ready >= _CHUNK else 0

    def _run(self, count: int) -> None:
        if count <= 0:
            return
        hz, voicing = np.concatenate(self._hz), np.concatenate(self._voicing)
        least = np.where(_moving(np.concatenate([self._context, hz[:, :1]])[:, 0]), MOVING, STEADY)[
            len(self._context) :
        ]
        half_way, sure = _half_way(hz[:, 0], voicing)
        for start in range(0, count, _CHUNK):
            part = slice(start, min(start + _CHUNK, count))
            first = HOP_LENGTH * np.arange(part.start, part.stop)
            moved = self._move(first, hz[part], voicing[part] > LEAST_VOICING, least[part])
            clear = np.full(len(first), MOVING)
            between = self._move(first + HOP_LENGTH // 2, half_way[part, None], sure[part], clear)
            self._moved.append((moved, between[:, 0]))
        self._context = np.concatenate([self._context, hz[:count, :1]])[-_HALF:]
        self._hz, self._voicing, self._n_waiting = [hz[count:]], [voicing[count:]], self._n_waiting - count
        self._signal = self._signal[count * HOP_LENGTH :].copy()

    def _move(self, first: np.ndarray, hz: np.ndarray, sure: np.ndarray, least: np.ndarray) -> np.ndarray:
        """(n, n_candidates) Hz of the waveform from samples ``first`` on, where a pitch is ``sure`` enough."""
        moved = hz.copy()
        for span, low, high in ((_SPAN, LOWEST_HZ, HIGHER_HZ), (_SHORT_SPAN, HIGHER_HZ, HIGHEST_HZ)):
            inside = (hz >= low) & (hz < high) & sure[:, None]
            rows = np.flatnonzero(inside.any(axis=1))
            if len(rows):
                similarity = similarities(sliding_window_view(self._signal, span)[first[rows] + (_SPAN - span) // 2])
                frame, column = np.nonzero(inside[rows])
                at = rows[frame]
                moved[at, column] = nearest_period(similarity, frame, hz[at, column], least[at])
        return moved


def _half_way(hz: np.ndarray, voicing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) Hz between each frame and the next, NaN where they are not near each other; (n,) whether one has a pitch."""
    behind = np.append(hz[1:], np.nan)
    near = np.abs(1200 * np.log2(behind / hz)) < NEAR_CENTS
    sure = np.maximum(voicing, np.append(voicing[1:], 0.0)) > LEAST_VOICING
    return np.where(near, np.sqrt(hz * behind), np.nan), sure


def _moving(hz: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a series moves by more than 40 cents within five frames, and does not leap."""
    known = np.isfinite(hz)
    place = 1200 * np.log2(np.where(known, hz, 1.0))
    highest = maximum_filter1d(np.where(known, place, -LEAP_CENTS), STEADY_FRAMES, mode="nearest")
    lowest = minimum_filter1d(np.where(known, place, 1e6), STEADY_FRAMES, mode="nearest")
    return np.asarray((highest - lowest > STEADY_CENTS) & (highest - lowest < LEAP_CENTS))


def similarities(x: np.ndarray) -> np.ndarray:
    """Normalised square difference of each lag.

    Parameters
    ----------
    x : np.ndarray
        (n, span) samples.

    Returns
    -------
    (n, span - WINDOW) from -1 to 1: 1 where the samples repeat after a lag; lag 0 first.
    """
    x = np.asarray(x, dtype=np.float32)  # half of the time in double precision, and right to 1e-6
    span = x.shape[1]
    # Lags beyond those that are looked at may wrap around.
    size = next_fast_len(2 * span - WINDOW, real=True)
    n_lags = span - WINDOW
    spectrum = rfft(x, size)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    correlation = irfft(power, size)[:, :n_lags]
    energy = np.zeros((len(x), span + 1))
    np.cumsum(np.square(x, dtype=np.float64), axis=1, out=energy[:, 1:])
    both = energy[:, span : span - n_lags : -1] + energy[:, -1:] - energy[:, :n_lags]
    return np.asarray(2 * correlation / np.maximum(both, 1e-12))


def nearest_period(similarity: np.ndarray, frame: np.ndarray, hz: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Pitches moved to the maximum of the similarity around them.

    Parameters
    ----------
    similarity : np.ndarray
        (n_frames, n_lags) of :func:`similarities`.
    frame : np.ndarray
        (n,) frame of each pitch.
    hz : np.ndarray
        (n,) Hz.
    least : np.ndarray
        (n,) similarity below which a pitch stays where it is.

    Returns
    -------
    (n,) Hz, within 150 cents of ``hz``.
    """
    cents = np.arange(-REACH_CENTS, REACH_CENTS + 1, STEP_CENTS)
    lag = ANALYSIS_SAMPLE_RATE / hz[:, None] * 2.0 ** (-cents / 1200)
    below = np.clip(lag.astype(int), 1, similarity.shape[1] - 3)
    part = lag - below
    place = frame[:, None] * similarity.shape[1] + below
    p0, p1, p2, p3 = (similarity.ravel()[place + step] for step in (-1, 0, 1, 2))
    # Catmull and Rom's cubic between lags.
    value = p1 + part / 2 * (p2 - p0 + part * (2 * p0 - 5 * p1 + 4 * p2 - p3 + part * (3 * (p1 - p2) + p3 - p0)))
    rows = np.arange(len(hz))
    best = (value - np.square(cents / SPREAD_CENTS) / 2).argmax(axis=1)
    # Distance decides which maximum, not where it is: up to it.
    near = np.clip(best[:, None] + np.arange(-2, 3), 0, len(cents) - 1)
    best = near[rows, np.take_along_axis(value, near, axis=1).argmax(axis=1)]
    inner = np.clip(best, 1, len(cents) - 2)
    left, centre, right = (value[rows, inner + step] for step in (-1, 0, 1))
    offset = np.clip((left - right) / 2 / np.minimum(left - 2 * centre + right, -1e-9), -0.5, 0.5)
    found = (best == inner) & (value[rows, best] > least)
    return np.where(found, hz * 2 ** ((cents[inner] + STEP_CENTS * offset) / 1200), hz)
