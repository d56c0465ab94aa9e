"""``stemfeatures status``: what a features directory holds and how its runs went."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain

from ._exit import DONE
from ._options import add_verb
from ._text import NOTHING, columns, count, duration, size, visible

if TYPE_CHECKING:
    from stemfeatures.tables.reader import Features

#: Runs shown on the screen, the last ones.
_RUNS = 5


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "status",
        run,
        "tell what a features directory holds and how its runs went",
        description="Also while a run is writing to it. Shows committed rows only.",
        examples=(
            "stemfeatures status features",
            "stemfeatures status features --json",
        ),
    )
    parser.add_argument("dataset", type=Path, metavar="DIR", help="features directory")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.tables.reader import open_features

    state = look(open_features(args.dataset))
    print(json.dumps(plain(state), indent=1, ensure_ascii=False) if args.json else as_text(state))
    return DONE


def look(features: Features) -> dict[str, Any]:
    """The state of a dataset: ``tables, tracks_by_status, audio_s, errors, runs, models, active, incomplete`` ..."""
    from stemfeatures.tables.commits import read_commits
    from stemfeatures.tables.lock import lock_holder

    active = lock_holder(features.layout)
    counts = features.counts()
    tracks = features.to_arrow(
        "tracks", columns=["track_id", "status", "decoded_duration_s", "model_sha256", "config_hash"]
    )
    errors = features.to_arrow("errors", columns=["stage", "error_type", "source_uri", "message"]).to_pylist()
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for error in errors:
        groups.setdefault((error["stage"], error["error_type"]), []).append(error)
    runs = sorted(features.to_arrow("runs").to_pylist(), key=lambda row: row["started_at"])
    for row in runs:
        if row["status"] == "running" and active is None:
            row["status"] = "interrupted"  # whoever it was no longer holds the lock
    names = {row["model_sha256"]: row["model"] for row in runs}
    models: dict[tuple[Any, Any], int] = {}
    for key in zip(tracks["model_sha256"].to_pylist(), tracks["config_hash"].to_pylist()):
        models[key] = models.get(key, 0) + 1
    last = read_commits(features.layout)[-1:] if features.commit else []
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
        "errors": [
            {
                "stage": stage,
                "error_type": kind,
                "count": len(some),
                "example": {"source_uri": some[0]["source_uri"], "message": some[0]["message"]},
            }
            for (stage, kind), some in sorted(groups.items(), key=lambda item: -len(item[1]))
        ],
        "extractions": [
            {"model": names.get(sha), "model_sha256": sha, "config_hash": config, "tracks": n}
            for (sha, config), n in sorted(models.items(), key=lambda item: -item[1])
        ],
        "runs": runs,
    }


def as_text(state: dict[str, Any]) -> str:
    """The state for a screen."""
    writer = state["active"] or "nobody"
    at = f", {str(state['committed_at'])[:19]} UTC" if state["committed_at"] else ""
    lines = [
        f"{state['path']}: schema {state['schema_version']}, commit {state['commit']}{at}",
        f"writing now: {writer}",
    ]
    if state["incomplete"] and not state["active"]:
        lines.append("incomplete: the last run did not come to its end; the same extract command goes on from here")
    if state["tables"]:
        rows: list[tuple[str, ...]] = [("table", "rows", "files", "size")]
        rows += [(t, f"{v['rows']:,}", f"{v['files']:,}", size(v["bytes"])) for t, v in state["tables"].items()]
        lines += ["", columns(rows, align="<>>>")]
    if state["tracks_by_status"]:
        by = ", ".join(f"{n:,} {status}" for status, n in state["tracks_by_status"].items())
        lines += ["", f"tracks: {by}; {duration(state['audio_s'])} of audio"]
    for e in state["extractions"]:
        model = e["model"] or "a model"
        lines.append(
            f"  {count(e['tracks'], 'track')} by {model} ({e['model_sha256'][:12]}), config {e['config_hash'][:12]}"
        )
    if state["errors"]:
        lines += ["", "errors:", grouped_errors(state["errors"])]
    if state["runs"]:
        rows = [("run", "started (UTC)", "took", "tracks", "errors", "skipped", "status")]
        rows += [_run_row(row) for row in state["runs"][-_RUNS:]]
        more = len(state["runs"]) - _RUNS
        title = f"runs (the last {_RUNS} of {len(state['runs'])}):" if more > 0 else "runs:"
        lines += ["", title, columns(rows, align="<<>>>>", indent="  ")]
    return "\n".join(lines)


def grouped_errors(errors: list[dict[str, Any]], *, width: int = 110) -> str:
    """Two lines a kind of error: how many, at which stage, what it is; and an example."""
    lines = []
    for error in errors:
        example = error["example"]
        message = " ".join(str(example["message"]).split())
        text = visible(f"{example['source_uri']}: {message}")
        lines.append(f"  {error['count']:>6,}  {error['stage']}: {error['error_type']}")
        lines.append(f"          e.g. {text if len(text) <= width else text[: width - 1] + '…'}")
    return "\n".join(lines)


def _run_row(row: dict[str, Any]) -> tuple[str, ...]:
    started, finished = row["started_at"], row["finished_at"]
    return (
        row["run_id"],
        f"{started:%Y-%m-%d %H:%M:%S}",
        duration((finished - started).total_seconds()) if finished else NOTHING,
        f"{row['n_tracks']:,}",
        f"{row['n_errors']:,}",
        NOTHING if row["n_skipped"] is None else f"{row['n_skipped']:,}",
        row["status"],
    )
