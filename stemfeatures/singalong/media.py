"""Stems as files that a page opened from disk can play.

Such a page may neither ``fetch`` nor read what an ``<audio>`` element plays (both count as another origin), but it may
load scripts. So the stems are cut into chunks of a few seconds, each a script that hands over one Ogg Opus a stem in
base64: the page starts at once, holds a few chunks only, and starts the stems of a chunk at one time of one clock.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import soundfile

from ..audio import StreamResampler, to_mono

#: Opus knows no other rate as high.
SAMPLE_RATE = 48_000
CHUNK_S = 10.0
#: A chunk begins this much earlier, for a decoder needs a moment, and ends as much later as two chunks are faded.
LEAD_S, TAIL_S = 0.1, 0.05
#: What soundfile takes at once: its Vorbis and Opus encoders put all of it on the stack.
_BLOCK = 16_384


class MediaWriter:
    """Writes stems, which come in blocks, as chunks ``0000.js``, ``0001.js`` ... of a folder.

    Chunk ``k`` holds the samples from ``k * CHUNK_S - LEAD_S`` (0 for the first) to ``(k + 1) * CHUNK_S + TAIL_S``
    seconds, at 48 kHz.

    Parameters
    ----------
    folder : Path
        An empty folder.
    sample_rate : int
        Of the stems in Hz.
    channels : int
        Of the stems; more than two are mixed to one.

    Attributes
    ----------
    n_samples : int
        At 48 kHz, so far.
    """

    def __init__(self, folder: Path, sample_rate: int, channels: int) -> None:
        self.folder, self.channels = folder, channels if channels <= 2 else 1
        self.n_samples = 0
        self._rates = sample_rate, SAMPLE_RATE
        self._resamplers: dict[str, StreamResampler] = {}
        #: Samples from the start of the next chunk on.
        self._held: dict[str, np.ndarray] = {}
        self._chunk = 0
        # libsndfile works without the interpreter's lock: a stem a core.
        self._pool = ThreadPoolExecutor()

    def __enter__(self) -> MediaWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown()

    def write(self, stems: Mapping[str, np.ndarray]) -> None:
        """Take further samples ``(channels, k)`` of all stems."""
        for stem, y in stems.items():
            mixed = y if len(y) == self.channels else to_mono(y)[None]
            resampler = self._resamplers.setdefault(stem, StreamResampler(*self._rates))
            self._hold(stem, resampler.process(mixed))
        self._count()
        while self._first_of(self._chunk + 1) + round((LEAD_S + TAIL_S) * SAMPLE_RATE) <= self.n_samples:
            self._write_chunk()

    def finish(self) -> dict[str, Any]:
        """Write what is left; what a page has to know: stems, ``seconds`` a chunk, ``lead``, ``count`` and rate."""
        for stem, resampler in self._resamplers.items():
            self._hold(stem, resampler.flush())
        self._count()
        while self._first_of(self._chunk) + (round(LEAD_S * SAMPLE_RATE) if self._chunk else 0) < self.n_samples:
            self._write_chunk()
        return {
            "stems": list(self._resamplers),
            "seconds": CHUNK_S,
            "lead": LEAD_S,
            "count": self._chunk,
            "sampleRate": SAMPLE_RATE,
        }

    def _first_of(self, chunk: int) -> int:
        return round((chunk * CHUNK_S - LEAD_S) * SAMPLE_RATE) if chunk else 0

    def _hold(self, stem: str, y: np.ndarray) -> None:
        held = self._held.get(stem)
        self._held[stem] = y if held is None else np.concatenate([held, y], axis=1)

    def _count(self) -> None:
        held = next(iter(self._held.values()), None)
        self.n_samples = 0 if held is None else self._first_of(self._chunk) + held.shape[1]

    def _write_chunk(self) -> None:
        first, after = self._first_of(self._chunk), self._first_of(self._chunk + 1)
        stop = after + round((LEAD_S + TAIL_S) * SAMPLE_RATE)
        parts = {stem: y[:, : stop - first] for stem, y in self._held.items()}
        encoded = dict(zip(parts, self._pool.map(opus, parts.values())))
        texts = {stem: base64.b64encode(data).decode("ascii") for stem, data in encoded.items()}
        script = f"singalong.addMedia({self._chunk}, {json.dumps(texts)});\n"
        (self.folder / f"{self._chunk:04d}.js").write_text(script, encoding="ascii")
        self._held = {stem: y[:, after - first :] for stem, y in self._held.items()}
        self._chunk += 1


def opus(y: np.ndarray) -> bytes:
    """Ogg Opus of samples ``(channels, n)`` at 48 kHz; decoded, it is as long as they are."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", SAMPLE_RATE, len(y), "OPUS", format="OGG") as file:
        for at in range(0, y.shape[1], _BLOCK):
            file.write(np.ascontiguousarray(y[:, at : at + _BLOCK].T))
    return buffer.getvalue()
