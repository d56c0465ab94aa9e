"""Model cards: what a checkpoint was trained on and how, from the bank and the run themselves."""

from __future__ import annotations

import csv
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from .._util.csv_log import whole_lines
from ..constants import ANALYSIS_SAMPLE_RATE, STEMS
from ..models import checkpoints
from ..models.network import Network
from .config import TrainConfig
from .data.bank import SoundBank
from .data.recording_store import RecordingStore
from .data.song_store import SongStore
from .objectives.find import find_objective
from .training_data import TrainingData

#: Licence of weights whose owner has not said anything.
NOT_STATED = "not stated"
_VERSIONS = ("torch", "numpy", "scipy", "librosa", "soxr")


def data_sources(data: TrainingData, config: TrainConfig) -> list[dict[str, Any]]:
    """One entry a source and licence of what a run learned from, largest first.

    ``source, licence, classes, minutes`` and how many ``sounds`` (of a bank), ``songs`` (multitracks) or ``recordings``
    (of one source, or of nothing but a mixture) it holds. What the recipe's initial checkpoint learned from and the
    run does not is there too, with that checkpoint as ``through``.
    """
    found: list[dict[str, Any]] = []
    if data.bank is not None and config.songs < 1:
        found += _bank_sources(SoundBank(data.bank))
    if data.songs is not None and config.songs > 0:
        store = SongStore(data.songs)
        if data.joining is not None:
            store = store.select(range(data.joining.songs(config.steps * config.batch_size)))
        found += song_sources(store, config.licences, config.made_of)
    if data.recordings is not None and find_objective(config.objective).draws(config) is not None:
        found += _recording_sources(data.recordings, config)
    return with_sources_of([name for name in (config.initial, config.teacher) if name], found)


def with_sources_of(names: Iterable[str | Path], sources: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Data sources, and those of checkpoints from which something comes that are not among them, largest first.

    The latter have the name of their checkpoint as ``through``.
    """
    found = list(sources)
    for before in map(checkpoints.resolve, names):
        known = [_same(entry) for entry in found]
        found += [
            {"through": before.name} | entry for entry in before.card.get("data", []) if _same(entry) not in known
        ]
    return sorted(found, key=lambda entry: -entry.get("minutes", 0.0))


def _same(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What two entries share that speak of the same recordings: songs that were generated twice have one name."""
    return tuple(entry.get(key) for key in ("source", "licence", "minutes", "songs", "sounds", "recordings"))


def song_sources(
    store: SongStore, licences: dict[str, str], made_of: dict[str, dict[str, str]] | None = None
) -> list[dict[str, Any]]:
    """The same for the songs of a store alone; with ``made_of`` where that is told."""
    return [
        {
            "source": source,
            "licence": licences.get(source, NOT_STATED),
            "classes": sorted(STEMS),
            "songs": sum(song.dataset == source for song in store.songs),
            "minutes": round(sum(song.seconds for song in store.songs if song.dataset == source) / 60, 2),
            **({"made_of": made_of[source]} if made_of and source in made_of else {}),
        }
        for source in sorted({song.dataset for song in store.songs})
    ]


def _recording_sources(store: RecordingStore, config: TrainConfig) -> list[dict[str, Any]]:
    """Kinds that the objective draws from; one entry a source, what it was used as in ``classes``."""
    draws = find_objective(config.objective).draws(config)
    found: dict[str, dict[str, Any]] = {}
    for kind, recordings in store.recordings.items():
        if not getattr(draws, kind):
            continue
        for recording in recordings:
            source = recording.dataset
            entry = found.setdefault(
                source, {"source": source, "licence": config.licences.get(source, NOT_STATED), "classes": []}
            )
            if kind not in entry["classes"]:
                entry["classes"].append(kind)
            count = "songs" if kind == "pairs" else "recordings"
            entry[count] = entry.get(count, 0) + 1
            entry["minutes"] = entry.get("minutes", 0.0) + recording.seconds / 60
            if source in config.made_of:
                entry["made_of"] = config.made_of[source]
    return [entry | {"minutes": round(entry["minutes"], 2)} for entry in found.values()]


def _bank_sources(bank: SoundBank) -> list[dict[str, Any]]:
    sounds = bank.sounds
    return [
        {
            "source": str(source),
            "licence": str(licence),
            "classes": sorted(set(rows["class"])),
            "sounds": len(rows),
            "minutes": round(float(rows["length"].sum()) / ANALYSIS_SAMPLE_RATE / 60, 2),
        }
        for (source, licence), rows in sounds.groupby(["source", "licence"], sort=True)
    ]


def _calibration_before(config: TrainConfig) -> dict[str, Any]:
    """How the initial checkpoint was calibrated, where the run leaves what that was about as it is."""
    if not config.initial or not config.learns or {"separator", "pitch"} & set(config.learns):
        return {}
    before = checkpoints.resolve(config.initial)
    found = before.card.get("training", {}).get("calibration")
    return {"calibration": {"through": before.name} | found} if found else {}


def seconds_trained(log: str | Path) -> float:
    """Time spent training over all resumptions, in seconds, from the ``log.csv`` of a run; 0 without one.

    The clock of the log starts anew with every resumption; steps that were lost in between count as time spent.
    """
    total = last = 0.0
    path = Path(log)
    if path.is_file():
        for row in csv.DictReader(whole_lines(path)):
            try:
                minutes = float(row["minutes"])
            except (KeyError, TypeError, ValueError):  # one that an earlier release wrote behind half of another
                continue
            if minutes < last:
                total += last
            last = minutes
    return 60 * (total + last)


def build_card(
    model: Network,
    config: TrainConfig,
    data: TrainingData,
    *,
    steps: int,
    seconds: float,
    command: str = "",
    device: str = "",
    held_out: list[str] | None = None,
    chosen_on: dict[str, Any] | None = None,
    phase: str | None = None,
    licence: str = NOT_STATED,
) -> dict[str, Any]:
    """The card of a checkpoint, without metrics; ``checkpoints.save`` adds name and digest.

    Parameters
    ----------
    model : Network
        The network whose weights are saved.
    config : TrainConfig
        The recipe it was trained by.
    data : TrainingData
        What it learned from.
    steps : int
        Optimiser steps done.
    seconds : float
        Time they took over all resumptions.
    command : str, default=''
        What was typed.
    device : str, default=''
        What it ran on.
    held_out : list[str], optional
        Patterns of what was never learned from.
    chosen_on : dict[str, Any], optional
        The development songs that this step was chosen on, and its score; None for the last step of a run.
    phase : str, optional
        The phase of the objective that made these weights, where there are several.
    licence : str, default=NOT_STATED
        SPDX id or words for the weights. The data's licences are listed with the data.
    """
    description = f"Joint separation of {', '.join(STEMS)}, F0 of vocals and bass, and rhythm."
    if model.tasks == {"separation"}:
        band = f"{model.grid.sample_rate // 2:,} Hz"
        description = f"Separation of {config.target} and accompaniment up to {band}; objective {config.objective}."
        if phase not in (None, config.objective):
            description += f" These weights come from its {phase} phase alone."
    elif config.objective != "joint":
        description += f" Trained further to separate {config.target}; objective {config.objective}."
    return {
        "description": description,
        "licence": licence,
        "architecture": model.architecture,
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": data_sources(data, config),
        "held_out": list(held_out or []),
        "training": {
            "command": command,
            "recipe": config.to_dict(),
            "steps": steps,
            "seconds": round(seconds, 1),
            "chosen_on": chosen_on,
            **({"phase": phase} if phase else {}),
            **_calibration_before(config),
            "device": device,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "stemfeatures": __version__,
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in _VERSIONS},
            },
        },
        "metrics": {},
    }


def metrics_of(summary: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """An evaluation's summary rows as a card keeps them.

    ``{data set: {task: {"settings": {...}, "stems": {stem: {metric: {"mean", "median", "ci95", "n", "n_groups",
    "n_skipped"}}}}}}``
    """
    metrics: dict[str, Any] = {}
    for row in summary:
        if not row["n"]:
            continue
        task = metrics.setdefault(row["dataset"], {}).setdefault(row["task"], {"settings": settings, "stems": {}})
        task["stems"].setdefault(row["stem"], {})[row["metric"]] = {
            key: round(row[key], 4) if isinstance(row[key], float) else row[key]
            for key in ("mean", "median", "ci95", "n", "n_groups", "n_skipped")
        }
    return metrics


def merge_metrics(card: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """A card with ``metrics`` in it; results of other data sets and tasks stay."""
    old = card.get("metrics") or {}
    return {**card, "metrics": {name: {**old.get(name, {}), **metrics.get(name, {})} for name in {**old, **metrics}}}
