"""``stemfeatures extract``: a catalogue to feature tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.collector import collector_paused
from stemfeatures._util.urls import place_of

from ._exit import DONE, INTERRUPTED, SOME_FAILED, UsageError
from ._json_log import JsonProgress, write_event
from ._options import (
    CATALOG_HELP,
    DATASET_HELP,
    add_cache_size,
    add_limits,
    add_model,
    add_precision,
    add_stems,
    add_verb,
    choose_device,
    comma_list,
    limits_of,
    positive,
    whole,
)
from ._progress import ProgressLine
from ._prometheus import PrometheusProgress
from ._text import by_options, count, duration, echo, number, shortened, table, visible, wrapped
from ._trace import tracer_of

if TYPE_CHECKING:
    from ..extraction.summary import ExtractProgress, ExtractSummary, PlannedShard

_SHOWN_SHARDS = 10


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "extract",
        run,
        "extract feature tables from a catalogue of audio",
        description="Goes on where an earlier run into the same folder stopped: tracks that are done, with the same "
        "audio, model and settings, are skipped; those that failed are tried again. What cannot be extracted ends in "
        "table errors. Exit code 3 when any track of the catalogue failed, now or, with --skip-failed, before.",
        examples=(
            "stemfeatures extract catalog.csv -o features",
            "stemfeatures extract music/ -o features --dry-run",
            "stemfeatures extract 'music/**/*.flac' -o features --jobs 8",
            "stemfeatures extract music/ -o features --series",
            "stemfeatures extract catalog.parquet -o features --scheduler tcp://head:8786",
            "stemfeatures extract s3://bucket/catalog.parquet -o s3://bucket/features",
            "stemfeatures extract music/ -o features --separator demucs:htdemucs_ft --keep-stems stems",
            "stemfeatures extract music/ -o features --stems-from stems",
        ),
    )
    parser.add_argument(
        "catalog",
        nargs="+",
        metavar="CATALOG",
        help=CATALOG_HELP,
    )
    parser.add_argument("-o", "--out-dir", type=place_of, required=True, metavar="DIR", help=DATASET_HELP)
    add_model(parser)
    parser.add_argument(
        "-d",
        "--device",
        default="auto",
        help="torch device: cpu, cuda, cuda:1 ... (default: every GPU there is, or cpu where that is faster: of 200 "
        "tracks and more this is measured, once for a machine)",
    )
    _add_workers(parser)
    add_precision(parser)
    _add_tables(parser)
    parser.add_argument("--limit", type=whole(1), metavar="N", help="only the first N rows of the catalogue")
    parser.add_argument("--overwrite", action="store_true", help="extract again what is done, and replace its rows")
    parser.add_argument(
        "--skip-failed",
        action="store_true",
        help="do not try again what failed before; the exit code is 3 all the same",
    )
    parser.add_argument(
        "--track-timeout",
        type=positive,
        metavar="SECONDS",
        help="give up on a track after so long (default: by its size)",
    )
    add_stems(parser, "<track id or path, with or without suffix>")
    parser.add_argument(
        "--keep-stems", type=Path, metavar="DIR", help="write the stems, too: DIR/<track id>/<stem>.wav, 32-bit float"
    )
    parser.add_argument(
        "--json-logs",
        action="store_true",
        help="progress, messages and the summary as JSON lines on standard error: time, event (progress, log, error, "
        "summary) and their values",
    )
    parser.add_argument(
        "--prometheus",
        metavar="WHERE",
        help="metrics of the run for Prometheus: served at PORT (of this machine alone) or HOST:PORT while it goes on, "
        "or written to a file *.prom for node_exporter. Needs the prometheus extra",
    )
    parser.add_argument(
        "--trace",
        action="store_true",
        help="send a trace of the run, its shards, tracks and stages to an OpenTelemetry collector (OTLP over HTTP), "
        "which the variables OTEL_EXPORTER_OTLP_ENDPOINT ... name (default: http://localhost:4318). Needs the "
        "opentelemetry extra",
    )
    add_cache_size(parser)
    add_limits(parser)
    parser.add_argument(
        "--on-duplicate",
        choices=("error", "first", "skip"),
        default="error",
        help="rows that share their track_id or their file: error refuses the catalogue, first takes the first of "
        "them, skip none (default: %(default)s)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only tell what would be done: opens every file, and exits with 3 when some cannot be read",
    )


def _add_workers(parser: argparse.ArgumentParser) -> None:
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument("-j", "--jobs", type=whole(1), metavar="N", help="worker processes (default: by the machine)")
    workers.add_argument("--scheduler", metavar="ADDR", help="use the workers of this running Dask scheduler")
    parser.add_argument("--batch-size", type=whole(1), metavar="N", help="segments a forward pass (default: by device)")


def _add_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tables",
        type=comma_list,
        metavar="A,B",
        help="write only these tables, and tracks (default: all but those that the options below ask for; stemfeatures "
        "schema lists them)",
    )
    parser.add_argument(
        "--series", action="store_true", help="write table series besides: levels, chroma ... beat by beat"
    )
    parser.add_argument(
        "--polyphonic-notes",
        action="store_true",
        help="write table polyphonic_notes besides: the notes of the accompaniment",
    )
    parser.add_argument(
        "--further-voices",
        action="store_true",
        help="write table further_voices besides: the F0 of second and third voices beside that of the vocals",
    )
    parser.add_argument(
        "--strokes", action="store_true", help="write table strokes besides: when which of the drums is struck"
    )
    parser.add_argument(
        "--lyrics",
        action="store_true",
        help="put lyrics in time as well, where there are any: in a column lyrics of the catalogue (text, or the path "
        "of a .lrc or .txt file, relative to the audio), in a .lrc or .txt file beside the audio, in its tags. Writes "
        "the tables lyrics, lyric_lines and lyric_songs, without the words. Needs the lyrics extra",
    )
    parser.add_argument(
        "--lyrics-text", action="store_true", help="the same, and the words in a table lyric_text: mind their copyright"
    )


def run(args: argparse.Namespace) -> int:
    tables = _tables(args)
    if args.stems_from is not None and (args.separator is not None or args.keep_stems is not None):
        raise UsageError("--stems-from reads stems that are there already: without --separator and --keep-stems")
    if args.device != "auto" and args.scheduler is None:
        choose_device(args.device)

    if args.jobs is not None and args.jobs > 1:
        from ..extraction.fork_server import start_fork_server

        start_fork_server()  # it imports while this process does
    with collector_paused():
        from ..extraction.extract import extract_catalog
        from ..extraction.summary import ExtractInterrupted

    line = JsonProgress() if args.json_logs else ProgressOfExtraction(args.quiet)
    metrics = PrometheusProgress(args.prometheus, line) if args.prometheus is not None else None
    try:
        with tracer_of(args.trace) as tracer:
            summary = extract_catalog(
                args.catalog[0] if len(args.catalog) == 1 else args.catalog,
                args.out_dir,
                model=args.model,
                device=args.device,
                jobs=args.jobs,
                scheduler=args.scheduler,
                batch_size=args.batch_size,
                overwrite=args.overwrite,
                dry_run=args.dry_run,
                limit=args.limit,
                tables=tables,
                retry_failed=not args.skip_failed,
                progress=metrics or line,
                track_timeout_s=args.track_timeout,
                separator=args.separator,
                stems_from=args.stems_from,
                keep_stems=args.keep_stems,
                on_duplicate=args.on_duplicate,
                limits=limits_of(args),
                precision=args.precision,
                tracer=tracer,
                **({} if args.cache_size is None else {"cache_bytes": args.cache_size}),
            )
    except ExtractInterrupted as stop:
        summary = stop.summary
        line.close()
        if args.quiet and not args.json_logs:
            echo(f"stemfeatures: {stop}", stream=sys.stderr)
    except KeyboardInterrupt:
        line.close()
        echo("stemfeatures: interrupted before the run began: nothing was saved by it", stream=sys.stderr)
        return INTERRUPTED
    except ImportError as error:
        raise UsageError(str(error)) from error
    finally:
        line.close()
        if metrics is not None:
            metrics.close()
    if args.dry_run:
        echo(plan_text(summary))
        return SOME_FAILED if summary.errors or summary.n_known_failed else DONE
    if args.json_logs:
        write_event("summary", **{k: v for k, v in asdict(summary).items() if k != "planned"})
    if not args.quiet:
        echo(summary_text(summary))
    if summary.interrupted:
        return INTERRUPTED
    return SOME_FAILED if summary.n_failed or summary.n_known_failed else DONE


def _tables(args: argparse.Namespace) -> tuple[str, ...] | None:
    """The tables to write; None for the default ones."""
    tables: tuple[str, ...] | None = args.tables
    requested = {
        "series": args.series,
        "polyphonic_notes": args.polyphonic_notes,
        "further_voices": args.further_voices,
        "strokes": args.strokes,
    }
    if not (tables or any(requested.values()) or args.lyrics or args.lyrics_text):
        return tables
    from stemfeatures.descriptors.lyric_tables import LYRIC_TABLES, TEXT_TABLE
    from stemfeatures.tables.schema import DATA_TABLES, DEFAULT_TABLES

    wanted = [*(tables or DEFAULT_TABLES), *(name for name, given in requested.items() if given)]
    if unknown := [t for t in wanted if t not in DATA_TABLES]:
        raise UsageError(f"unknown table {unknown[0]!r}; there are: {', '.join(DATA_TABLES)}")
    if args.lyrics or args.lyrics_text:
        wanted += LYRIC_TABLES
    if args.lyrics_text:
        wanted.append(TEXT_TABLE)
    return tuple(wanted)


class ProgressOfExtraction:
    """Shows where a run stands."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._progress: ProgressLine | None = None

    def __call__(self, state: ExtractProgress) -> None:
        if self._progress is None:
            label = "open" if state.state == "probing" else "extract"
            self._progress = ProgressLine(
                state.n_total, label=label, unit="track", done=state.n_skipped, quiet=self._quiet
            )
        notes = []
        if state.state in ("starting", "stopping"):
            notes.append(state.state)
        if state.n_failed:
            notes.append(f"{state.n_failed:,} failed")
        if state.audio_s:
            notes.append(f"{duration(state.audio_s)} of audio")
        if state.times_real_time:
            notes.append(f"{state.times_real_time:.1f} x real time")
        done = state.n_skipped + state.n_done + state.n_failed
        self._progress.advance_to(done, note=", ".join(notes), left_s=state.eta_s)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()
            self._progress = None


def plan_text(summary: ExtractSummary) -> str:
    """What a dry run found."""
    todo = sum(shard.n_tracks for shard in summary.planned)
    audio = sum(shard.audio_s for shard in summary.planned)
    lines = [
        f"would extract {todo:,} of {count(summary.n_total, 'track')}, about {duration(audio)} of audio, "
        f"in {count(len(summary.planned), 'shard')}, with {summary.model} on {summary.device} "
        f"({_workers(summary)})",
        *([summary.device_why] if summary.device_why else []),
        *_left_out(summary),
    ]
    if n := sum(group.n for group in summary.errors):
        lines += [f"cannot be read: {count(n, 'track')}", *_failures(summary)]
    if summary.planned:
        lines += ["", *_shards(summary.planned[:_SHOWN_SHARDS])]
        if (more := len(summary.planned) - _SHOWN_SHARDS) > 0:
            lines.append(f"  … and {count(more, 'more shard')}")
    return "\n".join(lines)


def _workers(summary: ExtractSummary) -> str:
    """How many, and their precision where it is one and not float32."""
    precision = " in bfloat16" if summary.precision == "bfloat16" else ""
    return count(summary.n_workers, "worker") + precision


def _shards(shards: Iterable[PlannedShard]) -> list[str]:
    rows = [("shard", "tracks", "audio", "first track")]
    rows += [(s.name, f"{s.n_tracks:,}", duration(s.audio_s), next(iter(s.track_ids), "")) for s in shards]
    return table(rows, align="<>>", indent="  ", shrinks=(3,)).split("\n")


def _left_out(summary: ExtractSummary) -> list[str]:
    lines = []
    if summary.n_dropped:
        lines.append(f"left out: {count(summary.n_dropped, 'row')} that share their id or file with another")
    if summary.n_same_audio:
        n = count(summary.n_same_audio, "track")
        lines.append(f"same audio: {n} whose file holds the bytes of another's, analysed once")
    if summary.n_skipped:
        lines.append(
            f"skipped: {count(summary.n_skipped, 'track')} done before and unchanged (--overwrite extracts again)"
        )
    if summary.n_known_failed:
        lines.append(f"skipped: {count(summary.n_known_failed, 'track')} that failed before (--skip-failed)")
    for why, tracks in summary.outdated.items():
        lines.append(f"again: {count(tracks, 'track')} extracted before {why}")
    if summary.n_metadata_changed:
        n = count(summary.n_metadata_changed, "skipped track")
        lines.append(f"note: the catalogue's columns changed for {n}; tracks keeps the old values (--overwrite)")
    return lines


def summary_text(summary: ExtractSummary) -> str:
    """What a run did, why tracks failed, and how to read the tables."""
    left = summary.n_total - summary.n_done - summary.n_skipped - summary.n_failed - summary.n_known_failed
    if summary.nothing_to_do and not summary.interrupted:
        lines = [f"nothing to do: {count(summary.n_total, 'track')} of {summary.n_total:,} done before"]
    else:
        lines = [f"{count(summary.n_done, 'track')} done, {summary.n_failed:,} failed"]
        if summary.n_known_failed:
            lines[0] += f", {summary.n_known_failed:,} failed earlier and skipped"
        if left:
            why = "; the same command goes on from here" if summary.interrupted else ""
            lines[0] += f", {left:,} left{why}"
    if summary.by_status:
        kinds = ", ".join(f"{n:,} {status}" for status, n in sorted(summary.by_status.items(), key=lambda k: -k[1]))
        lines.append(f"of the done: {kinds} (column status of table tracks)")
    lines += _left_out(summary)
    lines += _failures(summary)
    if summary.audio_s:
        lines += wrapped(
            f"audio: {duration(summary.audio_s)} in {duration(summary.wall_s)}, {number(summary.times_real_time)} "
            f"times real time ({summary.model} on {summary.device}, {_workers(summary)})",
            hanging="  ",
        )
        if summary.device_why:
            lines += wrapped(summary.device_why, hanging="  ")
    if summary.table_rows:
        lines += [f"tables in {summary.out_dir}:"]
        rows = [("table", "rows"), *((name, f"{n:,}") for name, n in summary.table_rows.items())]
        lines += table(rows, align="<>", indent="  ").split("\n")
        if summary.table_rows.get("tracks") or summary.table_rows.get("errors"):
            lines += ["to look at them:", *(f"  {line}" for line in pandas_lines(summary))]
    return "\n".join(lines)


def _failures(summary: ExtractSummary) -> list[str]:
    """Two lines a kind of failure."""
    lines = []
    for group in summary.errors:
        message = by_options(" ".join(group.example_message.split()))
        example = visible(f"{group.example_source_uri}: {message}")
        lines.append(f"  {group.n:>6,}  {group.reason or f'{group.stage}: {group.error_type}'}")
        lines += wrapped(f"e.g. {shortened(example, 300)}", indent=" " * 10, hanging=" " * 15)
    return lines


def pandas_lines(summary: ExtractSummary) -> list[str]:
    """Three lines of Python that show something of the tables."""
    path = repr(str(summary.out_dir))
    if summary.table_rows.get("stems"):
        name = "stems"
        show = """stems.query("stem == 'mixture'")[["track_id", "tempo_bpm", "key"]]"""
    elif summary.table_rows.get("tracks"):
        name, show = "tracks", 'tracks.set_index("track_id")[["source_uri", "status", "decoded_duration_s"]]'
    else:
        name, show = "errors", 'errors.groupby(["stage", "error_type"]).size()'
    return [
        "import stemfeatures",
        f'{name} = stemfeatures.open_features({path}).to_pandas("{name}")',
        f"print({show})",
    ]
