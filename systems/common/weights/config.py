"""Entries of a configuration file, read by kind: a missing or invalid one is named before anything is built from it."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import CheckpointError, quoted
from .shards import read_json

# The bounds far above any real width and any number of layers or heads, beyond which an entry is invalid.
WIDTH, MANY = 1 << 17, 1 << 10


class ConfigReader:
    """A JSON object of a configuration file; every reader raises CheckpointError that names file, entry and remedy."""

    def __init__(self, path: Path, values: dict | None = None, within: str = ""):
        self.path = path
        self.values = read_json(path) if values is None else values
        self._within = within

    def raw(self, name: str, default: object = None) -> object:
        """The entry as it is; one that is absent or null is the default, or an error without one."""
        value = self.values.get(name)
        value = default if value is None else value
        if value is None:
            raise CheckpointError(f"{self.path} has no entry {self._within}{name}; download it again.")
        return value

    def object(self, name: str) -> ConfigReader:
        value = self.raw(name)
        if not isinstance(value, dict):
            raise self.invalid(name, "an object")
        return ConfigReader(self.path, value, f"{self._within}{name}.")

    def count(self, name: str, most: int = WIDTH, default: int | None = None, least: int = 1) -> int:
        """A whole number from `least` to `most`."""
        value = self.raw(name, default)
        if not _is_number(value) or not least <= value <= most or value != int(value):
            raise self.invalid(name, f"a whole number from {least} to {most}")
        return int(value)

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.raw(name, default)
        if not _is_number(value) or not value > 0:
            raise self.invalid(name, "a number above 0")
        return float(value)

    def numbers(self, name: str, length: int, default: list[int] | None = None) -> tuple[float, ...]:
        """A list of `length` finite numbers above 0."""
        value = self.raw(name, default)
        if not isinstance(value, list) or len(value) != length:
            raise self.invalid(name, f"a list of {length} numbers")
        if not all(_is_number(item) and item > 0 for item in value):
            raise self.invalid(name, f"a list of {length} numbers above 0")
        return tuple(float(item) for item in value)

    def counts(self, name: str, length: int, default: list[int] | None = None) -> tuple[int, ...]:
        """A list of `length` whole numbers from 1 to WIDTH."""
        values = self.numbers(name, length, default)
        if any(value != int(value) or value > WIDTH for value in values):
            raise self.invalid(name, f"a list of {length} whole numbers up to {WIDTH}")
        return tuple(int(value) for value in values)

    def invalid(self, name: str, wanted: str) -> CheckpointError:
        """The error for an entry that is not what is wanted of it."""
        shown = quoted(self.values.get(name))
        return CheckpointError(f"{self.path} has {self._within}{name} {shown}, not {wanted}; download it again.")


def _is_number(value: object) -> bool:
    """Whether it is a finite number, and one that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
