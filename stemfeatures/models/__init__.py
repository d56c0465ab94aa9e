"""Networks, the table of their architectures, and checkpoints."""

from .checkpoints import DEFAULT_MODEL, Checkpoint, list_models, load, load_network, resolve, save

__all__ = ["DEFAULT_MODEL", "Checkpoint", "list_models", "load", "load_network", "resolve", "save"]
