"""What the network and one STFT per stem say about each time frame of a track.

Frames are compact (no waveforms), so they may travel between processes. Descriptors read frames only.
All arrays are float32 and share the frame axis ``n_frames = 1 + n_samples // HOP_LENGTH``; frame ``k`` is
centred on ``k * HOP_LENGTH / ANALYSIS_SAMPLE_RATE`` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._util.large_arrays import release
from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, STEM_ROWS

#: Samples (5.8 ms) whose largest absolute value is kept for attacks.
ENVELOPE_HOP = 128
#: Bands of the place between two channels, and their edges in Hz: a constant offset stays below the first.
STEREO_BANDS = ("low", "mid", "high")
STEREO_EDGES_HZ = (20.0, 250.0, 4000.0, 11_025.0)
#: Of so many frames one is looked at for it; their windows touch.
STEREO_STEP = 4
#: Of so many frames one is looked at for its dissonance.
ROUGHNESS_STEP = 8


@dataclass
class StemFrames:
    """One stem (or the mixture) of the mono 22,050 Hz analysis signal.

    Attributes
    ----------
    mel : np.ndarray
        (N_MELS, n_frames) mel power, Slaney filters with Slaney normalisation (librosa's default), 0 to 11,025 Hz.
    chroma : (N_CHROMA, n_frames) power per third of a semitone; bin ``3 * pc`` is centred on pitch class ``pc``
        (0 = C) at A4 = 440 Hz, bin ``3 * pc + 1`` lies 33 cents above, ``3 * pc - 1`` 33 cents below (modulo 36).
    contrast : np.ndarray
        (N_CONTRAST, n_frames) spectral contrast in dB (librosa's six octave bands from 200 Hz, plus one).
    energy : np.ndarray
        (n_frames,) mean square of the samples under the (squared, unit-sum) Hann window.
    k_power : np.ndarray
        (n_frames,) the same after ITU-R BS.1770 K-weighting.
    peak : float
        Largest absolute value of the four times oversampled waveform.
    centroid_hz, bandwidth_hz, rolloff_hz : np.ndarray
        (n_frames,) of the magnitude spectrum; 0 where the frame is all zero.
    flatness : np.ndarray
        (n_frames,) geometric over arithmetic mean of the power spectrum, 0 to 1; 0 where the frame is all zero.
    mask_energy : np.ndarray, optional
        (n_frames,) the same as ``energy``, of the mixture times the mask once: its excess over ``energy`` is what the
        mask, read as a probability, leaves open between the stems. None where no masks were applied.
    embedding : np.ndarray, optional
        (n_dims,) network features averaged over the stem's share of the time-frequency plane, or None when the stem is
        silent throughout.
    channel_power : np.ndarray, optional
        (n_bands, 3, ceil(n_frames / 4)) of one frame of four, summed over the bins of the bands of
        :mod:`.frames.stereo`: power of the left channel, of the right one, and the real part of their cross power.
        None where there are not two channels.
    bark : np.ndarray, optional
        (23, n_frames) power of the Bark bands (:data:`stemfeatures.constants.BARK_EDGES_HZ`).
    skewness, kurtosis : np.ndarray, optional
        (n_frames,) of the magnitude spectrum around its centroid, the kurtosis less 3; 0 where it is one line or zero.
    zero_crossing_rate : np.ndarray, optional
        (n_frames,) changes of sign a sample of the 2048 samples around the centre, 0 to 1.
    envelope : np.ndarray, optional
        (4 * n_frames,) largest absolute value of consecutive 128 samples (5.8 ms), from the beginning of the signal.
    dissonance : np.ndarray, optional
        (ceil(n_frames / 8),) roughness of the peaks of one frame of eight (:func:`.roughness.roughness`).
    bin_rise : np.ndarray, optional
        (n_frames,) mean rise of the bins since the frame before (:func:`.bin_rise.bin_rise`), 0 to 5.
    """

    mel: np.ndarray
    chroma: np.ndarray
    contrast: np.ndarray
    energy: np.ndarray
    k_power: np.ndarray
    peak: float
    centroid_hz: np.ndarray
    bandwidth_hz: np.ndarray
    rolloff_hz: np.ndarray
    flatness: np.ndarray
    embedding: np.ndarray | None = None
    mask_energy: np.ndarray | None = None
    channel_power: np.ndarray | None = None
    bark: np.ndarray | None = None
    skewness: np.ndarray | None = None
    kurtosis: np.ndarray | None = None
    zero_crossing_rate: np.ndarray | None = None
    envelope: np.ndarray | None = None
    dissonance: np.ndarray | None = None
    bin_rise: np.ndarray | None = None


@dataclass
class PitchFrames:
    """F0 salience of one stem, reduced to its highest peaks per frame.

    Attributes
    ----------
    candidates_hz : np.ndarray
        (n_frames, N_PITCH_CANDIDATES) frequencies in Hz, highest salience first; NaN pads.
    salience : np.ndarray
        (n_frames, N_PITCH_CANDIDATES) in 0..1; 0 pads.
    voicing : np.ndarray
        (n_frames,) probability in 0..1 that the stem has a pitch at all.
    between_hz : np.ndarray, optional
        (n_frames,) pitch half way from each frame to the next, NaN where there is none; None: it was not looked for.
    """

    candidates_hz: np.ndarray
    salience: np.ndarray
    voicing: np.ndarray
    between_hz: np.ndarray | None = None


@dataclass
class VoiceFrames:
    """What the waveform of the separated voice says of some of the frames that have a pitch; NaN where it does not.

    Attributes
    ----------
    frame : np.ndarray
        (n,) int64 numbers of the frames, increasing.
    hz : np.ndarray
        (n,) pitch whose periods were looked at.
    perturbations : np.ndarray
        (n, 4) jitter (local, RAP) and shimmer (local, APQ3), shares of the mean.
    harmonicity_db : np.ndarray
        (n, 2) harmonics-to-noise ratio and cepstral peak prominence.
    formants_hz : np.ndarray
        (n, 6) frequencies of the first three formants, then their bandwidths.
    """

    frame: np.ndarray
    hz: np.ndarray
    perturbations: np.ndarray
    harmonicity_db: np.ndarray
    formants_hz: np.ndarray


@dataclass
class InharmonicityFrames:
    """How harmonic the tones of one stem are, of some of the frames that have a pitch.

    Attributes
    ----------
    frame : np.ndarray
        (n,) int64 numbers of the frames, increasing.
    hz : np.ndarray
        (n,) pitch whose partials were looked at.
    inharmonicity : np.ndarray
        (n,) mean distance of the partials from the multiples of the fundamental, as a share of it; NaN where there are
        too few.
    """

    frame: np.ndarray
    hz: np.ndarray
    inharmonicity: np.ndarray


@dataclass
class NoteFrames:
    """What the network of notes says of a stem of several voices.

    Attributes
    ----------
    onset, active : np.ndarray
        (N_NOTES, n_frames) probabilities in 0..1 that a note of the pitch begins, and sounds; the first pitch is
        :data:`stemfeatures.constants.LOWEST_NOTE`.
    deviation : np.ndarray
        (N_NOTES, n_frames) semitones that such a note lies above the pitch.
    """

    onset: np.ndarray
    active: np.ndarray
    deviation: np.ndarray


@dataclass
class FeatureCells:
    """The network's features of each row in stretches of time, in the order of their frames but where segments meet.

    Attributes
    ----------
    stride : int
        Frames of a cell.
    first : np.ndarray
        (n_cells,) number of its first frame.
    weight : np.ndarray
        (n_rows, n_cells) sum of what the features count by, in the order of :attr:`TrackFrames.rows`.
    sums, squares : np.ndarray
        (n_rows, n_channels, n_cells) weighted sums of the features and of their squares.
    """

    stride: int
    first: np.ndarray
    weight: np.ndarray
    sums: np.ndarray
    squares: np.ndarray


@dataclass
class TrackFrames:
    """All frames of one track.

    Attributes
    ----------
    n_samples : int
        Length of the analysis signal in samples.
    stems : dict[str, StemFrames]
        ``{"mixture" | "vocals" | "drums" | "bass" | "other": StemFrames}``, and further stems that were separated.
    pitch : dict[str, PitchFrames]
        ``{"vocals" | "bass": PitchFrames}``.
    onset, beat, downbeat : np.ndarray
        (n_frames,) activations in 0..1.
    presence : np.ndarray, optional
        (4, n_frames) probabilities in 0..1, in the order of ``STEMS``, that the stem plays at all; None from a network
        that does not say it.
    step_power : np.ndarray, optional
        (n_steps,) BS.1770 channel-summed K-weighted mean square of the *full-rate, all-channel* signal in consecutive
        steps of 100 ms; None when only the analysis signal is known.
    true_peak : float, optional
        Largest true peak over the full-rate channels (linear), or None likewise.
    model : str, default=''
        Name of the checkpoint.
    model_sha256 : str, default=''
        Digest of its file.
    channels : int, optional
        Number of channels of the decoded signal; None when only the analysis signal is known.
    voice : VoiceFrames, optional
        Of the separated vocals; None where there is no waveform of them.
    tones : dict[str, InharmonicityFrames], optional
        ``{"vocals" | "bass": InharmonicityFrames}``; None likewise.
    notes : NoteFrames, optional
        Of ``other``; None where they were not asked for.
    voices : PitchFrames, optional
        Pitches that are sung in the vocals as the network of voices hears them, by their probability; its ``voicing``
        is the probability that several voices sing. None where they were not asked for.
    cells : FeatureCells, optional
        The network's features along the track; None where they were not asked for.
    """

    n_samples: int
    stems: dict[str, StemFrames]
    pitch: dict[str, PitchFrames]
    onset: np.ndarray
    beat: np.ndarray
    downbeat: np.ndarray
    presence: np.ndarray | None = None
    step_power: np.ndarray | None = None
    true_peak: float | None = None
    model: str = ""
    model_sha256: str = ""
    channels: int | None = None
    voice: VoiceFrames | None = None
    tones: dict[str, InharmonicityFrames] | None = None
    notes: NoteFrames | None = None
    voices: PitchFrames | None = None
    cells: FeatureCells | None = None

    def release(self) -> None:
        """Take what was read of a long track's frames out of memory; it is read again where it is used."""
        release(self.onset, *(stem.energy for stem in self.stems.values()))

    @property
    def rows(self) -> tuple[str, ...]:
        """``STEM_ROWS``, then the names of further stems."""
        return (*STEM_ROWS, *self.further)

    @property
    def further(self) -> tuple[str, ...]:
        """Names of stems beside the four; they are part of ``other``."""
        return tuple(name for name in self.stems if name not in STEM_ROWS)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.onset)

    @property
    def duration_s(self) -> float:
        """Length of the analysis signal in seconds."""
        return self.n_samples / ANALYSIS_SAMPLE_RATE

    @property
    def times_s(self) -> np.ndarray:
        """(n_frames,) frame centres in seconds, float64."""
        return np.arange(self.n_frames) * (HOP_LENGTH / ANALYSIS_SAMPLE_RATE)
