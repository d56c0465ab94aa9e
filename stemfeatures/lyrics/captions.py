"""Captions as lines with times: SubRip, WebVTT, SBV, Advanced SubStation, TTML, and transcripts with times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_CLOCK = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_CUE = re.compile(rf"\s*{_CLOCK}(?:\s*-->\s*|,){_CLOCK}(?:\s.*)?$")
#: Blocks of WebVTT that are no cues.
_ASIDE = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)(?:[\s:].*)?$")
#: Times, voices, classes and places within a cue.
_WITHIN = re.compile(r"<(?:\d[\d:.]*|/?[cv](?:[.\s][^<>\n]*)?)>|\{\\[^{}\n]*\}")
#: Of the cues that follow another, those that begin with its last line are at least so many, and the least share, where
#: captions roll: each new line is shown below the one before.
_FEWEST_ROLLED, _MOST_ROLLED = 2, 0.6
_DIALOGUE = re.compile(r"Dialogue:\s*[^,\n]*,\s*(\d{1,2}):(\d{2}):(\d{2})[.:](\d{1,3}),(?:[^,\n]*,){7}(.*)$")
#: Timed Text Markup Language, of which paragraphs have times; those of words within are left to who takes marks away.
_TIMED_TEXT = "http://www.w3.org/ns/ttml"
_PARAGRAPH = re.compile(
    r"<p\b[^<>]{0,300}?\bbegin=\"(?:(?:(\d{1,3}):)?(\d{1,2}):)?(\d{1,5})([.]\d{1,3})?\d{0,9}s?\"[^<>]*>"
)
#: A time alone on a line, or before what is said then.
_STAMPED = re.compile(r"\s*\(?(?:(\d{1,2}):)?(\d{1,3}):([0-5]\d)\)?(?:\s+[-\u2013\u2014|]?\s*(\S.*)|\s*)$")
#: Fewest lines with a time, and the least share of the lines with text that have one, of a transcript.
_FEWEST_STAMPED, _MOST_STAMPED = 3, 0.4
#: Later times cannot be written as ``.lrc`` has them.
_MOST_MINUTES = 999


@dataclass
class _Cue:
    """A caption: when it begins, as ``.lrc`` writes it, and its lines."""

    stamp: str = ""
    lines: list[str] = field(default_factory=list)


def captions_as_lrc(text: str) -> str:
    """Captions as ``.lrc`` with times of lines; any other text as it is.

    Parameters
    ----------
    text : str
        SubRip, WebVTT, SBV, Advanced SubStation, TTML, or a transcript, lines ending in any way.

    Returns
    -------
    str
        A line with a time for the first line of each cue, lines without for the others, and no numbers of cues. What
        rolling captions show again stands once.

    Examples
    --------
    >>> captions_as_lrc("1\\n00:00:01,500 --> 00:00:03,000\\nHold on\\nto me\\n")
    '[00:01.500]Hold on\\nto me\\n'
    >>> captions_as_lrc("0:01\\nHold on\\n0:03\\nto me\\n0:05\\nand go")
    '[00:01]Hold on\\n[00:03]to me\\n[00:05]and go\\n'
    """
    if _TIMED_TEXT in text:
        return _PARAGRAPH.sub(lambda begun: f"\n{_stamp(begun.groups()[:3], begun[4] or '')}", text)
    lines = text.lstrip("\ufeff").splitlines()
    if any(map(_CUE.match, lines)):
        cues = _cues(lines)
    elif any(map(_DIALOGUE.match, lines)):
        cues = [_of_dialogue(found) for found in map(_DIALOGUE.match, lines) if found]
    elif (transcript := _transcript(lines)) is not None:
        return transcript
    else:
        return text
    return "".join(f"{cue.stamp * (k == 0)}{line}\n" for cue in _unrolled(cues) for k, line in enumerate(cue.lines))


def _cues(lines: Sequence[str]) -> list[_Cue]:
    """Of SubRip, WebVTT and SBV; lines before the first time are a cue without one."""
    times = [_CUE.match(line) for line in lines]
    cues = [_Cue()]
    # A line before a time is the name of its cue, where a blank one or nothing is before it, or where it is a number.
    aside = False
    for k, (line, time) in enumerate(zip(lines, times)):
        if time:
            cues.append(_Cue(_stamp(time.groups()[:3], f".{time[4]}")))
            aside = False
        elif not line.strip():
            aside = False
        elif _ASIDE.match(line) and (not k or not lines[k - 1].strip()):
            aside = True
        elif not aside and not (
            k + 1 < len(lines) and times[k + 1] and (line.strip().isdigit() or not k or not lines[k - 1].strip())
        ):
            cues[-1].lines.append(_WITHIN.sub("", line))
    return cues


def _of_dialogue(found: re.Match[str]) -> _Cue:
    said = re.sub(r"\{[^{}\n]*\}", "", found[5]).replace("\\h", " ")
    return _Cue(_stamp(found.groups()[:3], f".{found[4]}"), re.split(r"\\[Nn]", said))


def _stamp(clock: Sequence[str | None], fraction: str = "") -> str:
    hours, minutes, seconds = (int(part or 0) for part in clock)
    minutes += 60 * hours + seconds // 60
    if minutes > _MOST_MINUTES:
        return ""
    return f"[{minutes:02d}:{seconds % 60:02d}{fraction}]"


def _unrolled(cues: Sequence[_Cue]) -> list[_Cue]:
    """Without the lines that are shown again below which another one appears."""
    shown = [cue for cue in cues if any(map(str.strip, cue.lines))]
    said = [[" ".join(line.split()) for line in cue.lines if line.strip()] for cue in shown]
    carried = [_carried(before, after) for before, after in pairwise(said)]
    # One line over and over rolls nowhere, and is sung as often.
    rolled = sum(n > 0 and len(set(after)) > n for n, after in zip(carried, said[1:]))
    if rolled < _FEWEST_ROLLED or sum(map(bool, carried)) < _MOST_ROLLED * len(carried):
        return list(cues)
    return [_Cue(cue.stamp, lines[n:]) for cue, lines, n in zip(shown, said, [0, *carried])]


def _carried(before: Sequence[str], after: Sequence[str]) -> int:
    """How many lines at the end of a cue are those at the beginning of the next."""
    most = min(len(before), len(after))
    return next((n for n in range(most, 0, -1) if before[-n:] == after[:n]), 0)


def _transcript(lines: Sequence[str]) -> str | None:
    """Lines with times of which each has one, on its own line or before it; None of other texts."""
    found = [_STAMPED.match(line) for line in lines]
    stamped = [match for match in found if match]
    seconds = [60 * (60 * int(m[1] or 0) + int(m[2])) + int(m[3]) for m in stamped]
    filled = sum(bool(line.strip()) for line in lines)
    if len(stamped) < _FEWEST_STAMPED or len(stamped) < _MOST_STAMPED * filled:
        return None
    if any(after < before for before, after in pairwise(seconds)) or seconds[0] == seconds[-1]:
        return None
    # Full hours are sung: as minutes, no line would begin within one.
    if not any(second % 60 for second in seconds):
        return None
    out, stamp = [], ""
    for line, match in zip(lines, found):
        said = line if match is None else match[4] or ""
        stamp = stamp if match is None else _stamp(match.groups()[:3])
        if said.strip() or match is None:
            out.append(f"{stamp if said.strip() else ''}{said}\n")
            stamp = "" if said.strip() else stamp
    return "".join(out)
