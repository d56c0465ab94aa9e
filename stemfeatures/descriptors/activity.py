"""When a stem plays: the gate that every other family stands behind.

Separation never leaves an absent stem at digital zero: bleed of the others stays, often 20 dB and less below the
mixture. So a frame of a stem is *active* when its energy exceeds both

* the level of the mixture less 40 dB, and
* the stem's own level less 50 dB, which cuts reverb tails and the noise floor,

and when the network hears the stem play there (its presence, with hysteresis, so that a phrase is not torn; of vocals
it is lowered where phrase and track sound like no voice, :mod:`.singing`). A stem of which it is nowhere sure is
*absent*, as is one that has hardly any of the spectrum to itself, and drums that sound like struck strings
(:mod:`.drumming`). Everything is relative to the track: a file turned
down is as active as it was. A track without a frame above -60 dBFS mean square (the threshold of essentia's
``silence_rate_60db``) is silent, and below -100 dBFS (16-bit rounding noise) nothing sounds.

The level is the energy-weighted mean of the frame energies, ``sum(e ** 2) / sum(e)``: how loud a signal is where it has
its energy, whatever the share of silence around it. A constant offset is no sound: the energy is limited to
15 dB above the K-weighted power, which leaves 20 Hz and up as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE, FRAME_RATE, HOP_LENGTH, MIXTURE, PITCH_FMIN, STEMS
from ..fields import DURATION, NOT_A_COORDINATE, Field, status_field
from ..frames import StemFrames, TrackFrames
from .drumming import drum_evidence
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .singing import SingingModel, SingingWindows, singing_windows, sung_presence
from .values import OK, SILENT, number, runs, sums_before

ABSOLUTE_FLOOR_DBFS = -60.0
ROUNDING_DBFS = -100.0
BELOW_MIXTURE_DB = 40.0
BELOW_OWN_LEVEL_DB = 50.0
#: K-weighted share of a constant, at most: a Hann window spreads a third of it to 10.8 Hz, where K-weighting is -23 dB.
CONSTANT_LEAKAGE = 0.006
#: Largest excess of the energy over the K-weighted power that sound can have (a 20 Hz sine: 13 dB).
INAUDIBLE_DB = 15.0
#: Pauses shorter than this do not end a segment.
MAX_GAP_S = 0.5
#: A stem plays from where its presence is above the first value for as long as it is above the second. Chosen on mixes
#: of true stems by the error of the activity ratio and the frames that are wrong.
PRESENCE_ON = {"vocals": 0.5, "drums": 0.85, "bass": 0.5, "other": 0.5}
PRESENCE_OFF = {"vocals": 0.3, "drums": 0.5, "bass": 0.3, "other": 0.2}
#: A stem is absent unless its presence is above this for half a second, or for this share of a short track.
SURE = {"vocals": 0.85, "other": 0.7}
SURE_S, SURE_SHARE = 0.5, 0.1
#: Attacks of pianos and guitars sound like drums for moments, their low notes like a bass, and moments add up in a long
#: song: these stems are absent unless the mean of their presence over so many seconds is above this somewhere. Chosen
#: on songs with and without their drums or bass.
SURE_MEAN, SURE_MEAN_S, SURE_MEAN_OF = 0.84, 3.0, ("drums", "bass")
#: Towards the lowest note of its grid the network hears less and less of a bass, takes more and more of it for drums,
#: and the pitch lies on either side of that note by turns. Up to five semitones above it a steady pitch is a bass,
#: heard or not, however little of it the masks leave; the bass is there, with all the gaps between its notes, where so
#: much of the same seconds has one of this voicing. Kick drums are shorter.
DEEP_HZ = PITCH_FMIN * 2 ** (5 / 12)
DEEP_VOICING, DEEP_SHARE = 0.8, 0.5
#: A bass that the network hears less surely is one where it plays, at a pitch of that voicing, in so much of the same
#: seconds. Pianos and guitars in whose low notes it hears a bass as surely have 0.54 or less.
PITCHED_SHARE = 0.65
#: What leaks into the estimate of a stem that does not play is soft, and other stems have more of every bin of it. So a
#: stem is absent, too, unless over so many seconds of what it plays, at best, its share of the mixture's energy times
#: the mean mask is above this, in dB. Chosen as the above, the quietest stems of recordings being above.
CLEAR_DB = {"drums": -25.0, "bass": -16.0, "other": -21.0}
CLEAR_S = 8.0
#: Values of ``voice_instrumental``.
VOICE, INSTRUMENTAL = "voice", "instrumental"

_field = partial(Field, type="float32", family="activity")
FIELDS = (
    status_field(
        "activity_status", "ok | silent | absent", "the row plays at all and so its activity", family="activity"
    ),
    _field(
        "activity_ratio",
        description="Share of frames in which the row plays: above the mixture's level less 40 dB and its own level "
        "less 50 dB and, of a stem, where the network hears it; 0 where it is absent.",
        range="0..1",
    ),
    _field(
        "active_duration_s",
        description="activity_ratio times the duration.",
        unit="s",
        range=">= 0",
        scale=DURATION,
    ),
    _field(
        "activity_start_s",
        type="float64",
        description="Start of the first active frame.",
        unit="s",
        range=">= 0",
        scale=DURATION,
    ),
    _field(
        "activity_end_s",
        type="float64",
        description="End of the last active frame.",
        unit="s",
        range=">= 0",
        scale=DURATION,
    ),
    _field(
        "n_active_segments",
        type="int32",
        description="Active stretches, pauses under 0.5 s bridged.",
        range=">= 0",
        scale=DURATION,
    ),
    _field(
        "voice_instrumental",
        type="category",
        description="voice where the vocals play, instrumental where they are absent (essentia's term).",
        range="voice | instrumental",
        rows=(MIXTURE,),
        since="1.1",
    ),
    _field("silence_rate_60db", description="Share of frames below -60 dBFS mean square.", range="0..1"),
    _field(
        "energy_share",
        description="Energy of the stem over the sum of the four stems.",
        range="0..1",
        rows=STEMS,
        # What else plays decides it, not the stem: it is no coordinate of one.
        scale=NOT_A_COORDINATE,
    ),
)


def level(energy: np.ndarray) -> float:
    """Energy-weighted mean of the frame energies (linear mean square); 0 for silence."""
    e = np.asarray(energy, dtype=np.float64)
    total = e.sum()
    return float((e * (e / total)).sum()) if total > 0 else 0.0


def audible_energy(stem: StemFrames) -> np.ndarray:
    """(n_frames,) energy without that of a constant offset."""
    weighted = np.maximum(stem.k_power - np.float32(CONSTANT_LEAKAGE) * stem.energy, 0)
    return np.minimum(stem.energy, weighted * np.float32(10 ** (INAUDIBLE_DB / 10)))


def active_frames(energy: np.ndarray, mixture_energy: np.ndarray) -> np.ndarray:
    """Boolean mask of the frames in which a stem sounds.

    Parameters
    ----------
    energy, mixture_energy : (n_frames,) ndarray
        Mean squares of the stem and of the mixture, full scale = 1.

    Returns
    -------
    (n_frames,) ndarray of bool
        True where it sounds.
    """
    if not len(mixture_energy) or mixture_energy.max() <= 10 ** (ABSOLUTE_FLOOR_DBFS / 10):
        return np.zeros(len(energy), dtype=bool)
    floor = max(
        10 ** (ROUNDING_DBFS / 10),
        level(mixture_energy) * 10 ** (-BELOW_MIXTURE_DB / 10),
        level(energy) * 10 ** (-BELOW_OWN_LEVEL_DB / 10),
    )
    return np.asarray(energy) > floor


def playing_frames(presence: np.ndarray, on: float, off: float) -> np.ndarray:
    """Boolean mask of the frames in which a stem plays.

    Parameters
    ----------
    presence : (n_frames,) ndarray
        Probability that it plays, 0..1.
    on, off : float
        A stretch of frames above ``off`` counts when one of them is above ``on``.

    Returns
    -------
    (n_frames,) ndarray of bool
        True where it plays.
    """
    stretches = runs(np.asarray(presence) > off)
    if not len(stretches):
        return np.zeros(len(presence), dtype=bool)
    peaks = np.maximum.reduceat(np.append(presence, 0.0), stretches.ravel())[::2]
    steps = np.zeros(len(presence) + 1, dtype=np.int64)
    kept = stretches[peaks > on]
    steps[kept[:, 0]] = 1
    steps[kept[:, 1]] = -1
    return np.cumsum(steps[:-1]) > 0


def clearness_db(stem: StemFrames, energy: np.ndarray, mixture_energy: np.ndarray, plays: np.ndarray) -> float:
    """How much of the mixture is surely a stem's, where it plays.

    Parameters
    ----------
    stem : StemFrames
        Of the stem.
    energy, mixture_energy : (n_frames,) ndarray
        :func:`audible_energy` of the stem and of the mixture.
    plays : (n_frames,) ndarray of bool
        Where it plays.

    Returns
    -------
    float
        Energy of the stem over that of the mixture, times the mean mask (weighted by the energy that it takes), in dB,
        of the eight seconds of these frames in which it is largest; infinite where nothing plays, or no masks were
        applied.
    """
    if stem.mask_energy is None or not plays.any():
        return np.inf
    span = min(round(CLEAR_S * FRAME_RATE), int(plays.sum()))
    sums = (sums_before(row[plays]) for row in (energy, mixture_energy, stem.energy, stem.mask_energy))
    own, of, kept, masked = (np.maximum(total[span:] - total[:-span], 0.0) for total in sums)
    known = (of > 0) & (masked > 0)
    if not known.any():
        return np.inf
    share = (own / np.where(known, of, 1.0)) * (kept / np.where(known, masked, 1.0))
    return float(10 * np.log10(max(share[known].max(), 1e-12)))


def describe_activity(frames: TrackFrames, stem: str, active: np.ndarray) -> dict[str, Any]:
    """Fields of the family ``activity`` for one row."""
    hop_s = HOP_LENGTH / ANALYSIS_SAMPLE_RATE
    duration = frames.duration_s
    energy = frames.stems[stem].energy
    sounding = np.flatnonzero(active)
    segments = runs(active)
    if len(segments) > 1:
        segments = segments[np.r_[True, (segments[1:, 0] - segments[:-1, 1]) * hop_s >= MAX_GAP_S]]
    share = None
    if stem != MIXTURE and len(sounding):
        total = sum(float(frames.stems[name].energy.sum(dtype=np.float64)) for name in STEMS)
        share = number(energy.sum(dtype=np.float64) / total) if total > 0 else None
    return {
        "activity_status": OK if len(sounding) else SILENT,
        "activity_ratio": number(active.mean()) if len(active) else None,
        "active_duration_s": number(active.mean() * duration) if len(active) else None,
        "activity_start_s": number(max(0.0, (sounding[0] - 0.5) * hop_s)) if len(sounding) else None,
        "activity_end_s": number(min(duration, (sounding[-1] + 0.5) * hop_s)) if len(sounding) else None,
        "n_active_segments": len(segments),
        # What is heard of a stem that does not play is others' sound.
        "silence_rate_60db": (
            number((energy < 10 ** (ABSOLUTE_FLOOR_DBFS / 10)).mean()) if len(sounding) or stem == MIXTURE else None
        ),
        "energy_share": share,
    }


def active_rows(inputs: DescriptorInputs) -> dict[str, np.ndarray]:
    """Active frames of every row, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{row: (n_frames,) bool}``.
    """
    frames = inputs.frames
    audible = {row: audible_energy(frames.stems[row]) for row in frames.rows}
    active = {row: active_frames(energy, audible[MIXTURE]) for row, energy in audible.items()}
    if frames.presence is None:
        return active
    # A steady pitch below the grid of the network is a bass to us.
    deep = deep_voicing(frames)
    is_deep = _is_deep_bass(deep, active["bass"])
    presence = dict(zip(STEMS, frames.presence)) | {"vocals": inputs.get(presence_of_vocals)}
    playing = {stem: _plays(stem, row, active[stem]) for stem, row in presence.items() if stem != "bass"}
    bass = np.maximum(presence["bass"], deep)
    is_sure = is_deep or _is_pitched_bass(frames, bass, active["bass"])
    playing["bass"] = _plays("bass", bass, active["bass"], is_sure=is_sure)
    for stem, least_db in CLEAR_DB.items():
        if stem == "bass" and is_deep:
            continue
        if clearness_db(frames.stems[stem], audible[stem], audible[MIXTURE], playing[stem]) < least_db:
            playing[stem] = np.zeros_like(playing[stem])
    if playing["drums"].any() and not drum_evidence(frames, playing["drums"], deep > DEEP_VOICING).are_drums:
        playing["drums"] = np.zeros_like(playing["drums"])
    if active[MIXTURE].any() and not any(frame.any() for frame in playing.values()):
        # Something does: the loudest, however strange it sounds to the network.
        loudest = max(STEMS, key=lambda stem: float(audible[stem].sum(dtype=np.float64)))
        playing[loudest] = active[loudest]
    return active | playing


@dataclass(frozen=True)
class HeardVocals:
    """What there is to say of the vocals of a track with presence.

    Attributes
    ----------
    presence : np.ndarray
        (n_frames,) what the network says, 0..1.
    sounding : np.ndarray
        (n_frames,) bool, where they are loud enough.
    windows : SingingWindows
        Of where they play as far as that says.
    """

    presence: np.ndarray
    sounding: np.ndarray
    windows: SingingWindows

    @classmethod
    def of(cls, frames: TrackFrames) -> HeardVocals:
        """Of the frames of a track."""
        assert frames.presence is not None
        presence = frames.presence[STEMS.index("vocals")]
        audible, mixture = (audible_energy(frames.stems[row]) for row in ("vocals", MIXTURE))
        sounding = active_frames(audible, mixture)
        plays = _plays("vocals", presence, sounding)
        return cls(presence, sounding, singing_windows(frames, plays, audible, mixture))

    @property
    def by_network(self) -> np.ndarray:
        """(n_frames,) bool where they play by the network alone."""
        return _plays("vocals", self.presence, self.sounding)

    def playing(self, model: SingingModel) -> np.ndarray:
        """(n_frames,) bool where they play by what windows and track say, too."""
        return _plays("vocals", sung_presence(self.presence, self.windows, model), self.sounding)


def presence_of_vocals(inputs: DescriptorInputs) -> np.ndarray:
    """Presence of the vocals, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of a track whose frames have presence.

    Returns
    -------
    np.ndarray
        (n_frames,) that of the network, lowered where phrase and track sound like no voice (:mod:`.singing`).
    """
    heard = HeardVocals.of(inputs.frames)
    return sung_presence(heard.presence, heard.windows)


def deep_voicing(frames: TrackFrames) -> np.ndarray:
    """(n_frames,) voicing of the bass where its pitch is below what the network hears well, 0 elsewhere."""
    pitch = frames.pitch["bass"]
    return np.where(np.nan_to_num(pitch.candidates_hz[:, 0], nan=np.inf) < DEEP_HZ, pitch.voicing, 0.0)


def _is_deep_bass(deep: np.ndarray, active: np.ndarray) -> bool:
    """Whether a steady deep pitch fills enough of some seconds to be a bass."""
    return _highest_mean(active & (deep > DEEP_VOICING)) > DEEP_SHARE


def _is_pitched_bass(frames: TrackFrames, presence: np.ndarray, active: np.ndarray) -> bool:
    """Whether what may be a bass has a pitch in enough of some seconds to be one."""
    plays = active & playing_frames(presence, PRESENCE_ON["bass"], PRESENCE_OFF["bass"])
    return _highest_mean(plays & (frames.pitch["bass"].voicing > DEEP_VOICING)) > PITCHED_SHARE


def _highest_mean(of: np.ndarray) -> float:
    """Largest mean over ``SURE_MEAN_S`` seconds, or over all of a shorter track."""
    span = min(round(SURE_MEAN_S * FRAME_RATE), len(of))
    return float(np.convolve(of, np.full(span, 1 / span), "valid").max())


def _plays(stem: str, presence: np.ndarray, active: np.ndarray, *, is_sure: bool = False) -> np.ndarray:
    """Of the active frames of a stem those in which it plays by its presence; none when it is absent, unless it is sure
    from elsewhere that it is not."""
    plays = active & playing_frames(presence, PRESENCE_ON[stem], PRESENCE_OFF[stem])
    if stem in SURE_MEAN_OF:
        sure = is_sure or _highest_mean(presence) > SURE_MEAN
    else:
        enough = min(SURE_S * FRAME_RATE, SURE_SHARE * len(presence))
        sure = bool((plays & (presence > SURE[stem])).sum() >= enough)
    return plays if sure else np.zeros_like(plays)


def _activity(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    active = inputs.get(active_rows)
    values = describe_activity(inputs.frames, row, active[row])
    if row == MIXTURE and active[row].any():
        values["voice_instrumental"] = VOICE if active["vocals"].any() else INSTRUMENTAL
    return values


register(Extractor("activity", 10, FIELDS, "activity_status", _activity))
