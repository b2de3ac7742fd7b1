"""The report: tables for the terminal and the page, figures as SVG, one self-contained file."""

import datetime
import importlib.resources
import io
import platform
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib
import threadpoolctl
from matplotlib.figure import Figure

import fastreg

__all__ = ["BLUE", "GREY", "MUTED", "ORANGE", "Plot", "Section", "Table", "headline", "write"]

# Okabe & Ito (2008): told apart by colour-blind readers, and in greyscale.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A929B"
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
    "axes.titlesize": 9.5,
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


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names, the others are numbers."""

    header: tuple
    rows: list

    def __str__(self):
        """Align the columns for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = []
        for first, *rest in (self.header, ["-" * width for width in widths], *self.rows):
            cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]))
        return "\n".join(lines)


@dataclass(frozen=True)
class Section:
    """One experiment on the page."""

    title: str
    question: str
    highlights: list  # pairs of value and label
    conclusions: list  # pairs of claim and evidence
    table: Table
    plots: list
    settings: dict


@dataclass(frozen=True)
class Plot:
    """A figure of the page: ``draw(figure)`` fills a matplotlib Figure of that size in inches."""

    name: str
    draw: Callable
    size: tuple
    caption: str

    @property
    def wide(self):
        """Whether it takes a row of the page alone."""
        return self.size[0] > 6

    @property
    def svg(self):
        """An ``<svg>`` element; ids carry the name, so that plots can share a page."""
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.name}):
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure)
            file = io.StringIO()
            figure.savefig(
                file,
                format="svg",
                transparent=True,
                metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
            )
        element = file.getvalue()[file.getvalue().index("<svg") :]
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.name}-", element)


def headline(figure, text):
    """Give a figure its finding as a headline."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11.5, fontweight="bold")


def environment():
    """Return what a reader needs to judge the timings, as pairs of name and text."""
    text = io.StringIO()
    fastreg.show_config(file=text)
    config = dict(re.split(" {2,}", line, maxsplit=1) for line in text.getvalue().splitlines())
    blas = [
        f"{pool['internal_api']} {pool['version']}"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return {
        "processor": processor(),
        **config,
        "blas": ", ".join(sorted(set(blas))),
        "system": platform.platform(terse=True),
    }


def processor():
    """Return the processor's name; Python knows it on no Linux, so the kernel is asked."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^model name\s*: (.+)$", text, re.MULTILINE):
            return match[1]
    return platform.processor() or platform.machine()


def write(folder, sections, *, seconds):
    """Write ``folder/index.html``, a page that needs no other file, and return its path.

    ``seconds`` is what the experiments took.
    """
    template = importlib.resources.files(__package__).joinpath("report.html.j2")
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        template.read_text(encoding="utf-8")
    )
    text = page.render(
        sections=sections,
        environment=environment(),
        version=fastreg.__version__,
        seconds=seconds,
        date=f"{datetime.date.today():%d %B %Y}",
    )
    path = Path(folder) / "index.html"
    path.write_text(text, encoding="utf-8")
    return path
