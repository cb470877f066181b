/** The panel of one node: its elements, and what keeps them in step with the node's text. */

import { app } from "../../../scripts/app.js";
import { changed, DotsError, focusMap, formatDots, MAX_DOTS, MAX_RADIUS, MIN_RADIUS, parseDots, rounded, tidy } from "./arithmetic.js";
import { addressOf, load, locator, originOf, pictureAt } from "./background.js";
import { Drawing } from "./drawing.js";
import { Gestures } from "./gestures.js";
import { icon } from "./icons.js";
import { later } from "./later.js";
import { inverted, PRESETS } from "./presets.js";
import { lastRun, originsOf, remember } from "./runs.js";
import { View } from "./view.js";

/** @typedef {import("./arithmetic.js").Dot} Dot */

const STYLE = new URL("griddot.css", import.meta.url).href;
const BRUSH = 0.12;
const SOON = 1000; // ms without a change that end a burst of the wheel or of a held key
const MOST_PIXELS = 2048; // of the canvas's sides, at high zoom
const ENTRIES = { x: [0, 1, 0.01], y: [0, 1, 0.01], r: [MIN_RADIUS, MAX_RADIUS, 0.01], w: [-1, 1, 0.05] };
const SQUARE = { width: 1, height: 1 };

/** @type {Map<string, Panel>} by the place of their node */
const placed = new Map();

/** @returns {HTMLElement} an element with properties, attributes and children; text is never read as markup */
function make(tag, { className = "", text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @implements {import("./gestures.js").Board} */
export class Panel {
  /**
   * @param {object} node @param {object} widget the text of the dots
   * @param {ReturnType<import("./words.js").wordsFor>} words
   */
  constructor(node, widget, words) {
    this.node = node;
    this.widget = widget;
    this.words = words;
    /** @type {Dot[]} */
    this.dots = [];
    this.selected = -1;
    this.tool = "point";
    this.sign = 1;
    this.brush = BRUSH;
    this.text = undefined;
    this.broken = "";
    this.linked = false;
    this.grid = null;
    this.mask = null;
    this.picture = null;
    /** @type {Map<string, HTMLImageElement>} pictures that are wanted now, by key */
    this.pictures = new Map();
    this.drawing = new Drawing();
    this.build();
    this.gestures = new Gestures(this.canvas, this);
    new ResizeObserver(() => this.redraw()).observe(this.stage);
    this.refresh();
  }

  /** The node goes. When undo makes all nodes anew, the next of this place follows at once. */
  removed() {
    const { place } = this;
    this.callOff?.();
    this.callOff = undefined;
    this.gestures.cancel();
    setTimeout(() => placed.get(place) === this && placed.delete(place));
  }

  /** The node is in a graph; made anew by undo perhaps, and then somebody at work goes on where they were. */
  arrived() {
    const { node } = this;
    if (node.graph.rootGraph !== app.rootGraph) return;
    this.place = `${node.graph.rootGraph.id}/${locator(node)}`;
    const before = placed.get(this.place);
    placed.set(this.place, this);
    if (!before || before === this) return;
    const { selected, tool, sign, brush, showsText, inUse, begun } = before;
    Object.assign(this, { selected, tool, sign, brush, showsText, inUse, begun });
  }

  /** Vue keeps the elements that it has for a node of the same id, be it made anew or of another graph. */
  takePlace() {
    const { node, root } = this;
    if (!window.LiteGraph?.vueNodesMode || root.isConnected || node.graph !== app.canvas?.graph) return;
    document.querySelector(`[data-node-id="${node.id}"] .griddot`)?.replaceWith(root);
  }

  /** The node has its values. */
  configured() {
    this.refresh();
    this.select(this.dots[this.selected] ? this.selected : -1);
  }

  /** A run begins, and will be of what comes in now. */
  begins() {
    this.refresh();
    this.begun = this.origins;
  }

  /** A run has come to its end here. */
  executed() {
    const run = lastRun(this.node);
    if (run) remember(this.place, run, this.begun ?? this.origins);
    this.refresh();
  }

  /** Somebody does something, here or elsewhere: a burst ends before it, and it meets what is there now. */
  heard(event) {
    const { activeElement, body } = document;
    const here = activeElement === this.canvas || (this.inUse && activeElement === body);
    this.inUse = event.type === "keydown" && here;
    if (event.type === "pointerdown" && !this.isMenu(event.target)) this.toggleMenu(false);
    if (!event.repeat) this.finish();
    this.refresh();
  }

  isMenu(element) {
    return this.menu.contains(element) || this.buttons.presets.contains(element);
  }

  /** Who works with keys goes on with them when the interface has put the panel elsewhere. */
  keepFocus() {
    if (this.inUse && document.activeElement === document.body) this.canvas.focus({ preventScroll: true });
  }

  // ---- elements

  build() {
    const { words } = this;
    this.canvas = make("canvas", { className: "griddot-canvas", tabindex: "0", role: "application", "aria-label": words("canvas") });
    this.hint = make("div", { className: "griddot-hint", "aria-hidden": "true" });
    this.said = make("div", { className: "griddot-said", role: "status", "aria-live": "polite" });
    this.menu = this.buildMenu();
    this.stage = make("div", { className: "griddot-stage" }, this.canvas, this.menu);
    this.area = make("textarea", { className: "griddot-text", "aria-label": words("textArea"), spellcheck: "false", "data-capture-wheel": "true" });
    this.alert = make("div", { className: "griddot-error", role: "alert" });
    this.root = make("div", { className: "griddot", role: "group", "aria-label": words("panel") });
    const style = make("link", { rel: "stylesheet", href: STYLE });
    this.root.append(style, this.buildBar(), this.stage, this.hint, this.buildEntries(), this.alert, this.area, this.said);
    this.listen();
  }

  button(name, action, attributes = {}) {
    const label = this.words(name);
    const made = make("button", { className: "griddot-button", type: "button", title: label, "aria-label": label, ...attributes }, icon(name));
    made.addEventListener("click", action);
    return made;
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
    const group = (...buttons) => make("div", { className: "griddot-group" }, ...buttons);
    return make("div", { className: "griddot-bar", role: "toolbar" }, group(point, paint), sign, group(presets, invert, clear), text);
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

  listen() {
    const on = (element, name, action, options) => element.addEventListener(name, action, options);
    on(this.area, "focus", () => (this.showsText = true)); // also when it is no longer broken
    on(this.area, "input", () => {
      this.widget.value = this.area.value;
      this.read(this.area.value);
    });
    on(this.area, "change", () => this.capture());
    on(this.root, "pointerdown", (event) => this.touched(event), { capture: true });
    on(this.root, "pointermove", (event) => event.buttons & 4 && app.canvas.processMouseMove(event));
    on(this.root, "pointerup", (event) => event.button === 1 && app.canvas.processMouseUp(event));
    on(this.root, "wheel", (event) => event.target !== this.canvas && this.wheelOnControls(event), { passive: false });
    on(this.root, "keydown", (event) => {
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
      if (event.key === "Escape" && this.toggleMenu(false)) {
        event.stopPropagation();
        this.buttons.presets.focus({ preventScroll: true });
      } else if (plain && event.target !== this.canvas && event.key !== "Tab") {
        event.stopPropagation(); // not for the graph
      }
    });
    on(this.canvas, "focus", () => this.redraw());
    on(this.canvas, "blur", () => this.redraw());
  }

  touched(event) {
    if (event.button === 1) app.canvas.processMouseDown(event); // pans
    if (event.button === 0 && !this.node.selected) app.canvas.selectNode(this.node);
  }

  wheelOnControls(event) {
    const scrolls = event.target === this.area && this.area.scrollHeight > this.area.clientHeight && !event.ctrlKey;
    if (scrolls) event.stopPropagation();
    else this.forward(event);
  }

  menuKey(event) {
    const choices = [...this.menu.children];
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    choices[(choices.indexOf(document.activeElement) + by + choices.length) % choices.length].focus();
  }

  // ---- what gestures and controls ask for

  get locked() {
    return Boolean(this.broken) || this.linked;
  }

  /** Canvas pixels of an event, whatever the graph's zoom, and how many of them a screen pixel is. */
  locate(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = box.width ? this.canvas.clientWidth / box.width : 1;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale, scale];
  }

  /**
   * Take dots over. `done` puts them into the node's text and makes a step of undo: at once, or "soon" after the last
   * change to a dot. Until then a gesture goes on, of which the interface is to capture nothing. More dots than may be
   * are not taken.
   */
  change(dots, selected, done) {
    if (dots.length > MAX_DOTS) return this.update();
    const same = dots === this.dots;
    if (done !== "soon" || selected !== this.selected) this.finish();
    const text = formatDots(dots);
    this.dots = dots;
    this.broken = "";
    this.selected = selected;
    if (done) {
      this.text = text;
      this.widget.value = text;
    }
    this.update(text);
    if (!same) this.announce();
    if (done === "soon") {
      this.callOff?.();
      this.callOff = later(() => this.finish(), SOON);
    } else if (done) this.capture();
  }

  /** A burst is over. */
  finish() {
    if (!this.callOff) return;
    this.callOff();
    this.callOff = undefined;
    this.capture();
  }

  clear() {
    this.change([], -1, true);
    this.announce("removed");
  }

  select(index) {
    this.selected = index;
    this.announce();
    this.update();
  }

  resize(brush) {
    this.brush = tidy({ x: 0, y: 0, r: brush }).r;
    this.update();
  }

  /** Let the graph zoom or pan. */
  forward(event) {
    if (window.LiteGraph?.vueNodesMode) return; // the node around us does it
    event.preventDefault();
    event.stopPropagation();
    app.canvas.processMouseWheel(event);
  }

  openMenu(event) {
    if (window.LiteGraph?.vueNodesMode) return;
    event.preventDefault();
    app.canvas.adjustMouseEvent(event);
    app.canvas.processContextMenu(this.node, event);
  }

  use(tool) {
    this.tool = tool;
    if (tool === "paint") this.selected = -1;
    this.update();
  }

  turnSign() {
    this.sign = -this.sign;
    this.update();
  }

  toggleText() {
    this.showsText = !this.showsText;
    this.update();
    if (this.showsText) this.area.focus({ preventScroll: true });
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

  /** Take the node's text over. */
  read(text) {
    if (text === this.text) return this.update();
    this.text = text;
    this.parse(text);
    this.update();
  }

  parse(text) {
    try {
      this.dots = parseDots(text);
      this.broken = "";
    } catch (error) {
      if (!(error instanceof DotsError)) throw error;
      this.dots = [];
      this.broken = error.says(this.words);
    }
    if (this.selected >= this.dots.length) this.selected = -1;
  }

  /** One step of undo, unless the interface has taken it already. */
  capture() {
    app.canvas?.emitBeforeChange();
    app.canvas?.emitAfterChange();
  }

  /** Look at what may have changed around the node: its text, its links, the pictures, its last run, the zoom. */
  refresh() {
    const { node } = this;
    this.takePlace();
    this.keepFocus();
    const input = node.inputs?.find((each) => each.name === this.widget.name || each.widget?.name === this.widget.name);
    const linked = Boolean(node.graph) && input?.link != null;
    const source = pictureAt(node, "tokens");
    const mask = originOf(node, "mask");
    this.origins = { picture: source?.key ?? "", mask: mask ? `${locator(mask[0])}/${mask[1]}` : "" };
    const run = node.graph ? lastRun(node) : null;
    const from = run && originsOf(this.place, run, this.origins);
    const fresh = from?.picture === this.origins.picture ? run : null;
    const around = JSON.stringify([linked, this.origins, from]);
    const text = linked ? (fresh?.dots ?? "") : String(this.widget.value ?? "");
    const zoom = this.canvas.getBoundingClientRect().width;
    if (around === this.around && text === this.text && zoom === this.zoom && fresh === this.fresh) return;
    const relinked = linked !== this.linked;
    Object.assign(this, { around, linked, zoom, fresh, masked: Boolean(mask) });
    this.grid = fresh && { rows: fresh.rows, columns: fresh.columns };
    this.mask = mask && fresh && from.mask === this.origins.mask ? fresh.mask : null;
    this.picture = this.choose(source, fresh);
    this.read(text);
    if (relinked) this.announce();
  }

  /** The picture that the encoder saw in the last run, or until it has come the one that reaches the node. */
  choose(source, fresh) {
    const come = () => {
      this.around = undefined;
      this.refresh();
    };
    const own = fresh?.picture && addressOf(fresh.picture);
    const wanted = [own && { key: own, url: own }, source].filter(Boolean);
    this.pictures = new Map(wanted.map(({ key, url, image }) => [key, image ?? this.pictures.get(key) ?? load(url, come)]));
    const pictures = [...this.pictures.values()];
    return pictures.find((each) => each.naturalWidth) ?? pictures.find((each) => !each.complete) ?? null;
  }

  /** Tell who does not see. @param {"removed"} [happened] */
  announce(happened) {
    const { words, dots, selected } = this;
    const count = dots.length;
    if (this.linked) this.said.textContent = words("hintLinked");
    else if (dots[selected]) this.said.textContent = words("chosen", { number: selected + 1, count, ...dots[selected] });
    else this.said.textContent = happened ? words(happened, { count }) : "";
  }

  // ---- what is seen

  get shape() {
    const { picture, grid } = this;
    if (picture?.naturalWidth) return { width: picture.naturalWidth, height: picture.naturalHeight };
    return grid ? { width: grid.columns, height: grid.rows } : SQUARE;
  }

  get view() {
    const edge = 8;
    const [width, height] = [Math.max(this.canvas.clientWidth, 40), Math.max(this.canvas.clientHeight, 40)];
    const view = new View(width - 2 * edge, height - 2 * edge, this.shape, this.grid);
    view.left += edge;
    view.top += edge;
    return view;
  }

  /** Bring the controls up to date, and the picture with the next frame. */
  update(shownText = this.text ?? "") {
    const { buttons, locked } = this;
    const press = (button, on) => button.setAttribute("aria-pressed", String(on));
    press(buttons.point, this.tool === "point");
    press(buttons.paint, this.tool === "paint");
    press(buttons.sign, this.sign < 0);
    const sign = this.sign > 0 ? "keep" : "suppress";
    if (buttons.sign.dataset.sign !== sign) {
      buttons.sign.dataset.sign = sign;
      buttons.sign.replaceChildren(icon(sign));
      buttons.sign.title = this.words(sign);
      buttons.sign.setAttribute("aria-label", this.words(sign));
    }
    if (locked) this.toggleMenu(false);
    for (const name of ["point", "paint", "sign", "presets"]) buttons[name].disabled = locked;
    buttons.invert.disabled = locked || !this.dots.length;
    buttons.clear.disabled = this.linked || !(this.dots.length || this.broken);
    const text = this.showsText || Boolean(this.broken);
    press(buttons.text, text);
    this.area.hidden = !text;
    this.area.readOnly = this.linked;
    if (this.area.value !== shownText) this.area.value = shownText;
    this.alert.hidden = !this.broken;
    this.alert.textContent = this.broken;
    this.root.classList.toggle("griddot-broken", Boolean(this.broken));
    const dot = this.dots[this.selected] ?? (this.tool === "paint" ? { r: this.brush } : {});
    for (const [key, entry] of Object.entries(this.entries)) {
      entry.disabled = locked;
      const shown = dot[key] === undefined ? "" : String(dot[key]);
      if (entry.value !== shown && (locked || entry !== this.typed)) entry.value = shown;
    }
    this.redraw();
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.paint();
    });
  }

  paint() {
    const { canvas, gestures } = this;
    this.keepFocus();
    const box = canvas.getBoundingClientRect();
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    const scale = box.width / width || 1;
    const density = Math.min(scale * window.devicePixelRatio, MOST_PIXELS / Math.max(width, height));
    const [across, down] = [Math.round(width * density), Math.round(height * density)];
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    const context = canvas.getContext("2d");
    context.setTransform(across / width, 0, 0, down / height, 0, 0);
    const { hover, pointer, drag } = gestures;
    const painting = this.tool === "paint" && pointer && !this.locked && (drag?.mode === "paint" || hover.kind !== "outside");
    const brush = painting ? { left: pointer[0], top: pointer[1], r: this.brush, sign: drag?.sign ?? this.sign } : null;
    const { view, grid, mask, dots, selected } = this;
    const picture = this.picture?.naturalWidth ? this.picture : null;
    this.drawing.draw(context, { width, height, scale, view, picture, grid, mask, dots, selected, hover, brush, faded: Boolean(this.broken) });
    canvas.style.cursor = this.cursor();
    this.hint.textContent = this.hintNow();
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
