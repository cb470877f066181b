/**
 * The texts of points.py once more, in the browser. Texts are good or bad alike; tests/browser/test_sam2_panel.py says so.
 *
 * @typedef {{x: number, y: number, label: 0 | 1}} Point label 1 lies on the object, 0 beside it
 * @typedef {{x0: number, y0: number, x1: number, y1: number}} Box around one object; x0 < x1 and y0 < y1
 * @typedef {Point | Box} Mark its numbers count from the top left, in a unit
 * @typedef {object} Unit
 * @property {"fraction" | "pixels"} name
 * @property {number} width @property {number} height of the picture in the unit
 */

import { checkCount, kind, readList, TextError } from "../panels/json_lists.js";
import { clamp, rounded } from "../panels/numbers.js";

const EXAMPLES = {
  fraction: { points: '[{"x": 0.3, "y": 0.5, "label": 1}]', boxes: "[0.1, 0.2, 0.6, 0.9]" },
  pixels: { points: '[{"x": 154, "y": 256, "label": 1}]', boxes: "[51, 102, 307, 461]" },
};
export const MOST_POINTS = 1000;
export const MOST_BOXES = 64;
const KEYS = ["x", "y", "label"];
const CORNERS = ["x0", "y0", "x1", "y1"];
const SIDES = ["x", "y", "width", "height"]; // of a box as ComfyUI's own nodes have it, in pixels
const DECIMALS = { fraction: 4, pixels: 0 };

/** @type {Unit} */
export const FRACTION = { name: "fraction", width: 1, height: 1 };

/** @param {Mark} mark */
export const isPoint = (mark) => "label" in mark;

/** @param {string} text @param {Unit} unit @returns {Point[]} throws TextError for anything but points */
export function parsePoints(text, unit) {
  const example = EXAMPLES[unit.name].points;
  return readList(text, "points", example, MOST_POINTS).map((entry, index) => pointOf(entry, index + 1, unit, example));
}

/** @param {string} text @param {Unit} unit @returns {Box[]} throws TextError for anything but boxes */
export function parseBoxes(text, unit) {
  const example = EXAMPLES[unit.name].boxes;
  let entries = readList(text, "boxes", example, Infinity);
  if (entries.length && !entries.some((entry) => Object(entry) === entry)) entries = [entries];
  checkCount(entries, "boxes", MOST_BOXES);
  return entries.map((entry, index) => boxOf(entry, index + 1, unit, example));
}

function pointOf(entry, number, unit, example) {
  if (kind(entry) !== "kindObject") throw new TextError("errorPoint", { number, kind: kind(entry), example });
  const unknown = Object.keys(entry).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new TextError("errorUnknown", { number, name: JSON.stringify(unknown.slice(0, 40)) });
  for (const key of ["x", "y"]) {
    if (!Object.hasOwn(entry, key)) throw new TextError("errorMissing", { number, key, example });
  }
  const { x, y, label = 1 } = entry;
  for (const [key, value] of [["x", x], ["y", y]]) checkPlace("Point", { key, number, value, example }, unit);
  if (label !== 0 && label !== 1) throw new TextError("errorLabel", { number, value: JSON.stringify(label).slice(0, 40) });
  checkInside("points", number, x, y, unit);
  return { x, y, label };
}

function boxOf(entry, number, unit, example) {
  const corners = kind(entry) === "kindObject" && unit.name === "pixels" ? cornersOf(entry, number) : entry;
  if (!Array.isArray(corners)) throw new TextError("errorBox", { number, kind: kind(corners), example });
  if (corners.length !== CORNERS.length) throw new TextError("errorValues", { number, count: corners.length, example });
  CORNERS.forEach((key, index) => checkPlace("Box", { key, number, value: corners[index], example }, unit));
  const [x0, y0, x1, y1] = corners;
  if (x0 >= x1 || y0 >= y1) throw new TextError("errorArea", { number, value: JSON.stringify(corners) });
  checkInside("boxes", number, x1, y1, unit);
  return { x0, y0, x1, y1 };
}

function cornersOf(box, number) {
  const missing = SIDES.find((side) => typeof box[side] !== "number");
  if (missing) throw new TextError("errorSide", { number, key: missing });
  const { x, y, width, height } = box;
  return [x, y, x + width, y + height];
}

function checkPlace(name, { value, ...where }, unit) {
  if (typeof value !== "number") throw new TextError(`error${name}Number`, { ...where, kind: kind(value) });
  const most = unit.name === "pixels" ? Number.MAX_VALUE : 1;
  if (!(value >= 0 && value <= most)) throw new TextError(`error${name}Range_${unit.name}`, { ...where, value });
}

/** Pixels outside of the picture are refused when it comes in. */
function checkInside(list, number, x, y, { width, height }) {
  if (x > width || y > height) throw new TextError("errorOutside", { list: `${list}One`, number, x, y, width, height });
}

/** @param {Point[]} points @returns {string} text that parsePoints reads back; "" for none */
export function formatPoints(points) {
  const lines = points.map(({ x, y, label }) => `{"x": ${x}, "y": ${y}, "label": ${label}}`);
  return lines.length ? `[${lines.join(",\n ")}]` : "";
}

/** @param {Box[]} boxes @returns {string} text that parseBoxes reads back; "" for none */
export function formatBoxes(boxes) {
  const lines = boxes.map(({ x0, y0, x1, y1 }) => `[${[x0, y0, x1, y1].join(", ")}]`);
  return lines.length > 1 ? `[${lines.join(",\n ")}]` : lines.join("");
}

/** A place on the picture, short as the panel writes it. @param {Unit} unit @returns {[number, number]} */
export function placeOn(unit, x, y) {
  const decimals = DECIMALS[unit.name];
  return [rounded(clamp(x, 0, unit.width), decimals), rounded(clamp(y, 0, unit.height), decimals)];
}

/** @param {Unit} unit @returns {Point} */
export function pointAt(unit, x, y, label) {
  const [left, top] = placeOn(unit, x, y);
  return { x: left, y: top, label };
}

/** @param {Unit} unit @returns {Box | null} between two corners; null for one without area */
export function boxBetween(unit, one, other) {
  const [[x, y], [toX, toY]] = [placeOn(unit, ...one), placeOn(unit, ...other)];
  if (x === toX || y === toY) return null;
  return { x0: Math.min(x, toX), y0: Math.min(y, toY), x1: Math.max(x, toX), y1: Math.max(y, toY) };
}

/** A mark moved, within the picture. @param {Mark} mark @param {Unit} unit @returns {Mark} */
export function moved(mark, unit, byX, byY) {
  if (isPoint(mark)) return pointAt(unit, mark.x + byX, mark.y + byY, mark.label);
  const { x0, y0, x1, y1 } = mark;
  const [right, down] = [clamp(byX, -x0, unit.width - x1), clamp(byY, -y0, unit.height - y1)];
  return boxBetween(unit, [x0 + right, y0 + down], [x1 + right, y1 + down]) ?? mark;
}

/** Marks with one more, points before boxes, and its index. @param {Mark[]} marks @param {Mark} mark @returns {[Mark[], number]} */
export function added(marks, mark) {
  const index = isPoint(mark) ? marks.filter(isPoint).length : marks.length;
  return [marks.toSpliced(index, 0, mark), index];
}
