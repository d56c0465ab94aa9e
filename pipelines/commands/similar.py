"""``stemfeatures similar``: the tracks nearest to a track, by stem."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain

from ._exit import DONE
from ._options import add_verb
from ._similarity import add_index_dir, add_question, question, warn_if_stale
from ._text import NOTHING, columns, number

if TYPE_CHECKING:
    from stemfeatures.similarity.explain import Explanation, Reason
    from stemfeatures.similarity.neighbours import Neighbours
    from stemfeatures.tables.reader import Features

#: Catalogue columns that are shown, if there are such.
_SHOWN = ("meta_title", "meta_artist")


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "similar",
        run,
        "find the tracks nearest to a track, by stem",
        description="Compares the descriptors of the chosen stems; a distance of 0 is equal, 1 is what two random "
        "tracks of this directory are apart. Only tracks in which the chosen stems sound are found. With --not, stems "
        "further from this track's than those of half of the tracks are different enough, and nearer ones are ranked "
        "down. Needs the index that stemfeatures index makes, and says when it is out of date.",
        examples=(
            "stemfeatures similar features song.mp3 --stem bass",
            "stemfeatures similar features song.mp3 --stem drums --family rhythm --not vocals --explain",
            "stemfeatures similar features song.mp3 --tempo 118-126 --key-compatible --where 'year>=1990' -k 20",
        ),
    )
    parser.add_argument("dataset", type=Path, metavar="DIR", help="features directory")
    parser.add_argument("track_id", metavar="TRACK_ID", help="the track to start from (after -- if it begins with -)")
    add_question(parser)
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
    from stemfeatures.similarity.explain import explain
    from stemfeatures.similarity.filters import eligible_tracks
    from stemfeatures.similarity.index import open_index
    from stemfeatures.tables.reader import open_features

    features = open_features(args.dataset)
    index = open_index(features, index_dir=args.index_dir)
    stale = index.staleness(features)
    warn_if_stale(args, stale)
    index.row(args.track_id)  # before anything that takes time
    eligible = None
    if args.tempo or args.key_compatible or args.where:
        eligible = eligible_tracks(
            index,
            features,
            tempo_bpm=args.tempo,
            key_of=args.track_id if args.key_compatible else None,
            where=args.where,
        )
    found = index.similar(args.track_id, **question(args), eligible=eligible)
    reasons = explain(index, features, found) if args.explain else None
    facts = _facts(features, [found.query, *found.track_ids])
    if args.json:
        answer = {"index": {"path": str(index.path), "commit": index.commit, "stale": stale or None}}
        print(json.dumps(plain(answer | _as_dict(found, facts, reasons)), ensure_ascii=False, allow_nan=False))
    else:
        print(as_text(found, facts, reasons))
    return DONE


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
    table = columns(rows, align="><" + ">" * (2 + len(stems) + len(others))).split("\n")
    families = ", ".join(dict.fromkeys(b.family for b in found.near.blocks))
    contrast = f", other {' and '.join(others)}" if others else ""
    title = f"similar {', '.join(found.by_stem)}{contrast} (by {families}); 0 is equal, 1 two random tracks"
    lines = [title, "", *table[:2]]
    for i, line in enumerate(table[2:]):
        lines.append(line)
        if reasons is not None:
            lines += _reason_lines(reasons[i], several)
    return "\n".join(lines)


def _told(facts: dict[str, Any], shown: list[str]) -> list[str]:
    return [number(facts.get("tempo_bpm"), ".1f"), facts.get("key") or NOTHING, *(facts.get(n) or "" for n in shown)]


def _reason_lines(explanation: Explanation, several: bool) -> list[str]:
    kinds = (("alike", explanation.near), ("apart", explanation.far), ("other", explanation.unlike))
    return [
        f"      {kind}: {'; '.join(_words(r, several or kind == 'other') for r in some)}"
        for kind, some in kinds
        if some
    ]


def _words(reason: Reason, with_stem: bool) -> str:
    name = reason.descriptor.removesuffix(f"_{reason.unit.lower()}") if reason.unit else reason.descriptor
    name = f"{reason.stem if with_stem else ''} {name.replace('_', ' ')}".strip()
    if not reason.single:
        return name
    if reason.query is None and reason.neighbour is None:
        return f"{name}: none in both"
    values = [_value(reason.query), _value(reason.neighbour)]
    return f"{name} {' | '.join(values)} {reason.unit}".strip()


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else NOTHING if value is None else str(value)
