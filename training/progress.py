"""How a run goes: log.jsonl, and lines with the loss and the time left."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from systems.common.errors import InputError

logger = logging.getLogger(__name__)


class Diverged(InputError):
    """Training has left the numbers."""

    def __init__(self, what: str, step: int):
        super().__init__(
            f"{what} at step {step}; nothing was saved of it, begin a new run from an earlier checkpoint with a lower "
            "learning rate."
        )


class Progress:
    """Figures are gathered on their device and read once a line, so that no step waits for the last one.

    log: the file of the run, one JSON object a line: step (how many are done), loss, other figures, lr, seconds.
    Lines after the step that a run goes on from are taken out, so that the log is that of a run without a break.
    """

    def __init__(self, log: Path, step: int, steps: int, accelerator: Accelerator):
        self.log, self.steps, self.accelerator = log, steps, accelerator
        lines = [line for line in read_log(log) if line["step"] <= step]
        if accelerator.is_main_process:
            rewritten = log.with_name(f".{log.name}")
            rewritten.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            os.replace(rewritten, log)
        self.before = lines[-1]["seconds"] if lines else 0.0
        self.first, self.started = step, time.monotonic()
        self.last = step
        self.figures: list[Mapping[str, Tensor]] = []

    def add(self, figures: Sequence[Mapping[str, Tensor]]) -> None:
        """Take in the figures of the forward passes of one step."""
        self.figures += [{name: value.detach() for name, value in each.items()} for each in figures]

    def line(self, step: int, lr: float) -> None:
        """Write the means since the last line; Diverged when the loss is no number any more."""
        if step == self.last:
            return
        names = list(self.figures[0])
        means = torch.stack([torch.stack([each[name].float() for name in names]) for each in self.figures]).mean(dim=0)
        if self.accelerator.num_processes > 1:
            means = self.accelerator.reduce(means, "mean")
        figures = dict(zip(names, means.tolist(), strict=True))
        self.figures, self.last = [], step
        if not math.isfinite(figures["loss"]):
            raise Diverged(f"The loss is {figures['loss']}", step)
        spent = time.monotonic() - self.started
        pace = spent / (step - self.first)
        if not self.accelerator.is_main_process:
            return
        entry = {"step": step, **figures, "lr": lr, "seconds": round(self.before + spent, 3)}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        left = duration(pace * (self.steps - step))
        logger.info("step %d of %d: %s, lr %.2e, %.3g s a step, %s left", step, self.steps, shown, lr, pace, left)


def read_log(path: Path) -> list[dict]:
    """The lines of a log; a last one that is cut short is left out, and a log that is not there is empty."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def duration(seconds: float) -> str:
    """Such as "45 s", "12 min", "3.4 h", "2.1 days"."""
    for unit, length, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * length or (unit == "min" and seconds >= 120):
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
