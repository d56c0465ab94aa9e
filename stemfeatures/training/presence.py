"""Train the presence head of a joint network alone, on what its fixed separator makes of the examples.

Nine tenths of a step of ``stemfeatures train`` are the separator's. Where it does not learn, it need hear an example
once: songs and mixtures of isolated sounds go through it, what the head sees of them is kept, and a step of many
examples costs a fifth of a second. Then each stem's logit is shifted such that the stem is found as often as
:data:`RECALL` says, on songs that training did not see (:mod:`.presence_offsets`): more training moves the level at
which a network says that a stem plays, and the thresholds of :mod:`stemfeatures.descriptors.activity` would have to
move with it.

    python -m stemfeatures.training.presence --recipe joint-v2 --songs STORE --bank BANK --unseen SONGS

The recipe says how many steps of how many examples there are, which share is cut from songs, and which checkpoint they
begin with.
"""

from __future__ import annotations

import argparse
import copy
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..constants import HOP_LENGTH, STEMS
from ..datasets.opening import find_tracks
from ..errors import ModelError
from ..models import checkpoints
from ..models.joint import JointNet
from ..models.presence import PresenceNet
from .card import NOT_STATED, build_card
from .config import TrainConfig
from .data.bank import SoundBank
from .data.mixing import Mixer
from .data.song_store import SongStore
from .interpolation import SHARE_OF_NEW, interpolate
from .objectives.losses import masked_bce, presence_targets, spectrograms
from .one_line import one_line_errors
from .preparation import read_recipe
from .preparation.development import require_apart
from .presence_offsets import RECALL, presence_offsets, with_presence_offsets
from .training_data import TrainingData

#: Mixtures of isolated sounds that are made.
MIXTURES = 500
#: Recordings differ in their balance of low and high, and of neighbouring bands, by so much (standard deviations of the
#: log10 of power, of the ends of a tilt and of each band).
TILT, BAND = 0.25, 0.1
PEAK = 0.5


@dataclass(frozen=True)
class HeardExample:
    """What the head sees of one example, and what is true.

    Attributes
    ----------
    levels, summary : np.ndarray
        ``(5 * n_mels, n_frames)`` and ``(2 * features, n_frames / stride)`` float16, see :meth:`PresenceNet.inputs`.
    plays, known : np.ndarray
        ``(4, n_frames)`` bool, see :func:`~.objectives.losses.presence_targets`.
    """

    levels: np.ndarray
    summary: np.ndarray
    plays: np.ndarray
    known: np.ndarray

    def cut(self, random: np.random.Generator, n_frames: int) -> HeardExample:
        """An excerpt of ``n_frames`` frames, padded with frames of which nothing is known."""
        stride = self.levels.shape[1] // self.summary.shape[1]
        width = n_frames // stride
        begin = int(random.integers(max(1, self.summary.shape[1] - width + 1)))
        summary, rows = (slice(begin * k, (begin + width) * k) for k in (1, stride))
        cut = [self.levels[:, rows], self.summary[:, summary], self.plays[:, rows], self.known[:, rows]]
        lengths = (width * stride, width, width * stride, width * stride)
        return HeardExample(*(np.pad(y, ((0, 0), (0, n - y.shape[1]))) for y, n in zip(cut, lengths)))


@torch.no_grad()
def hear(model: JointNet, stems: np.ndarray) -> HeardExample:
    """Pass one example through the fixed part of a network.

    Parameters
    ----------
    model : JointNet
        With a presence head.
    stems : np.ndarray
        ``(4, n_samples)``; whole frames of the bottleneck count.
    """
    assert model.presence is not None
    step = HOP_LENGTH * model.stride
    y = torch.from_numpy(stems[None, :, : stems.shape[1] // step * step].astype(np.float32))
    y = y * (PEAK / y.sum(dim=1).abs().max().clamp_min(1e-6))
    plays, known = presence_targets(y)
    separated = model.separate(spectrograms(y)[0])
    rows = separated.magnitude[:, None] * separated.masks
    levels, summary = model.presence.inputs(rows, separated.magnitude, separated.features)
    return HeardExample(
        *(x[0].half().numpy() for x in (levels, summary)), *(x[0].bool().numpy() for x in (plays, known))
    )


def hear_songs(model: JointNet, store: SongStore) -> Iterator[HeardExample]:
    """Each song of a store, whole."""
    for song in range(len(store.songs)):
        length = store.n_samples(song)
        yield hear(model, np.stack([store.stem(song, stem, 0, length) for stem in STEMS]))


def hear_mixtures(model: JointNet, bank: SoundBank, count: int, config: TrainConfig) -> Iterator[HeardExample]:
    """So many mixtures of isolated sounds, of the recipe's length and seed."""
    mixer = Mixer(bank, n_frames=config.n_frames, seed=config.seed)
    for index in range(count):
        yield hear(model, mixer.example(index).stems)


def draw_batch(
    songs: list[HeardExample], mixtures: list[HeardExample], config: TrainConfig, random: np.random.Generator
) -> tuple[Tensor, ...]:
    """Levels, summaries, what plays and what is known of ``config.batch_size`` excerpts, equalised anew."""
    n_rows = len(STEMS) + 1
    batch = []
    for _ in range(config.batch_size):
        source = songs if random.random() < config.songs else mixtures
        excerpt = source[random.integers(len(source))].cut(random, config.n_frames)
        n_mels = excerpt.levels.shape[0] // n_rows
        curve = random.normal(0, TILT) * np.linspace(-1, 1, n_mels) + random.normal(0, BAND, n_mels)
        levels = excerpt.levels + np.tile(curve, n_rows)[:, None]
        batch.append([x.astype(np.float32) for x in (levels, excerpt.summary, excerpt.plays, excerpt.known)])
    return tuple(torch.from_numpy(np.stack(values)) for values in zip(*batch))


def learn(
    head: PresenceNet,
    songs: list[HeardExample],
    mixtures: list[HeardExample],
    config: TrainConfig,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train a head in place, and leave it in evaluation mode.

    Parameters
    ----------
    head : PresenceNet
        What it knows is where it begins.
    songs, mixtures : list[HeardExample]
        Of :func:`hear_songs` and :func:`hear_mixtures`.
    config : TrainConfig
        Steps, examples a step and their length, the rate, the share of songs and the seed.
    on_step : Callable[[int, float], None], optional
        Called with the number of steps done and the loss of the last one.
    """
    random = np.random.default_rng(config.seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    head.train()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step)
        levels, summary, plays, known = draw_batch(songs, mixtures, config, random)
        loss = masked_bce(head.read(levels, summary), plays, known, 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    head.eval()


def train_presence(
    config: TrainConfig,
    data: TrainingData,
    unseen: str | Path,
    out: str | Path,
    *,
    mixtures: int = MIXTURES,
    share: float = SHARE_OF_NEW,
    licence: str = NOT_STATED,
    command: str = "",
    log: Callable[[str], None] = print,
) -> checkpoints.Checkpoint:
    """Learn the presence of ``config.initial`` anew, set its offsets, and save it with its card.

    Parameters
    ----------
    config : TrainConfig
        A recipe of the joint objective that learns presence alone and begins with a checkpoint.
    data : TrainingData
        ``songs``, and ``bank`` where the recipe wants isolated sounds too.
    unseen : str | Path
        Songs with all stems that training does not see, for the offsets.
    out : str | Path
        The checkpoint to write.
    mixtures : int, default=500
        Mixtures of isolated sounds to make.
    share : float, default=0.5
        Weight of the new head in what is saved, see :func:`.interpolation.interpolate`.
    licence : str, default=NOT_STATED
        SPDX id or words for the weights.
    command : str, default=''
        What was typed, for the card.
    log : Callable[[str], None], default=print
        Takes lines about how it goes.

    Returns
    -------
    checkpoints.Checkpoint
        Where it was saved.

    Raises
    ------
    ModelError
        When the recipe learns something else, or its checkpoint has no presence head.
    DatasetError
        A folder is not of its kind.
    CatalogError
        There are no songs in ``unseen``.
    TrainingError
        One of them is among those that are learned from.
    """
    if config.learns != ("presence",) or not config.initial:
        raise ModelError("the recipe must learn presence alone, and begin with a checkpoint", stage="train")
    data.open(config)  # says which folder is missing, or is not of its kind
    assert data.songs is not None
    learned = SongStore(data.songs).songs
    names = [(song.dataset, song.track) for song in learned]
    digests = [digest for song in learned for digest in song.digests]
    require_apart(unseen, find_tracks(unseen, stage="train"), names, digests)
    begun = time.monotonic()
    model = checkpoints.load(config.initial)
    if not isinstance(model, JointNet) or model.presence is None:
        raise ModelError("this network has no presence head", source=config.initial, stage="train")
    songs = list(hear_songs(model, SongStore(data.songs)))
    log(f"heard {len(songs)} songs")
    mixed = []
    if config.songs < 1:
        assert data.bank is not None
        mixed = list(hear_mixtures(model, SoundBank(data.bank), mixtures, config))
        log(f"heard {len(mixed)} mixtures of isolated sounds")

    def on_step(step: int, loss: float) -> None:
        if step % config.log_every == 0:
            log(f"{step} of {config.steps} steps, loss {loss:.4f}")

    before = copy.deepcopy(model.presence)
    learn(model.presence, songs, mixed, config, on_step=on_step)
    interpolate(model.presence, before, share)
    offsets = presence_offsets(model, unseen)
    log("offsets: " + ", ".join(f"{stem} {offset:+.2f}" for stem, offset in offsets.items()))
    card = build_card(
        model, config, data, steps=config.steps, seconds=time.monotonic() - begun, command=command, device="cpu",
        licence=licence,
    )  # fmt: skip
    chosen = {stem: round(offset, 4) for stem, offset in offsets.items()}
    card["training"] |= {
        "mixtures": len(mixed),
        "share_of_new": share,
        "presence_offsets": {"chosen_on": Path(unseen).name, "recall": RECALL} | chosen,
    }
    return checkpoints.save(with_presence_offsets(model, offsets), Path(out), card)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="joint-v2", help="by name or file (default: %(default)s)")
    parser.add_argument("--songs", type=Path, required=True, help="song store (stemfeatures.training.data.song_store)")
    parser.add_argument("--bank", type=Path, help="bank of isolated sounds, as stemfeatures train makes it")
    parser.add_argument("--unseen", type=Path, required=True, help="songs with all stems that training does not see")
    parser.add_argument("--mixtures", type=int, default=MIXTURES, help="of isolated sounds (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--licence", default=NOT_STATED, help="of the weights")
    parser.add_argument("-o", "--out", type=Path, help="default: runs/RECIPE/RECIPE.safetensors")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        _train(args, sys.argv[1:] if argv is None else argv)


def _train(args: argparse.Namespace, argv: Sequence[str]) -> None:
    config = read_recipe(args.recipe, objective=None, steps=args.steps, target=None)
    out = args.out or Path("runs", config.name, f"{config.name}.safetensors")
    out.parent.mkdir(parents=True, exist_ok=True)
    words = ["python", "-m", "stemfeatures.training.presence", *argv]
    saved = train_presence(
        config,
        TrainingData(bank=args.bank, songs=args.songs),
        args.unseen,
        out,
        mixtures=args.mixtures,
        licence=args.licence,
        command=shlex.join(words),
        log=lambda line: print(line, flush=True),
    )
    print(f"{saved.path}, sha256 {saved.sha256}")


if __name__ == "__main__":
    main()
