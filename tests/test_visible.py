"""Names that would move the cursor, rename the window or turn writing around, through all that prints."""

from __future__ import annotations

import ast
import io
import json
import os
import sys
from pathlib import Path

import pytest
from extract_helper import write_tone
from networks import tiny_checkpoint

from pipelines.cli import main as cli
from pipelines.commands import _text
from pipelines.commands._text import echo, json_text, visible

COMMANDS = Path(_text.__file__).parent
#: Sets the title of the window, blinks by an eight-bit control, turns letters around, goes back to the line's begin.
EVIL = "a\x1b]0;EVIL\x07\x9b5m\u202egpj\u2066\rEVIL"
#: None of these may come out, in whatever words. (The progress line has escape sequences of its own.)
RAW = ("\x1b]0", "\x07", "\x9b", "\u202e", "\u2066", "\rEVIL")


class Terminal(io.StringIO):
    """Where somebody watches."""

    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in place of both streams, from now on."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def test_no_command_lets_a_name_control_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    music, out, model = tmp_path / f"music {EVIL}", tmp_path / "features", str(tiny_checkpoint(tmp_path))
    for i in range(3):
        write_tone(music / f"{i} {EVIL}.wav", f0=220.0 + 50 * i)
    broken = music / f"broken {EVIL}.wav"
    broken.write_bytes(b"no audio at all")
    shared = ["-m", model, "-d", "cpu"]
    track = f"0 {EVIL}.wav"
    runs = {
        "dry run": (["extract", str(music), "-o", str(out), *shared, "-j", "1", "--dry-run"], 3),
        "extract": (["extract", str(music), "-o", str(out), *shared, "-j", "1"], 3),
        "nothing there": (["extract", str(tmp_path / EVIL), "-o", str(out)], 2),
        "separate": (["separate", str(music), "-o", str(tmp_path / f"stems {EVIL}"), *shared], 3),
        "describe": (["describe", str(music), *shared], 3),
        "describe --json": (["describe", str(music), *shared, "--json"], 3),
        "validate": (["validate", str(music)], 3),
        "validate --json": (["validate", str(music), "--json"], 3),
        "status": (["status", str(out)], 0),
        "status --json": (["status", str(out), "--json"], 0),
        "check": (["check", str(out)], 0),
        "query": (["query", str(out), "SELECT track_id, source_uri FROM tracks"], 0),
        "query --csv": (["query", str(out), "SELECT track_id FROM tracks", "--csv"], 0),
        "query --json": (["query", str(out), "SELECT track_id FROM tracks", "--json"], 0),
        "similar": (["similar", str(out), track], 0),
        "similar --json": (["similar", str(out), track, "--json"], 0),
        "report": (["report", str(out), "-o", str(tmp_path / f"report {EVIL}")], 0),
    }
    for name, (arguments, code) in runs.items():
        terminal.seek(0)
        terminal.truncate()
        got = cli(arguments)
        said = terminal.getvalue()
        assert got == code, f"{name}: {said}"
        assert [raw for raw in RAW if raw in said] == [], name
        if name not in ("check", "status", "status --json"):
            assert "EVIL" in said, name  # the name was there
    next((out / "tracks").glob("*.parquet")).unlink()
    for arguments in (["check", str(out)], ["check", str(out), "--json"], ["status", str(out)]):
        terminal.seek(0)
        terminal.truncate()
        assert cli(arguments) == 3
        said = terminal.getvalue()
        assert "EVIL" in said or arguments[0] == "status"
        assert [raw for raw in RAW if raw in said] == []


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS refuse such names")
def test_names_that_are_not_utf8_are_spelt_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As tables spell them, whichever command names the file."""
    music, shared = tmp_path / "music", ["-m", str(tiny_checkpoint(tmp_path)), "-d", "cpu", "-q"]
    write_tone(tmp_path / "tone.wav", f0=220.0)
    music.mkdir()
    (tmp_path / "tone.wav").rename(music / os.fsdecode(b"tone \xff\xe9.wav"))
    (music / os.fsdecode(b"broken \xff.wav")).write_bytes(b"no audio at all")
    named = [str(music / name) for name in (r"broken \xff.wav", r"tone \xff\xe9.wav")]
    assert cli(["describe", str(music), *shared]) == 3
    told = capsys.readouterr()
    assert named[1] in told.out
    assert f"failed: {named[0]}: " in told.err
    assert cli(["describe", str(music), "--json", *shared]) == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["input"] == named[1]
    assert cli(["validate", str(music), "--json"]) == 3
    assert [problem["path"] for problem in json.loads(capsys.readouterr().out)["problems"]] == [named[0]]
    assert cli(["separate", str(music), "-o", str(tmp_path / "stems"), *shared]) == 3
    assert f"failed: {named[0]}: " in capsys.readouterr().err
    assert visible(os.fsdecode(b"\xff\x80")) == r"\xff\x80"
    assert visible("\ud800") == r"\ud800"


def test_text_and_json_that_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"one\n{EVIL}")
    assert capsys.readouterr().out == f"one\n{visible(EVIL)}\n"
    echo("\ue09b[31mred", stream=sys.stderr)  # as our own tables have it
    assert capsys.readouterr().err == "\x1b[31mred\n"
    assert visible("\ue09b[31m") == "\\ue09b[31m"
    values = {"name": f"{EVIL}\U000e0041\ud800é", "n": [1, None]}
    text = json_text(values)
    assert text.isprintable()
    assert "é" in text
    assert json.loads(text) == values


def test_nothing_else_prints() -> None:
    found = []
    for path in [*COMMANDS.glob("*.py"), COMMANDS.parent / "cli.py"]:
        if path.name in ("_text.py", "_progress.py", "_json_log.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append(f"{path.name}:{node.lineno}")
    assert found == []
