"""Regularise and train at the speed of memory: the textbook's classes over fused CPU kernels."""

from fastreg import reference
from fastreg._optimizer import Optimizer
from fastreg.compare import compare_optimizers
from fastreg.config import (
    empty_cache,
    get_num_threads,
    num_threads,
    set_num_threads,
    show_config,
)
from fastreg.dropout import Dropout
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

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "AdaGrad",
    "Adadelta",
    "Adam",
    "AdamW",
    "Adamax",
    "BatchNorm",
    "Dropout",
    "Lion",
    "Momentum",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "compare_optimizers",
    "empty_cache",
    "get_num_threads",
    "num_threads",
    "reference",
    "set_num_threads",
    "show_config",
]
