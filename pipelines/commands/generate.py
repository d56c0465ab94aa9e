"""``stemfeatures generate``: songs with exact truth."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ._exit import DONE, UsageError
from ._options import Parser, add_verb, chance, positive, whole
from ._progress import ProgressLine, watched
from ._text import count, duration, echo, visible

_HELD_OUT = "held_out.txt"


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "generate",
        run,
        "generate multitrack songs with exact truth",
        description="Writes OUT_DIR/<seed>/{mixture,vocals,drums,bass,other}.flac and truth.json (F0, notes, beats, "
        "chords, lyrics ...) a song. The stems sum to the mixture exactly. Equal seeds and banks give equal bytes, "
        "whatever --jobs. Songs that are there already are not made again. Needs the train extra, --plot the report "
        "extra.",
        examples=(
            "stemfeatures generate --out songs --songs 10 --seed 1 --plot",
            "stemfeatures generate --out songs --songs 600 --seed 1 --jobs 16 --bank notes --recordings phrases",
        ),
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--songs", type=whole(1), required=True, metavar="N", help="how many")
    parser.add_argument(
        "--seed", type=whole(0), required=True, metavar="S", help="seed of the first; the next is S + 1"
    )
    parser.add_argument("-j", "--jobs", type=whole(1), default=1, metavar="J", help="processes (default: %(default)s)")
    parser.add_argument("--duration", type=positive, metavar="SECONDS", help="of a song (default: 60 to 150 at random)")
    parser.add_argument("--style", metavar="NAME", help="pop, rock, swing ... (default: any)")
    parser.add_argument(
        "--lineup", metavar="NAME", help="full, instrumental, without_drums ... (default: any, mostly full)"
    )
    _add_sounds(parser)
    parser.add_argument(
        "--codec-chance",
        type=chance,
        default=0.0,
        metavar="P",
        help="how often a song also gets mixture_coded.flac, the mixture after MP3, Vorbis or AAC and back "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--subtype", choices=("PCM_16", "PCM_24"), default="PCM_16", help="of the FLAC files (default: %(default)s)"
    )
    parser.add_argument(
        "--plot", action="store_true", help="also write truth.png, a picture of each song and its truth"
    )


def _add_sounds(parser: Parser) -> None:
    """What songs are played and sung with."""
    parser.add_argument(
        "--bank",
        type=Path,
        metavar="DIR",
        help="bank of recorded notes; where there is none it is made of the SoundFonts of this machine, or of "
        "--soundfont and --notes, about 2 GB for two SoundFonts (default: synthesised instruments only)",
    )
    parser.add_argument(
        "--soundfont", type=Path, action="append", default=[], metavar="FILE", help="SoundFont for a new --bank"
    )
    parser.add_argument(
        "--notes",
        type=Path,
        metavar="DIR",
        help="folder {bass,drums,guitar,keys,other}/<instrument>/* of one-shots for a new --bank",
    )
    parser.add_argument("--voices", type=Path, metavar="DIR", help="voice bank (default: the one of the package)")
    parser.add_argument(
        "--recordings",
        type=Path,
        metavar="DIR",
        help="folder of recordings of single voices, cut into phrases once, or a --recordings-bank; they sing in "
        "about half the songs (default: generated voices only)",
    )
    parser.add_argument(
        "--recordings-bank",
        type=Path,
        metavar="DIR",
        help="where the phrases of --recordings go, or are already",
    )
    parser.add_argument(
        "--grooves",
        type=Path,
        metavar="DIR",
        help="folder of drum performances in MIDI, laid out as the Groove MIDI Dataset is, for most songs with drums "
        "(default: written drum patterns only)",
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        metavar="FILE",
        help="glob patterns of files in --recordings and --voices that are never used, one a line (default: "
        f"catalog_samples/{_HELD_OUT} of the checkout, where there is one)",
    )


def run(args: argparse.Namespace) -> int:
    from stemfeatures._util.pools import starmap
    from stemfeatures.generator.compose.form import LINEUPS
    from stemfeatures.generator.compose.styles import STYLES
    from stemfeatures.generator.song import SHORTEST_SONG_S, describe_request

    if args.style is not None and args.style not in STYLES:
        raise UsageError(f"unknown style {args.style!r}; there are: {', '.join(STYLES)}")
    if args.lineup is not None and args.lineup not in LINEUPS:
        raise UsageError(f"unknown line-up {args.lineup!r}; there are: {', '.join(LINEUPS)}")
    if args.duration is not None and not SHORTEST_SONG_S <= args.duration <= 3600:
        raise UsageError(f"a song lasts {SHORTEST_SONG_S:.0f} to 3600 s, not {args.duration:g}")
    if (args.soundfont or args.notes) and args.bank is None:
        raise UsageError("--soundfont and --notes make a bank; say where with --bank")
    if args.recordings is None and args.recordings_bank is not None:
        raise UsageError("--recordings-bank is for --recordings")
    _check_extras(plot=args.plot, grooves=args.grooves is not None)
    if args.bank is not None:
        _prepare_bank(args)
    held_out = _held_out(args)
    recordings = _prepare_recordings(args, held_out) if args.recordings is not None else None
    options = {
        "duration_s": args.duration,
        "style": args.style,
        "lineup": args.lineup,
        "codec_chance": args.codec_chance,
        "bank": args.bank,
        "voices": args.voices,
        "recordings": recordings,
        "grooves": args.grooves,
        "held_out": held_out,
        "subtype": args.subtype,
        "plot": args.plot,
    }
    banks = _load_banks(args.bank, args.voices, recordings, args.grooves, held_out)  # complain here, not in a worker
    request = describe_request(args.duration, args.style, *banks[:3], args.codec_chance, banks[3], args.lineup)
    args.out.mkdir(parents=True, exist_ok=True)
    folders = {seed: args.out / f"{seed:08d}" for seed in range(args.seed, args.seed + args.songs)}
    todo = {
        seed: folder
        for seed, folder in folders.items()
        if not _is_made(folder, request, subtype=args.subtype, plot=args.plot)
    }
    progress = ProgressLine(args.songs, label="generate", unit="song", done=args.songs - len(todo), quiet=args.quiet)
    made = starmap(
        partial(make_song, **options), todo.items(), jobs=args.jobs, stage="generate", name=lambda _, folder: folder
    )
    seconds = sum(watched(made, progress))
    if not args.quiet:
        for folder in folders.values():
            echo(visible(str(folder)))
        echo(f"{count(len(todo), 'song')} made, {duration(seconds)} of music", stream=sys.stderr)
    return DONE


def _is_made(folder: Path, request: dict[str, Any], *, subtype: str, plot: bool) -> bool:
    """Whether the song is there, with its picture if wanted. UsageError when it was made with other banks or wishes."""
    import soundfile

    from stemfeatures.generator.song import TRUTH_FILE, VERSION

    path = folder / TRUTH_FILE
    if not path.is_file():
        return False
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        same = truth["version"] == VERSION and truth["choices"]["request"] == request
        same = same and soundfile.info(folder / "mixture.flac").subtype == subtype
    except (ValueError, KeyError, TypeError, soundfile.LibsndfileError):
        same = False
    if not same:
        raise UsageError(f"{path} was made with other options, banks or another version; choose another --out")
    return not plot or (folder / "truth.png").is_file()


#: The banks of this process, read once.
_banks: dict[tuple[Any, ...], tuple[Any, Any, Any, Any]] = {}


def _load_banks(
    bank: Path | None,
    voices: Path | None,
    recordings: Path | None,
    grooves: Path | None,
    held_out: tuple[str, ...],
) -> tuple[Any, Any, Any, Any]:
    """The notes, the voices, the recordings and the grooves."""
    from stemfeatures.generator.compose.grooves import GrooveBank
    from stemfeatures.generator.play.note_bank import NoteBank
    from stemfeatures.generator.sing.recording_bank import RecordingBank
    from stemfeatures.generator.sing.voice import VoiceBank

    key = (bank, voices, recordings, grooves, held_out)
    if key not in _banks:
        _banks[key] = (
            NoteBank(bank) if bank is not None else None,
            VoiceBank.load(voices, held_out=held_out) if voices is not None else VoiceBank.default(),
            RecordingBank(recordings) if recordings is not None else None,
            GrooveBank(grooves) if grooves is not None else None,
        )
    return _banks[key]


def make_song(
    seed: int,
    folder: Path,
    *,
    duration_s: float | None,
    style: str | None,
    lineup: str | None,
    codec_chance: float,
    bank: Path | None,
    voices: Path | None,
    recordings: Path | None,
    grooves: Path | None,
    held_out: tuple[str, ...],
    subtype: str,
    plot: bool,
) -> float:
    """Generate and write one song; its seconds. Half-written folders lack truth.json and are made again."""
    from stemfeatures.generator.song import generate_song, write_song

    notes, singers, sung, played = _load_banks(bank, voices, recordings, grooves, held_out)
    song = generate_song(
        seed,
        duration_s=duration_s,
        style=style,
        lineup=lineup,
        notes=notes,
        voices=singers,
        recordings=sung,
        grooves=played,
        codec_chance=codec_chance,
    )
    if plot:
        from stemfeatures.generator.plot import plot_song

        folder.mkdir(parents=True, exist_ok=True)
        plot_song(song, folder / "truth.png")
    write_song(song, folder, subtype=subtype)
    return song.duration_s


def _check_extras(*, plot: bool, grooves: bool) -> None:
    from importlib.util import find_spec

    if find_spec("pyworld") is None:
        raise UsageError("singing needs pyworld: pip install 'stemfeatures[train]'")
    if grooves and find_spec("mido") is None:
        raise UsageError("--grooves needs mido: pip install 'stemfeatures[train]'")
    if plot and find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'stemfeatures[report]'")


def _prepare_bank(args: argparse.Namespace) -> None:
    """Make the bank of notes where there is none yet."""
    from stemfeatures.generator.play.note_bank import build_note_bank, find_soundfonts

    if (args.bank / "bank.json").is_file():
        if args.soundfont or args.notes:
            raise UsageError(f"{args.bank} is a bank already; --soundfont and --notes are for a new one")
        return
    soundfonts = args.soundfont or find_soundfonts()
    if not soundfonts and args.notes is None:
        raise UsageError("no SoundFont found to make the bank of; install one, or name --soundfont or --notes")

    def show(items: Iterable[Any], total: int) -> Iterable[Any]:
        return watched(items, ProgressLine(total, label="bank", unit="instrument", quiet=args.quiet))

    build_note_bank(args.bank, soundfonts=soundfonts, notes_dir=args.notes, jobs=args.jobs, progress=show)


def _held_out(args: argparse.Namespace) -> tuple[str, ...]:
    """Patterns of files that are never used."""
    import stemfeatures
    from stemfeatures.training.data.held_out import read_patterns

    path = args.held_out
    if path is None:
        shipped = Path(stemfeatures.__file__).parents[1] / "catalog_samples" / _HELD_OUT
        path = shipped if shipped.is_file() else None
    elif not path.is_file():
        raise UsageError(f"no such file: {path}")
    return tuple(read_patterns(path))


def _prepare_recordings(args: argparse.Namespace, held_out: tuple[str, ...]) -> Path:
    """The bank of recordings, cut now where there is none yet."""
    from stemfeatures.generator.sing.recording_bank import INDEX, RecordingBank, build_recording_bank

    if not args.recordings.is_dir():
        raise UsageError(f"no such folder: {args.recordings}")
    is_bank = (args.recordings / INDEX).is_file()
    if not is_bank and args.recordings_bank is None:
        raise UsageError(f"{args.recordings} is to be cut into phrases; say where they go with --recordings-bank")
    bank = args.recordings if is_bank else args.recordings_bank
    if (bank / INDEX).is_file():
        made = RecordingBank(bank)
        if missing := sorted(set(held_out) - set(made.held_out)):
            raise UsageError(
                f"the bank {bank} was made without holding out {missing[0]}; remove it, or choose another "
                "--recordings-bank"
            )
        if not is_bank:
            made.check_source(args.recordings)
        return Path(bank)

    def show(items: Iterable[Any], total: int) -> Iterable[Any]:
        return watched(items, ProgressLine(total, label="recordings", unit="file", quiet=args.quiet))

    return build_recording_bank(args.recordings, bank, held_out=held_out, jobs=args.jobs, progress=show)
