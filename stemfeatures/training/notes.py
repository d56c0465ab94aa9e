"""Train the network of polyphonic notes on generated songs.

    python -m stemfeatures.training.notes --songs SONGS --unseen OTHER_SONGS --held-out MORE_SONGS -o notes.safetensors

Each song goes through the default separator once. Half of what the network sees is the true stem, half the separated
one with all that bleeds into it, moved by up to four semitones and as if through another equaliser. Then the logits are
shifted such that half is the best threshold on ``OTHER_SONGS``, and the notes of the separated stems of ``MORE_SONGS``,
which nothing was chosen on, are scored. The songs are folders of ``stemfeatures generate``; ``--songs`` may be several.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import torch
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from torch import Tensor, nn

from .._util.digests import content_digest
from ..constants import FRAME_RATE, LOWEST_NOTE
from ..descriptors.polyphony import PolyphonicNotes, polyphonic_notes
from ..errors import DatasetError
from ..generator.song import VERSION
from ..models import checkpoints
from ..models.notes import ACTIVE, DEVIATION, ONSET, NoteConfig, NoteNet
from ..spectra.thirds import BINS_PER_SEMITONE
from .card import NOT_STATED
from .data.heard_notes import HeardNotes, hear_songs, note_targets, voice_targets
from .data.moved_spectra import equalised, moved
from .one_cycle import learn_in_one_cycle
from .one_line import one_line_errors
from .preparation import read_recipe

BATCH_SIZE, N_FRAMES = 12, 128
#: Share of examples that are separated.
SEPARATED = 0.5
#: Thirds of a semitone by which an example is moved at most.
MOVES = 12
#: Onsets are rarer than silence; a missed one counts so many times.
ONSET_WEIGHT, ACTIVE_WEIGHT = 4.0, 1.5
#: Weight of the deviation's loss.
DEVIATION_WEIGHT = 1.0
#: The recipe that names what generated songs are made of, with licences.
SOURCES = "joint-v3-rhythm"
#: Thresholds that are tried.
ONSETS, ACTIVES = (0.3, 0.4, 0.5, 0.6, 0.7), (0.2, 0.35, 0.5)
#: Most voices of a frame, frames over which their activity is averaged, and semitones below which two are in unison.
MOST_VOICES, SMOOTHED, UNISON = 3, 5, 0.8
#: Least activity of the first voice, and of further ones: those that are tried.
FIRST_VOICE, SECOND_VOICES = 0.5, (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def draw(heard: HeardNotes, random: np.random.Generator, n_frames: int = N_FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """Features (n_frames, bins) and targets (3, n_frames, pitches) of a piece of a song, moved and equalised."""
    first = int(random.integers(max(1, heard.n_frames - n_frames + 1)))
    source = heard.separated if random.random() < SEPARATED else heard.true
    thirds = int(random.integers(-MOVES, MOVES + 1))
    x = equalised(moved(source[first : first + n_frames].astype(np.float32), thirds), random)
    if heard.voices.size:
        target = voice_targets(heard.voices + thirds / BINS_PER_SEMITONE, first, len(x))
    else:
        target = note_targets(heard.notes + np.array([0, 0, thirds / BINS_PER_SEMITONE]), first, len(x))
    missing = n_frames - len(x)
    return np.pad(x, ((0, missing), (0, 0))), np.pad(target, ((0, 0), (0, missing), (0, 0)))


def loss_of(found: Tensor, target: Tensor, *, onsets: bool) -> Tensor:
    """Loss of outputs (batch, 3, n_frames, pitches); without ``onsets`` none are known."""
    weights = torch.tensor([ONSET_WEIGHT, ACTIVE_WEIGHT])[:, None, None]
    both = nn.functional.binary_cross_entropy_with_logits(
        found[:, :DEVIATION], target[:, :DEVIATION], pos_weight=weights, reduction="none"
    )
    # Per frame, not per cell: most pitches are silent.
    terms = both.sum(dim=3).mean(dim=(0, 2))
    active = target[:, ACTIVE]
    deviation = ((found[:, DEVIATION] - target[:, DEVIATION]).abs() * active).sum() / active.sum().clamp_min(1)
    return (terms[ONSET] if onsets else 0) + terms[ACTIVE] + DEVIATION_WEIGHT * deviation


def learn(
    network: NoteNet,
    songs: Sequence[HeardNotes],
    *,
    steps: int,
    seed: int = 0,
    onsets: bool = True,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train a network in place, and leave it in evaluation mode.

    Parameters
    ----------
    network : NoteNet
        What it knows is where it begins.
    songs : Sequence[HeardNotes]
        What it learns from.
    steps : int
        Of :data:`BATCH_SIZE` pieces of three seconds.
    seed : int, default=0
        Of what is drawn.
    onsets : bool, default=True
        Whether it is known where notes begin.
    on_step : Callable[[int, float], None], optional
        Called with the number of steps done and the loss.
    """
    random = np.random.default_rng(seed)
    lengths = np.array([song.n_frames for song in songs], float)

    def loss_of_batch() -> Tensor:
        drawn = random.choice(len(songs), BATCH_SIZE, p=lengths / lengths.sum())
        pairs = [draw(songs[k], random) for k in drawn]
        features, target = (torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*pairs))
        return loss_of(network(features), target, onsets=onsets)

    learn_in_one_cycle(network, loss_of_batch, steps=steps, on_step=on_step)


@torch.inference_mode()
def outputs(network: NoteNet, features: np.ndarray) -> np.ndarray:
    """(3, n_frames, pitches): logits of onset and activity, and the deviation, of a whole song."""
    found: np.ndarray = network(torch.from_numpy(features.astype(np.float32))[None])[0].numpy()
    return found


def notes_of(found: np.ndarray, least_onset: float = 0.5, least_active: float = 0.5) -> PolyphonicNotes:
    """Notes from :func:`outputs`."""
    onset, active = 1 / (1 + np.exp(-found[:DEVIATION]))
    return polyphonic_notes(onset, active, found[DEVIATION], least_onset=least_onset, least_active=least_active)


def note_scores(truth: np.ndarray, notes: PolyphonicNotes) -> tuple[float, float, float]:
    """Precision, recall and F of onsets within 50 ms and pitches within 50 cents (mir_eval)."""
    true = np.stack([truth[:, 0], np.maximum(truth[:, 1], truth[:, 0] + 0.01)], axis=1)
    spans = np.stack([notes.onset_s, notes.offset_s], axis=1)
    hertz = [440 * 2 ** ((midi - 69) / 12) for midi in (truth[:, 2], notes.pitch + notes.cents / 100)]
    scores = mir_eval.transcription.precision_recall_f1_overlap(true, hertz[0], spans, hertz[1], offset_ratio=None)
    return scores[:3]


def mean_scores(network: NoteNet, songs: Sequence[HeardNotes]) -> dict[str, float]:
    """Means over songs that have notes, of separated and of true stems."""
    scores: dict[str, float] = {}
    for name in ("separated", "true"):
        some = [note_scores(s.notes, notes_of(outputs(network, getattr(s, name)))) for s in songs if len(s.notes)]
        scores |= {f"{name}_{k}": round(float(v), 4) for k, v in zip(("precision", "recall", "f"), np.mean(some, 0))}
    return scores


def voice_counts(voices: np.ndarray) -> np.ndarray:
    """(n_frames,) number of different pitches of (n_voices, n_frames) MIDI: voices in unison are one."""
    if not len(voices):
        return np.zeros(voices.shape[1], int)
    ordered = np.sort(np.nan_to_num(voices, nan=-np.inf), axis=0)
    sings = np.isfinite(ordered)
    with np.errstate(invalid="ignore"):
        apart = np.diff(ordered, axis=0) > UNISON
    return np.asarray((sings[1:] & (apart | ~sings[:-1])).sum(axis=0) + sings[0])


def voice_pitches(found: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Voices of each frame of :func:`outputs`: the highest maxima of the activity, three at most.

    Parameters
    ----------
    found : np.ndarray
        (3, n_frames, pitches).
    least : float
        Least activity.

    Returns
    -------
    midi : np.ndarray
        (n_frames, 3), the surest first, NaN where there are fewer.
    active : np.ndarray
        (n_frames, 3) their activity, 0 where there are fewer.
    """
    active = uniform_filter1d(1 / (1 + np.exp(-found[ACTIVE])), SMOOTHED, axis=0)
    peaks = np.where((active == maximum_filter1d(active, 3, axis=1)) & (active >= least), active, 0)
    best = np.argsort(-peaks, axis=1)[:, :MOST_VOICES]
    height = np.take_along_axis(peaks, best, 1)
    midi = LOWEST_NOTE + best + np.clip(np.take_along_axis(found[DEVIATION], best, 1), -0.5, 0.5)
    return np.where(height > 0, midi, np.nan), height


def voice_scores(network: NoteNet, songs: Sequence[HeardNotes]) -> dict[str, float]:
    """How many voices sing in the separated vocals, and what: by threshold of a second voice.

    Precision and recall of the frames in which two or more sing, and the accuracy of mir_eval.multipitch, of the lead
    alone too, over all frames of the songs that are sung.
    """
    sung = [(song.voices, outputs(network, song.separated)) for song in songs if len(song.voices)]
    true = np.concatenate([voice_counts(voices) for voices, _ in sung]) > 1
    scores: dict[str, float] = {"frames": len(true), "frames_of_several": int(true.sum())}
    midi, height = (np.concatenate(x) for x in zip(*(voice_pitches(found, FIRST_VOICE) for _, found in sung)))
    reference = [voices[np.isfinite(voices[:, k]), k] for voices, _ in sung for k in range(voices.shape[1])]
    for least in (*SECOND_VOICES, 1.0):
        kept = height >= np.array([FIRST_VOICE] + [least] * (MOST_VOICES - 1))
        several = kept[:, 1]
        name = f"lead_alone_{FIRST_VOICE:g}" if least == 1 else f"second_from_{least:g}"
        if least < 1:
            scores[f"{name}_precision"] = round(float(true[several].mean()) if several.any() else 0.0, 4)
            scores[f"{name}_recall"] = round(float(several[true].mean()) if true.any() else 0.0, 4)
        times = np.arange(len(midi)) / FRAME_RATE
        hertz = [_hertz(row[keep]) for row, keep in zip(midi, kept)]
        accuracy = mir_eval.multipitch.metrics(times, [_hertz(x) for x in reference], times, hertz)[2]
        scores[f"{name}_accuracy"] = round(float(accuracy), 4)
    return scores


def _hertz(midi: np.ndarray) -> np.ndarray:
    return np.asarray(440 * 2 ** ((midi - 69) / 12), float)


def choose_thresholds(network: NoteNet, songs: Sequence[HeardNotes]) -> tuple[float, float]:
    """The thresholds of onset and activity with the best mean F on separated stems."""
    found = [(song.notes, outputs(network, song.separated)) for song in songs if len(song.notes)]

    def mean_f(pair: tuple[float, float]) -> float:
        return float(np.mean([note_scores(notes, notes_of(y, *pair))[2] for notes, y in found]))

    return max(product(ONSETS, ACTIVES), key=mean_f)


@torch.no_grad()
def shift(network: NoteNet, thresholds: Sequence[float]) -> None:
    """Move the logits of onset and activity such that what were the thresholds are probabilities of one half."""
    assert network.last.bias is not None
    for row, threshold in zip((ONSET, ACTIVE), thresholds):
        network.last.bias[row] -= float(np.log(threshold / (1 - threshold)))


def train_notes(
    songs: Sequence[Path],
    unseen: Path,
    held_out: Path,
    out: Path,
    *,
    steps: int,
    stem: str = "other",
    seed: int = 0,
    config: NoteConfig | None = None,
    cache: Path | None = None,
    licence: str = NOT_STATED,
    command: str = "",
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Learn from songs, choose the thresholds on others, score the network on further ones, and save it.

    Parameters
    ----------
    songs : Sequence[Path]
        Folders of generated songs to learn from.
    unseen : Path
        Folder of songs to choose the thresholds on.
    held_out : Path
        Folder of songs to score.
    out : Path
        The ``.safetensors`` file to write; its card goes beside it.
    steps : int
        Of training.
    stem : str, default='other'
        ``other``, or ``vocals``: the voices of a choir, whose onsets are not learned and whose thresholds not chosen.
    seed : int, default=0
        Of weights and examples.
    config : NoteConfig, optional
        Size of the network.
    cache : Path, optional
        Keep what was heard here, and read it from here.
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

    Raises
    ------
    DatasetError
        A folder holds no generated songs, or none that is of use, or songs of one are in another.
    """
    begun = time.process_time()
    folders = [*songs, unseen, held_out]
    _refuse_shared(folders)
    heard = [list(hear_songs(folder, stem, cache=cache)) for folder in folders]
    learned = [song for some in heard[:-2] for song in some if song.n_frames >= N_FRAMES]
    if not learned:
        raise DatasetError(f"no song of {N_FRAMES / FRAME_RATE:.1f} s", source=str(songs[0]), stage="train")
    for folder, some in zip(folders[-2:], heard[-2:]):
        if not any(song.notes.size or song.voices.size for song in some):
            raise DatasetError(f"no song has notes of {stem}", source=str(folder), stage="train")
    log(f"heard {len(learned)} songs to learn from, {len(heard[-2])} to choose on, {len(heard[-1])} to score")
    torch.manual_seed(seed)
    network = NoteNet(config)

    def on_step(step: int, loss: float) -> None:
        if step % 50 == 0:
            log(f"{step} of {steps} steps, loss {loss:.3f}")

    learn(network, learned, steps=steps, seed=seed, onsets=stem == "other", on_step=on_step)
    thresholds = choose_thresholds(network, heard[-2]) if stem == "other" else (0.5, 0.5)
    shift(network, thresholds)
    scores = mean_scores(network, heard[-1]) if stem == "other" else voice_scores(network, heard[-1])
    log(f"thresholds {thresholds}, {scores}")
    minutes = sum(song.seconds for song in learned) / 60
    sources = read_recipe(SOURCES, objective=None, steps=None, target=None)
    card: dict[str, Any] = {
        "task": f"notes of several voices of {stem}: onsets, activity and deviation of 64 pitches every 23 ms",
        "licence": licence,
        "separator": checkpoints.DEFAULT_MODEL,
        "data": [
            {
                "source": "generated",
                "licence": sources.licences["generated"],
                "songs": len(learned),
                "minutes": round(minutes, 1),
                "generator": _versions(songs),
                "made_of": sources.made_of["generated"],
            }
        ],
        "training": {
            "command": command,
            "steps": steps,
            "seed": seed,
            "parameters": sum(x.numel() for x in network.parameters()),
            "thresholds": {
                "onset": thresholds[0],
                "active": thresholds[1],
                "chosen_on": _names(unseen) if stem == "other" else [],
            },
            "cpu_seconds": round(time.process_time() - begun),
        },
        "metrics": {("notes" if stem == "other" else "voices"): {"songs": _names(held_out)} | scores},
    }
    network.save(out, card)
    return card


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("**/truth.json"))


def _versions(folders: Sequence[Path]) -> list[int]:
    """Of the generator that made the songs."""
    paths = [path for folder in folders for path in folder.glob("**/truth.json")]
    return sorted({json.loads(path.read_text()).get("version", VERSION) for path in paths})


def _refuse_shared(folders: Sequence[Path]) -> None:
    """Raise DatasetError where a song is in two folders, by its name, which is its seed, or by its audio."""
    seen: dict[str, tuple[Path, str]] = {}
    for folder in folders:
        for song in sorted(path.parent for path in folder.glob("**/truth.json")):
            mixture = song / "mixture.flac"
            keys = [song.name, *([content_digest(mixture)] if mixture.is_file() else [])]
            if there := next((seen[key] for key in keys if key in seen), None):
                called = "" if there[1] == song.name else f", as {there[1]}"
                raise DatasetError(f"song {song.name} is also in {there[0]}{called}", source=str(folder), stage="train")
            seen |= dict.fromkeys(keys, (folder, song.name))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, nargs="+", required=True, metavar="FOLDER", help="to learn from")
    parser.add_argument("--unseen", type=Path, required=True, metavar="FOLDER", help="to choose the thresholds on")
    parser.add_argument("--held-out", type=Path, required=True, metavar="FOLDER", help="to score")
    parser.add_argument("--stem", choices=("other", "vocals"), default="other", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--channels", type=int, default=NoteConfig().channels)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep what was heard here, and read it from here")
    parser.add_argument("--licence", default=NOT_STATED, help="of the weights")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="file to write (.safetensors)")
    args = parser.parse_args(argv)
    words = ["python", "-m", "stemfeatures.training.notes", *(sys.argv[1:] if argv is None else argv)]
    with one_line_errors(parser):
        train_notes(
            args.songs,
            args.unseen,
            args.held_out,
            args.out,
            steps=args.steps,
            stem=args.stem,
            seed=args.seed,
            config=NoteConfig(channels=args.channels),
            cache=args.cache,
            licence=args.licence,
            command=shlex.join(words),
            log=lambda line: print(line, flush=True),
        )


if __name__ == "__main__":
    main()
