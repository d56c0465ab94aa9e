"""Separation, vocal F0 and beats against the truth; thin over museval and mir_eval."""

from .base import BaseEstimator, Estimator, register_estimator
from .estimators.checkpoint import CheckpointEstimator
from .registry import estimator_classes, get_estimator, missing_estimators
from .result import EvaluationResult
from .run import NotOfferedError, evaluate

__all__ = [
    "BaseEstimator",
    "CheckpointEstimator",
    "Estimator",
    "EvaluationResult",
    "NotOfferedError",
    "estimator_classes",
    "evaluate",
    "get_estimator",
    "missing_estimators",
    "register_estimator",
]
