"""Joint source separation and F0 for music catalogues: audio in, typed Parquet feature tables out."""

import lazy_loader

__version__ = "0.1.0"

#: Public names, imported when first used; ``__init__.pyi`` says where from, to type checkers too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
