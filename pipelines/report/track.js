"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const player = document.getElementById("player"), score = document.getElementById("score");
  const inner = score && score.firstElementChild, head = inner && inner.querySelector("span"), wide = document.getElementById("wide");
  if (!score) return;
  const at = (t) => data.left + (data.right - data.left) * (t - data.start) / (data.end - data.start);
  function follow() {
    if (!player || !head) return;
    head.style.left = 100 * at(player.currentTime) + "%";
    const x = at(player.currentTime) * inner.clientWidth;
    if (!player.paused && (x < score.scrollLeft + 40 || x > score.scrollLeft + score.clientWidth - 40)) score.scrollLeft = x - score.clientWidth / 4;
    if (!player.paused) requestAnimationFrame(follow);
  }
  if (player) {
    for (const name of ["play", "seeked", "timeupdate"]) player.addEventListener(name, follow);
    inner.addEventListener("click", (e) => {
      const x = (e.clientX - inner.getBoundingClientRect().left) / inner.clientWidth;
      const t = data.start + (x - data.left) / (data.right - data.left) * (data.end - data.start);
      player.currentTime = Math.min(Math.max(t, 0), data.end); follow();
    });
  }
  wide.addEventListener("input", () => {
    const middle = (score.scrollLeft + score.clientWidth / 2) / inner.clientWidth;
    inner.style.width = wide.value + "%";
    score.scrollLeft = middle * inner.clientWidth - score.clientWidth / 2; follow();
  });
  follow();
})();
