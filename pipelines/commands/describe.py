"""``stemfeatures describe``: what the descriptors say of a few files, on the screen or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain

from ._exit import DONE, SOME_FAILED, UsageError, failure
from ._options import add_device, add_model, add_stems, add_verb, choose_device
from ._text import NOTHING, columns, number

if TYPE_CHECKING:
    from stemfeatures.analysis import TrackAnalysis

#: What the screen shows of each stem: label, unit, format, then the fields, of which two make a range.
_ROWS = (
    ("active", "% of time", "%", "activity_ratio"),
    ("energy share", "%", "%", "energy_share"),
    ("loudness", "LUFS", ".1f", "loudness_integrated_lufs"),
    ("relative to the mixture", "LU", "+.1f", "loudness_relative_lu"),
    ("loudness range", "LU", ".1f", "loudness_range_lu"),
    ("true peak", "dBTP", ".1f", "true_peak_dbtp"),
    ("tempo", "bpm", ".1f", "tempo_bpm"),
    ("second tempo", "bpm", ".1f", "tempo_2_bpm"),
    ("tempo stability", "%", "%", "tempo_stability"),
    ("beats", "", "d", "beat_count"),
    ("beats a bar", "", "d", "meter_numerator"),
    ("onset rate", "1/s", ".2f", "onset_rate"),
    ("key", "", "", "key"),
    ("second key", "", "", "key_2"),
    ("tuning", "cents", "+.0f", "tuning_cents"),
    ("chord changes", "1/s", ".2f", "chords_changes_rate"),
    ("F0 median", "Hz", ".1f", "f0_median_hz"),
    ("F0 range", "Hz", ".0f", "f0_p05_hz", "f0_p95_hz"),
    ("voiced", "% of active", "%", "f0_voiced_ratio"),
    ("vibrato", "Hz", ".1f", "vibrato_rate_hz"),
    ("spectral centroid", "Hz", ".0f", "spectral_centroid_mean_hz"),
    ("spectral flatness", "", ".3f", "spectral_flatness_mean"),
)
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
            "stemfeatures describe --json *.flac > songs.jsonl",
            "stemfeatures describe song.mp3 --separator demucs:htdemucs",
        ),
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="audio file")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, everything in it")
    add_model(parser)
    add_stems(parser, "<path or name of the input, with or without suffix>")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    if args.stems_from is not None and args.separator is not None:
        raise UsageError("--stems-from reads stems that are there already: without --separator")
    device = choose_device(args.device)

    from stemfeatures.analysis import Analyser

    analyser = Analyser(args.model, device=device, separator=args.separator)
    failed = 0
    for path in args.inputs:
        try:
            analysis = analyser.from_file(path, stems=_stems(args.stems_from, path))
        except Exception as error:  # whatever it is, the others go on
            failed += 1
            print(failure(path, error), file=sys.stderr)
            continue
        if args.json:
            print(json.dumps(as_json(str(path), analysis), ensure_ascii=False, allow_nan=False), flush=True)
        else:
            print(as_text(str(path), analysis), end="\n\n", flush=True)
    if failed:
        print(f"stemfeatures: {failed} of {len(args.inputs)} files failed", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def _stems(root: Path | None, path: Path) -> Path | None:
    from stemfeatures.separation.given_stems import find_stem_folder, folder_of

    if root is None:
        return None
    return find_stem_folder(root, str(path)) or folder_of(root, path.name)


def as_json(name: str, analysis: TrackAnalysis) -> dict[str, Any]:
    """Everything known of a track as JSON types; what cannot be measured is None."""
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
        "separator": analysis.separator,
        "separator_version": analysis.separator_version,
        "separator_sha256": analysis.separator_sha256,
    }
    events = analysis.events
    return {
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
    rows = [["", "", *names]]
    for label, unit, *cell in _ROWS:
        rows.append([label, unit, *(_cell(analysis.stems[stem], *cell) for stem in names)])
    lines = [name, "  " + " · ".join(facts), "", columns(rows, align="<<" + ">" * len(names), indent="  ")]
    if notes := _unmeasured(analysis.stems, names):
        lines += ["", *(f"  {note}" for note in notes)]
    return "\n".join(lines)


def _cell(values: dict[str, Any], spec: str, *fields: str) -> str:
    """One value, or ``a to b``; ``%`` is per cent without the sign, for that stands in the column of units."""
    found = [values.get(field) for field in fields]
    if any(number(value, "") == NOTHING for value in found):
        return NOTHING
    return " to ".join(number(100 * v, ".0f") if spec == "%" else number(v, spec) for v in found if v is not None)


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
