"""Instruments that sound like a voice for moments are no vocals: the evidence of windows and of the whole track."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from frames_helper import FRAME_RATE, SR, track_frames

from stemfeatures.constants import STEMS
from stemfeatures.descriptors import describe, singing
from stemfeatures.descriptors.activity import HeardVocals, active_rows, presence_of_vocals
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.descriptors.singing import (
    FEATURES,
    NO_CONSONANTS,
    SingingModel,
    SingingWindows,
    log_odds,
    singing_model,
    sung_presence,
    track_score,
)
from stemfeatures.frames import TrackFrames
from stemfeatures.training import singing as training

SECONDS = 16.0


def heard(
    presence: np.ndarray | float, *, mask: float = 0.5, hiss: float = 0.0, seconds: float = SECONDS
) -> TrackFrames:
    """A tone as vocals with noise of that level, over a soft tone; masks that are so sure, and so much presence."""
    frames = sounding(hiss, seconds)
    rows = np.full((4, frames.n_frames), 0.9, np.float32)
    rows[0] = presence
    vocals = replace(frames.stems["vocals"], mask_energy=frames.stems["vocals"].energy / np.float32(mask))
    return replace(frames, presence=rows, stems=frames.stems | {"vocals": vocals})


@lru_cache
def sounding(hiss: float, seconds: float) -> TrackFrames:
    t = np.arange(round(seconds * SR)) / SR
    rng = np.random.default_rng(0)
    stems = {
        "vocals": 0.1 * np.sin(2 * np.pi * 440 * t) + hiss * rng.standard_normal(len(t)),
        "drums": np.zeros(len(t)),
        "bass": np.zeros(len(t)),
        "other": 0.05 * np.sin(2 * np.pi * 220 * t) + 0.002 * rng.standard_normal(len(t)),
    }
    return track_frames(stems, f0_hz={"vocals": np.full(1 + len(t) // 512, np.nan)})


def windows_of(frames: TrackFrames) -> SingingWindows:
    return HeardVocals.of(frames).windows


def test_windows_say_what_is_in_them():
    frames = heard(0.9, mask=0.8, hiss=0.02)
    found = windows_of(frames)
    # From 0, 2 ... 12 s on, of 6 s or to the end.
    np.testing.assert_allclose(found.spans[:, 0] / FRAME_RATE, [0, 2, 4, 6, 8, 10, 12], atol=0.05)
    np.testing.assert_allclose(found.spans[-1] / FRAME_RATE, [12, SECONDS], atol=0.05)
    np.testing.assert_array_equal(found.sounding, found.spans[:, 1] - found.spans[:, 0])
    values = dict(zip(FEATURES, found.features[2]))
    assert values["presence_mean"] == pytest.approx(np.log(9), abs=1e-3)
    assert values["presence_low"] == pytest.approx(np.log(9), abs=1e-3)
    # 0.005 and 0.0004 of the vocals, 0.00125 of the rest; a mask of 0.8 leaves a fifth of its energy open.
    assert values["share_db"] == pytest.approx(10 * np.log10(0.0054 / (0.0054 + 0.00125)), abs=0.2)
    assert values["sure_db"] == pytest.approx(10 * np.log10(1 / 0.2), abs=1e-3)
    assert values["consonants"] == pytest.approx(np.log10(0.02**2 / (0.02**2 + 0.002**2)), abs=0.05)


@pytest.mark.parametrize("tuning", [0.0, 0.37])
def test_keys_keep_to_a_grid_and_singers_do_not(tuning):
    n, rng = 1 + round(SECONDS * SR) // 512, np.random.default_rng(4)
    notes = np.repeat(rng.integers(57, 70, -(-n // 12)), 12)[:n] + tuning
    beside = notes + np.repeat(rng.uniform(-0.5, 0.5, -(-n // 12)), 12)[:n]
    gliding = 57 + 0.3 * np.arange(n) % 12

    def on_grid(midi: np.ndarray, voicing: float = 1.0) -> np.ndarray:
        frames = heard(0.9)
        hz = np.full((n, 5), np.nan)
        hz[:, 0] = 440 * 2 ** ((midi - 69) / 12)
        pitch = replace(frames.pitch["vocals"], candidates_hz=hz, voicing=np.full(n, voicing, np.float32))
        return windows_of(replace(frames, pitch=frames.pitch | {"vocals": pitch})).features[
            :, FEATURES.index("on_grid")
        ]

    assert (on_grid(notes) > 0.95).all()
    assert (on_grid(beside) < 0.6).all()
    # Nothing is steady, or has a pitch: as singing.
    np.testing.assert_allclose(on_grid(gliding), singing.ANY_GRID)
    np.testing.assert_allclose(on_grid(notes, voicing=0.4), singing.ANY_GRID)


def test_the_least_sure_moments_are_seen():
    presence = np.full(1 + round(SECONDS * SR) // 512, 0.99, np.float32)
    presence[::3] = 0.4
    mean, low = windows_of(heard(presence)).features[1, :2]
    assert low == pytest.approx(np.log(0.4 / 0.6), abs=1e-3)
    assert mean == pytest.approx((np.log(0.4 / 0.6) + 2 * np.log(99)) / 3, abs=0.05)


def test_bands_that_are_empty_tell_nothing():
    frames = heard(0.9)
    below = np.arange(80)[:, None] < singing.HIGH_BAND
    narrow = {name: replace(row, mel=row.mel * below) for name, row in frames.stems.items()}
    frames = replace(frames, stems=narrow)
    np.testing.assert_allclose(windows_of(frames).features[:, 4], np.log10(NO_CONSONANTS), atol=0.01)


def test_a_lead_is_no_voice_and_a_voice_stays_as_it_is():
    lead = heard(0.88, mask=0.4)
    assert HeardVocals.of(lead).by_network.all()
    rows = describe(lead).stems
    assert rows["vocals"]["activity_status"] == "absent"
    assert rows["vocals"]["activity_ratio"] == 0
    assert rows["mixture"]["voice_instrumental"] == "instrumental"
    voice = heard(0.995, mask=0.9, hiss=0.02)
    np.testing.assert_array_equal(DescriptorInputs(voice).get(presence_of_vocals), voice.presence[0])
    assert DescriptorInputs(voice).get(active_rows)["vocals"].all()
    assert describe(voice).stems["mixture"]["voice_instrumental"] == "voice"


def test_presence_is_never_raised():
    rng = np.random.default_rng(3)
    presence = rng.random(400).astype(np.float32)
    for features in ([9.0, 9.0, 0.0, 30.0, 0.0, 0.5], [0.0, -2.0, -10.0, 2.0, -2.0, 0.9]):
        some = SingingWindows(np.array([[0, 250], [100, 400]]), np.array([200, 300]), np.array([features] * 2))
        lowered = sung_presence(presence, some)
        assert (lowered <= presence).all()
        assert lowered.dtype == np.float32
        assert (lowered.sum() < 0.9 * presence.sum()) == (features[0] == 0)


def test_a_solo_is_lowered_and_the_verse_beside_it_hardly():
    model = SingingModel(np.eye(6)[0], 0.0)
    spans = np.array([[0, 250], [250, 500]])
    some = SingingWindows(spans, np.array([250, 250]), np.outer([4.0, -4.0], np.eye(6)[0]))
    lowered = sung_presence(np.full(600, 0.9, np.float32), some, model)
    np.testing.assert_allclose(lowered[:250], 0.9, atol=1e-6)
    np.testing.assert_allclose(log_odds(lowered[250:500]), np.log(9) - 4 + singing.FORGIVEN, atol=1e-4)
    # Outside of all windows the track alone counts, which is neither.
    np.testing.assert_allclose(lowered[500:], 0.9, atol=1e-6)


def test_a_short_track_gives_little_evidence():
    def score(seconds: float) -> float:
        n = round(seconds * FRAME_RATE)
        return track_score(SingingWindows(np.array([[0, n]]), np.array([3 * n]), np.zeros((1, 6))), np.array([-2.0]))

    assert score(8.0) == pytest.approx(-1.0, abs=0.01)
    assert score(1.0) == pytest.approx(-2 / 9, abs=0.01)
    assert score(3600.0) == pytest.approx(-2.0, abs=0.01)


def test_without_masks_or_a_moment_of_vocals_presence_is_the_networks():
    frames = heard(0.88, mask=0.4)
    given = replace(frames, stems=frames.stems | {"vocals": replace(frames.stems["vocals"], mask_energy=None)})
    none = heard(0.01)
    for some in (given, none, heard(0.88, mask=0.4, seconds=0.2)):
        assert len(windows_of(some).spans) == 0
        np.testing.assert_array_equal(DescriptorInputs(some).get(presence_of_vocals), some.presence[0])


def test_the_level_of_the_file_changes_nothing():
    frames = heard(0.88, mask=0.4)
    softer = {
        name: replace(
            row, energy=row.energy / 100, k_power=row.k_power / 100, mel=row.mel / 100,
            mask_energy=None if row.mask_energy is None else row.mask_energy / 100,
        )
        for name, row in frames.stems.items()
    }  # fmt: skip
    np.testing.assert_allclose(
        windows_of(replace(frames, stems=softer)).features, windows_of(frames).features, atol=1e-4
    )


def test_a_model_is_fitted_to_what_is_sung():
    examples = []
    for song in range(10):
        sung = song % 2 == 0
        frames = heard(0.97 if sung else 0.9, mask=0.6, hiss=0.01 if sung else 0.0003 * (1 + song))
        n = frames.n_frames
        known = np.full(n, True)
        examples.append(training.SingingExample(f"{song}", HeardVocals.of(frames), np.full(n, sung), known))
    model = training.fit_singing(examples)
    scores = [model.score(e.vocals.windows.features).mean() for e in examples]
    assert all((score > 0) == e.is_sung for score, e in zip(scores, examples))
    found = training.left_out(examples)
    assert [bool(f.any()) for f in found] == [e.is_sung for e in examples]
    assert training.figures(examples, found) == (
        "sung: 5 songs, vocals told in 5, in 1.000 of frames\nnot sung: 5 songs, vocals told in 0, in 0.000 of frames"
    )
    with pytest.raises(ValueError, match="in no song that is sung, or in none that is not"):
        training.fit_singing(examples[:1])


def test_the_command_writes_what_the_analysis_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = tmp_path / "songs"
    for k in range(4):
        (songs / f"{k}").mkdir(parents=True)
        t = np.arange(2 * SR) / SR
        stems = {s: 0.1 * np.sin(2 * np.pi * 110 * (n + k + 2) * t) for n, s in enumerate(STEMS)}
        stems["vocals"] *= k % 2 == 0
        for name, y in [*stems.items(), ("mixture", np.sum(list(stems.values()), axis=0))]:
            sf.write(songs / f"{k}" / f"{name}.wav", y, SR)

    class Analyser:
        def from_audio(self, y: np.ndarray, rate: int) -> object:
            # The tone at 220 Hz and its kind are heard as a voice in all of them, surer where they are.
            sung = np.square(y).mean() > 0.017
            frames = heard(0.99 if sung else 0.9, seconds=2.0, mask=0.7 if sung else 0.5)
            return type("Analysis", (), {"frames": frames})()

    monkeypatch.setattr(training, "Analyser", Analyser)
    training.main([str(songs), "--softer", "-o", str(tmp_path / "out")])
    assert "not sung: 2 songs, vocals told in 0" in capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / singing.WEIGHTS).read_text())
    assert stored["made_of"]["songs"] == 4
    assert stored["made_of"]["folders"] == ["songs"]
    monkeypatch.setattr("stemfeatures.descriptors.fitted.files", lambda _: tmp_path / "out")
    assert singing_model.__wrapped__().weights.tolist() == stored["weights"]


def test_stems_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "songs" / "one").mkdir(parents=True)
    for name, seconds in (("mixture", 2), ("vocals", 2), ("drums", 1), ("bass", 2), ("other", 2)):
        sf.write(tmp_path / "songs" / "one" / f"{name}.wav", np.zeros(seconds * SR), SR)
    with pytest.raises(SystemExit, match="2"):
        training.main([str(tmp_path / "songs"), "-o", str(tmp_path / "out")])
    assert "drums: (1, 22050) at 22050 Hz does not match its mixture" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_folder_without_songs_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training.main([str(tmp_path / "none"), "-o", str(tmp_path)])
    assert "none" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
