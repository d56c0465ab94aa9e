"""Learn how the phones of separated singing differ from those of speech, from generated songs.

    python -m stemfeatures.lyrics.train_singing SONGS... [-o FILE]

A song is a folder of the generator's, with ``mixture.flac`` and ``truth.json``; its vocals are separated and its words
looked for with the Gaussians of speech. From the frames of those that are found within 0.1 s of where they are sung
comes the transform of the means that fits all songs best; half of the way there is written.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DatasetError
from .acoustic_model import AcousticModel, installed_model, read_acoustic_model
from .acoustics import PhoneAcoustics
from .adaptation import MIN_FRAMES, transforms
from .alignment import Aligner
from .hints import LineHints
from .search import Builder, Search
from .singing import SHIPPED
from .text import LyricsText

#: A word is found that begins no further than this from where it is sung.
FOUND_S = 0.1
#: How far the means go: recordings sound less like generated songs than those like each other.
SHARE = 0.5


class SpeechAcoustics(PhoneAcoustics):
    """The Gaussians of speech; keeps what it found, and refuses nothing.

    Raises
    ------
    ModelError
        When they cannot be used.
    ImportError
        When the extra ``lyrics`` is not installed; says how to.
    """

    def __init__(self) -> None:
        super().__init__(network=None)
        self.units = read_acoustic_model(installed_model() / "en-us")

    def search(self, heard: Any, text: LyricsText, build: Builder, hints: LineHints | None) -> Search:
        self.heard, self.found = heard, super().search(heard, text, build, hints)
        return self.found

    def score(self, found: Search, fit: float, n_phones: int) -> float:
        return 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED)
    args = parser.parse_args(arguments)
    acoustics = SpeechAcoustics()
    aligner = Aligner(acoustics=acoustics)
    examples = [found for song in args.songs if (found := _examples(song, aligner, acoustics)) is not None]
    n_frames = sum(len(senones) for _, senones in examples)
    if n_frames < MIN_FRAMES:
        parser.error(f"{n_frames} frames of words that were found: {MIN_FRAMES} are needed")
    transform = learned(acoustics.units, examples)
    made = {"songs": len(examples), "frames": n_frames, "transform": np.round(transform, 5).tolist()}
    print(f"{len(examples)} songs, {n_frames} frames of words that were found")
    with gzip.GzipFile(args.output, "wb", mtime=0) as file:
        file.write(json.dumps(made).encode("ascii"))
    return 0


def learned(model: AcousticModel, examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The transform of :func:`.adaptation.moved` half of the way to some frames.

    Parameters
    ----------
    model : AcousticModel
        Its Gaussians are moved.
    examples : Sequence[tuple[np.ndarray, np.ndarray]]
        Of each song (3, n, 13) streams of frames and (n,) their senones.

    Returns
    -------
    np.ndarray
        (3, 13, 14).
    """
    streams = np.concatenate([frames for frames, _ in examples], axis=1)
    found = transforms(model, streams, np.concatenate([senones for _, senones in examples]))
    nothing = np.eye(found.shape[1], found.shape[2], 1)
    result: np.ndarray = nothing + SHARE * (found - nothing)
    return result


def _examples(song: Path, aligner: Aligner, acoustics: SpeechAcoustics) -> tuple[np.ndarray, np.ndarray] | None:
    """Streams and senones of the frames of words of a song that are found; None where there is none."""
    try:
        lyrics = json.loads((song / "truth.json").read_text(encoding="utf-8")).get("lyrics") or {}
    except FileNotFoundError as error:
        raise DatasetError(f"no generated song: {error}", source=str(song), stage="train") from error
    words = lyrics.get("words") or []
    if not words:
        return None
    alignment = aligner.from_file(song / "mixture.flac", "\n".join(line["text"] for line in lyrics["lines"]))
    if alignment.status != "ok":
        return None
    first = np.cumsum([0, *(len(word["word"].split()) for word in words[:-1])])
    starts = [alignment.words[token].start_s for token in first]
    near = [start is not None and abs(start - word["start_s"]) <= FOUND_S for start, word in zip(starts, words)]
    graph, path, heard = acoustics.found.graph, acoustics.found.path, acoustics.heard
    column = graph.states.column[path]
    senones = np.where(column > 0, graph.senones[column - 1], -1)
    used = np.isin(graph.token[path], first[near]) & heard.audible & (senones >= 0)
    place = np.cumsum(heard.audible)[used] - 1
    return (heard.streams[:, place], senones[used]) if used.any() else None


if __name__ == "__main__":
    raise SystemExit(main())
