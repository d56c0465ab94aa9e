"""What is evaluated: one protocol for our network and for the references it is measured against.

========== ============= ===========================================================================================
name       offers        what it is
========== ============= ===========================================================================================
mixture    separation    the mixture as every stem: where NSDR is zero
irm        separation    oracle: ideal ratio mask from the true stems, the bound for magnitude masks on our grid
hpss       separation    no training: harmonic/percussive drums, low band bass, REPET-SIM vocals, the rest other
repet-sim  separation    no training: what recurs within the song is accompaniment, the rest vocals
pyin       f0            librosa.pyin on the mixture, its own voicing
librosa    beats         librosa.beat.beat_track on the mixture
joint      all           a checkpoint of this package
========== ============= ===========================================================================================

Tools that users have installed besides are in :mod:`.plugins`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import BaseEstimator
from .checkpoint import Joint

if TYPE_CHECKING:
    pass


def get_estimator(name: str | None = None, *, device: str = "cpu") -> BaseEstimator:
    """An estimator by name.

    Parameters
    ----------
    name : one of :data:`.references.REFERENCES`, of :data:`.plugins.PLUGINS` (also ``tool:weights``), or else a
        checkpoint by name or path; None or ``joint`` is the default checkpoint.
    device : torch device for what runs in torch.

    Raises
    ------
    ImportError : a plug-in that is not installed; says how to.
    """
    from .references import REFERENCES

    if name in REFERENCES:
        return REFERENCES[name]()
    from .plugins import PLUGINS, make_plugin

    if name is not None and name.partition(":")[0] in PLUGINS:
        return make_plugin(name, device=device)
    return Joint(None if name == "joint" else name, device=device)
