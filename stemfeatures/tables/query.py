"""SQL over the committed tables (DuckDB, extra ``query``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import DatasetError, LostPartError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from .reader import Features


#: Nothing is downloaded for a query, and none changes that; names are those of tables and files alone.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
    "lock_configuration": True,
}
#: So often a query is asked again where somebody has committed meanwhile: its error may be one of SQL.
_MOST_TRIES = 5
#: What statements that only read begin with.
_READS = ("SELECT", "FROM", "WITH", "VALUES", "PIVOT", "UNPIVOT", "DESCRIBE", "SHOW", "SUMMARIZE", "EXPLAIN")
_LEAD = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*"
_FIRST_WORD = re.compile(_LEAD + r"([A-Za-z_]+)", re.DOTALL)
_EXPLAIN = re.compile(_LEAD + r"EXPLAIN\b\s*(?:ANALYZE\b\s*)?(?:\([^)]*\))?", re.DOTALL | re.IGNORECASE)


def query(features: Features, sql: str) -> pa.Table:
    """Answer a question in SQL.

    The tables of the directory are views of the rows that count: ``tracks``, ``stems`` and so on. Files that DuckDB
    reads itself can be joined by their path. Queries only read: a statement that writes, attaches, installs or sets
    something is refused, and with it all that stand beside it.

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
        DuckDB cannot answer, and the message is its own; or a statement does more than read.

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
    for left in reversed(range(_MOST_TRIES)):
        before = features.commit
        try:
            return _answer(features, sql)
        except (duckdb.Error, FileNotFoundError, LostPartError) as error:
            if left and features.refresh().commit != before:  # what it read may have been replaced meanwhile
                continue
            if isinstance(error, LostPartError):
                raise
            # DuckDB draws the query with a mark below it, which makes no sense in one line.
            message = " ".join(re.sub(r"\n+\s*LINE \d+:.*\n\s*\^+\s*$", "", str(error)).split())
            raise DatasetError(message, source=str(features.path), stage="query") from error
    raise AssertionError("the last try returns or raises")


def _answer(features: Features, sql: str) -> pa.Table:
    import duckdb

    with duckdb.connect(config=_SETTINGS) as connection:
        for table in features.layout.tables:
            connection.register(table, features.dataset(table))
        if (word := _more_than_reads(connection, sql)) is not None:
            message = f"{word} is no query; these only read: {', '.join(_READS)}"
            raise DatasetError(message, source=str(features.path), stage="query")
        relation = connection.sql(sql)
        if relation is None:
            raise DatasetError("this is no query: it has no result", source=str(features.path), stage="query")
        return relation.to_arrow_table()


def _more_than_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> str | None:
    """The first word of a statement that does more than read, if there is one."""
    import duckdb

    kinds = duckdb.StatementType
    for statement in connection.extract_statements(sql):
        found = _FIRST_WORD.match(statement.query)
        word = found[1].upper() if found else "that"
        # PIVOT looks for its columns first, and is several statements for DuckDB, as is a COPY of one.
        if statement.type == kinds.SELECT or (statement.type == kinds.MULTI and word in _READS):
            continue
        # EXPLAIN ANALYZE does what it explains.
        explained = _EXPLAIN.match(statement.query) if statement.type == kinds.EXPLAIN else None
        if explained is None:
            return word
        if (inner := _more_than_reads(connection, statement.query[explained.end() :])) is not None:
            return inner
    return None
