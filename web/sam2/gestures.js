/** Pointer and keys become points and boxes. */

import { BIG_STEP, Gestures, GRAB, replaced, STEP } from "../panels/gestures.js";
import { added, boxBetween, isPoint, moved, pointAt } from "./marks.js";

/**
 * @typedef {import("./marks.js").Mark} Mark
 * @typedef {object} OwnBoard What these gestures work on besides.
 * @property {import("./view.js").UnitView} view
 * @property {(kind: "points" | "box") => boolean} takes whether such marks can be added
 */

/** Kinds of targets that are a box's corners: the ends that move and those that stay, and their cursor. */
export const CORNERS = {
  "x0 y0": ["x1", "y1", "nwse-resize"],
  "x1 y1": ["x0", "y0", "nwse-resize"],
  "x0 y1": ["x1", "y0", "nesw-resize"],
  "x1 y0": ["x0", "y1", "nesw-resize"],
};
const EDGE_GRAB = 6; // screen pixels beside a box's edge

const labelOf = (sign) => (sign > 0 ? 1 : 0);

/** On a board that is an OwnBoard, too. */
export class MarkGestures extends Gestures {
  /** A point before a corner before an edge; within a box there is room for points. */
  target(left, top, scale) {
    const { marks, view } = this.board;
    const found = { kind: view.holds(left, top) ? "empty" : "outside" };
    let best = GRAB * scale;
    const look = (kind, index, distance) => {
      if (distance <= best) [best, found.kind, found.index] = [distance, kind, index];
    };
    const distanceTo = (x, y) => {
      const [markLeft, markTop] = view.pixels(x, y);
      return Math.hypot(markLeft - left, markTop - top);
    };
    marks.forEach((mark, index) => isPoint(mark) && look("point", index, distanceTo(mark.x, mark.y)));
    if (this.isMark(found)) return found;
    marks.forEach((mark, index) => {
      if (isPoint(mark)) return;
      for (const kind of Object.keys(CORNERS)) {
        const [x, y] = kind.split(" ");
        look(kind, index, distanceTo(mark[x], mark[y]));
      }
    });
    if (this.isMark(found)) return found;
    best = EDGE_GRAB * scale;
    marks.forEach((mark, index) => !isPoint(mark) && look("edge", index, edgeDistance(view, mark, left, top)));
    return found;
  }

  takesMenu(target) {
    return target.kind !== "outside";
  }

  press(event, at) {
    const { target } = at;
    if (event.button === 2) {
      if (target.kind === "empty") this.begin(event, "beside", at);
      else if (this.isMark(target)) {
        this.begin(event, "erase", at);
        this.erase(target.index);
      }
    } else if (target.kind === "outside") this.board.select(-1);
    else if (target.kind === "empty") this.begin(event, "new", at);
    else {
      this.begin(event, target.kind in CORNERS ? "corner" : "move", at);
      this.board.select(target.index);
    }
  }

  dragged(left, top, scale) {
    const { drag, board } = this;
    const { view } = board;
    const { unit } = view;
    const { kind, index } = drag.target;
    const [from, to] = [view.place(drag.left, drag.top), view.place(left, top)];
    if (drag.mode === "new") {
      const box = board.takes("box") && boxBetween(unit, from, to);
      if (box) this.put(...added(drag.before, box));
    } else if (drag.mode === "move") {
      const mark = moved(drag.before[index], unit, to[0] - from[0], to[1] - from[1]);
      this.put(replaced(drag.before, index, mark), index);
    } else if (drag.mode === "corner") {
      const mark = drag.before[index];
      const [x, y] = CORNERS[kind];
      const box = boxBetween(unit, [mark[x], mark[y]], to);
      if (box) this.put(replaced(drag.before, index, box), index);
    } else if (drag.mode === "erase") {
      const target = this.target(left, top, scale);
      if (this.isMark(target)) this.erase(target.index);
    }
  }

  dropped(drag) {
    const { board } = this;
    const mark = drag.before[drag.target.index];
    if (drag.mode === "beside") this.add(drag, -drag.sign);
    else if (drag.mode === "new" && !drag.moved) this.add(drag, drag.sign);
    else if (drag.mode === "move" && !drag.moved && isPoint(mark)) {
      if (drag.flip) this.flip(drag);
      else this.remove(drag.before, drag.target.index);
    } else if (drag.marks !== drag.before) board.change(drag.marks, board.selected, true);
  }

  held(drag) {
    if (drag.mode === "new") this.add(drag, -drag.sign);
    else if (isPoint(drag.before[drag.target.index])) this.flip(drag);
    else this.remove(drag.before, drag.target.index);
  }

  /** A point where a drag has begun. */
  add({ before, left, top }, sign) {
    const { view } = this.board;
    this.addPoint(before, pointAt(view.unit, ...view.place(left, top), labelOf(sign)));
  }

  addPoint(marks, point) {
    if (this.board.takes("points")) this.board.change(...added(marks, point), true);
  }

  flip({ before, target: { index } }) {
    this.board.change(replaced(before, index, { ...before[index], label: 1 - before[index].label }), index, true);
  }

  actions(event) {
    const { board } = this;
    const { marks, selected, view } = board;
    const { unit } = view;
    const mark = marks[selected];
    const actions = { PageDown: () => this.turn(1), PageUp: () => this.turn(-1) };
    if (!mark) {
      const centre = () => pointAt(unit, unit.width / 2, unit.height / 2, labelOf(this.sign(event)));
      return Object.assign(actions, { Enter: () => this.addPoint(marks, centre()) });
    }
    const step = (side) => Math.max(side * (event.shiftKey ? BIG_STEP : STEP), unit.name === "pixels" ? 1 : 0);
    const by = (x, y) => () => {
      const placed = moved(mark, unit, x * step(unit.width), y * step(unit.height));
      board.change(replaced(marks, selected, placed), selected, event.repeat ? "soon" : true);
    };
    const remove = () => this.remove(marks, selected);
    return Object.assign(actions, {
      ArrowLeft: by(-1, 0),
      ArrowRight: by(1, 0),
      ArrowUp: by(0, -1),
      ArrowDown: by(0, 1),
      Delete: remove,
      Backspace: remove,
      Escape: () => board.select(-1),
    });
  }
}

/** How far canvas pixels are from a box's outline. */
function edgeDistance(view, { x0, y0, x1, y1 }, left, top) {
  const [[l, t], [r, b]] = [view.pixels(x0, y0), view.pixels(x1, y1)];
  const [across, down] = [Math.max(l - left, left - r), Math.max(t - top, top - b)]; // below 0 within
  return across < 0 && down < 0 ? Math.min(-across, -down) : Math.hypot(Math.max(across, 0), Math.max(down, 0));
}
