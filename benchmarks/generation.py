"""Songs and song-minutes per CPU-minute of the generator, by stage, on one thread.

    python benchmarks/generation.py [--songs 8] [--seconds 60] [--bank DIR] [--voices DIR] [--recordings DIR]
                                    [--grooves DIR]

The mark is 1.9 song-minutes per CPU-minute: ten hours of music on 16 cores in 20 minutes.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemfeatures.generator import song as generator
from stemfeatures.generator.compose.grooves import GrooveBank
from stemfeatures.generator.play.note_bank import NoteBank
from stemfeatures.generator.sing.recording_bank import RecordingBank
from stemfeatures.generator.sing.voice import VoiceBank

STAGES = {
    "compose": "compose",
    "play_drums": "drums",
    "play_bass": "bass",
    "play_others": "other",
    "sing_score": "vocals",
    "mix": "mix and master",
}


def timed(function: Callable, name: str, seconds: dict[str, float]) -> Callable:
    def call(*args: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **options)
        finally:
            seconds[name] += time.process_time() - start

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--voices", type=Path)
    parser.add_argument("--recordings", type=Path, help="bank of recordings")
    parser.add_argument("--grooves", type=Path, help="folder of recorded drum performances")
    args = parser.parse_args()
    notes = NoteBank(args.bank) if args.bank else None
    voices = VoiceBank.load(args.voices) if args.voices else VoiceBank.default()
    recordings = RecordingBank(args.recordings) if args.recordings else None
    banks: dict[str, Any] = {"notes": notes, "voices": voices, "recordings": recordings}
    banks["grooves"] = GrooveBank(args.grooves) if args.grooves else None
    seconds: dict[str, float] = defaultdict(float)
    for function, name in STAGES.items():
        setattr(generator, function, timed(getattr(generator, function), name, seconds))
    generator.generate_song(10_000, duration_s=15.0, **banks)  # warms up
    seconds.clear()
    minutes, each = 0.0, []
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.songs):
            before = time.process_time()
            song = generator.generate_song(seed, duration_s=args.seconds, **banks)
            write = timed(generator.write_song, "write FLAC and truth", seconds)
            write(song, Path(folder) / str(seed))
            minutes += song.duration_s / 60
            each.append((time.process_time() - before) / (song.duration_s / 60))
    total = time.process_time() - started
    print(f"{args.songs} songs, {minutes:.2f} minutes of music; CPU seconds per song-minute")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"  {name:24s} {spent / minutes:7.3f}")
    print(f"  {'all':24s} {total / minutes:7.3f} (median {statistics.median(each):.3f}, most {max(each):.3f})")
    print(f"{60 * args.songs / total:.1f} songs and {60 * minutes / total:.1f} song-minutes per CPU-minute (mark: 1.9)")


if __name__ == "__main__":
    main()
