"""What packages export is documented so that a machine can read it: every parameter, every result, every property."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest
from numpydoc.validate import validate

PACKAGES = (
    "stemfeatures",
    "stemfeatures.audio",
    "stemfeatures.descriptors",
    "stemfeatures.evaluation",
    "stemfeatures.frames",
    "stemfeatures.recommendation",
    "stemfeatures.separation",
    "pipelines",
    "pipelines.catalog",
)
#: No docstring, no summary, parameters that are missing, unknown, in another order or without type, no results.
CHECKS = {"GL08", "SS03", "PR01", "PR02", "PR03", "PR04", "PR07", "RT01", "RT03"}


def exported(package: ModuleType) -> Iterator[type]:
    """Functions and classes of ours that a package gives away, lazily or not."""
    for name in getattr(package, "__all__", None) or [n for n in dir(package) if not n.startswith("_")]:
        thing = getattr(package, name)
        if getattr(thing, "__module__", "").startswith(("stemfeatures.", "pipelines.")):
            yield thing


def findings(thing: type) -> Iterator[str]:
    """What numpydoc finds at an object and its public members."""
    name = f"{thing.__module__}.{thing.__qualname__}"
    members = [name]
    if inspect.isclass(thing):
        kinds = (property, classmethod, staticmethod)
        members += [
            f"{name}.{key}"
            for key, member in vars(thing).items()
            if not key.startswith("_")
            and (inspect.isfunction(member) or isinstance(member, kinds))
            and not (member.__doc__ is None and inspect.getdoc(getattr(thing, key)))  # inherited
        ]
    for member in members:
        # Fields of data classes are attributes and parameters at once; they are documented as the former. A class
        # that inherits its constructor inherits the parameters, and protocols have none.
        of_fields = dataclasses.is_dataclass(thing) or getattr(thing, "_is_protocol", False)
        others = member == name and (of_fields or (inspect.isclass(thing) and "__init__" not in vars(thing)))
        for code, message in validate(member)["errors"]:
            if code in CHECKS and not (others and code == "PR01"):
                yield f"{member}: {code} {message}"


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_exported_is_documented(name: str) -> None:
    things = list(exported(importlib.import_module(name)))
    assert things
    assert not [found for thing in things for found in findings(thing)]
