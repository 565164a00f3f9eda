// The settings of one side: ready-made methods, and everything that they are made of.

import { chips, fill, make } from "./elements.js";

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export class Settings {
  /** Controls for a side, "a" or "b"; `changed(method)` is called on every change. */
  constructor(side, offer, changed) {
    this.side = side;
    this.offer = offer;
    this.changed = changed;
    this.method = offer.methods[0].method;
    this.base = offer.methods[0].name;
    this.element = make("form", { class: "settings", "aria-label": `Settings ${side.toUpperCase()}`, autocomplete: "off" });
    this.element.addEventListener("submit", (event) => event.preventDefault());
    this.#build();
    this.show(this.method, this.base);
  }

  /** Takes a method over, with the name of the ready-made one that it comes from. */
  show(method, base) {
    this.method = structuredClone(method);
    if (base !== undefined) this.base = base;
    this.#sync();
  }

  get sampler() {
    return this.offer.samplers.find((sampler) => sampler.name === this.method.sampler);
  }

  get score() {
    return this.offer.scores.find((score) => score.name === this.method.score);
  }

  /** Whether samples will be of the class that is asked for. */
  get knowsLabels() {
    const { generator, classifier } = this.method;
    return generator !== null || classifier !== null || this.score?.labels !== "none";
  }

  /** Evaluations of a sample, nearly: what is asked for, or usual. */
  get evaluations() {
    if (this.method.generator !== null) return 1;
    return this.method.nfe ?? this.method.steps ?? this.sampler.evaluations ?? 100;
  }

  /** In a few words, for the head of a result. */
  get words() {
    const named = this.offer.methods.find(({ method }) => same(method, this.method));
    if (named) return named.name;
    if (this.method.generator !== null) return this.method.generator;
    const guide = this.method.classifier ?? this.method.guide;
    return [this.method.score, guide, this.method.sampler].filter(Boolean).join(" · ");
  }

  #id(name) {
    return `${this.side}-${name}`;
  }

  #field(name, text, control, ...more) {
    control.id = this.#id(name);
    return make("div", { class: "field" }, make("label", { for: control.id, textContent: text }), control, ...more);
  }

  #build() {
    const { offer } = this;
    this.methods = make("fieldset", { class: "chips" }, make("legend", { textContent: "Method" }));
    const choices = offer.methods.map(({ name, about }) => ({ value: name, text: name, title: about }));
    this.mark = chips(this.methods, this.#id("method"), choices, (name) => {
      this.show(offer.methods.find((method) => method.name === name).method, name);
      this.changed();
    });
    this.about = make("p", { class: "note" });

    this.model = make("select");
    const scores = offer.scores.map(({ name }) => [`score:${name ?? ""}`, name ?? "score model"]);
    const generators = offer.generators.map((name) => [`generator:${name}`, name]);
    fill(this.model, [["In many steps", scores], ["In one step", generators]]);
    this.model.addEventListener("change", () => this.#chooseModel());

    this.guide = make("select");
    this.guide.addEventListener("change", () => this.#chooseGuide());

    this.scale = make("input", { type: "number", step: "any" });
    this.slider = make("input", { type: "range", min: 0, max: 10, step: 0.1, "aria-label": "Guidance scale" });
    this.calibrated = make("input", { type: "checkbox", id: this.#id("calibrated") });
    this.slider.addEventListener("input", () => this.#set({ scale: Number(this.slider.value) }));
    this.scale.addEventListener("change", () => this.#set({ scale: Number(this.scale.value) }));
    this.calibrated.addEventListener("change", () => this.#set({ scale: this.calibrated.checked ? "calibrated" : 1 }));
    this.calibration = make("label", { class: "switch" }, this.calibrated, " calibrated for each noise level");

    this.low = make("input", { type: "number", min: 0, step: "any", placeholder: "lowest" });
    this.high = make("input", { type: "number", min: 0, step: "any", placeholder: "highest" });
    this.low.id = this.#id("low");
    this.high.setAttribute("aria-label", "highest noise level with guidance");
    for (const input of [this.low, this.high]) input.addEventListener("change", () => this.#chooseInterval());

    this.guidance = make(
      "div",
      { class: "group" },
      make("div", { class: "field wide" }, make("label", { for: this.#id("scale"), textContent: "Scale" }),
        make("span", { class: "joined" }, this.slider, this.scale)),
      this.calibration,
      make("div", { class: "field wide", role: "group", "aria-label": "Guided at noise levels" },
        make("label", { for: this.low.id, textContent: "At noise levels" }),
        make("span", { class: "joined between" }, this.low, "to", this.high)),
    );
    this.scale.id = this.#id("scale");

    this.samplers = make("select");
    const named = (adaptive) => offer.samplers.filter((s) => s.adaptive === adaptive).map((s) => [s.name, s.name]);
    fill(this.samplers, [["On a time grid", named(false)], ["Choosing their own steps", named(true)]]);
    this.samplers.addEventListener("change", () => this.#chooseSampler());
    this.line = make("p", { class: "note", id: this.#id("line") });
    this.samplers.setAttribute("aria-describedby", this.line.id);

    this.evaluation = make("input", { type: "number", min: 1, max: offer.limits.evaluations, step: 1 });
    this.steps = make("input", { type: "range", step: 1, "aria-label": "Evaluations" });
    this.steps.addEventListener("input", () => this.#chooseEvaluations(Number(this.steps.value)));
    this.evaluation.addEventListener("change", () => this.#chooseEvaluations(Number(this.evaluation.value)));
    this.grid = make("div", { class: "field wide" },
      make("label", { for: this.#id("evaluations"), textContent: "Evaluations" }),
      make("span", { class: "joined" }, this.steps, this.evaluation));
    this.evaluation.id = this.#id("evaluations");
    this.options = make("details", { class: "options" }, make("summary", { textContent: "Options of the sampler" }));

    this.many = make("div", { class: "group" }, this.#field("guide", "Guide", this.guide), this.guidance,
      this.#field("sampler", "Sampler", this.samplers), this.line, this.grid, this.options);
    this.more = make("details", { class: "more" }, make("summary", { textContent: "Settings" }),
      this.#field("model", "Model", this.model), this.many);
    this.element.append(this.methods, this.about, this.more);
  }

  #set(change) {
    this.method = { ...this.method, ...change };
    this.#sync();
    this.changed();
  }

  #unguided() {
    return { classifier: null, guide: null, scale: 1, interval: null };
  }

  #chooseModel() {
    const at = this.model.value.indexOf(":");
    const [kind, name] = [this.model.value.slice(0, at), this.model.value.slice(at + 1)];
    if (kind === "generator") this.#set({ ...this.offer.blank, generator: name });
    else this.#set({ generator: null, score: name || null, ...this.#unguided() });
  }

  #chooseGuide() {
    const guide = this.score.guides[Number(this.guide.value)];
    const scale = typeof this.method.scale === "number" && this.method.scale !== 1 ? this.method.scale : 1.5;
    if (!guide) this.#set(this.#unguided());
    else this.#set({ ...this.#unguided(), interval: this.method.interval, scale, [guide.kind]: guide.name });
  }

  #chooseInterval() {
    const [least, most] = this.offer.noise;
    const given = this.low.value !== "" || this.high.value !== "";
    this.#set({ interval: given ? [Number(this.low.value || least), Number(this.high.value || most)] : null });
  }

  #chooseSampler() {
    this.#set({ sampler: this.samplers.value, options: {}, steps: null, nfe: null, grid: null });
  }

  #chooseEvaluations(value) {
    if (value >= 1) this.#set({ nfe: Math.round(value), steps: null });
  }

  #sync() {
    const { method, offer, sampler } = this;
    const named = offer.methods.find((each) => same(each.method, method));
    this.mark(named ? named.name : null);
    this.about.textContent = named ? named.about : this.#changes();
    this.model.value = method.generator !== null ? `generator:${method.generator}` : `score:${method.score ?? ""}`;
    this.many.hidden = method.generator !== null;
    if (method.generator !== null || !this.score) return;
    const guides = this.score.guides.map(({ kind, name }, index) => [String(index), this.#titled(kind, name)]);
    fill(this.guide, [["", [["", "none"], ...guides]]]);
    const guide = this.score.guides.findIndex(({ kind, name }) => method[kind] === name);
    this.guide.value = guide < 0 ? "" : String(guide);
    this.guidance.hidden = guide < 0;
    const fixed = typeof method.scale === "number";
    this.slider.value = fixed ? method.scale : 1;
    this.scale.value = fixed ? method.scale : "";
    this.slider.disabled = this.scale.disabled = !fixed;
    this.calibrated.checked = !fixed;
    this.calibration.hidden = !offer.calibrated.includes(method.classifier);
    this.low.value = method.interval?.[0] ?? "";
    this.high.value = method.interval?.[1] ?? "";
    this.samplers.value = method.sampler;
    const noise = sampler.noise === "no" ? "no fresh noise" : `fresh noise ${sampler.noise}`;
    this.line.textContent = `${sampler.about.replace(/\.$/, "")}; ${noise}.`;
    this.grid.hidden = sampler.adaptive;
    const usual = method.nfe ?? (method.steps === null ? sampler.evaluations : null);
    this.steps.min = sampler.least ?? 1;
    this.steps.max = Math.max(100, sampler.evaluations ?? 0, usual ?? 0);
    this.steps.value = usual ?? method.steps ?? 20;
    this.evaluation.value = usual ?? "";
    this.evaluation.placeholder = method.steps === null ? "" : `${method.steps} points`;
    this.#syncOptions();
  }

  /** What differs from the ready-made method, in words. */
  #changes() {
    const base = this.offer.methods.find(({ name }) => name === this.base).method;
    const { options, interval, nfe, scale, sampler } = this.method;
    const changes = [];
    for (const key of ["generator", "score", "classifier", "guide"]) {
      if (this.method[key] !== base[key] && this.method[key] !== null) changes.push(`${key} ${this.method[key]}`);
    }
    if (scale !== base.scale) changes.push(`scale ${scale}`);
    if (interval && !same(interval, base.interval)) changes.push(`noise levels ${interval.join(" to ")}`);
    if (sampler !== base.sampler) changes.push(sampler);
    if (nfe !== base.nfe && nfe !== null) changes.push(`${nfe} evaluations`);
    for (const [name, value] of Object.entries(options)) changes.push(`${name} ${value}`);
    return [`changed from ${this.base}`, changes.join(", ")].filter(Boolean).join(": ");
  }

  #titled(kind, name) {
    if (kind === "classifier") return `classifier ${name}`;
    return name === "unlabelled" ? "itself, without the label" : `weaker: ${name === "score" ? "score model" : name}`;
  }

  #syncOptions() {
    const { method, sampler } = this;
    const options = Object.entries(sampler.options);
    this.options.hidden = !options.length;
    if (this.shown !== sampler.name) {
      this.shown = sampler.name;
      const fields = options.map(([name, schema]) => this.#option(name, { ...schema.anyOf?.[0], ...schema }));
      this.options.replaceChildren(this.options.firstChild, ...fields);
      this.options.open = sampler.adaptive && !matchMedia("(max-width: 60rem)").matches;
    }
    for (const [name, { default: usual }] of options) {
      const control = this.options.querySelector(`#${CSS.escape(this.#id(`option-${name}`))}`);
      const value = method.options[name] ?? usual;
      if (control.type === "checkbox") control.checked = value;
      else control.value = value ?? "";
    }
  }

  /** A control for an option, which its JSON schema describes. */
  #option(name, { type, enum: choices, description, minimum, maximum, default: usual }) {
    let control;
    if (choices) {
      control = make("select");
      fill(control, [["", choices.map((choice) => [String(choice), String(choice)])]]);
    } else if (type === "boolean") control = make("input", { type: "checkbox" });
    else control = make("input", { type: "number", min: minimum ?? "", max: maximum ?? "", step: type === "integer" ? 1 : "any" });
    control.addEventListener("change", () => {
      const options = { ...this.method.options };
      let value = control.value === "" ? null : Number(control.value);
      if (choices) value = choices.find((choice) => String(choice) === control.value);
      if (type === "boolean") value = control.checked;
      if (value === usual || value === null) delete options[name];
      else options[name] = value;
      this.#set({ options });
    });
    const field = this.#field(`option-${name}`, name, control, make("p", { class: "note", textContent: description ?? "" }));
    field.classList.add("option");
    return field;
  }
}
