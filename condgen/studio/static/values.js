// What an address may set: anybody may have written it, and a value of another type would stop the page.

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isName = (value) => value === null || typeof value === "string";
const isCount = (value) => value === null || (Number.isInteger(value) && value >= 1);
const isPlain = (value) => value === null || typeof value === "boolean" || typeof value === "string" || isNumber(value);

const KINDS = {
  score: isName,
  classifier: isName,
  guide: isName,
  generator: isName,
  sampler: (value) => typeof value === "string",
  grid: isName,
  precision: (value) => typeof value === "string",
  scale: (value) => value === "calibrated" || isNumber(value),
  interval: (value) => value === null || (Array.isArray(value) && value.length === 2 && value.every(isNumber)),
  steps: isCount,
  nfe: isCount,
  options: (value) => value !== null && typeof value === "object" && !Array.isArray(value) && Object.values(value).every(isPlain),
};

/** Whether a value is of the type that this setting of a method has. */
export function isSetting(key, value) {
  return Object.hasOwn(KINDS, key) && KINDS[key](value);
}
