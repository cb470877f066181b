/** Pointer, wheel and keys become a new list of dots. */

import { BIG_STEP, Gestures, GRAB, replaced, STEP } from "../panels/gestures.js";
import { clamp, rounded } from "../panels/numbers.js";
import { changed, tidy } from "./arithmetic.js";

/**
 * @typedef {import("./arithmetic.js").Dot} Dot
 * @typedef {{kind: "dot" | "handle", index: number} | {kind: "empty"} | {kind: "outside"}} Target
 * @typedef {object} OwnBoard What these gestures work on besides.
 * @property {Dot[]} dots the marks
 * @property {"point" | "paint"} tool
 * @property {number} brush radius of painted dots
 * @property {import("./view.js").DotView} view
 * @property {(brush: number) => void} resize the brush
 */

const WHEEL_STEP = 0.05; // of weight, for one notch
const NOTCH = 100; // wheel pixels
const STROKE = 0.55; // distance of painted dots, in radii

/** On a board that is an OwnBoard, too. */
export class DotGestures extends Gestures {
  wheeled = 0;

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

  press(event, at) {
    const { target } = at;
    const { board } = this;
    if (event.button === 2) {
      if (!this.isMark(target)) return;
      this.begin(event, "erase", at);
      this.erase(target.index);
    } else if (target.kind === "outside") board.select(-1);
    else if (target.kind === "handle") this.grab(event, "radius", at);
    else if (board.tool === "paint") {
      this.begin(event, "paint", at);
      this.stroke(at.left, at.top, at.left, at.top);
    } else if (target.kind === "empty") this.begin(event, "new", at);
    else this.grab(event, event.altKey || event.ctrlKey || event.metaKey ? "radius" : "move", at);
  }

  grab(event, mode, at) {
    this.begin(event, mode, at);
    this.board.select(at.target.index);
  }

  dragged(left, top, scale) {
    const { drag, board } = this;
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

  dropped(drag) {
    const { board } = this;
    if (drag.mode === "new" && !drag.moved) {
      const [x, y] = board.view.place(drag.left, drag.top);
      board.change([...drag.before, tidy({ x, y, w: drag.sign })], drag.before.length, true);
    } else if (drag.flip && !drag.moved) {
      const dot = drag.before[drag.target.index];
      board.change(replaced(drag.before, drag.target.index, { ...dot, w: -dot.w || 0 }), drag.target.index, true);
    } else if (drag.marks !== drag.before) {
      board.change(drag.marks, board.selected, true);
    }
  }

  held(drag) {
    const { board } = this;
    if (drag.mode === "new") {
      const [x, y] = board.view.place(drag.left, drag.top);
      board.change([...drag.before, tidy({ x, y, w: -drag.sign })], drag.before.length, true);
    } else this.remove(drag.before, drag.target.index);
  }

  point(target) {
    super.point(target);
    if (this.board.tool === "paint") this.board.redraw(); // the brush follows
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
    if (added.length) this.put([...drag.marks, ...added], -1);
  }

  /** Over a dot it changes the weight. */
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

  actions(event) {
    const { board } = this;
    const { dots, selected, view } = board;
    const dot = dots[selected];
    const step = event.shiftKey ? BIG_STEP : STEP;
    const done = event.repeat ? "soon" : true; // the interface takes a step for each key, but not while it is held
    const actions = { PageDown: () => this.turn(1), PageUp: () => this.turn(-1) };
    if (!dot) {
      actions.Enter = () => board.change([...dots, tidy({ x: 0.5, y: 0.5, w: this.sign(event) })], dots.length, true);
      if (board.tool === "paint") {
        const size = (by) => () => board.resize(board.brush + by);
        Object.assign(actions, { "+": size(STEP), "=": size(STEP), "-": size(-STEP), _: size(-STEP) });
      }
      return actions;
    }
    const add = (key, by) => () => board.change(replaced(dots, selected, changed(dot, key, dot[key] + by)), selected, done);
    const remove = () => this.remove(dots, selected);
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
}

const place = (x, y) => {
  const { x: left, y: top } = tidy({ x, y });
  return { x: left, y: top };
};
