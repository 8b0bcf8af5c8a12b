// Sorts and filters the table of runs; without a script it stays as it was written.
"use strict";
(() => {
  const table = document.querySelector(".runs");
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const filters = [...document.querySelectorAll("[data-filter]")];
  document.querySelector(".filters").hidden = false;

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort ?? cell.textContent.trim();
  };
  const compare = (one, other) => one.localeCompare(other, undefined, { numeric: true });

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => {
      const down = heading.ariaSort === "ascending";
      for (const other of headings) other.ariaSort = null;
      heading.ariaSort = down ? "descending" : "ascending";
      const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * compare(keyOf(a, column), keyOf(b, column)));
      body.append(...rows);
    });
    heading.replaceChildren(button);
  });

  const filter = () => {
    const shown = new Set();
    for (const row of body.rows) {
      row.hidden = !filters.every((one) => !one.value || row.dataset[one.dataset.filter].split("|").includes(one.value));
      if (!row.hidden) shown.add(row.dataset.group);
    }
    for (const group of document.querySelectorAll(".group")) group.hidden = !shown.has(group.dataset.group);
    document.getElementById("none").hidden = [...body.rows].some((row) => !row.hidden);
  };
  for (const one of filters) one.addEventListener("change", filter);
  filter();
})();
