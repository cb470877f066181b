"""The pack's own errors: one sentence that names the thing, what was expected and what to do."""


class InputError(ValueError):
    """A picture, a text or a connection in the graph cannot be used as it is."""


class CheckpointError(ValueError):
    """A checkpoint folder or file is missing, broken or not what its place calls for."""
