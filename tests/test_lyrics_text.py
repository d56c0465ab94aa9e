"""Lyrics as people have them, and how their words are said."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("pocketsphinx")

from stemfeatures.lyrics.letter_to_sound import LetterToSound
from stemfeatures.lyrics.lexicon import pronunciations, read_dictionary
from stemfeatures.lyrics.text import LyricsError, backwards, decode_lyrics, parse_lyrics, share_changed, shuffled
from stemfeatures.lyrics.train_letter_to_sound import align, is_held_out, score, train, training_pairs

SONG = """[Verse 1]
Don’t you know (don't you know)
it's 5 o'clock &amp; raining<br>over <i>here</i>

Chorus:
Na na na x3
—
We're all gone
"""


def test_every_token_keeps_its_place_and_kind():
    lyrics = parse_lyrics(SONG)
    kinds = {kind: [t.text for t in lyrics.tokens if t.kind == kind] for kind in ("word", "heading", "repeat", "mark")}
    assert kinds == {
        "word": [
            "Don’t",
            "you",
            "know",
            "(don't",
            "you",
            "know)",
            "it's",
            "5",
            "o'clock",
            "&",
            "raining",
            "over",
            "here",
            "Na",
            "na",
            "na",
            "We're",
            "all",
            "gone",
        ],
        "heading": ["[Verse", "1]", "Chorus:"],
        "repeat": ["x3"],
        "mark": ["—"],
    }
    assert [(line.stanza, line.times) for line in lyrics.lines] == [
        (0, 1), (0, 1), (0, 1), (0, 1), (1, 1), (1, 3), (1, 1), (1, 1),
    ]  # fmt: skip
    assert [t.line for t in lyrics.tokens] == sorted(t.line for t in lyrics.tokens)
    assert all(lyrics.tokens[k].line == n for n, line in enumerate(lyrics.lines) for k in range(line.first, line.stop))


@pytest.mark.parametrize(
    "heading", [
        "Chorus", "(Chorus)", "## The song", "[Hook: somebody]", "VERSE 2", "Pre-Chorus:", "Bridge x2", "Chorus (2x)",
        "Verse One", "Chorus Two:", "PRE CHORUS", "V1:", "CHORUS - Anna", "*Chorus*", "--- Bridge ---", "[Verse 1",
        "Chorus (2 times)", "\u041f\u0440\u0438\u043f\u0435\u0432:", "\u041a\u0443\u043f\u043b\u0435\u0442 2",
        "\uff3bChorus\uff3d", "\uff08\u30b3\u30fc\u30e9\u30b9\uff09", "Ritornello", "Estrofa 2:", "(Repeat to fade)",
        "(fade out)", "(repeat)", "(Repeat chorus 2x)", "(Repeat x2)",
        "(repeat and fade)", "(fading)", "(ad lib to fade)", "Title: Hello",
        "Written by: Anna", "Writer(s): Anna, Bob", "Capo 2", "Key: G",
        "Capo on 3rd fret",
        "Chorus (bis)", "Refrain 2x", "Chorus [x2]", "Chorus 1 x2", "2x Chorus", "Final Chorus", "1. Strophe", "Ref.:",
        "Verse 1 & 2", "Intro / Chorus", "\u2022 Chorus", "Outro (fade out)", "Guitar:", "Female:", "(x 3)", "(bis)",
        "[2 times]", "(Applause)", "*guitar solo*", "\u266a Music \u266a", "(music playing)", "\u2117 2015 X",
        "Music by Anna Bell", "Words and music by Anna & Bob", "(1409617829201)", "https://a.example/b",
        "******* This Lyrics is NOT for Commercial use *******",
        "\u00a9 2015 Somebody", "All rights reserved.", "Lyrics licensed by X",
    ],
)  # fmt: skip
def test_headings_are_not_sung(heading: str):
    assert parse_lyrics(heading).n_words == 0


@pytest.mark.parametrize(
    "line",
    [
        "All", "#1 in my heart", "Break", "Chorus of angels sing", "Part of me", "I <3 you", "2 become 1",
        "Verse oneself away", "Repeat to me", "fade out", "Coro",
        "Chorus what a word for one who sings alone",
        "Keys to the city", "Capo dei capi", "Music is by my side",
        "Women", "Verse on verse on verse", "2 become one", "(laughing with me)", "Written by the river",
        "(fade away)", "(fading light)", "(repeat it)", "(fading out of sight)", "All one", "All I", "Both two",
    ],
)  # fmt: skip
def test_lines_that_look_like_headings_are_sung(line: str):
    assert parse_lyrics(line).n_words == len([w for w in line.split() if w != "<3"]) + ("<3" in line)


def _kinds(text: str) -> list[str]:
    """Lines with their words as they are, headings in angle brackets and marks in round ones."""
    signs = {"word": "{}", "heading": "<{}>", "mark": "({})", "repeat": "*{}"}
    lyrics = parse_lyrics(text)
    return [
        " ".join(signs[token.kind].format(token.text) for token in lyrics.tokens[line.first : line.stop])
        for line in lyrics.lines
    ]


def test_chords_are_not_sung():
    sheet = "Intro: Am  G\n\nAm    F#m7 | D/F#\nI see a face\nA  B\nA B side\nE\ne|--0--2--3--|\nG C x2"
    assert _kinds(sheet) == [
        "<Intro:> (Am) (G)", "(Am) (F#m7) (|) (D/F#)", "I see a face", "(A) (B)", "A B side", "(E)", "(e|--0--2--3--|)",
        "(G) (C) (x2)",
    ]  # fmt: skip
    # Without a chord that can be nothing else these are letters and words.
    assert _kinds("A B C\nAm\nE") == ["A B C", "Am", "E"]


def test_chords_that_could_be_words_or_letters_are_known_by_their_company():
    assert _kinds("C  G  Am  F\nI can hear\nAm\nE") == ["(C) (G) (Am) (F)", "I can hear", "(Am)", "(E)"]
    assert _kinds("G  D\nI can hear\nC  D\nthe river") == ["(G) (D)", "I can hear", "(C) (D)", "the river"]
    # One such line is too few, and so the alphabet tells nothing.
    assert _kinds("G D\nI can hear") == ["G D", "I can hear"]
    assert _kinds("A B C\nD E F G\nhere I am") == ["A B C", "D E F G", "here I am"]
    assert _kinds("Am I\nAm Am") == ["Am I", "Am Am"]
    assert _kinds("Hm Hm Hm\nhere I am\nHm Hm Hm") == ["Hm Hm Hm", "here I am", "Hm Hm Hm"]


def test_how_often_may_be_said_in_words():
    lyrics = parse_lyrics(
        "we go (2 times)\nwe ride (twice)\nwe row (3 veces)\nwe (sing twice)\nChorus (2 times)\nwe(twice)"
    )
    assert [(line.times, lyrics.tokens[line.stop - 1].kind) for line in lyrics.lines] == [
        (2, "repeat"), (2, "repeat"), (3, "repeat"), (1, "word"), (1, "heading"),
        (1, "word"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "times"),
    [
        ("(bis)", 2), ("[bis]", 2), ("bis x2", 2), ("(ter)", 3), ("[2 times]", 2), ("(two times)", 2),
        ("(dos veces)", 2),
        ("(x 3)", 3), ("(3 x)", 3), ("x 4", 4), ("/2x", 2), ("[x2]", 2), ("(repeat)", 2), ("(repeat 3 times)", 3),
        ("(repeat x4)", 4), ("(repeat until fade)", 2), ("(x2 then fade)", 2), ("(x99)", 16), ("(fade out)", 1),
    ],
)  # fmt: skip
def test_how_often_is_not_sung(said: str, times: int):
    lyrics = parse_lyrics(f"na na na {said}\nhere I am")
    assert [t.text for t in lyrics.tokens if t.kind == "word"] == ["na", "na", "na", "here", "I", "am"]
    assert [line.times for line in lyrics.lines] == [times, 1]


@pytest.mark.parametrize(
    "line",
    [
        "na na bis",
        "we do it 2 times",
        "say it (repeat it)",
        "say (repeat after me)",
        "2 x 3",
        "give me (two)",
        "Two times (two times)",
        "Think twice, (twice)",
    ],
)
def test_what_may_be_sung_is_no_count(line: str):
    lyrics = parse_lyrics(line)
    assert lyrics.lines[0].times == 1
    assert lyrics.n_words == len(line.split())


def test_bis_before_a_line_and_signs_around_it_say_that_it_is_sung_twice():
    lyrics = parse_lyrics("bis: we go\n|: we ride :|\nwe row")
    assert [(line.times, line.text) for line in lyrics.lines] == [
        (2, "bis: we go"),
        (2, "|: we ride :|"),
        (1, "we row"),
    ]
    assert [t.text for t in lyrics.tokens if t.kind == "word"] == ["we", "go", "we", "ride", "we", "row"]


def test_a_count_alone_on_its_line_begins_a_stanza():
    assert [line.stanza for line in parse_lyrics("we go\n(x2)\nwe ride").lines] == [0, 1, 1]


def test_what_is_heard_besides_is_not_sung():
    assert _kinds("hey [laughs] you (whispers)\nshe laughs (laughs)\n[inaudible] go *sighs* on\nall (cries)") == [
        "hey ([laughs]) you ((whispers))", "she laughs (laughs)", "<[inaudible]> go (*sighs*) on", "all (cries)",
    ]  # fmt: skip


def test_what_is_echoed_or_stressed_is_sung():
    assert _kinds("the crowd singing (crowd singing)\nthe sound of *silence*\n*silence*") == [
        "the crowd singing (crowd singing)", "the sound of *silence*", "(*silence*)",
    ]  # fmt: skip


def test_credits_are_known_by_names_or_by_standing_apart():
    song = "Hold on to me\n{}\nwhen you are gone\nfar away"
    for line in ("Music: the only thing I need", "Key: to my heart", "Song: of the sea", "Written by the river"):
        assert parse_lyrics(song.format(line)).n_words == 10 + len(line.split())
        assert parse_lyrics(f"Hold on\n\n{line}").n_words == 2 + len(line.split()) * line.startswith("Written")
    assert parse_lyrics(song.format("Key: a little love")).n_words == 14
    for line in ("Key: Am", "Key: G (capo 2)", "Tempo: 120"):
        assert parse_lyrics(song.format(line)).n_words == 10
    for line in ("Music: Anna Bell", "Song: The River", "Artist: Anna & the Bells"):
        # Within a stanza it is sung, at the head, at the foot and alone it is not.
        assert parse_lyrics(f"Oh no\n{song.format(line)}").n_words == 12 + len(line.split())
        for text in (f"{line}\nHold on\nto me", f"Hold on\nto me\n{line}", f"Hold on\n\n{line}\n\nto me"):
            assert parse_lyrics(text).n_words == 4
    # No names have such words, capitals or not.
    for line in ("Music: Is All I Need", "Song: You\u2019re My Love"):
        assert parse_lyrics(f"{line}\nHold On\nTo Me").n_words == 4 + len(line.split())
    head = "River\nWritten by Anna Bell\nmusic: anna bell\n\nHold on"
    assert [t.text for t in parse_lyrics(head).tokens if t.kind == "word"] == ["River", "Hold", "on"]
    # Capitals tell nothing where all are capitals.
    assert parse_lyrics("HOLD ON\nMUSIC: MY FRIEND\nTO ME").n_words == 7


def test_chords_behind_the_name_of_a_section_and_before_how_often_they_come_are_not_sung():
    assert _kinds("[Intro] Am7 G (x2)\n[Verse 1]\nHold on") == [
        "<[Intro]> (Am7) (G) ((x2))",
        "<[Verse> <1]>",
        "Hold on",
    ]
    assert _kinds("Chorus: |C |F#m| 2x\nA") == ["<Chorus:> (|C) (|F#m|) (2x)", "(A)"]
    assert _kinds("[Anna] A C\n[Both] we do (x2)") == ["<[Anna]> A C", "<[Both]> we do *(x2)"]


def test_chords_within_lines_are_left_out_of_what_is_sung():
    text = "[Am]Hold [C/G]on [G]\n[D] to [F#m7]me[E]\n[Am]\n[A]\nAdd\n[D] [A]"
    assert _kinds(text) == ["[Am]Hold [C/G]on ([G])", "([D]) to [F#m7]me[E]", "([Am])", "<[A]>", "Add", "([D]) ([A])"]
    lyrics = parse_lyrics(text)
    assert [t.sung for t in lyrics.tokens if t.kind == "word"] == ["Hold", "on", "to", "me", "Add"]
    assert [line.stanza for line in lyrics.lines] == [0, 0, 0, 1, 1, 1]


def test_no_chord_and_one_with_a_star_are_left_out_of_what_is_sung():
    tokens = parse_lyrics("[N.C.]Hold [NC]on [Am*]to [n.c]me [N]ow").tokens
    assert [token.sung for token in tokens] == ["Hold", "on", "to", "[n.c]me", "Now"]


def test_german_and_small_chords_are_not_sung():
    sheet = "Hm  Fis7 | Es\nIch geh\nH\nAs\nHmm\na e\nem"
    assert _kinds(sheet) == ["(Hm) (Fis7) (|) (Es)", "Ich geh", "(H)", "(As)", "Hmm", "a e", "em"]
    small = "d g7 / fis\nIch geh a\na e\nem\nhmm\nC H7"
    assert _kinds(small) == ["(d) (g7) (/) (fis)", "Ich geh a", "(a) (e)", "(em)", "hmm", "(C) (H7)"]
    assert _kinds("As\nEs\nHm\na am\ndes\nhis") == ["As", "Es", "Hm", "a am", "des", "his"]
    tokens = parse_lyrics("[Hm]Hold [Es/B]on [am]to [f#m7]me [cis][gis]now th[em] [a]nd").tokens
    assert [token.sung for token in tokens] == ["Hold", "on", "to", "me", "now", "them", "and"]


def test_letters_that_were_put_in_are_sung():
    tokens = parse_lyrics("[A]nd [A]ll [E]nds, [A]mm [E]shh [A]hold [D]nd l[A]nd [A]").tokens
    assert [token.sung for token in tokens if token.kind == "word"] == [
        "And", "All", "Ends,", "mm", "shh", "hold", "nd", "lnd",
    ]  # fmt: skip


def test_a_line_that_begins_with_a_letter_that_was_put_in_is_no_heading():
    assert _kinds("[A]nd on [x2]\n[T]he moon i[s]\n[Verse 1] [x2]\n[Chorus][x2]") == [
        "[A]nd on *[x2]", "[T]he moon i[s]", "<[Verse> <1]> <[x2]>", "<[Chorus][x2]>",
    ]  # fmt: skip


def _sung(text: str) -> list[str]:
    return [token.sung for token in parse_lyrics(text).tokens if token.kind == "word"]


def test_initials_in_brackets_that_could_be_chords_are_sung_where_the_words_want_them():
    assert _sung("[H]ow many roads\n[C]an you hear\n[Em]pty rooms\n[D]on\u2019t go, [C]'mon") == [
        "How", "many", "roads", "Can", "you", "hear", "Empty", "rooms", "Don\u2019t", "go,", "C'mon",
    ]  # fmt: skip
    # As many words want the chord left out, or more: a chord sheet.
    assert _sung("[G]Hold on [C]all my [G]one\n[D]ay [Am]and [C]an") == [
        "Hold", "on", "all", "my", "one", "ay", "and", "an",
    ]  # fmt: skip
    # Words of another language: lines begin with capitals, but for those that begin with a bracket.
    assert _sung("Der Mond\n[H]eute kommt\nEr kam") == ["Der", "Mond", "Heute", "kommt", "Er", "kam"]
    assert _sung("Der Mond\n[H]Heute kommt\n[E]Er kam") == ["Der", "Mond", "Heute", "kommt", "Er", "kam"]
    assert _sung("der Mond\n[H]eute kommt\ner kam") == ["der", "Mond", "eute", "kommt", "er", "kam"]


def test_a_word_of_one_letter_in_brackets_is_sung_where_words_follow():
    assert _kinds("[I] can hear\n[O] come\n[Both] we do\n[I]\nthe end") == [
        "[I] can hear", "[O] come", "<[Both]> we do", "<[I]>", "the end",
    ]  # fmt: skip
    assert pronunciations("[I]") == pronunciations("I")


def test_letters_set_off_in_other_brackets_or_by_markdown_are_sung():
    assert _sung("(A)ll {H}ow *E*very __E__mpty love(s) walk(ed) (w)hole (hey)hey (oh) *now* la(la)la") == [
        "All", "How", "Every", "Empty", "loves", "walked", "whole", "(hey)hey", "(oh)", "*now*", "la(la)la",
    ]  # fmt: skip


def test_words_with_initials_in_brackets_keep_them_in_another_order():
    lyrics = parse_lyrics("[H]ow many\nroads must")
    assert sorted(t.sung for t in shuffled(lyrics).tokens) == ["How", "many", "must", "roads"]


def test_words_with_other_chords_are_the_same_words():
    text = "[Am]la [G]la [C7]la"
    assert share_changed(parse_lyrics(text), parse_lyrics("la [F]la [G]lo")) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 60_000 + "la", " " * 60_000 + "la", " \n" * 60_000 + "la", "1" * 60_000 + " la",
        "intro" + " " * 60_000 + ": la", "guitar solo" + " " * 60_000 + "la", "<" + " " * 60_000 + "la",
        "[Am]" * 60_000 + "la", "Embed" + " \n" * 60_000 + "la",
        "chorus" + "-" * 60_000 + " la", "chorus " * 30_000 + "la", "(fade " * 30_000 + "la",
        "C G " * 30_000 + "\nAm\nla", "1 Contributor " * 30_000 + "\nla", "See x LiveGet " * 9_000 + "la",
        "1" * 60_000 + "Embed la", "<1" * 60_000 + " --> la", "\u6f22" * 120_000 + " la",
    ],
    ids=["lines", "blanks", "blank lines", "digits", "heading", "solo", "tag", "chords", "page", "dashes",
         "chorus", "fade", "progression", "contributors", "see", "embed", "captions", "characters"],
)  # fmt: skip
def test_long_runs_take_a_moment(text: str):
    begun = time.process_time()
    lyrics = parse_lyrics(text)
    assert time.process_time() - begun < 5
    assert lyrics.tokens[-1].sung == "la"
    assert lyrics.tokens[-1].kind == "word"


def test_who_sings_and_numbers_of_lines_are_not_sung():
    assert _kinds("Anna: I love you\nBob & Eve: hey: now\n[Both] we do\n[00:12.5]Anna: ho\nI said: no") == [
        "<Anna:> I love you", "<Bob> <&> <Eve:> hey: now", "<[Both]> we do", "<Anna:> ho", "I said: no",
    ]  # fmt: skip
    assert _kinds("Go: now\nand she said: well") == ["Go: now", "and she said: well"]
    assert _kinds("1. one is\n2. two is\n3) three") == ["<1.> one is", "<2.> two is", "<3)> three"]
    assert _kinds("99. of them\nare gone") == ["99. of them", "are gone"]
    lyrics = parse_lyrics("Verse 1: one two\nthree\nChorus: four")
    assert [t.text for t in lyrics.tokens if t.kind == "word"] == ["one", "two", "three", "four"]
    assert [line.stanza for line in lyrics.lines] == [0, 0, 1]


def test_what_pages_write_around_lyrics_is_not_sung():
    page = "3 ContributorsHold On Lyrics\n[Verse]\nHold on\nYou might also like\nto me\n(Guitar solo)\nmine12\n12Embed"
    words = [token.text for token in parse_lyrics(page).tokens if token.kind == "word"]
    assert words == ["Hold", "on", "to", "me", "mine12"]
    run_together = (
        "29 ContributorsFran\u00e7aisHold On Lyrics[Verse 1: Anna]\nHold on\nto me\n"
        "See Anna LiveGet tickets as low as $100You might also like[Chorus]\nbe mineYou might also like83Embed"
    )
    assert _sung(run_together) == ["Hold", "on", "to", "me", "be", "mine"]
    assert parse_lyrics("You might also like\nall these Lyrics\nEmbed me").n_words == 9


def test_captions_are_read_with_their_times():
    first = "1\r\n00:00:01,500 --> 00:00:03,000\r\n{\\an8}Hold <i>on</i>\r\nto me\r\n\r\n"
    lyrics = parse_lyrics(first + "2\r\n01:00:04,000 --> 01:00:06,000\r\n99\r\n")
    assert [line.text for line in lyrics.lines] == ["Hold on", "to me", "99"]
    assert [line.start_s for line in lyrics.lines] == [1.5, None, 3604.0]
    vtt = (
        "WEBVTT - a song\nKind: captions\n\nNOTE not\nthis\n\nintro\n00:01.000 --> 00:03.000 align:start\n"
        "<v Anna>Hold <00:00:02.178><c>on</c></v>\n\nto stay\n\n00:04.250 --> 00:06.000\nmine\n"
    )
    lyrics = parse_lyrics(vtt)
    assert [(line.text, line.start_s) for line in lyrics.lines] == [
        ("Hold on", 1.0), ("to stay", None), ("mine", 4.25),
    ]  # fmt: skip
    # Without blank lines, or with lines before the first cue, no words are lost.
    cues = "00:00:01,000 --> 00:00:02,000\nHold on\n{}00:00:03,000 --> 00:00:04,000\nto me\n"
    for name in ("", "2\n", "\n2\n"):
        lyrics = parse_lyrics(cues.format(name))
        assert [(line.text, line.start_s) for line in lyrics.lines] == [("Hold on", 1.0), ("to me", 3.0)]
    assert parse_lyrics("Over the hills\n\n" + cues.format("")).lines[0].text == "Over the hills"


ROLLING = """\
WEBVTT
Kind: captions

00:00:00.000 --> 00:00:02.389 align:start position:0%
~
hold<00:00:00.480><c> on</c><00:00:00.960><c> to</c><00:00:01.120><c> me</c>

00:00:02.389 --> 00:00:02.399 align:start position:0%
hold on to me
~

00:00:02.399 --> 00:00:05.000 align:start position:0%
hold on to me
hold<00:00:02.800><c> on</c><00:00:03.000><c> to</c><00:00:03.200><c> me</c>

00:00:05.000 --> 00:00:05.010 align:start position:0%
hold on to me
~

00:00:05.010 --> 00:00:08.000 align:start position:0%
hold on to me
never<00:00:05.800><c> let</c><00:00:06.000><c> go</c>

00:00:08.000 --> 00:00:08.010 align:start position:0%
never let go
~

00:00:08.010 --> 00:00:09.000 align:start position:0%
never let go
[Music]
"""


def test_lines_that_rolling_captions_show_again_are_sung_once():
    assert [(line.text, line.start_s) for line in parse_lyrics(ROLLING.replace("~", " ")).lines] == [
        ("hold on to me", 0.0), ("hold on to me", 2.399), ("never let go", 5.01), ("[Music]", 8.01),
    ]  # fmt: skip
    cue = "{}\n00:00:0{},000 --> 00:00:0{},500\n{}\n\n"
    rolled = ("la la", "la la\nfor you", "for you\nand me", "and me\nla la")
    srt = "".join(cue.format(k, k, k, text) for k, text in enumerate(rolled))
    assert [line.text for line in parse_lyrics(srt).lines] == ["la la", "for you", "and me", "la la"]
    # What is sung twice stays so.
    for texts in (["la la"] * 4, ["la la\nla la"] * 3, ["la la", "la la", "for you", "for you\nand me"]):
        srt = "".join(cue.format(k, k, k, text) for k, text in enumerate(texts))
        assert [line.text for line in parse_lyrics(srt).lines] == "\n".join(texts).split("\n")


@pytest.mark.parametrize(
    "text",
    [
        "0:00:01.000,0:00:03.000\nHold on\n\n0:01:03.500,0:01:05.000\nto me\n\n1:00:00.000,1:00:01.000\nand go\n",
        "[Script Info]\nTitle: x\n[Events]\nFormat: Layer, Start, End, Style, Name, A, B, C, Effect, Text\n"
        "Dialogue: 0,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\k20}Hold {\\k30}on\n"
        "Dialogue: 0,0:01:03.50,0:01:05.00,Default,,0,0,0,,to me\nDialogue: 0,1:00:00.00,1:01:00.00,D,,0,0,0,,and go\n",
    ],
    ids=["sbv", "ass"],
)
def test_other_captions_are_read_with_their_times(text: str):
    lines = [line for line in parse_lyrics(text).lines if line.start_s is not None]
    assert [(line.text, line.start_s) for line in lines] == [("Hold on", 1.0), ("to me", 63.5), ("and go", 3600.0)]
    assert [t.text for t in parse_lyrics(text).tokens if t.kind == "word"] == ["Hold", "on", "to", "me", "and", "go"]


def test_times_of_paragraphs_of_timed_text_are_read():
    text = (
        '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml"><head><title>x</title></head><body><div>'
        '<p begin="00:01:02.500" end="00:01:03.000"><span begin="00:00:00.000">Hold</span> <span>on</span></p>'
        '<p xml:id="b" begin="75.25s">to<br/>me</p></div></body></tt>'
    )
    lines = [(line.text, line.start_s) for line in parse_lyrics(text).lines]
    assert lines == [("Hold on", 62.5), ("to", 75.25), ("me", None)]
    apple = '<tt xmlns="http://www.w3.org/ns/ttml"><p begin="1:02.5000000">Hold on</p><p begin="{}">go</p></tt>'
    assert [line.start_s for line in parse_lyrics(apple.format("01:03.5")).lines] == [62.5, 63.5]
    # A time that ``.lrc`` has no place for is no word.
    late = parse_lyrics(apple.format("20:00:00"))
    assert [(line.text, line.start_s) for line in late.lines] == [("Hold on", 62.5), ("go", None)]


def test_transcripts_are_read_with_their_times():
    for text in ("0:05\nhold on\n0:09\nto me\n1:02:03\nand go", "0:05 hold on\n0:09 - to me\n(1:02:03) and go"):
        assert [(line.text, line.start_s) for line in parse_lyrics(text).lines] == [
            ("hold on", 5.0), ("to me", 9.0), ("and go", 3723.0),
        ]  # fmt: skip
    # Two times of day, or such as go back, are sung.
    assert parse_lyrics("3:45\nin the morning\n4:45\nat night").n_words == 7
    assert parse_lyrics("9:15\nI wake\n3:45\nI wait\n2:10\nI go").n_words == 9
    # So are full hours, and what no clock shows.
    assert parse_lyrics("7:00 I wake\n8:00 I wait\n9:00 I go").n_words == 9
    assert parse_lyrics("1:60 I wake\n2:75 I wait\n3:99 I go").n_words == 9


def test_files_of_karaoke_games_give_their_words():
    song = (
        "#TITLE:River\n#BPM:300\n#GAP:1000\n: 0 4 7 Hel\n: 4 4 7 lo\n* 8 4 7  you\n- 20\nF 40 4 2 Go\n: 44 4 2 ~\nE\n"
    )
    assert [(line.text, line.start_s) for line in parse_lyrics(song).lines] == [("Hello you", 1.0), ("Go", 3.0)]
    broken = "#BPM:0\n: 0 4 7 Hel\n"
    assert parse_lyrics(broken).tokens[0].text == "#BPM:0"
    kar = "@KMIDI KARAOKE FILE\n@TRiver\n\\Hold on/to me\\go"
    assert [(line.text, line.stanza) for line in parse_lyrics(kar).lines] == [("Hold on", 0), ("to me", 0), ("go", 1)]


def test_words_of_openlyrics_are_sung():
    song = (
        '<?xml version="1.0"?>\n<song><properties><titles><title>River</title></titles><authors><author>Anna</author>'
        '</authors></properties><lyrics><verse name="v1"><lines>Hold on<br/>to <chord name="D"/>me</lines></verse>'
        "<verse><lines>and go</lines></verse></lyrics></song>"
    )
    assert [(line.text, line.stanza) for line in parse_lyrics(song).lines] == [
        ("Hold on", 0),
        ("to me", 0),
        ("and go", 1),
    ]


def test_readings_in_brackets_are_sung_in_the_place_of_the_characters():
    kanji, reading = "\u6f22\u5b57", "\u304b\u3093\u3058"
    for text in (
        f"{kanji}({reading})\u3092",
        f"{kanji}\u300a{reading}\u300b\u3092",
        f"<ruby>{kanji}<rt>{reading}</rt></ruby>\u3092",
    ):
        assert [t.sung for t in parse_lyrics(text).tokens] == [f"{reading}\u3092"]
    assert [t.sung for t in parse_lyrics(f"{reading}(\u3048\u3048\u3048)").tokens] == [f"{reading}(\u3048\u3048\u3048)"]


def test_letters_before_words_may_be_names():
    assert [" ".join(way) for way in pronunciations("D-Day")] == ["D AH D EY", "D IY D EY"]
    assert [" ".join(way) for way in pronunciations("d-d-day")] == ["D AH D AH D EY"]


def test_numbers_that_are_no_digits_are_left_aside():
    assert pronunciations("\u1371") == []
    assert pronunciations("\u0663") == [("TH", "R", "IY")]


def test_long_numbers_are_said_digit_by_digit_and_ordinals_never():
    # Parts of a long token are joined once, not copied for each part.
    whole = pronunciations("a." * 20_000)
    assert whole[:2] == [("AH",) * 20_000, ("AH",) * 19_999 + ("EY",)]
    assert pronunciations("1" * 5000) == [("W", "AH", "N") * 5000]
    assert [" ".join(way) for way in pronunciations("20th")] == ["T W EH N T IY AH TH"]


def test_rich_text_is_read_without_its_formats():
    assert decode_lyrics(b"\xef\xbb\xbf{\\rtf1\\ansi a\\par b}") == "a\nb"
    assert decode_lyrics(b"\r\n {\\rtf1 a}") == "a"
    mac = (
        b"{\\rtf1\\ansi\\ansicpg1252\\cocoartf2639\n{\\fonttbl\\f0 Arial;}\n{\\colortbl;\\red255\\green255;}\n"
        b"\\f0\\fs24 \\cf0 Don\\'92t \\b go\\b0 \\\n\\\nto {\\i me} \\{now\\}}"
    )
    assert decode_lyrics(mac) == "Don\u2019t go\n\nto me {now}"
    windows = (
        b"{\\rtf1\\ansi\\ansicpg1251\\uc1{\\*\\generator X;}{\\info{\\title No}}\\headery720{\\headerl no}\r\n"
        b"\\plain \\'df \\u1090?\\u1091\\'f3\\par\r\n"
        b"\\lquote a\\rquote\\line {\\uc2\\u-10179??\\u-8704??}b\\par }\r\n"
    )
    assert decode_lyrics(windows) == "\u042f \u0442\u0443\n\u2018a\u2019\n\U0001f600b\n"
    assert decode_lyrics(b"{\\rtf1 a\\") == "a"


@pytest.mark.parametrize("begin", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF-1.7\n"])
def test_documents_are_refused_with_advice(begin: bytes):
    with pytest.raises(LyricsError, match="is a document or PDF and no text: save it as plain text"):
        decode_lyrics(begin + b"la la la " * 99)


def test_rich_text_has_the_encodings_of_its_fonts():
    fonts = b"{\\fonttbl{\\f0\\fcharset0 Calibri;}{\\f1\\fnil\\fcharset204 Calibri;}}"
    text = b"{\\rtf1\\ansi\\ansicpg1252" + fonts + b"{\\f1\\lang1049\\'ef\\'f0\\'e8} R\\'edo \\f1\\'e8\\f0\\'e8}"
    assert decode_lyrics(text) == "\u043f\u0440\u0438 R\u00edo \u0438\u00e8"
    # Lines of a file may end within a character.
    assert decode_lyrics(b"{\\rtf1\\ansi\\ansicpg932 \\'82\\'a0\\'82\r\n\\'a2}") == "\u3042\u3044"


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "iso8859-7"])
def test_other_encodings_are_refused_rather_than_guessed(encoding: str):
    text = (
        "\u0391\u03b3\u03b1\u03c0\u03ce"
        if encoding == "iso8859-7"
        else "\u042f \u043b\u044e\u0431\u043b\u044e \u0442\u0435\u0431\u044f"
    )
    with pytest.raises(LyricsError, match="save it as UTF-8"):
        decode_lyrics(text.encode(encoding))


def test_times_of_lrc_files_are_read_and_taken_off():
    lyrics = parse_lyrics("[ti:Song]\n[00:12.30]Over <00:12.80>the\n[01:02]hills\n")
    assert [line.text for line in lyrics.lines] == ["Over the", "hills"]
    assert [line.start_s for line in lyrics.lines] == [12.3, 62.0]


def test_backwards_is_its_own_inverse_and_keeps_lines_whole():
    lyrics = parse_lyrics("one two\nthree\n\nfour five six")
    opposite = backwards(lyrics)
    assert [t.text for t in opposite.tokens] == ["six", "five", "four", "three", "two", "one"]
    assert [t.text for t in backwards(opposite).tokens] == [t.text for t in lyrics.tokens]
    assert [line.times for line in opposite.lines] == [1, 1, 1]


def test_shuffled_moves_words_alone_and_always_alike():
    lyrics = parse_lyrics("[Verse]\none two three\nfour five — six x2\n\nseven eight")
    other = shuffled(lyrics)
    words, moved = ([t.text for t in some.tokens if t.kind == "word"] for some in (lyrics, other))
    assert sorted(moved) == sorted(words)
    assert sum(a != b for a, b in zip(words, moved)) >= 4
    assert other.lines == lyrics.lines
    assert [(t.kind, t.line) for t in other.tokens] == [(t.kind, t.line) for t in lyrics.tokens]
    assert all(a == b for a, b in zip(lyrics.tokens, other.tokens) if a.kind != "word")
    assert shuffled(lyrics) == other
    assert shuffled(parse_lyrics("")) == parse_lyrics("")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_files_are_decoded(encoding: str):
    assert decode_lyrics("Café déjà vu".encode(encoding)) == "Café déjà vu"


@pytest.mark.parametrize("text", ["Ой цветёт калина в поле у ручья", "月亮代表我的心 你问我"])
def test_utf_16_without_a_mark_is_known_by_its_zeros(text: str):
    assert decode_lyrics(text.encode("utf-16-le")) == decode_lyrics(text.encode("utf-16-be")) == text


@pytest.mark.parametrize(
    "data",
    [
        bytes(1000),
        bytes(range(256)) * 20,
        b"\x89PNG\r\n\x1a\n" + bytes(range(1, 128)) * 9,
        "桜桜野山も".encode("shift-jis"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes):
    with pytest.raises(LyricsError, match="no text"):
        decode_lyrics(data)


def test_what_pages_do_not_show_is_not_sung():
    page = "<html><head><title>Río</title><style>p { color: red }</style></head><body><!-- a\nb --><p>Hold on</p>"
    page += "<SCRIPT>love('me')\n</SCRIPT><p>to <b>me</b></p><script>was cut"
    assert [line.text for line in parse_lyrics(page).lines] == ["Hold on", "to me"]
    page = "<html><head><meta charset=utf-8><body class=a><p>Hold on</p>to me"  # as HTML allows it
    assert [line.text for line in parse_lyrics(page).lines] == ["Hold on", "to me"]
    assert [line.text for line in parse_lyrics("I <3 you <-- here\n<style").lines] == ["I <3 you <-- here", "<style"]


@pytest.mark.parametrize(
    ("token", "phones"),
    [
        ("Hello,", "HH AH L OW"),
        ("(lovin'", "L AH V IH N"),
        ("don’t", "D OW N T"),
        ("5", "F AY V"),
        ("21st", "T W EH N T IY F ER S T"),
        ("1999", "N AY N T IY N N AY N T IY N AY N"),
        ("&", "AE N D"),
        ("sooooo", "S OW"),
        ("rock'n'roll", "R AA K AH N R OW L"),
        ("$100", "W AH N HH AH N D R AH D D AA L ER Z"),
        ("$1.50", "W AH N D AA L ER F IH F T IY"),
        ("3:45", "TH R IY F AO R T IY F AY V"),
        ("9:05", "N AY N OW F AY V"),
        ("3.14", "TH R IY P OY N T W AH N F AO R"),
        ("867-5309", "EY T S IH K S S EH V AH N F AY V TH R IY OW N AY N"),
        ("9-1-1", "N AY N W AH N W AH N"),
        ("24/7", "T W EH N T IY F AO R S EH V AH N"),
        ("\u00bd", "HH AE F"),
        ("90's", "N AY N T IY Z"),
        ("#1", "N AH M B ER W AH N"),
        ("VIII", "EY T"),
        ("XIV", "DH AH F AO R T IY N TH"),
        ("w/", "W IH DH"),
        ("b-b-baby", "B AH B AH B EY B IY"),
        ("Ch-ch-changes", "CH AH CH AH CH EY N JH IH Z"),
        ("f***", "F AH K"),
        ("f---", "F AH K"),
        ("he--", "HH IY"),
        ("as\u2014", "AE Z"),
        ("(b*tch,", "B IH CH"),
        ("NYC", "EH N W AY S IY"),
        ("SHH", "SH"),
        ("Mmm", "M"),
        ("U.S.A.", "Y UW EH S EY"),
        ("yeeeah", "Y AE"),
        ("rock-a-bye", "R AA K AH B AY"),
        ("Café", "K AH F EY"),
        ("—", ""),
    ],
)
def test_words_are_said_as_the_dictionary_says(token: str, phones: str):
    found = [" ".join(way) for way in pronunciations(token)]
    assert found == [] if not phones else phones in found


def test_words_of_other_scripts_are_said_somehow():
    known = {phone for ways in read_dictionary().values() for way in ways for phone in way}
    for token in ("привет", "君の名は", "γειά", "zażółć"):
        (way, *_) = pronunciations(token)
        assert len(way) >= 3
        assert set(way) <= known


def test_letter_to_sound_learns_rules_and_exceptions():
    words = {"cat": "K AE T", "city": "S IH T IY", "cot": "K AA T", "cite": "S AY T", "mat": "M AE T", "mite": "M AY T"}
    pairs = [(word, tuple(said.split())) for word, said in words.items() for _ in range(3)]
    model = LetterToSound(train(pairs))
    assert {word: " ".join(model(word)) for word in words} == words
    assert model("mot") == ("M", "AA", "T")
    assert score(model, [("mot", ("M", "AA", "T")), ("cat", ("K", "AE"))]) == {
        "words_right": 0.5, "phone_error_rate": 1 / 5,
    }  # fmt: skip


def test_letters_and_phones_are_aligned_at_the_least_cost():
    costs = {
        ("s", ("S",)): 0.1,
        ("h", ()): 3.0,
        ("s", ()): 3.0,
        ("h", ("SH",)): 0.5,
        ("s", ("SH",)): 0.2,
        ("e", ("IY",)): 0.1,
    }
    assert align("she", ("SH", "IY"), costs) == [("SH",), (), ("IY",)]


def test_shipped_tables_say_unseen_words_as_well_as_was_measured():
    pairs = [pair for pair in training_pairs(read_dictionary()) if is_held_out(pair[0])]
    found = score(LetterToSound.shipped(), pairs)
    assert found["phone_error_rate"] == pytest.approx(0.098, abs=0.005)
    assert found["words_right"] > 0.55


def test_times_of_lrc_may_come_twice_and_be_moved():
    text = parse_lyrics(
        "[ti:x]\n[offset:+500]\n[00:10.00] [01:10.5]Hold on\n[00:12.00]<00:12.00>me <00:13.00>too\nlast <00:20.00>one"
    )
    assert [(line.text, line.start_s, line.again_s) for line in text.lines] == [
        ("Hold on", 9.5, (70.0,)),
        ("me too", 11.5, ()),
        ("last one", None, ()),
    ]
