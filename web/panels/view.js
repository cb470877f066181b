/** Where the picture lies on a panel's canvas: the largest rectangle of its shape. */
export class View {
  /**
   * @param {number} width @param {number} height canvas pixels around it
   * @param {{width: number, height: number}} shape of the picture
   */
  constructor(width, height, shape) {
    const scale = Math.min(width / shape.width, height / shape.height);
    this.width = shape.width * scale;
    this.height = shape.height * scale;
    this.left = (width - this.width) / 2;
    this.top = (height - this.height) / 2;
  }

  /** Canvas pixels of a place on the picture. */
  pixels(x, y) {
    return [this.left + x * this.width, this.top + y * this.height];
  }

  /** Place on the picture of canvas pixels; outside 0..1 beside the picture. */
  place(left, top) {
    return [(left - this.left) / this.width, (top - this.top) / this.height];
  }

  holds(left, top) {
    const [x, y] = this.place(left, top);
    return x >= 0 && x <= 1 && y >= 0 && y <= 1;
  }
}
