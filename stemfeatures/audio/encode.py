"""Writing audio: streaming, exact, and all or nothing."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile

from .._util.files import naming
from .._util.system import read_at, write_at
from ..errors import AudioError, NonFiniteAudioError

#: Sample formats by file format, the default first.
SUBTYPES = {"wav": ("FLOAT", "PCM_16", "PCM_24"), "flac": ("PCM_24", "PCM_16")}
_PCM_BITS = {"PCM_16": 16, "PCM_24": 24}


class AudioWriter:
    """Write an audio file block by block.

    The file appears under its name when it is complete, in :meth:`close`; after an error in a ``with`` block nothing
    is left behind. The same samples give the same bytes. WAV files of any length are written: beyond 4 GiB as RF64.

    ``FLOAT`` keeps every value, over full scale too, so that stems sum to their mixture. The PCM formats round to the
    nearest step (step = 2 ** -15 or 2 ** -23) and clip at full scale, -1 to 1 - step; there is no dither.

    Parameters
    ----------
    path : str or path-like
        The file to make or replace; its folder must exist.
    sample_rate : int
        Hz.
    channels : int
        Number of channels.
    format : str or None
        ``"wav"`` or ``"flac"``; by default as the suffix says.
    subtype : str or None
        ``"FLOAT"`` (wav only, its default), ``"PCM_24"`` (default of flac) or ``"PCM_16"``.

    Attributes
    ----------
    n_samples : int
        Samples per channel written so far.
    n_clipped : int
        Values (over all channels) that were beyond full scale and clipped.

    Raises
    ------
    ValueError
        Unknown format or subtype, or samples of another shape.
    NonFiniteAudioError
        NaN or infinity to be written (stage ``encode``).
    AudioError
        The format cannot hold such audio, or the disk is full (stage ``encode``).
    OSError
        The file cannot be made.

    Examples
    --------
    >>> with AudioWriter("tone.flac", sample_rate=8000, channels=1) as writer:
    ...     for _ in range(3):
    ...         writer.write(np.full(1000, 0.25, np.float32))
    >>> writer.n_samples, writer.n_clipped
    (3000, 0)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sample_rate: int,
        channels: int,
        format: str | None = None,
        subtype: str | None = None,
    ) -> None:
        self.path = Path(path)
        format = (self.path.suffix[1:] if format is None else format).lower()
        if format not in SUBTYPES:
            raise ValueError(f"{self.path}: format must be one of {sorted(SUBTYPES)}, not {format!r}")
        subtype = SUBTYPES[format][0] if subtype is None else subtype
        if subtype not in SUBTYPES[format]:
            raise ValueError(f"{self.path}: the subtypes of {format} are {SUBTYPES[format]}, not {subtype!r}")
        self.sample_rate, self.channels, self.format, self.subtype = sample_rate, channels, format, subtype
        self.n_samples = 0
        self.n_clipped = 0
        # In the same folder, so that the renaming is atomic; short, as the name itself may be as long as is allowed.
        self._temporary = self.path.parent / f".{secrets.token_hex(8)}.part"
        with naming(self.path, self._temporary):
            self._raw = open(self._temporary, "x+b")  # noqa: SIM115
        try:
            self._file = soundfile.SoundFile(
                self._raw.fileno(),
                "w",
                samplerate=sample_rate,
                channels=channels,
                # libsndfile stamps float WAV with the time of day; RF64 it does not. See _rf64_to_wav.
                format="RF64" if format == "wav" else "FLAC",
                subtype=subtype,
                closefd=False,
            )
        except Exception as error:
            self._discard()
            raise self._error(f"{format} cannot hold {channels} channels at {sample_rate} Hz ({error})") from error

    def write(self, y: np.ndarray) -> None:
        """Append samples.

        Parameters
        ----------
        y : numpy.ndarray, shape (channels, n) or (n,)
            At full scale 1.0; one axis does for one channel.
        """
        y = np.asarray(y)
        y = y[np.newaxis] if y.ndim == 1 else y
        if y.ndim != 2 or len(y) != self.channels:
            raise ValueError(f"{self.path}: expected {self.channels} channels, got an array of shape {y.shape}")
        if not np.isfinite(y).all():
            raise NonFiniteAudioError("NaN or infinity to be written", source=str(self.path), stage="encode")
        data = y.T.astype(np.float32, order="C") if self.subtype == "FLOAT" else self._quantise(y)
        try:
            self._file.write(data)
        except (RuntimeError, AssertionError) as error:  # soundfile asserts that all was written
            raise self._error(f"could not be written ({error or 'disk full?'})") from error
        self.n_samples += y.shape[-1]

    def close(self) -> None:
        """Complete the file and give it its name. A second call does nothing."""
        if self._raw.closed:
            return
        try:
            self._file.close()
            if self.format == "wav":
                _rf64_to_wav(self._raw.fileno())
            self._raw.close()
            with naming(self.path, self._temporary):
                os.replace(self._temporary, self.path)
        except BaseException as error:
            self._discard()
            if isinstance(error, RuntimeError):
                raise self._error(f"could not be completed ({error})") from error
            raise

    def abort(self) -> None:
        """Give up: nothing is left behind."""
        if not self._raw.closed:
            with suppress(RuntimeError):
                self._file.close()
            self._discard()

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _quantise(self, y: np.ndarray) -> np.ndarray:
        """(n, channels) int32, left aligned: libsndfile's own scaling of floats to PCM is 2 ** (bits - 1) - 1."""
        bits = _PCM_BITS[self.subtype]
        full = 2 ** (bits - 1)
        steps = np.rint(y.T * np.float64(full))
        clipped = np.clip(steps, -full, full - 1)
        self.n_clipped += int(np.count_nonzero(steps != clipped))
        return np.ascontiguousarray(clipped.astype(np.int32) << (32 - bits))

    def _error(self, message: str) -> AudioError:
        return AudioError(message, source=str(self.path), stage="encode")

    def _discard(self) -> None:
        self._raw.close()
        self._temporary.unlink(missing_ok=True)


def _rf64_to_wav(descriptor: int) -> None:
    """Turn a finished RF64 file into plain WAV where 32 bit sizes do: the change that EBU Tech 3306 provides for."""
    size = os.fstat(descriptor).st_size
    if size - 8 > 0xFFFFFFFF:
        return
    head = read_at(descriptor, 4096, 0)
    data = 12
    while head[data : data + 4] != b"data":
        data += 8 + int.from_bytes(head[data + 4 : data + 8], "little")
        if data > len(head) - 8:
            raise RuntimeError("no data chunk in the head of the file")
    n_bytes = int.from_bytes(head[28:36], "little")  # ds64: sizes of RIFF, data; number of samples
    write_at(descriptor, b"RIFF" + (size - 8).to_bytes(4, "little"), 0)
    write_at(descriptor, b"JUNK", 12)
    write_at(descriptor, n_bytes.to_bytes(4, "little"), data + 4)


def write(
    path: str | os.PathLike[str],
    y: np.ndarray,
    sample_rate: int,
    *,
    format: str | None = None,
    subtype: str | None = None,
) -> None:
    """Write samples to a file.

    Parameters
    ----------
    path : str or path-like
        As in :class:`AudioWriter`, whose errors are raised.
    y : numpy.ndarray, shape (channels, n_samples) or (n_samples,)
        The samples, at full scale 1.0.
    sample_rate : int
        Hz.
    format : str or None
        As there.
    subtype : str or None
        As there.

    See Also
    --------
    AudioWriter : Writes block by block.
    """
    channels = 1 if np.ndim(y) == 1 else np.shape(y)[0]
    with AudioWriter(path, sample_rate=sample_rate, channels=channels, format=format, subtype=subtype) as writer:
        writer.write(y)
