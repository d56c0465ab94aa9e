"""Everything before the first step of a run, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.multitrack import MultiTrack
from ..config import TrainConfig
from ..objectives.find import find_objective
from ..training_data import TrainingData
from .development import keep_development
from .joint import joint_data
from .recipes import require_same_recipe, write_recipe
from .sources import FoundRecordings, TrainingSources, Watch
from .target import target_data


@dataclass(frozen=True)
class TrainingRun:
    """A run that can start or go on.

    Attributes
    ----------
    config : TrainConfig
        Its recipe.
    run_dir : Path
        Its directory.
    data : TrainingData
        What it learns from, decoded.
    development : sequence of MultiTrack
        What it is validated on.
    held_out : list of str
        Patterns of what was kept out.
    development_name : str, optional
        What the folder of the songs is called that the run's scores are of, now or before.
    """

    config: TrainConfig
    run_dir: Path
    data: TrainingData
    development: Sequence[MultiTrack]
    held_out: list[str]
    development_name: str | None = None


def prepare_run(
    config: TrainConfig,
    run_dir: str | Path,
    sources: TrainingSources,
    *,
    jobs: int = 1,
    watch: Watch | None = None,
    on_found: Callable[[FoundRecordings], None] | None = None,
) -> TrainingRun:
    """Decode what a run learns from where that has not been done, check it, and note the recipe.

    Parameters
    ----------
    config : TrainConfig
        The recipe, see :func:`~.recipes.read_recipe`.
    run_dir : str or path
        Directory of the run; one that has learned something goes on.
    sources : TrainingSources
        What to learn from. A run that goes on needs none: it has decoded them.
    jobs : int, optional
        Processes that decode.
    watch : callable, optional
        ``watch(what, items, total)`` passes on the items that are decoded; for progress bars.
    on_found : callable, optional
        Called with the :class:`~.sources.FoundRecordings` of each kind, before they are decoded.

    Returns
    -------
    TrainingRun
        For :func:`stemfeatures.training.loop.train`.

    Raises
    ------
    TrainingError
        Something is missing, not wanted by the objective, both learned from and held out or validated on, or the run
        began with another recipe or was validated on other songs.
    CatalogError, DatasetError
        A source cannot be read.
    """
    run_dir = Path(run_dir)
    require_same_recipe(run_dir, config)
    objective = find_objective(config.objective)
    objective.check(config)
    watch = watch or _unwatched
    if objective.draws(config) is None:
        data, development, held_out = joint_data(config, run_dir, sources, jobs=jobs, watch=watch)
    else:
        data, development, held_out = target_data(
            config, run_dir, sources, jobs=jobs, watch=watch, on_found=on_found or (lambda found: None)
        )
    scored_on = keep_development(run_dir, sources.development, development, limit=sources.development_limit)
    write_recipe(run_dir, config)
    return TrainingRun(config, run_dir, data, development, held_out, scored_on)


def _unwatched(what: str, items: Iterable[Any], total: int) -> Iterable[Any]:
    return items
