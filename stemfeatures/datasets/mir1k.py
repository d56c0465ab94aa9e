"""MIR-1K: karaoke clips with the accompaniment on the left channel and the voice on the right (Hsu and Jang, 2010).

The mixture is ``left + right`` at full scale, not their mean: the mean halves the mixture against its parts and so
lifts the mixture's own SDR, and with it lowers every NSDR.

Pitch labels (``<clip>.pv``, one number a line) are MIDI semitones, 0 = unvoiced, for windows of 40 ms every 20 ms from
the first sample on. Frame ``i`` therefore is centred on ``(i + 1) * 20`` ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CatalogError
from .multitrack import AUDIO_SUFFIXES, MultiTrack, TrackTruth, find_audio, read_audio, read_numbers

FRAME_S = 0.02


@dataclass(frozen=True)
class Mir1kTrack(MultiTrack):
    """One clip: audio and labels side by side. Its stems are ``vocals`` and ``accompaniment``, mono."""

    name: str
    dataset: str
    folder: Path

    @property
    def tasks(self) -> frozenset[str]:
        return frozenset({"separation", "f0"})

    def load(self) -> TrackTruth:
        path = find_audio(self.folder, self.name)
        if path is None:
            raise CatalogError("no audio beside the labels", source=str(self.folder / f"{self.name}.pv"))
        samples, sample_rate = read_audio(path)
        if len(samples) != 2:
            raise CatalogError(
                f"{len(samples)} channel(s), expected 2: left accompaniment, right voice", source=str(path)
            )
        accompaniment, vocals = samples[:1], samples[1:]
        return TrackTruth(
            sample_rate, accompaniment + vocals, {"vocals": vocals, "accompaniment": accompaniment}, f0=self._f0()
        )

    def _f0(self) -> tuple[np.ndarray, np.ndarray]:
        semitones = read_numbers(self.folder / f"{self.name}.pv", separator=None, columns=1)[:, 0]
        f0_hz = np.where(semitones > 0, 440.0 * 2 ** ((semitones - 69) / 12), 0.0)
        return FRAME_S * np.arange(1, len(f0_hz) + 1), f0_hz


def mir1k_tracks(folder: Path) -> list[Mir1kTrack]:
    """Clips of ``folder`` that have both audio (``.flac`` or ``.wav``) and ``.pv`` labels; empty if there are none."""
    stems = {path.stem for path in folder.iterdir() if path.suffix in AUDIO_SUFFIXES}
    names = sorted(path.stem for path in folder.glob("*.pv") if path.stem in stems)
    return [Mir1kTrack(name, folder.resolve().name, folder) for name in names]
