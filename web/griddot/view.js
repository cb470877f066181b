/** Where the picture lies on the panel's canvas, and what a distance there is in radii. */

import { View } from "../panels/view.js";

/** @typedef {import("./arithmetic.js").Dot} Dot */

export class DotView extends View {
  /**
   * @param {number} width @param {number} height canvas pixels around the picture
   * @param {{width: number, height: number}} shape of the picture
   * @param {{rows: number, columns: number} | null} grid of tokens; null while unknown
   */
  constructor(width, height, shape, grid) {
    super(width, height, shape);
    const sides = grid ? { width: grid.columns, height: grid.rows } : shape;
    const shorter = Math.min(sides.width, sides.height);
    /** Canvas pixels that a radius of 1 spans. They differ where tokens are not square. */
    this.unitX = (this.width * shorter) / sides.width;
    this.unitY = (this.height * shorter) / sides.height;
    /** The picture's sides in units of the shorter one. */
    this.sides = [sides.width / shorter, sides.height / shorter];
  }

  /** Radius with which a dot at x, y reaches canvas pixels. */
  radius(x, y, left, top) {
    const [centreLeft, centreTop] = this.pixels(x, y);
    return Math.hypot((left - centreLeft) / this.unitX, (top - centreTop) / this.unitY);
  }

  /** Canvas pixels of the handle on a dot's ring: the first of right, left, bottom and top that lies on the picture. */
  handle(dot) {
    const [left, top] = this.pixels(dot.x, dot.y);
    const [across, down] = [dot.r * this.unitX, dot.r * this.unitY];
    const ends = [[left + across, top], [left - across, top], [left, top + down], [left, top - down]];
    const inside = ends.find(([x, y]) => this.holds(x, y));
    if (inside) return inside;
    const [x, y] = ends[dot.x <= 0.5 ? 0 : 1];
    return [Math.min(Math.max(x, this.left), this.left + this.width), y];
  }
}
