/** A panel for each SAM 2 Segment node. */

import { registerPanels } from "../panels/extension.js";
import { Sam2Panel } from "./panel.js";
import { LANGUAGES } from "./words.js";

registerPanels({
  name: "qwen2vlflux.SAM2",
  type: "qwen2vlflux_sam2",
  node: "Qwen2VLFluxSAM2Segment",
  texts: ["points", "box"],
  Panel: Sam2Panel,
  languages: LANGUAGES,
});
