"""The lab: the chapter's exercises as experiments that train real networks.

Each experiment is one module with ``run(data="digits", seeds=5, ...) -> result``; a result knows
its ``table()``, its ``plot(ax)`` and its ``conclusion()``, and all of them come from the numbers of
that run. ``fastreg lab`` runs the experiments and writes one report. The modules here are the only
ones that may import the packages of the extra ``lab``.
"""

import importlib

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

__all__ = ["EXPERIMENTS", "experiment"]

#: In the order of the report: the six exercises, the chapter's body, and the speed.
EXPERIMENTS = (
    "l1_vs_l2",
    "l1_inputs",
    "dropout_rate",
    "batch_norm",
    "optimizers",
    "schedules",
    "early_stopping",
    "bias_variance",
    "fit_status",
    "rosenbrock",
    "batch_vs_layer_norm",
    "dropout_masks",
    "speed",
)


def experiment(name):
    """Return the module of an experiment, imported when first asked for."""
    return importlib.import_module(f"{__name__}.{name}")
