"""Masks that lean towards partials of the pitch, what is struck and what sounds alike, and stay masks."""

from dataclasses import replace

import pytest
import torch
from networks import TINY

from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, N_BINS, N_FFT, N_PITCH_BINS, PITCHED_STEMS, STEMS
from stemfeatures.models import harmonic_prior, similarity_prior, transient_prior
from stemfeatures.models.joint import JointNet
from stemfeatures.models.mask_factors import multiplied
from stemfeatures.spectra.filters import pitch_frequencies

BIN_HZ = ANALYSIS_SAMPLE_RATE / N_FFT
VOCALS, DRUMS, BASS, OTHER = (STEMS.index(stem) for stem in ("vocals", "drums", "bass", "other"))


@pytest.fixture
def magnitude():
    return torch.rand(2, N_BINS, 48, generator=torch.Generator().manual_seed(2)) + 0.1


def _net(**priors) -> JointNet:
    torch.manual_seed(3)
    return JointNet(replace(TINY, presence_channels=8, **priors)).eval()


def test_the_strongest_frequency_lies_between_bins():
    salience = torch.full((1, N_PITCH_BINS, 3), -12.0)
    salience[0, 100, 0] = 3.0
    salience[0, [200, 201], 1] = 2.0
    salience[0, N_PITCH_BINS - 1, 2] = 5.0  # at the edge of the grid
    found = harmonic_prior.strongest_hz(salience)[0]
    grid = torch.from_numpy(pitch_frequencies()).float()
    expected = torch.stack([grid[100], (grid[200] * grid[201]).sqrt(), grid[-1]])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


def test_the_comb_is_high_on_partials_low_between_them_and_zero_in_the_mean():
    lines = harmonic_prior.comb(torch.tensor([[20 * BIN_HZ, 40.3 * BIN_HZ, 2 * BIN_HZ]]), 480)[0]
    assert lines.shape == (480, 3)
    assert lines[[20, 40, 60], 0].min() > 0.7
    assert lines[[10, 30, 50], 0].max() < -0.1
    assert int(lines[:60, 1].argmax()) == 40
    assert abs(float(lines[10:470, 0].mean())) < 0.02
    assert torch.equal(lines[:, 2], torch.zeros(len(lines)))  # too close to each other
    assert lines[:10, 0].max() < 0  # nothing lies below the fundamental


def test_a_mask_leans_by_its_certainty_and_not_where_it_is_sure():
    hz = torch.full((1, 2), 20 * BIN_HZ)
    mask = torch.full((1, 200, 2), 0.4)
    mask[0, 40] = 1.0
    lines = harmonic_prior.comb(hz, 200)[0]
    found = harmonic_prior.leaning(mask, lines[None] * torch.tensor([1.0, 0.0]), 2.0)[0]
    torch.testing.assert_close(found[20, 0], torch.exp(2.0 * lines[20, 0] * 0.6**0.5))
    assert found[30, 0] < 1 < found[20, 0]
    assert float(found[40, 0]) == 1.0
    assert torch.equal(found[:, 1], torch.ones(len(found)))


def test_what_ends_is_struck_and_what_lasts_is_not():
    magnitude = torch.ones(1, 3, 60)
    magnitude[0, 1, 30:33] = 5.0  # a stroke over a note
    magnitude[0, 2, :30] = 0.0  # the beginning of a note
    struck = transient_prior.struck_share(magnitude)[0]
    floor = transient_prior.FLOOR
    torch.testing.assert_close(struck[0], torch.full((60,), floor))
    torch.testing.assert_close(struck[1, 30:33], torch.full((3,), 0.8))
    torch.testing.assert_close(struck[2, 30:], torch.full((30,), floor))
    torch.testing.assert_close(transient_prior.struck_share(1e-4 * magnitude)[0], struck)
    drums, bass = transient_prior.leaning(magnitude, 0.5)
    assert drums[0, 1, 31] > 1 > bass[0, 1, 31]
    assert drums[0, 0, 31] < 1 < bass[0, 0, 31]
    assert bool(torch.isfinite(transient_prior.struck_share(torch.zeros(1, 3, 5))).all())


def _tones(*names: int, n_bands: int = 6, seed: int = 0) -> torch.Tensor:
    """(n_frames, n_bands), twelve frames with one band above noise for each name."""
    noise = torch.rand(12 * len(names), n_bands, generator=torch.Generator().manual_seed(seed)) * 0.01
    for k, name in enumerate(names):
        noise[12 * k : 12 * (k + 1), name] += 1.0
    return noise


def test_what_sounds_alike_is_found_elsewhere_and_what_does_not_come_again_stands_for_itself():
    places, weights, own = similarity_prior.places_alike(_tones(0, 1, 2, 0, 3, 2))
    torch.testing.assert_close(weights.sum(dim=1) + own, torch.ones(len(own)))
    for middle, again in ((4, 3), (28, 5), (40, 0), (64, 2)):
        found = places[middle][weights[middle] > 0.01] // 12
        assert set(found.tolist()) == {again}, middle
        assert own[middle] < 0.02
    assert own[[16, 52]].min() > 0.999  # the tones 1 and 3 are heard once
    near = (places - torch.arange(len(own))[:, None]).abs()
    assert bool((near[weights > 1e-12] >= similarity_prior.APART - similarity_prior.HOP).all())


@pytest.mark.parametrize("n_frames", [1, 3, 8, 9, 30])
def test_short_excerpts_and_silence_stay_as_they_are(n_frames):
    silence = torch.zeros(1, N_BINS, n_frames)
    masks = torch.full((1, 4, N_BINS, n_frames), 0.25)
    factors = similarity_prior.leaning(masks, silence, 0.6)
    torch.testing.assert_close(factors, torch.ones_like(factors))
    _, weights, own = similarity_prior.places_alike(torch.rand(n_frames, 5) + 0.1)
    torch.testing.assert_close(weights.sum(dim=1) + own, torch.ones(n_frames))
    if n_frames <= similarity_prior.APART:
        assert bool((own == 1).all())


@pytest.mark.parametrize("n_strokes", [8, 60])
def test_estimates_that_come_again_lose_what_does_not(n_strokes):
    """A stroke every 32 frames, one of which has something else in it: the others tell what is the stroke's."""
    magnitude = torch.full((1, N_BINS, 32 * n_strokes), 1e-3)
    magnitude.unflatten(2, (n_strokes, 32))[0, 20:60, :, 8:12] = 1.0
    struck = 8 + 3 * 32
    magnitude[0, 200:206, struck : struck + 4] = 1.0  # something else
    masks = torch.full((1, 4, N_BINS, 32 * n_strokes), 0.1)
    masks[0, DRUMS] = 0.7
    factors = similarity_prior.leaning(masks, magnitude, 1.0)[0, DRUMS]
    assert factors[30, struck] == pytest.approx(1.0, abs=0.05)
    assert factors[203, struck] < 0.1
    assert bool((similarity_prior.leaning(masks, magnitude, 0.0) == 1).all())
    louder = similarity_prior.leaning(masks, 1000 * magnitude, 1.0)[0, DRUMS]
    # Before and behind a stroke frames are equally alike, and rounding tells which of them count.
    torch.testing.assert_close(louder, factors, atol=1e-4, rtol=3e-3)


@pytest.mark.parametrize("n_frames", [1, 5, 17, 40, 300])
def test_compiled_code_finds_the_places_and_factors_that_torch_finds(n_frames, monkeypatch):
    generator = torch.Generator().manual_seed(n_frames)
    spectra = torch.rand(n_frames, similarity_prior.N_BANDS, generator=generator) ** 4
    masks = torch.rand(1, 4, N_BINS, n_frames, generator=generator)
    masks /= masks.sum(dim=1, keepdim=True)
    magnitude = torch.rand(1, N_BINS, n_frames, generator=generator) ** 8
    magnitude[..., n_frames // 2 : n_frames // 2 + 3] = 0.0  # silence in between
    with torch.no_grad():
        found = similarity_prior.places_alike(spectra), similarity_prior.leaning(masks, magnitude, 0.7)
        monkeypatch.setattr(similarity_prior, "is_compiled", lambda *tensors: False)
        expected = similarity_prior.places_alike(spectra), similarity_prior.leaning(masks, magnitude, 0.7)
    (places, weights, own), (true_places, true_weights, true_own) = found[0], expected[0]
    order, true_order = places.argsort(dim=1, stable=True), true_places.argsort(dim=1, stable=True)
    assert torch.equal(places.gather(1, order), true_places.gather(1, true_order))
    torch.testing.assert_close(own, true_own, atol=1e-6, rtol=1e-4)
    if n_frames > 2 * similarity_prior.APART:  # the order of those that are near, whose weights are 0, is open
        torch.testing.assert_close(weights.gather(1, order), true_weights.gather(1, true_order), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found[1], expected[1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("broken", [slice(100, 110), slice(None)])
def test_places_of_what_is_no_number_are_frames(broken, monkeypatch):
    """A network that diverged gives such masks: what it says is wrong then, but no memory is read beyond the frames."""
    spectra = torch.rand(300, similarity_prior.N_BANDS, generator=torch.Generator().manual_seed(0))
    spectra[broken] = float("nan")
    monkeypatch.setattr(torch, "empty", lambda *shape, **kind: torch.zeros(*shape, **kind) - 2**40)  # as memory may be
    places, _, _ = similarity_prior.places_alike(spectra)
    assert int(places.min()) >= 0
    assert int(places.max()) < len(spectra)


@torch.no_grad()
def test_masks_that_lean_by_what_sounds_alike_sum_to_one_and_pitch_is_read_from_them(magnitude):
    plain, net = _net(transient_prior=0.3), _net(transient_prior=0.3, similarity_prior=0.6)
    before, found = plain(magnitude), net(magnitude)
    factors, low = similarity_prior.leaning(before.masks, magnitude, 0.6), slice(similarity_prior.N_SIMILAR_BINS)
    expected = before.masks[:, :, low] * factors
    expected /= expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(found.masks[:, :, low], expected, atol=1e-4, rtol=1e-3)
    high = slice(similarity_prior.N_SIMILAR_BINS, None)
    torch.testing.assert_close(found.masks[:, :, high], before.masks[:, :, high])
    assert (found.masks - before.masks).abs().max() > 0.001
    for name in ("rhythm", "presence"):  # they are read from the masks as they were learned
        assert torch.equal(getattr(found, name), getattr(before, name))
    separated = net.separate(magnitude)
    separated.masks = multiplied(separated.masks, dict(zip(STEMS, factors.unbind(dim=1))))
    salience, voicing = net.read_pitch(separated)
    torch.testing.assert_close(found.salience, salience, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.voicing, voicing, atol=1e-3, rtol=1e-3)
    assert (found.voicing - before.voicing).abs().max() > 0.001
    alone = net(magnitude[1:])
    torch.testing.assert_close(alone.masks, found.masks[1:], atol=1e-4, rtol=1e-3)


def test_what_sounds_alike_is_found_in_single_precision_whatever_the_network_computes_in(magnitude):
    net = _net(similarity_prior=0.6)
    masks = net(magnitude).masks.detach()
    expected = similarity_prior.leaning(masks, magnitude, 0.6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(similarity_prior.leaning(masks, magnitude, 0.6), expected)
        mixed = net(magnitude).masks
    torch.testing.assert_close(mixed.float(), masks, atol=0.05, rtol=0)
    torch.testing.assert_close(mixed.float().sum(dim=1), torch.ones_like(mixed[:, 0]).float(), atol=0.02, rtol=0)


@torch.no_grad()
def test_masks_that_are_all_given_do_not_lean(magnitude, monkeypatch):
    leaning = {"sharpness": 0.5, "level_prior": 0.2, "similarity_prior": 0.6, "harmonic_priors": (2.0, 1.0)}
    plain, net = _net(), _net(**leaning, transient_prior=0.3)
    given = dict(zip(STEMS, torch.rand(4, *magnitude.shape)))
    monkeypatch.setattr(similarity_prior, "leaning", lambda *_: pytest.fail("nothing of it would be used"))
    expected, found = vars(plain(magnitude, given)), vars(net(magnitude, given))
    for name, values in expected.items():
        assert torch.equal(found[name], values), name
    assert torch.equal(found["masks"], torch.stack([given[stem] for stem in STEMS], dim=1))


@torch.no_grad()
def test_masks_are_multiplied_and_sum_to_one(magnitude):
    plain, net = _net(), _net(harmonic_priors=(2.0, 1.0), transient_prior=0.3)
    before, found = plain(magnitude), net(magnitude)
    torch.testing.assert_close(found.masks.sum(dim=1), torch.ones(2, N_BINS, 48))
    for name in ("salience", "voicing", "rhythm", "presence"):  # they are read from the masks as they were learned
        assert torch.equal(getattr(found, name), getattr(before, name))
    assert before.presence is not None
    drums, bass = transient_prior.leaning(magnitude[:, : transient_prior.N_LOW_BINS], 0.3)
    struck = before.masks.clone()
    struck[:, DRUMS, : transient_prior.N_LOW_BINS] *= drums
    struck[:, BASS, : transient_prior.N_LOW_BINS] *= bass
    struck /= struck.sum(dim=1, keepdim=True)
    expected = struck.clone()
    for k, (stem, strength) in enumerate(zip(PITCHED_STEMS, (2.0, 1.0))):
        place, low = STEMS.index(stem), slice(harmonic_prior.N_COMB_BINS[stem])
        certainty = torch.sigmoid(before.voicing[:, k]) * torch.sigmoid(before.presence[:, place])
        hz = harmonic_prior.strongest_hz(before.salience[:, k])
        lines = harmonic_prior.comb(hz, low.stop) * certainty[:, None]
        expected[:, place, low] *= harmonic_prior.leaning(struck[:, place, low], lines, strength)
    torch.testing.assert_close(found.masks, expected / expected.sum(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)
    assert (found.masks - before.masks).abs().max() > 0.01
    high = slice(harmonic_prior.N_COMB_BINS["vocals"], None)
    assert torch.equal(found.masks[:, :, high], before.masks[:, :, high])


def test_masks_lean_towards_other_in_the_lows_and_there_alone(magnitude):
    plain, net = _net(), _net(low_prior=0.9)
    with torch.no_grad():
        before, found = plain(magnitude), net(magnitude)
    for name in ("salience", "voicing", "rhythm", "presence"):
        assert torch.equal(getattr(found, name), getattr(before, name)), name
    torch.testing.assert_close(found.masks.sum(dim=1), torch.ones_like(magnitude))
    assert torch.equal(found.masks[:, :, 48:], before.masks[:, :, 48:])
    odds = found.masks[:, OTHER] / (1 - found.masks[:, OTHER])
    ratio = (odds / (before.masks[:, OTHER] / (1 - before.masks[:, OTHER])))[:, :48].mean(dim=(0, 2))
    hertz = torch.arange(48) * BIN_HZ
    torch.testing.assert_close(ratio, 1 + 1.4596 / (1 + (hertz / 220) ** 8), atol=1e-3, rtol=0)
    others = [VOCALS, DRUMS, BASS]  # keep their proportions
    shares = found.masks[:, others] / found.masks[:, others].sum(dim=1, keepdim=True)
    expected = before.masks[:, others] / before.masks[:, others].sum(dim=1, keepdim=True)
    torch.testing.assert_close(shares, expected, atol=1e-5, rtol=1e-4)


def test_gradients_flow_through_priors_and_masks_that_are_known_stay(magnitude):
    net = _net(sharpness=0.5, level_prior=0.2, harmonic_priors=(2.0, 1.0), transient_prior=0.3, similarity_prior=0.6)
    net.config = replace(net.config, low_prior=0.9)
    found = net(magnitude).masks
    found[:, VOCALS].square().sum().backward()
    assert net.separator.direct.weight.grad.abs().max() > 0
    with torch.no_grad():
        torch.testing.assert_close(net(magnitude).masks, found.detach(), atol=1e-4, rtol=1e-3)
        given = torch.rand(2, N_BINS, 48)
        torch.testing.assert_close(net(magnitude, {"vocals": given}).masks[:, VOCALS], given)
