"""The worked example of docs/singalong.md: the command, the words against the truth, the page in a browser."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines import cli

pytest.importorskip("pocketsphinx", reason="needs the lyrics extra")

ROOT = Path(__file__).parent.parent
TRUTH = json.loads((ROOT / "catalog_samples" / "truth" / "rio.json").read_text(encoding="utf-8"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command of the example makes."""
    text = (ROOT / "docs" / "singalong.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^stemfeatures (singalong catalog_samples/.*)$", text, re.MULTILINE)
    folder = tmp_path_factory.mktemp("example")
    (folder / "catalog_samples").symlink_to(ROOT / "catalog_samples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main([*shlex.split(command), "--quiet", "--device", "cpu"]) == 0
    return folder / "river"


def test_lines_begin_where_they_are_sung(page: Path) -> None:
    alignment = json.loads((page / "words.json").read_text(encoding="utf-8"))
    assert alignment["status"] == "ok"
    assert [line["text"] for line in alignment["lines"]] == [text for _, _, text in TRUTH["lyrics"]]
    starts = np.array([line["start"] for line in alignment["lines"]])
    errors = starts - np.array([start for start, _, _ in TRUTH["lyrics"]])
    assert (np.abs(errors) < 0.1).all()  # what docs/singalong.md says


def test_the_lane_is_what_was_sung(page: Path) -> None:
    script = (page / "song.js").read_text(encoding="utf-8")
    song = json.loads(script.removeprefix("singalong.setSong(").removesuffix(");\n"))
    # A minor, or its relative major, which has the same notes.
    assert song["key"] in ({"tonic": 9, "mode": "minor"}, {"tonic": 0, "mode": "major"})
    assert song["tempo"] == pytest.approx(TRUTH["tempo_bpm"], rel=0.01)
    truth = np.array(TRUTH["vocals_f0"]["f0_hz"])
    times = np.arange(len(song["f0"]["cents"])) * song["f0"]["hop"]
    place = np.rint(times / TRUTH["vocals_f0"]["hop_s"]).astype(int)
    sung = np.where(place < len(truth), truth[np.minimum(place, len(truth) - 1)], 0)
    found = np.array([np.nan if c is None else c for c in song["f0"]["cents"]])
    both = (sung > 0) & np.isfinite(found)
    assert both.sum() > 0.7 * (sung > 0).sum()
    error = found[both] - (6900 + 1200 * np.log2(sung[both] / 440))
    assert (np.abs(error) < 50).mean() > 0.9


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_the_page_lights_the_first_word_of_each_line(page: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page()
        shown.goto((page / "index.html").as_uri())
        for start, _, text in TRUTH["lyrics"]:
            shown.evaluate("(t) => { singalong.page.engine.seek(t); singalong.page.render(); }", start + 0.16)
            assert shown.locator("[aria-current=true]").text_content().split() == text.split()
            assert shown.locator(".word.lit").first.text_content() in text.split()[:2]
        shown.get_by_role("button", name="Play").click()
        shown.wait_for_function("() => singalong.page.engine.position > 22.5", timeout=20_000)
        browser.close()
