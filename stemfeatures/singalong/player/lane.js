"use strict";
/** The singer's pitch as it goes by, the words under it, and the pitch of the microphone against it. */
singalong.Lane = class {
  static BEFORE_S = 2.5;
  static SPAN_S = 8;
  static NAMES_WIDTH = 34;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{hop: number, cents: (number|null)[]}} f0 of song.js
   * @param {object[]} lines
   */
  constructor(canvas, f0, lines) {
    this.canvas = canvas;
    this.f0 = f0;
    this.words = lines.flatMap((line) => line.words).filter(([, start]) => start !== null);
    this.semitones = 0;
    this.trail = [];
    const voiced = f0.cents.filter((x) => x !== null).sort((a, b) => a - b);
    const at = (share) => voiced[Math.min(voiced.length - 1, Math.floor(share * voiced.length))];
    this.range = voiced.length ? [at(0.01), at(0.99)] : null;
    if (!this.range) canvas.setAttribute("aria-label", "No singer was heard");
    const [low, high] = this.range ?? [5700, 6900];
    const middle = (low + high) / 2;
    const half = Math.max((high - low) / 2 + 250, 600);
    this.low = middle - half;
    this.high = middle + half;
  }

  /** Cents that are sung at a time, as transposed; null where nothing is. */
  at(seconds) {
    const cents = this.f0.cents[Math.round(seconds / this.f0.hop)];
    return cents == null ? null : cents + 100 * this.semitones;
  }

  /** Remember what the microphone hears. */
  hear(seconds, cents) {
    this.trail.push([seconds, cents]);
    if (this.trail.length > 600) this.trail.shift();
  }

  forget() {
    this.trail = [];
  }

  render(seconds) {
    const canvas = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const brush = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name);
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, width, height);
    const { BEFORE_S, SPAN_S } = singalong.Lane;
    const floor = height - 22;
    const view = {
      brush, colour, width, height, floor, seconds,
      x: (t) => ((t - seconds + BEFORE_S) / SPAN_S) * width,
      y: (cents) => floor - ((cents - this.low) / (this.high - this.low)) * (floor - 6),
    };
    this.drawNotes(view);
    this.drawWords(view);
    this.drawSinger(view);
    this.drawTrail(view);
    this.drawNames(view);
    if (!this.range && !this.trail.length) this.drawAbsence(view);
    brush.fillStyle = colour("--text");
    brush.fillRect(view.x(seconds) - 1, 0, 2, height);
  }

  /** As many notes as have room for their names, MIDI. */
  notes(y) {
    const semitone = y(0) - y(100);
    const step = [1, 2, 3, 4, 6, 12].find((n) => n * semitone >= 14) ?? 12;
    const found = [];
    for (let midi = Math.ceil(this.low / 100); midi * 100 <= this.high; midi += 1) {
      if (midi % step === 0) found.push(midi);
    }
    return found;
  }

  drawNotes({ brush, colour, width, y }) {
    brush.fillStyle = colour("--grid");
    const left = singalong.Lane.NAMES_WIDTH;
    for (const midi of this.notes(y)) brush.fillRect(left, y(midi * 100), width - left, 1);
  }

  /** Names of notes, where nothing else is: what has passed ends beside them. */
  drawNames({ brush, colour, floor, y }) {
    brush.clearRect(0, 0, singalong.Lane.NAMES_WIDTH, floor);
    brush.font = "11px system-ui, sans-serif";
    brush.textBaseline = "middle";
    brush.textAlign = "left";
    brush.fillStyle = colour("--faint");
    for (const midi of this.notes(y)) {
      brush.fillText(singalong.pitch.name((midi + this.semitones) * 100), 6, y(midi * 100));
    }
  }

  drawWords({ brush, colour, width, floor, seconds, x }) {
    brush.font = "13px system-ui, sans-serif";
    brush.textBaseline = "middle";
    brush.textAlign = "left";
    let free = -Infinity;
    for (const [text, start, end] of this.words) {
      const at = x(start);
      if (at > width || x(end) < -80 || at < free) continue;
      const now = start <= seconds && seconds < end;
      brush.fillStyle = colour(now ? "--accent-text" : "--faint");
      brush.fillText(text, at, floor + 12);
      free = at + brush.measureText(text).width + 5;
    }
  }

  drawSinger({ brush, colour, seconds, x, y }) {
    const { BEFORE_S, SPAN_S } = singalong.Lane;
    const { hop, cents } = this.f0;
    brush.lineWidth = 5;
    brush.lineCap = "round";
    brush.lineJoin = "round";
    const first = Math.max(0, Math.floor((seconds - BEFORE_S) / hop));
    const last = Math.min(cents.length - 1, Math.ceil((seconds - BEFORE_S + SPAN_S) / hop));
    for (const past of [false, true]) {
      brush.strokeStyle = colour(past ? "--accent" : "--ahead");
      brush.beginPath();
      let before = null;
      for (let k = first; k <= last; k += 1) {
        const inside = past ? k * hop <= seconds : k * hop >= seconds - hop;
        const here = inside ? cents[k] : null;
        if (here !== null) {
          if (before !== null && Math.abs(here - before) < 350) brush.lineTo(x(k * hop), y(here));
          else brush.moveTo(x(k * hop), y(here));
        }
        before = here;
      }
      brush.stroke();
    }
  }

  drawAbsence({ brush, colour, width, floor }) {
    brush.font = "15px system-ui, sans-serif";
    brush.textBaseline = "middle";
    brush.textAlign = "center";
    brush.fillStyle = colour("--faint");
    brush.fillText("No singer was heard", width / 2 + singalong.Lane.NAMES_WIDTH / 2, floor / 2);
  }

  drawTrail({ brush, colour, x, y }) {
    brush.fillStyle = colour("--you");
    for (const [t, cents] of this.trail) {
      // Who sings an octave away is drawn where the singer is.
      const sung = this.at(t);
      const plain = cents - 100 * this.semitones;
      const octaves = sung === null ? 0 : Math.round((cents - sung) / 1200) * 1200;
      brush.beginPath();
      brush.arc(x(t), singalong.clamp(y(plain - octaves), 3, this.canvas.clientHeight - 24), 3, 0, 7);
      brush.fill();
    }
  }
};
