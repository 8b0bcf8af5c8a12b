// Shows the value of the point of a chart that is nearest to the pointer, and opens what is folded for paper.
"use strict";
(() => {
  const points = JSON.parse(document.getElementById("points").textContent);
  const reach = 30; // pixels
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);

  const nearest = (own, box, event) => {
    let best = null;
    let least = reach;
    for (const point of own) {
      const distance = Math.hypot(box.left + point[0] * box.width - event.clientX, box.top + point[1] * box.height - event.clientY);
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  };

  for (const [id, own] of Object.entries(points)) {
    const chart = document.getElementById(id);
    const show = (event) => {
      const box = chart.firstElementChild.getBoundingClientRect();
      const point = nearest(own, box, event);
      tip.hidden = !point;
      if (!point) return;
      tip.textContent = point[2];
      const left = box.left + point[0] * box.width;
      const below = box.top + point[1] * box.height < tip.offsetHeight + 12;
      tip.style.left = `${scrollX + Math.max(0, Math.min(left - tip.offsetWidth / 2, document.documentElement.clientWidth - tip.offsetWidth))}px`;
      tip.style.top = `${scrollY + box.top + point[1] * box.height + (below ? 12 : -12 - tip.offsetHeight)}px`;
    };
    chart.addEventListener("pointermove", show);
    chart.addEventListener("pointerdown", show);
    chart.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.noted")) details.open = true;
  });
})();
