"""Grids, exact inverses and mask transfer."""

from __future__ import annotations

import doctest

import librosa
import numpy as np
import pytest
import scipy.signal
import torch

import stemfeatures.spectra.streaming as streaming
import stemfeatures.spectra.transform as spectral
from stemfeatures.constants import (
    ANALYSIS_SAMPLE_RATE,
    HOP_LENGTH,
    N_BINS,
    N_FFT,
    N_PITCH_BINS,
    N_PITCH_CANDIDATES,
)
from stemfeatures.frames import masked_spectra, measures, roughness
from stemfeatures.models import unet2017
from stemfeatures.separation import mask_transfer
from stemfeatures.spectra import bands, filters
from stemfeatures.spectra import planes as passes
from stemfeatures.spectra.oversampling import Interpolator, _bounds, _line_and_bend, band_matrix


@pytest.mark.parametrize("module", [spectral, streaming])
def test_doctests(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 2047, 2048, 30_001])
@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (4096, 1024), (1024, 768), (4500, 1125)])
def test_round_trip_is_exact(n, n_fft, hop):
    y = torch.randn(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    back = spectral.istft(spectral.stft(y, n_fft=n_fft, hop_length=hop), n, n_fft=n_fft, hop_length=hop)
    covered = 1 + n // hop
    # With hop 768 of 1024 the last samples may lie where the last window is zero: nothing can bring them back.
    end = min(n, (covered - 1) * hop + n_fft // 2 - 1)
    assert float((back - y)[:, :end].abs().max()) < 1e-9


def test_stft_agrees_with_librosa():
    y = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    ours = spectral.stft(torch.from_numpy(y)).numpy()
    theirs = librosa.stft(y, n_fft=N_FFT, hop_length=HOP_LENGTH, pad_mode="constant")
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def _modulation(n_fft: int, hop: int, sample_rate: int) -> float:
    """Depth of the amplitude modulation at the frame rate that a mask leaves on a steady sine (0 = none).

    The mask passes the sine's own bins and halves the rest, as a separator does; its error is periodic in frames.
    """
    n = 40 * hop
    hertz = 40.3 * sample_rate / n_fft
    y = torch.sin(2 * torch.pi * hertz / sample_rate * torch.arange(n, dtype=torch.float64))
    spectrum = spectral.stft(y, n_fft=n_fft, hop_length=hop)
    mask = torch.full_like(spectrum.real, 0.0)
    mask[40] = 1.0
    out = spectral.istft(spectrum * mask, n, n_fft=n_fft, hop_length=hop)[8 * hop : 32 * hop]
    envelope = (
        torch.stft(out, 256, 64, window=torch.hann_window(256, dtype=torch.float64), return_complex=True, center=False)
        .abs()
        .amax(dim=0)
    )
    return float((envelope.max() - envelope.min()) / envelope.mean())


def test_masks_leave_no_frame_rate_modulation_on_our_grid_but_do_on_that_of_2017():
    assert _modulation(N_FFT, HOP_LENGTH, ANALYSIS_SAMPLE_RATE) < 0.01
    assert _modulation(unet2017.N_FFT, unet2017.HOP_LENGTH, unet2017.SAMPLE_RATE) > 0.3


def test_half_mask_is_half_the_signal():
    y = torch.randn(50_000, dtype=torch.float64)
    assert torch.allclose(spectral.istft(0.5 * spectral.stft(y), 50_000), 0.5 * y)


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_rendering_grid(sample_rate):
    n_fft, hop = mask_transfer.rendering_grid(sample_rate)
    assert n_fft == 4 * hop
    seconds = hop / sample_rate
    assert abs(seconds / (HOP_LENGTH / ANALYSIS_SAMPLE_RATE) - 1) < 0.05


def test_extended_masks_sum_to_one_and_keep_coinciding_bins():
    masks = torch.softmax(torch.randn(4, N_BINS, 7), dim=0)
    full = torch.arange(2049) * (44_100 / 4096)
    extended = mask_transfer.extend_mask(masks, full)
    assert extended.shape == (4, 2049, 7)
    assert torch.equal(extended[:, :N_BINS], masks)
    assert torch.allclose(extended.sum(dim=0), torch.ones(2049, 7), atol=1e-6)
    assert torch.allclose(extended[:, 2000], masks[:, 743:1022].mean(dim=1), atol=1e-6)
    odd = mask_transfer.extend_mask(masks, torch.arange(301) * 13.3)
    assert torch.allclose(odd.sum(dim=0), torch.ones(301, 7), atol=1e-6)


def test_harmonic_map_lines_up_the_partials():
    f0 = 220.0
    t = torch.arange(22_050) / ANALYSIS_SAMPLE_RATE
    y = sum(torch.sin(2 * torch.pi * h * f0 * t) for h in range(1, 6))
    magnitude = spectral.stft(y).abs()[None, :N_BINS]
    planes = filters.HarmonicMap((1, 2, 3, 4, 5))(magnitude)
    assert planes.shape == (1, 5, N_PITCH_BINS, magnitude.shape[-1])
    best = int(planes[0, :, :, 20].log1p().sum(dim=0).argmax())
    assert abs(1200 * np.log2(filters.pitch_frequencies()[best] / f0)) <= 20


@pytest.mark.parametrize("bins", [(0, N_PITCH_BINS), (48, 336), (0, 24)])
def test_harmonic_maps_in_compiled_code_and_by_torch(bins):
    torch.manual_seed(0)
    harmonic_map = filters.HarmonicMap((0.5, 1, 3, 8))
    spectrogram = torch.rand(2, N_BINS, 19)
    expected = filters.folded(harmonic_map(spectrogram, bins), 3)
    with torch.inference_mode():
        found = harmonic_map.folded(spectrogram[:, : harmonic_map.reach(bins)], bins, 3)
    torch.testing.assert_close(found, expected)
    assert found.shape == (2, 12, (bins[1] - bins[0]) // 3, 19)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_passes_over_planes_in_compiled_code_and_by_torch():
    torch.manual_seed(0)
    spectrum = torch.randn(50, 133, dtype=torch.complex64)
    torch.testing.assert_close(passes.magnitudes(spectrum), spectrum.abs())
    torch.testing.assert_close(passes.magnitudes(spectrum[3:, 7:90]), spectrum[3:, 7:90].abs())
    for whole in (spectrum[None], torch.randn(3, 50, 133)):
        for cut in (whole, whole[:, 5:40, 3:101], whole.transpose(1, 2)):
            assert torch.equal(passes.turned(cut), cut.transpose(1, 2))
            assert passes.turned(cut).is_contiguous()


def test_pitch_candidates_in_compiled_code_and_by_torch():
    torch.manual_seed(0)
    salience = torch.rand(N_PITCH_BINS, 60) ** 4
    salience[:, 20:40] = 0  # nothing, and three
    salience[[0, 100, N_PITCH_BINS - 1], 30:40] = torch.tensor([[0.4], [0.5], [0.3]])
    found, expected = measures.pitch_candidates(salience), measures._candidates_by_torch(salience)
    assert found[0].shape == (60, N_PITCH_CANDIDATES)
    assert torch.equal(found[1], expected[1])
    torch.testing.assert_close(found[0], expected[0], equal_nan=True, rtol=1e-6, atol=0)
    assert found[0][20:30].isnan().all()
    assert found[0][30:40].isfinite().sum(dim=1).tolist() == [3] * 10


@pytest.mark.parametrize("n_mels", [24, 48, 80])
def test_power_in_bands_in_compiled_code_and_by_torch(n_mels):
    torch.manual_seed(0)
    factors, shares, weights = (
        torch.rand(2, 3, N_BINS, 17),
        torch.rand(2, N_BINS, 17),
        filters.mel_filters(n_mels=n_mels),
    )
    both = factors * shares[:, None]
    mel = torch.einsum("mk,bnkt->bnmt", weights, both**2)
    even = (both**2).reshape(2, 3, 32, N_BINS // 32, 17).sum(dim=3)
    with torch.inference_mode():
        compiled = bands.mel_power(weights, factors, shares), bands.mel_power(weights, both)
        compiled_even = bands.even_power(factors, shares, n_bands=32)
    for found in (*compiled, bands.mel_power(weights, factors, shares), bands.mel_power(weights, both)):
        torch.testing.assert_close(found, mel, rtol=1e-5, atol=1e-6)
    for found in (compiled_even, bands.even_power(factors, shares, n_bands=32)):
        torch.testing.assert_close(found, even, rtol=1e-5, atol=1e-6)


def test_pitch_grid_is_that_of_deep_salience_and_not_of_crepe():
    grid = filters.pitch_frequencies()
    assert grid[0] == pytest.approx(32.70)
    assert 1200 * np.log2(grid[0] / (10 * 2 ** (1997.379 / 1200))) == pytest.approx(53.8, abs=0.5)
    assert np.allclose(1200 * np.diff(np.log2(grid)), 20.0)


def test_filters_are_those_of_librosa():
    mel = librosa.filters.mel(sr=ANALYSIS_SAMPLE_RATE, n_fft=N_FFT, n_mels=80)[:, :N_BINS]
    np.testing.assert_allclose(filters.mel_filters().numpy(), mel, atol=1e-7)
    chroma = filters.chroma_filters()
    a440 = round(440 * N_FFT / ANALYSIS_SAMPLE_RATE)
    assert int(chroma[:, a440].argmax()) == 3 * 9
    theirs = librosa.filters.chroma(sr=ANALYSIS_SAMPLE_RATE, n_fft=N_FFT, n_chroma=36, norm=1)
    np.testing.assert_allclose(chroma.numpy(), theirs[:, :N_BINS], atol=1e-6)


@pytest.mark.parametrize("blocks", [[5000], [1, 2047, 1, 2951], [100] * 50])
def test_streaming_equals_the_whole(blocks):
    y = torch.randn(2, sum(blocks))
    framer, adder = streaming.StreamFramer(2, N_FFT, HOP_LENGTH), streaming.OverlapAdder(2, N_FFT, HOP_LENGTH)
    spectra, signal, at = [], [], 0
    for size in blocks:
        part = streaming.forward_frames(framer.push(y[:, at : at + size]))
        spectra.append(part)
        signal.append(adder.push(part))
        at += size
    part = streaming.forward_frames(framer.finish())
    spectra.append(part)
    signal += [adder.push(part), adder.finish(y.shape[-1])]
    assert torch.allclose(torch.cat(spectra, dim=-1), spectral.stft(y), atol=1e-4)
    assert torch.allclose(torch.cat(signal, dim=-1), y, atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 64, 1_000])
def test_interpolation_by_a_product(n):
    """Against the sum it stands for, at lengths around those of its blocks."""
    rng = np.random.default_rng(n)
    phases, x = rng.normal(size=(3, 24)), rng.normal(size=(2, n + 23))
    expected = [np.correlate(channel, phase, "valid") for channel in x for phase in phases if n]
    largest = float(np.abs(expected).max()) if n else 0.0
    assert Interpolator(phases).largest(x) == pytest.approx(largest, rel=1e-12)
    assert Interpolator(phases).largest(x, least=largest + 1) == largest + 1


@pytest.mark.parametrize("integrals", [0, 1, 2])
@pytest.mark.parametrize("n", [64, 65, 10_000])
def test_blocks_that_are_left_out_hold_no_peak(integrals, n):
    """From noise to signals so smooth that nearly all blocks are left out, with the samples for the least."""
    x = np.random.default_rng(n).normal(size=(2, n + 23))
    for _ in range(integrals):
        x = scipy.signal.lfilter([1], [1, -0.999], x)
    phases = measures.oversampling_phases()[1:]
    largest = float(np.abs([np.correlate(channel, phase, "valid") for channel in x for phase in phases]).max())
    sampled = float(np.abs(x[:, 11:-12]).max())
    found = Interpolator(phases).largest(x, least=sampled)
    assert found == pytest.approx(max(largest, sampled), rel=1e-12)


@pytest.mark.parametrize("smooth", [False, True])
def test_bounds_of_blocks_hold(smooth):
    x = np.random.default_rng(1).normal(size=(300, 87)).cumsum(axis=1 if smooth else 0).astype(np.float32)
    matrix = band_matrix(measures.oversampling_phases()[1:])
    bounds = _bounds(x, np.zeros(1, np.int64), 87, *_line_and_bend(matrix, 24))[:, 0]
    reached = np.abs(x @ matrix).max(axis=1)
    assert (reached <= 1.00001 * bounds).all()
    assert np.median(reached / bounds) > (0.8 if smooth else 0.4)


@pytest.mark.parametrize("blocks", [[0], [1], [11, 1, 0, 70], [5000], [1000] * 5])
def test_true_peaks_of_blocks_of_any_size(blocks):
    """Loud at one place, so that most is too small to be interpolated, and between samples."""
    rng = np.random.default_rng(0)
    t = np.arange(sum(blocks))
    x = 0.05 * rng.standard_normal((2, len(t))) + np.sin(np.pi / 2 * t + np.pi / 4) * np.exp(-np.square(t / 9 - 4))
    signal = x.astype(np.float32)
    kernel = torch.from_numpy(measures.oversampling_phases().astype(np.float32))[:, None]
    padded = torch.nn.functional.pad(torch.from_numpy(signal), (12, 24))
    expected = torch.nn.functional.conv1d(padded[:, None], kernel).abs().amax(dim=(1, 2))
    meter = measures.PeakMeter(2)
    for block in np.split(signal, np.cumsum(blocks)[:-1], axis=1):
        meter.push(block)
    np.testing.assert_allclose(meter.finish(), expected, rtol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("n_frames", [1, 7, 50])
def test_a_bank_of_filters_is_their_product(n_frames, compiled):
    rng = np.random.default_rng(0)
    bank = torch.cat([filters.mel_filters(), filters.chroma_filters(), filters.bark_filters()])
    spectra = torch.from_numpy(rng.uniform(size=(3, n_frames, N_BINS)).astype(np.float32)).square()
    expected = bank.double() @ spectra.double().transpose(1, 2)
    with torch.set_grad_enabled(not compiled):
        found = filters.FilterBank(bank).apply(spectra)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_shape_of_broad_narrow_and_silent_spectra():
    rng = np.random.default_rng(0)
    magnitude = np.zeros((4, N_BINS, 3))
    magnitude[0] = rng.uniform(size=(N_BINS, 3))
    magnitude[1, 700:703] = [[0.5], [1.0], [0.5]]  # 11 Hz wide at 7.5 kHz
    magnitude[2] = 1e-9 * rng.uniform(size=(N_BINS, 3))
    hertz = np.arange(N_BINS)[:, None] * (ANALYSIS_SAMPLE_RATE / N_FFT)
    tensor = torch.from_numpy(magnitude.astype(np.float32))
    found = {name: value.numpy() for name, value in measures.spectral_shape(tensor, tensor**2).items()}
    for row in (0, 1, 2):
        y = magnitude[row].astype(np.float32).astype(np.float64)
        centroid = (hertz * y).sum(axis=0) / y.sum(axis=0)
        bandwidth = np.sqrt(((hertz - centroid) ** 2 * y).sum(axis=0) / y.sum(axis=0))
        np.testing.assert_allclose(found["centroid_hz"][row], centroid, rtol=1e-6)
        np.testing.assert_allclose(found["bandwidth_hz"][row], bandwidth, rtol=1e-5)
        below = (np.cumsum(y, axis=0) < 0.85 * y.sum(axis=0)).sum(axis=0)
        np.testing.assert_allclose(found["rolloff_hz"][row], hertz[below, 0], rtol=1e-6)
    power = np.maximum(magnitude[0] ** 2, 1e-20)
    flatness = np.exp(np.log(power).mean(axis=0)) / power.mean(axis=0)
    np.testing.assert_allclose(found["flatness"][0], flatness, rtol=1e-5)
    assert found["flatness"].max() <= 1
    assert all(np.all(value[3] == 0) for value in found.values())


def test_masks_in_compiled_code_and_by_torch():
    """The two ways, of which a GPU takes the second, and sums of the spectrum as Parseval's identity needs them."""
    torch.manual_seed(0)
    spectrum = torch.randn(N_FFT // 2 + 1, 40, dtype=torch.complex64)
    masks = torch.softmax(torch.randn(4, N_BINS, 40), dim=0)
    found = masked_spectra.masked_spectra(spectrum[:, 3:30], masks[..., 3:30])
    whole, shares = spectrum.t()[3:30].contiguous(), masks.transpose(1, 2)[:, 3:30].contiguous()
    other = masked_spectra.MaskedSpectra(*(torch.full_like(part, torch.nan) for part in found[:-1]), shares)
    masked_spectra._apply_by_torch(whole, shares, other)
    for one, two in zip(found, other):
        torch.testing.assert_close(one, two, rtol=2e-6, atol=1e-6)
    assert torch.equal(found.spectrum[0], whole)
    torch.testing.assert_close(found.spectrum[2, :, -1], whole[:, -1] * shares[1, :, -1])
    cells = spectrum[:N_BINS, 3:30].abs().double().square() * masks[2, :, 3:30].double()
    torch.testing.assert_close(found.shared[3].double(), cells.sum(dim=0) - cells[0] / 2, rtol=1e-5, atol=0)


@pytest.mark.parametrize("n_samples", [5, 30, 36, 40, 41, 60])
def test_nothing_is_left_of_a_signal_that_has_been_given_out(n_samples):
    adder = streaming.OverlapAdder(1, 16, 4)
    given = adder.push(torch.ones(1, 9, 12, dtype=torch.complex64)).shape[-1]
    assert given == 40
    assert adder.finish(n_samples).shape[-1] == max(n_samples - given, 0)


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (30, 7)])
def test_overlap_add_in_compiled_code_and_by_torch(n_fft, hop):
    torch.manual_seed(0)
    frames, window = torch.randn(2, 9, n_fft), torch.hann_window(n_fft)
    signals = torch.zeros(2, 2, n_fft + 8 * hop)
    weights = torch.zeros(2, n_fft + 8 * hop)
    streaming._add(frames.numpy(), window.numpy(), hop, signals[0].numpy(), weights[0].numpy())
    streaming.OverlapAdder(2, n_fft, hop)._add_by_torch(frames, window, signals[1], weights[1])
    torch.testing.assert_close(*signals, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("colour", [1, 8, 0])
def test_measures_in_compiled_code_and_by_torch(colour):
    """Of noise, of spectra of a few lines, and of silence, with the bins apart from one another in memory."""
    torch.manual_seed(0)
    spectra = colour * torch.rand(2, N_BINS, 9) ** colour
    shape = measures.spectral_shape(spectra, spectra.square())
    other = measures._shape_by_torch(spectra.transpose(1, 2), spectra.square())
    assert list(shape) == list(other)
    for name, values in shape.items():
        torch.testing.assert_close(values, other[name], rtol=1e-5, atol=1e-6, msg=name)
    rough = roughness.roughness(*roughness.spectral_peaks(spectra))
    torch.testing.assert_close(roughness.dissonance(spectra), rough, rtol=1e-5, atol=1e-6)
    assert (rough > 0).all() == (colour > 0)
