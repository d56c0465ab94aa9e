"""Texts that stand twice, line by line: in the script of the song, in Latin letters, in translation; one is sung.

::

    [00:12.00]夜の空      the line
    [00:12.00]yoru no sora  how it is said
    [00:12.00]night sky     what it means

Lines are known to belong together where, all through a text, two or three lines in Latin and other scripts follow each
other in the same way, or where lines have the same time. Which of them is sung only the recording tells.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from .text import LyricsText

#: How lines in another script (x) and those in Latin script (a) that say the same can follow each other.
PATTERNS = ("xa", "ax", "xaa", "axa", "aax", "axx", "xax", "xxa")
#: Fewest groups of lines, and least share of the lines with words that stand in them.
FEWEST_GROUPS, LEAST_SHARE = 4, 0.8


def versions_of(text: LyricsText) -> list[LyricsText]:
    """What of a text may be sung: each line of the groups alone, and all of it.

    Parameters
    ----------
    text : LyricsText
        As it stands.

    Returns
    -------
    list[LyricsText]
        The same tokens and lines each time. In all but the last, which is ``text`` itself, the tokens of one line of
        each group are words and those of the others are ``version``, and these lines have no times. Of a text that
        stands once, ``text`` alone.

    Examples
    --------
    >>> from stemfeatures.lyrics.text import parse_lyrics
    >>> twice = "\u0441\u0430\u043a\u0443\u0440\u0430\\nsakura saku\\n"
    >>> [version.n_words for version in versions_of(parse_lyrics(4 * twice))]
    [4, 8, 12]
    """
    groups = _same_times(text) or _alternating(text)
    if not groups:
        return [text]
    return [*(_only(text, groups, place) for place in range(len(groups[0]))), text]


def _only(text: LyricsText, groups: Sequence[Sequence[int]], place: int) -> LyricsText:
    others = {k for group in groups for k in group if k != group[place]}
    tokens = [replace(t, kind="version") if t.kind == "word" and t.line in others else t for t in text.tokens]
    lines = [
        replace(line, start_s=None, again_s=()) if k in others and line.start_s is not None else line
        for k, line in enumerate(text.lines)
    ]
    return LyricsText(tuple(tokens), tuple(lines))


def _with_words(text: LyricsText) -> list[int]:
    return [
        k
        for k, line in enumerate(text.lines)
        if any(token.kind == "word" for token in text.tokens[line.first : line.stop])
    ]


def _same_times(text: LyricsText) -> list[list[int]]:
    """Groups of two or three neighbouring lines of one time, if most of the text stands in such groups of one size."""
    filled = _with_words(text)
    timed = [list(group) for _, group in groupby(filled, key=lambda k: text.lines[k].start_s)]
    for size in (2, 3):
        groups = [group for group in timed if len(group) == size and text.lines[group[0]].start_s is not None]
        if len(groups) >= FEWEST_GROUPS and size * len(groups) >= LEAST_SHARE * len(filled):
            return groups
    return []


def _alternating(text: LyricsText) -> list[list[int]]:
    """Groups of lines by the pattern of scripts that most of the text follows, if one does."""
    filled = _with_words(text)
    scripts = "".join(_script(text.lines[k].text) for k in filled)
    if not {"x", "a"} <= set(scripts):
        return []
    found = max((list(_groups(text, filled, scripts, pattern)) for pattern in PATTERNS), key=_n_lines)
    enough = len(found) >= FEWEST_GROUPS and _n_lines(found) >= LEAST_SHARE * len(filled)
    return found if enough else []


def _n_lines(groups: Sequence[Sequence[int]]) -> int:
    return sum(map(len, groups))


def _groups(text: LyricsText, filled: Sequence[int], scripts: str, pattern: str) -> Iterator[list[int]]:
    """Lines of a stanza that follow a pattern one after the other."""
    place = scripts.find(pattern)
    while place >= 0:
        group = list(filled[place : place + len(pattern)])
        alike = len({text.lines[k].stanza for k in group}) == 1
        if alike:
            yield group
        place = scripts.find(pattern, place + (len(pattern) if alike else 1))


def _script(line: str) -> str:
    """``a``: most letters are Latin ones, ``x``: most are others, ``-``: there are none."""
    letters = [unicodedata.name(c, "").startswith("LATIN") for c in unicodedata.normalize("NFKC", line) if c.isalpha()]
    return "-" if not letters else "a" if 2 * sum(letters) >= len(letters) else "x"
