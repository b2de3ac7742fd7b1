"""The result of an experiment: a table, figures and findings, all from the numbers of its run."""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastreg
from fastreg.lab.fits import Outcomes

__all__ = ["Finding", "Picture", "Result", "Table"]


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column holds names, the others numbers."""

    header: tuple[Any, ...]
    rows: list[Any]

    def __str__(self) -> str:
        """Align the columns for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = []
        for first, *rest in (self.header, ["-" * width for width in widths], *self.rows):
            cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]))
        return "\n".join(lines)

    __repr__ = __str__


class Finding(NamedTuple):
    """A claim, and the numbers it rests on."""

    claim: str
    evidence: str


class Picture(NamedTuple):
    """A figure of the report: ``draw(figure)`` fills a matplotlib Figure of that size in inches."""

    name: str
    draw: Callable
    size: tuple[Any, ...]
    caption: str

    @property
    def wide(self) -> Any:
        """Whether it fills a row of the page."""
        return self.size[0] > 6


@dataclass
class Result:
    """The outcomes of one experiment and its conclusions; experiments implement the abstract parts.

    Attributes
    ----------
    outcomes : Outcomes
        One dict per fit: its settings and what came out.
    settings : dict of str
        What a reader needs to repeat it.
    title, question : str
        Those of the experiment, set on the class; the title begins with the place in the chapter.
    """

    outcomes: Outcomes
    settings: dict[str, Any]

    title = ""
    question = ""

    def __post_init__(self) -> None:
        """Compute what table, findings and figures share."""

    def table(self) -> Table:
        """Return the numbers as a `Table`."""
        raise NotImplementedError

    def tables(self) -> dict[str, Table]:
        """Return the tables of the report by heading; `table` alone unless there are more."""
        return {"The numbers": self.table()}

    def choices(self) -> Any:
        """Return what was chosen, which must depend on validation data alone."""
        return ()

    def findings(self) -> list[Finding]:
        """Return a list of `Finding`, the answer first."""
        raise NotImplementedError

    def plot(self, ax: Any) -> None:
        """Draw the finding on a matplotlib Axes, with the finding as its title."""
        raise NotImplementedError

    def pictures(self) -> list[Picture]:
        """Return the figures of the report; `plot` alone unless there are more."""
        return [Picture("main", lambda figure: self.plot(figure.subplots()), (10.4, 4.2), "")]

    def conclusion(self) -> Any:
        """Return what the numbers say, as text."""
        return "\n".join(" ".join(finding) for finding in self.findings())

    @property
    def name(self) -> Any:
        """The experiment's, which is its module's."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def source(self) -> Any:
        """The code of the experiment, and code that it shares with others."""
        module = sys.modules[type(self).__module__]
        homes: set[Any] = {getattr(value, "__module__", None) for value in vars(module).values()}
        shared = [
            sys.modules[home] for home in sorted(homes - {None, module.__name__})
            if home.startswith(__package__) and hasattr(sys.modules[home], "fit")
        ]  # fmt: skip
        return "\n\n".join(map(inspect.getsource, [module, *shared]))

    def seeds(self) -> Any:
        """The seeds of the run, in order."""
        return sorted({outcome["seed"] for outcome in self.outcomes})

    def to_json(self) -> Any:
        """Return settings, findings and every outcome; a number JSON lacks is null."""
        return json.dumps(
            _jsonable(
                {
                    "experiment": self.name,
                    "title": self.title,
                    "fastreg": fastreg.__version__,
                    "settings": self.settings,
                    "table": {"header": self.table().header, "rows": self.table().rows},
                    "tables": {
                        name: {"header": table.header, "rows": table.rows}
                        for name, table in self.tables().items()
                    },
                    "findings": [finding._asdict() for finding in self.findings()],
                    "outcomes": list(self.outcomes),
                }
            ),
            indent=1,
            allow_nan=False,
        )


def _jsonable(value):
    if isinstance(value, dict):
        return {key: _jsonable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
