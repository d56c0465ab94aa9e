"""What a step of training a target costs, by objective, with networks channels last (as they are) and channels first.

    python benchmarks/target_training.py [--rounds 5] [--objectives NAME,...]

The small networks of the experiment with few pairs, batches of four excerpts of noise, one thread. Steps of both kinds
take turns; printed are CPU milliseconds a step (medians) and their ratio.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from stemfeatures.training.config import TrainConfig
from stemfeatures.training.objectives.base import Batch
from stemfeatures.training.objectives.find import find_objective

BATCH = 4
SETTINGS = {
    "supervised": {},
    "adversarial": {"critic_width": 8, "critic_updates": 2},
    "gan": {"width": 8},
    "factorgan": {"width": 8},
}


def begin(name: str) -> tuple[Any, Batch]:
    """An objective and a batch of noise for it."""
    model = {"width": 8, "depth": 3, "output": "mask", "batch_norm": "gan" in name}
    config = TrainConfig(
        name=name, objective=name, target="vocals", network="unet2018", n_frames=32, batch_size=BATCH, ema=0.0,
        model=model, settings=SETTINGS[name],
    )  # fmt: skip
    kind = find_objective(name)
    objective: Any = kind(config, "cpu")  # each has networks of its own
    draws = kind.draws(config)
    assert draws is not None
    n_samples, rng = objective.network.n_samples, torch.Generator().manual_seed(0)
    songs = torch.arange(BATCH)[:, None]
    batch = {
        "pair_songs": songs.expand(BATCH, draws.pairs),
        "mixture_songs": songs.expand(BATCH, max(draws.mixtures, 1)),
    }
    batch["pairs"] = 0.1 * torch.randn(BATCH, draws.pairs, 2, n_samples, generator=rng)
    for part in ("mixtures", "solos", "accompaniments"):
        batch[part] = 0.1 * torch.randn(BATCH, getattr(draws, part), n_samples, generator=rng)
    return objective, batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="steps of each kind (default: %(default)s)")
    parser.add_argument("--objectives", default=",".join(SETTINGS), help="comma-separated (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'objective':<12}{'last, ms':>10}{'first, ms':>11}{'ratio':>8}")
    for name in args.objectives.split(","):
        kinds = {}
        for layout in ("last", "first"):
            objective, batch = begin(name)
            if layout == "first":
                networks = (part for part in vars(objective).values() if isinstance(part, nn.Module))
                for part in (objective.network.net, *networks):
                    part.to(memory_format=torch.contiguous_format)
            objective.step(batch)
            kinds[layout] = (objective, batch)
        spent: dict[str, list[float]] = {layout: [] for layout in kinds}
        for _ in range(args.rounds):
            for layout, (objective, batch) in kinds.items():
                start = time.process_time()
                objective.step(batch)
                spent[layout].append(1000 * (time.process_time() - start))
        last, first = (float(np.median(spent[layout])) for layout in ("last", "first"))
        print(f"{name:<12}{last:>10.0f}{first:>11.0f}{last / first:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
