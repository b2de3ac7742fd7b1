"""Regularise and train at the speed of memory: the textbook's classes over fused CPU kernels."""

from fastreg import reference
from fastreg.config import (
    empty_cache,
    get_num_threads,
    num_threads,
    set_num_threads,
    show_config,
)
from fastreg.dropout import DropConnect, Dropout, SpatialDropout, StochasticDepth
from fastreg.noise import AlphaDropout, GaussianDropout
from fastreg.norm import BatchNorm
from fastreg.optim import Adam

__version__ = "0.1.0"

__all__ = [
    "Adam",
    "AlphaDropout",
    "BatchNorm",
    "DropConnect",
    "Dropout",
    "GaussianDropout",
    "SpatialDropout",
    "StochasticDepth",
    "empty_cache",
    "get_num_threads",
    "num_threads",
    "reference",
    "set_num_threads",
    "show_config",
]
