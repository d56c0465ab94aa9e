"""The library where a system lacks what only Unix has, or only Linux: it can be imported."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stemfeatures._util import system

#: First everything as it is, so that other packages have what they want; then ours anew without what Windows lacks.
_IMPORT_ALL = """
import errno, importlib, os, pkgutil, signal, sys
import stemfeatures

def import_all(names):
    lost = {}
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            lost[name] = repr(error)
    return lost

names = [found.name for found in pkgutil.walk_packages(stemfeatures.__path__, "stemfeatures.")]
assert len(names) > 200, names
extras = import_all(names)
for name in [name for name in sys.modules if name.partition(".")[0] == "stemfeatures"]:
    del sys.modules[name]
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "pread", "pwrite", "getuid", "geteuid", "killpg", "fork",
             "sched_getaffinity", "setsid", "mkfifo", "WNOHANG"):
    delattr(os, name)
for name in ("SIGKILL", "SIGXCPU", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGPIPE"):
    delattr(signal, name)
del errno.EREMOTEIO
for name, error in import_all(names).items():
    if name not in extras:
        print(name, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has")
def test_every_module_of_the_library_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT_ALL], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_bytes_at_a_position_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    for missing in (False, True):
        if missing:
            monkeypatch.delattr(os, "pread")
            monkeypatch.delattr(os, "pwrite")
        with path.open("r+b", buffering=0) as file:
            assert file.read(2) == b"01"
            assert system.read_at(file.fileno(), 3, 5) == b"567"
            system.write_at(file.fileno(), b"b" if missing else b"a", 9)
            assert file.read(2) == b"23"
        assert path.read_bytes() == (b"012345678b" if missing else b"012345678a")


def test_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    with path.open("wb") as one, path.open("rb") as other:
        system.lock_file(one, shared=True)
        system.lock_file(other, shared=True, wait=False)
        with pytest.raises(BlockingIOError):
            system.lock_file(one, wait=False)
        monkeypatch.setattr(system, "fcntl", None)
        with pytest.raises(OSError, match="this system has no locks of files") as error:
            system.lock_file(one)
    assert error.value.errno == errno.ENOTSUP
