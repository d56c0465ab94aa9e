"""Words in time: lyrics aligned with a recording.

The vocals are separated and their voicing found by the network, their cepstra are scored by Gaussians of phones in
context. A first, coarse alignment adapts the Gaussians to the singer; around the most likely path of a second one with
those, the path on which most words may be expected to begin where they do gives the times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..models import checkpoints
from .acoustic_model import ONSET
from .acoustics import Acoustics, Heard, load_acoustics
from .cepstra import FRAME_RATE
from .graph import GraphCosts, LyricsGraph, Units, build_graph
from .hints import LineHints
from .observations import CENTRE_S
from .phone_network import SHIPPED
from .search import Search
from .text import LyricsText, parse_lyrics, without_chords
from .versions import versions_of
from .vocals import Vocals, VocalSeparator

STATUSES = ("ok", "no_fit", "no_vocals", "no_words")
#: Added to all times. Without it words come 0.01 s after those of generated songs and 0.09 s before those of UltraStar
#: songs whose labels are taken to lead by 75 ms; this stands between.
LAG_S = 0.05
#: Fit in nats of a word that lies in silence.
UNHEARD = 5.0
#: Lyrics whose score is lower do not fit.
LEAST_SCORE = 0.5
#: Times of lines are left aside if words do better without them, by so many scaled nats a word. Right ones, and those
#: moved by a second, cost 1.1 at most, those moved by two 2.6 to 16, in three recordings.
MOST_LOST = 2.0
#: Texts of more characters than this, and so many a second of the recording, are not its lyrics: nobody raps half as
#: fast, and to look for them takes long.
MOST_CHARACTERS, MOST_CHARACTERS_A_SECOND = 5000, 100


@dataclass(frozen=True)
class AlignedPhone:
    """A phone of a word. ``start_s`` and ``end_s`` in seconds from the first sample."""

    phone: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class AlignedWord:
    """A token of the lyrics and when it is sung.

    Attributes
    ----------
    word : str
        As it stands in the lyrics.
    index : int
        Of the token in the lyrics.
    line : int
        Index of its line.
    start_s, end_s : float | None
        Seconds from the first sample; None where it is not sung, or is no word.
    confidence : float | None
        0 to 1: how often words that fit as well as this and its neighbours begin within 0.3 s of where they are said
        to; None where it is not sung.
    phones : tuple[AlignedPhone, ...]
        Of the pronunciation that fits best.
    restored : bool
        What stands in square brackets within it are letters and no chord, see :class:`.text.Token`.
    """

    word: str
    index: int
    line: int
    start_s: float | None = None
    end_s: float | None = None
    confidence: float | None = None
    phones: tuple[AlignedPhone, ...] = ()
    restored: bool = False


@dataclass(frozen=True)
class AlignedLine:
    """A line of the lyrics, from the start of its first sung word to the end of its last; None where none is sung."""

    text: str
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True)
class Alignment:
    """Lyrics in time.

    Attributes
    ----------
    words : tuple[AlignedWord, ...]
        One per token between blanks, in order; headings and the like are among them, without times.
    lines : tuple[AlignedLine, ...]
        One per line that holds a token.
    repeats : tuple[AlignedWord, ...]
        Words that are sung again (a chorus that is written once), in order of time.
    status : str
        ``ok``, ``no_fit`` (the words are not those of the song: no times), ``no_vocals`` or ``no_words``.
    score : float | None
        0 to 1, how well the words fit; lower than :data:`LEAST_SCORE` is ``no_fit``.
    duration_s : float
        Of the recording.
    settings : dict[str, Any]
        What the times depend on.
    message : str
        What there is to say of the file, such as that it ends early; else empty.
    """

    words: tuple[AlignedWord, ...]
    lines: tuple[AlignedLine, ...]
    repeats: tuple[AlignedWord, ...] = ()
    status: str = "ok"
    score: float | None = None
    duration_s: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    message: str = ""

    @property
    def sung(self) -> tuple[AlignedWord, ...]:
        """All words with times, repeats too, without chords, in order of time."""
        words = (*self.words, *self.repeats)
        timed = [
            word if word.restored else replace(word, word=without_chords(word.word))
            for word in words
            if word.start_s is not None
        ]
        return tuple(sorted(timed, key=lambda word: word.start_s or 0.0))


class Aligner:
    """Aligns lyrics with recordings; keeps its models loaded.

    Parameters
    ----------
    model : str | Path
        Joint checkpoint that separates, by name or path.
    device : str
        Torch device of the separation.
    costs : GraphCosts | None
        What it costs to sing other than the words in order; None takes the defaults.
    language : str | None
        Of the lyrics, as ``espeak-ng`` calls it (``de``, ``fr``); None is English. Where the program is missing, words
        are said by their letters, as English.
    acoustics : str | Acoustics | None
        Acoustic model: None is that of English phones; ``transformers:NAME`` and ``torchaudio:BUNDLE`` are networks for
        letters that you have, of any language, see :mod:`.ctc`; or an object that does what :class:`.acoustics.
        Acoustics` says, which knows its language itself.
    network : str | Path | None
        File of a phone network (:mod:`.phone_network`) whose word counts beside that of the Gaussians of the phones;
        None leaves it to these.

    Raises
    ------
    ModelError
        When the checkpoint or the acoustic model cannot be used.
    ImportError
        When the extra ``lyrics`` is not installed; says how to.
    """

    def __init__(
        self,
        model: str | Path = checkpoints.DEFAULT_MODEL,
        *,
        device: str = "cpu",
        costs: GraphCosts | None = None,
        language: str | None = None,
        acoustics: str | Acoustics | None = None,
        network: str | Path | None = SHIPPED,
    ) -> None:
        self.acoustics: Acoustics = (
            load_acoustics(acoustics, device=device, network=network, language=language)
            if acoustics is None or isinstance(acoustics, str)
            else acoustics
        )
        self.model, self.device, self.costs = model, device, costs or GraphCosts()
        self._separator: VocalSeparator | None = None

    @property
    def separator(self) -> VocalSeparator:
        """Loaded at first use."""
        if self._separator is None:
            self._separator = VocalSeparator(self.model, device=self.device)
        return self._separator

    def from_file(self, path: str | Path, lyrics: str | LyricsText, *, separated: bool = False) -> Alignment:
        """Align a file, parameters as :func:`align`. Raises AudioError, naming it, when it cannot be decoded."""
        return self.from_vocals(self.separator.from_file(path, separated=separated), lyrics)

    def from_audio(
        self, y: np.ndarray, sample_rate: int, lyrics: str | LyricsText, *, separated: bool = False
    ) -> Alignment:
        """Align an array; parameters as :func:`align`."""
        return self.from_vocals(self.separator.from_audio(y, sample_rate, separated=separated), lyrics)

    def from_vocals(self, vocals: Vocals, lyrics: str | LyricsText) -> Alignment:
        """Align vocals that were separated before.

        Parameters
        ----------
        vocals : Vocals
            Of :class:`.vocals.VocalSeparator`.
        lyrics : str | LyricsText
            Text as in :func:`.text.parse_lyrics`, or what that gave.
        """
        text = parse_lyrics(lyrics) if isinstance(lyrics, str) else lyrics
        found = self._in_time(vocals, text)
        return replace(found, message="; ".join(filter(None, (vocals.message, found.message))))

    def _in_time(self, vocals: Vocals, text: LyricsText) -> Alignment:
        self.acoustics.learn([token.sung for token in text.tokens if token.kind == "word"])
        if not self._can_say(text):
            return _without_times(text, "no_words", vocals.duration_s)
        heard = self.acoustics.hear(vocals)
        if not heard.audible.any():
            return _without_times(text, "no_vocals", vocals.duration_s)
        if _n_sung(text) > MOST_CHARACTERS + MOST_CHARACTERS_A_SECOND * vocals.duration_s:
            return _without_times(text, "no_fit", vocals.duration_s, 0.0)
        versions = versions_of(text)
        # Of some scripts an acoustic model may know no letter.
        found = {k: self._fitted(heard, version) for k, version in enumerate(versions) if self._can_say(version)}
        best = max(found, key=lambda k: found[k].total)
        return self._timed(found[best], versions, best, vocals.duration_s)

    def _can_say(self, text: LyricsText) -> bool:
        return any(token.kind == "word" and self.acoustics.say(token.sung) for token in text.tokens)

    def _fitted(self, heard: Heard, text: LyricsText) -> _Fitted:
        """Words as they are sung, by the times of their lines where these help."""
        hints = LineHints.of(text)
        found = replace(self._align(heard, text, hints), hinted=hints is not None)
        if hints is None:
            return found
        misled = found.lost > MOST_LOST * len(found.visits)
        if misled or found.score < LEAST_SCORE or not _agree(hints, text, found.visits):
            # Times of another recording, or of this one moved by seconds, mislead more than they help.
            return self._align(heard, text, None)
        return found

    def _timed(self, found: _Fitted, versions: Sequence[LyricsText], sung: int, duration_s: float) -> Alignment:
        text = versions[sung]
        if found.score < LEAST_SCORE:
            return _without_times(text, "no_fit", duration_s, found.score)
        words, repeats = _words(text, found.visits, found.graph, self.acoustics)
        settings = {"separation": str(self.model), "acoustic_model": self.acoustics.name, "lag_s": LAG_S}
        settings["times_of_lines"] = "used" if found.hinted else "none"
        message = ""
        if sung < len(versions) - 1:
            n = len(versions) - 1
            message = f"the text stands there {n} times, line by line: line {sung + 1} of each {n} is sung"
        return Alignment(words, _lines(text, words), repeats, "ok", found.score, duration_s, settings, message)

    def _build(self, text: LyricsText, units: Units) -> LyricsGraph:
        return build_graph(text, units, costs=self.costs, say=self.acoustics.say)

    def _align(self, heard: Heard, text: LyricsText, hints: LineHints | None) -> _Fitted:
        """Words as they are sung, and how well they fit."""
        # Many small products: threads of a BLAS library would wait for each other most of the time.
        with threadpool_limits(1, user_api="blas"):
            found = self.acoustics.search(heard, text, self._build, hints)
            visits = _visits(found.path, found.graph, _fit(found, heard.audible, self.acoustics.scale))
        fits = np.concatenate([visit.fit for visit in visits]) if visits else np.zeros(0)
        if not np.isfinite(fits).any():
            return _Fitted(visits, found.graph, 0.0, found.total, found.lost)
        score = self.acoustics.score(found, float(np.nanmean(fits)), len(fits))
        return _Fitted(visits, found.graph, score, found.total, found.lost)


def align(
    y: np.ndarray,
    sample_rate: int,
    lyrics: str,
    *,
    separated: bool = False,
    model: str | Path = checkpoints.DEFAULT_MODEL,
    device: str = "cpu",
) -> Alignment:
    """Words of lyrics in time; loads the models each time, see :class:`Aligner` for many songs.

    Parameters
    ----------
    y : np.ndarray
        (n_samples,) or (channels, n_samples), floating point (full scale 1.0) or signed integers.
    sample_rate : int
        Hz.
    lyrics : str
        Text or ``.lrc``, see :func:`.text.parse_lyrics`.
    separated : bool
        ``y`` is vocals alone.
    model : str | Path
        Joint checkpoint that separates, by name or path.
    device : str
        Torch device of the separation.

    Returns
    -------
    Alignment
        With status ``no_fit`` and no times where the words are not those of the song.

    Raises
    ------
    EmptyAudioError, NonFiniteAudioError
        When there are no samples, or NaN or infinity among them.
    ImportError
        When the extra ``lyrics`` is not installed; says how to.
    """
    return Aligner(model, device=device).from_audio(y, sample_rate, lyrics, separated=separated)


@dataclass(frozen=True)
class _Visit:
    """A word as it is sung once: its token, its phones with first and last frame, and the mean fit of each."""

    token: int
    phones: tuple[tuple[int, int, int], ...]
    fit: np.ndarray


@dataclass(frozen=True)
class _Fitted:
    """A text as it is sung: how well it fits, 0 to 1 and in scaled nats; what times of lines cost; if they count."""

    visits: list[_Visit]
    graph: LyricsGraph
    score: float
    total: float
    lost: float
    hinted: bool = False


def _visits(path: np.ndarray, graph: LyricsGraph, fit: np.ndarray) -> list[_Visit]:
    if not len(path):
        return []
    token, phone = graph.token[path], graph.phone[path]
    edges = np.flatnonzero(np.diff(phone, prepend=-2, append=-2))
    visits: list[_Visit] = []
    phones: list[tuple[int, int, int]] = []
    fits: list[float] = []
    current = -1
    for start, stop in pairwise(edges):
        if phone[start] < 0:
            continue
        goes_on = phones and phones[-1][2] == start and phone[start] == phones[-1][0] + 1 and token[start] == current
        if phones and not goes_on:
            visits.append(_Visit(current, tuple(phones), np.array(fits)))
            phones, fits = [], []
        current = int(token[start])
        phones.append((int(phone[start]), int(start), int(stop)))
        part = fit[start:stop]
        fits.append(float(part[np.isfinite(part)].mean()) if np.isfinite(part).any() else math.nan)
    if phones:
        visits.append(_Visit(current, tuple(phones), np.array(fits)))
    return visits


def _agree(hints: LineHints, text: LyricsText, visits: Sequence[_Visit]) -> bool:
    """Whether most words are sung within the times of their lines."""
    inside = [hints.inside(text.tokens[visit.token].line, visit.phones[0][1]) for visit in visits]
    return sum(inside) > len(inside) / 2


def _fit(found: Search, audible: np.ndarray, scale: float) -> np.ndarray:
    """(n_frames,) nats by which the state of each frame is worse than the best phone; NaN elsewhere and in starts."""
    fit = np.full(len(audible), np.nan)
    if not len(found.path):
        return fit
    column = found.graph.states.column[found.path]
    sung = (column > 0) & (found.graph.senones[column - 1] != ONSET) & audible
    fit[sung] = found.along(np.flatnonzero(sung)) / scale
    return fit


def _confidences(visits: Sequence[_Visit], acoustics: Acoustics) -> list[float]:
    """Of each word, from the fit of its phones and those of two words on either side."""
    means = [float(np.nanmean(v.fit)) if np.isfinite(v.fit).any() else -UNHEARD for v in visits]
    around = [float(np.mean(means[max(0, k - 2) : k + 3])) for k in range(len(means))]
    return [round(acoustics.confidence(own, near), 3) for own, near in zip(means, around)]


def _seconds(frame: int) -> float:
    """Time of the edge before a frame."""
    return round(max((frame - 0.5) / FRAME_RATE + CENTRE_S + LAG_S, 0.0), 3)


def _words(
    text: LyricsText, visits: Sequence[_Visit], graph: LyricsGraph, acoustics: Acoustics
) -> tuple[tuple[AlignedWord, ...], tuple[AlignedWord, ...]]:
    words = list(_untimed(text))
    repeats: list[AlignedWord] = []
    for visit, confidence in zip(visits, _confidences(visits, acoustics)):
        phones = tuple(AlignedPhone(graph.phones[p], _seconds(a), _seconds(b)) for p, a, b in visit.phones)
        token = text.tokens[visit.token]
        times = (phones[0].start_s, phones[-1].end_s)
        word = AlignedWord(token.text, visit.token, token.line, *times, confidence, phones, token.restored)
        if words[visit.token].start_s is None:
            words[visit.token] = word
        else:
            repeats.append(word)
    return tuple(words), tuple(repeats)


def _lines(text: LyricsText, words: Sequence[AlignedWord]) -> tuple[AlignedLine, ...]:
    lines = []
    for line in text.lines:
        timed = [w for w in words[line.first : line.stop] if w.start_s is not None]
        lines.append(AlignedLine(line.text, timed[0].start_s if timed else None, timed[-1].end_s if timed else None))
    return tuple(lines)


def _without_times(text: LyricsText, status: str, duration_s: float, score: float | None = None) -> Alignment:
    words = _untimed(text)
    return Alignment(words, _lines(text, words), (), status, score, duration_s)


def _n_sung(text: LyricsText) -> int:
    """Characters of words, of lines that are sung several times as often."""
    words = [len(token.sung) if token.kind == "word" else 0 for token in text.tokens]
    return sum(line.times * sum(words[line.first : line.stop]) for line in text.lines)


def _untimed(text: LyricsText) -> tuple[AlignedWord, ...]:
    return tuple(AlignedWord(token.text, k, token.line, restored=token.restored) for k, token in enumerate(text.tokens))
