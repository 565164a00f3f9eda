// What was drawn: samples, what they cost, and the command that draws them again.

import { copy, make, short } from "./elements.js";
import { Pictures } from "./pictures.js";
import { Points } from "./points.js";

export class Result {
  /** A place for results of a side. `selected(index)` tells which sample the user looks at. */
  constructor(side, offer, { redraw, stop, selected }) {
    this.title = make("h2", { id: `${side}-title` });
    this.cost = make("p", { class: "cost", role: "status" });
    this.problem = make("p", { class: "problem", role: "alert", hidden: true });
    this.state = make("p", { class: "cost" }); // not told aloud: it changes many times a second
    this.halt = make("button", { type: "button", class: "quiet", textContent: "Stop", hidden: true });
    this.halt.addEventListener("click", () => { stop(); this.fail("stopped"); });
    this.bar = make("progress", { hidden: true, "aria-label": "Drawing" });
    this.again = make("button", { type: "button", class: "draw", textContent: "Draw", hidden: true });
    this.again.addEventListener("click", redraw);
    this.view = offer.images ? new Pictures(offer, selected) : new Points(offer);

    this.command = make("code");
    const copying = make("button", { type: "button", class: "quiet", textContent: "Copy" });
    copying.addEventListener("click", () => copy(copying, this.command.textContent));
    this.keep = make("div", { class: "keep", hidden: true },
      make("div", { class: "command" }, make("pre", {}, this.command), copying));
    this.head = make("div", { class: "head" }, this.title, this.cost, this.state, this.halt, this.again);
    this.element = make("section", { class: "result", "aria-labelledby": this.title.id },
      this.head, this.bar, this.problem, make("div", { class: "shown" }, this.view.element), this.keep);
  }

  /** A request is on its way: what is shown is of an earlier one. */
  wait() {
    this.problem.hidden = true;
    this.again.hidden = true;
    this.element.setAttribute("aria-busy", "true");
    clearTimeout(this.patience);
    // A fast answer should not make the page flicker.
    this.patience = setTimeout(() => { this.bar.hidden = this.halt.hidden = false; this.element.classList.add("old"); }, 150);
  }

  /** How far it is. */
  tell({ waiting, done, expected }) {
    this.cost.textContent = "";
    if (waiting !== undefined) {
      this.state.textContent = `waiting: ${waiting} before this`;
      this.bar.removeAttribute("value");
    } else if (expected) {
      this.state.textContent = `drawing: evaluation ${done} of ${expected}`;
      this.bar.max = expected;
      this.bar.value = done;
    } else {
      this.state.textContent = `drawing: evaluation ${done}`;
      this.bar.removeAttribute("value");
    }
  }

  #settle() {
    clearTimeout(this.patience);
    this.bar.hidden = this.halt.hidden = true;
    this.state.textContent = "";
    this.bar.removeAttribute("value");
    this.element.classList.remove("old");
    this.element.removeAttribute("aria-busy");
  }

  /** One line on what went wrong. */
  fail(problem) {
    this.#settle();
    this.cost.textContent = "";
    this.problem.textContent = problem;
    this.problem.hidden = false;
    this.element.classList.add("old");
  }

  /** The settings have changed, and what they cost is for the user to decide. */
  offerToDraw(seconds) {
    this.#settle();
    this.problem.hidden = true;
    this.element.classList.add("old");
    this.cost.textContent = `changed; about ${short(seconds)} s to draw`;
    this.again.hidden = false;
  }

  /** Shows what was drawn. */
  show(title, drawn) {
    const { cost } = drawn;
    this.#settle();
    this.again.hidden = true;
    this.problem.hidden = true;
    this.title.textContent = title;
    const speed = `${short(cost.samples / Math.max(cost.seconds, 1e-6))} samples/s`;
    const each = cost.network === 1 ? "1 evaluation" : `${short(cost.network)} evaluations`;
    const parts = [`${cost.samples} sample${cost.samples === 1 ? "" : "s"}`, `${each} each`, `${short(cost.seconds)} s`, speed];
    this.cost.textContent = parts.join(" · ");
    this.view.show(drawn);
    this.command.textContent = drawn.command;
    this.keep.hidden = false;
  }

  /** Marks a sample, which the user has chosen on the other side. */
  select(index) {
    this.view.select?.(index);
  }
}
