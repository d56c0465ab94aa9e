"""What every separator does: stems of arrays and of files, from its stems of a stream."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ..audio import AudioLimits, AudioWriter, as_signal, open_audio
from .remix import remix_stream

logger = logging.getLogger(__name__)

#: Blocks in which arrays are fed, in seconds.
BLOCK_S = 5.0


class BaseSeparator(ABC):
    """Separates signals of any length, rate and number of channels into stems.

    A subclass sets :attr:`stems` and writes :meth:`stream`; arrays and files follow from it.

    Attributes
    ----------
    stems : tuple of str
        Names of the stems that it separates into.
    band_hz : float
        The stems hold nothing above this frequency; infinity: the full band.
    """

    stems: tuple[str, ...]
    band_hz: float = math.inf

    @abstractmethod
    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """Separate a signal that arrives in blocks, in bounded memory.

        Parameters
        ----------
        blocks : iterable of numpy.ndarray
            ``(channels, n)``, float, full scale 1.0; any ``n``.
        sample_rate : int
            Hz.
        channels : int
            Number of channels.

        Yields
        ------
        dict of str to numpy.ndarray
            Consecutive blocks ``(channels, k)`` of all stems, together as long as the signal; none for an empty one.
        """

    def separate_array(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """Separate an array.

        Parameters
        ----------
        y : numpy.ndarray
            ``(n_samples,)`` or ``(channels, n_samples)``, floating point (full scale 1.0) or signed integers.
        sample_rate : int
            Hz.

        Returns
        -------
        dict of str to numpy.ndarray
            Stems, float32, of the shape of ``y``.

        Raises
        ------
        EmptyAudioError
            There are no samples.
        NonFiniteAudioError
            NaN or infinity is among the samples.
        TypeError
            ``y`` is not such an array; see :func:`stemfeatures.audio.as_signal`.
        ValueError
            ``y`` has another shape, or the rate is not positive.
        """
        signal, sample_rate = as_signal(y, sample_rate), int(sample_rate)
        shape = np.shape(y)
        size = max(1, int(BLOCK_S * sample_rate))
        blocks = (signal[:, i : i + size] for i in range(0, signal.shape[-1], size))
        found = list(self.stream(blocks, sample_rate, signal.shape[0]))
        return {s: np.concatenate([block[s] for block in found], axis=-1).reshape(shape) for s in self.stems}

    def separate_file(
        self,
        path: str | Path,
        out_dir: str | Path,
        *,
        stems: Iterable[str] | None = None,
        format: str = "wav",
        limits: AudioLimits | None = None,
        on_progress: Callable[[float, float | None], None] | None = None,
    ) -> dict[str, Path]:
        """Separate a file into ``out_dir/<stem>.<format>``, with its rate, channels and length.

        Parameters
        ----------
        path : str or Path
            The audio file.
        out_dir : str or Path
            Folder to write to; it is made if need be.
        stems : iterable of str, optional
            Some of :attr:`stems`; None writes all.
        format : str, optional
            ``wav`` (32-bit float) or ``flac`` (24-bit).
        limits : AudioLimits, optional
            What the file may be; six hours and 64 channels, if not given.
        on_progress : callable, optional
            Called with the seconds that are written, and with those that the file says it has (None: it does not).

        Returns
        -------
        dict of str to Path
            The files by stem.

        Raises
        ------
        AudioError
            The file cannot be decoded; no stem file is left then.
        ValueError
            It separates into no such stem, or an unknown format.
        """
        wanted = self.stems if stems is None else (stems,) if isinstance(stems, str) else tuple(stems)
        if unknown := [stem for stem in wanted if stem not in self.stems]:
            raise ValueError(f"unknown stem {unknown[0]!r}; there are: {', '.join(self.stems)}")
        out_dir = Path(out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        paths = {stem: out_dir / f"{stem}.{format}" for stem in wanted}
        with open_audio(path, **vars(limits or AudioLimits())) as source:
            rate, channels = source.info.sample_rate, source.info.channels
            writers = {s: AudioWriter(p, sample_rate=rate, channels=channels, format=format) for s, p in paths.items()}
            try:
                n_samples = 0
                for block in self.stream(source, rate, channels):
                    for stem, writer in writers.items():
                        writer.write(block[stem])
                    n_samples += next(iter(block.values())).shape[-1]
                    if on_progress is not None:
                        on_progress(n_samples / rate, source.info.declared_duration_s)
                if source.status == "truncated":
                    logger.warning("%s: truncated, the stems end where the decoder did (%s)", path, source.message)
            except BaseException:
                for writer in writers.values():
                    writer.abort()
                raise
            for writer in writers.values():
                writer.close()
        return paths

    def remix(self, y: np.ndarray, sample_rate: int, gains_db: Mapping[str, float]) -> np.ndarray:
        """Make stems of an array louder or softer.

        Parameters
        ----------
        y : np.ndarray
            (n_samples,) or (channels, n_samples), floating point (full scale 1.0) or signed integers.
        sample_rate : int
            Rate of the signal in Hz.
        gains_db : Mapping[str, float]
            Gain of stems in dB, such as ``{"vocals": -12.0}``; ``-math.inf`` silences a stem.

        Returns
        -------
        np.ndarray
            ``y + sum((gain - 1) * stem)``, float32 of the shape of ``y``, not limited; ``y`` itself at 0 dB.

        Raises
        ------
        EmptyAudioError, NonFiniteAudioError
            There are no samples, or NaN or infinity among them.
        TypeError, ValueError
            It is not such an array, or the gains make no sense; see :func:`.remix.linear_gains`.
        """
        signal, sample_rate = as_signal(y, sample_rate), int(sample_rate)
        size = max(1, int(BLOCK_S * sample_rate))
        blocks = (signal[:, i : i + size] for i in range(0, signal.shape[-1], size))
        parts = list(remix_stream(self, blocks, sample_rate, signal.shape[0], gains_db))
        return np.concatenate(parts, axis=-1).reshape(np.shape(y))
