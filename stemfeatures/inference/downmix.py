"""From channels to the one signal that is analysed: their mean, of channels that do not cancel, without offset.

The mean of the channels loses what is out of phase between them: everything where one channel was wired the wrong way
round (L = -R), the better part of it where one is merely louder (R = -0.9 L). So a channel that is nearly the negative
of a louder one enters the mean inverted: of a stereo pair the side is analysed in place of the mid, for as long as
it is the stronger one by 10 dB. A constant offset of the samples is no sound, but its skirt reaches the bass: a high
pass takes it away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._util.numba_cache import compiled_when_called

#: Seconds over which it is decided which channels cancel, and over which one decision fades into the next.
DECISION_S = 2.0
FADE_S = 0.02
#: A channel is inverted from this agreement with a louder one on, ``2 <x, y> / (<x, x> + <y, y>)``, until it is above
#: the second value again: for two channels a mid 10 dB below the side, and one 3 dB below it.
INVERTED_BELOW, UPRIGHT_ABOVE = -0.818, -0.333
#: Channels and stretches this far below the loudest decide nothing (mean square).
NEGLIGIBLE = 1e-6
SILENT = 1e-10
#: Corner of the high pass in Hz, of second order: B0 (30.9 Hz) loses 0.003 dB.
OFFSET_HZ = 5.0


class Downmix:
    """Mono from blocks of channels; the result does not depend on how the signal is cut into blocks.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    n_rows : int, default=1
        Signals that are mixed alike: that which decides, and its stems.

    Attributes
    ----------
    n_samples, n_inverted : int
        Samples given so far, and how many of them have an inverted channel.
    offset : float
        Largest absolute mean over the channels so far, full scale = 1.
    """

    def __init__(self, sample_rate: int, n_rows: int = 1) -> None:
        from scipy.signal import butter

        self.n_samples = self.n_inverted = 0
        self._size = round(DECISION_S * sample_rate)
        self._fade = max(1, round(FADE_S * sample_rate))
        self._sos = butter(2, OFFSET_HZ, "highpass", fs=sample_rate, output="sos")  # one section
        self._state: np.ndarray | None = None
        self._polarity: np.ndarray | None = None
        self._sums: np.ndarray | None = None
        self._waiting: list[list[np.ndarray]] = [[] for _ in range(n_rows)]
        self._n_waiting = 0

    @property
    def offset(self) -> float:
        return 0.0 if self._sums is None or not self.n_samples else float(np.abs(self._sums).max() / self.n_samples)

    def process(self, block: np.ndarray, further: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Take a further block, give the samples that are decided.

        Parameters
        ----------
        block : np.ndarray
            (channels, n).
        further : Sequence of np.ndarray
            Blocks of the other rows, ``(channels, n)``; channels of another number are averaged as they are.

        Returns
        -------
        np.ndarray
            (n_rows, m) float32; perhaps none.
        """
        for waiting, row in zip(self._waiting, (block, *further), strict=True):
            waiting.append(np.asarray(row, dtype=np.float32))
        self._n_waiting += block.shape[1]
        if self._n_waiting < self._size:
            return np.zeros((len(self._waiting), 0), np.float32)
        held = [np.concatenate(waiting, axis=1) for waiting in self._waiting]
        whole = self._n_waiting // self._size * self._size
        self._waiting, self._n_waiting = [[row[:, whole:].copy()] for row in held], self._n_waiting - whole
        mixed = [self._mix([row[:, at : at + self._size] for row in held]) for at in range(0, whole, self._size)]
        return np.concatenate(mixed, axis=1)

    def flush(self) -> np.ndarray:
        """Give the rest: (n_rows, m) float32."""
        held = [np.concatenate(waiting, axis=1) for waiting in self._waiting if waiting]
        rest = self._mix(held) if self._n_waiting else np.zeros((len(self._waiting), 0), np.float32)
        self._waiting, self._n_waiting = [[] for _ in self._waiting], 0
        return rest

    def _mix(self, rows: list[np.ndarray]) -> np.ndarray:
        from scipy.signal import sosfilt_zi

        n = rows[0].shape[1]
        sums = rows[0].sum(axis=1, dtype=np.float64)
        self._sums = sums if self._sums is None else self._sums + sums
        before = self._polarity
        polarity = self._polarity = _polarity(rows[0], sums / n, before)
        mono = np.stack([_weighed(row, polarity) for row in rows])
        if before is not None and not np.array_equal(before, polarity):
            fade = min(self._fade, n)
            ramp = (np.arange(fade, dtype=np.float32) + 0.5) / fade
            old = np.stack([_weighed(row[:, :fade], before) for row in rows])
            mono[:, :fade] = ramp * mono[:, :fade] + (1 - ramp) * old
        if self._state is None:
            # As if the offset of the beginning had been there before.
            self._state = sosfilt_zi(self._sos) * mono.mean(axis=1)[:, None]
        _filter(self._sos[0], self._state, mono)
        self.n_samples += n
        self.n_inverted += n if (polarity < 0).any() else 0
        return mono


@compiled_when_called()
def _filter(section: np.ndarray, state: np.ndarray, rows: np.ndarray) -> None:  # pragma: no cover - compiled
    """Put rows (n_rows, n) through a section of second order, in place; states (n_rows, 2) go on. As scipy's
    ``sosfilt``, which copies what is in single precision."""
    b0, b1, b2, a1, a2 = section[0], section[1], section[2], section[4], section[5]
    for row in range(len(rows)):
        samples, first, second = rows[row], state[row, 0], state[row, 1]
        for i in range(len(samples)):
            x = np.float64(samples[i])
            y = b0 * x + first
            first = b1 * x - a1 * y + second
            second = b2 * x - a2 * y
            samples[i] = y
        state[row, 0], state[row, 1] = first, second


def _weighed(row: np.ndarray, polarity: np.ndarray) -> np.ndarray:
    """(n,) mean of channels (channels, n) with their signs."""
    return polarity @ row / len(row) if len(row) == len(polarity) else row.mean(axis=0)


def _polarity(x: np.ndarray, mean: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """(channels,) 1 or -1: the sign with which each channel of (channels, n) enters the mean."""
    if before is None:
        before = np.ones(len(x), dtype=np.float32)
    if len(x) == 1:
        return before
    covariance = (x @ x.T).astype(np.float64) / x.shape[1] - np.outer(mean, mean)
    power = np.diag(covariance)
    order = np.argsort(-power, kind="stable")
    if power[order[0]] <= SILENT:
        return before
    agreement = 2 * covariance / np.maximum(power + power[:, None], SILENT)
    polarity = np.ones(len(x), dtype=np.float32)
    for place, channel in enumerate(order[1:], start=1):
        if power[channel] <= NEGLIGIBLE * power[order[0]]:
            break
        # Against the louder channel that it has most to do with.
        louder = order[:place]
        rival = louder[np.abs(agreement[channel, louder]).argmax()]
        limit = UPRIGHT_ABOVE if before[channel] * before[rival] < 0 else INVERTED_BELOW
        polarity[channel] = -polarity[rival] if agreement[channel, rival] < limit else polarity[rival]
        if abs(agreement[channel, rival]) < abs(UPRIGHT_ABOVE):
            polarity[channel] = 1
    # The sign of the whole is free: the one that fewer channels change theirs for.
    return -polarity if (polarity < 0).any() and polarity @ before < 0 else polarity
