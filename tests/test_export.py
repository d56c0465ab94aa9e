"""Tables in Delta Lake, Iceberg and Lance, read back by the libraries that people read them with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from features_helper import write_features
from store_helper import BUCKET, Store, _server, store

from pipelines.cli import main
from pipelines.commands import export as command
from stemfeatures.errors import DatasetError, LostPartError
from stemfeatures.tables.export import LAKES, export, plain_schema
from stemfeatures.tables.reader import Features, open_features

__all__ = ["_server", "store"]  # fixtures


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    path = tmp_path_factory.mktemp("features")
    write_features(path, [f"t{i}" for i in range(7)])
    write_features(path, ["t3", "t9"], seed=1, run_id="run-2")  # t3 anew: of its rows only the later ones count
    return open_features(path)


@pytest.fixture(autouse=True, scope="module")
def _catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PyIceberg's catalogue ``made``, in a file. PyIceberg reads the variables once, when it is imported."""
    path = tmp_path_factory.mktemp("iceberg")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TYPE": "sql", "URI": f"sqlite:///{path}/made.db", "WAREHOUSE": f"file://{path}"}.items():
            patch.setenv(f"PYICEBERG_CATALOG__MADE__{name}", value)
        yield


def target(kind: str, tmp_path: Path) -> str:
    return f"made.{tmp_path.name}" if kind == "iceberg" else str(tmp_path / "lake")


def read(kind: str, tmp_path: Path, table: str) -> pa.Table:
    place = target(kind, tmp_path)
    if kind == "delta":
        from deltalake import DeltaTable

        return DeltaTable(f"{place}/{table}").to_pyarrow_table()
    if kind == "lance":
        import lance

        return lance.dataset(f"{place}/{table}.lance").to_table()
    from pyiceberg.catalog import load_catalog

    return load_catalog("made").load_table(f"{tmp_path.name}.{table}").scan().to_arrow()


@pytest.mark.parametrize("kind", ["delta", "lance"])
def test_lakes_in_a_store(kind: str, features: Features, store: Store) -> None:
    """At the endpoint that the rest of the package finds, without more; it may be one of HTTP, as a server of one's own
    is. In processes of their own: the libraries hold the interpreter while the server, a thread of it, shall answer."""
    place, options = f"s3://{BUCKET}/lake", {"allow_http": "true"}
    command = [sys.executable, "-m", "pipelines.cli", "export", str(features.path), place, "--to", kind]
    run = partial(subprocess.run, capture_output=True, text=True, check=False, timeout=120)
    assert run(command).returncode == 0
    reading = {
        "delta": f"from deltalake import DeltaTable as t; t = t('{place}/stems', storage_options={options})",
        "lance": f"import lance; t = lance.dataset('{place}/stems.lance', storage_options={options}).to_table()",
    }
    telling = "t = t.to_pandas(); print(len(t), *sorted(set(t['track_id'])))"
    said = run([sys.executable, "-c", f"{reading[kind]}; {telling}"])
    assert said.stdout.split() == [str(features.counts()["stems"]), *(f"t{i}" for i in range(7)), "t9"]
    again = run(command)
    assert (again.returncode, "there already" in again.stderr) == (2, True)
    store.before = lambda environment: "403 Forbidden"
    refused = run([*command, "--overwrite"])
    assert refused.returncode in (2, 4)
    assert refused.stderr.startswith(f"stemfeatures: error: {place}/")
    assert refused.stderr.endswith("[export]\n")
    assert "x1b" not in refused.stderr


@pytest.mark.parametrize("kind", sorted(LAKES))
def test_every_table_has_the_rows_that_count(kind: str, features: Features, tmp_path: Path) -> None:
    written = export(features, kind, target(kind, tmp_path))
    assert written == features.counts()
    assert written["tracks"] == 8
    for table in features.tables:
        key = [name for name in ("track_id", "stem") if name in features.schema(table).names]
        order = key or features.schema(table).names[:1]
        found = read(kind, tmp_path, table).to_pandas().sort_values(order, ignore_index=True)
        known = features.dataset(table).to_table().cast(plain_schema(features.schema(table))).to_pandas()
        pd.testing.assert_frame_equal(found, known.sort_values(order, ignore_index=True), check_dtype=False)


@pytest.mark.parametrize("kind", sorted(LAKES))
def test_what_is_there_is_replaced_when_that_is_asked_for(kind: str, tmp_path: Path) -> None:
    write_features(tmp_path / "features", ["a", "b"])
    arguments = ["export", str(tmp_path / "features"), target(kind, tmp_path), "--to", kind, "--table", "tracks"]
    assert main(arguments) == 0
    write_features(tmp_path / "features", ["c"], seed=1, run_id="run-2")
    assert main(arguments) == 2
    assert sorted(read(kind, tmp_path, "tracks")["track_id"].to_pylist()) == ["a", "b"]
    assert main([*arguments, "--overwrite"]) == 0
    assert sorted(read(kind, tmp_path, "tracks")["track_id"].to_pylist()) == ["a", "b", "c"]


def test_an_earlier_version_stays_readable(features: Features, tmp_path: Path) -> None:
    from deltalake import DeltaTable

    for _ in range(2):
        export(features, "delta", str(tmp_path), tables=["tracks"], overwrite=True)
    assert DeltaTable(tmp_path / "tracks").version() == 1
    assert DeltaTable(tmp_path / "tracks", version=0).to_pyarrow_table().num_rows == 8


def test_wrong_requests(features: Features, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DatasetError, match="unknown table 'songs'"):
        export(features, "delta", str(tmp_path / "lake"), tables=["tracks", "songs"])
    assert not (tmp_path / "lake").exists()
    with pytest.raises(ValueError, match="delta, iceberg, lance"):
        export(features, "hudi", str(tmp_path))
    assert main(["export", str(features.path), "music", "--to", "iceberg"]) == 2
    assert "CATALOG.NAMESPACE" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["export", str(features.path), str(tmp_path / "file"), "--to", "delta"]) == 2
    assert capsys.readouterr().err == f"stemfeatures: error: {tmp_path}/file is a file; TARGET names a folder\n"
    assert main(["export", str(features.path), "s3://", "--to", "delta"]) == 2
    assert capsys.readouterr().err == "stemfeatures: error: 's3://' names no bucket and no host\n"


@pytest.mark.parametrize("kind", sorted(LAKES))
def test_lost_parts_are_told_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    write_features(tmp_path / "features", ["a", "b"])
    part = min((tmp_path / "features" / "stems").glob("*.parquet"))
    whole = part.read_bytes()
    features = open_features(tmp_path / "features")
    part.write_bytes(whole[:500])
    with pytest.raises(LostPartError, match=r"^\S+: stems/part\S+ has 500 bytes of [\d,]+; stemfeatures check"):
        export(features, kind, target(kind, tmp_path))
    assert not LAKES[kind].open(target(kind, tmp_path)).has("tracks")
    part.write_bytes(bytes(len(whole)))  # as long as it was: found when it is read
    with pytest.raises(LostPartError, match=r"table stems cannot be read: .*stemfeatures check") as caught:
        export(features, kind, target(kind, tmp_path))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("kind", ["delta", "lance"])
def test_a_target_that_cannot_be_written(kind: str, features: Features, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/file/lake/tracks\S*: cannot be written: "):
        export(features, kind, str(tmp_path / "file" / "lake"), tables=["tracks"])


def test_the_command_knows_all_kinds() -> None:
    assert tuple(sorted(LAKES)) == command._KINDS
