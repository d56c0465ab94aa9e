"""Place and width of stems whose panning is known: with perfect masks, and from the file on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stemfeatures.analysis import Analyser
from stemfeatures.audio import resample, to_mono
from stemfeatures.constants import N_BINS
from stemfeatures.descriptors.stereo import stereo_image
from stemfeatures.frames import stereo
from stemfeatures.frames.stereo import StereoMeter, band_slices
from stemfeatures.generator.song import generate_song

RATE = 44_100
SUFFIXES = ("", "_low", "_mid", "_high")


def noise(seed: int, low_hz: float, high_hz: float, n: int = 3 * RATE) -> np.ndarray:
    """Noise within a band."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    hertz = np.fft.rfftfreq(n, 1 / RATE)
    spectrum[(hertz < low_hz) | (hertz >= high_hz)] = 0
    y = np.fft.irfft(spectrum, n)
    return np.asarray(0.1 * y / y.std())


def panned(y: np.ndarray, degrees: float) -> np.ndarray:
    """(2, n) by the law of constant power: 0 is left, 90 right."""
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle) * y, np.sin(angle) * y])


def test_stems_stand_where_they_were_panned(analyser: Analyser) -> None:
    """Vocals panned by 30 degrees, drums hard left, bass in the centre, other two independent channels."""
    stems = {
        "vocals": panned(noise(0, 300, 900), 30),
        "drums": panned(noise(1, 4500, 9000), 0),
        "bass": panned(noise(2, 40, 200), 45),
        "other": np.sqrt(0.5) * np.stack([noise(3, 1200, 3500), noise(4, 1200, 3500)]),
    }
    rows = analyser.from_audio(sum(stems.values()), RATE, stems=stems).stems
    assert {row["stereo_status"] for row in rows.values()} == {"ok"}
    # Width is half of 1 - sin(2 a), pan -cos(2 a); a hundredth of the power comes from the bands' skirts.
    expected = {
        "vocals": (0.5 - 0.25 * np.sqrt(3), -0.5, 1.0),
        "drums": (0.5, -1.0, None),
        "bass": (0.0, 0.0, 1.0),
        "other": (0.5, 0.0, 0.0),
    }
    for stem, (width, pan, correlation) in expected.items():
        assert rows[stem]["stereo_width"] == pytest.approx(width, abs=0.02), stem
        assert rows[stem]["stereo_pan"] == pytest.approx(pan, abs=0.03), stem
        if correlation is not None:
            assert rows[stem]["stereo_correlation"] == pytest.approx(correlation, abs=0.03), stem
    mixture = rows["mixture"]
    for band, stem in (("low", "bass"), ("high", "drums")):
        for name in ("width", "pan"):
            place = dict(zip(("width", "pan"), expected[stem]))[name]
            assert mixture[f"stereo_{name}_{band}"] == pytest.approx(place, abs=0.02)
    # Four equal powers: the side has those of expected widths, and the channels the mean of the pans.
    assert mixture["stereo_width"] == pytest.approx(np.mean([v[0] for v in expected.values()]), abs=0.02)
    assert mixture["stereo_pan"] == pytest.approx(-1.5 / 4, abs=0.02)


@pytest.mark.parametrize(
    ("right", "width", "pan", "correlation"),
    [(1.0, 0.0, 0.0, 1.0), (0.5, 0.1, -0.6, 1.0), (-1.0, 1.0, 0.0, -1.0), (0.0, 0.5, -1.0, None)],
)
def test_one_signal_on_two_channels(
    analyser: Analyser, right: float, width: float, pan: float, correlation: float | None
) -> None:
    """Whatever masks a network has: every stem has the place of the signal, in each band."""
    y = noise(5, 30, 10_000, RATE)
    rows = analyser.from_audio(np.stack([y, right * y]), RATE).stems
    played = [row for row in rows.values() if row["stereo_status"] == "ok"]
    assert rows["mixture"] in played
    assert len(played) > 1
    for row in played:
        for suffix in SUFFIXES:
            if row[f"stereo_width{suffix}"] is not None:
                assert row[f"stereo_width{suffix}"] == pytest.approx(width, abs=1e-3)
                assert row[f"stereo_pan{suffix}"] == pytest.approx(pan, abs=1e-3)
                expected = None if correlation is None else pytest.approx(correlation, abs=1e-3)
                assert row[f"stereo_correlation{suffix}"] == expected
    assert rows["mixture"]["stereo_width_mid"] is not None


def test_the_network_leaves_stems_where_they_were_panned() -> None:
    """A song with drums to the left and instruments to the right, separated: what bleeds draws each to the others."""
    song = generate_song(98_009, duration_s=10.0, style="reggae", lineup="full")
    angles = {"vocals": 45, "drums": 15, "bass": 45, "other": 75}
    gains = {"other": 3.0}  # it is so soft in this song that it counts as absent
    stems = {stem: gains.get(stem, 1) * panned(to_mono(song.stems[stem]), at) for stem, at in angles.items()}
    rows = Analyser().from_audio(sum(stems.values()).astype(np.float32), RATE).stems
    pan, width = ({stem: rows[stem][f"stereo_{name}"] for stem in angles} for name in ("pan", "width"))
    for stem, within in (("vocals", 0.15), ("drums", 0.15), ("bass", 0.25)):
        angle = 2 * np.deg2rad(angles[stem])
        assert pan[stem] == pytest.approx(-np.cos(angle), abs=within), stem
        assert width[stem] == pytest.approx(0.5 - 0.5 * np.sin(angle), abs=0.1), stem
    # The instruments hold much of the rest: they stand right, not by how much.
    assert pan["other"] > max(pan["vocals"], pan["drums"], pan["bass"]) + 0.1
    assert pan["other"] > 0.1


def test_mono_and_surround_have_no_place(analyser: Analyser) -> None:
    y = noise(5, 30, 10_000, RATE // 2)
    for signal, status in ((y, "mono"), (np.tile(y, (6, 1)), "multichannel")):
        rows = analyser.from_audio(signal, RATE).stems
        assert rows["mixture"]["stereo_status"] == status
        assert all(row[f"stereo_{n}{s}"] is None for row in rows.values() for n in ("width", "pan") for s in SUFFIXES)
    rows = analyser.from_audio(np.zeros((2, RATE)), RATE).stems
    assert {row["stereo_status"] for row in rows.values()} == {"silent"}


@pytest.mark.parametrize("cuts", [(1, 5, 400), (37_000, 90_001)])
def test_blocks_and_masks_may_come_in_any_pieces(cuts: tuple[int, ...]) -> None:
    """The sums are those of spectra of the whole, whatever the blocks, and whether samples or masks come first."""
    channels = np.random.default_rng(0).normal(0, 0.1, (2, 100_000)).astype(np.float32)
    n_frames = 1 + len(resample(channels[0], RATE, 22_050)) // 512
    masks = torch.rand(4, n_frames, N_BINS, generator=torch.Generator().manual_seed(0))
    meter = StereoMeter(RATE, "cpu")
    meter.add(masks[:, :7])
    for start, stop in zip((0, *cuts), (*cuts, channels.shape[1])):
        meter.push(channels[:, start:stop])
    meter.finish_signal()
    for start, stop in ((7, 8), (8, 50), (50, n_frames)):
        meter.add(masks[:, start:stop])
    found = meter.finish(n_frames)
    assert found is not None
    at = np.pad(resample(channels, RATE, 22_050), ((0, 0), (1024, 4096)))
    windows = np.lib.stride_tricks.sliding_window_view(at, 2048, axis=1)[:, ::2048][:, : (n_frames + 3) // 4]
    left, right = np.fft.rfft(windows * (0.5 - 0.5 * np.cos(np.arange(2048) * np.pi / 1024)))[..., :N_BINS]
    weight = np.square(masks[:, ::4].numpy())
    weight = np.concatenate([np.ones_like(weight[:1]), weight])
    for kind, product in enumerate((np.abs(left) ** 2, np.abs(right) ** 2, (left * right.conj()).real)):
        for band, bins in enumerate(band_slices()):
            expected = (weight * product)[..., bins].sum(axis=-1)
            np.testing.assert_allclose(found[:, band, kind], expected, rtol=1e-3, atol=0.01)
    meter = StereoMeter(RATE, "cpu")
    meter.add(masks)
    assert meter.finish(n_frames) is None  # no samples came


def test_sums_in_compiled_code_and_by_torch() -> None:
    """The two ways, of which a GPU takes the second."""
    torch.manual_seed(0)
    spectra, masks = torch.randn(2, 9, N_BINS, dtype=torch.complex64), torch.rand(4, 9, N_BINS)
    products = stereo.channel_products(spectra)
    torch.testing.assert_close(products, stereo._products_by_torch(spectra), rtol=1e-5, atol=1e-5)
    found = StereoMeter(RATE, "cpu")._sums(masks, products)
    torch.testing.assert_close(found, stereo._sums_by_torch(masks, products, band_slices()), rtol=1e-5, atol=1e-3)


def test_silence_has_no_image() -> None:
    assert stereo_image(0, 0, 0) == {"width": None, "pan": None, "correlation": None}


def test_a_click_between_the_frames_that_are_measured(analyser: Analyser) -> None:
    """Frames 17 to 20 hear it; every fourth is measured for the channels, every eighth for dissonance."""
    click = np.zeros((2, RATE), np.float32)
    click[:, round(18.5 * 1024) :][:, :40] = np.random.default_rng(0).normal(0, 0.3, (2, 40))
    row = analyser.from_audio(click, RATE).stems["mixture"]
    assert (row["activity_status"], row["dissonance_status"], row["dissonance_mean"]) == ("ok", "too_short", None)
    late = np.roll(click, round(5.5 * 1024), axis=1)
    row = analyser.from_audio(late, RATE).stems["mixture"]
    assert (row["dissonance_status"], row["stereo_status"]) == ("ok", "ok")
    assert row["dissonance_mean"] is not None
    row = analyser.from_audio(np.roll(click, round(7.5 * 1024), axis=1), RATE).stems["mixture"]  # frames 25 to 27
    assert (row["activity_status"], row["stereo_status"], row["stereo_width"]) == ("ok", "too_short", None)
