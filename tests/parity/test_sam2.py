"""SAM 2 against Meta's own predictor (PyPI: sam2 1.1.0), on random weights at the true sizes of its models.

Both stretch the picture with the same filter on the same floats, so the pixels that enter are equal bit for bit and
all that is left is the order of sums inside the networks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
import torch
from annotator_weights import write_sam2
from goldens import relative_error

from systems.annotators.sam2.annotator import Sam2, at_picture_size, load_sam2, pixels_of
from systems.annotators.sam2.points import Box, Point, Prompt

LIMIT = 1e-5
# A wrong way has to be at least this far off.
WRONG = 1e-4

CONFIGURATION = "configs/sam{version}/sam{version}_hiera_{letter}.yaml"
ON, OFF = Point(0.3, 0.55), Point(0.72, 0.2, 0)
BOX, OTHER = Box(0.1, 0.2, 0.6, 0.9), Box(0.55, 0.05, 0.95, 0.5)
PROMPTS = {
    "a point": Prompt((ON,)),
    "points to keep and to leave out": Prompt((ON, Point(0.4, 0.6), OFF)),
    "a box": Prompt((), BOX),
    "a box and points": Prompt((ON, OFF), BOX),
    "another box": Prompt((), OTHER),
    "another box and its point": Prompt((OFF,), OTHER),
    "points in the corners": Prompt((Point(0.0, 0.0), Point(1.0, 1.0))),
    "the whole picture": Prompt((), Box(0.0, 0.0, 1.0, 1.0)),
}


def random_picture(height: int, width: int, seed: int) -> torch.Tensor:
    """Clouds with grain, [H, W, 3] uint8."""
    generator = torch.Generator().manual_seed(seed)
    clouds = torch.rand(1, 3, 7, 9, generator=generator)
    clouds = torch.nn.functional.interpolate(clouds, (height, width), mode="bicubic")[0].movedim(0, -1)
    grain = torch.rand(height, width, 3, generator=generator) * 0.2
    return ((clouds * 0.9 + grain).clamp(0, 1) * 255).round().to(torch.uint8)


PICTURES = {
    "wide": random_picture(197, 301, 1),
    "another wide": random_picture(197, 301, 2),
    "tall and large": random_picture(1500, 700, 3),
}


@dataclass
class Compared:
    """One model, and what Meta's predictor makes of pictures and prompts with the same file."""

    sam2: Sam2
    published: dict[str, torch.Tensor]
    runs: list[tuple[str, str]]
    embeddings: dict[str, list[torch.Tensor]] = field(default_factory=dict)

    def of(self, kind: str, picture: str, prompt: str) -> torch.Tensor:
        """The published low or high logits [3, H, W], or scores [3]."""
        return self.published[f"{kind}.{self.runs.index((picture, prompt))}"]

    def logits(self, picture: str, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The pack's own, embedding each picture once."""
        with torch.inference_mode():
            if picture not in self.embeddings:
                self.embeddings[picture] = self.sam2.embed(pixels_of(image(picture)[0]))
            return self.sam2.logits(self.embeddings[picture], PROMPTS[prompt])


def image(*names: str) -> torch.Tensor:
    """Pictures of one size as an IMAGE."""
    return torch.stack([PICTURES[name] for name in names]).float() / 255


def compare(oracle, path, configuration: str, runs: list[tuple[str, str]]) -> Compared:
    asked = []
    for picture, name in runs:
        prompt = PROMPTS[name]
        box = prompt.box and [prompt.box.x0, prompt.box.y0, prompt.box.x1, prompt.box.y1]
        points = [[point.x, point.y] for point in prompt.points] or None
        labels = [point.label for point in prompt.points] or None
        asked.append({"picture": picture, "points": points, "labels": labels, "box": box})
    pictures = {picture: PICTURES[picture] for picture, _ in runs}
    published = oracle("segment_anything_2", pictures, path, configuration, json.dumps(asked))
    return Compared(load_sam2(path), published, runs)


@pytest.fixture(scope="module")
def tiny(oracle, tmp_path_factory) -> Compared:
    path = write_sam2(tmp_path_factory.mktemp("sam2") / "sam2.1_hiera_tiny.pt")
    runs = [(picture, prompt) for picture in PICTURES for prompt in PROMPTS]
    return compare(oracle, path, CONFIGURATION.format(version="2.1", letter="t"), runs)


@pytest.mark.parametrize("picture", PICTURES)
def test_pixels_are_equal(tiny, picture):
    assert torch.equal(pixels_of(image(picture)[0])[0], tiny.published[f"pixels.{picture}"])


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("picture", PICTURES)
def test_logits_and_scores(tiny, picture, prompt):
    logits, scores = tiny.logits(picture, prompt)
    assert relative_error(logits.clamp(-32, 32), tiny.of("low", picture, prompt)) <= LIMIT
    resized = at_picture_size(logits, *PICTURES[picture].shape[:2])
    assert relative_error(resized, tiny.of("high", picture, prompt)) <= LIMIT
    assert relative_error(scores, tiny.of("scores", picture, prompt)) <= LIMIT


def test_another_prompt_gives_another_mask(tiny):
    """So that the comparison above compares something."""
    for prompt in list(PROMPTS)[1:]:
        assert relative_error(tiny.of("low", "wide", prompt), tiny.of("low", "wide", "a point")) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant, letter, version", [("small", "s", "2.1"), ("base plus", "b+", "2"), ("large", "l", "2.1")]
)
def test_larger_models(oracle, tmp_path, variant, letter, version):
    """Their backbones differ in every number: width, heads, blocks, windows, global blocks, background embedding."""
    path = write_sam2(tmp_path / "weights.pt", variant, version)
    runs = [("wide", "a box and points")]
    compared = compare(oracle, path, CONFIGURATION.format(version=version, letter=letter), runs)
    logits, scores = compared.logits(*runs[0])
    assert relative_error(logits.clamp(-32, 32), compared.of("low", *runs[0])) <= LIMIT
    assert relative_error(scores, compared.of("scores", *runs[0])) <= LIMIT


def published_candidates(tiny: Compared, picture: str, prompt: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Masks [3, H, W] and scores [3] as published, highest score first, and where a mask is beyond doubt."""
    logits, scores = tiny.of("high", picture, prompt), tiny.of("scores", picture, prompt)
    order = scores.argsort(descending=True)
    return logits[order] > 0, scores[order], logits[order].abs() > LIMIT * logits.abs().max()


def test_all_candidates(tiny):
    """Of two boxes, with the point inside the second, on a batch of two pictures."""
    names = ("wide", "another wide")
    with torch.inference_mode():
        found = tiny.sam2.segment(image(*names), [OFF], [BOX, OTHER], "all")
    assert found.masks.shape == (12, 197, 301) and found.overlays.shape == (12, 197, 301, 3)
    cases = [(name, prompt) for name in names for prompt in ("a box", "another box and its point")]
    for number, case in enumerate(cases):
        masks, scores, certain = published_candidates(tiny, *case)
        own = slice(3 * number, 3 * number + 3)
        assert torch.equal(found.masks[own].bool() & certain, masks & certain), case
        assert torch.allclose(torch.tensor(found.scores[own]), scores, rtol=LIMIT), case
        assert found.scores[own] == sorted(found.scores[own], reverse=True)


def test_best_unites_the_boxes(tiny):
    with torch.inference_mode():
        found = tiny.sam2.segment(image("wide"), [], [BOX, OTHER])
    assert found.masks.shape == (1, 197, 301) and len(found.scores) == 1
    first, second = (published_candidates(tiny, "wide", prompt) for prompt in ("a box", "another box"))
    certain = first[2][0] & second[2][0]
    assert torch.equal(found.masks[0].bool() & certain, (first[0][0] | second[0][0]) & certain)
    assert found.scores[0] == pytest.approx(min(first[1][0].item(), second[1][0].item()), rel=LIMIT)
    assert 0 < found.masks.mean() < 1


def bgr(pixels: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    return pixels_of(picture.flip(-1))


def without_mean_and_deviation(pixels: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return pixels * std[:, None, None] + mean[:, None, None]


def without_antialias(pixels: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    square = torch.nn.functional.interpolate(picture.movedim(-1, 0)[None], (1024, 1024), mode="bilinear")
    return (square - mean[:, None, None]) / std[:, None, None]


def by_the_processor_of_transformers(pixels: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    from transformers import Sam2ImageProcessor

    eight_bits = (picture * 255).round().to(torch.uint8).movedim(-1, 0)
    return Sam2ImageProcessor()(images=eight_bits, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize(
    "wrong", [bgr, without_mean_and_deviation, without_antialias, by_the_processor_of_transformers]
)
def test_wrong_pixels_are_seen(tiny, wrong):
    """transformers' own processor rounds the stretched picture to 8 bits, which is why the pack does not use it."""
    name = "tall and large"
    picture = image(name)[0]
    with torch.inference_mode():
        embeddings = tiny.sam2.embed(wrong(pixels_of(picture), picture))
        logits, _ = tiny.sam2.logits(embeddings, PROMPTS["a point"])
    assert relative_error(logits, tiny.of("low", name, "a point")) > WRONG


def flipped_labels(prompt: Prompt) -> Prompt:
    return Prompt(tuple(Point(point.x, point.y, 1 - point.label) for point in prompt.points), prompt.box)


def rows_for_columns(prompt: Prompt) -> Prompt:
    return Prompt(tuple(Point(point.y, point.x, point.label) for point in prompt.points), prompt.box)


def points_left_out(prompt: Prompt) -> Prompt:
    return Prompt((), prompt.box)


def box_left_out(prompt: Prompt) -> Prompt:
    return Prompt(prompt.points)


@pytest.mark.parametrize("wrong", [flipped_labels, rows_for_columns, points_left_out, box_left_out])
def test_wrong_prompts_are_seen(tiny, wrong):
    tiny.logits("wide", "a box and points")
    with torch.inference_mode():
        logits, _ = tiny.sam2.logits(tiny.embeddings["wide"], wrong(PROMPTS["a box and points"]))
    assert relative_error(logits, tiny.of("low", "wide", "a box and points")) > WRONG


def test_a_single_mask_is_not_the_best_of_three(tiny):
    """`multimask_output=False` takes a mask of its own, which the published way never shows."""
    tiny.logits("wide", "a point")
    points = torch.tensor([[[[ON.x, ON.y]]]]) * 1024
    with torch.inference_mode():
        single = tiny.sam2.network.model(
            image_embeddings=tiny.embeddings["wide"],
            input_points=points,
            input_labels=torch.ones(1, 1, 1, dtype=torch.int64),
            multimask_output=False,
        )
    best = tiny.of("low", "wide", "a point")[tiny.of("scores", "wide", "a point").argmax()]
    assert single.pred_masks.shape[2] == 1
    assert relative_error(single.pred_masks[0, 0, 0], best) > WRONG


def test_embeddings_without_the_no_memory_embedding_are_seen(tiny):
    tiny.logits("wide", "a point")
    *fine, coarse = tiny.embeddings["wide"]
    with torch.inference_mode():
        bare = coarse - tiny.sam2.network.model.no_memory_embedding.movedim(-1, 1)[..., None]
        logits, _ = tiny.sam2.logits([*fine, bare], PROMPTS["a point"])
    assert relative_error(logits, tiny.of("low", "wide", "a point")) > WRONG
