"""Lyrics in time: alignment of words and phones with recordings.

::

    from stemfeatures.lyrics import Aligner, write_alignment

    aligner = Aligner()
    alignment = aligner.from_file("song.mp3", "Lyrics as people have them ...")
    alignment.words[0].start_s
    write_alignment(alignment, "song.lrc")
"""

from .alignment import AlignedLine, AlignedPhone, AlignedWord, Aligner, Alignment, align
from .formats import LyricsFormatError, write_alignment
from .graph import GraphCosts
from .text import LyricsText, parse_lyrics
from .vocals import Vocals, VocalSeparator

__all__ = [
    "AlignedLine",
    "AlignedPhone",
    "AlignedWord",
    "Aligner",
    "Alignment",
    "GraphCosts",
    "LyricsFormatError",
    "LyricsText",
    "VocalSeparator",
    "Vocals",
    "align",
    "parse_lyrics",
    "write_alignment",
]
