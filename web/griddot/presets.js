/** Ready-made dots. A picture's shape comes in as its width and height in units of its shorter side. */

import { tidy } from "./arithmetic.js";

/** @typedef {import("./arithmetic.js").Dot} Dot */

const SPACING = 0.4; // between the dots of a half, in shorter sides
const REACH = 0.45; // their radius: neighbours overlap, and little crosses the border

/** @type {Record<string, (width: number, height: number) => Dot[]>} */
export const PRESETS = {
  centre: () => [tidy({ x: 0.5, y: 0.5, r: 0.5 })],
  thirds: () => [1, 2].flatMap((row) => [1, 2].map((column) => tidy({ x: column / 3, y: row / 3, r: 0.25 }))),
  left: (width, height) => area(0, 0, 0.5, 1, width, height),
  right: (width, height) => area(0.5, 0, 1, 1, width, height),
  top: (width, height) => area(0, 0, 1, 0.5, width, height),
  bottom: (width, height) => area(0, 0.5, 1, 1, width, height),
  edges: () => [tidy({ x: 0.5, y: 0.5, r: 0.7, w: -1 })],
};

/** Dots that cover a rectangle of the picture evenly. */
function area(left, top, right, bottom, width, height) {
  const columns = Math.max(1, Math.round(((right - left) * width) / SPACING));
  const rows = Math.max(1, Math.round(((bottom - top) * height) / SPACING));
  const at = (low, high, index, count) => low + ((high - low) * (index + 0.5)) / count;
  return Array.from({ length: rows * columns }, (_, index) =>
    tidy({
      x: at(left, right, index % columns, columns),
      y: at(top, bottom, Math.floor(index / columns), rows),
      r: REACH,
    }),
  );
}

/** What was kept is suppressed, and the other way round. @param {Dot[]} dots @returns {Dot[]} */
export function inverted(dots) {
  return dots.map((dot) => ({ ...dot, w: dot.w === 0 ? 0 : -dot.w }));
}
