"""Makes the embedded checkpoint from nothing, in steps whose results stay for the next run."""

from __future__ import annotations

import argparse
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import FluxControlNetModel, FluxTransformer2DModel
from safetensors.torch import load_file
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import T5EncoderModel

from systems.qwen2vl_flux.checkpoint import read_config
from training.generators import generator_for
from training.output import Output
from training.protocols import Batches, Objective
from training.qwen2vl_flux.checkpoint import export
from training.qwen2vl_flux.networks import Networks, read_networks
from training.qwen2vl_flux.recipe import Qwen2VLFluxRecipe
from training.trainer import NewOptimizers, train

from ..world import pictures
from ..world.references import SIZES
from . import annotators, autoencoder, controlled, encoder, layout, model_card, pairs, prompts, rollouts, variation
from .previews import Previews
from .tensor_files import save_tensors

SEED = 2026

SQUARE = Qwen2VLFluxRecipe(
    steps=6000, batch_size=48, accumulation=1, max_norm=1.0, ema=0.998, gradient_checkpointing=False,
    seed=SEED, log_every=50, save_every=500, sample_every=1000,
)  # fmt: skip
SQUARE_RATE, SQUARE_TURN = 2.5e-3, 0.4
SEVERAL = replace(SQUARE, steps=9000, seed=SEED + 5)
SEVERAL_RATE, SEVERAL_TURN = 2.2e-3, 0.35
SETTLED = replace(SQUARE, steps=7500, seed=SEED + 6)
SETTLED_RATE, SETTLED_TURN = 1.5e-3, 0.3
# The mixture of SQUARE: about as many scenes of one, two and three objects.
EVEN = pairs.Mixture(copies=(3, 2, 1))
# The mixture of SEVERAL: of three images two show three objects, or would without a focus.
CROWDED = pairs.Mixture(copies=(1, 1, 2), focused=0.25)
# The mixture of all after SEVERAL: a third of the images is of two objects, somewhat more than half of three.
WEIGHED = pairs.Mixture(copies=(1, 2, 2), focused=0.25)
# The number of times that the chunks of square images lie among those of all sizes.
SQUARES_COPIES = 3
COUPLED = replace(SQUARE, steps=1800, seed=SEED + 1)
COUPLED_RATE, COUPLED_TURN = 8e-4, 0.3
PROMPTS = Qwen2VLFluxRecipe(
    steps=150, batch_size=12, accumulation=1, max_norm=1.0, gradient_checkpointing=False,
    seed=SEED + 2, log_every=25, save_every=0, sample_every=0,
)  # fmt: skip
PROMPTS_RATE = 3e-2
CONTROL = Qwen2VLFluxRecipe(
    steps=1600, batch_size=32, accumulation=1, max_norm=1.0, gradient_checkpointing=False,
    seed=SEED + 3, log_every=50, save_every=400, sample_every=0,
)  # fmt: skip
CONTROL_RATE = 1.5e-3
# The steps in which FLUX learns to draw, each from where the one before ended.
LEARNED = ("square", "several", "settled", "coupled")
# The number of steps of a run from which compiling its blocks, a minute or so, is worth while.
LEAST_COMPILED = 1000

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# The number of threads of the processor: the sums of another number come out a little different.
THREADS = 2
STATE = "state.safetensors"

AnyChunk = TypeVar("AnyChunk", pairs.Chunk, rollouts.Chunk)

log = logging.getLogger(__name__)


class WorkFolder:
    """A folder with a result for each step.

    root/<step> appears when the step is done, root/.<step> is there until then: to make one anew, remove both, and
    those of all that come after it. A stopped step begins again, those of the trainer go on from their last checkpoint.
    Each step is seeded by its own name's place among STEPS and compiles afresh, so that it gives the same result
    whatever ran before it in this process.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, step: str) -> Path:
        return self.root / step

    def run_step(self, step: str, make: Callable[[Path, torch.Generator], None]) -> None:
        """Make the result of a step in its folder, unless it is there."""
        target = self.place(step)
        if target.exists():
            log.info("%s: done before", step)
            return
        log.info("%s ...", step)
        started = time.monotonic()
        unfinished = target.with_name(f".{step}")
        unfinished.mkdir(parents=True, exist_ok=True)
        seed = generator_for(SEED, list(STEPS).index(step)).initial_seed()
        torch.manual_seed(seed)
        torch.compiler.reset()
        make(unfinished, torch.Generator().manual_seed(seed))
        unfinished.rename(target)
        log.info("%s: %.0f min", step, (time.monotonic() - started) / 60)

    # ---- what the steps make ---------------------------------------------------------------------------------------

    def autoencoder(self) -> autoencoder.Autoencoder:
        network = autoencoder.Autoencoder()
        network.load_state_dict(load_file(self.place("autoencoder") / STATE))
        return network.eval().to(DEVICE, memory_format=torch.channels_last)

    def encoder(self) -> encoder.Qwen2VLEncoder:
        place = self.place("encoder")
        network = encoder.new_encoder(read_config(place / "qwen2-vl"))
        network.load_state_dict(load_file(place / STATE))
        return network.eval().requires_grad_(False).to(DEVICE)


def make_autoencoder(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    save_tensors(place / STATE, autoencoder.train(generator, DEVICE).state_dict())


def make_encoder(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    with plain_attention():
        network = encoder.train(read_config(layout.write_encoder_config(place)), generator, DEVICE)
    save_tensors(place / STATE, network.state_dict())


def make_start(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    """The published folder, in which FLUX and the projections are random."""
    networks = variation.new_networks()
    t5_embedder = prompts.new_embedder(layout.T5_WIDTH, networks.flux.inner_dim)
    layout.write_encoder(place, work.encoder(), networks.connector, t5_embedder)
    layout.write_autoencoder(place, work.autoencoder())
    layout.write_transformer(place, networks.flux)
    layout.write_text_encoders(place)


def make_pairs(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    pairs.save_chunks(place, work.encoder(), work.autoencoder(), generator)


def make_square(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    """Variations of one size. From nothing, all sizes at once take several times as long: a layout is first learned
    where it always has the same cells."""
    batches = pairs.Pairs(squares(pairs.load_chunks(work.place("pairs"))), SQUARE.batch_size, SQUARE.seed, EVEN)
    fit_variation(work, place, work.place("start"), SQUARE, SQUARE_RATE, SQUARE_TURN, batches)


def make_several(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    """Squares still, mostly of several objects: that each of them comes once and only once takes longest to learn."""
    batches = pairs.Pairs(squares(pairs.load_chunks(work.place("pairs"))), SEVERAL.batch_size, SEVERAL.seed, CROWDED)
    fit_variation(work, place, final(work.place("square")), SEVERAL, SEVERAL_RATE, SEVERAL_TURN, batches)


def make_settled(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    """All sizes at last, but mostly the square, which most images will be."""
    batches = of_all_sizes(work, SETTLED)
    fit_variation(work, place, final(work.place("several")), SETTLED, SETTLED_RATE, SETTLED_TURN, batches)


def squares(chunks: list[AnyChunk]) -> list[AnyChunk]:
    return [chunk for chunk in chunks if chunk.size == SIZES[0]]


def mostly_squares(chunks: list[AnyChunk]) -> list[AnyChunk]:
    return chunks + (SQUARES_COPIES - 1) * squares(chunks)


def of_all_sizes(work: WorkFolder, recipe: Qwen2VLFluxRecipe) -> pairs.Pairs:
    chunks = mostly_squares(pairs.load_chunks(work.place("pairs")))
    return pairs.Pairs(chunks, recipe.batch_size, recipe.seed, WEIGHED)


def fit_variation(
    work: WorkFolder, place: Path, base: Path, recipe: Qwen2VLFluxRecipe, rate: float, turn: float, batches: pairs.Pairs
) -> None:
    networks = trainable(base)
    objective = variation.HintedFlow(networks)
    optimizers = partial(variation.optimizers, rate=rate)
    fit(work, place, recipe, networks, batches, objective, base, optimizers, variation.Cosine(recipe.steps, turn))


def make_coupled(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    """Rollouts of its own with the right image that each comes nearest to, so that they end well."""
    base = final(work.place("settled"))
    networks, network = trainable(base), work.autoencoder()  # both draw random numbers, whatever is there already
    folder = place / "couples"
    if not folder.exists():
        make_rollouts(work, folder, networks, network, generator)
    chunks = mostly_squares(rollouts.load_chunks(folder))
    batches = rollouts.RolloutBatches(chunks, COUPLED.batch_size, COUPLED.seed, WEIGHED.copies)
    objective = variation.RolloutFlow(networks)
    optimizers = partial(variation.optimizers, rate=COUPLED_RATE)
    schedule = variation.Cosine(COUPLED.steps, COUPLED_TURN)
    fit(work, place, COUPLED, networks, batches, objective, base, optimizers, schedule)


def make_rollouts(
    work: WorkFolder,
    folder: Path,
    networks: Networks,
    network: autoencoder.Autoencoder,
    generator: torch.Generator,
) -> None:
    guided = variation.Guided(networks.to(DEVICE))
    compile_blocks(guided.networks.flux, COUPLED)
    unfinished = folder.with_name(f".{folder.name}")
    chunks = pairs.load_chunks(work.place("pairs"))
    with plain_attention():
        rollouts.save_chunks(unfinished, chunks, guided, network, WEIGHED.focused, generator)
    unfinished.rename(folder)
    torch.compiler.reset()


def trainable(checkpoint: Path) -> Networks:
    """The networks of a folder, of which all of FLUX and the connector train, but not what reads the pooled vector."""
    networks = read_networks(checkpoint, lambda double, single: range(double + single))
    networks.qwen = None
    networks.flux.requires_grad_(True)
    networks.flux.time_text_embed.text_embedder.linear_1.weight.requires_grad_(False)
    return networks


def fit(
    work: WorkFolder,
    place: Path,
    recipe: Qwen2VLFluxRecipe,
    networks: Networks,
    batches: Batches,
    objective: Objective,
    base: Path,
    optimizers: NewOptimizers,
    schedule: variation.Cosine,
) -> None:
    output = Output(place)
    previews = Previews(work.encoder(), work.autoencoder(), output.samples)
    compile_blocks(networks.flux, recipe)
    with output.claim(), plain_attention():
        train(
            recipe, networks, batches, objective, output,
            optimizers=optimizers, export=partial(export, base), schedule=schedule, sample=previews,
            resume=output.is_begun,
        )  # fmt: skip


def compile_blocks(network: FluxTransformer2DModel | FluxControlNetModel, recipe: Qwen2VLFluxRecipe) -> None:
    """Let torch compile a network's blocks, if the run is long enough: passes then take two thirds of the time."""
    if recipe.steps >= LEAST_COMPILED:
        for block in (*network.transformer_blocks, *network.single_transformer_blocks):
            block.compile(dynamic=True)


@contextmanager
def plain_attention() -> Iterator[None]:
    """On a processor, attention as two products in bf16: the fused kernel takes longer, most of all backwards."""
    if DEVICE.type != "cpu":
        yield
        return
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(allowed)


def final(run: Path) -> Path:
    """The last checkpoint of a run."""
    return Output(run).newest()[1]


def make_prompts(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    base = final(work.place("coupled"))
    networks = trainable(base)
    networks.requires_grad_(False)
    networks.t5_embedder.bias.requires_grad_(True)
    t5 = T5EncoderModel.from_pretrained(base / "flux" / "text_encoder_2", dtype=torch.float32)
    batches = prompts.PromptedBatches(of_all_sizes(work, PROMPTS), t5, PROMPTS.seed)

    def adamw(trained: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
        return [torch.optim.AdamW(trained.values(), lr=PROMPTS_RATE, weight_decay=0)]

    schedule = variation.Cosine(PROMPTS.steps, 0.5)
    fit(work, place, PROMPTS, networks, batches, prompts.PromptInvariance(), base, adamw, schedule)


def make_hints(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    controlled.save_chunks(place, work.encoder(), work.autoencoder(), generator)


def make_controlnet(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    base = final(work.place("prompts"))
    networks = trainable(base).requires_grad_(False)
    objective = controlled.ControlledFlow(networks)
    compile_blocks(objective.controlnet, CONTROL)
    chunks = [controlled.Chunk.load(path) for path in sorted(work.place("hints").glob("*.safetensors"))]
    batches = controlled.HintBatches(chunks, CONTROL.batch_size, CONTROL.seed)
    optimizers = partial(variation.optimizers, rate=CONTROL_RATE)
    schedule = variation.Cosine(CONTROL.steps, 0.5)
    fit(work, place, CONTROL, networks, batches, objective, base, optimizers, schedule)
    objective.controlnet.to(torch.bfloat16).save_pretrained(place / "controlnet")


def make_depth(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    annotators.save_depth(annotators.train_depth(generator, DEVICE), place / "depth-anything-v2" / "scenes")


def make_line(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    annotators.save_line(annotators.train_line(generator, DEVICE), place / "anyline" / "MTEED.safetensors")


def make_demo(work: WorkFolder, place: Path, generator: torch.Generator) -> None:
    """The embedded checkpoint as it is shipped, but for its README."""
    checkpoint = final(work.place("prompts"))
    for part in ("flux", "qwen2-vl"):
        shutil.copytree(checkpoint / part, place / part, dirs_exist_ok=True)
    for step, part in (("controlnet", "controlnet"), ("depth", "depth-anything-v2"), ("line", "anyline")):
        shutil.copytree(work.place(step) / part, place / part, dirs_exist_ok=True)
    pictures.write(place)
    model_card.write(place / "training", [work.place(step) for step in LEARNED])


STEPS = {
    "autoencoder": make_autoencoder,
    "encoder": make_encoder,
    "start": make_start,
    "pairs": make_pairs,
    "square": make_square,
    "several": make_several,
    "settled": make_settled,
    "coupled": make_coupled,
    "prompts": make_prompts,
    "hints": make_hints,
    "controlnet": make_controlnet,
    "depth": make_depth,
    "line": make_line,
    "demo": make_demo,
}


def install(made: Path, target: Path) -> None:
    """Put each part of a made checkpoint in the place of the one before; what else lies there stays."""
    target.mkdir(parents=True, exist_ok=True)
    for part in made.iterdir():
        former = target / part.name
        if part.is_file():
            shutil.copyfile(part, former)
            continue
        shutil.rmtree(former, ignore_errors=True)
        shutil.copytree(part, former)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="dev.py train-demo", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where the steps' results stay")
    parser.add_argument("--demo", type=Path, required=True, metavar="DIR", help="where the checkpoint goes at last")
    options = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    work = WorkFolder(options.work.absolute())
    for step, make in STEPS.items():
        work.run_step(step, lambda place, generator, make=make: make(work, place, generator))
    install(work.place("demo"), options.demo)
