"""SQL over the committed tables (DuckDB, extra ``query``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

    from .reader import Features


def query(features: Features, sql: str) -> pa.Table:
    """Answer a question in SQL.

    The tables of the directory are views of the rows that count: ``tracks``, ``stems`` and so on. Files that DuckDB
    reads itself can be joined by their path.

    Parameters
    ----------
    features : Features
        The directory.
    sql : str
        A query of DuckDB's dialect.

    Returns
    -------
    pyarrow.Table
        Its result.

    Raises
    ------
    ImportError
        DuckDB is missing (extra ``query``).
    DatasetError
        DuckDB cannot answer; the message is its own.

    Examples
    --------
    >>> from stemfeatures import open_features
    >>> query(open_features("features"), "SELECT count(*) AS n FROM stems WHERE stem = 'drums'").to_pydict()
    {'n': [24]}
    """
    try:
        import duckdb
    except ImportError as error:
        raise ImportError("SQL needs duckdb: pip install 'stemfeatures[query]'") from error
    with duckdb.connect() as connection:
        for table in features.layout.tables:
            connection.register(table, features.dataset(table))
        try:
            relation = connection.sql(sql)
            if relation is None:
                raise DatasetError("this is no query: it has no result", source=str(features.path), stage="query")
            return relation.to_arrow_table()
        except duckdb.Error as error:
            # DuckDB draws the query with a mark below it, which makes no sense in one line.
            message = " ".join(re.sub(r"\n+\s*LINE \d+:.*\n\s*\^+\s*$", "", str(error)).split())
            raise DatasetError(message, source=str(features.path), stage="query") from error
