"""How many excerpts of which kind a batch holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Draws:
    """How many excerpts of each kind an example of a batch holds; pairs must be of ``pair_songs`` songs at least."""

    pairs: int = 1
    mixtures: int = 0
    solos: int = 0
    accompaniments: int = 0
    pair_songs: int = 1
