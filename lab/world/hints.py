"""What the annotators should see in a scene: its depth and its outlines."""

from __future__ import annotations

import torch

from .scenes import Layout, Scenes, coverage

# The depth of the ground at the image's top, and how much nearer it comes towards the bottom.
FAR, NEARER = 0.08, 0.2
# The depth of an object at its radius, and how much nearer its centre is.
EDGE, DOME = 0.6, 0.4


def depth(scenes: Scenes, layout: Layout, height: int, width: int) -> torch.Tensor:
    """[B, 1, height, width] in 0..1, near is 1: a ground that rises towards the top, and domed objects before it."""
    covered, _ = coverage(scenes, layout, height, width)
    scale = width / layout.canvas[0]
    x, y = ((torch.arange(pixels) + 0.5) / scale for pixels in (width, height))
    ground = FAR + NEARER * y / layout.canvas[1]
    near = ground[:, None].expand(len(scenes), 1, height, width)
    for each in range(covered.shape[1]):
        centre, radius = layout.centre[:, each, :, None, None], layout.radius[:, each, None, None]
        distance = ((x - centre[:, 0]) ** 2 + (y[:, None] - centre[:, 1]) ** 2) / radius**2
        near = torch.lerp(near, (EDGE + DOME * (1 - distance).clamp(min=0))[:, None], covered[:, each, None])
    return near


def outlines(scenes: Scenes, layout: Layout, height: int, width: int) -> torch.Tensor:
    """[B, 1, height, width] in 0..1: white lines of about two pixels around the objects, on black."""
    covered, _ = coverage(scenes, layout, height, width)
    any_object = covered.amax(1, keepdim=True)
    widest = torch.nn.functional.max_pool2d(any_object, 3, 1, 1)
    narrowest = -torch.nn.functional.max_pool2d(-any_object, 3, 1, 1)
    return widest - narrowest
