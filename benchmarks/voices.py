"""How well does the kept salience tell where several voices sing? On generated songs, and sums of recorded singers.

    python benchmarks/voices.py [FOLDER] [--songs 18] [--seconds 16] [--mir1k FOLDER] [--pairs 9]

Takes the songs of a folder that ``stemfeatures generate`` wrote in which several voices sing somewhere, or makes some
(needs the extras train and evaluate): of each the seconds in which about a third of the frames has two pitches and
more, if there are such. Of MIR-1K it takes clips with the voice of another singer from the middle on, as loud, 3 or 6
dB softer. The network keeps five candidates of the pitch of the separated vocals: what is not the first voice, nor an
octave or a twelfth away from it, and lasts, is taken for a second one, the surer the higher its salience. Prints
frames, how many of them have several pitches, the area under the curve, the precision at recalls of .2, .4 and .6, and
the accuracy of mir_eval.multipitch of the one contour alone, and with the second voice from the threshold of the recall
.4 on, which flatters it.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mir_eval
import numpy as np
import soundfile
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from sklearn.metrics import roc_auc_score

from stemfeatures.analysis import Analyser
from stemfeatures.constants import FRAME_RATE
from stemfeatures.frames import PitchFrames
from stemfeatures.generator.song import generate_song
from stemfeatures.training.notes import voice_counts

#: Pitches (MIDI) that a second voice may have, by thirds of a semitone.
LOWEST, HIGHEST, PARTS = 40, 88, 3
#: Semitones around the first voice, and around its octaves and twelfths, in which there is no second one.
NEAR, NEAR_PARTIALS, PARTIALS = 0.85, 0.7, (12.0, 19.02, 24.0)
#: Frames (0.7 s) over which its salience is averaged.
LASTS = 31
#: Shares of frames with several pitches that an excerpt is to have, and a song at least; gains of added voices.
SEVERAL, LEAST_SEVERAL, SOFTER = 0.35, 0.02, (1.0, 0.7, 0.5)
RECALLS = (0.2, 0.4, 0.6)


class Sung(NamedTuple):
    """A mixture (channels, n_samples) with its rate, and (n_voices, n_times) MIDI at seconds."""

    mixture: np.ndarray
    sample_rate: int
    voices: np.ndarray
    times_s: np.ndarray


class Heard(NamedTuple):
    """By frame: true pitches (n_voices, n_frames) MIDI, the contour and the second voice in MIDI, and its salience."""

    voices: np.ndarray
    first: np.ndarray
    second: np.ndarray
    salience: np.ndarray


def second_voice(pitch: PitchFrames, f0_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n_frames,) salience of a lasting pitch beside the first voice, and that pitch (MIDI)."""
    midi = hertz_to_midi(pitch.candidates_hz)
    first = np.where(np.isfinite(f0_hz), hertz_to_midi(f0_hz), midi[:, 0])
    places = np.rint((midi - LOWEST) * PARTS)
    kept = np.isfinite(places) & (places >= 0) & (places < (HIGHEST - LOWEST) * PARTS)
    salience = np.zeros((len(midi), (HIGHEST - LOWEST) * PARTS))
    frames = np.broadcast_to(np.arange(len(midi))[:, None], midi.shape)
    np.maximum.at(salience, (frames[kept], places[kept].astype(int)), pitch.salience[kept])
    grid = LOWEST + np.arange(salience.shape[1]) / PARTS
    apart = np.abs(grid - np.nan_to_num(first, nan=0.0)[:, None])
    taken = (apart < NEAR) | np.any([np.abs(apart - partial) < NEAR_PARTIALS for partial in PARTIALS], axis=0)
    lasting = uniform_filter1d(np.where(taken, 0, maximum_filter1d(salience, 3, axis=1)), LASTS, axis=0)
    best = lasting.argmax(axis=1)
    return lasting[np.arange(len(midi)), best], grid[best]


def hertz_to_midi(hz: np.ndarray) -> np.ndarray:
    """MIDI, NaN where there is no frequency."""
    hz = np.asarray(hz, float)
    return 69 + 12 * np.log2(np.where(hz > 0, hz, np.nan) / 440)


def generated(folder: Path | None, n: int, seconds: float) -> Iterator[Sung]:
    """Excerpts of songs that are sung."""
    if folder is None:
        songs = (generate_song(98_600 + k, duration_s=seconds, lineup="full") for k in range(n))
        found = ((song.truth.f0, song.mixture, song.truth.sample_rate) for song in songs)
    else:
        paths = sorted(folder.glob("**/truth.json"))
        found = ((json.loads(p.read_text())["f0"], *_read(p.parent / "mixture.flac")) for p in paths)
    for f0, mixture, rate in found:
        if n == 0:
            return
        if not f0["vocals"]:
            continue
        length = min(len(voice["f0_hz"]) for voice in f0["vocals"])
        times = np.array(f0["vocals"][0]["times_s"][:length])
        voices = hertz_to_midi(np.array([voice["f0_hz"][:length] for voice in f0["vocals"]]))
        span = min(round(seconds / (times[1] - times[0])), length)
        several = np.convolve(voice_counts(voices) > 1, np.full(span, 1 / span), "valid")
        if folder is not None and (voice_counts(voices) > 1).mean() < LEAST_SEVERAL:
            continue
        first = int(np.abs(several - SEVERAL).argmin())
        start = round(times[first] * rate)
        part = slice(first, first + span)
        yield Sung(mixture[:, start : start + round(seconds * rate)], rate, voices[:, part], times[part] - start / rate)
        n -= 1


def _read(path: Path) -> tuple[np.ndarray, int]:
    y, rate = soundfile.read(path, always_2d=True, dtype="float32")
    return y.T, rate


def sums(folder: Path, n: int) -> Iterator[Sung]:
    """MIR-1K clips (left the accompaniment, right the voice) with the voice of another singer in their second half."""
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
        yield Sung((y.sum(axis=0) + gain * added)[None].astype(np.float32), rate, voices, times)


def hear(analyser: Analyser, sung: Sung) -> Heard:
    """Analyse the mixture, and bring the truth to its frames."""
    track = analyser.from_audio(sung.mixture, sung.sample_rate)
    f0_hz = track.contours["vocals"].f0_hz
    salience, second = second_voice(track.frames.pitch["vocals"], f0_hz)
    nearest = np.searchsorted(sung.times_s, np.arange(len(f0_hz)) / FRAME_RATE).clip(0, len(sung.times_s) - 1)
    return Heard(sung.voices[:, nearest], hertz_to_midi(f0_hz), second, salience)


def accuracy(heard: list[Heard], least: float) -> float:
    """Of mir_eval.multipitch, with second voices from a salience on."""
    reference, found = [], []
    for song in heard:
        with_second = np.where(np.isfinite(song.first) & (song.salience >= least), song.second, np.nan)
        reference += [_hertz(frame) for frame in song.voices.T]
        found += [_hertz(frame) for frame in np.stack([song.first, with_second], axis=1)]
    times = np.arange(len(found)) / FRAME_RATE
    return float(mir_eval.multipitch.metrics(times, reference, times, found)[2])


def _hertz(midi: np.ndarray) -> np.ndarray:
    return np.asarray(440 * 2 ** ((midi[np.isfinite(midi)] - 69) / 12), float)


def line(name: str, heard: list[Heard]) -> str:
    """A row of the table."""
    true = np.concatenate([voice_counts(song.voices) > 1 for song in heard])
    salience = np.concatenate([song.salience for song in heard])
    row = f"{name:<12}{len(heard):>6}{len(true):>8}{true.mean():>9.3f}"
    if not 0 < true.sum() < len(true):
        return row + "   one kind of frames alone"
    falling = np.argsort(-salience)
    hits = np.cumsum(true[falling])
    ends = [int(np.searchsorted(hits, recall * true.sum())) for recall in RECALLS]
    precisions = "".join(f"{hits[end] / (end + 1):>9.3f}" for end in ends)
    least = float(salience[falling[ends[RECALLS.index(0.4)]]])
    alone, both = accuracy(heard, np.inf), accuracy(heard, least)
    return row + f"{roc_auc_score(true, salience):>8.3f}{precisions}{alone:>8.3f}{both:>8.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="generated songs")
    parser.add_argument("--songs", type=int, default=18)
    parser.add_argument("--seconds", type=float, default=16.0, help="of each song")
    parser.add_argument("--mir1k", type=Path, metavar="FOLDER", help="clips of MIR-1K, to sum singers of")
    parser.add_argument("--pairs", type=int, default=9, help="sums of singers")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    analyser = Analyser()
    sets = {"generated": generated(args.folder, args.songs, args.seconds)}
    if args.mir1k is not None:
        sets["mir1k sums"] = sums(args.mir1k, args.pairs)
    head = ("", "songs", "frames", "several", "area", *(f"P at {r:g}" for r in RECALLS), "alone", "second")
    print("{:<12}{:>6}{:>8}{:>9}{:>8}{:>9}{:>9}{:>9}{:>8}{:>8}".format(*head), flush=True)
    for name, songs in sets.items():
        print(line(name, [hear(analyser, sung) for sung in songs]), flush=True)


if __name__ == "__main__":
    main()
