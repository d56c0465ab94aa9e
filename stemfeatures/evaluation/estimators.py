"""What is evaluated: one protocol for our network and for the references it is measured against.

========== ============= ===========================================================================================
name       offers        what it is
========== ============= ===========================================================================================
mixture    separation    the mixture as every stem: where NSDR is zero
irm        separation    oracle: ideal ratio mask from the true stems, the bound for magnitude masks on our grid
hpss       separation    no training: harmonic/percussive drums, low band bass, REPET-SIM vocals, the rest other
pyin       f0            librosa.pyin on the mixture, its own voicing
librosa    beats         librosa.beat.beat_track on the mixture
joint      all           a checkpoint of this package
========== ============= ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, STEMS

if TYPE_CHECKING:
    from ..analysis import Analyser
    from ..separation import Separator

#: Search range of the F0 references, C2 to C6: sung notes. As in most evaluations of vocal melody.
F0_RANGE_HZ = (65.41, 1046.5)


class Estimator(Protocol):
    """Anything that can be evaluated. What it does not offer raises NotImplementedError.

    ``separate``: (channels, n_samples) float32 -> ``{stem: (channels, n_samples)}`` of exactly that shape; any of the
    stems, ``accompaniment`` too. ``f0``: vocals F0 as ``(times_s, f0_hz)``, 0 = unvoiced, negative = a guess in an
    unvoiced frame. ``beats``: ``(beats_s, positions)``, 1-indexed in the bar, or None for positions.

    An oracle has a true ``needs_truth`` and is called as ``separate_with_truth(y, sample_rate, stems)``.
    """

    name: str

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]: ...

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]: ...

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]: ...


class BaseEstimator:
    """Offers nothing; subclasses override what they can do."""

    name = ""
    needs_truth = False

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        raise NotImplementedError(f"{self.name} does not separate")

    def separate_with_truth(
        self, y: np.ndarray, sample_rate: int, stems: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        raise NotImplementedError(f"{self.name} is no oracle")

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError(f"{self.name} does not estimate F0")

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        raise NotImplementedError(f"{self.name} does not track beats")


class Mixture(BaseEstimator):
    """Hands out the mixture as every stem."""

    name = "mixture"

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        return dict.fromkeys((*STEMS, "accompaniment"), y)


class IdealRatioMask(BaseEstimator):
    """Oracle: ``|S_i| / sum_j |S_j|`` of the true stems on the mixture, with its phase, over the full band.

    The grid is that of the network's stems: 4096/1024 at 44.1 kHz, the same durations at other rates.
    """

    name = "irm"
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


class Hpss(BaseEstimator):
    """Separation without training: masks summing to one, from the mono magnitudes, applied to every channel.

    Drums are the percussive part of median filtering (Fitzgerald, DAFx 2010). Of the harmonic part, what lies below
    ``bass_hz`` is bass; above, what recurs within the song (REPET-SIM, Rafii and Pardo, ISMIR 2012) is other and what
    stands out from it is vocals.
    """

    name = "hpss"
    bass_hz = 200.0

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        import librosa

        n_fft, hop_length = stft_grid(sample_rate)
        mixture = _stft(y, sample_rate)
        magnitude = np.abs(_stft(y.mean(axis=0), sample_rate))
        harmonic, percussive = librosa.decompose.hpss(magnitude, mask=True)
        most = (magnitude.shape[1] - 1) // 2 - 1  # frames that librosa lets a neighbour be kept away
        if most > 0:
            # neighbours at least 2 s apart, or a sustained note would count as its own accompaniment
            recurring = librosa.decompose.nn_filter(
                magnitude,
                aggregate=np.median,
                metric="cosine",
                width=min(int(2 * sample_rate / hop_length), most),
            )
        else:
            recurring = magnitude
        recurring = np.minimum(magnitude, recurring)
        standing_out = librosa.util.softmask(magnitude - recurring, 2 * recurring, power=2)
        low = (np.arange(len(magnitude)) * sample_rate / n_fft < self.bass_hz)[:, None]
        masks = {
            "vocals": harmonic * ~low * standing_out,
            "drums": percussive,
            "bass": harmonic * low,
            "other": harmonic * ~low * (1 - standing_out),
        }
        return {stem: _istft(mixture * mask, sample_rate, y.shape[-1]) for stem, mask in masks.items()}


class Pyin(BaseEstimator):
    """librosa.pyin (Mauch and Dixon, ICASSP 2014) on the mono mixture at 22,050 Hz; frames of 2048, hop 512."""

    name = "pyin"

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        import librosa

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


class LibrosaBeats(BaseEstimator):
    """librosa.beat.beat_track (Ellis 2007) on the mono mixture at 22,050 Hz; no downbeats."""

    name = "librosa"

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        import librosa

        _, beats_s = librosa.beat.beat_track(
            y=_analysis_signal(y, sample_rate), sr=ANALYSIS_SAMPLE_RATE, hop_length=HOP_LENGTH, units="time"
        )
        return beats_s, None


@dataclass
class Joint(BaseEstimator):
    """A checkpoint of this package, by name or path; None takes the default one. Loaded at first use."""

    model: str | None = None
    device: str = "cpu"
    _separator: Separator | None = field(default=None, init=False, repr=False)
    _analyser: Analyser | None = field(default=None, init=False, repr=False)
    _analysed: tuple[np.ndarray, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.name = self.model or "joint"

    @property
    def _choice(self) -> dict[str, Any]:
        """The argument that chooses the checkpoint; none for the default one."""
        return {} if self.model is None else {"model": self.model}

    def __getstate__(self) -> dict[str, Any]:
        """Travels between processes without its weights."""
        return self.__dict__ | {"_separator": None, "_analyser": None, "_analysed": None}

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        if self._separator is None:
            from ..separation import Separator

            self._separator = Separator(**self._choice, device=self.device)
        return self._separator.separate_array(y, sample_rate)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """The decoded contour; in its unvoiced frames the strongest candidate."""
        analysis = self._analyse(y, sample_rate)
        contour = analysis.contours["vocals"]
        f0_hz = np.nan_to_num(contour.f0_hz)
        guess = np.nan_to_num(analysis.frames.pitch["vocals"].candidates_hz[:, 0])
        f0_hz = np.where(f0_hz > 0, f0_hz, -guess)
        return contour.times_s, f0_hz

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        events = self._analyse(y, sample_rate).events
        return events.beats_s, events.beat_positions

    def _analyse(self, y: np.ndarray, sample_rate: int) -> Any:
        """One analysis serves F0 and beats of the same array."""
        if self._analysed is None or self._analysed[0] is not y:
            if self._analyser is None:
                from ..analysis import Analyser

                self._analyser = Analyser(**self._choice, device=self.device)
            self._analysed = y, self._analyser.from_audio(y, sample_rate)
        return self._analysed[1]


#: The references by name; :func:`get_estimator` adds the checkpoints.
REFERENCES: dict[str, Callable[[], Estimator]] = {
    "mixture": Mixture,
    "irm": IdealRatioMask,
    "hpss": Hpss,
    "pyin": Pyin,
    "librosa": LibrosaBeats,
}


def get_estimator(name: str | None = None, *, device: str = "cpu") -> Estimator:
    """A reference of :data:`REFERENCES`, or else the checkpoint ``name`` (None or ``joint``: the default one)."""
    if name in REFERENCES:
        return REFERENCES[name]()
    return Joint(None if name == "joint" else name, device=device)


def stft_grid(sample_rate: int) -> tuple[int, int]:
    """``(n_fft, hop_length)`` that lasts as long at ``sample_rate`` as 4096/1024 does at 44.1 kHz."""
    hop_length = max(1, round(1024 * sample_rate / 44_100))
    return 4 * hop_length, hop_length


def _stft(y: np.ndarray, sample_rate: int) -> np.ndarray:
    """(..., n_fft // 2 + 1, n_frames) complex."""
    import librosa

    n_fft, hop_length = stft_grid(sample_rate)
    return librosa.stft(y, n_fft=n_fft, hop_length=hop_length)


def _istft(spectrum: np.ndarray, sample_rate: int, n_samples: int) -> np.ndarray:
    import librosa

    n_fft, hop_length = stft_grid(sample_rate)
    return librosa.istft(spectrum, n_fft=n_fft, hop_length=hop_length, length=n_samples)


def _analysis_signal(y: np.ndarray, sample_rate: int) -> np.ndarray:
    """(n,) mono at 22,050 Hz."""
    from ..audio import resample, to_mono

    return resample(to_mono(y), sample_rate, ANALYSIS_SAMPLE_RATE)
