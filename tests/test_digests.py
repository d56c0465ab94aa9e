"""Digests of contents, and when they are taken from memory."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from stemfeatures._util import digests
from stemfeatures._util.digests import content_digest


def blake2(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stemfeatures" / "digests.sqlite"


def test_a_file_that_nobody_touched_is_not_read_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ü\udcff.wav"
    path.write_bytes(b"one")
    assert content_digest(path) == blake2(b"one")
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert content_digest(path) == blake2(b"one")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    os.utime(path, (1, 1))
    content_digest(path)
    path.write_bytes(b"two")
    os.utime(path, (1, 1))  # as long, and as old
    assert content_digest(path) == blake2(b"two")
    with sqlite3.connect(cache) as connection:
        assert connection.execute("SELECT count(*) FROM digests").fetchone() == (1,)


@pytest.mark.parametrize("broken", ["no folder", "no database"])
def test_without_a_cache_files_are_read(cache: Path, tmp_path: Path, broken: str) -> None:
    if broken == "no folder":
        (tmp_path / "cache").write_text("in the way")
    else:
        cache.parent.mkdir(parents=True)
        cache.write_bytes(b"no database" * 500)
    (tmp_path / "a").write_bytes(b"one")
    assert content_digest(tmp_path / "a") == content_digest(tmp_path / "a") == blake2(b"one")


def test_what_is_no_file_is_refused(cache: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file"):
        content_digest(tmp_path / "pipe")
