"""How well frames of a recording fit what words are made of: phones by Gaussians and a network, or letters by CTC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .acoustic_model import ONSET, installed_model, read_acoustic_model
from .adaptation import adapt
from .espeak import EspeakLexicon
from .graph import Units
from .lexicon import Phones, pronunciations
from .observations import SCALE, FrameScores, observe
from .phone_network import PhoneNetwork
from .viterbi import FrameRows, StateGraph, best_path
from .vocals import Vocals

#: Every how many frames are looked at, in the alignment that adapts and in the one that counts.
STRIDES = (4, 2)
#: Gain on the same lyrics backwards and fit of phones half way between right and wrong lyrics, what a nat of each
#: counts for, and the most gain that counts: chosen on generated songs with their own lyrics and with those of others.
MIDDLE_GAIN, MIDDLE_FIT = 3.0, -4.55
GAIN_WEIGHT, FIT_WEIGHT = 0.4, 2.8
MOST_GAIN = 6.0
#: From the mean fit of a word and its neighbours in nats to its confidence: a logistic regression on whether words of
#: generated songs are found within 0.3 s of where they begin.
CONFIDENCE_SLOPE, CONFIDENCE_OFFSET = 0.94, 5.6


class Heard(Protocol):
    """A recording as an acoustic model sees it."""

    @property
    def audible(self) -> np.ndarray:
        """(n_frames,) bool, the frames that may hold words."""
        ...


class Acoustics(Protocol):
    """What :class:`.alignment.Aligner` asks of an acoustic model."""

    @property
    def name(self) -> str:
        """What settings call it."""
        ...

    @property
    def units(self) -> Units:
        """What states emit."""
        ...

    @property
    def scale(self) -> float:
        """What a nat of its scores was multiplied with."""
        ...

    def say(self, token: str) -> list[Phones]:
        """The ways to say a token, in the units' names."""
        ...

    def learn(self, tokens: Sequence[str]) -> None:
        """Get ready to say tokens, where that is cheaper for all at once."""
        ...

    def hear(self, vocals: Vocals) -> Heard:
        """What is looked at of vocals."""
        ...

    def path(
        self, heard: Any, states: StateGraph, emitted: np.ndarray, **told: Any
    ) -> tuple[np.ndarray, FrameRows, float]:
        """The state of each frame, the scores of all frames, and the sum along the path; ``told`` as of best_path."""
        ...

    def score(self, gain: float, fit: float) -> float:
        """How well words fit, 0 to 1, from gain on the words backwards and mean fit, in nats a unit."""
        ...

    def confidence(self, fit: float, around: float) -> float:
        """Of a word, 0 to 1, from its mean fit and that of two words on either side too."""
        ...


class PhoneAcoustics:
    """Phones in context by the Gaussians that ``pocketsphinx`` ships, and a phone network beside them.

    Parameters
    ----------
    network : str | Path | None
        File of a :class:`.phone_network.PhoneNetwork`; None leaves it to the Gaussians.
    language : str | None
        Of words that ``espeak-ng`` says, see :class:`.espeak.EspeakLexicon`; None is English, from the dictionary.

    Raises
    ------
    ModelError
        When a model cannot be used.
    ImportError
        When the extra ``lyrics`` is not installed; says how to.
    """

    scale = SCALE

    def __init__(self, network: str | Path | None = None, language: str | None = None) -> None:
        self._lexicon = EspeakLexicon(language) if language is not None else None
        self.units = read_acoustic_model(installed_model() / "en-us")
        self.network = PhoneNetwork.load(network) if network is not None else None
        self.name = "pocketsphinx en-us" + ("" if network is None else f" and {Path(network).stem}")

    def say(self, token: str) -> list[Phones]:
        return pronunciations(token) if self._lexicon is None else self._lexicon(token)

    def learn(self, tokens: Sequence[str]) -> None:
        if self._lexicon is not None:
            self._lexicon.learn(tokens)

    def hear(self, vocals: Vocals) -> Any:
        return observe(vocals, self.network, self.units.phones)

    def path(
        self, heard: Any, states: StateGraph, emitted: np.ndarray, **told: Any
    ) -> tuple[np.ndarray, FrameRows, float]:
        model = self.units
        for k, stride in enumerate(STRIDES):
            scores = FrameScores(model, heard, emitted, stride=stride)
            path, total = best_path(scores, states, **told)
            if len(path) and k + 1 < len(STRIDES):
                column = states.column[path][heard.audible]
                sung = np.flatnonzero((column > 0) & (emitted[column - 1] != ONSET))[::stride]
                model = adapt(model, heard.streams[:, sung], emitted[column[sung] - 1])
        return path, scores, total

    def score(self, gain: float, fit: float) -> float:
        known = min(gain, MOST_GAIN) - MIDDLE_GAIN
        return round(logistic(GAIN_WEIGHT * known + FIT_WEIGHT * (fit - MIDDLE_FIT)), 3)

    def confidence(self, fit: float, around: float) -> float:
        return logistic(CONFIDENCE_SLOPE * around + CONFIDENCE_OFFSET)


def logistic(x: float) -> float:
    """``1 / (1 + exp(-x))`` of any number."""
    return 1 / (1 + math.exp(-min(max(x, -60.0), 60.0)))


def load_acoustics(
    name: str | None, *, device: str = "cpu", network: str | Path | None = None, language: str | None = None
) -> Acoustics:
    """An acoustic model by name.

    Parameters
    ----------
    name : str | None
        None: that of phones; else a CTC model, see :func:`.ctc.load_ctc`, which reads any language by its letters.
    device : str
        Torch device of CTC models.
    network, language : str | Path | None, str | None
        As of :class:`PhoneAcoustics`.
    """
    if name is None:
        return PhoneAcoustics(network, language)
    from .ctc import CtcAcoustics, load_ctc

    return CtcAcoustics(load_ctc(name, device=device))
