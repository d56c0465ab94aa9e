"""Runs under attack: by other users, by files, by what hangs, by signals. Nobody gets in and nothing gets stuck."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import queue
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from distributed import KilledWorker
from extract_helper import hoarding_shard, hungry_shard, slow_shard, write_tone

from pipelines import extract_catalog
from pipelines.cli import main as cli
from pipelines.commands._text import visible
from pipelines.extraction import cluster as clusters
from pipelines.extraction import executor, prefetch, separator_trial, watch, workers
from pipelines.extraction import shard as shard_module
from pipelines.extraction.cluster import ClusterExecutor, local_cluster
from pipelines.extraction.executor import WorkerCrash
from pipelines.extraction.prefetch import PrefetchStream
from pipelines.extraction.stop import StopRequest
from pipelines.extraction.summary import ExtractProgress, ExtractSummary
from pipelines.extraction.tasks import ShardTask, TrackTask
from pipelines.extraction.watch import GivenUp, Watched
from stemfeatures import analysis, audio
from stemfeatures._util import clock, numba_cache
from stemfeatures._util.ends import ENDS
from stemfeatures.audio import AudioLimits, ffmpeg_decoder, soundfile_decoder, streams
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE
from stemfeatures.errors import CatalogError, ClusterError, DecodeError, LostSchedulerError, ModelError
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.lock import DatasetLock
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.rows import Provenance

ROOT = Path(__file__).parents[1]
NOBODY = 65534


pytestmark = pytest.mark.usefixtures("fresh_network")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for i, name in enumerate(("a", "b", "c")):
        write_tone(tmp_path / "music" / f"{name}.wav", seconds=0.5 + 0.1 * i, f0=110.0 * (i + 1))
    return tmp_path / "music"


def extract(catalog: Any, out: Path, model: Path, **options: Any) -> ExtractSummary:
    return extract_catalog(catalog, out, model=model, **{"device": "cpu", "jobs": 1, **options})


def errors_of(out: Path) -> dict[str, str]:
    frame = open_features(out).to_pandas("errors")
    return dict(zip(frame["track_id"], frame["stage"] + ": " + frame["error_type"] + ": " + frame["message"]))


def tracks_of(out: Path) -> list[str]:
    return open_features(out).to_pandas("tracks")["track_id"].tolist()


# ------------------------------------------------------------------------------------------------ who may connect

_INTRUDER = """
import asyncio, os, sys
from distributed.comm import connect
from distributed.security import Security
addresses = [address.partition("://")[2] for address in sys.argv[1:]]
keys = {"tcp": Security(), "tls": Security.temporary()}
async def knock(protocol, address):
    try:
        arguments = keys[protocol].get_connection_args("client")
        comm = await connect(f"{protocol}://{address}", timeout=2, **arguments)
        await comm.write({"op": "identity", "reply": True})
        return "in " + (await asyncio.wait_for(comm.read(), 2))["type"]
    except Exception as error:
        return "out " + type(error).__name__
async def knock_everywhere():
    return await asyncio.gather(*(knock(protocol, address) for address in addresses for protocol in keys))
if os.getuid() == 0:
    asyncio.run(knock_everywhere())  # imports all that is needed while this user may read it
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(*asyncio.run(knock_everywhere()), sep="\\n")
"""


def intrude(*addresses: str) -> list[str]:
    """What another user is told by Dask servers, by each without encryption and with a key of his own."""
    run = subprocess.run([sys.executable, "-c", _INTRUDER, *addresses], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return [line.partition(" ")[0] for line in run.stdout.splitlines()]


def test_nobody_else_can_connect_to_our_workers() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, processes=False, protocol="tcp://", dashboard_address=None) as open_to_all:
        assert intrude(open_to_all.scheduler_address)[0] == "in"  # the attack works
    with local_cluster(1, device="cpu") as ours:
        workers = clusters.worker_info(ours.client)
        nannies = [info["nanny"] for info in workers.values()]
        assert intrude(ours.address, *workers, *nannies) == ["out", "out"] * 3
        assert ours.client.submit(len, "abc").result() == 3
        ports = [info["services"]["dashboard"] for info in workers.values()]
        scheduler: Any = ours.client.cluster
        ports.append(scheduler.scheduler.http_server.port)
        for port in ports:
            for page in ("", "info/main/workers.html", "json/counts.json", "metrics", "health", "status"):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)
                assert refused.value.code == 404
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/sitemap.json", timeout=5) as pages:
                assert json.load(pages) == {"paths": ["/sitemap.json"]}


def test_compiled_code_is_not_taken_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(numba_cache.tempfile, "gettempdir", lambda: str(temporary))
    monkeypatch.setattr(numba_cache.tempfile, "tempdir", str(temporary))
    folder = temporary / f"stemfeatures-{os.getuid()}"
    assert numba_cache._temporary_cache() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def link() -> None:
        folder.rmdir()
        folder.symlink_to(elsewhere)

    attacks = [lambda: folder.chmod(0o777), link]
    if os.getuid() == 0:
        attacks.insert(0, lambda: os.chown(folder, NOBODY, NOBODY))
    for attack in attacks:
        attack()
        taken = numba_cache._temporary_cache()
        assert taken != folder
        assert stat.S_IMODE(taken.stat().st_mode) == 0o700
        if not folder.is_symlink():
            os.chown(folder, os.getuid(), os.getgid())
            folder.chmod(0o700)


# ------------------------------------------------------------------------------------------------------ what is shown


def test_names_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    evil = "a\x1b[2J\x9b31m\u202egpj.\u2066b\r\nc"
    assert visible(evil) == "a\\x1b[2J\\x9b31m\\u202egpj.\\u2066b\\r\\nc"
    assert visible("नमस्ते, 👩\u200d🎤, naïve") == "नमस्ते, 👩\u200d🎤, naïve"
    cli(["schema", "runs"])  # sets up logging
    logging.getLogger("pipelines.extraction.cluster").warning("%s: the worker process crashed", evil)
    for arguments in (["status", str(tmp_path / evil)], ["separate", evil, "-o", str(tmp_path)], ["validate", evil]):
        assert cli(arguments) != 0
    shown = capsys.readouterr()
    assert "crashed" in shown.err
    for text in (shown.out, shown.err):
        assert not set("\x1b\x9b\u202e\u2066\r") & set(text)


# -------------------------------------------------------------------------------------------------- what files may be


def test_limits_of_files(music: Path, tmp_path: Path, model: Path) -> None:
    write_tone(music / "long.wav", seconds=3.0)
    write_tone(music / "wide.wav", channels=9)
    write_tone(music / "lies.flac")
    flac = bytearray((music / "lies.flac").read_bytes())
    flac[21] |= 0x0F  # STREAMINFO: 36 bits of samples
    flac[22:26] = b"\xff" * 4
    (music / "lies.flac").write_bytes(flac)
    catalog = str(music)
    limits = AudioLimits(max_duration_s=2.0, max_channels=8)
    assert extract(catalog, tmp_path / "out", model, limits=limits).n_failed == 3
    why = errors_of(tmp_path / "out")
    assert "longer than max_duration_s = 2 s" in why["long.wav"]
    assert "9 channels, more than max_channels = 8" in why["wide.wav"]
    assert "longer than max_duration_s = 2 s" in why["lies.flac"]
    assert all(text.startswith("decode: DecodeError") for text in why.values())
    arguments = ["extract", catalog, "-o", str(tmp_path / "out"), "-m", str(model), "-d", "cpu", "-j", "1", "-q"]
    assert cli([*arguments, "--max-duration", "4", "--max-channels", "9"]) == 3
    assert set(errors_of(tmp_path / "out")) == {"lies.flac"}


def test_a_header_does_not_decide_how_long_we_wait(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "x.wav")
    stream = PrefetchStream(str(path)).open()
    # Three months, of 31 kB.
    stream._stream._decoder.info = SimpleNamespace(declared_duration_s=8e6)  # type: ignore[assignment]
    assert stream.limit_s < prefetch.TRACK_TIMEOUT_S + 400
    stream.close()


def test_limit_of_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_CPU_BASE_S", 0.0)
    path = write_tone(tmp_path / "x.wav", seconds=30.0)
    assert len(list(audio.open_audio(path, block_s=10.0))) == 3
    monkeypatch.setattr(streams, "_DECODERS", (soundfile_decoder.SoundfileDecoder,))
    with pytest.raises(DecodeError, match=r"than 0 s of CPU, the limit for a file of this size \(max_cpu_s_per_mb\)"):
        list(audio.open_audio(path, block_s=1.0, max_cpu_s_per_mb=1e-6))
    busy = tmp_path / "ffmpeg"  # decodes a little and then goes round in circles
    header = r".snd\0\0\0\030\377\377\377\377\0\0\0\006\0\0\254\104\0\0\0\001"
    busy.write_text(f"#!/bin/sh\nprintf '{header}'\nhead -c 2000000 /dev/zero\nwhile :; do :; done\n")
    busy.chmod(0o755)
    monkeypatch.setattr(ffmpeg_decoder, "ffmpeg_path", lambda: str(busy))
    monkeypatch.setattr(ffmpeg_decoder, "ffmpeg_version", lambda path: "busy")
    monkeypatch.setattr(streams, "_DECODERS", (ffmpeg_decoder.FfmpegDecoder,))
    started = time.monotonic()
    with pytest.raises(DecodeError, match="more than 1 s of CPU"):
        list(audio.open_audio(path, block_s=1.0, max_cpu_s_per_mb=0.7, timeout_s=200))
    assert time.monotonic() - started < 190


@pytest.mark.parametrize("change", ["replaced", "written", "linked"])
def test_the_digest_is_that_of_the_bytes_that_were_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = write_tone(tmp_path / "x.wav", f0=220)
    other = write_tone(tmp_path / "y.wav", f0=330)
    before = os.stat(path)
    opened = audio.open_audio

    def open_audio(name: str, **options: Any) -> audio.AudioStream:
        if change == "replaced":
            shutil.copy(other, tmp_path / "z.wav")
            os.replace(tmp_path / "z.wav", path)
        elif change == "written":
            path.write_bytes(other.read_bytes())
        else:
            os.link(path, tmp_path / "backup.wav")  # as backups do: no change
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return opened(name, **options)

    monkeypatch.setattr(audio, "open_audio", open_audio)
    stream = PrefetchStream(str(path)).open()
    assert os.stat(path).st_size == before.st_size
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    if change == "linked":
        assert sum(block.shape[1] for block in stream) == round(0.7 * 22_050)
        assert stream.sha256 == audio.file_sha256(path)
    else:
        with pytest.raises(DecodeError, match="the file changed while it was read"):
            list(stream)


# --------------------------------------------------------------------------------------------------------- what hangs


@pytest.mark.parametrize("aside", [False, True])
def test_an_analysis_that_hangs_is_given_up(
    aside: bool, music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe, forever = analysis.describe, threading.Event()

    def hanging(frames: Any, **options: Any) -> Any:
        if frames.n_samples == round(0.6 * 22_050):  # b
            forever.wait()
        return describe(frames, **options)

    monkeypatch.setattr(analysis, "describe", hanging)
    monkeypatch.setattr(shard_module, "STALL_MARGIN_S", 0.0)
    monkeypatch.setattr(shard_module, "describes_aside", lambda device: aside)
    monkeypatch.setattr("pipelines.extraction.plan.SHARDS_PER_WORKER", 1)  # a and c are in its shard
    summary = extract(music, tmp_path / "out", model, track_timeout_s=4.0)
    forever.set()
    assert (summary.n_done, summary.n_failed) == (2, 1)
    assert errors_of(tmp_path / "out") == {
        "b.wav": "analyse: TrackTimeout: gave up after 4 s without any progress of the analysis"
    }
    assert tracks_of(tmp_path / "out") == ["a.wav", "c.wav"]


def test_one_request_to_stop_is_enough_when_a_track_hangs(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe, forever = analysis.describe, threading.Event()
    done: list[int] = []

    def hanging(frames: Any, **options: Any) -> Any:
        if done:
            os.kill(os.getpid(), signal.SIGTERM)
            forever.wait()
        return describe(frames, **options)

    def progress(state: ExtractProgress) -> None:
        done.extend([1] * (state.n_done == 1))

    monkeypatch.setattr(analysis, "describe", hanging)
    monkeypatch.setattr(shard_module, "STOP_PATIENCE_S", 0.5)
    with pytest.raises(KeyboardInterrupt, match=r"1 of 3 tracks were saved, 2 are left"):
        extract(music, tmp_path / "out", model, progress=progress)
    forever.set()
    assert len(tracks_of(tmp_path / "out")) == 1


def test_nobody_waits_for_a_thread_without_signs_of_life() -> None:
    told: list[str] = []
    ended = threading.Event()

    def work(watched: Watched) -> None:
        watched.tell("begun")
        watched.alive(0.2)
        try:
            time.sleep(1.0)
            watched.alive()
        except GivenUp:
            with pytest.raises(GivenUp), watched.holding():
                told.append("never")
            ended.set()
            raise

    assert not Watched(work, patience_s=60).wait(told.append, stop=lambda: False, stop_patience_s=60)
    assert told == ["begun"]
    assert ended.wait(10)
    failing = Watched(lambda watched: 1 / 0, patience_s=60)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        failing.wait(told.append, stop=lambda: False, stop_patience_s=60)


_STUCK = """
import pathlib, threading
def stuck(y, sample_rate):
    if y.shape[-1] == {samples}:
        pathlib.Path(__file__).with_suffix(".stuck").touch()
        threading.Event().wait()
    return {{"vocals": y, "no_vocals": 0 * y}}
"""


def test_a_separator_that_hangs_while_it_is_loaded(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is tried, or in the plain loop, which runs it once before the first track: one of a notebook."""
    music, name = tmp_path / "music", "stuck_while_loaded:stuck"
    write_tone(music / "a.wav")
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "stuck_while_loaded.py"
    module.write_text(_STUCK.format(samples=4 * 44_100))  # of the noise that finds out what comes back
    monkeypatch.setattr(separator_trial, "OPEN_SEPARATOR_S", 0.5)
    run = partial(extract_catalog, music, tmp_path / "features", model=model, device="cpu", jobs=1, separator=name)
    with pytest.raises(ModelError, match=rf"{name}: no answer within 0\.5 s"):
        run()
    monkeypatch.setattr(separator_trial, "OPEN_SEPARATOR_S", 60.0)
    module.write_text(_STUCK.format(samples=2 * ANALYSIS_SAMPLE_RATE) + "stuck.stems = ('vocals', 'no_vocals')\n")
    importlib.invalidate_caches()
    monkeypatch.setattr(importlib.import_module("stuck_while_loaded"), "__spec__", None)
    monkeypatch.setattr(executor, "LOAD_TIMEOUT_S", 0.5)
    with pytest.raises(ModelError, match=rf"{name}: no answer within 0\.5 s"):
        run()
    monkeypatch.setattr(executor, "LOAD_TIMEOUT_S", 600.0)
    monkeypatch.setattr(executor, "STOP_PATIENCE_S", 0.5)
    mark = module.with_suffix(".stuck")

    def mark_of_one_more() -> None:
        while not mark.exists():
            time.sleep(0.05)
        mark.unlink()

    mark_of_one_more()  # the one before, which is still to come

    def stop() -> None:
        mark_of_one_more()
        signal.raise_signal(signal.SIGTERM)

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(KeyboardInterrupt):
        run()
    stopping.join()


@pytest.fixture
def slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file whose folder does not answer."""
    path, answers = write_tone(tmp_path / "music" / "far.wav"), threading.Event()
    real = os.stat

    def stat_of(name: Any, **options: Any) -> os.stat_result:
        if os.fspath(name) == str(path):
            answers.wait()
        return real(name, **options)

    monkeypatch.setattr(os, "stat", stat_of)
    yield path
    answers.set()


def test_a_file_system_that_does_not_answer(slow_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(prefetch.TrackTimeout, match=r"gave up after 0\.2 s, the file is not open yet"):
        PrefetchStream(str(slow_disk), timeout_s=0.2).open()
    assert watch.any_abandoned()  # the end of the process does not wait for its thread
    monkeypatch.setattr(prefetch, "STAT_TIMEOUT_S", 0.2)
    here = write_tone(slow_disk.with_name("here.wav"))
    states = prefetch.file_states([str(here), str(slow_disk), None, str(here)])
    assert [state is not None for state in states] == [True, False, False, True]
    with pytest.raises(CatalogError, match="5 files are where no file system answers"):
        prefetch.file_states([str(slow_disk)] * 6)


def test_time_does_not_count_while_a_process_is_stopped() -> None:
    program = textwrap.dedent(
        """
        import queue, sys, threading
        from stemfeatures._util.clock import get_within, slept_s
        answers = queue.Queue()
        threading.Thread(target=lambda: answers.put(sys.stdin.readline()), daemon=True).start()
        slept_s()
        print("ready", flush=True)
        get_within(answers, 4.0)
        print("in time", slept_s() > 2)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(5.0)  # a lid is closed; the limit of 4 s goes by
        process.send_signal(signal.SIGCONT)
        process.stdin.write("here\n")
        process.stdin.flush()
        assert process.stdout.readline() == "in time True\n"
    with pytest.raises(queue.Empty):
        clock.get_within(queue.Queue(), 0.05)


def test_a_track_that_slept_is_tried_once_more(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, opened = [True], PrefetchStream.open

    def sleepy(self: PrefetchStream) -> PrefetchStream:
        if asleep and asleep.pop():
            raise prefetch.TrackTimeout("gave up", source=self.path)
        return opened(self)

    monkeypatch.setattr(PrefetchStream, "open", sleepy)
    monkeypatch.setattr(PrefetchStream, "was_asleep", True)
    assert extract(music, tmp_path / "out", model).n_done == 3
    asleep.append(True)
    monkeypatch.setattr(PrefetchStream, "was_asleep", False)
    assert extract(music, tmp_path / "awake", model).n_failed == 1


# ---------------------------------------------------------------------------------------------- processes and signals

_HOOK = """
import os, time
from stemfeatures import analysis
from pipelines.extraction import shard
describe = vars(analysis).setdefault("described", analysis.describe)
def hooked(frames, **options):
    if {mode!r} == "hang" and frames.n_samples == {n}:
        time.sleep(10**6)
    if {mode!r} == "slow" and not os.path.exists({gate!r}):
        time.sleep(0.3)
    return describe(frames, **options)
analysis.describe = hooked
shard.STALL_MARGIN_S = 0.0
"""


def test_a_worker_in_which_an_analysis_hangs_is_replaced(music: Path, tmp_path: Path, model: Path) -> None:
    write_tone(music / "hangs.wav", seconds=1.5)
    for i in range(4):
        write_tone(music / f"more{i}.wav", seconds=0.4)
    hook = tmp_path / "hook.py"
    hook.write_text(_HOOK.format(mode="hang", n=33_075, gate=""))
    with dask.config.set({"distributed.worker.preload": [str(hook)]}):
        summary = extract(music, tmp_path / "out", model, jobs=2, track_timeout_s=5.0)
    assert (summary.n_done, summary.n_failed) == (7, 1)
    assert "without any progress" in errors_of(tmp_path / "out")["hangs.wav"]
    assert len(set(tracks_of(tmp_path / "out"))) == 7


@pytest.mark.parametrize("number", sorted(ENDS - {signal.SIGINT}))
def test_a_group_that_is_told_to_stop_saves_what_is_finished(tmp_path: Path, model: Path, number: int) -> None:
    music, out, gate = tmp_path / "music", tmp_path / "out", tmp_path / "gate"
    for i in range(40):
        write_tone(music / f"{i:02d}.wav", seconds=0.3, f0=100 + i)
    hook = tmp_path / "hook.py"
    hook.write_text(_HOOK.format(mode="slow", n=0, gate=str(gate)))
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__PRELOAD": str([str(hook)])}
    command = ["extract", str(music), "-o", str(out), "-m", str(model), "-d", "cpu", "-j", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *command],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and process.poll() is None:
            if out.is_dir() and (out / "_schema" / "tracks.json").is_file() and len(tracks_of(out)) >= 1:
                break
            time.sleep(0.2)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command goes on from where this one stopped" in " ".join(said.split()) or "left" in said
    assert "Traceback" not in said
    saved = tracks_of(out)
    assert 3 <= len(saved) == len(set(saved)) < 40  # more than the shard that was committed before
    assert open_features(out).to_pandas("runs")["status"].tolist() == ["interrupted"]
    assert extract(music, out, model, limit=len(saved)).n_failed == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_run_whose_terminal_is_closed_saves_what_is_finished(tmp_path: Path, model: Path) -> None:
    import pty

    music, out = tmp_path / "music", tmp_path / "out"
    for i in range(60):
        write_tone(music / f"{i:02d}.wav", seconds=1, f0=100 + i)
    command = ["extract", str(music), "-o", str(out), "-m", str(model), "-d", "cpu", "-j", "1"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "pipelines.cli", *command])
    said, deadline = b"", time.monotonic() + 200
    while time.monotonic() < deadline and b"audio" not in said:  # some track is done
        said += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert 1 <= len(tracks_of(out)) < 60
    assert open_features(out).to_pandas("runs")["status"].tolist() == ["interrupted"]


_WORKER: Any = None  # that has gone


def test_crashes_are_counted_as_the_scheduler_allows_them() -> None:
    def future(error: Exception) -> Any:
        return SimpleNamespace(status="error", exception=lambda: error)

    assert clusters._crashes(future(KilledWorker("key", _WORKER, 0))) == 1
    assert clusters._crashes(future(KilledWorker("key", _WORKER, 3))) == 4
    assert clusters._crashes(future(OSError())) == 0


class _Scheduler:
    """Stands for a client whose scheduler goes and comes back, or does not."""

    def __init__(self, back_after: int) -> None:
        self.scheduler = None
        self._calls, self._back_after = 0, back_after

    @property
    def status(self) -> str:
        self._calls += 1
        return "running" if self._calls > self._back_after else "connecting"

    def scheduler_info(self, n_workers: int = 0) -> dict[str, Any]:
        return {"workers": {"w": {"nthreads": 1, "resources": {}}}}


def test_a_scheduler_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "POLL_S", 0.01)
    monkeypatch.setattr(clusters, "RECONNECT_TIMEOUT_S", 0.3)
    ClusterExecutor(_Scheduler(3), closing=ExitStack())._reconnect()  # type: ignore[arg-type]
    gone = ClusterExecutor(_Scheduler(10**9), closing=ExitStack())  # type: ignore[arg-type]
    with pytest.raises(LostSchedulerError, match=r"is not back within 0\.3 s.* the same command goes on"):
        gone._reconnect(OSError("closed"))


@pytest.fixture
def servers() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a scheduler or a worker of Dask in a process of its own."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}

    def start(kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments, "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, env=environment, cwd=ROOT, **quiet))
        return started[-1]

    yield start
    for server in started:
        server.kill()
        server.wait()


def free_address() -> tuple[str, int]:
    """Address and port of the loopback device at which a scheduler can be started."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return f"tcp://127.0.0.1:{port}", port


def shards_of_one(names: list[str], out: Path) -> list[ShardTask]:
    made_by = Provenance("r", "c", "m", "s")
    tracks = [TrackTask(name, name, f"/{name}") for name in names]
    return [
        ShardTask(t.track_id, (t,), str(out), "model", made_by, "cpu", 1, ("tracks",), limits=AudioLimits())
        for t in tracks
    ]


def test_a_scheduler_process_that_dies_comes_back_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: Callable[..., subprocess.Popen[bytes]]
) -> None:
    address, port = free_address()
    scheduler = servers("scheduler", "--host", "127.0.0.1", "--port", str(port))
    servers("worker", address, "--nthreads", "1", "--no-nanny")
    monkeypatch.setattr(clusters, "process_on_worker", slow_shard)
    names = [f"{i:02d}" for i in range(12)]
    shards = shards_of_one(names, tmp_path)
    monkeypatch.setattr(clusters, "CONNECT_TIMEOUT_S", 60.0)
    executor, _ = clusters.existing_scheduler(address, device="cpu")
    executor.client._timeout = 1.0  # after which a client of Dask gives up a scheduler: it must not count
    monkeypatch.setattr(clusters, "RECONNECT_TIMEOUT_S", 120.0)
    with executor:
        done: list[str] = []
        for outcome in executor.run(shards, StopRequest()):
            done += outcome.audio_s
            if len(done) == 3:
                scheduler.kill()
                scheduler.wait()
                time.sleep(3.0)
                scheduler = servers("scheduler", "--host", "127.0.0.1", "--port", str(port))
                servers("worker", address, "--nthreads", "1", "--no-nanny")
        assert sorted(done) == names  # each once
        monkeypatch.setattr(workers, "ANSWER_TIMEOUT_S", 0.5)
        executor._mute.limit_s = 1.0
        outcomes = executor.run(shards, StopRequest())
        next(outcomes)
        scheduler.send_signal(signal.SIGSTOP)
        with pytest.raises(LostSchedulerError, match="the scheduler does not answer"):
            list(outcomes)


def test_memory_that_no_worker_has_is_an_error_of_its_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed.system

    monkeypatch.setattr(clusters, "process_on_worker", hungry_shard)
    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", 700_000_000)
    tracks = [TrackTask(name, name, f"/{name}") for name in ("a", "deadly", "b")]
    made_by = Provenance("r", "c", "m", "s")
    shard = ShardTask("0", tuple(tracks), str(tmp_path), "model", made_by, "cpu", 1, ("tracks",))
    with local_cluster(1, device="cpu") as cluster:
        outcomes = list(cluster.run([shard], StopRequest()))
    crashes = [outcome for outcome in outcomes if isinstance(outcome, WorkerCrash)]
    assert [(c.track.track_id, c.stage, c.error_type) for c in crashes] == [("deadly", "memory", "MemoryLimit")]
    assert "more memory than its worker may use (700.0 MB); give each worker more: fewer --jobs" in crashes[0].message
    assert sorted(t for outcome in outcomes if outcome not in crashes for t in outcome.audio_s) == ["a", "b"]


def test_memory_of_foreign_workers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    servers: Callable[..., subprocess.Popen[bytes]],
) -> None:
    address, port = free_address()
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    servers("scheduler", "--host", "127.0.0.1", "--port", str(port))
    servers("worker", address, "--nthreads", "1", "--memory-limit", "600MB")
    monkeypatch.setattr(clusters, "process_on_worker", hoarding_shard)
    monkeypatch.setattr(clusters, "CONNECT_TIMEOUT_S", 60.0)
    monkeypatch.setattr(workers, "PAUSE_PATIENCE_S", 0.5)
    executor, _ = clusters.existing_scheduler(address, device="cpu")
    with executor:
        outcomes = list(executor.run(shards_of_one(["a", "full", "b", "deadly", "c"], tmp_path), StopRequest()))
    crashes = [outcome for outcome in outcomes if isinstance(outcome, WorkerCrash)]
    assert [(c.track.track_id, c.stage, c.error_type) for c in crashes] == [("deadly", "memory", "MemoryLimit")]
    assert "more memory than its worker may use (600.0 MB)" in crashes[0].message
    done = sorted(t for outcome in outcomes if outcome not in crashes for t in outcome.audio_s)
    assert done == ["a", "b", "c", "full"]
    assert "Dask has paused it near its memory limit of 600.0 MB; restarting it" in caplog.text


def test_a_worker_for_suspects_that_does_not_come_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask forgets one that dies while it starts; the track that it is for would be waited for without end."""
    now = [0.0]
    asked: list[bool] = []
    monkeypatch.setattr(workers, "awake_s", lambda: now[0])
    resources = {"SHARD": 1.0}
    monkeypatch.setattr(clusters, "worker_info", lambda client: {"w": {"nthreads": 1, "resources": resources}})
    client = SimpleNamespace(scheduler=None, status="running", submit=lambda *args, **options: None)
    executor = ClusterExecutor(client, closing=ExitStack(), resources=resources, judge=asked.append)  # type: ignore[arg-type]

    def poll(at: float) -> list[bool]:
        now[0] = at
        executor._require_workers()
        return asked

    assert poll(0) == poll(1000) == []  # nothing is suspected
    executor._judge_next(shards_of_one(["a"], Path("out"))[0])
    assert poll(1001) == poll(1000 + clusters.JUDGE_TIMEOUT_S) == [False]
    assert poll(1002 + clusters.JUDGE_TIMEOUT_S) == [False, True]
    resources["JUDGE"] = 1.0  # there it is
    assert poll(1003 + clusters.JUDGE_TIMEOUT_S) == poll(2000) == [False, True]


def test_workers_that_stay_paused_are_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(workers, "awake_s", lambda: now[0])
    paused = workers.PausedWorkers()

    def idle(at: float, status: str, executing: int) -> list[str]:
        now[0] = at
        return paused.idle({"w": {"status": status, "metrics": {"executing": executing}}})

    late = workers.PAUSE_PATIENCE_S + 1
    assert idle(0, "paused", 0) == []
    assert idle(late, "paused", 1) == []  # at work
    assert idle(late, "paused", 0) == []  # since just now
    assert idle(2 * late, "paused", 0) == ["w"]
    assert idle(2 * late, "running", 0) == []
    restarted: list[str] = []
    executor = ClusterExecutor(_Scheduler(0), closing=ExitStack())  # type: ignore[arg-type]
    monkeypatch.setattr(executor, "_replace_worker", restarted.append)
    for _ in range(clusters.MAX_RESTARTS):
        executor._wake("w", 10**9)
    with pytest.raises(ClusterError, match=r"1\.0 GB of memory are too few; start the workers with"):
        executor._wake("w", 10**9)
    assert restarted == ["w"] * clusters.MAX_RESTARTS
    worker = SimpleNamespace(address="w", memory_limit=10**9)
    for address, limit in (("w", 10**9), ("other", None)):  # a track that waited there counts its restart as a crash
        worker.address = address
        crash = SimpleNamespace(status="error", exception=lambda: KilledWorker("key", worker, 3))  # type: ignore[arg-type]
        assert executor._memory_limit(crash) == limit  # type: ignore[arg-type]


def test_jobs_by_default_leave_room_for_the_longest_track(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import dask.system
    import distributed.system

    monkeypatch.setattr(dask.system, "CPU_COUNT", 16)
    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", 16_000_000_000)
    jobs = [clusters.default_jobs(100, longest_s=3600.0 * hours) for hours in (0, 1, 6)]
    assert jobs[0] > jobs[1] > jobs[2] >= 1
    for n, hours in zip(jobs, (0, 1, 6)):
        clusters.warn_of_long_tracks(n, 3600.0 * hours)
    assert not caplog.records
    clusters.warn_of_long_tracks(jobs[0], 6 * 3600.0)
    assert f"each of {jobs[0]} processes has {16 / jobs[0]:.1f} GB of memory; the longest track, of 360" in caplog.text


# ---------------------------------------------------------------------------------------------------- how it ends


def test_exit_codes(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["extract", str(music), "-o", str(out), "-m", str(model), "-d", "cpu", "-j", "1", "-q"]
    with DatasetLock(DatasetLayout.found(out), "somebody"):
        assert cli(arguments) == 5
    remote = [a for a in arguments if a not in ("-j", "1")]
    monkeypatch.setattr(clusters, "CONNECT_TIMEOUT_S", 1.0)
    assert cli([*remote, "--scheduler", "tcp://127.0.0.1:1"]) == 6
    from stemfeatures.tables import storage

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(storage.pq, "write_table", full)
        assert cli(arguments) == 4
    assert cli(arguments) == 0
    next((out / "stems").glob("*.parquet")).unlink()
    assert cli(arguments) == 7
    assert cli(["check", str(out), "--repair", "-q"]) == 0
    assert cli(arguments) == 0
    assert len(tracks_of(out)) == 3
    assert cli(["extract", str(tmp_path / "nothing.csv"), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("stemfeatures: error:") == 5


def test_a_collection_that_moved_with_one_changed_file(music: Path, tmp_path: Path, model: Path) -> None:
    extract(music, tmp_path / "out", model)
    moved = tmp_path / "elsewhere"
    shutil.move(music, moved)
    write_tone(moved / "c.wav", f0=500)
    summary = extract(moved, tmp_path / "out", model)
    assert (summary.n_done, summary.n_skipped) == (1, 2)
    other = tmp_path / "another collection"
    for i, name in enumerate("abc"):
        write_tone(other / f"{name}.wav", f0=600 + i)
    with pytest.raises(CatalogError, match="stands for another file"):
        extract(other, tmp_path / "out", model)


def test_separate_does_not_follow_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tone(tmp_path / "song.wav")
    (tmp_path / "stems").mkdir()
    (tmp_path / "victim").mkdir()
    (tmp_path / "stems" / "song").symlink_to(tmp_path / "victim")
    assert cli(["separate", str(tmp_path / "song.wav"), "-o", str(tmp_path / "stems")]) == 2
    assert "is a link to another place" in capsys.readouterr().err
    assert not list((tmp_path / "victim").iterdir())


def test_the_summary_of_an_interrupted_run_tells_its_time(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progress(state: ExtractProgress) -> None:
        if state.n_done == 1 and state.state == "running":
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stop:
        extract(music, tmp_path / "out", model, progress=progress)
    assert stop.value.summary.wall_s > 0.05  # type: ignore[attr-defined]
