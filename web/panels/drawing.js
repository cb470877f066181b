/** What all panels draw alike. `pixel` is a screen pixel in canvas pixels. */

export const KEEP = "#4cc9ff"; // blue and orange: apart for every kind of colour vision
export const SUPPRESS = "#ff7a45";

/** Of a canvas that is shown at a zoom of `scale`; far away, marks shrink with the picture. */
export const pixelAt = (scale) => 1 / Math.max(scale, 0.4);

/** Clip to the picture, and draw it or the ground in its place. */
export function drawPicture(context, view, picture, pixel) {
  context.beginPath();
  context.roundRect(view.left, view.top, view.width, view.height, 4 * pixel);
  context.clip();
  if (picture) {
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, view.left, view.top, view.width, view.height);
  } else {
    context.fillStyle = "#1b1e27";
    context.fillRect(view.left, view.top, view.width, view.height);
  }
}

/** Clip to the picture and a little beside it, for the marks. */
export function clipMarks(context, view, pixel) {
  context.beginPath();
  context.rect(view.left - 12 * pixel, view.top - 12 * pixel, view.width + 24 * pixel, view.height + 24 * pixel);
  context.clip();
}

/** A line in colour on a dark one, to be seen on any picture. */
export function outlined(context, colour, width, pixel) {
  context.lineWidth = (width + 2) * pixel;
  context.strokeStyle = "rgba(0, 0, 0, 0.55)";
  context.stroke();
  context.lineWidth = width * pixel;
  context.strokeStyle = colour;
  context.stroke();
}

/** A disc; how full its colour is tells `strength`, 0..1. */
export function drawDisc(context, left, top, size, colour, strength) {
  context.beginPath();
  context.arc(left, top, size, 0, 2 * Math.PI);
  context.fillStyle = "#14161d";
  context.fill();
  context.globalAlpha = 0.25 + 0.75 * strength;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
}

/** The white edge of a disc that was drawn last. */
export function drawEdge(context, isSelected, pixel) {
  outlined(context, isSelected ? "#fff" : "rgba(255, 255, 255, 0.75)", isSelected ? 2 : 1.25, pixel);
}

/** Plus or minus in a disc. */
export function drawSign(context, left, top, size, isPlus, pixel) {
  const arm = size * 0.45;
  context.beginPath();
  context.moveTo(left - arm, top);
  context.lineTo(left + arm, top);
  if (isPlus) {
    context.moveTo(left, top - arm);
    context.lineTo(left, top + arm);
  }
  context.lineWidth = 1.75 * pixel;
  context.strokeStyle = "#0b0d12";
  context.stroke();
}

/** What can be pulled at. */
export function drawHandle(context, [left, top], colour, isPointed, pixel) {
  const side = (isPointed ? 11 : 8.5) * pixel;
  context.beginPath();
  context.roundRect(left - side / 2, top - side / 2, side, side, 2 * pixel);
  context.fillStyle = isPointed ? colour : "#fff";
  context.fill();
  outlined(context, isPointed ? "#fff" : colour, 1.5, pixel);
}
