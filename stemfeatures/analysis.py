"""The ladder of one track: ``from_audio`` -> ``from_file``; a catalogue is :func:`pipelines.extract_catalog`.

:class:`Analyser` keeps a network loaded and adds one concern a level: arrays, streams, files, many files whose
segments share network batches. The two functions are for a single call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch

from ._util.constants_of import constants_of, data_files, digests_of, modules_of
from ._util.files import printable_name
from .audio import AudioInfo, AudioLimits, AudioStream, as_signal, audio_identity, open_audio
from .audio.streams import MAX_PEAK, MOST_PEAK, range_message
from .constants import MIXTURE
from .descriptors import LoudnessMeter
from .descriptors.describe import describe
from .descriptors.polyphony import POLYPHONIC_NOTES
from .descriptors.registry import descriptor_fields
from .descriptors.series import SERIES
from .descriptors.types import Events, F0Contour, TrackDescription
from .descriptors.voices import FURTHER_VOICES
from .errors import AudioError, EmptyAudioError, ModelError, StemfeaturesError
from .frames import TrackFrames
from .frames.builder import FrameBuilder
from .frames.further_voices import voice_weights
from .frames.polyphony import note_weights
from .inference.front_end import FrontEnd, MonoSignal
from .inference.segments import Frames, Segment, SegmentRunner, SegmentTrack
from .models import checkpoints
from .models.precision import FLOAT32, resolved_precision
from .separation.external import ExternalSeparator, open_external
from .separation.given_stems import StemArrays, StemFolder, further_stems, joined, origin, wiener_masks
from .separation.kept_stems import StemKeeper

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .separation.target_masks import TargetMasks

#: Raised by whoever changes what the code computes: ``tests/test_golden_values.py`` fails until it is.
ANALYSIS_VERSION = 20
#: Modules and packages between the decoder and the tables, whose constants, and files that lie beside them, can change
#: a value.
STAGES = (
    "stemfeatures.constants",
    "stemfeatures.audio.resampling",
    "stemfeatures.spectra",
    "stemfeatures.inference",
    "stemfeatures.models.joint",
    "stemfeatures.models.level_prior",
    "stemfeatures.models.harmonic_prior",
    "stemfeatures.models.transient_prior",
    "stemfeatures.models.similarity_prior",
    "stemfeatures.models.low_prior",
    "stemfeatures.models.mask_factors",
    "stemfeatures.models.refiner",
    "stemfeatures.models.notes",
    "stemfeatures.models.voices",
    "stemfeatures.separation.mask_transfer",
    "stemfeatures.separation.target_masks",
    "stemfeatures.frames",
    "stemfeatures.descriptors",
    "stemfeatures.analysis",
)
#: A track shorter than this is analysed, but its status says so.
MIN_DURATION_S = 0.5


def analysis_settings() -> dict[str, Any]:
    """All that decides a value, besides the audio and the checkpoint.

    Returns
    -------
    dict
        ``analysis_version``, the version of the code's results; ``constants``, what the stages declare, by name;
        ``weights``, the SHA-256 of each file with what they have learned; and ``fields``, the names of the descriptors.
        In the types of JSON.

    Examples
    --------
    >>> analysis_settings()["constants"]["ANALYSIS_SAMPLE_RATE"]
    [22050]
    """
    stages = modules_of(STAGES)
    return {
        "analysis_version": ANALYSIS_VERSION,
        "constants": constants_of(stages),
        "weights": digests_of([*data_files(stages), note_weights(), voice_weights()]),
        "fields": [f.name for f in descriptor_fields()],
    }


@dataclass(kw_only=True, repr=False)
class TrackAnalysis(TrackDescription):
    """Everything known of one track.

    Attributes
    ----------
    frames : TrackFrames
        What the descriptors were computed from.
    status : str
        ``"ok"``, ``"truncated"`` (the file ends before its declared length), ``"out_of_range"`` (samples far beyond
        full scale, as where integers were stored as floating point), ``"silent"`` (nothing above -60 dBFS) or
        ``"too_short"`` (under 0.5 s).
    info : AudioInfo or None
        Of the file; None for arrays.
    sha256 : str or None
        Of the file's bytes, or of the array.
    decoded_duration_s : float
        Of the decoded signal.
    sample_rate, channels : int
        Of the decoded signal.
    message : str
        What the decoder had to say, if anything.
    separator, separator_version, separator_sha256 : str or None
        Where the stems come from, if not from the checkpoint: name, version and digest of the weights, or, of a folder
        of stems, ``"stems"`` and the digest of what it holds.
    polarity_inverted_ratio : float
        Share of the track in which a channel was inverted before the mean, since the channels cancel; 0..1.
    dc_offset : float
        Largest absolute mean of a channel, full scale = 1.
    precision : str
        In which the network computed, ``"float32"`` or ``"bfloat16"``.
    """

    frames: TrackFrames
    status: str = "ok"
    info: AudioInfo | None = None
    sha256: str | None = None
    decoded_duration_s: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    message: str = ""
    separator: str | None = None
    separator_version: str | None = None
    separator_sha256: str | None = None
    polarity_inverted_ratio: float = 0.0
    dc_offset: float = 0.0
    precision: str = FLOAT32

    def _of(self) -> str:
        return f" of {'an array' if self.info is None else repr(printable_name(self.info.path.name))}"

    def _facts(self) -> list[str]:
        return [f"{self.decoded_duration_s:.1f} s", self.status]

    def plot(
        self,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        words: Sequence[Mapping[str, Any]] = (),
        title: str | None = None,
    ) -> Figure:
        """Draw the track: spectra of the stems with F0, onsets, beats and bars; chords, sections, words, presence.

        Parameters
        ----------
        start_s, end_s : float, optional
            The part that is drawn, in seconds; the whole track by default.
        words : sequence of mapping, optional
            Words in time, as ``stemfeatures align`` gives them.
        title : str, optional
            What the track is called; the name of its file by default.

        Returns
        -------
        matplotlib.figure.Figure
            ``figure.savefig("track.png")`` writes it. Needs the extra ``report``.
        """
        from .plots.track import plot_track

        mixture = self.stems[MIXTURE]
        facts = [title] if title is not None else [printable_name(self.info.path.name)] if self.info is not None else []
        facts += [f"{mixture['tempo_bpm']:.1f} bpm"] if mixture.get("tempo_bpm") else []
        facts += [str(mixture["key"]).replace(":", " ")] if mixture.get("key") else []
        title = "  ·  ".join(facts)
        return plot_track(self, self.frames, title=title, start_s=start_s, end_s=end_s, words=words)

    @property
    def description(self) -> TrackDescription:
        """The descriptors alone."""
        return TrackDescription(self.stems, self.contours, self.events, self.embeddings, self.tables)


@dataclass(frozen=True)
class TrackStems:
    """Stems of one track: where they come from, and where they go.

    Attributes
    ----------
    given : StemFolder, StemArrays or None
        The stems that are there already; None: they are separated.
    keep : Path or None
        Folder to write them to as ``<stem>.wav``; None: they are not kept.
    """

    given: StemFolder | StemArrays | None = None
    keep: Path | None = None

    @classmethod
    def of(cls, given: str | Path | None = None, keep: str | Path | None = None) -> TrackStems:
        """The stems in a folder.

        Parameters
        ----------
        given : str or Path, optional
            Folder that holds them.
        keep : str or Path, optional
            Folder to write them to.

        Returns
        -------
        TrackStems
            Checked.

        Raises
        ------
        SeparationError
            There are no stems in the folder.
        """
        return cls(None if given is None else StemFolder(given), None if keep is None else Path(keep))


#: A key, a path or an open stream, and perhaps the stems.
_Source: TypeAlias = tuple[Any, str | Path | AudioStream] | tuple[Any, str | Path | AudioStream, TrackStems]


@dataclass
class _Blocks:
    """An array as a stream."""

    y: np.ndarray
    sample_rate: int

    def __iter__(self) -> Iterator[np.ndarray]:
        size = max(1, 10 * self.sample_rate)
        return (self.y[:, i : i + size] for i in range(0, self.y.shape[1], size))


class Preparation:
    """What samples alone tell, ahead of any network: their loudness, and the mono signal that is analysed.

    Parameters
    ----------
    sample_rate : int
        Of the track in Hz.
    channels : int
        Number of its channels.
    n_stems : int, default=0
        Stems that come with it.

    Raises
    ------
    ValueError
        A sample rate or a number of channels that cannot be measured.
    """

    def __init__(self, sample_rate: int, channels: int, n_stems: int = 0) -> None:
        self.meter = LoudnessMeter(sample_rate, channels)
        self.mono = MonoSignal(sample_rate, 1 + n_stems)

    def push(self, block: np.ndarray, stems: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Take further samples.

        Parameters
        ----------
        block : np.ndarray
            ``(channels, n)`` of the track.
        stems : sequence of np.ndarray, optional
            The same of its stems.

        Returns
        -------
        np.ndarray
            ``(1 + n_stems, k)`` what follows of the mono signals at 22,050 Hz.
        """
        self.meter.update(block)
        return self.mono.push(block, stems)


@runtime_checkable
class PreparedStream(Protocol):
    """A stream whose blocks went through a :class:`Preparation` in the thread that decodes them.

    Attributes
    ----------
    preparation : Preparation or None
        Of the blocks that were handed out, and as complete as they are; None: they have not been prepared.
    mono : np.ndarray
        What :meth:`Preparation.push` gave for the block that was handed out last.
    """

    preparation: Preparation | None
    mono: np.ndarray


class Analyser:
    """A loaded network and all that turns audio into descriptors.

    Parameters
    ----------
    model : str or Path
        Name of a checkpoint or path to one. One that separates a single target goes with the default joint
        one, see :func:`.models.checkpoints.resolve_analysis`.
    device : str
        Torch device.
    batch_size : int
        Segments a forward pass. With 1 a track's values do not depend on its neighbours to the last bit. Segments of
        one call share a pass: of one track, or of the tracks of :meth:`many`.
    separator : str or ExternalSeparator, optional
        What separates instead of the checkpoint, such as ``"demucs:htdemucs"`` or ``"package.module:function"``; see
        :mod:`.separation.external`. F0, rhythm and embeddings are those that the checkpoint reads from these stems.
    requested : iterable of str
        Tables of events to compute although they are made on request only, such as ``series``.
    precision : str
        In which the network computes on a CPU, see :mod:`.models.precision`: ``"float32"``, in which all machines have
        the same values, ``"bfloat16"``, or ``"auto"``, by the processor, as ``extract`` does.

    Attributes
    ----------
    precision : str
        ``"float32"`` or ``"bfloat16"``.

    Raises
    ------
    ModelError
        When the checkpoint or the separator cannot be used.

    Notes
    -----
    Threads may share one, with the values that each would have alone; a separator of another package must allow it.
    """

    def __init__(
        self, model: str | Path = checkpoints.DEFAULT_MODEL, *, device: str = "cpu", batch_size: int = 1,
        separator: str | ExternalSeparator | None = None, requested: Iterable[str] = (),
        precision: str = FLOAT32,
    ) -> None:  # fmt: skip
        self.requested = tuple(requested)
        self.checkpoint, target = checkpoints.resolve_analysis(model)
        self.device = device
        joint = self.checkpoint if target is None else checkpoints.DEFAULT_MODEL
        self.net = checkpoints.load_for_inference(joint, device=device, precision=precision)
        self.precision = resolved_precision(precision, device)
        self.separator = open_external(separator, device=device) if isinstance(separator, str) else separator
        self._target: TargetMasks | None = None
        if target is not None:
            if separator is not None:
                raise ModelError("it separates itself: use it without another separator", source=str(target.path))
            from .separation.target_masks import TargetMasks

            self._target = TargetMasks(target.path, device=device)
        self.batch_size = batch_size

    def _masks(self, segment: Segment) -> dict[str, torch.Tensor]:
        """Masks that the network does not estimate itself."""
        if segment.stems is not None:
            return wiener_masks(segment.spectrum, segment.stems, segment.stem_names)
        return {} if self._target is None else self._target(segment.spectrum)

    def new_runner(self) -> SegmentRunner:
        """What takes tracks through the network; each call has one of its own, so that threads share no batches.

        Returns
        -------
        SegmentRunner
            Without segments.
        """
        return SegmentRunner(self.net, device=self.device, batch_size=self.batch_size, masks=self._masks)

    def further_stems(self, stems: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Rows beside ``STEM_ROWS`` that a track gets.

        Parameters
        ----------
        stems : tuple of str, optional
            Names of the stems that come with the track.

        Returns
        -------
        tuple of str
            In the order of their rows.
        """
        if not stems and self._target is not None:
            stems = (self._target.target,)
        return further_stems(stems)

    def configure(self, *, batch_size: int | None = None, requested: Iterable[str] | None = None) -> None:
        """Change what later calls do; those that run already go on as they began.

        Parameters
        ----------
        batch_size : int, optional
            Segments a forward pass; as before by default.
        requested : iterable of str, optional
            Tables on request that are computed; as before by default.
        """
        if batch_size is not None:
            self.batch_size = batch_size
        if requested is not None:
            self.requested = tuple(requested)

    def from_audio(
        self, y: np.ndarray, sample_rate: int, *, stems: Mapping[str, np.ndarray] | None = None
    ) -> TrackAnalysis:
        """Analyse an array.

        Parameters
        ----------
        y : np.ndarray
            (n_samples,) or (channels, n_samples), floating point (full scale 1.0) or signed integers.
        sample_rate : int
            Rate of the signal in Hz.
        stems : dict of str to np.ndarray, optional
            Its stems, if they are known: each ``(n_samples,)`` or ``(channels, n_samples)``, as long as ``y``. See
            :mod:`.separation.given_stems` for what their names mean.

        Returns
        -------
        TrackAnalysis
            Descriptors, contours, events and embeddings of mixture and stems.

        Raises
        ------
        AudioError
            When there are no samples, NaN or infinity among them, or such as are beyond all scales.
        TypeError, ValueError
            When it is not such an array (see :func:`stemfeatures.audio.as_signal`), or a stem has another length.
        """
        signal, sample_rate = as_signal(y, sample_rate), int(sample_rate)
        given = TrackStems(None if stems is None else StemArrays(stems, sample_rate, signal.shape[1]))
        runner = self.new_runner()
        job = _Job(self, runner, _Blocks(signal, sample_rate), sample_rate, signal.shape[0], given)
        job.run()
        runner.flush()
        result = job.finish()
        result.sha256 = audio_identity(signal, sample_rate)
        return result

    def from_stream(
        self,
        stream: AudioStream,
        *,
        stems: TrackStems | None = None,
        on_frames: Callable[[Frames], None] | None = None,
        on_progress: Callable[[float, float | None], None] | None = None,
    ) -> TrackAnalysis:
        """Analyse an open stream.

        Parameters
        ----------
        stream : AudioStream
            What :func:`stemfeatures.audio.open_audio` gives; it is read to its end.
        stems : TrackStems, optional
            Stems of the track that are there already, or are to be kept.
        on_frames : callable, optional
            Called with what the network says of further frames, in order and without gaps.
        on_progress : callable, optional
            Called with the seconds that went through the network, and with those that the file says it has (None: it
            does not).

        Returns
        -------
        TrackAnalysis
            Descriptors, contours, events and embeddings of mixture and stems.

        Raises
        ------
        AudioError
            When it cannot be decoded or holds unusable samples; the message names the file.
        SeparationError
            When its stems have another length, or none could be separated.
        """
        runner = self.new_runner()
        job = _Job(self, runner, stream, stream.info.sample_rate, stream.info.channels, stems, on_frames)
        declared = stream.info.declared_duration_s
        try:
            job.run(None if on_progress is None else lambda seconds: on_progress(seconds, declared))
            runner.flush()
            return job.finish(stream)
        except BaseException as error:
            job.abort()
            if isinstance(error, StemfeaturesError) and error.source is None:
                error.about(stream.name)
            raise

    def from_file(
        self,
        path: str | Path,
        *,
        timeout_s: float | None = None,
        limits: AudioLimits | None = None,
        stems: str | Path | None = None,
        keep_stems: str | Path | None = None,
        on_progress: Callable[[float, float | None], None] | None = None,
    ) -> TrackAnalysis:
        """Analyse a file.

        Parameters
        ----------
        path : str or Path
            The audio file.
        timeout_s : float, optional
            Longest time to wait for the decoder, in seconds.
        limits : AudioLimits, optional
            What the file may be; six hours and 64 channels, if not given.
        stems : str or Path, optional
            Folder with the stems of the track, ``<stem>.<suffix>``; they take the place of any separator.
        keep_stems : str or Path, optional
            Folder to write the stems to, as ``<stem>.wav``.
        on_progress : callable, optional
            See :meth:`from_stream`.

        Returns
        -------
        TrackAnalysis
            Descriptors, contours, events and embeddings of mixture and stems.

        Raises
        ------
        AudioError
            When it cannot be decoded or holds unusable samples; the message names the file.
        SeparationError
            When the folder holds no stems, or such of another length.
        """
        with open_audio(path, timeout_s=timeout_s, **vars(limits or AudioLimits())) as stream:
            return self.from_stream(stream, stems=TrackStems.of(stems, keep_stems), on_progress=on_progress)

    def many(
        self,
        sources: Iterable[_Source],
        *,
        on_frames: Callable[[Any, Frames], None] | None = None,
    ) -> Iterator[tuple[Any, TrackAnalysis | Exception]]:
        """Analyse several tracks, their segments sharing network batches.

        Parameters
        ----------
        sources : iterable of tuple
            Pairs of a key of your choice and a path (or an open stream), e.g. ``enumerate(paths)``; a third item is a
            :class:`TrackStems`.
        on_frames : callable, optional
            Called with a key and what the network says of further frames of its track, in order and without gaps.

        Yields
        ------
        tuple[object, TrackAnalysis or Exception]
            ``(key, TrackAnalysis)``, or ``(key, error)`` for a track that failed, in the order in which they are
            complete.
        """
        for key, found in self.undescribed(sources, on_frames=on_frames):
            if isinstance(found, Exception):
                yield key, found
                continue
            try:
                result: TrackAnalysis | Exception = found.describe()
            except Exception as error:
                result = error
            del found  # its frames shall not wait beside those of the next one
            yield key, result

    def undescribed(
        self, sources: Iterable[_Source], *, on_frames: Callable[[Any, Frames], None] | None = None
    ) -> Iterator[tuple[Any, UndescribedTrack | Exception]]:
        """:meth:`many`, but the descriptors are left to do: elsewhere, while the network goes on.

        Parameters
        ----------
        sources : iterable of tuple
            See :meth:`many`.
        on_frames : callable, optional
            See :meth:`many`.

        Yields
        ------
        tuple[object, UndescribedTrack or Exception]
            ``(key, track)``, or ``(key, error)``, in the order in which their frames are complete.
        """
        waiting: list[tuple[Any, _Job, AudioStream]] = []
        runner = self.new_runner()

        def completed() -> Iterator[tuple[Any, UndescribedTrack]]:
            while waiting and waiting[0][1].complete:
                key, job, stream = waiting.pop(0)
                yield key, UndescribedTrack(job, stream)

        def lost(error: Exception) -> Iterator[tuple[Any, Exception]]:
            """Tracks that had segments in a batch that failed, and will never be complete."""
            for one in [w for w in waiting if not w[1].complete and not runner.holds(w[1].track)]:
                waiting.remove(one)
                key, job, stream = one
                job.abort()
                yield key, error.about(stream.name) if isinstance(error, StemfeaturesError) else error

        try:
            for key, source, *stems in sources:
                try:
                    stream = source if isinstance(source, AudioStream) else open_audio(source)
                    with stream:
                        heard = None if on_frames is None else partial(on_frames, key)
                        given = stems[0] if stems else None
                        job = _Job(self, runner, stream, stream.info.sample_rate, stream.info.channels, given, heard)
                        try:
                            job.run()
                        except Exception:
                            runner.forget(job.track)
                            job.abort()
                            raise
                except Exception as error:
                    yield key, error
                    yield from lost(error)
                    yield from completed()
                    continue
                waiting.append((key, job, stream))
                del job
                yield from completed()
            try:
                runner.flush()
            except Exception as error:
                yield from lost(error)
            yield from completed()
        finally:
            for _, job, _ in waiting:
                job.abort()


class UndescribedTrack:
    """A track that has been through the network.

    Its descriptors may be computed in any thread, once. :meth:`Analyser.undescribed` makes it.
    """

    def __init__(self, job: _Job, stream: AudioStream) -> None:
        self._job: _Job | None = job
        self._stream = stream

    def describe(self) -> TrackAnalysis:
        """Compute the descriptors; nothing is held here afterwards.

        Returns
        -------
        TrackAnalysis
            Descriptors, contours, events and embeddings of mixture and stems.

        Raises
        ------
        StemfeaturesError
            They cannot be computed, or the stems not be kept.
        """
        job, self._job = self._job, None
        assert job is not None
        try:
            return job.finish(self._stream)
        except BaseException:
            job.abort()
            raise

    def drop(self) -> None:
        """Leave no stem files behind; no descriptors are wanted."""
        if self._job is not None:
            self._job.abort()


class _Job:
    """One track on its way: reads blocks, feeds the meter, the resampler and the segments."""

    def __init__(
        self, analyser: Analyser, runner: SegmentRunner, blocks: Iterable[np.ndarray], sample_rate: int, channels: int,
        stems: TrackStems | None = None, on_frames: Callable[[Frames], None] | None = None,
    ) -> None:  # fmt: skip
        self.on_frames = on_frames
        self.analyser, self.blocks, self.requested = analyser, blocks, analyser.requested
        self.sample_rate, self.channels = sample_rate, channels
        stems = stems or TrackStems()
        self.source = stems.given or analyser.separator
        names = () if self.source is None else self.source.stems
        self.builder = FrameBuilder(
            analyser.device, further=analyser.further_stems(names), sample_rate=sample_rate, channels=channels,
            notes=POLYPHONIC_NOTES in self.requested, voices=FURTHER_VOICES in self.requested,
            cells=SERIES in self.requested,
        )  # fmt: skip
        self.keeper = None
        if stems.keep is not None:
            self.keeper = StemKeeper(stems.keep, sample_rate, channels, stems=names, device=analyser.device)
        self.track = SegmentTrack(self._add, self.builder.add_features, stem_names=names)
        self.n_samples, self.peak = 0, 0.0
        self._prepared = blocks if isinstance(blocks, PreparedStream) and blocks.preparation and not names else None
        ahead = None if self._prepared is None else self._prepared.preparation
        self.preparation = ahead or Preparation(sample_rate, channels, len(names))
        mono = self.preparation.mono
        self.front_end = FrontEnd(sample_rate, runner, self.track, device=analyser.device, mono=mono)

    @property
    def complete(self) -> bool:
        return self.track.finished

    def _add(self, frames: Frames) -> None:
        self.builder.add(frames)
        if self.keeper is not None:
            self.keeper.add_masks(frames)
        if self.on_frames is not None:
            self.on_frames(frames)

    def abort(self) -> None:
        """Leave no stem files behind."""
        if self.keeper is not None:
            self.keeper.abort()

    @torch.inference_mode()
    def run(self, on_progress: Callable[[float], None] | None = None) -> None:
        """Read the track to its end and queue its segments."""
        for block, stems in self._joined():
            self._check_peak(block)
            self.n_samples += block.shape[1]
            mono = self._mono(block, stems)
            self.builder.push_channels(block)
            if self.keeper is not None:
                self.keeper.push(block, stems)
            self.front_end.push_mono(mono)
            if on_progress is not None:
                on_progress(self.n_samples / self.sample_rate)
        if self.n_samples == 0:
            raise EmptyAudioError("no samples to analyse")
        self.builder.finish_channels()
        self.front_end.finish()

    def _check_peak(self, block: np.ndarray) -> None:
        self.peak = max(self.peak, float(block.max(initial=0.0)), -float(block.min(initial=0.0)))
        if self.peak > MOST_PEAK:
            source = self.blocks.name if isinstance(self.blocks, AudioStream) else None
            message = f"samples reach {self.peak:.3g} times full scale, which no scale of integers explains"
            raise AudioError(message, source=source)

    def _mono(self, block: np.ndarray, stems: Mapping[str, np.ndarray] | None) -> np.ndarray:
        if self._prepared is not None:
            return self._prepared.mono
        return self.preparation.push(block, [(stems or {})[name] for name in self.track.stem_names])

    def _joined(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray] | None]]:
        if self.source is None:
            return ((block, None) for block in self.blocks)
        return joined(self.source, self.blocks, self.sample_rate, self.channels)

    @torch.inference_mode()
    def finish(self, stream: AudioStream | None = None) -> TrackAnalysis:
        """Descriptors, once all segments have run."""
        if self.keeper is not None:
            self.keeper.finish()
        frames = self.builder.finish(self.front_end.n_samples)
        frames.step_power = self.preparation.meter.step_power
        frames.true_peak = self.preparation.meter.true_peak
        frames.model = self.analyser.checkpoint.name
        frames.model_sha256 = self.analyser.checkpoint.sha256
        try:
            description = describe(frames, requested=self.requested)
        except StemfeaturesError:
            raise
        except Exception as error:
            source = stream.name if stream is not None else None
            message = f"{type(error).__name__}: {error}"
            raise StemfeaturesError(message, source=source, stage="describe") from error
        duration = self.n_samples / self.sample_rate
        downmix = self.preparation.mono.downmix
        status, message = "ok", "" if stream is None else stream.message
        if stream is not None and stream.status not in (None, "ok"):
            status = str(stream.status)
        elif self.peak > MAX_PEAK:
            status, message = "out_of_range", range_message(self.peak)
        elif description.stems[MIXTURE]["activity_status"] == "silent":
            status = "silent"
        elif duration < MIN_DURATION_S:
            status = "too_short"
        return TrackAnalysis(
            **vars(description), frames=frames, status=status, info=None if stream is None else stream.info,
            sha256=None if stream is None else stream.sha256, decoded_duration_s=duration,
            sample_rate=self.sample_rate, channels=self.channels,
            message=message, precision=self.analyser.precision,
            polarity_inverted_ratio=downmix.n_inverted / downmix.n_samples, dc_offset=downmix.offset,
            **({} if self.source is None else origin(self.source)),
        )  # fmt: skip


def from_audio(
    y: np.ndarray, sample_rate: int, *, model: str | Path = checkpoints.DEFAULT_MODEL, device: str = "cpu"
) -> TrackAnalysis:
    """Analyse one array; loads the network each time.

    Parameters
    ----------
    y : np.ndarray
        (n_samples,) or (channels, n_samples), floating point (full scale 1.0) or signed integers.
    sample_rate : int
        Rate of the signal in Hz.
    model : str or Path, optional
        Name of a checkpoint, or path to one; the default checkpoint if not given.
    device : str, default="cpu"
        Torch device.

    Returns
    -------
    TrackAnalysis
        Descriptors, contours, events and embeddings of mixture and stems.

    See Also
    --------
    Analyser.from_audio : The same for many arrays; tells the errors that are raised.
    """
    return Analyser(model, device=device).from_audio(y, sample_rate)


def from_file(path: str | Path, *, model: str | Path = checkpoints.DEFAULT_MODEL, device: str = "cpu") -> TrackAnalysis:
    """Analyse one file; loads the network each time.

    Parameters
    ----------
    path : str or Path
        The audio file.
    model : str or Path, optional
        Name of a checkpoint, or path to one; the default checkpoint if not given.
    device : str, default="cpu"
        Torch device.

    Returns
    -------
    TrackAnalysis
        Descriptors, contours, events and embeddings of mixture and stems.

    See Also
    --------
    Analyser.from_file : The same for many files; tells the errors that are raised.
    """
    return Analyser(model, device=device).from_file(path)


__all__ = ["Analyser", "Events", "F0Contour", "TrackAnalysis", "from_audio", "from_file"]
