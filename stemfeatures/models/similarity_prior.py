"""Masks that lean towards what each stem does elsewhere in the excerpt where it sounds alike.

A bar comes again, a snare is struck a hundred times, a vowel is sung on the same pitch; what is played beside it is
seldom the same. The mean of a stem's estimates over such frames is nearer to it than that of one frame, in which what
the others left stands as if it belonged. This is the mean over neighbours that look alike of images (Buades
et al., CVPR 2005), and REPET-SIM (Rafii and Pardo, ISMIR 2012) with the estimates of a network in the place of the
mixture.

Spectra are compared in mel bands of the estimate, each with those of some frames around it, by their cosine. The
:data:`N_ALIKE` most similar places that are not the same one count by ``exp(SHARPNESS * cosine)`` less most of that of
the next one, so that weights hardly step where two places change ranks, and the frame itself as a place of similarity
:data:`OWN` does: what never comes again stays as it is. Each mask is multiplied by the ratio of that mean to the
estimate, to the power of ``strength``, masks are made to sum to one, and all this is done once more.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.numba_cache import compiled_when_called
from ..spectra.bands import mel_power
from ..spectra.filters import is_compiled, mel_filters
from ..spectra.planes import turned

#: Lowest bins of the analysis grid that lean (2.75 kHz); above, little is gained.
N_SIMILAR_BINS = 256
#: Frames that are looked for together, and those whose spectra are compared, from the first of them on.
HOP, CONTEXT = 4, (-1, 1, 2, 4)
#: Mel bands by which spectra are compared, and the power of their energies.
N_BANDS, ROOT = 128, 0.25
#: Places that count, and from how many frames away (0.19 s).
N_ALIKE, APART = 16, 8
#: How fast what is less similar counts less, and the similarity that the frame itself counts with.
SHARPNESS, OWN = 30.0, 0.93
#: Part of the weight of the next place that is taken off the others. With all of it places that are equally alike, as
#: samples are that repeat, would not count.
OFF = 0.8
#: How often estimates are brought nearer to each other, with the same places.
ROUNDS = 2
#: Least share of the mixture: masks of next to nothing do not grow.
FLOOR = 0.01
#: Coefficients of series: logarithms to base 2 in odd powers of ``(x - 1) / (x + 1)``, and powers of 2.
_LOGARITHM = tuple(np.float32(2 / math.log(2) / k) for k in (1, 3, 5, 7, 9))
_POWER = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in (1, 2, 3, 4, 5, 6))
#: Bits of the root of one half in single precision.
_ROOT_HALF = np.int32(0x3F3504F3)
#: Places that are asked for at a time on a CPU, so that their products stay in its cache, and products that are looked
#: at together.
_TOGETHER, _RUN = 64, 16


def places_alike(spectra: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each frame's spectrum comes again.

    Parameters
    ----------
    spectra : Tensor
        ``(n_frames, n_bands)``, not negative.

    Returns
    -------
    tuple of Tensor
        ``(n_frames, k)`` frames, ``(n_frames, k)`` their weights, and ``(n_frames,)`` the weight of the frame itself;
        the weights of a frame sum to one.

    Examples
    --------
    >>> tones = torch.eye(4).repeat_interleave(16, 0).repeat(2, 1)  # four tones, twice
    >>> places, weights, own = places_alike(tones)
    >>> sorted({int(place) // 16 for place, weight in zip(places[24], weights[24]) if weight > 0.01})  # the second tone
    [5]
    """
    similarity, place = _most_alike(spectra) if is_compiled(spectra) else _most_alike_by_torch(spectra)
    weight = (SHARPNESS * (similarity - 1)).exp()
    weight -= OFF * weight.min(dim=1, keepdim=True).values
    own = math.exp(SHARPNESS * (OWN - 1))
    total = weight.sum(dim=1, keepdim=True) + own
    behind = torch.arange(HOP, device=spectra.device)[:, None]
    places = (place[:, None] + behind).clamp(max=len(spectra) - 1).flatten(0, 1)[: len(spectra)]
    weights, own_weight = (x.repeat_interleave(HOP, dim=0)[: len(spectra)] for x in (weight / total, own / total))
    return places, weights, own_weight[:, 0]


def _most_alike_by_torch(spectra: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and frames, both ``(n_frames / HOP, k)``, of the places most similar to each :data:`HOP`-th frame."""
    frames = torch.arange(len(spectra), device=spectra.device)
    around = torch.cat([spectra[(frames + k).clamp(0, len(spectra) - 1)] for k in CONTEXT], dim=1)
    around = F.normalize(around, dim=1)
    asked = frames[::HOP]
    cosine = around[asked] @ around.T
    near = asked[:, None] + torch.arange(1 - APART, APART, device=spectra.device)
    cosine.scatter_(1, near.clamp(0, len(spectra) - 1), -1.0)
    return cosine.topk(min(N_ALIKE + 1, len(spectra)), dim=1, sorted=False)


def _most_alike(spectra: Tensor) -> tuple[Tensor, Tensor]:
    """The same from products of single frames, which are summed over those around both."""
    n_frames, before, behind = len(spectra), -min(CONTEXT), max(CONTEXT)
    n_padded = -(-(n_frames + before + behind) // _RUN) * _RUN  # what repeats has equal products, not in a remainder
    padded = spectra[torch.arange(-before, n_padded - before).clamp_(0, n_frames - 1)]
    energy = padded.square().sum(dim=1)
    offsets = [before + k for k in CONTEXT]
    norm = torch.stack([energy[k : k + n_frames] for k in offsets]).sum(dim=0).sqrt_()
    inverse = norm.clamp_min_(1e-12).reciprocal_().numpy()
    n_asked = -(-n_frames // HOP)
    place = torch.zeros(n_asked, min(N_ALIKE + 1, n_frames), dtype=torch.long)  # NaN has no places
    similarity, line = torch.empty(place.shape), np.empty(n_frames, np.float32)
    for first in range(0, n_asked, _TOGETHER):
        some = slice(first, min(first + _TOGETHER, n_asked))
        products = padded[HOP * some.start : HOP * some.stop + before + behind] @ padded.T
        found = similarity[some].numpy(), place[some].numpy()
        _select(products.numpy(), np.array(offsets), HOP * some.start, inverse, line, *found)
    return similarity, place


@compiled_when_called(fastmath=True)
def _select(
    products: np.ndarray, offsets: np.ndarray, first: int, inverse: np.ndarray, line: np.ndarray,
    similarity: np.ndarray, place: np.ndarray,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """The highest cosines of every :data:`HOP`-th frame from ``first`` on, and where they are.

    ``products`` are those of the frames from that one on with all. The k-th highest of the maxima of runs is below the
    k-th highest cosine, so that few of them are looked at.
    """
    n, k = len(line), place.shape[1]
    highest, none = np.empty((n + _RUN - 1) // _RUN, np.float32), np.float32(-2)
    for i in range(len(place)):
        asked, own = first + i * HOP, inverse[first + i * HOP]
        line[:] = 0
        for offset in offsets:
            row = products[i * HOP + offset, offset : offset + n]
            for f in range(n):
                line[f] += row[f]
        for f in range(n):
            line[f] *= own * inverse[f]
        for f in range(max(0, asked - APART + 1), min(n, asked + APART)):
            line[f] = np.float32(-1)
        for run in range(len(highest)):
            most = none
            for f in range(_RUN * run, min(_RUN * run + _RUN, n)):
                most = max(most, line[f])
            highest[run] = most
        values, places = similarity[i], place[i]
        values[:] = none
        for value in highest:
            j = k
            while j > 0 and values[j - 1] < value:
                if j < k:
                    values[j] = values[j - 1]
                j -= 1
            if j < k:
                values[j] = value
        least = values[k - 1]
        values[:] = none
        for run in range(len(highest)):
            if highest[run] >= least:
                for f in range(_RUN * run, min(_RUN * run + _RUN, n)):
                    j = k if line[f] >= least else 0
                    while j > 0 and values[j - 1] < line[f]:
                        if j < k:
                            values[j], places[j] = values[j - 1], places[j - 1]
                        j -= 1
                    if j < k and line[f] >= least:
                        values[j], places[j] = line[f], f


@torch.no_grad()
def leaning(masks: Tensor, magnitude: Tensor, strength: float) -> Tensor:
    """What masks are to be multiplied by in their lowest bins, before they are made to sum to one again.

    Parameters
    ----------
    masks : Tensor
        ``(batch, n_stems, N_BINS, n_frames)``, 0..1, which sum to one over the stems.
    magnitude : Tensor
        ``(batch, N_BINS, n_frames)`` of the mixture, at any level.
    strength : float
        From 0, at which everything is 1.

    Returns
    -------
    Tensor
        ``(batch, n_stems, N_SIMILAR_BINS, n_frames)``, positive, without a gradient.
    """
    with torch.autocast(masks.device.type, enabled=False):  # eight bits tell no place from the next one
        return _leaning_of(masks.float(), magnitude.float(), strength)


def _leaning_of(masks: Tensor, magnitude: Tensor, strength: float) -> Tensor:
    """:func:`leaning` in single precision."""
    bands = mel_power(mel_filters(n_mels=N_BANDS).to(masks.device), masks, magnitude).sqrt_().sqrt_()
    mixtures = turned(magnitude[:, :N_SIMILAR_BINS])
    found = torch.empty_like(masks[:, :, :N_SIMILAR_BINS])
    for one, shares, mixture, power in zip(found, masks[:, :, :N_SIMILAR_BINS], mixtures, bands):
        alike = [places_alike(stem) for stem in turned(power)]
        one.copy_(turned(_leaning(turned(shares), mixture, alike, strength)))
    return found


def _leaning(shares: Tensor, mixture: Tensor, alike: list[tuple[Tensor, Tensor, Tensor]], strength: float) -> Tensor:
    """Factors of ``(n_stems, n_frames, k)`` shares of a ``(n_frames, k)`` mixture, with the places of each stem."""
    factors, now = torch.ones_like(shares), shares
    least = (FLOOR * mixture).add_(torch.finfo(mixture.dtype).tiny)
    for _ in range(ROUNDS):
        ratios = torch.empty_like(shares)
        for share, ratio, (places, weights, own) in zip(now, ratios, alike):
            if is_compiled(share, mixture, weights):
                root = torch.empty_like(share)
                arguments = (share, mixture, places, weights, own, least, root, ratio)
                _compiled_ratio(strength, *(part.numpy() for part in arguments))
            else:
                ratio.copy_(_ratio(share * mixture, mixture, least, (places, weights, own)).pow_(strength))
        factors *= ratios
        now = shares * factors
        now /= now.sum(dim=0)
    return factors


def _ratio(estimate: Tensor, mixture: Tensor, least: Tensor, alike: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The mean of places alike over the estimate itself, ``(n_frames, k)`` as all but the places."""
    (places, weights, own), root = alike, estimate.sqrt()
    mean = _weighted_rows(root, places, weights).addcmul_(root, own[:, None])
    return torch.minimum(mean.square_(), mixture).add_(least).div_(estimate.add_(least))


@compiled_when_called(fastmath=True, error_model="numpy")
def _compiled_ratio(
    strength: float, share: np.ndarray, mixture: np.ndarray, places: np.ndarray, weights: np.ndarray, own: np.ndarray,
    least: np.ndarray, root: np.ndarray, ratio: np.ndarray,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """:func:`_ratio` of shares, to the power of ``strength``; ``root`` is written to.

    Its logarithm is that of a mantissa around 1 by the series of the inverse hyperbolic tangent, and an exponent.
    """
    power, one = np.float32(strength), np.float32(1)
    a, b, c, d, e = _LOGARITHM
    p, q, r, s, u, v = _POWER
    for t in range(len(share)):
        for k in range(share.shape[1]):
            root[t, k] = np.sqrt(share[t, k] * mixture[t, k])
    for t in range(len(share)):
        mean, weight = ratio[t], own[t]
        for k in range(len(mean)):
            mean[k] = weight * root[t, k]
        for j in range(places.shape[1]):
            weight, row = weights[t, j], root[places[t, j]]
            for k in range(len(mean)):
                mean[k] += weight * row[k]
        for k in range(len(mean)):
            more = min(mean[k] * mean[k], mixture[t, k]) + least[t, k]
            mean[k] = more / (share[t, k] * mixture[t, k] + least[t, k])
        for k in range(len(mean)):
            bits = np.float32(mean[k]).view(np.int32)
            exponent = np.int32(np.int32(bits - _ROOT_HALF) >> np.int32(23))
            mantissa = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32)
            z = (mantissa - one) / (mantissa + one)
            x = z * z
            y = power * (np.float32(exponent) + z * (a + x * (b + x * (c + x * (d + x * e)))))
            whole = np.int32(np.floor(y + np.float32(0.5)))
            x = y - np.float32(whole)
            x = one + x * (p + x * (q + x * (r + x * (s + x * (u + x * v)))))
            mean[k] = x * np.int32(np.int32(whole + np.int32(127)) << np.int32(23)).view(np.float32)


def _weighted_rows(rows: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """``(n, k)``, sums of rows of ``(n, k)`` at ``(n, m)`` places with ``(n, m)`` weights."""
    if rows.device.type == "mps":  # pytorch/pytorch#162270: no embedding_bag
        return (rows[places] * weights[..., None]).sum(dim=1)
    return F.embedding_bag(places, rows, per_sample_weights=weights, mode="sum")
