"""Separators of other packages, a module each: ``load(model, device=...)`` returns a :class:`~..external.Tool`."""
