/** A panel for each GridDotFocus node. Its text stays the value; without this script the node is used as text. */

import { app } from "../../../scripts/app.js";
import { lives } from "./background.js";
import { Panel } from "./panel.js";
import { wordsFor } from "./words.js";

const NODE = "GridDotFocus";
const TEXT = "dots";
const TYPE = "griddot"; // a name of no widget of the interface: those would be drawn in its place
const SIZE = [340, 460];
const LEAST_HEIGHT = 300;
const MARGIN = 8;
const PULSE = 250; // ms; links, pictures and texts of other nodes change without telling

/** @type {Set<Panel>} */
const panels = new Set();

const gone = (panel) => panels.delete(panel) && panel.removed();

app.registerExtension({
  name: "qwen2vlflux.GridDot",
  setup() {
    const turned = (event) => [...panels].find((panel) => panel.canvas === event.target)?.gestures.wheel(event);
    const heard = (event) => panels.forEach((panel) => panel.heard(event));
    window.addEventListener("wheel", turned, { capture: true, passive: false });
    window.addEventListener("keydown", heard, { capture: true });
    window.addEventListener("pointerdown", heard, { capture: true });
    app.canvas.canvas.addEventListener("litegraph:set-graph", () => panels.forEach((panel) => panel.takePlace()));
    setInterval(() => {
      if (!document.hidden) panels.forEach((panel) => (lives(panel.node) ? panel.refresh() : gone(panel)));
    }, PULSE);
  },
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPanel(node);
  },
});

function addPanel(node) {
  const text = node.widgets?.find((widget) => widget.name === TEXT);
  if (!text) return;
  const panel = new Panel(node, text, wordsFor(app.extensionManager?.setting?.get("Comfy.Locale") ?? "en"));
  const widget = node.addDOMWidget(TYPE, TYPE, panel.root, {
    serialize: false,
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: () => LEAST_HEIGHT,
  });
  widget.serialize = false;
  hide(text);
  chain(text, "callback", () => panel.refresh());
  chain(node, "onExecutionStart", () => panel.begins());
  chain(node, "onExecuted", () => panel.executed());
  chain(node, "onConnectionsChange", () => panel.refresh());
  chain(node, "onAdded", () => panels.add(panel) && panel.arrived());
  chain(node, "onConfigure", () => panel.configured());
  chain(node, "onRemoved", () => gone(panel));
  node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);
}

/**
 * The panel shows the text when asked. It stays the widget that is saved. A subgraph that offers the text outside copies
 * its options, and there it has to be seen: what cannot be enumerated is not copied.
 */
function hide(widget) {
  widget.hidden = true;
  Object.defineProperty(widget.options, "hidden", { value: true, writable: true, configurable: true, enumerable: false });
}

function chain(owner, name, action) {
  const before = owner[name];
  owner[name] = function (...values) {
    const result = before?.apply(this, values);
    action();
    return result;
  };
}
