"""Which tracks are near to one another, by stem: an index beside the tables, exact search, filters, explanations.

:func:`~.build.build_index` makes the index, :func:`~.index.open_index` opens it, and
:meth:`~.index.SimilarityIndex.similar` asks it.
"""
