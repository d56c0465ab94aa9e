"""Recipes by name, and the recipe that a run began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TrainingError

if TYPE_CHECKING:
    from ..config import TrainConfig

#: Recipe of an objective where none is named.
DEFAULT_RECIPES = {
    "joint": "joint-v0",
    "supervised": "supervised-small",
    "adversarial": "adversarial-small",
    "gan": "gan-small",
    "factorgan": "factorgan-small",
}
RECIPES = Path(__file__).parents[1] / "recipes"
_RECIPE = "recipe.json"
#: Keys of a recipe that may change when a run goes on.
_MAY_CHANGE = ("steps", "cycles", "save_every", "log_every", "validate_every", "patience", "licences", "made_of")


def find_recipe(name: str) -> Path:
    """The TOML file of a recipe.

    Parameters
    ----------
    name : str
        A recipe of this package, or a path that ends in ``.toml``.

    Returns
    -------
    Path
        A file that exists.

    Raises
    ------
    TrainingError
        There is no such recipe; the message lists those that there are.

    Examples
    --------
    >>> find_recipe("joint-v0").name
    'joint-v0.toml'
    """
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise TrainingError("no such recipe file", source=name)
        return Path(name)
    known = {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}
    if name not in known:
        raise TrainingError(f"unknown recipe {name!r}; known: {', '.join(known) or 'none'}, or a path to a .toml file")
    return known[name]


def read_recipe(
    name: str | None = None, *, objective: str | None = None, steps: int | None = None, target: str | None = None
) -> TrainConfig:
    """The settings of a run: a recipe, and what replaces its own values.

    Parameters
    ----------
    name : str, optional
        See :func:`find_recipe`; default: the small recipe of ``objective``.
    objective : str, optional
        What is learned, a key of :data:`DEFAULT_RECIPES`; default: that of the recipe, or ``"joint"``.
    steps : int, optional
        Optimiser steps.
    target : str, optional
        The target of objectives that have one.

    Returns
    -------
    TrainConfig
        Settings that have been checked.

    Raises
    ------
    TrainingError
        There is no such recipe, or it is for another objective.
    """
    from ..config import load_config

    config = load_config(find_recipe(name or DEFAULT_RECIPES[objective or "joint"]), steps=steps, target=target)
    if objective not in (None, config.objective):
        raise TrainingError(f"recipe {config.name!r} is for the objective {config.objective}, not {objective}")
    return config


def require_same_recipe(run_dir: Path, config: TrainConfig) -> None:
    """Check that a run that has learned something goes on with the recipe it began with.

    Raises
    ------
    TrainingError
        Settings differ that may not change; the message names them.
    """
    stored = run_dir / _RECIPE
    if not stored.is_file() or not (run_dir / "last.pt").is_file():
        return
    from ..config import with_current_keys

    # What an older version did not know of had its default.
    defaults = json.loads(json.dumps(type(config)().to_dict()))
    before, now = defaults | with_current_keys(json.loads(stored.read_text())), json.loads(json.dumps(config.to_dict()))
    if changed := [k for k in now if k not in _MAY_CHANGE and before[k] != now[k]]:
        raise TrainingError(
            f"holds a run of another recipe ({', '.join(changed)} changed); choose another run directory",
            source=str(run_dir),
        )


def write_recipe(run_dir: Path, config: TrainConfig) -> None:
    """Note the recipe in the directory of its run."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / _RECIPE).write_text(json.dumps(config.to_dict(), indent=1) + "\n", encoding="utf-8")
