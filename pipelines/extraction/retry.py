"""The rows of a catalogue that failed, as a catalogue of their own."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stemfeatures._util.urls import is_remote
from stemfeatures.audio import AudioLimits
from stemfeatures.errors import CatalogError
from stemfeatures.models.precision import AUTO
from stemfeatures.tables.commits import order_of_runs
from stemfeatures.tables.reader import Features

from ..catalog import Catalog, read_catalog
from ..catalog.types import CatalogSpec


def last_settings(features: Features) -> dict[str, Any]:
    """What the last run of a features directory was asked for.

    Parameters
    ----------
    features : Features
        The directory.

    Returns
    -------
    dict
        ``catalog``, ``catalog_root``, ``model``, ``tables`` ..., as table ``runs`` keeps them.

    Raises
    ------
    CatalogError
        There has been no run.
    """
    runs = order_of_runs(features.layout, features.commit, features.to_arrow("runs").to_pylist())
    if not runs or not runs[-1]["config_json"]:
        raise CatalogError("no run is on record there", source=str(features.path))
    settings: dict[str, Any] = json.loads(runs[-1]["config_json"])
    return settings


def repeated_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that tries failed tracks again takes from the one before.

    Parameters
    ----------
    settings : mapping
        See :func:`last_settings`; of runs of earlier versions less is known.

    Returns
    -------
    dict
        Arguments of :func:`~.extract.extract_catalog`: what decides on values and rows, not where and how fast.
    """
    return {
        "model": settings["model"],
        "tables": settings["tables"],
        "separator": settings.get("separator"),
        "stems_from": settings.get("stems_from"),
        "keep_stems": settings.get("keep_stems"),
        "limits": AudioLimits(**settings.get("limits", {})),
        "precision": settings.get("precision_asked", AUTO),
    }


def failed_rows(features: Features, catalog: CatalogSpec | None = None) -> Catalog:
    """The rows of a catalogue that are in table ``errors``.

    Parameters
    ----------
    features : Features
        The directory.
    catalog : str, path, sequence of paths, DataFrame or Catalog, optional
        The catalogue; that of the last run, if not given.

    Returns
    -------
    Catalog
        With all their metadata; without rows when nothing failed.

    Raises
    ------
    CatalogError
        The catalogue of the last run is not known, or cannot be read.
    """
    whole = read_catalog(_of_last_run(features) if catalog is None else catalog)
    failed = set(features.to_arrow("errors", columns=["track_id"])["track_id"].to_pylist())
    rows = whole.frame["track_id"].isin(failed)
    return replace(whole, frame=whole.frame[rows].reset_index(drop=True))


def _of_last_run(features: Features) -> str:
    """Path or pattern of the catalogue, which may have been given relative to another working directory."""
    settings = last_settings(features)
    origin, root = str(settings.get("catalog") or ""), settings.get("catalog_root")
    if root is None:
        raise CatalogError("the last run had a list of files; name the catalogue", source=str(features.path))
    if os.path.isabs(origin) or is_remote(origin):
        return origin
    if glob.has_magic(origin) and not os.path.exists(origin):
        parts = Path(origin).parts
        first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        return str(Path(root, *parts[first:]))
    return root if Path(origin).name == Path(root).name and Path(root).is_dir() else str(Path(root, Path(origin).name))
