"""CSV files that grow by a row at a time."""

from __future__ import annotations

import csv
from pathlib import Path

from stemfeatures._util.csv_log import append_row, whole_lines


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(whole_lines(path)))


def test_rows_follow_each_other_and_one_that_was_cut_off_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    append_row(path, ["step", "loss"], [1, 0.5])
    with path.open("a") as file:
        file.write("2,0.")
    assert len(whole_lines(path)) == 2
    append_row(path, ["step", "loss"], [2, 0.25])
    assert path.read_bytes() == b"step,loss\r\n1,0.5\r\n2,0.25\r\n"


def test_an_earlier_header_is_renewed_and_its_values_stay_in_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    append_row(path, ["step", "minutes", "loss"], [1, 2.5, 0.5])
    with path.open("a") as file:
        file.write("2,3.5")  # cut off
    now = ["step", "loss", "refinement"]
    append_row(path, now, [2, 0.25, 4.0])
    append_row(path, now, [3, 0.125, 3.0])
    assert whole_lines(path)[0].split(",")[:3] == now
    assert _rows(path) == [
        {"step": "1", "loss": "0.5", "refinement": "", "minutes": "2.5"},
        {"step": "2", "loss": "0.25", "refinement": "4.0", "minutes": None},
        {"step": "3", "loss": "0.125", "refinement": "3.0", "minutes": None},
    ]
