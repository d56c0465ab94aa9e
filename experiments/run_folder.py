"""The folder of a run: ``run.json`` (what it is), ``last.pt`` (state), ``log.csv`` (losses and the seconds it took)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stemfeatures._util.csv_log import append_row, whole_lines
from stemfeatures._util.files import write_replace
from stemfeatures.errors import ModelError

RUN, STATE, LOG = "run.json", "last.pt", "log.csv"


def open_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Begin or go on in a folder.

    Raises
    ------
    ModelError : it holds a run of other settings.
    """
    settings = json.loads(json.dumps(settings))
    note = folder / RUN
    if note.is_file():
        before = json.loads(note.read_text())
        if changed := sorted(k for k in {*before, *settings} if before.get(k) != settings.get(k)):
            message = f"holds a run with another {', '.join(changed)}; choose another folder"
            raise ModelError(message, source=str(folder), stage="experiment")
    folder.mkdir(parents=True, exist_ok=True)
    write_replace(note, f"{json.dumps(settings, indent=1)}\n".encode())


def append_log(folder: Path, step: int, seconds: float, means: Mapping[str, float]) -> None:
    """Write the mean terms since the last call."""
    row = [step, f"{seconds:.1f}", *(f"{value:.5f}" for value in means.values())]
    append_row(folder / LOG, ["step", "seconds", *means], row)


def cut_log(folder: Path, step: int) -> None:
    """Forget what was logged after ``step``: a run that goes on from there does it again."""
    log = folder / LOG
    if log.is_file():
        lines = whole_lines(log)
        kept = [line for i, line in enumerate(lines) if i == 0 or int(line.split(",")[0]) <= step]
        write_replace(log, "".join(kept).encode())
