"""The table of objectives."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ...errors import ModelError

if TYPE_CHECKING:
    from .base import Objective

#: Objectives by the name that recipes and ``--objective`` use: module and class, imported when asked for.
OBJECTIVES = {
    "joint": "stemfeatures.training.objectives.joint:JointObjective",
    "supervised": "stemfeatures.training.objectives.supervised:SupervisedObjective",
    "adversarial": "stemfeatures.training.objectives.critics:AdversarialObjective",
    "gan": "stemfeatures.training.objectives.gan:GanObjective",
    "factorgan": "stemfeatures.training.objectives.gan:FactorGANObjective",
}


def find_objective(name: str) -> type[Objective]:
    """The class of an objective.

    Raises
    ------
    ModelError
        There is none of that name.
    """
    if name not in OBJECTIVES:
        raise ModelError(f"unknown objective {name!r}; known: {', '.join(OBJECTIVES)}", stage="train")
    module, _, cls = OBJECTIVES[name].partition(":")
    found: type[Objective] = getattr(importlib.import_module(module), cls)
    return found
