"""The report: one self-contained page, and beside it the raw numbers and the figures as PNG."""

from __future__ import annotations

import datetime
import importlib.resources
import io
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
import threadpoolctl

import fastreg
from fastreg.lab import plots

__all__ = ["environment", "write"]


def write(folder: Any, results: Any, *, seconds: Any, failed: Any = (), about: Any = None) -> Any:
    """Write ``index.html``, a page that needs no other file, and per result a JSON file and PNGs.

    Parameters
    ----------
    folder : path
        An existing folder.
    results : list of Result
        In the order of the page.
    seconds : float
        What the experiments took.
    failed : sequence of str, keyword-only
        Experiments without a result, with the reason, which the page gives.
    about : dict of str, keyword-only
        What all experiments share, such as data and seeds, for the top of the page.

    Returns
    -------
    path : Path
        Of the page.
    missing : list of str
        Figures that could not be drawn, with the reason, which the page gives in their place.
    """
    folder = Path(folder)
    sections = [_section(folder, result) for result in results]
    template = importlib.resources.files("fastreg.lab").joinpath("report.html.j2")
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        template.read_text(encoding="utf-8")
    )
    now = datetime.datetime.now().astimezone()
    text = page.render(
        sections=sections,
        failed=failed,
        environment=environment(),
        about={
            "date": f"{now:%d %B %Y, %H:%M} {now:%z}",
            **(about or {}),
            "time taken": f"{seconds:.0f} seconds",
            "version": f"fastreg {fastreg.__version__}",
        },
        dark=plots.dark("".join(one.get("svg", "") for s in sections for one in s["figures"])),
    )
    path = folder / "index.html"
    path.write_text(text, encoding="utf-8")
    figures = [figure for section in sections for figure in section["figures"]]
    return path, [figure["missing"] for figure in figures if "missing" in figure]


def _section(folder, result):
    (folder / f"{result.name}.json").write_text(result.to_json(), encoding="utf-8")
    place, _, title = result.title.partition(": ")
    return {
        "name": result.name,
        "place": place if title else "",
        "title": (title[:1].upper() + title[1:]) or place,
        "question": result.question,
        "findings": result.findings(),
        "tables": result.tables(),
        "settings": result.settings,
        "source": result.source,
        "figures": [_figure(folder, result.name, picture) for picture in result.pictures()],
    }


def _figure(folder, name, picture):
    """Draw a figure for the page and for the folder; the page can do without one that fails."""
    prefix = f"{name}-{picture.name}"
    figure = {"name": prefix, "wide": picture.wide, "caption": picture.caption}
    try:
        plots.png(picture, folder / f"{prefix}.png")
        element, words = plots.svg(picture, prefix)
    except Exception as error:
        return {**figure, "missing": f"{prefix}: {type(error).__name__}: {error}"}
    return {**figure, "svg": element.removeprefix("<svg"), "words": words}


def environment() -> Any:
    """Return what a reader needs to judge the timings, as pairs of name and text."""
    text = io.StringIO()
    fastreg.show_config(file=text)
    lines = [line for line in text.getvalue().splitlines() if not line.startswith(" ")]
    config = dict(re.split(" {2,}", line, maxsplit=1) for line in lines)
    blas = [
        f"{pool['internal_api']} {pool['version']}"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return {
        "processor": _processor(),
        **config,
        "blas": ", ".join(sorted(set(blas))),
        "system": platform.platform(terse=True),
    }


def _processor():
    """Return the processor's name; on Linux Python does not know it, but the kernel does."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^model name\s*: (.+)$", text, re.MULTILINE):
            return match[1]
    return platform.processor() or platform.machine()
