"""Checkpoints: name -> file, sha256, model card. A path to a ``.safetensors`` file works wherever a name does.

A checkpoint is a safetensors file whose metadata holds ``architecture`` (a name of the table in
:mod:`~.architectures`) and ``config`` (JSON), beside a model card of the same name (``.json``) with licence, data,
metrics and the training command.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .._util.devices import is_cpu
from .._util.files import write_replace
from ..errors import ModelError
from . import architectures

if TYPE_CHECKING:
    from torch import nn

    from .joint import JointNet
    from .network import Network

    Net = TypeVar("Net", bound=Network)

WEIGHTS_DIR = Path(__file__).parent / "weights"
DEFAULT_MODEL = "joint-v8"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes
    ----------
    name : str
        Name of the file without its suffix.
    path : Path
        The ``.safetensors`` file.
    sha256 : str
        Digest of the file, 64 hexadecimal digits.
    card : dict
        The model card; empty if there is none.
    """

    name: str
    path: Path
    sha256: str
    card: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)

    @property
    def is_shipped(self) -> bool:
        """Whether it lies in the package, in which nothing is changed."""
        return self.path.parent.resolve() == WEIGHTS_DIR.resolve()


def list_models() -> list[Checkpoint]:
    """Checkpoints that ship with the package.

    Returns
    -------
    list of Checkpoint
        The default one first.

    Raises
    ------
    ModelError
        One of them is damaged.
    """
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
    """Find a checkpoint and check it against its card.

    Parameters
    ----------
    model : str or Path, optional
        Name of a shipped checkpoint, or path of a ``.safetensors`` file.

    Returns
    -------
    Checkpoint
        Weights are not read.

    Raises
    ------
    ModelError
        There is no such checkpoint, or the file is not the one that its card describes.

    Examples
    --------
    >>> resolve().card["architecture"]
    'joint'
    """
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"model must be the name of a checkpoint or a path to one, got {model!r}")
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


def network_class(checkpoint: Checkpoint | str | Path = DEFAULT_MODEL) -> type[Network]:
    """The class of a checkpoint's network, which says its grid, tasks and architecture.

    Parameters
    ----------
    checkpoint : Checkpoint, str or Path, optional
        The checkpoint, or its name or path. Weights are not read.

    Returns
    -------
    type
        Subclass of :class:`~.network.Network`.

    Raises
    ------
    ModelError
        There is no such checkpoint, it cannot be read, or its architecture is not known here.
    """
    checkpoint = _resolved(checkpoint)
    return _class_of(checkpoint, _read(checkpoint)[0])


def stems_of(checkpoint: Checkpoint | str | Path = DEFAULT_MODEL) -> tuple[str, ...]:
    """What a checkpoint separates into.

    Parameters
    ----------
    checkpoint : Checkpoint, str or Path, optional
        The checkpoint, or its name or path. Weights are not read.

    Returns
    -------
    tuple of str
        Names of the stems in the order of the network's output.

    Raises
    ------
    ModelError
        As :func:`network_class`, or the file does not tell its configuration.

    Examples
    --------
    >>> stems_of()
    ('vocals', 'drums', 'bass', 'other')
    """
    checkpoint = _resolved(checkpoint)
    metadata = _read(checkpoint)[0]
    network = _class_of(checkpoint, metadata)
    return network.stems_of(_config_of(checkpoint, network, metadata))


def resolve_analysis(model: str | Path = DEFAULT_MODEL) -> tuple[Checkpoint, Checkpoint | None]:
    """What analyses with a model: a joint checkpoint, and a separator whose mask takes the place of its own.

    Parameters
    ----------
    model : str or Path, optional
        A joint checkpoint, which analyses alone, or one that separates a target from its accompaniment, which goes with
        the default joint one. A target that is none of ``STEMS`` (guitar) is a row of its own.

    Returns
    -------
    provenance : Checkpoint
        What tables and records call it. Of two checkpoints, name and sha256 are those of both with a ``+`` between, and
        the path is the separator's.
    separator : Checkpoint or None
        The separator.

    Raises
    ------
    ModelError
        There is no such checkpoint, or it separates anything else.
    """
    checkpoint = resolve(model)
    if "f0" in network_class(checkpoint).tasks:
        return checkpoint, None
    stems = stems_of(checkpoint)
    if len(stems) != 2:
        message = f"it separates {', '.join(stems)}, not a target and its accompaniment; use it with separate"
        raise ModelError(message, source=str(checkpoint.path))
    joint = resolve()
    both = Checkpoint(
        f"{checkpoint.name}+{joint.name}", checkpoint.path, f"{checkpoint.sha256}+{joint.sha256}", checkpoint.card
    )
    return both, checkpoint


def load(checkpoint: Checkpoint | str | Path = DEFAULT_MODEL, *, device: str = "cpu") -> JointNet:
    """Load a joint network: :func:`load_network` for those that analyse.

    Parameters
    ----------
    checkpoint : Checkpoint, str or Path, optional
        The checkpoint, or its name or path.
    device : str, optional
        Torch device.

    Returns
    -------
    JointNet
        In evaluation mode, on the device.

    Raises
    ------
    ModelError
        As :func:`load_network`.
    """
    from .joint import JointNet

    return load_network(checkpoint, JointNet, device=device)


def load_for_inference(
    checkpoint: Checkpoint | str | Path = DEFAULT_MODEL, *, device: str = "cpu", precision: str = "float32"
) -> JointNet:
    """Load a joint network that will not be trained: on a CPU it is :func:`~.fusion.fused`, and cheaper.

    Parameters
    ----------
    checkpoint : Checkpoint, str or Path, optional
        The checkpoint, or its name or path.
    device : str, optional
        Torch device.
    precision : str, default="float32"
        In which it computes on a CPU, see :mod:`.precision`.

    Returns
    -------
    JointNet
        In evaluation mode, on the device; takes and gives float32.

    Raises
    ------
    ModelError
        As :func:`load_network`, or it cannot compute in this precision.
    """
    from .fusion import fused
    from .precision import dtype_of, resolved_precision

    try:
        dtype = dtype_of(resolved_precision(precision, device))
    except ValueError as error:
        raise ModelError(str(error)) from error
    net = load(checkpoint, device=device)
    return fused(net, in_place=True, dtype=dtype) if is_cpu(device) else net


@overload
def load_network(checkpoint: Checkpoint | str | Path, *, device: str = "cpu") -> Network: ...


@overload
def load_network(checkpoint: Checkpoint | str | Path, kind: type[Net], *, device: str = "cpu") -> Net: ...


def load_network(
    checkpoint: Checkpoint | str | Path, kind: type[Net] | None = None, *, device: str = "cpu"
) -> Network | Net:
    """Load the network of a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint, str or Path
        The checkpoint, or its name or path.
    kind : type, optional
        The class that it must be of; None takes any.
    device : str, optional
        Torch device.

    Returns
    -------
    Network
        In evaluation mode, on the device.

    Raises
    ------
    ModelError
        The file cannot be read, is of another class, or does not fit the architecture that it names; or the device
        cannot be used.
    """
    checkpoint = _resolved(checkpoint)
    _check_device(device)
    metadata, weights = _read(checkpoint, device)
    network = _class_of(checkpoint, metadata)
    if kind is not None and not issubclass(network, kind):
        message = f"architecture {network.architecture!r} is not {getattr(kind, 'architecture', kind.__name__)!r}"
        if network.tasks == {"separation"}:
            stems = " and ".join(network.stems_of(_config_of(checkpoint, network, metadata)))
            message += f"; such a checkpoint separates {stems} and can do nothing else"
        raise ModelError(message, source=str(checkpoint.path))
    model = network(_config_of(checkpoint, network, metadata))
    try:
        model.load_state_dict({k: v.float() for k, v in weights.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"weights do not fit the network: {error}", source=str(checkpoint.path)) from error
    return model.to(device).eval()


def _resolved(checkpoint: Checkpoint | str | Path) -> Checkpoint:
    return checkpoint if isinstance(checkpoint, Checkpoint) else resolve(checkpoint)


def _class_of(checkpoint: Checkpoint, metadata: Mapping[str, str]) -> type[Network]:
    try:
        return architectures.find(metadata.get("architecture", ""))
    except ModelError as error:
        raise ModelError(error.message, source=str(checkpoint.path)) from error


def _config_of(checkpoint: Checkpoint, network: type[Network], metadata: Mapping[str, str]) -> Any:
    try:
        return network.Config.from_dict(json.loads(metadata["config"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"the configuration of the network cannot be read: {error}"
        raise ModelError(message, source=str(checkpoint.path)) from error


def _read(checkpoint: Checkpoint, device: str | None = None) -> tuple[dict[str, str], dict[str, Any]]:
    """Metadata and, on a ``device``, the weights."""
    from safetensors import SafetensorError, safe_open

    try:
        into = "cpu" if device is None or is_cpu(device) else device  # safetensors knows no cpu:0
        with safe_open(str(checkpoint.path), framework="pt", device=into) as stored:
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


def save(model: nn.Module, path: str | Path, card: Mapping[str, Any]) -> Checkpoint:
    """Write weights and card.

    Parameters
    ----------
    model : Network
        The network.
    path : str or Path
        Where to; the suffix becomes ``.safetensors``, missing folders are made.
    card : Mapping
        The model card; its ``name`` and ``sha256`` are filled in.

    Returns
    -------
    Checkpoint
        What was written.

    Raises
    ------
    TypeError
        The network is no :class:`~.network.Network`.
    OSError
        The files cannot be written.
    """
    from safetensors.torch import save_file

    from .network import Network

    if not isinstance(model, Network):
        raise TypeError(f"no architecture of checkpoints: {type(model).__name__}")
    path = Path(path).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    config = json.dumps(model.config.to_dict(), sort_keys=True)
    save_file(tensors, str(path), {"architecture": model.architecture, "config": config})
    path.chmod(0o644)  # safetensors makes files that only their owner can read
    write_card(path, card)
    return resolve(path)


def write_card(path: str | Path, card: Mapping[str, Any]) -> None:
    """Write the model card of a checkpoint file.

    Parameters
    ----------
    path : str or Path
        The ``.safetensors`` file.
    card : Mapping
        The card; its ``name`` and ``sha256`` are filled in.

    Raises
    ------
    OSError
        The checkpoint cannot be read, or the card not be written.
    """
    path = Path(path)
    status = path.stat()
    filled = {"name": path.stem, "sha256": _sha256(path, status.st_size, status.st_mtime_ns)} | {
        k: v for k, v in card.items() if k not in ("name", "sha256")
    }
    write_replace(path.with_suffix(".json"), f"{json.dumps(filled, indent=2, ensure_ascii=False)}\n".encode())
