"""What the fork server imports, so that workers need not; see :mod:`.fork_server`.

Nothing here may start a thread, but for those of allocators, which know of forks.
"""

import gc

from stemfeatures._util.collector import collector_paused
from stemfeatures._util.numba_cache import load_compiler

from . import orphan

with collector_paused():
    import distributed
    import scipy.ndimage
    import scipy.signal

    import stemfeatures.analysis

    from . import shard

    load_compiler()

__all__ = ["distributed", "scipy", "shard", "stemfeatures"]

gc.freeze()  # forks neither look through what is there, nor get copies of its memory for that
orphan.watch.end()
