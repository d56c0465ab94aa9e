"""Joint source separation and F0 for music catalogues: audio in, typed Parquet feature tables out."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

#: Public names and the modules they come from, imported when first used, so that ``import stemfeatures`` stays instant.
_LAZY = {
    "Analyser": "analysis",
    "FeatureTransformer": "items.transformer",
    "Separator": "separation",
    "as_multiindex": "items.matrix",
    "features_matrix": "items.matrix",
    "from_audio": "analysis",
    "from_file": "analysis",
    "open_features": "tables.reader",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
