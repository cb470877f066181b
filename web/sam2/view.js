import { View } from "../panels/view.js";

/** A view whose places count in a unit. */
export class UnitView extends View {
  /** @param {import("./marks.js").Unit} unit */
  constructor(width, height, shape, unit) {
    super(width, height, shape);
    this.unit = unit;
  }

  pixels(x, y) {
    return super.pixels(x / this.unit.width, y / this.unit.height);
  }

  place(left, top) {
    const [x, y] = super.place(left, top);
    return [x * this.unit.width, y * this.unit.height];
  }

  holds(left, top) {
    const [x, y] = super.place(left, top);
    return x >= 0 && x <= 1 && y >= 0 && y <= 1;
  }
}
