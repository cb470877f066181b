"""Makes docs/variations.jpg and the workflows' thumbnails anew, with the embedded checkpoint and on a real server: each
thumbnail by the graph of its workflow, on the scenes of demo/ that suit it. Single files give what the folder gives.

SAM 2 is no part of the embedded checkpoint; where a workflow uses it, the object is masked by hand as it would.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from automation.client import ComfyClient, Run
from automation.graphs import (
    Hint,
    Prompt,
    controlnet,
    focus_over_time,
    image_to_image,
    inpaint,
    node,
    two_references,
    variation,
)
from automation.server import ComfyServer, default_comfyui, leave_on_terminate
from automation.sheet import focus_overlay

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / "workflows"
REFERENCE, OTHER, TARGET = "reference", "plus_and_circle", "circle_and_square"
CIRCLE, SQUARE = (0.28, 0.68, 0.5), (0.72, 0.32, 0.5)
PLUS = (0.72, 0.7, 0.4)
HINTS = [Hint("depth", "demo/depth-anything-v2/scenes", 0.2), Hint("line", "demo/anyline/MTEED.safetensors", 0.4)]
UNION = "demo/controlnet"
SEED, BATCH = 4, 4
"""Of the workflows."""

SIDE, GAP = 297, 6
NIGHT, WHITE = "#171718", "#ffffff"
CELL, MARGIN, SPACE, LABEL = 180, 20, 10, 24
PAPER, INK, FAINT = "#faf9f7", "#26241f", "#8a857c"

Tile = tuple[str, Image.Image]


@dataclass(frozen=True)
class Room:
    """The server, and the pictures that it has."""

    client: ComfyClient
    given: dict[str, Image.Image]

    def run(self, prompt: Prompt) -> Run:
        return self.client.run(prompt)

    def made(self, run: Run, node_id: str = "save") -> list[Image.Image]:
        return [Image.open(io.BytesIO(self.client.fetch(image))) for image in run.outputs[node_id]["images"]]

    def put(self, name: str, picture: Image.Image) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.png")
            picture.save(path)
            return self.client.upload_image(path)


def main() -> None:
    leave_on_terminate()
    with room() as opened:
        variations(opened).save(ROOT / "docs" / "variations.jpg", quality=90, optimize=True)
        for name, tiles in thumbnails(opened):
            thumbnail(tiles).save(WORKFLOWS / f"{name}.jpg", quality=88, optimize=True)
            print(WORKFLOWS / f"{name}.jpg", flush=True)


@contextmanager
def room() -> Iterator[Room]:
    files = [ROOT / "demo" / "reference.png", *sorted((ROOT / "demo" / "scenes").glob("*.png"))]
    with tempfile.TemporaryDirectory() as scratch:
        folders = {f"{kind}_dir": Path(scratch, kind) for kind in ("output", "input", "temp", "user")}
        log = ROOT / ".dev" / "docs.log"
        with ComfyServer(default_comfyui(), extra_args=["--disable-api-nodes"], log=log, **folders) as server:
            client = ComfyClient(server.url)
            for path in files:
                client.upload_image(path)
            yield Room(client, {path.stem: Image.open(path).convert("RGB") for path in files})


# ---- the README's picture ------------------------------------------------------------------------------------------


def variations(room: Room) -> Image.Image:
    """Variations of the reference: of all of it, and under a focus on either object."""
    rows = [("reference", ""), ("focus on the circle", dots(CIRCLE)), ("focus on the square", dots(SQUARE))]
    step = CELL + SPACE
    width = 2 * MARGIN + (BATCH + 1) * step
    sheet = Image.new("RGB", (width, 2 * MARGIN + len(rows) * (step + LABEL)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (label, focus) in enumerate(rows):
        runs = [room.run(variation(file(REFERENCE), dots=focus, steps=20, seed=seed)) for seed in range(BATCH)]
        picture = room.given[REFERENCE]
        if focus:
            picture = overlay(room, runs[0], picture, (CIRCLE, SQUARE)[row - 1])
        tiles = [(label, picture), *((f"seed {seed}", room.made(run)[0]) for seed, run in enumerate(runs))]
        for column, (text, tile) in enumerate(tiles):
            left, top = MARGIN + column * step + (column > 0) * MARGIN // 2, MARGIN + row * (step + LABEL)
            sheet.paste(tile.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS), (left, top))
            draw.text((left, top + CELL + 4), text, FAINT if column else INK, ImageFont.load_default(13))
    return sheet


# ---- thumbnails ----------------------------------------------------------------------------------------------------


def thumbnails(room: Room) -> Iterator[tuple[str, list[Tile]]]:
    """The four tiles of each workflow."""
    four = {"batch_size": BATCH, "seed": SEED}
    given = room.given

    def results(prompt: Prompt) -> list[Tile]:
        return [("", picture) for picture in room.made(room.run(prompt))]

    plain = results(variation(file(REFERENCE), **four))
    yield "variation", [("reference", given[REFERENCE]), *plain[:3]]
    yield "variation_single_file", [("reference", given[REFERENCE]), *plain[:3]]
    words = results(variation(file(REFERENCE), prompt="flat shapes on a blue ground", **four))
    yield "variation_with_prompt", [("reference + words", given[REFERENCE]), *words[:3]]

    run = room.run(variation(file(REFERENCE), dots=dots(CIRCLE), **four))
    focused = ("focus", overlay(room, run, given[REFERENCE], CIRCLE))
    yield "variation_with_focus", [focused, *(("", picture) for picture in room.made(run)[:3])]

    run = room.run(focus_over_time(file(REFERENCE), dots=dots(CIRCLE), late=dots(SQUARE), **four))
    early = overlay(room, run, given[REFERENCE], CIRCLE)
    late = overlay(room, run, given[REFERENCE], SQUARE, "focus_late_save")
    yield "focus_over_time", [("at first", early), ("later", late), *(("", each) for each in room.made(run)[:2])]

    small = (*CIRCLE[:2], 0.4)
    parts = {"dots": dots(small), "other_dots": dots(PLUS), "focus_mode": "drop"}
    run = room.run(two_references(file(REFERENCE), file(OTHER), **parts, **four))
    one = overlay(room, run, given[REFERENCE], small)
    other = overlay(room, run, given[OTHER], PLUS, "focus_2_save")
    yield "two_references", [("of one", one), ("of another", other), *(("", each) for each in room.made(run)[:2])]

    redrawn = results(image_to_image(file(TARGET), reference=file(REFERENCE), **four))
    yield "image_to_image", [("picture", given[TARGET]), ("reference", given[REFERENCE]), *redrawn[:2]]

    mask = disc(given[REFERENCE].size, CIRCLE)
    name = room.put("mask", mask.convert("RGB"))
    repainted = results(inpaint(file(REFERENCE), name, **four))
    yield "inpaint", [("mask", whitened(given[REFERENCE], mask)), *repainted[:3]]
    yield "sam2_inpaint", [("object", ringed(given[REFERENCE], mask)), *repainted[:3]]
    focus = variation(file(REFERENCE), dots=dots(CIRCLE), **four)
    focus["focus"]["inputs"].update(dots="", mask=["mask", 0])
    focus["mask"] = node("LoadImageMask", image=name, channel="red")
    yield "sam2_focus", [("object", ringed(given[REFERENCE], mask)), *results(focus)[:3]]

    guided: dict[str, tuple[Prompt, Tile]] = {
        "controlnet": (
            controlnet(file(OTHER), HINTS, control_net=UNION, reference=file(REFERENCE), **four),
            ("picture", given[OTHER]),
        ),
        "controlnet_published": (
            controlnet(file(OTHER), HINTS, control_net=UNION, as_published=True, **four),
            ("picture", given[OTHER]),
        ),
        "controlnet_inpaint": (
            controlnet(file(REFERENCE), HINTS, control_net=UNION, mask=name, **four),
            ("mask", whitened(given[REFERENCE], mask)),
        ),
    }
    for title, (graph, first) in guided.items():
        run = room.run(graph)
        maps = [(label, room.made(run, f"{kind}_save")[0]) for kind, label in (("depth", "depth"), ("line", "lines"))]
        yield title, [first, *maps, ("", room.made(run)[0])]


# ---- tiles ---------------------------------------------------------------------------------------------------------


def thumbnail(tiles: Sequence[Tile]) -> Image.Image:
    """Two by two tiles, each with its caption."""
    made = Image.new("RGB", (2 * SIDE + GAP, 2 * SIDE + GAP), NIGHT)
    draw = ImageDraw.Draw(made, "RGBA")
    font = ImageFont.load_default(22)
    for index, (caption, picture) in enumerate(tiles):
        left, top = (place * (SIDE + GAP) for place in (index % 2, index // 2))
        made.paste(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, top))
        if caption:
            width = draw.textlength(caption, font=font)
            draw.rounded_rectangle((left + 10, top + 10, left + width + 30, top + 48), 9, fill=(23, 23, 24, 215))
            draw.text((left + 20, top + 15), caption, WHITE, font)
    return made


def overlay(
    room: Room, run: Run, picture: Image.Image, circle: tuple[float, float, float], node_id: str = "focus_save"
) -> Image.Image:
    return focus_overlay(picture, room.made(run, node_id)[0], circle)


def disc(size: tuple[int, int], circle: tuple[float, float, float]) -> Image.Image:
    """A mask over the reference's circle."""
    mask = Image.new("L", size)
    (x, y), radius = ((share * size[0] for share in circle[:2]), 0.22 * size[0])
    ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return mask


def whitened(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """A picture with what a mask covers under a white veil."""
    return Image.composite(Image.blend(picture, Image.new("RGB", picture.size, WHITE), 0.62), picture, mask)


def ringed(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """A picture with a mask's edge and a point in its middle."""
    shown = picture.copy()
    box = mask.getbbox()
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    draw = ImageDraw.Draw(shown)
    draw.ellipse(box, outline=WHITE, width=6)
    draw.ellipse((x - 12, y - 12, x + 12, y + 12), fill="#35c76f", outline=WHITE, width=4)
    return shown


def dots(circle: tuple[float, float, float]) -> str:
    return json.dumps([dict(zip("xyrw", (*circle, 1), strict=True))])


def file(scene: str) -> str:
    """What LoadImage calls a scene."""
    return f"{scene}.png"


if __name__ == "__main__":
    main()
