"""Scores of lyrics alignment, by hand and through ``evaluate``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mir_eval")

from stemfeatures.datasets.annotations import Annotations, Lyrics, Segment
from stemfeatures.datasets.multitrack import MultiTrack
from stemfeatures.errors import EvaluationError
from stemfeatures.evaluation import BaseEstimator, evaluate
from stemfeatures.evaluation.lyrics import lyrics_scores, reference_words


def test_scores_by_hand():
    reference = np.array([1.0, 2.0, 3.0, 5.0])
    found = lyrics_scores(reference, np.array([1.0, 2.2, 3.05, 5.4]))
    assert found["absolute_error_mean_s"] == pytest.approx(0.1625)
    assert found["absolute_error_median_s"] == pytest.approx(0.125)
    assert found["error_median_s"] == pytest.approx(0.125)
    assert (found["within_0.1_s"], found["within_0.3_s"], found["words_timed"]) == (0.5, 0.75, 1.0)
    # of 4 s: 1 of 1, 0.8 of 1 and 1.95 of 2
    assert found["correct_duration"] == pytest.approx((1 + 0.8 + 1.95) / 4)
    assert 0 < found["perceptual"] < 1


def test_the_lead_of_a_data_set_is_taken_off():
    reference = np.array([1.0, 2.0])
    assert lyrics_scores(reference, reference + 0.075, lead_s=0.075)["absolute_error_mean_s"] == pytest.approx(0)


def test_words_without_a_time_are_wrong_but_leave_errors_alone():
    found = lyrics_scores(np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, 3.0]))
    assert found["words_timed"] == pytest.approx(2 / 3)
    assert found["within_0.3_s"] == pytest.approx(2 / 3)
    assert found["absolute_error_mean_s"] == 0
    assert found["correct_duration"] == 1


def test_refused_lyrics_score_nothing():
    found = lyrics_scores(np.array([1.0, 2.0]), np.full(2, np.nan))
    assert np.isnan(found["absolute_error_mean_s"])
    assert [found[k] for k in ("words_timed", "within_0.3_s", "correct_duration", "perceptual")] == [0, 0, 0, 0]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="starts"):
        lyrics_scores(np.array([1.0]), np.array([1.0, 2.0]))


LYRICS = Lyrics(
    (Segment(1.0, 1.5, "Ice cream"), Segment(1.5, 1.9, "—"), Segment(2.0, 3.0, "now"), Segment(4.0, 5.0, "please")),
    (Segment(1.0, 3.0, "Ice cream — now"), Segment(4.0, 5.0, "please")),
)


def test_reference_words_know_their_tokens():
    text, first, starts = reference_words(LYRICS)
    assert text == "Ice cream — now\nplease"
    assert [text.split()[k] for k in first] == ["Ice", "now", "please"]
    assert list(starts) == [1.0, 2.0, 4.0]


@dataclass(frozen=True)
class _Song(MultiTrack):
    name: str = "song"
    dataset: str = "songs"
    lyrics_lead_s = 0.5

    @property
    def stem_names(self) -> tuple[str, ...]:
        return ()

    def audio(self, stem: str = "mixture") -> tuple[np.ndarray, int]:
        return np.zeros((1, 8000), np.float32), 8000

    def annotations(self) -> Annotations:
        return Annotations(lyrics=LYRICS)


class _Fixed(BaseEstimator):
    name = "fixed"
    starts = (1.5, 1.7, None, 2.5, 4.75)

    def lyrics(self, y: np.ndarray, sample_rate: int, text: str) -> list[float | None]:
        return list(self.starts)


def test_evaluate_scores_songs_with_words_in_time():
    result = evaluate("lyrics", [_Song()], _Fixed())
    (row,) = result.table.to_dict("records")
    assert (row["task"], row["stem"], row["status"], row["n_words"]) == ("lyrics", "vocals", "ok", 3)
    assert row["within_0.1_s"] == pytest.approx(2 / 3)
    assert row["absolute_error_mean_s"] == pytest.approx(0.25 / 3)
    assert "within_0.3_s" in str(result)
    assert "lyrics" in _Fixed().tasks


def test_all_does_not_ask_for_lyrics():
    with pytest.raises(EvaluationError, match="no track"):
        evaluate("all", [_Song()], _Fixed())


def test_a_wrong_number_of_times_is_an_error():
    estimator = _Fixed()
    estimator.starts = (1.0,)  # type: ignore[assignment]
    with pytest.raises(EvaluationError, match="1 starts for 5 tokens"):
        evaluate("lyrics", [_Song()], estimator)


PUBLISHED = Path(os.environ.get("STEMFEATURES_EVAL_DATA", "")) / "jamendolyrics"
#: Seconds by which the published evaluation moves the predictions.
SHIFT_S = 0.18


@pytest.mark.skipif(
    not (PUBLISHED / "predictions").is_dir(),
    reason="STEMFEATURES_EVAL_DATA/jamendolyrics is no checkout of f90/jamendolyrics at its tag original",
)
@pytest.mark.parametrize(
    ("model", "mean_s", "within", "worst_s"),
    [("stoller_model", 0.819, 0.848, 7.03), ("stoller_sep_model", 0.375, 0.870, 2.01)],
)
def test_published_predictions_score_as_published(model: str, mean_s: float, within: float, worst_s: float):
    scores = {}
    for path in sorted((PUBLISHED / "annotations").glob("*.wordonset.txt")):
        name = path.name.removesuffix(".wordonset.txt")
        found = np.loadtxt(PUBLISHED / "predictions" / model / f"{name}_align.csv", delimiter=",")[:, 0]
        scores[name] = lyrics_scores(np.loadtxt(path), found + SHIFT_S)
    assert scores["Pure_Mids_-_The_Leader"]["absolute_error_mean_s"] == pytest.approx(worst_s, abs=0.005)
    if len(scores) == 20:
        means = {key: np.mean([s[key] for s in scores.values()]) for key in ("absolute_error_mean_s", "within_0.3_s")}
        assert means["absolute_error_mean_s"] == pytest.approx(mean_s, abs=0.0006)
        assert means["within_0.3_s"] == pytest.approx(within, abs=0.0006)
