"""Acoustic models that people have: networks that give a letter each 20 ms, trained with CTC (wav2vec 2.0, MMS).

* ``transformers:NAME``: a repository or folder of the package ``transformers`` with a model for CTC and its vocabulary;
* ``torchaudio:BUNDLE``: a pipeline of ``torchaudio`` such as ``WAV2VEC2_ASR_BASE_960H`` or ``MMS_FA``;
* names that other packages register as entry points of the group ``stemfeatures.ctc_models``, ``NAME =
  module:function``, where ``function(model or None, device)`` returns a :class:`CtcModel`.

Words are looked for by their letters (Graves et al., ICML 2006: blanks between letters may be left out, but between two
equal ones), so that any language goes whose letters the network knows. Weights keep the licence that they have.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from ..errors import ModelError
from .cepstra import FRAME_RATE, HOP_LENGTH, SAMPLE_RATE
from .graph import with_columns
from .hints import LineHints
from .observations import CENTRE_S, MUTED, STRETCH, audible_frames
from .search import Builder, Search, told
from .text import LyricsText, backwards
from .viterbi import Emissions, best_path
from .vocals import Vocals

#: Entry points of other packages.
GROUP = "stemfeatures.ctc_models"
#: Seconds that a network hears at a time, and of what is heard around and thrown away.
WINDOW_S, MARGIN_S = 20.0, 2.0
#: Least logarithm of a probability: no letter is impossible.
_FLOOR = -15.0
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc`\u00b4"), "'")


@dataclass(frozen=True)
class CtcModel:
    """A network with letters.

    Attributes
    ----------
    name : str
        What settings call it.
    labels : tuple[str, ...]
        What each output stands for.
    silent : tuple[int, ...]
        Outputs that are no letter of a word: the blank, the one between words.
    frame_s : float
        Seconds between two outputs.
    emit : Callable[[np.ndarray], np.ndarray]
        From (n_samples,) float32 at 16 kHz to (n_frames, n_labels) logarithms of probabilities.
    """

    name: str
    labels: tuple[str, ...]
    silent: tuple[int, ...]
    frame_s: float
    emit: Callable[[np.ndarray], np.ndarray]

    def __post_init__(self) -> None:
        upper = sum(label.isupper() for label in self.labels) > sum(label.islower() for label in self.labels)
        found = {
            (label.upper() if upper else label): k
            for k, label in enumerate(self.labels)
            if len(label) == 1 and k not in self.silent
        }
        object.__setattr__(self, "_place", found)
        object.__setattr__(self, "_upper", upper)

    def spell(self, token: str) -> list[tuple[str, ...]]:
        """Letters of a token that the network knows: as they are, without their accents, or transliterated.

        Numbers are spelled as English says them where the network knows no digits. Empty where nothing is left.
        """
        text = unicodedata.normalize("NFKC", token).translate(_APOSTROPHES)
        text = re.sub(r"\d+", self._number, text)
        letters = [known for letter in text for known in self._known(letter)]
        return [tuple(letters)] if any(letter.isalnum() for letter in letters) else []

    def _known(self, letter: str) -> list[str]:
        from anyascii import anyascii

        place = self._place  # type: ignore[attr-defined]
        for tried in (letter, unicodedata.normalize("NFD", letter)[:1], anyascii(letter)):
            cased = tried.upper() if self._upper else tried.lower()  # type: ignore[attr-defined]
            if cased and all(one in place for one in cased):
                return list(cased)
        return []

    def _number(self, found: re.Match[str]) -> str:
        if all(digit in self._place for digit in found[0]):  # type: ignore[attr-defined]
            return found[0]
        from num2words import num2words

        return re.sub("[^a-z]", "", num2words(int(found[0])))

    def states(self, way: Sequence[str], k: int) -> tuple[tuple[int, float, float], ...]:
        """A letter is one state; the network itself says how long it lasts."""
        return ((self._place[way[k]], 0.0, 0.0),)  # type: ignore[attr-defined]

    def gap(self, way: Sequence[str], k: int) -> bool:
        """Blanks may stand between letters, and must between equal ones."""
        return way[k] == way[k - 1]


class CtcAcoustics:
    """A CTC model as :class:`.alignment.Aligner` asks for it.

    Its scores say whether words fit better than the same words backwards, no more: what the probabilities of a model
    that nobody has tried here are worth is not known. The confidence of a word is the geometric mean of the shares of
    its letters in the likeliest ones.

    Parameters
    ----------
    model : CtcModel
        The network.
    """

    def __init__(self, model: CtcModel) -> None:
        self.units, self.name = model, model.name
        #: A frame of the network counts once, however many frames of 10 ms it lasts.
        self.scale = 1 / (FRAME_RATE * model.frame_s)

    def say(self, token: str) -> list[tuple[str, ...]]:
        return self.units.spell(token)

    def learn(self, tokens: Sequence[str]) -> None:
        """Letters need no preparation."""

    def hear(self, vocals: Vocals) -> CtcHeard:
        n_frames = -(-len(vocals.signal) // HOP_LENGTH)
        return CtcHeard(emissions(self.units, vocals.signal), audible_frames(vocals, n_frames), self.units)

    def search(self, heard: CtcHeard, text: LyricsText, build: Builder, hints: LineHints | None) -> Search:
        """Letters of lyrics in what was heard."""
        graph = build(text, self.units)
        scores = CtcScores(heard, graph.senones, self.scale)
        path, total = best_path(scores, graph.states, **told(hints, text, graph))
        free = best_path(scores, graph.states)[1] if hints is not None else total
        _, null = best_path(scores, with_columns(build(backwards(text), self.units), graph.senones))
        return Search(graph, path, scores, total - null, total=total, lost=free - total)

    def score(self, found: Search, fit: float, n_phones: int) -> float:
        return round(1 / (1 + math.exp(-min(max(found.gain / n_phones, -60.0), 60.0))), 3)

    def confidence(self, fit: float, around: float) -> float:
        return math.exp(fit) if math.isfinite(fit) else 0.0


@dataclass(frozen=True)
class CtcHeard:
    """Log probabilities of letters in the frames of the network, and which frames of 10 ms may hold words."""

    emissions: np.ndarray
    audible: np.ndarray
    model: CtcModel


class CtcScores:
    """Scores of letters in frames of 10 ms, relative to the likeliest output; column 0 is a blank or a word's end.

    Parameters
    ----------
    heard : CtcHeard
        Of :meth:`CtcAcoustics.hear`.
    emitted : np.ndarray
        (n,) letters of the columns from 1 on.
    scale : float
        What a nat counts for in a frame of 10 ms.
    """

    def __init__(self, heard: CtcHeard, emitted: np.ndarray, scale: float) -> None:
        self.n_frames = len(heard.audible)
        self._heard, self._emitted, self._scale = heard, emitted, scale

    @property
    def stretch(self) -> int:
        """Frames whose scores are computed at a time."""
        return STRETCH

    def emissions(self, first: int, stop: int) -> Emissions:
        """Scores of frames ``first`` to ``stop``."""
        heard = self._heard
        times = np.arange(first, stop) / FRAME_RATE + CENTRE_S
        place = np.clip((times / heard.model.frame_s).astype(int), 0, len(heard.emissions) - 1)
        found = np.maximum(heard.emissions[place].astype(np.float32), _FLOOR)
        best = found.max(axis=1, keepdims=True)
        silent = found[:, list(heard.model.silent)].max(axis=1, keepdims=True)
        scores = (np.concatenate([silent, found[:, self._emitted]], axis=1) - best) * self._scale
        scores[~heard.audible[first:stop], 0] = 0
        scores[~heard.audible[first:stop], 1:] = MUTED
        return Emissions.of(np.asarray(scores, np.float32))


def emissions(model: CtcModel, signal: np.ndarray) -> np.ndarray:
    """(n_frames, n_labels) float16 log probabilities of a signal of any length, heard in windows that overlap."""
    step = max(1, round(WINDOW_S / model.frame_s))
    margin = round(MARGIN_S / model.frame_s)
    samples = model.frame_s * SAMPLE_RATE
    n_frames = max(1, math.ceil(len(signal) / samples))
    parts = []
    for first in range(0, n_frames, step):
        stop = min(first + step, n_frames)
        begin, end = max(first - margin, 0), min(stop + margin, n_frames)
        part = np.asarray(signal[round(begin * samples) : round(end * samples)], np.float32)
        # Networks without padding leave out the last frames: silence takes their place.
        part = np.pad(part, (0, max(0, round((end - begin + 2) * samples) - len(part))))
        found = np.asarray(model.emit(part))
        if found.ndim != 2 or found.shape[1] != len(model.labels) or len(found) < stop - begin:
            raise ModelError(
                f"{model.name}: expected ({end - begin}, {len(model.labels)}) log probabilities, got {found.shape}",
                stage="lyrics",
            )
        parts.append(found[first - begin : stop - begin].astype(np.float16))
    return np.concatenate(parts)


def load_ctc(name: str, *, device: str = "cpu") -> CtcModel:
    """A CTC model by name.

    Parameters
    ----------
    name : str
        ``transformers:...``, ``torchaudio:...`` or the name of an entry point, with a model behind a colon.
    device : str
        Torch device.

    Raises
    ------
    ModelError
        For a name that is not known or a model that cannot be loaded.
    ImportError
        When the package is not installed; says how to.
    """
    package, _, model = name.partition(":")
    loader = PACKAGES.get(package)
    if loader is None:
        points = metadata.entry_points(group=GROUP, name=package)
        if not points:
            known = ", ".join([*PACKAGES, *sorted(metadata.entry_points(group=GROUP).names)])
            raise ModelError(f"no acoustic model {name!r}; known: {known}", stage="lyrics")
        loader = next(iter(points)).load()
    try:
        return loader(model or None, device)
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(f"cannot load: {error}", source=name, stage="lyrics") from error


def from_transformers(model: str | None, device: str) -> CtcModel:
    """A model of ``transformers`` with a head for CTC, from a folder or a hub."""
    try:
        import torch
        from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
    except ImportError as error:
        raise ImportError("this needs transformers: pip install 'stemfeatures[ctc]'") from error
    if model is None:
        raise ValueError("which model? transformers:NAME or transformers:FOLDER")
    network = AutoModelForCTC.from_pretrained(model).to(device).eval()
    tokenizer, extractor = AutoTokenizer.from_pretrained(model), AutoFeatureExtractor.from_pretrained(model)
    vocabulary = tokenizer.get_vocab()
    labels = [""] * max(int(network.config.vocab_size), max(vocabulary.values()) + 1)
    for label, k in vocabulary.items():
        labels[k] = label
    labels = labels[: int(network.config.vocab_size)]
    delimiter = vocabulary.get(getattr(tokenizer, "word_delimiter_token", None) or "|")
    silent = [int(network.config.pad_token_id)] + ([delimiter] if delimiter is not None else [])

    @torch.inference_mode()
    def emit(signal: np.ndarray) -> np.ndarray:
        inputs = extractor(signal, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        found = network(**{name: value.to(device) for name, value in inputs.items()}).logits[0]
        return np.asarray(torch.log_softmax(found.float(), dim=-1).cpu().numpy())

    frame_s = int(network.config.inputs_to_logits_ratio) / SAMPLE_RATE
    return CtcModel(f"transformers:{model}", tuple(labels), tuple(silent), frame_s, emit)


def from_torchaudio(model: str | None, device: str) -> CtcModel:
    """A pipeline of ``torchaudio`` whose network has letters."""
    try:
        import torch
        from torchaudio import pipelines
    except ImportError as error:
        raise ImportError("this needs torchaudio of the version of torch: pip install torchaudio") from error
    bundle = getattr(pipelines, model or "", None)
    if bundle is None or not hasattr(bundle, "get_labels"):
        raise ValueError(f"torchaudio has no pipeline {model!r} with labels")
    network = bundle.get_model().to(device).eval()
    labels = tuple(bundle.get_labels())
    silent = tuple(k for k, label in enumerate(labels) if label in ("-", "|", "*"))
    if bundle.sample_rate != SAMPLE_RATE:
        raise ValueError(f"{model} wants {bundle.sample_rate} Hz, not {SAMPLE_RATE}")

    @torch.inference_mode()
    def emit(signal: np.ndarray) -> np.ndarray:
        found, _ = network(torch.from_numpy(signal)[None].to(device))
        return np.asarray(torch.log_softmax(found[0, :, : len(labels)].float(), dim=-1).cpu().numpy())

    return CtcModel(f"torchaudio:{model}", labels, silent, 320 / SAMPLE_RATE, emit)


PACKAGES: dict[str, Callable[[str | None, str], CtcModel]] = {
    "transformers": from_transformers,
    "torchaudio": from_torchaudio,
}
