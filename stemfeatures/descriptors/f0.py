"""One pitch at a time: from F0 candidates to a contour, and from the contour to figures.

Decoding is a Viterbi search over the candidates of each frame and one unvoiced state, in the manner of pYIN (Mauch and
Dixon, ICASSP 2014). Frames in which the stem does not sound cannot be voiced, whatever the network says of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._util.numba_cache import compiled_when_called
from ..constants import FRAME_RATE, PITCHED_STEMS
from ..fields import LOG1P, Field, log, status_field
from ..frames import PitchFrames
from .activity import active_rows
from .inputs import DescriptorInputs
from .paths import advance, trace
from .registry import Extractor, register
from .types import F0Contour
from .values import BLOCK_FRAMES, OK, SILENT, TOO_SHORT, blocks, mean, median, number, runs, std, windows

#: Costs in nats. A leap of an octave costs ``JUMP_COST``, one within 80 cents of whole octaves ``OCTAVE_COST`` more.
JUMP_COST = 6.0
OCTAVE_COST = 3.0
VOICING_COST = 0.5
#: Voiced runs shorter than this (70 ms) are dropped: no note is that short, chatter is.
MIN_RUN = 3
#: Minimum frames of a signal for F0 figures.
MIN_FRAMES = 4

#: Melody figures: what is averaged ahead (0.19 s), the departure that starts a note, the shortest note (93 ms).
LOOKAHEAD = 8
NOTE_CHANGE_CENTS = 70.0
MIN_NOTE = 4
#: Longest rest over which two notes still make an interval.
MAX_REST_S = 1.0

#: Vibrato: window 0.60 s, two and a half periods of the slowest; hop 0.09 s.
VIBRATO_WINDOW = 26
VIBRATO_HOP = 4
#: Windows at a time.
VIBRATO_BLOCK = 2048
#: Rates that are tried, and their step; rate (a reading of 3.9 may be one of 4) and extent of what counts (half of peak
#: to peak).
VIBRATO_TRIED_HZ, VIBRATO_STEP_HZ = (3.25, 9.5), 0.25
VIBRATO_HZ = (3.9, 8.5)
VIBRATO_CENTS = (15.0, 250.0)
#: Share of the contour's movement in a window that a sinusoid must explain.
VIBRATO_EXPLAINED = 0.6
#: Two successive windows must agree, in rate and, as a ratio, in extent.
VIBRATO_AGREE_HZ, VIBRATO_AGREE_RATIO = 1.0, 1.6

UNVOICED = "unvoiced"

_HZ_RANGE = "24..2100"
_field = partial(Field, type="float32", family="f0", rows=PITCHED_STEMS)
_f0 = partial(_field, feature="f0", unit="Hz", range=_HZ_RANGE, scale=log(1.0))
FIELDS = (
    status_field(
        "f0_status", "ok | silent | absent | too_short | unvoiced | not_applicable", "an F0 contour", family="f0"
    ),
    _f0("f0_median_hz", description="Median F0 of the voiced frames.", statistic="median"),
    _f0("f0_mean_hz", description="Geometric mean F0 of the voiced frames.", statistic="mean"),
    _field(
        "f0_std_cents",
        description="Standard deviation of the F0 on the cent scale.",
        unit="cents",
        range=">= 0",
        scale=LOG1P,
        feature="f0",
        statistic="std",
    ),
    *(
        _f0(f"f0_p{p:02d}_hz", description=f"{p}th percentile of the F0 over voiced frames.", statistic=f"p{p:02d}")
        for p in (5, 25, 75, 95)
    ),
    _f0("f0_min_hz", description="Lowest F0, robustly: 1st percentile.", statistic="min"),
    _f0("f0_max_hz", description="Highest F0, robustly: 99th percentile.", statistic="max"),
    _field(
        "f0_range_semitones",
        description="From f0_p05_hz to f0_p95_hz in semitones.",
        unit="semitones",
        range=">= 0",
        scale=LOG1P,
        feature="f0",
        statistic="range",
    ),
    _field("f0_voiced_ratio", description="Share of the active frames that have an F0.", range="0..1"),
    _field(
        "f0_voicing_mean",
        description="Mean voicing probability of the active frames.",
        range="0..1",
        feature="f0_voicing",
        statistic="mean",
    ),
    _field(
        "f0_confidence",
        description="Mean over voiced frames of voicing probability times salience of the chosen pitch.",
        range="0..1",
    ),
    _field(
        "f0_note_rate",
        description="Steady notes a second of voiced time.",
        unit="1/s",
        range=">= 0",
        scale=LOG1P,
    ),
    _field(
        "f0_note_duration_median_s",
        description="Median length of the steady notes.",
        unit="s",
        range=">= 0.09",
        scale=log(0.01),
        feature="f0_note_duration",
        statistic="median",
    ),
    _field(
        "f0_interval_mean_cents",
        description="Mean absolute interval between successive notes no more than 1 s apart.",
        unit="cents",
        range=">= 0",
        scale=LOG1P,
        feature="f0_interval",
        statistic="mean",
    ),
    _field(
        "f0_interval_std_cents",
        description="Standard deviation of the signed intervals.",
        unit="cents",
        range=">= 0",
        scale=LOG1P,
        feature="f0_interval",
        statistic="std",
    ),
    _field(
        "vibrato_rate_hz",
        description="Median rate of the vibrato; null without vibrato.",
        unit="Hz",
        range="4..8.5",
        scale=log(1.0),
    ),
    _field(
        "vibrato_extent_cents",
        description="Median extent of the vibrato, half of peak to peak; null without vibrato.",
        unit="cents",
        range="15..250",
        scale=LOG1P,
    ),
    _field(
        "vibrato_ratio",
        description="Share of the unbroken voiced windows of 0.60 s that have vibrato; null when there are none.",
        range="0..1",
    ),
)


def cents(hz: np.ndarray) -> np.ndarray:
    """Cents above A4 = 440 Hz."""
    return 1200 * np.log2(hz / 440.0)


def decode_f0(pitch: PitchFrames, active: np.ndarray, times_s: np.ndarray) -> tuple[F0Contour, np.ndarray]:
    """Monophonic contour of F0 candidates.

    Parameters
    ----------
    pitch : PitchFrames
        Candidates, their salience and the voicing probability.
    active : (n_frames,) ndarray of bool
        Inactive frames come out unvoiced with voicing 0.
    times_s : (n_frames,) ndarray
        Frame centres in seconds.

    Returns
    -------
    contour : F0Contour
        NaN where unvoiced.
    salience : (n_frames,) ndarray
        Salience of the chosen candidate, 0 where unvoiced.
    """
    voicing = np.where(active, np.clip(np.nan_to_num(pitch.voicing), 0.0, 1.0), 0.0)
    states = _States(pitch, voicing, active)
    n_frames, k = pitch.candidates_hz.shape
    path = np.full(n_frames, k, dtype=np.int8)
    for start, end in runs(states.any_usable()):
        path[start:end] = _viterbi(states, start, end)

    voiced = path < k
    for start, end in runs(voiced):
        if end - start < MIN_RUN:
            voiced[start:end] = False
    frame = np.arange(n_frames)
    choice = np.minimum(path, k - 1)
    contour = F0Contour(
        times_s=np.asarray(times_s, dtype=np.float64),
        f0_hz=np.where(voiced, np.asarray(pitch.candidates_hz[frame, choice], dtype=np.float64), np.nan),
        voicing=voicing.astype(np.float32),
    )
    return contour, np.where(voiced, np.nan_to_num(pitch.salience[frame, choice]).astype(np.float64), 0.0)


class _States:
    """Candidates as states of a path, and what each is worth; those of a block of frames at a time.

    Parameters
    ----------
    pitch : PitchFrames
        The candidates.
    voicing : (n_frames,) ndarray
        Probability of a pitch, 0 in inactive frames.
    active : (n_frames,) ndarray of bool
        Frames that have states.
    """

    def __init__(self, pitch: PitchFrames, voicing: np.ndarray, active: np.ndarray) -> None:
        self._pitch, self._voicing, self._active = pitch, voicing, active
        self._start = self._stop = 0
        self._known: tuple[np.ndarray, np.ndarray] = (np.zeros((0, 0)), np.zeros((0, 0)))

    def any_usable(self) -> np.ndarray:
        """(n_frames,) bool: whether a frame has a candidate."""
        frames = windows(self._pitch.candidates_hz.T, self._pitch.salience.T)
        return np.concatenate([self._usable(part)[0].any(axis=1) for part in frames] or [np.zeros(0, dtype=bool)])

    def between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n, k + 1), of being unvoiced last, and places in octaves (n, k), at most a block of frames."""
        if start < self._start or stop > self._stop:
            self._start, self._stop = start, min(max(start + BLOCK_FRAMES, stop), len(self._active))
            self._known = self._scores(slice(self._start, self._stop))
        inside = slice(start - self._start, stop - self._start)
        return self._known[0][inside], self._known[1][inside]

    def _usable(self, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hz = np.asarray(self._pitch.candidates_hz[part], dtype=np.float64)
        salience = np.nan_to_num(np.asarray(self._pitch.salience[part], dtype=np.float64))
        return np.isfinite(hz) & (hz > 0) & (salience > 0) & self._active[part, None], hz, salience

    def _scores(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        usable, hz, salience = self._usable(part)
        voicing, (n, k) = self._voicing[part], hz.shape
        # Voicing decides whether there is a pitch, the salience relative to the frame's best which one it is.
        tiny = 1e-3
        best = np.where(usable, salience, 0.0).max(axis=1, keepdims=True, initial=tiny)
        score = np.full((n, k + 1), -np.inf)
        score[:, :k] = np.where(
            usable, np.log(np.maximum(salience / best, tiny)) + np.log(np.maximum(voicing, tiny))[:, None], -np.inf
        )
        score[:, k] = np.log(np.maximum(1 - voicing, tiny))
        return score, np.log2(np.where(usable, hz, 1.0))


def _viterbi(states: _States, first: int, end: int) -> np.ndarray:
    """Best path from frame ``first`` to ``end`` (exclusive)."""
    n = end - first
    total = states.between(first, first + 1)[0][0].copy()
    back = np.zeros((n, len(total)), dtype=np.int8)
    for start, stop in blocks(n - 1):
        score, octave = states.between(first + start, first + stop + 1)
        advance(total, score[1:], _move_costs(octave), back[1 + start : 1 + stop])
    return np.asarray(trace(back, int(total.argmax())))


def _move_costs(octave: np.ndarray) -> np.ndarray:
    """(n - 1, k + 1, k + 1) of moving between the ``(n, k)`` states of successive frames, and the unvoiced one."""
    n, k = octave.shape
    leap = np.abs(octave[1:, None, :] - octave[:-1, :, None])
    whole = np.rint(leap)
    cost = np.full((n - 1, k + 1, k + 1), VOICING_COST)
    cost[:, :k, :k] = JUMP_COST * np.minimum(leap, 1.5) + OCTAVE_COST * ((whole >= 1) & (np.abs(leap - whole) < 1 / 15))
    cost[:, k, k] = 0.0
    return cost


def notes(pitch_cents: np.ndarray) -> np.ndarray:
    """Stretches of steady pitch: ``(n_notes, 3)`` of first frame, end frame (exclusive) and median cents.

    A note ends with voicing, or when the mean of the next 0.19 s, about one period of vibrato, departs from that of the
    note so far by more than 70 cents; the next one starts where the departure stops growing. A glide belongs to no
    note, nor does a stretch shorter than 93 ms.
    """
    pitch_cents = np.ascontiguousarray(pitch_cents, np.float64)
    spans = _steady_stretches(pitch_cents, _means_ahead(pitch_cents), runs(np.isfinite(pitch_cents)))
    return np.column_stack([spans, _medians(pitch_cents, spans)])


def _medians(values: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """(n,) medians of ``values`` from the first to the second column of ``(n, 2)`` spans, none of which is empty."""
    length = spans[:, 1] - spans[:, 0]
    end = np.cumsum(length)
    place = np.arange(length.sum()) + np.repeat(spans[:, 0] - end + length, length)
    span = np.repeat(np.arange(len(spans)), length)
    ordered = values[place[np.lexsort((values[place], span))]]
    return (ordered[end - length + (length - 1) // 2] + ordered[end - length + length // 2]) / 2


@compiled_when_called()
def _steady_stretches(
    pitch_cents: np.ndarray, means: np.ndarray, voiced: np.ndarray
) -> np.ndarray:  # pragma: no cover - compiled
    """``(n, 2)`` frames of the :func:`notes` of the ``(n_runs, 2)`` voiced stretches, by the mean of
    :data:`LOOKAHEAD` frames from each on."""
    found, n = np.empty((len(pitch_cents) // MIN_NOTE + 1, 2), np.int64), 0
    ahead = np.empty(len(pitch_cents))
    for run in range(len(voiced)):
        first, stop = voiced[run, 0], voiced[run, 1]
        length, window = stop - first, min(LOOKAHEAD, stop - first)
        if window == LOOKAHEAD:
            for i in range(length - window + 1):
                ahead[i] = means[first + i]
        else:
            total = 0.0
            for i in range(length):
                total += pitch_cents[first + i]
            ahead[0] = total / length
        # Frames without as many ahead have the mean of the last ones that do.
        for i in range(length - window + 1, length):
            ahead[i] = ahead[length - window]
        start, centre, count, i = 0, ahead[0], 1, 1
        while i <= length:
            departure, end = 0.0, length
            if i < length:
                departure = abs(ahead[i] - centre)
                if departure <= NOTE_CHANGE_CENTS:
                    count += 1
                    centre += (ahead[i] - centre) / count
                    i += 1
                    continue
                # The mean looks ahead: the old note sounds on for about half its window, a longer glide is of no note.
                half = i + window // 2
                while i + 1 < length and abs(ahead[i + 1] - centre) > departure:
                    i += 1
                    departure = abs(ahead[i] - centre)
                end = min(i, half)
            if end - start >= MIN_NOTE:
                found[n, 0], found[n, 1] = first + start, first + end
                n += 1
            if i < length:
                start, centre, count = i, ahead[i], 1
            i += 1
    return found[:n]


def _means_ahead(pitch_cents: np.ndarray) -> np.ndarray:
    """Mean of the 0.19 s that begin with each frame, as far as there are as many."""
    if len(pitch_cents) < LOOKAHEAD:
        return np.zeros(0)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(pitch_cents, LOOKAHEAD).mean(axis=1))


def vibrato(pitch_cents: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Rate in Hz, extent in cents (half of peak to peak) and share of the voiced windows that have vibrato.

    A window of 0.60 s without a break in voicing has vibrato when, a quadratic trend removed, one sinusoid of 4 to
    8.5 Hz explains 60 % of its movement, and that of the window 0.09 s before or after is nearly the same. Rate and
    extent are medians over these windows, None when there are none; all three are None when no voiced stretch is as
    long as one window.
    """
    starts = np.concatenate(
        [np.arange(a, b - VIBRATO_WINDOW + 1, VIBRATO_HOP) for a, b in runs(np.isfinite(pitch_cents))]
        or [np.zeros(0, dtype=int)]
    ).astype(int)
    if not len(starts):
        return None, None, None
    found = [_sinusoids(pitch_cents, starts[a:b]) for a, b in blocks(len(starts), VIBRATO_BLOCK)]
    rate, extent, has = (np.concatenate(values) for values in zip(*found))
    ratio = extent[1:] / np.maximum(extent[:-1], 1e-9)
    agree = has[1:] & has[:-1] & (np.diff(starts) == VIBRATO_HOP) & (np.abs(np.diff(rate)) < VIBRATO_AGREE_HZ)
    agree &= np.maximum(ratio, 1 / np.maximum(ratio, 1e-9)) < VIBRATO_AGREE_RATIO
    has = np.append(agree, False) | np.append(False, agree)
    return median(np.clip(rate[has], 4.0, None)), median(extent[has]), number(has.mean())


def _sinusoids(pitch_cents: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rate, extent and whether one sinusoid explains the movement, of the window at each start."""
    x = np.arange(VIBRATO_WINDOW)
    windows = pitch_cents[starts[:, None] + x]
    trend = np.linalg.qr(np.vander((x - x.mean()) / VIBRATO_WINDOW, 3))[0]
    windows = windows - windows @ trend @ trend.T
    # Least squares against sine and cosine of each rate, themselves with the trend removed: exact for any phase.
    rates = np.arange(VIBRATO_TRIED_HZ[0], VIBRATO_TRIED_HZ[1] + 0.01, VIBRATO_STEP_HZ)
    phases = 2 * np.pi * rates[:, None] * x / FRAME_RATE
    pairs = np.stack([np.cos(phases), np.sin(phases)], axis=-1)
    pairs = pairs - np.einsum("xq,rqp->rxp", trend, np.einsum("xq,rxp->rqp", trend, pairs))
    basis, triangle = np.linalg.qr(pairs)
    parts = np.einsum("rxp,wx->rpw", basis, windows)
    explained = np.square(parts).sum(axis=1)
    extents = np.linalg.norm(np.linalg.solve(triangle, parts), axis=1)
    rows, best = np.arange(len(starts)), explained.argmax(axis=0)
    inner = np.clip(best, 1, len(rates) - 2)
    left, peak, right = (explained[inner + step, rows] for step in (-1, 0, 1))
    offset = np.clip((left - right) / 2 / np.minimum(left - 2 * peak + right, -1e-9), -0.5, 0.5)
    rate, extent = rates[inner] + VIBRATO_STEP_HZ * offset, extents[inner, rows]
    has = (inner == best) & (peak >= VIBRATO_EXPLAINED * np.maximum(np.square(windows).sum(axis=1), 1e-9))
    has &= (rate >= VIBRATO_HZ[0]) & (rate <= VIBRATO_HZ[1])
    return rate, extent, has & (extent >= VIBRATO_CENTS[0]) & (extent <= VIBRATO_CENTS[1])


def describe_f0(contour: F0Contour, salience: np.ndarray, active: np.ndarray) -> dict[str, Any]:
    """Fields of the family ``f0`` for one row, from what :func:`decode_f0` gave; those that are not there are null."""
    if not active.any():
        return {"f0_status": SILENT}
    if len(active) < MIN_FRAMES:
        return {"f0_status": TOO_SHORT}
    voiced = np.isfinite(contour.f0_hz)
    measured: dict[str, Any] = {
        "f0_voiced_ratio": number(voiced.sum() / active.sum()),
        "f0_voicing_mean": mean(contour.voicing[active]),
    }
    if not voiced.any():
        return {"f0_status": UNVOICED, **measured}
    hz = contour.f0_hz[voiced]
    low, p05, p25, mid, p75, p95, high = np.percentile(hz, [1, 5, 25, 50, 75, 95, 99])
    contour_cents = np.full(len(voiced), np.nan)
    contour_cents[voiced] = cents(hz)
    found = notes(contour_cents)
    rest = (found[1:, 0] - found[:-1, 1]) / FRAME_RATE
    intervals = np.diff(found[:, 2])[rest <= MAX_REST_S]
    rate, extent, share = vibrato(contour_cents)
    return {
        "f0_status": OK,
        "f0_median_hz": number(mid),
        "f0_mean_hz": number(440 * 2 ** (contour_cents[voiced].mean() / 1200)),
        "f0_std_cents": std(contour_cents[voiced]),
        "f0_p05_hz": number(p05),
        "f0_p25_hz": number(p25),
        "f0_p75_hz": number(p75),
        "f0_p95_hz": number(p95),
        "f0_min_hz": number(low),
        "f0_max_hz": number(high),
        "f0_range_semitones": number(12 * np.log2(p95 / p05)),
        **measured,
        "f0_confidence": mean(contour.voicing[voiced] * salience[voiced]),
        "f0_note_rate": number(len(found) * FRAME_RATE / voiced.sum()),
        "f0_note_duration_median_s": median((found[:, 1] - found[:, 0]) / FRAME_RATE),
        "f0_interval_mean_cents": mean(np.abs(intervals)),
        "f0_interval_std_cents": std(intervals),
        "vibrato_rate_hz": rate,
        "vibrato_extent_cents": extent,
        "vibrato_ratio": share,
    }


def f0_contours(inputs: DescriptorInputs) -> dict[str, tuple[F0Contour, np.ndarray]]:
    """F0 of the pitched stems, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{stem: (contour, salience)}`` of :func:`decode_f0`.
    """
    frames, active = inputs.frames, inputs.get(active_rows)
    return {stem: decode_f0(frames.pitch[stem], active[stem], frames.times_s) for stem in PITCHED_STEMS}


def _f0_row(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    contour, salience = inputs.get(f0_contours)[row]
    return describe_f0(contour, salience, inputs.get(active_rows)[row])


register(Extractor("f0", 20, FIELDS, "f0_status", _f0_row))
