"""What the other modes make of held-out scenes: each prompt is that of a bundled workflow but for a setting or two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw

from client.qwen2vl_flux.graph import Hint, Prompt, controlnet, image_to_image, inpaint, node, variation

from ..world.scenes import UNIT
from .checkpoint_server import CheckpointServer, Figures, Show, verdicts_on
from .held_out import References, as_values, held_out
from .judge import judge
from .scores import contents, difference, in_place, matches, shares

# The most pixels between an object in place and where it should be.
NEAR = 0.1 * UNIT
BATCH = 4
STRENGTHS = (0.4, 0.6, 0.8)
PUBLISHED = 0.8
# The half of the side of an inpainted square, in radii of the object that it hides.
ROOM = 1.2
UNION, DEPTH, LINE = "controlnet", "depth-anything-v2/scenes", "anyline/MTEED.safetensors"
FULL = 1.0


@dataclass(frozen=True)
class Modes:
    """The rounds on `number` references."""

    server: CheckpointServer
    number: int
    show: Show

    def figures(self) -> Figures:
        """references: their number; rates: by what was done, the share of exact sets, and of objects in place."""
        rates = {**self.guidance(), **self.batch(), **self.redrawn(), **self.repainted(), **self.controlled()}
        return {"references": self.number, "rates": rates}

    def guidance(self) -> Figures:
        """Other guidance, and a real guidance scale (cfg) against zeroed conditioning."""
        references = held_out(self.number, turn=20)
        names = self.server.put("guidance", references.pictures())
        settings = {f"guidance {value:g}": {"guidance": value} for value in (1.5, 5.0)}
        prompts = {
            title: [self._variation(name, seed, **remarks) for seed, name in enumerate(names)]
            for title, remarks in settings.items()
        }
        for scale in (1.5, 2.5):
            prompts[f"cfg {scale:g} at guidance 1"] = [
                with_scale(self._variation(name, seed, guidance=1.0), scale) for seed, name in enumerate(names)
            ]
        return self._rates("guidance", prompts, references)

    def batch(self) -> Figures:
        """Every image of a batch."""
        references = held_out(math.ceil(self.number / BATCH), turn=21)
        names = self.server.put("batch", references.pictures())
        prompts = [self._variation(name, seed, batch_size=BATCH) for seed, name in enumerate(names)]
        made = self.server.make("batch", prompts)
        batches = [each.prompt.shown("save") for each in made]
        rows = [[picture, *others] for picture, others in zip(references.pictures(UNIT), batches, strict=True)]
        self.show("batch", rows, [references.scenes.describe(index) for index in range(len(references))])
        verdicts = [judge(as_values(picture)) for some in batches for picture in some]
        wanted = [content for content in contents(references.scenes) for _ in range(BATCH)]
        return {f"batch of {BATCH}": {"exact": shares(matches(verdicts, wanted))["exact"]}}

    def redrawn(self) -> Figures:
        """Image to image: an image under its own tokens, at several strengths."""
        references = held_out(self.number, turn=22)
        names = self.server.put("redrawn", references.pictures())
        prompts = {
            f"image to image, strength {strength:g}": [
                image_to_image(name, strength=strength, seed=seed, **self.server.settings)
                for seed, name in enumerate(names)
            ]
            for strength in STRENGTHS
        }
        return self._rates("image_to_image", prompts, references, references)

    def repainted(self) -> Figures:
        """Inpaint: a square over the first of two objects is drawn again, under the tokens of the whole image."""
        references = held_out(self.number, turn=23, count=2)
        names = self.server.put("repainted", references.pictures())
        pictures, masks = list(references.pictures()), []
        for index, picture in enumerate(pictures):
            x, y = (references.layout.centre[index, 0] * picture.width).tolist()
            half = ROOM * float(references.layout.radius[index, 0]) * picture.width
            masks.append(Image.new("RGB", picture.size))
            ImageDraw.Draw(masks[-1]).rectangle((x - half, y - half, x + half, y + half), fill="white")
        hidden = self.server.put("mask", masks)
        prompts = {
            f"inpaint, strength {strength:g}": [
                inpaint(name, mask, strength=strength, seed=seed, **self.server.settings)
                for seed, (name, mask) in enumerate(zip(names, hidden, strict=True))
            ]
            for strength in (PUBLISHED, FULL)
        }
        hidden_one = references.scenes.only(torch.zeros(len(references), dtype=torch.long))
        small = [[mask.resize((UNIT, UNIT))] for mask in masks]
        return self._rates("inpaint", prompts, references, References(hidden_one, references.layout), small)

    def controlled(self) -> Figures:
        """ControlNet from pure noise: the tokens of one image, and the depth and lines of another layout of the same
        things; without any hint, the place is chance. Left out for a checkpoint without these parts."""
        references = held_out(self.number, turn=24)
        guides = references.laid_out_anew()
        looks, layouts = (
            self.server.put(name, pictures.pictures()) for name, pictures in (("look", references), ("layout", guides))
        )
        strengths = {
            "depth 0.2 and lines 0.4": (0.2, 0.4),
            "depth 1": (FULL, 0.0),
            "lines 1": (0.0, FULL),
            "no hint": (0.0, 0.0),
        }
        union, of_depth, of_lines = (f"{self.server.checkpoint}/{part}" for part in (UNION, DEPTH, LINE))
        prompts: dict[str, list[Prompt]] = {}
        for title, (depth, lines) in strengths.items():
            hints = [Hint("depth", of_depth, depth), Hint("line", of_lines, lines)]
            prompts[f"ControlNet, {title}"] = [
                controlnet(
                    layout,
                    hints,
                    control_net=union,
                    reference=look,
                    as_published=True,
                    seed=seed,
                    **self.server.settings,
                )
                for seed, (look, layout) in enumerate(zip(looks, layouts, strict=True))
            ]
        if any(self.server.unlisted(some[0]) for some in prompts.values()):
            return {}
        return self._rates("controlnet", prompts, references, guides)

    def _variation(self, name: str, seed: int, **settings: object) -> Prompt:
        return variation(name, **{**self.server.settings, "seed": seed, **settings})

    def _rates(
        self,
        what: str,
        prompts: dict[str, list[Prompt]],
        references: References,
        layout: References | None = None,
        given: Sequence[Sequence[Image.Image]] | None = None,
    ) -> Figures:
        """By title of some prompts each: the exact sets, and where a layout is given, its objects that are in place.
        The sheet has a row for each reference: what is `given` with it, its maps, and the images in order of the
        titles."""
        wanted = contents(references.scenes)
        queued = [prompt for some in zip(*prompts.values(), strict=True) for prompt in some]  # a reference at a time
        every = self.server.make(what, queued)
        made = {title: every[number :: len(prompts)] for number, title in enumerate(prompts)}
        rates: Figures = {}
        remarks = []
        for title, pictures in made.items():
            verdicts = verdicts_on(pictures)
            rates[title] = {"exact": shares(matches(verdicts, wanted))["exact"]}
            if layout is not None:
                rates[title]["in place"] = in_place(
                    verdicts, contents(layout.scenes), layout.layout.centre * UNIT, NEAR
                )
            remarks.append([difference(*pair) or "right" for pair in zip(verdicts, wanted, strict=True)])
        rows = []
        for index, picture in enumerate(references.pictures(UNIT)):
            some = [pictures[index] for pictures in made.values()]
            maps = [
                some[0].prompt.shown(f"{kind}_save")[0]
                for kind in ("depth", "line")
                if f"{kind}_save" in some[0].prompt.run.outputs
            ]
            beside = given[index] if given else []
            rows.append([picture, *beside, *maps, *(each.picture for each in some)])
        self.show(what, rows, [" | ".join(texts) for texts in zip(*remarks, strict=True)])
        return rates


def with_scale(prompt: Prompt, scale: float) -> Prompt:
    """A prompt sampled at a guidance scale against zeroed conditioning."""
    return {
        **prompt,
        "zeroed": node("ConditioningZeroOut", conditioning=["guidance", 0]),
        "guider": node("CFGGuider", model=["model", 0], positive=["guidance", 0], negative=["zeroed", 0], cfg=scale),
    }
