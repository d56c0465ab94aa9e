"""The Gaussians of an acoustic model in the format of CMU Sphinx, and how well frames fit them.

A *phonetically tied* model: all states of a phone, in whatever context, share a codebook of Gaussians for each of the
three streams of :func:`.cepstra.streams` and differ in mixture weights. A *senone* is such a vector of weights; each
phone in context names three of them, its states in order.

The model for American English that the wheel of ``pocketsphinx`` ships (BSD licence) is read from there; install it
with the extra ``lyrics``.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from .._util.numba_cache import compiled
from ..errors import ModelError
from .viterbi import NEVER

SILENCE = "SIL"
#: Phones that are no speech: silence, and the noises of speakers and rooms.
FILLERS = frozenset({SILENCE, "+NSN+", "+SPN+"})
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
N_STATES = 3
#: Emitted by a state that is the start of a syllable and no sound; senones are counted from 0.
ONSET = -1
#: Vowels that are sung last longer than spoken ones: fewest frames of each of their states, and least probabilities of
#: staying and of leaving.
VOWEL_FRAMES, VOWEL_STAY, VOWEL_LEAVE = 3, 0.98, 0.1
#: Nats of one step of a quantised mixture weight: 1024 steps of the logarithm to the base 1.0001.
_WEIGHT_NATS = 1024 * math.log(1.0001)
_VARIANCE_FLOOR = 1e-4
_TRANSITION_FLOOR = 1e-4
#: Least share of a mixture: the product of three streams must stay above the smallest float.
_LEAST = np.float32(1e-12)
#: Smaller densities count for nothing, and numbers too small for full precision are slow.
_LEAST_EXPONENT = 31.0
_LOG2_E = 1 / math.log(2)
#: ``2 ** x - 1`` from 0 to 1 is nearly ``x (1 + curve (x - 1))``.
_CURVE = 0.3371894
#: Frames whose densities of one codebook stay in the cache.
_CHUNK = 512


@dataclass(frozen=True)
class AcousticModel:
    """Gaussian mixtures of phones in context.

    Attributes
    ----------
    phones : tuple[str, ...]
        Names of the phones without context.
    means, variances : np.ndarray
        (n_phones, 3, n_densities, 13) float32.
    weights : np.ndarray
        (3, n_densities, n_senones) uint8, minus the logarithm in steps of ``1024 log(1.0001)``.
    codebook : np.ndarray
        (n_senones,) phone whose Gaussians a senone mixes.
    stay : np.ndarray
        (n_phones, 3) probability to stay in a state for another frame.
    """

    phones: tuple[str, ...]
    means: np.ndarray
    variances: np.ndarray
    weights: np.ndarray
    codebook: np.ndarray
    stay: np.ndarray
    _senones: np.ndarray = field(repr=False)
    _triphones: dict[tuple[int, int, int, int], int] = field(repr=False)

    def senones(self, phone: str, before: str = SILENCE, after: str = SILENCE, *, position: str = "i") -> np.ndarray:
        """The three senones of a phone in context.

        Parameters
        ----------
        phone, before, after : str
            Names of the phone and its neighbours; a filler counts as silence.
        position : str
            In its word: ``b`` (first), ``i`` (inside), ``e`` (last) or ``s`` (the only one).

        Returns
        -------
        np.ndarray
            (3,). A context that the model does not have is taken from another position, then the phone without context.

        Raises
        ------
        KeyError
            For a phone that the model does not have.
        """
        index = self._index
        which = index[phone]
        left, right = (index[SILENCE if name in FILLERS else name] for name in (before, after))
        if phone not in FILLERS:
            for place in dict.fromkeys(("ibes".index(position), *range(4))):
                found = self._triphones.get((place, which, left, right))
                if found is not None:
                    return self._senones[found]
        return self._senones[which]

    def states(self, way: Sequence[str], k: int) -> tuple[tuple[int, float, float], ...]:
        """Senone, and logarithms of staying and of leaving, of the states of phone ``k`` of a word.

        A vowel begins with a frame that is the start of a syllable, and lasts as vowels do that are sung.
        """
        position = "s" if len(way) == 1 else "b" if k == 0 else "e" if k == len(way) - 1 else "i"
        before, after = way[k - 1] if k else SILENCE, way[k + 1] if k + 1 < len(way) else SILENCE
        stays = self.stay[self._index[way[k]]].tolist()
        names = self.senones(way[k], before, after, position=position).tolist()
        if way[k] not in VOWELS:
            return tuple((senone, math.log(stay), math.log(1 - stay)) for senone, stay in zip(names, stays))
        once = float(NEVER)
        states = [(ONSET, once, 0.0)]
        for senone, stay in zip(names, stays):
            states += [(senone, once, 0.0)] * (VOWEL_FRAMES - 1)
            states.append((senone, math.log(max(stay, VOWEL_STAY)), math.log(max(1 - stay, VOWEL_LEAVE))))
        return tuple(states)

    def gap(self, way: Sequence[str], k: int) -> bool | None:
        """Phones of a word follow each other at once: None."""
        return None

    @cached_property
    def plain_senones(self) -> np.ndarray:
        """(n_phones, 3) the senones of phones without context."""
        return self._senones[: len(self.phones)]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.phones)}

    def log_likelihoods(self, streams: np.ndarray, senones: Sequence[int] | np.ndarray) -> np.ndarray:
        """How well frames fit senones.

        Parameters
        ----------
        streams : np.ndarray
            (3, n_frames, 13) of :func:`.cepstra.streams`.
        senones : Sequence[int] | np.ndarray
            (n,) which.

        Returns
        -------
        np.ndarray
            (n_frames, n) float32, nats; the sum over the three streams.
        """
        return self.scorer(senones)(streams)

    def scorer(self, senones: Sequence[int] | np.ndarray) -> SenoneScorer:
        """What scores frames by these senones, for many frames that come in parts."""
        return SenoneScorer(self, np.asarray(senones))

    def mixture_weights(self, stream: int, senones: np.ndarray) -> np.ndarray:
        """(n_densities, n) float32 weights of the Gaussians of senones in a stream; they sum to about one."""
        return np.exp(-_WEIGHT_NATS * self.weights[stream][:, senones].astype(np.float32))

    def responsibilities(self, frames: np.ndarray, stream: int, senones: np.ndarray) -> np.ndarray:
        """(n_frames, n_densities) share of each Gaussian in each frame, which is one of the senone of that frame.

        All senones must be of one phone; ``frames`` is (n_frames, 13) of one stream.
        """
        density, _ = _densities(self.factors(int(self.codebook[senones[0]]), stream).T, _squares(frames).T)
        share = density.T * self.mixture_weights(stream, senones).T
        return share / np.maximum(share.sum(axis=1, keepdims=True), _LEAST)

    def factors(self, phone: int, stream: int) -> np.ndarray:
        """(27, n_densities) what squares, values and one are multiplied with to give log densities."""
        mean, precision = self.means[phone, stream], 1 / self.variances[phone, stream]
        constant = -0.5 * (mean**2 * precision + np.log(2 * np.pi / precision)).sum(axis=1)
        return np.concatenate([-0.5 * precision, mean * precision, constant[:, None]], axis=1).T.astype(np.float32)


class SenoneScorer:
    """Scores frames by some senones of a model; keeps what does not depend on the frames.

    Parameters
    ----------
    model : AcousticModel
        Its Gaussians.
    senones : np.ndarray
        (n,) which.
    """

    def __init__(self, model: AcousticModel, senones: np.ndarray) -> None:
        self.n_senones = len(senones)
        codebook, n_streams = model.codebook[senones], model.means.shape[1]
        #: Of each phone the columns of its senones, and of each stream its Gaussians and how they are mixed.
        self._phones = []
        for phone in np.unique(codebook).tolist():
            columns = np.flatnonzero(codebook == phone)
            factors = [model.factors(phone, stream).T for stream in range(n_streams)]
            weights = [model.mixture_weights(stream, senones[columns]).T for stream in range(n_streams)]
            self._phones.append((columns, factors, weights))

    def __call__(self, streams: np.ndarray) -> np.ndarray:
        """(n_frames, n) of (3, n_frames, 13), as :meth:`AcousticModel.log_likelihoods`."""
        out = np.empty((streams.shape[1], self.n_senones), np.float32)
        inputs = [_squares(frames) for frames in streams]
        for columns, factors, weights in self._phones:
            for first in range(0, len(out), _CHUNK):
                part = slice(first, first + _CHUNK)
                out[part, columns] = _mixtures([frames[part].T for frames in inputs], factors, weights).T
        return out


def _squares(frames: np.ndarray) -> np.ndarray:
    ones = np.ones((len(frames), 1), np.float32)
    return np.concatenate([frames**2, frames, ones], axis=1)


def _mixtures(inputs: list[np.ndarray], factors: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    """(n, n_frames) log likelihoods of frames of three streams under the senones of a phone."""
    product = np.ones((len(weights[0]), inputs[0].shape[1]), np.float32)
    offset = np.zeros(inputs[0].shape[1], np.float32)
    for frames, factor, weight in zip(inputs, factors, weights):
        density, best = _densities(factor, frames)
        offset += best
        product *= np.maximum(weight @ density, _LEAST)
    found: np.ndarray = np.log(product) + offset
    return found


def _densities(factors: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n_densities, n_frames) of Gaussians relative to the largest of each frame, and (n_frames,) logarithm of that."""
    logs = factors @ frames
    density, best = np.empty_like(logs), np.empty(logs.shape[1], np.float32)
    _exponentials(logs, best, density.view(np.int32))
    return density, best


@compiled(fastmath=True)
def _exponentials(logs: np.ndarray, best: np.ndarray, bits: np.ndarray) -> None:  # pragma: no cover - compiled
    """Fill ``best`` with the largest of each column, and ``bits``, the memory of floats, with ``exp(logs - best)``.

    The exponent of a float is a logarithm to the base two, and its mantissa nearly one between two powers (Schraudolph,
    Neural Computation 11, 1999); a parabola takes most of the rest away, what is left is within 0.4 %. Both loops run
    along the frames, in which nothing depends on what stands beside it, so that compilers vectorise them.
    """
    n, n_frames = logs.shape
    for t in range(n_frames):
        best[t] = logs[0, t]
    for k in range(1, n):
        for t in range(n_frames):
            value = logs[k, t]
            best[t] = value if value > best[t] else best[t]
    for k in range(n):
        for t in range(n_frames):
            power = max(logs[k, t] - best[t], np.float32(-_LEAST_EXPONENT)) * np.float32(_LOG2_E) + np.float32(127)
            whole = np.float32(np.int32(power))
            part = power - whole
            curve = part * (np.float32(1) + np.float32(_CURVE) * (part - np.float32(1)))
            bits[k, t] = np.int32((whole + curve) * np.float32(1 << 23))


def installed_model() -> Path:
    """The folder of the model in the wheel of ``pocketsphinx``.

    Raises
    ------
    ImportError
        When the package is not installed; says how to.
    """
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        raise ImportError("lyrics need the acoustic model in pocketsphinx: pip install 'stemfeatures[lyrics]'")
    return Path(spec.origin).parent / "model" / "en-us"


@lru_cache(maxsize=2)
def read_acoustic_model(folder: Path) -> AcousticModel:
    """Read ``means``, ``variances``, ``sendump``, ``transition_matrices`` and ``mdef`` of a folder.

    Raises
    ------
    ModelError
        When a file is missing or is not what it should be; names it.
    """
    try:
        definition = _Definition((folder / "mdef").read_bytes())
        means, variances = (_gaussians((folder / name).read_bytes()) for name in ("means", "variances"))
        weights = _weights((folder / "sendump").read_bytes())
        transitions = _transitions((folder / "transition_matrices").read_bytes())
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(f"no acoustic model of CMU Sphinx: {error}", source=str(folder)) from error
    shape = (len(definition.phones), 3, weights.shape[1], means.shape[-1])
    if means.shape != shape or variances.shape != shape or weights.shape[2] != definition.n_senones:
        raise ModelError("the files of the acoustic model do not fit each other", source=str(folder))
    return AcousticModel(
        definition.phones,
        means,
        np.maximum(variances, _VARIANCE_FLOOR),
        weights,
        definition.codebook,
        np.diagonal(transitions, axis1=1, axis2=2)[definition.transition[: len(definition.phones)]],
        definition.senones,
        definition.triphones,
    )


class _Definition:
    """``mdef``: phones, phones in context, and the senones of each."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != b"BMDF":
            raise ValueError("mdef is not in the binary little-endian form")
        start = 12 + int.from_bytes(data[8:12], "little")
        counts = np.frombuffer(data, "<i4", 10, start)
        n_phones, n_all, n_states, _, self.n_senones, _, n_sequences, n_context, n_tree, _ = (int(c) for c in counts)
        if n_states != N_STATES or n_context != 3:
            raise ValueError(f"mdef has {n_states} states a phone and {n_context} phones of context, expected 3 and 3")
        place = start + 40
        names = data[place:].split(b"\0", n_phones)[:n_phones]
        self.phones = tuple(name.decode("ascii") for name in names)
        place += (sum(len(name) + 1 for name in names) + 3) // 4 * 4 + 8 * n_tree
        entry = np.dtype([("sequence", "<i4"), ("transition", "<i4"), ("context", "u1", 4)])
        entries = np.frombuffer(data, entry, n_all, place)
        place += entry.itemsize * n_all + 4
        sequences = np.frombuffer(data, "<u2", n_sequences * N_STATES, place).reshape(-1, N_STATES).astype(np.int64)
        self.senones = sequences[entries["sequence"]]
        self.transition = entries["transition"]
        context = entries["context"].astype(int)
        self.triphones = {tuple(row): n_phones + k for k, row in enumerate(context[n_phones:].tolist())}
        phone_of = np.concatenate([np.arange(n_phones), context[n_phones:, 1]])
        self.codebook = np.zeros(self.n_senones, np.int64)
        self.codebook[self.senones] = phone_of[:, None]


def _body(data: bytes) -> tuple[np.ndarray, int]:
    """The words of a file after its textual header and mark of byte order."""
    start = data.index(b"endhdr\n") + 7
    if data[start : start + 4] != b"\x44\x33\x22\x11":
        raise ValueError("not in little-endian form")
    return np.frombuffer(data[start + 4 :][: (len(data) - start - 4) // 4 * 4], "<u4"), start


def _gaussians(data: bytes) -> np.ndarray:
    words, _ = _body(data)
    n_codebooks, n_streams, n_densities = (int(w) for w in words[:3])
    lengths = words[3 : 3 + n_streams]
    if n_streams != 3 or len(set(lengths.tolist())) != 1:
        raise ValueError(f"expected three streams of one size, found {lengths.tolist()}")
    count, first = int(words[3 + n_streams]), 4 + n_streams
    values = words[first : first + count].view("<f4")
    return values.reshape(n_codebooks, n_streams, n_densities, int(lengths[0])).astype(np.float32)


def _transitions(data: bytes) -> np.ndarray:
    """(n, 3, 4) probabilities from counts."""
    words, _ = _body(data)
    n, rows, columns, count = (int(w) for w in words[:4])
    counts = words[4 : 4 + count].view("<f4").reshape(n, rows, columns).astype(np.float64)
    shares = counts / counts.sum(axis=2, keepdims=True)
    shares = np.where(counts > 0, np.maximum(shares, _TRANSITION_FLOOR), 0)
    return shares / shares.sum(axis=2, keepdims=True)


def _weights(data: bytes) -> np.ndarray:
    place, facts = 0, {}
    while length := int.from_bytes(data[place : place + 4], "little"):
        key, _, value = data[place + 4 : place + 3 + length].decode("latin-1").partition(" ")
        facts[key] = value
        place += 4 + length
    if int(facts.get("cluster_count", 0)) or int(facts.get("feature_count", 0)) != 3:
        raise ValueError("sendump is not one of three streams without clusters")
    rows, columns = (int(n) for n in np.frombuffer(data, "<i4", 2, place + 4))
    return np.frombuffer(data, np.uint8, 3 * rows * columns, place + 12).reshape(3, rows, columns)
