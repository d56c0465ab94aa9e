"""What the vocals say of each frame: streams of cepstra, phones, and which frames may hold words at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._util.large_arrays import release, rows
from ..constants import FRAME_RATE as VOICING_RATE
from .acoustic_model import FILLERS, ONSET, SILENCE, VOWELS, AcousticModel
from .cepstra import FRAME_RATE, SAMPLE_RATE, WINDOW_LENGTH, cepstra_of_mel, mel_power, streams
from .onsets import onset_scores
from .phone_network import STRIDE, PhoneFeatures, PhoneNetwork
from .viterbi import Emissions
from .vocals import Vocals, within_reach

#: From the start of a frame to its centre.
CENTRE_S = WINDOW_LENGTH / SAMPLE_RATE / 2
#: Logarithms of three streams that are not independent, at 100 frames a second, are far too sure of themselves.
SCALE = 0.3
#: Nats a frame by which a pause is worse than the best phone, at most: what sounds there is none of the words.
GARBAGE = 5.0
#: Share of a phone network in a score, where one is given, chosen on generated songs; the rest is the Gaussians'.
#: What its nats count for, and the least of them: one that is sure of a wrong phone must not forbid the right one.
NETWORK_SHARE, NETWORK_SCALE, NETWORK_FLOOR = 0.4, 0.3, -5.0
#: Scaled nats a frame for a pause where somebody sings, and for a vowel where nothing has a pitch.
VOICED_PAUSE, UNVOICED_VOWEL = -1.0, -0.5
#: Scaled nats a frame for a word where somebody may sing, and where nobody does.
DOUBTFUL, MUTED = -1.0, -8.0
#: Mean power of a mel band, relative to that of the strongest one, below which the recording holds nothing there, as
#: of telephones and of files at 8 or 11 kHz. Bands of whole recordings have 0.002 and more.
EMPTY_BAND = 1e-4
#: What a nat of the start of a syllable counts for, and the least and most nats.
ONSET_SCALE, LEAST_ONSET, MOST_ONSET = 4.0, -2.0, 3.0
#: Share of the mixture in the cepstra of vocals that were separated from it. Masks that take away what was the voice
#: leave holes in the spectrum, and what they leave of the rest comes and goes: in the mean of both logarithms holes are
#: half as deep.
MIXTURE_SHARE = 0.5
#: Kinds of columns.
_PAUSE, _CONSONANT, _VOWEL, _START = range(4)
#: Scores of a song of five minutes take 80 MB. What takes more than the first is kept in a file, what takes more than
#: the second is computed each time.
MEMORY_BYTES, HELD_BYTES = 128_000_000, 400_000_000
#: Most frames whose scores are computed, or looked at in a file, at a time, and what they may take.
STRETCH, STRETCH_BYTES = 10_000, 64_000_000
#: Audible frames that are scored at a time.
_BLOCK = 2_048


Colour = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
NetworkFeatures = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Observations:
    """Frames of 10 ms; frame ``k`` is centred on ``0.01 k + CENTRE_S`` seconds.

    Attributes
    ----------
    streams : np.ndarray
        (3, n_audible, 13) of the audible frames.
    audible : np.ndarray
        (n_frames,) bool, those near voiced frames.
    voiced : np.ndarray
        (n_audible,) bool, which of the audible frames have a pitch.
    phones : np.ndarray | None
        (ceil(n_audible / STRIDE), n_phones) float32, nats by which each phone of the acoustic model is less likely than
        the likeliest that is no filler, as a phone network says of every :data:`.phone_network.STRIDE` audible frames;
        None without one.
    onset : np.ndarray | None
        (n_audible,) float32, nats by which a frame is more likely where a syllable starts than elsewhere; None takes
        all frames for equal.
    doubtful : np.ndarray | None
        (n_audible,) bool, which of the audible frames are near no voiced frame, but near one that may be
        voiced; None where none is.
    """

    streams: np.ndarray
    audible: np.ndarray
    voiced: np.ndarray
    phones: np.ndarray | None = None
    onset: np.ndarray | None = None
    doubtful: np.ndarray | None = None


def observe(vocals: Vocals, network: PhoneNetwork | None = None, model: AcousticModel | None = None) -> Observations:
    """Streams of cepstra of the frames near voiced ones, less their mean, and what a network says of phones.

    Parameters
    ----------
    vocals : Vocals
        Of :class:`.vocals.VocalSeparator`.
    network : PhoneNetwork | None
        Says how likely phones are.
    model : AcousticModel | None
        The Gaussians that it is told of.
    """
    return _observed(vocals, network, model)[0]


def network_features(vocals: Vocals, model: AcousticModel, colour: Colour | None = None) -> NetworkFeatures:
    """What a phone network is told of vocals.

    Parameters
    ----------
    vocals : Vocals
        Of :class:`.vocals.VocalSeparator`.
    model : AcousticModel
        The Gaussians that it is told of.
    colour : Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None
        Changes (n_frames, 25) power in mel bands of the vocals and of the mixture, as training does.

    Returns
    -------
    audible : np.ndarray
        (n_frames,) bool, of 10 ms.
    features : np.ndarray
        (ceil(n_audible / 2), n_features) of every other audible frame; :class:`.phone_network.PhoneFeatures`.
    """
    seen, features = _observed(vocals, None, model, colour, wanted=True)
    return seen.audible, features[:] if features is not None else np.zeros((0, 0), np.float32)


def _observed(
    vocals: Vocals,
    network: PhoneNetwork | None,
    model: AcousticModel | None,
    colour: Colour | None = None,
    *,
    wanted: bool = False,
) -> tuple[Observations, PhoneFeatures | None]:
    """Observations, and features of a network where there is one or they are wanted."""
    mel = mel_power(vocals.signal)
    mixture = None if vocals.mixture is None else mel_power(vocals.mixture)
    onsets = onset_scores(mel)
    if colour is not None:
        mel, mixed = colour(mel, mel if mixture is None else mixture)
        mixture = None if mixture is None else mixed
    sure = audible_frames(vocals, len(mel))
    found = _cepstra(mel, mixture, sure)
    if not sure.any():
        return Observations(streams(found[:0]), sure, sure[:0]), None
    audible = sure | audible_frames(vocals, len(mel), perhaps=True)
    voiced = vocals.voiced[_nearest(vocals, len(sure))][audible]
    frames = np.flatnonzero(audible)
    seen = streams(found, found[sure].mean(axis=0), frames)
    del found
    features = phones = None
    if model is not None and (network is not None or wanted):
        powers = (mel, mel if mixture is None else mixture)
        features = PhoneFeatures(model, seen[:, ::STRIDE], powers, frames[::STRIDE], np.flatnonzero(sure))
    if network is not None and model is not None and features is not None:
        phones = _phones(network, features, model.phones)
    return Observations(seen, audible, voiced, phones, onsets[audible], ~sure[audible]), features


def _cepstra(mel: np.ndarray, mixture: np.ndarray | None, audible: np.ndarray) -> np.ndarray:
    """(n_frames, 13) of the vocals, with the mixture in part."""
    found = cepstra_of_mel(without_empty_bands(mel, audible))
    if mixture is None:
        return found
    found += np.float32(MIXTURE_SHARE) * (cepstra_of_mel(without_empty_bands(mixture, audible)) - found)
    return found


def without_empty_bands(mel: np.ndarray, audible: np.ndarray) -> np.ndarray:
    """Bands that hold nothing, as those above half of a low sample rate, at their mean.

    What differs between their frames comes from a resampler or codec and is far below all phones, but logarithms make
    it as large as what differs in others.

    Parameters
    ----------
    mel : np.ndarray
        (n_frames, n_bands) power; stays as it is.
    audible : np.ndarray
        (n_frames,) bool, frames that tell which bands are empty.

    Returns
    -------
    np.ndarray
        (n_frames, n_bands).
    """
    if not audible.any():
        return mel
    mean = mel[audible].mean(axis=0, dtype=float)
    empty = mean < EMPTY_BAND * mean.max()
    return np.where(empty, mean.astype(mel.dtype), mel) if empty.any() else mel


def _phones(network: PhoneNetwork, features: PhoneFeatures, names: Sequence[str]) -> np.ndarray:
    """(n_frames, n_phones) nats relative to the likeliest phone that is no filler."""
    columns = network.columns(names)
    speech = np.array([name not in FILLERS for name in names])
    out = rows((len(features), len(names)))
    first = 0
    for ratios in network.log_ratios_in_parts(features):
        found = np.stack([ratios[:, some].max(axis=1) for some in columns], axis=1)
        found -= found[:, speech].max(axis=1, keepdims=True)
        out[first : first + len(found)] = np.maximum(found, NETWORK_FLOOR)
        first += len(found)
    return out


def audible_frames(vocals: Vocals, n_frames: int, *, perhaps: bool = False) -> np.ndarray:
    """Frames in which words are looked for.

    Parameters
    ----------
    vocals : Vocals
        Where somebody sings.
    n_frames : int
        Of 10 ms.
    perhaps : bool
        Count frames that may be voiced, too, where they are known.

    Returns
    -------
    np.ndarray
        (n_frames,) bool, those no further than :data:`.vocals.REACH_S` from a voiced one.
    """
    voiced = vocals.perhaps_voiced if perhaps and vocals.perhaps_voiced is not None else vocals.voiced
    reach = within_reach(voiced)
    return reach[_nearest(vocals, n_frames)] if len(reach) else np.zeros(n_frames, bool)


def _nearest(vocals: Vocals, n_frames: int) -> np.ndarray:
    """(n_frames,) index of the frame of voicing nearest to each frame of 10 ms."""
    times = np.arange(n_frames) / FRAME_RATE + CENTRE_S
    return np.clip(np.rint(times * VOICING_RATE).astype(int), 0, len(vocals.voiced) - 1)


class PhoneScorer:
    """How well audible frames sound like senones, relative to the best phone without context.

    Parameters
    ----------
    model : AcousticModel
        Its Gaussians.
    senones : np.ndarray
        (n,) which; :data:`.acoustic_model.ONSET` is no sound and stays 0.
    """

    def __init__(self, model: AcousticModel, senones: np.ndarray) -> None:
        self.n_columns = len(senones) + 1
        self._onset = senones == ONSET
        self._plain = model.plain_senones
        senones = np.where(self._onset, self._plain[0, 0], senones)  # any will do there: its column is written last
        # Senones of phones without context are scored twice where the graph has them too: cheaper than to gather them.
        self._score = model.scorer(np.concatenate([senones, self._plain.ravel()]))
        self._filler = np.array([name in FILLERS for name in model.phones])
        self._silence, self._phone = model.phones.index(SILENCE), model.codebook[senones]

    def __call__(self, seen: Observations, first: int, stop: int, *, stride: int = 1) -> np.ndarray:
        """Scores of every so many audible frames.

        Parameters
        ----------
        seen : Observations
            Of :func:`observe`.
        first, stop : int
            Audible frames from and to which; ``first`` is a multiple of ``stride``.
        stride : int
            Look at every so many frames.

        Returns
        -------
        np.ndarray
            (ceil((stop - first) / stride), n + 1) float32, times :data:`SCALE`; column 0 is the pause.
        """
        n = self.n_columns - 1
        found = self._score(seen.streams[:, first:stop:stride])
        phones = found[:, n:].reshape(len(found), *self._plain.shape).max(axis=2)
        best = phones[:, ~self._filler].max(axis=1, keepdims=True)
        scores = np.empty((len(found), n + 1), np.float32)
        np.subtract(found[:, :n], best, out=scores[:, 1:])
        scores[:, 1:] *= SCALE
        scores[:, 0] = SCALE * np.maximum((phones[:, self._filler] - best).max(axis=1), -GARBAGE)
        if seen.phones is not None:
            said = NETWORK_SHARE * NETWORK_SCALE * seen.phones[np.arange(first, stop, stride) // STRIDE]
            scores *= 1 - NETWORK_SHARE
            scores[:, 0] += said[:, self._silence]
            scores[:, 1:] += said[:, self._phone]
        scores[:, 1 + np.flatnonzero(self._onset)] = 0
        return scores


class FrameScores:
    """Scores of senones in all frames, for :func:`.viterbi.best_path`.

    Parameters
    ----------
    model : AcousticModel
        Its Gaussians.
    observations : Observations
        Of :func:`observe`.
    senones : np.ndarray
        (n,) which; column ``k + 1`` is ``senones[k]``, column 0 a pause.
    stride : int
        Look at every so many audible frames and take the same sound for those between; voicing and starts of
        syllables are those of each frame.
    held_bytes : int
        Scores that take more are not kept, but computed each time they are asked for; those that take more than
        :data:`MEMORY_BYTES` are kept in a file.

    Attributes
    ----------
    n_frames : int
        All frames, inaudible ones too: there only a pause is likely.
    """

    def __init__(
        self,
        model: AcousticModel,
        observations: Observations,
        senones: np.ndarray,
        *,
        stride: int = 1,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        self.n_frames = len(observations.audible)
        self._observations, self._stride = observations, stride
        self._score = PhoneScorer(model, senones)
        #: Audible frames before each frame.
        self._before = np.concatenate([[0], np.cumsum(observations.audible)])
        vowels = [model.phones.index(name) for name in VOWELS]
        kind = np.where(np.isin(model.codebook[senones], vowels), _VOWEL, _CONSONANT)
        self._kind = np.append(_PAUSE, np.where(senones == ONSET, _START, kind)).astype(np.int32)
        size = self._before[-1] // stride * self._score.n_columns * 4
        self._held = self._table(0, int(self._before[-1])) if size <= held_bytes else None
        self._in_memory = self._held is not None and size <= MEMORY_BYTES

    @property
    def stretch(self) -> int:
        """All frames where scores are kept in memory, else as many as :data:`STRETCH` and its bytes allow."""
        if self._in_memory:
            return self.n_frames
        return max(min(STRETCH, STRETCH_BYTES // (4 * self._score.n_columns) * self._stride), 1)

    def emissions(self, first: int, stop: int) -> Emissions:
        """Scores of frames ``first`` to ``stop``."""
        begin, end = int(self._before[first]), int(self._before[stop])
        start = begin - begin % self._stride  # the same frames are looked at, wherever a block begins
        if self._held is not None:
            release(self._held)
        table = self._table(start, end) if self._held is None else self._held
        audible = self._observations.audible[first:stop]
        place = self._before[first:stop] // self._stride - (start // self._stride if self._held is None else 0)
        row = np.where(audible, place, len(table) - 1).astype(np.int32)
        return Emissions(table, row, self._kind, self._extra(first, stop, begin, end))

    def _table(self, start: int, end: int) -> np.ndarray:
        """Rows of the audible frames from one to another, and one of zeros, for those that are not."""
        n_rows, n_columns = -(-(end - start) // self._stride), self._score.n_columns
        table = rows((n_rows + 1, n_columns), in_memory=MEMORY_BYTES)
        for row in range(0, n_rows, _BLOCK):
            first = start + row * self._stride
            stop = min(first + _BLOCK * self._stride, end)
            table[:n_rows][row : row + _BLOCK] = self._score(self._observations, first, stop, stride=self._stride)
            release(table, self._observations.streams)
        table[n_rows] = 0
        return table

    def _extra(self, first: int, stop: int, begin: int, end: int) -> np.ndarray:
        """(stop - first, 4) what is added to a pause, a consonant, a vowel and the start of a syllable."""
        seen = self._observations
        extra = np.full((stop - first, 4), MUTED, np.float32)
        extra[:, _PAUSE] = 0
        audible, voiced = seen.audible[first:stop], seen.voiced[begin:end]
        extra[audible, _PAUSE] = np.where(voiced, VOICED_PAUSE, 0)
        extra[audible, _CONSONANT] = 0
        extra[audible, _VOWEL] = np.where(voiced, 0, UNVOICED_VOWEL)
        starts = np.zeros(end - begin) if seen.onset is None else seen.onset[begin:end]
        extra[audible, _START] = ONSET_SCALE * np.clip(starts, LEAST_ONSET, MOST_ONSET)
        if seen.doubtful is not None:
            doubtful = np.zeros(stop - first, bool)
            doubtful[audible] = seen.doubtful[begin:end]
            extra[doubtful, _CONSONANT] += DOUBTFUL
            extra[doubtful, _VOWEL] += DOUBTFUL
        return extra
