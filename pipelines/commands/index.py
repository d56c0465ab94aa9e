"""``stemfeatures index``: make the similarity index of a features directory."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ._exit import DONE
from ._options import add_dataset, add_verb
from ._similarity import add_choice, add_index_dir, add_weights, names
from ._text import columns, count, echo, size, wrapped

if TYPE_CHECKING:
    from stemfeatures.similarity.index import SimilarityIndex


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "index",
        run,
        "make the index of similar, with options",
        description="Turns the tables of a features directory into one vector a track, in blocks by stem and family, "
        "and writes them to DIR/_index. It is a cache: delete it, or make it again, at any time. similar and "
        "neighbours make it themselves, and again, with the options it was made with, when the tables have changed. "
        "Rows of several models or settings cannot be compared and are refused unless one is chosen. "
        "Columns that are null or constant in all tracks are left out and named.",
        examples=(
            "stemfeatures index features",
            "stemfeatures index features --stem drums,bass --family rhythm,f0,harmony",
        ),
    )
    add_dataset(parser)
    what = parser.add_argument_group("what goes in")
    add_choice(what, "--stem", "only these stems (default: mixture,vocals,drums,bass,other)")
    add_choice(
        what,
        "--family",
        "only these families of descriptors (default: activity,f0,rhythm,timbre,loudness,harmony,structure,notes; "
        "there is also embedding, the network's vectors)",
    )
    add_weights(what)
    what.add_argument(
        "--whiten", action="store_true", help="take the correlations inside each block out (Mahalanobis distances)"
    )
    what.add_argument(
        "--weigh-by-separation",
        action="store_true",
        help="let stems count by how far their separation can be trusted (separation_sdr_db)",
    )
    what.add_argument("--model-sha256", metavar="SHA", help="only rows of this checkpoint (the first digits)")
    what.add_argument("--config-hash", metavar="HASH", help="only rows of these settings (the first digits)")
    parser.add_argument(
        "--ann",
        action="store_true",
        help="add graphs for approximate search with usearch (extra ann), for more than a million tracks",
    )
    add_index_dir(parser)


def run(args: argparse.Namespace) -> int:
    from stemfeatures.similarity.build import WEIGHTS, build_index
    from stemfeatures.tables.reader import open_features

    families = names(args.family_names)
    defaults = {f: w for f, w in WEIGHTS.items() if families is None or f in families}
    index = build_index(
        open_features(args.dataset),
        stems=names(args.stem_names),
        families=families,
        weights=defaults | dict(args.weights),
        whiten=args.whiten,
        weigh_by_separation=args.weigh_by_separation,
        model_sha256=args.model_sha256,
        config_hash=args.config_hash,
        index_dir=args.index_dir,
        ann=args.ann,
    )
    if not args.quiet:
        echo(as_text(index))
    return DONE


def as_text(index: SimilarityIndex) -> str:
    """What the index holds."""
    bytes_ = sum(f.stat().st_size for f in index.store.folder.iterdir())
    lines = [
        f"{index.path}: {count(len(index), 'track')} of commit {index.commit}, {size(bytes_)}",
        "",
        "coordinates by family and stem, and tracks in which the stem sounds:",
    ]
    blocks = {(b.stem, b.family): len(b.names) for b in index.store.blocks}
    # Families are rows: there are more of them than of stems, and a terminal is narrow.
    rows = [("", *index.stems)]
    rows += [(family, *(str(blocks.get((stem, family), "")) for stem in index.stems)) for family in index.families]
    rows.append(("tracks", *(f"{int(index.audible[stem].sum()):,}" for stem in index.stems)))
    lines.append(columns(rows, align="<" + ">" * len(index.stems), indent="  "))
    if index.unusable:
        head = f"left out, null or constant in all tracks ({len(index.unusable)}): "
        lines += ["", *wrapped(head + ", ".join(index.unusable), hanging="  ")]
    return "\n".join(lines)
