"""Catalogues: which audio files there are, what they are called, and what is known of them.

A catalogue is one of

* a manifest: CSV, TSV (UTF-8 or UTF-16, with or without BOM; comma, semicolon, tab or bar) or Parquet. One column
  names the files: ``path``, ``source_uri``, ``uri``, ``file`` or ``filepath`` (any case; the first of these that is
  there). Relative paths are relative to the manifest; ``file://`` URIs are understood. Column ``track_id`` is optional.
  All other columns are metadata, which travel to table ``tracks``.
* a folder: every audio file (by its suffix) below it, hidden ones left out. Links to folders are followed, but every
  folder counts once, so links that lead in circles do no harm.
* a glob pattern such as ``"music/**/*.flac"``; quote it, so that the shell does not expand it. Links as for folders.
* a list of files (and folders), or a DataFrame with the columns of a manifest.

Rows keep the order of the manifest; files that were found are sorted by path. Two rows with one file or one id are
refused, not merged.

Track ids
---------
A ``track_id`` column is taken as it is. Otherwise the id is the path relative to the root of the catalogue (the
manifest's folder, the folder, the part of the pattern before its first wildcard), with forward slashes and suffix: so
``a/song.wav``, ``b/song.wav`` and ``a/song.mp3`` are three tracks, and a run from another working directory gives the
same ids. A file outside of the root, and each file of a list (which has no root that would stay the same when the list
grows), is identified by its absolute path.
"""

from .read import read_catalog
from .types import Catalog, Problem, ValidationReport, declared_durations, printable
from .validate import file_trouble, path_trouble, validate_catalog

__all__ = [
    "Catalog",
    "Problem",
    "ValidationReport",
    "declared_durations",
    "file_trouble",
    "path_trouble",
    "printable",
    "read_catalog",
    "validate_catalog",
]
