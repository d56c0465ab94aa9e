"""The state of a run under way, and its summary at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stemfeatures._util.urls import Place
from stemfeatures.tables.failures import failure_reason

from .tasks import TrackFailure


@dataclass(frozen=True)
class ExtractProgress:
    """Where a run stands; handed to ``progress`` after every track (in a loop) and every commit.

    Attributes
    ----------
    state : str
        ``"starting"`` (workers and models), ``"running"``, ``"stopping"`` (after Ctrl-C), ``"finished"``; ``"probing"``
        in a dry run, where all else counts files that were opened.
    n_total : int
        Rows of the catalogue (after ``limit``).
    n_skipped : int
        Rows that were done before, or are known to fail and not tried again.
    n_done, n_failed : int
        Tracks this run has extracted, and could not extract.
    audio_s : float
        Decoded audio of the extracted tracks, in seconds.
    elapsed_s : float
        Seconds since the first track was begun (loading the model does not count).
    n_workers : int
        Processes at work.
    eta_s : float or None
        Estimated seconds to the end, None while unknown.
    """

    state: str
    n_total: int
    n_skipped: int = 0
    n_done: int = 0
    n_failed: int = 0
    audio_s: float = 0.0
    elapsed_s: float = 0.0
    n_workers: int = 1
    eta_s: float | None = None

    @property
    def times_real_time(self) -> float | None:
        """Seconds of audio a second; None before the first track."""
        return self.audio_s / self.elapsed_s if self.audio_s and self.elapsed_s > 0 else None


@dataclass(frozen=True)
class ErrorGroup:
    """Failures of one kind: ``n`` tracks, the file and message of the first, and what they come down to."""

    stage: str
    error_type: str
    n: int
    example_source_uri: str
    example_message: str
    reason: str = ""


@dataclass(frozen=True)
class PlannedShard:
    """One shard of a dry run: its tracks, their number and estimated audio in seconds."""

    name: str
    n_tracks: int
    audio_s: float
    track_ids: tuple[str, ...]


@dataclass
class ExtractSummary:
    """What a run did.

    Attributes
    ----------
    run_id : str or None
        Its row in table ``runs``; None for dry runs, and where there was nothing to do.
    out_dir : path
        The features directory.
    n_total : int
        Rows of the catalogue (after ``limit``) = ``n_done + n_skipped + n_failed + n_known_failed``, and what is left
        undone by an interrupted or dry run.
    n_done, n_failed : int
        Tracks this run put into ``tracks``, and into ``errors``.
    n_skipped : int
        Rows that were done before and have not changed.
    n_known_failed : int
        Rows that failed before and were not tried again (``retry_failed=False``).
    by_status : dict
        Number of the tracks of ``n_done`` that are not ``ok``, by their ``status`` in table ``tracks``.
    errors : list of ErrorGroup
        Failures of this run by stage and type, most frequent first; of a dry run those that can be foreseen: rows that
        name no file, and files that are missing, empty, no regular files or cannot be opened as audio.
    audio_s : float
        Decoded audio of the tracks done by this run, in seconds.
    wall_s : float
        Seconds the run took, all in all.
    table_rows : dict
        Live rows of each table of the dataset after the run.
    planned : list of PlannedShard
        Shards of a dry run.
    interrupted : bool
        Stopped by Ctrl-C, SIGTERM or SIGHUP; what was finished is committed.
    n_metadata_changed : int
        Skipped rows whose catalogue columns differ from those stored in ``tracks``.
    n_dropped : int
        Rows that were left out (``on_duplicate``), which no other number counts.
    n_same_audio : int
        Rows whose file holds the bytes of another's that is extracted too: analysed once, a row each.
    outdated : dict
        Number of tracks that were extracted before and are extracted again, by reason.
    device, n_workers, model, precision : str and int
        What it ran on.
    device_why : str
        Why on this device, where that was measured.
    stage_s : dict
        Seconds by stage, added up over all workers: ``decode`` (ahead of the network, in threads), ``wait`` (for it),
        ``analyse``, ``rows``, ``write``.
    """

    run_id: str | None
    out_dir: Place
    n_total: int = 0
    n_done: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_known_failed: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    errors: list[ErrorGroup] = field(default_factory=list)
    audio_s: float = 0.0
    wall_s: float = 0.0
    table_rows: dict[str, int] = field(default_factory=dict)
    planned: list[PlannedShard] = field(default_factory=list)
    interrupted: bool = False
    n_metadata_changed: int = 0
    n_dropped: int = 0
    n_same_audio: int = 0
    outdated: dict[str, int] = field(default_factory=dict)
    device: str = "cpu"
    n_workers: int = 1
    model: str = ""
    precision: str = "float32"
    stage_s: dict[str, float] = field(default_factory=dict)
    device_why: str = ""

    def add(self, part: ExtractSummary) -> None:
        """Count what a further portion of the catalogue has come to; rows of all portions are counted already."""
        self.run_id = part.run_id or self.run_id
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(part, name))
        for name in ("by_status", "outdated", "stage_s"):
            kept: dict[str, float] = getattr(self, name)
            for key, value in getattr(part, name).items():
                kept[key] = kept.get(key, 0) + value
        self.errors = merged([*self.errors, *part.errors])
        self.planned += part.planned
        self.table_rows = part.table_rows
        self.interrupted = part.interrupted
        self.device, self.n_workers = part.device, part.n_workers
        self.device_why = part.device_why or self.device_why  # said of the first one: the others are on its device
        self.model, self.precision = part.model, part.precision

    def progress_of_part(self, progress: Callable[[ExtractProgress], None]) -> Callable[[ExtractProgress], None]:
        """``progress`` for the next portion: with what the ones before have come to."""
        before = replace(self)

        def report(part: ExtractProgress) -> None:
            n_before = before.n_done + before.n_failed + before.n_skipped + before.n_known_failed
            n_now = n_before + part.n_skipped + part.n_done + part.n_failed
            eta_s = None
            if part.eta_s is not None and (todo := part.n_total - part.n_skipped):  # as if all rows that come cost so
                later = before.n_total - n_before - part.n_total
                eta_s = part.eta_s + later * (part.elapsed_s + part.eta_s) / todo
            progress(
                replace(
                    part,
                    state="running" if part.state == "finished" and n_now < before.n_total else part.state,
                    n_total=before.n_total,
                    n_skipped=part.n_skipped + before.n_skipped + before.n_known_failed,
                    n_done=part.n_done + before.n_done,
                    n_failed=part.n_failed + before.n_failed,
                    audio_s=part.audio_s + before.audio_s,
                    elapsed_s=part.elapsed_s + before.wall_s,
                    eta_s=eta_s,
                )
            )

        return report

    @property
    def nothing_to_do(self) -> bool:
        """Every row was done before."""
        return self.n_skipped == self.n_total

    @property
    def times_real_time(self) -> float | None:
        return self.audio_s / self.wall_s if self.audio_s and self.wall_s > 0 else None


class ExtractInterrupted(KeyboardInterrupt):
    """Raised after Ctrl-C, SIGTERM or SIGHUP, when what was finished has been committed.

    Attributes
    ----------
    summary : ExtractSummary
        What was committed.
    """

    def __init__(self, summary: ExtractSummary) -> None:
        saved = summary.n_done + summary.n_failed
        left = summary.n_total - saved - summary.n_skipped - summary.n_known_failed
        super().__init__(
            f"interrupted: {saved:,} of {saved + left:,} tracks were saved, {left:,} are left; "
            "the same command goes on where this one stopped"
        )
        self.summary = summary


#: What adds up over the portions of a catalogue.
_COUNTS = (
    "n_done", "n_skipped", "n_failed", "n_known_failed", "audio_s", "wall_s", "n_metadata_changed", "n_same_audio"
)  # fmt: skip


def merged(groups: list[ErrorGroup]) -> list[ErrorGroup]:
    """Groups of several portions: one for each reason, most frequent first."""
    found: dict[tuple[str, str, str], ErrorGroup] = {}
    for group in groups:
        key = (group.stage, group.error_type, group.reason)
        found[key] = replace(found[key], n=found[key].n + group.n) if key in found else group
    return [found[key] for key in sorted(found, key=lambda key: (-found[key].n, key))]


def grouped(failures: list[TrackFailure]) -> list[ErrorGroup]:
    """Failures by reason, most frequent first."""
    groups: dict[tuple[str, str, str], list[TrackFailure]] = {}
    for f in failures:
        reason = failure_reason(f.stage, f.error_type, f.message)
        groups.setdefault((f.stage, f.error_type, reason), []).append(f)
    return [
        ErrorGroup(stage, error_type, len(some), some[0].source_uri, some[0].message, reason)
        for (stage, error_type, reason), some in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
