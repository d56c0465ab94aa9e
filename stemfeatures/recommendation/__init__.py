"""Recommendation from listening and feature tables.

:mod:`.interactions` who listened to what; :mod:`.factorization` alternating least squares; :mod:`.models` what is
trained, and :mod:`.store` how it is kept; :mod:`.ranking` the best tracks of many users in bounded memory;
:mod:`.splits` and :mod:`.evaluation` how good that is; :mod:`.simulation` listeners whose taste is known.
"""

from .._util.lazy import lazy_names

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "Interactions": "interactions",
        "Recommender": "models",
        "evaluate_models": "evaluation",
        "fit_recommender": "fit",
        "load_recommender": "store",
        "read_interactions": "interactions",
        "recommend": "ranking",
        "save_recommender": "store",
        "simulate_listeners": "simulation",
        "split_interactions": "splits",
    },
)
