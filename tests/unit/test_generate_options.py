"""The command line of generate.py: what each flag means, and one sentence for each that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from sentences import one_sentence

from client.arguments import sentence
from client.demo_options import demo_options
from client.qwen2vl_flux import graph as graphs
from client.qwen2vl_flux.generate import prompt_for
from client.qwen2vl_flux.options import Options, generate_options
from client.qwen2vl_flux.request import CONTROLNET_MODES, MODES, Request
from systems.annotators.sam2.points import Point, parse_points

VARIATION = ["--mode", "variation", "--input_image", "photo.png"]
INPAINT = ["--mode", "inpaint", "--input_image", "photo.png"]
MASKED = [*INPAINT, "--mask_image", "mask.png"]
CONTROLNET = ["--mode", "controlnet", "--input_image", "photo.png"]
PUBLISHED = ["--mode", "controlnet-inpaint", *MASKED[2:], "--as_published"]
LONG = "9" * 5000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder we are in, with pictures and checkpoints."""
    for name in ("photo.png", "other.png", "mask.png", "text.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "weights" / "qwen2-vl").mkdir(parents=True)
    (tmp_path / "own" / "demo" / "flux").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(*arguments: str) -> Options:
    return generate_options(arguments)


# ---- what the flags mean -------------------------------------------------------------------------------------------


def test_the_published_defaults(folder):
    options = parsed(*VARIATION)
    request = options.request
    assert (request.mode, request.input_image) == ("variation", folder / "photo.png")
    assert (request.steps, request.guidance_scale, request.denoise_strength) == (28, 3.5, 0.8)
    assert (request.line_strength, request.depth_strength, request.image_count) == (0.4, 0.2, 1)
    assert (request.prompt, request.aspect_ratio, request.size, request.turbo) == ("", None, None, False)
    assert (request.reference_image, request.mask_image, request.mask_points, request.dots) == (None, None, (), "")
    assert options.output_dir == folder / "outputs" and not options.output_dir.exists()
    assert (options.server, options.device, options.save_prompt, options.remarks) == ("", None, None, ())


def test_every_flag(folder):
    arguments = [*MASKED, "--reference_image", "other.png", "--prompt", "a fox", "--output_dir", "made/here"]
    arguments += ["--image_count", "3", "--aspect_ratio", "2.4:1", "--steps", "12", "--guidance_scale", "2"]
    arguments += ["--denoise_strength", "0.5", "--center_x", "0.25", "--center_y", "0", "--radius", "0.5", "--turbo"]
    arguments += ["--reference_strength", "0.25"]
    arguments += ["--device", "cpu", "--server", "https://host.example:8000/comfy/", "--seed", "7", "--size", "512"]
    arguments += ["--checkpoint", "mine", "--save_prompt", "prompt.json", "--as_published"]
    options = parsed(*arguments)
    assert options.request == Request(
        mode="inpaint",
        input_image=folder / "photo.png",
        prompt="a fox",
        reference_image=folder / "other.png",
        mask_image=folder / "mask.png",
        dots='[{"x": 0.25, "y": 0.0, "r": 0.5, "w": 1}]',
        image_count=3,
        seed=7,
        aspect_ratio="2.4:1",
        size=512,
        steps=12,
        guidance_scale=2.0,
        denoise_strength=0.5,
        reference_strength=0.25,
        turbo=True,
        as_published=True,
        checkpoint="mine",
    )
    assert (options.server, options.device) == ("https://host.example:8000/comfy", "cpu")
    assert (options.output_dir, options.save_prompt) == (folder / "made" / "here", folder / "prompt.json")
    assert options.remarks == ()


def test_every_flag_of_the_controlnet():
    arguments = [*CONTROLNET, "--line_mode", "--depth_mode", "--line_strength", "1", "--depth_strength", "0"]
    arguments += ["--controlnet", "union", "--depth_model", "d.pth", "--line_model", "l.pth"]
    request = parsed(*arguments, "--dots", '[{"x": 0.5, "y": 0.5}]').request
    assert request.line_mode and request.depth_mode and (request.line_strength, request.depth_strength) == (1.0, 0.0)
    assert (request.controlnet, request.depth_model, request.line_model) == ("union", "d.pth", "l.pth")
    assert request.dots == '[{"x": 0.5, "y": 0.5}]'


def test_no_field_of_the_request_is_without_a_flag():
    flags = {name.lstrip("-").split("=")[0] for name in _help_flags()}
    assert {field.name for field in fields(Request)} <= flags
    assert {"center_x", "center_y", "radius", "output_dir", "server", "device", "save_prompt"} <= flags


def _help_flags() -> list[str]:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, root / "generate.py", "--help"], capture_output=True, text=True, check=True)
    return [word.strip("[],") for word in done.stdout.split() if word.strip("[").startswith("--")]


@pytest.mark.parametrize(
    "flags, annotators",
    [
        ([], ("depth", "line")),
        (["--depth_mode", "--line_mode"], ("depth", "line")),
        (["--depth_mode"], ("depth",)),
        (["--line_mode"], ("line",)),
    ],
)
@pytest.mark.parametrize("mode", CONTROLNET_MODES)
def test_neither_hint_means_both(mode, flags, annotators):
    mask = ["--mask_image", "mask.png"] if mode == "controlnet-inpaint" else []
    arguments = ["--mode", mode, "--input_image", "photo.png", *mask, *flags]
    assert parsed(*arguments).request.annotators == annotators
    published = parsed(*arguments, "--as_published").request.annotators
    assert published == (annotators[:1] if mask else annotators)  # beside a mask, the published script drops the second


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("mode", CONTROLNET_MODES)
def test_the_request_and_the_graph_take_the_same_hints(folder, mode, as_published):
    mask = "mask.png" if mode == "controlnet-inpaint" else None
    both = [graphs.Hint("depth", "d.pth", 0.2), graphs.Hint("line", "l.pth", 0.4)]
    graph = graphs.controlnet("photo.png", both, control_net="union", mask=mask, as_published=as_published)
    request = Request(mode, folder / "photo.png", mask_image=mask and folder / mask, as_published=as_published)
    kept = graphs.active_hints(both, masked=bool(mask), as_published=as_published)
    assert request.annotators == tuple(hint.annotator for hint in kept)
    assert request.annotators == tuple(name for name in graphs.ANNOTATORS if name in graph)


def test_points_reach_sam2_as_its_node_reads_them():
    request = parsed(*INPAINT, "--mask_points", "0.3,0.5", "1,0,0", "--mask_points", "0.1,0.2,1").request
    assert request.mask_points == ((0.3, 0.5, 1), (1.0, 0.0, 0), (0.1, 0.2, 1))
    points = prompt_for(request)["segment"]["inputs"]["points"]
    assert parse_points(points) == (Point(0.3, 0.5, 1), Point(1.0, 0.0, 0), Point(0.1, 0.2, 1))


def test_random_seeds():
    seeds = {parsed(*VARIATION).request.seed for _ in range(5)}
    assert len(seeds) == 5 and all(0 <= seed < 2**32 for seed in seeds)
    assert parsed(*VARIATION, "--seed", "18446744073709551615").request.seed == 2**64 - 1


@pytest.mark.parametrize(
    "arguments, name, outside",
    [
        (["--checkpoint", "name"], "name", None),
        (["--checkpoint", "./weights"], "weights", "weights"),
        (["--checkpoint", "weights"], "weights", "weights"),
        (["--checkpoint", "weights", "--server", "http://127.0.0.1:1"], "weights", None),
        (["--checkpoint", "demo"], "demo", None),
        ([], "", None),
    ],
)
def test_checkpoints_by_name_and_by_folder(folder, arguments, name, outside):
    options = parsed(*VARIATION, *arguments)
    assert options.request.checkpoint == name
    assert options.checkpoint_folder == (folder / outside if outside else None)


@pytest.mark.parametrize(
    "arguments, flags",
    [
        ([*VARIATION, "--denoise_strength", "0.5"], ["denoise_strength"]),
        ([*VARIATION, "--line_mode", "--depth_strength", "1"], ["line_mode", "depth_strength"]),
        ([*MASKED, "--controlnet", "a", "--sam2_model", "b"], ["controlnet", "sam2_model"]),
        ([*CONTROLNET, "--line_mode", "--depth_strength", "1", "--line_strength", "1"], ["depth_strength"]),
        ([*CONTROLNET, "--depth_mode", "--line_model", "l.pth"], ["line_model"]),
        ([*PUBLISHED, "--line_strength", "1", "--line_model", "l.pth"], ["line_strength", "line_model"]),
        ([*PUBLISHED, "--line_mode", "--depth_mode", "--depth_strength", "1"], ["line_mode"]),
        ([*PUBLISHED, "--line_mode", "--line_strength", "1", "--controlnet", "a"], []),
        ([*CONTROLNET, "--depth_strength", "1", "--line_strength", "1", "--denoise_strength", "1"], []),
    ],
)
def test_what_is_given_in_vain_is_said(arguments, flags):
    assert [remark.split()[0] for remark in parsed(*arguments).remarks] == [f"--{flag}" for flag in flags]


def test_a_published_focus_without_a_reference_is_said():
    circle = ["--center_x", "0.5", "--center_y", "0.5", "--radius", "0.5", "--as_published"]
    assert "without --reference_image has no effect" in parsed(*CONTROLNET, *circle).remarks[0]
    assert not parsed(*CONTROLNET, *circle, "--reference_image", "other.png").remarks
    assert not parsed(*VARIATION, *circle).remarks


def test_a_folder_called_demo_is_not_taken_for_the_bundled_one(folder, monkeypatch, capsys):
    (folder / "demo").mkdir()  # a folder of anything
    assert parsed(*VARIATION, "--checkpoint", "demo").request.checkpoint == "demo"
    monkeypatch.chdir(folder / "own")
    (folder / "own" / "photo.png").touch()
    for read, program in ((generate_options, VARIATION), (demo_options, [])):
        with pytest.raises(SystemExit):
            read([*program, "--checkpoint", "demo"])
        assert f"the folder {folder / 'own' / 'demo'} has the name" in capsys.readouterr().err
    assert demo_options([]).checkpoint == "demo"  # nobody gave the folder
    (folder / "own" / "mine").symlink_to("demo")
    options = parsed(*VARIATION, "--checkpoint", "mine")
    assert (options.request.checkpoint, options.checkpoint_folder) == ("mine", folder / "own" / "mine")
    assert demo_options(["--checkpoint", "mine"]).size == 1024
    running = parsed(*VARIATION, "--checkpoint", "demo", "--server", "http://127.0.0.1:1")  # the server's own names
    assert (running.request.checkpoint, running.checkpoint_folder) == ("demo", None)


# ---- the prompt it stands for --------------------------------------------------------------------------------------


def test_each_mode_is_its_graph():
    """The flags arrive where the graphs of the bundled workflows have them; the functions are the only source."""
    settings = {"checkpoint": "mine", "size": 1024, "steps": 9, "guidance": 2.0, "seed": 5, "prompt": "a fox"}
    settings |= {"token_budget": 256, "weight_dtype": "fp8_e4m3fn", "aspect_ratio": "3:4", "dots": '[{"x":0,"y":0}]'}
    flags = ["--checkpoint", "mine", "--steps", "9", "--guidance_scale", "2", "--seed", "5", "--prompt", "a fox"]
    flags += ["--turbo", "--aspect_ratio", "3:4", "--dots", '[{"x":0,"y":0}]']
    redrawn = {"reference": "other.png", "strength": 0.5, **settings}
    hints = [graphs.Hint("depth", "d.pth", 0.3), graphs.Hint("line", "l.pth", 0.6)]
    strength = ["--denoise_strength", "0.5", "--reference_image", "other.png"]
    controls = ["--controlnet", "union", "--depth_model", "d.pth", "--line_model", "l.pth", "--depth_strength", "0.3"]
    controls += ["--line_strength", "0.6"]
    mask, points = ["--mask_image", "mask.png"], ["--mask_points", "0.5,0.25", "--sam2_model", "s.pt"]
    found = graphs.SamTarget("s.pt", points='[{"x": 0.5, "y": 0.25, "label": 1}]')
    expected = {
        "variation": ([], graphs.variation("photo.png", **settings)),
        "img2img": (strength, graphs.image_to_image("photo.png", **redrawn)),
        "inpaint": ([*strength, *points], graphs.inpaint("photo.png", found, **redrawn)),
        "controlnet": ([*strength, *controls], graphs.controlnet("photo.png", hints, control_net="union", **redrawn)),
        "controlnet-inpaint": (
            [*strength, *controls, *mask],
            graphs.controlnet("photo.png", hints, control_net="union", mask="mask.png", **redrawn),
        ),
    }
    assert tuple(expected) == MODES
    for mode, (own, graph) in expected.items():
        request = parsed("--mode", mode, "--input_image", "photo.png", *flags, *own).request
        assert prompt_for(request) == graph, mode


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_reaches_the_latents(mode):
    own = ["--mask_image", "mask.png"] if "inpaint" in mode else []
    request = parsed("--mode", mode, "--input_image", "photo.png", *own, "--image_count", "8", "--batch_size", "3")
    assert request.request.batches == (3, 3, 2)
    prompt = prompt_for(request.request)
    node, name = ("size", "batch_size") if mode == "variation" else ("batch", "amount")
    assert prompt[node]["inputs"][name] == 3


def test_the_bundled_checkpoint_has_its_own_size_and_tokens():
    request = parsed(*VARIATION, "--checkpoint", "demo", "--prompt", "a fox").request
    prompt = prompt_for(request)
    assert (prompt["size"]["inputs"]["size"], prompt["encode"]["inputs"]["token_budget"]) == (128, 0)
    prompt = prompt_for(parsed(*VARIATION, "--checkpoint", "mine").request)
    assert (prompt["size"]["inputs"]["size"], prompt["encode"]["inputs"]["token_budget"]) == (1024, 0)


def test_the_published_behaviour_arrives():
    published = prompt_for(parsed(*CONTROLNET, "--as_published").request)
    assert "pure_noise" in published and "pure_noise" not in prompt_for(parsed(*CONTROLNET).request)


# ---- what is refused -----------------------------------------------------------------------------------------------

DOTS = ["--dots"]
REFUSED = {
    "nothing": ([], "the following arguments are required: --mode, --input_image"),
    "no mode": (VARIATION[2:], "required: --mode"),
    "no picture": (VARIATION[:2], "required: --input_image"),
    "a mode that is not there": (["--mode", "outpaint", *VARIATION[2:]], "invalid choice: 'outpaint'"),
    "a missing picture": ([*VARIATION, "--input_image", "gone.png"], "--input_image: there is no file gone.png"),
    "a folder as picture": ([*VARIATION, "--input_image", "empty"], "--input_image: there is no file empty"),
    "a picture without name": ([*VARIATION, "--input_image", ""], "--input_image: there is no file"),
    "a picture of endless name": ([*VARIATION, "--input_image", LONG], "--input_image: there is no file 999"),
    "a missing reference": ([*CONTROLNET, "--reference_image", "gone.png"], "--reference_image: there is no file"),
    "a missing mask": ([*INPAINT, "--mask_image", "gone.png"], "--mask_image: there is no file gone.png"),
    "inpaint without a mask": (INPAINT, "the mode inpaint needs a mask; give mask_image or mask_points"),
    "controlnet-inpaint without a mask": (["--mode", "controlnet-inpaint", *VARIATION[2:]], "needs a mask"),
    "two masks": ([*MASKED, "--mask_points", "0.5,0.5"], "mask_image and mask_points are two ways"),
    "a mask in variation": ([*VARIATION, "--mask_image", "mask.png"], "the mode variation reads no mask; use inpaint"),
    "points in controlnet": ([*CONTROLNET, "--mask_points", "0.5,0.5"], "the mode controlnet reads no mask"),
    "a reference in variation": ([*VARIATION, "--reference_image", "other.png"], "variation reads no reference_image"),
    "points of one": ([*INPAINT, "--mask_points", "0.5"], "write x,y or x,y,label"),
    "points of four": ([*INPAINT, "--mask_points", "0.5,0.5,1,1"], "write x,y or x,y,label"),
    "points of words": ([*INPAINT, "--mask_points", "left,top"], "not left,top"),
    "points outside": ([*INPAINT, "--mask_points", "0.5,1.5"], "x and y from 0 to 1"),
    "points in pixels": ([*INPAINT, "--mask_points", "200,300"], "x and y from 0 to 1"),
    "points of NaN": ([*INPAINT, "--mask_points", "nan,0.5"], "x and y from 0 to 1"),
    "a label of 2": ([*INPAINT, "--mask_points", "0.5,0.5,2"], "label 1 or 0"),
    "points beside the object only": ([*INPAINT, "--mask_points", "0.5,0.5,0", "0,0,0"], "all have label 0"),
    "points without points": ([*INPAINT, "--mask_points"], "--mask_points: expected at least one argument"),
    "no pictures": ([*VARIATION, "--image_count", "0"], "--image_count: give a whole number from 1 to 1000, not 0"),
    "no batch": ([*VARIATION, "--batch_size", "0"], "--batch_size: give a whole number from 1 to 64, not 0"),
    "a batch too large": ([*VARIATION, "--image_count", "99", "--batch_size", "65"], "from 1 to 64, not 65"),
    "a batch of more than all": (
        [*VARIATION, "--image_count", "3", "--batch_size", "4"],
        "batch_size is how many of the images one prompt makes; give 1 to image_count, which is 3, not 4",
    ),
    "a batch without a count": ([*VARIATION, "--batch_size", "2"], "give 1 to image_count, which is 1, not 2"),
    "half a picture": ([*VARIATION, "--image_count", "1.5"], "--image_count: give a whole number"),
    "another shape": ([*VARIATION, "--aspect_ratio", "21:9"], "--aspect_ratio: invalid choice: '21:9'"),
    "no steps": ([*VARIATION, "--steps", "0"], "--steps: give a whole number from 1 to 10000, not 0"),
    "steps of words": ([*VARIATION, "--steps", "many"], "--steps: give a whole number"),
    "endless steps": ([*VARIATION, "--steps", LONG], "--steps: give a whole number from 1 to 10000, not 999"),
    "negative guidance": ([*VARIATION, "--guidance_scale", "-1"], "--guidance_scale: give a number from 0 to 100"),
    "guidance of NaN": ([*VARIATION, "--guidance_scale", "nan"], "--guidance_scale: give a number from 0 to 100"),
    "guidance with a comma": ([*VARIATION, "--guidance_scale", "3,5"], "from 0 to 100, not 3,5"),
    "a reference above 1": (
        [*MASKED, "--reference_strength", "2"],
        "--reference_strength: give a number from 0 to 1",
    ),
    "strength above 1": ([*MASKED, "--denoise_strength", "1.2"], "--denoise_strength: give a number from 0 to 1"),
    "strength below 0": ([*MASKED, "--denoise_strength", "-0.1"], "--denoise_strength: give a number from 0 to 1"),
    "line strength without end": ([*CONTROLNET, "--line_strength", "inf"], "--line_strength: give a number from 0"),
    "depth strength of words": ([*CONTROLNET, "--depth_strength", "strong"], "--depth_strength: give a number"),
    "a value for a switch": ([*CONTROLNET, "--line_mode=yes"], "--line_mode: ignored explicit argument 'yes'"),
    "a circle without radius": ([*VARIATION, "--center_x", "0.5", "--center_y", "0.5"], "give all three or none"),
    "a radius alone": ([*VARIATION, "--radius", "0.5"], "--center_x, --center_y and --radius belong together"),
    "a centre outside": ([*VARIATION, "--center_x", "2"], "--center_x: give a number from 0 to 1, not 2"),
    "a centre in pixels": ([*VARIATION, "--center_y", "512"], "--center_y: give a number from 0 to 1, not 512"),
    "no radius": ([*VARIATION, "--radius", "0"], "--radius: give a number above 0 and at most 10, not 0"),
    "circle and dots": (
        [*VARIATION, "--center_x", "0", "--center_y", "0", "--radius", "1", "--dots", "[]"],
        "are two ways; give one of them",
    ),
    "dots of words": ([*VARIATION, *DOTS, "left"], "--dots: The dots are not JSON text (Expecting value at"),
    "dots as an object": ([*VARIATION, *DOTS, '{"x": 0.5, "y": 0.5}'], "The dots are a JSON object, not a list"),
    "dots of numbers": ([*VARIATION, *DOTS, "[1, 2]"], "Dot 1 is a JSON number, not an object"),
    "dots in Python": ([*VARIATION, *DOTS, "[{'x': 0.5}]"], "The dots are not JSON text"),
    "a dot without y": ([*VARIATION, *DOTS, '[{"x": 0.5}]'], "Dot 1 has no y; a dot needs x and y"),
    "a dot that knows more": (
        [*VARIATION, *DOTS, '[{"x": 0, "y": 0, "z": 0}]'],
        "Dot 1 has an unknown entry 'z'",
    ),
    "a dot outside": (
        [*VARIATION, *DOTS, '[{"x": 0, "y": 0}, {"x": 0, "y": 7}]'],
        "y of dot 2 is 7.0; it must be from",
    ),
    "a dot of no radius": ([*VARIATION, *DOTS, '[{"x": 0, "y": 0, "r": 0}]'], "r of dot 1 is 0.0; it must be above 0"),
    "a dot of text": ([*VARIATION, *DOTS, '[{"x": "0", "y": 0}]'], "x of dot 1 is a JSON text, not a number"),
    "dots without end": ([*VARIATION, *DOTS, "[" * 100_000], "The dots are lists in lists without end"),
    "another device": ([*VARIATION, "--device", "mps"], "--device: invalid choice: 'mps'"),
    "an address without http": ([*VARIATION, "--server", "127.0.0.1:8188"], "write the address like http://127.0.0.1"),
    "an address of words": ([*VARIATION, "--server", "my server"], "--server: write the address like"),
    "an address of another kind": ([*VARIATION, "--server", "ftp://host"], "--server: write the address like"),
    "an address without host": ([*VARIATION, "--server", "http://"], "--server: write the address like"),
    "a port too large": ([*VARIATION, "--server", "http://host:99999"], "--server: write the address like"),
    "an address of brackets": ([*VARIATION, "--server", "http://[::1"], "--server: write the address like"),
    "an address of a long name": (
        [*VARIATION, "--server", f"http://{'a' * 70}.org"],
        "--server: write the address like",
    ),
    "an address of a name long elsewhere": (
        [*VARIATION, "--server", f"http://{chr(252) * 60}"],
        "write the address like",
    ),
    "an address of an empty name": ([*VARIATION, "--server", "http://host..org:80"], "write the address like"),
    "an address of a user with a colon": ([*VARIATION, "--server", "http://a%3Ab:c@host"], "write the address like"),
    "a negative seed": ([*VARIATION, "--seed", "-1"], "--seed: give a whole number from 0 to 18446744073709551615"),
    "a seed too large": ([*VARIATION, "--seed", str(2**64)], "--seed: give a whole number from 0"),
    "seeds that run over": (
        [*VARIATION, "--seed", str(2**64 - 1), "--image_count", "2"],
        "the seeds of 2 prompts must lie in 0 to 18446744073709551615",
    ),
    "a size too small": ([*VARIATION, "--size", "16"], "--size: give a whole number from 64 to 2048, not 16"),
    "a missing checkpoint": ([*VARIATION, "--checkpoint", "gone/weights"], "--checkpoint: there is no folder gone/we"),
    "no checkpoint": ([*VARIATION, "--checkpoint", ""], "--checkpoint: there is no folder"),
    "a folder without weights": ([*VARIATION, "--checkpoint", "empty"], "empty is no checkpoint; it holds neither"),
    "a folder named as the bundled one": (
        [*VARIATION, "--checkpoint", "own/demo"],
        "own/demo has the name of the bundled checkpoint; rename it, or link to it by another name",
    ),
    "a folder named as the bundled one, by its path": ([*VARIATION, "--checkpoint", "./own/../own/demo/"], "rename it"),
    "a folder for a running server": (
        [*VARIATION, "--checkpoint", "./weights", "--server", "http://127.0.0.1:1"],
        "a running server cannot be given a folder",
    ),
    "output into nothing": ([*VARIATION, "--output_dir", ""], "--output_dir: give the name of a folder, such as . for"),
    "output into nothing, by the sign": ([*VARIATION, "--output_dir="], "--output_dir: give the name of a folder"),
    "output into a file": ([*VARIATION, "--output_dir", "text.txt"], "--output_dir: text.txt is not a folder"),
    "prompt into a folder": ([*VARIATION, "--save_prompt", "empty"], "--save_prompt: empty is not a file"),
    "prompt into no folder": ([*VARIATION, "--save_prompt", "gone/p.json"], "gone/p.json cannot be written"),
    "prompt without name": ([*VARIATION, "--save_prompt", ""], "--save_prompt: an empty name is not a file"),
    "a prompt that is not text": ([*VARIATION, "--prompt", "a \udcff fox"], "--prompt: the text is not UTF-8"),
    "an unknown flag": ([*VARIATION, "--colour", "red"], "unrecognized arguments: --colour red"),
    "a shortened flag": ([*VARIATION, "--guidance", "3"], "unrecognized arguments: --guidance 3"),
    "words left over": ([*VARIATION, "a", "fox"], "unrecognized arguments: a fox"),
    "lines in a value": ([*VARIATION, "--steps", "1\n2"], "--steps: give a whole number from 1 to 10000, not 1 2"),
}


@pytest.mark.parametrize("arguments, complaint", REFUSED.values(), ids=[name.replace(" ", "_") for name in REFUSED])
def test_bad_arguments_are_refused_in_one_sentence(folder, capsys, arguments, complaint):
    before = sorted(os.listdir(folder))
    with pytest.raises(SystemExit) as raised:
        generate_options(arguments)
    said = capsys.readouterr()
    assert raised.value.code == 2 and not said.out
    assert complaint in one_sentence(said.err.removesuffix("\n"), letters=True), said.err
    assert said.err.startswith("generate.py: ")
    assert sorted(os.listdir(folder)) == before


def test_refused_before_anything_else(root, folder):
    """The program itself, with an interpreter that has nothing and nowhere to go."""
    environment = {"PATH": os.environ["PATH"], "COMFYUI_PATH": str(folder / "gone")}
    command = [sys.executable, "-S", str(root / "generate.py"), *VARIATION, "--steps", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert "--steps: give a whole number from 1 to 10000, not 0." in one_sentence(done.stderr.removesuffix("\n"))


@pytest.mark.parametrize("program", [["generate.py"], ["dev.py"], ["dev.py", "demo"]], ids=" ".join)
def test_help_with_the_standard_library_alone(root, program):
    command = [sys.executable, "-S", str(root / program[0]), *program[1:], "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: ") and not done.stderr


def test_an_interpreter_that_leaves_out_the_folder_of_its_script(root):
    """Windows portable's is always isolated."""
    done = subprocess.run([sys.executable, "-I", str(root / "generate.py"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--input_image" in done.stdout, done.stderr


def test_output_in_a_file(root):
    command = [sys.executable, str(root / "generate.py"), *VARIATION, "--output_dir", "text.txt/made"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "text.txt/made cannot be made (Not a directory)." in one_sentence(done.stderr.removesuffix("\n"))


@pytest.mark.parametrize("said", ["One thing", "One\nthing. ", "x" * 1000, "Ends already."])
def test_any_message_becomes_a_sentence(said):
    shown = one_sentence(sentence(said))
    assert shown.rstrip(".")[:9] == " ".join(said.split())[:9]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--server", "ftp://anna:secret@host"],
        ["--server", "anna:secret@host:8188"],
        ["--server", "http://anna:sec/secret@host"],
        ["--server", "http://anna:my secret@host"],
        ["--server", "http://anna:secret@host:port"],
        ["--sever", "http://anna:secret@host"],
        ["--steps", "http://anna:secret@host"],
        ["--mode", "https://secret@host"],
    ],
)
def test_no_password_is_shown(capsys, arguments):
    with pytest.raises(SystemExit):
        parsed(*VARIATION, *arguments)
    said = one_sentence(capsys.readouterr().err.removesuffix("\n"))
    assert "...@host" in said and "secret" not in said


@pytest.mark.parametrize(
    "arguments, advice",
    [
        (["--save_prompt", f"{'x' * 100_000}/p.json"], "cannot be written; make its folder first."),
        (["--mode", "x" * 100_000], "'controlnet-inpaint')."),
        (["--checkpoint", f"{'x/' * 50_000}"], "there is no folder x/x/"),
        (["--prompt", "x", "--dots", "x" * 100_000], "write them like [{"),
    ],
)
def test_long_values_are_shortened_and_the_advice_stays(capsys, arguments, advice):
    with pytest.raises(SystemExit):
        parsed(*VARIATION, *arguments)
    assert advice in one_sentence(capsys.readouterr().err.removesuffix("\n"))


@pytest.mark.parametrize(
    "text, shown",
    [
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07."),
        ("a \u202e name", "a \\u202e name."),
        ("gr\u00fcn \u96ea", "gr\u00fcn \u96ea."),
        ("not UTF-8 \udcff", "not UTF-8 \\udcff."),
        ("mail anna@host", "mail anna@host."),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert sentence(text) == shown


def test_requests_of_programs_are_checked_too(folder):
    with pytest.raises(ValueError, match="there is no mode 'outpaint', only variation, img2img"):
        Request("outpaint", folder / "photo.png")
    with pytest.raises(ValueError, match="needs a mask"):
        Request("inpaint", folder / "photo.png")
    with pytest.raises(ValueError, match="give 1 to image_count, which is 2, not 0"):
        Request("variation", folder / "photo.png", image_count=2, batch_size=0)
    with pytest.raises(ValueError, match="mask_points all have label 0"):
        Request("inpaint", folder / "photo.png", mask_points=((0.5, 0.5, 0),))
    assert json.loads(json.dumps(prompt_for(Request("variation", folder / "photo.png", checkpoint="demo"))))
