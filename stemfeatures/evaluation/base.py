"""What an estimator answers: stems, F0, beats, of the mixture of a song."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    pass


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
