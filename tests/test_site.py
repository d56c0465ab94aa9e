"""The site in Chromium: search answers on pages opened from disk and from a server, and nothing else is asked."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from chromium_helper import chromium

ROOT = Path(__file__).parents[1]
PAGES = ("index.md", "similarity.md", "security.md")
REPOSITORY = "https://github.com/somebody/fork"

pytest.importorskip("material")


def build(folder: Path) -> Path:
    """The site of a few pages, as mkdocs.yml says."""
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    for name in PAGES:
        (folder / "docs").mkdir(exist_ok=True)
        shutil.copy(ROOT / "docs" / name, folder / "docs" / name)
    for name in ("javascripts", "stylesheets"):
        shutil.copytree(ROOT / "docs" / name, folder / "docs" / name)
    (folder / "docs" / "about").mkdir()
    (folder / "docs" / "about" / "contributing.md").write_text("Put by a hook.", encoding="utf-8")
    (folder / "docs" / "api.md").write_text(DOCSTRING, encoding="utf-8")
    nav = [*PAGES, "about/contributing.md", "api.md"]
    places = {"docs_dir": str(folder / "docs"), "site_dir": str(folder / "site"), "nav": nav}
    config = load_config(str(ROOT / "mkdocs.yml"), plugins=["material/search"], validation=QUIET, **places)
    config.plugins.on_startup(command="build", dirty=False)
    build_site(config)
    return folder / "site"


#: As mkdocstrings hands it on.
DOCSTRING = "# API\n\nSee :func:`.models.load` and :class:`~stemfeatures.Analyser`.\n"
#: Most links lead to pages that are left out here.
QUIET: dict[str, Any] = {"links": {"not_found": "ignore"}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPO_URL", REPOSITORY)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[str]:
    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=site)) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def _search(tab: Any, words: str) -> None:
    """Type the words, again where the page's script did not listen yet, as on a machine that is busy."""
    from playwright.sync_api import TimeoutError as TooLong

    field, found = tab.locator("input[name=query]"), tab.locator(".md-search-result__item").first
    for _ in range(5):
        field.fill("")
        field.press_sequentially(words)
        with suppress(TooLong):
            found.wait_for(timeout=10_000)
            return
    found.wait_for()


@pytest.mark.parametrize("how", ["disk", "server"])
def test_search_finds_the_page(browser: Any, site: Path, server: str, how: str) -> None:
    start = site.as_uri() if how == "disk" else server
    asked: list[str] = []
    troubles: list[str] = []
    with browser.new_context() as context:
        tab = context.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        for page, words, found in [
            ("index.html", "cosine distance", "similarity.html"),
            ("similarity.html", "numpydoc docstrings", "about/contributing.html"),  # what a hook has put there
        ]:
            tab.goto(f"{start}/{page}")
            _search(tab, words)
            first = tab.locator(".md-search-result__link").first
            assert str(first.get_attribute("href")).removeprefix(f"{start}/").startswith(f"{found}?"), words
            first.click()
            tab.wait_for_url(f"{start}/{found}?**")
            assert tab.locator("article h1").count() == 1
    # blob: is the worker that is started from its text.
    assert [url for url in asked if not url.startswith((f"{start}/", "data:", "blob:null/"))] == []
    assert troubles == []


def test_who_builds_the_site_states_where_the_repository_is(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mkdocs.config import load_config

    page = (site / "index.html").read_text(encoding="utf-8")
    assert f'<a href="{REPOSITORY}"' in page
    assert 'data-md-component="source"' not in page  # which asks the host for stars
    monkeypatch.delenv("REPO_URL", raising=False)
    config = load_config(str(ROOT / "mkdocs.yml"))
    assert not config.plugins.on_config(config)["repo_url"]


def test_roles_of_docstrings_are_not_shown(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    assert "<p>See <code>models.load</code> and <code>stemfeatures.Analyser</code>.</p>" in page
    assert ":func:" not in (site / "search" / "search_index.json").read_text(encoding="utf-8")
