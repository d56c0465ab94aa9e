"""How well frames of a recording fit what words are made of: phones by Gaussians and a network, or letters by CTC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .acoustic_model import ONSET, AcousticModel, installed_model, read_acoustic_model
from .adaptation import adapt
from .cepstra import FRAME_RATE
from .corridor import FACTOR, CoarsePhones, CoarseScores, corridor_around, spread
from .espeak import EspeakLexicon
from .graph import LyricsGraph, Units, with_columns
from .hints import LineHints
from .lexicon import Phones, pronunciations
from .observations import SCALE, FrameScores, Observations, observe
from .phone_network import SHIPPED, PhoneNetwork
from .posterior import expected_path
from .search import Builder, Search, told
from .singing import singing_model
from .text import LyricsText, share_changed, shuffled
from .viterbi import best_path
from .vocals import Vocals

#: Every how many frames are looked at, in the coarse alignment that adapts and in the one that counts.
STRIDES = (4, 2)
#: Fit of phones in nats, vowels a voiced second and scaled nats a voiced frame by which the words do better than in
#: another order, half way between right and wrong lyrics, and what they count for: a logistic regression on songs with
#: their own lyrics and with those of others, all or a few lines of them, the first moved by 0.28 nats towards right
#: ones. Phones that are sung fast fit less; faster than this words are squeezed into what is heard.
MIDDLE_FIT, MIDDLE_RATE, MIDDLE_GAIN = -3.59, 2.3, 0.13
FIT_WEIGHT, RATE_WEIGHT, GAIN_WEIGHT = 5.33, 1.14, 10.1
FASTEST = 3.5
#: With how many other orders of the words their own is compared, on average; of texts of more than so many words one
#: order tells as much, and takes long to look for. How far the best of such paths leads may be known less surely.
ORDERS, MOST_WORDS, ORDER_BEAM = 2, 600, 500.0
#: From the mean fit of a word and its neighbours in nats to its confidence: a logistic regression on whether words
#: begin within 0.3 s of where they are found, between those of generated songs (1.65, 6.07) and of recordings (1.39,
#: 6.21), see ``benchmarks/lyrics_confidence.py``.
CONFIDENCE_SLOPE, CONFIDENCE_OFFSET = 1.52, 6.14


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

    def search(self, heard: Any, text: LyricsText, build: Builder, hints: LineHints | None) -> Search:
        """Lyrics in what was heard."""
        ...

    def score(self, found: Search, fit: float, n_phones: int) -> float:
        """How well words fit, 0 to 1, from what was found, and the mean fit in nats and number of its units."""
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

    def __init__(self, network: str | Path | None = SHIPPED, language: str | None = None) -> None:
        self._lexicon = EspeakLexicon(language) if language is not None else None
        self.units = singing_model(read_acoustic_model(installed_model() / "en-us"))
        self.network = PhoneNetwork.load(network) if network is not None else None
        self.name = "pocketsphinx en-us" + ("" if network is None else f" and {Path(network).stem}")

    def say(self, token: str) -> list[Phones]:
        return pronunciations(token) if self._lexicon is None else self._lexicon(token)

    def learn(self, tokens: Sequence[str]) -> None:
        if self._lexicon is not None:
            self._lexicon.learn(tokens)

    def hear(self, vocals: Vocals) -> Any:
        return observe(vocals, self.network, self.units)

    def search(self, heard: Any, text: LyricsText, build: Builder, hints: LineHints | None) -> Search:
        """Lyrics in what was heard: coarsely, the same with Gaussians that this adapts, then finely around that."""
        graph, coarse = build(text, self.units), build(text, CoarsePhones(self.units))
        rough = CoarseScores(FrameScores(self.units, heard, coarse.senones, stride=STRIDES[0]))
        near, total = best_path(rough, coarse.states, **told(hints, text, coarse, FACTOR))
        free = best_path(rough, coarse.states)[1] if hints is not None else total
        gain, changed = self._gain(rough, text, build, hints, total, coarse.senones)
        model = _adapted(self.units, heard, near, coarse, graph)
        scores = FrameScores(model, heard, graph.senones, stride=STRIDES[1])
        rough = CoarseScores(scores)
        near, _ = best_path(rough, with_columns(coarse, graph.senones), **told(hints, text, coarse, FACTOR))
        corridor = corridor_around(near, coarse, graph) if len(near) else None
        path, _ = best_path(scores, graph.states, corridor=corridor, **told(hints, text, graph))
        if len(path):
            path = expected_path(path, graph, scores, **told(hints, text, graph))
        voiced = np.flatnonzero(heard.audible)[heard.voiced]
        rate = _vowels(path, graph) / (len(voiced) / FRAME_RATE) if len(path) and len(voiced) else 0.0
        return Search(graph, path, scores, gain, len(voiced), rate, changed, total, free - total)

    def _gain(
        self,
        rough: CoarseScores,
        text: LyricsText,
        build: Builder,
        hints: LineHints | None,
        total: float,
        columns: np.ndarray,
    ) -> tuple[float, float]:
        """By how many scaled nats words do better than in other orders, and the share of them that these change."""
        n_words = sum(token.kind == "word" for token in text.tokens)
        gains, changed = [], []
        for seed in range(ORDERS if n_words <= MOST_WORDS else 1):
            mixed = shuffled(text, seed)
            other = build(mixed, CoarsePhones(self.units))
            states = with_columns(other, columns)
            _, null = best_path(rough, states, beam=ORDER_BEAM, **told(hints, mixed, other, FACTOR))
            gains.append(total - null if np.isfinite([total, null]).all() else 0.0)
            changed.append(share_changed(text, mixed))
        return float(np.mean(gains)), float(np.mean(changed))

    def score(self, found: Search, fit: float, n_phones: int) -> float:
        rate = RATE_WEIGHT * (min(found.rate, FASTEST) - MIDDLE_RATE)
        gain = GAIN_WEIGHT * (found.gain / max(found.n_voiced, 1) - MIDDLE_GAIN * found.changed)
        return round(logistic(FIT_WEIGHT * (fit - MIDDLE_FIT) + rate + gain), 3)

    def confidence(self, fit: float, around: float) -> float:
        return logistic(CONFIDENCE_SLOPE * around + CONFIDENCE_OFFSET)


def _vowels(path: np.ndarray, graph: LyricsGraph) -> int:
    """How many vowels are sung along a path."""
    column = graph.states.column[path]
    start = (column > 0) & (graph.senones[column - 1] == ONSET)
    return int(start.sum())


def _adapted(
    model: AcousticModel, heard: Observations, path: np.ndarray, coarse: LyricsGraph, graph: LyricsGraph
) -> AcousticModel:
    """A model moved towards what sounds along a coarse path."""
    if not len(path):
        return model
    column = graph.states.column[spread(path, coarse, graph)]
    emitted = graph.senones[column - 1]
    sung = np.flatnonzero(heard.audible[::FACTOR] & (column > 0) & (emitted != ONSET))
    place = np.cumsum(heard.audible)[FACTOR * sung] - 1
    return adapt(model, heard.streams[:, place], emitted[sung])


def logistic(x: float) -> float:
    """``1 / (1 + exp(-x))`` of any number."""
    return 1 / (1 + math.exp(-min(max(x, -60.0), 60.0)))


def load_acoustics(
    name: str | None, *, device: str = "cpu", network: str | Path | None = SHIPPED, language: str | None = None
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
