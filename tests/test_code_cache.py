"""Compiled code on disk: right for each signature whoever compiles at once, and made anew where it cannot be read."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from stemfeatures._util import code_cache
from stemfeatures._util.numba_cache import compiled_when_called

ROOT = Path(__file__).parent.parent
KERNEL = """
from stemfeatures._util.numba_cache import compiled

@compiled()
def total(x):
    found = x[0] * 0
    for value in x:
        found += value
    return found
"""
#: Forks all at once processes that call the kernel, each with numbers of another type, and prints how each came by its
#: code; a process that crashes, or is wrong, ends it.
AT_ONCE = """
import os, sys
import numpy as np
from kernel import total
kinds = ["int8", "int16", "int32", "int64", "float32", "float64", "complex64", "complex128"]
hold, release = os.pipe()
children = []
for kind in kinds:
    child = os.fork()
    if child == 0:
        os.close(release)
        os.read(hold, 1)
        x = np.arange(5).astype(kind)
        assert total(x) == 10, (kind, total(x))
        os._exit(10 + len(total.stats.cache_hits))  # 1 is that of an exception
    children.append(child)
os.close(release)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(codes)
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a compiled function, loaded anew, whose code is kept in ``tmp_path / "cache"``."""
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "kernel.py").write_text(KERNEL)
    return _load(tmp_path)


def _load(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernel", folder / "kernel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _hits(module: ModuleType) -> int:
    return sum(module.total.stats.cache_hits.values())


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("cache/*/*"))


def test_processes_that_compile_other_signatures_at_once_leave_right_code(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(KERNEL)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for hits in (0, 1):  # compiled, then loaded
        run = subprocess.run(
            [sys.executable, "-c", AT_ONCE], env=environment, capture_output=True, text=True, timeout=300
        )
        assert run.stdout.strip() == str([10 + hits] * 8), run.stderr[-2000:]
    assert len(_files(tmp_path)) == 8


def test_code_that_cannot_be_read_is_compiled_anew(kernel: ModuleType, tmp_path: Path) -> None:
    x = np.arange(4.0)
    assert kernel.total(x) == 6
    (path,) = _files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # as a power cut may leave it
    cut = _load(tmp_path)
    assert (cut.total(x), _hits(cut)) == (6, 0)
    again = _load(tmp_path)
    assert (again.total(x), _hits(again)) == (6, 1)


def test_a_file_of_another_signature_is_not_taken(kernel: ModuleType, tmp_path: Path) -> None:
    assert kernel.total(np.arange(4.0)) == 6
    (of_floats,) = _files(tmp_path)
    assert kernel.total(np.arange(4)) == 6
    (of_integers,) = set(_files(tmp_path)) - {of_floats}
    of_integers.write_bytes(of_floats.read_bytes())
    again = _load(tmp_path)
    assert (again.total(np.arange(4)), _hits(again)) == (6, 0)


def test_code_of_earlier_sources_is_deleted(kernel: ModuleType, tmp_path: Path) -> None:
    assert kernel.total(np.arange(4.0)) == 6
    (before,) = _files(tmp_path)
    (tmp_path / "kernel.py").write_text(KERNEL.replace("return found", "return 2 * found"))
    assert _load(tmp_path).total(np.arange(4.0)) == 12
    (after,) = _files(tmp_path)
    assert after != before


def test_code_with_other_constants_of_other_modules_is_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "kernel.py").write_text(
        "from stemfeatures._util.numba_cache import compiled\n"
        "from constants_of_a_release import FACTOR, TABLE\n\n"
        "@compiled()\ndef scaled(x):\n    return FACTOR * x + TABLE[1]\n\n"
        "@compiled()\ndef total(x):\n    return scaled(x[0]) + x[1]\n"
    )
    found = []
    for factor, second in ((2.0, 0.5), (3.0, 0.5), (3.0, 0.25), (3.0, 0.25)):
        constants = SimpleNamespace(FACTOR=factor, TABLE=np.array([0.0, second]))
        monkeypatch.setitem(sys.modules, "constants_of_a_release", constants)
        module = _load(tmp_path)
        found.append((module.total(np.array([10.0, 1.0])), _hits(module)))
    assert found == [(21.5, 0), (31.5, 0), (31.25, 0), (31.25, 1)]


def test_a_full_disk_keeps_nothing_and_stops_nobody(
    kernel: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(code_cache, "replacing", full)
    assert kernel.total(np.arange(4.0)) == 6
    assert _files(tmp_path) == []


def test_what_is_compiled_when_called_imports_numba_then(tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
from stemfeatures._util.numba_cache import compiled_when_called

@compiled_when_called(boundscheck=True)
def third(x):
    "The third of some."
    return x[2]

assert "numba" not in sys.modules
assert third(np.array([1, 2, 5])) == 5 and "numba" in sys.modules
try:
    third(np.array([1, 2]))
except IndexError:
    print(third.__name__, third.__doc__)
"""
    (tmp_path / "third.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, str(tmp_path / "third.py")], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.stdout == "third The third of some.\n", run.stderr[-2000:]
    assert len(_files(tmp_path)) == 1  # one signature, compiled once, and kept


def test_what_is_compiled_when_called_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def compiled(**options: object) -> object:
        made.append(options)
        return lambda function: function

    monkeypatch.setattr("stemfeatures._util.numba_cache.compiled", compiled)
    twice = compiled_when_called(fastmath=True)(lambda x: 2 * x)
    assert made == []
    assert [twice(3), twice(4)] == [6, 8]
    assert made == [{"fastmath": True}]
