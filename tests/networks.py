"""A joint network small enough for tests, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from stemfeatures.models import checkpoints
from stemfeatures.models.joint import JointConfig, JointNet

TINY = JointConfig(
    channels=(8, 8, 8, 8), dense=4, recurrent=8, pitch_channels=(4, 4, 4), rhythm_channels=8, rhythm_layers=2
)


def tiny_checkpoint(folder: Path, *, seed: int = 0, name: str = "tiny") -> Path:
    """Save a random network and return its path; its masks are made unequal, as a trained network's are."""
    torch.manual_seed(seed)
    model = JointNet(TINY)
    with torch.no_grad():
        model.separator.unpatchify.weight.mul_(8.0)
        for parameter in model.pitch.parameters():
            parameter.mul_(1.5)
    card = {"licence": "test", "description": "random weights"}
    return checkpoints.save(model.eval(), folder / f"{name}.safetensors", card).path


def tiny_recipe(path: Path, **settings: object) -> Path:
    """Write a recipe (TOML) that trains the network of these tests for two steps; ``settings`` are added to it."""
    values = {"name": "mini", "steps": 2, "batch_size": 1, "n_frames": 64, "warmup": 1, "log_every": 1} | settings
    model = {name: value for name, value in TINY.to_dict().items() if name not in ("harmonics", "pitch_bins")}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    path.write_text("\n".join([*lines, "[model]", *(f"{name} = {json.dumps(v)}" for name, v in model.items())]) + "\n")
    return path
