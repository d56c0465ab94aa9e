"""From stems to a record: desk, effects, mastering, codecs."""
