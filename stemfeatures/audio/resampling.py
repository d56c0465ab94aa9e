"""Sample rates converted, of whole signals and of streams, by soxr."""

from __future__ import annotations

import numpy as np
import soxr

RESAMPLE_QUALITY = "HQ"  # part of the meaning of every feature: a change is a new schema version


class StreamResampler:
    """Resample a signal that comes in blocks, along the last axis.

    The blocks together are ``ceil(n_samples * sample_rate_out / sample_rate_in)`` long (librosa's length), and equal
    to :func:`resample` of the whole, whatever the sizes of the blocks. No delay: sample 0 stays sample 0.

    Parameters
    ----------
    sample_rate_in : int
        Hz.
    sample_rate_out : int
        Hz.

    Raises
    ------
    ValueError
        A rate is not a positive whole number.
    """

    def __init__(self, sample_rate_in: int, sample_rate_out: int) -> None:
        for rate in (sample_rate_in, sample_rate_out):
            if rate != int(rate) or rate <= 0:
                raise ValueError(f"a sample rate must be a positive whole number of Hz, not {rate}")
        self._rates = int(sample_rate_in), int(sample_rate_out)
        self._lead: tuple[int, ...] | None = None
        self._soxr: soxr.ResampleStream | None = None
        self._n_in = self._n_out = 0

    def process(self, y: np.ndarray) -> np.ndarray:
        """Take a block, give the samples that are ready.

        Parameters
        ----------
        y : numpy.ndarray, shape (..., n)
            The next samples; all blocks agree in the axes before the last.

        Returns
        -------
        numpy.ndarray, shape (..., m)
            float32; perhaps none.

        Raises
        ------
        ValueError
            The block has another shape than those before.
        """
        y = np.asarray(y, np.float32)
        if self._lead is None:
            self._lead = y.shape[:-1]
            if self._rates[0] != self._rates[1]:
                channels = int(np.prod(self._lead))
                self._soxr = soxr.ResampleStream(*self._rates, channels, dtype="float32", quality=RESAMPLE_QUALITY)
        elif y.shape[:-1] != self._lead:
            raise ValueError(f"the blocks so far had shape {(*self._lead, 'n')}, this one has {y.shape}")
        self._n_in += y.shape[-1]
        return y if self._soxr is None else self._push(y, last=False)

    def flush(self) -> np.ndarray:
        """Give the rest. The resampler is spent afterwards.

        Returns
        -------
        numpy.ndarray, shape (..., m)
            float32.
        """
        if self._lead is None:
            return np.zeros(0, np.float32)
        if self._soxr is None:
            return np.zeros((*self._lead, 0), np.float32)
        # soxr rounds the length to the nearest sample; zeros behind the signal make it yield the last one always.
        rate_in, rate_out = self._rates
        zeros = np.zeros((*self._lead, 2 * (rate_in // rate_out + 1)), np.float32)
        before = self._n_out
        rest = self._push(zeros, last=True)
        return rest[..., : -(-self._n_in * rate_out // rate_in) - before]

    def _push(self, y: np.ndarray, *, last: bool) -> np.ndarray:
        assert self._soxr is not None
        assert self._lead is not None
        frames = np.empty((y.shape[-1], int(np.prod(self._lead))), np.float32)
        for channel, samples in enumerate(y.reshape(frames.shape[::-1])):  # copying the transpose takes longer
            frames[:, channel] = samples
        out = np.ascontiguousarray(self._soxr.resample_chunk(frames, last=last).T)
        self._n_out += out.shape[-1]
        return out.reshape(*self._lead, out.shape[-1])


def resample(y: np.ndarray, sample_rate_in: int, sample_rate_out: int) -> np.ndarray:
    """Resample along the last axis with soxr at ``HQ``.

    Parameters
    ----------
    y : numpy.ndarray, shape (..., n_samples)
        The signal.
    sample_rate_in : int
        Its rate in Hz.
    sample_rate_out : int
        The rate wanted, in Hz.

    Returns
    -------
    numpy.ndarray, shape (..., ceil(n_samples * sample_rate_out / sample_rate_in))
        float32.

    See Also
    --------
    StreamResampler : Does the same block by block.

    Examples
    --------
    >>> resample(np.zeros((2, 44100)), 44_100, 22_050).shape
    (2, 22050)
    """
    resampler = StreamResampler(sample_rate_in, sample_rate_out)
    step = 10 * sample_rate_in  # faster than one piece
    parts = [resampler.process(y[..., at : at + step]) for at in range(0, max(y.shape[-1], 1), step)]
    return np.concatenate([*parts, resampler.flush()], axis=-1)
