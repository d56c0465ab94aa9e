"""Recommendation: interactions, factorization, ranking, splits, measures. The listeners' taste is known."""

from __future__ import annotations

import bz2
import datetime
import gzip
import lzma
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp

from stemfeatures.errors import DatasetError, EvaluationError, ModelError
from stemfeatures.recommendation import evaluation, factorization, ranking
from stemfeatures.recommendation.evaluation import evaluate_models, mean_interval
from stemfeatures.recommendation.factorization import FeatureRegression, Settings, factorize, solve_factors
from stemfeatures.recommendation.fit import fit_recommender
from stemfeatures.recommendation.interactions import Interactions, read_interactions
from stemfeatures.recommendation.models import Recommender, confidence
from stemfeatures.recommendation.names import CORE_KINDS, EXTRA_KINDS
from stemfeatures.recommendation.ranking import recommend, top_k
from stemfeatures.recommendation.simulation import simulate_listeners
from stemfeatures.recommendation.splits import TestSet, split_interactions
from stemfeatures.recommendation.tuning import STRENGTHS, hold_out

SETTINGS = Settings(factors=16, iterations=8, regularization=0.03)


def random_matrix(users: int, tracks: int, density: float, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    matrix = sp.random(users, tracks, density, "csr", dtype=np.float32, random_state=rng)
    matrix.data = rng.integers(1, 5, matrix.nnz).astype(np.float32)
    return matrix


@pytest.fixture(scope="module")
def tracks() -> pd.DataFrame:
    """300 tracks, 12 features."""
    rng = np.random.default_rng(3)
    return pd.DataFrame(rng.standard_normal((300, 12)).astype(np.float32), [f"t{i:03d}" for i in range(300)])


@pytest.fixture(scope="module")
def listening(tracks) -> Interactions:
    """400 listeners for whom two of the features matter."""
    frame = simulate_listeners(tracks.iloc[:, :2], users=400, seed=1, tracks_per_user=15, taste=3.0)
    return read_interactions(frame).for_tracks(tracks.index)


# Interactions ---------------------------------------------------------------------------------------------------------

CSV = """user_id,track_id,weight,time,note
ana,a.mp3,2,2024-05-01T10:00:00Z,x
ana,b.mp3,1,2024-05-01T12:00:00+02:00,x
ana,a.mp3,3,1714557600,x
luis,"b,c.mp3",0.5,1714557600000,x
,a.mp3,1,2024-05-01,x
ana,,1,2024-05-01,x
ana,a.mp3,lots,2024-05-01,x
ana,a.mp3,,2024-05-01,x
ana,a.mp3,-1,2024-05-01,x
ana,a.mp3,1,yesterday,x
ana,a.mp3,1
"""


def test_bad_rows_are_counted_by_reason(tmp_path: Path) -> None:
    path = tmp_path / "listening.csv"
    path.write_text("\ufeff" + CSV, encoding="utf-8")
    read = read_interactions(path)
    assert read.reading.n_rows == 11
    assert read.reading.bad == {
        "wrong number of cells": 1,
        "no user_id": 1,
        "no track_id": 1,
        "weight is not a number": 2,
        "weight is not above 0": 1,
        "time cannot be read": 1,
    }
    assert len(read) == read.reading.n_rows - read.reading.n_bad == 4
    assert "lots" in read.reading.examples["weight is not a number"]
    assert read.user_ids.tolist() == ["ana", "luis"]
    assert read.track_ids.tolist() == ["a.mp3", "b,c.mp3", "b.mp3"]
    assert read.matrix().toarray().tolist() == [[5, 0, 1], [0, 0.5, 0]]
    assert set(read.time) == {np.datetime64("2024-05-01T10:00:00", "ns")}  # all four formats say the same


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters_and_optional_columns(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"track_id{delimiter}user_id\na{delimiter}1\nb{delimiter}01\n", encoding="utf-8")
    read = read_interactions(path)
    assert read.user_ids.tolist() == ["01", "1"]  # ids are text
    assert read.weight.tolist() == [1, 1]
    assert read.time is None


def test_parquet_folder_and_frame_say_the_same_in_any_order(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"user_id": [3, 1, None, 2], "track_id": ["x", "y", "x", "z"], "time": pd.to_datetime(["2024-01-03"] * 4)}
    )
    frame.iloc[:2].to_parquet(tmp_path / "1.parquet")
    frame.iloc[2:].to_parquet(tmp_path / "2.parquet")
    one, two = read_interactions(tmp_path), read_interactions(frame.iloc[::-1])
    assert one.user_ids.tolist() == two.user_ids.tolist() == ["1", "2", "3"]  # not 1.0
    assert (one.matrix() != two.matrix()).nnz == 0
    assert one.reading.bad == two.reading.bad == {"no user_id": 1}
    assert one.time is not None
    assert one.time[0] == np.datetime64("2024-01-03")


def test_folders_called_key_value_are_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": ["007", "7", "7"], "track_id": ["a", "a", "b"], "weight": [1, 2, 3]})
    frame.to_parquet(tmp_path / "by_user", partition_cols=["user_id"])
    read = read_interactions(tmp_path / "by_user")
    assert read.user_ids.tolist() == ["007", "7"]
    assert read.matrix().toarray().tolist() == [[1, 0], [2, 3]]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: data])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_dialects(tmp_path: Path, pack, encoding: str) -> None:
    """Compressed or not, with blanks around names and cells, and names in any case."""
    path = tmp_path / "x.csv"
    path.write_bytes(pack('User_ID, "track_id" , n\n u1, a,1\n"ü2" , "b",2\n'.encode(encoding)))
    read = read_interactions(path)
    assert read.user_ids.tolist() == ["u1", "ü2"]
    assert read.track_ids.tolist() == ["a", "b"]
    assert len(read) == 2


def test_a_file_that_is_damaged_anywhere_is_named(tmp_path: Path) -> None:
    broken = bytearray(gzip.compress(b"u,b\n" * 50, mtime=0))
    broken[10] ^= 7  # no such block of deflate
    path = tmp_path / "x.csv.gz"
    for whole in (b"", gzip.compress(b"user_id,track_id\n" + b"u,a\n" * 300_000, mtime=0)):
        path.write_bytes(whole + broken)
        with pytest.raises(DatasetError, match="while decompressing data") as error:
            read_interactions(path)
        assert str(error.value.source) == str(path)


def test_files_of_other_tools(tmp_path: Path) -> None:
    """One rule for catalogues and listening: the same files are read, the same are refused by name."""
    frame = pd.DataFrame({"user_id": ["u", "v"], "track_id": [1, 2], "time": pd.Timestamp("2024-03-01")})
    frame.to_feather(tmp_path / "x.feather")
    frame.assign(time="2024-03-01").to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    frame.to_csv(tmp_path / "x.csv.zip", index=False)
    frame.to_csv(tmp_path / "x.csv", index=False, encoding="utf-16-le")
    for name in ("x.feather", "x.jsonl", "x.csv.zip", "x.csv"):
        read = read_interactions(tmp_path / name)
        assert read.user_ids.tolist() == ["u", "v"]
        assert read.track_ids.tolist() == ["1", "2"]
        assert read.time is not None
        assert set(read.time) == {np.datetime64("2024-03-01", "ns")}
    for name in ("x.xlsx", "x.json", "x.tar.gz", "x.sqlite"):
        (tmp_path / name).write_bytes(b"?")
        with pytest.raises(DatasetError, match=r"must be CSV or TSV .*, Parquet, Feather or JSON lines, not \.[a-z]+"):
            read_interactions(tmp_path / name)


def test_integers_that_were_floats(tmp_path: Path) -> None:
    """In text the whole column decides: ``1.0`` beside ``1.5`` is a name."""
    path = tmp_path / "x.csv"
    path.write_text("user_id,track_id\n1.0,1.0\n2.0,1.5\n,2.0\n")
    read = read_interactions(path)
    assert read.user_ids.tolist() == ["1", "2"]
    assert read.track_ids.tolist() == ["1.0", "1.5"]
    assert read.reading.bad == {"no user_id": 1}


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-01 10:00:00 UTC",
        "2024-03-01 10:00:00.000000 UTC",
        "2024-03-01 10:00:00+00",
        "2024-03-01 12:00:00+02",
        "2024-03-01 05:00:00.000 -0500",
        "2024-03-01 15:30:00 +05:30",
        "2024-03-01T10:00:00Z",
        "2024-03-01T10:00:00.000+0000",
        "20240301T100000Z",
        "Fri, 01 Mar 2024 10:00:00 GMT",
        "01 Mar 2024, 10:00",
        "2024-03-01 05:00:00.000 America/New_York",
        "2024-03-01T05:00-05:00[America/New_York]",
        "Fri Mar 01 10:00:00 +0000 2024",
        "Mar 1, 2024, 10:00:00 AM UTC",
        "2024/03/01 10:00",
        "1709287200",
        "1709287200.0",
        "1709287200000",
        "1709287200000000",
    ],
)
def test_times_of_exports(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"user_id\ttrack_id\ttime\nu\ta\t{text}\nu\tb\t2024-03-01\n")
    read = read_interactions(path)
    assert read.reading.bad == {}
    assert read.time is not None
    assert read.time.tolist() == [1709287200 * 10**9, 1709251200 * 10**9]


def test_times_are_not_guessed() -> None:
    frame = pd.DataFrame(
        {"user_id": list("aab"), "track_id": list("xyz"), "time": ["3/4/2024", "04-03-2024", "2024-03-04"]}
    )
    read = read_interactions(frame)
    assert read.reading.bad == {"time cannot be read": 2}


@pytest.mark.parametrize("time", [["9999-12-31", "2024-03-01"], [9e10, 1709251200], ["1066-10-14", "2024-03-01"]])
def test_times_out_of_range_are_no_other_times(time: list[object]) -> None:
    read = read_interactions(pd.DataFrame({"user_id": ["u", "u"], "track_id": ["a", "b"], "time": time}))
    assert read.reading.bad == {"time cannot be read": 1}
    assert read.time is not None
    assert read.time.tolist() == [1709251200 * 10**9]
    mixed = [datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC), "2024-03-01"]
    read = read_interactions(pd.DataFrame({"user_id": ["u", "u"], "track_id": ["a", "b"], "time": mixed}))
    assert read.time is not None
    assert read.time.tolist() == [1709251200 * 10**9] * 2


def test_delimiters_behind_the_last_cell(tmp_path: Path) -> None:
    """As catalogues are read: what is empty and too much is no fault, what is missing is one."""
    path = tmp_path / "x.csv"
    path.write_text('user_id,track_id\nu,1,,\n"v, w",2\nx\ny,3,4\nz,5,\n')
    read = read_interactions(path)
    assert read.reading.bad == {"wrong number of cells": 2}
    assert read.reading.n_rows == 5
    assert dict(zip(read.user_ids[read.user].tolist(), read.track_ids[read.track].tolist())) == {
        "u": "1",
        "v, w": "2",
        "z": "5",
    }


def test_weights_and_times_are_no_ids() -> None:
    """Numbers that are too large for ids are weights, and what is neither is refused by its own name."""
    ids = {"user_id": ["u", "v"], "track_id": ["a", "b"]}
    assert read_interactions(pa.table({**ids, "weight": [2.0**60, 3.0]})).weight.tolist() == [2.0**60, 3.0]
    assert read_interactions(pa.table({**ids, "weight": [True, True]})).weight.tolist() == [1.0, 1.0]
    stamps = pa.array([1_700_000_000, 1_700_000_001], pa.timestamp("s", "Europe/Paris"))
    times = read_interactions(pa.table({**ids, "time": stamps})).time
    assert times.tolist() == [1_700_000_000_000_000_000, 1_700_000_001_000_000_000]
    for name, allowed in (("weight", "weights must be numbers"), ("time", "times must be dates, numbers or text")):
        for values in ([[1], [2]], [{"x": 1}, {"x": 2}], pa.array([1, 2], pa.duration("s"))):
            with pytest.raises(DatasetError, match=rf"column '{name}' is .*; {allowed}"):
                read_interactions(pa.table({**ids, name: values}))


def test_an_hour_that_came_twice_is_not_guessed() -> None:
    times = ["2024-10-27 02:30:00 Europe/Berlin", "2024-10-27 04:30:00 Europe/Berlin", "2024-10-27 04:30:00 Mid/Garth"]
    read = read_interactions(pd.DataFrame({"user_id": list("aab"), "track_id": list("xyz"), "time": times}))
    assert read.reading.bad == {"time cannot be read": 2}
    assert read.time is not None
    assert read.time.tolist() == [np.datetime64("2024-10-27T03:30", "ns").astype(int)]


def test_the_index_of_a_frame_is_not_lost() -> None:
    frame = pd.DataFrame({"user_id": ["u", "v"], "track_id": [1, 2]})
    assert read_interactions(frame.set_index("user_id")).user_ids.tolist() == ["u", "v"]
    assert read_interactions(frame.set_index(["user_id", "track_id"])).track_ids.tolist() == ["1", "2"]


def test_batches_join_up(monkeypatch) -> None:
    from stemfeatures.recommendation import interactions

    frame = pd.DataFrame({"user_id": [f"u{i % 7}" for i in range(100)], "track_id": [f"t{i % 11}" for i in range(100)]})
    whole = read_interactions(frame)
    monkeypatch.setattr(interactions, "BATCH_ROWS", 9)
    parts = read_interactions(frame)
    assert np.array_equal(whole.matrix().toarray(), parts.matrix().toarray())
    assert np.array_equal(whole.user_ids[whole.user], frame["user_id"])


def test_unknown_tracks_are_counted() -> None:
    read = read_interactions(pd.DataFrame({"user_id": list("aabb"), "track_id": ["x", "gone", "gone", "away"]}))
    known = read.for_tracks(["w", "x"])
    assert len(known) == 1
    assert known.shape == (2, 2)
    assert known.reading.n_unknown_rows == 3
    assert known.reading.unknown_tracks == ("away", "gone")
    [warning] = known.reading.warnings()
    assert "3 rows left out: 2 tracks not in the features directory ('away', 'gone')" in warning
    with pytest.raises(DatasetError, match=r"no track .*'away'.* is in the features directory .*'q'"):
        read.for_tracks(["q"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user,track_id\na,b\n", "has no column user_id; it has user, track_id"),
        ("user_id,track_id\n", "holds no interaction that can be used"),
        ("user_id,track_id,weight\na,b,0\n", "1 weight is not above 0"),
        ("", "the file is empty"),
        ("user_id,track_id, user_id\na,b,c\n", "two columns are called 'user_id'"),
        ("PK\3\4", "is a zip archive or an Excel workbook"),
        ("user_id,track_id\na,\x80\n", "is not text in UTF-8.*save it as UTF-8"),
        ("u\0\0\0s\0\0\0e\0\0\0", "is not text in UTF-8 or UTF-16"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=said) as caught:
        read_interactions(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DatasetError, match="there is no such file"):
        read_interactions(tmp_path / "other.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no Parquet files"):
        read_interactions(tmp_path / "empty")


@pytest.mark.parametrize("made", ["polars", "categories", "pyarrow", "duckdb"])
def test_tables_of_other_libraries(made: str) -> None:
    frame = pd.DataFrame(
        {"user_id": ["ana", "luis", "ana", None], "track_id": [7, 8, 8, 9], "weight": [2.0, 1.0, 3.0, 1.0]}
    )
    frame["time"] = pd.Timestamp("2024-05-01T10:00:00Z")
    expected = read_interactions(frame)
    if made in ("polars", "categories"):
        polars = pytest.importorskip("polars")
        source = polars.from_pandas(frame)
        if made == "categories":
            source = source.with_columns(polars.col("user_id").cast(polars.Categorical))
    elif made == "duckdb":
        source = pytest.importorskip("duckdb").sql("SELECT * FROM frame")
    else:
        source = pa.Table.from_pandas(frame)
    read = read_interactions(source)
    assert read.user_ids.tolist() == ["ana", "luis"]
    assert read.reading.bad == expected.reading.bad == {"no user_id": 1}
    for name in ("user_ids", "track_ids", "user", "track", "weight", "time"):
        assert np.array_equal(getattr(read, name), getattr(expected, name))


@pytest.mark.parametrize("source", [[("ana", "a.mp3")], 3, pd.Series(["ana"]), None])
def test_what_is_no_table_of_interactions(source: object) -> None:
    with pytest.raises(TypeError, match=rf"a path, a DataFrame or an Arrow table, not {type(source).__name__}"):
        read_interactions(source)  # type: ignore[arg-type]


# Factorization --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.01, 0.1, 0.6])  # shorter and longer than the number of factors
@pytest.mark.parametrize("with_prior", [False, True])
def test_solution_is_the_exact_minimum(density: float, with_prior: bool, monkeypatch) -> None:
    monkeypatch.setattr(factorization, "BLOCK", 2_000)  # several blocks and pieces
    rng = np.random.default_rng(1)
    matrix = random_matrix(30, 80, density)
    fixed = rng.standard_normal((80, 12)).astype(np.float32)
    prior = rng.standard_normal((30, 12)).astype(np.float32) if with_prior else None
    settings = Settings(factors=12, unobserved=0.3, regularization=0.05)
    found = solve_factors(fixed, matrix, settings, prior=prior)
    dense, V = matrix.toarray().astype(float), fixed.astype(float)
    for u in range(30):
        ridge = 0.05 * (np.sum(dense[u] > 0) + 0.3 * 80)
        A = (V.T * dense[u]) @ V + 0.3 * V.T @ V + ridge * np.eye(12)
        b = V.T @ dense[u] + (0 if prior is None else ridge * prior[u])
        np.testing.assert_allclose(found[u], np.linalg.solve(A, b), rtol=2e-3, atol=2e-4)


def test_every_sweep_lowers_the_loss() -> None:
    matrix = random_matrix(60, 40, 0.1)

    def loss(n: int) -> float:
        s = Settings(factors=5, iterations=n, unobserved=0.2, regularization=0.05)
        found = factorize(matrix, s, seed=0)
        scores = found.users @ found.items.T
        counts = [np.diff(matrix.indptr) + 0.2 * 40, np.diff(matrix.tocsc().indptr) + 0.2 * 60]
        seen = matrix.toarray()
        fit = np.sum(seen * (scores - 1) ** 2) + 0.2 * np.sum(scores**2)
        return float(fit + 0.05 * sum(np.sum(c[:, None] * f**2) for c, f in zip(counts, (found.users, found.items))))

    losses = [loss(n) for n in (1, 2, 4, 16)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


def test_regression_finds_the_map_and_how_far_to_trust_it() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 20)).astype(np.float32)
    truth = rng.standard_normal((20, 4)).astype(np.float32)
    regression = FeatureRegression(features, seed=0)
    np.testing.assert_allclose(regression.fit(features @ truth), truth, atol=0.01)
    trusting = regression.strength
    regression.fit(rng.standard_normal((200, 4)).astype(np.float32))
    assert regression.strength > 100 * trusting


def test_features_that_say_nothing_cost_nothing(tracks, listening) -> None:
    """A regression on items that were drawn to its own predictions believes in any features, more in each sweep."""
    split = split_interactions(listening, k=3, cold_tracks=0.0, cold_users=0.0)
    settings = Settings(factors=16, iterations=16, regularization=0.1)
    noise = np.random.default_rng(7).standard_normal((300, 12)).astype(np.float32)
    gain = {}
    for name, features in (("none", None), ("noise", noise), ("right", tracks.to_numpy())):
        kind = "als" if features is None else "hybrid"
        model = fit_recommender(kind, split.train, tracks.index, features=features, settings=settings)
        gain[name] = evaluation.score_model(model, split.tests[0], [10])[0]["ndcg@10"].mean()
    assert gain["noise"] > 0.95 * gain["none"]
    assert gain["right"] > gain["none"]


def test_vectors_are_predicted_from_features_as_they_are() -> None:
    """Shifting all features changes no recommendation, whatever the mean item is."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 3)).astype(np.float32)
    matrix = random_matrix(80, 60, 0.2)
    one = factorize(matrix, SETTINGS, seed=0, features=features)
    other = factorize(matrix, SETTINGS, seed=0, features=features + np.float32(4.0))
    assert one.coefficients is not None
    assert other.coefficients is not None
    predicted = features @ one.coefficients[:-1] + one.coefficients[-1]
    np.testing.assert_allclose((features + 4) @ other.coefficients[:-1] + other.coefficients[-1], predicted, atol=1e-3)
    np.testing.assert_allclose(other.items, one.items, atol=1e-3)
    # An item with average features is predicted to be the average item.
    alone = solve_factors(one.users, matrix.T.tocsr(), SETTINGS)
    np.testing.assert_allclose(predicted.mean(axis=0), alone.mean(axis=0), atol=1e-4)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="regularization must be above 0"):
        Settings(regularization=0)
    with pytest.raises(ValueError, match="factors must be above 0"):
        Settings(factors=0)


def test_threads_change_nothing(monkeypatch) -> None:
    monkeypatch.setattr(factorization, "BLOCK", 2_000)
    matrix = random_matrix(200, 60, 0.2)
    fixed = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    many = solve_factors(fixed, matrix, SETTINGS)
    monkeypatch.setattr(factorization, "MAX_THREADS", 1)
    assert np.array_equal(many, solve_factors(fixed, matrix, SETTINGS))


# Ranking --------------------------------------------------------------------------------------------------------------


def test_top_k_is_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (40, 30)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    scores[0] = -np.inf
    for k in (1, 7, 30, 50):
        best, values = top_k(scores, k)
        for row, line in enumerate(scores):
            order = [i for i in np.argsort(-line, kind="stable")[:k] if line[i] > -np.inf]
            assert best[row].tolist() == order + [-1] * (k - len(order))
            assert values[row, : len(order)].tolist() == line[order].tolist()


def collect(model: Recommender, histories: sp.csr_matrix, **options) -> list[list[int]]:
    return [tracks.tolist() for r in recommend(model, histories, **options) for tracks in r.tracks]


@pytest.mark.parametrize("kind", ["popularity", "content", "als"])
def test_ranking_knows_no_blocks_and_nothing_heard(kind, tracks, listening, monkeypatch) -> None:
    matrix = listening.matrix()
    model = fit_recommender(kind, matrix, tracks.index, features=tracks.to_numpy(), settings=SETTINGS)
    whole = collect(model, matrix, k=20)
    monkeypatch.setattr(ranking, "BLOCK_SCORES", 4_000)
    assert whole == collect(model, matrix, k=20)
    heard = matrix.toarray() > 0
    assert not any(heard[user, best].any() for user, best in enumerate(whole))
    chosen = np.arange(50, 60)
    few = collect(model, matrix, k=20, candidates=chosen)
    assert {track for best in few for track in best} <= set(chosen)
    able = chosen if model.ranks_unseen else chosen[heard.any(0)[chosen]]
    assert len(able) > 5
    assert [len(best) for best in few] == (len(able) - heard[:, able].sum(1)).tolist()
    ids = np.array([f"u{i}" for i in range(matrix.shape[0])])
    table = pd.concat(r.to_pandas(model.track_ids, ids) for r in recommend(model, matrix, k=20, candidates=chosen))
    some = next(user for user, best in enumerate(few) if 1 < len(best) < len(able))
    own = table[table["user_id"] == f"u{some}"]
    assert own["track_id"].tolist() == model.track_ids[few[some]].tolist()
    assert own["rank"].tolist() == list(range(1, len(few[some]) + 1))
    assert own["score"].is_monotonic_decreasing
    assert len(table) == sum(map(len, few))


@pytest.mark.parametrize("k", [0, -3])
def test_lists_without_length_are_refused(k: int) -> None:
    model = Recommender("popularity", np.array(["a", "b"]), np.zeros((2, 0), np.float32), np.ones(2, np.float32))
    with pytest.raises(ValueError, match=f"k must be at least 1, not {k}"):
        collect(model, sp.csr_matrix((1, 2), dtype=np.float32), k=k)


def test_many_users_and_tracks_need_little_memory(monkeypatch) -> None:
    monkeypatch.setattr(ranking, "BLOCK_SCORES", 2**18)
    n_users, n_tracks = 1_500, 10_000
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n_tracks, 8)).astype(np.float32)
    model = Recommender(
        "als", np.arange(n_tracks).astype(str), vectors, np.ones(n_tracks, np.float32), SETTINGS,
        gram=vectors.T @ vectors, n_gram=n_tracks,
    )  # fmt: skip
    histories = random_matrix(n_users, n_tracks, 0.0005)
    tracemalloc.start()
    try:
        n = sum(len(r.tracks) for r in recommend(model, histories, k=10))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n == n_users
    assert peak < 0.2 * 4 * n_users * n_tracks  # of the dense matrix


# Models ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CORE_KINDS)
def test_equal_seeds_give_equal_models(kind, tracks, listening) -> None:
    options = {"features": tracks.to_numpy(), "settings": SETTINGS}
    one, same, other = (
        fit_recommender(kind, listening.matrix(), tracks.index, seed=seed, **options) for seed in (1, 1, 2)
    )
    assert np.array_equal(one.vectors, same.vectors)
    if kind in ("als", "hybrid"):
        assert not np.allclose(one.vectors, other.vectors)


def test_a_new_user_is_served_like_one_of_training(tracks, listening) -> None:
    matrix = listening.matrix()
    model = fit_recommender("als", matrix, tracks.index, settings=SETTINGS)
    users = model.vectors_of(matrix[:5])
    assert np.array_equal(users, model.vectors_of(matrix)[:5]) or np.allclose(users, model.vectors_of(matrix)[:5], 1e-4)
    [result] = recommend(model, sp.csr_matrix((1, len(tracks)), dtype=np.float32), k=5)
    assert result.by_popularity.tolist() == [True]
    popular = fit_recommender("popularity", matrix, tracks.index)
    assert np.array_equal(result.tracks[0], np.argsort(-popular.listeners, kind="stable")[:5])


def test_confidence_grows_slowly() -> None:
    assert confidence(sp.csr_matrix([[1.0, 3.0, 0.0]])).toarray().tolist() == [[1, 2, 0]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "magic"}, "unknown kind of recommender 'magic'; there are: random,"),
        ({"kind": "hybrid"}, "a hybrid recommender needs features"),
        ({"kind": "content", "features": np.full((300, 2), np.nan)}, "hold NaN"),
        ({"kind": "content", "features": np.ones((299, 2))}, "for 300 tracks"),
        ({"kind": "als", "matrix": sp.csr_matrix((4, 300), dtype=np.float32)}, "no interactions to learn from"),
    ],
)
def test_what_cannot_be_trained(options, said, tracks, listening) -> None:
    options = {"matrix": listening.matrix(), "track_ids": tracks.index, **options}
    with pytest.raises(ModelError, match=said):
        fit_recommender(**options)


def test_regularization_is_tuned_on_training_data_only(tracks, listening) -> None:
    matrix = listening.matrix()
    said: list[str] = []
    settings = Settings(factors=16, iterations=4)
    model = fit_recommender(
        "als", matrix, tracks.index, settings=settings, progress=lambda what, done, total: said.append(what)
    )
    assert model.settings.regularization in STRENGTHS
    assert len({w for w in said if w.startswith("try regularization")}) >= 2
    assert said[-1] == "train"
    train, users, truth = hold_out(matrix, np.random.default_rng(0))
    assert (abs(train[users] + truth - matrix[users])).sum() == 0
    assert train[users].multiply(truth).nnz == 0
    assert (np.diff(truth.indptr) > 0).all()


@pytest.mark.parametrize("kind", EXTRA_KINDS)
def test_models_of_implicit(kind, tracks, listening) -> None:
    pytest.importorskip("implicit")
    split = split_interactions(listening, k=3)
    options = {"settings": SETTINGS, "user_ids": listening.user_ids}
    found = evaluate_models(split, tracks.index, ["popularity", kind], k=[10], resamples=50, **options)
    gains = found.gains.set_index(["model", "question", "measure"])
    assert gains.loc[(kind, "warm", "ndcg"), "low"] > 0
    one, two = (fit_recommender(kind, split.train, tracks.index, seed=1, **options) for _ in range(2))
    assert np.array_equal(one.vectors, two.vectors)


# Splits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["leave-k-out", "time"])
def test_what_is_asked_was_not_learned(method, listening) -> None:
    split = split_interactions(listening, method=method, k=3, cold_tracks=0.2, cold_users=0.2, seed=4)
    assert [t.name for t in split.tests] == ["warm", "cold_tracks", "cold_users"]
    learned = np.diff(split.train.tocsc().indptr) > 0
    whole = listening.matrix()
    for test in split.tests:
        assert test.history.multiply(test.truth).nnz == 0
        assert (np.diff(test.truth.indptr) > 0).all()
        assert set(test.truth.indices) <= set(test.candidates)
        assert (test.truth.multiply(whole[test.users]) > 0).nnz == test.truth.nnz
        served = split.train[test.users]
        if test.name == "cold_users":
            assert served.nnz == 0
            assert (np.diff(test.history.indptr) > 0).all()
        else:
            assert (served != test.history).nnz == 0
        assert learned[test.candidates].all() == (test.name != "cold_tracks")
        assert not (test.name == "cold_tracks" and learned[test.candidates].any())
    again = split_interactions(listening, method=method, k=3, cold_tracks=0.2, cold_users=0.2, seed=4)
    assert (again.train != split.train).nnz == 0
    if method == "leave-k-out":
        assert set(np.diff(split.tests[0].truth.indptr)) <= {1, 2, 3}
        assert split.description["order"] == "time"


def test_leave_k_out_takes_the_last_and_time_the_future() -> None:
    frame = pd.DataFrame(
        {
            "user_id": list("aaaaabbbbb"),
            "track_id": list("vwxyzvwxyv"),
            "time": pd.to_datetime([f"2024-01-{d:02d}" for d in (1, 2, 3, 4, 5, 3, 4, 5, 6, 7)]),
        }
    )
    read = read_interactions(frame)
    none = {"cold_tracks": 0.0, "cold_users": 0.0}
    split = split_interactions(read, k=1, **none)
    # z has no other listener, so it is a cold track; b's last new track is y (v came first on the 3rd).
    asked = {
        (t.name, read.user_ids[u], read.track_ids[i])
        for t in split.tests
        for u, row in zip(t.users, t.truth)
        for i in row.indices
    }
    assert asked == {("cold_tracks", "a", "z"), ("warm", "b", "y")}
    later = split_interactions(read, method="time", test_fraction=0.3, **none)
    asked = {
        (t.name, read.user_ids[u], read.track_ids[i])
        for t in later.tests
        for u, row in zip(t.users, t.truth)
        for i in row.indices
    }
    # From the 5th on: z by a (new), x and y by b; v by b again is not asked.
    assert asked == {("cold_tracks", "a", "z"), ("warm", "b", "x"), ("warm", "b", "y")}
    assert later.description["repeats_not_asked"] == 1
    with pytest.raises(DatasetError, match="needs a column time"):
        split_interactions(read_interactions(frame.drop(columns="time")), method="time")
    with pytest.raises(DatasetError, match="nothing is left to ask"):
        split_interactions(read, k=9, **none)


# Evaluation -----------------------------------------------------------------------------------------------------------


def test_measures_against_the_textbook() -> None:
    ranked = np.array([[3, 1, 4], [0, 1, 2], [-1, -1, -1]])
    truth = sp.csr_matrix(([1.0] * 6, ([0, 0, 0, 0, 1, 2], [3, 4, 7, 8, 9, 9])), shape=(3, 10))
    names = ["recall_3", "ndcg_cut_3", "map_cut_3", "success_3", "success_1"]
    found = evaluation._measure(ranked, truth, names)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert found["recall_3"].tolist() == [0.5, 0, 0]
    np.testing.assert_allclose(found["ndcg_cut_3"], [(1 + 1 / np.log2(4)) / ideal, 0, 0])
    np.testing.assert_allclose(found["map_cut_3"], [(1 + 2 / 3) / 4, 0, 0])
    assert found["success_1"].tolist() == [1, 0, 0]


def test_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.15)
    assert mean_interval(np.ones(5)) == (1, 1, 1)
    assert np.isnan(mean_interval(np.ones(1))[1:]).all()


def test_models_find_a_taste_that_is_there(tracks, listening) -> None:
    split = split_interactions(listening, k=3)
    result = evaluate_models(
        split, tracks.index, CORE_KINDS, features=tracks.to_numpy(), k=[10], settings=SETTINGS, resamples=200,
        user_ids=listening.user_ids,
    )  # fmt: skip
    gain = result.gains.set_index(["model", "question", "measure"])["low"]
    for kind in ("als", "hybrid"):
        assert gain[kind, "warm", "ndcg"] > 0
        assert gain[kind, "cold_users", "recall"] > 0
    value = result.scores.set_index(["model", "question", "measure"])
    low, high = value["low"], value["high"]
    assert low["content", "cold_tracks", "recall"] > high["random", "cold_tracks", "recall"]
    assert low["hybrid", "cold_tracks", "recall"] > high["content", "cold_tracks", "recall"]
    assert np.isnan(value["value"]["als", "cold_tracks", "ndcg"])
    assert value["value"]["popularity", "warm", "coverage"] < value["value"]["als", "warm", "coverage"]
    assert set(result.per_user["user"]) <= set(listening.user_ids)
    text = str(result)
    assert "Known users, tracks nobody has listened to" in text
    assert text.splitlines()[1].split() == ["@10", "recall", "ndcg", "map", "hit_rate", "coverage"]
    shown = next(line.split() for line in text.splitlines() if line.startswith("als "))
    assert shown[1] == f"{value['value']['als', 'warm', 'recall']:.3f}"
    assert max(map(len, text.splitlines())) <= 80
    assert result.to_dict()["scores"][0]["users"] == len(split.tests[0].users)


def test_models_do_not_find_a_taste_that_is_not_there(tracks) -> None:
    frame = simulate_listeners(tracks, users=300, seed=2, tracks_per_user=15, taste=0.0)
    listening = read_interactions(frame).for_tracks(tracks.index)
    result = evaluate_models(
        split_interactions(listening, k=3), tracks.index, ["random", "popularity", "hybrid"],
        features=tracks.to_numpy(), k=[10], settings=SETTINGS, resamples=200,
    )  # fmt: skip
    gain = result.gains.set_index(["model", "question", "measure"])
    assert gain["low"]["hybrid", "warm", "ndcg"] <= 0
    assert gain["high"]["random", "warm", "ndcg"] < 0


def test_lists_as_long_as_the_candidates_are_said_to_be(tracks) -> None:
    """Their recall is 1 for every recommender."""
    frame = pd.DataFrame({"user_id": np.repeat(["a", "b", "c"], 6), "track_id": [*tracks.index[:6]] * 3})
    listening = read_interactions(frame).for_tracks(tracks.index)
    split = split_interactions(listening, k=2, cold_tracks=0.0, cold_users=0.0)
    assert len(split.tests[0].candidates) == 6
    head, note, *rest = str(evaluate_models(split, tracks.index, ["random"], k=[3, 10, 50])).splitlines()
    assert head == "Known users, known tracks: 3 users, 6 candidates"
    assert note == "(lists of 10 and 50 hold all of them: the order alone is measured)"
    assert rest[0].startswith("@3 ")


def test_coverage_counts_tracks_once() -> None:
    vectors = np.zeros((6, 0), np.float32)
    model = Recommender("popularity", np.array(list("abcdef")), vectors, np.array([9, 8, 7, 1, 1, 0], np.float32))
    history = sp.csr_matrix(np.eye(6, dtype=np.float32)[[0, 5]])
    truth = sp.csr_matrix(np.eye(6, dtype=np.float32)[[1, 0]])
    test = TestSet("warm", np.array([0, 1]), history, truth, np.arange(5))
    values, coverage = evaluation.score_model(model, test, [1, 2])
    assert coverage == {1: 2 / 5, 2: 3 / 5}  # b; a: then b, c; a, b
    assert values["hit_rate@1"].tolist() == [1, 1]


def test_nothing_to_evaluate(tracks, listening, monkeypatch) -> None:
    split = split_interactions(listening, k=3)
    with pytest.raises(EvaluationError, match="name at least one model"):
        evaluate_models(split, tracks.index, [])
    monkeypatch.setitem(__import__("sys").modules, "pytrec_eval", None)
    with pytest.raises(EvaluationError, match=r"pip install 'stemfeatures\[recommend\]'"):
        evaluate_models(split, tracks.index, ["popularity"])


# Simulation -----------------------------------------------------------------------------------------------------------


def test_listeners_follow_their_taste(tracks) -> None:
    one = simulate_listeners(tracks.iloc[:, :1], users=50, seed=5, taste=4.0, popularity=0.0)
    assert one.equals(simulate_listeners(tracks.iloc[:, :1], users=50, seed=5, taste=4.0, popularity=0.0))
    assert not one.duplicated(["user_id", "track_id"]).any()
    assert one["time"].is_monotonic_increasing
    # With one feature, a listener likes either much or little of it.
    heard = one.assign(x=tracks.iloc[:, 0].loc[one["track_id"]].to_numpy()).groupby("user_id")["x"].mean()
    assert heard.abs().min() > 0.5
    assert 0.2 < (heard > 0).mean() < 0.8
