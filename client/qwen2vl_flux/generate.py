"""Images from a request: its weights chosen by what the server lists, its images uploaded, and its prompts run.

from client.comfy_client import ComfyClient
from client.qwen2vl_flux.generate import Request, generate

for image in generate(Request("variation", Path("photo.jpg")), ComfyClient("http://127.0.0.1:8188")):
    Path(f"{image.seed}.png").write_bytes(image.data)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from systems.common.layout import DEMO

from ..comfy_client import ComfyClient, ComfyError
from ..images import MadeImage, Watch, make_images
from ..installation import PACK
from . import graph as graphs
from .request import Request, default_side, token_budget

__all__ = ["MadeImage", "Request", "generate", "prompts"]

TURBO = "fp8_e4m3fn"


@dataclass(frozen=True)
class _Weights:
    """Where a kind of weights is listed, and what to put where when none is."""

    node: str
    input: str
    what: str
    example: str
    folder: str


WEIGHTS = {
    "controlnet": _Weights(
        "Qwen2VLFluxControlNetLoader", "controlnet", "ControlNet folder", "FLUX.1-dev-Controlnet-Union", "controlnet"
    ),
    **{
        f"{name}_model": _Weights(each.loader, "file", f"{each.title} file", each.example, each.folder)
        for name, each in graphs.ANNOTATORS.items()
    },
    "sam2_model": _Weights("Qwen2VLFluxSAM2Loader", "file", "SAM 2 file", "sam2_hiera_large.pt", "sam2"),
}


def generate(request: Request, client: ComfyClient, watch: Watch | None = None) -> Iterator[MadeImage]:
    """Make the images, prompt after prompt, those of each yielded as soon as it is done.

    `watch(seed, prompt)` gives what sees the messages of a prompt, in the calling thread. What interrupts this thread
    (Ctrl-C among it) takes the prompt off the server. Raises ComfyError with one sentence.
    """
    return make_images(prompts(request, client), client, watch)


def prompts(request: Request, client: ComfyClient) -> Iterator[tuple[int, graphs.Prompt]]:
    """The seed and the prompt of each batch, with the images they read uploaded. Raises ComfyError when the server
    lacks a node or weights that they need."""
    nodes = client.object_info()
    with client.reading():
        complete = _with_weights(request, nodes, client.url)
        _check_nodes(complete, nodes, client.url)
    given = (request.input_image, request.reference_image)
    names = {path: _uploaded(path, client) for path in given if path}
    if request.mask_image:
        mask = request.mask_image / "mask"  # not its own path, which the input image may have, too
        names[mask] = _uploaded_mask(request.mask_image, client)
        complete = replace(complete, mask_image=mask)
    for seed, size in enumerate(request.batches, start=request.seed):
        yield seed, prompt_for(replace(complete, seed=seed, image_count=size, batch_size=size), names.__getitem__)


def prompt_for(request: Request, name: Callable[[Path], str] = lambda path: path.name) -> graphs.Prompt:
    """The graph of a request that names all its weights, for its seed; `name` is what LoadImage calls an image."""
    settings: dict[str, Any] = {
        "checkpoint": request.checkpoint,
        "weight_dtype": TURBO if request.turbo else "default",
        "prompt": request.prompt,
        "dots": request.dots,
        "token_budget": token_budget(request.checkpoint, request.prompt),
        "aspect_ratio": request.aspect_ratio,
        "size": request.size or default_side(request.checkpoint),
        "steps": request.steps,
        "guidance": request.guidance_scale,
        "reference_strength": request.reference_strength,
        "seed": request.seed,
        "batch_size": request.batch_size,
        "as_published": request.as_published,
    }
    image = name(request.input_image)
    if request.mode == "variation":
        return graphs.variation(image, **settings)
    settings["reference"] = name(request.reference_image) if request.reference_image else ""
    settings["strength"] = request.denoise_strength
    if request.mode == "img2img":
        return graphs.image_to_image(image, **settings)
    mask = _mask(request, name)
    if request.mode == "inpaint":
        return graphs.inpaint(image, mask, **settings)
    hints = [
        graphs.Hint(name, getattr(request, f"{name}_model"), getattr(request, f"{name}_strength"))
        for name in request.annotators
    ]
    return graphs.controlnet(image, hints, control_net=request.controlnet, mask=mask, **settings)


def _mask(request: Request, name: Callable[[Path], str]) -> str | graphs.SamTarget | None:
    if request.mask_image:
        return name(request.mask_image)
    if request.mask_points:
        points = [{"x": x, "y": y, "label": label} for x, y, label in request.mask_points]
        return graphs.SamTarget(request.sam2_model, points=json.dumps(points))
    return None


# ---- what the server has -------------------------------------------------------------------------------------------


def _uploaded(path: Path, client: ComfyClient) -> str:
    try:
        return client.upload_image(path)
    except OSError as error:
        raise ComfyError(f"{path} cannot be read ({error.strerror})") from None


def _uploaded_mask(path: Path, client: ComfyClient) -> str:
    from ..masks import grey_mask  # Pillow is asked for by those who give a mask

    try:
        return client.upload(f"{path.stem}_grey.png", grey_mask(path))
    except ValueError as error:
        raise ComfyError(str(error)) from None


def _check_nodes(request: Request, nodes: dict[str, Any], url: str) -> None:
    for entry in prompt_for(request).values():
        _inputs(nodes, entry["class_type"], url)


def _with_weights(request: Request, nodes: dict[str, Any], url: str) -> Request:
    """The request with the names of all weights that its mode needs."""
    checkpoint = _checkpoint(request.checkpoint, nodes, url)
    needed = [f"{annotator}_model" for annotator in request.annotators]
    needed += ["controlnet"] if request.annotators else []
    needed += ["sam2_model"] if request.mask_points else []
    unnamed = [name for name in needed if not getattr(request, name)]
    absent = [WEIGHTS[name] for name in unnamed if not _fitting(name, checkpoint, nodes, url)]
    if absent:
        missing = ", ".join(
            f"no {kind.what} (put one such as {kind.example} into models/{kind.folder})" for kind in absent
        )
        raise ComfyError(f"There is {missing} in the ComfyUI on {url}; the checkpoint's own folder may hold it, too")
    names = {name: _weights(name, getattr(request, name), checkpoint, nodes, url) for name in needed}
    return replace(request, checkpoint=checkpoint, **names)


def _checkpoint(wanted: str, nodes: dict[str, Any], url: str) -> str:
    listed = _listed(nodes, "Qwen2VLLoader", "checkpoint", url)
    if not wanted:
        return next((name for name in listed if name != DEMO.name), DEMO.name)
    if wanted not in listed:
        raise ComfyError(
            f"There is no checkpoint {wanted!r} on {url}, only {_some(listed)}; put its folder, which holds qwen2-vl "
            "and flux, into models/qwen2vl_flux"
        )
    return wanted


def _weights(name: str, wanted: str, checkpoint: str, nodes: dict[str, Any], url: str) -> str:
    kind, listed = WEIGHTS[name], _choices(name, nodes, url)
    if wanted:
        files = _listed(nodes, "ControlNetLoader", "control_net_name", url) if name == "controlnet" else []
        if wanted not in (*listed, *files):
            raise ComfyError(
                f"There is no {kind.what} {wanted!r} on {url}; it has {_some([*listed, *files])}, and reads models/"
                f"{kind.folder}"
            )
        return wanted
    return _fitting(name, checkpoint, nodes, url)[0]


def _fitting(name: str, checkpoint: str, nodes: dict[str, Any], url: str) -> list[str]:
    """What can go with a checkpoint, its own first; the bundled one's parts go with no other."""
    others = [entry for entry in _choices(name, nodes, url) if not entry.startswith(f"{DEMO.name}/")]
    own = [entry for entry in _choices(name, nodes, url) if entry.startswith(f"{checkpoint}/")]
    return [*own, *others]


def _choices(name: str, nodes: dict[str, Any], url: str) -> list[str]:
    """What the server lists of a kind of weights."""
    return _listed(nodes, WEIGHTS[name].node, WEIGHTS[name].input, url)


def _listed(nodes: dict[str, Any], node: str, name: str, url: str) -> list[str]:
    """The choices of a node's input."""
    kind, *settings = _inputs(nodes, node, url)[name]
    return kind if isinstance(kind, list) else settings[0]["options"]  # the older nodes' form, the newer ones'


def _inputs(nodes: dict[str, Any], node: str, url: str) -> dict[str, Any]:
    if node not in nodes:
        lacking = "the node pack" if not any(name.startswith("Qwen2VL") for name in nodes) else f"the node {node}"
        raise ComfyError(f"The ComfyUI on {url} does not have {lacking}; install or update {PACK} there and restart it")
    return nodes[node]["input"].get("required", {})


def _some(names: Sequence[str], most: int = 5) -> str:
    listed = ", ".join(names[:most]) or "none"
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
