"""``stemfeatures doctor``: whether this machine has what the rest needs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ._exit import DONE, SOME_FAILED
from ._options import add_verb
from ._text import columns, echo, size

#: Distributions whose versions matter for values, speed or bug reports.
PACKAGES = (
    "stemfeatures", "numpy", "scipy", "pandas", "pyarrow", "torch", "safetensors", "librosa", "numba", "scikit-learn",
    "soundfile", "soxr", "dask", "distributed", "dask-cuda", "mir_eval", "museval",
)  # fmt: skip
#: What libsndfile reads where it was built with everything; ffmpeg reads these and m4a, AAC, WMA and more.
_SOUNDFILE_FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF")


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "doctor",
        run,
        "show versions, codecs, devices and caches, and what is missing",
        description="Exit code 3 when something that the main job needs is missing, or set so that it is slow. Put its "
        "output into bug reports.",
        examples=("stemfeatures doctor", "stemfeatures doctor --scheduler tcp://head:8786"),
    )
    parser.add_argument("--scheduler", metavar="ADDR", help="look at the workers of this running Dask scheduler, too")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> int:
    report, problems = examine()
    if args.scheduler is not None:
        report["workers"] = _workers(args.scheduler, problems)
    if args.json:
        echo(json.dumps({**report, "problems": problems}, indent=1))
    else:
        for title, facts in report.items():
            echo(title)
            echo(columns([(k, str(v)) for k, v in facts.items()], indent="  "))
        echo("\n".join(["problems", *(f"  {p}" for p in problems)]) if problems else "no problems found")
    return SOME_FAILED if problems else DONE


def examine() -> tuple[dict[str, dict[str, Any]], list[str]]:
    """``{section: {what: how it is}}`` and what is wrong."""
    problems: list[str] = []
    report = {
        "system": _system(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "codecs": _codecs(problems),
        "devices": _devices(problems),
        "model": _model(problems),
        "caches": _caches(problems),
    }
    return report, problems


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _system() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {"python": platform.python_version(), "platform": platform.platform(), "cores": usable}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory"] = size(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return facts


def _codecs(problems: list[str]) -> dict[str, Any]:
    try:
        import soundfile

        from stemfeatures.audio import decoder_versions
    except (ImportError, OSError) as error:
        problems.append(f"soundfile cannot be used: {error}")
        return {}
    versions = decoder_versions()
    have = soundfile.available_formats()
    facts: dict[str, Any] = {
        "libsndfile": versions["libsndfile"],
        "reads": ", ".join(f.lower() for f in _SOUNDFILE_FORMATS if f in have),
        "ffmpeg": versions["ffmpeg"] or "not found",
        "ffmpeg at": versions["ffmpeg_path"] or "",
    }
    if missing := [f for f in _SOUNDFILE_FORMATS if f not in have]:
        problems.append(f"libsndfile {versions['libsndfile']} does not read {', '.join(missing)}; ffmpeg will be asked")
    if versions["ffmpeg"] is None:
        problems.append("no ffmpeg: m4a, AAC and WMA cannot be read; install ffmpeg or the package imageio-ffmpeg")
    return facts


def _devices(problems: list[str]) -> dict[str, Any]:
    from stemfeatures._util.devices import unseen_gpus

    try:
        import torch
    except (ImportError, OSError) as error:
        problems.append(f"torch cannot be used: {error}")
        return {}
    facts: dict[str, Any] = {"cpu": f"{torch.get_num_threads()} threads"}
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        facts[f"cuda:{i}"] = f"{properties.name}, {size(properties.total_memory)}"
    if not torch.cuda.is_available():
        facts["cuda"] = "none"
    if trouble := unseen_gpus():
        problems.append(trouble)
    return facts


def _model(problems: list[str]) -> dict[str, Any]:
    from stemfeatures.errors import ModelError
    from stemfeatures.models.checkpoints import DEFAULT_MODEL, list_models, resolve

    try:
        checkpoint = resolve(DEFAULT_MODEL)
    except ModelError as error:
        problems.append(str(error))
        return {"default": "missing"}
    names = ", ".join(c.name for c in list_models())
    return {"default": checkpoint.name, "sha256": checkpoint.sha256, "all": names}


def _caches(problems: list[str]) -> dict[str, Any]:
    """Compiled code (numba) is kept here; without it every new process compiles for up to a minute."""
    try:
        from numba.core import config

        numba = getattr(config, "CACHE_DIR", "") or os.environ.get("NUMBA_CACHE_DIR", "")
    except ImportError:
        numba = os.environ.get("NUMBA_CACHE_DIR", "")
    facts: dict[str, Any] = {"NUMBA_CACHE_DIR": numba or "not set (next to the packages, or in the user's cache)"}
    if numba and not _writable(Path(numba)):
        problems.append(f"NUMBA_CACHE_DIR {numba} cannot be written to: every process compiles anew")
    temporary = Path(tempfile.gettempdir())
    facts["temporary files"] = (
        f"{temporary} ({size(shutil.disk_usage(temporary).free)} free)" if temporary.is_dir() else ""
    )
    facts["prefix"] = sys.prefix
    return facts


def _workers(address: str, problems: list[str]) -> dict[str, Any]:
    """The workers of a cluster, and what slows them down."""
    from ..extraction import threads
    from ..extraction.cluster import existing_scheduler, slots, trimming_workers, worker_info

    executor, _ = existing_scheduler(address, device="auto")
    with executor:
        workers = worker_info(executor.client)
        if n := trimming_workers(executor.client):
            problems.append(threads.trim_advice(n, len(workers)))
        return {
            "scheduler": executor.address,
            "workers": len(workers),
            "shards at a time": slots(workers, {}),
            "with a GPU": sum("GPU" in worker["resources"] for worker in workers.values()),
            "memory of the smallest": size(min(worker["memory_limit"] for worker in workers.values())),
        }


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
