"""Maps and masks from an image."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..systems.annotators.anyline import annotator as anyline_annotator
from ..systems.annotators.depth_anything import annotator as depth_annotator
from ..systems.annotators.sam2 import annotator as sam2_annotator
from ..systems.annotators.sam2 import points as sam2_points
from ..systems.common.errors import InputError
from ..systems.common.images import check_picture
from .checked import CheckedNode
from .types import CATEGORY, own_type

DepthAnythingV2Model = own_type("DEPTH_ANYTHING_V2", depth_annotator.DepthAnything)
AnyLineModel = own_type("ANYLINE", anyline_annotator.AnyLine)
Sam2Model = own_type("SAM2", sam2_annotator.Sam2)

ANNOTATORS_MENU = f"{CATEGORY}/annotators"


class Qwen2VLFluxDepthAnythingV2Loader(CheckedNode):
    """A Depth Anything V2 model from a file, for the node below."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxDepthAnythingV2Loader",
            display_name="Load Depth Anything V2",
            category=ANNOTATORS_MENU,
            description="Loads a Depth Anything V2 model, which tells near from far in an image.",
            search_aliases=["depth anything", "depth estimation", "depth loader"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=depth_annotator.FILES.names(),
                    tooltip="A .pth or .safetensors file, or a Hugging Face folder, in models/depthanything (such as "
                    "depth_anything_v2_vitl.pth), or in depth-anything-v2 of a checkpoint. Small, base or large is "
                    "seen from the file itself, any other size from a folder's config.json.",
                )
            ],
            outputs=[
                DepthAnythingV2Model.Output(
                    "depth_anything", display_name="depth_anything", tooltip="Model for Depth Anything V2 Map."
                )
            ],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(depth_annotator.load_depth_anything(depth_annotator.FILES.path(file)))


class Qwen2VLFluxDepthAnythingV2Map(CheckedNode):
    """A depth map of each image, as a hint for ControlNets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxDepthAnythingV2Map",
            display_name="Depth Anything V2 Map",
            category=ANNOTATORS_MENU,
            description="Draws how near each part of an image is, from black (far) to white (near).",
            search_aliases=["depth map", "depth anything", "depth estimation", "controlnet preprocessor"],
            inputs=[
                DepthAnythingV2Model.Input("depth_anything", tooltip="Model from Load Depth Anything V2."),
                io.Image.Input("image", tooltip="Image or a batch of one size; each is mapped by itself."),
            ],
            outputs=[
                io.Image.Output(
                    "depth", display_name="depth", tooltip="Depth maps of the image's size, a hint for ControlNets."
                )
            ],
        )

    @classmethod
    def execute(cls, depth_anything: depth_annotator.DepthAnything, image: torch.Tensor) -> io.NodeOutput:
        return io.NodeOutput(depth_anything.depth(image))


class Qwen2VLFluxAnyLineLoader(CheckedNode):
    """The AnyLine edge detector from a file, for the node below."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxAnyLineLoader",
            display_name="Load AnyLine",
            category=ANNOTATORS_MENU,
            description="Loads the AnyLine detector, which draws the edge map of an image.",
            search_aliases=["mteed", "teed", "line art", "edge detection", "line loader"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=anyline_annotator.FILES.names(),
                    tooltip="MTEED.pth, or the same as .safetensors, in models/anyline, or in anyline of a checkpoint.",
                )
            ],
            outputs=[AnyLineModel.Output("anyline", display_name="anyline", tooltip="Detector for AnyLine Map.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(anyline_annotator.load_anyline(anyline_annotator.FILES.path(file)))


class Qwen2VLFluxAnyLineMap(CheckedNode):
    """An edge map of each image, as a hint for ControlNets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxAnyLineMap",
            display_name="AnyLine Map",
            category=ANNOTATORS_MENU,
            description="Draws the edge map of an image: its edges and dark lines, white on black.",
            search_aliases=["line art", "edge map", "canny", "teed", "controlnet preprocessor"],
            inputs=[
                AnyLineModel.Input("anyline", tooltip="Detector from Load AnyLine."),
                io.Image.Input("image", tooltip="Image or a batch of one size; each is mapped by itself."),
                io.Int.Input(
                    "resolution",
                    default=anyline_annotator.RESOLUTION,
                    min=64,
                    max=4096,
                    step=64,
                    tooltip="Length of the shorter side at which lines are looked for: more finds finer ones and takes "
                    "longer. 1280 as published.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "lines", display_name="lines", tooltip="Edge maps of the image's size, a hint for ControlNets."
                )
            ],
        )

    @classmethod
    def execute(cls, anyline: anyline_annotator.AnyLine, image: torch.Tensor, resolution: int) -> io.NodeOutput:
        return io.NodeOutput(anyline.lines(image, resolution))


class Qwen2VLFluxSAM2Loader(CheckedNode):
    """A SAM 2 or 2.1 model from a file, for the node below."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxSAM2Loader",
            display_name="Load SAM 2",
            category=ANNOTATORS_MENU,
            description="Loads a SAM 2 or SAM 2.1 model, which cuts out what points and boxes show.",
            search_aliases=["segment anything", "sam2.1", "segmentation", "sam loader"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=sam2_annotator.FILES.names(),
                    tooltip="Meta's .pt or .safetensors, or a Hugging Face folder, in models/sam2 (such as "
                    "sam2_hiera_large.pt), or in segment-anything-2 of a checkpoint. Tiny to large, 2 or 2.1, is "
                    "seen from the file itself.",
                )
            ],
            outputs=[Sam2Model.Output("sam2", display_name="sam2", tooltip="Model for SAM 2 Segment.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(sam2_annotator.load_sam2(sam2_annotator.FILES.path(file)))


class Qwen2VLFluxSAM2Segment(CheckedNode):
    """A mask of the objects that points and boxes show; the panel in web/sam2 writes both."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxSAM2Segment",
            display_name="SAM 2 Segment",
            category=ANNOTATORS_MENU,
            description="Cuts objects out of an image: points say what belongs to the object, boxes lie around one. "
            "The mask fits GridDot Focus and inpainting.",
            search_aliases=["segment anything", "sam2", "mask from points", "mask from box", "cut out"],
            inputs=[
                Sam2Model.Input("sam2", tooltip="Model from Load SAM 2."),
                io.Image.Input("image", tooltip="Image or a batch of one size, all with the same points and boxes."),
                io.String.Input(
                    "points",
                    default="",
                    multiline=True,
                    placeholder=sam2_points.POINTS_EXAMPLE,
                    dynamic_prompts=False,
                    tooltip="JSON list of points, written by the panel or by hand. x, y: 0 to 1 from the top left, or "
                    "pixels (see coordinates); label: 1 lies on the object, 0 beside it (default: 1).",
                ),
                io.String.Input(
                    "box",
                    default="",
                    multiline=True,
                    placeholder=sam2_points.BOX_EXAMPLE,
                    dynamic_prompts=False,
                    tooltip="JSON list of left, top, right, bottom around one object, written by the panel or by hand, "
                    "0 to 1 from the top left, or pixels (see coordinates); or a list of such boxes, one for each "
                    "object.",
                ),
                io.Combo.Input(
                    "candidates",
                    options=list(sam2_annotator.CANDIDATES),
                    tooltip="best gives one mask for each image: the likeliest of each box, united. all gives the "
                    "three masks that the model proposes for each box, the likeliest first.",
                ),
                io.Combo.Input(
                    "coordinates",
                    options=list(sam2_points.COORDINATES),
                    default=sam2_points.COORDINATES[0],
                    optional=True,
                    tooltip="What the points and boxes count in: fraction is 0 to 1 of the image's width and height; "
                    "pixels is pixels of the image as it comes in, which points editors of other packs write.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="White on the object, at the size of the image, with hard edges; Grow Mask or a mask blur "
                    "after this node softens them.",
                ),
                io.Image.Output(
                    "overlay", display_name="overlay", tooltip="The image with its mask, points and boxes drawn in."
                ),
                io.Float.Output(
                    "score",
                    display_name="score",
                    is_output_list=True,
                    tooltip="How good the model believes each mask to be, about 0 to 1; the lowest where boxes were "
                    "united.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, points: str | None = None, box: str | None = None, coordinates: str | None = "fraction"
    ) -> bool | str:
        if coordinates is None:  # as all are while they come from another node
            return True
        try:
            parsed = (
                sam2_points.parse_points(points or "", coordinates),
                sam2_points.parse_boxes(box or "", coordinates),
            )
            if points is not None and box is not None:
                sam2_points.check_prompts(*parsed)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        sam2: sam2_annotator.Sam2,
        image: torch.Tensor,
        points: str,
        box: str,
        candidates: str,
        coordinates: str = "fraction",
    ) -> io.NodeOutput:
        asked = sam2_points.parse_points(points, coordinates), sam2_points.parse_boxes(box, coordinates)
        if coordinates == "pixels":
            asked = sam2_points.in_fractions(*asked, *check_picture(image).shape[1:3])
        found = sam2.segment(image, *asked, candidates)
        return io.NodeOutput(found.masks, found.overlays, found.scores)


FILES = (depth_annotator.FILES, anyline_annotator.FILES, sam2_annotator.FILES)
NODES = [
    Qwen2VLFluxDepthAnythingV2Loader,
    Qwen2VLFluxDepthAnythingV2Map,
    Qwen2VLFluxAnyLineLoader,
    Qwen2VLFluxAnyLineMap,
    Qwen2VLFluxSAM2Loader,
    Qwen2VLFluxSAM2Segment,
]
