"""``stemfeatures status``: what a features directory holds and how its runs went."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain

from ._exit import DONE, SOME_FAILED
from ._options import add_dataset, add_verb
from ._text import NOTHING, by_options, count, duration, echo, json_text, shortened, size, table, visible, wrapped

if TYPE_CHECKING:
    import pyarrow as pa

    from stemfeatures.tables.reader import Features

#: Runs shown on the screen, the last ones.
_RUNS = 5
#: Truncated tracks shown on the screen, the first ones.
_TRUNCATED = 10


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "status",
        run,
        "tell what a features directory holds and how its runs went",
        description="Also while a run is writing to it. Shows committed rows only. Exit code 3 when files are missing "
        "or cut off; stemfeatures check says more.",
        examples=(
            "stemfeatures status features",
            "stemfeatures status features --json",
        ),
    )
    add_dataset(parser)
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.tables.check import lost_parts
    from stemfeatures.tables.parts import repair_hint
    from stemfeatures.tables.reader import open_features

    features = open_features(args.dataset)
    lost = lost_parts(features.layout, features.snapshot)
    if lost and features.refresh():  # compact may have run just now
        lost = lost_parts(features.layout, features.snapshot)
    if lost:
        paths = [d.part.path for d in lost]
        what = f"damaged: {paths[0]} {lost[0].what}; {count(len(lost), 'file')} in all; {repair_hint(features.layout)}"
        echo(json.dumps({"path": str(features.path), "damaged": paths}, indent=1) if args.json else visible(what))
        return SOME_FAILED
    state = look(features)
    echo(json_text(plain(state), indent=1) if args.json else as_text(state))
    return DONE


def look(features: Features) -> dict[str, Any]:
    """The state of a dataset: ``tables, tracks_by_status, audio_s, truncated, errors, runs, active`` ..."""
    import pyarrow.compute as pc

    from stemfeatures.tables.commits import order_of_runs, read_commits
    from stemfeatures.tables.lock import lock_holder

    active = lock_holder(features.layout)
    counts = features.counts()
    tracks = features.to_arrow(
        "tracks",
        columns=["track_id", "status", "duration_s", "decoded_duration_s", "model_sha256", "config_hash", "precision"],
    )
    truncated = tracks.filter(pc.field("status") == "truncated")
    runs = order_of_runs(features.layout, features.commit, features.to_arrow("runs").to_pylist())
    for row in runs:
        if row["status"] == "running" and active is None:
            row["status"] = "interrupted"  # whoever it was no longer holds the lock
    names = {row["model_sha256"]: row["model"] for row in runs}
    configs = {row["config_hash"]: json.loads(row["config_json"] or "{}") for row in runs}
    models: dict[tuple[Any, ...], int] = {}
    for sha, config, precision in zip(*(tracks[c].to_pylist() for c in ("model_sha256", "config_hash", "precision"))):
        key = (sha, config, precision or configs.get(config, {}).get("precision", "float32"))
        models[key] = models.get(key, 0) + 1
    last = read_commits(features.layout, after=features.commit - 1)[:1] if features.commit else []
    statuses = tracks["status"].to_pylist()
    return {
        "path": str(features.path),
        "schema_version": features.layout.schema_version,
        "commit": features.commit,
        "committed_at": last[0].get("at") if last else None,
        "active": active,
        "incomplete": bool(runs) and runs[-1]["status"] in ("interrupted", "failed"),
        "tables": {
            table: {
                "rows": counts[table],
                "files": len(features.files(table)),
                "bytes": sum(part.size for part in features.snapshot.of(table)),
            }
            for table in features.tables
        },
        "tracks_by_status": {s: statuses.count(s) for s in dict.fromkeys(statuses)},
        "audio_s": sum(v or 0.0 for v in tracks["decoded_duration_s"].to_pylist()),
        "truncated": truncated.select(["track_id", "decoded_duration_s", "duration_s"]).to_pylist(),
        "errors": _groups(features.to_arrow("errors", columns=["stage", "error_type", "source_uri", "message"])),
        "extractions": [
            {
                "model": names.get(sha),
                "model_sha256": sha,
                "config_hash": config,
                "precision": precision,
                "tracks": n,
            }
            for (sha, config, precision), n in sorted(models.items(), key=lambda item: -item[1])
        ],
        "runs": runs,
    }


def _groups(errors: pa.Table) -> list[dict[str, Any]]:
    """Errors of one stage, type and reason together, the most frequent first."""
    from stemfeatures.tables.failures import failure_reason

    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for error in errors.to_pylist():
        kind = error["stage"], error["error_type"]
        groups.setdefault((*kind, failure_reason(*kind, error["message"] or "")), []).append(error)
    return [
        {
            "reason": reason,
            "stage": stage,
            "error_type": kind,
            "count": len(some),
            "example": {"source_uri": some[0]["source_uri"], "message": some[0]["message"]},
        }
        for (stage, kind, reason), some in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def as_text(state: dict[str, Any]) -> str:
    """The state for a screen."""
    writer = state["active"] or "nobody"
    at = f", {str(state['committed_at'])[:19]} UTC" if state["committed_at"] else ""
    lines = [
        visible(str(state["path"])),
        f"schema {state['schema_version']}, commit {state['commit']}{at}",
        f"writing now: {writer}",
    ]
    if state["incomplete"] and not state["active"]:
        lines.append("incomplete: the last run stopped early; the same extract command goes on")
    if state["tables"]:
        rows: list[tuple[str, ...]] = [("table", "rows", "files", "size")]
        rows += [(t, f"{v['rows']:,}", f"{v['files']:,}", size(v["bytes"])) for t, v in state["tables"].items()]
        lines += ["", table(rows, align="<>>>")]
    if state["tracks_by_status"]:
        by = ", ".join(f"{n:,} {status}" for status, n in state["tracks_by_status"].items())
        lines += ["", f"tracks: {by}; {duration(state['audio_s'])} of audio"]
    for e in state["extractions"]:
        model = e["model"] or "a model"
        precision = "" if e["precision"] == "float32" else f", {e['precision']}"
        lines.append(
            f"  {count(e['tracks'], 'track')} by {model} ({e['model_sha256'][:12]}), config {e['config_hash'][:12]}"
            f"{precision}"
        )
    if state["truncated"]:
        lines += ["", "truncated, extracted as far as they go:", *_truncated(state["truncated"])]
    if state["errors"]:
        lines += ["", "errors:", grouped_errors(state["errors"]), "stemfeatures retry-failed tries them again"]
    if state["runs"]:
        rows = [("started (UTC)", "took", "tracks", "errors", "skipped", "status")]
        rows += [_run_row(row) for row in state["runs"][-_RUNS:]]
        more = len(state["runs"]) - _RUNS
        title = f"runs (the last {_RUNS} of {len(state['runs'])}):" if more > 0 else "runs:"
        lines += ["", title, table(rows, align="<>>>>", indent="  ")]
    return "\n".join(lines)


def _truncated(tracks: list[dict[str, Any]]) -> list[str]:
    """The first of the truncated tracks, with how much of each there is."""
    lines = []
    for track in tracks[:_TRUNCATED]:
        of = f" of {duration(track['duration_s'])}" if track["duration_s"] else ""
        lines += wrapped(f"{visible(track['track_id'])}: {duration(track['decoded_duration_s'])}{of}", indent="  ")
    more = len(tracks) - _TRUNCATED
    return [*lines, f"  … and {more:,} more (--json lists all)"] if more > 0 else lines


def grouped_errors(errors: list[dict[str, Any]]) -> str:
    """How many of each kind of error, what it is, and an example."""
    lines = []
    for error in errors:
        example = error["example"]
        message = by_options(" ".join(str(example["message"]).split()))
        text = visible(f"{example['source_uri']}: {message}")
        lines.append(f"  {error['count']:>6,}  {error['reason']}")
        lines += wrapped(f"e.g. {shortened(text, 300)}", indent=" " * 10, hanging=" " * 15)
    return "\n".join(lines)


def _run_row(row: dict[str, Any]) -> tuple[str, ...]:
    started, finished = row["started_at"], row["finished_at"]
    return (
        f"{started:%Y-%m-%d %H:%M:%S}",
        duration((finished - started).total_seconds()) if finished else NOTHING,
        f"{row['n_tracks']:,}",
        f"{row['n_errors']:,}",
        NOTHING if row["n_skipped"] is None else f"{row['n_skipped']:,}",
        row["status"],
    )
