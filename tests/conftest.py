"""What all tests share."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stemfeatures.analysis import Analyser

# Tests run beside one another, a process a core: threads of their own would only wait for each other. Before numpy and
# torch are imported; processes that tests start inherit it.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# Numba numbers the files of librosa's functions without a lock: of two processes that compile other signatures of one
# at a time, one overwrites what the index of the other points to, and who loads it crashes. So each worker has its own.
if (_worker := os.environ.get("PYTEST_XDIST_WORKER")) and (_cache := os.environ.get("NUMBA_CACHE_DIR")):
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(_cache, _worker)

# Some tests interrupt processes. A runner that was started in the background hands down an ignored SIGINT, which
# Python and its children would go on ignoring.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power, and thousands of small files are written, each of which would wait for some ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        yield


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


@pytest.fixture
def fresh_network() -> Iterator[None]:
    """The network that an extraction in this process has loaded is not that of the next test."""
    yield
    from pipelines.extraction import loaded

    loaded.forget_analyser()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network."""
    from networks import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def analyser(model: Path) -> Analyser:
    """That network, loaded."""
    from stemfeatures.analysis import Analyser

    return Analyser(model)
