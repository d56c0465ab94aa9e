"""Train the network that says which phone is sung, on generated singing.

    python -m stemfeatures.training.phones --bank singbank --songs generated -o phones.safetensors

sings takes whose phones are known (:mod:`.data.sung_takes`) over the accompaniment of generated songs, takes the vocals
out of the mixtures with the default separator, learns from them, prints how many frames come out right in takes of
singers and lines that were held out, and writes the weights with their card
(:mod:`stemfeatures.lyrics.phone_network`).
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._util.files import write_replace
from ..audio import load, resample
from ..constants import ANALYSIS_SAMPLE_RATE
from ..errors import TrainingError
from ..generator.sing.voicebank import Line, VoiceBank
from ..generator.song import VERSION
from ..lyrics.acoustic_model import SILENCE, AcousticModel, installed_model, read_acoustic_model
from ..lyrics.cepstra import FRAME_RATE, N_BANDS
from ..lyrics.observations import CENTRE_S, network_features
from ..lyrics.phone_network import SHIPPED, STRIDE, PhoneNetwork
from ..lyrics.singing import singing_model
from ..lyrics.vocals import VocalSeparator
from ..models import checkpoints
from .data.sung_takes import Take, lines_for, mix_take, recut, rewritten, sing_take, take_of
from .one_line import one_line_errors

STAGE = "training of phones"
#: What sounds beside the voice in generated songs.
ACCOMPANIMENT = ("drums", "bass", "other")
#: Share of lines that are words of the bank; all others are syllables.
WORDS_SHARE = 0.25
#: Frames of 20 ms of a stretch that is learned from.
CROP = 150
#: In how many other colours each take is heard.
COPIES = 3
BATCH_SIZE = 32
LEARNING_RATE, WEIGHT_DECAY, SMOOTHING = 3e-3, 1e-2, 0.05
#: Phones with fewer frames than this are not learned.
_FEWEST = 100


@dataclass(frozen=True)
class Example:
    """Features of a take and what is sung in each frame.

    Attributes
    ----------
    features : tuple[np.ndarray, ...]
        (n_frames, n_features) float16 of :class:`~stemfeatures.lyrics.phone_network.PhoneFeatures`: as they are, then
        of the same vocals in other colours.
    phone : np.ndarray
        (n_frames,) int64 class; that of silence where nothing is sung.
    """

    features: tuple[np.ndarray, ...]
    phone: np.ndarray


def accompaniments(folder: Path | None) -> list[np.ndarray]:
    """Sums of the stems beside the voice of the songs in a folder that ``stemfeatures generate`` wrote, 22,050 Hz."""
    found = []
    for song in sorted(folder.iterdir()) if folder is not None else ():
        paths = [path for stem in ACCOMPANIMENT if (path := song / f"{stem}.flac").is_file()]
        if paths:
            stems = [load(path, mono=True) for path in paths]
            found.append(resample(np.sum([y for y, _ in stems], axis=0), stems[0][1], ANALYSIS_SAMPLE_RATE))
    return found


def make_takes(
    bank: VoiceBank,
    singers: Sequence[str],
    backings: Sequence[np.ndarray],
    n_takes: int,
    *,
    held_out: bool,
    duration_s: float = 20.0,
    seed: int = 0,
) -> Iterator[Take]:
    """Takes of singers in turn.

    Parameters
    ----------
    bank : VoiceBank
        Who sings.
    singers : Sequence[str]
        Of the bank.
    backings : Sequence[np.ndarray]
        Accompaniments at 22,050 Hz; without any the voice is alone.
    n_takes : int
        How many.
    held_out : bool
        Sing words of the lines for validation instead of syllables of the others.
    duration_s : float
        Seconds of a take.
    seed : int
        Of all that is drawn.
    """
    separator = VocalSeparator()
    for k in range(n_takes):
        rng = np.random.default_rng([seed, k, held_out])
        singer = singers[k % len(singers)]
        lines = lines_for(bank, singer, held_out=held_out)

        def choose(rng: np.random.Generator, singer: str = singer, lines: list[int] = lines) -> Line:
            if held_out or rng.random() < WORDS_SHARE:
                return rewritten(bank, singer, int(rng.integers(3, 8)), lines, rng)
            return recut(bank, singer, int(rng.integers(3, 10)), lines, rng)

        y, sung = sing_take(bank, singer, choose, duration_s, rng)
        backing = backings[int(rng.integers(len(backings)))] if len(backings) else None
        mixture = mix_take(y, backing, rng)
        yield take_of(sung, separator.from_audio(mixture, ANALYSIS_SAMPLE_RATE, separated=backing is None), singer)


def example_of(take: Take, model: AcousticModel, *, copies: int, seed: Sequence[int] = ()) -> Example | None:
    """Features and classes of a take; None where nobody is heard.

    Parameters
    ----------
    take : Take
        What was sung.
    model : AcousticModel
        Whose Gaussians the network is told of, and whose phones are its classes.
    copies : int
        How many other colours.
    seed : Sequence[int]
        Of those.
    """
    features = []
    for k in range(copies + 1):
        colour = partial(coloured, rng=np.random.default_rng([*seed, k])) if k else None
        audible, found = network_features(take.vocals, model, colour)
        if not len(found):
            return None
        features.append(found.astype(np.float16))
    names = {name: k for k, name in enumerate(model.phones)}
    phone = np.full(len(audible), names[SILENCE])
    times = np.arange(len(audible)) / FRAME_RATE + CENTRE_S
    for name, start_s, end_s in take.phones:
        phone[(times >= start_s) & (times < end_s)] = names[name]
    return Example(tuple(features), phone[audible][::STRIDE])


def coloured(mel: np.ndarray, mixture: np.ndarray, *, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Power in mel bands with moved formants, another equaliser, some of the mixture again, or no high bands."""
    scale, shift = np.exp(rng.normal(0, 0.07)), rng.normal(0, 0.5)
    band = np.clip((np.arange(N_BANDS) + shift) * scale, 0, N_BANDS - 1.001)
    low, share = band.astype(int), band % 1
    equaliser = np.interp(np.arange(N_BANDS), np.linspace(0, N_BANDS - 1, 6), rng.normal(0, 0.7, 6))
    bleed = rng.uniform(0, 0.15) if rng.random() < 0.5 else 0.0
    if rng.random() < 0.1:
        equaliser[int(rng.integers(15, 24)) :] -= 12

    def changed(power: np.ndarray) -> np.ndarray:
        level = np.log(power + 1e-3)
        found: np.ndarray = np.exp(level[:, low] * (1 - share) + level[:, low + 1] * share + equaliser)
        return found

    return changed(mel + bleed * (mixture - mel)), changed(mixture)


def train(
    examples: Sequence[Example], phones: Sequence[str], *, epochs: int, seed: int = 0, channels: int = 128
) -> PhoneNetwork:
    """A network that learned from examples.

    Parameters
    ----------
    examples : Sequence[Example]
        Of :func:`example_of`.
    phones : Sequence[str]
        Its classes.
    epochs : int
        In each as many frames are looked at as there are.
    seed : int
        Of weights and crops.
    channels : int
        Of the network.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = PhoneNetwork(phones, channels)
    counts = np.bincount(np.concatenate([e.phone for e in examples]), minlength=len(network.phones))
    # Of what was hardly heard nothing is known: 0 says so, and its kin stand in for it.
    prior = np.where(counts >= _FEWEST, np.log(np.maximum(counts, 1) / counts.sum()), 0.0)
    network.log_prior.copy_(torch.from_numpy(prior.astype(np.float32)))
    lengths = np.array([len(e.phone) for e in examples], float)
    steps = max(1, round(epochs * lengths.sum() / CROP / BATCH_SIZE))
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1)
    loss_of = torch.nn.NLLLoss()
    network.train()
    for step in range(steps):
        drawn = rng.choice(len(examples), BATCH_SIZE, p=lengths / lengths.sum())
        pairs = [_crop(examples[k], rng) for k in drawn]
        features = torch.from_numpy(np.stack([x for x, _ in pairs])).transpose(1, 2)
        found = network(features)
        loss = (1 - SMOOTHING) * loss_of(found, torch.from_numpy(np.stack([y for _, y in pairs])))
        loss = loss - SMOOTHING * found.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step + 1 == steps:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def _crop(example: Example, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A stretch of an example in one of its colours; a short one comes again."""
    features, phone = example.features[int(rng.integers(len(example.features)))], example.phone
    first = int(rng.integers(max(len(phone) - CROP, 0) + 1))
    stop = first + CROP
    if len(phone) < CROP:
        features, phone = np.resize(features, (CROP, features.shape[1])), np.resize(phone, CROP)
    return features[first:stop].astype(np.float32), phone[first:stop]


def frame_scores(network: PhoneNetwork, examples: Sequence[Example]) -> dict[str, float]:
    """Share of frames whose phone is the likeliest, of all and of sung ones, and among the three likeliest."""
    right, third, gaussian, sung = [], [], [], []
    for example in examples:
        features = example.features[0].astype(np.float32)
        found = network.log_ratios(features) + network.log_prior.numpy()
        order = np.argsort(-found, axis=1)[:, :3]
        right.append(order[:, 0] == example.phone)
        third.append((order == example.phone[:, None]).any(axis=1))
        gaussian.append(features[:, : len(network.phones)].argmax(axis=1) == example.phone)
        sung.append(example.phone != network.phones.index(SILENCE))
    hits, near, before, voice = (np.concatenate(parts) for parts in (right, third, gaussian, sung))
    if not voice.any():
        raise ValueError("nothing is heard in the takes held out: make them longer or more")
    return {
        "frames_right": round(float(hits.mean()), 4),
        "sung_frames_right": round(float(hits[voice].mean()), 4),
        "sung_frames_among_three": round(float(near[voice].mean()), 4),
        "sung_frames_right_by_gaussians": round(float(before[voice].mean()), 4),
    }


def _made_from(asked: object, bank: VoiceBank, singers: Sequence[str], backings: Sequence[np.ndarray]) -> str:
    """Digest of all that takes follow from: what was asked for, the generator, voices, songs, and the separator."""
    digest = hashlib.blake2b(f"{asked} {VERSION} {checkpoints.resolve().sha256}".encode(), digest_size=8)
    digest.update(bank.digest(singers).encode())
    for backing in backings:
        digest.update(np.ascontiguousarray(backing).tobytes())
    return digest.hexdigest()


def _stored(path: Path | None, made: Iterator[Take]) -> list[Take]:
    """Takes of a cache, or those made, and then kept there."""
    if path is not None and path.is_file():
        with path.open("rb") as file:
            return list(pickle.load(file))
    takes = []
    for take in made:
        takes.append(take)
        if len(takes) % 25 == 0:
            print(f"{len(takes)} takes", flush=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_replace(path, pickle.dumps(takes))
    return takes


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--bank", type=Path, metavar="FOLDER", help="voice bank (default: the small one of the package)"
    )
    parser.add_argument("--songs", type=Path, metavar="FOLDER", help="songs of stemfeatures generate, to sing over")
    parser.add_argument("--takes", type=int, default=360)
    parser.add_argument("--held-out-takes", type=int, default=24)
    parser.add_argument("--held-out", nargs="+", default=["f6", "m6"], metavar="SINGER")
    parser.add_argument("--duration", type=float, default=20.0, metavar="SECONDS", help="of a take")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep takes here, and read them from here")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=SHIPPED,
        metavar="FILE",
        help="file to write (.safetensors; default: the shipped)",
    )
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        _train(args)


def _examples(takes: Sequence[Take], model: AcousticModel, *, copies: int = 0, seed: int = 0) -> list[Example]:
    """Of takes in which somebody is heard; TrainingError where that is none."""
    all_of = (example_of(take, model, copies=copies, seed=(seed, k)) for k, take in enumerate(takes))
    found = [example for example in all_of if example is not None]
    silence = model.phones.index(SILENCE)
    if not any((example.phone != silence).any() for example in found):
        raise TrainingError("nothing is heard in these takes: make them longer or more", stage=STAGE)
    return found


def _train(args: argparse.Namespace) -> None:
    """Make takes or read them, train, and write weights and card."""
    start = time.process_time()
    bank = VoiceBank.load(args.bank) if args.bank else VoiceBank.default()
    held = [name for name in bank.singers if name in args.held_out] or list(bank.singers[-1:])
    singers = [name for name in bank.singers if name not in held]
    if not singers:
        source = None if args.bank is None else str(args.bank)
        raise TrainingError("all singers are held out: nobody is left to learn from", source=source, stage=STAGE)
    backings = accompaniments(args.songs)
    takes = {}
    for kind, n, who in (("train", args.takes, singers), ("held_out", args.held_out_takes, held)):
        made = make_takes(bank, who, backings, n, held_out=kind == "held_out", duration_s=args.duration, seed=args.seed)
        kept = None
        if args.cache:
            asked = (kind, n, who, args.duration, args.seed)
            kept = args.cache / f"{kind}-{_made_from(asked, bank, who, backings)}.pkl"
        takes[kind] = _stored(kept, made)
    model = singing_model(read_acoustic_model(installed_model() / "en-us"))
    examples = _examples(takes["train"], model, copies=COPIES, seed=args.seed)
    held_out = _examples(takes["held_out"], model)
    network = train(examples, model.phones, epochs=args.epochs, seed=args.seed, channels=args.channels)
    scores = frame_scores(network, held_out)
    made_of: dict[str, Any] = {
        "takes": len(takes["train"]), "minutes": round(sum(t.vocals.duration_s for t in takes["train"]) / 60, 1),
        "singers": singers, "held_out_singers": held, "songs": len(backings), "generator": VERSION,
        "seed": args.seed, "epochs": args.epochs,
    }  # fmt: skip
    card = {
        "task": "phones of singing, every 20 ms",
        "data": [{"source": "generated singing over generated accompaniment", "licence": "our own"} | made_of],
        "metrics": {"held_out": scores},
        "cpu_seconds": round(time.process_time() - start),
    }
    network.save(args.out, card)
    print(f"{scores}; {card['cpu_seconds']} CPU seconds")


if __name__ == "__main__":
    main()
