"""Lyrics as people have them, and which of their words are sung.

::

    [Chorus x2]                headings, in brackets or before a colon
    We ride, we ride (we ride) echoes: sung, perhaps by others
    Na na na (x3)              a line that is sung three times
    [00:12.30]Over the hills   times of .lrc files, of lines or of words
    Rock &amp; roll<br>          marks and entities of HTML
    [Am]Hold [G7]on            chords, within words or on lines of their own
    —                          signs alone

Every token between blanks keeps its place, so that times can be given back to the text as it was.
"""

from __future__ import annotations

import codecs
import html
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from ..errors import StemfeaturesError
from .captions import captions_as_lrc
from .counts import count_of
from .credits import credit_lines
from .karaoke import karaoke_as_text
from .lexicon import read_dictionary
from .rtf import MARK, rtf_text

#: What a token can be: only words are sung. ``version`` is said by another line, see :mod:`.versions`.
KINDS = ("word", "heading", "repeat", "mark", "version")
#: Names of sections that stand alone on their line, and those that are words unless a colon or a number follows.
_SECTIONS = (
    "verse|(?:pre|post)?[ -]?chorus|intro|outro|refrain|interlude|instrumental|bridge|estribillo|refr\u00e3o|couplet|"
    "ritornello|\u043f\u0440\u0438\u043f\u0435\u0432|\u043f\u0440\u043e\u0438\u0433\u0440\u044b\u0448|"
    "\u30b3\u30fc\u30e9\u30b9|\u30b5\u30d3|\u526f\u6b4c|\u4e3b\u6b4c|\u9593\u594f|\u95f4\u594f|\ud6c4\ub834"
)
_AMBIGUOUS = (
    "hook|solo|break|coda|part|strophe|vers|verso|puente|ponte|pont|coro|strofa|estrofa|estrofe|zwrotka|sloka|rap|v|bis|"
    r"repeat|ending|refr\.?|ref\.?|chor\.?|tag|vamp|drop|finale|"
    "spoken|all|both|\u043a\u0443\u043f\u043b\u0435\u0442|\u0431\u0440\u0438\u0434\u0436"
)
_INSTRUMENT = "guitar|piano|keyboard|organ|synth|bass|drum|sax\\w*|trumpet|violin|fiddle|harmonica|flute|instrumental"
#: Who sings, or what plays, where it stands alone before a colon.
_WHO = rf"r|male|female|m[ae]n|wom[ae]n|boys?|girls?|duet|choir|crowd|audience|narrator|(?:{_INSTRUMENT})s?"
_NUMBER = r"(?:one|two|three|four|five|six)\b|[IVX]+\b"
_COUNT = rf"(?:\(?(?:[x\u00d7]\s*\d+|\d+\s*[x\u00d7])\)?|\d+|twice\b|{_NUMBER})"
#: Which of the sections of a name it is, and other ones named beside it.
_WHICH = (
    r"(?:(?:repeat|final|last|first|second|third|fourth|double|half|[x\u00d7]\d{1,2}|\d{1,2}(?:st|nd|rd|th|er|e|x|\.|\))?)"
    r"\s){0,2}"
)
_BESIDE = rf"(?:\s?(?:[/&+,-]|and\b|to\b)\s?(?:(?:{_SECTIONS})(?:[\s#-]?{_COUNT})?|{_COUNT}))?"
_BRACKETED = re.compile(r"\s*[\[{<\u3010\uff3b].*[\]}>\u3011\uff3d]\s*:?\s*$")
#: What decorates the name of a section, and what may follow a dash behind it: who sings or plays.
_AROUND = r"[\s*_=~(\uff08\u2013\u2014\u2022\u266a\u266b-]{0,12}"
_BEHIND = r"[\s*_=~):\uff09\u2013\u2014\u266a\u266b-]{0,12}(?:(?<=\s)[\u2013\u2014-]\s[^\n]{1,40})?"
_NAMED = re.compile(
    rf"{_AROUND}(?:{_WHICH}(?:{_SECTIONS})(?:[\s.#-]{{0,4}}{_COUNT}|\s[A-D]\b)?{_BESIDE}[\s.#-]{{0,4}}"
    rf"|(?!(?:all|both|break)\s+(?:{_NUMBER})\s*$)(?:{_AMBIGUOUS})\s*(?:{_COUNT}\s*:?|:)"
    rf"|\d{{1,2}}\s?[.)]\s?(?:strophe|vers|strofa|estrofa|estrofe|zwrotka|sloka)|(?:{_WHO})\s*:){_BEHIND}$"
    rf"|\s*\[(?:{_SECTIONS})\s*{_COUNT}?\s*$",
    re.IGNORECASE,
)
#: What is to come again, or how it ends: "(repeat it)" and "(fade away)" are echoes.
_AGAIN = (
    rf"(?:the\s+)?(?:{_SECTIONS}|hook|coda|last|first|whole|above)\b|{_COUNT}|and\s+fade\b"
    r"|(?:to|until|till?)\s+(?:fade|end|silence)\b|out\b(?!\s+of\b)|ad[ -]?lib"
)
#: That it goes on, alone or at the end of a line.
_GOES_ON = rf"\((?:(?:repeats?|fad(?:es?|ing))(?:\s+(?:{_AGAIN})[^()]*)?|ad[ -]?libs?\b[^()]*)\)"
_REMARK = re.compile(rf"\s*{_GOES_ON}\s*$", re.IGNORECASE)
#: Somebody plays.
_PLAYED = re.compile(
    rf"{_AROUND}\[?(?:{_INSTRUMENT})s?\s+(?:solo|break|interlude|intro|outro|riff|fill)\s*\]?{_BEHIND}$", re.IGNORECASE
)
#: What is heard besides words, or how they are said, in brackets or stars: alone on a line, or within one.
_SOUND = (
    r"spoken(?:\sword)?|speaking|whisper(?:s|ed)|laugh(?:s|ter)|laughing|chuckles|applause|cheers|cheering|claps|clapping|"
    r"whistles|whistling|hums|sighs|coughs|gasps|sobs|beatbox(?:es|ing)|scats|scatting|vocali[sz](?:es|ing)|"
    r"inaudible|unintelligible|indistinct|unclear|\?+|music(?:\splaying)?|instrumental|beat\sdrops?|silence|pause|"
    r"(?:crowd|audience)\s\w+ing|foreign[ ]language"
)
#: What is rather stressed than heard, in stars among words.
_STRESSED = re.compile(r"(?:music|instrumental|silence|pause|spoken|speaking|indistinct|unclear)$")
_HEARD = re.compile(
    rf"(?<!\S)(?:[\[{{]\s?(?:{_SOUND})\s?[\]}}]|\(\s?(?:{_SOUND})\s?\)|\*{{1,2}}(?:{_SOUND})\*{{1,2}}"
    rf"|[\u266a\u266b]\s?music\s?[\u266a\u266b])[.,!]*(?!\S)",
    re.IGNORECASE,
)
_GOES_ON_BEHIND = re.compile(rf"(?<=\s){_GOES_ON}[.,]*$", re.IGNORECASE)
#: What pages of lyrics put around them, and how such a page is known.
_PAGE = re.compile(
    r"\s*(?:\d+\s*Contributors?.*|You might also like|\d*(?:\.\d+)?K?Embed"
    r"|\d+(?:\.\d+)?K|See .{1,60} Live|Get tickets as low as \S+)\s*$"
)
_PAGE_HEAD, _PAGE_END = re.compile(r"\d+\s*Contributors?"), "Embed"
#: The same where its lines have run into each other.
_PAGE_TOP = re.compile(
    r"\s*\d+\s*Contributors?[^\n]{0,300}? Lyrics(?:(?=\S)[^\n]{0,2000}?(?:\u2026|\.{3})\s?Read More\s*|(?=\S))"
)
_PAGE_WITHIN = re.compile(
    r"(?:See [^\n]{1,60} Live)?(?:Get tickets as low as \$\d+)?You might also like(?=\S)"
    r"|(?<=\S)(?:See [^\n]{1,60} Live)?(?:Get tickets as low as \$\d+)?You might also like"
)
_PAGE_BOTTOM = re.compile(r"(?<=[^\s\d.])\d{0,6}(?:\.\d)?K?Embed\s*$")
#: Names of notes, English and German; in German chord sheets small ones are minor chords.
_NOTE = r"(?:[CDFG]is|[DG]es|[AE]s|(?!Hmm)[A-H][#b\u266f\u266d]?)"
_SMALL_NOTE = r"(?:[cdfg]is|[dg]es|[ae]s|(?!hmm)[a-h][#b\u266f\u266d]?)"
_QUALITY = r"(?:maj|min|dim|aug|sus|add|omit|[mM0-9+\u00b0\u00f8#b\u266f\u266d()-])*"
_BASS = rf"(?:/(?:{_NOTE}|{_SMALL_NOTE}))?"
_CHORD_NAME, _SMALL_CHORD_NAME = (rf"{note}{_QUALITY}{_BASS}" for note in (_NOTE, _SMALL_NOTE))
#: Headings of Markdown.
_HASHES = re.compile(r"\s*#{1,6}\s+\S")
#: Chords, and those of them that are no words and no letters of the alphabet, without and with small ones.
_NO_CHORD = "(?!(?i:am|em|hm|as|es|des|dis|ges|[a-h])$)"
_CHORDS = (
    (re.compile(_CHORD_NAME), re.compile(_NO_CHORD + _CHORD_NAME)),
    (re.compile(rf"{_CHORD_NAME}|{_SMALL_CHORD_NAME}"), re.compile(_NO_CHORD + _SMALL_CHORD_NAME)),
)
#: A letter that somebody put in, as in "[A]nd": before consonants that are no syllable.
_RESTORED = r"(?<!\w)\[[AE]\](?!(?:h?m+|sh+|br+|ps+t)\b)[b-df-hj-np-tv-xz]+\b"
_PUT_IN = re.compile(r"\[(\w+)\](?=['\u2019]?\w)|(?<=\w)\[(\w+)\]")
#: One or two of them in other brackets, "(A)ll", "love(s)", or in signs of Markdown, "*H*ow": more may be an echo.
_SET_OFF = re.compile(
    r"(?<!\w)(?:\((\w{1,2})\)|\{(\w{1,2})\}|([*_]{1,2})([^\W_]{1,2})\3)(?=[^\W_])|(?<=[^\W_])\((\w{1,2})\)(?!\w)"
)
#: Chords within a line, as ChordPro has them; a small one is more than a letter, and before a word.
_INLINE_CHORD = re.compile(
    rf"(?!{_RESTORED})\[\s*(?:{_CHORD_NAME}\*?|N\.?C\.?)\s*\]"
    rf"|(?<![^\s\]])\[\s*(?![a-h]\s*\]){_SMALL_CHORD_NAME}\*?\s*\]"
)
#: A word whose first letters stand in brackets and could name a chord.
_OPENING = "\"'(\u00bf\u00a1\u2018\u201c"
_LIKE_CHORD = re.compile(
    rf"[{_OPENING}]*\[(?:{_NOTE}|{_SMALL_NOTE})m?\](?<![#\u266f\u266d]\])(?<![#\u266f\u266d]m\])['\u2019]?[^\W\d_A-Z]"
)
#: A letter in brackets that stands alone names a section.
_REHEARSAL = re.compile(r"\s*\[[A-H]\]\s*$")
_AROUND_CHORDS = "()[]|"
_BETWEEN_CHORDS = re.compile(r"[|/%*.,:()-]+|N\.?C\.?|[x\u00d7]\d+|\d+[x\u00d7]", re.IGNORECASE)
#: Who sings a line, before a colon or in square brackets that hold no word of a letter, and the number of a line.
_SINGER_FOLLOWS = r"(?=\s+\S)"
_SINGER = re.compile(r"\s*([A-Z\u00c0-\u00de\u0400-\u042f][\w'.]*(?: (?:&|and|[A-Z][\w'.]*))*):(?=\s+\S)")
_SINGER_ALONE = re.compile(rf"{_SINGER.pattern.removesuffix(_SINGER_FOLLOWS)}\s*$")
_SECTION = re.compile(rf"\s*(?:{_SECTIONS}|hook|solo|coda|refr?\.?|r)\s*{_COUNT}?\s*:(?=\s+\S)", re.IGNORECASE)
_ASIDE = re.compile(r"\s*\[(?![IO]\])[^\[\]]*\](?=\s+\S)")
_NUMBERED = re.compile(r"\s*\d{1,3}[.)](?=\s+\S)")
#: Fewest lines that name singers, and least share of lines that have a number, for it to be what it seems.
_FEWEST_NAMED, _MOST_NUMBERED = 2, 0.8
_TABLATURE = re.compile(r"\s*[eEBGDA]?\s*[|:][-\d|hpbrx/\\~^.()\s]{6,}$")
_TAG = re.compile(r"<\s*(?:/\s*)?(br|p|div|li|tr|h\d|body|lines?|verse|lyrics|song)\b[^<>]*>", re.IGNORECASE)
#: What pages have that nobody sings; a page that was cut off may not close it, and a head need not be closed.
_UNSEEN = re.compile(
    r"<(script|style|head|title|noscript|properties|rp)\b[^<>]*>.*?(?:</\1\s*>|(?=<body\b)|\Z)|<!--.*?(?:-->|\Z)",
    re.I | re.S,
)
_MARKUP = re.compile(r"<\s*(?:/\s*)?[a-zA-Z!?][^<>\n]*>")
#: How characters are said, above or behind them: what is said of them, in brackets.
_RUBY = re.compile(r"<rt\b[^<>\n]*>([^<>\n]{1,40})(?:</rt\s*>)?", re.IGNORECASE)
_HAN, _KANA = "\u3400-\u4dbf\u4e00-\u9fff\u3005\u3006\u30f6", "\u3040-\u30ff"
_READING = re.compile(rf"(?<![{_HAN}])[{_HAN}]+[(\uff08\[\u300a]([{_KANA}]+)[)\uff09\]\u300b]")

_LRC_TIME = re.compile(r"[\[<](\d{1,3}):(\d{1,2}(?:[.:]\d{1,3})?)[\]>]")
#: Times before a line: in brackets, several of them for a line that is sung again.
_LRC_LEADING = re.compile(r"\s*(?:\[\d{1,3}:\d{1,2}(?:[.:]\d{1,3})?\]\s*)+")
_LRC_OFFSET = re.compile(r"\s*\[offset\s*:\s*([+-]?\d{1,6})\s*\]", re.IGNORECASE)
_LRC_HEADER = re.compile(r"\s*\[(ar|ti|al|by|au|re|ve|length|offset|la|id|tool)\s*:.*\]\s*$", re.IGNORECASE)
#: Of the bytes at even or odd places, the least share of zeros by which UTF-16 is known that bears no mark.
_ZEROS = 0.05
#: Controls, private use, halves of pairs, what is not assigned.
_UNPRINTED = frozenset({"Cc", "Co", "Cs", "Cn"})
#: Share of characters that no text has, from which on a file is taken for something else.
_MOST_STRANGE = 0.02
#: How files of word processors (zipped ones, old ones) and PDF begin.
_DOCUMENTS = (b"PK\3\4", b"\xd0\xcf\x11\xe0", b"%PDF")
#: Share of characters beyond ASCII that no language has which Latin-1 can write.
_MOST_ACCENTED = 0.5


class LyricsError(StemfeaturesError):
    """A file is no text, or too long for one."""

    stage = "lyrics"


@dataclass(frozen=True)
class Token:
    """What stands between two blanks.

    Attributes
    ----------
    text : str
        As it stands in the lyrics, without marks of HTML.
    kind : str
        One of :data:`KINDS`.
    line : int
        Index of its line in :attr:`LyricsText.lines`.
    restored : bool
        What stands in square brackets within it are letters, though it could name a chord: ``[H]ow``.
    """

    text: str
    kind: str
    line: int
    restored: bool = False

    @cached_property
    def sung(self) -> str:
        """What of it is sung: all but chords in brackets, and without brackets around letters that were put in."""
        bare = self.text if self.restored else without_chords(self.text)
        return _SET_OFF.sub(r"\1\2\4\5", _PUT_IN.sub(r"\1\2", _READING.sub(r"\1", bare)))


@dataclass(frozen=True)
class Line:
    """A line with at least one token.

    Attributes
    ----------
    text : str
        Its tokens with blanks between.
    first, stop : int
        Its tokens are ``tokens[first:stop]``.
    stanza : int
        Counts from 0; a blank line or a heading begins the next.
    times : int
        How often it says that it is sung in a row.
    start_s : float | None
        When it begins, if the lyrics say so (``.lrc``).
    again_s : tuple[float, ...]
        When it begins again, if they say so: lines of ``.lrc`` may have several times.
    """

    text: str
    first: int
    stop: int
    stanza: int
    times: int = 1
    start_s: float | None = None
    again_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class LyricsText:
    """Tokens in order, and the lines they stand in."""

    tokens: tuple[Token, ...]
    lines: tuple[Line, ...]

    @property
    def n_words(self) -> int:
        """Tokens that are words."""
        return sum(token.kind == "word" for token in self.tokens)


def parse_lyrics(text: str) -> LyricsText:
    """Tokens and lines of lyrics.

    Parameters
    ----------
    text : str
        Plain text or ``.lrc``, lines ending in any way.

    Returns
    -------
    LyricsText
        Without lines where there is no text.

    Examples
    --------
    >>> [t.text for t in parse_lyrics("[Verse]\\nHold on (hold on) x2").tokens if t.kind == "word"]
    ['Hold', 'on', '(hold', 'on)']
    """
    tokens: list[Token] = []
    lines: list[Line] = []
    stanza, fresh = -1, True
    plain = _plain(text).splitlines()
    offset_s = _lrc_offset_s(plain)
    contents = [_spaced(_LRC_TIME.sub(" ", raw)) for raw in plain]
    unsung = _Unsung(contents)
    for k, (raw, content) in enumerate(zip(plain, contents)):
        if _LRC_HEADER.match(raw):
            continue
        # Times of words stand within the line, those of the line before it.
        leading = _LRC_LEADING.match(raw)
        times_of = _LRC_TIME.finditer(leading[0] if leading else raw)
        starts = [60 * int(m[1]) + float(m[2].replace(":", ".")) - offset_s for m in times_of]
        words = content.split()
        if not words:
            fresh = True
            continue
        heading, played = k in unsung.headings, unsung.played(content)
        if fresh or heading or _SECTION.match(content):
            stanza += 1
        fresh = False
        first, count = len(tokens), count_of(content)
        n_label, aside = 0 if heading else unsung.label(content), _aside(content)
        for place, word in enumerate(words):
            repeat = place in count.places
            kind = "heading" if heading or place < n_label else "mark" if played else "repeat" if repeat else "word"
            token = Token(word, kind, len(lines), unsung.restored and bool(_LIKE_CHORD.match(word)))
            silent = place in aside or not _sounds(token.sung)
            tokens.append(replace(token, kind="mark") if kind == "word" and silent else token)
        start_s, again_s = (starts[0], tuple(starts[1:])) if starts and leading else (None, ())
        lines.append(Line(content, first, len(tokens), stanza, 1 if heading else count.times, start_s, again_s))
    return LyricsText(tuple(tokens), tuple(lines))


class _Unsung:
    """What of the lines of a text is not sung; some of it only the whole text tells."""

    def __init__(self, lines: Sequence[str]) -> None:
        filled = [line for line in lines if line]
        self.from_page = bool(filled) and (filled[-1].endswith(_PAGE_END) or any(map(_PAGE_HEAD.match, filled)))
        self.chords = [
            known
            for known, sure in _CHORDS
            if any(
                _chords(words, known) and any(sure.fullmatch(word.strip(_AROUND_CHORDS)) for word in words)
                for words in map(_unnamed, filled)
            )
            or (known is _CHORDS[0][0] and _progressions([_unnamed(line) for line in filled]))
        ]
        self.with_singers = (
            sum(bool(_SINGER.match(line) or _SINGER_ALONE.match(line)) for line in filled) >= _FEWEST_NAMED
        )
        self.restored = _letters_put_in(filled)
        self.numbered = len(filled) > 1 and (
            sum(bool(_NUMBERED.match(line)) for line in filled) >= _MOST_NUMBERED * len(filled)
        )
        named = [bool(line) and self.heading(line) for line in lines]
        #: Places of the lines that are headings, credits or the like.
        self.headings = credit_lines(lines, named) | {k for k, heading in enumerate(named) if heading}

    def heading(self, line: str) -> bool:
        """Whether it names what comes."""
        bare = _PUT_IN.sub(r"\1\2", _spaced(_INLINE_CHORD.sub(" ", line)))
        if not bare:
            return bool(_REHEARSAL.match(line))
        counted = count_of(bare).rest
        if _BRACKETED.match(bare) or not counted:
            return True
        known = (_NAMED, _PLAYED, _HASHES, _REMARK)
        if any(pattern.match(named) for named in {bare, counted, _GOES_ON_BEHIND.sub("", bare)} for pattern in known):
            return True
        return (self.with_singers and bool(_SINGER_ALONE.match(bare))) or (self.from_page and _page(bare))

    def label(self, line: str) -> int:
        """How many words at its beginning say who sings it, or which line it is."""
        patterns = [_SECTION] + [_SINGER] * self.with_singers + [_NUMBERED] * self.numbered
        if not _INLINE_CHORD.match(line):
            patterns.append(_ASIDE)
        found = next((match for pattern in patterns if (match := pattern.match(line))), None)
        return len(found[0].split()) if found else 0

    def played(self, line: str) -> bool:
        """Whether it is chords or tablature."""
        return any(_chords(_unnamed(line), known) for known in self.chords) or bool(_TABLATURE.match(line))


def _letters_put_in(lines: Sequence[str]) -> bool:
    """Whether what could be chords in brackets are letters of the words behind them, as initials are on some pages.

    Lines without brackets begin with capitals then, and those with them would without; or more of the words are in the
    dictionary only with what is in brackets than brackets there are that can be nothing but chords.
    """
    in_brackets = [line for line in lines if _INLINE_CHORD.search(line)]
    words = [word for line in in_brackets for word in line.split() if _INLINE_CHORD.search(word)]
    like_letters = [word for word in words if _LIKE_CHORD.match(word) and len(_INLINE_CHORD.findall(word)) == 1]
    if not like_letters:
        return False
    begin_lines = len(words) == len(like_letters) == sum(bool(_LIKE_CHORD.match(line)) for line in in_brackets)
    if begin_lines and all("[A" <= word[word.index("[") :] < "[[" for word in like_letters):
        initials = [line.lstrip(_OPENING)[:1] for line in lines if line not in in_brackets]
        initials = [initial for initial in initials if initial.isalpha()]
        if initials and all(map(str.isupper, initials)):
            return True
    try:
        dictionary = read_dictionary()
    except ImportError:  # then nothing is said in English, either
        return False
    whole = [_spelled(_PUT_IN.sub(r"\1\2", word)) in dictionary for word in like_letters]
    alone = [_spelled(without_chords(word)) in dictionary for word in like_letters]
    for_letters = sum(one and not other for one, other in zip(whole, alone))
    for_chords = len(words) - sum(whole)
    return for_letters > for_chords or (for_letters == for_chords == 0 and begin_lines)


def _unnamed(line: str) -> list[str]:
    """Words of a line after the name of a section before them."""
    section = _SECTION.match(line) or (None if _INLINE_CHORD.match(line) else _ASIDE.match(line))
    return (line[section.end() :] if section else line).split()


def _page_apart(text: str) -> str:
    """What a page of lyrics put around them on lines of its own."""
    text = text.rstrip()
    if not (_PAGE_TOP.match(text) or text.endswith(_PAGE_END)):
        return text
    text = _PAGE_TOP.sub(lambda head: head[0] + "\n", text, count=1)
    return _PAGE_BOTTOM.sub(lambda end: "\n" + end[0], _PAGE_WITHIN.sub("\nYou might also like\n", text))


def _aside(line: str) -> frozenset[int]:
    """Which words of a line say what is heard besides, or that it fades; what the line has without brackets is sung."""
    places: set[int] = set()
    for found in (*_HEARD.finditer(line), *_GOES_ON_BEHIND.finditer(line)):
        others = f"{line[: found.start()]} {line[found.end() :]}"
        said = " ".join(map(_letters, found[0].split())).strip()
        if found[0].startswith("(") and said and f" {said} " in f" {' '.join(map(_letters, others.split()))} ":
            continue
        # In stars among words it is stressed, unless it is what somebody does.
        if found[0].startswith("*") and others.strip() and _STRESSED.match(said):
            continue
        before = len(line[: found.start()].split())
        places.update(range(before, before + len(found[0].split())))
    return frozenset(places)


def _page(line: str) -> bool:
    return bool(_PAGE.match(line)) or line.endswith(" Lyrics")


def _chords(words: list[str], known: re.Pattern[str]) -> bool:
    bare = [word.strip(_AROUND_CHORDS) for word in words]
    named = [word for word in bare if word and not _BETWEEN_CHORDS.fullmatch(word)]
    return bool(named) and all(map(known.fullmatch, named))


def _progressions(lines: Sequence[list[str]]) -> bool:
    """Whether lines hold nothing but chords, though each could be a word or a letter of the alphabet.

    One line tells it that has a minor chord among others, or two that have letters alone, if no more than half of
    such lines have them as the alphabet does.
    """
    letters = alphabet = 0
    for line in lines:
        bare = [word.strip(_AROUND_CHORDS) for word in line]
        named = [word for word in bare if word and not _BETWEEN_CHORDS.fullmatch(word)]
        # One of them again and again is hummed, "Hm Hm".
        if len(set(named)) < 2 or not _chords(line, _CHORDS[0][0]):
            continue
        if any(word.endswith("m") for word in named):
            return True
        letters += 1
        alphabet += all(ord(b[0]) - ord(a[0]) == 1 for a, b in pairwise(named))
    return letters > 1 and alphabet <= letters / 2


def without_chords(word: str) -> str:
    """A word without the chords in brackets that stand in it.

    Examples
    --------
    >>> without_chords("[Am]Hold")
    'Hold'
    """
    return _INLINE_CHORD.sub("", word)


def backwards(lyrics: LyricsText) -> LyricsText:
    """The same words in the opposite order."""
    tokens: list[Token] = []
    lines: list[Line] = []
    for line in reversed(lyrics.lines):
        first = len(tokens)
        tokens += [replace(token, line=len(lines)) for token in reversed(lyrics.tokens[line.first : line.stop])]
        lines.append(replace(line, first=first, stop=len(tokens), start_s=None, again_s=()))
    return LyricsText(tuple(tokens), tuple(lines))


def shuffled(lyrics: LyricsText, seed: int = 0) -> LyricsText:
    """The same words in another order, the same for each text and seed, in lines as long as they were."""
    places = [k for k, token in enumerate(lyrics.tokens) if token.kind == "word"]
    tokens = list(lyrics.tokens)
    for place, source in zip(places, random.Random(seed).sample(places, len(places))):
        moved = lyrics.tokens[source]
        tokens[place] = replace(lyrics.tokens[place], text=moved.text, restored=moved.restored)
    return replace(lyrics, tokens=tuple(tokens))


def share_changed(lyrics: LyricsText, other: LyricsText) -> float:
    """Share of the words of lyrics, 0 to 1, that are others in the same places of another text of as many tokens.

    Examples
    --------
    >>> la = parse_lyrics("La la la, love")
    >>> share_changed(la, parse_lyrics("la love la la"))
    0.5
    >>> share_changed(la, la)
    0.0
    """
    pairs = [(_letters(a.sung), _letters(b.sung)) for a, b in zip(lyrics.tokens, other.tokens) if a.kind == "word"]
    return sum(a != b for a, b in pairs) / max(len(pairs), 1)


def _letters(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum())


def _spelled(word: str) -> str:
    """As the dictionary spells words."""
    return "".join(c for c in word.casefold().replace("\u2019", "'") if c.isalnum() or c == "'")


def decode_lyrics(data: bytes) -> str:
    """The text of a file.

    Parameters
    ----------
    data : bytes
        UTF-8, UTF-16 or UTF-32 by their mark; UTF-16 without one, which zeros give away; Rich Text Format; else UTF-8
        if it is that, else Windows Latin-1.

    Returns
    -------
    str
        Its characters, without what RTF has beside them.

    Raises
    ------
    LyricsError
        It is no text, but a document, or too many of its characters are control characters, or none at all; or they
        would be mostly accented letters, because it is in one of the many encodings of other scripts.

    Examples
    --------
    >>> decode_lyrics("Río".encode("utf-16-be"))
    'Río'
    """
    if data.startswith(_DOCUMENTS):
        raise LyricsError("is a document or PDF and no text: save it as plain text")
    text = _decoded(data)
    strange = sum(not c.isspace() and (c == "\ufffd" or unicodedata.category(c) in _UNPRINTED) for c in text)
    if strange > _MOST_STRANGE * len(text):
        raise LyricsError("is no text in UTF-8, UTF-16 or Latin-1")
    return text


def _from_latin_1(data: bytes) -> str:
    text = data.decode("cp1252", "replace")
    filled = "".join(text.split())
    if sum(c > "\x7f" for c in filled) > _MOST_ACCENTED * len(filled):
        raise LyricsError(
            "is in an encoding that cannot be told, no text in UTF-8, UTF-16 or Latin-1: save it as UTF-8"
        )
    return text


def _decoded(data: bytes) -> str:
    bare = data.removeprefix(codecs.BOM_UTF8).lstrip()
    if bare.startswith(MARK):
        return rtf_text(bare)
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return data.decode("utf-32", "replace")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    even, odd = (data[k::2].count(0) for k in range(2))
    if max(even, odd) > _ZEROS * len(data) / 2 and min(even, odd) < max(even, odd) / 2:
        return data.decode("utf-16-be" if even > odd else "utf-16-le", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _from_latin_1(data)


def _lrc_offset_s(lines: Iterable[str]) -> float:
    """By how much the times of ``.lrc`` are to be earlier: ``[offset:+500]`` is half a second."""
    found = next(filter(None, map(_LRC_OFFSET.match, lines)), None)
    return int(found[1]) / 1000 if found else 0.0


def _spaced(line: str) -> str:
    """With one blank between its words: patterns that begin with blanks take ages over long runs of them."""
    return " ".join(line.split())


def _plain(text: str) -> str:
    text = _UNSEEN.sub("", _page_apart(captions_as_lrc(karaoke_as_text(text))))
    text = _MARKUP.sub("", _TAG.sub("\n", _RUBY.sub(r"(\1)", text)))
    text = unicodedata.normalize("NFC", html.unescape(text).lstrip("\ufeff"))
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc"))


def _sounds(word: str) -> bool:
    return any(c.isalnum() for c in word) or word.strip("()[]\"'.,;:!?") in ("&", "+", "@")
