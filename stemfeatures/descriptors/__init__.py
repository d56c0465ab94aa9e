"""Descriptors: frames in, scalars, contours and events out. One module a family."""
