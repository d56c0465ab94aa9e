"""CPU time of true peaks, spectral shape and contrast, and filters over bins, beside the plain way to compute them.

    python benchmarks/frame_measures.py [--seconds 60] [--repeat 5]

Each pair takes turns in one process, one thread; the ratio is that of the medians. The largest difference of the values
stands beside it: relative, of the frames that sound.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.signal import upfirdn

from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_BINS, N_CONTRAST, N_FFT, STEM_ROWS
from stemfeatures.descriptors.loudness import LoudnessMeter
from stemfeatures.frames.measures import (
    CONTRAST_MAX_HZ,
    PeakMeter,
    oversampling_phases,
    spectral_contrast,
    spectral_shape,
)
from stemfeatures.spectra.filters import FilterBank, bark_filters, chroma_filters, mel_filters
from stemfeatures.spectra.transform import stft

RATE = 44_100


def peak_by_upfirdn(y: np.ndarray) -> float:
    """True peak of the whole signal."""
    taps = np.sinc(np.arange(-48, 49) / 4) * np.kaiser(97, 6.0)
    up = upfirdn(taps, np.pad(y.astype(np.float64), ((0, 0), (24, 24))), up=4, axis=1)
    return float(np.abs(up[:, 96 : 96 + 4 * (y.shape[1] + 24)]).max())


def peak_by_meter(y: np.ndarray) -> float:
    """The same, and the K-weighted power besides."""
    meter = LoudnessMeter(RATE, len(y))
    meter.update(y)
    return meter.true_peak


def peaks_by_convolution(signal: torch.Tensor) -> torch.Tensor:
    """Peaks of rows."""
    kernel = torch.from_numpy(oversampling_phases().astype(np.float32))[:, None]
    padded = torch.nn.functional.pad(signal, (12, 24))
    return torch.nn.functional.conv1d(padded[:, None], kernel).abs().amax(dim=(1, 2))


def peaks_in_blocks(signal: torch.Tensor) -> np.ndarray:
    """The same, in blocks of a segment."""
    meter = PeakMeter(len(signal))
    for block in signal.split(640 * HOP_LENGTH, dim=1):
        meter.push(block.numpy())
    return meter.finish()


def plain_shape(magnitude: torch.Tensor, power: torch.Tensor) -> dict[str, torch.Tensor]:
    """Centroid, bandwidth, rolloff and flatness as they are defined."""
    hertz = torch.arange(N_BINS) * (ANALYSIS_SAMPLE_RATE / N_FFT)
    share = magnitude / magnitude.sum(dim=-2, keepdim=True).clamp_min(1e-30)
    centroid = (hertz[:, None] * share).sum(dim=-2)
    spread = ((hertz[:, None] - centroid[..., None, :]) ** 2 * share).sum(dim=-2).sqrt()
    below = (share.cumsum(dim=-2) < 0.85).sum(dim=-2).clamp(max=N_BINS - 1)
    floor = (magnitude**2).clamp_min(1e-20)
    flatness = floor.log().mean(dim=-2).exp() / floor.mean(dim=-2)
    shape = {"centroid_hz": centroid, "bandwidth_hz": spread, "rolloff_hz": hertz[below], "flatness": flatness}
    for name, order in (("skewness", 3), ("kurtosis", 4)):
        moment = ((hertz[:, None] - centroid[..., None, :]) ** order * share).sum(dim=-2)
        shape[name] = moment / spread**order - (3 if order == 4 else 0)
    return shape


def plain_contrast(magnitude: torch.Tensor) -> torch.Tensor:
    """Peak over valley of octaves, by selection along the bins."""
    edges = [0.0, *(200.0 * 2**i for i in range(N_CONTRAST - 1)), CONTRAST_MAX_HZ]
    hertz = np.arange(N_BINS) * ANALYSIS_SAMPLE_RATE / N_FFT
    bands = []
    for k in range(N_CONTRAST):
        inside = np.flatnonzero((hertz >= edges[k]) & (hertz <= edges[k + 1]))
        first, last = max(int(inside[0]) - (k > 0), 0), int(inside[-1]) - (k < N_CONTRAST - 1)
        band, count = magnitude[..., first : last + 1, :], max(1, round(0.02 * len(inside)))
        peak, valley = (band.topk(count, dim=-2, largest=up).values.mean(dim=-2) for up in (True, False))
        valley = torch.maximum(valley, 1e-8 * peak).clamp_min(1e-30)
        bands.append(10 * (peak.clamp_min(1e-30) / valley).log10())
    return torch.stack(bands, dim=-2)


def difference(one: Any, other: Any) -> float:
    """Largest relative difference."""
    if isinstance(one, dict):
        return max(difference(one[name], other[name]) for name in one)
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float((np.abs(a - b) / np.maximum(np.abs(b), 1e-6 * np.abs(b).max())).max())


def compare(
    name: str, ours: Callable[[], Any], plain: Callable[[], Any], repeat: int, exact: Callable[[], Any] | None = None
) -> None:
    """Print CPU milliseconds of both, their ratio, and how far ours is from the plain or from a more exact result."""
    apart = difference(ours(), (exact or plain)())
    times: dict[Callable[[], Any], list[float]] = {ours: [], plain: []}
    for _ in range(repeat):
        for function, measured in times.items():
            start = time.process_time()
            function()
            measured.append(1000 * (time.process_time() - start))
    new, old = (statistics.median(measured) for measured in times.values())
    print(f"{name:34s} {new:8.1f} ms, plain {old:8.1f} ms, ratio {new / old:5.2f}, largest difference {apart:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y = rng.normal(0, 0.1, (2, round(args.seconds * RATE))).astype(np.float32)
    y *= np.arange(y.shape[1]) % (RATE // 2) < RATE // 3
    compare("true peak of stereo, and K power", lambda: peak_by_meter(y), lambda: peak_by_upfirdn(y), args.repeat)
    rows = torch.from_numpy(rng.normal(0, 0.1, (len(STEM_ROWS), round(args.seconds * ANALYSIS_SAMPLE_RATE))))
    rows = rows.float().cumsum(dim=-1) * 1e-3 + 0.01 * rows.float()
    rows *= torch.exp(-10 * (torch.arange(rows.shape[-1]) / ANALYSIS_SAMPLE_RATE % 0.5))  # strokes, two a second
    compare("true peaks of five rows", lambda: peaks_in_blocks(rows), lambda: peaks_by_convolution(rows), args.repeat)
    magnitude = stft(rows)[:, :N_BINS].abs()
    power = magnitude**2
    compare("spectral shape of five rows", lambda: spectral_shape(magnitude, power),
            lambda: plain_shape(magnitude, power), args.repeat,
            exact=lambda: plain_shape(magnitude.double(), power.double()))  # fmt: skip
    compare("spectral contrast of five rows", lambda: spectral_contrast(magnitude),
            lambda: plain_contrast(magnitude), args.repeat)  # fmt: skip
    banks = torch.cat([mel_filters(), chroma_filters(), bark_filters()])
    filters, by_frame = FilterBank(banks), power.transpose(1, 2).contiguous()
    compare("mel, chroma and Bark of five rows", torch.no_grad()(lambda: filters.apply(by_frame)),
            lambda: banks @ power, args.repeat)  # fmt: skip


if __name__ == "__main__":
    main()
