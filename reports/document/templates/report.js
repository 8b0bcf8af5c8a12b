// Shows the value of the point of a chart that is nearest to the pointer; opens what is folded for links and paper.
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

  const cells = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.replace(/\u2060/g, "").replace(/\s+/g, " ").trim()));
  const forms = {
    Markdown: (rows) => {
      const lines = rows.map((row) => `| ${row.map((text) => text.replace(/[\\|<`*_[\]]/g, "\\$&")).join(" | ")} |`);
      return [lines[0], `|${" --- |".repeat(rows[0].length)}`, ...lines.slice(1), ""].join("\n");
    },
    // A spreadsheet would take a leading sign for a formula.
    CSV: (rows) => rows.map((row) => row.map((text) => `"${text.replace(/^[=+@-](?![\d.])/, "'$&").replace(/"/g, '""')}"`).join(",")).join("\r\n") + "\r\n",
  };
  for (const scroll of document.querySelectorAll(".scroll")) {
    const table = scroll.querySelector("table");
    const bar = document.createElement("p");
    bar.className = "copy";
    for (const [form, write] of Object.entries(forms)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `Copy as ${form}`;
      button.addEventListener("click", async () => {
        const copied = await navigator.clipboard.writeText(write(cells(table))).then(() => true, () => false);
        button.textContent = copied ? "Copied" : "The browser does not allow it";
        setTimeout(() => { button.textContent = `Copy as ${form}`; }, 2000);
      });
      bar.append(button);
    }
    scroll.after(bar);
  }

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.closest("section")?.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.on-paper:not([open]), details.noted:not([open])")];
    for (const fold of opened) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of opened) fold.open = false;
  });
})();
