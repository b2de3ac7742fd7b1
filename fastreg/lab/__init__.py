"""The lab: the chapter's sections and exercises as experiments that train real networks.

Each experiment is one module of `fastreg.lab.experiments` with ``run(data="digits", seeds=5, ...)
-> result``; a result knows its ``table()``, its ``plot(ax)`` and its ``conclusion()``, and all of
them come from the numbers of that run. ``from fastreg.lab import dropout_rate`` imports one.
``fastreg lab`` runs the experiments and writes one report. The modules here are the only ones that
may import the packages of the extra ``lab``.
"""

from __future__ import annotations

import importlib
from typing import Any

from fastreg._command import experiments

try:
    import jinja2  # noqa: F401
    import joblib  # noqa: F401
    import matplotlib  # noqa: F401
    import sklearn  # noqa: F401
    import tqdm  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "fastreg lab needs the extra 'lab': pip install 'fastreg[lab]'", name=missing.name
    ) from missing

from fastreg._core.checks import shown

__all__ = ["EXPERIMENTS", "experiment"]

#: In the order of the chapter: its sections, its exercises, and what goes beyond it.
EXPERIMENTS = tuple(experiments())


def experiment(name: Any) -> Any:
    """Return the module of an experiment, imported when first asked for."""
    if not isinstance(name, str) or name not in EXPERIMENTS:
        raise ValueError(
            f"experiment: name must be one of {', '.join(EXPERIMENTS)}, got {shown(name)}"
        )
    return importlib.import_module(f"{__name__}.experiments.{name}")


def __getattr__(name: Any) -> Any:
    """Let ``from fastreg.lab import dropout_rate`` find the experiment."""
    if name in EXPERIMENTS:
        return experiment(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name the experiments, too."""
    return [*globals(), *EXPERIMENTS]
