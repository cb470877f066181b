"""Each loader's way to load the same once more, which ComfyUI takes for another device and for its older patcher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from capabilities import SEVERAL_DEVICES

from systems.qwen2vl_flux.flux import load_text_encoders, load_transformer, load_vae

LOADERS = {
    "transformer": load_transformer,
    "transformer in fp8": lambda folder: load_transformer(folder, "fp8_e4m3fn"),
    "CLIP-L": lambda folder: load_text_encoders(folder, False).patcher,
    "CLIP-L and T5": lambda folder: load_text_encoders(folder, True).patcher,
    "autoencoder": lambda folder: load_vae(folder).patcher,
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_the_same_is_loaded_anew(root: Path, load: Callable) -> None:
    patcher = load(root / "demo")
    again, arguments = patcher.cached_patcher_init
    twins = [again(*arguments), again(*arguments, disable_dynamic=True)]
    if SEVERAL_DEVICES:
        twins.append(patcher.deepclone_multigpu(torch.device("cpu")))
    weights = patcher.model.state_dict()
    assert weights
    for twin in twins:
        found = twin.model.state_dict()
        assert twin.model is not patcher.model and found.keys() == weights.keys()
        for name, value in weights.items():
            assert found[name].dtype == value.dtype and torch.equal(found[name].float(), value.float()), name
