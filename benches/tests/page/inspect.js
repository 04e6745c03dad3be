// Measures the pages in the frames, and leaves what it finds in the document.
"use strict";

const inside = (part, whole) =>
  part.left >= whole.left - 1 && part.right <= whole.right + 1 &&
  part.top >= whole.top - 1 && part.bottom <= whole.bottom + 1;

const overlap = (one, other) =>
  Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1 &&
  Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 3;

function inspectSeries(view, series, svg) {
  const has = (selector) => [...series.querySelectorAll(selector)];
  const marks = has(".mark").map((mark) => mark.getBoundingClientRect());
  const visible = marks.filter((box) => box.width > 0 && box.height > 0);
  const model = series.dataset.model;
  return [model, {
    marks: visible.length,
    hollow: has(".mark.hollow").length,
    spreads: has(".spread").filter((spread) => spread.getBBox().height > 0).length,
    line_width: Math.max(...visible.map((box) => box.left)) - Math.min(...visible.map((box) => box.left)),
    colour: view.getComputedStyle(series.querySelector(".line")).stroke,
    label: [...svg.querySelectorAll(".label")].some((label) => label.textContent === model),
  }];
}

function inspectPlot(view, svg) {
  const edge = svg.getBoundingClientRect();
  const all = (selector) => [...svg.querySelectorAll(selector)];
  const box = (element) => element.getBoundingClientRect();
  const labels = all(".label, .value, .count, .unit, .note");
  const outside = all("text, path").filter((part) => !inside(box(part), edge));
  const overlapping = labels.flatMap((one, index) =>
    labels.slice(index + 1)
      .filter((other) => overlap(box(one), box(other)))
      .map((other) => `${one.textContent} / ${other.textContent}`));
  return {
    id: svg.closest("article").id,
    text: all("text").map((text) => text.textContent).join(" "),
    outside: outside.map((part) => part.textContent || part.getAttribute("d")),
    overlapping,
    smallest_text: Math.min(...all("text").map((text) => box(text).height)),
    series: Object.fromEntries(all(".series").map((series) => inspectSeries(view, series, svg))),
  };
}

function inspectPage(frame) {
  const [view, page] = [frame.contentWindow, frame.contentDocument];
  const surface = view.getComputedStyle(page.querySelector(".surface")).fill;
  return {
    width: page.documentElement.clientWidth,
    scroll_width: page.documentElement.scrollWidth,
    surface: surface.match(/\d+/g).map(Number),
    plots: [...page.querySelectorAll("svg.plot")].map((svg) => inspectPlot(view, svg)),
  };
}

addEventListener("load", () => {
  const seen = [...document.querySelectorAll("iframe")].map(inspectPage);
  document.querySelector("pre").textContent = JSON.stringify(seen);
});
