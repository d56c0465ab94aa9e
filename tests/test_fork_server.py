"""Workers are forked from a process that has imported what they need."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import multiprocessing.context
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar
from unittest.mock import MagicMock

import pytest
from features_helper import write_features

from pipelines.extraction import fork_server
from pipelines.extraction.cluster import local_cluster, see_to_judge
from stemfeatures._util.ends import ENDS

_NOT_TO_START = ("torch", "scipy.signal", "numba", "librosa", "sklearn", "matplotlib", "distributed")


def _modules_after(code: str, names: tuple[str, ...]) -> list[str]:
    code = f"import sys\n{code}\nprint(*[name for name in {names!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(fork_server.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


def test_a_run_in_one_process_starts_without_what_it_does_not_need() -> None:
    code = (
        "import pipelines.extraction.extract\n"
        "from pipelines.extraction.cluster import default_jobs, warn_of_long_tracks\n"
        "assert default_jobs(1) == 1\nwarn_of_long_tracks(1, 1e9)"
    )
    assert _modules_after(code, _NOT_TO_START) == []


def test_the_server_is_started_before_anything_heavy_is_imported() -> None:
    code = "import pipelines.extraction.fork_server"
    assert _modules_after(code, ("numpy", "pandas", "pyarrow", "dask", *_NOT_TO_START)) == []


@pytest.mark.parametrize("again", [False, True])
def test_the_driver_of_processes_does_not_load_the_network(tmp_path: Path, again: bool) -> None:
    """What it must know of the analysis, such as its settings, a fork tells it; nor where it looks at what is done."""
    (tmp_path / "a.wav").touch()
    if again:
        write_features(tmp_path / "out", ["b.wav"])
    code = (
        "from pathlib import Path\nfrom pipelines.extraction.fork_server import in_fork\n"
        "from pipelines.extraction.prepare import prepare, ExtractOptions, data_tables\n"
        "from pipelines.extraction.provenance import value_settings\nfrom stemfeatures.audio import AudioLimits\n"
        "options = ExtractOptions('joint-v8', 'cpu', 2, None, None, False, False, None, data_tables(None), True, None,"
        " AudioLimits())\n"
        f"prepared = prepare({str(tmp_path)!r}, Path({str(tmp_path / 'out')!r}), options)\n"
        "names = [name for name in ('torch', 'scipy.signal') if name in sys.modules]\n"
        "try:\n    in_fork(divmod, 1, 0)\nexcept ZeroDivisionError:\n    names.append('raised')\n"
        "print(*names, prepared.settings == value_settings(prepared.checkpoint.sha256))"
    )
    assert _modules_after(code, ()) == ["raised", "True"]


def test_a_long_temporary_folder_needs_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket has no room for its path."""
    (folder := tmp_path / ("long" * 30)).mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    code = (
        "import os, signal\nfrom pipelines.extraction.fork_server import in_fork, start_fork_server\n"
        "before = dict(os.environ)\n"
        "print(start_fork_server(), in_fork(abs, -3), os.environ == before, signal.pthread_sigmask(0, ()))"
    )
    assert _modules_after(code, ()) == ["spawn", "3", "True", "set()"]


def _interrupt(driver: int, folder: str) -> None:
    (Path(folder) / ("here" if os.getpid() == driver else "in a fork")).touch()
    os.kill(driver, signal.SIGINT)
    time.sleep(2)
    (Path(folder) / "went on").touch()


@pytest.mark.skipif(fork_server.METHOD != "forkserver", reason="nothing is forked here")
def test_ctrl_c_does_not_wait_for_the_fork(tmp_path: Path) -> None:
    fork_server.start_fork_server()
    with pytest.raises(KeyboardInterrupt):
        fork_server.in_fork(_interrupt, os.getpid(), str(tmp_path))
    assert not multiprocessing.active_children()
    assert os.listdir(tmp_path) == ["in a fork"]


def _late_in_a_fork(driver: int) -> int:
    if os.getpid() != driver:
        time.sleep(600)
    return os.getpid()


@pytest.mark.skipif(fork_server.METHOD != "forkserver", reason="nothing is forked here")
def test_a_fork_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fork_server.start_fork_server()
    monkeypatch.setattr(fork_server, "ANSWER_S", 0.5)
    assert fork_server.in_fork(_late_in_a_fork, os.getpid()) == os.getpid()
    deadline = time.monotonic() + 60  # its server may still have been importing
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(fork_server.METHOD != "forkserver", reason="no server is started here")
def test_a_server_that_still_imports_ends_with_its_driver(tmp_path: Path) -> None:
    """However the driver ends."""
    (tmp_path / "endless.py").write_text(
        "import importlib.util, time\n"
        "for i in range(1200):\n    time.sleep(0.05)\n    importlib.util.find_spec(f'none_{i}')\n"
    )
    code = (
        "import os, signal\nfrom multiprocessing import forkserver\nfrom pipelines.extraction import fork_server\n"
        "fork_server.PRELOADED[1] = 'endless'\nfork_server.start_fork_server()\n"
        "print(forkserver._forkserver._forkserver_pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    path = os.pathsep.join([str(Path(fork_server.__file__).parents[2]), str(tmp_path)])
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdout is not None
        server = int(driver.stdout.readline())
        assert driver.wait(60) == -signal.SIGKILL
        deadline = time.monotonic() + 40  # of the minute for which it would import
        while Path(f"/proc/{server}/cmdline").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert time.monotonic() < deadline


def test_another_judge_costs_no_worker_that_is_starting_again() -> None:
    """To scale down, Dask takes workers first that its scheduler does not know at the moment."""
    from distributed import SpecCluster

    class Cluster:
        """As much of a cluster as scaling needs: workers 0 and 1, of which 1 is restarting, and a judge."""

        worker_spec: ClassVar[dict[int, str]] = {0: "worker", 1: "worker", 2: "judge"}
        scheduler_info: ClassVar[dict[str, dict[str, dict[str, int]]]] = {
            "workers": {"tls://a": {"name": 0}, "tls://c": {"name": 2}}
        }
        workers: ClassVar[dict[int, object]] = {0: object(), 1: object(), 2: object()}
        # The number with which Dask looks for a free name is still that of the judge.
        status, asynchronous, loop, _i, new_spec = "running", False, MagicMock(), 2, "judge"
        _correct_state = None
        scale, new_worker_spec, _new_worker_name = (
            SpecCluster.scale, SpecCluster.new_worker_spec, SpecCluster._new_worker_name,
        )  # fmt: skip

    cluster = Cluster()
    see_to_judge(cluster, frozenset([0, 1]), another=False)
    assert cluster.worker_spec == {0: "worker", 1: "worker", 2: "judge"}
    see_to_judge(cluster, frozenset([0, 1]), another=True)
    assert cluster.worker_spec == {0: "worker", 1: "worker", 3: "judge"}
    del cluster.worker_spec[3]
    see_to_judge(cluster, frozenset([0, 1]), another=False)
    assert [cluster.worker_spec[name] for name in (0, 1)] == ["worker"] * 2
    assert len(cluster.worker_spec) == 3


@pytest.mark.skipif(fork_server.METHOD != "forkserver", reason="nothing is forked here")
@pytest.mark.parametrize("error", [EOFError, ConnectionRefusedError])
def test_a_call_whose_fork_cannot_be_started_is_made_here(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(multiprocessing.context.ForkServerProcess, "_Popen", failing)
    assert fork_server.in_fork(os.getpid) == os.getpid()


def _collector() -> tuple[bool, int, int]:
    """Whether this process looks for garbage, and among how many objects; the process."""
    gc.collect()
    return gc.isenabled(), len(gc.get_objects()), os.getpid()


@pytest.mark.skipif(fork_server.METHOD != "forkserver", reason="nothing is forked here")
def test_forks_look_for_garbage_among_their_own_objects() -> None:
    fork_server.start_fork_server()
    enabled, n_objects, process = fork_server.in_fork(_collector)
    assert process != os.getpid()
    assert enabled
    assert n_objects < 50_000  # what the server has imported are hundreds of thousands


def _state(folder: str) -> dict[str, object]:
    """What a worker says of itself; it leaves a file for its end to delete."""
    (left := Path(folder) / f"{os.getpid()}.left").touch()
    atexit.register(left.unlink)
    return {
        "parent": os.getppid(),
        "name": os.environ.get("STEMFEATURES_TEST"),
        "temporary": tempfile.gettempdir(),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "ends": [signal.getsignal(number) is not signal.SIG_IGN for number in ENDS],
        "threads": os.environ["OMP_NUM_THREADS"],
    }


@pytest.mark.skipif(fork_server.METHOD != "forkserver", reason="workers are spawned here")
def test_workers_are_forked_as_they_would_be_spawned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server that signals to the group do not end, in the environment of now, and they tidy up at their end."""
    fork_server.start_fork_server()
    server = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    tracker = multiprocessing.resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(server, number)
        os.kill(tracker, number)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    monkeypatch.setenv("STEMFEATURES_TEST", "now")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = {name: value for name, value in os.environ.items() if name.startswith(("OMP", "MALLOC"))}
    with local_cluster(1, device="cpu") as cluster:
        (state,) = cluster.client.run(_state, str(tmp_path)).values()
        (loaded,) = cluster.client.run(lambda: "stemfeatures.analysis" in sys.modules).values()
        assert len(list(tmp_path.glob("*.left"))) == 1
    assert loaded
    assert state == {
        "parent": server,
        "name": "now",
        "temporary": str(tmp_path),
        "blocked": [],
        "ends": [False, False, False],
        "threads": "1",
    }
    assert not list(tmp_path.glob("*.left"))
    assert before.items() <= os.environ.items()


def test_an_answer_to_a_driver_that_was_killed() -> None:
    """Nobody is told of it, by a traceback on the terminal least of all."""
    ours, theirs = multiprocessing.Pipe()
    fork_server._answer(theirs, max, (1, 2))
    assert ours.recv() == 2
    ours.close()
    fork_server._answer(theirs, max, (1, 2))
