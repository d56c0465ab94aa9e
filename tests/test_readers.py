"""Every reader that people use sees the same tables, before and after ``compact``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from features_helper import write_features

from stemfeatures.tables.compact import compact
from stemfeatures.tables.reader import open_features


def _pandas(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder)


def _pyarrow(folder: Path) -> pd.DataFrame:
    return ds.dataset(folder, format="parquet").to_table().to_pandas()


def _polars(folder: Path) -> pd.DataFrame:
    polars = pytest.importorskip("polars")
    return polars.scan_parquet(f"{folder}/*.parquet").collect().to_pandas()


def _duckdb(folder: Path) -> pd.DataFrame:
    duckdb = pytest.importorskip("duckdb")
    return duckdb.sql(f"SELECT * FROM '{folder}/*.parquet'").df()


def _dask(folder: Path) -> pd.DataFrame:
    import dask
    import dask.dataframe as dd

    with dask.config.set(scheduler="synchronous"):
        return dd.read_parquet(folder).compute()


def _spark_like(folder: Path) -> pd.DataFrame:
    """As Spark does: the schema of one file (``mergeSchema=false``) for all, and types that Spark has."""
    files = sorted(folder.glob("*.parquet"))
    schema = pq.read_schema(files[0])
    for field in schema:
        assert not pa.types.is_dictionary(field.type)
        assert not pa.types.is_unsigned_integer(field.type) or pa.types.is_uint8(field.type)
        assert str(field.type) != "timestamp[ns]"
    tables = []
    for file in files:
        table = pq.ParquetFile(file).read()
        assert table.schema.remove_metadata().equals(schema.remove_metadata()), file.name
        tables.append(table)
    return pa.concat_tables(tables).to_pandas()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Three runs; in the second no key could be found anywhere, so that a part's ``key`` is all null."""
    made = {}
    for state in ("parts", "compact"):
        path = tmp_path_factory.mktemp(state) / "features"
        rows = ("mixture", "vocals", "drums", "bass", "other")
        for run, ids in enumerate((["a", "b"], ["c", "d"], ["e"])):
            nothing = {"key": [None] * len(ids), "key_2": [None] * len(ids)}
            overwrite = {(row, ""): nothing for row in rows} if run == 1 else {}
            write_features(path, ids, run_id=f"run-{run}", seed=run, overwrite=overwrite)
        if state == "compact":
            compact(path)
        made[state] = path
    return made


@pytest.mark.parametrize("read", [_pandas, _pyarrow, _polars, _duckdb, _dask, _spark_like])
@pytest.mark.parametrize("state", ["parts", "compact"])
def test_readers_agree(folders: dict[str, Path], state: str, read: Callable[[Path], Any]) -> None:
    features = open_features(folders[state])
    for table in features.tables:
        expected = features.to_arrow(table).to_pandas()
        found = read(folders[state] / table)
        if state == "compact" or table != "runs":  # whose rows are written at the start and again at the end
            assert len(found) == len(expected), table
        assert set(found.columns) == set(expected.columns), table
        if table != "stems":
            continue
        order = ["track_id", "stem"]
        for frame in (found, expected):
            frame["stem"] = frame["stem"].astype(str)
        found, expected = (frame.sort_values(order, ignore_index=True) for frame in (found, expected))
        assert found["key"].fillna("none").tolist() == expected["key"].fillna("none").tolist()
        assert found["key"].isna().sum() > 9
        for name in ("f0_median_hz", "tempo_bpm", "loudness_integrated_lufs"):
            pd.testing.assert_series_equal(found[name], expected[name], check_dtype=False)
