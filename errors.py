"""The pack's own errors: one sentence that names the thing, what was expected and what to do.

ComfyUI shows an exception's module before its sentence; `__module__` keeps that to the pack's name.
"""


class InputError(ValueError):
    """A picture, a text or a connection in the graph cannot be used as it is."""

    __module__ = "Qwen2VL-Flux"


class CheckpointError(ValueError):
    """A checkpoint folder or file is missing, broken or not what its place calls for."""

    __module__ = "Qwen2VL-Flux"
