"""Cut a small voice bank from a large one: ``python -m stemfeatures.generator.sing.cut_bank --help``.

The shipped bank is made by::

    python -m stemfeatures.generator.sing.cut_bank singbank banks/voices --singers f1 f4 m1 m4 --lines 14

Phones are aligned on the way, so that the cut needs no further work when it is read. All singers keep the same lines,
chosen so that together they hold as many different words, syllable counts and phones as possible.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .voicebank import PERIOD_S, StoredLine, VoiceBank, stored_lines


def cut(source: Path, target: Path, singers: list[str], n_lines: int) -> None:
    """Write ``target/<singer>.npz`` with ``n_lines`` lines of every singer."""
    bank = VoiceBank.load(source)
    texts = {line.text for line in _varied(stored_lines(bank, singers[0]), n_lines)}
    for singer in singers:
        lines = [line for line in stored_lines(bank, singer) if line.text in texts]
        centre = bank.range_midi(singer)[0] + 6.0
        columns: dict[str, Any] = {}
        token_start, line_start = [0], [0]
        for line in lines:
            first = max(int(line.phones.begin_s[0] / PERIOD_S) - 2, 0)
            last = min(int(line.phones.end_s[-1] / PERIOD_S) + 4, len(line.envelope))
            parts = {
                "phone_symbol": np.array(line.phones.symbol),
                "phone_nucleus": line.phones.nucleus,
                "phone_stressed": line.phones.stressed,
                "phone_word": line.phones.word.astype(np.int8),
                "phone_begin_s": (line.phones.begin_s - first * PERIOD_S).astype(np.float32),
                "phone_end_s": (line.phones.end_s - first * PERIOD_S).astype(np.float32),
                "spectral_envelope": line.envelope[first:last].astype(np.float16),
                "aperiodicity": line.aperiodicity[first:last].astype(np.float16),
            }
            for name, values in parts.items():
                columns.setdefault(name, []).append(values)
            token_start.append(token_start[-1] + len(line.phones.symbol))
            line_start.append(line_start[-1] + last - first)
        target.mkdir(parents=True, exist_ok=True)
        joined: dict[str, Any] = {name: np.concatenate(values) for name, values in columns.items()}
        np.savez_compressed(
            target / f"{singer}.npz",
            sample_rate=24_000,
            frame_period_s=PERIOD_S,
            centre_midi=np.float32(centre),
            lines=np.array([line.text for line in lines]),
            token_start=np.array(token_start),
            line_start=np.array(line_start),
            **joined,
        )


def _varied(lines: Sequence[StoredLine], n_lines: int) -> list[StoredLine]:
    """Greedy choice: each next line brings the most that is new for its length."""
    chosen: list[int] = []
    seen: set = set()
    contents = [
        {
            *(("syllables", int(line.phones.nucleus.sum()), k) for k in range(6)),  # counts for six
            *line.text.split(),
            *line.phones.symbol,
            *zip(line.phones.symbol, line.phones.symbol[1:]),
        }
        for line in lines
    ]
    while len(chosen) < min(n_lines, len(lines)):
        news = [len(content - seen) / len(line.envelope) ** 0.8 for content, line in zip(contents, lines)]
        news = [-1.0 if k in chosen else new for k, new in enumerate(news)]
        chosen.append(int(np.argmax(news)))
        seen |= contents[chosen[-1]]
    return [lines[k] for k in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut a small voice bank from a large one.")
    parser.add_argument("source", type=Path, help="folder of <singer>.npz")
    parser.add_argument("target", type=Path, help="folder to write")
    parser.add_argument("--singers", nargs="+", required=True)
    parser.add_argument("--lines", type=int, default=12, help="lines per singer (default: %(default)s)")
    args = parser.parse_args()
    cut(args.source, args.target, args.singers, args.lines)


if __name__ == "__main__":
    main()
