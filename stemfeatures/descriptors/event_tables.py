"""The tables of events: notes, chords, sections ..., a row an event.

A module of this package declares a table, and registers it with the function that computes its rows::

    register_events(EventTable("chords", 20, "One row per ...", FIELDS, ("start_s",), compute=_chords))

That is the one place: schema, data dictionary, ``extract --tables``, part files, commits, ``Features.events`` and
:func:`~.describe.describe` read the register.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from ..constants import STEM_ROWS
from ..fields import Field
from .inputs import DescriptorInputs
from .registry import import_modules

#: Values by name of column, all of one length, an event a place.
Columns: TypeAlias = Mapping[str, Sequence[Any] | np.ndarray]

#: The column that most tables of events begin with.
STEM = Field(
    "stem",
    "category",
    "The separated stem that the event is of, or the mixture.",
    range=" | ".join(STEM_ROWS),
    nullable=False,
    since="1.1",
    family="key",
)
START = Field("start_s", "float64", "Where it begins.", "s", ">= 0", nullable=False, since="1.1", family="time")
END = Field("end_s", "float64", "Where it ends.", "s", ">= 0", nullable=False, since="1.1", family="time")


@dataclass(frozen=True)
class EventTable:
    """A table with any number of rows a track, in the order of time.

    Attributes
    ----------
    name : str
        Of the table; unique.
    order : int
        Its place among the tables of events; equal ones are ordered by name.
    description : str
        What one row is.
    fields : tuple of Field
        Its columns; ``track_id`` comes before them, ``run_id`` after them. How a track was analysed stands once, in its
        row of ``tracks``.
    key : tuple of str
        The first of the fields: those that tell a row from others of its track.
    compute : callable, optional
        Takes :class:`~.inputs.DescriptorInputs` and returns values by field name, all of one length; fields that it
        leaves out are null. None for a table that is not computed from frames: whoever knows its rows puts them into
        ``TrackDescription.tables``.
    on_request : bool
        Whether only runs that ask for it write it.

    Raises
    ------
    ValueError
        When the fields do not begin with the key, or two have one name.
    """

    name: str
    order: int
    description: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    compute: Callable[[DescriptorInputs], Columns] | None = None
    on_request: bool = False

    def __post_init__(self) -> None:
        names = tuple(f.name for f in self.fields)
        if not self.key or names[: len(self.key)] != self.key:
            raise ValueError(f"table {self.name!r}: its fields do not begin with the key {', '.join(self.key)}")
        if len(set(names)) < len(names):
            raise ValueError(f"table {self.name!r}: two fields have one name")

    def rows(self, columns: Columns) -> list[dict[str, Any]]:
        """Columns as rows.

        Parameters
        ----------
        columns : mapping
            Values by field name, all of one length.

        Returns
        -------
        list of dict
            One an event.

        Raises
        ------
        ValueError
            When there is no such field, or two columns differ in length.
        """
        names = {f.name for f in self.fields}
        if unknown := [name for name in columns if name not in names]:
            raise ValueError(f"table {self.name!r} has no field {unknown[0]!r}")
        if len({len(values) for values in columns.values()}) > 1:
            lengths = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
            raise ValueError(f"table {self.name!r}: columns of several lengths: {lengths}")
        return [dict(zip(columns, values)) for values in zip(*columns.values())]


_TABLES: dict[str, EventTable] = {}


def register_events(table: EventTable) -> EventTable:
    """Add a table of events.

    Parameters
    ----------
    table : EventTable
        What to add.

    Returns
    -------
    EventTable
        The same.

    Raises
    ------
    ValueError
        When there is one of its name.
    """
    if table.name in _TABLES:
        raise ValueError(f"table {table.name!r} is registered already")
    _TABLES[table.name] = table
    event_tables.cache_clear()
    return table


@cache
def event_tables() -> dict[str, EventTable]:
    """All tables of events; every module of this package is imported first.

    Returns
    -------
    dict
        Tables by name, in order; the same object until something is registered.
    """
    import_modules()
    return {table.name: table for table in sorted(_TABLES.values(), key=lambda table: (table.order, table.name))}


def describe_events(inputs: DescriptorInputs, requested: Iterable[str] = ()) -> dict[str, Columns]:
    """The events of one track.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.
    requested : iterable of str
        Tables to compute although they are ``on_request``; other names are of no account.

    Returns
    -------
    dict
        Columns by table, for all tables that are computed from frames.
    """
    wanted = set(requested)
    return {
        name: table.compute(inputs)
        for name, table in event_tables().items()
        if table.compute is not None and (name in wanted or not table.on_request)
    }
