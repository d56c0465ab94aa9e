"""Commands and modules that README and docs name are there, with the options that they are given."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import build_parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/**/*.md")]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_MODULE = re.compile(r"python -m ((?:stemfeatures|pipelines|experiments)[\w.]*)")


def lines_of(page: Path) -> Iterator[str]:
    """Lines of shell blocks, without comments and what follows a pipe."""
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in ("sh", "bash", "console", ""):
            for line in block.replace("\\\n", " ").splitlines():
                yield re.split(r"\s#\s|\s[|>&;]|\s&&\s", line)[0].strip().removeprefix("$ ")


def commands(page: Path) -> list[str]:
    return [line for line in lines_of(page) if line.startswith("stemfeatures ")]


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


def test_the_image_is_made_of_what_is_there() -> None:
    """What a Dockerfile copies, installs and leaves out; there is nothing here to build it with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert {step[0] for step in steps} <= {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    copied = [name for step in steps if step[0] == "COPY" and "--from=build" not in step for name in step[1:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == kept
    assert all((ROOT / name).exists() for name in copied)
    assert {project["readme"], *project["license-files"]} <= kept
    for extras in re.findall(r"'\.\[([\w,]+)\]'", text):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
    for package in ("gcsfs", "adlfs"):
        wanted = [r for some in project["optional-dependencies"].values() for r in some if r.startswith(package)]
        assert f"'{wanted[0]}'" in text
    assert json.loads(text.partition("ENTRYPOINT ")[2].splitlines()[0])[0] in project["scripts"]
    assert steps[-3][0] == "WORKDIR"
    assert ["USER", "stemfeatures"] in steps  # not root


#: Where the options of a script stand that it does not declare itself.
_PARSERS = {"experiments.gans": ROOT / "experiments" / "gans" / "gan_runs.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_and_targets_are_there(page: Path) -> None:
    """``python FILE``, ``python -m MODULE`` with their options, ``make TARGET``."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    blocks = [block for _, block in _BLOCK.findall(page.read_text(encoding="utf-8"))]
    for line in lines_of(page):
        words = shlex.split(line)
        if words[:1] == ["make"]:
            assert all(re.search(rf"^{word}:", makefile, re.MULTILINE) for word in words[1:] if "=" not in word), line
        if words[:1] != ["python"]:
            continue
        if words[1] != "-m":
            # Written by the page itself, or here.
            assert (ROOT / words[1]).is_file() or any(f"# {words[1]}" in block for block in blocks), line
        elif re.match(r"(stemfeatures|pipelines|experiments)\b", words[2]):
            spec = importlib.util.find_spec(words[2])
            assert spec is not None, line
            assert spec.origin is not None, line
            shared = [path.read_text(encoding="utf-8") for name, path in _PARSERS.items() if words[2].startswith(name)]
            source = "".join([Path(spec.origin).read_text(encoding="utf-8"), *shared])
            missing = [word for word in words if word.startswith("--") and f'"{word.split("=")[0]}"' not in source]
            assert not missing, line


def names_of(tree: ast.AST) -> dict[str, Any]:
    """What a block imports of ours, by name."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("stemfeatures", "pipelines"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                if importlib.util.find_spec(submodule) if hasattr(module, "__path__") else None:
                    importlib.import_module(submodule)  # which nothing need have imported before
                found[alias.asname or alias.name] = getattr(module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                if top in ("stemfeatures", "pipelines"):
                    importlib.import_module(alias.name)
                    found[top] = importlib.import_module(top)
    return found


def resolved(node: ast.AST, names: dict[str, Any]) -> Any:
    """The object that ``stemfeatures.audio.load`` and the like name; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and inspect.ismodule(owner := resolved(node.value, names)):
        return getattr(owner, node.attr)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_name_what_is_there(page: Path) -> None:
    """What they import is there, and what they call takes those arguments."""
    names: dict[str, Any] = {}
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language != "python":
            continue
        tree = ast.parse(block)
        names |= names_of(tree)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if callable(called := resolved(call.func, names)):
                keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
                inspect.signature(called).bind_partial(*call.args, **keywords)


# The site ------------------------------------------------------------------------------------------------------------


def test_every_page_has_its_place_in_the_site() -> None:
    """Each page of docs/ stands in the navigation once, and every link between pages leads to one."""
    config = pytest.importorskip("mkdocs.config")
    site = config.load_config(str(ROOT / "mkdocs.yml"))

    def pages(part: Any) -> Iterator[str]:
        for one in part if isinstance(part, list) else part.values():
            yield from [one] if isinstance(one, str) else pages(one)

    listed = list(pages(site.nav))
    there = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.[mi][dp]*")}
    assert sorted(listed) == sorted(there)
    assert not site.use_directory_urls
    for name in listed:
        if name.endswith(".md"):
            text = (ROOT / "docs" / name).read_text(encoding="utf-8")
            for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
                assert (ROOT / "docs" / name).parent.joinpath(link).exists(), f"{name}: {link}"
