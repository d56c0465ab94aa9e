"""Separation, vocal F0 and beats against the truth; thin over museval and mir_eval."""

from .estimators import REFERENCES, Estimator, get_estimator
from .run import EvaluationResult, evaluate

__all__ = ["REFERENCES", "Estimator", "EvaluationResult", "evaluate", "get_estimator"]
