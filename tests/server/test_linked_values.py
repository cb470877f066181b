"""What ComfyUI's own primitives and switches hand to the pack's nodes, in the real server, which checks none of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sentences import one_sentence
from spoiling import changed, shown

from client.comfy_client import ComfyClient, NodeFailed
from client.qwen2vl_flux.graph import Hint, Prompt, SamTarget, controlnet, node

PRIMITIVES = {bool: "PrimitiveBoolean", int: "PrimitiveInt", float: "PrimitiveFloat", str: "PrimitiveString"}


@pytest.fixture(scope="module")
def graph(server, root: Path, small: Path) -> Prompt:
    """A graph with nearly every node of the pack, each of which a test can have run."""
    picture = ComfyClient(server.url).upload_image(root / "demo" / "reference.png")
    made = controlnet(
        picture,
        [
            Hint("line", "small/anyline/MTEED.pth", 0.4),
            Hint("depth", "small/depth-anything-v2/small", 0.2),
        ],
        control_net="small/controlnet",
        mask=SamTarget("small/segment-anything-2/sam2_hiera_tiny.pt", points='[{"x": 0.5, "y": 0.5}]'),
        dots='[{"x": 0.3, "y": 0.5}]',
        checkpoint="small",
        size=64,
        steps=1,
    )
    outputs = ("save", "focus_save", "line_save", "depth_save", "segment_save")
    made = {name: entry for name, entry in made.items() if name not in outputs}
    made["size"] = node("Qwen2VLFluxSize", aspect_ratio="1:1", batch_size=1, size=64)
    made["half"] = node("SolidMask", value=0.6, width=64, height=64)
    made["prepare"]["inputs"]["mask"] = ["half", 0]
    made["patched"] = node("Qwen2VLFluxPatchModel", model=["model", 0])
    made["join"] = node("Qwen2VLJoinTokens", tokens_1=["encode", 0], tokens_2=["encode", 0])
    made["pure"] = node("Qwen2VLFluxPureNoise", noise=["noise", 0], sigmas=["sigmas", 0])
    return made


def handed(graph: Prompt, place: str, value: object) -> Prompt:
    """The graph with a value handed to `node.input` by a primitive node and ComfyUI's switch, which lets anything
    through, and only that node to run. A value that is a link is another node's output."""
    link = value
    changes: dict[str, object] = {}
    if not isinstance(value, list):
        changes["primitive"], link = node(PRIMITIVES[type(value)], value=value), ["primitive", 0]
    changes["switch"] = node("ComfySwitchNode", switch=True, on_true=link, on_false=link)
    return changed(graph, {**changes, place: ["switch", 0], "shown": shown("any", place.split(".")[0], 0)})


VALUES = {
    "sigmas.steps": [(0, "from 1 to 10000"), (-1, "from 1 to 10000"), (2.0, "is 2.0, not a whole"), (True, "is True")],
    "sigmas.strength": [(1.5, "from 0.0 to 1.0"), (float("nan"), "is nan, not a number"), ("1", "is the text '1'")],
    "sigmas.latent": [("latent", "not LATENT"), (["image", 0], "is of the kind Tensor, not LATENT")],
    "size.batch_size": [(0, "from 1 to 64"), (10**6, "is 1000000, not a whole number from 1 to 64")],
    "size.size": [(0, "from 64 to 2048"), (-5, "is -5"), (10**6, "is 1000000")],
    "size.aspect_ratio": [("5:4", "is the text '5:4', not one of 1:1, 16:9"), (1, "is 1, not one of")],
    "prepare.size": [(0, "from 64 to 2048"), (10**6, "from 64 to 2048")],
    "prepare.aspect_ratio": [("5:4", "not one of picture, 1:1")],
    "prepare.soft_mask": [(1, "is 1, not true or false")],
    "prepare.mask": [("mask", "is the text 'mask', not MASK"), (["size", 0], "is of the kind dict, not MASK")],
    "encode.token_budget": [(-1, "from 0 to 16384"), (10**6, "from 0 to 16384")],
    "encode.qwen2vl": [("demo", "not QWEN2VL;"), (["model", 0], "is of the kind ModelPatcher, not QWEN2VL;")],
    "encode.image": [("picture", "is the text 'picture', not IMAGE")],
    "qwen2vl.weight_dtype": [("int4", "is the text 'int4', not one of default, fp8_e4m3fn, fp8_e5m2;")],
    "qwen2vl.checkpoint": [("gone", "is the text 'gone', not one of"), ("../small", "not one of")],
    "model.weight_dtype": [("int4", "is the text 'int4', not one of default")],
    "text.t5": [(0, "is 0, not true or false"), ("yes", "not true or false")],
    "focus.mode": [("blur", "is the text 'blur', not one of scale, drop, attention;")],
    "focus.dots": [(5, "is 5, not a text")],
    "focus.tokens": [("tokens", "not QWEN2VL_TOKENS"), (["qwen2vl", 0], "is of the kind Qwen2VL, not QWEN2VL_TOKENS")],
    "join.tokens_2": [("tokens", "not QWEN2VL_TOKENS"), (["image", 0], "is of the kind Tensor, not QWEN2VL_TOKENS")],
    "connect.control_tokens": [("tokens", "not QWEN2VL_TOKENS")],
    "connect.clip": [("clip", "not CLIP"), (["vae", 0], "is of the kind VAE, not CLIP")],
    "connect.prompt": [(5, "is 5, not a text")],
    "patched.model": [("flux", "not MODEL"), (["text", 0], "is of the kind CLIP, not MODEL")],
    "pure.noise": [(0, "is 0, not NOISE"), (["latent", 0], "is of the kind dict, not NOISE")],
    "pure.sigmas": [(1.0, "is 1.0, not SIGMAS"), (["image", 0], "is of the kind Tensor, not SIGMAS")],
    "line.resolution": [(0, "from 64 to 4096"), (10**6, "from 64 to 4096")],
    "line.anyline": [("line", "not ANYLINE"), (["depth_model", 0], "is of the kind DepthAnything, not ANYLINE")],
    "depth.depth_anything": [("depth", "not DEPTH_ANYTHING_V2")],
    "depth_model.file": [("gone.pth", "is the text 'gone.pth', not one of")],
    "segment.sam2": [("sam2", "not SAM2"), (["line_model", 0], "is of the kind AnyLine, not SAM2")],
    "segment.candidates": [("some", "is the text 'some', not one of best, all;")],
    "control_net.controlnet": [("gone", "is the text 'gone', not one of")],
    "depth_mode.mode": [("mlsd", "is the text 'mlsd', not one of canny, tile, depth")],
    "depth_mode.control_net": [("union", "not CONTROL_NET"), (["model", 0], "is of the kind ModelPatcher, not CON")],
}
CASES = {f"{place} {value}": (place, value, words) for place, cases in VALUES.items() for value, words in cases}


@pytest.mark.parametrize("place, value, words", CASES.values(), ids=CASES)
def test_one_sentence_for_a_value_that_an_input_does_not_take(client, graph, place, value, words):
    name, entry = place.split(".")
    with pytest.raises(NodeFailed) as raised:
        client.run(handed(graph, place, value))
    sentence = one_sentence(raised.value.message)
    assert raised.value.node_type == graph[name]["class_type"]
    assert sentence.startswith(f"The input {entry} of ") and words in sentence and sentence.isascii(), sentence


GOOD = {
    "sigmas.steps": 3, "size.batch_size": 2, "size.size": 128, "size.aspect_ratio": "16:9", "encode.token_budget": 16,
    "focus.mode": "attention", "focus.tokens": ["encode", 0], "text.t5": True, "patched.model": ["model", 0],
    "sigmas.strength": 0.5, "prepare.mask": ["half", 0], "prepare.soft_mask": True, "pure.noise": ["noise", 0],
    "connect.clip": ["text", 0], "depth_mode.control_net": ["control_net", 0], "depth_mode.mode": "pose",
}  # fmt: skip


@pytest.mark.parametrize("place, value", GOOD.items(), ids=GOOD)
def test_what_an_input_takes_comes_over_links_as_well(client, graph, place, value):
    run = client.run(handed(graph, place, value))
    assert place.split(".")[0] in run.executed and run.outputs["shown"]["text"]
