"""Memory of tensors: what is alive now, and the most that a call takes."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import torch


def held() -> int:
    """Bytes of all dense tensors that are alive, shared storage counted once."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.layout is torch.strided]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def peak(call: Callable[[], object], folder: Path) -> int:
    """The most bytes that torch holds on the CPU during a call, beyond those held before; `folder` is scratch space."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
        call()
    trace = folder / "trace.json"
    profile.export_chrome_trace(str(trace))
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["name"] == "[memory]"]
    events.sort(key=lambda event: event["ts"])
    first = events[0]["args"]
    return max(event["args"]["Total Allocated"] for event in events) - (first["Total Allocated"] - first["Bytes"])
