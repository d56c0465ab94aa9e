"""A network in bfloat16: near float32, and told apart from it in the tables.

Processors without instructions for bfloat16 compute in it all the same, only slowly.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from extract_helper import write_tone

from pipelines import extract_catalog
from pipelines.cli import main as cli
from pipelines.commands.extract import plan_text, summary_text
from pipelines.commands.status import look
from pipelines.extraction.provenance import digest, value_settings
from stemfeatures.analysis import Analyser
from stemfeatures.audio import AudioLimits
from stemfeatures.constants import N_BINS, STEMS
from stemfeatures.errors import ModelError
from stemfeatures.models import checkpoints, precision
from stemfeatures.separation import Separator
from stemfeatures.tables.reader import open_features
from stemfeatures.vectors.matrix import features_matrix

pytestmark = pytest.mark.usefixtures("fresh_network")


def _says(monkeypatch: pytest.MonkeyPatch, *, bfloat16: bool) -> None:
    """Whatever the processor of this machine is."""
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda: bfloat16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 clzero\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx512f amx_bf16 amx_tile\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\nbugs\t\t: avx512_bf16\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", False),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd i8mm bf16 dgh\n", True),
        (None, False),
    ],
)
def test_the_processor_is_asked(monkeypatch, tmp_path, text, expected) -> None:
    place = tmp_path / "cpuinfo"
    if text is not None:
        place.write_text(text)
    monkeypatch.setattr(precision, "_CPUINFO", place)
    precision.computes_in_bfloat16.cache_clear()
    try:
        assert precision.computes_in_bfloat16() is expected
        assert precision.resolved_precision("auto") == ("bfloat16" if expected else "float32")
    finally:
        precision.computes_in_bfloat16.cache_clear()


def test_what_is_no_precision_is_refused(model) -> None:
    with pytest.raises(ValueError, match="unknown precision 'half'; there are: float32, bfloat16, auto"):
        precision.resolved_precision("half")
    with pytest.raises(ValueError, match="bfloat16 is for networks on a CPU, and not for device 'cuda'"):
        precision.resolved_precision("bfloat16", "cuda")
    assert precision.resolved_precision("auto", "cuda:1") == "float32"
    assert precision.resolved_precision("bfloat16", "cpu:0") == "bfloat16"
    with pytest.raises(ModelError, match="unknown precision 'half'"):
        Analyser(model, precision="half")


@pytest.mark.parametrize("reduced", ["float32", "bfloat16"])
def test_a_processor_with_a_number_is_a_processor(monkeypatch, model, tmp_path, reduced) -> None:
    _says(monkeypatch, bfloat16=True)
    assert precision.resolved_precision("auto", "cpu:0") == "bfloat16"
    assert precision.mixed_precision("auto", "cpu:0")
    net, other = (checkpoints.load_for_inference(model, device=d, precision=reduced) for d in ("cpu", "cpu:0"))
    magnitude = torch.rand(1, N_BINS, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(net(magnitude).masks, other(magnitude).masks)
    song = write_tone(tmp_path / "music" / "a.wav", seconds=1.0, f0=220.0)
    summary = extract_catalog(
        tmp_path / "music", tmp_path / "features", model=model, device="cpu:0", precision=reduced, jobs=1
    )
    assert (summary.n_done, summary.n_failed) == (1, 0), song


def test_what_failed_is_tried_again_as_this_machine_computes(monkeypatch, model, tmp_path) -> None:
    music, out = tmp_path / "music", tmp_path / "features"
    write_tone(music / "a.wav", seconds=1.0, f0=220.0)
    (music / "b.wav").write_bytes(b"no audio")
    _says(monkeypatch, bfloat16=True)
    extract_catalog(music, out, model=model, device="cpu", jobs=1)
    write_tone(music / "b.wav", seconds=1.0, f0=110.0)
    _says(monkeypatch, bfloat16=False)
    assert cli(["retry-failed", str(out), "-j", "1", "-q"]) == 0
    features = open_features(out)
    assert (features.counts()["tracks"], features.counts()["errors"]) == (2, 0)
    tracks = features.to_pandas("tracks").set_index("track_id")
    assert tracks["precision"].to_dict() == {"a.wav": "bfloat16", "b.wav": "float32"}
    assert tracks["config_hash"].nunique() == 1
    assert features_matrix(features).index.tolist() == ["a.wav", "b.wav"]  # of one extraction
    told = {e["precision"]: e["tracks"] for e in look(features)["extractions"]}
    assert told == {"bfloat16": 1, "float32": 1}


def test_what_failed_is_tried_again_as_was_asked_for_by_name(monkeypatch, model, tmp_path) -> None:
    """On a processor that has bfloat16, too, and from another folder: as the run of all the others was."""
    _says(monkeypatch, bfloat16=True)
    music, kept = tmp_path / "music", tmp_path / "kept"
    write_tone(music / "a.wav", seconds=1.0, f0=220.0)
    write_tone(music / "b.wav", seconds=3.0, f0=110.0)
    (music / "c.wav").write_bytes(b"no audio")
    monkeypatch.chdir(tmp_path)
    asked = {"precision": "float32", "limits": AudioLimits(max_duration_s=2.0), "keep_stems": "kept"}
    relative = os.path.relpath(model, tmp_path)
    assert extract_catalog("music", "out", model=relative, device="cpu", jobs=1, **asked).n_failed == 2
    (music / "a.wav").unlink()  # which would be extracted again otherwise
    write_tone(music / "c.wav", seconds=1.0, f0=110.0)
    monkeypatch.chdir(music)
    for _ in range(2):  # a second time what the first time took from the run before
        assert cli(["retry-failed", "../out", "-j", "1", "-q"]) == 3
    features = open_features(tmp_path / "out")
    assert features.to_pandas("tracks").set_index("track_id")["precision"].to_dict() == {
        "a.wav": "float32",
        "c.wav": "float32",
    }
    assert features.to_pandas("errors")[["track_id", "attempt"]].to_numpy().tolist() == [["b.wav", 3]]
    assert sorted(p.name for p in kept.iterdir()) == ["a.wav", "c.wav"]


def test_the_default_network_is_near_float32() -> None:
    """On tones and noise that are drawn anew each 12 frames; the noise of rounding lies 30 dB below each stem."""
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.uniform(0, 1, (1, N_BINS // 16, 8)), 16, axis=1).repeat(12, axis=2)
    magnitude = torch.from_numpy((envelope**4 * rng.rayleigh(1, (1, N_BINS, 96))).astype(np.float32))
    plain = checkpoints.load_for_inference()
    reduced = checkpoints.load_for_inference(precision="bfloat16")
    with torch.inference_mode():
        one, two = plain(magnitude), reduced(magnitude)
    assert all(value.dtype == torch.float32 for value in vars(two).values() if value is not None)
    assert reduced.separator.net.encoder[0].conv[0].weight.dtype == torch.bfloat16
    assert not torch.equal(one.masks, two.masks)
    assert torch.allclose(two.masks.sum(dim=1), torch.ones(()), atol=1e-5)
    for i in range(len(STEMS)):
        wanted, error = (magnitude * one.masks[:, i]), magnitude * (two.masks - one.masks)[:, i]
        assert 10 * torch.log10(wanted.square().sum() / error.square().sum()) > 30
    for name in ("salience", "voicing", "rhythm", "presence"):
        expected, found = (torch.sigmoid(getattr(out, name)) for out in (one, two))
        assert float((found - expected).abs().mean()) < 0.01, name


def test_what_lies_in_freed_memory_does_not_matter() -> None:
    """For the shortest tracks AMX convolutions read beside their planes: NaNs of another track made all masks NaN."""
    plain, reduced = (checkpoints.load_for_inference(precision=p) for p in ("float32", "bfloat16"))
    magnitude = torch.rand(1, N_BINS, plain.stride, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        masks = plain(magnitude).masks
        for _ in range(3):
            left = [torch.full((n,), torch.nan, dtype=torch.bfloat16) for n in (1_000, 5_000, 20_000, 100_000) * 8]
            del left
            torch.testing.assert_close(reduced(magnitude).masks, masks, rtol=0, atol=0.02)


def test_stems_in_bfloat16_sum_to_the_mixture(model) -> None:
    y = np.random.default_rng(0).normal(0, 0.1, (2, 44_100)).astype(np.float32)
    plain, reduced = (Separator(model, precision=p).separate_array(y, 44_100) for p in ("float32", "bfloat16"))
    assert np.abs(sum(reduced.values()) - y).max() < 1e-5
    assert all(0 < np.abs(reduced[stem] - plain[stem]).max() < 0.05 for stem in STEMS)


def test_rows_tell_their_precision(model, tmp_path) -> None:
    music, features = tmp_path / "music", tmp_path / "features"
    for i in range(2):
        write_tone(music / f"{i}.wav", f0=110.0 * (1 + i))
    first = extract_catalog(music, features, model=model, jobs=1, precision="bfloat16")
    assert (first.n_done, first.precision) == (2, "bfloat16")
    assert "(tiny on cpu, 1 worker in bfloat16)" in " ".join(summary_text(first).split())
    settings = value_settings(checkpoints.resolve(model).sha256)
    for table in ("tracks", "stems", "contours"):
        rows = open_features(features).to_pandas(table)
        assert set(rows["config_hash"]) == {digest(settings)}
        assert set(rows["precision"]) == {"bfloat16"}
    config = json.loads(open_features(features).to_pandas("runs")["config_json"][0])
    assert config["precision"] == "bfloat16"
    vocals = open_features(features).to_pandas("stems").query("stem == 'vocals'").set_index("track_id")
    analyser = Analyser(model, precision="bfloat16")
    for i in range(2):
        expected = analyser.from_file(music / f"{i}.wav").stems["vocals"]
        assert vocals.loc[f"{i}.wav", "mfcc_01_mean"] == np.float32(expected["mfcc_01_mean"])


def test_a_precision_that_is_asked_for_by_name_replaces_rows_in_another(model, tmp_path) -> None:
    music, features = tmp_path / "music", tmp_path / "features"
    for i in range(2):
        write_tone(music / f"{i}.wav", f0=110.0 * (1 + i))
    extract_catalog(music, features, model=model, jobs=1, precision="bfloat16")
    again = extract_catalog(music, features, model=model, jobs=1, precision="bfloat16")
    assert (again.n_done, again.n_skipped) == (0, 2)
    plan = extract_catalog(music, features, model=model, jobs=1, precision="float32", dry_run=True)
    assert plan.outdated == {"in bfloat16 (now float32)": 2}
    assert "again: 2 tracks extracted before in bfloat16 (now float32)" in plan_text(plan)
    plain = extract_catalog(music, features, model=model, jobs=1, precision="float32")
    assert (plain.n_done, plain.outdated) == (2, {"in bfloat16 (now float32)": 2})
    assert set(open_features(features).to_pandas("tracks")["precision"]) == {"float32"}


def test_auto_begins_by_the_processor_and_takes_rows_in_either(model, tmp_path, monkeypatch) -> None:
    _says(monkeypatch, bfloat16=True)
    music, features = tmp_path / "music", tmp_path / "features"
    write_tone(music / "a.wav")

    def planned(where: Path, **options: object) -> tuple[str, int]:
        plan = extract_catalog(music, where, model=model, jobs=1, dry_run=True, **options)
        return plan.precision, plan.n_skipped

    assert planned(tmp_path / "new") == ("bfloat16", 0)
    assert planned(tmp_path / "new", device="cpu") == ("bfloat16", 0)
    extract_catalog(music, features, model=model, jobs=1, precision="float32")
    assert planned(features) == ("float32", 1)  # what a dataset has so far
    write_tone(music / "b.wav", f0=330.0)
    assert planned(features) == ("float32", 1)
    extract_catalog(music, features, model=model, jobs=1, precision="bfloat16")
    assert planned(features) == ("bfloat16", 2)
    _says(monkeypatch, bfloat16=False)  # another machine
    assert planned(features) == ("float32", 2)
    assert planned(tmp_path / "new") == ("float32", 0)
    write_tone(music / "c.wav", f0=440.0)
    assert extract_catalog(music, features, model=model, jobs=1).n_done == 1
    assert planned(features) == ("float32", 3)
    assert sorted(open_features(features).to_pandas("tracks")["precision"]) == ["bfloat16", "bfloat16", "float32"]


def test_workers_of_a_scheduler_are_told_a_device(model, tmp_path) -> None:
    write_tone(tmp_path / "music" / "a.wav")
    with pytest.raises(ValueError, match="with a scheduler, ask for device cpu"):
        extract_catalog(
            tmp_path / "music", tmp_path / "f", model=model, scheduler="tcp://127.0.0.1:1", precision="bfloat16"
        )
