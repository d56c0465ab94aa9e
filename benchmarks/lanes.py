"""How busy a GPU is kept by the lanes of `extract`: a model of them, fed with what their stages cost on this machine.

    python benchmarks/lanes.py [--minutes 3] [--tracks 4] [--speed 500 2000 8000] [--gpus 1 2 4 8] [--cores 8 16 ...]
    python benchmarks/lanes.py --costs 0.41 6.05 0.40 0.74    # what an earlier run has measured

`extract` runs on this machine with a stub in place of the network, which waits as long as a network of a given speed
would work, in one process and in two that share it. Then the stages are measured, in CPU seconds per minute of audio:
what runs ahead of the network (decoding, loudness, the mono signal), in the thread that feeds it (on a CPU with all
frames; on a GPU with what stays on the host: measures of the waveform, the second resampling, the part files), and
behind it (descriptors, rows). With these the model makes the same runs, on as much of each core as other work is seen
to leave before and after them; both are printed with their ratio. The table shows the model alone, for other machines:
times real time in all, the share of time that a GPU is busy, that of the cores, and which of them limits.

The model is one of discrete events: processes with three threads each, blocks of 10 s, segments in batches, queues as
`extract` has them. A process runs Python in one thread at a time: the threads that feed the network and that describe
are taken to hold the interpreter all the time, so a single process is shown at its slowest. Kernel launches are not in
it, nor that all cores together may be slower than one alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simpy
import soundfile as sf
import torch

from pipelines.extraction import shard
from pipelines.extraction.lane import TRACKS_BEHIND
from pipelines.extraction.plan import DEFAULT_GPU_BATCH
from pipelines.extraction.prefetch import BLOCKS_AHEAD
from pipelines.extraction.threads import MEMORY_ENVIRONMENT, WORKER_ENVIRONMENT
from stemfeatures.analysis import Analyser, Preparation, UndescribedTrack
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH
from stemfeatures.frames import builder, stereo
from stemfeatures.inference.segments import BORDER, SEGMENT
from stemfeatures.models.checkpoints import DEFAULT_MODEL

#: A song with a voice: how much of a track is sung decides what its pitch costs.
SAMPLE = Path(__file__).parent.parent / "catalog_samples" / "Río.flac"
#: Of a decoded block and of a step from segment to segment, in seconds of audio.
BLOCK_S = 10.0
STEP_S = (SEGMENT - 2 * BORDER) * HOP_LENGTH / ANALYSIS_SAMPLE_RATE
#: Seconds for which a thread keeps a core, and Python.
QUANTUM_S = 0.05
#: Tracks of each process that are modelled for the table; the first third of the time, as queues fill, does not count.
MODELLED_TRACKS = 12
#: What of the frames stays on the host when the network is on a GPU.
HOST_MEASURES = ("FinePitch", "VoiceMeter", "InharmonicityMeter", "GrowingArrays")


# ---------------------------------------------------------------------------------------------------- what stages cost


@dataclass(frozen=True)
class Costs:
    """CPU seconds per minute of audio."""

    ahead: float
    feed: float
    feed_gpu: float
    behind: float

    def __str__(self) -> str:
        return (
            f"ahead of the network {self.ahead:.3f}, feeding it {self.feed:.3f} (on a GPU {self.feed_gpu:.3f}), "
            f"behind it {self.behind:.3f}"
        )


class StubNetwork(torch.nn.Module):
    """Says of each segment what the network said of the first, after a wait; ``place`` is shared by processes.

    Parameters
    ----------
    net : torch.nn.Module
        The network.
    speed : float
        Times real time; infinite without a wait.
    place : Path
        A file that is locked meanwhile.
    """

    def __init__(self, net: torch.nn.Module, speed: float, place: Path) -> None:
        super().__init__()
        self.net, self.stride, self.speed, self.place = net, net.stride, speed, place
        self._known: dict[int, Any] = {}

    def forward(self, magnitude: torch.Tensor, *args: Any) -> Any:
        with self.place.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep(len(magnitude) * STEP_S / self.speed)
        n, size = magnitude.shape[0], magnitude.shape[-1]
        if size not in self._known:
            self._known[size] = self.net(magnitude[:1], *args)
        first = self._known[size]
        values = {f.name: getattr(first, f.name) for f in dataclasses.fields(first)}
        return type(first)(**{k: v if v is None else v.expand(n, *v.shape[1:]) for k, v in values.items()})


def put_stub(speed: float, place: Path) -> None:
    """Let every analyser of this process have a stub, and describe aside, as on a GPU."""
    load = Analyser.__init__

    def init(self: Analyser, *args: Any, **options: Any) -> None:
        load(self, *args, **options)
        self.net = StubNetwork(self.net, speed, place)  # type: ignore[assignment]

    Analyser.__init__ = init  # type: ignore[method-assign]
    shard.describes_aside = lambda device: True


class Clock:
    """Sums the CPU time of threads by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, name: str, stage: str, *, thread: str | None = None) -> None:
        """Count the calls of a method from now on; only those in the threads of a name, if given."""
        call: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            started = time.thread_time()
            try:
                return call(*args, **options)
            finally:
                if thread in (None, threading.current_thread().name):
                    self.seconds[stage] += time.thread_time() - started

        setattr(owner, name, timed)


def measure_costs(songs: Sequence[Path], model: str, work: Path) -> Costs:
    """One run in this process with a stub that does not wait."""
    from stemfeatures.audio import streams

    put_stub(float("inf"), work / "lock")
    clock = Clock()
    clock.wrap(streams.AudioStream, "__next__", "ahead")
    clock.wrap(Preparation, "push", "ahead")
    clock.wrap(UndescribedTrack, "describe", "behind")
    clock.wrap(shard, "analysed_rows", "behind")
    clock.wrap(shard._Shard, "_together", "feed")
    clock.wrap(stereo.StreamResampler, "process", "feed_gpu", thread="shard")
    for stage in ("feed", "feed_gpu"):
        clock.wrap(shard._Shard, "write", stage)
    for name in HOST_MEASURES:
        for method in ("push", "push_signal", "append", "take"):
            if hasattr(getattr(builder, name), method):
                clock.wrap(getattr(builder, name), method, "feed_gpu")
    minutes = extract(songs, model, work / "costs")[1] / 60
    return Costs(*(clock.seconds[stage] / minutes for stage in ("ahead", "feed", "feed_gpu", "behind")))


# ------------------------------------------------------------------------------------------------------- measured runs


def write_song(path: Path, seconds: float) -> None:
    """The sample, again and again."""
    y, rate = sf.read(SAMPLE, dtype="int16")
    n = round(seconds * rate)
    sf.write(path, np.tile(y, (-(-n // len(y)), 1))[:n], rate)


def extract(songs: Sequence[Path], model: str, out: Path, *, wait: bool = False) -> tuple[float, float]:
    """Seconds from the first track on, and seconds of audio. ``wait``: for a line on standard input before."""
    from pipelines import extract_catalog

    began: list[float] = []

    def progress(state: Any) -> None:
        if state.state == "running" and not began:
            if wait:
                print("ready", flush=True)
                sys.stdin.readline()
            began.append(time.perf_counter())

    summary = extract_catalog(
        list(songs), out, model=model, device="cpu", jobs=1, batch_size=DEFAULT_GPU_BATCH, progress=progress
    )
    if summary.n_failed:
        sys.exit(f"not extracted: {summary.errors}")
    return time.perf_counter() - began[0], summary.audio_s


def free_share() -> float:
    """The share of a core that other work on this machine leaves to each of so many processes as it has cores."""
    code = "import time; a = time.time(); exec('while time.time() < a + 1.0: pass'); print(time.process_time())"
    command = [sys.executable, "-I", "-S", "-c", code]
    spinning = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(os.cpu_count() or 1)]
    return min(1.0, sum(float(process.communicate()[0]) for process in spinning) / len(spinning))


def measured_speed(songs: Sequence[Path], model: str, work: Path, *, processes: int, speed: float) -> float:
    """Times real time of processes that begin together and share a stub network."""
    environment = {**os.environ, **WORKER_ENVIRONMENT, **MEMORY_ENVIRONMENT}
    started = []
    for i in range(processes):
        command = [sys.executable, __file__, "--work", str(work / f"{processes}-{i}"), model, str(speed)]
        options: dict[str, Any] = {"env": environment, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen([*command, *map(str, songs)], text=True, **options))
    for process in started:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            sys.exit("a run did not begin")
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [tuple(map(float, process.communicate()[0].split()[-2:])) for process in started]
    return sum(audio_s for _, audio_s in results) / max(wall_s for wall_s, _ in results)


# ----------------------------------------------------------------------------------------------------------- the model


@dataclass
class Machine:
    """Cores and GPUs, and how long they were busy since ``counts_from``."""

    env: simpy.Environment
    n_cores: int
    n_gpus: int
    counts_from: float = 0.0
    busy_core_s: float = 0.0
    busy_gpu_s: float = 0.0
    audio_s: float = 0.0
    cores: simpy.Resource = field(init=False)
    gpus: list[simpy.Resource] = field(init=False)

    def __post_init__(self) -> None:
        self.cores = simpy.Resource(self.env, self.n_cores)
        self.gpus = [simpy.Resource(self.env, 1) for _ in range(self.n_gpus)]

    def counted(self, since: float) -> float:
        """The part of the time since then that counts."""
        return max(0.0, self.env.now - max(since, self.counts_from))


_Events = Generator[Any, Any, None]


class Process:
    """A worker: threads ahead of the network, the one that feeds it, and the one behind.

    Parameters
    ----------
    machine : Machine
        Where it runs.
    gpu : simpy.Resource
        The one that it uses.
    costs : Costs
        CPU seconds per minute of audio; ``feed_gpu`` counts, or ``feed`` where the frames are made on the CPU.
    speed : float
        Times real time of the network.
    track_s : float
        Length of its tracks.
    n_tracks : int or None
        It ends after so many; None: never.
    """

    def __init__(
        self, machine: Machine, gpu: simpy.Resource, costs: Costs, *, speed: float, track_s: float,
        n_tracks: int | None = None, on_gpu: bool = True,
    ) -> None:  # fmt: skip
        self.machine, self.gpu, self.costs, self.speed, self.track_s = machine, gpu, costs, speed, track_s
        self.feed = costs.feed_gpu if on_gpu else costs.feed
        self.n_tracks = n_tracks
        env = machine.env
        self.python = simpy.Resource(env, 1)
        self.behind = simpy.Store(env, TRACKS_BEHIND)
        self.ends = [env.process(self._feed()), env.process(self._describe())]

    def _compute(self, cpu_s: float, *, holds_python: bool) -> _Events:
        machine, env = self.machine, self.machine.env
        while cpu_s > 1e-9:
            python = self.python.request() if holds_python else None
            if python is not None:
                yield python
            with machine.cores.request() as core:
                yield core
                began = env.now
                yield env.timeout(min(QUANTUM_S, cpu_s))
                machine.busy_core_s += machine.counted(began)
            if python is not None:
                self.python.release(python)
            cpu_s -= QUANTUM_S

    def _blocks(self) -> list[float]:
        whole, rest = divmod(self.track_s, BLOCK_S)
        return [BLOCK_S] * int(whole) + ([rest] if rest > 1e-6 else [])

    def _ahead(self, blocks: simpy.Store) -> _Events:
        for seconds in self._blocks():
            yield from self._compute(self.costs.ahead * seconds / 60, holds_python=False)
            yield blocks.put(seconds)

    def _start(self) -> simpy.Store:
        blocks = simpy.Store(self.machine.env, BLOCKS_AHEAD)
        self.machine.env.process(self._ahead(blocks))
        return blocks

    def _feed(self) -> _Events:
        ahead, waiting_s, unfinished, n = self._start(), 0.0, 0, 0
        while self.n_tracks is None or n < self.n_tracks:
            blocks, ahead = ahead, self._start()
            for _ in self._blocks():
                seconds = yield blocks.get()
                yield from self._compute(self.feed * seconds / 60, holds_python=True)
                waiting_s += seconds
                if waiting_s >= DEFAULT_GPU_BATCH * STEP_S:
                    yield from self._batch(DEFAULT_GPU_BATCH * STEP_S)
                    waiting_s -= DEFAULT_GPU_BATCH * STEP_S
                    for _ in range(unfinished):
                        yield self.behind.put(self.track_s)
                    unfinished = 0
            n, unfinished = n + 1, unfinished + 1
        yield from self._batch(waiting_s)
        for _ in range(unfinished):
            yield self.behind.put(self.track_s)

    def _batch(self, seconds: float) -> _Events:
        with self.gpu.request() as turn:
            yield turn
            began = self.machine.env.now
            yield self.machine.env.timeout(seconds / self.speed)
            self.machine.busy_gpu_s += self.machine.counted(began)

    def _describe(self) -> _Events:
        n = 0
        while self.n_tracks is None or n < self.n_tracks:
            seconds = yield self.behind.get()
            yield from self._compute(self.costs.behind * seconds / 60, holds_python=True)
            if self.machine.env.now >= self.machine.counts_from:
                self.machine.audio_s += seconds
            n += 1


def modelled_speed(
    costs: Costs, *, processes: int, cores: int, speed: float, track_s: float, n_tracks: int, share: float
) -> float:
    """Times real time of the runs that :func:`measured_speed` makes, with a share of each core."""
    costs = Costs(*(cost / share for cost in (costs.ahead, costs.feed, costs.feed_gpu, costs.behind)))
    env = simpy.Environment()
    machine = Machine(env, cores, 1)
    options: dict[str, Any] = {"speed": speed, "track_s": track_s, "n_tracks": n_tracks, "on_gpu": False}
    ends = [end for _ in range(processes) for end in Process(machine, machine.gpus[0], costs, **options).ends]
    env.run(env.all_of(ends))
    return machine.audio_s / env.now


def utilisation(
    costs: Costs, *, gpus: int, cores: int, speed: float, track_s: float
) -> tuple[int, float, float, float]:
    """Processes, times real time, busy shares of GPUs and of cores, with as many processes as cores."""
    n = max(cores, gpus)
    most = min(cores * 60 / (costs.ahead + costs.feed_gpu + costs.behind), gpus * speed)
    modelled_s = MODELLED_TRACKS * n * track_s / most
    env = simpy.Environment()
    machine = Machine(env, cores, gpus, counts_from=modelled_s / 3)
    for i in range(n):
        Process(machine, machine.gpus[i % gpus], costs, speed=speed, track_s=track_s)
    env.run(modelled_s)
    counted_s = modelled_s - machine.counts_from
    return (
        n, machine.audio_s / counted_s, machine.busy_gpu_s / counted_s / gpus,
        machine.busy_core_s / counted_s / cores,
    )  # fmt: skip


def compare(args: argparse.Namespace, track_s: float) -> Costs:
    """Measured runs beside modelled ones; what the stages cost."""
    measured, shares = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        songs = [work / f"{i}.flac" for i in range(args.tracks)]
        for song in songs:
            write_song(song, track_s)
        print(f"{args.tracks} tracks of {args.minutes:g} minutes; a stub network at {args.stub_speed:g} x real time")
        for n in args.processes:
            before = free_share()
            measured[n] = measured_speed(songs, args.model, work, processes=n, speed=args.stub_speed)
            shares[n] = (before + free_share()) / 2
        costs = measure_costs(songs, args.model, work)
    print(f"CPU seconds per minute of audio: {costs}")
    options: dict[str, Any] = {"speed": args.stub_speed, "track_s": track_s, "n_tracks": args.tracks}
    for n, times in measured.items():
        modelled = modelled_speed(costs, processes=n, cores=os.cpu_count() or 1, share=shares[n], **options)
        free = f"{shares[n]:.2f} of each core free"
        print(
            f"  {n} processes, {free}: measured {times:.1f} x, modelled {modelled:.1f} x, ratio {modelled / times:.2f}"
        )
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="length of each track (default: %(default)s)")
    parser.add_argument("--tracks", type=int, default=4, help="tracks of each run (default: %(default)s)")
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2], help="of the runs here")
    parser.add_argument("--stub-speed", type=float, default=60.0, help="of the runs here (default: %(default)s)")
    parser.add_argument("--speed", nargs="+", type=float, default=[500.0, 2000.0, 8000.0], help="of a GPU in the table")
    parser.add_argument("--gpus", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--cores", nargs="+", type=int, default=[8, 16, 32, 64, 96])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="whose first words the stub repeats")
    parser.add_argument("--costs", nargs=4, type=float, metavar="S", help="as an earlier run has printed: none here")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        out, model, speed, *songs = args.work
        put_stub(float(speed), Path(out).parent / "lock")
        print(*extract([Path(song) for song in songs], model, Path(out), wait=True))
        return
    track_s = 60 * args.minutes
    costs = Costs(*args.costs) if args.costs else compare(args, track_s)
    print("GPUs  cores  network x  processes  x real time  GPU busy  cores busy  limit")
    for gpus in args.gpus:
        for cores in args.cores:
            for speed in args.speed:
                n, times, gpu, core = utilisation(costs, gpus=gpus, cores=cores, speed=speed, track_s=track_s)
                limit = "GPU" if gpu > 0.9 else "cores" if core > 0.9 else "queues"
                print(f"{gpus:4d}  {cores:5d}  {speed:9g}  {n:9d}  {times:11.0f}  {gpu:8.2f}  {core:10.2f}  {limit}")


if __name__ == "__main__":
    main()
