"""What makes published figures incomparable or flattering: each of these mistakes must show here."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_multitrack import RATE, tone, write_clip, write_song

from stemfeatures.datasets.opening import find_tracks
from stemfeatures.evaluation import BaseEstimator, EvaluationResult, NotOfferedError, evaluate, get_estimator
from stemfeatures.evaluation.beats import beat_scores
from stemfeatures.evaluation.f0 import f0_scores
from stemfeatures.evaluation.multi_f0 import multi_f0_scores, sounding_together
from stemfeatures.evaluation.result import TASKS
from stemfeatures.evaluation.separation import bss_eval, level_db

RNG = np.random.default_rng(11)
TIMES = 0.01 * np.arange(200)


class Oracle(BaseEstimator):
    """The true stems, spoiled."""

    name = "oracle"
    needs_truth = True

    def __init__(self, spoil=lambda stems: stems) -> None:
        self.spoil = spoil

    def separate_with_truth(self, y, sample_rate, stems):
        return self.spoil(stems)


# Level and downmix ----------------------------------------------------------------------------------------------------


def test_sources_on_two_channels_are_added_not_averaged(tmp_path: Path) -> None:
    """Equal powers: the mixture scores 0 dB. Its mean, (a + v) / 2, would score 3 dB and lower every NSDR."""
    n = 2 * RATE
    accompaniment, voice = (0.1 * s / np.std(s) for s in RNG.standard_normal((2, n)))
    write_clip(tmp_path / "mir1k", "a_1_1", accompaniment, voice, [60] * 98)
    table = evaluate("separation", tmp_path, get_estimator("mixture")).table.set_index("stem")
    assert table.loc["vocals", "sdr_db"] == pytest.approx(0, abs=0.15)
    assert table.loc["vocals", "mixture_sdr_db"] == table.loc["vocals", "sdr_db"]


def test_estimates_are_not_scaled_to_the_truth(tmp_path: Path) -> None:
    """An estimate at half the level has an SDR of 6 dB; fitted to the reference's maximum it would be perfect."""
    write_song(tmp_path / "song", {"vocals": tone(440), "other": tone(1000)})
    half = Oracle(lambda stems: {stem: 0.5 * signal for stem, signal in stems.items()})
    table = evaluate("separation", tmp_path, half).table
    np.testing.assert_allclose(table["sdr_db"], 20 * np.log10(2), atol=1e-3)
    assert (table["si_sdr_db"] > 60).all()


def test_a_shift_of_one_hop_is_not_forgiven(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {"vocals": RNG.uniform(-0.3, 0.3, RATE), "other": tone(1000)})
    late = Oracle(lambda stems: {stem: np.roll(signal, 160, axis=-1) for stem, signal in stems.items()})
    assert evaluate("separation", tmp_path, late).table.set_index("stem").loc["vocals", "sdr_db"] < 0


def test_channels_can_be_scored_as_they_are(tmp_path: Path) -> None:
    """Swapped channels are perfect on the downmix and wrong on the channels."""
    stereo = {"vocals": np.stack([tone(440), 0 * tone(440)]), "other": np.stack([0 * tone(300), tone(300)])}
    write_song(tmp_path / "song", stereo)
    swap = Oracle(lambda stems: {stem: signal[::-1] for stem, signal in stems.items()})
    mono, channels = (evaluate("separation", tmp_path, swap, channels=channels) for channels in ("mono", "all"))
    assert (mono.table["sdr_db"] == np.inf).all()
    np.testing.assert_allclose(channels.table["sdr_db"], -10 * np.log10(2), atol=1e-3)
    assert (mono.settings["channels"], channels.settings["channels"]) == ("mono downmix", "all channels")
    with pytest.raises(ValueError, match="channels"):
        evaluate("separation", tmp_path, swap, channels="left")


# Silence --------------------------------------------------------------------------------------------------------------


def test_what_an_estimate_puts_into_silence_is_told(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {"vocals": tone(440), "bass": np.zeros(RATE)})
    leak = Oracle(lambda stems: {"vocals": stems["vocals"], "bass": 0.1 * stems["vocals"]})
    result = evaluate("separation", tmp_path, leak)
    row = result.table.set_index("stem").loc["bass"]
    assert (row["status"], row["leakage_db"]) == ("silent_reference", pytest.approx(-20, abs=0.01))
    assert np.isnan(result.table.set_index("stem").loc["vocals", "leakage_db"])
    assert "oracle: where the reference is silent, the estimate is at -20 dB of the mixture" in str(result)
    assert level_db(np.zeros(3), np.ones(3)) == -np.inf


def test_bss_eval_is_the_median_of_windows_that_have_a_value(tmp_path: Path) -> None:
    """One very bad second of five, one silent: the mean would be ruled by the first, a zero put in by the second."""
    n = 5 * RATE
    vocals, other = 0.1 * RNG.standard_normal((2, n))
    vocals[:RATE] = 0
    error = 0.02 * RNG.standard_normal(n)
    error[RATE : 2 * RATE] *= 200
    write_song(tmp_path / "song", {"vocals": vocals, "other": other})
    spoilt = Oracle(lambda stems: {"vocals": stems["vocals"] + error, "other": stems["other"]})
    row = evaluate("separation", tmp_path, spoilt, museval=True).table.set_index("stem").loc["vocals"]
    assert (row["bss_windows"], row["bss_nan_windows"]) == (5, 1)
    assert row["bss_sdr_db"] == pytest.approx(20 * np.log10(5), abs=1.0)
    assert row["sdr_db"] < -10


def test_bss_eval_of_one_stem_depends_on_the_others_but_its_sdr_hardly() -> None:
    """Which targets take part moves errors between interference and artefacts; figures must say which did."""
    rate = 4000
    a, b, noise = RNG.standard_normal((3, 4 * rate))
    estimates = {"vocals": a + 0.3 * b, "other": b + 0.1 * noise}
    both = bss_eval({"vocals": a, "other": b}, estimates, rate)["vocals"]
    alone = bss_eval({"vocals": a}, {"vocals": estimates["vocals"]}, rate)["vocals"]
    assert np.median(both["sdr"]) == pytest.approx(np.median(alone["sdr"]), abs=0.1)
    assert np.median(both["sar"]) > np.median(alone["sar"]) + 10


# F0 -------------------------------------------------------------------------------------------------------------------


def test_octave_errors_cost_pitch_but_not_chroma() -> None:
    scores = f0_scores(TIMES, np.full(200, 220.0), TIMES, np.where(np.arange(200) < 50, 440.0, 220.0))
    assert (scores["raw_pitch_accuracy"], scores["raw_chroma_accuracy"]) == (0.75, 1)
    assert scores["overall_accuracy"] == 0.75


def test_the_sign_carries_voicing_and_not_pitch() -> None:
    """The same guesses with other signs: raw pitch stays, everything that knows of voicing moves."""
    ref = np.where(np.arange(200) < 120, 220.0, 0.0)
    bold, shy = (f0_scores(TIMES, ref, TIMES, sign * np.full(200, 220.0)) for sign in (1, -1))
    assert bold["raw_pitch_accuracy"] == shy["raw_pitch_accuracy"] == 1
    assert (bold["voicing_recall"], bold["voicing_false_alarm"], bold["overall_accuracy"]) == (1, 1, 0.6)
    assert (shy["voicing_recall"], shy["voicing_false_alarm"], shy["overall_accuracy"]) == (0, 0, 0.4)


def test_the_54_cent_trap_between_two_grids_of_360_bins() -> None:
    """Bin k of Deep Salience read on CREPE's grid: every frame wrong, and wrong in chroma too."""
    bins = np.arange(60, 260)
    deep_salience, crepe = 32.7 * 2 ** (bins / 60), 10 * 2 ** ((1997.379 + 20 * bins) / 1200)
    scores = f0_scores(TIMES, deep_salience, TIMES, crepe)
    assert scores["raw_pitch_accuracy"] == scores["raw_chroma_accuracy"] == 0


@pytest.mark.parametrize("hop_s", [0.003, 0.01, 0.016, 0.0232, 0.05])
def test_time_bases_do_not_matter(hop_s: float) -> None:
    """A steep glide seen by tools of any hop is right within a few cents: nothing is held or shifted."""

    def glide(t: np.ndarray) -> np.ndarray:
        return 220 * 2 ** (0.3 * np.sin(3 * t))

    times = np.arange(0, 2, hop_s)
    scores = f0_scores(TIMES, glide(TIMES), times, glide(times), cent_tolerance=8)
    assert scores["raw_pitch_accuracy"] > 0.97


def test_one_frame_late_is_seen() -> None:
    """A scale of ten notes a second: 20 ms late costs a fifth of the frames."""
    scale = 220 * 2 ** (np.floor(TIMES / 0.1) / 12)
    late = np.concatenate([scale[:2], scale[:-2]])
    assert f0_scores(TIMES, scale, TIMES, late)["raw_pitch_accuracy"] == pytest.approx(0.81, abs=0.011)


def test_frames_left_out_of_a_listing_are_unvoiced(tmp_path: Path) -> None:
    """MedleyDB lists voiced frames only: without the others no false alarm could be measured."""
    write_song(tmp_path / "song", {"vocals": tone(220, 2.0), "other": tone(100, 2.0)})
    lines = [f"{t:.2f},220\n" for t in np.concatenate([TIMES[20:70], TIMES[130:180]])]
    (tmp_path / "song" / "vocals_f0.csv").write_text("".join(lines))

    class Always(BaseEstimator):
        name = "always"

        def f0(self, y, sample_rate):
            return TIMES, np.full(200, 220.0)

    row = evaluate("f0", tmp_path, Always()).table.iloc[0]
    assert (row["n_voiced"], row["voicing_false_alarm"]) == (100, 1)
    assert row["n_frames"] == 200
    assert row["overall_accuracy"] == pytest.approx(0.5, abs=0.01)


# Several voices -------------------------------------------------------------------------------------------------------

LEAD = np.where(np.arange(200) < 150, 220.0, 0.0)
THIRD = np.where((np.arange(200) >= 50) & (np.arange(200) < 150), 277.0, 0.0)


@pytest.fixture
def duet(tmp_path: Path) -> Path:
    write_song(tmp_path / "duet", {"vocals": tone(220, 2.0) + tone(277, 2.0), "other": tone(100, 2.0)})
    voices = [{"times_s": list(TIMES), "f0_hz": list(f0)} for f0 in (LEAD, THIRD)]
    (tmp_path / "duet" / "truth.json").write_text(json.dumps({"f0": {"vocals": voices}}))
    return tmp_path


class Voices(BaseEstimator):
    name = "voices"

    def __init__(self, *voices: np.ndarray) -> None:
        self.voices = voices

    def f0(self, y, sample_rate):
        return TIMES, self.voices[0]


class Choir(Voices):
    def multi_f0(self, y, sample_rate):
        return TIMES, [np.array([hz for hz in frame if hz > 0]) for frame in zip(*self.voices)]


def test_a_right_second_voice_is_no_error(duet: Path) -> None:
    row = evaluate("f0", duet, Choir(THIRD, LEAD)).table.iloc[0]
    assert (row["raw_pitch_accuracy"], row["n_overlap"]) == (0, 100)
    assert row["multi_f0_precision"] == row["multi_f0_recall"] == row["multi_f0_accuracy"] == 1
    assert (row["multi_f0_error_score"], row["multi_f0_overlap_recall"]) == (0, 1)


def test_one_contour_finds_half_of_a_duet(duet: Path) -> None:
    row = evaluate("f0", duet, Voices(LEAD)).table.iloc[0]
    assert (row["raw_pitch_accuracy"], row["multi_f0_precision"], row["multi_f0_overlap_recall"]) == (1, 1, 0.5)
    assert row["multi_f0_recall"] == row["multi_f0_accuracy"] == pytest.approx(150 / 250)


def test_solo_tracks_have_no_multi_f0(duet: Path) -> None:
    truth = json.loads((duet / "duet" / "truth.json").read_text())
    truth["f0"]["vocals"].pop()
    (duet / "duet" / "truth.json").write_text(json.dumps(truth))
    result = evaluate("f0", duet, Choir(LEAD, THIRD))
    assert not any(column.startswith("multi_f0") for column in result.table)
    assert result.table["n_overlap"].item() == 0


def test_multi_f0_counts_octaves_unisons_and_extra_voices() -> None:
    frames = sounding_together(TIMES, [(TIMES, LEAD), (TIMES, LEAD * 2 ** (40 / 1200)), (TIMES, THIRD)])
    assert {len(f) for f in frames[:50]} == {1}  # a unison within half a semitone is one voice
    assert {len(f) for f in frames[50:150]} == {2}
    assert {len(f) for f in frames[150:]} == {0}
    octave = [2 * f for f in frames]
    scores = multi_f0_scores(TIMES, frames, TIMES, octave)
    assert (scores["multi_f0_accuracy"], scores["multi_f0_chroma_accuracy"]) == (0, 1)
    extra = [np.append(f, 500.0) for f in frames]
    scores = multi_f0_scores(TIMES, frames, TIMES, extra)
    assert (scores["multi_f0_recall"], scores["multi_f0_precision"]) == (1, pytest.approx(250 / 450))
    assert scores["multi_f0_error_score"] == pytest.approx(200 / 250)
    nothing = multi_f0_scores(TIMES, frames, np.zeros(0), [])
    assert (nothing["multi_f0_recall"], nothing["multi_f0_error_score"]) == (0, 1)
    assert np.isnan(nothing["multi_f0_precision"])
    with pytest.raises(ValueError, match="increase"):
        multi_f0_scores(TIMES, frames, TIMES[::-1], frames)


def test_multi_f0_does_not_hold_pitches_over_gaps_in_the_listing() -> None:
    """A tool that leaves unvoiced frames out: its last pitch is not carried to the next one."""
    voiced = (TIMES < 0.5) | (TIMES >= 1.5)
    frames = [np.array([220.0]) if v else np.zeros(0) for v in voiced]
    listed = [f for f, v in zip(frames, voiced) if v]
    assert multi_f0_scores(TIMES, frames, TIMES[voiced], listed)["multi_f0_precision"] > 0.97


# Beats ----------------------------------------------------------------------------------------------------------------


def test_both_sides_are_trimmed_downbeats_too() -> None:
    """Wrong beats in the first five seconds cost nothing, on either side; a bar line there is no downbeat to find."""
    beats = 0.5 * np.arange(40)
    positions = np.arange(40) % 4 + 1
    chatter = np.arange(0.05, 4.9, 0.21)
    wild = np.concatenate([chatter, beats[10:]])
    wild_positions = np.concatenate([np.ones(len(chatter)), positions[10:]])
    scores = beat_scores(beats, positions, wild, wild_positions)
    assert {scores[k] for k in ("beat_f_measure", "cmlt", "amlt", "downbeat_f_measure", "tempo_acc1")} == {1.0}
    assert beat_scores(beats, positions, wild, wild_positions, trim_s=0)["downbeat_f_measure"] < 0.7


def test_off_beats_count_at_other_levels_only() -> None:
    beats = 0.5 * np.arange(60)
    scores = beat_scores(beats, np.ones(60), beats[:-1] + 0.25, None)
    assert (scores["beat_f_measure"], scores["cmlt"], scores["tempo_acc1"]) == (0, 0, 1)
    assert scores["amlt"] == 1


def test_tempo_octaves_are_the_second_accuracy_alone() -> None:
    beats = np.arange(0, 30, 60 / 72)
    double = np.arange(0, 30, 30 / 72)
    scores = beat_scores(beats, np.ones(len(beats)), double, None)
    assert (scores["tempo_acc1"], scores["tempo_acc2"], scores["amlt"]) == (0, 1, pytest.approx(1, abs=0.02))


# Averages and several estimators --------------------------------------------------------------------------------------


def test_mean_median_and_deviation_are_told_apart(tmp_path: Path) -> None:
    """One hopeless track of five: the mean follows it, the median does not, and the deviation is the median's."""
    for i in range(5):
        write_song(tmp_path / "set" / f"song{i}", {"vocals": (0.1 + 0.01 * i) * tone(440), "other": tone(1000)})
    errors = iter([0.1, 0.1, 0.1, 0.1, 30.0])

    def spoil(stems: dict) -> dict:
        return {"vocals": stems["vocals"] * (1 + next(errors)), "other": stems["other"]}

    row = (
        evaluate("separation", tmp_path, Oracle(spoil))
        .summary()
        .set_index(["stem", "metric"])
        .loc[("vocals", "sdr_db")]
    )
    assert row["median"] == pytest.approx(20, abs=0.01)
    assert row["mean"] == pytest.approx((4 * 20 - 20 * np.log10(30)) / 5, abs=0.01)
    assert row["mad"] == pytest.approx(0, abs=0.01)


def test_estimators_stand_beside_each_other(tmp_path: Path) -> None:
    write_song(tmp_path / "set" / "song", {"vocals": tone(440), "other": tone(1000)})
    write_clip(tmp_path / "mir1k", "a_1_1", tone(100), tone(220), [57] * 49)
    names = ("mixture", "irm")
    joined = EvaluationResult.join([evaluate("all", tmp_path, get_estimator(name)) for name in names])
    assert list(joined.settings["estimators"]) == list(names)
    assert list(joined.table["task"]) == sorted(joined.table["task"], key=TASKS.index)
    assert set(joined.summary()["estimator"]) == set(names)
    text = str(joined)
    stems = [line.split()[1:3] for line in text.splitlines() if line.startswith("set ")]
    assert stems == [["vocals", "mixture"], ["vocals", "irm"], ["other", "mixture"], ["other", "irm"]]
    assert "f0: 2 rows not offered (mixture, irm)" in text
    path = tmp_path / "both.parquet"
    joined.to_parquet(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), joined.table, check_dtype=False)
    other = evaluate("separation", tmp_path, get_estimator("mixture"), limit=1)
    with pytest.raises(ValueError, match="same settings"):
        EvaluationResult.join([joined, other])
    with pytest.raises(ValueError, match="same settings"):
        EvaluationResult.join([])


def test_what_offers_nothing_gets_no_empty_table(tmp_path: Path) -> None:
    write_clip(tmp_path / "mir1k", "a_1_1", tone(100), tone(220), [57] * 49)
    with pytest.raises(NotOfferedError, match="mixture offers none"):
        evaluate("f0", tmp_path, get_estimator("mixture"))


def test_tracks_may_be_given_instead_of_a_folder(tmp_path: Path) -> None:
    write_song(tmp_path / "set" / "a", {"vocals": tone(440), "other": tone(1000)})
    write_song(tmp_path / "set" / "b", {"vocals": tone(440), "other": tone(1000)})
    tracks = find_tracks(tmp_path)
    assert list(evaluate("separation", tracks[1:], get_estimator("mixture")).table["track"]) == ["b", "b"]


def test_settings_state_the_conventions(tmp_path: Path) -> None:
    write_clip(tmp_path / "mir1k", "a_1_1", tone(100), tone(220), [57] * 49)
    settings = evaluate("all", tmp_path, get_estimator("pyin")).settings
    assert settings["estimators"] == {"pyin": {"voicing": "the tool's own decoding"}}
    assert settings["bss_window_s"] == 1.0
    assert settings["band"].startswith("full")
    assert (settings["cent_tolerance"], settings["trim_s"]) == (50, 5.0)


def test_repet_sim_finds_what_does_not_recur(tmp_path: Path) -> None:
    """A loop of two seconds, and over it a glide that is never twice the same."""
    rate, n = RATE, 16 * RATE
    t = np.arange(n) / rate
    loop = np.tile(sum(tone(hz, 2.0) * np.exp(-3 * (t[: 2 * rate] % 0.5)) for hz in (220, 331, 447)), 8)
    voice = 0.15 * np.sin(2 * np.pi * np.cumsum(600 + 25 * t + 8 * np.sin(31 * t)) / rate) * (np.sin(2.1 * t) > 0)
    write_song(tmp_path / "song", {"vocals": voice, "accompaniment": loop})
    result = evaluate("separation", tmp_path, get_estimator("repet-sim")).table.set_index("stem")
    assert (result["nsdr_db"] > 3).all()
    y = RNG.standard_normal((2, 9000)).astype(np.float32)
    np.testing.assert_allclose(sum(get_estimator("repet-sim").separate(y, RATE).values()), y, atol=1e-4)
