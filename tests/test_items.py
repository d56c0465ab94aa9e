"""Item features: the matrix says what the tables say, and distances between its vectors mean something."""

from __future__ import annotations

import json
import logging
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from features_helper import N_DIMS, write_features
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from stemfeatures.constants import STEM_ROWS
from stemfeatures.errors import DatasetError
from stemfeatures.tables.reader import open_features
from stemfeatures.vectors.columns import (
    _CLASSES,
    compatible_keys,
    encode_key,
    field_columns,
    matrix_columns,
    matrix_fields,
    scale_of,
)
from stemfeatures.vectors.matrix import as_multiindex, close_ids, features_matrix, id_hint
from stemfeatures.vectors.transformer import FeatureTransformer, UnusableFeatureWarning

IDS = [f"track {i:02d}" for i in range(40)]


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    silent = {"drums": IDS[:6], "vocals": IDS[3:5]}
    return open_features(write_features(tmp_path_factory.mktemp("items") / "features", IDS[::-1], silent=silent))


@pytest.fixture(scope="module")
def matrix(features):
    return features_matrix(features)


# ------------------------------------------------------------------------------------------------------------ matrix


def test_matrix_holds_the_values_of_the_tables(features, matrix):
    assert list(matrix.index) == IDS
    assert matrix.index.name == "track_id"
    assert set(matrix.dtypes) == {np.dtype("float32")}
    assert np.shares_memory(matrix.to_numpy(), matrix.to_numpy())
    rows = features.to_pandas("stems").set_index(["stem", "track_id"])
    for stem, field in (("bass", "f0_median_hz"), ("drums", "tempo_bpm"), ("mixture", "mfcc_03_std")):
        np.testing.assert_array_equal(matrix[f"{stem}__{field}"], rows.loc[stem][field].reindex(IDS).astype("float32"))
    fifths = [encode_key(key)[0] for key in rows.loc["other"]["key"].reindex(IDS)]
    np.testing.assert_array_equal(matrix["other__key_fifths"], np.float32(fifths))
    assert matrix.loc[IDS[0]].filter(like="drums__timbre").isna().all()
    assert matrix.loc[IDS[0]].filter(like="drums__mfcc").isna().all()
    assert "drums__f0_median_hz" not in matrix
    assert "mixture__loudness_relative_lu" not in matrix


def test_matrix_of_some_stems_families_and_tracks(features):
    some = features_matrix(features, stems=["bass", "drums"], families=["f0", "embedding"], track_ids=[IDS[7], IDS[2]])
    assert list(some.index) == [IDS[7], IDS[2]]
    assert {c.split("__")[0] for c in some} == {"bass", "drums"}
    vectors = some.filter(like="embedding")
    assert vectors.shape == (2, 2 * N_DIMS)
    ids, values = features.embeddings("bass")
    np.testing.assert_array_equal(vectors.filter(like="bass").iloc[0], values[list(ids).index(IDS[7])])
    assert vectors.filter(like="drums").loc[IDS[2]].isna().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stems": ["voice"]}, "unknown stem 'voice'; there are: mixture, vocals"),
        ({"families": ["tempo"]}, "unknown family 'tempo'"),
        ({"stems": []}, "no stem chosen"),
        ({"track_ids": ["trakc 07"]}, r"no such track: 'trakc 07'; did you mean 'track 07'"),
        ({"track_ids": ["xyz"]}, r"no such track: 'xyz'; the ids here look like 'track 0\d' or 'track 0\d'"),
        ({"model_sha256": "beef"}, "no tracks of model_sha256 beef"),
    ],
)
def test_matrix_names_what_is_wrong(features, options, message):
    with pytest.raises(DatasetError, match=message):
        features_matrix(features, **options)


def test_rows_of_several_models_are_refused_unless_one_is_chosen(tmp_path):
    path = write_features(tmp_path / "features", ["a", "b"])
    write_features(path, ["c"], model="sha-2", run_id="run-2")
    with pytest.raises(DatasetError, match=r"several models or settings.*2 tracks of model_sha256 sha-1"):
        features_matrix(path)
    assert list(features_matrix(path, model_sha256="sha-2").index) == ["c"]
    assert list(features_matrix(path, config_hash="config-1", model_sha256="sha-1").index) == ["a", "b"]


def test_empty_directory_has_no_matrix(tmp_path):
    path = write_features(tmp_path / "features", ["a"])
    with pytest.raises(DatasetError, match="no such directory"):
        features_matrix(tmp_path / "nowhere")
    assert len(features_matrix(path)) == 1


def test_multiindex_is_a_view_by_family_feature_and_statistic(matrix):
    wide = as_multiindex(matrix.assign(year=1990.0))
    assert wide.columns.names == ["stem", "family", "feature", "statistics", "number"]
    assert wide.shape == (40, matrix.shape[1] + 1)
    assert wide["vocals", "timbre", "mfcc", "mean"].shape == (40, 13)
    np.testing.assert_array_equal(
        wide["bass", "f0", "f0", "p05", "01"].to_numpy(), matrix["bass__f0_p05_hz"].to_numpy()
    )
    assert ("", "custom", "year", "value", "01") in wide.columns


def test_close_ids_are_found_without_case_and_accents():
    ids = ["Río.flac", "albums/Technology is Magic.mp3", "other.wav"]
    assert close_ids("rio", ids) == ["Río.flac"]
    assert close_ids("Tecnology is magic", ids) == ["albums/Technology is Magic.mp3"]
    assert close_ids("xyz", ids) == []
    assert id_hint("xyz", ids) == "; the ids here look like 'Río.flac' or 'albums/Technology is Magic.mp3'"
    assert id_hint("xyz", []) == "; there are no tracks"


# ----------------------------------------------------------------------------------------------------------- columns


def test_fields_have_columns_where_they_are_defined(features):
    columns = set(features_matrix(features))
    wanted = {f"{s}__{c.name}" for f in matrix_fields() for s in STEM_ROWS if f.holds_for(s) for c in field_columns(f)}
    assert columns == wanted
    assert {"vocals__f0_median_hz", "mixture__tempo_bpm", "other__key_fifths"} <= columns
    assert not {"mixture__energy_share", "mixture__loudness_relative_lu", "drums__key_fifths"} & columns


def test_every_kind_of_scale_is_used_and_each_field_has_a_sensible_one():
    kinds = {name: column.scale.kind for name, column in matrix_columns().items()}
    assert set(kinds.values()) == {"linear", "log", "log1p", "sqrt", "circular", "sign", "duration"}
    for f in matrix_fields():
        if f.unit == "Hz":
            assert kinds[f.name] == "log", f.name
        if f.unit in ("dB", "LUFS", "LU", "dBTP"):
            assert kinds[f.name] == "linear", f.name
    names = {f.name for f in matrix_fields()}
    assert {c.scale.strength for c in matrix_columns().values()} - {""} <= names


def test_keys_stand_on_the_circle_of_fifths():
    assert encode_key("C:major") == (0, 0)
    assert encode_key("A:minor") == (0, 1)
    assert encode_key("G:major") == (1, 0)
    assert encode_key("F:major") == (11, 0)
    assert np.isnan(encode_key(None)).all()
    assert np.isnan(encode_key("H:major")).all()
    assert len({encode_key(f"{t}:{m}") for t in _CLASSES for m in ("major", "minor")}) == 24
    assert set(compatible_keys("A:minor")) == {"A:minor", "C:major", "E:minor", "D:minor"}
    assert compatible_keys("N") == ()


# ------------------------------------------------------------------------------------------------------- transformer


@parametrize_with_checks(
    [
        FeatureTransformer(),
        FeatureTransformer(whiten=True),
        FeatureTransformer(n_components=2),
        FeatureTransformer(missing="neutral", clip=None, n_components=0.9),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("options", [{}, {"whiten": True}, {"weights": {"drums": 3.0}}, {"n_components": 0.99999999}])
def test_vectors_turn_back_into_columns(matrix, options):
    matrix = matrix.astype(np.float64)
    transformer = FeatureTransformer(clip=None, **options).fit(matrix)
    vectors = transformer.transform(matrix)
    back = transformer.inverse_transform(pd.DataFrame(vectors, index=matrix.index))
    assert list(back.columns) == list(matrix.columns)
    assert back.index.equals(matrix.index)
    compared = 0
    for name in matrix.columns:
        scale = scale_of(name.split("__")[1])
        if scale.kind == "duration" or scale.strength or name in transformer.unusable_:
            continue  # not in vectors, or only as far as something else is strong
        before, after = matrix[name].to_numpy(), back[name].to_numpy()
        if scale.octaves:
            octaves = np.log2(after / before)
            before, after = np.zeros(len(before)), np.where(np.isnan(before), 0, octaves - np.round(octaves))
        elif scale.kind == "log":
            before = np.maximum(before, scale.floor)
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5, err_msg=name)
        compared += 1
    assert compared > 60
    numbers = FeatureTransformer().fit(matrix.to_numpy())
    assert isinstance(numbers.inverse_transform(numbers.transform(matrix.to_numpy())), np.ndarray)
    with pytest.raises(ValueError, match="expected vectors of"):
        transformer.inverse_transform(vectors[:, :3])


def test_columns_are_found_by_name(matrix):
    transformer = FeatureTransformer().fit(matrix)
    mixed = matrix[matrix.columns[::-1]].assign(bass__not_known=1.0)
    np.testing.assert_array_equal(transformer.transform(mixed), transformer.transform(matrix))
    with pytest.raises(ValueError, match="yet now missing"):
        transformer.transform(matrix.iloc[:, 1:])


def squared(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return np.square(vectors[:, None] - vectors[None]).sum(axis=-1)


@pytest.mark.parametrize("options", [{}, {"whiten": True}, {"missing": "neutral"}, {"weights": {"drums": 3.0}}])
def test_two_random_tracks_are_one_apart_in_each_block(matrix, options):
    transformer = FeatureTransformer(**options)
    vectors = transformer.fit_transform(matrix)
    assert vectors.dtype == np.float32
    for (stem, _), columns in transformer.blocks_.items():
        weight = options.get("weights", {}).get(stem, 1.0)
        assert squared(vectors[:, columns]).mean() == pytest.approx(weight**2, rel=1e-4)
    np.testing.assert_allclose(transformer.mean_, vectors.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(transformer.variance_, vectors.var(axis=0), atol=1e-5)


def test_no_drums_is_not_tempo_zero(matrix):
    drumless, others = slice(0, 6), slice(6, None)
    transformer = FeatureTransformer(clip=None).fit(matrix)
    block = transformer.blocks_["drums", "timbre"]
    apart = squared(transformer.transform(matrix)[:, block])
    # As near as can be to one another, as far from the others as those are from one another.
    assert apart[drumless, drumless].max() == 0
    present = apart[others, others].sum() / (34 * 33)
    assert apart[drumless, others].mean() == pytest.approx(present, rel=0.15)
    # With "neutral" a track without drums is in the middle: nearer to the others than they are to one another.
    middle = FeatureTransformer(missing="neutral", clip=None).fit(matrix)
    neutral = squared(middle.transform(matrix)[:, middle.blocks_["drums", "timbre"]])
    assert neutral[drumless, others].mean() < 0.75 * neutral[others, others].mean()


def test_nulls_of_one_cause_share_one_indicator(matrix):
    names = FeatureTransformer().fit(matrix).get_feature_names_out()
    of_drums = [n for n in names if n.startswith("missingindicator_drums")]
    assert sorted(of_drums) == sorted(
        f"missingindicator_drums__{first}"
        for first in ("silence_rate_60db", "onset_rate", "mfcc_01_mean", "loudness_integrated_lufs")
    )
    without = FeatureTransformer(missing="neutral").fit(matrix).get_feature_names_out()
    assert not any("missingindicator" in name for name in without)


def coordinates(field: str, values: list[float], **others: list[float]) -> np.ndarray:
    frame = pd.DataFrame({f"bass__{name}": v for name, v in {field: values, **others}.items()})
    transformer = FeatureTransformer(clip=None, missing="neutral").set_output(transform="pandas")
    out = transformer.fit_transform(frame)
    return out[[c for c in out if field in c]].to_numpy()


def test_tempo_octaves_and_the_ends_of_circles_coincide():
    tempo = coordinates("tempo_bpm", [70.0, 140.0, 100.0, 99.0])
    assert squared(tempo)[0, 1] == pytest.approx(0, abs=1e-9)
    assert squared(tempo)[0, 2] > 100 * squared(tempo)[2, 3]
    tuning = squared(coordinates("tuning_cents", [-50.0, 50.0, 0.0, 25.0]))
    assert tuning[0, 1] == pytest.approx(0, abs=1e-9)
    assert tuning[0, 2] == tuning.max()


def test_keys_are_near_by_fifths_and_weigh_by_their_strength():
    sure = squared(coordinates("key_fifths", [0.0, 1.0, 11.0, 6.0], key_strength=[1.0, 1.0, 1.0, 0.99]))
    assert sure[0, 1] == pytest.approx(sure[0, 2])
    assert sure[0, 3] > 10 * sure[0, 1]
    # A doubtful key is near the middle: nearer to all than sure keys that differ.
    doubt = squared(coordinates("key_fifths", [0.0, 6.0, 3.0, 6.0], key_strength=[1.0, 1.0, 1.0, 0.1]))
    assert doubt[0, 3] < doubt[0, 1] / 2


def test_equal_ratios_are_equal_distances_for_frequencies():
    octaves = squared(coordinates("f0_median_hz", [55.0, 110.0, 220.0, 440.0]))
    assert octaves[0, 1] == pytest.approx(octaves[2, 3])


def test_embeddings_compare_by_direction():
    frame = pd.DataFrame([[1.0, 0, 0], [2.0, 0, 0], [0, 1, 0], [0, 0, 3]]).add_prefix("bass__embedding_00")
    apart = squared(FeatureTransformer(clip=None).fit_transform(frame))
    assert apart[0, 1] == pytest.approx(0, abs=1e-9)
    assert apart[0, 2] == pytest.approx(apart[0, 3])


def test_outliers_do_not_set_the_scale():
    values = np.r_[np.linspace(0, 1, 99), 1e6]
    out = FeatureTransformer(clip=5).fit_transform(values[:, None])
    usual = out[50, 0] - out[0, 0]
    assert out[-1, 0] - out[50, 0] < 5 * usual


def test_columns_that_say_nothing_are_named_and_left_out(matrix):
    frame = matrix.assign(drums__beat_strength=np.nan, bass__f0_confidence=0.25)
    with pytest.warns(
        UnusableFeatureWarning, match=r"null or constant in all tracks are left out \(2\): .*beat_strength"
    ) as caught:
        transformer = FeatureTransformer().fit(frame)
    assert len(caught) == 1
    assert sorted(transformer.unusable_) == ["bass__f0_confidence", "drums__beat_strength"]
    assert not any("bass__f0_confidence" in name for name in transformer.get_feature_names_out())
    with pytest.raises(ValueError, match="no column varies among the 3 samples"):
        FeatureTransformer().fit(np.ones((3, 2)))


def test_how_long_a_track_is_counts_for_nothing(matrix):
    longer = matrix.assign(mixture__beat_count=matrix["mixture__beat_count"] * 7, bass__onset_count=0.0)
    one, two = (FeatureTransformer().fit_transform(x) for x in (matrix, longer))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_weights_choose_and_are_checked(matrix):
    plain = FeatureTransformer().fit(matrix)
    weighted = FeatureTransformer(weights={"timbre": 2, "vocals": 0.5, "drums__rhythm": 0}).fit(matrix)
    assert ("drums", "rhythm") not in weighted.blocks_
    for block in (("vocals", "timbre"), ("bass", "timbre"), ("vocals", "f0"), ("bass", "f0")):
        factor = (2 if block[1] == "timbre" else 1) * (0.5 if block[0] == "vocals" else 1)
        a, b = (t.transform(matrix)[:, t.blocks_[block]] for t in (plain, weighted))
        np.testing.assert_allclose(b, factor * a, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="no columns of 'guitar'; there are: mixture__activity"):
        FeatureTransformer(weights={"guitar": 1}).fit(matrix)
    with pytest.raises(ValueError, match="is not a number from 0"):
        FeatureTransformer(weights={"drums": -1}).fit(matrix)


def test_whitening_takes_correlations_out():
    rng = np.random.default_rng(3)
    base = rng.normal(size=(4000, 3))
    X = np.c_[base[:, 0], base[:, 0] + 0.5 * base[:, 1], base[:, 2]]
    covariance = np.cov(FeatureTransformer(whiten=True, clip=None).fit_transform(X).T)
    np.testing.assert_allclose(covariance, np.eye(3) / 6, atol=0.01)


def test_pca_keeps_distances_and_orders_variance(matrix):
    full = FeatureTransformer().fit_transform(matrix)
    pca = FeatureTransformer(n_components=39)
    out = pca.fit_transform(matrix)
    np.testing.assert_allclose(squared(out), squared(full), rtol=1e-3, atol=1e-3)
    assert (np.diff(pca.explained_variance_ratio_) <= 1e-12).all()
    part = FeatureTransformer(n_components=0.8).fit(matrix)
    assert part.explained_variance_ratio_.sum() >= 0.8
    assert part.explained_variance_ratio_[:-1].sum() < 0.8
    assert list(part.get_feature_names_out()[:2]) == ["pca0", "pca1"]


def test_transformer_survives_clone_pickle_and_pipelines(matrix):
    transformer = FeatureTransformer(weights={"timbre": 2.0}, whiten=True).set_output(transform="pandas")
    out = transformer.fit_transform(matrix)
    assert list(out.index) == IDS
    assert list(out.columns) == list(transformer.get_feature_names_out())
    again = pickle.loads(pickle.dumps(transformer))
    pd.testing.assert_frame_equal(again.transform(matrix), out)
    assert clone(transformer).get_params() == transformer.get_params()
    assert make_pipeline(clone(transformer)).fit(matrix).transform(matrix[:3]).shape == (3, out.shape[1])
    pd.testing.assert_frame_equal(transformer.transform(matrix[matrix.columns[::-1]]), out)  # columns go by their names
    with pytest.raises(ValueError, match=str(matrix.columns[0])):
        transformer.transform(matrix[matrix.columns[1:]])


def test_rows_do_not_depend_on_one_another_or_on_chunks(matrix, monkeypatch):
    from stemfeatures.vectors import transformer as module

    whole = FeatureTransformer(whiten=True).fit(matrix)
    monkeypatch.setattr(module, "_CHUNK_VALUES", 7 * matrix.shape[1])
    # Shrinkage is estimated from the first chunk, so only what is not whitened may be compared bit by bit.
    np.testing.assert_allclose(whole.transform(matrix[3:4]), whole.transform(matrix)[3:4], rtol=1e-5, atol=1e-6)
    small, large = FeatureTransformer().fit(matrix), None
    monkeypatch.undo()
    large = FeatureTransformer().fit(matrix)
    np.testing.assert_allclose(small.transform(matrix), large.transform(matrix), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- torch


def test_trust_stands_behind_the_columns_of_each_separated_stem(tmp_path):
    given = {("bass", ""): {"separation_sdr_db": np.linspace(-5, 20, 40)}}
    features = open_features(write_features(tmp_path / "features", IDS, overwrite=given))
    plain = features_matrix(features, stems=["mixture", "bass"])
    weighed = features_matrix(features, stems=["mixture", "bass"], weigh_by_separation=True)
    assert list(weighed.columns) == [*plain.columns, "bass__separation_sdr_db"]
    np.testing.assert_allclose(weighed["bass__separation_sdr_db"], np.linspace(-5, 20, 40), rtol=1e-6)
    pd.testing.assert_frame_equal(weighed[plain.columns], plain)
    alone = features_matrix(features, stems=["bass"], families=["f0"], weigh_by_separation=True)
    assert set(alone.columns) < set(weighed.columns)
    assert alone.columns[-1] == "bass__separation_sdr_db"


@pytest.mark.parametrize("options", [{}, {"whiten": True}])
def test_coordinates_of_a_stem_are_shrunk_by_what_can_be_trusted(matrix, options):
    some = matrix.filter(regex="^(bass|drums|mixture)__(f0|onset|mfcc_0[1-4]|key|tempo|activity)")
    plain = FeatureTransformer(**options).fit(some)
    sdr_db = np.r_[np.nan, 0.0, 10.0, np.linspace(-10, 30, len(some) - 3)].astype(np.float32)
    trusted = some.assign(bass__separation_sdr_db=sdr_db)
    weighed = FeatureTransformer(**options).fit(trusted)
    assert weighed.get_feature_names_out().tolist() == plain.get_feature_names_out().tolist()
    share = np.r_[1.0, 0.5, 10 / 11, 1 / (1 + 10 ** (-sdr_db[3:] / 10))]
    was, now = plain.transform(some), weighed.transform(trusted)
    for block, columns in plain.blocks_.items():
        expected = was[:, columns] * (share[:, None] if block[0] == "bass" else 1)
        np.testing.assert_allclose(now[:, columns], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weighed.mean_, now.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(weighed.variance_, now.var(axis=0), rtol=1e-3, atol=1e-6)
    assert "bass__separation_sdr_db" not in weighed.unusable_


def test_shrunk_vectors_are_nearer_to_the_true_ones():
    # Values whose errors have the variance that their signal-to-distortion ratio says.
    rng = np.random.default_rng(0)
    true, sdr_db = rng.standard_normal((5000, 3)), rng.uniform(-10, 20, 5000)
    error = rng.standard_normal(true.shape) * 10 ** (-sdr_db[:, None] / 20)
    names = [f"bass__mfcc_0{k}_mean" for k in (1, 2, 3)]
    frame = pd.DataFrame(true + error, columns=names)
    vectors = {}
    for way, data in {"plain": frame, "weighed": frame.assign(bass__separation_sdr_db=sdr_db)}.items():
        group = FeatureTransformer(clip=None).fit(data)
        vectors[way] = group.transform(data)
    # Of the same data the true vectors are these, but for the unit of the block.
    unit = np.linalg.lstsq(vectors["plain"].reshape(-1, 1), (true + error).reshape(-1), rcond=None)[0][0]
    left = {way: np.mean(np.square(unit * (x - x.mean(axis=0)) - true)) for way, x in vectors.items()}
    assert left["plain"] == pytest.approx(np.mean(10 ** (-sdr_db / 10)), rel=0.1)
    assert left["weighed"] == pytest.approx(np.mean(1 / (1 + 10 ** (sdr_db / 10))), rel=0.1)


def test_torch_datasets_feed_two_towers(matrix, caplog):
    torch = pytest.importorskip("torch")
    from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

    from stemfeatures.vectors.torch_data import InteractionDataset, ItemDataset

    vectors = FeatureTransformer().set_output(transform="pandas").fit_transform(matrix)
    items = ItemDataset(vectors)
    assert len(items) == 40
    interactions = pd.DataFrame(
        {"user_id": ["u2", "u1", "u1", "u3"], "track_id": [IDS[5], IDS[0], "gone", IDS[9]], "weight": [1, 2, 3, 4]}
    )
    with caplog.at_level(logging.WARNING):
        data = InteractionDataset(interactions, items)
    assert data.n_unknown == 1
    assert "1 of 4 interactions" in caplog.text
    assert list(data.user_ids) == ["u1", "u2", "u3"]
    batch = next(iter(DataLoader(data, batch_size=3)))
    assert batch["user"].tolist() == [1, 0, 2]
    assert batch["item"].tolist() == [5, 0, 9]
    assert batch["weight"].tolist() == [1, 2, 4]
    np.testing.assert_array_equal(batch["features"], vectors.to_numpy("float32")[[5, 0, 9]])
    quick = next(iter(DataLoader(data, sampler=BatchSampler(SequentialSampler(data), 3, False), batch_size=None)))
    assert all(torch.equal(quick[name], batch[name]) for name in batch)
    with pytest.raises(ValueError, match="NaN"):
        ItemDataset(matrix)
    with pytest.raises(ValueError, match="none of the 1 interactions"):
        InteractionDataset(interactions.iloc[2:3], items)
    with pytest.raises(ValueError, match="no column 'track_id'"):
        InteractionDataset(interactions[["user_id"]], items)


def test_matrix_needs_neither_torch_nor_scikit_learn():
    code = "import sys, json, stemfeatures.vectors.matrix; print(json.dumps([m for m in sys.modules]))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert not [m for m in loaded if re.match(r"(torch|sklearn|librosa)(\.|$)", m)]
