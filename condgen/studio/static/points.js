// Samples that are points of the plane, in one drawing.

import { draw, make, short } from "./elements.js";

const WIDTH = 640;
const HEIGHT = 400;

export class Points {
  constructor(offer) {
    this.offer = offer;
    this.figure = make("figure", { class: "scatter" });
    this.legend = make("figcaption", { class: "legend" });
    this.range = make("span", { class: "range" });
    this.element = make("div", { class: "plane" }, this.figure, this.legend);
  }

  show({ samples, labelled }) {
    const labels = samples.map((sample) => (labelled ? sample.class : 0));
    const points = samples.map((sample) => sample.x.slice(0, 2));
    const names = new Map(samples.map((sample, index) => [labels[index], labelled ? this.offer.classes[sample.class] : "samples"]));
    const drawing = scatter(points, labels, `${points.length} points: ${[...names.values()].join(" and ")}`);
    this.figure.replaceChildren(drawing);
    this.range.textContent = drawing.dataset.range;
    this.legend.replaceChildren(...[...names].map(([label, name]) =>
      make("span", {}, draw("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, dots([[6, 6]], label, 7)), name)), this.range);
  }
}

/** Points of one class: a path of lines without length, whose ends are round, or square for every second class. */
function dots(points, label, size) {
  const path = points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
  return draw("path", { d: path, class: `dots color-${label % 6} ${label % 2 ? "square" : "round"}`, "stroke-width": size });
}

function scatter(points, labels, title) {
  const ends = [0, 1].map((axis) => {
    const values = points.map((point) => point[axis]);
    return [Math.min(...values), Math.max(...values)];
  });
  const [[left, right], [low, high]] = ends;
  // One unit is as long in both directions.
  const scale = 0.9 * Math.min(WIDTH / (right - left || 1), HEIGHT / (high - low || 1));
  const place = ([x, y]) => [
    WIDTH / 2 + scale * (x - (left + right) / 2), HEIGHT / 2 - scale * (y - (low + high) / 2)];
  const range = `${short(left)} to ${short(right)} across, ${short(low)} to ${short(high)} up`;
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}; ${range}` });
  svg.dataset.range = range;
  for (const label of new Set(labels)) {
    svg.append(dots(points.filter((_, index) => labels[index] === label).map(place), label, 5));
  }
  return svg;
}
