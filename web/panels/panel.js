/** The panel of one node: a picture with marks on it, and what keeps it in step with the node's texts. */

import { app } from "../../../scripts/app.js";
import { load, locator, pictureAt } from "./background.js";
import { make, makeButton, press } from "./elements.js";
import { TextError } from "./json_lists.js";
import { later } from "./later.js";
import { View } from "./view.js";

const STYLE = new URL("panel.css", import.meta.url).href;
const SOON = 1000; // ms without a change that end a burst of the wheel or of a held key
const MOST_PIXELS = 2048; // of the canvas's sides, at high zoom
const EDGE = 8; // canvas pixels around the picture
const SQUARE = { width: 1, height: 1 };

/** @type {Map<string, Panel>} by the place of their node */
const placed = new Map();

/**
 * @typedef {object} Field a text of the node
 * @property {object} widget of the node, which holds it
 * @property {HTMLTextAreaElement} area that shows it
 * @property {string | undefined} text as it was read last
 * @property {string} broken what is wrong with it, in a sentence; "" for nothing
 * @property {boolean} linked whether it comes from another node
 */

/**
 * What each panel has of its own are its marks: how they are read from texts and written, drawn and changed.
 *
 * @abstract @implements {import("./gestures.js").Board}
 */
export class Panel {
  /** What goes on when undo makes the node anew. */
  static KEPT = ["selected", "sign", "showsText", "inUse", "begun"];

  /**
   * @param {object} node @param {object[]} widgets the texts of the marks
   * @param {import("./words.js").Words} words
   */
  constructor(node, widgets, words) {
    this.node = node;
    this.words = words;
    /** @type {object[]} never changed in place */
    this.marks = [];
    this.selected = -1;
    this.sign = 1;
    this.picture = null;
    /** @type {Map<string, HTMLImageElement>} pictures that are wanted now, by key */
    this.pictures = new Map();
    /** @type {Field[]} */
    this.fields = widgets.map((widget) => ({ widget, text: undefined, broken: "", linked: false, area: this.makeArea(widget) }));
  }

  /** Make the elements, once all that they show has its first value. */
  start() {
    this.build();
    this.gestures = this.makeGestures();
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
    if (before?.constructor !== this.constructor || before === this) return;
    for (const name of this.constructor.KEPT) this[name] = before[name];
  }

  /** Vue keeps the elements that it has for a node of the same id, be it made anew or of another graph. */
  takePlace() {
    const { node, root } = this;
    if (!window.LiteGraph?.vueNodesMode || root.isConnected || node.graph !== app.canvas?.graph) return;
    document.querySelector(`[data-node-id="${node.id}"] .picture-panel`)?.replaceWith(root);
  }

  /** The node has its values. */
  configured() {
    this.refresh();
    this.select(this.marks[this.selected] ? this.selected : -1);
  }

  /** A run begins. */
  begins() {
    this.refresh();
  }

  /** A run has come to its end here. */
  executed() {
    this.refresh();
  }

  /** Somebody does something, here or elsewhere: a burst ends before it, and it meets what is there now. */
  heard(event) {
    const { activeElement, body } = document;
    const here = activeElement === this.canvas || (this.inUse && activeElement === body);
    this.inUse = event.type === "keydown" && here;
    if (!event.repeat) this.finish();
    this.refresh();
  }

  /** Who works with keys goes on with them when the interface has put the panel elsewhere. */
  keepFocus() {
    if (this.inUse && document.activeElement === document.body) this.canvas.focus({ preventScroll: true });
  }

  // ---- elements

  build() {
    const { words, fields } = this;
    this.canvas = make("canvas", { className: "picture-panel-canvas", tabindex: "0", role: "application", "aria-label": words("canvas") });
    this.hint = make("div", { className: "picture-panel-hint", "aria-hidden": "true" });
    this.said = make("div", { className: "picture-panel-said", role: "status", "aria-live": "polite" });
    this.stage = make("div", { className: "picture-panel-stage" }, this.canvas);
    this.alert = make("div", { className: "picture-panel-error", role: "alert" });
    this.root = make("div", { className: "picture-panel", role: "group", "aria-label": words("panel") });
    const style = make("link", { rel: "stylesheet", href: STYLE });
    const areas = fields.map((field) => field.area);
    this.root.append(style, this.buildBar(), this.stage, this.hint, this.alert, ...areas, this.said);
    this.listen();
  }

  /** @abstract @returns {HTMLElement} the buttons, `this.buttons`: clear and text at least */
  buildBar() {}

  /** @abstract @returns {import("./gestures.js").Gestures} */
  makeGestures() {}

  button(name, action, attributes) {
    return makeButton(name, this.words, action, attributes);
  }

  makeArea(widget) {
    const label = this.words(`textArea_${widget.name}`);
    const how = { className: "picture-panel-text", spellcheck: "false", "data-capture-wheel": "true", "data-text": widget.name };
    return make("textarea", { ...how, title: label, placeholder: label, "aria-label": label });
  }

  listen() {
    const on = (element, name, action, options) => element.addEventListener(name, action, options);
    for (const { area, widget } of this.fields) {
      on(area, "focus", () => (this.showsText = true)); // also when it is no longer broken
      on(area, "input", () => {
        widget.value = area.value;
        this.read(this.fields.map((field) => (field.area === area ? area.value : field.text)));
      });
      on(area, "change", () => this.capture());
    }
    on(this.root, "pointerdown", (event) => this.touched(event), { capture: true });
    on(this.root, "pointermove", (event) => event.buttons & 4 && app.canvas.processMouseMove(event));
    on(this.root, "pointerup", (event) => event.button === 1 && app.canvas.processMouseUp(event));
    on(this.root, "wheel", (event) => event.target !== this.canvas && this.wheelOnControls(event), { passive: false });
    on(this.root, "keydown", (event) => this.keyOnControls(event));
    on(this.canvas, "focus", () => this.redraw());
    on(this.canvas, "blur", () => this.redraw());
  }

  touched(event) {
    if (event.button === 1) app.canvas.processMouseDown(event); // pans
    if (event.button === 0 && !this.node.selected) app.canvas.selectNode(this.node);
  }

  wheelOnControls(event) {
    const { target } = event;
    const scrolls = target.tagName === "TEXTAREA" && target.scrollHeight > target.clientHeight && !event.ctrlKey;
    if (scrolls) event.stopPropagation();
    else this.forward(event);
  }

  keyOnControls(event) {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (plain && event.target !== this.canvas && event.key !== "Tab") event.stopPropagation(); // not for the graph
  }

  // ---- what gestures and controls ask for

  get broken() {
    return this.fields.map((field) => field.broken).find(Boolean) ?? "";
  }

  /** Whether all texts come from other nodes. */
  get linked() {
    return this.fields.every((field) => field.linked);
  }

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
   * Take marks over. `done` puts them into the node's texts and makes a step of undo: at once, or "soon" after the last
   * change to a mark. Until then a gesture goes on, of which the interface is to capture nothing. More marks than may be
   * are not taken.
   */
  change(marks, selected, done) {
    if (!this.fits(marks)) return this.update();
    const same = marks === this.marks;
    if (done !== "soon" || selected !== this.selected) this.finish();
    const texts = this.textsOf(marks);
    this.marks = marks;
    this.selected = selected;
    this.fields.forEach((field, index) => {
      field.broken = "";
      if (!done || field.linked) return;
      field.text = texts[index];
      field.widget.value = texts[index];
    });
    this.update(texts);
    if (!same) this.announce();
    if (done === "soon") {
      this.callOff?.();
      this.callOff = later(() => this.finish(), SOON);
    } else if (done) this.capture();
  }

  /** @abstract @returns {boolean} whether there are not too many */
  fits(marks) {}

  /** @abstract @returns {string[]} the marks as the text of each field */
  textsOf(marks) {}

  /**
   * @abstract
   * @param {string} text @param {number} index of its field
   * @returns {object[]} its marks; throws TextError
   */
  marksIn(text, index) {}

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

  turnSign() {
    this.sign = -this.sign;
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

  toggleText() {
    this.showsText = !this.showsText;
    this.update();
    if (this.showsText) this.fields[0].area.focus({ preventScroll: true });
  }

  // ---- in step with the node

  /** Take the node's texts over. */
  read(texts) {
    const { fields } = this;
    if (fields.every((field, index) => field.text === texts[index])) return this.update();
    fields.forEach((field, index) => (field.text = texts[index]));
    this.parse();
    this.update();
  }

  parse() {
    this.marks = this.fields.flatMap((field, index) => {
      field.broken = "";
      try {
        return this.marksIn(field.text, index);
      } catch (error) {
        if (!(error instanceof TextError)) throw error;
        field.broken = error.says(this.words);
        return [];
      }
    });
    if (this.selected >= this.marks.length) this.selected = -1;
  }

  /** One step of undo, unless the interface has taken it already. */
  capture() {
    app.canvas?.emitBeforeChange();
    app.canvas?.emitAfterChange();
  }

  /** Whether an input or widget of the node gets its value from another node. */
  isLinked(name) {
    const { node } = this;
    const input = node.inputs?.find((each) => each.name === name || each.widget?.name === name);
    return Boolean(node.graph) && input?.link != null;
  }

  /** Look at what may have changed around the node: its texts, its links, the pictures, its last run, the zoom. */
  refresh() {
    const { node, fields } = this;
    this.takePlace();
    this.keepFocus();
    const source = pictureAt(node, this.pictureInput);
    const links = fields.map(({ widget }) => this.isLinked(widget.name));
    const { seen, fresh } = this.look(source);
    const texts = fields.map(({ widget }, index) => (links[index] ? (fresh?.[widget.name] ?? "") : String(widget.value ?? "")));
    const around = JSON.stringify([links, source?.key, seen]);
    const zoom = this.canvas.getBoundingClientRect().width;
    const resting = fields.every((field, index) => field.text === texts[index]);
    if (around === this.around && resting && zoom === this.zoom && fresh === this.fresh) return;
    const relinked = links.some((linked, index) => linked !== fields[index].linked);
    fields.forEach((field, index) => (field.linked = links[index]));
    const changed = around !== this.around || fresh !== this.fresh;
    Object.assign(this, { around, zoom, fresh });
    this.picture = this.choose([...this.ownPictures(), source].filter(Boolean));
    if (changed) this.surroundingsChanged();
    this.read(texts);
    if (relinked) this.announce();
  }

  /**
   * @abstract
   * @param {import("./background.js").Source | null} source
   * @returns {{seen: unknown, fresh?: object}} what the panel depends on beside its texts, as JSON; and what the last
   *   run left, if it was of this picture, with the texts that came over links
   */
  look(source) {}

  /** @abstract @type {string} the input that the picture comes in by */
  get pictureInput() {}

  /** @returns {import("./background.js").Source[]} of the last run, which go before the one that reaches the node */
  ownPictures() {
    return [];
  }

  /** What `look` has seen, or the last run, is another. */
  surroundingsChanged() {}

  /** @param {import("./background.js").Source[]} wanted @returns {HTMLImageElement | null} the first that can be had */
  choose(wanted) {
    const come = () => {
      this.around = undefined;
      this.refresh();
    };
    this.pictures = new Map(wanted.map(({ key, url, image }) => [key, image ?? this.pictures.get(key) ?? load(url, come)]));
    const pictures = [...this.pictures.values()];
    return pictures.find((each) => each.naturalWidth) ?? pictures.find((each) => !each.complete) ?? null;
  }

  /** Tell who does not see. @param {"removed"} [happened] */
  announce(happened) {
    const { words, marks, selected } = this;
    const count = marks.length;
    if (this.linked) this.said.textContent = words("hintLinked");
    else if (marks[selected]) this.said.textContent = this.tell(marks[selected], { number: selected + 1, count });
    else this.said.textContent = happened ? words(happened, { count }) : "";
  }

  /** @abstract @returns {string} a chosen mark in words */
  tell(mark, place) {}

  // ---- what is seen

  get shape() {
    const { picture } = this;
    return picture?.naturalWidth ? { width: picture.naturalWidth, height: picture.naturalHeight } : SQUARE;
  }

  get view() {
    const sides = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) => Math.max(side, 40) - 2 * EDGE);
    const view = this.makeView(...sides);
    view.left += EDGE;
    view.top += EDGE;
    return view;
  }

  /** @returns {View} */
  makeView(width, height) {
    return new View(width, height, this.shape);
  }

  /** Bring the controls up to date, and the picture with the next frame. */
  update(shownTexts = this.fields.map((field) => field.text ?? "")) {
    const { buttons, broken, fields } = this;
    const shown = this.showsText || Boolean(broken);
    press(buttons.text, shown);
    buttons.clear.disabled = this.linked || !(this.marks.length || broken);
    fields.forEach(({ area, linked }, index) => {
      area.hidden = !shown;
      area.readOnly = linked;
      if (area.value !== shownTexts[index]) area.value = shownTexts[index];
    });
    this.alert.hidden = !broken;
    this.alert.textContent = broken;
    this.root.classList.toggle("picture-panel-broken", Boolean(broken));
    this.redraw();
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.paint();
    });
  }

  paint() {
    const { canvas } = this;
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
    const { view, selected, broken } = this;
    const picture = this.picture?.naturalWidth ? this.picture : null;
    this.draw(context, { width, height, scale, view, picture, selected, hover: this.gestures.hover, faded: Boolean(broken) });
    canvas.style.cursor = this.cursor();
    this.hint.textContent = this.hintNow();
  }

  /** @abstract @param {CanvasRenderingContext2D} context @param {object} scene */
  draw(context, scene) {}

  /** @abstract @returns {string} of CSS */
  cursor() {}

  /** @abstract @returns {string} one line on what can be done here */
  hintNow() {}
}
