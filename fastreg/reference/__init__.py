"""The whole library in plain NumPy: specification, oracle and benchmark baseline.

Every class here has the name, the arguments and the results of its compiled twin. Nothing is
validated, nothing is fused and nothing is fast; what matters is that each line can be checked
against the formula it implements. Element-wise steps spell out the operations in the order
the kernels use, in the dtype of the array, so the two sides agree bit for bit. Reductions
(means, variances, sums) use NumPy's own order and agree to rounding.
"""

from fastreg.reference.dropout import Dropout, philox4x32
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
from fastreg.reference.norm import BatchNorm
from fastreg.reference.optim import Adam

__all__ = ["Adam", "BatchNorm", "Dropout", "philox4x32"]
__all__ += ["GELU", "Dense", "LeakyReLU", "ReLU", "Sigmoid", "Tanh"]
__all__ += ["binary_cross_entropy", "mse", "softmax_cross_entropy"]
