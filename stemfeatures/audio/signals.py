"""Arrays of samples: taken from users, and mixed down."""

from __future__ import annotations

import os
from numbers import Real

import numpy as np

from ..errors import EmptyAudioError, NonFiniteAudioError
from .limits import MIN_SAMPLE_RATE


def as_signal(y: np.ndarray, sample_rate: int) -> np.ndarray:
    """Samples of a user in the form of this library.

    Parameters
    ----------
    y : array_like, shape (n_samples,) or (channels, n_samples)
        Real floating point at full scale 1.0, or signed integers, which are scaled by their type's full scale (as
        decoders do).
    sample_rate : int
        Hz, at least 1000; only checked.

    Returns
    -------
    numpy.ndarray, shape (channels, n_samples)
        float32; one axis becomes one channel.

    Raises
    ------
    TypeError
        It is no array of such a type, or the rate is not a whole number of Hz.
    ValueError
        It has more than two axes, more channels than samples (``soundfile.read`` and ``scipy.io.wavfile`` give
        ``(n_samples, channels)``: transpose), or an impossible rate.
    EmptyAudioError
        There are no samples.
    NonFiniteAudioError
        NaN or infinity is among them.

    Examples
    --------
    >>> as_signal(np.array([0, 16384, -32768], np.int16), 44_100)
    array([[ 0. ,  0.5, -1. ]], dtype=float32)
    """
    is_whole = isinstance(sample_rate, Real) and not isinstance(sample_rate, bool) and sample_rate % 1 == 0
    if not is_whole:
        raise TypeError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}")
    if sample_rate < MIN_SAMPLE_RATE:
        raise ValueError(f"sample_rate must be at least {MIN_SAMPLE_RATE} Hz, got {sample_rate}")
    if y is None or isinstance(y, (str, bytes, os.PathLike)):
        raise TypeError(f"samples must be an array, got {y!r}; stemfeatures.audio.load reads files")
    try:
        array = np.asarray(y)
    except ValueError as error:
        raise TypeError(f"samples must be an array, all channels of one length, got a {type(y).__name__}") from error
    if array.dtype.kind not in "fi":
        raise TypeError(f"samples must be real floating point or signed integers, got {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"expected (n_samples,) or (channels, n_samples), got an array of shape {array.shape}")
    if array.size == 0:
        raise EmptyAudioError("the array holds no samples", stage="input")
    signal = np.atleast_2d(array)
    channels, n_samples = signal.shape
    if channels > n_samples and channels > 8:
        raise ValueError(f"expected (channels, n_samples), got {array.shape}: transpose it")
    if signal.dtype.kind == "i":
        signal = signal / -float(np.iinfo(signal.dtype).min)
    signal = np.ascontiguousarray(signal, dtype=np.float32)
    if not np.isfinite(signal).all():
        raise NonFiniteAudioError("the samples hold NaN or infinity", stage="input")
    return signal


def to_mono(y: np.ndarray) -> np.ndarray:
    """Mean over the channels.

    All channels weigh the same, however many there are (a 5.1 file's LFE and surrounds too).

    Parameters
    ----------
    y : numpy.ndarray, shape (..., channels, n_samples) or (n_samples,)
        The samples; one axis passes through.

    Returns
    -------
    numpy.ndarray, shape (..., n_samples)
        float32.

    Examples
    --------
    >>> to_mono(np.array([[0.0, 0.5], [1.0, 0.5]], np.float32))
    array([0.5, 0.5], dtype=float32)
    """
    return y if y.ndim == 1 else y.mean(axis=-2, dtype=np.float32)
