"""The objective of the joint network: separation, F0 and rhythm at once, fully supervised."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...constants import STEMS
from ...errors import ModelError
from ...models import checkpoints
from ...models.joint import SUBNETWORKS, JointConfig, JointNet
from ...models.mask_factors import refined
from ...models.precision import mixed_precision
from ..config import TrainConfig
from .augmentation import coded, inverted, low_end, offsets, quiet
from .base import Batch, Objective, step_generator
from .losses import (
    band_limited,
    pitch_losses,
    presence_loss,
    refinement_loss,
    rhythm_loss,
    separation_loss,
    spectrograms,
    taught,
    weighted_sum,
)

logger = logging.getLogger(__name__)

#: Subnetworks that a network may have, and the fields of the configuration that are theirs.
_OPTIONAL = {"presence": ("presence_channels", "presence_layers"), "refiner": ("refiner_width", "refined_bins")}


class JointObjective(Objective):
    """AdamW on the losses of the subnetworks that the recipe ``learns``; an average of the weights is what is exported.

    The others stay as they are: a separator that does not learn gives fixed masks, without gradients, and where
    only the separator learns nothing is read from its masks.

    Attributes
    ----------
    model : JointNet
        The network.
    average : JointNet
        The same with the average of its weights.

    Raises
    ------
    ModelError
        The recipe's initial checkpoint cannot be loaded, or is of another network than the recipe's.
    """

    terms = ("loss", "separation", "pitch", "voicing", "rhythm", "presence", "refinement")

    def __init__(self, config: TrainConfig, device: str) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.model = JointNet(JointConfig.from_dict(config.model)).to(device)
        if config.initial:
            first = checkpoints.load(config.initial, device=device)
            _begin_with(self.model, first, config.initial)
            if "separator" not in (config.learns or SUBNETWORKS):  # what was chosen for its masks still holds
                self.model.config = self.model.config.with_calibration_of(first.config)
        self.average = JointNet(self.model.config).to(device)
        self.average.load_state_dict(self.model.state_dict())
        self.teacher = _teacher(config, device)
        self.learns = config.learns or self.model.subnetworks
        for name, module in self.model.named_children():
            module.requires_grad_(name in self.learns)
        learned = [p for p in self.model.parameters() if p.requires_grad]
        decayed = [p for p in learned if p.ndim > 1]
        plain = [p for p in learned if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
        self.model.train()
        for name, module in self.model.named_children():
            if name not in self.learns:
                module.eval()
        if config.norm == "running":
            for module in self.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        if unused := [name for name in ("settings", "excerpts", "target") if getattr(config, name)]:
            raise ModelError(f"the joint objective takes no {', '.join(unused)}", source=config.name, stage="train")
        if config.network != "joint":
            message = f"the joint objective trains the joint network, not {config.network!r}"
            raise ModelError(message, source=config.name, stage="train")
        if unknown := sorted(set(config.learns) - set(SUBNETWORKS)):
            message = f"unknown subnetworks to learn: {', '.join(unknown)}; known: {', '.join(SUBNETWORKS)}"
            raise ModelError(message, source=config.name, stage="train")
        network = _network_config(config)
        if "presence" in config.learns and not network.presence_channels:
            message = "its network has no presence to learn: model.presence_channels is 0"
            raise ModelError(message, source=config.name, stage="train")
        if network.refiner_width:
            if config.learns != ("refiner",) or not config.initial:
                message = (
                    'a refiner learns alone (learns = ["refiner"]), behind the masks of an initial checkpoint that '
                )
                message += "stays as it is; what else learns takes model.refiner_width = 0"
                raise ModelError(message, source=config.name, stage="train")
        elif "refiner" in config.learns:
            message = "its network has no refiner to learn: model.refiner_width is 0"
            raise ModelError(message, source=config.name, stage="train")
        labelled = set(config.learns or SUBNETWORKS) - {"separator", "presence", "refiner"}
        if config.mixing == "device" and (config.songs < 1 or labelled):
            message = "mixing on the device makes no labels and reads songs alone: it takes songs = 1.0 and learns "
            message += "separator, presence or both, or the refiner"
            raise ModelError(message, source=config.name, stage="train")
        if unknown := sorted(set(config.keeps) - set(STEMS)):
            message = f"unknown stems to keep: {', '.join(unknown)}; known: {', '.join(STEMS)}"
            raise ModelError(message, source=config.name, stage="train")
        kept_by = config.teacher or config.initial
        if config.keeps and not (kept_by and "separator" in (config.learns or SUBNETWORKS)):
            message = "keeps holds stems to a teacher or initial checkpoint while the separator learns"
            raise ModelError(message, source=config.name, stage="train")
        if config.teacher and not config.keeps:
            raise ModelError("its teacher has no stems to keep", source=config.name, stage="train")
        if config.norm == "running" and not config.initial:
            message = "norm = running keeps the statistics of an initial checkpoint, and the recipe names none"
            raise ModelError(message, source=config.name, stage="train")

    @property
    def exported(self) -> JointNet:
        return self.average

    def step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns the unweighted losses."""
        config = self.config
        self.learning_rate = config.learning_rate_at(self.steps_done)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        terms = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        else:
            logger.warning("step %d: gradient is not finite, step skipped", self.steps_done)
        self.steps_done += 1
        update_average(self.average, self.model, config.ema, self.steps_done)
        return {k: float(v.detach()) for k, v in terms.items()}

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of the subnetworks that learn, unweighted, and their weighted sum under ``loss``."""
        config, learns, terms = self.config, self.learns, {}
        stems = batch["stems"]
        if config.quiet:
            stems = quiet(stems, config.quiet, step_generator(config.seed, self.steps_done, 4))
        if config.low_end:
            stems = low_end(stems, config.low_end, step_generator(config.seed, self.steps_done, 5))
        if config.inverted:
            stems = inverted(stems, config.inverted, step_generator(config.seed, self.steps_done, 1))
        if config.coded:
            stems = coded(stems, config.coded, step_generator(config.seed, self.steps_done, 2))
        offset = None
        if config.offset:
            offset = offsets(len(stems), config.offset, step_generator(config.seed, self.steps_done, 3))
        spectra = spectrograms(stems, offset)
        if config.band_limited:
            random = step_generator(config.seed, self.steps_done)
            spectra = band_limited(spectra, config.band_limited, random)
        frames = spectra[0].shape[-1]
        device = spectra[0].device.type
        if "refiner" in learns:
            terms["refinement"] = self._refinement(spectra)
            return terms | {"loss": weighted_sum(terms, config.loss)}
        with torch.autocast(device, torch.bfloat16, enabled=mixed_precision(config.precision, device)):
            separated = self.model.separate(spectra[0])
            pitch = self.model.read_pitch(separated) if "pitch" in learns else None
            rhythm = self.model.read_rhythm(separated) if "rhythm" in learns else None
            presence = self.model.read_presence(separated) if "presence" in learns else None
            if self.teacher is not None:
                with torch.no_grad():
                    teaching = self.teacher.separate(spectra[0]).masks
        if self.teacher is not None:
            spectra = taught(spectra, teaching.float()[..., :frames], config.keeps)
        if "separator" in learns:
            masks = separated.masks.float()[..., :frames]
            terms["separation"] = separation_loss(masks, *spectra, complex_share=config.loss.complex_share)
        if pitch is not None:
            salience, voicing = (value.float()[..., :frames] for value in pitch)
            terms |= pitch_losses(salience, voicing, batch, config.loss)
        if rhythm is not None:
            terms["rhythm"] = rhythm_loss(rhythm.float()[..., :frames], batch, config.loss)
        if presence is not None:
            terms["presence"] = presence_loss(presence.float()[..., :frames], stems)
        return terms | {"loss": weighted_sum(terms, config.loss)}

    def _refinement(self, spectra: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The loss of the refiner, behind a network that stays as it is."""
        mixture, refiner = spectra[0], self.model.refiner
        assert refiner is not None
        device, frames = mixture.device.type, mixture.shape[-1]
        with torch.autocast(device, torch.bfloat16, enabled=mixed_precision(self.config.precision, device)):
            masks, planes = self.model.before_refining(mixture)
            added = refiner(planes)
        before = masks[:, :, : added.shape[2], :frames].float()
        return refinement_loss(refined(before, added[..., :frames].float()), before, spectra)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = int(state["step"])


def _network_config(config: TrainConfig) -> JointConfig:
    try:
        return JointConfig.from_dict(config.model)
    except (TypeError, ValueError) as error:
        raise ModelError(f"recipe: model: {error}", source=config.name, stage="train") from error


def _teacher(config: TrainConfig, device: str) -> JointNet | None:
    """Whose estimates the stems of ``config.keeps`` are held to; its masks are those that it learned."""
    if not config.keeps:
        return None
    teacher = checkpoints.load(config.teacher or config.initial, device=device)
    return teacher.eval().requires_grad_(False)


def _begin_with(model: JointNet, first: JointNet, source: str) -> None:
    """The weights of ``first``; a subnetwork that only one of them has stays as it is, or is left out."""
    # How sharp masks are given out was chosen after that training, and says nothing of the network.
    own = first.config.with_calibration_of(model.config)
    of_one = {name for name in _OPTIONAL if (getattr(first, name) is None) != (getattr(model, name) is None)}
    own = replace(own, **{field: getattr(model.config, field) for name in of_one for field in _OPTIONAL[name]})
    if own != model.config:
        raise ModelError("its network is not the recipe's", source=source, stage="train")
    for name in {key.split(".")[0] for keys in model.load_state_dict(first.state_dict(), strict=False) for key in keys}:
        assert name in of_one, name


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, steps_done: int) -> None:
    """Move ``average`` towards ``model`` after step ``steps_done``; 0 makes it equal."""
    # Early on the average follows quickly, so that short runs are not dominated by the random start.
    decay = min(decay, (1 + steps_done) / (10 + steps_done))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values()):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
