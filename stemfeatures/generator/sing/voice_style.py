"""How a voice sings: habits of pitch, colour and timing, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class VoiceStyle:
    """One delivery of one singer. The defaults are a plain pop delivery; :meth:`draw` gives others.

    Pitch is in semitones, probabilities are 0 to 1.
    """

    #: Probability that a long note has vibrato, its rate, its extent (half of peak to peak) and when it sets in.
    vibrato: float = 0.6
    vibrato_hz: float = 5.6
    vibrato_extent: float = 0.35
    vibrato_delay_s: float = 0.2
    #: Length of the slide between notes, and how far it overshoots (share of the interval).
    glide_s: float = 0.08
    overshoot: float = 0.03
    #: Probability of scooping up into a note, depth of a usual scoop; probability of falling off a phrase's end.
    scoop: float = 0.3
    scoop_depth: float = 1.0
    fall: float = 0.15
    #: Slow wandering and fast trembling of pitch (standard deviations), error of single notes, offset of all.
    drift: float = 0.06
    jitter: float = 0.025
    intonation: float = 0.06
    detune: float = 0.0
    #: Trembling of the level, in dB.
    shimmer: float = 0.5
    #: Factor on all formant frequencies (above 1: a shorter vocal tract).
    formant: float = 1.0
    #: Slope added to the spectrum in dB per octave around 1 kHz, for brighter (above 0) or darker voices.
    tilt: float = 0.0
    #: Peak around 2.9 kHz in dB (the singer's formant), and noise added to the voiced sound (0 to 1).
    singers_formant: float = 0.0
    breathiness: float = 0.0
    #: How much every other glottal pulse is weaker, 0 to 1: the rough voice of shouted singing. ``growl``: the false
    #: folds alone, noise without a pitch.
    roughness: float = 0.0
    growl: bool = False
    #: How many dB louder and brighter an octave higher is sung; how much a phrase swells in its middle.
    effort: float = 4.0
    swell: float = 2.0
    #: Factor on the length of consonants; probability of an audible breath where there is time for one.
    consonant_rate: float = 1.0
    breath: float = 0.5

    @classmethod
    def draw(cls, rng: np.random.Generator) -> VoiceStyle:
        """A random style, from straight and tuned to operatic."""
        style = cls(
            vibrato=rng.choice([0.0, 0.3, 0.6, 0.9]),
            vibrato_hz=rng.uniform(4.5, 6.9),
            vibrato_extent=float(np.exp(rng.uniform(np.log(0.12), np.log(0.8)))),
            vibrato_delay_s=rng.uniform(0.05, 0.35),
            glide_s=float(np.exp(rng.uniform(np.log(0.035), np.log(0.16)))),
            overshoot=rng.uniform(0.0, 0.08),
            scoop=rng.uniform(0.0, 0.6),
            scoop_depth=rng.uniform(0.5, 1.5),
            fall=rng.uniform(0.0, 0.35),
            drift=rng.uniform(0.02, 0.12),
            jitter=rng.uniform(0.01, 0.04),
            intonation=rng.uniform(0.0, 0.15),
            detune=rng.normal(0.0, 0.04),
            shimmer=rng.uniform(0.2, 0.9),
            formant=float(np.exp(rng.normal(0.0, 0.06))),
            tilt=rng.normal(0.0, 1.0),
            singers_formant=max(rng.normal(0.0, 4.0), 0.0),
            breathiness=max(rng.normal(0.0, 0.12), 0.0),
            effort=rng.uniform(1.0, 7.0),
            swell=rng.uniform(0.0, 4.0),
            consonant_rate=rng.uniform(0.75, 1.25),
            breath=rng.uniform(0.0, 1.0),
        )
        if rng.random() < 0.12:  # the hard-tuned voice of records: steps, no error, no vibrato
            style = replace(style, vibrato=0.0, glide_s=0.015, overshoot=0.0, drift=0.005, jitter=0.008, intonation=0.0)
            style = replace(style, scoop=0.0, detune=0.0)
        return style

    def strained(self, rng: np.random.Generator) -> VoiceStyle:
        """The same singer at the top of the voice: rough, straight, bright."""
        return replace(
            self,
            roughness=rng.uniform(0.15, 0.45),
            vibrato=0.5 * self.vibrato,
            tilt=self.tilt + rng.uniform(0.5, 2.0),
            effort=rng.uniform(4.0, 8.0),
            jitter=self.jitter + rng.uniform(0.0, 0.03),
        )

    def growled(self, rng: np.random.Generator) -> VoiceStyle:
        """The same singer, growling."""
        return replace(self, growl=True, formant=self.formant * rng.uniform(0.82, 1.05), tilt=rng.uniform(-1.0, 2.0))

    def double(self, rng: np.random.Generator) -> VoiceStyle:
        """The same singer once more: close in pitch and colour, never equal."""
        return replace(
            self,
            detune=self.detune + rng.normal(0.0, 0.06),
            formant=self.formant * float(np.exp(rng.normal(0.0, 0.012))),
            tilt=self.tilt + rng.normal(0.0, 0.5),
            intonation=max(self.intonation, 0.05),
            vibrato_hz=self.vibrato_hz * rng.uniform(0.95, 1.05),
        )
