"""What the tables of a features directory take on disk: bytes a track and a minute of audio.

    python benchmarks/disk_use.py FEATURES

The columns of the rows grow with the catalogue: those of tables of one row a track or stem with the tracks, of
contours, series and events with their minutes. What stands beside them is in each file once, descriptions of its
columns: it counts in directories of few tracks, until ``stemfeatures compact`` makes few files of many.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from stemfeatures import open_features


@dataclass(frozen=True)
class Use:
    """One table: its rows and files, the bytes of its columns, and those beside them."""

    table: str
    rows: int
    files: int
    data: int
    beside: int


def disk_use(folder: Path) -> tuple[int, float, list[Use]]:
    """Tracks, minutes of audio, and what each table takes; only what is committed counts."""
    features = open_features(folder)
    found = []
    for table in features.layout.tables:
        files = [Path(name) for name in features.dataset(table).files]
        metadata = [pq.read_metadata(file) for file in files]
        groups = [one.row_group(i) for one in metadata for i in range(one.num_row_groups)]
        data = sum(group.column(i).total_compressed_size for group in groups for i in range(group.num_columns))
        size = sum(file.stat().st_size for file in files)
        found.append(Use(table, sum(one.num_rows for one in metadata), len(files), data, size - data))
    durations = features.to_pandas("tracks", ["duration_s"])["duration_s"]
    return len(durations), float(durations.sum()) / 60, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, metavar="FEATURES")
    n_tracks, minutes, found = disk_use(parser.parse_args().features)
    print(f"{n_tracks} tracks, {minutes:.1f} minutes")
    print(f"{'':16}{'rows':>8}{'files':>7}{'kB a track':>12}{'kB a minute':>13}{'kB beside, a file':>19}")
    for use in sorted(found, key=lambda use: -use.data):
        if use.files:
            figures = f"{use.data / n_tracks / 1e3:>12.1f}{use.data / minutes / 1e3:>13.1f}"
            print(f"{use.table:16}{use.rows:>8}{use.files:>7}{figures}{use.beside / use.files / 1e3:>19.1f}")
    data = sum(use.data for use in found)
    print(f"{'all':16}{'':>15}{data / n_tracks / 1e3:>12.1f}{data / minutes / 1e3:>13.1f}")


if __name__ == "__main__":
    main()
