"""Captions, SubRip and WebVTT, as lines with times."""

from __future__ import annotations

import re

_CLOCK = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_CUE = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?$")
#: Blocks of WebVTT that are no cues.
_ASIDE = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)(?:[\s:].*)?$")
#: Times, voices, classes and places within a cue.
_WITHIN = re.compile(r"<(?:\d[\d:.]*|/?[cv](?:[.\s][^<>\n]*)?)>|\{\\[^{}\n]*\}")


def captions_as_lrc(text: str) -> str:
    """Captions as ``.lrc`` with times of lines; any other text as it is.

    Parameters
    ----------
    text : str
        SubRip or WebVTT, lines ending in any way.

    Returns
    -------
    str
        A line with a time for the first line of each cue, lines without for the others, and no numbers of cues.

    Examples
    --------
    >>> captions_as_lrc("1\\n00:00:01,500 --> 00:00:03,000\\nHold on\\nto me\\n")
    '[00:01.500]Hold on\\nto me\\n'
    """
    lines = text.lstrip("\ufeff").splitlines()
    cues = [_CUE.match(line) for line in lines]
    if not any(cues):
        return text
    out = []
    # A line before a time is the name of its cue, where a blank one or nothing is before it, or where it is a number.
    aside, stamp = False, ""
    for k, (line, cue) in enumerate(zip(lines, cues)):
        if cue:
            hours, minutes, seconds, fraction = cue.groups()[:4]
            stamp = f"[{60 * int(hours or 0) + int(minutes):02d}:{int(seconds):02d}.{fraction}]"
            aside = False
        elif not line.strip():
            aside = False
        elif _ASIDE.match(line) and (not k or not lines[k - 1].strip()):
            aside = True
        elif not aside and not (
            k + 1 < len(lines) and cues[k + 1] and (line.strip().isdigit() or not k or not lines[k - 1].strip())
        ):
            out.append(f"{stamp}{_WITHIN.sub('', line)}\n")
            stamp = ""
    return "".join(out)
