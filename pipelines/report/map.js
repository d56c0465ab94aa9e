"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const maps = {};
  for (const [stem, m] of Object.entries(data.maps)) maps[stem] = { xy: floats(m.xy), at: m.at };
  const values = {};
  for (const [name, v] of Object.entries(data.values)) values[name] = typeof v === "string" ? floats(v) : v;
  const $ = (id) => document.getElementById(id);
  const canvas = $("map"), tip = $("tip"), side = $("side"), stem = $("stem"), by = $("by"), find = $("find");
  if (!canvas) return;
  const context = canvas.getContext("2d");
  const WHEEL = ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#ff9da7", "#9c755f", "#8cd17d", "#499894", "#d37295"];
  let zoom = 1, cx = 0, cy = 0, colours = [], shown = null, hit = -1, chosen = -1, grid = new Map();
  const CELL = 14;

  function ramp(t) {  // dark blue to yellow, readable on light and on dark ground
    const stops = [[59, 76, 192], [33, 145, 140], [94, 201, 98], [240, 200, 40]];
    const p = Math.min(Math.max(t, 0), 1) * 3, i = Math.min(2, Math.floor(p)), f = p - i;
    return "rgb(" + stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * f)).join(",") + ")";
  }

  function colourBy() {
    const v = values[by.value], legend = $("legend");
    legend.replaceChildren();
    const entry = (colour, text) => {
      const e = document.createElement("span"), dot = document.createElement("i");
      dot.style.background = colour; e.append(dot, text); legend.append(e);
    };
    if (v instanceof Float32Array) {
      const sorted = Array.from(v).filter(Number.isFinite).sort((a, b) => a - b);
      const low = sorted[Math.floor(0.02 * (sorted.length - 1))], high = sorted[Math.ceil(0.98 * (sorted.length - 1))];
      colours = Array.from(v, (x) => Number.isFinite(x) ? ramp((x - low) / (high - low || 1)) : "#999");
      if (sorted.length) for (const t of [0, 0.5, 1]) entry(ramp(t), (low + t * (high - low)).toPrecision(3));
      entry("#999", "null");
    } else {
      const count = new Map();
      v.forEach((x) => count.set(x, (count.get(x) || 0) + 1));
      const names = [...count.keys()].filter(Boolean).sort((a, b) => count.get(b) - count.get(a));
      const colour = new Map(names.map((n, i) => [n, WHEEL[i % WHEEL.length]]));
      colours = v.map((x) => colour.get(x) || "#999");
      names.slice(0, 12).forEach((n) => entry(colour.get(n), n + " " + count.get(n).toLocaleString("en")));
      if (count.get("")) entry("#999", "null " + count.get(""));
    }
  }

  function place(i) {
    const m = maps[stem.value], w = canvas.clientWidth, h = canvas.clientHeight, half = 0.47 * Math.min(w, h) * zoom;
    return [w / 2 + (m.xy[2 * i] - cx) * half, h / 2 + (m.xy[2 * i + 1] - cy) * half];
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    canvas.width = w * ratio; canvas.height = h * ratio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const m = maps[stem.value], n = m.at.length, r = Math.max(1.6, Math.min(6, 90 / Math.sqrt(n))) * Math.sqrt(Math.min(zoom, 6));
    grid = new Map();
    for (const pass of [false, true]) for (let k = 0; k < n; k++) {
      const on = !shown || shown.has(m.at[k]);
      if (on !== pass) continue;
      const [x, y] = place(k);
      if (x < -r || y < -r || x > w + r || y > h + r) continue;
      context.globalAlpha = on ? 0.85 : 0.12;
      context.fillStyle = colours[m.at[k]];
      if (n > 4000) context.fillRect(x - r / 1.13, y - r / 1.13, r * 1.77, r * 1.77);
      else { context.beginPath(); context.arc(x, y, r, 0, 7); context.fill(); }
      if (on) {
        const cell = Math.floor(x / CELL) + "," + Math.floor(y / CELL);
        if (!grid.has(cell)) grid.set(cell, []);
        grid.get(cell).push(k);
      }
    }
    context.globalAlpha = 1;
    for (const [at, width] of [[hit, 1.5], [chosen, 3]]) {
      const k = m.at.indexOf(at);
      if (at < 0 || k < 0) continue;
      const [x, y] = place(k);
      context.strokeStyle = getComputedStyle(document.body).color; context.lineWidth = width;
      context.beginPath(); context.arc(x, y, r + 4, 0, 7); context.stroke();
    }
    $("counted").textContent = (shown ? m.at.filter((t) => shown.has(t)).length : n).toLocaleString("en") + " tracks";
  }
  let asked = false;
  const redraw = () => { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; draw(); }); } };

  function nearest(x, y) {
    let best = -1, least = 12 * 12;
    const gx = Math.floor(x / CELL), gy = Math.floor(y / CELL);
    for (let i = -1; i <= 1; i++) for (let j = -1; j <= 1; j++) for (const k of grid.get((gx + i) + "," + (gy + j)) || []) {
      const [px, py] = place(k), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < least) { least = d; best = k; }
    }
    return best < 0 ? -1 : maps[stem.value].at[best];
  }

  function tell(i) {
    side.replaceChildren();
    const head = document.createElement("h3"); head.textContent = data.ids[i]; side.append(head);
    const list = document.createElement("table");
    for (const [name, v] of Object.entries(values)) {
      const row = list.insertRow(), x = v[i];
      row.insertCell().textContent = name;
      row.insertCell().textContent = typeof x === "number" ? (Number.isFinite(x) ? x.toPrecision(4) : "–") : x || "–";
    }
    side.append(list);
    const how = document.createElement("p"); how.className = "soft";
    how.append("Its own page, with picture, player and neighbours: ");
    const code = document.createElement("code");
    code.textContent = "stemfeatures report -o track-report -- " + data.quoted + " '" + data.ids[i].replaceAll("'", "'\\''") + "'";
    how.append(code); side.append(how);
  }

  let drag = null;
  const pointers = new Map();
  canvas.addEventListener("pointerdown", (e) => {
    canvas.setPointerCapture(e.pointerId); pointers.set(e.pointerId, [e.offsetX, e.offsetY]);
    drag = { x: e.offsetX, y: e.offsetY, cx, cy, moved: false };
  });
  canvas.addEventListener("pointermove", (e) => {
    if (pointers.size === 2 && pointers.has(e.pointerId)) {
      const [a, b] = [...pointers.values()], before = Math.hypot(a[0] - b[0], a[1] - b[1]);
      pointers.set(e.pointerId, [e.offsetX, e.offsetY]);
      const [c, d] = [...pointers.values()], after = Math.hypot(c[0] - d[0], c[1] - d[1]);
      zoom = Math.min(200, Math.max(0.5, zoom * after / (before || 1))); redraw(); return;
    }
    if (drag) {
      const half = 0.47 * Math.min(canvas.clientWidth, canvas.clientHeight) * zoom;
      drag.moved = drag.moved || Math.hypot(e.offsetX - drag.x, e.offsetY - drag.y) > 4;
      if (drag.moved) { cx = drag.cx - (e.offsetX - drag.x) / half; cy = drag.cy - (e.offsetY - drag.y) / half; tip.style.display = "none"; redraw(); return; }
    }
    const found = nearest(e.offsetX, e.offsetY);
    tip.style.display = found < 0 ? "none" : "block";
    if (found >= 0) {
      tip.textContent = data.ids[found];
      tip.style.left = Math.min(e.offsetX + 12, canvas.clientWidth - 180) + "px"; tip.style.top = e.offsetY + 12 + "px";
    }
    if (found !== hit) { hit = found; redraw(); }
  });
  canvas.addEventListener("pointerup", (e) => {
    pointers.delete(e.pointerId);
    if (drag && !drag.moved) { const found = nearest(e.offsetX, e.offsetY); if (found >= 0) { chosen = found; tell(found); redraw(); } }
    drag = null;
  });
  canvas.addEventListener("pointercancel", (e) => { pointers.delete(e.pointerId); drag = null; });
  canvas.addEventListener("pointerleave", () => { hit = -1; tip.style.display = "none"; redraw(); });
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    const half = 0.47 * Math.min(canvas.clientWidth, canvas.clientHeight), before = half * zoom;
    const fx = (e.offsetX - canvas.clientWidth / 2) / before + cx, fy = (e.offsetY - canvas.clientHeight / 2) / before + cy;
    zoom = Math.min(200, Math.max(0.5, zoom * Math.exp(-e.deltaY / 300)));
    const after = half * zoom;
    cx = fx - (e.offsetX - canvas.clientWidth / 2) / after; cy = fy - (e.offsetY - canvas.clientHeight / 2) / after; redraw();
  }, { passive: false });
  $("reset").addEventListener("click", () => { zoom = 1; cx = cy = 0; redraw(); });
  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    shown = wanted ? new Set(data.ids.map((id, i) => [id, i]).filter(([id, i]) =>
      id.toLowerCase().includes(wanted) || Object.values(values).some((v) => Array.isArray(v) && v[i].toLowerCase() === wanted)).map((p) => p[1])) : null;
    redraw();
  });
  stem.addEventListener("change", redraw);
  by.addEventListener("change", () => { colourBy(); redraw(); });
  window.addEventListener("resize", redraw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  colourBy(); draw();
})();
