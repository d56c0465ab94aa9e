"""What the fork server imports, so that workers need not; see :mod:`.fork_server`.

Nothing here may start a thread, but for those of allocators, which know of forks.
"""

import distributed
import scipy.ndimage
import scipy.signal

import stemfeatures.analysis

from . import orphan, shard

__all__ = ["distributed", "scipy", "shard", "stemfeatures"]

orphan.watch.end()
