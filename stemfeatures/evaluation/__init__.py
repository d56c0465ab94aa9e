"""Separation, vocal F0 and beats against the truth; thin over museval and mir_eval."""

from .base import BaseEstimator, Estimator
from .checkpoint import Joint
from .estimators import get_estimator
from .plugins import PLUGINS
from .references import QUICK_REFERENCES, REFERENCES
from .result import EvaluationResult
from .run import NotOfferedError, evaluate

__all__ = [
    "PLUGINS",
    "QUICK_REFERENCES",
    "REFERENCES",
    "BaseEstimator",
    "Estimator",
    "EvaluationResult",
    "Joint",
    "NotOfferedError",
    "evaluate",
    "get_estimator",
]
