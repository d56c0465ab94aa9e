"""Decoding ahead of the network, in threads; libsndfile and ffmpeg leave the interpreter free meanwhile."""

from __future__ import annotations

import os
import queue
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

import numpy as np

from stemfeatures import audio
from stemfeatures.audio import AudioInfo, AudioStream, Tags
from stemfeatures.errors import AudioError, DecodeError

from ..catalog import backslash_hint, printable

#: Blocks of 10 s that wait for the network, of each track.
BLOCKS_AHEAD = 4
#: A track may take this long, and so many times its own length on top. Far beyond any sound file and machine.
TRACK_TIMEOUT_S = 600.0
TRACK_TIMEOUT_TIMES_LENGTH = 10.0

#: A file may take this long to be opened: network drives are slow, and some hang for ever.
OPEN_TIMEOUT_S = 120.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Key = TypeVar("_Key")


class TrackTimeout(AudioError):
    """A track took longer than it may."""

    stage = "decode"


class FileState(NamedTuple):
    """Size in bytes and time of the last change: the identity of a file, as far as its folder states it."""

    size: int
    modified_at: datetime

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileState | None:
        """None when there is no such file, or it is not a regular one (a pipe has no identity)."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return cls(status.st_size, _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000))


class PrefetchStream(AudioStream):
    """An :class:`~stemfeatures.audio.AudioStream` whose blocks another thread decodes ahead.

    Opening happens in that thread, too: call :meth:`open` before use. Errors of opening are raised there, errors of
    decoding by the iteration, as without a thread. The digest of the file is ready at its end.

    Parameters
    ----------
    path : str
        The file.
    timeout_s : float, optional
        Wall-clock limit for opening, and from the first block asked for to the last; default a generous one that grows
        with the length. Also handed to the decoders.

    Attributes
    ----------
    file_state : FileState or None
        Of the file before it was opened.
    tags : Tags or None
        What the file says of itself; known at its end.
    decode_s : float
        Seconds the thread has worked.
    wait_s : float
        Seconds the reader has waited for it.
    """

    def __init__(self, path: str, *, timeout_s: float | None = None) -> None:
        self.n_samples = 0
        self.status = None
        self.message = ""
        self.path, self.timeout_s = path, timeout_s
        self.file_state = FileState.of(path)
        self.decode_s = self.wait_s = 0.0
        self._stream: AudioStream
        self.tags: Tags | None = None
        self._sha256: str | None = None
        self._deadline: float | None = None
        self._closed = False
        self._cancelled = threading.Event()
        self._opened: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._blocks: queue.Queue[np.ndarray | Exception | None] = queue.Queue(BLOCKS_AHEAD)
        self._thread = threading.Thread(target=self._work, daemon=True, name="decode")
        self._thread.start()

    # ------------------------------------------------------------------------------------------- the other thread

    def _work(self) -> None:
        started = time.perf_counter()
        is_open = False
        try:
            with audio.open_audio(self.path, timeout_s=self.timeout_s) as stream:
                self._stream = stream
                is_open = True
                self._opened.put(None)
                for block in stream:
                    self.decode_s += time.perf_counter() - started
                    if not self._put(block):
                        return
                    started = time.perf_counter()
                self._sha256 = stream.sha256
                self.tags = audio.read_tags(self.path)
                if FileState.of(self.path) != self.file_state:
                    raise DecodeError("the file changed while it was read", source=printable(self.path))
                self._end = stream.status, stream.message
            self.decode_s += time.perf_counter() - started
            self._put(None)
        except Exception as error:
            if is_open:
                self._put(error)
            else:
                self._opened.put(error)

    def _put(self, item: np.ndarray | Exception | None) -> bool:
        """Hand on unless the reader has gone."""
        while not self._cancelled.is_set():
            try:
                self._blocks.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    # ------------------------------------------------------------------------------------------------- the reader

    @property
    def info(self) -> AudioInfo:
        return self._stream.info

    def open(self) -> PrefetchStream:
        """Wait until the file is open.

        Raises
        ------
        AudioError
            What ``open_audio`` raises; TrackTimeout when it takes too long.
        """
        started = time.perf_counter()
        limit = OPEN_TIMEOUT_S if self.timeout_s is None else self.timeout_s
        try:
            error = self._opened.get(timeout=limit)
        except queue.Empty:
            self.close()
            error = TrackTimeout(f"gave up after {limit:g} s, the file is not open yet", source=printable(self.path))
        self.wait_s += time.perf_counter() - started
        if error is None:
            return self
        if isinstance(error, AudioError) and (hint := backslash_hint(self.path)):
            error = type(error)(error.message + hint, source=error.source)
        raise error

    def __next__(self) -> np.ndarray:
        if self._closed:
            raise StopIteration
        started = time.monotonic()
        limit = self._limit()
        if self._deadline is None:
            self._deadline = started + limit
        try:
            item = self._blocks.get(timeout=max(0.0, self._deadline - started))
            late = time.monotonic() > self._deadline
        except queue.Empty:
            item, late = None, True
        self.wait_s += time.monotonic() - started
        if late:
            self.close()
            raise TrackTimeout(
                f"gave up after {limit:g} s, {self.decoded_duration_s:.1f} s into the audio",
                source=printable(self.path),
            )
        if item is None:
            self.status, self.message = self._end
            self.close()
            raise StopIteration
        if isinstance(item, Exception):
            self.close()
            raise item
        self.n_samples += item.shape[1]
        return item

    def _limit(self) -> float:
        if self.timeout_s is not None:
            return self.timeout_s
        return TRACK_TIMEOUT_S + TRACK_TIMEOUT_TIMES_LENGTH * (self.info.declared_duration_s or 0.0)

    def close(self) -> None:
        """Let the thread end. Harmless when called again."""
        self._closed = True
        self._cancelled.set()


def prefetched(
    items: Iterable[tuple[_Key, str]],
    *,
    ahead: int,
    timeout_s: float | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[_Key, PrefetchStream]]:
    """Streams of files in order, the next ``ahead`` of which are being decoded already; not opened yet.

    Ends early when ``stop()`` says so. Every stream has its own thread, so a consumer may hold several at a time.
    """
    source = iter(items)
    started: deque[tuple[_Key, PrefetchStream]] = deque()
    try:
        while stop is None or not stop():
            while len(started) <= ahead and (item := next(source, None)) is not None:
                started.append((item[0], PrefetchStream(item[1], timeout_s=timeout_s)))
            if not started:
                return
            yield started.popleft()
    finally:
        for _, stream in started:
            stream.close()
