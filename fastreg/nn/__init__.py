"""Networks: dense layers, activations, their composition, and losses.

A layer maps ``forward(X) -> Y`` and ``backward(dY) -> dX``, one row per sample. Its trainable
arrays are the attributes whose names are in `PARAMETERS`, and ``backward`` stores the gradient of
``W`` as ``dW``, of ``gamma`` as ``dgamma``, and so on. Any object that follows these two rules and
has ``train()`` and ``eval()`` is a layer.
"""

from typing import TYPE_CHECKING

from fastreg.nn.activations import *
from fastreg.nn.dense import Dense
from fastreg.nn.links import exponential, log_sigmoid, log_softmax, logarithm, sigmoid, softmax  # noqa: F401 - the links are for bridges,
from fastreg.nn.losses import *
from fastreg.nn.perceptron import mlp, stacked  # noqa: F401 - and so is stacked
from fastreg.nn.sequential import PARAMETERS, Sequential

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    from fastreg.nn import activations, losses

    __all__ = ["PARAMETERS", "Dense", "Sequential", "mlp"]
    __all__ += activations.__all__
    __all__ += losses.__all__
