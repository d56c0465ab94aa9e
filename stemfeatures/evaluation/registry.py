"""Estimators by name: those of the package ``estimators``, and those that other packages add.

A file of :mod:`.estimators` registers itself (:func:`~.base.register_estimator`); other packages name theirs by entry
points of the group ``stemfeatures.estimators`` (name = ``module:class``).
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module, metadata

from . import estimators
from .base import ESTIMATORS, BaseEstimator
from .estimators.checkpoint import CheckpointEstimator

#: Entry points of other packages.
GROUP = "stemfeatures.estimators"


@cache
def _import_ours() -> None:
    for module in pkgutil.iter_modules(estimators.__path__, f"{estimators.__name__}."):
        import_module(module.name)


def estimator_classes() -> dict[str, type[BaseEstimator]]:
    """The estimators that have a name of their own; checkpoints go by the checkpoint's.

    Returns
    -------
    dict of str to type
        Class by name; references come first, then the tools of other packages, installed or not.

    Examples
    --------
    >>> [name for name, estimator in estimator_classes().items() if estimator.quick]
    ['mixture', 'irm', 'librosa']
    """
    _import_ours()
    named = ESTIMATORS | {point.name: point.load() for point in metadata.entry_points(group=GROUP)}
    return dict(sorted(named.items(), key=lambda item: bool(item[1].install)))


def get_estimator(name: str | None = None, *, device: str = "cpu") -> BaseEstimator:
    """Make an estimator.

    Parameters
    ----------
    name : str, optional
        One of :func:`estimator_classes`, for a tool also ``tool:weights``; or else a checkpoint by name or path; None
        or ``joint``: the default checkpoint.
    device : str, optional
        Torch device for what runs in torch.

    Returns
    -------
    BaseEstimator
        Nothing is loaded yet.

    Raises
    ------
    ImportError
        A tool that is not installed; the message says how to.
    ModelError
        Other weights of an estimator that has one set of them.

    Examples
    --------
    >>> sorted(get_estimator("hpss").tasks)
    ['separation']
    """
    tool, _, variant = (name or "joint").partition(":")
    found = estimator_classes().get(tool)
    if found is None:
        return CheckpointEstimator(None if name == "joint" else name, device=device)
    if not found.installed():
        raise ImportError(f"{tool} is not installed; to install it: {found.install}")
    return found.make(variant or None, device=device)


def missing_estimators() -> dict[str, str]:
    """Tools that are not installed.

    Returns
    -------
    dict of str to str
        How to install it, by name.
    """
    return {name: found.install for name, found in estimator_classes().items() if not found.installed()}
