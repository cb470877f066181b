"""Prompts in API form: the same graphs as the bundled workflows, as a function of what changes from run to run."""

from __future__ import annotations

Prompt = dict[str, dict]


def variation(
    image: str,
    *,
    checkpoint: str = "demo",
    weight_dtype: str = "default",
    prompt: str = "",
    dots: str = "",
    focus_mode: str = "scale",
    token_budget: int = 0,
    aspect_ratio: str = "1:1",
    size: int = 128,
    batch_size: int = 1,
    steps: int = 28,
    guidance: float = 3.5,
    seed: int = 0,
    prefix: str = "qwen2vl_flux",
) -> Prompt:
    """Variations of an uploaded picture; pictures come from the node `save`, the focus map from `focus_save`.

    The focus nodes are there only when there are dots, T5 only when there is a prompt. `weight_dtype` is that of the
    transformer; the encoder stays as it is stored.
    """
    focused = bool(dots.strip())
    graph = {
        "image": _node("LoadImage", image=image),
        "qwen2vl": _node("Qwen2VLLoader", checkpoint=checkpoint, weight_dtype="default"),
        "encode": _node("Qwen2VLEncode", qwen2vl=["qwen2vl", 0], image=["image", 0], token_budget=token_budget),
        "text": _node("Qwen2VLFluxTextLoader", checkpoint=checkpoint, t5=bool(prompt.strip())),
        "connect": _node(
            "Qwen2VLConnector",
            qwen2vl=["qwen2vl", 0],
            tokens=["focus" if focused else "encode", 0],
            clip=["text", 0],
            prompt=prompt,
        ),
        "guidance": _node("FluxGuidance", conditioning=["connect", 0], guidance=guidance),
        "model": _node("Qwen2VLFluxModelLoader", checkpoint=checkpoint, weight_dtype=weight_dtype),
        "guider": _node("BasicGuider", model=["model", 0], conditioning=["guidance", 0]),
        "size": _node("Qwen2VLFluxSize", aspect_ratio=aspect_ratio, batch_size=batch_size, size=size),
        "noise": _node("RandomNoise", noise_seed=seed),
        "sampler": _node("KSamplerSelect", sampler_name="euler"),
        "sigmas": _node("Qwen2VLFluxSigmas", steps=steps, strength=1.0, latent=["size", 0]),
        "sample": _node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["size", 0],
        ),
        "vae": _node("Qwen2VLFluxVAELoader", checkpoint=checkpoint),
        "decode": _node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
        "save": _node("SaveImage", images=["decode", 0], filename_prefix=prefix),
    }
    if focused:
        graph["focus"] = _node("GridDotFocus", tokens=["encode", 0], dots=dots, mode=focus_mode)
        graph["focus_save"] = _node("MaskPreview", mask=["focus", 1])
    return graph


def _node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}
