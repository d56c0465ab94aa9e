"""The rise of single bins: by its definition, on both ways of computing it, and across pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from frames_helper import FRAME_RATE, SR, stem_frames, track_frames

from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.descriptors.onsets import _by_bins, find_onsets, returns, row_onsets
from stemfeatures.frames.bin_rise import RISE_BINS, _rise_by_torch, bin_rise


def _expected(power, before):
    """The definition, bin by bin."""
    found = np.zeros(power.shape[:2])
    for row, t in np.ndindex(found.shape):
        then = (before if t == 0 else power[:, t - 1])[row][:RISE_BINS]
        now = power[row, t][:RISE_BINS]
        floor = max(1e-5 * max(now.max(), then.max()), 1e-20)
        for k in range(RISE_BINS):
            around = then[max(k - 2, 0) : k + 3].max()
            found[row, t] += max(np.log10((now[k] + floor) / (around + floor)), 0) / RISE_BINS
    return found


def test_definition():
    rng = np.random.default_rng(3)
    power = (10 ** rng.uniform(-9, 0, (2, 6, 600))).astype(np.float32)
    power[1, 2] = 0
    before = np.zeros((2, 600), np.float32)
    before[0] = power[0, 3]
    found = bin_rise(torch.from_numpy(power), torch.from_numpy(before))
    np.testing.assert_allclose(found, _expected(power.astype(float), before), rtol=1e-4, atol=1e-6)
    by_torch = _rise_by_torch(torch.from_numpy(power)[..., :RISE_BINS], torch.from_numpy(before)[..., :RISE_BINS])
    np.testing.assert_allclose(by_torch, found, rtol=1e-4, atol=1e-6)
    assert found[1, 2] == 0
    # Pieces that follow each other are as the whole; the level does not matter.
    parts = [bin_rise(torch.from_numpy(power[:, a:b]), torch.from_numpy(power[:, a - 1])) for a, b in ((1, 3), (3, 6))]
    np.testing.assert_allclose(torch.cat(parts, dim=1), found[:, 1:], rtol=1e-6)
    softer = bin_rise(torch.from_numpy(power * 1e-4), torch.from_numpy(before * 1e-4))
    np.testing.assert_allclose(softer, found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("vibrato_cents", [0.0, 30.0])
def test_a_tone_that_is_struck_again_widens_its_spectrum(vibrato_cents):
    y, _ = _repeated(2.0, 1.0, vibrato_cents)
    rise, struck = stem_frames(y).bin_rise, round(SR / 512)
    elsewhere = np.r_[rise[10 : struck - 4], rise[struck + 4 : -4]].max()
    # Vibrato moves the upper partials by more bins than are looked at, but all of them at once never.
    assert elsewhere < (0.02 if not vibrato_cents else 0.08)
    assert rise[struck - 2 : struck + 2].max() > 3 * elsewhere


def _repeated(seconds: float, every_s: float, vibrato_cents: float) -> tuple[np.ndarray, np.ndarray]:
    """A tone that begins anew, in other phases, with no pause and no louder; and when."""
    t = np.arange(int(seconds * SR)) / SR
    cents = vibrato_cents * np.sin(2 * np.pi * 5.5 * t)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** (cents / 1200)) / SR
    struck = np.arange(every_s, seconds - 0.2, every_s)
    again = np.random.default_rng(1).uniform(1, 5, (len(struck) + 1, 11))[np.searchsorted(struck, t)]
    return 0.1 * sum(np.sin(h * phase + again[:, h]) / h for h in range(1, 11)), np.r_[0.0, struck]


def _onsets(frames, row="other"):
    return DescriptorInputs(frames).get(row_onsets)[row][0]


@pytest.mark.parametrize("vibrato_cents", [0.0, 10.0])
def test_the_same_note_again_is_an_onset(vibrato_cents):
    y, struck = _repeated(6.0, 0.45, vibrato_cents)
    frames = track_frames({"other": y})
    for row in ("other", "mixture"):
        found = _onsets(frames, row)
        assert len(found) == len(struck)
        assert np.abs(found - struck).max() < 0.05


def _organ(seconds: float, every_s: float, attack_s: float, release_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Chords that share two of three notes and fade into each other; and when they begin."""
    rng, t = np.random.default_rng(2), np.arange(int(seconds * SR)) / SR
    struck = np.arange(0.0, seconds - 0.2, every_s)
    y = np.zeros(len(t))
    for k, start in enumerate(struck):
        fades = np.clip(1 - (t - start - every_s) / release_s, 0, 1)
        shape = np.clip((t - start) / attack_s, 0, 1) * fades
        for hz in (262, 330, (392, 440)[k % 2]):
            y += 0.03 * shape * sum(np.sin(2 * np.pi * hz * h * t + rng.uniform(0, 6)) / h for h in range(1, 13))
    return y, struck


def test_slow_attacks_are_told_by_the_flux_as_before():
    y, struck = _organ(6.0, 0.45, 0.06, 0.2)
    frames = track_frames({"other": y})
    found = _onsets(frames)
    near = [np.abs(found - time).min() < 0.06 for time in struck]
    assert np.mean(near) > 0.8
    assert len(found) <= len(struck) + 2


@pytest.mark.parametrize("attack_s", [0.06, 0.12, 0.2])
def test_a_slow_attack_is_one_onset(attack_s):
    # Bins rise where it begins, the flux is highest a tenth of a second later.
    t = np.arange(3 * SR) / SR
    since = t % 0.5
    envelope = np.where(since < attack_s, since / attack_s, np.exp(-(since - attack_s) / 0.06))
    found = _onsets(track_frames({"other": 0.3 * envelope * np.sin(2 * np.pi * 440 * t)}))
    assert len(found) == 6
    assert np.abs(found - 0.5 * np.arange(6)).max() < 0.05


def test_bins_that_rise_without_flux_are_no_onsets():
    n = 200
    rise, strength = np.zeros(n), np.full(n, 0.005)
    rise[[40, 80, 140]], strength[[40, 81]] = 0.2, 0.03
    # As at the loop of a sample.
    np.testing.assert_allclose(_by_bins(rise, strength, np.ones(n, bool)) * FRAME_RATE, [40, 80])


def test_bins_tell_where_drums_do_not_play():
    y, _ = _repeated(6.0, 0.45, 0.0)
    mixture = track_frames({"other": y}).stems["mixture"]
    n = len(mixture.energy)
    given = {"mel": mixture.mel, "chroma": mixture.chroma, "active": np.ones(n, bool)}
    drums = np.arange(n) > 3 * FRAME_RATE
    nothing = np.zeros(n)
    by_flux, by_bins = find_onsets(**given)[0], find_onsets(**given, rise=mixture.bin_rise)[0]
    mixed = find_onsets(**given, rise=mixture.bin_rise, drums=drums)[0]
    np.testing.assert_allclose(mixed[mixed > 3.1], by_flux[by_flux > 3.1])
    np.testing.assert_allclose(mixed[mixed < 2.9], by_bins[by_bins < 2.9])
    # Times of bins are those of their peaks, of the flux those of the attack.
    assert not np.allclose(by_flux[1:4], by_bins[1:4], atol=1e-4)
    clear = find_onsets(**given, rise=nothing)[0]
    np.testing.assert_allclose(clear, by_flux)


def _blown(seconds: float, every_s: float, lowest: float, vibrato_cents: float = 15.0) -> tuple[np.ndarray, np.ndarray]:
    """A tone whose level falls to ``lowest`` and swells again, without any attack, and when it is lowest."""
    t = np.arange(int(seconds * SR)) / SR
    again = np.arange(every_s, seconds - 0.3, every_s)
    away = np.abs(t[:, None] - again).min(axis=1)
    level = lowest ** np.clip(1 - away / 0.08, 0, 1)
    phase = 2 * np.pi * np.cumsum(587 * 2 ** (vibrato_cents / 1200 * np.sin(2 * np.pi * 5 * t))) / SR
    return 0.2 * level * (np.sin(phase) + 0.2 * np.sin(2 * phase) + 0.05 * np.sin(3 * phase)), again


@pytest.mark.parametrize("row", ["other", "mixture"])
def test_a_tone_that_fades_and_swells_again_begins_again(row):
    y, again = _blown(6.0, 0.5, 0.1)
    found = _onsets(track_frames({"other": y}), row)
    assert len(found) == len(again) + 1
    assert np.abs(found[1:] - again).max() < 0.03
    # Half the level is expression.
    assert (_onsets(track_frames({"other": _blown(6.0, 0.5, 0.5)[0]}), row) < 0.1).all()


def test_tremolo_does_not_begin_again():
    t = np.arange(6 * SR) / SR
    y = 0.1 * (1 + 0.4 * np.sin(2 * np.pi * 5 * t)) * sum(np.sin(2 * np.pi * 330 * h * t) / h**2 for h in range(1, 6))
    assert (_onsets(track_frames({"other": y})) < 0.1).all()


@pytest.mark.parametrize("cents", [5, 10, 15, 20])
def test_tones_that_are_out_of_tune_with_each_other_do_not_begin_again(cents):
    # Their partials beat each at a rate of its own; only the beats of nearly pure tones fall to nothing.
    t, ratio = np.arange(6 * SR) / SR, 2 ** (cents / 1200)
    y = sum((np.sin(2 * np.pi * 440 * h * t) + np.sin(2 * np.pi * 440 * h * ratio * t)) / h for h in range(1, 8))
    assert (_onsets(track_frames({"other": 0.05 * y})) < 0.1).all()


def test_a_level_returns_at_the_end_of_a_pause():
    level = np.full(200, 1.0)
    level[50:53], level[100:106], level[150:152] = 0.05, 1e-9, 0.3
    mel = np.full((4, 200), 0.25) * level
    np.testing.assert_allclose(returns(mel, np.ones(200, bool)) * FRAME_RATE, [52, 105])
    assert len(returns(np.zeros((4, 200)), np.ones(200, bool))) == 0
    assert len(returns(mel, np.zeros(200, bool))) == 0


def test_bins_tell_where_they_begin_to_rise():
    # One beginning in two frames, of which the second is the higher; and two that rise at once.
    rise, strength = np.zeros(200), np.full(200, 0.1)
    rise[[40, 41]], rise[[100, 101]], rise[150] = (0.06, 0.1), (0.02, 0.1), 0.1
    np.testing.assert_allclose(_by_bins(rise, strength, np.ones(200, bool)) * FRAME_RATE, [40.5, 101, 150], atol=0.15)


def test_a_level_that_returns_at_a_stroke_is_one_onset():
    n = 200
    level = np.full(n, 1.0)
    level[100:106] = 0.01
    frames = np.arange(n)
    given = {"active": np.ones(n, bool), "drums": np.zeros(n, bool), "rise": np.zeros(n)}
    for stroke, expected in ((108, [108]), (112, [105, 112])):
        activation = np.maximum(0.9 - 0.4 * np.abs(frames - stroke), 0.0)
        found, _ = find_onsets(np.full((40, n), 0.25) * level, np.zeros((36, n)), activation=activation, **given)
        found = found[found > 1]
        np.testing.assert_allclose(found * FRAME_RATE, expected, atol=1.5)
