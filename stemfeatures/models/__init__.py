"""Networks and the registry of their checkpoints."""

from .checkpoints import DEFAULT_MODEL, Checkpoint, list_models, load, resolve, save

__all__ = ["DEFAULT_MODEL", "Checkpoint", "list_models", "load", "resolve", "save"]
