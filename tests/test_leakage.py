"""What ends up where: the energy of true stems in estimates."""

from __future__ import annotations

import numpy as np
import pytest

from stemfeatures.evaluation import NotOfferedError
from stemfeatures.evaluation.leakage import BANDS_HZ, leakage, leakage_table

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


def test_the_table_gives_levels_of_tracks():
    class Track:
        dataset, name = "made", "one"

        def load(self):
            from stemfeatures.datasets.multitrack import TrackTruth

            stems = {"vocals": _noise(0)[None], "drums": _noise(1)[None]}
            return TrackTruth(SR, sum(stems.values()), stems)

    class Half:
        name = "half"

        def separate(self, y, sample_rate):
            return {"vocals": 0.5 * y, "drums": 0.5 * y, "unknown": y}

    table = leakage_table([Track()], Half())
    assert list(table["estimate"]) == ["vocals", "vocals", "drums", "drums"]
    np.testing.assert_allclose(table["all"], -6.0, atol=0.15)


def test_an_accompaniment_is_of_the_part_beside_it():
    """All but the drums is not the accompaniment of a voice."""

    class Track:
        dataset, name = "made", "one"

        def load(self):
            from stemfeatures.datasets.multitrack import TrackTruth

            stems = {"vocals": _noise(0)[None], "accompaniment": _noise(1)[None]}
            return TrackTruth(SR, sum(stems.values()), stems)

    class Half:
        name = "half"

        def __init__(self, target):
            self.target = target

        def separate(self, y, sample_rate):
            return {self.target: 0.5 * y, "accompaniment": 0.5 * y}

    assert set(leakage_table([Track()], Half("vocals"))["estimate"]) == {"vocals", "accompaniment"}
    with pytest.raises(NotOfferedError, match="half gives no stem"):
        leakage_table([Track()], Half("drums"))
