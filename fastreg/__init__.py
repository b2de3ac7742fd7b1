"""Regularise and train at the speed of memory: the textbook's classes over fused CPU kernels."""

import importlib

from fastreg import _command  # noqa: F401 - first: Ctrl-C during the other imports
from fastreg._optimizer import Optimizer
from fastreg.config import empty_cache, get_num_threads, num_threads, set_num_threads, show_config
from fastreg.dropout import DropConnect, Dropout, SpatialDropout, StochasticDepth
from fastreg.group import GroupLasso, max_norm, unit_norm
from fastreg.groupnorm import GroupNorm, InstanceNorm
from fastreg.layernorm import LayerNorm, RMSNorm
from fastreg.noise import AlphaDropout, GaussianDropout
from fastreg.norm import BatchNorm
from fastreg.optim import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Momentum,
    NAdam,
    RAdam,
    RMSprop,
)
from fastreg.penalty import (
    ElasticNet,
    l1_gradient,
    l1_regularization_loss,
    l2_gradient,
    l2_regularization_loss,
    penalty_and_gradient,
    soft_threshold,
)
from fastreg.plateau import ReduceOnPlateau
from fastreg.rates import cosine_annealing, step_decay, warmup_cosine, warmup_schedule
from fastreg.stopping import EarlyStopping

__version__ = "0.1.0"

__all__ = [
    "AdaGrad",
    "Adadelta",
    "Adam",
    "AdamW",
    "Adamax",
    "AlphaDropout",
    "BatchNorm",
    "DropConnect",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "GaussianDropout",
    "GroupLasso",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Lion",
    "Momentum",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSNorm",
    "RMSprop",
    "ReduceOnPlateau",
    "SGD",
    "SpatialDropout",
    "StochasticDepth",
    "bias_variance",
    "compare_optimizers",
    "cosine_annealing",
    "diagnose",
    "empty_cache",
    "get_num_threads",
    "l1_gradient",
    "l1_regularization_loss",
    "l2_gradient",
    "l2_regularization_loss",
    "max_norm",
    "near_zero",
    "num_threads",
    "penalty_and_gradient",
    "reference",
    "schedule",
    "set_num_threads",
    "show_config",
    "soft_threshold",
    "step_decay",
    "unit_norm",
    "warmup_cosine",
    "warmup_schedule",
    "weight_histogram",
]

# Imported when first used, which keeps ``import fastreg`` short.
_SUBMODULES = {"reference", "schedule"}
_NAMES = {
    "GroupLasso": "fastreg.group",
    "bias_variance": "fastreg.decomposition",
    "compare_optimizers": "fastreg.compare",
    "diagnose": "fastreg.diagnosis",
    "max_norm": "fastreg.group",
    "near_zero": "fastreg.sparsity",
    "unit_norm": "fastreg.group",
    "weight_histogram": "fastreg.sparsity",
}


def __getattr__(name):
    """Import a submodule, or what holds a name, that is not loaded yet."""
    if name in _SUBMODULES:
        return importlib.import_module(f"fastreg.{name}")
    if name in _NAMES:
        globals()[name] = getattr(importlib.import_module(_NAMES[name]), name)
        return globals()[name]
    raise AttributeError(f"module 'fastreg' has no attribute {name!r}")


def __dir__():
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
