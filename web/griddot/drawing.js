/** The picture, the weight of each token over it, and the dots with their rings. */

import { clipMarks, drawDisc, drawEdge, drawHandle, drawPicture, drawSign, KEEP, outlined, pixelAt, SUPPRESS } from "../panels/drawing.js";
import { Layer } from "./layer.js";
import { Resting } from "./resting.js";
import { Weights } from "./weights.js";

/**
 * @typedef {import("./arithmetic.js").Dot} Dot
 * @typedef {object} Scene
 * @property {number} width @property {number} height canvas pixels
 * @property {number} scale screen pixels for a canvas pixel, so that strokes and dots keep their size at any zoom
 * @property {import("./view.js").View} view
 * @property {CanvasImageSource | null} picture
 * @property {{rows: number, columns: number} | null} grid
 * @property {number[][] | null} mask rows of weights, of the grid's size
 * @property {Dot[]} dots @property {number} selected
 * @property {import("./gestures.js").Target} hover
 * @property {{left: number, top: number, r: number, sign: number} | null} brush under the pointer
 * @property {boolean} faded while the text is no list of dots
 */

const SHADE = [9, 11, 18]; // what weight 0 looks like over a picture
const SHADE_MOST = 0.68;
const LEAST_POINT = 0.5; // screen pixels; smaller points of tokens are not seen
const GUIDES = 6;
const RINGS = 6; // with more dots, only the ring of the chosen or pointed one is drawn

/** Draws the scenes of one panel; what stays the same from one to the next is kept. */
export class Drawing {
  constructor() {
    this.resting = new Resting();
    this.weights = new Weights();
    this.tokens = new Layer();
    this.centres = new Layer();
  }

  /** @param {CanvasRenderingContext2D} context @param {Scene} scene */
  draw(context, scene) {
    const { view, picture } = scene;
    const pixel = pixelAt(scene.scale);
    this.resting.look(scene.dots);
    context.clearRect(0, 0, scene.width, scene.height);
    context.save();
    drawPicture(context, view, picture, pixel);
    this.drawWeights(context, scene, pixel);
    if (!scene.grid) drawGuides(context, view, pixel);
    if (scene.brush) drawBrush(context, scene, pixel);
    context.restore();
    if (scene.faded) return;
    context.save();
    clipMarks(context, view, pixel);
    this.drawDots(context, scene, pixel);
    context.restore();
  }

  drawWeights(context, scene, pixel) {
    const { view, grid, picture } = scene;
    const map = this.weights.of(scene, this.resting);
    this.tokens.over(context, [map, view.left, view.top, view.width, pixel, Boolean(grid), Boolean(picture)], (layer) => {
      const changes = map.weights.some((weight) => weight < 1);
      if (changes) paintMap(layer, scene, map);
      if (grid) drawTokens(layer, scene, map, changes, pixel);
    });
  }

  drawDots(context, { view, dots, selected, hover }, pixel) {
    const pointed = hover.kind === "dot" || hover.kind === "handle" ? hover.index : -1;
    const { resting, changing } = this.resting;
    const few = dots.length <= RINGS;
    if (!few) {
      this.centres.over(context, [resting, view.left, view.top, view.width, pixel], (layer) => drawSmall(layer, view, resting, pixel));
      drawSmall(context, view, changing, pixel);
    }
    const chosen = [pointed, selected].filter((index, place, both) => dots[index] && both.indexOf(index) === place);
    const large = few ? [...dots.keys()].filter((index) => !chosen.includes(index)).concat(chosen) : chosen;
    for (const index of large) drawRing(context, view, dots[index], index === selected, chosen.includes(index), pixel);
    for (const index of large) drawCentre(context, view, dots[index], index === selected, index === pointed, pixel);
    const dot = dots[selected];
    if (dot) drawHandle(context, view.handle(dot), colourOf(dot), hover.kind === "handle", pixel);
  }
}

/** Shade over a picture where the weight is below 1; light on an empty ground where it is above 0. */
function paintMap(context, { view, picture, grid }, { weights, rows, columns }) {
  const map = new OffscreenCanvas(columns, rows);
  const pixels = new ImageData(columns, rows);
  const [red, green, blue] = picture ? SHADE : [76, 201, 255];
  weights.forEach((weight, index) => {
    pixels.data.set([red, green, blue, 255 * (picture ? SHADE_MOST * (1 - weight) : 0.3 * weight)], 4 * index);
  });
  map.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = !grid;
  context.drawImage(map, view.left, view.top, view.width, view.height);
  context.imageSmoothingEnabled = true;
}

/** A point for each token, larger and brighter with its weight. */
function drawTokens(context, { view }, { weights, rows, columns }, changes, pixel) {
  const [across, down] = [view.width / columns, view.height / rows];
  const most = Math.min(across, down) * 0.2;
  if (most < LEAST_POINT * pixel) return;
  for (const [shown, colour] of [[(weight) => weight > 0, "#fff"], [(weight) => weight <= 0, "#8b93a7"]]) {
    context.fillStyle = colour;
    weights.forEach((weight, index) => {
      if (!shown(weight)) return;
      const left = view.left + ((index % columns) + 0.5) * across;
      const top = view.top + (Math.floor(index / columns) + 0.5) * down;
      context.globalAlpha = weight > 0 ? (changes ? 0.35 + 0.6 * weight : 0.5) : 0.35;
      context.beginPath();
      context.arc(left, top, most * (weight > 0 ? (changes ? 0.45 + 0.55 * weight : 0.5) : 0.35), 0, 2 * Math.PI);
      context.fill();
    });
  }
  context.globalAlpha = 1;
}

function drawGuides(context, view, pixel) {
  context.strokeStyle = "rgba(255, 255, 255, 0.2)";
  context.lineWidth = pixel;
  context.beginPath();
  for (let line = 1; line < GUIDES; line += 1) {
    context.moveTo(...view.pixels(line / GUIDES, 0));
    context.lineTo(...view.pixels(line / GUIDES, 1));
    context.moveTo(...view.pixels(0, line / GUIDES));
    context.lineTo(...view.pixels(1, line / GUIDES));
  }
  context.stroke();
}

function drawBrush(context, { view, brush }, pixel) {
  context.beginPath();
  context.ellipse(brush.left, brush.top, brush.r * view.unitX, brush.r * view.unitY, 0, 0, 2 * Math.PI);
  context.globalAlpha = 0.12;
  context.fillStyle = brush.sign > 0 ? KEEP : SUPPRESS;
  context.fill();
  context.globalAlpha = 0.9;
  context.lineWidth = 1.5 * pixel;
  context.strokeStyle = context.fillStyle;
  context.stroke();
  context.globalAlpha = 1;
}

const colourOf = (dot) => (dot.w < 0 ? SUPPRESS : KEEP);

function drawRing(context, view, dot, isSelected, isChosen, pixel) {
  const [left, top] = view.pixels(dot.x, dot.y);
  context.beginPath();
  context.ellipse(left, top, dot.r * view.unitX, dot.r * view.unitY, 0, 0, 2 * Math.PI);
  context.globalAlpha = dot.w === 0 ? 0.4 : isChosen ? 1 : 0.55;
  if (dot.w < 0) context.setLineDash([5 * pixel, 4 * pixel]);
  outlined(context, colourOf(dot), isSelected ? 2 : 1.25, pixel);
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** A disc with its sign. */
function drawCentre(context, view, dot, isSelected, isPointed, pixel) {
  const [left, top] = view.pixels(dot.x, dot.y);
  const size = (isPointed ? 8.5 : 7) * pixel;
  drawDot(context, left, top, size, dot);
  drawEdge(context, isSelected, pixel);
  if (dot.w !== 0) drawSign(context, left, top, size, dot.w > 0, pixel);
}

function drawDot(context, left, top, size, dot) {
  drawDisc(context, left, top, size, dot.w === 0 ? "#6b7280" : colourOf(dot), Math.abs(dot.w));
}

/** Many dots as small discs, one for each weight, stamped on whole pixels of the canvas. */
function drawSmall(context, view, dots, pixel) {
  const { a: across, d: down } = context.getTransform();
  const reach = Math.ceil(6 * pixel * across);
  const stamps = new Map();
  context.save();
  context.resetTransform();
  for (const dot of dots) {
    const kind = dot.w === 0 ? "off" : dot.w.toFixed(2);
    if (!stamps.has(kind)) stamps.set(kind, stampOf(dot, reach, across, pixel));
    const [left, top] = view.pixels(dot.x, dot.y);
    context.drawImage(stamps.get(kind), Math.round(left * across) - reach, Math.round(top * down) - reach);
  }
  context.restore();
}

function stampOf(dot, reach, density, pixel) {
  const stamp = new OffscreenCanvas(2 * reach, 2 * reach);
  const context = stamp.getContext("2d");
  context.translate(reach, reach);
  context.scale(density, density);
  drawDot(context, 0, 0, 3.5 * pixel, dot);
  outlined(context, "rgba(255, 255, 255, 0.75)", 0.75, pixel);
  return stamp;
}
