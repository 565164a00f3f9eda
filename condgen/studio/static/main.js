// The page: what both sides share, the requests, and the address that brings all of it back.

import { chips, copy, make } from "./elements.js";
import { Result } from "./result.js";
import { Settings } from "./settings.js";
import { isSetting } from "./values.js";

const AFTER = 90; // milliseconds without a change before a request leaves
const PATIENCE = 4; // seconds that a drawing may take which nobody has asked for by a click
const FIRST_GUESS = 4e-7; // seconds a number of a sample and evaluation, before anything is measured

const at = (id) => document.getElementById(id);
const shared = { class: null, count: 8, seed: 0 };
const sides = {};
const rates = new Map(); // seconds a sample and evaluation, by model
let offer;
let markClass;

const compared = () => at("compare").checked;
const shownSides = () => (compared() ? [sides.a, sides.b] : [sides.a]);

function most() {
  const classes = shared.class === null && sides.a.settings.knowsLabels ? offer.classes.length : 1;
  return Math.max(1, Math.floor(offer.limits.samples / classes));
}

function requestOf({ settings }) {
  return { label: shared.class, per_class: shared.count, seed: shared.seed, method: settings.method };
}

function modelOf({ method }) {
  return JSON.stringify([method.generator, method.score, method.classifier, method.guide]);
}

/** Seconds that a side would take, as far as can be known. */
function expected({ settings }) {
  const samples = shared.count * (shared.class === null && settings.knowsLabels ? offer.classes.length : 1);
  const numbers = offer.shape.reduce((one, other) => one * other, 1);
  const rate = rates.get(modelOf(settings)) ?? (settings.method.generator === null ? FIRST_GUESS * numbers : 0);
  return rate * samples * settings.evaluations;
}

function change(changed = shownSides()) {
  remember();
  at("count").max = most();
  at("count-label").textContent = shared.class === null && sides.a.settings.knowsLabels ? "Samples a class" : "Samples";
  for (const side of changed) {
    clearTimeout(side.timer);
    side.request?.abort();
    const seconds = expected(side);
    if (seconds > PATIENCE) side.result.offerToDraw(seconds);
    else side.timer = setTimeout(() => ask(side), AFTER);
  }
}

/** Draws a side. Only the newest request counts: an older one is given up, here and on the server. */
async function ask(side) {
  side.request?.abort();
  const request = (side.request = new AbortController());
  const body = JSON.stringify(requestOf(side));
  side.result.wait();
  try {
    const response = await fetch("/draw", {
      method: "POST", headers: { "Content-Type": "application/json" }, body, signal: request.signal,
    });
    if (!response.ok) {
      const { error } = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
      throw new Error(error);
    }
    for await (const line of lines(response.body)) {
      if (request.signal.aborted) return;
      if (line.error) throw new Error(line.error);
      if (line.drawn) show(side, line.drawn);
      else side.result.tell(line);
    }
  } catch (error) {
    if (request.signal.aborted || error.name === "AbortError") return;
    side.result.fail(error instanceof TypeError ? "no answer: is condgen studio still running?" : error.message);
  }
}

function show(side, drawn) {
  const { samples, evaluations, seconds } = drawn.cost;
  rates.set(modelOf(side.settings), seconds / (samples * evaluations));
  const what = !drawn.labelled ? "no class: nothing here chooses one" : shared.class === null ? "all classes" : `class ${offer.classes[shared.class]}`;
  const name = compared() ? `${side.name.toUpperCase()}: ` : "";
  side.result.show(`${name}${side.settings.words}, ${what}`, drawn);
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

/** Puts all settings into the address. */
function remember() {
  const query = new URLSearchParams();
  if (shared.class !== null) query.set("class", shared.class);
  query.set("n", shared.count);
  query.set("seed", shared.seed);
  for (const { name, settings } of shownSides()) {
    const base = offer.methods.find((method) => method.name === settings.base);
    query.set(name, base.name);
    for (const [key, value] of Object.entries(settings.method)) {
      if (JSON.stringify(value) !== JSON.stringify(base.method[key])) query.set(`${name}.${key}`, JSON.stringify(value));
    }
  }
  history.replaceState(null, "", `?${query}`);
}

/** Takes settings from the address; what makes no sense is left out, and the server has the last word. */
function recall() {
  const query = new URLSearchParams(location.search);
  const whole = (name, fallback) => (/^\d+$/.test(query.get(name) ?? "") ? Number(query.get(name)) : fallback);
  shared.class = whole("class", null);
  if (shared.class !== null && shared.class >= offer.classes.length) shared.class = null;
  shared.count = Math.max(1, whole("n", shared.count));
  shared.seed = whole("seed", shared.seed);
  for (const name of ["a", "b"]) {
    const base = offer.methods.find((method) => method.name === query.get(name));
    if (!base) continue;
    const method = { ...base.method };
    for (const key of Object.keys(method)) {
      try {
        if (!query.has(`${name}.${key}`)) continue;
        const value = JSON.parse(query.get(`${name}.${key}`));
        if (isSetting(key, value)) method[key] = value;
      } catch { /* not a value: the ready-made one stays */ }
    }
    const known = offer.samplers.some(({ name: sampler }) => sampler === method.sampler);
    const settings = known || method.generator !== null ? method : base.method;
    sides[name].settings.show(settings, base.name);
  }
  at("compare").checked = query.has("b");
}

function whole(input, low, high) {
  const value = Math.round(Number(input.value));
  return Number.isFinite(value) ? Math.min(Math.max(value, low), high) : low;
}

function setSeed(seed) {
  shared.seed = seed;
  at("seed").value = seed;
  change();
}

function chooseClass(value) {
  shared.class = value === "all" ? null : Number(value);
  shared.count = Math.min(shared.count, most());
  at("count").value = shared.count;
  change();
}

function buildClasses() {
  const choices = [{ value: "all", text: "all" }, ...offer.classes.map((text, value) => ({ value, text }))];
  markClass = chips(at("classes"), "class", choices, chooseClass);
  at("classes").classList.toggle("many", offer.classes.length > 30);
}

function buildSide(name) {
  const side = (sides[name] = { name });
  const others = (act) => shownSides().filter((other) => other !== side).forEach(act);
  side.settings = new Settings(name, offer, () => change([side]));
  side.result = new Result(name, offer, {
    redraw: () => ask(side),
    stop: () => side.request?.abort(),
    selected: (index) => others(({ result }) => result.select(index)),
  });
  side.element = make("div", { class: "side" }, side.settings.element, side.result.element);
  at("results").append(side.element);
}

function arrange() {
  at("results").classList.toggle("two", compared());
  sides.b.element.hidden = !compared();
  const narrow = matchMedia("(max-width: 60rem)").matches;
  for (const { settings } of Object.values(sides)) settings.more.open = !compared() && !narrow;
}

function listen() {
  at("shared").addEventListener("submit", (event) => event.preventDefault());
  at("count").addEventListener("change", () => {
    shared.count = whole(at("count"), 1, most());
    at("count").value = shared.count;
    change();
  });
  at("seed").addEventListener("change", () => setSeed(whole(at("seed"), 0, 2 ** 32 - 1)));
  at("before").addEventListener("click", () => setSeed(Math.max(0, shared.seed - 1)));
  at("after").addEventListener("click", () => setSeed(shared.seed + 1));
  at("dice").addEventListener("click", () => setSeed(Math.floor(Math.random() * 1e6)));
  at("link").addEventListener("click", () => copy(at("link"), location.href));
  at("compare").addEventListener("change", () => {
    arrange();
    sides.b.request?.abort();
    change();
  });
}

async function begin() {
  const response = await fetch("/offer.json");
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  offer = await response.json();
  buildSide("a");
  buildSide("b");
  const second = offer.methods.find(({ method }) => method.generator !== null) ?? offer.methods.at(-1);
  const first = offer.methods.find(({ method }) => method.classifier !== null || method.generator !== null) ?? offer.methods[0];
  sides.a.settings.show(first.method, first.name);
  sides.b.settings.show(second.method, second.name);
  if (!offer.images) shared.count = 100;
  recall();
  buildClasses();
  markClass(shared.class ?? "all");
  shared.count = Math.min(shared.count, most());
  at("count").value = shared.count;
  at("seed").value = shared.seed;
  listen();
  arrange();
  change();
}

begin().catch((error) => {
  at("broken").textContent = `The page could not start: ${error.message}`;
  at("broken").hidden = false;
});
