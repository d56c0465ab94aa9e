"""Words of other languages: espeak-ng's phones in English ones, and letters where the program is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("pocketsphinx")

from pipelines import cli
from stemfeatures.errors import ModelError
from stemfeatures.lyrics import Aligner, parse_lyrics
from stemfeatures.lyrics import espeak as module
from stemfeatures.lyrics.acoustic_model import FILLERS
from stemfeatures.lyrics.acoustics import PhoneAcoustics
from stemfeatures.lyrics.espeak import ENGLISH, EspeakLexicon, english_phones
from stemfeatures.lyrics.lexicon import pronunciations

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def test_every_symbol_is_said_with_phones_of_the_model():
    known = set(Aligner().acoustics.units.phones) - FILLERS
    assert {phone for said in ENGLISH.values() for phone in said} <= known


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ʃtɾˈɑːsə", "SH T R AA S AH"),
        ("(en)wˈɛlt(fr)", "W EH L T"),
        ("vɛ̃", "V EH N"),
        ("tʃˈaʊ", "CH AW"),
        ("niɲˈo", "N IY N Y OW"),
        ("", ""),
        ("ʔ", ""),
    ],
)
def test_the_phonetic_alphabet_in_english_phones(ipa: str, phones: str):
    assert english_phones(ipa) == tuple(phones.split())


@needs_espeak
def test_words_are_said_in_their_language():
    german, french = EspeakLexicon("de"), EspeakLexicon("fr")
    assert german("Mädchen,") == [("M", "EH", "D", "SH", "AH", "N")]
    assert french("vin") == [("V", "EH", "N")] or french("vin") == [("V", "AE", "N")]
    assert german("jagen")[0][0] == "Y"
    assert pronunciations("jagen")[0][0] == "JH"
    with pytest.raises(ModelError, match="'nowhere'"):
        EspeakLexicon("nowhere")
    with pytest.raises(ModelError, match="language"):
        EspeakLexicon("--help")


@needs_espeak
def test_all_words_are_asked_for_at_once(monkeypatch: pytest.MonkeyPatch):
    lexicon, single = EspeakLexicon("de"), EspeakLexicon("de")
    tokens = [token.text for token in parse_lyrics("Über sieben Brücken\nmußt du geh'n – (sieben) 7").tokens]
    runs: list[str] = []
    run = EspeakLexicon._run
    monkeypatch.setattr(EspeakLexicon, "_run", lambda self, text: runs.append(text) or run(self, text))
    lexicon.learn(tokens)
    assert len(runs) == 1
    assert all(lexicon(token)[0] for token in tokens if token != "–")
    assert len(runs) == 1
    assert [lexicon(token) for token in tokens] == [single(token) for token in tokens]


def test_letters_stand_in_for_a_missing_program(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    acoustics = PhoneAcoustics(language="de")
    assert "espeak-ng is not installed" in caplog.text
    acoustics.learn(["Straße"])
    assert acoustics.say("Straße") == pronunciations("Straße")


def test_a_program_that_fails_stands_in_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    broken = tmp_path / "espeak-ng"
    broken.write_text('#!/bin/sh\nread first\n[ "$first" = a ] && echo a && exit 0\nexit 3\n')
    broken.chmod(0o755)
    monkeypatch.setattr(module.shutil, "which", lambda name: str(broken))
    lexicon = EspeakLexicon("de")
    lexicon.learn(["Straße", "Welt"])
    assert lexicon("Welt") == pronunciations("Welt")


@needs_espeak
def test_the_command_says_which_language_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "song.txt").write_text("la la")
    assert cli.main(["align", "song.mp3", str(tmp_path / "song.txt"), "--language", "nowhere"]) == 2
    assert "does not know the language 'nowhere'" in capsys.readouterr().err
