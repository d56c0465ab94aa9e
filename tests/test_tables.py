"""Tables: what goes in comes out typed, once, whatever dies in between."""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stemfeatures
from stemfeatures._util.urls import Place
from stemfeatures.constants import HOP_LENGTH, STEM_ROWS
from stemfeatures.descriptors import event_tables as events_registry
from stemfeatures.descriptors.event_tables import END, START, EventTable, event_tables, register_events
from stemfeatures.descriptors.types import Events, F0Contour, TrackDescription
from stemfeatures.errors import DatasetError, DecodeError, LostPartError
from stemfeatures.fields import Field
from stemfeatures.tables import commits, compact, reader
from stemfeatures.tables import schema as registry
from stemfeatures.tables.commits import append_commit, read_commits, read_snapshot
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.export import export
from stemfeatures.tables.layout import DatasetLayout, infer_metadata, metadata_name
from stemfeatures.tables.lock import DatasetLock
from stemfeatures.tables.parts import PartFile, part_file, publish, staged, to_table, write_part
from stemfeatures.tables.query import query
from stemfeatures.tables.reader import Features, TrackKey, completed_keys, open_features
from stemfeatures.tables.rows import (
    Provenance,
    TrackInfo,
    bytes_to_voicing,
    cents_to_f0,
    error_row,
    f0_to_cents,
    track_rows,
    voicing_to_bytes,
)

DATA = registry.DATA_TABLES
HOP_S = HOP_LENGTH / 22_050
#: A measured float column of table stems, whichever the descriptors have.
FLOAT_COLUMN = next(f.name for f in registry.TABLES["stems"].fields if f.type == "float32")


def provenance(run_id: str = "r1", config: str = "c1", model: str = "sha-1") -> Provenance:
    return Provenance(run_id, config, "joint-test", model)


def stem_values(seed: float) -> dict[str, object]:
    """A value for each descriptor column, of its type."""
    values: dict[str, object] = {}
    for i, f in enumerate(registry.TABLES["stems"].fields):
        if f.family in ("key", "provenance"):
            continue
        number = seed + i / 8
        scalar = {"float32": number, "float64": number, "bool": bool(i % 2), "category": "ok", "string": "text"}
        values[f.name] = [number, -number] if "list" in f.type else scalar.get(f.type, i % 100)
    return values


def description(seed: float = 1.0) -> TrackDescription:
    n = 40
    f0 = np.where(np.arange(n) % 5 == 0, np.nan, 220 + seed + np.arange(n))
    contour = F0Contour(np.arange(n) * HOP_S, f0, np.linspace(0, 1, n, dtype=np.float32))
    return TrackDescription(
        stems={stem: stem_values(seed + k) for k, stem in enumerate(STEM_ROWS)},
        contours={"vocals": contour, "bass": contour},
        events=Events(
            np.array([0.5, 1.0, 1.5]), np.array([1, 2, 0]), {"drums": np.array([0.1, 0.2]), "bass": np.array([])}
        ),
        embeddings={stem: np.arange(8, dtype=np.float32) + seed for stem in STEM_ROWS[:-1]},
        tables={name: event_columns(table, seed) for name, table in event_tables().items()},
    )


def event_columns(table: EventTable, seed: float) -> dict[str, list[object]]:
    """Three events, later ones first."""

    def values(f: Field) -> list[object]:
        if f.type.startswith("list"):
            return [[1, 2]] * 3
        if f.type in ("category", "string"):
            return list((*f.values, "a", "b", "c")[:3])
        return [True] * 3 if f.type == "bool" else [seed + k if "float" in f.type else k for k in (2, 1, 0)]

    return {f.name: values(f) for f in table.fields}


def write_shard(
    layout: DatasetLayout,
    ok: Iterable[str] = (),
    failed: Iterable[str] = (),
    *,
    by: Provenance | None = None,
    tables: Iterable[str] = DATA,
    seed: float = 1.0,
    **info: object,
) -> list[PartFile]:
    by = by or provenance()
    rows: dict[str, list[dict[str, object]]] = {}
    for track in ok:
        made = track_rows(TrackInfo(track, f"{track}.wav", **info), description(seed), by, tables=tables)
        for table, some in made.items():
            rows.setdefault(table, []).extend(some)
    for track in failed:
        rows.setdefault("errors", []).append(error_row(track, f"{track}.wav", DecodeError("not audio"), by))
    return [write_part(layout, table, some, shard="s 1/x") for table, some in rows.items()]


@pytest.fixture
def layout(tmp_path: Path) -> DatasetLayout:
    return DatasetLayout.create(tmp_path / "features")


def state(layout: DatasetLayout) -> tuple[list[str], list[str]]:
    features = open_features(layout.path)
    return tuple(features.to_pandas(t)["track_id"].tolist() for t in ("tracks", "errors"))


# --- registry ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", registry.TABLES.values(), ids=lambda t: t.name)
def test_registry_is_sound(table: registry.Table) -> None:
    names = table.names
    assert len(set(names)) == len(names)
    assert names[: len(table.key)] == table.key
    assert not any(f.nullable for f in table.fields if f.name in table.key)
    if table.name in event_tables():
        assert names[-1] == "run_id"
    elif table.name != "runs":
        assert {f.name for f in registry.PROVENANCE_FIELDS} <= set(names)
    for f in table.fields:
        assert f.description.endswith("."), f.name
        assert f.name == f.name.lower()
    schema = registry.arrow_schema(table.name)
    assert schema.metadata[b"stemfeatures.schema_version"] == registry.SCHEMA_VERSION.encode()
    assert set(schema.field(0).metadata) == {b"unit", b"description", b"range", b"since", b"family", b"rows"}


def test_arrow_types() -> None:
    assert registry.arrow_type("fixed_list<float32, 4>") == pa.list_(pa.float32(), 4)
    assert registry.arrow_type("list<uint8>").value_type == pa.uint8()
    with pytest.raises(DatasetError, match="unknown field type"):
        registry.arrow_type("float128")
    with pytest.raises(DatasetError, match="unknown table 'beats'; there are: tracks, stems"):
        registry.get_table("beats")


def test_data_dictionary_and_page() -> None:
    frame = registry.data_dictionary()
    assert len(frame) == sum(len(t.fields) for t in registry.TABLES.values())
    assert set(registry.data_dictionary(["contours"])["table"]) == {"contours"}
    page = Path(__file__).parent.parent / "docs" / "tables.md"
    if not page.is_file():
        pytest.skip("the tests run without the docs folder")
    assert page.read_text("utf-8") == registry.markdown(), "run: python -m stemfeatures.tables.schema > docs/tables.md"


# --- rows and parts ---------------------------------------------------------------------------------------------------


def test_rows_survive_the_round_trip(layout: DatasetLayout) -> None:
    rows = track_rows(TrackInfo("t1", "ä b.wav", sample_rate=44_100, lossless=True), description(), provenance())
    assert [r["stem"] for r in rows["stems"]] == list(STEM_ROWS)
    for table, some in rows.items():
        part = write_part(layout, table, some, shard="0")
        assert (part.rows, part.min_key, part.max_key) == (len(some), "t1", "t1")
        assert part.size == (part_file(layout, part)).stat().st_size
        assert PartFile.from_json(json.loads(json.dumps(part.to_json()))) == part
        back = pq.read_table(part_file(layout, part), partitioning=None)
        assert back.schema.equals(layout.schema(table))
        for row, wanted in zip(back.to_pylist(), some):
            for name, value in row.items():
                expected = wanted.get(name)
                if isinstance(expected, pa.Array):
                    assert value == expected.to_pylist(), (table, name)
                elif isinstance(expected, (float, list, np.ndarray)):
                    np.testing.assert_allclose(
                        np.array(value, float), np.array(expected, float), rtol=1e-6, err_msg=f"{table}.{name}"
                    )
                else:
                    assert value == expected, (table, name)
    assert not list(layout.path.rglob("*.tmp"))


def test_parts_are_encoded_for_what_they_hold(layout: DatasetLayout) -> None:
    def encodings(part: PartFile) -> dict[str, tuple[str, ...]]:
        group = pq.read_metadata(part_file(layout, part)).row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        assert {c.compression for c in columns} == {"ZSTD"}
        return {c.path_in_schema: c.encodings for c in columns}

    parts = {p.table: encodings(p) for p in write_shard(layout, ["t1", "t2"])}
    assert "RLE_DICTIONARY" in parts["stems"]["stem"]
    assert "BYTE_STREAM_SPLIT" in parts["stems"][FLOAT_COLUMN]
    assert "RLE_DICTIONARY" not in parts["stems"][FLOAT_COLUMN]
    assert "DELTA_BINARY_PACKED" in parts["contours"]["f0_cents.list.element"]
    assert "DELTA_BINARY_PACKED" in parts["contours"]["voicing.list.element"]
    assert "BYTE_STREAM_SPLIT" in parts["embeddings"]["vector.list.element"]


def test_all_null_part_stays_typed(layout: DatasetLayout) -> None:
    keep = {f.name for f in registry.TABLES["stems"].fields if not f.nullable}
    bare = {k: v for k, v in stem_values(1).items() if k in keep}
    rows = [{"track_id": "b", "stem": "bass", **bare, **provenance().columns()}]
    part = write_part(layout, "stems", rows, shard="0")
    full = [{"track_id": "a", "stem": "bass", **stem_values(1), **provenance().columns()}]
    other = write_part(layout, "stems", full, shard="1")
    assert pq.read_schema(part_file(layout, part)).equals(pq.read_schema(part_file(layout, other)))
    publish(layout, [part, other])
    both = pd.read_parquet(layout.directory("stems"))
    assert both[FLOAT_COLUMN].dtype == np.float32
    assert both.set_index("track_id")[FLOAT_COLUMN].isna().to_dict() == {"a": False, "b": True}


def test_parts_are_sorted_by_track_and_keep_the_order_of_stems(layout: DatasetLayout) -> None:
    part = next(p for p in write_shard(layout, ["t2", "t1"]) if p.table == "stems")
    rows = pq.read_table(part_file(layout, part), partitioning=None, columns=["track_id", "stem"]).to_pylist()
    assert [(r["track_id"], r["stem"]) for r in rows] == [(t, s) for t in ("t1", "t2") for s in STEM_ROWS]


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("stems", {FLOAT_COLUMN: "loud"}, f"table stems, column '{FLOAT_COLUMN}', track 't1': 'loud' is not a number"),
        ("stems", {FLOAT_COLUMN: True}, "is not a number"),
        ("stems", {FLOAT_COLUMN: float("-inf")}, "infinite"),
        ("stems", {"no_such": 1}, "table stems, column 'no_such', track 't1': there is no such column"),
        ("stems", {"stem": None}, "may not be null"),
        ("tracks", {"sample_rate": 44_100.5}, "44100.5 is not an integer"),
        ("tracks", {"channels": 70_000}, "track 't1'"),
        ("tracks", {"codec": 3}, "track 't1'"),
        ("tracks", {"lossless": "yes"}, "column 'lossless', track 't1'"),
        ("embeddings", {"vector": [1.0, float("nan")]}, "NaN or infinity"),
        ("embeddings", {"vector": np.zeros((2, 2))}, "not one-dimensional"),
        ("stems", {FLOAT_COLUMN: 1e300}, "infinite"),
        ("embeddings", {"vector": [1e300]}, "NaN or infinity"),
        ("embeddings", {"vector": ["1"]}, "a list of string is not one of float"),
        ("embeddings", {"vector": "abc"}, "str is not a list"),
        ("events", {"positions": [1.5]}, "1.5 is not an integer"),
        ("events", {"positions": np.array([300])}, "track 't1'"),
    ],
)
def test_rows_that_do_not_fit(layout: DatasetLayout, table: str, change: dict[str, object], message: str) -> None:
    rows = track_rows(TrackInfo("t1", "x.wav"), description(), provenance())[table]
    good = {**rows[0], "track_id": "t0"}
    with pytest.raises(DatasetError) as caught:
        to_table(layout, table, [good, {**rows[0], **change}])
    assert message in str(caught.value)


def test_numpy_values_and_nan_are_taken(layout: DatasetLayout) -> None:
    row = track_rows(
        TrackInfo("t1", "x.wav", sample_rate=np.int64(8000), channels=2.0, lossless=np.bool_(True), duration_s=np.nan),
        None,
        provenance(),
    )["tracks"][0]
    assert to_table(layout, "tracks", [row]).select(
        ["sample_rate", "channels", "lossless", "duration_s"]
    ).to_pylist() == [{"sample_rate": 8000, "channels": 2, "lossless": True, "duration_s": None}]
    row = {
        "track_id": "t1",
        "stem": "bass",
        **stem_values(1),
        FLOAT_COLUMN: np.float32("nan"),
        **provenance().columns(),
    }
    assert to_table(layout, "stems", [row])[FLOAT_COLUMN].null_count == 1


def test_writing_nothing_or_to_nowhere(layout: DatasetLayout, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no rows"):
        write_part(layout, "tracks", [], shard="0")
    (layout.path / "tracks").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot write a part"):
        write_shard(layout, ["t1"])
    with pytest.raises(DatasetError, match="no such directory"):
        write_part(tmp_path / "none", "tracks", [], shard="0")


def test_descriptions_that_do_not_fit() -> None:
    info = TrackInfo("t1", "x.wav")
    made = description()
    del made.stems["bass"]
    with pytest.raises(DatasetError, match=r"x\.wav: stems missing: bass"):
        track_rows(info, made, provenance())
    made = description()
    made.contours["bass"].times_s[7] += 0.01
    with pytest.raises(DatasetError, match="evenly spaced"):
        track_rows(info, made, provenance())
    made = description()
    made.events.beat_positions = made.events.beat_positions[:-1]
    with pytest.raises(DatasetError, match="differ in length"):
        track_rows(info, made, provenance())
    with pytest.raises(DatasetError, match="status 'fine' is none of ok"):
        track_rows(TrackInfo("t1", "x.wav", status="fine"), None, provenance())
    assert set(track_rows(info, None, provenance())) == {"tracks"}
    assert set(track_rows(info, description(), provenance(), tables=["stems"])) == {"tracks", "stems"}


def test_events_of_a_track(layout: DatasetLayout) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        committer.commit(write_shard(layout, ["t1", "t2"]))
    features = open_features(layout.path)
    found = features.events("active_segments", "t2")
    assert found.columns.tolist() == ["stem", "start_s", "end_s"]
    assert found["start_s"].tolist() == [1.0, 2.0, 3.0]
    assert found["stem"].tolist() == ["drums", "vocals", "mixture"]
    assert features.events("active_segments", "t1", "vocals")["end_s"].tolist() == [2.0]
    assert len(features.events("active_segments", "t1", "other")) == 0
    with pytest.raises(DatasetError, match="there is no track 't3'"):
        features.events("active_segments", "t3")
    with pytest.raises(DatasetError, match="'stems' is no table of events; there are: active_segments"):
        features.events("stems", "t1")
    assert features.chords("t1")["start_s"].tolist() == [1.0, 2.0, 3.0]
    assert features.sections("t2")["end_s"].tolist() == [1.0, 2.0, 3.0]
    assert features.notes("t1", "drums")["onset_s"].tolist() == [1.0]
    assert features.notes("t1")["pitch"].tolist() == [0, 1, 2]
    beats = features.beats("t1")
    assert beats.to_numpy().tolist() == [[0.5, 1, 1], [1.0, 2, 1], [1.5, 0, 1]]
    with pytest.raises(DatasetError, match="no beats of track 't3'"):
        features.beats("t3")


def test_events_that_were_not_written(layout: DatasetLayout) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        committer.commit(write_shard(layout, ["t1"], tables=("tracks", "stems")))
    features = open_features(layout.path)
    assert features.to_pandas("active_segments").empty
    with pytest.raises(DatasetError, match="table active_segments is not there: no run has written it"):
        features.events("active_segments", "t1")
    with pytest.raises(DatasetError, match="no beats of track 't1'"):
        features.beats("t1")


def test_a_table_of_events_is_declared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_registry, "_TABLES", dict(events_registry._TABLES))
    try:
        table = EventTable("sighs", 900, "One row per sigh.", (START, END), ("start_s",), lambda inputs: {})
        register_events(table)
        assert list(event_tables())[-1] == "sighs"
        with pytest.raises(ValueError, match="table 'sighs' is registered already"):
            register_events(table)
        with pytest.raises(ValueError, match="table 'sighs' has no field 'stem'"):
            table.rows({"stem": ["bass"]})
        with pytest.raises(ValueError, match="columns of several lengths: start_s 2, end_s 1"):
            table.rows({"start_s": [0.0, 1.0], "end_s": [1.0]})
        with pytest.raises(ValueError, match="do not begin with the key end_s"):
            EventTable("sobs", 1, "One row per sob.", (START, END), ("end_s",))
        made = description()
        made.tables["sighs"] = {"start_s": [1.0], "end_s": [2.0]}
        rows = track_rows(TrackInfo("t1", "x.wav"), made, provenance(), tables=["sighs"])
        assert rows["sighs"] == [{"track_id": "t1", "start_s": 1.0, "end_s": 2.0, "run_id": "r1"}]
        made.tables["sighs"] = {"start_s": [1.0], "end": [2.0]}
        with pytest.raises(DatasetError, match=r"x\.wav: table 'sighs' has no field 'end'"):
            track_rows(TrackInfo("t1", "x.wav"), made, provenance(), tables=["sighs"])
    finally:
        monkeypatch.undo()
        event_tables.cache_clear()


def test_error_rows() -> None:
    row = error_row("t1", "x.mp3", DecodeError("both failed", source="x.mp3"), provenance(), attempt=2, worker="w")
    assert (row["stage"], row["error_type"], row["message"], row["attempt"]) == (
        "decode",
        "DecodeError",
        "both failed",
        2,
    )
    row = error_row("t1", "x.mp3", MemoryError(), provenance(), stage="separate")
    assert (row["stage"], row["error_type"], row["message"]) == ("separate", "MemoryError", "MemoryError()")
    row = error_row("t1", "x.mp3", "the worker died", provenance(), stage="worker", error_type="worker_died")
    assert (row["stage"], row["error_type"], row["message"]) == ("worker", "worker_died", "the worker died")


@given(st.lists(st.one_of(st.just(float("nan")), st.floats(20, 12_000)), max_size=50))
def test_f0_keeps_half_a_cent(f0: list[float]) -> None:
    back = cents_to_f0(f0_to_cents(np.array(f0)))
    assert np.array_equal(np.isnan(back), np.isnan(f0))
    voiced = ~np.isnan(back)
    assert np.all(np.abs(1200 * np.log2(back[voiced] / np.array(f0)[voiced])) <= 0.5 + 1e-9)


@given(st.lists(st.floats(0, 1, width=32), max_size=50))
def test_voicing_keeps_half_a_step(voicing: list[float]) -> None:
    back = bytes_to_voicing(voicing_to_bytes(np.array(voicing)))
    assert back.dtype == np.float32
    assert np.all(np.abs(back - np.array(voicing)) <= 0.5 / 255 + 1e-6)


@pytest.mark.parametrize("f0", [0.0, -110.0, np.inf])
def test_f0_that_is_none(f0: float) -> None:
    with pytest.raises(DatasetError, match="NaN where unvoiced"):
        f0_to_cents(np.array([f0]))
    with pytest.raises(DatasetError, match=r"0\.\.1"):
        voicing_to_bytes(np.array([f0 - 1]))


# --- layout and catalogue columns -------------------------------------------------------------------------------------


def test_catalogue_columns_travel_and_keep_their_types(tmp_path: Path) -> None:
    catalog = pd.DataFrame(
        {
            "Track Title": ["a", None],
            "year": [2001, 2002],
            "gain": [0.5, np.nan],
            "live": [True, False],
            "note": [None, None],
        }
    )
    layout = DatasetLayout.create(tmp_path / "f", metadata=infer_metadata(catalog))
    assert {f.name: f.type for f in layout.metadata} == {
        "meta_track_title": "string",
        "meta_year": "int64",
        "meta_gain": "float64",
        "meta_live": "bool",
        "meta_note": "string",
    }
    by = provenance()
    rows = [
        track_rows(TrackInfo(f"t{i}", "x", metadata=row), None, by)["tracks"][0]
        for i, row in enumerate(catalog.to_dict("records"))
    ]
    rows += track_rows(TrackInfo("t2", "x", metadata={"note": 7, "year": pd.NA, "live": np.nan}), None, by)["tracks"]
    part = write_part(pickle.loads(pickle.dumps(layout)), "tracks", rows, shard="0")
    back = (
        pq.read_table(part_file(layout, part), partitioning=None).select([f.name for f in layout.metadata]).to_pylist()
    )
    assert list(back[0].values()) == ["a", 2001, 0.5, True, None]
    assert list(back[2].values()) == [None, None, None, None, "7"]
    with pytest.raises(DatasetError, match=r"column 'meta_year', track 't3': 1\.5 is not an integer"):
        to_table(layout, "tracks", track_rows(TrackInfo("t3", "x", metadata={"year": 1.5}), None, by)["tracks"])


def test_a_later_catalogue_adds_columns_but_changes_none(tmp_path: Path) -> None:
    path = tmp_path / "f"
    layout = DatasetLayout.create(path, metadata=infer_metadata(pd.DataFrame({"year": [1]})))
    with Committer(layout, {"run_id": "r1"}) as committer:
        committer.commit(write_shard(layout, ["t1"], metadata={"year": 2000}))
    later = DatasetLayout.create(path, metadata=infer_metadata(pd.DataFrame({"year": ["x"], "mood": ["calm"]})))
    assert {f.name: f.type for f in later.metadata} == {"meta_year": "int64", "meta_mood": "string"}
    with Committer(later, {"run_id": "r2"}) as committer:
        committer.commit(write_shard(later, ["t2"], by=provenance("r2"), metadata={"year": 2001, "mood": "calm"}))
    wanted = [(2000, None), (2001, "calm")]
    rows = open_features(path).to_arrow("tracks", columns=["meta_year", "meta_mood"]).to_pylist()
    assert [tuple(r.values()) for r in rows] == wanted
    compact.compact(path)
    frame = pq.read_table(layout.directory("tracks")).select(["meta_year", "meta_mood"]).to_pylist()
    assert [tuple(r.values()) for r in frame] == wanted


def test_metadata_names() -> None:
    assert metadata_name(" Track-Title (en) ") == "meta_track_title_en"
    assert metadata_name("Künstler") == "meta_künstler"
    with pytest.raises(DatasetError, match="would both be called 'meta_a_b'"):
        infer_metadata(pd.DataFrame({"a b": [1], "a-b": [1]}))


def test_what_is_no_features_directory(tmp_path: Path, layout: DatasetLayout) -> None:
    with pytest.raises(DatasetError, match="no such directory"):
        stemfeatures.open_features(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="not a features directory"):
        stemfeatures.open_features(tmp_path)
    with pytest.raises(DatasetError, match="holds other things already: features"):
        DatasetLayout.create(tmp_path)
    (layout.path / "_schema" / "stems.json").write_text("{")
    with pytest.raises(DatasetError, match=r"stems\.json: cannot read the schema"):
        open_features(layout.path)


def restate(layout: DatasetLayout, version: str, *fields: dict[str, object]) -> None:
    """Make the dataset one of another release."""
    for file in (layout.path / "_schema").glob("*.json"):
        content = json.loads(file.read_text())
        content["schema_version"] = version
        if content["table"] == "stems":
            content["fields"] += fields
        file.write_text(json.dumps(content))


def test_other_major_version_is_refused(layout: DatasetLayout) -> None:
    restate(layout, "2.0")
    with pytest.raises(DatasetError, match=r"schema version 2\.0, this library reads 1\.1"):
        open_features(layout.path)


def test_columns_of_a_newer_minor_version_are_read_and_kept(layout: DatasetLayout) -> None:
    new = {"name": "sparkle", "type": "float32", "description": "New.", "since": "1.7", "unheard_of": 1}
    restate(layout, "1.7", new, {**new, "name": "pair", "type": "fixed_list<float32, 2>"})
    newer = DatasetLayout.open(layout.path)
    rows = [
        {"track_id": "t", "stem": "bass", **stem_values(1), "sparkle": 0.5, "pair": [1, 2], **provenance().columns()}
    ]
    part = write_part(newer, "stems", rows, shard="0")
    append_commit(newer, read_snapshot(newer), kind="shard", add=[part])
    assert open_features(layout.path).to_pandas("stems")["sparkle"].tolist() == [0.5]
    assert open_features(layout.path).to_arrow("stems")["pair"].to_pylist() == [[1.0, 2.0]]
    with pytest.raises(DatasetError, match="column 'pair', track 't'"):
        to_table(newer, "stems", [{**rows[0], "pair": [1, 2, 3]}])
    DatasetLayout.create(layout.path)
    again = DatasetLayout.open(layout.path)
    assert again.schema_version == "1.7"
    assert any(f.name == "sparkle" for f in again.fields("stems"))


# --- commits ----------------------------------------------------------------------------------------------------------


def test_orphans_are_invisible_until_committed(layout: DatasetLayout) -> None:
    parts = write_shard(layout, ["t1"], ["t2"])
    assert open_features(layout.path).tables == ()
    assert not list(layout.path.glob("*/*.parquet"))
    assert open_features(layout.path).to_pandas("stems").empty
    with Committer(layout, {"run_id": "r1"}) as committer:
        result = committer.commit(parts, shard="s1")
        assert (result.tracks, result.errors, result.replaced, result.dropped) == (("t1",), ("t2",), 0, ())
        write_shard(layout, ["t3"])
        assert state(layout) == (["t1"], ["t2"])  # seen while the run goes on
        assert pd.read_parquet(layout.directory("tracks"))["track_id"].tolist() == ["t1"]
        assert open_features(layout.path).to_pandas("runs")["status"].tolist() == ["running"]
    assert open_features(layout.path).counts()["stems"] == len(STEM_ROWS)


def test_history_is_kept_and_replays(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "CHECKPOINT_EVERY", 3)
    with Committer(layout, {"run_id": "r1"}) as committer:
        for i in range(8):
            committer.commit(write_shard(layout, [f"t{i}"], [f"e{i}"], tables=()), shard=f"s{i}")
        in_memory = committer.snapshot.to_json()
        on_disk = read_snapshot(layout)
        assert on_disk.to_json() == in_memory
    log = layout.path / "_commits"
    folded = sorted(log.glob("*.*.json"))
    assert [file.name for file in folded] == ["00000006.checkpoint.json", "00000009.delta.json"]
    with_checkpoints = read_snapshot(layout).to_json()
    for file in reversed(folded):  # damaged or gone, the log itself is enough
        file.write_text("{")
        assert read_snapshot(layout).to_json() == with_checkpoints
        file.unlink()
    assert read_snapshot(layout).to_json() == with_checkpoints
    history = read_commits(layout)
    assert [e["commit"] for e in history] == list(range(1, len(history) + 1))
    assert [e["kind"] for e in history] == ["run", *["shard"] * 8, "run"]
    assert history[1]["counts"] == {"tracks": 1, "errors": 1}


def test_a_torn_last_commit_is_ignored_and_its_number_used_again(layout: DatasetLayout) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        committer.commit(write_shard(layout, ["t1"]))
    torn = layout.path / "_commits" / f"{read_snapshot(layout).commit + 1:08d}.json"
    torn.write_text('{"format": 1, "add": [{"pa')
    assert state(layout)[0] == ["t1"]
    with Committer(layout, {"run_id": "r2"}) as committer:
        committer.commit(write_shard(layout, ["t2"], by=provenance("r2")))
    assert state(layout)[0] == ["t1", "t2"]
    assert json.loads(torn.read_text())["kind"] == "run"


def test_damage_in_the_log_is_told(layout: DatasetLayout) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        committer.commit(write_shard(layout, ["t1"]))
    first, second, _ = sorted((layout.path / "_commits").glob("*.json"))
    good = second.read_text()
    second.write_text("{")
    with pytest.raises(DatasetError, match=r"00000002\.json: damaged commit"):
        open_features(layout.path)
    second.unlink()
    with pytest.raises(DatasetError, match="commit 2 is missing"):
        open_features(layout.path)
    second.write_text(good.replace('"format": 1', '"format": 2'))
    with pytest.raises(DatasetError, match="newer than this library"):
        open_features(layout.path)
    second.write_text(good.replace('"remove": []', '"remove": ["tracks/none.parquet"]'))
    with pytest.raises(DatasetError, match=r"00000002\.json: damaged commit: KeyError"):
        open_features(layout.path)
    assert first.exists()


def test_a_later_run_replaces(layout: DatasetLayout) -> None:
    def run(name: str, ok: list[str], failed: list[str], seed: float) -> int:
        with Committer(layout, {"run_id": name}) as committer:
            parts = write_shard(layout, ok, failed, by=provenance(name, model=f"sha-{name}"), seed=seed)
            return committer.commit(parts).replaced

    assert run("r1", ["a", "b", "c"], ["d", "e"], 1) == 0
    assert run("r2", ["b", "d"], ["c", "e"], 50) == 4  # overwritten, cured, broken, broken again
    assert state(layout) == (["a", "b", "d"], ["c", "e"])
    features = open_features(layout.path)
    rows = features.to_pandas("stems", ["track_id", "run_id", FLOAT_COLUMN], filter=[("stem", "==", "mixture")])
    assert rows["run_id"].tolist() == ["r1", "r2", "r2"]
    assert rows[FLOAT_COLUMN].diff()[1] == 49
    assert features.counts() == {t: len(features.to_pandas(t)) for t in features.tables}
    assert features.counts()["stems"] == 3 * len(STEM_ROWS)
    assert features.to_pandas("errors")["run_id"].tolist() == ["r2", "r2"]
    assert sum(b.num_rows for b in features.dataset("tracks").to_batches()) == 3
    assert run("r3", ["a", "b", "c", "d", "e"], [], 3) == 5
    assert state(layout) == (["a", "b", "c", "d", "e"], [])
    runs = open_features(layout.path).to_pandas("runs").set_index("run_id")
    assert runs["n_tracks"].to_dict() == {"r1": 3, "r2": 2, "r3": 5}
    assert runs["n_errors"].to_dict() == {"r1": 2, "r2": 2, "r3": 0}


def test_within_a_run_the_first_success_wins(layout: DatasetLayout) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        parts = write_shard(layout, ["a", "b"], ["c", "d"], seed=1)
        committer.commit(parts)
        again = committer.commit(parts)
        assert (again.number, again.dropped) == (None, ("a", "b", "c", "d"))
        late = committer.commit(write_shard(layout, ["a", "c", "e"], ["b", "d", "f"], seed=9))
        assert (late.tracks, late.errors, late.dropped, late.replaced) == (("c", "e"), ("f",), ("a", "b", "d"), 1)
    assert state(layout) == (["a", "b", "c", "e"], ["d", "f"])
    rows = open_features(layout.path).to_pandas("stems", ["track_id", FLOAT_COLUMN], filter=[("stem", "==", "mixture")])
    assert rows[FLOAT_COLUMN].diff().tolist()[1:] == [0, 8, 0]
    run = open_features(layout.path).to_pandas("runs").iloc[0]
    assert (run["n_tracks"], run["n_errors"]) == (4, 2)


def test_commits_that_are_refused_change_nothing(layout: DatasetLayout) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        parts = {p.table: p for p in write_shard(layout, ["a"])}
        other = write_shard(layout, ["b"], tables=())
        with pytest.raises(DatasetError, match="track 'a' has no row in tracks"):
            committer.commit([parts["stems"], *other])
        with pytest.raises(DatasetError, match="track 'b' stands in tracks and in errors"):
            committer.commit([*other, *write_shard(layout, [], ["b"])])
        with pytest.raises(DatasetError, match="track 'b' stands twice in tracks"):
            committer.commit([*other, *write_shard(layout, ["b"], tables=())])
        with pytest.raises(DatasetError, match="the part is of run r9, not r1"):
            committer.commit(write_shard(layout, ["a"], by=provenance("r9")))
        file = part_file(layout, other[0])
        file.write_bytes(b"PAR1")
        with pytest.raises(DatasetError, match=r"cannot commit a part: .* has 4 bytes of"):
            committer.commit(other)
        file.write_bytes(bytes(other[0].size))
        with pytest.raises(DatasetError, match="cannot commit a part"):
            committer.commit(other)
        file.unlink()
        with pytest.raises(DatasetError, match="cannot commit a part"):
            committer.commit(other)
        assert len(read_commits(layout)) == 1
        committer.commit(parts.values())
    assert state(layout) == (["a"], [])
    with pytest.raises(DatasetError, match="the run is over"):
        committer.commit(parts.values())
    with pytest.raises(DatasetError, match="run id 'r1' was used before"), Committer(layout, {"run_id": "r1"}):
        pass
    with pytest.raises(DatasetError, match="needs a run_id"):
        Committer(layout, {})


def test_runs_tell_how_they_ended(layout: DatasetLayout) -> None:
    with Committer(layout, {"run_id": "r1", "config_json": "{}"}) as committer:
        committer.finish(n_skipped=2, audio_s=12.5)
    with pytest.raises(ZeroDivisionError), Committer(layout, {"run_id": "r2"}):
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), Committer(layout, {"run_id": "r3"}):
        raise KeyboardInterrupt
    runs = open_features(layout.path).to_pandas("runs").set_index("run_id")
    assert runs["status"].tolist() == ["finished", "failed", "interrupted"]
    assert runs.loc["r1", ["n_skipped", "audio_s"]].tolist() == [2, 12.5]
    assert runs["finished_at"].notna().all()


def test_resume_keys(layout: DatasetLayout) -> None:
    when = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
    with Committer(layout, {"run_id": "r1"}) as committer:
        info = {"audio_sha256": "ab", "source_size_bytes": 7, "source_modified_at": when}
        committer.commit(write_shard(layout, ["a"], ["b"], tables=(), **info))
    done = completed_keys(layout)
    key = TrackKey("a", "c1", "sha-1", registry.SCHEMA_VERSION)
    assert set(done) == {key}
    assert done[key] == ("a.wav", "ab", 7, when)
    assert [k.track_id for k in completed_keys(layout.path, table="errors")] == ["b"]
    assert key._replace(model_sha256="sha-2") not in done
    with Committer(layout, {"run_id": "r2"}) as committer:
        committer.commit(write_shard(layout, ["a"], by=provenance("r2", "c2"), tables=()))
    assert set(completed_keys(layout)) == {key._replace(config_hash="c2")}


# --- one writer -------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_is_first(layout: DatasetLayout) -> None:
    with Committer(layout, {"run_id": "night"}):
        with pytest.raises(DatasetError, match=rf"another writer is at work: run night, process {os.getpid()} on"):
            Committer(layout, {"run_id": "r2"}).__enter__()
        with pytest.raises(DatasetError, match="another writer is at work"):
            compact.compact(layout)
        with pytest.raises(DatasetError, match="another writer is at work"):
            compact.vacuum(layout)
    with Committer(layout, {"run_id": "r2"}):
        pass


def test_commit_numbers_guard_where_locks_do_not_work(layout: DatasetLayout) -> None:
    mine, theirs = read_snapshot(layout), read_snapshot(layout)
    append_commit(layout, theirs, kind="shard", add=write_shard(layout, ["a"], tables=()))
    with pytest.raises(DatasetError, match=r"another process committed 00000001\.json"):
        append_commit(layout, mine, kind="shard", add=write_shard(layout, ["b"], tables=()))
    assert state(layout) == (["a"], [])
    assert not list((layout.path / "_commits").glob(".*.tmp"))


def test_file_systems_without_hard_links(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", link)
    snapshot = read_snapshot(layout)
    append_commit(layout, snapshot, kind="shard", add=write_shard(layout, ["a"], tables=()))
    snapshot.commit -= 1
    with pytest.raises(DatasetError, match="at the same time"):
        append_commit(layout, snapshot, kind="shard")
    assert state(layout) == (["a"], [])


def test_a_killed_run_leaves_neither_lock_nor_rows(layout: DatasetLayout) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        from stemfeatures.tables.committer import Committer
        from stemfeatures.tables.parts import write_part
        from stemfeatures.tables.rows import Provenance, TrackInfo, track_rows
        def part(track):
            rows = track_rows(TrackInfo(track, "x.wav"), None, Provenance("killed", "c", "m", "s"))
            return write_part(sys.argv[1], "tracks", rows["tracks"], shard=track)
        with Committer(sys.argv[1], {"run_id": "killed"}) as committer:
            committer.commit([part("a")])
            part("b")
            print("ready", flush=True)
            time.sleep(600)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(layout.path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(stemfeatures.__file__).parents[1],
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(DatasetError, match=rf"run killed, process {process.pid} on"):
                DatasetLock(layout, "test").__enter__()
        finally:
            process.send_signal(signal.SIGKILL)
    assert state(layout) == (["a"], [])
    with Committer(layout, {"run_id": "next"}) as committer:
        committer.commit(write_shard(layout, ["b"], by=provenance("next"), tables=()))
    assert state(layout) == (["a", "b"], [])
    runs = open_features(layout.path).to_pandas("runs").set_index("run_id")
    assert runs["status"].to_dict() == {"killed": "interrupted", "next": "finished"}
    assert compact.vacuum(layout) == []  # the next run has deleted what the killed one left
    assert len(list(layout.path.glob("tracks/*"))) + len(list(layout.path.glob("tracks/.*"))) == 2


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: a..d, then b again and d broken; one orphan."""
    layout = DatasetLayout.create(tmp_path_factory.mktemp("written") / "features")
    with Committer(layout, {"run_id": "r1"}) as committer:
        committer.commit(write_shard(layout, ["c", "d"], ["x"], seed=10))
        committer.commit(write_shard(layout, ["a", "b"], seed=20))
    with Committer(layout, {"run_id": "r2"}) as committer:
        committer.commit(write_shard(layout, ["b"], ["d"], by=provenance("r2"), seed=30))
    write_shard(layout, ["orphan"], ["other"])
    return layout.path


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_features(written: Path) -> None:
    features = stemfeatures.open_features(str(written))
    assert features.tables == (*DATA, "errors", "runs")
    assert features.counts() == {
        "tracks": 3,
        "stems": 15,
        "contours": 6,
        "events": 9,
        "embeddings": 12,
        **dict.fromkeys(event_tables(), 9),
        "errors": 2,
        "runs": 2,
    }
    assert "15 rows" in repr(features)
    assert str(written) in repr(features)
    assert all(Path(f).is_file() for f in features.files("stems"))
    assert features.schema("stems").field("stem").metadata[b"description"]
    assert isinstance(features.dataset("stems"), ds.Dataset)
    frame = features.to_pandas("stems", columns=["stem", FLOAT_COLUMN], filter=[("stem", "in", ["bass", "drums"])])
    assert frame.columns.tolist() == ["stem", FLOAT_COLUMN]
    assert set(frame["stem"]) == {"bass", "drums"}
    for call in (features.dataset, features.files, features.schema, features.to_pandas):
        with pytest.raises(DatasetError, match="unknown table 'beats'"):
            call("beats")
    with pytest.raises(DatasetError, match=r"table stems has no column 'tempo'; there are: .*tempo_bpm"):
        features.to_pandas("stems", columns=["tempo"])
    assert features.to_pandas("stems", columns="stem").columns.tolist() == ["stem"]


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        ([("tempo", ">", 3)], r"table stems has no column 'tempo' \["),
        (pc.field("tempo") > 3, r"table stems has no column 'tempo' \["),
        (
            [("onset_count", ">", "three")],
            r"table stems cannot be filtered by \[\('onset_count', .*: Function 'greater'",
        ),
        (("stem", "==", "bass"), r"table stems cannot be filtered by \('stem', .* list of \(column, operator, value\)"),
        ("stem == 'bass'", r"table stems cannot be filtered by \"stem == 'bass'\": neither an expression"),
        ([("stem", "is", "bass")], r"table stems cannot be filtered by \[\('stem', 'is', 'bass'\)\]: neither"),
    ],
)
def test_a_filter_that_does_not_fit_is_no_lost_part(written: Path, filter: object, said: str) -> None:
    with pytest.raises(DatasetError, match=said) as caught:
        open_features(written).to_pandas("stems", filter=filter)  # type: ignore[arg-type]
    assert not isinstance(caught.value, LostPartError)


def test_stems_that_nobody_knows(written: Path) -> None:
    features = open_features(written)
    for ask in (
        lambda: features.embeddings("drum"),
        lambda: features.contour("a", "drum"),
        lambda: features.notes("a", "drum"),
    ):
        with pytest.raises(DatasetError, match="unknown stem 'drum'; there are: mixture, vocals, drums, bass, other"):
            ask()


def test_types_that_pandas_cannot_keep_by_itself(written: Path) -> None:
    stems = open_features(written).to_arrow("stems", columns=["onset_count"])
    assert stems.to_pandas(types_mapper=pd.ArrowDtype)["onset_count"].dtype == "int32[pyarrow]"


def test_pivot(written: Path) -> None:
    features = open_features(written)
    wide = features.pivot_stems()
    assert wide.index.tolist() == ["a", "b", "c"]
    assert wide.loc["b", f"vocals__{FLOAT_COLUMN}"] - wide.loc["b", f"mixture__{FLOAT_COLUMN}"] == 1
    assert wide.loc["b", f"vocals__{FLOAT_COLUMN}"] - wide.loc["c", f"vocals__{FLOAT_COLUMN}"] == 20
    few = features.pivot_stems([FLOAT_COLUMN], stems=["bass", "vocals"])
    assert few.columns.tolist() == [f"bass__{FLOAT_COLUMN}", f"vocals__{FLOAT_COLUMN}"]
    assert few.dtypes.unique().tolist() == [np.dtype("float32")]
    with pytest.raises(DatasetError, match="unknown stem 'guitar'"):
        features.pivot_stems(stems=["guitar"])
    pd.testing.assert_frame_equal(
        features.pivot_stems(FLOAT_COLUMN, stems="bass"), features.pivot_stems([FLOAT_COLUMN], stems=["bass"])
    )


def test_contours_and_embeddings(written: Path) -> None:
    features = open_features(written)
    contour, wanted = features.contour("b", "bass"), description(30).contours["bass"]
    np.testing.assert_allclose(contour.times_s, wanted.times_s, atol=1e-9)
    np.testing.assert_allclose(contour.f0_hz, wanted.f0_hz, rtol=3e-4)
    np.testing.assert_allclose(contour.voicing, wanted.voicing, atol=0.5 / 255 + 1e-6)
    with pytest.raises(DatasetError, match="no contour of stem 'drums' for track 'b'; there are: bass, vocals"):
        features.contour("b", "drums")
    with pytest.raises(DatasetError, match="there is no track 'nope'"):
        features.contour("nope", "bass")
    ids, vectors = features.embeddings("bass")
    assert ids.tolist() == ["a", "b", "c"]
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[:, 0], [20, 30, 10])
    ids, vectors = features.embeddings("other")
    assert (len(ids), len(vectors)) == (0, 0)


def test_embeddings_of_two_models_are_not_mixed(layout: DatasetLayout) -> None:
    for run, model in (("r1", "m1"), ("r2", "m2")):
        with Committer(layout, {"run_id": run}) as committer:
            committer.commit(write_shard(layout, [run], by=provenance(run, model=model)))
    features = open_features(layout.path)
    with pytest.raises(DatasetError, match=r"several models: joint-test \(m1\), joint-test \(m2\)"):
        features.embeddings("bass")
    assert features.embeddings("bass", model_sha256="m2")[0].tolist() == ["r2"]


def test_a_dataset_that_was_opened_before_compact_still_reads(copied: Path) -> None:
    features = open_features(copied)
    before = features.to_pandas("stems")
    compact.compact(copied)
    pd.testing.assert_frame_equal(features.to_pandas("stems"), before)
    assert features.commit > 0


def hidden(copied: Path, features: Features, table: str) -> list[PartFile]:
    """The parts of a table under the names that they have between a commit and its end."""
    parts = features.snapshot.of(table)
    for part in parts:
        (copied / part.path).rename(copied / staged(part.path))
    return parts


def test_a_dataset_handed_out_before_its_parts_are_published(copied: Path) -> None:
    """Whoever holds it reads it later."""
    features = open_features(copied)
    before = features.to_arrow("stems")
    parts = hidden(copied, features, "stems")
    rows = features.dataset("stems")
    assert rows.to_table(columns=["track_id"]).num_rows == before.num_rows
    publish(features.layout, parts)
    assert rows.to_table().sort_by("track_id").select(["track_id"]) == before.select(["track_id"])
    assert rows.count_rows() == before.num_rows
    (copied / parts[0].path).unlink()
    with pytest.raises(FileNotFoundError):
        rows.to_table()


@pytest.mark.parametrize(
    "read",
    [
        lambda features: features.counts()["stems"],
        lambda features: query(features, "SELECT count(*) AS n FROM stems")["n"][0].as_py(),
        lambda features: len(features.to_pandas("stems")),
        lambda features: len(stemfeatures.features_matrix(features)) * len(STEM_ROWS),
        lambda features: export(features, "delta", f"{features.path}-lake", tables=["stems"])["stems"],
    ],
    ids=["counts", "query", "to_pandas", "features_matrix", "export"],
)
def test_readers_beside_compact(copied: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Features], int]) -> None:
    """Between the look at the parts and the first byte, all of them are merged and deleted."""
    features = open_features(copied)
    expected = read(open_features(copied))
    shutil.rmtree(f"{copied}-lake", ignore_errors=True)
    # Rows that were replaced, so that counts have to be read, too.
    features.snapshot.replaced.setdefault("stems", {}).setdefault("no such run", set()).add("no such track")
    real, merged = reader.part_files, []

    def found_too_early(layout: DatasetLayout, parts: Iterable[PartFile]) -> list[Place]:
        found = real(layout, parts)
        if not merged:
            merged.append(True)  # compact reads, too
            compact.compact(copied)
        return found

    monkeypatch.setattr(reader, "part_files", found_too_early)
    assert read(features) == expected
    assert merged
    assert features.commit > 0


def test_an_export_beside_a_run_that_brings_columns(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read anew has them, too."""
    real, merged = reader.part_files, []

    def found_too_early(layout: DatasetLayout, parts: Iterable[PartFile]) -> list[Place]:
        found = real(layout, parts)
        if not merged:
            merged.append(True)
            DatasetLayout.open(copied).with_columns(infer_metadata(pd.DataFrame({"mood": ["calm"]})))
            compact.compact(copied)
        return found

    features = open_features(copied)
    monkeypatch.setattr(reader, "part_files", found_too_early)
    assert export(features, "delta", f"{copied}-lake", tables=["tracks"]) == {"tracks": 3}
    assert ds.dataset(f"{copied}-lake/tracks", format="parquet").schema.names[-1] == features.schema("tracks").names[-1]
    assert metadata_name("mood") in ds.dataset(f"{copied}-lake/tracks", format="parquet").schema.names


def test_a_part_that_is_published_while_it_is_read(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = open_features(copied)
    before = features.to_pandas("stems")
    part = features.snapshot.of("stems")[0]
    hidden = copied / staged(part.path)
    (copied / part.path).rename(hidden)  # as a commit leaves it until it is published
    real = reader.part_files

    def found_too_early(layout: DatasetLayout, parts: Iterable[PartFile]) -> list[Place]:
        found = real(layout, parts)
        if hidden.exists():
            assert hidden in found
            publish(layout, [part])
        return found

    monkeypatch.setattr(reader, "part_files", found_too_early)
    pd.testing.assert_frame_equal(features.to_pandas("stems"), before)
    assert not hidden.exists()
    (copied / part.path).unlink()
    with pytest.raises(LostPartError, match="is missing"):
        features.to_pandas("stems")


# --- compact ----------------------------------------------------------------------------------------------------------


def everything(path: Path) -> dict[str, list[dict[str, object]]]:
    features = open_features(path)
    return {table: features.to_arrow(table).to_pylist() for table in features.tables}


def read_pandas(folder: Path) -> int:
    return len(pd.read_parquet(folder))


def read_dask(folder: Path) -> int:
    dd = pytest.importorskip("dask.dataframe")
    return len(dd.read_parquet(folder).compute(scheduler="sync"))


def read_duckdb(folder: Path) -> int:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        return connection.execute("select count(*) from read_parquet(?)", [str(folder / "*.parquet")]).fetchone()[0]


@pytest.mark.parametrize("read", [read_pandas, read_dask, read_duckdb], ids=lambda f: f.__name__)
def test_plain_folders_after_compact(copied: Path, read: Callable[[Path], int]) -> None:
    before = everything(copied)
    results = compact.compact(copied)
    assert everything(copied) == before
    assert {r.table: r.files_after for r in results} == dict.fromkeys(before, 1)
    for table, rows in before.items():
        assert read(copied / table) == len(rows)


def test_plain_folder_values(copied: Path) -> None:
    """Other readers see the same types and values, not only as many rows."""
    duckdb = pytest.importorskip("duckdb")
    dd = pytest.importorskip("dask.dataframe")
    compact.compact(copied)
    frame = open_features(copied).to_pandas("stems")
    # Categories are stored as strings; ours come back as what they are.
    categories = frame.select_dtypes("category").columns
    assert "stem" in categories
    pd.testing.assert_frame_equal(pd.read_parquet(copied / "stems"), frame.astype(dict.fromkeys(categories, "str")))
    lazy = dd.read_parquet(copied / "stems")
    values = lazy[lazy["stem"] == "bass"][["track_id", FLOAT_COLUMN]].compute(scheduler="sync")
    assert values[FLOAT_COLUMN].tolist() == frame[frame["stem"] == "bass"][FLOAT_COLUMN].tolist()
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"select track_id, {FLOAT_COLUMN} from read_parquet(?) where stem = 'bass' order by 1",
            [str(copied / "stems" / "*.parquet")],
        ).fetchall()
        vector = connection.execute(
            "select vector from read_parquet(?) limit 1", [str(copied / "embeddings" / "*.parquet")]
        ).fetchone()[0]
    assert [r[1] for r in rows] == values[FLOAT_COLUMN].tolist()
    assert len(vector) == 8


def test_compacted_files_tell_their_units(copied: Path) -> None:
    compact.compact(copied)
    (file,) = open_features(copied).files("contours")
    schema = pq.read_schema(file)
    assert schema.field("hop_s").metadata[b"unit"] == b"s"
    assert schema.metadata[b"stemfeatures.schema_version"] == registry.SCHEMA_VERSION.encode()


def test_compact_by_key_ranges(copied: Path) -> None:
    before = everything(copied)
    size = sum(p.size for p in read_snapshot(copied).of("stems"))
    compact.compact(copied, tables=["stems"], target_bytes=size // 30)
    assert everything(copied) == before
    parts = sorted(read_snapshot(copied).of("stems"), key=lambda p: p.min_key)
    assert [(p.min_key, p.max_key) for p in parts] == [("a", "a"), ("b", "b"), ("c", "c")]
    assert not list(copied.glob(".compact-*"))
    assert len(read_snapshot(copied).of("contours")) == 3  # not asked for
    with pytest.raises(DatasetError, match="unknown table"):
        compact.compact(copied, tables=["beats"])


def test_compact_leaves_what_is_good_and_merges_what_is_new(copied: Path) -> None:
    compact.compact(copied)
    files = {t: open_features(copied).files(t) for t in DATA}
    commit = read_snapshot(copied).commit
    compact.compact(copied)
    assert {t: open_features(copied).files(t) for t in DATA} == files
    assert read_snapshot(copied).commit == commit
    with Committer(copied, {"run_id": "r3"}) as committer:
        committer.commit(write_shard(DatasetLayout.open(copied), ["x", "a"], by=provenance("r3")))
    before = everything(copied)
    compact.compact(copied, target_bytes=2)  # every file is large now: only replaced rows are a reason
    assert everything(copied) == before
    assert read_snapshot(copied).replaced == {}
    assert sorted(pd.read_parquet(copied / "tracks")["track_id"]) == ["a", "b", "c", "x"]
    assert pd.read_parquet(copied / "errors")["track_id"].tolist() == ["d"]


def test_a_replaced_run_stays_replaced_after_compact(copied: Path) -> None:
    """The lists of replaced rows are forgotten by compact, so a track may be replaced again and again."""
    for n in range(3):
        compact.compact(copied)
        with Committer(copied, {"run_id": f"again{n}"}) as committer:
            parts = write_shard(DatasetLayout.open(copied), ["a", "b"], ["c"], by=provenance(f"again{n}"))
            assert committer.commit(parts).replaced == 3
        assert state(DatasetLayout.open(copied)) == (["a", "b"], ["c", "d", "x"])


def test_compact_that_is_killed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(copied)
    real = compact.append_commit
    calls = []

    def dying(*args: object, **more: object) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **more)

    monkeypatch.setattr(compact, "append_commit", dying)
    with pytest.raises(KeyboardInterrupt):
        compact.compact(copied)
    assert everything(copied) == before  # two tables merged, the third has an orphan, nothing deleted
    monkeypatch.setattr(compact, "append_commit", real)
    with monkeypatch.context() as patch:
        patch.setattr(compact, "clear", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compact.compact(copied)
    assert everything(copied) == before
    compact.compact(copied)
    assert everything(copied) == before
    for table, rows in before.items():
        assert read_pandas(copied / table) == len(rows)


def test_vacuum_deletes_only_what_no_longer_counts(copied: Path) -> None:
    before = everything(copied)
    stranger = copied / "stems" / "notes.parquet"
    stranger.write_bytes(b"mine")
    old = copied / "stems" / ".part-x.parquet.12345678.tmp"
    young = copied / "tracks" / ".part-x.parquet.12345678.tmp"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert compact.vacuum(copied, older_than_s=3600) == [old]
    deleted = compact.vacuum(copied)
    assert {p.parent.name for p in deleted} == {*DATA, "errors"}
    assert everything(copied) == before
    assert stranger.exists()
    assert young.exists()
    assert compact.vacuum(copied) == []


# --- any sequence of events -------------------------------------------------------------------------------------------

TRACKS = "abcdef"
outcome = st.dictionaries(st.sampled_from(TRACKS), st.booleans(), min_size=1, max_size=4)
event = st.one_of(
    st.tuples(
        st.just("run"), st.lists(st.tuples(outcome, st.sampled_from(["commit", "commit", "twice", "lost"])), max_size=4)
    ),
    st.tuples(st.just("compact"), st.sampled_from([1, 3000, 2**30])),
    st.tuples(st.just("vacuum"), st.none()),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.lists(event, max_size=6), st.booleans())
def test_every_track_stands_once_in_tracks_or_errors(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, object]], kill: bool
) -> None:
    layout = DatasetLayout.create(tmp_path_factory.mktemp("any") / "features")
    wanted: dict[str, tuple[bool, str, int]] = {}  # track -> (ok, run, attempt whose values count)
    for n, (kind, detail) in enumerate(events):
        if kind == "compact":
            compact.compact(layout, target_bytes=detail)
        elif kind == "vacuum":
            compact.vacuum(layout)
        else:
            run = f"r{n}"
            committer = Committer(layout, {"run_id": run}).__enter__()
            for attempt, (tracks, fate) in enumerate(detail):
                ok, failed = ([t for t, good in tracks.items() if good is g] for g in (True, False))
                parts = write_shard(layout, ok, failed, by=provenance(run), tables=("embeddings",), seed=attempt)
                if fate == "lost":
                    continue
                for _ in range(2 if fate == "twice" else 1):
                    committer.commit(parts)
                for track, good in tracks.items():
                    before = wanted.get(track)
                    if before is None or before[1] != run or (good and not before[0]):
                        wanted[track] = (good, run, attempt)
            if kill:
                committer._lock.release()
            else:
                committer.__exit__(None, None, None)
        assert state(layout) == tuple(sorted(t for t, w in wanted.items() if w[0] is g) for g in (True, False))
        features = open_features(layout.path)
        rows = features.to_pandas("embeddings", ["track_id", "run_id", "vector"], filter=[("stem", "==", "bass")])
        seen = {(r.track_id, r.run_id, int(r.vector[0])) for r in rows.itertuples()}
        assert seen == {(t, run, attempt) for t, (good, run, attempt) in wanted.items() if good}
        assert len(rows) == len(seen)
        assert all(n == len(features.to_pandas(t)) for t, n in features.counts().items())
    if wanted:
        compact.compact(layout)
        for table, g in (("tracks", True), ("errors", False)):
            files = list(layout.directory(table).glob("*.parquet"))
            plain = pd.read_parquet(layout.directory(table))["track_id"].tolist() if files else []
            assert sorted(plain) == sorted(t for t, w in wanted.items() if w[0] is g)


def test_sql_sees_the_rows_that_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("duckdb")
    from features_helper import write_features

    from pipelines import cli

    folder = write_features(tmp_path / "f", ["a", "b"])
    write_features(folder, ["b", "c"], run_id="run-2", seed=1)  # b anew

    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(["query", str(folder), *argv])
        return code, *capsys.readouterr()

    sql = "SELECT track_id, run_id, NULL AS nothing, 1.23456789::DOUBLE AS x FROM tracks ORDER BY track_id"
    code, out, err = run(sql)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["track_id", "run_id", "nothing", "x"],
        ["a", "run-1", "\N{EN DASH}", "1.23457"],
        ["b", "run-2", "\N{EN DASH}", "1.23457"],
        ["c", "run-2", "\N{EN DASH}", "1.23457"],
    ]
    assert run(sql, "-n", "1")[1].splitlines()[-1].startswith("… and 2 more rows")
    assert json.loads(run(sql, "--json")[1].splitlines()[1])["track_id"] == "b"
    assert run(sql, "--csv")[1].splitlines()[:2] == ["track_id,run_id,nothing,x", "a,run-1,,1.23456789"]
    out_file = tmp_path / "x.parquet"
    assert run(sql, "-o", str(out_file)) == (0, f"{out_file}: 3 rows\n", "")
    assert pq.read_table(out_file)["track_id"].to_pylist() == ["a", "b", "c"]
    code, _, err = run(sql, "-o", str(out_file))
    assert code == 2
    assert "x.parquet exists already; --overwrite replaces it" in err
    code, _, err = run(sql, "-o", str(tmp_path / "no" / "x.csv"))
    assert (code, err) == (2, f"stemfeatures: error: --output: no such folder: {tmp_path}/no\n")
    code, _, err = run("SELECT nonsense FROM tracks")
    assert code != 0
    assert "nonsense" in err
    assert len(err.splitlines()) == 1
    assert run("SELEC 1")[2].endswith('Parser Error: syntax error at or near "SELEC" [query]\n')


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A features directory of two tracks."""
    pytest.importorskip("duckdb")
    from features_helper import write_features

    return write_features(tmp_path_factory.mktemp("asked") / "features", ["a", "b"])


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("COPY (SELECT 1) TO '{out}'", "COPY"),
        ("SELECT 1; copy stems to '{out}' (FORMAT parquet)", "COPY"),
        ("/* a; b */ (SELECT 1); -- c\nCOPY tracks TO '{out}'; SELECT 2", "COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'", "COPY"),
        ("explain (analyze, format json) COPY (SELECT 1) TO '{out}'", "COPY"),
        ("COPY (PIVOT stems ON stem USING count(*)) TO '{out}'", "COPY"),
        ("PREPARE p AS COPY (SELECT 1) TO '{out}'; EXECUTE p", "PREPARE"),
        ("ATTACH '{out}'", "ATTACH"),
        ("EXPORT DATABASE '{out}'", "EXPORT"),
        ("INSTALL httpfs", "INSTALL"),
        ("LOAD httpfs", "LOAD"),
        ("SET lock_configuration = false", "SET"),
        ("PRAGMA enable_profiling", "PRAGMA"),
        ("CREATE TABLE t AS SELECT 1", "CREATE"),
        ("WITH a AS (SELECT 1) INSERT INTO tracks SELECT * FROM a", "WITH"),
        ("CALL force_checkpoint()", "CALL"),
    ],
)
def test_a_query_only_reads(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], sql: str, word: str
) -> None:
    from pipelines import cli

    out = tmp_path / "out.csv"
    assert cli.main(["query", str(asked), sql.format(out=out)]) == 2
    err = capsys.readouterr().err
    assert f"features: {word} is no query; these only read: SELECT, FROM, WITH" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("sql", "n_rows"),
    [
        ("FROM tracks", 2),
        ("(SELECT track_id FROM tracks) UNION ALL SELECT track_id FROM tracks;", 4),
        ("-- how many\nWITH a AS (FROM tracks) SELECT count(*) FROM a", 1),
        ("VALUES (1), (2), (3)", 3),
        ("SHOW TABLES", None),
        ("DESCRIBE tracks", None),
        ("SUMMARIZE SELECT track_id FROM tracks", 1),
        ("EXPLAIN SELECT 1", 1),
        ("EXPLAIN ANALYZE SELECT 1", 1),
        ("PIVOT (SELECT track_id, stem FROM stems) ON stem USING count(*)", 2),
        ("SELECT * FROM '{file}' JOIN tracks USING (track_id)", 1),
    ],
)
def test_all_that_reads_is_a_query(asked: Path, tmp_path: Path, sql: str, n_rows: int | None) -> None:
    from stemfeatures.tables.query import query

    features = open_features(asked)
    (tmp_path / "more.csv").write_text("track_id,mood\nb,calm\n")
    found = query(features, sql.format(file=tmp_path / "more.csv"))
    assert found.num_rows == n_rows or (n_rows is None and found.num_rows > 5)


def test_sql_to_csv_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("duckdb")
    from features_helper import write_features

    from pipelines import cli

    folder = str(write_features(tmp_path / "f", ["a"]))
    sql = "SELECT unnest([9007199254740993, NULL]) AS n, range(1500) AS long, {'x': [1, NULL]} AS both"
    assert cli.main(["query", folder, sql, "--csv"]) == 0
    numbers = list(range(1500))
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows == [["n", "long", "both"], *([n, str(numbers), '{"x": [1, null]}'] for n in ("9007199254740993", ""))]
    assert cli.main(["query", folder, sql, "-o", str(tmp_path / "x.csv"), "-q"]) == 0
    assert list(csv.reader((tmp_path / "x.csv").read_text().splitlines())) == rows
    capsys.readouterr()
    assert cli.main(["query", folder, "SELECT sum(x) AS s, 1.5::DECIMAL(4, 1) AS d FROM range(4) t(x)", "--json"]) == 0
    assert capsys.readouterr().out == '{"s": 6, "d": "1.5"}\n'
    sql = "SELECT unnest([INTERVAL 90061.5 SECOND, NULL]) AS took"
    assert cli.main(["query", folder, sql, "-o", str(tmp_path / "took.parquet"), "-q"]) == 0
    took = pd.read_parquet(tmp_path / "took.parquet")["took"]
    assert took.dt.total_seconds().tolist()[0] == 90061.5
    assert took.isna().tolist() == [False, True]
    assert cli.main(["query", folder, sql]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["1 day, 1:01:01.500000", "\N{EN DASH}"]
    sql = "SELECT INTERVAL 3 MONTH AS span"
    assert cli.main(["query", folder, sql, "-o", str(tmp_path / "span.parquet"), "-q"]) == 2
    assert "cast it, or write CSV" in capsys.readouterr().err
    assert not (tmp_path / "span.parquet").exists()


def test_sql_on_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("duckdb")
    from features_helper import write_features

    from pipelines import cli

    folder = str(write_features(tmp_path / "f", ["a"]))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    sql = "SELECT unnest([1.5, 2.5]) AS first_value_hz, 'ab' AS second_name, 3 AS third_value_db, 3 AS third_value_db"
    assert cli.main(["query", folder, sql]) == 0
    one, two = capsys.readouterr().out.split("\n\n")
    shown = ["first_value_hz  1.5", "second_name     ab", "third_value_db  3", "third_value_db  3"]
    assert one.splitlines() == shown
    assert two.splitlines() == ["first_value_hz  2.5", *shown[1:]]
    assert cli.main(["query", folder, f"SELECT * FROM ({sql}) WHERE second_name = 'no'"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert names[:3] == ["first_value_hz", "second_name", "third_value_db"]
