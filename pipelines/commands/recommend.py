"""``stemfeatures recommend``: from listening and features to recommendations."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.files import replacing
from stemfeatures._util.json import plain
from stemfeatures._util.urls import place_of
from stemfeatures.recommendation.names import CORE_KINDS, KINDS, METHODS, USES_FEATURES

from ._exit import DONE, UsageError
from ._inputs import add_overwrite, require_folder, require_free
from ._options import DATASET_HELP, Parser, add_verb, comma_list, positive, whole
from ._progress import ProgressLine
from ._text import columns, count, echo, json_text, visible

if TYPE_CHECKING:
    from stemfeatures.recommendation.factorization import Settings
    from stemfeatures.recommendation.interactions import Reading

_INTERACTIONS = (
    "CSV, TSV or Parquet file, or a folder of Parquet files, with columns user_id and track_id and, where known, "
    "weight (plays, hours; above 0) and time (ISO 8601 or seconds since 1970)"
)


def add_parser(verbs: Any) -> None:
    help = "train, evaluate and apply recommenders"
    parser = verbs.add_parser(
        "recommend",
        help=help,
        description=f"{help.capitalize()}: from who listened to what, and features of the tracks.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", dest="action", parser_class=Parser, required=True
    )  # fmt: skip
    _add_train(actions)
    _add_evaluate(actions)
    _add_predict(actions)


def _add_train(actions: Any) -> None:
    parser = add_verb(
        actions,
        "train",
        run_train,
        "train a recommender",
        description="Rows that cannot be used, and tracks that are not in the features directory, are counted and "
        "told. The model is a folder that also records what it was trained on.",
        examples=(
            "stemfeatures recommend train features listening.parquet -o model",
            "stemfeatures recommend train features listening.csv -o model --kind content --stems vocals,drums",
        ),
    )
    _add_data(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the model")
    add_overwrite(parser)
    parser.add_argument(
        "--kind", choices=KINDS, default="hybrid", metavar="NAME", help=f"{', '.join(KINDS)} (default: %(default)s)"
    )
    _add_learning(parser)
    parser.add_argument("--json", action="store_true", help="the model's card and the counts as one JSON object")


def _add_evaluate(actions: Any) -> None:
    parser = add_verb(
        actions,
        "evaluate",
        run_evaluate,
        "compare recommenders on listening that was kept from them",
        description="Recall, NDCG, MAP and hit rate (trec_eval's) with 95 % intervals from a bootstrap over users, and "
        "coverage of the catalogue; for known users and tracks, for tracks that nobody has listened to, and for new "
        "users. Needs the recommend extra.",
        examples=(
            "stemfeatures recommend evaluate features listening.parquet",
            "stemfeatures recommend evaluate features listening.csv --split time --kinds popularity,als,hybrid -k 20",
        ),
    )
    _add_data(parser)
    parser.add_argument(
        "--kinds",
        type=comma_list,
        default=CORE_KINDS,
        metavar="NAMES",
        help=f"which of {', '.join(KINDS)} (default: {','.join(CORE_KINDS)})",
    )
    parser.add_argument(
        "-k",
        type=_lengths,
        default=(10, 50),
        metavar="N",
        help="length of the list; several with commas (default: 10,50)",
    )
    parser.add_argument(
        "--split",
        choices=METHODS,
        default=METHODS[0],
        metavar="NAME",
        help="leave-k-out: each user's last tracks are asked; time: everything after one point in time "
        "(default: %(default)s)",
    )
    parser.add_argument("--leave", type=whole(1), default=5, metavar="K", help="for leave-k-out (default: %(default)s)")
    parser.add_argument(
        "--test-fraction", type=_share, default=0.2, metavar="X", help="of the interactions, for time (default: 0.2)"
    )
    parser.add_argument(
        "--cold-tracks", type=_share, default=0.1, metavar="X", help="share of tracks to hold out (default: 0.1)"
    )
    parser.add_argument(
        "--cold-users", type=_share, default=0.1, metavar="X", help="share of users to hold out (default: 0.1)"
    )
    parser.add_argument(
        "--resamples", type=whole(1), default=1000, metavar="N", help="of the bootstrap (default: %(default)s)"
    )
    _add_learning(parser)
    parser.add_argument("--json", action="store_true", help="settings, scores and gains over popularity as JSON")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the scores by user to a Parquet file")
    add_overwrite(parser)


def _add_predict(actions: Any) -> None:
    parser = add_verb(
        actions,
        "predict",
        run_predict,
        "recommend tracks to users",
        description="Writes user_id, track_id, score and rank (from 1) to a Parquet file, or prints them. Users and "
        "tracks may have come after training; users of whom nothing is known get what is popular. Tracks a user has "
        "listened to are left out.",
        examples=(
            "stemfeatures recommend predict model features listening.parquet -k 50 -o recommendations.parquet",
            "stemfeatures recommend predict model features listening.parquet --user ana --user luis",
        ),
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of a trained model")
    _add_data(parser)
    parser.add_argument("-k", type=whole(1), default=10, metavar="N", help="tracks a user (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="Parquet file to write")
    add_overwrite(parser)
    parser.add_argument(
        "--user", action="append", metavar="ID", help="only this user; can be given several times (default: all)"
    )
    parser.add_argument("--users", type=Path, metavar="FILE", help="only the users in this text file, an id a line")
    parser.add_argument("--include-heard", action="store_true", help="also tracks that the user has listened to")
    parser.add_argument(
        "--new-only", action="store_true", help="only tracks without listeners in training (content, hybrid)"
    )
    parser.add_argument("--json", action="store_true", help="the counts, and without --output the rows, as JSON")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("features", type=place_of, metavar="FEATURES", help=DATASET_HELP)
    parser.add_argument("interactions", type=Path, metavar="INTERACTIONS", help=_INTERACTIONS)


def _add_learning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stems", type=comma_list, metavar="NAMES", help="mixture,vocals,drums,bass,other (default: all)"
    )
    parser.add_argument(
        "--families",
        type=comma_list,
        metavar="NAMES",
        help="activity,f0,rhythm,timbre,loudness,harmony,structure,notes,embedding (default: all but embedding)",
    )
    parser.add_argument(
        "--weigh-by-separation",
        action="store_true",
        help="let stems count by how far their separation can be trusted (separation_sdr_db)",
    )
    parser.add_argument("--factors", type=whole(1), default=64, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--iterations", type=whole(1), default=16, metavar="N", help="sweeps (default: %(default)s)")
    parser.add_argument(
        "--unobserved",
        type=positive,
        default=0.1,
        metavar="X",
        help="weight of not having listened, against 1 of having listened once (default: %(default)s)",
    )
    parser.add_argument(
        "--regularization", type=positive, metavar="X", help="(default: what ranks held-out training data best)"
    )
    parser.add_argument("--seed", type=whole(0), default=0, metavar="S", help="(default: %(default)s)")


def _lengths(text: str) -> tuple[int, ...]:
    return tuple(whole(1)(number) for number in comma_list(text))


def _share(text: str) -> float:
    value = 0.0 if text.strip() in ("0", "0.0") else positive(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, not {text!r}")
    return value


# --------------------------------------------------------------------------------------------------------------- run


def run_train(args: argparse.Namespace) -> int:
    from ..recommend import train_recommender

    require_free([args.output], overwrite=args.overwrite)
    _require_features(args, [args.kind])
    with _Steps(args.quiet, "train") as steps:
        result = train_recommender(
            args.features,
            args.interactions,
            args.output,
            kind=args.kind,
            stems=args.stems,
            families=args.families,
            weigh_by_separation=args.weigh_by_separation,
            settings=_settings(args),
            seed=args.seed,
            progress=steps,
        )
    card = result.card
    if args.json:
        echo(json_text(plain({**card, "unusable_columns": list(result.unusable)}), indent=1))
    _warn(result.reading)
    if args.json or args.quiet:
        return DONE
    rows = [
        ("model", f"{args.output} ({card['kind']}, seed {card['seed']})"),
        (
            "learned from",
            f"{count(result.pairs, 'pair')} of {count(result.users, 'user')} and {count(result.tracks, 'track')}",
        ),
        ("can recommend", count(result.catalogue if card["kind"] in ("content", "hybrid") else result.tracks, "track")),
    ]
    if used := card["features"].get("columns"):
        left_out = f", {len(result.unusable)} of them null or constant" if result.unusable else ""
        rows.append(("features", f"{count(len(used), 'column')}{left_out}"))
    if card["settings"]["regularization"] is not None and card["kind"] not in ("popularity", "random"):
        rows.append(("regularization", f"{card['settings']['regularization']:g}"))
    echo(columns(rows))
    return DONE


def run_evaluate(args: argparse.Namespace) -> int:
    require_folder(args.output, "--output")
    require_free([args.output] if args.output else [], overwrite=args.overwrite)
    if unknown := [kind for kind in args.kinds if kind not in KINDS]:
        raise UsageError(f"--kinds: unknown kind {unknown[0]!r}; there are: {', '.join(KINDS)}")
    _require_features(args, args.kinds)
    if args.split == "time" and args.test_fraction == 0:
        raise UsageError("--test-fraction must be above 0")
    from importlib.util import find_spec

    if find_spec("pytrec_eval") is None:
        raise UsageError("the measures are those of trec_eval: pip install 'stemfeatures[recommend]'")
    from ..recommend import evaluate_recommenders

    with _Steps(args.quiet, "evaluate") as steps:
        result = evaluate_recommenders(
            args.features,
            args.interactions,
            kinds=args.kinds,
            stems=args.stems,
            families=args.families,
            weigh_by_separation=args.weigh_by_separation,
            settings=_settings(args),
            seed=args.seed,
            k=args.k,
            split={
                "method": args.split,
                "k": args.leave,
                "test_fraction": args.test_fraction,
                "cold_tracks": args.cold_tracks,
                "cold_users": args.cold_users,
            },
            resamples=args.resamples,
            progress=steps,
        )
    if args.output is not None:
        with replacing(args.output) as partial:
            result.evaluation.per_user.to_parquet(partial, index=False)
    _warn(result.reading)
    echo(json_text(plain(result.to_dict()), indent=1) if args.json else result.evaluation)
    return DONE


def run_predict(args: argparse.Namespace) -> int:
    users = _users(args)
    if args.output is None and users is None:
        raise UsageError("say where to write to with --output, or whom to print with --user")
    require_free([args.output] if args.output else [], overwrite=args.overwrite)
    from ..recommend import predict_recommendations

    with tempfile.TemporaryDirectory() as scratch, _Steps(args.quiet, "predict", unit="user") as steps:
        path = args.output or Path(scratch) / "recommendations.parquet"
        result = predict_recommendations(
            args.model,
            args.features,
            args.interactions,
            path,
            k=args.k,
            users=users,
            include_heard=args.include_heard,
            new_only=args.new_only,
            progress=lambda done, total: steps("recommend", done, total),
        )
        rows = None
        if args.output is None:
            import pyarrow.parquet as pq

            rows = pq.read_table(path).to_pylist()
    _warn(result.reading)
    facts = {
        name: getattr(result, name) for name in ("rows", "users", "by_popularity", "n_new", "n_gone", "new_ranked")
    }
    if args.json:
        facts["interactions"] = result.reading.to_dict()
        echo(json_text(plain(facts if rows is None else {**facts, "recommendations": rows})))
    elif rows is not None:
        cells = [(r["user_id"], str(r["rank"]), f"{r['score']:.3f}", r["track_id"]) for r in rows]
        echo(columns([("user", "rank", "score", "track"), *cells], align="<>>"))
    if not args.quiet and not args.json:
        echo(_summary(result, args.output), stream=sys.stderr)
    return DONE


def _summary(result: Any, output: Path | None) -> str:
    words = [f"{count(result.rows, 'row')} for {count(result.users, 'user')}"]
    if output is not None:
        words[0] += f" in {visible(str(output))}"
    if result.by_popularity:
        words.append(f"{count(result.by_popularity, 'user')} without history got what is popular")
    if result.n_new:
        how = "ranked by their features" if result.new_ranked else "which this kind cannot rank"
        words.append(f"{count(result.n_new, 'track')} newer than the model, {how}")
    if result.n_gone:
        words.append(f"{count(result.n_gone, 'track')} of the model not in the features directory any more")
    return "; ".join(words)


def _users(args: argparse.Namespace) -> list[str] | None:
    if args.user is None and args.users is None:
        return None
    ids = list(args.user or [])
    if args.users is not None:
        try:
            lines = args.users.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UsageError(f"--users: {args.users} is not text in UTF-8") from error
        ids += [line.strip() for line in lines if line.strip()]
        if not ids:
            raise UsageError(f"--users: {args.users} names nobody")
    return ids


def _require_features(args: argparse.Namespace, kinds: Sequence[str]) -> None:
    """UsageError where features are chosen of which none of the kinds looks at any."""
    given = {
        "--stems": args.stems,
        "--families": args.families,
        "--weigh-by-separation": args.weigh_by_separation,
    }
    chosen = next((option for option, value in given.items() if value), None)
    if chosen is not None and not set(kinds) & set(USES_FEATURES):
        raise UsageError(f"{chosen}: {', '.join(kinds)} learns from no features; {' and '.join(USES_FEATURES)} do")


def _settings(args: argparse.Namespace) -> Settings:
    from stemfeatures.recommendation.factorization import Settings

    return Settings(args.factors, args.iterations, args.unobserved, args.regularization)


def _warn(reading: Reading) -> None:
    """What was left out, on standard error, also when quiet: data that are not used are no detail."""
    for line in reading.warnings():
        echo(f"stemfeatures: warning: {reading.source}: {visible(line)}", stream=sys.stderr)


class _Steps:
    """One progress line for all that is done; a context manager, and the ``progress`` of the library."""

    def __init__(self, quiet: bool, label: str, *, unit: str = "step") -> None:
        self._line = ProgressLine(None, label=label, unit=unit, quiet=quiet)
        self._what, self._before = "", 0

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what or done < self._before:
            self._what, self._before = what, 0
        self._line.update(done - self._before, note=f"{what} {done:,}/{total:,}")
        self._before = done

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, *error: object) -> None:
        self._line.close()
