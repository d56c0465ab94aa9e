"""How errors spell the names that they speak of."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from pathlib import Path

import pytest

from pipelines.cli import main as cli
from pipelines.commands._json_log import write_event
from stemfeatures import audio
from stemfeatures._util.files import printable_name
from stemfeatures.errors import DecodeError, StemfeaturesError, printable_message, printable_text

LATIN = os.fsdecode("canción.wav".encode("latin-1"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LATIN, r"canci\xf3n.wav"),
        ("日本 😀 ü.wav", "日本 😀 ü.wav"),
        ("\ud800", r"\ud800"),
        (r"\udcf3.wav", r"\udcf3.wav"),
    ],
)
def test_names_can_be_printed(text: str, expected: str) -> None:
    assert printable_text(text) == printable_name(text) == expected
    expected.encode()


def test_names_in_quotes_are_spelt_alike() -> None:
    for message in (f"no such file: {LATIN!r}", str(FileNotFoundError(2, "no such file", LATIN)), f"see {LATIN}"):
        assert r"canci\xf3n.wav" in printable_message(message)
    # A backslash of the name itself is written twice.
    assert printable_message(repr("\\udcf3.wav")) == r"'\\udcf3.wav'"


def test_errors_can_be_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LATIN
    for error in (
        DecodeError("broken", source=str(path)),
        StemfeaturesError(f"{path} is broken").about(str(path)),
        DecodeError(f"{path}: broken", source="x").read_through("x", str(path)),
        DecodeError(str(FileNotFoundError(2, "no such file", str(path)))),
    ):
        assert r"canci\xf3n.wav" in str(error)
        str(error).encode()
    with pytest.raises(DecodeError, match=r"canci\\xf3n\.wav: no such file"):
        audio.load(path)
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    write_event("error", message=f"no such file: {str(path)!r}")
    assert json.loads(stderr.getvalue())["message"].endswith(r"canci\xf3n.wav'")


@pytest.mark.parametrize("verb", ["separate", "validate", "extract", "align", "status", "report"])
def test_no_command_writes_a_name_as_surrogates(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    path = tmp_path / LATIN
    logging.getLogger().handlers.clear()
    for kind in ("missing", "file"):
        if kind == "file":
            path.write_bytes(b"no audio at all")
        more = {"align": [str(path)], "extract": ["-o", str(tmp_path / "x"), "-j", "1"]}
        out = {"separate": ["-o", str(tmp_path / "y")], "report": ["-o", str(tmp_path / "r")]}
        assert cli([verb, str(path), *more.get(verb, []), *out.get(verb, [])]) != 0
        said = "".join(capsys.readouterr())
        assert r"canci\xf3n" in said
        assert r"\udc" not in said
        said.encode()
