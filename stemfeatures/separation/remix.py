"""Stems louder or softer inside of the mixture they come from.

A remix is ``mixture + sum((gain - 1) * stem)`` over the stems whose gain is not one: what is not touched is never
replaced by an estimate, and gains of 0 dB give the mixture back bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np


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
        A stem that does not exist, or a gain that is no number or infinitely loud.

    Examples
    --------
    >>> linear_gains({"vocals": -20.0, "drums": 0.0}, ("vocals", "drums"))
    {'vocals': 0.1}
    """
    known = tuple(stems)
    for stem, gain in gains_db.items():
        if stem not in known:
            raise ValueError(f"unknown stem {stem!r}; there are: {', '.join(known)}")
        if math.isnan(gain) or gain == math.inf:
            raise ValueError(f"the gain of {stem} must be a number of dB or -inf, not {gain}")
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
        mixture = _pop(held, count)
        yield mixture + sum(np.float32(gain - 1) * found[stem] for stem, gain in gains.items())


def _pop(held: list[np.ndarray], count: int) -> np.ndarray:
    """Take the first ``count`` samples from the blocks that are held."""
    taken = []
    while count:
        head = held.pop(0)
        if head.shape[-1] > count:
            held.insert(0, head[:, count:])
            head = head[:, :count]
        taken.append(head)
        count -= head.shape[-1]
    return np.concatenate(taken, axis=-1)
