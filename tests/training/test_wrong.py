"""What train.py says and leaves behind when something cannot be used: one sentence, an exit status, nothing lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from training.output import Output
from training.progress import read_log

FLAGS = "--blocks all --side 64 --batch_size 1 --accumulation 1 --sample_every 0 --precision no --qwen_layers 0".split()


@pytest.fixture
def checkpoint(demo, tmp_path) -> Path:
    """A copy of the demo checkpoint, to be spoilt."""
    return Path(shutil.copytree(demo, tmp_path / "checkpoint"))


def fails(
    train_script, output: Path, sentence: str, checkpoint: Path, data: Path, *flags: object, status: int = 1
) -> None:
    """The script ends with the one sentence that begins so, and has written no checkpoint."""
    given = ["--checkpoint", checkpoint, "--data", data, "--output", output, "--steps", 2, *FLAGS, *flags]
    ended, _, said = train_script(*given)
    assert said.startswith(f"train.py: {sentence}") and said.count("\n") == 1 and said.endswith(".\n"), said
    assert ended == status and not Output(output).newest()


def test_data(train_script, demo, pictures, tmp_path):
    tables = {
        "column.csv": ("picture\n0.png\n", "column.csv line 2 has an unknown column 'picture'; a row knows image, "),
        "gone.jsonl": ('{"image": "9.png"}', "image of gone.jsonl line 1 is 9.png, and there is no file "),
        "focus.json": ('[{"image": "0.png", "focus": "x"}]', "focus of focus.json row 1 cannot be read: The dots are"),
        "rows.txt": ("0.png", f"{tmp_path / 'rows.txt'} is neither a folder nor one of .csv, .json, .jsonl"),
        "latin.csv": ("image\né.png", f"{tmp_path / 'latin.csv'} is not UTF-8 text (line 2); save it as UTF-8"),
    }
    shutil.copy(pictures / "0.png", tmp_path)
    for name, (text, sentence) in tables.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
        fails(train_script, tmp_path / "out", sentence, demo, tmp_path / name)
    (tmp_path / "empty").mkdir()
    fails(train_script, tmp_path / "out", f"{tmp_path / 'empty'} holds no image (", demo, tmp_path / "empty")
    (tmp_path / "empty" / "bad.png").write_text("not a picture")
    fails(train_script, tmp_path / "out", f"{tmp_path / 'empty' / 'bad.png'} (of ", demo, tmp_path / "empty")


def test_prompts_without_their_tokenizer(train_script, checkpoint, pictures, tmp_path):
    shutil.rmtree(checkpoint / "flux" / "tokenizer_2", ignore_errors=True)
    rows = tmp_path / "prompts.json"
    rows.write_text(json.dumps([{"image": str(pictures / "0.png"), "prompt": "a box"}]))
    place = checkpoint / "flux" / "tokenizer_2"
    sentence = f"{place} holds no tokenizer of T5, which the prompts of the data need; download that folder"
    fails(train_script, tmp_path / "out", sentence, checkpoint, rows)


@pytest.mark.parametrize(
    "part, sentence",
    [
        ("qwen2-vl/connector.pt", "qwen2-vl/connector.pt is missing; download it into that folder"),
        ("qwen2-vl/config.json", "qwen2-vl/config.json is missing"),
        ("flux/vae", "flux/vae is missing; download that folder of the checkpoint"),
        ("flux/text_encoder", "flux/text_encoder is missing"),
        ("flux/transformer/config.json", "flux/transformer/config.json is missing"),
        ("flux/transformer/*-00002-*", "flux/transformer lacks 1 of 2 shards ("),
        ("qwen2-vl/model-00001-*", "qwen2-vl lacks 1 of 2 shards ("),
    ],
)
def test_parts_of_the_checkpoint_missing(train_script, checkpoint, pictures, tmp_path, part, sentence):
    found = list(checkpoint.glob(part))
    assert found
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    fails(train_script, tmp_path / "out", f"{checkpoint}/{sentence}", checkpoint, pictures)


def test_other_models(train_script, checkpoint, pictures, tmp_path):
    for place, entry, sentence in (
        (
            "flux/transformer",
            "_class_name",
            "describes a 'Other', not a FluxTransformer2DModel; put the checkpoint's own",
        ),
        (
            "flux/vae",
            "_class_name",
            "describes a 'Other', not one of AutoencoderKL, AutoencoderTiny; put FLUX's own vae",
        ),
        ("flux/text_encoder", "model_type", "describes a model of type 'Other', not 'clip_text_model'; put the"),
        ("qwen2-vl", "model_type", "describes a model of type 'Other'; put the checkpoint's own qwen2-vl folder there"),
    ):
        path = checkpoint / place / "config.json"
        kept = path.read_text()
        path.write_text(json.dumps({**json.loads(kept), entry: "Other"}))
        fails(train_script, tmp_path / "out", f"{path} {sentence}", checkpoint, pictures)
        path.write_text(kept)


def test_blocks(train_script, demo, pictures, tmp_path):
    config = json.loads((demo / "flux" / "transformer" / "config.json").read_text())
    double, single = config["num_layers"], config["num_single_layers"]
    count = double + single
    given = ["--checkpoint", demo, "--data", pictures, "--output", tmp_path / "out", "--stage", 1, *FLAGS[2:]]
    status, _, said = train_script(*given)
    assert status == 1 and said.startswith(
        "train.py: The published stages are for FLUX.1's 19 double and 38 single blocks"
    )
    fails(train_script, tmp_path / "out", f"Block {count} should train", demo, pictures, "--blocks", f"0,{count}")
    fails(train_script, tmp_path / "out", "The encoder has ", demo, pictures, "--qwen_layers", 99)


def test_output_folders(train_script, demo, pictures, tmp_path):
    busy = Output(tmp_path / "busy")
    with busy.claim():
        fails(
            train_script,
            busy.root,
            f"Another run is at work in {busy.root}; let it end, or give this one",
            demo,
            pictures,
        )
    (tmp_path / "file").write_text("")
    fails(train_script, tmp_path / "file" / "out", f"{tmp_path / 'file' / 'out'} cannot be written (", demo, pictures)


def test_a_run_is_not_overwritten(train_script, demo, pictures, tmp_path):
    """Nor gone on with under other settings; with its own it ends where it ended."""
    output = tmp_path / "out"
    given = ["--checkpoint", demo, "--data", pictures, "--output", output, "--steps", 1, *FLAGS]
    assert train_script(*given)[0] == 0
    before = (output / "log.jsonl").read_bytes()
    other = shutil.copytree(pictures, tmp_path / "other")
    (other / "0.png").unlink()
    for flags, sentence in (
        ([], f"{output} holds a run already; go on with it by --resume, or give another folder."),
        (["--resume", "--lr", "1e-4"], f"The run in {output} began with flux_lr 1e-05 and should go on with 0.0001; "),
        (["--resume", "--blocks", "0"], f"The run in {output} began with blocks ['all'] and should go on with [0]; "),
        (["--resume", "--data", str(other)], f"The run in {output} began with other data (its rows, "),
        (
            ["--resume", "--checkpoint", output / "checkpoints" / "step-000001"],
            f"The run in {output} began with checkpoint",
        ),
    ):
        status, _, said = train_script(*given, *flags)
        assert status == 1 and said.startswith(f"train.py: {sentence}") and said.count("\n") == 1
    assert train_script(*given, "--resume")[0] == 0 and (output / "log.jsonl").read_bytes() == before


def broken(pictures: Path, folder: Path, name: str) -> tuple[Path, bytes]:
    """A copy of the pictures in which one breaks off; its head is whole, so that it is met in mid-run. And its bytes
    as they should be."""
    data = Path(shutil.copytree(pictures, folder / "data"))
    whole = (data / name).read_bytes()
    (data / name).write_bytes(whole[: len(whole) // 2])
    return data, whole


@pytest.mark.parametrize("save_every", [100, 1])
def test_a_picture_that_breaks_off(train_script, demo, pictures, tmp_path, save_every):
    """What was learnt until then is saved, if it is not saved yet; with the picture put right the run goes on."""
    (data, whole), output = broken(pictures, tmp_path, "3.png"), Output(tmp_path / "out")
    given = ["--checkpoint", demo, "--data", data, "--output", output.root, "--steps", 7, *FLAGS, "--seed", 1]
    status, _, said = train_script(*given, "--save_every", save_every)
    assert status == 1 and said.startswith(f"train.py: {data / '3.png'} (of {data}) cannot be read (")
    assert said.endswith("; put a whole image of its name and shape there.\n") and said.count("\n") == 1
    step, folder = output.newest()
    assert 0 < step < 7 and (folder / "training" / "state.safetensors").is_file()
    (data / "3.png").write_bytes(whole)
    assert train_script(*given, "--resume")[0] == 0 and output.newest()[0] == 7
    assert read_log(output.log)[-1]["step"] == 7


def test_a_sample_that_breaks_off(train_script, demo, pictures, tmp_path):
    """The same where the picture is first opened for the sheet of samples."""
    (data, whole), output = broken(pictures, tmp_path, "0.png"), Output(tmp_path / "out")
    given = ["--checkpoint", demo, "--data", data, "--output", output.root, "--steps", 3, *FLAGS, "--seed", 1]
    status, _, said = train_script(*given, "--sample_every", 1)
    assert status == 1 and said.startswith(f"train.py: {data / '0.png'} (of {data}) cannot be read (")
    assert output.newest()[0] == 1
    (data / "0.png").write_bytes(whole)
    assert train_script(*given, "--sample_every", 1, "--resume")[0] == 0 and output.newest()[0] == 3
    assert [path.name for path in sorted(output.samples.iterdir())] == ["step-000002.png", "step-000003.png"]


def test_no_place_for_samples(train_script, demo, pictures, tmp_path):
    """A sheet that cannot be written ends the run too, with all that it has learnt."""
    output = Output(tmp_path / "out")
    (output.samples / "step-000001.png").mkdir(parents=True)
    given = ["--checkpoint", demo, "--data", pictures, "--output", output.root, "--steps", 2, *FLAGS]
    status, _, said = train_script(*given, "--sample_every", 1)
    assert status == 1 and said.startswith(f"train.py: {output.samples / 'step-000001.png'}: Is a directory; --resume ")
    assert output.newest()[0] == 1


def test_an_output_among_the_pictures(train_script, demo, pictures, tmp_path):
    data = Path(shutil.copytree(pictures, tmp_path / "data"))
    sentence = f"{data / 'run'} lies in {data}, where its samples would be taken for images to learn from; give "
    fails(train_script, data / "run", sentence, demo, data)
    assert not (data / "run").exists()
