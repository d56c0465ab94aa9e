"""The fork server ends with its driver, also while it imports.

It watches a pipe of the driver, but not before all is imported, which takes seconds of a core. So each import looks
whether the driver is still there.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from .fork_server import DRIVER


class DriverWatch:
    """A finder of modules that finds none, and ends the process whose parent has gone.

    Attributes
    ----------
    process, driver : int
        The process that it was made in, and the one that has started that: :data:`.fork_server.DRIVER`, or its parent.
    """

    def __init__(self) -> None:
        # The driver may be gone by now.
        self.process, self.driver = os.getpid(), int(os.environ.pop(DRIVER, os.getppid()))

    def find_spec(self, *args: Any, **kwargs: Any) -> None:
        """What ``importlib`` calls for each module."""
        if os.getpid() == self.process and os.getppid() != self.driver:
            os._exit(0)

    def end(self) -> None:
        """Watch no longer: all is imported."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)


#: Of the process that imports this module.
watch = DriverWatch()
sys.meta_path.insert(0, watch)
