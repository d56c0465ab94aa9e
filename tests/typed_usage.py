"""What people write with the library. It is read by ``mypy --strict`` (``make lint``) and never run: every name that
they import has types, and none of what they get is ``Any``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import numpy as np

import stemfeatures
import stemfeatures.audio
from pipelines.catalog import Catalog, ValidationReport, read_catalog, validate_catalog
from pipelines.extraction.extract import extract_catalog
from pipelines.extraction.summary import ExtractSummary
from stemfeatures import Analyser, FeatureTransformer, Separator, open_features
from stemfeatures.analysis import TrackAnalysis
from stemfeatures.audio import AudioInfo, load, probe, write
from stemfeatures.datasets.multitrack import MultiTrack
from stemfeatures.datasets.opening import open_dataset
from stemfeatures.datasets.splits import split_by_artist
from stemfeatures.descriptors.types import Events, F0Contour, TrackDescription
from stemfeatures.errors import StemfeaturesError
from stemfeatures.fields import Field
from stemfeatures.lyrics import Aligner, Alignment, write_alignment
from stemfeatures.plots.sonify import sonify
from stemfeatures.recommendation import (
    Interactions,
    Recommender,
    evaluate_models,
    fit_recommender,
    load_recommender,
    read_interactions,
    recommend,
    split_interactions,
)
from stemfeatures.recommendation.ranking import Ranking
from stemfeatures.separation import BaseSeparator, open_separator
from stemfeatures.similarity.index import SimilarityIndex
from stemfeatures.similarity.neighbours import Neighbours
from stemfeatures.tables.reader import Features

Array = np.ndarray[Any, Any]


def one_track(path: Path) -> dict[str, F0Contour]:
    assert_type(stemfeatures.__version__, str)
    y, sample_rate = load(path, mono=True)
    assert_type(sample_rate, int)
    assert_type(probe(path), AudioInfo)
    analyser = Analyser("joint-v8", device="cpu")
    analysis = analyser.from_file(path)
    assert_type(analysis, TrackAnalysis)
    assert_type(stemfeatures.from_audio(y, sample_rate), TrackAnalysis)
    assert_type(analysis.events, Events)
    for _, result in analyser.many(enumerate([path])):
        if isinstance(result, TrackAnalysis):
            assert_type(result.status, str)
    write(path.with_suffix(".flac"), sonify(analysis, y, sample_rate), sample_rate)
    analysis.plot(start_s=1.0).savefig("track.png")
    return analysis.contours


def stems(path: Path) -> dict[str, Array]:
    separator: BaseSeparator = open_separator()
    assert_type(separator.stems, tuple[str, ...])
    y, sample_rate = stemfeatures.audio.load(path)
    return Separator().separate_array(y, sample_rate)


def tables(folder: Path) -> list[Field]:
    features = open_features(folder)
    assert_type(features, Features)
    assert_type(features.counts(), dict[str, int])
    assert_type(features.describe("song"), TrackDescription)
    assert_type(features.contour("song", "vocals"), F0Contour)
    matrix = stemfeatures.features_matrix(features)
    transformer = FeatureTransformer().fit(matrix)
    assert_type(transformer, FeatureTransformer)
    index = stemfeatures.open_index(folder)
    assert_type(index, SimilarityIndex)
    found = index.similar("song", stems=["bass"], k=5)
    assert_type(found, Neighbours)
    assert_type(found.track_ids, list[str])
    return list(features.fields("stems"))


def listening(path: Path, folder: Path) -> Iterator[Ranking]:
    interactions = read_interactions(path)
    assert_type(interactions, Interactions)
    split = split_interactions(interactions, k=1)
    model = fit_recommender("als", interactions.matrix(), interactions.track_ids)
    assert_type(model, Recommender)
    evaluate_models(split, interactions.track_ids, ["als"])
    assert_type(load_recommender(folder).model, Recommender)
    return recommend(model, interactions.matrix(), k=10)


def a_night(manifest: Path, out: Path) -> ExtractSummary:
    catalog = read_catalog(manifest)
    assert_type(catalog, Catalog)
    report = validate_catalog(catalog)
    assert_type(report, ValidationReport)
    assert_type(report.counts(), dict[str, int])
    try:
        return extract_catalog(catalog, out, jobs=2)
    except StemfeaturesError as error:
        assert_type(error.message, str)
        raise


def words(path: Path) -> Alignment:
    alignment = Aligner().from_file(path, "la la la")
    write_alignment(alignment, path.with_suffix(".lrc"))
    return alignment


def truth(root: Path) -> dict[str, list[MultiTrack]]:
    return split_by_artist(open_dataset("musdb18", root), fractions={"train": 0.8, "test": 0.2})
