"""How words of other languages than English are said: by ``espeak-ng``, in phones of the English model.

The program is called, not linked: install it with the system's package manager (Debian: ``espeak-ng``). Its phones are
those of the International Phonetic Alphabet, and each is sung as the English one or two nearest to it.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ..errors import ModelError
from .lexicon import Phones, pronunciations

log = logging.getLogger(__name__)

PROGRAM = "espeak-ng"
_TIMEOUT_S = 60
# ruff: noqa: RUF001 - these are letters of the phonetic alphabet
#: Symbols, the longer ones first looked for, in phones of the English dictionary.
ENGLISH: dict[str, Phones] = {
    "tʃ": ("CH",), "dʒ": ("JH",), "ts": ("T", "S"), "pf": ("P", "F"), "aɪ": ("AY",), "aʊ": ("AW",), "eɪ": ("EY",),
    "oʊ": ("OW",), "əʊ": ("OW",), "ɔɪ": ("OY",), "ɔø": ("OY",), "ɔʏ": ("OY",), "ai": ("AY",), "au": ("AW",),
    "ei": ("EY",), "ou": ("OW",), "oi": ("OY",),
    "i": ("IY",), "ɪ": ("IH",), "ɨ": ("IH",), "ᵻ": ("IH",), "y": ("UW",), "ʏ": ("UH",), "ɯ": ("UH",), "u": ("UW",),
    "ʊ": ("UH",), "ʉ": ("UW",), "e": ("EH",), "ɛ": ("EH",), "ø": ("ER",), "œ": ("ER",), "ɵ": ("ER",), "ə": ("AH",),
    "ɘ": ("AH",), "ɜ": ("ER",), "ɚ": ("ER",), "ɝ": ("ER",), "ɤ": ("AH",), "ʌ": ("AH",), "ɐ": ("AH",), "o": ("OW",),
    "ɔ": ("AO",), "æ": ("AE",), "a": ("AA",), "ɑ": ("AA",), "ɒ": ("AO",),
    "p": ("P",), "b": ("B",), "t": ("T",), "d": ("D",), "ʈ": ("T",), "ɖ": ("D",), "k": ("K",), "ɡ": ("G",), "g": ("G",),
    "q": ("K",), "c": ("K", "Y"), "ɟ": ("G", "Y"), "m": ("M",), "ɱ": ("M",), "n": ("N",), "ɳ": ("N",), "ŋ": ("NG",),
    "ɲ": ("N", "Y"), "f": ("F",), "v": ("V",), "β": ("V",), "ʋ": ("V",), "ɸ": ("F",), "θ": ("TH",), "ð": ("DH",),
    "s": ("S",), "z": ("Z",), "ʃ": ("SH",), "ʒ": ("ZH",), "ʂ": ("SH",), "ʐ": ("ZH",), "ɕ": ("SH",), "ʑ": ("ZH",),
    "ç": ("SH",), "x": ("HH",), "χ": ("HH",), "ɣ": ("G",), "h": ("HH",), "ɦ": ("HH",), "ħ": ("HH",), "r": ("R",),
    "ɾ": ("R",), "ɹ": ("R",), "ɻ": ("R",), "ʁ": ("R",), "ʀ": ("R",), "l": ("L",), "ɫ": ("L",), "ɭ": ("L",),
    "ʎ": ("L", "Y"), "j": ("Y",), "ʝ": ("Y",), "w": ("W",), "ɥ": ("W",), "ʍ": ("W",),
}  # fmt: skip
_NASAL = "\u0303"
_SWITCH = re.compile(r"\([a-z]{2,3}(?:-[a-z0-9-]+)?\)")
_SYMBOL = re.compile("|".join(sorted(map(re.escape, ENGLISH), key=len, reverse=True)))


def english_phones(ipa: str) -> Phones:
    """Phones of the English dictionary for a word in the phonetic alphabet.

    Examples
    --------
    >>> english_phones("mˈɛːdçən")
    ('M', 'EH', 'D', 'SH', 'AH', 'N')
    >>> english_phones("bɔ̃ʒˈuʁ")
    ('B', 'AO', 'N', 'ZH', 'UW', 'R')
    """
    text = unicodedata.normalize("NFD", _SWITCH.sub("", ipa)).replace("c\u0327", "ç")
    phones: list[str] = []
    place = 0
    while place < len(text):
        found = _SYMBOL.match(text, place)
        if found:
            phones += ENGLISH[found[0]]
        elif text[place] == _NASAL and phones:
            phones.append("N")
        place = found.end() if found else place + 1
    return tuple(phones)


class EspeakLexicon:
    """Says words of a language.

    Parameters
    ----------
    language : str
        As ``espeak-ng`` calls it: ``de``, ``fr``, ``es``, ``pt-br``, ``cmn``, ``ja`` ...

    Raises
    ------
    ModelError
        When the program is there and does not know the language.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self._program = shutil.which(PROGRAM)
        self._said: dict[str, Phones] = {}
        if self._program is None:
            log.warning("%s is not installed: words are said by their letters, as English", PROGRAM)
        elif not re.fullmatch(r"[A-Za-z0-9_-]+", language) or self._run("a") is None:
            raise ModelError(f"{PROGRAM} does not know the language {language!r}", stage="lyrics")

    def learn(self, tokens: Iterable[str]) -> None:
        """Ask for all of some tokens at once; :meth:`__call__` would ask one by one."""
        new = [token for token in dict.fromkeys(tokens) if token not in self._said and _word(token)]
        if self._program is None or not new:
            return
        lines = self._run("\n".join(_word(token) for token in new))
        # One line for each word; where the program broke one in two, no line can be trusted.
        if lines is not None and len(lines) == len(new):
            self._said |= {token: english_phones(line) for token, line in zip(new, lines)}

    def __call__(self, token: str) -> list[Phones]:
        """How a token is said; by its letters, as English, where the program is missing or says nothing."""
        if token not in self._said and self._program is not None and _word(token):
            self._said[token] = english_phones(" ".join(self._run(_word(token)) or ()))
        said = self._said.get(token, ())
        return [said] if said else pronunciations(token)

    def _run(self, text: str) -> list[str] | None:
        """Lines that the program prints; None where it fails."""
        command = [str(self._program), "-q", "--ipa", "-v", self.language]
        try:
            done = subprocess.run(
                command, input=f"{text}\n".encode(), capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("%s: %s", Path(str(self._program)).name, error)
            return None
        return done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else None


def _word(token: str) -> str:
    """The letters and digits of a token, with what joins them."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", unicodedata.normalize("NFC", token))
