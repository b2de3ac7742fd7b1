"""The figures: speed-up by size, the roofline, scaling with threads, instruction sets."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastreg.bench.markdown import COLUMNS
from fastreg.bench.results import Run
from fastreg.bench.statistics import geometric_mean, median
from fastreg.lab.plots import BLUE, COLOURS, GREEN, GREY, INK, MUTED, ORANGE
from fastreg.lab.result import Picture

__all__ = ["pictures"]

COLOUR = dict(zip(COLUMNS.values(), (GREY, INK, ORANGE, GREEN, *COLOURS[3:]), strict=False))
KINDS = {"update": BLUE, "layer": ORANGE, "dropout": GREEN, "loss": COLOURS[3],
         "penalty": COLOURS[4], "product": INK, "step": COLOURS[5]}  # fmt: skip


def pictures(run: Run) -> list[Picture]:
    """Return the figures for which this run has enough."""
    found = []
    for kind in ("update", "product", "dropout", "penalty", "layer", "loss"):
        lines = [x for x in run.lines if x.work.kind == kind and x.work.dtype == "float32"]
        if len({x.work.elements for x in lines if x.fastreg}) > 1:
            found.append(Picture(
                f"speedup-{kind}", partial(_speedup, lines), (6.0, 3.8),
                f"{kind}: how many times as long others take, by size, in their best form and at "
                "their best number of threads. Bars are 95 % intervals; where there are several "
                "works of a size, their geometric mean is drawn, and its bar holds the middle half "
                "of them.",
            ))  # fmt: skip
    if run.limits:
        found.append(Picture(
            "roofline", partial(_roofline, run), (9.5, 4.6),
            "Left: fastreg's works on arrays larger than the caches, in GB/s of the bytes that "
            "must move, beside what a sweep in place and a copy reach. Right: products, by "
            "operations per byte, under what memory and the fastest product of this run allow.",
        ))  # fmt: skip
    counts = {e.contender["threads"] for x in run.lines for e in x.own}
    if len(counts) > 1:
        found.append(Picture(
            "scaling", partial(_scaling, run, max(counts)), (6.0, 4.2),
            f"fastreg with {max(counts)} threads against one, by the time of a call on one. Short "
            "calls stay on one thread, whatever was given.",
        ))  # fmt: skip
    levels = {e.contender["level"] for x in run.lines for e in x.entries.values()} - {""}
    if levels:
        found.append(Picture(
            "levels", partial(_levels, run, sorted(levels)), (6.0, 4.2),
            f"fastreg with older instruction sets: times as long as with {run.about['level']}.",
        ))  # fmt: skip
    return found


def _speedup(lines, figure):
    ax = figure.subplots()
    ax.set_xscale("log")
    ax.set_yscale("log")
    for library, colour in COLOUR.items():
        groups: dict[int, list[Any]] = {}
        for line in lines:
            entry = line.best(library)
            if entry is not None and line.fastreg:
                groups.setdefault(line.work.elements, []).append(line.speedup(entry))
        if not groups:
            continue
        sizes = sorted(groups)
        middle, low, high = [], [], []
        for size in sizes:
            found = groups[size]
            values = [one.value for one in found]
            middle.append(geometric_mean(values))
            ends = (found[0].low, found[0].high) if len(found) == 1 else np.quantile(
                values, (0.25, 0.75))  # fmt: skip
            low.append(max(middle[-1] - ends[0], 0))
            high.append(max(ends[1] - middle[-1], 0))
        label = next(head for head, name in COLUMNS.items() if name == library)
        ax.errorbar(sizes, middle, yerr=[low, high], fmt="o-", ms=4, capsize=3, color=colour,
                    label=label)  # fmt: skip
    ax.axhline(1, color=MUTED, lw=1, ls=":")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    ax.set_xlabel("elements")
    ax.set_ylabel("times as long as fastreg")
    ax.set_title(f"{lines[0].work.kind}: others' time by size")
    _legend(ax)


def _roofline(run, figure):
    bars, roof = figure.subplots(1, 2)
    most = run.about["threads"]
    large = [x for x in run.lines if x.fastreg and x.best("machine")][:40]
    speeds = [x.fastreg.gb_per_s for x in large]
    places = np.arange(len(large))
    bars.barh(places, speeds, color=[KINDS[x.work.kind] for x in large], height=0.7)
    bars.set_yticks(places, [x.work.label or x.work.id for x in large],
                    fontsize=8 if len(large) < 16 else 5)  # fmt: skip
    bars.invert_yaxis()
    bars.grid(axis="y", visible=False)
    for name, style in (("sweep", "-"), ("copy", "--")):
        limit = run.limits.get((name, "float32", most))
        if limit:
            bars.axvline(limit, color=INK, ls=style, lw=1.2, label=name)
    bars.set_xlabel("GB/s")
    bars.set_title(f"Memory, {most} threads")
    for kind in dict.fromkeys(x.work.kind for x in large):
        bars.bar(0, 0, color=KINDS[kind], label=kind)
    _legend(bars, ncols=2)
    roof.set_xscale("log")
    roof.set_yscale("log")
    peak = run.peak("float32", most)
    copy = run.limits.get(("copy", "float32", most))
    x = np.logspace(-1, 3, 50)
    if peak and copy:
        roof.plot(x, np.minimum(copy * x, peak), color=INK, lw=1.4, label="memory, then peak")
    shown = [y for y in run.lines if y.work.kind == "product" and y.work.dtype == "float32"
             and y.fastreg]  # fmt: skip
    roof.plot([y.fastreg.operations / y.fastreg.bytes_moved for y in shown],
              [y.fastreg.gflop_per_s for y in shown], "o", ms=4, color=BLUE,
              label="fastreg.matmul")  # fmt: skip
    other = [e for e in (y.best("inplace") for y in shown) if e]
    roof.plot([e.operations / e.bytes_moved for e in other], [e.gflop_per_s for e in other],
              "x", ms=5, color=GREY, label="NumPy's BLAS")  # fmt: skip
    roof.set_xlabel("operations per byte")
    roof.set_ylabel("GFLOP/s")
    roof.set_title("Products, float32")
    _legend(roof, ncols=2)


def _scaling(run, most, figure):
    ax = figure.subplots()
    ax.set_xscale("log")
    for kind, colour in KINDS.items():
        points = []
        for line in run.lines:
            found = {e.contender["threads"]: e for e in line.own}
            if line.work.kind == kind and {1, most} <= found.keys():
                one, all_of_them = found[1].samples, found[most].samples
                gain = median([a / b for a, b in zip(one, all_of_them, strict=False)]).value
                points.append((1e6 * found[1].seconds.value, gain))
        if points:
            ax.plot(*zip(*points, strict=True), "o", ms=4, color=colour, label=kind)
    ax.axhline(most, color=MUTED, lw=1, ls=":")
    ax.axhline(1, color=MUTED, lw=1, ls=":")
    ax.set_ylim(0, 1.15 * most)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    ax.set_xlabel("µs on one thread")
    ax.set_ylabel("times as fast")
    ax.set_title(f"{most} threads against one")
    _legend(ax)


def _levels(run, levels, figure):
    ax = figure.subplots()
    kinds = [k for k in KINDS if any(x.work.kind == k for x in run.lines)]
    for i, level in enumerate(levels):
        for place, kind in enumerate(kinds):
            values = [
                x.speedup(e).value
                for x in run.lines if x.work.kind == kind and x.fastreg
                for e in x.entries.values() if e.contender["level"] == level
            ]  # fmt: skip
            spread = np.linspace(-0.12, 0.12, max(len(values), 1))[: len(values)]
            ax.plot(place + 0.3 * i - 0.15 + spread, values, "o", ms=3, color=COLOURS[i],
                    label=level if kind == kinds[0] else None)  # fmt: skip
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    ax.axhline(1, color=MUTED, lw=1, ls=":")
    ax.set_title("Instruction sets")
    ax.set_ylabel(f"times as long as {run.about['level']}")
    _legend(ax)


def _legend(ax, ncols=4):
    """Say below the axes what is what: inside them, it would cover what was measured."""
    ax.legend(fontsize=8, ncols=ncols, frameon=False, loc="upper center",
              bbox_to_anchor=(0.5, -0.16))  # fmt: skip
