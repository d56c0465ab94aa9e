"""Tokens that are not said as they are spelt: money, times of day, numerals, initials, words with stars for letters."""

from __future__ import annotations

import re
from collections.abc import Container

_EDGES = "()[]{}\"“”„«».,;!?¿¡…'"
_MONEY = {"$": "dollar", "€": "euro", "£": "pound"}
_SUM = re.compile(r"([$€£])(\d[\d,]*)(?:\.(\d\d))?|(\d[\d,]*)(?:\.(\d\d))?([$€£])")
_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)(?:([ap])\.?m)?|(\d{1,2})([ap])\.?m")
_DECIMAL = re.compile(r"(\d+)\.(\d{1,4})")
_GROUPS = re.compile(r"\d{1,4}(?:-\d{1,4})+")
_NUMBERED = re.compile(r"(?:#|no\.)(\d{1,4})")
_POSSESSIVE_DECADE = re.compile(r"((?:1[89]|20)?\d0)'s")
_SHORT = {
    "w/": "with", "w/o": "without", "b/c": "because", "1/2": "half", "1/4": "quarter", "3/4": "three quarters",
    "1/3": "third", "2/3": "two thirds",
}  # fmt: skip
#: Numerals of names and of years of sequels: one alone is the pronoun, and letters beyond these spell words.
_ROMAN = re.compile(r"X{0,3}(?:IX|IV|V?I{0,3})")
_VALUES = {"I": 1, "V": 5, "X": 10}
_ORDINAL_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
#: Letters that are said one by one, as no vowel is among them; but not what is hummed, hushed or hissed.
_INITIALS = re.compile(r"(?!H*M+$|SH+$|PS+T$|B+R+$|G+R+$|Z+$|TS*K$|PF+T?$|HM+)[B-DF-HJ-NP-TV-Z]{2,4}|NYC|NYPD|NY")
#: Words of which letters are often left out.
_CENSORED = (
    "fuck fucks fucked fucker fuckers fuckin fucking motherfucker motherfuckers motherfuckin motherfucking shit shits "
    "shitty bullshit bitch bitches bitchin damn damned goddamn ass asshole asses hell dick dicks pussy cock whore"
)
_VOWEL = re.compile("[aeiouy]")
_LEFT_OUT = re.compile(r"[*#@$!_\u2022]|-{2,}|\u2014")


def respelled(token: str, known: Container[str] = frozenset()) -> list[str]:
    """How a token may be spelt so that it is said as it is written then.

    Parameters
    ----------
    token : str
        As it stands in the lyrics, apostrophes straight, compatible characters decomposed.
    known : container of str
        Words in lower case that are said as they are spelt, also where they could be initials.

    Returns
    -------
    list[str]
        Words and whole numbers with blanks between, most usual first; empty where it is spelt as it is said.

    Examples
    --------
    >>> respelled("$5.50"), respelled("3:45"), respelled("(9:05"), respelled("XIV")
    (['5 dollars 50', '5 dollars and 50 cents'], ['3 45'], ['9 oh 5'], ['the 14th', '14'])
    >>> respelled("sh*t!"), respelled("w/"), respelled("NYC"), respelled("love")
    (['shit'], ['with'], ['n y c'], [])
    """
    bare = token.strip(_EDGES)
    lower = bare.lower()
    if short := _SHORT.get(lower.replace("\u2044", "/")):
        return [short]
    if found := _SUM.fullmatch(bare):
        return _sum(found[1] or found[6], found[2] or found[4], found[3] or found[5])
    if found := _CLOCK.fullmatch(lower.rstrip(".")):
        return _clock(found[1] or found[4], found[2], found[3] or found[5])
    if found := _DECIMAL.fullmatch(bare):
        return [f"{found[1]} point {' '.join(found[2])}"]
    if _GROUPS.fullmatch(bare):
        return _groups(bare.split("-"))
    if found := _NUMBERED.fullmatch(lower):
        return [f"number {found[1]}"]
    if found := _POSSESSIVE_DECADE.fullmatch(lower):
        return [f"{found[1]}s"]
    if len(bare) > 1 and _ROMAN.fullmatch(bare):
        return _numeral(bare)
    if _INITIALS.fullmatch(bare) and lower not in known:
        return [" ".join(lower)]
    return _whole(lower, known)


def _sum(sign: str, units: str, cents: str | None) -> list[str]:
    name = _MONEY[sign] + ("s" if units != "1" else "")
    if not cents or cents == "00":
        return [f"{units} {name}"]
    return [f"{units} {name} {cents}", f"{units} {name} and {cents} cents"]


def _clock(hour: str, minute: str | None, half: str | None) -> list[str]:
    of_day = f" {half} m" if half else ""
    if minute is None:
        return [f"{hour}{of_day}"]
    if minute == "00":
        return [f"{hour}{of_day}"] if half else [f"{hour} o'clock", hour]
    return [f"{hour} {'oh ' if minute[0] == '0' else ''}{int(minute)}{of_day}"]


def _groups(groups: list[str]) -> list[str]:
    """Numbers of telephones are said digit by digit, short ones as they stand."""
    whole = " ".join(groups)
    digits = " ".join("oh" if digit == "0" else digit for digit in "".join(groups))
    return [digits, whole] if max(map(len, groups)) > 2 else [whole]


def _numeral(letters: str) -> list[str]:
    values = [_VALUES[letter] for letter in letters]
    value = sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0]))
    ending = "th" if 10 < value < 20 else _ORDINAL_ENDINGS.get(value % 10, "th")
    return [f"the {value}{ending}", str(value)]


def _whole(lower: str, known: Container[str]) -> list[str]:
    """The words that are meant where signs stand for letters; dashes behind a whole word are none of them."""
    begun = lower.rstrip("-\u2014")
    if not (lower[:1].isalpha() and _LEFT_OUT.search(lower)) or (_VOWEL.search(begun) and begun in known):
        return []
    pattern = re.compile(
        "".join("." * len(part) if _LEFT_OUT.fullmatch(part) else re.escape(part) for part in _split(lower))
    )
    return [word for word in _CENSORED.split() if pattern.fullmatch(word)][:1]


def _split(text: str) -> list[str]:
    return [part for part in re.split(f"({_LEFT_OUT.pattern})", text) if part]
