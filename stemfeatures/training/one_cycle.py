"""The training of small networks: one cycle of the learning rate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LEARNING_RATE, WEIGHT_DECAY = 6e-3, 1e-3
#: Share of the steps in which the rate rises, and the largest norm of a gradient.
RISING, LARGEST_GRADIENT = 0.15, 5.0


def learn_in_one_cycle(
    network: nn.Module,
    loss_of_batch: Callable[[], Tensor],
    *,
    steps: int,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train a network in place, and leave it in evaluation mode.

    Parameters
    ----------
    network : nn.Module
        What it knows is where it begins.
    loss_of_batch : Callable[[], Tensor]
        Draws examples and says how wrong the network is about them.
    steps : int
        How often it is called.
    on_step : Callable[[int, float], None], optional
        Called with the number of steps done and the loss.

    Examples
    --------
    >>> scale = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(scale.weight)
    >>> learn_in_one_cycle(scale, lambda: (scale(torch.ones(1, 1)) - 0.5).square().sum(), steps=300)
    >>> round(float(scale.weight.detach()), 1)
    0.5
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1, pct_start=RISING)
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for step in range(steps):
        loss = loss_of_batch()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    network.eval()
