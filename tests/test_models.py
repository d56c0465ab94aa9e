"""Networks against the facts of their papers, and the checkpoint registry."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from networks import TINY, tiny_checkpoint

from stemfeatures.constants import N_BINS, N_PITCH_BINS, STEMS
from stemfeatures.errors import ModelError
from stemfeatures.models import checkpoints
from stemfeatures.models.fusion import TemporalProduct, fused
from stemfeatures.models.joint import JointConfig, JointNet
from stemfeatures.models.separator import _patch_conv, _unpatch
from stemfeatures.models.unet2017 import UNet2017


def test_unet2017_has_the_papers_weights_and_shapes():
    net = UNet2017().eval()
    assert net.n_conv_weights() == 9_818_800
    encoder = sum(m[0].weight.numel() for m in net.encoder)
    assert encoder == 4_365_200
    shapes = []
    handles = [m.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:]))) for m in net.encoder]
    with torch.no_grad():
        mask = net(torch.rand(2, 1, 512, 128))
    for handle in handles:
        handle.remove()
    assert shapes == [(16, 256, 64), (32, 128, 32), (64, 64, 16), (128, 32, 8), (256, 16, 4), (512, 8, 2)]
    assert mask.shape == (2, 1, 512, 128)
    assert 0 <= float(mask.min()) <= float(mask.max()) <= 1


def test_unet2017_drops_out_on_the_first_three_decoder_layers_only():
    with_dropout = [any(isinstance(x, torch.nn.Dropout) and x.p == 0.5 for x in layer) for layer in UNet2017().decoder]
    assert with_dropout == [True, True, True, False, False, False]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return JointNet(TINY).eval()


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 100])
def test_joint_shapes_and_masks_that_sum_to_one(net, frames):
    with torch.no_grad():
        out = net(torch.rand(2, N_BINS, frames))
    assert out.masks.shape == (2, 4, N_BINS, frames)
    assert torch.allclose(out.masks.sum(dim=1), torch.ones(2, N_BINS, frames), atol=1e-5)
    assert out.salience.shape == (2, 2, N_PITCH_BINS, frames)
    assert out.voicing.shape == (2, 2, frames)
    assert out.rhythm.shape == (2, 3, frames)


def test_joint_does_not_depend_on_gain(net):
    x = torch.rand(1, N_BINS, 64)
    with torch.no_grad():
        a, b = net(x), net(1e-3 * x)
    assert torch.allclose(a.masks, b.masks, atol=1e-4)
    assert torch.allclose(a.salience, b.salience, atol=1e-3)


def test_pitch_is_read_from_the_separated_magnitude():
    """Taking the vocals' mask away takes the vocals' pitch away: the gradient runs through the mask."""
    torch.manual_seed(0)
    net = JointNet(TINY)
    net(torch.rand(1, N_BINS, 32)).salience[:, 0].sum().backward()
    bias = net.separator.unpatchify.bias.grad
    assert float(bias[STEMS.index("vocals")].abs()) > 0


def test_patches_are_the_convolutions_they_stand_for(net):
    separator = net.separator
    x = torch.randn(2, 1, 1024, 32)
    patches = _patch_conv(x, separator.patchify[0])
    assert torch.allclose(patches, separator.patchify[0](x), atol=1e-5)
    parts = [torch.randn_like(patches), torch.randn_like(patches)]
    whole = separator.unpatchify(torch.cat(parts, dim=1))
    assert torch.allclose(_unpatch(parts, separator.unpatchify), whole, atol=1e-5)


def test_the_network_for_inference_says_the_same():
    """On statistics and weights that fold into something, batches, frames that need padding, and known masks."""
    torch.manual_seed(1)
    priors = {"level_prior": 0.3, "harmonic_priors": (2.0, 1.0), "transient_prior": 0.2, "similarity_prior": 0.5}
    learned = JointNet(replace(TINY, presence_channels=8, sharpness=0.7, **priors)).eval()
    for norm in (m for m in learned.modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)):
        for of, low in ((norm.weight, -1.5), (norm.bias, -0.5), (norm.running_mean, -0.5), (norm.running_var, 0.5)):
            of.data.uniform_(low, low + 1)
    cheaper = fused(learned)
    x = torch.rand(2, N_BINS, 37)
    with torch.inference_mode():
        for given in (None, {"vocals": torch.rand(2, N_BINS, 37)}):
            expected, found = vars(learned(x, given)), vars(cheaper(x, given))
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in cheaper.modules())
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in learned.modules()) > 10  # which is left as it was


@pytest.mark.parametrize(("taps", "dilation", "padding"), [(1, 1, 0), (3, 4, 4), (5, 2, 3)])
def test_a_convolution_over_time_is_a_product(taps, dilation, padding):
    torch.manual_seed(taps)
    conv = torch.nn.Conv1d(6, 4, taps, dilation=dilation, padding=padding)
    x = torch.randn(2, 6, 40)
    torch.testing.assert_close(TemporalProduct(conv)(x), conv(x))


def test_silence_is_finite(net):
    with torch.no_grad():
        out = net(torch.zeros(1, N_BINS, 32))
    assert all(bool(torch.isfinite(v).all()) for v in (out.masks, out.salience, out.voicing, out.rhythm))


def test_config_survives_json():
    config = JointConfig()
    assert JointConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_checkpoint_round_trip(tmp_path, net):
    path = tmp_path / "a.safetensors"
    saved = checkpoints.save(net, path, {"licence": "CC0-1.0"})
    assert saved.card["licence"] == "CC0-1.0"
    assert saved.card["sha256"] == saved.sha256
    loaded = checkpoints.load(path)
    x = torch.rand(1, N_BINS, 32)
    with torch.no_grad():
        assert torch.equal(loaded(x).masks, net(x).masks)
    assert not loaded.training


def test_damaged_checkpoint_is_named(tmp_path):
    path = tiny_checkpoint(tmp_path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"damaged.*sha256"):
        checkpoints.resolve(path)
    path.with_suffix(".json").unlink()
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="cannot read the checkpoint"):
        checkpoints.load(path)


def test_unknown_models_are_named(tmp_path):
    with pytest.raises(ModelError, match="unknown model 'nope'; known:"):
        checkpoints.resolve("nope")
    with pytest.raises(ModelError, match="no such checkpoint file"):
        checkpoints.resolve(tmp_path / "absent.safetensors")


def test_shipped_checkpoints_have_cards():
    models = checkpoints.list_models()
    assert checkpoints.DEFAULT_MODEL in {m.name for m in models}
    for model in models:
        assert model.path.stat().st_size < 30e6
        for key in ("licence", "data", "metrics", "training", "sha256"):
            assert model.card.get(key), f"{model.name}: no {key} in its card"
        parts = [part for d in model.card["data"] for part in d.get("made_of", {}).values()]
        assert {*(d["licence"] for d in model.card["data"]), *parts} <= {
            "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "MIT", "Apache-2.0", "public-domain", "public-domain-waiver", "own",
        }  # fmt: skip
