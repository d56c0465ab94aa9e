"""The table of objectives."""

from __future__ import annotations

import importlib

from ...errors import ModelError
from .base import Objective

#: Objectives by the name that recipes and ``--objective`` use: module and class, imported when asked for.
OBJECTIVES = {
    "joint": "stemfeatures.training.objectives.joint:JointObjective",
    "supervised": "stemfeatures.training.objectives.critics:SupervisedObjective",
    "adversarial": "stemfeatures.training.objectives.critics:AdversarialObjective",
    "factorgan": "stemfeatures.training.objectives.gan:FactorGANObjective",
    "gan": "stemfeatures.training.objectives.gan:GanObjective",
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
    return getattr(importlib.import_module(module), cls)
