"""Fit what tells the kinds of strokes of the drums, on generated songs.

    python -m stemfeatures.training.strokes --songs 192 --seed 786000 --bank note_bank --grooves groove

makes songs of all styles, analyses each twice, as it separates the drums and with the true stem, and fits a network of
one hidden layer over the frames. Each half of the songs is judged once by a network that learned from the other half:
the thresholds are those at which their strokes are found best, and these are the figures that are printed. The file
that :mod:`stemfeatures.descriptors.drums` reads has a network that learned from all songs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d
from torch import nn

from ..analysis import Analyser
from ..constants import FRAME_RATE, STEMS
from ..descriptors import drums
from ..descriptors.activity import active_rows
from ..descriptors.drums import STROKES, StrokeModel, peaks, stroke_features, stroke_times
from ..descriptors.fitted import store_model
from ..descriptors.inputs import DescriptorInputs
from ..frames import TrackFrames
from ..generator.compose.grooves import GrooveBank
from ..generator.compose.styles import DRAWN_STYLES
from ..generator.play.note_bank import NoteBank
from ..generator.song import VERSION, generate_song
from ..models.checkpoints import DEFAULT_MODEL

FOLDER = Path(drums.__file__).parent
#: General MIDI keys of the kinds of strokes; shakers, tambourines and bells are none of them.
STROKE_KEYS = {
    "kick": (35, 36),
    "snare": (37, 38, 39, 40),
    "hat": (42, 44, 46),
    "tom": (41, 43, 45, 47, 48, 50),
    "cymbal": (49, 51, 52, 53, 55, 57, 59),
}
#: Share of the frames far from any stroke that are looked at; strokes closer than this are one; a stroke is found
#: within this time.
REST_SHARE = 0.35
SAME_STROKE_S = 0.03
TOLERANCE_S = 0.05
THRESHOLDS = np.arange(0.1, 0.75, 0.05)
#: Units of the hidden layer, share of them that a step leaves out, frames of a step, times that a frame is seen, the
#: fewest steps, learning rate and decay of the weights.
HIDDEN, DROPOUT, BATCH, PASSES, LEAST_STEPS, RATE, DECAY = 96, 0.1, 512, 12, 300, 3e-3, 1e-4


@dataclass(frozen=True)
class StrokeExample:
    """One analysis of a song with its truth.

    Attributes
    ----------
    song : int
        Its number; analyses of one song share it.
    features : np.ndarray
        (n_frames, n_features) float32 of :func:`.drums.stroke_features`.
    sounding : np.ndarray
        (n_frames,) bool, where strokes may be.
    strokes : dict[str, np.ndarray]
        ``{kind: (n,) seconds}``, sorted.
    """

    song: int
    features: np.ndarray
    sounding: np.ndarray
    strokes: dict[str, np.ndarray]


def stroke_example(frames: TrackFrames, strokes: dict[str, np.ndarray], song: int = 0) -> StrokeExample:
    """Of the drum stem of an analysed song."""
    features = stroke_features(frames.stems["drums"].mel, frames.onset).astype(np.float32)
    sounding = maximum_filter1d(DescriptorInputs(frames).get(active_rows)["drums"], 3)
    return StrokeExample(song, features, sounding, strokes)


def strokes_by_kind(times_s: Iterable[float], keys: Iterable[float]) -> dict[str, np.ndarray]:
    """Sorted times by kind of strokes given as General MIDI keys; of strokes within 30 ms the first."""
    times, midi = np.array(list(times_s)), np.rint(list(keys)).astype(int)
    found = {}
    for kind, wanted in STROKE_KEYS.items():
        at = np.sort(times[np.isin(midi, wanted)]) if len(times) else times
        found[kind] = at[np.r_[True, np.diff(at) > SAME_STROKE_S]] if len(at) else np.zeros(0)
    return found


def matched(reference: np.ndarray, estimate: np.ndarray) -> int:
    """Size of the largest matching of two sorted lists of seconds within 50 ms."""
    count = i = j = 0
    while i < len(reference) and j < len(estimate):
        if abs(reference[i] - estimate[j]) <= TOLERANCE_S:
            count, i, j = count + 1, i + 1, j + 1
        elif reference[i] < estimate[j]:
            i += 1
        else:
            j += 1
    return count


def fit_strokes(examples: list[StrokeExample], seed: int = 0) -> tuple[StrokeModel, dict[str, np.ndarray]]:
    """The model of all songs, with thresholds from songs that were left out.

    Parameters
    ----------
    examples : list of StrokeExample
        Of two songs or more.
    seed : int, default=0
        Of the first weights, and of the order in which frames are seen.

    Returns
    -------
    StrokeModel
        Thresholds included.
    dict
        ``{kind: (3,)}`` matched, found and true strokes of the songs, each half judged by a model of the other.
    """
    parts = np.arange(len(songs := sorted({example.song for example in examples}))) % 2
    part_of = dict(zip(songs, parts.tolist(), strict=True))
    probability: list[np.ndarray] = [np.zeros(0)] * len(examples)
    for part in (0, 1):
        model = fit_network([example for example in examples if part_of[example.song] != part], seed)
        for k, example in enumerate(examples):
            if part_of[example.song] == part:
                heard = model.probability(example.features)
                probability[k] = np.where(example.sounding[:, None], heard, 0.0)
    counts = np.array([[_counts(probability, examples, row, at) for at in THRESHOLDS] for row in range(len(STROKES))])
    best = (counts[..., 0] / np.maximum(counts[..., 1] + counts[..., 2], 1)).argmax(axis=1)
    model = fit_network(examples, seed, THRESHOLDS[best])
    return model, {kind: counts[row, best[row]] for row, kind in enumerate(STROKES)}


def fit_network(examples: list[StrokeExample], seed: int, threshold: np.ndarray | None = None) -> StrokeModel:
    """A model of these songs; its thresholds are one half where none are given."""
    x, struck, counted = _frames(examples, np.random.default_rng(seed))
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    data = [torch.from_numpy(values) for values in ((x - mean) / spread, struck, counted)]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, len(STROKES))
        )
        _learn(network, data)
    hidden, hidden_bias, weights, bias = (p.detach().numpy().astype(np.float64) for p in network.parameters())
    threshold = np.full(len(STROKES), 0.5) if threshold is None else threshold
    return StrokeModel(mean, spread, hidden, hidden_bias, weights, bias, threshold)


def _learn(network: nn.Module, data: list[torch.Tensor]) -> None:
    """Steps over frames in an order drawn anew each time; the rate falls to 0 along half a cosine."""
    n = len(data[0])
    size = min(BATCH, n)
    steps = max(PASSES * (n // size), LEAST_STEPS)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    loss = nn.BCEWithLogitsLoss(reduction="none")
    network.train()
    for step in range(steps):
        at = step % (n // size)
        if at == 0:
            order = torch.randperm(n)
        x, struck, counted = (values[order[at * size : (at + 1) * size]] for values in data)
        optimiser.zero_grad()
        (loss(network(x), struck) * counted).mean().backward()
        optimiser.step()
        schedule.step()


def _frames(examples: list[StrokeExample], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32 features, strokes and what counts, ``(n, 5)`` the latter two, of the frames that are learned from."""
    parts = []
    for example in examples:
        struck = _struck_frames(example)
        # The frames beside a stroke are neither it nor another sound.
        counted = 1 - (maximum_filter1d(struck, 3, axis=0) - struck)
        near = maximum_filter1d(struck.max(axis=1), 7) > 0
        kept = example.sounding & (near | (rng.random(len(struck)) < REST_SHARE))
        parts.append((example.features[kept], struck[kept], counted[kept]))
    x, struck, counted = (np.concatenate(values).astype(np.float32) for values in zip(*parts, strict=True))
    return x, struck, counted


def _struck_frames(example: StrokeExample) -> np.ndarray:
    """(n_frames, 5) 1 in the frame nearest to a stroke."""
    struck = np.zeros((len(example.features), len(STROKES)))
    for row, kind in enumerate(STROKES):
        at = np.rint(example.strokes[kind] * FRAME_RATE).astype(int)
        struck[at[at < len(struck)], row] = 1.0
    return struck


def _counts(probability: list[np.ndarray], examples: list[StrokeExample], row: int, threshold: float) -> np.ndarray:
    """(3,) matched, found and true strokes of one kind."""
    total = np.zeros(3, int)
    for values, example in zip(probability, examples, strict=True):
        estimate = stroke_times(values[:, row], peaks(values[:, row], threshold))
        reference = example.strokes[STROKES[row]]
        total += matched(reference, estimate), len(estimate), len(reference)
    return total


def heard_songs(
    n_songs: int, seed: int, duration_s: float, bank: NoteBank | None = None, grooves: GrooveBank | None = None
) -> Iterator[StrokeExample]:
    """Both analyses of generated songs that have drums, of all styles in turn; every second one with the bank."""
    analyser, styles = Analyser(), DRAWN_STYLES
    for k in range(n_songs):
        turn, place = divmod(k, len(styles))
        # A style that had no bank in one turn has it in the next.
        notes, style = bank if (turn + place) % 2 else None, styles[place]
        song = generate_song(seed + k, duration_s=duration_s, style=style, notes=notes, grooves=grooves)
        played = song.truth.notes["drums"]
        print(f"{k + 1} of {n_songs}: {style}, {len(played)} strokes", flush=True)
        if not played:
            continue
        strokes = strokes_by_kind([n["start_s"] for n in played], [n["midi"] for n in played])
        alone, rate = song.stems["drums"], song.truth.sample_rate
        given = {stem: alone if stem == "drums" else np.zeros_like(alone) for stem in STEMS}
        for heard, stems in ((song.mixture, None), (alone, given)):
            yield stroke_example(analyser.from_audio(heard, rate, stems=stems).frames, strokes, seed + k)


def write_strokes(model: StrokeModel, folder: Path, made_of: dict[str, Any]) -> None:
    """Write the file that :func:`stemfeatures.descriptors.drums.stroke_model` reads."""
    # In double precision: what is rounded in single precision is written with all its digits.
    arrays = {name: np.round(value.astype(np.float64), 3).tolist() for name, value in vars(model).items()}
    stored = {"strokes": STROKES, "made_of": made_of} | arrays
    store_model(folder / drums.WEIGHTS, stored)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=192)
    parser.add_argument("--seed", type=int, default=786_000)
    parser.add_argument("--duration", type=float, default=24.0, metavar="SECONDS")
    parser.add_argument("--bank", type=Path, metavar="FOLDER", help="sound bank of stemfeatures generate")
    parser.add_argument("--grooves", type=Path, metavar="FOLDER", help="recorded drum performances (MIDI)")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER, metavar="FOLDER")
    args = parser.parse_args(argv)
    bank = NoteBank(args.bank) if args.bank else None
    grooves = GrooveBank(args.grooves) if args.grooves else None
    examples = list(heard_songs(args.songs, args.seed, args.duration, bank, grooves))
    if len({example.song for example in examples}) < 2:
        parser.error(f"{args.songs} songs: fewer than two of them have drums, so nothing can be learned from them")
    model, counts = fit_strokes(examples)
    made_of = {"songs": args.songs, "seed": args.seed, "duration_s": args.duration, "model": DEFAULT_MODEL}
    made_of |= {"generator": VERSION, "bank": bank and bank.fingerprint, "grooves": grooves and grooves.fingerprint}
    write_strokes(model, args.out, made_of)
    for kind, (hits, found, true) in counts.items():
        scores = 2 * hits / max(found + true, 1), hits / max(found, 1), hits / max(true, 1)
        print(f"{kind:<8}{true:>6} strokes: F {scores[0]:.3f}, precision {scores[1]:.3f}, recall {scores[2]:.3f}")


if __name__ == "__main__":
    main()
