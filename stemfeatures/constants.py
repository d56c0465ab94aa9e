"""The grids that every part of the library shares, stated once.

Notes
-----
* Analysis signal: mono (mean of the channels), 22,050 Hz, float32, full scale = 1.0.
* Analysis spectrogram: 2048-point periodic Hann window, hop 512 samples (23.22 ms), frames centred on
  ``k * HOP_LENGTH`` samples (reflect-free zero padding at both ends). The Nyquist bin is dropped: 1024 bins.
  At 44,100 Hz a 4096/1024 grid has the same frame times, and its lower 1024 bins the same frequencies.
* Pitch grid: 360 bins of 20 cents; bin ``k`` is ``32.70 * 2 ** (k / 60)`` Hz (C1 to just under C7). This is the
  grid of Bittner et al. (ISMIR 2017), which is *not* the one of CREPE (31.70 Hz, 54 cents lower).
* Times are seconds, float64, from the first decoded sample; they are frame centres.
"""

ANALYSIS_SAMPLE_RATE = 22_050
N_FFT = 2048
HOP_LENGTH = 512
N_BINS = N_FFT // 2
FRAME_RATE = ANALYSIS_SAMPLE_RATE / HOP_LENGTH

STEMS = ("vocals", "drums", "bass", "other")
MIXTURE = "mixture"
#: Every name a row of the ``stems`` table can carry, in the order the rows are written.
STEM_ROWS = (MIXTURE, *STEMS)
#: Stems whose F0 is estimated.
PITCHED_STEMS = ("vocals", "bass")

PITCH_FMIN = 32.70
PITCH_BINS_PER_OCTAVE = 60
N_PITCH_BINS = 360
#: Pitch candidates kept per frame.
N_PITCH_CANDIDATES = 5

N_MELS = 80
#: Chroma is kept at three bins a semitone, so that tuning can be estimated and removed afterwards.
N_CHROMA = 36
N_CONTRAST = 7
#: Edges of the Bark bands in Hz (Zwicker 1961); the last of them ends with the spectrum.
BARK_EDGES_HZ = (
    0, 100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400,
    7700, 9500, 11_025,
)  # fmt: skip
#: Lowest pitch (MIDI) of the notes of a stem of several voices, and how many there are: A1 to C7.
LOWEST_NOTE, N_NOTES = 33, 64
