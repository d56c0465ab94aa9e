"""The level of the tempo, compound metres, and how far beats are to be trusted, on accents whose answer is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from frames_helper import FRAME_RATE, SR, n_frames_of, pulses, track_frames

from stemfeatures.analysis import Analyser
from stemfeatures.descriptors import describe, metre
from stemfeatures.descriptors.accents import ACCENTS, AccentStreams
from stemfeatures.descriptors.beat_confidence import FEATURES as CONFIDENCE_FEATURES
from stemfeatures.descriptors.beat_confidence import beat_confidence, confidence_features
from stemfeatures.descriptors.beats import BeatTrack, track_beats
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.descriptors.levels import FEATURES, level_features, level_shares, pulse_contents
from stemfeatures.descriptors.metre import LevelEvidence, find_bars, level_evidence
from stemfeatures.descriptors.rhythm import LEAST_CONFIDENCE, accents, tracked_pulses
from stemfeatures.generator.compose.composer import compose
from stemfeatures.training import rhythm, tempo
from stemfeatures.training.logistic import fit_logistic
from stemfeatures.training.tempo import TempoExample, fit_confidence, fit_levels, reached_f, write_models

SECONDS = 40
N = n_frames_of(SECONDS * SR)


def _times(bpm, start=0.5):
    return np.arange(start, SECONDS - 0.5, 60 / bpm)


def _chords(changes):
    chord = np.searchsorted(changes, np.arange(N) / FRAME_RATE - 1e-6)
    return np.stack([np.isin((pc - 5 * chord) % 12, (0, 4, 7)) for pc in range(12)]).astype(float)


def _streams(chord_times, **kinds):
    zeros = np.zeros(N)
    harmony = np.zeros((12, N)) if chord_times is None else _chords(chord_times)
    return AccentStreams(np.stack([kinds.get(kind, zeros) for kind in ACCENTS[:8]]), harmony, np.zeros((12, N)))


def _found(pulses_s, streams):
    track = BeatTrack(pulses_s, np.full(len(pulses_s), 0.9), ((60 / np.diff(pulses_s).mean(), 0.5),))
    return find_bars(track, streams)


def _tempo(bars):
    return 60 / np.median(np.diff(bars.track.beats_s))


@pytest.mark.parametrize("bpm", [48, 56, 64])
def test_slow_songs_without_drums_whose_eighths_are_the_pulses(bpm):
    # A guitar in eighths, a chord a bar, the bass on one and three; nothing falls between the pulses.
    beats, eighths = _times(bpm), _times(2 * bpm)
    streams = _streams(
        beats[4::4],
        beat=pulses(eighths, N),
        downbeat=pulses(eighths[::4], N, height=0.5),
        bass=pulses(beats[::2], N),
        other=np.maximum(pulses(eighths, N, height=0.5), pulses(beats, N, height=0.8)),
    )
    bars = _found(eighths, streams)
    assert _tempo(bars) == pytest.approx(bpm, rel=0.01)
    np.testing.assert_allclose(bars.track.beats_s, beats[: len(bars.track.beats_s)], atol=1e-6)
    assert bars.level_confidence > 0.5


@pytest.mark.parametrize("bpm", [96, 112, 126])
def test_songs_with_notes_between_the_pulses_are_not_halved(bpm):
    beats, eighths = _times(bpm), _times(2 * bpm)
    streams = _streams(
        beats[4::4],
        beat=pulses(beats, N),
        downbeat=pulses(beats[::4], N, height=0.7),
        bass=np.maximum(pulses(beats[::2], N), pulses(eighths[3::8], N, height=0.7)),
        other=np.maximum(pulses(eighths, N, height=0.5), pulses(beats, N, height=0.8)),
    )
    assert _tempo(_found(beats, streams)) == pytest.approx(bpm, rel=0.01)


@pytest.mark.parametrize("bars_of", [2, 4])
def test_compound_time_whose_eighths_are_the_pulses(bars_of):
    """6/8 and 12/8 at dotted quarters of 58."""
    beats, eighths = _times(58), _times(174)
    kick = pulses(beats[:: 2 if bars_of == 2 else 4], N)
    bars = _found(
        eighths,
        _streams(
            beats[bars_of::bars_of],
            beat=pulses(eighths, N),
            downbeat=pulses(beats[::bars_of], N, height=0.7),
            kick=np.maximum(kick, pulses(beats[::2], N, height=0.7)),
            snare=pulses(beats[1::2], N),
            hat=np.maximum(pulses(eighths, N, height=0.4), pulses(beats, N, height=0.8)),
            bass=pulses(beats[::bars_of], N),
            other=np.maximum(pulses(eighths, N, height=0.4), pulses(beats, N, height=0.7)),
        ),
    )
    assert _tempo(bars) == pytest.approx(58, rel=0.01)
    assert bars.denominator == 8
    assert (bars.numerator, bars.positions.max()) == (3 * bars_of, bars_of)


@pytest.mark.parametrize("pulses_of_beat", [1, 3])
@pytest.mark.parametrize("bars_of", [2, 3, 4])
def test_compound_bars_are_those_of_the_harmony(bars_of, pulses_of_beat):
    """The snare on every second beat: a chord lasts a bar, of 6/8, 9/8 or 12/8, whatever the pulses are."""
    beats, eighths = _times(62), _times(186)
    chord = (np.arange(N) / FRAME_RATE - beats[0] + 1e-6) // (bars_of * 60 / 62)
    bass = np.stack([chord * 5 % 12 == pc for pc in range(12)]).astype(float)
    snare = beats[1::2] if bars_of != 3 else np.sort(np.r_[beats[1::3], beats[2::3]])
    streams = _streams(
        beats[bars_of::bars_of],
        beat=pulses(beats, N) if pulses_of_beat == 1 else pulses(eighths, N),
        downbeat=pulses(beats[::bars_of], N, height=0.4),
        kick=pulses(beats[::2] if bars_of != 3 else beats[::3], N),
        snare=pulses(snare, N),
        hat=np.maximum(pulses(eighths, N, height=0.4), pulses(beats, N, height=0.8)),
        bass=pulses(beats[::bars_of], N, height=0.6),
        other=np.maximum(pulses(eighths, N, height=0.4), pulses(beats, N, height=0.7)),
    )
    found = _found(beats if pulses_of_beat == 1 else eighths, replace(streams, bass=bass))
    assert _tempo(found) == pytest.approx(62, rel=0.01)
    assert (found.numerator, found.denominator) == (3 * bars_of, 8)
    first = found.track.beats_s[found.positions == 1]
    assert np.abs(first[:, None] - beats[None, ::bars_of]).min(axis=1).max() < 0.03


@pytest.mark.parametrize(("likely", "chosen"), [((0.1, 0.4, 0.5), "eighths"), ((0.35, 0.1, 0.55), "same")])
def test_another_level_is_taken_where_it_is_twice_as_likely(likely, chosen):
    levels = ("same", "half", "eighths")
    bars = [metre._hypotheses_of(level)[0] for level in levels]
    evidence = LevelEvidence(
        np.arange(48.0), levels, np.zeros(3), np.zeros((3, 0)), np.zeros((3, 48), dtype=int), tuple(bars),
        shares=np.full(3, 0.8), contrasts=np.full(3, 3.0),
    )  # fmt: skip
    assert levels[metre._chosen_level(evidence, np.array(likely))] == chosen
    # Two bars are too few, unless it is very likely.
    few = replace(evidence, grid_s=np.arange(24.0))
    assert levels[metre._chosen_level(few, np.array(likely))] == "same"
    assert levels[metre._chosen_level(few, np.array([0.2, 0.1, 0.7]))] == "eighths"
    # Without a clear bar the pulses are the beats.
    unclear = replace(evidence, contrasts=np.zeros(3))
    assert levels[metre._chosen_level(unclear, np.array(likely))] == "same"


def test_a_shuffle_is_four_four():
    # Swung eighths leave the first of three parts out.
    beats = _times(112)
    last_thirds = beats + 2 / 3 * 60 / 112
    played = np.maximum(pulses(beats, N), pulses(last_thirds, N, height=0.6))
    streams = _streams(
        beats[4::4],
        beat=pulses(beats, N),
        downbeat=pulses(beats[::4], N, height=0.7),
        kick=pulses(beats[::2], N),
        snare=pulses(beats[1::2], N),
        hat=played,
        bass=pulses(beats[::2], N),
        other=played,
    )
    bars = _found(beats, streams)
    assert (bars.numerator, bars.denominator) == (4, 4)
    # The first third is played as well: the beats have three parts.
    full = np.maximum(played, pulses(beats + 1 / 3 * 60 / 112, N, height=0.6))
    streams = _streams(
        beats[4::4],
        beat=pulses(beats, N),
        downbeat=pulses(beats[::4], N, height=0.7),
        kick=pulses(beats[::2], N),
        snare=pulses(beats[1::2], N),
        hat=full,
        bass=pulses(beats[::2], N),
        other=full,
    )
    assert pulse_contents(streams, beats).thirds > 1
    assert _found(beats, streams).denominator == 8


def test_contents_of_pulses():
    beats = _times(100)
    streams = _streams(
        beats[4::4],
        other=pulses(beats + 0.3, N),
        bass=pulses(beats[::2], N),
        kick=pulses(beats, N),
        snare=pulses(beats[1::2], N),
    )
    contents = pulse_contents(streams, beats)
    assert contents.rates["notes"] == pytest.approx(100 / 60, rel=0.03)
    assert contents.rates["bass"] == pytest.approx(50 / 60, rel=0.06)
    assert contents.rates["strokes"] == pytest.approx(100 / 60, rel=0.05)
    assert contents.rates["harmony"] == pytest.approx(25 / 60, rel=0.15)
    assert contents.halves > 1
    assert contents.thirds < -0.5
    features = dict(zip(FEATURES, level_features("half", 52.5, 3.0, -1.0, contents), strict=True))
    assert features["tempo"] == pytest.approx(-1)
    assert features["bass"] == pytest.approx(np.log2(100 / 52.5 / 2), abs=0.1)
    assert (features["is_half"], features["is_twice"], features["halves_between_same"]) == (1, 0, 0)


def test_weights_of_levels_are_found_again():
    rng = np.random.default_rng(0)
    weights = np.array([1.5, -2.0, 0.0])
    songs = []
    for _ in range(400):
        features = rng.standard_normal((4, 3))
        true = np.arange(4) == rng.choice(4, p=level_shares(features, weights))
        songs.append((features, true))
    assert fit_levels(songs) == pytest.approx(weights, abs=0.3)


def test_a_model_of_confidence_is_found_again():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((500, len(CONFIDENCE_FEATURES)))
    unexplained = CONFIDENCE_FEATURES.index("unexplained")
    reached = 1 / (1 + np.exp(-(2 * features[:, 0] - features[:, unexplained] + 0.5)))
    model = fit_confidence(features, reached)
    assert np.abs(model.expected_f(features) - reached).max() < 0.05


def test_no_feature_counts_against_what_it_says():
    rng = np.random.default_rng(1)
    strength, periodicity = rng.uniform(0, 1, (2, 200))
    # Weaker beats were better here, by chance; that they are is not learned.
    share = 1 / (1 + np.exp(3 * strength - 4 * periodicity))
    features = np.stack([strength, periodicity], axis=1)
    free, _ = fit_logistic(features, share, penalty=0.1)
    assert free[0] < -2
    weights, _ = fit_logistic(features, share, penalty=0.1, signs=(1, 1))
    assert weights[0] == 0
    assert weights[1] > 2


def test_the_level_does_not_matter_to_the_f_measure_that_is_reached():
    beats = np.arange(1.0, 30, 0.6)
    assert reached_f(beats, beats, 4) == 1
    assert reached_f(beats, beats[::2], 4) == 1
    assert reached_f(beats, np.arange(1.0, 29.5, 0.3), 4) == 1
    thirds = np.arange(1.0, 29.5, 0.2)
    assert reached_f(beats, thirds, 8) == 1
    assert reached_f(beats, thirds, 4) < 0.85
    assert reached_f(beats, beats + 0.15, 4) < 0.3


def test_fitted_models_are_read_as_they_were_written(tmp_path):
    songs = []
    for bpm, rubato in ((90, 0.0), (120, 0.0), (100, 0.2)):
        beats = np.arange(0.5, 11.5, 60 / bpm)
        n = n_frames_of(12 * SR)
        y = 0.1 * np.random.default_rng(bpm).standard_normal(12 * SR)
        y *= pulses(np.sort(np.r_[beats, beats[:-1] + 30 / bpm]), n).repeat(512)[: len(y)]
        frames = track_frames({"drums": y}, beat=pulses(beats, n), downbeat=pulses(beats[::4], n))
        songs.append(TempoExample(frames, beats, "4/4", rubato, True, "pop"))
    write_models(songs, tmp_path, {"songs": 3})
    stored = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert set(stored) == {"level_weights.json", "beat_confidence_weights.json"}
    weights = np.array(stored["level_weights.json"]["weights"])
    assert stored["level_weights.json"]["features"] == list(FEATURES)
    # At the fitted weights the pulses of the two steady songs are the beats.
    for song in songs[:2]:
        inputs = DescriptorInputs(song.frames)
        evidence = level_evidence(inputs.get(tracked_pulses).track, inputs.get(accents))
        assert evidence.levels[level_shares(evidence.features, weights).argmax()] in ("same", "thirds")
    assert np.isfinite(stored["beat_confidence_weights.json"]["weights"]).all()
    assert stored["beat_confidence_weights.json"]["bias"] > 2  # all that were tracked were tracked right


def _activation(beats, height, noise, seed=0):
    rng = np.random.default_rng(seed)
    return np.maximum(pulses(beats, N, height=height), rng.uniform(0, noise, N)).astype(float)


def test_confidence_falls_with_what_does_not_fit():
    beats = _times(100)
    onsets = {kind: pulses(beats, N) for kind in ("kick", "other")}
    clear = _activation(beats, 0.9, 0.02)
    steady = beat_confidence(clear, _streams(None, beat=clear, **onsets), track_beats(clear))
    assert steady > 0.85
    # A tempo that swings by a fifth, heard faintly, over notes that fall elsewhere.
    rng = np.random.default_rng(5)
    walk = np.convolve(rng.standard_normal(80), np.hanning(8), "same")
    wandering = 0.5 + np.cumsum(0.6 * np.exp(0.3 * np.clip(walk / walk.std(), -2, 2)))
    faint = _activation(
        wandering[wandering < SECONDS - 1], rng.uniform(0.2, 0.7, (wandering < SECONDS - 1).sum()), 0.15
    )
    notes = {"other": pulses(np.sort(rng.uniform(0, SECONDS, 90)), N)}
    track = track_beats(faint)
    assert track is None or beat_confidence(faint, _streams(None, beat=faint, **notes), track) < steady - 0.25


def test_features_of_confidence():
    beats = _times(100)
    activation = _activation(beats, 0.8, 0.0)
    streams = _streams(None, other=pulses(beats, N))
    values = confidence_features(activation, streams, BeatTrack(beats, np.full(len(beats), 0.8)))
    assert values[:2] == pytest.approx([0.8, 0.8])
    assert values[3] == 0  # no peak beside a beat
    assert values[4] > 0.8
    assert values[5:7] == pytest.approx([0, 0], abs=1e-9)
    assert values[7] > 1
    assert values[8] == 1
    # Beats at twice the pace: half of them, and no activation, fall between.
    double = np.sort(np.r_[beats, beats[:-1] + 0.3])
    values = confidence_features(activation, streams, BeatTrack(double, np.where(np.isin(double, beats), 0.8, 0.0)))
    assert values[0] == pytest.approx(0.4, abs=0.01)
    # Every second one of them: half of the peaks are beside.
    values = confidence_features(activation, streams, BeatTrack(beats[::2], np.full(len(beats[::2]), 0.8)))
    assert values[3] == pytest.approx(0.5, abs=0.03)


def _struck_chords(beats_s, seconds):
    """Chords of struck strings, one a beat, and a bass tone every second one."""
    y, t = np.zeros(round(seconds * SR)), np.arange(round(1.2 * SR)) / SR
    attack = np.minimum(t / 0.004, 1)

    def tone(key):
        hz = 440 * 2 ** ((key - 69) / 12)
        return attack * sum(np.sin(2 * np.pi * hz * h * t) * np.exp(-(2 + 0.8 * h) * t) / h for h in range(1, 9))

    for k, at in enumerate(beats_s):
        chord = [(60, 64, 67), (57, 60, 64), (57, 60, 65), (59, 62, 67)][k // 4 % 4]
        sound = sum(map(tone, chord)) + (2 * tone(chord[0] - 24) if k % 2 == 0 else 0)
        first = round(at * SR)
        y[first : first + len(sound)] += 0.04 * sound[: len(y) - first]
    return y.astype(np.float32)


@pytest.mark.parametrize(
    ("rubato", "status", "least", "most"), [(0.0, "ok", 0.95, 1.0), (0.2, "no_steady_beat", 0.3, 0.69),
                                            (0.35, "no_steady_beat", 0.3, 0.69)],
)  # fmt: skip
def test_solo_chords_are_told_to_have_a_beat_where_they_keep_one(rubato, status, least, most):
    rng = np.random.default_rng(2)
    walk = np.convolve(rng.standard_normal(90), np.hanning(7)[1:-1], "same")
    beats = 0.3 + np.cumsum(60 / 96 * np.exp(rubato * np.clip(walk / walk.std(), -2, 2)))
    row = Analyser().from_audio(_struck_chords(beats[beats < 19], 20), SR).stems["mixture"]
    assert row["tempo_status"] == status
    assert least <= row["tempo_confidence"] <= most
    assert (row["tempo_bpm"] is None) == (status != "ok")
    if status == "ok":
        assert row["tempo_bpm"] == pytest.approx(96, rel=0.01)


def test_beats_that_cannot_be_trusted_are_not_told(monkeypatch):
    beats = np.arange(0.5, 19.5, 0.5)
    n = n_frames_of(20 * SR)
    y = 0.1 * np.random.default_rng(0).standard_normal(20 * SR)
    frames = track_frames({"drums": y}, beat=pulses(beats, n), downbeat=pulses(beats[::4], n))
    told = describe(frames)
    assert told.stems["mixture"]["tempo_status"] == "ok"
    assert told.stems["mixture"]["tempo_confidence"] >= LEAST_CONFIDENCE
    assert len(told.events.beats_s) == len(beats)
    monkeypatch.setattr("stemfeatures.descriptors.rhythm.beat_confidence", lambda *_: 0.3)
    doubted = describe(frames)
    row = doubted.stems["mixture"]
    assert (row["tempo_status"], row["tempo_confidence"]) == ("no_steady_beat", 0.3)
    dependent = ("tempo_bpm", "tempo_stability", "beat_count", "meter_numerator", "bpm_histogram_first_peak_bpm")
    assert all(row[name] is None for name in dependent)
    assert row["beat_loudness_status"] == "no_beats"
    assert len(doubted.events.beats_s) == 0


@pytest.mark.parametrize("style", ["ballad", "waltz"])
def test_rubato_of_a_score(style):
    plain = compose(5, duration_s=40, style=style)
    assert np.array_equal(compose(5, duration_s=40, style=style, rubato=0.0).grid.beat_s, plain.grid.beat_s)
    for rubato in (0.1, 0.3):
        score = compose(5, duration_s=40, style=style, rubato=rubato)
        ratio = np.log(np.diff(score.grid.beat_s) / np.diff(plain.grid.beat_s))
        assert ratio.std() == pytest.approx(rubato, rel=0.25)
        # The tempo swings from phrase to phrase: neighbours are alike.
        assert np.corrcoef(ratio[1:], ratio[:-1])[0, 1] > 0.4
        again = compose(5, duration_s=40, style=style, rubato=rubato)
        assert np.array_equal(score.grid.beat_s, again.grid.beat_s)
        onsets = np.array([note.start_s for note in score.bass])
        assert len(onsets) == 0 or onsets.max() <= score.duration_s


@pytest.mark.parametrize("training", [rhythm, tempo])
def test_no_songs_to_learn_from_are_told(training, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        training.main(["--songs", "0", "-o", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "0 songs: nothing can be learned from them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
