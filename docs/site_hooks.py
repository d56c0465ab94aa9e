"""What the site takes from elsewhere: pages of the repository's root, where that lies, a search that needs no server.

Browsers start no worker from a file, and read no JSON beside a page that was opened from disk. So the index is a
script, too, and so is the worker of the theme's search, which is started from its text. Nothing comes from other hosts.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

_ROOT = Path(__file__).parents[1]
_PAGES = {
    "about/changes.md": "CHANGELOG.md",
    "about/contributing.md": "CONTRIBUTING.md",
    "performance.md": "benchmarks/README.md",
}
_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|ref):<code>[~.]*")
_WORKER_SCRIPT = "javascripts/search_worker.js"
_START_FROM_TEXT = """\
"use strict";
if (location.protocol === "file:") {
  const source = %s;
  window.Worker = class extends Worker {
    constructor() { super(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))); }
  };
}
"""


def on_config(config: Any) -> Any:
    """Link the repository, and load what search needs before the theme's scripts; called by mkdocs."""
    config["repo_url"] = config["repo_url"] or stated_repository(_ROOT) or ""
    config["extra"].setdefault("polyfills", []).append(_WORKER_SCRIPT)
    return config


def stated_repository(root: Path) -> str | None:
    """Where the repository can be looked at, if pyproject.toml says so."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository")


def on_page_markdown(markdown: str, page: Any, **options: Any) -> str:
    """The text of a page; called by mkdocs."""
    if (source := _PAGES.get(page.file.src_uri)) is None:
        return markdown
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\((?:\.\./)?docs/", f"]({up}", (_ROOT / source).read_text(encoding="utf-8"))


def on_page_content(html: str, **options: Any) -> str:
    """Leave out the roles of docstrings, ``:func:`` and the like, which Markdown does not know; called by mkdocs."""
    return _ROLE.sub("<code>", html)


def on_post_page(output: str, **options: Any) -> str:
    """Keep the theme from asking the repository's host for stars and forks; called by mkdocs."""
    return output.replace(' data-md-component="source"', "")


@event_priority(-100)  # the index is written by then
def on_post_build(config: Any) -> None:
    """Write the index and the worker of search as scripts; called by mkdocs."""
    site = Path(config["site_dir"])
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    (site / "search" / "search_index.js").write_text(f"var __index = {index};", encoding="utf-8")
    [worker] = (site / "assets" / "javascripts" / "workers").glob("search.*.min.js")
    script = site / _WORKER_SCRIPT
    script.parent.mkdir(exist_ok=True)
    script.write_text(_START_FROM_TEXT % json.dumps(worker.read_text(encoding="utf-8")), encoding="utf-8")
