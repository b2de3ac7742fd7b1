"""Regularise and train at the speed of memory: the textbook's classes over fused CPU kernels."""

import importlib

from fastreg import reference
from fastreg.config import (
    empty_cache,
    get_num_threads,
    num_threads,
    set_num_threads,
    show_config,
)
from fastreg.decomposition import bias_variance
from fastreg.diagnosis import diagnose
from fastreg.dropout import Dropout
from fastreg.group import GroupLasso, max_norm, unit_norm
from fastreg.norm import BatchNorm
from fastreg.optim import Adam
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
from fastreg.sparsity import near_zero, weight_histogram
from fastreg.stopping import EarlyStopping

__version__ = "0.1.0"

__all__ = [
    "Adam",
    "BatchNorm",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "GroupLasso",
    "ReduceOnPlateau",
    "bias_variance",
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


def __getattr__(name):
    """Import `fastreg.schedule` when it is first used: not every program needs its families."""
    if name != "schedule":
        raise AttributeError(f"module 'fastreg' has no attribute {name!r}")
    return importlib.import_module("fastreg.schedule")
