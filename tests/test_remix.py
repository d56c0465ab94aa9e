"""Stems louder or softer inside of their mixture, and the limiter behind it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from networks import tiny_checkpoint

from pipelines.cli import main
from pipelines.commands.remix import decibels
from stemfeatures import audio
from stemfeatures.audio.limiter import TruePeakLimiter
from stemfeatures.constants import STEMS
from stemfeatures.descriptors import LoudnessMeter
from stemfeatures.separation import Separator
from stemfeatures.separation.remix import linear_gains, remix_stream

SR = 22_050


class KnownSeparator:
    """Gives stems that are known, in blocks of another size than those that come in."""

    stems = ("vocals", "rest")

    def __init__(self, vocals: np.ndarray, size: int) -> None:
        self.vocals, self.size = vocals, size

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        done, came = 0, np.zeros((channels, 0), np.float32)
        for block in blocks:
            came = np.concatenate([came, block], axis=1)
            while came.shape[1] - done >= self.size:
                yield self._stems(came, done, done + self.size)
                done += self.size
        yield self._stems(came, done, came.shape[1])

    def _stems(self, mixture: np.ndarray, start: int, stop: int) -> dict[str, np.ndarray]:
        vocals = self.vocals[:, start:stop]
        return {"vocals": vocals, "rest": mixture[:, start:stop] - vocals}


@pytest.fixture
def parts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    vocals, rest = rng.normal(scale=0.1, size=(2, 2, 10_007)).astype(np.float32)
    return vocals, rest


@pytest.mark.parametrize("gain_db", [-math.inf, -12.0, 6.0])
def test_the_gain_reaches_its_stem_alone(parts, gain_db: float) -> None:
    vocals, rest = parts
    mixture = vocals + rest
    blocks = (mixture[:, i : i + 777] for i in range(0, mixture.shape[1], 777))
    separator = KnownSeparator(vocals, 1000)
    found = np.concatenate(list(remix_stream(separator, blocks, SR, 2, {"vocals": gain_db})), axis=1)
    np.testing.assert_allclose(found, rest + 10 ** (gain_db / 20) * vocals, atol=1e-6)


def test_a_joint_checkpoint_remixes(tmp_path, parts) -> None:
    """0 dB is the input bit for bit; all stems at one gain are the input at that gain."""
    mixture = sum(parts)
    separator = Separator(tiny_checkpoint(tmp_path))
    assert separator.remix(mixture, SR, {"vocals": 0.0, "drums": 0.0}).tobytes() == mixture.tobytes()
    softer = separator.remix(mixture, SR, dict.fromkeys(separator.stems, -6.0))
    np.testing.assert_allclose(softer, mixture * 10 ** (-6 / 20), atol=1e-5)
    silent = separator.remix(mixture[0], SR, {"drums": -math.inf})
    drums = separator.separate_array(mixture[0], SR)["drums"]
    np.testing.assert_allclose(silent, mixture[0] - drums, atol=1e-6)


@pytest.mark.parametrize("gains", [{"piano": 1.0}, {"vocals": math.nan}, {"vocals": math.inf}, {"vocals": 1e9}])
def test_gains_that_make_no_sense_are_refused(gains) -> None:
    with pytest.raises(ValueError, match=r"piano|vocals"):
        linear_gains(gains, ("vocals", "drums"))


def true_peak(y: np.ndarray) -> float:
    """By the meter of loudness, whose filter is another than that of the limiter."""
    meter = LoudnessMeter(SR, len(y))
    meter.update(y)
    meter.update(np.zeros((len(y), SR)))
    return meter.true_peak


@pytest.mark.parametrize("size", [50, 4096, 10**6])
def test_the_limiter_keeps_its_ceiling_whatever_the_blocks(size: int) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(scale=0.3, size=(2, SR))
    y[:, 9_000:9_050] *= 6
    limiter = TruePeakLimiter(SR, 2, ceiling_db=-1.0)
    parts = [limiter.push(y[:, i : i + size]) for i in range(0, y.shape[1], size)]
    limited = np.concatenate([*parts, limiter.finish()], axis=1)
    assert limited.shape == y.shape
    assert true_peak(limited) < 10 ** (-0.9 / 20)
    whole = TruePeakLimiter(SR, 2, ceiling_db=-1.0)
    np.testing.assert_allclose(limited, np.concatenate([whole.push(y), whole.finish()], axis=1), atol=1e-9)
    assert limiter.reduction_db == pytest.approx(20 * np.log10(true_peak(y)) + 1.0, abs=0.5)


def test_what_is_below_the_ceiling_passes_bit_for_bit() -> None:
    y = np.random.default_rng(2).uniform(-0.4, 0.4, size=(1, 5_000))
    limiter = TruePeakLimiter(SR, 1)
    limited = np.concatenate([limiter.push(y[:, :1234]), limiter.push(y[:, 1234:]), limiter.finish()], axis=1)
    assert limited.tobytes() == y.tobytes()
    assert limiter.reduction_db == 0.0


@pytest.fixture
def song(tmp_path, parts) -> Path:
    """Two channels of noise of 16 bits: they stand in 24 bits as they are."""
    y = np.rint(np.clip(sum(parts), -1, 1) * 2**15) / 2**15
    audio.write(tmp_path / "song.wav", y.astype(np.float32), SR, subtype="PCM_16")
    return tmp_path / "song.wav"


@pytest.mark.parametrize("name", ["out.flac", "out.wav"])
def test_a_file_at_0_db_keeps_every_bit(tmp_path, song: Path, name: str) -> None:
    model = tiny_checkpoint(tmp_path)
    command = ["remix", str(song), "--vocals", "0dB", "-o", str(tmp_path / name), "--model", str(model), "-d", "cpu"]
    assert main(command) == 0
    (before, _), (after, _) = audio.load(song), audio.load(tmp_path / name)
    assert after.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    ("name", "subtype", "out"),
    [
        ("a.wav", "PCM_U8", "out.flac"), ("a.wav", "PCM_24", "out.wav"), ("a.wav", "PCM_24", "out.flac"),
        ("a.wav", "FLOAT", "out.wav"), ("a.flac", "PCM_16", "out.flac"), ("a.flac", "PCM_24", "out.wav"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 6])
def test_other_depths_and_channels_at_0_db_keep_every_bit(
    tmp_path, name: str, subtype: str, out: str, channels: int
) -> None:
    y = np.random.default_rng(1).uniform(-0.99, 0.99, (5_003, channels))
    soundfile.write(tmp_path / name, y, 48_000, subtype=subtype)
    model = tiny_checkpoint(tmp_path)
    command = ["remix", str(tmp_path / name), "--vocals", "0dB", "-o", str(tmp_path / out), "--model", str(model)]
    assert main([*command, "-d", "cpu", "-q"]) == 0
    (before, rate), (after, same) = (soundfile.read(tmp_path / f, always_2d=True) for f in (name, out))
    assert (after.shape, same) == ((5_003, channels), rate)
    np.testing.assert_array_equal(after, before)


def test_a_file_that_would_clip_is_lowered_or_limited(tmp_path, song: Path, capsys) -> None:
    model = tiny_checkpoint(tmp_path)
    command = ["remix", str(song), *(f"--{stem}=+12dB" for stem in STEMS), "--model", str(model), "-d", "cpu", "-q"]
    louder = audio.load(song)[0] * 10 ** (12 / 20)
    assert main([*command, "-o", str(tmp_path / "float.wav")]) == 0
    np.testing.assert_allclose(audio.load(tmp_path / "float.wav")[0], louder, atol=1e-4)
    command.remove("-q")
    assert main([*command, "-o", str(tmp_path / "lowered.flac")]) == 0
    assert "lowered by" in capsys.readouterr().out
    lowered, _ = audio.load(tmp_path / "lowered.flac")
    np.testing.assert_allclose(lowered, louder / np.abs(louder).max(), atol=1e-4)
    assert main([*command, "--limit", "-o", str(tmp_path / "limited.flac")]) == 0
    assert "peaks limited by up to" in capsys.readouterr().out
    limited, _ = audio.load(tmp_path / "limited.flac")
    assert limited.shape == louder.shape
    assert true_peak(limited) < 10 ** (-0.9 / 20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to change"),
        (["--gain", "piano=-3"], "unknown stem 'piano'"),
        (["--gain", "piano"], "expected STEM=DB"),
        (["--vocals", "loud"], "expected a gain"),
        (["--vocals", "-12,5dB"], "expected a gain such as -12dB, +3 or off, not '-12,5dB'"),
        (["--vocals", "61dB"], "expected a gain of at most 60 dB, not '61dB'"),
        (["--vocals", "1e9"], "expected a gain of at most 60 dB"),
        (["--vocals", "-3", "--gain", "vocals=-6"], "more than one gain of vocals"),
        (["--vocals", "-3", "--limit", "off"], "expected a ceiling of -60 to 0 dBTP, not 'off'"),
        (["--vocals", "-3", "--limit", "5"], "expected a ceiling"),
    ],
)
def test_wrong_gains_are_told(tmp_path, song: Path, capsys, arguments: list[str], said: str) -> None:
    command = ["remix", str(song), *arguments, "-o", str(tmp_path / "out.wav"), "-m", str(tiny_checkpoint(tmp_path))]
    with contextlib.suppress(SystemExit):
        assert main(command) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("gain", ["-12dB", "-12 dB", "\u221212dB", "-12.0", "-.12e2"])
def test_gains_are_read_as_people_write_them(gain: str) -> None:
    assert decibels(gain) == -12


def test_a_folder_is_no_output(tmp_path, song: Path, capsys) -> None:
    (tmp_path / "out.wav").mkdir()
    command = ["remix", str(song), "--vocals", "-3", "--overwrite", "-m", str(tiny_checkpoint(tmp_path)), "-d", "cpu"]
    assert main([*command, "-o", str(tmp_path / "out.wav")]) == 2
    assert capsys.readouterr().err == f"stemfeatures: error: --out: {tmp_path}/out.wav is a folder, not a file\n"


def test_an_output_that_may_not_be_written_is_named_before_anything_is_computed(
    tmp_path, song: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    assert main(["remix", str(song), "--vocals", "-3", "-o", str(tmp_path / "out.wav")]) == 4
    assert capsys.readouterr().err == f"stemfeatures: error: {tmp_path}/out.wav: Permission denied\n"


def test_a_song_that_cannot_be_read_leaves_nothing_behind(tmp_path, capsys) -> None:
    (tmp_path / "song.mp3").write_bytes(b"no audio at all")
    command = ["remix", str(tmp_path / "song.mp3"), "--vocals", "-12dB", "-o", str(tmp_path / "out.wav")]
    assert main([*command, "-m", str(tiny_checkpoint(tmp_path)), "-d", "cpu"]) == 3
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"stemfeatures: error: {tmp_path}/song.mp3: ")) == ("", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["song.mp3", "tiny.json", "tiny.safetensors"]
