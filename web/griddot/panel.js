/** The panel of one GridDotFocus: dots over the picture and the grid of its tokens. */

import { addressOf, locator, originOf } from "../panels/background.js";
import { make, press, showSign } from "../panels/elements.js";
import { rounded } from "../panels/numbers.js";
import { Panel } from "../panels/panel.js";
import { changed, focusMap, formatDots, MAX_DOTS, MAX_RADIUS, MIN_RADIUS, parseDots, tidy } from "./arithmetic.js";
import { Drawing } from "./drawing.js";
import { DotGestures } from "./gestures.js";
import { inverted, PRESETS } from "./presets.js";
import { lastRun, originsOf, remember } from "./runs.js";
import { DotView } from "./view.js";

/** @typedef {import("./arithmetic.js").Dot} Dot */

const STYLE = new URL("griddot.css", import.meta.url).href;
const BRUSH = 0.12;
const ENTRIES = { x: [0, 1, 0.01], y: [0, 1, 0.01], r: [MIN_RADIUS, MAX_RADIUS, 0.01], w: [-1, 1, 0.05] };

export class GridDotPanel extends Panel {
  static KEPT = [...Panel.KEPT, "tool", "brush"];

  tool = "point";
  brush = BRUSH;
  grid = null;
  mask = null;
  drawing = new Drawing();

  get dots() {
    return this.marks;
  }

  /** A run begins, and will be of what comes in now. */
  begins() {
    super.begins();
    this.begun = this.origins;
  }

  executed() {
    const run = lastRun(this.node);
    if (run) remember(this.place, run, this.begun ?? this.origins);
    super.executed();
  }

  heard(event) {
    if (event.type === "pointerdown" && !this.isMenu(event.target)) this.toggleMenu(false);
    super.heard(event);
  }

  isMenu(element) {
    return this.menu.contains(element) || this.buttons.presets.contains(element);
  }

  // ---- elements

  build() {
    super.build();
    this.menu = this.buildMenu();
    this.stage.append(this.menu);
    this.hint.after(this.buildEntries());
    this.root.classList.add("griddot");
    this.root.append(make("link", { rel: "stylesheet", href: STYLE }));
  }

  makeGestures() {
    return new DotGestures(this.canvas, this);
  }

  buildBar() {
    const pressed = { "aria-pressed": "false" };
    this.buttons = {
      point: this.button("point", () => this.use("point"), pressed),
      paint: this.button("paint", () => this.use("paint"), pressed),
      sign: this.button("keep", () => this.turnSign(), pressed),
      presets: this.button("presets", () => this.toggleMenu(), { "aria-haspopup": "true", "aria-expanded": "false" }),
      invert: this.button("invert", () => this.change(inverted(this.dots), this.selected, true)),
      clear: this.button("clear", () => this.clear()),
      text: this.button("text", () => this.toggleText(), pressed),
    };
    const { point, paint, sign, presets, invert, clear, text } = this.buttons;
    const group = (...buttons) => make("div", { className: "picture-panel-group" }, ...buttons);
    return make("div", { className: "picture-panel-bar", role: "toolbar" }, group(point, paint), sign, group(presets, invert, clear), text);
  }

  /** Each preset with its own map as a picture. */
  buildMenu() {
    const side = 26;
    const menu = make("div", { className: "griddot-menu", role: "menu", "aria-label": this.words("presets") });
    menu.hidden = true;
    for (const [name, dotsFor] of Object.entries(PRESETS)) {
      const map = make("canvas", { width: side, height: side, "aria-hidden": "true" });
      const pixels = new ImageData(side, side);
      focusMap(dotsFor(1, 1), side, side).forEach((weight, index) => pixels.data.set([76, 201, 255, 255 * weight], 4 * index));
      map.getContext("2d").putImageData(pixels, 0, 0);
      const label = this.words(name);
      const choice = make("button", { type: "button", role: "menuitem", title: label, "data-preset": name }, map, make("span", { text: label }));
      choice.addEventListener("click", () => {
        this.toggleMenu(false);
        this.change(dotsFor(...this.view.sides), -1, true);
        this.canvas.focus({ preventScroll: true });
      });
      menu.append(choice);
    }
    menu.addEventListener("keydown", (event) => this.menuKey(event));
    return menu;
  }

  buildEntries() {
    this.entries = {};
    const row = make("div", { className: "griddot-entries" });
    for (const [key, [min, max, step]] of Object.entries(ENTRIES)) {
      const label = this.words(key);
      const entry = make("input", { type: "number", min, max, step, title: label, "aria-label": label, "data-entry": key });
      entry.addEventListener("input", () => (this.typed = entry));
      entry.addEventListener("change", () => this.enter(key, entry));
      entry.addEventListener("blur", () => {
        this.typed = undefined;
        this.update();
      });
      row.append(make("label", { title: label }, make("span", { text: key, "aria-hidden": "true" }), entry));
      this.entries[key] = entry;
    }
    return row;
  }

  keyOnControls(event) {
    if (event.key === "Escape" && this.toggleMenu(false)) {
      event.stopPropagation();
      this.buttons.presets.focus({ preventScroll: true });
    } else super.keyOnControls(event);
  }

  menuKey(event) {
    const choices = [...this.menu.children];
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    choices[(choices.indexOf(document.activeElement) + by + choices.length) % choices.length].focus();
  }

  // ---- what gestures and controls ask for

  fits(dots) {
    return dots.length <= MAX_DOTS;
  }

  textsOf(dots) {
    return [formatDots(dots)];
  }

  marksIn(text) {
    return parseDots(text);
  }

  resize(brush) {
    this.brush = tidy({ x: 0, y: 0, r: brush }).r;
    this.update();
  }

  use(tool) {
    this.tool = tool;
    if (tool === "paint") this.selected = -1;
    this.update();
  }

  /** @returns {boolean} whether anything opened or closed */
  toggleMenu(open = this.menu.hidden) {
    const moved = this.menu.hidden === open;
    this.menu.hidden = !open;
    this.buttons.presets.setAttribute("aria-expanded", String(open));
    if (open) this.menu.firstElementChild.focus({ preventScroll: true });
    return moved;
  }

  /** A typed number goes to the chosen dot, to the brush, or to a new dot. */
  enter(key, entry) {
    this.typed = undefined;
    const value = entry.value === "" ? NaN : Number(entry.value);
    const dot = this.dots[this.selected];
    if (!Number.isFinite(value) || this.locked) this.update();
    else if (dot) {
      const dots = this.dots.map((each) => (each === dot ? changed(dot, key, value) : each));
      this.change(dots, this.selected, true);
    } else if (this.tool === "paint" && key === "r") this.resize(value);
    else this.change([...this.dots, tidy({ x: 0.5, y: 0.5, [key]: value })], this.dots.length, true);
  }

  // ---- in step with the node

  get pictureInput() {
    return "tokens";
  }

  look(source) {
    const { node } = this;
    const mask = originOf(node, "mask");
    this.masked = Boolean(mask);
    this.origins = { picture: source?.key ?? "", mask: mask ? `${locator(mask[0])}/${mask[1]}` : "" };
    const run = node.graph ? lastRun(node) : null;
    this.from = run && originsOf(this.place, run, this.origins);
    return { seen: [this.origins, this.from], fresh: this.from?.picture === this.origins.picture ? run : null };
  }

  /** The picture that the encoder saw in the last run. */
  ownPictures() {
    const file = this.fresh?.picture;
    return file ? [{ key: addressOf(file), url: addressOf(file) }] : [];
  }

  surroundingsChanged() {
    const { fresh, from, origins } = this;
    this.grid = fresh && { rows: fresh.rows, columns: fresh.columns };
    this.mask = this.masked && fresh && from.mask === origins.mask ? fresh.mask : null;
  }

  tell(dot, place) {
    return this.words("chosen", { ...place, ...dot });
  }

  // ---- what is seen

  get shape() {
    const { picture, grid } = this;
    return grid && !picture?.naturalWidth ? { width: grid.columns, height: grid.rows } : super.shape;
  }

  makeView(width, height) {
    return new DotView(width, height, this.shape, this.grid);
  }

  update(shownTexts) {
    super.update(shownTexts);
    const { buttons, locked } = this;
    press(buttons.point, this.tool === "point");
    press(buttons.paint, this.tool === "paint");
    press(buttons.sign, this.sign < 0);
    showSign(buttons.sign, this.sign > 0 ? "keep" : "suppress", this.words);
    if (locked) this.toggleMenu(false);
    for (const name of ["point", "paint", "sign", "presets"]) buttons[name].disabled = locked;
    buttons.invert.disabled = locked || !this.dots.length;
    const dot = this.dots[this.selected] ?? (this.tool === "paint" ? { r: this.brush } : {});
    for (const [key, entry] of Object.entries(this.entries)) {
      entry.disabled = locked;
      const shown = dot[key] === undefined ? "" : String(dot[key]);
      if (entry.value !== shown && (locked || entry !== this.typed)) entry.value = shown;
    }
  }

  draw(context, scene) {
    const { grid, mask, dots, gestures } = this;
    const { hover, pointer, drag } = gestures;
    const painting = this.tool === "paint" && pointer && !this.locked && (drag?.mode === "paint" || hover.kind !== "outside");
    const brush = painting ? { left: pointer[0], top: pointer[1], r: this.brush, sign: drag?.sign ?? this.sign } : null;
    this.drawing.draw(context, { ...scene, grid, mask, dots, brush });
  }

  cursor() {
    const { hover, drag } = this.gestures;
    if (this.locked || hover.kind === "outside") return "default";
    if (drag?.mode === "move") return "grabbing";
    if (drag?.mode === "radius" || hover.kind === "handle") return "nwse-resize";
    if (this.tool === "paint") return "crosshair";
    return hover.kind === "dot" ? "grab" : "crosshair";
  }

  /** One line on what can be done here. */
  hintNow() {
    const { words, dots, selected, gestures } = this;
    const { hover, drag } = gestures;
    const dot = dots[hover.index] ?? dots[selected];
    const shown = (each) => ({ x: rounded(each.x, 2), y: rounded(each.y, 2), r: rounded(each.r, 2), w: rounded(each.w, 2) });
    if (this.linked) return words("hintLinked");
    if (this.broken) return words("hintBroken");
    if (drag?.mode === "move" && dots[selected]) return words("hintMove", shown(dots[selected]));
    if ((drag?.mode === "radius" || drag?.mode === "new") && dots[selected]) return words("hintHandle", shown(dots[selected]));
    if (this.tool === "paint") return words(dots[selected] ? "hintPaintSelected" : "hintPaint");
    if (hover.kind === "handle" && dot) return words("hintHandle", shown(dot));
    if (hover.kind === "dot" && dot) return words("hintDot", shown(dot));
    if (hover.kind === "empty") return words(this.sign > 0 ? "hintPoint" : "hintSuppress");
    if (document.activeElement === this.canvas && dots[selected]) return words("hintSelected");
    if (!this.picture) return words("hintNoPicture");
    if (this.masked && !this.mask) return words("hintMask");
    return dots.length ? words("hintPoint") : words("hintEmpty");
  }
}
