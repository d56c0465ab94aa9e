"""Signals of any length, rate and number of channels to stems."""

from .._util.lazy import lazy_names

#: Public names and the modules they come from, imported when first used.
__getattr__, __dir__ = lazy_names(
    globals(),
    {"BaseSeparator": "base", "Separator": "joint", "open_separator": "open", "register_separator": "open"},
)
