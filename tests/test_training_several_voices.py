"""Excerpts in which several voices sing, and the network that learns to hear them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from stemfeatures.constants import FRAME_RATE, N_PITCH_CANDIDATES
from stemfeatures.descriptors.voices import to_hertz, to_midi
from stemfeatures.errors import DatasetError
from stemfeatures.models.notes import partial_bins
from stemfeatures.models.voices import LOWEST_SUNG, N_FEATURES, N_SUNG, VoiceConfig, VoiceNet
from stemfeatures.spectra.thirds import N_THIRDS
from stemfeatures.training import several_voices as training
from stemfeatures.training.data import choirs
from stemfeatures.training.data.choirs import Choir, ChoirSource

SR, SECONDS = 22_050, 24.0
TINY = VoiceConfig(channels=6, context=2, counting=4)


def _song(folder: Path, *hertz: float) -> Path:
    """Voices that are sines from the second second on, over a soft bass."""
    folder.mkdir(parents=True)
    t = np.arange(round(SECONDS * SR)) / SR
    sung = [0.1 * np.sin(2 * np.pi * hz * t) * (t >= 2) for hz in hertz]
    stems = {"vocals": sum(sung, np.zeros(len(t))), "bass": 0.05 * np.sin(2 * np.pi * 55 * t)}
    for name in ("vocals", "bass", "drums", "other"):
        sf.write(folder / f"{name}.flac", stems.get(name, np.zeros(len(t))), SR)
    sf.write(folder / "mixture.flac", sum(stems.values()), SR)
    at = np.arange(round(SECONDS * 100)) / 100
    voices = [{"times_s": at.tolist(), "f0_hz": np.where(at >= 2, hz, 0).tolist()} for hz in hertz]
    (folder / "truth.json").write_text(json.dumps({"f0": {"vocals": voices}, "notes": {}}))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    _song(tmp_path / "songs" / "1", 220.0)
    _song(tmp_path / "songs" / "2", 330.0, 440.0)
    _song(tmp_path / "leads" / "3")
    return tmp_path / "songs", tmp_path / "leads"


def test_what_is_drawn_sounds_as_its_truth_says(folders: tuple[Path, Path]) -> None:
    source = ChoirSource([folders[0]], [folders[1]])
    numbers = set()
    for seed in range(24):
        mixture, voices = source.draw(np.random.default_rng(seed))
        again = source.draw(np.random.default_rng(seed))
        np.testing.assert_array_equal(mixture, again[0])
        assert len(mixture) == 20 * SR
        assert np.abs(mixture).max() == pytest.approx(0.7)
        assert voices.shape[1] == 1 + 20 * SR // 512
        numbers.add(len(voices))
        power = np.abs(np.fft.rfft(mixture)) ** 2
        for midi in voices:
            hertz = to_hertz(np.unique(midi[np.isfinite(midi)]))
            assert set(np.rint(hertz)) <= {220, 330, 440}
            for hz in hertz:  # a line that stands out in the spectrum of 20 s
                around = power[round(20 * hz) - 100 : round(20 * hz) + 100]
                assert around.max() > 1e3 * np.median(around)
    assert numbers == {0, 1, 2, 3}


def test_a_voice_that_sings_in_a_part_is_silent_in_the_other(folders: tuple[Path, Path]) -> None:
    source = ChoirSource([folders[0]], [folders[1]])
    cut = 0
    for seed in range(60):
        _, voices = source.draw(np.random.default_rng(seed))
        cut += sum(np.isnan(midi).sum() > 2.5 * FRAME_RATE for midi in voices[1:])
    assert cut > 2


def test_songs_that_are_of_no_use_are_told(tmp_path: Path) -> None:
    _song(tmp_path / "songs" / "2", 330.0, 440.0)
    with pytest.raises(DatasetError, match="has one singer alone"):
        ChoirSource([tmp_path / "songs"], [])


def test_recorded_phrases_are_where_their_truth_is(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = np.arange(2 * 44_100) / 44_100
    phrase = {
        "path": "a.wav", "at_s": 0.0, "voice": "a", "sung": True, "tonic": None, "minor": None, "bpm": None,
        "start": 0, "length": len(t), "gain": 1.0, "f0_start": 0, "f0_length": 401,
    }  # fmt: skip
    bank = tmp_path / "bank"
    bank.mkdir()
    np.save(bank / "audio.npy", (8000 * np.sin(2 * np.pi * 277.18 * t)).astype(np.int16))
    np.save(bank / "f0.npy", np.full(401, 277.18, np.float32))
    (bank / "recordings.json").write_text(json.dumps({"version": 1, "phrases": [phrase], "held_out": [], "files": {}}))
    source = ChoirSource([folders[0]], [], bank)
    y, midi = source._recorded(np.random.default_rng(0))
    assert set(midi[np.isfinite(midi)].round(1)) == {61.0}
    loud = np.array([np.abs(y[max(0, 512 * k - 256) : 512 * k + 256]).max() > 0.05 for k in range(len(midi))])
    assert (loud == np.isfinite(midi)).mean() > 0.98
    assert 0.6 < loud.mean() < 1


def _known(n: int, seed: int, n_frames: int = 160) -> list[Choir]:
    """Excerpts whose spectra are the partials of one voice or two, the second in half of the frames."""
    random, found = np.random.default_rng(seed), []
    fine, _ = partial_bins(LOWEST_SUNG, N_SUNG)
    for _ in range(n):
        features = np.zeros((n_frames, N_FEATURES + 1), np.float16)
        one, two = 5 + random.integers(35, size=2)
        two += 4 * (one == two)
        sings = np.arange(n_frames) // 40 % 2 == random.integers(2)
        voices = np.full((2, n_frames), np.nan, np.float32)
        for row, (place, there) in enumerate(((one, np.ones(n_frames, bool)), (two, sings))):
            bins = fine[2::5, place]
            features[np.ix_(np.flatnonzero(there), np.where(bins < N_THIRDS, bins, N_FEATURES))] = 2
            voices[row, there] = LOWEST_SUNG + place
        midi = np.full((n_frames, N_PITCH_CANDIDATES), np.nan)
        midi[:, 0], salience = voices[0], np.zeros(midi.shape)
        salience[:, 0] = 0.9
        found.append(Choir(features[:, :-1], midi, salience, np.ones(n_frames), voices))
    return found


def test_the_network_learns_to_tell_two_voices_from_one() -> None:
    network = VoiceNet(VoiceConfig(channels=8, context=3, counting=6))
    losses: list[float] = []
    training.learn(network, _known(12, 0), steps=60, on_step=lambda _, loss: losses.append(loss))
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:10])
    told = training.several_scores(network, _known(6, 1))
    assert told["several"] == pytest.approx(0.5)
    assert told["average_precision"] > 0.9
    assert told["recall_at_0.8"] > 0.8


def test_pieces_are_moved_with_their_truth() -> None:
    choir = _known(1, 3)[0]
    bins = partial_bins(LOWEST_SUNG, N_SUNG)[0][2::5]
    for seed in range(6):
        features, planes, target, several = training.draw(choir, np.random.default_rng(seed))
        assert features.shape == (training.N_FRAMES, N_FEATURES)
        place = target[0].argmax(axis=1)[several == 0][0]
        frame = int(np.flatnonzero(several == 0)[0])
        # Its fundamental and second partial, to a third of a semitone, and the candidate.
        for row in (1, 2):
            middle = bins[row, place] + round(3 * float(target[1, frame, place]))
            assert features[frame, middle] > 0.5
        assert planes[0, frame].argmax() in (place - 1, place, place + 1)


def test_the_command_hears_learns_and_writes(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "voices.safetensors"
    monkeypatch.setattr(training, "VoiceConfig", lambda channels=6: TINY)
    words = "--songs {} --instrumentals {} --unseen {} --excerpts 2 --steps 2 --licence CC0-1.0 -o {}"
    training.main(words.format(*folders, folders[0], out).split())
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["several_voices"]
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["metrics"]["several_voices"] == told
    assert told["frames"] == 1 + 20 * SR // 512
    assert card["data"][0]["excerpts"] == 2
    assert card["data"][0]["minutes"] == 0.7
    assert card["training"]["command"].startswith("python -m stemfeatures.training.several_voices --songs ")
    network = VoiceNet.load(out)
    assert network.config == TINY
    assert card["training"]["parameters"] == sum(x.numel() for x in network.parameters())


def test_what_is_heard_of_a_voice_alone(folders: tuple[Path, Path]) -> None:
    from stemfeatures.models import checkpoints

    t = np.arange(3 * SR) / SR
    voice = sum(np.sin(2 * np.pi * 220 * k * t) / k for k in range(1, 9))
    known = np.full((1, 130), 57.0, np.float32)
    heard = choirs.hear_choir(checkpoints.load_for_inference(), (0.1 * voice).astype(np.float32), known)
    assert heard.features.shape == (130, N_FEATURES)
    assert heard.voices.shape == (1, 130)
    first = heard.midi[20:110, 0]
    assert np.median(np.abs(first - to_midi(220.0))) < 0.3
    np.testing.assert_allclose(heard.planes[0, 60].argmax(), 57 - LOWEST_SUNG)
