"""What happens to whole examples before they are learned from, on the device that trains.

Levels, equalisers, coders, polarity, offsets: none moves anything in time or pitch, so that all labels hold. All but
the last change the stems such that their sum is the changed mixture; an offset is in the mixture alone, and no stem's.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import STEMS

#: Coefficients a frame of the coder: those of MP3's long blocks and of AAC's, brought to the analysis rate.
FRAMES = (288, 512)
#: How far in dB the noise lies below what masks it, up to 1 kHz; above, by how much less a Bark. Both are set beside
#: the noise of MP3, Vorbis and AAC (benchmarks/coder_noise.py).
MARGIN_DB, _LESS_DB = (11.0, 25.0), 1.5
#: By how many dB a stem falls that lies far below the others.
FALL_DB = (6.0, 24.0)
#: By how many dB at most the low end of a stem rises over the rest of it, and within what Hz it ends: generated basses
#: and drums have less of their energy below 150 Hz than recorded ones have (benchmarks/low_end.py).
LOW_END_DB, LOW_END_HZ = {"bass": 24.0, "drums": 12.0}, (90.0, 350.0)
#: Offsets of mixtures whose peak is 0.5.
OFFSETS = (0.001, 0.1)
#: How steeply masking falls in dB a Bark towards lower and higher bands.
_DOWN_DB, _UP_DB = 25.0, 10.0


def quiet(stems: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Stems of which one lies far below the others in some examples, as brushes beside a bass do.

    Parameters
    ----------
    stems : Tensor
        ``(batch, 4, n_samples)``.
    share : float
        Share of the examples in which one stem falls, 0..1.
    random : torch.Generator
        Decides in which, which stem and by how much of :data:`FALL_DB`.

    Returns
    -------
    Tensor
        As ``stems``.
    """
    chosen, which, place = torch.rand(3, len(stems), generator=random)
    least_db, most_db = FALL_DB
    fall = 10 ** (-(least_db + (most_db - least_db) * place) / 20)
    falls = torch.arange(stems.shape[1]) == (which * stems.shape[1]).long()[:, None]
    gains = torch.where(falls & (chosen < share)[:, None], fall[:, None], 1.0)
    return stems * gains.to(stems)[:, :, None]


def low_end(stems: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Stems whose basses and drums, in some examples, have more of their energy in the fundamentals.

    Each goes through a shelf of its own, by up to :data:`LOW_END_DB` and at one of :data:`LOW_END_HZ`, that leaves its
    energy as it is: what the lows gain the rest loses.

    Parameters
    ----------
    stems : Tensor
        ``(batch, 4, n_samples)``.
    share : float
        Share of the examples in which they have, 0..1.
    random : torch.Generator
        Decides in which, by how much and up to which frequency.

    Returns
    -------
    Tensor
        As ``stems``.
    """
    drawn = torch.rand(1 + 2 * len(LOW_END_DB), len(stems), generator=random)
    chosen = drawn[0] < share
    out = stems.clone()
    if not chosen.any():  # a transform of no signals is an error
        return out
    lowest, highest = LOW_END_HZ
    for k, (stem, most_db) in enumerate(LOW_END_DB.items()):
        y = stems[chosen, STEMS.index(stem)]
        rise_db = most_db * drawn[1 + 2 * k, chosen].to(y)
        edge = lowest * (highest / lowest) ** drawn[2 + 2 * k, chosen].to(y)
        spectrum = torch.fft.rfft(y)
        hertz = torch.linspace(0, SR / 2, spectrum.shape[-1]).to(y)
        low = 1 / (1 + (hertz / edge[:, None]) ** 4)
        shaped = torch.fft.irfft(spectrum * 10 ** (rise_db[:, None] * low / 20), n=y.shape[-1])
        gain = y.norm(dim=-1) / shaped.norm(dim=-1).clamp_min(1e-9)
        out[chosen, STEMS.index(stem)] = shaped * gain[:, None]
    return out


def offsets(count: int, share: float, random: torch.Generator) -> Tensor:
    """Constants that mixtures have on top of their stems, as badly made recordings do.

    Parameters
    ----------
    count : int
        How many examples there are.
    share : float
        Share of them that have one, 0..1.
    random : torch.Generator
        Decides which, how large it is and its sign.

    Returns
    -------
    Tensor
        ``(count,)``; 0, or within :data:`OFFSETS` of full scale on either side.
    """
    chosen, place, sign = torch.rand(3, count, generator=random)
    smallest, largest = OFFSETS
    size = smallest * (largest / smallest) ** place
    return torch.where(chosen < share, torch.where(sign < 0.5, size, -size), 0.0)


def inverted(stems: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Stems with the polarity of some turned round: spectra stay, and how they add up is drawn anew.

    Parameters
    ----------
    stems : Tensor
        ``(batch, 4, n_samples)``.
    share : float
        Share of the stems that are turned, 0..1.
    random : torch.Generator
        Decides which.

    Returns
    -------
    Tensor
        As ``stems``.
    """
    turned = torch.rand(stems.shape[:2], generator=random) < share
    return stems * (1 - 2 * turned.to(stems))[:, :, None]


def coded(stems: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Stems whose mixture, in some examples, is what a lossy coder leaves of it.

    A lapped transform (MDCT; Princen and Bradley, IEEE TASSP 1986) of the mixture is rounded in steps that put the
    noise of each Bark band below what its neighbours mask. What rounding makes of a coefficient of the mixture, from 0
    to twice as much, is done to the same coefficient of every stem: stems sum to the coded mixture, and each is what
    is left of it there.

    Parameters
    ----------
    stems : Tensor
        ``(batch, 4, n_samples)``.
    share : float
        Share of the examples that are coded, 0..1.
    random : torch.Generator
        Decides which, the length of the coder's frames and its margin.

    Returns
    -------
    Tensor
        As ``stems``.
    """
    drawn = torch.rand(3, len(stems), generator=random)
    lowest, highest = MARGIN_DB
    out = stems.clone()
    for example in (drawn[0] < share).nonzero().flatten().tolist():
        size = FRAMES[int(drawn[1, example] * len(FRAMES))]
        margin_db = lowest + (highest - lowest) * float(drawn[2, example])
        out[example] = code(stems[example], size, margin_db)
    return out


def code(stems: Tensor, size: int, margin_db: float) -> Tensor:
    """One example of :func:`coded`: ``(4, n_samples)``, frames of ``size`` coefficients, noise ``margin_db`` below what
    masks it up to 1 kHz."""
    coefficients = _mdct(stems, size)
    mixture = coefficients.sum(dim=0)
    of, spread, less_db = (matrix.to(stems) for matrix in _bands(size))
    power = (mixture.square() @ of) / of.sum(dim=0)
    masked = (power[:, :, None] * spread).amax(dim=1) * 10 ** ((less_db - margin_db) / 10)
    step = (12 * masked).clamp_min(1e-20).sqrt() @ of.T
    kept = torch.round(mixture / step) * step
    gain = torch.where(kept == 0, 0.0, kept / torch.where(kept == 0, 1.0, mixture))
    return _inverse(coefficients * gain, stems.shape[-1])


@cache
def _bands(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which coefficient is of which Bark band ``(size, bands)``, what a band masks of another ``(bands, bands)``, and
    by how many dB its margin is less than below 1 kHz ``(bands,)``."""
    hertz = (torch.arange(size) + 0.5) * (SR / 2 / size)
    bark = 26.81 * hertz / (1960 + hertz) - 0.53  # Traunmüller, JASA 1990
    _, member = bark.clamp_min(0).floor().long().unique(return_inverse=True)
    count = int(member.max()) + 1
    of = torch.nn.functional.one_hot(member, count).float()
    less_db = _LESS_DB * ((bark @ of) / of.sum(dim=0) - 8.5).clamp_min(0)
    higher = torch.arange(count) - torch.arange(count)[:, None]
    return of, 10 ** (-torch.where(higher > 0, higher * _UP_DB, -higher * _DOWN_DB) / 10), less_db


@cache
def _basis(size: int) -> Tensor:
    """``(2 size, size)``: windowed cosines, orthogonal frame by frame and across their overlap."""
    n = torch.arange(2 * size, dtype=torch.float64)
    k = torch.arange(size, dtype=torch.float64)
    cosines = torch.cos(math.pi / size * (n[:, None] + 0.5 + size / 2) * (k + 0.5)) * math.sqrt(2 / size)
    return (torch.sin(math.pi / (2 * size) * (n + 0.5))[:, None] * cosines).float()


def _mdct(y: Tensor, size: int) -> Tensor:
    """``(signals, n_samples)`` to ``(signals, frames, size)``."""
    beyond = -y.shape[-1] % size
    padded = torch.nn.functional.pad(y, (size, size + beyond))
    return padded.unfold(-1, 2 * size, size) @ _basis(size).to(y)


def _inverse(coefficients: Tensor, n_samples: int) -> Tensor:
    size = coefficients.shape[-1]
    first, second = (coefficients @ _basis(size).to(coefficients).T).split(size, dim=-1)
    return (first[:, 1:] + second[:, :-1]).flatten(1)[:, :n_samples]
