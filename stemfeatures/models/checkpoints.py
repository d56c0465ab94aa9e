"""Checkpoints: name -> file, sha256, model card. A path to a ``.safetensors`` file works wherever a name does.

A checkpoint is a safetensors file whose metadata holds ``architecture`` (``joint``, or ``unet2017``, ``unet2018`` or
``unet2020``, which tell one part from the rest and do nothing else) and ``config`` (JSON), beside a model card of the
same name (``.json``) with licence, data, metrics and the training command.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..constants import STEMS
from ..errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from .joint import JointNet
    from .unet2017 import UNet2017Pair
    from .unet2018 import UNet2018
    from .unet2020 import UNet2020

Net = TypeVar("Net", bound="nn.Module")
WEIGHTS_DIR = Path(__file__).parent / "weights"
DEFAULT_MODEL = "joint-v1"
#: Module (of this package) and class of the networks of checkpoints.
_NETWORKS = {
    "joint": ("joint", "JointNet"),
    "unet2017": ("unet2017", "UNet2017Pair"),
    "unet2018": ("unet2018", "UNet2018"),
    "unet2020": ("unet2020", "UNet2020"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: ``name``, ``path``, ``sha256`` of the file and its ``card`` (a dict, may be empty)."""

    name: str
    path: Path
    sha256: str
    card: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)


def list_models() -> list[Checkpoint]:
    """Checkpoints that ship with the package, the default one first."""
    names = sorted((p.stem for p in WEIGHTS_DIR.glob("*.safetensors")), key=lambda name: (name != DEFAULT_MODEL, name))
    return [resolve(name) for name in names]


@lru_cache(maxsize=32)
def _sha256(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def resolve(model: str | Path = DEFAULT_MODEL) -> Checkpoint:
    """Find a checkpoint by name or path and check it against its card.

    Raises
    ------
    ModelError
        When there is no such checkpoint, or the file is not the one its card describes.
    """
    path = Path(model)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ModelError("no such checkpoint file", source=str(model))
    else:
        path = WEIGHTS_DIR / f"{model}.safetensors"
        if not path.is_file():
            names = ", ".join(p.stem for p in sorted(WEIGHTS_DIR.glob("*.safetensors"))) or "none"
            raise ModelError(f"unknown model {str(model)!r}; known: {names}, or a path to a .safetensors file")
    card_path = path.with_suffix(".json")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8")) if card_path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model card: {error}", source=str(card_path)) from error
    status = path.stat()
    sha256 = _sha256(path, status.st_size, status.st_mtime_ns)
    if card.get("sha256", sha256) != sha256:
        raise ModelError(f"file is damaged: its sha256 is {sha256}, the card says {card['sha256']}", source=str(path))
    return Checkpoint(path.stem, path, sha256, card)


def architecture(checkpoint: Checkpoint | str | Path = DEFAULT_MODEL) -> str:
    """``joint``, ``unet2017``, ``unet2018``, ``unet2020``, or what else the file says of itself ("" if nothing).

    Reads no weights.

    Raises
    ------
    ModelError
        When there is no such checkpoint or it cannot be read.
    """
    return _read(checkpoint if isinstance(checkpoint, Checkpoint) else resolve(checkpoint))[0].get("architecture", "")


def load(checkpoint: Checkpoint | str | Path = DEFAULT_MODEL, *, device: str = "cpu") -> JointNet:
    """Build the joint network of a checkpoint, in evaluation mode, on ``device``.

    Raises
    ------
    ModelError
        When the file cannot be read or does not fit the architecture it names.
    """
    from .joint import JointConfig, JointNet

    return _load(checkpoint, "joint", lambda config: JointNet(JointConfig.from_dict(config)), device)


def load_unet2017(checkpoint: Checkpoint | str | Path, *, device: str = "cpu") -> UNet2017Pair:
    """The same for the two U-Nets of 2017, which separate vocals and accompaniment."""
    from .unet2017 import UNet2017Pair

    return _load(checkpoint, "unet2017", lambda _: UNet2017Pair(), device)


def load_unet2018(checkpoint: Checkpoint | str | Path, *, device: str = "cpu") -> UNet2018:
    """The same for the U-Net of 2018, which separates its target and the accompaniment."""
    from .unet2018 import UNet2018, UNet2018Config

    return _load(checkpoint, "unet2018", lambda config: UNet2018(UNet2018Config.from_dict(config)), device)


def load_unet2020(checkpoint: Checkpoint | str | Path, *, device: str = "cpu") -> UNet2020:
    """The same for the generator of FactorGAN, which separates its target and the accompaniment."""
    from .unet2020 import UNet2020, UNet2020Config

    return _load(checkpoint, "unet2020", lambda config: UNet2020(UNet2020Config.from_dict(config)), device)


def load_any(checkpoint: Checkpoint | str | Path, *, device: str = "cpu") -> nn.Module:
    """The network of a checkpoint of whatever architecture; raises as :func:`load`."""
    checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else resolve(checkpoint)
    loaders: dict[str, Callable[..., nn.Module]] = {
        "unet2017": load_unet2017, "unet2018": load_unet2018, "unet2020": load_unet2020
    }  # fmt: skip
    return loaders.get(architecture(checkpoint), load)(checkpoint, device=device)


def stems_of(checkpoint: Checkpoint | str | Path = DEFAULT_MODEL) -> tuple[str, ...]:
    """What a checkpoint separates into, read from the file's metadata; raises as :func:`architecture`."""
    checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else resolve(checkpoint)
    metadata = _read(checkpoint)[0]
    if metadata.get("architecture") == "unet2017":
        return ("vocals", "accompaniment")
    if metadata.get("architecture") in ("unet2018", "unet2020"):
        try:
            return (str(json.loads(metadata["config"])["target"]), "accompaniment")
        except (KeyError, TypeError, ValueError) as error:
            message = f"the file does not say what it separates: {error}"
            raise ModelError(message, source=str(checkpoint.path)) from error
    return STEMS


def resolve_analysis(model: str | Path = DEFAULT_MODEL) -> tuple[Checkpoint, Checkpoint | None]:
    """What analyses with a model: a joint checkpoint, and a separator whose mask takes the place of its own.

    A joint checkpoint analyses alone. One that tells one of ``STEMS`` from the rest goes with the default joint one;
    then name and sha256 of the first are those of both with a ``+`` between, and its path is the separator's.

    Returns
    -------
    ``(provenance, separator)``: what tables and records call it, and the separator or None.

    Raises
    ------
    ModelError : no such checkpoint, or its target is none of ``STEMS``.
    """
    checkpoint = resolve(model)
    if len(stems := stems_of(checkpoint)) > 2:
        return checkpoint, None
    if stems[0] not in STEMS:
        message = f"it separates {stems[0]!r}, and the analysis is of {', '.join(STEMS)}; use it with separate"
        raise ModelError(message, source=str(checkpoint.path))
    joint = resolve()
    both = Checkpoint(
        f"{checkpoint.name}+{joint.name}", checkpoint.path, f"{checkpoint.sha256}+{joint.sha256}", checkpoint.card
    )
    return both, checkpoint


def _load(checkpoint: Checkpoint | str | Path, wanted: str, build: Callable[[dict[str, Any]], Net], device: str) -> Net:
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = resolve(checkpoint)
    _check_device(device)
    metadata, weights = _read(checkpoint, device)
    if (found := metadata.get("architecture")) != wanted:
        message = f"architecture {found!r} is not {wanted!r}"
        if found in ("unet2017", "unet2018", "unet2020"):
            message += f"; such a checkpoint separates {' and '.join(stems_of(checkpoint))} and can do nothing else"
        raise ModelError(message, source=str(checkpoint.path))
    try:
        model = build(json.loads(metadata["config"]))
        model.load_state_dict({k: v.float() for k, v in weights.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"weights do not fit the network: {error}", source=str(checkpoint.path)) from error
    return model.to(device).eval()


def _read(checkpoint: Checkpoint, device: str | None = None) -> tuple[dict[str, str], dict[str, Any]]:
    """Metadata and, on a ``device``, the weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(checkpoint.path), framework="pt", device=device or "cpu") as stored:
            names = stored.keys() if device else ()
            return stored.metadata() or {}, {k: stored.get_tensor(k) for k in names}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"cannot read the checkpoint: {error}", source=str(checkpoint.path)) from error


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"device {device!r} cannot be used: {reason}") from error


def architecture_of(model: nn.Module) -> str:
    """What :func:`architecture` will say of a network's checkpoint; TypeError for others than those it can save."""
    for name, (module, cls) in _NETWORKS.items():
        if isinstance(model, getattr(importlib.import_module(f".{module}", __package__), cls)):
            return name
    raise TypeError(f"no architecture of checkpoints: {type(model).__name__}")


def save(model: nn.Module, path: str | Path, card: dict[str, Any]) -> Checkpoint:
    """Write weights and card; the card's ``sha256`` is filled in."""
    from safetensors.torch import save_file

    name = architecture_of(model)
    path = Path(path).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    config = model.config.to_dict() if name != "unet2017" else {}  # type: ignore[union-attr, operator]
    save_file(tensors, str(path), {"architecture": name, "config": json.dumps(config, sort_keys=True)})
    path.chmod(0o644)  # safetensors makes files that only their owner can read
    write_card(path, card)
    return resolve(path)


def write_card(path: str | Path, card: dict[str, Any]) -> None:
    """Write the model card of a checkpoint file, with its digest."""
    path = Path(path)
    status = path.stat()
    card = {"name": path.stem, "sha256": _sha256(path, status.st_size, status.st_mtime_ns)} | {
        k: v for k, v in card.items() if k not in ("name", "sha256")
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
