"""Similarity by stem: the index answers as a plain computation would, and says what it cannot answer."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from features_helper import write_features
from networks import tiny_checkpoint
from sklearn.neighbors import NearestNeighbors

from pipelines import cli
from pipelines.commands import similar
from pipelines.commands._musical import called, told
from pipelines.similarity import all_pairs
from stemfeatures.constants import STEM_ROWS
from stemfeatures.errors import DatasetError
from stemfeatures.similarity import search
from stemfeatures.similarity.build import WEIGHTS, build_index, current_index
from stemfeatures.similarity.explain import explain
from stemfeatures.similarity.filters import eligible_tracks
from stemfeatures.similarity.index import open_index
from stemfeatures.similarity.neighbours import SimilarityError
from stemfeatures.similarity.visitors import with_track, with_vector
from stemfeatures.tables.commits import commit_path
from stemfeatures.tables.compact import compact
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.schema import TABLES
from stemfeatures.vectors.matrix import features_matrix
from stemfeatures.vectors.transformer import FeatureTransformer

N = 60
IDS = [f"t{i:02d}" for i in range(N)]
SILENT = {"vocals": ["t10", "t11", "t12"], "bass": ["t20"]}

pytestmark = pytest.mark.filterwarnings("ignore::stemfeatures.vectors.transformer.UnusableFeatureWarning")


def shared_bass() -> dict[tuple[str, str], dict[str, list[object]]]:
    """Tracks t00 and t30, t01 and t31 ... of one bass line and nothing else in common, and some drums in common."""
    rng = np.random.default_rng(5)
    values: dict[tuple[str, str], dict[str, list[object]]] = {("bass", ""): {}, ("drums", ""): {}, ("mixture", ""): {}}
    for f in TABLES["stems"].fields:
        if f.type == "float32":
            line = rng.uniform(0.1, 1, 30) * (200 if f.unit == "Hz" else 1)
            bass = np.concatenate([line, line * rng.uniform(0.99, 1.01, 30)])
            values["bass", ""][f.name] = [None if i == 20 else float(v) for i, v in enumerate(bass)]
    values["mixture", ""]["tempo_bpm"] = [80.0 + i for i in range(N)]
    values["mixture", ""]["key"] = ["C:major" if i % 2 else "F#:minor" for i in range(N)]
    return values


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    metadata = {
        "year": [1960 + i for i in range(N)],
        "artist": ["Bowie" if i % 3 else "Eno" for i in range(N)],
        "title": [f"Song {i}" for i in range(N)],
    }
    path = tmp_path_factory.mktemp("similarity") / "features"
    return write_features(path, IDS, silent=SILENT, overwrite=shared_bass(), metadata=metadata)


@pytest.fixture(scope="module")
def features(path):
    return open_features(path)


@pytest.fixture(scope="module")
def index(features):
    return build_index(features)


def distances(features, stems: list[str], weights: dict[str, float] = WEIGHTS) -> np.ndarray:
    """(n, n) distances computed from the transformer's vectors in the plainest way."""
    transformer = FeatureTransformer(weights=weights).fit(features_matrix(features))
    vectors = transformer.transform(features_matrix(features)).astype(np.float64)
    chosen = np.concatenate([vectors[:, s] for (stem, _), s in transformer.blocks_.items() if stem in stems], axis=1)
    squares = np.square(chosen[:, None] - chosen[None]).sum(axis=-1)
    return np.sqrt(squares / squares.mean())


# ------------------------------------------------------------------------------------------------------------ search


@pytest.mark.parametrize("stems", [["bass"], ["drums", "other"], list(STEM_ROWS)])
def test_neighbours_are_those_of_the_plain_computation(features, index, stems):
    apart = distances(features, stems)
    np.fill_diagonal(apart, np.inf)
    heard = np.array([not any(t in SILENT.get(s, []) for s in stems) for t in IDS])
    apart[:, ~heard] = np.inf
    for query in ("t00", "t05", "t42"):
        row = IDS.index(query)
        found = index.similar(query, stems=stems, k=7)
        assert found.track_ids == [IDS[i] for i in np.argsort(apart[row])[:7]]
        np.testing.assert_allclose(found.distances, np.sort(apart[row])[:7], rtol=1e-4)
        np.testing.assert_array_equal(found.scores, found.distances)


def test_the_same_bass_line_is_found_by_the_bass_and_not_by_the_mixture(index):
    ranks = {}
    for stem in ("bass", "mixture"):
        found = [index.similar(t, stems=[stem], k=N).track_ids for t in IDS[:20]]
        ranks[stem] = [ids.index(f"t{i + 30}") + 1 for i, ids in enumerate(found)]
    assert ranks["bass"] == [1] * 20
    assert np.median(ranks["mixture"]) > 10


def test_search_agrees_with_scikit_learn_whatever_the_chunks(index, monkeypatch):
    blocks = tuple(b for b in index.store.blocks if b.stem == "drums")
    space = search.Space(blocks, (1.0,) * len(blocks))
    vectors = index.store.read(0, N, blocks).astype(np.float64)
    expected, rows = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(vectors).kneighbors(vectors)
    whole = search.nearest(index.store, np.arange(N), space, 5)
    np.testing.assert_array_equal(whole.rows, rows[:, 1:])
    np.testing.assert_allclose(whole.distances * np.sqrt(space.power), expected[:, 1:], rtol=1e-5)
    monkeypatch.setattr(search, "_CHUNK_VALUES", 7 * sum(len(b.names) for b in blocks))
    monkeypatch.setattr(search, "_QUERIES", 8)
    for name in ("rows", "distances"):
        np.testing.assert_array_equal(
            getattr(search.nearest(index.store, np.arange(N), space, 5), name), getattr(whole, name)
        )


def test_weights_and_families_change_what_is_near(features, index):
    by_rhythm = index.similar("t03", stems=["drums"], families=["rhythm"], k=5)
    by_weight = index.similar(
        "t03", stems=["drums"], weights=dict.fromkeys(("activity", "timbre", "loudness", "harmony"), 0.0), k=5
    )
    assert by_rhythm.track_ids == by_weight.track_ids
    assert by_rhythm.track_ids != index.similar("t03", stems=["drums"], k=5).track_ids
    heavy = index.similar("t03", stems=["drums", "bass"], weights={"bass": 20}, k=1)
    assert heavy.track_ids == ["t33"]


def test_contrast_ranks_the_same_voice_down_and_outliers_not_up(features, index):
    drums, vocals = distances(features, ["drums"]), distances(features, ["vocals"])
    found = index.similar("t03", stems=["drums"], unlike=["vocals"], k=N)
    row, rows = 3, [IDS.index(t) for t in found.track_ids]
    median = np.sqrt(np.median(np.square(vocals[row])))
    score = np.sqrt(drums[row] ** 2 + np.maximum(0, 1 - (vocals[row] / median) ** 2))
    np.testing.assert_allclose(found.scores, score[rows], rtol=1e-3)
    np.testing.assert_allclose(found.unlikeness["vocals"], vocals[row, rows], rtol=1e-3)
    assert (np.diff(found.scores) >= 0).all()
    other = vocals[row, rows] > median
    np.testing.assert_allclose(found.scores[other], found.distances[other])
    assert (found.scores[~other] > found.distances[~other]).all()
    implied = index.similar("t03", unlike=["vocals"], k=3)
    assert list(implied.by_stem) == ["drums", "bass", "other"]


def test_silent_stems_are_neither_asked_for_nor_found(index):
    with pytest.raises(SimilarityError, match="vocals cannot be heard in track 't11'"):
        index.similar("t11", stems=["vocals"])
    with pytest.raises(SimilarityError, match="vocals cannot be heard"):
        index.similar("t11", stems=["drums"], unlike=["vocals"])
    assert len(index.similar("t11", k=5).track_ids) == 5
    found = index.similar("t00", stems=["vocals", "bass"], k=N).track_ids
    assert len(found) == N - 1 - 4
    assert not {"t10", "t11", "t12", "t20"} & set(found)
    hits = index.search(np.array([10, 0]), stems=["vocals"], k=3)
    assert (hits.rows[0] == -1).all()
    assert np.isinf(hits.distances[0]).all()
    assert np.isfinite(hits.distances[1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"track_id": "T 07"}, "no such track: 'T 07'; did you mean 't07'"),
        ({"stems": ["voice"]}, "the index has no stem 'voice'; there are: mixture, vocals"),
        ({"families": ["embedding"]}, "the index has no family 'embedding'"),
        ({"weights": {"timber": 2}}, "the index has no stem or family 'timber'"),
        ({"weights": {"drums": -1, "timbre": -1}}, "weight -1 of 'drums' is not a number from 0"),
        ({"weights": {"drums": float("nan")}}, "weight nan of 'drums' is not a number from 0"),
        ({"stems": ["drums"], "families": ["f0"]}, "nothing to compare drums by"),
        ({"stems": ["drums"], "unlike": ["drums"]}, "similar and different at once"),
        ({"eligible": np.zeros(N, bool)}, "no other track fulfils the conditions"),
    ],
)
def test_questions_without_an_answer_are_named(index, options, message):
    with pytest.raises(SimilarityError, match=message):
        index.similar(**{"track_id": "t00", **options})


# ------------------------------------------------------------------------------------------------------------- index


@pytest.mark.parametrize("k", [0, -1])
def test_no_neighbours_are_no_question(index, k):
    with pytest.raises(ValueError, match=f"k must be at least 1, not {k}"):
        index.similar("t00", k=k)
    with pytest.raises(ValueError, match=f"k must be at least 1, not {k}"):
        index.search(np.arange(3), k=k)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_weights_are_numbers(index, weight):
    with pytest.raises(SimilarityError, match="of 'bass' is not a number from 0"):
        index.similar("t00", weights={"bass": weight})


def test_index_is_a_cache_that_knows_its_commit(tmp_path, path):
    copy = tmp_path / "features"
    shutil.copytree(path, copy)
    features = open_features(copy)
    index = build_index(features, stems=["drums"])
    assert index.commit == features.commit
    assert index.made_from == {"model_sha256": "sha-1", "config_hash": "config-1", "schema_version": "1.0"}
    assert index.stems == ("drums",)
    folders = [p for p in index.path.iterdir() if p.is_dir()]
    build_index(features, stems=["drums"])
    assert len([p for p in index.path.iterdir() if p.is_dir()]) == 1
    assert not folders[0].exists()

    write_features(copy, ["t00"], run_id="run-2", seed=9)
    stale = open_index(copy).staleness(open_features(copy))
    assert f"built from commit {index.commit} with 60 tracks, the directory is at commit" in stale
    index = build_index(copy, stems=["drums"])
    assert index.staleness(open_features(copy)) == ""
    compact(copy)  # the same rows in other files
    assert open_index(copy).staleness(open_features(copy)) == ""
    now = open_features(copy)
    newer, built = (commit_path(now.layout, number) for number in (index.commit + 1, index.commit))
    for commit, why in (
        (newer, f"commit {index.commit}, and commit {index.commit + 1} behind it cannot be read"),
        (built, f"commit {index.commit} of the directory, which it was built from, cannot be read any more"),
    ):
        said = commit.read_bytes()
        for damaged in (b"[]", b"{", said[:-9]):
            commit.write_bytes(damaged)
            assert why in index.staleness(now)
        commit.unlink()
        assert why in index.staleness(now)
        commit.write_bytes(said)
    assert index.staleness(now) == ""
    older = dataclasses.replace(index, commit=10_000)
    assert "another one" in older.staleness(open_features(copy))

    next(index.store.folder.glob("*.npy")).unlink()
    with pytest.raises(DatasetError, match="build it again"):
        open_index(copy).similar("t00")
    (index.path / "index.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"cannot read the index .*build it again"):
        open_index(copy)
    shutil.rmtree(index.path)
    with pytest.raises(DatasetError, match="make one with: stemfeatures index"):
        open_index(copy)


def test_one_folder_for_the_indices_of_two_directories(tmp_path):
    """As many commits in both: the index of one is not taken for that of the other, nor for one that was made anew."""
    for name, ids in (("one", ["a", "b", "c"]), ("other", ["k", "l", "m"])):
        write_features(tmp_path / name, ids)
    told: list[str] = []
    for name, ids in (("one", ["a", "b", "c"]), ("other", ["k", "l", "m"])):
        index = current_index(tmp_path / name, index_dir=tmp_path / "index", building=told.append)
        assert index.track_ids.tolist() == ids
    assert told == ["there is none yet", f"it was built from commit {index.commit} of another directory"]
    shutil.copytree(tmp_path / "other", tmp_path / "moved")
    assert index.staleness(open_features(tmp_path / "moved")) == ""
    shutil.rmtree(tmp_path / "other")
    write_features(tmp_path / "other", ["k", "l", "m"], seed=1)
    assert "another directory" in index.staleness(open_features(tmp_path / "other"))
    assert dataclasses.replace(index, commit_digest="").staleness(open_features(tmp_path / "other")) == ""


def test_index_refuses_what_cannot_be_compared(tmp_path):
    path = write_features(tmp_path / "features", ["a", "b", "c"])
    write_features(path, ["d", "e"], model="sha-2", run_id="run-2")
    with pytest.raises(DatasetError, match="several models"):
        build_index(path)
    chosen = build_index(path, model_sha256="sha-2", index_dir=tmp_path / "index")
    assert list(chosen.track_ids) == ["d", "e"]
    assert chosen.made_from["model_sha256"] == "sha-2"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(DatasetError, match="holds other things"):
        build_index(path, model_sha256="sha-1", index_dir=tmp_path / "mine")
    (tmp_path / "killed" / "0123456789ab").mkdir(parents=True)  # what a build that was killed leaves
    assert len(build_index(path, model_sha256="sha-1", index_dir=tmp_path / "killed")) == 3
    lonely = write_features(tmp_path / "lonely", ["a"])
    with pytest.raises(DatasetError, match=r"cannot make an index: .*1 sample"):
        build_index(lonely)


def test_stems_that_are_never_heard_are_named(tmp_path):
    ids = ["a", "b", "c"]
    path = write_features(tmp_path / "features", ids, silent={"vocals": ids})
    index = build_index(path, families=["timbre", "rhythm"])
    assert "vocals__mfcc_01_mean" in index.unusable
    with pytest.raises(SimilarityError, match="no stem 'vocals'; it is null or constant in all tracks; there are"):
        index.similar("a", stems=["vocals"])


def test_usearch_proposes_what_exact_search_finds(tmp_path, path, index):
    pytest.importorskip("usearch", reason="usearch is not installed")
    approximate = build_index(path, index_dir=tmp_path / "index", ann=True)
    assert approximate.ann == [*STEM_ROWS, "all"]
    for question in ({"stems": ["bass"]}, {}, {"stems": ["drums"], "families": ["rhythm"]}, {"unlike": ["vocals"]}):
        fast, slow = approximate.similar("t07", k=5, **question), index.similar("t07", k=5, **question)
        assert fast.track_ids == slow.track_ids
        np.testing.assert_allclose(fast.distances, slow.distances, rtol=1e-5)
    few = np.zeros(N, bool)
    few[[2, 50]] = True
    assert sorted(approximate.similar("t07", eligible=few).track_ids) == ["t02", "t50"]


# ------------------------------------------------------------------------------------------------- filters, explanation


def test_filters(index, features):
    def ids(**options: object) -> set[str]:
        return set(index.track_ids[eligible_tracks(index, features, **options)])

    assert ids(tempo_bpm=(90, 92.5)) == {"t10", "t11", "t12"}
    assert ids(key_of="t01") == {t for i, t in enumerate(IDS) if i % 2}
    assert ids(where=["meta_year>=2017"]) == {"t57", "t58", "t59"}
    assert ids(where=["year>=2010", "artist~ENO"]) == {"t51", "t54", "t57"}
    assert ids(where=["artist=Eno"]) == set(IDS[::3])
    assert ids(where=["status != ok"]) == set()
    assert ids(where=["artist!=Eno", "year<1962"]) == {"t01"}


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("genre=rock", "no column 'genre'; there are: meta_artist, meta_title, meta_year"),
        ("year", "malformed condition 'year'"),
        ("year=late", "'late' is no value for meta_year"),
        ("year~19", "meta_year is no text"),
    ],
)
def test_conditions_that_cannot_be_met_are_named(index, features, condition, message):
    with pytest.raises(SimilarityError, match=message):
        eligible_tracks(index, features, where=[condition])


def test_explanations_add_up_and_name_what_is_shared(index, features):
    found = index.similar("t03", stems=["bass"], k=3)
    reasons = explain(index, features, found, n=10_000)
    query = np.array([3])
    everything = np.delete(np.arange(N), 3)
    random = np.mean(np.square(search.pair_distances(index.store, query, everything[None], found.near)))
    for explanation, distance in zip(reasons, found.distances):
        total = sum(r.gain for r in (*explanation.near, *explanation.far))
        assert total == pytest.approx(random * (N - 1) / N - distance**2, abs=1e-3)
    best = explain(index, features, found)[0]
    assert len(best.near) == 4
    assert best.near[0].gain >= best.near[1].gain > 0
    rows = features.to_pandas("stems").set_index(["stem", "track_id"])
    for reason in best.near:
        if reason.single:
            assert reason.query == pytest.approx(rows.loc[("bass", "t03"), reason.descriptor])
            assert reason.neighbour == pytest.approx(rows.loc[("bass", "t33"), reason.descriptor])


def test_a_shared_oddity_counts_for_more_than_what_all_have(tmp_path):
    ids = [f"t{i}" for i in range(20)]
    odd = {"onset_rate": [9.0, 9.0, *np.linspace(1, 1.5, 18)], "onset_strength_mean": [0.5] * 2 + [0.4, 0.6] * 9}
    path = write_features(tmp_path / "features", ids, overwrite={("drums", ""): odd})
    index = build_index(path, stems=["drums"], families=["rhythm"])
    found = index.similar("t0", k=19)
    reasons = explain(index, open_features(path), found, n=99)[found.track_ids.index("t1")]
    order = [r.descriptor for r in reasons.near]
    assert order.index("onset_rate") < order.index("onset_strength_mean")


# --------------------------------------------------------------------------------------------------------- all pairs


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_pairs_hold_what_similar_says(tmp_path, path, index, jobs):
    seen = []
    result = all_pairs(
        path,
        tmp_path / "near",
        stems=["vocals"],
        k=4,
        jobs=jobs,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (result.n_tracks, result.n_without, result.n_rows) == (N, 3, 57 * 4)
    assert seen[-1] == (N, N)
    table = pd.read_parquet(tmp_path / "near").set_index(["track_id", "rank"])
    assert table.index.is_unique
    for query in ("t00", "t33"):
        found = index.similar(query, stems=["vocals"], k=4)
        assert table.loc[query]["neighbour_id"].tolist() == found.track_ids
        np.testing.assert_allclose(table.loc[query]["distance"], found.distances, rtol=1e-6)
    part = next((tmp_path / "near").glob("*.parquet"))
    origin = json.loads(pq.read_schema(part).metadata[b"stemfeatures.similarity"])
    assert origin["commit"] == index.commit
    assert origin["question"]["stems"] == ["vocals"]
    with pytest.raises(DatasetError, match="it exists already"):
        all_pairs(path, tmp_path / "near", jobs=1)


def test_all_pairs_leave_nothing_behind_when_they_fail(tmp_path, path, monkeypatch):
    with pytest.raises(SimilarityError, match="no stem 'voice'"):
        all_pairs(path, tmp_path / "near", stems=["voice"], jobs=1)

    def full(*args: object, **options: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("pipelines.similarity.pq.write_table", full)
    with pytest.raises(OSError, match="no space left"):
        all_pairs(path, tmp_path / "near", jobs=1)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ command line


def run(capsys, *argv: object) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in argv])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_command_line(tmp_path, path, capsys):
    copy = tmp_path / "features"
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("_index"))
    code, _, err = run(capsys, "similar", copy, "t00")
    assert (code, err) == (0, "stemfeatures: building the similarity index: there is none yet ...\n")
    code, out, _ = run(capsys, "index", copy, "--weight", "timbre=0.5")
    assert code == 0
    assert "60 tracks" in out
    said = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ")}
    assert said["mixture"] == ["vocals", "drums", "bass", "other"]
    assert said["tracks"] == ["60", "57", "60", "59", "60"]
    assert said["timbre"][0] == str(
        sum(len(b.names) for b in open_index(copy).store.blocks if b.stem == "mixture" and b.family == "timbre")
    )
    assert max(map(len, out.splitlines()[1:])) <= 80  # the first line holds a path

    code, out, err = run(capsys, "similar", copy, "t03", "--stem", "bass", "-k", "2", "--explain")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [
        "similar bass, by activity, f0, rhythm, timbre, loudness, harmony, notes",
        "distance: 0 is equal, 1 two random tracks",
    ]
    assert lines[4].split()[:2] == ["t03", "83.0"]
    assert lines[5].split()[:2] == ["1", "t33"]
    assert lines[6].strip().startswith("alike: ")
    assert all(len(line) <= 80 for line in lines)
    assert not re.search(r"\w_\w", "".join(lines[6:9]))  # words, no names of columns

    arguments = ("--stem", "drums", "--not", "vocals", "--tempo", "100-139", "--where", "year<2010", "--explain")
    code, out, _ = run(capsys, "similar", copy, "t03", *arguments, "-k", "3", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["unlike"] == ["vocals"]
    assert answer["index"]["commit"] == open_features(copy).commit
    assert [n["rank"] for n in answer["neighbours"]] == [1, 2, 3]
    for n in answer["neighbours"]:
        assert 100 <= n["tempo_bpm"] <= 139
        assert n["score"] >= n["distance"]
        assert set(n["explanation"]) == {"near", "far", "unlike"}

    code, out, _ = run(capsys, "neighbours", copy, "--stem", "bass,drums", "-o", tmp_path / "near", "-j", "1")
    assert code == 0
    assert "590 rows for 60 tracks; 1 track without" in out

    write_features(copy, ["new"], run_id="run-2", metadata={"year": [1999]})
    code, out, err = run(capsys, "similar", copy, "new")
    assert code == 0
    assert "building the similarity index: it was built from commit" in err
    assert re.findall(r"^ *(\d+)  t\d\d", out, re.MULTILINE) == [str(i) for i in range(1, 11)]
    index = open_index(copy)
    assert index.options["weights"]["timbre"] == 0.5  # as it was made
    index.path.joinpath("index.json").write_text("{}")
    code, out, err = run(capsys, "similar", copy, "new")
    assert code == 0
    assert "building the similarity index: cannot read the index" in err


def test_an_index_is_built_again_as_it_was_asked_for(tmp_path):
    copy = write_features(tmp_path / "features", ["a", "b", "c"], silent={"bass": ["a", "b", "c"]})
    said: list[str] = []
    index = current_index(copy, building=said.append)
    assert said == ["there is none yet"]
    blocks = {(block.stem, block.family) for block in index.store.blocks}
    assert ("bass", "f0") not in blocks  # null in all tracks
    assert current_index(copy, building=said.append).store.folder == index.store.folder
    write_features(copy, ["d", "e"], run_id="run-2", seed=1)
    index = current_index(copy, building=said.append)
    assert (len(index), len(said)) == (5, 2)
    assert ("bass", "f0") in {(block.stem, block.family) for block in index.store.blocks}
    build_index(copy, stems=["drums"], whiten=True)
    write_features(copy, ["f"], run_id="run-3", seed=2)
    index = current_index(copy)
    assert (index.stems, index.options["whiten"], len(index)) == (("drums",), True, 6)


def test_an_index_in_which_stems_count_by_their_separation(tmp_path):
    sdr_db = np.linspace(-10, 20, 12)
    given = {("bass", ""): {"separation_sdr_db": sdr_db}}
    features = open_features(write_features(tmp_path / "features", IDS[:12], overwrite=given))
    plain, weighed = (
        build_index(features, stems=["bass"], weigh_by_separation=weigh, index_dir=tmp_path / str(weigh))
        for weigh in (False, True)
    )
    was, now = (index.store.take(np.arange(12), index.store.blocks) for index in (plain, weighed))
    np.testing.assert_allclose(now, was / (1 + 10 ** (-sdr_db[:, None] / 10)), rtol=1e-4, atol=1e-5)
    assert weighed.options["weigh_by_separation"]
    # A track that is not in the tables is weighed as those that are, and so are all when the index is built again.
    wider = with_track(weighed, features, "new", features.describe("t03"))
    assert wider.similar("new", k=1).distances[0] == pytest.approx(0, abs=1e-5)
    write_features(tmp_path / "features", IDS[12:14], run_id="run-2", seed=1)
    again = current_index(open_features(tmp_path / "features"), index_dir=tmp_path / "True")
    assert (len(again), again.options["weigh_by_separation"]) == (14, True)


def test_a_track_that_is_not_in_the_tables(tmp_path, path, index):
    features = open_features(path)
    known = features.describe("t33")
    assert repr(known).startswith("<TrackDescription of 't33': ")
    assert all(len(line) <= 120 for line in repr(known).split("\n"))
    wider = with_track(index, features, "new", known)
    found = wider.similar("new", stems=["bass"], k=3)
    assert found.track_ids[0] == "t33"
    assert found.distances[0] == pytest.approx(0, abs=1e-5)
    own = index.similar("t33", stems=["bass"], k=2)
    assert found.track_ids[1:] == own.track_ids
    np.testing.assert_allclose(found.distances[1:], own.distances, rtol=1e-5)
    contrast = wider.similar("new", stems=["bass"], unlike=["vocals"], k=2)
    assert contrast.track_ids[0] != "t33"  # its own voice is too near
    [first, *_] = explain(wider, features, found, query=known.stems)
    assert all(reason.query == reason.neighbour for reason in first.near)
    assert index.similar("t33", stems=["bass"], k=2).track_ids == own.track_ids  # as it was
    with pytest.raises(SimilarityError, match="no such track: 'new'"):
        index.similar("new")
    with pytest.raises(SimilarityError, match="there is a track called 't33'"):
        with_track(index, features, "t33", known)
    silent = features.describe("t33")
    silent.stems["bass"] = {**silent.stems["bass"], "activity_status": "silent"}
    with pytest.raises(SimilarityError, match="bass cannot be heard in track 'new'"):
        with_track(index, features, "new", silent).similar("new", stems=["bass"])


def test_a_vector_is_asked_for(tmp_path, path, index, capsys):
    rows = np.array([index.row("t05"), index.row("t06")])
    middle = index.store.take(rows, index.store.blocks).mean(axis=0)
    found = with_vector(index, "middle", middle).similar("middle", k=2)
    assert set(found.track_ids) == {"t05", "t06"}
    head, *lines = repr(found).split("\n")
    assert head == "<Neighbours of 'middle': 2, by mixture, vocals, drums, bass, other>"
    assert lines == [f"  {d:.2f}  {t!r}" for d, t in zip(found.distances, found.track_ids)]
    assert f"{len(index):,} tracks, {len(middle):,} coordinates, commit {index.commit}>" in repr(index)
    np.save(tmp_path / "middle.npy", middle)
    code, out, err = run(capsys, "similar", path, tmp_path / "middle.npy", "-k", "2", "--json")
    assert (code, err) == (0, "")
    assert [n["track_id"] for n in json.loads(out)["neighbours"]] == found.track_ids
    with pytest.raises(SimilarityError, match=r"expected \d+ finite numbers"):
        with_vector(index, "short", middle[:-1])


def test_a_new_file_that_cannot_be_read_is_told(tmp_path, path, index, capsys, monkeypatch):
    monkeypatch.setattr(similar, "_model_of", lambda features, sha256: tiny_checkpoint(tmp_path))
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"this is not audio " * 50)
    code, out, err = run(capsys, "similar", path, broken)
    assert (code, out) == (3, "")
    assert str(broken) in err.splitlines()[-1]
    assert "[decode]" in err
    for name, content in (("broken.npy", b"no array"), ("empty.npy", b"")):
        (tmp_path / name).write_bytes(content)
        code, out, err = run(capsys, "similar", path, tmp_path / name)
        assert (code, out) == (2, "")
        assert f"{tmp_path / name}: not an array as numpy.save writes it" in err


def test_an_index_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    copy = write_features(tmp_path / "features", ["a", "b", "c"])

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(DatasetError, match=r"cannot be written \(Permission denied\); choose another folder"):
        current_index(copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "no such track: 'nobody'; the ids here look like 't00' or 't01'"),
        (["t00", "--stem", "guitar"], "no stem 'guitar'"),
        (["t00", "--where", "genre=rock"], "no column 'genre'"),
        (["t00", "--tempo", "80-80.5"], "no other track fulfils"),
        (["--not", "drums", "t00", "--stem", "drums"], "similar and different at once"),
        (["-k", "2", "--", "-t00"], "no such track: '-t00'"),
    ],
)
def test_command_line_names_what_is_wrong(path, index, capsys, arguments, message):
    code, _, err = run(capsys, "similar", path, *arguments)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("arguments", [["--weight", "timbre"], ["--weight", "timbre=-1"], ["--stem", ","]])
def test_malformed_arguments(path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["index", str(path), *arguments])
    assert stop.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_reasons_are_told_with_their_unit_once():
    assert (called("section_duration_median_s"), told("section_duration_median_s", "s", [1.11, 1.98])) == (
        "usual length of a section",
        "1.1 and 2.0 s",
    )
    assert (called("fill_bar_ratio"), told("fill_bar_ratio", "", [0.319, 0.982])) == ("bars with a fill", "32 and 98%")
    assert (called("beat_interval_mean_s"), told("beat_interval_mean_s", "s", [0.5, None])) == (
        "beat interval mean",
        "0.5 and \N{EN DASH} s",
    )
