"""Catalogues: which audio files there are, what they are called, and what is known of them.

A catalogue is one of

* a manifest: CSV or TSV (UTF-8 or UTF-16, with or without BOM; comma, semicolon, tab or bar; also compressed: ``.gz``,
  ``.bz2``, ``.xz``, ``.zst``, ``.zip``), Parquet, Feather or JSON lines; or a folder without audio that holds Parquet
  files, or text files of one header (folders called ``key=value`` in it are columns). One column names the files:
  ``path``, ``source_uri``, ``uri``, ``file`` or ``filepath`` (any case; the first of these that is there), or the
  only one that is called alike, such as ``file_name``, ``Audio Path`` or ``wav`` (:mod:`.path_columns`). Relative
  paths are relative to the manifest; ``file://`` URIs are understood. Column ``track_id`` is optional. All other
  columns are metadata, which travel to table ``tracks``.
* a folder: every audio file (by its suffix) below it, hidden ones left out; files with suffixes that nobody knows are
  counted, see :attr:`Catalog.passed_over`. Links to folders are followed, but every folder counts once, so links that
  lead in circles do no harm.
* a glob pattern such as ``"music/**/*.flac"``; quote it, so that the shell does not expand it. Links as for folders.
* the same in a store: a manifest, a folder or a pattern at an address of ``s3://``, ``gs://``, ``az://`` (or a manifest
  or file at ``http(s)://``). Rows of any manifest may name addresses; what is relative is so to the manifest's.
* a list of files (and folders), or a DataFrame with the columns of a manifest.

A manifest (Parquet, CSV, TSV) of more than 50,000 rows is taken in portions by ``extract`` (:mod:`.portions`).

Rows keep the order of the manifest; files that were found are sorted by path. Two rows with one file or one id are
refused, not merged; :meth:`Catalog.without_duplicates` offers what else may become of them.

Track ids
---------
A ``track_id`` column is taken as text, without blanks around it; ``12.0`` is ``12`` where a gap made floating-point
numbers of integers. Tables of listening are read by the same rule. A row without an id is identified by its path
relative to the root of the catalogue (the manifest's folder, the folder, the part of the pattern before its first
wildcard), with forward slashes and suffix: so ``a/song.wav``, ``b/song.wav`` and ``a/song.mp3`` are three tracks, and a
run from another working directory gives the same ids. A file outside of the root, and each file of a list (which has no
root that would stay the same when the list grows), is identified by its absolute path.
"""

from .portions import Portions, portions_of
from .read import read_catalog
from .types import Catalog, Problem, ValidationReport, declared_durations, printable
from .validate import file_trouble, look_at, name_hint, path_trouble, validate_catalog

__all__ = [
    "Catalog",
    "Portions",
    "Problem",
    "ValidationReport",
    "declared_durations",
    "file_trouble",
    "look_at",
    "name_hint",
    "path_trouble",
    "portions_of",
    "printable",
    "read_catalog",
    "validate_catalog",
]
