"""How the lab's figures look: colours told apart by all readers, means with their intervals."""

import io
import re

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.isotonic import isotonic_regression

from fastreg.lab.statistics import mean_interval

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "MUTED",
    "ORANGE",
    "PURPLE",
    "STYLE",
    "curve",
    "headline",
    "intervals",
    "label_end",
    "named_curves",
    "png",
    "shades",
    "svg",
]

# Okabe & Ito (2008): told apart by colour-blind readers, and in greyscale.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", "#1F2933", "#8A929B")
GREY = "#8A929B"
INK, MUTED = "#1F2933", "#5B6570"

STYLE = {
    "svg.fonttype": "none",  # text stays text: selectable, searchable, in the page's font
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#C5CBD1",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E9ECEF",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}


def curve(ax, x, runs, *, colour, label=None, **style):
    """Draw the mean of a curve a run, and its 95 % interval as a band.

    ``runs`` has shape (len(x), n_seeds), as `Outcomes.values` returns it.
    """
    mean, half = mean_interval(runs)
    (line,) = ax.plot(x, mean, color=colour, label=label, **style)
    low, high = mean - half, mean + half
    if ax.get_yscale() == "log":
        low = np.maximum(low, np.asarray(runs).min(axis=-1))  # a band below 0 has no end there
    ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    return line


def intervals(ax, x, values, *, colour, label=None, marker="o", line=True, scale=1.0):
    """Draw a mean at each x with its 95 % interval as a bar; ``values`` holds an array a point."""
    mean, half = np.array([mean_interval(one) for one in values]).T * scale
    ax.errorbar(
        x, mean, yerr=half, fmt=marker + ("-" if line else ""), color=colour, label=label,
        capsize=3, ms=5, elinewidth=1.4,
    )  # fmt: skip
    return mean, half


def label_end(ax, x, y, text, colour, *, dy=0):
    """Write a curve's name behind its end, ``dy`` points higher, instead of in a legend."""
    ax.annotate(
        text, (x, y), (5, dy), textcoords="offset points", color=colour, va="center",
        fontweight="bold", annotation_clip=False,
    )  # fmt: skip


def named_curves(ax, x, runs, colours, *, gap=0.065):
    """Draw a `curve` a name, called by name behind its end; names that would overlap move apart.

    ``runs`` and ``colours`` are dicts by name. Scale and limits of the y axis, if any, come first:
    a curve that ends beyond them is named at the edge. ``gap`` is the least distance between two
    names as a share of the axis.
    """
    for name, values in runs.items():
        curve(ax, x, values, colour=colours[name])
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    ends = np.array([mean_interval(values[-1]).mean for values in runs.values()])
    ends = np.clip(np.nan_to_num(ends, nan=high), low, high)
    to_axes = ax.transScale + ax.transLimits
    wanted = np.array([to_axes.transform((x[-1], end))[1] for end in ends])
    order, steps = np.argsort(wanted, kind="stable"), gap * np.arange(len(wanted))
    # The nearest places that are at least a gap apart and on the axis.
    places = isotonic_regression(wanted[order] - steps, y_min=0.0, y_max=1.0 - steps[-1]) + steps
    names = list(runs)
    for i, place in zip(order, places, strict=True):
        ax.annotate(
            names[i], (x[-1], place), (5, 0), ax.get_xaxis_transform(), "offset points",
            color=colours[names[i]], va="center", fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def shades(n):
    """Return n colours from light to dark for values with an order, told apart in greyscale."""
    return [matplotlib.colormaps["viridis_r"](place) for place in np.linspace(0.12, 0.95, n)]


def headline(figure, text):
    """Give a figure of several panels its finding as a headline."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11.5, fontweight="bold")


def _drawn(picture):
    figure = Figure(figsize=picture.size, layout="constrained")
    FigureCanvasAgg(figure)
    picture.draw(figure)
    return figure


def svg(picture, prefix):
    """Return a picture as an ``<svg>`` element; ids carry the prefix: plots share a page."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": prefix}):
        file = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        _drawn(picture).savefig(file, format="svg", transparent=True, metadata=metadata)
    element = file.getvalue()[file.getvalue().index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", element)


def png(picture, path, *, dpi=110):
    """Write a picture as a PNG file."""
    with matplotlib.rc_context(STYLE):
        _drawn(picture).savefig(path, format="png", dpi=dpi, facecolor="white")
