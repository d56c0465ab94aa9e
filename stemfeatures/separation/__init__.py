"""Signals of any length, rate and number of channels to stems."""

import lazy_loader

#: Public names, imported when first used; ``__init__.pyi`` says where from, to type checkers too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
