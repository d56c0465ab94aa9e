"""Tracks of any length through a network: front end, overlapping segments, batches."""
