"""Struck strings are no drums: on signals whose spectra are known, and on instruments of a SoundFont."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from frames_helper import SR, n_frames_of, pulses, track_frames

from stemfeatures.analysis import Analyser
from stemfeatures.descriptors.drumming import DrumEvidence, drum_evidence
from stemfeatures.generator.play.soundfonts import MidiNote, find_soundfonts, play_notes

SECONDS = 6
BEATS = np.arange(0.25, SECONDS - 0.25, 0.5)


def _strokes(noise: np.ndarray, decay: float) -> np.ndarray:
    t = np.arange(len(noise)) / SR
    since = t - BEATS[np.clip(np.searchsorted(BEATS, t, side="right") - 1, 0, None)]
    return noise * np.exp(-decay * np.maximum(since, 0)) * (since >= 0)


def _evidence(drums: np.ndarray, others: np.ndarray, stroke: float) -> DrumEvidence:
    n = n_frames_of(SECONDS * SR)
    frames = track_frames({"drums": drums, "other": others}, onset=pulses(BEATS, n, height=stroke))
    plays = np.zeros(n, dtype=bool)
    plays[10:-10] = True
    return drum_evidence(frames, plays)


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


def test_files_without_high_bands_tell_nothing_by_them():
    t = np.arange(SECONDS * SR) / SR
    y = 0.2 * np.sin(2 * np.pi * 220 * t)
    found = _evidence(0.05 * y, 0.95 * y, 0.2)
    assert np.isnan([found.of_high_db, found.high_db]).all()
    assert found.own_share == pytest.approx(0.05**2, rel=0.01)
    assert found.are_drums


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
