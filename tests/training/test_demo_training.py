"""How the embedded checkpoint learns: its pairs, objectives and optimizers, and the whole way in small."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from qwen2vl_flux_pack.focus import Dot, circle
from qwen2vl_flux_pack.training.batches import Batch
from qwen2vl_flux_pack.training.demo import (
    annotators,
    autoencoder,
    controlled,
    encoder,
    make,
    pairs,
    prompts,
    variation,
)
from qwen2vl_flux_pack.training.demo.references import Source, seen
from qwen2vl_flux_pack.training.demo.scenes import random_layout, random_scenes


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
    assert focused / (4 * pairs.CHUNK) == pytest.approx(pairs.FOCUSED * several, abs=0.08)


def test_a_focus_keeps_its_object_most(chunk):
    rows, shown = torch.arange(pairs.CHUNK), torch.zeros(pairs.CHUNK, dtype=torch.long)
    weights, object_ = pairs.random_focus(chunk, rows, shown, torch.Generator().manual_seed(0))
    others = []
    for index in (object_ >= 0).nonzero().flatten().tolist():
        columns, rows_ = (chunk.centres[index, 0, : chunk.scenes.count[index]] * 6).round().long().clamp(0, 5).unbind(1)
        kept = weights[index].reshape(6, 6)[rows_, columns]
        assert kept.argmax() == object_[index]
        others += kept[torch.arange(len(kept)) != object_[index]].tolist()
    assert max(others) < 0.6 and sum(others) / len(others) < 0.2


def test_the_circle_is_the_node_s(chunk):
    """A map of the batch is the pack's circle of some dot: its weights fall by 1/(r * 6) a token along a row."""
    weights, object_ = pairs.random_focus(
        chunk, torch.arange(pairs.CHUNK), torch.zeros(pairs.CHUNK, dtype=torch.long), torch.Generator().manual_seed(0)
    )
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
    muon, adamw = variation.optimizers(networks, 1e-3)
    names = {id(value): name for name, value in networks.named_parameters()}
    held = [{names[id(value)] for group in each.param_groups for value in group["params"]} for each in (muon, adamw)]
    trained = {name for name, value in networks.named_parameters() if value.requires_grad}
    assert held[0] | held[1] == trained and not held[0] & held[1]
    assert "flux.transformer_blocks.0.attn.to_q.weight" in held[0]
    assert "flux.single_transformer_blocks.5.proj_mlp.weight" in held[0]
    assert all(name.startswith(("flux.transformer_blocks", "flux.single_transformer_blocks")) for name in held[0])
    assert not any("norm" in name or name.endswith("bias") for name in held[0])
    assert "flux.time_text_embed.text_embedder.linear_1.weight" not in trained  # the pooled vector is not looked at
    assert not any("blocks" in name and name.endswith("weight") and "norm" not in name for name in held[1])


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


def test_guidance_is_the_teachers_scale(networks):
    objective = variation.GuidanceDistillation(networks)
    batch = batch_of()
    noisy, times = torch.randn(4, 16, 16, 16), torch.rand(4)
    usual = torch.full((4,), variation.USUAL_GUIDANCE)
    with torch.no_grad():
        given = networks.velocity(noisy, times, networks.context(batch), None, usual)
        free = networks.velocity(noisy, times, networks.context(replace(batch, tokens=batch.tokens * 0)), None, usual)
    for guidance, scale in ((1.0, 1.0), (3.5, 2.0)):
        wanted = objective._wanted(batch, noisy, times, torch.full((4,), guidance))
        assert torch.allclose(wanted, free + scale * (given - free), atol=1e-5)
        assert not torch.allclose(wanted, free + (scale + 0.3) * (given - free), atol=1e-3)


def test_a_prompt_that_is_not_there_is_not_heard(networks):
    networks.t5_embedder = prompts.new_embedder(8, 128)
    batch = batch_of()
    without = prompts.Unheard().loss(networks, batch, torch.Generator().manual_seed(0))["loss"]
    heard = replace(batch, prompt=torch.randn(4, 20, 8))
    assert without == 0 < prompts.Unheard().loss(networks, heard, torch.Generator().manual_seed(0))["loss"]


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


# ---- networks against those that run them ------------------------------------------------------------------------


def test_tokens_are_those_of_the_pack_s_encoder(demo):
    """A picture at exactly the encoder's size, so that nothing is resized on either way."""
    from qwen2vl_flux_pack.checkpoints.qwen2vl import read_config
    from qwen2vl_flux_pack.models.qwen2vl import load_qwen2vl
    from qwen2vl_flux_pack.training.networks import read_networks

    scenes, generator = random_scenes(1, seeded()), seeded()
    source = Source(128, 128, large=True)
    shown, _ = seen(scenes, random_layout(scenes, source.canvas, generator), source)
    shown = (shown * 255).round() / 255
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


# ---- the whole way, in small -----------------------------------------------------------------------------------------


def test_all_steps_in_small(monkeypatch, tmp_path, caplog):
    """A few updates of everything make a folder that the pack's loaders read; a second call does nothing again."""
    from qwen2vl_flux_pack.checkpoints.controlnet import load_controlnet
    from qwen2vl_flux_pack.checkpoints.flux import load_transformer, load_vae
    from qwen2vl_flux_pack.checkpoints.text import load_text_encoders
    from qwen2vl_flux_pack.models.anyline import load_anyline
    from qwen2vl_flux_pack.models.depth_anything import load_depth_anything
    from qwen2vl_flux_pack.models.qwen2vl import load_qwen2vl

    for module in (pairs, controlled):
        monkeypatch.setattr(module, "CHUNKS", 2)
        monkeypatch.setattr(module, "CHUNK", 8)
    monkeypatch.setattr(encoder, "CHUNKS", 1)
    monkeypatch.setattr(encoder, "CHUNK", 8)
    monkeypatch.setattr(autoencoder.train, "__defaults__", (2, 2))  # steps
    monkeypatch.setattr(encoder.train, "__defaults__", (2,))
    monkeypatch.setattr(encoder, "BATCH", 4)
    for learned in (annotators.train_depth, annotators.train_line):
        monkeypatch.setattr(learned, "__defaults__", (2,))
    for name in ("VARIATION", "GUIDANCE", "PROMPTS", "CONTROL"):
        recipe = replace(getattr(make, name), steps=2, batch_size=2, sample_every=0)
        monkeypatch.setattr(make, name, recipe)
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
    caplog.clear()
    make.main(arguments)
    assert [record.getMessage() for record in caplog.records] == [f"{step}: done before" for step in make.STEPS]
