"""The bundled workflows of all systems, by their names in workflows/."""

from __future__ import annotations

from .qwen2vl_flux import workflows as qwen2vl_flux
from .workflow import Workflow

WORKFLOWS: dict[str, Workflow] = {**qwen2vl_flux.WORKFLOWS}
