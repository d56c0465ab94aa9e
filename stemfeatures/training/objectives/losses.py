"""The losses of joint training.

Separation: L1 between the masked and the true spectrogram (Jansson et al. 2017 use magnitudes), here a mix of the
magnitude distance ``| M|X| - |Y| |`` and the complex distance ``| M X - Y |``, the second of which makes the mask
smaller where the mixture's phase, which is used for rendering, is wrong. Both are divided by the mixture's mean
magnitude. Pitch, voicing and rhythm: binary cross-entropy where a label is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import HOP_LENGTH, N_BINS, N_FFT, STEMS
from ...descriptors.activity import BELOW_MIXTURE_DB, MAX_GAP_S
from ...spectra.transform import stft
from ..config import LossWeights

#: Shares of a stem's energy, and of the mixture's stems', that stand beside the error that is to become smaller.
NEARLY = 0.03, 0.003


def spectrograms(stems: Tensor, offset: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """``(batch, 4, n_samples)`` to |X| (batch, bins, frames), |Y| and Re(conj(X) Y) (batch, 4, bins, frames).

    ``offset`` (batch,) is a constant that each mixture has on top of its stems.
    """
    frames = stems.shape[-1] // HOP_LENGTH
    # One example at a time on a CPU, so that intermediate results stay in its cache.
    size = 1 if _on_cpu(stems) else len(stems)
    constants: Sequence[Tensor | None] = (None,) * len(stems) if offset is None else offset.split(size)
    planes = [
        _planes(stft(example)[..., :N_BINS, :frames], None if constant is None else _constant(example, constant))
        for example, constant in zip(stems.split(size), constants)
    ]
    mixture, magnitude, aligned = (torch.cat(plane) for plane in zip(*planes))
    return mixture, magnitude, aligned


def taught(
    spectra: tuple[Tensor, Tensor, Tensor], masks: Tensor, stems: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`spectrograms` gives, with the estimates of another network in the place of some stems.

    A network that learns from them what it did before forgets less of it (Li and Hoiem, "Learning without forgetting",
    ECCV 2016).

    Parameters
    ----------
    spectra : tuple of Tensor
        Of :func:`spectrograms`.
    masks : Tensor
        ``(batch, 4, bins, frames)`` of the other network.
    stems : sequence of str
        Which of ``STEMS`` are replaced.

    Returns
    -------
    tuple of Tensor
        As ``spectra``.
    """
    mixture, magnitude, aligned = spectra
    replaced = torch.tensor([stem in stems for stem in STEMS], device=masks.device)[:, None, None]
    estimate = masks * mixture[:, None]
    magnitude = torch.where(replaced, estimate, magnitude)
    return mixture, magnitude, torch.where(replaced, estimate * mixture[:, None], aligned)


#: Where the band of an example ends that is limited, in Hz: from below half of 8 kHz to half of 16 kHz.
BAND_ENDS_HZ = (3200.0, 8000.0)


def band_limited(
    spectra: tuple[Tensor, Tensor, Tensor], share: float, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`spectrograms` gives, with the upper band of some examples left out, in stems and mixture alike.

    Parameters
    ----------
    spectra : tuple of Tensor
        Of :func:`spectrograms`.
    share : float
        Share of the examples that are limited, 0..1.
    random : torch.Generator
        Decides which, and where their band ends.

    Returns
    -------
    tuple of Tensor
        As given, with the limited examples zero above the end of their band.
    """
    lowest, highest = BAND_ENDS_HZ
    chosen, place = torch.rand(2, len(spectra[0]), generator=random)
    hertz = torch.where(chosen < share, lowest * (highest / lowest) ** place, torch.inf)
    keep = torch.arange(N_BINS) * (SR / N_FFT) <= hertz[:, None]
    mixture, magnitude, aligned = spectra
    kept = keep.to(mixture)[:, :, None]
    return mixture * kept, magnitude * kept[:, None], aligned * kept[:, None]


def _constant(stems: Tensor, offset: Tensor) -> Tensor:
    """The spectrum (batch, bins, frames) of ``offset`` (batch,) throughout."""
    frames = stems.shape[-1] // HOP_LENGTH
    return stft(stems.new_ones(1, stems.shape[-1]))[:, :N_BINS, :frames] * offset.to(stems)[:, None, None]


def _planes(sources: Tensor, constant: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    # The STFT's frames lie apart in memory; what reads these planes beside masks wants them in the masks' order.
    real, imag = _in_order(sources.real), _in_order(sources.imag)
    mixture_real, mixture_imag = real.sum(dim=1), imag.sum(dim=1)
    if constant is not None:
        mixture_real, mixture_imag = mixture_real + constant.real, mixture_imag + constant.imag
    aligned = torch.addcmul(mixture_real[:, None] * real, mixture_imag[:, None], imag)
    mixture = mixture_real.square_().addcmul_(mixture_imag, mixture_imag).sqrt_()
    return mixture, real.square_().addcmul_(imag, imag).sqrt_(), aligned


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu"


def _in_order(planes: Tensor) -> Tensor:
    """Contiguous; on a CPU plane by plane, which torch does in blocks and several times as fast."""
    if not _on_cpu(planes):
        return planes.contiguous()
    out = torch.empty_like(planes, memory_format=torch.contiguous_format)
    for source, target in zip(planes.flatten(0, -3), out.flatten(0, -3)):
        target.copy_(source)
    return out


#: Elements that are worked on at a time on a CPU: what fits its cache with all intermediate results.
_CHUNK = 1 << 17


class _Distance(torch.autograd.Function):
    """Sum of the separation distances, and with it their derivative: one pass over the planes.

    Automatic differentiation would read and write the largest tensors of training some thirty times.
    """

    @staticmethod
    def forward(
        ctx: Any, masks: Tensor, mixture: Tensor, sources: Tensor, aligned: Tensor, level: Tensor, share: float
    ) -> Tensor:
        slopes = torch.empty_like(masks, memory_format=torch.contiguous_format)
        total = masks.new_zeros(())
        for block in _blocks(masks):
            x, unit = mixture[block[0], None, block[2]], level[block[0], None]
            value, slopes[block] = _distances(masks[block], x, sources[block], aligned[block], unit, share)
            total += value
        ctx.save_for_backward(slopes)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return slopes * grad, None, None, None, None, None


def _blocks(masks: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    batch, stems, bins, frames = masks.shape
    if not _on_cpu(masks):
        yield slice(None), slice(None), slice(None)
        return
    step = max(1, _CHUNK // frames)
    for example in range(batch):
        for first in range(0, bins, step):
            for stem in range(stems):
                yield slice(example, example + 1), slice(stem, stem + 1), slice(first, first + step)


def _distances(m: Tensor, x: Tensor, y: Tensor, aligned: Tensor, level: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Sum of ``(1 - share) |m x - y| + share sqrt(|m X - Y|^2 + 1e-4 level^2)``, over ``level``, and its slope in m."""
    power = m * x
    apart = power - y
    power.mul_(x).sub_(aligned)  # half the slope of the square: m x^2 - Re(conj(X) Y)
    square = (power - aligned).mul_(m).addcmul_(y, y)  # |mX - Y|^2 = m (m x^2 - 2 Re(conj(X) Y)) + y^2
    root = square.clamp_min(0).add_(1e-4 * level**2).sqrt_()
    sums = [d.sum(dim=(1, 2, 3), keepdim=True) for d in (apart.abs(), root)]
    value = (((1 - share) * sums[0] + share * sums[1]) / level).sum()
    power.div_(root).masked_fill_(square < 0, 0.0)
    return value, apart.sign_().mul_(x).mul_(1 - share).add_(power, alpha=share).div_(level)


def separation_loss(
    masks: Tensor, mixture: Tensor, sources: Tensor, aligned: Tensor, *, complex_share: float
) -> Tensor:
    """Mean over bins and frames of the distances summed over stems, relative to the mixture's mean magnitude.

    Differentiable in ``masks`` alone, once.
    """
    level = mixture.mean(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    return _Distance.apply(masks, mixture, sources, aligned, level, complex_share) / mixture.numel()


def refinement_loss(masks: Tensor, before: Tensor, spectra: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Squared errors of refined masks over those of the masks before, summed over stems.

    So that each stem of each example counts by the decibels that it gains, however loud it is. What was nearly right,
    and what is nearly silent, counts less (:data:`NEARLY`).

    Parameters
    ----------
    masks, before : Tensor
        ``(batch, 4, k, n_frames)``, of the lowest bins.
    spectra : tuple of Tensor
        As :func:`spectrograms` gives them, of at least as many bins.

    Returns
    -------
    Tensor
        Their mean over the examples; about four where nothing is refined.
    """
    mixture, magnitude, aligned = (x[..., : masks.shape[2], :] for x in spectra)
    energy = magnitude.square().sum(dim=(2, 3))

    def errors(these: Tensor) -> Tensor:
        estimate = these * mixture[:, None]
        return (estimate.square() - 2 * these * aligned).sum(dim=(2, 3)) + energy

    own, whole = NEARLY
    unit = errors(before).clamp_min(0) + own * energy + whole * energy.sum(dim=1, keepdim=True)
    heard = energy.sum(dim=1) > 0
    return ((errors(masks) / unit.clamp_min(torch.finfo(unit.dtype).tiny)).sum(dim=1) * heard).mean()


def masked_bce(logits: Tensor, target: Tensor, known: Tensor, positive: float) -> Tensor:
    """Cross-entropy with weight ``positive`` on targets of 1, averaged over the known entries."""
    weight = known.expand_as(target) * (1 + (positive - 1) * target)
    loss = F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")
    return loss / known.expand_as(target).sum().clamp_min(1.0)


def pitch_losses(
    salience: Tensor, voicing: Tensor, batch: dict[str, Tensor], weights: LossWeights
) -> dict[str, Tensor]:
    """``pitch`` and ``voicing``, unweighted, from logits (batch, 2, N_PITCH_BINS, frames) and (batch, 2, frames)."""
    known = batch["voiced_known"]
    return {
        "pitch": masked_bce(salience, batch["salience"].float(), known[:, :, None], weights.pitch_positive),
        "voicing": masked_bce(voicing, batch["voiced"], known, 1.0),
    }


def rhythm_loss(logits: Tensor, batch: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Unweighted, from logits (batch, 3, frames)."""
    return masked_bce(logits, batch["rhythm"], batch["rhythm_known"][:, :, None], weights.rhythm_positive)


#: Within so many dB of the threshold it is not known whether a stem plays.
UNSURE_DB = 5.0


def presence_targets(stems: Tensor) -> tuple[Tensor, Tensor]:
    """Which stems play, from the stems themselves, as :mod:`stemfeatures.descriptors.activity` defines it: less than
    ``BELOW_MIXTURE_DB`` below the mixture, or in a pause shorter than ``MAX_GAP_S``.

    Parameters
    ----------
    stems : Tensor
        ``(batch, 4, n_samples)``.

    Returns
    -------
    target : Tensor
        ``(batch, 4, n_frames)`` of 0 and 1.
    known : Tensor
        The same; 0 near the threshold.
    """
    frames = stems.shape[-1] // HOP_LENGTH
    energy = stems[..., : frames * HOP_LENGTH].unflatten(-1, (frames, HOP_LENGTH)).square().mean(dim=-1)
    mixture = stems.sum(dim=1)[..., : frames * HOP_LENGTH].unflatten(-1, (frames, HOP_LENGTH)).square().mean(dim=-1)
    # the energy-weighted mean of the mixture's frames, as the descriptors have it
    level = (mixture.square().sum(dim=-1) / mixture.sum(dim=-1).clamp_min(1e-12))[:, None, None]
    plays, surely, perhaps = (
        _bridged(energy > level * 10 ** (decibels / 10) + 1e-12)
        for decibels in (-BELOW_MIXTURE_DB, UNSURE_DB - BELOW_MIXTURE_DB, -UNSURE_DB - BELOW_MIXTURE_DB)
    )
    return plays.to(stems.dtype), (surely == perhaps).to(stems.dtype)


def _bridged(plays: Tensor) -> Tensor:
    """Pauses shorter than ``MAX_GAP_S`` filled; at the ends of an example those of half that length."""
    reach = round(MAX_GAP_S / 2 * SR / HOP_LENGTH)
    wide = F.max_pool1d(plays.float(), 2 * reach + 1, 1, reach)
    return -F.max_pool1d(-wide, 2 * reach + 1, 1, reach) > 0.5


def presence_loss(logits: Tensor, stems: Tensor) -> Tensor:
    """Unweighted, from logits (batch, 4, frames)."""
    target, known = presence_targets(stems)
    return masked_bce(logits, target, known, 1.0)


def weighted_sum(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Of the terms there are."""
    return torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
