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
#: Encodings of the fonts for other scripts than that of the document, by their number (Windows' charsets).
_CHARSETS = {
    128: "cp932", 129: "cp949", 134: "cp936", 136: "cp950", 161: "cp1253", 162: "cp1254",
    163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250",
}  # fmt: skip
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
    encoding, replaced, unread, skip = _Encoding(), 1, False, 0
    groups: list[tuple[int, bool, str]] = []
    after_star = False

    def release() -> None:
        if held:
            out.append(held.decode(encoding.codec, "replace"))
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
        if part[0].isspace():
            continue  # lines of the file end anywhere, between the bytes of a character, too
        release()
        if brace == "{":
            groups.append((replaced, unread, encoding.font))
            skip = 0
        elif brace == "}":
            replaced, unread, encoding.font = groups.pop() if groups else (1, False, "")
            skip = 0
        elif symbol == "*":
            after_star = True
            continue
        elif symbol is not None and not unread:
            out.append(_SYMBOLS.get(symbol, ""))
        elif word is not None:
            # A group that begins with a star may be passed over by who does not know it.
            unread = unread or after_star or word in _UNREAD or _of_margin(word, number)
            encoding.read(word, number)
            if word == "uc" and number:
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


class _Encoding:
    """What the bytes of a document mean where one stands in it."""

    def __init__(self) -> None:
        self.font = ""
        self._of_document = "cp1252"
        self._of_fonts: dict[str, str] = {}

    @property
    def codec(self) -> str:
        return self._of_fonts.get(self.font, self._of_document)

    def read(self, word: str, number: str | None) -> None:
        """Go on behind a control word."""
        if word in _FAMILIES:
            self._of_document = _FAMILIES[word]
        elif number is None:
            return
        elif word == "ansicpg":
            self._of_document = _codec(f"cp{number}", self._of_document)
        elif word == "f":
            self.font = number
        elif word == "fcharset" and int(number) in _CHARSETS:
            self._of_fonts[self.font] = _CHARSETS[int(number)]


def _of_margin(word: str, number: str | None) -> bool:
    """Whether a group is the head or foot of pages: ``\\headery720`` is where that begins."""
    return number is None and word.startswith(_MARGINS)


def _codec(name: str, otherwise: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return otherwise
