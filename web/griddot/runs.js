/** What a node's last run left for its panel, and what that run was of. */

import { outputsOf } from "../panels/background.js";
import { clamp } from "../panels/numbers.js";
import { Recent } from "../panels/recent.js";

/**
 * @typedef {{picture: string, mask: string}} Origins of the tokens' picture and of the mask
 * @typedef {object} Run
 * @property {number} rows @property {number} columns
 * @property {number[][] | null} mask rows of weights
 * @property {string} dots as they came in
 * @property {import("../panels/background.js").File} [picture] as the encoder saw it, smaller
 * @property {string} content all of it
 */

const MOST_TOKENS = 18_432; // of a picture at the largest token budget of Qwen2VL Encode, both sides rounded up
const KEPT = 32;

/** @type {WeakMap<object, Run | null>} by the message that a run left */
const runs = new WeakMap();

/** @type {Recent} origins by place and content: undo and other tabs make copies of messages */
const origins = new Recent(KEPT);

/** @returns {Run | null} of a node in a graph */
export function lastRun(node) {
  const message = outputsOf(node)?.griddot?.[0];
  if (Object(message) !== message) return null;
  if (!runs.has(message)) runs.set(message, inOrder(message));
  return runs.get(message);
}

/** @returns {Origins} of a run; `now` for one that was not remembered */
export function originsOf(place, run, now) {
  return remember(place, run, origins.get(nameOf(place, run)) ?? now);
}

/** @param {string} place of the node @param {Run} run @param {Origins} from @returns {Origins} */
export function remember(place, run, from) {
  origins.set(nameOf(place, run), from);
  return from;
}

const nameOf = (place, run) => `${place} ${run.content}`;

/** A run's message in order, or null: it may come from a stored workflow. */
function inOrder({ rows, columns, mask, dots, picture }) {
  const side = (value) => Number.isInteger(value) && value > 0;
  if (!side(rows) || !side(columns) || rows * columns > MOST_TOKENS) return null;
  const whole = Array.isArray(mask) && mask.length === rows && mask.every((row) => row?.length === columns);
  const run = {
    rows,
    columns,
    mask: whole ? mask.map((row) => Array.from(row, (value) => clamp(Number(value) || 0, 0, 1))) : null,
    dots: typeof dots === "string" ? dots : "",
    picture: Object(picture) === picture ? picture : undefined,
  };
  return { ...run, content: JSON.stringify(run) };
}
