"""Processes of Python that are started beside this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stemfeatures._util.python_process import python_command


def test_modules_come_from_where_they_come_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the folder that the process is started in; what is no place of modules is passed over."""
    here, there = tmp_path / "mu'sic", tmp_path / 'mo"dules \N{SNOWMAN}\udce4'
    for folder in (here, there):
        folder.mkdir()
        (folder / "ours.py").write_text(f"where = {folder.name!r}")
    (here / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [tmp_path, str(there), *sys.path])
    command = python_command("import json, ours, sys\nprint(json.dumps([ours.where, sys.argv[1:]]))", "a b", "-c")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [there.name, ["a b", "-c"]]
