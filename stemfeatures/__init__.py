"""Joint source separation and F0 for music catalogues: audio in, typed Parquet feature tables out."""

__version__ = "0.1.0"
