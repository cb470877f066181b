/** Weights as they will be applied, worked out again only where a change asks for it. */

import { FocusMap } from "./arithmetic.js";

/**
 * @typedef {{weights: Float32Array, rows: number, columns: number}} Weighted the same object until it changes
 */

const FINE = 96; // rows or columns of the smooth map, before the grid is known

export class Weights {
  constructor() {
    this.shown = [];
    /** @type {import("./arithmetic.js").Dot[]} whose map is kept */
    this.dots = [];
    this.map = new FocusMap(1, 1);
  }

  /**
   * Of each token where the grid is known, else of a fine grid.
   *
   * @param {import("./drawing.js").Scene} scene @param {import("./resting.js").Resting} dots of the scene
   * @returns {Weighted}
   */
  of({ grid, mask, view }, { dots, resting, changing }) {
    const longer = Math.max(...view.sides);
    const rows = grid ? grid.rows : Math.max(1, Math.round((FINE * view.sides[1]) / longer));
    const columns = grid ? grid.columns : Math.max(1, Math.round((FINE * view.sides[0]) / longer));
    const shown = [dots, mask, rows, columns];
    if (shown.some((value, index) => value !== this.shown[index])) {
      this.shown = shown;
      this.keep(resting, rows, columns);
      const weights = this.map.copy().add(changing).weights();
      if (mask) weights.forEach((weight, index) => (weights[index] = weight * mask[Math.floor(index / columns)][index % columns]));
      this.weighted = { weights, rows, columns };
    }
    return this.weighted;
  }

  /** Keep the map of dots; one of the first of them grows. */
  keep(dots, rows, columns) {
    const { map } = this;
    const grows = map.rows === rows && map.columns === columns && this.dots.every((dot, index) => dot === dots[index]);
    if (!grows) Object.assign(this, { map: new FocusMap(rows, columns), dots: [] });
    this.map.add(dots.slice(this.dots.length));
    this.dots = dots;
  }
}
