"""Dask jobs over the library, and the command line."""

from stemfeatures._util.lazy import lazy_names

#: Public names and the modules they come from, imported when first used.
__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "all_pairs": "similarity",
        "extract_catalog": "extraction.extract",
        "read_catalog": "catalog",
        "validate_catalog": "catalog",
    },
)
