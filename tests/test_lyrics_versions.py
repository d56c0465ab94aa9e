"""Texts that stand twice, line by line."""

from __future__ import annotations

import pytest

from stemfeatures.lyrics.text import LyricsText, parse_lyrics
from stemfeatures.lyrics.versions import versions_of

CYRILLIC, LATIN, OTHER = "\u043d\u043e\u0447\u044c \u0442\u0438\u0445\u0430", "noch tikha", "night is still"


def _words(text: LyricsText) -> list[str]:
    return [token.text for token in text.tokens if token.kind == "word"]


@pytest.mark.parametrize(
    ("lines", "versions"),
    [
        ([CYRILLIC, LATIN], 2),
        ([LATIN, CYRILLIC], 2),
        ([CYRILLIC, LATIN, OTHER], 3),
        ([OTHER, CYRILLIC, LATIN], 3),
        ([LATIN, OTHER], 0),  # one script: nothing tells that they belong together
        ([CYRILLIC, CYRILLIC, LATIN], 3),
        ([LATIN, CYRILLIC, CYRILLIC], 3),
        ([CYRILLIC, CYRILLIC, LATIN, LATIN], 0),
        ([CYRILLIC], 0),
        ([f"[00:10.00]{LATIN}", f"[00:10.00]{OTHER}"], 2),
    ],
)
def test_lines_that_say_the_same_are_told_by_script_or_time(lines: list[str], versions: int):
    text = parse_lyrics("\n".join("\n".join(lines).replace(":10.", f":{10 + k}.") for k in range(6)))
    found = versions_of(text)
    assert found[-1] is text
    assert len(found) == versions + 1
    for place, version in enumerate(found[:-1]):
        words = lines[place].replace("[00:10.00]", "").split()
        assert _words(version) == 6 * words
        assert [token.text for token in version.tokens] == [token.text for token in text.tokens]


def test_a_song_in_two_languages_stands_once():
    verse = f"{CYRILLIC}\n{CYRILLIC}\n{LATIN}\n{CYRILLIC}\n\n"
    assert len(versions_of(parse_lyrics(4 * verse))) == 1
    assert len(versions_of(parse_lyrics(3 * f"{CYRILLIC}\n{LATIN}\n"))) == 1


def test_what_stands_once_is_sung_in_all_versions():
    text = parse_lyrics("[Intro]\nOh yeah\n\n" + 5 * f"{CYRILLIC}\n{LATIN}\n\n")
    alone, latin, whole = versions_of(text)
    assert _words(alone) == ["Oh", "yeah", *(5 * CYRILLIC.split())]
    assert _words(latin) == ["Oh", "yeah", *(5 * LATIN.split())]
    assert whole is text


def test_lines_of_other_versions_have_no_times():
    text = parse_lyrics("".join(f"[00:{k}0.00]{CYRILLIC}\n[00:{k}0.00]{LATIN}\n" for k in range(1, 6)))
    first = versions_of(text)[0]
    assert [line.start_s for line in first.lines] == [v for k in range(1, 6) for v in (10.0 * k, None)]
