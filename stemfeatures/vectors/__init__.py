"""From the tables of a features directory to item features: one vector a track, for any library.

:func:`~.matrix.features_matrix` reads the tables into one DataFrame, :class:`~.transformer.FeatureTransformer` turns it
into vectors whose Euclidean distances mean something, :mod:`.torch_data` feeds them to a two-tower model.
"""
