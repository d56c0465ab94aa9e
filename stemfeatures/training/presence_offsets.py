"""How sure a joint network has to be that a stem plays: offsets of its presence logits.

They are chosen such that each stem is found in the same share of the frames in which it plays, and are added to the
biases of the head. The training of presence ends with them; a network whose separator has learned on gets them anew:

    python -m stemfeatures.training.presence_offsets CHECKPOINT SONGS -o FILE
"""

from __future__ import annotations

import argparse
import copy
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ..analysis import Analyser
from ..audio import to_mono
from ..constants import STEMS
from ..datasets.opening import find_tracks
from ..errors import TrainingError
from ..evaluation.presence import at_frames, presence_truth
from ..models import checkpoints
from ..models.joint import JointNet
from .one_line import one_line_errors

#: Share of the frames in which a stem plays that shall be found: a voice is better missed for a moment than heard in a
#: guitar.
RECALL = {"vocals": 0.94, "drums": 0.995, "bass": 0.995, "other": 0.99}


def presence_offsets(
    model: JointNet,
    songs: str | Path,
    *,
    recall: Mapping[str, float] = RECALL,
    on_song: Callable[[str], None] | None = None,
) -> dict[str, float]:
    """What to add to the presence logits of a network, by stem.

    Parameters
    ----------
    model : JointNet
        A network with a presence head.
    songs : str | Path
        Folder of tracks with all stems.
    recall : Mapping[str, float], optional
        ``{stem: share}`` of the frames in which it plays that is found with the offsets, 0..1.
    on_song : Callable[[str], None], optional
        Called with the name of each song that is done.

    Returns
    -------
    dict[str, float]
        ``{stem: offset}``; frames count alike, those near the threshold of playing do not.

    Raises
    ------
    TrainingError
        When a stem plays in none of the songs, one of them has no stems, or the network has no presence head.
    """
    if model.presence is None:
        raise TrainingError("this network has no presence", stage="presence offsets")
    with tempfile.TemporaryDirectory() as folder:
        analyser = Analyser(checkpoints.save(model, Path(folder) / "now.safetensors", {}).path)
    found: dict[str, list[np.ndarray]] = {stem: [] for stem in STEMS}
    for track in find_tracks(songs):
        song = track.load()
        if not song.stems:
            raise TrainingError("has no stems", source=track.source(), stage="presence offsets")
        mixture = np.sum(list(song.stems.values()), axis=0)
        frames = analyser.from_audio(to_mono(mixture), song.sample_rate).frames
        assert frames.presence is not None
        for stem, (plays, known) in presence_truth(song.stems, song.sample_rate).items():
            presence, _ = at_frames(len(plays), frames.times_s, frames.presence[STEMS.index(stem)])
            found[stem].append(presence[plays & known])
        if on_song is not None:
            on_song(track.name)
    return {stem: _offset(np.concatenate([[], *values]), recall[stem], stem, songs) for stem, values in found.items()}


def _offset(presence: np.ndarray, recall: float, stem: str, songs: str | Path) -> float:
    if not len(presence):
        raise TrainingError(f"{stem} plays in none of these songs", source=str(songs), stage="presence offsets")
    p = float(np.clip(np.quantile(presence, 1 - recall), 1e-6, 1 - 1e-6))
    return float(np.log1p(-p) - np.log(p))


@torch.no_grad()
def with_presence_offsets(model: JointNet, offsets: dict[str, float]) -> JointNet:
    """A copy of ``model`` whose presence logits are shifted.

    Parameters
    ----------
    model : JointNet
        With a presence head.
    offsets : dict[str, float]
        ``{stem: offset}`` of :func:`presence_offsets`.

    Raises
    ------
    ValueError
        When the network has no presence.
    """
    if model.presence is None:
        raise ValueError("this network has no presence")
    model = copy.deepcopy(model)
    assert model.presence is not None
    model.presence.head.get_parameter("bias").add_(torch.tensor([offsets.get(stem, 0.0) for stem in STEMS]))
    return model


def renew(
    checkpoint: str | Path,
    songs: str | Path,
    out: str | Path,
    *,
    recall: Mapping[str, float] = RECALL,
    command: str = "",
    on_song: Callable[[str], None] | None = None,
) -> checkpoints.Checkpoint:
    """Choose the offsets of a checkpoint anew, and save it.

    Parameters
    ----------
    checkpoint : str | Path
        Name or file of a joint network with presence.
    songs : str | Path
        Folder of tracks with all stems, none of which the network has learned from.
    out : str | Path
        The file to write.
    recall : Mapping[str, float], optional
        As of :func:`presence_offsets`.
    command : str, default=''
        What was typed, for the card.
    on_song : Callable[[str], None], optional
        Called with the name of each song that is done.

    Returns
    -------
    checkpoints.Checkpoint
        What was written; its card names the songs, and has no metrics.

    Raises
    ------
    ModelError
        There is no such checkpoint, or it is damaged.
    TrainingError
        It has no presence, or a stem plays in none of the songs.
    """
    before = checkpoints.resolve(checkpoint)
    model = checkpoints.load(before)
    offsets = presence_offsets(model, songs, recall=recall, on_song=on_song)
    training = before.card.get("training", {})
    kept = {"chosen_on": Path(songs).name, "recall": dict(recall), **{stem: round(x, 4) for stem, x in offsets.items()}}
    if command:
        kept["command"] = command
    card = before.card | {"training": training | {"presence_offsets": kept}, "metrics": {}}
    return checkpoints.save(with_presence_offsets(model, offsets), Path(out), card)


def _share(words: str) -> tuple[str, float]:
    """``STEM=SHARE`` of the command line."""
    stem, _, share = words.partition("=")
    try:
        if stem in STEMS and 0 < float(share) < 1:
            return stem, float(share)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"no stem and a share between 0 and 1, such as vocals=0.9: {words!r}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a joint network with presence, by name or file")
    parser.add_argument("songs", type=Path, help="folder of song folders with all stems, which it did not learn from")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="file to write (.safetensors)")
    usual = " ".join(f"{stem}={share}" for stem, share in RECALL.items())
    parser.add_argument(
        "--recall", type=_share, nargs="+", default=[], metavar="STEM=SHARE",
        help=f"in which share of its frames a stem is found (default: {usual})",
    )  # fmt: skip
    args = parser.parse_args(argv)
    words = ["python", "-m", "stemfeatures.training.presence_offsets", *(sys.argv[1:] if argv is None else argv)]
    with one_line_errors(parser):
        recall = RECALL | dict(args.recall)
        saved = renew(args.checkpoint, args.songs, args.out, recall=recall, command=shlex.join(words), on_song=print)
        offsets = saved.card["training"]["presence_offsets"]
        print("offsets: " + ", ".join(f"{stem} {offsets[stem]:+.2f}" for stem in STEMS))
        print(f"{saved.path}, sha256 {saved.sha256}")


if __name__ == "__main__":
    main()
