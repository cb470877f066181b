/** A part of a drawing that is kept until what it shows changes. */
export class Layer {
  constructor() {
    this.canvas = new OffscreenCanvas(1, 1);
    this.shown = [];
  }

  /**
   * Lay it over a canvas.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {unknown[]} shown when one of these is another, or the canvas has another size, it is painted anew
   * @param {(context: OffscreenCanvasRenderingContext2D) => void} paint in the canvas's own coordinates
   */
  over(context, shown, paint) {
    const { width, height } = context.canvas;
    const values = [width, height, ...shown];
    if (values.length !== this.shown.length || values.some((value, index) => value !== this.shown[index])) {
      this.shown = values;
      Object.assign(this.canvas, { width, height }); // and so it is empty
      const own = this.canvas.getContext("2d");
      own.setTransform(context.getTransform());
      paint(own);
    }
    context.save();
    context.resetTransform();
    context.drawImage(this.canvas, 0, 0);
    context.restore();
  }
}
