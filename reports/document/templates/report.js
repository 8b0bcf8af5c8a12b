// Draws the plots in the colours of the page's theme, those in sight first, and again when the theme changes. Paper has pictures.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { displayModeBar: false, responsive: true };

  // Colours and fonts in the figures are written "var(--name)": the style sheet alone defines them.
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

  const draw = (id) => {
    const { data, layout } = resolve(figures[id], getComputedStyle(document.documentElement));
    Plotly.react(id, data, { ...layout, autosize: true, dragmode: false }, config);
  };

  const drawn = new Set();
  const once = (id) => {
    if (!drawn.has(id)) {
      drawn.add(id);
      draw(id);
    }
  };
  const seen = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => once(entry.target.id)),
    { rootMargin: "600px" },
  );
  const idle = window.requestIdleCallback ?? ((next) => setTimeout(next, 50));
  const waiting = Object.keys(figures);
  const drawNext = () => {
    const id = waiting.find((one) => !drawn.has(one));
    if (id) {
      once(id);
      idle(drawNext);
    }
  };
  for (const id of waiting) seen.observe(document.getElementById(id));
  idle(drawNext);

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.noted")) details.open = true;
  });
})();
