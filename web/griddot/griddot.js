/** A panel for each GridDotFocus node. */

import { registerPanels } from "../panels/extension.js";
import { GridDotPanel } from "./panel.js";
import { LANGUAGES } from "./words.js";

registerPanels({
  name: "qwen2vlflux.GridDot",
  type: "griddot",
  node: "GridDotFocus",
  texts: ["dots"],
  Panel: GridDotPanel,
  languages: LANGUAGES,
});
