"""What ends up where: the energy of true stems in estimates."""

from __future__ import annotations

import numpy as np
import pytest

from stemfeatures.datasets.multitrack import TrackTruth
from stemfeatures.evaluation import BaseEstimator, EvaluationResult, NotOfferedError, evaluate
from stemfeatures.evaluation.leakage import BANDS_HZ, leakage, leakage_scores, pair_name, pair_of

SR = 22_050


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(2 * SR).astype(np.float32)


def _tone(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(2 * SR) / SR).astype(np.float32)


def test_a_perfect_estimate_holds_its_stem_and_nothing_else():
    stems = {"vocals": _tone(600.0), "bass": _tone(80.0)}
    found = leakage(stems, stems, SR)
    for name, foreign in (("vocals", "bass"), ("bass", "vocals")):
        own = found["", name].sum()
        assert found[name, name].sum() == pytest.approx(own, rel=0.01)
        assert found[name, foreign].sum() < 1e-3 * own
    assert np.argmax(found["", "bass"]) == 0
    assert np.argmax(found["", "vocals"]) == np.searchsorted(BANDS_HZ, 600.0) - 1


def test_half_of_the_mixture_holds_a_quarter_of_every_energy():
    stems = {"vocals": _noise(0), "drums": 0.5 * _noise(1)}
    mixture = stems["vocals"] + stems["drums"]
    found = leakage(stems, {"vocals": 0.5 * mixture}, SR)
    for stem in stems:
        np.testing.assert_allclose(found["vocals", stem], 0.25 * found["", stem], rtol=1e-3)


def test_leakage_is_found_in_the_band_where_it_is():
    stems = {"vocals": _tone(600.0), "drums": _tone(5000.0)}
    found = leakage(stems, {"vocals": stems["vocals"] + 0.1 * stems["drums"]}, SR)
    assert np.argmax(found["vocals", "drums"]) == np.searchsorted(BANDS_HZ, 5000.0) - 1
    assert 10 * np.log10(found["vocals", "drums"].sum() / found["", "drums"].sum()) == pytest.approx(-20, abs=0.5)


def test_signals_must_be_mono_and_equally_long():
    with pytest.raises(ValueError, match="equally long"):
        leakage({"vocals": _tone(100)}, {"vocals": _tone(100)[:-1]}, SR)
    with pytest.raises(ValueError, match="mono"):
        leakage({"vocals": _tone(100)[None]}, {"vocals": _tone(100)[None]}, SR)


def test_scores_are_levels_and_shares():
    """An estimate that is the vocals and a tenth of the drums' amplitude, in their band alone."""
    stems = {"vocals": _tone(600.0), "drums": 0.5 * _tone(5000.0)}
    found = leakage_scores(stems, {"vocals": stems["vocals"] + 0.1 * stems["drums"]}, SR)
    assert set(found) == {("vocals", "vocals"), ("vocals", "drums")}
    own, foreign = found["vocals", "vocals"], found["vocals", "drums"]
    assert own["level_db"] == pytest.approx(0.0, abs=0.05)
    assert own["share"] == pytest.approx(1.0, abs=0.01)
    assert own["share_from_400_hz"] == pytest.approx(1.0, abs=0.01)
    assert foreign["level_db"] == pytest.approx(-20 + 20 * np.log10(0.5), abs=0.5)
    assert foreign["share"] == pytest.approx(0.01, rel=0.15)
    assert foreign["share_from_3000_hz"] == pytest.approx(0.01, rel=0.15)
    assert np.isnan(foreign["level_from_8000_hz_db"])  # no vocals there to compare with
    assert np.isnan(foreign["share_from_150_hz"])  # no drums there


def test_pairs_have_names_that_can_be_read_back():
    assert pair_of(pair_name("drums", "vocals")) == ("drums", "vocals")


def _track(name: str, drums: float):
    class Track:
        dataset, artist = "made", None
        tasks = frozenset({"separation"})

        def __init__(self):
            self.name = name

        def load(self):
            stems = {"vocals": _noise(0)[None], "drums": np.float32(drums) * _noise(1)[None]}
            return TrackTruth(SR, sum(stems.values()), stems)

        def source(self):
            return name

    return Track()


class _Part(BaseEstimator):
    """A part of the mixture as the vocals, the rest of the amplitude as the drums."""

    def __init__(self, part):
        self.part, self.name = part, f"part {part}"

    def separate(self, y, sample_rate):
        return {"vocals": self.part * y, "drums": (1 - self.part) * y, "unknown": y}


def test_evaluate_prints_a_matrix_a_band():
    tracks = [_track("one", 1.0), _track("two", 0.5)]
    result = evaluate("leakage", tracks, _Part(0.5))
    assert list(result.table["stem"][:4]) == [
        "vocals in vocals",
        "drums in vocals",
        "vocals in drums",
        "drums in drums",
    ]
    rows = result.summary().set_index(["stem", "metric"])
    assert rows.loc[("vocals in drums", "share"), "mean"] == pytest.approx(0.25, rel=0.01)
    # equally loud in one track, 6 dB apart in the other: drums in vocals at -6 and -12 dB
    level = rows.loc[("drums in vocals", "level_from_400_hz_db")]
    assert level["mean"] == pytest.approx(-9.0, abs=0.3)
    assert level["ci95"] == pytest.approx(12.706 * 3.01, rel=0.1)
    lines = str(result).splitlines()
    assert lines[1] == "made, part 0.5, 2 tracks"
    assert lines[2].split() == ["band", "estimate", "of", "vocals", "of", "drums"]
    first = lines[3].split()
    assert first[:2] == ["all", "vocals"]
    assert first[-1] == "(25)"
    assert float(first[2]) == pytest.approx(-6.0, abs=0.1)
    assert len(lines) == 3 + 2 * (1 + len(BANDS_HZ))


def test_an_accompaniment_is_of_the_part_beside_it():
    """All but the drums is not the accompaniment of a voice; four stems have one, their sum without the vocals."""

    class Track:
        dataset, name, artist = "made", "one", None
        tasks = frozenset({"separation"})

        def load(self):
            stems = {"vocals": _noise(0)[None], "accompaniment": _noise(1)[None]}
            return TrackTruth(SR, sum(stems.values()), stems)

    class Half(BaseEstimator):
        name = "half"

        def __init__(self, *targets):
            self.targets = targets

        def separate(self, y, sample_rate):
            return dict.fromkeys(self.targets, 0.5 * y)

    table = evaluate("leakage", [Track()], Half("vocals", "accompaniment")).table
    assert list(table["status"]) == ["ok"] * 4
    table = evaluate("leakage", [Track()], Half("vocals", "drums", "bass")).table.set_index("stem")
    assert table.loc["accompaniment in accompaniment", "share"] == pytest.approx(1.0, rel=0.01)
    with pytest.raises(NotOfferedError, match="half offers none"):
        evaluate("leakage", [Track()], Half("drums", "accompaniment"))


def test_estimators_are_compared_track_by_track():
    """Levels differ by 3.5 dB in every track, though they lie 6 dB apart between tracks."""
    tracks = [_track("one", 1.0), _track("two", 0.5)]
    result = EvaluationResult.join([evaluate("leakage", tracks, _Part(part)) for part in (0.5, 0.75)])
    differences = result.against("part 0.5")
    assert set(differences.table["estimator"]) == {"part 0.75"}
    rows = differences.summary().set_index(["stem", "metric"])
    level = rows.loc[("drums in vocals", "level_db")]
    assert level["mean"] == pytest.approx(20 * np.log10(1.5), abs=1e-3)
    assert level["ci95"] < 0.01
    assert rows.loc[("drums in drums", "share"), "mean"] == pytest.approx(0.0625 - 0.25, abs=1e-3)
    with pytest.raises(ValueError, match="nothing to compare with 'none'"):
        result.against("none")
