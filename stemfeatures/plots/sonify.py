"""What was found, made audible over the music: clicks on beats, tones on F0 (``mir_eval.sonify``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..descriptors.types import TrackDescription

#: Frequency of a click in Hz: of a downbeat, and of any other beat.
_DOWNBEAT_HZ, _BEAT_HZ = 1600.0, 900.0
_CLICK_S = 0.04
#: Level of music, clicks and tones beside the music's full scale.
_MUSIC, _CLICKS, _TONE = 0.5, 0.35, 0.2


def sonify(description: TrackDescription, y: np.ndarray, sample_rate: int) -> np.ndarray:
    """Lay clicks on the beats and a tone on each F0 contour over the music.

    Parameters
    ----------
    description : TrackDescription
        Beats (higher clicks on downbeats) and contours (vocals, bass).
    y : numpy.ndarray
        ``(channels, n_samples)``, the music, full scale 1.0.
    sample_rate : int
        Hz.

    Returns
    -------
    numpy.ndarray
        ``(channels, n_samples)`` float32 within full scale: the music at half its level with what was found on top.

    Raises
    ------
    ImportError
        mir_eval is missing (extra ``evaluate``).
    """
    try:
        import mir_eval.sonify as tools
    except ImportError as error:
        raise ImportError("sonification needs mir_eval: pip install 'stemfeatures[evaluate]'") from error
    n = y.shape[-1]
    events = description.events
    downbeats = events.beats_s[events.beat_positions == 1]
    others = events.beats_s[events.beat_positions != 1]
    made = np.zeros(n)
    for times, hertz in ((downbeats, _DOWNBEAT_HZ), (others, _BEAT_HZ)):
        if len(times):
            at = np.arange(int(_CLICK_S * sample_rate)) / sample_rate
            click = np.sin(2 * np.pi * hertz * at) * np.exp(-at / (_CLICK_S / 5))
            made += _CLICKS * tools.clicks(times, sample_rate, length=n, click=click)[:n]
    for contour in description.contours.values():
        voiced = np.isfinite(contour.f0_hz)
        if voiced.sum() > 1:
            # mir_eval holds that a frequency below zero is unvoiced.
            f0 = np.where(voiced, contour.f0_hz, -1.0)
            made += _TONE * tools.pitch_contour(contour.times_s, f0, sample_rate, length=n)[:n]
    mixed = _MUSIC * y + made
    peak = max(1.0, float(np.abs(mixed).max(initial=0.0)))
    return np.asarray(mixed / peak, dtype=np.float32)
