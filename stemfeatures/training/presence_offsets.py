"""How sure a joint network has to be that a stem plays: offsets of its presence logits.

They are chosen such that each stem is found in the same share of the frames in which it plays, and are added to the
biases of the head.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
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
        When a stem plays in none of the songs, or the network has no presence head.
    """
    if model.presence is None:
        raise TrainingError("this network has no presence", stage="presence offsets")
    with tempfile.TemporaryDirectory() as folder:
        analyser = Analyser(checkpoints.save(model, Path(folder) / "now.safetensors", {}).path)
    found: dict[str, list[np.ndarray]] = {stem: [] for stem in STEMS}
    for track in find_tracks(songs):
        stems = {name: track.audio(name) for name in track.stem_names}
        sample_rate = next(rate for _, rate in stems.values())
        mixture = np.sum([y for y, _ in stems.values()], axis=0)
        frames = analyser.from_audio(to_mono(mixture), sample_rate).frames
        assert frames.presence is not None
        truth = presence_truth({name: y for name, (y, _) in stems.items()}, sample_rate)
        for stem, (plays, known) in truth.items():
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
