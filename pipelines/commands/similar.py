"""``stemfeatures similar``: the tracks nearest to a track, by stem."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain
from stemfeatures._util.urls import place_of, redacted

from ._exit import DONE, UsageError
from ._inputs import Input, at_hand
from ._musical import called, told
from ._options import add_cache_size, add_dataset, add_verb
from ._progress import ProgressLine
from ._similarity import add_index_dir, add_question, question, tell_building
from ._text import (
    NOTHING,
    display_width,
    echo,
    json_text,
    number,
    shortened,
    shortened_inside,
    table,
    terminal_width,
    wrapped,
)

if TYPE_CHECKING:
    import numpy as np

    from stemfeatures.similarity.explain import Explanation, Reason
    from stemfeatures.similarity.index import SimilarityIndex
    from stemfeatures.similarity.neighbours import Neighbours
    from stemfeatures.tables.reader import Features

#: Catalogue columns that are shown, if there are such.
_SHOWN = ("meta_title", "meta_artist")
#: Ids and titles are not shortened to less.
_SHORTEST = 16


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "similar",
        run,
        "find the tracks nearest to a track, by stem",
        description="Compares the descriptors of the chosen stems; a distance of 0 is equal, 1 is what two random "
        "tracks of this directory are apart. Only tracks in which the chosen stems sound are found. With --not, stems "
        "further from this track's than those of half of the tracks are different enough, and nearer ones are ranked "
        "down. The index is built the first time, and again when the tables have changed.",
        examples=(
            "stemfeatures similar features song.mp3 --stem bass",
            "stemfeatures similar features new-song.wav --stem vocals",
            "stemfeatures similar features song.mp3 --stem drums --family rhythm --not vocals --explain",
            "stemfeatures similar features song.mp3 --tempo 118-126 --key-compatible --where 'year>=1990' -k 20",
        ),
    )
    add_dataset(parser)
    parser.add_argument(
        "track_id",
        metavar="TRACK",
        help="the track to start from: its id (after -- if it begins with -), an audio file that is not in the "
        "directory, which is analysed first, or a .npy file with a vector in the coordinates of the index; files also "
        "in a store: s3://, gs://, az://, http(s)://",
    )
    add_question(parser)
    add_cache_size(parser)
    which = parser.add_argument_group("which tracks are found")
    which.add_argument("--tempo", type=_tempo, metavar="LOW-HIGH", help="only tracks with a tempo in this range, bpm")
    which.add_argument(
        "--key-compatible",
        action="store_true",
        help="only tracks whose key is the same, the relative, or a fifth up or down in the same mode",
    )
    which.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="COND",
        help="only tracks whose column in table tracks is so: COLUMN=VALUE, also != < <= > >=, and ~ for text that "
        "contains VALUE; catalogue columns with or without meta_; may be given several times",
    )
    out = parser.add_argument_group("output")
    out.add_argument("--explain", action="store_true", help="say which descriptors bring each track near")
    out.add_argument("--json", action="store_true", help="one JSON object")
    add_index_dir(out)


def run(args: argparse.Namespace) -> int:
    from stemfeatures.similarity.build import current_index
    from stemfeatures.similarity.explain import explain
    from stemfeatures.similarity.filters import eligible_tracks
    from stemfeatures.tables.reader import open_features

    asked = redacted(args.track_id)  # an address, or an id that is one
    features = open_features(args.dataset)
    index = current_index(features, index_dir=args.index_dir, building=tell_building(args))
    index, query = _with_query(args, index, features)
    eligible = None
    if args.tempo or args.key_compatible or args.where:
        eligible = eligible_tracks(
            index,
            features,
            tempo_bpm=args.tempo,
            key_of=asked if args.key_compatible else None,
            where=args.where,
        )
    found = index.similar(asked, **question(args), eligible=eligible)
    reasons = explain(index, features, found, query=query) if args.explain else None
    facts = _facts(features, [found.query, *found.track_ids])
    if query is not None:
        mixture = query.get("mixture", {})
        facts[found.query] = {name: mixture.get(name) for name in ("tempo_bpm", "key")}
    if args.json:
        answer = {"index": {"path": str(index.path), "commit": index.commit}}
        echo(json_text(plain(answer | _as_dict(found, facts, reasons))))
    else:
        echo(as_text(found, facts, reasons))
    return DONE


def _with_query(
    args: argparse.Namespace, index: SimilarityIndex, features: Features
) -> tuple[SimilarityIndex, dict[str, dict[str, Any]] | None]:
    """The index with what it is asked for in it, and the descriptors of that if they are not in the tables."""
    path, asked = place_of(args.track_id), redacted(args.track_id)
    if asked in set(index.track_ids) or (isinstance(path, Path) and not path.is_file()):
        index.row(asked)  # complains before anything that takes time
        return index, None
    if args.key_compatible:
        raise UsageError("--key-compatible needs a track of the directory")
    from stemfeatures.similarity.visitors import with_track, with_vector

    with ProgressLine(1, label="analyse", unit="file", quiet=args.quiet) as progress:
        with at_hand(Input(path, path.name), args.cache_size, progress) as file:
            if file.suffix == ".npy":
                return with_vector(index, asked, _vector(file)), {}
            from stemfeatures.analysis import Analyser

            model = _model_of(features, index.made_from["model_sha256"])
            analyser = Analyser(model, precision=_precision_of(features))
            analysis = analyser.from_file(file, on_progress=progress.part_of(path.name))
        progress.update()
    return with_track(index, features, asked, analysis), analysis.stems


def _vector(path: Path) -> np.ndarray:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path}: not an array as numpy.save writes it") from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path}: several arrays (an .npz), not one")
    return array


def _model_of(features: Features, sha256: str) -> str:
    """Name or path of the checkpoint that made the tables; UsageError when it is not here."""
    from stemfeatures.errors import ModelError
    from stemfeatures.models import checkpoints

    runs = features.to_arrow("runs", columns=["model", "model_sha256", "config_json"]).to_pylist()
    names = [json.loads(run["config_json"] or "{}").get("model") for run in runs if run["model_sha256"] == sha256]
    for name in dict.fromkeys([*names, checkpoints.DEFAULT_MODEL]):
        try:
            if name and checkpoints.resolve(name).sha256 == sha256:
                return str(name)
        except ModelError:
            continue
    raise UsageError(f"the checkpoint that made the tables (sha256 {sha256[:12]}) is not here")


def _precision_of(features: Features) -> str:
    """In which the network computed most rows."""
    told = features.to_arrow("tracks", columns=["precision"])["precision"].to_pylist()
    return max(("float32", "bfloat16"), key=told.count)


def _tempo(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)", text.strip())
    if match is None or float(match[1]) > float(match[2]):
        raise argparse.ArgumentTypeError(f"expected LOW-HIGH in bpm, such as 118-126, not {text!r}")
    return float(match[1]), float(match[2])


def _facts(features: Features, track_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Tempo, key and what the catalogue says of each track."""
    shown = [name for name in _SHOWN if name in features.schema("tracks").names]
    tracks = features.to_pandas("tracks", ["track_id", *shown], [("track_id", "in", track_ids)])
    mixture = [("track_id", "in", track_ids), ("stem", "==", "mixture")]
    heard = features.to_pandas("stems", ["track_id", "tempo_bpm", "key"], mixture)
    heard["key"] = heard["key"].astype(object)
    both = tracks.merge(heard, on="track_id", how="outer").set_index("track_id").astype(object)
    return both.where(both.notna(), None).to_dict("index")


def _as_dict(found: Neighbours, facts: dict[str, dict[str, Any]], reasons: list[Explanation] | None) -> dict[str, Any]:
    neighbours = []
    for i, track_id in enumerate(found.track_ids):
        row = {
            "rank": i + 1,
            "track_id": track_id,
            "distance": found.distances[i],
            "distances": {stem: values[i] for stem, values in found.by_stem.items()},
            **facts.get(track_id, {}),
        }
        if found.unlike is not None:
            row |= {"score": found.scores[i], "unlike": {stem: v[i] for stem, v in found.unlikeness.items()}}
        if reasons is not None:
            row["explanation"] = {
                kind: [vars(r) for r in getattr(reasons[i], kind)] for kind in ("near", "far", "unlike")
            }
        neighbours.append({k: float(v) if hasattr(v, "dtype") else v for k, v in row.items()})
    return {
        "query": {"track_id": found.query, **facts.get(found.query, {})},
        "stems": list(found.by_stem),
        "families": list(dict.fromkeys(b.family for b in found.near.blocks)),
        "unlike": list(found.unlikeness),
        "neighbours": neighbours,
    }


def as_text(found: Neighbours, facts: dict[str, dict[str, Any]], reasons: list[Explanation] | None) -> str:
    """A headline, a table, and under each track its reasons."""
    several = len(found.by_stem) > 1
    stems = [s for s in found.by_stem if several]
    others = list(found.unlikeness)
    shown = [name for name in _SHOWN if any(f.get(name) for f in facts.values())]
    head = ["", "track", "distance", *stems, *(f"not {s}" for s in others), "bpm", "key"]
    rows = [[*head, *(name.removeprefix("meta_") for name in shown)]]
    rows.append(["", found.query, *[""] * (1 + len(stems) + len(others)), *_told(facts.get(found.query, {}), shown)])
    for i, track_id in enumerate(found.track_ids):
        values = [found.distances[i], *(found.by_stem[s][i] for s in stems), *(found.unlikeness[s][i] for s in others)]
        cells = [number(float(v), ".2f") for v in values]
        rows.append([str(i + 1), track_id, *cells, *_told(facts.get(track_id, {}), shown)])
    rows = _fitted(rows, len(head))
    align = "><" + ">" * (2 + len(stems) + len(others))
    lines = table(rows, align=align, shrinks=(1, *range(len(head), len(rows[0])))).split("\n")
    families = ", ".join(dict.fromkeys(b.family for b in found.near.blocks))
    contrast = f", other {' and '.join(others)}" if others else ""
    title = [
        *wrapped(f"similar {', '.join(found.by_stem)}{contrast}, by {families}"),
        "distance: 0 is equal, 1 two random tracks",
        "",
    ]
    made = [*title, *lines[:2]]
    for i, line in enumerate(lines[2:]):
        made.append(line)
        if reasons is not None:
            made += _reason_lines(reasons[i], several)
    return "\n".join(made)


def _fitted(rows: list[list[str]], n_fixed: int) -> list[list[str]]:
    """Rows that fit the terminal: what the catalogue says of the tracks is left out where there is no room for it
    (columns from ``n_fixed`` on), and long texts are shortened, the longest first."""
    room = terminal_width()
    while True:
        widths = [max(display_width(row[i]) for row in rows) for i in range(len(rows[0]))]
        cut = (1, *range(n_fixed, len(widths)))
        over = sum(widths) + 2 * (len(widths) - 1) - room
        while over > 0 and widths[widest := max(cut, key=lambda i: widths[i])] > _SHORTEST:
            widths[widest], over = widths[widest] - 1, over - 1
        if over <= 0 or len(widths) == n_fixed:
            cuts = {i: shortened_inside if i == 1 else shortened for i in cut}
            return [[cuts[i](cell, widths[i]) if i in cuts else cell for i, cell in enumerate(row)] for row in rows]
        rows = [row[:-1] for row in rows]


def _told(facts: dict[str, Any], shown: list[str]) -> list[str]:
    key = str(facts.get("key") or NOTHING).replace(":major", "").replace(":minor", "m")
    return [number(facts.get("tempo_bpm"), ".1f"), key, *(facts.get(n) or "" for n in shown)]


def _reason_lines(explanation: Explanation, several: bool) -> list[str]:
    kinds = (("alike", explanation.near), ("apart", explanation.far), ("other", explanation.unlike))
    lines = []
    for kind, some in kinds:
        if some:
            text = "; ".join(_words(reason, several or kind == "other") for reason in some)
            lines += wrapped(f"{kind}: {text}", indent="      ", hanging="        ")
    return lines


def _words(reason: Reason, with_stem: bool) -> str:
    name = f"{reason.stem}: {called(reason.descriptor)}" if with_stem else called(reason.descriptor)
    if not reason.single:
        return name
    if reason.query is None and reason.neighbour is None:
        return f"{name}: none in both"
    return f"{name} {told(reason.descriptor, reason.unit, [reason.query, reason.neighbour])}"
