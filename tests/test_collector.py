"""The collector of garbage pauses for a block, however that ends."""

from __future__ import annotations

import gc

import pytest

from stemfeatures._util.collector import collector_paused


def test_the_collector_goes_on_after_the_block() -> None:
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), collector_paused():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
