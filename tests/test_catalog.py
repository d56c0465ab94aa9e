"""Catalogues: every way to name tracks, and everything that can be wrong with one."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import lzma
import os
import unicodedata
import uuid
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from pipelines.catalog import Catalog, metadata, read_catalog, validate_catalog
from pipelines.catalog.manifest import TextKind
from pipelines.catalog.portions import portions_of
from pipelines.extraction.resume import metadata_fields
from stemfeatures import audio
from stemfeatures._util.urls import place_of
from stemfeatures.audio import AudioLimits
from stemfeatures.errors import CatalogError, DatasetError, DecodeError
from stemfeatures.recommendation.interactions import read_interactions


def tone(path: Path, seconds: float = 0.2, f0: float = 220.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(int(8000 * seconds)) / 8000
    sf.write(path, 0.1 * np.sin(2 * np.pi * f0 * t), 8000)
    return path


def manifest(folder: Path, text: str | bytes, name: str = "catalog.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def ids(catalog: Catalog) -> list[str]:
    return catalog.frame["track_id"].tolist()


# ------------------------------------------------------------------------------------------------------- manifests


def test_manifest_columns(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "\ufefftrack_id,Path,Title,year,bpm,live,barcode,artist\n"
        't1,a/x.wav,"Ünder, the bridge",1991,120.5,true,00123,NA\n'
        "t2,/abs/y.wav,,,,,00456,None\n",
    )
    catalog = read_catalog(path)
    frame = catalog.frame
    assert ids(catalog) == ["t1", "t2"]
    assert frame["source_uri"].tolist() == ["a/x.wav", "/abs/y.wav"]
    assert frame["path"].tolist() == [str(tmp_path / "a/x.wav"), "/abs/y.wav"]
    assert catalog.metadata_columns == ["Title", "year", "bpm", "live", "barcode", "artist"]
    assert frame["Title"].iloc[0] == "Ünder, the bridge"
    assert pd.isna(frame["Title"].iloc[1])
    assert pd.api.types.is_integer_dtype(frame["year"])  # although it has a gap
    assert frame["bpm"].iloc[0] == 120.5
    assert pd.api.types.is_bool_dtype(frame["live"])
    # Leading zeros and words that pandas takes for nulls are text.
    assert frame["barcode"].tolist() == ["00123", "00456"]
    assert frame["artist"].tolist() == ["NA", "None"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_encodings(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = "\r\n".join(delimiter.join(row) for row in (("file", "titel"), ("ä.wav", "Straße"), ("b.wav", "日本")))
    catalog = read_catalog(manifest(tmp_path, text.encode(encoding)))
    assert ids(catalog) == ["ä.wav", "b.wav"]
    assert catalog.frame["titel"].tolist() == ["Straße", "日本"]


def test_ragged_rows(tmp_path: Path) -> None:
    """Spreadsheets write trailing delimiters and empty lines."""
    catalog = read_catalog(manifest(tmp_path, "path,,title,\na.wav,x,A,,,\n\n,,\nb.wav\n"))
    assert ids(catalog) == ["a.wav", "b.wav"]
    assert catalog.metadata_columns == ["column_2", "title"]


def test_path_column_is_chosen_by_preference(tmp_path: Path) -> None:
    catalog = read_catalog(manifest(tmp_path, "uri,path\nhttp://x/1,a.wav\n"))
    assert catalog.frame["source_uri"].tolist() == ["a.wav"]
    assert catalog.frame["uri"].tolist() == ["http://x/1"]


@pytest.mark.parametrize(
    "column",
    [
        "filename",
        "file_name",
        "fileName",
        "file_path",
        "FilePath",
        "audio",
        "audio_path",
        "Audio Path",
        "audio-file",
        "audio_filename",
        "audioFilePath",
        "full_path",
        "abs_path",
        "wav",
        "mp3_path",
        "song_path",
        "track_file",
        "audio_url",
        "path_to_audio",
        "Source File",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_of_files_as_people_call_them(tmp_path: Path, column: str, suffix: str) -> None:
    """Names that look like numbers stay text in them; what is no name of a file is metadata."""
    rows = {"track_name": ["A", "B"], column: ["0123", "a b.wav"], "track_uri": ["x:1", "x:2"], "bpm": [120, 90]}
    path = tmp_path / f"catalog{suffix}"
    frame = pd.DataFrame(rows)
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    for found in (read_catalog(path), read_catalog(frame)):
        assert found.frame["source_uri"].tolist() == ["0123", "a b.wav"]
        assert found.metadata_columns == ["track_name", "track_uri", "bpm"]
    assert read_catalog(path).frame["path"].tolist() == [str(tmp_path / "0123"), str(tmp_path / "a b.wav")]


def test_a_known_name_comes_before_those_that_are_called_alike(tmp_path: Path) -> None:
    found = read_catalog(manifest(tmp_path, "filename,audio_path,path\n007,9,a.wav\n"))
    assert found.frame["source_uri"].tolist() == ["a.wav"]
    assert found.frame[["filename", "audio_path"]].to_numpy().tolist() == [["007", 9]]


@pytest.mark.parametrize(
    ("header", "names"),
    [("id,file_name,Audio", "file_name and Audio"), ("wav,mp3,title,full_path", "wav, mp3 and full_path")],
)
def test_columns_that_may_all_name_the_files_are_refused(tmp_path: Path, header: str, names: str) -> None:
    text = f"{header}\n{','.join('abcd'[: header.count(',') + 1])}\n"
    with pytest.raises(CatalogError, match=f"the columns {names} may all name the files: call the one that does path"):
        read_catalog(manifest(tmp_path, text))
    for other in ("title,name,track_name,song_name,track_uri,url,location,track", "id,x"):
        with pytest.raises(CatalogError, match="no column names the files"):
            read_catalog(manifest(tmp_path, f"{other}\n{','.join('abcdefgh'[: other.count(',') + 1])}\n"))


def test_uris(tmp_path: Path) -> None:
    text = f"uri\nfile://{tmp_path}/a%20b.wav\nftp://host/c.wav\n~/d.wav\ns3://bucket/e f.wav\n"
    frame = read_catalog(manifest(tmp_path, text)).frame
    assert frame["path"].tolist() == [
        str(tmp_path / "a b.wav"),
        None,
        str(Path.home() / "d.wav"),
        "s3://bucket/e f.wav",
    ]
    assert frame["source_uri"].tolist()[1] == "ftp://host/c.wav"


def test_default_ids_do_not_collide_nor_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(tmp_path / "m", "path\na/song.wav\nb/song.wav\na/song.mp3\n./b/../c/song.wav\n../out/song.wav\n")
    monkeypatch.chdir(tmp_path)
    here = ids(read_catalog("m/catalog.csv"))
    monkeypatch.chdir(tmp_path / "m")
    assert ids(read_catalog("catalog.csv")) == here
    assert here == ["a/song.wav", "b/song.wav", "a/song.mp3", "c/song.wav", str(tmp_path / "out/song.wav")]


def test_parquet_manifest(tmp_path: Path) -> None:
    path = tmp_path / "catalog.parquet"
    table = pa.table(
        {"path": ["a.wav", "b.wav", "c.wav"], "plays": pa.array([1, None, 3], pa.int32()), "genre": ["x", None, "z"]}
    )
    pq.write_table(table, path, row_group_size=1)
    frame = read_catalog(path).frame
    assert frame["track_id"].tolist() == ["a.wav", "b.wav", "c.wav"]
    assert frame["plays"].dropna().tolist() == [1, 3]
    assert pd.api.types.is_integer_dtype(frame["plays"])
    assert len(read_catalog(path, limit=2)) == 2
    pq.write_table(table.append_column("tags", [[["p"], None, []]]), path)
    with pytest.raises(CatalogError, match="tags"):
        read_catalog(path)


def test_a_large_manifest(tmp_path: Path) -> None:
    rows = "".join(f"folder {i % 100}/song {i}.flac,{i},Artist {i % 777}\n" for i in range(100_000))
    catalog = read_catalog(manifest(tmp_path, "path,year,artist\n" + rows))
    catalog.without_duplicates()
    assert len(catalog) == 100_000
    assert catalog.frame["track_id"].iloc[99_999] == "folder 99/song 99999.flac"
    assert len(read_catalog(catalog, limit=7)) == 7


@pytest.mark.parametrize("n", [131_073, 3_000_000])
def test_a_cell_may_be_long(tmp_path: Path, n: int) -> None:
    """Lyrics are; the standard library takes no cell of more than 131,072 characters."""
    lyrics = "la la\n" * (n // 6) + "x" * (n % 6 + 1)
    path = manifest(tmp_path, f'path,lyrics,year\na.wav,"{lyrics}",1999\nb.wav,short,2001\n')
    frame = read_catalog(path).frame
    assert frame["lyrics"].tolist() == [lyrics, "short"]
    assert frame["year"].tolist() == [1999, 2001]
    with pytest.raises(CatalogError, match="line 2: field larger than field limit"):
        read_catalog(manifest(tmp_path, f"path,lyrics\na.wav,{'x' * (1 << 24)}y\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"path,title\n", "no rows"),
        (b"name,title\nx,y\n", "no column names the files.*name, title"),
        (b"path,t\na.wav,1\nb\xe9.wav,2\n", "line 3 is not UTF-8.*save it as UTF-8"),
        (b"path,t\na\x00.wav,1\n", "not text"),
        (b"path,t,t\na,b,c\n", "two columns are called 't'"),
        (b"path,t\na,b\nc,d,e\n", "line 3 has 3 fields, the header 2.*quoted"),
        (b'path,t\n"a.wav,b\n', "line 2"),
    ],
)
def test_bad_manifests(tmp_path: Path, content: bytes, message: str) -> None:
    path = manifest(tmp_path, content)
    with pytest.raises(CatalogError, match=message) as error:
        read_catalog(path)
    assert str(path) in str(error.value)


def test_not_a_parquet_file_and_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="not a Parquet file"):
        read_catalog(manifest(tmp_path, b"path\n", "c.parquet"))
    with pytest.raises(CatalogError, match="no such file or folder"):
        read_catalog(tmp_path / "nowhere.csv")
    with pytest.raises(CatalogError, match="limit"):
        read_catalog(tmp_path, limit=0)


# ------------------------------------------------------------------------------------------- folders, globs, lists


def test_folder(tmp_path: Path) -> None:
    for name in ("b/Song.WAV", "a/song.wav", "a/.hidden.wav", ".git/x.wav", "a/cover.jpg", "日本/ö 1.wav"):
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / name).write_bytes(b"x")
    catalog = read_catalog(tmp_path / "music")
    assert ids(catalog) == ["a/song.wav", "b/Song.WAV", "日本/ö 1.wav"]
    assert catalog.frame["source_uri"].tolist()[0] == str(tmp_path / "music/a/song.wav")
    assert catalog.metadata_columns == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="no audio files"):
        read_catalog(tmp_path / "empty")


def test_folder_links_and_circles(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.wav").write_bytes(b"x")
    music = tmp_path / "music"
    music.mkdir()
    (music / "link").symlink_to(tmp_path / "real")
    (music / "circle").symlink_to(music)
    assert ids(read_catalog(music)) == ["link/x.wav"]
    (music / "y").mkdir()
    (music / "y" / "loop").symlink_to(music)
    (music / "y" / "z.wav").write_bytes(b"z")
    found = ["link/x.wav", "y/z.wav"]
    assert ids(read_catalog(music)) == found
    assert ids(read_catalog(f"{music}/**/*.wav")) == found
    assert ids(read_catalog(f"{music}/**")) == found
    assert ids(read_catalog(f"{music}/**/y/**/*.wav")) == ["y/loop/link/x.wav", "y/z.wav"]
    assert ids(read_catalog(f"{music}/*/*/*/*.wav")) == ["circle/circle/link/x.wav", "circle/circle/y/z.wav"]


def test_a_scheme_alone_is_no_address(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path\ns3://\nhttps:///\ns3:///a.wav\nhttps://?a=b.wav\n")
    catalog = read_catalog(tmp_path / "a.csv")
    assert catalog.frame["path"].tolist() == [None] * 4
    problems = validate_catalog(catalog).problems
    assert [problem.kind for problem in problems] == ["unsupported_uri"] * 4
    assert {problem.message for problem in problems} == {"the address names no bucket and no host"}
    for address in ("s3://", "S3:///", "s3:///a.wav"):
        with pytest.raises(ValueError, match="names no bucket and no host"):
            place_of(address)
        with pytest.raises(CatalogError, match="names no bucket and no host"):
            read_catalog(address)


def test_an_address_that_is_none_is_a_row_like_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path\nftp://[x/a.wav\n")
    assert [problem.kind for problem in validate_catalog(tmp_path / "a.csv").problems] == ["unsupported_uri"]


def test_a_link_to_itself_is_a_row_like_others(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "b.wav").symlink_to("b.wav")
    for spec in (tmp_path, f"{tmp_path}/**", f"{tmp_path}/*.wav"):
        assert ids(read_catalog(spec)) == ["a.wav", "b.wav"]


@pytest.mark.parametrize("name", ["x" * 5000 + ".wav", "x" * 300 + "*.wav", "a\0.wav"])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogError, match=r"cannot be read: File name too long|no such file or folder|no audio files"):
        read_catalog(tmp_path / name)
    with portions_of(tmp_path / name) as portions:
        assert portions is None
    (tmp_path / "b.wav").write_bytes(b"x")
    if "*" not in name:
        problems = validate_catalog([tmp_path / name, tmp_path / "b.wav"]).problems
        assert [problem.row for problem in problems] == [1, 2]
        assert problems[0].kind in ("missing", "unreadable")


@pytest.mark.parametrize("spec", ["", [""], ["b.wav", ""]])
def test_an_empty_name_is_not_the_folder_one_is_in(
    tmp_path: Path, spec: str | list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.wav").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CatalogError, match="the name of the catalogue is empty"):
        read_catalog(spec)
    assert ids(read_catalog(".")) == ["b.wav"]


def test_a_folder_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root may look everywhere, the answer of the system is put in its place."""
    stat = os.stat

    def refuse(path: os.PathLike[str] | str | int, **options: bool) -> os.stat_result:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(CatalogError, match=r"closed/a\.wav: cannot be read: Permission denied"):
        read_catalog(tmp_path / "closed" / "a.wav")
    problem = validate_catalog([tmp_path / "closed" / "a.wav", tmp_path / "b.wav"]).problems[0]
    assert (problem.kind, problem.message.partition(":")[0]) == ("unreadable", "Permission denied")


@pytest.mark.parametrize("pattern", ["", "**/*.wav", "*/*.wav", "*/a.wav", "*/**", "[co]*/?.wav"])
def test_folders_below_that_may_not_be_looked_into_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, pattern: str
) -> None:
    """Their songs would be missing in the morning, and nobody knew."""
    for name in ("open", *(f"closed{i}" for i in range(7))):
        tone(tmp_path / name / "a.wav")

    def refusing(ask: Any) -> Any:
        def refuse(path: Any = ".") -> Any:
            if "closed" in os.fspath(path).removesuffix("/a.wav").rpartition("/")[2]:
                raise PermissionError(13, "Permission denied", path)
            return ask(path)

        return refuse

    for name in ("scandir", "listdir", "lstat"):  # root may look everywhere
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    assert [name.rpartition("open/")[2] for name in ids(read_catalog(str(tmp_path / pattern)))] == ["a.wav"]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"{tmp_path}/closed0: cannot be looked into, what is in it is left out: Permission denied"
    assert said[5:] == ["2 more folders cannot be looked into"]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        tone(tmp_path / "x.wav").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system wants UTF-8 names")
    catalog = read_catalog(tmp_path)
    assert ids(catalog) == ["caf\\xe9.wav"]
    assert Path(catalog.frame["path"].iloc[0]).exists()
    assert validate_catalog(catalog).ok


def test_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("m/a/1.wav", "m/b/1.wav", "m/b/notes.txt", "m/b/2.xyz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert ids(read_catalog(str(tmp_path / "m/**/*"))) == ["a/1.wav", "b/1.wav"]
    assert ids(read_catalog(str(tmp_path / "m/*/*.xyz"))) == ["b/2.xyz"]
    monkeypatch.chdir(tmp_path)
    assert ids(read_catalog("m/*/*.wav")) == ["a/1.wav", "b/1.wav"]
    assert ids(read_catalog("**/[ab]/*.wav")) == ["m/a/1.wav", "m/b/1.wav"]
    assert ids(read_catalog("m/?/1.wav")) == ["a/1.wav", "b/1.wav"]
    assert ids(read_catalog("m/../m/*/*.wav")) == ["a/1.wav", "b/1.wav"]
    with pytest.raises(CatalogError, match="no audio files"):
        read_catalog(str(tmp_path / "*.flac"))


def test_list_of_files(tmp_path: Path) -> None:
    one, two = tone(tmp_path / "a/x.wav"), tone(tmp_path / "b/x.wav")
    # Loose files keep their ids when the list grows.
    assert ids(read_catalog([one])) == ids(read_catalog(one)) == [str(one)]
    assert ids(read_catalog([one, str(two)])) == [str(one), str(two)]
    assert ids(read_catalog([one, tmp_path / "b"])) == [str(one), str(two)]
    with pytest.raises(CatalogError, match="only catalogue"):
        read_catalog([one, manifest(tmp_path, "path\na.wav\n")])
    with pytest.raises(CatalogError):
        read_catalog([])


def test_data_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"path": ["a.wav", "b.wav"], "track_id": [7, 8], "genre": ["x", None]}, index=[5, 3])
    catalog = read_catalog(frame)
    assert ids(catalog) == ["7", "8"]
    assert catalog.frame["path"].tolist() == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert catalog.frame["genre"].tolist()[0] == "x"


# -------------------------------------------------------------------------------------------------------- validate


def test_clashes_name_both_rows(tmp_path: Path) -> None:
    catalog = read_catalog(manifest(tmp_path, "track_id,path\none,a.wav\ntwo,b.wav\none,c.wav\nthree,./b.wav\n"))
    with pytest.raises(
        CatalogError, match=r"row 3 \('c.wav'\) and row 1 \('a.wav'\) have the same track id 'one'.*validate"
    ):
        catalog.without_duplicates()
    report = validate_catalog(catalog, probe=False)
    assert {(p.row, p.kind) for p in report.problems} >= {(3, "duplicate_id"), (4, "duplicate_path")}
    assert report.fatal


def test_validate_finds_everything(tmp_path: Path) -> None:
    tone(tmp_path / "good.wav", 0.5)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "good.wav").read_bytes())
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "broken.mp3").write_bytes(b"no audio at all" * 50)
    (tmp_path / "folder.wav").mkdir()
    rows = ["good.wav", "copy.wav", "empty.wav", "broken.mp3", "folder.wav", "missing.wav", "ftp://b/x.wav", '""']
    path = manifest(tmp_path, "path,n\n" + "".join(f"{row},{i}\n" for i, row in enumerate(rows)))
    seen: list[tuple[int, int]] = []
    report = validate_catalog(path, content=True, progress=lambda done, total: seen.append((done, total)))
    assert [(p.row, p.kind) for p in report.problems] == [
        (2, "duplicate_content"),
        (3, "zero_bytes"),
        (4, "unreadable"),
        (5, "not_a_file"),
        (6, "missing"),
        (7, "unsupported_uri"),
        (8, "no_path"),
    ]
    assert "soundfile" in report.problems[2].message
    assert "ffmpeg" in report.problems[2].message
    assert seen == [(i, 8) for i in range(1, 9)]
    assert report.n_probed == 2
    assert report.audio_s == pytest.approx(0.7 + 0.3)
    assert not report.ok
    assert not report.fatal
    assert report.counts()["missing"] == 1

    without = validate_catalog(path, probe=False)
    assert "unreadable" not in without.counts()
    assert without.audio_s is None
    assert without.n_unknown_duration == 3


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_decoding_finds_truncated_files(tmp_path: Path, suffix: str) -> None:
    tone(tmp_path / f"whole.{suffix}", 8.0)
    data = tone(tmp_path / f"cut.{suffix}", 8.0).read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
    report = validate_catalog(tmp_path, decode=True)
    assert [(p.track_id, p.kind) for p in report.problems] == [(f"cut.{suffix}", "truncated")]
    assert report.audio_s == pytest.approx(8.0, abs=0.1)
    assert not report.fatal


def test_links_to_nowhere_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "gone.wav").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    report = validate_catalog(tmp_path, decode=True)
    assert [(p.kind, p.message) for p in report.problems] == [
        ("missing", f"the link leads nowhere: {tmp_path / 'gone.wav'}"),
        ("not_a_file", f"is no regular file: {tmp_path / 'pipe.wav'}"),
    ]


def test_duration_column_tells_without_probing(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.wav")
    report = validate_catalog(manifest(tmp_path, "path,duration_s\na.wav,100.5\nb.wav,\n"), probe=False)
    assert report.ok
    assert report.audio_s == 100.5
    assert report.n_unknown_duration == 1


# ------------------------------------------------------------------------------- manifests as other tools write them


@pytest.mark.parametrize(
    "own",
    [
        pd.Series([1.0, 2.0, None]),
        pd.Series([1, 2, None], dtype="Int64"),
        pd.Series([1, 2, None], dtype=pd.ArrowDtype(pa.int64())),
        pd.Series(["1", "2", None], dtype=pd.ArrowDtype(pa.string())),
        pd.Series([" 1", "2 ", ""]),
        pd.Series(["1.0", "2.0", None]),
        pd.Series([b"1", b"2", None]),
        pd.Series([1, "2", None], dtype=object),
        pd.Series(["1", "2", None], dtype="category"),
    ],
    ids=["float", "Int64", "arrow int", "arrow text", "blanks", "text of floats", "bytes", "mixed", "category"],
)
def test_ids_of_any_type(tmp_path: Path, own: pd.Series) -> None:
    """The same text as listening tables give, and the path where there is none."""
    frame = pd.DataFrame({"path": [tmp_path / "a.wav", tmp_path / "b.wav", "c.wav"], "track_id": own})
    catalog = read_catalog(frame)
    assert ids(catalog)[:2] == ["1", "2"]
    assert catalog.frame["path"].iloc[0] == str(tmp_path / "a.wav")
    listening = pd.DataFrame({"user_id": ["u", "u", "u"], "track_id": own})
    assert read_interactions(listening).track_ids.tolist() == ["1", "2"]
    if {type(value) for value in own} >= {int, str}:  # Parquet has one type a column
        return
    frame["path"] = ["a.wav", "b.wav", "c.wav"]
    frame.to_parquet(tmp_path / "c.parquet")
    assert ids(read_catalog(tmp_path / "c.parquet")) == ["1", "2", "c.wav"]
    listening.to_parquet(tmp_path / "l.parquet")
    assert read_interactions(tmp_path / "l.parquet").track_ids.tolist() == ["1", "2"]


def test_ids_that_are_no_integers_stay() -> None:
    frame = pd.DataFrame({"path": ["a.wav", "b.wav", "c.wav"]})
    assert ids(read_catalog(frame.assign(track_id=["1.0", "1.1", "1.10"]))) == ["1.0", "1.1", "1.10"]
    assert ids(read_catalog(frame.assign(track_id=[1.0, 2.5, 3.0]))) == ["1", "2.5", "3"]
    assert ids(read_catalog(frame.assign(track_id=[2**63, 1, 2]))) == ["9223372036854775808", "1", "2"]
    with pytest.raises(CatalogError, match=r"'track_id' holds ids as floating-point numbers above 2\^53"):
        read_catalog(frame.assign(track_id=[1e17, 1.0, 2.0]))


def test_paths_as_bytes(tmp_path: Path) -> None:
    table = pa.table({"path": [b"a.wav", b"\xff.wav"], "title": pa.array([b"\xc3\xa4", None])})
    pq.write_table(table, tmp_path / "c.parquet")
    frame = read_catalog(tmp_path / "c.parquet").frame
    assert [os.fsencode(path) for path in frame["path"]] == [
        os.fsencode(tmp_path) + b"/" + n for n in (b"a.wav", b"\xff.wav")
    ]
    assert frame["track_id"].tolist() == ["a.wav", "\\xff.wav"]
    assert frame["title"].tolist() == ["ä", None]
    pq.write_table(pa.table({"path": ["a.wav"], "cover": [b"\xff\xd8"]}), tmp_path / "c.parquet")
    with pytest.raises(CatalogError, match="'cover' holds bytes that are not UTF-8"):
        read_catalog(tmp_path / "c.parquet")


def test_metadata_of_any_type_can_be_stored() -> None:
    """Settled before the work: what the tables cannot hold as a number is text, and no value is lost or rounded."""
    frame = pd.DataFrame(
        {
            "path": ["a.wav", "b.wav"],
            "hash": pd.Series([2**63 + 5, 7], dtype="uint64"),
            "plays": pd.Series([3, None], dtype="UInt8"),
            "gain": [float("inf"), -1.5],
            "price": [Decimal("0.5"), Decimal("2")],
            "at": pd.to_datetime(["2024-03-01 10:00:00", None], utc=True),
            "day": [datetime.date(2024, 3, 1), None],
            "mixed": [1, "x"],
            "live": pd.Series([True, None], dtype="boolean"),
            "none": [None, None],
        }
    )
    settled = read_catalog(frame).frame
    assert settled["hash"].tolist() == ["9223372036854775813", "7"]
    assert settled["plays"].dropna().tolist() == [3]
    assert settled["gain"].dropna().tolist() == [-1.5]
    assert settled["price"].tolist() == [0.5, 2.0]
    assert settled["at"].tolist() == ["2024-03-01T10:00:00+00:00", None]
    assert settled["day"].tolist() == ["2024-03-01", None]
    assert settled["mixed"].tolist() == ["1", "x"]
    assert settled["live"].dropna().tolist() == [True]
    types = {f.name: f.type for f in metadata_fields(read_catalog(frame), None)}
    assert types == {
        "meta_hash": "string", "meta_plays": "int64", "meta_gain": "float64", "meta_price": "float64",
        "meta_at": "string", "meta_day": "string", "meta_mixed": "string", "meta_live": "bool", "meta_none": "string",
    }  # fmt: skip
    with pytest.raises(CatalogError, match="'tags' holds lists"):
        read_catalog(frame.assign(tags=[["x"], []]))


def test_times_of_the_day_of_any_unit(tmp_path: Path) -> None:
    noon = 12 * 3600
    for unit, per_s in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        kind = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
        values = pa.array([noon * per_s + (1 if unit == "ns" else 0), None], pa.int64())
        times = values.cast(pa.int32()).cast(kind) if unit in ("s", "ms") else values.cast(kind)
        pq.write_table(pa.table({"path": ["a.wav", "b.wav"], "at": times}), tmp_path / "a.parquet")
        assert read_catalog(tmp_path / "a.parquet").frame["at"].tolist() == ["12:00:00", None]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (pa.date32(), [2**31 - 1, 2_932_896, None], [None, "9999-12-31", None]),  # infinity, and no end
        (pa.date64(), [-719_163 * 86_400_000, -719_162 * 86_400_000, None], [None, "0001-01-01", None]),
        (pa.timestamp("s"), [10**12, 0, None], [None, "1970-01-01T00:00:00", None]),  # milliseconds, taken for seconds
        (pa.timestamp("ms"), [-719_162 * 86_400_000 - 1, 0, None], [None, "1970-01-01T00:00:00", None]),
        (
            pa.timestamp("s", "UTC"),
            [2**40, 2_932_897 * 86_400 - 1, -719_162 * 86_400],
            [None, "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+00:00"],
        ),
        (pa.timestamp("us", "Asia/Kolkata"), [2**63 - 1, 0, -(2**62)], [None, "1970-01-01T05:30:00+05:30", None]),
    ],
    ids=str,
)
def test_dates_that_python_does_not_know(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: pa.DataType, values: list[int], expected: list[str | None]
) -> None:
    plain = pa.array(values, pa.int32() if kind == pa.date32() else pa.int64())
    table = pa.table({"path": ["a.wav", "b.wav", "c.wav"], "at": plain.cast(kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_catalog(tmp_path / "a.parquet").frame["at"].tolist() == expected
    assert "column 'at': " in caplog.text
    assert "dates outside of the years 1 to 9999 are stored as null" in caplog.text


def test_all_dates_of_nanoseconds_are_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = pa.array([2**63 - 1, -(2**63) + 10**9], pa.int64()).cast(pa.timestamp("ns"))
    pq.write_table(pa.table({"path": ["a.wav", "b.wav"], "at": plain}), tmp_path / "a.parquet")
    found = [at[:19] for at in read_catalog(tmp_path / "a.parquet").frame["at"]]
    assert found == ["2262-04-11T23:47:16", "1677-09-21T00:12:44"]
    assert "stored as null" not in caplog.text


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_two_columns_of_one_name_with_types(tmp_path: Path, suffix: str) -> None:
    table = pa.Table.from_arrays([pa.array(["a.wav"]), pa.array([1]), pa.array([2])], ["path", "year", "year"])
    path = tmp_path / f"c{suffix}"
    (pq.write_table if suffix == ".parquet" else feather.write_feather)(table, path)
    with pytest.raises(CatalogError, match="two columns are called 'year'"):
        read_catalog(path)


def test_long_numbers_of_csv_keep_their_digits(tmp_path: Path) -> None:
    catalog = read_catalog(manifest(tmp_path, "path,code,gain\na.wav,12345678901234567890,1\nb.wav,1,0.5\n"))
    assert catalog.frame["code"].tolist() == ["12345678901234567890", "1"]
    assert catalog.frame["gain"].tolist() == [1.0, 0.5]


def test_folders_tell_what_they_pass_over(tmp_path: Path) -> None:
    for name in ("a.wav", "b.mkv", "c.tta", "d.m4r", "e.MOV", "f.3gp", "g.ts", "h.mpga", "i.mogg"):
        tone(tmp_path / "music" / "x.wav").rename(tmp_path / "music" / name)
    for name in ("take1", "x.xyz", "y.xyz", "cover.jpg", "notes.txt"):
        (tmp_path / "music" / name).write_bytes(b"?")
    catalog = read_catalog(tmp_path / "music")
    assert [name[0] for name in ids(catalog)] == list("abcdefghi")
    assert catalog.passed_over == {".xyz": 2, "": 1}
    report = validate_catalog(tmp_path / "music", probe=False)
    assert report.passed_over == catalog.passed_over
    assert "passed over 3 files" in catalog.passed_over_text()
    assert "(.xyz 2, without suffix 1)" in catalog.passed_over_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "take1").write_bytes(b"?")
    with pytest.raises(CatalogError, match="no audio files there; passed over 1 file"):
        read_catalog(tmp_path / "other")
    assert len(read_catalog([tmp_path / "other" / "take1"])) == 1


def test_backslashes_and_missing_files_are_named(tmp_path: Path) -> None:
    tone(tmp_path / "sub" / "a.wav")
    report = validate_catalog(manifest(tmp_path, "path,track_id\nsub\\a.wav,1\nno/b.wav,2\nsub/a.wav,3\n"))
    assert [(p.track_id, p.kind) for p in report.problems] == [("1", "missing"), ("2", "missing")]
    first, second = (p.message for p in report.problems)
    assert first == f"no such file: {tmp_path}/sub\\a.wav (backslashes as in a path of Windows: write / instead)"
    assert second == f"no such file: {tmp_path}/no/b.wav"


def test_partitioned_parquet_manifest(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"path": ["a.wav", "b.wav", "c.wav"], "genre": ["rock", "folk", "rock"], "disc": ["1", "2", "2"]}
    )
    frame.to_parquet(tmp_path / "m", partition_cols=["genre", "disc"])
    catalog = read_catalog(tmp_path / "m")
    read = catalog.frame.set_index("track_id")
    assert read["genre"].to_dict() == {"a.wav": "rock", "b.wav": "folk", "c.wav": "rock"}
    assert read["disc"].to_dict() == {"a.wav": 1, "b.wav": 2, "c.wav": 2}
    assert read.loc["a.wav", "path"] == str(tmp_path / "m" / "a.wav")
    pd.DataFrame({"path": ["a.wav"], "track_id": ["007"]}).to_parquet(tmp_path / "n", partition_cols=["track_id"])
    assert ids(read_catalog(tmp_path / "n")) == ["007"]


def test_a_folder_of_text_parts(tmp_path: Path) -> None:
    """As Spark and BigQuery write them; types come from all parts, not from each."""
    parts = {
        "year=2020/part-0.csv": b"path,track_id,code\n../a.wav,1,12\nb.wav,2,13\n",
        "year=2021/part-1.csv.gz": gzip.compress(b"code,path,track_id\n007,../c.wav,3\n", mtime=0),
        "year=__HIVE_DEFAULT_PARTITION__/part-2.csv": b"",
        "_SUCCESS": b"",
        "notes.txt": b"x",
    }
    for name, content in parts.items():
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_bytes(content)
    catalog = read_catalog(tmp_path / "m")
    assert catalog.frame["path"].tolist() == [f"{tmp_path}/a.wav", f"{tmp_path}/m/b.wav", f"{tmp_path}/c.wav"]
    assert catalog.frame["track_id"].tolist() == ["1", "2", "3"]
    assert catalog.frame["code"].tolist() == ["12", "13", "007"]
    assert catalog.frame["year"].tolist() == [2020, 2020, 2021]
    assert len(read_catalog(tmp_path / "m", limit=1)) == 1
    (tmp_path / "m" / "zz.csv").write_text("title\nx\n")
    with pytest.raises(CatalogError, match=r"are title, those of part-0\.csv path, track_id, code, year") as e:
        read_catalog(tmp_path / "m")
    assert e.value.source.endswith("/m/zz.csv")
    manifest(tmp_path / "odd", "a,b\n1,2\n", "sales.csv")
    with pytest.raises(CatalogError, match=r"are: a, b \(there is no audio below it: sales\.csv was read as"):
        read_catalog(tmp_path / "odd")
    with pytest.raises(CatalogError, match="cannot open ftp:// addresses; mount or download"):
        read_catalog("ftp://host/catalog.csv")
    (tmp_path / "m" / "song.wav").write_bytes(b"x")
    assert read_catalog(tmp_path / "m").frame["track_id"].tolist() == ["song.wav"]


@pytest.mark.parametrize("suffix", [".feather", ".arrow", ".jsonl", ".ndjson"])
def test_manifests_with_types(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"path": ["a.wav", "b.wav"], "track_id": [7, 8], "title": ["Ä", None]})
    path = tmp_path / f"catalog{suffix}"
    if suffix in (".feather", ".arrow"):
        frame.to_feather(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    catalog = read_catalog(path)
    assert ids(catalog) == ["7", "8"]
    assert catalog.frame["title"].tolist() == ["Ä", None]
    assert catalog.frame["path"].iloc[1] == str(tmp_path / "b.wav")


def test_parts_of_a_manifest_need_not_be_alike(tmp_path: Path) -> None:
    """What the first file lacks, or has no value for, is not lost."""
    parts = (
        {"path": ["a.wav"], "year": pa.array([2001], pa.int16()), "title": pa.nulls(1)},
        {"path": ["b.wav"], "year": pa.array([70_000], pa.int64()), "title": ["B"], "genre": ["folk"]},
    )
    for name, part in zip("ab", parts):
        (tmp_path / "m").mkdir(exist_ok=True)
        pq.write_table(pa.table(part), tmp_path / "m" / f"{name}.parquet")
    frame = read_catalog(tmp_path / "m").frame
    assert frame["year"].tolist() == [2001, 70_000]
    assert frame["title"].tolist() == [None, "B"]
    assert frame["genre"].tolist() == [None, "folk"]
    pq.write_table(pa.table({"path": ["c.wav"], "year": ["MMI"]}), tmp_path / "m" / "c.parquet")
    with pytest.raises(CatalogError, match=r"its files do not fit together: .*year.* int64 vs string"):
        read_catalog(tmp_path / "m")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(tmp_path: Path, encoding: str) -> None:
    text = "path,title\r\na.wav,Straße nach 日本\r\n"
    catalog = read_catalog(manifest(tmp_path, text.encode(encoding)))
    assert catalog.frame["title"].tolist() == ["Straße nach 日本"]


@pytest.mark.parametrize("name", ["c.txt", "c.psv", "c.tab"])
def test_text_of_other_names(tmp_path: Path, name: str) -> None:
    catalog = read_catalog(manifest(tmp_path, "path|title\na.wav|A\n", name))
    assert catalog.frame["title"].tolist() == ["A"]
    with pytest.raises(CatalogError, match="no column names the files"):
        read_catalog(manifest(tmp_path, "/music/a.wav\n/music/b.wav\n", name))


def test_notes_beside_music_are_no_manifest(tmp_path: Path) -> None:
    """As ``music/*`` gives them."""
    files = [tone(tmp_path / "a.wav"), manifest(tmp_path, "recorded at home\n", "notes.txt")]
    assert len(read_catalog(files)) == 2


def test_the_line_that_excel_writes_first(tmp_path: Path) -> None:
    catalog = read_catalog(manifest(tmp_path, "sep=;\r\npath;title\r\na,b.wav;A\r\n"))
    assert catalog.frame["source_uri"].tolist() == ["a,b.wav"]
    with pytest.raises(CatalogError, match="line 3 has 3 fields, the header 2"):
        read_catalog(manifest(tmp_path, "sep=;\npath;title\na;b;c\n"))


def test_the_index_of_a_frame_is_not_lost() -> None:
    frame = pd.DataFrame({"path": ["a.wav", "b.wav"], "track_id": ["x", "y"], "year": [1, 2]})
    assert ids(read_catalog(frame.set_index("track_id"))) == ["x", "y"]
    assert ids(read_catalog(frame.set_index(["year", "path"]))) == ["x", "y"]
    assert ids(read_catalog(frame.drop(columns="track_id"))) == ids(read_catalog(frame[["path"]]))  # a mere range
    twice = pd.DataFrame([["a.wav", "b.wav"]], columns=["path", "path"])
    with pytest.raises(CatalogError, match="two columns are called 'path'"):
        read_catalog(twice)


def test_uuids_are_text(tmp_path: Path) -> None:
    names = [uuid.UUID(int=7), uuid.UUID(int=8)]
    frame = pd.DataFrame({"path": ["a.wav", "b.wav"], "track_id": names, "release": names})
    catalog = read_catalog(frame)
    assert ids(catalog) == [str(name) for name in names]
    assert catalog.frame["release"].tolist() == ids(catalog)
    assert read_interactions(frame.rename(columns={"path": "user_id"})).track_ids.tolist() == ids(catalog)
    frame.to_parquet(tmp_path / "c.parquet")
    assert ids(read_catalog(tmp_path / "c.parquet")) == ids(catalog)


def test_names_of_a_mac_are_told(tmp_path: Path) -> None:
    """A manifest has composed letters; the file came from a disk that decomposes them."""
    tone(tmp_path / unicodedata.normalize("NFD", "Café.wav"))
    [problem] = validate_catalog(manifest(tmp_path, unicodedata.normalize("NFC", "path\nCafé.wav\n"))).problems
    assert problem.kind == "missing"
    assert problem.message.endswith("is there, in Unicode form NFD: write it that way)")


def test_blanks_at_the_ends_of_a_name_belong_to_it_where_there_is_such_a_file(tmp_path: Path) -> None:
    for name in (" a.wav", "b.wav", "  c, d.wav", "e.wav "):
        (tmp_path / name).write_bytes(b"x")
    rows = [
        'id,path, "title"',
        "1, a.wav, One",
        '2,  b.wav,  "Two, ""and"" a half"',
        '3,"  c, d.wav", 3',
        "4,e.wav , , ",
    ]
    (tmp_path / "m.csv").write_text("\n".join(rows), encoding="utf-8")
    catalog = read_catalog(tmp_path / "m.csv")
    assert catalog.frame["source_uri"].tolist() == [" a.wav", "b.wav", "  c, d.wav", "e.wav "]
    assert catalog.frame["title"].tolist()[:3] == ["One", 'Two, "and" a half', "3"]
    assert not validate_catalog(catalog, probe=False).problems
    manifest = pd.DataFrame({"path": [" a.wav ", " a.wav", " b.wav"]})
    manifest.to_parquet(tmp_path / "m.parquet")
    assert read_catalog(tmp_path / "m.parquet").frame["source_uri"].tolist() == ["a.wav", " a.wav", "b.wav"]


def test_what_a_column_of_text_is_not_is_told_from_its_first_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes over all values are most of the time that a wide text manifest takes."""
    passes: list[str] = []
    accessor = type(pd.Series(["a"], dtype=str).str)
    real = accessor.fullmatch
    monkeypatch.setattr(accessor, "fullmatch", lambda self, pattern: (passes.append(pattern), real(self, pattern))[1])
    for cells, stored, n in (
        (["word", "1"], "string", 0),
        (["", " 1 ", "2"], "int64", 1),
        (["1.5", "2"], "float64", 1),
        (["1", "2.5"], "float64", 3),
        (["007", "8"], "string", 1),
        (["TRUE", "false"], "bool", 0),
        (["true", "1"], "string", 0),
        (["1", "true"], "string", 3),
        (["", " "], "string", 0),
    ):
        passes.clear()
        kind = TextKind()
        kind.see(pd.Series(cells, dtype=str))
        assert (cells, kind.stored, len(passes)) == (cells, stored, n)


def test_of_a_wide_manifest_not_each_cell_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of numbers holds numbers, and a text is looked at once, however often it occurs."""
    looked: list[Any] = []
    cell = metadata._cell
    monkeypatch.setattr(metadata, "_cell", lambda value, *named: looked.append(value) or cell(value, *named))
    n = 100
    frame = pd.DataFrame({"path": [f"{i}.wav" for i in range(n)], "place": ["\u00c5bo", "Oslo"] * (n // 2)})
    numbers = {"bpm": np.float32(0.1), "key": np.int8(3), "live": True, "gain": np.inf}
    for name, value in numbers.items():
        frame[name] = value
    frame["year"] = pd.array([1999, None] * (n // 2), dtype="Int16")
    frame.to_parquet(tmp_path / "m.parquet")
    frame.to_csv(tmp_path / "m.csv", index=False)
    for name in ("m.parquet", "m.csv"):
        looked.clear()
        rows = read_catalog(tmp_path / name).frame
        assert {str(value) for value in looked} - {"inf"} == {"Oslo", "\u00c5bo"}  # which is text in CSV
        assert len(looked) <= 3
        assert rows["place"].tolist() == frame["place"].tolist()
        assert rows["year"].tolist()[:2] == [1999, pd.NA]
        assert (str(rows["key"].dtype), rows["key"][0], rows["live"][0]) == ("Int64", 3, True)
    assert read_catalog(tmp_path / "m.parquet").frame["bpm"][0] == float(np.float32(0.1))
    assert read_catalog(tmp_path / "m.parquet").frame["gain"].isna().all()


def test_headers_with_blanks(tmp_path: Path) -> None:
    catalog = read_catalog(manifest(tmp_path, 'track_id, path, title\n1, a.wav, "A, B"\n'))
    assert ids(catalog) == ["1"]
    assert catalog.frame["title"].tolist() == ["A, B"]


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zst", ".csv.zip", ".csv"])
def test_compressed_manifests(tmp_path: Path, suffix: str) -> None:
    """Also one that lacks the suffix."""
    text = "path,title\na.wav,Ä\n".encode()
    packers = {".csv.bz2": bz2.compress, ".csv.xz": lzma.compress, ".csv.zst": zstd, ".csv.zip": zipped}
    pack = packers.get(suffix, gzip.compress)
    catalog = read_catalog(manifest(tmp_path, pack(text), f"catalog{suffix}"))
    assert ids(catalog) == ["a.wav"]
    assert catalog.frame["title"].tolist() == ["Ä"]


def zipped(text: bytes, *names: str) -> bytes:
    """As a Mac packs it, unless other ``names`` are given."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names or ("music/", "music/catalog.csv", "__MACOSX/music/._catalog.csv"):
            archive.writestr(name, text if not name.endswith("/") else b"")
    return made.getvalue()


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 7]) + data[at + 1 :]


def zstd(text: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(text)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv.gz", gzip.compress(b"path\na.wav\n" * 50, mtime=0)[:30], "cannot be decompressed"),
        ("c.csv.gz", damaged(gzip.compress(b"path\na.wav\n" * 50, mtime=0), 10), "cannot be decompressed"),
        ("c.csv.zip", damaged(zipped(b"path\na.wav\n" * 50, "a.csv"), 60), "cannot be decompressed: Bad CRC"),
        ("c.csv.zip", damaged(zipped(b"path\na.wav\n" * 50, "a.csv"), 30), "cannot be decompressed"),
        ("c.csv", b"PK\x03\x04 an archive", "is a zip archive or an Excel workbook that is damaged"),
        ("c.csv", zipped(b"", "[Content_Types].xml", "xl/workbook.xml"), "is an Excel workbook; export it as CSV"),
        (
            "c.csv.zip",
            zipped(b"path\n", "a.csv", "b.csv"),
            "is a zip archive, and not of one CSV or TSV file",
        ),
        ("c.csv.zip", zipped(b"path\n", "song.mp3"), "not of one CSV or TSV file alone"),
        ("c.xlsx", b"PK\x03\x04 a workbook", "must be CSV or TSV .*, Parquet, Feather or JSON lines, not .xlsx"),
        ("c.jsonl.gz", b"\x1f\x8b", "not .jsonl.gz"),
        ("c.2024.zip", b"PK\x03\x04", "not .2024.zip"),
        ("c.csv", b"PAR1 and so on", "is a Parquet file; its name must end in .parquet"),
        ("c.json", b'[{"path": "a.wav"}]', "not .json"),
        ("c.jsonl", b'{"path": "a.wav"', "not a JSON lines file"),
        ("c.feather", b"path\na.wav\n", "not a Feather file"),
        ("c.csv", "path\nä.wav\n".encode("utf-32"), "is text in UTF-32; save it as UTF-8"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = manifest(tmp_path, content, name)
    with pytest.raises(CatalogError, match=message) as error:
        read_catalog(path)
    assert error.value.source == str(path)


def test_validate_refuses_what_extract_refuses(tmp_path: Path) -> None:
    """By the same limits, in the same words."""
    tone(tmp_path / "long.wav", 3.0)
    tone(tmp_path / "short.wav", 0.5)
    limits = AudioLimits(max_duration_s=1.0, max_channels=4)
    audio.write(tmp_path / "wide.wav", np.full((5, 8000), 0.1, np.float32), 8000)
    report = validate_catalog(tmp_path, limits=limits)
    assert [(p.track_id, p.kind) for p in report.problems] == [("long.wav", "unreadable"), ("wide.wav", "unreadable")]
    told = {}
    for p in report.problems:
        with pytest.raises(DecodeError) as error, audio.open_audio(tmp_path / p.track_id, **vars(limits)):
            pass
        told[p.track_id] = p.message
        assert p.message == error.value.message
    assert told["wide.wav"] == "5 channels, more than max_channels = 4"
    assert "longer than max_duration_s = 1 s" in told["long.wav"]
    assert not validate_catalog(tmp_path).problems


def test_listening_in_parts_of_text(tmp_path: Path) -> None:
    for name, text in {
        "day=1/a.csv": "user_id,track_id,weight\n1,x,2\n",
        "day=2/b.csv.gz": gzip.compress(b"track_id,user_id,weight\ny,1,3\n", mtime=0),
        "day=3/empty.csv": "",
        "_SUCCESS": "",
    }.items():
        manifest(tmp_path / Path(name).parent, text, Path(name).name)
    found = read_interactions(tmp_path)
    assert (found.user_ids.tolist(), found.track_ids.tolist()) == (["1"], ["x", "y"])
    assert (found.user.tolist(), found.track.tolist(), found.weight.tolist()) == ([0, 0], [0, 1], [2.0, 3.0])
    manifest(tmp_path, "user_id,track_id\n1,x\n", "z.csv")
    with pytest.raises(DatasetError, match=r"has the columns user_id, track_id, a\.csv has user_id, track_id, weight"):
        read_interactions(tmp_path)
