"""Commands and modules that README and docs name are there, with the options that they are given."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from pipelines.cli import build_parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/**/*.md")]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_MODULE = re.compile(r"python -m ((?:stemfeatures|pipelines|experiments)[\w.]*)")


def commands(page: Path) -> list[str]:
    """Lines of shell blocks that call ``stemfeatures``, without comments and what follows a pipe."""
    found = []
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language not in ("sh", "bash", "console", ""):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            line = re.split(r"\s#\s|\s[|>&;]|\s&&\s", line)[0].strip().removeprefix("$ ")
            if line.startswith("stemfeatures "):
                found.append(line)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_understood(page: Path) -> None:
    parser = build_parser()
    for line in commands(page):
        try:
            parser.parse_args(shlex.split(line)[1:])
        except SystemExit as error:
            assert error.code == 0, f"{page.name}: {line}"  # noqa: PT017 (--help and --version end so)


def test_there_are_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 60
    assert {line.split()[1] for line in commands(ROOT / "README.md")} >= {"extract", "validate", "similar", "train"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_are_there(page: Path) -> None:
    for name in _MODULE.findall(page.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(name.rstrip(".")) is not None, name
