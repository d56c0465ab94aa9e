"""From a features directory and a table of interactions to recommendations, in Python and on the command line."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from recommendation_helper import listeners, write_features

import stemfeatures
from pipelines import cli
from pipelines.recommend import evaluate_recommenders, predict_recommendations, train_recommender
from stemfeatures.errors import DatasetError, ModelError
from stemfeatures.recommendation import store
from stemfeatures.recommendation.catalogue import fit_to
from stemfeatures.recommendation.factorization import Settings
from stemfeatures.recommendation.store import load_recommender
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.schema import SCHEMA_VERSION

SETTINGS = Settings(factors=8, iterations=4, regularization=0.1)
FEW = ("--factors", "8", "--iterations", "4", "--regularization", "0.1")
QUICK = (*FEW, "--stems", "vocals,drums")
STEMS = ("vocals", "drums")


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    return write_features(
        tmp_path_factory.mktemp("data") / "features", [f"album {i % 9}/{i:03d}.mp3" for i in range(120)]
    )


@pytest.fixture(scope="module")
def listening(features) -> Path:
    """200 listeners, two rows of whom cannot be used, and one of a track that nobody extracted."""
    path = features.parent / "listening.csv"
    frame = listeners(features, users=200, tracks_per_user=12, taste=3.0, popularity=0.3)
    odd = pd.DataFrame(
        {"user_id": ["x", "y", "z"], "track_id": ["gone.mp3", frame["track_id"][0], ""], "weight": [1, -1, 1]}
    )
    pd.concat([frame, odd.assign(time=frame["time"][0])]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(features, listening) -> Path:
    path = features.parent / "model"
    train_recommender(features, listening, path, stems=STEMS, settings=SETTINGS, seed=3)
    return path


@pytest.fixture
def main(capsys) -> Callable[..., tuple[int, str, str]]:

    def run(*argv: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(a) for a in argv])
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def copy(features: Path, to: Path) -> Path:
    shutil.copytree(features, to)
    return to


# Saved models ---------------------------------------------------------------------------------------------------------


def test_card_tells_what_it_was_trained_on(model, features, listening) -> None:
    card = load_recommender(model).card
    assert card["kind"] == "hybrid"
    assert card["seed"] == 3
    assert card["settings"] == {"factors": 8, "iterations": 4, "unobserved": 0.1, "regularization": 0.1}
    trained = card["features"]
    assert trained["path"] == str(features)
    assert (trained["commit"], trained["schema_version"], trained["model_sha256"]) == (
        stemfeatures.open_features(features).commit,
        SCHEMA_VERSION,
        "sha-1",
    )
    assert trained["stems"] == list(STEMS)
    assert all(c.split("__")[0] in STEMS for c in trained["columns"])
    told = card["interactions"]
    assert told["bad_rows"] == {"weight is not above 0": 1, "no track_id": 1}
    assert (told["unknown_track_rows"], told["unknown_tracks"], told["unknown_track_examples"]) == (1, 1, ["gone.mp3"])
    assert told["users"] == 200


@pytest.mark.parametrize("kind", ["popularity", "content", "als", "hybrid", "implicit-bpr"])
def test_a_saved_model_recommends_the_same(kind, features, listening, tmp_path) -> None:
    if kind == "implicit-bpr":
        pytest.importorskip("implicit")
    outs = []
    for name in ("a", "b"):  # training twice, too, is the same
        train_recommender(features, listening, tmp_path / name, kind=kind, stems=STEMS, settings=SETTINGS)
        out = tmp_path / f"{name}.parquet"
        result = predict_recommendations(tmp_path / name, features, listening, out, k=5)
        assert (result.users, result.rows) == (201, 5 * 201)
        assert result.by_popularity == 1  # who listened to nothing but gone.mp3
        outs.append(pd.read_parquet(out))
    pd.testing.assert_frame_equal(*outs)
    assert outs[0].groupby("user_id")["rank"].apply(list).map(lambda r: r == [1, 2, 3, 4, 5]).all()
    assert (outs[0].groupby("user_id")["score"].diff().dropna() <= 0).all()


def test_stems_can_count_by_their_separation(main, features, listening, tmp_path) -> None:
    vectors = {}
    for name, option in (("plain", ()), ("weighed", ("--weigh-by-separation",))):
        argv = ("--kind", "content", "--stems", "vocals,drums", "-o", tmp_path / name, *option)
        assert main("recommend", "train", features, listening, *argv)[0] == 0
        saved = load_recommender(tmp_path / name)
        chosen = saved.card["features"]
        assert chosen["weigh_by_separation"] is bool(option)
        trust = [column for column in chosen["columns"] if column.endswith("separation_sdr_db")]
        assert trust == (["vocals__separation_sdr_db", "drums__separation_sdr_db"] if option else [])
        # Of the directory as it is now, the features are those of training.
        np.testing.assert_allclose(fit_to(saved, features).model.vectors, saved.model.vectors, atol=1e-6)
        vectors[name] = saved.model.vectors
        out = tmp_path / f"{name}.parquet"
        assert predict_recommendations(tmp_path / name, features, listening, out, k=5).users == 201
    assert vectors["plain"].shape == vectors["weighed"].shape
    assert not np.allclose(vectors["plain"], vectors["weighed"], atol=1e-3)


def test_recommendations_are_a_typed_table_of_unheard_tracks(model, features, listening, tmp_path) -> None:
    out = tmp_path / "new" / "recommendations.parquet"
    predict_recommendations(model, features, listening, out, k=7)
    table = pq.read_table(out)
    assert [(f.name, str(f.type)) for f in table.schema] == [
        ("user_id", "string"), ("track_id", "string"), ("score", "float"), ("rank", "int32"),
    ]  # fmt: skip
    assert json.loads(table.schema.metadata[b"stemfeatures.recommend"])["model"] == "hybrid"
    heard = set(map(tuple, pd.read_csv(listening)[["user_id", "track_id"]].to_numpy()))
    found = list(map(tuple, table.select(["user_id", "track_id"]).to_pandas().to_numpy()))
    assert not heard & set(found)
    predict_recommendations(model, features, listening, out, k=7, include_heard=True)
    again = list(map(tuple, pd.read_parquet(out)[["user_id", "track_id"]].to_numpy()))
    assert len(heard & set(again)) > len(again) / 3
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_tracks_and_users_that_came_later(model, features, listening, tmp_path) -> None:
    grown = copy(features, tmp_path / "features")
    write_features(grown, [f"new/{i}.mp3" for i in range(30)], seed=9, run_id="r2")
    late = pd.DataFrame({"user_id": ["late"] * 4, "track_id": [f"album {i}/{i:03d}.mp3" for i in range(1, 5)]})
    out = tmp_path / "out.parquet"
    result = predict_recommendations(model, grown, late, out, k=10, new_only=True, users=["late", "late", "nobody"])
    assert (result.n_new, result.n_gone, result.users, result.by_popularity) == (30, 0, 2, 1)
    rows = pd.read_parquet(out)
    heard = set(pd.read_csv(listening)["track_id"])
    assert not set(rows["track_id"]) & heard  # new ones, and old ones that nobody had listened to
    assert rows["track_id"].str.startswith("new/").mean() > 0.5
    assert rows["user_id"].unique().tolist() == ["late", "nobody"]
    everything = predict_recommendations(model, grown, listening, out, k=150)
    assert everything.n_new == 30
    assert pd.read_parquet(out)["track_id"].str.startswith("new/").any()
    train_recommender(features, listening, tmp_path / "als", kind="als", settings=SETTINGS)
    result = predict_recommendations(tmp_path / "als", grown, listening, out, k=150)
    assert (result.n_new, result.new_ranked) == (30, False)
    assert not pd.read_parquet(out)["track_id"].str.startswith("new/").any()
    with pytest.raises(DatasetError, match="als recommender cannot rank tracks without listeners"):
        predict_recommendations(tmp_path / "als", grown, listening, out, new_only=True)


def test_new_tracks_are_ranked_by_what_their_listeners_like(features, listening, model, tmp_path) -> None:
    """A listener of high voices gets the new tracks with high voices."""
    grown = copy(features, tmp_path / "features")
    write_features(grown, [f"new/{i}.mp3" for i in range(60)], seed=9, run_id="r2")
    voice = stemfeatures.features_matrix(grown)["vocals__f0_median_hz"]
    old = voice[~voice.index.str.startswith("new/")].sort_values()
    frame = pd.DataFrame({"user_id": ["high"] * 15 + ["low"] * 15, "track_id": [*old.index[-15:], *old.index[:15]]})
    out = tmp_path / "out.parquet"
    predict_recommendations(model, grown, frame, out, k=15, new_only=True)
    rows = pd.read_parquet(out)
    heard = rows.assign(f0=voice.loc[rows["track_id"]].to_numpy()).groupby("user_id")["f0"].median()
    assert heard["high"] > heard["low"]


# What does not fit ----------------------------------------------------------------------------------------------------


def test_features_that_do_not_fit_are_refused(model, features, listening, tmp_path) -> None:
    other = write_features(tmp_path / "other", ["a", "b", "c"], model="sha-2", run_id="r9")
    with pytest.raises(
        ModelError, match=r"trained on features of model_sha256 sha-1 .*holds those of model_sha256 sha-2"
    ):
        fit_to(load_recommender(model), other)
    changed = tmp_path / "model"
    shutil.copytree(model, changed)
    card = json.loads((changed / store.CARD).read_text())
    card["features"]["columns"][3] = "vocals__charm"
    (changed / store.CARD).write_text(json.dumps(card))
    with pytest.raises(
        ModelError, match=r"1 of the \d+ columns it learned from are not in .*: vocals__charm; train it"
    ):
        fit_to(load_recommender(changed), features)
    card["features"]["schema_version"] = "7.0"
    (changed / store.CARD).write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"tables of schema 7.0, .* has schema 1"):
        fit_to(load_recommender(changed), features)
    train_recommender(features, listening, tmp_path / "als", kind="als", settings=SETTINGS)
    with pytest.raises(ModelError, match="none of its 120 tracks is in"):
        fit_to(load_recommender(tmp_path / "als"), other)


def test_damaged_and_foreign_folders(model, features, listening, tmp_path) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        load_recommender(tmp_path / "none")
    with pytest.raises(ModelError, match="not a recommender"):
        load_recommender(tmp_path)
    for name in ("recommender.json", "vectors.safetensors", "tracks.parquet", "transformer.pickle"):
        broken = tmp_path / f"broken {name}"
        shutil.copytree(model, broken)
        (broken / name).write_bytes((broken / name).read_bytes()[:40])
        with pytest.raises(ModelError, match="damaged"):
            load_recommender(broken)
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        train_recommender(features, listening, mine, kind="popularity")
    assert (mine / "holiday.jpg").is_file()
    train_recommender(features, listening, tmp_path / "m", kind="popularity")
    train_recommender(features, listening, tmp_path / "m", kind="als", settings=SETTINGS)  # a model is replaced
    assert load_recommender(tmp_path / "m").model.kind == "als"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_pickle_that_calls_anything_is_refused(model, tmp_path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "evil",)

    bad = tmp_path / "model"
    shutil.copytree(model, bad)
    (bad / "transformer.pickle").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="which no transformer needs"):
        load_recommender(bad)
    assert not (tmp_path / "evil").exists()


# Evaluation and command line ------------------------------------------------------------------------------------------


def test_stems_that_matter_help_and_others_do_not(tmp_path: Path) -> None:
    """Taste is about vocals and drums, so they rank unseen tracks, and the bass does not.

    Of few tracks chance finds nearly half: there are more than in the other tests.
    """
    features, listening = (
        write_features(tmp_path / "features", [f"{i:03d}.mp3" for i in range(300)]),
        tmp_path / "l.csv",
    )
    listeners(features, users=200, tracks_per_user=12, taste=3.0, popularity=0.3).to_csv(listening, index=False)
    options = {"settings": SETTINGS, "k": [10], "split": {"k": 3, "cold_tracks": 0.3}, "resamples": 200}
    right = evaluate_recommenders(features, listening, kinds=["random", "hybrid"], stems=STEMS, **options)
    wrong = evaluate_recommenders(features, listening, kinds=["random", "hybrid"], stems=["bass"], **options)
    one, other = (
        r.evaluation.scores.set_index(["model", "question", "measure"]).loc[("hybrid", "cold_tracks", "ndcg")]
        for r in (right, wrong)
    )
    assert one["low"] > other["high"]
    assert right.to_dict()["settings"]["features_directory"]["stems"] == list(STEMS)


def test_command_line(main, features, listening, tmp_path) -> None:
    model, out = tmp_path / "model", tmp_path / "out.parquet"
    code, said, err = main("recommend", "train", features, listening, "-o", model, *QUICK, "-q")
    assert (code, said) == (0, "")
    assert "1 row left out: 1 track not in the features directory ('gone.mp3')" in err
    code, _, err = main("recommend", "train", features, listening, "-o", model, *QUICK)
    assert code == 2
    assert "exists already; --overwrite replaces it" in err
    code, said, err = main("recommend", "train", features, listening, "-o", model, *QUICK, "--overwrite")
    assert "learned from" in said
    known = set(open_features(features).to_pandas("tracks")["track_id"])
    heard = known.intersection(pd.read_csv(listening)["track_id"])
    assert f"200 users and {len(heard)} tracks" in said
    code, said, _ = main("recommend", "train", features, listening, "-o", model, *QUICK, "--json", "--overwrite")
    assert json.loads(said)["interactions"]["users"] == 200
    code, said, err = main("recommend", "predict", model, features, listening, "-o", out, "-k", "3", "--json")
    assert (code, json.loads(said)["rows"]) == (0, 3 * 201)
    users = tmp_path / "users.txt"
    users.write_text("listener-001\n\nnobody\n")
    code, said, err = main("recommend", "predict", model, features, listening, "--users", users, "-k", "2")
    assert code == 0
    lines = said.splitlines()
    assert len(lines) == 5
    assert lines[1].split()[:2] == ["listener-001", "1"]
    assert "1 user without history got what is popular" in err
    scores = tmp_path / "scores.parquet"
    argv = ("recommend", "evaluate", features, listening, *QUICK, "-k", "5,10", "--resamples", "20", "--leave", "3")
    code, said, err = main(*argv, "--json", "-o", scores)
    result = json.loads(said)
    assert code == 0
    assert {row["model"] for row in result["scores"]} == {"random", "popularity", "content", "als", "hybrid"}
    assert result["settings"]["split"]["k"] == 3
    assert {"user", "recall@5", "ndcg@10"} <= set(pd.read_parquet(scores))
    code, said, err = main(*argv, "--split", "time", "--kinds", "popularity,als")
    assert (code, said) == (2, "")
    assert "--stems: popularity, als learns from no features" in err
    argv = tuple(part for part in argv if part not in QUICK[len(FEW) :])
    code, said, _ = main(*argv, "--split", "time", "--kinds", "popularity,als")
    assert "New users with a short history" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["train", "FEATURES", "LISTENING"], "required: -o/--output"),
        (["train", "FEATURES", "missing.csv", "-o", "m"], "missing.csv: there is no such file [interactions]"),
        (["train", "nowhere", "LISTENING", "-o", "m"], "nowhere: there is no such directory"),
        (["train", "FEATURES", "LISTENING", "-o", "m", "--stems", "banjo"], "unknown stem 'banjo'; there are: "),
        (
            ["train", "FEATURES", "LISTENING", "-o", "m", "--kind", "als", "--stems", "bass"],
            "--stems: als learns from no",
        ),
        (
            ["train", "FEATURES", "LISTENING", "-o", "m", "--kind", "als", "--weigh-by-separation"],
            "--weigh-by-separation: als learns from no",
        ),
        (
            ["evaluate", "FEATURES", "LISTENING", "--kinds", "als", "--families", "f0"],
            "features; content and hybrid do",
        ),
        (["train", "FEATURES", "LISTENING", "-o", "m", "--kind", "magic"], "invalid choice: 'magic'"),
        (["evaluate", "FEATURES", "LISTENING", "--kinds", "als,magic"], "unknown kind 'magic'; there are: random,"),
        (["evaluate", "FEATURES", "LISTENING", "-k", "5,0"], "whole number of at least 1, not '0'"),
        (["evaluate", "FEATURES", "LISTENING", "--cold-users", "1"], "a share from 0 to below 1"),
        (["predict", "MODEL", "FEATURES", "LISTENING"], "--output, or whom to print with --user"),
        (["predict", "FEATURES", "FEATURES", "LISTENING", "--user", "a"], "not a recommender"),
        (["predict", "MODEL", "FEATURES", "LISTENING", "--users", "none.txt"], "none.txt: No such file"),
        ([], "required: ACTION"),
    ],
)
def test_wrong_usage_is_named(argv, said, main, features, listening, model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"FEATURES": features, "LISTENING": listening, "MODEL": model}
    code, out, err = main("recommend", *(paths.get(a, a) for a in argv))
    assert code == 2
    assert not out
    assert said in err
    assert not Path("m").exists()


def test_constant_features_are_named(tmp_path) -> None:
    """Three tracks without any audible stem."""
    path = write_features(tmp_path / "features", ["a", "b", "c"], silent=True)
    frame = pd.DataFrame({"user_id": ["u", "u", "v"], "track_id": ["a", "b", "c"]})
    with pytest.raises(ModelError, match="no features to learn from: no column varies"):
        train_recommender(path, frame, tmp_path / "m")
    train_recommender(path, frame, tmp_path / "m", kind="als", settings=SETTINGS)
    assert np.isfinite(load_recommender(tmp_path / "m").model.vectors).all()
