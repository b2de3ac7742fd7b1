"""Figures that the library draws: its schedules, what the start's program records, rounding."""

import re
from pathlib import Path

import numpy as np

from fastreg import SGD, schedule
from fastreg.lab.plots import BLUE, GREEN, GREY, ORANGE
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
        ("by chance, mean of 1000", BLUE, False, 1000), ("by chance, one of them", ORANGE, False, 1),
        ("master=True", GREEN, True, 1),
    ):  # fmt: skip
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


PICTURES = [
    Picture("history", _draw_history, (10.4, 4.0), "What history.plot() draws of the lines above."),
    Picture("schedules", _draw, (10.4, 5.6), "Schedules of fastreg.schedule over 100 steps."),
    Picture(
        "halves", _draw_halves, (7.2, 4.0),
        "A float16 parameter of 1 that each of 50 steps of SGD raises by 0.0002.",
    ),  # fmt: skip
]
