"""Whether what is heard as drums is drums, or the strokes of strings and bars.

Pianos, plucked strings and mallets are struck as drums are, and what is repeated evenly may pass for drums. Drums have
something to themselves, though: moments in which hardly anything else sounds, or the highest octave, which strings
leave to cymbals and snares. What has neither is no drums, nor is what has no strokes and less than half of the highest
bands: mallets that ring, and bows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..constants import MIXTURE
from ..frames import TrackFrames
from .values import windows

#: First mel band of the highest ones (4.3 kHz), and of those above 6.6 kHz. Where these have less than this share of
#: the mixture, as in files at 8 kHz, the highest bands tell nothing.
HIGH_BAND, TOP_BAND, EMPTY_TOP = 58, 68, 1e-7
#: Percentile of the frames by which a stem's share of the mixture counts as its own, and such a share.
OWN_PERCENTILE, OWN_SHARE = 95, 0.3
#: Without: least share of the highest bands that is the drums', and of the drums that the highest bands are, in dB.
#: Quiet congas have -21 and -30 dB, quiet drums of recordings -14 and -26 dB, pianos -24 and -35 dB or less.
LEAST_OF_HIGH_DB, LEAST_HIGH_DB = -23.0, -32.0
#: Percentile of the activation of strokes, and its value below which there are none (soft shakers: 0.42); drums without
#: strokes have this share of the highest bands, in dB.
STROKE_PERCENTILE, LEAST_STROKE, HALF_DB = 98, 0.4, -3.0


@dataclass(frozen=True)
class DrumEvidence:
    """What there is of drums in the frames in which they are said to play.

    Attributes
    ----------
    own_share : float
        Share of the mixture that they have in their clearest frames, 0..1.
    of_high_db : float
        Share of the highest bands of the mixture that they have; NaN where these are empty.
    high_db : float
        Share of the highest bands in them; NaN where these are empty in the mixture.
    stroke : float
        Activation of the strokes that are heard best, 0..1.
    """

    own_share: float
    of_high_db: float
    high_db: float
    stroke: float

    @property
    def are_drums(self) -> bool:
        """Whether they are any."""
        own = self.own_share >= OWN_SHARE
        dull = self.of_high_db < LEAST_OF_HIGH_DB or self.high_db < LEAST_HIGH_DB
        unstruck = self.stroke < LEAST_STROKE and self.of_high_db < HALF_DB
        return not ((dull and not own) or unstruck)


def drum_evidence(frames: TrackFrames, plays: np.ndarray) -> DrumEvidence:
    """Evidence of drums.

    Parameters
    ----------
    frames : TrackFrames
        Of the track.
    plays : (n_frames,) ndarray of bool
        Where the drums play by the network, in one frame at least.

    Returns
    -------
    DrumEvidence
        Of mel power.
    """
    drums, mixture = frames.stems["drums"].mel, frames.stems[MIXTURE].mel
    share = []
    high, total, top = np.zeros(2), np.zeros(2), 0.0
    for part in windows(drums, mixture):
        on = plays[part]
        mel = [np.asarray(row[:, part][:, on], dtype=np.float64) for row in (drums, mixture)]
        sums = [row.sum(axis=0) for row in mel]
        share.append(sums[0] / np.maximum(sums[1], 1e-20))
        total += [some.sum() for some in sums]
        high += [row[HIGH_BAND:].sum() for row in mel]
        top += float(mel[1][TOP_BAND:].sum())
    empty = top <= EMPTY_TOP * total[1]
    return DrumEvidence(
        float(np.percentile(np.concatenate(share), OWN_PERCENTILE)),
        np.nan if empty else _db(high[0], high[1]),
        np.nan if empty else _db(high[0], total[0]),
        float(np.percentile(np.nan_to_num(frames.onset)[plays], STROKE_PERCENTILE)),
    )


def _db(part: float, whole: float) -> float:
    return float(10 * np.log10(max(part, 1e-20) / max(whole, 1e-20)))
