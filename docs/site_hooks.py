"""What the site takes from the repository: pages that stand elsewhere in it, and where it lies."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_PAGES = {
    "about/changes.md": "CHANGELOG.md",
    "about/contributing.md": "CONTRIBUTING.md",
    "performance.md": "benchmarks/README.md",
}


def on_config(config: Any) -> Any:
    """Link the repository; called by mkdocs."""
    config["repo_url"] = config["repo_url"] or repository(_ROOT)
    return config


def repository(root: Path) -> str | None:
    """Where the repository can be looked at: what pyproject.toml states, else where ``origin`` is, if that is a web
    address (``git@host:path`` is one, too); None for a checkout of another folder."""
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    if stated := urls.get("Repository"):
        return str(stated)
    asked = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        origin = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.fullmatch(r"(?:https?://(?:[^@/]+@)?|(?:ssh://)?git@)([^:/]+)[:/](.+?)(?:\.git)?/?", origin)
    return f"https://{found[1]}/{found[2]}" if found else None


def on_page_markdown(markdown: str, page: Any, **options: Any) -> str:
    """The text of a page; called by mkdocs."""
    if (source := _PAGES.get(page.file.src_uri)) is None:
        return markdown
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\((?:\.\./)?docs/", f"]({up}", (_ROOT / source).read_text(encoding="utf-8"))
