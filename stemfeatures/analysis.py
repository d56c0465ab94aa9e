"""The ladder of one track: ``from_audio`` -> ``from_file``; a catalogue is :func:`pipelines.extract_catalog`.

:class:`Analyser` keeps a network loaded and adds one concern a level: arrays, streams, files, many files whose
segments share network batches. The two functions are for a single call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ._util.constants_of import constants_of, modules_of
from .audio import AudioInfo, AudioStream, as_signal, audio_identity, open_audio
from .constants import MIXTURE
from .descriptors import LoudnessMeter
from .descriptors.describe import describe
from .descriptors.registry import descriptor_fields
from .descriptors.types import Events, F0Contour, TrackDescription
from .errors import EmptyAudioError, StemfeaturesError
from .frames import TrackFrames
from .frames.builder import FrameBuilder
from .inference.front_end import FrontEnd
from .inference.segments import SegmentRunner, SegmentTrack
from .models import checkpoints

#: Raised by whoever changes what the code computes: ``tests/test_golden_values.py`` fails until it is.
ANALYSIS_VERSION = 2
#: Modules and packages between the decoder and the tables, whose constants can change a value.
STAGES = (
    "stemfeatures.constants",
    "stemfeatures.audio.resampling",
    "stemfeatures.spectra",
    "stemfeatures.inference",
    "stemfeatures.models.joint",
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
        ``analysis_version``, the version of the code's results; ``constants``, what the stages declare, by name; and
        ``fields``, the names of the descriptors. In the types of JSON.

    Examples
    --------
    >>> analysis_settings()["constants"]["N_FFT"]
    [2048]
    """
    return {
        "analysis_version": ANALYSIS_VERSION,
        "constants": constants_of(modules_of(STAGES)),
        "fields": [f.name for f in descriptor_fields()],
    }


@dataclass(kw_only=True)
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
    """

    frames: TrackFrames
    status: str = "ok"
    info: AudioInfo | None = None
    sha256: str | None = None
    decoded_duration_s: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    message: str = ""

    @property
    def description(self) -> TrackDescription:
        """The descriptors alone."""
        return TrackDescription(self.stems, self.contours, self.events, self.embeddings, self.tables)


@dataclass
class _Blocks:
    """An array as a stream."""

    y: np.ndarray
    sample_rate: int

    def __iter__(self) -> Iterator[np.ndarray]:
        size = max(1, 10 * self.sample_rate)
        return (self.y[:, i : i + size] for i in range(0, self.y.shape[1], size))


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
        Segments a forward pass. With 1 a track's values do not depend on its neighbours to the last bit.

    Raises
    ------
    ModelError
        When the checkpoint cannot be used.
    """

    def __init__(
        self, model: str | Path = checkpoints.DEFAULT_MODEL, *, device: str = "cpu", batch_size: int = 1
    ) -> None:
        self.checkpoint, separator = checkpoints.resolve_analysis(model)
        self.device = device
        self.net = checkpoints.load(self.checkpoint if separator is None else checkpoints.DEFAULT_MODEL, device=device)
        masks = None
        if separator is not None:
            from .separation.target_masks import TargetMasks

            masks = TargetMasks(separator.path, device=device)
        self.runner = SegmentRunner(self.net, device=device, batch_size=batch_size, masks=masks)

    @property
    def batch_size(self) -> int:
        """Segments a forward pass."""
        return self.runner.batch_size

    def reset(self, *, batch_size: int | None = None) -> None:
        """Drop the segments of tracks that were not finished, so that they cannot join the batches of others.

        Parameters
        ----------
        batch_size : int, optional
            Segments a forward pass from now on; as before by default.
        """
        self.runner.reset(batch_size)

    def from_audio(self, y: np.ndarray, sample_rate: int) -> TrackAnalysis:
        """Analyse an array.

        Parameters
        ----------
        y : np.ndarray
            (n_samples,) or (channels, n_samples), floating point (full scale 1.0) or signed integers.
        sample_rate : int
            Rate of the signal in Hz.

        Returns
        -------
        TrackAnalysis
            Descriptors, contours, events and embeddings of mixture and stems.

        Raises
        ------
        EmptyAudioError, NonFiniteAudioError
            When there are no samples, or NaN or infinity among them.
        TypeError, ValueError
            When it is not such an array; see :func:`stemfeatures.audio.as_signal`.
        """
        signal, sample_rate = as_signal(y, sample_rate), int(sample_rate)
        job = _Job(self, _Blocks(signal, sample_rate), sample_rate, signal.shape[0])
        job.run()
        self.runner.flush()
        result = job.finish()
        result.sha256 = audio_identity(signal, sample_rate)
        return result

    def from_stream(self, stream: AudioStream) -> TrackAnalysis:
        """Analyse an open stream.

        Parameters
        ----------
        stream : AudioStream
            What :func:`stemfeatures.audio.open_audio` gives; it is read to its end.

        Returns
        -------
        TrackAnalysis
            Descriptors, contours, events and embeddings of mixture and stems.

        Raises
        ------
        AudioError
            When it cannot be decoded or holds unusable samples; the message names the file.
        """
        job = _Job(self, stream, stream.info.sample_rate, stream.info.channels)
        job.run()
        self.runner.flush()
        return job.finish(stream)

    def from_file(self, path: str | Path, *, timeout_s: float | None = None) -> TrackAnalysis:
        """Analyse a file.

        Parameters
        ----------
        path : str or Path
            The audio file.
        timeout_s : float, optional
            Longest time to wait for the decoder, in seconds.

        Returns
        -------
        TrackAnalysis
            Descriptors, contours, events and embeddings of mixture and stems.

        Raises
        ------
        AudioError
            When it cannot be decoded or holds unusable samples; the message names the file.
        """
        with open_audio(path, timeout_s=timeout_s) as stream:
            return self.from_stream(stream)

    def many(
        self, sources: Iterable[tuple[Any, str | Path | AudioStream]]
    ) -> Iterator[tuple[Any, TrackAnalysis | Exception]]:
        """Analyse several tracks, their segments sharing network batches.

        Parameters
        ----------
        sources : iterable of (object, str or Path or AudioStream)
            Pairs of a key of your choice and a path (or an open stream), e.g. ``enumerate(paths)``.

        Yields
        ------
        tuple[object, TrackAnalysis or Exception]
            ``(key, TrackAnalysis)``, or ``(key, error)`` for a track that failed, in the order in which they are
            complete.
        """
        waiting: list[tuple[Any, _Job, AudioStream]] = []

        def completed() -> Iterator[tuple[Any, TrackAnalysis | Exception]]:
            while waiting and waiting[0][1].complete:
                key, job, stream = waiting.pop(0)
                yield key, _attempt(job, stream)

        for key, source in sources:
            try:
                stream = source if isinstance(source, AudioStream) else open_audio(source)
                with stream:
                    job = _Job(self, stream, stream.info.sample_rate, stream.info.channels)
                    try:
                        job.run()
                    except Exception:
                        self.runner.forget(job.track)
                        raise
            except Exception as error:
                yield key, error
                continue
            waiting.append((key, job, stream))
            yield from completed()
        self.runner.flush()
        yield from completed()


def _attempt(job: _Job, stream: AudioStream) -> TrackAnalysis | Exception:
    try:
        return job.finish(stream)
    except Exception as error:
        return error


class _Job:
    """One track on its way: reads blocks, feeds the meter, the resampler and the segments."""

    def __init__(self, analyser: Analyser, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> None:
        self.analyser, self.blocks = analyser, blocks
        self.sample_rate, self.channels = sample_rate, channels
        self.builder = FrameBuilder(analyser.device)
        self.track = SegmentTrack(self.builder.add, self.builder.add_features)
        self.meter = LoudnessMeter(sample_rate, channels)
        self.n_samples = 0
        self.front_end = FrontEnd(sample_rate, analyser.runner, self.track, device=analyser.device)

    @property
    def complete(self) -> bool:
        return self.track.finished

    @torch.inference_mode()
    def run(self) -> None:
        """Read the track to its end and queue its segments."""
        for block in self.blocks:
            self.n_samples += block.shape[1]
            self.meter.update(block)
            self.front_end.push(block)
        if self.n_samples == 0:
            raise EmptyAudioError("no samples to analyse")
        self.front_end.finish()

    @torch.inference_mode()
    def finish(self, stream: AudioStream | None = None) -> TrackAnalysis:
        """Descriptors, once all segments have run."""
        frames = self.builder.finish(self.front_end.n_samples)
        frames.step_power = self.meter.step_power
        frames.true_peak = self.meter.true_peak
        frames.model = self.analyser.checkpoint.name
        frames.model_sha256 = self.analyser.checkpoint.sha256
        try:
            description = describe(frames)
        except StemfeaturesError:
            raise
        except Exception as error:
            source = str(stream.info.path) if stream is not None else None
            message = f"{type(error).__name__}: {error}"
            raise StemfeaturesError(message, source=source, stage="describe") from error
        duration = self.n_samples / self.sample_rate
        status = "ok"
        if stream is not None and stream.status not in (None, "ok"):
            status = str(stream.status)
        elif description.stems[MIXTURE]["activity_status"] == "silent":
            status = "silent"
        elif duration < MIN_DURATION_S:
            status = "too_short"
        return TrackAnalysis(
            **vars(description), frames=frames, status=status, info=None if stream is None else stream.info,
            sha256=None if stream is None else stream.sha256, decoded_duration_s=duration,
            sample_rate=self.sample_rate, channels=self.channels,
            message="" if stream is None else (stream.message or ""),
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
