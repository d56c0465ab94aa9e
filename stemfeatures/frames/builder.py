"""From network results to :class:`~stemfeatures.frames.TrackFrames`: one masked STFT per stem feeds everything."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._util.large_arrays import GrowingArrays, release
from ..constants import (
    HOP_LENGTH,
    MIXTURE,
    N_FFT,
    N_PITCH_CANDIDATES,
    PITCHED_STEMS,
    STEM_ROWS,
)
from ..inference.segments import Frames
from ..inference.transfer import to_host
from ..spectra.filters import FilterBank, bark_filters, chroma_filters, mel_filters
from ..spectra.streaming import OverlapAdder
from .bin_rise import RISE_BINS, bin_rise
from .feature_meter import CELL_VALUES, FeatureMeter
from .fine_pitch import FinePitch
from .further_voices import VoicesMeter
from .inharmonicity import InharmonicityMeter
from .low_pitch import LowPitchMeter, add_low_pitch
from .masked_spectra import masked_spectra
from .measures import PeakMeter, WaveMeter, k_weights, pitch_candidates, spectral_contrast, spectral_shape
from .polyphony import NoteMeter
from .roughness import dissonance
from .stereo import StereoMeter
from .types import ROUGHNESS_STEP, FeatureCells, NoteFrames, PitchFrames, StemFrames, TrackFrames
from .voice_meter import VoiceMeter

#: Mean square of a signal from its Hann-windowed one-sided power spectrum (Parseval; 3 N / 8 is the window's energy).
_ENERGY = 2.0 / N_FFT / (3.0 * N_FFT / 8.0)
#: Series of several bands, and of one value a frame.
_BANDED = ("mel", "chroma", "contrast", "bark")
_SINGLE = (
    "energy", "k_power", "mask_energy", "centroid_hz", "bandwidth_hz", "rolloff_hz", "flatness", "skewness", "kurtosis",
    "zero_crossing_rate", "envelope", "dissonance", "bin_rise",
)  # fmt: skip
_VOICE = PITCHED_STEMS.index("vocals")
#: Frames whose spectra a CPU measures at a time, so that they stay in its cache.
_TOGETHER = 256
_NOTES = ("note_onset", "note_active", "note_deviation")


class FrameBuilder:
    """Collects the frames of one track, half a kB a frame and row; those of long tracks lie in a temporary file.

    Parameters
    ----------
    device : str, optional
        Torch device.
    further : tuple of str, optional
        Names of the stems beside the four, in the order of :attr:`Frames.further`.
    sample_rate : int, optional
        Of the signal that :meth:`push_channels` gets, in Hz; not needed without it.
    channels : int, optional
        Number of channels of that signal; None: they are not known.
    notes : bool, default=False
        Ask the network of notes about ``other``.
    voices : bool, default=False
        Ask the network of voices about the vocals.
    cells : bool, default=False
        Keep the network's features of each stretch of time.
    """

    def __init__(
        self, device: str = "cpu", *, further: tuple[str, ...] = (), sample_rate: int | None = None,
        channels: int | None = None, notes: bool = False, voices: bool = False, cells: bool = False,
    ) -> None:  # fmt: skip
        self.device, self.rows, self.channels = device, (*STEM_ROWS, *further), channels
        self._stereo = StereoMeter(sample_rate, device) if sample_rate and channels == 2 else None
        banks = (mel_filters(), chroma_filters(), bark_filters(), _ENERGY * k_weights("cpu")[None])
        self._n_bands = [len(bank) for bank in banks]
        self._filters = FilterBank(torch.cat(banks).to(device))
        self._rows, self._n_frames = len(self.rows), 0
        self._power_before = torch.zeros(self._rows, RISE_BINS, device=device)
        self._values = GrowingArrays()
        self._adder = OverlapAdder(self._rows, N_FFT, HOP_LENGTH, device=device)
        self._peaks, self._waves = PeakMeter(self._rows), WaveMeter(self._rows, device)
        self._low_pitch, self._fine_pitch, self._voice = LowPitchMeter(device), FinePitch(), VoiceMeter()
        self._tones = {stem: InharmonicityMeter() for stem in PITCHED_STEMS}
        self._notes = NoteMeter(device) if notes else None
        self._voices = VoicesMeter(device) if voices else None
        self._features, self._stride = FeatureMeter(self._rows, device, by_cell=cells), 0

    def push_channels(self, block: np.ndarray) -> None:
        """Take further samples (channels, n) of the signal as it was decoded, ahead of their frames."""
        if self._stereo is not None:
            self._stereo.push(block)

    def finish_channels(self) -> None:
        """There are no more samples."""
        if self._stereo is not None:
            self._stereo.finish_signal()

    def add(self, frames: Frames) -> None:
        """Take further frames, in order."""
        spectrum = frames.spectrum
        further = [] if frames.further is None else [frames.further]
        masks = torch.cat([frames.masks, *further]) if further else frames.masks
        step = _TOGETHER if spectrum.device.type == "cpu" else spectrum.shape[1]
        parts = [
            self._spectral(spectrum[:, at : at + step], masks[..., at : at + step])
            for at in range(0, spectrum.shape[1], step)
        ]
        if self._stereo is not None:
            self._keep("channel_power", self._stereo.take())
        values = {name: torch.cat([part[name] for part in parts], dim=-1) for name in parts[0]}
        signal = values.pop("signal")
        for i, _ in enumerate(PITCHED_STEMS):
            hertz, salience = pitch_candidates(frames.salience[i])
            values |= {f"hz{i}": hertz.T, f"salience{i}": salience.T}
        values |= {"voicing": frames.voicing, "rhythm": frames.rhythm}
        if frames.presence is not None:
            values["presence"] = frames.presence
        arrays = to_host(values)
        best_hz, voicing = [arrays[f"hz{i}"][0] for i in range(len(PITCHED_STEMS))], arrays["voicing"]
        voice_hz = arrays.pop(f"hz{_VOICE}")
        for name, array in arrays.items():
            self._keep(name, array)
        self._fine_pitch.push(voice_hz.T, voicing[_VOICE])
        self._voice.push(voice_hz[0], voicing[_VOICE])
        if self._voices is not None:
            self._voices.push_pitch(voice_hz.T, arrays[f"salience{_VOICE}"].T, voicing[_VOICE])
        for meter, hz, certain in zip(self._tones.values(), best_hz, voicing):
            meter.push(hz, certain)
        self._push_signal(signal)
        self._keep_measured()

    def _spectral(self, spectrum: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """What spectra tell of all rows: of the mixture, and under each mask."""
        masked = masked_spectra(spectrum, masks)
        if self._stereo is not None:
            self._stereo.add(masked.shares)
        n_frames, self._n_frames = self._n_frames, self._n_frames + spectrum.shape[-1]
        mel, chroma, bark, k_power = self._filters.apply(masked.power).split(self._n_bands, dim=1)
        magnitude, power = masked.magnitude.transpose(1, 2), masked.power.transpose(1, 2)
        rise = bin_rise(masked.power, self._power_before)
        self._power_before = masked.power[:, -1, :RISE_BINS].clone()
        return {
            "signal": self._adder.push(masked.spectrum.transpose(1, 2)),
            "mel": mel,
            "chroma": chroma,
            "bark": bark,
            "contrast": spectral_contrast(magnitude),
            "dissonance": dissonance(magnitude[..., -n_frames % ROUGHNESS_STEP :: ROUGHNESS_STEP]),
            "energy": _ENERGY * masked.total,
            "mask_energy": _ENERGY * masked.shared,
            "k_power": k_power[:, 0],
            "bin_rise": rise,
            **spectral_shape(magnitude, power),
        }

    def add_features(self, features: Tensor, power: Tensor, stride: int, first: int) -> None:
        """Take further features of the network, see :meth:`.feature_meter.FeatureMeter.push`."""
        self._features.push(features, power, stride, first)
        self._stride = stride
        for cells in self._features.take_cells():
            for name, array in cells.items():
                self._values.append(name, array)

    def finish(self, n_samples: int) -> TrackFrames:
        """The frames of the whole track of ``n_samples`` at 22,050 Hz."""
        self._push_signal(self._adder.finish(n_samples))
        self._keep_measured(self._n_frames)
        peaks = self._peaks.finish()
        stereo = None if self._stereo is None else self._stereo.finish(self._n_frames)
        if stereo is not None:
            self._keep("channel_power", stereo)
        data = self._values.finish()
        stems = {
            stem: StemFrames(
                peak=float(peaks[i]),
                embedding=self._embedding(i, data[f"energy{i}"]),
                channel_power=None if stereo is None else data[f"channel_power{i}"],
                **{name: data[f"{name}{i}"] for name in (*_BANDED, *_SINGLE)},
            )
            for i, stem in enumerate(self.rows)
        }
        pitch = {
            stem: PitchFrames(
                data[f"hz{i}"].T,
                data[f"salience{i}"].T,
                data[f"voicing{i}"],
                data["between_hz"] if i == _VOICE else None,
            )
            for i, stem in enumerate(PITCHED_STEMS)
        }
        add_low_pitch(pitch["bass"], *data["low_pitch"])
        release(*data.values())
        return TrackFrames(
            n_samples, stems, pitch, *self._activations(data), data.get("presence"), channels=self.channels,
            voice=self._voice.finish(), tones={stem: meter.finish() for stem, meter in self._tones.items()},
            notes=None if self._notes is None else NoteFrames(*(data[name] for name in _NOTES)),
            voices=None if self._voices is None else _pitch_of(data["voices"]),
            cells=FeatureCells(self._stride, *(data[name] for name in CELL_VALUES)) if "cell_first" in data else None,
        )  # fmt: skip

    @staticmethod
    def _activations(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return data["rhythm0"], data["rhythm1"], data["rhythm2"]

    def _keep(self, name: str, array: np.ndarray) -> None:
        if name in (*_BANDED, *_SINGLE, "channel_power", "rhythm", "voicing"):  # each row is read alone
            for i, row in enumerate(array):
                self._values.append(f"{name}{i}", row)
        else:
            self._values.append(name, array)

    def _push_signal(self, signal: Tensor) -> None:
        """Take further samples of all rows."""
        self._waves.push(signal)
        self._low_pitch.push(signal[STEM_ROWS.index("bass")])
        samples = signal.cpu().numpy()
        self._peaks.push(samples)
        for stem, meter in self._tones.items():
            meter.push_signal(samples[STEM_ROWS.index(stem)])
        self._fine_pitch.push_signal(samples[STEM_ROWS.index("vocals")])
        self._voice.push_signal(samples[STEM_ROWS.index("vocals")])
        if self._notes is not None:
            self._notes.push_signal(samples[STEM_ROWS.index("other")])
        if self._voices is not None:
            self._voices.push_signal(samples[[STEM_ROWS.index(row) for row in ("vocals", MIXTURE)]])

    def _keep_measured(self, n_frames: int | None = None) -> None:
        """Keep what was measured of the samples so far, or all of a track of so many frames."""
        if n_frames is None:
            waves = self._waves.take()
            low, fine = self._low_pitch.take(), self._fine_pitch.take()
        else:
            waves = self._waves.finish(n_frames)
            low, fine = self._low_pitch.finish(n_frames), self._fine_pitch.finish()
        for name, array in to_host(dict(zip(("zero_crossing_rate", "envelope"), waves))).items():
            self._keep(name, array)
        if self._notes is not None:
            told = self._notes.take() if n_frames is None else self._notes.finish(n_frames)
            for name, array in zip(_NOTES, told):
                self._keep(name, array)
        if self._voices is not None:
            self._keep("voices", self._voices.take() if n_frames is None else self._voices.finish(n_frames))
        self._keep("low_pitch", np.stack(low))
        self._keep(f"hz{_VOICE}", fine[0].T)
        self._keep("between_hz", fine[1].astype(np.float32))

    def _embedding(self, row: int, energy: np.ndarray) -> np.ndarray | None:
        if float(energy.max(initial=0.0)) <= 1e-10:
            return None
        return self._features.embedding(row)


def _pitch_of(told: np.ndarray) -> PitchFrames:
    """What :class:`.further_voices.VoicesMeter` tells, (2 * N_PITCH_CANDIDATES + 1, n_frames)."""
    hz, probability = told[:-1].reshape(2, N_PITCH_CANDIDATES, -1)
    return PitchFrames(hz.T, probability.T, told[-1])
