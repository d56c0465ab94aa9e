"use strict";
/** The words: lines that can be sung from, words that fill as they last. */
singalong.Lyrics = class {
  static REST_MS = 4000;

  /**
   * @param {HTMLElement} list an ol, in an element that scrolls
   * @param {object[]} lines `{start, end, words: [[text, start, end], ...]}`, times null where it is not sung
   * @param {(line: object) => void} choose called with the line that was clicked
   */
  constructor(list, lines, choose) {
    this.list = list;
    this.scroller = list.parentElement;
    this.lines = lines.map((line) => this.addLine(line, choose));
    this.timed = this.lines.filter((line) => line.start !== null);
    this.active = null;
    this.lit = null;
    this.touched = -Infinity;
    for (const event of ["wheel", "touchmove", "pointerdown"]) {
      this.scroller.addEventListener(event, () => (this.touched = performance.now()), { passive: true });
    }
    new ResizeObserver(() => this.fit()).observe(this.list);
  }

  addLine(line, choose) {
    const item = document.createElement("li");
    const timed = line.start !== null;
    const element = document.createElement(timed ? "button" : "span");
    element.className = timed ? "line" : "line untimed";
    element.dir = "auto";
    const words = line.words.map(([text, start, end]) => {
      const word = document.createElement("span");
      word.className = "word";
      word.textContent = text;
      word.dataset.text = text;
      element.append(word, " ");
      return { element: word, start, end };
    });
    const made = { ...line, element, words };
    if (timed) {
      element.type = "button";
      element.addEventListener("click", () => choose(made));
    }
    item.append(element);
    this.list.append(item);
    return made;
  }

  /** Pixels that a line has for its words. */
  room(line) {
    const style = getComputedStyle(line);
    return line.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  }

  /** Let words wrap that are wider than a line, and keep the line in sight that is sung. */
  fit() {
    const words = this.lines.flatMap((line) => line.words.map((word) => word.element));
    for (const word of words) word.classList.remove("long");
    // Widths are read at once: each change in between would lay out the page again.
    const wide = words.filter((word) => word.offsetWidth > this.room(word.parentElement));
    for (const word of wide) word.classList.add("long");
    this.scrollTo(this.active);
  }

  /** The line that is sung at a time, or was last: the one before the first before it begins is null. */
  lineAt(seconds) {
    let [low, high] = [0, this.timed.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.timed[middle].start <= seconds) low = middle + 1;
      else high = middle;
    }
    return low ? this.timed[low - 1] : null;
  }

  /** The line after (1) or before (-1) the one at a time; null past the ends. */
  neighbour(seconds, step) {
    const here = this.timed.indexOf(this.lineAt(seconds));
    // Shortly after a line began, "before" is the line before; later it is the line's own start.
    const late = step < 0 && here >= 0 && seconds - this.timed[here].start > 1.5;
    return this.timed[late ? here : here + step] ?? null;
  }

  /** Show a time of the song. */
  render(seconds) {
    const active = this.lineAt(seconds);
    if (active !== this.active) this.activate(active);
    let lit = null;
    for (const word of active?.words ?? []) {
      if (word.start === null) {
        word.element.style.setProperty("--fill", seconds > active.end ? "100%" : "0%");
        continue;
      }
      const share = singalong.clamp((seconds - word.start) / Math.max(word.end - word.start, 0.01), 0, 1);
      word.element.style.setProperty("--fill", `${(100 * share).toFixed(1)}%`);
      if (word.start <= seconds && seconds < word.end) lit = word.element;
    }
    if (lit !== this.lit) {
      this.lit?.classList.remove("lit");
      lit?.classList.add("lit");
      this.lit = lit;
    }
  }

  activate(active) {
    this.active = active;
    for (const line of this.timed) {
      const past = active !== null && line.start < active.start;
      line.element.classList.toggle("past", past);
      line.element.classList.toggle("active", line === active);
      if (line === active) line.element.setAttribute("aria-current", "true");
      else line.element.removeAttribute("aria-current");
    }
    this.scrollTo(active);
  }

  scrollTo(line) {
    if (performance.now() - this.touched < singalong.Lyrics.REST_MS) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const element = line?.element ?? this.list;
    const top = line ? element.offsetTop - (this.scroller.clientHeight - element.offsetHeight) * 0.42 : 0;
    this.scroller.scrollTo({ top, behavior: still ? "instant" : "smooth" });
  }
};
