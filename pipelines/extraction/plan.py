"""Which tracks go into which shard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

#: Bytes per second by suffix, where nothing better is known of a file: CD quality, and 192 kbit/s for the rest.
_BYTES_PER_S = {".wav": 176_400, ".aif": 176_400, ".aiff": 176_400, ".w64": 176_400, ".flac": 100_000}
_COMPRESSED_BYTES_PER_S = 24_000


@dataclass(frozen=True)
class ShardLimits:
    """The most that goes into one shard: what is lost when a process dies, and what a commit costs, weigh in."""

    tracks: int
    audio_s: float


LIMITS = {"cpu": ShardLimits(256, 3600.0), "cuda": ShardLimits(256, 4 * 3600.0)}
#: Length of a track that is not known, when shards are filled: there shall not be hundreds of songs in one.
UNKNOWN_S = 240.0
#: What a track costs beside its length, in seconds of audio: 0.12 CPU seconds, of 1.55 a minute.
FIXED_S = 4.5
#: Small catalogues are spread: every worker gets at least so many shards, if there are enough tracks.
SHARDS_PER_WORKER = 4
#: Shards are made of so many neighbours in the catalogue: where ids are in order, rows that are merged lie near then.
NEIGHBOURS = 4096
#: Segments a forward pass on a GPU, unless asked for.
DEFAULT_GPU_BATCH = 4


def estimate_duration_s(path: str | None, size: int | None, declared: float | None) -> float:
    """Length of a track without opening it: as the catalogue says, else from the size of the file."""
    if declared is not None:
        return declared
    if path is None or not size:
        return 0.0
    return size / _BYTES_PER_S.get(PurePath(path).suffix.lower(), _COMPRESSED_BYTES_PER_S)


def efforts_s(durations_s: Sequence[float]) -> list[float]:
    """How much work tracks are beside each other, in seconds of audio. A length of 0 is one that is not known."""
    known = [duration_s for duration_s in durations_s if duration_s]
    usual_s = sum(known) / len(known) if known else UNKNOWN_S
    return [FIXED_S + (duration_s or usual_s) for duration_s in durations_s]


def plan_shards(durations_s: Sequence[float], limits: ShardLimits, *, n_workers: int) -> list[list[int]]:
    """Positions of the tracks of each shard, long tracks first.

    So no long one is left for the end when the other workers have nothing to do, and the tracks of a shard are alike.
    A length of 0 is one that is not known.
    """
    n = len(durations_s)
    most = min(limits.tracks, max(1, math.ceil(n / (SHARDS_PER_WORKER * n_workers))))
    shards: list[list[int]] = []
    for first in range(0, n, NEIGHBOURS):
        order = sorted(range(first, min(first + NEIGHBOURS, n)), key=lambda i: (-durations_s[i], i))
        shards += _filled(order, durations_s, limits.audio_s, most)
    return sorted(shards, key=lambda shard: -durations_s[shard[0]])


def _filled(order: Sequence[int], durations_s: Sequence[float], most_s: float, most: int) -> list[list[int]]:
    shards: list[list[int]] = []
    filled_s = 0.0
    for i in order:
        fills_s = durations_s[i] or UNKNOWN_S
        if not shards or len(shards[-1]) >= most or filled_s + fills_s > most_s:
            shards.append([])
            filled_s = 0.0
        shards[-1].append(i)
        filled_s += fills_s
    return shards
