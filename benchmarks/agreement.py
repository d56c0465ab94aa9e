"""How far do our descriptors agree with librosa's and essentia's of the same name, on the same signals?

    python benchmarks/agreement.py [--songs 3] [--seconds 20] [--seed 95000]

Generates songs (needs the train extra) and computes frames and descriptors of their mixtures and stems, each signal as
it is, without a network, so that nothing but the definitions differs. A series of frames is compared frame by frame
where the frame is above -60 dBFS: Pearson's correlation, and the median of the differences, relative to the median of
the reference; a figure of a whole signal is compared over the signals. essentia (pip install essentia) is left out
where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import librosa
import numpy as np
import torch

from stemfeatures.audio import resample, to_mono
from stemfeatures.constants import (
    ANALYSIS_SAMPLE_RATE,
    BARK_EDGES_HZ,
    HOP_LENGTH,
    MIXTURE,
    N_BINS,
    N_FFT,
    N_PITCH_BINS,
    PITCHED_STEMS,
    STEMS,
)
from stemfeatures.descriptors import LoudnessMeter, describe
from stemfeatures.descriptors.timbre import mfcc
from stemfeatures.frames import TrackFrames
from stemfeatures.frames.builder import FrameBuilder
from stemfeatures.frames.inharmonicity import (
    HIGHEST_HZ,
    LOWEST_HZ,
    N_PARTIALS,
    REACH,
    TOP_HZ,
    WINDOW,
    inharmonicity,
    partials,
)
from stemfeatures.frames.inharmonicity import N_FFT as N_FFT_TONES
from stemfeatures.frames.measures import CONTRAST_MAX_HZ
from stemfeatures.frames.roughness import roughness
from stemfeatures.frames.types import ROUGHNESS_STEP
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.song import Song, generate_song
from stemfeatures.inference.segments import Frames
from stemfeatures.spectra.transform import stft

RATE = ANALYSIS_SAMPLE_RATE
#: Frames at or above this mean square are compared.
AUDIBLE = 1e-6

Pairs = dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]]


def frames_of(y: np.ndarray) -> TrackFrames:
    """Frames of a mono signal at 22,050 Hz that is all one stem."""
    spectrum = stft(torch.from_numpy(y.astype(np.float32))[None])[0]
    n = spectrum.shape[-1]
    masks = torch.zeros(4, N_BINS, n)
    masks[STEMS.index("other")] = 1
    builder = FrameBuilder()
    with torch.inference_mode():
        builder.add(Frames(0, spectrum, masks, torch.zeros(2, N_PITCH_BINS, n), torch.zeros(2, n), torch.zeros(3, n)))
        return builder.finish(len(y))


def librosa_series(y: np.ndarray, magnitude: np.ndarray) -> dict[str, np.ndarray]:
    """Series of a signal and its magnitude spectra (n_bins, n_frames)."""
    settings: dict[str, Any] = {"S": magnitude, "sr": RATE, "n_fft": N_FFT}
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=RATE, n_fft=N_FFT, n_mels=80)
    padded = np.pad(y, N_FFT // 2)
    hertz = librosa.fft_frequencies(sr=RATE, n_fft=N_FFT)
    low = hertz <= CONTRAST_MAX_HZ
    return {
        "spectral_centroid": librosa.feature.spectral_centroid(**settings)[0],
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(**settings)[0],
        "spectral_rolloff": librosa.feature.spectral_rolloff(**settings)[0],
        "spectral_flatness": librosa.feature.spectral_flatness(S=magnitude)[0],
        "spectral_contrast": librosa.feature.spectral_contrast(S=magnitude[low], freq=hertz[low]),
        "mfcc": librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=13),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(padded, center=False)[0],
    }


def essentia_series(y: np.ndarray, magnitude: np.ndarray) -> dict[str, np.ndarray]:
    """The same of essentia's algorithms, on the same spectra."""
    from essentia import standard

    top = RATE / 2
    moments, shape = standard.CentralMoments(range=top), standard.DistributionShape()
    centroid, rolloff = standard.Centroid(range=top), standard.RollOff(sampleRate=RATE, cutoff=0.85)
    flatness, crossings = standard.Flatness(), standard.ZeroCrossingRate()
    peaks = standard.SpectralPeaks(sampleRate=RATE, minFrequency=20, maxFrequency=top, orderBy="frequency")
    dissonance = standard.Dissonance()
    bark = standard.FrequencyBands(frequencyBands=[float(hz) for hz in BARK_EDGES_HZ[:-1]], sampleRate=RATE)
    frames = np.ascontiguousarray(magnitude.T, dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(y, N_FFT // 2).astype(np.float32), N_FFT)[::HOP_LENGTH]
    told = [(*shape(moments(frame)), centroid(frame)) for frame in frames]
    spread, skewness, kurtosis, middle = np.array(told).T
    return {
        "spectral_centroid": middle,
        "spectral_bandwidth": np.sqrt(spread),
        "spectral_skewness": skewness,
        "spectral_kurtosis": kurtosis,
        # Of the magnitude's square, as ours is of power; essentia's RollOff takes energy by itself.
        "spectral_rolloff": np.array([rolloff(np.sqrt(frame)) for frame in frames]),
        "spectral_flatness": np.array([flatness(frame**2) for frame in frames]),
        "zero_crossing_rate": np.array([crossings(np.ascontiguousarray(window)) for window in windows]),
        "bark": np.array([bark(frame) for frame in frames]).T,
        "dissonance": np.repeat([dissonance(*peaks(frame)) for frame in frames[::ROUGHNESS_STEP]], ROUGHNESS_STEP),
    }


def our_series(frames: TrackFrames) -> dict[str, np.ndarray]:
    """Our series of the same names."""
    stem = frames.stems[MIXTURE]
    assert stem.bark is not None
    assert stem.skewness is not None
    assert stem.kurtosis is not None
    assert stem.zero_crossing_rate is not None
    assert stem.dissonance is not None
    return {
        "spectral_centroid": stem.centroid_hz,
        "spectral_bandwidth": stem.bandwidth_hz,
        "spectral_rolloff": stem.rolloff_hz,
        "spectral_flatness": stem.flatness,
        "spectral_skewness": stem.skewness,
        "spectral_kurtosis": stem.kurtosis,
        "spectral_contrast": stem.contrast,
        "mfcc": mfcc(stem.mel),
        "zero_crossing_rate": stem.zero_crossing_rate,
        "bark": stem.bark[:-1],
        "dissonance": np.repeat(stem.dissonance, ROUGHNESS_STEP),
    }


def compare_frames(y: np.ndarray, frames: TrackFrames, pairs: Pairs) -> None:
    """Add the series of one signal."""
    ours, audible = our_series(frames), frames.stems[MIXTURE].energy >= AUDIBLE
    magnitude = np.abs(librosa.stft(y.astype(np.float32), n_fft=N_FFT, hop_length=HOP_LENGTH, pad_mode="constant"))
    tools = {"librosa": librosa_series}
    if importlib.util.find_spec("essentia") is not None:
        tools["essentia"] = essentia_series
    for tool, function in tools.items():
        for name, series in function(y, magnitude).items():
            n = min(series.shape[-1], len(audible))
            heard = audible[:n] & (np.arange(n) % (ROUGHNESS_STEP if name == "dissonance" else 1) == 0)
            pairs[name, tool].append((ours[name][..., :n][..., heard].ravel(), series[..., :n][..., heard].ravel()))


def essentia_inharmonicity(windows: np.ndarray, hz: np.ndarray) -> np.ndarray:
    """Of (n, samples) with pitches (n,): its own peaks, harmonics and fundamental."""
    from essentia import standard

    window = standard.Windowing(type="hann", zeroPadding=N_FFT_TONES - WINDOW, zeroPhase=False)
    spectrum = standard.Spectrum(size=N_FFT_TONES)
    peaks = standard.SpectralPeaks(
        sampleRate=RATE, minFrequency=20, maxFrequency=TOP_HZ, maxPeaks=200, orderBy="frequency"
    )
    harmonics = standard.HarmonicPeaks(maxHarmonics=N_PARTIALS, tolerance=REACH)
    inharmonic = standard.Inharmonicity()
    found = []
    for y, pitch in zip(windows.astype(np.float32), hz):
        found.append(inharmonic(*harmonics(*peaks(spectrum(window(y))), float(pitch))))
    return np.array(found)


def compare_tones(song: Song, pairs: Pairs) -> None:
    """Add the inharmonicity of voice and bass, in the frames whose pitch is known."""
    if importlib.util.find_spec("essentia") is None:
        return
    for stem in PITCHED_STEMS:
        lines = song.truth.f0[stem]
        line = (lines[0] if lines else None) if isinstance(lines, list) else lines
        if line is None or not np.any(song.stems[stem]):
            continue
        y = np.pad(resample(to_mono(song.stems[stem]), song.truth.sample_rate, RATE), WINDOW)
        at = np.arange(0, len(y) - 2 * WINDOW, 4 * HOP_LENGTH)
        times, f0_hz = np.asarray(line["times_s"]), np.asarray(line["f0_hz"])
        hz = f0_hz[np.clip(np.searchsorted(times, at / RATE), 0, len(times) - 1)]
        at, hz = (values[(hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)] for values in (at, hz))
        windows = y[(at + WINDOW - WINDOW // 2)[:, None] + np.arange(WINDOW)]
        found_hz, energy = partials(windows, hz)
        ours, of_first = inharmonicity(found_hz, energy), inharmonicity(found_hz, energy, found_hz[:, 0])
        heard = np.isfinite(of_first) & (np.square(windows).mean(axis=1) > AUDIBLE)
        theirs = essentia_inharmonicity(windows[heard], hz[heard])
        pairs["inharmonicity", "essentia"].append((ours[heard], theirs))
        pairs["inharmonicity, of partial 1", "essentia"].append((of_first[heard], theirs))


def compare_two_partials(pairs: Pairs) -> None:
    """Add the dissonance of two partials up to a fifth apart, one so soft that essentia's bound does not matter."""
    if importlib.util.find_spec("essentia") is None:
        return
    from essentia import standard

    dissonance, heights = standard.Dissonance(), np.array([1.0, 0.05], np.float32)
    for hz in (100.0, 200.0, 400.0, 800.0, 1600.0):
        two = np.stack([np.full(70, hz), hz * 2 ** (np.arange(10, 710, 10) / 1200)], axis=1).astype(np.float32)
        ours = roughness(torch.from_numpy(two), torch.from_numpy(heights).expand(len(two), 2)).numpy()
        # Ours is of the product of the heights; the scale is another.
        theirs = np.array([dissonance(pair, heights) for pair in two])
        pairs["dissonance, two partials", "essentia"].append((ours / ours.max(), theirs / theirs.max()))


def compare_signals(stereo: np.ndarray, rate: int, frames: TrackFrames, pairs: Pairs) -> None:
    """Add what is one figure a signal: loudness, tuning, chroma."""
    y = resample(to_mono(stereo), rate, RATE)
    meter = LoudnessMeter(rate, 2)
    meter.update(stereo)
    frames.step_power, frames.true_peak = meter.step_power, meter.true_peak
    values = describe(frames).stems[MIXTURE]

    def add(name: str, tool: str, theirs: float | np.ndarray, ours: float | np.ndarray | None) -> None:
        if ours is not None:
            pairs[name, tool].append((np.atleast_1d(ours), np.atleast_1d(theirs)))

    if importlib.util.find_spec("essentia") is not None:
        from essentia import standard

        loud = np.ascontiguousarray(stereo.T, dtype=np.float32)
        momentary, short, integrated, loudness_range = standard.LoudnessEBUR128(sampleRate=rate)(loud)
        add("loudness_integrated_lufs", "essentia", integrated, values["loudness_integrated_lufs"])
        add("loudness_momentary_max_lufs", "essentia", momentary.max(), values["loudness_momentary_max_lufs"])
        add("loudness_short_term_max_lufs", "essentia", short.max(), values["loudness_short_term_max_lufs"])
        add("loudness_range_lu", "essentia", loudness_range, values["loudness_range_lu"])
        complexity, _ = standard.DynamicComplexity(sampleRate=RATE)(y.astype(np.float32))
        add("dynamic_complexity", "essentia", complexity, values["dynamic_complexity"])
    if values["harmony_status"] == "ok":
        theirs = librosa.feature.chroma_stft(y=y, sr=RATE, tuning=0.0).mean(axis=1)
        ours = np.array([values[f"chroma_{k:02d}_mean"] for k in range(1, 13)])
        add("chroma", "librosa", theirs / theirs.sum(), ours)


def generated(songs: int, seed: int, seconds: float) -> Iterator[Song]:
    """Generated songs of all styles in turn."""
    styles = DRAWN_STYLES
    for k in range(songs):
        yield generate_song(seed + k, duration_s=seconds, style=styles[(5 * k) % len(styles)])


def signals(song: Song) -> Iterator[tuple[np.ndarray, int]]:
    """Mixture and stems (2, n) that sound, and their sample rate."""
    for y in (song.mixture, *(song.stems[s] for s in STEMS)):
        if np.square(y).mean() > AUDIBLE:
            yield np.asarray(y, dtype=np.float32), song.truth.sample_rate


def report(pairs: Pairs) -> None:
    print(f"{'':<32}{'beside':<12}{'values':>8}{'correlation':>13}{'difference':>12}")
    for (name, tool), found in pairs.items():
        ours, theirs = (np.concatenate(part).astype(np.float64) for part in zip(*found))
        apart = np.median(np.abs(ours - theirs)) / max(float(np.median(np.abs(theirs))), 1e-12)
        r = np.corrcoef(ours, theirs)[0, 1] if len(ours) > 2 else np.nan
        print(f"{name:<32}{tool:<12}{len(ours):>8}{r:>13.4f}{apart:>12.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each")
    parser.add_argument("--seed", type=int, default=95_000, help="number of the first song")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pairs: Pairs = defaultdict(list)
    compare_two_partials(pairs)
    for song in generated(args.songs, args.seed, args.seconds):
        compare_tones(song, pairs)
        for stereo, rate in signals(song):
            y = resample(to_mono(stereo), rate, RATE)
            frames = frames_of(y)
            compare_frames(y, frames, pairs)
            compare_signals(stereo, rate, frames, pairs)
    report(pairs)


if __name__ == "__main__":
    main()
