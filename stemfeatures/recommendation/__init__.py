"""Recommendation from listening and feature tables.

:mod:`.interactions` who listened to what; :mod:`.factorization` alternating least squares; :mod:`.models` what is
trained, and :mod:`.store` how it is kept; :mod:`.ranking` the best tracks of many users in bounded memory;
:mod:`.splits` and :mod:`.evaluation` how good that is; :mod:`.simulation` listeners whose taste is known.
"""

from importlib import import_module
from typing import Any

_LAZY = {
    "Interactions": "interactions",
    "Recommender": "models",
    "evaluate_models": "evaluation",
    "fit_recommender": "models",
    "load_recommender": "store",
    "read_interactions": "interactions",
    "recommend": "ranking",
    "save_recommender": "store",
    "simulate_listeners": "simulation",
    "split_interactions": "splits",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
