/** Pointer, wheel and keys become a new list of dots. */

import { changed, clamp, rounded, tidy } from "./arithmetic.js";
import { later } from "./later.js";

/**
 * @typedef {import("./arithmetic.js").Dot} Dot
 * @typedef {import("./view.js").View} View
 * @typedef {{kind: "dot" | "handle", index: number} | {kind: "empty"} | {kind: "outside"}} Target
 * @typedef {object} Board What gestures work on; the panel.
 * @property {Dot[]} dots
 * @property {number} selected index of a dot, or -1
 * @property {"point" | "paint"} tool
 * @property {1 | -1} sign of new dots
 * @property {number} brush radius of painted dots
 * @property {boolean} locked whether dots can be changed
 * @property {View} view
 * @property {(dots: Dot[], selected: number, done: boolean | "soon") => void} change done makes a step of undo, at
 *   once or when no more changes follow
 * @property {(index: number) => void} select
 * @property {(happened: "removed") => void} announce to who does not see
 * @property {(brush: number) => void} resize the brush
 * @property {() => void} redraw
 * @property {(event: WheelEvent) => void} forward to the graph, which zooms
 * @property {(event: MouseEvent) => void} openMenu of the node
 * @property {(event: PointerEvent | WheelEvent) => [number, number, number]} locate canvas pixels of an event, and
 *   how many of them a screen pixel is
 */

const GRAB = 11; // screen pixels around a dot's centre or a handle
const STILL = 4; // screen pixels that a click may move
const LONG_PRESS = 550; // ms
const WHEEL_STEP = 0.05; // of weight, for one notch
const NOTCH = 100; // wheel pixels
const STEP = 0.01;
const BIG_STEP = 0.1;
/** Keys that never reach the graph from here: a second Delete would remove the node. */
const OURS = new Set(["Delete", "Backspace", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);
const STROKE = 0.55; // distance of painted dots, in radii

const replaced = (dots, index, dot) => dots.map((each, position) => (position === index ? dot : each));
const without = (dots, index) => dots.filter((_, position) => position !== index);

export class Gestures {
  /** @param {HTMLCanvasElement} canvas @param {Board} board */
  constructor(canvas, board) {
    this.canvas = canvas;
    this.board = board;
    /** @type {Target} what lies under the pointer */
    this.hover = { kind: "outside" };
    this.drag = null;
    this.wheeled = 0;
    const on = (name, action) => canvas.addEventListener(name, action.bind(this));
    on("pointerdown", this.down);
    on("pointermove", this.move);
    on("pointerup", this.up);
    on("pointercancel", this.cancel);
    on("lostpointercapture", this.up);
    on("pointerleave", this.leave);
    on("keydown", this.key);
    on("contextmenu", this.menu);
  }

  /** @returns {Target} */
  target(left, top, scale) {
    const { dots, selected, view, locked } = this.board;
    const reach = GRAB * scale;
    const near = ([x, y]) => Math.hypot(x - left, y - top);
    let found = -1;
    let best = reach;
    dots.forEach((dot, index) => {
      const distance = near(view.pixels(dot.x, dot.y)) - (index === selected ? 1 : 0);
      if (distance <= best) [found, best] = [index, distance];
    });
    const handle = !locked && dots[selected] ? near(view.handle(dots[selected])) : Infinity;
    if (handle < best && handle <= reach * 0.8) return { kind: "handle", index: selected };
    if (found >= 0) return { kind: "dot", index: found };
    return { kind: view.holds(left, top) ? "empty" : "outside" };
  }

  /** The sign that shift asks for beside the chosen one. */
  sign(event) {
    return event.shiftKey ? -this.board.sign : this.board.sign;
  }

  down(event) {
    if (event.button === 1 || this.board.locked) return;
    event.stopPropagation(); // not preventDefault: it would keep mouseup, and with it undo, from the interface
    if (this.drag) return this.cancel(); // a second finger
    const [left, top, scale] = this.board.locate(event);
    const target = this.target(left, top, scale);
    const onDot = target.kind === "dot" || target.kind === "handle";
    this.ownMenu = onDot || (event.pointerType !== "mouse" && event.button === 0);
    if (event.button === 2) {
      if (onDot) this.begin(event, "erase", { left, top, scale, target });
      return;
    }
    if (target.kind === "outside") return this.board.select(-1);
    if (target.kind === "handle") return this.begin(event, "radius", { left, top, scale, target });
    if (this.board.tool === "paint") return this.begin(event, "paint", { left, top, scale, target });
    if (target.kind === "empty") return this.begin(event, "new", { left, top, scale, target });
    const mode = event.altKey || event.ctrlKey || event.metaKey ? "radius" : "move";
    this.begin(event, mode, { left, top, scale, target });
  }

  begin(event, mode, { left, top, scale, target }) {
    const { dots } = this.board;
    this.drag = { mode, left, top, scale, target, before: dots, dots, moved: false, sign: this.sign(event) };
    this.drag.flip = mode === "move" && event.shiftKey;
    this.drag.selected = this.board.selected;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag.pointer = event.pointerId;
    if (mode === "erase") this.erase(target.index);
    if (mode === "paint") this.stroke(left, top, left, top);
    if (mode === "move" || mode === "radius") this.board.select(target.index);
    if (event.pointerType !== "mouse" && (mode === "move" || mode === "new")) {
      this.drag.hold = later(() => this.longPress(), LONG_PRESS);
    }
  }

  move(event) {
    const [left, top, scale] = this.board.locate(event);
    if (!this.drag || event.pointerId !== this.drag.pointer) {
      this.pointer = [left, top];
      this.point(this.target(left, top, scale));
      return;
    }
    event.stopPropagation();
    const { drag, board } = this;
    this.pointer = [left, top];
    const far = Math.hypot(left - drag.left, top - drag.top) > STILL * scale;
    if (!drag.moved && !far && drag.mode !== "paint") return;
    drag.hold?.();
    drag.moved = true;
    const { view } = board;
    const { index } = drag.target;
    if (drag.mode === "new") {
      const [x, y] = view.place(drag.left, drag.top);
      const r = view.radius(x, y, left, top);
      this.put([...drag.before, tidy({ x, y, r, w: drag.sign })], drag.before.length);
    } else if (drag.mode === "move") {
      const dot = drag.before[index];
      const [x, y] = view.place(left, top);
      const [fromX, fromY] = view.place(drag.left, drag.top);
      this.put(replaced(drag.before, index, { ...dot, ...place(dot.x + x - fromX, dot.y + y - fromY) }), index);
    } else if (drag.mode === "radius") {
      const dot = drag.before[index];
      const r = view.radius(dot.x, dot.y, left, top);
      this.put(replaced(drag.before, index, changed(dot, "r", r)), index);
    } else if (drag.mode === "paint") {
      this.stroke(...drag.last, left, top);
    } else if (drag.mode === "erase") {
      const target = this.target(left, top, scale);
      if (target.kind === "dot") this.erase(target.index);
    }
  }

  up(event) {
    if (!this.drag || event.pointerId !== this.drag.pointer) return;
    const { drag, board } = this;
    drag.hold?.();
    this.drag = null;
    if (drag.mode === "new" && !drag.moved) {
      const [x, y] = board.view.place(drag.left, drag.top);
      board.change([...drag.before, tidy({ x, y, w: drag.sign })], drag.before.length, true);
    } else if (drag.flip && !drag.moved) {
      const dot = drag.before[drag.target.index];
      board.change(replaced(drag.before, drag.target.index, { ...dot, w: -dot.w || 0 }), drag.target.index, true);
    } else if (drag.dots !== drag.before) {
      board.change(drag.dots, board.selected, true);
    }
    const [left, top, scale] = board.locate(event);
    this.point(event.pointerType === "touch" ? { kind: "outside" } : this.target(left, top, scale));
  }

  /** Back to how it was before. */
  cancel() {
    if (!this.drag) return;
    const { drag } = this;
    drag.hold?.();
    this.drag = null;
    if (this.canvas.hasPointerCapture(drag.pointer)) this.canvas.releasePointerCapture(drag.pointer);
    if (drag.dots !== drag.before) this.board.change(drag.before, drag.selected, false);
    this.board.redraw();
  }

  leave() {
    if (this.drag) return;
    this.pointer = undefined;
    this.point({ kind: "outside" });
  }

  longPress() {
    const { drag, board } = this;
    if (!drag) return;
    this.drag = null;
    if (drag.mode === "new") {
      const [x, y] = board.view.place(drag.left, drag.top);
      board.change([...drag.before, tidy({ x, y, w: -drag.sign })], drag.before.length, true);
    } else {
      board.change(without(drag.before, drag.target.index), -1, true);
      board.announce("removed");
    }
  }

  point(target) {
    const same = target.kind === this.hover.kind && target.index === this.hover.index;
    this.hover = target;
    if (!same || this.board.tool === "paint") this.board.redraw();
  }

  /** Show dots of a gesture that goes on. */
  put(dots, selected) {
    this.board.change(dots, selected, false);
    this.drag.dots = this.board.dots;
  }

  erase(index) {
    this.put(without(this.drag.dots, index), -1);
    this.board.announce("removed");
  }

  /** Painted dots from one place to another, both in canvas pixels. */
  stroke(fromLeft, fromTop, left, top) {
    const { drag, board } = this;
    const { view, brush } = board;
    const gap = Math.hypot((left - fromLeft) / view.unitX, (top - fromTop) / view.unitY) / (brush * STROKE);
    const count = drag.last ? Math.floor(gap) : 1;
    if (!count) return;
    const added = [];
    for (let number = 1; number <= count; number += 1) {
      const share = drag.last ? number / gap : 1;
      drag.next = [fromLeft + (left - fromLeft) * share, fromTop + (top - fromTop) * share];
      const [x, y] = view.place(...drag.next);
      if (view.holds(...drag.next)) added.push(tidy({ x, y, r: brush, w: drag.sign }));
    }
    drag.last = drag.next;
    if (added.length) this.put([...drag.dots, ...added], -1);
  }

  /** Comes from the window, before the nodes around us take it. */
  wheel(event) {
    const { board } = this;
    const [left, top, scale] = board.locate(event);
    const target = this.target(left, top, scale);
    if (board.locked || event.ctrlKey || event.metaKey || target.kind !== "dot") {
      board.forward(event);
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    if (this.drag) return;
    const pixels = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? NOTCH / 3 : event.deltaMode === 2 ? NOTCH : 1);
    this.wheeled -= (clamp(pixels, -NOTCH, NOTCH) / NOTCH) * WHEEL_STEP;
    const by = Math.trunc(rounded(this.wheeled * 100, 6)) / 100;
    if (!by) return;
    this.wheeled = rounded(this.wheeled - by, 6);
    const dot = board.dots[target.index];
    const louder = changed(dot, "w", rounded(dot.w, 2) + by);
    board.change(replaced(board.dots, target.index, louder), target.index, "soon");
  }

  key(event) {
    const { board } = this;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && this.drag) {
      event.stopPropagation();
      return this.cancel();
    }
    const action = board.locked ? undefined : this.actions(event)[event.key];
    if (!action && !OURS.has(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (!this.drag) action?.();
  }

  /** What keys do now. @returns {Record<string, () => void>} */
  actions(event) {
    const { board } = this;
    const { dots, selected, view } = board;
    const dot = dots[selected];
    const step = event.shiftKey ? BIG_STEP : STEP;
    const done = event.repeat ? "soon" : true; // the interface takes a step for each key, but not while it is held
    const turn = (by) => () => dots.length && board.select((Math.max(selected, by > 0 ? -1 : 0) + by + dots.length) % dots.length);
    const actions = { PageDown: turn(1), PageUp: turn(-1) };
    if (!dot) {
      actions.Enter = () => board.change([...dots, tidy({ x: 0.5, y: 0.5, w: this.sign(event) })], dots.length, true);
      if (board.tool === "paint") {
        const size = (by) => () => board.resize(board.brush + by);
        Object.assign(actions, { "+": size(STEP), "=": size(STEP), "-": size(-STEP), _: size(-STEP) });
      }
      return actions;
    }
    const add = (key, by) => () => board.change(replaced(dots, selected, changed(dot, key, dot[key] + by)), selected, done);
    const remove = () => {
      board.change(without(dots, selected), -1, true);
      board.announce("removed");
    };
    const [across, down] = [step / view.sides[0], step / view.sides[1]];
    return Object.assign(actions, {
      ArrowLeft: add("x", -across),
      ArrowRight: add("x", across),
      ArrowUp: add("y", -down),
      ArrowDown: add("y", down),
      "+": add("r", STEP),
      "=": add("r", STEP),
      "-": add("r", -STEP),
      _: add("r", -STEP),
      Delete: remove,
      Backspace: remove,
      Escape: () => board.select(-1),
    });
  }

  /** The node's own menu opens beside the dots only; a right click on a dot has removed it by now. */
  menu(event) {
    const own = this.ownMenu;
    this.ownMenu = false;
    if (own && !this.board.locked) {
      event.preventDefault();
      event.stopPropagation();
    } else {
      this.board.openMenu(event);
    }
  }
}

const place = (x, y) => {
  const { x: left, y: top } = tidy({ x, y });
  return { x: left, y: top };
};
