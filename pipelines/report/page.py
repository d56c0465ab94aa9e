"""The two pages: on a features directory, and on a track of it."""

from __future__ import annotations

import math
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemfeatures._util.files import replacing
from stemfeatures.constants import MIXTURE, STEM_ROWS
from stemfeatures.errors import DatasetError, StemfeaturesError

from . import html
from .facts import MAIN, RunFacts, map_values, run_facts
from .layout import two_dimensions

if TYPE_CHECKING:
    from stemfeatures.analysis import TrackAnalysis
    from stemfeatures.tables.reader import Features

#: Suffixes of files that browsers play.
_PLAYABLE = frozenset({".mp3", ".flac", ".wav", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".webm"})
_NEIGHBOURS = 5
Progress = Callable[[str], None]


def write_run_report(
    features: Features, state: dict[str, Any], out: Path, *, progress: Progress = lambda what: None
) -> Path:
    """Write the page on a features directory.

    Parameters
    ----------
    features : Features
        The directory.
    state : dict
        What ``stemfeatures status`` knows of it.
    out : Path
        Folder; it is made if need be.
    progress : callable, optional
        Called with what is being done.

    Returns
    -------
    Path
        ``out/index.html``, one file that needs no other.

    Raises
    ------
    DatasetError
        There are no tracks.
    """
    if not state["tables"].get("tracks", {}).get("rows"):
        raise DatasetError("there are no tracks to report on", source=str(features.path))
    progress("looking at the tables")
    facts = run_facts(features, state)
    ids = features.to_arrow("tracks", columns=["track_id"])["track_id"].to_pylist()
    maps = {}
    for stem in STEM_ROWS if "embeddings" in features.tables else ():
        progress(f"laying out the map of {stem}")
        if (found := _map_of(features, stem, ids)) is not None:
            maps[stem] = found
    values = map_values(features, ids) if maps and "stems" in features.tables else {}
    data = {
        "ids": ids,
        "maps": maps,
        "values": {n: html.coded(v) if n in ("key", "status") else html.packed(np.array(v)) for n, v in values.items()},
        "quoted": shlex.quote(str(features.path)),
    }
    parts = [
        f"<h1>{html.text(features.path.absolute().name)}</h1>",
        f'<p class="soft">{html.text(features.path.absolute())}, schema {html.text(state["schema_version"])}, commit '
        f"{state['commit']}</p>",
        _headline(state),
        _runs(state),
        _failures(state),
        _map(maps, values) if values else "",
        _distributions(facts),
        _nulls(facts),
        _outliers(facts),
        _duplicates(facts),
    ]
    script = "map.js" if values else ""
    body = "\n".join(filter(None, parts))
    title = f"{features.path.absolute().name}: {len(ids):,} tracks"
    return _write(out, html.page(title, body, script=script, data=data if values else None))


def write_track_report(
    features: Features, track_id: str, out: Path, *, model: str | None = None, progress: Progress = lambda what: None
) -> Path:
    """Write the page on one track.

    Parameters
    ----------
    features : Features
        The directory that holds it.
    track_id : str
        The track.
    out : Path
        Folder; it is made if need be. The audio lies beside the page, in a form that browsers play.
    model : str, optional
        Checkpoint that analyses the file again for its spectra; the one of the rows, by name, if not given.
    progress : callable, optional
        Called with what is being done.

    Returns
    -------
    Path
        ``out/index.html``.

    Raises
    ------
    DatasetError
        There is no such track.
    """
    rows = features.to_arrow("tracks", filter=[("track_id", "==", track_id)]).to_pylist()
    if not rows:
        from stemfeatures.vectors.matrix import id_hint

        ids = features.to_arrow("tracks", columns=["track_id"])["track_id"].to_pylist()
        raise DatasetError(f"no such track: {track_id!r}{id_hint(track_id, ids)}", source=str(features.path))
    track = rows[0]
    out.mkdir(parents=True, exist_ok=True)
    source = _source_of(features, track)
    analysis: TrackAnalysis | None = None
    note = "" if source else "The audio is not where it was when it was extracted: no player and no spectra."
    if source is not None:
        progress(f"analysing {source.name}")
        try:
            from stemfeatures.analysis import Analyser

            analysis = Analyser(model or _model_of(features, track)).from_file(source)
        except StemfeaturesError as error:
            note = f"The audio could not be analysed again: {error}"
    progress("drawing")
    picture: dict[str, float] | None
    try:
        picture = _picture(features, track_id, analysis, out / "picture.png")
    except ValueError:  # neither spectra nor events
        picture = None
    sound = None if source is None else _sound(source, out)
    head = f"<h1>{html.text(track.get('meta_title') or track_id)}</h1>"
    facts = [track_id, track["status"], _minutes(track["decoded_duration_s"])]
    facts += [str(track["source_uri"])] if track["source_uri"] != track_id else []
    parts = [
        head,
        f'<p class="soft">{html.text(" · ".join(filter(None, facts)))}</p>',
        f"<p>{html.text(note)}</p>" if note else "",
        f'<audio id="player" controls preload="metadata" src="{html.text(sound)}"></audio>' if sound else "",
        _score() if picture else "",
        _stem_table(features, track_id),
        _neighbours(features, track_id),
    ]
    script = "track.js" if picture else ""
    return _write(out, html.page(str(track_id), "\n".join(filter(None, parts)), script=script, data=picture))


def _write(out: Path, content: str) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    with replacing(path) as partial:
        Path(partial).write_text(content, encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------------------------------- of a run


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours:,} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


def _headline(state: dict[str, Any]) -> str:
    tables = state["tables"]
    failed = tables.get("errors", {}).get("rows", 0)
    pairs = [("tracks", f"{tables['tracks']['rows']:,}"), ("of audio", _minutes(state["audio_s"]))]
    pairs.append(("failed", f"{failed:,}"))
    pairs += [(status, f"{n:,}") for status, n in state["tracks_by_status"].items() if status != "ok"]
    finished = [r for r in state["runs"] if r["finished_at"] and r["audio_s"]]
    if finished:
        seconds = sum((r["finished_at"] - r["started_at"]).total_seconds() for r in finished)
        pairs.append(("times real time", f"{sum(r['audio_s'] for r in finished) / max(seconds, 1e-9):,.1f}"))
    return html.figures(pairs)


def _runs(state: dict[str, Any]) -> str:
    rows, none = [], html.NOTHING
    for run in reversed(state["runs"][-20:]):
        took = (run["finished_at"] - run["started_at"]).total_seconds() if run["finished_at"] else None
        speed = f"{run['audio_s'] / took:.1f}" if took and run["audio_s"] else none
        rows.append(
            (
                f"{run['started_at']:%Y-%m-%d %H:%M}", _minutes(took) or none, f"{run['n_tracks'] or 0:,}",
                f"{run['n_errors'] or 0:,}", speed, run["model"] or none, run["host"] or none, run["status"],
            )
        )  # fmt: skip
    head = ("started (UTC)", "took", "tracks", "errors", "x real time", "model", "host", "status")
    return f"<h2>Runs</h2>{html.table(head, rows, numbers=(1, 2, 3, 4))}" if rows else ""


def _failures(state: dict[str, Any]) -> str:
    if not state["errors"] and not state["truncated"]:
        return ""
    rows = [
        (e["reason"], f"{e['count']:,}", e["example"]["source_uri"], e["example"]["message"]) for e in state["errors"]
    ]
    made = "<h2>Failures</h2>"
    made += html.table(("reason", "tracks", "for example", "message"), rows, numbers=(1,)) if rows else ""
    if cut := state["truncated"]:
        made += "<h3>Truncated, extracted as far as they go</h3>"
        made += html.table(
            ("track", "there", "declared"),
            [
                (t["track_id"], _minutes(t["decoded_duration_s"]), _minutes(t["duration_s"]) or html.NOTHING)
                for t in cut[:50]
            ],
            numbers=(1, 2),
        )
    return made


def _map_of(features: Features, stem: str, ids: list[str]) -> dict[str, Any] | None:
    try:
        found, vectors = features.embeddings(stem)
    except DatasetError:  # of several checkpoints, which cannot be laid out together
        return None
    if not len(found):
        return None
    place = {track_id: i for i, track_id in enumerate(ids)}
    at = np.array([place[track_id] for track_id in found.tolist()])
    # All tracks in their order need no list of them.
    every = len(at) == len(ids) and bool((np.diff(at) > 0).all())
    return {"xy": html.packed(two_dimensions(vectors)), "at": None if every else html.packed(at)}


def _map(maps: dict[str, Any], values: dict[str, list[Any]]) -> str:
    stems = "".join(f"<option>{html.text(s)}</option>" for s in maps)
    by = "".join(f"<option>{html.text(v)}</option>" for v in values)
    return f"""<h2>Map</h2>
<p class="soft">What sounds alike lies together, by the embeddings of a stem. Drag and scroll to move; click tracks.</p>
<div class="controls"><label>stem <select id="stem">{stems}</select></label><label>colour <select id="by">{by}</select>
</label><label>filter <input id="find" type="search" placeholder="part of an id, a key, a status"></label>
<span><button id="closer" type="button" aria-label="zoom in">+</button>
<button id="further" type="button" aria-label="zoom out">&minus;</button>
<button id="reset" type="button">whole map</button></span><span id="counted" class="soft" role="status"></span></div>
<div class="legend" id="legend"></div>
<div class="map"><div class="plane"><canvas id="map" role="img" aria-label="map of the tracks; the filter lists them">
</canvas><canvas id="over"></canvas><div class="tip" id="tip"></div></div>
<div class="side" id="side"><p class="soft">Click a track to see what is known of it.</p></div></div>"""


def _distributions(facts: RunFacts) -> str:
    if not facts.histograms:
        return ""
    lines = []
    for name in MAIN:
        own = {h.stem: h for h in facts.histograms if h.descriptor == name}
        if own:
            unit = next(iter(own.values())).unit
            cells = "".join(html.histogram(own[s]) if s in own else "<div></div>" for s in STEM_ROWS)
            label = f"<div><code>{html.text(name)}</code> <span class=soft>{html.text(unit)}</span></div>"
            lines.append(f'<div class="row">{label}{cells}</div>')
    note = "From the 1st to the 99th percentile of all stems; the dashed line is the median."
    return f'<h2>Descriptors by stem</h2><p class="soft">{note}</p>{"".join(lines)}'


def _nulls(facts: RunFacts) -> str:
    if not facts.nulls:
        return ""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for what, stem, status, n in facts.nulls:
        found.setdefault((what, status.replace("_", " ")), {})[stem] = n
    order = sorted(found.items(), key=lambda item: -sum(item[1].values()))
    rows = [(*kind, *(f"{by[s]:,}" if s in by else "" for s in STEM_ROWS)) for kind, by in order]
    head = ("descriptors", "why they are null", *STEM_ROWS)
    note = "Tracks in each row of stems."
    table = html.table(head, rows, numbers=range(2, len(head)))
    return f'<h2>Nulls and why</h2><p class="soft">{note}</p>{table}'


def _outliers(facts: RunFacts) -> str:
    if not facts.outliers:
        return ""
    rows = [
        (
            o.track_id,
            o.stem,
            o.descriptor,
            f"{html.rounded(o.value, 4)} {o.unit}".rstrip(),
            html.rounded(o.median, 4),
            f"{o.deviations:.1f}",
        )
        for o in facts.outliers
    ]
    head = ("track", "stem", "descriptor", "value", "median", "deviations")
    note = "Values furthest from the median, in robust standard deviations; the worst of each track."
    return f'<h2>Look at these first</h2><p class="soft">{note}</p>{html.table(head, rows, numbers=(3, 4, 5))}'


def _duplicates(facts: RunFacts) -> str:
    if not facts.duplicates:
        return ""
    rows = [(f"{len(ids):,}", ", ".join(ids[:8]) + (" …" if len(ids) > 8 else "")) for ids in facts.duplicates[:100]]
    return f"<h2>The same audio more than once</h2>{html.table(('tracks', 'ids'), rows, numbers=(0,))}"


# -------------------------------------------------------------------------------------------------------- of a track


def _source_of(features: Features, track: dict[str, Any]) -> Path | None:
    """The audio file, if it is still where the run found it."""
    import json

    runs = features.to_arrow("runs", filter=[("run_id", "==", track["run_id"])]).to_pylist()
    root = json.loads(runs[0]["config_json"] or "{}").get("catalog_root") if runs else None
    path = Path(os.path.join(root or "", track["source_uri"].removeprefix("file://")))
    return path if path.is_file() else None


def _model_of(features: Features, track: dict[str, Any]) -> str:
    runs = features.to_arrow("runs", filter=[("run_id", "==", track["run_id"])]).to_pylist()
    from stemfeatures.models.checkpoints import DEFAULT_MODEL

    return str(runs[0]["model"] or DEFAULT_MODEL) if runs else DEFAULT_MODEL


def _picture(features: Features, track_id: str, analysis: TrackAnalysis | None, path: Path) -> dict[str, float]:
    """Write the picture; where its time axis lies in it, as shares of its width, and its times."""
    figure = analysis.plot() if analysis is not None else features.plot(track_id)
    figure.savefig(path, dpi=120)
    bottom = figure.axes[-1]
    box = bottom.get_position()
    start, end = bottom.get_xlim()
    return {"left": float(box.x0), "right": float(box.x1), "start": float(start), "end": float(end)}


def _sound(source: Path, out: Path) -> str:
    """Put the audio beside the page; the name of the file."""
    if source.suffix.lower() in _PLAYABLE:
        name = f"audio{source.suffix.lower()}"
        shutil.copyfile(source, out / name)
        return name
    from stemfeatures import audio

    y, sample_rate = audio.load(source)
    audio.write(out / "audio.flac", y, sample_rate)
    return "audio.flac"


def _score() -> str:
    return """<div class="controls"><label>zoom <input id="wide" type="range" min="100" max="800" value="100"></label>
<span class="soft">click the picture to listen from there</span></div>
<div class="score" id="score"><div><img src="picture.png" alt="spectra of the stems with what was found in them"><span>
</span></div></div>"""


def _stem_table(features: Features, track_id: str) -> str:
    if "stems" not in features.tables:
        return ""
    rows = {r["stem"]: r for r in features.to_arrow("stems", filter=[("track_id", "==", track_id)]).to_pylist()}
    names = [stem for stem in STEM_ROWS if stem in rows]
    if not names:
        return ""
    lines = []
    for f in features.fields("stems"):
        if f.name in (*MAIN, "key", "key_2", "f0_voiced_ratio", "vibrato_rate_hz", "meter_numerator", "energy_share"):
            lines.append((f.name, f.unit, *(_cell(rows[s].get(f.name)) for s in names)))
    head = ("descriptor", "unit", *names)
    return f"<h2>Descriptors</h2>{html.table(head, lines, numbers=range(2, len(head)))}"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return html.NOTHING
    return html.rounded(value, 4) if isinstance(value, float) else str(value)


def _neighbours(features: Features, track_id: str) -> str:
    """The nearest tracks in each stem."""
    from stemfeatures.similarity.build import current_index

    try:
        index = current_index(features)
    except DatasetError as error:
        return f'<h2>Neighbours</h2><p class="soft">{html.text(error.message)}</p>'
    parts = []
    for stem in (MIXTURE, *(s for s in STEM_ROWS if s != MIXTURE)):
        try:
            found = index.similar(track_id, stems=[stem], k=_NEIGHBOURS)
        except DatasetError as error:
            parts.append(f'<div><h3>{stem}</h3><p class="soft">{html.text(error.message)}</p></div>')
            continue
        rows = [(t, f"{d:.2f}") for t, d in zip(found.track_ids, found.distances)]
        parts.append(f"<div><h3>{stem}</h3>{html.table(('track', 'distance'), rows, numbers=(1,))}</div>")
    note = "0 is equal, 1 what two random tracks of this directory are apart."
    return f'<h2>Neighbours by stem</h2><p class="soft">{note}</p><div class="near">{"".join(parts)}</div>'
