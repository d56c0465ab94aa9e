"""What falls on a moment that may be a beat: strokes, bass notes, changes of harmony, by stem.

The metre is read from these accents at the points of a grid of pulses. Each kind is taken relative to its own mean and
spread over the song, so that a song without drums, or with a busy hi-hat, is measured by its own measure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from .._util.large_arrays import allocate, release
from ..constants import FRAME_RATE, N_CHROMA
from ..frames import TrackFrames
from .values import blocks, loud_level, windows

#: Kinds of accents, in the order of :func:`accents_at`: activations of the network, rise of bands of the drums, rise of
#: the other stems, change of the chroma over one and over two periods, change of the bass's pitch over one.
ACCENTS = (
    "beat",
    "downbeat",
    "kick",
    "snare",
    "hat",
    "bass",
    "other",
    "vocals",
    "harmony",
    "slow_harmony",
    "bass_pitch",
)
#: Those that are the network's opinion of beats and bars.
ACTIVATIONS = ACCENTS[:2]
#: A rise that is smaller tells nothing.
LEAST_RISE = 1e-3
#: Those that the drums make.
STROKE_ACCENTS = ("kick", "snare", "hat")
#: Bands of mel power that tell the drums apart, and those of the other stems.
_BANDS = {
    "kick": ("drums", 0, 3),
    "snare": ("drums", 4, 45),
    "hat": ("drums", 60, 80),
    "bass": ("bass", 0, 20),
    "other": ("other", 3, 70),
    "vocals": ("vocals", 3, 70),
}
#: Frames over which a band rises, and its log compression: 20 dB below the loud frames counts half.
_LAG = 2
_COMPRESSION = 100.0
#: Frames to either side of a moment in which its accent may fall.
_REACH = 2
#: Spread below which a kind of accent tells nothing.
_LEAST_SPREAD = 1e-3


@dataclass
class AccentStreams:
    """Accents of every frame of a track.

    Attributes
    ----------
    pulses : np.ndarray
        (8, n_frames) the first eight of :data:`ACCENTS`.
    harmony, bass : np.ndarray
        (12, n_frames) square root of the chroma of other and of the bass.
    """

    pulses: np.ndarray
    harmony: np.ndarray
    bass: np.ndarray


def accent_streams(
    frames: TrackFrames, active: dict[str, np.ndarray], other_chroma: np.ndarray, bass_chroma: np.ndarray
) -> AccentStreams:
    """Accents of a track.

    Parameters
    ----------
    frames : TrackFrames
        All rows.
    active : dict[str, np.ndarray]
        By row, (n_frames,) bool; what is left of other stems in a silent one is no accent.
    other_chroma, bass_chroma : np.ndarray
        (N_CHROMA, n_frames) power of the harmony and of the bass line.
    """
    n, stems = frames.n_frames, frames.stems
    streams = allocate(
        {"pulses": (len(ACTIVATIONS) + len(_BANDS), n), "harmony": (12, n), "bass": (12, n)}, dtype=float
    )
    streams["pulses"][:2] = np.nan_to_num(frames.beat), np.nan_to_num(frames.downbeat)
    for rise, (stem, low, high) in zip(streams["pulses"][2:], _BANDS.values()):
        rise[:] = band_rise(stems[stem].mel[low:high], active[stem])
    for name, stem, chroma in (("harmony", "other", other_chroma), ("bass", "bass", bass_chroma)):
        for part in windows(chroma, streams[name]):
            streams[name][:, part] = _classes(np.where(active[stem][part], chroma[:, part], 0.0))
    return AccentStreams(**streams)


def band_rise(mel: np.ndarray, active: np.ndarray) -> np.ndarray:
    """(n_frames,) mean rise of the log of ``(n_bands, n_frames)`` power of active frames, relative to loud ones."""
    rise = np.zeros(mel.shape[1])
    loud = loud_level(mel, active)
    if loud > 0:
        for part in windows(mel):
            first = max(part.start - _LAG, 0)
            power = np.where(active[first : part.stop], mel[:, first : part.stop], 0.0).astype(np.float64)
            log = np.log(1 + power * (_COMPRESSION / loud))
            rise[first + _LAG : part.stop] = np.maximum(log[:, _LAG:] - log[:, :-_LAG], 0.0).mean(axis=0) / np.log(10)
    return rise


def summed_rises(streams: AccentStreams, n_frames: int) -> np.ndarray:
    """(n_frames,) sum of the rises of all stems, each relative to its mean: the largest of ``n_frames`` around each."""
    total = np.zeros(streams.pulses.shape[1])
    for rise in streams.pulses[len(ACTIVATIONS) :]:
        mean = rise.mean()
        if mean > LEAST_RISE:
            total += rise / mean
    release(streams.pulses)
    return np.asarray(maximum_filter1d(total, n_frames))


def _classes(chroma: np.ndarray) -> np.ndarray:
    return np.sqrt(np.roll(chroma, 1, axis=0).reshape(12, N_CHROMA // 12, -1).sum(axis=1, dtype=np.float64))


def accents_at(streams: AccentStreams, times_s: np.ndarray, period_s: float) -> np.ndarray:
    """Accents at given moments.

    Parameters
    ----------
    streams : AccentStreams
        Of the track.
    times_s : np.ndarray
        (n,) seconds.
    period_s : float
        Over which the harmony before and after is compared.

    Returns
    -------
    (n, 11) in the order of :data:`ACCENTS`, each with mean 0 and deviation 1 over the moments, or 0 throughout.
    """
    n_frames = streams.pulses.shape[1]
    at = np.clip(np.rint(times_s * FRAME_RATE).astype(int), 0, n_frames - 1)
    near = [maximum_filter1d(pulse, 2 * _REACH + 1, mode="constant")[at] for pulse in streams.pulses]
    release(streams.pulses)
    changes = [
        harmony_change(streams.harmony, times_s, period_s),
        harmony_change(streams.harmony, times_s, 2 * period_s),
        harmony_change(streams.bass, times_s, period_s),
    ]
    accents = np.concatenate([near, changes]).T
    spread = accents.std(axis=0)
    told = spread > _LEAST_SPREAD
    return np.where(told, (accents - accents.mean(axis=0)) / np.where(told, spread, 1.0), 0.0)


def harmony_change(chroma: np.ndarray, times_s: np.ndarray, span_s: float) -> np.ndarray:
    """(n,) cosine distance of the chroma of ``span_s`` after each moment from that before; 0 beside silence."""
    found = []
    for first, last in blocks(len(times_s)):
        found.append(_harmony_change(chroma, times_s[first:last], span_s))
        release(chroma)
    return np.concatenate(found or [np.zeros(0)])


def _harmony_change(chroma: np.ndarray, times_s: np.ndarray, span_s: float) -> np.ndarray:
    start, middle, end = (
        np.clip(np.rint((times_s + shift) * FRAME_RATE).astype(int) + 1, 0, chroma.shape[1])
        for shift in (-span_s, 0, span_s)
    )
    first = int(start.min())
    sums = np.cumsum(chroma[:, first : end.max()], axis=1)
    total = np.concatenate([np.zeros((len(chroma), 1)), sums], axis=1)
    start, middle, end = start - first, middle - first, end - first
    after, before = total[:, end] - total[:, middle], total[:, middle] - total[:, start]
    norm = np.linalg.norm(after, axis=0) * np.linalg.norm(before, axis=0)
    return np.where(norm > 1e-12, 1 - (after * before).sum(axis=0) / np.maximum(norm, 1e-12), 0.0)
