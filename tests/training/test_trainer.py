"""The loop: it learns, keeps its schedule and average, spreads over processes, and says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from systems.common.errors import InputError
from systems.qwen2vl_flux.checkpoint import read_linear
from training import checkpoints
from training.ema import Ema
from training.generators import generator_for
from training.output import Output
from training.progress import duration, read_log
from training.qwen2vl_flux.batch import Batch
from training.qwen2vl_flux.checkpoint import export
from training.qwen2vl_flux.flow import RectifiedFlow, logit_normal
from training.qwen2vl_flux.networks import read_networks
from training.qwen2vl_flux.optimizer import adamw
from training.qwen2vl_flux.recipe import Qwen2VLFluxRecipe
from training.schedule import Trapezoid
from training.trainer import train

RECIPE = Qwen2VLFluxRecipe(
    steps=4, accumulation=1, precision="no", gradient_checkpointing=False, log_every=1, save_every=0, sample_every=0
)


class Same:
    """One batch of random latents and tokens, again and again."""

    def __init__(self, networks, count: int = 2):
        generator = generator_for(5)
        tokens = torch.randn(count, 9, networks.connector.in_features, generator=generator)
        self.only = Batch(torch.randn(count, 16, 8, 8, generator=generator), tokens)

    def batch(self, step: int, part: int, rank: int) -> Batch:
        return self.only


@pytest.fixture
def networks(demo):
    return read_networks(demo, lambda double, single: range(double + single))


def run(networks, demo, folder, recipe=RECIPE, objective=None, batches=None, **options) -> Output:
    output = Output(folder)
    with output.claim():
        train(
            recipe,
            networks,
            batches or Same(networks),
            objective or RectifiedFlow(),
            output,
            **{
                "optimizers": lambda trained: [adamw(recipe, trained)],
                "export": partial(export, demo),
                **options,
            },
        )
    return output


# ---- learning --------------------------------------------------------------------------------------------------------


def test_loss_falls(networks, demo, tmp_path):
    recipe = replace(RECIPE, steps=40, flux_lr=3e-3, connector_lr=3e-3)
    losses = [line["loss"] for line in read_log(run(networks, demo, tmp_path, recipe).log)]
    assert sum(losses[-10:]) < 0.75 * sum(losses[:5]) * 2


def test_only_what_trains_changes(networks, demo, tmp_path):
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    run(networks, demo, tmp_path, replace(RECIPE, flux_lr=1e-3, connector_lr=1e-3))
    changed = {name for name, value in networks.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(networks.trainable())


def test_groups(networks):
    """Each part has its own learning rate, and every parameter is in one group."""
    recipe = replace(RECIPE, flux_lr=1e-3, connector_lr=2e-3, qwen_lr=3e-3)
    trained = networks.trainable()
    optimizer = adamw(recipe, {**trained, "objective.head": nn.Parameter(torch.zeros(1)), "qwen.x": nn.Parameter()})
    rates = {id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]}
    assert {rates[id(value)] for name, value in trained.items() if name.startswith("flux.")} == {1e-3}
    assert rates[id(trained["connector.weight"])] == 2e-3 and sorted(set(rates.values())) == [1e-3, 2e-3, 3e-3]
    assert len(rates) == len(trained) + 2
    assert all(group["betas"] == (0.9, 0.95) and group["weight_decay"] == 0.1 for group in optimizer.param_groups)


def test_bfloat16(demo, tmp_path):
    """Computed in bfloat16, kept in float32: a step far below bfloat16's resolution is not lost."""
    networks = read_networks(demo, lambda double, single: (0,), frozen_dtype=torch.bfloat16)
    name = "flux.transformer_blocks.0.attn.to_q.weight"
    before = networks.trainable()[name].detach().clone()
    run(networks, demo, tmp_path, replace(RECIPE, steps=1, warm_up=0, precision="bf16", weight_decay=0.0))
    step = (networks.trainable()[name] - before).abs()
    assert 0 < step.max() <= 1.01e-5
    assert (before.bfloat16() == networks.trainable()[name].bfloat16()).float().mean() > 0.9


def test_nothing_trains(networks, demo, tmp_path):
    with pytest.raises(InputError, match=r"^Nothing in the networks requires gradients; let at least one"):
        run(networks.requires_grad_(False), demo, tmp_path)


def test_a_loss_that_is_no_number(networks, demo, tmp_path):
    """Said at the next line of the log, and nothing of it is saved."""
    recipe = replace(RECIPE, steps=6, log_every=2, save_every=2)
    same = Same(networks)

    class Spoiled:
        def batch(self, step: int, part: int, rank: int) -> Batch:
            return replace(same.only, latents=same.only.latents / (step < 3))

    with pytest.raises(InputError, match=r"^The loss is (nan|inf) at step 4; nothing was saved of it, "):
        run(networks, demo, tmp_path, recipe, batches=Spoiled())
    output = Output(tmp_path)
    assert output.newest()[0] == 2 and not output.partial()


def test_a_weight_that_is_no_number(networks, demo, tmp_path):
    """An update from gradients that are none is not saved either, and the checkpoint before keeps its state."""
    recipe = replace(RECIPE, steps=4, save_every=2)
    objective = RectifiedFlow()

    class Spoiled:
        """Its loss is a number, but not its gradient, in the last step before the second checkpoint."""

        def __init__(self):
            self.steps = 0

        def modules(self):
            return None

        def loss(self, networks, batch, generator):
            self.steps += 1
            made = objective.loss(networks, batch, generator)
            nought = (networks.connector.weight * 0).sum()
            return {"loss": made["loss"] + (nought.sqrt() if self.steps == 4 else nought)}

    with pytest.raises(InputError, match=r"^A weight is no number at step 4; nothing was saved of it, begin a new run"):
        run(networks, demo, tmp_path, recipe, Spoiled())
    output = Output(tmp_path)
    assert output.newest()[0] == 2 and (output.checkpoint(2) / checkpoints.STATE).is_dir() and not output.partial()


# ---- objective, schedule, average ------------------------------------------------------------------------------------


def test_trapezoid():
    rates = [Trapezoid(steps=100, warm_up=4, decay=10)(step) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and set(rates[4:89]) == {1.0}
    assert rates[-11:] == pytest.approx([1.0, *(number / 11 for number in range(10, 0, -1))])
    assert [Trapezoid(steps=3, warm_up=0, decay=0)(step) for step in range(3)] == [1.0, 1.0, 1.0]


def test_rates_in_the_log(networks, demo, tmp_path):
    recipe = replace(RECIPE, steps=8, warm_up=0.25, decay=0.25, flux_lr=3e-4)
    log = read_log(run(networks, demo, tmp_path, recipe).log)
    expected = [3e-4 * Trapezoid(8, 2, 2)(step) for step in range(8)]
    assert [line["lr"] for line in log] == pytest.approx(expected) and len(set(expected)) > 2


def test_logit_normal():
    times = logit_normal(20_000, generator_for(0))
    quarters = torch.quantile(times, torch.tensor([0.25, 0.5, 0.75]))
    assert quarters.tolist() == pytest.approx([0.3375, 0.5, 0.6625], abs=0.01)
    assert float(logit_normal(20_000, generator_for(0), mean=0.7, spread=1.1).median()) == pytest.approx(
        0.668, abs=0.01
    )


def test_generators_differ():
    numbers = ((0, 1), (1, 0, 1), (0, 0, 1), (0,), (0, 1, 0, 1))
    drawn = [torch.randn(1, generator=generator_for(*each)).item() for each in numbers]
    assert len(set(drawn)) == len(numbers) and torch.randn(1, generator=generator_for(0, 1)).item() == drawn[0]


def test_average():
    parameter = nn.Parameter(torch.zeros(3))
    ema = Ema({"p": parameter}, 0.5)
    expected = 0.0
    for step, value in enumerate((1.0, 2.0, 3.0, 4.0)):
        parameter.data.fill_(value)
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert ema.averages["p"].tolist() == pytest.approx([expected] * 3)
    with ema.applied():
        assert parameter.tolist() == pytest.approx([expected] * 3)
    assert parameter.tolist() == [4.0] * 3


def test_average_is_what_is_exported_and_sampled(networks, demo, tmp_path):
    seen = {}

    def sample(networks, step):
        seen[step] = networks.connector.weight.detach().clone()

    recipe = replace(RECIPE, ema=0.9, flux_lr=1e-3, connector_lr=1e-3, sample_every=2)
    output = run(networks, demo, tmp_path, recipe, sample=sample)
    folder = output.checkpoint(4)
    state = load_file(folder / checkpoints.STATE / "state.safetensors")
    assert list(seen) == [2, 4] and torch.equal(seen[4], state["average.connector.weight"])
    assert torch.equal(networks.connector.weight, state["weights.connector.weight"])
    exported = read_linear(folder / "qwen2-vl" / "connector.pt")["weight"]
    assert torch.equal(exported, seen[4].to(exported.dtype)) and not torch.equal(seen[4], networks.connector.weight)


class WithHead:
    """Rectified flow, and a network of its own that learns the mean of the latents."""

    def __init__(self):
        torch.manual_seed(0)
        self.head = nn.Linear(1, 1)

    def modules(self):
        return self.head

    def loss(self, networks, batch, generator):
        flow = RectifiedFlow().loss(networks, batch, generator)["loss"]
        guess = (self.head(torch.ones(1)) - batch.latents.mean()).square().mean()
        return {"loss": flow + guess, "flow": flow, "guess": guess}


def test_heads_of_an_objective(networks, demo, tmp_path):
    """They train, their figures are in the log, their weights in the state and never in the published folder."""
    objective = WithHead()
    before = objective.head.weight.item()
    output = run(networks, demo, tmp_path, replace(RECIPE, connector_lr=1e-2), objective)
    line = read_log(output.log)[-1]
    assert line["loss"] == pytest.approx(line["flow"] + line["guess"], rel=1e-5)
    state = load_file(output.checkpoint(4) / checkpoints.STATE / "state.safetensors")
    assert state["weights.objective.weight"].item() == objective.head.weight.item() != before


# ---- going on --------------------------------------------------------------------------------------------------------


def test_optimisers_of_ones_own_go_on_exactly(demo, tmp_path):
    """Muon beside AdamW, an average, a cut norm and a head: a run stopped and taken up again is the run in one go."""
    recipe = replace(RECIPE, steps=4, save_every=2, sample_every=3, ema=0.9, max_norm=1.0)

    def part(folder, stop, resume=False):
        networks = read_networks(demo, lambda double, single: range(double + single))
        objective = WithHead()
        matrices = [value for name, value in networks.trainable().items() if "blocks" in name and value.ndim == 2]
        inside = {id(value) for value in matrices}
        others = [value for value in networks.trainable().values() if id(value) not in inside]
        optimizers = [
            torch.optim.Muon(matrices, lr=1e-3),
            torch.optim.AdamW([*others, *objective.head.parameters()], lr=1e-3),
        ]

        def sample(networks, step):
            if stop:
                raise RuntimeError

        options = {"optimizers": lambda trained: optimizers, "schedule": lambda step: 1 / (1 + step), "sample": sample}
        return run(networks, demo, folder, recipe, objective, resume=resume, **options)

    whole = part(tmp_path / "whole", stop=False)
    with pytest.raises(RuntimeError):
        part(tmp_path / "broken", stop=True)
    broken = Output(tmp_path / "broken")
    assert broken.newest()[0] == 2
    part(tmp_path / "broken", stop=False, resume=True)
    place = f"{checkpoints.STATE}/state.safetensors"
    one, two = (load_file(output.checkpoint(4) / place) for output in (whole, broken))
    assert set(one) == set(two) and any(name.startswith("optimizer.1.") for name in one)
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    timeless = [[{**line, "seconds": 0} for line in read_log(output.log)] for output in (whole, broken)]
    assert timeless[0] == timeless[1] and len(timeless[0]) == 4


def test_other_settings_are_refused(networks, demo, tmp_path):
    run(networks, demo, tmp_path, RECIPE, settings={"data": "abc"})
    for recipe, settings, sentence in (
        (replace(RECIPE, flux_lr=1e-4), {"data": "abc"}, "began with flux_lr 1e-05 and should go on with 0.0001; give"),
        (
            replace(RECIPE, steps=9),
            {"data": "abc"},
            "began with steps 4 and should go on with 9; give the same, or begin",
        ),
        (
            RECIPE,
            {"data": "xyz"},
            "began with other data .*; put the former data back, or begin a new run from",
        ),
    ):
        with pytest.raises(InputError, match=sentence):
            run(networks, demo, tmp_path, recipe, settings=settings, resume=True)
    others = replace(RECIPE, log_every=3, save_every=7, sample_every=5)
    run(networks, demo, tmp_path, others, settings={"data": "abc"}, resume=True)  # a finished run goes on to its end


def test_only_the_newest_holds_a_state(networks, demo, tmp_path):
    output = run(networks, demo, tmp_path, replace(RECIPE, save_every=2))
    held = {path.name: (path / checkpoints.STATE).is_dir() for path in output.checkpoints.iterdir()}
    assert held == {"step-000002": False, "step-000004": True}


def test_log_cut_short_by_a_kill(networks, demo, tmp_path):
    output = run(networks, demo, tmp_path, replace(RECIPE, steps=2))
    kept = output.log.read_text()
    output.log.write_text(kept + '{"step": 3, "loss": 0.5, "seconds": 9.0, "lr": 1.0}\n{"step": 4, "lo')
    run(networks, demo, tmp_path, replace(RECIPE, steps=2), resume=True)
    assert output.log.read_text() == kept


def test_durations():
    seconds = (0.4, 59, 130, 4000, 9000, 200_000)
    assert [duration(each) for each in seconds] == ["0 s", "59 s", "2 min", "67 min", "2.5 h", "2.3 days"]


def test_a_run_with_all_columns(train_script, with_tokenizer, pictures, tmp_path):
    """Prompts, focus and references from metadata reach the networks, with each other and alone."""
    rows = [
        {"image": "0.png", "prompt": "a box"},
        {"image": "1.png", "reference": "2.png", "focus": [{"x": 0.4, "y": 0.5, "r": 0.6}]},
        {"image": "3.png", "prompt": "a disc", "focus": [{"x": 0.4, "y": 0.5, "r": 0.6}]},
        {"image": "4.png"},
    ]
    data = tmp_path / "rows.jsonl"
    for row in rows:
        row.update({name: str(pictures / row[name]) for name in ("image", "reference") if name in row})
    data.write_text("\n".join(map(json.dumps, rows)))
    flags = "--blocks all --side 64 --batch_size 2 --accumulation 2 --steps 2 --sample_every 0 --precision no".split()
    output = Output(tmp_path / "out")
    status, _, said = train_script("--checkpoint", with_tokenizer, "--data", data, "--output", output.root, *flags)
    assert (status, said) == (0, "") and output.newest()[0] == 2


# ---- several processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def two_processes(demo, root) -> Callable[..., subprocess.CompletedProcess]:
    """two_processes(data, output, *flags) runs the script as accelerate's launcher starts it on two GPUs."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", root / "train.py"]

    def run(data: Path, output: Output, *flags: object) -> subprocess.CompletedProcess:
        command = [*launch, "--checkpoint", demo, "--data", data, "--output", output.root, *IN_PARTS, *flags]
        environ = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        return subprocess.run([str(part) for part in command], env=environ, capture_output=True, text=True)

    return run


IN_PARTS = "--blocks all --side 64 --batch_size 1 --lr 1e-3 --precision no --sample_every 0 --seed 4".split()


def state_of(output: Output) -> dict[str, torch.Tensor]:
    return load_file(output.newest()[1] / checkpoints.STATE / "state.safetensors")


def test_two_processes_learn_what_one_does_in_turns(two_processes, train_script, demo, pictures, tmp_path):
    """Batches and noise are shared out, gradients meet, one process writes."""
    one, two = Output(tmp_path / "one"), Output(tmp_path / "two")
    done = two_processes(pictures, two, "--steps", 2, "--accumulation", 1)
    assert done.returncode == 0, done.stderr
    alone = ["--checkpoint", demo, "--data", pictures, "--output", one.root, "--steps", 2, "--accumulation", 2]
    assert train_script(*alone, *IN_PARTS)[0] == 0
    states = [state_of(output) for output in (one, two)]
    for name, value in states[0].items():
        if "exp_avg" in name:
            assert torch.allclose(value, states[1][name], rtol=1e-3, atol=1e-4 * float(value.abs().max())), name
    losses = [[line["loss"] for line in read_log(output.log)] for output in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert json.loads((two.checkpoint(2) / "training/run.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_two_processes_go_on_after_a_broken_picture(two_processes, pictures, tmp_path):
    """Whichever of them meets it, all that was learnt is saved, and the run goes on exactly."""
    whole, output = Output(tmp_path / "whole"), Output(tmp_path / "out")
    data = Path(shutil.copytree(pictures, tmp_path / "data"))
    assert two_processes(data, whole, "--steps", 3, "--accumulation", 1).returncode == 0
    for name in ("0.png", "3.png"):  # of three steps with two pictures each, one of these is not met in the first
        kept = (data / name).read_bytes()
        (data / name).write_bytes(kept[: len(kept) // 2])
        done = two_processes(data, output, "--steps", 3, "--accumulation", 1)
        (data / name).write_bytes(kept)
        assert done.returncode != 0 and done.stderr.count(f"train.py: {data / name} (of {data}) cannot be read (") == 1
        assert done.stderr.count("Another process cannot read its batch") == 1
        if output.newest():
            break
        shutil.rmtree(output.root)
    assert 0 < output.newest()[0] < 3
    assert two_processes(data, output, "--steps", 3, "--accumulation", 1, "--resume").returncode == 0
    one, two = state_of(whole), state_of(output)
    assert set(one) == set(two) and all(torch.equal(value, two[name]) for name, value in one.items())
