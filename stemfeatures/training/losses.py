"""The losses of joint training.

Separation: L1 between the masked and the true spectrogram (Jansson et al. 2017 use magnitudes), here a mix of the
magnitude distance ``| M|X| - |Y| |`` and the complex distance ``| M X - Y |``, the second of which makes the mask
smaller where the mixture's phase, which is used for rendering, is wrong. Both are divided by the mixture's mean
magnitude. Pitch, voicing and rhythm: binary cross-entropy where a label is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..constants import HOP_LENGTH, N_BINS
from ..models.joint import JointOutput
from ..spectral import stft


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; ``complex_share`` is the share of the complex distance in the separation loss."""

    separation: float = 1.0
    complex_share: float = 0.7
    pitch: float = 6.0
    pitch_positive: float = 8.0
    voicing: float = 0.15
    rhythm: float = 0.4
    rhythm_positive: float = 6.0


def spectrograms(stems: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``(batch, 4, n_samples)`` to |X| (batch, bins, frames), |Y| and Re(conj(X) Y) (batch, 4, bins, frames)."""
    frames = stems.shape[-1] // HOP_LENGTH
    sources = stft(stems)[..., :N_BINS, :frames]
    mixture = sources.sum(dim=1)
    aligned = mixture.real[:, None] * sources.real + mixture.imag[:, None] * sources.imag
    return mixture.abs(), sources.abs(), aligned


def separation_loss(
    masks: Tensor, mixture: Tensor, sources: Tensor, aligned: Tensor, *, complex_share: float
) -> Tensor:
    """Mean over bins and frames of the distances summed over stems, relative to the mixture's mean magnitude."""
    level = mixture.mean(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    estimate = masks * mixture[:, None]
    total = masks.new_zeros(())
    if complex_share < 1:
        distance = (estimate - sources).abs().sum(dim=1)
        total = total + (1 - complex_share) * (distance / level).mean()
    if complex_share > 0:
        # |MX - Y|^2 = M^2 |X|^2 - 2 M Re(conj(X) Y) + |Y|^2
        square = estimate**2 - 2 * masks * aligned + sources**2
        distance = (square.clamp_min(0) + 1e-4 * level[:, None] ** 2).sqrt().sum(dim=1)
        total = total + complex_share * (distance / level).mean()
    return total


def masked_bce(logits: Tensor, target: Tensor, known: Tensor, positive: float) -> Tensor:
    """Cross-entropy with weight ``positive`` on targets of 1, averaged over the known entries."""
    weight = known.expand_as(target) * (1 + (positive - 1) * target)
    loss = F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")
    return loss / known.expand_as(target).sum().clamp_min(1.0)


def joint_loss(
    output: JointOutput, batch: dict[str, Tensor], spectra: tuple[Tensor, Tensor, Tensor], weights: LossWeights
) -> dict[str, Tensor]:
    """All terms, unweighted, and their weighted sum under ``loss``."""
    terms = {
        "separation": separation_loss(output.masks, *spectra, complex_share=weights.complex_share),
        "pitch": masked_bce(
            output.salience, batch["salience"].float(), batch["voiced_known"][:, :, None], weights.pitch_positive
        ),
        "voicing": masked_bce(output.voicing, batch["voiced"], batch["voiced_known"], 1.0),
        "rhythm": masked_bce(
            output.rhythm, batch["rhythm"], batch["rhythm_known"][:, :, None], weights.rhythm_positive
        ),
    }
    terms["loss"] = sum((getattr(weights, k) * v for k, v in terms.items()), torch.zeros(()))
    return terms
