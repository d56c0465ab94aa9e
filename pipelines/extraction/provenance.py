"""What a run was made with: settings, versions, source."""

from __future__ import annotations

import hashlib
import json
import platform
import secrets
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import stemfeatures
from stemfeatures._util.constants_of import constants_of, modules_of
from stemfeatures.tables.schema import SCHEMA_VERSION

# fmt: off
_PACKAGES = (
    "torch", "numpy", "scipy", "librosa", "numba", "soundfile", "soxr", "pandas", "pyarrow", "safetensors",
    "dask", "distributed", "scikit-learn",
)
# fmt: on


def new_run_id() -> str:
    """Sorts by time, and is unique: ``20260131T093000Z-1f2e3d4c``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def value_settings(model_sha256: str, separator: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Every setting that can change a value of the tables, and no other.

    Which tables are written, on how many processes and in which batches, changes no value.

    Parameters
    ----------
    model_sha256 : str
        Of the checkpoint.
    separator : mapping, optional
        Where the stems come from if not from the checkpoint, see :func:`stemfeatures.separation.given_stems.origin`.

    Returns
    -------
    dict
        With those of :func:`stemfeatures.analysis.analysis_settings`, in the types of JSON.
    """
    from stemfeatures.analysis import analysis_settings

    settings = {"schema_version": SCHEMA_VERSION, "model_sha256": model_sha256, **analysis_settings()}
    if separator is not None:
        modules = [f"stemfeatures.separation.{name}" for name in ("external", "given_stems", "packages")]
        settings["separator"] = {**separator, "constants": constants_of(modules_of(modules))}
    return settings


def digest(settings: Mapping[str, Any]) -> str:
    """The ``config_hash``: 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:16]


def canonical_json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def versions() -> dict[str, str | None]:
    """Versions of everything that takes part; None for what is not there."""
    from stemfeatures.audio import decoder_versions

    found: dict[str, str | None] = {"stemfeatures": stemfeatures.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found.update({k: v for k, v in decoder_versions().items() if k != "ffmpeg_path"})
    found["platform"] = platform.platform()
    return found


def git_sha() -> str | None:
    """Commit of the checkout the library runs from, with ``-dirty`` when it was changed; None for installed ones."""
    root = Path(stemfeatures.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        sha = _git(root, ["rev-parse", "HEAD"])
        return f"{sha}-dirty" if _git(root, ["status", "--porcelain", "--untracked-files=no"]) else sha
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, arguments: Iterable[str]) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
