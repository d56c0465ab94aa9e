"""What can change a value changes the config_hash: constants by themselves, code by ANALYSIS_VERSION."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import golden
import grimp
import pytest

import pipelines
from pipelines.commands.extract import plan_text
from pipelines.extraction.provenance import digest, value_settings
from stemfeatures import analysis
from stemfeatures._util.constants_of import data_files, digests_of, modules_of
from stemfeatures.audio import resampling
from stemfeatures.descriptors import harmony
from stemfeatures.descriptors.registry import Extractor, register, unregister
from stemfeatures.fields import status_field
from stemfeatures.frames import measures
from stemfeatures.lyrics.settings import alignment_settings
from stemfeatures.models import (
    harmonic_prior,
    level_prior,
    low_prior,
    mask_factors,
    refiner,
    similarity_prior,
    transient_prior,
)
from stemfeatures.tables.reader import open_features

#: What an analysis imports besides its stages, and why no constant in it can change a value.
NOT_STAGES = {
    "stemfeatures._util": "files, names and pools, no signals",
    "stemfeatures.errors": "names of errors",
    "stemfeatures.fields": "what columns are called; their names are in the settings",
    "stemfeatures.audio": "decoders: table tracks says by row which one read the file, in which version",
    "stemfeatures.models": "which checkpoint: its model_sha256; what weighs the masks are stages",
    "stemfeatures.separation": "separators of their own; the masks that analysis uses are stages",
    "stemfeatures.plots": "pictures of what was computed",
}
#: Files of the package that no analysis reads, and what tells of those that it does read.
NOT_SETTINGS = {
    "models/weights/*": "checkpoints and cards: model_sha256",
    "models/weights/notes/*.json": "a card",
    "models/weights/voices/*.json": "a card",
    "lyrics/*.json.gz": "in the settings of the alignment",
    "lyrics/*.safetensors": "in the settings of the alignment",
    "lyrics/phones.json": "a card",
    "generator/banks/*": "voices of generated songs",
    "generator/banks/voices/*": "voices of generated songs",
    "singalong/player/*": "a page",
    "training/recipes/*": "recipes",
}


def test_values_are_those_of_this_analysis_version() -> None:
    kept, now = json.loads(golden.FILE.read_text("utf-8")), golden.current()
    changed = golden.differences(kept, now)
    assert not changed, "raise ANALYSIS_VERSION, then run tests/golden.py:\n" + "\n".join(changed[:20])
    assert set(now["frames"]["drums"]) == set(kept["frames"]["drums"]), "run tests/golden.py"


def test_differences_are_found() -> None:
    kept = {"a": {"x": 100.0, "y": None, "z": "C:major"}, "b": [1.0, 2.0]}
    assert golden.differences(kept, {"a": {"x": 100.05, "y": None, "z": "C:major", "new": 1}, "b": [1.0, 2.0]}) == []
    changed = {"a": {"x": 100.2, "y": 0.0}, "b": [1.0]}
    assert golden.differences(kept, changed) == [
        "/a/z is gone",
        "/a/x: 100.0 -> 100.2",
        "/a/y: None -> 0.0",
        "/b: [1.0, 2.0] -> [1.0]",
    ]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (harmony, "CHORD_CHANGE_COST", 14.0),
        (harmony, "KEY_PROFILES", {"major": (1.0,) * 12}),
        (resampling, "RESAMPLE_QUALITY", "VHQ"),
        (measures, "_TAPS", 31),
        (level_prior, "BAND_ENDS_HZ", (60, 7200)),
        (harmonic_prior, "LINE_SHARE", 0.01),
        (transient_prior, "BACK", 5),
        (similarity_prior, "OWN", 0.9),
        (mask_factors, "LARGEST", 5.0),
        (refiner, "LEAST_MASK", 1e-2),
        (low_prior, "EDGE_HZ", 300.0),
        (analysis, "ANALYSIS_VERSION", 0),
    ],
)
def test_a_changed_constant_changes_the_hash(monkeypatch, module, name, value) -> None:
    before = digest(value_settings("sha"))
    monkeypatch.setattr(module, name, value)
    assert digest(value_settings("sha")) != before


def test_only_what_can_change_a_value_changes_the_hash(monkeypatch) -> None:
    before = digest(value_settings("sha"))
    monkeypatch.setattr("stemfeatures.descriptors.timbre.CHORD_CHANGE_COST", harmony.CHORD_CHANGE_COST, raising=False)
    assert digest(value_settings("sha")) == before
    assert digest(value_settings("other")) != before
    register(
        Extractor("none", 100, (status_field("x_status", "ok | bad", "x", family="x"),), "x_status", lambda i, r: {})
    )
    try:
        assert digest(value_settings("sha")) != before
    finally:
        unregister("none")


def test_every_module_of_an_analysis_is_a_stage_or_said_to_be_none() -> None:
    graph = grimp.build_graph("stemfeatures", exclude_type_checking_imports=True, cache_dir=None)
    stages = {module.__name__ for module in modules_of(analysis.STAGES)}
    used = stages.union(*(graph.find_upstream_modules(stage) for stage in stages))
    covered = {name for name in used if any(name == n or name.startswith(f"{n}.") for n in NOT_STAGES)}
    assert used - stages - covered - {"stemfeatures"} == set()
    assert {"stemfeatures.audio.streams", "stemfeatures.models.checkpoints"} <= covered


def test_every_file_that_ships_is_in_the_settings_or_said_to_change_no_value() -> None:
    root = Path(analysis.__file__).parent
    no_data = {".py", ".pyi", ".pyc", ".nbc", ".nbi", ".typed", ".orig", ".rej"}
    files = [p for p in root.rglob("*") if p.is_file() and p.suffix not in no_data]
    said = {p for pattern in NOT_SETTINGS for p in root.glob(pattern)}
    in_settings = {p.name: p for p in files if p not in said}
    expected = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in in_settings.items()}
    assert analysis.analysis_settings()["weights"] == expected
    assert {"voice_weights.json", "stroke_weights.json", "other-v1.safetensors", "vocals-v1.safetensors"} <= set(
        expected
    )
    alignment = alignment_settings()["weights"]
    read = [*root.glob("lyrics/*.json.gz"), *root.glob("lyrics/*.safetensors")]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in read} == alignment


def test_a_file_beside_a_stage_is_among_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "stage_of_a_test"
    (package / "inner").mkdir(parents=True)
    for folder in (package, package / "inner"):
        (folder / "__init__.py").write_text("")
    (package / "fitted.json").write_text("{}")
    (package / "inner" / "fitted.npz").write_bytes(b"\0")
    for stray in ("metre.py.orig", "fitted.json~", ".fitted.json.swp", ".hidden.json", "metre.py.rej", "a.nbc"):
        (package / stray).write_text("left by an editor, a patch or a compiler")
    monkeypatch.syspath_prepend(tmp_path)
    files = data_files(modules_of(["stage_of_a_test"]))
    assert [file.name for file in files] == ["fitted.json", "fitted.npz"]
    before = digests_of(files)
    (package / "fitted.json").write_text("{ }")
    after = digests_of(files)
    assert before["fitted.json"] != after["fitted.json"]
    assert before["fitted.npz"] == after["fitted.npz"]
    (package / "inner" / "fitted.json").write_text("{}")
    with pytest.raises(ValueError, match=r"two files are called fitted\.json"):
        digests_of(data_files(modules_of(["stage_of_a_test"])))


def test_rows_of_an_earlier_version_are_extracted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parent
    features = tmp_path / "features"
    shutil.copytree(root / "data" / "features-1.0", features)
    shutil.copy(root.parent / "catalog_samples" / "knock.wav", tmp_path)
    (tmp_path / "catalog.csv").write_text("track_id,path,title,plays\nknock,knock.wav,Knock,12\n")
    summary = pipelines.extract_catalog(tmp_path / "catalog.csv", features)
    assert (summary.n_done, summary.n_skipped, summary.n_failed) == (1, 0, 0)
    assert summary.outdated == {"under schema version 1.0 (now 1.1)": 1}
    found = open_features(features)
    assert found.counts()["stems"] == 15
    rows = found.to_pandas("tracks").set_index("track_id")
    assert rows.loc["knock", "run_id"] != rows.loc["río", "run_id"]
    mixture = found.to_pandas("stems").set_index(["track_id", "stem"]).loc["knock", "mixture"]
    assert mixture["mfcc_01_mean"] == pytest.approx(-293.623718, abs=1e-2)  # the same whatever the checkpoint
    again = pipelines.extract_catalog(tmp_path / "catalog.csv", features)
    assert (again.n_skipped, again.outdated) == (1, {})
    with monkeypatch.context() as patch:
        patch.setattr(analysis, "digests_of", lambda paths: digests_of(paths) | {"voice_weights.json": "0"})
        plan = pipelines.extract_catalog(tmp_path / "catalog.csv", features, dry_run=True)
    assert plan.outdated == {"with other weights (voice_weights.json)": 1}
    monkeypatch.setattr(harmony, "CHORD_CHANGE_COST", 14.0)
    plan = pipelines.extract_catalog(tmp_path / "catalog.csv", features, dry_run=True)
    assert plan.outdated == {"with other constants (CHORD_CHANGE_COST)": 1}
    assert "again: 1 track extracted before with other constants (CHORD_CHANGE_COST)" in plan_text(plan)
    monkeypatch.setattr(analysis, "ANALYSIS_VERSION", 99)
    plan = pipelines.extract_catalog(tmp_path / "catalog.csv", features, dry_run=True)
    version = json.loads(golden.FILE.read_text("utf-8"))["analysis_version"]
    assert plan.outdated == {f"by analysis version {version} (now 99)": 1}
