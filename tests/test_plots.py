"""Pictures and sonifications show what was found, where it was found."""

from __future__ import annotations

import numpy as np
import pytest

from stemfeatures import audio
from stemfeatures.constants import STEM_ROWS
from stemfeatures.descriptors.types import Events, F0Contour, TrackDescription
from stemfeatures.plots.sonify import sonify

pytest.importorskip("matplotlib")

RATE = 22_050


def description(seconds: float = 8.0) -> TrackDescription:
    """Vocals on 440 Hz from 2 to 6 s, a beat every half second, four to the bar, onsets of the drums on the beats."""
    times = np.arange(0, seconds, 512 / RATE)
    f0 = np.where((times >= 2) & (times < 6), 440.0, np.nan)
    beats = np.arange(0.25, seconds, 0.5)
    events = Events(beats, 1 + np.arange(len(beats)) % 4, {"drums": beats})
    return TrackDescription({}, {"vocals": F0Contour(times, f0, np.isfinite(f0).astype(np.float32))}, events, {})


def test_a_picture_without_spectra_has_contours_bars_and_words() -> None:
    from stemfeatures.plots.track import plot_track

    words = [{"word": "la", "start": 2.0, "end": 3.0}, {"word": "lost", "start": None, "end": None}]
    figure = plot_track(description(), title="x", words=words)
    lanes, vocals, sounds = figure.axes
    assert [t.get_text() for t in lanes.get_yticklabels()] == ["words"]
    assert [t.get_text().strip() for t in lanes.texts] == ["la"]
    contour = vocals.get_lines()[0].get_xydata()
    sung = contour[np.isfinite(contour[:, 1])]
    assert (sung[:, 1] == 440).all()
    assert 2 <= sung[0, 0] < sung[-1, 0] < 6
    bars = [t.get_text() for t in vocals.texts]
    assert bars == ["1", "2", "3", "4"]
    assert [a.xy[0] for a in vocals.texts] == [0.25, 2.25, 4.25, 6.25]
    assert sounds.get_xlim() == (0.0, pytest.approx(7.98, abs=0.05))
    part = plot_track(description(), start_s=2.0, end_s=4.0)
    assert part.axes[-1].get_xlim() == (2.0, 4.0)
    with pytest.raises(ValueError, match=r"nothing to draw from 9 s to .*: the track has 7\.\d+ s"):
        plot_track(description(), start_s=9.0)


def test_spectra_lie_where_the_stems_sound() -> None:
    from stemfeatures.frames import StemFrames, TrackFrames
    from stemfeatures.plots.track import plot_track

    n = 345
    stems = {}
    for row in STEM_ROWS:
        mel = np.zeros((80, n), np.float32)
        if row in ("mixture", "vocals"):
            mel[20, 86:258] = 1.0  # 2 to 6 s
        energy, k_power, *shape = [np.zeros(n, np.float32)] * 6
        stems[row] = StemFrames(mel, np.zeros((36, n)), np.zeros((7, n)), energy, k_power, 0.0, *shape)
    presence = np.zeros((4, n), np.float32)
    frames = TrackFrames(n * 512, stems, {}, *[np.zeros(n, np.float32)] * 3, presence=presence)
    figure = plot_track(description(), frames)
    images = {ax.get_ylabel(): ax.collections[0].get_array() for ax in figure.axes[:-1]}
    assert list(images) == list(STEM_ROWS)
    level = np.asarray(images["vocals"]).reshape(80, -1)
    assert level.max() == 0.0
    sounding = level[20] > -1
    assert (sounding.argmax(), sounding.sum()) == (86, 172)
    # Nothing, relative to the loudest of the mixture; the last bit of the logarithm is the processor's.
    assert np.asarray(images["bass"]).max() == pytest.approx(-120.0, abs=1e-4)


def test_stems_are_drawn_from_files(tmp_path) -> None:
    from stemfeatures.plots.stems import plot_stems

    t = np.arange(4 * 44_100) / 44_100
    tone = np.where(t < 2, np.sin(2 * np.pi * 1000 * t), 0).astype(np.float32)
    audio.write(tmp_path / "vocals.wav", tone, 44_100)
    audio.write(tmp_path / "bass.wav", 0 * tone, 44_100)
    figure = plot_stems({"vocals": tmp_path / "vocals.wav", "bass": tmp_path / "bass.wav"})
    vocals, bass = (np.asarray(ax.collections[0].get_array()).reshape(128, -1) for ax in figure.axes)
    columns = vocals.shape[1]
    loud = vocals.max(axis=0) > -20
    assert loud[: columns // 2 - 1].all()
    assert not loud[columns // 2 + 1 :].any()
    assert bass.max() < -100
    assert figure.axes[-1].get_xlim()[1] == pytest.approx(4.0)


def test_a_sonification_clicks_on_beats_and_sings_the_contour() -> None:
    pytest.importorskip("mir_eval")
    music = np.zeros((2, 8 * RATE), np.float32)
    y = sonify(description(), music, RATE)
    assert y.shape == music.shape
    assert y.dtype == np.float32
    assert np.abs(y).max() <= 1
    level = np.sqrt(np.mean(y[0, : 8 * RATE].reshape(-1, RATE // 50) ** 2, axis=1))  # by 20 ms
    before = level[:100]  # until 2 s nobody sings: clicks alone
    assert np.flatnonzero(before > 0.05).tolist() == [12, 37, 62, 87]  # 0.25, 0.75 ... s
    spectrum = np.abs(np.fft.rfft(y[0, 3 * RATE : 5 * RATE]))
    assert np.argmax(spectrum) / 2 == pytest.approx(440, abs=1)
    downbeat, other = (np.abs(np.fft.rfft(y[0, int(s * RATE) : int((s + 0.04) * RATE)])) for s in (0.25, 0.75))
    assert np.argmax(downbeat) > np.argmax(other)
    loud = sonify(description(), np.ones((1, 8 * RATE), np.float32), RATE)
    assert np.abs(loud).max() == pytest.approx(1.0)
