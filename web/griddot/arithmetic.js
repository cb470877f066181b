/**
 * The arithmetic of focus.py once more, in the browser: dots as text, and the weight of each token under them.
 * The numbers are the same to 1e-6 and texts are good or bad alike; tests/browser/test_arithmetic.py says so.
 *
 * @typedef {{x: number, y: number, r: number, w: number}} Dot
 *   x, y: centre, 0..1 of the picture from the top left; r: radius as a fraction of the token grid's shorter side,
 *   above 0; w: 0..1 keeps, below 0 suppresses.
 */

import { kind, readList, TextError } from "../panels/json_lists.js";
import { clamp, rounded } from "../panels/numbers.js";

export const EXAMPLE = '[{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]';
export const MAX_DOTS = 10_000;
export const MAX_RADIUS = 10;
export const RANGES = { x: [0, 1], y: [0, 1], r: [0, MAX_RADIUS], w: [-1, 1] };
const DEFAULTS = { r: 0.5, w: 1 };

/** @param {string} text @returns {Dot[]} blank text is no dot; throws TextError for anything but dots */
export function parseDots(text) {
  return readList(text, "dots", EXAMPLE, MAX_DOTS).map((entry, index) => dotOf(entry, index + 1));
}

/** @param {unknown} entry @param {number} number @returns {Dot} */
function dotOf(entry, number) {
  if (kind(entry) !== "kindObject") {
    throw new TextError("errorObject", { number, kind: kind(entry), example: EXAMPLE });
  }
  const unknown = Object.keys(entry).find((key) => !Object.hasOwn(RANGES, key));
  if (unknown !== undefined) {
    throw new TextError("errorUnknown", { number, name: JSON.stringify(unknown.slice(0, 40)) });
  }
  for (const key of ["x", "y"]) {
    if (!Object.hasOwn(entry, key)) {
      throw new TextError("errorMissing", { number, key, example: EXAMPLE });
    }
  }
  for (const key of Object.keys(entry)) check(number, key, entry[key]);
  return { ...DEFAULTS, ...entry };
}

function check(number, key, value) {
  if (typeof value !== "number") {
    throw new TextError("errorNumber", { number, key, kind: kind(value), example: EXAMPLE });
  }
  const [low, high] = RANGES[key];
  if (!(low <= value && value <= high) || (key === "r" && value === 0)) {
    throw new TextError(key === "r" ? "errorRadius" : "errorRange", { number, key, value, low, high });
  }
}

/** @param {Dot[]} dots @returns {string} text that parseDots reads back to the same numbers; "" for no dots */
export function formatDots(dots) {
  const lines = dots.map(({ x, y, r, w }) => `{"x": ${number(x)}, "y": ${number(y)}, "r": ${number(r)}, "w": ${number(w)}}`);
  return lines.length ? `[${lines.join(",\n ")}]` : "";
}

const number = (value) => JSON.stringify(value === 0 ? 0 : value); // no -0

/**
 * Weight of each token, row by row. Positive dots combine by maximum; each negative dot then multiplies by
 * 1 - |w| * circle, on a map of ones when there is no positive dot. A dot of weight 0 is switched off.
 *
 * @param {Dot[]} dots @param {number} rows @param {number} columns @returns {Float32Array}
 */
export function focusMap(dots, rows, columns) {
  return new FocusMap(rows, columns).add(dots).weights();
}

/** A map to which dots are added; in which order does not count. */
export class FocusMap {
  /** @param {number} rows @param {number} columns */
  constructor(rows, columns) {
    Object.assign(this, { rows, columns, keeps: false });
    this.kept = new Float64Array(rows * columns); // the largest weight of dots that keep
    this.left = new Float64Array(rows * columns).fill(1); // what dots that suppress leave
  }

  copy() {
    const { rows, columns, keeps, kept, left } = this;
    return Object.assign(new FocusMap(0, 0), { rows, columns, keeps, kept: kept.slice(), left: left.slice() });
  }

  /** @param {Dot[]} dots @returns {this} */
  add(dots) {
    for (const dot of dots) this.addOne(dot);
    return this;
  }

  /** The circle falls from 1 at the dot's centre to 0 at its radius. */
  addOne({ x, y, r, w }) {
    if (w === 0) return;
    this.keeps ||= w > 0;
    const { rows, columns, kept, left } = this;
    const [centreX, centreY, reach] = [x * columns, y * rows, r * Math.min(rows, columns)];
    const [first, last] = [Math.max(0, Math.floor(centreX - reach)), Math.min(columns - 1, Math.ceil(centreX + reach))];
    const [top, bottom] = [Math.max(0, Math.floor(centreY - reach)), Math.min(rows - 1, Math.ceil(centreY + reach))];
    for (let row = top; row <= bottom; row += 1) {
      for (let column = first; column <= last; column += 1) {
        const distance = Math.sqrt((column - centreX) ** 2 + (row - centreY) ** 2);
        const circle = 1 - distance / reach;
        if (circle <= 0) continue;
        const index = row * columns + column;
        if (w < 0) left[index] *= 1 + w * circle;
        else if (w * circle > kept[index]) kept[index] = w * circle;
      }
    }
  }

  /** @returns {Float32Array} */
  weights() {
    const { keeps, kept, left } = this;
    return Float32Array.from(left, keeps ? (share, index) => share * kept[index] : undefined);
  }
}

/** @param {Partial<Dot>} dot @returns {Dot} in range and short, as the panel writes it; left out: r 0.25, w 1 */
export function tidy({ x, y, r = DEFAULT_RADIUS, w = 1 }) {
  return {
    x: rounded(clamp(x, 0, 1), 4),
    y: rounded(clamp(y, 0, 1), 4),
    r: rounded(clamp(r, MIN_RADIUS, MAX_RADIUS), 3),
    w: rounded(clamp(w, -1, 1), 2),
  };
}

/** A dot with one of its numbers changed, and the others as somebody wrote them. */
export function changed(dot, key, value) {
  return { ...dot, [key]: tidy({ ...dot, [key]: value })[key] };
}

/** Of a clicked dot. The weight falls to 0 at the radius, so this suits a thing a quarter of the picture wide. */
export const DEFAULT_RADIUS = 0.25;
export const MIN_RADIUS = 0.01;
