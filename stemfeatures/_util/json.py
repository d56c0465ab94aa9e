"""Values as JSON knows them."""

from __future__ import annotations

import math
from typing import Any


def plain(value: Any) -> Any:
    """``value`` as JSON types: arrays become lists, NaN and infinity null, everything unknown its text."""
    if hasattr(value, "tolist"):  # numpy, without importing it
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
