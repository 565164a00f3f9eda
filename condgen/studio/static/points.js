// Samples that are points of the plane: one drawing, and a small one for every state on the way.

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

  async load() {}

  show({ samples, trajectory, labelled }) {
    this.key = (this.key ?? 0) + 1;
    this.labels = samples.map((sample) => (labelled ? sample.class : 0));
    this.final = samples.map((sample) => sample.x.slice(0, 2));
    this.trajectory = trajectory;
    this.names = new Map(samples.map((sample) => [labelled ? sample.class : 0, labelled ? this.offer.classes[sample.class] : "samples"]));
    this.legend.replaceChildren(...[...this.names].map(([label, name]) =>
      make("span", {}, draw("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, dots([[6, 6]], label, 7)), name)), this.range);
  }

  get stripKey() {
    return String(this.key);
  }

  get levels() {
    return this.trajectory?.noise[0];
  }

  #states(frame, kind) {
    const ways = this.trajectory[kind === "denoised" ? "denoised" : "x_t"];
    return { points: ways.map((way) => way[Math.min(frame, way.length - 1)]),
      labels: this.trajectory.samples.map((index) => this.labels[index]) };
  }

  at(frame, kind, atEnd) {
    const state = atEnd || !this.trajectory ? { points: this.final, labels: this.labels } : this.#states(frame, kind);
    const names = [...this.names.values()].join(" and ");
    const drawing = scatter(state, WIDTH, HEIGHT, 5, `${state.points.length} points: ${names}`);
    this.figure.replaceChildren(drawing);
    this.range.textContent = drawing.dataset.range;
  }

  thumbnail(frame, kind) {
    return scatter(this.#states(frame, kind), 80, 80, 3, "");
  }
}

/** Points of one class: a path of lines without length, whose ends are round, or square for every second class. */
function dots(points, label, size) {
  const path = points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
  return draw("path", { d: path, class: `dots color-${label % 6} ${label % 2 ? "square" : "round"}`, "stroke-width": size });
}

function scatter({ points, labels }, width, height, size, title) {
  const known = points.map((point, index) => [point, labels[index]]).filter(([p]) => p.every(Number.isFinite));
  const ends = [0, 1].map((axis) => {
    const values = known.map(([point]) => point[axis]);
    return [Math.min(...values), Math.max(...values)];
  });
  const [[left, right], [low, high]] = ends;
  // One unit is as long in both directions.
  const scale = 0.9 * Math.min(width / (right - left || 1), height / (high - low || 1));
  const place = ([x, y]) => [
    width / 2 + scale * (x - (left + right) / 2), height / 2 - scale * (y - (low + high) / 2)];
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}` });
  if (title) {
    svg.dataset.range = `${short(left)} to ${short(right)} across, ${short(low)} to ${short(high)} up`;
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${title}; ${svg.dataset.range}`);
  } else svg.setAttribute("aria-hidden", "true");
  for (const label of new Set(labels)) {
    svg.append(dots(known.filter(([, other]) => other === label).map(([point]) => place(point)), label, size));
  }
  return svg;
}
