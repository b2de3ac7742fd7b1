"""Networks: dense layers, activations, their composition, and losses.

A layer maps ``forward(X) -> Y`` and ``backward(dY) -> dX``, one row a sample. Its trainable
arrays are those of its attributes that `PARAMETERS` lists, and ``backward`` stores the gradient
of ``W`` as ``dW``, of ``gamma`` as ``dgamma``, and so on. Any object that keeps these two rules
and has ``train()`` and ``eval()`` is a layer.
"""

from fastreg.nn.activations import GELU, LeakyReLU, ReLU, Sigmoid, Tanh
from fastreg.nn.dense import Dense
from fastreg.nn.losses import binary_cross_entropy, mse, softmax_cross_entropy
from fastreg.nn.sequential import PARAMETERS, Sequential, mlp

__all__ = [
    "GELU",
    "PARAMETERS",
    "Dense",
    "LeakyReLU",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "binary_cross_entropy",
    "mlp",
    "mse",
    "softmax_cross_entropy",
]
