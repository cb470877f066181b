/** Pointer and keys become a new list of marks. */

import { later } from "./later.js";

/**
 * @typedef {{kind: string, index?: number}} Target what lies at a place: of a mark, "empty" picture, or "outside" of it
 * @typedef {object} Board What gestures work on; the panel.
 * @property {object[]} marks never changed in place
 * @property {number} selected index of a mark, or -1
 * @property {1 | -1} sign of new marks
 * @property {boolean} locked whether marks can be changed
 * @property {import("./view.js").View} view
 * @property {(marks: object[], selected: number, done: boolean | "soon") => void} change done makes a step of undo, at
 *   once or when no more changes follow
 * @property {(index: number) => void} select
 * @property {(happened: "removed") => void} announce to who does not see
 * @property {() => void} redraw
 * @property {(event: WheelEvent) => void} forward to the graph, which zooms
 * @property {(event: MouseEvent) => void} openMenu of the node
 * @property {(event: PointerEvent | WheelEvent) => [number, number, number]} locate canvas pixels of an event, and
 *   how many of them a screen pixel is
 */

export const GRAB = 11; // screen pixels around a mark's centre or a handle
const STILL = 4; // screen pixels that a click may move
const LONG_PRESS = 550; // ms
export const STEP = 0.01;
export const BIG_STEP = 0.1;
/** Keys that never reach the graph from here: a second Delete would remove the node. */
const OURS = new Set(["Delete", "Backspace", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);

export const replaced = (marks, index, mark) => marks.map((each, position) => (position === index ? mark : each));
export const without = (marks, index) => marks.filter((_, position) => position !== index);

/** @abstract */
export class Gestures {
  /** @param {HTMLCanvasElement} canvas @param {Board} board */
  constructor(canvas, board) {
    this.canvas = canvas;
    this.board = board;
    /** @type {Target} what lies under the pointer */
    this.hover = { kind: "outside" };
    this.drag = null;
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

  /** @abstract @returns {Target} */
  target(left, top, scale) {}

  /** @abstract A button goes down: `begin` something. @param {{left: number, top: number, scale: number, target: Target}} at */
  press(event, at) {}

  /** @abstract A drag has gone on. */
  dragged(left, top, scale) {}

  /** @abstract A drag ends. @param {object} drag */
  dropped(drag) {}

  /** @abstract A finger has been held still. @param {object} drag */
  held(drag) {}

  /** @abstract What keys do now. @returns {Record<string, () => void>} */
  actions(event) {}

  /** Whether a right click there is for us, and not for the node's menu. */
  takesMenu(target) {
    return this.isMark(target);
  }

  isMark(target) {
    return target.kind !== "empty" && target.kind !== "outside";
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
    this.ownMenu = this.takesMenu(target) || (event.pointerType !== "mouse" && event.button === 0);
    this.press(event, { left, top, scale, target });
  }

  begin(event, mode, { left, top, scale, target }) {
    const { marks, selected } = this.board;
    const drag = { mode, left, top, scale, target, before: marks, marks, selected, moved: false, sign: this.sign(event) };
    this.drag = drag;
    drag.flip = mode === "move" && event.shiftKey;
    this.canvas.setPointerCapture(event.pointerId);
    drag.pointer = event.pointerId;
    if (event.pointerType !== "mouse" && (mode === "move" || mode === "new")) {
      drag.hold = later(() => this.longPress(), LONG_PRESS);
    }
  }

  move(event) {
    const [left, top, scale] = this.board.locate(event);
    this.pointer = [left, top];
    if (!this.drag || event.pointerId !== this.drag.pointer) return this.point(this.target(left, top, scale));
    event.stopPropagation();
    const { drag } = this;
    const far = Math.hypot(left - drag.left, top - drag.top) > STILL * scale;
    if (!drag.moved && !far && drag.mode !== "paint") return;
    drag.hold?.();
    drag.moved = true;
    this.dragged(left, top, scale);
  }

  up(event) {
    if (!this.drag || event.pointerId !== this.drag.pointer) return;
    const { drag, board } = this;
    drag.hold?.();
    this.drag = null;
    this.dropped(drag);
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
    if (drag.marks !== drag.before) this.board.change(drag.before, drag.selected, false);
    this.board.redraw();
  }

  leave() {
    if (this.drag) return;
    this.pointer = undefined;
    this.point({ kind: "outside" });
  }

  longPress() {
    const { drag } = this;
    if (!drag) return;
    this.drag = null;
    this.held(drag);
  }

  point(target) {
    const same = target.kind === this.hover.kind && target.index === this.hover.index;
    this.hover = target;
    if (!same) this.board.redraw();
  }

  /** Show marks of a gesture that goes on. */
  put(marks, selected) {
    this.board.change(marks, selected, false);
    this.drag.marks = this.board.marks;
  }

  remove(marks, index) {
    this.board.change(without(marks, index), -1, true);
    this.board.announce("removed");
  }

  erase(index) {
    this.put(without(this.drag.marks, index), -1);
    this.board.announce("removed");
  }

  /** Comes from the window, before the nodes around us take it. */
  wheel(event) {
    this.board.forward(event);
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

  /** To choose the next or the one before. @param {1 | -1} by */
  turn(by) {
    const { marks, selected } = this.board;
    const count = marks.length;
    if (count) this.board.select((Math.max(selected, by > 0 ? -1 : 0) + by + count) % count);
  }

  /** The node's own menu opens where a right click is not for us. */
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
