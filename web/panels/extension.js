/** A panel for each node of a type. Its texts stay the values; without the script the node is used as text. */

import { app } from "../../../scripts/app.js";
import { lives } from "./background.js";
import { wordsIn } from "./words.js";

const SIZE = [340, 460];
const LEAST_HEIGHT = 300;
const MARGIN = 8;
const PULSE = 250; // ms; links, pictures and texts of other nodes change without telling

/**
 * @typedef {object} Kind
 * @property {string} name of the extension
 * @property {string} type of the widget: a name of no widget of the interface, those would be drawn in its place
 * @property {string} node its type
 * @property {string[]} texts the widgets that the panel writes, which are hidden
 * @property {typeof import("./panel.js").Panel} Panel
 * @property {ReturnType<import("./words.js").languages>} languages
 */

/** @param {Kind} kind */
export function registerPanels({ name, type, node: nodeType, texts, Panel, languages }) {
  /** @type {Set<import("./panel.js").Panel>} */
  const panels = new Set();
  const gone = (panel) => panels.delete(panel) && panel.removed();

  function addPanel(node) {
    const widgets = texts.map((text) => node.widgets?.find((widget) => widget.name === text));
    if (!widgets.every(Boolean)) return;
    const words = wordsIn(languages, app.extensionManager?.setting?.get("Comfy.Locale") ?? "en");
    const panel = new Panel(node, widgets, words);
    panel.start();
    const widget = node.addDOMWidget(type, type, panel.root, {
      serialize: false,
      hideOnZoom: false,
      margin: MARGIN,
      getMinHeight: () => LEAST_HEIGHT,
    });
    widget.serialize = false;
    for (const text of widgets) {
      hide(text);
      chain(text, "callback", () => panel.refresh());
    }
    chain(node, "onExecutionStart", () => panel.begins());
    chain(node, "onExecuted", () => panel.executed());
    chain(node, "onConnectionsChange", () => panel.refresh());
    chain(node, "onAdded", () => panels.add(panel) && panel.arrived());
    chain(node, "onConfigure", () => panel.configured());
    chain(node, "onRemoved", () => gone(panel));
    node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);
  }

  app.registerExtension({
    name,
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
      if (node.comfyClass === nodeType) addPanel(node);
    },
  });
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
