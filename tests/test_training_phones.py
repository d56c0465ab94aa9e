"""Training of the phone network at tiny size: takes with known phones, and a network that learns them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyworld")
pytest.importorskip("pocketsphinx")

from stemfeatures.errors import ModelError
from stemfeatures.generator.sing.voicebank import VoiceBank, stored_lines
from stemfeatures.lyrics import Aligner
from stemfeatures.lyrics.acoustic_model import SILENCE
from stemfeatures.lyrics.cepstra import mel_power
from stemfeatures.lyrics.phone_network import STRIDE, PhoneNetwork, phone_features
from stemfeatures.models.small_weights import read_card
from stemfeatures.training import phones
from stemfeatures.training.data.sung_takes import (
    ARPABET,
    lines_for,
    recut,
    rewritten,
    sing_take,
    syllables,
)


@pytest.fixture(scope="module")
def bank() -> VoiceBank:
    return VoiceBank.default()


def test_syllables_have_one_vowel_each_and_cover_the_line(bank):
    for line in stored_lines(bank, "f1"):
        cuts = syllables(line.phones)
        assert [b for _, _, b in cuts[:-1]] == [a for a, _, _ in cuts[1:]]
        assert (cuts[0][0], cuts[-1][2]) == (0, len(line.phones.symbol))
        assert [int(line.phones.nucleus[a:b].sum()) for a, _, b in cuts] == [1] * len(cuts)
        assert all(line.phones.nucleus[k] for _, k, _ in cuts)


def test_lines_held_out_are_never_cut(bank):
    train, held = (lines_for(bank, "m1", held_out=held) for held in (False, True))
    assert sorted(train + held) == list(range(len(bank.lines("m1"))))
    rng = np.random.default_rng(0)
    texts = [recut(bank, "m1", 8, train, rng) for _ in range(20)]
    assert {piece.line for line in texts for piece in line.pieces} <= set(train)
    assert all(line.syllables == 8 for line in texts)
    said = [tuple(bank.phones("m1", line).symbol) for line in texts]
    assert len(set(said)) == len(said)  # no text comes twice
    known = {word for k in held for word in stored_lines(bank, "m1")[k].text.split()}
    assert set(rewritten(bank, "m1", 6, held, rng).words) <= known


def test_phones_of_a_take_are_where_the_voice_sounds(bank):
    rng = np.random.default_rng(1)
    lines = lines_for(bank, "f4", held_out=False)
    y, sung = sing_take(bank, "f4", lambda r: recut(bank, "f4", 5, lines, r), 6.0, rng)
    assert y.shape == (round(6.0 * 22_050),)
    times = np.arange(len(y)) / 22_050
    inside = np.zeros(len(y), bool)
    for _, one in sung:
        for symbol, a, b in one.phones:
            assert symbol in ARPABET
            inside |= (times >= a - 0.1) & (times < b + 0.1)
    assert inside.any()
    assert np.square(y[~inside]).mean() < 1e-4 * np.square(y[inside]).mean()


def test_features_know_neither_gain_nor_equaliser():
    rng = np.random.default_rng(0)
    mel = np.exp(rng.normal(12, 2, (200, 25)))
    audible = rng.random(200) < 0.8
    coloured = 7 * mel * np.exp(rng.normal(0, 0.2, 25))
    np.testing.assert_allclose(phone_features(mel, audible), phone_features(coloured, audible), atol=0.03)


def _noises(n: int, rng: np.random.Generator) -> phones.Example:
    """Classes 0, 1 and 2 in runs, each with its own band lifted."""
    label = np.repeat(rng.integers(0, 3, n // 20 + 1), 20)[:n]
    x = rng.normal(0, 0.5, (n, 25)).astype(np.float32)
    for k, band in enumerate((2, 10, 18)):
        x[label == k, band : band + 4] += 2
    return phones.Example(x, label)


def test_a_network_learns_what_is_there_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(phones, "CROP_S", 1.0)
    network = phones.train([_noises(1600, rng) for _ in range(4)], epochs=12, channels=16)
    scores = phones.frame_scores(network, [_noises(800, rng)])
    assert scores["frames_right"] > 0.85
    network.save(tmp_path / "net.safetensors", {"metrics": scores})
    again = PhoneNetwork.load(tmp_path / "net.safetensors")
    x = _noises(7000, rng).features
    found = network.log_ratios(x)
    np.testing.assert_allclose(again.log_ratios(x), found, atol=0.1)
    np.testing.assert_allclose(network.log_ratios(x[:6500])[:3200], found[:3200], atol=1e-4)  # windows do not show
    assert found.shape == (7000 // STRIDE, len(phones.classes()))
    assert read_card(tmp_path / "net.safetensors")["metrics"] == scores
    # A phone that was not heard is said by its kin, or is silence.
    assert network.log_prior[network.phones.index("T")] == 0
    assert network.columns([SILENCE, "CH"]) == [[0], [0]]
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="broken"):
        PhoneNetwork.load(tmp_path / "broken.safetensors")


def test_takes_are_kept_by_what_they_are_made_from(tmp_path: Path):
    """Not by names: another voice, song, length or seed makes others."""
    for name in VoiceBank.default().singers[:2]:
        shutil.copy(VoiceBank.default()._files[name], tmp_path / f"{name}.npz")
    one, other = VoiceBank.load(tmp_path).singers
    backing, asked = np.arange(1000, dtype=np.float32), ("train", 2, [one], 14.0, 0)

    def made(
        what: object = asked, singers: tuple[str, ...] = (one,), backings: tuple[np.ndarray, ...] = (backing,)
    ) -> str:
        return phones._made_from(what, VoiceBank.load(tmp_path), singers, backings)

    before = made()
    keys = {before, made(("train", 2, [one], 15.0, 0)), made(singers=(other,)), made(backings=(backing + 1,))}
    keys.add(made(backings=()))
    assert len(keys) == 5
    assert made() == before
    shutil.copy(tmp_path / f"{other}.npz", tmp_path / f"{one}.npz")
    assert made() not in keys


def test_takes_are_kept_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run that is stopped while it keeps them leaves no half of a file for the next."""
    kept = tmp_path / "cache" / "takes.pkl"

    def stopped(file: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", stopped)
        with pytest.raises(KeyboardInterrupt):
            phones._stored(kept, iter(["one", "two"]))
    assert list(kept.parent.iterdir()) == []
    assert phones._stored(kept, iter(["one", "two"])) == ["one", "two"]
    assert phones._stored(kept, iter(())) == ["one", "two"]


def test_the_command_trains_a_network_that_aligns(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "phones.safetensors"
    wanted = ["--takes", "2", "--held-out-takes", "1", "--duration", "14", "--epochs", "1", "--channels", "8"]
    phones.main([*wanted, "--cache", str(tmp_path / "takes"), "-o", str(out)])
    assert "sung_frames_right" in capsys.readouterr().out
    card = read_card(out)
    assert card["data"][0]["takes"] == 2
    assert card["data"][0]["held_out_singers"] == ["m4"]
    (kept,) = (tmp_path / "takes").glob("held_out-*.pkl")
    takes = phones._stored(kept, iter(()))
    assert [take.singer for take in takes] == ["m4"]
    aligner = Aligner(network=out)
    alignment = aligner.from_vocals(takes[0].vocals, "\n".join(takes[0].lines))
    assert len(alignment.words) == len(" ".join(takes[0].lines).split())
    assert aligner.acoustics.name == "pocketsphinx en-us and phones"
    heard = aligner.acoustics.hear(takes[0].vocals)
    assert heard.phones.shape == (int(heard.audible.sum()), len(aligner.acoustics.units.phones))
    assert mel_power(takes[0].vocals.signal).shape[0] == len(heard.audible)
