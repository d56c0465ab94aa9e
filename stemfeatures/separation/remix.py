"""Stems louder or softer inside of the mixture they come from.

A remix is ``mixture + sum((gain - 1) * stem)`` over the stems whose gain is not one: what is not touched is never
replaced by an estimate, and gains of 0 dB give the mixture back bit for bit.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..audio import AudioWriter, open_audio
from ..audio.limiter import TruePeakLimiter

#: What is louder by more than this is a slip; and far beyond, numbers end.
MOST_GAIN_DB = 60.0


class StreamSeparator(Protocol):
    """What a remix needs of a separator."""

    stems: tuple[str, ...]

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """Stems of a signal that arrives in blocks, see :meth:`.base.BaseSeparator.stream`."""
        ...


def linear_gains(gains_db: Mapping[str, float], stems: Iterable[str]) -> dict[str, float]:
    """Factors of the stems whose gain is not 0 dB.

    Parameters
    ----------
    gains_db : Mapping[str, float]
        Gain of stems in dB; ``-math.inf`` silences one.
    stems : Iterable[str]
        Names of the stems that there are.

    Returns
    -------
    dict[str, float]
        ``{stem: factor}``, without those of factor one.

    Raises
    ------
    ValueError
        A stem that does not exist, or a gain that is no number or above :data:`MOST_GAIN_DB`.

    Examples
    --------
    >>> linear_gains({"vocals": -20.0, "drums": 0.0}, ("vocals", "drums"))
    {'vocals': 0.1}
    """
    known = tuple(stems)
    for stem, gain in gains_db.items():
        if stem not in known:
            raise ValueError(f"unknown stem {stem!r}; there are: {', '.join(known)}")
        if not gain <= MOST_GAIN_DB:
            raise ValueError(f"the gain of {stem} must be at most {MOST_GAIN_DB:g} dB, or -inf, not {gain}")
    return {stem: 10 ** (gain / 20) for stem, gain in gains_db.items() if gain != 0}


def remix_stream(
    separator: StreamSeparator,
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    channels: int,
    gains_db: Mapping[str, float],
) -> Iterator[np.ndarray]:
    """Remix a signal that arrives in blocks, in bounded memory.

    Parameters
    ----------
    separator : StreamSeparator
        What gives the stems, such as :class:`~stemfeatures.separation.Separator`.
    blocks : Iterable[np.ndarray]
        Samples as blocks (channels, n), full scale 1.0.
    sample_rate : int
        Rate of the signal in Hz.
    channels : int
        Number of its channels.
    gains_db : Mapping[str, float]
        Gain of stems in dB, see :func:`linear_gains`; stems that are not in it keep theirs.

    Yields
    ------
    np.ndarray
        (channels, k) samples of the remix, float32; together as many as came in.

    Raises
    ------
    ValueError
        Gains that make no sense.
    """
    gains = linear_gains(gains_db, separator.stems)
    if not gains:
        yield from (np.asarray(block, dtype=np.float32) for block in blocks)
        return
    held: list[np.ndarray] = []

    def kept() -> Iterator[np.ndarray]:
        for block in blocks:
            held.append(np.asarray(block, dtype=np.float32))
            yield held[-1]

    for found in separator.stream(kept(), sample_rate, channels):
        count = next(iter(found.values())).shape[-1]
        mixture = pop_samples(held, count)
        yield mixture + sum(np.float32(gain - 1) * found[stem] for stem, gain in gains.items())


def pop_samples(held: list[np.ndarray], count: int) -> np.ndarray:
    """Take the first ``count`` samples from the blocks that are held, and out of the list."""
    taken = []
    while count:
        head = held.pop(0)
        if head.shape[-1] > count:
            held.insert(0, head[:, count:])
            head = head[:, :count]
        taken.append(head)
        count -= head.shape[-1]
    return np.concatenate(taken, axis=-1)


@dataclass(frozen=True)
class RemixedFile:
    """A remixed file, and how its level was changed.

    Attributes
    ----------
    path : Path
        The file that was written.
    limited_db : float
        Largest reduction by the limiter, in dB; 0 without one, or where it had nothing to do.
    lowered_db : float
        Reduction of the whole file in dB, so that no sample of a format of integers exceeds full scale; else 0.
    message : str
        What the decoder complained of; empty when the file was whole.
    """

    path: Path
    limited_db: float
    lowered_db: float
    message: str


def remix_file(
    separator: StreamSeparator,
    path: str | Path,
    out_path: str | Path,
    gains_db: Mapping[str, float],
    *,
    limit_db: float | None = None,
    subtype: str | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> RemixedFile:
    """Remix an audio file, whatever its length, at its rate and with its channels and length.

    Nothing clips: a format of integers that the remix does not fit in gets the whole file at a lower level, and
    ``limit_db`` keeps the level and limits the true peaks.

    Parameters
    ----------
    separator : StreamSeparator
        What gives the stems.
    path : str or Path
        The audio file to read.
    out_path : str or Path
        The ``.wav`` or ``.flac`` file to write; an existing one is replaced once the new one is whole.
    gains_db : Mapping[str, float]
        Gain of stems in dB, see :func:`linear_gains`.
    limit_db : float, optional
        Highest true peak in dBTP; None does not limit.
    subtype : str, optional
        Sample format, see :class:`~stemfeatures.audio.AudioWriter`; by default that of the file format.
    on_progress : callable, optional
        Called with the seconds of audio that are done.

    Returns
    -------
    RemixedFile
        Where it is, and what was done to its level.

    Raises
    ------
    AudioError
        The file cannot be decoded or the result not be written; nothing is left behind then.
    ValueError
        Gains, format or subtype that make no sense.
    """
    linear_gains(gains_db, separator.stems)
    out_path = Path(out_path)
    with open_audio(path) as source, tempfile.TemporaryDirectory() as folder:
        rate, channels = source.info.sample_rate, source.info.channels
        options: dict[str, Any] = {"sample_rate": rate, "channels": channels}
        limiter = None if limit_db is None else TruePeakLimiter(rate, channels, ceiling_db=limit_db)
        peak, done = 0.0, 0
        with AudioWriter(out_path, subtype=subtype, **options) as writer:
            fits = writer.subtype == "FLOAT"
            # A format of integers is written once it is known what fits in it.
            first = writer if fits else AudioWriter(Path(folder) / "remix.wav", **options)
            for block in _limited(remix_stream(separator, source, rate, channels, gains_db), limiter):
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                first.write(block)
                done += block.shape[-1]
                if on_progress is not None:
                    on_progress(done / rate)
            factor = 1.0 if fits or peak <= 1 else 1 / peak
            if not fits:
                first.close()
                with open_audio(first.path) as whole:
                    for block in whole:
                        writer.write(block * np.float32(factor) if factor < 1 else block)
        limited = 0.0 if limiter is None else limiter.reduction_db
        return RemixedFile(out_path, limited, -20 * math.log10(factor) + 0.0, source.message)


def _limited(blocks: Iterable[np.ndarray], limiter: TruePeakLimiter | None) -> Iterator[np.ndarray]:
    if limiter is None:
        yield from blocks
        return
    for block in blocks:
        yield limiter.push(block)
    yield limiter.finish()
