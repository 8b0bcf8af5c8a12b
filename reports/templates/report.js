// Draws the plots in the colours of the page's theme, and again when the theme changes or the page is printed.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const config = { displayModeBar: false, responsive: true };

  // Colours and fonts in the figures are written "var(--name)": the style sheet is the only place that knows them.
  const resolve = (node, style) => {
    if (typeof node === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(node);
      return name ? style.getPropertyValue(name[1]).trim() : node;
    }
    if (Array.isArray(node)) return node.map((item) => resolve(item, style));
    if (node && typeof node === "object") {
      return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, resolve(value, style)]));
    }
    return node;
  };

  const draw = (sizes = {}) => {
    const style = getComputedStyle(root);
    for (const [id, figure] of Object.entries(figures)) {
      const { data, layout } = resolve(figure, style);
      Plotly.react(id, data, { ...layout, ...sizes, autosize: !sizes.width, dragmode: false }, config);
    }
  };

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    for (const details of document.querySelectorAll("details.noted")) details.open = true;
    draw({ width: 330 });
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    draw();
  });
})();
