"""Training of the phone network at tiny size: takes with known phones, and a network that learns them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyworld")
pytest.importorskip("pocketsphinx")

from stemfeatures.errors import ModelError
from stemfeatures.generator.sing.voicebank import VoiceBank, stored_lines
from stemfeatures.lyrics import Aligner
from stemfeatures.lyrics.acoustic_model import FILLERS, SILENCE, AcousticModel, installed_model, read_acoustic_model
from stemfeatures.lyrics.cepstra import mel_power
from stemfeatures.lyrics.observations import network_features, observe
from stemfeatures.lyrics.phone_network import SHIPPED, STRIDE, PhoneNetwork
from stemfeatures.lyrics.singing import singing_model
from stemfeatures.lyrics.vocals import Vocals
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


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return singing_model(read_acoustic_model(installed_model() / "en-us"))


def _vocals(rng: np.random.Generator, gain: float = 1.0) -> Vocals:
    """Two seconds of a buzz that somebody sings, with noise in the mixture."""
    n = 32_000
    buzz = np.sign(np.sin(2 * np.pi * 200 * np.arange(n) / 16_000)) * np.abs(np.sin(np.arange(n) / 3_000))
    voiced = np.arange(87) >= 20
    signal = (gain * 0.1 * buzz).astype(np.float32)
    mixture = signal + (gain * 0.05 * rng.standard_normal(n)).astype(np.float32)
    return Vocals(signal, voiced, 2.0, perhaps_voiced=voiced, mixture=mixture)


def test_features_hold_what_gaussians_say_and_bands_of_both_without_gain(model: AcousticModel):
    quiet, loud = (_vocals(np.random.default_rng(0), gain) for gain in (1.0, 4.0))
    audible, found = network_features(quiet, model)
    seen = observe(quiet)
    n_phones = len(model.phones)
    assert found.shape == (-(-int(audible.sum()) // STRIDE), n_phones + 76)
    np.testing.assert_array_equal(audible, seen.audible)
    plain = model.log_likelihoods(seen.streams[:, ::STRIDE], model.plain_senones.ravel())
    best = plain.reshape(len(found), n_phones, 3).max(axis=2)
    speech = [k for k, name in enumerate(model.phones) if name not in FILLERS]
    expected = np.maximum(best - best[:, speech].max(axis=1, keepdims=True), -30) / 10
    np.testing.assert_allclose(found[:, :n_phones], expected, atol=1e-4)
    np.testing.assert_allclose(found[:, n_phones : n_phones + 13], seen.streams[0, ::STRIDE] / 20, atol=1e-5)
    vocals, mixture = found[:, n_phones + 26 : n_phones + 51], found[:, n_phones + 51 :]
    assert (mixture - vocals).mean() > 0.5  # the noise
    assert abs(float(vocals[20:].mean())) < 0.3  # about their mean
    louder = network_features(loud, model)[1][:, n_phones + 26 :]
    np.testing.assert_allclose(louder, found[:, n_phones + 26 :], atol=0.02)
    alone = network_features(replace(quiet, mixture=None), model)[1]
    np.testing.assert_array_equal(alone[:, n_phones + 26 : n_phones + 51], alone[:, n_phones + 51 :])
    assert network_features(replace(quiet, voiced=np.zeros(87, bool), perhaps_voiced=None), model)[1].size == 0


def test_colours_change_vocals_and_mixture_alike():
    rng = np.random.default_rng(0)
    mel = np.exp(rng.normal(12, 2, (50, 25)))
    vocals, mixture = phones.coloured(mel, 2 * mel, rng=np.random.default_rng(3))
    assert vocals.shape == mixture.shape == mel.shape
    ratio = mixture / vocals
    assert np.all((ratio > 1.7) & (ratio < 2.01))  # up to 0.15 of the mixture again
    assert np.abs(np.log(vocals / mel)).max() > 0.3
    again, _ = phones.coloured(mel, 2 * mel, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(again, vocals)


PHONES = (SILENCE, "T", "S")


def _noises(n: int, rng: np.random.Generator) -> phones.Example:
    """Classes 0, 1 and 2 in runs, each with its own band lifted in the vocals."""
    label = np.repeat(rng.integers(0, 3, n // 20 + 1), 20)[:n]
    x = rng.normal(0, 0.5, (n, len(PHONES) + 76)).astype(np.float16)
    for k, band in enumerate((2, 10, 18)):
        first = len(PHONES) + 26 + band
        x[label == k, first : first + 4] += 2
    return phones.Example((x, x + np.float16(0.1)), label)


def test_a_network_learns_what_is_there_and_is_kept(tmp_path: Path):
    rng = np.random.default_rng(0)
    network = phones.train([_noises(800, rng) for _ in range(8)], PHONES, epochs=40, channels=16)
    scores = phones.frame_scores(network, [_noises(800, rng)])
    assert scores["frames_right"] > 0.85
    assert scores["sung_frames_right_by_gaussians"] < 0.5  # those are noise here
    network.save(tmp_path / "net.safetensors", {"metrics": scores})
    again = PhoneNetwork.load(tmp_path / "net.safetensors")
    x = _noises(7000, rng).features[0].astype(np.float32)
    found = network.log_ratios(x)
    np.testing.assert_allclose(again.log_ratios(x), found, atol=0.1)
    np.testing.assert_allclose(network.log_ratios(x[:6500])[:6400], found[:6400], atol=1e-4)  # windows do not show
    assert found.shape == (7000, len(PHONES))
    assert read_card(tmp_path / "net.safetensors")["metrics"] == scores
    # A phone that was not heard is said by its kin, or is silence.
    network.log_prior[network.phones.index("T")] = 0
    assert network.columns([SILENCE, "S", "T", "CH"]) == [[0], [2], [0], [0]]
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="broken"):
        PhoneNetwork.load(tmp_path / "broken.safetensors")


def test_stretches_shorter_than_a_crop_come_again():
    x, label = phones._crop(_noises(40, np.random.default_rng(0)), np.random.default_rng(0))
    assert x.shape == (phones.CROP, len(PHONES) + 76)
    np.testing.assert_array_equal(label[:40], label[40:80])
    np.testing.assert_array_equal(x[:40], x[40:80])


def test_the_shipped_network_tells_phones_better_than_the_gaussians():
    metrics = read_card(SHIPPED)["metrics"]["held_out"]
    assert metrics["sung_frames_right"] > 1.5 * metrics["sung_frames_right_by_gaussians"]
    network = PhoneNetwork.load(SHIPPED)
    assert network.phones == read_acoustic_model(installed_model() / "en-us").phones
    assert sum(len(x) for x in network.columns(network.phones)) >= len(network.phones)


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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--held-out", *VoiceBank.default().singers], "all singers are held out"),
        (
            ["--takes", "0", "--held-out-takes", "0"],
            "nothing is heard in these takes: make them longer or more [training of phones]",
        ),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused_in_one_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit, match="2"):
        phones.main([*words, "-o", str(tmp_path / "phones.safetensors")])
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


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
    assert heard.phones.shape == (-(-int(heard.audible.sum()) // STRIDE), len(aligner.acoustics.units.phones))
    assert mel_power(takes[0].vocals.signal).shape[0] == len(heard.audible)
