"""Tools of other packages as estimators: how one is found, loaded, described, and fed what it was made for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from ..errors import ModelError
from .base import BaseEstimator


@dataclass
class ExternalEstimator(BaseEstimator):
    """A tool of its own package.

    A subclass sets the class attributes, writes :meth:`load` and what the tool offers, and registers itself.

    Attributes
    ----------
    variant : str or None
        Name of the tool's weights; None: its default ones.
    device : str
        Torch device for what runs in torch.
    module : str
        Module that must be there.
    distribution : str
        Distribution that holds it.
    default_variant : str
        Name of the weights that it takes by default; empty: it has one set.

    Raises
    ------
    ModelError
        The tool has one set of weights, and another was asked for.
    """

    module: ClassVar[str] = ""
    distribution: ClassVar[str] = ""
    default_variant: ClassVar[str] = ""

    variant: str | None = None
    device: str = "cpu"
    _model: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.variant and not self.default_variant:
            raise ModelError(f"{self.name} has one set of weights, {self.variant!r} cannot be chosen")
        self.name = f"{self.name}:{self.variant}" if self.variant else self.name

    def __getstate__(self) -> dict[str, Any]:
        """Travels between processes without its weights."""
        return self.__dict__ | {"_model": None}

    @classmethod
    def make(cls, variant: str | None = None, *, device: str = "cpu") -> Self:
        """Make the estimator; nothing is loaded.

        Parameters
        ----------
        variant : str, optional
            Name of the tool's weights.
        device : str, optional
            Torch device.

        Returns
        -------
        ExternalEstimator
            Of this class.
        """
        return cls(variant, device)

    @classmethod
    def installed(cls) -> bool:
        """Whether the package is there; imports nothing of it.

        Returns
        -------
        bool
            True if the module is found.
        """
        return importlib.util.find_spec(cls.module) is not None

    def describe(self) -> dict[str, str]:
        """What figures depend on.

        Returns
        -------
        dict of str to str
            ``version``, ``weights``, and ``voicing`` of those that estimate F0.
        """
        from importlib import metadata

        return super().describe() | {"version": metadata.version(self.distribution), "weights": self.weights}

    @property
    def weights(self) -> str:
        """Name of the weights."""
        return self.variant or self.default_variant

    def prepare(self) -> None:
        """Load the tool."""
        self.model  # noqa: B018

    @property
    def model(self) -> Any:
        """What :meth:`load` gave, loaded at first use.

        Raises
        ------
        ImportError
            The package, or one that it needs, is not installed; the message says how to.
        ModelError
            The package is broken, or its weights cannot be had.
        """
        if self._model is None:
            from .._util.numba_cache import prepare_numba_cache

            prepare_numba_cache()  # some of the tools import librosa
            try:
                self._model = self.load()
            except ImportError as error:
                raise ImportError(f"{self.name}: {error}; to install it: {self.install}") from error
            except Exception as error:
                reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
                raise ModelError(f"{self.name} cannot be loaded: {reason}; to install it: {self.install}") from error
        return self._model

    def load(self) -> Any:
        """Import the package and read the weights.

        Returns
        -------
        object
            Whatever the subclass works with.
        """
        raise NotImplementedError

    def separate_stereo(
        self, y: np.ndarray, sample_rate: int, rate: int, run: Callable[[np.ndarray], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Separate at another rate and in stereo.

        Parameters
        ----------
        y : numpy.ndarray
            ``(channels, n_samples)``, one or two channels.
        sample_rate : int
            Hz.
        rate : int
            Hz, at which the tool works.
        run : callable
            ``(2, n)`` at ``rate`` to ``{stem: (2, k)}``.

        Returns
        -------
        dict of str to numpy.ndarray
            Stems with the rate, channels and length of ``y``.

        Raises
        ------
        ValueError
            More than two channels.
        """
        from ..audio import resample

        channels, n_samples = y.shape
        if channels > 2:
            raise ValueError(f"{type(self).name} takes mono or stereo, got {channels} channels")
        stereo = resample(y, sample_rate, rate)
        stems = run(np.ascontiguousarray(np.repeat(stereo, 2, axis=0) if channels == 1 else stereo))
        found = {}
        for stem, signal in stems.items():
            signal = signal.mean(axis=0, keepdims=True) if channels == 1 else signal
            signal = resample(np.asarray(signal, np.float32), rate, sample_rate)[:, :n_samples]
            found[stem] = np.pad(signal, ((0, 0), (0, n_samples - signal.shape[1])))
        return found


def mono_at(y: np.ndarray, sample_rate: int, rate: int) -> np.ndarray:
    """The mean of the channels at another rate.

    Parameters
    ----------
    y : numpy.ndarray
        ``(channels, n_samples)``.
    sample_rate : int
        Hz.
    rate : int
        Hz, of the result.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float32.
    """
    from ..audio import resample, to_mono

    return np.ascontiguousarray(resample(to_mono(y), sample_rate, rate), dtype=np.float32)
