"""What is stated of a bundled workflow, once: its file in workflows/, its tests and its thumbnail follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .prompt import Prompt

# x and y of its centre and its radius, as fractions of an image's width, height and shorter side.
Circle = tuple[float, float, float]

# The image that is in the input folder of every new ComfyUI.
EXAMPLE = "example.png"
# The image of demo/ that a thumbnail shows for it.
REFERENCE = "reference.png"


@dataclass(frozen=True)
class Thumbnail:
    """How workflows/<name>.jpg is made: the workflow runs over images of demo/, and tiles of what goes in lie before
    those of what comes out.

    tiles: by label, the node whose image, focus, map or object is shown. images: by LoadImage node, its image. brush:
    the circle that is painted over them, as in ComfyUI's mask editor. point: x and y on the object whose mask takes
    the place of SAM 2, which has no small checkpoint. graph: one that gives the same images, where the workflow's own
    needs weights of others. band: words across all tiles.
    """

    tiles: Mapping[str, str]
    images: Mapping[str, str] = field(default_factory=lambda: {"image": REFERENCE})
    brush: Circle | None = None
    point: tuple[float, float] | None = None
    graph: Prompt | None = None
    band: str = ""


@dataclass(frozen=True)
class Workflow:
    """graph: in API form, as its file is. needs: what a person has to bring; without that it runs as it is, on the
    demo checkpoint. stand_ins: by node of the graph, what takes its place where only small weights are."""

    graph: Prompt
    thumbnail: Thumbnail
    needs: Literal["", "a painted mask", "other weights"] = ""
    stand_ins: Mapping[str, dict] = field(default_factory=dict)
