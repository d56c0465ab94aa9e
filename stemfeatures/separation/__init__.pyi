from .base import BaseSeparator as BaseSeparator
from .joint import Separator as Separator
from .open import (
    open_separator as open_separator,
    register_separator as register_separator,
)
