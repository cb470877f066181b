/** Which dots of a list rest while others change, so that what was made of them can be kept. */

/** @typedef {import("./arithmetic.js").Dot} Dot */

const FEW = 8; // dots that change at a time

export class Resting {
  constructor() {
    /** @type {Dot[]} the list that was looked at last */
    this.dots = [];
    /** @type {Dot[]} of it; the same array as long as they rest */
    this.resting = [];
    /** @type {Dot[]} the others */
    this.changing = [];
  }

  /** Look at a list; a dot that has changed is another object. @param {Dot[]} dots */
  look(dots) {
    if (dots === this.dots) return;
    const resting = new Set(this.resting);
    let changing = dots.filter((dot) => !resting.has(dot));
    if (dots.length - changing.length !== this.resting.length) { // one of them has changed or gone
      const before = new Set(this.dots);
      this.resting = dots.filter((dot) => before.has(dot));
      changing = dots.filter((dot) => !before.has(dot));
    }
    if (changing.length > FEW) [this.resting, changing] = [dots, []];
    Object.assign(this, { dots, changing });
  }
}
