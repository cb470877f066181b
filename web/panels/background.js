/** Where the reference picture of a node comes from: up along its links, through subgraphs, to a node that shows one. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { Recent } from "./recent.js";

/**
 * @typedef {{filename: string, subfolder?: string, type?: string}} File as ComfyUI's /view knows it
 * @typedef {{key: string, url?: string, image?: HTMLImageElement, direct?: boolean}} Source direct: the picture itself
 *   comes in, and not what nodes between make of it
 */

const INPUT_SIDE = -10; // the node that stands for a subgraph's inputs, within it
const FARTHEST = 100; // steps

/** Key of a node in app.nodeOutputs. */
export function locator(node) {
  const { graph } = node;
  return graph && graph !== graph.rootGraph ? `${graph.id}:${node.id}` : String(node.id);
}

/** Whether a node is in the graph at work. The nodes within subgraphs are not told when it is cleared. */
export function lives({ graph }) {
  const { rootGraph } = app;
  return graph === rootGraph || (graph && rootGraph.subgraphs.get(graph.id) === graph);
}

/** What a node's last run left for the interface. */
export function outputsOf(node) {
  return app.nodeOutputs?.[locator(node)];
}

/** @param {File} file @returns {string} the file as it is */
export function addressOf(file) {
  return api.apiURL(`/view?${asked(file)}`);
}

/** @param {File} file @returns {string} what other nodes get of it: turned, and with the colours under transparent pixels */
function addressOfLoaded(file) {
  return api.apiURL(`/qwen2vl_flux/loaded?${asked(file)}`);
}

const asked = ({ filename, subfolder = "", type = "input" }) => new URLSearchParams({ filename, subfolder, type });

/** @returns {Source | null} the picture that reaches an input, as far as the browser can tell */
export function pictureAt(node, inputName) {
  let seen = false;
  let direct = true;
  let origin = originOf(node, inputName);
  for (let step = 0; origin && step < FARTHEST; step += 1) {
    const [source, slot] = origin;
    const type = source.outputs?.[slot]?.type;
    seen ||= type === "IMAGE";
    if (seen) {
      const found = shownBy(source) ?? shownBeside(source, slot);
      if (found) return { ...found, direct };
    }
    direct &&= isReroute(source);
    const next = nextInput(source, type);
    origin = next && cameFrom(source, next);
  }
  return null;
}

const isReroute = (node) => node.inputs?.length === 1 && node.outputs?.length === 1 && /reroute/i.test(node.type);

/** The input that a node's picture or tokens come from. */
function nextInput(node, type) {
  const linked = (node.inputs ?? []).filter((input) => input.link != null);
  const wanted = type === "IMAGE" || isReroute(node) ? [type, "IMAGE", "*"] : ["IMAGE", type];
  for (const each of wanted) {
    const fitting = linked.filter((input) => input.type === each);
    const found = fitting.find((input) => input.name === "image" || input.name === "tokens") ?? fitting[0];
    if (found) return found;
  }
  return isReroute(node) ? linked[0] : undefined;
}

/** @returns {[object, number] | null} the node and output slot that an input is linked to, across subgraph borders */
export function originOf(node, inputName) {
  return cameFrom(node, node.inputs?.find((input) => input.name === inputName));
}

function cameFrom(node, input) {
  let { graph } = node;
  let link = linkOf(graph, input);
  for (let step = 0; link && step < FARTHEST; step += 1) {
    if (Number(link.origin_id) === INPUT_SIDE) { // comes from outside
      const host = hostOf(graph);
      if (!host) return null;
      link = linkOf(host.graph, host.inputs[link.origin_slot]);
      graph = host.graph;
      continue;
    }
    const origin = graph.getNodeById(link.origin_id);
    if (!origin) return null;
    if (!origin.isSubgraphNode?.()) return [origin, link.origin_slot];
    graph = origin.subgraph; // comes from within
    link = graph.outputNode?.slots[link.origin_slot]?.getLinks()[0];
  }
  return null;
}

/** getInputNode would throw for a node that is in no graph. */
function linkOf(graph, input) {
  return graph && input?.link != null ? graph.getLink(input.link) : null;
}

/** A node that stands for a subgraph. */
export function hostOf(subgraph) {
  const graphs = [subgraph?.rootGraph, ...(subgraph?.rootGraph?.subgraphs?.values() ?? [])];
  for (const graph of graphs) {
    const host = graph?.nodes.find((node) => node.isSubgraphNode?.() && node.subgraph === subgraph);
    if (host) return host;
  }
  return null;
}

/** What a node itself shows: the files of its last run, its loaded pictures, or the file that it is told to load. */
function shownBy(node) {
  const file = outputsOf(node)?.images?.find((image) => image?.filename);
  if (file) return loadedSource(file);
  const image = node.imgs?.find((each) => each?.naturalWidth);
  const viewed = image && fileAt(image.src);
  if (viewed) return loadedSource(viewed);
  if (image) return { key: image.src, image };
  const chosen = node.widgets?.find((widget) => widget.name === "image" && typeof widget.value === "string");
  const named = chosen?.value && /^(.*?)(?: \[(input|output|temp)\])?$/s.exec(chosen.value);
  if (!named?.[1]) return null;
  const path = named[1].split("/");
  return loadedSource({ filename: path.pop(), subfolder: path.join("/"), type: named[2] });
}

/** @returns {Source} */
function loadedSource(file) {
  const url = addressOfLoaded(file);
  return { key: url, url };
}

/** @returns {File | null} that an address of ComfyUI's /view names */
function fileAt(address) {
  const { pathname, searchParams } = new URL(address, location.href);
  const { filename, subfolder, type } = Object.fromEntries(searchParams);
  return pathname.endsWith("/view") && filename ? { filename, subfolder, type: type ?? "output" } : null;
}

/** They show what comes in, and give just that out in newer versions of ComfyUI. */
const PASSING = new Set(["PreviewImage", "SaveImage"]);

/** What another node shows of the same output, such as a preview beside the encoder. */
function shownBeside(node, slot) {
  for (const id of node.outputs?.[slot]?.links ?? []) {
    const beside = node.graph?.getNodeById(node.graph.getLink(id)?.target_id);
    const file = beside && outputsOf(beside)?.images?.find((image) => image?.filename);
    const passes = PASSING.has(beside?.type) || !beside?.outputs?.some((output) => output.type === "IMAGE");
    if (file && passes) return loadedSource(file);
  }
  return null;
}

const KEPT = 12;

/** @type {Recent} sizes by address; null until known */
const sizes = new Recent(KEPT);

/**
 * @param {Source | null} source @param {() => void} changed is called when the size has come
 * @returns {{width: number, height: number} | null} of the picture as it comes in; null for one that is not known
 */
export function sizeOf(source, changed) {
  const url = source?.direct && source.url;
  if (!url) return null;
  if (!sizes.has(url)) {
    sizes.set(url, null);
    askSize(url).then((size) => {
      sizes.set(url, size);
      changed();
    });
  }
  return sizes.get(url);
}

/** The picture itself may be smaller, as it is shown. */
async function askSize(url) {
  const answer = await fetch(url, { method: "HEAD" }).catch(() => null); // a server that is gone
  const [width, height] = (answer?.headers.get("Picture-Size") ?? "").split("x").map(Number);
  return width && height ? { width, height } : null;
}

/** @type {Recent} pictures by address */
const loaded = new Recent(KEPT);

/** The picture behind an address; `changed` is called when it has come or cannot come. */
export function load(url, changed) {
  let image = loaded.get(url);
  if (!image) {
    image = new Image();
    image.src = url;
  }
  loaded.set(url, image);
  if (!image.complete) {
    image.addEventListener("load", changed, { once: true });
    image.addEventListener("error", changed, { once: true });
  }
  return image;
}
