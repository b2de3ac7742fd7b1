"""The compiled library in plain NumPy: specification, oracle and benchmark baseline.

Everything here has the name, the arguments (but for ``out=``) and the results of its compiled
twin; what is pure Python to begin with is its own specification. Nothing is
validated, nothing is fused and nothing is fast; what matters is that each line can be checked
against the formula it implements. Element-wise steps spell out the operations in the order
the kernels use, in the dtype of the array, so the two sides agree bit for bit. Reductions
(means, variances, sums) use NumPy's own order and agree to rounding.
"""

from fastreg.reference.dropout import DropConnect, Dropout, SpatialDropout, StochasticDepth
from fastreg.reference.group import GroupLasso, max_norm, unit_norm
from fastreg.reference.groupnorm import GroupNorm, InstanceNorm
from fastreg.reference.layernorm import LayerNorm, RMSNorm
from fastreg.reference.nn import (
    GELU,
    Dense,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Tanh,
    binary_cross_entropy,
    mse,
    softmax_cross_entropy,
)
from fastreg.reference.noise import AlphaDropout, GaussianDropout
from fastreg.reference.norm import BatchNorm
from fastreg.reference.optim import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Momentum,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)
from fastreg.reference.penalty import (
    ElasticNet,
    l1_gradient,
    l1_regularization_loss,
    l2_gradient,
    l2_regularization_loss,
    penalty_and_gradient,
    soft_threshold,
)
from fastreg.reference.random import philox4x32
from fastreg.reference.sparsity import near_zero, weight_histogram

__all__ = [
    "Adadelta",
    "AdaGrad",
    "Adam",
    "Adamax",
    "AdamW",
    "AlphaDropout",
    "BatchNorm",
    "Dense",
    "DropConnect",
    "Dropout",
    "ElasticNet",
    "GaussianDropout",
    "GELU",
    "GroupLasso",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "LeakyReLU",
    "Lion",
    "Momentum",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSNorm",
    "ReLU",
    "RMSprop",
    "SGD",
    "Sigmoid",
    "SpatialDropout",
    "StochasticDepth",
    "Tanh",
    "binary_cross_entropy",
    "l1_gradient",
    "l1_regularization_loss",
    "l2_gradient",
    "l2_regularization_loss",
    "max_norm",
    "mse",
    "near_zero",
    "penalty_and_gradient",
    "philox4x32",
    "soft_threshold",
    "softmax_cross_entropy",
    "unit_norm",
    "weight_histogram",
]
