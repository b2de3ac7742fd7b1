"""Penalties on weights: values, gradients, proximal operators, constraints, counts."""

from typing import TYPE_CHECKING

from fastreg.penalty.elastic import *
from fastreg.penalty.group import *
from fastreg.penalty.sparsity import *

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    from fastreg.penalty import elastic, group, sparsity

    __all__ = []
    __all__ += elastic.__all__
    __all__ += group.__all__
    __all__ += sparsity.__all__
