"""Pages of the site that stand elsewhere in the repository: their links are made to lead from here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_PAGES = {
    "about/changes.md": "CHANGELOG.md",
    "about/contributing.md": "CONTRIBUTING.md",
    "performance.md": "benchmarks/README.md",
}


def on_page_markdown(markdown: str, page: Any, **options: Any) -> str:
    """The text of a page; called by mkdocs."""
    if (source := _PAGES.get(page.file.src_uri)) is None:
        return markdown
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\((?:\.\./)?docs/", f"]({up}", (_ROOT / source).read_text(encoding="utf-8"))
