"""The table of descriptors: which fields there are, and the functions that compute them.

A module of this package declares its fields, and registers them with the function that computes them::

    register(Extractor(name="harmony", order=60, fields=FIELDS, status="harmony_status", compute=_harmony))

That is the one place: the schema of table ``stems``, the data dictionary, feature vectors and
:func:`~.describe.describe` read the table.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..constants import MIXTURE, STEM_ROWS
from ..fields import Field
from .inputs import DescriptorInputs
from .values import ABSENT, NOT_APPLICABLE, SILENT


@dataclass(frozen=True)
class Extractor:
    """Descriptors that are computed together, and whose nulls one status explains.

    Attributes
    ----------
    name : str
        Unique among the extractors.
    order : int
        Place of the columns in table ``stems``, nothing else: activity 10, f0 20, onsets 30, tempo 35, timbre 40,
        loudness 50, harmony 60; equal ones go by name. What an extractor needs of others it asks the inputs for
        (:meth:`~.inputs.DescriptorInputs.get`), so that no order of computation has to be declared.
    fields : tuple of Field
        The columns, the status first.
    status : str
        Field that says why values are null: ``ok``, ``silent``, ``too_short``, ``not_applicable`` ...
    compute : callable
        Takes :class:`~.inputs.DescriptorInputs` and the name of a row; returns values by field name. Fields that it
        leaves out are null, the status must be among them. Called only for rows on which a field is defined.

    Raises
    ------
    ValueError
        When ``status`` is none of ``fields``, or two fields have one name.
    """

    name: str
    order: int
    fields: tuple[Field, ...]
    status: str
    compute: Callable[[DescriptorInputs, str], Mapping[str, Any]]

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if self.status not in names:
            raise ValueError(f"extractor {self.name!r}: status {self.status!r} is none of its fields")
        if len(set(names)) < len(names):
            raise ValueError(f"extractor {self.name!r}: two fields have one name")

    def applies_to(self, row: str) -> bool:
        """Whether any field but the status is defined on a row.

        Parameters
        ----------
        row : str
            One of ``constants.STEM_ROWS``, or a further stem, which has the fields of ``other``.

        Returns
        -------
        bool
            False where all is null and the status ``not_applicable``.
        """
        row = row if row in STEM_ROWS else "other"
        return any(f.holds_for(row) for f in self.fields if f.name != self.status)

    def describe(self, inputs: DescriptorInputs, row: str) -> dict[str, Any]:
        """Every field for one row.

        Parameters
        ----------
        inputs : DescriptorInputs
            Of the track.
        row : str
            One of ``constants.STEM_ROWS``, or a further stem, which has the fields of ``other``.

        Returns
        -------
        dict
            Values by field name, in the order of ``fields``; None where something cannot be measured.

        Raises
        ------
        ValueError
            When ``compute`` returned a value of no field, one of a field that is not defined on the row, or no status.
        """
        if not self.applies_to(row):
            return {f.name: NOT_APPLICABLE if f.name == self.status else None for f in self.fields}
        measured = self.compute(inputs, row)
        defined = {f.name for f in self.fields if f.holds_for(row if row in STEM_ROWS else "other")}
        if wrong := [name for name, value in measured.items() if value is not None and name not in defined]:
            raise ValueError(f"extractor {self.name!r} has no field {wrong[0]!r} on row {row!r}")
        if measured.get(self.status) is None:
            raise ValueError(f"extractor {self.name!r} gave no {self.status!r} on row {row!r}")
        return {f.name: measured.get(f.name) for f in self.fields}


_EXTRACTORS: dict[str, Extractor] = {}


def register(extractor: Extractor) -> Extractor:
    """Add descriptors to the table.

    Parameters
    ----------
    extractor : Extractor
        What to add.

    Returns
    -------
    Extractor
        The same.

    Raises
    ------
    ValueError
        When another one has its name or one of its fields.
    """
    for other in _EXTRACTORS.values():
        both = {f.name for f in other.fields} & {f.name for f in extractor.fields}
        if other.name == extractor.name or both:
            what = f"field {min(both)!r}" if both else f"extractor {extractor.name!r}"
            raise ValueError(f"{what} is registered already")
    _EXTRACTORS[extractor.name] = extractor
    _in_order.cache_clear()
    return extractor


def unregister(name: str) -> None:
    """Take descriptors out of the table.

    Parameters
    ----------
    name : str
        Of the extractor.

    Raises
    ------
    KeyError
        When there is none of this name.
    """
    del _EXTRACTORS[name]
    _in_order.cache_clear()


def extractors() -> tuple[Extractor, ...]:
    """All that is registered; every module of this package is imported first.

    Returns
    -------
    tuple of Extractor
        In the order of their fields in table ``stems``.
    """
    return _in_order()[0]


def descriptor_fields() -> tuple[Field, ...]:
    """The descriptor columns of table ``stems``.

    Returns
    -------
    tuple of Field
        In column order; the same object until something is registered.

    Examples
    --------
    >>> [f.name for f in descriptor_fields() if f.family == "activity"][:2]
    ['activity_status', 'activity_ratio']
    """
    return _in_order()[1]


@cache
def _in_order() -> tuple[tuple[Extractor, ...], tuple[Field, ...]]:
    import_modules()
    ordered = tuple(sorted(_EXTRACTORS.values(), key=lambda e: (e.order, e.name)))
    return ordered, tuple(f for extractor in ordered for f in extractor.fields)


def describe_rows(inputs: DescriptorInputs) -> dict[str, dict[str, Any]]:
    """Every descriptor on every row.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{row: {field name: value}}`` in the order of :attr:`TrackFrames.rows`. The statuses of a stem that does not
        play while the mixture sounds are ``absent`` where they would be ``silent``.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row in inputs.frames.rows:
        rows[row] = {}
        for extractor in extractors():
            rows[row].update(extractor.describe(inputs, row))
            inputs.frames.release()
    if rows[MIXTURE]["activity_status"] != SILENT:
        statuses = [extractor.status for extractor in extractors()]
        for stem in (row for row in rows if rows[row]["activity_status"] == SILENT):
            rows[stem].update({name: ABSENT for name in statuses if rows[stem][name] == SILENT})
    return rows


@cache
def import_modules() -> None:
    """Import every module of this package, so that what they register is known."""
    package = __package__ or ""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
