"""The page in a real Chromium, opened from disk: what is heard, what is lit, what axe says of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stemfeatures.singalong.media import CHUNK_S, MediaWriter
from stemfeatures.singalong.page import write_files

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")

RATE = 22_050
DURATION_S = 23.0
#: Each stem a sine of its own, so that a fader can be told from what is heard.
TONES_HZ = {"vocals": 440.0, "drums": 800.0, "bass": 110.0, "other": 1600.0}
WORDS = (("Hold", 1.0, 1.5), ("me", 1.6, 2.4), ("stay", 9.2, 10.4), ("with", 10.5, 10.9), ("me", 11.0, 12.0))
LINES = (WORDS[:2], WORDS[2:])
MICROPHONE_HZ = 330.0


def tone(hz: float, seconds: float, rate: int) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose stems are sines, with a voice at A4 in the first half."""
    made = tmp_path_factory.mktemp("page") / "a 100% odd? näme"
    (made / "media").mkdir(parents=True)
    with MediaWriter(made / "media", RATE, 1) as media:
        media.write({stem: tone(hz, DURATION_S, RATE)[None] for stem, hz in TONES_HZ.items()})
        layout = media.finish()
    hop = 512 / RATE
    cents = [6900 if k * hop < DURATION_S / 2 else None for k in range(int(DURATION_S / hop))]
    lines: list[dict[str, Any]] = [{"start": line[0][1], "end": line[-1][2], "words": line} for line in LINES]
    lines.insert(1, {"start": None, "end": None, "words": [("[Chorus]", None, None)]})
    song = {
        "title": "</script><b>Tones", "artist": "Nobody", "duration": DURATION_S, "media": layout, "lines": lines,
        "f0": {"hop": hop, "cents": cents}, "key": {"tonic": 9, "mode": "minor"}, "tempo": 120.0,
        "message": "", "status": "ok",
    }  # fmt: skip
    write_files(made, song)
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sound = tmp_path_factory.mktemp("microphone") / "sung.wav"
    soundfile.write(sound, tone(MICROPHONE_HZ, 5, 48_000) * 4, 48_000, subtype="PCM_16")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", *quiet, *fake, f"--use-file-for-fake-audio-capture={sound}"],
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser: Any, folder: Path) -> Iterator[Any]:
    """The page, once for all tests: a browser's window takes seconds."""
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto((folder / "index.html").as_uri())
    page.evaluate(PROBE)
    yield page
    page.close()
    assert not faults


@pytest.fixture
def page(opened: Any) -> Any:
    """The page at rest, at its start."""
    opened.set_viewport_size({"width": 1100, "height": 800})
    opened.evaluate("""() => {
      const { engine, faders } = singalong.page;
      engine.setLoop(null); engine.pause(); engine.seek(0);
      faders.forEach((fader) => fader.set(0));
      singalong.page.transpose(0);
      document.activeElement.blur();
    }""")
    return opened


#: Level in dB of a frequency in what the page plays, over 16,384 samples.
PROBE = """() => {
  const { engine } = singalong.page;
  const analyser = new AnalyserNode(engine.context, { fftSize: 16384, smoothingTimeConstant: 0 });
  engine.output.connect(analyser);
  window.levels = (tones) => {
    const spectrum = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(spectrum);
    const bin = (hz) => Math.round((hz * analyser.fftSize) / engine.context.sampleRate);
    return Object.fromEntries(Object.entries(tones).map(([stem, hz]) =>
      [stem, Math.max(...spectrum.slice(bin(hz) - 3, bin(hz) + 4))]));
  };
}"""


def levels(page: Any) -> dict[str, float]:
    """Level of each stem in dB, once what was changed fills the window."""
    page.wait_for_timeout(500)
    return page.evaluate("(tones) => levels(tones)", TONES_HZ)


def lit(page: Any, seconds: float) -> list[str]:
    """The words that are lit at a time."""
    page.evaluate("(t) => { singalong.page.engine.seek(t); singalong.page.render(); }", seconds)
    return page.locator(".word.lit").all_text_contents()


def wait_for(page: Any, condition: str) -> None:
    page.wait_for_function(condition, timeout=20_000, polling=50)


def test_sound_is_played_from_disk_and_faders_change_the_measured_level_of_their_stem_alone(page: Any) -> None:
    page.get_by_role("button", name="Play").click()
    wait_for(page, "() => singalong.page.engine.position > 0.6")
    before = levels(page)
    assert min(before.values()) > -40  # 0.1 is -20 dBFS, less the window
    vocals = page.get_by_label("Vocals")
    vocals.fill("-12")
    after = levels(page)
    assert after["vocals"] - before["vocals"] == pytest.approx(-12, abs=0.7)
    for stem in ("drums", "bass", "other"):
        assert after[stem] == pytest.approx(before[stem], abs=0.7)
    page.keyboard.press("v")
    assert levels(page)["vocals"] < before["vocals"] - 50
    assert vocals.get_attribute("aria-valuetext") == "off"
    page.keyboard.press("v")
    assert levels(page)["vocals"] - before["vocals"] == pytest.approx(-12, abs=0.7)


def test_stems_stay_together_to_the_sample_over_the_joint_of_chunks(page: Any) -> None:
    times = page.evaluate(
        """async (at) => {
      const { engine } = singalong.page;
      engine.seek(at);
      await engine.play();
      while (engine.pieces.length < 2) await new Promise((resolve) => setTimeout(resolve, 30));
      return engine.pieces.map((p) => [p.from, p.to, p.when, p.sources.length]);
    }""",
        CHUNK_S - 1,
    )
    first, second = times[:2]
    assert first[:2] == [CHUNK_S - 1, CHUNK_S]
    assert second[:2] == [CHUNK_S, 2 * CHUNK_S]
    assert second[2] - first[2] == pytest.approx(1.0, abs=1e-9)
    assert [first[3], second[3]] == [4, 4]
    wait_for(page, f"() => singalong.page.engine.position > {CHUNK_S + 0.25}")
    # The window reaches over the joint: a gap or a jump of phase would smear the sine into its neighbours.
    spread = page.evaluate("() => levels({ tone: 440, beside: 470 })")
    assert spread["tone"] - spread["beside"] > 35


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.2, ["Hold"]), (1.9, ["me"]), (9.9, ["stay"]), (10.7, ["with"]), (11.5, ["me"]), (0.5, []), (5.0, [])],
)
def test_the_word_that_is_sung_is_lit(page: Any, seconds: float, words: list[str]) -> None:
    assert lit(page, seconds) == words


def test_words_fill_as_they_last_and_lines_scroll_into_view(page: Any) -> None:
    assert lit(page, 9.8) == ["stay"]
    assert page.locator(".word.lit").evaluate("(e) => e.style.getPropertyValue('--fill')") == "50.0%"
    assert page.locator("[aria-current=true]").text_content().split() == ["stay", "with", "me"]
    box, view = page.locator("[aria-current=true]").bounding_box(), page.locator(".words").bounding_box()
    assert view["y"] <= box["y"]
    assert box["y"] + box["height"] <= view["y"] + view["height"]


def test_the_word_is_lit_while_it_plays(page: Any) -> None:
    page.evaluate("() => singalong.page.engine.seek(10.2)")
    page.keyboard.press("Space")
    wait_for(page, "() => singalong.page.engine.position > 10.65 && singalong.page.engine.position < 10.9")
    assert page.locator(".word.lit").all_text_contents() == ["with"]
    page.keyboard.press("Space")
    wait_for(page, "() => !singalong.page.engine.playing")


def test_a_line_is_looped_without_a_gap(page: Any) -> None:
    page.evaluate("() => singalong.page.engine.seek(9.5)")
    page.keyboard.press("l")
    assert page.get_by_role("button", name="Loop line").get_attribute("aria-pressed") == "true"
    loop = page.evaluate("() => singalong.page.engine.loop")
    assert (loop["start"], loop["end"]) == pytest.approx((9.05, 12.4))
    page.keyboard.press("Space")
    wait_for(page, "() => singalong.page.engine.pieces.filter((p) => Math.abs(p.from - 9.05) < 1e-6).length > 1")
    ends = page.evaluate("() => singalong.page.engine.pieces.map((p) => [p.from, p.to, p.when])")
    back = next(k for k in range(1, len(ends)) if ends[k][0] == pytest.approx(9.05))
    assert ends[back - 1][1] == pytest.approx(12.4)
    assert ends[back][2] - ends[back - 1][2] == pytest.approx(ends[back - 1][1] - ends[back - 1][0], abs=1e-9)


def test_keys_move_by_lines_and_seconds_and_transpose(page: Any) -> None:
    position = "() => singalong.page.engine.position"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(position) == 1.0
    page.keyboard.press("ArrowDown")
    assert page.evaluate(position) == pytest.approx(9.2)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(position) == pytest.approx(14.2)
    page.keyboard.press("Home")
    assert page.evaluate(position) == 0
    assert page.locator("#key").text_content() == "A minor"
    assert page.locator("#range").text_content() == "A4 – A4"
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert page.locator("#key").text_content() == "C minor"
    assert page.locator("#range").text_content() == "C5 – C5"
    wait_for(page, "() => document.getElementById('sung-note').textContent === 'C5'")


#: Stops of the Tab key, from the top of the page to its end.
STOPS = (
    "theme", "help-open", "words", "line", "line", "transpose", "play", "seek", "loop", "mic",
    *(f"fader-{stem}" for stem in TONES_HZ),
)  # fmt: skip


def test_everything_can_be_done_from_the_keyboard_and_the_focus_is_seen(page: Any) -> None:
    """A round of the Tab key passes all controls, each marked and in sight; each answers to its keys."""
    at = """() => {
      const { id, className } = document.activeElement;
      const style = getComputedStyle(document.activeElement);
      const { top, bottom, width } = document.activeElement.getBoundingClientRect();
      return [id || className, style.outlineStyle, parseFloat(style.outlineWidth), width > 0 && top >= 0
        && bottom <= innerHeight];
    }"""

    def go(name: str) -> None:
        for _ in range(len(STOPS) + 2):
            if page.evaluate(at)[0] == name:
                return
            page.keyboard.press("Tab")
        raise AssertionError(name)

    # The Tab key goes on from where the focus was last, in whichever test.
    page.evaluate("""() => {
      document.body.tabIndex = -1;
      document.body.focus();
      document.body.removeAttribute('tabindex');
    }""")
    seen = []
    for _ in STOPS:
        page.keyboard.press("Tab")
        name, style, width, in_sight = page.evaluate(at)
        seen.append(name)
        assert (style, width, in_sight) == ("solid", 3, True), seen
    assert tuple(seen) == STOPS
    go("line")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("() => singalong.page.engine.position") == pytest.approx(LINES[1][0][1])
    go("play")
    page.keyboard.press("Enter")
    wait_for(page, "() => singalong.page.engine.playing")
    page.keyboard.press("Space")
    wait_for(page, "() => !singalong.page.engine.playing")
    go("seek")
    page.keyboard.press("Home")
    for key, seconds in (("ArrowRight", 5), ("ArrowUp", 10), ("ArrowLeft", 5), ("End", DURATION_S), ("Home", 0)):
        page.keyboard.press(key)
        assert page.evaluate("() => singalong.page.engine.position") == pytest.approx(seconds), key
        assert float(page.locator("#seek").input_value()) == pytest.approx(seconds), key
    go("fader-vocals")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert page.get_by_label("Vocals").get_attribute("aria-valuetext") == "−4 dB"
    go("transpose")
    page.keyboard.press("ArrowUp")
    assert page.locator("#key").text_content() == "B♭ minor"
    go("loop")
    page.keyboard.press("Space")
    assert page.locator("#loop").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Enter")
    assert page.locator("#loop").get_attribute("aria-pressed") == "false"
    go("help-open")
    page.keyboard.press("Enter")
    assert page.locator("#help").is_visible()
    assert page.evaluate("() => document.activeElement.textContent") == "Close"
    page.keyboard.press("Enter")
    assert not page.locator("#help").is_visible()
    assert page.evaluate(at)[0] == "help-open"


def test_few_chunks_are_held_wherever_the_song_is_heard(page: Any) -> None:
    """Seeking about in a song of an hour holds no more chunks than the page says, and all who ask for one get it."""
    held = page.evaluate(
        """async () => {
      const media = singalong.page.engine.media;
      const real = singalong.Media.script;
      // All of its chunks are the first.
      singalong.Media.script = () => real(0);
      try {
        const held = [];
        for (let k = 0; k < 360; k += 24) {
          await Promise.all([media.chunk(k), media.chunk(k + 1)].map((p) => p.catch(() => null)));
          held.push(media.chunks.size);
        }
        return held;
      } finally {
        singalong.Media.script = real;
        media.chunks.clear();
      }
    }"""
    )
    assert max(held) == page.evaluate("() => singalong.Media.HELD")


def test_the_pitch_of_the_microphone_is_told_against_the_singers(page: Any) -> None:
    page.get_by_role("button", name="Microphone").click()
    # E4 is 498 cents below the A4 that is sung (330 Hz is 2 cents above E4).
    wait_for(page, r"() => /^E4 \(−49\d cents\)$/.test(document.getElementById('your-note').textContent)")
    page.keyboard.press("Space")
    wait_for(page, "() => singalong.page.lane.trail.length > 3")
    trail = page.evaluate("() => singalong.page.lane.trail.map((x) => x[1])")
    assert np.median(trail) == pytest.approx(6900 + 1200 * np.log2(MICROPHONE_HZ / 440), abs=3)
    page.get_by_role("button", name="Microphone").click()
    assert page.locator("#your-note").text_content() == "microphone off"


def test_f0_of_what_a_microphone_may_hear(page: Any) -> None:
    """Voices are rich in harmonics, which must not be taken for the F0; noise and silence have none."""
    found = page.evaluate(
        """() => {
      const rate = 24000;
      const frame = (f) => Float32Array.from({ length: 2048 }, (_, i) => f(i / rate));
      const voice = (hz) => frame((t) =>
        [1, 0.9, 0.7, 0.6, 0.3].reduce((sum, a, k) => sum + 0.1 * a * Math.sin(2 * Math.PI * hz * (k + 1) * t + k), 0));
      let seed = 1;
      const noise = frame(() => ((seed = (seed * 16807) % 2147483647) / 2147483647 - 0.5) * 0.4);
      const f0 = (x) => singalong.pitch.f0(x, rate);
      return [...[82.4, 110, 220, 440, 880, 1000].map((hz) => f0(voice(hz))), f0(noise), f0(frame(() => 0))];
    }"""
    )
    assert found[:6] == pytest.approx([82.4, 110, 220, 440, 880, 1000], rel=2e-3)
    assert found[6:] == [None, None]


def test_text_of_songs_is_text(page: Any) -> None:
    assert page.locator("h1").text_content() == "</script><b>Tones"
    assert page.title() == "</script><b>Tones – Nobody"
    assert page.locator(".untimed").text_content().strip() == "[Chorus]"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page.emulate_media(color_scheme=scheme)
    for width, height in ((1100, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        lit(page, 10.7)
        found = axe.Axe().run(page, options={"preload": False}).response["violations"]
        assert not found, json.dumps([(v["id"], [n["html"] for n in v["nodes"]]) for v in found])
    page.locator("#help-open").click()
    found = axe.Axe().run(page, options={"preload": False}).response["violations"]
    page.keyboard.press("Escape")
    assert not found, json.dumps([(v["id"], [n["html"] for n in v["nodes"]]) for v in found])


def test_everything_fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    for name in ("Play", "Loop line", "Microphone"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["height"] >= 40
    assert page.locator(".words").bounding_box()["height"] > 250


LONG_NAME = "A Name as Long as No Phone Is Wide (Remastered, with Everybody, Live from Everywhere) " * 3
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitän" * 2


@pytest.fixture(scope="module")
def crowded(browser: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of long names, long words and lines from right to left."""
    made = tmp_path_factory.mktemp("crowded") / "page"
    shutil.copytree(folder, made)
    script = (made / "song.js").read_text(encoding="utf-8")
    song = json.loads(script[script.index("{") : script.rindex("}") + 1])
    arabic = [["يا", 14.0, 15.0], ["ليل", 15.0, 16.0]]
    song |= {"title": LONG_NAME, "artist": "b" * 300, "lines": [
        {"start": 1.0, "end": 9.0, "words": [[LONG_WORD, 1.0, 9.0]]},
        {"start": 9.5, "end": 13.0, "words": [["W" * 18, 9.5, 11.0], ["wide", 11.0, 13.0]]},
        {"start": 14.0, "end": 16.0, "words": arabic},
    ]}  # fmt: skip
    (made / "song.js").write_text(f"singalong.setSong({json.dumps(song)});\n", encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((made / "index.html").as_uri())
    yield page
    page.close()


@pytest.mark.parametrize("size", [(390, 844), (360, 740), (320, 568), (844, 390), (1100, 800)])
@pytest.mark.parametrize("message", ["", "The file ends early."])
def test_long_names_and_words_leave_room(crowded: Any, size: tuple[int, int], message: str) -> None:
    """On phones upright, a small one, one on its side, and a desk: nothing lies over anything or beyond the edge."""
    crowded.evaluate("(text) => singalong.page.tell(text)", message)
    crowded.set_viewport_size({"width": size[0], "height": size[1]})
    wait_for(crowded, f"() => innerWidth === {size[0]}")
    crowded.evaluate("() => singalong.page.lyrics.fit()")
    assert crowded.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
        *size
    ]
    boxes = {name: crowded.locator(name).bounding_box() for name in ("header", ".words", ".pitch", "footer")}
    above = crowded.locator("#message").bounding_box() if message else boxes["header"]
    assert above["y"] + above["height"] <= boxes[".words"]["y"] + 0.5
    for name in (".words", ".pitch"):
        assert boxes[name]["y"] + boxes[name]["height"] <= boxes["footer"]["y"] + 0.5, name
    assert boxes[".words"]["height"] > (60 if message else 100)
    assert boxes[".pitch"]["height"] > 70
    readouts = crowded.locator(".readouts").bounding_box()
    assert readouts["y"] + readouts["height"] <= boxes["footer"]["y"]
    assert crowded.locator(".words").evaluate("(words) => words.scrollWidth <= words.clientWidth")
    assert crowded.locator("h1").get_attribute("title") == LONG_NAME


def test_an_instrumental_has_a_lane_that_fits_and_says_so(browser: Any, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "page")
    script = (folder / "song.js").read_text(encoding="utf-8")
    song = json.loads(script[script.index("{") : script.rindex("}") + 1])
    song |= {"lines": [], "f0": {"hop": 1.0, "cents": [None] * 23}}
    (tmp_path / "page" / "song.js").write_text(f"singalong.setSong({json.dumps(song)});\n", encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((tmp_path / "page" / "index.html").as_uri())
    page.wait_for_timeout(200)
    for height in (900, 800):
        page.set_viewport_size({"width": 1280, "height": height})
        wait_for(page, f"() => innerHeight === {height}")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        readouts, footer = (page.locator(name).bounding_box() for name in (".readouts", "footer"))
        assert readouts["y"] + readouts["height"] <= footer["y"]
    assert page.locator("#lane").get_attribute("aria-label") == "No singer was heard"
    assert page.locator("#lane").bounding_box()["height"] > 400
    page.close()


def test_a_word_of_several_lines_fills_through_them(crowded: Any) -> None:
    crowded.set_viewport_size({"width": 390, "height": 844})
    wait_for(crowded, "() => innerWidth === 390 && document.querySelectorAll('.word.long').length === 2")
    assert crowded.locator(".word.long").all_text_contents() == [LONG_WORD, "W" * 18]
    assert lit(crowded, 3.0) == [LONG_WORD]
    shown = crowded.locator(".word.lit").evaluate("(word) => getComputedStyle(word).backgroundImage")
    assert shown.startswith("linear-gradient(to right, ")
    assert shown.count(" 25%") == 2
    assert lit(crowded, 15.5) == ["ليل"]
    assert crowded.locator(".line.active").evaluate("(line) => getComputedStyle(line).direction") == "rtl"


def test_a_missing_chunk_is_told(browser: Any, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "page")
    (tmp_path / "page" / "media" / "0000.js").unlink()
    page = browser.new_page()
    page.goto((tmp_path / "page" / "index.html").as_uri())
    page.get_by_role("button", name="Play").click()
    wait_for(page, "() => !document.getElementById('message').hidden")
    assert page.locator("#message").text_content().endswith("media/0000.js is missing.")
    assert page.get_by_role("button", name="Play").is_visible()
    page.close()
