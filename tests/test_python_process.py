"""Processes of Python that are started beside this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stemfeatures._util.python_process import (
    environment_as_here,
    forget_safe_path,
    imports_from_folder,
    paths_as_here,
    python_command,
)

ROOT = Path(__file__).parents[1]


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


@pytest.fixture
def folder_of_modules(tmp_path: Path) -> Path:
    """Where somebody starts a command: with modules called as those of others, each of which leaves a mark."""
    folder = tmp_path / "music"
    for name in ("json", "threading", "numpy", "queue", "stemfeatures/__init__", "multiprocessing/__init__"):
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"import pathlib\npathlib.Path({str(tmp_path)!r}, 'imported').touch()\nraise SystemExit(9)")
    return folder


@pytest.mark.parametrize(
    "program",
    [
        "import os\nfrom pipelines.extraction.fork_server import in_fork, start_fork_server\nstart_fork_server()\n"
        "assert in_fork(os.getpid) != os.getpid()",
        "from stemfeatures._util.pools import starmap\n"
        "assert list(starmap(os.getenv, [('PYTHONSAFEPATH', '-'), ('HOME_', '')], jobs=2, stage='test')) == ['-', '']",
    ],
    ids=["forked", "spawned"],
)
def test_processes_of_a_command_import_nothing_from_the_folder_it_is_started_in(
    folder_of_modules: Path, tmp_path: Path, program: str
) -> None:
    """A script is found in its own folder, as an installed command is."""
    (tmp_path / "bin").mkdir()
    body = "\n    ".join(["import os", "before = dict(os.environ)", *program.splitlines()])
    body += "\n    assert dict(os.environ) == before"
    (tmp_path / "bin" / "command.py").write_text(f"if __name__ == '__main__':\n    {body}\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run(
        [sys.executable, str(tmp_path / "bin" / "command.py")],
        cwd=folder_of_modules,
        env={**environment, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(("first", "expected"), [("", True), (None, True), ("/elsewhere", False)])
def test_whose_modules_come_from_the_folder(monkeypatch: pytest.MonkeyPatch, first: str | None, expected: bool) -> None:
    monkeypatch.setattr(sys, "path", [os.getcwd() if first is None else first, *sys.path])
    assert imports_from_folder() is expected
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with paths_as_here():
        assert ("PYTHONSAFEPATH" in os.environ) is not expected
    assert "PYTHONSAFEPATH" not in os.environ


def test_what_a_user_has_set_stays_in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/elsewhere", *sys.path])
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    with paths_as_here():
        forget_safe_path()
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert environment_as_here() == {}
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # as good as not set
    with paths_as_here():
        assert os.environ["PYTHONSAFEPATH"]
        forget_safe_path()
        assert "PYTHONSAFEPATH" not in os.environ
    assert os.environ["PYTHONSAFEPATH"] == ""
