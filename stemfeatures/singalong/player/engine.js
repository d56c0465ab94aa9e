"use strict";
/**
 * Plays the stems, each through a gain of its own, together to the sample.
 *
 * All stems of a piece of the song start at one time of one audio clock, so they cannot drift, as media elements would.
 * Pieces are scheduled a few seconds ahead and overlap in a short fade; a loop is only a piece that goes on elsewhere.
 */
singalong.Engine = class extends EventTarget {
  static AHEAD_S = 3;
  static PUMP_MS = 150;
  static FADE_S = 0.02;
  static START_S = 0.06;

  /** @param {object} song of song.js */
  constructor(song) {
    super();
    this.song = song;
    this.context = new AudioContext({ sampleRate: song.media.sampleRate, latencyHint: "interactive" });
    this.media = new singalong.Media(this.context, song.media);
    this.output = new GainNode(this.context);
    this.output.connect(this.context.destination);
    this.stems = new Map(song.media.stems.map((stem) => [stem, this.addStem()]));
    this.playing = false;
    this.loop = null;
    this.pieces = [];
    this.rest = 0;
    this.run = 0;
  }

  addStem() {
    const gain = new GainNode(this.context);
    gain.connect(this.output);
    return gain;
  }

  /** @param {number} decibels minus infinity silences */
  setGain(stem, decibels) {
    const gain = this.stems.get(stem).gain;
    gain.setTargetAtTime(10 ** (decibels / 20), this.context.currentTime, 0.015);
  }

  /** Seconds of the song that are heard now. */
  get position() {
    if (!this.playing) return this.rest;
    const heard = this.context.currentTime - (this.context.outputLatency || this.context.baseLatency || 0);
    let current = null;
    for (const piece of this.pieces) if (piece.when <= heard) current = piece;
    if (current) this.rest = Math.min(current.from + heard - current.when, current.to);
    return this.rest;
  }

  async play() {
    if (this.playing) return;
    this.playing = true;
    this.dispatchEvent(new Event("state"));
    await this.context.resume();
    if (this.playing) this.begin(this.rest >= this.song.duration - 0.05 ? 0 : this.rest);
  }

  pause() {
    if (!this.playing) return;
    this.rest = this.position;
    this.playing = false;
    this.stop();
    // What fades out needs the clock a moment longer.
    setTimeout(() => this.playing || this.context.suspend(), 100);
    this.dispatchEvent(new Event("state"));
  }

  seek(seconds) {
    const to = singalong.clamp(seconds, 0, this.song.duration);
    if (this.loop && (to < this.loop.start || to >= this.loop.end)) this.setLoop(null);
    this.rest = to;
    if (this.playing) this.begin(to);
    this.dispatchEvent(new Event("seek"));
  }

  /** @param {?{start: number, end: number}} loop seconds that are played again and again, from now on */
  setLoop(loop) {
    this.loop = loop;
    if (this.playing) this.begin(loop ? loop.start : this.position);
    else if (loop) this.rest = loop.start;
    this.dispatchEvent(new Event("loop"));
  }

  begin(from) {
    this.stop();
    this.rest = from;
    this.next = { from, when: this.context.currentTime + singalong.Engine.START_S };
    const run = this.run;
    this.timer = setInterval(() => this.pump(run), singalong.Engine.PUMP_MS);
    this.pump(run);
  }

  stop() {
    this.run += 1;
    clearInterval(this.timer);
    const end = this.context.currentTime + singalong.Engine.FADE_S;
    for (const { sources, gains } of this.pieces) {
      for (const gain of gains) {
        gain.gain.cancelScheduledValues(this.context.currentTime);
        gain.gain.setTargetAtTime(0, this.context.currentTime, singalong.Engine.FADE_S / 4);
      }
      for (const source of sources) source.stop(end);
    }
    this.pieces = [];
  }

  async pump(run) {
    if (this.busy === run) return;
    this.busy = run;
    try {
      while (run === this.run && this.next.when < this.context.currentTime + singalong.Engine.AHEAD_S) {
        if (this.next.from >= this.song.duration) {
          this.finish();
          break;
        }
        const number = this.chunkAt(this.next.from);
        const buffers = await this.media.chunk(number);
        if (run === this.run) this.schedule(number, buffers);
      }
    } catch (error) {
      if (run === this.run) this.pause();
      this.dispatchEvent(new CustomEvent("failure", { detail: error.message }));
    } finally {
      if (this.busy === run) this.busy = null;
    }
  }

  chunkAt(seconds) {
    const { seconds: size, count } = this.song.media;
    return Math.min(Math.floor(seconds / size + 1e-9), count - 1);
  }

  /** Schedule what there is of a chunk from the next time on, and ask for the chunk after. */
  schedule(number, buffers) {
    const { seconds: size, lead, count } = this.song.media;
    const fade = singalong.Engine.FADE_S;
    const { from } = this.next;
    // A chunk that came too late starts late: the song waits for it.
    const when = Math.max(this.next.when, this.context.currentTime + 0.01);
    const end = this.loop && from < this.loop.end ? this.loop.end : this.song.duration;
    const to = Math.min(number === count - 1 ? this.song.duration : (number + 1) * size, end);
    const piece = { from, to, when, sources: [], gains: [] };
    for (const [stem, buffer] of Object.entries(buffers)) {
      const gain = new GainNode(this.context);
      gain.connect(this.stems.get(stem));
      if (from > 0) gain.gain.setValueAtTime(0, when).linearRampToValueAtTime(1, when + fade);
      const stop = when + to - from;
      gain.gain.setValueAtTime(1, Math.max(stop, when + fade)).linearRampToValueAtTime(0, stop + fade);
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(gain);
      source.start(when, (number ? lead : 0) + from - number * size, to - from + fade);
      source.onended = () => gain.disconnect();
      piece.sources.push(source);
      piece.gains.push(gain);
    }
    const past = this.context.currentTime - 1;
    this.pieces = this.pieces.filter((p) => p.when + p.to - p.from > past);
    this.pieces.push(piece);
    const looped = this.loop && to >= this.loop.end - 1e-6;
    this.next = { from: looped ? this.loop.start : to, when: when + to - from };
    if (this.next.from < this.song.duration) this.media.chunk(this.chunkAt(this.next.from)).catch(() => {});
  }

  /** All is scheduled: wait until the end is heard. */
  finish() {
    if (this.position < this.song.duration - 0.05) return;
    this.pause();
    this.rest = 0;
    this.dispatchEvent(new Event("seek"));
  }
};
