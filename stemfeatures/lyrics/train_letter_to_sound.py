"""Train the letter-to-sound tables: ``python -m stemfeatures.lyrics.train_letter_to_sound -o letter_to_sound.json.gz``.

Letters and phones of each word of the dictionary are aligned by expectation maximisation (a letter stands for none to
two phones), then the tables of :mod:`.letter_to_sound` are counted. One word in twenty is held out; the command prints
how many of those come out right.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from .letter_to_sound import LETTERS, LetterToSound, contexts
from .lexicon import read_dictionary

#: Phones a letter may stand for.
MOST_PHONES = 2
ROUNDS = 4
#: A context is kept when it was met at least so often and changes what the shorter one says.
FEWEST = 2
HELD_OUT_SHARE = 20

Pair = tuple[str, tuple[str, ...]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train letter-to-sound tables from the pronouncing dictionary.")
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to write (.json.gz)")
    args = parser.parse_args(argv)
    pairs = training_pairs(read_dictionary())
    held = [pair for pair in pairs if is_held_out(pair[0])]
    tables = train([pair for pair in pairs if not is_held_out(pair[0])])
    scores = score(LetterToSound(tables), held)
    document = {"held_out": scores | {"words": len(held)}, "tables": tables}
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
    args.out.write_bytes(gzip.compress(data, 9, mtime=0))
    print(
        f"{len(tables)} contexts; of {len(held)} held-out words {scores['words_right']:.1%} right, "
        f"phone errors {scores['phone_error_rate']:.1%}"
    )
    return 0


def training_pairs(dictionary: dict[str, list[tuple[str, ...]]]) -> list[Pair]:
    """Words of letters alone, with their first pronunciation, where two phones a letter are enough."""
    return [
        (word, said[0])
        for word, said in sorted(dictionary.items())
        if set(word) <= LETTERS and len(word) > 1 and len(said[0]) <= MOST_PHONES * len(word)
    ]


def is_held_out(word: str) -> bool:
    return zlib.crc32(word.encode()) % HELD_OUT_SHARE == 0


def train(pairs: Sequence[Pair], *, rounds: int = ROUNDS) -> dict[str, str]:
    """Tables from words and their phones."""
    costs: dict[tuple[str, tuple[str, ...]], float] = {}
    aligned: list[tuple[str, list[tuple[str, ...]]]] = []
    for _ in range(rounds):
        aligned = [(word, align(word, phones, costs)) for word, phones in pairs]
        counts = Counter((letter, said) for word, parts in aligned for letter, said in zip(word, parts))
        letters = Counter(letter for word, _ in aligned for letter in word)
        costs = {pair: -math.log(count / letters[pair[0]]) for pair, count in counts.items()}
    return _tables(aligned)


def align(word: str, phones: tuple[str, ...], costs: dict[tuple[str, tuple[str, ...]], float]) -> list[tuple[str, ...]]:
    """The phones of each letter at the least cost; without costs, phones are spread along the word."""
    n, m = len(word), len(phones)
    best = [[math.inf] * (m + 1) for _ in range(n + 1)]
    took = [[0] * (m + 1) for _ in range(n + 1)]
    best[0][0] = 0.0
    for i in range(n):
        for j in range(m + 1):
            if best[i][j] == math.inf:
                continue
            for k in range(min(MOST_PHONES, m - j) + 1):
                if costs:
                    cost = costs.get((word[i], phones[j : j + k]), 12.0)
                else:
                    cost = (0.5, 0.0, 2.0)[k] + abs((j + k / 2) / m - (i + 0.5) / n)
                if best[i][j] + cost < best[i + 1][j + k]:
                    best[i + 1][j + k] = best[i][j] + cost
                    took[i + 1][j + k] = k
    parts: list[tuple[str, ...]] = []
    j = m
    for i in range(n, 0, -1):
        parts.append(phones[j - took[i][j] : j])
        j -= took[i][j]
    return parts[::-1]


def _tables(aligned: Iterable[tuple[str, list[tuple[str, ...]]]]) -> dict[str, str]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for word, parts in aligned:
        for longer, part in zip(contexts(word), parts):
            said = " ".join(part)
            for context in longer:
                counts[context][said] += 1
    tables: dict[str, str] = {}
    for context in sorted(counts, key=len):
        said, count = min(counts[context].items(), key=lambda item: (-item[1], item[0]))
        shorter = next((tables[context[:k]] for k in range(len(context) - 1, 0, -1) if context[:k] in tables), None)
        if said != shorter and (count >= FEWEST or shorter is None):
            tables[context] = said
    return tables


def score(model: LetterToSound, pairs: Sequence[Pair]) -> dict[str, float]:
    """Share of words that come out right, and edits a phone."""
    right = edits = total = 0
    for word, phones in pairs:
        said = model(word)
        right += said == phones
        edits += _edit_distance(said, phones)
        total += len(phones)
    return {"words_right": right / len(pairs), "phone_error_rate": edits / total}


def _edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


if __name__ == "__main__":
    raise SystemExit(main())
