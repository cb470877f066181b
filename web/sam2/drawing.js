/** The picture with boxes and points on it. */

import { clipMarks, drawDisc, drawEdge, drawHandle, drawPicture, drawSign, KEEP, outlined, pixelAt, SUPPRESS } from "../panels/drawing.js";
import { CORNERS } from "./gestures.js";
import { isPoint } from "./marks.js";

/**
 * @typedef {object} Scene
 * @property {number} width @property {number} height canvas pixels
 * @property {number} scale screen pixels for a canvas pixel
 * @property {import("./view.js").UnitView} view
 * @property {CanvasImageSource | null} picture
 * @property {import("./marks.js").Mark[]} marks @property {number} selected
 * @property {import("../panels/gestures.js").Target} hover
 * @property {boolean} faded while the marks are not known
 */

/** @param {CanvasRenderingContext2D} context @param {Scene} scene */
export function draw(context, { width, height, scale, view, picture, marks, selected, hover, faded }) {
  const pixel = pixelAt(scale);
  context.clearRect(0, 0, width, height);
  context.save();
  drawPicture(context, view, picture, pixel);
  context.restore();
  if (faded) return;
  context.save();
  clipMarks(context, view, pixel);
  marks.forEach((mark, index) => !isPoint(mark) && drawBox(context, view, mark, index === selected, hover.index === index ? hover.kind : "", pixel));
  marks.forEach((mark, index) => isPoint(mark) && drawPoint(context, view, mark, index === selected, hover.index === index, pixel));
  context.restore();
}

function drawBox(context, view, box, isSelected, pointed, pixel) {
  const [[left, top], [right, bottom]] = [view.pixels(box.x0, box.y0), view.pixels(box.x1, box.y1)];
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  outlined(context, KEEP, isSelected || pointed ? 2.5 : 1.5, pixel);
  if (!isSelected && !pointed) return;
  for (const corner of Object.keys(CORNERS)) {
    const [x, y] = corner.split(" ");
    drawHandle(context, view.pixels(box[x], box[y]), KEEP, corner === pointed, pixel);
  }
}

function drawPoint(context, view, { x, y, label }, isSelected, isPointed, pixel) {
  const [left, top] = view.pixels(x, y);
  const size = (isPointed ? 8.5 : 7) * pixel;
  drawDisc(context, left, top, size, label ? KEEP : SUPPRESS, 1);
  drawEdge(context, isSelected, pixel);
  drawSign(context, left, top, size, Boolean(label), pixel);
}
