"""What all plug-ins share: how a tool is found, loaded and described, and fed what it was made for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .._util.numba_cache import prepare_numba_cache
from ..audio import resample, to_mono
from ..errors import ModelError
from .base import BaseEstimator


@dataclass
class Plugin(BaseEstimator):
    """A tool of its own package; ``variant`` names its weights, None takes the tool's default ones."""

    #: Module that must be there, distribution that holds it, and how to install it.
    module: ClassVar[str] = ""
    distribution: ClassVar[str] = ""
    install: ClassVar[str] = ""
    default_variant: ClassVar[str] = ""
    tool: ClassVar[str] = ""

    variant: str | None = None
    device: str = "cpu"
    _model: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.variant and not self.default_variant:
            raise ModelError(f"{self.tool} has one set of weights, {self.variant!r} cannot be chosen")
        self.name = f"{self.tool}:{self.variant}" if self.variant else self.tool

    def __getstate__(self) -> dict[str, Any]:
        """Travels between processes without its weights."""
        return self.__dict__ | {"_model": None}

    @classmethod
    def installed(cls) -> bool:
        """Whether the package is there; imports nothing of it."""
        return importlib.util.find_spec(cls.module) is not None

    def describe(self) -> dict[str, str]:
        from importlib import metadata

        return super().describe() | {"version": metadata.version(self.distribution), "weights": self.weights}

    @property
    def weights(self) -> str:
        return self.variant or self.default_variant

    def prepare(self) -> None:
        self.model  # noqa: B018

    @property
    def model(self) -> Any:
        """What :meth:`load` gave, loaded at first use.

        Raises
        ------
        ImportError : the package, or one it needs, is not installed; says how to.
        ModelError : the package is broken, or its weights cannot be had.
        """
        if self._model is None:
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
        """Import the package and read the weights."""
        raise NotImplementedError

    def _separate_stereo(
        self, y: np.ndarray, sample_rate: int, rate: int, run: Callable[[np.ndarray], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """``run`` on stereo at ``rate``; stems come back with the rate, channels and length of ``y``."""
        channels, n_samples = y.shape
        if channels > 2:
            raise ValueError(f"{self.tool} takes mono or stereo, got {channels} channels")
        stereo = resample(y, sample_rate, rate)
        stems = run(np.ascontiguousarray(np.repeat(stereo, 2, axis=0) if channels == 1 else stereo))
        found = {}
        for stem, signal in stems.items():
            signal = signal.mean(axis=0, keepdims=True) if channels == 1 else signal
            signal = resample(np.asarray(signal, np.float32), rate, sample_rate)[:, :n_samples]
            found[stem] = np.pad(signal, ((0, 0), (0, n_samples - signal.shape[1])))
        return found


def mono_at(y: np.ndarray, sample_rate: int, rate: int) -> np.ndarray:
    """(n,) float32, the mean of the channels, at ``rate``."""
    return np.ascontiguousarray(resample(to_mono(y), sample_rate, rate), dtype=np.float32)
