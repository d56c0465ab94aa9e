"""How a word is said by its letters alone: the longest context of a letter that was met in a dictionary decides.

The tables are a tree of contexts in the manner of IGTree (Daelemans and van den Bosch 1996): for each letter the phones
it stands for (none, one or two), looked up by letters around it, first the letter itself, then one more on the right,
on the left, and so on; an entry is kept only where it changes what a shorter context says.
:mod:`.train_letter_to_sound` makes the shipped file from the pronouncing dictionary.
"""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path

#: Letters around the one in question, in the order in which they are asked for.
CONTEXT = (0, 1, -1, 2, -2, 3, -3, 4)
EDGE = "_"
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz'")
SHIPPED = Path(__file__).parent / "letter_to_sound.json.gz"


def contexts(word: str) -> list[list[str]]:
    """For each letter its contexts, the shortest first.

    >>> contexts("go")[1][:3]
    ['o', 'o_', 'o_g']
    """
    reach = max(abs(offset) for offset in CONTEXT)
    padded = EDGE * reach + word + EDGE * reach
    found = []
    for i in range(len(word)):
        letters = [padded[reach + i + offset] for offset in CONTEXT]
        found.append(["".join(letters[: k + 1]) for k in range(len(letters))])
    return found


class LetterToSound:
    """Phones of English words that no dictionary has.

    Parameters
    ----------
    tables : dict[str, str]
        From contexts to phones with blanks between.
    """

    def __init__(self, tables: dict[str, str]) -> None:
        self.tables = tables

    @classmethod
    @lru_cache(maxsize=1)
    def shipped(cls) -> LetterToSound:
        """Trained on the pronouncing dictionary that comes with ``pocketsphinx``."""
        with gzip.open(SHIPPED, "rt", encoding="ascii") as file:
            return cls(json.load(file)["tables"])

    def __call__(self, word: str) -> tuple[str, ...]:
        """Phones of a word; letters other than a to z and the apostrophe say nothing.

        >>> LetterToSound({"g": "G", "o": "AA", "o_": "OW"})("go")
        ('G', 'OW')
        """
        phones: list[str] = []
        for longer in contexts("".join(c for c in word.lower() if c in LETTERS)):
            said = ""
            for context in longer:
                said = self.tables.get(context, said)
            phones += said.split()
        return tuple(phones)
