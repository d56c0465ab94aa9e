"""What masks of stems are multiplied by in their lowest bins, by what is known once they are made.

Factors are ``{stem: (batch, k, n_frames)}``, for the lowest ``k`` bins, each with a ``k`` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..constants import PITCHED_STEMS, STEMS
from . import harmonic_prior, low_prior, similarity_prior, transient_prior

#: What a logit is changed by at most.
LARGEST = 6.0


def partials(
    salience: Tensor, voicing: Tensor, presence: Tensor | None, n_bins: Mapping[str, int]
) -> dict[str, Tensor]:
    """Where the partials of vocals and bass lie, as sure as they are.

    Parameters
    ----------
    salience, voicing : Tensor
        ``(batch, 2, N_PITCH_BINS, n_frames)`` and ``(batch, 2, n_frames)``, logits, in the order of ``PITCHED_STEMS``.
    presence : Tensor or None
        ``(batch, 4, n_frames)``, logits, that the stems play; None: they do.
    n_bins : Mapping of str to int
        By stem, the lowest bins that are looked at; 0: the stem is passed over.

    Returns
    -------
    dict of str to Tensor
        ``(batch, k, n_frames)`` by stem, :func:`.harmonic_prior.comb` times the probability of a pitch.
    """
    found = {}
    for k, stem in enumerate(PITCHED_STEMS):
        if n := n_bins[stem]:
            lines = harmonic_prior.comb(harmonic_prior.strongest_hz(salience[:, k]), n)
            found[stem] = lines * _certainty(voicing, presence, k, stem)[:, None]
    return found


def harmonic_factors(masks: Tensor, lines: Mapping[str, Tensor], strengths: Mapping[str, float]) -> dict[str, Tensor]:
    """Factors by the pitch that is found in vocals and bass, see :mod:`.harmonic_prior`.

    Parameters
    ----------
    masks : Tensor
        ``(batch, 4, N_BINS, n_frames)``, in the order of ``STEMS``.
    lines : Mapping of str to Tensor
        :func:`partials` of as many bins as :data:`.harmonic_prior.N_COMB_BINS` has, or more.
    strengths : Mapping of str to float
        By stem; 0: no factor.

    Returns
    -------
    dict of str to Tensor
        Factors.
    """
    found = {}
    for stem, strength in strengths.items():
        if strength:
            low = slice(harmonic_prior.N_COMB_BINS[stem])
            found[stem] = harmonic_prior.leaning(masks[:, STEMS.index(stem), low], lines[stem][:, low], strength)
    return found


def _certainty(voicing: Tensor, presence: Tensor | None, k: int, stem: str) -> Tensor:
    """``(batch, n_frames)``, 0..1, that a stem plays and has a pitch."""
    certainty = torch.sigmoid(voicing[:, k])
    return certainty if presence is None else certainty * torch.sigmoid(presence[:, STEMS.index(stem)])


def transient_factors(magnitude: Tensor, strength: float) -> dict[str, Tensor]:
    """Factors of drums and bass by how the lows last, see :mod:`.transient_prior`.

    Parameters
    ----------
    magnitude : Tensor
        ``(batch, N_BINS, n_frames)`` of the mixture.
    strength : float
        0: no factors.

    Returns
    -------
    dict of str to Tensor
        Factors.
    """
    if not strength:
        return {}
    drums, bass = transient_prior.leaning(magnitude[:, : transient_prior.N_LOW_BINS], strength)
    return {"drums": drums, "bass": bass}


def similar_factors(masks: Tensor, magnitude: Tensor, strength: float) -> dict[str, Tensor]:
    """Factors of every stem by what it does where it sounds alike, see :mod:`.similarity_prior`.

    Parameters
    ----------
    masks : Tensor
        ``(batch, 4, N_BINS, n_frames)``, in the order of ``STEMS``, with all factors in them but those by pitch.
    magnitude : Tensor
        ``(batch, N_BINS, n_frames)`` of the mixture.
    strength : float
        0: no factors.

    Returns
    -------
    dict of str to Tensor
        Factors.
    """
    if not strength:
        return {}
    return dict(zip(STEMS, similarity_prior.leaning(masks, magnitude, strength).unbind(dim=1)))


def low_factors(masks: Tensor, strength: float) -> dict[str, Tensor]:
    """Factors of *other* in the lows, see :mod:`.low_prior`.

    Parameters
    ----------
    masks : Tensor
        ``(batch, 4, N_BINS, n_frames)``, whose device and type they have.
    strength : float
        0: no factors.

    Returns
    -------
    dict of str to Tensor
        Factors, ``(1, k, 1)``.
    """
    return {"other": low_prior.leaning(strength).to(masks)[None, :, None]} if strength else {}


def multiplied(masks: Tensor, *factors: Mapping[str, Tensor]) -> Tensor:
    """Masks times factors, which sum to one again.

    Parameters
    ----------
    masks : Tensor
        ``(batch, 4, N_BINS, n_frames)``, in the order of ``STEMS``. Without gradients they are changed in place.
    *factors : Mapping of str to Tensor
        One after the other.

    Returns
    -------
    Tensor
        As ``masks``.
    """
    n_bins = max((factor.shape[1] for some in factors for factor in some.values()), default=0)
    if not n_bins:
        return masks
    if not torch.is_grad_enabled():
        for some in factors:
            for stem, factor in some.items():
                masks[:, STEMS.index(stem), : factor.shape[1]] *= factor
        low = masks[:, :, :n_bins]
        low /= low.sum(dim=1, keepdim=True)
        return masks
    rows = list(masks[:, :, :n_bins].unbind(dim=1))
    for some in factors:
        for stem, factor in some.items():
            place, reached = STEMS.index(stem), factor.shape[1]
            own = rows[place]
            rows[place] = torch.cat([own[:, :reached] * factor, own[:, reached:]], dim=1)
    low = torch.stack(rows, dim=1)
    return torch.cat([low / low.sum(dim=1, keepdim=True), masks[:, :, n_bins:]], dim=2)


def refined(masks: Tensor, added: Tensor) -> Tensor:
    """Masks with something added to their logits.

    Parameters
    ----------
    masks : Tensor
        ``(batch, 4, N_BINS, n_frames)``, in the order of ``STEMS``. Without gradients they are changed in place.
    added : Tensor
        ``(batch, 4, k, n_frames)``, for the lowest bins; no more than :data:`LARGEST` to either side.

    Returns
    -------
    Tensor
        As ``masks``.
    """
    return multiplied(masks, dict(zip(STEMS, added.clamp(-LARGEST, LARGEST).exp().unbind(dim=1))))
