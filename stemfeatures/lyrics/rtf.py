"""The text of a file in Rich Text Format, which editors write under any name."""

from __future__ import annotations

import codecs
import re

#: How such a file begins.
MARK = b"{\\rtf"
#: Control words with their number, control symbols, braces, ends of lines of the file, and text.
_PARTS = re.compile(
    r"\\'([0-9a-fA-F]{2})|\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\(\r\n|[^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)|(\\)"
)
#: Groups whose text nobody reads in the document.
_UNREAD = frozenset(
    {
        "fonttbl", "colortbl", "stylesheet", "listtable", "listoverridetable", "info", "pict", "object", "footnote",
        "annotation", "fldinst", "themedata", "generator", "filetbl", "revtbl", "xmlnstbl",
    }
)  # fmt: skip
#: How words of other such groups begin: those of left, right and first pages have another letter.
_MARGINS = ("header", "footer")
_SAID = {
    "par": "\n", "line": "\n", "sect": "\n", "page": "\n", "row": "\n", "tab": "\t", "cell": "\t", "emdash": "\u2014",
    "endash": "\u2013", "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c", "rdblquote": "\u201d",
    "bullet": "\u2022", "emspace": " ", "enspace": " ",
}  # fmt: skip
_SYMBOLS = {"~": " ", "_": "-", "{": "{", "}": "}", "\\": "\\", "\n": "\n", "\r": "\n", "\r\n": "\n"}
_FAMILIES = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}


def rtf_text(data: bytes) -> str:
    """What is written in a document.

    Parameters
    ----------
    data : bytes
        That begin with :data:`MARK`.

    Returns
    -------
    str
        Paragraphs as lines, without formats, pictures, headers and fields.

    Examples
    --------
    >>> rtf_text(rb"{\\rtf1\\ansi{\\fonttbl\\f0 Arial;}\\f0 Don\\'92t go\\par R\\u237?o}")
    'Don’t go\\nRío'
    """
    out: list[str] = []
    held = bytearray()
    codec, replaced, unread, skip = "cp1252", 1, False, 0
    groups: list[tuple[int, bool]] = []
    after_star = False

    def release() -> None:
        if held:
            out.append(held.decode(codec, "replace"))
            held.clear()

    for part in _PARTS.finditer(data.decode("latin-1")):
        byte, word, number, symbol, brace, plain, _ = part.groups()
        if byte is not None:
            # Stands for the character before it, where readers do not know that.
            if skip:
                skip -= 1
            elif not unread:
                held.append(int(byte, 16))
            continue
        if plain is not None:
            cut, skip = min(skip, len(plain)), max(skip - len(plain), 0)
            if not unread:
                held += plain[cut:].encode("latin-1")
            continue
        release()
        if brace == "{":
            groups.append((replaced, unread))
            skip = 0
        elif brace == "}":
            replaced, unread = groups.pop() if groups else (1, False)
            skip = 0
        elif symbol == "*":
            after_star = True
            continue
        elif symbol is not None and not unread:
            out.append(_SYMBOLS.get(symbol, ""))
        elif word is not None:
            # A group that begins with a star may be passed over by who does not know it.
            unread = unread or after_star or word in _UNREAD or _of_margin(word, number)
            if word == "ansicpg" and number:
                codec = _codec(f"cp{number}", codec)
            elif word in _FAMILIES:
                codec = _FAMILIES[word]
            elif word == "uc" and number:
                replaced = max(int(number), 0)
            elif word == "u" and number and not unread:
                out.append(chr(int(number) % 0x10000))
                skip = replaced
            elif not unread:
                out.append(_SAID.get(word, ""))
        after_star = False
    release()
    # Characters beyond the first plane come as two halves.
    return "".join(out).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _of_margin(word: str, number: str | None) -> bool:
    """Whether a group is the head or foot of pages: ``\\headery720`` is where that begins."""
    return number is None and word.startswith(_MARGINS)


def _codec(name: str, otherwise: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return otherwise
