"""The cache of compiled functions: filled once, and emptied where it is broken."""

from __future__ import annotations

import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from stemfeatures._util import numba_cache


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """No choice has been made; none that a test makes outlives it."""
    numba_cache.choose_numba_cache.cache_clear()
    yield
    numba_cache.choose_numba_cache.cache_clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What lay in the cache at each try; a file named broken kills the try."""
    seen: list[list[str]] = []

    def call_all() -> int:
        there = sorted(p.name for p in tmp_path.glob("cache/*/*"))
        seen.append(there)
        return -signal.SIGSEGV if "broken.nbc" in there else 0

    monkeypatch.setattr(numba_cache, "_call_all", call_all)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    numba_cache._fill.cache_clear()
    return seen


def test_a_cache_is_filled_once(calls: list[list[str]]) -> None:
    numba_cache.prepare_numba_cache()
    numba_cache._fill.cache_clear()  # as in another process
    numba_cache.prepare_numba_cache()
    assert calls == [[]]


def test_computers_that_share_a_cache_fill_it_for_their_processors(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for processor in ("old", "new", "old"):
        monkeypatch.setattr(numba_cache, "_processor", lambda processor=processor: processor)
        numba_cache._fill.cache_clear()
        numba_cache.prepare_numba_cache()
    assert len(calls) == 2


def test_a_cache_in_use_is_left_alone(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", types.ModuleType("numba"))
    numba_cache.prepare_numba_cache()
    assert calls == []


def test_a_broken_cache_is_emptied(calls: list[list[str]], tmp_path: Path) -> None:
    module = tmp_path / "cache" / "util_1"
    module.mkdir(parents=True)
    for name in ("broken.nbc", "index.nbi", "notes.txt"):
        (module / name).touch()
    numba_cache.prepare_numba_cache()
    assert calls == [["broken.nbc", "index.nbi", "notes.txt"], ["notes.txt"]]


def test_the_cache_is_the_users_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    filled: list[str] = []
    monkeypatch.setattr(numba_cache, "_fill", filled.append)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # so that it is put back
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    numba_cache.prepare_numba_cache()
    assert filled == [str(tmp_path / "stemfeatures" / "numba")]
    assert Path(filled[0]).is_dir()
