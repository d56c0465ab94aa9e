"""MIR-1K: karaoke clips with the accompaniment on the left channel and the voice on the right (Hsu and Jang, 2010).

The mixture is ``left + right`` at full scale, not their mean: the mean halves the mixture against its parts and so
lifts the mixture's own SDR, and with it lowers every NSDR.

Pitch labels (``<clip>.pv``, one number a line) are MIDI semitones, 0 = unvoiced, for windows of 40 ms every 20 ms from
the first sample on. Frame ``i`` therefore is centred on ``(i + 1) * 20`` ms.

Clips are named ``<singer>_<song>_<clip>``. A singer has clips of several songs and a song several clips: a split by
clip leaks both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import MIXTURE
from ..errors import CatalogError
from .annotations import F0, Annotations, midi_to_hz
from .multitrack import AUDIO_SUFFIXES, MultiTrack, find_audio, read_audio, read_numbers
from .registry import register_dataset

FRAME_S = 0.02


@dataclass(frozen=True)
class Mir1kTrack(MultiTrack):
    """One clip: audio and labels side by side. Its stems are ``vocals`` and ``accompaniment``, mono."""

    name: str
    dataset: str
    folder: Path

    @property
    def artist(self) -> str:  # type: ignore[override]
        """The singer."""
        return self.name.partition("_")[0]

    @property
    def stem_names(self) -> tuple[str, ...]:
        return "vocals", "accompaniment"

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        path = find_audio(self.folder, self.name)
        if path is None:
            raise CatalogError("no audio beside the labels", source=str(self.folder / f"{self.name}.pv"))
        samples, sample_rate = read_audio(path)
        if len(samples) != 2:
            raise CatalogError(
                f"{len(samples)} channel(s), expected 2: left accompaniment, right voice", source=str(path)
            )
        accompaniment, vocals = samples[:1], samples[1:]
        return {"vocals": vocals, "accompaniment": accompaniment, MIXTURE: accompaniment + vocals}[stem], sample_rate

    def source(self, stem: str = MIXTURE) -> str:
        return str(find_audio(self.folder, self.name) or self.folder / f"{self.name}.pv")

    def annotations(self) -> Annotations:
        semitones = read_numbers(self.folder / f"{self.name}.pv", separator=None, columns=1)[:, 0]
        times_s = FRAME_S * np.arange(1, len(semitones) + 1)
        return Annotations(f0={"vocals": (F0(times_s, midi_to_hz(semitones)),)})


@register_dataset("mir1k", recognised=True)
def mir1k_tracks(folder: Path) -> list[Mir1kTrack]:
    """Clips of ``folder`` that have both audio and ``.pv`` labels; empty if there are none.

    The original distribution keeps them apart, in ``Wavfile`` and ``PitchLabel``: link or copy them into one folder.
    """
    stems = {path.stem for path in folder.iterdir() if path.suffix in AUDIO_SUFFIXES}
    names = sorted(path.stem for path in folder.glob("*.pv") if path.stem in stems)
    return [Mir1kTrack(name, folder.resolve().name, folder) for name in names]
