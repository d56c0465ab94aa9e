"""``stemfeatures align``: the words of lyrics in time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._exit import DONE, SOME_FAILED, UsageError
from ._inputs import add_overwrite, require_folder, require_free, spare_inputs
from ._options import add_device, add_model, add_verb, choose_device
from ._text import echo, visible, visible_json

if TYPE_CHECKING:
    from stemfeatures.lyrics import Alignment

FORMATS = (".json", ".lrc", ".srt", ".vtt", ".ttml", ".TextGrid", ".jams")


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "align",
        run,
        "find when the words of lyrics are sung",
        description="The format is what the name of the output asks for; without one, JSON goes to standard output. "
        "Lyrics may have headings, (echoes), x2, numbers and marks of HTML; a chorus may be written once. English "
        "words are looked up in a dictionary or said by their letters, letters of other scripts are transliterated "
        "first. Lyrics that do not fit the song are refused: the status is no_fit, no word has times and the exit code "
        "is 3. Needs the lyrics extra. docs/singalong.md tells how good it is.",
        examples=(
            "stemfeatures align song.mp3 song.txt -o song.lrc",
            "stemfeatures align song.mp3 song.txt -o words.json -o song.TextGrid",
            "stemfeatures align vocals.wav song.txt --separated > words.json",
            "stemfeatures align lied.mp3 lied.txt --language de -o lied.lrc",
            "stemfeatures align lied.mp3 lied.txt --acoustics transformers:models/mms-deu -o lied.lrc",
        ),
    )
    parser.add_argument("audio", type=Path, metavar="AUDIO", help="the song")
    parser.add_argument("lyrics", type=Path, metavar="LYRICS", help="its words: text, .lrc, captions or RTF")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"file to write: {', '.join(FORMATS)}. May be given several times (default: JSON to standard output)",
    )
    add_overwrite(parser)
    parser.add_argument("--separated", action="store_true", help="AUDIO is vocals alone: do not separate them")
    parser.add_argument(
        "--language",
        metavar="CODE",
        help="language of the lyrics, such as de or fr: espeak-ng, if it is installed, says how its words sound "
        "(default: English, from the dictionary)",
    )
    parser.add_argument(
        "--acoustics",
        metavar="NAME",
        help="network for letters to align with instead of English phones, of any language: transformers:NAME or "
        "torchaudio:BUNDLE (extra ctc); its weights are loaded by that package",
    )
    add_model(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from stemfeatures._util.files import write_replace
    from stemfeatures.lyrics.formats import LyricsFormatError, to_json, writer_of

    text = read_lyrics(args.lyrics)
    if Path("-") in args.output:
        raise UsageError("--output: - is no file: without --output, JSON goes to standard output")
    try:
        writers = {path: writer_of(path) for path in args.output}
    except LyricsFormatError as error:
        raise UsageError(str(error)) from error
    for path in args.output:
        require_folder(path, "--output")
    require_free(args.output, overwrite=args.overwrite)
    spare_inputs([args.audio, args.lyrics], args.output)
    device = choose_device(args.device)

    from stemfeatures.lyrics import Aligner

    try:
        aligner = Aligner(args.model, device=device, language=args.language, acoustics=args.acoustics)
    except ImportError as error:
        raise UsageError(str(error)) from error
    alignment = aligner.from_file(args.audio, text, separated=args.separated)
    for path, writer in writers.items():
        write_replace(path, writer(alignment).encode())
    if not args.output:
        echo(visible_json(to_json(alignment)), end="")
    if not args.quiet:
        if alignment.message:
            echo(visible(f"{args.audio}: {alignment.message}"), stream=sys.stderr)
        echo(summary(visible(str(args.audio)), alignment), stream=sys.stderr)
    return DONE if alignment.status == "ok" else SOME_FAILED


def summary(name: str, alignment: Alignment) -> str:
    """One line: how many words have times, or why none has."""
    words = [word for word in alignment.words if word.start_s is not None]
    score = "" if alignment.score is None else f", score {alignment.score:.2f}"
    if alignment.status != "ok":
        why = {
            "no_fit": "these are not the words of this song",
            "no_vocals": "nobody sings in it",
            "no_words": "there are no words in the lyrics",
        }[alignment.status]
        return f"{name}: {alignment.status}: {why}{score}"
    again = f", {len(alignment.repeats)} again" if alignment.repeats else ""
    return f"{name}: {len(words)} of {len(alignment.words)} tokens in time{again}{score}"


def read_lyrics(path: Path) -> str:
    """The text of a file of lyrics; UsageError where it is none."""
    from stemfeatures.lyrics.sources import read_lyrics as read
    from stemfeatures.lyrics.text import LyricsError

    try:
        return read(path)
    except LyricsError as error:
        raise UsageError(str(error)) from error
