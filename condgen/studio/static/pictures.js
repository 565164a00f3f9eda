// Samples that are images: a list to walk with the arrow keys, a row a class.

import { make } from "./elements.js";

export class Pictures {
  constructor(offer, selected) {
    this.offer = offer;
    this.selected = selected;
    [, this.height, this.width] = offer.shape;
    this.element = make("div", { class: "samples", role: "listbox", "aria-label": "Samples", tabIndex: -1 });
    this.element.addEventListener("keydown", (event) => this.#walk(event));
    this.chosen = 0;
    this.cells = [];
  }

  show({ samples, labelled }) {
    const focused = this.element.contains(document.activeElement);
    const rows = new Map();
    this.cells = samples.map((sample, index) => {
      const name = this.offer.classes[sample.class];
      const title = `${labelled ? `class ${name}` : "sample"}, seed ${sample.seed}`;
      const image = make("img", { src: `data:image/png;base64,${sample.png}`, alt: title });
      const cell = make("div", { class: "cell", role: "option", title, tabIndex: -1 }, image);
      cell.addEventListener("click", () => this.#choose(index, true));
      const label = labelled ? sample.class : -1;
      if (!rows.has(label)) rows.set(label, { name, cells: [] });
      rows.get(label).cells.push(cell);
      return cell;
    });
    const factor = (about) => Math.max(1, Math.round(about / Math.max(this.width, this.height)));
    const wide = factor(rows.size > 1 ? 44 : 64) * this.width;
    this.element.style.setProperty("--cell", `${wide}px`);
    this.element.style.setProperty("--narrow", `${factor(rows.size > 1 ? 32 : 40) * this.width}px`);
    this.element.classList.toggle("classes", rows.size > 1);
    const groups = [...rows.values()].map(({ name, cells }) =>
      make("div", { class: "class", role: "group", "aria-label": labelled ? `class ${name}` : "samples" },
        ...(rows.size > 1 ? [make("span", { class: "name", textContent: name, title: name })] : []),
        make("div", { class: "cells", role: "presentation" }, ...cells)));
    this.element.replaceChildren(...groups);
    this.#choose(Math.min(this.chosen, this.cells.length - 1), focused);
  }

  select(index) {
    this.#choose(Math.min(index, this.cells.length - 1), false, false);
  }

  #choose(index, focus, tell = true) {
    this.cells[this.chosen]?.setAttribute("aria-selected", "false");
    if (this.cells[this.chosen]) this.cells[this.chosen].tabIndex = -1;
    this.chosen = index;
    for (const cell of this.cells) cell.setAttribute("aria-selected", cell === this.cells[index] ? "true" : "false");
    const cell = this.cells[index];
    if (!cell) return;
    cell.tabIndex = 0;
    if (focus) cell.focus({ preventScroll: false });
    if (tell && focus) this.selected(index);
  }

  #walk(event) {
    const top = (cell) => cell.getBoundingClientRect().top;
    const here = this.cells[this.chosen];
    const box = here?.getBoundingClientRect();
    const moves = {
      ArrowRight: () => this.chosen + 1,
      ArrowLeft: () => this.chosen - 1,
      Home: () => 0,
      End: () => this.cells.length - 1,
      ArrowDown: () => this.#nearest(this.cells.filter((cell) => top(cell) > box.bottom - 2), box, 1),
      ArrowUp: () => this.#nearest(this.cells.filter((cell) => top(cell) < box.top - 2), box, -1),
    };
    if (!here || !moves[event.key]) return;
    event.preventDefault();
    const next = moves[event.key]();
    if (next >= 0 && next < this.cells.length) this.#choose(next, true);
  }

  #nearest(cells, box, sign) {
    const distance = (cell) => {
      const other = cell.getBoundingClientRect();
      return sign * (other.top - box.top) * 10 + Math.abs(other.left - box.left);
    };
    const best = cells.reduce((one, other) => (one && distance(one) <= distance(other) ? one : other), null);
    return best ? this.cells.indexOf(best) : -1;
  }
}
