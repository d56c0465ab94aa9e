// The data dictionary: a field that leaves only the columns whose row holds every word.
"use strict";
(() => {
  const heading = document.querySelector("article h1");
  const tables = [...document.querySelectorAll("article table")];
  if (!heading || heading.textContent.replace("¶", "").trim() !== "Tables" || !tables.length) return;
  const field = document.createElement("input"), count = document.createElement("p");
  field.type = "search";
  field.className = "dictionary-filter";
  field.placeholder = "Filter columns: a name, a unit, a word of the description";
  field.setAttribute("aria-label", field.placeholder);
  count.className = "dictionary-count";
  heading.after(field, count);
  const parts = tables.map((table) => {
    const around = [];
    for (let e = (table.closest(".md-typeset__scrollwrap") || table); e && e.tagName !== "H2"; e = e.previousElementSibling) around.push(e);
    const last = around[around.length - 1], head = last && last.previousElementSibling;
    if (head && head.tagName === "H2") around.push(head);
    return { rows: [...table.tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]), around };
  });
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const part of parts) {
      let some = false;
      for (const [row, text] of part.rows) {
        const shown = words.every((word) => text.includes(word));
        row.hidden = !shown;
        some = some || shown;
        n += shown;
      }
      for (const e of part.around) e.hidden = !some;
    }
    count.textContent = words.length ? n + " columns" : "";
  };
  field.addEventListener("input", filter);
})();
