// Elements of the page. Text is always set as text, never parsed: names come from users.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties, attributes (aria-…, data-…, role) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else if (name === "class") element.className = value;
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** An element of a drawing. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A choice of one, as buttons side by side: radio buttons, which the arrow keys walk. */
export function chips(field, name, choices, chosen) {
  const old = field.querySelector(".choices");
  if (old) old.remove();
  const box = make("div", { class: "choices" });
  for (const { value, text, title } of choices) {
    const input = make("input", { type: "radio", name, value });
    input.addEventListener("change", () => chosen(value));
    box.append(make("label", { class: "chip", title: title ?? "" }, input, make("span", { textContent: text })));
  }
  field.append(box);
  return (value) => {
    for (const input of box.querySelectorAll("input")) input.checked = input.value === String(value);
  };
}

/** A drop-down list; groups are lists of [value, text]. */
export function fill(select, groups) {
  select.replaceChildren();
  for (const [title, choices] of groups) {
    if (!choices.length) continue;
    const place = title ? make("optgroup", { label: title }) : select;
    for (const [value, text] of choices) place.append(make("option", { value, textContent: text }));
    if (title) select.append(place);
  }
}

/** Puts text on the clipboard and says so on the button for a moment. */
export async function copy(button, text) {
  const before = button.dataset.text ?? button.textContent;
  button.dataset.text = before;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copying is not allowed here";
  }
  setTimeout(() => (button.textContent = before), 1500);
}

/** A number as people read it: a few digits that count. */
export function short(value, count = 3) {
  if (value === 0) return "0";
  const digits = Math.max(0, count - 1 - Math.floor(Math.log10(Math.abs(value))));
  return Number(value.toFixed(Math.min(digits, 6))).toLocaleString("en");
}
