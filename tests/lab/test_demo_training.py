"""How the embedded checkpoint learns: its pairs, objectives and optimizers, and the whole way in small."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch.nn import functional

from lab.demo import (
    annotators,
    autoencoder,
    controlled,
    encoder,
    make,
    model_card,
    muon,
    pairs,
    previews,
    prompts,
    rollouts,
    variation,
)
from lab.demo.plain_loop import fit
from lab.world import hints
from lab.world.references import Source, render_for_encoder
from lab.world.scenes import COLOURS, KINDS, cells, random_layout, random_scenes, render
from systems.common.schedules import flux_sigmas
from systems.qwen2vl_flux.dots import Dot
from systems.qwen2vl_flux.focus import circle
from training.qwen2vl_flux.batch import Batch


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    networks = variation.new_networks()
    for parameter in networks.parameters():  # what starts at zero would hide what it multiplies
        torch.nn.init.normal_(parameter, std=0.05) if not parameter.any() else None
    return networks.eval()


@pytest.fixture(scope="module")
def chunk() -> pairs.Chunk:
    """Random numbers in the shapes of a chunk, of scenes with real layouts."""
    generator = torch.Generator().manual_seed(1)
    number, grid = pairs.CHUNK, (6, 6)
    scenes = random_scenes(number, generator)
    layouts = [random_layout(scenes, (1.0, 1.0), generator) for _ in range(pairs.LAYOUTS)]

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(number, 2, *shape, generator=generator).half()

    return pairs.Chunk(
        scenes=scenes,
        grid=grid,
        tokens=random(36, 128),
        centres=torch.stack([layout.centre for layout in layouts], dim=1),
        latents=random(16, 16, 16),
        labels=torch.zeros(number, 2, 2, 64, dtype=torch.uint8),
        alone=random(16, 16, 16),
        alone_labels=torch.ones(number, 2, 2, 64, dtype=torch.uint8),
    )


def batch_of(size: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        latents=torch.randn(size, 16, 16, 16, generator=generator),
        tokens=torch.randn(size, 36, 128, generator=generator),
        weights=torch.ones(size, 36),
        extras={"labels": torch.zeros(size, 2, 64, dtype=torch.long)},
    )


# ---- pairs ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_decided_by_its_number(chunk):
    source = pairs.Pairs([chunk], 8, seed=3)
    one, again, other = source.batch(5, 0, 0), source.batch(5, 0, 0), source.batch(6, 0, 0)
    assert torch.equal(one.latents, again.latents) and torch.equal(one.weights, again.weights)
    assert not torch.equal(one.latents, other.latents)


def test_what_is_focused_is_drawn_alone(chunk):
    source = pairs.Pairs([chunk], pairs.CHUNK, seed=0)
    dropped = focused = 0
    for step in range(4):
        batch = source.batch(step, 0, 0)
        alone = batch.extras["labels"][:, 0, 0] == 1
        bare = (batch.weights == 0).all(1)
        dropped, focused = dropped + int(bare.sum()), focused + int(alone.sum())
        assert (batch.weights[alone & ~bare] < 1).any(1).all()
    assert dropped / (4 * pairs.CHUNK) == pytest.approx(pairs.DROPPED, abs=0.05)
    several = float((chunk.scenes.count > 1).float().mean())
    assert focused / (4 * pairs.CHUNK) == pytest.approx(pairs.Mixture().focused * several, abs=0.08)


def test_a_mixture_has_more_of_the_scenes_that_it_copies(chunk):
    mixture = pairs.Mixture(copies=(1, 0, 3), focused=0.0)
    source = pairs.Pairs([chunk], 64, seed=0, mixture=mixture)
    counts = {number: {tuple(latents.flatten().tolist()) for latents in chosen} for number, chosen in _by_count(chunk)}
    drawn = [tuple(latents.flatten().tolist()) for step in range(4) for latents in source.batch(step, 0, 0).latents]
    share = {number: sum(latents in known for latents in drawn) / len(drawn) for number, known in counts.items()}
    there = {number: int((chunk.scenes.count == number).sum()) for number in (1, 3)}
    assert share[2] == 0 and share[1] + share[3] == 1
    assert share[3] == pytest.approx(3 * there[3] / (there[1] + 3 * there[3]), abs=0.08)


def _by_count(chunk: pairs.Chunk) -> Iterator[tuple[int, torch.Tensor]]:
    for number in (1, 2, 3):
        yield number, chunk.latents[chunk.scenes.count == number].flatten(0, 1).float()


def test_a_focus_keeps_its_object_most(chunk):
    rows, shown = torch.arange(pairs.CHUNK), torch.zeros(pairs.CHUNK, dtype=torch.long)
    weights, object_ = pairs.random_focus(chunk, rows, shown, 0.45, torch.Generator().manual_seed(0))
    others = []
    for index in (object_ >= 0).nonzero().flatten().tolist():
        columns, rows_ = (chunk.centres[index, 0, : chunk.scenes.count[index]] * 6).round().long().clamp(0, 5).unbind(1)
        kept = weights[index].reshape(6, 6)[rows_, columns]
        assert kept.argmax() == object_[index]
        others += kept[torch.arange(len(kept)) != object_[index]].tolist()
    assert max(others) < 0.6 and sum(others) / len(others) < 0.2


def test_the_circle_is_the_node_s(chunk):
    """A map of the batch is the pack's circle of some dot: its weights fall by 1/(r * 6) a token along a row."""
    rows, shown = torch.arange(pairs.CHUNK), torch.zeros(pairs.CHUNK, dtype=torch.long)
    weights, object_ = pairs.random_focus(chunk, rows, shown, 0.45, torch.Generator().manual_seed(0))
    index = int((object_ >= 0).nonzero()[0])
    x, y = chunk.centres[index, 0, object_[index]].tolist()
    made = weights[index].reshape(6, 6)
    best = min(
        (made - circle(Dot(x + dx / 50, y + dy / 50, r / 100), 6, 6)).abs().max().item()
        for dx in range(-8, 9)
        for dy in range(-8, 9)
        for r in range(28, 76, 2)
    )
    assert best < 0.1


def test_chunks_come_back_from_their_files(chunk, tmp_path):
    chunk.save(tmp_path / "one.safetensors")
    (back,) = pairs.load_chunks(tmp_path)
    assert back.grid == chunk.grid and torch.equal(back.scenes.kind, chunk.scenes.kind)
    for name in ("tokens", "centres", "latents", "labels", "alone", "alone_labels"):
        assert torch.equal(getattr(back, name), getattr(chunk, name)), name


# ---- objectives ----------------------------------------------------------------------------------------------------


def test_muon_gets_the_blocks_matrices_and_adamw_the_rest(networks):
    blocks, adamw = variation.optimizers(dict(networks.named_parameters()), 1e-3)
    names = {id(value): name for name, value in networks.named_parameters()}
    held = [{names[id(value)] for group in each.param_groups for value in group["params"]} for each in (blocks, adamw)]
    trained = {name for name, value in networks.named_parameters() if value.requires_grad}
    assert held[0] | held[1] == trained and not held[0] & held[1]
    assert "flux.transformer_blocks.0.attn.to_q.weight" in held[0]
    assert "flux.single_transformer_blocks.5.proj_mlp.weight" in held[0]
    assert all(name.startswith(("flux.transformer_blocks", "flux.single_transformer_blocks")) for name in held[0])
    assert not any("norm" in name or name.endswith("bias") for name in held[0])
    assert "flux.time_text_embed.text_embedder.linear_1.weight" not in trained  # the pooled vector is not looked at
    assert not any("blocks" in name and name.endswith("weight") and "norm" not in name for name in held[1])


def test_muon_takes_torchs_steps():
    """Matrices of one shape together as torch's Muon each alone, up to bfloat16's rounding."""
    generator = torch.Generator().manual_seed(6)
    shapes = ((16, 16), (16, 16), (48, 16), (16, 48), (48, 16))
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(each.clone()) for each in start] for _ in range(2))
    settings = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = [muon.Muon(ours, **settings), torch.optim.Muon(theirs, **settings)]
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = max((one - each).abs().max().item() for one, each in zip(ours, start, strict=True))
    apart = max((one - other).abs().max().item() for one, other in zip(ours, theirs, strict=True))
    assert apart < 0.02 * moved
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    assert states[0].keys() == states[1].keys() and states[0][0].keys() == states[1][0].keys()


def test_the_hint_reaches_the_blocks_it_reads(networks):
    objective = variation.HintedFlow(networks)
    figures = objective.loss(networks, batch_of(), torch.Generator().manual_seed(0))
    assert figures["loss"].item() == pytest.approx((figures["flow"] + variation.HINT * figures["hint"]).item())
    networks.zero_grad()
    objective._hint(torch.zeros(4, 2, 64, dtype=torch.long)).backward()
    reached = networks.flux.single_transformer_blocks[variation.READ_SINGLE].attn.to_q.weight.grad
    beyond = networks.flux.single_transformer_blocks[variation.READ_SINGLE + 1].attn.to_q.weight.grad
    assert reached.abs().sum() > 0 and beyond is None
    networks.zero_grad()


def test_guidance_is_a_guidance_scale(networks):
    guided, batch = variation.Guided(networks), batch_of()
    noisy, times = torch.randn(4, 16, 16, 16), torch.rand(4)
    usual = torch.full((4,), variation.USUAL_GUIDANCE)
    with torch.no_grad():
        given = networks.velocity(noisy, times, networks.context(batch), None, usual)
        free = networks.velocity(noisy, times, networks.context(replace(batch, tokens=batch.tokens * 0)), None, usual)
    for guidance, scale in ((1.0, 1.0), (3.5, 2.0)):
        wanted = guided.velocity(batch, noisy, times, torch.full((4,), guidance))
        assert torch.allclose(wanted, free + scale * (given - free), atol=1e-5)
        assert not torch.allclose(wanted, free + (scale + 0.3) * (given - free), atol=1e-3)


def test_rollouts_are_learned_with_zeroed_context_too(networks, monkeypatch):
    """Half of what has no tokens: there the connector's bias changes nothing, as under ConditioningZeroOut."""
    objective = variation.RolloutFlow(networks)
    extras = {
        "noisy": torch.randn(4, 16, 16, 16, generator=seeded()),
        "times": torch.rand(4, generator=seeded()),
        "guidance": 1 + 5 * torch.rand(4, generator=seeded()),
        "velocity": torch.randn(4, 16, 16, 16, generator=seeded()),
    }
    batch = batch_of()
    full = replace(batch, extras={**batch.extras, **extras})
    bare = replace(full, weights=torch.zeros(4, 36))

    def flow(batch: Batch) -> float:
        with torch.no_grad():
            return objective.loss(networks, batch, seeded())["flow"].item()

    noisy, times, guidance, wanted = extras.values()
    with torch.no_grad():
        velocity = networks.velocity(noisy, times, networks.context(full), None, guidance)
    assert flow(full) == pytest.approx((velocity - wanted).square().mean().item(), rel=1e-5)
    for share, given, changes in ((0.0, bare, True), (1.0, bare, False), (1.0, full, True)):
        monkeypatch.setattr(variation, "ZEROED", share)
        usual, bias = flow(given), networks.connector.bias.detach().clone()
        networks.connector.bias.data += 1
        assert (flow(given) != usual) == changes
        networks.connector.bias.data = bias


def test_without_a_prompt_there_is_nothing_to_learn(networks):
    networks.t5_embedder = prompts.new_embedder(8, 128)
    batch = batch_of()
    without = prompts.PromptInvariance().loss(networks, batch, torch.Generator().manual_seed(0))["loss"]
    prompted = replace(batch, prompt=torch.randn(4, 20, 8))
    assert without == 0 < prompts.PromptInvariance().loss(networks, prompted, torch.Generator().manual_seed(0))["loss"]


def test_a_new_controlnet_says_nothing_and_learns(networks):
    objective = controlled.ControlledFlow(networks)
    generator = torch.Generator().manual_seed(2)
    batch = batch_of()
    extras = {"hints": torch.randn(4, 16, 16, 16, generator=generator), "modes": torch.tensor([[0], [2], [0], [2]])}
    batch = replace(batch, extras=extras)
    said = [
        objective.loss(networks, replace(batch, extras={**extras, "hints": extras["hints"] * each}), seeded())["loss"]
        for each in (1, 0)
    ]
    assert said[0] == said[1]
    said[0].backward()
    assert objective.controlnet.controlnet_blocks[0].weight.grad.abs().sum() > 0
    networks.zero_grad()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


# ---- rollouts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", pairs.CHUNKS)
def test_the_nearest_layout_of_a_picture_is_its_own(size):
    """Stripes that lie between those of the picture mislead once in some hundred objects. Where one is lacking, it may
    be nearer to draw that one over another of much the same colour."""
    (width, height), generator = size, torch.Generator().manual_seed(8)
    canvas = width / 128, height / 128
    scenes = random_scenes(100, generator)
    columns, rows = cells(canvas)
    cell = torch.rand(100, columns * rows, generator=generator).argsort(1)[:, :3]
    layout = random_layout(scenes, canvas, generator, cell)
    fewer = replace(scenes, count=(scenes.count - 1).clamp(min=1))
    for there, least in ((scenes, 0.98), (fewer, 0.9)):
        picture = render(there, layout, height, width)[0]
        found = (rollouts.nearest_cells(picture, scenes, canvas) == cell)[there.present]
        assert found.float().mean() > least


def test_scenes_through_a_focus():
    scenes = random_scenes(30, seeded())
    focus = torch.arange(30) % 3 - 1
    focused = rollouts.focused_scenes(scenes, focus)
    for index, (kept, count) in enumerate(zip(focus.tolist(), scenes.count.tolist(), strict=True)):
        assert focused.count[index] == (count if kept < 0 else 1)
        assert focused.colour[index, 0] == scenes.colour[index, max(kept, 0)]
    assert torch.equal(focused.background, scenes.background)


def test_a_rollout_is_the_samplers(networks):
    """Euler's steps over the times that the nodes' sampler takes, at each guidance's own scale, and where they lead."""
    network = autoencoder.Autoencoder(4).eval()
    guided, batch, guidance = variation.Guided(networks), batch_of(), torch.tensor([1.0, 2.0, 12.0, 60.0])
    states, preview = rollouts.roll_out(guided, batch, guidance, network)
    times = torch.from_numpy(flux_sigmas(rollouts.STEPS, 1.0, 128, 128)).float()
    assert states.shape == (4, rollouts.ROLLOUT_STEPS + 1, 16, 16, 16) and torch.equal(
        states[:, 0], batch.latents.half()
    )
    latents = batch.latents
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        for step in range(rollouts.ROLLOUT_STEPS):
            velocity = guided.velocity(batch, latents, times[step].expand(4), guidance)
            latents = latents + (times[step + 1] - times[step]) * velocity
            moved, apart = (each.abs().mean() for each in (latents - batch.latents, latents - states[:, step + 1]))
            assert apart < 0.03 * moved
        ends, ahead = (
            network.decode(latents - time * velocity).float().clamp(0, 1) for time in (times[rollouts.ROLLOUT_STEPS], 0)
        )
    assert (preview - ends).abs().mean() < 0.02 * (ahead - ends).abs().mean()


def test_rollouts_are_paired_with_right_pictures(networks, chunk, tmp_path):
    """The states are those of the sampling from the noise; the image shows what the focus leaves, in the nearest
    cells."""
    network, guided = autoencoder.Autoencoder(4).eval(), variation.Guided(networks)
    made = rollouts.pair_rollouts(chunk, guided, network, 0.4, torch.Generator().manual_seed(1))
    made.save(tmp_path / "one.safetensors")
    (back,) = rollouts.load_chunks(tmp_path)
    assert all(torch.equal(value, getattr(back, name)) for name, value in vars(made).items())
    part = slice(0, rollouts.PART)
    start = Batch(made.noise[part].float(), made.tokens[part].float(), made.weights[part])
    states, preview = rollouts.roll_out(guided, start, made.guidance[part], network)
    times = rollouts.sampler_times(128, 128)
    step = (made.times[part][..., None] == times).float().argmax(-1)
    assert step.min() == 1 and step.max() == rollouts.ROLLOUT_STEPS
    assert torch.equal(made.states[part], states[torch.arange(rollouts.PART)[:, None], step])
    focused = (made.weights < 1).any(1) & (chunk.scenes.count > 1)
    assert focused.sum() > 20
    whole = rollouts.nearest_cells(preview, chunk.scenes.at(part), (1.0, 1.0))
    column, row = torch.arange(64) % 8 // 4, torch.arange(64) // 8 // 4
    for index in range(rollouts.PART):
        colour = made.labels[index, 1].long()
        there = {*colour.tolist()} - {len(COLOURS)}
        count = int(chunk.scenes.count[index])
        wanted = chunk.scenes.colour[index, :count].tolist()
        if focused[index]:
            assert len(there) == 1 and there < {*wanted}
            continue
        assert there == {*wanted}
        for each, ink in enumerate(wanted):
            cell = (2 * row + column)[colour == ink]
            assert (cell == whole[index, each]).float().mean() > 0.7


def test_batches_of_rollouts(networks, chunk):
    """About half are the network's own states; from every row's latents, its velocity leads to the right picture."""
    network, generator = autoencoder.Autoencoder(4).eval(), torch.Generator().manual_seed(1)
    made = rollouts.pair_rollouts(chunk, variation.Guided(networks), network, 0.4, generator)
    source = rollouts.RolloutBatches([made], 64, 3)
    pictures = made.latents.float().flatten(1)
    own = dropped = 0
    for step in range(6):
        batch = source.batch(step, 0, 0)
        noisy, time = batch.extras["noisy"], batch.extras["times"]
        ends = noisy - time[:, None, None, None] * batch.extras["velocity"]
        row = torch.cdist(ends.flatten(1), pictures).argmin(1)
        assert (ends.flatten(1) - pictures[row]).abs().max() < 1e-4
        assert torch.equal(batch.tokens, made.tokens[row].float())
        assert torch.equal(batch.extras["guidance"], made.guidance[row])
        is_own = torch.isin(time, made.times)
        states = made.states[row].float().flatten(2)
        assert ((states == noisy.flatten(1)[:, None]).all(-1).any(1) == is_own).all()
        own, dropped = own + int(is_own.sum()), dropped + int((batch.weights == 0).all(1).sum())
    assert own / (6 * 64) == pytest.approx(rollouts.ROLLOUT_FRACTION, abs=0.08)
    assert dropped / (6 * 64) == pytest.approx(pairs.DROPPED, abs=0.05)
    assert torch.equal(source.batch(2, 0, 0).extras["noisy"], source.batch(2, 0, 0).extras["noisy"])


# ---- networks against those that run them ------------------------------------------------------------------------


def test_tokens_are_those_of_the_pack_s_encoder(root):
    """A picture at exactly the encoder's size, so that nothing is resized on either way."""
    from systems.qwen2vl_flux.checkpoint import read_config
    from systems.qwen2vl_flux.encoder import load_qwen2vl
    from training.qwen2vl_flux.networks import read_networks

    scenes, generator = random_scenes(1, seeded()), seeded()
    source = Source(128, 128, large=True)
    shown, _ = render_for_encoder(scenes, random_layout(scenes, source.canvas, generator), source)
    shown = (shown * 255).round() / 255
    demo = root / "demo"
    theirs = load_qwen2vl(demo).encode(shown.movedim(1, -1))
    ours = read_networks(demo, lambda double, single: ()).qwen
    assert ours.config == read_config(demo / "qwen2-vl")
    with torch.no_grad():
        hidden = encoder.hidden_states(ours, shown)
    assert theirs.grid == source.grid
    assert torch.allclose(hidden, theirs.embeddings, atol=2e-5)


def test_the_autoencoders_file_is_the_autoencoder(tmp_path):
    """ComfyUI's TAESD at 64 channels, from eight-bit weights filled up with zeros, is the network of 32."""
    import comfy.sd
    import comfy.utils

    torch.manual_seed(0)
    network = autoencoder.Autoencoder().eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.copy_(value.half())  # as it is stored
    autoencoder.save(network, tmp_path / "vae.safetensors")
    with safe_open(tmp_path / "vae.safetensors", framework="pt") as file:
        assert file.get_tensor("taesd_decoder.3.conv.0.weight").dtype == autoencoder.EIGHT_BITS
    state, metadata = comfy.utils.load_torch_file(str(tmp_path / "vae.safetensors"), return_metadata=True)
    vae = comfy.sd.VAE(sd=state, metadata=metadata)
    picture = torch.rand(1, 3, 64, 96, generator=seeded())
    with torch.no_grad():
        latents = network.encode(picture)
        theirs = (vae.encode(picture.movedim(1, -1)) - autoencoder.SHIFT) * autoencoder.SCALE
        assert torch.allclose(latents, theirs, atol=1e-4)
        drawn = network.decode(latents).clamp(0, 1)
        theirs = vae.decode(latents / autoencoder.SCALE + autoencoder.SHIFT).movedim(-1, 1)
        assert torch.allclose(drawn, theirs, atol=1e-4)


# ---- what is read from scenes, and hints ---------------------------------------------------------------------------


def test_a_patch_is_labelled_by_the_colour_it_shows():
    """FLUX's hints: where a solid object fills a patch, the picture has its colour; elsewhere the ground's."""
    generator = torch.Generator().manual_seed(2)
    scenes = random_scenes(16, generator)
    scenes = replace(scenes, striped=torch.zeros_like(scenes.striped), pattern=torch.zeros_like(scenes.pattern))
    layout = random_layout(scenes, (1.25, 0.75), generator)
    height, width = 96, 160
    _, labels = pairs.targets(autoencoder.Autoencoder(4).eval(), scenes, layout, height, width)
    patches = (height // pairs.PATCH) * (width // pairs.PATCH)
    assert labels.shape == (16, 2, patches) and labels.dtype == torch.uint8
    inks = torch.tensor([*COLOURS.values()]) / 255
    picture, covered = render(scenes, layout, height, width)
    shown = functional.avg_pool2d(picture, pairs.PATCH).flatten(2).mT
    whole = functional.avg_pool2d(covered, pairs.PATCH).amax(1).flatten(1) > 0.999
    assert whole.any()
    assert (shown[whole] - inks[labels[:, 1].long()[whole]]).abs().max() < 0.01
    kinds = labels[:, 0].long()
    for index, count in enumerate(scenes.count.tolist()):
        assert {*kinds[index].tolist()} == {*scenes.kind[index, :count].tolist(), len(KINDS)}


def test_a_token_is_labelled_by_what_it_shows(monkeypatch):
    """The encoder's lessons: the small masks, put side by side, are the objects; the labels lie under them."""
    monkeypatch.setattr(encoder, "CHUNK", 24)
    chunk = encoder.random_chunk(torch.Generator().manual_seed(3), Source(160, 96, True))
    rows, columns = Source(160, 96, True).grid
    tokens = chunk.masks.unflatten(1, (rows, columns)).unflatten(3, (encoder.OUTLINE, encoder.OUTLINE))
    outline = tokens.transpose(2, 3).flatten(3).flatten(1, 2).float() / 255
    assert outline.shape == (24, rows * encoder.OUTLINE, columns * encoder.OUTLINE)
    smooth = (outline[:, 1:] - outline[:, :-1]).abs().mean() + (outline[..., 1:] - outline[..., :-1]).abs().mean()
    turned = tokens.mT.transpose(2, 3).flatten(3).flatten(1, 2).float() / 255
    rough = (turned[:, 1:] - turned[:, :-1]).abs().mean() + (turned[..., 1:] - turned[..., :-1]).abs().mean()
    assert smooth < 0.8 * rough
    full = chunk.masks.float().mean(-1) / 255
    bare = chunk.labels[:, 0] == len(KINDS)
    assert full[bare].max() < 3 * encoder.LEAST_COVER < full[~bare].mean()
    colours = functional.adaptive_avg_pool2d(chunk.pictures.float() / 255, (rows, columns)).flatten(2).mT
    inks = torch.tensor([*COLOURS.values()]) / 255
    solid = (full > 0.7) & (chunk.labels[:, 2] == 0)
    nearest = torch.cdist(colours[solid], inks).argmin(1)
    assert len(nearest) > 10 and (nearest == chunk.labels[:, 1][solid]).float().mean() > 0.9


def test_each_hint_goes_with_its_mode(monkeypatch):
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(8, 2, 16, 4, 4, generator=generator).half()
    chunk = controlled.Chunk(torch.zeros(8, 4, 128).half(), torch.zeros(8, 16, 4, 4).half(), latents)
    monkeypatch.setattr(controlled, "CHUNK", 8)
    of_modes = [{tuple(each.flatten().tolist()) for each in latents[:, which].float()} for which in range(2)]
    for step in range(4):
        extras = controlled.HintBatches([chunk], 8, 0).batch(step, 0, 0).extras
        for hint, mode in zip(extras["hints"], extras["modes"].flatten().tolist(), strict=True):
            assert tuple(hint.flatten().tolist()) in of_modes[list(controlled.HINTS).index(mode)]
    assert controlled.HINTS == {0: hints.outlines, 2: hints.depth}  # canny and depth of FLUX.1-dev-Controlnet-Union


def test_gradients_that_are_no_numbers_end_the_fitting():
    """The weights are still those of the step before."""
    weight = torch.nn.Parameter(torch.ones(1))

    def loss(step: int) -> torch.Tensor:
        return (weight * (torch.inf if step == 2 else 1.0)).sum()

    with pytest.raises(RuntimeError, match="non-finite"):
        fit("a weight", [weight], loss, 4, 0.1, warm_up=1)
    assert 0 < weight.item() < 1


# ---- the whole way, in small -----------------------------------------------------------------------------------------


def test_plain_attention_is_attention():
    query, key, value = torch.randn(3, 2, 1, 40, 128, generator=torch.Generator().manual_seed(0))
    usual = functional.scaled_dot_product_attention(query, key, value)
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    with make.plain_attention():
        assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed() or make.DEVICE.type != "cpu"
        assert (functional.scaled_dot_product_attention(query, key, value) - usual).abs().max() < 1e-5
        halves = functional.scaled_dot_product_attention(*(each.bfloat16() for each in (query, key, value)))
    assert 0 < (halves.float() - usual).abs().max() < 0.03
    assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed() == allowed


def test_compiled_blocks_are_the_blocks(networks):
    """Their output and gradients, for two lengths of what they read; only a long run is worth it."""
    flux = copy.deepcopy(networks.flux)
    flux.transformer_blocks, flux.single_transformer_blocks = (
        flux.transformer_blocks[:0],
        flux.single_transformer_blocks[:1],
    )
    (block,) = flux.single_transformer_blocks

    def step(tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = seeded()
        text, image = (torch.randn(2, number, 128, generator=generator) for number in (tokens, 12))
        turns = torch.randn(2, tokens + 12, 128, generator=generator)
        block.zero_grad()
        made = block(image, text, torch.randn(2, 128, generator=generator), (turns[0], turns[1]))[1]
        made.square().mean().backward()
        return made.detach(), block.attn.to_q.weight.grad.clone()

    plain = [step(tokens) for tokens in (9, 7)]
    make.compile_blocks(flux, replace(make.SQUARE, steps=make.LEAST_COMPILED - 1))
    assert block._compiled_call_impl is None
    make.compile_blocks(flux, make.SQUARE)
    assert block._compiled_call_impl is not None
    for one, other in zip(plain, [step(tokens) for tokens in (9, 7)], strict=True):
        for eager, compiled in zip(one, other, strict=True):
            assert (eager - compiled).abs().max() < 1e-5 * eager.abs().max()


def test_the_curve_of_several_runs_counts_steps_through(tmp_path):
    for run, steps in (("one", (250, 500, 600)), ("two", (50, 100))):
        (tmp_path / run).mkdir()
        lines = [json.dumps({"step": step, "flow": step / 1000}) for step in steps]
        (tmp_path / run / "log.jsonl").write_text("\n".join(lines))
    lines = model_card.joined([tmp_path / "one", tmp_path / "two"])
    assert [(line["step"], line["flow"]) for line in lines] == [(500, 0.5), (600, 0.6), (650, 0.05), (700, 0.1)]


def test_all_steps_in_small(monkeypatch, tmp_path, caplog):
    """A few updates of everything make a folder that the pack's loaders read; a second call does nothing again, and
    one that begins anew gives the same folder, bit for bit."""
    from systems.annotators.anyline.annotator import load_anyline
    from systems.annotators.depth_anything.annotator import load_depth_anything
    from systems.flux_union.checkpoint import load_controlnet
    from systems.qwen2vl_flux.encoder import load_qwen2vl
    from systems.qwen2vl_flux.flux import load_text_encoders, load_transformer, load_vae

    monkeypatch.setattr(pairs, "CHUNKS", {(128, 128): 1, (144, 112): 1})
    monkeypatch.setattr(controlled, "CHUNKS", 2)
    for module in (pairs, controlled):
        monkeypatch.setattr(module, "CHUNK", 8)
    monkeypatch.setattr(encoder, "CHUNKS", 1)
    monkeypatch.setattr(encoder, "CHUNK", 8)
    monkeypatch.setattr(autoencoder.train, "__defaults__", (2, 2))  # steps
    monkeypatch.setattr(encoder.train, "__defaults__", (2,))
    monkeypatch.setattr(encoder, "BATCH", 4)
    for learned in (annotators.train_depth, annotators.train_line):
        monkeypatch.setattr(learned, "__defaults__", (2,))
    for name in ("SQUARE", "SEVERAL", "SETTLED", "COUPLED", "PROMPTS", "CONTROL"):
        recipe = replace(getattr(make, name), steps=2, batch_size=2, sample_every=2 * (name.lower() in make.LEARNED))
        monkeypatch.setattr(make, name, recipe)
    monkeypatch.setattr(previews, "STEPS", 1)
    arguments = ["--work", str(tmp_path / "work"), "--demo", str(tmp_path / "demo")]
    (tmp_path / "demo" / "flux").mkdir(parents=True)
    (tmp_path / "demo" / "README.md").write_text("kept")
    (tmp_path / "demo" / "flux" / "old").write_text("gone")
    caplog.set_level("INFO")
    make.main(arguments)
    made = tmp_path / "demo"
    assert (made / "README.md").read_text() == "kept" and not (made / "flux" / "old").exists()
    load_transformer(made), load_vae(made), load_text_encoders(made, True), load_qwen2vl(made)
    assert load_controlnet(made / "controlnet").control_model.num_union_modes == controlled.MODES
    load_depth_anything(made / "depth-anything-v2" / "scenes"), load_anyline(made / "anyline" / "MTEED.safetensors")
    assert (made / "reference.png").is_file()
    with Image.open(made / "training" / "samples.jpg") as sheet:
        assert sheet.width > (1 + (1 + len(make.LEARNED)) * 3) * 128
    with Image.open(tmp_path / "work" / "settled" / "samples" / "step-000002.png") as sheet:
        assert sheet.width > 7 * 128 and sheet.height > 4 * 2 * 96
    caplog.clear()
    make.main(arguments)
    assert [record.getMessage() for record in caplog.records] == [f"{step}: done before" for step in make.STEPS]
    other, anew = tmp_path / "other", tmp_path / "anew"

    def differing() -> list[Path]:
        make.main(["--work", str(anew), "--demo", str(other)])
        files = [path.relative_to(other) for path in other.rglob("*") if path.is_file()]
        assert len(files) > 30
        return [path for path in files if (other / path).read_bytes() != (made / path).read_bytes()]

    assert differing() == []
    for stopped in ("couples", ".couples"):  # after all were rolled out, and amid that
        (anew / ".coupled").mkdir()
        (anew / "coupled" / "couples").rename(anew / ".coupled" / stopped)
        for step in ("coupled", "prompts", "controlnet", "demo"):
            shutil.rmtree(anew / step)
        assert differing() == []
