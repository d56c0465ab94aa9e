"""What any result is measured against, from librosa and from the truth itself; nothing here is trained.

========== ============= ===========================================================================================
name       offers        what it is
========== ============= ===========================================================================================
mixture    separation    the mixture as every stem: where NSDR is zero
irm        separation    oracle: ideal ratio mask from the true stems, the bound for magnitude masks on our grid
hpss       separation    no training: harmonic/percussive drums, low band bass, REPET-SIM vocals, the rest other
repet-sim  separation    no training: what recurs within the song is accompaniment, the rest vocals
pyin       f0            librosa.pyin on the mixture, its own voicing
librosa    beats         librosa.beat.beat_track on the mixture
========== ============= ===========================================================================================
"""

from __future__ import annotations

import numpy as np

from ..._util.numba_cache import import_librosa
from ...constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, STEMS
from ..base import F0_RANGE_HZ, BaseEstimator, register_estimator


class Reference(BaseEstimator):
    """Needs no weights and no torch."""

    uses_torch = False


@register_estimator
class Mixture(Reference):
    """Hands out the mixture as every stem."""

    name = "mixture"
    quick = True

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        return dict.fromkeys((*STEMS, "accompaniment"), y)


@register_estimator
class IdealRatioMask(Reference):
    """Oracle: ``|S_i| / sum_j |S_j|`` of the true stems on the mixture, with its phase, over the full band.

    The grid is that of the network's stems: 4096/1024 at 44.1 kHz, the same durations at other rates.
    """

    name = "irm"
    quick = True
    needs_truth = True

    def separate_with_truth(
        self, y: np.ndarray, sample_rate: int, stems: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        mixture = _stft(y, sample_rate)
        magnitudes = {stem: np.abs(_stft(signal, sample_rate)) for stem, signal in stems.items()}
        total = np.maximum(sum(magnitudes.values()), np.finfo(np.float32).tiny)
        return {
            stem: _istft(mixture * (magnitude / total), sample_rate, y.shape[-1])
            for stem, magnitude in magnitudes.items()
        }


@register_estimator
class Hpss(Reference):
    """Separation without training: masks summing to one, from the mono magnitudes, applied to every channel.

    Drums are the percussive part of median filtering (Fitzgerald, DAFx 2010). Of the harmonic part, what lies below
    ``bass_hz`` is bass; above, what recurs within the song (REPET-SIM, Rafii and Pardo, ISMIR 2012) is other and what
    stands out from it is vocals.
    """

    name = "hpss"
    bass_hz = 200.0

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        librosa = import_librosa()
        n_fft, _ = stft_grid(sample_rate)
        mixture = _stft(y, sample_rate)
        magnitude = np.abs(_stft(y.mean(axis=0), sample_rate))
        harmonic, percussive = librosa.decompose.hpss(magnitude, mask=True)
        standing_out = _standing_out(magnitude, sample_rate)
        low = (np.arange(len(magnitude)) * sample_rate / n_fft < self.bass_hz)[:, None]
        masks = {
            "vocals": harmonic * ~low * standing_out,
            "drums": percussive,
            "bass": harmonic * low,
            "other": harmonic * ~low * (1 - standing_out),
        }
        return {stem: _istft(mixture * mask, sample_rate, y.shape[-1]) for stem, mask in masks.items()}


@register_estimator
class RepetSim(Reference):
    """REPET-SIM (Rafii and Pardo, ISMIR 2012) from librosa: vocals and accompaniment, masks summing to one.

    Below ``high_pass_hz``, the published method's, nothing is vocals.
    """

    name = "repet-sim"
    high_pass_hz = 100.0

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        n_fft, _ = stft_grid(sample_rate)
        mixture = _stft(y, sample_rate)
        vocals = _standing_out(np.abs(_stft(y.mean(axis=0), sample_rate)), sample_rate)
        vocals[np.arange(len(vocals)) * sample_rate / n_fft < self.high_pass_hz] = 0
        masks = {"vocals": vocals, "accompaniment": 1 - vocals}
        return {stem: _istft(mixture * mask, sample_rate, y.shape[-1]) for stem, mask in masks.items()}


@register_estimator
class Pyin(Reference):
    """librosa.pyin (Mauch and Dixon, ICASSP 2014) on the mono mixture at 22,050 Hz; frames of 2048, hop 512."""

    name = "pyin"
    voicing = "the tool's own decoding"

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        librosa = import_librosa()
        fmin, fmax = F0_RANGE_HZ
        # fill_na=None keeps the best guess of unvoiced frames, which raw pitch accuracy counts
        f0_hz, voiced, _ = librosa.pyin(
            _analysis_signal(y, sample_rate),
            fmin=fmin,
            fmax=fmax,
            sr=ANALYSIS_SAMPLE_RATE,
            frame_length=2048,
            hop_length=HOP_LENGTH,
            fill_na=None,
        )
        return np.arange(len(f0_hz)) * (HOP_LENGTH / ANALYSIS_SAMPLE_RATE), np.where(voiced, f0_hz, -f0_hz)


@register_estimator
class LibrosaBeats(Reference):
    """librosa.beat.beat_track (Ellis 2007) on the mono mixture at 22,050 Hz; no downbeats."""

    name = "librosa"
    quick = True

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        librosa = import_librosa()
        _, beats_s = librosa.beat.beat_track(
            y=_analysis_signal(y, sample_rate), sr=ANALYSIS_SAMPLE_RATE, hop_length=HOP_LENGTH, units="time"
        )
        return beats_s, None


def stft_grid(sample_rate: int) -> tuple[int, int]:
    """``(n_fft, hop_length)`` that lasts as long at ``sample_rate`` as 4096/1024 does at 44.1 kHz."""
    hop_length = max(1, round(1024 * sample_rate / 44_100))
    return 4 * hop_length, hop_length


def _stft(y: np.ndarray, sample_rate: int) -> np.ndarray:
    """(..., n_fft // 2 + 1, n_frames) complex."""
    librosa = import_librosa()
    n_fft, hop_length = stft_grid(sample_rate)
    return librosa.stft(y, n_fft=n_fft, hop_length=hop_length)


def _istft(spectrum: np.ndarray, sample_rate: int, n_samples: int) -> np.ndarray:
    librosa = import_librosa()
    n_fft, hop_length = stft_grid(sample_rate)
    return librosa.istft(spectrum, n_fft=n_fft, hop_length=hop_length, length=n_samples)


def _standing_out(magnitude: np.ndarray, sample_rate: int) -> np.ndarray:
    """Soft mask of what does not recur in the similar frames of the song; margin 2, power 2."""
    librosa = import_librosa()
    _, hop_length = stft_grid(sample_rate)
    most = (magnitude.shape[1] - 1) // 2 - 1  # frames that librosa lets a neighbour be kept away
    recurring = magnitude
    if most > 0:
        # neighbours at least 2 s apart, or a sustained note would count as its own accompaniment
        recurring = librosa.decompose.nn_filter(
            magnitude, aggregate=np.median, metric="cosine", width=min(int(2 * sample_rate / hop_length), most)
        )
    recurring = np.minimum(magnitude, recurring)
    return librosa.util.softmask(magnitude - recurring, 2 * recurring, power=2)


def _analysis_signal(y: np.ndarray, sample_rate: int) -> np.ndarray:
    """(n,) mono at 22,050 Hz."""
    from ...audio import resample, to_mono

    return resample(to_mono(y), sample_rate, ANALYSIS_SAMPLE_RATE)
