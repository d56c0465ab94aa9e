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

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from ..analysis import Analyser
    from ..separation import Separator


class Estimator(Protocol):
    """Anything that can be evaluated. What it does not offer raises NotImplementedError.

    ``separate``: (channels, n_samples) float32 -> ``{stem: (channels, n_samples)}`` of exactly that shape; any of the
    stems, ``accompaniment`` too; beside one other alone that is all but this one. ``f0``: vocals F0 as
    ``(times_s, f0_hz)``, 0 = unvoiced, negative = a guess in an unvoiced frame. ``beats``: ``(beats_s, positions)``,
    1-indexed in the bar, or None for positions.

    What follows may be left out (:class:`BaseEstimator` has all of it). ``multi_f0``: all vocal F0 at once as
    ``(times_s, [array of Hz of each frame])``; without it the one contour of ``f0`` stands for all voices. ``prepare``
    loads what is needed, so that a missing model shows before the first track. ``describe`` tells what figures depend
    on: versions, voicing thresholds. An oracle has a true ``needs_truth`` and is called as
    ``separate_with_truth(y, sample_rate, stems)``.
    """

    name: str

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]: ...

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]: ...

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]: ...


class BaseEstimator:
    """Offers nothing; subclasses override what they can do."""

    name = ""
    needs_truth = False
    #: When a frame of :meth:`f0` counts as voiced, in words.
    voicing = ""

    @property
    def tasks(self) -> frozenset[str]:
        """Those of ``separation``, ``f0`` and ``beats`` that it offers."""
        kind = type(self)
        oracle = kind.separate_with_truth is not BaseEstimator.separate_with_truth
        offered = {
            "separation": oracle or kind.separate is not BaseEstimator.separate,
            "f0": kind.f0 is not BaseEstimator.f0,
            "beats": kind.beats is not BaseEstimator.beats,
        }
        return frozenset(task for task, there in offered.items() if there)

    def prepare(self) -> None:
        """Nothing to load."""

    def describe(self) -> dict[str, str]:
        return {"voicing": self.voicing} if self.voicing else {}

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        raise NotImplementedError(f"{self.name} does not separate")

    def separate_with_truth(
        self, y: np.ndarray, sample_rate: int, stems: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        raise NotImplementedError(f"{self.name} is no oracle")

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError(f"{self.name} does not estimate F0")

    def multi_f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, list[np.ndarray]]:
        raise NotImplementedError(f"{self.name} gives one F0 at a time")

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        raise NotImplementedError(f"{self.name} does not track beats")


@dataclass
class Joint(BaseEstimator):
    """A checkpoint of this package, by name or path; None takes the default one. Loaded at first use."""

    model: str | None = None
    device: str = "cpu"
    #: Further candidates of a voiced frame count as further voices from this salience (a probability) on.
    voice_salience: float = 0.5
    _separator: Separator | None = field(default=None, init=False, repr=False)
    _analyser: Analyser | None = field(default=None, init=False, repr=False)
    _analysed: tuple[np.ndarray, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.name = self.model or "joint"

    @property
    def _choice(self) -> dict[str, Any]:
        """The argument that chooses the checkpoint; none for the default one."""
        return {} if self.model is None else {"model": self.model}

    def __getstate__(self) -> dict[str, Any]:
        """Travels between processes without its weights."""
        return self.__dict__ | {"_separator": None, "_analyser": None, "_analysed": None}

    def prepare(self) -> None:
        """Only looks for the checkpoint: which parts of it are needed depends on the task."""
        from ..models import checkpoints

        checkpoints.resolve(**self._choice)

    def describe(self) -> dict[str, str]:
        from ..models import checkpoints

        checkpoint = checkpoints.resolve(**self._choice)
        return {
            "sha256": checkpoint.sha256,
            "voicing": f"decoded; further voices from salience {self.voice_salience:g} on",
        }

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        if self._separator is None:
            from ..separation import open_separator

            self._separator = open_separator(**self._choice, device=self.device)
        return self._separator.separate_array(y, sample_rate)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """The decoded contour; in its unvoiced frames the strongest candidate."""
        analysis = self._analyse(y, sample_rate)
        contour = analysis.contours["vocals"]
        f0_hz = np.nan_to_num(contour.f0_hz)
        guess = np.nan_to_num(analysis.frames.pitch["vocals"].candidates_hz[:, 0])
        f0_hz = np.where(f0_hz > 0, f0_hz, -guess)
        return contour.times_s, f0_hz

    def multi_f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """In the voiced frames of the contour: its pitch, and the other candidates that are salient enough."""
        analysis = self._analyse(y, sample_rate)
        contour, pitch = analysis.contours["vocals"], analysis.frames.pitch["vocals"]
        found = []
        for lead, candidates, salience in zip(contour.f0_hz, pitch.candidates_hz, pitch.salience):
            salient = candidates[np.isfinite(candidates) & (salience >= self.voice_salience)]
            found.append(np.union1d(salient, [lead]).astype(np.float64) if np.isfinite(lead) else np.zeros(0))
        return contour.times_s, found

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        events = self._analyse(y, sample_rate).events
        return events.beats_s, events.beat_positions

    def _analyse(self, y: np.ndarray, sample_rate: int) -> Any:
        """One analysis serves F0 and beats of the same array."""
        if self._analysed is None or self._analysed[0] is not y:
            if self._analyser is None:
                from ..analysis import Analyser
                from ..models import checkpoints

                if len(checkpoints.stems_of(checkpoints.resolve(**self._choice))) == 2:
                    raise NotImplementedError(f"{self.name} separates only")
                self._analyser = Analyser(**self._choice, device=self.device)
            self._analysed = y, self._analyser.from_audio(y, sample_rate)
        return self._analysed[1]


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
