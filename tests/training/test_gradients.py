"""One step's gradients against the plain reference, parameter by parameter, through the real trainer."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import flux_reference as reference
import pytest
import torch
from torch import Tensor

from training.generators import generator_for
from training.output import Output
from training.qwen2vl_flux.batch import Batch, Patches
from training.qwen2vl_flux.checkpoint import export
from training.qwen2vl_flux.flow import RectifiedFlow
from training.qwen2vl_flux.networks import Networks, read_networks
from training.qwen2vl_flux.recipe import Qwen2VLFluxRecipe
from training.trainer import train

LIMIT = 1e-5
RECIPE = Qwen2VLFluxRecipe(steps=1, accumulation=1, precision="no", seed=3, gradient_checkpointing=False)
FLOW = RectifiedFlow()


class Keeping(torch.optim.Optimizer):
    """Keeps the gradients of a step and changes nothing."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter]):
        super().__init__(list(parameters.values()), {"lr": 1.0})
        self.parameters, self.gradients = parameters, {}

    def step(self) -> None:
        self.gradients = {name: value.grad.clone() for name, value in self.parameters.items()}


class Prepared:
    """Batches that are there already, one for each part."""

    def __init__(self, *parts: Batch):
        self.parts = parts

    def batch(self, step: int, part: int, rank: int) -> Batch:
        return self.parts[part]


@pytest.fixture
def networks(demo) -> Networks:
    """Networks of the demo checkpoint's sizes: every parameter of FLUX, the connector and the projection of prompts is
    in training. Matrices are drawn anew: trained ones are so steep for random latents that float32's rounding alone
    passes the limit. What is nought is filled, so that nothing is without influence."""
    networks = read_networks(demo, lambda double, single: ())
    networks.flux.requires_grad_(True)
    networks.t5_embedder.requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in networks.trainable().values():
            if value.dim() == 2:
                value.copy_(torch.randn(value.shape, generator=generator) / value.shape[1] ** 0.5)
            elif not value.any():
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return networks


def batch(networks: Networks, seed: int, focus: bool = False, prompt: bool = False) -> Batch:
    """Two oblong pictures of random latents, with 20 tokens."""
    generator = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return Batch(
        latents=random(2, 16, 6, 10),
        tokens=random(2, 20, networks.connector.in_features),
        weights=torch.rand(2, 20, generator=generator) if focus else None,
        prompt=random(2, 7, networks.t5_embedder.in_features) if prompt else None,
        pooled=random(2, networks.flux.config.pooled_projection_dim),
    )


def trained_gradients(
    networks: Networks, demo, folder, *parts: Batch, recipe: Qwen2VLFluxRecipe = RECIPE
) -> dict[str, Tensor]:
    """What the trainer's optimiser is given."""
    keeping = Keeping(networks.trainable())
    recipe = replace(recipe, accumulation=len(parts))
    output = Output(folder)
    with output.claim():
        train(
            recipe,
            networks,
            Prepared(*parts),
            FLOW,
            output,
            optimizers=lambda trained: [keeping],
            export=partial(export, demo),
        )
    return keeping.gradients


def reference_gradients(networks: Networks, *parts: Batch, wrong: str = "") -> dict[str, Tensor]:
    weights = {name: value.detach().clone().requires_grad_() for name, value in networks.trainable().items()}
    for turn, part in enumerate(parts):
        generator = generator_for(RECIPE.seed, 0, turn)
        noise = torch.randn(part.latents.shape, generator=generator)
        time = torch.sigmoid(torch.randn(len(noise), generator=generator))
        given = (part.latents, part.tokens, part.weights, part.prompt, part.pooled)
        loss = reference.loss(weights, *given, noise, time, FLOW.guidance, wrong)
        (loss / len(parts)).backward()
    return {name: value.grad for name, value in weights.items() if value.grad is not None}


def worst(gradients: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest of all parameters' max|difference| / max|reference|."""
    assert set(gradients) == set(expected)
    return max(float((gradients[name] - each).abs().max() / each.abs().max()) for name, each in expected.items())


CASES = {
    "plain": [{}],
    "accumulated": [{}, {}],
    "focus": [{"focus": True}],
    "prompt": [{"prompt": True}],
    "all": [{"focus": True, "prompt": True}, {"focus": True, "prompt": True}],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
def test_gradients(networks, demo, tmp_path, case, checkpointing):
    parts = [batch(networks, seed, **options) for seed, options in enumerate(CASES[case])]
    networks.t5_embedder.requires_grad_(parts[0].prompt is not None)
    recipe = replace(RECIPE, gradient_checkpointing=checkpointing)
    gradients = trained_gradients(networks, demo, tmp_path, *parts, recipe=recipe)
    assert worst(gradients, reference_gradients(networks, *parts)) <= LIMIT


@pytest.mark.parametrize("wrong", reference.WRONG)
def test_wrong_ways_are_seen(networks, demo, tmp_path, wrong):
    part = batch(networks, 0, focus=True, prompt=True)
    gradients = trained_gradients(networks, demo, tmp_path, part)
    off = reference_gradients(networks, part, wrong=wrong)
    assert worst({name: gradients[name] for name in off}, off) > 1000 * LIMIT


@pytest.mark.parametrize("layers", [0, 1])
def test_recomputed_encoder(demo, layers):
    """The encoder's gradients are those without recomputation, and none go down into layers that do not train."""

    def not_reached(module, inputs, made):
        assert not inputs[0].requires_grad

    gradients = []
    for recomputes in (False, True):
        networks = read_networks(demo, lambda double, single: (), qwen_layers=layers)
        networks.qwen.train()
        if recomputes:
            networks.checkpoint_gradients()
        networks.qwen.model.layers[0].register_forward_hook(not_reached)
        vision = networks.qwen.config.vision
        values = 3 * vision.temporal_patch * vision.patch**2
        patches = Patches(torch.randn(1, 24, values, generator=torch.Generator().manual_seed(0)), 4, 6)
        given = Batch(torch.zeros(1, 16, 4, 6), patches)
        networks.context(given).square().mean().backward()
        gradients.append({name: value.grad for name, value in networks.qwen.named_parameters() if value.requires_grad})
    assert len({name.split(".")[2] for name in gradients[0]}) == layers
    assert worst(*gradients) <= LIMIT if layers else gradients[0] == gradients[1] == {}


def test_log_of_a_step(networks, demo, tmp_path):
    """The loss in the log is the mean over the parts."""
    parts = [batch(networks, seed) for seed in range(2)]
    networks.t5_embedder.requires_grad_(False)
    trained_gradients(networks, demo, tmp_path, *parts)
    entry = json.loads(Output(tmp_path).log.read_text())
    losses = []
    for turn, part in enumerate(parts):
        with torch.no_grad():
            losses.append(FLOW.loss(networks, part, generator_for(RECIPE.seed, 0, turn))["loss"].item())
    assert entry["loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert entry["step"] == 1 and losses[0] != losses[1]
