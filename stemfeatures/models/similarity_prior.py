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

import torch
import torch.nn.functional as F
from torch import Tensor

from ..spectra.bands import mel_power
from ..spectra.filters import mel_filters

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
    frames = torch.arange(len(spectra), device=spectra.device)
    around = torch.cat([spectra[(frames + k).clamp(0, len(spectra) - 1)] for k in CONTEXT], dim=1)
    around = F.normalize(around, dim=1)
    asked = frames[::HOP]
    cosine = around[asked] @ around.T
    near = asked[:, None] + torch.arange(1 - APART, APART, device=spectra.device)
    cosine.scatter_(1, near.clamp(0, len(spectra) - 1), -1.0)
    similarity, place = cosine.topk(min(N_ALIKE + 1, len(spectra)), dim=1, sorted=False)
    weight = (SHARPNESS * (similarity - 1)).exp()
    weight -= OFF * weight.min(dim=1, keepdim=True).values
    own = math.exp(SHARPNESS * (OWN - 1))
    total = weight.sum(dim=1, keepdim=True) + own
    behind = torch.arange(HOP, device=spectra.device)[:, None]
    places = (place[:, None] + behind).clamp(max=len(spectra) - 1).flatten(0, 1)[: len(spectra)]
    weights, own_weight = (x.repeat_interleave(HOP, dim=0)[: len(spectra)] for x in (weight / total, own / total))
    return places, weights, own_weight[:, 0]


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
    bands = mel_power(mel_filters(n_mels=N_BANDS).to(masks.device), masks, magnitude).pow(ROOT).transpose(2, 3)
    mixtures = magnitude[:, :N_SIMILAR_BINS].transpose(1, 2).contiguous()
    found = torch.empty_like(masks[:, :, :N_SIMILAR_BINS])
    for one, shares, mixture, spectra in zip(found, masks[:, :, :N_SIMILAR_BINS].transpose(2, 3), mixtures, bands):
        alike = [places_alike(stem.contiguous()) for stem in spectra]
        one.copy_(_leaning(shares.contiguous(), mixture, alike, strength).transpose(1, 2))
    return found


def _leaning(shares: Tensor, mixture: Tensor, alike: list[tuple[Tensor, Tensor, Tensor]], strength: float) -> Tensor:
    """Factors of ``(n_stems, n_frames, k)`` shares of a ``(n_frames, k)`` mixture, with the places of each stem."""
    factors, now = torch.ones_like(shares), shares
    least = (FLOOR * mixture).add_(torch.finfo(mixture.dtype).tiny)
    for _ in range(ROUNDS):
        for share, factor, (places, weights, own) in zip(now, factors, alike):
            estimate = share * mixture
            root = estimate.sqrt()
            mean = _weighted_rows(root, places, weights).addcmul_(root, own[:, None])
            factor *= torch.minimum(mean.square_(), mixture).add_(least).div_(estimate.add_(least)).pow_(strength)
        now = shares * factors
        now /= now.sum(dim=0)
    return factors


def _weighted_rows(rows: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """``(n, k)``, sums of rows of ``(n, k)`` at ``(n, m)`` places with ``(n, m)`` weights."""
    if rows.device.type == "mps":  # pytorch/pytorch#162270: no embedding_bag
        return (rows[places] * weights[..., None]).sum(dim=1)
    return F.embedding_bag(places, rows, per_sample_weights=weights, mode="sum")
