"""What an estimator answers: stems, F0, beats, of the mixture of a song."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self, TypeVar

import numpy as np

from ..errors import ModelError

#: Search range of vocal F0 in Hz where a tool can be told one, C2 to C6: sung notes, as in most evaluations of melody.
F0_RANGE_HZ = (65.41, 1046.5)


class Estimator(Protocol):
    """Anything that can be evaluated. What it does not offer raises NotImplementedError.

    ``separate``: (channels, n_samples) float32 -> ``{stem: (channels, n_samples)}`` of exactly that shape; any of the
    stems, ``accompaniment`` too; beside one other alone that is all but this one. ``f0``: vocals F0 as
    ``(times_s, f0_hz)``, 0 = unvoiced, negative = a guess in an unvoiced frame. ``beats``: ``(beats_s, positions)``,
    1-indexed in the bar, or None for positions.

    What follows may be left out (:class:`BaseEstimator` has all of it). ``multi_f0``: all vocal F0 at once as
    ``(times_s, [array of Hz of each frame])``; without it the one contour of ``f0`` stands for all voices.
    ``presence``: ``(times_s, {stem: (n,) bool})``, which stems play. ``lyrics``: the start in seconds of each
    blank-separated token of lyrics, None where it is not sung. ``prepare`` loads what is needed, so that a
    missing model shows before the first track. ``describe`` tells what figures depend on: versions, voicing
    thresholds. An oracle has a true ``needs_truth`` and is called as ``separate_with_truth(y, sample_rate, stems)``.

    Attributes
    ----------
    name : str
        By which it stands in tables.
    """

    name: str

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """Separate a mixture into stems.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        dict of np.ndarray
            (channels, n_samples) by stem.
        """
        ...

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Estimate the F0 of the vocals.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        times_s : np.ndarray
            (n_frames,) times of the frames in seconds.
        f0_hz : np.ndarray
            (n_frames,) F0 in Hz; 0 where unvoiced, negative for a guess in an unvoiced frame.
        """
        ...

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Track beats.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        beats_s : np.ndarray
            (n_beats,) times in seconds.
        positions : np.ndarray or None
            (n_beats,) places in the bar, counted from 1; None where they are not known.
        """
        ...


class BaseEstimator:
    """Offers nothing; subclasses override what they can do.

    Attributes
    ----------
    name : str
        By which it is asked for and stands in tables.
    needs_truth : bool
        Whether it is an oracle, which :meth:`separate_with_truth` is called of.
    voicing : str
        When a frame of :meth:`f0` counts as voiced, in words.
    install : str
        How to install it, a line for a shell; empty where nothing is missing.
    quick : bool
        Whether a minute of music takes a few seconds at most.
    uses_torch : bool
        Whether a torch device is of use.
    """

    name = ""
    needs_truth = False
    voicing = ""
    install: ClassVar[str] = ""
    quick: ClassVar[bool] = False
    uses_torch: ClassVar[bool] = True

    @classmethod
    def installed(cls) -> bool:
        """Whether all is there that it needs.

        Returns
        -------
        bool
            True unless a subclass needs another package.
        """
        return True

    @classmethod
    def make(cls, variant: str | None = None, *, device: str = "cpu") -> Self:
        """Make the estimator; nothing is loaded.

        Parameters
        ----------
        variant : str, optional
            Which weights; None: the default ones.
        device : str, optional
            Torch device for what runs in torch.

        Returns
        -------
        BaseEstimator
            Of this class.

        Raises
        ------
        ModelError
            It has one set of weights, and another is asked for.
        """
        if variant:
            raise ModelError(f"{cls.name} has one set of weights, {variant!r} cannot be chosen")
        return cls()

    @property
    def tasks(self) -> frozenset[str]:
        """Those of ``separation``, ``f0``, ``beats``, ``presence`` and ``lyrics`` that it offers."""
        kind = type(self)
        oracle = kind.separate_with_truth is not BaseEstimator.separate_with_truth
        offered = {
            "separation": oracle or kind.separate is not BaseEstimator.separate,
            "f0": kind.f0 is not BaseEstimator.f0,
            "beats": kind.beats is not BaseEstimator.beats,
            "presence": kind.presence is not BaseEstimator.presence,
            "lyrics": kind.lyrics is not BaseEstimator.lyrics,
        }
        return frozenset(task for task, there in offered.items() if there)

    def prepare(self) -> None:
        """Load what is needed, so that a missing model shows before the first track; here nothing."""

    def describe(self) -> dict[str, str]:
        """What the figures of it depend on.

        Returns
        -------
        dict of str
            Versions, voicing thresholds and the like, in words by name.
        """
        return {"voicing": self.voicing} if self.voicing else {}

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """Separate a mixture into stems.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        dict of np.ndarray
            (channels, n_samples) by stem.

        Raises
        ------
        NotImplementedError
            It does not offer this.
        """
        raise NotImplementedError(f"{self.name} does not separate")

    def separate_with_truth(
        self, y: np.ndarray, sample_rate: int, stems: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Separate a mixture whose stems are known; oracles alone.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.
        stems : dict of np.ndarray
            (channels, n_samples) by stem: the truth.

        Returns
        -------
        dict of np.ndarray
            (channels, n_samples) by stem.

        Raises
        ------
        NotImplementedError
            It does not offer this.
        """
        raise NotImplementedError(f"{self.name} is no oracle")

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Estimate the F0 of the vocals.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        times_s : np.ndarray
            (n_frames,) times of the frames in seconds.
        f0_hz : np.ndarray
            (n_frames,) F0 in Hz; 0 where unvoiced, negative for a guess in an unvoiced frame.

        Raises
        ------
        NotImplementedError
            It does not offer this.
        """
        raise NotImplementedError(f"{self.name} does not estimate F0")

    def multi_f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Estimate all F0 of the vocals at once.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        times_s : np.ndarray
            (n_frames,) times of the frames in seconds.
        f0_hz : list of np.ndarray
            The F0 in Hz of each frame.

        Raises
        ------
        NotImplementedError
            It does not offer this.
        """
        raise NotImplementedError(f"{self.name} gives one F0 at a time")

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Track beats.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        beats_s : np.ndarray
            (n_beats,) times in seconds.
        positions : np.ndarray or None
            (n_beats,) places in the bar, counted from 1; None where they are not known.

        Raises
        ------
        NotImplementedError
            It does not offer this.
        """
        raise NotImplementedError(f"{self.name} does not track beats")

    def presence(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Say which stems play.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        times_s : np.ndarray
            (n_frames,) times of the frames in seconds.
        plays : dict of np.ndarray
            (n_frames,) bool by stem.

        Raises
        ------
        NotImplementedError
            It does not offer this.
        """
        raise NotImplementedError(f"{self.name} does not say which stems play")

    def lyrics(self, y: np.ndarray, sample_rate: int, text: str) -> list[float | None]:
        """Align lyrics.

        Parameters
        ----------
        y : np.ndarray
            (channels, n_samples) float32, the mixture.
        sample_rate : int
            Rate of the signal in Hz.
        text : str
            The lyrics; blanks separate their tokens.

        Returns
        -------
        list of float or None
            The start of each token in seconds, None where it is not sung.

        Raises
        ------
        NotImplementedError
            It does not offer this.
        """
        raise NotImplementedError(f"{self.name} does not align lyrics")


Kind = TypeVar("Kind", bound=type[BaseEstimator])
#: Estimators that have been imported, by name; :func:`stemfeatures.evaluation.registry.estimator_classes` has all.
ESTIMATORS: dict[str, type[BaseEstimator]] = {}


def register_estimator(estimator: Kind) -> Kind:
    """Add an estimator to those that :func:`~.registry.get_estimator` knows; a class decorator.

    Parameters
    ----------
    estimator : type
        Subclass of :class:`BaseEstimator` with a ``name``.

    Returns
    -------
    type
        The same class.

    Raises
    ------
    ValueError
        It has no name, or another class has it.
    """
    name = estimator.name
    if not name or ESTIMATORS.get(name, estimator) is not estimator:
        raise ValueError(f"there is another estimator called {name!r}" if name else "the estimator has no name")
    ESTIMATORS[name] = estimator
    return estimator
