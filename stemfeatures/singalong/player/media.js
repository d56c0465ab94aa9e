"use strict";
/**
 * Chunks of the stems, loaded and decoded as they are needed, a few held at a time.
 *
 * A chunk is a script that hands over Ogg Opus in base64: the only way to bytes that every browser grants a page that
 * is opened from disk.
 */
singalong.Media = class {
  static HELD = 8;

  /**
   * @param {BaseAudioContext} context decodes, at its sample rate
   * @param {object} layout of song.js: `{seconds, lead, tail, count}`
   */
  constructor(context, layout) {
    this.context = context;
    this.layout = layout;
    this.chunks = new Map();
  }

  /** Buffers of the stems of a chunk, `{stem: AudioBuffer}`; those used last are dropped first. */
  chunk(number) {
    let found = this.chunks.get(number);
    if (!found) {
      found = this.load(number);
      found.catch(() => this.chunks.delete(number));
    }
    this.chunks.delete(number);
    this.chunks.set(number, found);
    for (const old of this.chunks.keys()) {
      if (this.chunks.size <= singalong.Media.HELD) break;
      this.chunks.delete(old);
    }
    return found;
  }

  async load(number) {
    const encoded = await singalong.Media.script(number);
    const entries = Object.entries(encoded).map(async ([stem, text]) => {
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      try {
        return [stem, await this.context.decodeAudioData(bytes.buffer)];
      } catch {
        throw new Error("This browser cannot decode Opus in Ogg (Safari can from 18.4 on).");
      }
    });
    return Object.fromEntries(await Promise.all(entries));
  }

  /** By number of a chunk those who wait for it: one that was dropped while it loaded may be asked for again. */
  static waiting = new Map();

  static script(number) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `media/${String(number).padStart(4, "0")}.js`;
      const { waiting } = singalong.Media;
      waiting.set(number, [...(waiting.get(number) ?? []), resolve]);
      script.onerror = () => reject(new Error(`${script.src} is missing.`));
      script.onload = () => script.remove();
      document.head.append(script);
    });
  }
};

/** Called by the scripts in media/. */
singalong.addMedia = (number, encoded) => {
  const { waiting } = singalong.Media;
  for (const resolve of waiting.get(number) ?? []) resolve(encoded);
  waiting.delete(number);
};
