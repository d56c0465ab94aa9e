"use strict";
// Scripts of a page that is opened from disk cannot be modules and cannot fetch: files of data call what is here.
const singalong = {
  song: null,
  /** Called by song.js. */
  setSong(song) {
    singalong.song = song;
  },
  clamp: (x, low, high) => Math.min(Math.max(x, low), high),
  clock(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  },
};
