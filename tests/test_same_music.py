"""The same music in other files: turned down, out of phase, with an offset, band-limited."""

from __future__ import annotations

from pathlib import Path

import mir_eval.beat
import numpy as np
import pytest
import soundfile

from stemfeatures import Analyser
from stemfeatures.analysis import TrackAnalysis
from stemfeatures.audio import resample
from stemfeatures.constants import STEM_ROWS
from stemfeatures.generator.song import Song, generate_song

SAMPLES = Path(__file__).parents[1] / "catalog_samples"
SECONDS = 9.0
#: What tells of the place between two channels.
PLACE = (
    "stereo_status",
    *(f"stereo_{what}{band}" for what in ("width", "pan", "correlation") for band in ("", "_low", "_mid", "_high")),
)
#: What tells of level, and may follow a gain.
LEVELS = ("_lufs", "_dbtp", "silence_rate_60db", "mfcc_01_mean", "beat_loudness_mean_db")


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser()


@pytest.fixture(scope="module")
def song() -> tuple[np.ndarray, int]:
    """(n,) a song with all four stems."""
    y, rate = soundfile.read(SAMPLES / "Río.flac", frames=int(SECONDS * 44_100), dtype="float32", always_2d=True)
    return y.mean(axis=1), rate


@pytest.fixture(scope="module")
def plain(analyser: Analyser, song: tuple[np.ndarray, int]) -> TrackAnalysis:
    y, rate = song
    return analyser.from_audio(np.stack([y, y]), rate)


def differences(one: TrackAnalysis, other: TrackAnalysis, tolerance: float, *, but: tuple[str, ...] = LEVELS) -> list:
    """Fields of all rows that differ by more than a share of their value, or an absolute difference."""
    found = []
    for row in STEM_ROWS:
        for name, value in one.stems[row].items():
            if name.endswith(but) or name in but:
                continue
            now = other.stems[row][name]
            same = (
                now == pytest.approx(value, rel=tolerance, abs=tolerance) if isinstance(value, float) else now == value
            )
            if not same:
                found.append((row, name, value, now))
    return found


@pytest.mark.parametrize("gain_db", [-12, -24])
def test_a_file_that_is_turned_down_has_the_same_values(analyser, song, plain, gain_db):
    y, rate = song
    quiet = analyser.from_audio(np.stack([y, y]) * np.float32(10 ** (gain_db / 20)), rate)
    # ITU-R BS.1770 leaves out what is below -70 LUFS whatever the rest is like.
    gated = ("loudness_relative_lu", "loudness_range_lu") if gain_db < -12 else ()
    assert differences(plain, quiet, 0.01, but=(*LEVELS, *gated)) == []
    assert plain.stems["drums"]["onset_count"] > 10
    for row in STEM_ROWS:
        lufs = [result.stems[row]["loudness_integrated_lufs"] for result in (plain, quiet)]
        # What that leaves out moves the relative gate by up to 0.2 dB, and one of 87 blocks across it by some 0.06.
        assert lufs[1] - lufs[0] == pytest.approx(gain_db, abs=0.1 if gain_db == -12 else 0.3)


@pytest.mark.parametrize("right", [-1.0, -0.9])
def test_channels_out_of_phase_have_the_values_of_channels_in_phase(analyser, song, plain, right):
    y, rate = song
    result = analyser.from_audio(np.stack([y, np.float32(right) * y]), rate)
    assert result.status == "ok"
    assert result.polarity_inverted_ratio == 1
    assert plain.polarity_inverted_ratio == 0
    assert differences(plain, result, 0.01, but=(*LEVELS, *PLACE)) == []
    # Loudness is that of the channels, which does not know their phase.
    lower = 10 * np.log10((1 + right**2) / 2)
    lufs = [analysis.stems["mixture"]["loudness_integrated_lufs"] for analysis in (plain, result)]
    assert lufs[1] - lufs[0] == pytest.approx(lower, abs=0.02)


def test_one_silent_channel_halves_the_level_alone(analyser, song, plain):
    y, rate = song
    result = analyser.from_audio(np.stack([y, 0 * y]), rate)
    assert differences(plain, result, 0.01, but=(*LEVELS, *PLACE)) == []
    assert result.stems["mixture"]["stereo_pan"] == pytest.approx(-1)


def test_an_offset_of_one_channel_moves_no_pitch(analyser, song, plain):
    y, rate = song
    result = analyser.from_audio(np.stack([0.6 * y, 0.6 * y + np.float32(0.3)]), rate)
    assert result.dc_offset == pytest.approx(0.3, abs=0.005)
    bass, plain_bass = result.stems["bass"], plain.stems["bass"]
    assert 1200 * abs(np.log2(bass["f0_median_hz"] / plain_bass["f0_median_hz"])) < 2
    assert differences(plain, result, 0.02, but=(*LEVELS, *PLACE, "true_peak_dbtp")) == []


def beats_found(analysis: TrackAnalysis) -> float:
    """F-measure of the beats of the song's beginning."""
    beats = np.loadtxt(SAMPLES / "truth" / "rio" / "beats.tsv", usecols=0)
    return mir_eval.beat.f_measure(beats[beats < SECONDS], analysis.events.beats_s, 0.07)


def test_beats_of_a_narrow_band(analyser, song):
    y, rate = song
    found = analyser.from_audio(resample(y, rate, 8_000), 8_000)
    assert beats_found(found) > 0.9
    assert found.stems["mixture"]["tempo_bpm"] == pytest.approx(120, rel=0.03)


@pytest.fixture(scope="module")
def generated() -> Song:
    """A song of 15 s whose beats are exact."""
    return generate_song(795_011, duration_s=15.0, style="rock")


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_beats_of_a_generated_song_of_a_narrow_band(analyser, generated, rate):
    found = analyser.from_audio(resample(generated.mixture, generated.truth.sample_rate, rate), rate)
    beats = np.array(generated.truth.beats_s)
    # From 5 s on, as is usual: the song begins softly.
    heard, true = (mir_eval.beat.trim_beats(times) for times in (found.events.beats_s, beats))
    assert mir_eval.beat.f_measure(true, heard, 0.07) > 0.95
    assert found.stems["mixture"]["tempo_status"] == "ok"
    assert found.stems["mixture"]["tempo_bpm"] == pytest.approx(60 / np.median(np.diff(beats)), rel=0.01)


def test_beats_of_few_bits(analyser, song, tmp_path):
    y, rate = song
    path = tmp_path / "small.mp3"
    soundfile.write(path, y, rate, compression_level=8 / 9, bitrate_mode="CONSTANT")
    assert path.stat().st_size * 8 / SECONDS == pytest.approx(64_000, rel=0.05)
    found = analyser.from_file(path)
    assert beats_found(found) > 0.9
    assert found.stems["mixture"]["tempo_bpm"] == pytest.approx(120, rel=0.03)


def test_an_instrumental_of_the_song_has_no_vocals(analyser):
    stems = [
        soundfile.read(SAMPLES / "truth" / "rio" / f"{s}.flac", dtype="float32") for s in ("drums", "bass", "other")
    ]
    rate = stems[0][1]
    mixture = sum(y[: int(SECONDS * rate)] for y, _ in stems)
    result = analyser.from_audio(mixture.T, rate)
    assert result.stems["mixture"]["voice_instrumental"] == "instrumental"
    assert result.stems["vocals"]["activity_status"] == result.stems["vocals"]["f0_status"] == "absent"
    assert result.stems["vocals"]["f0_median_hz"] is None
    assert "vocals" not in result.embeddings
    assert result.stems["drums"]["activity_status"] == "ok"


def test_the_song_itself_is_sung(plain):
    assert plain.stems["mixture"]["voice_instrumental"] == "voice"
