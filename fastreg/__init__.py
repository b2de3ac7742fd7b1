"""Regularise and train at the speed of memory: the textbook's classes over fused CPU kernels."""

from fastreg import reference
from fastreg.config import (
    empty_cache,
    get_num_threads,
    num_threads,
    set_num_threads,
    show_config,
)
from fastreg.dropout import Dropout
from fastreg.groupnorm import GroupNorm, InstanceNorm
from fastreg.layernorm import LayerNorm, RMSNorm
from fastreg.norm import BatchNorm
from fastreg.optim import Adam

__version__ = "0.1.0"

__all__ = [
    "Adam",
    "BatchNorm",
    "Dropout",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RMSNorm",
    "empty_cache",
    "get_num_threads",
    "num_threads",
    "reference",
    "set_num_threads",
    "show_config",
]
