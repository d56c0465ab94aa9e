"""Worker processes: order, errors, deaths, Ctrl-C, scripts, logging."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from stemfeatures._util import pools
from stemfeatures.errors import AudioError, WorkerError

JOBS = pytest.mark.parametrize("jobs", [1, 2])


class TwoPartError(Exception):
    """Pickles, but cannot be read again."""

    def __init__(self, what, where):
        super().__init__(f"{what} at {where}")


def work(x, how="double"):
    """Later items are quicker."""
    time.sleep(0.02 * max(0, 3 - x))
    if how == "raise":
        raise AudioError(f"no {x}")
    if how == "raise oddly":
        raise TwoPartError("gone", x)
    if how == "exit":
        sys.exit(7)
    if how == "wait":
        time.sleep(60)
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * x


class Loaded:
    """Counts how often it is called where it lives."""

    def __init__(self):
        self.times = 0

    def __call__(self, x):
        self.times += 1
        return os.getpid(), self.times


def speaks(x):
    logging.getLogger("stemfeatures.somewhere").info("item %d", x)
    logging.getLogger("stemfeatures.somewhere").debug("too much")
    logging.getLogger("elsewhere").info("not asked for")
    warnings.warn(f"careful with {x}", UserWarning, stacklevel=1)
    return x


@JOBS
def test_results_come_in_the_order_of_the_items(jobs):
    assert list(pools.starmap(work, [(x,) for x in range(5)], jobs=jobs, stage="test")) == [0, 2, 4, 6, 8]
    assert list(pools.starmap(work, [], jobs=jobs, stage="test")) == []


@JOBS
def test_errors_take_the_place_of_results_where_the_caller_wants_it(jobs):
    items = [(0, "double"), (1, "raise"), (2, "double"), (3, "raise oddly"), (4, "double")]
    expected = [0, "no 1 [decode]", 4, "gone at 3" if jobs == 1 else "TwoPartError: gone at 3", 8]
    if jobs > 1:  # in this process we would go down as well
        items += [(5, "die"), (6, "exit"), (7, "double")]
        expected += [
            "song5: its worker process was killed by SIGKILL, which may mean that memory ran out [songs]",
            "song6: its worker process ended with exit code 7 [songs]",
            14,
        ]
    catch = AudioError, TwoPartError, RuntimeError, WorkerError
    options = {"jobs": jobs, "stage": "songs", "name": lambda x, how: f"song{x}"}
    outcomes = list(pools.starmap(work, items, **options, catch=catch))
    assert [str(x) if isinstance(x, Exception) else x for x in outcomes] == expected


@JOBS
def test_other_errors_end_the_work_and_tell_the_place(jobs):
    items = [(0, "double"), (1, "raise"), (2, "raise oddly"), (3, "double")]
    results = pools.starmap(work, items, jobs=jobs, stage="test", catch=(WorkerError,))
    assert next(results) == 0
    with pytest.raises(AudioError, match="no 1") as raised:
        next(results)
    where = "".join(raised.value.__notes__) if jobs > 1 else str(raised.traceback[-1])
    assert "in work" in where
    assert not multiprocessing.active_children()


def test_what_the_function_keeps_lives_as_long_as_its_worker():
    seen = list(pools.starmap(Loaded(), [(x,) for x in range(6)], jobs=2, stage="test"))
    counts = [[times for pid, times in seen if pid == worker] for worker in {pid for pid, _ in seen}]
    assert len(counts) == 2
    assert os.getpid() not in {pid for pid, _ in seen}
    assert all(times == list(range(1, len(times) + 1)) for times in counts)


def test_logs_and_warnings_of_workers_are_handled_by_the_caller(caplog):
    caplog.set_level(logging.INFO, logger="stemfeatures")
    caplog.set_level(logging.INFO, logger="elsewhere")
    caplog.set_level(logging.INFO, logger="py.warnings")  # the command line hides them
    list(pools.starmap(speaks, [(0,), (1,)], jobs=2, stage="test"))
    messages = [record.getMessage() for record in caplog.records]
    assert sorted(m for m in messages if m.startswith("item")) == ["item 0", "item 1"]
    assert any("careful with 1" in m for m in messages)
    assert not {"too much", "not asked for"} & set(messages)  # a worker sends what our own loggers let through


def test_an_iteration_that_is_given_up_leaves_no_process():
    results = pools.starmap(work, [(0,), (1, "wait"), (2, "wait")], jobs=2, stage="test")
    assert next(results) == 0
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert not multiprocessing.active_children()


# --- whole programs ---

_SLOW = """
import time
from pathlib import Path

def slow(path):
    try:
        Path(path).touch()
        time.sleep(60)
    finally:
        Path(path).unlink()
"""


def _script(folder: Path, text: str) -> list[str]:
    (folder / "slow_work.py").write_text(_SLOW)
    (folder / "main.py").write_text(text)
    return [sys.executable, str(folder / "main.py")]


def _run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def _children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_script_without_the_guard_is_told_of_it(tmp_path):
    call = "pools.starmap(round, [(1.2,), (2.7,)], jobs=2, stage='sums')"
    told = _run(_script(tmp_path, f"from stemfeatures._util import pools\nprint(list({call}))\n"))
    assert told.returncode == 1
    assert "[sums]" in told.stderr.splitlines()[-1]
    assert "if __name__ == '__main__'" in told.stderr.splitlines()[-1]
    guarded = f"from stemfeatures._util import pools\nif __name__ == '__main__':\n    print(list({call}))\n"
    assert _run(_script(tmp_path, guarded)).stdout == "[1, 3]\n"
    assert (
        _run([sys.executable, "-c", f"from stemfeatures._util import pools\nprint(list({call}))"]).stdout == "[1, 3]\n"
    )
    mine = "def mine(x): return x\n" + call.replace("round", "mine")
    told = _run(
        [
            sys.executable,
            "-c",
            f"from stemfeatures._util import pools\n{mine.replace('pools.', 'list(pools.')})",
        ]
    )
    assert "must lie in a module" in told.stderr


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("ends_by", ["Ctrl-C", "kill -9"])
def test_no_worker_survives_and_nothing_is_left_behind(tmp_path, ends_by):
    text = """
import sys
from stemfeatures._util import pools
from slow_work import slow
if __name__ == "__main__":
    for _ in pools.starmap(slow, [(p,) for p in sys.argv[1:]], jobs=2, stage="test"):
        pass
"""
    files = [tmp_path / "a", tmp_path / "b"]
    command = [*_script(tmp_path, text), *map(str, files)]
    main = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not all(f.exists() for f in files) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = _children(main.pid)
    assert len(children) >= 2
    if ends_by == "Ctrl-C":
        os.killpg(main.pid, signal.SIGINT)  # as a terminal does
        _, stderr = main.communicate(timeout=30)
        assert main.returncode == -signal.SIGINT
        assert stderr.count("Traceback") == 1  # of the main process alone
        assert not any(f.exists() for f in files)  # finally clauses ran
    else:
        main.kill()
        main.wait()
    while any(map(_is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_alive, children))
