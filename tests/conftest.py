"""What all tests share."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest

# Some tests interrupt processes. A runner that was started in the background hands down an ignored SIGINT, which
# Python and its children would go on ignoring.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command line sets up logging for its whole process; tests after one that has called it shall not feel it."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for name in ("stemfeatures", "pipelines", "py.warnings"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    handlers = list(root.handlers)
    yield
    root.handlers[:] = handlers
    logging.captureWarnings(False)
