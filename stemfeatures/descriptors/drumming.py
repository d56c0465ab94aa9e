"""Whether what is heard as drums is drums, or the strokes of strings and bars.

Pianos, plucked strings and mallets are struck as drums are, and what is repeated evenly may pass for drums. Drums have
something to themselves, though: moments in which hardly anything else sounds, or the highest octave, which strings
leave to cymbals and snares. What has neither is no drums, nor is what has no strokes and less than half of the highest
bands: mallets that ring, and bows. The masks leave the lowest notes of pianos and basses to the drums: what sounds
while a deep pitch is held, and falls off more steeply than drums do, with next to nothing above their body, is such a
note.
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
#: First mel band of those between the body of a drum and the highest ones (1.3 kHz).
UPPER_BAND = 30
#: Drums that have this share of their energy while a deep pitch is held, and so little of the highest bands beside
#: those below them, in dB, are that pitch: low notes of pianos and basses have -18 to -31 dB, a kick drum or a kit
#: beside a deep bass -3 to -13 dB. Below the second value a file has no such bands.
HELD_SHARE, STEEP_DB, CUT_DB = 0.4, -15.0, -60.0
#: In dull recordings kits fall off as steeply, but such notes have less than this share above the body of a drum, in
#: dB: -29 to -68 dB, kits that end at 3.4 or 2.5 kHz beside a bass as deep -18 to -22 dB.
LEAST_UPPER_DB = -26.0


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
    upper_db : float
        Share of the bands between the body of a drum and the highest ones in them.
    slope_db : float
        The highest bands in them over those between.
    held_share : float
        Share of their energy while a deep pitch is held, 0..1.
    """

    own_share: float
    of_high_db: float
    high_db: float
    stroke: float
    upper_db: float
    slope_db: float
    held_share: float

    @property
    def are_drums(self) -> bool:
        """Whether they are any."""
        is_cut = self.slope_db < CUT_DB
        own = self.own_share >= OWN_SHARE
        dull = self.of_high_db < LEAST_OF_HIGH_DB or self.high_db < LEAST_HIGH_DB
        unstruck = self.stroke < LEAST_STROKE and self.of_high_db < HALF_DB
        steep = self.slope_db < STEEP_DB and not is_cut and self.upper_db < LEAST_UPPER_DB
        held = self.held_share >= HELD_SHARE and steep
        return not ((dull and not own) or unstruck or held)


def drum_evidence(frames: TrackFrames, plays: np.ndarray, held: np.ndarray) -> DrumEvidence:
    """Evidence of drums.

    Parameters
    ----------
    frames : TrackFrames
        Of the track.
    plays : (n_frames,) ndarray of bool
        Where the drums play by the network, in one frame at least.
    held : (n_frames,) ndarray of bool
        Where a deep pitch is held.

    Returns
    -------
    DrumEvidence
        Of mel power.
    """
    drums, mixture = frames.stems["drums"].mel, frames.stems[MIXTURE].mel
    share = []
    high, total, top, upper, deep = np.zeros(2), np.zeros(2), 0.0, 0.0, 0.0
    for part in windows(drums, mixture):
        on = plays[part]
        mel = [np.asarray(row[:, part][:, on], dtype=np.float64) for row in (drums, mixture)]
        sums = [row.sum(axis=0) for row in mel]
        share.append(sums[0] / np.maximum(sums[1], 1e-20))
        total += [some.sum() for some in sums]
        high += [row[HIGH_BAND:].sum() for row in mel]
        top += float(mel[1][TOP_BAND:].sum())
        upper += float(mel[0][UPPER_BAND:HIGH_BAND].sum())
        deep += float(sums[0][held[part][on]].sum())
    empty = top <= EMPTY_TOP * total[1]
    return DrumEvidence(
        float(np.percentile(np.concatenate(share), OWN_PERCENTILE)),
        np.nan if empty else _db(high[0], high[1]),
        np.nan if empty else _db(high[0], total[0]),
        float(np.percentile(np.nan_to_num(frames.onset)[plays], STROKE_PERCENTILE)),
        _db(upper, total[0]),
        _db(high[0], upper),
        float(deep) / max(total[0], 1e-20),
    )


def _db(part: float, whole: float) -> float:
    return float(10 * np.log10(max(part, 1e-20) / max(whole, 1e-20)))
