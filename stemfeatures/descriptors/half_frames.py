"""The F0 contour of the voice at twice the rate of the frames.

The contour is decided frame by frame, 23 ms apart, in which a voice moves by a semitone and more. Half way between two
frames its waveform is asked once more (:mod:`stemfeatures.frames.fine_pitch`): where it answers near the mean of both
that is the pitch there, elsewhere the mean is.
"""

from __future__ import annotations

import numpy as np

from ..frames.fine_pitch import NEAR_CENTS
from .types import F0Contour

#: How far what the waveform says may be from the mean of both frames, in cents.
AGREE_CENTS = 250.0
#: Next to a frame without a pitch there is one from this probability on.
LEAST_VOICING = 0.5


def with_half_frames(contour: F0Contour, between_hz: np.ndarray) -> F0Contour:
    """A contour with values half way between its frames.

    Parameters
    ----------
    contour : F0Contour
        Of ``n_frames`` frames.
    between_hz : np.ndarray
        (n_frames,) Hz that the waveform has half way to the next frame; NaN where it does not tell.

    Returns
    -------
    F0Contour
        Of ``2 * n_frames - 1`` times, of which every second one is a frame, as it was. Between two frames with a pitch
        there is one: that of the waveform, or their mean; where they are farther apart than ``NEAR_CENTS`` the
        first one's. Between a frame with and one without there is that of the former where the mean of both
        probabilities is more than :data:`LEAST_VOICING`.

    Examples
    --------
    >>> sung = F0Contour(np.array([0.0, 0.5]), np.array([200.0, 210.0]), np.ones(2, np.float32))
    >>> with_half_frames(sung, np.array([204.0, np.nan])).f0_hz.tolist()
    [200.0, 204.0, 210.0]
    """
    n = max(2 * len(contour.f0_hz) - 1, 0)
    times_s, f0_hz, voicing = (np.zeros(n, values.dtype) for values in _values(contour))
    times_s[::2], f0_hz[::2], voicing[::2] = _values(contour)
    times_s[1::2] = (contour.times_s[:-1] + contour.times_s[1:]) / 2
    voicing[1::2] = (contour.voicing[:-1] + contour.voicing[1:]) / 2
    before, behind = contour.f0_hz[:-1], contour.f0_hz[1:]
    mean = np.sqrt(before * behind)  # NaN beside a frame without a pitch
    agrees = np.abs(1200 * np.log2(between_hz[:-1] / mean)) < AGREE_CENTS
    near = np.abs(1200 * np.log2(behind / before)) < NEAR_CENTS
    both = np.where(near, np.where(agrees, between_hz[:-1], mean), before)
    one = np.where(voicing[1::2] > LEAST_VOICING, np.where(np.isfinite(before), before, behind), np.nan)
    f0_hz[1::2] = np.where(np.isfinite(mean), both, one)
    return F0Contour(times_s, f0_hz, voicing)


def _values(contour: F0Contour) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return contour.times_s, contour.f0_hz, contour.voicing
