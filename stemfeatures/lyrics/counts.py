"""How often a line of lyrics says that it is sung: ``x2``, ``(bis)``, ``[3 times]``, ``(repeat)``."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A line said to be sung more often than this is not believed.
MOST_REPEATS = 16
#: Numbers in words, as far as lines are said to be sung so often.
_NUMBERS = {
    **dict.fromkeys(("two", "dos", "deux", "zwei", "due", "duas", "dwa"), 2),
    **dict.fromkeys(("three", "tres", "trois", "drei", "tre", "tr\u00eas", "trzy"), 3),
    **dict.fromkeys(("four", "cuatro", "quatre", "vier", "quattro", "quatro", "cztery"), 4),
    "five": 5,
    "six": 6,
    "eight": 8,
}
_ONCE_MORE = {"twice": 2, "bis": 2, "zweimal": 2, "thrice": 3, "ter": 3, "dreimal": 3}
_TIMES = "times|veces|fois|mal|volte|vezes|razy|keer|ganger|g\u00e5nger|\u0440\u0430\u0437\u0430?"
_BY_SIGN = r"[x\u00d7*]\s?\d{1,2}|\d{1,2}\s?[x\u00d7]"
_OFTEN = rf"(?:\d{{1,2}}|{'|'.join(_NUMBERS)})\s(?:{_TIMES})|{'|'.join(_ONCE_MORE)}|{_BY_SIGN}"
_TO_END = r"(?:,?\s(?:(?:and|then|to|until|till?)\s){0,2}(?:fades?|end|silence)(?:\sout)?)"
#: That it is sung again; what more may be said of that stands in brackets, too.
_AGAIN = rf"(?:repeats?|repeated|rpt|rep)\.?(?:\s(?:line|this|this line|{_OFTEN}))?{_TO_END}?"
_IN_BRACKETS = re.compile(
    rf"(?:(?<=\s)|^)[(\[{{\uff08](?P<said>(?:bis\s)?(?:{_OFTEN}){_TO_END}?|{_AGAIN})[)\]}}\uff09][.,:;!]*$",
    re.IGNORECASE,
)
#: Without brackets it may be words, but not behind others with a sign between.
_BARE = re.compile(
    r"(?<=\s)(?P<said>(?:bis\s|(?<![\d+=-]\s))[x\u00d7]\s?\d{1,2}|bis\s\d{1,2}\s?[x\u00d7]|/\s?\d{1,2}[x\u00d7]|bis:)[.,:;]*$",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"(?P<said>bis)\s?:(?=\s\S)", re.IGNORECASE)
#: Between signs of repetition, as scores have them.
_BETWEEN = re.compile(r"(?:\|+:|/+:|:\|\|?:)\s.*\s(?::\|+|:/+)$")
#: What may stand between words and their echo.
_CLOSING = " ,.;:!"
_SIGN = re.compile(r"[(\[{/]*(?:[x\u00d7*](\d{1,2})|(\d{1,2})[x\u00d7])[)\]}.,:;]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Count:
    """How often a line is sung.

    Attributes
    ----------
    times : int
        In a row, 1 to :data:`MOST_REPEATS`.
    places : frozenset[int]
        Which of its tokens say so.
    rest : str
        The line without what is said at its end.
    """

    times: int
    places: frozenset[int]
    rest: str


def count_of(line: str) -> Count:
    """How often a line says that it is sung.

    Parameters
    ----------
    line : str
        With one blank between its tokens.

    Returns
    -------
    Count
        Once where nothing says so.

    Examples
    --------
    >>> [count_of(f"na na {said}").times for said in ("(bis)", "[3 times]", "x 4", "(repeat)", "(repeat it)")]
    [2, 3, 4, 2, 1]
    >>> count_of("na na (x 3)")
    Count(times=3, places=frozenset({2, 3}), rest='na na')
    """
    words = line.split()
    places: set[int] = set()
    times, rest = 1, line
    end = _IN_BRACKETS.search(line) or _BARE.search(line)
    # What the line has just said is an echo: "two times (two times)".
    if end and f" {line[: end.start()].casefold().rstrip(_CLOSING)}".endswith(f" {end['said'].casefold()}"):
        end = None
    if end:
        times = _number(end["said"])
        rest = line[: end.start()].rstrip(" ,:")
        places.update(range(len(words) - len(end[0].split()), len(words)))
    elif before := _BEFORE.match(line):
        times = _number(before["said"])
        places.update(range(len(before[0].split())))
    elif _BETWEEN.match(line):
        times = 2
    for k, word in enumerate(words):
        if k not in places and (sign := _SIGN.match(word)):
            places.add(k)
            times = _bounded(int(sign[1] or sign[2]))
            if k == len(words) - 1:
                rest = " ".join(words[:k]).rstrip(" ,:")
    return Count(times, frozenset(places), rest)


def _number(said: str) -> int:
    """The number that is said; twice where none is."""
    if digits := re.search(r"\d{1,2}", said):
        return _bounded(int(digits[0]))
    for word in said.lower().split()[::-1]:
        if found := (_NUMBERS | _ONCE_MORE).get(word.strip(".,")):
            return found
    return 2


def _bounded(times: int) -> int:
    return min(max(times, 1), MOST_REPEATS)
