"""The tables of lyrics in time; :mod:`stemfeatures.lyrics.description` makes their rows, for frames know no words."""

from __future__ import annotations

from functools import partial

from ..fields import Field
from .event_tables import END, START, EventTable, register_events

#: Where lyrics were found: in the catalogue, beside the audio, or in its tags.
SOURCES = ("catalog", "lrc", "txt", "tags")
#: ``no_fit``: these are not the words of the song; ``no_vocals``: nobody sings; ``no_words``: nothing but headings.
STATUSES = ("ok", "no_fit", "no_vocals", "no_words", "no_lyrics")

_field = partial(Field, since="1.1", family="lyrics")
_PLACE = _field(
    "word", "int32", "Counts the words that are sung, in the order of time, from 0.", range=">= 0", nullable=False
)
_LINE = _field(
    "line", "int32", "Counts the lines that are sung, in the order of time, from 0.", range=">= 0", nullable=False
)
_NOTES_PER_WORD = _field(
    "notes_per_word", "float32", "Mean number of steady notes of the words that hold any: melisma.", range=">= 1"
)
_ON_BEAT = _field(
    "on_beat_ratio",
    "float32",
    "Share of the words whose first vowel begins within an eighth of a beat from a beat; null without beats.",
    range="0..1",
)
_WORDS_PER_S = _field("words_per_s", "float32", "Words a second of the lines.", "1/s", ">= 0")

WORD_FIELDS = (
    _PLACE,
    _LINE,
    _field(
        "token",
        "int32",
        "Index of the word among the blank-separated tokens of the lyrics; again where it is sung again.",
        range=">= 0",
    ),
    START,
    END,
    _field("confidence", "float32", "How likely it begins within 0.3 s of start_s.", range="0..1"),
    _field("vowel_s", "float64", "Where its first vowel begins.", "s", ">= 0"),
    _field(
        "n_notes",
        "int16",
        "Steady notes of the vocals' F0 that share half of it, or of themselves, with it.",
        range=">= 0",
    ),
    _field(
        "beat_offset",
        "float32",
        "From the nearest beat to its first vowel, in beats; null without beats.",
        range="-0.5..0.5",
    ),
)
LINE_FIELDS = (
    _LINE,
    _field(
        "text_line", "int32", "Index of the line among those of the lyrics; again where it is sung again.", range=">= 0"
    ),
    START,
    END,
    _field("n_words", "int16", "Words of it that are sung.", range=">= 0"),
    _WORDS_PER_S,
    _NOTES_PER_WORD,
    _field("f0_low_hz", "float32", "5th percentile of the vocals' F0 in it.", "Hz", "32..2100"),
    _field("f0_high_hz", "float32", "95th percentile of the vocals' F0 in it.", "Hz", "32..2100"),
    _field("f0_range_semitones", "float32", "From f0_low_hz to f0_high_hz.", "semitones", ">= 0"),
    _ON_BEAT,
)
SONG_FIELDS = (
    _field(
        "lyrics_status",
        "category",
        "Whether the lyrics could be put in time, or why not.",
        range=" | ".join(STATUSES),
        nullable=False,
    ),
    _field("source", "category", "Where the lyrics were found.", range=" | ".join(SOURCES)),
    _field("score", "float32", "How well the words fit; below 0.5 they do not.", range="0..1"),
    _field("n_words", "int32", "Words that are sung, each time they are.", range=">= 0"),
    _WORDS_PER_S,
    _field("sung_ratio", "float32", "Share of the track's duration in which a word is sung.", range="0..1"),
    _NOTES_PER_WORD,
    _ON_BEAT,
    _field("line_range_semitones", "float32", "Median f0_range_semitones of the lines.", "semitones", ">= 0"),
)
TEXT_FIELDS = (_PLACE, _field("text", "string", "The word as it stands in the lyrics.", nullable=False))

#: All of them are written on request only; the text, which may be somebody's copyright, on a request of its own.
LYRIC_TABLES = ("lyrics", "lyric_lines", "lyric_songs")
TEXT_TABLE = "lyric_text"

for _table in (
    EventTable(
        "lyrics",
        80,
        "One row per word that is sung, of lyrics that were found.",
        WORD_FIELDS,
        ("word",),
        on_request=True,
    ),
    EventTable("lyric_lines", 81, "One row per line of lyrics that is sung.", LINE_FIELDS, ("line",), on_request=True),
    EventTable(
        "lyric_songs",
        82,
        "One row per track whose lyrics were looked for.",
        SONG_FIELDS,
        ("lyrics_status",),
        on_request=True,
    ),
    EventTable("lyric_text", 83, "The text of each row of lyrics.", TEXT_FIELDS, ("word",), on_request=True),
):
    register_events(_table)
