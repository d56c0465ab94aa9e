"""Struck strings are no drums: on signals whose spectra are known, and on instruments of a SoundFont."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from frames_helper import SR, n_frames_of, pulses, track_frames
from scipy.signal import butter, resample, sosfilt

from stemfeatures.analysis import Analyser
from stemfeatures.descriptors.drumming import DrumEvidence, drum_evidence
from stemfeatures.generator.play.soundfonts import MidiNote, find_soundfonts, play_notes

SECONDS = 6
BEATS = np.arange(0.25, SECONDS - 0.25, 0.5)


def _strokes(noise: np.ndarray, decay: float) -> np.ndarray:
    t = np.arange(len(noise)) / SR
    since = t - BEATS[np.clip(np.searchsorted(BEATS, t, side="right") - 1, 0, None)]
    return noise * np.exp(-decay * np.maximum(since, 0)) * (since >= 0)


def _evidence(drums: np.ndarray, others: np.ndarray, stroke: float, *, held: bool = False) -> DrumEvidence:
    n = n_frames_of(SECONDS * SR)
    frames = track_frames({"drums": drums, "other": others}, onset=pulses(BEATS, n, height=stroke))
    plays = np.zeros(n, dtype=bool)
    plays[10:-10] = True
    return drum_evidence(frames, plays, np.full(n, held))


def test_what_drums_have_to_themselves():
    rng = np.random.default_rng(0)
    white = rng.standard_normal(SECONDS * SR)
    low = np.convolve(white, np.hanning(65) / 32, "same")  # below 1 kHz
    t = np.arange(SECONDS * SR) / SR
    tone = 0.2 * sum(np.sin(2 * np.pi * 220 * h * t) / h for h in range(1, 40))
    hats = _evidence(_strokes(0.05 * np.diff(white, prepend=0.0), 30), tone, 0.8)  # soft, and high
    assert hats.own_share < 0.3
    assert hats.of_high_db > -10
    assert hats.high_db > -10
    assert hats.are_drums
    kicks = _evidence(_strokes(0.6 * low, 20), 0.3 * tone, 0.8)  # low, and loud
    assert kicks.own_share > 0.5
    assert kicks.of_high_db < -23
    assert kicks.are_drums
    leak = _evidence(_strokes(0.05 * low, 5), tone, 0.8)  # low, and soft: the strokes of a string
    assert leak.own_share < 0.3
    assert leak.of_high_db < -23
    assert not leak.are_drums
    bars = _evidence(_strokes(0.03 * white, 5), tone, 0.2)  # no strokes, and the lesser part of the highest bands
    assert -23 < bars.of_high_db < -3
    assert bars.stroke < 0.4
    assert not bars.are_drums
    assert _evidence(_strokes(0.03 * white, 5), tone, 0.8).are_drums


def _note(hz: float, slope: float) -> np.ndarray:
    """A held tone whose partials fall off as a power of their number."""
    t = np.arange(SECONDS * SR) / SR
    return 0.2 * sum(np.sin(2 * np.pi * hz * h * t) / h**slope for h in range(1, int(10_000 / hz)))


def test_files_without_high_bands_tell_nothing_by_them():
    t = np.arange(SECONDS * SR) / SR
    y = 0.2 * np.sin(2 * np.pi * 220 * t)
    noise = np.random.default_rng(0).standard_normal(SECONDS * SR)
    strokes = resample(resample(_strokes(0.002 * noise, 20), SECONDS * 8000), len(noise))  # as of a file at 8 kHz
    found = _evidence(strokes, y, 0.8, held=True)
    assert np.isnan([found.of_high_db, found.high_db]).all()
    assert found.own_share < 0.3
    assert found.slope_db < -60
    assert found.are_drums


def test_a_deep_note_is_no_drum():
    deep, white = _note(30, 1.8), np.random.default_rng(0).standard_normal(SECONDS * SR)
    assert _evidence(0.9 * deep, 0.1 * deep, 0.8).are_drums
    note = _evidence(0.9 * deep, 0.1 * deep, 0.8, held=True)
    assert note.held_share == pytest.approx(1.0)
    assert -30 < note.slope_db < -15
    assert not note.are_drums
    # Drums beside a bass of that depth, however much of it is taken for theirs.
    beside = _evidence(_strokes(0.05 * white, 20) + 0.9 * deep, 0.1 * deep, 0.8, held=True)
    assert beside.high_db < -20
    assert beside.slope_db > -5
    assert beside.are_drums
    # The same where little above 2.5 kHz was recorded.
    dull = butter(6, 2500, fs=SR, output="sos")
    beside = _evidence(sosfilt(dull, _strokes(0.3 * white, 20) + 0.9 * deep), sosfilt(dull, 0.1 * deep), 0.8, held=True)
    assert -60 < beside.slope_db < -15
    assert -26 < beside.upper_db < -10
    assert beside.are_drums
    assert _evidence(sosfilt(dull, 0.9 * deep), sosfilt(dull, 0.1 * deep), 0.8, held=True).upper_db < -30


@pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not find_soundfonts(), reason="needs fluidsynth and a SoundFont"
)
@pytest.mark.parametrize(("kick", "status"), [(0, "absent"), (80, "ok")])
def test_repeated_notes_of_a_piano(kick, status):
    """Eighths of one key, a chord each four beats; with ``kick``, beside a kick and a hi-hat of that velocity."""
    beat, low = 60 / 107, (60, 69, 65, 67, 62, 67, 64, 69)
    starts = [(0.1 + k * beat / 2, low[k // 8 % 8] - 2) for k in range(48)]
    notes = [MidiNote(s, s + 0.3 * beat, key, 100) for s, key in starts]
    sound = play_notes(find_soundfonts()[0], 0, notes, 14.0, channel=0)
    if kick:
        drums = [MidiNote(s, s + 0.1, 36 if k % 4 == 0 else 42, kick) for k, (s, _) in enumerate(starts)]
        struck = play_notes(find_soundfonts()[0], 0, drums, 14.0, channel=9)
        n = min(len(sound), len(struck))
        sound = sound[:n] + struck[:n]
    row = Analyser().from_audio(sound.T.astype(np.float32), 44_100).stems["drums"]
    assert row["activity_status"] == status


@pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not find_soundfonts(), reason="needs fluidsynth and a SoundFont"
)
@pytest.mark.parametrize(("program", "key"), [(0, 21), (33, 21)])
def test_low_notes_of_pianos_and_basses(program, key):
    notes = [MidiNote(0.3 + 0.75 * k, 0.95 + 0.75 * k, key, 90) for k in range(12)]
    sound = play_notes(find_soundfonts()[0], program, notes, 10.0, channel=1)
    row = Analyser().from_audio(sound.T.astype(np.float32), 44_100).stems
    assert row["drums"]["activity_status"] == "absent"
    assert row["bass"]["activity_status"] == "ok"
    assert row["bass"]["f0_median_hz"] == pytest.approx(440 * 2 ** ((key - 69) / 12), rel=0.02)
