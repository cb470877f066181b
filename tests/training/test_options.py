"""The command line of train.py: what it means, and one sentence for what is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from training.qwen2vl_flux.options import training_options
from training.qwen2vl_flux.recipe import Qwen2VLFluxRecipe


@pytest.fixture
def needed(demo, pictures, tmp_path) -> list[str]:
    return ["--checkpoint", str(demo), "--data", str(pictures), "--output", str(tmp_path / "out")]


def test_the_published_recipe(needed, demo):
    options = training_options([*needed, "--stage", "2"])
    assert (options.stage, options.blocks, options.qwen_layers, options.side) == (2, None, 1, 1024)
    assert options.checkpoint == demo and options.resume is False
    recipe = options.recipe
    assert recipe == Qwen2VLFluxRecipe()
    assert (recipe.flux_lr, recipe.connector_lr, recipe.qwen_lr) == (1e-5, 1e-5, 1e-5)
    assert (recipe.betas, recipe.weight_decay, recipe.precision) == ((0.9, 0.95), 0.1, "bf16")
    assert recipe.batch_size * recipe.accumulation * 8 == 128 and recipe.steps == 100_000
    assert recipe.gradient_checkpointing and recipe.accumulation == 2


def test_other_numbers(needed):
    flags = "--blocks 0,19-21,3 --lr 1e-3 --steps 5 --batch_size 3 --accumulation 4 --precision no --seed 9 --resume"
    options = training_options([*needed, *flags.split(), "--save_every", "2", "--sample_every", "0", "--side", "128"])
    assert (options.stage, options.blocks, options.side, options.resume) == (None, (0, 3, 19, 20, 21), 128, True)
    recipe = options.recipe
    assert (recipe.flux_lr, recipe.connector_lr, recipe.qwen_lr) == (1e-3,) * 3
    assert (recipe.steps, recipe.batch_size, recipe.accumulation, recipe.precision, recipe.seed) == (5, 3, 4, "no", 9)
    assert (recipe.save_every, recipe.sample_every) == (2, 0)
    assert training_options([*needed, "--blocks", "all"]).blocks is None


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ([], "one of the arguments --stage --blocks is required"),
        (["--stage", "4"], "argument --stage: give a whole number from 1 to 3, not 4"),
        (["--stage", "1", "--blocks", "all"], "argument --blocks: not allowed with argument --stage"),
        (["--blocks", "1,b"], "argument --blocks: write blocks like 0,3,19-21, or all, not 1,b"),
        (["--blocks", "5-3"], "argument --blocks: 5-3 names no block; a range goes from its smaller number up"),
        (["--stage", "1", "--lr", "0"], "argument --lr: give a number above 0 and at most 1, not 0"),
        (["--stage", "1", "--lr", "nan"], "argument --lr: give a number above 0 and at most 1, not nan"),
        (["--stage", "1", "--steps", "-3"], "argument --steps: give a whole number from 1 to 1000000000, not -3"),
        (["--stage", "1", "--side", "8"], "argument --side: give a whole number from 16 to 4096, not 8"),
        (["--stage", "1", "--step", "3"], "unrecognized arguments: --step 3"),
        (["--stage", "1", "--checkpoint", "gone"], "argument --checkpoint: there is no folder gone"),
        (
            ["--stage", "1", "--data", "gone.csv"],
            "argument --data: there is no gone.csv; give a folder of images, or",
        ),
    ],
)
def test_wrong_flags(needed, flags, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        training_options([*needed, *flags])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith(f"train.py: {sentence}") and said.count("\n") == 1


def test_no_checkpoint(needed, pictures, capsys):
    with pytest.raises(SystemExit):
        training_options([*needed, "--stage", "1", "--checkpoint", str(pictures)])
    assert "is no checkpoint; it holds neither qwen2-vl nor flux" in capsys.readouterr().err


def test_help_at_once(root):
    """Without a package that Python does not bring; it says what --data may hold."""
    done = subprocess.run([sys.executable, "-S", root / "train.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "image, prompt, reference and focus" in " ".join(done.stdout.split())
