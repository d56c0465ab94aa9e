"""Lines of lyrics as vocoder parameters: what a singer's voice looks like while it says them.

A bank is a folder of ``<singer>.npz``. Each holds, line after line, every 5 ms the mel-coded spectral envelope and the
band aperiodicity of WORLD (Morise, Yokomori & Ozawa, *IEICE Trans. Inf. & Syst.* E99-D, 2016) and the phones with
their times. Pitch is not part of it: that comes from the melody.

Lines need not be sung as they were recorded: a :class:`Line` is a row of pieces, so new texts are put together from
words of several lines (:meth:`VoiceBank.remix`), and single vowels give "ooh" and "aah" (:meth:`VoiceBank.vocalise`).
"""

from __future__ import annotations

import fnmatch
import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

from ..._util.digests import content_digest
from ...errors import DatasetError
from .phones import DIPHTHONGS, PhoneTimes, align, kind, phones_of_tokens

#: Grid of the decoded envelopes. They reach above the bank's own band, see :func:`extend_band`.
SAMPLE_RATE = 44_100
N_FFT = 1024
HERTZ = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
PERIOD_S = 0.005
#: Frequencies of the stored aperiodicities (dB) with the ends that WORLD's coding implies.
_APERIODICITY_HERTZ = np.array([0.0, 3000.0, 6000.0, 9000.0, 12_000.0])
# ruff: noqa: RUF001 - these are letters of the phonetic alphabet
#: Words made of single phones, for backing voices.
VOCALISES = {
    "ooh": ("u",),
    "aah": ("ɑ",),
    "oh": ("O",),
    "la": ("l", "ɑ"),
    "na": ("n", "ɑ"),
    "hey": ("h", "A"),
    "doo": ("d", "u"),
}


@dataclass(frozen=True)
class Piece:
    """Phones ``start <= k < stop`` of one stored line; the first of them belongs to word ``word`` of the new line."""

    line: int
    start: int
    stop: int
    word: int


@dataclass(frozen=True)
class Line:
    """A text that a singer of the bank can sing. ``index`` is the stored line, or -1 for one put together.

    Where singers have the same stored lines, as in the shipped bank, a line of one can be sung by the others.
    """

    index: int
    text: str
    words: tuple[str, ...]
    syllables: int
    word_of_syllable: tuple[int, ...]
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Phones:
    """The phones of a line and the frames behind them. Times are seconds into the frames."""

    symbol: tuple[str, ...]
    nucleus: np.ndarray  # bool: the vowel of a syllable
    stressed: np.ndarray  # bool: the vowel of a stressed syllable
    word: np.ndarray  # int
    joins: np.ndarray  # bool: the first phone of a piece that does not continue the one before
    begin_s: np.ndarray
    end_s: np.ndarray
    hold_s: np.ndarray  # where a vowel is held
    level_db: np.ndarray  # of a phone at its loudest, relative to the vowels of its line
    log_power: np.ndarray  # (frames, bins), natural logarithm
    aperiodicity_db: np.ndarray  # (frames, 5)
    voiced: np.ndarray  # (frames,) bool


@dataclass(frozen=True)
class StoredLine:
    """One line as the file has it, phones aligned."""

    text: str
    phones: PhoneTimes
    envelope: np.ndarray
    aperiodicity: np.ndarray


def is_held_out(path: Path, patterns: Iterable[str]) -> bool:
    """Whether a file matches one of the glob patterns, which may be relative to any of its folders."""
    whole = path.resolve().as_posix()
    return any(fnmatch.fnmatch(whole, f"*/{p}") or fnmatch.fnmatch(whole, p) for p in patterns)


def require_pyworld() -> ModuleType:
    """The :mod:`pyworld` module; ImportError naming the extra that brings it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports pkg_resources
            import pyworld
    except ImportError as error:
        raise ImportError("singing needs pyworld: pip install 'stemfeatures[train]'") from error
    return pyworld


def to_aperiodicity(db: np.ndarray) -> np.ndarray:
    """(frames, 5) band aperiodicities in dB -> (frames, bins) amplitude ratios, all noise above 12 kHz."""
    weight = np.array([np.interp(HERTZ, _APERIODICITY_HERTZ, row) for row in np.eye(len(_APERIODICITY_HERTZ))])
    return np.clip(np.exp(db @ weight * (np.log(10) / 20)), 0.001, 1.0)


def extend_band(log_power: np.ndarray, rate: int) -> np.ndarray:
    """Log power envelopes of a signal of ``rate`` -> the grid of :data:`HERTZ`, with a band above its own.

    Each frame's slope between 6 and 10.8 kHz is continued in log frequency, held between -30 and -6 dB an octave, and
    20 dB an octave steeper above 16 kHz. So sibilants keep shining, vowels fade, and both carry one time envelope.
    """
    own = np.linspace(0.0, rate / 2, log_power.shape[1])
    top = 0.9 * rate / 2
    place = np.clip(HERTZ / own[1], 0, len(own) - 1.001)
    low, fraction = place.astype(int), (place % 1).astype(log_power.dtype)
    out = log_power[:, low] * (1 - fraction) + log_power[:, low + 1] * fraction
    band = (own >= 0.55 * top) & (own <= top)
    octave = np.log2(own[band] / top)
    centred = octave - octave.mean()
    level = log_power[:, band].mean(axis=1, keepdims=True)
    slope = (log_power[:, band] @ centred)[:, None] / (centred @ centred)
    decibel = np.log(10) / 10
    slope = np.clip(0.5 * slope - 6 * decibel, -30 * decibel, -6 * decibel)
    above = top < HERTZ
    octaves = np.log2(HERTZ[above] / top)
    steeper = 20 * decibel * np.maximum(np.log2(HERTZ[above] / 16_000), 0.0)
    start = level - slope * octave.mean() * 0.5
    continued = start + slope * octaves - steeper
    blend = np.clip((HERTZ[above] - top) / (0.08 * top), 0, 1)
    out[:, above] = out[:, above] * (1 - blend) + continued * blend
    return out


@lru_cache(maxsize=32)
def _read_singer(path: str) -> tuple[int, float, tuple[StoredLine, ...]]:
    """``(sample rate, middle of the voice in MIDI, lines)`` of one file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            data = dict(file)
        rate = int(data["sample_rate"])
        frames = [slice(*pair) for pair in zip(data["line_start"], data["line_start"][1:])]
        envelopes = [data["spectral_envelope"][frame] for frame in frames]
        if "centre_midi" in data:
            centre = round(float(data["centre_midi"]), 3)
        else:
            centre = float(69 + 12 * np.log2(np.median(data["f0"][data["f0"] > 0]) / 440.0))
        phones = _read_phones(data, envelopes)
        lines = tuple(
            StoredLine(str(text), phone, envelope, data["aperiodicity"][frame])
            for text, phone, envelope, frame in zip(data["lines"], phones, envelopes, frames)
        )
        # Singers of one bank know the same lines; sorted, a line has the same index with each of them.
        lines = tuple(sorted(lines, key=lambda line: line.text))
    except (KeyError, ValueError, OSError, EOFError) as error:
        raise DatasetError(f"not a voice bank: {error}", source=path, stage="voicebank") from error
    return rate, centre, lines


def _read_phones(data: dict[str, np.ndarray], envelopes: list[np.ndarray]) -> list[PhoneTimes]:
    """Phones as stored, or aligned here where the file has the tokens of the network that spoke the lines."""
    tokens = [slice(*pair) for pair in zip(data["token_start"], data["token_start"][1:])]
    if "phone_begin_s" in data:
        columns = [data[f"phone_{name}"] for name in ("nucleus", "stressed")]
        columns += [data["phone_word"].astype(int)]
        columns += [data[f"phone_{name}_s"].astype(float).round(4) for name in ("begin", "end")]
        return [
            PhoneTimes(tuple(str(s) for s in data["phone_symbol"][some]), *(column[some] for column in columns))
            for some in tokens
        ]
    phones = [
        phones_of_tokens(
            data["tokens"][some],
            {name: data[f"token_{name}"][some] for name in ("class", "word", "duration")},
            len(envelope),
            unit_s=float(data["duration_unit_s"]),
            lag_s=float(data["lag_s"]),
        )
        for some, envelope in zip(tokens, envelopes)
    ]
    return align(phones, envelopes)


@lru_cache(maxsize=96)
def _decode(path: str, index: int) -> Phones:
    """A stored line with its envelopes decoded and the places found where its vowels can be held."""
    rate, _, lines = _read_singer(path)
    line, phones = lines[index], lines[index].phones
    pyworld = require_pyworld()
    fft = pyworld.get_cheaptrick_fft_size(rate, 71.0)
    power = pyworld.decode_spectral_envelope(np.ascontiguousarray(line.envelope, np.float64), rate, fft)
    hertz = np.linspace(0, rate / 2, power.shape[1])
    loudness = 10 * np.log10(power[:, (hertz > 150) & (hertz < 4000)].sum(axis=1) + 1e-12)
    murmur = 10 * np.log10(power[:, (hertz > 60) & (hertz < 900)].sum(axis=1) + 1e-12)
    n = len(power)
    spans = [
        (int(b / PERIOD_S), max(int(e / PERIOD_S), int(b / PERIOD_S) + 1)) for b, e in zip(phones.begin_s, phones.end_s)
    ]
    spans = [(min(a, n - 1), min(b, n)) for a, b in spans]
    is_nucleus = np.zeros(n, bool)
    begin, end, hold, level = phones.begin_s.copy(), phones.end_s.copy(), phones.begin_s.copy(), np.zeros(len(spans))
    flux = np.append(0.0, np.abs(np.diff(np.log(power[:, ::8] + 1e-12), axis=0)).mean(axis=1)) * 4.3
    for k, (a, b) in enumerate(spans):
        level[k] = loudness[a:b].max()
        # The end of a phrase fades into creak in the bank; a sung note does not, its fade is made by level.
        loudest = a + int(np.argmax(loudness[a:b]))
        faint = np.flatnonzero(loudness[loudest:b] < level[k] - 14)
        if len(faint) and k + 1 == len(spans):
            b = max(loudest + int(faint[0]), min(a + 10, b))
            spans[k], end[k] = (a, b), b * PERIOD_S
        if not phones.nucleus[k]:
            continue
        is_nucleus[a:b] = True
        if k == 0:  # nor does it creep in
            a += int(np.argmax(loudness[a:b] > level[k] - 6))
            begin[k] = a * PERIOD_S
        place = (np.arange(a, b) + 0.5 - a) / (b - a)
        wanted = 0.35 if phones.symbol[k] in DIPHTHONGS else 0.5
        score = loudness[a:b] - 2.0 * flux[a:b] - 25 * np.maximum(np.abs(place - wanted) - 0.2, 0.0)
        best = a + int(np.argmax(score))
        hold[k] = (best + 0.5) * PERIOD_S
    reference = float(np.median(level[phones.nucleus]))
    quiet = np.median(murmur[is_nucleus]) - 24
    return Phones(
        phones.symbol,
        phones.nucleus,
        phones.stressed,
        phones.word,
        np.arange(len(spans)) == 0,
        begin,
        end,
        hold,
        level - reference,
        extend_band(np.log(power + 1e-12).astype(np.float32), rate) - np.float32(reference * np.log(10) / 10),
        _capped_aperiodicity(line.aperiodicity, phones.symbol, spans, n, is_nucleus),
        (murmur > quiet) & ~_frames_of(spans, [kind(s) in ("unvoiced", "pause") for s in phones.symbol], n),
    )


def _frames_of(spans: list[tuple[int, int]], wanted: list[bool], n: int) -> np.ndarray:
    inside = np.zeros(n, bool)
    for (a, b), take in zip(spans, wanted):
        if take:
            inside[a:b] = True
    return inside


def _capped_aperiodicity(
    stored: np.ndarray, symbols: tuple[str, ...], spans: list[tuple[int, int]], n: int, is_nucleus: np.ndarray
) -> np.ndarray:
    """(frames, 5) dB. D4C takes creaky frames for noise; under a sung pitch they would hiss, so they are capped."""
    db = np.minimum(stored.astype(np.float32), 0.0)
    usual = np.median(db[is_nucleus], axis=0)
    for margin, kinds in ((3.0, "vowel"), (6.0, "sonorant"), (10.0, "voiced")):
        frames = _frames_of(spans, [kind(s) == kinds for s in symbols], n)
        db[frames] = np.minimum(db[frames], np.minimum(usual + margin, -0.5))
    ends = np.full((n, 1), -60.0, np.float32)
    return np.concatenate([ends, db, np.zeros((n, 1), np.float32)], axis=1)


class VoiceBank:
    """Singers and their lines.

    Read it with :meth:`default` (the small bank that comes with the package: two women, two men) or :meth:`load`.
    """

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def digest(self, singers: Iterable[str]) -> str:
        """Digest of the files of some singers: of another voice under the same name it is another."""
        found = [f"{name} {content_digest(self._files[name])}" for name in singers]
        return hashlib.blake2b("\n".join(found).encode(), digest_size=16).hexdigest()

    @classmethod
    def default(cls) -> VoiceBank:
        """The bank that comes with the package."""
        return cls.load(Path(__file__).parents[1] / "banks" / "voices")

    @classmethod
    def load(cls, path: str | Path, *, held_out: Iterable[str] = ()) -> VoiceBank:
        """The bank in a folder of ``<singer>.npz``, but for files that match one of the glob patterns ``held_out``.

        DatasetError if nothing is left.
        """
        patterns = list(held_out)
        files = {file.stem: file for file in sorted(Path(path).glob("*.npz")) if not is_held_out(file, patterns)}
        if not files:
            raise DatasetError("no voice (*.npz) in this folder", source=str(path), stage="voicebank")
        return cls(files)

    @property
    def singers(self) -> tuple[str, ...]:
        return tuple(self._files)

    def lines(self, singer: str) -> list[Line]:
        """The stored lines of a singer."""
        out = []
        for k, stored in enumerate(self._stored(singer)):
            words = stored.phones.word[stored.phones.nucleus]
            out.append(Line(k, stored.text, tuple(stored.text.split()), len(words), tuple(int(w) for w in words)))
        return out

    def range_midi(self, singer: str) -> tuple[float, float]:
        """``(lowest, highest)`` comfortable MIDI pitch: an octave and a half about the voice."""
        centre = _read_singer(self._path(singer))[1]
        return centre - 6.0, centre + 12.0

    def remix(self, singer: str, syllables: int, rng: np.random.Generator) -> Line:
        """A new line of exactly ``syllables`` syllables from the words of all lines, in runs of one to four words."""
        if syllables < 1:
            raise ValueError(f"a line has at least one syllable, not {syllables}")
        stored = self._stored(singer)
        counts = [
            np.bincount(line.phones.word[line.phones.nucleus], minlength=len(line.text.split())) for line in stored
        ]
        words: list[str] = []
        pieces: list[Piece] = []
        word_of_syllable: list[int] = []
        left = syllables
        while left:
            k = int(rng.integers(len(stored)))
            first, length = int(rng.integers(len(counts[k]))), int(rng.integers(1, 5))
            run = counts[k][first : first + length]
            run = run[: int(np.searchsorted(np.cumsum(run), left, "right"))]
            if not len(run) or np.any(run == 0):
                continue
            inside = np.flatnonzero((stored[k].phones.word >= first) & (stored[k].phones.word < first + len(run)))
            pieces.append(Piece(k, int(inside[0]), int(inside[-1]) + 1, len(words)))
            for offset, count in enumerate(run):
                word_of_syllable += [len(words) + offset] * int(count)
            words += stored[k].text.split()[first : first + len(run)]
            left -= int(run.sum())
        return Line(-1, " ".join(words), tuple(words), syllables, tuple(word_of_syllable), tuple(pieces))

    def vocalise(self, singer: str, word: str, count: int = 1) -> Line:
        """``word`` (one of :data:`VOCALISES`) ``count`` times, a syllable each: "ooh", "la la la".

        ValueError for any other word, DatasetError if this singer's lines lack a phone of it.
        """
        if word not in VOCALISES:
            raise ValueError(f"unknown vocalise {word!r}; known: {', '.join(VOCALISES)}")
        places = [self._longest(singer, symbol) for symbol in VOCALISES[word]]
        pieces = tuple(Piece(line, at, at + 1, k) for k in range(count) for line, at in places)
        return Line(-1, " ".join([word] * count), (word,) * count, count, tuple(range(count)), pieces)

    def phones(self, singer: str, line: Line) -> Phones:
        """The phones of ``line`` and their frames, decoded."""
        path = self._path(singer)
        if not line.pieces:
            return _decode(path, line.index)
        units, offset = [], 0.0
        for n, piece in enumerate(line.pieces):
            whole, some = _decode(path, piece.line), slice(piece.start, piece.stop)
            first = max(int(whole.begin_s[piece.start] / PERIOD_S) - 1, 0)
            last = int(whole.end_s[piece.stop - 1] / PERIOD_S) + 2
            shift = offset - first * PERIOD_S
            units.append(
                Phones(
                    whole.symbol[some],
                    whole.nucleus[some],
                    whole.stressed[some],
                    np.where(whole.word[some] < 0, -1, whole.word[some] - whole.word[piece.start] + piece.word),
                    np.arange(piece.stop - piece.start) == 0,
                    whole.begin_s[some] + shift,
                    whole.end_s[some] + shift,
                    whole.hold_s[some] + shift,
                    whole.level_db[some],
                    whole.log_power[first:last],
                    whole.aperiodicity_db[first:last],
                    whole.voiced[first:last],
                )
            )
            offset += len(units[n].voiced) * PERIOD_S
        arrays = {
            name: np.concatenate([getattr(unit, name) for unit in units])
            for name in Phones.__dataclass_fields__
            if name != "symbol"
        }
        return replace(units[0], symbol=tuple(s for unit in units for s in unit.symbol), **arrays)

    def _path(self, singer: str) -> str:
        if singer not in self._files:
            raise ValueError(f"unknown singer {singer!r}; this bank has {', '.join(self._files)}")
        return str(self._files[singer])

    def _stored(self, singer: str) -> tuple[StoredLine, ...]:
        return _read_singer(self._path(singer))[2]

    def _longest(self, singer: str, symbol: str) -> tuple[int, int]:
        """``(line, phone)`` of the longest ``symbol``."""
        found = [
            (line.phones.end_s[k] - line.phones.begin_s[k], n, k)
            for n, line in enumerate(self._stored(singer))
            for k, other in enumerate(line.phones.symbol)
            if other == symbol
        ]
        if not found:
            raise DatasetError(f"no phone {symbol!r} in the lines", source=self._path(singer), stage="voicebank")
        return max(found)[1:]


def stored_lines(bank: VoiceBank, singer: str) -> tuple[StoredLine, ...]:
    """The lines of a singer as stored."""
    return bank._stored(singer)
