"""Data of the objectives that learn one target: pairs, mixtures, solos and accompaniments, decoded to one store."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...datasets.multitrack import MultiTrack
from ...errors import TrainingError
from ..config import TrainConfig
from ..data.held_out import HeldOut, read_patterns
from ..data.recording_sources import find_pairs, find_recordings
from ..data.recording_store import RecordingStore, build_recording_store, is_recording_store
from ..data.stem_sum import StemSum
from ..objectives.find import find_objective
from ..objectives.target_networks import grid_of
from ..training_data import TrainingData
from .development import require_apart
from .sources import RECORDING_KINDS, FoundRecordings, TrainingSources, Watch

log = logging.getLogger(__name__)

_HELD_OUT = "held_out.json"


def target_data(
    config: TrainConfig,
    run_dir: Path,
    sources: TrainingSources,
    *,
    jobs: int,
    watch: Watch,
    on_found: Callable[[FoundRecordings], None],
) -> tuple[TrainingData, Sequence[MultiTrack], list[str]]:
    """What the recipe's objective draws from, the development songs, and the patterns of what was held out."""
    wanted = _wanted(config, sources)
    held_out = HeldOut(read_patterns(sources.held_out))
    development = find_pairs(sources.development, config.target) if sources.development else []
    store_dir = _store_dir(run_dir)
    before = _noted(store_dir)
    if not sources.recordings() and is_recording_store(store_dir):
        store, matched = RecordingStore(store_dir), before["matched"]
        _require_known(held_out, before, wanted, store_dir)
    else:
        found = _find_all(config, sources, wanted, held_out, on_found)
        matched = sorted(held_out.matched)
        if (run_dir / "last.pt").is_file() and (added := sorted(set(matched) - set(before["matched"]))):
            raise TrainingError(
                f"the run has learned from what the held-out pattern {added[0]} names; choose another run directory",
                source=str(run_dir),
            )
        if idle := [pattern for pattern in held_out.patterns if pattern not in matched]:
            log.warning("%s: no recording matches %s", sources.held_out, ", ".join(map(repr, idle)))
        if (run_dir / "last.pt").is_file() and is_recording_store(store_dir):
            _require_all(RecordingStore(store_dir), found, run_dir)
        tracks = [getattr(source, "track", source) for some in found.values() for source in some]
        names = {(track.dataset, track.name) for track in tracks if not isinstance(track, Path)}
        _require_apart(sources, development, names)  # before the work, as far as names go
        store = build_recording_store(
            store_dir,
            target=config.target,
            sample_rate=grid_of(config)[0],
            pairs=found.pop("pairs", []),
            unpaired=found,
            jobs=jobs,
            progress=partial(watch, "recordings"),
        )
        noted = json.dumps({"patterns": held_out.patterns, "matched": matched}, indent=1)
        (store_dir / _HELD_OUT).write_text(noted + "\n", encoding="utf-8")
    _require_songs(config, store)
    recordings = [recording for kind in wanted for recording in store.recordings[kind]]
    names = {(recording.dataset, recording.name) for recording in recordings}
    _require_apart(sources, development, names, {digest for recording in recordings for digest in recording.digests})
    return TrainingData(recordings=store), development, matched


def _store_dir(run_dir: Path) -> Path:
    """Where a run has its recordings; ``parts`` where an earlier version put them."""
    earlier = run_dir / "parts"
    return earlier if is_recording_store(earlier) else run_dir / "recordings"


def _wanted(config: TrainConfig, sources: TrainingSources) -> list[str]:
    """The kinds of recordings that the objective learns from."""
    values = {"data": sources.sounds, "songs": sources.songs, "bank": sources.bank}
    if joint := [name for name, value in values.items() if value]:
        raise TrainingError(f"the objective {config.objective} takes no {', '.join(joint)}; multitracks are pairs")
    draws = find_objective(config.objective).draws(config)
    wanted = [kind for kind in RECORDING_KINDS if getattr(draws, kind)]
    if unused := [kind for kind in sources.recordings() if kind not in wanted]:
        raise TrainingError(f"the objective {config.objective} learns nothing from {', '.join(unused)}")
    if sources.held_out is not None and not sources.held_out.is_file():
        raise TrainingError("no such file", source=str(sources.held_out))
    return wanted


def _noted(store_dir: Path) -> dict[str, list[str]]:
    """The patterns that a store was built with, and those of them that matched."""
    path = store_dir / _HELD_OUT
    if not path.is_file():
        return {"patterns": [], "matched": []}
    noted: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return noted


def _require_known(held_out: HeldOut, before: dict[str, list[str]], wanted: list[str], store_dir: Path) -> None:
    """TrainingError for patterns that a store, whose sources are not given now, was not built with."""
    if added := sorted(set(held_out.patterns) - set(before["patterns"])):
        raise TrainingError(
            f"the recordings were chosen without the held-out pattern {added[0]}; say where they came from "
            f"({', '.join(wanted)}), and choose another run directory if the run has learned from them",
            source=str(store_dir),
        )


def _find_all(
    config: TrainConfig,
    sources: TrainingSources,
    wanted: list[str],
    held_out: HeldOut,
    on_found: Callable[[FoundRecordings], None],
) -> dict[str, list[Any]]:
    given = sources.recordings()
    if missing := [kind for kind in wanted if kind not in given]:
        needs = "; ".join(f"{kind} ({RECORDING_KINDS[kind].partition(':')[0]})" for kind in missing)
        raise TrainingError(f"the objective {config.objective} needs {needs}")
    found = {}
    for kind, specs in given.items():
        recordings = _find(kind, specs, config.target, held_out)
        if not recordings.kept:
            raise TrainingError(
                f"the held-out patterns leave none of the {recordings.n_held_out} {kind}", source=str(sources.held_out)
            )
        on_found(recordings)
        found[kind] = recordings.kept
    return found


def _find(kind: str, specs: Sequence[str], target: str, held_out: HeldOut) -> FoundRecordings:
    """The recordings of a kind that are not held out."""
    there: list[Any] = []
    if kind == "pairs":
        there += [track for spec in specs for track in find_pairs(spec, target)]
    else:
        there += find_recordings(specs, kind, target)
    kept = [source for source in there if not held_out(source, specs)]
    n_songs = len(kept) if kind == "pairs" else sum(isinstance(source, StemSum) for source in kept)
    return FoundRecordings(kind, kept, n_songs, len(there) - len(kept))


def _require_all(before: RecordingStore, found: dict[str, list[Any]], run_dir: Path) -> None:
    """TrainingError where a run has learned from what is not given any more: its card would not tell of that."""
    missing = []
    for kind, sources in found.items():
        tracks = [getattr(source, "track", source) for source in sources]
        now = {(t.parent.name, t.name) if isinstance(t, Path) else (t.dataset, t.name) for t in tracks}
        missing += [f"{r.dataset}/{r.name} ({kind})" for r in before.recordings[kind] if (r.dataset, r.name) not in now]
    if missing:
        which = "recording that is" if len(missing) == 1 else "recordings that are"
        raise TrainingError(
            f"the run has learned from {len(missing):,} {which} not given now, such as {missing[0]}; give all, or none "
            "to go on with them, or choose another run directory",
            source=str(run_dir),
        )


def _require_songs(config: TrainConfig, store: RecordingStore) -> None:
    """TrainingError where the pairs are of fewer songs than the objective can learn from."""
    draws = find_objective(config.objective).draws(config)
    songs = {(pair.dataset, pair.name) for pair in store.recordings["pairs"]}
    if draws is not None and draws.pairs and len(songs) < draws.pair_songs:
        raise TrainingError(
            f"the objective {config.objective} needs pairs of {draws.pair_songs} songs at least, to tell what belongs "
            f"together from what does not; there is {len(songs)}",
            source=str(store.path),
        )


def _require_apart(
    sources: TrainingSources,
    development: Sequence[MultiTrack],
    names: set[tuple[str, str]],
    digests: set[str] | frozenset[str] = frozenset(),
) -> None:
    hint = "; held-out patterns keep songs from that by name"
    require_apart(sources.development, development, names, digests, hint=hint)
