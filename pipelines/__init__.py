"""Dask jobs over the library, and the command line."""
