"""Onsets, beats, tempo and bars on signals and activations whose answer is known."""

import json
import shutil
from pathlib import Path

import librosa
import mir_eval.beat
import mir_eval.onset
import numpy as np
import pytest
import soundfile
from frames_helper import FRAME_RATE, SR, n_frames_of, pulses, stem_frames, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.accents import ACCENTS, AccentStreams
from stemfeatures.descriptors.beats import BeatTrack, tempogram, track_beats
from stemfeatures.descriptors.metre import find_bars
from stemfeatures.descriptors.onsets import find_onsets, note_onsets
from stemfeatures.descriptors.types import F0Contour
from stemfeatures.generator.play.soundfonts import MidiNote, find_soundfonts, play_notes

SECONDS = 30
N = n_frames_of(SECONDS * SR)


def _clicks(bpm, start=0.37, seconds=SECONDS):
    return np.arange(start, seconds - 0.5, 60 / bpm)


def _bars(beats, downbeat, harmony=None, **strokes):
    """Bars of beats with given activations; ``strokes``: rise of the drums and other stems by kind."""
    pulse = {"beat": pulses(beats, N), "downbeat": downbeat, **strokes}
    zeros = np.zeros(N)
    streams = AccentStreams(
        np.stack([pulse.get(kind, zeros) for kind in ACCENTS[:8]]),
        np.zeros((12, N)) if harmony is None else harmony,
        np.zeros((12, N)),
    )
    return find_bars(BeatTrack(beats, np.full(len(beats), 0.9), ((60 / np.diff(beats).mean(), 0.5),)), streams)


@pytest.mark.parametrize("bpm", [45, 60, 75, 90, 104, 118, 128, 140, 155, 174, 190, 200, 215])
def test_click_tracks(bpm):
    beats = _clicks(bpm)
    track = track_beats(pulses(beats, N))
    assert mir_eval.beat.f_measure(beats, track.beats_s) == 1
    assert np.abs(track.beats_s - beats).max() < 0.005  # a fifth of a frame
    tempo, strength = track.tempo_bpm[0]
    assert tempo == pytest.approx(bpm, rel=0.002)
    assert 0 < strength <= 1
    assert sum(s for _, s in track.tempo_bpm) <= 1 + 1e-9
    # The runner-up is an octave away.
    ratio = np.log2(track.tempo_bpm[1][0] / bpm)
    assert abs(ratio) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("bpm", [75, 100, 128, 160])
def test_uneven_pulses_over_noise(bpm):
    rng = np.random.default_rng(bpm)
    beats = _clicks(bpm)
    activation = np.maximum(pulses(beats, N, height=rng.uniform(0.3, 0.9, len(beats))), rng.uniform(0, 0.2, N))
    track = track_beats(activation)
    assert mir_eval.beat.f_measure(beats, track.beats_s, f_measure_threshold=0.05) > 0.97


def test_eighths_between_the_beats_do_not_double_the_tempo():
    beats = _clicks(100)
    track = track_beats(np.maximum(pulses(beats, N, height=0.7), pulses(beats + 0.3, N, height=0.25)))
    assert mir_eval.beat.f_measure(beats, track.beats_s) == 1
    assert track.tempo_bpm[0][0] == pytest.approx(100, rel=0.01)


def test_accelerando_and_a_change_of_tempo():
    accelerando = 0.3 + np.cumsum(60 / np.linspace(90, 130, 50))
    jump = np.concatenate([np.arange(0.3, 15, 0.5), np.arange(15.3, 29, 60 / 90)])
    for beats in (accelerando, jump):
        track = track_beats(pulses(beats, n_frames_of(int((beats[-1] + 1) * SR))))
        assert mir_eval.beat.f_measure(beats, track.beats_s) > 0.97


def test_a_rest_gets_no_beats_and_the_bar_starts_anew():
    beats = np.concatenate([_clicks(120, 0.25, 10.4), _clicks(120, 19.6)])
    activation = pulses(beats, N)
    track = track_beats(activation)
    assert mir_eval.beat.f_measure(beats, track.beats_s) == 1
    second = beats[beats > 15]
    downbeats = np.concatenate([beats[beats < 15][::4], second[2::4]])
    bars = _bars(track.beats_s, pulses(downbeats, N))
    assert (bars.numerator, bars.denominator) == (4, 4)
    np.testing.assert_allclose(bars.track.beats_s[bars.positions == 1], downbeats, atol=0.005)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("height", [0.05, 0.3, 1.0])
def test_no_beats_without_rhythm(seed, height):
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, height, N)
    assert track_beats(noise) is None
    assert track_beats(np.convolve(noise, np.ones(4) / 4, "same")) is None
    assert track_beats(pulses(np.sort(rng.uniform(0, SECONDS, 50)), N, height=height)) is None


def test_no_beats_in_silence_short_or_weak_activations():
    assert track_beats(np.zeros(N)) is None
    assert track_beats(np.ones(N)) is None
    assert track_beats(pulses(_clicks(120), N)[:100]) is None
    assert track_beats(pulses(_clicks(120), N, height=0.05)) is None
    assert track_beats(np.zeros(1)) is None


def test_tempogram_peaks_at_the_tempo():
    bpm, periodicity, salience = tempogram(pulses(_clicks(96), N))
    assert bpm[salience.argmax()] == pytest.approx(96, rel=0.01)
    assert periodicity.min() >= 0
    assert periodicity.max() <= 1.05
    assert bpm[0] == pytest.approx(40)
    assert bpm[-1] <= 220


@pytest.mark.parametrize("meter", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_bars(meter, noise):
    rng = np.random.default_rng(meter)
    beats = _clicks(120)
    accents = pulses(beats[1::meter], N, height=0.8)
    others = pulses(beats, N, height=rng.uniform(0, noise, len(beats)))
    bars = _bars(beats, np.maximum(accents, others))
    assert (bars.numerator, bars.denominator) == (meter, 4)
    positions = bars.positions
    assert (positions[1::meter] == 1).all()
    assert positions.min() == 1
    assert positions.max() == meter
    np.testing.assert_array_equal(np.diff(positions) % meter, 1)
    assert bars.confidence > 0.5


def _chords(changes):
    """(12, N) root chroma of triads that change at given times."""
    chord = np.searchsorted(changes, np.arange(N) / FRAME_RATE - 1e-6)
    return np.stack([np.isin((pc - 5 * chord) % 12, (0, 4, 7)) for pc in range(12)]).astype(float)


def test_a_bar_whose_third_beat_is_as_strong_as_the_first_has_four():
    # The network hears a downbeat wherever the kick falls; a chord a bar tells the one from the other.
    beats = _clicks(120)
    bars = _bars(
        beats,
        pulses(beats[::2], N, height=0.8),
        _chords(beats[4::4]),
        kick=pulses(beats[::2], N),
        snare=pulses(beats[1::2], N),
    )
    assert (bars.numerator, bars.denominator) == (4, 4)
    np.testing.assert_allclose(bars.track.beats_s[bars.positions == 1], beats[::4])


@pytest.mark.parametrize("bpm", [45, 55, 65])
def test_a_slow_song_that_the_network_hears_at_twice_its_tempo(bpm):
    # Kick on one and three, snare on two and four, a hi-hat and chords on the eighths, those on the beat the louder.
    beats = _clicks(bpm)
    eighths = _clicks(2 * bpm)
    bars = _bars(
        eighths,
        pulses(eighths[::4], N, height=0.6),
        _chords(beats[4::4]),
        kick=pulses(beats[::2], N),
        snare=pulses(beats[1::2], N),
        hat=np.maximum(pulses(beats, N, height=0.9), pulses(eighths, N, height=0.3)),
        bass=pulses(beats[::2], N),
        other=np.maximum(pulses(beats, N, height=0.8), pulses(eighths, N, height=0.2)),
    )
    assert (bars.numerator, bars.denominator) == (4, 4)
    assert bars.track.tempo_bpm[0][0] == pytest.approx(bpm, rel=0.01)
    np.testing.assert_allclose(bars.track.beats_s[bars.positions == 1], beats[: len(bars.track.beats_s)][::4])


def test_six_eight_is_not_three_four():
    # Dotted quarters at 70, the eighths between them played: a bar has two beats of three eighths.
    beats = _clicks(70)
    eighths = _clicks(210)
    played = np.maximum(pulses(eighths, N, height=0.5), pulses(beats, N))
    bars = _bars(
        beats,
        np.maximum(pulses(beats[::2], N, height=0.8), pulses(beats[1::2], N, height=0.3)),
        _chords(beats[2::2]),
        kick=pulses(beats[::2], N),
        snare=pulses(beats[1::2], N),
        hat=played,
        other=played,
    )
    assert (bars.numerator, bars.denominator) == (6, 8)
    assert bars.positions.max() == 2
    # A waltz at the same tempo, its beats in two.
    played = np.maximum(pulses(_clicks(140), N, height=0.5), pulses(beats, N))
    bars = _bars(beats, pulses(beats[::3], N, height=0.8), _chords(beats[3::3]), hat=played, other=played)
    assert (bars.numerator, bars.denominator) == (3, 4)


def test_one_beat_too_many_moves_the_bar_lines():
    beats = _clicks(120)
    downbeats = np.concatenate([beats[:20:4], beats[21::4]])
    bars = _bars(beats, pulses(downbeats, N, height=0.8))
    assert bars.numerator == 4
    np.testing.assert_allclose(beats[bars.positions == 1], downbeats)


def test_no_bars_without_accents():
    beats = _clicks(120)
    for activation in (np.zeros(N), pulses(beats, N, height=0.4)):
        bars = _bars(beats, activation)
        assert bars.numerator is bars.denominator is bars.confidence is None
        assert (bars.positions == 0).all()
    assert _bars(beats[:3], np.zeros(N)).numerator is None


def _onsets(y, **kwargs):
    frames = stem_frames(y)
    return find_onsets(frames.mel, frames.chroma, np.ones(len(frames.energy), bool), **kwargs)


def _plucks(level, noise):
    rng = np.random.default_rng(3)
    truth = np.cumsum(rng.uniform(0.12, 0.6, 40))
    truth = truth[truth < 9.5]
    y = noise * level * rng.standard_normal(10 * SR)
    n = np.arange(SR // 2) / SR
    for onset in truth:
        f = 220 * 2 ** (rng.integers(0, 24) / 12)
        pluck = sum(np.sin(2 * np.pi * f * h * n) / h for h in range(1, 6)) * np.exp(-6 * n) * np.minimum(1, n * 220)
        at = int(onset * SR)
        y[at : at + len(n)] += level * pluck[: len(y) - at]
    return truth, y


@pytest.mark.parametrize("level", [0.5, 0.005])
@pytest.mark.parametrize("noise", [0, 0.01])
def test_onsets_of_plucked_tones(level, noise):
    truth, y = _plucks(level, noise)
    onsets, height = _onsets(y)
    assert mir_eval.onset.f_measure(truth, onsets, window=0.03)[0] > 0.95
    late = np.median([onsets[np.abs(onsets - t).argmin()] - t for t in truth])
    assert abs(late) < 0.02
    assert len(onsets) == len(height)


@pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not find_soundfonts(), reason="needs fluidsynth and a SoundFont"
)
@pytest.mark.parametrize(("program", "low"), [(56, 60), (73, 67), (40, 57)])
def test_slow_attacks_are_not_heard_late(program, low):
    """Legato of a trumpet, a flute and a violin, whose attacks last up to 0.1 s."""
    rng = np.random.default_rng(8)
    truth = 0.3 + np.r_[0.0, np.cumsum(rng.choice([0.25, 0.3, 0.5, 0.7], 29))]
    keys = low + np.cumsum(rng.choice([-4, -2, 2, 3, 5], len(truth))) % 22
    notes = [MidiNote(t, e, int(k), 90) for t, e, k in zip(truth, np.r_[truth[1:], truth[-1] + 0.5], keys)]
    sound = play_notes(find_soundfonts()[0], program, notes, truth[-1] + 1, channel=0).mean(axis=1)
    onsets, _ = _onsets(librosa.resample(sound, orig_sr=44_100, target_sr=SR))
    assert mir_eval.onset.f_measure(truth, onsets, window=0.05)[0] > 0.94


def test_vibrato_and_steady_noise_have_no_onsets():
    t = np.arange(6 * SR) / SR
    phase = 2 * np.pi * np.cumsum(220 * 2 ** (60 / 1200 * np.sin(2 * np.pi * 5.5 * t))) / SR
    vibrato = 0.2 * sum(np.sin(h * phase) / h for h in range(1, 10))
    for y in (vibrato, 0.1 * np.random.default_rng(0).standard_normal(6 * SR)):
        onsets, _ = _onsets(y)
        assert (onsets < 0.1).all()  # the start of the sound at most


def _bass_line(seconds=12.0):
    """Legato: every note takes over from the last at full level; every third repeats its pitch after a dip of 30 ms."""
    rng = np.random.default_rng(5)
    truth = np.cumsum(rng.choice([0.25, 0.375, 0.5], 40))
    truth = truth[truth < seconds - 0.5]
    y = np.zeros(int(seconds * SR))
    midi = 33
    for i, (start, end) in enumerate(zip(truth, np.r_[truth[1:], seconds - 0.25], strict=True)):
        midi = midi if i % 3 == 2 else int(rng.choice([m for m in (29, 31, 33, 36, 38, 40) if m != midi]))
        n = np.arange(int((end - start - 0.03) * SR)) / SR
        f = 440 * 2 ** ((midi - 69) / 12)
        note = sum(np.sin(2 * np.pi * f * h * n) / h**1.5 for h in range(1, 6)) * np.exp(-1.5 * n)
        note *= np.minimum(1, np.minimum(n, n[::-1]) / 0.01)
        y[int(start * SR) :][: len(n)] += 0.1 * note
    return truth, y


@pytest.mark.parametrize("gain", [1.0, 0.02])
def test_onsets_of_a_bass_line(gain):
    truth, y = _bass_line()
    values = describe(track_frames({"bass": gain * y, "drums": 1e-3 * gain * y[::-1]}))
    onsets = values.events.onsets_s["bass"]
    assert mir_eval.onset.f_measure(truth, onsets, window=0.05)[0] > 0.9
    assert values.stems["bass"]["onset_count"] == len(onsets)
    assert values.stems["bass"]["rhythm_status"] == "ok"


@pytest.mark.parametrize("song", ["rio", "silver-night", "morning-light"])
def test_onsets_of_recorded_bass_notes(song):
    folder = Path(__file__).parent.parent / "catalog_samples" / "truth"
    if not (folder / song / "bass.flac").exists():
        pytest.skip("catalog_samples is not there")
    y, sample_rate = soundfile.read(folder / song / "bass.flac")
    assert sample_rate == SR
    truth = np.array([note[0] for note in json.loads((folder / f"{song}.json").read_text())["bass_notes"]])
    onsets, _ = _onsets(y)
    assert mir_eval.onset.f_measure(truth, onsets, window=0.05)[0] > 0.95


def test_new_notes_of_a_contour_are_onsets():
    # A voice that slides from note to note without a change of level, breathes once and has vibrato throughout.
    frames = np.arange(n_frames_of(8 * SR))
    seconds = frames / FRAME_RATE
    note = np.select([seconds < 2, seconds < 4, seconds < 5, seconds < 5.3], [0, 3, 3, np.nan], 5)
    cents = 100 * note + 40 * np.sin(2 * np.pi * 5.5 * seconds)
    contour = F0Contour(seconds, 220 * 2 ** (cents / 1200), np.ones(len(frames), np.float32))
    np.testing.assert_allclose(note_onsets(contour), [0, 2, 5.3], atol=0.08)
    mel, chroma, on = np.zeros((80, len(frames))), np.zeros((36, len(frames))), np.ones(len(frames), bool)
    for voice in (True, False):
        onsets, height = find_onsets(mel, chroma, on, contour=contour, voice=voice)
        np.testing.assert_allclose(onsets, [0, 2, 5.3], atol=0.08)
        assert (height == 0).all()
        # A stroke close to a note is the same onset.
        strokes = pulses(np.array([1.98, 3.2]), len(frames))
        onsets, height = find_onsets(mel, chroma, on, contour=contour, voice=voice, activation=strokes)
        np.testing.assert_allclose(onsets, [0, 2 if voice else 1.98, 3.2, 5.3], atol=0.08)
        assert len(height) == len(onsets)
    none = F0Contour(seconds, np.full(len(frames), np.nan), np.zeros(len(frames), np.float32))
    assert len(note_onsets(none)) == 0


def test_a_voice_that_stops_dead_before_its_next_note_begins_once():
    # Notes of half a second, each cut off with a click 40 to 120 ms before the next one.
    for gap in (0.04, 0.08, 0.12):
        starts = np.arange(0.3, 5, 0.5 + gap)
        t = np.arange(int(5.5 * SR)) / SR
        since = t[:, None] - starts
        on = (since >= 0) & (since < 0.5)
        notes = np.sin(2 * np.pi * 233.6 * since[:, :, None] * np.arange(1, 9)) / np.arange(1, 9)
        voice = 0.2 * (notes.sum(axis=2) * on * np.exp(-since.clip(0))).sum(axis=1)
        onsets, _ = _onsets(voice, voice=True)
        onsets = onsets[onsets < starts[-1] + 0.4]  # nothing follows the cut of the last one
        assert len(onsets) == len(starts)
        assert np.abs(onsets - starts).max() < (0.05 if gap > 0.05 else 0.07)


@pytest.mark.parametrize("voice", [False, True])
@pytest.mark.parametrize("partials", [(1,), (1, 2, 4), range(1, 13)])
def test_a_tone_that_is_cut_dead_begins_once(partials, voice):
    # The click of the cut rises in bands that a tone of few partials leaves empty, and its tail is new harmony.
    random = np.random.default_rng(0)
    for rest in (0.15, 0.4):
        y, starts = [np.zeros(int(0.3 * SR))], []
        for k in range(20):
            t = np.arange(int(random.uniform(0.35, 0.65) * SR)) / SR
            hz = 220 * 2 ** (random.integers(0, 25) / 12)
            tone = sum(np.sin(2 * np.pi * h * hz * t + random.uniform(0, 6)) / h for h in partials)
            starts.append(sum(map(len, y)) / SR)
            y += [0.2 * tone * np.exp(-t * (k % 2)) * np.minimum(1, t / 0.005), np.zeros(int(rest * SR))]
        frames = stem_frames(np.concatenate(y))
        active = frames.energy > 1e-5 * frames.energy.max()
        onsets, _ = find_onsets(frames.mel, frames.chroma, active, voice=voice)
        assert len(onsets) == len(starts)
        assert np.abs(onsets - starts).max() < 0.04


@pytest.mark.parametrize("playing", [False, True])
def test_a_damper_is_a_stroke_only_where_drums_play(playing):
    starts = np.arange(0.3, 6, 0.6)
    t = np.arange(int(6.5 * SR)) / SR
    since = t - starts[np.maximum(np.searchsorted(starts, t, "right") - 1, 0)]
    tone = 0.2 * sum(np.sin(2 * np.pi * 220 * h * since) / h for h in range(1, 9))
    y = tone * np.minimum(1, since / 0.005) * (since < 0.4) * (t >= starts[0])
    frames = stem_frames(y)
    n = len(frames.energy)
    # The network takes the ends for strokes, too.
    activation = pulses(np.sort(np.r_[starts, starts + 0.4]), n)
    active = frames.energy > 1e-5 * frames.energy.max()
    drums = np.full(n, playing)
    onsets, _ = find_onsets(frames.mel, frames.chroma, active, activation=activation, drums=drums)
    assert len(onsets) == len(starts) * (1 + playing)


def test_a_tone_that_follows_a_cut_at_once_is_heard_behind_the_click():
    random = np.random.default_rng(1)
    y, starts = [np.zeros(int(0.3 * SR))], []
    for _ in range(20):
        t = np.arange(int(random.uniform(0.35, 0.65) * SR)) / SR
        hz = 220 * 2 ** (random.integers(0, 25) / 12)
        starts.append(sum(map(len, y)) / SR)
        y += [np.sin(2 * np.pi * hz * t + random.uniform(0, 6)) * np.minimum(1, t / 0.03), np.zeros(int(0.045 * SR))]
    _, precision, recall = mir_eval.onset.f_measure(np.array(starts), _onsets(0.2 * np.concatenate(y))[0], window=0.05)
    assert precision > 0.9
    assert recall > 0.75  # 3 of 20 without what the click hides


def test_a_voice_with_tremolo_has_no_onsets():
    t = np.arange(6 * SR) / SR
    swing = np.sin(2 * np.pi * 5.5 * t)
    phase = 2 * np.pi * np.cumsum(220 * 2 ** (60 / 1200 * swing)) / SR
    voice = 0.2 * (1 + 0.3 * swing) * sum(np.sin(h * phase) / h for h in range(1, 10))
    onsets, _ = _onsets(voice, voice=True)
    assert (onsets < 0.1).all()


def test_pink_noise_has_no_onsets():
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(6 * SR))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))))
    onsets, _ = _onsets(0.1 * noise / noise.std())
    assert (onsets > 0.1).sum() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_bumps_of_a_network_in_doubt_are_no_beats(seed):
    # What noise and steady tones get: broad bumps of 0.2 to 0.6 on a floor that is hardly lower.
    rng = np.random.default_rng(seed)
    rough = np.convolve(rng.uniform(0, 1, 8 * 43 + 8), np.hanning(11) / np.hanning(11).sum(), "valid")
    activation = 0.25 + 0.35 * (rough - rough.min()) / np.ptp(rough)
    assert track_beats(activation) is None
    # Regular, but hardly above what lies between.
    regular = 0.2 + pulses(_clicks(120), N, height=0.15)
    assert track_beats(regular) is None
    # A handful of clear pulses in a long stretch of weak ones.
    weak = pulses(_clicks(120), N, height=0.12)
    weak[np.rint(_clicks(120)[:3] * FRAME_RATE).astype(int)] = 0.9
    assert track_beats(weak) is None


@pytest.mark.parametrize("bpm", [220, 224, 230, 234])
def test_no_tempo_above_220(bpm):
    track = track_beats(pulses(_clicks(bpm), N))
    assert 40 <= track.tempo_bpm[0][0] <= 220
    assert min(abs(track.tempo_bpm[0][0] / bpm - r) for r in (1, 1 / 2)) < 0.01
    assert all(40 <= tempo <= 220 for tempo, _ in track.tempo_bpm)


@pytest.mark.parametrize("bpm", [38, 39, 39.8, 40.2])
def test_no_tempo_below_40(bpm):
    track = track_beats(pulses(_clicks(bpm), N))
    assert track is None or 40 <= track.tempo_bpm[0][0] <= 220


def test_drums_that_miss_most_beats_have_none():
    # A stroke every two seconds under a beat that others keep.
    y = np.zeros(SECONDS * SR)
    for start in np.arange(0.9, SECONDS - 1, 2.0):
        y[int(start * SR) :][:2000] += 0.3 * np.hanning(2000) * np.sin(np.arange(2000))
    pad = 0.1 * np.sin(2 * np.pi * 440 * np.arange(len(y)) / SR)
    rows = describe(track_frames({"drums": y, "other": pad}, beat=pulses(_clicks(150), N))).stems
    assert rows["mixture"]["tempo_status"] == "ok"
    assert rows["drums"]["tempo_status"] == "no_beats"
    assert rows["drums"]["beat_count"] == 0


def test_rows_of_a_waltz():
    beats = _clicks(150)
    rng = np.random.default_rng(0)
    y = np.zeros(SECONDS * SR)
    for beat in beats:
        y[int(beat * SR) :][:600] += 0.3 * rng.standard_normal(600) * np.exp(-np.arange(600) / 150)
    description = describe(
        track_frames({"drums": y}, onset=pulses(beats, N), beat=pulses(beats, N), downbeat=pulses(beats[::3], N))
    )
    for row in ("mixture", "drums"):
        values = description.stems[row]
        assert values["rhythm_status"] == values["tempo_status"] == "ok"
        assert values["tempo_bpm"] == pytest.approx(150, rel=0.002)
        assert values["tempo_2_bpm"] == pytest.approx(75, rel=0.02)
        assert values["tempo_strength"] + values["tempo_2_strength"] <= 1
        assert values["beat_count"] == values["onset_count"] == len(beats)
        assert values["onset_rate"] == pytest.approx(len(beats) / SECONDS)
        assert values["onset_interval_median_s"] == pytest.approx(0.4, abs=0.005)
        assert values["meter_numerator"] == 3
        assert values["tempo_stability"] == 1
        assert values["beat_regularity"] > 0.97
        assert values["beat_strength"] > 0.7
    np.testing.assert_array_equal(description.events.beat_positions, np.arange(len(beats)) % 3 + 1)
    assert description.stems["vocals"]["rhythm_status"] == "absent"
    assert len(description.events.onsets_s["vocals"]) == 0


def test_drums_that_play_half_the_time_have_beats_there_only():
    beats = _clicks(120)
    rng = np.random.default_rng(0)
    y = np.zeros(SECONDS * SR)
    for beat in beats[beats < 15]:
        y[int(beat * SR) :][:600] += 0.3 * rng.standard_normal(600) * np.exp(-np.arange(600) / 150)
    pad = 0.1 * np.sin(2 * np.pi * 440 * np.arange(len(y)) / SR)
    rows = describe(track_frames({"drums": y, "other": pad}, beat=pulses(beats, N))).stems
    assert rows["mixture"]["beat_count"] == len(beats)
    assert rows["drums"]["beat_count"] == pytest.approx(30, abs=3)
    assert rows["drums"]["onset_count"] == 30


def test_irregular_beats_are_less_regular_and_less_stable():
    rng = np.random.default_rng(0)
    loose = _clicks(120) + rng.normal(0, 0.02, len(_clicks(120)))
    y = 0.1 * rng.standard_normal(SECONDS * SR)  # only its activity matters here
    tight_row, loose_row = (
        describe(track_frames({"drums": y}, beat=pulses(b, N))).stems["drums"] for b in (_clicks(120), loose)
    )
    assert loose_row["beat_regularity"] < 0.96 < tight_row["beat_regularity"]
    assert loose_row["tempo_bpm"] == pytest.approx(120, rel=0.01)


def test_separate_tones_without_drums_are_onsets_of_the_mixture():
    y = []
    n = np.arange(int(0.6 * SR)) / SR
    for semitone in (0, 2, 4, 5, 7, 5, 4, 2) * 5:
        f = 440 * 2 ** (semitone / 12)
        tone = (
            sum(np.sin(2 * np.pi * k * f * n) / k for k in range(1, 13)) * np.exp(-0.5 * n) * np.minimum(1, n / 0.005)
        )
        y.append(np.where(n < 0.5, tone, 0.0))
    rows = describe(track_frames({"other": 0.2 * np.concatenate(y)})).stems
    assert rows["mixture"]["onset_count"] == rows["other"]["onset_count"] == 40
    assert rows["mixture"]["rhythm_status"] == "ok"


def test_a_quieter_file_has_the_same_drums():
    rng = np.random.default_rng(0)
    beats = _clicks(120)
    y = np.zeros(SECONDS * SR)
    for k, beat in enumerate(beats):
        y[int(beat * SR) :][:600] += (0.1, 0.003)[k % 2] * rng.standard_normal(600) * np.exp(-np.arange(600) / 150)
    pad = 0.02 * np.sin(2 * np.pi * 440 * np.arange(len(y)) / SR)
    loud, quiet = (
        describe(track_frames({"drums": gain * y, "other": gain * pad}, beat=pulses(beats, N))).stems["drums"]
        for gain in (1.0, 10 ** (-12 / 20))
    )
    assert loud["onset_count"] == pytest.approx(len(beats), abs=1)
    told = ("activity", "active", "energy_share", "onset", "tempo", "beat", "meter", "stroke", "spectral_centroid")
    for name, value in loud.items():
        if name.startswith(told) and name != "beat_loudness_mean_db":
            assert quiet[name] == (pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value), (
                name
            )
