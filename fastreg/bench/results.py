"""What a run has found, read from pytest-benchmark's JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fastreg.bench.statistics import Median, median, ratio
from fastreg.bench.work import Work

__all__ = ["Entry", "Line", "Run", "load"]


@dataclass(frozen=True)
class Entry:
    """One contender at one work."""

    contender: dict[str, Any]
    given: dict[str, Any]
    samples: tuple[float, ...]
    bytes_moved: int
    operations: int

    @cached_property
    def seconds(self) -> Median:
        """The median of a call, with its interval."""
        return median(self.samples)

    @property
    def gb_per_s(self) -> float:
        """10**9 bytes per second, counting each byte that must move once."""
        return 1e-9 * self.bytes_moved / self.seconds.value

    @property
    def gflop_per_s(self) -> float:
        """10**9 additions and multiplications per second."""
        return 1e-9 * self.operations / self.seconds.value


@dataclass
class Line:
    """A work and everyone who took part in it, by name."""

    work: Work
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def own(self) -> list[Entry]:
        """Return fastreg at each number of threads, with the CPU's best instruction set."""
        return [e for e in self.entries.values() if e.contender["library"] == "fast"
                and not e.contender["level"] and not e.contender["form"]]  # fmt: skip

    @property
    def fastreg(self) -> Entry | None:
        """Return fastreg as it comes: all threads, the CPU's best instruction set."""
        return max(self.own, key=lambda e: e.contender["threads"], default=None)

    def best(self, library: str, form: str | None = None) -> Entry | None:
        """Return a library's fastest form, or one, at the number of threads it does best with."""
        found = [e for e in self.entries.values() if e.contender["library"] == library]
        found = [e for e in found if form in (None, e.contender["form"])]
        return min(found, key=lambda e: e.seconds.value, default=None)

    def speedup(self, entry: Entry) -> Median:
        """Return how many times as long an entry takes as fastreg."""
        own = self.fastreg
        assert own is not None
        return ratio(entry.samples, own.samples)

    def judged(self) -> list[tuple[str, float, float]]:
        """Return (contender, what is expected of it, what came) of those that took part."""
        found = []
        for name, factor in self.work.at_least:
            entries = [e for n, e in self.entries.items() if n.startswith(name)]
            if entries and self.fastreg:
                entry = min(entries, key=lambda e: e.seconds.value)
                found.append((name, factor, self.speedup(entry).value))
        return found


@dataclass(frozen=True)
class Run:
    """A run: its machine, and a line per work."""

    machine: dict[str, Any]
    lines: list[Line]
    imports: dict[str, Median] = field(
        default_factory=dict
    )  # seconds of a new interpreter, by code

    @property
    def cpu(self) -> str:
        """Return the CPU's name."""
        return self.machine["cpu"].get("brand_raw") or self.machine["machine"]

    @property
    def about(self) -> dict[str, Any]:
        """Return version, level, threads, date and mode of fastreg."""
        return self.machine["fastreg"]

    @cached_property
    def limits(self) -> dict[tuple[str, str, int], float]:
        """Return GB/s of sweep and copy, GFLOP/s of product, by name, dtype and threads.

        Each is the best that the machine has shown during the run.
        """
        found: dict[tuple[str, str, int], float] = {}
        for line in self.lines:
            own = line.work.kind == "limit"
            for e in line.entries.values():
                if e.contender["library"] == "machine":
                    name = line.work.name if own else e.contender["form"]
                    key = name, line.work.dtype if own else "float32", e.contender["threads"]
                    value = e.gflop_per_s if e.operations else e.gb_per_s
                    found[key] = max(value, found.get(key, 0.0))
        return found

    def peak(self, dtype: str, threads: int) -> float | None:
        """Return the fastest product of this run in GFLOP/s, whoever made it."""
        found = [
            e.gflop_per_s
            for line in self.lines
            if line.work.dtype == dtype and line.work.kind in ("limit", "product")
            for e in line.entries.values()
            if e.operations and e.contender["threads"] == threads
        ]
        return max(found, default=None)

    def share(self, line: Line, entry: Entry) -> float | None:
        """Return the share of the machine's limit that an entry reaches, where one applies."""
        floor = line.best("machine")
        if floor is not None:
            return ratio(floor.samples, entry.samples).value
        if entry.operations:
            limit = self.peak(line.work.dtype, entry.contender["threads"])
            return limit and entry.gflop_per_s / limit
        return None

    @property
    def given(self) -> dict[str, str]:
        """Return what each contender was given, in words."""
        found: dict[str, str] = {}
        for line in self.lines:
            for name, entry in line.entries.items():
                found.setdefault(name, ", ".join(
                    f"{value}" if key == "library" else f"{key} {value}"
                    for key, value in entry.given.items() if value != ""
                ))  # fmt: skip
        return dict(sorted(found.items()))


def load(*paths: Path | str) -> Run:
    """Read files of one machine; a work that is in several is taken from the last."""
    lines: dict[str, Line] = {}
    machine: dict[str, Any] = {}
    imports: dict[str, Median] = {}
    for path in paths:
        read = json.loads(Path(path).read_text("utf-8"))
        machine = read["machine_info"]
        fresh: dict[str, Line] = {}
        for one in read["benchmarks"]:
            info = one["extra_info"]
            if "work" not in info:
                imports[one["param"]] = median(one["stats"]["data"])
                continue
            work = {k: v for k, v in info["work"].items() if k not in ("id", "elements")}
            line = fresh.setdefault(info["work"]["id"], Line(Work.from_json(json.dumps(work))))
            line.entries[info["contender"]["name"]] = Entry(
                info["contender"], info["given"], tuple(one["stats"]["data"]),
                info["bytes"], info["operations"],
            )  # fmt: skip
        lines |= fresh
    if "fastreg" not in machine:
        raise ValueError(f"{paths[-1]} was not written by fastreg's benchmarks")
    return Run(machine, list(lines.values()), imports)
