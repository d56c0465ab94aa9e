"""Parts to a record: desk, effects, mastering, codecs."""
