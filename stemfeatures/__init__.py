"""Joint source separation and F0 for music catalogues: audio in, typed Parquet feature tables out."""

from ._util.lazy import lazy_names

__version__ = "0.1.0"

#: Public names and the modules they come from, imported when first used, so that ``import stemfeatures`` stays instant.
__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "Analyser": "analysis",
        "FeatureTransformer": "vectors.transformer",
        "Separator": "separation",
        "as_multiindex": "vectors.matrix",
        "build_index": "similarity.build",
        "features_matrix": "vectors.matrix",
        "from_audio": "analysis",
        "from_file": "analysis",
        "open_features": "tables.reader",
        "open_index": "similarity.index",
    },
)
