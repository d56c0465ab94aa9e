"""Imports run one way, no module imports in a circle, and the check of it works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
TOPS = ("stemfeatures", "pipelines", "experiments")


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.npz")
    for name in TOPS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_run_one_way_and_a_turned_arrow_is_found(copy: Path) -> None:
    assert (done := _lint(copy)).returncode == 0, done.stdout
    module = copy / "stemfeatures" / "spectra" / "transform.py"
    module.write_text(module.read_text() + "\n\nfrom ..separation.base import BaseSeparator  # noqa\n")
    done = _lint(copy)
    assert done.returncode == 1
    assert "stemfeatures.spectra is not allowed to import stemfeatures.separation" in done.stdout


def test_no_module_imports_in_a_circle() -> None:
    """Imports inside of functions count too; those for type hints alone do not."""
    graph = grimp.build_graph(*TOPS, exclude_type_checking_imports=True, cache_dir=None)
    order = TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    assert len(list(order.static_order())) == len(graph.modules)  # CycleError names the circle


def test_few_files_stand_in_the_root() -> None:
    files = {path.stem for path in (ROOT / "stemfeatures").iterdir() if path.is_file()}  # a stub is its module's
    assert len(files) <= 6, files


def test_the_picture_is_that_of_the_code(tmp_path: Path) -> None:
    """As many boxes and arrows, and the names in them: the same drawing but for what matplotlib's version changes."""
    drawn = []
    for seed in ("1", "2"):  # of the order of sets, which the picture does not depend on
        drawn.append(tmp_path / f"{seed}.svg")
        code = f"from pathlib import Path; from draw_architecture import draw; draw(Path({str(drawn[-1])!r}))"
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'docs'}", "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=300)
    assert drawn[0].read_bytes() == drawn[1].read_bytes()

    def content(path: Path) -> tuple[list[str], int]:
        text = path.read_text()
        return re.findall(r"<!-- (.+?) -->", text), len(re.findall(r'<g id="patch_\d+">', text))

    assert content(drawn[0]) == content(ROOT / "docs" / "images" / "architecture.svg")
