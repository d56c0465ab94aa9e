"""Fit how likely onsets of the network of notes are played, on generated songs.

    python -m stemfeatures.training.note_onsets --songs 60 --seed 830000 --bank note_bank

makes songs of all styles and analyses each twice, as it separates *other* and with the true stem. An onset is played
that matches a true note within 50 ms and 50 cents. The bias is moved such that one half is the threshold at which the
notes of songs that were left out are best (mean F of both analyses); their figures are printed. It writes the file that
:mod:`stemfeatures.descriptors.note_onsets` reads.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mir_eval
import numpy as np

from ..analysis import Analyser
from ..constants import FRAME_RATE, LOWEST_NOTE
from ..descriptors import note_onsets
from ..descriptors.activity import active_rows
from ..descriptors.fitted import logistic, store_model
from ..descriptors.inputs import DescriptorInputs
from ..descriptors.note_onsets import EVIDENCE, WEIGHTS, onset_evidence, onset_peaks
from ..descriptors.polyphony import LEAST_ACTIVE, POLYPHONIC_NOTES, sounding_from
from ..frames.types import NoteFrames
from ..generator.compose.styles import DRAWN_STYLES
from ..generator.play.note_bank import NoteBank
from ..generator.song import VERSION, generate_song
from ..models.checkpoints import DEFAULT_MODEL
from .data.heard_notes import true_notes
from .logistic import fit_logistic

FOLDER = Path(note_onsets.__file__).parent
THRESHOLDS = np.arange(0.2, 0.6, 0.05)
#: Penalty on squared weights, in onsets.
PENALTY = 10.0


@dataclass(frozen=True)
class OnsetExample:
    """Onsets of one analysis of a song.

    Attributes
    ----------
    song : int
        Its number.
    evidence : np.ndarray
        (n, n_evidence) of :func:`.onset_evidence`.
    matches : np.ndarray
        (n,) bool, those that are true notes.
    n_true : int
        Notes that are played.
    """

    song: int
    evidence: np.ndarray
    matches: np.ndarray
    n_true: int


def onset_example(notes: NoteFrames, active: np.ndarray, true: np.ndarray, song: int = 0) -> OnsetExample:
    """Of what the network says, where the stem is active, beside the true ``(n, 3)`` onsets, offsets and pitches."""
    pitch, frame = onset_peaks(notes.onset)
    kept = active[frame] & (sounding_from(notes.active)[pitch, frame] >= LEAST_ACTIVE)
    pitch, frame = pitch[kept], frame[kept]
    midi = LOWEST_NOTE + pitch + np.clip(notes.deviation[pitch, np.minimum(frame + 2, len(active) - 1)], -0.5, 0.5)
    spans = np.stack([frame, frame + 5], axis=1) / FRAME_RATE
    pairs = []
    if len(frame):
        true_spans = np.stack([true[:, 0], np.maximum(true[:, 1], true[:, 0] + 0.01)], axis=1)
        hertz, true_hertz = (440 * 2 ** ((p - 69) / 12) for p in (midi, true[:, 2]))
        pairs = mir_eval.transcription.match_notes(true_spans, true_hertz, spans, hertz, offset_ratio=None)
    matches = np.zeros(len(frame), bool)
    matches[[k for _, k in pairs]] = True
    return OnsetExample(song, onset_evidence(notes.onset, notes.active, pitch, frame), matches, len(true))


def fit_onsets(examples: list[OnsetExample]) -> tuple[np.ndarray, float, np.ndarray]:
    """Model of all songs; the threshold and the figures are of songs that were left out.

    Parameters
    ----------
    examples : list of OnsetExample
        Of two songs or more.

    Returns
    -------
    tuple
        (n_evidence,) weights, the bias, and the mean precision, recall and F of the examples.
    """
    songs = sorted({example.song for example in examples})
    scores = np.zeros((len(examples), len(THRESHOLDS), 3))
    for part in (0, 1):
        weights, bias = _fit([e for e in examples if songs.index(e.song) % 2 != part])
        for k, example in enumerate(examples):
            if songs.index(example.song) % 2 == part:
                probability = logistic(example.evidence @ weights + bias)
                scores[k] = [_figures(example, probability >= threshold) for threshold in THRESHOLDS]
    best = int(scores[..., 2].mean(axis=0).argmax())
    weights, bias = _fit(examples)
    return weights, bias - np.log(THRESHOLDS[best] / (1 - THRESHOLDS[best])), scores[:, best].mean(axis=0)


def _figures(example: OnsetExample, told: np.ndarray) -> tuple[float, float, float]:
    hits, found = int((example.matches & told).sum()), int(told.sum())
    return hits / max(found, 1), hits / max(example.n_true, 1), 2 * hits / max(found + example.n_true, 1)


def _fit(examples: list[OnsetExample]) -> tuple[np.ndarray, float]:
    """Weights and bias; a song with many onsets counts as the root of their number."""
    x = np.concatenate([e.evidence for e in examples])
    target = np.concatenate([e.matches for e in examples]).astype(float)
    weight = np.concatenate([np.full(len(e.matches), 1 / np.sqrt(max(len(e.matches), 1))) for e in examples])
    return fit_logistic(x, target, penalty=PENALTY, weight=weight / weight.mean())


def heard_songs(n_songs: int, seed: int, duration_s: float, bank: NoteBank | None = None) -> Iterator[OnsetExample]:
    """Both analyses of generated songs whose *other* has notes, of all styles in turn; every second with the bank."""
    analyser = Analyser(requested=(POLYPHONIC_NOTES,))
    for k in range(n_songs):
        turn, place = divmod(k, len(DRAWN_STYLES))
        notes = bank if (turn + place) % 2 else None
        song = generate_song(seed + k, duration_s=duration_s, style=DRAWN_STYLES[place], notes=notes)
        true = true_notes({"notes": song.truth.notes}, "other")
        print(f"{k + 1} of {n_songs}: {DRAWN_STYLES[place]}, {len(true)} notes", flush=True)
        for stems in (None, song.stems) if len(true) else ():
            frames = analyser.from_audio(song.mixture, song.truth.sample_rate, stems=stems).frames
            active = DescriptorInputs(frames).get(active_rows)["other"]
            if frames.notes is not None and active.any():
                yield onset_example(frames.notes, active, true, seed + k)


def write_onsets(weights: np.ndarray, bias: float, folder: Path, made_of: dict[str, object]) -> None:
    """Write the file that :func:`stemfeatures.descriptors.note_onsets.likely_onsets` reads."""
    stored = {"features": EVIDENCE, "made_of": made_of, "weights": np.round(weights, 4).tolist()}
    store_model(folder / WEIGHTS, stored | {"bias": round(bias, 4)})


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=830_000)
    parser.add_argument("--duration", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--bank", type=Path, metavar="FOLDER", help="sound bank of stemfeatures generate")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER, metavar="FOLDER")
    args = parser.parse_args(argv)
    bank = NoteBank(args.bank) if args.bank else None
    examples = list(heard_songs(args.songs, args.seed, args.duration, bank))
    if len({example.song for example in examples}) < 2:
        parser.error(f"{args.songs} songs: fewer than two of them have notes, so nothing can be learned from them")
    weights, bias, figures = fit_onsets(examples)
    made_of = {"songs": args.songs, "seed": args.seed, "duration_s": args.duration, "model": DEFAULT_MODEL}
    write_onsets(weights, bias, args.out, made_of | {"generator": VERSION, "bank": bank and bank.fingerprint})
    print("songs left out: precision {:.3f}, recall {:.3f}, F {:.3f}".format(*figures))


if __name__ == "__main__":
    main()
