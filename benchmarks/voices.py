"""How far can further voices be trusted? On generated songs, sums of recorded singers, and singers alone.

    python benchmarks/voices.py [FOLDER...] [--songs 18] [--seconds 30] [--mir1k FOLDER] [--pairs 18] [--candidates]

Analyses the songs of folders that ``stemfeatures generate`` wrote, whoever sings in them, or makes some (needs the
extras train and evaluate). Of MIR-1K it takes clips with the voice of another singer from the middle on, as loud, 3 or
6 dB softer, and the same clips as they are. Prints songs, frames, and how many of them have several pitches; how many
are told to have (table ``further_voices``), precision and recall of these; the share of further pitches at which
another voice sings; tracks that are told to have several voices for a second and more, and how many of these have; and
the accuracy of mir_eval.multipitch of the one contour alone, and with further voices. With ``--candidates`` they are
told as in runs that do not ask for the table.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import mir_eval
import numpy as np
import soundfile

from stemfeatures.analysis import Analyser
from stemfeatures.constants import FRAME_RATE
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.descriptors.voices import (
    ENOUGH_S,
    FURTHER_VOICES,
    FurtherVoices,
    further_voices,
    to_hertz,
    to_midi,
    track_stretches,
    voice_model,
)
from stemfeatures.generator.song import generate_song
from stemfeatures.models import checkpoints
from stemfeatures.training.voices import VoiceExample, example, scores

#: Gains of added voices.
SOFTER = (1.0, 0.7, 0.5)


class Sung(NamedTuple):
    """A mixture (channels, n_samples) with its rate, and (n_voices, n_times) MIDI at seconds."""

    mixture: np.ndarray
    sample_rate: int
    voices: np.ndarray
    times_s: np.ndarray


class Heard(NamedTuple):
    """What is told of a song and what is true, pitches (n_voices, n_frames) in MIDI."""

    song: VoiceExample
    voices: np.ndarray
    contour: np.ndarray
    further: FurtherVoices
    told: bool
    by_network: bool


def generated(folders: list[Path], n: int, seconds: float) -> Iterator[Sung]:
    """Generated songs, of folders or made now; voices are at 100 Hz."""
    if folders:
        paths = sorted(path for folder in folders for path in folder.glob("**/truth.json"))[:n]
        found = ((json.loads(p.read_text())["f0"], *_read(p.parent / "mixture.flac")) for p in paths)
    else:
        songs = (generate_song(98_600 + k, duration_s=seconds, lineup="full") for k in range(n))
        found = ((song.truth.f0, song.mixture, song.truth.sample_rate) for song in songs)
    for f0, mixture, rate in found:
        sung = f0["vocals"]
        length = min((len(voice["f0_hz"]) for voice in sung), default=0)
        times = np.array(sung[0]["times_s"][:length] if sung else [0.0])
        voices = to_midi(np.array([voice["f0_hz"][:length] for voice in sung]).reshape(len(sung), len(times)))
        yield Sung(mixture[:, : round(seconds * rate)], rate, voices, times)


def _read(path: Path) -> tuple[np.ndarray, int]:
    y, rate = soundfile.read(path, always_2d=True, dtype="float32")
    return y.T, rate


def sums(folder: Path, n: int, *, alone: bool = False) -> Iterator[Sung]:
    """MIR-1K clips (left the accompaniment, right the voice) with the voice of another singer in their second half.

    Or ``alone``, as they are.
    """
    clips: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.flac"), *folder.glob("*.wav")]):
        clips.setdefault(path.stem.split("_")[0], []).append(path)
    singers = list(clips)
    for k in range(n if len(singers) > 1 else 0):
        one, two = clips[singers[k % len(singers)]], clips[singers[(k + 1) % len(singers)]]
        paths = one[3 * k % len(one)], two[(5 * k + 2) % len(two)]
        (y, rate), (other, _) = (_read(path) for path in paths)
        half = y.shape[1] // 2
        added = np.pad(other[1], (0, y.shape[1]))[: y.shape[1]]
        added[:half] = 0
        gain = SOFTER[k % 3] * np.sqrt(np.square(y[1]).mean() / max(np.square(added[half:]).mean(), 1e-9))
        pitches = [np.loadtxt(path.with_suffix(".pv")) for path in paths]
        times = 0.02 + 0.02 * np.arange(len(pitches[0]))
        pitches[1] = np.pad(pitches[1], (0, len(times)))[: len(times)] * (times > half / rate)
        voices = np.where(np.array(pitches) > 0, pitches, np.nan)
        if alone:
            yield Sung(y.sum(axis=0)[None], rate, voices[:1], times)
        else:
            yield Sung((y.sum(axis=0) + gain * added)[None].astype(np.float32), rate, voices, times)


def hear(analyser: Analyser, sung: Sung) -> Heard:
    """Analyse the mixture, and bring the truth to its frames."""
    track = analyser.from_audio(sung.mixture, sung.sample_rate)
    inputs, f0_hz = DescriptorInputs(track.frames), track.contours["vocals"].on_frames().f0_hz
    nearest = np.searchsorted(sung.times_s, np.arange(len(f0_hz)) / FRAME_RATE).clip(0, len(sung.times_s) - 1)
    voices = sung.voices[:, nearest]
    found = inputs.get(further_voices)
    told = np.count_nonzero(found.counts(np.isfinite(f0_hz)) > 1) >= ENOUGH_S * FRAME_RATE
    return Heard(
        example(track_stretches(inputs), f0_hz, voices),
        voices,
        f0_hz,
        found,
        bool(told),
        inputs.frames.voices is not None,
    )


def accuracy(heard: list[Heard], *, further: bool) -> float:
    """Of mir_eval.multipitch, of the contour alone, or with further voices where it has a pitch."""
    reference, found = [], []
    for song in heard:
        beside = to_hertz(song.further.pitches(len(song.contour)))
        rows = np.concatenate([song.contour[None], np.where(np.isfinite(song.contour) & further, beside, np.nan)])
        reference += [to_hertz(frame[np.isfinite(frame)]) for frame in song.voices.T]
        found += [frame[np.isfinite(frame)] for frame in rows.T]
    times = np.arange(len(found)) / FRAME_RATE
    return float(mir_eval.multipitch.metrics(times, reference, times, found)[2])


def line(name: str, songs: Iterable[Heard]) -> str:
    """A row of the table."""
    heard = list(songs)
    several = [song.song.counts > 1 for song in heard]
    found = scores([song.song for song in heard], voice_model(heard=heard[0].by_network))
    told = [bool(true.any()) for song, true in zip(heard, several) if song.told]
    shares = (f"{found[key]:>10.3f}" for key in ("told", "precision", "recall", "pitch"))
    share = np.concatenate(several).mean()
    alone, both = accuracy(heard, further=False), accuracy(heard, further=True)
    frames = sum(len(true) for true in several)
    tracks = f"{sum(told)} of {len(told)}"
    return f"{name:<12}{len(heard):>6}{frames:>8}{share:>9.3f}{''.join(shares)}{tracks:>10}{alone:>8.3f}{both:>8.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="generated songs")
    parser.add_argument("--songs", type=int, default=18)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each song")
    parser.add_argument("--mir1k", type=Path, metavar="FOLDER", help="clips of MIR-1K, to sum singers of")
    parser.add_argument("--pairs", type=int, default=18, help="sums of singers")
    parser.add_argument("--candidates", action="store_true", help="as in runs that do not ask for the table")
    parser.add_argument("--model", default=checkpoints.DEFAULT_MODEL, metavar="CHECKPOINT")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    analyser = Analyser(args.model, requested=() if args.candidates else (FURTHER_VOICES,))
    sets = {"generated": generated(args.folders, args.songs, args.seconds)}
    if args.mir1k is not None:
        sets |= {"mir1k sums": sums(args.mir1k, args.pairs), "mir1k": sums(args.mir1k, args.pairs, alone=True)}
    head = ("", "songs", "frames", "several", "told", "precision", "recall", "pitch", "tracks", "alone", "further")
    print("{:<12}{:>6}{:>8}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}{:>8}".format(*head), flush=True)
    for name, songs in sets.items():
        print(line(name, (hear(analyser, sung) for sung in songs)), flush=True)


if __name__ == "__main__":
    main()
