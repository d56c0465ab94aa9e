"""Files of karaoke games given as lyrics: UltraStar songs, and the text of ``.kar`` files."""

from __future__ import annotations

import re

from ..datasets.ultrastar import parse_ultrastar
from ..errors import CatalogError

_NOTE = re.compile(r"^[:*FRG] ?-?\d+ \d+ -?\d+ ", re.MULTILINE)
_TEMPO = re.compile(r"^[ \t]?#BPM[ \t]{0,9}:", re.MULTILINE | re.IGNORECASE)
#: How the text of ``.kar`` files begins, and its lines that say something else.
_KAR, _KAR_HEAD = re.compile(r"\s*@KMIDI"), re.compile(r"@[A-Z].*")


def karaoke_as_text(text: str) -> str:
    """Words of a karaoke file as lyrics; any other text as it is.

    Parameters
    ----------
    text : str
        What :mod:`..datasets.ultrastar` reads, or the text of a ``.kar`` file: ``\\\\`` begins a stanza, ``/`` a line.

    Returns
    -------
    str
        Lines as the file has them; of an UltraStar song with the time of each, as in ``.lrc``. What cannot be read as
        one stays as it is.

    Examples
    --------
    >>> karaoke_as_text("#BPM:300\\n#GAP:1000\\n: 0 4 7 Hel\\n: 4 4 7 lo\\n* 8 4 7  you\\n- 20\\n: 40 4 2 Go\\nE\\n")
    '[00:01.00]Hello you\\n[00:03.00]Go\\n'
    """
    if _KAR.match(text):
        lines = [line for line in text.splitlines() if not _KAR_HEAD.match(line)]
        return "\n".join(lines).replace("\\", "\n\n").replace("/", "\n")
    if not (_TEMPO.search(text) and _NOTE.search(text)):
        return text
    try:
        lyrics = parse_ultrastar(text).annotations.lyrics
    except CatalogError:
        return text
    if lyrics is None:
        return text
    return "".join(f"{_stamp(line.start_s)}{line.label}\n" for line in lyrics.lines)


def _stamp(seconds: float) -> str:
    hundredths = round(100 * max(seconds, 0.0))
    return f"[{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}]"
