"""``stemfeatures describe``: what the descriptors say of a few files, on the screen or as JSON."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain
from stemfeatures._util.urls import Place

from ._exit import DONE, SOME_FAILED, UsageError, failure
from ._inputs import INPUT_HELP, add_overwrite, at_hand, plan_outputs, read_inputs, require_free, spare_inputs
from ._options import (
    add_cache_size,
    add_device,
    add_limits,
    add_model,
    add_precision,
    add_stems,
    add_verb,
    choose_device,
    limits_of,
)
from ._progress import ProgressLine
from ._text import NOTHING, by_options, echo, json_text, number, table, visible, wrapped

if TYPE_CHECKING:
    from stemfeatures.analysis import TrackAnalysis

#: What the screen shows of each stem: label with unit, format, then the fields, of which two make a range.
_ROWS = (
    ("active, % of time", "%", "activity_ratio"),
    ("energy share, %", "%", "energy_share"),
    ("loudness, LUFS", ".1f", "loudness_integrated_lufs"),
    ("to the mixture, LU", "+.1f", "loudness_relative_lu"),
    ("loudness range, LU", ".1f", "loudness_range_lu"),
    ("true peak, dBTP", ".1f", "true_peak_dbtp"),
    ("tempo, bpm", ".1f", "tempo_bpm"),
    ("second tempo, bpm", ".1f", "tempo_2_bpm"),
    ("tempo stability, %", "%", "tempo_stability"),
    ("beats", "d", "beat_count"),
    ("beats a bar", "d", "meter_numerator"),
    ("onsets, 1/s", ".2f", "onset_rate"),
    ("key", "", "key"),
    ("second key", "", "key_2"),
    ("tuning, cents", "+.0f", "tuning_cents"),
    ("chord changes, 1/s", ".2f", "chords_changes_rate"),
    ("F0 median, Hz", ".1f", "f0_median_hz"),
    ("F0 range, Hz", ".0f", "f0_p05_hz", "f0_p95_hz"),
    ("voiced, % of active", "%", "f0_voiced_ratio"),
    ("vibrato, Hz", ".1f", "vibrato_rate_hz"),
    ("centroid, Hz", ".0f", "spectral_centroid_mean_hz"),
    ("flatness", ".3f", "spectral_flatness_mean"),
)
_PICTURES = (".png", ".svg", ".pdf")
_SOUNDS = (".wav", ".flac")
#: Statuses that need no explanation.
_USUAL = ("ok", "not_applicable")


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "describe",
        run,
        "show what the descriptors say of audio files",
        description="One table a file, a column a stem; a dash is what cannot be measured. With --json one object a "
        "line: input, track, stems (every field of table stems; see stemfeatures schema stems), contours and events.",
        examples=(
            "stemfeatures describe song.mp3",
            "stemfeatures describe song.mp3 --plot song.png --sonify song-with-beats.flac",
            "stemfeatures describe --json music/ > songs.jsonl",
            "stemfeatures describe song.mp3 --separator demucs:htdemucs",
        ),
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=INPUT_HELP)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, everything in it")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="OUT",
        help="draw spectra of the stems with F0, beats, bars and what else was found: a .png, .svg or .pdf file, or a "
        "folder for a picture an input (extra report)",
    )
    parser.add_argument(
        "--sonify",
        type=Path,
        metavar="OUT",
        help="lay clicks on the beats and tones on the F0 over the music: a .wav or .flac file, or a folder for a file "
        "an input (extra evaluate)",
    )
    add_overwrite(parser)
    add_model(parser)
    add_stems(parser, "<path or name of the input, with or without suffix>")
    add_device(parser)
    add_precision(parser)
    add_limits(parser)
    add_cache_size(parser)


def run(args: argparse.Namespace) -> int:
    if args.stems_from is not None and args.separator is not None:
        raise UsageError("--stems-from reads stems that are there already: without --separator")
    inputs = read_inputs(args.inputs)
    pictures = plan_outputs(inputs, args.plot, _PICTURES)
    sounds = plan_outputs(inputs, args.sonify, _SOUNDS)
    outputs = [*pictures.values(), *sounds.values()]
    spare_inputs([one.path for one in inputs], outputs)
    require_free(outputs, overwrite=args.overwrite)
    _require_extras(args)
    device = choose_device(args.device)

    from stemfeatures.analysis import Analyser

    from ..catalog import printable

    analyser = Analyser(args.model, device=device, separator=args.separator, precision=args.precision)
    failed = 0
    with ProgressLine(len(inputs), label="describe", unit="file", quiet=args.quiet) as progress:
        for one in inputs:
            try:
                with at_hand(one, args.cache_size, progress) as source:
                    analysis = analyser.from_file(
                        source,
                        limits=limits_of(args),
                        stems=_stems(args.stems_from, one.path),
                        on_progress=progress.part_of(one.path.name),
                    )
                    if one in sounds:
                        play(analysis, source, sounds[one])
                if one in pictures:
                    draw(analysis, pictures[one], title=printable(one.path.name))
                name = printable(str(one.path))
                text = as_json(name, analysis) if args.json else as_text(name, analysis)
                with progress.paused():
                    echo(text, end="\n" if args.json else "\n\n")
            except BrokenPipeError:  # nobody reads any more
                raise
            except Exception as error:  # whatever it is, the others go on
                failed += 1
                progress.say(by_options(failure(one.path, error)))
            progress.update(note=f"{failed} failed" if failed else "")
    if failed:
        echo(f"stemfeatures: {failed} of {len(inputs)} files failed", stream=sys.stderr)
    return SOME_FAILED if failed else DONE


def _stems(root: Path | None, path: Place) -> Path | None:
    from stemfeatures.separation.given_stems import find_stem_folder, folder_of

    if root is None:
        return None
    return find_stem_folder(root, str(path)) or folder_of(root, path.name)


def _require_extras(args: argparse.Namespace) -> None:
    """UsageError for what would fail after the work only."""
    for wanted, module, extra in ((args.plot, "matplotlib", "report"), (args.sonify, "mir_eval", "evaluate")):
        if wanted is not None and find_spec(module) is None:
            raise UsageError(f"{wanted}: {module} is missing: pip install 'stemfeatures[{extra}]'")


def draw(analysis: TrackAnalysis, path: Path, *, title: str) -> None:
    """Write the picture of a track."""
    path.parent.mkdir(parents=True, exist_ok=True)
    analysis.plot(title=title).savefig(path, dpi=110)


def play(analysis: TrackAnalysis, source: Path, path: Path) -> None:
    """Write the sonification of a track."""
    from stemfeatures import audio
    from stemfeatures.plots.sonify import sonify

    y, sample_rate = audio.load(source, max_duration_s=analysis.decoded_duration_s + 1.0)  # which it may last
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, sonify(analysis, y, sample_rate), sample_rate)


def as_json(name: str, analysis: TrackAnalysis) -> str:
    """Everything known of a track as JSON; what cannot be measured is null."""
    info = analysis.info
    track = {
        "status": analysis.status,
        "message": analysis.message or None,
        "audio_sha256": analysis.sha256,
        "duration_s": info and info.declared_duration_s,
        "decoded_duration_s": analysis.decoded_duration_s,
        "sample_rate": analysis.sample_rate,
        "channels": analysis.channels,
        **{
            key: info and getattr(info, key)
            for key in ("codec", "container", "bit_rate", "lossless", "decoder", "decoder_version")
        },
        "model": analysis.frames.model,
        "model_sha256": analysis.frames.model_sha256,
        "precision": analysis.precision,
        "separator": analysis.separator,
        "separator_version": analysis.separator_version,
        "separator_sha256": analysis.separator_sha256,
    }
    events = analysis.events
    values = {
        "input": name,
        "track": plain(track),
        "stems": plain(analysis.stems),
        "contours": {
            stem: {"times_s": plain(c.times_s), "f0_hz": plain(c.f0_hz), "voicing": plain(c.voicing)}
            for stem, c in analysis.contours.items()
        },
        "events": {
            "beats_s": plain(events.beats_s),
            "beat_positions": plain(events.beat_positions),
            "onsets_s": plain(events.onsets_s),
        },
        "tables": {table: plain(dict(columns)) for table, columns in analysis.tables.items()},
    }
    return json_text(values)


def as_text(name: str, analysis: TrackAnalysis) -> str:
    """A headline and a table with a column a stem."""
    channels = {1: "mono", 2: "stereo"}.get(analysis.channels, f"{analysis.channels} channels")
    facts = [f"{analysis.decoded_duration_s:.2f} s", channels, f"{analysis.sample_rate} Hz"]
    if analysis.info is not None:
        facts.append(f"{analysis.info.codec} in {analysis.info.container}")
    status = analysis.status + (f" ({analysis.message})" if analysis.message else "")
    facts += [status, f"model {analysis.frames.model}"]
    if analysis.separator is not None:
        facts.append(f"separator {analysis.separator}")
    names = [*analysis.frames.rows]
    rows = [["", *names]]
    for label, *cell in _ROWS:
        rows.append([label, *(_cell(analysis.stems[stem], *cell) for stem in names)])
    lines = [visible(name), *wrapped(" · ".join(facts), indent="  "), ""]
    lines.append(table(rows, align="<" + ">" * len(names), indent="  "))
    if notes := _unmeasured(analysis.stems, names):
        lines += ["", *(line for note in notes for line in wrapped(note, indent="  ", hanging="    "))]
    return "\n".join(lines)


def _cell(values: dict[str, Any], spec: str, *fields: str) -> str:
    """One value, or ``a-b``; ``%`` is per cent without the sign, for that stands in the label."""
    found = [values.get(field) for field in fields]
    if any(number(value, "") == NOTHING for value in found):
        return NOTHING
    return "-".join(number(100 * v, ".0f") if spec == "%" else number(v, spec) for v in found if v is not None)


def _unmeasured(stems: dict[str, dict[str, Any]], names: list[str]) -> list[str]:
    """Why there are dashes: ``tempo too short: mixture, drums``."""
    why: dict[tuple[str, str], list[str]] = {}
    for name in names:
        activity = str(stems[name].get("activity_status"))
        if activity in ("silent", "absent"):
            why.setdefault(("", activity), []).append(name)
            continue
        for field, status in stems[name].items():
            if field.endswith("_status") and status not in _USUAL:
                why.setdefault((field.removesuffix("_status"), str(status).replace("_", " ")), []).append(name)
    return [f"{f'{what} {reason}'.strip()}: {', '.join(which)}" for (what, reason), which in why.items()]
