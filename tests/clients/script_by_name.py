"""comfy-script, as somebody writes who has no workflow: the pack's nodes by their Python names.

    script_by_name.py URL IMAGE FILE

Saves a variation of IMAGE, a picture in the server's input folder, focused on a half of it, as FILE. FILE.json gets its
`size` as the node Qwen2VL-Flux Size tells it, and `stubs`, the type stubs that comfy-script writes for editors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from comfy_script.runtime import Workflow, load, nodes


def main(url: str, image: str, file: str) -> None:
    load(url, save_script_source=False)
    with Workflow(queue=False) as workflow:
        encoder = nodes.Qwen2VLLoader(nodes.Qwen2VLLoader.checkpoint.demo)
        picture, _ = nodes.LoadImage(image)
        tokens = nodes.Qwen2VLEncode(encoder, picture)
        focus = nodes.GridDotFocus
        tokens, _ = focus(tokens, dots='[{"x": 0.25, "y": 0.5, "r": 0.5}]', mode=focus.mode.drop)
        clip = nodes.Qwen2VLFluxTextLoader("demo", t5=False)
        conditioning = nodes.Qwen2VLConnector(encoder, tokens, clip=clip)
        latent, width, height = nodes.Qwen2VLFluxSize(nodes.Qwen2VLFluxSize.aspect_ratio._16_9, size=128)
        sampled, _ = nodes.SamplerCustomAdvanced(
            nodes.RandomNoise(7),
            nodes.BasicGuider(nodes.Qwen2VLFluxModelLoader("demo"), nodes.FluxGuidance(conditioning, 3.5)),
            nodes.KSamplerSelect("euler"),
            nodes.Qwen2VLFluxSigmas(8, latent=latent),
            latent,
        )
        saved = nodes.SaveImage(nodes.VAEDecode(sampled, nodes.Qwen2VLFluxVAELoader("demo")), "by_name")
        size = nodes.PreviewAny(width), nodes.PreviewAny(height)
    workflow.queue()
    saved.wait()[0].save(file)
    texts = [node.wait()._output["text"][0] for node in size]
    stubs = Path(nodes.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    Path(file + ".json").write_text(json.dumps({"size": texts, "stubs": stubs}), encoding="utf-8")


main(*sys.argv[1:])
