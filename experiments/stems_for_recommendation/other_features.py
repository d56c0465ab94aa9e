"""Features that are compared with those of the tables: librosa's of the mixture, and ours of the true stems."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from stemfeatures._util.numba_cache import import_librosa
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, N_BINS, PITCHED_STEMS, STEM_ROWS, STEMS
from stemfeatures.descriptors import describe
from stemfeatures.descriptors.types import TrackDescription
from stemfeatures.frames.builder import FrameBuilder
from stemfeatures.inference.segments import Frames
from stemfeatures.models.joint import JointNet
from stemfeatures.spectra.transform import stft
from stemfeatures.vectors.columns import SEPARATOR, encode_key, field_columns, matrix_fields


def librosa_features(y: np.ndarray) -> dict[str, float]:
    """The usual description of a mixture (22,050 Hz, mono): mean and deviation of 20 MFCC, of 12 chroma and of seven
    bands of spectral contrast, of centroid, bandwidth, rolloff, flatness and zero crossings, and the tempo, as two
    coordinates of a point on the circle of octaves."""
    librosa = import_librosa()
    rate = ANALYSIS_SAMPLE_RATE
    magnitude = np.abs(librosa.stft(y))
    decibels = librosa.power_to_db(librosa.feature.melspectrogram(S=magnitude**2, sr=rate))
    envelope = librosa.onset.onset_strength(S=decibels, sr=rate)
    turn = 2 * np.pi * np.log2(float(librosa.feature.tempo(onset_envelope=envelope, sr=rate)[0]))
    frames = {
        "mfcc": librosa.feature.mfcc(S=decibels),
        "chroma": librosa.feature.chroma_stft(S=magnitude**2, sr=rate),
        "contrast": librosa.feature.spectral_contrast(S=magnitude, sr=rate),
        "centroid": librosa.feature.spectral_centroid(S=magnitude, sr=rate),
        "bandwidth": librosa.feature.spectral_bandwidth(S=magnitude, sr=rate),
        "rolloff": librosa.feature.spectral_rolloff(S=magnitude, sr=rate),
        "flatness": np.log10(librosa.feature.spectral_flatness(S=magnitude)),
        "zcr": librosa.feature.zero_crossing_rate(y),
        "onset": envelope[None],
    }
    values = {"tempo_cos": float(np.cos(turn)), "tempo_sin": float(np.sin(turn))}
    for name, rows in frames.items():
        for k, row in enumerate(rows):
            values |= {f"{name}_{k:02d}_mean": float(row.mean()), f"{name}_{k:02d}_std": float(row.std())}
    return values


@torch.inference_mode()
def describe_true_stems(stems: Mapping[str, np.ndarray], net: JointNet) -> TrackDescription:
    """What the descriptors would say if separation were as good as masks can make it.

    The masks are the ideal ratio masks of the true stems (22,050 Hz, mono, of one length); F0, voicing and rhythm are
    read off by the network's own heads, from the spectra under these masks.
    """
    y = torch.stack([torch.from_numpy(np.ascontiguousarray(stems[s], np.float32)) for s in STEMS])
    spectrum = stft(y.sum(dim=0))
    sizes = stft(y).abs()[:, :N_BINS]
    masks = sizes / sizes.sum(dim=0, keepdim=True).clamp_min(1e-9)
    magnitude = spectrum[None, :N_BINS].abs()
    n_frames = magnitude.shape[-1]
    level = magnitude.mean().clamp_min(1e-7)
    extra = -n_frames % net.stride
    heard = dict(zip(STEMS, F.pad(magnitude / level * masks[:, None], (0, extra))))
    planes = [net.harmonic_map(torch.log1p(5.0 * heard[s]), net.pitch[i].bins) for i, s in enumerate(PITCHED_STEMS)]
    read = [pitch(of) for pitch, of in zip(net.pitch, planes)]
    rhythm = net.rhythm(heard["drums"], F.pad(magnitude / level, (0, extra)))
    builder = FrameBuilder()
    builder.add(
        Frames(
            0,
            spectrum,
            masks,
            torch.cat([s for s, _ in read])[..., :n_frames].sigmoid(),
            torch.cat([v for _, v in read])[..., :n_frames].sigmoid(),
            rhythm[0, :, :n_frames].sigmoid(),
        )
    )
    return describe(builder.finish(y.shape[-1]))


def matrix_row(description: TrackDescription) -> dict[str, float]:
    """A description as a row of :func:`stemfeatures.features_matrix`."""
    row: dict[str, float] = {}
    for stem in STEM_ROWS:
        for field in matrix_fields():
            if not field.holds_for(stem):
                continue
            value = description.stems[stem].get(field.name)
            names = [column.name for column in field_columns(field)]
            numbers = encode_key(value) if len(names) == 2 else (np.nan if value is None else float(value),)
            row |= {f"{stem}{SEPARATOR}{name}": number for name, number in zip(names, numbers)}
    return row
