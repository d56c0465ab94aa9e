"""What travels between driver and workers: tasks one way, receipts the other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from stemfeatures._util.urls import Place
from stemfeatures.audio import AudioLimits
from stemfeatures.models.precision import FLOAT32
from stemfeatures.tables.parts import PartFile
from stemfeatures.tables.rows import Provenance

from ..catalog.remote import CACHE_BYTES
from .tracing import Span


@dataclass(frozen=True)
class TrackTask:
    """One row of the catalogue, to be extracted.

    ``path`` is the file to open, ``source_uri`` what tables call it, ``attempt`` how often it has been tried with this,
    ``stems`` the folder with its stems, if they are there already, ``keep_stems`` the one to write them to,
    ``same_audio`` the rows whose files hold the same bytes: they get the rows of this one under their own ids.
    """

    track_id: str
    source_uri: str
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    weight_s: float = 0.0
    stems: str | None = None
    keep_stems: str | None = None
    same_audio: tuple[TrackTask, ...] = ()

    @property
    def rows(self) -> tuple[TrackTask, ...]:
        """This one, and those that share its audio."""
        return (self, *self.same_audio)


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to know; a few kB.

    Attributes
    ----------
    name : str
        In the names of its part files.
    tracks : tuple of TrackTask
        What to extract.
    dataset : Path or Url
        The features directory, absolute.
    model_path, provenance : str and Provenance
        The checkpoint; the digest in ``provenance`` is checked.
    device, batch_size : str and int
        See ``Analyser``.
    tables : tuple of str
        Data tables to write.
    track_timeout_s : float or None
        See :class:`~.prefetch.PrefetchStream`.
    separator : str or None
        What separates instead of the checkpoint; its digest in ``provenance`` is checked.
    limits : AudioLimits
        Of each file.
    stop_file : str or None
        The shard ends early, with what is finished, when this file of the dataset exists.
    cache_bytes : int
        Of audio in stores: no more is kept on the worker's machine.
    precision : str
        In which the network computes; ``auto``: as the worker's processor does best.
    traced : bool
        The receipt shall tell what took which time.
    """

    name: str
    tracks: tuple[TrackTask, ...]
    dataset: Place
    model_path: str
    provenance: Provenance
    device: str
    batch_size: int
    tables: tuple[str, ...]
    track_timeout_s: float | None = None
    separator: str | None = None
    limits: AudioLimits = field(default_factory=AudioLimits)
    stop_file: str | None = None
    cache_bytes: int = CACHE_BYTES
    precision: str = FLOAT32
    traced: bool = False

    def halves(self) -> tuple[ShardTask, ShardTask]:
        middle = len(self.tracks) // 2
        name, dot, number = self.name.partition(".")
        return (
            replace(self, name=f"{name}a{dot}{number}", tracks=self.tracks[:middle]),
            replace(self, name=f"{name}b{dot}{number}", tracks=self.tracks[middle:]),
        )

    def without(self, receipt: ShardReceipt) -> ShardTask | None:
        """What a receipt leaves to do, numbered behind a point; None when that is nothing."""
        done = {*receipt.audio_s, *(failure.track_id for failure in receipt.failures)}
        left = tuple(track for track in self.tracks if track.track_id not in done)
        name, _, number = self.name.partition(".")
        return replace(self, name=f"{name}.{int(number or 0) + 1}", tracks=left) if left else None


@dataclass(frozen=True)
class TrackFailure:
    """Why a track is in table ``errors``."""

    track_id: str
    source_uri: str
    stage: str
    error_type: str
    message: str


@dataclass(frozen=True)
class TrackOutcome:
    """The outcome of one track, passed to ``on_track`` as it happens."""

    track_id: str
    audio_s: float
    failure: TrackFailure | None = None

    def packed(self) -> dict[str, Any]:
        """The same in types of JSON."""
        return asdict(self)

    @classmethod
    def unpacked(cls, packed: dict[str, Any]) -> TrackOutcome:
        """What :meth:`packed` has made of one."""
        failure = packed["failure"]
        return cls(packed["track_id"], packed["audio_s"], None if failure is None else TrackFailure(**failure))


@dataclass
class ShardReceipt:
    """The outcome of a shard, or of those of its tracks that are finished.

    Attributes
    ----------
    name : str
        Of the task.
    parts : list of PartFile
        The files written, none of which counts yet.
    audio_s : dict
        Decoded seconds by track, for the tracks that succeeded.
    failures : list of TrackFailure
        The other ones.
    statuses : dict
        ``status`` of table ``tracks`` by track, for those that succeeded and are not ``ok``.
    stage_s : dict
        Seconds spent in ``decode`` (in other threads), ``wait`` (for them), ``analyse``, ``rows``, ``write``. On a GPU
        descriptors and ``rows`` are made in other threads, too.
    worker : str
        Host and process.
    stuck : bool
        A track was given up whose analysis still goes on in the process, which should be replaced. Tracks may be left.
    address : str
        Of the Dask worker, if it was one.
    span : Span or None
        What took which time, where the task asks for it.
    """

    name: str
    parts: list[PartFile] = field(default_factory=list)
    audio_s: dict[str, float] = field(default_factory=dict)
    failures: list[TrackFailure] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)
    worker: str = ""
    stuck: bool = False
    address: str = ""
    span: Span | None = None

    @property
    def n_tracks(self) -> int:
        return len(self.audio_s) + len(self.failures)
