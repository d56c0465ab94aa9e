"""The wheel holds everything a user needs and works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", minversion="77", reason="building without isolation needs setuptools >= 77")
    folder = tmp_path_factory.mktemp("wheel")
    # Build from a copy of what git would ship, so that no build folder is left in the checkout.
    source = folder / "source"
    source.mkdir()
    for name in ("stemfeatures", "pipelines", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _run(unpacked: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )


def test_wheel_holds_weights_recipes_and_types(unpacked):
    names = {str(p.relative_to(unpacked)) for p in unpacked.rglob("*")}
    for needed in (
        "stemfeatures/py.typed",
        "stemfeatures/__init__.pyi",
        "pipelines/__init__.pyi",
        "stemfeatures/models/weights/joint-v8.safetensors",
        "stemfeatures/models/weights/joint-v8.json",
        "stemfeatures/models/weights/notes/other-v1.safetensors",
        "stemfeatures/models/weights/notes/other-v1.json",
        "stemfeatures/models/weights/voices/vocals-v1.safetensors",
        "stemfeatures/models/weights/voices/vocals-v1.json",
        "stemfeatures/training/recipes/joint-v0.toml",
        "stemfeatures/generator/banks/voices/f1.npz",
        "stemfeatures/singalong/player/index.html",
        "stemfeatures/singalong/player/engine.js",
    ):
        assert needed in names
    # older checkpoints stay in the repository
    assert sum(n.startswith("stemfeatures/models/weights/") and n.endswith(".safetensors") for n in names) == 3
    assert not any(n.startswith(("tests", "catalog_samples")) for n in names)


def test_wheel_works_outside_the_checkout(unpacked, tmp_path):
    code = "import stemfeatures as s; from stemfeatures.models import list_models as m; print(s.__file__, m()[0].name)"
    done = _run(unpacked, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert str(unpacked) in done.stdout
    assert "joint-v8" in done.stdout
    done = _run(unpacked, tmp_path, "-m", "pipelines.cli", "models")
    assert done.returncode == 0, done.stderr
    assert "joint-v8" in done.stdout


def test_pins_install_on_the_oldest_python_of_the_package():
    """A pin that the interpreter is too old for sends pip through all versions of what needs it, for hours."""
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] not in "#"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    wanted = {}
    for pin in pins:
        try:
            found = distribution(pin.name)
        except PackageNotFoundError:
            continue  # of another system
        if pin.specifier.contains(found.version):
            wanted[pin.name] = SpecifierSet(found.metadata.get("Requires-Python") or "")
    assert len(wanted) > 100
    assert [name for name, python in wanted.items() if not python.contains(f"{oldest}.0")] == []
