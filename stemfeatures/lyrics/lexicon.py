"""From a token of lyrics to the ways in which it may be said, in the 39 phones of the pronouncing dictionary."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .acoustic_model import installed_model
from .letter_to_sound import LETTERS, LetterToSound
from .respelled import respelled

Phones = tuple[str, ...]
_Chain = tuple["_Chain | None", Phones]
#: Ways to say one word that are tried at most.
MOST_VARIANTS = 3
_SIGNS = {
    "&": "and",
    "+": "plus",
    "@": "at",
    "%": "percent",
    "$": "dollars",
    "€": "euros",
    "£": "pounds",
}
_PARTS = re.compile(r"\d+(?:[.,:]\d+)*(?:st|nd|rd|th|s)?|[^\W\d_]+(?:'[^\W\d_]+)*'?|'[^\W\d_]+|[&+@%$€£]")
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc`\u00b4"), "'")
#: Beginnings of a word without a vowel, and the word.
_STUTTERED = re.compile(r"((?:([b-df-hj-np-tv-xz]{1,3})-)+)(?=\2)([a-z']+)")
#: Tokens whose pronunciations are kept: the same text is built into several graphs.
_REMEMBERED = 4096
#: Longer numbers are said digit by digit alone.
_MOST_DIGITS = 15
_HUMMED = re.compile(r"m{2,}")
_VARIANT = re.compile(r"\(\d+\)$")


@lru_cache(maxsize=1)
def read_dictionary() -> dict[str, list[Phones]]:
    """The pronouncing dictionary of ``pocketsphinx``: words in lower case, most usual pronunciation first.

    Raises
    ------
    ImportError
        When the package is not installed; says how to.
    """
    found: dict[str, list[Phones]] = {}
    with (installed_model() / "cmudict-en-us.dict").open(encoding="utf-8") as file:
        for line in file:
            word, *phones = line.split()
            found.setdefault(_VARIANT.sub("", word), []).append(tuple(phones))
    return found


def pronunciations(token: str) -> list[Phones]:
    """How a token may be said in English.

    Parameters
    ----------
    token : str
        As it stands in the lyrics, punctuation and all. Letters of other scripts are transliterated.

    Returns
    -------
    list[tuple[str, ...]]
        Most usual first, at most :data:`MOST_VARIANTS`; empty where nothing is to be said.

    Examples
    --------
    >>> pronunciations("(lovin'")[0]
    ('L', 'AH', 'V', 'IH', 'N')
    """
    return list(_pronunciations(token))


@lru_cache(maxsize=_REMEMBERED)
def _pronunciations(token: str) -> tuple[Phones, ...]:
    plain = unicodedata.normalize("NFKC", token).translate(_APOSTROPHES)
    if stuttered := _STUTTERED.fullmatch(plain.strip('()[].,;!?"').lower()):
        return tuple(dict.fromkeys(_said_again(stuttered)))[:MOST_VARIANTS]
    found: dict[Phones, None] = {}
    for text in respelled(plain, read_dictionary()) or [plain]:
        # Each a way to say the last part and the ways before it: whole ones would be copied for each part.
        variants: list[_Chain | None] = [None]
        for part in _PARTS.findall(text.lower()):
            ways = _number(part) if part[0].isdecimal() else _word(_SIGNS.get(part, part))
            longer: list[_Chain | None] = [(before, way) for before in variants for way in ways]
            variants = longer[: MOST_VARIANTS * 2]
        found.update(dict.fromkeys(map(_joined, variants)))
    return tuple(way for way in found if way)[:MOST_VARIANTS]


def _joined(variant: _Chain | None) -> Phones:
    ways: list[Phones] = []
    while variant is not None:
        variant, way = variant
        ways.append(way)
    return tuple(phone for way in reversed(ways) for phone in way)


def _said_again(stuttered: re.Match[str]) -> list[Phones]:
    """The first consonants of a word again and again, with a short vowel behind them, then the word: ``b-b-baby``."""
    begun, word = stuttered[1].rstrip("-").split("-"), stuttered[3]
    ways: list[Phones] = []
    for way in _word(word):
        onset = next((k for k, phone in enumerate(way) if phone[0] in "AEIOU"), len(way))
        ways.append((*(phone for part in begun for phone in (*way[: min(len(part), onset)], "AH")), *way))
    if len(begun) == 1 == len(begun[0]):
        # One letter may be said by its name: ``D-Day``, ``B-boy``.
        named = [(*_word(begun[0])[0], *way) for way in _word(word)]
        return [way for pair in zip(ways, named) for way in pair]
    return ways


def _word(word: str) -> list[Phones]:
    dictionary = read_dictionary()
    plain = word.strip("'")
    if _HUMMED.fullmatch(plain):
        return [("M",)]
    for candidate in (word, f"{plain}g" if word.endswith("in'") else "", plain, f"{plain}'"):
        if candidate in dictionary:
            if candidate != f"{plain}g":
                return dictionary[candidate]
            # A dropped g is sung as it is written.
            return [(*way[:-1], "N") if way[-1:] == ("NG",) else way for way in dictionary[candidate]]
    if not plain:
        return [()]
    letters = plain if set(plain) <= LETTERS else _transliterated(plain)
    if letters in dictionary:
        return dictionary[letters]
    stem, _, ending = letters.rpartition("'")
    if stem in dictionary and ending in ("s", "ll", "d", "ve", "re", "m"):
        return [way + _ENDINGS[ending] for way in dictionary[stem]]
    return _stretched(letters) or [LetterToSound.shipped()(letters)]


_ENDINGS: dict[str, Phones] = {"s": ("Z",), "ll": ("AH", "L"), "d": ("D",), "ve": ("V",), "re": ("ER",), "m": ("M",)}


def _stretched(word: str) -> list[Phones]:
    """Words that are written as long as they are sung, ``sooooo`` or ``goood``; empty for others."""
    shorter = [re.sub(r"(.)\1{2,}", letters, word) for letters in (r"\1", r"\1\1")]
    return [read_dictionary()[w][0] for w in shorter if w != word and w in read_dictionary()]


def _transliterated(word: str) -> str:
    from anyascii import anyascii

    return "".join(c for c in anyascii(word).lower() if c in LETTERS)


def _number(text: str) -> list[Phones]:
    from num2words import num2words

    digits = re.sub(r"\D", "", text)
    ending = text.lstrip("0123456789.,:")
    if len(digits) > _MOST_DIGITS:
        digit_by_digit = [_word(num2words(int(digit)))[0] for digit in digits]
        return [tuple(phone for said in digit_by_digit for phone in said)]
    ordinal = ending in ("st", "nd", "rd", "th")
    forms = [num2words(int(digits), to="ordinal" if ordinal else "cardinal")]
    if len(digits) == 4 and digits[0] in "12" and not ending.endswith("h"):
        forms.insert(0, num2words(int(digits), to="year"))
    if forms[0].startswith("one ") and forms[0].count(" ") == 1:
        forms.append(forms[0].replace("one ", "a ", 1))
    if len(digits) > 1 and "," not in text and not ordinal:
        forms.append(" ".join(num2words(int(digit)) if int(digit) else "oh" for digit in digits))
    ways: list[Phones] = []
    for form in forms:
        said: Phones = tuple(p for word in re.findall("[a-z]+", form.lower()) for p in _word(word)[0])
        ways.append(said + (("Z",) if ending == "s" else ()))
    return ways
