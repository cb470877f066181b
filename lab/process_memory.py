"""What memory a process has (Linux)."""

from __future__ import annotations

import re
from pathlib import Path


def resident(field: str, process: int | str = "self") -> int:
    """Bytes of memory that a process has now (VmRSS) or has had at most (VmHWM)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


def restart_high_water(process: int | str = "self") -> None:
    """Let the most memory that a process has had be counted from now on."""
    Path(f"/proc/{process}/clear_refs").write_text("5")
