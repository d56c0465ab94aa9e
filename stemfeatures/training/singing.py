"""Fit what tells voices from instruments that sound like one, on songs with known stems.

    python -m stemfeatures.training.singing instrumentals songs --softer 6

analyses the sums of the stems in folders, and those in which somebody sings once more with a voice that is so many
decibels softer, and fits the logistic model of :mod:`stemfeatures.descriptors.singing` to the windows in which the
network hears vocals. Sung and unsung windows count alike, and those of one song as one. Each fifth of the songs is
judged once by a model of the others: in how many songs with and without singing vocals are told, and in how many of
their frames; these figures are printed. Songs that the network has learned from would flatter them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..analysis import Analyser
from ..audio import to_mono
from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH
from ..datasets.multitrack import MultiTrack
from ..datasets.opening import find_tracks
from ..descriptors import singing
from ..descriptors.activity import HeardVocals
from ..descriptors.fitted import store_model
from ..descriptors.singing import FEATURES, WEIGHTS, SingingModel
from ..errors import TrainingError
from ..evaluation.presence import at_frames, presence_truth
from ..frames import TrackFrames
from ..models.checkpoints import DEFAULT_MODEL
from .logistic import fit_logistic
from .one_line import one_line_errors

FOLDER = Path(singing.__file__).parent
STAGE = "training of singing"
#: Share of what sounds in a window from which on it is sung, and the least that is looked at; less is not.
SUNG, UNSUNG = 0.5, 0.1
#: Penalty on squared weights, in songs.
PENALTY = 1.0
#: Parts of the songs, each of which is left out once for the figures.
PARTS = 5


@dataclass(frozen=True)
class SingingExample:
    """One analysis of a song.

    Attributes
    ----------
    song : str
        Its name.
    vocals : HeardVocals
        Of the mixture.
    sung : np.ndarray
        (n_frames,) bool, where somebody sings.
    known : np.ndarray
        (n_frames,) bool, where that is beyond doubt.
    """

    song: str
    vocals: HeardVocals
    sung: np.ndarray
    known: np.ndarray

    @property
    def is_sung(self) -> bool:
        """Whether somebody sings in more than a moment of it."""
        return bool(self.sung[self.known].mean() > 0.02) if self.known.any() else False


def heard_songs(tracks: list[MultiTrack], softer_db: list[float]) -> Iterator[SingingExample]:
    """Analyses of songs as they are, and of those that are sung with softer voices."""
    analyser = Analyser()
    for k, track in enumerate(tracks):
        print(f"{k + 1} of {len(tracks)}: {track.name}", flush=True)
        truth = track.load()
        if not truth.stems:
            raise TrainingError("has no stems", source=track.source(), stage=STAGE)
        mono, rate = {name: to_mono(y) for name, y in truth.stems.items()}, truth.sample_rate
        for decibels in (0.0, *softer_db):
            softer = {n: y * 10 ** (-decibels / 20) if n == "vocals" else y for n, y in mono.items()}
            frames = analyser.from_audio(np.sum(list(softer.values()), axis=0), rate).frames
            example = singing_example(track.name, frames, {n: y[None] for n, y in softer.items()}, rate)
            yield example
            if not example.is_sung:
                break


def singing_example(name: str, frames: TrackFrames, stems: dict[str, np.ndarray], sample_rate: int) -> SingingExample:
    """What is heard in a mixture, beside where the voice of its ``(channels, n_samples)`` stems sounds."""
    n = frames.n_frames
    sung, known = presence_truth(stems, sample_rate).get("vocals", (np.zeros(n, bool), np.ones(n, bool)))
    times = (np.arange(len(sung)) + 0.5) * (HOP_LENGTH / ANALYSIS_SAMPLE_RATE)
    sung, known = (at_frames(n, times, row)[0] for row in (sung, known))
    return SingingExample(name, HeardVocals.of(frames), sung, known)


def fit_singing(examples: list[SingingExample]) -> SingingModel:
    """The model under which windows of songs are likeliest sung where they are.

    Parameters
    ----------
    examples : list of SingingExample
        Some sung and some not.

    Returns
    -------
    SingingModel
        Its weights.

    Raises
    ------
    ValueError
        There are no windows of one of both kinds.
    """
    parts = [part for part in map(_known_windows, examples) if len(part[1])]
    features = np.concatenate([np.zeros((0, len(FEATURES))), *(part[0] for part in parts)])
    sung = np.concatenate([np.zeros(0), *(part[1] for part in parts)])
    if not 0 < sung.sum() < len(sung):
        raise ValueError("the network hears vocals in no song that is sung, or in none that is not")
    weight = np.concatenate([np.full(len(part[1]), 1 / len(part[1])) for part in parts])
    totals = np.bincount(sung.astype(int), weight)
    weight *= len(parts) / 2 / totals[sung.astype(int)]
    weights, bias = fit_logistic(features, sung, penalty=PENALTY, weight=weight)
    return SingingModel(weights, bias)


def _known_windows(example: SingingExample) -> tuple[np.ndarray, np.ndarray]:
    """Features of the windows that are surely sung or surely not, and which they are (0 or 1)."""
    plays, heard = example.vocals.by_network, example.vocals.windows
    share = np.array([example.sung[a:b][plays[a:b]].mean() for a, b in heard.spans])
    known = (share >= SUNG) | (share <= UNSUNG)
    return heard.features[known], (share[known] >= SUNG).astype(float)


def left_out(examples: list[SingingExample]) -> list[np.ndarray]:
    """(n_frames,) bool where vocals are told of each example, by a model of the other parts of the songs."""
    songs = sorted({example.song for example in examples})
    part = [songs.index(example.song) % PARTS for example in examples]
    models = {k: fit_singing([e for e, of in zip(examples, part) if of != k]) for k in set(part)}
    return [example.vocals.playing(models[of]) for example, of in zip(examples, part)]


def figures(examples: list[SingingExample], found: list[np.ndarray]) -> str:
    """In how many songs vocals are told, and in which share of the frames with and without them."""
    lines = []
    for word, is_sung in (("sung", True), ("not sung", False)):
        some = [(e, f) for e, f in zip(examples, found) if e.is_sung == is_sung]
        there = [f[e.known & (e.sung == is_sung)].mean() for e, f in some if (e.known & (e.sung == is_sung)).any()]
        share = f"{np.mean(there):.3f}" if there else "-"
        lines.append(f"{word}: {len(some)} songs, vocals told in {sum(f.any() for _, f in some)}, in {share} of frames")
    return "\n".join(lines)


def write_singing(model: SingingModel, folder: Path, made_of: dict[str, object]) -> None:
    """Write the file that :func:`stemfeatures.descriptors.singing.singing_model` reads."""
    weights = [round(float(weight), 4) for weight in model.weights]
    stored = {"features": FEATURES, "made_of": made_of, "weights": weights, "bias": round(model.bias, 4)}
    store_model(folder / WEIGHTS, stored)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path, nargs="+", metavar="FOLDER", help="songs with stems, some without vocals")
    parser.add_argument("--softer", type=float, nargs="*", default=[6.0], metavar="DB", help="of voices (default: 6)")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER, metavar="FOLDER")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        tracks = [track for folder in args.songs for track in find_tracks(folder, stage=STAGE)]
        examples = list(heard_songs(tracks, args.softer))
    try:
        model, found = fit_singing(examples), left_out(examples)
    except ValueError as error:
        parser.error(str(error))
    names = [folder.name for folder in args.songs]
    made_of = {"songs": len(tracks), "folders": names, "softer_db": args.softer, "model": DEFAULT_MODEL}
    write_singing(model, args.out, made_of)
    print("by the network alone\n" + figures(examples, [example.vocals.by_network for example in examples]))
    print("songs left out\n" + figures(examples, found))


if __name__ == "__main__":
    main()
