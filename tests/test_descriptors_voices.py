"""Further voices beside a contour: stretches of candidates, the choice among them, tables, the fit of the model."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from frames_helper import FRAME_RATE, SR, n_frames_of, track_frames

from stemfeatures.analysis import Analyser
from stemfeatures.constants import N_PITCH_CANDIDATES
from stemfeatures.descriptors import values, voices
from stemfeatures.descriptors.event_tables import Columns, event_tables
from stemfeatures.descriptors.fitted import stored_model
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.descriptors.registry import extractors
from stemfeatures.descriptors.types import F0Contour
from stemfeatures.descriptors.voices import (
    FEATURES,
    FurtherVoices,
    Stretches,
    VoiceModel,
    choose_voices,
    find_stretches,
    to_hertz,
)
from stemfeatures.evaluation.estimators import checkpoint
from stemfeatures.frames import PitchFrames, TrackFrames, spectrum_meter
from stemfeatures.frames.further_voices import VoicesMeter, sung_pitches
from stemfeatures.inference import segments
from stemfeatures.models.voices import LOWEST_SUNG, N_SUNG, VoiceConfig, VoiceNet, candidate_planes, voice_features
from stemfeatures.spectra.thirds import LONG_WINDOW, thirds
from stemfeatures.training import voices as training

N = 200


def _pitch(*lines: tuple[np.ndarray, float]) -> PitchFrames:
    """Candidates of lines (n_frames,) in MIDI, NaN where there is none, and their salience; the highest first."""
    n = len(lines[0][0])
    hertz = np.full((n, N_PITCH_CANDIDATES), np.nan, np.float32)
    salience = np.zeros((n, N_PITCH_CANDIDATES), np.float32)
    for k, (midi, height) in enumerate(sorted(lines, key=lambda line: -line[1])):
        hertz[:, k] = to_hertz(midi)
        salience[:, k] = np.where(np.isfinite(midi), height, 0)
    return PitchFrames(hertz, salience, np.full(n, 0.9, np.float32))


def _line(midi: float, first: int = 0, end: int = N, n: int = N, cents: float = 0.0) -> np.ndarray:
    """A pitch from a frame to another, with a vibrato of so many cents."""
    at = np.arange(n)
    moves = midi + cents / 100 * np.sin(2 * np.pi * 5.5 * at / FRAME_RATE)
    return np.where((at >= first) & (at < end), moves, np.nan)


def _stretches(pitch: PitchFrames, contour: np.ndarray) -> Stretches:
    n = len(contour)
    return find_stretches(pitch, to_hertz(contour), np.full(n, 0.7), np.full(n, 0.01), np.full(n, 0.04))


def _model(least: float = 0.5, **weights: float) -> VoiceModel:
    return VoiceModel(np.array([weights.get(name, 0.0) for name in FEATURES]), weights.get("bias", 0.0), least)


#: Lets stretches of a salience above 0.3 through.
SALIENT = _model(salience=10.0, bias=-10 * np.log(0.3))


def test_a_second_line_is_one_stretch_with_what_is_known_of_it() -> None:
    contour, second = _line(60, 10, 190), _line(64, 50, 150)
    second[[70, 71, 100]] = np.nan  # it goes on within three frames
    found = _stretches(_pitch((contour, 0.8), (second, 0.4)), contour)
    assert (found.first.tolist(), found.end.tolist(), found.length.tolist()) == ([50], [150], [97])
    np.testing.assert_array_equal(found.frame, np.flatnonzero(np.isfinite(second)))
    np.testing.assert_allclose(found.midi, 64, atol=1e-4)
    told = dict(zip(FEATURES, found.features[0]))
    expected = {
        "length": np.log(97), "movement": np.log(0.05), "relative_movement": np.log(0.05), "distance": 4 / 12,
        "salience": np.log(0.4), "relative_salience": np.log(0.5), "octave_above": 0, "octave_below": 0,
        "twelfth_above": 0, "two_octaves": 0, "above": 1, "presence": 0.7, "pitch": 4 / 12, "level": np.log(0.25),
    }  # fmt: skip
    assert told == pytest.approx(expected, abs=0.01)


def test_movement_is_told_from_movement_with_the_contour() -> None:
    """A partial moves as its voice does, another voice by itself."""
    contour = _line(60, cents=50)
    for other, moves, against in ((_line(72.0, cents=50), 0.354, 0.0), (_line(72.0), 0.0, 0.354)):
        found = _stretches(_pitch((contour, 0.8), (other, 0.4)), contour)
        told = dict(zip(FEATURES, found.features[0]))
        assert np.exp(told["movement"]) - 0.05 == pytest.approx(moves, abs=0.01)
        assert np.exp(told["relative_movement"]) - 0.05 == pytest.approx(against, abs=0.01)
        assert told["octave_above"] == pytest.approx(1, abs=0.02)


def test_what_is_no_other_pitch_makes_no_stretch() -> None:
    contour = _line(60, 50, 150)
    near, soft, beside = _line(60.5), _line(67, 60, 140), _line(55, 0, 49)
    found = _stretches(_pitch((contour, 0.8), (near, 0.5), (soft, 0.02), (beside, 0.4)), contour)
    assert len(found.length) == 0  # within the first voice, not salient, where nothing is sung
    assert len(_stretches(_pitch((contour, 0.8)), contour).length) == 0
    assert len(_stretches(_pitch((_line(60), 0.8)), np.full(N, np.nan)).length) == 0


def test_lines_that_leap_or_pause_are_several_stretches() -> None:
    contour = _line(60)
    other = np.where(np.arange(N) < 100, 64.0, 67.0)
    other[150:160] = np.nan
    found = _stretches(_pitch((contour, 0.8), (other, 0.4)), contour)
    assert list(zip(found.first, found.end)) == [(0, 100), (100, 150), (160, 200)]


def test_the_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    contour = _line(60, cents=40)
    pitch = _pitch((contour, 0.8), (_line(64, 20, 180, cents=30), 0.4), (67 + np.cumsum(rng.normal(0, 0.2, N)), 0.3))
    whole = _stretches(pitch, contour)
    monkeypatch.setattr(values, "BLOCK_FRAMES", 37)
    again = _stretches(pitch, contour)
    for one, other in zip(list(vars(whole).values())[:-1], vars(again).values()):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_at_most_two_further_voices_the_likeliest_first() -> None:
    contour = _line(60)
    lines = (
        (_line(64, 10, 120), 0.5),
        (_line(67, 100, 190), 0.45),
        (_line(70, 90, 180), 0.4),
        (_line(55, 20, 60), 0.2),
    )
    found = choose_voices(_stretches(_pitch((contour, 0.8), *lines), contour), SALIENT)
    assert list(zip(found.first, found.end, found.voice)) == [(10, 120, 2), (100, 190, 3)]
    np.testing.assert_allclose(found.confidence, [1 / (1 + 0.6**10), 1 / (1 + (2 / 3) ** 10)], rtol=1e-4)
    later = ((_line(64, 10, 90), 0.5), (_line(67, 100, 190), 0.45))
    assert choose_voices(_stretches(_pitch((contour, 0.8), *later), contour), SALIENT).voice.tolist() == [2, 2]
    short = _stretches(_pitch((contour, 0.8), (_line(64, 10, 17), 0.5)), contour)
    assert len(choose_voices(short, SALIENT).voice) == 0
    assert choose_voices(short, SALIENT).counts(np.array([True, False])).tolist() == [1, 0]


def test_gaps_are_filled_and_voices_counted() -> None:
    contour, second = _line(60, 10, 190), _line(64, 50, 150)
    second[100:] += 0.3
    second[[99, 100]] = np.nan
    found = choose_voices(_stretches(_pitch((contour, 0.8), (second, 0.5)), contour), SALIENT)
    np.testing.assert_allclose(found.midi[0][48:53], [64, 64.1, 64.2, 64.3, 64.3], atol=1e-4)
    counts = found.counts(np.isfinite(contour))
    assert np.bincount(counts).tolist() == [20, 80, 100]
    pitches = found.pitches(N)
    assert pitches.shape == (2, N)
    np.testing.assert_allclose(pitches[0, 50:99], 64, atol=1e-4)
    assert np.isfinite(pitches).sum() == 100


@cache
def _tone() -> TrackFrames:
    """Vocals alone: six seconds of a tone, without a pitch."""
    return track_frames({"vocals": 0.1 * np.sin(2 * np.pi * 261.6 * np.arange(6 * SR) / SR)})


def _sung(*lines: tuple[np.ndarray, float]) -> tuple[dict[str, Any], Columns]:
    """Figures and rows of vocals with these candidates."""
    vocals = _pitch(*lines) if lines else _tone().pitch["vocals"]
    inputs = DescriptorInputs(replace(_tone(), pitch=_tone().pitch | {"vocals": vocals}))
    table = event_tables()["further_voices"]
    assert table.on_request
    assert table.compute is not None
    figures = next(extractor for extractor in extractors() if extractor.name == "voices")
    assert figures.describe(inputs, "bass")["voices_status"] == "not_applicable"
    return figures.describe(inputs, "vocals"), table.compute(inputs)


def test_figures_and_rows_of_three_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "voice_model", lambda *, heard: SALIENT)
    n = n_frames_of(6 * SR)
    contour = (_line(60, 0, 240, n), 0.8)
    sung, table = _sung(contour, (_line(64.2, 60, 180, n), 0.5), (_line(67, 120, 180, n), 0.4))
    assert sung["voices_status"] == "ok"
    assert sung["voices_several_ratio"] == pytest.approx(0.5, abs=0.01)
    assert sung["voices_three_ratio"] == pytest.approx(0.25, abs=0.01)
    assert sung["voices_count_mean"] == pytest.approx(1.75, abs=0.02)
    two, three = 1 / (1 + 0.6**10), 1 / (1 + 0.75**10)
    assert sung["voices_confidence"] == pytest.approx((2 * two + three) / 3, rel=1e-3)
    assert table["stem"] == ["vocals"] * 2
    assert table["voice"].tolist() == [2, 3]
    np.testing.assert_allclose(table["start_s"] * FRAME_RATE, [60, 120])
    np.testing.assert_allclose(table["end_s"] * FRAME_RATE, [180, 180])
    assert (table["pitch"].tolist(), table["name"]) == ([64, 67], ["E4", "G4"])
    np.testing.assert_allclose(table["frequency_hz"], to_hertz(np.array([64.2, 67])), rtol=1e-5)
    assert [len(contour) for contour in table["f0_cents"]] == [120, 60]
    np.testing.assert_allclose(10 * 2 ** (table["f0_cents"][0] / 1200), to_hertz(64.2), rtol=1e-3)


def test_no_figures_where_hardly_a_second_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What little there is may be none; its rows are there, with how sure they are."""
    monkeypatch.setattr(voices, "voice_model", lambda *, heard: SALIENT)
    n = n_frames_of(6 * SR)
    contour = (_line(60, 0, 240, n), 0.8)
    sung, table = _sung(contour, (_line(64, 100, 135, n), 0.5))
    assert sung["voices_status"] == "none_found"
    assert sung["voices_several_ratio"] is None
    assert len(table["voice"]) == 1
    sung, table = _sung(contour)
    assert sung["voices_status"] == "none_found"
    assert [len(column) for column in table.values()] == [0] * len(table)
    assert _sung()[0]["voices_status"] == "unvoiced"


def test_the_model_that_ships_has_more_trust_in_what_is_salient() -> None:
    model = voices.voice_model()
    assert 0 < model.least < 1
    contour = _line(62)
    sure, unsure = (
        _stretches(_pitch((contour, 0.8), (_line(66, cents=30), height)), contour) for height in (0.7, 0.05)
    )
    probability = model.probability(sure.features)[0], model.probability(unsure.features)[0]
    assert probability[0] > probability[1] < model.least


def test_the_estimator_tells_further_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    hz = np.where(np.arange(39) < 29, 220.0, np.nan)
    contour = F0Contour(np.arange(39) / (2 * FRAME_RATE), hz, np.ones(39, np.float32))
    told = FurtherVoices(
        np.array([2]), np.array([5]), np.array([18]), [np.full(13, 61.0)], np.ones(1), np.zeros(1, int)
    )
    monkeypatch.setattr(checkpoint, "DescriptorInputs", lambda frames: SimpleNamespace(get=lambda _: told))
    estimator = checkpoint.CheckpointEstimator()
    analysis = SimpleNamespace(contours={"vocals": contour}, frames=SimpleNamespace())
    monkeypatch.setattr(checkpoint.CheckpointEstimator, "_analyse", lambda *_: analysis)
    times_s, found = estimator.multi_f0(np.zeros((1, 10)), SR)
    np.testing.assert_allclose(times_s, np.arange(20) / FRAME_RATE)
    assert [len(frame) for frame in found] == [1] * 5 + [2] * 10 + [0] * 5
    np.testing.assert_allclose(found[7], [220.0, to_hertz(61)], rtol=1e-6)


# -- training ---------------------------------------------------------------------------------------------------------


def test_truth_of_stretches() -> None:
    contour = _line(60)
    stretches = _stretches(_pitch((contour, 0.8), (_line(64, 20, 60), 0.4), (_line(67, 80, 160), 0.3)), contour)
    sings = np.stack([_line(60), _line(64, 40, 60), np.full(N, np.nan)])
    song = training.example(stretches, to_hertz(contour), sings)
    assert song.right.tolist() == [20, 0]
    assert np.bincount(song.counts).tolist() == [0, 180, 20]
    # The contour follows the second voice, and the first one is beside it.
    swapped = training.example(stretches, to_hertz(contour), sings[[1, 0]] + np.array([[-4.0], [4.0]]))
    assert swapped.right.tolist() == [20, 0]
    # One voice that the contour misses is no second one.
    assert training.example(stretches, to_hertz(contour), _line(64)[None]).right.tolist() == [0, 0]


def _songs(n: int, seed: int = 0) -> list[training.VoiceExample]:
    """Songs of twelve stretches of 16 frames: voices are salient, mostly, and away from octaves."""
    rng, songs = np.random.default_rng(seed), []
    for _ in range(n):
        right = rng.random(12) < 0.4
        features = rng.normal(0, 1, (12, len(FEATURES)))
        features[:, FEATURES.index("salience")] = np.where(right, 1.5, -1.5) + rng.normal(0, 1, 12)
        first = 20 * np.arange(12)
        length = np.full(12, 16)
        counts = np.ones(240, int)
        for k in np.flatnonzero(right):
            counts[first[k] : first[k] + 16] = 2
        frame = (first[:, None] + np.arange(16)).ravel()
        owner = np.repeat(np.arange(12), 16)
        stretches = Stretches(frame, owner, np.full(len(frame), 64.0), features, first, first + 16, length)
        songs.append(training.VoiceExample(stretches, 16.0 * right, counts, np.ones(240, bool)))
    return songs


def test_the_fit_finds_what_tells_voices_and_the_threshold_its_precision() -> None:
    songs = _songs(40)
    model = training.fit_voices(songs)
    assert np.abs(model.weights).argmax() == FEATURES.index("salience")
    assert model.weights[FEATURES.index("salience")] == pytest.approx(3.0, abs=1.0)  # of two normal classes 3 apart
    several = np.concatenate([song.counts > 1 for song in songs])
    least = training.choose_least(np.concatenate(training.judged(songs)), several, 0.95)
    assert least is not None
    unseen = training.scores(_songs(40, seed=1), replace(model, least=least))
    assert unseen["precision"] == pytest.approx(0.95, abs=0.05)
    assert unseen["pitch"] == pytest.approx(unseen["precision"], abs=1e-3)
    assert unseen["recall"] > 0.8
    nothing = training.scores(songs, replace(model, least=1.1))
    assert (nothing["recall"], nothing["told"]) == (0, 0)
    assert np.isnan(nothing["precision"])


def test_the_least_threshold_with_a_precision() -> None:
    probability = np.repeat([0.9, 0.8, 0.7, 0.6, 0.0], 100)
    several = np.zeros(500, bool)
    several[:100], several[100:150], several[200:280] = True, True, True
    assert training.choose_least(probability, several, 0.76) == 0.7  # .77 of 300, and .75 of 200 before
    assert training.choose_least(probability, several, 0.9) == 0.9
    assert training.choose_least(probability, ~several, 0.9) is None


def test_the_command_hears_fits_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    song = tmp_path / "songs" / "00000001"
    song.mkdir(parents=True)
    t = np.arange(4 * SR) / SR
    y = 0.1 * sum(np.sin(2 * np.pi * hz * k * t) / k for hz in (220.0, 277.2) for k in range(1, 8))
    sf.write(song / "mixture.flac", y, SR)
    at = (np.arange(400) / 100).tolist()
    sung = [{"times_s": at, "f0_hz": [hz] * 400} for hz in (220.0, 277.2)]
    (song / "truth.json").write_text(json.dumps({"notes": {}, "f0": {"vocals": sung}}))
    heard = training.hear_voices([song.parent], Analyser())
    assert len(heard) == 1
    assert (heard[0].counts == 2).all()
    out = tmp_path / "weights.json"
    monkeypatch.setattr(training, "hear_voices", lambda *_: _songs(12))
    training.main([str(song.parent), "-o", str(out), "--precision", "0.9"])
    said = json.loads(capsys.readouterr().out)
    stored = json.loads(out.read_text())
    assert stored["made_of"]["songs"] == 12
    assert stored["made_of"]["precision"] == 0.9
    assert said["scores"]["precision"] > 0.85
    assert said["judged"]["precision"] == pytest.approx(0.9, abs=0.02)
    assert 6 <= said["judged"]["songs_told"] == said["judged"]["songs_right"]
    monkeypatch.setattr(voices, "stored_model", lambda *_: stored)
    voices.voice_model.cache_clear()
    assert voices.voice_model().least == stored["least"]
    voices.voice_model.cache_clear()
    monkeypatch.undo()
    for name in (voices.WEIGHTS, voices.HEARD_WEIGHTS):
        assert stored_model(name, FEATURES)["features"] == list(FEATURES)
    monkeypatch.setattr(training, "hear_voices", lambda *_: _songs(1))
    with pytest.raises(SystemExit):
        training.main([str(song.parent), "-o", str(out)])
    assert f"{song.parent}: one song is not enough" in capsys.readouterr().err
    monkeypatch.undo()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        training.main([str(tmp_path / "empty"), "-o", str(out)])
    assert f"{tmp_path / 'empty'}: no generated songs" in capsys.readouterr().err


# -- what the network of voices hears ---------------------------------------------------------------------------------


def test_pitches_that_are_heard_take_the_place_of_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model of their own, which knows how sure the network is of several voices."""
    n = n_frames_of(6 * SR)
    contour, second, third = _line(60, 0, 240, n), _line(64, 50, 150, n), _line(71, 160, 190, n)
    several = np.where((np.arange(n) >= 50) & (np.arange(n) < 150), 0.8, 0.1).astype(np.float32)
    heard = replace(_pitch((contour, 0.9), (second, 0.6), (third, 0.6)), voicing=several)
    frames = replace(_tone(), pitch=_tone().pitch | {"vocals": _pitch((contour, 0.9))})
    found = voices.track_stretches(DescriptorInputs(replace(frames, voices=heard)))
    assert found.first.tolist() == [50, 160]
    assert found.several is not None
    np.testing.assert_allclose(found.several[[0, 60]], [np.log(0.1 / 0.9), np.log(4)], atol=0.01)
    model = replace(SALIENT, frame=(0.2, 1.0, 0.0))
    monkeypatch.setattr(voices, "voice_model", lambda *, heard: model if heard else SALIENT)
    assert len(voices.further_voices(DescriptorInputs(frames)).voice) == 0
    told = voices.further_voices(DescriptorInputs(replace(frames, voices=heard)))
    # The third is as salient, but the network hears one voice there.
    assert (told.first.tolist(), told.end.tolist(), told.voice.tolist()) == ([50], [150], [2])
    stretch = 1 / (1 + (0.3 / 0.6) ** 10)
    expected = 0.2 * voices.log_odds(stretch) + voices.log_odds(0.8)
    np.testing.assert_allclose(told.confidence, 1 / (1 + np.exp(-expected)), rtol=1e-4)
    # Columns of stems are the same whatever tables are asked for.
    figures = next(extractor for extractor in extractors() if extractor.name == "voices")
    asked, plain = (
        figures.describe(DescriptorInputs(some), "vocals") for some in (replace(frames, voices=heard), frames)
    )
    assert asked == plain
    assert asked["voices_status"] == "none_found"


def test_a_stretch_may_be_a_voice_in_a_part() -> None:
    several = np.full(N, 2.0)
    several[90:120], several[145:] = -4.0, -4.0
    whole = _stretches(_pitch((_line(60), 0.8), (_line(64, 20, 150), 0.5)), _line(60))
    model = replace(SALIENT, frame=(0.1, 1.0, 0.0))
    found = choose_voices(replace(whole, several=several), model)
    assert list(zip(found.first, found.end)) == [(20, 90), (120, 145)]
    assert [len(midi) for midi in found.midi] == [70, 25]
    assert found.stretch.tolist() == [0, 0]
    np.testing.assert_allclose(np.concatenate(found.midi), 64, atol=1e-4)
    # Without what the network says it is one.
    assert choose_voices(whole, model).end.tolist() == [150]


def test_what_is_sure_of_frames_counts_in_the_fit() -> None:
    rng = np.random.default_rng(5)
    songs = []
    for song in _songs(20, seed=3):
        heard = np.where(song.counts > 1, 2.0, -2.0) + rng.normal(0, 1.5, len(song.counts))
        songs.append(replace(song, stretches=replace(song.stretches, several=heard)))
    probability = training.judged(songs)
    own, heard_weight, _ = frame = training.fit_frames(songs, probability)
    assert own > 0.3
    assert heard_weight > 0.3
    several = np.concatenate([song.counts > 1 for song in songs])
    told = [np.concatenate(p) for p in (probability, training.in_frames(songs, probability, frame))]
    right = [several[np.argsort(-p)[: several.sum()]].mean() for p in told]
    assert right[1] > right[0] + 0.01
    assert (told[1][told[0] == 0] == 0).all()


@pytest.mark.parametrize("seconds", [0.02, 1.0, 30.0])
def test_blocks_of_vocals_give_what_the_whole_gives(seconds: float) -> None:
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((2, round(seconds * SR))).astype(np.float32)
    n = 1 + signals.shape[1] // 512
    midi = rng.uniform(40, 80, (n, N_PITCH_CANDIDATES))
    salience, voicing = -np.sort(-rng.random(midi.shape)), rng.random(n)
    meter, parts, sent = VoicesMeter("cpu", _tiny_network()), [], 0
    for at in range(0, signals.shape[1], 40_000):
        ahead = min(n, sent + 90)  # candidates are ahead of the waveform
        meter.push_pitch(to_hertz(midi[sent:ahead]), salience[sent:ahead], voicing[sent:ahead])
        meter.push_signal(signals[:, at : at + 40_000])
        parts.append(meter.take())
        sent = ahead
    meter.push_pitch(to_hertz(midi[sent:]), salience[sent:], voicing[sent:])
    found = np.concatenate([*parts, meter.finish(n)], axis=1)
    padded = np.pad(signals, ((0, 0), (LONG_WINDOW // 2, LONG_WINDOW // 2 + 512)))
    fine, coarse = thirds(padded[0], n)
    features = voice_features(fine, coarse, thirds(padded[1], n)[0])
    planes = candidate_planes(midi, salience, voicing)
    with torch.no_grad():
        pitches, several = _tiny_network()(torch.from_numpy(features)[None], torch.from_numpy(planes)[None])
    hz, probability = sung_pitches(torch.sigmoid(pitches[0, 0]).numpy(), pitches[0, 1].numpy())
    assert found.shape == (2 * N_PITCH_CANDIDATES + 1, n)
    np.testing.assert_allclose(found[-1], torch.sigmoid(several[0]).numpy(), atol=1e-5)
    np.testing.assert_allclose(found[N_PITCH_CANDIDATES:-1], probability.T, atol=1e-5)
    np.testing.assert_allclose(found[:N_PITCH_CANDIDATES], hz.T, rtol=1e-4)


def test_a_track_gives_what_the_whole_gives(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates of the pitch are there before the waveform that the network is asked about."""
    y = np.random.default_rng(3).normal(0, 0.1, (1, 8 * SR)).astype(np.float32)
    asking = Analyser(model, requested=("further_voices",))
    monkeypatch.setattr(segments, "TOGETHER", 128)
    whole = asking.from_audio(y, SR).frames.voices
    monkeypatch.setattr(spectrum_meter, "_CHUNK", 32)
    parts = asking.from_audio(y, SR).frames.voices
    assert whole is not None
    assert parts is not None
    np.testing.assert_allclose(parts.voicing, whole.voicing, atol=1e-5)
    np.testing.assert_allclose(parts.salience, whole.salience, atol=1e-5)


def _tiny_network() -> VoiceNet:
    torch.manual_seed(0)
    return VoiceNet(VoiceConfig(channels=6, context=2, counting=4)).eval()


def test_candidates_are_seen_where_they_lie() -> None:
    midi = np.array([[60.25, 64.0, np.nan], [np.nan] * 3, [30.0, 90.0, 47.6]])
    planes = candidate_planes(midi, np.array([[0.81, 0.25, 0], [0, 0, 0], [0.5, 0.4, 0.04]]), np.array([0.8, 0.5, 1.0]))
    first, further = planes
    np.testing.assert_allclose(first[0, 60 - LOWEST_SUNG : 62 - LOWEST_SUNG], [0.6, 0.2], atol=1e-6)
    assert first[1:].sum() == 0  # none, and one below all pitches
    np.testing.assert_allclose(further[0, [60 - LOWEST_SUNG, 64 - LOWEST_SUNG]], [0.9, 0.5])
    np.testing.assert_allclose(further[2, 48 - LOWEST_SUNG], 0.2)
    assert np.count_nonzero(further) == 3


def test_the_likeliest_pitches_are_maxima() -> None:
    sung, deviation = np.full((1, N_SUNG), 0.001), np.zeros((1, N_SUNG))
    sung[0, [9, 10, 11, 20, 30]] = 0.3, 0.9, 0.4, 0.5, 0.01
    deviation[0, [10, 20]] = 0.25, -0.9
    hz, probability = sung_pitches(sung, deviation)
    np.testing.assert_allclose(probability[0, :3], [0.9, 0.5, 0])
    np.testing.assert_allclose(hz[0, :2], to_hertz(LOWEST_SUNG + np.array([10.25, 19.5])))
    assert np.isnan(hz[0, 2:]).all()
