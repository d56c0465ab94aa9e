"use strict";
// The map of a catalogue. Tens of thousands of points stay fluid: they are painted into one bitmap, found through a
// grid that is built once a stem, and what the pointer changes lies on a canvas of its own.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const $ = (id) => document.getElementById(id);
  const canvas = $("map"), over = $("over"), tip = $("tip"), side = $("side"), stem = $("stem"), by = $("by"), find = $("find");
  if (!canvas) return;
  const context = canvas.getContext("2d"), overlay = over.getContext("2d");
  const WHEEL = ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#ff9da7", "#9c755f", "#8cd17d", "#499894", "#d37295"];
  const NULL = "#999999", SHADES = 48, REACH = 12, CELLS = 96, MOST_FOUND = 30, DOTS = 4000;
  const n = data.ids.length, hint = side.firstElementChild;
  const folded = data.ids.map((id) => id.toLowerCase());
  const values = {};  // numbers, or codes of names (0 is null)
  for (const [name, v] of Object.entries(data.values)) {
    values[name] = v.names ? { names: v.names, codes: new Uint16Array(bytes(v.codes)) } : { numbers: new Float32Array(bytes(v)) };
  }
  const maps = {};
  for (const [name, m] of Object.entries(data.maps)) {
    maps[name] = indexed(new Float32Array(bytes(m.xy)), m.at ? new Int32Array(bytes(m.at)) : Int32Array.from({ length: n }, (_, i) => i));
  }
  let zoom = 1, cx = 0, cy = 0, hit = -1, chosen = -1;
  let palette = [], paint = new Uint8Array(n);  // colours, and which of them a track has
  const on = new Uint8Array(n).fill(1);  // what the filter leaves
  let width = 0, height = 0, ratio = 1, bitmap = null;

  // Points in cells of the plane: those of a cell stand one after another in `order`, from `start` on.
  function indexed(xy, at) {
    const start = new Int32Array(CELLS * CELLS + 1), order = new Int32Array(at.length), position = new Int32Array(n).fill(-1);
    const cell = (k) => line(xy[2 * k + 1]) * CELLS + line(xy[2 * k]);
    for (let k = 0; k < at.length; k++) { start[cell(k) + 1]++; position[at[k]] = k; }
    for (let c = 0; c < CELLS * CELLS; c++) start[c + 1] += start[c];
    const next = start.slice();
    for (let k = 0; k < at.length; k++) order[next[cell(k)]++] = k;
    return { xy, at, start, order, position };
  }
  function line(x) { return Math.min(CELLS - 1, Math.max(0, Math.floor((x + 1) * CELLS / 2))); }

  function ramp(t) {  // dark blue to yellow, readable on light and on dark ground
    const stops = [[59, 76, 192], [33, 145, 140], [94, 201, 98], [240, 200, 40]];
    const p = Math.min(Math.max(t, 0), 1) * 3, i = Math.min(2, Math.floor(p)), f = p - i;
    return "#" + stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * f).toString(16).padStart(2, "0")).join("");
  }

  function entry(colour, text, wanted) {
    const e = document.createElement(wanted ? "button" : "span"), dot = document.createElement("i");
    dot.style.background = colour; e.append(dot, text); $("legend").append(e);
    if (wanted) { e.type = "button"; e.addEventListener("click", () => { find.value = find.value === wanted ? "" : wanted; filter(); }); }
  }

  function colourBy() {
    const v = values[by.value];
    $("legend").replaceChildren();
    if (v.numbers) {
      const sorted = v.numbers.filter(Number.isFinite).sort();
      const low = sorted[Math.floor(0.02 * (sorted.length - 1))], high = sorted[Math.floor(0.98 * (sorted.length - 1))];
      palette = [NULL, ...Array.from({ length: SHADES }, (_, i) => ramp(i / (SHADES - 1)))];
      for (let i = 0; i < n; i++) {
        const t = (v.numbers[i] - low) / (high - low || 1);
        paint[i] = Number.isFinite(v.numbers[i]) ? 1 + Math.round(Math.min(Math.max(t, 0), 1) * (SHADES - 1)) : 0;
      }
      if (sorted.length) for (const t of [0, 0.5, 1]) entry(ramp(t), (low + t * (high - low)).toPrecision(3));
      if (sorted.length < n) entry(NULL, "null " + (n - sorted.length).toLocaleString("en"));
    } else {
      const count = new Int32Array(v.names.length);
      v.codes.forEach((code) => count[code]++);
      const rank = [...v.names.keys()].slice(1).sort((a, b) => count[b] - count[a]);
      palette = [NULL, ...WHEEL];
      const colour = new Uint8Array(v.names.length);
      rank.forEach((code, i) => { colour[code] = 1 + i % WHEEL.length; });
      for (let i = 0; i < n; i++) paint[i] = colour[v.codes[i]];
      for (const code of rank.slice(0, 12)) entry(palette[colour[code]], v.names[code] + " " + count[code].toLocaleString("en"), v.names[code]);
      if (count[0]) entry(NULL, "null " + count[0].toLocaleString("en"));
    }
  }

  const scale = () => 0.47 * Math.min(width, height) * zoom;
  const radius = () => Math.max(1.6, Math.min(6, 90 / Math.sqrt(maps[stem.value].at.length))) * Math.sqrt(Math.min(Math.max(zoom, 0.6), 6));

  function fit() {
    ratio = window.devicePixelRatio || 1; width = canvas.clientWidth; height = canvas.clientHeight;
    for (const c of [canvas, over]) { c.width = Math.round(width * ratio); c.height = Math.round(height * ratio); }
    overlay.setTransform(ratio, 0, 0, ratio, 0, 0);
    bitmap = context.createImageData(Math.max(canvas.width, 1), Math.max(canvas.height, 1));
  }

  // A disc: columns, rows and how much of each pixel it covers.
  function stamp(r) {
    const reach = Math.ceil(r), x = [], y = [], covered = [];
    for (let j = -reach; j <= reach; j++) for (let i = -reach; i <= reach; i++) {
      const c = Math.min(1, r + 0.5 - Math.hypot(i, j));
      if (c > 0) { x.push(i); y.push(j); covered.push(c); }
    }
    return { x: Int32Array.from(x), y: Int32Array.from(y), covered: Float32Array.from(covered), size: x.length };
  }

  function draw() {
    const m = maps[stem.value], half = scale() * ratio, W = bitmap.width, H = bitmap.height, pixels = bitmap.data;
    const r = radius() * ratio, dx = W / 2 - cx * half, dy = H / 2 - cy * half;
    const part = (i) => Uint8Array.from(palette, (c) => parseInt(c.slice(i, i + 2), 16));
    const reds = part(1), greens = part(3), blues = part(5);
    const disc = stamp(m.at.length > DOTS ? Math.max(r * 0.9, 0.8) : r);
    pixels.fill(0);
    for (const pass of [0, 1]) {
      const alpha = pass ? 0.85 : 0.12;
      for (let k = 0; k < m.at.length; k++) {
        const i = m.at[k];
        if (on[i] !== pass) continue;
        const x = Math.round(dx + m.xy[2 * k] * half), y = Math.round(dy + m.xy[2 * k + 1] * half);
        if (x < -r || y < -r || x > W + r || y > H + r) continue;
        const red = reds[paint[i]], green = greens[paint[i]], blue = blues[paint[i]];
        for (let d = 0; d < disc.size; d++) {
          const px = x + disc.x[d], py = y + disc.y[d];
          if (px < 0 || py < 0 || px >= W || py >= H) continue;
          const at = 4 * (py * W + px), a = alpha * disc.covered[d], under = pixels[at + 3] * (1 - a) / 255, share = a / (a + under);
          pixels[at] += (red - pixels[at]) * share;
          pixels[at + 1] += (green - pixels[at + 1]) * share;
          pixels[at + 2] += (blue - pixels[at + 2]) * share;
          pixels[at + 3] = 255 * (a + under);
        }
      }
    }
    context.putImageData(bitmap, 0, 0);
    mark();
  }

  function mark() {
    const m = maps[stem.value], half = scale();
    overlay.clearRect(0, 0, width, height);
    overlay.strokeStyle = getComputedStyle(document.body).color;
    for (const [i, thick] of [[hit, 1.5], [chosen, 3]]) {
      const k = i < 0 ? -1 : m.position[i];
      if (k < 0) continue;
      overlay.lineWidth = thick;
      overlay.beginPath();
      overlay.arc(width / 2 + (m.xy[2 * k] - cx) * half, height / 2 + (m.xy[2 * k + 1] - cy) * half, radius() + 4, 0, 7);
      overlay.stroke();
    }
  }

  let asked = false;
  const redraw = () => { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; draw(); }); } };

  function nearest(x, y) {
    const m = maps[stem.value], half = scale(), reach = REACH / half;
    const px = (x - width / 2) / half + cx, py = (y - height / 2) / half + cy;
    let best = -1, least = reach * reach;
    for (let row = line(py - reach); row <= line(py + reach); row++) for (let column = line(px - reach); column <= line(px + reach); column++) {
      const c = row * CELLS + column;
      for (let s = m.start[c]; s < m.start[c + 1]; s++) {
        const k = m.order[s], d = (m.xy[2 * k] - px) ** 2 + (m.xy[2 * k + 1] - py) ** 2;
        if (d < least && on[m.at[k]]) { least = d; best = k; }
      }
    }
    return best < 0 ? -1 : m.at[best];
  }

  function value(name, i) {
    const v = values[name];
    if (v.names) return v.codes[i] ? v.names[v.codes[i]] : "–";
    return Number.isFinite(v.numbers[i]) ? v.numbers[i].toPrecision(4) : "–";
  }

  function tell(i) {
    chosen = i;
    side.replaceChildren();
    const head = document.createElement("h3"); head.textContent = data.ids[i]; side.append(head);
    const list = document.createElement("table");
    for (const name of Object.keys(values)) {
      const row = list.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = value(name, i);
    }
    side.append(list);
    const how = document.createElement("p"); how.className = "soft";
    how.append("Its own page, with picture, player and neighbours: ");
    const code = document.createElement("code");
    code.textContent = "stemfeatures report -o track-report -- " + data.quoted + " '" + data.ids[i].replaceAll("'", "'\\''") + "'";
    how.append(code); side.append(how);
    mark();
  }

  function filter() {
    const wanted = find.value.trim().toLowerCase(), m = maps[stem.value];
    const named = Object.values(values).filter((v) => v.names).map((v) => [v.codes, v.names.map((name) => name.toLowerCase() === wanted)]);
    for (let i = 0; i < n; i++) on[i] = !wanted || folded[i].includes(wanted) || named.some(([codes, is]) => is[codes[i]]) ? 1 : 0;
    count();
    if (wanted) {  // the first that were found, for the keyboard, too
      const list = document.createElement("div"); list.className = "found";
      for (let k = 0; k < m.at.length && list.childElementCount < MOST_FOUND; k++) {
        const i = m.at[k];
        if (!on[i]) continue;
        const one = document.createElement("button"); one.type = "button"; one.textContent = data.ids[i];
        one.addEventListener("click", () => tell(i)); list.append(one);
      }
      side.replaceChildren(list);
    } else if (chosen >= 0) tell(chosen);
    else side.replaceChildren(hint);
    redraw();
  }

  function count() {
    const m = maps[stem.value];
    let some = 0;
    for (let k = 0; k < m.at.length; k++) some += on[m.at[k]];
    $("counted").textContent = some.toLocaleString("en") + (some === 1 ? " track" : " tracks");
  }

  function zoomTo(wanted, x, y) {  // what lies at x, y stays there
    const before = scale(), fx = (x - width / 2) / before + cx, fy = (y - height / 2) / before + cy;
    zoom = Math.min(200, Math.max(0.5, wanted));
    const after = scale();
    cx = fx - (x - width / 2) / after; cy = fy - (y - height / 2) / after;
    redraw();
  }

  let drag = null;
  const pointers = new Map();
  over.addEventListener("pointerdown", (e) => {
    over.setPointerCapture(e.pointerId); pointers.set(e.pointerId, [e.offsetX, e.offsetY]);
    drag = { x: e.offsetX, y: e.offsetY, cx, cy, moved: pointers.size > 1 };
  });
  over.addEventListener("pointermove", (e) => {
    if (pointers.size === 2 && pointers.has(e.pointerId)) {
      const [a, b] = [...pointers.values()], before = Math.hypot(a[0] - b[0], a[1] - b[1]);
      pointers.set(e.pointerId, [e.offsetX, e.offsetY]);
      const [c, d] = [...pointers.values()], after = Math.hypot(c[0] - d[0], c[1] - d[1]);
      zoomTo(zoom * after / (before || 1), (c[0] + d[0]) / 2, (c[1] + d[1]) / 2); return;
    }
    if (drag) {
      drag.moved = drag.moved || Math.hypot(e.offsetX - drag.x, e.offsetY - drag.y) > 4;
      if (drag.moved) { cx = drag.cx - (e.offsetX - drag.x) / scale(); cy = drag.cy - (e.offsetY - drag.y) / scale(); tip.style.display = "none"; redraw(); return; }
    }
    const found = nearest(e.offsetX, e.offsetY);
    tip.style.display = found < 0 ? "none" : "block";
    if (found >= 0) {
      if (found !== hit) tip.textContent = data.ids[found] + " · " + value(by.value, found);
      tip.style.left = Math.max(0, Math.min(e.offsetX + 12, width - 180)) + "px";
      tip.style.top = (e.offsetY > height - 80 ? e.offsetY - 60 : e.offsetY + 12) + "px";
    }
    if (found !== hit) { hit = found; mark(); }
  });
  over.addEventListener("pointerup", (e) => {
    pointers.delete(e.pointerId);
    if (drag && !drag.moved) { const found = nearest(e.offsetX, e.offsetY); if (found >= 0) tell(found); }
    drag = null;
  });
  over.addEventListener("pointercancel", (e) => { pointers.delete(e.pointerId); drag = null; });
  over.addEventListener("pointerleave", () => { hit = -1; tip.style.display = "none"; mark(); });
  over.addEventListener("wheel", (e) => { e.preventDefault(); zoomTo(zoom * Math.exp(-e.deltaY / 300), e.offsetX, e.offsetY); }, { passive: false });
  $("closer").addEventListener("click", () => zoomTo(zoom * 1.5, width / 2, height / 2));
  $("further").addEventListener("click", () => zoomTo(zoom / 1.5, width / 2, height / 2));
  $("reset").addEventListener("click", () => { zoom = 1; cx = cy = 0; redraw(); });
  find.addEventListener("input", filter);
  stem.addEventListener("change", () => { hit = -1; count(); redraw(); });
  by.addEventListener("change", () => { colourBy(); redraw(); });
  window.addEventListener("resize", () => { fit(); redraw(); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", mark);
  fit(); colourBy(); count(); draw();
})();
