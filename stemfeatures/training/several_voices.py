"""Train the network that hears several voices in separated vocals.

    python -m stemfeatures.training.several_voices --songs SONGS --instrumentals LEADS --recordings-bank BANK \\
        --unseen OTHER_SONGS -o vocals-v1.safetensors

draws excerpts of songs of ``stemfeatures generate`` and of recorded singers (:mod:`.data.choirs`), lets the default
separator hear them once, and trains the network on pieces of them, moved by up to four semitones and as if through
another equaliser. How well it tells the frames in which several voices sing is printed, and kept in its card, of
excerpts of ``OTHER_SONGS``. What makes voices of its pitches is fitted by :mod:`.voices` afterwards.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..constants import FRAME_RATE
from ..models import checkpoints
from ..models.voices import LOWEST_SUNG, N_SUNG, VoiceConfig, VoiceNet, candidate_planes
from ..spectra.thirds import BINS_PER_SEMITONE, N_SEMITONES, N_THIRDS
from .card import NOT_STATED
from .data.choirs import Choir, ChoirSource, hear_choirs
from .data.moved_spectra import equalised, moved
from .notes import voice_counts
from .one_cycle import learn_in_one_cycle
from .one_line import one_line_errors
from .preparation import read_recipe

BATCH_SIZE, N_FRAMES = 12, 128
#: Thirds of a semitone by which a piece is moved at most, and the spectra that it has beside each other.
MOVES, SPECTRA = 12, (N_THIRDS, N_SEMITONES, N_THIRDS)
#: Share of pieces without the salience of further candidates.
NO_SALIENCE = 0.2
#: A pitch that is sung counts so many times; weight of its deviation.
SUNG_WEIGHT, DEVIATION_WEIGHT = 1.5, 0.5
#: The recipe that names what generated songs are made of, with licences.
SOURCES = "joint-v3-rhythm"


def draw(heard: Choir, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Features, planes, targets (2, N_FRAMES, N_SUNG), and whether several sing (N_FRAMES,), of a piece."""
    first = int(random.integers(max(1, len(heard.features) - N_FRAMES + 1)))
    part, thirds = slice(first, first + N_FRAMES), int(random.integers(-MOVES, MOVES + 1))
    up = thirds / BINS_PER_SEMITONE
    x = equalised(moved(heard.features[part].astype(np.float32), thirds, SPECTRA), random, SPECTRA)
    planes = candidate_planes(heard.midi[part] + up, heard.salience[part], heard.voicing[part])
    planes[1] *= random.random() >= NO_SALIENCE
    voices = heard.voices[:, part]
    missing = N_FRAMES - len(x)
    target, several = voice_targets(voices + up), (voice_counts(voices) > 1).astype(np.float32)
    return (
        np.pad(x, ((0, missing), (0, 0))),
        np.pad(planes, ((0, 0), (0, missing), (0, 0))),
        np.pad(target, ((0, 0), (0, missing), (0, 0))),
        np.pad(several, (0, missing)),
    )


def voice_targets(midi: np.ndarray) -> np.ndarray:
    """(2, n_frames, N_SUNG) where a pitch is sung, and semitones above it, of (n_voices, n_frames) MIDI."""
    target = np.zeros((2, midi.shape[1], N_SUNG), np.float32)
    for voice in midi:
        place = np.rint(np.nan_to_num(voice, nan=-1e3)).astype(int) - LOWEST_SUNG
        known = np.flatnonzero((place >= 0) & (place < N_SUNG))
        target[0, known, place[known]] = 1
        target[1, known, place[known]] = voice[known] - np.rint(voice[known])
    return target


def loss_of(found: tuple[Tensor, Tensor], target: Tensor, several: Tensor) -> Tensor:
    """Loss of the outputs of the network for (batch, 2, n_frames, N_SUNG) targets and (batch, n_frames) counts."""
    pitches, counted = found
    bce = nn.functional.binary_cross_entropy_with_logits
    # Per frame, not per cell: most pitches are silent.
    sung = bce(pitches[:, 0], target[:, 0], pos_weight=torch.tensor(SUNG_WEIGHT), reduction="none").sum(dim=2).mean()
    where = target[:, 0]
    deviation = ((pitches[:, 1] - target[:, 1]).abs() * where).sum() / where.sum().clamp_min(1)
    return sung + DEVIATION_WEIGHT * deviation + bce(counted, several)


def learn(
    network: VoiceNet,
    choirs: Sequence[Choir],
    *,
    steps: int,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train a network in place, and leave it in evaluation mode.

    Parameters
    ----------
    network : VoiceNet
        What it knows is where it begins.
    choirs : Sequence[Choir]
        What it learns from.
    steps : int
        Of :data:`BATCH_SIZE` pieces of three seconds.
    seed : int, default=0
        Of what is drawn.
    on_step : Callable[[int, float], None], optional
        Called with the number of steps done and the loss.
    """
    random = np.random.default_rng(seed)

    def loss_of_batch() -> Tensor:
        pieces = [draw(choirs[k], random) for k in random.integers(len(choirs), size=BATCH_SIZE)]
        features, planes, target, several = (torch.from_numpy(np.stack(part)) for part in zip(*pieces))
        return loss_of(network(features, planes), target, several)

    learn_in_one_cycle(network, loss_of_batch, steps=steps, on_step=on_step)


@torch.inference_mode()
def several_scores(network: VoiceNet, choirs: Sequence[Choir]) -> dict[str, float]:
    """How well the network tells frames in which several voices sing.

    Parameters
    ----------
    network : VoiceNet
        In evaluation mode.
    choirs : Sequence[Choir]
        Excerpts.

    Returns
    -------
    dict[str, float]
        ``frames``, the share of ``several``, the ``average_precision``, and the recall at a precision of 0.8.
    """
    found, true = [], []
    for choir in choirs:
        x = (torch.from_numpy(part)[None] for part in (choir.features.astype(np.float32), choir.planes))
        found.append(torch.sigmoid(network(*x)[1][0]).numpy())
        true.append(voice_counts(choir.voices) > 1)
    probability, several = np.concatenate(found), np.concatenate(true)
    right = several[np.argsort(-probability, kind="stable")]
    n_right = np.cumsum(right)
    precision, recall = n_right / np.arange(1, len(right) + 1), n_right / max(n_right[-1], 1)
    return {
        "frames": len(right),
        "several": round(float(right.mean()), 4),
        "average_precision": round(float(precision[right].mean()) if right.any() else 0.0, 4),
        "recall_at_0.8": round(float(recall[precision >= 0.8].max(initial=0.0)), 4),
    }


def train_several_voices(
    source: ChoirSource,
    unseen: ChoirSource,
    out: Path,
    *,
    excerpts: int,
    steps: int,
    seed: int = 0,
    config: VoiceConfig | None = None,
    licence: str = NOT_STATED,
    command: str = "",
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Learn from excerpts, score the network on those of other songs, and save it.

    Parameters
    ----------
    source, unseen : ChoirSource
        What is learned from, and what is scored.
    out : Path
        The ``.safetensors`` file to write; its card goes beside it.
    excerpts : int
        How many are learned from; a quarter as many are scored.
    steps : int
        Of training.
    seed : int, default=0
        Of excerpts, weights and pieces.
    config : VoiceConfig, optional
        Size of the network.
    licence : str, default=NOT_STATED
        SPDX id or words for the weights.
    command : str, default=''
        What was typed, for the card.
    log : Callable[[str], None], default=print
        Takes lines about how it goes.

    Returns
    -------
    dict[str, Any]
        The card.
    """
    begun, separator = time.process_time(), checkpoints.load_for_inference()

    def heard(of: ChoirSource, n: int, seed: int) -> list[Choir]:
        found = []
        for choir in hear_choirs(of, separator, n, seed):
            found.append(choir)
            if len(found) % 50 == 0:
                log(f"heard {len(found)} of {n} excerpts")
        return found

    learned = heard(source, excerpts, seed)
    torch.manual_seed(seed)
    network = VoiceNet(config)

    def on_step(step: int, loss: float) -> None:
        if step % 50 == 0:
            log(f"{step} of {steps} steps, loss {loss:.3f}")

    learn(network, learned, steps=steps, seed=seed, on_step=on_step)
    scores = several_scores(network, heard(unseen, max(1, excerpts // 4), seed + 1))
    log(str(scores))
    sources = read_recipe(SOURCES, objective=None, steps=None, target=None)
    card: dict[str, Any] = {
        "task": f"pitches that are sung in vocals ({N_SUNG} semitones), and whether several voices sing, every 23 ms",
        "licence": licence,
        "separator": checkpoints.DEFAULT_MODEL,
        "data": [
            {
                "source": "generated",
                "licence": sources.licences["generated"],
                "excerpts": len(learned),
                "minutes": round(sum(len(choir.features) for choir in learned) / FRAME_RATE / 60, 1),
                "made_of": sources.made_of["generated"],
            }
        ],
        "training": {
            "command": command,
            "steps": steps,
            "seed": seed,
            "parameters": sum(x.numel() for x in network.parameters()),
            "cpu_seconds": round(time.process_time() - begun),
        },
        "metrics": {"several_voices": scores},
    }
    network.save(out, card)
    return card


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, nargs="+", required=True, metavar="FOLDER", help="to learn from")
    parser.add_argument("--instrumentals", type=Path, nargs="*", default=(), metavar="FOLDER", help="to learn from")
    parser.add_argument("--recordings-bank", type=Path, metavar="FOLDER", help="of phrases of single voices")
    parser.add_argument("--unseen", type=Path, nargs="+", required=True, metavar="FOLDER", help="to score")
    parser.add_argument("--excerpts", type=int, default=400, help="of 20 s (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1200, help="(default: %(default)s)")
    parser.add_argument("--channels", type=int, default=VoiceConfig().channels)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--licence", default=NOT_STATED, help="of the weights")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="file to write (.safetensors)")
    args = parser.parse_args(argv)
    words = ["python", "-m", "stemfeatures.training.several_voices", *(sys.argv[1:] if argv is None else argv)]
    with one_line_errors(parser):
        card = train_several_voices(
            ChoirSource(args.songs, args.instrumentals, args.recordings_bank),
            ChoirSource(args.unseen, ()),
            args.out,
            excerpts=args.excerpts,
            steps=args.steps,
            seed=args.seed,
            config=VoiceConfig(channels=args.channels),
            licence=args.licence,
            command=shlex.join(words),
            log=lambda line: print(line, flush=True),
        )
        print(json.dumps(card["metrics"]))


if __name__ == "__main__":
    main()
