"""A network between the one that a run began with and the one it ended with.

What a network learns further from songs that are made suits them better than others. Between the weights before and
after lie networks that have most of what both are good at, where one has grown from the other (Wortsman et al.,
"Robust fine-tuning of zero-shot models", CVPR 2022).

    python -m stemfeatures.training.interpolation runs/more/more.safetensors --share 0.5 -o between.safetensors

Where subnetworks have learned in runs of their own, ``--subnetworks`` takes theirs alone to the other end::

    python -m stemfeatures.training.interpolation runs/pitch/pitch.safetensors --before between.safetensors --share 1 \\
        --subnetworks pitch -o both.safetensors
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..models import checkpoints
from ..models.joint import SUBNETWORKS
from .card import with_sources_of

#: Weight of what was learned, unless another one is asked for.
SHARE_OF_NEW = 0.5


@torch.no_grad()
def interpolate(network: nn.Module, before: nn.Module, share: float, subnetworks: Collection[str] = ()) -> None:
    """Move the weights and statistics of a network towards those it began with.

    Parameters
    ----------
    network, before : nn.Module
        The network that is changed, and as it was before it learned.
    share : float
        Weight of ``network``, 0..1.
    subnetworks : collection of str, default=()
        Those that have this weight, the others become as they were before; empty: all.
    """
    for (name, value), old in zip(network.state_dict().items(), before.state_dict().values(), strict=True):
        weight = share if not subnetworks or name.split(".")[0] in subnetworks else 0.0
        if value.is_floating_point():
            value.lerp_(old, 1 - weight)


def between(
    after: str | Path,
    share: float,
    out: str | Path,
    *,
    before: str | Path | None = None,
    subnetworks: Sequence[str] = (),
    command: str = "",
) -> checkpoints.Checkpoint:
    """Save the network between a checkpoint and the one that its run began with, or another one before it.

    Parameters
    ----------
    after : str | Path
        A joint checkpoint whose recipe names an initial one.
    share : float
        Weight of ``after``, 0..1.
    out : str | Path
        The checkpoint to write. Its masks have the sharpness and priors of the initial one, whose F0 was
        calibrated as well.
    before : str | Path, optional
        Checkpoint (name or file) at the other end; without it that which the run of ``after`` began with.
    subnetworks : sequence of str, default=()
        Subnetworks that go this share of the way, the others are those of ``before``; empty: all.
    command : str, default=''
        What was typed, for the card.

    Returns
    -------
    checkpoints.Checkpoint
        What was written, with the card of ``after`` but for its metrics, and what the other end learned from.

    Raises
    ------
    ValueError
        The share is not between 0 and 1, or there is no such subnetwork.
    ModelError
        The checkpoint is none of a joint network, went on from none, or the other end is of another size.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, not {share}")
    if unknown := sorted(set(subnetworks) - set(SUBNETWORKS)):
        raise ValueError(f"unknown subnetworks: {', '.join(unknown)}; known: {', '.join(SUBNETWORKS)}")
    checkpoint = checkpoints.resolve(after)
    training = checkpoint.card.get("training", {})
    if not (initial := before or training.get("recipe", {}).get("initial")):
        raise ModelError("its card names no checkpoint that it went on from", source=str(after), stage="train")
    start = checkpoints.resolve(initial)
    network, old = checkpoints.load(checkpoint), checkpoints.load(start)
    config = old.config
    if network.config.with_calibration_of(config) != config:
        which = "" if before else ", which it went on from,"
        raise ModelError(f"{initial}{which} is of another size", source=str(after), stage="train")
    interpolate(network, old, share, subnetworks)
    network.config = config
    kept: dict[str, Any] = {"share_of_new": share, "before": start.name, "command": command}
    if subnetworks:
        kept["subnetworks"] = list(subnetworks)
    calibration = start.card.get("training", {}).get("calibration")
    if calibration:
        training |= {"calibration": {"through": start.name} | calibration}
    data = with_sources_of([initial], checkpoint.card.get("data", []))
    card = checkpoint.card | {"data": data, "training": training | {"interpolation": kept}, "metrics": {}}
    return checkpoints.save(network, Path(out), card)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a joint checkpoint that went on from another one")
    parser.add_argument("--share", type=float, default=SHARE_OF_NEW, help="weight of its own (default: %(default)s)")
    parser.add_argument("--before", metavar="NAME", help="the other end (default: what its run began with)")
    parser.add_argument(
        "--subnetworks", nargs="+", default=(), metavar="NAME", help="those that go there, the others stay as they were"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="file to write (.safetensors)")
    args = parser.parse_args(argv)
    words = ["python", "-m", "stemfeatures.training.interpolation", *(sys.argv[1:] if argv is None else argv)]
    try:
        saved = between(
            args.checkpoint, args.share, args.out, before=args.before, subnetworks=args.subnetworks,
            command=shlex.join(words),
        )  # fmt: skip
    except (ValueError, ModelError) as error:
        parser.error(str(error))
    print(f"{saved.path}, sha256 {saved.sha256}")


if __name__ == "__main__":
    main()
