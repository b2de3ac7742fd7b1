"""The look of the lab's figures: colours that all readers can distinguish, means, intervals."""

from __future__ import annotations

import colorsys
import io
import re
import textwrap
from typing import Any

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
    "INK",
    "MUTED",
    "ORANGE",
    "PAPER",
    "PURPLE",
    "STYLE",
    "curve",
    "dark",
    "describe",
    "drawn",
    "headline",
    "intervals",
    "label_end",
    "named_curves",
    "png",
    "shades",
    "svg",
]

# Okabe & Ito (2008): distinct for colour-blind readers, and in greyscale.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY, INK, MUTED, PAPER = "#8A929B", "#1F2933", "#5B6570", "#FEFEFE"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", INK, GREY)
AXIS, GRID = "#C5CBD1", "#E9ECEF"

#: Their replacements in dark mode; other colours are turned from dark to light.
DARK = {
    BLUE: "#4DA6E0", ORANGE: "#F5853F", GREEN: "#35C498", PURPLE: "#DE9BC1", "#E69F00": "#F0B93A",
    "#56B4E9": "#A5DAF7", GREY: "#8F98A2", INK: "#E4E8EC", MUTED: "#A3ADB8", PAPER: "#14181D",
    AXIS: "#4A535D", GRID: "#262D35",
}  # fmt: skip

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, searchable, in the page's font
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": AXIS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
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


def _ends(ax, runs, scale, within):
    """Return the mean and the ends of its interval, cut to what values and axis can be."""
    mean, half = (np.asarray(one) * scale for one in mean_interval(runs))
    low, high = np.maximum(mean - half, within[0]), np.minimum(mean + half, within[1])
    if ax.get_yscale() == "log":  # an interval that reaches 0 has no end on this axis
        lowest = scale * np.asarray(runs).min(axis=-1)
        low = np.where(low < lowest / 10, lowest, low)
    return mean, low, high


def curve(
    ax: Any,
    x: Any,
    runs: Any,
    *,
    colour: Any,
    label: Any = None,
    within: Any = (-np.inf, np.inf),
    **style: Any,
) -> Any:
    """Draw the mean of a curve per run, and its 95 % interval as a band.

    ``runs`` has shape (len(x), n_seeds), as `Outcomes.values` returns it. ``within`` is the
    range of possible values, such as 0 to 100 for a share; set the scale of the axis before.
    """
    mean, low, high = _ends(ax, runs, 1.0, within)
    (line,) = ax.plot(x, mean, color=colour, label=label, **style)
    ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    return line


def intervals(ax: Any, x: Any, values: Any, *, colour: Any, label: Any = None, marker: str = "o",
              line: bool = True, scale: float = 1.0,
              within: tuple[float, float] = (-np.inf, np.inf)) -> Any:  # fmt: skip
    """Draw a mean at each x with its 95 % interval as a bar; ``values`` holds an array per point.

    ``within`` is as for `curve`, after multiplication by ``scale``.
    """
    mean, low, high = np.array([_ends(ax, one, scale, within) for one in values]).T
    ax.errorbar(
        x, mean, yerr=np.maximum([mean - low, high - mean], 0), fmt=marker + ("-" if line else ""),
        color=colour, label=label, capsize=3, ms=5, elinewidth=1.4,
    )  # fmt: skip
    return mean, high - mean


def label_end(ax: Any, x: Any, y: Any, text: Any, colour: Any, *, dy: int = 0) -> None:
    """Write a curve's name at its end, ``dy`` points higher, instead of in a legend."""
    ax.annotate(
        text, (x, y), (5, dy), textcoords="offset points", color=colour, va="center",
        fontweight="bold", annotation_clip=False,
    )  # fmt: skip


def named_curves(
    ax: Any, x: Any, runs: Any, colours: Any, *, within: Any = (-np.inf, np.inf)
) -> None:
    """Draw a `curve` per name, with its name at its end; names that would overlap move apart.

    ``runs`` and ``colours`` are dicts by name. Panels that share their y axis are given together:
    a list of axes and one of runs.
    """
    panels = (
        list(zip(ax, runs, strict=True)) if isinstance(ax, (list, np.ndarray)) else [(ax, runs)]
    )
    for panel, values in panels:  # all of them first: each may widen the axis that they share
        for name, one in values.items():
            curve(panel, x, one, colour=colours[name], label=name, within=within)
    for panel, values in panels:
        _name_ends(panel, x, values, colours)


def _name_ends(ax, x, runs, colours, gap=0.065):
    """Write the names at the ends, at least ``gap`` of the axis apart."""
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


def shades(n: Any) -> Any:
    """Return n colours from light to dark for ordered values, distinct in greyscale."""
    return [matplotlib.colormaps["viridis_r"](place) for place in np.linspace(0.12, 0.95, n)]


def headline(figure: Any, text: Any) -> None:
    """Give a figure of several panels its finding as a headline, broken to its width."""
    width = int(9.6 * figure.get_figwidth())
    lines = textwrap.fill(text.removesuffix("."), width)
    figure.suptitle(lines, x=0.01, ha="left", fontsize=11.5, fontweight="bold")


def drawn(picture: Any) -> Any:
    """Return the figure of a picture."""
    figure = Figure(figsize=picture.size, layout="constrained")
    FigureCanvasAgg(figure)
    picture.draw(figure)
    for ax in figure.axes:
        width = int(13 * ax.get_position().width * picture.size[0])
        ax.set_title(textwrap.fill(ax.get_title(loc="left"), max(width, 16)), loc="left")
    return figure


def describe(figure: Any) -> Any:
    """Describe a figure in words, for readers who cannot see it."""
    parts = [figure.get_suptitle()]
    for ax in figure.axes:
        axes = " against ".join(filter(None, [ax.get_ylabel(), ax.get_xlabel()]))
        parts.append(": ".join(filter(None, [ax.get_title(loc="left"), axes])))
        handles, labels = ax.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            if (y := _heights(handle)) is not None and len(y):
                parts.append(
                    f"{label}: {y[0]:.3g}" if len(y) == 1
                    else f"{label}: from {y[0]:.3g} to {y[-1]:.3g}"
                    + (f", {min(y):.3g} at the lowest" if min(y) < min(y[0], y[-1]) else "")
                    + (f", {max(y):.3g} at the highest" if max(y) > max(y[0], y[-1]) else "")
                )  # fmt: skip
    text = ". ".join(" ".join(part.split()).rstrip(".") for part in parts if part)
    return text[:1200] + ("…" if len(text) > 1200 else ".")


def _heights(handle):
    """Return the values of what was drawn, if it has such."""
    if hasattr(handle, "datavalues"):  # bars
        return np.asarray(handle.datavalues)
    line: Any = handle[0] if isinstance(handle, tuple) and handle else handle
    if hasattr(line, "get_ydata"):
        y = np.asarray(line.get_ydata(), np.float64)
        return y[np.isfinite(y)]
    return None


def svg(picture: Any, prefix: Any) -> Any:
    """Return a picture as an ``<svg>`` element and its description in words.

    Ids get the prefix, since plots share a page. Colours are CSS variables with the colour itself
    as fallback; a page that defines the variables, as `dark` does, changes them.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": prefix}):
        file = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure = drawn(picture)
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    element = file.getvalue()[file.getvalue().index("<svg") :]
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", element)
    return re.sub(r"(?<=: )#([0-9a-f]{6})\b", _variable, element), describe(figure)


def _variable(match):
    """Keep black and white, which are written on coloured ground."""
    colour = match[1]
    return match[0] if colour in ("000000", "ffffff") else f"var(--c{colour}, #{colour})"


def dark(text: Any) -> Any:
    """Return CSS that gives the variables in a text their colours on a dark ground."""
    known = {light.lower(): other for light, other in DARK.items()}
    rules = []
    for colour in sorted(set(re.findall(r"var\(--c([0-9a-f]{6}),", text))):
        rules.append(f"--c{colour}: {known.get('#' + colour) or _turned(colour)};")
    return " ".join(rules)


def _turned(colour):
    """Exchange light for dark, at the same hue."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4))
    hue, light, strength = colorsys.rgb_to_hls(red, green, blue)
    turned = colorsys.hls_to_rgb(hue, 0.9 - 0.7 * light, strength)
    return "#" + "".join(f"{round(255 * part):02x}" for part in turned)


def png(picture: Any, path: Any, *, dpi: int = 110) -> None:
    """Write a picture as a PNG file."""
    with matplotlib.rc_context(STYLE):
        drawn(picture).savefig(path, format="png", dpi=dpi, facecolor="white")
