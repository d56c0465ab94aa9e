"""A features directory of schema 1.0, written before columns were declared beside their code (tests/data/features-1.0).

It holds four seconds of a song, a knock of 0.2 s, and silence, and the error of a file that was not there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stemfeatures.tables.compact import compact
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.schema import get_table
from stemfeatures.vectors.matrix import features_matrix

WRITTEN = Path(__file__).parent / "data" / "features-1.0"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "features"))


def _check(path: Path) -> None:
    features = open_features(path)
    assert features.counts() == {
        "tracks": 3,
        "stems": 15,
        "contours": 6,
        "events": 18,
        "embeddings": 9,
        "errors": 1,
    } | {"runs": 1}
    stems = features.to_pandas("stems").set_index(["track_id", "stem"])
    bass = stems.loc["río", "bass"]
    assert (bass["key"], bass["activity_status"], bass["n_active_segments"]) == ("D:major", "ok", 1)
    assert bass["f0_median_hz"] == pytest.approx(54.232178)
    assert bass["loudness_integrated_lufs"] == pytest.approx(-20.619577)
    assert stems.loc["knock", "drums"]["energy_share"] == pytest.approx(0.949669, abs=1e-6)
    assert (stems.loc["silence"]["activity_status"] == "silent").all()
    contour = features.contour("río", "vocals")
    assert len(contour.times_s) == 173
    assert np.nanmedian(contour.f0_hz) == pytest.approx(435.24326, abs=1e-4)
    errors = features.to_pandas("errors")
    assert errors[["track_id", "stage", "message"]].to_numpy().tolist() == [["gone", "decode", "no such file"]]
    matrix = features_matrix(features)
    assert matrix.loc["río", "other__key_fifths"] == 1  # G major
    assert matrix.loc["río", "bass__f0_median_hz"] == np.float32(bass["f0_median_hz"])


def test_what_was_written_before_still_reads(earlier: Path) -> None:
    assert open_features(earlier).layout.schema_version == "1.0"
    _check(earlier)


def test_compact_brings_its_columns_up_to_date(earlier: Path) -> None:
    part = open_features(earlier).files("stems")[0]
    assert pa.types.is_dictionary(pq.read_schema(part).field("key").type)
    compact(earlier)
    features = open_features(earlier)
    for table in features.tables:
        for file in features.files(table):
            assert {f.name: f.type for f in pq.read_schema(file)} == {f.name: f.type for f in features.schema(table)}
    _check(earlier)
    assert get_table("stems").names == tuple(features.schema("stems").names)


def test_dask_reads_parts_whose_keys_are_all_null(earlier: Path) -> None:
    compact(earlier, target_bytes=8000)
    files = open_features(earlier).files("stems")
    assert len(files) > 1
    nulls = [
        pq.read_table(file, columns=["key"])["key"].null_count == pq.read_metadata(file).num_rows for file in files
    ]
    assert any(nulls)
    assert not all(nulls)
    frame = dd.read_parquet(files).compute()
    assert len(frame) == 15
    keys = frame.dropna(subset=["key"]).set_index(["track_id", "stem"])["key"]
    assert keys.loc["río", "vocals"] == "E:major"
