"""Generated songs as the network of notes hears them: the true stem, the separated one, and what is played in it.

A song of ``stemfeatures generate`` goes through the separator once; what is kept of it is the spectrum at three bins a
semitone of both stems (:func:`stemfeatures.models.notes.note_features`), 16 bits a bin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..._util.constants_of import constants_of, modules_of
from ..._util.digests import content_digest
from ..._util.files import replacing
from ...audio import load, resample
from ...constants import ANALYSIS_SAMPLE_RATE, FRAME_RATE, HOP_LENGTH, LOWEST_NOTE, N_FFT, N_NOTES, STEMS
from ...errors import DatasetError
from ...inference.front_end import FrontEnd
from ...inference.segments import Frames, SegmentRunner, SegmentTrack
from ...models import checkpoints
from ...models.joint import JointNet
from ...models.notes import note_features
from ...spectra.streaming import OverlapAdder
from ...spectra.thirds import LONG_WINDOW, thirds

#: Frames before and after the beginning of a note in which its onset is looked for, the nearer the likelier.
ONSET_REACH = 1.5
#: Modules whose constants the features follow from.
_FEATURES = ("stemfeatures.constants", "stemfeatures.models.notes", "stemfeatures.spectra.thirds")


@dataclass(frozen=True)
class HeardNotes:
    """One stem of one song.

    Attributes
    ----------
    true, separated : np.ndarray
        (n_frames, N_THIRDS + N_SEMITONES) float16 features of the stem as it is, and as the separator found it.
    notes : np.ndarray
        (n_notes, 3) float64: seconds at which it begins and ends, pitch (MIDI, with fractions).
    voices : np.ndarray
        (n_voices, n_frames) float32 pitch (MIDI) of each voice, NaN where it has none; empty where the truth has notes
        alone.
    seconds : float
        Length of the song.
    """

    true: np.ndarray
    separated: np.ndarray
    notes: np.ndarray
    voices: np.ndarray
    seconds: float

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.true)

    def save(self, path: Path) -> None:
        """Write it to a file (``.npz``), which is there whole or not at all."""
        with replacing(path) as unfinished, open(unfinished, "wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> HeardNotes:
        """What :meth:`save` wrote."""
        with np.load(path) as file:
            values = {name: file[name] for name in ("true", "separated", "notes", "voices")}
            return cls(**values, seconds=float(file["seconds"]))


class StemCollector:
    """Waveforms of stems of a track, from what the network says of its frames.

    Parameters
    ----------
    stems : Sequence[str]
        Which of the four.
    """

    def __init__(self, stems: Sequence[str]) -> None:
        self._rows = [STEMS.index(stem) for stem in stems]
        self._adder = OverlapAdder(len(stems), N_FFT, HOP_LENGTH)
        self._parts: list[torch.Tensor] = []

    def add(self, frames: Frames) -> None:
        """Take further frames, in order."""
        masks = frames.masks[self._rows]
        self._parts.append(self._adder.push(frames.spectrum * torch.cat([masks, masks[:, -1:]], dim=1)))

    def finish(self, n_samples: int) -> np.ndarray:
        """(n_stems, n_samples) float32 at 22,050 Hz."""
        self._parts.append(self._adder.finish(n_samples))
        return torch.cat(self._parts, dim=1).numpy()


@torch.inference_mode()
def separated(network: JointNet, mixture: np.ndarray, sample_rate: int, stems: Sequence[str]) -> np.ndarray:
    """Stems of a mixture as the analysis has them.

    Parameters
    ----------
    network : JointNet
        A joint network.
    mixture : np.ndarray
        (channels, n_samples) floating point.
    sample_rate : int
        Hz.
    stems : Sequence[str]
        Which of the four.

    Returns
    -------
    np.ndarray
        (n_stems, n_samples) float32, mono, 22,050 Hz.
    """
    collector = StemCollector(stems)
    runner = SegmentRunner(network)
    front_end = FrontEnd(sample_rate, runner, SegmentTrack(collector.add))
    front_end.push(mixture.astype(np.float32))
    front_end.finish()
    runner.flush()
    return collector.finish(front_end.n_samples)


def features_of(signal: np.ndarray) -> np.ndarray:
    """(n_frames, N_THIRDS + N_SEMITONES) float16 features of a whole signal (n_samples,) at 22,050 Hz."""
    n_frames = 1 + len(signal) // HOP_LENGTH
    padded = np.pad(signal.astype(np.float32), (LONG_WINDOW // 2, LONG_WINDOW // 2 + HOP_LENGTH))
    return note_features(*thirds(padded, n_frames)).astype(np.float16)


def true_notes(truth: dict[str, Any], stem: str) -> np.ndarray:
    """(n_notes, 3) seconds, seconds and MIDI pitch of a stem of ``truth.json``."""
    notes = [(note["start_s"], note["end_s"], note["midi"]) for note in truth["notes"].get(stem, ())]
    return np.array(sorted(notes), float).reshape(-1, 3)


def true_voices(truth: dict[str, Any], n_frames: int) -> np.ndarray:
    """(n_voices, n_frames) MIDI pitch of the singers of ``truth.json``, NaN where one is silent."""
    times = np.arange(n_frames) / FRAME_RATE
    rows = []
    for voice in truth["f0"].get("vocals", ()):
        at, hertz = np.asarray(voice["times_s"]), np.asarray(voice["f0_hz"], float)
        if not len(at):
            continue
        nearest = np.clip(np.rint((times - at[0]) * (len(at) - 1) / max(at[-1] - at[0], 1e-9)), 0, len(at) - 1)
        of = hertz[nearest.astype(int)]
        rows.append(np.where(of > 0, 69 + 12 * np.log2(np.where(of > 0, of, 440.0) / 440.0), np.nan))
    return np.array(rows, np.float32).reshape(-1, n_frames)


def hear_song(folder: Path, stem: str, network: JointNet) -> HeardNotes:
    """One generated song.

    Parameters
    ----------
    folder : Path
        As ``stemfeatures generate`` wrote it.
    stem : str
        ``other`` or ``vocals``.
    network : JointNet
        The separator.

    Returns
    -------
    HeardNotes
        Of the stem.

    Raises
    ------
    DatasetError
        The folder is none.
    """
    try:
        truth = json.loads((folder / "truth.json").read_text())
        mixture, rate = load(folder / "mixture.flac")
        alone, _ = load(folder / f"{stem}.flac", mono=True)
    except FileNotFoundError as error:
        raise _no_song(folder, error) from error
    found = separated(network, np.atleast_2d(mixture), rate, (stem,))[0]
    alone = resample(np.asarray(alone), rate, ANALYSIS_SAMPLE_RATE)
    alone = np.pad(alone, (0, max(0, len(found) - len(alone))))[: len(found)]
    features = features_of(found)
    voices = true_voices(truth, len(features)) if stem == "vocals" else np.zeros((0, len(features)), np.float32)
    return HeardNotes(features_of(alone), features, true_notes(truth, stem), voices, len(found) / ANALYSIS_SAMPLE_RATE)


def hear_songs(folder: Path, stem: str, *, cache: Path | None = None) -> Iterator[HeardNotes]:
    """Each generated song of a folder.

    Parameters
    ----------
    folder : Path
        With a folder a song.
    stem : str
        ``other`` or ``vocals``.
    cache : Path, optional
        Keep what was heard here, and read it from here; a song made anew, or for another separator, is heard again.

    Yields
    ------
    HeardNotes
        In the order of their names.

    Raises
    ------
    DatasetError
        There is no song.
    """
    songs = sorted(path.parent for path in folder.glob("**/truth.json"))
    if not songs:
        raise DatasetError("no generated songs (truth.json)", source=str(folder), stage="train")
    network: JointNet | None = None
    for song in songs:
        kept = None if cache is None else cache / f"{song.name}-{stem}-{_heard_from(song, stem)}.npz"
        if kept is not None and kept.is_file():
            yield HeardNotes.load(kept)
            continue
        network = network or checkpoints.load_for_inference()
        heard = hear_song(song, stem, network)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            heard.save(kept)
        yield heard


def _heard_from(song: Path, stem: str) -> str:
    """Digest of all that what is heard of a song follows from: its files, the weights of the separator, and the
    constants of the features."""
    digest = hashlib.blake2b(checkpoints.resolve().sha256.encode(), digest_size=8)
    digest.update(json.dumps(constants_of(modules_of(_FEATURES)), sort_keys=True).encode())
    for name in ("truth.json", "mixture.flac", f"{stem}.flac"):
        try:
            digest.update(content_digest(song / name).encode())
        except FileNotFoundError as error:
            raise _no_song(song, error) from error
    return digest.hexdigest()


def _no_song(folder: Path, error: Exception) -> DatasetError:
    return DatasetError(f"no generated song: {error}", source=str(folder), stage="train")


def note_targets(notes: np.ndarray, first: int, n_frames: int) -> np.ndarray:
    """What the network should say of some frames.

    Parameters
    ----------
    notes : np.ndarray
        (n_notes, 3) of :class:`HeardNotes`.
    first, n_frames : int
        The frames.

    Returns
    -------
    np.ndarray
        (3, n_frames, N_NOTES) float32: nearness of an onset, 1 where a note sounds, and its deviation from the
        semitone.
    """
    target = np.zeros((3, n_frames, N_NOTES), np.float32)
    for start, end, midi in notes[(notes[:, 1] > first / FRAME_RATE) & (notes[:, 0] < (first + n_frames) / FRAME_RATE)]:
        pitch = round(midi) - LOWEST_NOTE
        if not 0 <= pitch < N_NOTES:
            continue
        at, until = start * FRAME_RATE - first, end * FRAME_RATE - first
        near = np.arange(max(0, int(np.ceil(at - ONSET_REACH))), min(n_frames, int(at + ONSET_REACH) + 1))
        if len(near):
            target[0, near, pitch] = np.maximum(target[0, near, pitch], 1 - np.abs(near - at) / ONSET_REACH)
        sounding = slice(max(0, round(at)), max(round(at) + 1, round(until), 0))
        target[1, sounding, pitch] = 1
        target[2, sounding, pitch] = midi - round(midi)
    return target


def voice_targets(voices: np.ndarray, first: int, n_frames: int) -> np.ndarray:
    """As :func:`note_targets`, of voices (n_voices, n_frames in all) in MIDI; no onset is known."""
    target = np.zeros((3, n_frames, N_NOTES), np.float32)
    for midi in voices[:, first : first + n_frames]:
        nearest = np.rint(midi)
        known = np.flatnonzero((nearest >= LOWEST_NOTE) & (nearest < LOWEST_NOTE + N_NOTES))
        place = nearest[known].astype(int) - LOWEST_NOTE
        target[1, known, place] = 1
        target[2, known, place] = midi[known] - nearest[known]
    return target
