"""Inharmonicity of tones with a known answer, and beside essentia."""

from __future__ import annotations

import numpy as np
import pytest
from frames_helper import SR, n_frames_of, pitch_frames, track_frames

from stemfeatures.descriptors import describe
from stemfeatures.descriptors.inharmonicity import TRUSTED_SDR_DB
from stemfeatures.frames import InharmonicityFrames
from stemfeatures.frames.inharmonicity import WINDOW, InharmonicityMeter, inharmonicity, partials

NUMBERS = np.arange(1, 11)


def string(hz: float, stiffness: float = 0.0, seconds: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Ten partials of a stiff string, the k-th of amplitude 1 / k at ``k hz sqrt(1 + B k**2)``; their frequencies."""
    frequencies = NUMBERS * hz * np.sqrt(1 + stiffness * NUMBERS**2)
    t = np.arange(int(seconds * SR)) / SR
    y = sum(np.sin(2 * np.pi * f * t + k**2) / k for k, f in zip(NUMBERS, frequencies))
    return 0.1 * np.asarray(y), frequencies


def known(frequencies: np.ndarray) -> float:
    """What the definition says of these partials."""
    energy = 1.0 / NUMBERS**2
    fundamental = (energy * NUMBERS * frequencies).sum() / (energy * NUMBERS**2).sum()
    return float((energy * np.abs(frequencies - NUMBERS * fundamental)).sum() / energy.sum() / fundamental)


def measured(y: np.ndarray, hz: float, *, block: int | None = None, voicing: float = 0.9) -> InharmonicityFrames:
    meter, n = InharmonicityMeter(), n_frames_of(len(y))
    for start in range(0, n, 100):
        count = min(100, n - start)
        meter.push(np.full(count, hz), np.full(count, voicing))
    for start in range(0, len(y), block or len(y)):
        meter.push_signal(y[start : start + (block or len(y))])
    return meter.finish()


@pytest.mark.parametrize("hz", [55.0, 110.0, 220.0, 440.0, 880.0])
@pytest.mark.parametrize("stiffness", [0.0, 1e-4, 3e-4])
def test_a_stiff_string_has_the_known_value_and_a_harmonic_tone_none(hz: float, stiffness: float) -> None:
    y, frequencies = string(hz, stiffness)
    # A pitch that is 20 cents off does not matter: the partials tell the fundamental.
    found = np.median(measured(y, hz * 2 ** (20 / 1200)).inharmonicity[5:-5])
    assert found == pytest.approx(known(frequencies), rel=0.03, abs=1.5e-4)
    assert np.median(measured(0.001 * y, hz).inharmonicity[5:-5]) == pytest.approx(found, rel=0.01, abs=1e-4)


def test_it_is_essentias_with_this_fundamental() -> None:
    """Partials as they are found, after their fundamental, whose amplitude is 0: essentia takes the first for it."""
    standard = pytest.importorskip("essentia.standard")
    y, _ = string(110.0, 4e-4)
    y += 0.01 * np.random.default_rng(0).standard_normal(len(y))
    found_hz, energy = partials(y[:WINDOW][None], np.array([110.0]))
    told = np.isfinite(found_hz[0])
    numbers = np.flatnonzero(told) + 1
    e, f = energy[0][told], found_hz[0][told]
    fundamental = (e * numbers * f).sum() / (e * numbers**2).sum()
    # It wants them in ascending order; the first partial of a stiff string lies below the fundamental that fits all.
    keep = f > fundamental
    theirs = standard.Inharmonicity()(
        np.r_[fundamental, f[keep]].astype(np.float32), np.r_[0, np.sqrt(e[keep])].astype(np.float32)
    )
    ours = (e * np.abs(f - numbers * fundamental))[keep].sum() / e[keep].sum() / fundamental
    assert ours == pytest.approx(float(theirs), rel=1e-3)
    whole = (e * np.abs(f - numbers * fundamental)).sum() / e.sum() / fundamental
    assert inharmonicity(found_hz, energy)[0] == pytest.approx(whole, rel=1e-6)


def test_blocks_do_not_matter() -> None:
    y = np.tile(string(110.0, 1e-4)[0], 15)
    once, often = measured(y, 110.0), measured(y, 110.0, block=4_096)
    np.testing.assert_array_equal(once.frame, np.arange(0, n_frames_of(len(y)), 3))
    np.testing.assert_array_equal(once.frame, often.frame)
    np.testing.assert_array_equal(once.inharmonicity, often.inharmonicity)
    assert not len(measured(y[:SR], 110.0, voicing=0.3).frame)
    assert not len(measured(y[:SR], 2000.0).frame)
    alone = np.sin(2 * np.pi * 220 * np.arange(SR) / SR)
    assert np.isnan(measured(alone, 220.0).inharmonicity[5:-5]).all()


def described(y: np.ndarray, hz: float, *, contour_hz: float | None = None, sdr_db: float = 30.0) -> dict[str, dict]:
    """Rows of a bass, whose masks promise about so much."""
    pitch = {"bass": pitch_frames(np.full(n_frames_of(len(y)), contour_hz or hz))}
    frames = track_frames({"bass": y}, pitch=pitch, tones={"bass": measured(y, hz)})
    stem = frames.stems["bass"]
    stem.mask_energy = stem.energy / (1 - 10 ** (-sdr_db / 10))
    return describe(frames).stems


def test_fields_of_a_bass() -> None:
    y, frequencies = string(82.0, 3e-4)
    rows = described(y, 82.0)
    assert rows["bass"]["inharmonicity_status"] == "ok"
    assert rows["bass"]["inharmonicity_median"] == pytest.approx(known(frequencies), rel=0.03)
    assert rows["mixture"]["inharmonicity_status"] == rows["drums"]["inharmonicity_status"] == "not_applicable"
    assert rows["vocals"]["inharmonicity_status"] == "absent"
    poor = described(y, 82.0, sdr_db=TRUSTED_SDR_DB["bass"] - 2)["bass"]
    assert (poor["inharmonicity_status"], poor["inharmonicity_median"]) == ("poor_separation", None)
    for row in (described(y, 82.0, contour_hz=123.0)["bass"], described(y[: SR // 2], 82.0)["bass"]):
        assert (row["inharmonicity_status"], row["inharmonicity_median"]) == ("too_few_frames", None)
    pitch = {"bass": pitch_frames(np.full(n_frames_of(len(y)), 82.0))}
    assert describe(track_frames({"bass": y}, pitch=pitch)).stems["bass"]["inharmonicity_status"] == "unknown"
