"""Recommendation from listening and feature tables.

:mod:`.interactions` who listened to what; :mod:`.factorization` alternating least squares; :mod:`.models` what is
trained, and :mod:`.store` how it is kept; :mod:`.ranking` the best tracks of many users in bounded memory;
:mod:`.splits` and :mod:`.evaluation` how good that is; :mod:`.simulation` listeners whose taste is known.
"""

import lazy_loader

#: Public names, imported when first used; ``__init__.pyi`` says where from, to type checkers too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
