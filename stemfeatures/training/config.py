"""Training recipes: dataclasses read from TOML, written back into every checkpoint."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from ..errors import ModelError
from ..models.precision import PRECISIONS

MIXINGS = ("loaders", "device")
#: Statistics that batch norm normalises with while it learns.
NORMS = ("batch", "running")

#: What keys of recipes were called in runs and files of before.
_RENAMED = {"parts": "excerpts"}

Settings = TypeVar("Settings")


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
    presence: float = 0.2
    refinement: float = 1.0

    def __post_init__(self) -> None:
        require_types(self)
        if negative := [f.name for f in fields(self) if not getattr(self, f.name) >= 0]:
            raise ValueError(f"loss.{negative[0]} cannot be negative")
        if self.complex_share > 1:
            raise ValueError(f"loss.complex_share is a share from 0 to 1, not {self.complex_share}")


@dataclass(frozen=True)
class TrainConfig:
    """A recipe.

    Attributes
    ----------
    name : str, default='joint'
        Name of the checkpoint.
    seed : int, default=0
        Seeds weights and examples.
    steps : int, default=2000
        Optimiser steps, in ``cycles`` of equal length. In each the learning rate warms up over ``warmup`` steps, stays,
        and falls linearly to zero over the last ``decay`` share.
    batch_size : int, default=8
        Examples a step.
    n_frames : int, default=256
        Frames of an example.
    ema : float, default=0.995
        Decay of the averaged weights that are exported.
    songs : float, default=0.0
        Share of the examples that is cut from multitracks, 0..1; the others are mixed of isolated sounds.
    validate_every : int, default=500
        Steps between looks at the development songs, where there are some.
    patience : int, default=0
        So many looks without a better score end the run; 0 = never.
    mixing : str, default='loaders'
        Where examples are made: by ``loaders``, processes beside the training, or on the ``device`` itself, for recipes
        that learn the separator from songs alone.
    precision : str, default='float32'
        ``float32``, ``bfloat16`` for mixed precision, or ``auto``: mixed where the device has instructions for it.
    licences : dict[str, str], default={}
        ``{source: licence}`` of multitracks, for the model card.
    made_of : dict[str, dict[str, str]], default={}
        ``{source: {ingredient: licence}}`` of generated ones.
    model : dict[str, Any], default={}
        Overrides of :class:`~stemfeatures.models.joint.JointConfig`.
    initial : str, default=''
        Checkpoint (name or file) whose weights the run begins with instead of random ones; it must be of the same
        ``model``.
    band_limited : float, default=0.0
        Share of the examples that end between 3 and 8 kHz, as files at 8 and 16 kHz do.
    coded : float, default=0.0
        Share of the examples that go through a lossy coder, see :func:`~.objectives.augmentation.coded`.
    quiet : float, default=0.0
        Share of the examples in which one stem lies far below the others.
    low_end : float, default=0.0
        Share of the examples whose bass and drums have more of their energy in the lows, see
        :func:`~.objectives.augmentation.low_end`.
    inverted : float, default=0.0
        Share of the stems whose polarity is turned round.
    offset : float, default=0.0
        Share of the examples whose mixture has a constant offset that is no stem's.
    duets : float, default=0.0
        Share of the sung mixtures of isolated sounds in which two singers sing, each their own lines.
    learns : tuple[str, ...], default=()
        Subnetworks of the joint network that learn, of :data:`~stemfeatures.models.joint.SUBNETWORKS`; empty = all.
    norm : str, default='batch'
        What batch norm normalises with: ``batch``, the statistics of each batch, or ``running``, those of the initial
        checkpoint, which stay as they are.
    keeps : tuple[str, ...], default=()
        Stems whose estimates stay those of ``teacher``: what is learned is how the others share the rest.
    teacher : str, default=''
        Checkpoint (name or file) whose estimates the stems of ``keeps`` are held to; empty = ``initial``.
    objective : str, default='joint'
        What is learned, of :data:`~.objectives.find.OBJECTIVES`. What follows is for those that separate a target.
    target : str, default=''
        Its name (``vocals``, ``drums``, ``guitar`` ...).
    network : str, default='joint'
        An architecture of :mod:`stemfeatures.models.architectures` that has a target, or ``joint``, whose separator is
        trained then.
    settings : dict[str, Any], default={}
        Of the objective.
    excerpts : dict[str, Any], default={}
        Of the data, see :class:`~.data.excerpts.ExcerptSettings`. For them ``n_frames`` are the frames that the network
        gives, its context comes on top.
    """

    name: str = "joint"
    objective: str = "joint"
    target: str = ""
    network: str = "joint"
    seed: int = 0
    steps: int = 2000
    cycles: int = 1
    batch_size: int = 8
    n_frames: int = 256
    learning_rate: float = 1.5e-3
    warmup: int = 100
    decay: float = 0.4
    weight_decay: float = 1e-4
    clip: float = 5.0
    ema: float = 0.995
    save_every: int = 100
    log_every: int = 10
    songs: float = 0.0
    band_limited: float = 0.0
    coded: float = 0.0
    quiet: float = 0.0
    low_end: float = 0.0
    inverted: float = 0.0
    offset: float = 0.0
    duets: float = 0.0
    validate_every: int = 500
    patience: int = 0
    mixing: str = "loaders"
    precision: str = "float32"
    initial: str = ""
    learns: tuple[str, ...] = ()
    norm: str = "batch"
    keeps: tuple[str, ...] = ()
    teacher: str = ""
    licences: dict[str, str] = field(default_factory=dict)
    made_of: dict[str, dict[str, str]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    loss: LossWeights = field(default_factory=LossWeights)
    settings: dict[str, Any] = field(default_factory=dict)
    excerpts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("songs", "band_limited", "coded", "quiet", "low_end", "inverted", "offset", "duets"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")
        if self.mixing not in MIXINGS:
            raise ValueError(f"unknown mixing {self.mixing!r}; known: {', '.join(MIXINGS)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}; known: {', '.join(PRECISIONS)}")
        if self.norm not in NORMS:
            raise ValueError(f"unknown norm {self.norm!r}; known: {', '.join(NORMS)}")
        for name in ("steps", "cycles", "batch_size", "n_frames", "save_every", "log_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("seed", "warmup", "weight_decay", "patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} cannot be negative, but is {getattr(self, name)}")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay is a share of the steps from 0 to 1, not {self.decay}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is the decay of an average, from 0 to below 1, not {self.ema}")
        if self.cycles > self.steps:
            raise ValueError(f"{self.cycles:,} cycles do not fit into {self.steps:,} steps")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def learning_rate_at(self, step: int) -> float:
        """Rate of step ``step`` (0-based)."""
        length = math.ceil(self.steps / self.cycles)
        step %= length
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        fall = min(1.0, (length - step) / max(self.decay * length, 1))
        return self.learning_rate * rise * max(fall, 0.0)


def require_types(settings: Any) -> None:
    """Check that the numbers, words and switches of a dataclass are what they are declared to be.

    Raises
    ------
    TypeError
        One is not; the message names it.
    """
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(kind)
        fits = isinstance(value, int | float) if kind is float else isinstance(value, kind) if wanted else True
        if wanted and (not fits or (isinstance(value, bool) and kind is not bool)):
            raise TypeError(f"{name} must be {wanted}, not {value!r}")
        if get_origin(kind) is dict and not isinstance(value, dict):
            raise TypeError(f"{name} must be a table, not {value!r}")
        if kind is float and not math.isfinite(value):
            raise TypeError(f"{name} must be a finite number, not {value!r}")


def load_config(path: str | Path, **overrides: Any) -> TrainConfig:
    """Read a recipe; ``overrides`` that are not None win.

    Raises
    ------
    ModelError
        On a missing file, bad TOML, an unknown key or a value that makes no sense.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"cannot read the recipe: {error}", source=str(path), stage="train") from error
    values = with_current_keys(values) | {k: v for k, v in overrides.items() if v is not None}
    known = {f.name for f in fields(TrainConfig)}
    losses = values.pop("loss", {})
    if not isinstance(losses, dict):
        raise ModelError(f"recipe: loss must be a table, not {losses!r}", source=str(path), stage="train")
    unknown = (values.keys() - known) | (losses.keys() - {f.name for f in fields(LossWeights)})
    if unknown:
        raise ModelError(f"unknown keys in the recipe: {', '.join(sorted(unknown))}", source=str(path), stage="train")
    try:
        learns = tuple(values.pop("learns", ()))
        return TrainConfig(**values, learns=learns, loss=LossWeights(**losses))
    except (TypeError, ValueError) as error:
        raise ModelError(f"recipe: {error}", source=str(path), stage="train") from error


def with_current_keys(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as it was stored, by the names that its keys have now.

    Examples
    --------
    >>> with_current_keys({"steps": 10, "parts": {"level": False}})
    {'steps': 10, 'excerpts': {'level': False}}
    """
    return {_RENAMED.get(key, key): value for key, value in recipe.items()}


def read_settings(kind: type[Settings], values: Mapping[str, Any], *, recipe: str) -> Settings:
    """A dataclass of settings from a table of a recipe.

    Raises
    ------
    ModelError
        Unknown keys, or values that make no sense; names the recipe.
    """
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known):
        raise ModelError(
            f"unknown settings in the recipe: {', '.join(unknown)}; known: {', '.join(sorted(known))}",
            source=recipe, stage="train",
        )  # fmt: skip
    try:
        settings = kind(**values)
        require_types(settings)
        return settings
    except (TypeError, ValueError) as error:
        raise ModelError(f"recipe: {error}", source=recipe, stage="train") from error
