"""Regularise and train networks at the speed of memory: plain classes over fused C kernels."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fastreg import (
    _command,  # noqa: F401 - first: Ctrl-C during the other imports
    config,
    dropout,
    norm,
    optim,
)
from fastreg.config import *
from fastreg.dropout import *
from fastreg.norm import *
from fastreg.optim import *
from fastreg.optim import Optimizer as Optimizer

if TYPE_CHECKING:
    from fastreg import reference as reference
    from fastreg import schedule as schedule
    from fastreg.penalty import *
    from fastreg.plateau import ReduceOnPlateau as ReduceOnPlateau
    from fastreg.product import *
    from fastreg.schedule.chapter import *
    from fastreg.stopping import EarlyStopping as EarlyStopping
    from fastreg.study import bias_variance as bias_variance
    from fastreg.study import compare_optimizers as compare_optimizers
    from fastreg.study import diagnose as diagnose

__version__ = "0.2.0"

# Imported when one of their names is first used, so that `import fastreg` stays quick.
_LATER = {
    "fastreg.penalty": {
        "ElasticNet",
        "GroupLasso",
        "l1_gradient",
        "l1_regularization_loss",
        "l2_gradient",
        "l2_regularization_loss",
        "max_norm",
        "near_zero",
        "penalty_and_gradient",
        "soft_threshold",
        "unit_norm",
        "weight_histogram",
    },
    "fastreg.plateau": {"ReduceOnPlateau"},
    "fastreg.product": {"matmul"},
    "fastreg.schedule.chapter": {
        "cosine_annealing",
        "step_decay",
        "warmup_cosine",
        "warmup_schedule",
    },
    "fastreg.stopping": {"EarlyStopping"},
    "fastreg.study": {"bias_variance", "compare_optimizers", "diagnose"},
}

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    __all__ = ["Optimizer", "reference", "schedule"]
    __all__ += [name for names in _LATER.values() for name in sorted(names)]
    __all__ += config.__all__
    __all__ += dropout.__all__
    __all__ += norm.__all__
    __all__ += optim.__all__

    def __getattr__(name):
        """Import a submodule, or what holds a name, that is not loaded yet."""
        if name in ("reference", "schedule"):
            return importlib.import_module(f"fastreg.{name}")
        for module, names in _LATER.items():
            if name in names:
                globals()[name] = getattr(importlib.import_module(module), name)
                return globals()[name]
        raise AttributeError(f"module 'fastreg' has no attribute {name!r}")

    def __dir__():
        """List the public names, loaded or not."""
        return sorted({*globals(), *__all__})
