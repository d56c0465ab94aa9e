"""Metrics on signals with known answers, and the run over folders."""

import json
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
from networks import tiny_checkpoint
from test_multitrack import RATE, tone, write_clip, write_song

from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, STEMS
from stemfeatures.errors import EvaluationError, ModelError
from stemfeatures.evaluation import CheckpointEstimator, EvaluationResult, NotOfferedError, evaluate, get_estimator
from stemfeatures.evaluation.base import BaseEstimator
from stemfeatures.evaluation.beats import TEMPO_FACTORS, beat_scores, beats_tempo, tempo_accuracy
from stemfeatures.evaluation.estimators.references import stft_grid
from stemfeatures.evaluation.f0 import f0_scores, pitch_by_speed, resample_f0
from stemfeatures.evaluation.intervals import half_width
from stemfeatures.evaluation.leakage import pair_name
from stemfeatures.evaluation.presence import presence_scores, presence_truth
from stemfeatures.evaluation.result import METRICS
from stemfeatures.evaluation.separation import bss_eval, is_silent, nsdr, sdr, si_sdr

RNG = np.random.default_rng(7)


def orthogonal_noise(signal: np.ndarray, snr_db: float) -> np.ndarray:
    noise = RNG.standard_normal(signal.shape)
    noise -= signal * np.vdot(signal, noise) / np.vdot(signal, signal)
    return noise * np.sqrt(np.vdot(signal, signal) / np.vdot(noise, noise) / 10 ** (snr_db / 10))


# Separation metrics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 13.5])
@pytest.mark.parametrize("shape", [(4000,), (2, 4000)])
def test_sdr_of_known_noise(snr_db: float, shape: tuple[int, ...]) -> None:
    signal = RNG.standard_normal(shape)
    estimate = signal + orthogonal_noise(signal, snr_db)
    assert sdr(signal, estimate) == pytest.approx(snr_db, abs=1e-9)
    assert si_sdr(signal, estimate) == pytest.approx(snr_db, abs=1e-9)


def test_scale_errors_cost_sdr_but_not_si_sdr() -> None:
    signal = RNG.standard_normal(4000)
    assert sdr(signal, signal / 2) == pytest.approx(20 * np.log10(2))
    assert sdr(signal, -signal) == pytest.approx(-20 * np.log10(2))
    noisy = signal + orthogonal_noise(signal, 10)
    assert si_sdr(signal, 0.01 * noisy) == pytest.approx(10)
    assert sdr(signal, signal) == np.inf


def test_silence_is_never_given_a_number() -> None:
    signal, silence = RNG.standard_normal(4000), np.zeros(4000)
    assert is_silent(silence)
    assert is_silent(1e-5 * signal)
    assert not is_silent(1e-3 * signal)
    assert np.isnan([sdr(silence, signal), si_sdr(silence, signal), nsdr(silence, signal, signal)]).all()
    assert np.isnan([sdr(silence, silence), si_sdr(silence, silence)]).all()
    assert sdr(signal, silence) == 0
    assert np.isnan(si_sdr(signal, silence))


def test_nsdr_is_the_gain_over_the_mixture() -> None:
    signal = RNG.standard_normal(4000)
    mixture = signal + orthogonal_noise(signal, -5)
    assert nsdr(signal, mixture, mixture) == 0
    assert nsdr(signal, signal + orthogonal_noise(signal, 7), mixture) == pytest.approx(12)


def test_shapes_must_agree() -> None:
    for metric in (sdr, si_sdr):
        with pytest.raises(ValueError, match="shape"):
            metric(np.ones(10), np.ones(11))


def test_bss_eval_sdr_is_the_framewise_sdr() -> None:
    """In the images version the distortion filter moves errors between ISR, SIR and SAR, not their sum."""
    rate, seconds = 4000, 4
    references = {stem: RNG.standard_normal(rate * seconds) for stem in ("vocals", "drums")}
    estimates = {stem: s + orthogonal_noise(s, 6) for stem, s in references.items()}
    references["bass"] = np.zeros(rate * seconds)
    estimates["bass"] = references["drums"]
    scores = bss_eval(references, estimates, rate)
    assert set(scores) == {"vocals", "drums"}
    for stem, found in scores.items():
        frames = [slice(k * rate, (k + 1) * rate) for k in range(seconds)]
        expected = [sdr(references[stem][f], estimates[stem][f]) for f in frames]
        np.testing.assert_allclose(found["sdr"][: len(expected)], expected, atol=0.3)


def test_bss_eval_windows_with_a_silent_stem_are_nan() -> None:
    rate = 4000
    references = {stem: RNG.standard_normal(3 * rate) for stem in ("vocals", "drums", "bass")}
    references["drums"][:rate] = 0
    estimates = {stem: s + 0.1 * RNG.standard_normal(3 * rate) for stem, s in references.items()}
    estimates["bass"] = np.zeros(3 * rate)
    scores = bss_eval(references, estimates, rate)
    for stem in ("vocals", "drums"):
        np.testing.assert_array_equal(np.isnan(scores[stem]["sdr"]), [True, False, False])
    assert np.isnan(scores["bass"]["sdr"]).all()


# F0 -------------------------------------------------------------------------------------------------------------------


def test_f0_scores_of_known_errors() -> None:
    times = 0.01 * np.arange(100)
    ref = np.where(np.arange(100) < 80, 200.0, 0.0)
    est = ref.copy()
    est[:10] *= 2 ** (49 / 1200)  # right
    est[10:20] *= 2 ** (51 / 1200)  # wrong
    est[20:30] *= 2  # right chroma
    est[30:40] *= -1  # right pitch, called unvoiced
    est[40:50] = 0  # no pitch at all
    est[80:85] = 300  # false alarm
    scores = f0_scores(times, ref, times, est)
    assert scores == pytest.approx(
        {
            "raw_pitch_accuracy": 50 / 80,
            "raw_chroma_accuracy": 60 / 80,
            "voicing_recall": 60 / 80,
            "voicing_false_alarm": 5 / 20,
            "overall_accuracy": (40 + 15) / 100,
        }
    )


def test_f0_without_voiced_or_unvoiced_reference_frames_is_not_measurable() -> None:
    times = 0.01 * np.arange(10)
    unvoiced = f0_scores(times, np.zeros(10), times, np.full(10, 100.0))
    assert np.isnan([unvoiced[k] for k in ("raw_pitch_accuracy", "raw_chroma_accuracy", "voicing_recall")]).all()
    assert (unvoiced["voicing_false_alarm"], unvoiced["overall_accuracy"]) == (1, 0)
    assert np.isnan(f0_scores(times, np.full(10, 100.0), times, np.zeros(10))["voicing_false_alarm"])
    nothing = f0_scores(times, np.full(10, 100.0), np.array([]), np.array([]))
    assert nothing["raw_pitch_accuracy"] == nothing["voicing_recall"] == nothing["overall_accuracy"] == 0
    with pytest.raises(ValueError, match="no frames"):
        f0_scores(np.array([]), np.array([]), times, times)


def test_resampling_has_no_delay() -> None:
    """A glide and a voicing step seen through a coarse grid stay where they are; holding would delay by 11.6 ms."""
    fine, coarse = 0.001 * np.arange(2000), 512 / 22_050 * np.arange(86)

    def glide(t: np.ndarray) -> np.ndarray:
        return np.where(t < 1.0, 200 * 2 ** (t / 2), 0.0)

    found = resample_f0(coarse, glide(coarse), fine)
    inner = fine < 0.98
    np.testing.assert_allclose(found[inner], glide(fine)[inner], rtol=1e-6)
    assert fine[np.flatnonzero(found)[-1]] == pytest.approx(1.0, abs=512 / 22_050 / 2)


def test_resampling_does_not_invent_pitches_or_fill_gaps() -> None:
    times = np.array([0.0, 0.01, 0.02, 0.03, 0.5, 0.51])
    f0 = np.array([100.0, 200.0, -150.0, np.nan, 300.0, 300.0])
    found = resample_f0(times, f0, np.array([0.004, 0.006, 0.016, 0.024, 0.03, 0.25, 0.509, 0.52, 0.6]))
    np.testing.assert_allclose(found, [100, 200, -150, -150, 0, 0, 300, 300, 0])
    with pytest.raises(ValueError, match="increase"):
        resample_f0(times[::-1], f0, times)


# Beats ----------------------------------------------------------------------------------------------------------------

BEATS = 0.5 * np.arange(60) + 0.1
POSITIONS = np.arange(60) % 4 + 1


def test_perfect_beats() -> None:
    scores = beat_scores(BEATS, POSITIONS, BEATS, POSITIONS)
    assert scores["reference_bpm"] == pytest.approx(120)
    del scores["reference_bpm"], scores["estimate_bpm"]
    assert scores == dict.fromkeys(scores, 1.0)
    assert len(scores) == 6


def test_beat_tolerance_is_70_ms() -> None:
    assert beat_scores(BEATS, POSITIONS, BEATS + 0.069, POSITIONS)["beat_f_measure"] == 1
    assert beat_scores(BEATS, POSITIONS, BEATS + 0.071, POSITIONS)["beat_f_measure"] == 0


def test_half_tempo_counts_at_any_metrical_level_only() -> None:
    scores = beat_scores(BEATS, POSITIONS, BEATS[::2], POSITIONS[::2])
    assert scores["cmlt"] < 0.1
    assert scores["amlt"] == 1
    assert (scores["tempo_acc1"], scores["tempo_acc2"]) == (0, 1)
    assert scores["downbeat_f_measure"] == 1
    assert scores["beat_f_measure"] == pytest.approx(2 / 3, abs=0.02)


def test_downbeats_on_the_wrong_beat() -> None:
    scores = beat_scores(BEATS, POSITIONS, BEATS, np.roll(POSITIONS, 1))
    assert (scores["beat_f_measure"], scores["downbeat_f_measure"]) == (1, 0)
    assert np.isnan(beat_scores(BEATS, POSITIONS, BEATS, None)["downbeat_f_measure"])
    assert np.isnan(beat_scores(BEATS, POSITIONS, BEATS, 0 * POSITIONS)["downbeat_f_measure"])


def test_the_start_is_not_scored_unless_asked() -> None:
    late = BEATS[BEATS >= 5]
    assert beat_scores(BEATS, POSITIONS, late, None)["beat_f_measure"] == 1
    assert beat_scores(BEATS, POSITIONS, late, POSITIONS[BEATS >= 5])["downbeat_f_measure"] == 1
    assert beat_scores(BEATS, POSITIONS, late, None, trim_s=0)["beat_f_measure"] < 0.95


def test_no_beats_found_is_wrong_and_no_reference_is_not_measurable() -> None:
    nothing = beat_scores(BEATS, POSITIONS, np.array([]), np.array([]))
    assert {nothing[k] for k in ("beat_f_measure", "cmlt", "amlt", "downbeat_f_measure", "tempo_acc2")} == {0}
    assert np.isnan(nothing["estimate_bpm"])
    blank = beat_scores(np.array([1.0]), np.array([1]), BEATS, POSITIONS)
    assert np.isnan([v for k, v in blank.items() if k != "estimate_bpm"]).all()
    with pytest.raises(ValueError, match="increase"):
        beat_scores(BEATS, POSITIONS, BEATS[::-1], None)


def test_tempo_survives_the_frame_grid_and_missing_beats() -> None:
    grid = 512 / 22_050
    quantised = grid * np.round(BEATS * 0.97 / grid)
    assert beats_tempo(np.delete(quantised, [5, 6, 20])) == pytest.approx(120 / 0.97, rel=0.005)
    assert tempo_accuracy(120, 124.7) == 1
    assert tempo_accuracy(120, 124.9) == 0
    assert [tempo_accuracy(120, bpm, factors=TEMPO_FACTORS) for bpm in (60, 240, 40, 360, 80, np.nan)] == [
        1,
        1,
        1,
        1,
        0,
        0,
    ]


# The run --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mir1k``: a clip whose voice steps up a fifth at 1.01 s; ``set``: a song whose bass is silent."""
    root = tmp_path_factory.mktemp("eval")
    rng = np.random.default_rng(3)
    # the step lies midway between frames 49 (1.00 s) and 50 (1.02 s)
    step = 1.01
    voice = np.concatenate([tone(220, step, level=0.4), tone(330, 2 - step, level=0.4)])
    semitones = [57.0] * 50 + [57 + 12 * np.log2(1.5)] * 48
    write_clip(root / "mir1k", "clip_1", 0.01 * rng.standard_normal(2 * RATE), voice, semitones)

    n = 8 * RATE
    clicks = np.zeros(n)
    for beat in np.arange(0, 8, 0.5):
        start = int(beat * RATE)
        clicks[start : start + 400] += 0.15 * rng.standard_normal(400) * np.exp(-np.arange(400) / 80)
    stems = {"vocals": tone(330, 8), "drums": clicks, "bass": np.zeros(n), "other": tone(523, 8, level=0.1)}
    write_song(root / "set" / "song", stems)
    (root / "set" / "song" / "beats.tsv").write_text("".join(f"{0.5 * k}\t{k % 4 + 1}\n" for k in range(16)))
    return root


def scores(result: EvaluationResult, column: str) -> dict[str, float]:
    return {f"{row.dataset}/{row.stem}": getattr(row, column) for row in result.table.itertuples()}


def test_oracle_and_hpss_beat_the_mixture(songs: Path) -> None:
    names = ("mixture", "hpss", "irm")
    found = {name: scores(evaluate("separation", songs, get_estimator(name)), "sdr_db") for name in names}
    assert found["irm"].keys() == {
        "mir1k/vocals",
        "mir1k/accompaniment",
        *(f"set/{stem}" for stem in ("vocals", "drums", "bass", "other")),
    }
    for key in found["irm"].keys() - {"set/bass"}:
        assert found["irm"][key] > found["mixture"][key] + 3, key
    assert found["hpss"]["set/drums"] > found["mixture"]["set/drums"] + 3


def test_the_mixture_gains_nothing(songs: Path) -> None:
    result = evaluate("separation", songs, get_estimator("mixture"))
    ok = result.table[result.table["status"] == "ok"]
    assert (ok["nsdr_db"] == 0).all()
    np.testing.assert_array_equal(ok["sdr_db"], ok["mixture_sdr_db"])
    assert (result.table["stems_sum_snr_db"] > 60).all()


@pytest.mark.parametrize("task", ["separation", "f0", "leakage"])
@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_a_width_and_lose_nothing(task: str, width: int) -> None:
    """The numbers of the wide table are all there."""
    stems = {"f0": ["vocals"], "leakage": [pair_name(a, b) for a in STEMS for b in STEMS]}.get(task, STEMS)
    rng, rows = np.random.default_rng(0), []
    for stem in stems:
        for estimator in ("joint-v3", "openunmix:umxhq-of-somebody"):
            of = {"task": task, "dataset": "folder-of-a-data-set", "stem": stem, "estimator": estimator, "status": "ok"}
            for track in range(3):
                scores = dict(zip(METRICS[task], rng.uniform(1, 9, len(METRICS[task]))))
                rows.append(of | {"track": str(track), "group": str(track)} | scores)
    result = EvaluationResult(pd.DataFrame(rows), {})
    wide, narrow = str(result), result.to_text(width)
    assert max(map(len, wide.splitlines())) > 80
    assert max(map(len, narrow.splitlines())) <= width
    numbers = r"-?\d+\.\d+"
    assert len(re.findall(numbers, wide)) > 40
    assert sorted(re.findall(numbers, narrow)) == sorted(re.findall(numbers, wide))
    cells = [re.split(r"\s{2,}", line.strip()) for line in narrow.splitlines()]
    if task == "leakage":
        assert sum(line.count("of other") for line in cells) == 2
        return
    table = result.summary().set_index(["stem", "estimator", "metric"])
    one = table.loc[stems[-1], "joint-v3", "rpa_fast" if task == "f0" else "bss_sar_db"]
    digits = 3 if task == "f0" else 2
    told = [f"{one[name]:.{digits}f}" for name in ("mean", "ci95", "median")]
    if width == 80:  # each metric on a line of its own
        assert [one.name[2], "joint-v3", "3", *told] in cells


def test_stems_that_do_not_sum_to_the_mixture_are_told(tmp_path: Path) -> None:
    write_song(tmp_path / "set" / "song", {"vocals": tone(440), "drums": tone(100)})
    soundfile.write(tmp_path / "set" / "song" / "mixture.flac", 1.1 * (tone(440) + tone(100)), RATE)
    result = evaluate("separation", tmp_path, get_estimator("irm"))
    np.testing.assert_allclose(result.table["stems_sum_snr_db"], 20 * np.log10(11), atol=0.01)
    assert "set/song: the stems sum to the mixture at 20.8 dB only" in str(result)


def test_a_silent_reference_is_skipped_and_counted(songs: Path) -> None:
    result = evaluate("separation", songs / "set", get_estimator("mixture"), museval=True)
    row = result.table.set_index("stem").loc["bass"]
    assert row["status"] == "silent_reference"
    assert row[["sdr_db", "si_sdr_db", "nsdr_db", "bss_sdr_db"]].isna().all()
    summary = result.summary().set_index(["stem", "metric"])
    assert list(summary.loc[("bass", "sdr_db"), ["n", "n_skipped"]]) == [0, 1]
    assert list(summary.loc[("drums", "sdr_db"), ["n", "n_skipped"]]) == [1, 0]
    assert "1 rows with a silent reference, not scored" in str(result)
    drums = result.table.set_index("stem").loc["drums"]
    assert 0 < drums["bss_nan_windows"] + 1 <= drums["bss_windows"]
    assert np.isfinite(drums["bss_sdr_db"])


class Truth(BaseEstimator):
    """Answers with the truth, spoiled by ``change``."""

    name = "truth"
    needs_truth = True

    def __init__(self, change=lambda stems: stems) -> None:
        self.change = change

    def separate_with_truth(self, y, sample_rate, stems):
        return self.change(dict(stems))


def test_the_truth_is_perfect_and_swapped_channels_are_not(songs: Path) -> None:
    perfect = evaluate("separation", songs / "mir1k", Truth())
    assert (perfect.table["sdr_db"] == np.inf).all()
    assert perfect.to_dict()["tracks"][0]["sdr_db"] is None
    swapped = evaluate(
        "separation",
        songs / "mir1k",
        Truth(lambda s: {"vocals": s["accompaniment"], "accompaniment": s["vocals"]}),
    )
    assert (swapped.table["sdr_db"] < 1).all()


def test_accompaniment_is_the_sum_of_the_other_stems(songs: Path) -> None:
    def in_parts(stems: dict) -> dict:
        return {
            "vocals": stems["vocals"],
            "drums": 0.25 * stems["accompaniment"],
            "bass": 0.75 * stems["accompaniment"],
        }

    assert (evaluate("separation", songs / "mir1k", Truth(in_parts)).table["sdr_db"] > 100).all()
    only_vocals = evaluate("separation", songs / "mir1k", Truth(lambda s: {"vocals": s["vocals"]}))
    assert scores(only_vocals, "status") == {"mir1k/vocals": "ok", "mir1k/accompaniment": "not_offered"}


class OneOfTwo(BaseEstimator):
    """Tells a stem from the rest; both are right, but for a tenth of the stem left in the rest."""

    name = "one of two"
    needs_truth = True

    def __init__(self, target: str) -> None:
        self.target = target

    def separate_with_truth(self, y, sample_rate, stems):
        part = stems[self.target] if self.target in stems else 0 * y
        return {self.target: 0.9 * part, "accompaniment": y - 0.9 * part}


@pytest.mark.parametrize("channels", ["mono", "all"])
def test_all_but_one_stem_is_scored_against_the_sum_of_the_others(tmp_path: Path, channels: str) -> None:
    parts = {stem: 0.1 * RNG.standard_normal((2, RATE)) for stem in ("vocals", "drums", "bass", "other")}
    write_song(tmp_path / "set" / "a", parts)
    found = evaluate("separation", tmp_path / "set", OneOfTwo("drums"), channels=channels, museval=True)
    table = found.table.set_index("stem")
    assert list(table.index) == ["vocals", "drums", "bass", "other", "accompaniment"]
    assert list(table["status"]) == ["not_offered", "ok", "not_offered", "not_offered", "ok"]
    assert table.loc["drums", "sdr_db"] == pytest.approx(20, abs=0.1)
    # three stems of equal power against a tenth of one
    assert table.loc["accompaniment", "sdr_db"] == pytest.approx(20 + 10 * np.log10(3), abs=0.3)
    assert table["stems_sum_snr_db"].min() > 60
    assert np.isfinite(table.loc["accompaniment", "bss_sdr_db"])
    assert "accompaniment" in str(found)


def test_the_truths_accompaniment_is_that_of_vocals_alone(songs: Path) -> None:
    found = evaluate("separation", songs / "mir1k", OneOfTwo("vocals"))
    assert scores(found, "status") == {"mir1k/vocals": "ok", "mir1k/accompaniment": "ok"}
    with pytest.raises(NotOfferedError):
        evaluate("separation", songs / "mir1k", OneOfTwo("drums"))


def test_a_silent_estimate_is_said_to_be_one(songs: Path) -> None:
    result = evaluate("separation", songs / "mir1k", Truth(lambda s: {k: 0 * v for k, v in s.items()}), museval=True)
    assert result.table["silent_estimate"].all()
    assert (result.table["sdr_db"] == 0).all()
    assert result.table[["si_sdr_db", "bss_sdr_db"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v[:, 1:] for k, v in s.items()}, "mixture is"),
        (lambda s: {k: np.repeat(v, 2, axis=0) for k, v in s.items()}, "mixture is"),
        (lambda s: {k: v * np.nan for k, v in s.items()}, "NaN"),
        (lambda s: s["strings"], "KeyError"),
    ],
)
def test_malformed_answers_name_the_track(songs: Path, change, message: str) -> None:
    with pytest.raises(EvaluationError, match=f"mir1k/clip_1.*{message}") as raised:
        evaluate("separation", songs / "mir1k", Truth(change))
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


class Pitch(BaseEstimator):
    """Knows the tune of the clip, ``delay`` seconds late."""

    name = "pitch"

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        times = 0.001 * np.arange(2000)
        return times, np.where(times - self.delay < 1.01, 220.0, 330.0)


@pytest.mark.parametrize("delay", [-0.1, -0.031, -0.008, 0.0, 0.008, 0.031, 0.1])
def test_mir1k_labels_are_centred_on_their_frames(songs: Path, delay: float) -> None:
    """Within 9 ms of the step every label agrees; beyond, one more is lost with every 20 ms."""
    accuracy = evaluate("f0", songs / "mir1k", Pitch(delay)).table["raw_pitch_accuracy"].item()
    assert round(98 * (1 - accuracy)) == round(abs(delay) / 0.02)


def test_pyin_hears_the_clip(songs: Path) -> None:
    """Times and channels against an estimator that knows nothing of the labels."""
    row = evaluate("f0", songs / "mir1k", get_estimator("pyin")).table.iloc[0]
    assert row["raw_pitch_accuracy"] > 0.95
    assert row["n_voiced"] == row["n_frames"] == 98


def test_beats_of_a_click_track(songs: Path) -> None:
    result = evaluate("beats", songs, get_estimator("librosa"), trim_s=1.0)
    assert len(result.table) == 1
    row = result.table.iloc[0]
    assert row["reference_bpm"] == pytest.approx(120)
    assert row["tempo_acc2"] == 1
    assert row["n_reference_beats"] == 14
    assert np.isnan(row["downbeat_f_measure"])
    assert "first 1 s" in str(result)


def test_all_tasks_in_one_table(songs: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    result = evaluate("all", songs, get_estimator("mixture"), progress=lambda *args: seen.append(args))
    assert seen == [(1, 2, "clip_1"), (2, 2, "song")]
    assert list(result.table["task"]) == ["separation"] * 6 + ["f0", "beats"] + ["presence"] * 5
    assert list(result.table["status"][-7:]) == ["not_offered"] * 7
    assert json.loads(json.dumps(result.to_dict()))["tracks"][0]["stem"] == "vocals"

    path = tmp_path / "scores.parquet"
    result.to_parquet(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), result.table, check_dtype=False)
    assert list(json.loads(pq.read_metadata(path).metadata[b"settings"])["estimators"]) == ["mixture"]


def test_an_estimator_need_not_have_all_methods_but_its_own_errors_are_told(songs: Path) -> None:
    class Parts:
        name = "parts"

        def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
            return {"vocals": y}

    table = evaluate("all", songs, Parts()).table  # type: ignore[arg-type]
    assert set(table.loc[table["task"] != "separation", "status"]) == {"not_offered"}
    assert (table["status"] == "ok").any()

    class Broken(Parts):
        def presence(self, y: np.ndarray, sample_rate: int) -> None:
            y.nothing  # noqa: B018

    with pytest.raises(EvaluationError, match="parts failed at presence: AttributeError"):
        evaluate("presence", songs, Broken())  # type: ignore[arg-type]


def test_processes_give_the_same_table(songs: Path) -> None:
    one, two = (evaluate("separation", songs, get_estimator("mixture"), jobs=jobs) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one.table, two.table)


def test_limit_and_missing_truth(songs: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_song(tmp_path / "set" / name, {"vocals": tone(440)})
    assert set(evaluate("separation", tmp_path, get_estimator("mixture"), limit=2).table["track"]) == {"a", "b"}
    with pytest.raises(EvaluationError, match=r"no track.*beats"):
        evaluate("beats", tmp_path, get_estimator("librosa"))
    with pytest.raises(ValueError, match="unknown task"):
        evaluate("chords", songs, get_estimator("mixture"))


def test_stereo_is_scored_on_its_downmix(tmp_path: Path) -> None:
    stereo = {"vocals": np.stack([tone(440), 0 * tone(440)]), "other": np.stack([0 * tone(300), tone(300)])}
    write_song(tmp_path / "song", stereo)

    def swap(stems: dict) -> dict:
        return {stem: signal[::-1] for stem, signal in stems.items()}

    assert (evaluate("separation", tmp_path, Truth(swap)).table["sdr_db"] == np.inf).all()


@pytest.mark.parametrize(("rate", "grid"), [(44_100, (4096, 1024)), (22_050, (2048, 512)), (16_000, (1488, 372))])
def test_the_oracle_grid_lasts_as_long_at_any_rate(rate: int, grid: tuple[int, int]) -> None:
    assert stft_grid(rate) == grid


def test_hpss_masks_sum_to_the_mixture() -> None:
    y = RNG.standard_normal((2, 12_345)).astype(np.float32)
    stems = get_estimator("hpss").separate(y, RATE)
    np.testing.assert_allclose(sum(stems.values()), y, atol=1e-4)
    tiny = get_estimator("hpss").separate(y[:, :100], RATE)
    np.testing.assert_allclose(sum(tiny.values()), y[:, :100], atol=1e-4)


def test_names_that_are_no_reference_are_checkpoints() -> None:
    estimator = get_estimator("some-model", device="cpu")
    assert isinstance(estimator, CheckpointEstimator)
    assert estimator.name == "some-model"
    assert get_estimator().name == "joint"
    assert get_estimator("joint") == get_estimator()
    assert pickle.loads(pickle.dumps(estimator)) == estimator


def test_joint_reads_the_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unvoiced frames carry a negative guess; one network and one analysis serve both tasks."""
    from networks import tiny_checkpoint

    from stemfeatures.analysis import Analyser
    from stemfeatures.models import checkpoints

    path = str(tiny_checkpoint(tmp_path))
    estimator = CheckpointEstimator(path)
    t = np.arange(2 * RATE) / RATE
    y = np.sin(2 * np.pi * 220 * t).astype(np.float32)[None]
    loaded: list[object] = []
    load = checkpoints.load
    monkeypatch.setattr(checkpoints, "load", lambda *args, **options: loaded.append(args) or load(*args, **options))
    times, f0_hz = estimator.f0(y, RATE)
    beats, positions = estimator.beats(y, RATE)
    estimator.f0(y.copy(), RATE)
    assert len(loaded) == 1
    direct = Analyser(path).from_audio(y, RATE)
    contour = direct.contours["vocals"]
    voiced = np.isfinite(contour.f0_hz)
    np.testing.assert_array_equal(times, contour.times_s)
    np.testing.assert_array_equal(f0_hz[voiced], contour.f0_hz[voiced])
    guess = np.nan_to_num(direct.frames.pitch["vocals"].candidates_hz[:, 0])
    np.testing.assert_array_equal(f0_hz[::2][~voiced[::2]], -guess[~voiced[::2]])
    between = direct.frames.pitch["vocals"].between_hz
    assert between is not None
    between = np.where(np.isfinite(between), between, guess)[:-1]
    np.testing.assert_array_equal(f0_hz[1::2][~voiced[1::2]], -between[~voiced[1::2]])
    np.testing.assert_array_equal(beats, direct.events.beats_s)
    np.testing.assert_array_equal(positions, direct.events.beat_positions)


def test_an_unknown_model_is_not_blamed_on_a_track(songs: Path) -> None:
    class NoModel(BaseEstimator):
        name = "none"

        def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
            raise ModelError("no such model")

    with pytest.raises(ModelError, match="no such model"):
        evaluate("separation", songs, NoModel())


def test_mir1k_audio_with_swapped_channels_fails(songs: Path, tmp_path: Path) -> None:
    """The convention is visible: an exported clip with the voice on the left scores as badly as it should."""
    samples, rate = soundfile.read(songs / "mir1k" / "clip_1.wav")
    (tmp_path / "k").mkdir()
    soundfile.write(tmp_path / "k" / "clip_1.wav", samples[:, ::-1], rate)
    (tmp_path / "k" / "clip_1.pv").write_text((songs / "mir1k" / "clip_1.pv").read_text())

    class LoudIsVoice(BaseEstimator):
        name = "loud"

        def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
            return {"vocals": y, "accompaniment": np.zeros_like(y)}

    right = evaluate("separation", songs / "mir1k", LoudIsVoice()).table.set_index("stem")["sdr_db"]
    wrong = evaluate("separation", tmp_path / "k", LoudIsVoice()).table.set_index("stem")["sdr_db"]
    assert right["vocals"] > 20
    assert wrong["vocals"] < -20


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    """Six singers of ten clips each, alike within a singer: 95 % of the intervals hold 0, far fewer if by clip."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 10)
    held = {"singer": 0, "clip": 0}
    for _ in range(600):
        values = rng.standard_normal(6)[groups] + 0.5 * rng.standard_normal(60)
        held["singer"] += abs(values.mean()) <= half_width(values, groups)
        held["clip"] += abs(values.mean()) <= half_width(values, np.arange(60))
    assert held["singer"] / 600 == pytest.approx(0.95, abs=0.03)
    assert held["clip"] / 600 < 0.7
    assert half_width(np.array([1.0, 2.0, 3.0]), np.arange(3)) == pytest.approx(4.302653 / np.sqrt(3), rel=1e-4)
    assert math.isnan(half_width(np.array([1.0, 2.0]), np.array(["a", "a"])))


def test_pitch_is_scored_by_its_speed() -> None:
    """A held note, a slide of 6 semitones a second and a leap-like one of 30; the estimate is wrong in the fast one."""
    times = np.arange(300) * 0.01
    speed = np.repeat([0.0, 6.0, 30.0], 100)
    reference = 220 * 2 ** (np.cumsum(speed) * 0.01 / 12)
    estimate = np.where(speed == 30, reference * 2 ** (1 / 12), reference)
    scores = pitch_by_speed(times, reference, times, estimate)
    assert [scores[f"rpa_{name}"] for name in ("steady", "moving", "fast")] == pytest.approx([1, 1, 0], abs=0.03)
    assert [scores[f"n_{name}"] for name in ("steady", "moving", "fast")] == pytest.approx([99, 100, 99], abs=1)
    unvoiced = pitch_by_speed(times, np.where(speed == 6, 0.0, 220.0), times, np.full(300, 220.0))
    assert (unvoiced["rpa_steady"], unvoiced["n_steady"]) == (1, 196)
    assert math.isnan(unvoiced["rpa_fast"])


def test_presence_is_where_a_stem_plays() -> None:
    """A voice from 2 to 4 s with a pause of 0.3 s, drums throughout, and a bass 60 dB below them."""
    rng = np.random.default_rng(0)
    t = np.arange(6 * RATE) / RATE
    sung = (t >= 2) & (t < 4) & ~((t >= 3) & (t < 3.3))
    stems = {
        "vocals": (0.1 * np.sin(2 * np.pi * 300 * t) * sung)[None],
        "drums": 0.1 * rng.standard_normal((1, len(t))),
        "bass": (1e-4 * np.sin(2 * np.pi * 60 * t))[None],
    }
    truth = presence_truth(stems, RATE)
    plays, known = truth["vocals"]
    seconds = np.flatnonzero(plays) * HOP_LENGTH / ANALYSIS_SAMPLE_RATE
    assert (seconds[0], seconds[-1]) == (pytest.approx(2, abs=0.04), pytest.approx(4, abs=0.04))
    assert plays.sum() == pytest.approx(2 * ANALYSIS_SAMPLE_RATE / HOP_LENGTH, abs=3)  # the pause is played through
    assert known.mean() > 0.97
    assert truth["drums"][0].all()
    assert not truth["bass"][0].any()
    times = np.arange(0, 6, 0.01)
    late = presence_scores(plays, known, times, (times >= 3) & (times < 5))
    assert late["presence_precision"] == pytest.approx(0.5, abs=0.02)
    assert late["presence_recall"] == pytest.approx(0.5, abs=0.02)
    assert late["presence_f_measure"] == pytest.approx(0.5, abs=0.02)
    assert late["presence_false_alarm"] == pytest.approx(1 / 4, abs=0.02)
    never = presence_scores(*truth["bass"], times, times < 3)
    assert math.isnan(never["presence_f_measure"])
    assert never["presence_false_alarm"] == pytest.approx(0.5, abs=0.01)


def test_a_checkpoint_is_scored_on_presence(tmp_path: Path) -> None:
    """Without a presence head by its estimates; a song's silent stem has a false alarm and no F measure."""
    write_song(tmp_path / "set" / "a", {"vocals": tone(440), "drums": 0 * tone(440)})
    result = evaluate("presence", tmp_path, get_estimator(str(tiny_checkpoint(tmp_path))))
    table = result.table.set_index("stem")
    assert set(table["status"]) == {"ok"}
    assert 0 < table.loc["vocals", "presence_recall"] <= 1
    assert math.isnan(table.loc["drums", "presence_f_measure"])
    assert 0 <= table.loc["drums", "presence_false_alarm"] <= 1
    assert table.loc["drums", "n_playing"] == 0
