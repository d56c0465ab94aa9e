"""Lines that say who made a song, in which key it is, and where its lyrics come from.

What is said with a colon (``Music: ...``) may be sung as well. It is taken for a credit where names follow, as capitals
tell, and nothing sung adjoins it on both sides, or where it stands apart from what is sung, before or behind all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_MAKERS = r"(?:written|words|lyrics|music|composed|produced|performed|transcribed|arranged|lyrics & music|sung)"
#: What is said of a song, by what should follow: names, or something else that is told by itself.
_OF_NAMES = re.compile(
    r"\s*(?:titles?|artists?|singers?|albums?|songs?(?: title)?|(?:song)?writers?(?:\(s\))?|composers?|"
    rf"producers?|lyrics|lyricists?|music|genre|performers?|source|label|publishers?|{_MAKERS}(?: (?:and|&) \w+)? by)"
    r"\s*:\s*(\S.*)$",
    re.IGNORECASE,
)
_KEY = r"[A-H](?:[#b\u266f\u266d]|is|es|s)?(?:\s?(?:m|min|maj|minor|major|moll|dur))?"
_CERTAIN = re.compile(
    rf"\s*(?:key\s*:\s*{_KEY}(?:\s?[^\w\s'\u2019].*)?|capo\s*:?\s*(?:on\s+)?(?:\d{{1,2}}|none|no\b)(?:st|nd|rd|th)?(?:\s+fret)?"
    r"|(?:tempo|bpm)\s*:\s*\D{0,3}\d{2,3}\b.*|tuning\s*:\s*\S.*|time(?: signature)?\s*:\s*\d{1,2}/\d{1,2}"
    r"|copyright\s*:\s*\S.*|(?:\u00a9|\u2117|\([cp]\)\s+\d{4}|copyright\s+(?:\u00a9|\(c\)|\d{4})).*"
    r"|.{1,60}\slyrics\s*\u00a9.*"
    r"|(?:all rights reserved|submit corrections|lyrics (?:licensed|provided|powered|courtesy) .*)[.!]?"
    r"|thanks to .{1,80} for (?:\w+ ){1,3}(?:these|the) lyrics\b.*|azlyrics\b.*"
    r"|\*+ this lyrics is not for commercial use \*+|\(\d{9,}\)"
    r"|(?:lyrics (?:from|found at|by) )?<?(?:https?://|www\.)\S+>?)\s*$",
    re.IGNORECASE,
)
#: The same with other things, which is sung as likely.
_LOOSE = re.compile(r"\s*(?:key|tempo|bpm|capo)\s*:\s*\S.*$", re.IGNORECASE)
#: Who made it, without a colon.
_BY = re.compile(rf"\s*\(?{_MAKERS}(?:(?:,? (?:and|&) |, )\w+)* by (\S.*?)\)?$", re.IGNORECASE)
_SMALL = frozenset(
    re.findall(
        r"\S+",
        "a and at by da das de del der des di die du e ed el et feat featuring for from ft in la le los of on or p "
        "prod the to und van vom von vs with y \u2013 \u2014",
    )
)

#: What is said of a song that may be sung as well; capitals of titles tell nothing where one of these words stands
#: behind it, "Music: Is All I Need".
_SUNG_AS_LIKELY = re.compile(r"\s*(?:songs?|lyrics|music)\s*:", re.IGNORECASE)
_NEVER_NAMES = frozenset(
    re.findall(
        r"\S+",
        "am are be but can do does don ever every gonna has have he her how i if is it me my need never no not our "
        "she so that they this wanna want was we were what when where why with without would you your",
    )
)


def credit_lines(lines: Sequence[str], others: Sequence[bool] = ()) -> frozenset[int]:
    """Which lines of a text are credits.

    Parameters
    ----------
    lines : Sequence[str]
        All of it, without times; blank ones are empty.
    others : Sequence[bool]
        Which lines are not sung for another reason, such as headings; none by default.

    Returns
    -------
    frozenset[int]
        Their places.

    Examples
    --------
    >>> sorted(credit_lines(["Music: Anna Bell", "", "Hold on", "Music: the only thing I need"]))
    [0]
    """
    found = {k for k, line in enumerate(lines) if _CERTAIN.match(line)}
    aside = {k for k, line in enumerate(lines) if not line or (k < len(others) and others[k])}
    shouted = not any(any(map(str.islower, line)) for k, line in enumerate(lines) if k not in found)
    perhaps: set[int] = set()
    named: set[int] = set()
    for k, line in enumerate(lines):
        if (of_names := _OF_NAMES.match(line)) and not shouted and _named(line, of_names[1]):
            named.add(k)
        elif of_names or _LOOSE.match(line) or ((by := _BY.match(line)) and (shouted or _like_names(by[1]))):
            perhaps.add(k)
    order = range(len(lines))
    unsung = found | perhaps | aside | named
    for places in (order, order[::-1]):
        found |= _outside(places, lines, unsung, named)
    found |= _alone(lines, unsung, named)
    perhaps |= named - found
    for places in (order, order[::-1]):
        found |= _apart(places, lines, found, perhaps, aside)
    return frozenset(found)


def _apart(places: range, lines: Sequence[str], found: set[int], perhaps: set[int], aside: set[int]) -> frozenset[int]:
    """Those of the lines that may be credits before all that is sung, from one end, that do not run into it."""
    run: list[int] = []
    blocks = [run]
    for k in places:
        if k in aside:
            blocks.append(run := [])
        elif k in found or k in perhaps:
            run.append(k)
        elif _is_title(k, places, lines, perhaps | found):
            continue
        else:
            # What is sung follows at once: one line alone may belong to it.
            if len(run) < 2:
                run.clear()
            break
    return frozenset(k for block in blocks for k in block if k in perhaps)


def _outside(places: range, lines: Sequence[str], unsung: set[int], named: set[int]) -> frozenset[int]:
    """Those of the lines with names that stand before all that is sung, from one end; a title may be among them."""
    passed: list[int] = []
    for k in places:
        if k not in unsung and not _is_title(k, places, lines, unsung):
            break
        passed.append(k)
    return frozenset(named.intersection(passed))


def _alone(lines: Sequence[str], unsung: set[int], named: set[int]) -> frozenset[int]:
    """Those of the lines with names that have nothing sung on either side, as between the songs of a medley."""
    before, after = ({k + step for k in unsung} for step in (1, -1))
    return frozenset(named & (before | {0}) & (after | {len(lines) - 1}))


def _is_title(k: int, places: range, lines: Sequence[str], credits: set[int]) -> bool:
    """Whether a line is the first of all, with a credit behind it."""
    return k == places[0] == 0 and len(lines) > 1 and 1 in credits


def _named(line: str, text: str) -> bool:
    """Whether names follow, and no sentence in capitals where that is as likely."""
    if _SUNG_AS_LIKELY.match(line) and not _NEVER_NAMES.isdisjoint(re.findall(r"[^\W\d_]+", text.lower())):
        return False
    return _like_names(text)


def _like_names(text: str) -> bool:
    """Whether words begin with capitals, but for those that names have, too; scripts without capitals tell nothing."""
    words = [word for word in re.findall(r"[^\s,;/&+|.()\"'-]+", text) if word.lower() not in _SMALL]
    initials = [next((c for c in word if c.isalnum()), "0") for word in words]
    return (
        bool(words) and not any(c.islower() for c in initials) and text.split()[0].lower() not in _SMALL - {"the", "a"}
    )
