"""Tools that people would use instead, where they have them installed; same protocol as our own network.

============ ============ =========================================================================================
name         offers       what it runs, and when a frame counts as voiced
============ ============ =========================================================================================
demucs       separation   ``htdemucs``, segments with a quarter of overlap, no random shifts
open-unmix   separation   ``umxl`` with one Wiener iteration, the tool's defaults
torchcrepe   f0           ``full`` at 10 ms, Viterbi; periodicity (median of three frames) >= 0.21, its README's value
swift-f0     f0           16 ms; confidence >= 0.5, the tool's own mark
basic-pitch  f0           highest of the contour posteriors; voiced >= 0.3, its default frame threshold
pesto        f0           ``mir-1k_g7`` at 10 ms; confidence >= 0.5 (the tool names no threshold)
essentia     f0, beats    PredominantPitchMelodia behind EqualLoudness, its own voicing; RhythmExtractor2013
beat_this    beats        ``final0`` without DBN
============ ============ =========================================================================================

A colon chooses other weights: ``torchcrepe:tiny``, ``open-unmix:umxhq``, ``demucs:htdemucs_ft``. Nothing is imported
before it is asked for. Every tool gets the mono mixture (the separators stereo) at the rate it was made for, searches
C2 to C6 where it can be told to, and keeps its best guess in unvoiced frames, so that raw pitch accuracy does not hang
on its voicing. Many of these tools were trained on MIR-1K, MedleyDB or MUSDB18: figures on those sets flatter them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .plugin import Plugin, mono_at
from .references import F0_RANGE_HZ


class Demucs(Plugin):
    """Hybrid Transformer Demucs (Rouard, Massa and Défossez, ICASSP 2023)."""

    tool, module, distribution, install = "demucs", "demucs", "demucs", "pip install demucs"
    default_variant = "htdemucs"

    def load(self) -> Any:
        from demucs.api import Separator

        return Separator(model=self.weights, device=self.device, shifts=0)

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        import torch

        def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                _, stems = self.model.separate_tensor(torch.from_numpy(stereo), self.model.samplerate)
            return {stem: signal.cpu().numpy() for stem, signal in stems.items()}

        return self._separate_stereo(y, sample_rate, self.model.samplerate, run)


class OpenUnmix(Plugin):
    """Open-Unmix (Stöter, Uhlich, Liutkus and Mitsufuji, JOSS 2019)."""

    tool, module, distribution, install = "open-unmix", "openunmix", "openunmix", "pip install openunmix"
    default_variant = "umxl"

    def load(self) -> Any:
        from openunmix import utils

        separator = utils.load_separator(self.weights, device=self.device)
        separator.freeze()
        return separator.to(self.device)

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        import torch

        rate = int(self.model.sample_rate)

        def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                stems = self.model.to_dict(self.model(torch.from_numpy(stereo)[None].to(self.device)))
            return {stem: signal[0].cpu().numpy() for stem, signal in stems.items()}

        return self._separate_stereo(y, sample_rate, rate, run)


class TorchCrepe(Plugin):
    """CREPE (Kim, Salamon, Li and Bello, ICASSP 2018), in PyTorch."""

    tool, module, distribution, install = "torchcrepe", "torchcrepe", "torchcrepe", "pip install torchcrepe"
    default_variant = "full"
    voicing = "median of three periodicities >= 0.21"

    def load(self) -> Any:
        import torchcrepe

        torchcrepe.load.model(self.device, self.weights)
        return torchcrepe

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        import torch

        signal = torch.from_numpy(mono_at(y, sample_rate, 16_000))[None]
        fmin, fmax = F0_RANGE_HZ
        pitch, periodicity = self.model.predict(
            signal, 16_000, 160, fmin, fmax, self.weights, return_periodicity=True, batch_size=512, device=self.device
        )
        voiced = self.model.filter.median(periodicity, 3)[0].numpy() >= 0.21
        f0_hz = np.nan_to_num(pitch[0].numpy().astype(np.float64))
        return np.arange(len(f0_hz)) * 0.01, np.where(voiced, f0_hz, -f0_hz)


class SwiftF0(Plugin):
    """SwiftF0 (Nieradzik, 2025); from version 0.3 on."""

    tool, module, distribution, install = "swift-f0", "swift_f0", "swift-f0", "pip install 'swift-f0>=0.3'"
    voicing = "confidence >= 0.5"

    def load(self) -> Any:
        import swift_f0

        return swift_f0.SwiftF0(threads=1)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        fmin, fmax = F0_RANGE_HZ
        found = self.model.detect(mono_at(y, sample_rate, 16_000), 16_000, fmin=fmin, fmax=fmax)
        return found.timestamps, np.where(found.confidence >= 0.5, found.pitch_hz, -found.pitch_hz)


class BasicPitch(Plugin):
    """Basic Pitch (Bittner et al., ICASSP 2022), all instruments: the strongest pitch of a frame is its melody.

    Its contour bins are a third of a semitone; the *second* one is 27.5 Hz (the central bin of the first semitone).
    Reading bin ``k`` as ``27.5 * 2**(k / 36)`` is 33 cents sharp. Pitches are read between bins, by the centroid of the
    five around the highest.
    """

    tool, module, distribution = "basic-pitch", "basic_pitch", "basic-pitch"
    install = "pip install --no-deps basic-pitch && pip install onnxruntime resampy pretty_midi"
    voicing = "contour posterior >= 0.3"
    threshold = 0.3

    def load(self) -> Any:
        with _quiet():
            import basic_pitch
            from basic_pitch.inference import Model

            folder = basic_pitch.ICASSP_2022_MODEL_PATH
            return Model(folder)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        times_s, contour = self._contour(y, sample_rate)
        best = contour.argmax(axis=1)
        f0_hz = self._hz(contour, np.arange(len(best)), best)
        return times_s, np.where(contour.max(axis=1, initial=0) >= self.threshold, f0_hz, -f0_hz)

    def multi_f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, list[np.ndarray]]:
        times_s, contour = self._contour(y, sample_rate)
        inner = contour[:, 1:-1]
        peaks = np.zeros(contour.shape, bool)
        peaks[:, 1:-1] = (inner > contour[:, :-2]) & (inner >= contour[:, 2:]) & (inner >= self.threshold)
        return times_s, [self._hz(contour, np.full(len(k), i), k) for i, k in enumerate(map(np.flatnonzero, peaks))]

    def _contour(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame times and (n_frames, 264) posteriors: windows of 172 frames, of which the middle 142 are kept."""
        from basic_pitch import constants, inference

        margin = 15
        overlap = 2 * margin * constants.FFT_HOP
        hop = constants.AUDIO_N_SAMPLES - overlap
        signal = mono_at(y, sample_rate, constants.AUDIO_SAMPLE_RATE)
        padded = np.concatenate([np.zeros(overlap // 2, np.float32), signal])
        windows = [window[None] for window, _ in inference.window_audio_file(padded, hop)]
        parts = [self.model.predict(window)["contour"][0][margin:-margin] for window in windows]
        starts = np.arange(len(parts))[:, None] * hop
        samples = (starts + np.arange(len(parts[0])) * constants.FFT_HOP).ravel()
        inside = samples <= len(signal)
        return samples[inside] / constants.AUDIO_SAMPLE_RATE, np.concatenate(parts)[inside]

    @staticmethod
    def _hz(contour: np.ndarray, frames: np.ndarray, bins: np.ndarray) -> np.ndarray:
        around = bins[:, None] + np.arange(-2, 3)
        weights = np.where(
            (around >= 0) & (around < contour.shape[1]),
            contour[frames[:, None], np.clip(around, 0, contour.shape[1] - 1)],
            0.0,
        )
        centroid = (weights * around).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
        return 27.5 * 2.0 ** ((centroid - 1) / 36)


class Pesto(Plugin):
    """PESTO (Riou, Lattner, Hadjeres and Peeters, ISMIR 2023); its weights were trained on the vocals of MIR-1K."""

    tool, module, distribution, install = "pesto", "pesto", "pesto-pitch", "pip install pesto-pitch"
    default_variant = "mir-1k_g7"
    voicing = "confidence >= 0.5"

    def load(self) -> Any:
        from pesto import load_model

        return load_model(self.weights, 10.0, sampling_rate=16_000).to(self.device)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        import torch

        signal = torch.from_numpy(mono_at(y, sample_rate, 16_000)).to(self.device)
        with torch.inference_mode():
            pitch, confidence, _ = self.model(signal, sr=16_000, convert_to_freq=True, return_activations=False)
        f0_hz = pitch.cpu().numpy().astype(np.float64)
        return np.arange(len(f0_hz)) * 0.01, np.where(confidence.cpu().numpy() >= 0.5, f0_hz, -f0_hz)


class Essentia(Plugin):
    """Melodia (Salamon and Gómez, IEEE TASLP 2012) and RhythmExtractor2013 (Zapata, Davies and Gómez, 2014)."""

    tool, module, distribution, install = "essentia", "essentia", "essentia", "pip install essentia"
    voicing = "contours kept by the tool"

    def load(self) -> Any:
        import essentia

        essentia.log.infoActive = False
        import essentia.standard

        return essentia.standard

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        fmin, fmax = F0_RANGE_HZ
        melodia = self.model.PredominantPitchMelodia(
            minFrequency=fmin, maxFrequency=fmax, hopSize=128, guessUnvoiced=True
        )
        f0_hz, confidence = melodia(self.model.EqualLoudness()(mono_at(y, sample_rate, 44_100)))
        # a guess in an unvoiced frame has its pitch as it is, and a negative confidence
        return np.arange(len(f0_hz)) * (128 / 44_100), np.where(confidence < 0, -f0_hz, f0_hz).astype(np.float64)

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        _, beats_s, *_ = self.model.RhythmExtractor2013(method="multifeature")(mono_at(y, sample_rate, 44_100))
        return np.asarray(beats_s, np.float64), None


class BeatThis(Plugin):
    """Beat This (Foscarin, Schlüter and Widmer, ISMIR 2024)."""

    tool, module, distribution, install = "beat_this", "beat_this", "beat-this", "pip install beat-this"
    default_variant = "final0"

    def load(self) -> Any:
        from beat_this.inference import Audio2Beats

        return Audio2Beats(checkpoint_path=self.weights, device=self.device)

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        beats_s, downbeats_s = self.model(mono_at(y, sample_rate, 22_050), 22_050)
        return np.asarray(beats_s, np.float64), positions_of(beats_s, downbeats_s)


def positions_of(beats_s: np.ndarray, downbeats_s: np.ndarray) -> np.ndarray:
    """(n_beats,) place of each beat in its bar, 1 = downbeat, 0 before the first downbeat."""
    is_downbeat = np.isin(beats_s, downbeats_s)
    index = np.arange(len(is_downbeat))
    last = np.maximum.accumulate(np.where(is_downbeat, index, -1)) if len(index) else index
    return np.where(last >= 0, index - last + 1, 0)


#: By name; :func:`stemfeatures.evaluation.get_estimator` knows them too.
PLUGINS: dict[str, type[Plugin]] = {
    plugin.tool: plugin for plugin in (Demucs, OpenUnmix, TorchCrepe, SwiftF0, BasicPitch, Pesto, Essentia, BeatThis)
}


def make_plugin(name: str, *, device: str = "cpu") -> Plugin:
    """``tool`` or ``tool:weights``. Raises ImportError saying how to install a tool that is not there, KeyError for
    one that is not known."""
    tool, _, variant = name.partition(":")
    plugin = PLUGINS[tool]
    if not plugin.installed():
        raise ImportError(f"{tool} is not installed; to install it: {plugin.install}")
    return plugin(variant or None, device=device)


def missing_plugins() -> dict[str, str]:
    """``{name: how to install it}`` of the tools that are not there."""
    return {name: plugin.install for name, plugin in PLUGINS.items() if not plugin.installed()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings by which a package complains of frameworks that it does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
