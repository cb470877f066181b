/** The panel's icons, drawn on 16 x 16 in the colour of the text around them. */

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  point: "M8 2v3M8 11v3M2 8h3M11 8h3M8 7.4a.6.6 0 1 0 0 1.2a.6.6 0 1 0 0-1.2z",
  paint: "M13.5 2.5c-3 1-5.5 3.5-6.5 5.5l1.5 1.5c2-1 4.3-3.7 5-7zM6.5 9c-1.700 0-2.300 1-2.500 2.200c-.1.9-.7 1.500-1.500 1.800c2.500.9 5.500.2 5.500-2.500z",
  keep: "M8 3v10M3 8h10",
  suppress: "M3 8h10",
  presets: "M2.500 2.500h4.500v4.500h-4.500zM9 2.500h4.500v4.500h-4.500zM2.500 9h4.500v4.500h-4.500zM9 9h4.500v4.500h-4.500z",
  invert: "M8 2.500a5.500 5.500 0 1 0 0 11a5.500 5.500 0 1 0 0-11zM8 2.500v11M8 5h4.200M8 8h5.300M8 11h4.200",
  clear: "M3 4.500h10M6 4.500v-1.500h4v1.500M4.500 4.500l.6 8.500h5.800l.6-8.500M6.800 7v3.700M9.200 7v3.700",
  text: "M5.500 2.500c-1.800 0-2 .9-2 2.200c0 1.900-.2 2.600-1.500 3.300c1.300.7 1.500 1.400 1.500 3.300c0 1.300.2 2.200 2 2.200M10.500 2.500c1.800 0 2 .9 2 2.200c0 1.900.2 2.600 1.500 3.300c-1.300.7-1.500 1.400-1.500 3.300c0 1.300-.2 2.200-2 2.200",
};

/** @param {keyof typeof PATHS} name @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
