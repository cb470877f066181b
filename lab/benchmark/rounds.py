"""What is measured, round by round; each gives figures for the report, and images for the sheets."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from client.qwen2vl_flux.graph import Prompt, node, variation
from systems.common.sizes import PUBLISHED_SIZES, output_size
from systems.qwen2vl_flux.focus import MODES

from ..world.scenes import UNIT
from .checkpoint_server import GUIDANCE, STEPS, CheckpointServer, Figures, Made, Show, verdicts_on
from .held_out import References, as_picture, as_values, held_out, share_met
from .judge import Verdict, judge
from .modes import Modes
from .scores import Content, contents, difference, matches, place, shares, shuffled, spread, steered, steering

SQUARE = "1:1"
SHAPES = tuple(ratio for ratio in PUBLISHED_SIZES if ratio != SQUARE)
# The radius of the published circle.
RADIUS = 0.5
# The number of images of a reference in the first round. Of 200 references 16 have three objects: that fraction, with
# one image of each, would be uncertain by a tenth.
DRAWN = 4
# The number of images of a reference whose layouts are compared.
SEEDS = 4
# The number of random layouts that give the spread by chance.
LAYOUTS = 2000


@dataclass(frozen=True)
class Rounds:
    """The rounds, on one server; `number` is that of the references of the first, the others have a part of it."""

    server: CheckpointServer
    number: int
    show: Show

    def figures(self) -> Figures:
        """Everything that is measured."""
        return {
            "references": self.number,
            "steps": STEPS,
            "guidance": GUIDANCE,
            **self.variation(),
            "focus": self.focus(),
            "diversity": self.diversity(),
            "shapes": self.shapes(),
            "modes": Modes(self.server, math.ceil(self.number / 8), self.show).figures(),
        }

    def variation(self) -> Figures:
        """Variations of the references, with what chance gives, and what the judge says of images that are right: as
        they are drawn, and after the autoencoder."""
        references = held_out(self.number, turn=0)
        wanted = contents(references.scenes)
        names = self.server.put("reference", references.pictures())
        prompts = [self._prompt(name, seed) for seed, name in enumerate(names * DRAWN)]
        effort = self.server.effort(prompts)
        judged = self._judged("variation", prompts, references.repeated(DRAWN))
        turns = [judged[start : start + self.number] for start in range(0, len(judged), self.number)]
        own_size = self.server.put("render", references.pictures(UNIT))
        passed = verdicts_on(self.server.make("autoencoder", self.server.reconstructions(own_size)))
        drawn = [judge(values) for values in references.renders()]

        return {
            "drawn": DRAWN,
            "met": share_met(references.scenes),
            "effort": effort,
            "variation": {
                "pictures": shares(matches(judged, wanted * DRAWN)),
                "chance": shares([match for turn in turns for match in shuffled(turn, wanted)]),
                "autoencoder": shares(matches(passed, wanted)),
                "renders": shares(matches(drawn, wanted)),
            },
        }

    def focus(self) -> Figures:
        """The published circle on one of two objects, in each mode; without it; and as a mask of the published weights
        that is computed here."""
        references = held_out(math.ceil(self.number / 2), turn=1, count=2)
        wanted = contents(references.scenes)
        alone = contents(references.scenes.only(torch.zeros(len(references), dtype=torch.long)))
        names = self.server.put("focus", references.pictures())
        centres = references.layout.centre[:, 0].tolist()
        dots = [json.dumps([{"x": x, "y": y, "r": RADIUS, "w": 1}]) for x, y in centres]

        def rates(made: Sequence[Made], what: str) -> dict[str, float]:
            verdicts = verdicts_on(made)
            results = [steered(*pair) for pair in zip(verdicts, wanted, strict=True)]
            self._show(what, references, made, verdicts, alone, [result.strict for result in results])
            return steering(results)

        figures: Figures = {}
        free = [self._prompt(name, seed) for seed, name in enumerate(names)]
        figures["without"] = rates(self.server.make("no focus", free), "focus_none")
        shown: dict[str, list[Made]] = {}
        for mode in MODES:
            prompts = [
                self._prompt(name, seed, dots=circle, focus_mode=mode)
                for seed, (name, circle) in enumerate(zip(names, dots, strict=True))
            ]
            shown[mode] = self.server.make(f"focus, {mode}", prompts)
            figures[mode] = rates(shown[mode], f"focus_{mode}")
        grids = [made.prompt.run.outputs["focus"]["griddot"][0] for made in shown["scale"]]
        maps = [
            published_circle(x, y, RADIUS, grid["rows"], grid["columns"])
            for (x, y), grid in zip(centres, grids, strict=True)
        ]
        masks = self.server.put("map", (as_picture(each) for each in maps))
        prompts = [
            masked(self._prompt(name, seed, dots=circle), mask)
            for seed, (name, circle, mask) in enumerate(zip(names, dots, masks, strict=True))
        ]
        figures["published"] = rates(self.server.make("focus, published arithmetic", prompts), "focus_published")
        figures["map error"] = max(self._map_error(made, each) for made, each in zip(shown["scale"], maps, strict=True))
        return figures

    def diversity(self) -> Figures:
        """Where the same object lies in images of different seeds, beside random layouts."""
        references = held_out(math.ceil(self.number / 8), turn=2)
        names = self.server.put("diversity", references.pictures())
        prompts = [self._prompt(name, seed) for name in names for seed in range(SEEDS)]
        made = self.server.make("diversity", prompts)
        verdicts = verdicts_on(made)
        centres = []
        for index, content in enumerate(contents(references.scenes)):
            of_seeds = verdicts[index * SEEDS : (index + 1) * SEEDS]
            for wanted in content.striped:
                places = [place(verdict, wanted) for verdict in of_seeds]
                if None not in places:
                    centres.append(places)
        rows = [
            (picture, *(each.picture for each in made[index * SEEDS : (index + 1) * SEEDS]))
            for index, picture in enumerate(references.pictures(UNIT))
        ]
        self.show("diversity", rows, [f"seeds 0 to {SEEDS - 1}"] * len(rows))
        many = held_out(LAYOUTS * SEEDS, turn=3)
        apart = many.layout.centre[:, 0].unflatten(0, (-1, SEEDS))
        return {
            "objects": len(centres),
            "pictures": spread(torch.tensor(centres).reshape(-1, SEEDS, 2) / UNIT, many.layout.canvas),
            "chance": spread(apart, many.layout.canvas),
        }

    def shapes(self) -> Figures:
        """Exact sets in images that are not square, and of references that are not."""
        number = math.ceil(self.number / 5)
        figures: dict[str, dict[str, float]] = {"pictures": {}, "references": {}}
        for turn, ratio in enumerate(SHAPES, start=4):
            name = ratio.replace(":", "x").replace(".", "_")
            canvas = tuple(extent / UNIT for extent in output_size(ratio, UNIT))
            for kind, of_reference, of_picture in (
                ("pictures", (1.0, 1.0), ratio),
                ("references", canvas, SQUARE),
            ):
                references = held_out(number, turn, of_reference)
                names = self.server.put(f"{kind}_{name}", references.pictures())
                prompts = [self._prompt(each, seed, aspect_ratio=of_picture) for seed, each in enumerate(names)]
                verdicts = self._judged(f"{kind}_{name}", prompts, references)
                figures[kind][ratio] = shares(matches(verdicts, contents(references.scenes)))["exact"]
        return figures

    def _prompt(self, image: str, seed: int, **settings: object) -> Prompt:
        return variation(image, **{**self.server.settings, "seed": seed, **settings})

    def _judged(self, what: str, prompts: Sequence[Prompt], references: References) -> list[Verdict]:
        """Verdicts on what prompts give, one for each reference; sheets show which is exact."""
        made = self.server.make(what, prompts)
        verdicts = verdicts_on(made)
        wanted = contents(references.scenes)
        right = [each.exact for each in matches(verdicts, wanted)]
        self._show(what, references, made, verdicts, wanted, right)
        return verdicts

    def _show(
        self,
        what: str,
        references: References,
        made: Sequence[Made],
        verdicts: Sequence[Verdict],
        wanted: Sequence[Content],
        right: Sequence[bool],
    ) -> None:
        remarks = [
            f"{index} {'right' if good else 'wrong'} {difference(*pair)}"
            for index, (good, *pair) in enumerate(zip(right, verdicts, wanted, strict=True))
        ]
        pictures = (each.picture for each in made)
        self.show(what, list(zip(references.pictures(UNIT), pictures, strict=True)), remarks)

    def _map_error(self, made: Made, published: torch.Tensor) -> float:
        """Most difference between the focus map that a run shows, as an image, and the published weights."""
        shown = as_values(made.prompt.shown("focus_save")[0])[..., 0]
        rows, columns = published.shape[:2]
        height, width = shown.shape
        row = (torch.arange(height) + 0.5) * rows / height
        column = (torch.arange(width) + 0.5) * columns / width
        return float((shown - published[row.long()[:, None], column.long()[None], 0]).abs().max())


def published_circle(x: float, y: float, radius: float, rows: int, columns: int) -> torch.Tensor:
    """The published weights of the tokens as a grey image [rows, columns, 3] in 0..1.

    As written in create_attention_matrix of https://github.com/erwold/qwen2vl-flux, token by token.
    """
    weights = [
        [
            min(max(1 - math.hypot(column - x * columns, row - y * rows) / (radius * min(rows, columns)), 0), 1)
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    return torch.tensor(weights)[..., None].expand(-1, -1, 3)


def masked(prompt: Prompt, mask: str) -> Prompt:
    """A prompt with a focus whose weights come from a mask in place of its dots."""
    focus = prompt["focus"]
    inputs = {**focus["inputs"], "dots": "", "mask": ["mask", 0]}
    return {
        **prompt,
        "mask": node("LoadImageMask", image=mask, channel="red"),
        "focus": {**focus, "inputs": inputs},
    }
