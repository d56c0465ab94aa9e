"""What a page is made of: chunks of stems, lines in the order in which they are sung, and what the command writes."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from networks import tiny_checkpoint

from pipelines import cli
from stemfeatures.audio import resample
from stemfeatures.lyrics import AlignedLine, AlignedWord, Alignment, parse_lyrics
from stemfeatures.lyrics.text import LyricsText
from stemfeatures.lyrics.vocals import Vocals
from stemfeatures.singalong import write_page
from stemfeatures.singalong.media import CHUNK_S, LEAD_S, SAMPLE_RATE, TAIL_S, MediaWriter
from stemfeatures.singalong.page import PageError, require_free
from stemfeatures.singalong.song import page_lines


def noise(seconds: float, rate: int, channels: int, seed: int = 0) -> np.ndarray:
    """Noise below 4 kHz, which Opus keeps well."""
    y = np.random.default_rng(seed).normal(0, 0.1, (channels, round(seconds * rate)))
    spectrum = np.fft.rfft(y)
    spectrum[:, np.fft.rfftfreq(y.shape[1], 1 / rate) > 4000] = 0
    return np.fft.irfft(spectrum, y.shape[1]).astype(np.float32)


def chunk(path: Path) -> dict[str, np.ndarray]:
    """Samples (channels, n) of a chunk by stem."""
    number, texts = re.fullmatch(r"singalong\.addMedia\((\d+), (\{.*\})\);\n", path.read_text()).groups()
    assert path.name == f"{int(number):04d}.js"
    found = {}
    for stem, text in json.loads(texts).items():
        y, rate = soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="float32", always_2d=True)
        assert rate == SAMPLE_RATE
        found[stem] = y.T
    return found


@pytest.mark.parametrize("channels", [1, 2])
def test_chunks_hold_the_samples_that_they_are_to_hold(tmp_path: Path, channels: int) -> None:
    y = noise(21.3, SAMPLE_RATE, channels)
    with MediaWriter(tmp_path, SAMPLE_RATE, channels) as media:
        for at in range(0, y.shape[1], 100_001):
            media.write({"vocals": y[:, at : at + 100_001], "bass": -y[:, at : at + 100_001]})
        layout = media.finish()
    assert layout == {"stems": ["vocals", "bass"], "seconds": CHUNK_S, "lead": LEAD_S, "count": 3, "sampleRate": 48_000}
    bounds = [(0, CHUNK_S + TAIL_S), (CHUNK_S - LEAD_S, 2 * CHUNK_S + TAIL_S), (2 * CHUNK_S - LEAD_S, 21.3)]
    assert len(list(tmp_path.iterdir())) == 3
    for k, (start, stop) in enumerate(bounds):
        expected = y[:, round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)]
        found = chunk(tmp_path / f"{k:04d}.js")
        for stem, sign in (("vocals", 1), ("bass", -1)):
            assert found[stem].shape == expected.shape
            # After the lead, in which the decoder settles: what was put in, in its place.
            settled = slice(round(LEAD_S * SAMPLE_RATE), None)
            error = found[stem][:, settled] - sign * expected[:, settled]
            assert 10 * np.log10((expected**2).mean() / (error**2).mean()) > 10


def test_other_rates_and_many_channels_end_at_the_same_time(tmp_path: Path) -> None:
    y = noise(1.5, 22_050, 6)
    with MediaWriter(tmp_path, 22_050, 6) as media:
        media.write({"other": y})
        assert media.finish()["count"] == 1
    assert chunk(tmp_path / "0000.js")["other"].shape == (1, 72_000)


def test_a_song_that_ends_with_a_chunk_has_no_empty_one(tmp_path: Path) -> None:
    with MediaWriter(tmp_path, SAMPLE_RATE, 1) as media:
        media.write({"other": np.zeros((1, round(CHUNK_S * SAMPLE_RATE)), np.float32)})
        assert media.finish()["count"] == 1


LYRICS = "[Chorus]\nHold me x2\n\nnever sung\nlight !\n"


def _word(text: str, index: int, line: int, start: float | None = None) -> AlignedWord:
    return AlignedWord(text, index, line, start, None if start is None else start + 0.4, 0.9)


def _alignment(words: tuple[AlignedWord, ...], repeats: tuple[AlignedWord, ...]) -> Alignment:
    return Alignment(words, tuple(AlignedLine("", None, None) for _ in range(4)), repeats, "ok", 1.0, 20.0)


def test_lines_come_in_the_order_in_which_they_are_sung() -> None:
    text = parse_lyrics(LYRICS)
    assert [token.text for token in text.tokens] == ["[Chorus]", "Hold", "me", "x2", "never", "sung", "light", "!"]
    words = (
        _word("[Chorus]", 0, 0), _word("Hold", 1, 1, 1.0), _word("me", 2, 1, 1.5), _word("x2", 3, 1),
        _word("never", 4, 2), _word("sung", 5, 2), _word("light", 6, 3, 5.0), _word("!", 7, 3),
    )  # fmt: skip
    repeats = (_word("Hold", 1, 1, 3.0), _word("me", 2, 1, 3.5), _word("me", 2, 1, 8.0))
    lines = page_lines(text, _alignment(words, repeats))
    assert [(line["start"], " ".join(word[0] for word in line["words"])) for line in lines] == [
        (None, "[Chorus]"),
        (1.0, "Hold me"),
        (3.0, "Hold me"),
        (None, "never sung"),
        (5.0, "light !"),
        (8.0, "me"),
    ]
    assert lines[4] == {"start": 5.0, "end": 5.4, "words": [("light", 5.0, 5.4), ("!", None, None)]}


def test_lyrics_that_do_not_fit_are_lines_without_times() -> None:
    text = parse_lyrics("one two\nthree")
    words = tuple(_word(token.text, k, token.line) for k, token in enumerate(text.tokens))
    lines = page_lines(text, _alignment(words, ()))
    assert [line["start"] for line in lines] == [None, None]
    assert [len(line["words"]) for line in lines] == [2, 1]


def song_of(folder: Path) -> dict:
    """What ``song.js`` of a page holds."""
    script = (folder / "song.js").read_text(encoding="utf-8")
    return json.loads(script.removeprefix("singalong.setSong(").removesuffix(");\n"))


def test_a_page_is_written_and_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a song.wav", noise(2.0, 22_050, 1)[0], 22_050)
    model = tiny_checkpoint(tmp_path)
    seconds: list[float] = []
    page = write_page(tmp_path / "a song.wav", tmp_path / "page", model=model, on_progress=seconds.append)
    assert page.path == tmp_path / "page" / "index.html"
    assert page.alignment is None
    assert seconds[-1] <= 2.0
    song = song_of(tmp_path / "page")
    assert (song["title"], song["duration"], song["status"], song["lines"]) == ("a song", 2.0, "no_lyrics", [])
    assert song["media"]["stems"] == ["vocals", "drums", "bass", "other"]
    assert len(song["f0"]["cents"]) == 1 + 2 * (44_100 // 512)
    assert song["f0"]["hop"] == pytest.approx(256 / 22_050)
    names = set(re.findall(r'(?:src|href)="([^":]+)"', page.path.read_text(encoding="utf-8")))
    assert len(names) == 10
    for name in names:
        assert (tmp_path / "page" / name).is_file()
    stems = chunk(tmp_path / "page" / "media" / "0000.js")
    expected = resample(noise(2.0, 22_050, 1), 22_050, SAMPLE_RATE)
    error = (sum(stems.values()) - expected)[:, SAMPLE_RATE // 10 :]
    assert 10 * np.log10((expected**2).mean() / (error**2).mean()) > 5  # four lossy stems of noise

    (tmp_path / "page" / "stale.txt").touch()
    write_page(tmp_path / "a song.wav", tmp_path / "page", model=model, title="Again", artist="Somebody")
    assert song_of(tmp_path / "page")["title"] == "Again"
    assert not (tmp_path / "page" / "stale.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []

    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").touch()
    with pytest.raises(PageError, match="holds other files"):
        write_page(tmp_path / "a song.wav", tmp_path / "precious", model=model)
    with pytest.raises(PageError, match="no folder"):
        require_free(tmp_path / "nowhere" / "page")


def test_the_command_tells_what_the_alignment_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stated:
        def __init__(self, model: object, *, device: object) -> None:
            pass

        def from_vocals(self, vocals: Vocals, text: LyricsText) -> Alignment:
            return Alignment((), (), (), "ok", 1.0, vocals.duration_s, {}, "line 2 of each 2 is sung")

    monkeypatch.setattr("stemfeatures.singalong.page.Aligner", Stated)
    audio, lyrics, page = tmp_path / "song.wav", tmp_path / "song.txt", tmp_path / "page"
    soundfile.write(audio, noise(2.0, 22_050, 1)[0], 22_050)
    lyrics.write_text("la")
    asked = ["singalong", str(audio), str(lyrics), "-o", str(page), "--model", str(tiny_checkpoint(tmp_path))]
    assert cli.main([*asked, "--device", "cpu"]) == 0
    assert f"{audio}: line 2 of each 2 is sung\n" in capsys.readouterr().err


def test_the_command_tells_what_went_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "song.wav").write_text("no audio")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert cli.main(["singalong", str(tmp_path / "song.wav"), "-o", str(tmp_path / "page")]) == 3
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"stemfeatures: error: {tmp_path}/song.wav: ")) == ("", True)
    assert not (tmp_path / "page").exists()
    soundfile.write(tmp_path / "song.wav", np.zeros(22_050), 22_050)
    assert cli.main(["singalong", str(tmp_path / "song.wav"), "-o", str(tmp_path / "full")]) == 2
    assert "holds other files" in capsys.readouterr().err
