"""Figures that the library draws: schedules, the start's history, rounding, benchmarks."""

import re
from pathlib import Path

import numpy as np

from fastreg import SGD, schedule
from fastreg.lab.plots import BLUE, COLOURS, GREEN, GREY, ORANGE
from fastreg.lab.result import Picture

__all__ = ["PICTURES"]

STEPS = 100
#: As they are written above the panels.
CALLS = (
    "constant(1)", "step(1, 0.5, 25)", "multi_step(1, [50, 75])", "exponential(1, 0.97)",
    "inverse_time(1, 0.05)", "linear(1, 0, 100)", "polynomial(1, 0, 100, power=2)",
    "cosine(1, 100)", "warmup(cosine(1, 90), 10)", "warm_restarts(1, 34)", "one_cycle(1, 100)",
    "warmup_stable_decay(1, 10, 60, 30)",
)  # fmt: skip


def _draw(figure):
    panels = figure.subplots(3, 4, sharex=True, sharey=True).ravel()
    for ax, call in zip(panels, CALLS, strict=True):
        ax.plot(*eval(call, vars(schedule).copy()).curve(STEPS), color=BLUE)
        ax.set_title(call, fontsize=8)
        ax.set_ylim(-0.05, 1.1)
    for ax in panels[-4:]:
        ax.set_xlabel("step")


def _draw_history(figure):
    text = (Path(__file__).parents[1] / "start.md").read_text("utf-8")
    names = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    names["history"].plot(figure.subplots())
    for ax in figure.axes:
        ax.grid(False)


def _draw_halves(figure):
    ax, steps = figure.subplots(), np.arange(51)
    for words, color, master, size in (
        ("by chance, mean of 1000", BLUE, False, 1000),
        ("by chance, one parameter", ORANGE, False, 1),
        ("master=True", GREEN, True, 1),
    ):
        params = {"w": np.ones(size, np.float16)}
        optimizer, path = SGD(0.0002, master=master, rng=1), []
        for _ in steps:
            path.append(params["w"].astype(float).mean())
            optimizer.update(params, {"w": -np.ones(size, np.float16)})
        ax.step(steps, path, where="post", color=color, label=words)
    ax.plot(steps, np.ones(len(steps)), "--", color=GREY, label="rounded to the nearest")
    ax.set_xlabel("step")
    ax.set_ylabel("parameter")
    ax.legend(frameon=False, loc="upper left")


def _draw_benchmarks(figure):
    """One row per work of the README's table, one dot per library."""
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    table = text.partition("<!-- benchmarks:")[2].partition("<!-- /benchmarks -->")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    (_, _, *libraries), works = [cell.strip() for cell in rows[0]], rows[1:]
    ax = figure.subplots()
    for k, library in enumerate(libraries):
        dots = [(row[k + 2].strip(" |×"), i) for i, row in enumerate(works)]
        dots = [(float(times), i) for times, i in dots if times != "–"]
        ax.plot(*zip(*dots, strict=True), "o", color=COLOURS[k], label=library)
    ax.axvline(1, color=GREY)
    ax.set_xscale("log")
    ax.set_xticks([1, 2, 5, 10, 20, 50, 100, 200], [1, 2, 5, 10, 20, 50, 100, 200])
    ax.set_yticks(range(len(works)), [row[0].strip() for row in works])
    ax.invert_yaxis()
    ax.set_xlabel("times as long as fastreg")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)


_draw_benchmarks.words = "For each row of the table, how many times as long the others take."

PICTURES = [
    Picture(
        "benchmarks",
        _draw_benchmarks,
        (10.4, 5.6),
        "The table below as a picture. Left of the line, another library is faster.",
    ),
    Picture("history", _draw_history, (10.4, 4.0), "What history.plot() draws of the lines above."),
    Picture("schedules", _draw, (10.4, 5.6), "Schedules of fastreg.schedule over 100 steps."),
    Picture(
        "halves",
        _draw_halves,
        (10.4, 4.0),
        "A float16 parameter of 1 that each of 50 steps of SGD raises by 0.0002.",
    ),
]
