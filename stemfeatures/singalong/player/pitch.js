"use strict";
/** Pitch: names of notes, and the F0 of a frame of samples. Cents are MIDI numbers times 100. */
singalong.pitch = {
  NAMES: ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"],

  toCents: (hz) => 6900 + 1200 * Math.log2(hz / 440),

  name(cents) {
    const midi = Math.round(cents / 100);
    return `${singalong.pitch.NAMES[((midi % 12) + 12) % 12]}${Math.floor(midi / 12) - 1}`;
  },

  /** Distance in cents between pitches of any octave, -600 to 600. */
  withinOctave: (cents) => ((((cents + 600) % 1200) + 1200) % 1200) - 600,

  /**
   * F0 in Hz, or null where there is none: the first peak of the normalised square difference that is nearly as high as
   * the highest (McLeod and Wyvill 2005).
   *
   * @param {Float32Array} samples
   * @param {number} rate Hz
   */
  f0(samples, rate, { low = 65, high = 1100, clarity = 0.85, floor = 0.004 } = {}) {
    const half = samples.length >> 1;
    let energy = 0;
    for (const x of samples) energy += x * x;
    if (Math.sqrt(energy / samples.length) < floor) return null;
    const longest = Math.min(half - 1, Math.ceil(rate / low));
    const shortest = Math.max(2, Math.floor(rate / high));
    const values = new Float32Array(longest + 2);
    for (let lag = shortest - 1; lag <= longest + 1; lag += 1) {
      let product = 0;
      let power = 1e-12;
      for (let i = 0; i < half; i += 1) {
        product += samples[i] * samples[i + lag];
        power += samples[i] * samples[i] + samples[i + lag] * samples[i + lag];
      }
      values[lag] = (2 * product) / power;
    }
    let best = 0;
    const peaks = [];
    for (let lag = shortest; lag <= longest; lag += 1) {
      if (values[lag] > values[lag - 1] && values[lag] >= values[lag + 1]) {
        peaks.push(lag);
        best = Math.max(best, values[lag]);
      }
    }
    if (best < clarity) return null;
    const lag = peaks.find((p) => values[p] >= 0.93 * best);
    const [a, b, c] = [values[lag - 1], values[lag], values[lag + 1]];
    const bend = a - 2 * b + c;
    return rate / (lag + (bend ? (0.5 * (a - c)) / bend : 0));
  },

  /** The key `{tonic, mode}` moved by semitones, in words. */
  keyName: (key, semitones) => `${singalong.pitch.NAMES[(((key.tonic + semitones) % 12) + 12) % 12]} ${key.mode}`,
};
