"""Loudness after ITU-R BS.1770-4 and EBU R 128 / Tech 3341 / Tech 3342.

The mixture is measured on the full-rate signal with all channels when its 100 ms step powers are known, else on the
mono analysis signal. A stem is measured as its share of it: the K-weighted power of the stem over that of the mixture
in the analysis signal, step by step, times the step power of the mixture. So stems and mixture stand on one scale
whatever the channel layout, and ``loudness_relative_lu`` is a difference of like with like.

Minimum lengths: 0.4 s for loudness, 3 s for the short-term maximum and the range; peaks need none.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._util.numba_cache import compiled_when_called
from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, MIXTURE, STEMS
from ..fields import NOT_A_COORDINATE, Field, status_field
from ..frames import StemFrames, TrackFrames
from ..spectra.k_weighting import k_weighting
from ..spectra.oversampling import Interpolator
from .activity import active_rows
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .values import OK, SILENT, TOO_SHORT, number, sums_before

ABSOLUTE_GATE_LUFS = -70.0
STEPS_MOMENTARY = 4
STEPS_SHORT_TERM = 30
#: Emphasis of loud frames in the level that ``dynamic_complexity`` measures deviations from (Vickers 2001).
EMPHASIS = 0.9
#: Frames so far below the loudest, and in any case those below the second value, are silence to it.
DYNAMIC_RANGE_DB, LEAST_DB = 75.0, -130.0

_field = partial(Field, type="float32", family="loudness")
FIELDS = (
    status_field(
        "loudness_status",
        "ok | silent | absent | too_short",
        "loudness (0.4 s at least, but for true peak and crest factor)",
        family="loudness",
    ),
    _field(
        "loudness_integrated_lufs",
        description="Gated loudness after ITU-R BS.1770-4; a stem's is its K-weighted share of the mixture's, on the "
        "same scale. Above about 5 only where float samples exceed full scale.",
        unit="LUFS",
        range=">= -70",
    ),
    _field(
        "loudness_relative_lu",
        description="Integrated loudness less that of the mixture.",
        unit="LU",
        rows=STEMS,
        # The rest of the mixture decides it too.
        scale=NOT_A_COORDINATE,
    ),
    _field(
        "loudness_range_lu",
        description="Loudness range after EBU Tech 3342 (3 s at least).",
        unit="LU",
        range=">= 0",
        feature="loudness",
        statistic="range",
    ),
    _field(
        "loudness_momentary_max_lufs",
        description="Largest loudness of 0.4 s.",
        unit="LUFS",
        feature="loudness_momentary",
        statistic="max",
    ),
    _field(
        "loudness_short_term_max_lufs",
        description="Largest loudness of 3 s.",
        unit="LUFS",
        feature="loudness_short_term",
        statistic="max",
    ),
    _field(
        "true_peak_dbtp",
        description="Peak after four times oversampling: of the full-rate channels on the mixture where known, of the "
        "mono 22,050 Hz analysis signal on the stems.",
        unit="dBTP",
    ),
    _field(
        "dynamic_complexity",
        description="Mean absolute deviation of the loudness of 0.2 s frames from their emphasised mean (Streich "
        "2007).",
        unit="dB",
        range=">= 0",
    ),
    _field(
        "crest_factor_db",
        description="Peak over the root mean square of the active frames, analysis signal; 3 dB for a sine.",
        unit="dB",
        range=">= 0",
    ),
)


def channel_weights(channels: int) -> np.ndarray:
    """(channels,) BS.1770-4 weights: 1 for front channels, 1.41 for surrounds, 0 for the LFE.

    Layouts are read as WAVE orders them: 4 = L R Ls Rs, 5 = L R C Ls Rs, 6 = L R C LFE Ls Rs. Any other count is
    weighted 1 throughout, since nothing says which channel stands where.
    """
    surround = 1.41
    layouts = {
        4: [1, 1, surround, surround],
        5: [1, 1, 1, surround, surround],
        6: [1, 1, 1, 0, surround, surround],
    }
    return np.array(layouts.get(channels, [1] * channels), dtype=np.float64)


def _oversampling_filter(factor: int, taps_per_phase: int = 24) -> np.ndarray:
    """Windowed-sinc interpolator of ``factor``; its phase 0 returns the samples themselves."""
    half = factor * taps_per_phase // 2
    return np.sinc(np.arange(-half, half + 1) / factor) * np.kaiser(2 * half + 1, 6.0)


class LoudnessMeter:
    """Step powers and true peak of a signal that arrives in blocks; memory grows by one number per 100 ms.

    Parameters
    ----------
    sample_rate : int
        In Hz, at least 1000.
    channels : int
        Number of channels; for their weights see :func:`channel_weights`.

    Raises
    ------
    ValueError
        For a sample rate or channel count out of range, or a block of another shape.

    Notes
    -----
    True peak: four times oversampling as in BS.1770-4 Annex 2 (twice from 96 kHz, none from 192 kHz), all channels.
    The result does not depend on how the signal is cut into blocks, a true peak to a millionth of itself.
    """

    _CHUNK = 1 << 16

    def __init__(self, sample_rate: int, channels: int) -> None:
        if sample_rate < 1000 or channels < 1:
            raise ValueError(f"cannot meter {channels} channels at {sample_rate} Hz")
        self.sample_rate = sample_rate
        self.channels = channels
        self._weights = channel_weights(channels)
        self._sos = k_weighting(sample_rate)
        self._state = np.zeros((2, channels, 2))
        self._steps: list[np.ndarray] = []
        self._n_steps = 0
        self._n_samples = 0
        self._partial = 0.0
        self._factor = 4 if sample_rate < 96_000 else 2 if sample_rate < 192_000 else 1
        taps = _oversampling_filter(self._factor)
        self._context = (len(taps) - 1) // self._factor
        # Phase 0 returns the samples themselves.
        phases = [taps[phase :: self._factor][::-1] for phase in range(1, self._factor)]
        # Single precision, as samples have: a peak is off by a ten millionth of itself.
        self._between = Interpolator(np.stack(phases), np.float32) if phases else None
        self._tail = np.zeros((channels, self._context), np.float32)
        self._peak = 0.0

    def update(self, block: np.ndarray) -> None:
        """Measure further samples.

        Parameters
        ----------
        block : np.ndarray
            (channels, n) samples, full scale = 1.

        Raises
        ------
        ValueError
            It has another number of channels.
        """
        block = np.asarray(block)
        if block.ndim != 2 or len(block) != self.channels:
            raise ValueError(f"expected a block of shape ({self.channels}, n), got {block.shape}")
        for start in range(0, block.shape[1], self._CHUNK):
            self._take(block[:, start : start + self._CHUNK])

    @property
    def step_power(self) -> np.ndarray:
        """(n_steps,) float64 channel-summed K-weighted mean square of every complete 100 ms step."""
        return np.concatenate(self._steps) if self._steps else np.zeros(0)

    @property
    def true_peak(self) -> float:
        """Largest true peak so far, linear; what follows the last sample is taken as silence."""
        return max(self._peak, self._oversampled_peak(np.zeros_like(self._tail)))

    def _boundary(self, step: int | np.ndarray) -> Any:
        """First sample of a step: the nearest to ``step / 10`` s, so rates like 11,025 Hz do not drift."""
        return (step * self.sample_rate + 5) // 10

    def _take(self, x: np.ndarray) -> None:
        single = x.astype(np.float32, copy=False)
        self._peak = max(self._peak, self._oversampled_peak(single))
        self._tail = np.concatenate([self._tail, single], axis=1)[:, -self._context :]

        samples = single if x.dtype == np.float32 else x.astype(np.float64)
        power = _filtered_power(np.ascontiguousarray(samples), self._sos, self._weights, self._state)
        end = self._n_samples + len(power)
        # Boundaries that fall inside this chunk close a step each; the rest waits for the next chunk.
        n_closed = int((10 * end + 5) // self.sample_rate) + 2
        bounds = self._boundary(np.arange(self._n_steps + 1, n_closed + 1))
        bounds = bounds[bounds <= end]
        if len(bounds):
            cuts = np.concatenate(([0], bounds - self._n_samples))
            sums = np.add.reduceat(np.append(power, 0.0), cuts)
            sums[0] += self._partial
            self._partial = float(sums[-1])
            starts = self._boundary(np.arange(self._n_steps, self._n_steps + len(bounds)))
            self._steps.append(sums[:-1] / (bounds - starts))
            self._n_steps += len(bounds)
        else:
            self._partial += float(power.sum())
        self._n_samples = end

    def _oversampled_peak(self, x: np.ndarray) -> float:
        if x.shape[1] == 0:
            return 0.0
        if self._between is None:
            return float(np.abs(x).max())
        # Outputs that saw the full filter length only; those of the earlier samples came with the chunk before.
        joined = np.concatenate([self._tail, x], axis=1)
        middle = self._context // 2
        samples = joined[:, middle : middle + x.shape[1]]
        sampled = max(self._peak, float(samples.max()), -float(samples.min()))
        return self._between.largest(joined[:, 1:], least=sampled)


@compiled_when_called()
def _filtered_power(
    x: np.ndarray, sos: np.ndarray, weights: np.ndarray, state: np.ndarray
) -> np.ndarray:  # pragma: no cover - compiled
    """(n,) weighted sum over channels of the squares of filtered samples (channels, n).

    The filter is that of :func:`scipy.signal.sosfilt`, with ``state`` (sections, channels, 2), which goes on in place.
    Channels are independent and filtered side by side, as a sample waits for the one before it.
    """
    power = np.zeros(x.shape[1])
    for i in range(x.shape[1]):
        for channel in range(len(x)):
            value = float(x[channel, i])
            for k in range(len(sos)):
                z = state[k, channel]
                filtered = sos[k, 0] * value + z[0]
                z[0] = sos[k, 1] * value - sos[k, 4] * filtered + z[1]
                z[1] = sos[k, 2] * value - sos[k, 5] * filtered
                value = filtered
            power[i] += weights[channel] * (value * value)
    return power


def to_lufs(power: np.ndarray) -> np.ndarray:
    """K-weighted mean squares in LUFS (ITU-R BS.1770, equation 2)."""
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-30))


def _sliding_mean(steps: np.ndarray, n: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(steps, n).mean(axis=-1) if len(steps) >= n else np.zeros(0)


def integrated_loudness(step_power: np.ndarray) -> float | None:
    """Gated loudness in LUFS (BS.1770-4 eq. 3 to 7) of 100 ms step powers; None below 0.4 s or below -70 LUFS."""
    blocks = _sliding_mean(step_power, STEPS_MOMENTARY)
    blocks = blocks[to_lufs(blocks) > ABSOLUTE_GATE_LUFS]
    if not len(blocks):
        return None
    blocks = blocks[blocks > blocks.mean() / 10]
    return number(to_lufs(blocks.mean()))


def loudness_range(step_power: np.ndarray) -> float | None:
    """Loudness range in LU (EBU Tech 3342): 10th to 95th percentile of the gated 3 s loudness; None below 3 s."""
    blocks = _sliding_mean(step_power, STEPS_SHORT_TERM)
    blocks = blocks[to_lufs(blocks) > ABSOLUTE_GATE_LUFS]
    if not len(blocks):
        return None
    blocks = blocks[blocks >= blocks.mean() / 100]
    low, high = np.percentile(to_lufs(blocks), [10, 95])
    return number(high - low)


def dynamic_complexity(step_power: np.ndarray) -> float | None:
    """Mean absolute deviation in dB of the loudness of 200 ms frames from the track's emphasised mean loudness.

    Streich, *Music complexity*, UPF 2007, after Vickers 2001: a frame of ``V`` dB enters the mean with the weight
    ``0.9 ** -V``. Silence before and after is left out, frames within count from 75 dB below the loudest up, so that
    the level of the file does not matter. Here on K-weighted power.
    """
    n = len(step_power) // 2
    db = to_lufs(step_power[: 2 * n].reshape(n, 2).mean(axis=1))
    floor = max(db.max(initial=-np.inf) - DYNAMIC_RANGE_DB, LEAST_DB)
    db = np.maximum(db, floor)
    loud = np.flatnonzero(db > floor)
    if len(loud) < 2:
        return None
    db = db[loud[0] : loud[-1] + 1]
    weights = EMPHASIS ** (db.max() - db)
    return number(np.abs(db - np.average(db, weights=weights)).mean())


def _step_energy(k_power: np.ndarray, n_steps: int) -> np.ndarray:
    """Mean of a frame series over 100 ms steps: its integral, read off between the frames."""
    frame_rate = ANALYSIS_SAMPLE_RATE / HOP_LENGTH
    total = sums_before(k_power)
    # Frame k stands for the hop centred on it, that is from k - 0.5 to k + 0.5.
    at = np.arange(n_steps + 1) * 0.1 * frame_rate + 0.5
    return np.diff(np.interp(at, np.arange(len(total)), total)) / (0.1 * frame_rate)


def step_powers(frames: TrackFrames) -> dict[str, np.ndarray]:
    """``{row: (n_steps,) K-weighted power of 100 ms steps}`` with stems on the scale of the mixture."""
    known = frames.step_power
    n_steps = len(known) if known is not None else int(frames.duration_s * 10 + 1e-6)
    steps = {row: _step_energy(stem.k_power, n_steps) for row, stem in frames.stems.items()}
    if known is None:
        return steps
    reference = steps[MIXTURE]
    audible = reference > 0
    scale = np.where(audible, np.asarray(known, dtype=np.float64) / np.where(audible, reference, 1.0), 0.0)
    return {row: np.asarray(known, dtype=np.float64) if row == MIXTURE else s * scale for row, s in steps.items()}


def describe_loudness(
    stem: StemFrames,
    active: np.ndarray,
    step_power: np.ndarray,
    *,
    mixture_lufs: float | None,
    true_peak: float | None = None,
) -> dict[str, Any]:
    """Fields of the family ``loudness`` for one row; those that are not there are null.

    ``mixture_lufs`` is the integrated loudness of the mixture (None on its own row); ``true_peak`` that of the
    full-rate signal, if known.
    """
    if not active.any():
        return {"loudness_status": SILENT}
    analysis_peak = stem.peak
    peak = analysis_peak if true_peak is None else true_peak
    rms = float(stem.energy[active].mean(dtype=np.float64)) ** 0.5
    peaks = {
        "true_peak_dbtp": number(20 * np.log10(peak)) if peak > 0 else None,
        # A frame's mean square is windowed: short sounds may come out above their peak.
        "crest_factor_db": number(max(0.0, 20 * np.log10(analysis_peak / rms))) if analysis_peak > 0 else None,
    }
    if len(step_power) < STEPS_MOMENTARY:
        return {"loudness_status": TOO_SHORT, **peaks}
    integrated = integrated_loudness(step_power)
    if integrated is None:
        return {"loudness_status": SILENT, **peaks}
    momentary = _sliding_mean(step_power, STEPS_MOMENTARY)
    short_term = _sliding_mean(step_power, STEPS_SHORT_TERM)
    return {
        "loudness_status": OK,
        "loudness_integrated_lufs": integrated,
        "loudness_relative_lu": None if mixture_lufs is None else integrated - mixture_lufs,
        "loudness_range_lu": loudness_range(step_power),
        "loudness_momentary_max_lufs": number(to_lufs(momentary.max())),
        "loudness_short_term_max_lufs": number(to_lufs(short_term.max())) if len(short_term) else None,
        "dynamic_complexity": dynamic_complexity(step_power),
        **peaks,
    }


def row_step_powers(inputs: DescriptorInputs) -> dict[str, np.ndarray]:
    """:func:`step_powers` of every row, for :meth:`DescriptorInputs.get`."""
    return step_powers(inputs.frames)


def mixture_loudness(inputs: DescriptorInputs) -> float | None:
    """Integrated loudness of the mixture in LUFS, for :meth:`DescriptorInputs.get`."""
    return integrated_loudness(inputs.get(row_step_powers)[MIXTURE])


def _loudness(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    return describe_loudness(
        inputs.frames.stems[row],
        inputs.get(active_rows)[row],
        inputs.get(row_step_powers)[row],
        mixture_lufs=None if row == MIXTURE else inputs.get(mixture_loudness),
        true_peak=inputs.frames.true_peak if row == MIXTURE else None,
    )


register(Extractor("loudness", 50, FIELDS, "loudness_status", _loudness))
