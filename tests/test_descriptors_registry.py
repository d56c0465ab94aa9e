"""A descriptor is added in one place: its declaration, next to the code that computes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from frames_helper import SR, track_frames

from stemfeatures.constants import STEM_ROWS
from stemfeatures.descriptors import describe
from stemfeatures.descriptors.activity import active_rows
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.descriptors.registry import Extractor, descriptor_fields, extractors, register, unregister
from stemfeatures.fields import Field, Scale, log, status_field
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import write_part
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.rows import Provenance, TrackInfo, track_rows
from stemfeatures.tables.schema import PROVENANCE_FIELDS, arrow_schema, data_dictionary, get_table, markdown
from stemfeatures.vectors.columns import scalar_families, scale_of
from stemfeatures.vectors.matrix import as_multiindex, features_matrix
from stemfeatures.vectors.transformer import FeatureTransformer

FIELDS = (
    status_field("spread_status", "ok | silent | not_applicable", "the spread of the energy", family="spread"),
    Field(
        "energy_spread_db",
        "float32",
        "Loudest over mean energy of the active frames.",
        "dB",
        ">= 0",
        family="spread",
        rows=("vocals", "drums"),
        scale=log(0.5),
        feature="energy",
        statistic="spread",
    ),
    Field("loudest_frame", "int32", "Frame of most energy.", "", ">= 0", family="spread", rows=("drums",)),
)


def _spread(inputs: DescriptorInputs, row: str) -> dict[str, object]:
    active = inputs.get(active_rows)[row]
    if not active.any():
        return {"spread_status": "silent"}
    energy = inputs.frames.stems[row].energy[active]
    measured = {"spread_status": "ok", "energy_spread_db": float(10 * np.log10(energy.max() / energy.mean()))}
    return measured | ({"loudest_frame": int(energy.argmax())} if row == "drums" else {})


@pytest.fixture
def spread() -> Iterator[Extractor]:
    yield register(Extractor("spread", 100, FIELDS, "spread_status", _spread))
    unregister("spread")


def _track(seed: int):
    rng = np.random.default_rng(seed)
    t = np.arange(4 * SR) / SR
    drums = rng.standard_normal(len(t)) * np.exp(-((t * 2) % 1) * rng.uniform(3, 9))
    return track_frames({"vocals": 0.1 * np.sin(440 * t * (1 + seed)) * (t < 1 + seed / 4), "drums": 0.2 * drums})


def _extract(path, run_id: str, names: list[str]) -> None:
    layout = DatasetLayout.create(path)
    by = Provenance(run_id, "c", "joint", "sha")
    rows: dict[str, list] = {}
    for i, name in enumerate(names):
        made = track_rows(TrackInfo(name, f"{name}.wav"), describe(_track(i)), by, extracted_at=datetime.now(UTC))
        for table, some in made.items():
            rows.setdefault(table, []).extend(some)
    with Committer(layout, {"run_id": run_id, "config_hash": "c", "model_sha256": "sha"}) as committer:
        committer.commit([write_part(layout, table, some, shard=run_id) for table, some in rows.items()])


def test_a_descriptor_is_added_in_one_place(tmp_path, spread):
    assert descriptor_fields()[-3:] == FIELDS
    described = get_table("stems").names[: -len(PROVENANCE_FIELDS)]
    assert described[-3:] == ("spread_status", "energy_spread_db", "loudest_frame")
    schema = arrow_schema("stems")
    assert schema.field("energy_spread_db").type == pa.float32()
    assert schema.field("energy_spread_db").metadata[b"rows"] == b"vocals|drums"
    line = data_dictionary(["stems"]).set_index("column").loc["energy_spread_db"]
    assert (line["unit"], line["rows"], line["scale"]) == ("dB", "vocals, drums", "log")
    assert "| `energy_spread_db` | float32 | dB | >= 0 | yes | vocals, drums |" in markdown([get_table("stems")])

    frames = _track(0)
    rows = describe(frames).stems
    energy = frames.stems["drums"].energy.astype(float)
    active = DescriptorInputs(frames).get(active_rows)["drums"]
    expected = 10 * np.log10(energy[active].max() / energy[active].mean())
    assert rows["drums"]["energy_spread_db"] == pytest.approx(expected, abs=1e-5)
    assert rows["drums"]["loudest_frame"] == energy[active].argmax()
    assert rows["vocals"]["spread_status"] == "ok"
    assert rows["vocals"]["loudest_frame"] is None
    assert rows["bass"]["spread_status"] == rows["other"]["spread_status"] == "not_applicable"
    assert rows["mixture"]["energy_spread_db"] is None

    _extract(tmp_path / "f", "r1", ["a", "b", "c"])
    features = open_features(tmp_path / "f")
    matrix = features_matrix(features)
    table = features.to_pandas("stems").set_index(["stem", "track_id"])
    assert scalar_families()[-1] == "spread"
    assert [c for c in matrix if "spread" in c or "loudest" in c] == [
        "vocals__energy_spread_db",
        "drums__energy_spread_db",
        "drums__loudest_frame",
    ]
    np.testing.assert_array_equal(matrix["drums__energy_spread_db"], table.loc["drums"]["energy_spread_db"])
    assert ("drums", "spread", "energy", "spread", "01") in as_multiindex(matrix).columns
    assert scale_of("energy_spread_db") == Scale("log", floor=0.5)
    column = matrix[["drums__energy_spread_db"]]
    found = np.diff(FeatureTransformer(clip=None).fit_transform(column)[:, 0])
    octaves = np.diff(np.log2(column.to_numpy(float)[:, 0]))
    assert found[0] / found[1] == pytest.approx(octaves[0] / octaves[1], rel=1e-3)


def test_datasets_read_with_and_without_it(tmp_path):
    path = tmp_path / "f"
    _extract(path, "r1", ["a"])
    register(Extractor("spread", 100, FIELDS, "spread_status", _spread))
    try:
        assert open_features(path).to_pandas("stems")["energy_spread_db"].isna().all()
        _extract(path, "r2", ["b"])
    finally:
        unregister("spread")
    rows = open_features(path).to_pandas("stems").set_index(["track_id", "stem"])
    assert np.isnan(rows.loc["a", "drums"]["energy_spread_db"])
    assert rows.loc["b", "drums"]["energy_spread_db"] > 0
    own = {f.name: f for f in open_features(path).fields("stems")}["energy_spread_db"]
    assert own == FIELDS[1]
    assert "energy_spread_db" not in get_table("stems").names


def test_fields_survive_json():
    for field in (*descriptor_fields(), *get_table("tracks").fields):
        assert Field.from_json(json.loads(json.dumps(field.to_json()))) == field
    old = {"name": "x", "type": "category", "description": "X.", "range": "a|b", "nullable": False, "gone": 1}
    field = Field.from_json(old)
    assert (field.values, field.rows, field.scale.kind, field.feature) == (("a", "b"), (), "none", "x")


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("0..1", (0, 1)),
        ("-50..50", (-50, 50)),
        (">= 0.09", (0.09, np.inf)),
        ("> 0", (0, np.inf)),
        ("", (-np.inf, np.inf)),
    ],
)
def test_bounds(text, bounds):
    assert Field("x", "float32", "X.", range=text).bounds == bounds


def test_what_is_no_range_or_scale_is_refused():
    with pytest.raises(ValueError, match="'x': range '0 to 1' is none of"):
        Field("x", "float32", "X.", range="0 to 1")
    with pytest.raises(ValueError, match="unknown scale 'cubic'; there are: linear, log"):
        Scale("cubic")


def test_extractors_must_be_sound(spread):
    with pytest.raises(ValueError, match="status 'x' is none of its fields"):
        Extractor("a", 1, FIELDS, "x", _spread)
    with pytest.raises(ValueError, match="two fields have one name"):
        Extractor("a", 1, (*FIELDS, FIELDS[0]), "spread_status", _spread)
    with pytest.raises(ValueError, match="field 'energy_spread_db' is registered already"):
        register(Extractor("other", 1, FIELDS, "spread_status", _spread))
    with pytest.raises(ValueError, match="extractor 'spread' is registered already"):
        register(
            Extractor("spread", 1, (status_field("s_status", "ok | silent", "it", family="s"),), "s_status", _spread)
        )
    assert [e.name for e in extractors()][:2] == ["activity", "f0"]


@pytest.mark.parametrize(
    ("row", "values", "message"),
    [
        ("drums", {"spread_status": "ok", "energy": 1.0}, "has no field 'energy' on row 'drums'"),
        ("vocals", {"spread_status": "ok", "loudest_frame": 3}, "has no field 'loudest_frame' on row 'vocals'"),
        ("drums", {"energy_spread_db": 1.0}, "gave no 'spread_status' on row 'drums'"),
    ],
)
def test_values_must_be_those_declared(row, values, message):
    extractor = Extractor("spread", 100, FIELDS, "spread_status", lambda inputs, row: values)
    with pytest.raises(ValueError, match=message):
        extractor.describe(DescriptorInputs(_track(0)), row)


def test_shared_results_are_computed_once_a_track():
    calls = []

    def energies(inputs: DescriptorInputs) -> float:
        calls.append(1)
        return float(inputs.frames.stems["drums"].energy.sum())

    inputs = DescriptorInputs(_track(0))
    assert inputs.get(energies) == inputs.get(energies) > 0
    assert len(calls) == 1
    assert DescriptorInputs(_track(1)).get(energies) > 0
    assert len(calls) == 2
    assert set(inputs.get(active_rows)) == set(STEM_ROWS)
