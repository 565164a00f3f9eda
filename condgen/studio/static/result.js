// What was drawn: samples, the way they came from noise, what they cost, and how to have them again.

import { chips, copy, make, short } from "./elements.js";
import { Pictures } from "./pictures.js";
import { Points } from "./points.js";

export class Result {
  /** A place for results of a side. `selected(index)` and `moved(share)` tell what the user looks at. */
  constructor(side, offer, { redraw, stop, selected, moved }) {
    this.side = side;
    this.moved = moved;
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

    this.slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "Noise level" });
    this.slider.addEventListener("input", () => this.#move(Number(this.slider.value), true));
    this.play = make("button", { type: "button", class: "quiet", textContent: "Play" });
    this.play.addEventListener("click", () => this.#play());
    this.kind = make("fieldset", { class: "chips small" }, make("legend", { class: "unseen", textContent: "Show" }));
    this.mark = chips(this.kind, `${side}-kind`, [
      { value: "denoised", text: "denoised" }, { value: "noised", text: "noised" },
    ], (kind) => { this.shown = kind; this.#move(this.frame ?? this.last, false); });
    this.shown = "denoised";
    this.mark("denoised");
    this.level = make("output", { class: "level" });
    this.strip = make("div", { class: "strip" });
    this.way = make("section", { class: "way", "aria-labelledby": `${side}-way`, hidden: true },
      make("h3", { id: `${side}-way`, textContent: "From noise to sample" }),
      make("div", { class: "scrub" }, this.play, this.slider, this.level, this.kind), this.strip,
      make("p", { class: "note", textContent: "Above: the noised state, scaled to one size. Below: what the model takes it for." }));

    this.command = make("code");
    const copying = make("button", { type: "button", class: "quiet", textContent: "Copy" });
    copying.addEventListener("click", () => copy(copying, this.command.textContent));
    this.download = make("a", { class: "button", textContent: "Download", download: "" });
    this.keep = make("div", { class: "keep", hidden: true }, this.download,
      make("div", { class: "command" }, make("pre", {}, this.command), copying));
    this.head = make("div", { class: "head" }, this.title, this.cost, this.state, this.halt, this.again);
    this.element = make("section", { class: "result", "aria-labelledby": this.title.id },
      this.head, this.bar, this.problem, make("div", { class: "shown" }, this.view.element, this.way), this.keep);
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
  async show(title, drawn, kept, address) {
    const { cost, trajectory } = drawn;
    await this.view.load(drawn);
    this.#settle();
    this.again.hidden = true;
    this.problem.hidden = true;
    this.title.textContent = title;
    const speed = `${short(cost.samples / Math.max(cost.seconds, 1e-6))} samples/s`;
    const each = cost.network === 1 ? "1 evaluation" : `${short(cost.network)} evaluations`;
    const parts = [`${cost.samples} sample${cost.samples === 1 ? "" : "s"}`, `${each} each`, `${short(cost.seconds)} s`, speed];
    this.cost.textContent = parts.join(" · ") + (kept ? " (drawn before)" : "");
    this.view.show(drawn);
    this.way.hidden = trajectory === null;
    this.last = trajectory === null ? 0 : Math.max(...trajectory.noise.map((levels) => levels.length)) - 1;
    this.slider.max = this.last;
    this.command.textContent = drawn.command;
    this.download.href = address;
    this.keep.hidden = false;
    this.#move(this.last, false);
  }

  /** Shows a sample's way in the strip. */
  select(index) {
    this.view.select?.(index);
    this.#fillStrip();
    this.#mark();
  }

  /** Goes to a share of the way from noise (0) to sample (1). */
  goTo(share) {
    if (!this.way.hidden) this.#move(Math.round(share * this.last), false);
  }

  #move(frame, told) {
    this.frame = frame;
    this.slider.value = frame;
    this.view.at(frame, this.shown, frame === this.last && this.shown === "denoised");
    if (this.strip.dataset.for !== this.view.stripKey) this.#fillStrip();
    this.#mark();
    if (told) this.moved(this.last ? frame / this.last : 1);
  }

  #mark() {
    const levels = this.view.levels;
    if (!levels) return;
    const level = levels[Math.min(this.frame, levels.length - 1)];
    this.level.textContent = `noise ${short(level)}`;
    this.slider.setAttribute("aria-valuetext", `noise level ${short(level)}, ${this.frame + 1} of ${this.last + 1}`);
    for (const [index, column] of [...this.strip.children].entries()) {
      column.classList.toggle("here", index === Math.min(this.frame, levels.length - 1));
    }
  }

  #fillStrip() {
    this.strip.dataset.for = this.view.stripKey;
    const columns = (this.view.levels ?? []).map((level, frame) => {
      const column = make("button", { type: "button", tabIndex: -1, "aria-label": `Noise level ${short(level)}` },
        this.view.thumbnail(frame, "noised"), this.view.thumbnail(frame, "denoised"),
        make("span", { textContent: short(level, 2) }));
      column.addEventListener("click", () => this.#move(frame, true));
      return column;
    });
    this.strip.replaceChildren(...columns);
  }

  async #play() {
    const mine = (this.playing = {});
    for (let frame = 0; frame <= this.last; frame += 1) {
      if (this.playing !== mine) return;
      this.#move(frame, true);
      await new Promise((resolve) => setTimeout(resolve, 130));
    }
  }
}
