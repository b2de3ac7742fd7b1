"""One HTML page with everything in it: figures, table, what each contender was given."""

from __future__ import annotations

import importlib.resources
import re

import jinja2

from fastreg.bench import markdown, plots
from fastreg.bench.results import Run
from fastreg.lab import plots as look

__all__ = ["render"]


def render(run: Run) -> str:
    """Return the page; it needs no other file and no network."""
    figures = []
    for picture in plots.pictures(run):
        element, words = look.svg(picture, picture.name)
        figures.append({
            "svg": element.removeprefix("<svg"), "words": words, "wide": picture.wide,
            "caption": picture.caption,
        })  # fmt: skip
    template = importlib.resources.files("fastreg.bench").joinpath("page.html.j2")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template.read_text("utf-8")).render(
        about=run.about,
        cpu=run.cpu,
        figures=figures,
        sections=sections(markdown.table(run)),
        given=run.given,
        dark=look.dark("".join(figure["svg"] for figure in figures)),
    )


def sections(text: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return (heading, header, rows) of each table of a Markdown text, as `markdown` writes it."""
    found = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in body.splitlines() if line.startswith("|")
        ]  # fmt: skip
        if len(rows) > 2:
            found.append((heading, rows[0], rows[2:]))
    return found
