"""Lines of pages, run as a person would paste them."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

from pipelines import cli

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a page that are in ``language``."""
    return [block for of, block in _BLOCK.findall(text) if of == language]


def run(line: str, folder: Path) -> str:
    """One line of a shell block, on one process; its output."""
    words = shlex.split(line, comments=True)
    assert words[0] == "stemfeatures"
    words = ["1" if before == "-j" else word for before, word in zip(["", *words], words)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words[1:])
    assert code == 0, f"{line}\n{out.getvalue()}{err.getvalue()}"
    return out.getvalue()
