"""A union ControlNet set to a mode: in chains, with other ControlNets, cfg and batches, and where it is refused."""

from __future__ import annotations

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_base
import comfy.ops
import comfy.samplers
import pytest
import torch
from capabilities import SEVERAL_DEVICES
from comfy.ldm.flux.controlnet import ControlNetFlux
from control_weights import write_union
from goldens import StandInVAE, golden, picture, relative_error, seeded_weight
from nodes import ConditioningZeroOut, ControlNetApplyAdvanced
from two_steps import sample

from systems.common.comfy.diffusers_flux import flux_params
from systems.common.comfy.folders import DEMO
from systems.common.errors import InputError
from systems.common.weights.config import ConfigReader
from systems.flux_union.checkpoint import load_controlnet
from systems.flux_union.control import MODES, FluxControlNet, prepare_control_net
from systems.qwen2vl_flux.flux import load_transformer
from systems.qwen2vl_flux.patch import attach, patch_model


@pytest.fixture(scope="module")
def flux(tiny):
    return patch_model(load_transformer(tiny))


@pytest.fixture
def control_net(tiny):
    return load_controlnet(tiny / "controlnet")


def plain(batch: int = 1) -> list:
    context = golden("connector")["connector_a_256"].repeat(batch, 1, 1)
    return [[context, {"pooled_output": golden("loop_inputs")["pooled"]}]]


def prompted(conditioning: list | None = None) -> list:
    return attach(conditioning or plain(), golden("encoder")["t5_projected"])


def controlled(conditioning: list, control_net, hint="depth", strength=0.5, start=0.0, end=1.0) -> list:
    image = picture(f"control_{hint}_192x128.png") if isinstance(hint, str) else hint
    apply = ControlNetApplyAdvanced().apply_controlnet
    return apply(conditioning, [], control_net, image, strength, start, end, vae=StandInVAE())[0]


def test_mode_numbers():
    """Those of InstantX's FLUX.1-dev-Controlnet-Union."""
    assert list(MODES.items()) == [(n, i) for i, n in enumerate("canny tile depth blur pose gray lq".split())]


def test_every_mode_is_another(flux, control_net):
    latents = [sample(flux, controlled(plain(), prepare_control_net(control_net, mode))) for mode in MODES]
    for number, one in enumerate(latents):
        assert all(relative_error(other, one) > 1e-5 for other in latents[number + 1 :])


def test_the_mode_stays_the_nets_own(flux, control_net):
    """Setting a mode twice, copies, and the net it was made of do not touch one another."""
    depth = prepare_control_net(control_net, "depth")
    canny = prepare_control_net(depth, "canny")
    assert (depth.extra_args, canny.extra_args, control_net.extra_args) == (
        {"control_type": [2]},
        {"control_type": [0]},
        {},
    )
    assert canny.copy().extra_args == {"control_type": [0]} and type(canny.copy()) is FluxControlNet
    assert canny.get_models() == control_net.get_models()


def test_without_a_prompt_it_is_the_native_one(flux, control_net):
    native = control_net.copy()
    native.set_extra_arg("control_type", [2])
    ours = sample(flux, controlled(plain(), prepare_control_net(control_net, "depth")))
    assert torch.equal(ours, sample(flux, controlled(plain(), native)))


def test_chains_add_up_in_any_order(flux, control_net):
    """Ours behind and before a native ControlNet, with a prompt: the native one gets the conditioning as it came."""
    native = control_net.copy()
    native.set_extra_arg("control_type", [0])
    seen = []
    native.control_model.txt_in.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    union = prepare_control_net(control_net, "depth")
    one = sample(flux, controlled(controlled(prompted(), native, "line"), union, "depth"))
    assert sorted(set(seen)) == [256, 256 + golden("encoder")["t5_projected"].shape[1]]
    other = sample(flux, controlled(controlled(prompted(), union, "depth"), native, "line"))
    assert relative_error(other, one) < 1e-5
    assert relative_error(sample(flux, controlled(prompted(), union, "depth")), one) > 1e-3


def test_two_of_one_net_with_a_prompt(flux, control_net):
    """Both share a network, and each places the prompt once."""
    two = controlled(
        controlled(prompted(), prepare_control_net(control_net, "depth"), "depth"),
        prepare_control_net(control_net, "canny"),
    )
    assert torch.isfinite(sample(flux, two)).all()
    assert not control_net.control_model.txt_in._forward_hooks


def test_an_error_leaves_no_hook(flux, control_net):
    union = prepare_control_net(control_net, "depth")

    def fail(*_):
        raise RuntimeError("in the middle")

    handle = union.control_model.single_blocks[0].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        sample(flux, controlled(controlled(prompted(), union), union))
    handle.remove()
    assert not control_net.control_model.txt_in._forward_hooks
    assert torch.isfinite(sample(flux, controlled(prompted(), union))).all()


def test_start_and_end(flux, control_net):
    union = prepare_control_net(control_net, "depth")
    whole = sample(flux, controlled(prompted(), union))
    part = sample(flux, controlled(prompted(), union, end=0.3))
    never = sample(flux, controlled(prompted(), union, start=0.99, end=1.0))
    assert relative_error(part, whole) > 1e-4
    assert torch.equal(never, sample(flux, prompted()))
    chained = controlled(controlled(prompted(), union), union, "line", start=0.99)
    assert torch.equal(sample(flux, chained), whole)


@pytest.mark.parametrize("prompt", [False, True], ids=["plain", "prompt"])
def test_batches(flux, control_net, prompt):
    def given(batch: int) -> list:
        conditioning = plain()
        return controlled(prompted(conditioning) if prompt else conditioning, prepare_control_net(control_net, "depth"))

    two = sample(flux, given(2), batch=2)
    assert relative_error(two[:1], sample(flux, given(1))) < 1e-5


def test_a_batch_of_hints(flux, control_net):
    """One hint for each picture of the batch."""
    hints = torch.cat([picture(f"control_{name}_192x128.png") for name in ("depth", "line")])
    union = prepare_control_net(control_net, "depth")
    two = sample(flux, controlled(prompted(), union, hints), batch=2)
    one = sample(flux, controlled(prompted(), union, "depth"), batch=2)
    assert relative_error(two[:1], one[:1]) < 1e-5
    assert relative_error(two[1:], one[1:]) > 1e-3


def test_cfg_with_a_prompt_on_one_side(flux, control_net):
    union = prepare_control_net(control_net, "depth")
    positive, negative = controlled(prompted(), union), controlled(plain(), union)
    guided = sample(flux, positive, negative, cfg=2.0)
    assert torch.isfinite(guided).all()
    assert relative_error(guided, sample(flux, positive)) > 1e-3


def test_a_zeroed_conditioning_silences_the_prompt_here_too(flux, control_net):
    def zeroed(hidden: torch.Tensor) -> torch.Tensor:
        given = attach(plain(), hidden)
        given = [[torch.zeros_like(context), options] for context, options in given]
        return sample(flux, controlled(given, prepare_control_net(control_net, "depth")))

    prompt = golden("encoder")["t5_projected"]
    assert torch.equal(zeroed(prompt), zeroed(prompt.flip(1)))


def test_a_zeroed_conditioning_silences_the_control_tokens(flux, control_net):
    """ConditioningZeroOut knows the context alone, and the ControlNet's own tokens must not speak in its place."""
    union, tokens = prepare_control_net(control_net, "depth"), golden("loop_inputs")["prompt_embeds_b"]

    def zeroed(control_tokens: torch.Tensor) -> torch.Tensor:
        given = [[context, {**options, "cross_attn_controlnet": control_tokens}] for context, options in plain()]
        return sample(flux, controlled(ConditioningZeroOut().zero_out(given)[0], union))

    assert torch.equal(zeroed(tokens), zeroed(tokens.flip(1) * 2))
    given = [[context, {**options, "cross_attn_controlnet": tokens}] for context, options in plain()]
    assert relative_error(sample(flux, controlled(given, union)), sample(flux, controlled(plain(), union))) > 1e-3


def test_a_model_that_is_no_flux_is_refused(control_net):
    sd3 = comfy.model_base.SD3.__new__(comfy.model_base.SD3)  # asked for its kind only
    torch.nn.Module.__init__(sd3)
    sd3.model_sampling = None
    with pytest.raises(InputError, match="for FLUX.1 and the MODEL is a SD3; connect a FLUX.1 MODEL"):
        prepare_control_net(control_net, "depth").pre_run(sd3, lambda percent: percent)


def test_a_clone_also_for_another_device(flux, control_net):
    union = prepare_control_net(control_net, "depth")
    clone = union.copy()
    if SEVERAL_DEVICES:
        clone = union.deepclone_multigpu(torch.device("cpu"), autoregister=True)
        assert union.get_instance_for_device(torch.device("cpu")) is clone
        assert clone.control_model is not union.control_model
    assert clone is not union and type(clone) is FluxControlNet and clone.extra_args == union.extra_args
    assert torch.equal(sample(flux, controlled(prompted(), clone)), sample(flux, controlled(prompted(), union)))


# ---- ControlNets without modes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_flux(root):
    """The demo's, which is as wide as the ControlNets of write_union."""
    return patch_model(load_transformer(root / "demo"))


def xlabs_net() -> comfy.controlnet.ControlNet:
    """A ControlNet of XLabs' layout, which reads its hint as pixels, as ComfyUI builds it; seeded random weights."""
    params = flux_params(ConfigReader(DEMO / "flux" / "transformer" / "config.json"))
    shape = {**params, "depth": 1, "depth_single_blocks": 0}
    network = ControlNetFlux(operations=comfy.ops.manual_cast, device="cpu", dtype=torch.float32, **shape)
    network.load_state_dict(
        {name: seeded_weight(name, list(value.shape), "xlabs") for name, value in network.state_dict().items()}
    )
    return comfy.controlnet.ControlNet(network, extra_conds=["y", "guidance"])


def small_conditioning() -> tuple[list, torch.Tensor]:
    """Twelve tokens and a pooled vector for the demo's FLUX, and five hidden tokens of a prompt."""
    config = ConfigReader(DEMO / "flux" / "transformer" / "config.json").values
    sizes = ((1, 12, config["joint_attention_dim"]), (1, config["pooled_projection_dim"]), (1, 5, 128))
    generator = torch.Generator().manual_seed(1)
    context, pooled, hidden = (torch.randn(size, generator=generator) for size in sizes)
    return [[context, {"pooled_output": pooled}]], hidden


def modeless(folder, kind: str) -> comfy.controlnet.ControlNet:
    return xlabs_net() if kind == "xlabs" else load_controlnet(write_union(folder / "plain", modes=None))


@pytest.mark.parametrize("kind", ["instantx", "xlabs"])
def test_a_net_without_modes_is_taken_as_it_is(small_flux, tmp_path, kind):
    """Whatever the mode, it is the native one; prompt and focus reach it through the node alone."""
    native = modeless(tmp_path, kind)
    plainly, hidden = small_conditioning()
    ((context, options),) = plainly
    weights = torch.tensor([[1.0] * 6 + [0.05] * 6]).log()

    def latents(given: list, net) -> torch.Tensor:
        return sample(small_flux, controlled(given, net, strength=1.0))

    for mode in ("canny", "lq"):
        assert torch.equal(latents(plainly, prepare_control_net(native, mode)), latents(plainly, native))
    numbered = prepare_control_net(native, "depth")
    numbered.set_extra_arg("control_type", [1])  # by ComfyUI's own node behind ours
    for given in (attach(plainly, hidden), attach(plainly, bias=weights, control_bias=weights)):
        taken, ignored = latents(given, prepare_control_net(native, "depth")), latents(given, native)
        assert relative_error(taken, ignored) > 1e-5
        assert torch.equal(latents(given, numbered), taken)
    dropped = [[context[:, :6], options]]
    nothing = torch.tensor([[0.0] * 6 + [-torch.inf] * 6])
    watched = attach(plainly, bias=nothing, control_bias=nothing)
    assert relative_error(latents(watched, prepare_control_net(native, "depth")), latents(dropped, native)) < 1e-5


def test_a_net_without_modes_in_chains(small_flux, tmp_path):
    """Before and behind a union ControlNet, copied, and cloned for another device."""
    given = attach(*small_conditioning())
    plain_net = prepare_control_net(load_controlnet(write_union(tmp_path / "plain", modes=None)), "depth")
    union = prepare_control_net(load_controlnet(write_union(tmp_path / "union")), "depth")
    one = sample(small_flux, controlled(controlled(given, plain_net), union, "line"))
    other = sample(small_flux, controlled(controlled(given, union, "line"), plain_net.copy()))
    assert relative_error(other, one) < 1e-5
    clone = plain_net.deepclone_multigpu(torch.device("cpu"))
    assert torch.equal(sample(small_flux, controlled(given, clone)), sample(small_flux, controlled(given, plain_net)))


def test_a_mode_beyond_the_nets_own_is_refused(tmp_path):
    few = load_controlnet(write_union(tmp_path / "few", modes=3))
    assert prepare_control_net(few, "depth").extra_args == {"control_type": [2]}
    with pytest.raises(InputError, match="knows 3 modes, so it cannot be set to lq"):
        prepare_control_net(few, "lq")


@pytest.mark.parametrize(
    "other, kind",
    [
        (comfy.controlnet.ControlBase(), "ControlBase"),
        (comfy.controlnet.ControlNet(torch.nn.Linear(1, 1)), "Linear"),
        (comfy.controlnet.ControlLora({}), "ControlLora"),
    ],
)
def test_what_is_no_flux_controlnet_is_refused(other, kind):
    with pytest.raises(InputError, match=f"The ControlNet is a {kind}, not one for FLUX"):
        prepare_control_net(other, "depth")


def test_a_net_of_another_width_is_refused(flux, small):
    """The demo's FLUX is 128 wide, the goldens' is 256."""
    union = prepare_control_net(load_controlnet(small / "controlnet"), "depth")
    with pytest.raises(InputError, match="works with 128 values a token and the MODEL with 256"):
        sample(flux, controlled(prompted(), union))


def test_tokens_of_another_width_are_refused(flux, control_net):
    given = [[context, {**options, "cross_attn_controlnet": context[..., :100]}] for context, options in plain()]
    with pytest.raises(InputError, match="is 100 wide and this ControlNet takes 384"):
        sample(flux, controlled(given, prepare_control_net(control_net, "depth")))


def test_a_sharded_folder_is_the_single_file(tmp_path):
    """Bit for bit, and what ComfyUI's own loader makes of the single file."""
    single = load_controlnet(write_union(tmp_path / "single"))
    sharded = load_controlnet(write_union(tmp_path / "sharded", shards=3))
    native = comfy.controlnet.load_controlnet(str(tmp_path / "single" / "diffusion_pytorch_model.safetensors"))
    states = [net.control_model.state_dict() for net in (single, sharded, native)]
    assert states[0].keys() == states[1].keys() == states[2].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]) and torch.equal(value, states[2][name]), name
