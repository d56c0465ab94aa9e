from .catalog import (
    read_catalog as read_catalog,
    validate_catalog as validate_catalog,
)
from .extraction.extract import extract_catalog as extract_catalog
from .similarity import all_pairs as all_pairs
