"use strict";
/** Puts the page together: what is pressed to what is played, what is played to what is seen. */
singalong.Page = class {
  static OFF_DB = -40;
  static STEM_NAMES = { vocals: "Vocals", drums: "Drums", bass: "Bass", other: "Other" };

  constructor(song) {
    this.song = song;
    this.get = (id) => document.getElementById(id);
    this.engine = new singalong.Engine(song);
    this.lyrics = new singalong.Lyrics(this.get("lyrics"), song.lines, (line) => this.choose(line));
    this.lane = new singalong.Lane(this.get("lane"), song.f0, song.lines);
    this.microphone = new singalong.Microphone();
    this.faders = new Map(song.media.stems.map((stem) => [stem, this.addFader(stem)]));
    this.showSong();
    this.addTransport();
    this.addTranspose();
    this.addTheme();
    this.addHelp();
    document.addEventListener("keydown", (event) => this.onKey(event));
    // A button that was clicked does not keep the focus, or Space would press it again instead of playing.
    document.addEventListener("click", (event) => event.detail && event.target.closest("main, footer") && this.release());
    const frame = () => {
      this.render();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  showSong() {
    const { title, artist, tempo, duration, message } = this.song;
    document.title = artist ? `${title} – ${artist}` : title;
    this.get("title").textContent = this.get("title").title = title;
    // The artist is apart: a name that is read from right to left must not turn the rest around.
    this.get("artist").textContent = artist;
    this.get("facts").textContent = tempo ? `${artist ? " · " : ""}${Math.round(tempo)} BPM` : "";
    this.get("subtitle").title = artist;
    this.get("subtitle").hidden = !artist && !tempo;
    this.get("seek").max = duration;
    this.get("total").textContent = singalong.clock(duration);
    if (message) this.tell(message);
    document.body.classList.toggle("no-words", !this.song.lines.length);
  }

  addFader(stem) {
    const { OFF_DB, STEM_NAMES } = singalong.Page;
    const label = document.createElement("label");
    label.className = "fader";
    const name = document.createElement("span");
    name.textContent = STEM_NAMES[stem] ?? stem;
    const input = Object.assign(document.createElement("input"), { type: "range", min: OFF_DB, max: 6, step: 1 });
    input.value = 0;
    input.id = `fader-${stem}`;
    const value = document.createElement("output");
    label.append(name, input, value);
    this.get("faders").append(label);
    const fader = { input, value, before: 0 };
    const show = () => {
      const decibels = Number(input.value);
      const text = decibels <= OFF_DB ? "off" : `${decibels > 0 ? "+" : decibels < 0 ? "−" : ""}${Math.abs(decibels)} dB`;
      value.textContent = text;
      input.setAttribute("aria-valuetext", text);
      input.style.setProperty("--at", `${(100 * (decibels - OFF_DB)) / (6 - OFF_DB)}%`);
      this.engine.setGain(stem, decibels <= OFF_DB ? -Infinity : decibels);
    };
    input.addEventListener("input", show);
    show();
    fader.set = (decibels) => {
      input.value = decibels;
      show();
    };
    return fader;
  }

  addTransport() {
    const seek = this.get("seek");
    this.get("play").addEventListener("click", () => this.toggle());
    seek.addEventListener("input", () => this.engine.seek(Number(seek.value)));
    this.get("loop").addEventListener("click", () => this.toggleLoop());
    this.get("mic").addEventListener("click", () => this.toggleMicrophone());
    this.engine.addEventListener("state", () => {
      document.body.classList.toggle("playing", this.engine.playing);
      this.get("play").setAttribute("aria-label", this.engine.playing ? "Pause" : "Play");
    });
    this.engine.addEventListener("loop", () => this.get("loop").setAttribute("aria-pressed", Boolean(this.engine.loop)));
    this.engine.addEventListener("seek", () => this.lane.forget());
    this.engine.addEventListener("failure", (event) => this.tell(event.detail));
    this.get("loop").disabled = !this.lyrics.timed.length;
  }

  addTranspose() {
    const select = this.get("transpose");
    for (let k = 12; k >= -12; k -= 1) {
      select.append(new Option(k > 0 ? `+${k}` : k < 0 ? `−${-k}` : "0", k, false, k === 0));
    }
    select.addEventListener("change", () => this.transpose(Number(select.value)));
    this.get("key-field").hidden = !this.song.key;
    this.transpose(0);
  }

  /** Show all pitches moved by semitones, for a singer or an instrument that takes the song elsewhere. */
  transpose(semitones) {
    this.lane.semitones = singalong.clamp(semitones, -12, 12);
    this.get("transpose").value = this.lane.semitones;
    this.lane.forget();
    const shown = (cents) => singalong.pitch.name(cents + 100 * this.lane.semitones);
    if (this.song.key) this.get("key").textContent = singalong.pitch.keyName(this.song.key, this.lane.semitones);
    this.get("range").textContent = this.lane.range ? this.lane.range.map(shown).join(" – ") : "–";
  }

  addTheme() {
    const themes = ["auto", "light", "dark"];
    const button = this.get("theme");
    const names = { auto: ["Auto", "as the system"], light: ["Light", "light"], dark: ["Dark", "dark"] };
    const apply = (theme) => {
      document.documentElement.dataset.theme = theme;
      button.textContent = names[theme][0];
      button.setAttribute("aria-label", `${names[theme][0]} colours: change`);
    };
    let theme = "auto";
    try {
      theme = themes.find((name) => name === localStorage.getItem("singalong-theme")) ?? "auto";
    } catch {
      // Some browsers keep nothing for pages from disk.
    }
    apply(theme);
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      apply(theme);
      try {
        localStorage.setItem("singalong-theme", theme);
      } catch {
        // As above.
      }
    });
  }

  addHelp() {
    this.get("help-open").addEventListener("click", () => this.get("help").showModal());
  }

  release() {
    if (document.activeElement?.matches("button")) document.activeElement.blur();
  }

  tell(text) {
    this.get("message").textContent = text;
    this.get("message").hidden = !text;
  }

  toggle() {
    if (this.engine.playing) this.engine.pause();
    else this.engine.play();
  }

  choose(line) {
    if (this.engine.loop) this.engine.setLoop(this.loopOf(line));
    else this.engine.seek(line.start);
  }

  loopOf(line) {
    const after = this.lyrics.timed[this.lyrics.timed.indexOf(line) + 1];
    const end = Math.min(line.end + 0.4, after ? Math.max(after.start, line.end) : this.song.duration);
    return { start: Math.max(0, line.start - 0.15), end: Math.max(end, line.start + 0.5) };
  }

  toggleLoop() {
    const line = this.lyrics.lineAt(this.engine.position) ?? this.lyrics.timed[0];
    if (line) this.engine.setLoop(this.engine.loop ? null : this.loopOf(line));
  }

  async toggleMicrophone() {
    if (this.microphone.on) {
      this.microphone.stop();
    } else {
      try {
        await this.microphone.start();
        this.tell("");
      } catch (error) {
        this.tell(error.message);
      }
    }
    this.lane.forget();
    this.get("mic").setAttribute("aria-pressed", this.microphone.on);
    this.get("your-note").textContent = this.microphone.on ? "–" : "microphone off";
  }

  nudge(stem, decibels) {
    const { input, set } = this.faders.get(stem);
    set(Number(input.value) + decibels);
  }

  mute(stem) {
    const fader = this.faders.get(stem);
    const now = Number(fader.input.value);
    if (now > singalong.Page.OFF_DB) fader.before = now;
    fader.set(now > singalong.Page.OFF_DB ? singalong.Page.OFF_DB : fader.before);
  }

  /** Arrows move the position by seconds, as a slider of this length would hardly; whether this was one. */
  slide(key) {
    const seconds = { ArrowRight: 5, ArrowUp: 5, ArrowLeft: -5, ArrowDown: -5 }[key];
    if (!seconds) return false;
    this.engine.seek(this.engine.position + seconds);
    this.get("seek").value = this.engine.position;
    return true;
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.get("help").open) return;
    const target = event.target;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (target === this.get("seek") && this.slide(key)) return event.preventDefault();
    // What has the focus keeps the keys that mean something to it.
    if (key === " " && target.matches("button, select")) return;
    if (/^(Arrow|Home|End|Page)/.test(key) && target.matches("input, select, .words")) return;
    if (target.matches("select") && /^[-+a-z0-9]$/.test(key)) return;
    const { engine } = this;
    const line = (step) => {
      const found = this.lyrics.neighbour(engine.position, step);
      if (found) this.choose(found);
    };
    const actions = {
      " ": () => this.toggle(),
      ArrowLeft: () => engine.seek(engine.position - 5),
      ArrowRight: () => engine.seek(engine.position + 5),
      ArrowUp: () => line(-1),
      ArrowDown: () => line(1),
      Home: () => engine.seek(0),
      l: () => this.toggleLoop(),
      v: () => this.faders.has("vocals") && this.mute("vocals"),
      "[": () => this.faders.has("vocals") && this.nudge("vocals", -3),
      "]": () => this.faders.has("vocals") && this.nudge("vocals", 3),
      "-": () => this.transpose(this.lane.semitones - 1),
      "+": () => this.transpose(this.lane.semitones + 1),
      "=": () => this.transpose(this.lane.semitones + 1),
      m: () => this.toggleMicrophone(),
      "?": () => this.get("help").showModal(),
    };
    if (!actions[key]) return;
    event.preventDefault();
    actions[key]();
  }

  render() {
    const seconds = this.engine.position;
    this.lyrics.render(seconds);
    this.showTime(seconds);
    this.showNotes(seconds);
    this.lane.render(seconds);
  }

  showTime(seconds) {
    const seek = this.get("seek");
    if (document.activeElement !== seek || this.engine.playing) seek.value = seconds;
    const text = singalong.clock(seconds);
    seek.style.setProperty("--at", `${(100 * seconds) / this.song.duration}%`);
    if (this.get("time").textContent === text) return;
    this.get("time").textContent = text;
    seek.setAttribute("aria-valuetext", `${text} of ${singalong.clock(this.song.duration)}`);
  }

  showNotes(seconds) {
    const sung = this.lane.at(seconds);
    const set = (id, text) => {
      if (this.get(id).textContent !== text) this.get(id).textContent = text;
    };
    set("sung-note", sung === null ? "–" : singalong.pitch.name(sung));
    if (!this.microphone.on) return;
    const yours = this.microphone.listen();
    if (yours !== null && this.engine.playing) this.lane.hear(seconds, yours);
    if (yours === null) return set("your-note", "–");
    const off = sung === null ? null : Math.round(singalong.pitch.withinOctave(yours - sung));
    const told = off === null ? "" : off === 0 ? " (on it)" : ` (${off > 0 ? "+" : "−"}${Math.abs(off)} cents)`;
    set("your-note", singalong.pitch.name(yours) + told);
  }
};

singalong.page = new singalong.Page(singalong.song);
