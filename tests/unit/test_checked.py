"""Every node of the pack is called as ComfyUI calls it, with values that none of its inputs may take."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import comfy_extras.nodes_custom_sampler as native
import execution
import numpy as np
import pytest
import torch
from comfy_api.latest import io
from pack import NODES, module
from sentences import one_sentence

CHECKS = module("nodes.types").CHECKS
CheckedNode, checked = module("nodes.checked").CheckedNode, module("nodes.checked").checked
InputError = module("systems.common.errors").InputError
INPUTS = {f"{name}.{item.id}": (node, item.id) for name, node in NODES.items() for item in node.GET_SCHEMA().inputs}
each_input = pytest.mark.parametrize("node, name", INPUTS.values(), ids=INPUTS)

# The graph types that are tensors, of which functions further in say what shape they want.
SHAPED = {"IMAGE": {"MASK", "SIGMAS"}, "MASK": {"IMAGE", "SIGMAS"}}


NO_HIDDEN = {"hidden_inputs": {}}


def called(node: type[io.ComfyNode], **values: object) -> tuple:
    """The outputs of a node that ComfyUI's own code runs on lists of one value each."""
    given = {name: [value] for name, value in values.items()}
    calling = execution.get_output_data("prompt", "node", node, given, v3_data=NO_HIDDEN)
    outputs, *_ = asyncio.run(calling)
    return tuple(output[0] for output in outputs)


def declared(node: type[io.ComfyNode], name: str) -> io.Input:
    return next(item for item in node.define_schema().inputs if item.id == name)


def _loading(schema: io.Schema) -> dict[str, object]:
    """Values with which a loader gives what the checkpoint `small` has."""
    return {
        item.id: next((name for name in item.options if name.startswith("small")), item.options[0])
        if isinstance(item, io.Combo.Input)
        else True
        for item in schema.inputs
    }


@pytest.fixture(scope="module")
def objects(small: Path, checkpoint_root: Path) -> dict[str, object]:
    """One real value of every graph type that is no widget, most of them from the pack's own loaders."""
    with pytest.MonkeyPatch.context() as changes:
        changes.setenv("CHECKPOINT_DIR", str(checkpoint_root))
        made: dict[str, object] = {}
        for node in NODES.values():
            schema = node.define_schema()
            if all(isinstance(item, io.Combo.Input | io.Boolean.Input) for item in schema.inputs):
                (output,) = schema.outputs
                (made[output.io_type],) = called(node, **_loading(schema))
    image = torch.rand(1, 64, 64, 3)
    made["QWEN2VL_TOKENS"] = made["QWEN2VL"].encode(image, 16)
    made["IMAGE"], made["MASK"], made["SIGMAS"] = image, image[..., 0], torch.tensor([1.0, 0.5, 0.0])
    made["LATENT"] = {"samples": torch.zeros(1, 16, 8, 8)}
    made["CONDITIONING"] = [[torch.zeros(1, 4, 8), {}]]
    made["NOISE"] = native.Noise_RandomNoise(0)
    made["SAMPLER"] = native.KSamplerSelect.execute("euler")[0]
    return made


PLAIN = ["gone", "", 5, 0, 1.5, True, [], {}, b"text", [1.0], {"samples": None}, object()]


def wrong(item: io.Input, objects: dict[str, object]) -> list[object]:
    """Values of every other kind, and those of the right kind that are out of range."""
    others = list(objects.values())
    nothing = [] if item.optional else [None]
    match item:
        case io.Boolean.Input():
            return [0, 1, "true", 1.0, torch.tensor(True), *others, *nothing]
        case io.String.Input():
            return [0, b"text", ["text"], True, *others, *nothing]
        case io.Combo.Input():
            options = item.options or [""]
            typed = ["gone", "", f" {options[0]}", options[0].upper() + "!", options[0].encode(), [options[0]], 0, True]
            return [*(value for value in typed if value not in item.options), *others, *nothing]
        case io.Int.Input():
            out = [item.min - 1, item.max + 1, -5, 10**6, 10**400, -(10**400), math.nan, math.inf]
            return [*out, float(item.default), item.default + 0.5, str(item.default), True, False, *others, *nothing]
        case io.Float.Input():
            out = [item.min - 0.001, item.max + 0.001, math.nan, math.inf, -math.inf, 10**400]
            return [*out, str(item.default), True, False, *others, *nothing]
    ignored = {item.io_type, *SHAPED.get(item.io_type, ())}
    return [*PLAIN, *(value for kind, value in objects.items() if kind not in ignored), *nothing]


def right(item: io.Input, objects: dict[str, object]) -> list[object]:
    match item:
        case io.Boolean.Input():
            return [True, False]
        case io.String.Input():
            return ["", "text", "\u00e4 \ud83d\ude00"]
        case io.Combo.Input():
            return item.options
        case io.Int.Input():
            return [item.min, item.default, item.max, np.int64(item.max)]
        case io.Float.Input():
            return [item.min, item.default, item.max, int(item.max), np.float32(item.min)]
    return [objects[item.io_type]]


@pytest.mark.parametrize("node", NODES.values(), ids=NODES)
def test_every_node_is_checked(node):
    assert issubclass(node, CheckedNode)
    kinds = (io.Boolean, io.String, io.Combo, io.Int, io.Float)
    for item in node.define_schema().inputs:
        assert isinstance(item, tuple(kind.Input for kind in kinds)) or item.io_type in CHECKS, item.id


@each_input
def test_what_an_input_does_not_take(node, name, objects):
    schema, item = node.define_schema(), declared(node, name)
    values = wrong(item, objects)
    assert len(values) > 10
    for value in values:
        with pytest.raises(InputError) as raised:
            called(node, **{name: value})
        sentence = one_sentence(raised.value)
        assert sentence.isascii() and sentence.startswith(f"The input {name} of {schema.display_name} is "), sentence


@each_input
def test_what_an_input_takes(node, name, objects):
    item = declared(node, name)
    for value in right(item, objects):
        assert checked(node.define_schema(), {name: value}) == {name: value}


SHAPES = {
    "IMAGE": [(5,), (64, 3), (2, 64, 64), (1, 1, 64, 64, 3), (1, 0, 64, 3)],
    "MASK": [(5,), (1, 64, 64, 3), (1, 0, 64)],
}
SHAPELESS = {
    f"{name}-{shape}": (*INPUTS[name], shape)
    for name in INPUTS
    for shape in SHAPES.get(declared(*INPUTS[name]).io_type, ())
}


@pytest.mark.parametrize("node, name, shape", SHAPELESS.values(), ids=SHAPELESS)
def test_tensors_of_another_shape(node, name, shape, objects):
    """What takes pictures says so of masks, and the other way round."""
    values = {each.id: right(each, objects)[0] for each in node.define_schema().inputs if not each.optional}
    if "points" in values:
        values["points"] = '[{"x": 0.5, "y": 0.5}]'
    with pytest.raises(InputError) as raised:
        called(node, **values | {name: torch.rand(shape)})
    assert f"the shape {list(shape)}" in one_sentence(raised.value), raised.value


OPTIONAL = {key: place for key, place in INPUTS.items() if declared(*place).optional}


@pytest.mark.parametrize("node, name", OPTIONAL.values(), ids=OPTIONAL)
def test_nothing_is_as_good_as_not_connected(node, name):
    """ComfyUI gives None for an optional input whose link brings nothing."""
    assert checked(node.define_schema(), {name: None}) == {}


def test_nothing_leaves_the_default():
    size, width, height = called(NODES["Qwen2VLFluxSize"], aspect_ratio="1:1", batch_size=1, size=None)
    assert (width, height) == (1024, 1024) and size["samples"].shape == (1, 16, 128, 128)


def test_each_list_of_values_is_checked_one_by_one():
    """Two values over one link are two runs; both are looked at."""
    given = {"aspect_ratio": ["1:1"], "batch_size": [1, 0], "size": [64]}
    calling = execution.get_output_data("prompt", "node", NODES["Qwen2VLFluxSize"], given, v3_data=NO_HIDDEN)
    with pytest.raises(InputError, match="batch_size of Qwen2VL-Flux Size is 0, not a whole number from 1 to 64"):
        asyncio.run(calling)


class Several(CheckedNode):
    """A node that takes lists and runs beside others, as nodes to come may."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Int.Input("numbers", min=0), io.Float.Input("share", max=1.0, optional=True)]
        return io.Schema("Several", "Several", "tests", inputs=inputs, outputs=[io.Int.Output()], is_input_list=True)

    @classmethod
    async def execute(cls, numbers: list[int], share: list[float] | None = None) -> io.NodeOutput:
        await asyncio.sleep(0)
        return io.NodeOutput(sum(numbers))


def test_nodes_that_take_lists_and_wait():
    Several.GET_SCHEMA()

    def run(**lists: list) -> object:
        async def running() -> object:
            function = Several.FUNCTION
            results = await execution._async_map_node_over_list("p", "n", Several, lists, function, v3_data=NO_HIDDEN)
            return await execution.resolve_map_node_over_list_results(results)

        return asyncio.run(running())[0].result[0]

    assert run(numbers=[1, 2, 3]) == 6
    assert run(numbers=[1], share=[-5, 0.5]) == 1
    with pytest.raises(InputError, match="The input numbers of Several is -1, not a whole number from 0; check"):
        run(numbers=[1, -1])
    with pytest.raises(InputError, match="The input share of Several is 1.5, not a number to 1.0; check"):
        run(numbers=[1], share=[0.5, 1.5])


def test_sentences_name_what_came_and_what_is_allowed(objects):
    sentences = {
        ("Qwen2VLFluxSigmas", "steps", 0): "is 0, not a whole number from 1 to 10000; check the node it comes from.",
        ("Qwen2VLFluxSize", "aspect_ratio", "5:4"): "is the text '5:4', not one of 1:1, 16:9, 9:16, 2.4:1, 3:4, 4:3; ",
        ("GridDotFocus", "tokens", "hello"): "is the text 'hello', not QWEN2VL_TOKENS; ",
        ("GridDotFocus", "tokens", "\u00d7\n" * 900): r"is the text '\xd7\n\xd7\n\xd7\n",
        ("Qwen2VLFluxTextLoader", "t5", 1): "is 1, not true or false; ",
        ("Qwen2VLConnector", "prompt", None): "is empty, not a text; ",
    }
    for (node, name, value), words in sentences.items():
        with pytest.raises(InputError) as raised:
            called(NODES[node], **{name: value})
        assert words in one_sentence(raised.value), raised.value
    with pytest.raises(InputError, match="model of Qwen2VL-Flux Patch Model is of the kind CLIP, not MODEL; "):
        called(NODES["Qwen2VLFluxPatchModel"], model=objects["CLIP"])


def test_a_long_list_is_not_told_whole():
    schema = io.Schema("n", "n", "c", inputs=[io.Combo.Input("file", options=[f"\u6587{n}" for n in range(900)])])
    with pytest.raises(InputError) as raised:
        checked(schema, {"file": "gone"})
    assert r"not one of \u65870, \u65871, " in one_sentence(raised.value) and r"\u6587899; check" in str(raised.value)
    with pytest.raises(InputError, match="not one of none, for its list is empty; check"):
        checked(io.Schema("n", "n", "c", inputs=[io.Combo.Input("file", options=[])]), {"file": "gone"})
