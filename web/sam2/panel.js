/** The panel of one SAM 2 Segment: points and boxes over the picture. */

import { sizeOf } from "../panels/background.js";
import { make, press, showSign } from "../panels/elements.js";
import { Panel } from "../panels/panel.js";
import { draw } from "./drawing.js";
import { CORNERS, MarkGestures } from "./gestures.js";
import { formatBoxes, formatPoints, FRACTION, isPoint, MOST_BOXES, MOST_POINTS, parseBoxes, parsePoints } from "./marks.js";
import { UnitView } from "./view.js";

/** @typedef {import("./marks.js").Mark} Mark */

/** Pixels of a picture whose size is not known. @type {import("./marks.js").Unit} */
const UNKNOWN = { name: "pixels", width: Infinity, height: Infinity };
/** In the order of the fields: the points, the boxes. */
const PARSE = [parsePoints, parseBoxes];
const FORMAT = [formatPoints, formatBoxes];

export class Sam2Panel extends Panel {
  unit = FRACTION;
  /**
   * The text of each field as it was read last, which is not written anew while its marks stay.
   * @type {{text: string, marks: Mark[]}[]}
   */
  asRead = this.fields.map(() => ({ text: "", marks: [] }));

  // ---- elements

  build() {
    super.build();
    this.root.classList.add("sam2-panel");
  }

  makeGestures() {
    return new MarkGestures(this.canvas, this);
  }

  buildBar() {
    this.buttons = {
      sign: this.button("keep", () => this.turnSign(), { "aria-pressed": "false" }),
      clear: this.button("clear", () => this.clear()),
      text: this.button("text", () => this.toggleText(), { "aria-pressed": "false" }),
    };
    return make("div", { className: "picture-panel-bar", role: "toolbar" }, ...Object.values(this.buttons));
  }

  // ---- what gestures and controls ask for

  get locked() {
    return super.locked || this.unit === UNKNOWN;
  }

  takes(name) {
    return !this.fields.find((field) => field.widget.name === name).linked;
  }

  fits(marks) {
    const points = marks.filter(isPoint).length;
    return points <= MOST_POINTS && marks.length - points <= MOST_BOXES;
  }

  textsOf(marks) {
    const split = [marks.filter(isPoint), marks.filter((mark) => !isPoint(mark))];
    return split.map((own, index) => {
      const { text, marks: before } = this.asRead[index];
      const same = own.length === before.length && own.every((mark, place) => mark === before[place]);
      return same ? text : FORMAT[index](own);
    });
  }

  marksIn(text, index) {
    const marks = PARSE[index](text, this.unit);
    this.asRead[index] = { text, marks };
    return marks;
  }

  // ---- in step with the node

  get pictureInput() {
    return "image";
  }

  /** Pixels can be shown and written where the size of the picture that comes in is known. */
  look(source) {
    const coordinates = this.node.widgets?.find((widget) => widget.name === "coordinates")?.value ?? FRACTION.name;
    const size = coordinates === "pixels" ? sizeOf(source, () => this.refresh()) : null;
    if (this.isLinked("coordinates")) this.nextUnit = UNKNOWN;
    else if (coordinates === FRACTION.name) this.nextUnit = FRACTION;
    else this.nextUnit = size ? { name: "pixels", ...size } : UNKNOWN;
    return { seen: [this.nextUnit.name, this.nextUnit.width, this.nextUnit.height] };
  }

  surroundingsChanged() {
    const { name, width, height } = this.unit;
    const next = this.nextUnit;
    if (next.name === name && next.width === width && next.height === height) return;
    this.unit = next;
    for (const field of this.fields) field.text = undefined; // to be read in the new unit
  }

  tell(mark, place) {
    return this.words(isPoint(mark) ? `chosenPoint${mark.label}` : "chosenBox", { ...place, ...mark });
  }

  // ---- what is seen

  makeView(width, height) {
    return new UnitView(width, height, this.shape, this.unit);
  }

  update(shownTexts) {
    super.update(shownTexts);
    const { buttons, sign } = this;
    press(buttons.sign, sign < 0);
    showSign(buttons.sign, sign > 0 ? "keep" : "suppress", this.words);
    buttons.sign.disabled = this.locked || !this.takes("points");
  }

  draw(context, scene) {
    draw(context, { ...scene, marks: this.marks, faded: scene.faded || this.unit === UNKNOWN });
  }

  cursor() {
    const { hover, drag } = this.gestures;
    if (this.locked || hover.kind === "outside") return "default";
    if (hover.kind in CORNERS) return CORNERS[hover.kind].at(-1);
    if (drag?.mode === "move") return "grabbing";
    return this.gestures.isMark(hover) ? "grab" : "crosshair";
  }

  hintNow() {
    const { words, marks, selected, gestures } = this;
    const { hover } = gestures;
    if (this.linked) return words("hintLinked");
    if (this.broken) return words("hintBroken");
    if (this.unit === UNKNOWN) return words(this.isLinked("coordinates") ? "hintCoordinates" : "hintSize");
    if (hover.kind === "point") return words("hintOnPoint");
    if (gestures.isMark(hover)) return words("hintOnBox");
    if (hover.kind === "empty") return words(this.sign > 0 ? "hintPoint" : "hintBeside");
    if (document.activeElement === this.canvas && marks[selected]) return words("hintSelected");
    if (!this.picture) return words("hintNoPicture");
    return words("hintPoint");
  }
}
