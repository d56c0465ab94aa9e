"""Networks between the one that a run began with and the one it ended with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import tiny_checkpoint

from stemfeatures.models import checkpoints
from stemfeatures.training import interpolation

_SOURCES = (("one", 3.0), ("two", 5.0))


def _grown(folder: Path, before: Path, **training: object) -> Path:
    """A checkpoint with other weights, as sharp as it was trained, whose card says where it went on from."""
    network = checkpoints.load(tiny_checkpoint(folder, seed=1, name="other"))
    card = {
        "licence": "test",
        "training": {"recipe": {"initial": str(before)}, "steps": 7} | training,
        "metrics": {"set": {"separation": {}}},
    }
    return checkpoints.save(network, folder / "grown.safetensors", card).path


def test_weights_lie_between(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = checkpoints.load(tiny_checkpoint(tmp_path))
    network.config = replace(network.config, sharpness=0.6)
    calibrated = {"training": {"calibration": {"sharpness": 0.6}}}
    before = checkpoints.save(network, tmp_path / "before.safetensors", calibrated).path
    after = _grown(tmp_path, before)
    out = tmp_path / "between.safetensors"
    interpolation.main([str(after), "--share", "0.25", "-o", str(out)])
    assert f"{out}, sha256 {checkpoints.resolve(out).sha256}" in capsys.readouterr().out
    states = [checkpoints.load(path).state_dict() for path in (before, after, out)]
    for name, value in states[2].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * states[0][name] + 0.25 * states[1][name])
    assert checkpoints.load(out).config.sharpness == 0.6
    card = checkpoints.resolve(out).card
    assert card["metrics"] == {}
    assert card["training"]["steps"] == 7
    assert card["training"]["calibration"] == {"through": "before", "sharpness": 0.6}
    kept = card["training"]["interpolation"]
    assert (kept["share_of_new"], kept["before"]) == (0.25, "before")
    assert kept["command"].startswith("python -m stemfeatures.training.interpolation ")


def test_the_other_end_may_be_an_earlier_checkpoint(tmp_path: Path) -> None:
    sources = [{"source": name, "licence": "CC0-1.0", "songs": 1, "minutes": minutes} for name, minutes in _SOURCES]
    network = checkpoints.load(tiny_checkpoint(tmp_path, seed=2, name="made"))
    earlier = checkpoints.save(network, tmp_path / "earlier.safetensors", {"data": sources}).path
    after = _grown(tmp_path, tiny_checkpoint(tmp_path))
    card = checkpoints.resolve(after).card
    checkpoints.write_card(after, card | {"data": sources[:1]})
    out = tmp_path / "between.safetensors"
    interpolation.main([str(after), "--before", str(earlier), "--share", "0.25", "-o", str(out)])
    old, new, found = (checkpoints.load(path).state_dict() for path in (earlier, after, out))
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * old[name] + 0.25 * new[name])
    card = checkpoints.resolve(out).card
    assert card["training"]["interpolation"]["before"] == "earlier"
    assert card["data"] == [{"through": "earlier"} | sources[1], sources[0]]


def test_subnetworks_can_go_there_alone(tmp_path: Path) -> None:
    before = tiny_checkpoint(tmp_path)
    after = _grown(tmp_path, before)
    out = tmp_path / "both.safetensors"
    interpolation.main([str(after), "--share", "0.75", "--subnetworks", "pitch", "rhythm", "-o", str(out)])
    old, new, found = (checkpoints.load(path).state_dict() for path in (before, after, out))
    moved = 0
    for name, value in found.items():
        if not value.is_floating_point():
            continue
        if name.startswith(("pitch.", "rhythm.")):
            torch.testing.assert_close(value, 0.25 * old[name] + 0.75 * new[name])
            moved += not torch.equal(value, old[name])
        else:
            assert torch.equal(value, old[name])
    assert moved > 4
    assert checkpoints.resolve(out).card["training"]["interpolation"]["subnetworks"] == ["pitch", "rhythm"]


def test_what_cannot_be_done_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tiny_checkpoint(tmp_path)
    for initial, options, message in (
        (None, ["--share", "0.5"], "its card names no checkpoint that it went on from"),
        (before, ["--share", "1.5"], "share must be from 0 to 1, not 1.5"),
        (
            before,
            ["--subnetworks", "pitch", "drums"],
            "unknown subnetworks: drums; known: separator, pitch, rhythm, pre",
        ),
        (Path("joint-v2"), [], "joint-v2, which it went on from, is of another size"),
        (before, ["--before", "joint-v2"], "joint-v2 is of another size"),
        (tmp_path / "gone.safetensors", [], "gone.safetensors"),
    ):
        after = before if initial is None else _grown(tmp_path, initial)
        with pytest.raises(SystemExit) as raised:
            interpolation.main([str(after), *options, "-o", str(tmp_path / "out.safetensors")])
        assert raised.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
