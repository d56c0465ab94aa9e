"""What masks of stems are multiplied by in their lowest bins, by what is known once they are made.

Factors are ``{stem: (batch, k, n_frames)}``, for the lowest ``k`` bins, each with a ``k`` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..constants import PITCHED_STEMS, STEMS
from . import harmonic_prior, similarity_prior, transient_prior


def harmonic_factors(
    masks: Tensor, salience: Tensor, voicing: Tensor, presence: Tensor | None, strengths: Mapping[str, float]
) -> dict[str, Tensor]:
    """Factors by the pitch that is found in vocals and bass, see :mod:`.harmonic_prior`.

    Parameters
    ----------
    masks : Tensor
        ``(batch, 4, N_BINS, n_frames)``, in the order of ``STEMS``.
    salience, voicing : Tensor
        ``(batch, 2, N_PITCH_BINS, n_frames)`` and ``(batch, 2, n_frames)``, logits, in the order of ``PITCHED_STEMS``.
    presence : Tensor or None
        ``(batch, 4, n_frames)``, logits, that the stems play; None: they do.
    strengths : Mapping of str to float
        By stem; 0: no factor.

    Returns
    -------
    dict of str to Tensor
        Factors.
    """
    found = {}
    for k, stem in enumerate(PITCHED_STEMS):
        if strength := strengths[stem]:
            place, certainty = STEMS.index(stem), torch.sigmoid(voicing[:, k])
            if presence is not None:
                certainty = certainty * torch.sigmoid(presence[:, place])
            hz, low = harmonic_prior.strongest_hz(salience[:, k]), masks[:, place, : harmonic_prior.N_COMB_BINS[stem]]
            found[stem] = harmonic_prior.leaning(low, hz, certainty, strength)
    return found


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
