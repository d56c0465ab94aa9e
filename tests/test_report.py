"""Pages open from disk in Chromium, show what the tables hold, and believe nothing that comes from a catalogue."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium_helper import chromium
from features_helper import write_features

from pipelines import cli
from pipelines.report.html import rounded
from pipelines.report.layout import two_dimensions
from stemfeatures import open_features

pytest.importorskip("matplotlib")

NASTY = "</script><img src=x onerror=document.title='owned'>"
N = 40


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    ids = [NASTY, *(f"t{i:02d}" for i in range(1, N))]
    tempo = np.linspace(60, 180, N)
    tempo[7] = 100_000.0
    overwrite = {("mixture", ""): {"tempo_bpm": tempo.tolist()}}
    folder = tmp_path_factory.mktemp("report") / "features"
    return write_features(folder, ids, silent={"vocals": ids[:10]}, overwrite=overwrite)


@pytest.fixture(scope="module")
def page(features: Path) -> Path:
    out = features.parent / "page"
    assert cli.main(["report", str(features), "-o", str(out), "-q"]) == 0
    return out / "index.html"


def unpacked(text: str, stored: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), stored)


def test_a_page_holds_what_the_tables_hold(page: Path, features: Path, capsys) -> None:
    html = page.read_text(encoding="utf-8")
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+", "", html)
    assert NASTY not in html
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert data["ids"][0] == NASTY
    assert data["maps"]["mixture"]["at"] is None  # all
    assert len(unpacked(data["maps"]["mixture"]["xy"], "<f4")) == 2 * N
    assert unpacked(data["maps"]["vocals"]["at"], "<i4").tolist() == list(range(10, N))  # silent in ten
    assert unpacked(data["values"]["tempo_bpm"], "<f4")[7] == 100_000
    keys = data["values"]["key"]
    assert keys["names"] == ["", "A:minor", "C:major", "F#:minor", "G:major"]
    stems = open_features(features).to_pandas("stems", ["track_id", "key"], [("stem", "==", "mixture")])
    given = stems.set_index("track_id")["key"].reindex(data["ids"]).tolist()
    assert [keys["names"][code] for code in unpacked(keys["codes"], "<u2")] == given
    assert re.search(r"<td>t07</td><td>mixture</td><td>tempo_bpm</td><td class=n>100,000 bpm</td>", html)
    nulls = re.search(r"<tr><td>f0</td><td>silent</td>(.*?)</tr>", html)[1]
    assert re.findall(r">([^<]*)</td>", nulls) == ["", "10", "", "", ""]
    assert cli.main(["report", str(features), "-o", str(page.parent)]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert cli.main(["report", str(features), "-o", str(page)]) == 2
    assert "index.html is a file; -o names a folder" in capsys.readouterr().err


def test_a_track_has_a_page_though_its_audio_is_gone(features: Path, capsys, tmp_path) -> None:
    assert cli.main(["report", str(features), "nobody", "-o", str(tmp_path / "x")]) == 2
    assert "no such track: 'nobody'" in capsys.readouterr().err
    assert cli.main(["report", "-q", "-o", str(tmp_path / "x"), "--", str(features), NASTY]) == 0
    html = (tmp_path / "x" / "index.html").read_text(encoding="utf-8")
    assert NASTY not in html
    assert "The audio is not where it was" in html
    assert "vocals cannot be heard in track" in html
    assert re.search(r"<td>tempo_bpm</td><td>bpm</td><td class=n>60</td>", html)
    assert len(re.findall(r"<td>t\d\d</td><td class=n>0\.\d\d|<td>t\d\d</td><td class=n>1\.\d\d", html)) == 20


def test_numbers_have_no_exponents() -> None:
    values = (1371.4, 999.6, 999.4, 61.25, 0.01234, -2403.0, 0.0)
    assert [rounded(v, 3) for v in values] == ["1,371", "1,000", "999", "61.2", "0.0123", "-2,403", "0"]
    assert [rounded(v, 4) for v in (12_345.6, 1371.44)] == ["12,346", "1371"]


def test_vectors_near_each_other_lie_near_each_other(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(3, 20))
    of = rng.integers(0, 3, 240)
    vectors = centres[of] + rng.normal(size=(240, 20))
    monkeypatch.setattr("pipelines.report.layout.LAID_OUT", 90)
    placed = two_dimensions(vectors)
    assert placed.shape == (240, 2)
    assert np.abs(placed).max() == pytest.approx(1.0)
    distances = np.linalg.norm(placed[:, None] - placed[None], axis=2) + 9 * np.eye(240)
    assert np.mean(of[distances.argmin(axis=1)] == of) > 0.98
    assert two_dimensions(vectors[:2]).shape == (2, 2)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_in_chromium(browser, page: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab = context.new_page()
    troubles: list[str] = []
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
    tab.goto(page.as_uri())
    assert tab.title().startswith("features")
    assert tab.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    # Each histogram is large enough to be read, inside the page, and nothing of a caption or a hint is cut.
    sizes = """[...document.querySelectorAll('.row figure')].map(figure => {
        const picture = figure.querySelector('svg').getBoundingClientRect();
        return [picture.right, picture.width, picture.height, figure.scrollWidth - figure.clientWidth];})"""
    right, wide, high, over = np.array(tab.evaluate(sizes)).T
    assert len(right) > 40
    assert right.max() <= width
    assert wide.min() >= 100
    assert high.min() >= 29
    assert over.max() == 0
    hint = """(() => {const find = document.getElementById('find'); find.value = find.placeholder;
        const over = find.scrollWidth - find.clientWidth; find.value = ''; return over;})()"""
    assert tab.evaluate(hint) == 0
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 380) == (scheme == "light")
    assert tab.inner_text("#counted") == "40 tracks"
    tab.select_option("#stem", "vocals")
    tab.wait_for_function("document.getElementById('counted').textContent === '30 tracks'")
    tab.select_option("#stem", "mixture")
    tab.fill("#find", "t3")
    tab.wait_for_function("document.getElementById('counted').textContent === '10 tracks'")
    assert tab.locator("#side button").all_inner_texts() == [f"t{i}" for i in range(30, 40)]
    tab.click("#side button >> text=t31")
    assert tab.inner_text("#side h3") == "t31"
    tab.fill("#find", NASTY[:9])
    tab.wait_for_function("document.getElementById('counted').textContent === '1 track'")
    inside = "(() => {const d = document.getElementById('map').getBoundingClientRect(); return [d.width, d.height]})()"
    w, h = tab.evaluate(inside)
    data = json.loads(tab.inner_text("#data") or tab.evaluate("document.getElementById('data').textContent"))
    place = unpacked(data["maps"]["mixture"]["xy"], "<f4").reshape(-1, 2)[0] * 0.47 * min(w, h) + [w / 2, h / 2]
    tab.hover("#over", position={"x": float(place[0]), "y": float(place[1])})
    assert tab.inner_text("#tip") == f"{NASTY} · 60.00"
    tab.click("#over", position={"x": float(place[0]), "y": float(place[1])})
    assert tab.inner_text("#side h3") == NASTY
    assert "tempo_bpm" in tab.inner_text("#side")
    assert tab.title() != "owned"
    assert troubles == []
    context.close()
