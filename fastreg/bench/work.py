"""What is done by everyone who takes part, as plain data that fits into a line of JSON."""

from __future__ import annotations

import dataclasses
import importlib
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["CHECKED", "DRAM", "SIZES", "Work"]

SIZES = {"1K": 1_000, "100K": 100_000, "1M": 1_000_000, "25M": 25_000_000}
DRAM = 150_000_000  # bytes from which on memory sets the time
CHECKED = 1_000_000  # elements from which on a result is checked on a smaller case of the same


@dataclass(frozen=True)
class Work:
    """One piece of work.

    ``kind`` is the module of ``problems`` that knows what it takes, and a function of each of the
    ``contenders`` that can do it. The other fields are that module's to read. ``label`` is how
    people call it, ``at_least`` holds what is expected: (contender, times as slow as fastreg).
    """

    kind: str
    name: str
    shape: tuple[int, ...] = ()
    count: int = 1  # arrays of this shape
    dtype: str = "float32"
    form: str = ""
    label: str = ""
    quick: bool = False  # is part of a short run
    at_least: tuple[tuple[str, float], ...] = ()

    @property
    def problem(self) -> Any:
        """Return the module that knows this kind of work."""
        return importlib.import_module(f"fastreg.bench.problems.{self.kind}")

    @property
    def id(self) -> str:
        """Return a name with which results of two runs are matched."""
        size = "x".join(map(str, self.shape)) or "-"
        many = f"{self.count}x({size})" if self.count > 1 else size
        return " ".join(filter(None, (self.name, self.form, many, self.dtype)))

    @property
    def elements(self) -> int:
        """Count the elements of all arrays."""
        size = self.count
        for n in self.shape:
            size *= n
        return size

    def checked(self) -> Work:
        """Return a case of the same work on which results can be compared quickly."""
        return self.problem.checked(self)

    def shrunk(self) -> Work:
        """Return the same work with a first axis that leaves some CHECKED elements."""
        if self.elements <= CHECKED:
            return self
        first = max(1, self.shape[0] * CHECKED // self.elements)
        return dataclasses.replace(self, shape=(first, *self.shape[1:]))

    def floor(self) -> Work | None:
        """Return what only moves as many bytes, or None where it is not memory that counts."""
        moved = 0 if self.kind == "limit" else self.problem.bytes_moved(self)
        if moved < DRAM or self.problem.operations(self):
            return None
        return Work("limit", "sweep" if self.kind == "update" else "copy", (moved // 8,))

    def tiny(self) -> Work:
        """Return the same work with few rows, which takes next to no time."""
        first = min(self.shape[0], 16 if len(self.shape) > 1 else 1000)
        return dataclasses.replace(self, shape=(first, *self.shape[1:]), count=min(self.count, 2))

    def to_json(self) -> str:
        """Write all of it in one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Work:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        fields["shape"] = tuple(fields["shape"])
        fields["at_least"] = tuple(map(tuple, fields["at_least"]))
        return cls(**fields)
