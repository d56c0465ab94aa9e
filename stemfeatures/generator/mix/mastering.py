"""The master of a song: one filter and one gain over time for all stems, so that they still sum to the mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from scipy.ndimage import minimum_filter1d
from scipy.signal import sosfilt

from ...descriptors.loudness import integrated_loudness
from ...spectra.k_weighting import k_weighting
from ..units import SR
from .console import BLOCK, Band, active_rms, block_peaks, compressor_gain, equalise, from_db, ramps, to_db

#: How often a master is limited in band, and clips.
BAND_LIMITS = {"none": 0.42, "record": 0.4, "dull": 0.08, "narrow": 0.03, "16_khz": 0.05, "8_khz": 0.02}
#: Sample rates that a recording once had.
_LOW_RATES = {"16_khz": 16_000, "8_khz": 8000}
#: How often a master's sides are changed, and to which share of them.
WIDTHS = {"mono": (0.06, (0.0, 0.0)), "narrow": (0.12, (0.2, 0.7)), "wide": (0.12, (1.2, 1.8))}
CLIPPING = 0.4


def loudness(y: np.ndarray) -> float:
    """Integrated loudness of a stereo signal in LUFS; -inf for silence."""
    weighted = sosfilt(k_weighting(SR).astype(np.float32), y, axis=1)
    steps = weighted.shape[1] // (SR // 10)
    power = np.square(weighted[:, : steps * (SR // 10)]).reshape(2, steps, -1).mean(axis=2).sum(axis=0)
    measured = integrated_loudness(power.astype(np.float64))
    return -np.inf if measured is None else measured


def limiter_gain(y: np.ndarray, *, ceiling: float, lookahead_s: float = 0.004, release_s: float = 0.08) -> np.ndarray:
    """(n,) gain, at most 1, under which ``y`` stays within ``ceiling``; it begins to fall ``lookahead_s`` before."""
    need = np.minimum(1.0, ceiling / np.maximum(block_peaks(y, power=False), 1e-9))
    need = np.minimum(need, np.append(1.0, need[:-1]))  # a value holds for the blocks on both sides of it
    ahead = max(1, int(lookahead_s * SR / BLOCK))
    held = minimum_filter1d(need, 2 * ahead + 1, mode="nearest")
    soft = np.convolve(np.pad(held, ahead, mode="edge"), np.full(2 * ahead + 1, 1 / (2 * ahead + 1)), "valid")
    keep, state, out = float(np.exp(-BLOCK / SR / release_s)), 1.0, []
    for value in soft.tolist():
        state = min(value, value + keep * (state - value))
        out.append(state)
    # The end of the last block leans on no later value.
    return ramps(np.array(out), y.shape[1])


@dataclass(frozen=True)
class MasterSettings:
    """How a song is mastered.

    Attributes
    ----------
    target_lufs : float
        Integrated loudness.
    ceiling_db : float
        Highest peak.
    glue : float
        Ratio of the bus compressor.
    clip_db : float
        By how much the highest peaks are clipped before the limiter, 0 for not at all.
    band_limits : str
        One of ``BAND_LIMITS``.
    low_cut_hz, high_cut_hz : float
        0 for none.
    width : float, default=1.0
        Factor on the difference of the channels, 0 for mono.
    """

    target_lufs: float
    ceiling_db: float
    glue: float
    clip_db: float
    band_limits: str
    low_cut_hz: float
    high_cut_hz: float
    width: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> MasterSettings:
        limits = str(rng.choice(list(BAND_LIMITS), p=list(BAND_LIMITS.values())))
        low, high = {
            "none": (0.0, 0.0),
            "record": (rng.uniform(20, 40), rng.uniform(15_000, 19_000)),
            "dull": (rng.uniform(20, 80), rng.uniform(5000, 12_000)),
            "narrow": (rng.uniform(100, 300), rng.uniform(3400, 6000)),
        }.get(limits, (0.0, 0.0))
        width, chance = 1.0, rng.random()
        for share, (least, most) in WIDTHS.values():
            if 0 <= chance < share:
                width = float(rng.uniform(least, most))
            chance -= share
        return cls(
            target_lufs=float(rng.uniform(-14.0, -8.0)),
            ceiling_db=float(rng.choice([-0.1, -0.3, -1.0])),
            glue=float(rng.uniform(1.2, 2.5)),
            clip_db=float(rng.choice([rng.uniform(0.5, 3.0), rng.uniform(3.0, 8.0)], p=[0.8, 0.2]))
            if rng.random() < CLIPPING
            else 0.0,
            band_limits=limits,
            low_cut_hz=float(low),
            high_cut_hz=float(high),
            width=width,
        )


def master(stems: np.ndarray, settings: MasterSettings) -> np.ndarray:
    """(n_stems, 2, n) mastered: the same filters and the same gain over time for every stem."""
    bands: list[Band] = [("low_cut", settings.low_cut_hz, 0.0, 0.7)] if settings.low_cut_hz else []
    bands += [("high_cut", settings.high_cut_hz, 0.0, q) for q in (0.54, 1.3)] if settings.high_cut_hz else []
    stems = equalise(stems, bands)
    if settings.band_limits in _LOW_RATES:
        stems = _recorded_at(stems, _LOW_RATES[settings.band_limits])
    if settings.width != 1.0:
        stems = _widened(stems, settings.width)
    mixture = stems.sum(axis=0)
    if not np.any(mixture):
        return stems
    gain = compressor_gain(
        mixture, threshold_db=to_db(active_rms(mixture)) - 2, ratio=settings.glue, attack_s=0.02, release_s=0.2
    )
    mixture = mixture * gain
    ceiling = from_db(settings.ceiling_db)
    static = from_db(settings.target_lufs - loudness(mixture))
    for attempt in range(2):
        total = gain * np.float32(static)
        if settings.clip_db:  # a memoryless curve is a gain as well: curve(x) / x
            shaped = mixture * np.float32(static)
            peak = np.abs(shaped).max(axis=0)
            knee = float(peak.max()) * from_db(-settings.clip_db)
            cut = np.where(peak > knee, knee / np.maximum(peak, 1e-9), 1.0).astype(np.float32)
            total = total * cut
            shaped = shaped * cut
        else:
            shaped = mixture * np.float32(static)
        limit = limiter_gain(shaped, ceiling=ceiling)
        total = total * limit
        if attempt == 0:  # what the limiter takes is given back once, by at most 4 dB
            lost = settings.target_lufs - loudness(shaped * limit)
            if lost < 0.3:
                break
            static *= from_db(min(lost, 4.0))
    return stems * total


def _recorded_at(stems: np.ndarray, rate: int) -> np.ndarray:
    """(n_stems, 2, n) with nothing above half of ``rate``."""
    n_stems, _, n = stems.shape
    channels = stems.reshape(2 * n_stems, n).T.astype(np.float32)
    low = soxr.resample(channels, SR, rate, quality="HQ")
    back = soxr.resample(low, rate, SR, quality="HQ")[:n]
    out = np.zeros((n, 2 * n_stems), np.float32)
    out[: len(back)] = back
    return np.ascontiguousarray(out.T).reshape(stems.shape)


def _widened(stems: np.ndarray, width: float) -> np.ndarray:
    middle, side = 0.5 * (stems[:, 0] + stems[:, 1]), 0.5 * np.float32(width) * (stems[:, 0] - stems[:, 1])
    return np.stack([middle + side, middle - side], axis=1)


def on_grid(stems: np.ndarray, bits: int = 24) -> np.ndarray:
    """``stems`` rounded to integers over ``2 ** (bits - 1)``, as float32: sums of them are exact in float64."""
    scale = float(2 ** (bits - 1))
    return (np.round(stems.astype(np.float64) * scale) / scale).astype(np.float32)
